package org.nativeport.internal;

import java.io.IOException;
import java.lang.ref.Cleaner;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.util.ArrayDeque;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.Condition;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import org.nativeport.CloseInfo;
import org.nativeport.ConnectionInfo;
import org.nativeport.FrameHandler;
import org.nativeport.FrameView;

/**
 * One native connection as Java sees it: what has come and waits to be read, who waits, and how it
 * ended. The thread of its loop fills it; everybody else reads, writes and closes.
 *
 * <p>The input side takes no lock on the loop's thread but to pause and resume. The output side has one lock, which is
 * held while a native takes data, never while somebody waits.
 *
 * <p>What waits to be read is bounded: beyond the port's {@code receiveWindow} its reading is paused, and goes on
 * when half of it is taken.
 */
public final class NativeConnection {
    /** In flags: send it raw even if the port compresses. */
    public static final int RAW = Native.SEND_RAW;

    /** What an item of the input queue counts beyond its bytes, so that small ones are bounded too. */
    private static final int ITEM = 64;

    /** In front of each frame on the wire, in bytes. */
    private static final int HEADER = 4;

    /** A stream is sent in pieces of this size, so that the send queue stays near its limit. */
    private static final int PIECE = 65536;

    private static final int PAUSED_BY_WINDOW = 1;
    private static final int PAUSED_BY_OUTPUT = 2;
    private static final int PAUSED_BY_PROGRAM = 4;

    final long id;
    final NativeLoop loop;
    final Port port;
    private final ConnectionInfo info;

    private final AtomicBoolean closing = new AtomicBoolean();
    private volatile CloseInfo closeInfo;
    /** Null until somebody asks: most connections end unwatched. Made under {@code writeLock}. */
    private volatile CompletableFuture<CloseInfo> ended;

    // Input.
    private final ConcurrentLinkedQueue<byte[]> input = new ConcurrentLinkedQueue<>();
    private final AtomicLong waitingCost = new AtomicLong();
    private final ReentrantLock readLock = new ReentrantLock();
    private final ReentrantLock pauseLock = new ReentrantLock();
    private volatile int paused;
    private volatile boolean inputEnded;
    private volatile boolean inputShutdown;
    private volatile Thread reader;
    private volatile FrameHandler frameHandler;
    /** Looks whether the host forgets it; it would outlive the connection by a collection. */
    private volatile Cleaner.Cleanable leakWatch;
    /** What the host has of it, kept while only a handler works on it. */
    private volatile Object keptOwner;

    /** Of a stream: what is left of the item that was taken last. Under {@code readLock}. */
    private byte[] piece = {};

    private int pieceAt;

    // Output.
    /** Held by a stream's write from its first piece to its last, also while it waits. */
    private final ReentrantLock writeTurn = new ReentrantLock();

    private final ReentrantLock writeLock = new ReentrantLock();
    private final Condition writable = writeLock.newCondition();
    private final ArrayDeque<Unsent> unsent = new ArrayDeque<>();
    /** What ends the output as soon as nothing is unsent: {@code CLOSE}, {@code SHUTDOWN} or 0. Under {@code writeLock}. */
    private int endBehindUnsent;
    private volatile boolean outputShutdown;

    // What the fast path has sent and the native has not been given yet: frames of a poll, one
    // behind the other, so that they cost one call. Under {@code writeLock}; gone before the next poll.
    private NativeLoop gatheredFrom;
    private int gatheredFirst;
    private int gatheredCount;
    /** Bytes on the wire of what was gathered and the native would not take: the connection had ended. */
    private long refusedBytes;

    /** A frame that waits for room in the native send queue. Without a future the program was told that it is taken. */
    private record Unsent(byte[] data, int flags, CompletableFuture<Void> taken) {}

    NativeConnection(long id, NativeLoop loop, Port port, ConnectionInfo info) {
        this.id = id;
        this.loop = loop;
        this.port = port;
        this.info = info;
    }

    void watchedBy(Cleaner.Cleanable watch) {
        leakWatch = watch;
        if (closeInfo != null) {
            watch.clean();
        }
    }

    public ConnectionInfo info() {
        return info;
    }

    // ------------------------------------------------------------------ input

    /** On the loop's thread: an item has come. {@link #wakeReader} follows. */
    void receive(byte[] item) {
        if (closing.get() || inputShutdown) {
            return;
        }
        input.add(item);
        long cost = waitingCost.addAndGet(item.length + ITEM);
        if (inputShutdown) {
            // Shut down meanwhile: nobody takes it, and no pause may wait for that.
            dropInput();
            return;
        }
        if (cost > port.receiveWindow() && (paused & PAUSED_BY_WINDOW) == 0) {
            pauseLock.lock();
            try {
                if (waitingCost.get() > port.receiveWindow()) {
                    pause(PAUSED_BY_WINDOW);
                }
            } finally {
                pauseLock.unlock();
            }
            // A reader that took everything meanwhile has not seen the pause.
            resumeIfTaken();
        }
    }

    void wakeReader() {
        Thread waits = reader;
        if (waits != null) {
            LockSupport.unpark(waits);
        }
    }

    /** On the loop's thread: the peer will send nothing more. */
    void endInput() {
        inputEnded = true;
        wakeReader();
        if (frameHandler != null) {
            // Everything was handed over, and what was answered is flushed first.
            close();
        }
    }

    /** On the loop's thread: the last event. */
    void end(CloseInfo how) {
        closeInfo = how;
        keptOwner = null;
        inputEnded = true;
        wakeReader();
        try {
            List<Unsent> failed;
            writeLock.lock();
            try {
                writable.signalAll();
                failed = removeUntaken();
                unsent.clear();
            } finally {
                writeLock.unlock();
            }
            if (!failed.isEmpty()) {
                fail(failed, CloseReason.forWriter(how, closing.get()));
            }
            Cleaner.Cleanable watch = leakWatch;
            if (watch != null) {
                watch.clean();
            }
        } finally {
            CompletableFuture<CloseInfo> watched = ended;
            if (watched != null) {
                port.runtime.complete(watched, how);
            }
        }
    }

    private void taken(byte[] item) {
        waitingCost.addAndGet(-(item.length + ITEM));
        if ((paused & PAUSED_BY_WINDOW) != 0) {
            resumeIfTaken();
        }
    }

    private void resumeIfTaken() {
        if (waitingCost.get() <= port.receiveWindow() / 2) {
            pauseLock.lock();
            try {
                if (waitingCost.get() <= port.receiveWindow() / 2) {
                    resume(PAUSED_BY_WINDOW);
                }
            } finally {
                pauseLock.unlock();
            }
        }
    }

    /** Under {@code pauseLock}, so that native calls have the order of what they say. */
    private void pause(int why) {
        if (paused == 0) {
            Native.connControl(id, Native.PAUSE, 0);
        }
        paused |= why;
    }

    private void resume(int why) {
        if (paused != 0 && (paused & ~why) == 0) {
            Native.connControl(id, Native.RESUME, 0);
        }
        paused &= ~why;
    }

    private void setPaused(int why, boolean on) {
        pauseLock.lock();
        try {
            if (on) {
                pause(why);
            } else {
                resume(why);
            }
        } finally {
            pauseLock.unlock();
        }
    }

    /** Reads nothing more from the peer until {@link #resumeReading}. Returns at once. */
    public void pauseReading() {
        setPaused(PAUSED_BY_PROGRAM, true);
    }

    /** Reads again. Returns at once. */
    public void resumeReading() {
        setPaused(PAUSED_BY_PROGRAM, false);
    }

    /**
     * The next whole transaction, null behind the last one. May park.
     *
     * @throws IOException as {@link CloseReason#forReader} says, or {@link SocketTimeoutException}
     */
    public byte[] readFrame(Deadline deadline) throws IOException {
        acquire(readLock, deadline, "Read timed out");
        try {
            return next(deadline);
        } finally {
            readLock.unlock();
        }
    }

    /** The next whole transaction if one waits, otherwise null. Never parks for the peer. */
    public byte[] pollFrame() throws IOException {
        readLock.lock();
        try {
            requireOpen();
            byte[] item = input.poll();
            if (item != null) {
                taken(item);
            }
            return item;
        } finally {
            readLock.unlock();
        }
    }

    /** Bytes of a stream, at least one, or -1 behind the last. May park. */
    public int read(byte[] target, int offset, int length, Deadline deadline) throws IOException {
        acquire(readLock, deadline, "Read timed out");
        try {
            if (closing.get()) {
                throw new SocketException("Socket closed");
            }
            if (inputShutdown) {
                return -1;
            }
            if (length == 0) {
                return 0;
            }
            if (pieceAt == piece.length) {
                byte[] item = next(deadline);
                if (item == null) {
                    return -1;
                }
                piece = item;
                pieceAt = 0;
            }
            int count = Math.min(length, piece.length - pieceAt);
            System.arraycopy(piece, pieceAt, target, offset, count);
            pieceAt += count;
            return count;
        } finally {
            readLock.unlock();
        }
    }

    /** Bytes of a stream that can be read without parking. */
    public int available() throws IOException {
        readLock.lock();
        try {
            requireOpen();
            long count = piece.length - pieceAt;
            for (byte[] item : input) {
                count += item.length;
            }
            return (int) Math.min(count, Integer.MAX_VALUE);
        } finally {
            readLock.unlock();
        }
    }

    /** Under {@code readLock}. */
    private byte[] next(Deadline deadline) throws IOException {
        boolean interrupted = false;
        try {
            for (;;) {
                if (closing.get()) {
                    throw new SocketException("Socket closed");
                }
                if (frameHandler != null) {
                    throw new IllegalStateException("onFrame takes the transactions");
                }
                byte[] item = input.poll();
                if (item == null && (inputEnded || inputShutdown)) {
                    // What came before the end was added before the end was noted.
                    item = input.poll();
                    if (item == null) {
                        return endOfInput();
                    }
                }
                if (item != null) {
                    taken(item);
                    return item;
                }
                if (deadline.isOver()) {
                    throw new SocketTimeoutException("Read timed out");
                }
                reader = Thread.currentThread();
                if (input.isEmpty() && !inputEnded && !inputShutdown && !closing.get()) {
                    park(deadline);
                }
                reader = null;
                if (Thread.interrupted()) {
                    interrupted = true;
                    if (VirtualThreads.isCurrent()) {
                        close();
                        throw new SocketException("Closed by interrupt");
                    }
                }
            }
        } finally {
            reader = null;
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    private void park(Deadline deadline) {
        if (deadline.isNone()) {
            LockSupport.park(this);
        } else {
            LockSupport.parkNanos(this, TimeUnit.MILLISECONDS.toNanos(deadline.remainingMillis()));
        }
    }

    /** Null for an end in order. */
    private byte[] endOfInput() throws IOException {
        CloseInfo how = closeInfo;
        if (how != null && !inputShutdown) {
            IOException failure = CloseReason.forReader(how, closing.get());
            if (failure != null) {
                throw failure;
            }
        }
        return null;
    }

    private void acquire(ReentrantLock lock, Deadline deadline, String late)
            throws SocketTimeoutException {
        if (!deadline.acquire(lock)) {
            throw new SocketTimeoutException(late);
        }
    }

    private void requireOpen() throws SocketException {
        if (closing.get()) {
            throw new SocketException("Socket closed");
        }
    }

    /** Reads of a stream give -1 from now on, and what comes is dropped. Returns at once. */
    public void shutdownInput() throws SocketException {
        if (closing.get()) {
            throw new SocketException("Socket is closed");
        }
        inputShutdown = true;
        dropInput();
        wakeReader();
    }

    private void dropInput() {
        input.clear();
        waitingCost.set(0);
        resumeIfTaken();
    }

    public boolean isInputShutdown() {
        return inputShutdown;
    }

    // -------------------------------------------------------------- fast path

    /**
     * From now on the handler gets the transactions on the loop's thread, beginning with those that
     * wait. Returns at once.
     */
    public void setFrameHandler(FrameHandler handler, Object owner) {
        keptOwner = owner;
        if (loop.isCurrent() && input.isEmpty() && !inputEnded) {
            // Nothing has to be shown first.
            frameHandler = handler;
            wakeReader();
        } else {
            loop.execute(() -> takeFrames(handler));
        }
    }

    private void takeFrames(FrameHandler handler) {
        if (closing.get()) {
            return;
        }
        frameHandler = handler;
        // Whoever waits to read is to know it.
        wakeReader();
        byte[] item;
        while (!closing.get() && (item = input.poll()) != null) {
            taken(item);
            show(handler, loop.view.over(item));
        }
        if (inputEnded) {
            close();
        }
    }

    FrameHandler frameHandler() {
        return frameHandler;
    }

    /** On the loop's thread. A handler that fails ends its connection. */
    void show(FrameHandler handler, FrameView view) {
        try {
            handler.onFrame(view);
        } catch (Throwable failure) {
            abort();
            port.runtime.callbackFailed("onFrame of connection " + Long.toHexString(id), failure);
        } finally {
            loop.view.clear();
        }
    }

    // ----------------------------------------------------------------- output

    /** Sends a whole transaction. May park until there is room; not on the loop's thread. */
    public void writeFrame(byte[] data, int offset, int length, int flags, Deadline deadline)
            throws IOException {
        if (loop.isCurrent()) {
            sendOnLoop(data, offset, length, flags);
            return;
        }
        acquire(writeLock, deadline, "Write timed out");
        try {
            for (;;) {
                requireWritable();
                if (unsent.isEmpty()) {
                    int status = Native.sendFrame(id, data, offset, length, flags);
                    if (status != Status.WOULD_BLOCK) {
                        check(status);
                        return;
                    }
                }
                awaitWritable(deadline);
            }
        } finally {
            writeLock.unlock();
        }
    }

    /** Sends several whole transactions. May park; when it fails, those before have been taken. */
    public void writeFrames(byte[][] frames, int flags) throws IOException {
        Packed packed = new Packed(frames);
        writeLock.lock();
        try {
            int taken = 0;
            while (taken < frames.length) {
                requireWritable();
                int status = Status.WOULD_BLOCK;
                if (unsent.isEmpty()) {
                    status = packed.send(this, taken, flags);
                }
                if (status != Status.WOULD_BLOCK) {
                    check(status);
                    taken += status;
                } else if (loop.isCurrent()) {
                    for (; taken < frames.length; taken++) {
                        addUnsent(new Unsent(frames[taken].clone(), flags, null));
                    }
                } else {
                    awaitWritable(Deadline.after(0));
                }
            }
        } finally {
            writeLock.unlock();
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

        int send(NativeConnection to, int first, int flags) {
            if (data == null) {
                int status = Native.sendFrame(to.id, frames[first], 0, lengths[first], flags);
                return status == Status.OK ? 1 : status;
            }
            for (; sent < first; sent++) {
                offset += lengths[sent];
            }
            return Native.sendFrames(
                    to.id, data, offset, lengths, first, frames.length - first, flags);
        }
    }

    /** Sends a whole transaction, or answers false if there is no room. Never parks for the peer. */
    public boolean offerFrame(byte[] data, int flags) throws IOException {
        writeLock.lock();
        try {
            requireWritable();
            if (!unsent.isEmpty()) {
                return false;
            }
            int status = Native.sendFrame(id, data, 0, data.length, flags);
            if (status == Status.WOULD_BLOCK) {
                return false;
            }
            check(status);
            return true;
        } finally {
            writeLock.unlock();
        }
    }

    /** Sends a whole transaction as soon as there is room; keeps the array until then. */
    public CompletableFuture<Void> writeFrameAsync(byte[] data, int flags) {
        CompletableFuture<Void> done = new CompletableFuture<>();
        writeLock.lock();
        try {
            requireWritable();
            int status = Status.WOULD_BLOCK;
            if (unsent.isEmpty()) {
                status = Native.sendFrame(id, data, 0, data.length, flags);
            }
            if (status == Status.WOULD_BLOCK) {
                addUnsent(new Unsent(data, flags, done));
            } else {
                check(status);
                done.complete(null);
            }
        } catch (IOException failure) {
            done.completeExceptionally(failure);
        } finally {
            writeLock.unlock();
        }
        return done;
    }

    /** On the loop's thread: always taken; what finds no room waits here, and reading pauses. */
    private void sendOnLoop(byte[] data, int offset, int length, int flags) throws IOException {
        writeLock.lock();
        try {
            requireWritable();
            int status = Status.WOULD_BLOCK;
            if (unsent.isEmpty()) {
                status = Native.sendFrame(id, data, offset, length, flags);
            }
            if (status == Status.WOULD_BLOCK) {
                addUnsent(new Unsent(Arrays.copyOfRange(data, offset, offset + length), flags, null));
            } else {
                check(status);
            }
        } finally {
            writeLock.unlock();
        }
    }

    /** On the thread of this or another loop: always taken, as a copy if there is no room. */
    void sendCopy(byte[] data) throws IOException {
        sendOnLoop(data, 0, data.length, 0);
    }

    /**
     * On a loop's thread: an entry of its last poll, which waits as a copy if there is no room. It is
     * gathered with those before and behind it: {@link #sendGathered} follows.
     */
    void sendPolled(NativeLoop from, int entry, FrameView view) throws IOException {
        writeLock.lock();
        try {
            requireUsable();
            if (gatheredCount > 0 && entry == gatheredFirst + gatheredCount && from == gatheredFrom) {
                gatheredCount++;
                return;
            }
            giveGathered();
            if (unsent.isEmpty()) {
                gatheredFrom = from;
                gatheredFirst = entry;
                gatheredCount = 1;
            } else {
                addUnsent(new Unsent(view.toByteArray(), 0, null));
            }
        } finally {
            writeLock.unlock();
        }
    }

    /** On a loop's thread, before it polls again: the native gets what is gathered. */
    void sendGathered() {
        try {
            writeLock.lock();
            try {
                giveGathered();
            } finally {
                writeLock.unlock();
            }
        } catch (IOException failure) {
            if (!closing.get()) {
                port.runtime.callbackFailed("onFrame of connection " + Long.toHexString(id), failure);
                abort();
            }
        }
    }

    /** Under {@code writeLock}, before whatever else goes out: an order of sends is an order on the wire. */
    private void giveGathered() throws IOException {
        while (gatheredCount > 0) {
            int status = Native.sendPolled(gatheredFrom.id, id, gatheredFirst, gatheredCount, 0);
            if (status >= 0) {
                gatheredFirst += status;
                gatheredCount -= status;
            } else if (status == Status.WOULD_BLOCK) {
                for (; gatheredCount > 0; gatheredFirst++, gatheredCount--) {
                    addUnsent(new Unsent(gatheredFrom.copy(gatheredFirst), 0, null));
                }
            } else {
                refuseGathered();
                throw failure(status);
            }
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
            setPaused(PAUSED_BY_OUTPUT, true);
        }
        unsent.add(frame);
    }

    /** On the loop's thread: there is room again. */
    void becomeWritable() {
        ArrayDeque<CompletableFuture<Void>> done = null;
        List<Unsent> failed = List.of();
        IOException failure = null;
        writeLock.lock();
        try {
            while (!unsent.isEmpty()) {
                Unsent next = unsent.peek();
                int status = Native.sendFrame(id, next.data, 0, next.data.length, next.flags);
                if (status == Status.WOULD_BLOCK) {
                    break;
                }
                if (status < 0) {
                    failure = failure(status);
                    failed = removeUntaken();
                    break;
                }
                unsent.remove();
                if (next.taken != null) {
                    done = done == null ? new ArrayDeque<>() : done;
                    done.add(next.taken);
                }
            }
            if (unsent.isEmpty()) {
                if (endBehindUnsent != 0) {
                    Native.connControl(id, endBehindUnsent, 0);
                    endBehindUnsent = 0;
                }
                setPaused(PAUSED_BY_OUTPUT, false);
                writable.signalAll();
            }
        } finally {
            writeLock.unlock();
        }
        if (done != null) {
            ArrayDeque<CompletableFuture<Void>> all = done;
            port.runtime.callback(() -> all.forEach(each -> each.complete(null)));
        }
        if (!failed.isEmpty()) {
            fail(failed, failure);
        }
    }

    /** Under {@code writeLock}: those of which the program still waits to hear. */
    private List<Unsent> removeUntaken() {
        if (unsent.isEmpty()) {
            return List.of();
        }
        List<Unsent> untaken = unsent.stream().filter(frame -> frame.taken != null).toList();
        unsent.removeIf(frame -> frame.taken != null);
        return untaken;
    }

    private void fail(List<Unsent> failed, IOException failure) {
        port.runtime.callback(
                () -> failed.forEach(frame -> frame.taken.completeExceptionally(failure)));
    }

    /** Sends bytes of a stream, those of one call together. May park until all are taken. */
    public void write(byte[] data, int offset, int length) throws IOException {
        if (loop.isCurrent()) {
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
        writeLock.lock();
        try {
            requireWritable();
            int end = offset + length;
            while (offset < end) {
                int count = Math.min(PIECE, end - offset);
                int status = Native.sendBytes(id, data, offset, count);
                if (status == Status.WOULD_BLOCK) {
                    awaitWritable(Deadline.after(0));
                    requireWritable();
                } else {
                    check(status);
                    offset += count;
                }
            }
        } finally {
            writeLock.unlock();
        }
    }

    /** Under {@code writeLock}. */
    private void awaitWritable(Deadline deadline) throws IOException {
        boolean interrupted = false;
        try {
            if (deadline.isNone()) {
                writable.await();
            } else if (deadline.isOver()
                    || !writable.await(deadline.remainingMillis(), TimeUnit.MILLISECONDS)) {
                throw new SocketTimeoutException("Write timed out");
            }
        } catch (InterruptedException e) {
            interrupted = true;
        }
        if (interrupted) {
            if (VirtualThreads.isCurrent()) {
                Thread.currentThread().interrupt();
                close();
                throw new SocketException("Closed by interrupt");
            }
            awaitWritableUninterrupted(deadline);
        }
    }

    private void awaitWritableUninterrupted(Deadline deadline) throws IOException {
        try {
            if (deadline.isNone()) {
                writable.awaitUninterruptibly();
            } else {
                awaitWritable(deadline);
            }
        } finally {
            Thread.currentThread().interrupt();
        }
    }

    /** Under {@code writeLock}: it may be sent on, behind what the fast path has sent. */
    private void requireWritable() throws IOException {
        requireUsable();
        giveGathered();
    }

    private void requireUsable() throws IOException {
        if (closing.get()) {
            throw new SocketException("Socket closed");
        }
        if (outputShutdown) {
            throw new SocketException("Socket output is shutdown");
        }
        if (closeInfo != null) {
            throw CloseReason.forWriter(closeInfo, false);
        }
    }

    private void check(int status) throws IOException {
        if (status < 0) {
            throw failure(status);
        }
    }

    private IOException failure(int status) {
        return switch (status) {
            case Status.CLOSED, Status.INVALID_HANDLE ->
                    CloseReason.forWriter(closeInfo, closing.get());
            case Status.MEMORY_LIMIT -> new IOException("memoryLimit is reached");
            default -> Status.exception(status, "", 0);
        };
    }

    /**
     * Ends this direction behind what was sent; the peer reads the end of the stream. May park
     * behind another thread's write.
     */
    public void shutdownOutput() throws IOException {
        writeTurn.lock();
        try {
            shutdownOutputNow();
        } finally {
            writeTurn.unlock();
        }
    }

    private void shutdownOutputNow() throws IOException {
        writeLock.lock();
        try {
            if (closing.get()) {
                throw new SocketException("Socket is closed");
            }
            if (outputShutdown) {
                return;
            }
            giveGathered();
            outputShutdown = true;
            if (unsent.isEmpty()) {
                check(Native.connControl(id, Native.SHUTDOWN, 0));
            } else {
                endBehindUnsent = Native.SHUTDOWN;
            }
        } finally {
            writeLock.unlock();
        }
    }

    public boolean isOutputShutdown() {
        return outputShutdown;
    }

    // ------------------------------------------------------------- life cycle

    /** Closes it behind what was sent. A second call has no effect. Returns at once. */
    public void close() {
        close(Native.CLOSE);
    }

    /** Ends it at once with a reset, also if it is closing already. Returns at once. */
    public void abort() {
        if (closing.get()) {
            Native.connControl(id, Native.ABORT, 0);
        } else {
            close(Native.ABORT);
        }
    }

    private void close(int how) {
        if (how == Native.CLOSE) {
            // Behind what the fast path has sent.
            sendGathered();
        }
        if (!closing.compareAndSet(false, true)) {
            return;
        }
        closeOutput(how);
        input.clear();
        wakeReader();
    }

    /** What a handler has written is owed to the peer, also if it found no room: a close goes behind it. */
    private void closeOutput(int how) {
        List<Unsent> failed;
        writeLock.lock();
        try {
            boolean atOnce = how == Native.ABORT || unsent.isEmpty();
            if (atOnce) {
                // First, as it needs no memory: a handler may have used up all of it.
                Native.connControl(id, how, 0);
            }
            writable.signalAll();
            failed = removeUntaken();
            if (!atOnce && unsent.isEmpty()) {
                Native.connControl(id, how, 0);
            } else if (!atOnce) {
                endBehindUnsent = how;
            }
        } finally {
            writeLock.unlock();
        }
        if (!failed.isEmpty()) {
            fail(failed, new SocketException("Socket closed"));
        }
    }

    /** Bytes on the wire of what was taken here and not by the native. */
    long owedBytes() {
        writeLock.lock();
        try {
            long bytes = refusedBytes;
            for (Unsent frame : unsent) {
                bytes += frame.taken == null ? HEADER + frame.data.length : 0;
            }
            return bytes;
        } finally {
            writeLock.unlock();
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
        writeLock.lock();
        try {
            if (ended == null) {
                ended = new CompletableFuture<>();
                // An end that came before has seen none.
                CloseInfo how = closeInfo;
                if (how != null) {
                    ended.complete(how);
                }
            }
            return ended;
        } finally {
            writeLock.unlock();
        }
    }

    /** Lets an identified connection in. */
    public boolean admit() {
        return Native.connControl(id, Native.ADMIT, 0) == Status.OK;
    }

    /** Turns it away with these bytes. */
    public boolean refuse(byte[] farewell) {
        return Native.connRefuse(id, farewell) == Status.OK;
    }

    /** Holds output back until {@link #uncork}. */
    public void cork() throws IOException {
        controlOutput(Native.CORK);
    }

    /** Sends what was held back. */
    public void uncork() throws IOException {
        controlOutput(Native.UNCORK);
    }

    private void controlOutput(int what) throws IOException {
        writeLock.lock();
        try {
            giveGathered();
            check(Native.connControl(id, what, 0));
        } finally {
            writeLock.unlock();
        }
    }

    /** Closes it when so many milliseconds have passed; below 0 takes that back. */
    public void setDeadline(long afterMs) throws IOException {
        check(Native.connControl(id, Native.DEADLINE, afterMs));
    }

    /** Age in ms, bytes in, bytes out, frames in, frames out, queued bytes; null if it has ended. */
    public long[] counters() {
        long[] counters = new long[6];
        return Native.connStats(id, counters) < 0 ? null : counters;
    }
}
