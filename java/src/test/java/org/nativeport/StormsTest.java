package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Random;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.nativeport.Tasks.Task;

/** Connections in every state, and ends of them from every kind of thread, all at once. */
class StormsTest {
    private static final int THREADS = 6;

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void whateverIsEndedInAnyStateByAnyThreadEndsOnce(boolean tls) throws Exception {
        long seed = new Random().nextLong();
        Random random = new Random(seed);
        for (int round = 0; round < LongForm.count(8, 200); round++) {
            try (Storm storm = new Storm(tls, random)) {
                storm.blow();
            } catch (AssertionError | Exception failure) {
                throw new AssertionError("round " + round + " of seed " + seed, failure);
            }
        }
    }

    /** One runtime with its connections; the peers end when it is over. */
    private static final class Storm implements ConnectionHandler, AutoCloseable {
        private final boolean tls;
        private final Random random;
        private final NativeRuntime runtime;
        private final SocketClientConnectionListener listener;
        private final List<Peer> peers = new ArrayList<>();
        private final BlockingQueue<SocketClientCommunication> came = new LinkedBlockingQueue<>();
        private final BlockingQueue<ISocket> streams = new LinkedBlockingQueue<>();
        private final BlockingQueue<Admission> asking = new LinkedBlockingQueue<>();
        private final CountDownLatch inCallback = new CountDownLatch(1);

        private final List<SocketClientCommunication> clients = new ArrayList<>();
        private final List<Task<Void>> waiting = new ArrayList<>();
        private final List<Tasks.Action> actions = new ArrayList<>();

        Storm(boolean tls, Random random) throws Exception {
            this.tls = tls;
            this.random = random;
            // A write that nobody's end ends is over after a second.
            String[] settings = {
                "compression", "off", "sendQueueLimit", "64K", "writeTimeout", "1s"
            };
            ServerConfig config = tls ? Served.tlsConfig(settings) : Served.config(settings);
            runtime = NativeRuntime.builder(config).build();
            listener = new SocketClientConnectionListener(runtime, config, 0, this);
            listener.start();
        }

        @Override
        public boolean decidesAdmission() {
            return true;
        }

        /** Clients are let in; for applications it stays open. */
        @Override
        public void onAdmission(Admission admission) {
            if (admission.getInfo().protocol() == Protocol.REMOTE_APPLICATION) {
                asking.add(admission);
            } else {
                admission.admit();
            }
        }

        /** Each second one is ended from within its callback too. */
        @Override
        public void onClientConnect(SocketClientCommunication client) throws Exception {
            came.add(client);
            if (client.getInfo().id() % 2 == 0) {
                inCallback.await();
                client.close();
            }
        }

        /** Nobody lets one in; without this nobody would be asked. */
        @Override
        public void onRemoteApplicationConnect(SocketClientCommunication application) {
            throw new AssertionError("an application was let in");
        }

        @Override
        public void onUnknownConnect(ISocket socket, int firstByte) {
            streams.add(socket);
        }

        private Peer peer(boolean withTls) throws IOException {
            Peer peer = Peer.connect(listener.getLocalPort(), withTls);
            peers.add(peer);
            actions.add(peer::reset);
            return peer;
        }

        private void waits(Tasks.Action action) {
            waiting.add(Tasks.start(action));
        }

        void blow() throws Exception {
            arrive();
            Collections.shuffle(actions, random);
            List<Tasks.Action> some = actions.subList(0, actions.size() * 2 / 3);
            CountDownLatch go = new CountDownLatch(1);
            List<Thread> threads = new ArrayList<>();
            for (int i = 0; i < THREADS; i++) {
                int first = i;
                int spins = random.nextInt(2000);
                Runnable share =
                        () -> {
                            awaitUnchecked(go);
                            for (int spin = 0; spin < spins; spin++) {
                                Thread.onSpinWait();
                            }
                            for (int n = first; n < some.size(); n += THREADS) {
                                ignoringEnds(some.get(n));
                            }
                        };
                threads.add(Tasks.thread(share, i % 2 == 0));
            }
            go.countDown();
            inCallback.countDown();
            for (Thread thread : threads) {
                thread.join();
            }
            runtime.close();
            AtomicInteger told = new AtomicInteger();
            for (SocketClientCommunication client : clients) {
                client.whenClosed().thenRun(told::incrementAndGet);
                CloseInfo how = Served.ended(client);
                assertTrue(how.bytesIn() > 0, how.toString());
            }
            for (Task<Void> each : waiting) {
                ignoringEnds(() -> each.result().get(Served.SECONDS, TimeUnit.SECONDS));
                assertTrue(each.result().isDone(), "a call is still parked");
            }
            // Who waits for an end and who is told of it hear of it in any order.
            Tasks.await("everyone's end", () -> told.get() == clients.size());
            assertFalse(listener.isRunning());
        }

        /** Connections in every state, and what may be done to each of them. */
        private void arrive() throws Exception {
            peer(false);
            Peer cut = peer(false);
            cut.out.write(new byte[] {0x16, 3, 1, 2});
            cut.flush();
            Peer application = peer(tls);
            application.out.write(3);
            application.flush();
            Admission admission = Served.next(asking);
            actions.add(admission::admit);
            actions.add(admission::refuse);
            for (int i = 0; i < 8; i++) {
                Peer peer = peer(tls).identify(1);
                SocketClientCommunication client = Served.next(came);
                clients.add(client);
                actions.add(client::close);
                actions.add(client::abort);
                actions.add(() -> client.write(new byte[1000]));
                actions.add(() -> client.offer(new byte[100_000]));
                bring(i, client, peer);
            }
            for (int i = 0; i < 2; i++) {
                peer(tls).send(new byte[0]);
                ISocket stream = Served.next(streams);
                waits(() -> stream.getInputStream().transferTo(java.io.OutputStream.nullOutputStream()));
                waits(() -> stream.getOutputStream().write(new byte[ISocketContract.MORE_THAN_BUFFERS / 8]));
                actions.add(stream::close);
                actions.add(stream::shutdownInput);
                actions.add(stream::shutdownOutput);
                actions.add(() -> stream.asSocket().close());
            }
            actions.add(listener::close);
            actions.add(() -> runtime.stop(Duration.ZERO));
            actions.add(runtime::close);
        }

        private void bring(int state, SocketClientCommunication client, Peer peer)
                throws Exception {
            switch (state) {
                case 0 -> waits(client::read);
                case 1 ->
                        waits(
                                () -> {
                                    for (;;) {
                                        client.write(new byte[100_000]);
                                    }
                                });
                case 2 -> {
                    client.onFrame(client::write);
                    waits(
                            () -> {
                                for (;;) {
                                    peer.send(new byte[10_000]);
                                }
                            });
                }
                case 3 -> {
                    // On the loop's thread, to those of both loops.
                    List<SocketClientCommunication> all = List.copyOf(clients);
                    client.onFrame(
                            frame -> {
                                all.get(0).close();
                                all.get(1).abort();
                                all.get(2).close();
                                listener.close();
                                client.close();
                            });
                    actions.add(() -> peer.send(new byte[1]));
                }
                case 4 -> {
                    var read = client.readAsync().toCompletableFuture();
                    waits(read::get);
                    var written = client.writeAsync(new byte[1 << 20]).toCompletableFuture();
                    waits(written::get);
                }
                case 5 -> peer.finish();
                case 6 -> client.shutdownOutput();
                default -> client.pauseReading();
            }
        }

        private static void awaitUnchecked(CountDownLatch latch) {
            try {
                latch.await();
            } catch (InterruptedException nobodyInterruptsIt) {
                throw new AssertionError(nobodyInterruptsIt);
            }
        }

        private static void ignoringEnds(Tasks.Action action) {
            try {
                action.run();
            } catch (Exception end) {
                // What is tested is that it ends at all.
                return;
            }
        }

        @Override
        public void close() throws IOException {
            inCallback.countDown();
            runtime.close();
            for (Peer peer : peers) {
                peer.reset();
            }
        }
    }
}
