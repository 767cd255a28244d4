//! nativeport
#![deny(unsafe_code)]
pub mod status;
