import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import org.nativeport.ConnectionHandler;
import org.nativeport.ISocket;
import org.nativeport.ServerConfig;
import org.nativeport.SocketClientConnectionListener;

/**
 * A server for terminals, one thread each. A frame is its length, 4 bytes with the highest first, and so
 * many bytes of UTF-8. The first frame of a terminal is its name; then it sends commands:
 * {@code who}, {@code tell NAME TEXT}, {@code bye}. A terminal that is silent for a minute
 * is asked {@code ready?}, and at the second time disconnected.
 *
 * <pre>java -cp nativeport.jar TerminalServer.java PORT [server.pem server.key]</pre>
 */
public class TerminalServer {
    private static final int LONGEST_FRAME_BYTES = 1 << 16;
    private static final int SILENCE_MILLIS = 60_000;

    private final Map<String, Terminal> terminals = new ConcurrentHashMap<>();

    public static void main(String[] arguments) throws IOException {
        ServerConfig.Builder config = ServerConfig.builder()
                .addPort("").setPort("port", arguments[0]).setPort("bindAddress", "127.0.0.1");
        if (arguments.length > 1) {
            config.setPort("sslSection", "TLS")
                    .set("TLS", "certificate", arguments[1]).set("TLS", "privateKey", arguments[2]);
        }
        TerminalServer server = new TerminalServer();
        var listener = new SocketClientConnectionListener(config.build(), new ConnectionHandler() {
            @Override
            public void onUnknownConnect(ISocket socket, int firstByte) {
                server.serve(socket.asSocket());
            }
        });
        listener.start();
        System.out.println("ready on port " + listener.getLocalPort());
    }

    private void serve(Socket socket) {
        try (socket) {
            Terminal terminal = new Terminal(socket);
            terminal.name = terminal.receive();
            if (terminal.name == null) {
                return;
            }
            if (terminals.putIfAbsent(terminal.name, terminal) != null) {
                terminal.send("no: there is a terminal " + terminal.name);
                return;
            }
            try {
                terminal.send("welcome " + terminal.name);
                for (String command; (command = terminal.receive()) != null; ) {
                    if (command.equals("bye")) {
                        terminal.send("bye");
                        return;
                    }
                    terminal.send(answer(terminal, command));
                }
            } finally {
                terminals.remove(terminal.name);
            }
        } catch (IOException e) {
            System.err.println(socket.getRemoteSocketAddress() + ": " + e);
        }
    }

    private String answer(Terminal from, String command) throws IOException {
        if (command.equals("who")) {
            return String.join(" ", new TreeSet<>(terminals.keySet()));
        }
        String[] words = command.split(" ", 3);
        if (words.length < 3 || !words[0].equals("tell")) {
            return "no: " + command;
        }
        Terminal to = terminals.get(words[1]);
        if (to == null) {
            return "no: there is no terminal " + words[1];
        }
        to.send(from.name + ": " + words[2]);
        return "told " + words[1];
    }

    private static final class Terminal {
        private final DataInputStream in;
        private final DataOutputStream out;
        private final ReentrantLock outLock = new ReentrantLock();
        String name;

        Terminal(Socket socket) throws IOException {
            socket.setSoTimeout(SILENCE_MILLIS);
            in = new DataInputStream(socket.getInputStream());
            out = new DataOutputStream(new BufferedOutputStream(socket.getOutputStream()));
        }

        /** The next frame, null behind the last one. */
        String receive() throws IOException {
            int first = awaitFirstByte();
            if (first < 0) {
                return null;
            }
            int length = first << 24 | in.readUnsignedByte() << 16 | in.readUnsignedShort();
            if (length < 0 || length > LONGEST_FRAME_BYTES) {
                throw new IOException("a frame of " + length + " bytes");
            }
            byte[] bytes = new byte[length];
            in.readFully(bytes);
            return new String(bytes, StandardCharsets.UTF_8);
        }

        private int awaitFirstByte() throws IOException {
            try {
                return in.read();
            } catch (SocketTimeoutException silent) {
                send("ready?");
                return in.read();
            }
        }

        /** Any thread's: frames do not mix. */
        void send(String text) throws IOException {
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            outLock.lock();
            try {
                out.writeInt(bytes.length);
                out.write(bytes);
                out.flush();
            } finally {
                outLock.unlock();
            }
        }
    }
}
