package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.EOFException;
import java.io.IOException;
import java.net.BindException;
import java.net.ProtocolException;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CyclicBarrier;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Test;
import org.nativeport.Tasks.Task;

/** How calls, connections, listeners and runtimes end. */
@SuppressWarnings("try") // a resource that is there and not used
class EndsTest {
    /** Runs a call on a thread of its own, and gives its failure once it is parked and released. */
    private static CompletableFuture<Throwable> parked(Call call) throws InterruptedException {
        CompletableFuture<Throwable> failure = new CompletableFuture<>();
        Thread thread =
                new Thread(
                        () -> {
                            try {
                                call.run();
                                failure.complete(null);
                            } catch (Throwable e) {
                                failure.complete(e);
                            }
                        });
        thread.setDaemon(true);
        thread.start();
        while (thread.getState() != Thread.State.WAITING
                && thread.getState() != Thread.State.TIMED_WAITING
                && thread.isAlive()) {
            Thread.onSpinWait();
        }
        return failure;
    }

    private static final byte[] LARGE = new byte[1 << 20];

    /** Sends until nothing is taken any more, and says how many transactions were. */
    private static int fill(Served served, SocketClientCommunication client) throws Exception {
        try (Others others = Others.answered(served)) {
            return others.fill(client, LARGE);
        }
    }

    private interface Call {
        void run() throws Exception;
    }

    private static void assertClosed(Throwable failure) {
        assertInstanceOf(SocketException.class, failure);
        assertEquals("Socket closed", failure.getMessage());
    }

    private static Throwable get(CompletableFuture<Throwable> failure) throws Exception {
        return failure.get(Served.SECONDS, TimeUnit.SECONDS);
    }

    @Test
    void aReadThatTimesOutLeavesTheConnectionUsable() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            client.setSoTimeout(20);
            assertThrows(SocketTimeoutException.class, client::read);
            assertThrows(SocketTimeoutException.class, () -> client.read(Duration.ofMillis(1)));
            peer.send(new byte[] {1});
            client.setSoTimeout(0);
            assertArrayEquals(new byte[] {1}, client.read());
        }
    }

    @Test
    void aWriteThatTimesOutSendsNothingOfIt() throws Exception {
        try (Served served = Served.plain("sendQueueLimit", "64K", "compression", "off");
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            int taken = fill(served, client);
            assertThrows(SocketTimeoutException.class, () -> client.write(LARGE, Duration.ofMillis(20)));
            for (int i = 0; i < taken; i++) {
                assertEquals(LARGE.length, peer.receive().length);
            }
            client.write(new byte[2]);
            assertEquals(2, peer.receive().length);
        }
    }

    @Test
    void closingEndsAParkedReadAndAParkedWrite() throws Exception {
        try (Served served = Served.plain("sendQueueLimit", "64K", "compression", "off");
                Peer peer = Peer.client(served.port())) {
            SocketClientCommunication client = served.nextClient();
            fill(served, client);
            var reader = parked(client::read);
            var second = parked(client::read);
            var writer = parked(() -> client.write(new byte[1]));
            var async = client.writeAsync(new byte[1]).toCompletableFuture();
            client.abort();
            assertClosed(get(reader));
            assertClosed(get(second));
            assertClosed(get(writer));
            ExecutionException failed =
                    assertThrows(
                            ExecutionException.class,
                            () -> async.get(Served.SECONDS, TimeUnit.SECONDS));
            assertInstanceOf(SocketException.class, failed.getCause());
            client.close();
            client.abort();
            assertEquals("host_aborted", Served.ended(client).reason());
            assertTrue(client.isClosed());
        }
    }

    @Test
    void aPeerThatResetsEndsParkedWritesAndFailsThoseThatWait() throws Exception {
        try (Served served = Served.plain("sendQueueLimit", "64K", "compression", "off");
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            fill(served, client);
            var writer = parked(() -> client.write(new byte[1]));
            var batch = parked(() -> client.writeBatch(List.of(new byte[1])));
            var async = client.writeAsync(new byte[1]).toCompletableFuture();
            peer.reset();
            assertInstanceOf(SocketException.class, get(writer));
            assertInstanceOf(SocketException.class, get(batch));
            ExecutionException failed =
                    assertThrows(
                            ExecutionException.class,
                            () -> async.get(Served.SECONDS, TimeUnit.SECONDS));
            assertInstanceOf(SocketException.class, failed.getCause());
            assertEquals("peer_reset", Served.ended(client).reason());
        }
    }

    @Test
    void shutdownOutputEndsAParkedWrite() throws Exception {
        try (Served served = Served.plain("sendQueueLimit", "64K", "compression", "off");
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            fill(served, client);
            var writer = parked(() -> client.write(new byte[1]));
            client.shutdownOutput();
            Throwable failure = get(writer);
            assertInstanceOf(SocketException.class, failure);
            assertEquals("Socket output is shutdown", failure.getMessage());
        }
    }

    @Test
    void anInterruptedCloseThatLingersWaitsOnAndDropsWhatIsLeft() throws Exception {
        try (Served served = Served.plain("sendQueueLimit", "64M");
                Peer peer = Peer.connect(served.port())) {
            peer.out.write('G');
            peer.flush();
            ISocket socket = Served.next(served.unknown);
            // More than the system holds, and less than the send queue.
            socket.getOutputStream().write(new byte[32 << 20]);
            socket.setSoLinger(true, 1);
            Thread.currentThread().interrupt();
            socket.close();
            assertTrue(Thread.interrupted());
            assertThrows(IOException.class, () -> peer.in.readAllBytes());
        }
    }

    @Test
    void everyCallAfterCloseSaysThatItIsClosed() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port())) {
            SocketClientCommunication client = served.nextClient();
            peer.send(new byte[1]);
            client.close();
            assertClosed(assertThrows(IOException.class, client::read));
            assertClosed(assertThrows(IOException.class, () -> client.write(new byte[1])));
            assertClosed(assertThrows(IOException.class, () -> client.offer(new byte[1])));
            assertClosed(
                    assertThrows(IOException.class, () -> client.writeBatch(List.of(new byte[1]))));
            assertThrows(IOException.class, client::shutdownOutput);
            client.pauseReading();
            client.resumeReading();
            client.onFrame(frame -> {});
            assertEquals("host_closed", Served.ended(client).reason());
            assertClosed(assertThrows(IOException.class, client::read));
            assertEquals(-1, peer.in.read());
        }
    }

    @Test
    void whatWasWrittenIsSentBehindClose() throws Exception {
        try (Served served = Served.tls();
                Peer peer = Peer.connectTls(served.port()).identify(1)) {
            SocketClientCommunication client = served.nextClient();
            client.setCompressing(false);
            client.write(new byte[3_000_000]);
            client.close();
            assertEquals(3_000_000, peer.receive().length);
            assertEquals(-1, peer.in.read());
        }
    }

    /** What a handler on the loop's thread writes beyond the send queue waits in Java. */
    @Test
    void whatAFrameHandlerWroteIsSentBehindClose() throws Exception {
        for (String how : List.of("close", "shutdown")) {
            try (Served served = Served.plain("sendQueueLimit", "64K", "compression", "off");
                    Peer peer = Peer.client(served.port());
                    SocketClientCommunication client = served.nextClient()) {
                client.onFrame(
                        frame -> {
                            for (int i = 0; i < 30; i++) {
                                client.write(LARGE);
                            }
                            if (how.equals("close")) {
                                client.close();
                            } else {
                                client.shutdownOutput();
                            }
                            assertThrows(SocketException.class, () -> client.write(LARGE));
                        });
                peer.send(new byte[1]);
                for (int i = 0; i < 30; i++) {
                    assertEquals(LARGE.length, peer.receive().length);
                }
                peer.expectEnd();
                client.close();
                CloseInfo ended = Served.ended(client);
                assertEquals("host_closed", ended.reason());
                assertEquals(0, ended.unsentBytes());
            }
        }
    }

    @Test
    void whatAFrameHandlerWroteAndThePeerDidNotReadIsCounted() throws Exception {
        try (Served served = Served.plain("sendQueueLimit", "64K", "compression", "off");
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            CompletableFuture<Void> written = new CompletableFuture<>();
            client.onFrame(
                    frame -> {
                        for (int i = 0; i < 30; i++) {
                            client.write(LARGE);
                        }
                        client.close();
                        written.complete(null);
                    });
            peer.send(new byte[1]);
            written.get(Served.SECONDS, TimeUnit.SECONDS);
            peer.reset();
            CloseInfo ended = Served.ended(client);
            assertEquals("peer_reset", ended.reason());
            // One more byte answered the identification.
            assertEquals(
                    1 + 30L * (4 + LARGE.length), ended.bytesOut() + ended.unsentBytes());
        }
    }

    @Test
    void aPeerThatEndsInsideATransactionIsAnEofException() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            peer.put(new byte[] {3});
            peer.out.writeInt(100);
            peer.out.write(new byte[99]);
            peer.flush();
            peer.socket.shutdownOutput();
            assertArrayEquals(new byte[] {3}, client.read());
            assertThrows(EOFException.class, client::read);
            assertEquals("truncated", Served.ended(client).reason());
        }
    }

    @Test
    void aTransactionThatIsTooLargeIsAProtocolException() throws Exception {
        try (Served served = Served.plain("maxFrameSize", "1000");
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            peer.send(new byte[1001]);
            ProtocolException failure = assertThrows(ProtocolException.class, client::read);
            assertTrue(failure.getMessage().contains("frame_too_large"), failure.getMessage());
        }
    }

    @Test
    void aPeerThatResetsIsASocketException() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            peer.socket.setSoLinger(true, 0);
            peer.close();
            SocketException failure = assertThrows(SocketException.class, client::read);
            assertEquals("Connection reset", failure.getMessage());
            assertEquals("peer_reset", Served.ended(client).reason());
            assertThrows(SocketException.class, () -> client.write(new byte[1]));
        }
    }

    @Test
    void aSilentConnectionEndsByItsIdleTimeout() throws Exception {
        try (Served served = Served.plain("idleTimeout", "200ms");
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            SocketException failure = assertThrows(SocketException.class, client::read);
            assertTrue(failure.getMessage().contains("idle_timeout"), failure.getMessage());
        }
    }

    @Test
    void whatNobodyReadsIsHeldBackAtThePeer() throws Exception {
        try (Served served = Served.plain("receiveWindow", "64K");
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            int count = 2000;
            AtomicInteger sent = new AtomicInteger();
            Task<Void> sender = Tasks.start(() -> send(peer, count, sent));
            try (Others others = Others.answered(served)) {
                // 20 MB do not fit into the window and the buffers of the system.
                others.awaitStuck(sender, sent);
            }
            long held = served.listener.getServerSocket().getMetrics().bytesIn();
            assertTrue(held < 2_000_000, "took " + held);
            for (int i = 0; i < count; i++) {
                assertEquals(10_000, client.read().length);
            }
            sender.get();
        }
    }

    @Test
    void pausedReadingHoldsThePeerBackUntilItIsResumed() throws Exception {
        try (Served served = Served.plain("receiveWindow", "1G");
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            ServerSocketInterface2 port = served.listener.getServerSocket();
            AtomicInteger sent = new AtomicInteger();
            Task<Void> sender;
            try (Others others = Others.answered(served)) {
                client.pauseReading();
                // From here on its loop knows.
                others.exchange();
                long before = port.getMetrics().bytesIn();
                sender = Tasks.start(() -> send(peer, 2000, sent));
                others.awaitStuck(sender, sent);
                long taken = port.getMetrics().bytesIn() - before;
                assertTrue(taken < 10_000, taken + " bytes are more than the others have sent");
            }
            client.resumeReading();
            for (int i = 0; i < 2000; i++) {
                assertEquals(10_000, client.read().length);
            }
            sender.get();
        }
    }

    private static void send(Peer peer, int count, AtomicInteger sent) throws IOException {
        for (int i = 0; i < count; i++) {
            peer.send(new byte[10_000]);
            sent.incrementAndGet();
        }
    }

    @Test
    void stoppingLetsConnectionsFinishAndThenEnds() throws Exception {
        Served served = Served.plain();
        try (Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            var stopped = served.listener.stop(Duration.ofSeconds(Served.SECONDS));
            assertFalse(served.listener.isRunning());
            Peer.awaitRefusal(served.port());
            peer.send(new byte[] {1});
            assertArrayEquals(new byte[] {1}, client.read());
            client.close();
            stopped.toCompletableFuture().get(Served.SECONDS, TimeUnit.SECONDS);
        }
        served.close();
    }

    @Test
    void theEndOfTheGraceCutsConnections() throws Exception {
        Served served = Served.plain();
        try (Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            var reader = parked(client::read);
            served.listener
                    .stop(Duration.ofMillis(50))
                    .toCompletableFuture()
                    .get(Served.SECONDS, TimeUnit.SECONDS);
            assertInstanceOf(SocketException.class, get(reader));
            assertEquals("drain_deadline", Served.ended(client).reason());
        }
    }

    @Test
    void severalListenersShareARuntimeAndEndByThemselves() throws Exception {
        ServerConfig config =
                ServerConfig.parse(
                        "[Port.a]\nport=0\nbindAddress=127.0.0.1\n"
                                + "[Port.b]\nport=0\nbindAddress=127.0.0.1\n",
                        "two.ini");
        assertEquals(List.of("Port.a", "Port.b"), config.getPortNames());
        try (NativeRuntime runtime = NativeRuntime.builder(config).loops(1).build()) {
            List<SocketClientConnectionListener> listeners = new ArrayList<>();
            for (int i = 0; i < 2; i++) {
                var listener = new SocketClientConnectionListener(runtime, config, i, echo());
                listener.start();
                listeners.add(listener);
            }
            int second = listeners.get(1).getLocalPort();
            try (Peer peer = Peer.client(second)) {
                listeners.get(0).close();
                listeners.get(0).close();
                peer.send(new byte[] {8});
                assertArrayEquals(new byte[] {8}, peer.receive());
                assertEquals(1, runtime.getMetrics().open().get(Protocol.CLIENT));
                assertTrue(runtime.getPrometheusText().contains("nativeport_connections"));
            }
        }
    }

    static ConnectionHandler echo() {
        return new ConnectionHandler() {
            @Override
            public void onClientConnect(SocketClientCommunication client) throws IOException {
                try (client) {
                    for (byte[] next; (next = client.read()) != null; ) {
                        client.write(next);
                    }
                }
            }
        };
    }

    @Test
    void aListenerMayBeClosedFromItsOwnCallbacksAndHandlers() throws Exception {
        for (boolean fast : new boolean[] {false, true}) {
            CompletableFuture<SocketClientConnectionListener> self = new CompletableFuture<>();
            ConnectionHandler handler =
                    new ConnectionHandler() {
                        @Override
                        public void onClientConnect(SocketClientCommunication client)
                                throws Exception {
                            if (fast) {
                                client.onFrame(frame -> self.join().close());
                            } else {
                                client.read();
                                self.join().close();
                            }
                        }
                    };
            var listener = new SocketClientConnectionListener(Served.config(), handler);
            listener.start();
            self.complete(listener);
            try (Peer peer = Peer.client(listener.getLocalPort())) {
                peer.send(new byte[1]);
                assertThrows(IOException.class, peer::receive);
            }
            listener.close();
        }
    }

    @Test
    void twoRuntimesMayCloseEachOtherFromTheirHandlers() throws Exception {
        ServerConfig config = Served.config();
        NativeRuntime[] runtimes = {
            NativeRuntime.builder(config).loops(1).build(), NativeRuntime.builder(config).loops(1).build()
        };
        CyclicBarrier both = new CyclicBarrier(2);
        List<Peer> peers = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            NativeRuntime other = runtimes[1 - i];
            ConnectionHandler handler =
                    new ConnectionHandler() {
                        @Override
                        public void onClientConnect(SocketClientCommunication client) {
                            client.onFrame(
                                    frame -> {
                                        both.await();
                                        other.close();
                                    });
                        }
                    };
            var listener = new SocketClientConnectionListener(runtimes[i], config, 0, handler);
            listener.start();
            peers.add(Peer.client(listener.getLocalPort()));
        }
        for (Peer peer : peers) {
            peer.send(new byte[1]);
        }
        for (Peer peer : peers) {
            assertThrows(IOException.class, peer::receive);
            peer.close();
        }
        for (NativeRuntime runtime : runtimes) {
            runtime.close();
        }
    }

    @Test
    void aListenerStartsOnceAndATakenPortIsABindException() throws Exception {
        try (Served served = Served.plain()) {
            assertThrows(IllegalStateException.class, served.listener::start);
            ServerConfig taken = Served.config("port", Integer.toString(served.port()));
            try (var second = new SocketClientConnectionListener(taken, echo())) {
                BindException failure = assertThrows(BindException.class, second::start);
                assertTrue(failure.getMessage().contains("Port"), failure.getMessage());
                assertFalse(second.isRunning());
            }
        }
    }

    @Test
    void aConfigurationThatIsWrongSaysWhere() throws Exception {
        ServerConfig wrong = ServerConfig.parse("[Port]\nport = many\n", "wrong.ini");
        ServerConfig.Finding finding = wrong.check().get(0);
        assertTrue(finding.isError());
        assertEquals("wrong.ini", finding.file());
        assertEquals(2, finding.line());
        assertEquals("port", finding.key());
        assertEquals("many", finding.found());
        IllegalArgumentException failure =
                assertThrows(
                        IllegalArgumentException.class,
                        () -> new SocketClientConnectionListener(wrong, echo()));
        assertTrue(failure.getMessage().contains("wrong.ini:2"), failure.getMessage());
        ServerConfig none = ServerConfig.builder().build();
        assertThrows(
                IllegalArgumentException.class,
                () -> new SocketClientConnectionListener(none, echo()));
        assertEquals("1M", Served.config("receiveWindow", "1M").get("Port", "receiveWindow").get());
        assertTrue(none.get("Port", "port").isEmpty());
    }

    @Test
    void closingARuntimeEndsEverythingAndIsRepeatable() throws Exception {
        Set<Thread> before = threads();
        NativeRuntime runtime = NativeRuntime.builder(Served.config()).build();
        var listener =
                new SocketClientConnectionListener(runtime, Served.config(), 0, echo());
        listener.start();
        try (Peer peer = Peer.client(listener.getLocalPort())) {
            runtime.close();
            runtime.close();
            listener.close();
            assertTrue(runtime.isClosed());
            assertThrows(IOException.class, peer::receive);
            assertThrows(IllegalStateException.class, runtime::getMetrics);
            var late = new SocketClientConnectionListener(runtime, Served.config(), 0, echo());
            assertThrows(IllegalStateException.class, late::start);
            late.close();
        }
        Tasks.await("no thread more", () -> before.containsAll(threads()));
    }

    @Test
    void anEndIsToldAlsoWhenTheHostsExecutorTakesNothingMore() throws Exception {
        ExecutorService executor = Executors.newCachedThreadPool();
        LinkedBlockingQueue<SocketClientCommunication> clients = new LinkedBlockingQueue<>();
        ServerConfig config = Served.config();
        ConnectionHandler handler =
                new ConnectionHandler() {
                    @Override
                    public void onClientConnect(SocketClientCommunication client) {
                        clients.add(client);
                    }
                };
        try (NativeRuntime runtime = NativeRuntime.builder(config).callbackExecutor(executor).build();
                var listener = new SocketClientConnectionListener(runtime, config, 0, handler)) {
            listener.start();
            try (Peer peer = Peer.client(listener.getLocalPort())) {
                SocketClientCommunication client = Served.next(clients);
                CompletableFuture<CloseInfo> closed = client.whenClosed().toCompletableFuture();
                executor.shutdown();
                client.close();
                assertEquals("host_closed", closed.get(Served.SECONDS, TimeUnit.SECONDS).reason());
            }
        }
    }

    @Test
    void whatCannotBeMadeLeavesNoThread() throws Exception {
        Set<Thread> before = threads();
        assertThrows(
                NullPointerException.class,
                () -> new SocketClientConnectionListener(Served.config(), null));
        assertThrows(
                IllegalArgumentException.class,
                () ->
                        new SocketClientConnectionListener(
                                ServerConfig.parse("[Port]\nport = many\n", "wrong.ini"), echo()));
        assertThrows(
                IllegalArgumentException.class,
                () ->
                        NativeRuntime.builder(
                                        ServerConfig.parse("[Runtime]\nioThreads = none\n", "wrong.ini"))
                                .build());
        Tasks.await("no thread more", () -> before.containsAll(threads()));
    }

    @Test
    void runtimesThatCannotBeMadeLeaveNoCleaner() throws Exception {
        ServerConfig wrong = ServerConfig.parse("[Runtime]\nioThreads = none\n", "wrong.ini");
        NativeRuntime.builder(Served.config()).build().close();
        long before = cleaners();
        for (int i = 0; i < 20; i++) {
            assertThrows(IllegalArgumentException.class, () -> NativeRuntime.builder(wrong).build());
            NativeRuntime.builder(Served.config()).loops(1).build().close();
        }
        assertTrue(cleaners() <= before, before + " threads became " + cleaners());
    }

    private static long cleaners() {
        return Thread.getAllStackTraces().keySet().stream()
                .filter(thread -> thread.getName().startsWith("Cleaner-"))
                .count();
    }

    private static Set<Thread> threads() {
        Set<Thread> all = new HashSet<>(Thread.getAllStackTraces().keySet());
        all.removeIf(thread -> !thread.getName().startsWith("np-"));
        return all;
    }

    @Test
    void anEndMayHaveForEverAndLessThanNoTime() throws Exception {
        Served served = Served.plain();
        try (Peer peer = Peer.client(served.port())) {
            var stopped = served.listener.stop(Duration.ofSeconds(Long.MAX_VALUE)).toCompletableFuture();
            assertFalse(stopped.isDone());
            served.listener.stop(Duration.ofSeconds(Long.MIN_VALUE));
            peer.expectEnd();
            stopped.get(Served.SECONDS, TimeUnit.SECONDS);
        }
        served.close();
    }

    @Test
    void theSharedRuntimeIsMadeAgainAfterItWasClosed() throws Exception {
        NativeRuntime first = NativeRuntime.shared();
        assertTrue(first == NativeRuntime.shared());
        first.close();
        NativeRuntime second = NativeRuntime.shared();
        assertTrue(first != second);
        second.close();
    }
}
