//! What a peer's bytes mean, told by the simplest code that can tell it: everything is there
//! at once, nothing is suspended or reused.

use crate::event::Protocol;
use crate::frame::FrameRules;
use crate::frame::deflate::Reads;
use crate::status::CloseReason;
use flate2::{Decompress, FlushDecompress, Status};

/// Frames and how the bytes behind them end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Reading {
    /// Payloads, and whether they came compressed.
    pub frames: Vec<(Vec<u8>, bool)>,
    /// A rule is broken behind them.
    pub breaks: Option<CloseReason>,
    /// Bytes of a frame that is not whole.
    pub rest: usize,
}

/// Reads frames.
pub(crate) fn frames(mut bytes: &[u8], rules: &FrameRules) -> Reading {
    let mut reading = Reading::default();
    while let Some((header, behind)) = bytes.split_first_chunk::<4>() {
        let word = u32::from_be_bytes(*header);
        let (compressed, len) = (word >= 1 << 31, (word & 0x7fff_ffff) as usize);
        if len > rules.max_frame_bytes {
            reading.breaks = Some(CloseReason::FrameTooLarge);
            return reading;
        }
        if compressed && len == 0 {
            reading.breaks = Some(CloseReason::DeflateEmpty);
            return reading;
        }
        let Some((payload, behind)) = behind.split_at_checked(len) else { break };
        if compressed {
            match inflated(payload, rules.reads, rules.max_inflated_bytes) {
                Ok(plain) => reading.frames.push((plain, true)),
                Err(reason) => {
                    reading.breaks = Some(reason);
                    return reading;
                }
            }
        } else {
            reading.frames.push((payload.to_vec(), false));
        }
        bytes = behind;
    }
    reading.rest = bytes.len();
    reading
}

/// Inflates one payload.
pub(crate) fn inflated(payload: &[u8], reads: Reads, max: usize) -> Result<Vec<u8>, CloseReason> {
    let zlib = match (reads, payload) {
        (Reads::Zlib, _) => true,
        (Reads::Auto, [first, second, ..]) => {
            first % 16 == 8 && (u32::from(*first) * 256 + u32::from(*second)).is_multiple_of(31)
        }
        _ => false,
    };
    // With room for one byte too many and no more: then it is too large before anything that
    // stands behind that byte is looked at.
    let (mut inflate, mut plain) = (Decompress::new(zlib), Vec::new());
    loop {
        let room = (max + 1 - plain.len()).min(1 << 16);
        let (used, before) = (inflate.total_in() as usize, plain.len());
        let mut piece = vec![0; room];
        let status = inflate.decompress(&payload[used..], &mut piece, FlushDecompress::None);
        let (used_now, len) = (inflate.total_in() as usize, inflate.total_out() as usize);
        plain.extend_from_slice(&piece[..len - before]);
        match status {
            _ if len > max => return Err(CloseReason::InflatedTooLarge),
            Err(_) => return Err(CloseReason::DeflateCorrupt),
            Ok(Status::StreamEnd) if used_now < payload.len() => {
                return Err(CloseReason::DeflateTrailing);
            }
            Ok(Status::StreamEnd) => return Ok(plain),
            Ok(_) if (used_now, len) == (used, before) => return Err(CloseReason::DeflateCorrupt),
            Ok(_) => {}
        }
    }
}

/// The first byte and what follows it for the host: a stream, or bytes of frames.
pub(crate) fn identified(bytes: &[u8]) -> Option<(Protocol, u8, &[u8])> {
    let (&first_byte, rest) = bytes.split_first()?;
    Some(match first_byte {
        1 => (Protocol::Client, 1, rest),
        2 => (Protocol::Relay, 2, rest),
        3 => (Protocol::RemoteApplication, 3, rest),
        _ => (Protocol::Unknown, first_byte, bytes),
    })
}
