package org.nativeport;

import static org.junit.jupiter.api.Assertions.assertArrayEquals;
import static org.junit.jupiter.api.Assertions.assertFalse;

import java.io.Closeable;
import java.io.IOException;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.atomic.AtomicInteger;
import org.nativeport.Tasks.Task;

/**
 * Framed clients beside the one that a test is about, on the same loops. When they have been answered, each loop has
 * looked at what had come before: so it is seen that something does not happen.
 */
final class Others implements Closeable {
    /** Newcomers go to the loop that has the fewest: with the one of the test there are two on each. */
    private static final int COUNT = 3;

    private static final int EXCHANGES = 50;
    private static final byte[] SHORT = "other".getBytes();

    private final List<Peer> peers = new ArrayList<>();

    /** The program answers them. */
    Others(Served served, boolean tls) throws IOException {
        for (int i = 0; i < COUNT; i++) {
            peers.add(Peer.client(served.port(), tls));
        }
    }

    /** They are answered here, as there is no program. */
    static Others answered(Served served) throws IOException, InterruptedException {
        Others others = new Others(served, false);
        for (int i = 0; i < COUNT; i++) {
            SocketClientCommunication other = served.nextClient();
            other.onFrame(other::write);
        }
        return others;
    }

    static boolean isOne(byte[] transaction) {
        return transaction.length == SHORT.length;
    }

    /** Again and again. */
    void exchange() throws Exception {
        for (int i = 0; i < EXCHANGES; i++) {
            exchangeOnce();
        }
    }

    private void exchangeOnce() throws Exception {
        for (Peer peer : peers) {
            peer.send(SHORT);
            assertArrayEquals(SHORT, peer.receive());
        }
    }

    /** Offers this to a connection whose peer does not read, until none is taken for as long as they have exchanged again and again; says how many were. */
    int fill(SocketClientCommunication client, byte[] transaction) throws Exception {
        int taken = 0;
        for (int still = 0; still < EXCHANGES; still++) {
            if (client.offer(transaction)) {
                taken++;
                still = 0;
            }
            exchangeOnce();
        }
        return taken;
    }

    /** Returns when the sender waits, and has sent nothing more for as long as they have exchanged again and again. */
    void awaitStuck(Task<?> sender, AtomicInteger sent) throws Exception {
        int before = -1;
        for (int still = 0; still < EXCHANGES; ) {
            assertFalse(sender.result().isDone(), "all of it was taken");
            int now = sent.get();
            still = now == before && sender.isWaiting() ? still + 1 : 0;
            before = now;
            exchangeOnce();
        }
    }

    @Override
    public void close() throws IOException {
        for (Peer peer : peers) {
            peer.close();
        }
    }
}
