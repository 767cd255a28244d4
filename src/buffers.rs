//! Buffers for gathered output: one pool per thread, so that idle connections hold none
//! and busy ones do not grow theirs anew in each turn.

use std::cell::RefCell;

/// Larger buffers are given back to the allocator. (Of 64 KiB that are gathered, or sealed, which
/// adds a little.)
const KEEP_EACH_BYTES: usize = 96 << 10;
/// What one thread keeps in all.
const KEEP_ALL_BYTES: usize = 8 << 20;

struct Pool {
    spare: Vec<Vec<u8>>,
    bytes: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { spare: Vec::new(), bytes: 0 }) };
}

/// An empty buffer, with the capacity it had in its last use.
pub(crate) fn take() -> Vec<u8> {
    // While the thread ends the pool is gone: then a new buffer does.
    POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        let buffer = pool.spare.pop().unwrap_or_default();
        pool.bytes -= buffer.capacity();
        buffer
    })
    .unwrap_or_default()
}

/// Gives a buffer back.
pub(crate) fn give(mut buffer: Vec<u8>) {
    buffer.clear();
    let capacity = buffer.capacity();
    let _ = POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        if capacity > 0 && capacity <= KEEP_EACH_BYTES && pool.bytes + capacity <= KEEP_ALL_BYTES {
            pool.bytes += capacity;
            pool.spare.push(buffer);
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_comes_back_empty_with_its_capacity_and_a_large_one_does_not() {
        let mut buffer = take();
        buffer.extend_from_slice(&[7; 1000]);
        let capacity = buffer.capacity();
        give(buffer);
        let again = take();
        assert_eq!((again.len(), again.capacity()), (0, capacity));
        give(Vec::with_capacity(KEEP_EACH_BYTES + 1));
        assert_eq!(take().capacity(), 0);
    }

    #[test]
    fn a_thread_keeps_a_bounded_number_of_bytes() {
        let each = KEEP_EACH_BYTES;
        (0..2 * KEEP_ALL_BYTES / each).for_each(|_| give(Vec::with_capacity(each)));
        let mut kept = 0;
        while take().capacity() > 0 {
            kept += each;
        }
        assert!(kept <= KEEP_ALL_BYTES && kept > KEEP_ALL_BYTES / 2, "{kept}");
    }
}
