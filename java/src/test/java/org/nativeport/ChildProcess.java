package org.nativeport;

import java.io.BufferedReader;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.net.URISyntaxException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;

/**
 * A virtual machine of its own in which a {@link Child} runs. It is checked as the one that tests is, and does not
 * outlive the test.
 */
final class ChildProcess implements AutoCloseable {
    private static final String END = "(end of its output)";

    private final Process process;
    private final PrintStream input;
    private final BlockingQueue<String> lines = new LinkedBlockingQueue<>();
    private final StringBuffer said = new StringBuffer();
    private final Thread reader = new Thread(this::readLines, "child-output");

    private ChildProcess(List<String> command) throws IOException {
        process = new ProcessBuilder(command).redirectErrorStream(true).start();
        input = new PrintStream(process.getOutputStream(), true);
        reader.setDaemon(true);
        reader.start();
    }

    /** The folder with the classes of the library. */
    static Path main() throws URISyntaxException {
        return Path.of(
                NativeRuntime.class.getProtectionDomain().getCodeSource().getLocation().toURI());
    }

    static ChildProcess start(String... arguments) throws IOException, URISyntaxException {
        return start(List.of("-Xmx256m"), arguments);
    }

    static ChildProcess start(List<String> options, String... arguments)
            throws IOException, URISyntaxException {
        return startBehind(List.of(), options, arguments);
    }

    /** The same, run by another command that takes it as its last arguments. */
    static ChildProcess startBehind(List<String> wrapper, List<String> options, String... arguments)
            throws IOException, URISyntaxException {
        return start(wrapper, options, List.of(), arguments);
    }

    /** With a folder whose resources come first. */
    static ChildProcess startWith(List<String> options, Path folder, String... arguments)
            throws IOException, URISyntaxException {
        return start(List.of(), options, List.of(folder), arguments);
    }

    private static ChildProcess start(
            List<String> wrapper, List<String> options, List<Path> first, String... arguments)
            throws IOException, URISyntaxException {
        List<Path> classPath = new ArrayList<>(first);
        classPath.add(main());
        classPath.add(main().resolveSibling("test-classes"));
        List<String> all = new ArrayList<>(options);
        all.add("-cp");
        all.add(classPath.stream().map(Path::toString).collect(Collectors.joining(File.pathSeparator)));
        all.add("org.nativeport.Child");
        all.addAll(List.of(arguments));
        return java(wrapper, all);
    }

    static ChildProcess java(List<String> arguments) throws IOException {
        return java(List.of(), arguments);
    }

    private static ChildProcess java(List<String> wrapper, List<String> arguments) throws IOException {
        List<String> command = new ArrayList<>(wrapper);
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        // It lives too short for more.
        command.add("-XX:TieredStopAtLevel=1");
        command.addAll(checks());
        command.addAll(arguments);
        return new ChildProcess(command);
    }

    /** Whether {@link #mounted} works on this machine. */
    static boolean mayMount(String options, Path folder) throws InterruptedException {
        List<String> command = new ArrayList<>(mounted(options, folder));
        command.add("true");
        try {
            return new ProcessBuilder(command).start().waitFor() == 0;
        } catch (IOException absent) {
            return false;
        }
    }

    /** Runs the command behind it in a name space of its own, where a file system is mounted at a folder. */
    static List<String> mounted(String options, Path folder) {
        String mount = "mount -t tmpfs -o " + options + " tmpfs \"$0\" && exec \"$@\"";
        return List.of("unshare", "-rm", "sh", "-c", mount, folder.toString());
    }

    /** The options of the virtual machine that tests. */
    static List<String> checks() {
        String checks = System.getProperty("testJvm", "");
        return checks.isBlank() ? List.of() : List.of(checks.trim().split("\\s+"));
    }

    private void readLines() {
        try (var output = new BufferedReader(new InputStreamReader(process.getInputStream()))) {
            for (String line; (line = output.readLine()) != null; ) {
                said.append(line).append('\n');
                lines.add(line);
            }
        } catch (IOException end) {
            said.append(end).append('\n');
        }
        lines.add(END);
    }

    /** Waits for the next line that begins with these words, and gives the rest of it. */
    String hears(String words) throws InterruptedException {
        for (;;) {
            String line = lines.poll(Tasks.PATIENCE_SECONDS, TimeUnit.SECONDS);
            if (line == null || line.equals(END)) {
                throw new AssertionError("no '" + words + "' in:\n" + said);
            }
            if (line.startsWith(words)) {
                return line.substring(words.length()).strip();
            }
        }
    }

    int hearsNumber(String words) throws InterruptedException {
        return Integer.parseInt(hears(words));
    }

    void says(String line) {
        input.println(line);
    }

    /** The number by which it answers. */
    int asks(String line, String words) throws InterruptedException {
        says(line);
        return hearsNumber(words);
    }

    /** There are no more lines for it. */
    void saysNoMore() {
        input.close();
    }

    boolean isAlive() {
        return process.isAlive();
    }

    /** All that it has said. */
    String said() {
        return said.toString();
    }

    /** Waits for its end. */
    int exitCode() throws InterruptedException {
        if (!process.waitFor(Tasks.PATIENCE_SECONDS, TimeUnit.SECONDS)) {
            throw new AssertionError("it has not ended:\n" + said);
        }
        reader.join();
        if (said.indexOf("in native method") >= 0) {
            throw new AssertionError("-Xcheck:jni complains:\n" + said);
        }
        return process.exitValue();
    }

    /** A line of what the system says of it, such as {@code RssAnon} in KiB or {@code Threads}. */
    long status(String key) throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/" + process.pid() + "/status"))) {
            if (line.startsWith(key + ":")) {
                return Long.parseLong(line.split("\\s+")[1]);
            }
        }
        throw new IOException("no " + key);
    }

    @Override
    public void close() {
        process.destroyForcibly();
    }
}
