//! What the loops and accepters count for a port: each for itself, so that they share no cache line.

use std::sync::atomic::AtomicU64;

/// Close reasons have numbers below this.
pub const CLOSE_REASONS: usize = 128;

/// What one loop (or the accepters) counted for one port.
#[repr(align(128))]
pub(crate) struct Counters {
    pub accepted: AtomicU64,
    pub accept_errors: AtomicU64,
    pub opened: [AtomicU64; 4],
    pub closed: [AtomicU64; 4],
    pub frames_in: AtomicU64,
    pub frames_out: AtomicU64,
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub bytes_unsent: AtomicU64,
    pub closes: [AtomicU64; CLOSE_REASONS],
}

impl Counters {
    pub fn new() -> Counters {
        let zero = || AtomicU64::new(0);
        Counters {
            accepted: zero(),
            accept_errors: zero(),
            opened: [const { AtomicU64::new(0) }; 4],
            closed: [const { AtomicU64::new(0) }; 4],
            frames_in: zero(),
            frames_out: zero(),
            bytes_in: zero(),
            bytes_out: zero(),
            bytes_unsent: zero(),
            closes: [const { AtomicU64::new(0) }; CLOSE_REASONS],
        }
    }
}
