package org.nativeport.internal;

import java.util.concurrent.CompletableFuture;

/** Loops that end though nobody has stopped their runtime, as if a defect of the core had ended them. */
public final class LostLoops {
    private LostLoops() {}

    /** Takes the native loops of a runtime away, and returns when that has ended. */
    public static void lose() throws Exception {
        RuntimeCore runtime = new RuntimeCore(new byte[0], new RuntimeCore.Settings(2, 65_536, null, null, false));
        // The native lets go of the last one only.
        for (int i = 1; i >= 0; i--) {
            NativeLoop loop = runtime.loops.get(i);
            CompletableFuture<Integer> released = new CompletableFuture<>();
            loop.execute(() -> released.complete(Native.release(loop.id)));
            if (released.get() != Status.OK) {
                throw new AssertionError("status " + released.get());
            }
        }
        runtime.ended().get();
    }
}
