package org.nativeport;

/** A program over the callback for each connection, plain. */
class CallbackWayTest extends WayContract {
    CallbackWayTest() {
        super(Way.CALLBACK, false);
    }
}
