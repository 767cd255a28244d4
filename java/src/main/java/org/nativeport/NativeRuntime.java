package org.nativeport;

import java.io.IOException;
import java.time.Duration;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.Executor;
import java.util.concurrent.locks.ReentrantLock;
import org.nativeport.internal.Counters;
import org.nativeport.internal.Library;
import org.nativeport.internal.RuntimeCore;

/**
 * The threads and buffers that listeners share.
 *
 * <table>
 * <caption>Threads of a runtime</caption>
 * <tr><th>name</th><th>how many</th><th>does</th></tr>
 * <tr><td>{@code np-io-<n>}</td><td>loops, daemon</td><td>moves bytes; runs {@link FrameHandler}s</td></tr>
 * <tr><td>{@code np-callback-<n>}</td><td>one for each callback that runs, daemon or virtual: {@link
 *     CallbackThreads}</td><td>runs callbacks, which may wait</td></tr>
 * <tr><td>{@code np-exit-flush}</td><td>1 while the virtual machine exits</td><td>waits until output is sent, for
 *     {@code exitFlush} of the configuration at the longest; if that is shorter, up to 1 s until the loops have heard
 *     of it</td></tr>
 * <tr><td>{@code np-exit-callback}</td><td>daemon, while the virtual machine exits on a loop's thread</td><td>gives the
 *     executor what that loop would have given it</td></tr>
 * <tr><td>{@code np-log}</td><td>1, daemon</td><td>writes to {@link System.Logger} {@code org.nativeport}</td></tr>
 * <tr><td>{@code np-keep-alive}</td><td>1 while a listener is started</td><td>keeps the virtual machine from
 *     exiting when {@code main} returns</td></tr>
 * <tr><td>{@code np-handshake-<n>}, {@code np-acc-<port>-<n>}</td><td>native</td><td>never enter the
 *     virtual machine</td></tr>
 * <tr><td>{@code Cleaner-<n>}</td><td>1 for all runtimes, daemon, the JDK's</td><td>finds connections that the
 *     program has lost</td></tr>
 * </table>
 *
 * In the log a connection's end is a line of level DEBUG, and what goes wrong is WARNING or ERROR. Which
 * levels are wanted is asked when a runtime is made.
 *
 * <p>When {@link #close} has returned, no loop runs and all of them have been told to end: nothing holds the class
 * loader, but callbacks that still run. The native library stays mapped, about 5 MB for each class loader that has
 * loaded it: in an application server the jar belongs into the server's folder for libraries. Thread safe.
 */
public final class NativeRuntime implements AutoCloseable {
    private static final int BUFFER_SIZE = 262_144;
    private static final int MIN_BUFFER_SIZE = 65_536;
    private static final int MAX_BUFFER_SIZE = 1 << 30;

    private static final ReentrantLock SHARED_LOCK = new ReentrantLock();
    private static NativeRuntime shared;

    private final RuntimeCore core;

    private NativeRuntime(RuntimeCore core) {
        this.core = core;
    }

    /**
     * Whether the native library can be used on this machine. The first call loads it, and may wait
     * for the file system.
     */
    public static boolean isAvailable() {
        return Library.unavailabilityCause().isEmpty();
    }

    /**
     * Why the native library cannot be used, with words that say what to do; empty if it can. The first call
     * loads it, and may wait for the file system.
     */
    public static Optional<Throwable> unavailabilityCause() {
        return Library.unavailabilityCause();
    }

    /**
     * The runtime for those who need none of their own, with the defaults. Made at the first call, and again
     * after it was closed. Its threads keep the context class loader of the thread that makes it: applications that
     * come and go in one process have a runtime each. May wait for the file system.
     *
     * @throws IOException if its threads cannot be started
     * @throws UnsupportedOperationException without the native library, with the reason
     */
    public static NativeRuntime shared() throws IOException {
        SHARED_LOCK.lock();
        try {
            if (shared == null || shared.core.isStopping()) {
                shared = builder().build();
            }
            return shared;
        } finally {
            SHARED_LOCK.unlock();
        }
    }

    /** A runtime with the defaults. Returns at once. */
    public static Builder builder() {
        return new Builder(new byte[0]);
    }

    /** A runtime as the section {@code [Runtime]} of a configuration says. Returns at once. */
    public static Builder builder(ServerConfig config) {
        return new Builder(config.operations());
    }

    /** What a runtime is made of. Not thread safe; no method but {@link #build} waits. */
    public static final class Builder {
        private final byte[] config;
        private int loops;
        private int bufferSize = BUFFER_SIZE;
        private Executor executor;
        private CallbackThreads callbackThreads;
        private boolean keepAlive = true;

        private Builder(byte[] config) {
            this.config = config;
        }

        /**
         * How many loops; {@code ioThreads} of the configuration otherwise, which is the number of cores unless it
         * says another.
         *
         * @throws IllegalArgumentException if it is below 1
         */
        public Builder loops(int count) {
            if (count < 1) {
                throw new IllegalArgumentException("loops is " + count);
            }
            loops = count;
            return this;
        }

        /**
         * Size of each loop's read buffer in bytes; 262,144 otherwise.
         *
         * @throws IllegalArgumentException if it is below 65,536 or above 1,073,741,824
         */
        public Builder readBufferSize(int bytes) {
            if (bytes < MIN_BUFFER_SIZE || bytes > MAX_BUFFER_SIZE) {
                throw new IllegalArgumentException("the size of a read buffer is " + bytes);
            }
            bufferSize = bytes;
            return this;
        }

        /**
         * Where callbacks run; they may wait, so it needs a thread for each that does. It stays the
         * program's: the runtime does not shut it down. What it refuses, by whatever it throws, is logged; a new
         * connection is closed then, and futures are completed on the thread of a loop. It must run
         * every task that it accepts. Otherwise the runtime has an executor of its own, with {@link #callbackThreads}.
         */
        public Builder callbackExecutor(Executor executor) {
            this.executor = Objects.requireNonNull(executor);
            return this;
        }

        /** On which threads callbacks run; as {@code callbackThreads} of the configuration says otherwise. */
        public Builder callbackThreads(CallbackThreads kind) {
            callbackThreads = Objects.requireNonNull(kind);
            return this;
        }

        /** Whether a started listener keeps the virtual machine alive; true otherwise. */
        public Builder keepAlive(boolean on) {
            keepAlive = on;
            return this;
        }

        /**
         * Makes it and starts its threads. May wait for the file system.
         *
         * @throws IOException if threads or descriptors are short
         * @throws IllegalArgumentException if the configuration has an error, or asks for virtual threads where this JDK
         *     has none
         * @throws UnsupportedOperationException without the native library, with the reason
         */
        public NativeRuntime build() throws IOException {
            Boolean virtual = callbackThreads == null ? null : callbackThreads == CallbackThreads.VIRTUAL;
            return new NativeRuntime(
                    new RuntimeCore(
                            config,
                            new RuntimeCore.Settings(loops, bufferSize, executor, virtual, keepAlive)));
        }
    }

    RuntimeCore core() {
        return core;
    }

    /**
     * Ends listening on all ports; connections may go on, and those that have not ended when the time is over are
     * cut. A second call can only shorten the time. Returns at once. Do not join the stage inside of {@code
     * onFrame}: the loop would wait for itself.
     *
     * @param grace how long connections may go on, counted in milliseconds; negative is none
     * @return completes on a callback thread when all has ended
     */
    public CompletionStage<Void> stop(Duration grace) {
        return core.stop(RuntimeCore.millis(grace)).thenApply(nothing -> nothing);
    }

    /**
     * Ends everything and waits until it has ended. May park; on the thread of a loop, of this or another runtime, as
     * inside a {@link FrameHandler}, it returns without waiting: two runtimes may close each other. Callbacks are not
     * waited for, so that {@link ClientCommunicationInterface#whenClosed} may complete a moment after this returns. A
     * second call has no effect.
     */
    @Override
    public void close() {
        core.stop(0);
        core.awaitEnded();
    }

    /** Whether it was stopped or closed. Returns at once. */
    public boolean isClosed() {
        return core.isStopping();
    }

    /**
     * What all its listeners have counted. Returns at once.
     *
     * @throws IllegalStateException when it has ended
     */
    public Metrics getMetrics() {
        return Counters.metrics(core.counters());
    }

    /**
     * The same by listener, in the text format of Prometheus. Returns at once.
     *
     * @throws IllegalStateException when it has ended
     */
    public String getPrometheusText() {
        return core.prometheus();
    }
}
