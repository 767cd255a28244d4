package org.nativeport.internal;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.ref.Reference;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.atomic.AtomicReference;
import java.util.concurrent.locks.ReentrantLock;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLSession;
import org.nativeport.ISocket;
import org.nativeport.TlsInfo;

/**
 * An {@link ISocket} over a native connection that is a raw stream. Its handshake is done before
 * anybody gets hold of it. Its time limit and linger are kept here; all other options are those of the operating system.
 */
public final class NativeSocket implements ISocket {
    private final NativeConnection connection;
    private final InputStream input;
    private final OutputStream output = new Output();
    /** Empty until somebody asks. */
    private final AtomicReference<SSLSession> session = new AtomicReference<>();

    private volatile int soTimeout;
    private volatile int linger = -1;

    public NativeSocket(NativeConnection connection) {
        this.connection = connection;
        this.input = new MarkResetInputStream(new Input(), new ReentrantLock());
    }

    private final class Input implements MarkResetInputStream.Source {
        @Override
        public boolean isInputShutdown() throws SocketException {
            if (connection.isClosed()) {
                throw new SocketException("Socket closed");
            }
            return connection.input().isShutdown();
        }

        @Override
        public Deadline deadline() {
            return Deadline.after(soTimeout);
        }

        @Override
        public boolean givesArrays() {
            return true;
        }

        @Override
        public byte[] take(Deadline deadline) throws IOException {
            try {
                return connection.input().take(deadline);
            } finally {
                Reference.reachabilityFence(NativeSocket.this);
            }
        }

        @Override
        public int read(byte[] bytes, int offset, int length, Deadline deadline) throws IOException {
            try {
                return connection.input().read(bytes, offset, length, deadline);
            } finally {
                // Whoever waits has not lost it.
                Reference.reachabilityFence(NativeSocket.this);
            }
        }

        @Override
        public int available() throws IOException {
            return connection.input().available();
        }

        @Override
        public void close() throws IOException {
            NativeSocket.this.close();
        }
    }

    private final class Output extends OutputStream {
        @Override
        public void write(int value) throws IOException {
            write(new byte[] {(byte) value}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int offset, int length) throws IOException {
            Objects.checkFromIndexSize(offset, length, bytes.length);
            try {
                connection.output().write(bytes, offset, length);
                connection.awaitSentAtExit();
            } finally {
                Reference.reachabilityFence(NativeSocket.this);
            }
        }

        @Override
        public void close() throws IOException {
            NativeSocket.this.close();
        }
    }

    @Override
    public InputStream getInputStream() throws IOException {
        requireOpen();
        if (connection.input().isShutdown()) {
            throw new SocketException("Socket input is shutdown");
        }
        return input;
    }

    @Override
    public OutputStream getOutputStream() throws IOException {
        requireOpen();
        if (connection.output().isShutdown()) {
            throw new SocketException("Socket output is shutdown");
        }
        return output;
    }

    @Override
    public InetSocketAddress getRemoteSocketAddress() {
        return connection.info().remoteAddress();
    }

    @Override
    public InetSocketAddress getLocalSocketAddress() {
        return connection.info().localAddress();
    }

    @Override
    public boolean isConnected() {
        return true;
    }

    @Override
    public boolean isClosed() {
        return connection.isClosed();
    }

    @Override
    public boolean isInputShutdown() {
        return connection.input().isShutdown();
    }

    @Override
    public boolean isOutputShutdown() {
        return connection.output().isShutdown();
    }

    @Override
    public void shutdownInput() throws IOException {
        connection.input().shutdown();
    }

    @Override
    public void shutdownOutput() throws IOException {
        connection.output().shutdown();
    }

    @Override
    public void close() {
        int seconds = linger;
        if (seconds == 0) {
            connection.abort();
            return;
        }
        connection.close();
        if (seconds > 0 && !NativeLoop.isLoopThread()) {
            awaitEnd(seconds);
        }
    }

    private void awaitEnd(int seconds) {
        Deadline deadline = Deadline.after((int) TimeUnit.SECONDS.toMillis(seconds));
        boolean interrupted = false;
        try {
            for (;;) {
                try {
                    connection.ended().get(deadline.remainingMillis(), TimeUnit.MILLISECONDS);
                    return;
                } catch (InterruptedException e) {
                    interrupted = true;
                    if (VirtualThreads.isCurrent()) {
                        return;
                    }
                }
            }
        } catch (TimeoutException late) {
            // As with linger in the operating system: what is left is dropped.
            connection.abort();
        } catch (ExecutionException impossible) {
            throw new AssertionError(impossible);
        } finally {
            if (interrupted) {
                Thread.currentThread().interrupt();
            }
        }
    }

    @Override
    public void setSoTimeout(int timeoutMillis) throws SocketException {
        if (timeoutMillis < 0) {
            throw new IllegalArgumentException("timeout is " + timeoutMillis);
        }
        requireOpen();
        soTimeout = timeoutMillis;
    }

    @Override
    public int getSoTimeout() throws SocketException {
        requireOpen();
        return soTimeout;
    }

    @Override
    public void setTcpNoDelay(boolean on) throws SocketException {
        set(Native.NO_DELAY, on ? 1 : 0);
    }

    @Override
    public boolean getTcpNoDelay() throws SocketException {
        return get(Native.NO_DELAY) != 0;
    }

    @Override
    public void setKeepAlive(boolean on) throws SocketException {
        set(Native.KEEP_ALIVE, on ? 1 : 0);
    }

    @Override
    public boolean getKeepAlive() throws SocketException {
        return get(Native.KEEP_ALIVE) != 0;
    }

    @Override
    public void setTrafficClass(int trafficClass) throws SocketException {
        if (trafficClass < 0 || trafficClass > 255) {
            throw new IllegalArgumentException("the traffic class is " + trafficClass);
        }
        set(Native.TRAFFIC_CLASS, trafficClass);
    }

    @Override
    public int getTrafficClass() throws SocketException {
        return get(Native.TRAFFIC_CLASS);
    }

    @Override
    public void setSoLinger(boolean on, int seconds) throws SocketException {
        if (on && seconds < 0) {
            throw new IllegalArgumentException("linger is " + seconds);
        }
        requireOpen();
        linger = on ? Math.min(seconds, 65_535) : -1;
    }

    @Override
    public int getSoLinger() throws SocketException {
        requireOpen();
        return linger;
    }

    @Override
    public void setSendBufferSize(int bytes) throws SocketException {
        setSize(Native.SEND_BUFFER, bytes);
    }

    @Override
    public int getSendBufferSize() throws SocketException {
        return get(Native.SEND_BUFFER);
    }

    @Override
    public void setReceiveBufferSize(int bytes) throws SocketException {
        setSize(Native.RECEIVE_BUFFER, bytes);
    }

    @Override
    public int getReceiveBufferSize() throws SocketException {
        return get(Native.RECEIVE_BUFFER);
    }

    private void setSize(int option, int bytes) throws SocketException {
        if (bytes <= 0) {
            throw new IllegalArgumentException("the size of a buffer is " + bytes);
        }
        set(option, bytes);
    }

    private int get(int option) throws SocketException {
        requireOpen();
        return connection.option(option);
    }

    private void set(int option, int value) throws SocketException {
        requireOpen();
        connection.setOption(option, value);
    }

    private void requireOpen() throws SocketException {
        if (connection.isClosed()) {
            throw new SocketException("Socket is closed");
        }
    }

    @Override
    public boolean isSecure() {
        return connection.info().tls().isPresent();
    }

    @Override
    public void doSynchronousSSLHandshake(int timeoutMillis) throws IOException {
        if (timeoutMillis < 0) {
            throw new IllegalArgumentException("timeout is " + timeoutMillis);
        }
        if (connection.isClosed()) {
            throw new SocketException("Socket closed");
        }
    }

    @Override
    public Optional<String> getProtocol() {
        return connection.info().tls().map(TlsInfo::protocol);
    }

    @Override
    public Optional<String> getCipherSuite() {
        return connection.info().tls().map(TlsInfo::cipherSuite);
    }

    @Override
    public Optional<String> getApplicationProtocol() {
        return connection.info().tls().flatMap(TlsInfo::applicationProtocol);
    }

    @Override
    public Optional<String> getServerName() {
        return connection.info().tls().flatMap(TlsInfo::serverName);
    }

    @Override
    public Optional<SSLSession> getSession() {
        if (session.get() == null) {
            // The first one that is made is that of all.
            connection.info().tls().ifPresent(tls -> session.compareAndSet(null, new NativeSession(connection, tls)));
        }
        return Optional.ofNullable(session.get());
    }

    @Override
    public List<X509Certificate> getPeerCertificates() throws SSLPeerUnverifiedException {
        throw new SSLPeerUnverifiedException(
                isSecure() ? "the peer was not asked for a certificate" : "no TLS handshake is done");
    }

    @Override
    public Socket asSocket() {
        return SocketView.of(this);
    }

    @Override
    public String toString() {
        return "native " + connection.info().remoteAddress();
    }
}
