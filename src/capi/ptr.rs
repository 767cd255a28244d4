//! Pointers of C callers to references, slices and strings, and back into their buffers.
//!
//! Everything that can be checked at run time is checked here: NULL, alignment, lengths,
//! UTF-8. What cannot be checked is the promise of the header: that a pointer leads to
//! what its type says, for as long as the call lasts, and that nobody writes to it
//! meanwhile. The SAFETY texts call that "the caller's promise".

use std::ffi::{CStr, c_char};

use crate::status::{Error, Status};

/// An argument that was turned down, before anything was done.
#[derive(Debug)]
pub(super) struct Refused {
    status: Status,
    what: &'static str,
    why: Why,
}

#[derive(Debug)]
enum Why {
    Text(&'static str),
    /// A `struct_size`, and what sets it.
    Size(usize, &'static str),
}

impl Refused {
    pub(super) const fn argument(what: &'static str, why: &'static str) -> Refused {
        Refused { status: Status::Argument, what, why: Why::Text(why) }
    }

    pub(super) const fn unsupported(what: &'static str, why: &'static str) -> Refused {
        Refused { status: Status::Unsupported, what, why: Why::Text(why) }
    }

    pub(super) const fn size(what: &'static str, size: usize, init: &'static str) -> Refused {
        Refused { status: Status::Argument, what, why: Why::Size(size, init) }
    }
}

impl From<Refused> for Status {
    fn from(refused: Refused) -> Status {
        refused.status
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Error {
        let what = refused.what;
        let message = match refused.why {
            Why::Text(why) => format!("{what} {why}"),
            Why::Size(size, init) => {
                format!("{what} has a struct_size of {size}, which no version has; {init} sets it")
            }
        };
        Error::new(refused.status, message)
    }
}

/// No host has so much memory in one piece. A larger size is a negative number that was
/// converted, or comes from memory without a value.
const MOST_BYTES: usize = if size_of::<usize>() < 8 { isize::MAX as usize } else { 1 << 40 };

/// Whether `count` values can be there at all.
fn possible<T>(count: usize, what: &'static str) -> Result<(), Refused> {
    match count.checked_mul(size_of::<T>()) {
        Some(size) if size <= MOST_BYTES => Ok(()),
        _ => Err(Refused::argument(what, "has a length above 1 TiB")),
    }
}

fn usable<T>(pointer: *const T, what: &'static str) -> Result<(), Refused> {
    if pointer.is_null() {
        return Err(Refused::argument(what, "is NULL"));
    }
    if !pointer.is_aligned() {
        return Err(Refused::argument(what, "is not aligned for its type"));
    }
    Ok(())
}

/// # Safety
/// The caller's promise, for `'a`.
pub(super) unsafe fn reference<'a, T>(
    pointer: *const T,
    what: &'static str,
) -> Result<&'a T, Refused> {
    usable(pointer, what)?;
    // SAFETY: not NULL, aligned, and the caller's promise.
    Ok(unsafe { &*pointer })
}

/// A place for an output. Nothing is written before [`Out::put`].
pub(super) struct Out<T>(*mut T);

impl<T> Out<T> {
    /// # Safety
    /// The caller's promise: `pointer` is writable until the call ends.
    pub(super) unsafe fn new(pointer: *mut T, what: &'static str) -> Result<Out<T>, Refused> {
        usable(pointer, what)?;
        Ok(Out(pointer))
    }

    /// As [`Out::new`]; NULL means that the caller does not want the output.
    ///
    /// # Safety
    /// As [`Out::new`].
    pub(super) unsafe fn optional(pointer: *mut T, what: &'static str) -> Result<Out<T>, Refused> {
        if pointer.is_null() {
            return Ok(Out(pointer));
        }
        // SAFETY: passed on to the caller.
        unsafe { Out::new(pointer, what) }
    }

    pub(super) fn put(self, value: T) {
        if !self.0.is_null() {
            // SAFETY: checked and promised when the place was made. `write` does not
            // read what was there, which may be uninitialised.
            unsafe { self.0.write(value) };
        }
    }
}

/// Room for `count` values, which are written only while the call lasts.
///
/// # Safety
/// The caller's promise, for `'a`; the values may be anything of their type.
pub(super) unsafe fn slice_mut<'a, T>(
    pointer: *mut T,
    count: usize,
    what: &'static str,
) -> Result<&'a mut [T], Refused> {
    usable(pointer, what)?;
    possible::<T>(count, what)?;
    // SAFETY: not NULL, aligned, of a possible length, and the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, count) })
}

/// `count` values; NULL is fine when there are none.
///
/// # Safety
/// The caller's promise, for `'a`.
pub(super) unsafe fn slice<'a, T>(
    pointer: *const T,
    count: usize,
    what: &'static str,
) -> Result<&'a [T], Refused> {
    if count == 0 {
        return Ok(&[]);
    }
    usable(pointer, what)?;
    possible::<T>(count, what)?;
    // SAFETY: not NULL, aligned, of a possible size, and the caller's promise.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// The bytes of a string, without its NUL.
///
/// # Safety
/// The caller's promise, for `'a`: the string ends with a NUL.
pub(super) unsafe fn c_bytes<'a>(
    pointer: *const c_char,
    what: &'static str,
) -> Result<&'a [u8], Refused> {
    usable(pointer, what)?;
    // SAFETY: not NULL, and the caller's promise.
    Ok(unsafe { CStr::from_ptr(pointer) }.to_bytes())
}

/// A string of UTF-8.
///
/// # Safety
/// As [`c_bytes`].
pub(super) unsafe fn text<'a>(
    pointer: *const c_char,
    what: &'static str,
) -> Result<&'a str, Refused> {
    // SAFETY: passed on to the caller.
    let bytes = unsafe { c_bytes(pointer, what)? };
    std::str::from_utf8(bytes).map_err(|_| Refused::argument(what, "is not UTF-8"))
}

/// A caller's buffer for a text and the place for the size that the text needs.
pub(super) struct TextBuffer {
    buffer: *mut c_char,
    size: usize,
    needed: Out<usize>,
}

impl TextBuffer {
    /// # Safety
    /// The caller's promise: `buffer` has `size` writable bytes, `needed` is NULL or
    /// writable, until the call ends.
    pub(super) unsafe fn new(
        buffer: *mut c_char,
        size: usize,
        needed: *mut usize,
    ) -> Result<TextBuffer, Refused> {
        if buffer.is_null() && size != 0 {
            return Err(Refused::argument("buffer", "is NULL and its size is not 0"));
        }
        possible::<c_char>(size, "buffer")?;
        // SAFETY: passed on to the caller.
        let needed = unsafe { Out::optional(needed, "needed")? };
        Ok(TextBuffer { buffer, size, needed })
    }

    /// Writes the whole text and its NUL, or nothing; the needed size always.
    pub(super) fn put(self, text: &str) -> Result<(), Status> {
        let needed = text.len() + 1;
        self.needed.put(needed);
        if needed > self.size {
            return Err(Status::BufferTooSmall);
        }
        // SAFETY: `new` was promised `size` writable bytes, and `needed` fits. The text
        // is memory of ours, so the two cannot overlap.
        unsafe {
            std::ptr::copy_nonoverlapping(text.as_ptr(), self.buffer.cast(), text.len());
            self.buffer.add(text.len()).write(0);
        }
        Ok(())
    }
}

/// Copies `text` into a fixed array of a struct, cut at a character's border and always
/// ended with a NUL. Gives the size that the whole text needs.
pub(super) fn fill(array: &mut [c_char], text: &str) -> usize {
    let mut end = text.len().min(array.len() - 1);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    for (place, &byte) in array.iter_mut().zip(&text.as_bytes()[..end]) {
        *place = byte as c_char;
    }
    array[end] = 0;
    text.len() + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cut_text_ends_at_a_whole_character() {
        let mut array = [1 as c_char; 4];
        assert_eq!(fill(&mut array, "abß"), 5);
        assert_eq!(array[..3], [b'a' as c_char, b'b' as c_char, 0]);
    }

    #[test]
    fn an_impossible_length_is_refused() {
        let byte = 0u8;
        for count in [usize::MAX, usize::MAX / 2, 1 << 46, MOST_BYTES + 1] {
            // SAFETY: refused before the pointer is used.
            assert!(unsafe { slice(&raw const byte, count, "data") }.is_err());
            // SAFETY: likewise.
            assert!(unsafe { slice_mut((&raw const byte).cast_mut(), count, "data") }.is_err());
            let buffer = (&raw const byte).cast_mut().cast();
            // SAFETY: likewise.
            assert!(unsafe { TextBuffer::new(buffer, count, std::ptr::null_mut()) }.is_err());
        }
        let words = [0u64; 2];
        // SAFETY: likewise; each is a possible length of bytes.
        assert!(unsafe { slice(words.as_ptr(), MOST_BYTES / 8 + 1, "words") }.is_err());
        // SAFETY: no bytes are read.
        assert!(unsafe { slice::<u8>(std::ptr::null(), 0, "data") }.is_ok());
    }
}
