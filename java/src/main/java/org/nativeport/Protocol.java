package org.nativeport;

/** What a connection is, by the first byte that its peer sends. */
public enum Protocol {
    /** First byte 1: answered by a byte 1, then transactions. */
    CLIENT,
    /** First byte 2: no answer, a raw stream without that byte. */
    RELAY,
    /** First byte 3: answered by a byte 1, then transactions. */
    REMOTE_APPLICATION,
    /** Any other first byte: a raw stream that begins with it, usually HTTP or WebSocket. */
    UNKNOWN;

    /** Whether its connections exchange transactions; the others are raw streams. */
    public boolean isFramed() {
        return this == CLIENT || this == REMOTE_APPLICATION;
    }
}
