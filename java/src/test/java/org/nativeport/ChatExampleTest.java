package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.EnabledForJreRange;
import org.junit.jupiter.api.condition.JRE;
import org.junit.jupiter.api.io.TempDir;
import org.nativeport.Tasks.Task;

/** examples-java/Chat.java does what it says. */
class ChatExampleTest {
    private static final int ROOMS = 100;
    private static final int MEMBERS = 20;
    private static final int MESSAGES = 5;

    private static final Pattern MISSED = Pattern.compile("\\* you have missed (\\d+) messages");

    @TempDir Path folder;

    /** As without a file, but on a free port, and with other settings. */
    private Example start(String... settings) throws Exception {
        String config = "[Port]\nport=0\nbindAddress=127.0.0.1\nsendQueueLimit=512K\ncompression=off\n"
                + String.join("\n", settings);
        return Example.start("Chat.java", Files.writeString(folder.resolve("server.ini"), config));
    }

    /** Returns when it is in. */
    private static Peer enter(Example chat, String room, String name) throws Exception {
        Peer peer = Peer.client(chat.port);
        say(peer, room + " " + name);
        assertEquals("* welcome to " + room, hear(peer));
        return peer;
    }

    private static void say(Peer peer, String text) throws IOException {
        peer.send(text.getBytes(StandardCharsets.UTF_8));
    }

    private static String hear(Peer peer) throws Exception {
        return new String(peer.receive(), StandardCharsets.UTF_8);
    }

    @Test
    @EnabledForJreRange(min = JRE.JAVA_21)
    void whatTwoThousandClientsSayReachesAllOthersInTheirRoomInOrderAndNobodyElse() throws Exception {
        List<Peer> all = new ArrayList<>();
        try (Example chat = start()) {
            for (int i = 0; i < ROOMS * MEMBERS; i++) {
                all.add(enter(chat, "room" + i / MEMBERS, "member" + i));
            }
            for (int number = 0; number < MESSAGES; number++) {
                for (int i = 0; i < all.size(); i++) {
                    say(all.get(i), "message " + number + " of " + i);
                }
            }
            for (int i = 0; i < all.size(); i++) {
                int first = i - i % MEMBERS;
                Map<String, Integer> heard = new HashMap<>();
                int came = 0;
                for (int expected = (MEMBERS - 1) * MESSAGES; expected > 0; ) {
                    String line = hear(all.get(i));
                    if (line.endsWith(" has come")) {
                        came++;
                        continue;
                    }
                    String name = line.substring(0, line.indexOf(':'));
                    int number = heard.merge(name, 1, Integer::sum) - 1;
                    int member = Integer.parseInt(name.substring("member".length()));
                    assertTrue(member != i && member >= first && member < first + MEMBERS, line);
                    assertEquals(name + ": message " + number + " of " + member, line);
                    expected--;
                }
                assertEquals(MEMBERS - 1, heard.size());
                assertEquals(MEMBERS - 1 - i % MEMBERS, came);
            }
            assertTrue(chat.end().contains("ended"));
            for (Peer peer : all) {
                assertEquals("* the chat ends", hear(peer));
                assertEquals(-1, peer.in.read());
            }
        } finally {
            for (Peer peer : all) {
                peer.close();
            }
        }
    }

    @Test
    void aClientThatDoesNotReadHoldsUpNobodyAndIsToldHowMuchItHasMissed() throws Exception {
        String long32K = "-".repeat(32 * 1024);
        int flood = 2000; // 64 MiB, more than lies in the sockets and in its queue
        try (Example chat = start();
                Peer slow = enter(chat, "room", "slow");
                Peer fast = enter(chat, "room", "fast");
                Peer writer = enter(chat, "room", "writer")) {
            assertEquals("* writer has come", hear(fast));
            int number = 0;
            for (; number < flood; number++) {
                say(writer, number + long32K);
                assertEquals("writer: " + number + long32K, hear(fast));
            }
            Task<Integer> catchesUp = Tasks.start(() -> catchUp(slow, flood));
            for (; !catchesUp.result().isDone(); number++) {
                say(writer, number + long32K);
                assertEquals("writer: " + number + long32K, hear(fast));
            }
            assertTrue(catchesUp.get() > 0);
            chat.end();
        }
    }

    /** Reads until it is past the flood, and returns how many messages it was told that it has missed. */
    private static int catchUp(Peer slow, int flood) throws Exception {
        assertEquals("* fast has come", hear(slow));
        assertEquals("* writer has come", hear(slow));
        int missed = 0;
        for (int next = 0; next <= flood; ) {
            String line = hear(slow);
            Matcher gap = MISSED.matcher(line);
            if (gap.matches()) {
                missed += Integer.parseInt(gap.group(1));
                next += Integer.parseInt(gap.group(1));
            } else {
                assertEquals("writer: " + next++, line.substring(0, line.indexOf('-')));
            }
        }
        return missed;
    }

    @Test
    void aClientThatNeverReadsIsDisconnectedAfterTheWriteTimeout() throws Exception {
        String long32K = "-".repeat(32 * 1024);
        try (Example chat = start("writeTimeout=1s");
                Peer slow = enter(chat, "room", "slow");
                Peer fast = enter(chat, "room", "fast");
                Peer writer = enter(chat, "room", "writer")) {
            assertEquals("* writer has come", hear(fast));
            String heard;
            do {
                say(writer, long32K);
                heard = hear(fast);
            } while (heard.equals("writer: " + long32K));
            assertEquals("* slow has left", heard);
            assertTrue(slow.socket.isConnected());
            chat.end();
        }
    }

    @Test
    void nobodyComesInUnderATakenOrMisleadingName() throws Exception {
        try (Example chat = start();
                Peer ann = enter(chat, "room", "ann")) {
            for (String[] each :
                    new String[][] {
                        {"room ann", "* ann is taken in room"},
                        {"room *", "* say ROOM NAME first"},
                        {"room", "* say ROOM NAME first"},
                        {"room ann smith", "* say ROOM NAME first"},
                    }) {
                try (Peer other = Peer.client(chat.port)) {
                    say(other, each[0]);
                    assertEquals(each[1], hear(other));
                    assertEquals(-1, other.in.read());
                }
            }
            Peer bob = enter(chat, "room", "bob");
            assertEquals("* bob has come", hear(ann));
            bob.close();
            assertEquals("* bob has left", hear(ann));
            enter(chat, "room", "bob").close();
            chat.end();
        }
    }
}
