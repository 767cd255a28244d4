package org.nativeport;

import java.io.IOException;

/**
 * Takes the relay connections of a listener (first byte 2), see {@link
 * SocketClientConnectionListener#setRemoteAssistanceServer}. Without one they are closed.
 */
@FunctionalInterface
public interface RemoteAssistanceServer {
    /**
     * A relay connection has come. It is on a callback thread and may wait; calls for different connections run at
     * the same time. It owns the connection, and closes it. An exception is logged and ends the connection.
     *
     * @param connection a raw stream, without the byte 2
     * @throws IOException if the relay cannot be started
     */
    void startRelay(ISocket connection) throws IOException;
}
