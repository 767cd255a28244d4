package org.nativeport;

import java.time.Duration;

/**
 * How a native connection ended.
 *
 * @param reason why, under its stable name, such as {@code "peer_closed"} or {@code
 *     "idle_timeout"}
 * @param reasonNumber the stable number of the reason
 * @param by who ended it
 * @param osError {@code errno} of the operating system, 0 if it reported none
 * @param tlsAlert number of the TLS alert, -1 if there was none
 * @param bytesIn bytes read from the socket
 * @param bytesOut bytes written to the socket
 * @param unsentBytes bytes that writes had taken over and that never reached the operating system
 * @param duration from accept to the end
 * @param text more words where there are any, otherwise empty
 */
public record CloseInfo(
        String reason,
        int reasonNumber,
        Party by,
        int osError,
        int tlsAlert,
        long bytesIn,
        long bytesOut,
        long unsentBytes,
        Duration duration,
        String text) {

    /** Who ended a connection. */
    public enum Party {
        /** The other side of the connection. */
        PEER,
        /** The library, by one of its rules. */
        LIBRARY,
        /** The program that uses the library. */
        HOST,
        /** The operating system. */
        SYSTEM
    }
}
