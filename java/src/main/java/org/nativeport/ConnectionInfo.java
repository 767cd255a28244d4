package org.nativeport;

import java.net.InetSocketAddress;
import java.util.Optional;

/**
 * What is known of a native connection once its first byte has come. It stays the same.
 *
 * @param id number of the connection, which the log shows in hexadecimal; never used twice in a
 *     process
 * @param protocol what the first byte says
 * @param firstByte the first byte, 0 to 255
 * @param remoteAddress address and port of the peer
 * @param localAddress address and port of this end
 * @param port canonical name of the port's section in the configuration
 * @param tls what TLS has settled; empty on plain connections
 */
public record ConnectionInfo(
        long id,
        Protocol protocol,
        int firstByte,
        InetSocketAddress remoteAddress,
        InetSocketAddress localAddress,
        String port,
        Optional<TlsInfo> tls) {}
