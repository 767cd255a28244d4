package org.nativeport.internal;

import java.io.IOException;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.util.Arrays;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import org.nativeport.FrameView;

/**
 * What goes to the peer of one connection. It has one lock, which is held while a native takes data,
 * never while somebody waits.
 *
 * <p>What drops frames needs no memory: a connection may hold all of it when it ends.
 */
public final class ConnectionOutput implements Runnable {
    /** In flags: send it raw even if the port compresses. */
    public static final int RAW = Native.SEND_RAW;

    /** In front of each frame on the wire, in bytes. */
    private static final int HEADER = 4;

    /** A stream is sent in pieces of this size, so that the send queue stays near its limit. */
    private static final int PIECE = 65536;

    /**
     * About one of so many futures that could be complete at once is completed by another thread. A chain of sends may be
     * so deep by chance that none was for long: a stack of 1 MB has room for about 1,000, which it never meets.
     */
    private static final int COMPLETE_AT_ONCE = 32;

    /** Between two tries to complete a future for which there is no memory. */
    private static final long RETRY_NANOS = TimeUnit.MILLISECONDS.toNanos(20);

    /** How long a callback thread waits for what the sender may hang on a future. */
    private static final long DEPENDENT_NANOS = TimeUnit.MILLISECONDS.toNanos(1);

    private final NativeConnection connection;
    private final long id;

    /** Held by a stream's write from its first piece to its last, also while it waits. */
    private final ReentrantLock writeTurn = new ReentrantLock();

    private final ReentrantLock writeLock = new ReentrantLock();
    /** Who waits for room, in order. Under {@code writeLock}. */
    private Writer firstWriter;
    private Writer lastWriter;
    /** All of them are to be woken. Under {@code writeLock}. */
    private boolean wakes;
    private final Frames unsent = new Frames();
    /** Frames that were sent or dropped, and whose futures are not complete yet. Under {@code writeLock}. */
    private final Frames finished = new Frames();
    /** Some of them are new, and nobody was told to complete them. Under {@code writeLock}. */
    private boolean tells;
    /** With what the futures of dropped frames complete, if there was memory for it. */
    private volatile Dropped dropped;
    /** What ends it as soon as nothing is unsent: {@code CLOSE}, {@code SHUTDOWN} or 0. Under {@code writeLock}. */
    private int endBehindUnsent;
    private volatile boolean shutdown;

    // What the fast path has sent and the native has not been given yet: frames of a poll, one
    // behind the other, so that they cost one call. Under {@code writeLock}; gone before the next poll.
    private NativeLoop gatheredFrom;
    private int gatheredFirst;
    private int gatheredCount;
    private int gatheredFlags;
    /** A stream's write is not over. Under {@code writeLock}. */
    private boolean writing;
    /** Batches of which a part is taken and the rest waits; under {@code writeLock}. */
    private int batches;
    /** While the virtual machine exits: the last word to the native on whether something waits here; 0 before. */
    private int saidAtExit;
    /** Bytes on the wire of what the program was told is taken, and is not sent: the connection had ended. */
    private long refusedBytes;

    /** A frame that waits for room in the native send queue. */
    private static final class Unsent {
        final int flags;
        /** Null: the program was told that it is taken. */
        final CompletableFuture<Void> taken;
        /** Null when it was sent or dropped. */
        byte[] data;
        /** Why it was dropped; OK if it was sent. */
        int status;
        /** Whether this end was closed by then. */
        boolean isClosedHere;
        Unsent next;

        Unsent(byte[] data, int flags, CompletableFuture<Void> taken) {
            this.data = data;
            this.flags = flags;
            this.taken = taken;
        }
    }

    /** Frames in order, linked: to move one needs no memory. */
    private static final class Frames {
        private Unsent first;
        private Unsent last;

        boolean isEmpty() {
            return first == null;
        }

        void add(Unsent frame) {
            if (first == null) {
                first = frame;
            } else {
                last.next = frame;
            }
            last = frame;
        }

        Unsent poll() {
            Unsent polled = first;
            if (polled != null) {
                first = polled.next;
                polled.next = null;
                if (first == null) {
                    last = null;
                }
            }
            return polled;
        }
    }

    /** A thread that waits for room; linked, as the thread that wakes it may have no memory. */
    private static final class Writer {
        final Thread thread = Thread.currentThread();
        final boolean isVirtual = VirtualThreads.isCurrent();
        volatile boolean isWoken;
        Writer next;
    }

    ConnectionOutput(NativeConnection connection) {
        this.connection = connection;
        this.id = connection.id;
    }

    /** Sends a whole transaction. May park until there is room; not on a loop's thread. */
    public void writeFrame(byte[] data, int offset, int length, int flags, Deadline deadline)
            throws IOException {
        if (NativeLoop.isLoopThread()) {
            sendOnLoop(data, offset, length, flags);
            return;
        }
        if (!deadline.acquire(writeLock)) {
            throw new SocketTimeoutException("Write timed out");
        }
        boolean interrupted = false;
        try {
            for (;;) {
                requireWritable();
                if (unsent.isEmpty()) {
                    int status = Native.sendFrame(id, data, offset, length, flags);
                    if (status != Status.WOULD_BLOCK) {
                        connection.check(status);
                        return;
                    }
                }
                interrupted |= awaitWritable(deadline);
            }
        } finally {
            unlockAndTell();
            interruptAgain(interrupted);
        }
    }

    /** Sends several whole transactions. May park; when it fails, those before have been taken. */
    public void writeFrames(byte[][] frames, int flags) throws IOException {
        Packed packed = new Packed(frames);
        boolean interrupted = false;
        NativeLoop.lock(writeLock);
        try {
            int taken = 0;
            while (taken < frames.length) {
                requireWritable();
                int status = Status.WOULD_BLOCK;
                if (unsent.isEmpty()) {
                    status = packed.send(id, taken, flags);
                }
                if (status != Status.WOULD_BLOCK) {
                    connection.check(status);
                    taken += status;
                } else if (NativeLoop.isLoopThread()) {
                    for (; taken < frames.length; taken++) {
                        addUnsent(new Unsent(frames[taken].clone(), flags, null));
                    }
                } else {
                    interrupted |= awaitRest(taken);
                }
            }
        } finally {
            unlockAndTell();
            interruptAgain(interrupted);
        }
    }

    /** Waits for room for the rest of a batch; if a part is taken already, the rest is owed until then. */
    private boolean awaitRest(int taken) throws IOException {
        int owed = taken > 0 ? 1 : 0;
        batches += owed;
        sayAtExit();
        try {
            return awaitWritable(Deadline.after(0));
        } finally {
            batches -= owed;
        }
    }

    /** Frames one behind the other, as the native wants them. */
    private static final class Packed {
        /** More than this travels frame by frame, in bytes. */
        private static final int MOST = 1 << 20;

        final byte[][] frames;
        final int[] lengths;
        final byte[] data;
        int sent;
        int offset;

        Packed(byte[][] frames) {
            this.frames = frames;
            this.lengths = new int[frames.length];
            long all = 0;
            for (int i = 0; i < frames.length; i++) {
                lengths[i] = frames[i].length;
                all += lengths[i];
            }
            this.data = all <= MOST ? new byte[(int) all] : null;
            if (data != null) {
                int end = 0;
                for (byte[] frame : frames) {
                    System.arraycopy(frame, 0, data, end, frame.length);
                    end += frame.length;
                }
            }
        }

        int send(long to, int first, int flags) {
            if (data == null) {
                int status = Native.sendFrame(to, frames[first], 0, lengths[first], flags);
                return status == Status.OK ? 1 : status;
            }
            for (; sent < first; sent++) {
                offset += lengths[sent];
            }
            return Native.sendFrames(
                    to, data, offset, lengths, first, frames.length - first, flags);
        }
    }

    /** Sends a whole transaction, or answers false if there is no room. Never parks for the peer. */
    public boolean offerFrame(byte[] data, int flags) throws IOException {
        NativeLoop.lock(writeLock);
        try {
            requireWritable();
            if (!unsent.isEmpty()) {
                return false;
            }
            int status = Native.sendFrame(id, data, 0, data.length, flags);
            if (status == Status.WOULD_BLOCK) {
                return false;
            }
            connection.check(status);
            return true;
        } finally {
            unlockAndTell();
        }
    }

    /** Sends a whole transaction as soon as there is room; keeps the array until then. */
    public CompletableFuture<Void> writeFrameAsync(byte[] data, int flags) {
        CompletableFuture<Void> done = new CompletableFuture<>();
        IOException failure = null;
        NativeLoop.lock(writeLock);
        try {
            requireWritable();
            int status = Status.WOULD_BLOCK;
            if (unsent.isEmpty()) {
                status = Native.sendFrame(id, data, 0, data.length, flags);
            }
            if (status == Status.WOULD_BLOCK) {
                addUnsent(new Unsent(data, flags, done));
                return done;
            }
            connection.check(status);
        } catch (IOException e) {
            failure = e;
        } finally {
            unlockAndTell();
        }
        if (ThreadLocalRandom.current().nextInt(COMPLETE_AT_ONCE) != 0 || !completeLater(done, failure)) {
            RuntimeCore.completeHere(done, null, failure);
        }
        return done;
    }

    /**
     * A program that sends the next one when this is complete may be deep in a recursion by now. By way of the loop's
     * thread, as an executor may run the task at once. False: there is no memory for that, or the loop has ended.
     */
    private boolean completeLater(CompletableFuture<Void> done, IOException failure) {
        try {
            Late late = new Late(connection.port.runtime, done, failure);
            return connection.loop.execute(late::again);
        } catch (OutOfMemoryError none) {
            return false;
        }
    }

    /** A future that is completed by way of a loop's thread. */
    private static final class Late extends Postponed implements Runnable {
        final RuntimeCore runtime;
        final CompletableFuture<Void> done;
        final IOException failure;

        Late(RuntimeCore runtime, CompletableFuture<Void> done, IOException failure) {
            this.runtime = runtime;
            this.done = done;
            this.failure = failure;
        }

        @Override
        void again() {
            try {
                runtime.callbackOrHere(this);
            } catch (OutOfMemoryError none) {
                NativeLoop.current().postpone(this);
            }
        }

        @Override
        public void run() {
            if (!NativeLoop.isLoopThread()) {
                awaitDependent(done);
            }
            RuntimeCore.completeHere(done, null, failure);
        }
    }

    /**
     * For the sender to hang something on it: what is complete before that is run by the sender, on its stack. It may not
     * want to know, so it is waited for at most {@link #DEPENDENT_NANOS}.
     */
    private static void awaitDependent(CompletableFuture<Void> done) {
        long begun = System.nanoTime();
        while (done.getNumberOfDependents() == 0 && System.nanoTime() - begun < DEPENDENT_NANOS) {
            LockSupport.parkNanos(DEPENDENT_NANOS / 100);
        }
    }

    /** On the thread of this or another loop: always taken; what finds no room waits here, and reading pauses. */
    private void sendOnLoop(byte[] data, int offset, int length, int flags) throws IOException {
        NativeLoop.lock(writeLock);
        try {
            requireWritable();
            int status = Status.WOULD_BLOCK;
            if (unsent.isEmpty()) {
                status = Native.sendFrame(id, data, offset, length, flags);
            }
            if (status == Status.WOULD_BLOCK) {
                addUnsent(new Unsent(Arrays.copyOfRange(data, offset, offset + length), flags, null));
            } else {
                connection.check(status);
            }
        } finally {
            unlockAndTell();
        }
    }

    /** On the thread of this or another loop: always taken, as a copy if there is no room. */
    void sendCopy(byte[] data, int flags) throws IOException {
        sendOnLoop(data, 0, data.length, flags);
    }

    /**
     * On a loop's thread: an entry of its last poll, which waits as a copy if there is no room. It is
     * gathered with those before and behind it: {@link #sendGathered} follows.
     */
    void sendPolled(NativeLoop from, int entry, FrameView view, int flags) throws IOException {
        NativeLoop.lock(writeLock);
        try {
            requireUsable();
            if (gatheredCount > 0
                    && entry == gatheredFirst + gatheredCount
                    && from == gatheredFrom
                    && flags == gatheredFlags) {
                gatheredCount++;
                return;
            }
            giveGathered();
            if (unsent.isEmpty()) {
                gatheredFrom = from;
                gatheredFirst = entry;
                gatheredCount = 1;
                gatheredFlags = flags;
            } else {
                addUnsent(new Unsent(view.toByteArray(), flags, null));
            }
        } finally {
            unlockAndTell();
        }
    }

    /** On a loop's thread, before it polls again: the native gets what is gathered. */
    void sendGathered() {
        try {
            NativeLoop.lock(writeLock);
            try {
                giveGathered();
            } finally {
                unlockAndTell();
            }
        } catch (IOException failure) {
            if (!connection.isClosed()) {
                connection.handlerFailed(failure);
            }
        } catch (RuntimeException | Error failure) {
            // Memory, most likely. Who closes goes on to close.
            connection.handlerFailed(failure);
        }
    }

    /** Under {@code writeLock}, before whatever else goes out: an order of sends is an order on the wire. */
    private void giveGathered() throws IOException {
        while (gatheredCount > 0) {
            int status = Native.sendPolled(gatheredFrom.id, id, gatheredFirst, gatheredCount, gatheredFlags);
            if (status >= 0) {
                gatheredFirst += status;
                gatheredCount -= status;
            } else if (status == Status.WOULD_BLOCK) {
                keepGathered();
            } else {
                refuseGathered();
                throw connection.failure(status);
            }
        }
    }

    /** Under {@code writeLock}: as copies. If there is no memory for them the connection ends, and none is left. */
    private void keepGathered() {
        try {
            for (; gatheredCount > 0; gatheredFirst++, gatheredCount--) {
                addUnsent(new Unsent(gatheredFrom.copy(gatheredFirst), gatheredFlags, null));
            }
        } catch (Throwable failure) {
            // Behind the next poll its numbers would name the frames of others.
            refuseGathered();
            connection.abort();
            throw failure;
        }
    }

    /** Under {@code writeLock}: the handler was told that they are taken, so they count as unsent. */
    private void refuseGathered() {
        for (; gatheredCount > 0; gatheredFirst++, gatheredCount--) {
            refusedBytes += HEADER + gatheredFrom.length(gatheredFirst);
        }
    }

    /** Under {@code writeLock}. */
    private void addUnsent(Unsent frame) {
        if (unsent.isEmpty()) {
            connection.input().pauseForOutput(true);
        }
        unsent.add(frame);
    }

    /** On the loop's thread: the connection has ended. */
    void end() {
        NativeLoop.lock(writeLock);
        try {
            drop(Status.CLOSED);
            wakes = true;
        } finally {
            unlockAndTell();
        }
    }

    /** On the loop's thread: there is room again. */
    void becomeWritable() {
        NativeLoop.lock(writeLock);
        try {
            sendUnsent();
            if (unsent.isEmpty()) {
                sayAtExit();
                if (endBehindUnsent != 0) {
                    Native.connControl(id, endBehindUnsent);
                    endBehindUnsent = 0;
                }
                connection.input().pauseForOutput(false);
                wakes = true;
            }
        } finally {
            unlockAndTell();
        }
    }

    /** Under {@code writeLock}: as many as there is room for. */
    private void sendUnsent() {
        while (!unsent.isEmpty()) {
            Unsent next = unsent.first;
            int status = Native.sendFrame(id, next.data, 0, next.data.length, next.flags);
            if (status == Status.WOULD_BLOCK) {
                return;
            }
            if (status < 0) {
                long before = refusedBytes;
                drop(status);
                if (refusedBytes > before && status != Status.CLOSED && status != Status.INVALID_HANDLE) {
                    // The peer would not see the gap.
                    connection.abort();
                    connection.port.runtime.warn(
                            connection + " is aborted, as what was written could not be sent: status " + status);
                }
                return;
            }
            finish(unsent.poll(), Status.OK);
        }
    }

    /** Under {@code writeLock}: nothing of what waits is sent. */
    private void drop(int status) {
        for (Unsent frame; (frame = unsent.poll()) != null; ) {
            finish(frame, status);
        }
    }

    /** Under {@code writeLock}: those are not sent of which the program still waits to hear. */
    private void dropUntaken() {
        Unsent rest = unsent.first;
        unsent.first = unsent.last = null;
        while (rest != null) {
            Unsent frame = rest;
            rest = frame.next;
            frame.next = null;
            if (frame.taken == null) {
                unsent.add(frame);
            } else {
                finish(frame, Status.CLOSED);
            }
        }
    }

    /** Under {@code writeLock}: it waits no more. */
    private void finish(Unsent frame, int status) {
        if (frame.taken != null) {
            frame.status = status;
            frame.isClosedHere = connection.isClosed();
            finished.add(frame);
            tells = true;
        } else if (status != Status.OK) {
            // The program was told that it is taken, so it counts as unsent.
            refusedBytes += HEADER + frame.data.length;
        }
        frame.data = null;
    }

    /** Code of the host may run here, so whoever has the lock twice leaves it to the outer one. */
    private void unlockAndTell() {
        sayAtExit();
        if (!tells && !wakes || writeLock.getHoldCount() > 1) {
            writeLock.unlock();
            return;
        }
        boolean tellsNow = tells;
        tells = false;
        boolean wakesNow = wakes && mayWake();
        boolean wakesLater = wakes && !wakesNow;
        wakes = false;
        Writer woken = wakesNow ? takeWriters() : null;
        writeLock.unlock();
        if (wakesLater) {
            connection.postpone();
        }
        // Behind the unlock, so that none of them queues for it.
        for (; woken != null; woken = woken.next) {
            LockSupport.unpark(woken.thread);
        }
        if (tellsNow) {
            tellFinished();
        }
    }

    /** On a loop's thread: who had to be woken or told, and there was no memory for it. */
    void wakeAndTell() {
        NativeLoop.lock(writeLock);
        wakes = firstWriter != null;
        tells = !finished.isEmpty();
        unlockAndTell();
    }

    private void tellFinished() {
        try {
            connection.port.runtime.callbackOrHere(this);
        } catch (OutOfMemoryError none) {
            if (NativeLoop.isLoopThread()) {
                connection.postpone();
            } else {
                run();
            }
        }
    }

    /** Under {@code writeLock}: whether there is memory to wake them. */
    private boolean mayWake() {
        for (Writer writer = firstWriter; writer != null; writer = writer.next) {
            if (writer.isVirtual && !NativeLoop.mayWakeVirtual()) {
                return false;
            }
        }
        return true;
    }

    /** Under {@code writeLock}: those who wait no more, the first of them. */
    private Writer takeWriters() {
        Writer taken = firstWriter;
        for (Writer writer = taken; writer != null; writer = writer.next) {
            writer.isWoken = true;
        }
        firstWriter = lastWriter = null;
        return taken;
    }

    /** Under {@code writeLock}. */
    private void addWriter(Writer writer) {
        if (firstWriter == null) {
            firstWriter = writer;
        } else {
            lastWriter.next = writer;
        }
        lastWriter = writer;
    }

    /** Under {@code writeLock}: it was not woken. */
    private void removeWriter(Writer writer) {
        Writer before = null;
        for (Writer each = firstWriter; each != writer; each = each.next) {
            before = each;
        }
        if (before == null) {
            firstWriter = writer.next;
        } else {
            before.next = writer.next;
        }
        if (lastWriter == writer) {
            lastWriter = before;
        }
    }

    /** On the thread of its loop, or of who stands in for that: the virtual machine exits. */
    void processEnds() {
        NativeLoop.lock(writeLock);
        try {
            saidAtExit = Native.PROCESS_ENDS_OWING;
            Native.connControl(id, saidAtExit);
        } finally {
            unlockAndTell();
        }
    }

    /**
     * Under {@code writeLock}: if the virtual machine exits, the native hears of each change. A connection for which
     * something waits here must not end in order, though nothing waits in the native.
     */
    private void sayAtExit() {
        if (saidAtExit == 0) {
            return;
        }
        boolean owes = writing || batches > 0 || gatheredCount > 0 || !unsent.isEmpty();
        int says = owes ? Native.PROCESS_ENDS_OWING : Native.PROCESS_ENDS;
        if (says != saidAtExit) {
            saidAtExit = says;
            Native.connControl(id, says);
        }
    }

    /** Completes the futures of what was sent or dropped; several threads may do it at once. */
    @Override
    public void run() {
        Unsent frame = null;
        for (;;) {
            try {
                while ((frame = nextFinished(frame)) != null) {
                    tell(frame);
                }
                return;
            } catch (Throwable failure) {
                // Memory, most likely. The frame is still the first one.
                frame = null;
                if (NativeLoop.isLoopThread()) {
                    connection.postpone();
                    return;
                }
                LockSupport.parkNanos(RETRY_NANOS);
            }
        }
    }

    /** It stays the next one until its future is complete, and all that hangs on that was run. */
    private Unsent nextFinished(Unsent told) {
        NativeLoop.lock(writeLock);
        try {
            if (told != null && finished.first == told) {
                finished.poll();
            }
            return finished.first;
        } finally {
            writeLock.unlock();
        }
    }

    private void tell(Unsent frame) {
        if (frame.status == Status.OK) {
            frame.taken.complete(null);
        } else {
            frame.taken.completeExceptionally(failureOf(frame));
        }
    }

    /** Why frames were dropped. */
    private record Dropped(int status, boolean isClosedHere, Exception failure) {}

    /** One for all that were dropped together: there may be very many. */
    private Exception failureOf(Unsent frame) {
        Dropped known = dropped;
        if (known == null || known.status != frame.status || known.isClosedHere != frame.isClosedHere) {
            Exception failure;
            try {
                failure = connection.failure(frame.status, frame.isClosedHere);
            } catch (RuntimeException defect) {
                failure = defect;
            }
            dropped = known = new Dropped(frame.status, frame.isClosedHere, failure);
        }
        return known.failure;
    }

    /** Sends bytes of a stream, those of one call together. May park until all are taken. */
    public void write(byte[] data, int offset, int length) throws IOException {
        if (NativeLoop.isLoopThread()) {
            throw new IllegalStateException("the thread of a loop must not wait");
        }
        writeTurn.lock();
        try {
            writePieces(data, offset, length);
        } finally {
            writeTurn.unlock();
        }
    }

    private void writePieces(byte[] data, int offset, int length) throws IOException {
        boolean interrupted = false;
        NativeLoop.lock(writeLock);
        try {
            requireWritable();
            writing = true;
            sayAtExit();
            int end = offset + length;
            while (offset < end) {
                int count = Math.min(PIECE, end - offset);
                int status = Native.sendBytes(id, data, offset, count);
                if (status == Status.WOULD_BLOCK) {
                    interrupted |= awaitWritable(Deadline.after(0));
                    requireWritable();
                } else {
                    connection.check(status);
                    offset += count;
                }
            }
        } finally {
            writing = false;
            unlockAndTell();
            interruptAgain(interrupted);
        }
    }

    /**
     * Under {@code writeLock}. May return before there is room. True: the thread, a platform thread, was
     * interrupted, which it is to be again when its write is over; what it waits for may have come
     * together with that, so it looks again before it goes on waiting.
     */
    private boolean awaitWritable(Deadline deadline) throws IOException {
        Writer self = new Writer();
        addWriter(self);
        unlockAndTell();
        try {
            while (!self.isWoken && !deadline.isOver() && !Thread.currentThread().isInterrupted()) {
                deadline.park(this);
            }
        } finally {
            NativeLoop.lock(writeLock);
            if (!self.isWoken) {
                removeWriter(self);
            }
        }
        if (self.isWoken) {
            return false;
        }
        if (!Thread.interrupted()) {
            throw new SocketTimeoutException("Write timed out");
        }
        if (VirtualThreads.isCurrent()) {
            Thread.currentThread().interrupt();
            connection.close();
            throw new SocketException("Closed by interrupt");
        }
        return true;
    }

    private static void interruptAgain(boolean interrupted) {
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    /** Under {@code writeLock}: it may be sent on, behind what the fast path has sent. */
    private void requireWritable() throws IOException {
        requireUsable();
        giveGathered();
    }

    private void requireUsable() throws IOException {
        if (connection.isClosed()) {
            throw new SocketException("Socket closed");
        }
        if (shutdown) {
            throw new SocketException("Socket output is shutdown");
        }
        if (connection.closeInfo() != null) {
            throw CloseReason.forWriter(connection.closeInfo(), false);
        }
    }

    /**
     * Ends this direction behind what was sent; the peer reads the end of the stream. May park
     * behind another thread's write of a stream.
     */
    public void shutdown() throws IOException {
        if (!NativeLoop.isLoopThread()) {
            writeTurn.lock();
        } else if (!writeTurn.tryLock()) {
            throw new IllegalStateException("the thread of a loop must not wait for another thread's write");
        }
        try {
            shutdownNow();
        } finally {
            writeTurn.unlock();
        }
    }

    private void shutdownNow() throws IOException {
        NativeLoop.lock(writeLock);
        try {
            if (connection.isClosed()) {
                throw new SocketException("Socket is closed");
            }
            if (shutdown) {
                return;
            }
            giveGathered();
            shutdown = true;
            sayAtExit();
            wakes = true;
            if (unsent.isEmpty()) {
                connection.check(Native.connControl(id, Native.SHUTDOWN));
            } else {
                endBehindUnsent = Native.SHUTDOWN;
            }
        } finally {
            unlockAndTell();
        }
    }

    public boolean isShutdown() {
        return shutdown;
    }

    /** What a handler has written is owed to the peer, also if it found no room: a close goes behind it. */
    void close(int how) {
        NativeLoop.lock(writeLock);
        try {
            if (how == Native.ABORT) {
                Native.connControl(id, how);
                drop(Status.CLOSED);
            } else {
                dropUntaken();
                sayAtExit();
                if (unsent.isEmpty()) {
                    Native.connControl(id, how);
                } else {
                    endBehindUnsent = how;
                }
            }
            wakes = true;
        } finally {
            unlockAndTell();
        }
    }

    /** Bytes that were taken, here or by the native, and are not with the operating system yet. */
    long unsentBytes() {
        NativeLoop.lock(writeLock);
        try {
            long bytes = Math.max(0, Native.connCount(id, Native.UNSENT));
            for (Unsent frame = unsent.first; frame != null; frame = frame.next) {
                bytes += HEADER + frame.data.length;
            }
            return bytes;
        } finally {
            writeLock.unlock();
        }
    }

    /** Bytes on the wire of what was taken here and not by the native. */
    long owedBytes() {
        NativeLoop.lock(writeLock);
        try {
            long bytes = refusedBytes;
            for (Unsent frame = unsent.first; frame != null; frame = frame.next) {
                bytes += frame.taken == null ? HEADER + frame.data.length : 0;
            }
            return bytes;
        } finally {
            writeLock.unlock();
        }
    }
}
