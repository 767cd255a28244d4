package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

@SuppressWarnings("try") // a resource that is there and not used
class TransactionsTest {
    private static final int[] SIZES = {
        0, 1, 63, 4095, 4096, 4097, 65_536, 262_139, 262_140, 262_144, 1 << 20, 5_000_000
    };

    static byte[] random(int size) {
        byte[] bytes = new byte[size];
        new Random(size).nextBytes(bytes);
        return bytes;
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void transactionsOfAllSizesComeWholeAndInOrderBothWays(boolean tls) throws Exception {
        try (Served served = tls ? Served.tls() : Served.plain();
                Peer peer =
                        tls
                                ? Peer.connectTls(served.port()).identify(1)
                                : Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            for (int size : SIZES) {
                peer.send(random(size));
                byte[] came = client.read();
                assertArrayEquals(random(size), came);
                client.write(came);
                assertArrayEquals(random(size), peer.receive());
            }
            assertEquals(tls, client.getTlsInfo().isPresent());
        }
    }

    @Test
    void transactionsMayBeLargerThanTheReadBufferWhoseSizeHasLimits() throws Exception {
        NativeRuntime.Builder builder = NativeRuntime.builder();
        assertThrows(IllegalArgumentException.class, () -> builder.readBufferSize(65_535));
        assertThrows(IllegalArgumentException.class, () -> builder.readBufferSize((1 << 30) + 1));
        for (int size : new int[] {65_536, 1 << 20}) {
            ServerConfig config = Served.config();
            try (NativeRuntime runtime = builder.readBufferSize(size).build();
                    var listener = new SocketClientConnectionListener(runtime, config, 0, EndsTest.echo())) {
                listener.start();
                try (Peer peer = Peer.client(listener.getLocalPort())) {
                    for (int length : new int[] {size - 1, size, 3 * size}) {
                        peer.send(random(length));
                        assertArrayEquals(random(length), peer.receive());
                    }
                }
            }
        }
    }

    @Test
    void manyTransactionsThatComeAtOnceAreReadInOrder() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            int count = 20_000;
            for (int i = 0; i < count; i++) {
                peer.put(new byte[] {(byte) i, (byte) (i >> 8)});
            }
            peer.flush();
            for (int i = 0; i < count; i++) {
                assertArrayEquals(new byte[] {(byte) i, (byte) (i >> 8)}, client.read());
            }
        }
    }

    @Test
    void compressedTransactionsComeInflatedAndAnswersAreCompressed() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            for (int size : new int[] {1, 100, 4096, 100_000, 3_000_000}) {
                byte[] text = "nativeport ".repeat(size / 11 + 1).getBytes();
                peer.putCompressed(text).flush();
                assertArrayEquals(text, client.read());
                client.write(text);
                assertArrayEquals(text, peer.receive());
            }
        }
    }

    @Test
    void aBatchIsReadAndWrittenInOrder() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            List<byte[]> sent = new ArrayList<>();
            for (int i = 0; i < 300; i++) {
                sent.add(random(i * 10));
                peer.put(sent.get(i));
            }
            peer.flush();
            List<byte[]> came = new ArrayList<>();
            while (came.size() < sent.size()) {
                List<byte[]> batch = client.readBatch(100);
                assertTrue(batch.size() <= 100);
                came.addAll(batch);
            }
            client.writeBatch(came);
            client.writeBatch(List.of());
            for (byte[] each : sent) {
                assertArrayEquals(each, peer.receive());
            }
        }
    }

    @Test
    void aBatchLargerThanTheSendQueueIsSentWhole() throws Exception {
        try (Served served = Served.plain("sendQueueLimit", "64K");
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            List<byte[]> batch = new ArrayList<>();
            for (int i = 0; i < 300; i++) {
                batch.add(random(100_000 + i));
            }
            client.setCompressing(false);
            Thread writer = new Thread(() -> writeAll(client, batch));
            writer.start();
            for (byte[] each : batch) {
                assertArrayEquals(each, peer.receive());
            }
            writer.join();
        }
    }

    private static void writeAll(SocketClientCommunication client, List<byte[]> batch) {
        try {
            client.writeBatch(batch);
        } catch (java.io.IOException e) {
            throw new java.io.UncheckedIOException(e);
        }
    }

    @Test
    void theFastPathShowsEveryTransactionAndSendsItBackWithoutACopy() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port())) {
            // Some come before the handler is set.
            peer.put(random(10)).put(random(20)).flush();
            SocketClientCommunication client = served.nextClient();
            client.onFrame(frame -> client.write(frame));
            assertArrayEquals(random(10), peer.receive());
            assertArrayEquals(random(20), peer.receive());
            for (int size : SIZES) {
                peer.send(random(size));
                assertArrayEquals(random(size), peer.receive());
            }
            byte[] text = "fast ".repeat(50_000).getBytes();
            peer.putCompressed(text).flush();
            assertArrayEquals(text, peer.receive());
            peer.socket.shutdownOutput();
            assertEquals(-1, peer.in.read());
            assertEquals("peer_closed", Served.ended(client).reason());
        }
    }

    @Test
    void theFastPathOverTlsShowsEveryTransaction() throws Exception {
        try (Served served = Served.tls();
                Peer peer = Peer.connectTls(served.port()).identify(1)) {
            SocketClientCommunication client = served.nextClient();
            client.onFrame(
                    frame -> {
                        byte[] copy = new byte[frame.length() + 1];
                        frame.copyTo(0, copy, 1, frame.length());
                        assertArrayEquals(
                                java.util.Arrays.copyOfRange(copy, 1, copy.length),
                                frame.toByteArray());
                        assertEquals(frame.length(), frame.asByteBuffer().remaining());
                        client.write(copy, 1, frame.length());
                    });
            for (int size : SIZES) {
                peer.send(random(size));
                assertArrayEquals(random(size), peer.receive());
            }
        }
    }

    @Test
    void theFastPathEchoesMoreThanItsQueuesHold() throws Exception {
        try (Served served = Served.plain("sendQueueLimit", "64K", "compression", "off");
                Peer peer = Peer.client(served.port())) {
            SocketClientCommunication client = served.nextClient();
            client.onFrame(frame -> client.write(frame));
            int count = 400;
            Thread sender =
                    new Thread(
                            () -> {
                                try {
                                    for (int i = 0; i < count; i++) {
                                        peer.send(random(50_000 + i));
                                    }
                                } catch (java.io.IOException e) {
                                    throw new java.io.UncheckedIOException(e);
                                }
                            });
            sender.start();
            for (int i = 0; i < count; i++) {
                assertArrayEquals(random(50_000 + i), peer.receive());
            }
            sender.join();
        }
    }

    @Test
    void asynchronousReadsAndWritesComplete() throws Exception {
        try (Served served = Served.plain("sendQueueLimit", "64K");
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            var read = client.readAsync().toCompletableFuture();
            peer.send(random(77));
            assertArrayEquals(random(77), read.get(Served.SECONDS, TimeUnit.SECONDS));
            List<java.util.concurrent.CompletableFuture<Void>> writes = new ArrayList<>();
            for (int i = 0; i < 100; i++) {
                writes.add(client.writeAsync(random(100_000 + i)).toCompletableFuture());
            }
            for (int i = 0; i < 100; i++) {
                assertArrayEquals(random(100_000 + i), peer.receive());
                writes.get(i).get(Served.SECONDS, TimeUnit.SECONDS);
            }
        }
    }

    @Test
    void theEndOfThePeerIsReadBehindTheLastTransactionAndMayBeAnswered() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            peer.put(random(5)).put(random(6)).flush();
            peer.socket.shutdownOutput();
            assertArrayEquals(random(5), client.read());
            assertArrayEquals(random(6), client.read());
            assertNull(client.read());
            assertNull(client.read());
            client.write(random(7));
            assertArrayEquals(random(7), peer.receive());
        }
    }

    @Test
    void theEndOfOutputComesBehindWhatWaitsForRoomAndThePeerMayGoOnSending() throws Exception {
        try (Served served = Served.plain("sendQueueLimit", "64K");
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            client.setCompressing(false);
            List<java.util.concurrent.CompletableFuture<Void>> writes = new ArrayList<>();
            for (int i = 0; i < 300; i++) {
                writes.add(client.writeAsync(random(100_000 + i)).toCompletableFuture());
            }
            assertFalse(writes.get(299).isDone());
            client.shutdownOutput();
            for (int i = 0; i < 300; i++) {
                assertArrayEquals(random(100_000 + i), peer.receive());
                writes.get(i).get(Served.SECONDS, TimeUnit.SECONDS);
            }
            assertEquals(-1, peer.in.read());
            peer.send(random(8));
            assertArrayEquals(random(8), client.read());
        }
    }

    @Test
    void aReadThatWaitsEndsWhenAHandlerTakesTheTransactions() throws Exception {
        CountDownLatch release = new CountDownLatch(1);
        List<Peer> peers = new ArrayList<>();
        try (Served served = Served.plain()) {
            List<SocketClientCommunication> clients = new ArrayList<>();
            for (int i = 0; i < 8; i++) {
                peers.add(Peer.client(served.port()));
                clients.add(served.nextClient());
            }
            SocketClientCommunication reading = clients.remove(0);
            var read = Tasks.start(() -> reading.read()).awaitParked();
            // Both loops are busy, so that the handler comes to the connection later.
            LinkedBlockingQueue<Thread> busy = new LinkedBlockingQueue<>();
            for (SocketClientCommunication client : clients) {
                client.onFrame(
                        frame -> {
                            busy.add(Thread.currentThread());
                            release.await();
                        });
            }
            for (Peer peer : peers.subList(1, 8)) {
                peer.send(random(1));
            }
            assertNotEquals(Served.next(busy), Served.next(busy));
            reading.onFrame(frame -> {});
            read.awaitParked();
            release.countDown();
            assertThrows(IllegalStateException.class, read::get);
        } finally {
            release.countDown();
            for (Peer peer : peers) {
                peer.close();
            }
        }
    }

    @ParameterizedTest
    @ValueSource(booleans = {false, true})
    void whatTheFastPathHasWrittenIsSentBehindTheEndOfEitherSide(boolean closes) throws Exception {
        try (Served served = Served.plain("sendQueueLimit", "4K", "compression", "off");
                Peer peer = Peer.client(served.port())) {
            SocketClientCommunication client = served.nextClient();
            client.onFrame(
                    frame -> {
                        // More than the queue has room for.
                        for (int i = 0; i < 50; i++) {
                            client.write(frame);
                        }
                        if (closes) {
                            client.close();
                        }
                    });
            peer.send(random(1000));
            peer.socket.shutdownOutput();
            for (int i = 0; i < 50; i++) {
                assertArrayEquals(random(1000), peer.receive());
            }
            assertEquals(-1, peer.in.read());
            assertEquals(closes ? "host_closed" : "peer_closed", Served.ended(client).reason());
        }
    }

    @Test
    void severalReadersOfBatchesKeepNothingFromOneAnother() throws Exception {
        try (Served served = Served.plain();
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            List<Tasks.Task<Void>> readers = new ArrayList<>();
            for (int i = 0; i < 3; i++) {
                readers.add(
                        Tasks.start(
                                () -> {
                                    for (List<byte[]> batch;
                                            !(batch = client.readBatch(10)).isEmpty(); ) {
                                        client.writeBatch(batch);
                                    }
                                }));
            }
            for (int i = 0; i < 1000; i++) {
                peer.send(random(i));
                assertArrayEquals(random(i), peer.receive());
            }
            peer.finish();
            for (Tasks.Task<Void> reader : readers) {
                reader.get();
            }
        }
    }

    @Test
    void aWriterThatIsInterruptedGoesOnAndIsInterruptedAfterwards() throws Exception {
        int count = 300;
        byte[] large = random(100_000);
        try (Served served = Served.plain("sendQueueLimit", "64K", "compression", "off");
                Peer peer = Peer.client(served.port());
                SocketClientCommunication client = served.nextClient()) {
            Tasks.Task<Boolean> writer =
                    Tasks.start(
                            (java.util.concurrent.Callable<Boolean>)
                                    () -> {
                                        boolean interrupted = false;
                                        for (int i = 0; i < count; i++) {
                                            client.write(large);
                                            interrupted |= Thread.interrupted();
                                        }
                                        return interrupted;
                                    });
            for (int i = 0; i < count; i++) {
                writer.thread().interrupt();
                assertArrayEquals(large, peer.receive());
                writer.thread().interrupt();
            }
            assertTrue(writer.get());
        }
    }
}
