package org.nativeport;

import java.io.IOException;
import java.lang.ref.Reference;
import java.net.InetSocketAddress;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.RejectedExecutionException;
import org.nativeport.internal.ConnectionOutput;
import org.nativeport.internal.Deadline;
import org.nativeport.internal.NativeConnection;
import org.nativeport.internal.NativeLoop;
import org.nativeport.internal.RuntimeCore;

/**
 * A framed client or remote application on a native connection. A listener makes it and gives
 * it to {@link ConnectionHandler#onClientConnect} or {@link
 * ConnectionHandler#onRemoteApplicationConnect}, who closes it.
 *
 * <pre>{@code
 * public void onClientConnect(SocketClientCommunication client) throws IOException {
 *     try (client) {
 *         for (byte[] request; (request = client.read()) != null; ) {
 *             client.write(answer(request));
 *         }
 *     }
 * }
 * }</pre>
 *
 * What comes faster than it is read waits up to the port's {@code receiveWindow}; then the peer is held back. If the
 * program loses it without closing it, the library closes it, and the log says so: when the garbage collector has found
 * it, at no certain time, as with a {@link java.net.Socket}. Calls that wait, futures of reads and writes, and a
 * {@link FrameHandler} keep it. {@link #whenClosed} does not, unless what the program has hung on that refers to it.
 */
public final class SocketClientCommunication implements ClientCommunicationInterface {
    private final RuntimeCore runtime;
    private final NativeConnection connection;
    private volatile int soTimeout;
    private volatile int flags;

    SocketClientCommunication(RuntimeCore runtime, NativeConnection connection) {
        this.runtime = runtime;
        this.connection = connection;
        runtime.closeWhenLost(this, connection);
    }

    @Override
    public byte[] read() throws IOException {
        return read(soTimeout);
    }

    @Override
    public byte[] read(Duration timeout) throws IOException {
        return read(millis(timeout));
    }

    private byte[] read(int timeoutMillis) throws IOException {
        refuseOnLoop();
        try {
            return connection.input().readFrame(Deadline.after(timeoutMillis));
        } finally {
            // Whoever waits has not lost it.
            Reference.reachabilityFence(this);
        }
    }

    @Override
    public List<byte[]> readBatch(int most) throws IOException {
        if (most < 1) {
            throw new IllegalArgumentException("most is " + most);
        }
        List<byte[]> batch = new ArrayList<>(Math.min(most, 16));
        byte[] next = read();
        while (next != null) {
            batch.add(next);
            next = batch.size() < most ? connection.input().pollFrame() : null;
        }
        return batch;
    }

    @Override
    public CompletionStage<byte[]> readAsync() {
        CompletableFuture<byte[]> result = new CompletableFuture<>();
        boolean runs =
                runtime.callback(
                        () -> {
                            try {
                                result.complete(read());
                            } catch (Throwable failure) {
                                // Nobody else would hear of it.
                                RuntimeCore.fail(result, failure);
                            }
                        });
        if (!runs) {
            result.completeExceptionally(
                    new RejectedExecutionException("the executor for callbacks takes no more"));
        }
        return result;
    }

    @Override
    public void onFrame(FrameHandler handler) {
        connection.input().setFrameHandler(Objects.requireNonNull(handler), this);
    }

    @Override
    public void pauseReading() {
        connection.input().pause();
    }

    @Override
    public void resumeReading() {
        connection.input().resume();
    }

    @Override
    public void write(byte[] transaction) throws IOException {
        write(transaction, 0, transaction.length, Deadline.after(0));
    }

    @Override
    public void write(byte[] data, int offset, int length) throws IOException {
        Objects.checkFromIndexSize(offset, length, data.length);
        write(data, offset, length, Deadline.after(0));
    }

    @Override
    public void write(byte[] transaction, Duration timeout) throws IOException {
        write(transaction, 0, transaction.length, Deadline.after(millis(timeout)));
    }

    private void write(byte[] data, int offset, int length, Deadline deadline) throws IOException {
        try {
            connection.output().writeFrame(data, offset, length, flags, deadline);
            connection.awaitSentAtExit();
        } finally {
            Reference.reachabilityFence(this);
        }
    }

    @Override
    public void write(FrameView frame) throws IOException {
        if (!(frame instanceof NativeLoop.Frame shown)) {
            throw new IllegalArgumentException("this frame was not shown by a native connection");
        }
        shown.sendTo(connection, flags);
    }

    @Override
    public void writeBatch(List<byte[]> transactions) throws IOException {
        byte[][] frames = transactions.toArray(byte[][]::new);
        for (byte[] frame : frames) {
            Objects.requireNonNull(frame);
        }
        if (frames.length > 0) {
            try {
                connection.output().writeFrames(frames, flags);
                connection.awaitSentAtExit();
            } finally {
                Reference.reachabilityFence(this);
            }
        }
    }

    @Override
    public boolean offer(byte[] transaction) throws IOException {
        return connection.output().offerFrame(transaction, flags);
    }

    @Override
    public CompletionStage<Void> writeAsync(byte[] transaction) {
        CompletableFuture<Void> taken =
                connection.output().writeFrameAsync(Objects.requireNonNull(transaction), flags);
        if (!taken.isDone()) {
            taken.whenComplete((nothing, failure) -> Reference.reachabilityFence(this));
        }
        return taken;
    }

    @Override
    public void setCompressing(boolean on) {
        flags = on ? 0 : ConnectionOutput.RAW;
    }

    @Override
    public void setSoTimeout(int timeoutMillis) {
        if (timeoutMillis < 0) {
            throw new IllegalArgumentException("timeout is " + timeoutMillis);
        }
        soTimeout = timeoutMillis;
    }

    @Override
    public int getSoTimeout() {
        return soTimeout;
    }

    @Override
    public void shutdownOutput() throws IOException {
        connection.output().shutdown();
    }

    @Override
    public void close() {
        connection.close();
    }

    @Override
    public void abort() {
        connection.abort();
    }

    @Override
    public boolean isClosed() {
        return connection.isClosed();
    }

    @Override
    public CompletionStage<CloseInfo> whenClosed() {
        // A copy: nobody else may complete the original.
        return connection.ended().thenApply(info -> info);
    }

    @Override
    public ConnectionInfo getInfo() {
        return connection.info();
    }

    @Override
    public InetSocketAddress getRemoteSocketAddress() {
        return connection.info().remoteAddress();
    }

    @Override
    public Optional<TlsInfo> getTlsInfo() {
        return connection.info().tls();
    }

    @Override
    public String toString() {
        ConnectionInfo info = connection.info();
        return info.protocol() + " " + info.remoteAddress();
    }

    private void refuseOnLoop() {
        if (NativeLoop.isLoopThread()) {
            throw new IllegalStateException("the thread of a loop must not wait");
        }
    }

    private static int millis(Duration timeout) {
        if (timeout.isNegative()) {
            throw new IllegalArgumentException("timeout is " + timeout);
        }
        if (timeout.isZero()) {
            return 0;
        }
        // What is shorter than a millisecond is still a limit.
        long millis = timeout.compareTo(Duration.ofMillis(Integer.MAX_VALUE)) > 0
                ? Integer.MAX_VALUE
                : timeout.toMillis();
        return (int) Math.max(1, millis);
    }
}
