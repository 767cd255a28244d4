import java.io.ByteArrayOutputStream;
import java.io.DataInputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.net.InetAddress;
import java.net.Socket;
import java.security.SecureRandom;
import java.security.cert.X509Certificate;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.zip.DataFormatException;
import java.util.zip.Deflater;
import java.util.zip.Inflater;
import javax.net.ssl.SSLContext;
import javax.net.ssl.TrustManager;
import javax.net.ssl.X509TrustManager;

/**
 * A framed client that shares no code with the library: the JDK's streams, Inflater, Deflater
 * and SSLSocket.
 *
 * <pre>java Framed.java PORT plain|tls raw|zlib|deflate CONNECTIONS ROUNDS|cut SIZE...</pre>
 *
 * Several jobs follow one another with `then` between them. See framed.py for what it does.
 */
public class Framed {
    static String security;
    static String packing;
    static int port;
    static int frames;

    record Peer(Socket socket, DataInputStream in, OutputStream out) {}

    public static void main(String[] arguments) throws Exception {
        List<String> job = new ArrayList<>();
        for (String argument : arguments) {
            if (argument.equals("then")) {
                run(job);
                job.clear();
            } else {
                job.add(argument);
            }
        }
        run(job);
        System.out.println(frames);
    }

    static void run(List<String> job) throws Exception {
        port = Integer.parseInt(job.get(0));
        security = job.get(1);
        packing = job.get(2);
        int connections = Integer.parseInt(job.get(3));
        String rounds = job.get(4);
        int[] sizes = job.subList(5, job.size()).stream().mapToInt(Integer::parseInt).toArray();
        List<Peer> peers = new ArrayList<>();
        for (int i = 0; i < connections; i++) {
            Peer peer = connect();
            peer.out.write(1 + 2 * (i % 2));
            peer.out.flush();
            if (peer.in.readUnsignedByte() != 1) {
                throw new IOException("the answer is not 1");
            }
            peers.add(peer);
        }
        if (rounds.equals("cut")) {
            for (int size : sizes) {
                byte[] expected = payload(size, size);
                byte[] wire = pack(expected);
                for (int cut = 1; cut < wire.length; cut++) {
                    Peer peer = peers.get(cut % connections);
                    peer.out.write(wire, 0, cut);
                    peer.out.flush();
                    peer.out.write(wire, cut, wire.length - cut);
                    peer.out.flush();
                    compare(peer, expected);
                }
            }
        } else {
            for (int turn = 0; turn < Integer.parseInt(rounds); turn++) {
                for (int size : sizes) {
                    for (int seed = 0; seed < connections; seed++) {
                        peers.get(seed).out.write(pack(payload(size, seed + turn)));
                        peers.get(seed).out.flush();
                    }
                    for (int seed = 0; seed < connections; seed++) {
                        compare(peers.get(seed), payload(size, seed + turn));
                    }
                }
            }
        }
        for (Peer peer : peers) {
            peer.socket.close();
        }
    }

    static Peer connect() throws Exception {
        Socket socket;
        if (security.equals("tls")) {
            SSLContext context = SSLContext.getInstance("TLS");
            context.init(null, new TrustManager[] {new Trusting()}, new SecureRandom());
            socket = context.getSocketFactory().createSocket(InetAddress.getLoopbackAddress(), port);
        } else {
            socket = new Socket(InetAddress.getLoopbackAddress(), port);
        }
        socket.setTcpNoDelay(true);
        socket.setSoTimeout(600_000);
        return new Peer(socket, new DataInputStream(socket.getInputStream()), socket.getOutputStream());
    }

    static byte[] payload(int size, int seed) {
        byte[] data = new byte[size];
        for (int i = 0; i < size; i++) {
            data[i] = (byte) (i / 11 * 5 + seed);
        }
        return data;
    }

    static byte[] pack(byte[] data) {
        byte[] body = data;
        int word = data.length;
        if (!packing.equals("raw")) {
            Deflater deflater = new Deflater(6, packing.equals("deflate"));
            deflater.setInput(data);
            deflater.finish();
            ByteArrayOutputStream out = new ByteArrayOutputStream();
            byte[] piece = new byte[8192];
            while (!deflater.finished()) {
                out.write(piece, 0, deflater.deflate(piece));
            }
            deflater.end();
            body = out.toByteArray();
            word = body.length | 0x80000000;
        }
        byte[] wire = new byte[4 + body.length];
        for (int i = 0; i < 4; i++) {
            wire[i] = (byte) (word >>> (24 - 8 * i));
        }
        System.arraycopy(body, 0, wire, 4, body.length);
        return wire;
    }

    static void compare(Peer peer, byte[] expected) throws IOException, DataFormatException {
        int word = peer.in.readInt();
        byte[] got = new byte[word & 0x7fffffff];
        peer.in.readFully(got);
        if (word < 0) {
            Inflater inflater = new Inflater();
            inflater.setInput(got);
            byte[] data = new byte[expected.length + 1];
            int length = 0;
            while (!inflater.finished()) {
                int more = inflater.inflate(data, length, data.length - length);
                if (more == 0 && !inflater.finished()) {
                    throw new IOException("a compressed frame is not one whole zlib stream");
                }
                length += more;
            }
            if (inflater.getRemaining() > 0) {
                throw new IOException("bytes behind the end of a zlib stream");
            }
            inflater.end();
            got = Arrays.copyOf(data, length);
        }
        if (!Arrays.equals(got, expected)) {
            throw new IOException("a frame of " + expected.length + " bytes came back different");
        }
        frames++;
    }

    static class Trusting implements X509TrustManager {
        public void checkClientTrusted(X509Certificate[] chain, String kind) {}

        public void checkServerTrusted(X509Certificate[] chain, String kind) {}

        public X509Certificate[] getAcceptedIssuers() {
            return new X509Certificate[0];
        }
    }
}
