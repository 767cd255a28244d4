package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.SocketTimeoutException;
import java.util.Optional;
import javax.net.ssl.SSLSocket;
import org.junit.jupiter.api.Test;
import org.nativeport.JdkConnections.Connector;
import org.nativeport.JdkConnections.Ends;
import org.nativeport.Tasks.Task;

/** SocketAdapter over an SSLSocket, as SSLServerSocket.accept returns it. */
abstract class JdkTlsSocketContract extends JdkTlsContract {
    JdkTlsSocketContract(String version) {
        super(version);
    }

    @Override
    Connection accept(Connector connector) throws Exception {
        Ends<SSLSocket> ends = JdkConnections.tls(version, connector);
        return new Connection(new SocketAdapter(ends.server()), ends.client());
    }

    @Test
    void the_first_read_does_the_handshake_within_its_time_limit() throws Exception {
        SSLSocket client = use(connectWithoutHandshake());
        assertTrue(socket.isSecure());
        socket.setSoTimeout(1);
        assertThrows(SocketTimeoutException.class, () -> socket.getInputStream().read());
        socket.setSoTimeout(0);
        Task<Integer> reader = Tasks.start(() -> socket.getInputStream().read()).awaitParked();
        client.startHandshake();
        peerSends("x");
        assertEquals('x', reader.get());
        assertEquals(Optional.of(version), socket.getProtocol());
    }

    @Test
    void the_first_write_does_the_handshake() throws Exception {
        SSLSocket client = use(connectWithoutHandshake());
        Task<Void> writer = Tasks.start(() -> socket.getOutputStream().write('x'));
        assertEquals('x', client.getInputStream().read());
        writer.get();
    }

    @Test
    void shutdownOutput_does_the_handshake() throws Exception {
        SSLSocket client = use(connectWithoutHandshake());
        Task<Void> half = Tasks.start(socket::shutdownOutput);
        assertEquals(-1, client.getInputStream().read());
        half.get();
        assertEquals(Optional.of(version), socket.getProtocol());
    }

    @Test
    void a_handshake_that_was_done_before_is_not_done_again() throws Exception {
        Ends<SSLSocket> ends = JdkConnections.tls(version, address -> JdkConnections.client(version, address));
        SSLSocket client = (SSLSocket) closedAfterwards(ends.client());
        Task<Void> handshake = Tasks.start(ends.server()::startHandshake);
        client.startHandshake();
        handshake.get();
        socket = closedAfterwards(new SocketAdapter(ends.server()));
        assertEquals(Optional.of(version), socket.getProtocol());
        socket.doSynchronousSSLHandshake(1);
        assertFalse(socket.isClosed());
        socket.getOutputStream().write('x');
        assertEquals('x', client.getInputStream().read());
    }

    @Test
    void a_time_limit_that_the_socket_had_stays() throws Exception {
        Ends<SSLSocket> ends = JdkConnections.tls(version, address -> JdkConnections.client(version, address));
        ends.server().setSoTimeout(4321);
        SSLSocket client = (SSLSocket) closedAfterwards(ends.client());
        socket = closedAfterwards(new SocketAdapter(ends.server()));
        JdkConnections.handshake(socket, client);
        assertEquals(4321, socket.getSoTimeout());
        assertEquals(4321, ends.server().getSoTimeout());
    }
}
