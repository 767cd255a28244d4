//! Tests of `decode`.

use super::super::compressors::Compressors;
use super::super::deflate::{SUSPENDED_MAX, Writes};
use super::super::encode;
use super::*;
use crate::event::Frames;

fn rules() -> FrameRules {
    FrameRules {
        max_frame_bytes: 8 << 20,
        max_inflated_bytes: 8 << 20,
        reads: Reads::Auto,
        writes: Some(Writes {
            zlib: true,
            threshold_bytes: 512,
            limit_bytes: usize::MAX,
            level: 6,
        }),
    }
}

/// Feeds `wire` in pieces of `piece` bytes as a loop would, and collects the payloads.
fn run(wire: &[u8], piece: usize, rules: &FrameRules) -> Result<Vec<Vec<u8>>, CloseReason> {
    let (mut decoder, mut work) = (Decoder::default(), Workspace::new());
    let (mut kept, mut payloads) = (Vec::new(), Vec::new());
    for part in wire.chunks(piece) {
        kept.extend_from_slice(part);
        loop {
            work.budget = Budget::of_a_turn();
            let (used, step) = decoder.decode(&kept, &mut work, rules)?;
            let batch = Frames { buffers: [&kept, &work.inflated], spans: &work.spans };
            payloads.extend(batch.iter().map(|frame| frame.data.to_vec()));
            kept.drain(..used);
            match step {
                Step::Drained => break,
                Step::Single { payload, .. } => payloads.push(payload),
                Step::More | Step::Yield => {}
            }
        }
    }
    assert!(kept.len() < SMALL_BYTES);
    Ok(payloads)
}

fn samples() -> (Vec<Vec<u8>>, Vec<u8>) {
    let payloads: Vec<Vec<u8>> = [0, 1, 3, 511, 512, 4091, 4092, 4093, 16384, 70_000, 3 << 20]
        .iter()
        .map(|&n| (0..n).map(|i| (i / 7 + n) as u8).collect())
        .collect();
    let (mut wire, states) = (Vec::new(), Compressors::new());
    for how in [None, rules().writes] {
        for payload in &payloads {
            encode::frame(payload, how, &states, &mut wire).unwrap();
        }
    }
    ([payloads.clone(), payloads].concat(), wire)
}

#[test]
fn frames_come_out_in_order_however_the_bytes_are_cut() {
    let (payloads, wire) = samples();
    for piece in [wire.len(), 1 << 18, 65_537, 16_384, 4097, 1000] {
        assert!(run(&wire, piece, &rules()).unwrap() == payloads, "{piece}");
    }
}

#[test]
fn small_frames_survive_a_cut_at_every_byte() {
    let (mut wire, states) = (Vec::new(), Compressors::new());
    let payloads: Vec<Vec<u8>> = (0..200).map(|n| vec![n as u8; n % 70]).collect();
    for payload in &payloads {
        encode::frame(payload, rules().writes, &states, &mut wire).unwrap();
    }
    for piece in 1..20 {
        assert_eq!(run(&wire, piece, &rules()).unwrap(), payloads);
    }
}

#[test]
fn a_header_over_the_limit_is_refused_and_the_limit_itself_is_not() {
    let small = FrameRules { max_frame_bytes: 10, ..rules() };
    assert_eq!(run(b"\x00\x00\x00\x0a0123456789", 99, &small).unwrap().len(), 1);
    assert_eq!(run(b"\x00\x00\x00\x0b", 99, &small), Err(CloseReason::FrameTooLarge));
    assert_eq!(run(&[0xff; 4], 99, &small), Err(CloseReason::FrameTooLarge));
}

#[test]
fn frames_before_a_bad_one_are_handed_out_first() {
    let (mut decoder, mut work) = (Decoder::default(), Workspace::new());
    let wire = b"\x00\x00\x00\x01a\x80\x00\x00\x00";
    let (used, step) = decoder.decode(wire, &mut work, &rules()).unwrap();
    assert!(matches!(step, Step::More) && used == 5 && work.spans.len() == 1);
    assert_eq!(
        decoder.decode(&wire[5..], &mut work, &rules()).err(),
        Some(CloseReason::DeflateEmpty)
    );
}

#[test]
fn a_port_that_refuses_compressed_frames_takes_no_byte_of_one() {
    let never = FrameRules { reads: Reads::Never, ..rules() };
    for wire in [&b"\x80\x00\x00\x02\x03\x00"[..], b"\x80\x7f\x00\x00", b"\x80\x00\x00\x00"] {
        assert_eq!(run(wire, 99, &never), Err(CloseReason::CompressionRefused));
    }
    assert_eq!(run(b"\x00\x00\x00\x01a", 99, &never).unwrap(), [b"a"]);
}

/// A compressed frame whose inflation takes several turns, and its payload.
fn slow_frame() -> (Vec<u8>, Vec<u8>) {
    let payload = vec![7; 4 << 20];
    let mut wire = Vec::new();
    encode::frame(&payload, rules().writes, &Compressors::new(), &mut wire).unwrap();
    (wire, payload)
}

/// A decoder that holds one of the states of `work`.
fn suspended(work: &mut Workspace) -> Decoder {
    let mut decoder = Decoder::default();
    let wire = slow_frame().0;
    work.budget = Budget::of_units(1);
    let mut at = 0;
    while !decoder.is_suspended() {
        at += decoder.decode(&wire[at..], work, &rules()).unwrap().0;
        work.budget = Budget::of_units(1);
    }
    assert_eq!(at, wire.len());
    decoder
}

#[test]
#[cfg_attr(miri, ignore = "it inflates megabytes")]
fn a_frame_whose_inflation_ends_while_nothing_can_be_delivered_is_delivered_later() {
    let mut work = Workspace::new();
    let mut decoder = suspended(&mut work);
    while decoder.is_suspended() {
        work.budget = Budget::of_a_turn();
        decoder.inflate_on(&mut work, &rules()).unwrap();
    }
    assert!(decoder.is_inflating(), "there is work without new input");
    let (used, step) = decoder.decode(b"", &mut work, &rules()).unwrap();
    let Step::Single { payload, compressed: true } = step else { panic!("{step:?}") };
    assert!(used == 0 && payload == slow_frame().1);
    assert!(!decoder.is_inside_frame());
}

#[test]
#[cfg_attr(miri, ignore = "it inflates megabytes")]
fn while_all_states_are_out_frames_wait_whole_and_go_on_when_one_is_back() {
    let small = b"\x80\x00\x00\x02\x03\x00";
    // Stored blocks without bytes, and a last one without any either.
    let blocks = SMALL_BYTES / 5;
    let mut large = encode::raw_header(5 * (blocks + 1)).to_vec();
    large[0] |= 0x80;
    large.extend([0, 0, 0, 0xff, 0xff].repeat(blocks));
    large.extend([1, 0, 0, 0xff, 0xff]);
    for wire in [&small[..], &large] {
        let mut work = Workspace::new();
        let mut out: Vec<Decoder> = (0..SUSPENDED_MAX).map(|_| suspended(&mut work)).collect();
        let mut decoder = Decoder::default();
        work.budget = Budget::of_a_turn();
        let (mut used, step) = decoder.decode(wire, &mut work, &rules()).unwrap();
        assert!(matches!(step, Step::Yield) && work.spans.is_empty(), "{step:?}");
        drop(out.pop());
        work.budget = Budget::of_a_turn();
        let (more, step) = decoder.decode(&wire[used..], &mut work, &rules()).unwrap();
        used += more;
        let is_whole = matches!(step, Step::Single { .. }) || work.spans.len() == 1;
        assert!(is_whole && used == wire.len(), "{step:?}, {used} of {}", wire.len());
    }
}

#[test]
fn a_large_announcement_takes_no_memory_that_has_not_arrived() {
    let (mut decoder, mut work) = (Decoder::default(), Workspace::new());
    let (_, step) = decoder.decode(b"\x00\x7f\xff\xff0123", &mut work, &rules()).unwrap();
    assert!(matches!(step, Step::Drained));
    assert_eq!(decoder.held_bytes(), 4);
    let (buffer, missing) = decoder.lend().unwrap().unwrap();
    assert!(buffer.capacity() <= FIRST_STEP_BYTES && missing == 0x7f_fffb);
}
