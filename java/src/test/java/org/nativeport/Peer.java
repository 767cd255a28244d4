package org.nativeport;

import java.io.BufferedOutputStream;
import java.io.Closeable;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.Socket;
import java.security.SecureRandom;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.zip.Deflater;
import java.util.zip.Inflater;
import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509ExtendedTrustManager;

/** The other end: a client over a socket of the JDK that speaks the wire protocol by itself. */
final class Peer implements Closeable {
    private static final int TIMEOUT_MILLIS = 20_000;

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
        return new Peer(new Socket(InetAddress.getLoopbackAddress(), port));
    }

    /** Connects with TLS, trusting anybody. */
    static Peer connectTls(int port) throws IOException {
        SSLSocket socket =
                (SSLSocket)
                        trusting()
                                .getSocketFactory()
                                .createSocket(
                                        new Socket(InetAddress.getLoopbackAddress(), port),
                                        "localhost",
                                        port,
                                        true);
        SSLParameters parameters = socket.getSSLParameters();
        // The JDK does not send a name without a dot by itself.
        parameters.setServerNames(List.of(new SNIHostName("localhost")));
        socket.setSSLParameters(parameters);
        Peer peer = new Peer(socket);
        socket.startHandshake();
        return peer;
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
        Deflater deflater = new Deflater();
        deflater.setInput(payload);
        deflater.finish();
        byte[] packed = new byte[payload.length + 64];
        int length = deflater.deflate(packed);
        deflater.end();
        out.writeInt(length | 1 << 31);
        out.write(packed, 0, length);
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
        Inflater inflater = new Inflater();
        inflater.setInput(payload);
        byte[] inflated = new byte[1 << 24];
        int length = inflater.inflate(inflated);
        inflater.end();
        return java.util.Arrays.copyOf(inflated, length);
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
