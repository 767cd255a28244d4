package org.nativeport.bench;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.channels.SocketChannel;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.nativeport.ConnectionHandler;
import org.nativeport.ServerConfig;
import org.nativeport.SocketClientCommunication;
import org.nativeport.SocketClientConnectionListener;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/**
 * The two ways of a frame through the whole library, over a socket, with the peer in the thread
 * of the benchmark. What they allocate is that of all threads.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Fork(1)
@Warmup(iterations = 4, time = 1)
@Measurement(iterations = 5, time = 1)
public class Paths {
    private static final int PAYLOAD = 64;

    private abstract static class Served implements ConnectionHandler {
        SocketClientConnectionListener listener;
        SocketChannel peer;

        void open() throws IOException {
            listener =
                    new SocketClientConnectionListener(
                            ServerConfig.builder()
                                    .set("Runtime", "ioThreads", "1")
                                    .addPort("")
                                    .setPort("port", "0")
                                    .setPort("bindAddress", "127.0.0.1")
                                    .setPort("compression", "off")
                                    .build(),
                            this);
            listener.start();
            peer = SocketChannel.open(new InetSocketAddress("127.0.0.1", listener.getLocalPort()));
            ByteBuffer one = ByteBuffer.wrap(new byte[] {1});
            peer.write(one);
            one.rewind();
            peer.read(one);
        }

        void shut() throws IOException {
            peer.close();
            listener.close();
        }
    }

    /** A client whose frames come back by the fast path. */
    @State(Scope.Thread)
    public static class Fast extends Served {
        @Param({"1", "16", "64"})
        int batch;

        ByteBuffer frames;
        ByteBuffer answers;

        @Setup
        @Override
        public void open() throws IOException {
            super.open();
            frames = ByteBuffer.allocateDirect(batch * (4 + PAYLOAD));
            for (int i = 0; i < batch; i++) {
                frames.putInt(PAYLOAD).position(frames.position() + PAYLOAD);
            }
            answers = ByteBuffer.allocateDirect(frames.limit());
        }

        @TearDown
        @Override
        public void shut() throws IOException {
            super.shut();
        }

        @Override
        public boolean connectsOnLoop() {
            return true;
        }

        @Override
        public void onClientConnect(SocketClientCommunication client) {
            client.onFrame(client::write);
        }
    }

    @Benchmark
    public int echo(Fast fast) throws IOException {
        fast.frames.rewind();
        fast.peer.write(fast.frames);
        fast.answers.clear();
        while (fast.answers.hasRemaining()) {
            fast.peer.read(fast.answers);
        }
        return fast.answers.get(0);
    }

    /** A client that the thread of the benchmark reads from. */
    @State(Scope.Thread)
    public static class Blocking extends Served {
        private final CompletableFuture<SocketClientCommunication> come = new CompletableFuture<>();
        SocketClientCommunication client;
        ByteBuffer frame;

        @Setup
        @Override
        public void open() throws IOException {
            super.open();
            client = come.join();
            frame = ByteBuffer.allocateDirect(4 + PAYLOAD);
            frame.putInt(PAYLOAD);
        }

        @TearDown
        @Override
        public void shut() throws IOException {
            super.shut();
        }

        @Override
        public void onClientConnect(SocketClientCommunication client) {
            come.complete(client);
        }
    }

    /** The peer writes a frame, and the reader parks until it has come. */
    @Benchmark
    public byte[] parkedRead(Blocking blocking) throws IOException {
        blocking.frame.rewind();
        blocking.peer.write(blocking.frame);
        return blocking.client.read();
    }
}
