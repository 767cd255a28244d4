package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.net.Inet6Address;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.NetworkInterface;
import java.net.Socket;
import java.util.Collections;
import java.util.Optional;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Addresses that are more than a number: a link-local one belongs to an interface. */
class AddressesTest {
    /** One of this machine, if it has any. */
    private static Optional<Inet6Address> linkLocal() throws Exception {
        for (NetworkInterface network : Collections.list(NetworkInterface.getNetworkInterfaces())) {
            for (InetAddress address : Collections.list(network.getInetAddresses())) {
                if (network.isUp() && address instanceof Inet6Address ip && ip.isLinkLocalAddress()) {
                    return Optional.of(ip);
                }
            }
        }
        return Optional.empty();
    }

    private static int scope(InetSocketAddress address) {
        return ((Inet6Address) address.getAddress()).getScopeId();
    }

    @Test
    void aLinkLocalAddressKeepsItsInterface() throws Exception {
        Optional<Inet6Address> found = linkLocal();
        assumeTrue(found.isPresent(), "this machine has no link-local address");
        Inet6Address ip = found.get();
        String text = ip.getHostAddress().replaceAll("%.*", "") + "%" + ip.getScopeId();
        BlockingQueue<ISocket> streams = new LinkedBlockingQueue<>();
        ServerConfig config = ServerConfig.parse("[Port]\nport=0\nbindAddress=" + text + "\n", "test.ini");
        ConnectionHandler handler =
                new ConnectionHandler() {
                    @Override
                    public void onUnknownConnect(ISocket socket, int firstByte) {
                        streams.add(socket);
                    }
                };
        try (var listener = new SocketClientConnectionListener(config, handler)) {
            listener.start();
            InetSocketAddress bound = listener.getServerSocket().getLocalSocketAddresses().get(0);
            assertEquals(ip, bound.getAddress());
            assertEquals(ip.getScopeId(), scope(bound));
            try (Socket client = new Socket(ip, bound.getPort())) {
                client.getOutputStream().write('x');
                try (ISocket socket = streams.poll(Tasks.PATIENCE_SECONDS, TimeUnit.SECONDS)) {
                    assertEquals(client.getLocalSocketAddress(), socket.getRemoteSocketAddress());
                    assertEquals(bound, socket.getLocalSocketAddress());
                    assertEquals(ip.getScopeId(), scope(socket.getRemoteSocketAddress()));
                    assertEquals(ip.getScopeId(), scope(socket.getLocalSocketAddress()));
                }
            }
        }
    }
}
