package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertSame;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeFalse;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.Closeable;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.net.Socket;
import java.net.SocketException;
import java.net.SocketOption;
import java.net.SocketTimeoutException;
import java.net.StandardSocketOptions;
import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Deque;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.Random;
import java.util.Set;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLSession;
import javax.net.ssl.SSLSocket;
import javax.net.ssl.SSLSocketFactory;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.Timeout.ThreadMode;
import org.nativeport.Tasks.Task;

/**
 * What {@link ISocket} promises, for every implementation of it: a subclass says how a connection is made.
 * What an implementation promises beyond this is tested in that subclass.
 */
@Timeout(value = 900, unit = TimeUnit.SECONDS, threadMode = ThreadMode.SEPARATE_THREAD) // also what waits for a socket ends
abstract class ISocketContract {
    /** More than any send and receive buffer holds together. */
    static final int MORE_THAN_BUFFERS = 64 << 20;

    /**
     * A connection: the end under test and its peer, a client of the JDK. It is an {@link SSLSocket} if the
     * connection is TLS; then the handshake is done, and what the peer knows of it is what the
     * end under test has to say.
     */
    record Connection(ISocket socket, Socket peer) {}

    private final Deque<Closeable> opened = new ArrayDeque<>();

    ISocket socket;
    Socket peer;

    /** Makes a connection on which no byte of an application lies. */
    abstract Connection connect() throws Exception;

    @BeforeEach
    void open() throws Exception {
        Connection connection = connect();
        socket = closedAfterwards(connection.socket());
        peer = closedAfterwards(connection.peer());
    }

    @AfterEach
    void closeAll() throws IOException {
        while (!opened.isEmpty()) {
            opened.pop().close();
        }
    }

    <T extends Closeable> T closedAfterwards(T closeable) {
        opened.push(closeable);
        return closeable;
    }

    boolean isTls() {
        return peer instanceof SSLSocket;
    }

    void peerSends(String text) throws IOException {
        peer.getOutputStream().write(text.getBytes());
        peer.getOutputStream().flush();
    }

    /** Exactly so many bytes, as text. */
    static String read(InputStream in, int count) throws IOException {
        byte[] bytes = new byte[count];
        new DataInputStream(in).readFully(bytes);
        return new String(bytes);
    }

    static byte[] random(int count) {
        byte[] bytes = new byte[count];
        new Random(count).nextBytes(bytes);
        return bytes;
    }

    static void assertClosed(Tasks.Action action) {
        assertEquals("Socket closed", assertThrows(SocketException.class, action::run).getMessage());
    }

    static void assertIsClosed(Tasks.Action action) {
        assertEquals("Socket is closed", assertThrows(SocketException.class, action::run).getMessage());
    }

    // ---------------------------------------------------------------- streams

    @Test
    void bytes_arrive_in_order_both_ways_at_once() throws Exception {
        byte[] bytes = random(3_000_000);
        Task<byte[]> echo = Tasks.start(() -> {
            byte[] received = peer.getInputStream().readNBytes(bytes.length);
            return received;
        });
        Task<Void> sender = Tasks.start(() -> peer.getOutputStream().write(bytes));
        Task<Void> writer = Tasks.start(() -> socket.getOutputStream().write(bytes));
        assertArrayEquals(bytes, socket.getInputStream().readNBytes(bytes.length));
        assertArrayEquals(bytes, echo.get());
        sender.get();
        writer.get();
    }

    @Test
    void single_bytes_are_read_and_written_as_0_to_255() throws Exception {
        for (int b : new int[] {0, 127, 128, 255}) {
            socket.getOutputStream().write(b);
            assertEquals(b, peer.getInputStream().read());
            peer.getOutputStream().write(b);
            assertEquals(b, socket.getInputStream().read());
        }
    }

    @Test
    void a_read_of_no_bytes_returns_0() throws Exception {
        assertEquals(0, socket.getInputStream().read(new byte[4], 2, 0));
    }

    @Test
    void a_write_of_no_bytes_sends_nothing() throws Exception {
        socket.getOutputStream().write(new byte[4], 2, 0);
        socket.getOutputStream().write('x');
        assertEquals("x", read(peer.getInputStream(), 1));
    }

    @Test
    void ranges_outside_the_array_are_refused() throws Exception {
        assertThrows(IndexOutOfBoundsException.class, () -> socket.getInputStream().read(new byte[4], 2, 3));
        assertThrows(IndexOutOfBoundsException.class, () -> socket.getOutputStream().write(new byte[4], -1, 2));
    }

    @Test
    void a_read_takes_what_is_there_and_does_not_wait_for_more() throws Exception {
        peerSends("abc");
        byte[] bytes = new byte[10];
        int count = socket.getInputStream().read(bytes, 4, 6);
        assertTrue(count >= 1 && count <= 3);
        assertEquals("abc".substring(0, count), new String(bytes, 4, count));
    }

    @Test
    void the_end_of_the_peers_output_reads_as_minus_1_each_time() throws Exception {
        peerSends("ab");
        peer.shutdownOutput();
        InputStream in = socket.getInputStream();
        assertEquals("ab", read(in, 2));
        assertEquals(-1, in.read());
        assertEquals(-1, in.read(new byte[9]));
        assertEquals(0, in.available());
    }

    @Test
    void the_streams_are_the_same_at_each_call() throws Exception {
        assertSame(socket.getInputStream(), socket.getInputStream());
        assertSame(socket.getOutputStream(), socket.getOutputStream());
    }

    @Test
    void writes_of_several_threads_are_not_mixed() throws Exception {
        int size = 100_000;
        List<Task<Void>> writers = new ArrayList<>();
        for (byte writer = 0; writer < 4; writer++) {
            byte[] bytes = new byte[size];
            Arrays.fill(bytes, writer);
            writers.add(Tasks.start(() -> {
                for (int i = 0; i < 5; i++) {
                    socket.getOutputStream().write(bytes, 0, size);
                }
            }));
        }
        for (int i = 0; i < 20; i++) {
            byte[] bytes = peer.getInputStream().readNBytes(size);
            byte[] expected = new byte[size];
            Arrays.fill(expected, bytes[0]);
            assertArrayEquals(expected, bytes);
        }
        for (Task<Void> writer : writers) {
            writer.get();
        }
    }

    @Test
    void each_byte_goes_to_one_of_several_readers() throws Exception {
        Task<Integer> one = Tasks.start(() -> socket.getInputStream().read()).awaitParked();
        Task<Integer> other = Tasks.start(() -> socket.getInputStream().read()).awaitParked();
        peerSends("ab");
        assertEquals('a' + 'b', one.get() + other.get());
    }

    @Test
    void available_is_never_more_than_what_a_read_gives() throws Exception {
        InputStream in = socket.getInputStream();
        peerSends("abc");
        assertEquals('a', in.read());
        int available = in.available();
        assertTrue(available <= 2, () -> "available: " + available);
        socket.setSoTimeout(1);
        assertEquals("bc".substring(0, available), read(in, available));
    }

    @Test
    void available_does_not_wait_for_a_reader() throws Exception {
        InputStream in = socket.getInputStream();
        Task<Integer> reading = Tasks.start(() -> in.read()).awaitParked();
        assertEquals(0, in.available());
        peerSends("a");
        assertEquals('a', reading.get());
    }

    // --------------------------------------------------------- mark and reset

    @Test
    void reset_gives_the_bytes_since_mark_again() throws Exception {
        InputStream in = socket.getInputStream();
        assertTrue(in.markSupported());
        peerSends("abcdef");
        assertEquals("a", read(in, 1));
        in.mark(10);
        assertEquals("bcd", read(in, 3));
        in.reset();
        assertEquals("bc", read(in, 2));
        in.reset();
        assertEquals("bcdef", read(in, 5));
    }

    @Test
    void reset_without_mark_fails_and_loses_nothing() throws Exception {
        InputStream in = socket.getInputStream();
        peerSends("ab");
        assertEquals("a", read(in, 1));
        assertThrows(IOException.class, in::reset);
        assertEquals("b", read(in, 1));
    }

    @Test
    void mark_holds_when_exactly_its_limit_was_read_and_the_stream_ends() throws Exception {
        InputStream in = socket.getInputStream();
        peerSends("abc");
        peer.shutdownOutput();
        in.mark(3);
        assertEquals("abc", read(in, 3));
        assertEquals(-1, in.read());
        in.reset();
        assertEquals("abc", read(in, 3));
        assertEquals(-1, in.read());
    }

    @Test
    void mark_holds_when_a_read_times_out() throws Exception {
        InputStream in = socket.getInputStream();
        peerSends("abc");
        in.mark(3);
        assertEquals("abc", read(in, 3));
        socket.setSoTimeout(1);
        assertThrows(SocketTimeoutException.class, in::read);
        in.reset();
        assertEquals("abc", read(in, 3));
    }

    @Test
    void mark_holds_for_more_bytes_than_any_buffer_has() throws Exception {
        byte[] bytes = random(300_000);
        Task<Void> sender = Tasks.start(() -> {
            peer.getOutputStream().write(bytes);
            peer.shutdownOutput();
        });
        InputStream in = socket.getInputStream();
        assertEquals(bytes[0], (byte) in.read());
        in.mark(bytes.length);
        assertArrayEquals(Arrays.copyOfRange(bytes, 1, 200_001), in.readNBytes(200_000));
        in.reset();
        assertArrayEquals(Arrays.copyOfRange(bytes, 1, bytes.length), in.readAllBytes());
        sender.get();
    }

    @Test
    void a_mark_can_be_given_up_by_reading_on() throws Exception {
        byte[] bytes = random(300_000);
        Task<Void> sender = Tasks.start(() -> {
            peer.getOutputStream().write(bytes);
            peer.shutdownOutput();
        });
        InputStream in = socket.getInputStream();
        in.mark(1);
        assertArrayEquals(bytes, in.readAllBytes());
        sender.get();
    }

    @Test
    void mark_and_reset_cross_a_handshake() throws Exception {
        InputStream in = socket.getInputStream();
        peerSends("abcd");
        in.mark(4);
        assertEquals("ab", read(in, 2));
        socket.doSynchronousSSLHandshake(0);
        in.reset();
        assertEquals("abcd", read(in, 4));
    }

    // -------------------------------------------------------------- addresses

    @Test
    void the_addresses_are_those_of_the_connection_and_stay_after_close() throws Exception {
        InetSocketAddress remote = (InetSocketAddress) peer.getLocalSocketAddress();
        InetSocketAddress local = (InetSocketAddress) peer.getRemoteSocketAddress();
        for (int i = 0; i < 2; i++) {
            assertEquals(remote, socket.getRemoteSocketAddress());
            assertEquals(remote.getAddress(), socket.getInetAddress());
            assertEquals(remote.getPort(), socket.getPort());
            assertEquals(local, socket.getLocalSocketAddress());
            assertEquals(local.getAddress(), socket.getLocalAddress());
            assertEquals(local.getPort(), socket.getLocalPort());
            socket.close();
        }
    }

    // ------------------------------------------------------------- life cycle

    @Test
    void a_new_socket_is_connected_and_open() {
        assertTrue(socket.isConnected());
        assertFalse(socket.isClosed());
        assertFalse(socket.isInputShutdown());
        assertFalse(socket.isOutputShutdown());
    }

    @Test
    void closing_sends_what_was_written_and_ends_the_peers_input() throws Exception {
        byte[] bytes = random(100_000);
        Task<byte[]> received = Tasks.start(() -> peer.getInputStream().readAllBytes());
        socket.getOutputStream().write(bytes);
        socket.close();
        assertArrayEquals(bytes, received.get());
    }

    @Test
    void closing_twice_is_closing_once() throws Exception {
        socket.close();
        socket.close();
        assertTrue(socket.isClosed());
        assertTrue(socket.isConnected());
    }

    @Test
    void closing_either_stream_closes_the_socket() throws Exception {
        socket.getInputStream().close();
        assertTrue(socket.isClosed());
        Connection another = connect();
        closedAfterwards(another.peer());
        another.socket().getOutputStream().close();
        assertTrue(another.socket().isClosed());
    }

    @Test
    void streams_that_were_had_before_closing_say_so_afterwards() throws Exception {
        InputStream in = socket.getInputStream();
        OutputStream out = socket.getOutputStream();
        peerSends("abc");
        in.mark(3);
        assertEquals("a", read(in, 1));
        socket.close();
        assertClosed(in::read);
        assertClosed(() -> in.read(new byte[1]));
        assertClosed(in::available);
        assertClosed(in::reset);
        assertClosed(() -> out.write(1));
        assertClosed(() -> out.write(new byte[3]));
        in.mark(1);
        in.close();
        out.close();
    }

    @Test
    void methods_of_a_closed_socket_say_so() throws Exception {
        socket.close();
        assertIsClosed(socket::getInputStream);
        assertIsClosed(socket::getOutputStream);
        assertIsClosed(socket::shutdownInput);
        assertIsClosed(socket::shutdownOutput);
        assertIsClosed(() -> socket.setSoTimeout(1));
        assertIsClosed(socket::getSoTimeout);
        assertIsClosed(() -> socket.setTcpNoDelay(true));
        assertIsClosed(socket::getTcpNoDelay);
        assertIsClosed(() -> socket.setKeepAlive(true));
        assertIsClosed(socket::getKeepAlive);
        assertIsClosed(() -> socket.setSoLinger(true, 1));
        assertIsClosed(socket::getSoLinger);
        assertIsClosed(() -> socket.setSendBufferSize(10_000));
        assertIsClosed(socket::getSendBufferSize);
        assertIsClosed(() -> socket.setReceiveBufferSize(10_000));
        assertIsClosed(socket::getReceiveBufferSize);
        assertIsClosed(() -> socket.setTrafficClass(0));
        assertIsClosed(socket::getTrafficClass);
    }

    @Test
    void a_peer_that_closes_does_not_close_this_end() throws Exception {
        peer.close();
        assertEquals(-1, socket.getInputStream().read());
        assertFalse(socket.isClosed());
        assertFalse(socket.isInputShutdown());
        socket.setSoTimeout(5);
        assertEquals(5, socket.getSoTimeout());
    }

    @Test
    void a_peer_that_resets_is_a_socket_exception() throws Exception {
        socket.getOutputStream().write(random(100_000)); // unread bytes at the peer
        resetPeer();
        SocketException e = assertThrows(SocketException.class, () -> {
            for (;;) {
                socket.getOutputStream().write(random(1_000));
            }
        });
        assertNotEquals("Socket closed", e.getMessage());
        assertFalse(socket.isClosed());
    }

    @Test
    void a_peer_that_resets_ends_a_parked_write() throws Exception {
        Task<Void> writer = Tasks.start(() -> socket.getOutputStream().write(new byte[MORE_THAN_BUFFERS]))
                .awaitParked();
        resetPeer();
        SocketException e = assertThrows(SocketException.class, writer::get);
        assertNotEquals("Socket closed", e.getMessage());
        assertFalse(socket.isClosed());
    }

    @Test
    void reads_after_a_reset_are_a_socket_exception_each_time() throws Exception {
        InputStream in = socket.getInputStream();
        Task<Integer> reader = Tasks.start(() -> in.read()).awaitParked();
        resetPeer();
        List<Integer> causes = new ArrayList<>();
        for (Tasks.Action read : List.<Tasks.Action>of(reader::get, in::read, () -> in.read(new byte[20_000]), in::read)) {
            SocketException failure = assertThrows(SocketException.class, read::run);
            assertNotEquals("Socket closed", failure.getMessage());
            causes.add((int) Stream.iterate(failure, Objects::nonNull, Throwable::getCause).count());
        }
        assertEquals(causes.get(1), causes.get(3), causes::toString);
        assertFalse(socket.isClosed());
        assertEquals(0, socket.getSoTimeout());
    }

    /** Ends the peer by a reset, without a close_notify. */
    private void resetPeer() throws IOException {
        Socket wire = Wires.below(peer);
        wire.setSoLinger(true, 0);
        wire.close();
    }

    @Test
    void closing_ends_a_parked_read() throws Exception {
        Task<Integer> reader = Tasks.start(() -> socket.getInputStream().read()).awaitParked();
        socket.close();
        assertClosed(reader::get);
    }

    @Test
    void closing_ends_a_parked_read_that_has_a_time_limit() throws Exception {
        socket.setSoTimeout(3_600_000);
        Task<Integer> reader = Tasks.start(() -> socket.getInputStream().read(new byte[100])).awaitParked();
        socket.close();
        assertClosed(reader::get);
    }

    @Test
    void closing_ends_all_readers_also_those_behind_another() throws Exception {
        List<Task<Integer>> readers = new ArrayList<>();
        for (int i = 0; i < 3; i++) {
            readers.add(Tasks.start(() -> socket.getInputStream().read()).awaitParked());
        }
        socket.close();
        for (Task<Integer> reader : readers) {
            assertClosed(reader::get);
        }
    }

    @Test
    void closing_ends_a_parked_write() throws Exception {
        Task<Void> writer = Tasks.start(() -> socket.getOutputStream().write(new byte[MORE_THAN_BUFFERS]))
                .awaitParked();
        socket.close();
        assertClosed(writer::get);
        assertTrue(socket.isClosed());
    }

    @Test
    void closing_ends_reader_and_writer_at_once() throws Exception {
        Task<Integer> reader = Tasks.start(() -> socket.getInputStream().read()).awaitParked();
        Task<Void> writer = Tasks.start(() -> socket.getOutputStream().write(new byte[MORE_THAN_BUFFERS]))
                .awaitParked();
        socket.close();
        assertClosed(writer::get);
        assertClosed(reader::get);
    }

    @Test
    void many_threads_may_close_while_others_read_and_write() throws Exception {
        for (int round = 0; round < 10; round++) {
            Connection connection = connect();
            closedAfterwards(connection.peer());
            ISocket shared = closedAfterwards(connection.socket());
            Task<Integer> reader = Tasks.start(() -> shared.getInputStream().read());
            Task<Void> writer = Tasks.start(() -> {
                OutputStream out = shared.getOutputStream();
                for (;;) {
                    out.write(new byte[10_000]);
                }
            });
            List<Task<Void>> closers = new ArrayList<>();
            for (int i = 0; i < 4; i++) {
                closers.add(Tasks.start(shared::close));
            }
            for (Task<Void> closer : closers) {
                closer.get();
            }
            assertTrue(shared.isClosed());
            assertThrows(SocketException.class, reader::get);
            assertThrows(SocketException.class, writer::get);
        }
    }

    @Test
    void linger_0_drops_what_is_not_sent() throws Exception {
        socket.setSoLinger(true, 0);
        Task<Void> writer = Tasks.start(() -> socket.getOutputStream().write(new byte[MORE_THAN_BUFFERS]))
                .awaitParked();
        socket.close();
        assertClosed(writer::get);
        assertThrows(IOException.class, () -> {
            long count = 0;
            for (int n; (n = peer.getInputStream().read(new byte[100_000])) >= 0; ) {
                count += n;
            }
            throw new IOException("ended in order after " + count);
        });
    }

    @Test
    void a_connection_that_the_program_has_lost_is_closed() throws Exception {
        Socket left = peerOfLostConnection();
        Task<Void> end = Tasks.start(() -> {
            try {
                assertEquals(-1, left.getInputStream().read());
            } catch (IOException reset) {
                assertFalse(reset instanceof SocketTimeoutException);
            }
        });
        Tasks.await("the end of a connection", () -> {
            System.gc();
            return end.result().isDone();
        });
        end.get();
    }

    /** In a method of its own, as its frame may hold what its variables have held. */
    private Socket peerOfLostConnection() throws Exception {
        return closedAfterwards(connect().peer());
    }

    // ------------------------------------------------------------- half-close

    @Test
    void after_shutdownOutput_the_peer_reads_the_end_and_reading_goes_on() throws Exception {
        peerSends("early");
        socket.getOutputStream().write("last".getBytes());
        socket.shutdownOutput();
        socket.shutdownOutput();
        assertTrue(socket.isOutputShutdown());
        assertFalse(socket.isClosed());
        assertArrayEquals("last".getBytes(), peer.getInputStream().readAllBytes());
        assertEquals("early", read(socket.getInputStream(), 5));
        socket.close();
        assertTrue(socket.isOutputShutdown());
    }

    @Test
    void the_peer_may_answer_after_shutdownOutput_unless_tls_1_2_forbids_it() throws Exception {
        assumeFalse(peer instanceof SSLSocket tls && tls.getSession().getProtocol().equals("TLSv1.2"));
        socket.shutdownOutput();
        assertEquals(-1, peer.getInputStream().read());
        peerSends("answer");
        peer.shutdownOutput();
        assertArrayEquals("answer".getBytes(), socket.getInputStream().readAllBytes());
    }

    @Test
    void a_peer_that_ended_its_output_reads_on_unless_tls_1_2_forbids_it() throws Exception {
        assumeFalse(peer instanceof SSLSocket tls && tls.getSession().getProtocol().equals("TLSv1.2"));
        peerSends("question");
        peer.shutdownOutput();
        assertArrayEquals("question".getBytes(), socket.getInputStream().readAllBytes());
        socket.getOutputStream().write("answer".getBytes());
        socket.close();
        assertArrayEquals("answer".getBytes(), peer.getInputStream().readAllBytes());
    }

    @Test
    void after_shutdownOutput_writing_is_refused() throws Exception {
        OutputStream out = socket.getOutputStream();
        socket.shutdownOutput();
        String said = assertThrows(SocketException.class, () -> out.write(1)).getMessage();
        assertEquals("Socket output is shutdown", said);
        said = assertThrows(SocketException.class, socket::getOutputStream).getMessage();
        assertEquals("Socket output is shutdown", said);
    }

    @Test
    void after_shutdownInput_reading_ends_and_writing_goes_on() throws Exception {
        InputStream in = socket.getInputStream();
        peerSends("abc");
        assertEquals("a", read(in, 1));
        socket.shutdownInput();
        socket.shutdownInput();
        assertTrue(socket.isInputShutdown());
        assertEquals(-1, in.read());
        assertEquals(-1, in.read(new byte[3]));
        assertEquals(0, in.available());
        assertEquals(
                "Socket input is shutdown",
                assertThrows(SocketException.class, socket::getInputStream).getMessage());
        socket.getOutputStream().write('x');
        assertEquals('x', peer.getInputStream().read());
    }

    @Test
    void bytes_that_arrive_after_shutdownInput_are_not_delivered() throws Exception {
        InputStream in = socket.getInputStream();
        socket.shutdownInput();
        peerSends("abc");
        assertEquals(-1, in.read());
        assertEquals(-1, in.read(new byte[3]));
    }

    @Test
    void shutdownInput_ends_a_parked_read() throws Exception {
        Task<Integer> reader = Tasks.start(() -> socket.getInputStream().read()).awaitParked();
        socket.shutdownInput();
        assertEquals(-1, reader.get());
        socket.getOutputStream().write('x');
        assertEquals('x', peer.getInputStream().read());
    }

    // -------------------------------------------------------------- time-outs

    @Test
    void a_read_that_times_out_leaves_the_connection_usable() throws Exception {
        socket.setSoTimeout(1);
        assertEquals(1, socket.getSoTimeout());
        assertThrows(SocketTimeoutException.class, () -> socket.getInputStream().read());
        assertThrows(SocketTimeoutException.class, () -> socket.getInputStream().read(new byte[20_000]));
        socket.setSoTimeout(0);
        assertEquals(0, socket.getSoTimeout());
        peerSends("abc");
        assertEquals("abc", read(socket.getInputStream(), 3));
        socket.getOutputStream().write('x');
        assertEquals('x', peer.getInputStream().read());
    }

    @Test
    void a_reader_behind_a_parked_one_has_its_own_time_limit() throws Exception {
        InputStream in = socket.getInputStream();
        Task<Integer> first = Tasks.start(() -> in.read()).awaitParked();
        socket.setSoTimeout(1);
        assertThrows(SocketTimeoutException.class, in::read);
        assertThrows(SocketTimeoutException.class, () -> in.read(new byte[20_000]));
        peerSends("x");
        assertEquals('x', first.get());
    }

    @Test
    void a_negative_time_is_refused() {
        assertThrows(IllegalArgumentException.class, () -> socket.setSoTimeout(-1));
        assertThrows(IllegalArgumentException.class, () -> socket.doSynchronousSSLHandshake(-1));
    }

    // ---------------------------------------------------------------- options

    @Test
    void linger_is_read_as_it_was_set() throws Exception {
        socket.setSoLinger(true, 3);
        assertEquals(3, socket.getSoLinger());
        socket.setSoLinger(true, 70_000);
        assertEquals(65_535, socket.getSoLinger());
        socket.setSoLinger(false, -1);
        assertEquals(-1, socket.getSoLinger());
    }

    @Test
    void options_are_read_as_they_were_set() throws Exception {
        Socket view = socket.asSocket();
        for (boolean on : new boolean[] {true, false, true}) {
            socket.setTcpNoDelay(on);
            assertEquals(on, view.getTcpNoDelay());
            socket.setKeepAlive(on);
            assertEquals(on, view.getKeepAlive());
            view.setTcpNoDelay(!on);
            assertEquals(!on, socket.getTcpNoDelay());
            view.setKeepAlive(!on);
            assertEquals(!on, socket.getKeepAlive());
        }
        socket.setTrafficClass(46 << 2);
        assertEquals(46 << 2, view.getTrafficClass());
        view.setTrafficClass(0);
        assertEquals(0, socket.getTrafficClass());
    }

    @Test
    void buffer_sizes_are_hints_that_the_system_answers_with_at_least_as_much() throws Exception {
        socket.setSendBufferSize(50_000);
        assertTrue(socket.getSendBufferSize() >= 50_000);
        socket.setReceiveBufferSize(50_000);
        assertTrue(socket.getReceiveBufferSize() >= 50_000);
    }

    @Test
    void every_option_that_as_socket_supports_is_answered_and_can_be_set_to_that() throws Exception {
        Socket view = socket.asSocket();
        for (SocketOption<?> option : view.supportedOptions()) {
            setToItself(view, option);
        }
        assertEquals(
                Set.of("TCP_NODELAY", "SO_KEEPALIVE", "SO_REUSEADDR", "SO_LINGER", "SO_SNDBUF", "SO_RCVBUF", "IP_TOS"),
                view.supportedOptions().stream().map(SocketOption::name).collect(Collectors.toSet()));
        assertThrows(UnsupportedOperationException.class, () -> view.getOption(StandardSocketOptions.IP_MULTICAST_TTL));
    }

    private static <T> void setToItself(Socket socket, SocketOption<T> option) throws IOException {
        T value = socket.getOption(option);
        assertInstanceOf(option.type(), value, option.name());
        socket.setOption(option, value);
    }

    @Test
    void options_out_of_range_are_refused() {
        assertThrows(IllegalArgumentException.class, () -> socket.setSendBufferSize(0));
        assertThrows(IllegalArgumentException.class, () -> socket.setReceiveBufferSize(-1));
        assertThrows(IllegalArgumentException.class, () -> socket.setSoLinger(true, -1));
        assertThrows(IllegalArgumentException.class, () -> socket.setTrafficClass(256));
    }

    // -------------------------------------------------------------------- TLS

    @Test
    void the_facts_of_tls_are_those_that_the_peer_knows_and_stay_after_close() throws Exception {
        assumeTrue(isTls());
        SSLSocket tls = (SSLSocket) peer;
        SSLSession session = tls.getSession();
        Optional<String> name = Optional.ofNullable(tls.getSSLParameters().getServerNames()).flatMap(names ->
                names.stream().map(n -> ((SNIHostName) n).getAsciiName()).findFirst());
        Optional<String> alpn = Optional.of(tls.getApplicationProtocol()).filter(p -> !p.isEmpty());
        for (int i = 0; i < 2; i++) {
            assertTrue(socket.isSecure());
            assertEquals(Optional.of(session.getProtocol()), socket.getProtocol());
            assertEquals(Optional.of(session.getCipherSuite()), socket.getCipherSuite());
            assertEquals(name, socket.getServerName());
            assertEquals(alpn, socket.getApplicationProtocol());
            if (session.getLocalCertificates() == null) {
                assertThrows(SSLPeerUnverifiedException.class, socket::getPeerCertificates);
            } else {
                assertEquals(Arrays.asList(session.getLocalCertificates()), socket.getPeerCertificates());
            }
            socket.close();
        }
    }

    @Test
    void the_session_of_tls_has_id_times_and_certificates_and_stays_after_close() throws Exception {
        assumeTrue(isTls());
        SSLSession known = ((SSLSocket) peer).getSession();
        for (int i = 0; i < 2; i++) {
            SSLSession session = socket.getSession().get();
            assertSame(session, socket.getSession().get());
            assertTrue(session.getId().length > 0);
            assertArrayEquals(session.getId(), session.getId());
            long age = System.currentTimeMillis() - session.getCreationTime();
            assertTrue(age >= 0 && age < TimeUnit.SECONDS.toMillis(Tasks.PATIENCE_SECONDS), () -> age + " ms");
            assertTrue(session.getLastAccessedTime() >= session.getCreationTime());
            assertArrayEquals(known.getPeerCertificates(), session.getLocalCertificates());
            assertEquals(known.getPeerPrincipal(), session.getLocalPrincipal());
            assertEquals(known.getProtocol(), session.getProtocol());
            assertEquals(known.getCipherSuite(), session.getCipherSuite());
            session.putValue("name", "value");
            assertEquals("value", session.getValue("name"));
            socket.close();
        }
    }

    @Test
    void a_plain_connection_has_no_facts_of_tls_and_its_handshake_no_effect() throws Exception {
        assumeFalse(isTls());
        socket.doSynchronousSSLHandshake(1);
        assertFalse(socket.isSecure());
        assertEquals(Optional.empty(), socket.getProtocol());
        assertEquals(Optional.empty(), socket.getCipherSuite());
        assertEquals(Optional.empty(), socket.getServerName());
        assertEquals(Optional.empty(), socket.getApplicationProtocol());
        assertEquals(Optional.empty(), socket.getSession());
        assertThrows(SSLPeerUnverifiedException.class, socket::getPeerCertificates);
    }

    @Test
    void a_handshake_that_is_done_returns_to_all_callers_and_disturbs_no_reader() throws Exception {
        Task<Integer> reader = Tasks.start(() -> socket.getInputStream().read()).awaitParked();
        List<Task<Void>> callers = new ArrayList<>();
        for (int i = 0; i < 4; i++) {
            callers.add(Tasks.start(() -> socket.doSynchronousSSLHandshake(0)));
        }
        for (Task<Void> caller : callers) {
            caller.get();
        }
        peerSends("x");
        assertEquals('x', reader.get());
    }

    @Test
    void the_handshake_leaves_the_time_limit_of_reads_alone() throws Exception {
        socket.setSoTimeout(1);
        socket.doSynchronousSSLHandshake(60_000);
        assertEquals(1, socket.getSoTimeout());
        assertThrows(SocketTimeoutException.class, () -> socket.getInputStream().read());
    }

    @Test
    void the_handshake_of_a_closed_socket_says_so() throws Exception {
        socket.close();
        assertClosed(() -> socket.doSynchronousSSLHandshake(0));
    }

    // -------------------------------------------------------------- asSocket

    @Test
    void as_socket_is_one_socket_with_the_same_streams_and_life_cycle() throws Exception {
        Socket view = socket.asSocket();
        assertSame(view, socket.asSocket());
        assertSame(socket.getInputStream(), view.getInputStream());
        assertSame(socket.getOutputStream(), view.getOutputStream());
        peerSends("abc");
        assertEquals("a", read(socket.getInputStream(), 1));
        assertEquals("bc", read(view.getInputStream(), 2));
        view.getOutputStream().write('x');
        assertEquals('x', peer.getInputStream().read());
        assertEquals(socket.getRemoteSocketAddress(), view.getRemoteSocketAddress());
        assertEquals(socket.getLocalSocketAddress(), view.getLocalSocketAddress());
        assertEquals(socket.getPort(), view.getPort());
        assertEquals(socket.getLocalPort(), view.getLocalPort());
        assertTrue(view.isConnected() && view.isBound() && !view.isClosed());
        view.shutdownOutput();
        assertTrue(socket.isOutputShutdown() && view.isOutputShutdown());
        view.shutdownInput();
        assertTrue(socket.isInputShutdown() && view.isInputShutdown());
        view.close();
        assertTrue(socket.isClosed() && view.isClosed());
        assertIsClosed(view::getInputStream);
    }

    @Test
    void as_socket_has_the_same_options_under_both_kinds_of_names() throws Exception {
        Socket view = socket.asSocket();
        view.setSoTimeout(7);
        assertEquals(7, socket.getSoTimeout());
        view.setSoLinger(true, 5);
        assertEquals(5, socket.getSoLinger());
        view.setOption(StandardSocketOptions.SO_LINGER, 4);
        assertEquals(4, socket.getSoLinger());
        view.setOption(StandardSocketOptions.SO_LINGER, -1);
        assertEquals(-1, view.getOption(StandardSocketOptions.SO_LINGER));
        assertEquals(socket.getTcpNoDelay(), view.getTcpNoDelay());
        assertEquals(socket.getTcpNoDelay(), view.getOption(StandardSocketOptions.TCP_NODELAY));
        assertEquals(socket.getKeepAlive(), view.getKeepAlive());
        assertEquals(socket.getKeepAlive(), view.getOption(StandardSocketOptions.SO_KEEPALIVE));
        view.setOption(StandardSocketOptions.IP_TOS, 8);
        assertEquals(8, socket.getTrafficClass());
    }

    @Test
    void as_socket_refuses_what_a_connection_does_not_have() throws Exception {
        Socket view = socket.asSocket();
        assertNull(view.getChannel());
        assertThrows(SocketException.class, () -> view.connect(new InetSocketAddress("127.0.0.1", 1)));
        assertThrows(SocketException.class, () -> view.bind(null));
        assertThrows(SocketException.class, () -> view.sendUrgentData(1));
        assertThrows(SocketException.class, () -> view.setOOBInline(true));
        assertFalse(view.getOOBInline());
    }

    @Test
    void tls_of_the_jdk_runs_over_as_socket() throws Exception {
        SSLSocketFactory servers = Certificates.server().getSocketFactory();
        SSLSocketFactory clients = Certificates.client().getSocketFactory();
        SSLSocket server = (SSLSocket) servers.createSocket(socket.asSocket(), null, true);
        SSLSocket client = closedAfterwards((SSLSocket) clients.createSocket(peer, "localhost", peer.getPort(), true));
        Task<Void> handshake = Tasks.start(server::startHandshake);
        client.startHandshake();
        handshake.get();
        client.getOutputStream().write("inside".getBytes());
        assertEquals("inside", read(server.getInputStream(), 6));
        server.close();
        assertEquals(-1, client.getInputStream().read());
        assertTrue(socket.isClosed());
    }

    // -------------------------------------------------------- virtual threads

    private static Thread virtualThread(Runnable task) throws Exception {
        assumeTrue(Runtime.version().feature() >= 21);
        // By name, as this compiles for 17.
        return (Thread) Thread.class.getMethod("startVirtualThread", Runnable.class).invoke(null, task);
    }

    @Test
    void virtual_threads_that_wait_leave_their_carriers() throws Exception {
        int more = 2 * Runtime.getRuntime().availableProcessors();
        List<Connection> connections = new ArrayList<>(List.of(new Connection(socket, peer)));
        for (int i = 0; i < more; i++) {
            connections.add(connect());
        }
        List<Integer> received = Collections.synchronizedList(new ArrayList<>());
        List<Thread> readers = new ArrayList<>();
        for (Connection connection : connections) {
            closedAfterwards(connection.peer());
            ISocket waiting = closedAfterwards(connection.socket());
            readers.add(virtualThread(() -> {
                try {
                    received.add(waiting.getInputStream().read());
                } catch (IOException e) {
                    received.add(-2);
                }
            }));
        }
        for (Thread reader : readers) {
            while (reader.getState() != Thread.State.WAITING) {
                Thread.yield();
            }
        }
        virtualThread(() -> {}).join(); // would not run if they held all carriers
        for (Connection connection : connections) {
            connection.peer().getOutputStream().write('x');
        }
        for (Thread reader : readers) {
            reader.join();
        }
        assertEquals(Collections.nCopies(connections.size(), (int) 'x'), received);
    }

    @Test
    void an_interrupt_lets_a_virtual_thread_close_the_connection() throws Exception {
        List<Exception> thrown = new ArrayList<>();
        Thread reader = virtualThread(() -> {
            try {
                socket.getInputStream().read();
            } catch (IOException e) {
                thrown.add(e);
            }
        });
        reader.interrupt();
        reader.join();
        assertInstanceOf(SocketException.class, thrown.get(0));
        assertTrue(socket.isClosed());
        assertIsClosed(socket::getInputStream);
    }

    @Test
    void an_interrupt_lets_a_platform_thread_read_on_and_stays() throws Exception {
        Task<Boolean> reader = Tasks.start(() -> {
            assertEquals('x', socket.getInputStream().read());
            return Thread.currentThread().isInterrupted();
        }).awaitParked();
        reader.thread().interrupt();
        peerSends("x");
        assertTrue(reader.get());
    }
}
