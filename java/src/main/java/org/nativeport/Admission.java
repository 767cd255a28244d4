package org.nativeport;

import org.nativeport.internal.NativeConnection;

/**
 * The question whether a connection is let in: for load balancing, licence limits and bans. The
 * first answer counts, from whichever thread. No method waits.
 */
public final class Admission {
    private final NativeConnection connection;

    Admission(NativeConnection connection) {
        this.connection = connection;
    }

    /** Who asks. */
    public ConnectionInfo getInfo() {
        return connection.info();
    }

    /**
     * Lets it in: the callback for its protocol follows.
     *
     * @return false if it was answered before, or has ended
     */
    public boolean admit() {
        return connection.admit();
    }

    /**
     * Turns it away without a word.
     *
     * @return false if it was answered before, or has ended
     */
    public boolean refuse() {
        return connection.refuse(new byte[0]);
    }

    /**
     * Turns it away with bytes that are sent as they are, such as a redirect. If the system has no
     * memory for them, it is turned away without them.
     *
     * @param farewell at most 1 MiB
     * @return false if it was answered before, or has ended
     * @throws IllegalArgumentException it is larger; nothing is answered then
     */
    public boolean refuse(byte[] farewell) {
        return connection.refuse(farewell.clone());
    }
}
