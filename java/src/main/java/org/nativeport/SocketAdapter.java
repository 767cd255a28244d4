package org.nativeport;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicReference;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLSession;
import org.nativeport.internal.JdkSocket;
import org.nativeport.internal.SocketView;

/**
 * The default {@link ISocket}: a native connection, which a listener of this library hands out, or a
 * socket of the JDK, for which no native library is needed.
 *
 * <pre>{@code
 * try (ISocket socket = new SocketAdapter(serverSocket.accept())) {
 *     socket.doSynchronousSSLHandshake(10_000);
 *     socket.getInputStream().transferTo(socket.getOutputStream());
 * }
 * }</pre>
 *
 * The adapter owns the socket that it wraps: whoever made it uses only the adapter from
 * then on, as bytes may lie read ahead in it. It may be subclassed; {@link #asSocket} goes through the
 * methods of the subclass.
 */
public class SocketAdapter implements ISocket {
    private final ISocket socket;
    private final AtomicReference<Socket> view = new AtomicReference<>();

    /**
     * Wraps a plain socket, which stays plain, or a {@link javax.net.ssl.SSLSocket}, in either role.
     * Returns at once; no handshake is done here.
     *
     * @throws SocketException if the socket is closed or not connected
     * @throws IOException if its streams cannot be had
     */
    public SocketAdapter(Socket socket) throws IOException {
        this(JdkSocket.of(socket));
    }

    /**
     * Wraps a plain socket that {@link #doSynchronousSSLHandshake} turns into the server's end of a TLS
     * connection, with the context's default parameters. Until then its bytes are plain. Returns
     * at once.
     *
     * @throws SocketException if the socket is closed or not connected
     * @throws IllegalArgumentException if the socket is an {@link javax.net.ssl.SSLSocket}
     * @throws IOException if its streams cannot be had
     */
    public SocketAdapter(Socket socket, SSLContext context) throws IOException {
        this(JdkSocket.of(socket, context, Optional.empty()));
    }

    /**
     * As {@link #SocketAdapter(Socket, SSLContext)}, with parameters: versions, cipher suites, ALPN,
     * client certificates. They are read when the handshake begins.
     *
     * @throws SocketException if the socket is closed or not connected
     * @throws IllegalArgumentException if the socket is an {@link javax.net.ssl.SSLSocket}
     * @throws IOException if its streams cannot be had
     */
    public SocketAdapter(Socket socket, SSLContext context, SSLParameters parameters) throws IOException {
        this(JdkSocket.of(socket, context, Optional.of(parameters)));
    }

    /** Over another implementation, such as a native connection. Every method goes there. */
    SocketAdapter(ISocket socket) {
        this.socket = Objects.requireNonNull(socket);
    }

    @Override
    public InputStream getInputStream() throws IOException {
        return socket.getInputStream();
    }

    @Override
    public OutputStream getOutputStream() throws IOException {
        return socket.getOutputStream();
    }

    @Override
    public InetSocketAddress getRemoteSocketAddress() {
        return socket.getRemoteSocketAddress();
    }

    @Override
    public InetSocketAddress getLocalSocketAddress() {
        return socket.getLocalSocketAddress();
    }

    @Override
    public boolean isConnected() {
        return socket.isConnected();
    }

    @Override
    public boolean isClosed() {
        return socket.isClosed();
    }

    @Override
    public boolean isInputShutdown() {
        return socket.isInputShutdown();
    }

    @Override
    public boolean isOutputShutdown() {
        return socket.isOutputShutdown();
    }

    @Override
    public void shutdownInput() throws IOException {
        socket.shutdownInput();
    }

    @Override
    public void shutdownOutput() throws IOException {
        socket.shutdownOutput();
    }

    @Override
    public void close() throws IOException {
        socket.close();
    }

    @Override
    public void setSoTimeout(int timeoutMillis) throws SocketException {
        socket.setSoTimeout(timeoutMillis);
    }

    @Override
    public int getSoTimeout() throws SocketException {
        return socket.getSoTimeout();
    }

    @Override
    public void setTcpNoDelay(boolean on) throws SocketException {
        socket.setTcpNoDelay(on);
    }

    @Override
    public boolean getTcpNoDelay() throws SocketException {
        return socket.getTcpNoDelay();
    }

    @Override
    public void setKeepAlive(boolean on) throws SocketException {
        socket.setKeepAlive(on);
    }

    @Override
    public boolean getKeepAlive() throws SocketException {
        return socket.getKeepAlive();
    }

    @Override
    public void setSoLinger(boolean on, int seconds) throws SocketException {
        socket.setSoLinger(on, seconds);
    }

    @Override
    public int getSoLinger() throws SocketException {
        return socket.getSoLinger();
    }

    @Override
    public void setSendBufferSize(int bytes) throws SocketException {
        socket.setSendBufferSize(bytes);
    }

    @Override
    public int getSendBufferSize() throws SocketException {
        return socket.getSendBufferSize();
    }

    @Override
    public void setReceiveBufferSize(int bytes) throws SocketException {
        socket.setReceiveBufferSize(bytes);
    }

    @Override
    public int getReceiveBufferSize() throws SocketException {
        return socket.getReceiveBufferSize();
    }

    @Override
    public void setTrafficClass(int trafficClass) throws SocketException {
        socket.setTrafficClass(trafficClass);
    }

    @Override
    public int getTrafficClass() throws SocketException {
        return socket.getTrafficClass();
    }

    @Override
    public boolean isSecure() {
        return socket.isSecure();
    }

    @Override
    public void doSynchronousSSLHandshake(int timeoutMillis) throws IOException {
        socket.doSynchronousSSLHandshake(timeoutMillis);
    }

    @Override
    public Optional<String> getProtocol() {
        return socket.getProtocol();
    }

    @Override
    public Optional<String> getCipherSuite() {
        return socket.getCipherSuite();
    }

    @Override
    public Optional<String> getApplicationProtocol() {
        return socket.getApplicationProtocol();
    }

    @Override
    public Optional<String> getServerName() {
        return socket.getServerName();
    }

    @Override
    public Optional<SSLSession> getSession() {
        return socket.getSession();
    }

    @Override
    public List<X509Certificate> getPeerCertificates() throws SSLPeerUnverifiedException {
        return socket.getPeerCertificates();
    }

    @Override
    public Socket asSocket() {
        Socket made = view.get();
        if (made == null) {
            view.compareAndSet(null, SocketView.of(this));
            made = view.get();
        }
        return made;
    }

    @Override
    public String toString() {
        return socket.toString();
    }
}
