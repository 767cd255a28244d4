package org.nativeport.internal;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.ByteBuffer;
import java.util.Random;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;

/** Natives with whatever values: a status, and never a crash. */
@Timeout(120)
class NativeTest {
    private static final int WORDS = Native.WORDS;

    @BeforeAll
    static void load() {
        Library.require();
    }

    @Test
    void anotherAgreementIsRefused() {
        assertEquals(Status.UNSUPPORTED, Native.initialize(Native.AGREEMENT + 1));
        assertEquals(Status.OK, Native.initialize(Native.AGREEMENT));
    }

    @RepeatedTest(20)
    void randomNumbersAndArraysInAnyOrderAreAnsweredByAStatus() {
        Random random = new Random();
        long seed = random.nextLong();
        random.setSeed(seed);
        for (int i = 0; i < 20_000; i++) {
            call(random, seed);
        }
    }

    private static void call(Random random, long seed) {
        long id = id(random);
        byte[] data = random.nextInt(8) == 0 ? null : new byte[random.nextInt(64)];
        byte[] words = random.nextInt(8) == 0 ? null : new byte[random.nextInt(32)];
        int offset = small(random);
        int length = small(random);
        long answer =
                switch (random.nextInt(20)) {
                    case 0 -> Native.runtimeStop(id, small(random));
                    case 1 -> Native.runtimeLog(id, small(random));
                    case 2 -> Native.stats(id, data == null ? null : new long[data.length]);
                    case 3 -> Native.release(id);
                    case 4 -> Native.listenerNew(id, data, offset, length, small(random), words);
                    case 5 -> Native.listenerStart(id, words);
                    case 6 -> Native.listenerSwitch(id, random.nextBoolean());
                    case 7 -> Native.listenerStop(id, small(random));
                    case 8 -> Native.loopPoll(id, 0);
                    case 9 -> Native.loopWake(id);
                    case 10 -> Native.fetch(id, offset, data, length, small(random));
                    case 11 -> Native.sendPolled(id, id(random), offset, length, small(random));
                    case 12 -> Native.sendFrame(id, data, offset, length, small(random));
                    case 13 ->
                            Native.sendFrames(
                                    id,
                                    data,
                                    offset,
                                    data == null ? null : new int[data.length],
                                    length,
                                    small(random),
                                    0);
                    case 14 -> Native.sendBytes(id, data, offset, length);
                    case 15 -> Native.connControl(id, small(random), random.nextLong());
                    case 16 -> Native.connRefuse(id, data);
                    case 17 -> Native.connStats(id, data == null ? null : new long[data.length]);
                    case 18 -> new Answer(Native.listenerAddresses(id)).status;
                    default -> new Answer(Native.inspect(data, small(random), words, data)).status;
                };
        assertTrue(answer <= 0 || answer < 100, "seed " + seed + ": " + answer);
    }

    private static long id(Random random) {
        return switch (random.nextInt(3)) {
            case 0 -> random.nextLong();
            case 1 -> (long) random.nextInt(4) << 32 | random.nextInt(4);
            default -> random.nextInt(8) - 4;
        };
    }

    private static int small(Random random) {
        return random.nextInt(16) == 0 ? random.nextInt() : random.nextInt(80) - 8;
    }

    @Test
    void objectsOfTheWrongKindAndInTheWrongOrderAreRefused() {
        byte[] words = new byte[WORDS];
        long runtime = Native.runtimeNew(new byte[0], words);
        assertTrue(runtime > 0);
        ByteBuffer input = ByteBuffer.allocateDirect(65_536);
        ByteBuffer output = ByteBuffer.allocateDirect(1 << 20);
        assertEquals(
                Status.ARGUMENT, Native.loopNew(runtime, null, output, 16, 16, words), "no buffer");
        assertEquals(
                Status.ARGUMENT,
                Native.loopNew(runtime, ByteBuffer.allocate(65_536), output, 16, 16, words),
                "not direct");
        assertEquals(
                Status.ARGUMENT,
                Native.loopNew(runtime, ByteBuffer.allocateDirect(100), output, 16, 16, words),
                "too small");
        assertEquals(
                Status.ARGUMENT,
                Native.loopNew(runtime, input, output, Integer.MAX_VALUE, 16, words),
                "too many records");
        long loop = Native.loopNew(runtime, input, output, 16, 16, words);
        assertTrue(loop > 0);
        assertEquals(Status.INVALID_HANDLE, Native.loopPoll(runtime, 0));
        assertEquals(Status.INVALID_HANDLE, Native.runtimeStop(loop, 0));
        assertEquals(Status.INVALID_HANDLE, Native.listenerStart(runtime, words));
        assertEquals(0, Native.loopPoll(loop, 0));
        assertEquals(Status.NOT_FOUND, Native.fetch(loop, 0, new byte[1], 0, 1));
        assertEquals(Status.NOT_FOUND, Native.sendPolled(loop, 1, 0, 1, 0));
        assertEquals(Status.TIMED_OUT, Native.release(runtime), "it has not ended");
        assertEquals(Status.OK, Native.runtimeStop(runtime, 0));
        int polled;
        do {
            polled = Native.loopPoll(loop, 1000);
        } while (polled >= 0);
        assertEquals(Status.STOPPED, polled);
        assertEquals(Status.OK, Native.release(loop));
        assertEquals(Status.INVALID_HANDLE, Native.release(loop));
        assertEquals(Status.INVALID_HANDLE, Native.loopPoll(loop, 0));
        while (Native.release(runtime) == Status.TIMED_OUT) {
            Thread.onSpinWait();
        }
        assertEquals(Status.INVALID_HANDLE, Native.runtimeStop(runtime, 0));
    }

    @Test
    void platformsHaveTheirUsualNames() {
        assertEquals("linux-x86_64", Library.platform("Linux", "amd64"));
        assertEquals("linux-aarch_64", Library.platform("Linux", "aarch64"));
        assertEquals("osx-aarch_64", Library.platform("Mac OS X", "aarch64"));
        assertEquals("windows-x86_64", Library.platform("Windows 11", "amd64"));
        assertEquals("freebsd-riscv64", Library.platform("FreeBSD", "riscv64"));
    }
}
