package org.nativeport;

/** A program over reads and writes that complete later, with TLS. */
class AsyncWayTlsTest extends WayContract {
    AsyncWayTlsTest() {
        super(Way.ASYNC, true);
    }
}
