package org.nativeport;

import java.io.BufferedOutputStream;
import java.io.ByteArrayInputStream;
import java.io.ByteArrayOutputStream;
import java.io.Closeable;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.ConnectException;
import java.net.InetAddress;
import java.net.Socket;
import java.net.SocketException;
import java.security.SecureRandom;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.zip.Deflater;
import java.util.zip.DeflaterOutputStream;
import java.util.zip.InflaterInputStream;
import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509ExtendedTrustManager;

/** The other end: a client over a socket of the JDK that speaks the wire protocol by itself. */
final class Peer implements Closeable {
    private static final int TIMEOUT_MILLIS = 1000 * Tasks.PATIENCE_SECONDS;
    private static final SSLContext TRUSTING = trusting();

    final Socket socket;
    final DataInputStream in;
    final DataOutputStream out;

    private Peer(Socket socket) throws IOException {
        this.socket = socket;
        socket.setSoTimeout(TIMEOUT_MILLIS);
        socket.setTcpNoDelay(true);
        in = new DataInputStream(socket.getInputStream());
        out = new DataOutputStream(new BufferedOutputStream(socket.getOutputStream()));
    }

    /** Connects, and sends nothing. */
    static Peer connect(int port) throws IOException {
        Socket socket = new Socket(InetAddress.getLoopbackAddress(), port);
        return new Peer(socket);
    }

    /** Returns when nobody can connect any more. */
    static void awaitRefusal(int port) throws Exception {
        Tasks.await(
                "the end of listening",
                () -> {
                    try {
                        connect(port).close();
                        return false;
                    } catch (ConnectException refused) {
                        return true;
                    } catch (SocketException ended) {
                        // It had come in before, and the end of listening was its end.
                        return false;
                    }
                });
    }

    /** Connects with TLS, trusting anybody. */
    static Peer connectTls(int port) throws IOException {
        Socket plain = new Socket(InetAddress.getLoopbackAddress(), port);
        SSLSocket socket =
                (SSLSocket)
                        TRUSTING.getSocketFactory().createSocket(plain, "localhost", port, true);
        SSLParameters parameters = socket.getSSLParameters();
        // The JDK does not send a name without a dot by itself.
        parameters.setServerNames(List.of(new SNIHostName("localhost")));
        socket.setSSLParameters(parameters);
        Peer peer = new Peer(Wires.note(socket, plain));
        socket.startHandshake();
        return peer;
    }

    /** Connects, plain or with TLS. */
    static Peer connect(int port, boolean tls) throws IOException {
        return tls ? connectTls(port) : connect(port);
    }

    /** Connects, plain or with TLS, and identifies itself as a framed client. */
    static Peer client(int port, boolean tls) throws IOException {
        return connect(port, tls).identify(1);
    }

    /** Connects and identifies itself as a framed client. */
    static Peer client(int port) throws IOException {
        return connect(port).identify(1);
    }

    /** Sends an identification byte, and reads the answer. */
    Peer identify(int firstByte) throws IOException {
        out.write(firstByte);
        out.flush();
        int answer = in.read();
        if (answer != 1) {
            throw new IOException("answered by " + answer);
        }
        return this;
    }

    /** Puts a transaction where {@link #flush} sends it. */
    Peer put(byte[] payload) throws IOException {
        out.writeInt(payload.length);
        out.write(payload);
        return this;
    }

    /** The same, compressed. */
    Peer putCompressed(byte[] payload) throws IOException {
        ByteArrayOutputStream packed = new ByteArrayOutputStream();
        try (var deflated = new DeflaterOutputStream(packed, new Deflater(), 1 << 16)) {
            deflated.write(payload);
        }
        out.writeInt(packed.size() | 1 << 31);
        packed.writeTo(out);
        return this;
    }

    void flush() throws IOException {
        out.flush();
    }

    void send(byte[] payload) throws IOException {
        put(payload).flush();
    }

    /** The next transaction, inflated. */
    byte[] receive() throws Exception {
        int header = in.readInt();
        byte[] payload = new byte[header & Integer.MAX_VALUE];
        in.readFully(payload);
        if (header >= 0) {
            return payload;
        }
        try (var inflated = new InflaterInputStream(new ByteArrayInputStream(payload))) {
            return inflated.readAllBytes();
        }
    }

    /** Sends what was put, and ends the output of the socket below TLS. */
    void finishWithoutCloseNotify() throws IOException {
        out.flush();
        Wires.below(socket).shutdownOutput();
    }

    /** Sends nothing more; answers are still read. */
    void finish() throws IOException {
        flush();
        socket.shutdownOutput();
    }

    /** Ends without a word: the other end gets a reset. */
    void reset() throws IOException {
        Socket plain = Wires.below(socket);
        if (!plain.isClosed()) {
            plain.setSoLinger(true, 0);
            plain.close();
        }
        socket.close();
    }

    /** The other end's output ends here, in order. */
    void expectEnd() throws IOException {
        int next = in.read();
        if (next != -1) {
            throw new AssertionError("a byte " + next + " in place of the end");
        }
    }

    @Override
    public void close() throws IOException {
        socket.close();
    }

    private static SSLContext trusting() {
        TrustManager anybody =
                new X509ExtendedTrustManager() {
                    @Override
                    public void checkClientTrusted(X509Certificate[] c, String a) {}

                    @Override
                    public void checkServerTrusted(X509Certificate[] c, String a) {}

                    @Override
                    public void checkClientTrusted(X509Certificate[] c, String a, Socket s) {}

                    @Override
                    public void checkServerTrusted(X509Certificate[] c, String a, Socket s) {}

                    @Override
                    public void checkClientTrusted(
                            X509Certificate[] c, String a, javax.net.ssl.SSLEngine e) {}

                    @Override
                    public void checkServerTrusted(
                            X509Certificate[] c, String a, javax.net.ssl.SSLEngine e) {}

                    @Override
                    public X509Certificate[] getAcceptedIssuers() {
                        return new X509Certificate[0];
                    }
                };
        try {
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, new TrustManager[] {anybody}, new SecureRandom());
            return context;
        } catch (java.security.GeneralSecurityException impossible) {
            throw new AssertionError(impossible);
        }
    }
}
