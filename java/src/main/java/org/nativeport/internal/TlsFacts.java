package org.nativeport.internal;

import java.security.cert.Certificate;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.Optional;
import java.util.stream.Stream;
import javax.net.ssl.ExtendedSSLSession;
import javax.net.ssl.SNIHostName;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLSession;
import javax.net.ssl.SSLSocket;

/** What a handshake has settled, kept apart from the socket so that it outlives it. */
public record TlsFacts(
        Optional<String> protocol,
        Optional<String> cipherSuite,
        Optional<String> applicationProtocol,
        Optional<String> serverName,
        List<X509Certificate> peerCertificates,
        Optional<SSLSession> session) {

    /** No TLS, or not yet. */
    public static final TlsFacts NONE =
            new TlsFacts(Optional.empty(), Optional.empty(), Optional.empty(), Optional.empty(), List.of(), Optional.empty());

    /**
     * Of a socket whose handshake is done: otherwise the JDK does it here, without any limit. NONE
     * if the handshake has ended without a result.
     */
    static TlsFacts of(SSLSocket socket) {
        SSLSession session = socket.getSession();
        if (session.getProtocol().equals("NONE")) {
            return NONE;
        }
        return new TlsFacts(
                Optional.of(session.getProtocol()),
                Optional.of(session.getCipherSuite()),
                applicationProtocol(socket),
                serverName(session),
                certificates(session),
                Optional.of(session));
    }

    public List<X509Certificate> requirePeerCertificates() throws SSLPeerUnverifiedException {
        if (peerCertificates.isEmpty()) {
            throw new SSLPeerUnverifiedException(
                    protocol.isPresent() ? "the peer has not identified itself" : "no TLS handshake is done");
        }
        return peerCertificates;
    }

    private static Optional<String> applicationProtocol(SSLSocket socket) {
        try {
            return Optional.ofNullable(socket.getApplicationProtocol()).filter(name -> !name.isEmpty());
        } catch (UnsupportedOperationException e) {
            return Optional.empty(); // a provider without ALPN
        }
    }

    private static Optional<String> serverName(SSLSession session) {
        if (!(session instanceof ExtendedSSLSession extended)) {
            return Optional.empty();
        }
        try {
            return extended.getRequestedServerNames().stream()
                    .filter(SNIHostName.class::isInstance)
                    .map(name -> ((SNIHostName) name).getAsciiName())
                    .findFirst();
        } catch (UnsupportedOperationException e) {
            return Optional.empty(); // a provider without SNI
        }
    }

    private static List<X509Certificate> certificates(SSLSession session) {
        try {
            Certificate[] chain = session.getPeerCertificates();
            return Stream.of(chain)
                    .filter(X509Certificate.class::isInstance)
                    .map(X509Certificate.class::cast)
                    .toList();
        } catch (SSLPeerUnverifiedException e) {
            return List.of(); // how the JDK says that there are none
        }
    }
}
