//! nativeport: a native socket layer. One port takes framed binary clients, remote
//! applications, relays and the web, with or without TLS; this crate is the core, and
//! `include/nativeport.h` its face for C.
//!
//! The path of a connection, and the file in which each step lives:
//!
//! 1. `accept`: an accepter takes it from the backlog, judges the limits and deals it to a
//!    loop; `bind` made the listening socket. `waiting` says who is evicted if too many are unidentified,
//!    `descriptors` keeps one address from taking them all.
//! 3. [`tls`]: a handshake loop does the handshake, if the port has TLS.
//! 4. `identify`: on an I/O loop the first byte says what it is; the host may be asked for
//!    admission.
//! 5. `frame`: bytes become frames, frames become bytes.
//! 6. [`event`]: the narrow waist. `dispatch` gives events to callbacks on the loop's thread,
//!    `mailbox` and `workers` to callbacks on a pool, [`polling`] to threads of the host; with
//!    an `inbox` the host takes input when it wants.
//! 7. `send`: what the host sends waits here (in a `queue`) and is flushed once per turn.
//!
//! `conn` is the machine that strings these together; it knows no socket and no
//! clock. `reactor` has the loops that move its bytes and its time.
//! [`handles`] is how everybody else reaches a connection, `shared` what they find.
//! [`runtime`] and [`listener`] are made and ended by the host; [`config`] tells them how.
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
