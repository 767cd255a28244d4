package org.nativeport.internal;

/**
 * What Java itself needs of a port's settings.
 *
 * @param name canonical name of the section
 * @param written its name as the file writes it
 * @param port number to bind, 0 for any
 * @param mapToPort number that the outside world uses
 * @param tls number of a mode of TLS
 * @param accepterThreads threads that accept
 * @param receiveWindow bytes that may wait for a reader
 */
public record PortLayout(
        String name,
        String written,
        int port,
        int mapToPort,
        int tls,
        int accepterThreads,
        long receiveWindow) {}
