//! What all connections and ports of a runtime share.

use crate::base::life::Life;
use crate::base::log::{Level, Log};
use crate::consumer::Consumer;
use crate::consumer::workers::Pool;
use crate::frame::compressors::Compressors;
use crate::limits::descriptors::Descriptors;
use crate::limits::memory::Memory;
use crate::limits::waiting::Waiting;
use crate::tls::expiry;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::Arc;
#[cfg(any(test, fuzzing))]
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

/// Where time comes from.
pub(crate) enum Clock {
    /// Since then.
    Real(Instant),
    /// Set by a test, in milliseconds.
    #[cfg(any(test, fuzzing))]
    Simulated(Arc<AtomicU64>),
}

pub(crate) struct Commons {
    pub clock: Clock,
    pub consumer: Consumer,
    /// If they are the consumer.
    pub workers: Option<Pool>,
    pub log: Arc<Log>,
    pub memory: Arc<Memory>,
    pub compressors: Compressors,
    /// The unidentified connections of all ports without a `maxHandshakes` of their own.
    pub waiting: Arc<Waiting>,
    pub descriptors: Descriptors,
    /// The runtime's: its listeners, and its own hold.
    pub life: Life,
    /// Warnings of the configuration that the log has: listeners share sections.
    pub warned: Mutex<HashSet<String>>,
}

impl Commons {
    /// Logs a warning, unless it was logged before or the log does not take warnings.
    pub fn warn_once(&self, stage: &'static str, text: String) {
        if self.log.wants(Level::Warn) && self.warned.lock().insert(text.clone()) {
            self.log.warn(stage, text);
        }
    }

    /// Monotonic milliseconds since the runtime was made, counted from 1 s so that no time
    /// stamp is 0.
    pub fn now_ms(&self) -> u64 {
        match &self.clock {
            Clock::Real(epoch) => epoch.elapsed().as_millis() as u64 + 1000,
            #[cfg(any(test, fuzzing))]
            Clock::Simulated(now_ms) => now_ms.load(Ordering::SeqCst),
        }
    }

    /// The wall clock: seconds since 1970-01-01 UTC.
    pub fn unix_s(&self) -> i64 {
        match &self.clock {
            Clock::Real(_) => expiry::unix_now_s(),
            #[cfg(any(test, fuzzing))]
            Clock::Simulated(now_ms) => (now_ms.load(Ordering::SeqCst) / 1000) as i64,
        }
    }
}
