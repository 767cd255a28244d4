//! Structs that grow: their first member, `struct_size`, says how much of them the caller
//! was compiled with, so that old programs run with new libraries and the other way round.
//!
//! A struct has two sizes here: `FIRST`, that of version 0.2.0, which a `struct_size` of 0
//! stands for; and the present size. Output is cut to what the caller knows. Input that the
//! caller knows and we do not must be zero, otherwise it asks for something that this version
//! would silently not do. A size that no version can have is garbage, and nothing else of the
//! struct is read.

use super::ptr::Refused;

/// A struct of the header that starts with `uint32_t struct_size`.
///
/// # Safety
/// The type is `repr(C)`, its first member is `struct_size`, it has no padding, and a
/// value of all zeros is valid.
pub(super) unsafe trait Sized32: Copy {
    /// The size in version 0.2.0: a number that stays when members are added.
    const FIRST: usize;

    /// The macro that sets `struct_size` in C.
    const INIT: &'static str;
}

/// A later version may have added so much, in bytes. More is no size, but memory without a
/// value.
const MOST_UNKNOWN: usize = 1024;

/// The `struct_size` as the caller has left it; 0 is the first version.
///
/// # Safety
/// `pointer` is readable for four bytes.
unsafe fn announced<T: Sized32>(pointer: *const T) -> usize {
    // SAFETY: the first four bytes are there by the caller's promise. Read without asking for
    // alignment: this works before anything about it is known.
    match unsafe { pointer.cast::<u32>().read_unaligned() } {
        0 => T::FIRST,
        size => size as usize,
    }
}

/// The size of a caller's struct, if its `struct_size` is one.
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
    // SAFETY: not NULL, and the caller's promise.
    let size = unsafe { announced(pointer) };
    if !(T::FIRST..=size_of::<T>() + MOST_UNKNOWN).contains(&size) {
        return Err(Refused::size(what, size, T::INIT));
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

    /// A place for the news that the `struct_size` itself is garbage: what it announces is at
    /// least the first version. `None` if it is not.
    ///
    /// # Safety
    /// As [`Output::new`].
    pub(super) unsafe fn at_least_first(pointer: *mut T) -> Option<Output<T>> {
        // SAFETY: passed on to the caller.
        let whole = !pointer.is_null() && unsafe { announced(pointer) } >= T::FIRST;
        whole.then_some(Output { pointer, size: T::FIRST })
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
        const INIT: &'static str = "TWO_INIT";
    }

    #[repr(C)]
    struct Three {
        two: Two,
        third: u32,
    }

    /// What a struct had in version 0.2.0: its size, and where its last member ended.
    macro_rules! first {
        ($($type:ty: $last:ident, $size:expr;)*) => {$({
            let name = stringify!($type);
            let end = |value: &$type| std::mem::offset_of!($type, $last) + size_of_val(&value.$last);
            // SAFETY: all zeros is a value of every struct with a size.
            let zero: $type = unsafe { std::mem::zeroed() };
            assert_eq!(<$type>::FIRST, $size, "{name}");
            assert_eq!(end(&zero), $size, "{name} ended with this member");
            assert!(size_of::<$type>() >= $size, "{name} shrank");
        })*};
    }

    #[test]
    fn the_sizes_of_version_0_2_0_stay() {
        use crate::capi::{conn, handler, stats, status};
        let pointer = size_of::<usize>();
        first! {
            status::np_error: message, 512;
            handler::np_handler: on_close, 8 + 8 * pointer;
            handler::np_admission: on_close, 8 + 4 * pointer;
            conn::np_conn_info: tls_server_name, 840;
            stats::np_stats: bytes_unsent, 1264;
        }
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
    fn a_struct_size_of_0_is_the_first_version() {
        let mut zero = Two { struct_size: 0, first: 1, second: 2 };
        // SAFETY: `zero` is as large as the first version, and larger.
        let seen = unsafe { read(&raw const zero, "zero") }.unwrap();
        assert_eq!(seen, Two { struct_size: 0, first: 1, second: 0 });
        // SAFETY: likewise.
        unsafe { Output::new(&raw mut zero, "zero") }.unwrap().put(&Two {
            struct_size: 12,
            first: 8,
            second: 9,
        });
        assert_eq!(zero, Two { struct_size: 0, first: 8, second: 2 });
    }

    #[test]
    fn a_size_that_no_version_has_is_refused_before_anything_else_is_read() {
        for garbage in [1, 7, 12 + MOST_UNKNOWN as u32 + 1, 0xcccc_cccc, u32::MAX] {
            // Only these four bytes are there: Miri and sanitizers see whether more is read.
            let only = Box::new(garbage);
            let pointer = (&raw const *only).cast::<Two>();
            // SAFETY: refused for its size, which is readable.
            let refused = unsafe { read(pointer, "only") }.unwrap_err();
            let error = crate::status::Error::from(refused);
            assert_eq!(error.status, crate::status::Status::Argument);
            assert_eq!(
                error.message,
                format!(
                    "only has a struct_size of {garbage}, which no version has; TWO_INIT sets it"
                )
            );
        }
        let (mut small, mut large) = ([7_u32, 0, 0], [u32::MAX, 1, 2]);
        // SAFETY: readable where it says so; nothing is written.
        assert!(unsafe { Output::at_least_first(small.as_mut_ptr().cast::<Two>()) }.is_none());
        // SAFETY: as large as the first version, which is all that is written.
        let place = unsafe { Output::at_least_first(large.as_mut_ptr().cast::<Two>()) };
        place.unwrap().put(&Two { struct_size: 12, first: 8, second: 9 });
        assert_eq!(large, [u32::MAX, 8, 2]);
    }

    #[test]
    fn the_unknown_part_of_a_struct_within_the_bound_is_read_to_its_end() {
        let mut bytes = vec![0u32; (12 + MOST_UNKNOWN) / 4];
        bytes[0] = (12 + MOST_UNKNOWN) as u32;
        // SAFETY: as large as it says.
        assert!(unsafe { read(bytes.as_ptr().cast::<Two>(), "new") }.is_ok());
        *bytes.last_mut().unwrap() = 1;
        // SAFETY: likewise.
        assert!(unsafe { read(bytes.as_ptr().cast::<Two>(), "new") }.is_err());
    }
}
