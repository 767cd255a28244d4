package org.nativeport.internal;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.InvalidPathException;
import java.nio.file.Path;
import java.nio.file.attribute.FileAttribute;
import java.nio.file.attribute.PosixFilePermission;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.UUID;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;

/**
 * The native library: found, loaded once for each class loader, and if it cannot be, the reason in
 * words. Nothing is loaded before it is first asked for.
 *
 * <p>Order: the file that the system property {@value #PATH_PROPERTY} names, and then no other;
 * else the resource for this platform in the jar, copied to a private folder with a random name that is removed
 * right away. That folder is made where {@value #EXTRACT_PROPERTY} says, or else {@code java.io.tmpdir}. Every message names
 * the place, the cause, and the remedy.
 */
public final class Library {
    /** System property with the path of the library's file. */
    public static final String PATH_PROPERTY = "nativeport.library.path";

    /** System property with the folder to which the library in the jar is copied. */
    public static final String EXTRACT_PROPERTY = "nativeport.extract.dir";

    private static final String TEMPORARY_PROPERTY = "java.io.tmpdir";
    private static final String NAME = "libnativeport_jni.so";
    private static final String MUSL = "-musl";
    private static final String BUILD =
            "build it with cargo build --release -p nativeport-jni, and name its file with the system property "
                    + PATH_PROPERTY;

    private static final String ANOTHER_FOLDER =
            "name another folder with -D" + EXTRACT_PROPERTY + ", or the library's file with -D" + PATH_PROPERTY;
    private static final String ANOTHER_FILE =
            "name the file of " + NAME + ", or leave the property out, and Java takes the one in the jar";

    /** The package of these classes, as the native library knows it. Tools that relocate classes change literals too. */
    private static final String PACKAGE = "org!nativeport!internal".replace('!', '.');

    private static final FileAttribute<Set<PosixFilePermission>> PRIVATE =
            PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rwx------"));

    /** In the words of the JDK. */
    private static final String IN_ANOTHER_LOADER = "loaded in another classloader";

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
            if (!Library.class.getPackageName().equals(PACKAGE)) {
                throw new UnsatisfiedLinkError(
                        "the classes of nativeport were moved to the package " + Library.class.getPackageName()
                                + ", and the native library knows them as " + PACKAGE
                                + ": exclude them from the relocation (<exclude> of maven-shade, exclude of Gradle Shadow)");
            }
            String given = System.getProperty(PATH_PROPERTY);
            if (given != null) {
                loadFile(path(PATH_PROPERTY, given, ANOTHER_FILE));
            } else {
                loadResource(platform());
            }
            Native.link();
            return null;
        } catch (IllegalCallerException denied) {
            String module = Library.class.getModule().isNamed() ? Library.class.getModule().getName() : "ALL-UNNAMED";
            return failure(
                    "this JVM denies native access (" + denied.getMessage() + "): start it with --enable-native-access="
                            + module + ", or write Enable-Native-Access: ALL-UNNAMED into the manifest of the jar that"
                            + " java -jar starts",
                    denied);
        } catch (LinkageError | IOException | RuntimeException failure) {
            return failure;
        }
    }

    private static UnsatisfiedLinkError failure(String words, Throwable cause) {
        return (UnsatisfiedLinkError) new UnsatisfiedLinkError(words).initCause(cause);
    }

    /** What a system property names. */
    private static Path path(String property, String value, String remedy) {
        if (value.isEmpty()) {
            throw new UnsatisfiedLinkError("the system property " + property + " is empty: " + remedy);
        }
        try {
            return Path.of(value);
        } catch (InvalidPathException e) {
            throw failure(
                    "the system property " + property + " names a path that Java cannot use (" + e.getMessage()
                            + "): if it has letters beyond ASCII, start Java in a UTF-8 locale, as with LC_ALL=C.UTF-8; or "
                            + remedy,
                    e);
        }
    }

    private static void loadFile(Path file) throws IOException {
        String place = "the system property " + PATH_PROPERTY + " names " + file;
        if (!Files.isRegularFile(file)) {
            throw new UnsatisfiedLinkError(place + ", which is no file: " + ANOTHER_FILE);
        }
        try {
            load(file);
        } catch (UnsatisfiedLinkError error) {
            String said = String.valueOf(error.getMessage());
            if (!said.contains(IN_ANOTHER_LOADER)) {
                throw failure(place + ", which cannot be loaded (" + said + "): " + ANOTHER_FILE, error);
            }
            // A file belongs to one class loader; a copy is another file.
            try (InputStream copied = Files.newInputStream(file)) {
                loadCopy(copied, platform(), isMusl());
            }
        }
        agree(place, ANOTHER_FILE);
    }

    private static void load(Path file) {
        System.load(file.toAbsolutePath().toString());
    }

    /** Throws if what was loaded is not the library of these classes. */
    private static void agree(String place, String remedy) {
        int answer;
        try {
            answer = Native.initialize(Native.AGREEMENT);
        } catch (UnsatisfiedLinkError foreign) {
            throw failure(place + ", which is another library than " + NAME + ": " + remedy, foreign);
        }
        if (answer != Status.OK) {
            throw new UnsatisfiedLinkError(
                    place + ", which is of another version than the Java classes: " + remedy);
        }
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
                agree("the jar has a native library for " + folder, "take library and classes from one build");
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
        String property = System.getProperty(EXTRACT_PROPERTY) == null ? TEMPORARY_PROPERTY : EXTRACT_PROPERTY;
        Path parent = path(property, System.getProperty(property), ANOTHER_FOLDER);
        String place = "the folder " + parent + " (system property " + property + ")";
        // Files.createTempDirectory would need a java.io.tmpdir that Java can use, also for another folder.
        Path folder = parent.resolve("nativeport-" + UUID.randomUUID());
        Path file = folder.resolve(NAME);
        try {
            Files.createDirectory(folder, PRIVATE);
        } catch (IOException e) {
            throw cannotCopy(place, e);
        }
        try {
            try {
                Files.copy(resource, file);
            } catch (IOException e) {
                throw cannotCopy(place, e);
            }
            try {
                load(file);
            } catch (UnsatisfiedLinkError error) {
                String reason =
                        isNoexec(file)
                                ? place + " is mounted noexec, so that no library can be loaded from it: " + ANOTHER_FOLDER
                                : misfit(platform, error.getMessage(), isMusl);
                throw reason == null ? error : failure(reason, error);
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

    private static IOException cannotCopy(String place, IOException cause) {
        return new IOException(
                "the native library cannot be copied to " + place + ": " + cause + "; " + ANOTHER_FOLDER, cause);
    }

    /** Where nothing may be executed, a file has no permission to be, whatever its mode says. */
    private static boolean isNoexec(Path file) {
        return file.toFile().setExecutable(true, true) && !Files.isExecutable(file);
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
