package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.OptionalLong;
import java.util.TreeMap;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** Each counter is the one of its name: the same numbers come in a text that names them natively. */
class MetricsTest {
    /** A line of the text: its name, its labels if it has any, its value. */
    private static final Pattern LINE = Pattern.compile("(?m)^nativeport_(\\w+)(?:\\{(.*)})? (-?\\d+)$");

    private static final int REFUSED = 12;
    private static final int SILENT = 11;

    /** So many of each protocol come, and as many stay, which are different numbers. */
    private static final Map<Protocol, Long> OPENED =
            Map.of(Protocol.CLIENT, 5L, Protocol.RELAY, 6L, Protocol.REMOTE_APPLICATION, 7L, Protocol.UNKNOWN, 8L);

    private static final Map<Protocol, Long> OPEN =
            Map.of(Protocol.CLIENT, 1L, Protocol.RELAY, 2L, Protocol.REMOTE_APPLICATION, 3L, Protocol.UNKNOWN, 4L);

    /** Of a transaction that does not come to its end: more than each connection has for itself. */
    private static final int PART = 300_000;

    /** Answers each transaction of a client twice, none of an application, and sends streams back. */
    private static final class Program implements ConnectionHandler, RemoteAssistanceServer {
        @Override
        public void onClientConnect(SocketClientCommunication client) throws IOException {
            try (client) {
                for (byte[] next; (next = client.read()) != null; ) {
                    client.write(next);
                    client.write(next);
                }
            }
        }

        @Override
        public void onRemoteApplicationConnect(SocketClientCommunication application) throws IOException {
            try (application) {
                while (application.read() != null) {
                    continue;
                }
            }
        }

        @Override
        public void onUnknownConnect(ISocket socket, int firstByte) throws IOException {
            startRelay(socket);
        }

        @Override
        public void startRelay(ISocket socket) throws IOException {
            try (socket) {
                socket.getInputStream().transferTo(socket.getOutputStream());
            }
        }

        @Override
        public boolean decidesAdmission() {
            return true;
        }

        @Override
        public void onAdmission(Admission admission) {
            if (admission.getInfo().firstByte() == 'R') {
                admission.refuse("no".getBytes());
            } else {
                admission.admit();
            }
        }
    }

    /** Connects, sends, and reads the whole answer. */
    private static Peer exchange(int port, Protocol protocol) throws Exception {
        Peer peer = Peer.connect(port);
        switch (protocol) {
            case CLIENT -> {
                peer.identify(1);
                for (int i = 0; i < 2; i++) {
                    peer.send(new byte[10]);
                    assertEquals(10, peer.receive().length);
                    assertEquals(10, peer.receive().length);
                }
            }
            case REMOTE_APPLICATION -> peer.identify(3).send(new byte[100]);
            default -> {
                byte[] stream = new byte[protocol == Protocol.RELAY ? 1000 : 21];
                stream[0] = 'x';
                if (protocol == Protocol.RELAY) {
                    peer.out.write(2);
                }
                peer.out.write(stream);
                peer.flush();
                assertArrayEquals(stream, peer.in.readNBytes(stream.length));
            }
        }
        return peer;
    }

    @Test
    void eachCounterIsTheOneOfItsName() throws Exception {
        ServerConfig config =
                Served.config("compression", "off", "readTimeout", "1h", "handshakeTimeout", "1h", "frameTimeout", "0");
        Program program = new Program();
        List<Peer> peers = new ArrayList<>();
        try (NativeRuntime runtime = NativeRuntime.builder(config).build();
                var listener = new SocketClientConnectionListener(runtime, config, 0, program)) {
            listener.setRemoteAssistanceServer(program);
            listener.start();
            int port = listener.getLocalPort();
            long ended = 0;
            for (Protocol protocol : Protocol.values()) {
                for (int i = 0; i < OPENED.get(protocol); i++) {
                    Peer peer = exchange(port, protocol);
                    peers.add(peer);
                    if (i >= OPEN.get(protocol)) {
                        peer.finish();
                        peer.expectEnd();
                        ended++;
                    }
                }
            }
            for (int i = 0; i < REFUSED; i++) {
                try (Peer refused = Peer.connect(port)) {
                    refused.out.write('R');
                    refused.flush();
                    assertEquals("no", new String(refused.in.readAllBytes()));
                }
            }
            for (int i = 0; i < SILENT; i++) {
                peers.add(Peer.connect(port));
            }
            // The first one is a client that stays.
            peers.get(0).out.writeInt(PART + 1);
            peers.get(0).out.write(new byte[PART]);
            peers.get(0).flush();

            long bytesIn = 5 * (1 + 2 * 14) + 6 * 1001 + 7 * (1 + 104) + 8 * 21 + REFUSED + 4 + PART;
            long bytesOut = 5 * (1 + 4 * 14) + 6 * 1000 + 7 + 8 * 21 + REFUSED * 2;
            long ends = ended + REFUSED;
            Tasks.await(
                    "all of it",
                    () -> {
                        Metrics told = told(runtime.getPrometheusText());
                        return told.bytesIn() == bytesIn
                                && told.bytesOut() == bytesOut
                                && told.unidentified() == SILENT
                                && told.closes().values().stream().mapToLong(Long::longValue).sum() == ends;
                    });
            // What counts time goes on by itself where the machine is busy: then all of it is looked at again.
            Metrics told;
            List<Metrics> counted;
            do {
                told = told(runtime.getPrometheusText());
                counted = List.of(runtime.getMetrics(), listener.getServerSocket().getMetrics());
            } while (!told.equals(told(runtime.getPrometheusText())));
            assertTrue(told.memoryBytes() > 0);
            Metrics known =
                    new Metrics(
                            5 + 6 + 7 + 8 + REFUSED + SILENT,
                            SILENT,
                            OPEN,
                            OPENED,
                            5 * 2 + 7,
                            5 * 4,
                            bytesIn,
                            bytesOut,
                            Map.of("peer_closed", ended, "admission_refused", (long) REFUSED),
                            told.memoryBytes(),
                            told.logDropped(),
                            told.loopsHeldUp(),
                            told.slowTurns(),
                            1 + 2 + 3 + 4 + SILENT,
                            0,
                            0,
                            OptionalLong.empty());
            assertEquals(known, told);
            assertEquals(List.of(known, known), counted);
        } finally {
            for (Peer peer : peers) {
                peer.close();
            }
        }
    }

    /** What the text says. */
    private static Metrics told(String text) {
        Map<String, Long> all = new TreeMap<>();
        for (Matcher line = LINE.matcher(text); line.find(); ) {
            String label = line.group(2) == null ? "" : line.group(2).replaceAll(".*,(?:protocol|reason)=\"(.*)\"", "$1");
            String key = label.contains("section") ? line.group(1) : line.group(1) + " " + label;
            all.put(key.strip(), Long.valueOf(line.group(3)));
        }
        Function<String, Map<Protocol, Long>> byProtocol =
                name -> {
                    Map<Protocol, Long> values = new EnumMap<>(Protocol.class);
                    for (Protocol protocol : Protocol.values()) {
                        values.put(protocol, all.get(name + " " + protocol.name().toLowerCase(Locale.ROOT)));
                    }
                    return values;
                };
        Map<String, Long> closes = new TreeMap<>();
        all.forEach(
                (key, value) -> {
                    if (key.startsWith("closes_total ") && value > 0) {
                        closes.put(key.substring("closes_total ".length()), value);
                    }
                });
        return new Metrics(
                all.get("accepts_total"),
                all.get("unidentified"),
                byProtocol.apply("connections"),
                byProtocol.apply("opened_total"),
                all.get("frames_received_total"),
                all.get("frames_sent_total"),
                all.get("bytes_received_total"),
                all.get("bytes_sent_total"),
                closes,
                all.get("memory_bytes"),
                all.get("log_dropped_total"),
                all.get("loops_held_up"),
                all.get("slow_turns_total"),
                all.get("places_taken"),
                all.get("accept_errors_total"),
                all.get("bytes_unsent_total"),
                all.containsKey("certificate_days_left")
                        ? OptionalLong.of(all.get("certificate_days_left"))
                        : OptionalLong.empty());
    }

    @Test
    void aCertificateHasItsDays() throws Exception {
        ServerConfig config = Served.tlsConfig();
        try (NativeRuntime runtime = NativeRuntime.builder(config).build();
                var listener = new SocketClientConnectionListener(runtime, config, 0, new Program())) {
            assertEquals(OptionalLong.empty(), runtime.getMetrics().certificateDaysLeft());
            listener.start();
            Metrics told;
            List<Metrics> counted;
            do {
                told = told(runtime.getPrometheusText());
                counted = List.of(runtime.getMetrics(), listener.getServerSocket().getMetrics());
            } while (!told.equals(told(runtime.getPrometheusText())));
            // What selfSigned makes ends in 4096.
            assertTrue(told.certificateDaysLeft().getAsLong() > 365_000);
            for (Metrics each : counted) {
                assertEquals(told.certificateDaysLeft(), each.certificateDaysLeft());
            }
        }
    }
}
