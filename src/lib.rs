//! nativeport: a native socket layer. One port takes framed binary clients, remote
//! applications, relays and the web, with or without TLS; this crate is the core, and
//! `include/nativeport.h` its face for C.
//!
//! # The map
//!
//! A connection walks through these rooms, from top to bottom:
//!
//! | room | what happens there |
//! | --- | --- |
//! | `accept` | 1. a thread accepts it, judges the limits and deals it to a loop |
//! | `reactor` | the loops: they read and write sockets, and give each connection its turn within a budget; deadlines fire; a finished handshake is handed over |
//! | `tls` | 2. TLS: identity, handshake, records; the only room that names the TLS library |
//! | `conn` | 3. the machine of one connection: first byte, admission, input, output, deadlines, end; `handles` and `shared` are how other threads reach it |
//! | `frame` | 4. bytes become frames, frames become bytes; deflate |
//! | `consumer` | 5. who gets its events: callbacks on the loop, workers, a poll, or input that waits in an inbox |
//! | `event` | what the host is told: the narrow waist |
//!
//! These are around it:
//!
//! | room | what it holds |
//! | --- | --- |
//! | `runtime` | what the host makes and ends: runtime, listeners, loops to poll; statistics |
//! | `port` | one port as connections know it: rules, handlers, counters, listening sockets |
//! | `limits` | how many connections there may be, identified or not, by address; what they may hold in memory |
//! | `net` | sockets: binding, reading, writing, options |
//! | `config` | the INI dialect, settings, findings |
//! | `base` | buffers, locks, system calls, the log, the price of work, ends and waiting for them; switches for tests |
//! | `status` | statuses, close reasons, errors |
//! | `capi` | the C surface, one file per noun |
//!
//! A room uses only rooms below it in this order, which `tests/layers.rs` checks: `status`, `event`,
//! `base`, `frame`, `tls`, `config`, `net`, `limits`, `consumer`, `port`, `conn`, `reactor`, `accept`,
//! `runtime`, `capi`. `CONTRIBUTING.md` has questions that this map must answer.
#![deny(unsafe_code)]

// For what the tests of this crate share with those over its surface.
#[cfg(test)]
extern crate self as nativeport;

pub mod capi;
pub mod config;
pub mod event;
pub mod status;
pub mod tls;

// The public names of what lies deeper.
pub use base::log;
pub use conn::handles;
pub use runtime::{listener, poll_loop as polling, stats};

mod accept;
mod base;
mod conn;
mod consumer;
#[cfg(test)]
mod faults;
mod frame;
#[cfg(fuzzing)]
pub mod fuzzing;
#[cfg(all(test, not(fuzzing)))]
mod fuzzing;
mod limits;
#[cfg(all(test, shuttle))]
mod models;
mod net;
mod port;
mod reactor;
pub mod runtime;
#[cfg(any(test, fuzzing))]
#[cfg_attr(fuzzing, allow(dead_code))]
mod simulation;
