package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.SocketException;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Who comes, and how he is let in. */
@SuppressWarnings("try") // a resource that is there and not used
class ArrivalsTest {
    @Test
    void aRemoteApplicationIsAnsweredAndExchangesTransactions() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.connect(served.port()).identify(3);
                SocketClientCommunication application = Served.next(served.applications)) {
            assertEquals(Protocol.REMOTE_APPLICATION, application.getInfo().protocol());
            peer.send(new byte[] {7});
            assertArrayEquals(new byte[] {7}, application.read());
        }
    }

    @Test
    void clientsAndRemoteApplicationsAreFramedAndTheOthersAreStreams() {
        List<Protocol> framed = Arrays.stream(Protocol.values()).filter(Protocol::isFramed).toList();
        assertEquals(List.of(Protocol.CLIENT, Protocol.REMOTE_APPLICATION), framed);
    }

    @Test
    void aPortThatWasAddedUnderANameIsTheSectionOfThatName() throws Exception {
        ServerConfig config =
                ServerConfig.builder()
                        .addPort("web")
                        .setPort("port", "0")
                        .addPort("")
                        .setPort("port", "0")
                        .setPort("bindAddress", "127.0.0.1")
                        .set("Port.web", "bindAddress", "127.0.0.1")
                        .build();
        assertEquals(List.of("Port.web", "Port"), config.getPortNames());
        CompletableFuture<String> came = new CompletableFuture<>();
        ConnectionHandler handler =
                new ConnectionHandler() {
                    @Override
                    public void onClientConnect(SocketClientCommunication client) {
                        came.complete(client.getInfo().port());
                    }
                };
        try (var listener = new SocketClientConnectionListener(config, handler)) {
            listener.start();
            Peer.client(listener.getLocalPort()).close();
            assertEquals("Port.web", came.get(Served.SECONDS, TimeUnit.SECONDS));
        }
    }

    @Test
    void anUnknownConnectionKeepsItsFirstByte() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.connect(served.port())) {
            peer.out.writeBytes("GET / HTTP/1.0\r\n\r\n");
            peer.flush();
            try (ISocket socket = Served.next(served.unknown)) {
                byte[] request = socket.getInputStream().readNBytes(18);
                assertEquals("GET / HTTP/1.0\r\n\r\n", new String(request));
                socket.getOutputStream().write("answer".getBytes());
                socket.shutdownOutput();
                assertEquals("answer", new String(peer.in.readAllBytes()));
            }
        }
    }

    @Test
    void aRelayConnectionComesWithoutItsFirstByte() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.connect(served.port())) {
            peer.out.write(new byte[] {2, 9, 8});
            peer.flush();
            try (ISocket socket = Served.next(served.relays)) {
                assertArrayEquals(new byte[] {9, 8}, socket.getInputStream().readNBytes(2));
                assertEquals(peer.socket.getLocalPort(), socket.getPort());
                assertEquals(served.port(), socket.getLocalPort());
            }
        }
    }

    @Test
    void withoutARelayServerARelayConnectionIsClosed() throws Exception {
        try (Served served = Served.withoutRelay();
                Peer peer = Peer.connect(served.port())) {
            peer.out.write(2);
            peer.flush();
            assertEquals(-1, peer.in.read());
        }
    }

    @Test
    void factsOfAConnectionStayWhenItHasEnded() throws Exception {
        try (Served served = Served.tls("maxConnections", "5");
                Peer peer = Peer.connectTls(served.port()).identify(1)) {
            SocketClientCommunication client = served.nextClient();
            client.close();
            Served.ended(client);
            TlsInfo tls = client.getTlsInfo().orElseThrow();
            assertEquals("TLSv1.3", tls.protocol());
            assertTrue(tls.cipherSuite().startsWith("TLS"), tls.cipherSuite());
            assertEquals(Optional.of("localhost"), tls.serverName());
            assertEquals(Optional.empty(), tls.applicationProtocol());
            assertFalse(tls.resumed());
            assertEquals(
                    new InetSocketAddress(
                            InetAddress.getLoopbackAddress(), peer.socket.getLocalPort()),
                    client.getRemoteSocketAddress());
            assertEquals("Port", client.getInfo().port());
            assertEquals(1, client.getInfo().firstByte());
        }
    }

    @Test
    void whoIsAdmittedIsLetIn() throws Exception {
        try (Served served = Served.withAdmission();
                Peer peer = Peer.connect(served.port())) {
            peer.out.write(1);
            peer.put(new byte[] {5}).flush();
            Admission admission = Served.next(served.admissions);
            assertEquals(Protocol.CLIENT, admission.getInfo().protocol());
            assertTrue(served.clients.isEmpty());
            assertTrue(admission.admit());
            assertFalse(admission.admit());
            assertFalse(admission.refuse());
            assertEquals(1, peer.in.read());
            try (SocketClientCommunication client = served.nextClient()) {
                assertArrayEquals(new byte[] {5}, client.read());
            }
        }
    }

    @Test
    void whoIsRefusedGetsTheFarewellAndTheEnd() throws Exception {
        try (Served served = Served.withAdmission();
                Peer peer = Peer.connect(served.port())) {
            peer.out.write(1);
            peer.flush();
            assertTrue(Served.next(served.admissions).refuse("go away".getBytes()));
            assertEquals("go away", new String(peer.in.readAllBytes()));
            assertTrue(served.clients.isEmpty());
        }
    }

    @Test
    void aFarewellOfMoreThanOneMibIsRefusedAndDecidesNothing() throws Exception {
        try (Served served = Served.withAdmission();
                Peer peer = Peer.connect(served.port())) {
            peer.out.write(1);
            peer.flush();
            Admission admission = Served.next(served.admissions);
            byte[] tooLarge = new byte[(1 << 20) + 1];
            String told = assertThrows(IllegalArgumentException.class, () -> admission.refuse(tooLarge))
                    .getMessage();
            assertEquals("a farewell has at most 1 MiB, not 1048577 bytes", told);
            byte[] largest = new byte[1 << 20];
            largest[largest.length - 1] = 7;
            assertTrue(admission.refuse(largest));
            assertArrayEquals(largest, peer.in.readAllBytes());
        }
    }

    @Test
    void anAdmissionThatIsNotDecidedIsRefusedAtReadTimeout() throws Exception {
        // Its first byte has to come in time too: with more of it where this machine was too busy.
        String ended = "read_timeout";
        for (int millis = 300; ended.equals("read_timeout") && millis <= 300_000; millis *= 10) {
            ended = endWithoutADecision(millis);
        }
        assertEquals("admission_timeout", ended);
    }

    /** The reason for the end of a connection whose admission nobody decides. */
    private static String endWithoutADecision(int millis) throws Exception {
        try (Served served = Served.withAdmission("readTimeout", millis + "ms", "handshakeTimeout", "200ms");
                Peer peer = Peer.connect(served.port())) {
            peer.out.write(1);
            peer.flush();
            ServerSocketInterface2 port = served.listener.getServerSocket();
            Tasks.await("its end", () -> !port.getMetrics().closes().isEmpty());
            String reason = port.getMetrics().closes().keySet().iterator().next();
            if (reason.equals("admission_timeout")) {
                assertEquals(-1, peer.in.read());
                assertFalse(Served.next(served.admissions).admit());
            }
            return reason;
        }
    }

    @Test
    void whoHasNoMethodOfItsOwnIsClosedUnansweredAndCountedSo() throws Exception {
        class ByClass extends SocketClientConnectionListener {
            ByClass() throws IOException {
                super(Served.config());
            }

            @Override
            public void onClientConnect(SocketClientCommunication client) throws IOException {
                client.write(new byte[] {9});
            }
        }
        ConnectionHandler handler =
                new ConnectionHandler() {
                    @Override
                    public void onClientConnect(SocketClientCommunication client) throws IOException {
                        client.write(new byte[] {9});
                    }
                };
        for (var listener :
                List.of(new ByClass(), new SocketClientConnectionListener(Served.config(), handler))) {
            try (listener) {
                listener.start();
                for (int firstByte : new int[] {2, 3, 'G'}) {
                    try (Peer peer = Peer.connect(listener.getLocalPort())) {
                        peer.out.write(firstByte);
                        peer.flush();
                        assertEquals(-1, peer.in.read());
                    }
                }
                try (Peer peer = Peer.client(listener.getLocalPort())) {
                    assertArrayEquals(new byte[] {9}, peer.receive());
                }
                // A peer may see its end a moment before that is counted.
                Tasks.await(
                        "the count of the others",
                        () -> listener.getServerSocket().getMetrics().closes().getOrDefault("no_handler", 0L) == 3);
            }
        }
    }

    @Test
    void aStartThatCannotBeNamesTheListenerTheMistakeAndTheRemedy() throws Exception {
        try (var silent = new SocketClientConnectionListener(Served.config(), new ConnectionHandler() {})) {
            String told = assertThrows(IllegalStateException.class, silent::start).getMessage();
            assertTrue(told.startsWith("the listener of [Port] port 0 has no handler"), told);
            assertTrue(told.contains("override onClientConnect"), told);
        }
        ConnectionHandler handler =
                new ConnectionHandler() {
                    @Override
                    public void onClientConnect(SocketClientCommunication client) {}
                };
        var listener = new SocketClientConnectionListener(Served.config(), handler);
        try (listener) {
            listener.start();
            String told = assertThrows(IllegalStateException.class, listener::start).getMessage();
            assertEquals(
                    "the listener of [Port] port " + listener.getLocalPort() + " is started already; start it once",
                    told);
        }
        String told = assertThrows(IllegalStateException.class, listener::start).getMessage();
        assertTrue(told.endsWith(" was stopped and cannot start again; make a new one"), told);
    }

    @Test
    void aCallbackThatFailsEndsItsConnectionAlone() throws Exception {
        ConnectionHandler failing =
                new ConnectionHandler() {
                    @Override
                    public void onClientConnect(SocketClientCommunication client) {
                        throw new IllegalStateException("on purpose");
                    }

                    @Override
                    public void onUnknownConnect(ISocket socket, int firstByte) throws Exception {
                        socket.getOutputStream().write(firstByte);
                        socket.close();
                    }
                };
        try (var listener = new SocketClientConnectionListener(Served.config(), failing)) {
            listener.start();
            try (Peer peer = Peer.client(listener.getLocalPort());
                    Peer other = Peer.connect(listener.getLocalPort())) {
                assertEquals(-1, peer.in.read());
                other.out.write('x');
                other.flush();
                assertEquals("x", new String(other.in.readAllBytes()));
            }
        }
    }

    @Test
    void aFrameHandlerThatFailsEndsItsConnectionAlone() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port());
                Peer other = Peer.client(served.port())) {
            SocketClientCommunication first = served.nextClient();
            SocketClientCommunication second = served.nextClient();
            boolean swapped = first.getRemoteSocketAddress().getPort() != peer.socket.getLocalPort();
            (swapped ? second : first)
                    .onFrame(
                            frame -> {
                                throw new OutOfMemoryError("on purpose");
                            });
            (swapped ? first : second).onFrame((swapped ? first : second)::write);
            peer.send(new byte[1]);
            assertThrows(SocketException.class, () -> assertEquals(-2, peer.in.read()));
            other.send(new byte[] {4});
            assertArrayEquals(new byte[] {4}, other.receive());
        }
    }

    @Test
    void aFrameIsNotValidOutsideItsHandler() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            CompletableFuture<FrameView> kept = new CompletableFuture<>();
            client.onFrame(kept::complete);
            peer.send(new byte[10]);
            FrameView frame = kept.get(Served.SECONDS, TimeUnit.SECONDS);
            assertThrows(IllegalStateException.class, frame::length);
            assertThrows(IllegalStateException.class, frame::toByteArray);
            assertThrows(IllegalStateException.class, () -> client.write(frame));
            assertThrows(IllegalStateException.class, client::read);
        }
    }

    @Test
    void aSubclassTakesConnectionsToo() throws Exception {
        CompletableFuture<String> came = new CompletableFuture<>();
        class Mine extends SocketClientConnectionListener {
            Mine() throws java.io.IOException {
                super(Served.config());
            }

            @Override
            public void onClientConnect(SocketClientCommunication client) {
                came.complete(Thread.currentThread().getName());
                client.close();
            }
        }
        try (Mine listener = new Mine()) {
            listener.start();
            try (Peer peer = Peer.client(listener.getLocalPort())) {
                String thread = came.get(Served.SECONDS, TimeUnit.SECONDS);
                assertTrue(thread.startsWith("np-callback-"), thread);
                assertEquals(-1, peer.in.read());
            }
        }
    }

    @Test
    void whileAcceptingPausesNewcomersWait() throws Exception {
        try (Served served = Served.plain()) {
            ServerSocketInterface2 socket = served.listener.getServerSocket();
            socket.pauseAccepting();
            try (Peer waiting = Peer.connect(served.port())) {
                waiting.out.write(1);
                waiting.flush();
                socket.resumeAccepting();
                assertEquals(1, waiting.in.read());
            }
        }
    }

    @Test
    void theListeningEndSaysWhatItIs() throws Exception {
        try (Served served = Served.tls("accepterThreads", "2", "mapToPort", "443")) {
            ServerSocketInterface2 socket = served.listener.getServerSocket();
            int port = socket.getLocalPort();
            assertTrue(socket.isBound());
            assertFalse(socket.isClosed());
            assertEquals(443, socket.getMappedPort());
            assertEquals(ServerSocketInterface2.TlsMode.TLS, socket.getTlsMode());
            assertEquals(
                    List.of("np-acc-" + port + "-0", "np-acc-" + port + "-1"),
                    socket.getAccepterThreadNames());
            assertEquals(
                    List.of(new InetSocketAddress(InetAddress.getLoopbackAddress(), port)),
                    socket.getLocalSocketAddresses());
        }
    }
}
