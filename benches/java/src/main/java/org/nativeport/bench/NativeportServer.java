package org.nativeport.bench;

import java.io.DataInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import org.nativeport.ConnectionHandler;
import org.nativeport.ISocket;
import org.nativeport.ServerConfig;
import org.nativeport.SocketClientCommunication;
import org.nativeport.SocketClientConnectionListener;

/**
 * This library: one loop, the answer from the fast path. With {@code --blocking} a thread per client that
 * reads and writes, which with {@code --stream} are those of a socket's streams.
 */
public final class NativeportServer implements ConnectionHandler {
    private final boolean blocking;

    private NativeportServer(boolean blocking) {
        this.blocking = blocking;
    }

    public static void main(String[] words) throws IOException, GeneralSecurityException {
        Arguments arguments = Arguments.of(words);
        ServerConfig.Builder config =
                ServerConfig.builder()
                        .set("Runtime", "ioThreads", "1")
                        .set("Runtime", "handshakeThreads", "1")
                        .addPort("")
                        .setPort("port", Integer.toString(arguments.port()))
                        .setPort("bindAddress", "127.0.0.1")
                        .setPort("queueLength", "4096")
                        // The load does not compress, and neither do the other servers.
                        .setPort("compression", "off");
        Path folder = null;
        if (arguments.tls() != null) {
            Identity identity = new Identity(arguments.tls());
            folder = Files.createTempDirectory("nativeport-bench");
            config.setPort("sslSection", "TLS")
                    .set("TLS", "certificate", identity.certificateFile(folder).toString())
                    .set("TLS", "privateKey", identity.keyFile(folder).toString());
        }
        var listener =
                new SocketClientConnectionListener(
                        config.build(), new NativeportServer(arguments.blocking() || arguments.stream()));
        listener.start();
        if (folder != null) {
            Files.delete(folder.resolve("certificate.pem"));
            Files.delete(folder.resolve("key.pem"));
            Files.delete(folder);
        }
        Arguments.listening(listener.getLocalPort());
    }

    /** Where the fast path is set, nothing waits. */
    @Override
    public boolean connectsOnLoop() {
        return !blocking;
    }

    @Override
    public void onUnknownConnect(ISocket socket, int firstByte) throws IOException {
        try (socket) {
            DataInputStream in = new DataInputStream(socket.getInputStream());
            OutputStream out = socket.getOutputStream();
            in.read();
            out.write(1);
            for (;;) {
                byte[] frame = new byte[in.readInt()];
                in.readFully(frame);
                out.write(ByteBuffer.allocate(4 + frame.length).putInt(frame.length).put(frame).array());
            }
        }
    }

    @Override
    public void onClientConnect(SocketClientCommunication client) throws IOException {
        if (blocking) {
            try (client) {
                for (byte[] frame; (frame = client.read()) != null; ) {
                    client.write(frame);
                }
            }
        } else {
            client.onFrame(client::write);
        }
    }
}
