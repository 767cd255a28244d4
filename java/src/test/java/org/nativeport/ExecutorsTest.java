package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;

import java.io.IOException;
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
import org.junit.jupiter.api.condition.EnabledForJreRange;
import org.junit.jupiter.api.condition.JRE;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;
import org.nativeport.internal.ConnectionOutput;

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
                for (int i = 0; i < 300; i++) {
                    writes.add(client.writeAsync(new byte[1 << 17]).toCompletableFuture());
                }
                for (CompletableFuture<Void> write : writes) {
                    assertEquals(1 << 17, peer.receive().length);
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

    /** A client of a runtime with that executor, and its peer. */
    private static final class Connected implements AutoCloseable {
        private final BlockingQueue<SocketClientCommunication> clients = new LinkedBlockingQueue<>();
        private final NativeRuntime runtime;
        final Peer peer;
        final SocketClientCommunication client;

        Connected(Executor executor, String sendQueueLimit) throws Exception {
            ServerConfig config = Served.config("sendQueueLimit", sendQueueLimit, "compression", "off");
            ConnectionHandler handler =
                    new ConnectionHandler() {
                        @Override
                        public boolean connectsOnLoop() {
                            return true;
                        }

                        @Override
                        public void onClientConnect(SocketClientCommunication client) {
                            clients.add(client);
                        }
                    };
            runtime = NativeRuntime.builder(config).callbackExecutor(executor).build();
            var listener = new SocketClientConnectionListener(runtime, config, 0, handler);
            listener.start();
            peer = Peer.client(listener.getLocalPort());
            client = Served.next(clients);
        }

        /** The last of more than all buffers have room for. */
        CompletableFuture<Void> sendWhatWaits() {
            byte[] large = new byte[1 << 20];
            for (int i = 0; i < 30; i++) {
                client.writeAsync(large);
            }
            return client.writeAsync(large).toCompletableFuture();
        }

        @Override
        public void close() throws IOException {
            peer.close();
            runtime.close();
        }
    }

    private static List<Executor> executorsThatRunNothingElsewhere() {
        Failing failing = new Failing();
        failing.failure = new RejectedExecutionException("full");
        return List.of(failing, Runnable::run);
    }

    @ParameterizedTest
    @MethodSource("executorsThatRunNothingElsewhere")
    void aChainOfSendsIsAsLongAsOneLikesAlsoIfTheyFail(Executor executor) throws Exception {
        try (Connected connected = new Connected(executor, "64M")) {
            CompletableFuture<Void> taken = new CompletableFuture<>();
            send(connected.client, 3_000, taken);
            taken.get(Served.SECONDS, TimeUnit.SECONDS);
            connected.client.close();
            CompletableFuture<Void> refused = new CompletableFuture<>();
            send(connected.client, 3_000, refused);
            refused.get(Served.SECONDS, TimeUnit.SECONDS);
        }
    }

    private static void send(SocketClientCommunication client, int left, CompletableFuture<Void> all) {
        if (left == 0) {
            all.complete(null);
            return;
        }
        client.writeAsync(new byte[1])
                .handle(
                        (sent, failure) -> {
                            send(client, left - 1, all);
                            return null;
                        });
    }

    @Test
    @EnabledForJreRange(min = JRE.JAVA_21)
    void futuresThatAnInterruptFailsAreCompletedWhenTheLockOfTheConnectionIsFree() throws Exception {
        try (Connected connected = new Connected(Runnable::run, "64K")) {
            SocketClientCommunication client = connected.client;
            CompletableFuture<Boolean> others = new CompletableFuture<>();
            CompletableFuture<Void> unsent = connected.sendWhatWaits();
            unsent.whenComplete(
                    (sent, failure) -> {
                        try {
                            // It runs on the thread that was interrupted. Another thread needs the lock.
                            Thread.interrupted();
                            CompletableFuture.runAsync(() -> client.writeAsync(new byte[1])).get(5, TimeUnit.SECONDS);
                            others.complete(true);
                        } catch (Exception held) {
                            others.completeExceptionally(held);
                        }
                    });
            Thread writer = Tasks.thread(
                    () -> {
                        try {
                            client.write(new byte[1]);
                        } catch (Exception closed) {
                            return;
                        }
                    },
                    true);
            Tasks.await("a writer that waits", () -> writer.getState() == Thread.State.WAITING);
            writer.interrupt();
            assertEquals(true, others.get(Served.SECONDS, TimeUnit.SECONDS));
        }
    }

    @Test
    void aFutureSaysWhyItFailedAndNotWhatCameLater() throws Exception {
        BlockingQueue<Runnable> held = new LinkedBlockingQueue<>();
        Executor executor =
                task -> {
                    if (task instanceof ConnectionOutput) {
                        held.add(task);
                    } else {
                        task.run();
                    }
                };
        try (Connected connected = new Connected(executor, "64K")) {
            CompletableFuture<Void> unsent = connected.sendWhatWaits();
            connected.peer.reset();
            assertEquals("peer_reset", Served.ended(connected.client).reason());
            connected.client.close();
            held.forEach(Runnable::run);
            Exception why = assertThrows(ExecutionException.class, () -> unsent.get(Served.SECONDS, TimeUnit.SECONDS));
            assertEquals("Connection reset", why.getCause().getMessage());
        }
    }
}
