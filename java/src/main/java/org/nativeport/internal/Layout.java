package org.nativeport.internal;

import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import org.nativeport.ServerConfig;

/**
 * What Java itself needs of a configuration, read by the native library.
 *
 * @param ioThreads how many loops are wanted
 * @param virtualCallbacks whether callbacks run on virtual threads
 * @param exitFlushMillis so long the exit of the virtual machine waits for output; 0 for not at all
 * @param ports the ports in file order
 */
public record Layout(int ioThreads, boolean virtualCallbacks, int exitFlushMillis, List<PortLayout> ports) {

    /**
     * Reads it.
     *
     * @throws IllegalArgumentException if the configuration cannot be read at all
     */
    public static Layout of(byte[] config) {
        Answer answer = inspect(config, Native.INSPECT_LAYOUT, "", "");
        int ioThreads = answer.number();
        boolean virtualCallbacks = answer.number() == 1;
        int exitFlushMillis = answer.number();
        List<PortLayout> ports = new ArrayList<>();
        while (answer.hasMore()) {
            ports.add(
                    new PortLayout(
                            answer.text(),
                            answer.text(),
                            answer.number(),
                            answer.number(),
                            answer.number(),
                            answer.number(),
                            answer.longNumber()));
        }
        return new Layout(ioThreads, virtualCallbacks, exitFlushMillis, List.copyOf(ports));
    }

    /** Everything that is wrong or doubtful. Reads the files that TLS sections name. */
    public static List<ServerConfig.Finding> check(byte[] config) {
        Answer answer = inspect(config, Native.INSPECT_CHECK, "", "");
        List<ServerConfig.Finding> findings = new ArrayList<>();
        while (answer.hasMore()) {
            boolean isError = answer.number() == 1;
            int line = answer.number();
            findings.add(
                    new ServerConfig.Finding(
                            isError,
                            answer.text(),
                            line,
                            answer.text(),
                            answer.text(),
                            answer.text(),
                            answer.text(),
                            answer.text(),
                            answer.text()));
        }
        return List.copyOf(findings);
    }

    /** The effective value of a key. */
    public static Optional<String> get(byte[] config, String section, String key) {
        Answer answer = answer(config, Native.INSPECT_GET, section, key);
        if (answer.status == Status.NOT_FOUND) {
            return Optional.empty();
        }
        return Optional.of(ok(answer).text());
    }

    private static Answer inspect(byte[] config, int what, String section, String key) {
        return ok(answer(config, what, section, key));
    }

    private static Answer answer(byte[] config, int what, String section, String key) {
        return new Answer(
                Native.inspect(
                        config,
                        what,
                        section.getBytes(StandardCharsets.UTF_8),
                        key.getBytes(StandardCharsets.UTF_8)));
    }

    private static Answer ok(Answer answer) {
        if (answer.status != Status.OK) {
            throw new IllegalArgumentException(answer.text());
        }
        return answer;
    }
}
