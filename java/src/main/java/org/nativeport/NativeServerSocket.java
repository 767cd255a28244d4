package org.nativeport;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;
import org.nativeport.internal.Counters;
import org.nativeport.internal.Layout;
import org.nativeport.internal.NativeNumbers;
import org.nativeport.internal.Port;
import org.nativeport.internal.PortLayout;
import org.nativeport.internal.RuntimeCore;

/**
 * The listening end of a native port. A {@link SocketClientConnectionListener} makes it, starts
 * and ends it.
 */
public final class NativeServerSocket implements ServerSocketInterface2 {
    private final RuntimeCore runtime;
    private final byte[] config;
    private final int index;
    private final PortLayout layout;
    private volatile Port port;

    NativeServerSocket(RuntimeCore runtime, byte[] config, int index) {
        this.runtime = runtime;
        this.config = config;
        this.index = index;
        List<PortLayout> ports = Layout.of(config).ports();
        if (index < 0 || index >= ports.size()) {
            throw new IllegalArgumentException(
                    ports.isEmpty()
                            ? "the configuration has no port section; valid: [Port] in a file, or addPort"
                            : "there is no port section number " + index);
        }
        this.layout = ports.get(index);
    }

    /** Once, by its listener. */
    Port bind(Set<Protocol> protocols, boolean admission, Port.Arrivals arrivals)
            throws IOException {
        Port made = runtime.newPort(config, index, protocols, admission, arrivals);
        boolean started = false;
        try {
            made.start();
            started = true;
        } finally {
            if (!started) {
                made.stop(0);
            }
        }
        port = made;
        return made;
    }

    /** As errors and the log name it: the section as it is written, and the port. */
    String place() {
        int bound = getLocalPort();
        return "[" + layout.written() + "] port " + (bound > 0 ? bound : layout.port());
    }

    @Override
    public boolean isBound() {
        return port != null;
    }

    @Override
    public boolean isClosed() {
        Port bound = port;
        return bound == null ? runtime.isStopping() : bound.isStopping();
    }

    @Override
    public List<InetSocketAddress> getLocalSocketAddresses() {
        Port bound = port;
        return bound == null ? List.of() : bound.addresses();
    }

    @Override
    public int getLocalPort() {
        List<InetSocketAddress> addresses = getLocalSocketAddresses();
        return addresses.isEmpty() ? -1 : addresses.get(0).getPort();
    }

    @Override
    public int getMappedPort() {
        // A mapToPort that is the default repeats the port, and 0 means any.
        return layout.mapToPort() == 0 || !isBound() ? getLocalPort() : layout.mapToPort();
    }

    @Override
    public TlsMode getTlsMode() {
        return NativeNumbers.tlsMode(layout.tls());
    }

    @Override
    public String getName() {
        return layout.name();
    }

    @Override
    public List<String> getAccepterThreadNames() {
        List<String> names = new ArrayList<>();
        for (int i = 0; isBound() && i < layout.accepterThreads(); i++) {
            names.add("np-acc-" + getLocalPort() + "-" + i);
        }
        return List.copyOf(names);
    }

    @Override
    public void pauseAccepting() {
        bound().setAccepting(false);
    }

    @Override
    public void resumeAccepting() {
        bound().setAccepting(true);
    }

    @Override
    public Metrics getMetrics() {
        return Counters.metrics(bound().counters());
    }

    private Port bound() {
        Port bound = port;
        if (bound == null) {
            throw new IllegalStateException("the listener has not been started");
        }
        return bound;
    }

    @Override
    public String toString() {
        return layout.written() + " " + getLocalSocketAddresses();
    }
}
