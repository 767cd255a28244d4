package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertInstanceOf;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.net.SocketException;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** On what callbacks run, and what an interrupt does to them: the same on every JDK unless a program wants it otherwise. */
class CallbackThreadsTest {
    private static final boolean HAS_VIRTUAL = Runtime.version().feature() >= 21;

    private static ServerConfig configured(String kind) {
        return ServerConfig.builder()
                .set("Runtime", "callbackThreads", kind)
                .addPort("").setPort("port", "0").setPort("bindAddress", "127.0.0.1")
                .build();
    }

    @Test
    void byDefaultTheyArePlatformThreadsWhichGoOnReadingWhenTheyAreInterrupted() throws Exception {
        List<NativeRuntime.Builder> all =
                List.of(
                        NativeRuntime.builder(Served.config()),
                        NativeRuntime.builder(configured("platform")),
                        NativeRuntime.builder(configured("virtual")).callbackThreads(CallbackThreads.PLATFORM));
        for (NativeRuntime.Builder each : all) {
            try (Scene scene = new Scene(each)) {
                assertTrue(scene.thread().isDaemon());
                assertEquals(false, isVirtual(scene.thread()));
                scene.thread().interrupt();
                scene.peer.send(new byte[3]);
                assertEquals("3 bytes, interrupted: true", scene.outcome());
                scene.peer.expectEnd();
            }
        }
    }

    @Test
    void virtualOnesAreForJdk21AndCloseTheConnectionWhenTheyAreInterrupted() throws Exception {
        List<NativeRuntime.Builder> all =
                List.of(
                        NativeRuntime.builder(configured("virtual")),
                        NativeRuntime.builder(Served.config()).callbackThreads(CallbackThreads.VIRTUAL));
        for (NativeRuntime.Builder each : all) {
            if (!HAS_VIRTUAL) {
                String said = assertThrows(IllegalArgumentException.class, each::build).getMessage();
                assertTrue(said.startsWith("callbackThreads = virtual needs JDK 21 or later"), said);
                continue;
            }
            try (Scene scene = new Scene(each)) {
                assertEquals(true, isVirtual(scene.thread()));
                scene.thread().interrupt();
                assertInstanceOf(SocketException.class, scene.outcome());
                scene.peer.expectEnd();
            }
        }
    }

    private static Object isVirtual(Thread thread) throws Exception {
        return HAS_VIRTUAL ? Thread.class.getMethod("isVirtual").invoke(thread) : false;
    }

    /** A client whose callback reads one transaction. */
    private static final class Scene implements AutoCloseable {
        private final CompletableFuture<Thread> thread = new CompletableFuture<>();
        private final CompletableFuture<Object> outcome = new CompletableFuture<>();
        private final NativeRuntime runtime;
        final Peer peer;

        Scene(NativeRuntime.Builder builder) throws Exception {
            runtime = builder.build();
            var listener =
                    new SocketClientConnectionListener(
                            runtime,
                            Served.config(),
                            0,
                            new ConnectionHandler() {
                                @Override
                                public void onClientConnect(SocketClientCommunication client) {
                                    readOne(client);
                                }
                            });
            listener.start();
            peer = Peer.client(listener.getLocalPort());
        }

        private void readOne(SocketClientCommunication client) {
            thread.complete(Thread.currentThread());
            try (client) {
                int length = client.read().length;
                outcome.complete(length + " bytes, interrupted: " + Thread.interrupted());
            } catch (Exception failure) {
                outcome.complete(failure);
            }
        }

        Thread thread() throws Exception {
            return thread.get(Served.SECONDS, TimeUnit.SECONDS);
        }

        Object outcome() throws Exception {
            return outcome.get(Served.SECONDS, TimeUnit.SECONDS);
        }

        @Override
        public void close() throws IOException {
            peer.close();
            runtime.close();
        }
    }
}
