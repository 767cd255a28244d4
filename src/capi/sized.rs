//! Structs that grow: their first member, `struct_size`, says how much of them the caller
//! was compiled with, so that old programs run with new libraries and the other way round.
//!
//! A struct has two sizes here: `FIRST`, what the first version that had it knew, below
//! which a caller has forgotten to set the member; and the present size. Output is cut to
//! what the caller knows. Input that the caller knows and we do not must be zero,
//! otherwise it asks for something that this version would silently not do.

use super::ptr::Refused;

/// A struct of the header that starts with `uint32_t struct_size`.
///
/// # Safety
/// The type is `repr(C)`, its first member is `struct_size`, it has no padding, and a
/// value of all zeros is valid.
pub(super) unsafe trait Sized32: Copy {
    /// The size of the first version that was released.
    const FIRST: usize;
}

/// The `struct_size` that the caller has set, if it is one.
///
/// # Safety
/// `pointer` is NULL or readable up to its `struct_size`.
pub(super) unsafe fn claimed<T: Sized32>(
    pointer: *const T,
    what: &'static str,
) -> Result<usize, Refused> {
    if pointer.is_null() {
        return Err(Refused::argument(what, "is NULL"));
    }
    // SAFETY: not NULL, and the first four bytes are there by the caller's promise. Read
    // without asking for alignment: this works before anything about it is known.
    let size = unsafe { pointer.cast::<u32>().read_unaligned() } as usize;
    if size < T::FIRST {
        return Err(Refused::argument(what, "has a struct_size that is too small"));
    }
    Ok(size)
}

/// Reads an input struct; members that the caller does not know are zero.
///
/// # Safety
/// `pointer` is NULL or readable up to its `struct_size`.
pub(super) unsafe fn read<T: Sized32>(pointer: *const T, what: &'static str) -> Result<T, Refused> {
    // SAFETY: passed on to the caller.
    let size = unsafe { claimed(pointer, what)? };
    if size > isize::MAX as usize {
        return Err(Refused::argument(what, "has a struct_size that is too large"));
    }
    let known = size.min(size_of::<T>());
    // SAFETY: readable up to `size` by the caller's promise.
    let unknown =
        unsafe { std::slice::from_raw_parts(pointer.cast::<u8>().add(known), size - known) };
    if unknown.iter().any(|&byte| byte != 0) {
        return Err(Refused::unsupported(what, "uses a member that this version does not know"));
    }
    // SAFETY: all zeros is a value of `T`, and so is any prefix of a `T` in front of zeros,
    // because members are plain numbers, pointers and nullable functions.
    unsafe {
        let mut value: T = std::mem::zeroed();
        std::ptr::copy_nonoverlapping(pointer.cast::<u8>(), (&raw mut value).cast(), known);
        Ok(value)
    }
}

/// Where an output struct goes.
pub(super) struct Output<T> {
    pointer: *mut T,
    size: usize,
}

impl<T: Sized32> Output<T> {
    /// # Safety
    /// `pointer` is NULL or writable up to its `struct_size`, until the call ends.
    pub(super) unsafe fn new(pointer: *mut T, what: &'static str) -> Result<Output<T>, Refused> {
        // SAFETY: passed on to the caller.
        let size = unsafe { claimed(pointer, what)? };
        Ok(Output { pointer, size: size.min(size_of::<T>()) })
    }

    /// Writes what the caller knows. `struct_size` keeps the caller's value.
    pub(super) fn put(self, value: &T) {
        let head = size_of::<u32>();
        // SAFETY: writable up to `size` by the promise to `new`, which is at least FIRST
        // and so more than the head, and at most the size of `T`.
        unsafe {
            std::ptr::copy_nonoverlapping(
                (&raw const *value).cast::<u8>().add(head),
                self.pointer.cast::<u8>().add(head),
                self.size - head,
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[repr(C)]
    #[derive(Clone, Copy, Debug, PartialEq, Eq)]
    struct Two {
        struct_size: u32,
        first: u32,
        second: u32,
    }

    // SAFETY: repr(C), three numbers of the same size, struct_size first.
    unsafe impl Sized32 for Two {
        const FIRST: usize = 8;
    }

    #[repr(C)]
    struct Three {
        two: Two,
        third: u32,
    }

    #[test]
    fn an_older_caller_gets_and_gives_only_what_it_knows() {
        let mut old = Two { struct_size: 8, first: 1, second: 2 };
        // SAFETY: `old` is larger than it says.
        let seen = unsafe { read(&raw const old, "old") }.unwrap();
        assert_eq!(seen, Two { struct_size: 8, first: 1, second: 0 });
        // SAFETY: likewise.
        let output = unsafe { Output::new(&raw mut old, "old") }.unwrap();
        output.put(&Two { struct_size: 12, first: 8, second: 9 });
        assert_eq!(old, Two { struct_size: 8, first: 8, second: 2 });
    }

    #[test]
    fn a_newer_caller_may_not_ask_for_what_is_unknown_here() {
        let mut new = Three { two: Two { struct_size: 16, first: 1, second: 2 }, third: 0 };
        // SAFETY: `new` is as large as it says.
        assert!(unsafe { read((&raw const new).cast::<Two>(), "new") }.is_ok());
        new.third = 1;
        // SAFETY: likewise.
        assert!(unsafe { read((&raw const new).cast::<Two>(), "new") }.is_err());
    }

    #[test]
    fn a_forgotten_struct_size_is_refused() {
        let forgotten = Two { struct_size: 0, first: 1, second: 2 };
        // SAFETY: `forgotten` is larger than it says.
        assert!(unsafe { read(&raw const forgotten, "forgotten") }.is_err());
    }
}
