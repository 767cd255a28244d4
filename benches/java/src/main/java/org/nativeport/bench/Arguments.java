package org.nativeport.bench;

import java.nio.file.Path;

/** What a server is told: {@code [--blocking] [--stream] [--openssl] [--tls KEYSTORE] [port]}. */
record Arguments(boolean blocking, boolean stream, boolean openssl, Path tls, int port) {
    static Arguments of(String[] words) {
        boolean blocking = false;
        boolean stream = false;
        boolean openssl = false;
        Path tls = null;
        int port = 0;
        for (int i = 0; i < words.length; i++) {
            switch (words[i]) {
                case "--blocking" -> blocking = true;
                case "--stream" -> stream = true;
                case "--openssl" -> openssl = true;
                case "--tls" -> tls = Path.of(words[++i]);
                default -> port = Integer.parseInt(words[i]);
            }
        }
        return new Arguments(blocking, stream, openssl, tls, port);
    }

    /** What the runner waits for. */
    static void listening(int port) {
        System.out.println("listening " + port);
    }
}
