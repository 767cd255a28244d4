package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** examples-java/Echo.java does what it says. */
class EchoExampleTest {
    @Test
    void framedClientsGetTheirTransactionsBackAndBrowsersAPage(@TempDir Path folder) throws Exception {
        Path config = Files.writeString(folder.resolve("server.ini"), "[Port]\nport=0\nbindAddress=127.0.0.1\n");
        try (Example echo = Example.start("Echo.java", config);
                Peer client = Peer.client(echo.port);
                Peer browser = Peer.connect(echo.port)) {
            byte[] sent = new byte[100_000];
            new java.util.Random(1).nextBytes(sent);
            client.send(sent);
            assertArrayEquals(sent, client.receive());
            browser.out.writeBytes("GET / HTTP/1.0\r\n\r\n");
            browser.flush();
            String page = new String(browser.in.readAllBytes());
            assertTrue(page.startsWith("HTTP/1.0 200 OK\r\n") && page.endsWith("This is an echo server.\n"), page);
            echo.end();
        }
    }
}
