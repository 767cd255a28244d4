package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What the documentation shows of Java is true: programs compile without a warning, and what is a copy agrees. */
class DocumentationTest {
    private static final Path ROOT = Path.of("..");
    private static final Pattern CLASS_NAME = Pattern.compile("(?m)^(?:public )?class (\\w+)");

    /** The blocks of code of a language in a page, each without its fences. */
    private static List<String> blocks(String page, String language) throws IOException {
        String text = Files.readString(ROOT.resolve(page));
        return Pattern.compile("(?s)```" + language + "\n(.*?)```")
                .matcher(text)
                .results()
                .map(block -> block.group(1))
                .toList();
    }

    /** Writes a program into a folder of its own, under the name of its class. */
    private static Path write(String program, Path folder) throws IOException {
        Matcher name = CLASS_NAME.matcher(program);
        assertTrue(name.find(), program);
        return Files.writeString(Files.createDirectory(folder).resolve(name.group(1) + ".java"), program);
    }

    @ParameterizedTest
    @CsvSource({"README.md, 1", "docs/java-sockets.md, 2", "docs/migration.md, 2"})
    void programsCompile(String page, int count, @TempDir Path folder) throws Exception {
        List<String> programs = blocks(page, "java");
        assertEquals(count, programs.size());
        for (String program : programs) {
            Path file = write(program, folder.resolve("" + programs.indexOf(program)));
            assertEquals("", compile(file));
        }
    }

    @Test
    void theProgramOfTheReadmeServesWithTheIniFileOfTheReadme(@TempDir Path folder) throws Exception {
        // The port is the README's business; a test takes a free one, which the program then says.
        String program = blocks("README.md", "java").get(0)
                .replace("new Server()).start();", "new Server()) {{ start(); "
                        + "System.out.println(\"ready on port \" + getLocalPort()); }};");
        String config = blocks("README.md", "ini").get(0).replace("port = 8443", "port = 0");
        Path source = write(program, folder.resolve("server"));
        Files.writeString(source.resolveSibling("server.ini"), config);
        try (Example server = Example.start(List.of(), source);
                Peer client = Peer.connectTls(server.port).identify(1)) {
            client.send(new byte[] {1, 2, 3});
            assertArrayEquals(new byte[] {1, 2, 3}, client.receive());
            server.end();
        }
    }

    @Test
    void theDifferenceInTheMigrationPageIsThatOfTheTwoServers() throws Exception {
        Process diff = new ProcessBuilder(
                        "diff", "-u",
                        "--label", "before/TerminalServer.java", "--label", "after/TerminalServer.java",
                        "before/TerminalServer.java", "after/TerminalServer.java")
                .directory(Example.EXAMPLES.resolve("migration").toFile())
                .start();
        String said = new String(diff.getInputStream().readAllBytes());
        assertEquals(1, diff.waitFor());
        assertEquals(List.of(said), blocks("docs/migration.md", "diff"));
    }

    /** Both are what a reader of the example gets: the jars to copy, and those that the tests run it with. */
    @Test
    void thePomOfTheWebExampleNamesTheVersionsThatAreTested() throws Exception {
        String tested = Files.readString(Path.of("pom.xml"));
        String shown = Files.readString(Example.EXAMPLES.resolve("web/pom.xml"));
        for (String artifact : List.of("nativeport", "jetty-unixdomain-server")) {
            assertEquals(version(tested, artifact), version(shown, artifact), artifact);
        }
    }

    @Test
    void theVersionInTheDocumentationIsThatOfThePom() throws Exception {
        String version = version(Files.readString(Path.of("pom.xml")), "nativeport");
        for (String page : List.of("README.md", "docs/migration.md", "docs/java-watching.md", "docs/java-deployment.md")) {
            String text = Files.readString(ROOT.resolve(page));
            List<String> named = Pattern.compile("nativeport-(\\d[\\d.]*\\d)\\.jar")
                    .matcher(text)
                    .results()
                    .map(jar -> jar.group(1))
                    .distinct()
                    .toList();
            assertEquals(List.of(version), named, page);
        }
        assertEquals(version, version(Files.readString(ROOT.resolve("README.md")), "nativeport"));
    }

    private static String version(String pom, String artifact) {
        Matcher version = Pattern.compile(
                        "<artifactId>" + artifact + "</artifactId>\\s*(?:<!--.*?-->\\s*)?<version>([^<]+)</version>")
                .matcher(pom);
        assertTrue(version.find(), artifact);
        return version.group(1);
    }

    /** What the compiler says. */
    private static String compile(Path program) throws IOException, InterruptedException {
        Process javac = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "javac").toString(),
                        "-J-XX:TieredStopAtLevel=1",
                        "--release", "17", "-Xlint:all", "-Werror",
                        "-cp", Path.of("target", "classes").toString(),
                        "-d", program.getParent().toString(),
                        program.toString())
                .redirectErrorStream(true)
                .start();
        String said = new String(javac.getInputStream().readAllBytes());
        return javac.waitFor() == 0 ? said : said + "failed";
    }
}
