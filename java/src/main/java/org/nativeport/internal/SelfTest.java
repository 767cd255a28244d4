package org.nativeport.internal;

import java.io.DataInputStream;
import java.io.DataOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.net.InetAddress;
import java.net.Socket;
import java.security.GeneralSecurityException;
import java.security.cert.X509Certificate;
import java.util.Arrays;
import java.util.Random;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;
import org.nativeport.ConnectionHandler;
import org.nativeport.NativeRuntime;
import org.nativeport.ServerConfig;
import org.nativeport.SocketClientCommunication;
import org.nativeport.SocketClientConnectionListener;

/**
 * The main class of the jar: shows that the native library works on this machine. {@code java -jar
 * nativeport.jar --self-test} loads it, serves on a free port of this machine, plain and TLS,
 * and exchanges transactions with it. Exit code 0 if all of it worked, 1 if not, 2 for
 * other arguments.
 */
public final class SelfTest {
    private static final int TIMEOUT_MILLIS = 10_000;
    private static final int[] SIZES = {0, 1, 4096, 65_536, 1_000_000};

    private SelfTest() {}

    public static void main(String[] arguments) {
        System.exit(run(arguments, System.out));
    }

    /** What {@link #main} does, for programs that go on: the exit code is returned. */
    public static int run(String[] arguments, PrintStream out) {
        if (!Arrays.equals(arguments, new String[] {"--self-test"})) {
            out.println("usage: java -jar nativeport.jar --self-test");
            return 2;
        }
        out.println("java      " + Runtime.version() + ", " + System.getProperty("java.vm.name"));
        out.println("platform  " + Library.platform());
        if (!NativeRuntime.isAvailable()) {
            out.println("library   FAILED: " + NativeRuntime.unavailabilityCause().get().getMessage());
            return 1;
        }
        out.println("library   loaded");
        boolean worked = true;
        for (boolean tls : new boolean[] {false, true}) {
            String name = tls ? "TLS       " : "plain     ";
            try {
                serve(tls);
                out.println(name + "ok");
            } catch (Exception failure) {
                worked = false;
                out.println(name + "FAILED: " + failure);
            }
        }
        out.println(worked ? "self-test passed" : "self-test FAILED");
        return worked ? 0 : 1;
    }

    private static void serve(boolean tls) throws IOException, GeneralSecurityException {
        ServerConfig.Builder config =
                ServerConfig.builder()
                        .addPort("")
                        .setPort("port", "0")
                        .setPort("bindAddress", "127.0.0.1");
        if (tls) {
            config.setPort("sslSection", "TLS").set("TLS", "selfSigned", "localhost");
        }
        ConnectionHandler echo =
                new ConnectionHandler() {
                    @Override
                    public void onClientConnect(SocketClientCommunication client)
                            throws IOException {
                        try (client) {
                            for (byte[] next; (next = client.read()) != null; ) {
                                client.write(next);
                            }
                        }
                    }
                };
        try (var listener = new SocketClientConnectionListener(config.build(), echo)) {
            listener.start();
            try (Socket socket = connect(listener.getLocalPort(), tls)) {
                exchange(socket);
            }
        }
    }

    private static Socket connect(int port, boolean tls)
            throws IOException, GeneralSecurityException {
        InetAddress here = InetAddress.getByName("127.0.0.1");
        Socket socket =
                tls ? trusting().getSocketFactory().createSocket(here, port) : new Socket(here, port);
        socket.setSoTimeout(TIMEOUT_MILLIS);
        return socket;
    }

    private static void exchange(Socket socket) throws IOException {
        DataOutputStream out = new DataOutputStream(socket.getOutputStream());
        DataInputStream in = new DataInputStream(socket.getInputStream());
        out.write(1);
        if (in.read() != 1) {
            throw new IOException("the identification was not answered");
        }
        for (int size : SIZES) {
            byte[] sent = new byte[size];
            new Random(size).nextBytes(sent);
            out.writeInt(size);
            out.write(sent);
            out.flush();
            byte[] came = new byte[in.readInt()];
            in.readFully(came);
            if (!Arrays.equals(sent, came)) {
                throw new IOException("a transaction of " + size + " bytes came back changed");
            }
        }
        socket.shutdownOutput();
        if (in.read() != -1) {
            throw new IOException("the connection did not end");
        }
    }

    /** Trusts the certificate that was made just now, and any other: nothing leaves this machine. */
    private static SSLContext trusting() throws GeneralSecurityException {
        TrustManager anybody =
                new X509TrustManager() {
                    @Override
                    public void checkClientTrusted(X509Certificate[] chain, String authType) {}

                    @Override
                    public void checkServerTrusted(X509Certificate[] chain, String authType) {}

                    @Override
                    public X509Certificate[] getAcceptedIssuers() {
                        return new X509Certificate[0];
                    }
                };
        SSLContext context = SSLContext.getInstance("TLS");
        context.init(null, new TrustManager[] {anybody}, null);
        return context;
    }
}
