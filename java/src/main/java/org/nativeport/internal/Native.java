package org.nativeport.internal;

import java.io.IOException;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.util.Objects;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.LockSupport;

/**
 * The natives, one to one with {@code bindings/jni}. All of them return at once, but {@link
 * #loopPoll}, and {@link #listenerStart} while a host name is resolved. They take any number for an
 * object or connection: a stale or invented one is answered by a status. A result below 0 is a
 * {@link Status}. Texts are UTF-8. {@code words} gets what can be said about a failure, see {@link
 * Status#exception(long, byte[])}.
 *
 * <p>The library is loaded when this class is first used; ask {@link Library} before.
 */
final class Native extends NativeNumbers.Argument {
    /** Size of {@code words}, in bytes. */
    static final int WORDS = 2048;

    private Native() {}

    /**
     * A class is looked up when it is first used, and a native when it is first called, which needs memory: those that
     * end things may be used when there is none. No object has the number 0.
     */
    static void link() {
        for (Class<?> each :
                new Class<?>[] {
                    CompletableFuture.class,
                    Condition.class,
                    ExecutorService.class,
                    IOException.class,
                    LockSupport.class,
                    SocketException.class
                }) {
            Objects.requireNonNull(each);
        }
        NativeNumbers.closeReason(0);
        connControl(0, ABORT);
        loopWake(0);
        listenerStop(0, 0);
        runtimeStop(0, 0);
        release(0);
    }

    static native int initialize(int agreement);

    static native byte[] inspect(byte[] config, int what, byte[] section, byte[] key);

    static native long runtimeNew(byte[] config, byte[] words);

    static native int runtimeStop(long runtime, long drainMs);

    static native int runtimeLog(long runtime, int level);

    static native int stats(long object, long[] counters);

    static native byte[] prometheus(long runtime);

    static native int release(long object);

    static native long listenerNew(
            long runtime, byte[] config, int port, int token, int handled, byte[] words);

    static native int listenerStart(long listener, byte[] words);

    static native int listenerSwitch(long listener, boolean accepts);

    static native int listenerStop(long listener, long drainMs);

    static native byte[] listenerAddresses(long listener);

    static native byte[] listenerCertificates(long listener);

    static native long loopNew(
            long runtime,
            ByteBuffer input,
            ByteBuffer output,
            int records,
            int entries,
            byte[] words);

    static native int loopPoll(long loop, long timeoutMs);

    static native int loopWake(long loop);

    static native int fetch(long loop, int entry, byte[] target, int offset, int length);

    static native int sendPolled(long loop, long conn, int first, int count, int flags);

    static native int sendFrame(long conn, byte[] data, int offset, int length, int flags);

    static native int sendFrames(
            long conn, byte[] data, int offset, int[] lengths, int first, int count, int flags);

    static native int sendBytes(long conn, byte[] data, int offset, int length);

    static native int connControl(long conn, int what);

    static native long connCount(long conn, int what);

    /** Sets an option of its socket, or with a value below 0 answers it. */
    static native int connOption(long conn, int option, int value, byte[] words);

    static native int connRefuse(long conn, byte[] farewell);
}
