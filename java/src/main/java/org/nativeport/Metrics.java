package org.nativeport;

import java.util.Map;
import java.util.OptionalLong;

/**
 * Counters of a port or of a whole runtime. Each number is exact; together they are not of one
 * instant. Counters never go back.
 *
 * @param accepted connections accepted, ever
 * @param unidentified connections that wait for handshake or first byte, now
 * @param open connections in use, now, by protocol
 * @param opened connections that came into use, ever, by protocol
 * @param framesIn transactions received, ever
 * @param framesOut transactions that were taken for sending, ever; what of them was not sent is in
 *     {@code bytesUnsent}
 * @param bytesIn bytes read from sockets, ever
 * @param bytesOut bytes written to sockets, ever
 * @param closes connections ended, ever, by the stable name of the reason; without those that never occurred
 * @param memoryBytes bytes that count against {@code memoryLimit}, now; of the whole runtime
 * @param logDropped lines of the native log that were dropped, ever; of the whole runtime
 * @param loopsHeldUp loops whose present turn has lasted for a second or longer; of the whole
 *     runtime
 * @param slowTurns turns of loops that took a second or longer, ever; of the whole runtime
 * @param connections connections that count against {@code maxConnections}, now: the unidentified,
 *     those not admitted yet, the open, and those that are ending
 * @param acceptErrors calls of accept that failed, ever: mostly of connections that had ended by then, or for want
 *     of descriptors or memory
 * @param bytesUnsent bytes that were taken for sending and had not reached the operating system when their connections
 *     ended, ever
 * @param certificateDaysLeft whole days until the server's own certificate expires, now: 0 on its last day, negative
 *     after it; empty without TLS; of a runtime, the smallest of its started listeners
 */
public record Metrics(
        long accepted,
        long unidentified,
        Map<Protocol, Long> open,
        Map<Protocol, Long> opened,
        long framesIn,
        long framesOut,
        long bytesIn,
        long bytesOut,
        Map<String, Long> closes,
        long memoryBytes,
        long logDropped,
        long loopsHeldUp,
        long slowTurns,
        long connections,
        long acceptErrors,
        long bytesUnsent,
        OptionalLong certificateDaysLeft) {}
