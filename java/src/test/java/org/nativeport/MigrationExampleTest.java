package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;

import java.io.EOFException;
import java.io.IOException;
import java.net.SocketException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** One client, and the terminal server of examples-java/migration before and after: it cannot tell them apart. */
class MigrationExampleTest {
    @TempDir Path folder;

    private Example start(String which, boolean tls) throws Exception {
        String source = "migration/" + which + "/TerminalServer.java";
        if (!tls) {
            return Example.start(source, 0);
        }
        if (which.equals("before")) {
            Path store = folder.resolve("server.p12");
            return Example.start(source, 0, store, Certificates.writeServerStore(store));
        }
        Path certificate = folder.resolve("server.pem");
        Path key = folder.resolve("server.key");
        Certificates.writeServerPem(certificate, key);
        return Example.start(source, 0, certificate, key);
    }

    private static Peer connect(Example server, boolean tls) throws IOException {
        return tls ? Peer.connectTls(server.port) : Peer.connect(server.port);
    }

    private static Peer enter(Example server, boolean tls, String name) throws Exception {
        Peer peer = connect(server, tls);
        assertEquals("welcome " + name, ask(peer, name));
        return peer;
    }

    private static String ask(Peer peer, String text) throws Exception {
        peer.send(text.getBytes(StandardCharsets.UTF_8));
        return hear(peer);
    }

    private static String hear(Peer peer) throws Exception {
        return new String(peer.receive(), StandardCharsets.UTF_8);
    }

    @ParameterizedTest
    @CsvSource({"before, false", "before, true", "after, false", "after, true"})
    void theServerBeforeAndAfterPassesTheSameTest(String which, boolean tls) throws Exception {
        try (Example server = start(which, tls);
                Peer ann = enter(server, tls, "ann");
                Peer bob = enter(server, tls, "bob")) {
            assertEquals("ann bob", ask(ann, "who"));
            assertEquals("told bob", ask(ann, "tell bob Grüß dich"));
            assertEquals("ann: Grüß dich", hear(bob));
            assertEquals("no: there is no terminal eve", ask(bob, "tell eve hello"));
            assertEquals("no: dance", ask(bob, "dance"));
            assertEquals("no: ", ask(bob, ""));
            String longest = "x".repeat((1 << 16) - "tell ann ".length());
            assertEquals("told ann", ask(bob, "tell ann " + longest));
            assertEquals("bob: " + longest, hear(ann));

            try (Peer other = connect(server, tls)) {
                assertEquals("no: there is a terminal ann", ask(other, "ann"));
                assertEquals(-1, other.in.read());
            }
            try (Peer other = enter(server, tls, "eve")) {
                other.out.writeInt((1 << 16) + 1);
                other.flush();
                assertEnds(other);
            }
            assertEquals("bye", ask(bob, "bye"));
            assertEquals(-1, bob.in.read());
            server.hears("a frame of 65537 bytes");
            server.end();
            assertEnds(ann);
        }
    }

    /** However it ends: a process that was ended may reset its connections. */
    private static void assertEnds(Peer peer) throws IOException {
        try {
            assertEquals(-1, peer.in.read());
        } catch (EOFException | SocketException | javax.net.ssl.SSLException end) {
            return;
        }
    }

    @ParameterizedTest
    @CsvSource({"before", "after"})
    void aTerminalThatHasEndedItsOutputStillGetsItsAnswer(String which) throws Exception {
        try (Example server = start(which, false);
                Peer ann = enter(server, false, "ann")) {
            ann.put("who".getBytes()).flush();
            ann.socket.shutdownOutput();
            assertEquals("ann", hear(ann));
            assertEquals(-1, ann.in.read());
            server.end();
        }
    }
}
