package org.nativeport;

/** SocketAdapter over a native connection with TLS 1.3. */
class NativeTls13SocketTest extends ISocketContract {
    @Override
    Connection connect() throws Exception {
        Served served = closedAfterwards(Served.tlsOf("1.3"));
        return NativePlainSocketTest.relay(served, Peer.connectTls(served.port()));
    }
}
