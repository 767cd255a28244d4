//! What a connection counts, and what it holds.

use super::Machine;
use super::requests::Reach;
use crate::limits::memory::{FREE_BYTES, Holder};
use std::sync::atomic::{AtomicU64, Ordering};

impl Machine {
    /// Adds what happened in this turn to the counters.
    pub(super) fn report(&mut self, counters_index: usize) {
        let Reach { out, .. } = &mut **self.reach.as_mut().expect("it is back after each callback");
        out.show_queued();
        let counters = &self.port.counters(counters_index);
        let add = |counter: &AtomicU64, now: u64, before: &mut u64| {
            if now != *before {
                counter.fetch_add(now - *before, Ordering::Relaxed);
                *before = now;
            }
        };
        add(&counters.bytes_in, self.bytes_in, &mut self.reported.bytes_in);
        add(&counters.bytes_out, out.bytes_out, &mut self.reported.bytes_out);
        add(&counters.frames_in, self.frames_in, &mut self.reported.frames_in);
        add(&counters.frames_out, out.frames_out, &mut self.reported.frames_out);
        if let Some(shared) = &out.shared {
            shared.totals.bytes_in.store(self.bytes_in, Ordering::Relaxed);
            shared.totals.bytes_out.store(out.bytes_out, Ordering::Relaxed);
            shared.totals.frames_in.store(self.frames_in, Ordering::Relaxed);
            shared.totals.frames_out.store(out.frames_out, Ordering::Relaxed);
        }
    }

    /// Keeps the runtime's account of what is held. True: it is over its limit and this
    /// connection, which has just made it worse, is the one that holds most.
    pub fn account_memory(&mut self) -> bool {
        let input = self.held_input_bytes();
        let out = self.out();
        out.show_queued();
        out.counted_bytes = out.queued_bytes();
        let Some(shared) = &out.shared else { return false };
        shared.holds_input_bytes(input);
        let memory = &out.port.memory;
        memory.recount(shared)
            && memory.used_bytes() > memory.limit_bytes
            && !shared.is_over()
            && !memory.claim(shared, 0)
    }

    /// Input that is not used up.
    fn held_input_bytes(&self) -> usize {
        self.kept.len() + self.opened.len() + self.decoder.held_bytes()
    }

    /// How much of what the reactor would read at most may be read now: where the loops hold too
    /// much already, no connection grows beyond its free share.
    pub fn read_budget(&self, most: usize) -> usize {
        if !self.port.memory.stops_reading() {
            return most;
        }
        let held = self.held_input_bytes() + self.out_ref().queued_bytes();
        FREE_BYTES.saturating_sub(held).min(most)
    }
}
