package org.nativeport.internal;

import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.function.BooleanSupplier;

/**
 * What a runtime does while the virtual machine exits: it waits until what the program has written is sent, for a bounded
 * time. A connection that owes its peer something even then is reset when the process ends: the peer must not take a
 * part for the whole. Loops and callbacks go on meanwhile.
 */
final class ExitFlush implements Runnable {
    /** The loops have to hear of it, whatever the time for output. */
    private static final int HEARING_MILLIS = 1000;

    private static final long LOOK_NANOS = TimeUnit.MILLISECONDS.toNanos(1);

    private final RuntimeCore runtime;
    private final int millis;
    private final Thread hook = new Thread(null, this, "np-exit-flush", 0, false);
    private final Queue<Debt> debts = new ConcurrentLinkedQueue<>();
    /** When the whole exit's time for output is over. Null before the exit. */
    private volatile Deadline sending;

    /** What a connection has to have sent: what is written later does not count. */
    private record Debt(NativeConnection connection, long sentBytes) {
        static Debt of(NativeConnection connection, long unsentBytes) {
            // With TLS there is more on the wire than was written.
            long wire = unsentBytes + unsentBytes / 32 + 1024;
            return new Debt(connection, Native.connCount(connection.id, Native.SENT) + wire);
        }

        boolean isPaid() {
            return connection.output().unsentBytes() == 0
                    || Native.connCount(connection.id, Native.SENT) >= sentBytes;
        }
    }

    ExitFlush(RuntimeCore runtime, int millis) {
        this.runtime = runtime;
        this.millis = millis;
    }

    void install() {
        try {
            Runtime.getRuntime().addShutdownHook(hook);
        } catch (IllegalStateException exiting) {
            // Nothing is written yet, and no hook will wait for what is: the writes do.
            sending = Deadline.after(millis);
            runtime.loops.forEach(loop -> loop.processEnds(connection -> {}));
        }
    }

    void uninstall() {
        try {
            Runtime.getRuntime().removeShutdownHook(hook);
        } catch (IllegalStateException exiting) {
            // It finds nothing that is open.
            return;
        }
    }

    @Override
    public void run() {
        Deadline hearing = Deadline.after(HEARING_MILLIS);
        sending = Deadline.after(millis);
        List<NativeLoop> loops = runtime.loops;
        for (NativeLoop loop : loops) {
            loop.processEnds(this::note);
        }
        Runnable look = () -> loops.forEach(NativeLoop::standInIfItExits);
        await(hearing, () -> loops.stream().allMatch(NativeLoop::knowsThatProcessEnds), look);
        if (millis > 0) {
            await(sending, () -> debts.stream().allMatch(Debt::isPaid), look);
        }
    }

    boolean isCurrent() {
        return Thread.currentThread() == hook;
    }

    private void note(NativeConnection connection) {
        long unsentBytes = connection.output().unsentBytes();
        if (unsentBytes > 0) {
            debts.add(Debt.of(connection, unsentBytes));
        }
    }

    /** An interrupt does not end it, and is kept for what comes next. */
    private static void await(Deadline deadline, BooleanSupplier isDone, Runnable look) {
        boolean interrupted = false;
        while (!isDone.getAsBoolean() && !deadline.isOver()) {
            look.run();
            // An interrupted thread does not park.
            interrupted |= Thread.interrupted();
            LockSupport.parkNanos(LOOK_NANOS);
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /**
     * Behind a write: by a hook of the program, most likely. Nobody might be left to send it later, so that it waits until
     * it is sent, as with a socket of the JDK.
     */
    void awaitSent(NativeConnection connection) {
        Deadline until = sending;
        if (until != null && millis > 0 && !NativeLoop.isLoopThread()) {
            await(until, () -> connection.output().unsentBytes() == 0, () -> {});
        }
    }
}
