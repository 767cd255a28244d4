package org.nativeport.internal;

/**
 * What a loop has to do and had no memory for: it is tried again. On a list of that loop, linked, as that needs no memory
 * either; on one at a time.
 */
abstract class Postponed {
    /** Of that list; the loop's. */
    Postponed nextPostponed;

    /** On a loop's thread. What finds no memory again is postponed again. */
    abstract void again();
}
