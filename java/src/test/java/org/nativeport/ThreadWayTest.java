package org.nativeport;

/** A program over a thread of its own for each connection, plain. */
class ThreadWayTest extends WayContract {
    ThreadWayTest() {
        super(Way.THREAD, false);
    }
}
