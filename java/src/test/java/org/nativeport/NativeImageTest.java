package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.io.InputStream;
import java.lang.reflect.Modifier;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledForJreRange;
import org.junit.jupiter.api.condition.JRE;

/** What GraalVM's native-image has to be told, in META-INF/native-image, is what the classes and sources say. */
class NativeImageTest {
    private static final Pattern NAME = Pattern.compile("\"name\"\\s*:\\s*\"([^\"]+)\"");
    private static final Pattern CLASS_BY_NAME = Pattern.compile("Class\\.forName\\(\\s*\"([^\"]+)\"");
    private static final Pattern FOUND =
            Pattern.compile("\\.find(?:Static|Virtual)\\(\\s*\\w+(?:\\.class)?,\\s*\"(\\w+)\"");

    /** Methods of an object of the host's, which need not be registered. */
    private static final Pattern OF_THE_HOST = Pattern.compile("object\\.getClass\\(\\)\\.getMethod\\(");

    /** What finds members or classes by name at run time. */
    private static final Pattern REFLECTION =
            Pattern.compile(
                    "Class\\.forName|\\.find(?:Static|Virtual|Constructor|Special|VarHandle|Getter|Setter)\\("
                            + "|\\.get(?:Declared)?(?:Method|Methods|Field|Fields|Constructor|Constructors)\\("
                            + "|\\.loadClass\\(|ServiceLoader\\.|Proxy\\.newProxyInstance");

    private static String configuration(String file) throws IOException {
        String path = "/META-INF/native-image/org.nativeport/nativeport/" + file;
        try (InputStream in = NativeRuntime.class.getResourceAsStream(path)) {
            assertNotNull(in, path);
            return new String(in.readAllBytes(), StandardCharsets.UTF_8);
        }
    }

    private static Set<String> names(Pattern pattern, String text) {
        return pattern.matcher(text).results().map(match -> match.group(1)).collect(Collectors.toCollection(TreeSet::new));
    }

    private static List<Path> files(String folder, String suffix) throws IOException {
        try (Stream<Path> files = Files.walk(Path.of(folder))) {
            return files.filter(file -> file.toString().endsWith(suffix)).toList();
        }
    }

    @Test
    void everyClassWithNativesIsNamedWithAllOfThem() throws Exception {
        Set<String> natives = new TreeSet<>();
        Path classes = Path.of("target", "classes");
        for (Path file : files(classes.toString(), ".class")) {
            String name = classes.relativize(file).toString().replace(".class", "").replace('/', '.');
            if (name.equals("module-info")) {
                continue;
            }
            Class<?> type = Class.forName(name, false, NativeRuntime.class.getClassLoader());
            Stream.of(type.getDeclaredMethods())
                    .filter(method -> Modifier.isNative(method.getModifiers()))
                    .forEach(method -> {
                        natives.add(type.getName());
                        natives.add(method.getName());
                    });
        }
        assertTrue(natives.contains("org.nativeport.internal.Native"), natives::toString);
        assertEquals(natives, names(NAME, configuration("jni-config.json")));
    }

    @Test
    void everythingThatIsFoundByNameIsNamed() throws Exception {
        Set<String> found = new TreeSet<>();
        for (Path file : files("src/main/java", ".java")) {
            String source = Files.readString(file);
            Set<String> here = names(CLASS_BY_NAME, source);
            here.addAll(names(FOUND, source));
            // Another way of finding something is one that this test does not know.
            Matcher reflection = REFLECTION.matcher(source);
            long times = reflection.results().count();
            long understood = Stream.of(CLASS_BY_NAME, FOUND, OF_THE_HOST)
                    .mapToLong(pattern -> pattern.matcher(source).results().count())
                    .sum();
            assertEquals(times, understood, file.toString());
            found.addAll(here);
        }
        assertFalse(found.isEmpty());
        Set<String> named = names(NAME, configuration("reflect-config.json"));
        // Classes that members are found in, which the sources name as classes.
        named.removeAll(Set.of("java.lang.Thread", "java.util.concurrent.Executors"));
        assertEquals(found, named);
    }

    @Test
    @EnabledForJreRange(min = JRE.JAVA_21)
    void everyClassThatIsNamedExists() throws Exception {
        for (String file : List.of("jni-config.json", "reflect-config.json")) {
            for (String name : names(NAME, configuration(file))) {
                if (name.contains(".")) {
                    assertNotNull(Class.forName(name), name);
                }
            }
        }
    }

    @Test
    void theNativeLibraryIsAResourceThatIsTakenAlong() throws Exception {
        Matcher pattern = Pattern.compile("\"pattern\"\\s*:\\s*\"([^\"]+)\"").matcher(configuration("resource-config.json"));
        assertTrue(pattern.find());
        Pattern taken = Pattern.compile(pattern.group(1).replace("\\\\", "\\"));
        List<Path> libraries = files("target/classes/META-INF/native", ".so");
        assertFalse(libraries.isEmpty());
        for (Path library : libraries) {
            String resource = Path.of("target", "classes").relativize(library).toString();
            assertTrue(taken.matcher(resource).matches(), resource);
        }
    }
}
