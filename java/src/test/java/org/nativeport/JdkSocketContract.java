package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.net.Socket;
import java.net.StandardSocketOptions;
import org.junit.jupiter.api.Test;

/** What SocketAdapter promises over any socket of the JDK: every option can be set. */
abstract class JdkSocketContract extends ISocketContract {
    @Test
    void options_are_read_as_they_were_set() throws Exception {
        for (boolean on : new boolean[] {true, false, true}) {
            socket.setTcpNoDelay(on);
            assertEquals(on, socket.getTcpNoDelay());
            socket.setKeepAlive(on);
            assertEquals(on, socket.getKeepAlive());
        }
    }

    @Test
    void buffer_sizes_are_hints_that_the_system_answers_with_at_least_as_much() throws Exception {
        socket.setSendBufferSize(50_000);
        assertTrue(socket.getSendBufferSize() >= 50_000);
        socket.setReceiveBufferSize(50_000);
        assertTrue(socket.getReceiveBufferSize() >= 50_000);
    }

    @Test
    void options_can_be_set_through_as_socket() throws Exception {
        Socket view = socket.asSocket();
        for (boolean on : new boolean[] {true, false}) {
            view.setTcpNoDelay(on);
            assertEquals(on, socket.getTcpNoDelay());
            view.setKeepAlive(on);
            assertEquals(on, socket.getKeepAlive());
            view.setOption(StandardSocketOptions.TCP_NODELAY, !on);
            assertEquals(!on, socket.getTcpNoDelay());
            view.setOption(StandardSocketOptions.SO_KEEPALIVE, !on);
            assertEquals(!on, socket.getKeepAlive());
        }
        view.setOption(StandardSocketOptions.SO_SNDBUF, 50_000);
        assertEquals(socket.getSendBufferSize(), view.getOption(StandardSocketOptions.SO_SNDBUF));
        view.setOption(StandardSocketOptions.SO_RCVBUF, 50_000);
        assertEquals(socket.getReceiveBufferSize(), view.getOption(StandardSocketOptions.SO_RCVBUF));
    }
}
