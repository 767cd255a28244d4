package org.nativeport;

import java.io.Closeable;
import java.io.IOException;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletionStage;

/**
 * The server's side of a framed client or remote application: whole transactions, in order, each
 * exactly once. A transaction is its payload, from 0 bytes on. One that comes has at most the port's {@code
 * maxFrameSize} on the wire and {@code maxInflatedSize} inflated; what is written has neither limit.
 *
 * <h2>Threads</h2>
 *
 * Every method may be called from any thread, platform or virtual. Readers take turns, and a write is
 * one whole transaction, so that writers never mix. "May park" in a method's text means that
 * it may wait for the peer; all other methods return at once. {@link #close} may be called
 * at any time and ends calls that are parked. On the thread of a loop, as inside a {@link FrameHandler}, nothing
 * parks: there a write is always taken, and {@link #read()} and {@link #readBatch} throw {@link IllegalStateException}.
 *
 * <h2>Exceptions</h2>
 *
 * {@code SocketException("Socket closed")} if this end is closed, before or during the call;
 * another {@link java.net.SocketException} if the connection was reset or ended by a rule, with the reason in its
 * message; {@link java.net.SocketTimeoutException} if the time was over, after which the connection is as usable as
 * before; {@link java.io.EOFException} if the peer ended inside a transaction; {@link
 * java.net.ProtocolException} if it sent what is no transaction; {@link javax.net.ssl.SSLException} if TLS failed, or
 * the peer ended without close_notify ({@code requireCloseNotify = no} of the port makes that an end): what had come before is read first. A write throws another {@link IOException}
 * if {@code memoryLimit} leaves no room for it.
 *
 * <p>An interrupt does what it does to a {@link java.net.Socket}: a platform thread goes on waiting and keeps its
 * interrupt status; a virtual thread that waits closes the connection.
 */
public interface ClientCommunicationInterface extends Closeable {

    // ----------------------------------------------------------------- input

    /**
     * The next transaction, inflated if it came compressed. May park, at most {@link
     * #getSoTimeout}.
     *
     * @return null behind the last one, when the peer has ended in order
     * @throws IOException see above
     * @throws IllegalStateException if {@link #onFrame} takes the transactions, or on the thread of a loop
     */
    byte[] read() throws IOException;

    /**
     * As {@link #read()}, with a time limit of its own. May park.
     *
     * @param timeout zero for no limit; counted in milliseconds, at least one
     * @return null behind the last one, when the peer has ended in order
     * @throws IOException see above
     * @throws IllegalStateException if {@link #onFrame} takes the transactions, or on the thread of a loop
     * @throws IllegalArgumentException if the time is negative
     */
    byte[] read(Duration timeout) throws IOException;

    /**
     * The transactions that have come, at least one: waits for the first as {@link #read()} does. May
     * park.
     *
     * @param most how many at most, at least 1
     * @return empty behind the last one
     * @throws IOException see above; what was read before stays readable
     * @throws IllegalStateException if {@link #onFrame} takes the transactions, or on the thread of a loop
     * @throws IllegalArgumentException if {@code most} is below 1
     */
    List<byte[]> readBatch(int most) throws IOException;

    /**
     * The next transaction, later. A callback thread waits for it, one for each call. Returns at once, on the thread
     * of a loop too.
     *
     * @return completes on that thread, as {@link #read()} returns or throws; with a {@link
     *     java.util.concurrent.RejectedExecutionException} if there is no thread for it
     */
    CompletionStage<byte[]> readAsync();

    /**
     * Gives every transaction, beginning with those that wait, to a handler on the thread of the connection's loop, without a copy:
     * the fast path. When the peer has ended, the connection is closed behind what was
     * answered. Cannot be taken back. A second handler replaces the first from the next transaction on, even if both
     * came in one read. Returns at once; the handler may run before.
     */
    void onFrame(FrameHandler handler);

    /**
     * Reads nothing more from the peer, who is held back. What has come, or is coming just now, stays readable.
     * Returns at once.
     */
    void pauseReading();

    /** Goes on after {@link #pauseReading}. Returns at once. */
    void resumeReading();

    // ---------------------------------------------------------------- output

    /**
     * Sends a transaction. May park, without a limit, while the send queue is full. When it returns, the transaction
     * will be sent, or {@link CloseInfo#unsentBytes} counts it.
     *
     * @throws IOException see above; then it will not be sent
     */
    void write(byte[] transaction) throws IOException;

    /**
     * Sends a part of an array as a transaction, as {@link #write(byte[])} does. May park.
     *
     * @throws IndexOutOfBoundsException if the array has no such part
     * @throws IOException see above; then it will not be sent
     */
    void write(byte[] data, int offset, int length) throws IOException;

    /**
     * As {@link #write(byte[])}, with a time limit. May park.
     *
     * @param timeout zero for no limit; counted in milliseconds, at least one
     * @throws IOException see above; then it will not be sent
     * @throws IllegalArgumentException if the time is negative
     */
    void write(byte[] transaction, Duration timeout) throws IOException;

    /**
     * Sends a transaction that a {@link FrameHandler} is shown, without a copy. Only inside the handler, whose frame it is;
     * always taken: what finds no room waits, and meanwhile nothing is read from this connection. (To send it to another
     * connection is right for a few; where that may be slower than this one, {@link #offer} does not pile up.) Frames that have come
     * together are sent together when the handler has seen the last of them, or before anything else is
     * sent; if that fails, the connection ends as if the handler had failed. Returns at once.
     *
     * @throws IllegalStateException outside the handler
     * @throws IllegalArgumentException if the frame is an implementation of the program's
     * @throws IOException see above; then it will not be sent
     */
    void write(FrameView frame) throws IOException;

    /**
     * Sends transactions in order, cheaper than one by one. May park. If it fails, the first ones may
     * have been taken.
     *
     * @throws IOException see above
     */
    void writeBatch(List<byte[]> transactions) throws IOException;

    /**
     * Sends a transaction if there is room in the send queue. Returns at once.
     *
     * @return whether it was taken
     * @throws IOException see above
     */
    boolean offer(byte[] transaction) throws IOException;

    /**
     * Sends a transaction, now or as soon as there is room, behind those before. The array must not be
     * changed until then. While some wait, nothing is read from the peer. Returns at once.
     *
     * @return completes when it was taken over for sending, or with an {@link IOException}: at once, or later on a
     *     callback thread. About one of 32 sends that are taken at once is completed later, on a callback thread, and
     *     maybe after those that were made behind it. So a chain of sends does not use up the stack
     */
    CompletionStage<Void> writeAsync(byte[] transaction);

    /**
     * Whether what is written from now on may be compressed, if the port compresses: true at first.
     * Returns at once.
     */
    void setCompressing(boolean on);

    // ------------------------------------------------------------ life cycle

    /**
     * Limits how long {@link #read()} may park, from the next call on. Returns at once.
     *
     * @param timeoutMillis milliseconds, 0 for no limit, which is what it has at first
     * @throws IllegalArgumentException if it is negative
     */
    void setSoTimeout(int timeoutMillis);

    /** The limit in milliseconds, 0 for none. Returns at once. */
    int getSoTimeout();

    /**
     * Ends writing behind what was written; the peer may go on sending. A write of another thread that waits for
     * room, and later ones, throw {@code SocketException("Socket output is shutdown")}. A second call has no effect.
     *
     * @throws IOException see above
     */
    void shutdownOutput() throws IOException;

    /**
     * Closes it: what was written is sent, then the end of the stream, without waiting for that. A
     * second call has no effect. Returns at once.
     */
    @Override
    void close();

    /** Ends it at once with a reset; what is not sent is dropped. Returns at once. */
    void abort();

    /** Whether this end was closed. Returns at once. */
    boolean isClosed();

    /**
     * How it ends, whoever ends it. Returns at once.
     *
     * @return completes on a callback thread when the connection has ended. If it has ended already, the stage is complete.
     *     {@code close} of the listener or runtime does not wait for the callback thread
     */
    CompletionStage<CloseInfo> whenClosed();

    // ----------------------------------------------------------------- facts

    /** What is known of it; stays the same. Returns at once. */
    ConnectionInfo getInfo();

    /** The peer's address and port; stays the same. Returns at once. */
    InetSocketAddress getRemoteSocketAddress();

    /** What TLS has settled; empty on plain connections. Returns at once. */
    Optional<TlsInfo> getTlsInfo();
}
