//! Large buffers come from the system and go back to it. The third file of the core with `unsafe`:
//! the allocator of a library or program that this crate is linked into (feature `pages`).
//!
//! From 128 KiB on an allocation is a mapping of its own, which leaves the process when it is freed.
//! glibc does that too, until a program has freed the first one: then it raises its threshold, up to
//! 32 MiB, and what a burst has left between small allocations stays for good. Its thresholds belong to the
//! host and are not touched. Smaller allocations go where they always went.
//!
//! Fresh mappings cost a fault per page, so some that were freed are kept for the next allocation of
//! their size, and leave when they have not been used for some seconds ([`release`]).
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::ptr::{self, null_mut};
use std::sync::Mutex;

/// From here on an allocation is a mapping. Smaller ones would be too many for the system's limit
/// of mappings (65,530 by default, and mappings that lie beside one another count as one). A connection has a
/// few at most, so that more than 20,000 connections need a higher `vm.max_map_count`.
const LARGE_BYTES: usize = 128 << 10;
const PAGE_BYTES: usize = 4096;
/// What is kept in all, and the largest of them: 64 connections that each receive frames of 1 MiB at the
/// same time take twice as long with 8 MiB. [`release`] takes what is not in use again soon.
const KEEP_ALL_BYTES: usize = 96 << 20;
const KEEP_EACH_BYTES: usize = 4 << 20;
const KEEP: usize = 256;

/// The allocator.
struct Pages;

#[global_allocator]
static PAGES: Pages = Pages;

/// A mapping that is kept: address and bytes.
type Mapping = (usize, usize);

struct Spare {
    mappings: [Mapping; KEEP],
    count: usize,
    bytes: usize,
    /// So many at the front have not been used since the last release.
    unused: usize,
}

/// Never waited for, so that neither a fork nor code of the lock itself that allocates can block.
static SPARE: Mutex<Spare> =
    Mutex::new(Spare { mappings: [(0, 0); KEEP], count: 0, bytes: 0, unused: 0 });

impl Spare {
    fn take_at(&mut self, index: usize) -> Mapping {
        let mapping = self.mappings[index];
        self.mappings.copy_within(index + 1..self.count, index);
        self.count -= 1;
        self.bytes -= mapping.1;
        self.unused -= usize::from(index < self.unused);
        mapping
    }

    fn take(&mut self, bytes: usize) -> Option<Mapping> {
        let index = self.mappings[..self.count].iter().rposition(|mapping| mapping.1 == bytes)?;
        Some(self.take_at(index))
    }
}

fn is_large(layout: Layout) -> bool {
    layout.size() >= LARGE_BYTES && layout.align() <= PAGE_BYTES
}

/// What is mapped for an allocation: so that those of nearly the same size are the same. What is not
/// touched costs address space only.
fn mapped_bytes(size: usize) -> Option<usize> {
    size.checked_next_multiple_of((size.checked_next_power_of_two()? / 16).max(PAGE_BYTES))
}

fn map(bytes: usize) -> *mut u8 {
    let (access, kind) =
        (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS);
    // SAFETY: a new mapping.
    let address = unsafe { libc::mmap(null_mut(), bytes, access, kind, -1, 0) };
    if address == libc::MAP_FAILED { null_mut() } else { address.cast() }
}

/// Gives a mapping back to the system.
///
/// # Safety
///
/// It is one of [`map`], as large as that, and nobody uses it any more.
unsafe fn unmap((address, bytes): Mapping) {
    // SAFETY: the caller's promise.
    unsafe { libc::munmap(ptr::with_exposed_provenance_mut(address), bytes) };
}

/// Gives back what has not been used since the last call. True: something is left.
pub(crate) fn release() -> bool {
    let Ok(mut spare) = SPARE.try_lock() else { return true };
    let (mut gone, mut count) = ([(0, 0); KEEP], 0);
    while spare.unused > 0 {
        gone[count] = spare.take_at(0);
        count += 1;
    }
    spare.unused = spare.count;
    let is_left = spare.count > 0;
    drop(spare);
    for mapping in &gone[..count] {
        // SAFETY: it was freed, and is not kept any more.
        unsafe { unmap(*mapping) };
    }
    is_left
}

// SAFETY: large allocations are mappings, which their size and alignment tells; the system's
// allocator does all others.
unsafe impl GlobalAlloc for Pages {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc(layout) };
        }
        let Some(bytes) = mapped_bytes(layout.size()) else { return null_mut() };
        if bytes <= KEEP_EACH_BYTES
            && let Ok(mut spare) = SPARE.try_lock()
            && let Some((address, _)) = spare.take(bytes)
        {
            return ptr::with_exposed_provenance_mut(address);
        }
        map(bytes)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if !is_large(layout) {
            // SAFETY: the caller's promise.
            return unsafe { System.alloc_zeroed(layout) };
        }
        mapped_bytes(layout.size()).map_or(null_mut(), map)
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller has made sure that it is a layout.
        let to = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        match (is_large(layout), is_large(to)) {
            // SAFETY: the caller's promise.
            (false, false) => unsafe { System.realloc(pointer, layout, size) },
            (true, true) => {
                let Some(new_bytes) = mapped_bytes(size) else { return null_mut() };
                // It was mapped, so this is a number.
                let bytes = mapped_bytes(layout.size()).unwrap_or(layout.size());
                if bytes == new_bytes {
                    return pointer;
                }
                let flags = libc::MREMAP_MAYMOVE;
                // SAFETY: it is a mapping as large as that, and belongs to the caller alone.
                let moved = unsafe { libc::mremap(pointer.cast(), bytes, new_bytes, flags) };
                if moved == libc::MAP_FAILED { null_mut() } else { moved.cast() }
            }
            _ => {
                // SAFETY: `to` is not empty, as `size` is not.
                let new = unsafe { self.alloc(to) };
                if !new.is_null() {
                    // SAFETY: both are as large as that, and they do not overlap; the old one is
                    // the caller's to give up.
                    unsafe {
                        ptr::copy_nonoverlapping(pointer, new, layout.size().min(size));
                        self.dealloc(pointer, layout);
                    }
                }
                new
            }
        }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        if !is_large(layout) {
            // SAFETY: the caller's promise.
            return unsafe { System.dealloc(pointer, layout) };
        }
        // It was mapped, so this is a number.
        let bytes = mapped_bytes(layout.size()).unwrap_or(layout.size());
        let mapping = (pointer.expose_provenance(), bytes);
        if bytes > KEEP_EACH_BYTES {
            // SAFETY: it is a mapping as large as that, and the caller gives it up.
            return unsafe { unmap(mapping) };
        }
        let Ok(mut spare) = SPARE.try_lock() else {
            // SAFETY: likewise.
            return unsafe { unmap(mapping) };
        };
        // The oldest ones leave for it.
        let (mut gone, mut count) = ([(0, 0); KEEP], 0);
        while spare.count == KEEP || spare.bytes + bytes > KEEP_ALL_BYTES {
            gone[count] = spare.take_at(0);
            count += 1;
        }
        let index = spare.count;
        spare.mappings[index] = mapping;
        spare.count += 1;
        spare.bytes += bytes;
        drop(spare);
        for mapping in &gone[..count] {
            // SAFETY: it was freed, and is not kept any more.
            unsafe { unmap(*mapping) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes that differ from page to page.
    fn pattern(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i / 1000) as u8).collect()
    }

    #[test]
    fn buffers_keep_their_bytes_while_they_grow_and_shrink_over_the_threshold() {
        let mut buffer = Vec::new();
        for len in [1, LARGE_BYTES - 1, LARGE_BYTES, LARGE_BYTES + 1, 3 << 20, 40 << 20] {
            buffer.extend_from_slice(&pattern(len)[buffer.len()..]);
            buffer.shrink_to_fit();
            assert!(buffer == pattern(len), "{len}");
        }
        for len in [5 << 20, LARGE_BYTES, LARGE_BYTES - 1, 10] {
            buffer.truncate(len);
            buffer.shrink_to_fit();
            assert!(buffer == pattern(len), "{len}");
        }
    }

    #[test]
    fn what_was_kept_is_not_taken_for_zeroed_memory_and_is_bounded() {
        for bytes in [LARGE_BYTES, 1 << 20, 3 << 20] {
            (0..20).for_each(|_| drop(vec![7u8; bytes]));
            let all: Vec<_> = (0..20).map(|_| vec![0u8; bytes]).collect();
            assert!(all.iter().all(|buffer| buffer.iter().all(|byte| *byte == 0)));
            drop(all);
            let spare = SPARE.lock().unwrap();
            let sum: usize = spare.mappings[..spare.count].iter().map(|mapping| mapping.1).sum();
            assert_eq!(sum, spare.bytes);
            assert!(spare.bytes <= KEEP_ALL_BYTES && spare.unused <= spare.count);
        }
    }

    #[test]
    fn a_size_that_cannot_be_is_an_error() {
        let mut buffer = Vec::<u8>::new();
        assert!(buffer.try_reserve_exact(isize::MAX as usize).is_err());
        buffer.extend_from_slice(&pattern(LARGE_BYTES));
        assert!(buffer.try_reserve_exact(isize::MAX as usize - LARGE_BYTES).is_err());
        assert!(buffer == pattern(LARGE_BYTES));
    }
}
