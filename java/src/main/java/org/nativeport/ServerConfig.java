package org.nativeport;

import java.io.IOException;
import java.io.InputStream;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Objects;
import java.util.Optional;
import org.nativeport.internal.Layout;
import org.nativeport.internal.Library;
import org.nativeport.internal.NativeNumbers.Operation;
import org.nativeport.internal.PortLayout;

/**
 * The configuration of ports, TLS and the runtime: an INI file, what the program sets, or both.
 * The keys are those of the file, described in {@code docs/configuration.md}. Immutable and thread safe. It and its
 * {@link Builder} hold the text of files and all values as long as they live.
 *
 * <pre>{@code
 * ServerConfig config = ServerConfig.builder()
 *         .addPort("").setPort("port", "4711").setPort("sslSection", "TLS")
 *         .set("TLS", "certificate", "server.pem").set("TLS", "privateKey", "server.key")
 *         .build();
 * config.check().forEach(System.err::println);
 * }</pre>
 *
 * The native library reads it: what asks about its contents needs the library, and whoever is the first may wait until
 * it is loaded.
 */
public final class ServerConfig {
    private final byte[] operations;

    private ServerConfig(byte[] operations) {
        this.operations = operations;
    }

    /**
     * One thing that is wrong or doubtful.
     *
     * @param isError whether it must be mended; otherwise it is a warning
     * @param file the file, empty if the program set the value
     * @param line the line, 0 if none is meant
     * @param section the section as the file writes it, empty if none is meant
     * @param key the key, empty if none is meant
     * @param found the value or text that was found, without secrets
     * @param message what is wrong
     * @param valid what would be valid; empty where the message says it
     * @param text all of that in one line
     */
    public record Finding(
            boolean isError,
            String file,
            int line,
            String section,
            String key,
            String found,
            String message,
            String valid,
            String text) {
        @Override
        public String toString() {
            return text;
        }
    }

    /**
     * Reads a file. Relative paths in it start at its folder, those in a
     * pipe at the process's working folder. May wait for the file system.
     *
     * @throws IOException if the file cannot be read
     */
    public static ServerConfig load(Path file) throws IOException {
        return builder().load(file).build();
    }

    /**
     * Reads a text as if it were a file. Returns at once.
     *
     * @param name the file's name in messages
     */
    public static ServerConfig parse(String text, String name) {
        return builder().parse(text, name).build();
    }

    /** An empty configuration to begin with. Returns at once. */
    public static Builder builder() {
        return new Builder();
    }

    /**
     * What files and the program say, in the order of the calls: a later value of a key counts. Whether
     * it is right, {@link ServerConfig#check} tells. What no file could say makes a configuration that cannot be read
     * at all: a key or value with a line end in it, a key of a port that is not there, a port that is there already.
     * Not thread safe; no method but {@link #load} waits.
     */
    public static final class Builder {
        private final Bytes operations = new Bytes();

        private Builder() {}

        /**
         * Adds a file, of 8 MiB and 100,000 lines that are neither blank nor comments at most. Relative paths in it start at
         * its folder, those in a pipe at the process's working folder. May wait for the file system, and for
         * the writer of a pipe.
         *
         * @throws IOException if the file cannot be read
         */
        public Builder load(Path file) throws IOException {
            // Of a pipe or device, such as /dev/stdin, paths start at the process's working folder.
            String folder = Files.isRegularFile(file) ? file.toAbsolutePath().getParent().toString() : "";
            try (InputStream in = Files.newInputStream(file)) {
                byte[] text = read(in);
                return add(Operation.FILE, bytes(file.toString()), text, bytes(folder));
            }
        }

        /**
         * Adds a text as if it were a file; relative paths in it start at the process's working folder.
         *
         * @param name the file's name in messages
         */
        public Builder parse(String text, String name) {
            return add(Operation.FILE, bytes(name), bytes(text), new byte[0]);
        }

        /**
         * Adds a port section behind the others.
         *
         * @param name {@code "web"} makes {@code [Port.web]}, an empty one a further {@code [Port]}
         */
        public Builder addPort(String name) {
            return add(Operation.PORT, bytes(name), new byte[0], new byte[0]);
        }

        /**
         * Sets a key of the port that {@link #addPort} has added last, such as {@code port} or {@code sslSection}. Before
         * one was added, the configuration cannot be read at all: ports of files are named in {@link #set}.
         */
        public Builder setPort(String key, String value) {
            return add(Operation.VALUE, new byte[0], bytes(key), bytes(value));
        }

        /**
         * Sets a key of any section, in place of what files say.
         *
         * @param section {@code "Runtime"}, the name of a TLS section, or the canonical name of a port
         * @throws IllegalArgumentException if the name of the section is empty
         */
        public Builder set(String section, String key, String value) {
            if (section.isBlank()) {
                throw new IllegalArgumentException("the name of the section is empty");
            }
            return add(Operation.VALUE, bytes(section), bytes(key), bytes(value));
        }

        /** The configuration as it is now. */
        public ServerConfig build() {
            return new ServerConfig(operations.copy());
        }

        /** Wipes the texts. */
        private Builder add(int kind, byte[]... texts) {
            operations.add(new byte[] {(byte) kind}, 1);
            for (byte[] text : texts) {
                operations.add(ByteBuffer.allocate(4).putInt(text.length).array(), 4);
                operations.add(text, text.length);
                Arrays.fill(text, (byte) 0);
            }
            return this;
        }

        private static byte[] read(InputStream in) throws IOException {
            Bytes text = new Bytes();
            byte[] part = new byte[8192];
            try {
                // One byte more than the library takes: it says so.
                int count;
                int most = Operation.MOST_BYTES + 1;
                while (text.length < most
                        && (count = in.read(part, 0, Math.min(part.length, most - text.length))) >= 0) {
                    text.add(part, count);
                }
                return text.copy();
            } finally {
                Arrays.fill(part, (byte) 0);
                Arrays.fill(text.bytes, (byte) 0);
            }
        }

        private static byte[] bytes(String text) {
            return Objects.requireNonNull(text).getBytes(StandardCharsets.UTF_8);
        }
    }

    /** Bytes that grow, and leave nothing behind where they were. */
    private static final class Bytes {
        private byte[] bytes = new byte[64];
        private int length;

        void add(byte[] more, int count) {
            if (count > bytes.length - length) {
                byte[] old = bytes;
                bytes = Arrays.copyOf(old, (int) Math.min(Integer.MAX_VALUE - 8, 2L * old.length + count));
                Arrays.fill(old, (byte) 0);
            }
            System.arraycopy(more, 0, bytes, length, count);
            length += count;
        }

        byte[] copy() {
            return Arrays.copyOf(bytes, length);
        }
    }

    byte[] operations() {
        return operations;
    }

    /**
     * Everything that is wrong or doubtful, in the order of the file, certificates and keys included; nothing is
     * bound. May wait for the file system.
     *
     * @throws IllegalArgumentException if it cannot be read at all
     * @throws UnsupportedOperationException without the native library, with the reason
     */
    public List<Finding> check() {
        Library.require();
        return Layout.check(operations);
    }

    /**
     * The effective value of a key, defaults included. Returns at once.
     *
     * @return empty if there is no such section or key, or it is required and missing
     * @throws IllegalArgumentException if the configuration cannot be read at all
     * @throws UnsupportedOperationException without the native library, with the reason
     */
    public Optional<String> get(String section, String key) {
        Library.require();
        return Layout.get(operations, section, key);
    }

    /**
     * The canonical names of the ports, in file order. Returns at once.
     *
     * @throws IllegalArgumentException if the configuration cannot be read at all
     * @throws UnsupportedOperationException without the native library, with the reason
     */
    public List<String> getPortNames() {
        Library.require();
        return Layout.of(operations).ports().stream().map(PortLayout::name).toList();
    }
}
