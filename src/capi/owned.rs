//! Owned: user data of the host, released exactly once.
//!
//! An `Owned` is made by the first statement of each function that takes user data, before
//! anything is checked: from then on every path, a refusal and a panic included, ends in
//! its destructor. Whoever keeps it calls the host only while it lives.

use std::ffi::c_void;

use super::handle::np_destroy_fn;
use super::handler::{np_admission, np_handler};
use super::sized::{self, Sized32};

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

    /// What a table hands over, read before the table is judged: nothing if its `struct_size`
    /// is garbage, since these members are then too.
    ///
    /// # Safety
    /// `table` is NULL or readable up to its `struct_size`.
    pub(super) unsafe fn of_table<T: OwningTable>(table: *const T) -> Owned {
        // SAFETY: passed on to the caller.
        if unsafe { sized::claimed(table, "table") }.is_err() {
            return Owned::new(std::ptr::null_mut(), None);
        }
        // SAFETY: not NULL. All tables begin with a `Head` (see `OwningTable`), which is there.
        let head = unsafe { table.cast::<Head>().read_unaligned() };
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
pub(super) unsafe trait OwningTable: Sized32 {}

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
