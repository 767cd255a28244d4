package org.nativeport.bench;

import java.io.BufferedInputStream;
import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import javax.net.ssl.SSLContext;
import javax.net.ssl.SSLServerSocket;

/** The classic blocking server: a platform thread per client, data streams, a flush per frame. */
public final class ClassicServer {
    private static final int BACKLOG = 4096;

    public static void main(String[] words) throws Exception {
        Arguments arguments = Arguments.of(words);
        ServerSocket server = bind(arguments);
        Arguments.listening(server.getLocalPort());
        for (;;) {
            Socket client = server.accept();
            new Thread(() -> serve(client)).start();
        }
    }

    private static ServerSocket bind(Arguments arguments) throws Exception {
        InetAddress here = InetAddress.getLoopbackAddress();
        if (arguments.tls() == null) {
            return new ServerSocket(arguments.port(), BACKLOG, here);
        }
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(new Identity(arguments.tls()).keys().getKeyManagers(), null, null);
        SSLServerSocket server =
                (SSLServerSocket)
                        context.getServerSocketFactory()
                                .createServerSocket(arguments.port(), BACKLOG, here);
        server.setEnabledProtocols(Identity.PROTOCOLS);
        return server;
    }

    private static void serve(Socket client) {
        try (client) {
            client.setTcpNoDelay(true);
            DataInputStream in = new DataInputStream(new BufferedInputStream(client.getInputStream()));
            DataOutputStream out =
                    new DataOutputStream(new BufferedOutputStream(client.getOutputStream()));
            if (in.read() != 1) {
                return;
            }
            out.write(1);
            out.flush();
            for (;;) {
                byte[] frame = new byte[in.readInt() & 0x7fff_ffff];
                in.readFully(frame);
                out.writeInt(frame.length);
                out.write(frame);
                out.flush();
            }
        } catch (IOException ended) {
            // The peer has closed, or cut, the connection.
        }
    }
}
