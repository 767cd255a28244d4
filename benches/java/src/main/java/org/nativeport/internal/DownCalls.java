package org.nativeport.internal;

import java.io.IOException;
import java.net.InetSocketAddress;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.concurrent.TimeUnit;
import org.nativeport.internal.NativeNumbers.Entry;
import org.nativeport.internal.NativeNumbers.EventRecord;
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
 * What a call into the native library costs, and a turn of a loop: polled on the thread of the
 * benchmark, without the rest of the library. In this package for the sake of the natives.
 */
@BenchmarkMode(Mode.AverageTime)
@OutputTimeUnit(TimeUnit.NANOSECONDS)
@Fork(1)
@Warmup(iterations = 4, time = 1)
@Measurement(iterations = 5, time = 1)
public class DownCalls {
    private static final int RECORDS = 1024;
    private static final int ENTRIES = 8192;
    private static final int INPUT = 262_144;
    private static final int REST = 262_144;
    private static final int PAYLOAD = 64;

    static {
        Library.require();
    }

    /** A native that does nothing but refuse. */
    @Benchmark
    public int emptyDownCall() {
        return Native.connControl(0, -1);
    }

    /** A loop that nobody has connected to. */
    @State(Scope.Thread)
    public static class Idle {
        Loop loop;

        @Setup
        public void open() throws IOException {
            loop = new Loop();
        }

        @TearDown
        public void close() {
            loop.close();
        }
    }

    @Benchmark
    public int emptyTurn(Idle idle) {
        return Native.loopPoll(idle.loop.id, 0);
    }

    /** A loop with one connection, and the peer of that. */
    @State(Scope.Thread)
    public static class Connected {
        @Param({"1", "16", "64"})
        int batch;

        Loop loop;
        SocketChannel peer;
        ByteBuffer frames;

        @Setup
        public void open() throws IOException {
            loop = new Loop();
            peer = loop.connect();
            frames = frames(batch);
        }

        @TearDown
        public void close() throws IOException {
            peer.close();
            loop.close();
        }
    }

    /** The peer writes so many frames, and Java reads the first byte of each. */
    @Benchmark
    public int deliver(Connected connected) throws IOException {
        connected.frames.rewind();
        connected.peer.write(connected.frames);
        int sum = 0;
        for (int come = 0; come < connected.batch; ) {
            int records = Native.loopPoll(connected.loop.id, -1);
            ByteBuffer output = connected.loop.output;
            for (int record = 0; record < records; record++) {
                int at = record * EventRecord.BYTES;
                int count = output.getInt(at + EventRecord.COUNT);
                int first = output.getInt(at + EventRecord.FIRST);
                for (int entry = first; entry < first + count; entry++) {
                    int offset = output.getInt(RECORDS * EventRecord.BYTES + entry * Entry.BYTES + Entry.OFFSET);
                    sum += connected.loop.input.get(offset);
                }
                come += count;
            }
        }
        return sum;
    }

    /** Two sockets, and nothing of this library. */
    @State(Scope.Thread)
    public static class Sockets {
        @Param({"1", "16", "64"})
        int batch;

        SocketChannel near;
        SocketChannel far;
        ByteBuffer frames;
        ByteBuffer input;

        @Setup
        public void open() throws IOException {
            try (ServerSocketChannel server = ServerSocketChannel.open()) {
                server.bind(new InetSocketAddress("127.0.0.1", 0));
                near = SocketChannel.open(server.getLocalAddress());
                far = server.accept();
            }
            frames = frames(batch);
            input = ByteBuffer.allocateDirect(INPUT);
        }

        @TearDown
        public void close() throws IOException {
            near.close();
            far.close();
        }
    }

    /** The same bytes, written and read. */
    @Benchmark
    public int socketAlone(Sockets sockets) throws IOException {
        sockets.frames.rewind();
        sockets.near.write(sockets.frames);
        sockets.input.clear();
        while (sockets.input.position() < sockets.frames.limit()) {
            sockets.far.read(sockets.input);
        }
        return sockets.input.get(0);
    }

    private static ByteBuffer frames(int count) {
        ByteBuffer frames = ByteBuffer.allocateDirect(count * (4 + PAYLOAD));
        for (int i = 0; i < count; i++) {
            frames.putInt(PAYLOAD).position(frames.position() + PAYLOAD);
        }
        return frames;
    }

    /** A loop with its runtime and one port. */
    private static final class Loop {
        final ByteBuffer input = ByteBuffer.allocateDirect(INPUT);
        final ByteBuffer output =
                ByteBuffer.allocateDirect(RECORDS * EventRecord.BYTES + ENTRIES * Entry.BYTES + REST)
                        .order(ByteOrder.nativeOrder());
        final long runtime;
        final long listener;
        final long id;

        Loop() throws IOException {
            byte[] config =
                    file("[Port]\nport = 0\nbindAddress = 127.0.0.1\ncompression = off\n");
            byte[] words = new byte[Native.WORDS];
            runtime = made(Native.runtimeNew(config, words), words);
            id = made(Native.loopNew(runtime, input, output, RECORDS, ENTRIES, words), words);
            listener = made(Native.listenerNew(runtime, config, 0, 1, 1, words), words);
            made(Native.listenerStart(listener, words), words);
        }

        SocketChannel connect() throws IOException {
            Answer answer = new Answer(Native.listenerAddresses(listener));
            SocketChannel peer =
                    SocketChannel.open(new InetSocketAddress(answer.text(), answer.number()));
            ByteBuffer one = ByteBuffer.wrap(new byte[] {1});
            peer.write(one);
            // Open is the first event.
            while (Native.loopPoll(id, -1) == 0) {}
            // Its answer leaves with the next turn, at the latest.
            Native.loopPoll(id, 0);
            one.rewind();
            peer.read(one);
            return peer;
        }

        void close() {
            Native.runtimeStop(runtime, 0);
            while (Native.loopPoll(id, -1) != Status.STOPPED) {}
            Native.release(id);
            Native.release(listener);
            Native.release(runtime);
        }

        /** A configuration that is one file, as {@code ServerConfig} would say it. */
        private static byte[] file(String text) {
            byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
            int lengths = 3 * Integer.BYTES;
            return ByteBuffer.allocate(1 + lengths + bytes.length)
                    .put((byte) 1)
                    .putInt(0)
                    .putInt(bytes.length)
                    .put(bytes)
                    .putInt(0)
                    .array();
        }

        private static long made(long id, byte[] words) throws IOException {
            if (id < 0) {
                throw Status.exception(id, words);
            }
            return id;
        }
    }
}
