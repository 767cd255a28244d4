package org.nativeport.internal;

import java.io.IOException;
import java.lang.ref.Cleaner;
import java.net.SocketException;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicReference;
import org.nativeport.CloseInfo;
import org.nativeport.ConnectionInfo;

/**
 * One native connection as Java sees it: its two directions, and how it ended. The thread of its loop
 * fills it; everybody else reads, writes and closes.
 */
public final class NativeConnection extends Postponed {
    final long id;
    final NativeLoop loop;
    final Port port;
    private final ConnectionInfo info;
    private final long acceptedNanos;
    private final ConnectionInput input;
    private final ConnectionOutput output;

    private final AtomicBoolean closing = new AtomicBoolean();
    private volatile CloseInfo closeInfo;
    /** Empty until somebody asks: most connections end unwatched. */
    private final AtomicReference<CompletableFuture<CloseInfo>> ended = new AtomicReference<>();

    /** Whether a virtual thread has asked for it, so that one may wait for it. */
    private volatile boolean isWatchedByVirtual;

    /** Whether a loop tries again what it had no memory for. */
    private final AtomicBoolean postponed = new AtomicBoolean();

    /** Looks whether the host forgets it; it would outlive the connection by a collection. */
    private volatile Cleaner.Cleanable leakWatch;
    /** What the host has of it, kept while only a handler works on it. */
    private volatile Object keptOwner;

    NativeConnection(long id, NativeLoop loop, Port port, ConnectionInfo info, long ageMs) {
        this.id = id;
        this.loop = loop;
        this.port = port;
        this.info = info;
        this.input = new ConnectionInput(this);
        this.output = new ConnectionOutput(this);
        this.acceptedNanos = System.nanoTime() - TimeUnit.MILLISECONDS.toNanos(ageMs);
    }

    /** Milliseconds since it was accepted. */
    long ageMs() {
        return TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - acceptedNanos);
    }

    public ConnectionInfo info() {
        return info;
    }

    /** What comes from the peer. */
    public ConnectionInput input() {
        return input;
    }

    /** What goes to the peer. */
    public ConnectionOutput output() {
        return output;
    }

    void watchedBy(Cleaner.Cleanable watch) {
        leakWatch = watch;
        if (closeInfo != null) {
            watch.clean();
        }
    }

    void keep(Object owner) {
        keptOwner = owner;
    }

    /** Lets an identified connection in. */
    public boolean admit() {
        return Native.connControl(id, Native.ADMIT) == Status.OK;
    }

    /** Turns it away with these bytes; without them if the system has no memory for a copy. */
    public boolean refuse(byte[] farewell) {
        int status = Native.connRefuse(id, farewell);
        if (status == Status.TOO_LARGE) {
            throw new IllegalArgumentException(
                    "a farewell has at most 1 MiB, not " + farewell.length + " bytes");
        }
        if (status == Status.MEMORY_LIMIT) {
            status = Native.connRefuse(id, new byte[0]);
        }
        return status == Status.OK;
    }

    /** Behind a write: while the virtual machine exits it waits until that is sent. */
    public void awaitSentAtExit() {
        port.runtime.exit.awaitSent(this);
    }

    int option(int option) throws SocketException {
        return option(option, -1);
    }

    void setOption(int option, int value) throws SocketException {
        option(option, value);
    }

    private int option(int option, int value) throws SocketException {
        byte[] words = new byte[Native.WORDS];
        int answer = Native.connOption(id, option, value, words);
        if (answer >= 0) {
            return answer;
        }
        throw answer == Status.CLOSED || answer == Status.INVALID_HANDLE
                ? new SocketException(isClosed() ? "Socket is closed" : "the connection has ended")
                : new SocketException(Status.exception(answer, words).getMessage());
    }

    /** Closes it behind what was sent. A second call has no effect. Returns at once. */
    public void close() {
        close(input.hasShownEnd() ? Native.CLOSE : Native.CLOSE_FIRST);
    }

    /** Ends it at once with a reset, also if it is closing already. Returns at once. */
    public void abort() {
        close(Native.ABORT);
    }

    private void close(int how) {
        if (how != Native.ABORT) {
            // Behind what the fast path has sent.
            output.sendGathered();
        }
        if (!closing.compareAndSet(false, true) && how != Native.ABORT) {
            return;
        }
        try {
            output.close(how);
        } catch (Throwable failure) {
            // Memory, most likely. A second call would have no effect.
            Native.connControl(id, Native.ABORT);
            throw failure;
        } finally {
            input.close();
        }
    }

    /** Whether this end was closed. */
    public boolean isClosed() {
        return closing.get();
    }

    /** How it ended; null while it has not. */
    public CloseInfo closeInfo() {
        return closeInfo;
    }

    /** Complete when it has ended, on a callback thread. */
    public CompletableFuture<CloseInfo> ended() {
        if (VirtualThreads.isCurrent()) {
            isWatchedByVirtual = true;
        }
        if (ended.get() == null) {
            CloseInfo before = closeInfo;
            CompletableFuture<CloseInfo> made =
                    before == null ? new CompletableFuture<>() : CompletableFuture.completedFuture(before);
            if (ended.compareAndSet(null, made) && before == null && closeInfo != null) {
                // An end that came meanwhile has seen none.
                tellEnd();
            }
        }
        return ended.get();
    }

    /**
     * On the loop's thread: the last event. What gives memory back comes first, and whoever waits is told in any case.
     */
    void end(CloseInfo how) {
        closeInfo = how;
        keptOwner = null;
        try {
            output.end();
        } finally {
            try {
                input.endWithConnection();
                Cleaner.Cleanable watch = leakWatch;
                if (watch != null) {
                    watch.clean();
                }
            } finally {
                tellEnd();
            }
        }
    }

    private void tellEnd() {
        CompletableFuture<CloseInfo> watched = ended.get();
        if (watched == null || closeInfo == null) {
            return;
        }
        try {
            port.runtime.complete(watched, closeInfo);
        } catch (OutOfMemoryError none) {
            tellEndHere(watched);
        }
    }

    /** On a loop's thread, without memory: who waits may be the one who has it all. */
    private void tellEndHere(CompletableFuture<CloseInfo> watched) {
        try {
            if (isWatchedByVirtual) {
                NativeLoop.requireMemory();
            }
            RuntimeCore.completeHere(watched, closeInfo, null);
        } catch (OutOfMemoryError none) {
            postpone();
        }
    }

    /** On a loop's thread: there was no memory to wake or tell somebody. */
    void postpone() {
        if (postponed.compareAndSet(false, true)) {
            NativeLoop.current().postpone(this);
        }
    }

    /** All that may have been meant: who is woken or told without need looks again. */
    @Override
    void again() {
        postponed.set(false);
        input.wakeReader();
        output.wakeAndTell();
        tellEnd();
    }

    /** A handler that fails ends its connection. */
    void handlerFailed(Throwable failure) {
        abort();
        port.runtime.callbackFailed("onFrame of ", this, failure);
    }

    /** For the log. */
    @Override
    public String toString() {
        return "connection " + Long.toHexString(id) + " of " + info.remoteAddress();
    }

    void check(int status) throws IOException {
        if (status < 0) {
            throw failure(status);
        }
    }

    IOException failure(int status) {
        return failure(status, closing.get());
    }

    IOException failure(int status, boolean isClosedHere) {
        return switch (status) {
            case Status.CLOSED, Status.INVALID_HANDLE -> CloseReason.forWriter(closeInfo, isClosedHere);
            case Status.MEMORY_LIMIT -> new IOException("memoryLimit is reached");
            default -> Status.exception(status, "", 0);
        };
    }
}
