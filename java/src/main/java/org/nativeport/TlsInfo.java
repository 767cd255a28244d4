package org.nativeport;

import java.util.Optional;

/**
 * What the TLS handshake of a native connection has settled.
 *
 * @param protocol the version, {@code "TLSv1.2"} or {@code "TLSv1.3"}
 * @param cipherSuite the cipher suite under its IANA name
 * @param group the key exchange group under its IANA name
 * @param applicationProtocol what ALPN has chosen, empty if nothing
 * @param serverName the host name that the peer asked for (SNI), in lower case; empty if it named
 *     none
 * @param resumed whether an earlier session was resumed
 */
public record TlsInfo(
        String protocol,
        String cipherSuite,
        String group,
        Optional<String> applicationProtocol,
        Optional<String> serverName,
        boolean resumed) {}
