package org.nativeport;

import java.io.IOException;
import java.lang.ref.ReferenceQueue;
import java.lang.ref.WeakReference;
import java.lang.reflect.Proxy;
import java.net.URL;
import java.net.URLClassLoader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Predicate;
import org.nativeport.internal.LostLoops;
import org.nativeport.internal.SelfTest;

/** Programs that a test starts in a virtual machine of their own: how it ends is what is tested. */
public final class Child {
    private static final ReferenceQueue<ClassLoader> COLLECTED = new ReferenceQueue<>();

    /** Names of the library's threads, native ones and those of Java. */
    private static final Predicate<String> OF_THE_LIBRARY =
            name -> name.startsWith("np-");

    private Child() {}

    public static void main(String[] arguments) {
        try {
            run(arguments);
        } catch (Throwable failure) {
            try {
                failure.printStackTrace(System.out);
            } finally {
                // Whatever else lives, and if there was no memory for that: whoever waits for an answer is to know.
                Runtime.getRuntime().halt(70);
            }
        }
    }

    private static void run(String[] arguments) throws Exception {
        switch (arguments[0]) {
            case "serve" -> serve(true);
            case "serve-without-keep-alive" -> serve(false);
            case "exit-under-load" -> exitUnderLoad(arguments[1]);
            case "exit-writing" -> ChildServers.exitWriting(Integer.parseInt(arguments[1]));
            case "serve-in-exit" -> ChildServers.serveInExit();
            case "exit-owing" -> ChildServers.exitOwing(arguments[1], arguments[2]);
            case "unavailable" -> unavailable();
            case "self-test" -> System.exit(SelfTest.run(new String[] {"--self-test"}, System.out));
            case "reload" -> reload(Path.of(arguments[1]), Integer.parseInt(arguments[2]));
            case "hold" -> ChildServers.hold(arguments[1], Boolean.parseBoolean(arguments[2]));
            case "many" -> ChildServers.many(Way.valueOf(arguments[1]), arguments[2]);
            case "busy" -> ChildServers.busy();
            case "forget" -> ChildServers.forget();
            case "threads" -> newThreads();
            case "peek" -> ChildServers.peek();
            case "forward" -> ChildServers.forward();
            case "fill" -> ChildServers.fill(arguments[1]);
            case "fill-beside" -> ChildServers.fillBeside(arguments[1], arguments[2].equals("virtual"));
            case "lose-loops" -> {
                LostLoops.lose();
                say("ended");
                System.in.read();
            }
            case "exhaust" -> ChildServers.exhaust(Way.valueOf(arguments[1]), arguments[2]);
            default -> throw new IllegalArgumentException(arguments[0]);
        }
    }

    /** Alone on its line, also where another thread had no memory for the rest of what it says. */
    static void say(String line) {
        System.out.print("\n" + line + "\n");
        System.out.flush();
    }

    /** Main returns while a listener is started and clients send and receive. */
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
        load(Peer.client(listener.getLocalPort()));
        load(Peer.client(listener.getLocalPort()));
        say("port " + listener.getLocalPort());
    }

    /** Says why there is no native library, and uses sockets of the JDK. */
    private static void unavailable() throws Exception {
        if (NativeRuntime.isAvailable()) {
            throw new AssertionError("it is available");
        }
        for (Throwable cause = NativeRuntime.unavailabilityCause().get(); cause != null; cause = cause.getCause()) {
            say(cause.toString());
        }
        try {
            new SocketClientConnectionListener(Served.config()).close();
            throw new AssertionError("a listener was made");
        } catch (UnsupportedOperationException reason) {
            say(reason.getMessage());
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

    /** Ends from main, from a callback, or from a handler on the thread of a loop. */
    private static void exitUnderLoad(String from) throws Exception {
        Way.Program program =
                (client, transaction) -> {
                    if (transaction.length == 3) {
                        System.exit(3);
                    }
                    return transaction;
                };
        Served served = Served.by(from.equals("loop") ? Way.FAST : Way.CALLBACK, false, program);
        for (int i = 0; i < 4; i++) {
            load(Peer.client(served.port()));
        }
        Peer last = Peer.client(served.port());
        last.send(new byte[1]);
        last.receive();
        if (from.equals("main")) {
            System.exit(3);
        }
        last.send(new byte[3]);
    }

    /** Threads that send and receive until the connection or the program ends. */
    private static List<Thread> load(Peer peer) {
        Thread sending =
                daemon(() -> {
                    for (;;) {
                        peer.send(new byte[1000]);
                    }
                });
        Thread receiving =
                daemon(() -> {
                    for (;;) {
                        peer.receive();
                    }
                });
        return List.of(sending, receiving);
    }

    private static Thread daemon(Tasks.Action action) {
        Thread thread =
                new Thread(
                        () -> {
                            try {
                                action.run();
                            } catch (Exception end) {
                                return;
                            }
                        },
                        "load");
        thread.setDaemon(true);
        thread.start();
        return thread;
    }

    /** Class loaders, one after the other, each with a runtime and a peer that sends. */
    private static void reload(Path classes, int count) throws Exception {
        URL[] urls = {classes.toUri().toURL()};
        List<WeakReference<ClassLoader>> loaders = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            loaders.add(serveFrom(urls));
        }
        awaitNothingLeft(loaders);
        // What the virtual machine itself opens and starts, it has after the first ones. Some of it may end
        // again: that there is no more is all that can be asked.
        long descriptors = openDescriptors();
        List<String> threads = threads();
        while (loaders.size() < count) {
            loaders.add(serveFrom(urls));
        }
        awaitNothingLeft(loaders);
        Tasks.await(
                "no more than " + descriptors + " descriptors and " + threads,
                () -> openDescriptors() <= descriptors && without(threads, threads()).isEmpty());
        say("reloaded " + count);
    }

    /** Returns when the class loaders are gone, and every thread that the library has started. */
    private static void awaitNothingLeft(List<WeakReference<ClassLoader>> loaders) throws Exception {
        for (WeakReference<ClassLoader> loader : loaders) {
            Tasks.await(
                    "the end of class loader " + loaders.indexOf(loader),
                    () -> {
                        System.gc();
                        COLLECTED.remove(50);
                        return loader.get() == null;
                    });
        }
        // The system takes a moment to end what was told to end.
        Tasks.await("the end of its threads", () -> threads().stream().noneMatch(OF_THE_LIBRARY));
    }

    /** What is in the second list more often than in the first. */
    private static List<String> without(List<String> first, List<String> second) {
        List<String> rest = new ArrayList<>(second);
        first.forEach(rest::remove);
        return rest;
    }

    /** The threads of this process by name, without those of which the virtual machine has as many as it likes. */
    private static List<String> threads() throws IOException {
        List<String> names = new ArrayList<>();
        try (var tasks = Files.list(Path.of("/proc/self/task"))) {
            for (Path task : tasks.toList()) {
                try {
                    String name = Files.readString(task.resolve("comm")).strip();
                    if (!name.matches("C[12] .*|G1 .*|GC .*|VM .*|Attach .*|ForkJoinPool-1-.*")) {
                        names.add(name);
                    }
                } catch (IOException gone) {
                    // It has ended since the folder was read.
                    continue;
                }
            }
        }
        names.sort(null);
        return names;
    }

    /** Says which threads a port with TLS and a client adds. */
    private static void newThreads() throws Exception {
        List<String> added = List.of();
        // At the first time the JDK starts some of its own, which stay.
        for (int i = 0; i < 2; i++) {
            added = addedByAPort();
            Tasks.await(
                    "the end of its threads",
                    () -> {
                        System.gc();
                        return threads().stream().noneMatch(OF_THE_LIBRARY);
                    });
        }
        say("threads " + String.join("/", added));
    }

    @SuppressWarnings("try") // resources that are there and not used
    private static List<String> addedByAPort() throws Exception {
        List<String> before = threads();
        try (Served served = Served.tls();
                Peer peer = Peer.connectTls(served.port()).identify(1)) {
            SocketClientCommunication client = served.nextClient();
            List<String> added = without(before, threads());
            // The peer would wait for that when it closes.
            client.close();
            peer.expectEnd();
            return added;
        }
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
        // One that a static field of these classes keeps.
        ((AutoCloseable) loader.loadClass("org.nativeport.NativeRuntime").getMethod("shared").invoke(null)).close();
        loader.close();
        return new WeakReference<>(loader, COLLECTED);
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
        // A listener without any handler does not start.
        Class<?> relay = loader.loadClass("org.nativeport.RemoteAssistanceServer");
        Object ignoring =
                Proxy.newProxyInstance(loader, new Class<?>[] {relay}, (proxy, method, arguments) -> null);
        listener.getClass().getMethod("setRemoteAssistanceServer", relay).invoke(listener, ignoring);
        listener.getClass().getMethod("start").invoke(listener);
        int port = (int) listener.getClass().getMethod("getLocalPort").invoke(listener);
        List<Thread> load;
        try (Peer peer = Peer.connect(port)) {
            load = load(peer);
            listener.getClass().getMethod("close").invoke(listener);
        }
        // Whoever is still in a call of a socket has its descriptor.
        for (Thread thread : load) {
            thread.join();
        }
    }
}
