package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** The programs in the documentation compile against this library, without a warning. */
class DocumentationTest {
    private static final Pattern PROGRAM = Pattern.compile("(?s)```java\n(.*?)```");
    private static final Pattern CLASS_NAME = Pattern.compile("(?m)^(?:public )?class (\\w+)");

    @ParameterizedTest
    @ValueSource(strings = {"java-sockets.md", "migration.md"})
    void programs_compile(String page, @TempDir Path folder) throws Exception {
        String text = Files.readString(Path.of("..", "docs", page));
        List<Path> programs = new ArrayList<>();
        for (Matcher program = PROGRAM.matcher(text); program.find(); ) {
            Matcher name = CLASS_NAME.matcher(program.group(1));
            assertTrue(name.find(), program.group(1));
            Path file = Files.createDirectory(folder.resolve("" + programs.size())).resolve(name.group(1) + ".java");
            programs.add(Files.writeString(file, program.group(1)));
        }
        assertFalse(programs.isEmpty(), page);
        for (Path program : programs) {
            assertEquals("", compile(program));
        }
    }

    /** What the compiler says. */
    private static String compile(Path program) throws IOException, InterruptedException {
        Process javac = new ProcessBuilder(
                        Path.of(System.getProperty("java.home"), "bin", "javac").toString(),
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
