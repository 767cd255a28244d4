//! nativeport
#![deny(unsafe_code)]
pub mod status;
pub mod tls;
