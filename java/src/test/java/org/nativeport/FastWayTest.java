package org.nativeport;

/** A program over handlers on the loops' threads, plain. */
class FastWayTest extends WayContract {
    FastWayTest() {
        super(Way.FAST, false);
    }
}
