package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assumptions.assumeFalse;

import java.io.IOException;
import java.io.InputStream;
import java.net.Socket;
import java.net.SocketTimeoutException;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.locks.LockSupport;
import javax.net.ssl.SSLHandshakeException;
import javax.net.ssl.SSLSocket;
import org.junit.jupiter.api.Test;
import org.nativeport.Tasks.Task;

/** What SocketAdapter promises over TLS of the JDK, where it does the handshake itself. */
abstract class JdkTlsContract extends ISocketContract {
    private static final byte[] HANDSHAKE_RECORD_HEADER = {22, 3, 1, 0x40, 0};

    final String version;

    JdkTlsContract(String version) {
        this.version = version;
    }

    /** A connection with what the connector makes as the peer, whose handshake is not done. */
    abstract Connection accept(JdkConnections.Connector connector) throws Exception;

    /** The peer is an SSLSocket, and does its part when its startHandshake is called. */
    Connection connectWithoutHandshake() throws Exception {
        return accept(address -> JdkConnections.client(version, address));
    }

    /** The same with a peer that speaks no TLS. */
    private Connection connectToNoTls() throws Exception {
        return accept(address -> new Socket(address.getAddress(), address.getPort()));
    }

    /** The same through a gate, which lets through what the peer sends as the test says. */
    private Connection connectThrough(Gate gate) throws Exception {
        return accept(address -> JdkConnections.client(version, gate.before(address)));
    }

    @Override
    Connection connect() throws Exception {
        Connection connection = connectWithoutHandshake();
        JdkConnections.handshake(connection.socket(), (SSLSocket) connection.peer());
        return connection;
    }

    /** Replaces the connection of this test. */
    SSLSocket use(Connection connection) {
        socket = closedAfterwards(connection.socket());
        peer = closedAfterwards(connection.peer());
        return peer instanceof SSLSocket tls ? tls : null;
    }

    // -------------------------------------------------------- who does the handshake

    @Test
    void the_facts_are_empty_until_the_handshake_is_done() throws Exception {
        SSLSocket client = use(connectWithoutHandshake());
        assertEquals(Optional.empty(), socket.getProtocol());
        assertEquals(Optional.empty(), socket.getCipherSuite());
        JdkConnections.handshake(socket, client);
        assertEquals(Optional.of(version), socket.getProtocol());
    }

    @Test
    void all_concurrent_callers_have_the_one_handshake() throws Exception {
        SSLSocket client = use(connectWithoutHandshake());
        List<Task<Void>> callers = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            callers.add(Tasks.start(() -> socket.doSynchronousSSLHandshake(0)).awaitParked());
        }
        client.startHandshake();
        for (Task<Void> caller : callers) {
            caller.get();
        }
        assertEquals(Optional.of(version), socket.getProtocol());
        peerSends("x");
        assertEquals("x", read(socket.getInputStream(), 1));
    }

    // ------------------------------------------------------------- time limit

    @Test
    void a_handshake_that_times_out_goes_on_with_the_next_call() throws Exception {
        SSLSocket client = use(connectWithoutHandshake());
        assertThrows(SocketTimeoutException.class, () -> socket.doSynchronousSSLHandshake(1));
        assertFalse(socket.isClosed());
        JdkConnections.handshake(socket, client);
        peerSends("x");
        assertEquals("x", read(socket.getInputStream(), 1));
    }

    @Test
    void a_caller_behind_another_has_its_own_time_limit() throws Exception {
        SSLSocket client = use(connectWithoutHandshake());
        Task<Void> patient = Tasks.start(() -> socket.doSynchronousSSLHandshake(0)).awaitParked();
        assertThrows(SocketTimeoutException.class, () -> socket.doSynchronousSSLHandshake(1));
        client.startHandshake();
        patient.get();
    }

    @Test
    void a_handshake_that_times_out_within_a_record_goes_on_with_its_rest() throws Exception {
        try (Gate gate = new Gate()) {
            SSLSocket client = use(connectThrough(gate));
            Task<Void> handshake = Tasks.start(client::startHandshake);
            gate.let(10);
            gate.awaitForwarded(10);
            assertThrows(SocketTimeoutException.class, () -> socket.doSynchronousSSLHandshake(5));
            gate.open();
            socket.doSynchronousSSLHandshake(0);
            handshake.get();
        }
    }

    @Test
    void a_read_that_times_out_within_a_record_goes_on_with_its_rest() throws Exception {
        try (Gate gate = new Gate()) {
            SSLSocket client = use(connectThrough(gate));
            gate.open();
            JdkConnections.handshake(socket, client);
            InputStream in = socket.getInputStream();
            peerSends("a");
            assertEquals("a", read(in, 1));
            long before = gate.shut();
            socket.setSoTimeout(5);
            for (int count : new int[] {3, 4, 5}) { // within the header, within the payload, twice
                gate.let(count);
                if (count == 3) {
                    peerSends("bcdefg");
                }
                before += count;
                gate.awaitForwarded(before);
                assertThrows(SocketTimeoutException.class, in::read);
            }
            gate.open();
            socket.setSoTimeout(0);
            assertEquals("bcdefg", read(in, 6));
        }
    }

    @Test
    void the_time_limit_holds_for_a_peer_that_sends_byte_by_byte() throws Exception {
        use(connectToNoTls());
        peer.getOutputStream().write(HANDSHAKE_RECORD_HEADER);
        Task<Void> dripping = Tasks.start(() -> {
            while (!socket.isClosed()) {
                peer.getOutputStream().write(0);
                LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(5)); // the pace of this peer
            }
        });
        assertThrows(SocketTimeoutException.class, () -> socket.doSynchronousSSLHandshake(50));
        socket.close();
        dripping.get();
    }

    // ---------------------------------------------------------------- failure

    private void assertHandshakeFailsForGood() throws Exception {
        InputStream in = socket.getInputStream();
        assertThrows(SSLHandshakeException.class, () -> socket.doSynchronousSSLHandshake(0));
        assertThrows(SSLHandshakeException.class, () -> socket.doSynchronousSSLHandshake(1));
        assertThrows(SSLHandshakeException.class, in::read);
        assertThrows(SSLHandshakeException.class, () -> socket.getOutputStream().write(1));
        assertEquals(Optional.empty(), socket.getProtocol());
        assertFalse(socket.isClosed());
        socket.close();
        assertClosed(in::read);
    }

    @Test
    void a_peer_that_speaks_no_tls_fails_the_handshake() throws Exception {
        use(connectToNoTls());
        peerSends("GET / HTTP/1.1\r\n\r\n");
        assertHandshakeFailsForGood();
    }

    @Test
    void a_peer_that_ends_within_the_handshake_fails_it() throws Exception {
        use(connectToNoTls());
        peer.getOutputStream().write(HANDSHAKE_RECORD_HEADER);
        peer.shutdownOutput();
        assertHandshakeFailsForGood();
    }

    @Test
    void a_peer_that_closes_at_once_fails_the_handshake() throws Exception {
        use(connectToNoTls());
        peer.shutdownOutput();
        assertHandshakeFailsForGood();
    }

    @Test
    void a_peer_that_says_close_notify_fails_the_handshake() throws Exception {
        use(connectToNoTls());
        peer.getOutputStream().write(new byte[] {21, 3, 3, 0, 2, 1, 0});
        assertHandshakeFailsForGood();
    }

    @Test
    void a_peer_with_no_version_in_common_fails_the_handshake() throws Exception {
        SSLSocket client = use(connectWithoutHandshake());
        client.setEnabledProtocols(new String[] {version.equals("TLSv1.3") ? "TLSv1.2" : "TLSv1.3"});
        Task<Void> handshake = Tasks.start(client::startHandshake);
        assertHandshakeFailsForGood();
        assertThrows(IOException.class, handshake::get);
    }

    /** The peer's TCP output ends, without a close_notify before it. */
    private void peerEndsWithoutCloseNotify() throws Exception {
        List<Socket> below = new ArrayList<>();
        SSLSocket client = use(accept(address -> {
            below.add(new Socket(address.getAddress(), address.getPort()));
            return JdkConnections.client(version, below.get(0));
        }));
        JdkConnections.handshake(socket, client);
        peerSends("abc");
        below.get(0).shutdownOutput();
    }

    @Test
    void a_peer_that_ends_without_close_notify_after_the_handshake_reads_as_the_end() throws Exception {
        peerEndsWithoutCloseNotify();
        InputStream in = socket.getInputStream();
        assertEquals("abc", read(in, 3));
        assertEquals(-1, in.read());
        assertEquals(-1, in.read());
        assertFalse(socket.isClosed());
    }

    @Test
    void a_peer_that_ends_without_close_notify_reads_on_unless_tls_1_2_forbids_it() throws Exception {
        assumeFalse(version.equals("TLSv1.2"));
        peerEndsWithoutCloseNotify();
        assertEquals(3, socket.getInputStream().readAllBytes().length);
        socket.getOutputStream().write('x');
        assertEquals('x', peer.getInputStream().read());
    }

    // ------------------------------------------------------------------ close

    @Test
    void closing_ends_a_handshake_that_waits_and_all_who_wait_for_it() throws Exception {
        use(connectWithoutHandshake());
        List<Task<?>> waiting = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            waiting.add(Tasks.start(() -> socket.doSynchronousSSLHandshake(0)).awaitParked());
            waiting.add(Tasks.start(() -> socket.doSynchronousSSLHandshake(3_600_000)).awaitParked());
        }
        socket.close();
        for (Task<?> task : waiting) {
            assertClosed(task::get);
        }
    }

    @Test
    void closing_without_a_handshake_ends_the_peers() throws Exception {
        SSLSocket client = use(connectWithoutHandshake());
        socket.close();
        assertThrows(IOException.class, client::startHandshake);
    }
}
