package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.ByteArrayOutputStream;
import java.io.File;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.condition.EnabledForJreRange;
import org.junit.jupiter.api.condition.JRE;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.nativeport.Tasks.Task;

/** examples-java/web/Web.java, Jetty 12 behind a port, does what it says. */
@EnabledForJreRange(min = JRE.JAVA_21)
class WebExampleTest {
    @TempDir Path folder;

    private Example start() throws Exception {
        String config = "[Port]\nport=0\nbindAddress=127.0.0.1\nssl=auto\nsslSection=TLS\n[TLS]\nselfSigned=localhost\n";
        Path file = Files.writeString(folder.resolve("server.ini"), config);
        return Example.start(jetty(), Example.EXAMPLES.resolve("web/Web.java"), file);
    }

    /** The jars that the pom of the example copies, here from what Maven tests with. */
    private static List<Path> jetty() {
        List<Path> jars =
                Stream.of("java.class.path", "jdk.module.path")
                        .flatMap(path -> Stream.of(System.getProperty(path, "").split(File.pathSeparator)))
                        .filter(path -> path.matches(".*/(jetty|slf4j)-[^/]*\\.jar"))
                        .map(Path::of)
                        .toList();
        assertTrue(jars.size() >= 6, jars::toString);
        return jars;
    }

    private static Peer connect(Example web, boolean tls) throws IOException {
        return tls ? Peer.connectTls(web.port) : Peer.connect(web.port);
    }

    private static void get(Peer peer, String path) throws IOException {
        peer.out.writeBytes("GET " + path + " HTTP/1.1\r\nHost: localhost\r\n\r\n");
        peer.flush();
    }

    /** What the server says of who asks, so that nothing of it can be a guess. */
    private static String hello(Peer peer, boolean tls, String path) {
        return "Hello 127.0.0.1:" + peer.socket.getLocalPort() + ", you asked for "
                + (tls ? "https" : "http") + "://localhost" + path + "\n";
    }

    /** An answer's status line and body. */
    private record Answer(String status, byte[] body) {
        static Answer read(Peer peer) throws IOException {
            String status = line(peer);
            int length = -1;
            for (String header; !(header = line(peer)).isEmpty(); ) {
                if (header.toLowerCase().startsWith("content-length:")) {
                    length = Integer.parseInt(header.substring(header.indexOf(':') + 1).trim());
                }
            }
            return new Answer(status, length >= 0 ? peer.in.readNBytes(length) : chunks(peer));
        }

        private static byte[] chunks(Peer peer) throws IOException {
            ByteArrayOutputStream body = new ByteArrayOutputStream();
            for (int size; (size = Integer.parseInt(line(peer), 16)) > 0; ) {
                body.write(peer.in.readNBytes(size));
                assertEquals("", line(peer));
            }
            assertEquals("", line(peer));
            return body.toByteArray();
        }

        private static String line(Peer peer) throws IOException {
            StringBuilder line = new StringBuilder();
            for (int c; (c = peer.in.readUnsignedByte()) != '\n'; ) {
                line.append((char) c);
            }
            return line.toString().stripTrailing();
        }

        String text() {
            return new String(body, StandardCharsets.UTF_8);
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void jettyAnswersAndFramedClientsAreServedOnTheSamePort(boolean tls) throws Exception {
        byte[] sent = new byte[1 << 20];
        new Random(1).nextBytes(sent);
        try (Example web = start();
                Peer browser = connect(web, tls);
                Peer client = connect(web, tls).identify(1)) {
            client.send(new byte[] {1, 2, 3});

            get(browser, "/first");
            assertEquals(hello(browser, tls, "/first"), Answer.read(browser).text());
            get(browser, "/second?on=the+same+connection");
            assertEquals(hello(browser, tls, "/second?on=the+same+connection"), Answer.read(browser).text());

            Task<Void> posts = Tasks.start(() -> {
                browser.out.writeBytes("POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: " + sent.length + "\r\n\r\n");
                browser.out.write(sent);
                browser.flush();
            });
            Answer back = Answer.read(browser);
            posts.get();
            assertEquals("HTTP/1.1 200 OK", back.status());
            assertArrayEquals(sent, back.body());

            assertArrayEquals(new byte[] {1, 2, 3}, client.receive());
            client.send(sent);
            assertArrayEquals(sent, client.receive());

            assertTrue(web.end().contains("ended"));
            assertEquals(-1, browser.in.read());
        }
    }

    @Test
    void endsAreHandedOn() throws Exception {
        try (Example web = start();
                Peer halfClosed = Peer.connect(web.port);
                Peer last = Peer.connect(web.port)) {
            halfClosed.out.writeBytes("GET /half HTTP/1.1\r\nHost: localhost\r\n\r\n");
            halfClosed.flush();
            halfClosed.socket.shutdownOutput();
            assertEquals(hello(halfClosed, false, "/half"), Answer.read(halfClosed).text());
            assertEquals(-1, halfClosed.in.read());

            last.out.writeBytes("GET /last HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
            last.flush();
            assertEquals(hello(last, false, "/last"), Answer.read(last).text());
            assertEquals(-1, last.in.read());
            web.end();
        }
    }
}
