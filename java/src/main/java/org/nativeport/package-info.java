/**
 * A native socket layer for servers that are written around blocking sockets and a thread per
 * client. {@link org.nativeport.ISocket} is the connection, native or of the JDK;
 * {@link org.nativeport.SocketAdapter} makes one of a {@link java.net.Socket}.
 *
 * <p>No method takes null, and none gives it, unless its text says so.
 */
package org.nativeport;
