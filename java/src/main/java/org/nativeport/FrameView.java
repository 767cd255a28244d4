package org.nativeport;

import java.nio.ByteBuffer;

/**
 * The payload of one transaction where it lies, without a copy. It is shown to a {@link
 * FrameHandler} on the thread of the connection's loop, and valid until that returns: afterwards, and on other
 * threads, its methods throw {@link IllegalStateException}. The same object is used again for the next one.
 *
 * <p>No method waits.
 */
public interface FrameView {
    /** Size in bytes. */
    int length();

    /**
     * Whether it came compressed; what is shown is inflated. False, as it is not known any more, of one that had come
     * before the handler was set.
     */
    boolean isCompressed();

    /**
     * One byte.
     *
     * @throws IndexOutOfBoundsException if the index is below 0 or not below {@link #length}
     */
    byte get(int index);

    /**
     * Copies a part of it.
     *
     * @throws IndexOutOfBoundsException if it has not so many bytes, or the target no room
     */
    void copyTo(int index, byte[] target, int offset, int length);

    /** A copy of all of it. */
    byte[] toByteArray();

    /**
     * A read-only buffer over it, which must not be used when the handler has returned: this is not checked. Made anew
     * at each call; what is in it is big-endian unless its order is changed.
     */
    ByteBuffer asByteBuffer();
}
