import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;
import java.util.Map;
import java.util.concurrent.CompletionStage;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.locks.ReentrantLock;
import org.nativeport.ConnectionHandler;
import org.nativeport.ServerConfig;
import org.nativeport.SocketClientCommunication;
import org.nativeport.SocketClientConnectionListener;

/**
 * A chat for thousands of clients. The first transaction of a client is {@code ROOM NAME}; each one
 * after that goes to all others in its room, as {@code NAME: text}, those of one client in its
 * order. What the chat itself says begins with {@code "* "}. The argument is an INI file; without one it
 * listens on port 4712 of this machine, plain. Ctrl-C ends it in order.
 *
 * <pre>java -cp nativeport.jar Chat.java [server.ini]</pre>
 *
 * Each client has a thread that reads. Nobody has a thread that
 * writes: {@code offer} never waits, so that a client that reads slowly holds up no other. What it
 * has not read waits in its send queue, up to {@code sendQueueLimit}; beyond that it misses
 * messages, and is told how many. If it reads nothing at all for {@code writeTimeout}, the library ends
 * its connection.
 */
public class Chat implements ConnectionHandler {
    private static final Duration TIME_TO_SAY_WHO = Duration.ofSeconds(30);
    private static final Duration TIME_TO_END = Duration.ofSeconds(5);

    /** Who is where: by room, and in it by name. A room exists as long as somebody is in it. */
    private final Map<String, Map<String, Member>> rooms = new ConcurrentHashMap<>();

    public static void main(String[] arguments) throws IOException {
        ServerConfig config = arguments.length > 0 ? ServerConfig.load(Path.of(arguments[0])) : standard();
        Chat chat = new Chat();
        var listener = new SocketClientConnectionListener(config, chat);
        listener.start();
        Runtime.getRuntime().addShutdownHook(new Thread(() -> chat.end(listener)));
        System.out.println("ready on port " + listener.getLocalPort());
    }

    /**
     * What one client may hold of our memory: half a megabyte that it has not read, and less that it has
     * sent. Nothing is sent compressed, as it would be for each receiver again.
     */
    private static ServerConfig standard() {
        return ServerConfig.builder()
                .addPort("")
                .setPort("port", "4712")
                .setPort("bindAddress", "127.0.0.1")
                .setPort("sendQueueLimit", "512K")
                .setPort("receiveWindow", "128K")
                .setPort("maxFrameSize", "64K")
                .setPort("maxInflatedSize", "64K")
                .setPort("compression", "off")
                .build();
    }

    @Override
    public void onClientConnect(SocketClientCommunication client) throws IOException {
        try (client) {
            byte[] who = client.read(TIME_TO_SAY_WHO);
            String[] words = who == null ? new String[0] : text(who).split(" ");
            if (words.length != 2 || !isName(words[0]) || !isName(words[1])) {
                client.write(bytes("* say ROOM NAME first"));
                return;
            }
            Member member = new Member(words[0], words[1], client);
            if (!enter(member)) {
                client.write(bytes("* " + member.name + " is taken in " + member.room));
                return;
            }
            try {
                tellOthers(member, "* " + member.name + " has come");
                member.tell(bytes("* welcome to " + member.room));
                for (byte[] message; (message = client.read()) != null; ) {
                    tellOthers(member, member.name + ": " + text(message));
                }
            } finally {
                leave(member);
                tellOthers(member, "* " + member.name + " has left");
            }
        }
    }

    /** So that nobody can pass for the chat itself, or for two. */
    private static boolean isName(String word) {
        return word.matches("[A-Za-z0-9_-]{1,32}");
    }

    /** False if the room has somebody of that name. */
    private boolean enter(Member member) {
        Map<String, Member> room = rooms.compute(member.room, (name, old) -> {
            Map<String, Member> members = old == null ? new ConcurrentHashMap<>() : old;
            members.putIfAbsent(member.name, member);
            return members;
        });
        return room.get(member.name) == member;
    }

    private void leave(Member member) {
        rooms.computeIfPresent(member.room, (name, members) -> {
            members.remove(member.name);
            return members.isEmpty() ? null : members;
        });
    }

    private void tellOthers(Member from, String message) {
        byte[] bytes = bytes(message);
        for (Member to : rooms.getOrDefault(from.room, Map.of()).values()) {
            if (to != from) {
                to.tell(bytes);
            }
        }
    }

    private static final class Member {
        final String room;
        final String name;
        final SocketClientCommunication client;
        private final ReentrantLock lock = new ReentrantLock();
        private int missed;

        Member(String room, String name, SocketClientCommunication client) {
            this.room = room;
            this.name = name;
            this.client = client;
        }

        /** Returns at once: a message for which its send queue has no room is counted instead. */
        void tell(byte[] message) {
            lock.lock();
            try {
                if (missed > 0 && client.offer(bytes("* you have missed " + missed + " messages"))) {
                    missed = 0;
                }
                if (missed > 0 || !client.offer(message)) {
                    missed++;
                }
            } catch (IOException end) {
                // Its connection has ended: the thread that reads from it sees that too, and leaves.
                return;
            } finally {
                lock.unlock();
            }
        }
    }

    /** Nobody new comes in, everybody is told, and what was said before is sent. */
    private void end(SocketClientConnectionListener listener) {
        CompletionStage<Void> ended = listener.stop(TIME_TO_END);
        List<Member> all = rooms.values().stream().flatMap(members -> members.values().stream()).toList();
        rooms.clear();
        all.forEach(member -> member.tell(bytes("* the chat ends")));
        all.forEach(member -> member.client.close());
        ended.toCompletableFuture().join();
        System.out.println("ended");
    }

    private static String text(byte[] bytes) {
        return new String(bytes, StandardCharsets.UTF_8);
    }

    private static byte[] bytes(String text) {
        return text.getBytes(StandardCharsets.UTF_8);
    }
}
