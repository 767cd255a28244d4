package org.nativeport;

/** SocketAdapter over a native connection with TLS 1.2. */
class NativeTls12SocketTest extends ISocketContract {
    @Override
    Connection connect() throws Exception {
        Served served = closedAfterwards(Served.tlsOf("1.2"));
        return NativePlainSocketTest.relay(served, Peer.connectTls(served.port()));
    }
}
