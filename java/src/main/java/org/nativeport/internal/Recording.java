package org.nativeport.internal;

import jdk.jfr.Category;
import jdk.jfr.Description;
import jdk.jfr.Event;
import jdk.jfr.FlightRecorder;
import jdk.jfr.Label;
import jdk.jfr.Name;
import jdk.jfr.StackTrace;
import jdk.jfr.Timespan;
import org.nativeport.CloseInfo;
import org.nativeport.ConnectionInfo;
import org.nativeport.TlsInfo;

/**
 * Events for Java Flight Recorder: a connection was opened, its handshake, and its end. Not to be
 * touched where the module {@code jdk.jfr} is missing, but for {@link #isAvailable}, which is a {@link LinkageError} there.
 */
final class Recording {
    private Recording() {}

    static boolean isAvailable() {
        return FlightRecorder.isAvailable();
    }

    static void opened(ConnectionInfo info, long ageMs) {
        Connect connect = new Connect();
        if (connect.shouldCommit()) {
            connect.connection = info.id();
            connect.port = info.port();
            connect.protocol = info.protocol().name();
            connect.remoteAddress = info.remoteAddress().toString();
            connect.sinceAccept = ageMs;
            connect.commit();
        }
        if (info.tls().isPresent()) {
            Handshake handshake = new Handshake();
            if (handshake.shouldCommit()) {
                TlsInfo tls = info.tls().get();
                handshake.connection = info.id();
                handshake.protocol = tls.protocol();
                handshake.cipherSuite = tls.cipherSuite();
                handshake.group = tls.group();
                handshake.serverName = tls.serverName().orElse(null);
                handshake.applicationProtocol = tls.applicationProtocol().orElse(null);
                handshake.resumed = tls.resumed();
                handshake.commit();
            }
        }
    }

    static void closed(ConnectionInfo info, CloseInfo how) {
        Close close = new Close();
        if (close.shouldCommit()) {
            close.connection = info.id();
            close.remoteAddress = info.remoteAddress().toString();
            close.reason = how.reason();
            close.by = how.by().name();
            close.bytesIn = how.bytesIn();
            close.bytesOut = how.bytesOut();
            close.unsentBytes = how.unsentBytes();
            close.lifetime = how.duration().toMillis();
            close.commit();
        }
    }

    @Name("org.nativeport.Connect")
    @Label("Connection Opened")
    @Category({"nativeport"})
    @StackTrace(false)
    @Description("The first byte of a connection has come, and it may be used")
    private static final class Connect extends Event {
        @Label("Connection")
        long connection;

        @Label("Port")
        String port;

        @Label("Protocol")
        String protocol;

        @Label("Remote Address")
        String remoteAddress;

        @Label("Since Accept")
        @Timespan(Timespan.MILLISECONDS)
        long sinceAccept;
    }

    @Name("org.nativeport.Handshake")
    @Label("TLS Handshake")
    @Category({"nativeport"})
    @StackTrace(false)
    @Description("What the TLS handshake of a connection has settled")
    private static final class Handshake extends Event {
        @Label("Connection")
        long connection;

        @Label("Protocol Version")
        String protocol;

        @Label("Cipher Suite")
        String cipherSuite;

        @Label("Key Exchange Group")
        String group;

        @Label("Server Name")
        String serverName;

        @Label("Application Protocol")
        String applicationProtocol;

        @Label("Resumed")
        boolean resumed;
    }

    @Name("org.nativeport.Close")
    @Label("Connection Closed")
    @Category({"nativeport"})
    @StackTrace(false)
    @Description("A connection has ended")
    private static final class Close extends Event {
        @Label("Connection")
        long connection;

        @Label("Remote Address")
        String remoteAddress;

        @Label("Reason")
        String reason;

        @Label("Ended By")
        String by;

        @Label("Bytes Received")
        long bytesIn;

        @Label("Bytes Sent")
        long bytesOut;

        @Label("Bytes Not Sent")
        long unsentBytes;

        @Label("Lifetime")
        @Timespan(Timespan.MILLISECONDS)
        long lifetime;
    }
}
