package org.nativeport.internal;

import java.io.ByteArrayInputStream;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.ReentrantLock;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLException;
import javax.net.ssl.SSLHandshakeException;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLSession;
import javax.net.ssl.SSLSocket;
import org.nativeport.ISocket;

/**
 * An {@link ISocket} over sockets of the JDK, without the native library: a plain {@link Socket}, one
 * that can become TLS later, or an {@link SSLSocket}.
 *
 * <p>The handshake is always done here, never inside a read or write of the SSLSocket: so it has
 * one time limit, one result and one place where it can fail.
 *
 * <p>Locks, in the order in which they are taken: a plain socket's handshake takes {@code handshake},
 * then {@code reading}, then {@code writing}; a read or write on TLS takes {@code reading} or {@code
 * writing}, then {@code handshake}. These do not deadlock, since a read or write that has found a plain
 * socket does not ask for {@code handshake}, and a handshake that has found TLS does not ask for the
 * other two. {@code timeouts} is the last of all and held for moments only. Closing waits for no lock.
 */
public final class JdkSocket implements ISocket {
    private static final Logger LOGGER = System.getLogger("org.nativeport");

    /** A handshake looks at its deadline this often, however slowly its peer sends. */
    private static final int HANDSHAKE_READ_MILLIS = 1000;

    /** How long a TLS socket's close_notify may wait for room in the send buffer. */
    private static final int CLOSE_NOTIFY_MILLIS = 1000;

    /** What bytes travel through. Changes under {@code handshake}; from plain also under the other two. */
    private sealed interface Layer {
        Socket socket();

        record Plain(Socket socket, Streams streams, Optional<Upgrade> upgrade) implements Layer {}

        record Handshaking(SSLSocket socket, Streams streams) implements Layer {}

        record Secure(SSLSocket socket, Streams streams, TlsFacts facts) implements Layer {}

        record Broken(SSLSocket socket, SSLHandshakeException failure) implements Layer {}
    }

    /** The streams of the JDK's socket. They are asked for once: a socket refuses that after one end. */
    private record Streams(InputStream in, OutputStream out) {
        static Streams of(Socket socket) throws IOException {
            return new Streams(socket.getInputStream(), socket.getOutputStream());
        }
    }

    /** What makes a plain socket the server's end of a TLS connection. */
    private record Upgrade(SSLContext context, Optional<SSLParameters> parameters) {
        SSLSocket over(Socket socket, byte[] received) throws IOException {
            SSLSocket tls = (SSLSocket) context.getSocketFactory()
                    .createSocket(new Unclosing(JdkSocket.of(socket)), new ByteArrayInputStream(received), true);
            parameters.ifPresent(tls::setSSLParameters);
            return tls;
        }
    }

    /**
     * What an SSLSocket lies upon. It reads its first bytes and then the socket's as one sequence, which closes
     * at the peer's end of output whatever it has read from: here that must not close the socket.
     */
    private static final class Unclosing extends SocketView {
        Unclosing(ISocket socket) throws SocketException {
            super(socket);
        }

        @Override
        public InputStream getInputStream() throws IOException {
            return new FilterInputStream(super.getInputStream()) {
                @Override
                public void close() {}
            };
        }
    }

    private final InetSocketAddress remote;
    private final InetSocketAddress local;
    private final ReentrantLock handshake = new ReentrantLock();
    private final ReentrantLock reading = new ReentrantLock();
    private final ReentrantLock writing = new ReentrantLock();
    private final AtomicBoolean closed = new AtomicBoolean();
    private final MarkResetInputStream input = new MarkResetInputStream(new Received(), reading);
    private final OutputStream output = new Sent();
    private final Socket view;
    private volatile Layer layer;
    private final AtomicBoolean inputShutdown = new AtomicBoolean();
    private final AtomicBoolean outputShutdown = new AtomicBoolean();

    private final ReentrantLock timeouts = new ReentrantLock();
    private int soTimeout;
    private boolean handshakeRules; // the JDK's socket has the handshake's time-out, not soTimeout

    /** A plain socket or an SSLSocket, which stays what it is. */
    public static JdkSocket of(Socket socket) throws IOException {
        if (!(socket instanceof SSLSocket tls)) {
            return new JdkSocket(socket, new Layer.Plain(socket, Streams.of(socket), Optional.empty()));
        }
        Streams streams = Streams.of(tls);
        return new JdkSocket(tls, isHandshakeDone(tls)
                ? new Layer.Secure(tls, streams, TlsFacts.of(tls))
                : new Layer.Handshaking(tls, streams));
    }

    /** A plain socket that the handshake makes TLS, in the role of the server. */
    public static JdkSocket of(Socket socket, SSLContext context, Optional<SSLParameters> parameters)
            throws IOException {
        if (socket instanceof SSLSocket) {
            throw new IllegalArgumentException("the socket is TLS already");
        }
        Upgrade upgrade = new Upgrade(Objects.requireNonNull(context), parameters);
        return new JdkSocket(socket, new Layer.Plain(socket, Streams.of(socket), Optional.of(upgrade)));
    }

    private JdkSocket(Socket socket, Layer layer) throws SocketException {
        this.remote = (InetSocketAddress) socket.getRemoteSocketAddress();
        this.local = (InetSocketAddress) socket.getLocalSocketAddress();
        this.soTimeout = socket.getSoTimeout();
        this.layer = layer;
        this.view = SocketView.of(this);
    }

    /**
     * Whether somebody did the handshake before the socket came here. The JDK has no question for
     * this; doing it again would be a renegotiation.
     */
    private static boolean isHandshakeDone(SSLSocket socket) {
        try {
            return socket.getHandshakeSession() == null && socket.getApplicationProtocol() != null;
        } catch (UnsupportedOperationException e) {
            return false; // a provider that cannot say so
        }
    }

    // ---------------------------------------------------------------- streams

    @Override
    public InputStream getInputStream() throws IOException {
        requireOpen();
        if (inputShutdown.get()) {
            throw new SocketException("Socket input is shutdown");
        }
        return input;
    }

    @Override
    public OutputStream getOutputStream() throws IOException {
        requireOpen();
        if (outputShutdown.get()) {
            throw new SocketException("Socket output is shutdown");
        }
        return output;
    }

    private final class Received implements MarkResetInputStream.Source {
        // Guarded by reading: an SSLSocket says them only once.
        private boolean ended;
        private SocketException broken;

        @Override
        public boolean isInputShutdown() throws SocketException {
            requireNotClosed();
            return inputShutdown.get();
        }

        @Override
        public Deadline deadline() {
            return Deadline.after(soTimeout());
        }

        @Override
        public int read(byte[] bytes, int offset, int length, Deadline deadline) throws IOException {
            if (ended) {
                return -1;
            }
            try {
                if (broken != null) {
                    throw again(broken);
                }
                InputStream in = streams(deadline).in();
                if (inputShutdown.get()) {
                    // While the handshake ran.
                    return -1;
                }
                int read = readWithin(deadline, in, bytes, offset, length);
                ended = read < 0;
                requireNotClosed();
                return inputShutdown.get() ? -1 : read;
            } catch (IOException e) {
                IOException failure = closedOr(e);
                if (broken == null && failure instanceof SocketException reset && !closed.get()) {
                    broken = reset;
                }
                throw failure;
            }
        }

        /** What is left of the time behind another reader. The JDK would begin it anew. */
        private int readWithin(Deadline deadline, InputStream in, byte[] bytes, int offset, int length)
                throws IOException {
            boolean isCut = !deadline.isNone() && deadline.remainingMillis() < soTimeout();
            if (isCut) {
                layer.socket().setSoTimeout(deadline.remainingMillis());
            }
            try {
                return in.read(bytes, offset, length);
            } finally {
                if (isCut && !layer.socket().isClosed()) {
                    restoreTimeout();
                }
            }
        }

        @Override
        public int available() throws IOException {
            Layer now = layer;
            try {
                if (now instanceof Layer.Plain plain) {
                    return plain.streams().in().available();
                }
                return now instanceof Layer.Secure secure ? secure.streams().in().available() : 0;
            } catch (IOException e) {
                throw closedOr(e);
            }
        }

        @Override
        public void close() throws IOException {
            JdkSocket.this.close();
        }
    }

    private final class Sent extends OutputStream {
        @Override
        public void write(int b) throws IOException {
            write(new byte[] {(byte) b}, 0, 1);
        }

        @Override
        public void write(byte[] bytes, int offset, int length) throws IOException {
            Objects.checkFromIndexSize(offset, length, bytes.length);
            writing.lock();
            try {
                requireNotClosed();
                if (outputShutdown.get()) {
                    throw new SocketException("Socket output is shutdown");
                }
                streams(Deadline.after(soTimeout())).out().write(bytes, offset, length);
                requireNotClosed();
            } catch (IOException e) {
                throw closedOr(e);
            } finally {
                writing.unlock();
            }
        }

        @Override
        public void close() throws IOException {
            JdkSocket.this.close();
        }
    }

    /** The streams for the application's bytes, after the handshake if there is one. */
    private Streams streams(Deadline deadline) throws IOException {
        if (layer instanceof Layer.Plain plain) {
            return plain.streams();
        }
        return ((Layer.Secure) afterHandshake(deadline)).streams();
    }

    // -------------------------------------------------------------- addresses

    @Override
    public InetSocketAddress getRemoteSocketAddress() {
        return remote;
    }

    @Override
    public InetSocketAddress getLocalSocketAddress() {
        return local;
    }

    // ------------------------------------------------------------- life cycle

    @Override
    public boolean isConnected() {
        return true;
    }

    @Override
    public boolean isClosed() {
        return closed.get();
    }

    @Override
    public boolean isInputShutdown() {
        return inputShutdown.get();
    }

    @Override
    public boolean isOutputShutdown() {
        return outputShutdown.get();
    }

    @Override
    public void shutdownInput() throws IOException {
        requireOpen();
        if (!inputShutdown.compareAndSet(false, true)) {
            return;
        }
        Layer now = layer;
        try {
            if ((now instanceof Layer.Plain || now instanceof Layer.Secure) && !now.socket().isInputShutdown()) {
                now.socket().shutdownInput();
            }
        } catch (SSLException e) {
            // The JDK warns so of a close_notify that has not come yet, having shut the input down.
            if (!now.socket().isInputShutdown()) {
                throw closedOr(e);
            }
        } catch (IOException e) {
            throw closedOr(e);
        }
    }

    @Override
    public void shutdownOutput() throws IOException {
        requireOpen();
        try {
            if (layer instanceof Layer.Plain plain) {
                if (outputShutdown.compareAndSet(false, true)) {
                    plain.socket().shutdownOutput();
                }
            } else {
                shutdownTlsOutput();
            }
        } catch (IOException e) {
            throw closedOr(e);
        }
    }

    /** A close_notify comes between two writes, and needs a handshake before it. */
    private void shutdownTlsOutput() throws IOException {
        writing.lock();
        try {
            requireOpen();
            streams(Deadline.after(soTimeout()));
            if (outputShutdown.compareAndSet(false, true)) {
                layer.socket().shutdownOutput();
            }
        } finally {
            writing.unlock();
        }
    }

    @Override
    public void close() throws IOException {
        if (!closed.compareAndSet(false, true)) {
            return;
        }
        if (!(layer.socket() instanceof SSLSocket tls)) {
            layer.socket().close();
        } else if (writing.tryLock()) {
            Alarm alarm = Alarm.after(closeMillis(tls), () -> resetAside(tls));
            try {
                tls.close();
            } finally {
                alarm.cancel();
                writing.unlock();
            }
        } else {
            // The peer has half of a record already: there is no orderly end any more.
            reset(tls);
        }
    }

    private static long closeMillis(SSLSocket socket) {
        try {
            return Math.max(CLOSE_NOTIFY_MILLIS, 1000L * socket.getSoLinger());
        } catch (SocketException e) {
            return CLOSE_NOTIFY_MILLIS; // the JDK has closed it, as TLS 1.2 may ask for
        }
    }

    /** An alarm must not wait, and closing may. */
    private static void resetAside(SSLSocket socket) {
        Thread closer = new Thread(() -> {
            try {
                reset(socket);
            } catch (IOException e) {
                LOGGER.log(Level.DEBUG, "closing a socket whose peer does not read", e);
            }
        }, "np-close");
        closer.setDaemon(true);
        closer.start();
    }

    /** With linger 0 the JDK neither waits for the lock of a writer nor for room in the send buffer. */
    private static void reset(SSLSocket socket) throws IOException {
        try {
            socket.setSoLinger(true, 0);
        } catch (SocketException e) {
            if (!socket.isClosed()) {
                throw e;
            }
        }
        socket.close();
    }

    // -------------------------------------------------------------- time-outs

    @Override
    public void setSoTimeout(int timeoutMillis) throws SocketException {
        if (timeoutMillis < 0) {
            throw new IllegalArgumentException("timeout can't be negative");
        }
        requireOpen();
        timeouts.lock();
        try {
            soTimeout = timeoutMillis;
            if (!handshakeRules) {
                layer.socket().setSoTimeout(timeoutMillis);
            }
        } finally {
            timeouts.unlock();
        }
    }

    @Override
    public int getSoTimeout() throws SocketException {
        requireOpen();
        return soTimeout();
    }

    private void restoreTimeout() throws SocketException {
        timeouts.lock();
        try {
            layer.socket().setSoTimeout(soTimeout);
        } finally {
            timeouts.unlock();
        }
    }

    private int soTimeout() {
        timeouts.lock();
        try {
            return soTimeout;
        } finally {
            timeouts.unlock();
        }
    }

    /** Has no effect once the handshake is over. */
    private void limitHandshakeReads(SSLSocket socket, int timeoutMillis) throws SocketException {
        timeouts.lock();
        try {
            if (handshakeRules) {
                socket.setSoTimeout(timeoutMillis);
            }
        } finally {
            timeouts.unlock();
        }
    }

    private void letHandshakeRule(SSLSocket socket, boolean rules) throws SocketException {
        timeouts.lock();
        try {
            handshakeRules = rules;
            if (!rules && !socket.isClosed()) {
                socket.setSoTimeout(soTimeout);
            }
        } finally {
            timeouts.unlock();
        }
    }

    // ---------------------------------------------------------------- options

    @Override
    public void setTcpNoDelay(boolean on) throws SocketException {
        open().setTcpNoDelay(on);
    }

    @Override
    public boolean getTcpNoDelay() throws SocketException {
        return open().getTcpNoDelay();
    }

    @Override
    public void setKeepAlive(boolean on) throws SocketException {
        open().setKeepAlive(on);
    }

    @Override
    public boolean getKeepAlive() throws SocketException {
        return open().getKeepAlive();
    }

    @Override
    public void setSoLinger(boolean on, int seconds) throws SocketException {
        if (on && seconds < 0) {
            throw new IllegalArgumentException("invalid value for SO_LINGER");
        }
        open().setSoLinger(on, seconds);
    }

    @Override
    public int getSoLinger() throws SocketException {
        return open().getSoLinger();
    }

    @Override
    public void setSendBufferSize(int bytes) throws SocketException {
        requirePositive(bytes);
        open().setSendBufferSize(bytes);
    }

    @Override
    public int getSendBufferSize() throws SocketException {
        return open().getSendBufferSize();
    }

    @Override
    public void setReceiveBufferSize(int bytes) throws SocketException {
        requirePositive(bytes);
        open().setReceiveBufferSize(bytes);
    }

    @Override
    public int getReceiveBufferSize() throws SocketException {
        return open().getReceiveBufferSize();
    }

    @Override
    public void setTrafficClass(int trafficClass) throws SocketException {
        if (trafficClass < 0 || trafficClass > 255) {
            throw new IllegalArgumentException("tc is not in range 0 -- 255");
        }
        open().setTrafficClass(trafficClass);
    }

    @Override
    public int getTrafficClass() throws SocketException {
        return open().getTrafficClass();
    }

    private static void requirePositive(int bytes) {
        if (bytes <= 0) {
            throw new IllegalArgumentException("invalid buffer size");
        }
    }

    // -------------------------------------------------------------------- TLS

    @Override
    public boolean isSecure() {
        return !(layer instanceof Layer.Plain);
    }

    @Override
    public void doSynchronousSSLHandshake(int timeoutMillis) throws IOException {
        if (timeoutMillis < 0) {
            throw new IllegalArgumentException("timeout can't be negative");
        }
        requireNotClosed();
        afterHandshake(Deadline.after(timeoutMillis));
    }

    @Override
    public Optional<String> getProtocol() {
        return facts().protocol();
    }

    @Override
    public Optional<String> getCipherSuite() {
        return facts().cipherSuite();
    }

    @Override
    public Optional<String> getApplicationProtocol() {
        return facts().applicationProtocol();
    }

    @Override
    public Optional<String> getServerName() {
        return facts().serverName();
    }

    @Override
    public Optional<SSLSession> getSession() {
        return facts().session();
    }

    @Override
    public List<X509Certificate> getPeerCertificates() throws SSLPeerUnverifiedException {
        return facts().requirePeerCertificates();
    }

    private TlsFacts facts() {
        return layer instanceof Layer.Secure secure ? secure.facts() : TlsFacts.NONE;
    }

    /** Secure, or plain for good; everything else is done here or thrown. */
    private Layer afterHandshake(Deadline deadline) throws IOException {
        Layer now = layer;
        if (now instanceof Layer.Secure || now instanceof Layer.Plain plain && plain.upgrade().isEmpty()) {
            return now;
        }
        if (!deadline.acquire(handshake)) {
            throw handshakeTimedOut();
        }
        try {
            requireNotClosed();
            if (layer instanceof Layer.Plain plain && plain.upgrade().isPresent()) {
                layer = upgrade(plain, plain.upgrade().get(), deadline);
            }
            if (layer instanceof Layer.Handshaking pending) {
                layer = negotiate(pending, deadline);
            }
            if (layer instanceof Layer.Broken broken) {
                throw again(broken.failure());
            }
            return layer;
        } catch (IOException e) {
            throw closedOr(e);
        } finally {
            handshake.unlock();
        }
    }

    /** Puts TLS over a plain socket while nobody reads or writes; bytes read ahead belong to TLS. */
    private Layer upgrade(Layer.Plain plain, Upgrade upgrade, Deadline deadline) throws IOException {
        if (!deadline.acquire(reading)) {
            throw handshakeTimedOut();
        }
        try {
            if (!deadline.acquire(writing)) {
                throw handshakeTimedOut();
            }
            try {
                requireNotClosed();
                SSLSocket tls = upgrade.over(plain.socket(), input.takeReadAhead());
                return layer = new Layer.Handshaking(tls, Streams.of(tls));
            } finally {
                writing.unlock();
            }
        } finally {
            reading.unlock();
        }
    }

    private Layer negotiate(Layer.Handshaking pending, Deadline deadline) throws IOException {
        SSLSocket socket = pending.socket();
        letHandshakeRule(socket, true);
        Alarm alarm = Alarm.at(deadline, () -> hurry(socket));
        try {
            while (!tryHandshake(socket, deadline)) {
                if (deadline.isOver()) {
                    throw handshakeTimedOut();
                }
            }
            TlsFacts facts = TlsFacts.of(socket);
            if (facts.equals(TlsFacts.NONE)) {
                throw new SSLHandshakeException("Remote host closed the connection during the handshake");
            }
            return new Layer.Secure(socket, pending.streams(), facts);
        } catch (SSLHandshakeException e) {
            return new Layer.Broken(socket, e);
        } catch (SSLException e) {
            // What is no TLS at all comes as a plain SSLException.
            SSLHandshakeException failure = new SSLHandshakeException(e.getMessage());
            failure.initCause(e);
            return new Layer.Broken(socket, failure);
        } finally {
            alarm.cancel();
            letHandshakeRule(socket, false);
        }
    }

    /** False if the peer was silent for some time. The JDK goes on where it stopped. */
    private boolean tryHandshake(SSLSocket socket, Deadline deadline) throws IOException {
        int millis = deadline.isNone() ? 0 : Math.min(deadline.remainingMillis(), HANDSHAKE_READ_MILLIS);
        limitHandshakeReads(socket, millis);
        try {
            socket.startHandshake();
            return true;
        } catch (SocketTimeoutException e) {
            return false;
        }
    }

    /** At the deadline: lets the reads that are still to come in this handshake end at once. */
    private void hurry(SSLSocket socket) {
        try {
            limitHandshakeReads(socket, 1);
        } catch (SocketException e) {
            LOGGER.log(Level.DEBUG, "the socket was closed at its handshake's deadline", e);
        }
    }

    private static SocketTimeoutException handshakeTimedOut() {
        return new SocketTimeoutException("Handshake timed out");
    }

    /** An exception for each caller, so that each has its own stack trace. */
    private static SSLHandshakeException again(SSLHandshakeException failure) {
        SSLHandshakeException again = new SSLHandshakeException(failure.getMessage());
        again.initCause(failure);
        return again;
    }

    private static SocketException again(SocketException failure) {
        SocketException again = new SocketException(failure.getMessage());
        again.initCause(failure);
        return again;
    }

    // ------------------------------------------------------------------ views

    @Override
    public Socket asSocket() {
        return view;
    }

    @Override
    public String toString() {
        return "JdkSocket[" + (layer instanceof Layer.Plain ? "plain" : "TLS") + ", remote=" + remote + ", local="
                + local + "]";
    }

    // ----------------------------------------------------------------- closed

    private Socket open() throws SocketException {
        requireOpen();
        return layer.socket();
    }

    private void requireOpen() throws SocketException {
        if (closed.get()) {
            throw new SocketException("Socket is closed");
        }
    }

    /** As {@link #requireOpen}, in the words of reading and writing. */
    private void requireNotClosed() throws SocketException {
        if (closed.get()) {
            throw new SocketException("Socket closed");
        }
    }

    /** What to throw for an exception of the JDK's socket: closing has many faces there, and one here. */
    private IOException closedOr(IOException e) throws IOException {
        if (!closed.get()) {
            if (e instanceof SocketException && Thread.currentThread().isInterrupted() && layer.socket().isClosed()) {
                close(); // the JDK has done so as its virtual thread was interrupted
            }
            return e;
        }
        if (e instanceof SocketException && "Socket closed".equals(e.getMessage())) {
            return e;
        }
        SocketException closedException = new SocketException("Socket closed");
        closedException.initCause(e);
        return closedException;
    }
}
