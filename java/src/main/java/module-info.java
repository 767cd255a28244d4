/**
 * A native socket layer for servers, and the socket interface over it. Logging goes through
 * {@link java.lang.System.Logger}; nothing but the JDK is needed at run time.
 */
module org.nativeport {
    // A run-time image without it has no events of the Flight Recorder.
    requires static jdk.jfr;

    exports org.nativeport;
}
