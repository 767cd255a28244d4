//! A peer: what it will send was decided when it was made; when, the world decides.

use super::wire::PeerEnd;
use crate::base::random::Random;
use crate::event::Protocol;
use crate::frame::FrameRules;
use crate::frame::deflate::Reads;
use crate::fuzzing::reference;
use crate::status::CloseReason;
use crate::tls::test_peer::{Setup, received, sealed, sent};
use flate2::Compression;
use flate2::write::{DeflateEncoder, ZlibEncoder};
use rustls::ClientConnection;
use std::collections::VecDeque;
use std::io::Write;
use std::net::SocketAddr;

/// How a peer leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leaves {
    /// Ends its stream (with close_notify), then reads to the end.
    Fin,
    /// Ends its stream without close_notify (with TLS).
    AbruptFin,
    Reset,
    /// Says nothing more and goes on reading.
    Never,
    /// Says nothing more and stops reading.
    Stalls,
}

/// Most of them end in order.
const LEAVES: [Leaves; 7] = [
    Leaves::Fin,
    Leaves::Fin,
    Leaves::Fin,
    Leaves::AbruptFin,
    Leaves::Reset,
    Leaves::Never,
    Leaves::Stalls,
];

/// What a peer sends.
#[derive(Debug)]
pub(super) struct Plan {
    pub first_byte: Option<u8>,
    /// Payloads of whole good frames, in order; or the stream, as one piece.
    pub payloads: Vec<Vec<u8>>,
    /// How the stream breaks a rule after those.
    pub breaks: Option<CloseReason>,
    pub leaves: Leaves,
    /// It leaves after so many bytes of the wire, whatever it is in the middle of.
    pub cut: Option<usize>,
    pub tls: bool,
}

pub(super) struct Peer {
    pub address: SocketAddr,
    pub plan: Plan,
    pub end: PeerEnd,
    tls: Option<Box<ClientConnection>>,
    /// Bytes of the wire that are still to be sent.
    outbox: VecDeque<u8>,
    /// Plaintext that waits for the end of the handshake.
    waiting: Vec<u8>,
    /// Bytes of the wire that have been sent.
    said: usize,
    /// What has been read, out of TLS.
    pub got: Vec<u8>,
    pub left: bool,
    /// It left in the middle of what it had to say.
    pub is_cut: bool,
    /// The TLS layer saw close_notify, or there is no TLS and the stream ended.
    pub clean_end: bool,
    pub tls_error: bool,
}

/// The limits that plans play with; the world's port has the same.
pub(super) const MAX_FRAME: usize = 40_000;
pub(super) const MAX_INFLATED: usize = 300_000;

impl Plan {
    /// What a peer plans that sends these bytes.
    pub fn of_bytes(random: &mut Random, bytes: &[u8]) -> Plan {
        let leaves = *random.pick(&LEAVES);
        let mut plan = Plan {
            first_byte: None,
            payloads: Vec::new(),
            breaks: None,
            leaves,
            cut: None,
            tls: false,
        };
        let Some((protocol, first_byte, rest)) = reference::identified(bytes) else { return plan };
        plan.first_byte = Some(first_byte);
        if !protocol.is_framed() {
            plan.payloads.push(rest.to_vec());
            return plan;
        }
        let rules = FrameRules {
            max_frame_bytes: MAX_FRAME,
            max_inflated_bytes: MAX_INFLATED,
            reads: Reads::Auto,
            writes: None,
        };
        let reading = reference::frames(rest, &rules);
        let cut = (reading.rest > 0).then_some(CloseReason::Truncated);
        plan.breaks = reading.breaks.or(cut);
        plan.payloads = reading.frames.into_iter().map(|(payload, _)| payload).collect();
        plan
    }

    pub fn new(random: &mut Random, tls: bool) -> (Plan, Vec<u8>) {
        let mut stream = Vec::new();
        let leaves = *random.pick(&LEAVES);
        let mut plan =
            Plan { first_byte: None, payloads: Vec::new(), breaks: None, leaves, cut: None, tls };
        if random.one_in(12) {
            return (plan, stream);
        }
        let first_byte = *random.pick(&[1, 1, 1, 1, 3, 3, 2, b'G', 0, 22, 255]);
        plan.first_byte = Some(first_byte);
        stream.push(first_byte);
        let protocol = Protocol::of_first_byte(first_byte);
        if !protocol.is_framed() {
            let len = random.size(100_000);
            let mut bytes = random.bytes(len);
            if let (22, Some(second)) = (first_byte, bytes.first_mut()) {
                // Half of them look like TLS.
                *second = *random.pick(&[3, 4]);
            }
            stream.extend_from_slice(&bytes);
            let front = if protocol == Protocol::Unknown { vec![first_byte] } else { Vec::new() };
            plan.payloads = vec![[front, bytes].concat()];
            return (plan, stream);
        }
        for _ in 0..random.size(40) {
            let max = *random.pick(&[10, 600, 5_000, MAX_FRAME]);
            let len = random.size(max);
            let payload = random.bytes(len);
            let frame = if random.one_in(3) { compress(random, &payload) } else { payload.clone() };
            let compressed = frame != payload;
            if frame.len() <= MAX_FRAME && !(compressed && frame.is_empty()) {
                put_frame(&mut stream, &frame, compressed);
                plan.payloads.push(payload);
            }
        }
        if random.one_in(5) {
            plan.breaks = Some(break_a_rule(random, &mut stream));
        }
        (plan, stream)
    }

    /// Now and then it leaves in the middle of a frame, a record or its handshake. Nothing in order can
    /// come behind that.
    fn with_cut(mut self, random: &mut Random, stream: &[u8]) -> Plan {
        if random.one_in(8) {
            // A handshake is some hundred bytes.
            let bytes = stream.len() + if self.tls { 500 } else { 0 };
            self.cut = Some(random.below(bytes + 1));
            if self.leaves == Leaves::Fin {
                self.leaves = Leaves::AbruptFin;
            }
        }
        self
    }
}

fn put_frame(stream: &mut Vec<u8>, payload: &[u8], compressed: bool) {
    let word = payload.len() as u32 | u32::from(compressed) << 31;
    stream.extend_from_slice(&word.to_be_bytes());
    stream.extend_from_slice(payload);
}

fn compress(random: &mut Random, payload: &[u8]) -> Vec<u8> {
    let level = Compression::new(random.below(10) as u32);
    if random.one_in(2) {
        let mut encoder = ZlibEncoder::new(Vec::new(), level);
        encoder.write_all(payload).unwrap();
        encoder.finish().unwrap()
    } else {
        let mut encoder = DeflateEncoder::new(Vec::new(), level);
        encoder.write_all(payload).unwrap();
        encoder.finish().unwrap()
    }
}

fn break_a_rule(random: &mut Random, stream: &mut Vec<u8>) -> CloseReason {
    match random.below(6) {
        0 => {
            stream.extend_from_slice(&(MAX_FRAME as u32 + 1).to_be_bytes());
            CloseReason::FrameTooLarge
        }
        1 => {
            put_frame(stream, &[], true);
            CloseReason::DeflateEmpty
        }
        2 => {
            let mut packed = compress(random, &[7; 3000]);
            packed.extend_from_slice(b"more");
            put_frame(stream, &packed, true);
            CloseReason::DeflateTrailing
        }
        3 => {
            let packed = compress(random, &[7; 3000]);
            put_frame(stream, &packed[..packed.len() - 1], true);
            CloseReason::DeflateCorrupt
        }
        4 => {
            let packed = compress(random, &vec![7; MAX_INFLATED + 1]);
            if packed.len() > MAX_FRAME {
                // Level 0 does not compress: the header is what is wrong then.
                put_frame(stream, &packed, true);
                return CloseReason::FrameTooLarge;
            }
            put_frame(stream, &packed, true);
            CloseReason::InflatedTooLarge
        }
        _ => {
            // A frame that never becomes whole; how that ends depends on how the peer leaves.
            let len = 1 + random.below(MAX_FRAME);
            stream.extend_from_slice(&(len as u32).to_be_bytes());
            let part = random.below(len);
            stream.extend_from_slice(&random.bytes(part));
            CloseReason::Truncated
        }
    }
}

impl Peer {
    pub fn new(random: &mut Random, address: SocketAddr, end: PeerEnd, tls: bool) -> Peer {
        let (plan, stream) = Plan::new(random, tls);
        let plan = plan.with_cut(random, &stream);
        Peer::with_plan(address, end, plan, stream)
    }

    /// A peer that does what is planned.
    pub fn with_plan(address: SocketAddr, end: PeerEnd, plan: Plan, stream: Vec<u8>) -> Peer {
        let mut tls = plan.tls.then(|| Box::new(Setup::default().connect()));
        let (outbox, waiting) = match &mut tls {
            Some(client) => (VecDeque::from(sent(client)), stream),
            None => (VecDeque::from(stream), Vec::new()),
        };
        Peer {
            address,
            plan,
            end,
            tls,
            outbox,
            waiting,
            said: 0,
            got: Vec::new(),
            left: false,
            is_cut: false,
            clean_end: false,
            tls_error: false,
        }
    }

    /// All that it had to say is on the wire.
    pub fn has_said_all(&self) -> bool {
        self.outbox.is_empty() && self.waiting.is_empty()
    }

    /// Does one thing.
    pub fn step(&mut self, random: &mut Random) {
        let reads = self.plan.leaves != Leaves::Stalls || !self.has_said_all();
        if random.one_in(2) && reads {
            let max = 1 + random.size(100_000);
            self.read(max);
        } else if !self.outbox.is_empty() {
            let max = self.outbox.len();
            let len = if random.one_in(4) { max } else { 1 + random.size(max - 1) };
            let until_cut = self.plan.cut.map_or(usize::MAX, |cut| cut - self.said);
            let bytes: Vec<u8> = self.outbox.drain(..len.min(max).min(until_cut)).collect();
            self.said += bytes.len();
            self.end.send(&bytes);
            if bytes.len() == until_cut {
                self.is_cut = true;
                self.outbox.clear();
                self.waiting.clear();
                self.leave();
            }
        } else if self.waiting.is_empty() && !self.left && random.one_in(3) {
            self.leave();
        }
    }

    /// Leaves in its way.
    pub fn leave(&mut self) {
        self.left = true;
        match self.plan.leaves {
            Leaves::Fin => {
                if let Some(client) = &mut self.tls {
                    client.send_close_notify();
                    let farewell = sent(client);
                    self.end.send(&farewell);
                }
                self.end.fin();
            }
            Leaves::AbruptFin => self.end.fin(),
            Leaves::Reset => self.end.reset(),
            Leaves::Never | Leaves::Stalls => {}
        }
    }

    /// Reads up to `max` bytes of the wire.
    pub fn read(&mut self, max: usize) {
        let bytes = self.end.recv(max);
        match &mut self.tls {
            None => self.got.extend_from_slice(&bytes),
            Some(client) => {
                match received(client, &bytes) {
                    Ok(plain) => self.got.extend_from_slice(&plain),
                    Err(_) => self.tls_error = true,
                }
                if !client.is_handshaking() && !self.waiting.is_empty() {
                    let stream = std::mem::take(&mut self.waiting);
                    // In several writes, so that records begin at other places than frames.
                    for part in stream.chunks(9_000) {
                        let records = sealed(client, part);
                        self.outbox.extend(records);
                    }
                }
                // Key updates, alerts.
                let answers = sent(client);
                if !self.is_cut {
                    self.outbox.extend(answers);
                }
                let state = client.process_new_packets();
                self.clean_end |= state.is_ok_and(|state| state.peer_has_closed());
            }
        }
        let reset = self.end.was_reset() || (self.left && self.plan.leaves == Leaves::Reset);
        if self.tls.is_none() && self.end.is_at_end() && !reset {
            self.clean_end = true;
        }
    }
}
