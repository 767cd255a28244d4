package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.FilterOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketTimeoutException;
import java.util.Optional;
import java.util.concurrent.CountDownLatch;
import javax.net.ssl.SSLSocket;
import org.junit.jupiter.api.Test;
import org.nativeport.JdkConnections.Connector;
import org.nativeport.JdkConnections.Ends;
import org.nativeport.Tasks.Task;

/** SocketAdapter over a plain socket that the handshake makes TLS. */
abstract class JdkLateTlsContract extends JdkTlsContract {
    JdkLateTlsContract(String version) {
        super(version);
    }

    @Override
    Connection accept(Connector connector) throws Exception {
        Ends<Socket> ends = JdkConnections.plain(connector);
        return new Connection(adapter(ends.server()), ends.client());
    }

    private SocketAdapter adapter(Socket server) throws Exception {
        return new SocketAdapter(server, Certificates.server(), JdkConnections.serverParameters(version));
    }

    /** Plain at both ends; {@link #startTls} changes that. */
    private Socket usePlain() throws Exception {
        use(accept(address -> new Socket(address.getAddress(), address.getPort())));
        return peer;
    }

    private void startTls(Socket plain) throws Exception {
        peer = closedAfterwards(JdkConnections.client(version, plain));
        JdkConnections.handshake(socket, (SSLSocket) peer);
    }

    @Test
    void it_is_plain_until_the_handshake_and_tls_from_then_on() throws Exception {
        Socket plain = usePlain();
        InputStream in = socket.getInputStream();
        assertFalse(socket.isSecure());
        peerSends("STARTTLS\n");
        assertEquals("STARTTLS\n", read(in, 9));
        socket.getOutputStream().write('+');
        assertEquals('+', plain.getInputStream().read());
        startTls(plain);
        assertTrue(socket.isSecure());
        assertEquals(Optional.of(version), socket.getProtocol());
        peerSends("secret");
        assertEquals("secret", read(in, 6));
        socket.getOutputStream().write('!');
        assertEquals('!', peer.getInputStream().read());
    }

    @Test
    void bytes_that_are_peeked_at_and_given_back_belong_to_the_handshake() throws Exception {
        SSLSocket client = use(connectWithoutHandshake());
        Task<Void> handshake = Tasks.start(client::startHandshake);
        InputStream in = socket.getInputStream();
        in.mark(1);
        assertEquals(22, in.read()); // a TLS record of a handshake
        in.reset();
        socket.doSynchronousSSLHandshake(0);
        handshake.get();
        peerSends("x");
        assertEquals("x", read(in, 1));
    }

    @Test
    void a_mark_set_before_the_handshake_is_reset_to_after_it() throws Exception {
        Socket plain = usePlain();
        InputStream in = socket.getInputStream();
        peerSends("-plain");
        assertEquals("-", read(in, 1));
        in.mark(100);
        assertEquals("plain", read(in, 5));
        startTls(plain);
        peerSends("secret");
        assertEquals("sec", read(in, 3));
        in.reset();
        assertEquals("plainsecret", read(in, 11));
    }

    @Test
    void the_handshake_waits_for_a_read_that_is_under_way_but_not_beyond_its_time_limit() throws Exception {
        Socket plain = usePlain();
        Task<Integer> reader = Tasks.start(() -> socket.getInputStream().read()).awaitParked();
        assertThrows(SocketTimeoutException.class, () -> socket.doSynchronousSSLHandshake(1));
        Task<Void> patient = Tasks.start(() -> socket.doSynchronousSSLHandshake(0)).awaitParked();
        peerSends("x");
        assertEquals('x', reader.get());
        SSLSocket client = closedAfterwards(JdkConnections.client(version, plain));
        client.startHandshake();
        patient.get();
        assertTrue(socket.isSecure());
    }

    @Test
    void closing_ends_a_handshake_that_waits_for_a_read() throws Exception {
        usePlain();
        Task<Integer> reader = Tasks.start(() -> socket.getInputStream().read()).awaitParked();
        Task<Void> handshake = Tasks.start(() -> socket.doSynchronousSSLHandshake(0)).awaitParked();
        socket.close();
        assertClosed(reader::get);
        assertClosed(handshake::get);
    }

    @Test
    void the_default_parameters_of_the_context_do_as_well() throws Exception {
        Ends<Socket> ends = JdkConnections.plain(
                address -> JdkConnections.client(version, address));
        socket = closedAfterwards(new SocketAdapter(ends.server(), Certificates.server()));
        SSLSocket client = (SSLSocket) closedAfterwards(ends.client());
        JdkConnections.handshake(socket, client);
        assertEquals(Optional.of(version), socket.getProtocol());
        assertEquals(Optional.empty(), socket.getApplicationProtocol());
    }

    @Test
    void a_socket_that_is_tls_already_is_refused() throws Exception {
        Ends<SSLSocket> ends = JdkConnections.tls(version, address -> JdkConnections.client(version, address));
        closedAfterwards(ends.client());
        SSLSocket server = closedAfterwards(ends.server());
        assertThrows(IllegalArgumentException.class, () -> new SocketAdapter(server, Certificates.server()));
    }

    @Test
    void closing_ends_although_there_is_no_room_for_the_close_notify() throws Exception {
        Ends<Socket> ends = JdkConnections.plain(CloggedSocket::new);
        CloggedSocket clogged = (CloggedSocket) closedAfterwards(ends.client());
        socket = closedAfterwards(adapter(clogged));
        JdkConnections.handshake(socket, closedAfterwards(JdkConnections.client(version, ends.server())));
        clogged.clog();
        socket.close();
        clogged.closed.await();
    }

    /** A socket whose writes find no room, from a moment on, until it is closed. */
    private static final class CloggedSocket extends Socket {
        private final CountDownLatch closed = new CountDownLatch(1);
        private volatile boolean clogged;

        CloggedSocket(InetSocketAddress address) throws IOException {
            super(address.getAddress(), address.getPort());
        }

        void clog() {
            clogged = true;
        }

        @Override
        public OutputStream getOutputStream() throws IOException {
            return new FilterOutputStream(super.getOutputStream()) {
                @Override
                public void write(byte[] bytes, int offset, int length) throws IOException {
                    if (clogged) {
                        try {
                            closed.await();
                        } catch (InterruptedException e) {
                            Thread.currentThread().interrupt();
                        }
                        throw new SocketException("Socket closed");
                    }
                    out.write(bytes, offset, length);
                }
            };
        }

        @Override
        public void close() throws IOException {
            closed.countDown();
            super.close();
        }
    }
}
