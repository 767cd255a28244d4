package org.nativeport;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.util.ArrayList;
import java.util.Base64;
import java.util.List;
import javax.net.ssl.KeyManager;
import javax.net.ssl.KeyManagerFactory;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManagerFactory;

/** Self-signed certificates, made by keytool once per test run and kept in memory. */
final class Certificates {
    private static final char[] PASSWORD = "for tests".toCharArray();

    private static final KeyStore SERVER = make("server");
    private static final KeyStore CLIENT = make("client");

    // Opening a key is slow on purpose, and done once. Contexts are new ones each time, so that no session is resumed.
    private static final KeyManager[] SERVER_KEYS = keys(SERVER);
    private static final KeyManager[] CLIENT_KEYS = keys(CLIENT);

    private Certificates() {}

    /** Identifies itself as localhost and trusts the client's certificate. */
    static SSLContext server() {
        return context(SERVER_KEYS, CLIENT);
    }

    /** Identifies itself, if it is asked to, and trusts the server's certificate. */
    static SSLContext client() {
        return context(CLIENT_KEYS, SERVER);
    }

    /** Writes the server's identity as a classic server wants it, and returns the password. */
    static String writeServerStore(Path file) throws IOException, GeneralSecurityException {
        try (OutputStream out = Files.newOutputStream(file)) {
            SERVER.store(out, PASSWORD);
        }
        return new String(PASSWORD);
    }

    /** Writes the server's identity as nativeport wants it. */
    static void writeServerPem(Path certificate, Path privateKey) throws IOException, GeneralSecurityException {
        Files.writeString(certificate, pem("CERTIFICATE", SERVER.getCertificate("key").getEncoded()));
        // A key that others can read is refused.
        Files.createFile(privateKey, PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
        Files.writeString(privateKey, pem("PRIVATE KEY", SERVER.getKey("key", PASSWORD).getEncoded()));
    }

    private static String pem(String label, byte[] content) {
        return "-----BEGIN " + label + "-----\n"
                + Base64.getMimeEncoder().encodeToString(content)
                + "\n-----END " + label + "-----\n";
    }

    private static KeyManager[] keys(KeyStore own) {
        try {
            KeyManagerFactory keys = KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
            keys.init(own, PASSWORD);
            return keys.getKeyManagers();
        } catch (GeneralSecurityException e) {
            throw new IllegalStateException(e);
        }
    }

    private static SSLContext context(KeyManager[] own, KeyStore trusted) {
        try {
            KeyStore anchors = KeyStore.getInstance("PKCS12");
            anchors.load(null, null);
            anchors.setCertificateEntry("trusted", trusted.getCertificate("key"));
            TrustManagerFactory trust = TrustManagerFactory.getInstance(TrustManagerFactory.getDefaultAlgorithm());
            trust.init(anchors);
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(own, trust.getTrustManagers(), null);
            return context;
        } catch (GeneralSecurityException | IOException e) {
            throw new IllegalStateException(e);
        }
    }

    private static KeyStore make(String name) {
        try {
            Path folder = Files.createTempDirectory("nativeport-test");
            Path file = folder.resolve(name + ".p12");
            try {
                keytool(List.of(
                        "-genkeypair", "-alias", "key", "-keyalg", "EC", "-groupname", "secp256r1",
                        "-dname", "CN=" + name, "-ext", "san=dns:localhost,ip:127.0.0.1", "-validity", "2",
                        "-storetype", "PKCS12", "-keystore", file.toString(), "-storepass", new String(PASSWORD)));
                KeyStore store = KeyStore.getInstance("PKCS12");
                try (InputStream in = Files.newInputStream(file)) {
                    store.load(in, PASSWORD);
                }
                return store;
            } finally {
                Files.deleteIfExists(file);
                Files.delete(folder);
            }
        } catch (GeneralSecurityException | IOException e) {
            throw new IllegalStateException(e);
        }
    }

    private static void keytool(List<String> arguments) throws IOException {
        List<String> command = new ArrayList<>();
        command.add(Path.of(System.getProperty("java.home"), "bin", "keytool").toString());
        command.addAll(arguments);
        Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes());
        try {
            if (process.waitFor() != 0) {
                throw new IOException("keytool: " + said);
            }
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
            throw new IOException("keytool was interrupted", e);
        }
    }
}
