package org.nativeport.internal;

import java.io.IOException;
import java.io.InputStream;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.util.Arrays;
import java.util.Objects;
import java.util.concurrent.locks.ReentrantLock;

/**
 * The input stream of a socket: gives mark and reset to whatever the bytes come from, and
 * reads ahead where small reads ask for it, or keeps an array that it is given. Unlike {@link java.io.BufferedInputStream} it holds no
 * monitor while it waits, gives back what it has read ahead when the source changes under
 * it, and can be closed while a read is parked.
 *
 * <pre>
 *     0       mark      position        limit       buffer.length
 *     |        | given     | read ahead   | free         |
 *              | and kept  | and not given|
 * </pre>
 *
 * <p>All fields are guarded by the lock, which the owner shares: who holds it knows that no
 * read is under way.
 */
public final class MarkResetInputStream extends InputStream {
    private static final int READ_AHEAD = 8192;
    private static final int LARGEST_ARRAY = Integer.MAX_VALUE - 8;
    private static final byte[] NOTHING = {};
    private static final int NO_MARK = -1;

    /** Where the bytes come from. */
    public interface Source {
        /** Whether reading has ended here; then no byte is given any more, also of those read ahead. */
        boolean isInputShutdown() throws SocketException;

        /** When the time of a read that begins now is over. It includes the wait for other readers. */
        Deadline deadline();

        /** As {@link InputStream#read(byte[], int, int)} with a length above 0. Called with the lock held. */
        int read(byte[] bytes, int offset, int length, Deadline deadline) throws IOException;

        /**
         * Whether {@link #take} is there: then nothing is read ahead, and no buffer is held while nothing is there to be read.
         */
        default boolean givesArrays() {
            return false;
        }

        /** The next bytes in an array that is the reader's from then on, null at the end. Called with the lock held. */
        default byte[] take(Deadline deadline) throws IOException {
            throw new UnsupportedOperationException();
        }

        /** As {@link InputStream#available}. */
        int available() throws IOException;

        /** Closes the socket. */
        void close() throws IOException;
    }

    private final Source source;
    private final ReentrantLock lock;
    private byte[] buffer = NOTHING;
    private int position;
    private int limit;
    private int mark = NO_MARK;
    private int markLimit;

    public MarkResetInputStream(Source source, ReentrantLock lock) {
        this.source = source;
        this.lock = lock;
    }

    @Override
    public int read() throws IOException {
        Deadline deadline = acquireTurn();
        try {
            if (source.isInputShutdown() || position == limit && !fill(orFromNow(deadline))) {
                return -1;
            }
            int value = buffer[position++] & 0xff;
            letGoOfRead();
            return value;
        } finally {
            lock.unlock();
        }
    }

    /** Null if there was nobody to wait for: bytes that are read ahead need no deadline. */
    private Deadline acquireTurn() throws SocketTimeoutException {
        if (lock.tryLock()) {
            return null;
        }
        Deadline deadline = source.deadline();
        if (!deadline.acquire(lock)) {
            throw new SocketTimeoutException("Read timed out");
        }
        return deadline;
    }

    private Deadline orFromNow(Deadline deadline) {
        return deadline == null ? source.deadline() : deadline;
    }

    @Override
    public int read(byte[] bytes, int offset, int length) throws IOException {
        Objects.checkFromIndexSize(offset, length, bytes.length);
        if (length == 0) {
            return 0;
        }
        Deadline deadline = acquireTurn();
        try {
            if (source.isInputShutdown()) {
                return -1;
            }
            if (position == limit) {
                if (mark == NO_MARK && length >= READ_AHEAD) {
                    return source.read(bytes, offset, length, orFromNow(deadline));
                }
                if (!fill(orFromNow(deadline))) {
                    return -1;
                }
            }
            int given = Math.min(length, limit - position);
            System.arraycopy(buffer, position, bytes, offset, given);
            position += given;
            letGoOfRead();
            return given;
        } finally {
            lock.unlock();
        }
    }

    @Override
    public int available() throws IOException {
        if (source.isInputShutdown()) {
            return 0;
        }
        if (!lock.tryLock()) {
            return source.available(); // somebody reads, so nothing lies read ahead
        }
        try {
            int more = source.available();
            int readAhead = limit - position;
            return more > Integer.MAX_VALUE - readAhead ? Integer.MAX_VALUE : readAhead + more;
        } finally {
            lock.unlock();
        }
    }

    @Override
    public boolean markSupported() {
        return true;
    }

    @Override
    public void mark(int readLimit) {
        lock.lock();
        try {
            mark = position;
            markLimit = readLimit;
        } finally {
            lock.unlock();
        }
    }

    @Override
    public void reset() throws IOException {
        lock.lock();
        try {
            source.isInputShutdown(); // throws if the socket is closed
            if (mark == NO_MARK) {
                throw new IOException("Resetting to invalid mark");
            }
            position = mark;
        } finally {
            lock.unlock();
        }
    }

    @Override
    public void close() throws IOException {
        source.close();
    }

    /**
     * Takes out what was received and not given yet, so that a new source can begin with it. A mark
     * stays valid for what was given. The caller holds the lock.
     */
    byte[] takeReadAhead() {
        byte[] taken = Arrays.copyOfRange(buffer, position, limit);
        limit = position;
        return taken;
    }

    /** An array that was taken and given goes. */
    private void letGoOfRead() {
        if (position == limit && mark == NO_MARK && source.givesArrays()) {
            hold(NOTHING);
        }
    }

    /** An array of which all is read ahead. */
    private void hold(byte[] bytes) {
        buffer = bytes;
        position = 0;
        limit = bytes.length;
        if (mark != NO_MARK) {
            mark = 0;
        }
    }

    /** Makes at least one byte lie between position and limit; false at the end of the stream. */
    private boolean fill(Deadline deadline) throws IOException {
        // At the limit exactly it still holds: the source may be at its end, or out of time.
        if (mark != NO_MARK && position - mark > markLimit) {
            mark = NO_MARK;
        }
        int kept = mark == NO_MARK ? 0 : position - mark;
        if (kept == 0 && source.givesArrays()) {
            hold(NOTHING);
            byte[] taken = source.take(deadline);
            hold(taken == null ? NOTHING : taken);
            return taken != null;
        }
        if (kept == buffer.length) {
            // Doubling follows what was really read: a large read limit alone takes no memory.
            buffer = Arrays.copyOf(buffer, (int) Math.min(Math.max(READ_AHEAD, 2L * kept), LARGEST_ARRAY));
        } else {
            System.arraycopy(buffer, position - kept, buffer, 0, kept);
        }
        if (mark != NO_MARK) {
            mark = 0;
        }
        position = kept;
        limit = kept;
        int read = source.read(buffer, limit, buffer.length - limit, deadline);
        if (read <= 0) {
            return false;
        }
        limit += read;
        return true;
    }
}
