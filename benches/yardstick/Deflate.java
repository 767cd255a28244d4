import java.io.BufferedReader;
import java.io.DataInputStream;
import java.io.FileInputStream;
import java.io.InputStreamReader;
import java.lang.management.ManagementFactory;
import java.lang.management.ThreadMXBean;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.zip.Deflater;
import java.util.zip.Inflater;

/**
 * What compressing and inflating one payload costs with java.util.zip, states reused.
 * Reads "OPERATION SECONDS" lines, answers with microseconds of CPU per payload.
 *
 * usage: java Deflate.java FILE   (the file that "deflate write" has made)
 */
public class Deflate {
    private static final ThreadMXBean CLOCK = ManagementFactory.getThreadMXBean();

    public static void main(String[] arguments) throws Exception {
        List<byte[]> payloads = new ArrayList<>();
        List<byte[]> packed = new ArrayList<>();
        try (DataInputStream file = new DataInputStream(new FileInputStream(arguments[0]))) {
            while (file.available() > 0) {
                payloads.add(file.readNBytes(file.readInt()));
                packed.add(file.readNBytes(file.readInt()));
            }
        }
        byte[] out = new byte[256 << 10];
        Inflater inflater = new Inflater();
        Deflater level1 = new Deflater(1);
        Deflater level6 = new Deflater(6);
        BufferedReader lines = new BufferedReader(new InputStreamReader(System.in));
        for (String line; (line = lines.readLine()) != null; ) {
            String[] words = line.split(" ");
            long nanoseconds = (long) (Double.parseDouble(words[1]) * 1e9);
            long start = CLOCK.getCurrentThreadCpuTime();
            long used;
            long count = 0;
            do {
                for (int i = 0; i < payloads.size(); i++) {
                    if (words[0].equals("inflate")) {
                        inflater.reset();
                        inflater.setInput(packed.get(i));
                        if (inflater.inflate(out) != payloads.get(i).length) {
                            throw new IllegalStateException("inflate");
                        }
                    } else {
                        Deflater deflater = words[0].equals("deflate1") ? level1 : level6;
                        deflater.reset();
                        deflater.setInput(payloads.get(i));
                        deflater.finish();
                        deflater.deflate(out);
                        if (!deflater.finished()) {
                            throw new IllegalStateException("deflate");
                        }
                    }
                }
                count += payloads.size();
                used = CLOCK.getCurrentThreadCpuTime() - start;
            } while (used < nanoseconds);
            System.out.println(String.format(Locale.ROOT, "%.4f", used / 1e3 / count));
        }
    }
}
