package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.Executor;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.RejectedExecutionException;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Executors of the program's that take no more, or fail: nobody waits for ever, nothing is left open. */
class ExecutorsTest {
    /** Runs each task on a thread of its own until it is told to fail. */
    private static final class Failing implements Executor {
        volatile Throwable failure;

        @Override
        public void execute(Runnable task) {
            Throwable now = failure;
            if (now instanceof Error error) {
                throw error;
            }
            if (now != null) {
                throw (RuntimeException) now;
            }
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            thread.start();
        }
    }

    private static List<Throwable> failures() {
        return List.of(
                new RejectedExecutionException("full"),
                new IllegalStateException("it is down"),
                new NoClassDefFoundError("Missing"),
                new StackOverflowError("deep"));
    }

    @ParameterizedTest
    @MethodSource("failures")
    void whatAnExecutorDoesNotTakeIsToldAndNoConnectionStaysOpen(Throwable failure) throws Exception {
        Failing executor = new Failing();
        ServerConfig config = Served.config("sendQueueLimit", "64K", "compression", "off");
        BlockingQueue<SocketClientCommunication> clients = new LinkedBlockingQueue<>();
        ConnectionHandler handler =
                new ConnectionHandler() {
                    @Override
                    public void onClientConnect(SocketClientCommunication client) {
                        clients.add(client);
                    }
                };
        try (NativeRuntime runtime =
                NativeRuntime.builder(config).callbackExecutor(executor).build()) {
            var listener = new SocketClientConnectionListener(runtime, config, 0, handler);
            listener.start();
            try (Peer peer = Peer.client(listener.getLocalPort());
                    SocketClientCommunication client = Served.next(clients)) {
                executor.failure = failure;
                CompletableFuture<byte[]> read = client.readAsync().toCompletableFuture();
                Exception why =
                        assertThrows(
                                ExecutionException.class,
                                () -> read.get(Served.SECONDS, TimeUnit.SECONDS));
                assertInstanceOf(RejectedExecutionException.class, why.getCause());
                List<CompletableFuture<Void>> writes = new ArrayList<>();
                for (int i = 0; i < 30; i++) {
                    writes.add(client.writeAsync(new byte[1 << 20]).toCompletableFuture());
                }
                for (CompletableFuture<Void> write : writes) {
                    assertEquals(1 << 20, peer.receive().length);
                    write.get(Served.SECONDS, TimeUnit.SECONDS);
                }
                try (Peer late = Peer.client(listener.getLocalPort())) {
                    late.expectEnd();
                }
                CompletableFuture<CloseInfo> closed = client.whenClosed().toCompletableFuture();
                peer.reset();
                assertEquals("peer_reset", closed.get(Served.SECONDS, TimeUnit.SECONDS).reason());
            }
            executor.failure = null;
        }
    }

    @ParameterizedTest
    @MethodSource("failures")
    void anExecutorThatFailsWhenAListenerEndsCostsNoLoopAndTheRuntimeEnds(Throwable failure) throws Exception {
        Failing executor = new Failing();
        ServerConfig config = Served.config();
        NativeRuntime runtime =
                NativeRuntime.builder(config).callbackExecutor(executor).build();
        var listener =
                new SocketClientConnectionListener(runtime, config, 0, new ConnectionHandler() {
                    @Override
                    public void onClientConnect(SocketClientCommunication client) {}
                });
        listener.start();
        executor.failure = failure;
        listener.stop(Duration.ZERO).toCompletableFuture().get(Served.SECONDS, TimeUnit.SECONDS);
        runtime.stop(Duration.ZERO).toCompletableFuture().get(Served.SECONDS, TimeUnit.SECONDS);
        Tasks.start(runtime::close).get();
    }
}
