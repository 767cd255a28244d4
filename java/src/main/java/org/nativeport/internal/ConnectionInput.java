package org.nativeport.internal;

import java.io.IOException;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.util.Arrays;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.locks.LockSupport;
import java.util.concurrent.locks.ReentrantLock;
import org.nativeport.CloseInfo;
import org.nativeport.FrameHandler;
import org.nativeport.FrameView;

/**
 * What has come from the peer of one connection and waits to be read, and who waits for it. The
 * thread of its loop fills it, and takes no lock for that but to pause and resume.
 *
 * <p>What waits to be read is bounded: beyond the port's {@code receiveWindow} reading from the peer
 * is paused, and goes on when half of it is taken.
 */
public final class ConnectionInput {
    /** What an item of the queue counts beyond its bytes, so that small ones are bounded too. */
    private static final int ITEM = 64;

    /**
     * So long a virtual thread takes items without having to wait before it leaves its carrier to others: nobody
     * takes it away, and a peer that sends without a pause would keep it for as long as it likes.
     */
    private static final long TURN_NANOS = TimeUnit.MILLISECONDS.toNanos(10);

    /** Of so many items one looks at the clock. */
    private static final int LOOK = 8;

    private static final byte[] NOTHING = {};

    private static final int PAUSED_BY_WINDOW = 1;
    private static final int PAUSED_BY_OUTPUT = 2;
    private static final int PAUSED_BY_PROGRAM = 4;

    private final NativeConnection connection;

    private final ConcurrentLinkedQueue<byte[]> waiting = new ConcurrentLinkedQueue<>();
    private final AtomicLong waitingCost = new AtomicLong();
    private final ReentrantLock readLock = new ReentrantLock();
    private final ReentrantLock pauseLock = new ReentrantLock();
    private volatile int paused;
    private volatile boolean ended;
    /** A read has told the program that the peer has ended, or its handler was shown all. */
    private volatile boolean endShown;
    private volatile boolean shutdown;
    /** Whether {@link #reader} is virtual: it has asked itself, as the first answer needs memory. Set before that. */
    private boolean isReaderVirtual;
    private volatile Thread reader;
    private volatile FrameHandler frameHandler;
    /** Whether the handler was shown all that had waited, so that it gets what comes next. Set on the loop's thread. */
    private volatile boolean isShown;

    /** Of a stream: what is left of the item that was taken last. Under {@code readLock}. */
    private byte[] piece = NOTHING;

    private int pieceAt;

    /** Items taken since a reader has waited, and when there were {@link #LOOK}. Under {@code readLock}. */
    private int takenInTurn;

    private long turnBegan;

    ConnectionInput(NativeConnection connection) {
        this.connection = connection;
    }

    /** On the loop's thread: an item has come. {@link #wakeReader} follows. */
    void receive(byte[] item) {
        if (connection.isClosed() || shutdown) {
            return;
        }
        waiting.add(item);
        long cost = waitingCost.addAndGet(item.length + ITEM);
        if (shutdown) {
            // Shut down meanwhile: nobody takes it, and no pause may wait for that.
            drop();
            return;
        }
        if (cost > connection.port.receiveWindow() && (paused & PAUSED_BY_WINDOW) == 0) {
            NativeLoop.lockBriefly(pauseLock);
            try {
                if (waitingCost.get() > connection.port.receiveWindow()) {
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
        if (waits == null) {
            return;
        }
        if (!isReaderVirtual || NativeLoop.mayWakeVirtual()) {
            LockSupport.unpark(waits);
        } else {
            connection.postpone();
        }
    }

    /** On the loop's thread: the peer will send nothing more. */
    void end() {
        endWithConnection();
        if (isShown) {
            // Everything was handed over, and what was answered is flushed first.
            endShown = true;
            connection.close();
        }
    }

    /** On the loop's thread: the connection has ended. */
    void endWithConnection() {
        ended = true;
        wakeReader();
    }

    /** Closed by this end: what waits is dropped. */
    void close() {
        try {
            dropWaiting();
        } finally {
            wakeReader();
        }
    }

    /** One by one: {@code clear()} may need memory. */
    private void dropWaiting() {
        while (waiting.poll() != null) {
            continue;
        }
    }

    private void taken(byte[] item) {
        waitingCost.addAndGet(-(item.length + ITEM));
        if ((paused & PAUSED_BY_WINDOW) != 0) {
            resumeIfTaken();
        }
    }

    private void resumeIfTaken() {
        if (waitingCost.get() <= connection.port.receiveWindow() / 2) {
            NativeLoop.lockBriefly(pauseLock);
            try {
                if (waitingCost.get() <= connection.port.receiveWindow() / 2) {
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
            Native.connControl(connection.id, Native.PAUSE);
        }
        paused |= why;
    }

    private void resume(int why) {
        if (paused != 0 && (paused & ~why) == 0) {
            Native.connControl(connection.id, Native.RESUME);
        }
        paused &= ~why;
    }

    private void setPaused(int why, boolean on) {
        NativeLoop.lockBriefly(pauseLock);
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

    /** Reads nothing from the peer while output waits for room. */
    void pauseForOutput(boolean on) {
        setPaused(PAUSED_BY_OUTPUT, on);
    }

    /** Reads nothing more from the peer until {@link #resume()}. Returns at once. */
    public void pause() {
        setPaused(PAUSED_BY_PROGRAM, true);
    }

    /** Reads again. Returns at once. */
    public void resume() {
        setPaused(PAUSED_BY_PROGRAM, false);
    }

    /**
     * The next whole transaction, null behind the last one. May park.
     *
     * @throws IOException as {@link CloseReason#forReader} says, or {@link SocketTimeoutException}
     */
    public byte[] readFrame(Deadline deadline) throws IOException {
        acquireTurn(deadline);
        try {
            return next(deadline);
        } finally {
            readLock.unlock();
        }
    }

    /** The next whole transaction if one waits, otherwise null. Never parks for the peer. */
    public byte[] pollFrame() throws IOException {
        if (!readLock.tryLock()) {
            // Another reader is waiting for the next one, or has its turn.
            return null;
        }
        try {
            requireOpen();
            byte[] item = waiting.poll();
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
        acquireStreamTurn(deadline);
        try {
            if (!beginPiece(deadline)) {
                return -1;
            }
            int count = Math.min(length, piece.length - pieceAt);
            System.arraycopy(piece, pieceAt, target, offset, count);
            pieceAt += count;
            letGoOfPiece();
            return count;
        } finally {
            readLock.unlock();
        }
    }

    /** The same in an array that is the caller's from then on; null behind the last. May park. */
    public byte[] take(Deadline deadline) throws IOException {
        acquireStreamTurn(deadline);
        try {
            if (!beginPiece(deadline)) {
                return null;
            }
            byte[] taken = pieceAt == 0 ? piece : Arrays.copyOfRange(piece, pieceAt, piece.length);
            pieceAt = piece.length;
            letGoOfPiece();
            return taken;
        } finally {
            readLock.unlock();
        }
    }

    private void acquireStreamTurn(Deadline deadline) throws IOException {
        if (NativeLoop.isLoopThread()) {
            throw new IllegalStateException("the thread of a loop must not wait");
        }
        acquireTurn(deadline);
    }

    /** Under {@code readLock}: at least one byte is left of the piece then; false behind the last. */
    private boolean beginPiece(Deadline deadline) throws IOException {
        requireOpen();
        if (shutdown) {
            return false;
        }
        if (pieceAt == piece.length) {
            byte[] item = next(deadline);
            if (item == null) {
                return false;
            }
            piece = item;
            pieceAt = 0;
        }
        return true;
    }

    /** Under {@code readLock}: nothing is held of what was read. */
    private void letGoOfPiece() {
        if (pieceAt == piece.length) {
            piece = NOTHING;
            pieceAt = 0;
        }
    }

    /** Bytes of a stream that can be read without parking. */
    public int available() throws IOException {
        requireOpen();
        if (!readLock.tryLock()) {
            // Whoever holds it for long is parked, and then there is no begun piece.
            return waitingBytes(0);
        }
        try {
            return waitingBytes(piece.length - pieceAt);
        } finally {
            readLock.unlock();
        }
    }

    private int waitingBytes(long begun) {
        long count = begun;
        for (byte[] item : waiting) {
            count += item.length;
        }
        return (int) Math.min(count, Integer.MAX_VALUE);
    }

    /** Under {@code readLock}. */
    private byte[] next(Deadline deadline) throws IOException {
        boolean interrupted = false;
        try {
            for (;;) {
                requireOpen();
                if (frameHandler != null) {
                    throw new IllegalStateException("onFrame takes the transactions");
                }
                byte[] item = waiting.poll();
                if (item == null && (ended || shutdown)) {
                    // What came before the end was added before the end was noted.
                    item = waiting.poll();
                    if (item == null) {
                        return endOfInput();
                    }
                }
                if (item != null) {
                    taken(item);
                    if (takenInTurn++ % LOOK == 0) {
                        endTurnIfLong();
                    }
                    return item;
                }
                takenInTurn = 0;
                if (deadline.isOver()) {
                    throw new SocketTimeoutException("Read timed out");
                }
                isReaderVirtual = VirtualThreads.isCurrent();
                reader = Thread.currentThread();
                if (waiting.isEmpty()
                        && !ended
                        && !shutdown
                        && frameHandler == null
                        && !connection.isClosed()) {
                    deadline.park(this);
                }
                reader = null;
                if (Thread.interrupted()) {
                    interrupted = true;
                    if (VirtualThreads.isCurrent()) {
                        connection.close();
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

    /**
     * Under {@code readLock}. To park is the only way: after {@code Thread.yield()} a carrier of JDK 25 goes on with the
     * same thread, as it finds it in the queue that it looked at last.
     */
    private void endTurnIfLong() {
        long now = System.nanoTime();
        if (takenInTurn == 1) {
            turnBegan = now;
        } else if (now - turnBegan > TURN_NANOS) {
            takenInTurn = 0;
            if (VirtualThreads.isCurrent()) {
                LockSupport.parkNanos(this, 1);
            }
        }
    }

    /** Null for an end in order. */
    private byte[] endOfInput() throws IOException {
        CloseInfo how = connection.closeInfo();
        if (how != null && !shutdown) {
            IOException failure = CloseReason.forReader(how, connection.isClosed());
            if (failure != null) {
                throw failure;
            }
        }
        if (!shutdown) {
            endShown = true;
        }
        return null;
    }

    private void acquireTurn(Deadline deadline) throws SocketTimeoutException {
        if (!deadline.acquire(readLock)) {
            throw new SocketTimeoutException("Read timed out");
        }
    }

    private void requireOpen() throws SocketException {
        if (connection.isClosed()) {
            throw new SocketException("Socket closed");
        }
    }

    /** Reads of a stream give -1 from now on, and what comes is dropped. Returns at once. */
    public void shutdown() throws SocketException {
        if (connection.isClosed()) {
            throw new SocketException("Socket is closed");
        }
        shutdown = true;
        drop();
        wakeReader();
    }

    private void drop() {
        dropWaiting();
        waitingCost.set(0);
        resumeIfTaken();
    }

    public boolean isShutdown() {
        return shutdown;
    }

    /**
     * From now on the handler gets the transactions on the loop's thread, beginning with those that
     * wait; one that replaces another gets the next one. Returns at once.
     */
    public void setFrameHandler(FrameHandler handler, Object owner) {
        connection.keep(owner);
        boolean isFirst = frameHandler == null;
        frameHandler = handler;
        if (isShown) {
            return;
        }
        if (connection.loop.isCurrent() && waiting.isEmpty() && !ended) {
            // Nothing has to be shown first.
            isShown = true;
            wakeReader();
        } else if (isFirst) {
            boolean shows = false;
            try {
                shows = connection.loop.execute(this::showWaiting);
            } finally {
                if (!shows) {
                    // What waits can still be read.
                    frameHandler = null;
                }
            }
        }
    }

    private void showWaiting() {
        if (connection.isClosed() || frameHandler == null) {
            return;
        }
        byte[] item;
        try {
            // Whoever waits to read is to know it.
            wakeReader();
            while (!connection.isClosed() && (item = waiting.poll()) != null) {
                taken(item);
                show(connection.loop.view.over(item));
            }
        } catch (Throwable failure) {
            // Memory, most likely. The handler would not see the gap.
            connection.abort();
            throw failure;
        }
        isShown = true;
        if (ended) {
            endShown = true;
            connection.close();
        }
    }

    /** Whether a handler takes what comes. */
    boolean isShown() {
        return isShown;
    }

    boolean hasShownEnd() {
        return endShown;
    }

    /** On the loop's thread, to the handler that was set last. One that fails ends its connection. */
    void show(FrameView view) {
        try {
            frameHandler.onFrame(view);
        } catch (Throwable failure) {
            connection.handlerFailed(failure);
        } finally {
            connection.loop.view.clear();
            NativeLoop.forgetInterrupt();
        }
    }
}
