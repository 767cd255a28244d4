package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.net.URISyntaxException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.RepeatedTest;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.Timeout;
import org.junit.jupiter.api.io.TempDir;
import org.nativeport.internal.Library;

/** How a virtual machine ends in which the library works. */
@Timeout(600)
class ProcessesTest {
    /** The folder with the classes of the library. */
    private static Path main() throws URISyntaxException {
        return Path.of(
                NativeRuntime.class.getProtectionDomain().getCodeSource().getLocation().toURI());
    }

    private static Process start(String... arguments) throws IOException, URISyntaxException {
        return start(List.of(), arguments);
    }

    private static Process start(List<String> options, String... arguments)
            throws IOException, URISyntaxException {
        return run(java(options, "org.nativeport.Child", arguments));
    }

    private static List<String> java(List<String> options, String main, String... arguments)
            throws URISyntaxException {
        Path tests = main().resolveSibling("test-classes");
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.add("-Xmx256m");
        command.addAll(options);
        command.add("-cp");
        command.add(main() + java.io.File.pathSeparator + tests);
        command.add(main);
        command.addAll(List.of(arguments));
        return command;
    }

    private static Process run(List<String> command) throws IOException {
        return new ProcessBuilder(command).redirectErrorStream(true).start();
    }

    /** Newer virtual machines warn first that native code is used. */
    private static String firstNumber(BufferedReader said) throws IOException {
        for (String line; (line = said.readLine()) != null; ) {
            if (line.matches("[0-9]+")) {
                return line;
            }
        }
        throw new IOException("it has said nothing");
    }

    private static int exitCode(Process process) throws InterruptedException {
        if (!process.waitFor(300, TimeUnit.SECONDS)) {
            process.destroyForcibly();
            throw new AssertionError("it has not ended");
        }
        return process.exitValue();
    }

    private static String output(Process process) throws IOException {
        return new String(process.getInputStream().readAllBytes());
    }

    @Test
    void aStartedListenerServesOnAfterMainHasReturned() throws Exception {
        Process process = start("serve");
        BufferedReader said =
                new BufferedReader(new InputStreamReader(process.getInputStream()));
        int port = Integer.parseInt(firstNumber(said));
        try (Peer peer = Peer.client(port);
                Peer other = Peer.connect(port)) {
            peer.send(new byte[] {1, 2});
            assertArrayEquals(new byte[] {1, 2}, peer.receive());
            assertTrue(process.isAlive());
            other.out.write(42);
            other.flush();
            assertEquals(42, exitCode(process));
        }
    }

    @Test
    void withoutKeepAliveTheProgramEndsWithMain() throws Exception {
        Process process = start("serve-without-keep-alive");
        int code = exitCode(process);
        assertEquals(0, code, output(process));
    }

    @RepeatedTest(3)
    void anExitUnderLoadIsPrompt() throws Exception {
        Process process = start("exit-under-load");
        int code = exitCode(process);
        assertEquals(3, code, output(process));
    }

    @Test
    void classLoadersAreCollectedWhilePeersStillSend() throws Exception {
        Process process = start("reload", main().toString() + "/");
        int code = exitCode(process);
        String said = output(process);
        assertEquals(0, code, said);
        assertTrue(said.contains("reloaded"), said);
    }

    @Test
    void withoutTheLibraryTheReasonIsSaidAndSocketsOfTheJdkWork() throws Exception {
        for (String[] each :
                new String[][] {
                    {"-Dos.arch=mips", "this jar has no native library for linux-mips"},
                    {"-Dnativeport.library.path=/nowhere.so", "names /nowhere.so, which is no file"},
                    {"-Dnativeport.library.path=" + main() + "/module-info.class", "module-info.class"},
                    {"-Djava.io.tmpdir=/nowhere", "/nowhere"},
                }) {
            Process process = start(List.of(each[0]), "unavailable");
            int code = exitCode(process);
            String said = output(process);
            assertEquals(0, code, said);
            assertTrue(said.contains(each[1]), said);
        }
    }

    @Test
    void aTemporaryFolderThatIsMountedNoexecIsNamedAndBothWaysOutOfItWork(
            @TempDir Path noexec, @TempDir Path other) throws Exception {
        assumeTrue(mayMount(noexec), "nothing can be mounted here: unshare -rm fails");
        String folder = "-Djava.io.tmpdir=" + noexec;

        Process process = run(mountedNoexec(noexec, java(List.of(folder), "org.nativeport.Child", "unavailable")));
        int code = exitCode(process);
        String said = output(process);
        assertEquals(0, code, said);
        assertTrue(said.contains("the temporary folder " + noexec + " is mounted noexec"), said);

        Path library = Path.of("META-INF", "native", Library.platform(), "libnativeport_jni.so");
        for (String way :
                new String[] {
                    "-Djava.io.tmpdir=" + other,
                    "-D" + Library.PATH_PROPERTY + "=" + main().resolve(library),
                }) {
            process = run(mountedNoexec(
                    noexec, java(List.of(folder, way), "org.nativeport.internal.SelfTest", "--self-test")));
            code = exitCode(process);
            assertEquals(0, code, output(process));
        }
    }

    private static boolean mayMount(Path folder) throws InterruptedException {
        try {
            return run(mountedNoexec(folder, List.of("true"))).waitFor() == 0;
        } catch (IOException absent) {
            return false;
        }
    }

    /** The command, in a name space of its own where the folder is mounted so that nothing in it may be executed. */
    private static List<String> mountedNoexec(Path folder, List<String> command) {
        List<String> all = new ArrayList<>();
        all.addAll(List.of("unshare", "-rm", "sh", "-c", "mount -t tmpfs -o noexec tmpfs \"$0\" && exec \"$@\""));
        all.add(folder.toString());
        all.addAll(command);
        return all;
    }

    @Test
    void theSelfTestPasses() throws Exception {
        Process process =
                new ProcessBuilder(
                                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                                "--module-path",
                                main().toString(),
                                "--module",
                                "org.nativeport/org.nativeport.internal.SelfTest",
                                "--self-test")
                        .redirectErrorStream(true)
                        .start();
        int code = exitCode(process);
        String said = output(process);
        assertEquals(0, code, said);
        assertTrue(said.contains("self-test passed"), said);
    }
}
