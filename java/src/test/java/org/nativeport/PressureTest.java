package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import java.util.concurrent.locks.LockSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledForJreRange;
import org.junit.jupiter.api.condition.JRE;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;
import org.nativeport.Tasks.Task;

/** Servers under pressure, each in a process of its own: nobody consumes, very many come, memory is exhausted. */
class PressureTest {
    /** A heap that is there from the beginning, so that what grows is not it. */
    private static final List<String> FIXED_HEAP =
            List.of("-Xms64m", "-Xmx64m", "-XX:+AlwaysPreTouch", "-XX:+UseSerialGC");

    private static void closeAll(List<Peer> peers) throws IOException {
        for (Peer peer : peers) {
            peer.close();
        }
    }

    // --------------------------------------------------------- back-pressure

    @ParameterizedTest
    @CsvSource({
        "NOBODY, false", "NOBODY, true", "THREAD, true", "CALLBACK, false", "FAST, true",
        "ASYNC, false", "STREAM, true"
    })
    void whoConsumesNothingKeepsThePeersOutAndTheProcessFlat(String what, boolean tls)
            throws Exception {
        int connections = 2;
        int count = LongForm.count(3000, 20_000);
        int size = 10_000;
        List<Peer> peers = new ArrayList<>();
        try (ChildProcess child =
                ChildProcess.start(FIXED_HEAP, "hold", what, Boolean.toString(tls))) {
            int port = child.hearsNumber("port");
            for (int i = 0; i < connections; i++) {
                Peer peer = Peer.connect(port, tls);
                peers.add(peer);
                if (what.equals("STREAM")) {
                    peer.out.write(2);
                    peer.flush();
                } else {
                    peer.identify(1);
                }
            }
            Tasks.await("all of them", () -> child.asks("count", "came") == connections);
            child.says("stats");
            child.hears("stats");
            long before = child.status("RssAnon");
            List<Task<Void>> senders = new ArrayList<>();
            for (Peer peer : peers) {
                senders.add(
                        Tasks.start(
                                () -> {
                                    for (int i = 0; i < count; i++) {
                                        peer.put(WayContract.numbered(i, size));
                                    }
                                    peer.finish();
                                }));
            }
            // 30 MB and more fit no window, and no buffer of the system.
            long taken = takenWhenStuck(child, senders);
            // One turn's input may be on its way when a window is found to be used up.
            long most = connections * ((256L << 10) + (2 << 20));
            assertTrue(taken < most, taken + " bytes were taken");
            long grown = child.status("RssAnon") - before;
            assertTrue(grown < 24 << 10, "the process has grown by " + grown + " KiB");
            LongForm.figure(
                    what + (tls ? " with TLS" : "") + ", nothing consumed of 400 MB: took " + taken
                            + " bytes, grew by " + grown + " KiB");
            child.says("go");
            assertEquals(connections * count, child.hearsNumber("right"));
            for (Task<Void> sender : senders) {
                sender.get();
            }
            for (Peer peer : peers) {
                peer.expectEnd();
            }
        } finally {
            closeAll(peers);
        }
    }

    /** How many bytes have been taken when all senders wait, and it has been no more however often it was asked. */
    private static long takenWhenStuck(ChildProcess child, List<Task<Void>> senders) throws Exception {
        long taken = -1;
        for (int still = 0; still < 100; ) {
            child.says("stats");
            long now = Long.parseLong(child.hears("stats").split(" ")[0]);
            still = now == taken && senders.stream().allMatch(Task::isWaiting) ? still + 1 : 0;
            taken = now;
            for (Task<Void> sender : senders) {
                assertFalse(sender.result().isDone(), "all of it was taken");
            }
        }
        return taken;
    }

    // ------------------------------------------------------------------ many

    @Test
    void everyConnectionMayHaveAThreadOfItsOwn() throws Exception {
        assertAllAreAnswered(List.of("-Xmx1g", "-Xss256k"), Way.THREAD, "platform", LongForm.count(300, 10_000));
    }

    @Test
    @EnabledForJreRange(min = JRE.JAVA_21)
    void virtualThreadsThatReadOnTwoCarriersAllMakeProgress() throws Exception {
        List<String> options =
                List.of(
                        "-Xmx1g",
                        "-Djdk.virtualThreadScheduler.parallelism=2",
                        "-Djdk.virtualThreadScheduler.maxPoolSize=2");
        assertAllAreAnswered(options, Way.CALLBACK, "virtual", LongForm.count(1000, 10_000));
    }

    @Test
    @EnabledForJreRange(min = JRE.JAVA_21)
    void aVirtualThreadThatNeverRunsOutOfInputLeavesItsCarrierToOthers() throws Exception {
        List<String> options =
                List.of(
                        "-Djdk.virtualThreadScheduler.parallelism=1",
                        "-Djdk.virtualThreadScheduler.maxPoolSize=1");
        try (ChildProcess child = ChildProcess.start(options, "busy")) {
            int port = child.hearsNumber("port");
            try (Peer flood = Peer.client(port);
                    Peer other = Peer.client(port)) {
                Task<Void> flooding =
                        Tasks.start(
                                () -> {
                                    for (;;) {
                                        flood.send(new byte[200]);
                                    }
                                });
                // Work for a hundred milliseconds, and more comes much faster than it is done.
                Tasks.await("input", () -> child.asks("count", "came") > 20_000);
                for (int i = 0; i < 5; i++) {
                    other.send("hello".getBytes());
                    assertArrayEquals("hello".getBytes(), other.receive());
                }
                // It has not come to its end meanwhile.
                assertThrows(
                        TimeoutException.class, () -> flooding.result().get(1, TimeUnit.MILLISECONDS));
            }
        }
    }

    private static void assertAllAreAnswered(List<String> options, Way way, String callbackThreads, int count)
            throws Exception {
        List<Peer> peers = new ArrayList<>();
        try (ChildProcess child = ChildProcess.start(options, "many", way.name(), callbackThreads)) {
            int port = child.hearsNumber("port");
            long begun = System.nanoTime();
            for (int i = 0; i < count; i++) {
                peers.add(Peer.client(port));
            }
            // All have been handed over to something that reads.
            Tasks.await("a reader for each", () -> child.asks("count", "consumed") == count);
            for (int round = 0; round < 3; round++) {
                byte[] text = ("round " + round).getBytes();
                for (Peer peer : peers) {
                    peer.send(text);
                }
                for (Peer peer : peers) {
                    assertArrayEquals(text, peer.receive());
                }
            }
            LongForm.figure(
                    count + " connections by " + way + ": " + child.status("Threads") + " threads, "
                            + child.status("VmRSS") / 1024 + " MiB resident, three rounds within "
                            + TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begun) + " ms");
        } finally {
            closeAll(peers);
        }
    }

    // ---------------------------------------------------------------- memory

    @ParameterizedTest
    @EnumSource(Way.class)
    void aHandlerThatExhaustsTheHeapCostsNoMoreThanConnections(Way way) throws Exception {
        List<String> options = List.of("-Xmx24m", "-XX:+UseSerialGC");
        try (ChildProcess child = ChildProcess.start(options, "exhaust", way.name(), "3s")) {
            int port = child.hearsNumber("port");
            for (int i = 0; i < LongForm.count(1, 10); i++) {
                whenThereIsMemory(
                        () -> {
                            try (Peer victim = Peer.client(port);
                                    Peer other = Peer.client(port)) {
                                assertAnswered(other);
                                victim.send("exhaust".getBytes());
                                assertEnded(victim);
                                assertAnswered(other);
                            }
                        });
                try (Peer hoarder = Peer.client(port)) {
                    // Others send, come and go while there is no memory.
                    List<Task<Void>> others = new ArrayList<>();
                    for (int n = 0; n < 8; n++) {
                        Peer peer = Peer.client(port);
                        others.add(Tasks.start(() -> exchangeWhilePossible(peer)));
                    }
                    hoarder.send("hoard".getBytes());
                    for (Task<Void> each : others) {
                        each.get();
                    }
                    try {
                        hoarder.receive();
                    } catch (IOException ended) {
                        // It may be the one that pays.
                        assertTrue(child.isAlive(), child.said());
                    }
                }
                // It may have ended before its handler, which still has the memory.
                whenThereIsMemory(
                        () -> {
                            try (Peer newcomer = Peer.client(port)) {
                                assertAnswered(newcomer);
                            }
                        });
            }
            // All have ended: nobody's end was lost.
            Tasks.await("the ends of all", () -> child.asks("count", "open") == 0);
            child.saysNoMore();
            assertEquals(0, child.exitCode(), child.said());
        }
    }

    @ParameterizedTest
    @EnumSource(Way.class)
    void behindATransactionForWhichThereIsNoMemoryNothingIsRead(Way way) throws Exception {
        List<String> options = List.of("-Xmx24m", "-XX:+UseSerialGC");
        try (ChildProcess child = ChildProcess.start(options, "exhaust", way.name(), "0");
                Peer peer = Peer.client(child.hearsNumber("port"))) {
            for (int i = 0; i < 5; i++) {
                peer.put(WayContract.numbered(i, 100));
            }
            peer.putCompressed(new byte[60 << 20]).flush();
            Task<Void> sender =
                    Tasks.start(
                            () -> {
                                for (int i = 6; i < 10_000; i++) {
                                    peer.put(WayContract.numbered(i, 100));
                                }
                                peer.flush();
                            });
            int answers = 0;
            try {
                for (; ; answers++) {
                    assertArrayEquals(WayContract.numbered(answers, 100), peer.receive());
                }
            } catch (IOException ended) {
                assertTrue(answers <= 5, answers + " answers");
            }
            peer.reset();
            try {
                sender.get();
            } catch (IOException ended) {
                // The server took no more of it.
            }
            try (Peer other = Peer.client(child.asks("port", "port"))) {
                assertAnswered(other);
            }
        }
    }

    @Test
    void whatAHandlerHasSeenOfALargeTransactionIsNotKeptByItsLoop() throws Exception {
        List<String> options = List.of("-Xmx24m", "-XX:+UseSerialGC");
        List<Peer> peers = new ArrayList<>();
        try (ChildProcess child = ChildProcess.start(options, "peek")) {
            int port = child.hearsNumber("port");
            byte[] large = new byte[10 << 20];
            large[large.length - 1] = 7;
            // More than one for each loop: each gets half of the heap.
            for (int i = 0; i < 6; i++) {
                Peer peer = Peer.client(port);
                peers.add(peer);
                child.says("next");
                child.hears("done");
                peer.putCompressed(large).flush();
                assertArrayEquals(new byte[] {7}, peer.receive());
            }
        } finally {
            closeAll(peers);
        }
    }

    @Test
    void whatThereIsNoMemoryToKeepForAFullConnectionGoesToNobody() throws Exception {
        List<String> options = List.of("-Xmx24m", "-XX:+UseSerialGC");
        try (ChildProcess child = ChildProcess.start(options, "forward")) {
            int port = child.hearsNumber("port");
            try (Peer target = Peer.client(port)) {
                // The first that comes is the one to which everything goes.
                child.hears("target");
                try (Peer large = Peer.client(port);
                        Peer secret = Peer.client(port)) {
                    large.putCompressed(new byte[60 << 20]).flush();
                    child.hears("forwarded " + (60 << 20));
                    secret.send("for others' eyes".getBytes());
                    child.hears("forwarded 16");
                    assertEquals(0, secret.receive().length);
                }
                try {
                    for (;;) {
                        byte[] filling = target.receive();
                        assertArrayEquals(new byte[50_000], filling, () -> new String(filling));
                    }
                } catch (IOException ended) {
                    // It is the one that pays.
                    assertTrue(child.isAlive(), child.said());
                }
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"onFrame", "writeAsync", "one"})
    void aConnectionThatEndsWithoutAnyMemoryGivesBackWhatItHadAndTellsWhoeverWaits(String how) throws Exception {
        List<String> options = List.of("-Xmx24m", "-XX:+UseSerialGC");
        try (ChildProcess child = ChildProcess.start(options, "fill", how)) {
            int port = child.hearsNumber("port");
            try (Peer peer = Peer.client(port)) {
                if (how.equals("onFrame")) {
                    peer.send(new byte[1]);
                    child.hears("filled");
                    peer.reset();
                }
                child.hears("told");
            }
            try (Peer other = Peer.client(port)) {
                assertAnswered(other);
            }
            child.saysNoMore();
            assertEquals(0, child.exitCode(), child.said());
        }
    }

    /** Its loop needs memory to keep what a reader is sent, and the JDK to wake virtual threads, or those of a condition. */
    @ParameterizedTest
    @CsvSource({
        "READER, virtual", "WRITER, virtual", "WATCHER, virtual", "READER, platform", "WRITER, platform", "WATCHER, platform"
    })
    void aLoopThatEndsAConnectionWithoutAnyMemoryGoesOnWhoeverWaitsThere(String waits, String threads)
            throws Exception {
        assumeTrue(threads.equals("platform") || Runtime.version().feature() >= 21, "this JDK has no virtual threads");
        List<String> options = List.of("-Xmx24m", "-XX:+UseSerialGC");
        try (ChildProcess child = ChildProcess.start(options, "fill-beside", waits, threads)) {
            int port = child.hearsNumber("port");
            try (Peer peer = Peer.client(port)) {
                child.hears("first");
                try (Peer second = Peer.client(port)) {
                    child.hears("waits");
                    peer.send(new byte[1]);
                    child.hears("filled");
                    if (waits.equals("READER")) {
                        second.send(new byte[1 << 20]);
                        assertEnded(second);
                    } else {
                        second.reset();
                    }
                    peer.reset();
                    child.hears("told");
                }
            }
            child.saysNoMore();
            assertEquals(0, child.exitCode(), child.said());
        }
    }

    private static void assertAnswered(Peer peer) throws Exception {
        byte[] bytes = TransactionsTest.random(5000);
        peer.send(bytes);
        assertArrayEquals(bytes, peer.receive());
    }

    /** Whoever comes just when there is none, or is idle for too long, may be turned away, and comes again. */
    private static void whenThereIsMemory(Tasks.Action action) throws Exception {
        Tasks.await(
                "memory",
                () -> {
                    try {
                        action.run();
                        return true;
                    } catch (IOException turnedAway) {
                        LockSupport.parkNanos(TimeUnit.MILLISECONDS.toNanos(100));
                        return false;
                    }
                });
    }

    private static void assertEnded(Peer peer) {
        try {
            peer.expectEnd();
        } catch (IOException reset) {
            // As good.
            return;
        }
    }

    private static void exchangeWhilePossible(Peer peer) throws Exception {
        try (peer) {
            for (int i = 0; i < 200; i++) {
                assertAnswered(peer);
            }
        } catch (IOException ended) {
            // There was no memory for it.
            return;
        }
    }
}
