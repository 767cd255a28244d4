package org.nativeport.internal;

import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.Lock;
import java.util.concurrent.locks.LockSupport;

/**
 * The moment at which a call's time is over, or none. It lets the several waits of one call share
 * one time limit. Thread safe.
 */
public final class Deadline {
    private static final Deadline NONE = new Deadline(0);

    private final long nanoTime;

    private Deadline(long nanoTime) {
        this.nanoTime = nanoTime;
    }

    /** So many milliseconds from now; 0 = never, as with a socket's time-outs. */
    public static Deadline after(int millis) {
        return millis == 0 ? NONE : new Deadline(System.nanoTime() + TimeUnit.MILLISECONDS.toNanos(millis));
    }

    public boolean isNone() {
        return this == NONE;
    }

    public boolean isOver() {
        return this != NONE && remainingNanos() <= 0;
    }

    /** What is left in milliseconds, rounded up, at least 1; 0 = there is no limit. */
    public int remainingMillis() {
        if (this == NONE) {
            return 0;
        }
        long millis = TimeUnit.NANOSECONDS.toMillis(remainingNanos() + 999_999);
        return (int) Math.max(1, Math.min(millis, Integer.MAX_VALUE));
    }

    /**
     * Takes the lock, or returns false as the time is over. May park. An interrupt does not end it
     * and is kept for what comes next.
     */
    public boolean acquire(Lock lock) {
        if (this == NONE) {
            lock.lock();
            return true;
        }
        boolean interrupted = false;
        try {
            for (;;) {
                try {
                    return lock.tryLock(remainingNanos(), TimeUnit.NANOSECONDS);
                } catch (InterruptedException e) {
                    interrupted = true;
                }
            }
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    /** Parks until it is over at the longest. As with every park it may return at any time. */
    void park(Object blocker) {
        if (this == NONE) {
            LockSupport.park(blocker);
        } else {
            LockSupport.parkNanos(blocker, remainingNanos());
        }
    }

    private long remainingNanos() {
        return nanoTime - System.nanoTime();
    }
}
