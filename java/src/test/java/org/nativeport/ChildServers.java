package org.nativeport;

import static org.nativeport.Child.say;

import java.io.BufferedReader;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.InputStreamReader;
import java.io.OutputStream;
import java.io.UncheckedIOException;
import java.lang.ref.Reference;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.LockSupport;

/** Servers that run as a {@link Child}, under orders that come as lines. */
final class ChildServers {
    private static final BufferedReader ORDERS =
            new BufferedReader(new InputStreamReader(System.in));

    private ChildServers() {}

    /** The next order; null when the one who gives them has gone. */
    private static String order() throws IOException {
        return ORDERS.readLine();
    }

    // ------------------------------------------------------------------ hold

    /** Compares what comes, beginning when it is told to go. */
    private static final class Checking implements Way.Program {
        final CountDownLatch go = new CountDownLatch(1);
        final AtomicInteger right = new AtomicInteger();
        private final Map<Long, AtomicInteger> next = new ConcurrentHashMap<>();

        @Override
        public byte[] answer(SocketClientCommunication client, byte[] transaction)
                throws Exception {
            go.await();
            check(client.getInfo().id(), transaction);
            return null;
        }

        void check(long connection, byte[] transaction) {
            int number = next.computeIfAbsent(connection, id -> new AtomicInteger()).getAndIncrement();
            if (!Arrays.equals(WayContract.numbered(number, transaction.length), transaction)) {
                throw new AssertionError("another transaction in place of " + number);
            }
            right.incrementAndGet();
        }

        void check(ISocket socket, long connection) throws IOException {
            try (socket;
                    DataInputStream in = new DataInputStream(socket.getInputStream())) {
                for (int length; (length = in.read()) >= 0; ) {
                    byte[] transaction = new byte[length << 24 | in.read() << 16 | in.readUnsignedShort()];
                    in.readFully(transaction);
                    check(connection, transaction);
                }
            }
        }
    }

    /**
     * Consumes nothing, whatever comes, until it is told to go. {@code what} is a way of consuming that is held
     * up in it; NOBODY: a connection that nobody reads; STREAM: a stream that nobody reads.
     */
    static void hold(String what, boolean tls) throws Exception {
        Checking checking = new Checking();
        boolean isUnread = what.equals("NOBODY") || what.equals("STREAM");
        Way way = isUnread ? null : Way.valueOf(what);
        Served served =
                Served.by(way, tls, checking, "receiveWindow", "256K", "frameTimeout", "0");
        say("port " + served.port());
        for (String order; (order = order()) != null; ) {
            if (order.equals("count")) {
                say("came " + (served.clients.size() + served.relays.size()));
                continue;
            }
            if (order.equals("stats")) {
                Metrics metrics = served.listener.getServerSocket().getMetrics();
                say("stats " + metrics.bytesIn() + " " + metrics.memoryBytes());
                continue;
            }
            checking.go.countDown();
            long connection = 0;
            for (ISocket socket; (socket = served.relays.poll()) != null; connection++) {
                checking.check(socket, connection);
            }
            for (SocketClientCommunication client; (client = served.clients.poll()) != null; ) {
                if (isUnread) {
                    Way.CALLBACK.consume(client, checking);
                }
                Served.ended(client);
            }
            say("right " + checking.right);
        }
        served.close();
    }

    // ------------------------------------------------------------------ many

    /** Sends everything back, on as many connections as come. */
    static void many(Way way, String callbackThreads) throws Exception {
        Served served =
                Served.by(
                        way,
                        false,
                        Way.ECHO,
                        "queueLength",
                        "4096",
                        "maxHandshakes",
                        "0",
                        "maxHandshakesPerAddress",
                        "0",
                        "Runtime.callbackThreads",
                        callbackThreads);
        say("port " + served.port());
        while (order() != null) {
            say("consumed " + served.clients.size());
        }
        served.close();
    }

    // ------------------------------------------------------------------ busy

    /** Sends back what is short, and works for a while on whatever is longer. */
    static void busy() throws Exception {
        Way.Program program =
                (client, transaction) -> {
                    if (transaction.length < 100) {
                        return transaction;
                    }
                    long begun = System.nanoTime();
                    while (System.nanoTime() - begun < TimeUnit.MILLISECONDS.toNanos(1)) {
                        Thread.onSpinWait();
                    }
                    return null;
                };
        Served served = Served.by(Way.CALLBACK, false, program, "Runtime.callbackThreads", "virtual");
        say("port " + served.port());
        while (order() != null) {
            say("came " + served.listener.getServerSocket().getMetrics().bytesIn());
        }
        served.close();
    }

    // --------------------------------------------------------------- exhaust

    /**
     * Sends everything back, except for two orders: "exhaust" takes memory until there is none, and fails;
     * "hoard" takes all of it too, and keeps it for a while. Without memory a program may lose track of a
     * connection: the idle time-out ends that.
     */
    static void exhaust(Way way, String idleTimeout) throws Exception {
        Served served =
                Served.by(way, false, ChildServers::answerOrExhaust, "idleTimeout", idleTimeout);
        say("port " + served.port());
        for (String order; (order = order()) != null; ) {
            if (order.equals("port")) {
                say("port " + served.port());
                continue;
            }
            say("open " + served.listener.getServerSocket().getMetrics().open().get(Protocol.CLIENT));
        }
        served.close();
    }

    // ---------------------------------------------------------------- forget

    /** Loses connections without closing them, keeps one by its stream, and interrupts the log. */
    static void forget() throws Exception {
        Served served = Served.plain();
        say("port " + served.port());
        InputStream kept = null;
        for (String order; (order = order()) != null; ) {
            switch (order) {
                case "interrupt" -> {
                    for (Thread thread : Thread.getAllStackTraces().keySet()) {
                        if (thread.getName().equals("np-log")) {
                            thread.interrupt();
                        }
                    }
                }
                case "keep" -> kept = Served.next(served.unknown).getInputStream();
                case "forget" -> served.nextClient();
                case "collect" -> System.gc();
                default -> throw new IllegalArgumentException(order);
            }
            say("done");
        }
        say("first byte " + kept.read());
        served.close();
    }

    // ------------------------------------------------------------ exit-owing

    /** More than the buffers of the system hold. */
    static final int OWED_BYTES = 24 << 20;

    /** What a peer begins with that is to be owed something in this way. */
    static int firstByte(String way) {
        return way.equals("STREAM") || way.startsWith("HOOK") ? 'G' : 1;
    }

    /**
     * Writes {@link #OWED_BYTES} to who comes, and exits: a STREAM by one call; FRAMES; ASYNC and LOOP, on the thread of a
     * loop, some that wait for room in the native queue; HOOK while the machine exits, HOOKS a byte more a thousand
     * times. Or, on the thread of a loop too, TASK to the second who comes, behind a task of the program that hangs, with an
     * executor that hangs in the exit's thread.
     */
    static void exitOwing(String way, String exitFlush) throws Exception {
        ServerConfig config =
                ServerConfig.builder()
                        .set("Runtime", "exitFlush", exitFlush)
                        .addPort("")
                        .setPort("port", "0")
                        .setPort("bindAddress", "127.0.0.1")
                        .setPort("compression", "off")
                        .setPort("sendQueueLimit", Set.of("ASYNC", "LOOP", "TASK").contains(way) ? "1M" : "64M")
                        .build();
        byte[] frame = new byte[1 << 20];
        NativeRuntime.Builder runtime = NativeRuntime.builder(config).loops(1);
        if (way.equals("TASK")) {
            runtime.callbackExecutor(ChildServers::executeUnlessExit);
        }
        AtomicReference<SocketClientCommunication> first = new AtomicReference<>();
        var listener =
                new SocketClientConnectionListener(
                        runtime.build(),
                        config,
                        0,
                        new ConnectionHandler() {
                            @Override
                            public boolean connectsOnLoop() {
                                return way.equals("LOOP") || way.equals("TASK");
                            }

                            @Override
                            public void onUnknownConnect(ISocket socket, int firstByte) throws Exception {
                                OutputStream out = socket.getOutputStream();
                                if (way.startsWith("HOOK")) {
                                    int more = way.equals("HOOKS") ? 1000 : 0;
                                    Runtime.getRuntime().addShutdownHook(new Thread(() -> writeOwed(out, more)));
                                } else {
                                    writeOwed(out, 0);
                                }
                                exit();
                            }

                            @Override
                            public void onClientConnect(SocketClientCommunication client) throws Exception {
                                if (way.equals("TASK")) {
                                    if (first.compareAndSet(null, client)) {
                                        say("first");
                                        return;
                                    }
                                    Thread other = new Thread(() -> first.get().onFrame(shown -> hang()));
                                    other.start();
                                    other.join();
                                }
                                for (int i = 0; i < OWED_BYTES / frame.length; i++) {
                                    if (way.equals("ASYNC") || way.equals("TASK")) {
                                        client.writeAsync(frame);
                                    } else {
                                        client.write(frame);
                                    }
                                }
                                exit();
                            }
                        });
        listener.start();
        say("port " + listener.getLocalPort());
    }

    private static void executeUnlessExit(Runnable task) {
        if (Thread.currentThread().getName().equals("np-exit-flush")) {
            hang();
        }
        Thread callback = new Thread(task);
        callback.setDaemon(true);
        callback.start();
    }

    private static void hang() {
        for (;;) {
            LockSupport.park();
        }
    }

    private static void writeOwed(OutputStream out, int more) {
        try {
            out.write(new byte[OWED_BYTES]);
            for (int i = 0; i < more; i++) {
                out.write(i);
            }
        } catch (IOException failure) {
            throw new UncheckedIOException(failure);
        }
    }

    // ---------------------------------------------------------- exit-writing

    /** Writes {@code bytes} by one call to each who comes, and exits when it is ordered to, whatever has been written. */
    static void exitWriting(int bytes) throws Exception {
        byte[] data = new byte[bytes];
        ServerConfig config =
                ServerConfig.builder()
                        .set("Runtime", "exitFlush", "0")
                        .addPort("")
                        .setPort("port", "0")
                        .setPort("bindAddress", "127.0.0.1")
                        .setPort("sendQueueLimit", "64K")
                        .build();
        say("port " + writing(NativeRuntime.builder(config).build(), config, data).getLocalPort());
        order();
        System.exit(5);
    }

    private static SocketClientConnectionListener writing(
            NativeRuntime runtime, ServerConfig config, byte[] data) throws IOException {
        var listener =
                new SocketClientConnectionListener(
                        runtime,
                        config,
                        0,
                        new ConnectionHandler() {
                            @Override
                            public void onUnknownConnect(ISocket socket, int firstByte) throws IOException {
                                socket.getOutputStream().write(data);
                            }
                        });
        listener.start();
        return listener;
    }

    // --------------------------------------------------------- serve-in-exit

    /** A hook starts a runtime, and ends when a peer that it owes something has come. */
    static void serveInExit() {
        CountDownLatch owes = new CountDownLatch(1);
        ConnectionHandler handler =
                new ConnectionHandler() {
                    @Override
                    public void onClientConnect(SocketClientCommunication client) throws IOException {
                        for (int i = 0; i < OWED_BYTES >> 20; i++) {
                            client.writeAsync(new byte[1 << 20]);
                        }
                        owes.countDown();
                    }
                };
        Thread hook =
                new Thread(
                        () -> {
                            try {
                                ServerConfig config =
                                        ServerConfig.builder()
                                                .set("Runtime", "exitFlush", "0")
                                                .addPort("")
                                                .setPort("port", "0")
                                                .setPort("bindAddress", "127.0.0.1")
                                                .setPort("compression", "off")
                                                .build();
                                var listener =
                                        new SocketClientConnectionListener(
                                                NativeRuntime.builder(config).build(), config, 0, handler);
                                listener.start();
                                say("port " + listener.getLocalPort());
                                owes.await();
                            } catch (IOException | InterruptedException failure) {
                                throw new IllegalStateException(failure);
                            }
                        });
        Runtime.getRuntime().addShutdownHook(hook);
        System.exit(5);
    }

    private static void exit() {
        say("written");
        System.exit(5);
    }

    // ------------------------------------------------------------------ peek

    /** Looks at the last byte of each transaction on the fast path, and answers by that; on two loops. */
    static void peek() throws Exception {
        Served served = Served.plain();
        say("port " + served.port());
        for (; order() != null; say("done")) {
            SocketClientCommunication client = served.nextClient();
            client.onFrame(frame -> client.write(new byte[] {frame.get(frame.length() - 1)}));
        }
        served.close();
    }

    // --------------------------------------------------------------- forward

    /**
     * The first client is filled up by each transaction of the others, then gets that too: from what was polled, on
     * the thread of the one loop. Then the sender gets an empty one.
     */
    static void forward() throws Exception {
        ServerConfig config = Served.config("sendQueueLimit", "64K");
        NativeRuntime runtime = NativeRuntime.builder(config).loops(1).build();
        AtomicReference<SocketClientCommunication> target = new AtomicReference<>();
        var listener =
                new SocketClientConnectionListener(
                        runtime,
                        config,
                        0,
                        new ConnectionHandler() {
                            @Override
                            public boolean connectsOnLoop() {
                                return true;
                            }

                            @Override
                            public void onClientConnect(SocketClientCommunication client)
                                    throws IOException {
                                if (target.compareAndSet(null, client)) {
                                    say("target");
                                } else {
                                    client.onFrame(frame -> fillAndForward(target.get(), client, frame));
                                }
                            }
                        });
        listener.start();
        say("port " + listener.getLocalPort());
        while (order() != null) {
            continue;
        }
        listener.close();
    }

    private static void fillAndForward(
            SocketClientCommunication target, SocketClientCommunication from, FrameView frame)
            throws IOException {
        try {
            byte[] filling = new byte[50_000];
            // Its peer does not read.
            while (target.offer(filling)) {
                continue;
            }
            target.write(frame);
        } catch (IOException closed) {
            say("the target has ended");
        }
        from.write(new byte[0]);
        say("forwarded " + frame.length());
    }

    // ------------------------------------------------------------------ fill

    private static final byte[] FILLED = "\nfilled\n".getBytes();
    private static volatile Object rest;
    private static volatile boolean isFull;
    private static volatile boolean hasEnded;

    /**
     * What waits for a peer that does not read fills the heap, and the program has the rest of it until that connection
     * has ended. Then there is memory again, whoever waits has been told, and others are served. The frames are written
     * in a handler, or by {@code writeAsync}: arrays of their own, or one for all, which gives no memory back.
     */
    static void fill(String how) throws Exception {
        Served served = Served.plain("sendQueueLimit", "64K", "compression", "off");
        say("port " + served.port());
        SocketClientCommunication client = served.nextClient();
        client.whenClosed().thenRun(() -> hasEnded = true);
        rest = new byte[2 << 20];
        try {
            fillAndEnd(client, how);
        } finally {
            rest = null;
        }
        Object[] half = new Object[12];
        for (int i = 0; i < half.length; i++) {
            half[i] = new byte[1 << 20];
        }
        Reference.reachabilityFence(half);
        Reference.reachabilityFence(client);
        say("told");
        SocketClientCommunication next = served.nextClient();
        next.onFrame(next::write);
        while (order() != null) {
            continue;
        }
        served.close();
    }

    /**
     * The same, written in a handler, on the loop of a second connection, where a thread waits meanwhile: as a READER, as
     * a WRITER that has no room, or as a WATCHER of its end. That one ends first.
     */
    static void fillBeside(String waits, boolean isVirtual) throws Exception {
        Served served =
                Served.plain("sendQueueLimit", "64K", "compression", "off", "Runtime.ioThreads", "1");
        say("port " + served.port());
        SocketClientCommunication client = served.nextClient();
        say("first");
        SocketClientCommunication second = served.nextClient();
        client.whenClosed().thenRun(() -> hasEnded = true);
        Thread waiting = Tasks.thread(() -> waitAs(waits, second), isVirtual);
        Tasks.await("the thread", () -> waiting.getState() == Thread.State.WAITING);
        say("waits");
        rest = new byte[2 << 20];
        try {
            fillAndEnd(client, "onFrame");
        } finally {
            rest = null;
        }
        waiting.join();
        say("told");
        while (order() != null) {
            continue;
        }
        served.close();
    }

    private static void waitAs(String waits, SocketClientCommunication client) {
        byte[] large = new byte[1 << 20];
        try {
            switch (waits) {
                case "READER" -> client.read();
                case "WATCHER" -> client.whenClosed().toCompletableFuture().get();
                default -> {
                    // Until there is no more room for long: no writer has waited before.
                    for (int still = 0; still < 300; still++) {
                        if (client.offer(large)) {
                            still = 0;
                        }
                        LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(1));
                    }
                    client.write(large);
                }
            }
        } catch (Exception ended) {
            return;
        }
    }

    /** Without memory from a moment on. */
    private static void fillAndEnd(SocketClientCommunication client, String how) throws Exception {
        AtomicInteger made = new AtomicInteger();
        AtomicInteger told = new AtomicInteger();
        if (how.equals("onFrame")) {
            client.onFrame(
                    frame -> {
                        fill(() -> client.write(new byte[1000]));
                        rest = takeAll(rest);
                        isFull = true;
                    });
            while (!isFull) {
                Thread.onSpinWait();
            }
            // What the handler did not need any more when it returned.
            rest = takeAll(rest);
            System.out.write(FILLED);
            System.out.flush();
        } else {
            byte[] one = new byte[20];
            boolean isOne = how.equals("one");
            fill(
                    () -> {
                        client.writeAsync(isOne ? one : new byte[20])
                                .whenComplete((nothing, failure) -> told.incrementAndGet());
                        made.incrementAndGet();
                    });
            rest = takeAll(rest);
            client.abort();
        }
        while (!hasEnded) {
            Thread.onSpinWait();
        }
        rest = null;
        while (told.get() < made.get()) {
            Thread.onSpinWait();
        }
    }

    private static void fill(Tasks.Action write) throws Exception {
        try {
            for (;;) {
                write.run();
            }
        } catch (OutOfMemoryError full) {
            return;
        }
    }

    private static byte[] answerOrExhaust(SocketClientCommunication client, byte[] transaction) {
        String text = transaction.length > 20 ? "" : new String(transaction);
        if (text.equals("exhaust")) {
            List<byte[]> all = new ArrayList<>();
            for (;;) {
                all.add(new byte[16_384]);
            }
        }
        if (text.equals("hoard")) {
            hoard();
        }
        return transaction;
    }

    /** All memory that there is, down to the last bytes, each piece a link of a chain. */
    private static Object takeAll(Object before) {
        Object all = before;
        for (int size = 1 << 20; size > 0; size /= 4) {
            try {
                for (;;) {
                    all = new Object[] {all, new byte[size]};
                }
            } catch (OutOfMemoryError full) {
                continue;
            }
        }
        return all;
    }

    private static void hoard() {
        Object all = takeAll(null);
        // Not parked: to wake a virtual thread the JDK needs memory.
        long begun = System.nanoTime();
        while (System.nanoTime() - begun < TimeUnit.MILLISECONDS.toNanos(500)) {
            Thread.onSpinWait();
        }
        Reference.reachabilityFence(all);
    }
}
