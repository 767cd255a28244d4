package org.nativeport.internal;

import java.util.EnumMap;
import java.util.Map;
import java.util.OptionalLong;
import java.util.TreeMap;
import org.nativeport.Metrics;
import org.nativeport.Protocol;
import org.nativeport.internal.NativeNumbers.Counter;

/** The counters of the native library, for programs. */
public final class Counters {
    private Counters() {}

    public static Metrics metrics(long[] all) {
        Map<String, Long> closes = new TreeMap<>();
        for (int reason = 0; Counter.CLOSES + reason < all.length; reason++) {
            if (all[Counter.CLOSES + reason] != 0) {
                closes.put(CloseReason.word(reason), all[Counter.CLOSES + reason]);
            }
        }
        return new Metrics(
                all[Counter.ACCEPTED],
                all[Counter.UNIDENTIFIED],
                byProtocol(all, Counter.OPEN),
                byProtocol(all, Counter.OPENED),
                all[Counter.FRAMES_IN],
                all[Counter.FRAMES_OUT],
                all[Counter.BYTES_IN],
                all[Counter.BYTES_OUT],
                Map.copyOf(closes),
                all[Counter.MEMORY_BYTES],
                all[Counter.LOG_DROPPED],
                all[Counter.LOOPS_HELD_UP],
                all[Counter.SLOW_TURNS],
                all[Counter.CONNECTIONS],
                all[Counter.ACCEPT_ERRORS],
                all[Counter.BYTES_UNSENT],
                daysLeft(all[Counter.CERTIFICATE_DAYS_LEFT]));
    }

    private static OptionalLong daysLeft(long days) {
        return days == NativeNumbers.NO_CERTIFICATE ? OptionalLong.empty() : OptionalLong.of(days);
    }

    private static Map<Protocol, Long> byProtocol(long[] all, int from) {
        Map<Protocol, Long> values = new EnumMap<>(Protocol.class);
        for (Protocol protocol : Protocol.values()) {
            values.put(protocol, all[from + NativeNumbers.index(protocol)]);
        }
        return Map.copyOf(values);
    }
}
