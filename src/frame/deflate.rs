//! Deflate both ways. Each frame is a stream of its own; no dictionary is shared.
//!
//! Promises: inflation stops at its limit and at the budget of the turn, whatever the input
//! claims or costs; a state is reused (a new one per frame costs a factor of ten). Those that
//! compress wait in `compressors` for their next use.

use crate::base::budget::{Budget, INFLATED_STEP_MAX_BYTES};
use crate::base::buffers::reserve;
use crate::status::CloseReason;
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress, Status};
use std::sync::Arc;

/// What a compressed payload may look like when it arrives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reads {
    /// zlib if the first two bytes say so, otherwise raw deflate.
    Auto,
    /// RFC 1950 only.
    Zlib,
    /// RFC 1951 only.
    Raw,
    /// Compressed frames are refused.
    Never,
}

/// How sent frames are compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Writes {
    /// RFC 1950 wrapper, or raw deflate.
    pub zlib: bool,
    /// Smaller payloads are sent raw.
    pub threshold_bytes: usize,
    /// So are larger ones.
    pub limit_bytes: usize,
    /// 0 to 9.
    pub level: u32,
}

/// Growth of an output buffer: by half, within these bounds. A state fills what room there
/// is, so the upper one is also how far a step may go beyond its budget.
const STEP_MIN_BYTES: usize = 64 << 10;
pub(crate) const STEP_MAX_BYTES: usize = INFLATED_STEP_MAX_BYTES;

/// An inflation state, reusable for any number of frames.
pub(crate) struct Inflater {
    /// In a box: zlib-rs (its issue 491) keeps a reference in there that it frees on drop, which
    /// must not happen inside a call that was given the state by value.
    state: Box<Decompress>,
    /// Held only by a state that is out with a suspended frame: it counts against the pool.
    permit: Option<Arc<()>>,
}

/// How far one step of inflation came.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Inflated {
    /// The stream is complete and all input was used.
    Whole,
    /// The budget is used up; `used` bytes of the input were taken.
    Budget { used: usize },
}

impl Inflater {
    /// Prepares for the payload that begins with `first`.
    pub fn begin(&mut self, reads: Reads, payload: &[u8]) {
        let zlib = match reads {
            Reads::Zlib => true,
            Reads::Raw => false,
            // Refused by its header.
            Reads::Never => false,
            Reads::Auto => looks_like_zlib(payload),
        };
        self.state.reset(zlib);
    }

    /// Inflates all the input that is left of a payload onto the end of `out`, where the
    /// frame's output began at `start`. Stops beyond `max_bytes` of output for the frame,
    /// and when the budget is spent; but makes at least one step, so that there is progress.
    pub fn step(
        &mut self,
        input: &[u8],
        out: &mut Vec<u8>,
        start: usize,
        max_bytes: usize,
        budget: &mut Budget,
    ) -> Result<Inflated, CloseReason> {
        let total_in = self.state.total_in();
        loop {
            let mut used = (self.state.total_in() - total_in) as usize;
            if out.capacity() == out.len() {
                // One byte more than the limit, so that crossing it shows.
                let produced = out.len() - start;
                let step = (produced / 2).clamp(STEP_MIN_BYTES, STEP_MAX_BYTES);
                let room = (max_bytes - produced).saturating_add(1).min(step);
                reserve(out, room)?;
            }
            let (before, end) = (out.len(), input.len().min(used + budget.deflated_step_bytes()));
            let status = self.state.decompress_vec(&input[used..end], out, FlushDecompress::None);
            let begun = std::mem::replace(&mut used, (self.state.total_in() - total_in) as usize);
            budget.inflated(used - begun, out.len() - before);
            // First: how far a call gets, and so whether it meets a fault behind the limit,
            // depends on the room that there happens to be.
            if out.len() - start > max_bytes {
                return Err(CloseReason::InflatedTooLarge);
            }
            match status.map_err(|_| CloseReason::DeflateCorrupt)? {
                Status::StreamEnd if used < input.len() => {
                    return Err(CloseReason::DeflateTrailing);
                }
                Status::StreamEnd => return Ok(Inflated::Whole),
                // Room was left, so it is input that is missing: the stream is incomplete.
                _ if out.len() < out.capacity() && end == input.len() => {
                    return Err(CloseReason::DeflateCorrupt);
                }
                _ if budget.is_spent() => return Ok(Inflated::Budget { used }),
                _ => {}
            }
        }
    }
}

/// RFC 1950: method 8 in the low nibble, and the first two bytes a multiple of 31.
fn looks_like_zlib(payload: &[u8]) -> bool {
    matches!(payload, [a, b, ..] if a & 0x0f == 8 && (u16::from(*a) << 8 | u16::from(*b)) % 31 == 0)
}

/// A loop's inflation states: one that is always there, and a bounded number that are out
/// with frames whose inflation was suspended.
pub(crate) struct Inflaters {
    spare: Vec<Inflater>,
    permit: Arc<()>,
}

/// Suspended inflations per loop; further ones wait for their turn. About 40 KB each.
pub(crate) const SUSPENDED_MAX: usize = 32;

impl Inflaters {
    pub fn new() -> Inflaters {
        Inflaters { spare: Vec::new(), permit: Arc::new(()) }
    }

    /// A state, unless too many are out.
    pub fn take(&mut self) -> Option<Inflater> {
        if let Some(spare) = self.spare.pop() {
            return Some(spare);
        }
        let out = Arc::strong_count(&self.permit) - 1;
        (out < SUSPENDED_MAX)
            .then(|| Inflater { state: Box::new(Decompress::new(true)), permit: None })
    }

    /// Gives a state back.
    pub fn give(&mut self, mut inflater: Inflater) {
        inflater.permit = None;
        if self.spare.len() < 2 {
            self.spare.push(inflater);
        }
    }

    /// Marks a state as out with a suspended frame.
    pub fn suspend(&self, inflater: &mut Inflater) {
        inflater.permit = Some(self.permit.clone());
    }
}

/// A compression state (about 270 KB), reusable for any number of frames of its settings.
pub(crate) struct Compressor {
    zlib: bool,
    level: u32,
    /// In a box, as that of an [`Inflater`].
    state: Box<Compress>,
    /// Its last stream has not ended as it should: it is not used again.
    pub is_broken: bool,
}

impl Compressor {
    pub fn new(how: Writes) -> Compressor {
        let state = Box::new(Compress::new(Compression::new(how.level), how.zlib));
        Compressor { zlib: how.zlib, level: how.level, state, is_broken: false }
    }

    /// It compresses in this way.
    pub fn fits(&self, how: Writes) -> bool {
        (self.zlib, self.level) == (how.zlib, how.level)
    }

    /// Compresses `data` onto the end of `out` if that makes it smaller; otherwise, and if there is no
    /// memory for that, `out` is as it was and the answer is false.
    pub fn compress_smaller(&mut self, data: &[u8], out: &mut Vec<u8>) -> bool {
        let start = out.len();
        let state = &mut self.state;
        state.reset();
        // To the end, also of what does not get smaller (by an eighth at most): a state that is
        // reset while output waits in it has less room for output from then on, and panics once
        // that is not enough (zlib-rs 0.6.8).
        if reserve(out, data.len() + data.len() / 8 + 64).is_err() {
            return false;
        }
        let whole = loop {
            let used = state.total_in() as usize;
            match state.compress_vec(&data[used..], out, FlushCompress::Finish) {
                Ok(Status::StreamEnd) => break true,
                Ok(_) if out.len() == out.capacity() => out.reserve(1024),
                Ok(Status::Ok) => {}
                _ => break false,
            }
        };
        self.is_broken = !whole;
        let smaller = whole && out.len() - start < data.len();
        if !smaller {
            out.truncate(start);
        }
        smaller
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writes(zlib: bool, level: u32) -> Writes {
        Writes { zlib, threshold_bytes: 0, limit_bytes: usize::MAX, level }
    }

    fn compress_smaller(data: &[u8], how: Writes, out: &mut Vec<u8>) -> bool {
        Compressor::new(how).compress_smaller(data, out)
    }

    const LETTERS: [u8; 64] = [b'a'; 64];
    const ZLIB: &[u8] = &[0x78, 0x9c, 0x4b, 0x4c, 0xa4, 0x0c, 0, 0, 0x14, 0x8d, 0x18, 0x41];
    const RAW: &[u8] = &[0x4b, 0x4c, 0xa4, 0x0c, 0, 0];

    fn inflate(reads: Reads, payload: &[u8], max: usize) -> Result<Vec<u8>, CloseReason> {
        let mut inflater = Inflaters::new().take().unwrap();
        inflater.begin(reads, payload);
        let mut out = b"before".to_vec();
        match inflater.step(payload, &mut out, 6, max, &mut Budget::of_units(usize::MAX))? {
            Inflated::Whole => Ok(out.split_off(6)),
            Inflated::Budget { .. } => unreachable!("the budget is endless"),
        }
    }

    #[test]
    fn auto_reads_zlib_and_raw_deflate_and_the_strict_ones_only_their_own() {
        assert_eq!(inflate(Reads::Auto, ZLIB, 64).unwrap(), LETTERS);
        assert_eq!(inflate(Reads::Auto, RAW, 64).unwrap(), LETTERS);
        assert_eq!(inflate(Reads::Zlib, ZLIB, 64).unwrap(), LETTERS);
        assert_eq!(inflate(Reads::Raw, RAW, 64).unwrap(), LETTERS);
        assert_eq!(inflate(Reads::Zlib, RAW, 64), Err(CloseReason::DeflateCorrupt));
        assert!(inflate(Reads::Raw, ZLIB, 64).is_err());
    }

    #[test]
    fn exactly_the_limit_is_legal_and_one_byte_more_is_not() {
        assert!(inflate(Reads::Auto, ZLIB, 64).is_ok());
        assert_eq!(inflate(Reads::Auto, ZLIB, 63), Err(CloseReason::InflatedTooLarge));
    }

    #[test]
    fn what_is_too_large_and_corrupt_behind_that_is_too_large_whatever_room_there_is() {
        let mut packed = Vec::new();
        let how = writes(true, 1);
        assert!(compress_smaller(&[b'a'; 5000], how, &mut packed));
        *packed.last_mut().unwrap() ^= 1;
        for room in [0, 100_000] {
            let mut inflater = Inflaters::new().take().unwrap();
            inflater.begin(Reads::Auto, &packed);
            let mut out = Vec::with_capacity(room);
            let mut budget = Budget::of_units(usize::MAX);
            let result = inflater.step(&packed, &mut out, 0, 64, &mut budget);
            assert_eq!(result, Err(CloseReason::InflatedTooLarge), "{room}");
        }
    }

    #[test]
    fn every_prefix_is_incomplete_and_bytes_behind_the_end_are_an_error() {
        for cut in 1..ZLIB.len() {
            assert_eq!(
                inflate(Reads::Zlib, &ZLIB[..cut], 64),
                Err(CloseReason::DeflateCorrupt),
                "{cut}"
            );
        }
        let mut longer = ZLIB.to_vec();
        longer.push(0);
        assert_eq!(inflate(Reads::Zlib, &longer, 64), Err(CloseReason::DeflateTrailing));
    }

    #[test]
    fn inflation_pauses_at_its_budget_and_goes_on_where_it_was() {
        let plain = vec![7u8; 3 << 20];
        let mut packed = Vec::new();
        let how = writes(true, 6);
        assert!(compress_smaller(&plain, how, &mut packed));
        let mut pool = Inflaters::new();
        let mut inflater = pool.take().unwrap();
        inflater.begin(Reads::Auto, &packed);
        let (mut out, mut at, mut steps) = (Vec::new(), 0, 0);
        let units = 1 << 20;
        while let Inflated::Budget { used } = inflater
            .step(&packed[at..], &mut out, 0, plain.len(), &mut Budget::of_units(units))
            .unwrap()
        {
            at += used;
            steps += 1;
        }
        assert!(steps >= plain.len() / Budget::inflated_bytes(units), "{steps}");
        assert!(out == plain);
    }

    #[test]
    fn input_that_inflates_to_nothing_is_work_too() {
        // Stored blocks without bytes, and a last one.
        let mut packed = [0, 0, 0, 0xff, 0xff].repeat(100_000);
        packed.extend([1, 0, 0, 0xff, 0xff]);
        let mut inflater = Inflaters::new().take().unwrap();
        inflater.begin(Reads::Raw, &packed);
        let (mut out, mut at, mut steps) = (Vec::new(), 0, 0);
        while let Inflated::Budget { used } =
            inflater.step(&packed[at..], &mut out, 0, 64, &mut Budget::of_units(1 << 20)).unwrap()
        {
            assert!(used <= Budget::deflated_bytes(1 << 20), "{used} bytes in one turn");
            at += used;
            steps += 1;
        }
        assert!(steps >= packed.len() / Budget::deflated_bytes(1 << 20) && out.is_empty());
    }

    #[test]
    fn what_does_not_get_smaller_stays_raw_and_what_does_comes_back_equal() {
        let noise: Vec<u8> =
            (0..2000u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
        for zlib in [true, false] {
            let how = writes(zlib, 6);
            let mut out = b"x".to_vec();
            assert!(!compress_smaller(&noise[..40], how, &mut out));
            assert_eq!(out, b"x");
            assert!(compress_smaller(&[5; 2000], how, &mut out));
            assert_eq!(inflate(Reads::Auto, &out[1..], 2000).unwrap(), [5; 2000]);
        }
    }

    #[test]
    fn payloads_that_do_not_get_smaller_leave_a_state_that_works() {
        let mut state = 1u64;
        let mut noise: Vec<u8> = (0..70_000)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                (state >> 32) as u8
            })
            .collect();
        for level in 0..=9 {
            let mut state = Compressor::new(writes(false, level));
            for number in 0..100 {
                noise.rotate_left(1009);
                let len = 700 * (number + 1);
                assert!(!state.compress_smaller(&noise[..len], &mut Vec::new()));
            }
            let mut out = Vec::new();
            let smaller = state.compress_smaller(&[5; 40_000], &mut out);
            assert_eq!(smaller, level > 0, "level {level}");
            if smaller {
                assert!(inflate(Reads::Raw, &out, 40_000).unwrap() == [5; 40_000]);
            }
        }
    }

    #[test]
    fn suspended_states_are_bounded_and_come_back_when_dropped() {
        let mut pool = Inflaters::new();
        let mut out = Vec::new();
        while let Some(mut inflater) = pool.take() {
            pool.suspend(&mut inflater);
            out.push(inflater);
        }
        assert_eq!(out.len(), SUSPENDED_MAX);
        drop(out.pop());
        assert!(pool.take().is_some());
    }
}
