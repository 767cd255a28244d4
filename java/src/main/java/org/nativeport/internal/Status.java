package org.nativeport.internal;

import java.io.IOException;
import java.net.BindException;
import java.net.SocketException;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import javax.net.ssl.SSLException;
import org.nativeport.internal.NativeNumbers.Words;

/** What natives answer below 0, and the exceptions it becomes here. */
final class Status extends NativeNumbers.Result {
    private Status() {}

    /**
     * The exception for a failed native: unchecked for what the program did wrong or a defect of
     * the library, otherwise an {@link IOException} to be thrown.
     *
     * @throws IllegalArgumentException the configuration has an error
     * @throws IllegalStateException the call does not fit the present state, or a defect
     */
    static IOException exception(long status, byte[] words) {
        int end = Words.TEXT;
        while (end < words.length && words[end] != 0) {
            end++;
        }
        String text = new String(words, Words.TEXT, end - Words.TEXT, StandardCharsets.UTF_8);
        int osError = ByteBuffer.wrap(words).getInt(Words.OS_ERROR);
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
