//! Status: what calls answer, why connections end, and the words for both.
//!
//! Numbers, names and messages come from the two tables in `src/status.rs`; this file adds
//! the NUL that C wants at their ends. The constants stand in the header only, written by
//! build.rs from the same tables.

use std::ffi::c_char;

use super::entry;
use super::ptr::{self, Refused};
use super::sized::{self, Output, Sized32};
use crate::event::{Party, Stage};
use crate::status::{CloseReason, Error, Status};

/// What a call answers: NP_OK, or a negative NP_ERR_ constant. The numbers are frozen.
pub type np_status = i32;

/// Why a call failed, in words. Callers own it and set struct_size first (NP_ERROR_INIT
/// does); functions that take one write it only when they fail.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct np_error {
    /// sizeof(np_error), set by the caller.
    pub struct_size: u32,
    /// The status that the call returned.
    pub status: np_status,
    /// errno of the operating system, 0 if it was not involved.
    pub os_error: i32,
    /// The TLS alert, -1 if there was none.
    pub tls_alert: i32,
    /// Bytes that the whole message needs with its NUL; above sizeof message it was cut.
    pub message_size: u32,
    /// One line of UTF-8 that names the place and the remedy.
    pub message: [c_char; 492],
}

// SAFETY: repr(C), five members of four bytes and an array of bytes that fills up to 512.
unsafe impl Sized32 for np_error {
    const FIRST: usize = 512;
    const INIT: &'static str = "NP_ERROR_INIT";
}

const _: () = assert!(size_of::<np_error>() == 512);

impl np_error {
    /// An empty one; what NP_ERROR_INIT makes in C.
    pub(super) const fn new() -> np_error {
        np_error {
            struct_size: size_of::<np_error>() as u32,
            status: 0,
            os_error: 0,
            tls_alert: -1,
            message_size: 0,
            message: [0; 492],
        }
    }

    /// # Safety
    /// `error` is NULL or readable up to its `struct_size`.
    pub(super) unsafe fn check(error: *const np_error) -> Result<(), Refused> {
        if error.is_null() {
            return Ok(());
        }
        // SAFETY: passed on to the caller.
        unsafe { sized::claimed(error, "error") }.map(|_| ())
    }

    /// Writes `failure`, if there is a usable place for it.
    ///
    /// # Safety
    /// `error` is NULL or writable up to its `struct_size`.
    pub(super) unsafe fn put(error: *mut np_error, failure: &Error) {
        // SAFETY: passed on to the caller. NULL is no place, nor is too small a size.
        let output = match unsafe { Output::new(error, "error") } {
            Ok(output) => Some(output),
            // SAFETY: likewise.
            Err(_) => unsafe { Output::at_least_first(error) },
        };
        let Some(output) = output else { return };
        let mut value = np_error::new();
        value.status = failure.status.code();
        value.os_error = failure.os_error;
        value.tls_alert = failure.tls_alert;
        let needed = ptr::fill(&mut value.message, &failure.message);
        value.message_size = u32::try_from(needed).unwrap_or(u32::MAX);
        output.put(&value);
    }
}

/// `before` and `text` with a NUL, in a fixed place, made by the compiler. Too long a text
/// is an error of compilation.
const fn ended<const N: usize>(before: &str, text: &str) -> [u8; N] {
    let mut out = [0; N];
    let (before, text) = (before.as_bytes(), text.as_bytes());
    assert!(before.len() + text.len() < N, "the text does not fit with its NUL");
    let mut at = 0;
    while at < before.len() {
        out[at] = before[at];
        at += 1;
    }
    while at - before.len() < text.len() {
        out[at] = text[at - before.len()];
        at += 1;
    }
    out
}

/// A table of texts that end with NUL, in the order of `ALL`.
macro_rules! table {
    ($name:ident, $size:literal, $of:ident, $before:literal, $text:ident) => {
        static $name: [[u8; $size]; $of::ALL.len()] = {
            let mut out = [[0; $size]; $of::ALL.len()];
            let mut at = 0;
            while at < out.len() {
                out[at] = ended($before, $of::ALL[at].$text());
                at += 1;
            }
            out
        };
    };
}

table!(STATUS_NAMES, 40, Status, "NP_", name);
table!(STATUS_MESSAGES, 128, Status, "", message);
table!(REASON_NAMES, 40, CloseReason, "", name);
table!(PARTY_NAMES, 16, Party, "", name);
table!(STAGE_NAMES, 16, Stage, "", name);

fn text_of<const N: usize>(table: &'static [[u8; N]], index: Option<usize>) -> *const c_char {
    match index {
        Some(index) => table[index].as_ptr().cast(),
        None => c"unknown".as_ptr(),
    }
}

/// The name of a status as this header writes it, for example "NP_ERR_CLOSED"; "unknown"
/// for a number that is none.
///
/// Thread: any
/// Blocking: no
/// Owns: the library keeps the text; it is valid for ever
/// Null: never returned
/// Fails: never
#[unsafe(no_mangle)]
pub extern "C" fn np_status_name(status: np_status) -> *const c_char {
    entry::value(c"unknown".as_ptr(), || {
        text_of(&STATUS_NAMES, Status::ALL.iter().position(|entry| entry.code() == status))
    })
}

/// One sentence about a status; "unknown" for a number that is none.
///
/// Thread: any
/// Blocking: no
/// Owns: the library keeps the text; it is valid for ever
/// Null: never returned
/// Fails: never
#[unsafe(no_mangle)]
pub extern "C" fn np_status_message(status: np_status) -> *const c_char {
    entry::value(c"unknown".as_ptr(), || {
        text_of(&STATUS_MESSAGES, Status::ALL.iter().position(|entry| entry.code() == status))
    })
}

/// The name of a close reason as logs and statistics write it, for example "peer_closed"
/// for NP_CLOSE_PEER_CLOSED; "unknown" for a number that is none.
///
/// Thread: any
/// Blocking: no
/// Owns: the library keeps the text; it is valid for ever
/// Null: never returned
/// Fails: never
#[unsafe(no_mangle)]
pub extern "C" fn np_close_reason_name(reason: i32) -> *const c_char {
    entry::value(c"unknown".as_ptr(), || {
        text_of(&REASON_NAMES, CloseReason::ALL.iter().position(|entry| entry.code() == reason))
    })
}

/// The name of who ended a connection, as "peer" for NP_BY_PEER; "unknown" for a number that
/// is none.
///
/// Thread: any
/// Blocking: no
/// Owns: the library keeps the text; it is valid for ever
/// Null: never returned
/// Fails: never
#[unsafe(no_mangle)]
pub extern "C" fn np_close_by_name(by: i32) -> *const c_char {
    entry::value(c"unknown".as_ptr(), || {
        text_of(&PARTY_NAMES, Party::ALL.iter().position(|entry| *entry as i32 == by))
    })
}

/// The name of how far a connection had come, as "identify" for NP_STAGE_IDENTIFY; "unknown"
/// for a number that is none.
///
/// Thread: any
/// Blocking: no
/// Owns: the library keeps the text; it is valid for ever
/// Null: never returned
/// Fails: never
#[unsafe(no_mangle)]
pub extern "C" fn np_close_stage_name(stage: i32) -> *const c_char {
    entry::value(c"unknown".as_ptr(), || {
        text_of(&STAGE_NAMES, Stage::ALL.iter().position(|entry| *entry as i32 == stage))
    })
}
