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
import org.junit.jupiter.api.Test;

/** Executors of the program's that take no more, or fail: nobody waits for ever, nothing is left open. */
class ExecutorsTest {
    /** Runs each task on a thread of its own until it is told to fail. */
    private static final class Failing implements Executor {
        volatile RuntimeException failure;

        @Override
        public void execute(Runnable task) {
            RuntimeException now = failure;
            if (now != null) {
                throw now;
            }
            Thread thread = new Thread(task);
            thread.setDaemon(true);
            thread.start();
        }
    }

    @Test
    void whatAnExecutorRejectsIsToldAndNoConnectionStaysOpen() throws Exception {
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
                executor.failure = new RejectedExecutionException("full");
                CompletableFuture<byte[]> read = client.readAsync().toCompletableFuture();
                Exception why =
                        assertThrows(
                                ExecutionException.class,
                                () -> read.get(Served.SECONDS, TimeUnit.SECONDS));
                assertInstanceOf(RejectedExecutionException.class, why.getCause());
                List<CompletableFuture<Void>> writes = new ArrayList<>();
                for (int i = 0; i < 300; i++) {
                    writes.add(client.writeAsync(new byte[100_000]).toCompletableFuture());
                }
                for (CompletableFuture<Void> write : writes) {
                    assertEquals(100_000, peer.receive().length);
                    write.get(Served.SECONDS, TimeUnit.SECONDS);
                }
                try (Peer late = Peer.client(listener.getLocalPort())) {
                    late.expectEnd();
                }
            }
            executor.failure = null;
        }
    }

    @Test
    void anExecutorThatFailsWhenAListenerEndsCostsNoLoopAndTheRuntimeEnds() throws Exception {
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
        executor.failure = new IllegalStateException("it is down");
        listener.stop(Duration.ZERO).toCompletableFuture().get(Served.SECONDS, TimeUnit.SECONDS);
        Tasks.start(runtime::close).get();
    }
}
