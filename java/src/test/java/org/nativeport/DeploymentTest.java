package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.spi.ToolProvider;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.nativeport.internal.Library;

/** docs/java-deployment.md: where the library can be loaded, what is said where it cannot, and what the remedies do. */
class DeploymentTest {
    private static final String EXTRACT = "-D" + Library.EXTRACT_PROPERTY + "=";
    private static final String PATH = "-D" + Library.PATH_PROPERTY + "=";
    private static final String SELF_TEST = "org.nativeport.internal.SelfTest";

    /** The child ends well and has said all of it. */
    private static void assertSays(ChildProcess child, String... parts) throws Exception {
        try (child) {
            assertEquals(0, child.exitCode(), child.said());
            for (String part : parts) {
                assertTrue(child.said().contains(part), part + " is not in " + child.said());
            }
        }
    }

    private static void assertUnavailable(List<String> options, String... parts) throws Exception {
        assertSays(ChildProcess.start(options, "unavailable"), parts);
    }

    private static void assertWorks(List<String> wrapper, List<String> options) throws Exception {
        assertSays(ChildProcess.startBehind(wrapper, options, "self-test"), "self-test passed");
    }

    private static Path library() throws Exception {
        return ChildProcess.main().resolve(Path.of("META-INF", "native", Library.platform(), "libnativeport_jni.so"));
    }

    @Test
    void aFolderThatTheLocaleCannotWriteIsNamedWithTwoRemedies(@TempDir Path folder) throws Exception {
        // By the shell: the virtual machine that tests may have that locale too.
        List<String> wrapper =
                List.of(
                        "sh",
                        "-c",
                        "folder=$0/$(printf '\\303\\274'); mkdir -p \"$folder\"; "
                                + "exec env LC_ALL=C JDK_JAVA_OPTIONS=\"-Djava.io.tmpdir=$folder\" \"$@\"",
                        folder.toString());
        assertSays(
                ChildProcess.startBehind(wrapper, List.of(), "unavailable"),
                "the system property java.io.tmpdir names a path that Java cannot use (",
                "start Java in a UTF-8 locale, as with LC_ALL=C.UTF-8",
                "name another folder with -Dnativeport.extract.dir");
        assertWorks(wrapper, List.of(EXTRACT + folder));
    }

    @Test
    void aFullFolderIsNamedAndLeftEmpty(@TempDir Path full) throws Exception {
        assumeTrue(ChildProcess.mayMount("size=1m", full), "nothing can be mounted here: unshare -rm fails");
        List<String> wrapper = new ArrayList<>(ChildProcess.mounted("size=1m", full));
        wrapper.addAll(List.of("sh", "-c", "\"$@\" && rmdir \"$0\"/* 2>&1", full.toString()));
        try (ChildProcess child = ChildProcess.startBehind(wrapper, List.of(EXTRACT + full), "unavailable")) {
            // rmdir has nothing to remove.
            assertEquals(1, child.exitCode(), child.said());
            String place = "cannot be copied to the folder " + full + " (system property nativeport.extract.dir): ";
            assertTrue(child.said().contains(place), child.said());
            assertTrue(child.said().contains("name another folder with -Dnativeport.extract.dir"), child.said());
            assertTrue(child.said().contains("'" + full + "/*'"), child.said());
        }
    }

    @Test
    void aFolderThatIsNoneIsNamedWithItsProperty(@TempDir Path folder) throws Exception {
        Path file = Files.createFile(folder.resolve("file"));
        assertUnavailable(
                List.of("-Djava.io.tmpdir=" + file),
                "cannot be copied to the folder " + file + " (system property java.io.tmpdir): ",
                "name another folder with -Dnativeport.extract.dir");
        assertUnavailable(
                List.of(EXTRACT), "the system property nativeport.extract.dir is empty: name another folder");
    }

    @Test
    void aFileThatIsNotTheLibraryIsNamedWithTheRemedy(@TempDir Path folder) throws Exception {
        String remedy = ": name the file of libnativeport_jni.so, or leave the property out";
        // Of the JDK, and nothing has loaded it.
        Path other = Path.of(System.getProperty("java.home"), "lib", "libprefs.so");
        assumeTrue(Files.exists(other), "this JDK has no " + other);
        assertUnavailable(List.of(PATH + other), "names " + other + ", which is another library than", remedy);
        Path text = Files.writeString(folder.resolve("text"), "no library");
        assertUnavailable(List.of(PATH + text), "names " + text + ", which cannot be loaded (", remedy);
        assertUnavailable(List.of(PATH + folder), "names " + folder + ", which is no file", remedy);
    }

    @Test
    void aFileServesMoreThanOneClassLoader() throws Exception {
        List<String> options = List.of(PATH + library());
        assertSays(ChildProcess.start(options, "reload", ChildProcess.main() + "/", "2"), "reloaded 2");
    }

    @Test
    void relocatedClassesAreToldToBeExcluded(@TempDir Path folder) throws Exception {
        Path main = Path.of("src/main/java");
        try (Stream<Path> files = Files.walk(main.resolve("org"))) {
            for (Path file : files.filter(Files::isRegularFile).toList()) {
                String moved = Files.readString(file).replace("org.nativeport", "shaded.org.nativeport");
                Path source = folder.resolve("shaded").resolve(main.relativize(file));
                Files.createDirectories(source.getParent());
                Files.writeString(source, moved);
            }
        }
        Path program = folder.resolve("Program.java");
        String library = "shaded.org.nativeport.internal.Library";
        Files.writeString(program, "class Program { public static void main(String[] none) {"
                + " System.out.println(" + library + ".unavailabilityCause().get().getMessage()); } }");
        ToolProvider javac = ToolProvider.findFirst("javac").orElseThrow();
        // With what the library needs, and no more.
        String[] arguments = {"-sourcepath", folder.toString(), "-d", folder.toString(), program.toString()};
        assertEquals(0, javac.run(System.out, System.err, arguments));
        assertSays(
                ChildProcess.java(List.of("-cp", folder + ":" + ChildProcess.main(), "Program")),
                "were moved to the package shaded.org.nativeport.internal, and the native library knows them as"
                        + " org.nativeport.internal: exclude them from the relocation");
    }

    @Test
    void whereNativeAccessIsDeniedTheOptionIsNamedAndWorks() throws Exception {
        assumeTrue(Runtime.version().feature() >= 24, "this JDK has no --illegal-native-access");
        String deny = "--illegal-native-access=deny";
        assertUnavailable(List.of(deny), "start it with --enable-native-access=ALL-UNNAMED, or write");
        assertWorks(List.of(), List.of(deny, "--enable-native-access=ALL-UNNAMED"));
        List<String> module =
                List.of(deny, "--module-path", ChildProcess.main().toString(), "-m", "org.nativeport/" + SELF_TEST, "--self-test");
        try (ChildProcess child = ChildProcess.java(module)) {
            assertEquals(1, child.exitCode());
            assertTrue(child.said().contains("start it with --enable-native-access=org.nativeport, or"), child.said());
        }
        List<String> enabled = new ArrayList<>(List.of("--enable-native-access=org.nativeport"));
        enabled.addAll(module);
        assertSays(ChildProcess.java(enabled), "self-test passed");
    }

    @Test
    void theModuleNeedsNothingButJavaBase() throws Exception {
        // The other one has what a TLS client of the JDK needs.
        assertSays(
                ChildProcess.java(
                        List.of(
                                "--limit-modules", "java.base,jdk.crypto.ec",
                                "--module-path", ChildProcess.main().toString(),
                                "-m", "org.nativeport/" + SELF_TEST, "--self-test")),
                "self-test passed");
    }

    @Test
    void threadsOfTheLibraryAreToldByTheirNames() throws Exception {
        try (ChildProcess child = ChildProcess.start("threads")) {
            List<String> names = List.of(child.hears("threads ").split("/"));
            assertEquals(
                    List.of(), names.stream().filter(name -> !name.startsWith("np-")).toList(), names.toString());
            for (String kind : List.of("io-0", "log", "keep-alive", "handshake-0", "acc-")) {
                assertTrue(names.stream().anyMatch(name -> name.startsWith("np-" + kind)), kind + " in " + names);
            }
            assertEquals(0, child.exitCode());
        }
    }
}
