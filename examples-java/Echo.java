import java.io.IOException;
import org.nativeport.ConnectionHandler;
import org.nativeport.ISocket;
import org.nativeport.ServerConfig;
import org.nativeport.SocketClientCommunication;
import org.nativeport.SocketClientConnectionListener;

/**
 * An echo server: framed clients get every transaction back, web browsers a page. One port serves
 * both. The argument is an INI file; without one it listens on port 4711 of this machine, plain.
 *
 * <pre>java -cp nativeport.jar Echo.java [server.ini]</pre>
 */
public class Echo implements ConnectionHandler {
    public static void main(String[] arguments) throws IOException {
        ServerConfig config =
                arguments.length > 0
                        ? ServerConfig.load(java.nio.file.Path.of(arguments[0]))
                        : ServerConfig.builder()
                                .addPort("")
                                .setPort("port", "4711")
                                .setPort("bindAddress", "127.0.0.1")
                                .build();
        var listener = new SocketClientConnectionListener(config, new Echo());
        listener.start();
        // The listener keeps the program alive.
        System.out.println("ready on port " + listener.getLocalPort());
    }

    /** Runs on a thread of its own, which may wait. */
    @Override
    public void onClientConnect(SocketClientCommunication client) throws IOException {
        try (client) {
            for (byte[] transaction; (transaction = client.read()) != null; ) {
                client.write(transaction);
            }
        }
    }

    @Override
    public void onUnknownConnect(ISocket socket, int firstByte) throws IOException {
        try (socket) {
            String page = "HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nThis is an echo server.\n";
            socket.getOutputStream().write(page.getBytes());
        }
    }
}
