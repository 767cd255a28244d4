package org.nativeport.internal;

import java.io.ByteArrayInputStream;
import java.io.IOException;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.UnknownHostException;
import java.security.cert.CertificateException;
import java.security.cert.CertificateFactory;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.locks.ReentrantLock;
import org.nativeport.CloseInfo;
import org.nativeport.Protocol;

/** One native listener: who comes there, and how it starts and ends. Thread safe. */
public final class Port {
    /** Who takes connections. Called on loops' threads, where nothing may wait. */
    public interface Arrivals {
        /** The connection waits for {@link NativeConnection#admit} or {@code refuse}. */
        void admit(NativeConnection connection);

        /** The connection may be used. */
        void opened(NativeConnection connection);
    }

    private static final boolean IS_RECORDED = isRecorded();

    final RuntimeCore runtime;
    final long id;
    final int token;
    private final PortLayout layout;
    private final Arrivals arrivals;
    private final CompletableFuture<Void> ended = new CompletableFuture<>();
    private final CountDownLatch endedLatch = new CountDownLatch(1);
    private final AtomicBoolean stopping = new AtomicBoolean();
    private final ReentrantLock lifeLock = new ReentrantLock();
    private volatile List<X509Certificate> certificates;
    private volatile boolean started;
    /** The next of those that stop; the runtime's. */
    Port nextStopping;
    private volatile List<InetSocketAddress> addresses = List.of();

    /** Whether this program has the recorder, and it works: it needs a java.io.tmpdir that Java can use. */
    private static boolean isRecorded() {
        try {
            return Recording.isAvailable();
        } catch (LinkageError absent) {
            return false;
        }
    }

    Port(RuntimeCore runtime, long id, int token, PortLayout layout, Arrivals arrivals) {
        this.runtime = runtime;
        this.id = id;
        this.token = token;
        this.layout = layout;
        this.arrivals = arrivals;
    }

    /** The bits for the protocols that are taken. */
    static int handled(java.util.Set<Protocol> protocols, boolean admission) {
        int bits = admission ? Native.HANDLES_ADMISSION : 0;
        for (Protocol protocol : protocols) {
            bits |= 1 << NativeNumbers.index(protocol);
        }
        return bits;
    }

    String name() {
        return layout.name();
    }

    long receiveWindow() {
        return layout.receiveWindow();
    }

    public PortLayout layout() {
        return layout;
    }

    Arrivals arrivals() {
        return arrivals;
    }

    void opened(NativeConnection connection) {
        if (IS_RECORDED) {
            try {
                Recording.opened(connection.info(), connection.ageMs());
            } catch (Throwable failure) {
                notRecorded(failure);
            }
        }
        arrivals.opened(connection);
    }

    void closed(NativeConnection connection, CloseInfo info) {
        if (IS_RECORDED) {
            try {
                Recording.closed(connection.info(), info);
            } catch (Throwable failure) {
                notRecorded(failure);
            }
        }
    }

    /** No connection pays for what cannot be recorded. */
    private void notRecorded(Throwable failure) {
        runtime.callbackFailed("a recording of ", layout.name(), failure);
    }

    /** Binds and listens. May wait for the resolution of a host name. */
    public void start() throws IOException {
        byte[] words = new byte[Native.WORDS];
        lifeLock.lock();
        try {
            int status = Native.listenerStart(id, words);
            if (status < 0) {
                throw Status.exception(status, words);
            }
            addresses = readAddresses();
            started = true;
            runtime.keepAlive(this, true);
        } finally {
            lifeLock.unlock();
        }
    }

    /** What peers get with TLS, the server's own first; none without. */
    List<X509Certificate> certificates() {
        List<X509Certificate> known = certificates;
        if (known == null) {
            Answer answer = new Answer(Native.listenerCertificates(id));
            if (answer.status != Status.OK) {
                // For lack of memory, perhaps: they are asked for again.
                return List.of();
            }
            // Several threads may read them at once.
            certificates = known = read(answer);
        }
        return known;
    }

    private static List<X509Certificate> read(Answer answer) {
        List<X509Certificate> all = new ArrayList<>();
        try {
            CertificateFactory factory = CertificateFactory.getInstance("X.509");
            while (answer.hasMore()) {
                all.add((X509Certificate) factory.generateCertificate(new ByteArrayInputStream(answer.array())));
            }
        } catch (CertificateException foreign) {
            // The JDK reads less than the library does: it has no certificate to show.
            return List.of();
        }
        return List.copyOf(all);
    }

    private List<InetSocketAddress> readAddresses() {
        Answer answer = new Answer(Native.listenerAddresses(id));
        if (answer.status != Status.OK) {
            // Together with its runtime, since it was started.
            throw new IllegalStateException("the listener has ended");
        }
        List<InetSocketAddress> all = new ArrayList<>();
        while (answer.hasMore()) {
            String ip = answer.text();
            int port = answer.number();
            try {
                // A literal address: nobody is asked for it.
                all.add(new InetSocketAddress(InetAddress.getByName(ip), port));
            } catch (UnknownHostException impossible) {
                throw new AssertionError(impossible);
            }
        }
        return List.copyOf(all);
    }

    /** Bound addresses; empty before start. */
    public List<InetSocketAddress> addresses() {
        return addresses;
    }

    public boolean isStarted() {
        return started;
    }

    public boolean isStopping() {
        return stopping.get() || runtime.isStopping();
    }

    /** Accepts, or lets newcomers wait in the backlog. Returns at once. */
    public void setAccepting(boolean accepts) {
        int status = Native.listenerSwitch(id, accepts);
        if (status < 0) {
            throw new IllegalStateException(
                    status == Status.STATE ? "the listener has not been started" : "the listener has ended");
        }
    }

    /** Listening ends; connections have so many milliseconds. Returns at once. */
    public CompletableFuture<Void> stop(long drainMs) {
        // The native accepts a second call, which can only shorten the time.
        Native.listenerStop(id, drainMs);
        if (stopping.compareAndSet(false, true)) {
            runtime.noteStopping(this);
        }
        return ended;
    }

    /** Complete when the last connection has been told its end, on a callback thread. */
    public CompletableFuture<Void> ended() {
        return ended;
    }

    /** Waits until it has ended; on a loop's thread it does not. */
    public void awaitEnded() {
        runtime.await(endedLatch);
    }

    /** On a loop's thread: whether it has ended and was released. */
    boolean tryRelease() {
        return Native.release(id) != Status.TIMED_OUT;
    }

    /**
     * On a loop's thread.
     *
     * @throws OutOfMemoryError there is no memory to tell it; it may be called again
     */
    void noteEnded() {
        // To wake a virtual thread behind this.
        NativeLoop.requireMemory();
        try {
            runtime.keepAlive(this, false);
        } finally {
            runtime.complete(ended, null);
            endedLatch.countDown();
        }
    }

    /** Counters in the native's order. */
    public long[] counters() {
        return runtime.counters(id);
    }
}
