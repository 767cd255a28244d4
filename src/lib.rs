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
//! | `reactor` | the loops: `turn` gives each connection its visit within a budget, `wheel` fires deadlines, `registration` gives places, `loops` hands newcomers and finished handshakes over, `driven` is for loops that a host polls |
//! | `tls` | 2. TLS: `identity` (certificates and keys), `acceptor` and `engine` (handshake, records), `failure` (in words), `expiry` (warnings of dates); the only room that names the TLS library |
//! | `conn` | 3. the machine of one connection: `identify` (first byte), `input`, `requests` (what the host asks: admission and its answer byte, close, pause), `output` and its `queue`, `time` (deadlines), `end` (why) and `close` (the last steps); `handles` finds it by its number and notices a stale one, `shared` has the sends of other threads, `door` is the way to its loop |
//! | `frame` | 4. `decode` cuts frames from the stream, `encode` makes them and decides whether to compress, `deflate` does it with states from `compressors` |
//! | `consumer` | 5. who gets its events: callbacks on the loop, on `workers` (by `mailbox`), by a poll (`round`), or input that waits in an `inbox` |
//! | `event` | what the host is told: the narrow waist |
//!
//! These are around it:
//!
//! | room | what it holds |
//! | --- | --- |
//! | `runtime` | what the host makes and ends: runtime, `listener`, `poll_loop`; `stats`, and their Prometheus text |
//! | `port` | one port as connections know it: rules, handlers, `counters`, `listening` sockets, the `seat` of each connection |
//! | `limits` | `gate`: how many connections there may be, by address; `waiting`: how many unidentified ones, and who is evicted; `descriptors`; `memory`: what all may hold, and which ends when that is too much |
//! | `net` | sockets: `bind`, which also says who holds an address that is taken; `transport`: reading, writing, options |
//! | `config` | the INI dialect: `scan`, `document`, `keys` (all keys), `settings` (typed), `check` and `finding` (what is wrong, with a `hint`), `overlap` (addresses that exclude each other) |
//! | `base` | `host` (code of the host on our threads), `buffers`, locks, system calls, the `log`, the price of work (`budget`), ends and waiting for them (`life`); switches for tests |
//! | `status` | statuses, close reasons, errors |
//! | `capi` | the C surface, one file per noun |
//!
//! A room uses only rooms that come earlier in this list; `tests/layers.rs` checks it: `status`, `event`,
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
