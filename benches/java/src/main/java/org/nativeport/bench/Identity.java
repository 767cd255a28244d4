package org.nativeport.bench;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.PosixFilePermissions;
import java.security.GeneralSecurityException;
import java.security.KeyStore;
import java.util.Base64;
import javax.net.ssl.KeyManagerFactory;

/** The identity that all servers share: a key store with one entry, made by {@code keytool}. */
final class Identity {
    /** No secret: the key is thrown away after the run. {@code benches/run-java} has it too. */
    static final String PASSWORD = "for the bench";

    static final String[] PROTOCOLS = {"TLSv1.3"};

    private final KeyStore store;

    Identity(Path file) throws IOException, GeneralSecurityException {
        store = KeyStore.getInstance("PKCS12");
        try (InputStream in = Files.newInputStream(file)) {
            store.load(in, PASSWORD.toCharArray());
        }
    }

    KeyManagerFactory keys() throws GeneralSecurityException {
        KeyManagerFactory keys =
                KeyManagerFactory.getInstance(KeyManagerFactory.getDefaultAlgorithm());
        keys.init(store, PASSWORD.toCharArray());
        return keys;
    }

    /** A PEM file of the certificate. */
    Path certificateFile(Path folder) throws IOException, GeneralSecurityException {
        return pem(folder.resolve("certificate.pem"), "CERTIFICATE", certificate());
    }

    /** A PEM file of its key. */
    Path keyFile(Path folder) throws IOException, GeneralSecurityException {
        byte[] key = store.getKey(alias(), PASSWORD.toCharArray()).getEncoded();
        Path file = Files.createFile(
                folder.resolve("key.pem"),
                PosixFilePermissions.asFileAttribute(PosixFilePermissions.fromString("rw-------")));
        return pem(file, "PRIVATE KEY", key);
    }

    private byte[] certificate() throws GeneralSecurityException {
        return store.getCertificate(alias()).getEncoded();
    }

    private String alias() throws GeneralSecurityException {
        return store.aliases().nextElement();
    }

    private static Path pem(Path file, String label, byte[] content) throws IOException {
        String text = Base64.getMimeEncoder(64, new byte[] {'\n'}).encodeToString(content);
        return Files.writeString(
                file, "-----BEGIN " + label + "-----\n" + text + "\n-----END " + label + "-----\n");
    }
}
