package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.ByteBuffer;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** What is sent inside of a handler of frames is handed over in groups, which nobody may notice. */
@SuppressWarnings("try") // a resource that is there and not used
class FastPathTest {
    private static final int COUNT = 60;

    private static byte[] numbered(int number) {
        return ByteBuffer.allocate(8).putInt(number).array();
    }

    private static int number(byte[] transaction) {
        return ByteBuffer.wrap(transaction).getInt();
    }

    /** Frames with the numbers 0, 10, 20 and so on, all at once. */
    private static void sendTens(Peer peer) throws IOException {
        for (int i = 0; i < COUNT; i++) {
            peer.put(numbered(10 * i));
        }
        peer.flush();
    }

    private static void expect(Peer peer, int number) throws Exception {
        assertEquals(number, number(peer.receive()));
    }

    /**
     * Sets the handler when one is there already: what was sent before the first one waits, and is not shown where it
     * lies.
     */
    private static void show(SocketClientCommunication client, Peer peer, FrameHandler handler) throws Exception {
        client.onFrame(client::write);
        peer.send(numbered(0));
        expect(peer, 0);
        client.onFrame(handler);
    }

    @Test
    void everyKindOfWriteKeepsItsPlaceBetweenFramesThatAreSentBack() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port())) {
            SocketClientCommunication client = served.nextClient();
            show(
                    client,
                    peer,
                    frame -> {
                        int number = number(frame.toByteArray());
                        byte[] next = numbered(number + 1);
                        client.write(frame);
                        switch (number / 10 % 5) {
                            case 0 -> client.write(next);
                            case 1 -> client.write(next, 0, next.length);
                            case 2 -> client.writeBatch(List.of(next));
                            case 3 -> assertTrue(client.offer(next));
                            default -> client.writeAsync(next);
                        }
                    });
            sendTens(peer);
            for (int i = 0; i < COUNT; i++) {
                expect(peer, 10 * i);
                expect(peer, 10 * i + 1);
            }
        }
    }

    @Test
    void whatAnotherThreadSendsMeanwhileComesBehindWhatWasSentBefore() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port())) {
            SocketClientCommunication client = served.nextClient();
            BlockingQueue<Integer> told = new LinkedBlockingQueue<>();
            BlockingQueue<Integer> done = new LinkedBlockingQueue<>();
            var other =
                    Tasks.start(
                            () -> {
                                for (int i = 0; i < COUNT; i++) {
                                    int number = Served.next(told);
                                    client.write(numbered(number + 1));
                                    done.add(number);
                                }
                                return null;
                            });
            show(
                    client,
                    peer,
                    frame -> {
                        client.write(frame);
                        told.add(number(frame.toByteArray()));
                        // Those that follow are not even shown before the other thread has sent.
                        Served.next(done);
                    });
            sendTens(peer);
            for (int i = 0; i < COUNT; i++) {
                expect(peer, 10 * i);
                expect(peer, 10 * i + 1);
            }
            other.get();
        }
    }

    @Test
    void aCloseInsideTheHandlerComesBehindWhatItHasSent() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port())) {
            SocketClientCommunication client = served.nextClient();
            show(
                    client,
                    peer,
                    frame -> {
                        client.write(frame);
                        if (number(frame.toByteArray()) == 200) {
                            client.close();
                        }
                    });
            sendTens(peer);
            for (int number = 0; number <= 200; number += 10) {
                expect(peer, number);
            }
            assertEquals(-1, peer.in.read());
            assertEquals(0, Served.ended(client).unsentBytes());
        }
    }

    @Test
    void anEndOfOutputInsideTheHandlerComesBehindWhatItHasSent() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port())) {
            SocketClientCommunication client = served.nextClient();
            show(
                    client,
                    peer,
                    frame -> {
                        if (number(frame.toByteArray()) <= 200) {
                            client.write(frame);
                        }
                        if (number(frame.toByteArray()) == 200) {
                            client.shutdownOutput();
                        }
                    });
            sendTens(peer);
            for (int number = 0; number <= 200; number += 10) {
                expect(peer, number);
            }
            assertEquals(-1, peer.in.read());
        }
    }

    @Test
    void aHandlerSendsToSeveralConnectionsOnTheSameAndOnOtherLoops() throws Exception {
        try (Served served = Served.plain();
                Peer first = Peer.client(served.port());
                Peer second = Peer.client(served.port());
                Peer third = Peer.client(served.port())) {
            List<SocketClientCommunication> all =
                    List.of(served.nextClient(), served.nextClient(), served.nextClient());
            for (SocketClientCommunication each : all) {
                each.onFrame(
                        frame -> {
                            for (SocketClientCommunication to : all) {
                                to.write(frame);
                            }
                        });
            }
            sendTens(first);
            for (Peer peer : List.of(first, second, third)) {
                for (int i = 0; i < COUNT; i++) {
                    expect(peer, 10 * i);
                }
            }
        }
    }

    /** Is shown one frame and waits, so that all that the peer sends meanwhile come together. */
    private static FrameHandler heldUntil(CountDownLatch sent, Runnable then) {
        return frame -> {
            sent.await();
            then.run();
        };
    }

    /** Sets another handler, which does the same; each sends back how many there have been before it, and the frame. */
    private static void replace(SocketClientCommunication client, int before) {
        client.onFrame(
                frame -> {
                    client.write(numbered(before));
                    client.write(frame);
                    replace(client, before + 1);
                });
    }

    @Test
    void aHandlerThatReplacesItselfIsShownOneFrameHoweverManyComeAtOnce() throws Exception {
        for (String how : List.of("one by one", "all at once", "before there is a handler")) {
            try (Served served = Served.plain();
                    Peer peer = Peer.client(served.port())) {
                SocketClientCommunication client = served.nextClient();
                CountDownLatch sent = new CountDownLatch(1);
                if (how.equals("before there is a handler")) {
                    sendTens(peer);
                    ServerSocketInterface2 port = served.listener.getServerSocket();
                    Tasks.await("all of them", () -> port.getMetrics().framesIn() == COUNT);
                    replace(client, 0);
                } else {
                    show(client, peer, heldUntil(sent, () -> replace(client, 0)));
                    peer.send(numbered(-1));
                }
                if (how.equals("all at once")) {
                    sendTens(peer);
                }
                sent.countDown();
                for (int i = 0; i < COUNT; i++) {
                    if (how.equals("one by one")) {
                        peer.send(numbered(10 * i));
                    }
                    assertEquals(i, number(peer.receive()), how);
                    assertEquals(10 * i, number(peer.receive()), how);
                }
            }
        }
    }

    @Test
    void aHandlerThatAnotherThreadReplacesIsNotShownTheNextFrame() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port())) {
            SocketClientCommunication client = served.nextClient();
            BlockingQueue<Integer> shown = new LinkedBlockingQueue<>();
            BlockingQueue<Integer> replaced = new LinkedBlockingQueue<>();
            CountDownLatch sent = new CountDownLatch(1);
            FrameHandler first =
                    frame -> {
                        shown.add(number(frame.toByteArray()));
                        Served.next(replaced);
                    };
            show(client, peer, heldUntil(sent, () -> client.onFrame(first)));
            peer.send(numbered(-1));
            sendTens(peer);
            sent.countDown();
            assertEquals(0, Served.next(shown));
            client.onFrame(client::write);
            replaced.add(0);
            for (int i = 1; i < COUNT; i++) {
                expect(peer, 10 * i);
            }
            assertTrue(shown.isEmpty(), shown.toString());
        }
    }

    @Test
    void aHandlerThatIsSetBehindTheEndOfItsLoopLeavesWhatWaitsToReaders() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port())) {
            SocketClientCommunication client = served.nextClient();
            peer.send(numbered(1));
            ServerSocketInterface2 port = served.listener.getServerSocket();
            Tasks.await("it", () -> port.getMetrics().framesIn() == 1);
            served.close();
            client.onFrame(client::write);
            assertEquals(1, number(client.read()));
        }
    }

    @Test
    void aFrameOfAnySizeIsLookedAtInAnyOrder() throws Exception {
        try (Served served = Served.plain("compression", "off");
                Peer peer = Peer.client(served.port())) {
            SocketClientCommunication client = served.nextClient();
            BlockingQueue<String> wrong = new LinkedBlockingQueue<>();
            int[] shown = {0};
            client.onFrame(
                    frame -> {
                        int last = frame.length() - 1;
                        byte[] whole = TransactionsTest.random(frame.length());
                        byte[] part = new byte[2];
                        // Another look is the first one each time.
                        boolean same =
                                switch (shown[0]++ % 4) {
                                    case 0 -> frame.get(last) == whole[last];
                                    case 1 -> {
                                        frame.copyTo(last - 1, part, 0, 2);
                                        yield part[0] == whole[last - 1] && part[1] == whole[last];
                                    }
                                    case 2 -> frame.asByteBuffer().equals(ByteBuffer.wrap(whole));
                                    default -> java.util.Arrays.equals(frame.toByteArray(), whole);
                                };
                        if (!same || frame.get(0) != whole[0] || frame.isCompressed()) {
                            wrong.add("at size " + frame.length());
                        }
                        client.write(frame);
                    });
            for (int size : new int[] {2, 5000, 300_000, 1_000_000}) {
                for (int look = 0; look < 4; look++) {
                    peer.send(TransactionsTest.random(size));
                    assertArrayEquals(TransactionsTest.random(size), peer.receive());
                }
            }
            assertEquals(List.of(), List.copyOf(wrong));
        }
    }

    /** A listener that says who called it. */
    private static final class OnLoop implements ConnectionHandler {
        final BlockingQueue<String> threads = new LinkedBlockingQueue<>();
        final CompletableFuture<Throwable> refused = new CompletableFuture<>();

        @Override
        public boolean connectsOnLoop() {
            return true;
        }

        @Override
        public void onClientConnect(SocketClientCommunication client) {
            threads.add(Thread.currentThread().getName());
            client.onFrame(client::write);
        }

        @Override
        public void onRemoteApplicationConnect(SocketClientCommunication application)
                throws IOException {
            threads.add(Thread.currentThread().getName());
            try {
                application.read();
            } catch (IllegalStateException failure) {
                refused.complete(failure);
                throw failure;
            }
        }

        @Override
        public void onUnknownConnect(ISocket socket, int firstByte) throws IOException {
            threads.add(Thread.currentThread().getName());
            socket.close();
        }
    }

    @Test
    void framedConnectionsMayBeTakenOnTheThreadOfTheirLoop() throws Exception {
        OnLoop handler = new OnLoop();
        try (var listener = new SocketClientConnectionListener(Served.config(), handler)) {
            listener.start();
            try (Peer peer = Peer.client(listener.getLocalPort())) {
                assertTrue(Served.next(handler.threads).startsWith("np-io-"));
                sendTens(peer);
                for (int i = 0; i < COUNT; i++) {
                    expect(peer, 10 * i);
                }
            }
            try (Peer peer = Peer.connect(listener.getLocalPort()).identify(3)) {
                assertTrue(Served.next(handler.threads).startsWith("np-io-"));
                // It must not wait there; the failure ends the connection, and no other.
                handler.refused.get(Served.SECONDS, TimeUnit.SECONDS);
                assertEquals(-1, peer.in.read());
            }
            try (Peer peer = Peer.connect(listener.getLocalPort())) {
                peer.out.write('G');
                peer.flush();
                assertFalse(Served.next(handler.threads).startsWith("np-io-"));
                assertEquals(-1, peer.in.read());
            }
        }
    }

    @Test
    void endingAStreamOnALoopDoesNotWaitForWhoeverWritesToIt() throws Exception {
        CompletableFuture<ISocket> stream = new CompletableFuture<>();
        CompletableFuture<Throwable> refused = new CompletableFuture<>();
        ConnectionHandler handler =
                new ConnectionHandler() {
                    @Override
                    public void onUnknownConnect(ISocket socket, int firstByte) throws IOException {
                        stream.complete(socket);
                        socket.getOutputStream().write(new byte[64 << 20]);
                    }

                    @Override
                    public void onClientConnect(SocketClientCommunication client) {
                        client.onFrame(
                                frame -> {
                                    try {
                                        stream.get().shutdownOutput();
                                    } catch (IllegalStateException failure) {
                                        refused.complete(failure);
                                    } catch (Exception failure) {
                                        refused.completeExceptionally(failure);
                                    }
                                    client.write(frame);
                                });
                    }
                };
        try (var listener = new SocketClientConnectionListener(Served.config(), handler)) {
            listener.start();
            try (Peer reader = Peer.connect(listener.getLocalPort());
                    Peer peer = Peer.client(listener.getLocalPort())) {
                reader.out.write('G');
                reader.flush();
                // It is in the middle of a write that has no end, as nobody reads.
                Tasks.await("output", () -> listener.getServerSocket().getMetrics().bytesOut() > 1000);
                peer.send(numbered(1));
                assertEquals(1, number(peer.receive()));
                assertTrue(refused.get().getMessage().contains("must not wait"));
            }
        }
    }

    @Test
    void whatIsNotToBeCompressedIsSentBackRaw() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port())) {
            SocketClientCommunication client = served.nextClient();
            client.setCompressing(false);
            client.onFrame(client::write);
            peer.send(new byte[5000]);
            assertEquals(5000, peer.in.readInt());
        }
    }

    /** Tells on which thread its frames are shown; sends those with the number 0 back, others go to {@code then}. */
    private static Thread loopOf(SocketClientCommunication client, Peer peer, FrameHandler then)
            throws Exception {
        BlockingQueue<Thread> loops = new LinkedBlockingQueue<>();
        client.onFrame(
                frame -> {
                    if (number(frame.toByteArray()) > 0) {
                        then.onFrame(frame);
                    } else {
                        loops.add(Thread.currentThread());
                        client.write(frame);
                    }
                });
        peer.send(numbered(0));
        peer.receive();
        return Served.next(loops);
    }

    @Test
    void aHandlerThatWritesToAFullConnectionOfAnotherLoopHoldsUpNobody() throws Exception {
        int count = 400;
        byte[] large = new byte[100_000];
        try (Served served = Served.plain("sendQueueLimit", "64K", "compression", "off");
                Peer from = Peer.client(served.port());
                SocketClientCommunication source = served.nextClient();
                Peer second = Peer.client(served.port());
                SocketClientCommunication one = served.nextClient();
                Peer third = Peer.client(served.port());
                SocketClientCommunication other = served.nextClient()) {
            SocketClientCommunication[] others = {one, other};
            Peer[] peers = {second, third};
            BlockingQueue<SocketClientCommunication> targets = new LinkedBlockingQueue<>();
            Thread loop =
                    loopOf(
                            source,
                            from,
                            frame -> {
                                SocketClientCommunication target = Served.next(targets);
                                for (int i = 0; i < count; i++) {
                                    target.write(large);
                                }
                            });
            boolean secondIsElsewhere = loopOf(one, second, one::write) != loop;
            boolean thirdIsElsewhere = loopOf(other, third, other::write) != loop;
            // Three on two loops, dealt to the one with fewer.
            assertTrue(secondIsElsewhere != thirdIsElsewhere);
            int elsewhere = secondIsElsewhere ? 0 : 1;
            targets.add(others[elsewhere]);
            from.send(numbered(1));
            Peer neighbour = peers[1 - elsewhere];
            neighbour.send(numbered(2));
            expect(neighbour, 2);
            for (int i = 0; i < count; i++) {
                assertEquals(large.length, peers[elsewhere].receive().length);
            }
        }
    }
}
