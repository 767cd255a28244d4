package org.nativeport;

/** A program over the callback for each connection, with TLS. */
class CallbackWayTlsTest extends WayContract {
    CallbackWayTlsTest() {
        super(Way.CALLBACK, true);
    }
}
