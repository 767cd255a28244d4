package org.nativeport;

import java.io.Closeable;
import java.io.IOException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/** A listener on a free port of this machine, whose connections the test takes from queues. */
final class Served implements Closeable {
    static final int SECONDS = 20;

    final SocketClientConnectionListener listener;
    final BlockingQueue<SocketClientCommunication> clients = new LinkedBlockingQueue<>();
    final BlockingQueue<SocketClientCommunication> applications = new LinkedBlockingQueue<>();
    final BlockingQueue<ISocket> unknown = new LinkedBlockingQueue<>();
    final BlockingQueue<ISocket> relays = new LinkedBlockingQueue<>();
    final BlockingQueue<Admission> admissions = new LinkedBlockingQueue<>();

    private Served(ServerConfig config, boolean asksForAdmission, boolean relays)
            throws IOException {
        listener =
                new SocketClientConnectionListener(
                        config,
                        new ConnectionHandler() {
                            @Override
                            public void onClientConnect(SocketClientCommunication client) {
                                clients.add(client);
                            }

                            @Override
                            public void onRemoteApplicationConnect(
                                    SocketClientCommunication application) {
                                applications.add(application);
                            }

                            @Override
                            public void onUnknownConnect(ISocket socket, int firstByte) {
                                unknown.add(socket);
                            }

                            @Override
                            public boolean decidesAdmission() {
                                return asksForAdmission;
                            }

                            @Override
                            public void onAdmission(Admission admission) {
                                admissions.add(admission);
                            }
                        });
        if (relays) {
            listener.setRemoteAssistanceServer(this.relays::add);
        }
        listener.start();
    }

    /** Settings of the port are pairs of key and value. */
    static Served plain(String... settings) throws IOException {
        return new Served(config(settings), false, true);
    }

    static Served withoutRelay() throws IOException {
        return new Served(config(), false, false);
    }

    static Served withAdmission(String... settings) throws IOException {
        return new Served(config(settings), true, true);
    }

    static Served tls(String... settings) throws IOException {
        return new Served(tlsConfig(settings), false, true);
    }

    /** TLS of one version, {@code "1.2"} or {@code "1.3"}. */
    static Served tlsOf(String version) throws IOException {
        ServerConfig config =
                portWith()
                        .setPort("sslSection", "TLS")
                        .set("TLS", "selfSigned", "localhost")
                        .set("TLS", "minVersion", version)
                        .set("TLS", "maxVersion", version)
                        .set("TLS", "alpn", "http/1.1")
                        .build();
        return new Served(config, false, true);
    }

    static ServerConfig config(String... settings) {
        return portWith(settings).build();
    }

    static ServerConfig tlsConfig(String... settings) {
        return portWith(settings)
                .setPort("sslSection", "TLS")
                .set("TLS", "selfSigned", "localhost")
                .build();
    }

    private static ServerConfig.Builder portWith(String... settings) {
        ServerConfig.Builder builder =
                ServerConfig.builder()
                        .set("Runtime", "ioThreads", "2")
                        .addPort("")
                        .setPort("port", "0")
                        .setPort("bindAddress", "127.0.0.1");
        for (int i = 0; i < settings.length; i += 2) {
            builder.setPort(settings[i], settings[i + 1]);
        }
        return builder;
    }

    int port() {
        return listener.getLocalPort();
    }

    SocketClientCommunication nextClient() throws InterruptedException {
        return next(clients);
    }

    static <T> T next(BlockingQueue<T> queue) throws InterruptedException {
        T next = queue.poll(SECONDS, TimeUnit.SECONDS);
        if (next == null) {
            throw new AssertionError("nobody came");
        }
        return next;
    }

    /** How a connection ended. */
    static CloseInfo ended(SocketClientCommunication client) throws Exception {
        return client.whenClosed().toCompletableFuture().get(SECONDS, TimeUnit.SECONDS);
    }

    @Override
    public void close() {
        listener.close();
    }
}
