package org.nativeport;

/**
 * Takes transactions on the thread of the connection's loop, as soon as they have come: the fast
 * path, see {@link SocketClientCommunication#onFrame}.
 */
@FunctionalInterface
public interface FrameHandler {
    /**
     * One transaction. Calls for one connection come in order and never overlap. While it
     * runs, nothing of the other connections of that loop moves: it must return soon and must not
     * wait. An exception ends the connection. If it leaves the thread interrupted, the flag is
     * cleared.
     *
     * @param frame valid until this returns
     * @throws Exception whatever goes wrong; it is logged
     */
    void onFrame(FrameView frame) throws Exception;
}
