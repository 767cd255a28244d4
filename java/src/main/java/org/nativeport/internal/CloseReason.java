package org.nativeport.internal;

import java.io.EOFException;
import java.io.IOException;
import java.net.ProtocolException;
import java.net.SocketException;
import java.util.Locale;
import javax.net.ssl.SSLException;
import org.nativeport.CloseInfo;

/**
 * Why a connection ended: the names and numbers of {@code src/status.rs}, which never change, and
 * what they mean for somebody who reads.
 */
public enum CloseReason {
    PEER_CLOSED(1),
    PEER_RESET(2),
    HOST_CLOSED(3),
    HOST_ABORTED(4),
    HOST_DEADLINE(5),
    ADMISSION_REFUSED(6),
    ADMISSION_TIMEOUT(7),
    NO_HANDLER(8),
    CLOSED_BEFORE_IDENTIFIED(9),
    READ_TIMEOUT(10),
    HANDSHAKE_TIMEOUT(11),
    FRAME_TIMEOUT(12),
    IDLE_TIMEOUT(13),
    WRITE_TIMEOUT(14),
    CLOSE_TIMEOUT(15),
    TLS_ON_PLAIN_PORT(20),
    TLS_FAILED(21),
    TLS_TRUNCATED(22),
    TLS_NO_DATA(23),
    FRAME_TOO_LARGE(30),
    TRUNCATED(31),
    DEFLATE_CORRUPT(32),
    DEFLATE_EMPTY(33),
    DEFLATE_TRAILING(34),
    INFLATED_TOO_LARGE(35),
    COMPRESSION_REFUSED(36),
    MAX_CONNECTIONS(40),
    MAX_CONNECTIONS_PER_ADDRESS(41),
    MAX_HANDSHAKES(42),
    MAX_HANDSHAKES_PER_ADDRESS(43),
    NO_DESCRIPTORS(44),
    MEMORY_LIMIT(45),
    ADDRESS_OVER_SHARE(46),
    STOPPED(50),
    DRAIN_DEADLINE(51),
    IO_ERROR(60),
    KEEP_ALIVE(61),
    CALLBACK_PANIC(70),
    INTERNAL(71);

    /** The stable number. */
    public final int number;

    CloseReason(int number) {
        this.number = number;
    }

    /** The stable name, as documents, logs and statistics write it. */
    public String word() {
        return name().toLowerCase(Locale.ROOT);
    }

    /** The stable name for a number; a number that is not known here stands for itself. */
    static String word(int number) {
        for (CloseReason reason : values()) {
            if (reason.number == number) {
                return reason.word();
            }
        }
        return Integer.toString(number);
    }

    /**
     * What somebody gets who reads behind the last input of a connection that ended like this;
     * null for an end in order. {@code closedHere} says that this end had closed it.
     */
    static IOException forReader(CloseInfo info, boolean closedHere) {
        if (closedHere) {
            return new SocketException("Socket closed");
        }
        String text = "connection ended: " + describe(info);
        for (CloseReason reason : values()) {
            if (reason.number == info.reasonNumber()) {
                return switch (reason) {
                    case PEER_CLOSED -> null;
                    case PEER_RESET -> new SocketException("Connection reset");
                    case HOST_CLOSED, HOST_ABORTED -> new SocketException("Socket closed");
                    case TRUNCATED -> new EOFException(text);
                    case TLS_FAILED, TLS_TRUNCATED, TLS_NO_DATA -> new SSLException(text);
                    case FRAME_TOO_LARGE,
                            DEFLATE_CORRUPT,
                            DEFLATE_EMPTY,
                            DEFLATE_TRAILING,
                            INFLATED_TOO_LARGE,
                            COMPRESSION_REFUSED ->
                            new ProtocolException(text);
                    default -> new SocketException(text);
                };
            }
        }
        return new SocketException(text);
    }

    /** What somebody gets who writes to a connection that ended like this. */
    static IOException forWriter(CloseInfo info, boolean closedHere) {
        if (!closedHere && info != null && info.reasonNumber() == PEER_CLOSED.number) {
            return new SocketException("Broken pipe");
        }
        if (!closedHere && info == null) {
            // The event that says why is still on its way.
            return new SocketException("Connection ended");
        }
        return closedHere ? new SocketException("Socket closed") : forReader(info, false);
    }

    private static String describe(CloseInfo info) {
        return info.text().isEmpty() ? info.reason() : info.reason() + " (" + info.text() + ")";
    }
}
