//! Owned: user data of the host, released exactly once.
//!
//! An `Owned` is made by the first statement of each function that takes user data, before
//! anything is checked: from then on every path, a refusal and a panic included, ends in
//! its destructor. Whoever keeps it calls the host only while it lives.

use std::ffi::c_void;

use super::handle::np_destroy_fn;
use super::handler::{np_admission, np_handler};

/// A host's pointer and the function that releases it.
pub(super) struct Owned {
    pointer: *mut c_void,
    destroy: np_destroy_fn,
}

// SAFETY: the header demands that user data may be used and released from any thread.
unsafe impl Send for Owned {}
// SAFETY: likewise; nothing here reads through the pointer.
unsafe impl Sync for Owned {}

impl Owned {
    pub(super) const fn new(pointer: *mut c_void, destroy: np_destroy_fn) -> Owned {
        Owned { pointer, destroy }
    }

    /// What a table hands over, read before the table is judged. Too small a `struct_size`
    /// for these members means that there are none.
    ///
    /// # Safety
    /// `table` is NULL or readable up to its `struct_size`.
    pub(super) unsafe fn of_table<T: OwningTable>(table: *const T) -> Owned {
        if table.is_null() {
            return Owned::new(std::ptr::null_mut(), None);
        }
        let head = table.cast::<Head>();
        // SAFETY: not NULL, and the first four bytes are there by the caller's promise.
        let size = unsafe { (&raw const (*head).struct_size).read_unaligned() } as usize;
        if size < size_of::<Head>() {
            return Owned::new(std::ptr::null_mut(), None);
        }
        // SAFETY: all tables begin with a `Head` (see `OwningTable`), and it is there.
        let head = unsafe { head.read_unaligned() };
        Owned::new(head.user_data, head.destroy)
    }

    pub(super) const fn pointer(&self) -> *mut c_void {
        self.pointer
    }
}

impl Drop for Owned {
    fn drop(&mut self) {
        if let Some(destroy) = self.destroy.take() {
            // SAFETY: the host's own pair, called once: `take` and the end of `self`.
            unsafe { destroy(self.pointer) };
        }
    }
}

/// How every table of callbacks begins.
#[repr(C)]
#[derive(Clone, Copy)]
struct Head {
    struct_size: u32,
    flags: u32,
    user_data: *mut c_void,
    destroy: np_destroy_fn,
}

/// A table of callbacks.
///
/// # Safety
/// The type is `repr(C)` and begins with the members of `Head`.
pub(super) unsafe trait OwningTable {}

// SAFETY: see its definition; a test compares the offsets.
unsafe impl OwningTable for np_handler {}
// SAFETY: likewise.
unsafe impl OwningTable for np_admission {}

const _: () = {
    assert!(std::mem::offset_of!(Head, user_data) == std::mem::offset_of!(np_handler, user_data));
    assert!(std::mem::offset_of!(Head, destroy) == std::mem::offset_of!(np_handler, destroy));
    assert!(std::mem::offset_of!(Head, user_data) == std::mem::offset_of!(np_admission, user_data));
    assert!(std::mem::offset_of!(Head, destroy) == std::mem::offset_of!(np_admission, destroy));
};
