//! Version: which library is loaded, and what it can do.
//!
//! The numbers come from Cargo.toml alone; build.rs writes the macros of the header from
//! the same place, and a test in C compares both.

use std::ffi::{CStr, c_char};

use super::entry;
use super::ptr;

/// `"1.2.3"` with its NUL.
const VERSION: &CStr =
    match CStr::from_bytes_with_nul(concat!(env!("CARGO_PKG_VERSION"), "\0").as_bytes()) {
        Ok(text) => text,
        Err(_) => panic!("a version holds no NUL"),
    };

/// What `np_has_feature` answers yes to.
const FEATURES: &[&str] =
    &["callbacks", "workers", "poll", "inbox", "deflate", "prometheus", "tls"];

const fn part(digits: &str) -> u32 {
    match u32::from_str_radix(digits, 10) {
        Ok(number) => number,
        Err(_) => panic!("a part of a version is a number"),
    }
}

const NUMBER: u32 = part(env!("CARGO_PKG_VERSION_MAJOR")) * 1_000_000
    + part(env!("CARGO_PKG_VERSION_MINOR")) * 1_000
    + part(env!("CARGO_PKG_VERSION_PATCH"));

/// The version of the loaded library as NP_VERSION_NUMBER counts: major * 1000000 +
/// minor * 1000 + patch. Compare it with NP_VERSION_NUMBER, which is the version of the
/// header that the program was compiled with.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: no pointers
/// Fails: never
#[unsafe(no_mangle)]
pub extern "C" fn np_version_number() -> u32 {
    entry::value(0, || NUMBER)
}

/// The version of the loaded library as text, "major.minor.patch".
///
/// Thread: any
/// Blocking: no
/// Owns: the library keeps the text; it is valid for ever
/// Null: never returned
/// Fails: never
#[unsafe(no_mangle)]
pub extern "C" fn np_version_string() -> *const c_char {
    entry::value(VERSION.as_ptr(), || VERSION.as_ptr())
}

/// 1 if the loaded library has the feature, otherwise 0. Names: "callbacks", "workers", "poll"
/// (runtimes with NP_CONSUMER_...), "inbox" (NP_HANDLER_INBOX), "deflate" (compressed frames),
/// "prometheus" (np_stats_prometheus), "tls". An unknown name gives 0.
///
/// Thread: any
/// Blocking: no
/// Owns: nothing
/// Null: name may be NULL, the answer is 0
/// Fails: never
#[unsafe(no_mangle)]
pub unsafe extern "C" fn np_has_feature(name: *const c_char) -> i32 {
    entry::value(0, || {
        // SAFETY: the caller's promise for a string.
        let name = unsafe { ptr::text(name, "name") };
        i32::from(name.is_ok_and(|name| FEATURES.contains(&name)))
    })
}
