package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * Clients that share no code with the library, those of {@code tests/clients}, exchange transactions with it and
 * compare every byte.
 */
class ClientsTest {
    private static final Path CLIENTS = Path.of("..", "tests", "clients");
    private static final List<String> PACKINGS = List.of("raw", "zlib", "deflate");
    private static final List<Integer> SIZES = List.of(0, 1, 511, 512, 16_384);
    private static final int LARGE = 1 << 20;

    /** What a client is asked to do: on so many connections at once, as often, with these sizes. */
    private record Job(boolean tls, String packing, int connections, int rounds, List<Integer> sizes) {
        int transactions() {
            return connections * rounds * sizes.size();
        }

        /** The client in Python sends all that are not large once more, one behind the other. */
        int transactionsInPython() {
            long small = sizes.stream().filter(size -> size <= 16_384).count();
            return transactions() + connections * (int) small;
        }

        List<String> arguments(int port) {
            List<String> all = new ArrayList<>();
            all.add(Integer.toString(port));
            all.add(tls ? "tls" : "plain");
            all.add(packing);
            all.add(Integer.toString(connections));
            all.add(Integer.toString(rounds));
            sizes.forEach(size -> all.add(size.toString()));
            return all;
        }
    }

    private static List<Job> jobs() {
        List<Job> jobs = new ArrayList<>();
        for (boolean tls : new boolean[] {false, true}) {
            for (String packing : PACKINGS) {
                jobs.add(new Job(tls, packing, 1, 2, SIZES));
                jobs.add(new Job(tls, packing, LongForm.count(4, 50), 1, SIZES));
                jobs.add(new Job(tls, packing, LongForm.count(1, 32), 1, List.of(LARGE)));
            }
        }
        return jobs;
    }

    private static Served serve(Way way, boolean tls) throws IOException {
        return Served.by(
                way,
                tls,
                Way.ECHO,
                "maxHandshakes",
                "0",
                "maxHandshakesPerAddress",
                "0",
                "queueLength",
                "2048");
    }

    /** Runs a client, and gives how many transactions came back to it as they were sent. */
    private static int run(List<String> command) throws IOException, InterruptedException {
        Process client = new ProcessBuilder(command).redirectErrorStream(true).start();
        String said = new String(client.getInputStream().readAllBytes()).strip();
        assertEquals(0, client.waitFor(), said);
        return Integer.parseInt(said);
    }

    private static boolean hasPython() throws InterruptedException {
        try {
            return new ProcessBuilder("python3", "--version").start().waitFor() == 0;
        } catch (IOException absent) {
            return false;
        }
    }

    /** All of it by one client, as it is compiled each time. */
    @Test
    void theClientOfTheJdkGetsEveryByteBackInEachWay() throws Exception {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "java").toString());
        command.add(CLIENTS.resolve("Framed.java").toString());
        List<Served> servers = new ArrayList<>();
        try {
            int expected = 0;
            for (Way way : Way.values()) {
                Served plain = serve(way, false);
                servers.add(plain);
                Served secure = serve(way, true);
                servers.add(secure);
                List<Job> jobs = jobs();
                if (LongForm.count(0, 1) == 1 && way == Way.CALLBACK) {
                    jobs.add(new Job(true, "zlib", 1000, 1, SIZES));
                }
                for (Job job : jobs) {
                    if (expected > 0) {
                        command.add("then");
                    }
                    command.addAll(job.arguments((job.tls() ? secure : plain).port()));
                    expected += job.transactions();
                }
            }
            assertEquals(expected, run(command));
        } finally {
            servers.forEach(Served::close);
        }
    }

    @ParameterizedTest
    @EnumSource(Way.class)
    void theClientInPythonGetsEveryByteBack(Way way) throws Exception {
        assumeTrue(hasPython(), "python3 is not installed");
        List<Job> jobs = new ArrayList<>();
        if (LongForm.count(0, 1) == 1) {
            jobs.addAll(jobs());
            jobs.add(new Job(true, "zlib", 1000, 1, SIZES));
            jobs.add(new Job(false, "raw", 1000, 1, SIZES));
        } else {
            jobs.add(new Job(way.ordinal() % 2 == 0, PACKINGS.get(way.ordinal() % 3), 8, 2, SIZES));
        }
        if (way == Way.THREAD) {
            jobs.add(new Job(false, "raw", 1000, 1, List.of(0, 511)));
        }
        try (Served plain = serve(way, false);
                Served secure = serve(way, true)) {
            for (Job job : jobs) {
                List<String> command = new ArrayList<>();
                command.add("python3");
                command.add(CLIENTS.resolve("framed.py").toString());
                command.addAll(job.arguments((job.tls() ? secure : plain).port()));
                assertEquals(job.transactionsInPython(), run(command), job.toString());
            }
        }
    }
}
