package org.nativeport;

import java.net.Socket;

/** SocketAdapter over a plain socket of the JDK. */
class JdkPlainSocketTest extends ISocketContract {
    @Override
    Connection connect() throws Exception {
        JdkConnections.Ends<Socket> ends =
                JdkConnections.plain(address -> new Socket(address.getAddress(), address.getPort()));
        return new Connection(new SocketAdapter(ends.server()), ends.client());
    }
}
