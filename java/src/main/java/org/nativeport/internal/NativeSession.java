package org.nativeport.internal;

import java.security.Principal;
import java.security.SecureRandom;
import java.security.cert.Certificate;
import java.security.cert.X509Certificate;
import java.util.List;
import java.util.Map;
import java.util.Objects;
import java.util.concurrent.ConcurrentHashMap;
import javax.net.ssl.SSLPeerUnverifiedException;
import javax.net.ssl.SSLSession;
import javax.net.ssl.SSLSessionContext;
import org.nativeport.ConnectionInfo;
import org.nativeport.TlsInfo;

/**
 * The TLS session of a native connection. It ends with its connection: nothing is resumed, and the wire has no id for it,
 * so that it has a random one.
 */
final class NativeSession implements SSLSession {
    private static final int ID_BYTES = 32;
    private static final int RECORD_BYTES = 16_384;
    /** Header, and what TLS 1.2 adds at most. */
    private static final int PACKET_BYTES = RECORD_BYTES + 5 + 2048;

    private final NativeConnection connection;
    private final TlsInfo tls;
    private final byte[] id = new byte[ID_BYTES];
    private final long createdMillis;
    private final List<X509Certificate> certificates;
    private final Map<String, Object> values = new ConcurrentHashMap<>();

    NativeSession(NativeConnection connection, TlsInfo tls) {
        this.connection = connection;
        this.tls = tls;
        this.createdMillis = System.currentTimeMillis() - connection.ageMs();
        this.certificates = connection.port.certificates();
        new SecureRandom().nextBytes(id);
    }

    @Override
    public byte[] getId() {
        return id.clone();
    }

    /** None: sessions are not kept. */
    @Override
    public SSLSessionContext getSessionContext() {
        return null;
    }

    /** When the connection was accepted, in milliseconds since 1970. */
    @Override
    public long getCreationTime() {
        return createdMillis;
    }

    /** It serves one connection. */
    @Override
    public long getLastAccessedTime() {
        return createdMillis;
    }

    /** Nothing else could use it. */
    @Override
    public void invalidate() {}

    @Override
    public boolean isValid() {
        return !connection.isClosed();
    }

    @Override
    public void putValue(String name, Object value) {
        values.put(Objects.requireNonNull(name), Objects.requireNonNull(value));
    }

    @Override
    public Object getValue(String name) {
        return values.get(name);
    }

    @Override
    public void removeValue(String name) {
        values.remove(name);
    }

    @Override
    public String[] getValueNames() {
        return values.keySet().toArray(String[]::new);
    }

    @Override
    public Certificate[] getPeerCertificates() throws SSLPeerUnverifiedException {
        throw new SSLPeerUnverifiedException("the peer was not asked for a certificate");
    }

    @Override
    public Principal getPeerPrincipal() throws SSLPeerUnverifiedException {
        throw new SSLPeerUnverifiedException("the peer was not asked for a certificate");
    }

    @Override
    public Certificate[] getLocalCertificates() {
        return certificates.isEmpty() ? null : certificates.toArray(Certificate[]::new);
    }

    @Override
    public Principal getLocalPrincipal() {
        return certificates.isEmpty() ? null : certificates.get(0).getSubjectX500Principal();
    }

    @Override
    public String getCipherSuite() {
        return tls.cipherSuite();
    }

    @Override
    public String getProtocol() {
        return tls.protocol();
    }

    @Override
    public String getPeerHost() {
        ConnectionInfo info = connection.info();
        return info.remoteAddress().getAddress().getHostAddress();
    }

    @Override
    public int getPeerPort() {
        return connection.info().remoteAddress().getPort();
    }

    @Override
    public int getPacketBufferSize() {
        return PACKET_BYTES;
    }

    @Override
    public int getApplicationBufferSize() {
        return RECORD_BYTES;
    }

    @Override
    public String toString() {
        return "session of " + connection;
    }
}
