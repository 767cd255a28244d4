package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.nativeport.Tasks.Task;

/**
 * One program over each way of consuming, plain and with TLS: what {@code tests/consumers.rs} asks of hosts in C.
 * Where a way differs by design, the test says so.
 */
@SuppressWarnings("try") // a resource that is there and not used
abstract class WayContract {
    private static final byte[] FAREWELL = "after the end".getBytes();

    private final Way way;
    private final boolean tls;

    WayContract(Way way, boolean tls) {
        this.way = way;
        this.tls = tls;
    }

    private Served serve(Way.Program program, String... settings) throws IOException {
        return Served.by(way, tls, program, settings);
    }

    private Peer connect(Served served) throws IOException {
        return Peer.connect(served.port(), tls);
    }

    private Peer client(Served served) throws IOException {
        return Peer.client(served.port(), tls);
    }

    /** Bytes that no compression makes smaller. */
    private static byte[] noise(int size) {
        return TransactionsTest.random(size);
    }

    private static byte[] text(int size) {
        byte[] bytes = new byte[size];
        for (int i = 0; i < size; i++) {
            bytes[i] = (byte) (i / 11 * 5 + size);
        }
        return bytes;
    }

    /** Its number, then the last byte of that again and again. */
    static byte[] numbered(int number, int size) {
        byte[] bytes = new byte[size];
        Arrays.fill(bytes, (byte) number);
        ByteBuffer.wrap(bytes).putInt(number);
        return bytes;
    }

    /** Sends from a thread of its own, so that the peer reads meanwhile. */
    private static Task<Void> sendNumbered(Peer peer, int count, int size) {
        return Tasks.start(
                () -> {
                    for (int i = 0; i < count; i++) {
                        peer.put(numbered(i, size));
                    }
                    peer.flush();
                });
    }

    private static void receiveNumbered(Peer peer, int count, int size) throws Exception {
        for (int i = 0; i < count; i++) {
            assertArrayEquals(numbered(i, size), peer.receive());
        }
    }

    /** The peer has ended; the program is done, and the connection ends in order. */
    private static void endsInOrder(Peer peer, SocketClientCommunication client) throws Exception {
        peer.finish();
        peer.expectEnd();
        assertEquals("peer_closed", Served.ended(client).reason());
    }

    @Test
    void aPeerThatEndsTlsWithoutCloseNotifyHasEndedWhereThePortRequiresNone() throws Exception {
        try (Served served = serve(Way.ECHO, "requireCloseNotify", "no")) {
            try (Peer peer = client(served)) {
                SocketClientCommunication client = Served.next(served.clients);
                peer.send("last".getBytes());
                assertArrayEquals("last".getBytes(), peer.receive());
                peer.finishWithoutCloseNotify();
                peer.expectEnd();
                assertEquals("peer_closed", Served.ended(client).reason());
            }
            try (Peer peer = connect(served)) {
                peer.out.writeBytes("Gone");
                peer.finishWithoutCloseNotify();
                assertEquals("Gone", new String(peer.in.readAllBytes()));
            }
        }
    }

    // ------------------------------------------------------------- arrivals

    @Test
    void everyoneIsIdentifiedEchoedAndToldOfHisEnd() throws Exception {
        try (Served served = serve(Way.ECHO)) {
            for (int first : new int[] {1, 3}) {
                try (Peer peer = connect(served).identify(first)) {
                    SocketClientCommunication client =
                            Served.next(first == 1 ? served.clients : served.applications);
                    assertEquals(first, client.getInfo().firstByte());
                    assertEquals(tls, client.getTlsInfo().isPresent());
                    assertNull(client.whenClosed().toCompletableFuture().getNow(null));
                    peer.send("echo".getBytes());
                    assertArrayEquals("echo".getBytes(), peer.receive());
                    endsInOrder(peer, client);
                    CloseInfo how = Served.ended(client);
                    assertEquals(CloseInfo.Party.PEER, how.by());
                    assertEquals(0, how.unsentBytes());
                    assertTrue(client.isClosed());
                    assertThrows(SocketException.class, () -> client.offer(new byte[1]));
                }
            }
            for (int first : new int[] {2, 'G'}) {
                try (Peer peer = connect(served)) {
                    peer.out.write(first);
                    peer.out.writeBytes("echo");
                    peer.finish();
                    // The first byte of a relay is not part of its stream.
                    String expected = first == 2 ? "echo" : "Gecho";
                    assertEquals(expected, new String(peer.in.readAllBytes()));
                    Served.next(first == 2 ? served.relays : served.unknown);
                }
            }
            // A peer may see the end before it is counted.
            ServerSocketInterface2 port = served.listener.getServerSocket();
            Tasks.await(
                    "the last end",
                    () -> port.getMetrics().open().values().stream().allMatch(open -> open == 0));
            port.getMetrics().opened().forEach((protocol, opened) -> assertEquals(1, opened, protocol.name()));
        }
    }

    @Test
    void admissionIsDecidedInTheCallback() throws Exception {
        try (Served served = Served.admittedAtOnce(way, tls, Way.ECHO);
                Peer peer = connect(served);
                Peer refused = connect(served)) {
            peer.out.write(1);
            peer.send("early".getBytes());
            assertEquals(1, peer.in.read());
            assertArrayEquals("early".getBytes(), peer.receive());
            refused.out.writeBytes("GET");
            refused.flush();
            assertEquals("no", new String(refused.in.readAllBytes()));
            assertTrue(served.unknown.isEmpty());
            endsInOrder(peer, served.nextClient());
        }
    }

    @Test
    void admissionIsDecidedLaterByAnotherThread() throws Exception {
        try (Served served = Served.admittedLater(way, tls, Way.ECHO);
                Peer admitted = connect(served);
                Peer refused = connect(served);
                Peer gone = connect(served)) {
            admitted.out.write(3);
            admitted.send("early".getBytes());
            Admission first = Served.next(served.admissions);
            refused.out.write(2);
            refused.flush();
            Admission second = Served.next(served.admissions);
            gone.out.write(1);
            gone.flush();
            Admission third = Served.next(served.admissions);
            assertTrue(served.applications.isEmpty());
            assertTrue(second.refuse("not today".getBytes()));
            assertEquals("not today", new String(refused.in.readAllBytes()));
            assertFalse(second.admit());
            assertTrue(first.admit());
            assertFalse(first.admit());
            assertEquals(1, admitted.in.read());
            assertArrayEquals("early".getBytes(), admitted.receive());
            // Who goes before it is decided: whatever is decided then, nobody hears of him.
            gone.reset();
            third.refuse();
            assertTrue(served.clients.isEmpty());
            endsInOrder(admitted, Served.next(served.applications));
        }
    }

    // --------------------------------------------------------- transactions

    @Test
    void transactionsOfAllSizesComeBackWithEveryByte() throws Exception {
        try (Served served = serve(Way.ECHO);
                Peer peer = client(served)) {
            for (int size : new int[] {0, 1, 511, 512, 16 << 10, 1 << 20}) {
                for (byte[] each : new byte[][] {noise(size), text(size)}) {
                    peer.send(each);
                    assertArrayEquals(each, peer.receive(), size + " bytes, raw");
                    peer.putCompressed(each).flush();
                    assertArrayEquals(each, peer.receive(), size + " bytes, compressed");
                }
            }
            // Many in one write, in order.
            for (int i = 0; i < 300; i++) {
                if (i % 3 == 0) {
                    peer.putCompressed(text(i * 7));
                } else {
                    peer.put(text(i * 7));
                }
            }
            peer.flush();
            for (int i = 0; i < 300; i++) {
                assertArrayEquals(text(i * 7), peer.receive());
            }
            endsInOrder(peer, served.nextClient());
        }
    }

    @Test
    void streamsComeBackWithEveryByte() throws Exception {
        try (Served served = serve(Way.ECHO)) {
            for (int first : new int[] {2, 'x'}) {
                try (Peer peer = connect(served)) {
                    peer.out.write(first);
                    peer.flush();
                    if (first != 2) {
                        assertEquals(first, peer.in.read());
                    }
                    for (int round = 0; round < 20; round++) {
                        byte[] bytes = noise(1 + round * 1777);
                        peer.out.write(bytes);
                        peer.flush();
                        assertArrayEquals(bytes, peer.in.readNBytes(bytes.length));
                    }
                    byte[] last = noise(100_000);
                    Task<Void> sender =
                            Tasks.start(
                                    () -> {
                                        peer.out.write(last);
                                        peer.finish();
                                    });
                    assertArrayEquals(last, peer.in.readAllBytes());
                    sender.get();
                }
            }
        }
    }

    @Test
    void aSlowHandlerGetsEverythingInOrder() throws Exception {
        AtomicInteger taken = new AtomicInteger();
        Way.Program slow =
                (client, transaction) -> {
                    if (taken.getAndIncrement() % 10 == 0) {
                        LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(1));
                    }
                    return transaction;
                };
        try (Served served = serve(slow, "receiveWindow", "64K");
                Peer peer = client(served)) {
            Task<Void> sender = sendNumbered(peer, 500, 2000);
            receiveNumbered(peer, 500, 2000);
            sender.get();
            assertEquals(500, taken.get());
            endsInOrder(peer, served.nextClient());
        }
    }

    // ------------------------------------------------------- the peer's end

    @Test
    void afterThePeersEndItsLastAnswersComeBeforeTheClose() throws Exception {
        try (Served served = serve(Way.ECHO, "compression", "off");
                Peer peer = client(served)) {
            Task<Void> sender =
                    Tasks.start(
                            () -> {
                                sendNumbered(peer, 300, 4096).get();
                                peer.finish();
                            });
            receiveNumbered(peer, 300, 4096);
            sender.get();
            peer.expectEnd();
            CloseInfo how = Served.ended(served.nextClient());
            assertEquals("peer_closed", how.reason());
            assertEquals(0, how.unsentBytes());
        }
    }

    @Test
    void afterThePeersEndASlowPeerGetsAllItsAnswers() throws Exception {
        String[] settings = {
            "compression", "off", "sendQueueLimit", "64K", "receiveWindow", "64M"
        };
        CountDownLatch go = new CountDownLatch(1);
        Way.Program held =
                (client, transaction) -> {
                    go.await();
                    return transaction;
                };
        int count = 3000;
        // A handler on the loop's thread holds up the loop: nothing is taken in that way meanwhile.
        boolean takesAll = way != Way.FAST;
        try (Served served = serve(takesAll ? held : Way.ECHO, settings);
                Peer peer = client(served)) {
            Task<Void> sender =
                    Tasks.start(
                            () -> {
                                sendNumbered(peer, count, 4096).get();
                                peer.finish();
                            });
            if (takesAll) {
                // All of it fits the window: the end comes before the first answer is sent.
                sender.get();
                ServerSocketInterface2 port = served.listener.getServerSocket();
                Tasks.await("all of it", () -> port.getMetrics().framesIn() == count);
                go.countDown();
            }
            receiveNumbered(peer, count, 4096);
            sender.get();
            peer.expectEnd();
            assertEquals(0, Served.ended(served.nextClient()).unsentBytes());
        }
    }

    @Test
    void theProgramAnswersTheEndAndCloses() throws Exception {
        Way.Program program =
                new Way.Program() {
                    @Override
                    public byte[] answer(SocketClientCommunication client, byte[] transaction) {
                        return transaction;
                    }

                    @Override
                    public byte[] farewell() {
                        return FAREWELL;
                    }
                };
        try (Served served = serve(program);
                Peer peer = client(served);
                Peer stream = connect(served)) {
            peer.send("last".getBytes());
            peer.finish();
            assertArrayEquals("last".getBytes(), peer.receive());
            if (way.hearsTheEnd()) {
                assertArrayEquals(FAREWELL, peer.receive());
            }
            peer.expectEnd();
            assertEquals("peer_closed", Served.ended(served.nextClient()).reason());
            stream.out.writeBytes("stream");
            stream.finish();
            assertEquals("streamafter the end", new String(stream.in.readAllBytes()));
        }
    }

    // -------------------------------------------------------- back-pressure

    @Test
    void aPauseHoldsThePeerBackUntilItIsResumed() throws Exception {
        AtomicInteger taken = new AtomicInteger();
        Way.Program counting =
                (client, transaction) -> {
                    if (Others.isOne(transaction)) {
                        return transaction;
                    }
                    taken.incrementAndGet();
                    return null;
                };
        // Only the pause holds it back.
        try (Served served = serve(counting, "receiveWindow", "1G", "frameTimeout", "0");
                Peer peer = client(served)) {
            SocketClientCommunication client = served.nextClient();
            Task<Void> sender;
            try (Others others = new Others(served, tls)) {
                client.pauseReading();
                // From here on its loop knows.
                others.exchange();
                peer.send(numbered(0, 10_000));
                sender = sendNumbered(peer, 1999, 10_000);
                others.exchange();
                assertEquals(0, taken.get(), "came through a pause");
            }
            client.resumeReading();
            sender.get();
            endsInOrder(peer, client);
            assertEquals(2000, taken.get());
        }
    }

    @Test
    void aSendWithoutRoomIsRefusedAndGoesOnWhenThereIsRoom() throws Exception {
        BlockingQueue<CompletionStage<Void>> later = new LinkedBlockingQueue<>();
        Way.Program filling =
                (client, transaction) -> {
                    if (new String(transaction).equals("fill")) {
                        for (int i = 0; i < 512; i++) {
                            if (way == Way.ASYNC) {
                                later.add(client.writeAsync(numbered(i, 4096)));
                            } else {
                                // Parks in the ways that may; on the loop's thread all is taken.
                                client.write(numbered(i, 4096));
                            }
                        }
                        return null;
                    }
                    return transaction;
                };
        try (Served served = serve(filling, "compression", "off", "sendQueueLimit", "64K");
                Peer peer = client(served)) {
            SocketClientCommunication client = served.nextClient();
            // From a thread of the program's.
            int offered = 0;
            while (client.offer(numbered(offered, 4096))) {
                offered++;
            }
            int waiting = offered;
            Task<Void> parked =
                    Tasks.start(() -> client.write(numbered(waiting, 4096))).awaitParked();
            receiveNumbered(peer, offered + 1, 4096);
            parked.get();
            // From where the program consumes.
            peer.put("fill".getBytes()).put("behind".getBytes()).flush();
            receiveNumbered(peer, 512, 4096);
            assertArrayEquals("behind".getBytes(), peer.receive());
            for (CompletionStage<Void> each : later) {
                each.toCompletableFuture().get(Served.SECONDS, TimeUnit.SECONDS);
            }
            endsInOrder(peer, client);
        }
    }

    @Test
    void readingGoesOnWhenAllThatWaitedHasBeenSent() throws Exception {
        int count = 30;
        byte[] large = noise(1 << 20);
        CountDownLatch waits = new CountDownLatch(1);
        Way.Program filling =
                (client, transaction) -> {
                    if (!new String(transaction).equals("fill")) {
                        return transaction;
                    }
                    for (int i = 0; i < count; i++) {
                        // On the loop's thread a write that finds no room is taken too.
                        if (way == Way.FAST) {
                            client.write(large);
                        } else {
                            client.writeAsync(large);
                        }
                    }
                    waits.countDown();
                    return null;
                };
        try (Served served = serve(filling, "compression", "off", "sendQueueLimit", "64K");
                Peer peer = client(served)) {
            SocketClientCommunication client = served.nextClient();
            peer.send("fill".getBytes());
            waits.await();
            assertFalse(client.offer(new byte[1]), "there was room for all of it");
            for (int i = 0; i < count; i++) {
                assertArrayEquals(large, peer.receive());
            }
            peer.send("again".getBytes());
            assertArrayEquals("again".getBytes(), peer.receive());
            endsInOrder(peer, client);
        }
    }

    @ParameterizedTest
    @ValueSource(ints = {1, 2})
    void aChainOfSendsThatAreEachMadeWhenTheOneBeforeIsTakenIsAsLongAsOneLikes(int sendsInAStep) throws Exception {
        int count = 20_000;
        CompletableFuture<Void> all = new CompletableFuture<>();
        Way.Program chaining =
                (client, transaction) -> {
                    sendFrom(0, count, sendsInAStep, client, all);
                    return null;
                };
        // There is room for all: each is taken at once.
        try (Served served = serve(chaining, "compression", "off", "sendQueueLimit", "64M");
                Peer peer = client(served)) {
            peer.send(new byte[1]);
            all.get(Served.SECONDS, TimeUnit.SECONDS);
            for (int i = 0; i < count; i++) {
                assertEquals(i, ByteBuffer.wrap(peer.receive()).getInt());
            }
            endsInOrder(peer, served.nextClient());
        }
    }

    /** The last one of a step makes the next step. */
    private static void sendFrom(
            int number, int end, int sendsInAStep, SocketClientCommunication client, CompletableFuture<Void> all) {
        if (number == end) {
            all.complete(null);
            return;
        }
        int next = number + sendsInAStep;
        for (int i = number; i < next - 1; i++) {
            client.writeAsync(numbered(i, 4));
        }
        client.writeAsync(numbered(next - 1, 4)).thenRun(() -> sendFrom(next, end, sendsInAStep, client, all));
    }

    // ----------------------------------------------------------------- ends

    private static final Way.Program OBEYING =
            (client, transaction) -> {
                switch (new String(transaction)) {
                    case "close" -> client.close();
                    case "abort" -> client.abort();
                    case "fail" -> throw new IllegalStateException("on purpose");
                    case "fail badly" -> throw new StackOverflowError("on purpose");
                    default -> {
                        return transaction;
                    }
                }
                return null;
            };

    @Test
    void connectionsAreClosedAndAbortedFromInside() throws Exception {
        try (Served served = serve(OBEYING);
                Peer peer = client(served)) {
            for (String each : new String[] {"one", "close", "never"}) {
                peer.put(each.getBytes());
            }
            peer.flush();
            assertArrayEquals("one".getBytes(), peer.receive());
            peer.expectEnd();
            assertEquals("host_closed", Served.ended(served.nextClient()).reason());
            try (Peer aborted = client(served)) {
                aborted.send("abort".getBytes());
                assertThrows(IOException.class, aborted::receive);
                assertEquals("host_aborted", Served.ended(served.nextClient()).reason());
            }
        }
    }

    @Test
    void connectionsAreClosedAndAbortedFromOutside() throws Exception {
        try (Served served = serve(Way.ECHO);
                Peer closed = client(served)) {
            SocketClientCommunication client = served.nextClient();
            closed.send("echo".getBytes());
            closed.receive();
            client.close();
            closed.expectEnd();
            assertEquals("host_closed", Served.ended(client).reason());
            client.close();
            client.abort();
            assertEquals("host_closed", Served.ended(client).reason());
            try (Peer aborted = client(served)) {
                SocketClientCommunication second = served.nextClient();
                second.abort();
                assertThrows(IOException.class, aborted::receive);
                assertEquals("host_aborted", Served.ended(second).reason());
            }
            // The peer goes without a word.
            client(served).reset();
            CloseInfo how = Served.ended(served.nextClient());
            assertEquals("peer_reset", how.reason());
            assertEquals(CloseInfo.Party.PEER, how.by());
        }
    }

    @Test
    void aProgramThatFailsEndsItsConnectionAlone() throws Exception {
        try (Served served = serve(OBEYING);
                Peer other = client(served)) {
            SocketClientCommunication unharmed = served.nextClient();
            for (String failure : new String[] {"fail", "fail badly"}) {
                try (Peer peer = client(served)) {
                    peer.send(failure.getBytes());
                    if (way == Way.THREAD || way == Way.CALLBACK || way == Way.ASYNC) {
                        peer.expectEnd();
                        assertEquals("host_closed", Served.ended(served.nextClient()).reason());
                    } else {
                        assertThrows(IOException.class, peer::receive);
                        assertEquals("host_aborted", Served.ended(served.nextClient()).reason());
                    }
                }
                other.send("echo".getBytes());
                assertArrayEquals("echo".getBytes(), other.receive());
            }
            endsInOrder(other, unharmed);
        }
    }

    @Test
    void aSilentConnectionEndsByItsIdleTimeout() throws Exception {
        try (Served served = serve(Way.ECHO, "idleTimeout", "100ms");
                Peer peer = client(served)) {
            assertThrows(IOException.class, peer::receive);
            assertEquals("idle_timeout", Served.ended(served.nextClient()).reason());
        }
    }

    // ----------------------------------------------------------------- stop

    @Test
    void aStopLetsBusyConnectionsGoOnUntilTheyEnd() throws Exception {
        try (Served served = serve(Way.ECHO)) {
            List<Peer> peers = new ArrayList<>();
            try {
                for (int i = 0; i < 6; i++) {
                    peers.add(client(served));
                }
                List<Task<Void>> busy = new ArrayList<>();
                for (Peer peer : peers) {
                    busy.add(Tasks.start(() -> exchange(peer, 100)));
                }
                CompletableFuture<Void> stopped =
                        served.listener.stop(Duration.ofMinutes(10)).toCompletableFuture();
                for (Task<Void> each : busy) {
                    each.get();
                }
                Peer.awaitRefusal(served.port());
                assertFalse(stopped.isDone());
                for (Peer peer : peers) {
                    exchange(peer, 3);
                    peer.finish();
                    peer.expectEnd();
                }
                stopped.get(Served.SECONDS, TimeUnit.SECONDS);
                for (int i = 0; i < 6; i++) {
                    assertEquals("peer_closed", Served.ended(served.nextClient()).reason());
                }
            } finally {
                for (Peer peer : peers) {
                    peer.close();
                }
            }
        }
    }

    private static void exchange(Peer peer, int rounds) throws Exception {
        for (int i = 0; i < rounds; i++) {
            byte[] each = text(1 + i * 97 % 5000);
            peer.send(each);
            assertArrayEquals(each, peer.receive());
        }
    }

    @Test
    void aStopMayComeFromWhereTheProgramConsumes() throws Exception {
        CompletableFuture<Served> itself = new CompletableFuture<>();
        CompletableFuture<Void> stopped = new CompletableFuture<>();
        Way.Program stopping =
                (client, transaction) -> {
                    Served served = itself.get();
                    served.listener.stop(Duration.ofMinutes(10));
                    served.listener
                            .stop(Duration.ZERO)
                            .whenComplete((nothing, failure) -> stopped.complete(null));
                    return null;
                };
        try (Served served = serve(stopping);
                Peer first = client(served);
                Peer second = client(served);
                Peer third = client(served)) {
            itself.complete(served);
            second.send("stop".getBytes());
            for (Peer peer : List.of(first, second, third)) {
                assertThrows(IOException.class, peer::receive);
            }
            stopped.get(Served.SECONDS, TimeUnit.SECONDS);
            for (int i = 0; i < 3; i++) {
                assertEquals("drain_deadline", Served.ended(served.nextClient()).reason());
            }
        }
    }

    @Test
    void everythingIsClosedInAnyOrder() throws Exception {
        for (String order : new String[] {"lrcp", "rlpc", "cprl", "plcr", "crpl", "pcrl"}) {
            ServerConfig config = tls ? Served.tlsConfig() : Served.config();
            BlockingQueue<SocketClientCommunication> clients = new LinkedBlockingQueue<>();
            ConnectionHandler handler =
                    new ConnectionHandler() {
                        @Override
                        public void onClientConnect(SocketClientCommunication client)
                                throws Exception {
                            clients.add(client);
                            way.consume(client, Way.ECHO);
                        }
                    };
            NativeRuntime runtime = NativeRuntime.builder(config).build();
            var listener = new SocketClientConnectionListener(runtime, config, 0, handler);
            listener.start();
            Peer peer = Peer.client(listener.getLocalPort(), tls);
            peer.put("busy".getBytes()).flush();
            SocketClientCommunication client = Served.next(clients);
            for (char each : order.toCharArray()) {
                switch (each) {
                    case 'l' -> listener.close();
                    case 'r' -> runtime.close();
                    case 'c' -> client.close();
                    default -> peer.close();
                }
            }
            Served.ended(client);
            assertTrue(runtime.isClosed());
            assertFalse(listener.isRunning());
        }
    }
}
