package org.nativeport.internal;

import java.lang.invoke.MethodHandle;
import java.lang.invoke.MethodHandles;
import java.lang.invoke.MethodType;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.ThreadFactory;
import java.util.concurrent.atomic.AtomicLong;

/** Virtual threads where this JDK has them (21 and later), found by name as the floor is 17. */
final class VirtualThreads {
    private static final MethodHandle IS_VIRTUAL = isVirtualHandle();

    private VirtualThreads() {}

    /** Whether this JDK has them. */
    static boolean exist() {
        return IS_VIRTUAL != null;
    }

    /** Whether the calling thread is one. */
    static boolean isCurrent() {
        if (IS_VIRTUAL == null) {
            return false;
        }
        try {
            return (boolean) IS_VIRTUAL.invokeExact(Thread.currentThread());
        } catch (Throwable impossible) {
            // A getter that throws nothing.
            throw new AssertionError(impossible);
        }
    }

    /**
     * One thread for each task: virtual ones, or daemon threads of the platform that are used again.
     *
     * @throws IllegalArgumentException virtual ones are wanted, and this JDK has none
     */
    static ExecutorService newExecutor(String name, boolean virtual) {
        if (virtual) {
            if (!exist()) {
                throw new IllegalArgumentException(
                        "callbackThreads = virtual needs JDK 21 or later; this is " + Runtime.version().feature());
            }
            return newVirtualExecutor(name);
        }
        AtomicLong count = new AtomicLong();
        ThreadFactory factory =
                task -> {
                    Thread thread = new Thread(null, task, name + count.getAndIncrement(), 0, false);
                    thread.setDaemon(true);
                    return thread;
                };
        return Executors.newCachedThreadPool(factory);
    }

    private static ExecutorService newVirtualExecutor(String name) {
        MethodHandles.Lookup lookup = MethodHandles.publicLookup();
        try {
            Class<?> builder = Class.forName("java.lang.Thread$Builder");
            Class<?> ofVirtual = Class.forName("java.lang.Thread$Builder$OfVirtual");
            Object made =
                    lookup.findStatic(Thread.class, "ofVirtual", MethodType.methodType(ofVirtual))
                            .invoke();
            made =
                    lookup.findVirtual(
                                    ofVirtual,
                                    "name",
                                    MethodType.methodType(ofVirtual, String.class, long.class))
                            .invoke(made, name, 0L);
            Object factory =
                    lookup.findVirtual(builder, "factory", MethodType.methodType(ThreadFactory.class))
                            .invoke(made);
            return (ExecutorService)
                    lookup.findStatic(
                                    Executors.class,
                                    "newThreadPerTaskExecutor",
                                    MethodType.methodType(ExecutorService.class, ThreadFactory.class))
                            .invoke((ThreadFactory) factory);
        } catch (Throwable impossible) {
            // JDK 21 and later have all of that.
            throw new AssertionError(impossible);
        }
    }

    private static MethodHandle isVirtualHandle() {
        if (Runtime.version().feature() < 21) {
            return null;
        }
        try {
            return MethodHandles.publicLookup()
                    .findVirtual(Thread.class, "isVirtual", MethodType.methodType(boolean.class));
        } catch (ReflectiveOperationException absent) {
            return null;
        }
    }
}
