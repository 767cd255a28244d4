package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.InputStream;
import java.io.OutputStream;
import java.lang.reflect.Proxy;
import java.time.Duration;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** What the Javadoc promises of arguments and threads that do not fit. */
class ContractsTest {
    @Test
    void argumentsThatAreOutOfRangeAreRefused() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port())) {
            SocketClientCommunication client = served.nextClient();
            // A read that is not refused is not to wait.
            peer.put(new byte[1]).put(new byte[1]).flush();
            Duration negative = Duration.ofNanos(-1);
            assertThrows(IllegalArgumentException.class, () -> client.read(negative));
            assertThrows(IllegalArgumentException.class, () -> client.write(new byte[1], negative));
            assertThrows(IllegalArgumentException.class, () -> client.readBatch(0));
            assertThrows(IllegalArgumentException.class, () -> client.setSoTimeout(-1));
            FrameView foreign =
                    (FrameView)
                            Proxy.newProxyInstance(
                                    FrameView.class.getClassLoader(),
                                    new Class<?>[] {FrameView.class},
                                    (self, method, arguments) -> null);
            assertThrows(IllegalArgumentException.class, () -> client.write(foreign));
            // None of them has taken or changed anything.
            assertEquals(1, client.read().length);
            assertEquals(1, client.read().length);
            client.write(new byte[7]);
            assertEquals(7, peer.receive().length);
        }
    }

    @Test
    void whatWouldWaitIsRefusedOnTheThreadOfALoopAndAFutureIsNot() throws Exception {
        try (Served served = Served.plain();
                Peer browser = Peer.connect(served.port());
                Peer peer = Peer.client(served.port());
                Peer other = Peer.client(served.port())) {
            browser.out.write('G');
            browser.flush();
            ISocket socket = Served.next(served.unknown);
            InputStream in = socket.getInputStream();
            OutputStream out = socket.getOutputStream();
            List<SocketClientCommunication> both = List.of(served.nextClient(), served.nextClient());
            CompletableFuture<Object> seen = new CompletableFuture<>();
            for (SocketClientCommunication client : both) {
                SocketClientCommunication another = both.get(client == both.get(0) ? 1 : 0);
                client.onFrame(
                        frame -> {
                            try {
                                assertThrows(IllegalStateException.class, client::read);
                                assertThrows(IllegalStateException.class, () -> another.read(Duration.ofSeconds(1)));
                                assertThrows(IllegalStateException.class, () -> another.readBatch(1));
                                assertThrows(IllegalStateException.class, in::read);
                                assertThrows(IllegalStateException.class, () -> out.write(1));
                                another.write(frame.toByteArray());
                                seen.complete(another.readAsync());
                            } catch (Throwable failure) {
                                seen.completeExceptionally(failure);
                            }
                        });
            }
            peer.send(new byte[3]);
            seen.get(Served.SECONDS, TimeUnit.SECONDS);
            assertEquals(3, other.receive().length);
            assertEquals('G', in.read());
        }
    }

    @Test
    void whatNoFileCouldSayMakesAConfigurationThatCannotBeRead() {
        List<ServerConfig.Builder> all =
                List.of(
                        ServerConfig.builder().setPort("port", "0"),
                        ServerConfig.builder().set("Port.web", "port", "0"),
                        ServerConfig.builder().addPort("web").addPort("web"),
                        ServerConfig.builder().addPort("").setPort("port", "0\nbindAddress = ::"));
        for (ServerConfig.Builder builder : all) {
            ServerConfig config = builder.build();
            assertThrows(IllegalArgumentException.class, config::check);
            assertThrows(IllegalArgumentException.class, config::getPortNames);
            assertThrows(IllegalArgumentException.class, () -> NativeRuntime.builder(config).build());
        }
    }
}
