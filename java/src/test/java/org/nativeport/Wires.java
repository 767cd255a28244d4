package org.nativeport;

import java.net.Socket;
import java.util.Collections;
import java.util.Map;
import java.util.WeakHashMap;

/** The plain sockets below those of clients with TLS, which the JDK does not give. */
final class Wires {
    private static final Map<Socket, Socket> BELOW = Collections.synchronizedMap(new WeakHashMap<>());

    private Wires() {}

    static <T extends Socket> T note(T tls, Socket plain) {
        BELOW.put(tls, plain);
        return tls;
    }

    /** A plain socket is its own. */
    static Socket below(Socket socket) {
        return BELOW.getOrDefault(socket, socket);
    }
}
