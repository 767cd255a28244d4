package org.nativeport.internal;

import org.nativeport.CloseInfo.Party;
import org.nativeport.Protocol;
import org.nativeport.ServerSocketInterface2.TlsMode;

/**
 * The numbers that Java and the native library must agree on. Generated from {@code src/status.rs}, {@code src/event.rs}
 * and {@code bindings/jni/src/numbers.rs}: change them there, then {@code make header} writes this file.
 *
 * <p>An enum that lacks a constant for what the library has does not compile with it.
 */
public final class NativeNumbers {
    private NativeNumbers() {}

    /** What natives answer. */
    public abstract static class Result {
        /** success */
        public static final int OK = 0;
        /** an argument is NULL, out of range or badly formed */
        public static final int ARGUMENT = -101;
        /** this value was never the handle of a connection */
        public static final int INVALID_HANDLE = -102;
        /** the data is larger than the limit for it */
        public static final int TOO_LARGE = -103;
        /** there is nothing of that name or number */
        public static final int NOT_FOUND = -104;
        /** not available in this version or on this system */
        public static final int UNSUPPORTED = -105;
        /** the buffer is too small; the needed size was written */
        public static final int BUFFER_TOO_SMALL = -106;
        /** the connection is closed or closing */
        public static final int CLOSED = -201;
        /** the call does not fit the present state */
        public static final int STATE = -202;
        /** a call that may wait is not allowed inside a callback */
        public static final int IN_CALLBACK = -203;
        /** the send queue is full; a writable event follows */
        public static final int WOULD_BLOCK = -204;
        /** the time-out passed first */
        public static final int TIMED_OUT = -205;
        /** the runtime or listener has been stopped */
        public static final int STOPPED = -206;
        /** the operating system reported an error */
        public static final int IO = -301;
        /** the address and port are already in use */
        public static final int ADDRESS_IN_USE = -302;
        /** the address does not exist on this machine or could not be resolved */
        public static final int ADDRESS_NOT_AVAILABLE = -303;
        /** the operating system refused permission */
        public static final int PERMISSION_DENIED = -304;
        /** no file descriptors are left */
        public static final int NO_DESCRIPTORS = -305;
        /** the operating system would not start another thread */
        public static final int NO_THREADS = -306;
        /** TLS failed */
        public static final int TLS = -401;
        /** the certificate or private key cannot be used */
        public static final int CERTIFICATE = -402;
        /** a frame holds at most 2,147,483,647 bytes */
        public static final int FRAME_TOO_LARGE = -501;
        /** the configuration has an error */
        public static final int CONFIG = -601;
        /** the configuration file cannot be read */
        public static final int CONFIG_FILE = -602;
        /** a defect inside the library was caught; please report it */
        public static final int PANIC = -701;
        /** no memory: memoryLimit is reached and this connection would hold most (it ends), or the system has none */
        public static final int MEMORY_LIMIT = -702;
        /** an invariant inside the library does not hold; please report it */
        public static final int INTERNAL = -703;

        Result() {}
    }

    /** What natives are given. */
    public abstract static class Argument {
        /** What Java and the library have agreed upon: raised with each change of a native, or of a number that is generated here. */
        public static final int AGREEMENT = 8;
        /** For inspect: what is wrong or doubtful. */
        public static final int INSPECT_CHECK = 1;
        /** For inspect: the effective value of a key. */
        public static final int INSPECT_GET = 2;
        /** For inspect: the ports, and what Java itself needs of them and of the runtime. */
        public static final int INSPECT_LAYOUT = 3;
        public static final int ADMIT = 1;
        public static final int PAUSE = 2;
        public static final int RESUME = 3;
        public static final int SHUTDOWN = 4;
        /** After the peer's end. */
        public static final int CLOSE = 5;
        public static final int ABORT = 6;
        /** And nothing waits in Java for the peer. */
        public static final int PROCESS_ENDS = 7;
        /** By a program that has not come to the peer's end, and so is the first to end it. */
        public static final int CLOSE_FIRST = 8;
        /** As PROCESS_ENDS, and something waits in Java for the peer. */
        public static final int PROCESS_ENDS_OWING = 9;
        /** Bytes that were taken for sending and are not with the operating system yet. */
        public static final int UNSENT = 1;
        /** Bytes that are. */
        public static final int SENT = 2;
        public static final int NO_DELAY = 1;
        public static final int KEEP_ALIVE = 2;
        public static final int SEND_BUFFER = 3;
        public static final int RECEIVE_BUFFER = 4;
        public static final int TRAFFIC_CLASS = 5;
        /** In handled, above one bit for each protocol: Java decides about admission. */
        public static final int HANDLES_ADMISSION = 16;
        /** Send it raw even if the port compresses. */
        public static final int SEND_RAW = 1;

        Argument() {}
    }

    /** What a configuration is made of: a byte, then texts. */
    public static final class Operation {
        /** A file: name, text, folder for relative paths. */
        public static final int FILE = 1;
        /** A further port: name. */
        public static final int PORT = 2;
        /** A value: section, key, value. An empty section is the port added last. */
        public static final int VALUE = 3;
        /** The longest text of a file. */
        public static final int MOST_BYTES = 8388608;

        private Operation() {}
    }

    /** What a failed native leaves in its array for words: offsets; numbers are big-endian, text is UTF-8 that a 0 ends. */
    public static final class Words {
        /** Number of 4 bytes: errno, 0 if there is none. */
        public static final int OS_ERROR = 0;
        /** Number of 4 bytes: the TLS alert, -1 if there is none. */
        public static final int TLS_ALERT = 4;
        public static final int TEXT = 8;

        private Words() {}
    }

    /** Levels of the log; each includes those before it. */
    public static final class LogLevel {
        public static final int OFF = 0;
        public static final int ERROR = 1;
        public static final int WARN = 2;
        /** One line for each connection. */
        public static final int INFO = 3;
        public static final int DEBUG = 4;

        private LogLevel() {}
    }

    /** A record of a poll: offsets in bytes. */
    public static final class EventRecord {
        public static final int KIND = 0;
        public static final int PROTOCOL = 4;
        public static final int FIRST_BYTE = 5;
        public static final int CONN = 8;
        public static final int TOKEN = 16;
        /** How many entries it has. */
        public static final int COUNT = 20;
        /** The first of its entries. */
        public static final int FIRST = 24;
        /** Where more is told of it: an offset in the buffer. */
        public static final int EXTRA = 28;
        /** Of all of it. */
        public static final int BYTES = 32;

        private EventRecord() {}
    }

    /** What a record tells. */
    public static final class EventKind {
        public static final int ADMIT = 1;
        public static final int OPEN = 2;
        public static final int FRAMES = 3;
        public static final int DATA = 4;
        public static final int END = 5;
        public static final int WRITABLE = 6;
        public static final int CLOSED = 7;
        public static final int LOG = 8;

        private EventKind() {}
    }

    /** An entry of a poll, a payload: offsets in bytes. */
    public static final class Entry {
        /** Where the payload is, in the buffer that its flags say. */
        public static final int OFFSET = 0;
        public static final int LENGTH = 4;
        public static final int FLAGS = 8;
        /** Of all of it. */
        public static final int BYTES = 16;

        private Entry() {}
    }

    /** Flags of an entry. */
    public static final class EntryFlag {
        /** The payload came compressed. */
        public static final int COMPRESSED = 1;
        /** The payload lies in the buffer of records, not in that of what was read. */
        public static final int HERE = 2;
        /** The payload has to be fetched. */
        public static final int ELSEWHERE = 4;

        private EntryFlag() {}
    }

    /** How a connection ended, before the text of that: offsets in bytes. */
    public static final class CloseRecord {
        public static final int REASON = 0;
        public static final int BY = 4;
        public static final int OS_ERROR = 8;
        public static final int TLS_ALERT = 12;
        public static final int BYTES_IN = 16;
        public static final int BYTES_OUT = 24;
        public static final int UNSENT_BYTES = 32;
        public static final int DURATION_MS = 40;
        /** Of all of it. */
        public static final int BYTES = 48;

        private CloseRecord() {}
    }

    /** Why a connection ended. */
    public static final class CloseNumber {
        /** the peer ended the stream */
        public static final int PEER_CLOSED = 1;
        /** the peer reset the connection */
        public static final int PEER_RESET = 2;
        /** the host called close */
        public static final int HOST_CLOSED = 3;
        /** the host called abort */
        public static final int HOST_ABORTED = 4;
        /** the deadline that the host had set passed */
        public static final int HOST_DEADLINE = 5;
        /** the host refused the connection at admission */
        public static final int ADMISSION_REFUSED = 6;
        /** the host did not decide about admission within readTimeout */
        public static final int ADMISSION_TIMEOUT = 7;
        /** no handler is registered for this protocol */
        public static final int NO_HANDLER = 8;
        /** the peer ended the stream before its first byte */
        public static final int CLOSED_BEFORE_IDENTIFIED = 9;
        /** the first byte did not arrive within readTimeout */
        public static final int READ_TIMEOUT = 10;
        /** the TLS handshake was not finished within handshakeTimeout */
        public static final int HANDSHAKE_TIMEOUT = 11;
        /** a frame was begun and not completed within frameTimeout */
        public static final int FRAME_TIMEOUT = 12;
        /** nothing was sent or received for idleTimeout */
        public static final int IDLE_TIMEOUT = 13;
        /** the peer acknowledged nothing of what was sent for writeTimeout */
        public static final int WRITE_TIMEOUT = 14;
        /** the flush of a close took longer than closeTimeout */
        public static final int CLOSE_TIMEOUT = 15;
        /** the peer speaks TLS on a port without TLS */
        public static final int TLS_ON_PLAIN_PORT = 20;
        /** TLS failed */
        public static final int TLS_FAILED = 21;
        /** the peer ended the stream without close_notify */
        public static final int TLS_TRUNCATED = 22;
        /** the peer sent TLS records without data, over and over */
        public static final int TLS_NO_DATA = 23;
        /** a frame is larger than maxFrameSize */
        public static final int FRAME_TOO_LARGE = 30;
        /** the stream ended inside a frame, or inside a TLS record where requireCloseNotify is no */
        public static final int TRUNCATED = 31;
        /** a compressed payload is broken or incomplete */
        public static final int DEFLATE_CORRUPT = 32;
        /** a compressed frame has no bytes on the wire */
        public static final int DEFLATE_EMPTY = 33;
        /** a compressed payload goes on behind the end of its stream */
        public static final int DEFLATE_TRAILING = 34;
        /** a payload inflates to more than maxInflatedSize */
        public static final int INFLATED_TOO_LARGE = 35;
        /** the peer sent a compressed frame to a port with compression = never */
        public static final int COMPRESSION_REFUSED = 36;
        /** the port has maxConnections already */
        public static final int MAX_CONNECTIONS = 40;
        /** the address has maxConnectionsPerAddress already */
        public static final int MAX_CONNECTIONS_PER_ADDRESS = 41;
        /** maxHandshakes is reached and this unidentified connection was evicted */
        public static final int MAX_HANDSHAKES = 42;
        /** the address has reached maxHandshakesPerAddress and this unidentified connection was evicted */
        public static final int MAX_HANDSHAKES_PER_ADDRESS = 43;
        /** no file descriptors are left */
        public static final int NO_DESCRIPTORS = 44;
        /** no memory: memoryLimit is reached and this connection, above 64 KiB, holds most, or the system has none */
        public static final int MEMORY_LIMIT = 45;
        /** descriptors are scarce and the address holds more than half of the connections */
        public static final int ADDRESS_OVER_SHARE = 46;
        /** the listener or runtime stopped before the connection was identified */
        public static final int STOPPED = 50;
        /** the drain deadline cut the connection */
        public static final int DRAIN_DEADLINE = 51;
        /** the operating system reported an error on the socket */
        public static final int IO_ERROR = 60;
        /** the peer no longer answers */
        public static final int KEEP_ALIVE = 61;
        /** a callback of the host failed */
        public static final int CALLBACK_PANIC = 70;
        /** a defect inside the library was caught */
        public static final int INTERNAL = 71;

        private CloseNumber() {}
    }

    /** A line of the log, before the texts of its stage and of itself: offsets in bytes. */
    public static final class LogRecord {
        public static final int LEVEL = 0;
        /** Of all of it. */
        public static final int BYTES = 4;

        private LogRecord() {}
    }

    /** Positions of counters. */
    public static final class Counter {
        public static final int ACCEPTED = 0;
        public static final int UNIDENTIFIED = 1;
        public static final int FRAMES_IN = 2;
        public static final int FRAMES_OUT = 3;
        public static final int BYTES_IN = 4;
        public static final int BYTES_OUT = 5;
        public static final int MEMORY_BYTES = 6;
        public static final int LOG_DROPPED = 7;
        public static final int LOOPS_HELD_UP = 8;
        public static final int SLOW_TURNS = 9;
        public static final int CONNECTIONS = 10;
        public static final int ACCEPT_ERRORS = 11;
        public static final int BYTES_UNSENT = 12;
        public static final int CERTIFICATE_DAYS_LEFT = 13;
        /** One for each protocol. */
        public static final int OPEN = 14;
        /** One for each protocol. */
        public static final int OPENED = 18;
        /** One for each number of a close reason. */
        public static final int CLOSES = 22;
        /** How many there are. */
        public static final int ALL = 150;

        private Counter() {}
    }

    /** Stands for the days that are left without TLS. */
    public static final long NO_CERTIFICATE = -9223372036854775808L;

    /** Null for a number that is not known here. */
    public static CloseReason closeReason(int number) {
        return switch (number) {
            case 1 -> CloseReason.PEER_CLOSED;
            case 2 -> CloseReason.PEER_RESET;
            case 3 -> CloseReason.HOST_CLOSED;
            case 4 -> CloseReason.HOST_ABORTED;
            case 5 -> CloseReason.HOST_DEADLINE;
            case 6 -> CloseReason.ADMISSION_REFUSED;
            case 7 -> CloseReason.ADMISSION_TIMEOUT;
            case 8 -> CloseReason.NO_HANDLER;
            case 9 -> CloseReason.CLOSED_BEFORE_IDENTIFIED;
            case 10 -> CloseReason.READ_TIMEOUT;
            case 11 -> CloseReason.HANDSHAKE_TIMEOUT;
            case 12 -> CloseReason.FRAME_TIMEOUT;
            case 13 -> CloseReason.IDLE_TIMEOUT;
            case 14 -> CloseReason.WRITE_TIMEOUT;
            case 15 -> CloseReason.CLOSE_TIMEOUT;
            case 20 -> CloseReason.TLS_ON_PLAIN_PORT;
            case 21 -> CloseReason.TLS_FAILED;
            case 22 -> CloseReason.TLS_TRUNCATED;
            case 23 -> CloseReason.TLS_NO_DATA;
            case 30 -> CloseReason.FRAME_TOO_LARGE;
            case 31 -> CloseReason.TRUNCATED;
            case 32 -> CloseReason.DEFLATE_CORRUPT;
            case 33 -> CloseReason.DEFLATE_EMPTY;
            case 34 -> CloseReason.DEFLATE_TRAILING;
            case 35 -> CloseReason.INFLATED_TOO_LARGE;
            case 36 -> CloseReason.COMPRESSION_REFUSED;
            case 40 -> CloseReason.MAX_CONNECTIONS;
            case 41 -> CloseReason.MAX_CONNECTIONS_PER_ADDRESS;
            case 42 -> CloseReason.MAX_HANDSHAKES;
            case 43 -> CloseReason.MAX_HANDSHAKES_PER_ADDRESS;
            case 44 -> CloseReason.NO_DESCRIPTORS;
            case 45 -> CloseReason.MEMORY_LIMIT;
            case 46 -> CloseReason.ADDRESS_OVER_SHARE;
            case 50 -> CloseReason.STOPPED;
            case 51 -> CloseReason.DRAIN_DEADLINE;
            case 60 -> CloseReason.IO_ERROR;
            case 61 -> CloseReason.KEEP_ALIVE;
            case 70 -> CloseReason.CALLBACK_PANIC;
            case 71 -> CloseReason.INTERNAL;
            default -> null;
        };
    }

    public static Party party(int number) {
        return switch (number) {
            case 1 -> Party.PEER;
            case 2 -> Party.LIBRARY;
            case 3 -> Party.HOST;
            case 4 -> Party.SYSTEM;
            default -> throw new IllegalArgumentException(Integer.toString(number));
        };
    }

    public static TlsMode tlsMode(int number) {
        return switch (number) {
            case 0 -> TlsMode.PLAIN;
            case 1 -> TlsMode.TLS;
            case 2 -> TlsMode.AUTO;
            default -> throw new IllegalArgumentException(Integer.toString(number));
        };
    }

    public static Protocol protocol(int number) {
        return switch (number) {
            case 1 -> Protocol.CLIENT;
            case 2 -> Protocol.RELAY;
            case 3 -> Protocol.REMOTE_APPLICATION;
            case 4 -> Protocol.UNKNOWN;
            default -> throw new IllegalArgumentException(Integer.toString(number));
        };
    }

    /** Its position where there is one for each protocol. */
    public static int index(Protocol protocol) {
        return switch (protocol) {
            case CLIENT -> 0;
            case RELAY -> 1;
            case REMOTE_APPLICATION -> 2;
            case UNKNOWN -> 3;
        };
    }
}
