package org.nativeport.internal;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNull;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.abort;

import java.io.IOException;
import java.lang.reflect.Method;
import java.lang.reflect.Modifier;
import java.net.Socket;
import java.nio.ByteBuffer;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentLinkedDeque;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.nativeport.ConnectionHandler;
import org.nativeport.LongForm;
import org.nativeport.ServerConfig;
import org.nativeport.SocketClientCommunication;
import org.nativeport.SocketClientConnectionListener;

/** Natives with whatever values: a status, and never a crash. */
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

    @Test
    void randomNumbersAndArraysInAnyOrderAreAnsweredByAStatus() {
        long seed = new Random().nextLong();
        Random random = new Random(seed);
        for (int i = 0; i < LongForm.count(400_000, 10_000_000); i++) {
            call(random, seed);
        }
    }

    @Test
    void handlesOfConnectionsThatHaveEndedHarmNobodyWhoIsThere() throws Exception {
        ConcurrentLinkedDeque<Long> stale = new ConcurrentLinkedDeque<>();
        AtomicLong calls = new AtomicLong();
        long most = LongForm.count(200_000, 10_000_000);
        ConnectionHandler echo =
                new ConnectionHandler() {
                    @Override
                    public void onClientConnect(SocketClientCommunication client)
                            throws IOException {
                        try (client) {
                            for (byte[] next; (next = client.read()) != null; ) {
                                client.write(next);
                            }
                        }
                        // It is told last, when the handle is about to be nobody's.
                        client.whenClosed().thenRun(() -> stale.add(client.getInfo().id()));
                    }
                };
        ServerConfig config = ServerConfig.parse("[Port]\nport=0\nbindAddress=127.0.0.1\n", "stale.ini");
        try (var listener = new SocketClientConnectionListener(config, echo)) {
            listener.start();
            List<Thread> callers = new ArrayList<>();
            for (int i = 0; i < 2; i++) {
                Thread caller = new Thread(() -> callStale(stale, calls, most), "stale-calls");
                caller.setDaemon(true);
                callers.add(caller);
                caller.start();
            }
            // Slots are used again and again meanwhile, and everyone gets his answer and his end.
            int connections = 0;
            while (calls.get() < most || connections < 100) {
                try (Socket peer = new Socket("127.0.0.1", listener.getLocalPort())) {
                    peer.getOutputStream().write(new byte[] {1, 0, 0, 0, 2, 7, (byte) connections});
                    peer.shutdownOutput();
                    assertArrayEquals(
                            new byte[] {1, 0, 0, 0, 2, 7, (byte) connections},
                            peer.getInputStream().readAllBytes());
                }
                connections++;
            }
            for (Thread caller : callers) {
                caller.join();
            }
            LongForm.figure(calls + " calls with handles of " + stale.size() + " ended of " + connections + " connections");
        }
    }

    private static void callStale(ConcurrentLinkedDeque<Long> stale, AtomicLong calls, long most) {
        Random random = new Random();
        byte[] data = new byte[16];
        while (calls.get() < most) {
            Long last = stale.peekLast();
            if (last == null) {
                Thread.onSpinWait();
                continue;
            }
            // Also that of one which had the same place and is long gone.
            long id = random.nextBoolean() ? last : last - ((long) random.nextInt(1000) << 32);
            switch (random.nextInt(6)) {
                case 0 -> Native.sendFrame(id, data, 0, data.length, 0);
                case 1 -> Native.sendFrames(id, data, 0, new int[] {3, 4}, 0, 2, 0);
                case 2 -> Native.sendBytes(id, data, 0, data.length);
                case 3 -> Native.connControl(id, random.nextInt(12));
                case 4 -> Native.connOption(id, random.nextInt(7), random.nextInt(3) - 1, new byte[WORDS]);
                default -> Native.connRefuse(id, data);
            }
            calls.incrementAndGet();
        }
    }

    private static void call(Random random, long seed) {
        long id = id(random);
        byte[] data = random.nextInt(8) == 0 ? null : new byte[random.nextInt(64)];
        byte[] words = random.nextInt(8) == 0 ? null : new byte[random.nextInt(32)];
        int offset = small(random);
        int length = small(random);
        long answer =
                switch (random.nextInt(22)) {
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
                    case 15 -> Native.connControl(id, small(random));
                    case 16 -> Native.connRefuse(id, data);
                    case 17 -> new Answer(Native.listenerAddresses(id)).status;
                    case 18 -> new Answer(Native.listenerCertificates(id)).status;
                    case 19 -> Native.connCount(id, small(random));
                    case 20 -> Native.connOption(id, small(random), small(random), words);
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
    void theLibraryExportsTheNativesAndNothingElse() throws Exception {
        Set<String> natives = new TreeSet<>();
        for (Method method : Native.class.getDeclaredMethods()) {
            if (Modifier.isNative(method.getModifiers())) {
                natives.add("Java_org_nativeport_internal_Native_" + method.getName());
            }
        }
        Path library = Path.of("target", "classes", "META-INF", "native", Library.platform(), "libnativeport_jni.so");
        Process nm;
        try {
            nm = new ProcessBuilder("nm", "-D", "--defined-only", library.toString()).start();
        } catch (IOException absent) {
            abort("nm is not installed");
            return;
        }
        Set<String> exported = new TreeSet<>();
        for (String line : new String(nm.getInputStream().readAllBytes()).split("\n")) {
            exported.add(line.substring(line.lastIndexOf(' ') + 1));
        }
        assertEquals(0, nm.waitFor());
        assertEquals(natives, exported);
    }

    @Test
    void aLibraryThatDoesNotFitSaysWhatIsMissing() {
        String glibc = "/lib/libc.so.6: version `GLIBC_2.38' not found (required by /tmp/libnativeport_jni.so)";
        String musl = "Error loading shared library ld-linux-x86-64.so.2: No such file or directory";
        String older = Library.misfit("linux-x86_64", glibc, false);
        assertTrue(older.startsWith("the native library for linux-x86_64 in this jar needs glibc 2.38 or later"), older);
        String other = Library.misfit("linux-x86_64", musl, true);
        assertTrue(other.contains("this system has musl, and there is none for musl in the jar"), other);
        assertNull(Library.misfit("linux-x86_64-musl", musl, true));
        assertNull(Library.misfit("linux-x86_64", "file too short", false));
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
