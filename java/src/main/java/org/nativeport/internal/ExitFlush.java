package org.nativeport.internal;

import java.util.List;
import java.util.Queue;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

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
    private volatile boolean begun;

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
            // Nothing is written yet.
            return;
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
        begun = true;
        List<NativeLoop> loops = runtime.loops;
        for (NativeLoop loop : loops) {
            loop.execute(() -> loop.processEnds(this::note));
        }
        Deadline hearing = Deadline.after(HEARING_MILLIS);
        while (!loops.stream().allMatch(NativeLoop::knowsThatProcessEnds) && !hearing.isOver()) {
            look(loops);
        }
        Deadline sending = Deadline.after(millis);
        while (millis > 0 && !debts.stream().allMatch(Debt::isPaid) && !sending.isOver()) {
            look(loops);
        }
    }

    private void note(NativeConnection connection) {
        long unsentBytes = connection.output().unsentBytes();
        if (unsentBytes > 0) {
            debts.add(Debt.of(connection, unsentBytes));
        }
    }

    private static void look(List<NativeLoop> loops) {
        loops.forEach(NativeLoop::standInIfItExits);
        LockSupport.parkNanos(LOOK_NANOS);
    }

    /**
     * Behind a write: by a hook of the program, most likely. Nobody might be left to send it later, so that it waits until
     * it is sent, as with a socket of the JDK.
     */
    void awaitSent(NativeConnection connection) {
        if (begun && millis > 0 && !NativeLoop.isLoopThread()) {
            Deadline deadline = Deadline.after(millis);
            while (connection.output().unsentBytes() > 0 && !deadline.isOver()) {
                LockSupport.parkNanos(LOOK_NANOS);
            }
        }
    }
}
