package org.nativeport;

/** A program over a thread of its own for each connection, with TLS. */
class ThreadWayTlsTest extends WayContract {
    ThreadWayTlsTest() {
        super(Way.THREAD, true);
    }
}
