package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledForJreRange;
import org.junit.jupiter.api.condition.JRE;

/** Many connections and threads at once. */
@SuppressWarnings("try") // a resource that is there and not used
class ManyTest {
    @Test
    @EnabledForJreRange(min = JRE.JAVA_21)
    void tenThousandVirtualThreadsThatReadAllMakeProgress() throws Exception {
        AtomicInteger echoed = new AtomicInteger();
        CountDownLatch parked = new CountDownLatch(10_000);
        int perConnection = 20;
        ConnectionHandler handler =
                new ConnectionHandler() {
                    @Override
                    public void onClientConnect(SocketClientCommunication client) {
                        // Readers of one connection take turns.
                        for (int i = 0; i < perConnection; i++) {
                            client.readAsync()
                                    .thenAccept(
                                            frame -> {
                                                echoed.incrementAndGet();
                                                client.writeAsync(frame);
                                            });
                            parked.countDown();
                        }
                    }
                };
        try (var listener = new SocketClientConnectionListener(Served.config("Runtime.callbackThreads", "virtual"), handler)) {
            listener.start();
            List<Peer> peers = new ArrayList<>();
            try {
                for (int i = 0; i < 10_000 / perConnection; i++) {
                    peers.add(Peer.client(listener.getLocalPort()));
                }
                assertTrue(parked.await(Served.SECONDS, TimeUnit.SECONDS), "not all of them read");
                for (Peer peer : peers) {
                    for (int i = 0; i < perConnection; i++) {
                        peer.put(new byte[] {1});
                    }
                    peer.flush();
                }
                for (Peer peer : peers) {
                    for (int i = 0; i < perConnection; i++) {
                        assertEquals(1, peer.receive().length);
                    }
                }
                assertEquals(10_000, echoed.get());
            } finally {
                for (Peer peer : peers) {
                    peer.close();
                }
            }
        }
    }

    @Test
    void connectionsThatAreClosedFromEverywhereAtOnceAllEnd() throws Exception {
        try (Served served = Served.plain()) {
            for (int round = 0; round < 200; round++) {
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient();
                Thread[] threads = {
                    thread(client::close),
                    thread(client::abort),
                    thread(() -> ignoringEnds(() -> client.read())),
                    thread(() -> ignoringEnds(() -> client.write(new byte[100_000]))),
                    thread(() -> ignoringEnds(() -> peer.send(new byte[1000]))),
                    thread(() -> ignoringEnds(peer::close)),
                    thread(() -> client.onFrame(frame -> client.close())),
                };
                for (Thread thread : threads) {
                    thread.start();
                }
                for (Thread thread : threads) {
                    thread.join();
                }
                Served.ended(client);
            }
            ServerSocketInterface2 port = served.listener.getServerSocket();
            // Who waits for an end and who counts it hear of it in any order.
            Tasks.await("the count of their ends", () -> port.getMetrics().open().get(Protocol.CLIENT) == 0);
        }
    }

    private interface Call {
        void run() throws java.io.IOException;
    }

    private static void ignoringEnds(Call call) {
        try {
            call.run();
        } catch (java.io.IOException | IllegalStateException end) {
            // What is tested is that it ends at all.
            return;
        }
    }

    private static Thread thread(Runnable task) {
        Thread thread =
                new Thread(
                        () -> {
                            for (int i = ThreadLocalRandom.current().nextInt(2000); i > 0; i--) {
                                Thread.onSpinWait();
                            }
                            task.run();
                        });
        thread.setDaemon(true);
        return thread;
    }
}
