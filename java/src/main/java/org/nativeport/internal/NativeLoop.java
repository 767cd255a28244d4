package org.nativeport.internal;

import java.io.IOException;
import java.net.Inet6Address;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.time.Duration;
import java.util.Arrays;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import java.util.function.Consumer;
import org.nativeport.CloseInfo;
import org.nativeport.ConnectionInfo;
import org.nativeport.FrameView;
import org.nativeport.Protocol;
import org.nativeport.TlsInfo;
import org.nativeport.internal.NativeNumbers.CloseRecord;
import org.nativeport.internal.NativeNumbers.Entry;
import org.nativeport.internal.NativeNumbers.EntryFlag;
import org.nativeport.internal.NativeNumbers.EventKind;
import org.nativeport.internal.NativeNumbers.EventRecord;
import org.nativeport.internal.NativeNumbers.LogRecord;

/**
 * A loop and the thread that drives it: it polls, and hands what happened to the connections. The
 * order of what a poll tells is described in {@code bindings/jni/src/polled.rs}; this is its only
 * reader.
 *
 * <p>The thread never waits but in the poll. An exception of the host's code ends a connection,
 * not the loop; a defect of the library ends the loop's connections, and whoever waits for them is told.
 */
public final class NativeLoop implements Runnable {
    private static final int RECORDS = 1024;
    private static final int ENTRIES = 8192;
    private static final int REST = 262144;
    private static final int ENTRIES_AT = RECORDS * EventRecord.BYTES;

    /** How often a loop looks whether a stopping listener has ended, or there is memory again. */
    private static final long LOOK_MS = 20;

    private static final long LOOK_NANOS = TimeUnit.MILLISECONDS.toNanos(LOOK_MS);

    /** Behind a poll that has failed: the next one may fail too. */
    private static final long FAILURE_PAUSE_NANOS = 100_000_000;

    /** Told in place of how a connection ended when there is no memory for that. */
    private static final CloseInfo UNTOLD = internal("there was no memory to tell how it ended");

    /** Told to the connections of a loop that has failed. */
    private static final CloseInfo LOST = internal("a defect has ended it together with its loop");

    private static CloseInfo internal(String text) {
        return new CloseInfo(
                CloseReason.INTERNAL.word(),
                CloseReason.INTERNAL.number,
                CloseInfo.Party.LIBRARY,
                0,
                -1,
                0,
                0,
                0,
                Duration.ZERO,
                text);
    }

    /** What a handler is shown. */
    final Frame view = new Frame(this);

    final long id;
    private final RuntimeCore runtime;
    private final ByteBuffer input;
    private final ByteBuffer output;
    private final Thread thread;
    private final ConcurrentLinkedQueue<Runnable> tasks = new ConcurrentLinkedQueue<>();
    /** The first of what there was no memory for; this thread's. */
    private Postponed postponed;
    /** When that was last tried again. */
    private long triedNanos = System.nanoTime();

    private NativeConnection[] connections = new NativeConnection[64];

    /** Set when the virtual machine exits: who is to be shown each connection. */
    private volatile Consumer<NativeConnection> exitVisitor;
    /** The connections were told so. Of this loop's thread, or of the one that stands in for it. */
    private boolean processEnds;
    /** The native loop has heard of it too. */
    private volatile boolean knowsThatProcessEnds;

    NativeLoop(RuntimeCore runtime, int index, int bufferSize) throws IOException {
        this.runtime = runtime;
        this.thread = new LoopThread(this, "np-io-" + index);
        thread.setDaemon(true);
        this.input = ByteBuffer.allocateDirect(bufferSize);
        this.output =
                ByteBuffer.allocateDirect(ENTRIES_AT + ENTRIES * Entry.BYTES + REST)
                        .order(ByteOrder.nativeOrder());
        byte[] words = new byte[Native.WORDS];
        long made = Native.loopNew(runtime.id, input, output, RECORDS, ENTRIES, words);
        if (made < 0) {
            throw Status.exception(made, words);
        }
        this.id = made;
    }

    /** Known by its class: whoever may wait asks, and there may be many loops and runtimes. */
    static final class LoopThread extends Thread {
        /** More than it takes to wake a virtual thread, so that a collection that this causes finds room for that. */
        private static final int PROBE_BYTES = 512;

        private final Runnable loop;
        /** Volatile, so that the compiler does not leave it out. */
        private volatile byte[] probe;

        private boolean isShort;
        private long foundShortNanos;

        LoopThread(Runnable loop, String name) {
            super(null, loop, name, 0, false);
            this.loop = loop;
        }

        private void requireMemory() {
            // Each failure has collected the whole heap.
            if (isShort && System.nanoTime() - foundShortNanos < LOOK_NANOS) {
                throw new OutOfMemoryError("as a moment ago");
            }
            isShort = true;
            foundShortNanos = System.nanoTime();
            probe = new byte[PROBE_BYTES];
            probe = null;
            isShort = false;
        }
    }

    /** The loop that the calling thread drives. */
    static NativeLoop current() {
        return (NativeLoop) ((LoopThread) Thread.currentThread()).loop;
    }

    /**
     * Before a loop's thread does what may wake virtual threads: without memory the JDK (25) would not return from that,
     * and the loop could give none back.
     *
     * @throws OutOfMemoryError it is a loop's thread, and there is none
     */
    static void requireMemory() {
        if (Thread.currentThread() instanceof LoopThread thread) {
            thread.requireMemory();
        }
    }

    /** False: a loop's thread, and there is no memory to wake one. */
    static boolean mayWakeVirtual() {
        try {
            requireMemory();
            return true;
        } catch (OutOfMemoryError none) {
            return false;
        }
    }

    /** Whether the calling thread drives a loop, of whichever runtime, and so must not wait. */
    public static boolean isLoopThread() {
        return Thread.currentThread() instanceof LoopThread;
    }

    /** So often a loop's thread tries at once, then it leaves the core to whoever has the lock. */
    private static final int SPINS = 100;

    private static final long BETWEEN_TRIES_NANOS = 20_000;

    /**
     * Takes a lock that is held for a native call at most. A loop's thread does not queue for it: it would wait behind
     * virtual threads that are in the queue already and may have no carrier for long.
     */
    static void lock(ReentrantLock lock) {
        if (!isLoopThread()) {
            try {
                lock.lock();
            } catch (OutOfMemoryError none) {
                // To queue for it needs memory.
                lockBriefly(lock);
            }
            return;
        }
        for (int tries = 0; !lock.tryLock(); tries++) {
            if (tries < SPINS) {
                Thread.onSpinWait();
            } else {
                // The native call may have a large transaction to compress.
                LockSupport.parkNanos(BETWEEN_TRIES_NANOS);
            }
        }
    }

    /**
     * Takes a lock that is held for a short native call at most, without leaving the carrier: a virtual thread may
     * hold another lock meanwhile.
     */
    static void lockBriefly(ReentrantLock lock) {
        while (!lock.tryLock()) {
            Thread.onSpinWait();
        }
    }

    void start() {
        thread.start();
    }

    boolean isCurrent() {
        return Thread.currentThread() == thread;
    }

    /** Runs it soon on this loop's thread. False: the loop has ended. */
    boolean execute(Runnable task) {
        tasks.add(task);
        return isCurrent() || Native.loopWake(id) == Status.OK;
    }

    void wake() {
        Native.loopWake(id);
    }

    /** On this loop's thread: there is no memory for it now. Not twice before it was tried again. */
    void postpone(Postponed what) {
        what.nextPostponed = postponed;
        postponed = what;
    }

    /** Now and then, and not beyond the first that fails: each try may collect the whole heap. */
    private void tryPostponed() {
        if (postponed == null || System.nanoTime() - triedNanos < LOOK_NANOS) {
            return;
        }
        Postponed next = postponed;
        postponed = null;
        while (next != null) {
            Postponed what = next;
            next = what.nextPostponed;
            what.nextPostponed = null;
            if (postponed == null) {
                what.again();
                forgetInterrupt();
            } else {
                postpone(what);
            }
        }
        triedNanos = System.nanoTime();
    }

    /** For a loop that has ended: until all was done. */
    private void finishPostponed() {
        for (tryPostponed(); postponed != null; tryPostponed()) {
            LockSupport.parkNanos(LOOK_NANOS);
        }
    }

    @Override
    public void run() {
        while (goesOn()) {
            continue;
        }
        endConnections();
        runTasks();
        finishPostponed();
        try {
            if (!runtime.isStopping()) {
                runtime.loopLost(thread.getName());
            }
        } finally {
            try {
                runtime.loopEnded(this);
            } finally {
                // Who adds a task behind this is told that the loop has ended.
                runTasks();
                finishPostponed();
            }
        }
    }

    /** Whether there is a next turn. */
    private boolean goesOn() {
        try {
            return turn();
        } catch (Throwable failure) {
            // There was no memory even to tell of another failure; no event is lost by that.
            runtime.log.lose();
            return true;
        }
    }

    private boolean turn() {
        runTasks();
        hearOfExit();
        tryPostponed();
        int count = Native.loopPoll(id, pollMillis());
        noteHeard();
        if (count == Status.STOPPED || count == Status.INVALID_HANDLE) {
            return false;
        }
        if (count < 0) {
            // Each of them may have lost an event: nothing that comes behind it may reach the program.
            endConnections();
            runtime.pollFailed(thread.getName(), count);
            LockSupport.parkNanos(FAILURE_PAUSE_NANOS);
        }
        for (int i = 0; i < count; i++) {
            try {
                handle(i * EventRecord.BYTES);
            } catch (Throwable failure) {
                // Memory, most likely: one connection pays for it, the loop goes on.
                recordFailed(i * EventRecord.BYTES, failure);
            }
            forgetInterrupt();
        }
        try {
            runtime.lookAtStopping();
        } catch (Throwable failure) {
            // Memory, most likely. It is looked at again after the next poll.
            runtime.callbackFailed("the end of a listener", "", failure);
        }
        forgetInterrupt();
        return true;
    }

    private long pollMillis() {
        if (processEnds && !knowsThatProcessEnds) {
            // The native hears of it in the poll, for which nothing else may ever come.
            return 0;
        }
        boolean looks = runtime.hasStopping() || postponed != null;
        return looks ? LOOK_MS : -1;
    }

    /** One that code of the host has left would reach the code of the next connection, and close its channels. */
    static void forgetInterrupt() {
        Thread.interrupted();
    }

    private void noteHeard() {
        if (processEnds) {
            knowsThatProcessEnds = true;
        }
    }

    // --------------------------------------------------------- end of process

    /**
     * The virtual machine exits: output that is not sent by then makes the end a reset. Each connection is shown, soon,
     * on this loop's thread. No task: who stands in for that thread runs none.
     */
    void processEnds(Consumer<NativeConnection> visitor) {
        exitVisitor = visitor;
        wake();
    }

    private void hearOfExit() {
        Consumer<NativeConnection> visitor = exitVisitor;
        if (visitor == null || processEnds) {
            return;
        }
        processEnds = true;
        for (NativeConnection connection : connections) {
            if (connection != null) {
                // If a handler exits the machine, it may have written before.
                connection.output().sendGathered();
                connection.output().processEnds();
                visitor.accept(connection);
            }
        }
    }

    boolean knowsThatProcessEnds() {
        return knowsThatProcessEnds || !thread.isAlive();
    }

    /** Sends for a moment in place of this loop's thread, if that exits the virtual machine and so never will again. */
    void standInIfItExits() {
        for (StackTraceElement frame : thread.getStackTrace()) {
            if (frame.getClassName().equals("java.lang.Shutdown")) {
                standIn();
                return;
            }
        }
    }

    /** Runs nothing of the program, which may hang: no tasks, no callbacks. */
    private void standIn() {
        // For a connection of another loop too: the poll overwrites what it is made of.
        sendGathered();
        hearOfExit();
        boolean hasMore = true;
        while (hasMore) {
            // The native must hear of what waits here: with an empty queue it lets the connection end in order.
            hasMore = false;
            int count = Native.loopPoll(id, 0);
            noteHeard();
            for (int i = 0; i < count; i++) {
                if (output.getInt(i * EventRecord.BYTES + EventRecord.KIND) == EventKind.WRITABLE) {
                    hasMore = true;
                    sendMore(i * EventRecord.BYTES);
                }
            }
        }
    }

    private void sendMore(int at) {
        try {
            handle(at);
        } catch (Throwable failure) {
            recordFailed(at, failure);
        }
    }

    /** Of whom the native will tell nothing more. There are none when all has gone in order. */
    private void endConnections() {
        for (NativeConnection connection : connections) {
            if (connection != null) {
                try {
                    Native.connControl(connection.id, Native.ABORT);
                    ended(connection, LOST);
                } catch (Throwable failure) {
                    // Memory, most likely, so that none is asked for to tell it.
                    runtime.log.lose();
                }
                forgetInterrupt();
            }
        }
    }

    private void runTasks() {
        Runnable task;
        while ((task = tasks.poll()) != null) {
            try {
                task.run();
            } catch (Throwable failure) {
                taskFailed(failure);
            }
            forgetInterrupt();
        }
    }

    private void taskFailed(Throwable failure) {
        try {
            runtime.callbackFailed("a task of ", thread.getName(), failure);
        } catch (Throwable none) {
            // Not even for a text.
            runtime.log.lose();
        }
    }

    private void recordFailed(int at, Throwable failure) {
        try {
            if (output.getInt(at + EventRecord.KIND) == EventKind.LOG) {
                // No event of the connection that it is about.
                runtime.log.lose();
                return;
            }
            long conn = output.getLong(at + EventRecord.CONN);
            NativeConnection connection = find(conn);
            if (connection == null) {
                Native.connControl(conn, Native.ABORT);
            } else {
                // Nothing that comes behind this event may reach the program: it would not see the gap.
                connection.abort();
            }
            runtime.callbackFailed("an event of connection ", Long.toHexString(conn), failure);
        } catch (Throwable again) {
            // There is no memory even to tell it. The connection is counted by its reason, and the loop goes on.
            return;
        }
    }

    private void handle(int at) {
        int kind = output.getInt(at + EventRecord.KIND);
        long conn = output.getLong(at + EventRecord.CONN);
        switch (kind) {
            case EventKind.FRAMES -> {
                int first = output.getInt(at + EventRecord.FIRST);
                frames(find(conn), first, output.getInt(at + EventRecord.COUNT));
            }
            case EventKind.DATA -> {
                NativeConnection connection = find(conn);
                if (connection != null) {
                    connection.input().receive(copy(output.getInt(at + EventRecord.FIRST)));
                    connection.input().wakeReader();
                }
            }
            case EventKind.WRITABLE -> {
                NativeConnection connection = find(conn);
                if (connection != null) {
                    connection.output().becomeWritable();
                }
            }
            case EventKind.END -> {
                NativeConnection connection = find(conn);
                if (connection != null) {
                    connection.input().end();
                }
            }
            case EventKind.ADMIT -> {
                NativeConnection connection = enter(at, conn);
                if (connection != null) {
                    connection.port.arrivals().admit(connection);
                }
            }
            case EventKind.OPEN -> {
                NativeConnection connection = find(conn);
                if (connection == null) {
                    connection = enter(at, conn);
                }
                if (connection != null) {
                    connection.port.opened(connection);
                }
            }
            case EventKind.CLOSED -> closed(at, conn);
            case EventKind.LOG -> log(output.getInt(at + EventRecord.EXTRA), conn);
            default -> throw new IllegalStateException("unknown event " + kind);
        }
    }

    // ------------------------------------------------------------ connections

    private NativeConnection find(long conn) {
        int slot = (int) conn;
        if (slot < 0 || slot >= connections.length) {
            return null;
        }
        NativeConnection found = connections[slot];
        return found != null && found.id == conn ? found : null;
    }

    private NativeConnection enter(int at, long conn) {
        Port port = runtime.port(output.getInt(at + EventRecord.TOKEN));
        if (port == null) {
            Native.connControl(conn, Native.ABORT);
            return null;
        }
        facts.read(output.getInt(at + EventRecord.EXTRA));
        ConnectionInfo info =
                new ConnectionInfo(
                        conn,
                        NativeNumbers.protocol(output.get(at + EventRecord.PROTOCOL)),
                        output.get(at + EventRecord.FIRST_BYTE) & 0xff,
                        facts.remote,
                        facts.local,
                        port.name(),
                        facts.tls);
        NativeConnection connection = new NativeConnection(conn, this, port, info, facts.ageMs);
        int slot = (int) conn;
        if (slot >= connections.length) {
            connections = Arrays.copyOf(connections, Math.max(slot + 1, 2 * connections.length));
        }
        connections[slot] = connection;
        if (processEnds) {
            connection.output().processEnds();
        }
        return connection;
    }

    private void closed(int at, long conn) {
        NativeConnection connection = find(conn);
        if (connection == null) {
            return;
        }
        CloseInfo info;
        try {
            info = closeInfo(connection, output.getInt(at + EventRecord.EXTRA));
        } catch (OutOfMemoryError none) {
            // Whoever waits must not wait for ever.
            info = UNTOLD;
        }
        ended(connection, info);
    }

    private void ended(NativeConnection connection, CloseInfo info) {
        connections[(int) connection.id] = null;
        connection.end(info);
        connection.port.closed(connection, info);
    }

    private CloseInfo closeInfo(NativeConnection connection, int extra) {
        int reason = output.getInt(extra + CloseRecord.REASON);
        return new CloseInfo(
                CloseReason.word(reason),
                reason,
                NativeNumbers.party(output.getInt(extra + CloseRecord.BY)),
                output.getInt(extra + CloseRecord.OS_ERROR),
                output.getInt(extra + CloseRecord.TLS_ALERT),
                output.getLong(extra + CloseRecord.BYTES_IN),
                output.getLong(extra + CloseRecord.BYTES_OUT),
                output.getLong(extra + CloseRecord.UNSENT_BYTES) + connection.output().owedBytes(),
                Duration.ofMillis(output.getLong(extra + CloseRecord.DURATION_MS)),
                text(extra + CloseRecord.BYTES));
    }

    private String text(int at) {
        byte[] bytes = new byte[output.getShort(at) & 0xffff];
        output.get(at + 2, bytes);
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private void log(int at, long conn) {
        int level = output.getInt(at + LogRecord.LEVEL);
        int texts = at + LogRecord.BYTES;
        String stage = text(texts);
        int stageBytes = output.getShort(texts) & 0xffff;
        runtime.log.record(level, stage, conn, text(texts + 2 + stageBytes));
    }

    /** Reads the facts of a connection. */
    private final Facts facts = new Facts();

    private final class Facts {
        long ageMs;
        InetSocketAddress remote;
        InetSocketAddress local;
        Optional<TlsInfo> tls;
        private int at;

        void read(int extra) {
            at = extra;
            if (output.get(at++) == 0) {
                throw new IllegalStateException("a connection without facts");
            }
            ageMs = output.getLong(at);
            at += 8;
            remote = address();
            local = address();
            tls = Optional.empty();
            if (output.get(at++) == 1) {
                boolean resumed = output.get(at++) == 1;
                tls = Optional.of(tls(resumed));
            }
        }

        private TlsInfo tls(boolean resumed) {
            String protocol = next();
            String suite = next();
            String group = next();
            return new TlsInfo(protocol, suite, group, optional(next()), optional(next()), resumed);
        }

        private Optional<String> optional(String text) {
            return text.isEmpty() ? Optional.empty() : Optional.of(text);
        }

        private String next() {
            String text = text(at);
            at += 2 + (output.getShort(at) & 0xffff);
            return text;
        }

        private InetSocketAddress address() {
            byte[] ip = new byte[output.get(at)];
            output.get(at + 1, ip);
            at += 1 + ip.length;
            int scope = 0;
            if (ip.length == 16) {
                scope = output.getInt(at);
                at += 4;
            }
            int port = output.getShort(at) & 0xffff;
            at += 2;
            try {
                InetAddress address = scope == 0
                        ? InetAddress.getByAddress(ip)
                        : Inet6Address.getByAddress(null, ip, scope);
                return new InetSocketAddress(address, port);
            } catch (UnknownHostException impossible) {
                // Its length is that of an address.
                throw new AssertionError(impossible);
            }
        }
    }

    // ----------------------------------------------------------------- frames

    private void frames(NativeConnection connection, int first, int count) {
        if (connection == null) {
            return;
        }
        int i = first;
        int end = first + count;
        if (connection.input().isShown()) {
            try {
                for (; i < end && !connection.isClosed(); i++) {
                    connection.input().show(view.over(i));
                }
            } finally {
                sendGathered();
            }
            return;
        }
        for (; i < end; i++) {
            connection.input().receive(copy(i));
        }
        connection.input().wakeReader();
    }

    /** For whom frames are gathered; one connection at a time. */
    private NativeConnection gathering;

    /** Frames of the last poll go to it from now on, and those for another one before them. */
    private void gatherFor(NativeConnection connection) {
        if (gathering != connection) {
            sendGathered();
            gathering = connection;
        }
    }

    private void sendGathered() {
        NativeConnection connection = gathering;
        if (connection != null) {
            gathering = null;
            connection.output().sendGathered();
        }
    }

    /** Size of an entry's payload in bytes. */
    int length(int entry) {
        return output.getInt(ENTRIES_AT + entry * Entry.BYTES + Entry.LENGTH);
    }

    /** A copy of an entry's payload. */
    byte[] copy(int entry) {
        int at = ENTRIES_AT + entry * Entry.BYTES;
        byte[] bytes = new byte[output.getInt(at + Entry.LENGTH)];
        copy(entry, at, bytes);
        return bytes;
    }

    private void copy(int entry, int at, byte[] bytes) {
        int flags = output.getInt(at + Entry.FLAGS);
        int length = output.getInt(at + Entry.LENGTH);
        if ((flags & EntryFlag.ELSEWHERE) != 0) {
            int status = Native.fetch(id, entry, bytes, 0, length);
            if (status < 0) {
                throw new IllegalStateException("a payload could not be fetched: " + status);
            }
        } else {
            ByteBuffer from = (flags & EntryFlag.HERE) != 0 ? output : input;
            from.get(output.getInt(at + Entry.OFFSET), bytes, 0, length);
        }
    }

    /** What a handler is shown: an entry of the last poll, or an array that had waited. */
    public static final class Frame implements FrameView {
        private static final int NONE = -1;
        /** A larger array is not kept for the next payload that has to be fetched. */
        private static final int KEPT_BYTES = 1 << 20;

        private static final ByteBuffer NOTHING = ByteBuffer.allocate(0);

        private final NativeLoop loop;
        /** An entry, or {@link #NONE}. */
        private int entry = NONE;
        /** Null while the payload has not been fetched: who only sends it needs no copy. */
        private ByteBuffer buffer;
        private int offset;
        private int length = NONE;
        private boolean compressed;
        /** For payloads that have to be fetched. */
        private ByteBuffer fetched = NOTHING;

        Frame(NativeLoop loop) {
            this.loop = loop;
        }

        Frame over(int index) {
            ByteBuffer output = loop.output;
            int at = ENTRIES_AT + index * Entry.BYTES;
            int flags = output.getInt(at + Entry.FLAGS);
            entry = index;
            length = output.getInt(at + Entry.LENGTH);
            compressed = (flags & EntryFlag.COMPRESSED) != 0;
            if ((flags & EntryFlag.ELSEWHERE) != 0) {
                buffer = null;
                offset = 0;
            } else {
                buffer = (flags & EntryFlag.HERE) != 0 ? output : loop.input;
                offset = output.getInt(at + Entry.OFFSET);
            }
            return this;
        }

        Frame over(byte[] bytes) {
            entry = NONE;
            buffer = ByteBuffer.wrap(bytes);
            offset = 0;
            length = bytes.length;
            compressed = false;
            return this;
        }

        void clear() {
            length = NONE;
            buffer = null;
            if (fetched.capacity() > KEPT_BYTES) {
                fetched = NOTHING;
            }
        }

        private void requireValid() {
            if (length == NONE || !loop.isCurrent()) {
                throw new IllegalStateException("a frame is valid only inside its handler");
            }
        }

        /** Where in the buffer, which is there only afterwards. */
        private int check(int index, int count) {
            requireValid();
            Objects.checkFromIndexSize(index, count, length);
            if (buffer == null) {
                fetch();
            }
            return offset + index;
        }

        private void fetch() {
            if (fetched.capacity() < length) {
                fetched = ByteBuffer.allocate(length);
            }
            loop.copy(entry, ENTRIES_AT + entry * Entry.BYTES, fetched.array());
            buffer = fetched;
        }

        @Override
        public int length() {
            requireValid();
            return length;
        }

        @Override
        public boolean isCompressed() {
            requireValid();
            return compressed;
        }

        @Override
        public byte get(int index) {
            int at = check(index, 1);
            return buffer.get(at);
        }

        @Override
        public void copyTo(int index, byte[] target, int offset, int length) {
            int at = check(index, length);
            buffer.get(at, target, offset, length);
        }

        @Override
        public byte[] toByteArray() {
            requireValid();
            if (buffer == null) {
                return loop.copy(entry);
            }
            byte[] copy = new byte[length];
            buffer.get(offset, copy);
            return copy;
        }

        @Override
        public ByteBuffer asByteBuffer() {
            int at = check(0, length);
            return buffer.slice(at, length).asReadOnlyBuffer();
        }

        /** Sends it as a transaction; on a loop's thread that is always taken. */
        public void sendTo(NativeConnection to, int flags) throws IOException {
            requireValid();
            if (entry == NONE) {
                to.output().sendCopy(buffer.array(), flags);
            } else {
                loop.gatherFor(to);
                to.output().sendPolled(loop, entry, this, flags);
            }
        }
    }
}
