package org.nativeport;

import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.InetSocketAddress;
import java.net.ServerSocket;
import java.net.Socket;

/** Stands between a client and its server, and lets through so many of the client's bytes as a test says. */
final class Gate implements AutoCloseable {
    private Socket inside;
    private Socket outside;
    private long forwarded;
    private long allowed;

    /** The client's socket, whose bytes go through this gate to the server. */
    Socket before(InetSocketAddress server) throws IOException {
        try (ServerSocket listener = new ServerSocket(0, 1, InetAddress.getLoopbackAddress())) {
            Socket client = new Socket(listener.getInetAddress(), listener.getLocalPort());
            outside = listener.accept();
            inside = new Socket(server.getAddress(), server.getPort());
            inside.setTcpNoDelay(true);
            Tasks.start(() -> forward(outside.getInputStream(), inside.getOutputStream()));
            Tasks.start(() -> inside.getInputStream().transferTo(outside.getOutputStream()));
            return client;
        }
    }

    /** Lets so many more bytes through. */
    synchronized void let(int count) {
        allowed += count;
        notifyAll();
    }

    /** Lets everything through from now on. */
    synchronized void open() {
        allowed = Long.MAX_VALUE;
        notifyAll();
    }

    /** Lets nothing more through, and returns how many bytes went through until now. */
    synchronized long shut() {
        allowed = forwarded;
        return forwarded;
    }

    /** Returns when so many bytes in all have gone through. */
    synchronized void awaitForwarded(long count) throws InterruptedException {
        while (forwarded < count) {
            wait();
        }
    }

    private void forward(InputStream in, OutputStream out) throws Exception {
        for (int b; (b = in.read()) >= 0; ) {
            synchronized (this) {
                while (forwarded >= allowed) {
                    wait();
                }
                out.write(b);
                forwarded++;
                notifyAll();
            }
        }
    }

    @Override
    public void close() throws IOException {
        outside.close();
        inside.close();
    }
}
