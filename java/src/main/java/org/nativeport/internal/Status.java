package org.nativeport.internal;

import java.io.IOException;
import java.net.BindException;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import javax.net.ssl.SSLException;

/**
 * What natives answer below 0: the numbers of {@code src/status.rs}, which never change, and the
 * exceptions they become here.
 */
final class Status {
    static final int OK = 0;
    static final int ARGUMENT = -101;
    static final int INVALID_HANDLE = -102;
    static final int TOO_LARGE = -103;
    static final int NOT_FOUND = -104;
    static final int UNSUPPORTED = -105;
    static final int CLOSED = -201;
    static final int STATE = -202;
    static final int WOULD_BLOCK = -204;
    static final int TIMED_OUT = -205;
    static final int STOPPED = -206;
    static final int ADDRESS_IN_USE = -302;
    static final int ADDRESS_NOT_AVAILABLE = -303;
    static final int TLS = -401;
    static final int CERTIFICATE = -402;
    static final int FRAME_TOO_LARGE = -501;
    static final int CONFIG = -601;
    static final int CONFIG_FILE = -602;
    static final int PANIC = -701;
    static final int MEMORY_LIMIT = -702;
    static final int INTERNAL = -703;

    private Status() {}

    /**
     * The exception for a failed native: unchecked for what the program did wrong or a defect of
     * the library, otherwise an {@link IOException} to be thrown.
     *
     * @throws IllegalArgumentException the configuration has an error
     * @throws IllegalStateException the call does not fit the present state, or a defect
     */
    static IOException exception(long status, byte[] words) {
        int end = 8;
        while (end < words.length && words[end] != 0) {
            end++;
        }
        String text = new String(words, 8, end - 8, StandardCharsets.UTF_8);
        int osError = ByteBuffer.wrap(words).getInt();
        return exception(status, text, osError);
    }

    static IOException exception(long status, String text, int osError) {
        String message = text.isEmpty() ? "nativeport: status " + status : text;
        switch ((int) status) {
            case CONFIG, CONFIG_FILE, ARGUMENT, NOT_FOUND, TOO_LARGE, FRAME_TOO_LARGE ->
                    throw new IllegalArgumentException(message);
            case STATE, STOPPED, INVALID_HANDLE, PANIC, INTERNAL ->
                    throw new IllegalStateException(message);
            case ADDRESS_IN_USE, ADDRESS_NOT_AVAILABLE -> {
                return new BindException(message);
            }
            case TLS, CERTIFICATE -> {
                return new SSLException(message);
            }
            case CLOSED -> {
                return new SocketException("Socket closed");
            }
            default -> {
                return osError == 0 ? new IOException(message) : new SocketException(message);
            }
        }
    }
}
