package org.nativeport;

import java.net.InetSocketAddress;
import java.util.List;

/** The listening end of a port. Thread safe; no method waits. */
public interface ServerSocketInterface2 {
    /** What a port does about TLS. */
    enum TlsMode {
        /** No TLS. */
        PLAIN,
        /** Nothing but TLS. */
        TLS,
        /** Either, told apart by the first two bytes. */
        AUTO
    }

    /** Whether it listens, or did before it was closed. */
    boolean isBound();

    /** Whether it has ended listening. */
    boolean isClosed();

    /** The bound addresses; empty before. */
    List<InetSocketAddress> getLocalSocketAddresses();

    /** The bound port number, -1 before. */
    int getLocalPort();

    /** The port number that the outside world uses: {@code mapToPort}; -1 before it is bound. */
    int getMappedPort();

    /** What it does about TLS. */
    TlsMode getTlsMode();

    /** Canonical name of its section in the configuration. */
    String getName();

    /** The native threads that accept, as the system names them; empty before it is bound. */
    List<String> getAccepterThreadNames();

    /**
     * Accepts nobody until {@link #resumeAccepting}; who comes waits in the backlog.
     *
     * @throws IllegalStateException if it does not listen
     */
    void pauseAccepting();

    /**
     * Accepts again.
     *
     * @throws IllegalStateException if it does not listen
     */
    void resumeAccepting();

    /**
     * What it has counted.
     *
     * @throws IllegalStateException before it is bound, and when it has ended
     */
    Metrics getMetrics();
}
