package org.nativeport;

import java.io.IOException;
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
 * program loses it without closing it, the log says so.
 */
public final class SocketClientCommunication implements ClientCommunicationInterface {
    private final RuntimeCore runtime;
    private final NativeConnection connection;
    private volatile int soTimeout;
    private volatile int flags;

    SocketClientCommunication(RuntimeCore runtime, NativeConnection connection) {
        this.runtime = runtime;
        this.connection = connection;
        runtime.reportLeak(this, connection);
    }

    @Override
    public byte[] read() throws IOException {
        refuseOnLoop();
        return connection.input().readFrame(Deadline.after(soTimeout));
    }

    @Override
    public byte[] read(Duration timeout) throws IOException {
        refuseOnLoop();
        return connection.input().readFrame(Deadline.after(millis(timeout)));
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
        connection.output().writeFrame(transaction, 0, transaction.length, flags, Deadline.after(0));
    }

    @Override
    public void write(byte[] data, int offset, int length) throws IOException {
        Objects.checkFromIndexSize(offset, length, data.length);
        connection.output().writeFrame(data, offset, length, flags, Deadline.after(0));
    }

    @Override
    public void write(byte[] transaction, Duration timeout) throws IOException {
        Deadline deadline = Deadline.after(millis(timeout));
        connection.output().writeFrame(transaction, 0, transaction.length, flags, deadline);
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
            connection.output().writeFrames(frames, flags);
        }
    }

    @Override
    public boolean offer(byte[] transaction) throws IOException {
        return connection.output().offerFrame(transaction, flags);
    }

    @Override
    public CompletionStage<Void> writeAsync(byte[] transaction) {
        return connection.output().writeFrameAsync(Objects.requireNonNull(transaction), flags);
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
