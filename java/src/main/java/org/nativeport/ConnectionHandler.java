package org.nativeport;

import java.io.IOException;

/**
 * Takes the connections of a listener. Each call is on a callback thread of the runtime ({@link
 * CallbackThreads}) and may wait as long as it likes, unless {@link #connectsOnLoop} says otherwise; calls for
 * different connections run at the same time. Whoever gets a connection owns it, and closes it. An
 * exception is logged and ends the connection.
 *
 * <p>Connections whose method is not overridden are closed unanswered, with the reason {@code no_handler}; nobody
 * is asked for their admission. A listener for which none is overridden does not start.
 */
public interface ConnectionHandler {
    /**
     * A framed client has come (first byte 1) and was answered.
     *
     * @throws Exception whatever goes wrong; it is logged, and the connection ends
     */
    default void onClientConnect(SocketClientCommunication client) throws Exception {
        client.close();
    }

    /**
     * A remote application has come (first byte 3) and was answered.
     *
     * @throws Exception whatever goes wrong; it is logged, and the connection ends
     */
    default void onRemoteApplicationConnect(SocketClientCommunication application)
            throws Exception {
        application.close();
    }

    /**
     * Somebody else has come, usually a web browser.
     *
     * @param socket its stream begins with the first byte
     * @param firstByte that byte, 0 or 4 to 255
     * @throws Exception whatever goes wrong; it is logged, and the connection ends
     */
    default void onUnknownConnect(ISocket socket, int firstByte) throws Exception {
        socket.close();
    }

    /**
     * Whether {@link #onClientConnect} and {@link #onRemoteApplicationConnect} are called on the thread of
     * the connection's loop: for handlers that only set {@link
     * SocketClientCommunication#onFrame} and the like, which saves each connection two changes of thread. What was said above
     * does not hold for them then: they must return soon and must not wait, as nothing of the other
     * connections of that loop moves meanwhile. Asked once, when the listener starts; false unless overridden.
     */
    default boolean connectsOnLoop() {
        return false;
    }

    /**
     * Whether {@link #onAdmission} is asked before a connection is let in. Asked once, when the
     * listener starts.
     */
    default boolean decidesAdmission() {
        return false;
    }

    /**
     * A connection has said what it is, and waits. It is answered now or later, from any thread;
     * undecided at the port's {@code readTimeout} means refused.
     *
     * @throws IOException whatever goes wrong; it is logged, and the connection is refused
     */
    default void onAdmission(Admission admission) throws IOException {
        admission.admit();
    }
}
