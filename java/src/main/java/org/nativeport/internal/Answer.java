package org.nativeport.internal;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;

/** An answer in bytes, read from its begin: a status, then what was asked for. */
final class Answer {
    /** The status: {@link Status#OK}, or what went wrong. */
    final int status;

    private final ByteBuffer bytes;

    /** The native failed by a defect if {@code bytes} is null. */
    Answer(byte[] bytes) {
        if (bytes == null) {
            throw new IllegalStateException("a defect inside the native library was caught");
        }
        this.bytes = ByteBuffer.wrap(bytes);
        this.status = this.bytes.getInt();
    }

    boolean hasMore() {
        return bytes.hasRemaining();
    }

    int number() {
        return bytes.getInt();
    }

    long longNumber() {
        return bytes.getLong();
    }

    String text() {
        return new String(array(), StandardCharsets.UTF_8);
    }

    byte[] array() {
        byte[] array = new byte[bytes.getInt()];
        bytes.get(array);
        return array;
    }
}
