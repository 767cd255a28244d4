//! The budget of a turn: what one connection may cost its loop before the others have theirs.
//!
//! A peer chooses what its bytes cost: a byte of an ordinary frame about a nanosecond, a byte of
//! Huffman tables hundreds, a TLS record without data thousands. So a budget counts work, in
//! units of about a nanosecond, and not bytes. All prices are in this file. A visit has one
//! budget for what arrives, a flush one of the same size for what leaves: neither can use up
//! what the other needs. Work may begin while something is left, and is charged when it is
//! done: a turn exceeds its budget by one step at most (`Budget::STEP_UNITS`).
//! Tests assert that at every charge but [`Budget::sent`]: the system's buffer bounds a send.

use super::canary::{self, Canary};

/// What one connection's visit, or its flush, may cost. Four reads of 256 KiB of ordinary
/// frames fit.
const TURN_UNITS: usize = 1152 << 10;
/// A byte that is read or sent: the system copies it, and at most one more copy follows.
const BYTE_UNITS: usize = 1;
/// A call of the system.
const CALL_UNITS: usize = 1024;
/// A frame: its share of a callback.
const FRAME_UNITS: usize = 192;
/// A compressed frame: its state begins anew, and builds the first tables.
const STREAM_UNITS: usize = 4096;
/// A byte of compressed input. Dynamic blocks without output cost 170 ns for each byte, ordinary
/// data 10: this allows 18 KiB in a turn, 3 ms of the former.
const DEFLATED_UNITS: usize = 64;
/// A byte of inflated output.
const INFLATED_UNITS: usize = 4;
/// A TLS record with data, besides its bytes.
const RECORD_UNITS: usize = 512;
/// A TLS record without data: a key update derives keys and may have to be answered.
const EMPTY_RECORD_UNITS: usize = 8192;
/// A record with a piece of the ClientHello: its fragment is copied.
const HELLO_RECORD_UNITS: usize = 32;

/// Compressed input that the inflater gets at a time.
const DEFLATED_STEP_BYTES: usize = 16 << 10;
/// Output of one step at most.
pub(crate) const INFLATED_STEP_MAX_BYTES: usize = 256 << 10;
/// So much of it goes in although less is left, so that each step makes progress.
const DEFLATED_LEAST_BYTES: usize = 256;

/// What is left of a turn's work.
pub(crate) struct Budget {
    left: usize,
    /// What was spent beyond it.
    #[cfg(any(test, fuzzing))]
    over: usize,
}

impl Budget {
    /// How far the last step may go beyond the budget: a read of 2 MiB and a buffer behind it,
    /// or a step of inflation.
    #[cfg(any(test, fuzzing))]
    pub const STEP_UNITS: usize = 5 << 19;

    /// The budget of one turn.
    pub fn of_a_turn() -> Budget {
        Budget::of(TURN_UNITS)
    }

    fn of(units: usize) -> Budget {
        Budget {
            left: units,
            #[cfg(any(test, fuzzing))]
            over: 0,
        }
    }

    /// The turn is over: nothing more may begin.
    pub fn is_spent(&self) -> bool {
        self.left == 0 && !canary::is_on(Canary::EndlessTurn)
    }

    /// So little is left that what is read now would mostly have to be kept.
    pub fn is_nearly_spent(&self) -> bool {
        self.left < TURN_UNITS / 8
    }

    fn spend(&mut self, units: usize) {
        #[cfg(any(test, fuzzing))]
        {
            // Whatever arrives: tests, simulated worlds and fuzzers all come by here.
            self.over += units.saturating_sub(self.left);
            assert!(self.over <= Budget::STEP_UNITS, "a turn went {} units too far", self.over);
        }
        self.left = self.left.saturating_sub(units);
    }

    /// A read of the socket.
    pub fn read(&mut self, bytes: usize) {
        self.spend(CALL_UNITS + bytes * BYTE_UNITS);
    }

    /// A send to the socket. The system takes as much as its buffer holds.
    pub fn sent(&mut self, bytes: usize) {
        self.left = self.left.saturating_sub(CALL_UNITS + bytes * BYTE_UNITS);
    }

    /// A frame that is handed out.
    pub fn frame(&mut self) {
        self.spend(FRAME_UNITS);
    }

    /// A compressed frame that begins.
    pub fn deflate_stream(&mut self) {
        self.spend(STREAM_UNITS);
    }

    /// How many bytes of compressed input the inflater may get in its next step.
    pub fn deflated_step_bytes(&self) -> usize {
        (self.left / DEFLATED_UNITS).clamp(DEFLATED_LEAST_BYTES, DEFLATED_STEP_BYTES)
    }

    /// A step of inflation.
    pub fn inflated(&mut self, input_bytes: usize, output_bytes: usize) {
        self.spend(input_bytes * DEFLATED_UNITS + output_bytes * INFLATED_UNITS);
    }

    /// Records with pieces of the ClientHello.
    pub fn hello_records(&mut self, records: usize) {
        self.spend(records * HELLO_RECORD_UNITS);
    }

    /// A TLS record that is opened; the bytes were paid for when they were read.
    pub fn record(&mut self, has_data: bool) {
        self.spend(if has_data { RECORD_UNITS } else { EMPTY_RECORD_UNITS });
    }
}

/// What tests and fuzzers know of it.
#[cfg(any(test, fuzzing))]
impl Budget {
    pub const UNITS: usize = TURN_UNITS;

    /// A budget of another size.
    pub fn of_units(units: usize) -> Budget {
        Budget::of(units)
    }

    /// Frames that may be handed out for so many units.
    pub fn frames(units: usize) -> usize {
        units.div_ceil(FRAME_UNITS)
    }

    /// Compressed bytes that may be inflated for so many units.
    pub fn deflated_bytes(units: usize) -> usize {
        units / DEFLATED_UNITS + DEFLATED_STEP_BYTES
    }

    /// Bytes that may come out of them.
    pub fn inflated_bytes(units: usize) -> usize {
        units / INFLATED_UNITS + INFLATED_STEP_MAX_BYTES
    }
}
