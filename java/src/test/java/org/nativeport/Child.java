package org.nativeport;

import java.io.IOException;
import java.lang.ref.WeakReference;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** Programs that a test starts in a virtual machine of their own: how it ends is what is tested. */
public final class Child {
    private Child() {}

    public static void main(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "serve" -> serve(true);
            case "serve-without-keep-alive" -> serve(false);
            case "exit-under-load" -> exitUnderLoad();
            case "unavailable" -> unavailable();
            case "reload" -> reload(Path.of(arguments[1]));
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    /** Main returns while a listener is started. */
    private static void serve(boolean keepAlive) throws Exception {
        ServerConfig config = Served.config();
        NativeRuntime runtime = NativeRuntime.builder(config).keepAlive(keepAlive).build();
        var listener =
                new SocketClientConnectionListener(
                        runtime,
                        config,
                        0,
                        new ConnectionHandler() {
                            @Override
                            public void onClientConnect(SocketClientCommunication client) {
                                client.onFrame(client::write);
                            }

                            @Override
                            public void onUnknownConnect(ISocket socket, int firstByte) {
                                System.exit(firstByte);
                            }
                        });
        listener.start();
        System.out.println(listener.getLocalPort());
        System.out.flush();
    }

    /** Says why there is no native library, and uses sockets of the JDK. */
    private static void unavailable() throws Exception {
        if (NativeRuntime.isAvailable()) {
            throw new AssertionError("it is available");
        }
        System.out.println(NativeRuntime.unavailabilityCause().get());
        try {
            new SocketClientConnectionListener(Served.config()).close();
            throw new AssertionError("a listener was made");
        } catch (UnsupportedOperationException reason) {
            System.out.println(reason.getMessage());
        }
        try (java.net.ServerSocket server =
                        new java.net.ServerSocket(0, 1, java.net.InetAddress.getLoopbackAddress());
                Peer peer = Peer.connect(server.getLocalPort());
                ISocket socket = new SocketAdapter(server.accept())) {
            peer.out.write(7);
            peer.flush();
            if (socket.getInputStream().read() != 7) {
                throw new AssertionError("another byte");
            }
        }
    }

    private static void exitUnderLoad() throws Exception {
        Served served = Served.plain();
        for (int i = 0; i < 4; i++) {
            Peer peer = Peer.client(served.port());
            SocketClientCommunication client = served.nextClient();
            client.onFrame(client::write);
            load(peer);
            peer.receive();
        }
        System.exit(3);
    }

    /** Sends and receives until the connection or the program ends. */
    private static void load(Peer peer) {
        Runnable sender =
                () -> {
                    try {
                        for (;;) {
                            peer.send(new byte[1000]);
                        }
                    } catch (IOException end) {
                        return;
                    }
                };
        Thread thread = new Thread(sender, "load");
        thread.setDaemon(true);
        thread.start();
    }

    /** Twenty class loaders, one after the other, each with a runtime and a peer that sends. */
    private static void reload(Path classes) throws Exception {
        URL[] urls = {classes.toUri().toURL()};
        List<WeakReference<ClassLoader>> loaders = new ArrayList<>();
        long descriptors = 0;
        for (int i = 0; i < 20; i++) {
            loaders.add(serveFrom(urls));
            if (i == 1) {
                descriptors = openDescriptors();
            }
        }
        for (int i = 0; i < loaders.size(); i++) {
            for (int tries = 0; loaders.get(i).get() != null; tries++) {
                if (tries == 100) {
                    throw new AssertionError("class loader " + i + " was not collected");
                }
                System.gc();
                Thread.sleep(50);
            }
        }
        long now = openDescriptors();
        if (now > descriptors + 5) {
            throw new AssertionError("from " + descriptors + " to " + now + " descriptors");
        }
        System.out.println("reloaded");
    }

    private static long openDescriptors() throws IOException {
        try (var files = Files.list(Path.of("/proc/self/fd"))) {
            return files.count();
        }
    }

    private static WeakReference<ClassLoader> serveFrom(URL[] urls) throws Exception {
        URLClassLoader loader =
                new URLClassLoader(urls, ClassLoader.getPlatformClassLoader());
        Class<?> main = loader.loadClass("org.nativeport.internal.SelfTest");
        Object code =
                main.getMethod("run", String[].class, java.io.PrintStream.class)
                        .invoke(null, new String[] {"--self-test"}, System.out);
        if (!code.equals(0)) {
            throw new AssertionError("self-test: " + code);
        }
        serveWithSender(loader);
        loader.close();
        return new WeakReference<>(loader);
    }

    /** By reflection, as these classes are not those of this program. */
    private static void serveWithSender(ClassLoader loader) throws Exception {
        Class<?> configClass = loader.loadClass("org.nativeport.ServerConfig");
        Object config =
                configClass
                        .getMethod("parse", String.class, String.class)
                        .invoke(null, "[Port]\nport=0\nbindAddress=127.0.0.1\n", "reload.ini");
        Object listener =
                loader.loadClass("org.nativeport.SocketClientConnectionListener")
                        .getConstructor(configClass)
                        .newInstance(config);
        listener.getClass().getMethod("start").invoke(listener);
        int port = (int) listener.getClass().getMethod("getLocalPort").invoke(listener);
        try (Peer peer = Peer.connect(port)) {
            load(peer);
            listener.getClass().getMethod("close").invoke(listener);
        }
    }
}
