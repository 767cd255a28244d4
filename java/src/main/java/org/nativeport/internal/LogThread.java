package org.nativeport.internal;

import java.lang.System.Logger;
import java.lang.System.Logger.Level;
import java.util.concurrent.ArrayBlockingQueue;
import java.util.concurrent.atomic.AtomicLong;
import org.nativeport.internal.NativeNumbers.LogLevel;

/**
 * Gives lines of the log to {@link System.Logger} on a thread of its own, so that a log that
 * blocks delays no connection. What does not fit its queue is counted, and told with the next line.
 */
final class LogThread implements Runnable {
    private static final int QUEUE = 1024;
    private static final Line END = new Line(Level.OFF, "", null);
    private record Line(Level level, String text, Throwable cause) {}

    private final Logger logger = System.getLogger("org.nativeport");
    private final ArrayBlockingQueue<Line> queue = new ArrayBlockingQueue<>(QUEUE);
    private final AtomicLong dropped = new AtomicLong();
    private final Thread thread = new Thread(null, this, "np-log", 0, false);

    /** From here on it has to be ended. */
    void start() {
        thread.setDaemon(true);
        thread.start();
    }

    /** The native number of the most talkative level that the logger wants. */
    int level() {
        int wanted = LogLevel.OFF;
        for (int number = LogLevel.ERROR; number <= LogLevel.DEBUG; number++) {
            if (logger.isLoggable(level(number))) {
                wanted = number;
            }
        }
        return wanted;
    }

    /** A line for each connection is INFO in the library, and too much for that here. */
    private static Level level(int number) {
        return switch (number) {
            case LogLevel.ERROR -> Level.ERROR;
            case LogLevel.WARN -> Level.WARNING;
            case LogLevel.INFO -> Level.DEBUG;
            default -> Level.TRACE;
        };
    }

    /** A line of the native library. Never waits. */
    void record(int level, String stage, long conn, String text) {
        String about = conn == 0 ? "" : " [" + Long.toHexString(conn) + "]";
        add(new Line(level(level), stage + about + ": " + text, null));
    }

    /** A line of this layer. Never waits. */
    void error(String text, Throwable cause) {
        add(new Line(Level.ERROR, text, cause));
    }

    /** Likewise. */
    void warn(String text) {
        add(new Line(Level.WARNING, text, null));
    }

    /** Likewise. */
    void debug(String text) {
        add(new Line(Level.DEBUG, text, null));
    }

    private void add(Line line) {
        if (!queue.offer(line)) {
            lose();
        }
    }

    /** A line could not be written. */
    void lose() {
        dropped.incrementAndGet();
    }

    /** Behind the last line the thread ends. May wait for room. */
    void end() {
        boolean interrupted = false;
        for (;;) {
            try {
                queue.put(END);
                break;
            } catch (InterruptedException e) {
                interrupted = true;
            }
        }
        if (interrupted) {
            Thread.currentThread().interrupt();
        }
    }

    @Override
    public void run() {
        for (;;) {
            try {
                Line line = queue.take();
                if (line == END) {
                    return;
                }
                logger.log(line.level, line.text, line.cause);
                long lost = dropped.getAndSet(0);
                if (lost > 0) {
                    logger.log(Level.WARNING, lost + " lines of the log were dropped");
                }
            } catch (InterruptedException byTheHostsLogger) {
                // It goes on until it is ended: somebody may wait for room.
                continue;
            } catch (RuntimeException | Error failure) {
                // The host's logger has failed, so that there is nobody to tell: the line is lost.
                dropped.incrementAndGet();
            }
        }
    }
}
