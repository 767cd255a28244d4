//! What must be told, in which order, and how a connection may end.

use super::host::{Known, Told};
use super::peer::{Leaves, Peer};
use crate::event::Protocol;
use crate::status::CloseReason;
use flate2::bufread::ZlibDecoder;
use std::io::Read;

/// What the world's port allows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    pub read_timeout_ms: u64,
    pub frame_timeout_ms: u64,
    pub idle_timeout_ms: u64,
    pub write_timeout_ms: u64,
    pub close_timeout_ms: u64,
    pub memory_is_small: bool,
    /// Large reservations fail now and then.
    pub memory_is_out: bool,
    pub stopped_early: bool,
    /// The host only echoes and sends.
    pub is_gentle: bool,
    /// Input waits until the host takes it: it may know of the end before that.
    pub wants_inbox: bool,
}

/// Judges one connection that the host was shown, after the world has ended.
pub(super) fn judge(peer: &Peer, known: &Known, terms: &Terms) {
    order(&known.told);
    let closed = known.closed.as_ref().expect("every shown connection is told its end");
    let protocol = known.told.iter().find_map(|told| match told {
        Told::Opened(protocol) => Some(*protocol),
        _ => None,
    });
    input(peer, known, protocol, closed.reason, terms.wants_inbox);
    output(peer, known, protocol);
    reason(peer, known, terms);
}

fn order(told: &[Told]) {
    let mut rest = told;
    if let [Told::Admit, more @ ..] = rest {
        rest = more;
    }
    if let [Told::Opened(_), more @ ..] = rest {
        rest = more;
        while let [Told::Input | Told::Writable, more @ ..] = rest {
            rest = more;
        }
        if let [Told::End, more @ ..] = rest {
            rest = more;
            while let [Told::Writable, more @ ..] = rest {
                rest = more;
            }
        }
    }
    assert_eq!(rest, [Told::Closed], "the order of events was {told:?}");
}

/// What was delivered is what the peer sent: all of it, where nothing cut it short.
fn input(
    peer: &Peer,
    known: &Known,
    protocol: Option<Protocol>,
    reason: CloseReason,
    has_inbox: bool,
) {
    let Some(protocol) = protocol else { return };
    let everything = !peer.is_cut
        && (matches!(reason, CloseReason::PeerClosed | CloseReason::Truncated)
            || (known.told.contains(&Told::End) && !has_inbox)
            || peer.plan.breaks == Some(reason));
    if protocol.is_framed() {
        let planned = &peer.plan.payloads;
        assert!(
            known.frames.len() <= planned.len() && known.frames == planned[..known.frames.len()],
            "delivered frames are not those that were sent"
        );
        if everything {
            assert_eq!(known.frames.len(), planned.len(), "frames are missing at {reason:?}");
        }
    } else {
        let planned = &peer.plan.payloads[0];
        assert!(planned.starts_with(&known.stream), "the stream is not what was sent");
        if everything {
            assert_eq!(known.stream.len(), planned.len(), "the stream is cut at {reason:?}");
        }
    }
}

/// What the peer got is what sends took, in order: all of it, where the end was orderly.
fn output(peer: &Peer, known: &Known, protocol: Option<Protocol>) {
    let closed = known.closed.as_ref().expect("judged before");
    // Let in, and ended before it was told that it opened: what it sent may have left.
    let admitted = known.did.admit.then(|| peer.plan.first_byte.map(Protocol::of_first_byte));
    let Some(protocol) = protocol.or(admitted.flatten()) else {
        assert!(peer.got.len() <= known.did.refusal, "more than a refusal: {closed:?}");
        return;
    };
    let orderly = peer.clean_end && !peer.tls_error && closed.unsent_bytes == 0;
    if !protocol.is_framed() {
        assert!(known.sent_stream.starts_with(&peer.got), "the peer got another stream");
        if orderly {
            assert_eq!(peer.got.len(), known.sent_stream.len(), "sent bytes are missing");
        }
        return;
    }
    let Some((&answer, mut rest)) = peer.got.split_first() else { return };
    assert_eq!(answer, 1, "the answer byte");
    let mut sent = known.sent.iter();
    while rest.len() >= 4 {
        let word = u32::from_be_bytes(rest[..4].try_into().expect("four bytes"));
        let (compressed, len) = (word >> 31 == 1, (word & 0x7fff_ffff) as usize);
        let Some(payload) = rest[4..].get(..len) else { break };
        let expected = sent.next().expect("the peer got a frame that nobody sent");
        if compressed {
            let mut plain = Vec::new();
            ZlibDecoder::new(payload).read_to_end(&mut plain).expect("a zlib stream");
            assert!(plain == *expected, "a frame came out different");
        } else {
            assert!(payload == expected.as_slice(), "a frame came out different");
        }
        rest = &rest[4 + len..];
    }
    if orderly {
        assert!(rest.is_empty(), "half a frame at an orderly end: {closed:?}");
        assert_eq!(sent.len(), 0, "sent frames are missing at an orderly end: {closed:?}");
    }
}

/// The reason is one that something explains; and where nothing else could have happened
/// it is the only one that fits.
fn reason(peer: &Peer, known: &Known, terms: &Terms) {
    let closed = known.closed.as_ref().expect("judged before");
    let lasted = |ms: u64| ms > 0 && closed.duration_ms >= ms;
    let did = &known.did;
    let fits = match closed.reason {
        CloseReason::PeerClosed => {
            peer.left
                && matches!(peer.plan.leaves, Leaves::Fin | Leaves::AbruptFin)
                && (did.close || closed.host_code == 0)
        }
        CloseReason::TlsTruncated => peer.plan.tls && peer.left,
        CloseReason::Truncated => {
            peer.is_cut || peer.left && peer.plan.breaks == Some(CloseReason::Truncated)
        }
        CloseReason::PeerReset => peer.left && peer.plan.leaves == Leaves::Reset,
        CloseReason::HostClosed => did.close && closed.host_code == 7,
        CloseReason::HostAborted => did.abort && closed.host_code == 9,
        CloseReason::HostDeadline => did.deadline,
        CloseReason::CallbackPanic => did.panicked,
        CloseReason::AdmissionRefused => did.refuse,
        CloseReason::AdmissionTimeout => lasted(terms.read_timeout_ms),
        CloseReason::FrameTimeout => lasted(terms.frame_timeout_ms),
        CloseReason::IdleTimeout => lasted(terms.idle_timeout_ms),
        CloseReason::WriteTimeout => lasted(terms.write_timeout_ms),
        CloseReason::CloseTimeout => lasted(terms.close_timeout_ms),
        CloseReason::MemoryLimit => terms.memory_is_small || terms.memory_is_out,
        CloseReason::DrainDeadline | CloseReason::Stopped => terms.stopped_early,
        other => peer.plan.breaks == Some(other),
    };
    assert!(
        fits,
        "{closed:?} does not fit {did:?} and a peer that leaves by {:?}",
        peer.plan.leaves
    );
    let nothing_else = terms.is_gentle
        && !terms.stopped_early
        && !terms.memory_is_small
        && !terms.memory_is_out
        && peer.plan.leaves == Leaves::Fin
        && !known.told.contains(&Told::End)
        && !closed.reason.name().ends_with("timeout");
    if nothing_else {
        let expected = peer.plan.breaks.unwrap_or(CloseReason::PeerClosed);
        assert_eq!(closed.reason, expected, "nothing but the peer's plan happened");
    }
}
