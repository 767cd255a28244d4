package org.nativeport.bench;

import java.nio.file.Path;

/** What a server is told: {@code [--blocking] [--tls KEYSTORE] [port]}. */
record Arguments(boolean blocking, Path tls, int port) {
    static Arguments of(String[] words) {
        boolean blocking = false;
        Path tls = null;
        int port = 0;
        for (int i = 0; i < words.length; i++) {
            switch (words[i]) {
                case "--blocking" -> blocking = true;
                case "--tls" -> tls = Path.of(words[++i]);
                default -> port = Integer.parseInt(words[i]);
            }
        }
        return new Arguments(blocking, tls, port);
    }

    /** What the runner waits for. */
    static void listening(int port) {
        System.out.println("listening " + port);
    }
}
