package org.nativeport;

/**
 * What the callbacks of a runtime run on. It decides what an interrupt does to a callback that waits in a read or a
 * write, as it does with a {@link java.net.Socket}.
 */
public enum CallbackThreads {
    /**
     * Daemon threads of the platform, used again by later callbacks. An interrupt leaves a wait alone and is kept. The default, on
     * every JDK.
     */
    PLATFORM,

    /**
     * A virtual thread for each callback, on JDK 21 and later: for thousands of connections whose callbacks wait. An interrupt closes the
     * connection that the thread waits for. On JDK 21 to 23 a callback that waits inside {@code synchronized} holds a
     * carrier.
     */
    VIRTUAL
}
