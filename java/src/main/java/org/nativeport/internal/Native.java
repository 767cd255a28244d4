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
final class Native {
    /** What this class and the library have agreed upon. {@code runtime.rs} has the same number. */
    static final int AGREEMENT = 8;

    /** Size of {@code words}, in bytes. */
    static final int WORDS = 2048;

    static final int INSPECT_CHECK = 1;
    static final int INSPECT_GET = 2;
    static final int INSPECT_LAYOUT = 3;

    static final int ADMIT = 1;
    static final int PAUSE = 2;
    static final int RESUME = 3;
    static final int SHUTDOWN = 4;
    /** Behind the peer's end. */
    static final int CLOSE = 5;
    static final int ABORT = 6;
    /** And nothing waits here for the peer. */
    static final int PROCESS_ENDS = 7;

    /** By a program that has not come to the peer's end, and so is the first to end it. */
    static final int CLOSE_FIRST = 8;

    /** As {@link #PROCESS_ENDS}, and something waits here for the peer. */
    static final int PROCESS_ENDS_OWING = 9;

    /** Bytes that were taken for sending and are not with the operating system yet. */
    static final int UNSENT = 1;

    /** Bytes that are. */
    static final int SENT = 2;

    static final int NO_DELAY = 1;
    static final int KEEP_ALIVE = 2;
    static final int SEND_BUFFER = 3;
    static final int RECEIVE_BUFFER = 4;
    static final int TRAFFIC_CLASS = 5;

    /** In {@code handled}, above one bit for each protocol: admission is decided here. */
    static final int HANDLES_ADMISSION = 16;

    /** Send it raw even if the port compresses. */
    static final int SEND_RAW = 1;

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
