//! Frames and deflate.

use super::reference::{self, Reading};
use super::split;
use crate::base::budget::Budget;
use crate::base::canary::{self, Canary};
use crate::base::random::Random;
use crate::event::Frames;
use crate::frame::compressors::Compressors;
use crate::frame::decode::{Decoder, FIRST_STEP_BYTES, SMALL_BYTES, Step, Workspace};
use crate::frame::deflate::{Inflated, Inflaters, Reads, STEP_MAX_BYTES, Writes};
use crate::frame::{FrameRules, HEADER_BYTES, encode};
use crate::status::CloseReason;
use std::sync::LazyLock;

fn rules(choice: u8) -> FrameRules {
    FrameRules {
        max_frame_bytes: [40, 5_000, 1 << 20, 0x7fff_ffff][usize::from(choice % 4)],
        max_inflated_bytes: [0, 1_000, 70_000, 400_000][usize::from(choice / 4 % 4)],
        reads: reads(choice / 16),
        writes: None,
    }
}

fn reads(choice: u8) -> Reads {
    [Reads::Auto, Reads::Raw, Reads::Zlib][usize::from(choice % 3)]
}

/// Input: limits, cuts (2), budget, then the wire.
pub fn frame_decode(input: &[u8]) {
    let ([limits, low, high, budget], wire) = split(input);
    let rules = rules(limits);
    let budget = [usize::MAX, 1, 1_000, Budget::UNITS][usize::from(budget % 4)];
    let expected = reference::frames(wire, &rules);
    let mut random = Random::new(u64::from(low) << 8 | u64::from(high));

    let whole = feed(wire, |all| all, budget, &rules);
    assert!(whole == expected, "at once: {}", difference(&whole, &expected));
    let pieces = feed(wire, |rest| 1 + random.size(rest - 1), budget, &rules);
    assert!(pieces == expected, "in pieces: {}", difference(&pieces, &expected));
    if wire.len() <= 600 {
        let bytes = feed(wire, |_| 1, budget, &rules);
        assert!(bytes == expected, "byte by byte: {}", difference(&bytes, &expected));
    }

    let prefix = &wire[..random.below(wire.len() + 1)];
    let begun = feed(prefix, |rest| 1 + random.size(rest - 1), budget, &rules);
    assert!(expected.frames.starts_with(&begun.frames), "a prefix has other frames");
    if begun.breaks.is_some() {
        assert_eq!((&begun.frames, begun.breaks), (&expected.frames, expected.breaks));
    }
}

fn difference(got: &Reading, expected: &Reading) -> String {
    let lengths = |reading: &Reading| -> Vec<(usize, bool)> {
        reading.frames.iter().map(|(payload, compressed)| (payload.len(), *compressed)).collect()
    };
    format!(
        "{:?} {:?} {}, not {:?} {:?} {}",
        lengths(got),
        got.breaks,
        got.rest,
        lengths(expected),
        expected.breaks,
        expected.rest
    )
}

/// Gives a decoder pieces of the wire as a loop would, and collects what comes out.
fn feed(
    wire: &[u8],
    mut piece: impl FnMut(usize) -> usize,
    budget: usize,
    rules: &FrameRules,
) -> Reading {
    let (mut decoder, mut work) = (Decoder::default(), Workspace::new());
    let (mut kept, mut reading, mut at) = (Vec::new(), Reading::default(), 0);
    while at < wire.len() {
        let mut part = &wire[at..at + piece(wire.len() - at)];
        at += part.len();
        if kept.is_empty()
            && let Some((mut payload, missing)) = decoder.lend().expect("memory is there")
        {
            // A large frame reads into its own buffer.
            let room = missing.min(payload.capacity() - payload.len()).min(part.len());
            payload.extend_from_slice(&part[..room]);
            decoder.give_back(payload);
            part = &part[room..];
        }
        if kept.len() > 1 && canary::is_on(Canary::LostByte) {
            kept.remove(0);
        }
        kept.extend_from_slice(part);
        loop {
            work.budget = Budget::of_units(budget);
            let (used, step) = match decoder.decode(&kept, &mut work, rules) {
                Ok(decoded) => decoded,
                Err(reason) => {
                    reading.breaks = Some(reason);
                    return reading;
                }
            };
            let batch = Frames { buffers: [&kept, &work.inflated], spans: &work.spans };
            reading
                .frames
                .extend(batch.iter().map(|frame| (frame.data.to_vec(), frame.compressed)));
            kept.drain(..used);
            let held = decoder.reserved_bytes();
            let output = rules.max_inflated_bytes + 1 + STEP_MAX_BYTES;
            assert!(held <= 2 * at + FIRST_STEP_BYTES + output, "{held} bytes held of {at}");
            assert!(decoder.held_bytes() <= at + rules.max_inflated_bytes + 1);
            let (frames, inflated) = (work.spans.len(), work.inflated.len());
            assert!(frames <= Budget::frames(budget), "a turn handed {frames} frames out");
            assert!(inflated <= Budget::inflated_bytes(budget), "a turn inflated {inflated}");
            match step {
                Step::Drained => break,
                Step::Single { payload, compressed } => reading.frames.push((payload, compressed)),
                Step::More | Step::Yield => {}
            }
        }
        assert!(kept.len() < SMALL_BYTES, "{} bytes are kept", kept.len());
    }
    assert!(!decoder.is_inflating(), "work is left");
    let inside = decoder.is_inside_frame();
    assert!(!inside || kept.is_empty());
    reading.rest = if inside { HEADER_BYTES + decoder.held_bytes() } else { kept.len() };
    reading
}

/// Input: what to expect, limit (2), budgets, then the payload.
pub fn inflate(input: &[u8]) {
    let ([choice, low, high, budgets], payload) = split(input);
    let reads = reads(choice);
    let max = usize::from(u16::from_be_bytes([high, low])) << (choice / 16);
    let expected = reference::inflated(payload, reads, max);

    let mut pool = Inflaters::new();
    let mut at_once = b"before".to_vec();
    let mut inflater = pool.take().expect("none is out");
    inflater.begin(reads, payload);
    let step = inflater.step(payload, &mut at_once, 6, max, &mut Budget::of_units(usize::MAX));
    assert!(at_once.len() - 6 <= max + 1 || at_once.capacity() == at_once.len());
    let result = step.map(|_| at_once.split_off(6));
    assert!(result == expected, "{:?} not {:?}", short(&result), short(&expected));
    pool.give(inflater);

    // The same state again, with small budgets and a buffer that has room to spare.
    let mut inflater = pool.take().expect("one is spare");
    inflater.begin(reads, payload);
    let mut random = Random::new(u64::from(budgets));
    let mut out = Vec::with_capacity(random.size(300_000));
    let (mut at, mut steps) = (0, 0);
    let result = loop {
        let units = 1 + random.size(Budget::UNITS);
        let before = out.len();
        let mut budget = Budget::of_units(units);
        let step = inflater.step(&payload[at..], &mut out, 0, max, &mut budget);
        steps += 1;
        let spare = if steps == 1 { 300_000 } else { 0 };
        let most = Budget::inflated_bytes(units) + spare;
        assert!(out.len() - before <= most, "beyond the budget");
        match step {
            Ok(Inflated::Budget { used }) => {
                assert!(used > 0 || out.len() > before, "a step without progress");
                assert!(used <= Budget::deflated_bytes(units), "beyond the budget");
                at += used;
                assert!(at <= payload.len());
            }
            Ok(Inflated::Whole) => break Ok(out),
            Err(reason) => break Err(reason),
        }
    };
    assert!(result == expected, "in steps: {:?} not {:?}", short(&result), short(&expected));
}

fn short(result: &Result<Vec<u8>, CloseReason>) -> Result<usize, CloseReason> {
    result.as_ref().map(Vec::len).map_err(|reason| *reason)
}

/// Kept from one input to the next.
static STATES: LazyLock<Compressors> = LazyLock::new(Compressors::new);

/// Input: how to compress, cuts, then payloads, each behind its length (2).
pub fn round_trip(input: &[u8]) {
    let ([choice, cuts], mut rest) = split(input);
    let writes = (choice % 3 > 0).then(|| Writes {
        zlib: choice % 3 == 1,
        threshold_bytes: usize::from(choice / 3 % 2) * 100,
        limit_bytes: 20_000,
        level: u32::from(choice / 6 % 10),
    });
    let rules = FrameRules {
        max_frame_bytes: 1 << 20,
        max_inflated_bytes: 1 << 20,
        reads: match writes {
            Some(Writes { zlib: true, .. }) => Reads::Zlib,
            _ => Reads::Raw,
        },
        writes,
    };
    let (mut wire, mut payloads) = (Vec::new(), Vec::new());
    while let Some((len, behind)) = rest.split_first_chunk() {
        let len = u16::from_be_bytes(*len);
        // Each length's highest bits tell how often its bytes are repeated.
        let (payload, behind) = behind.split_at(usize::from(len % 4096).min(behind.len()));
        let payload = payload.repeat(1 + usize::from(len >> 12));
        let before = wire.len();
        encode::frame(&payload, writes, &STATES, &mut wire).unwrap();
        assert!(wire.len() - before <= HEADER_BYTES + payload.len(), "a frame grew");
        payloads.push(payload);
        rest = behind;
    }
    let mut random = Random::new(u64::from(cuts));
    let reading = feed(&wire, |rest| 1 + random.size(rest - 1), Budget::UNITS, &rules);
    assert_eq!((reading.breaks, reading.rest), (None, 0));
    let decoded: Vec<Vec<u8>> = reading.frames.into_iter().map(|(payload, _)| payload).collect();
    assert!(decoded == payloads, "something else came back");
}
