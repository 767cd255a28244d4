package org.nativeport.internal;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.Closeable;
import java.io.IOException;
import java.lang.reflect.Method;
import java.net.Socket;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.util.Set;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.FutureTask;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.locks.ReentrantLock;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledForJreRange;
import org.junit.jupiter.api.condition.JRE;
import org.nativeport.CloseInfo;
import org.nativeport.Protocol;

/** What a loop does when something is wrong with it, and for whom it never waits. */
@SuppressWarnings("try") // a resource that is there and not used
class NativeLoopTest {
    private static final int BUFFER_SIZE = 65_536;

    private final BlockingQueue<NativeConnection> came = new LinkedBlockingQueue<>();

    @BeforeAll
    static void load() {
        Library.require();
    }

    private static RuntimeCore runtime(int loops) throws IOException {
        return new RuntimeCore(new byte[0], new RuntimeCore.Settings(loops, BUFFER_SIZE, null, null, false));
    }

    /** Takes framed clients on a free port. */
    private Port listen(RuntimeCore runtime) throws IOException {
        Port.Arrivals arrivals =
                new Port.Arrivals() {
                    @Override
                    public void admit(NativeConnection connection) {
                        connection.admit();
                    }

                    @Override
                    public void opened(NativeConnection connection) {
                        came.add(connection);
                    }
                };
        byte[] config = config("[Port]\nport=0\nbindAddress=127.0.0.1\ncompression=off\n");
        Port port = runtime.newPort(config, 0, Set.of(Protocol.CLIENT), false, arrivals);
        port.start();
        return port;
    }

    /** As the builder of configurations writes a file. */
    private static byte[] config(String text) {
        byte[] bytes = text.getBytes();
        return ByteBuffer.allocate(13 + bytes.length)
                .put((byte) 1)
                .putInt(0)
                .putInt(bytes.length)
                .put(bytes)
                .putInt(0)
                .array();
    }

    /** A framed client that has been let in. */
    private static Socket client(Port port) throws IOException {
        Socket peer = new Socket(port.addresses().get(0).getAddress(), port.addresses().get(0).getPort());
        peer.getOutputStream().write(1);
        assertEquals(1, peer.getInputStream().read());
        return peer;
    }

    /** Polls in place of a loop's own thread, whose polls fail meanwhile. */
    private static final class Thief implements Closeable {
        private final AtomicBoolean over = new AtomicBoolean();
        private final NativeLoop from;
        private final Thread thread = new Thread(this::steal, "thief");

        Thief(NativeLoop from) {
            this.from = from;
            thread.setDaemon(true);
            thread.start();
        }

        private void steal() {
            while (!over.get()) {
                if (Native.loopPoll(from.id, 1000) == Status.STATE) {
                    // Its own thread was first: it has to come back.
                    from.wake();
                }
            }
        }

        @Override
        public void close() throws IOException {
            over.set(true);
            from.wake();
            try {
                thread.join();
            } catch (InterruptedException e) {
                throw new IOException(e);
            }
        }
    }

    @Test
    void aPollThatFailsEndsTheConnectionsOfItsLoopAndTheLoopGoesOn() throws Exception {
        RuntimeCore runtime = runtime(1);
        Port port = listen(runtime);
        try (Socket peer = client(port)) {
            NativeConnection connection = came.take();
            FutureTask<byte[]> reader = new FutureTask<>(() -> connection.input().readFrame(Deadline.after(0)));
            Thread reading = new Thread(reader, "reader");
            reading.setDaemon(true);
            reading.start();
            CompletableFuture<CloseInfo> ended = connection.ended();
            try (Thief thief = new Thief(connection.loop)) {
                assertEquals("internal", ended.get().reason());
                ExecutionException failure = assertThrows(ExecutionException.class, reader::get);
                assertInstanceOf(SocketException.class, failure.getCause());
                assertThrows(SocketException.class, peer.getInputStream()::read);
            }
        }
        try (Socket peer = client(port)) {
            NativeConnection connection = came.take();
            peer.getOutputStream().write(new byte[] {0, 0, 0, 1, 7});
            assertArrayEquals(new byte[] {7}, connection.input().readFrame(Deadline.after(0)));
            connection.output().writeFrame(new byte[] {8}, 0, 1, 0, Deadline.after(0));
            assertArrayEquals(new byte[] {0, 0, 0, 1, 8}, peer.getInputStream().readNBytes(5));
        }
        runtime.stop(0).get();
    }

    @Test
    void aListenerEndsAlsoWhileOneOfTheLoopsIsHeldUp() throws Exception {
        RuntimeCore runtime = runtime(2);
        for (int i = 0; i < 2; i++) {
            Port port = listen(runtime);
            CountDownLatch held = new CountDownLatch(1);
            CountDownLatch goOn = new CountDownLatch(1);
            runtime.loops.get(i).execute(
                    () -> {
                        held.countDown();
                        awaitUninterrupted(goOn);
                    });
            held.await();
            port.stop(0).get();
            goOn.countDown();
        }
        runtime.stop(0).get();
    }

    private static void awaitUninterrupted(CountDownLatch latch) {
        try {
            latch.await();
        } catch (InterruptedException e) {
            throw new IllegalStateException(e);
        }
    }

    @Test
    @EnabledForJreRange(min = JRE.JAVA_21)
    void aLoopDoesNotWaitBehindAVirtualThreadThatHasNoCarrier() throws Exception {
        // By name, as this compiles for 17.
        Method startVirtual = Thread.class.getMethod("startVirtualThread", Runnable.class);
        ReentrantLock lock = new ReentrantLock();
        AtomicBoolean over = new AtomicBoolean();
        AtomicInteger spinning = new AtomicInteger();
        lock.lock();
        try {
            Runnable queue =
                    () -> {
                        lock.lock();
                        lock.unlock();
                    };
            startVirtual.invoke(null, queue);
            while (lock.getQueueLength() == 0) {
                Thread.onSpinWait();
            }
            // Every carrier is taken: whoever is queued is woken, and does not run.
            int carriers =
                    Integer.getInteger(
                            "jdk.virtualThreadScheduler.parallelism", Runtime.getRuntime().availableProcessors());
            Runnable spin =
                    () -> {
                        spinning.incrementAndGet();
                        while (!over.get()) {
                            Thread.onSpinWait();
                        }
                    };
            for (int i = 0; i < carriers; i++) {
                startVirtual.invoke(null, spin);
            }
            while (spinning.get() < carriers) {
                Thread.onSpinWait();
            }
            Runnable locks =
                    () -> {
                        NativeLoop.lock(lock);
                        lock.unlock();
                    };
            Thread loop = new NativeLoop.LoopThread(locks, "loop-that-locks");
            loop.setDaemon(true);
            loop.start();
            // In the queue, or between two tries.
            while (loop.getState() != Thread.State.TIMED_WAITING && loop.getState() != Thread.State.WAITING) {
                Thread.onSpinWait();
            }
            lock.unlock();
            // It would wait for a thread that does not run.
            loop.join();
            assertTrue(lock.hasQueuedThreads(), "the virtual thread had a carrier, so that this has shown nothing");
        } finally {
            over.set(true);
            if (lock.isHeldByCurrentThread()) {
                lock.unlock();
            }
        }
    }

    @Test
    void aLoopWithoutTrafficHearsThatTheProcessEnds() throws Exception {
        RuntimeCore runtime = runtime(2);
        listen(runtime);
        Deadline patience = Deadline.after(600_000);
        runtime.loops.forEach(loop -> loop.processEnds(connection -> {}));
        // Nothing else will ever come to them.
        while (!runtime.loops.stream().allMatch(NativeLoop::knowsThatProcessEnds)) {
            assertTrue(!patience.isOver(), "a loop has not heard of it");
            Thread.sleep(1);
        }
        runtime.stop(0).get();
    }
}
