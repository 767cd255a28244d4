//! nativeport
#![deny(unsafe_code)]
pub mod config;
pub mod status;
pub mod tls;
