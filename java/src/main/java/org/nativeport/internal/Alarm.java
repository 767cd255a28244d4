package org.nativeport.internal;

import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;

/**
 * Runs something after a time, unless it is cancelled before. It uses the timer of the JDK, which is
 * one thread for the process: what it runs must not wait for anything.
 */
final class Alarm {
    private final CompletableFuture<Boolean> rings = new CompletableFuture<>();

    private Alarm() {}

    static Alarm after(long millis, Runnable action) {
        Alarm alarm = new Alarm();
        alarm.rings.completeOnTimeout(true, millis, TimeUnit.MILLISECONDS)
                .thenAccept(rung -> {
                    if (rung) {
                        action.run();
                    }
                });
        return alarm;
    }

    /** At the deadline; never if there is none. */
    static Alarm at(Deadline deadline, Runnable action) {
        return deadline.isNone() ? new Alarm() : after(deadline.remainingMillis(), action);
    }

    /** After this the action does not start; it may be running. A second call has no effect. */
    void cancel() {
        rings.complete(false);
    }
}
