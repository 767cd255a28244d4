package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.io.OutputStream;
import java.net.SocketException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;
import org.nativeport.internal.Library;

/** How a virtual machine ends in which the library works. */
class ProcessesTest {
    private static void assertEnds(ChildProcess child, int code) throws InterruptedException {
        assertEquals(code, child.exitCode(), child.said());
    }

    @Test
    void aStartedListenerServesOnAfterMainHasReturned() throws Exception {
        try (ChildProcess child = ChildProcess.start("serve")) {
            int port = child.hearsNumber("port");
            try (Peer peer = Peer.client(port)) {
                for (int i = 0; i < 100; i++) {
                    peer.send(new byte[] {1, 2});
                    assertArrayEquals(new byte[] {1, 2}, peer.receive());
                }
            }
            try (Peer other = Peer.connect(port)) {
                other.out.write(42);
                other.flush();
                assertEnds(child, 42);
            }
        }
    }

    @Test
    void withoutKeepAliveTheProgramEndsWithMainWhateverTheTraffic() throws Exception {
        try (ChildProcess child = ChildProcess.start("serve-without-keep-alive")) {
            assertEnds(child, 0);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"main", "callback", "loop"})
    void anExitUnderLoadEndsTheProgram(String from) throws Exception {
        for (int i = 0; i < LongForm.count(1, 17); i++) {
            try (ChildProcess child = ChildProcess.start("exit-under-load", from)) {
                assertEnds(child, 3);
            }
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"STREAM", "FRAMES", "ASYNC", "LOOP", "HOOK"})
    void whatWasWrittenBeforeAnExitArrives(String way) throws Exception {
        try (ChildProcess child = ChildProcess.start("exit-owing", way, "10m");
                Peer peer = Peer.connect(child.hearsNumber("port"))) {
            peer.out.write(ChildServers.firstByte(way));
            peer.flush();
            child.hears("written");
            assertTrue(readToEnd(peer) >= ChildServers.OWED_BYTES);
            assertEnds(child, 5);
        }
    }

    /** If each write had a time of its own, the exit would take longer than a test waits. */
    @Test
    void allWritesOfAHookShareOneTime() throws Exception {
        try (ChildProcess child = ChildProcess.start("exit-owing", "HOOKS", "1s");
                Peer peer = Peer.connect(child.hearsNumber("port"))) {
            peer.out.write(ChildServers.firstByte("HOOKS"));
            peer.flush();
            assertEnds(child, 5);
        }
    }

    @Test
    void anExitOnALoopRunsNoCodeOfTheProgramInItsPlace() throws Exception {
        try (ChildProcess child = ChildProcess.start("exit-owing", "TASK", "10m");
                Peer first = Peer.client(child.hearsNumber("port"))) {
            first.send(new byte[1]);
            child.hears("first");
            try (Peer peer = Peer.connect(first.socket.getPort())) {
                peer.out.write(ChildServers.firstByte("TASK"));
                peer.flush();
                assertTrue(readToEnd(peer) >= ChildServers.OWED_BYTES);
            }
            assertEnds(child, 5);
        }
    }

    @ParameterizedTest
    @ValueSource(strings = {"STREAM", "FRAMES", "ASYNC", "LOOP", "HOOK"})
    void aPeerThatIsStillOwedSomethingWhenTheProcessEndsIsReset(String way) throws Exception {
        try (ChildProcess child = ChildProcess.start("exit-owing", way, "0");
                Peer peer = Peer.connect(child.hearsNumber("port"))) {
            peer.out.write(ChildServers.firstByte(way));
            peer.flush();
            assertEnds(child, 5);
            assertThrows(SocketException.class, () -> readToEnd(peer));
        }
    }

    /** Between two pieces of a write the native queue may be empty. */
    @Test
    void aWriteThatIsNotOverWhenTheProcessEndsMakesTheEndAReset() throws Exception {
        int bytes = 64 << 20;
        int peers = 16;
        List<Tasks.Task<Long>> ends = new ArrayList<>();
        try (ChildProcess child = ChildProcess.start("exit-writing", Integer.toString(bytes))) {
            int port = child.hearsNumber("port");
            CountDownLatch begun = new CountDownLatch(peers);
            for (int i = 0; i < peers; i++) {
                ends.add(
                        Tasks.start(
                                () -> {
                                    try (Peer peer = Peer.connect(port)) {
                                        peer.out.write('G');
                                        peer.flush();
                                        peer.in.readByte();
                                        begun.countDown();
                                        return 1 + readToEnd(peer);
                                    } catch (SocketException reset) {
                                        return (long) bytes;
                                    } finally {
                                        begun.countDown();
                                    }
                                }));
            }
            begun.await();
            child.says("exit");
            for (Tasks.Task<Long> end : ends) {
                assertEquals(bytes, end.get(), "bytes before an orderly end");
            }
            assertEnds(child, 5);
        }
    }

    @Test
    void aPeerThatIsOwedSomethingByARuntimeOfTheExitIsReset() throws Exception {
        try (ChildProcess child = ChildProcess.start("serve-in-exit");
                Peer peer = Peer.client(child.hearsNumber("port"))) {
            assertEnds(child, 5);
            assertThrows(SocketException.class, () -> readToEnd(peer));
        }
    }

    private static long readToEnd(Peer peer) throws IOException {
        byte[] bytes = new byte[1 << 16];
        long all = 0;
        for (int count; (count = peer.in.read(bytes)) >= 0; ) {
            all += count;
        }
        return all;
    }

    @Test
    void classLoadersAreCollectedWithTheirDescriptorsAndThreadsWhilePeersStillSend()
            throws Exception {
        String count = Integer.toString(LongForm.count(4, 20));
        try (ChildProcess child =
                ChildProcess.start("reload", ChildProcess.main().toString() + "/", count)) {
            assertEnds(child, 0);
            assertTrue(child.said().contains("reloaded " + count), child.said());
        }
    }

    @Test
    void withoutTheLibraryTheReasonIsSaidAndSocketsOfTheJdkWork() throws Exception {
        for (String[] each :
                new String[][] {
                    {"-Dos.arch=mips", "this jar has no native library for linux-mips"},
                    {"-Dnativeport.library.path=/nowhere.so", "names /nowhere.so, which is no file"},
                    {
                        "-Dnativeport.library.path=" + ChildProcess.main() + "/module-info.class",
                        "module-info.class"
                    },
                    {"-Djava.io.tmpdir=/nowhere", "/nowhere"},
                }) {
            try (ChildProcess child = ChildProcess.start(List.of(each[0]), "unavailable")) {
                assertEnds(child, 0);
                assertTrue(child.said().contains(each[1]), child.said());
            }
        }
    }

    @Test
    void aLibraryThatNeedsALaterGlibcSaysSo(@TempDir Path folder) throws Exception {
        Path library = Path.of("META-INF", "native", Library.platform(), "libnativeport_jni.so");
        String bytes = Files.readString(ChildProcess.main().resolve(library), StandardCharsets.ISO_8859_1);
        Matcher needed = Pattern.compile("GLIBC_2(\\.\\d+)\0").matcher(bytes);
        assumeTrue(needed.find(), "it was not built for glibc");
        // No system has this one.
        Path changed = folder.resolve(library);
        Files.createDirectories(changed.getParent());
        Files.writeString(
                changed, bytes.replace(needed.group(), "GLIBC_9" + needed.group(1) + "\0"), StandardCharsets.ISO_8859_1);
        try (ChildProcess child = ChildProcess.startWith(List.of(), folder, "unavailable")) {
            assertEnds(child, 0);
            String said = child.said();
            assertTrue(said.contains("in this jar needs glibc 9" + needed.group(1) + " or later"), said);
            assertTrue(said.contains("`GLIBC_9" + needed.group(1) + "' not found"), said);
        }
    }

    @Test
    void aTemporaryFolderThatIsMountedNoexecIsNamedAndBothWaysOutOfItWork(
            @TempDir Path noexec, @TempDir Path other) throws Exception {
        assumeTrue(ChildProcess.mayMount("noexec", noexec), "nothing can be mounted here: unshare -rm fails");
        String folder = "-Djava.io.tmpdir=" + noexec;
        try (ChildProcess child = ChildProcess.startBehind(ChildProcess.mounted("noexec", noexec), List.of(folder), "unavailable")) {
            assertEnds(child, 0);
            String cause = "the folder " + noexec + " (system property java.io.tmpdir) is mounted noexec";
            assertTrue(child.said().contains(cause), child.said());
        }

        Path library = Path.of("META-INF", "native", Library.platform(), "libnativeport_jni.so");
        for (String way :
                new String[] {
                    "-D" + Library.EXTRACT_PROPERTY + "=" + other,
                    "-D" + Library.PATH_PROPERTY + "=" + ChildProcess.main().resolve(library),
                }) {
            try (ChildProcess child =
                    ChildProcess.startBehind(ChildProcess.mounted("noexec", noexec), List.of(folder, way), "self-test")) {
                assertEnds(child, 0);
            }
        }
    }

    @Test
    void aCopyOfTheLibraryThatCannotBeRemovedStaysAndTheLibraryIsUsed(@TempDir Path folder, @TempDir Path temporary)
            throws Exception {
        Path library = Path.of("META-INF", "native", Library.platform(), "libnativeport_jni.so");
        Path pipe = folder.resolve(library);
        Files.createDirectories(pipe.getParent());
        assumeTrue(new ProcessBuilder("mkfifo", pipe.toString()).start().waitFor() == 0, "no pipe can be made here");
        String copies = "-Djava.io.tmpdir=" + temporary;
        try (ChildProcess child = ChildProcess.startWith(List.of(copies), folder, "self-test")) {
            // Opens when the child copies it.
            try (OutputStream out = Files.newOutputStream(pipe)) {
                List<Path> copying = new ArrayList<>();
                Tasks.await(
                        "the folder of the copy",
                        () -> {
                            try (Stream<Path> made = Files.list(temporary)) {
                                made.filter(each -> each.getFileName().toString().startsWith("nativeport-"))
                                        .forEach(copying::add);
                            }
                            return !copying.isEmpty();
                        });
                // As NFS leaves one beside a file that is in use when it is removed.
                Files.createFile(copying.get(0).resolve(".nfs0"));
                Files.copy(ChildProcess.main().resolve(library), out);
            }
            assertEnds(child, 0);
            assertTrue(child.said().contains("self-test passed"), child.said());
            try (Stream<Path> left = Files.walk(temporary)) {
                assertTrue(left.anyMatch(each -> each.endsWith(".nfs0")));
            }
        }
    }

    @Test
    void aTemporaryFolderThatIsNotThereIsNamed(@TempDir Path folder) throws Exception {
        Path missing = folder.resolve("missing");
        try (ChildProcess child = ChildProcess.start(List.of("-Djava.io.tmpdir=" + missing), "unavailable")) {
            assertEnds(child, 0);
            assertTrue(child.said().contains("cannot be copied to the folder " + missing), child.said());
        }
    }

    @Test
    void aConnectionThatTheProgramHasLostIsClosedAndNamedInTheLogAndOneWhoseStreamItHasIsNot() throws Exception {
        try (ChildProcess child = ChildProcess.start("forget")) {
            int port = child.hearsNumber("port");
            // The log outlives it.
            does(child, "interrupt");
            try (Peer kept = Peer.connect(port);
                    Peer lost = Peer.client(port)) {
                kept.out.write('G');
                kept.flush();
                does(child, "keep");
                // Were it lost, it would be found before the other.
                does(child, "collect");
                does(child, "forget");
                Tasks.await(
                        "a warning",
                        () -> {
                            does(child, "collect");
                            return child.said().contains("it was not closed");
                        });
                String local = lost.socket.getLocalSocketAddress().toString();
                String said = child.said();
                assertEquals(2, said.split("it was not closed", -1).length, said);
                assertTrue(said.contains(local), said);
                lost.expectEnd();
                child.saysNoMore();
                assertEquals('G', child.hearsNumber("first byte"));
            }
        }
    }

    @Test
    void loopsThatADefectHasEndedAreNamedInTheLogAndWithTheLastOneTheRuntimeEnds() throws Exception {
        try (ChildProcess child = ChildProcess.start("lose-loops")) {
            child.hears("ended");
            for (String loop : List.of("np-io-0", "np-io-1")) {
                Tasks.await(
                        "a line of the log",
                        () -> child.said().contains("a defect of the library: " + loop + " has ended"));
            }
            child.saysNoMore();
            assertEnds(child, 0);
        }
    }

    private static void does(ChildProcess child, String order) throws InterruptedException {
        child.says(order);
        child.hears("done");
    }

    @Test
    void theSelfTestPasses() throws Exception {
        try (ChildProcess child =
                ChildProcess.java(
                        List.of(
                                "--module-path",
                                ChildProcess.main().toString(),
                                "--module",
                                "org.nativeport/org.nativeport.internal.SelfTest",
                                "--self-test"))) {
            assertEnds(child, 0);
            assertTrue(child.said().contains("self-test passed"), child.said());
        }
    }
}
