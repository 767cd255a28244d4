package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.concurrent.TimeUnit;
import jdk.jfr.Recording;
import jdk.jfr.consumer.RecordedEvent;
import jdk.jfr.consumer.RecordingFile;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** What Java Flight Recorder gets to see. */
class RecordingTest {
    @Test
    void aConnectionItsHandshakeAndItsEndAreEvents(@TempDir Path folder) throws Exception {
        Path file = folder.resolve("recorded.jfr");
        try (Recording recording = new Recording()) {
            recording.enable("org.nativeport.Connect");
            recording.enable("org.nativeport.Handshake");
            recording.enable("org.nativeport.Close");
            recording.start();
            try (Served served = Served.tls();
                    Peer peer = Peer.connectTls(served.port()).identify(1)) {
                SocketClientCommunication client = served.nextClient();
                peer.send(new byte[10]);
                client.read();
                client.close();
                Served.ended(client);
            }
            recording.stop();
            recording.dump(file);
        }
        assertTrue(Files.size(file) > 0);
        List<RecordedEvent> events = RecordingFile.readAllEvents(file);
        RecordedEvent connect = only(events, "org.nativeport.Connect");
        assertEquals("CLIENT", connect.getString("protocol"));
        assertEquals("Port", connect.getString("port"));
        RecordedEvent handshake = only(events, "org.nativeport.Handshake");
        assertEquals("TLSv1.3", handshake.getString("protocol"));
        assertEquals("localhost", handshake.getString("serverName"));
        RecordedEvent close = only(events, "org.nativeport.Close");
        assertEquals("host_closed", close.getString("reason"));
        assertEquals("HOST", close.getString("by"));
        assertEquals(connect.getLong("connection"), close.getLong("connection"));
        assertTrue(close.getLong("bytesIn") > 10);
    }

    @Test
    void theAgeOfAConnectionThatHadToWaitForItsAdmissionIsItsOwn(@TempDir Path folder)
            throws Exception {
        Path file = folder.resolve("recorded.jfr");
        long waitedMs;
        try (Recording recording = new Recording()) {
            recording.enable("org.nativeport.Connect");
            recording.start();
            try (Served served = Served.withAdmission("compression", "off");
                    Peer peer = Peer.connect(served.port())) {
                peer.out.write(1);
                peer.flush();
                Admission early = Served.next(served.admissions);
                long begun = System.nanoTime();
                // Others come and are let in meanwhile.
                do {
                    try (Peer other = Peer.connect(served.port())) {
                        other.out.write(3);
                        other.flush();
                        Served.next(served.admissions).admit();
                        assertEquals(1, other.in.read());
                    }
                    waitedMs = TimeUnit.NANOSECONDS.toMillis(System.nanoTime() - begun);
                } while (waitedMs < 50);
                early.admit();
                served.nextClient().close();
            }
            recording.stop();
            recording.dump(file);
        }
        long age =
                RecordingFile.readAllEvents(file).stream()
                        .filter(event -> event.getEventType().getName().equals("org.nativeport.Connect"))
                        .filter(event -> event.getString("protocol").equals("CLIENT"))
                        .findFirst()
                        .orElseThrow()
                        .getDuration("sinceAccept")
                        .toMillis();
        assertTrue(age >= waitedMs, age + " ms in place of more than " + waitedMs);
    }

    private static RecordedEvent only(List<RecordedEvent> events, String name) {
        List<RecordedEvent> found =
                events.stream().filter(e -> e.getEventType().getName().equals(name)).toList();
        assertEquals(1, found.size(), name);
        return found.get(0);
    }
}
