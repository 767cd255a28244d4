package org.nativeport.internal;

import java.io.EOFException;
import java.io.IOException;
import java.net.ProtocolException;
import java.net.SocketException;
import java.util.Locale;
import javax.net.ssl.SSLException;
import org.nativeport.CloseInfo;
import org.nativeport.internal.NativeNumbers.CloseNumber;

/** Why a connection ended, and what that means for somebody who reads. Names and numbers never change. */
public enum CloseReason {
    PEER_CLOSED(CloseNumber.PEER_CLOSED),
    PEER_RESET(CloseNumber.PEER_RESET),
    HOST_CLOSED(CloseNumber.HOST_CLOSED),
    HOST_ABORTED(CloseNumber.HOST_ABORTED),
    HOST_DEADLINE(CloseNumber.HOST_DEADLINE),
    ADMISSION_REFUSED(CloseNumber.ADMISSION_REFUSED),
    ADMISSION_TIMEOUT(CloseNumber.ADMISSION_TIMEOUT),
    NO_HANDLER(CloseNumber.NO_HANDLER),
    CLOSED_BEFORE_IDENTIFIED(CloseNumber.CLOSED_BEFORE_IDENTIFIED),
    READ_TIMEOUT(CloseNumber.READ_TIMEOUT),
    HANDSHAKE_TIMEOUT(CloseNumber.HANDSHAKE_TIMEOUT),
    FRAME_TIMEOUT(CloseNumber.FRAME_TIMEOUT),
    IDLE_TIMEOUT(CloseNumber.IDLE_TIMEOUT),
    WRITE_TIMEOUT(CloseNumber.WRITE_TIMEOUT),
    CLOSE_TIMEOUT(CloseNumber.CLOSE_TIMEOUT),
    TLS_ON_PLAIN_PORT(CloseNumber.TLS_ON_PLAIN_PORT),
    TLS_FAILED(CloseNumber.TLS_FAILED),
    TLS_TRUNCATED(CloseNumber.TLS_TRUNCATED),
    TLS_NO_DATA(CloseNumber.TLS_NO_DATA),
    FRAME_TOO_LARGE(CloseNumber.FRAME_TOO_LARGE),
    TRUNCATED(CloseNumber.TRUNCATED),
    DEFLATE_CORRUPT(CloseNumber.DEFLATE_CORRUPT),
    DEFLATE_EMPTY(CloseNumber.DEFLATE_EMPTY),
    DEFLATE_TRAILING(CloseNumber.DEFLATE_TRAILING),
    INFLATED_TOO_LARGE(CloseNumber.INFLATED_TOO_LARGE),
    COMPRESSION_REFUSED(CloseNumber.COMPRESSION_REFUSED),
    MAX_CONNECTIONS(CloseNumber.MAX_CONNECTIONS),
    MAX_CONNECTIONS_PER_ADDRESS(CloseNumber.MAX_CONNECTIONS_PER_ADDRESS),
    MAX_HANDSHAKES(CloseNumber.MAX_HANDSHAKES),
    MAX_HANDSHAKES_PER_ADDRESS(CloseNumber.MAX_HANDSHAKES_PER_ADDRESS),
    NO_DESCRIPTORS(CloseNumber.NO_DESCRIPTORS),
    MEMORY_LIMIT(CloseNumber.MEMORY_LIMIT),
    ADDRESS_OVER_SHARE(CloseNumber.ADDRESS_OVER_SHARE),
    STOPPED(CloseNumber.STOPPED),
    DRAIN_DEADLINE(CloseNumber.DRAIN_DEADLINE),
    IO_ERROR(CloseNumber.IO_ERROR),
    KEEP_ALIVE(CloseNumber.KEEP_ALIVE),
    CALLBACK_PANIC(CloseNumber.CALLBACK_PANIC),
    INTERNAL(CloseNumber.INTERNAL);

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
        CloseReason reason = NativeNumbers.closeReason(number);
        return reason == null ? Integer.toString(number) : reason.word();
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
        CloseReason reason = NativeNumbers.closeReason(info.reasonNumber());
        if (reason == null) {
            return new SocketException(text);
        }
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
