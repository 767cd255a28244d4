package org.nativeport.internal;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The native library: found, loaded once for each class loader, and if it cannot be, the reason in
 * words. Nothing is loaded before it is first asked for.
 *
 * <p>Order: the file that the system property {@value #PATH_PROPERTY} names, and then no other;
 * else the resource for this platform in the jar, copied to a private folder with a random name that is removed
 * right away.
 */
public final class Library {
    /** System property with the path of the library's file. */
    public static final String PATH_PROPERTY = "nativeport.library.path";

    private static final String NAME = "libnativeport_jni.so";
    private static final String MUSL = "-musl";
    private static final String BUILD =
            "build it with cargo build --release -p nativeport-jni, and name its file with the system property "
                    + PATH_PROPERTY;

    private static final String ANOTHER_FOLDER =
            "start Java with -Djava.io.tmpdir=FOLDER for another one, or name the library's file with -D" + PATH_PROPERTY;

    /** In the words of glibc's loader. */
    private static final Pattern GLIBC_IS_OLDER = Pattern.compile("version `GLIBC_([\\d.]+)' not found");

    private Library() {}

    /** Holds the outcome, so that the first to ask loads it and others wait for that. */
    private static final class Loaded {
        static final Throwable CAUSE = load();
    }

    /** Why the native library cannot be used; empty if it can. May wait for the file system. */
    public static Optional<Throwable> unavailabilityCause() {
        return Optional.ofNullable(Loaded.CAUSE);
    }

    /**
     * Returns if the native library can be used.
     *
     * @throws UnsupportedOperationException with the reason, if it cannot
     */
    public static void require() {
        Throwable cause = Loaded.CAUSE;
        if (cause != null) {
            throw new UnsupportedOperationException(
                    "the native library cannot be used: " + cause.getMessage(), cause);
        }
    }

    /** Where the library for this platform lies in the jar, such as {@code linux-x86_64}. */
    public static String platform() {
        return platform(System.getProperty("os.name"), System.getProperty("os.arch"));
    }

    static String platform(String osName, String osArch) {
        String os = osName.toLowerCase(Locale.ROOT);
        String system =
                os.startsWith("linux")
                        ? "linux"
                        : os.startsWith("mac") ? "osx" : os.startsWith("windows") ? "windows" : os;
        String arch =
                switch (osArch.toLowerCase(Locale.ROOT)) {
                    case "amd64", "x86_64", "x86-64" -> "x86_64";
                    case "aarch64", "arm64" -> "aarch_64";
                    default -> osArch.toLowerCase(Locale.ROOT);
                };
        return system.replace(' ', '_') + "-" + arch;
    }

    private static Throwable load() {
        try {
            String given = System.getProperty(PATH_PROPERTY);
            if (given != null) {
                loadFile(Path.of(given));
            } else {
                loadResource(platform());
            }
            int answer = Native.initialize(Native.AGREEMENT);
            if (answer != Status.OK) {
                return new UnsatisfiedLinkError(
                        "the native library is of another version than the Java classes");
            }
            Native.link();
            return null;
        } catch (LinkageError | IOException | RuntimeException failure) {
            return failure;
        }
    }

    private static void loadFile(Path file) {
        if (!Files.isRegularFile(file)) {
            throw new UnsatisfiedLinkError(
                    "the system property " + PATH_PROPERTY + " names " + file
                            + ", which is no file");
        }
        System.load(file.toAbsolutePath().toString());
    }

    private static void loadResource(String platform) throws IOException {
        UnsatisfiedLinkError last = null;
        boolean isMusl = isMusl();
        // The first one may have been built on this machine; otherwise it needs glibc.
        for (String folder : isMusl ? List.of(platform, platform + MUSL) : List.of(platform)) {
            try (InputStream resource =
                    Library.class.getResourceAsStream("/META-INF/native/" + folder + "/" + NAME)) {
                if (resource == null) {
                    continue;
                }
                loadCopy(resource, folder, isMusl);
                return;
            } catch (UnsatisfiedLinkError error) {
                if (last != null) {
                    error.addSuppressed(last);
                }
                last = error;
            }
        }
        if (last != null) {
            throw last;
        }
        throw new UnsatisfiedLinkError("this jar has no native library for " + platform + "; " + BUILD);
    }

    private static void loadCopy(InputStream resource, String platform, boolean isMusl) throws IOException {
        Path folder = newFolder();
        Path file = folder.resolve(NAME);
        try {
            Files.copy(resource, file, StandardCopyOption.REPLACE_EXISTING);
            try {
                System.load(file.toAbsolutePath().toString());
            } catch (UnsatisfiedLinkError error) {
                String reason = isNoexec(file) ? noexec(folder) : misfit(platform, error.getMessage(), isMusl);
                throw reason == null ? error : (UnsatisfiedLinkError) new UnsatisfiedLinkError(reason).initCause(error);
            }
        } finally {
            // It stays mapped.
            remove(file);
            remove(folder);
        }
    }

    /** If it cannot be removed it stays, and harms nobody: NFS keeps a file that is in use under another name. */
    private static void remove(Path path) {
        try {
            Files.deleteIfExists(path);
        } catch (IOException stays) {
            return;
        }
    }

    /** Private to this user, and of a name that nobody can know before. */
    private static Path newFolder() throws IOException {
        try {
            return Files.createTempDirectory("nativeport-");
        } catch (IOException e) {
            throw new IOException(
                    "the native library cannot be copied to the temporary folder " + System.getProperty("java.io.tmpdir")
                            + " (" + e + "): " + ANOTHER_FOLDER,
                    e);
        }
    }

    /** Where nothing may be executed, a file has no permission to be, whatever its mode says. */
    private static boolean isNoexec(Path file) {
        return file.toFile().setExecutable(true, true) && !Files.isExecutable(file);
    }

    private static String noexec(Path folder) {
        return "the temporary folder " + folder.getParent() + " is mounted noexec, so that no library can be loaded"
                + " from it: " + ANOTHER_FOLDER;
    }

    /** What does not fit about the library for a platform, by what the system said; null if that is another thing. */
    static String misfit(String platform, String said, boolean isMusl) {
        if (isMusl && !platform.endsWith(MUSL)) {
            return "the native library for " + platform + " in this jar needs glibc, this system has musl, and there is"
                    + " none for musl in the jar; " + BUILD;
        }
        Matcher version = GLIBC_IS_OLDER.matcher(said);
        if (version.find()) {
            return "the native library for " + platform + " in this jar needs glibc " + version.group(1)
                    + " or later, and this system has an older one; " + BUILD;
        }
        return null;
    }

    /** Where the C library is musl, that is mapped under its own name. */
    private static boolean isMusl() {
        try (Stream<String> maps = Files.lines(Path.of("/proc/self/maps"))) {
            return maps.anyMatch(line -> line.contains("/ld-musl-"));
        } catch (IOException | UncheckedIOException unknown) {
            return false;
        }
    }
}
