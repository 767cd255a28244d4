package org.nativeport;

/** A program over reads and writes that complete later, plain. */
class AsyncWayTest extends WayContract {
    AsyncWayTest() {
        super(Way.ASYNC, false);
    }
}
