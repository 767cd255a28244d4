//! The C API: every `extern "C"` function, one noun per file, one file per section of
//! `include/nativeport.h`, in the same order.
//!
//! Thin by rule: check, convert, call, convert. The files hold the core's own values, no
//! option and no state of their own, and nothing that a Rust caller would miss. This is
//! the only folder with `unsafe`; each block says which promise of the C caller it needs.
//! The comments of exported items are the reference manual for C readers: build.rs copies
//! them into the header.
//!
//! Border files that the header does not show: `entry` (the guard around every export),
//! `ptr` (pointers to references), `sized` (structs that grow), `owned` (user data),
//! `callback` (the tables of callbacks as handlers of the core).
#![allow(unsafe_code)]
// C's names, so that the header, the source and a debugger say the same.
#![allow(non_camel_case_types)]
// What a caller must keep to stands in the lines `Thread:` to `Fails:`, for C readers.
#![allow(clippy::missing_safety_doc)]

mod callback;
mod entry;
mod owned;
mod ptr;
mod sized;

pub mod version;

pub mod status;

pub mod config;

pub mod handle;

pub mod frame;

pub mod runtime;

pub mod handler;

pub mod listener;

pub mod conn;

pub mod send;

pub mod inbox;

pub mod poll;

pub mod stats;
