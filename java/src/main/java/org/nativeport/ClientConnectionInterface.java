package org.nativeport;

import java.io.IOException;
import java.time.Duration;
import java.util.concurrent.CompletionStage;

/** One port that clients connect to: started, stopped, asked. Thread safe. */
public interface ClientConnectionInterface extends AutoCloseable {
    /**
     * Binds the port and accepts connections. Once. May wait while a host name is resolved and files are
     * read.
     *
     * @throws java.net.BindException if the address is in use or does not exist
     * @throws javax.net.ssl.SSLException if a certificate or key cannot be used
     * @throws IOException if the operating system refuses
     * @throws IllegalArgumentException if the configuration has an error; the message names its place
     * @throws IllegalStateException if it was started or closed before, or has no handler that takes a connection
     */
    void start() throws IOException;

    /**
     * Ends listening at once; connections may go on, and those that have not ended when the time is over are cut.
     * A second call can only shorten the time. Callbacks that run are not waited for, nor is what hangs on {@code
     * whenClosed}. Returns at once. Do not join the stage inside of {@code onFrame}: the loop would wait for itself. A
     * runtime that the program has built goes on; close it too.
     *
     * @param grace how long connections may go on, counted in milliseconds; negative is none
     * @return completes on a callback thread when the last connection has ended
     */
    CompletionStage<Void> stop(Duration grace);

    /**
     * Ends listening and all connections, and waits until they have ended. May park; on the thread of a loop, of this
     * or another runtime, as inside a {@link FrameHandler}, it returns without waiting. Callbacks are not waited for,
     * so that {@link ClientCommunicationInterface#whenClosed} may complete a moment after this returns. A second call
     * has no effect.
     */
    @Override
    void close();

    /** Whether it has been started and neither stopped nor closed. Returns at once. */
    boolean isRunning();

    /** The listening end. Returns at once. */
    ServerSocketInterface2 getServerSocket();
}
