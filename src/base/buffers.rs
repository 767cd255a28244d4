//! Buffers that are used again. Those for gathered output lie in a pool per thread, so that idle
//! connections hold none and busy ones do not grow theirs anew in each turn. Those that travel
//! between threads, of letters and sends, lie in one pool for all: what one thread allocates and
//! another frees is given back to the system and faulted in again each time, which costs workers
//! a third of their time. What nobody uses for some seconds is given back ([`tidy`]).

use super::canary;
use crate::status::CloseReason;
use parking_lot::Mutex;
use std::cell::RefCell;
use std::time::{Duration, Instant};

/// Larger buffers are given back to the allocator. (Of 64 KiB that are gathered, or sealed, which
/// adds a little.)
const KEEP_EACH_BYTES: usize = 96 << 10;
/// What one thread keeps in all.
const KEEP_ALL_BYTES: usize = 8 << 20;

/// Takes memory for what a peer sends, in a way that may fail: then its connection ends, and
/// no other.
pub(crate) fn reserve(buffer: &mut Vec<u8>, bytes: usize) -> Result<(), CloseReason> {
    if canary::memory_is_out() {
        return Err(CloseReason::MemoryLimit);
    }
    buffer.try_reserve_exact(bytes).map_err(|_| CloseReason::MemoryLimit)
}

struct Pool {
    spare: Vec<Vec<u8>>,
    bytes: usize,
    /// So many at the front have not been used since the last [`tidy`].
    unused: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = const { RefCell::new(Pool { spare: Vec::new(), bytes: 0, unused: 0 }) };
}

/// Buffers that were not used for so long go back, or up to twice as long.
pub(crate) const TIDY: Duration = Duration::from_secs(2);

/// An empty buffer, with the capacity it had in its last use.
pub(crate) fn take() -> Vec<u8> {
    // While the thread ends the pool is gone: then a new buffer does.
    POOL.try_with(|pool| {
        let mut pool = pool.borrow_mut();
        let buffer = pool.spare.pop().unwrap_or_default();
        pool.bytes -= buffer.capacity();
        pool.unused = pool.unused.min(pool.spare.len());
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

/// Smaller ones are cheap anywhere, larger ones are rare: a class for each power of two from 4 KiB
/// on, to 2 MiB. Where `pages` keeps large allocations it serves those above 128 KiB, exactly as
/// large as they have to be.
const FIRST_CLASS: u32 = 12;
const CLASSES: usize = if HAS_PAGES { 6 } else { 10 };
const HAS_PAGES: bool = cfg!(all(feature = "pages", target_os = "linux", not(miri)));
/// What is kept of those that travel.
const KEEP_TRAVELLERS_BYTES: usize = 8 << 20;

/// Held for a push or a pop: innermost.
static TRAVELLERS: Mutex<Travellers> = Mutex::new(Travellers {
    spare: [const { Vec::new() }; CLASSES],
    bytes: 0,
    unused: [0; CLASSES],
    tidied: None,
});

struct Travellers {
    spare: [Vec<Vec<u8>>; CLASSES],
    bytes: usize,
    /// So many of each class have not been used since the last [`tidy`].
    unused: [usize; CLASSES],
    tidied: Option<Instant>,
}

/// The class of the smallest buffers that hold so much.
fn class_for(bytes: usize) -> Option<usize> {
    let class = bytes.checked_next_power_of_two()?.ilog2().checked_sub(FIRST_CLASS)?;
    (class < CLASSES as u32).then_some(class as usize)
}

/// An empty buffer with room for so many bytes, for another thread. There may be no memory for it.
pub(crate) fn for_travel(bytes: usize) -> Result<Vec<u8>, CloseReason> {
    let mut fresh = Vec::new();
    let Some(class) = class_for(bytes) else {
        reserve(&mut fresh, bytes)?;
        return Ok(fresh);
    };
    let mut travellers = TRAVELLERS.lock();
    if let Some(buffer) = travellers.spare[class].pop() {
        travellers.bytes -= buffer.capacity();
        let left = travellers.spare[class].len();
        travellers.unused[class] = travellers.unused[class].min(left);
        return Ok(buffer);
    }
    drop(travellers);
    reserve(&mut fresh, 1 << (class as u32 + FIRST_CLASS))?;
    Ok(fresh)
}

/// Gives a buffer back that has arrived.
pub(crate) fn has_arrived(mut buffer: Vec<u8>) {
    let capacity = buffer.capacity();
    // Only those of exactly a class: they are what is asked for.
    let Some(class) = class_for(capacity).filter(|_| capacity.is_power_of_two()) else { return };
    buffer.clear();
    let mut travellers = TRAVELLERS.lock();
    if travellers.bytes + capacity <= KEEP_TRAVELLERS_BYTES {
        travellers.bytes += capacity;
        travellers.spare[class].push(buffer);
    }
}

/// Gives back what nobody has used for [`TIDY`]: of the calling thread, and of all threads. Each loop
/// calls it; the buffers of all threads are looked at once in that time, however many loops there are.
/// True: something is left.
pub(crate) fn tidy() -> bool {
    let take = |spare: &mut Vec<Vec<u8>>, unused: &mut usize| -> Vec<Vec<u8>> {
        let gone = spare.drain(..*unused).collect();
        if spare.is_empty() {
            *spare = Vec::new();
        }
        *unused = spare.len();
        gone
    };
    let bytes = |gone: &[Vec<u8>]| gone.iter().map(Vec::capacity).sum::<usize>();
    let own = POOL.try_with(|pool| {
        let Pool { spare, bytes: kept, unused } = &mut *pool.borrow_mut();
        *kept -= bytes(&take(spare, unused));
        *kept > 0
    });
    let own_is_left = own.unwrap_or(false);
    let mut travellers = TRAVELLERS.lock();
    let now = Instant::now();
    if travellers.tidied.is_some_and(|tidied| now.duration_since(tidied) < TIDY) {
        return true;
    }
    travellers.tidied = Some(now);
    let Travellers { spare, bytes: kept, unused, .. } = &mut *travellers;
    let classes = spare.iter_mut().zip(unused);
    let gone: Vec<_> = classes.flat_map(|(spare, unused)| take(spare, unused)).collect();
    *kept -= bytes(&gone);
    let is_left = *kept > 0 || own_is_left;
    drop(travellers);
    drop(gone);
    #[cfg(all(feature = "pages", target_os = "linux", not(miri)))]
    let is_left = crate::base::pages::release() || is_left;
    is_left
}

/// Gives back what is kept for all threads: the last loop of a runtime has ended.
pub(crate) fn release_all() {
    let mut travellers = TRAVELLERS.lock();
    let gone = std::mem::replace(&mut travellers.spare, [const { Vec::new() }; CLASSES]);
    (travellers.bytes, travellers.unused) = (0, [0; CLASSES]);
    drop(travellers);
    drop(gone);
    #[cfg(all(feature = "pages", target_os = "linux", not(miri)))]
    {
        // What has been used since the last time goes with the second call.
        crate::base::pages::release();
        crate::base::pages::release();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_for_travel_has_room_and_comes_back_from_whatever_thread() {
        for bytes in [0, 1, 4095, 4096, 4097, 65_540, 2 << 20, (2 << 20) + 1, 5 << 20] {
            let mut buffer = for_travel(bytes).unwrap();
            assert!(buffer.is_empty() && buffer.capacity() >= bytes, "{bytes}");
            assert!(buffer.capacity() <= (2 * bytes).max(4096), "{bytes}");
            buffer.extend_from_slice(&[7; 10][..bytes.min(10)]);
            std::thread::spawn(move || has_arrived(buffer)).join().unwrap();
            assert!(for_travel(bytes).unwrap().is_empty());
        }
        let kept = || TRAVELLERS.lock().bytes;
        (0..10).for_each(|_| has_arrived(Vec::with_capacity(2 << 20)));
        assert!(kept() <= KEEP_TRAVELLERS_BYTES);
    }

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
