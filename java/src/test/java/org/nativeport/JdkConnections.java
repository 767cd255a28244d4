package org.nativeport;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.util.List;
import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLParameters;
import javax.net.ssl.SSLServerSocket;
import javax.net.ssl.SSLSocket;
import org.nativeport.Tasks.Task;

/** Connections of sockets of the JDK, over loopback and ports that the system chooses. */
final class JdkConnections {
    private JdkConnections() {}

    /** A server's socket and the client's. */
    record Ends<T extends Socket>(T server, Socket client) {}

    /** What connects to a server's address. */
    interface Connector {
        Socket connect(InetSocketAddress address) throws IOException;
    }

    static Ends<Socket> plain(Connector connector) throws IOException {
        try (ServerSocket listener = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            Socket client = connector.connect((InetSocketAddress) listener.getLocalSocketAddress());
            return new Ends<>(listener.accept(), client);
        }
    }

    /** The server's end is TLS of this one version, and its handshake is not done. */
    static Ends<SSLSocket> tls(String version, Connector connector) throws IOException {
        try (SSLServerSocket listener = (SSLServerSocket) Certificates.server()
                .getServerSocketFactory()
                .createServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            listener.setSSLParameters(serverParameters(version));
            Socket client = connector.connect((InetSocketAddress) listener.getLocalSocketAddress());
            return new Ends<>((SSLSocket) listener.accept(), client);
        }
    }

    static SSLParameters serverParameters(String version) {
        SSLParameters parameters = new SSLParameters();
        parameters.setProtocols(new String[] {version});
        parameters.setApplicationProtocols(new String[] {"http/1.1"});
        parameters.setWantClientAuth(true);
        return parameters;
    }

    static SSLParameters clientParameters(String version) {
        SSLParameters parameters = new SSLParameters();
        parameters.setProtocols(new String[] {version});
        parameters.setApplicationProtocols(new String[] {"other", "http/1.1"});
        parameters.setServerNames(List.of(new SNIHostName("localhost")));
        return parameters;
    }

    /** A client that names localhost, speaks http/1.1, and has not done the handshake. */
    static SSLSocket client(String version, InetSocketAddress address) throws IOException {
        return client(version, new Socket(address.getAddress(), address.getPort()));
    }

    /** The same over a socket that is connected. */
    static SSLSocket client(String version, Socket plain) throws IOException {
        SSLSocket client = (SSLSocket) Certificates.client()
                .getSocketFactory()
                .createSocket(plain, "localhost", plain.getPort(), true);
        client.setSSLParameters(clientParameters(version));
        return Wires.note(client, plain);
    }

    /** Does the handshake on both ends. */
    static void handshake(ISocket server, SSLSocket client) throws Exception {
        Task<Void> handshake = Tasks.start(() -> server.doSynchronousSSLHandshake(0));
        client.startHandshake();
        handshake.get();
    }
}
