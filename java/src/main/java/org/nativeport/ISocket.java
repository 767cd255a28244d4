package org.nativeport;

import java.io.Closeable;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.Optional;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLSession;

/**
 * One end of a TCP connection, plain or TLS: streams, addresses, life cycle, time-outs, options and
 * the handshake. It promises what {@link Socket} promises, so that code written for sockets keeps
 * its behaviour, and adds mark and reset on the input and a handshake with a time limit. It is
 * always connected when a program gets hold of it; connecting and binding belong to others. A program that has no
 * reference any more, neither to it nor to its streams, has lost it: when the garbage collector has found it, at no
 * certain time, it is closed, and of a native connection the log says so.
 * {@link SocketAdapter} is the implementation for both native connections and JDK sockets.
 *
 * <h2>Threads</h2>
 *
 * Every method may be called from any thread, platform or virtual. One thread may read while
 * another writes; several readers take turns, and so do several writers, each call being one turn.
 * {@link #close} may be called at any time, also while others read, write or do the handshake, and
 * ends their calls. "May park" in a method's text means that it may wait for the peer, for the
 * time limit or for another thread's turn; a virtual thread then leaves its carrier. All other
 * methods return at once. The thread of a loop, on which {@link FrameHandler}s run, must not wait: on native
 * connections reading and writing throw {@link IllegalStateException} there, and {@link #close} returns at once.
 *
 * <p>An interrupt does what it does to a {@link Socket}: a platform thread goes on waiting and
 * keeps its interrupt status; a virtual thread that waits for the peer closes the connection and
 * gets a {@link SocketException}.
 *
 * <h2>Exceptions</h2>
 *
 * Reading and writing throw {@code SocketException("Socket closed")} if this end is closed, before
 * or during the call, and another {@link SocketException} if the peer reset the connection. Other
 * methods that need an open socket throw {@code SocketException("Socket is closed")}. A time limit
 * that is over is a {@link java.net.SocketTimeoutException}, after which the connection is as
 * usable as before. A handshake that failed is a {@link javax.net.ssl.SSLHandshakeException}, and
 * what goes wrong in TLS later is a {@link javax.net.ssl.SSLException}. Arguments that are out of
 * range are an {@link IllegalArgumentException}, also on a closed socket.
 *
 * <p>Options are asked of the operating system, also on native connections; sizes of buffers are hints to it. Where it
 * refuses, or the connection has ended by itself, that is a {@link SocketException}.
 *
 * <p>All times are milliseconds, and a time of 0 means "no limit"; only {@link #setSoLinger}
 * counts in seconds. Sizes are bytes.
 */
public interface ISocket extends Closeable {

    // ---------------------------------------------------------------- streams

    /**
     * The bytes from the peer, decrypted if the connection is TLS. Returns the same stream at each
     * call, at once.
     *
     * <p>Reading may park, for {@link #getSoTimeout} at the longest, until at least one byte is
     * there, and returns -1 after the peer ended its output in order. A read on a TLS
     * connection whose handshake is not done does it first, within the same time limit.
     * A read of 0 bytes returns 0.
     *
     * <p>The stream supports mark and reset, also across a handshake. {@code mark(n)} keeps the
     * bytes read from then on, up to n of them; a reset after more than n bytes may throw an
     * {@link IOException}. Both may park while another thread reads. {@code available} counts
     * bytes that a read gives without parking and may be 0 although some are under way.
     * Closing the stream closes the socket.
     *
     * @throws SocketException {@code "Socket is closed"}, or {@code "Socket input is shutdown"}
     *     after {@link #shutdownInput}
     * @throws IOException if the stream cannot be had for another reason
     */
    InputStream getInputStream() throws IOException;

    /**
     * The bytes to the peer, encrypted if the connection is TLS. Returns the same stream at each
     * call, at once.
     *
     * <p>Writing may park, without a time limit, until all bytes are taken over for sending. Bytes
     * of one {@code write(byte[], int, int)} are never mixed with those of another. A write on a
     * TLS connection whose handshake is not done does it first, within {@link #getSoTimeout}.
     * {@code flush} makes no difference: nothing is held back. Closing the stream closes the
     * socket.
     *
     * @throws SocketException {@code "Socket is closed"}, or {@code "Socket output is shutdown"}
     *     after {@link #shutdownOutput}
     * @throws IOException if the stream cannot be had for another reason
     */
    OutputStream getOutputStream() throws IOException;

    // -------------------------------------------------------------- addresses

    /**
     * The peer's address and port; with a PROXY protocol header, those it states. Stays
     * the same after {@link #close}. Returns at once.
     */
    InetSocketAddress getRemoteSocketAddress();

    /** This end's address and port. Stays the same after {@link #close}. Returns at once. */
    InetSocketAddress getLocalSocketAddress();

    /** The address in {@link #getRemoteSocketAddress}. Returns at once. */
    default InetAddress getInetAddress() {
        return getRemoteSocketAddress().getAddress();
    }

    /** The port in {@link #getRemoteSocketAddress}. Returns at once. */
    default int getPort() {
        return getRemoteSocketAddress().getPort();
    }

    /** The address in {@link #getLocalSocketAddress}. Returns at once. */
    default InetAddress getLocalAddress() {
        return getLocalSocketAddress().getAddress();
    }

    /** The port in {@link #getLocalSocketAddress}. Returns at once. */
    default int getLocalPort() {
        return getLocalSocketAddress().getPort();
    }

    // ------------------------------------------------------------- life cycle

    /**
     * Whether the connection was ever made: always true, also after {@link #close}, as with
     * {@link Socket#isConnected}. It says nothing about the peer; only reading does. Returns at
     * once.
     */
    boolean isConnected();

    /** Whether this end was closed. A peer that closed does not make it true. Returns at once. */
    boolean isClosed();

    /** Whether {@link #shutdownInput} was called. Stays true after {@link #close}. Returns at once. */
    boolean isInputShutdown();

    /** Whether {@link #shutdownOutput} was called. Stays true after {@link #close}. Returns at once. */
    boolean isOutputShutdown();

    /**
     * Ends reading: later reads return -1, bytes that still arrive are not delivered, and
     * the peer is told nothing. A second call has no effect. Returns at once.
     *
     * <p>A read that is parked returns -1; one that does the handshake of a JDK TLS socket does so after it.
     *
     * @throws SocketException {@code "Socket is closed"}
     * @throws IOException if the operating system refuses
     */
    void shutdownInput() throws IOException;

    /**
     * Ends writing (half-close): what was written is sent, then with TLS a close_notify, then the
     * end of the stream, which the peer reads as -1. Reading goes on; but with TLS 1.2 the peer must end
     * its output too when it reads this (RFC 5246, 7.2.1). Later writes throw
     * {@code SocketException("Socket output is shutdown")}. A second call has no effect.
     *
     * <p>On a plain socket of the JDK it returns at once, and a write that is under way throws a {@link
     * SocketException}. On a native connection, and with TLS, it may park behind another thread's write; with TLS it does
     * the handshake first if that is not done, within {@link #getSoTimeout}.
     *
     * @throws SocketException {@code "Socket is closed"}
     * @throws IOException if the connection is broken or the handshake fails
     * @throws IllegalStateException on a loop's thread, which must not wait, while another thread writes
     */
    void shutdownOutput() throws IOException;

    /**
     * Closes the connection: what was written is sent, with TLS a close_notify, then the end of
     * the stream; both without waiting for the peer, beyond what {@link #setSoLinger} asks for. Of
     * a write that is under way, what it has not handed over yet is lost. Calls that are parked end with {@code
     * SocketException("Socket closed")}. A second call has no effect, from whichever thread.
     * Never waits for another thread's turn.
     *
     * <p>With linger 0 the connection is reset instead: bytes that are not sent yet are dropped and
     * the peer sees "connection reset". A JDK TLS socket sends its close_notify even so, which the peer may
     * see instead.
     *
     * @throws IOException if the operating system refuses; the socket is closed all the same
     */
    @Override
    void close() throws IOException;

    // -------------------------------------------------------------- time-outs

    /**
     * Limits how long a read may park. It counts from the next read on; one that is
     * parked keeps its limit. Returns at once.
     *
     * @param timeoutMillis milliseconds, 0 for no limit
     * @throws SocketException {@code "Socket is closed"}
     * @throws IllegalArgumentException if it is negative
     */
    void setSoTimeout(int timeoutMillis) throws SocketException;

    /**
     * The limit that {@link #setSoTimeout} set, in milliseconds, 0 for none. Returns at once.
     *
     * @throws SocketException {@code "Socket is closed"}
     */
    int getSoTimeout() throws SocketException;

    // ---------------------------------------------------------------- options

    /**
     * Switches Nagle's algorithm off (true) or on (TCP_NODELAY). Returns at once.
     *
     * @throws SocketException {@code "Socket is closed"}, or the operating system refuses
     */
    void setTcpNoDelay(boolean on) throws SocketException;

    /**
     * Whether Nagle's algorithm is off. Returns at once.
     *
     * @throws SocketException {@code "Socket is closed"}, or the operating system refuses
     */
    boolean getTcpNoDelay() throws SocketException;

    /**
     * Has the operating system probe a silent peer (SO_KEEPALIVE). Returns at once.
     *
     * @throws SocketException {@code "Socket is closed"}, or the operating system refuses
     */
    void setKeepAlive(boolean on) throws SocketException;

    /**
     * Whether a silent peer is probed. Returns at once.
     *
     * @throws SocketException {@code "Socket is closed"}, or the operating system refuses
     */
    boolean getKeepAlive() throws SocketException;

    /**
     * Says what {@link #close} does with bytes that are not sent yet (SO_LINGER). Off: they
     * are sent behind its back. On with 0: they are dropped and the connection is reset. On with
     * more: close may park up to so many seconds until the peer has acknowledged them, or on a native connection
     * until the operating system has taken them. Returns at once.
     *
     * @param seconds counts only if {@code on}; more than 65,535 is taken as 65,535
     * @throws SocketException {@code "Socket is closed"}, or the operating system refuses
     * @throws IllegalArgumentException if {@code on} and {@code seconds} is negative
     */
    void setSoLinger(boolean on, int seconds) throws SocketException;

    /**
     * The linger time in seconds, -1 if off. Returns at once.
     *
     * @throws SocketException {@code "Socket is closed"}, or the operating system refuses
     */
    int getSoLinger() throws SocketException;

    /**
     * Asks for a size of the operating system's send buffer (SO_SNDBUF), which takes it as a
     * hint. Returns at once.
     *
     * @throws SocketException {@code "Socket is closed"}, or the operating system refuses
     * @throws IllegalArgumentException if it is 0 or less
     */
    void setSendBufferSize(int bytes) throws SocketException;

    /**
     * The size of the send buffer as the operating system states it, on Linux twice what was
     * asked for. Returns at once.
     *
     * @throws SocketException {@code "Socket is closed"}, or the operating system refuses
     */
    int getSendBufferSize() throws SocketException;

    /**
     * Asks for a size of the operating system's receive buffer (SO_RCVBUF), which takes it as a
     * hint. Returns at once.
     *
     * @throws SocketException {@code "Socket is closed"}, or the operating system refuses
     * @throws IllegalArgumentException if it is 0 or less
     */
    void setReceiveBufferSize(int bytes) throws SocketException;

    /**
     * The size of the receive buffer as the operating system states it, on Linux twice what was
     * asked for. Returns at once.
     *
     * @throws SocketException {@code "Socket is closed"}, or the operating system refuses
     */
    int getReceiveBufferSize() throws SocketException;

    /**
     * Sets the traffic class of what is sent, such as {@code 46 << 2} for expedited forwarding (IP_TOS, IPV6_TCLASS). Returns at
     * once. All connections of a port have that of its key {@code dscp} at first.
     *
     * @param trafficClass 0 to 255; the two lowest bits are the system's
     * @throws SocketException {@code "Socket is closed"}, or the operating system refuses
     * @throws IllegalArgumentException if it is out of range
     */
    void setTrafficClass(int trafficClass) throws SocketException;

    /**
     * The traffic class of what is sent. Returns at once.
     *
     * @throws SocketException {@code "Socket is closed"}, or the operating system refuses
     */
    int getTrafficClass() throws SocketException;

    // -------------------------------------------------------------------- TLS

    /**
     * Whether what is written now travels protected: TLS on this socket, or a port that is declared
     * to stand behind a device that ends TLS ({@code externalSSL}, not in this version). A TLS socket says so before
     * its handshake too, since no byte passes before it; a plain one that can become TLS
     * ({@link SocketAdapter#SocketAdapter(Socket, javax.net.ssl.SSLContext)}) says so from its handshake on. The
     * facts below say whether TLS ends here. Returns at once.
     */
    boolean isSecure();

    /**
     * Does the TLS handshake, or waits until another thread has done it. May park for {@code
     * timeoutMillis}, which limits the call as a whole, however slowly the peer sends. Returns at
     * once if the handshake is done, and on a plain connection without TLS, which stays plain: ask
     * {@link #isSecure}. It never does a second handshake: TLS 1.3 has none, and
     * renegotiation in TLS 1.2 is an attack surface.
     *
     * <p>Of concurrent callers one does it, and all have the same result, each within its own time
     * limit. A plain connection that becomes TLS here first waits for reads and writes that are
     * under way. Bytes that are peeked at and given back (mark and reset) belong to the
     * handshake then, and bytes that were read do not, although a reset may give them back.
     *
     * @param timeoutMillis milliseconds, 0 for no limit
     * @throws java.net.SocketTimeoutException if the time is over; the handshake is not given up, and
     *     another call goes on with it
     * @throws javax.net.ssl.SSLHandshakeException if it failed, also by the peer's ending the
     *     connection; so does every later call, read and write
     * @throws SocketException {@code "Socket closed"}, also by another thread meanwhile, or
     *     the peer reset the connection
     * @throws IllegalArgumentException if the time is negative
     * @throws IOException if the connection is broken
     */
    void doSynchronousSSLHandshake(int timeoutMillis) throws IOException;

    /**
     * The version of TLS, {@code "TLSv1.2"} or {@code "TLSv1.3"}. Empty if TLS does not end here
     * or its handshake is not done. Stays the same after {@link #close}. Returns at once.
     */
    Optional<String> getProtocol();

    /**
     * The cipher suite under its IANA name, such as {@code "TLS_AES_128_GCM_SHA256"}. Empty
     * if TLS does not end here or its handshake is not done. Stays the same after {@link #close}. Returns at once.
     */
    Optional<String> getCipherSuite();

    /**
     * The application protocol chosen by ALPN, such as {@code "http/1.1"}. Empty if none was
     * chosen, TLS does not end here or its handshake is not done. Stays the same after {@link #close}. Returns at once.
     */
    Optional<String> getApplicationProtocol();

    /**
     * The host name that the client asked for (SNI), in ASCII. Empty if it named none, TLS does
     * not end here or its handshake is not done. Stays the same after {@link #close}. Returns at once.
     */
    Optional<String> getServerName();

    /**
     * The TLS session: an id, times, the certificates of both ends, and values that a program keeps in it. The same object at
     * each call, also after {@link #close}; empty if TLS does not end here or its handshake is not done. That of a native
     * connection is of this connection only, with a random id, and is created when the connection is accepted. Returns at once.
     */
    Optional<SSLSession> getSession();

    /**
     * The certificates that the peer identified itself with, its own first. Never empty. Stays
     * the same after {@link #close}. Returns at once.
     *
     * @throws SSLPeerUnverifiedException if they are not available: the peer has none or was not
     *     asked, TLS does not end here, or its handshake is not done
     */
    List<X509Certificate> getPeerCertificates() throws SSLPeerUnverifiedException;

    // ------------------------------------------------------------------ views

    /**
     * This connection as a {@link Socket}, for code that wants one: the same streams, time-outs,
     * options and life cycle, and closing either closes both. The streams are the very objects that this
     * socket gives, so that it costs nothing for each byte or call of them. Returns the same object at
     * each call, at once. It is no {@link javax.net.ssl.SSLSocket}, also with TLS; it has no channel, no
     * urgent data, and cannot be bound or connected, as it is already.
     */
    Socket asSocket();
}
