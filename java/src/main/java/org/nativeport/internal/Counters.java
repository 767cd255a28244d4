package org.nativeport.internal;

import java.util.EnumMap;
import java.util.Map;
import java.util.OptionalLong;
import java.util.TreeMap;
import org.nativeport.Metrics;
import org.nativeport.Protocol;

/** The order in which the native library tells counters: that of {@code runtime.rs}. */
public final class Counters {
    private static final int OPEN = 14;
    private static final int OPENED = OPEN + 4;
    private static final int CLOSES = OPENED + 4;
    private static final long NO_CERTIFICATE = Long.MIN_VALUE;

    private Counters() {}

    public static Metrics metrics(long[] all) {
        Map<String, Long> closes = new TreeMap<>();
        for (int reason = 0; CLOSES + reason < all.length; reason++) {
            if (all[CLOSES + reason] != 0) {
                closes.put(CloseReason.word(reason), all[CLOSES + reason]);
            }
        }
        return new Metrics(
                all[0],
                all[1],
                byProtocol(all, OPEN),
                byProtocol(all, OPENED),
                all[2],
                all[3],
                all[4],
                all[5],
                Map.copyOf(closes),
                all[6],
                all[7],
                all[8],
                all[9],
                all[10],
                all[11],
                all[12],
                all[13] == NO_CERTIFICATE ? OptionalLong.empty() : OptionalLong.of(all[13]));
    }

    private static Map<Protocol, Long> byProtocol(long[] all, int from) {
        Map<Protocol, Long> values = new EnumMap<>(Protocol.class);
        for (Protocol protocol : Protocol.values()) {
            values.put(protocol, all[from + protocol.ordinal()]);
        }
        return Map.copyOf(values);
    }
}
