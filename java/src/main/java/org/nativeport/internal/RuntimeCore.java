package org.nativeport.internal;

import java.io.IOException;
import java.lang.ref.Cleaner;
import java.time.Duration;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.Executor;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import org.nativeport.Protocol;

/**
 * A native runtime with the threads that drive it: the loops, the log, the callbacks, and while a
 * listener is started one that keeps the virtual machine alive. When it has ended, all of them have been told to.
 */
public final class RuntimeCore {
    final long id;
    /** How long the end of a runtime waits before it tries again what there was no memory for. */
    private static final long RETRY_NANOS = TimeUnit.MILLISECONDS.toNanos(20);

    /**
     * One for all runtimes, as it has a thread. Made by the first. The thread is the JDK's, as one of ours would
     * hold the class loader; so its name is the JDK's too.
     */
    private static Cleaner leaks;

    final LogThread log = new LogThread();
    final List<NativeLoop> loops = new ArrayList<>();
    private final Executor executor;
    /** The one that was made here, and ends with the runtime. */
    private final ExecutorService ownExecutor;

    final ExitFlush exit;

    private final Map<Integer, Port> ports = new ConcurrentHashMap<>();
    private final AtomicInteger nextToken = new AtomicInteger(1);
    private final ReentrantLock stoppingLock = new ReentrantLock();
    /** The first of those that stop; linked, as that needs no memory. Changed under {@code stoppingLock}. */
    private volatile Port stoppingPort;

    private final AtomicInteger runningLoops = new AtomicInteger();
    private final AtomicBoolean stopping = new AtomicBoolean();
    private final CompletableFuture<Void> ended = new CompletableFuture<>();
    private final CountDownLatch endedLatch = new CountDownLatch(1);
    private final ReentrantLock aliveLock = new ReentrantLock();
    private final boolean keepsAlive;
    private final Set<Port> alivePorts = new HashSet<>();
    private Thread keepAlive;
    /** No thread is to keep the machine alive any more. Under {@code aliveLock}. */
    private boolean hasEnded;

    /** What the program sets beside the configuration. {@code loopCount} 0 and null are "as that says". */
    public record Settings(
            int loopCount, int bufferSize, Executor executor, Boolean virtualCallbacks, boolean keepsAlive) {}

    /**
     * Makes one and starts its threads.
     *
     * @throws IllegalArgumentException the configuration has an error
     */
    public RuntimeCore(byte[] config, Settings settings) throws IOException {
        Library.require();
        requireLeaks();
        this.keepsAlive = settings.keepsAlive();
        Layout layout = Layout.of(config);
        int count = settings.loopCount() > 0 ? settings.loopCount() : layout.ioThreads();
        boolean isVirtual =
                settings.virtualCallbacks() == null ? layout.virtualCallbacks() : settings.virtualCallbacks();
        this.ownExecutor =
                settings.executor() == null ? VirtualThreads.newExecutor("np-callback-", isVirtual) : null;
        this.executor = settings.executor() == null ? ownExecutor : settings.executor();
        byte[] words = new byte[Native.WORDS];
        long made = Native.runtimeNew(config, words);
        if (made < 0) {
            if (ownExecutor != null) {
                ownExecutor.shutdown();
            }
            throw Status.exception(made, words);
        }
        this.id = made;
        this.exit = new ExitFlush(this, layout.exitFlushMillis());
        Throwable failure = null;
        try {
            log.start();
            for (int i = 0; i < count; i++) {
                loops.add(new NativeLoop(this, i, settings.bufferSize()));
            }
        } catch (IOException | RuntimeException | Error e) {
            failure = e;
            stop(0);
        }
        Native.runtimeLog(id, log.level());
        // One more, so that the last step is this thread's if there are no loops.
        runningLoops.set(loops.size() + 1);
        for (NativeLoop loop : loops) {
            try {
                loop.start();
            } catch (OutOfMemoryError e) {
                // There is no thread for it: it ends here, as the runtime does.
                failure = e;
                stop(0);
                loop.run();
            }
        }
        exit.install();
        oneEnded();
        if (failure != null) {
            throw new IOException("the runtime could not be started: " + failure.getMessage(), failure);
        }
    }

    private static synchronized void requireLeaks() {
        if (leaks == null) {
            leaks = Cleaner.create();
        }
    }

    /** Makes a port. Loads certificates, binds nothing. */
    public Port newPort(
            byte[] config, int index, Set<Protocol> protocols, boolean admission, Port.Arrivals arrivals)
            throws IOException {
        List<PortLayout> layouts = Layout.of(config).ports();
        if (index < 0 || index >= layouts.size()) {
            throw new IllegalArgumentException("there is no port section number " + index);
        }
        int token = nextToken.getAndIncrement();
        byte[] words = new byte[Native.WORDS];
        long made =
                Native.listenerNew(id, config, index, token, Port.handled(protocols, admission), words);
        if (made < 0) {
            throw Status.exception(made, words);
        }
        Port port = new Port(this, made, token, layouts.get(index), arrivals);
        ports.put(token, port);
        return port;
    }

    Port port(int token) {
        return ports.get(token);
    }

    // -------------------------------------------------------------- callbacks

    /**
     * Runs code of the host on a thread that may wait. False: it will not run, as the host's executor is
     * closed or full, or has failed, or there is no memory for a thread; the log has been told.
     */
    public boolean callback(Runnable task) {
        try {
            executor.execute(task);
            return true;
        } catch (Throwable failure) {
            if (ownExecutor != null && ownExecutor.isShutdown()) {
                // The runtime has ended meanwhile; whoever waits must not wait for ever.
                task.run();
                return true;
            }
            callbackFailed("the executor", " for callbacks", failure);
            return false;
        }
    }

    /**
     * What somebody waits for: on this thread rather than not at all.
     *
     * @throws OutOfMemoryError this is a loop's thread, and there is no memory to wake others; it is to be tried again
     */
    void callbackOrHere(Runnable task) {
        if (exit.isCurrent()) {
            // The exit must not hang in code of the program, be it that of its executor.
            Thread own = new Thread(null, () -> callbackOrHere(task), "np-exit-callback", 0, false);
            own.setDaemon(true);
            own.start();
            return;
        }
        if (!callback(task)) {
            NativeLoop.requireMemory();
            task.run();
        }
    }

    /**
     * Completes it on a thread that may wait. On this one if there is no memory for that, or the
     * executor takes no more: whoever waits must not wait for ever.
     *
     * @throws OutOfMemoryError this is a loop's thread, and there is no memory; it is to be tried again
     */
    <T> void complete(CompletableFuture<T> future, T value) {
        try {
            callbackOrHere(() -> completeHere(future, value, null));
        } catch (OutOfMemoryError none) {
            if (NativeLoop.isLoopThread()) {
                throw none;
            }
            // Not even for the task.
            completeHere(future, value, null);
        }
    }

    /**
     * With the failure, unless that is null.
     *
     * @throws OutOfMemoryError this is a loop's thread, which must not wait for memory; it may be called again
     */
    static <T> void completeHere(CompletableFuture<T> future, T value, Throwable failure) {
        for (;;) {
            try {
                if (failure == null) {
                    future.complete(value);
                } else {
                    future.completeExceptionally(failure);
                }
                return;
            } catch (OutOfMemoryError none) {
                if (NativeLoop.isLoopThread()) {
                    throw none;
                }
                // That dependent is lost; the others follow.
                continue;
            } catch (StackOverflowError deep) {
                // Another try would end in the same way.
                return;
            }
        }
    }

    /** On a callback thread, which may wait until there is memory for it. A loop must not: it gives memory back. */
    public static void fail(CompletableFuture<?> future, Throwable failure) {
        for (;;) {
            try {
                future.completeExceptionally(failure);
                return;
            } catch (OutOfMemoryError none) {
                if (NativeLoop.isLoopThread()) {
                    throw none;
                }
                Thread.yield();
            }
        }
    }

    /**
     * Code of the host has failed; by an end of the connection, most likely, if it is an IOException.
     * There may be no memory to say so.
     */
    public void callbackFailed(String what, Object ofWhat, Throwable failure) {
        try {
            if (failure instanceof IOException) {
                log.debug(what + ofWhat + " ended: " + failure);
            } else {
                log.error(what + ofWhat + " failed", failure);
            }
        } catch (Throwable none) {
            log.lose();
        }
    }

    /** Something an operator should know. */
    public void warn(String text) {
        log.warn(text);
    }

    /** If the host forgets its object for a connection without closing it, it is closed, and the log says so. */
    public void closeWhenLost(Object owner, NativeConnection connection) {
        RuntimeCore runtime = this;
        connection.watchedBy(leaks.register(owner, () -> runtime.lost(connection)));
    }

    /** Nobody else can close it any more. The JDK does so with its sockets too. */
    private void lost(NativeConnection connection) {
        if (!connection.isClosed() && connection.closeInfo() == null) {
            log.warn(
                    connection + " is closed, as the program has no reference to it: it was not closed");
            connection.close();
        }
    }

    // ------------------------------------------------------------- life cycle

    boolean hasStopping() {
        return stoppingPort != null;
    }

    /** One more is stopping. Needs no memory. */
    void noteStopping(Port port) {
        listStopping(port);
        // All of them: some may be held up, or have ended by a defect.
        for (int i = 0; i < loops.size(); i++) {
            loops.get(i).wake();
        }
    }

    private void listStopping(Port port) {
        NativeLoop.lockBriefly(stoppingLock);
        port.nextStopping = stoppingPort;
        stoppingPort = port;
        stoppingLock.unlock();
    }

    /** On a loop's thread, whichever. */
    void lookAtStopping() {
        for (Port port; hasStopping() && (port = takeStopped()) != null; ) {
            try {
                forget(port);
            } catch (OutOfMemoryError none) {
                listStopping(port);
                return;
            }
        }
    }

    /** One that has ended and was released; it stops no more. */
    private Port takeStopped() {
        NativeLoop.lockBriefly(stoppingLock);
        try {
            Port before = null;
            Port port = stoppingPort;
            while (port != null && !port.tryRelease()) {
                before = port;
                port = port.nextStopping;
            }
            if (port != null) {
                if (before == null) {
                    stoppingPort = port.nextStopping;
                } else {
                    before.nextStopping = port.nextStopping;
                }
            }
            return port;
        } finally {
            stoppingLock.unlock();
        }
    }

    private void forget(Port port) {
        if (ports.containsKey(port.token)) {
            port.noteEnded();
            ports.remove(port.token);
        }
    }

    /** Of a time for an end: negative is none, and what no number can hold is for ever. */
    public static long millis(Duration grace) {
        try {
            return Math.max(0, grace.toMillis());
        } catch (ArithmeticException tooLong) {
            return grace.isNegative() ? 0 : Long.MAX_VALUE;
        }
    }

    /** Listeners stop, connections have so many milliseconds. Returns at once. */
    public CompletableFuture<Void> stop(long drainMs) {
        stopping.set(true);
        Native.runtimeStop(id, drainMs);
        return ended;
    }

    public boolean isStopping() {
        return stopping.get();
    }

    /** Complete when it has ended and its last callback thread was told to end. */
    public CompletableFuture<Void> ended() {
        return ended;
    }

    /** Waits until it has ended. A loop's thread does not wait, as it is needed for this or another end. */
    public void awaitEnded() {
        await(endedLatch);
    }

    void await(CountDownLatch latch) {
        if (NativeLoop.isLoopThread()) {
            return;
        }
        boolean interrupted = false;
        for (;;) {
            try {
                latch.await();
                break;
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /** On a loop's thread: what it was to be told is lost. */
    void pollFailed(String name, int status) {
        logDefect(name, " could not poll (status " + status + "), and its connections end");
    }

    /** On a loop's thread, which ends though nobody has stopped the runtime. */
    void loopLost(String name) {
        logDefect(name, " has ended; without loops the runtime ends");
    }

    private void logDefect(String name, String what) {
        try {
            log.error("a defect of the library: " + name + what, null);
        } catch (Throwable none) {
            log.lose();
        }
    }

    /** On a loop's thread, last. */
    void loopEnded(NativeLoop loop) {
        Native.release(loop.id);
        oneEnded();
    }

    private void oneEnded() {
        if (runningLoops.decrementAndGet() > 0) {
            return;
        }
        try {
            while (!hasReleased()) {
                LockSupport.parkNanos(RETRY_NANOS);
            }
        } finally {
            while (!hasToldEnd()) {
                LockSupport.parkNanos(RETRY_NANOS);
            }
            try {
                if (ownExecutor != null) {
                    ownExecutor.shutdown();
                }
            } finally {
                endedLatch.countDown();
            }
        }
    }

    /** False: there is no memory for it now. */
    private boolean hasToldEnd() {
        try {
            complete(ended, null);
            return true;
        } catch (OutOfMemoryError none) {
            return false;
        }
    }

    /** False: there is no memory for it now. Each step may be taken again. */
    private boolean hasReleased() {
        try {
            releaseNatives();
        } catch (OutOfMemoryError none) {
            return false;
        } catch (Throwable defect) {
            callbackFailed("the end of the runtime", "", defect);
        }
        try {
            endThreads();
            return true;
        } catch (OutOfMemoryError none) {
            return false;
        }
    }

    private void releaseNatives() {
        // If defects have ended all loops, nobody has stopped it yet.
        stop(0);
        for (Port port : ports.values()) {
            release(port.id);
            forget(port);
        }
        release(id);
    }

    private void endThreads() {
        endKeepAlive();
        exit.uninstall();
        log.end();
    }

    /** What has ended, or does so at once. */
    private void release(long object) {
        while (Native.release(object) == Status.TIMED_OUT) {
            LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(1));
        }
    }

    // ------------------------------------------------------------- keep alive

    void keepAlive(Port port, boolean on) {
        if (!keepsAlive) {
            return;
        }
        NativeLoop.lock(aliveLock);
        try {
            if (on && hasEnded) {
                return;
            }
            boolean changed = on ? alivePorts.add(port) : alivePorts.remove(port);
            if (changed && on && keepAlive == null) {
                Thread thread = new Thread(null, this::stayAlive, "np-keep-alive", 0, false);
                thread.setDaemon(false);
                thread.start();
                keepAlive = thread;
            }
            LockSupport.unpark(keepAlive);
        } finally {
            aliveLock.unlock();
        }
    }

    private void endKeepAlive() {
        NativeLoop.lock(aliveLock);
        try {
            hasEnded = true;
            alivePorts.clear();
            LockSupport.unpark(keepAlive);
        } finally {
            aliveLock.unlock();
        }
    }

    private void stayAlive() {
        for (;;) {
            aliveLock.lock();
            try {
                if (alivePorts.isEmpty()) {
                    keepAlive = null;
                    return;
                }
            } finally {
                aliveLock.unlock();
            }
            LockSupport.park(this);
            // A thread that is interrupted does not park; there is nothing to stop for.
            Thread.interrupted();
        }
    }

    // --------------------------------------------------------------- counters

    long[] counters(long object) {
        long[] counters = new long[NativeNumbers.Counter.ALL];
        int count = Native.stats(object, counters);
        if (count < 0) {
            throw new IllegalStateException("it has ended");
        }
        return counters;
    }

    /** Counters in the native's order. */
    public long[] counters() {
        return counters(id);
    }

    /** The same as Prometheus text. */
    public String prometheus() {
        Answer answer = new Answer(Native.prometheus(id));
        if (answer.status != Status.OK) {
            throw new IllegalStateException("the runtime has ended");
        }
        return answer.text();
    }
}
