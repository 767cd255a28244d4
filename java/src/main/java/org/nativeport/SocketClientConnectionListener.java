package org.nativeport;

import java.io.IOException;
import java.time.Duration;
import java.util.EnumSet;
import java.util.Objects;
import java.util.Set;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.atomic.AtomicBoolean;
import org.nativeport.internal.NativeConnection;
import org.nativeport.internal.NativeSocket;
import org.nativeport.internal.Port;
import org.nativeport.internal.RuntimeCore;

/**
 * One port of a configuration: accepts, does TLS, finds out what comes, and hands it over. Either
 * a {@link ConnectionHandler} takes the connections, or a subclass that overrides the {@code on…}
 * methods.
 *
 * <pre>{@code
 * ServerConfig config = ServerConfig.builder().addPort("").setPort("port", "4711").build();
 * try (var listener = new SocketClientConnectionListener(config, handler)) {
 *     listener.start();
 *     …
 * }
 * }</pre>
 *
 * Accepting, limits, TLS and the first byte are the native library's business, on threads of its
 * own ({@link ServerSocketInterface2#getAccepterThreadNames}); callbacks run on the runtime's callback threads and may wait. While it is
 * started, the virtual machine stays alive, unless the runtime is made otherwise. Thread safe.
 */
public class SocketClientConnectionListener
        implements ClientConnectionInterface, ConnectionHandler {
    private final NativeRuntime runtime;
    private final boolean ownsRuntime;
    private final ConnectionHandler handler;
    private final NativeServerSocket serverSocket;
    private final AtomicBoolean started = new AtomicBoolean();
    private volatile RemoteAssistanceServer relay;
    private volatile Port port;
    private volatile boolean stopped;

    /**
     * The first port of a configuration, for subclasses, with a runtime of its own that ends with it.
     * Starts the runtime's threads; nothing is bound.
     *
     * @throws IOException if the runtime's threads cannot be started
     * @throws IllegalArgumentException if the configuration has an error
     * @throws UnsupportedOperationException without the native library, with the reason
     */
    public SocketClientConnectionListener(ServerConfig config) throws IOException {
        this(NativeRuntime.builder(config).build(), true, config, 0, null);
    }

    /**
     * The first port of a configuration, with a runtime of its own that ends with it. Starts the runtime's
     * threads; nothing is bound.
     *
     * @throws IOException if the runtime's threads cannot be started
     * @throws IllegalArgumentException if the configuration has an error
     * @throws UnsupportedOperationException without the native library, with the reason
     */
    public SocketClientConnectionListener(ServerConfig config, ConnectionHandler handler)
            throws IOException {
        this(runtimeFor(config, handler), true, config, 0, handler);
    }

    /** Made last: nobody would end it if the handler were missing. */
    private static NativeRuntime runtimeFor(ServerConfig config, ConnectionHandler handler)
            throws IOException {
        Objects.requireNonNull(handler);
        return NativeRuntime.builder(config).build();
    }

    /**
     * Any port of a configuration, for subclasses, on a runtime that others may share. Nothing is
     * bound. Returns at once.
     *
     * @param portIndex position among the port sections, from 0
     * @throws IllegalArgumentException if there is no such port, or the configuration cannot be read at all
     */
    public SocketClientConnectionListener(
            NativeRuntime runtime, ServerConfig config, int portIndex) {
        this(runtime, false, config, portIndex, null);
    }

    /**
     * Any port of a configuration on a runtime that others may share. Nothing is bound. Returns at
     * once.
     *
     * @param portIndex position among the port sections, from 0
     * @throws IllegalArgumentException if there is no such port, or the configuration cannot be read at all
     */
    public SocketClientConnectionListener(
            NativeRuntime runtime, ServerConfig config, int portIndex, ConnectionHandler handler) {
        this(runtime, false, config, portIndex, Objects.requireNonNull(handler));
    }

    private SocketClientConnectionListener(
            NativeRuntime runtime,
            boolean ownsRuntime,
            ServerConfig config,
            int portIndex,
            ConnectionHandler handler) {
        this.runtime = runtime;
        this.ownsRuntime = ownsRuntime;
        this.handler = handler;
        boolean made = false;
        try {
            this.serverSocket =
                    new NativeServerSocket(runtime.core(), config.operations(), portIndex);
            made = true;
        } finally {
            if (!made && ownsRuntime) {
                runtime.close();
            }
        }
    }

    /**
     * Who takes relay connections; without one they are closed. Returns at once.
     *
     * @param server null for nobody
     * @throws IllegalStateException if the listener was started
     */
    public void setRemoteAssistanceServer(RemoteAssistanceServer server) {
        if (started.get()) {
            throw new IllegalStateException("the listener was started");
        }
        relay = server;
    }

    @Override
    public void start() throws IOException {
        if (stopped) {
            throw refused("was stopped and cannot start again; make a new one");
        }
        Set<Protocol> protocols = EnumSet.noneOf(Protocol.class);
        if (relay != null) {
            protocols.add(Protocol.RELAY);
        }
        if (takes("onClientConnect", SocketClientCommunication.class)) {
            protocols.add(Protocol.CLIENT);
        }
        if (takes("onRemoteApplicationConnect", SocketClientCommunication.class)) {
            protocols.add(Protocol.REMOTE_APPLICATION);
        }
        if (takes("onUnknownConnect", ISocket.class, int.class)) {
            protocols.add(Protocol.UNKNOWN);
        }
        if (protocols.isEmpty()) {
            throw refused("has no handler and would close every connection; override onClientConnect, "
                    + "onRemoteApplicationConnect or onUnknownConnect, or call setRemoteAssistanceServer");
        }
        if (!started.compareAndSet(false, true)) {
            throw refused("is started already; start it once");
        }
        boolean done = false;
        try {
            port = serverSocket.bind(protocols, decidesAdmission(), new Dispatch());
            done = true;
        } finally {
            started.set(done);
        }
        if (stopped) {
            port.stop(0);
        }
    }

    private IllegalStateException refused(String why) {
        return new IllegalStateException("the listener of " + serverSocket.place() + " " + why);
    }

    /** Whether the host has a method of its own: for others nobody is to be answered. */
    private boolean takes(String method, Class<?>... parameters) {
        return overrides(this, SocketClientConnectionListener.class, method, parameters)
                || handler != null && overrides(handler, ConnectionHandler.class, method, parameters);
    }

    private static boolean overrides(Object object, Class<?> of, String method, Class<?>... parameters) {
        try {
            return object.getClass().getMethod(method, parameters).getDeclaringClass() != of;
        } catch (NoSuchMethodException | LinkageError hidden) {
            // In a native image, where the host's classes need not be registered: it has one, most likely.
            return true;
        }
    }

    /** Hands what comes from loops' threads to callback threads. */
    private final class Dispatch implements Port.Arrivals {
        private final boolean onLoop = connectsOnLoop();

        @Override
        public void admit(NativeConnection connection) {
            Admission admission = new Admission(connection);
            if (!runtime.core().callback(() -> ask(admission, connection))) {
                admission.refuse();
            }
        }

        private void ask(Admission admission, NativeConnection connection) {
            try {
                onAdmission(admission);
            } catch (Throwable failure) {
                admission.refuse();
                runtime.core().callbackFailed("onAdmission for ", connection, failure);
            }
        }

        @Override
        public void opened(NativeConnection connection) {
            if (onLoop && connection.info().protocol().isFramed()) {
                handOver(connection);
            } else if (!runtime.core().callback(() -> handOver(connection))) {
                // Nobody will ever know of it.
                connection.close();
            }
        }

        private void handOver(NativeConnection connection) {
            // It was closed meanwhile, by the end of the runtime for one.
            if (connection.isClosed()) {
                return;
            }
            RuntimeCore core = runtime.core();
            try {
                call(core, connection);
            } catch (Throwable failure) {
                connection.close();
                core.callbackFailed("the callback for ", connection, failure);
            }
        }
    }

    private void call(RuntimeCore core, NativeConnection connection) throws Exception {
        switch (connection.info().protocol()) {
            case CLIENT -> onClientConnect(new SocketClientCommunication(core, connection));
            case REMOTE_APPLICATION ->
                    onRemoteApplicationConnect(new SocketClientCommunication(core, connection));
            case RELAY -> relay.startRelay(socket(core, connection));
            case UNKNOWN ->
                    onUnknownConnect(socket(core, connection), connection.info().firstByte());
        }
    }

    private static ISocket socket(RuntimeCore core, NativeConnection connection) {
        NativeSocket socket = new NativeSocket(connection);
        // What its streams hold too, and not the adapter.
        core.closeWhenLost(socket, connection);
        return new SocketAdapter(socket);
    }

    @Override
    public void onClientConnect(SocketClientCommunication client) throws Exception {
        if (handler == null) {
            ConnectionHandler.super.onClientConnect(client);
        } else {
            handler.onClientConnect(client);
        }
    }

    @Override
    public void onRemoteApplicationConnect(SocketClientCommunication application)
            throws Exception {
        if (handler == null) {
            ConnectionHandler.super.onRemoteApplicationConnect(application);
        } else {
            handler.onRemoteApplicationConnect(application);
        }
    }

    @Override
    public void onUnknownConnect(ISocket socket, int firstByte) throws Exception {
        if (handler == null) {
            ConnectionHandler.super.onUnknownConnect(socket, firstByte);
        } else {
            handler.onUnknownConnect(socket, firstByte);
        }
    }

    @Override
    public boolean connectsOnLoop() {
        return handler != null && handler.connectsOnLoop();
    }

    @Override
    public boolean decidesAdmission() {
        return handler != null && handler.decidesAdmission();
    }

    @Override
    public void onAdmission(Admission admission) throws IOException {
        if (handler == null) {
            ConnectionHandler.super.onAdmission(admission);
        } else {
            handler.onAdmission(admission);
        }
    }

    @Override
    public CompletionStage<Void> stop(Duration grace) {
        return end(grace).thenApply(nothing -> nothing);
    }

    private CompletableFuture<Void> end(Duration grace) {
        long drainMs = RuntimeCore.millis(grace);
        stopped = true;
        Port bound = port;
        if (ownsRuntime) {
            return runtime.core().stop(drainMs);
        }
        return bound == null ? CompletableFuture.completedFuture(null) : bound.stop(drainMs);
    }

    @Override
    public void close() {
        end(Duration.ZERO);
        Port bound = port;
        if (ownsRuntime) {
            runtime.core().awaitEnded();
        } else if (bound != null) {
            bound.awaitEnded();
        }
    }

    @Override
    public boolean isRunning() {
        Port bound = port;
        return bound != null && !bound.isStopping();
    }

    @Override
    public ServerSocketInterface2 getServerSocket() {
        return serverSocket;
    }

    /** The bound port number, -1 before start. Returns at once. */
    public int getLocalPort() {
        return serverSocket.getLocalPort();
    }

    /** The runtime whose threads work for it. Returns at once. */
    public NativeRuntime getRuntime() {
        return runtime;
    }

    @Override
    public String toString() {
        return serverSocket.toString();
    }
}
