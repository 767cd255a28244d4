package org.nativeport;

import java.io.Closeable;
import java.io.IOException;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;

/**
 * A listener on a free port of this machine, whose connections the test takes from queues. Made by {@link #by} it also runs a
 * program for each of them.
 */
final class Served implements Closeable {
    /** In front of a key of that section. */
    private static final String RUNTIME = "Runtime.";

    static final int SECONDS = Tasks.PATIENCE_SECONDS;

    /** Who decides about admissions: nobody, the callback itself, or the test. */
    private enum Admissions {
        NONE,
        AT_ONCE,
        LATER
    }

    final SocketClientConnectionListener listener;
    final BlockingQueue<SocketClientCommunication> clients = new LinkedBlockingQueue<>();
    final BlockingQueue<SocketClientCommunication> applications = new LinkedBlockingQueue<>();
    final BlockingQueue<ISocket> unknown = new LinkedBlockingQueue<>();
    final BlockingQueue<ISocket> relays = new LinkedBlockingQueue<>();
    final BlockingQueue<Admission> admissions = new LinkedBlockingQueue<>();

    private Served(
            ServerConfig config, Admissions asked, boolean relays, Way way, Way.Program program)
            throws IOException {
        listener =
                new SocketClientConnectionListener(
                        config,
                        new ConnectionHandler() {
                            @Override
                            public void onClientConnect(SocketClientCommunication client)
                                    throws Exception {
                                clients.add(client);
                                if (way != null) {
                                    way.consume(client, program);
                                }
                            }

                            @Override
                            public void onRemoteApplicationConnect(
                                    SocketClientCommunication application) throws Exception {
                                applications.add(application);
                                if (way != null) {
                                    way.consume(application, program);
                                }
                            }

                            @Override
                            public void onUnknownConnect(ISocket socket, int firstByte)
                                    throws Exception {
                                unknown.add(socket);
                                if (way != null) {
                                    way.consume(socket, program);
                                }
                            }

                            @Override
                            public boolean decidesAdmission() {
                                return asked != Admissions.NONE;
                            }

                            @Override
                            public void onAdmission(Admission admission) {
                                if (asked == Admissions.AT_ONCE) {
                                    decide(admission);
                                }
                                admissions.add(admission);
                            }
                        });
        if (relays) {
            listener.setRemoteAssistanceServer(
                    socket -> {
                        this.relays.add(socket);
                        if (way != null) {
                            way.consume(socket, program);
                        }
                    });
        }
        listener.start();
    }

    /** Those who say nothing that is known are refused. */
    private static void decide(Admission admission) {
        if (admission.getInfo().protocol() == Protocol.UNKNOWN) {
            admission.refuse("no".getBytes());
        } else {
            admission.admit();
        }
    }

    /** Runs a program in this way for everyone who comes. */
    static Served by(Way way, boolean tls, Way.Program program, String... settings)
            throws IOException {
        return new Served(configOf(tls, settings), Admissions.NONE, true, way, program);
    }

    /** The same for those whom the callback for admissions lets in: all who say what is known. */
    static Served admittedAtOnce(Way way, boolean tls, Way.Program program) throws IOException {
        return new Served(configOf(tls), Admissions.AT_ONCE, true, way, program);
    }

    /** The same for those whom the test lets in. */
    static Served admittedLater(Way way, boolean tls, Way.Program program) throws IOException {
        return new Served(configOf(tls), Admissions.LATER, true, way, program);
    }

    private static ServerConfig configOf(boolean tls, String... settings) {
        return tls ? tlsConfig(settings) : config(settings);
    }

    /** Settings of the port, and with {@code "Runtime."} in front of the runtime, are pairs of key and value. */
    static Served plain(String... settings) throws IOException {
        return new Served(config(settings), Admissions.NONE, true, null, null);
    }

    static Served withoutRelay() throws IOException {
        return new Served(config(), Admissions.NONE, false, null, null);
    }

    static Served withAdmission(String... settings) throws IOException {
        return new Served(config(settings), Admissions.LATER, true, null, null);
    }

    static Served tls(String... settings) throws IOException {
        return new Served(tlsConfig(settings), Admissions.NONE, true, null, null);
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
        return new Served(config, Admissions.NONE, true, null, null);
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
            if (settings[i].startsWith(RUNTIME)) {
                builder.set("Runtime", settings[i].substring(RUNTIME.length()), settings[i + 1]);
            } else {
                builder.setPort(settings[i], settings[i + 1]);
            }
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
