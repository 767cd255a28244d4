import java.io.BufferedOutputStream;
import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.InetAddress;
import java.net.ServerSocket;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import javax.net.ServerSocketFactory;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;

/**
 * A server for terminals, one thread each. A frame is its length, 4 bytes with the highest first, and so
 * many bytes of UTF-8. The first frame of a terminal is its name; then it sends commands:
 * {@code who}, {@code tell NAME TEXT}, {@code bye}. A terminal that is silent for a minute
 * is asked {@code ready?}, and at the second time disconnected.
 *
 * <pre>java TerminalServer.java PORT [server.p12 PASSWORD]</pre>
 */
public class TerminalServer {
    private static final int LONGEST_FRAME_BYTES = 1 << 16;
    private static final int SILENCE_MILLIS = 60_000;

    private final Map<String, Terminal> terminals = new ConcurrentHashMap<>();

    public static void main(String[] arguments) throws IOException, GeneralSecurityException {
        int port = Integer.parseInt(arguments[0]);
        ServerSocketFactory sockets = arguments.length > 1
                ? identity(Path.of(arguments[1]), arguments[2].toCharArray()).getServerSocketFactory()
                : ServerSocketFactory.getDefault();
        TerminalServer server = new TerminalServer();
        try (ServerSocket listener = sockets.createServerSocket(port, 1024, InetAddress.getLoopbackAddress())) {
            System.out.println("ready on port " + listener.getLocalPort());
            for (;;) {
                Socket socket = listener.accept();
                new Thread(() -> server.serve(socket), "terminal " + socket.getRemoteSocketAddress()).start();
            }
        }
    }

    private static SSLContext identity(Path file, char[] password) throws IOException, GeneralSecurityException {
        KeyStore store = KeyStore.getInstance("PKCS12");
        try (InputStream in = Files.newInputStream(file)) {
            store.load(in, password);
        }
        KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(store, password);
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(keys.getKeyManagers(), null, null);
        return context;
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
