package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import org.junit.jupiter.api.Test;

/** What a handler does to others: it holds up nobody else, or on the thread of a loop that loop, and leaves it no interrupt. */
@SuppressWarnings("try") // a resource that is there and not used
class HandlersTest {
    @Test
    void callbacksThatBlockHoldUpNobodyElse() throws Exception {
        CountDownLatch blocked = new CountDownLatch(30);
        CountDownLatch go = new CountDownLatch(1);
        ConnectionHandler handler =
                new ConnectionHandler() {
                    @Override
                    public boolean decidesAdmission() {
                        return true;
                    }

                    @Override
                    public void onAdmission(Admission admission) {
                        if (admission.getInfo().protocol() == Protocol.REMOTE_APPLICATION) {
                            block();
                        }
                        admission.admit();
                    }

                    @Override
                    public void onRemoteApplicationConnect(SocketClientCommunication application)
                            throws Exception {
                        Way.CALLBACK.consume(application, Way.ECHO);
                    }

                    @Override
                    public void onUnknownConnect(ISocket socket, int firstByte) throws Exception {
                        block();
                        Way.CALLBACK.consume(socket, Way.ECHO);
                    }

                    @Override
                    public void onClientConnect(SocketClientCommunication client) throws Exception {
                        Way.CALLBACK.consume(client, Way.ECHO);
                    }

                    private void block() {
                        blocked.countDown();
                        try {
                            go.await();
                        } catch (InterruptedException end) {
                            throw new AssertionError(end);
                        }
                    }
                };
        List<Peer> waiting = new ArrayList<>();
        try (var listener = new SocketClientConnectionListener(Served.config("readTimeout", "1h"), handler)) {
            listener.start();
            // Half of them wait to be let in, half of them are streams.
            for (int i = 0; i < 30; i++) {
                Peer peer = Peer.connect(listener.getLocalPort());
                waiting.add(peer);
                peer.out.write(i % 2 == 0 ? 3 : 'x');
                peer.flush();
            }
            blocked.await();
            try (Peer other = Peer.client(listener.getLocalPort())) {
                for (int i = 0; i < 100; i++) {
                    other.send(new byte[] {(byte) i});
                    assertArrayEquals(new byte[] {(byte) i}, other.receive());
                }
            }
            go.countDown();
            for (int i = 0; i < 30; i++) {
                assertEquals(i % 2 == 0 ? 1 : 'x', waiting.get(i).in.read());
            }
        } finally {
            go.countDown();
            for (Peer peer : waiting) {
                peer.close();
            }
        }
    }

    @Test
    void aFrameHandlerThatBlocksHoldsUpItsLoopAlone() throws Exception {
        CountDownLatch blocked = new CountDownLatch(1);
        CountDownLatch go = new CountDownLatch(1);
        Way.Program program =
                (client, transaction) -> {
                    switch (new String(transaction)) {
                        case "where" -> {
                            return Thread.currentThread().getName().getBytes();
                        }
                        case "block" -> {
                            blocked.countDown();
                            go.await();
                        }
                        default -> {}
                    }
                    return transaction;
                };
        Map<String, List<Peer>> byLoop = new HashMap<>();
        try (Served served = Served.by(Way.FAST, false, program)) {
            for (int i = 0; i < 8; i++) {
                Peer peer = Peer.client(served.port());
                peer.send("where".getBytes());
                byLoop.computeIfAbsent(new String(peer.receive()), name -> new ArrayList<>())
                        .add(peer);
            }
            assertEquals(2, byLoop.size(), byLoop.keySet().toString());
            List<Peer> held = byLoop.get("np-io-0");
            held.get(0).send("block".getBytes());
            blocked.await();
            for (Peer peer : held) {
                peer.send("later".getBytes());
            }
            for (int i = 0; i < 100; i++) {
                for (Peer peer : byLoop.get("np-io-1")) {
                    peer.send("now".getBytes());
                    assertArrayEquals("now".getBytes(), peer.receive());
                }
            }
            for (Peer peer : held) {
                assertEquals(0, peer.socket.getInputStream().available());
            }
            go.countDown();
            assertArrayEquals("block".getBytes(), held.get(0).receive());
            for (Peer peer : held) {
                assertArrayEquals("later".getBytes(), peer.receive());
            }
            assertFalse(held.get(0).socket.isClosed());
        } finally {
            go.countDown();
            for (List<Peer> peers : byLoop.values()) {
                for (Peer peer : peers) {
                    peer.close();
                }
            }
        }
    }

    /** Interrupts the thread that it is called by, and notes whether that was interrupted before. */
    private static final class Interrupting implements ConnectionHandler {
        final BlockingQueue<SocketClientCommunication> clients = new LinkedBlockingQueue<>();
        final BlockingQueue<String> found = new LinkedBlockingQueue<>();

        private void look(String where) {
            if (Thread.currentThread().isInterrupted()) {
                found.add(where);
            }
            Thread.currentThread().interrupt();
        }

        @Override
        public boolean connectsOnLoop() {
            return true;
        }

        @Override
        public void onClientConnect(SocketClientCommunication client) {
            look("onClientConnect");
            client.whenClosed().thenRun(() -> look("whenClosed"));
            clients.add(client);
        }

        void take(SocketClientCommunication client) {
            client.onFrame(
                    frame -> {
                        look("onFrame");
                        client.write(frame);
                    });
        }
    }

    @Test
    void anInterruptThatAHandlerLeavesReachesNoOtherHandlerOfItsLoop() throws Exception {
        Interrupting handler = new Interrupting();
        ServerConfig config = Served.config();
        // Where callbacks run on the thread of the loop too.
        try (NativeRuntime runtime =
                        NativeRuntime.builder(config).loops(1).callbackExecutor(Runnable::run).build();
                var listener = new SocketClientConnectionListener(runtime, config, 0, handler)) {
            listener.start();
            for (int round = 0; round < 3; round++) {
                try (Peer peer = Peer.client(listener.getLocalPort());
                        Peer other = Peer.client(listener.getLocalPort())) {
                    // Some wait, and are shown by a task of the loop.
                    for (Peer each : List.of(peer, other)) {
                        each.put(new byte[1]).put(new byte[1]).flush();
                    }
                    for (int i = 0; i < 2; i++) {
                        handler.take(Served.next(handler.clients));
                    }
                    for (int i = 0; i < 10; i++) {
                        for (Peer each : List.of(peer, other)) {
                            each.put(new byte[1]).put(new byte[1]).flush();
                            each.receive();
                            each.receive();
                        }
                    }
                }
            }
        }
        assertEquals(List.of(), List.copyOf(handler.found));
    }
}
