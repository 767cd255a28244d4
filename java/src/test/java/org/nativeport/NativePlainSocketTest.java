package org.nativeport;

/** SocketAdapter over a plain native connection. */
class NativePlainSocketTest extends ISocketContract {
    @Override
    Connection connect() throws Exception {
        Served served = closedAfterwards(Served.plain());
        return relay(served, Peer.connect(served.port()));
    }

    /** The first byte of a relay is not part of its stream. */
    static Connection relay(Served served, Peer peer) throws Exception {
        peer.out.write(2);
        peer.flush();
        peer.socket.setSoTimeout(0);
        return new Connection(Served.next(served.relays), peer.socket);
    }
}
