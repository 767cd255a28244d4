package org.nativeport;

/** A program over handlers on the loops' threads, with TLS. */
class FastWayTlsTest extends WayContract {
    FastWayTlsTest() {
        super(Way.FAST, true);
    }
}
