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
     * wait. An exception resets the connection ({@code host_aborted}): what was not sent yet is lost. After
     * {@code close} or {@code abort} the handler gets nothing more, even if it has come. If the handler leaves the
     * thread interrupted, the flag is cleared.
     *
     * @param frame valid until this returns
     * @throws Exception whatever goes wrong; it is logged
     */
    void onFrame(FrameView frame) throws Exception;
}
