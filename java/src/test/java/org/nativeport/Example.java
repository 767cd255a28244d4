package org.nativeport;

import java.io.BufferedReader;
import java.io.Closeable;
import java.io.File;
import java.io.IOException;
import java.io.InputStreamReader;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.BlockingQueue;
import java.util.concurrent.LinkedBlockingQueue;
import java.util.concurrent.TimeUnit;
import java.util.stream.Collectors;
import org.nativeport.Tasks.Task;

/** A program for readers, compiled and run as they do: by the name of its source, in a virtual machine of its own. */
final class Example implements Closeable {
    static final Path EXAMPLES = Path.of("..", "examples-java");

    private static final String READY = "ready on port ";

    /** What the shell makes of an end by SIGTERM, as of Ctrl-C 130. */
    private static final int ENDED_BY_SIGTERM = 128 + 15;

    final int port;
    private final Process process;
    private final BlockingQueue<String> lines = new LinkedBlockingQueue<>();
    private final Task<List<String>> said;

    private Example(Process process, int port, BufferedReader output) {
        this.process = process;
        this.port = port;
        said =
                Tasks.start(
                        () -> {
                            List<String> all = new ArrayList<>();
                            for (String line; (line = output.readLine()) != null; ) {
                                lines.add(line);
                                all.add(line);
                            }
                            return all;
                        });
    }

    /** Runs it with the library, and returns when it is ready. */
    static Example start(String source, Object... arguments) throws Exception {
        return start(List.of(), EXAMPLES.resolve(source), arguments);
    }

    /** The same for any source, in its folder, with further jars. */
    static Example start(List<Path> jars, Path source, Object... arguments) throws Exception {
        Path library = Path.of(NativeRuntime.class.getProtectionDomain().getCodeSource().getLocation().toURI());
        List<Path> classPath = new ArrayList<>(jars);
        classPath.add(library);
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.addAll(ChildProcess.checks());
        command.add("-Xmx256m");
        command.add("-cp");
        command.add(classPath.stream().map(Path::toString).collect(Collectors.joining(File.pathSeparator)));
        command.add(source.getFileName().toString());
        for (Object argument : arguments) {
            command.add(argument.toString());
        }
        Process process = new ProcessBuilder(command)
                .directory(source.toAbsolutePath().getParent().toFile())
                .redirectErrorStream(true)
                .start();
        BufferedReader output = new BufferedReader(new InputStreamReader(process.getInputStream()));
        StringBuilder before = new StringBuilder();
        for (String line; (line = output.readLine()) != null; ) {
            if (line.startsWith(READY)) {
                int port = Integer.parseInt(line.substring(READY.length()));
                return new Example(process, port, output);
            }
            before.append(line).append('\n');
        }
        throw new IOException(source + " has ended: " + before);
    }

    /** Waits until it says a line that ends with these words: its clients may see an end before that. */
    void hears(String words) throws InterruptedException {
        for (String line; (line = lines.poll(Tasks.PATIENCE_SECONDS, TimeUnit.SECONDS)) != null; ) {
            if (line.endsWith(words)) {
                return;
            }
        }
        throw new AssertionError("it has not said " + words);
    }

    /** Ends it as an operator does, and returns the lines that it has said since it was ready. */
    List<String> end() throws Exception {
        // Not that of the process, which also closes its output.
        process.toHandle().destroy();
        if (!process.waitFor(Tasks.PATIENCE_SECONDS, TimeUnit.SECONDS)) {
            throw new AssertionError("it has not ended");
        }
        if (process.exitValue() != ENDED_BY_SIGTERM) {
            throw new AssertionError("exit code " + process.exitValue() + ": " + said.get());
        }
        if (said.get().stream().anyMatch(line -> line.contains("in native method"))) {
            throw new AssertionError("-Xcheck:jni complains: " + said.get());
        }
        return said.get();
    }

    @Override
    public void close() {
        process.destroyForcibly();
    }
}
