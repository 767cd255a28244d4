package org.nativeport;

import java.util.Set;
import java.util.concurrent.Callable;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;

/** Threads beside the one that tests. */
final class Tasks {
    private static final Set<String> WAITING = Set.of("park", "parkNanos", "poll", "read0", "write0");

    /** Longer than anything takes on a busy machine: only a hang gets there. */
    static final int PATIENCE_SECONDS = 600;

    private Tasks() {}

    /** A computation on a thread of its own, and the thread. */
    record Task<T>(Thread thread, FutureTask<T> result) {
        /** The result, or the exception that the computation ended with. */
        T get() throws Exception {
            try {
                return result.get();
            } catch (ExecutionException e) {
                if (e.getCause() instanceof Exception exception) {
                    throw exception;
                }
                throw e;
            }
        }

        /** Whether the thread waits, for bytes or for room. */
        boolean isWaiting() {
            StackTraceElement[] stack = thread.getStackTrace();
            return stack.length > 0 && WAITING.contains(stack[0].getMethodName());
        }

        /**
         * Returns when the thread waits inside this library, for bytes, for room or for a lock, or when it has
         * ended. What its stack says is the only sign of it that every implementation gives.
         */
        Task<T> awaitParked() {
            while (!result.isDone()) {
                StackTraceElement[] stack = thread.getStackTrace();
                boolean waits = false;
                for (StackTraceElement frame : stack) {
                    waits |= WAITING.contains(frame.getMethodName());
                    if (waits && frame.getClassName().startsWith("org.nativeport.internal")) {
                        return this;
                    }
                }
                Thread.yield();
            }
            return this;
        }
    }

    static <T> Task<T> start(Callable<T> computation) {
        FutureTask<T> result = new FutureTask<>(computation);
        Thread thread = new Thread(result, "test-task");
        thread.setDaemon(true);
        thread.start();
        return new Task<>(thread, result);
    }

    /** Starts a thread, a virtual one where they exist and it is wanted. */
    static Thread thread(Runnable task, boolean virtual) throws ReflectiveOperationException {
        if (virtual && Runtime.version().feature() >= 21) {
            // By name, as this compiles for 17.
            return (Thread) Thread.class.getMethod("startVirtualThread", Runnable.class).invoke(null, task);
        }
        Thread thread = new Thread(task, "test-thread");
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    /** What may become true. */
    interface Condition {
        boolean isTrue() throws Exception;
    }

    /** Looks again and again, as there is nothing to wait on. */
    static void await(String what, Condition condition) throws Exception {
        long begun = System.nanoTime();
        while (!condition.isTrue()) {
            if (System.nanoTime() - begun > TimeUnit.SECONDS.toNanos(PATIENCE_SECONDS)) {
                throw new AssertionError("waited in vain for " + what);
            }
            LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(1));
        }
    }

    /** What may throw and returns nothing. */
    interface Action {
        void run() throws Exception;
    }

    static Task<Void> start(Action action) {
        return start(() -> {
            action.run();
            return null;
        });
    }
}
