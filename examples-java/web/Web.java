import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.UnixDomainSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import org.eclipse.jetty.http.HttpHeader;
import org.eclipse.jetty.io.Content;
import org.eclipse.jetty.server.Handler;
import org.eclipse.jetty.server.HttpConfiguration;
import org.eclipse.jetty.server.HttpConnectionFactory;
import org.eclipse.jetty.server.ProxyConnectionFactory;
import org.eclipse.jetty.server.Request;
import org.eclipse.jetty.server.Response;
import org.eclipse.jetty.server.SecureRequestCustomizer;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.unixdomain.server.UnixDomainServerConnector;
import org.eclipse.jetty.util.Callback;
import org.nativeport.ConnectionHandler;
import org.nativeport.ISocket;
import org.nativeport.ServerConfig;
import org.nativeport.SocketClientCommunication;
import org.nativeport.SocketClientConnectionListener;

/**
 * Jetty 12 behind a port of nativeport: framed clients get every transaction back, everybody else is
 * Jetty's. TLS ends in nativeport. JDK 21 or later; {@code pom.xml} beside this file copies the jars. The
 * argument is an INI file; without one it listens on port 4713 of this machine, plain and
 * TLS with a certificate of its own. Ctrl-C ends it in order.
 *
 * <pre>
 * mvn -q package
 * java -cp 'target/jars/*' Web.java [server.ini]
 * </pre>
 *
 * Each connection of the web gets one to Jetty, over a Unix domain socket in a folder that is this
 * user's alone, since whoever can connect there can claim any address for himself. A PROXY protocol header
 * (version 2) goes first and tells Jetty the client's address and its TLS; then two virtual
 * threads copy, one each way, and the end of either way is handed on as an end.
 *
 * <p>What that costs, against Jetty on a port of its own without TLS: every byte crosses the kernel once more each way
 * and is copied by Java in between, and each request wakes two more threads. On two cores with JDK 25 a small GET took 3.5
 * times the CPU (115 µs, of which Jetty alone needs 33) and 3 times as long until the answer; 1 MiB posted and
 * sent back took twice the CPU (3.4 ms against 1.5) and about as long. Where that is too much, give Jetty a port of
 * its own.
 */
public class Web implements ConnectionHandler {
    /** For each way of a connection, also while it is idle. */
    private static final int BUFFER_BYTES = 16 * 1024;

    private static final Duration TIME_TO_END = Duration.ofSeconds(5);

    private final UnixDomainSocketAddress jetty;

    Web(UnixDomainSocketAddress jetty) {
        this.jetty = jetty;
    }

    public static void main(String[] arguments) throws Exception {
        ServerConfig config = arguments.length > 0 ? ServerConfig.load(Path.of(arguments[0])) : standard();
        Path folder = Files.createTempDirectory("web-");
        Path path = folder.resolve("jetty");
        Server server = startJetty(path);
        var listener = new SocketClientConnectionListener(config, new Web(UnixDomainSocketAddress.of(path)));
        listener.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> end(listener, server, folder)));
        System.out.println("ready on port " + listener.getLocalPort());
    }

    private static ServerConfig standard() {
        return ServerConfig.builder()
                .addPort("").setPort("port", "4713").setPort("bindAddress", "127.0.0.1")
                .setPort("ssl", "auto").setPort("sslSection", "TLS")
                .set("TLS", "selfSigned", "localhost").set("TLS", "alpn", "http/1.1")
                .build();
    }

    private static Server startJetty(Path path) throws Exception {
        Server server = new Server();
        HttpConfiguration http = new HttpConfiguration();
        // What came by TLS is https. The certificate, and so its host names, is nativeport's business.
        http.addCustomizer(new SecureRequestCustomizer(false));
        var connector = new UnixDomainServerConnector(
                server, new ProxyConnectionFactory(), new HttpConnectionFactory(http));
        connector.setUnixDomainPath(path);
        server.addConnector(connector);
        server.setHandler(new Pages());
        server.start();
        return server;
    }

    /** What Jetty serves here: a POST gets its body back, everything else is told who asked. */
    private static final class Pages extends Handler.Abstract {
        @Override
        public boolean handle(Request request, Response response, Callback callback) {
            if (request.getMethod().equals("POST")) {
                response.getHeaders().put(HttpHeader.CONTENT_TYPE, "application/octet-stream");
                Content.copy(request, response, callback);
            } else {
                var client = (InetSocketAddress) request.getConnectionMetaData().getRemoteSocketAddress();
                response.getHeaders().put(HttpHeader.CONTENT_TYPE, "text/plain");
                Content.Sink.write(
                        response,
                        true,
                        "Hello " + client.getAddress().getHostAddress() + ":" + client.getPort()
                                + ", you asked for " + request.getHttpURI().asString() + "\n",
                        callback);
            }
            return true;
        }
    }

    @Override
    public void onClientConnect(SocketClientCommunication client) throws IOException {
        try (client) {
            for (byte[] transaction; (transaction = client.read()) != null; ) {
                client.write(transaction);
            }
        }
    }

    /** Takes requests to Jetty on this thread, and answers back on another one. */
    @Override
    public void onUnknownConnect(ISocket client, int firstByte) throws IOException, InterruptedException {
        try (client; SocketChannel server = SocketChannel.open(jetty)) {
            write(server, proxyHeader(client));
            Thread answers = Thread.ofVirtual().start(() -> copyAnswers(server, client));
            copyRequests(client, server);
            answers.join(); // a client that has ended its requests still gets its answers
        }
    }

    private static void copyRequests(ISocket client, SocketChannel server) throws IOException {
        InputStream in = client.getInputStream();
        byte[] buffer = new byte[BUFFER_BYTES];
        for (int count; (count = in.read(buffer)) >= 0; ) {
            write(server, ByteBuffer.wrap(buffer, 0, count));
        }
        server.shutdownOutput();
    }

    private static void copyAnswers(SocketChannel server, ISocket client) {
        try (client) {
            OutputStream out = client.getOutputStream();
            ByteBuffer buffer = ByteBuffer.allocate(BUFFER_BYTES);
            try {
                while (server.read(buffer) >= 0) {
                    out.write(buffer.array(), 0, buffer.position());
                    buffer.clear();
                }
            } catch (IOException end) {
                // An answer that is cut must not look like a whole one: reset.
                client.setSoLinger(true, 0);
            }
        } catch (IOException end) {
            // The client has gone; the other thread sees that too.
            return;
        }
    }

    private static void write(SocketChannel channel, ByteBuffer bytes) throws IOException {
        while (bytes.hasRemaining()) {
            channel.write(bytes);
        }
    }

    /**
     * The PROXY protocol, version 2:
     *
     * <pre>
     * signature, 12 bytes | 0x21 | family and TCP | length, 2 | addresses, 2 | ports, 2 and 2 | with TLS: its facts
     * </pre>
     */
    private static ByteBuffer proxyHeader(ISocket client) {
        InetSocketAddress from = client.getRemoteSocketAddress();
        InetSocketAddress to = client.getLocalSocketAddress();
        byte[] fromIp = from.getAddress().getAddress();
        byte[] toIp = to.getAddress().getAddress();
        byte[] tls = client.getCipherSuite().map(Web::tlsFacts).orElse(new byte[0]);
        ByteBuffer header = ByteBuffer.allocate(256);
        header.put("\r\n\r\n\0\r\nQUIT\n".getBytes(StandardCharsets.US_ASCII));
        header.put((byte) 0x21).put((byte) (fromIp.length == 4 ? 0x11 : 0x21));
        header.putShort((short) (fromIp.length + toIp.length + 4 + tls.length));
        header.put(fromIp).put(toIp).putShort((short) from.getPort()).putShort((short) to.getPort());
        return header.put(tls).flip();
    }

    /** PP2_TYPE_SSL: the client came by TLS, showed no certificate; in it the cipher suite. */
    private static byte[] tlsFacts(String cipherSuite) {
        byte[] suite = cipherSuite.getBytes(StandardCharsets.US_ASCII);
        ByteBuffer facts = ByteBuffer.allocate(11 + suite.length);
        facts.put((byte) 0x20).putShort((short) (8 + suite.length)).put((byte) 0x01).putInt(0);
        return facts.put((byte) 0x23).putShort((short) suite.length).put(suite).array();
    }

    /** Nobody new comes in, requests that are under way are answered, then both end. */
    private static void end(SocketClientConnectionListener listener, Server server, Path folder) {
        try {
            var ended = listener.stop(TIME_TO_END);
            server.stop();
            ended.toCompletableFuture().join();
            Files.deleteIfExists(folder);
            System.out.println("ended");
        } catch (Exception e) {
            System.err.println(e);
        }
    }
}
