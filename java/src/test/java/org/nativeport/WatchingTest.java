package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertNotNull;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.Writer;
import java.lang.reflect.RecordComponent;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import jdk.jfr.Event;
import jdk.jfr.EventType;
import jdk.jfr.ValueDescriptor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** docs/java-watching.md names what there is, and its program and commands do what it says. */
class WatchingTest {
    /** Of every event, whatever it is about. */
    private static final Set<String> COMMON_FIELDS = Set.of("startTime", "duration", "eventThread", "stackTrace");

    private static String page() throws IOException {
        return Files.readString(Path.of("..", "docs", "java-watching.md"));
    }

    private static List<String> blocks(String page, String language) {
        return all("(?s)```" + language + "\n(.*?)```", page);
    }

    /** What the first group has found, each time. */
    private static List<String> all(String pattern, String text) {
        return Pattern.compile(pattern).matcher(text).results().map(found -> found.group(1)).toList();
    }

    @Test
    void thePageNamesEveryCounter() throws Exception {
        List<String> components =
                Arrays.stream(Metrics.class.getRecordComponents()).map(RecordComponent::getName).sorted().toList();
        String page = page();
        assertEquals(components, all("(?m)^\\| `(\\w+)` \\| `nativeport_", page).stream().sorted().toList());
        try (Served served = Served.tls()) {
            List<String> families = all("# TYPE (\\w+) ", served.listener.getRuntime().getPrometheusText());
            assertEquals(
                    families.stream().sorted().toList(),
                    all("(?m)^\\|(?: `\\w+`)? \\| `(nativeport_\\w+)`", page).stream().sorted().toList());
        }
    }

    @Test
    void thePageNamesEveryFieldOfEveryEvent() throws Exception {
        List<String> names = new ArrayList<>();
        for (Class<?> each : Class.forName("org.nativeport.internal.Recording").getDeclaredClasses()) {
            EventType type = EventType.getEventType(each.asSubclass(Event.class));
            names.add(type.getName());
            Set<String> fields =
                    type.getFields().stream().map(ValueDescriptor::getName).collect(Collectors.toCollection(TreeSet::new));
            fields.removeAll(COMMON_FIELDS);
            String row = all("(?m)^\\| `" + type.getName() + "` \\|[^|]*\\|(.*)\\|$", page()).get(0);
            // Without values and units, which stand in brackets.
            Set<String> told = new TreeSet<>(all("`(\\w+)`", row.replaceAll(" \\([^)]*\\)", "")));
            assertEquals(fields, told, type.getName());
        }
        assertEquals(
                names.stream().sorted().toList(),
                all("(?m)^\\| `(org\\.nativeport\\.\\w+)`", page()).stream().sorted().toList());
    }

    @Test
    void theProgramOfThePageAnswersWithTheCountersOfItsRuntime(@TempDir Path folder) throws Exception {
        Files.writeString(folder.resolve("MetricsPage.java"), blocks(page(), "java").get(0));
        run("javac --release 17 -Xlint:all -Werror -cp nativeport-0.jar MetricsPage.java", folder);
        ServerConfig config =
                ServerConfig.builder().addPort("metrics").setPort("port", "0").setPort("bindAddress", "127.0.0.1").build();
        try (NativeRuntime runtime = NativeRuntime.builder(config).build();
                URLClassLoader loader =
                        new URLClassLoader(new URL[] {folder.toUri().toURL()}, WatchingTest.class.getClassLoader())) {
            ConnectionHandler handler =
                    (ConnectionHandler)
                            loader.loadClass("MetricsPage").getConstructor(NativeRuntime.class).newInstance(runtime);
            try (var listener = new SocketClientConnectionListener(runtime, config, 0, handler)) {
                listener.start();
                int port = listener.getLocalPort();
                String answer = get(port);
                String labels = "port=\"" + port + "\",map_to_port=\"" + port + "\",section=\"Port.metrics\"";
                assertTrue(answer.startsWith("HTTP/1.0 200 OK\r\n"), answer);
                assertTrue(answer.contains("\nnativeport_accepts_total{" + labels + "} "), answer);
            }
        }
    }

    private static String get(int port) throws IOException {
        try (Peer browser = Peer.connect(port)) {
            browser.out.writeBytes("GET /metrics HTTP/1.0\r\n\r\n");
            browser.flush();
            return new String(browser.in.readAllBytes());
        }
    }

    @Test
    void aRecordingThatIsMadeAsThePageSaysHasTheConnectionsOfTheServer(@TempDir Path folder) throws Exception {
        String[] commands = blocks(page(), "sh").get(0).split("\n");
        serve(commands[0], folder, "");
        String printed = run(commands[1], folder);
        for (String event : List.of("Connect", "Handshake", "Close")) {
            assertTrue(printed.contains("org.nativeport." + event + " {"), printed);
        }
    }

    @Test
    void theLogHasALineForEachConnectionWithThePropertiesOfThePage(@TempDir Path folder) throws Exception {
        Files.writeString(folder.resolve("logging.properties"), blocks(page(), "properties").get(0));
        serve(blocks(page(), "sh").get(1).strip(), folder, " closed: peer_closed in open after ");
    }

    /** Runs the server of the README by a command, until two clients have come and it has said these words. */
    private static void serve(String command, Path folder, String words) throws Exception {
        String readme = Files.readString(Path.of("..", "README.md"));
        // The port is the README's business; a test takes a free one, which the program then says.
        String program = blocks(readme, "java").get(0)
                .replace("new Server()).start();", "new Server()) {{ start(); "
                        + "System.out.println(\"ready on port \" + getLocalPort()); }};");
        Files.writeString(folder.resolve("Server.java"), program);
        // With one loop, whoever is answered hears that the end of those before has been told.
        String config = blocks(readme, "ini").get(0).replace("port = 8443", "port = 0") + "[Runtime]\nioThreads = 1\n";
        Files.writeString(folder.resolve("server.ini"), config);
        Process server = shell("exec " + command, folder);
        // Whoever reads what it says would wait for ever if it does not say it.
        CompletableFuture.delayedExecutor(Tasks.PATIENCE_SECONDS, TimeUnit.SECONDS).execute(server::destroyForcibly);
        try (BufferedReader output = new BufferedReader(new InputStreamReader(server.getInputStream()))) {
            int port = Integer.parseInt(hears(output, "ready on port ").replaceAll("\\D", ""));
            for (int i = 0; i < 2; i++) {
                try (Peer client = Peer.connectTls(port).identify(1)) {
                    client.send(new byte[] {1, 2, 3});
                    assertArrayEquals(new byte[] {1, 2, 3}, client.receive());
                    client.finish();
                    client.expectEnd();
                }
            }
            hears(output, words);
            // Not that of the process, which also closes its output.
            server.toHandle().destroy();
            output.transferTo(Writer.nullWriter());
            assertTrue(server.waitFor(Tasks.PATIENCE_SECONDS, TimeUnit.SECONDS));
        } finally {
            server.destroyForcibly();
        }
    }

    /** The next line that has these words; none is read for no words. */
    private static String hears(BufferedReader output, String words) throws IOException {
        StringBuilder said = new StringBuilder();
        while (!words.isEmpty()) {
            String line = output.readLine();
            assertNotNull(line, said.toString());
            if (line.contains(words)) {
                return line;
            }
            said.append(line).append('\n');
        }
        return "";
    }

    /** What it says. */
    private static String run(String command, Path folder) throws Exception {
        Process process = shell(command, folder);
        String said = new String(process.getInputStream().readAllBytes());
        assertEquals(0, process.waitFor(), said);
        return said;
    }

    /** With the library of the tests in place of the jar, and the JDK of the tests. */
    private static Process shell(String command, Path folder) throws Exception {
        Matcher jar = Pattern.compile("nativeport-\\d[\\d.]*\\.jar").matcher(command);
        String path = Path.of(System.getProperty("java.home"), "bin") + ":" + System.getenv("PATH");
        ProcessBuilder shell =
                new ProcessBuilder("sh", "-c", jar.replaceAll(Matcher.quoteReplacement(ChildProcess.main().toString())))
                        .directory(folder.toFile())
                        .redirectErrorStream(true);
        shell.environment().put("PATH", path);
        return shell.start();
    }
}
