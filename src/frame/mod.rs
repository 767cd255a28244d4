//! Stage 4: frames. A frame is a 4-byte big-endian header and its payload:
//!
//! ```text
//!  31 30                                 0
//! ┌──┬────────────────────────────────────┐┌──────────── n bytes ────────────┐
//! │ C│ n: payload bytes that follow       ││ payload                         │
//! └──┴────────────────────────────────────┘└─────────────────────────────────┘
//!  C = 1: the payload is deflate-compressed, C = 0: raw
//! ```
//!
//! `decode` takes frames off arriving bytes, `encode` puts header and payload together,
//! `deflate` does the compression both ways, `compressors` keeps the states for it. None of them knows a socket or a clock.

pub(crate) mod compressors;
pub(crate) mod decode;
pub(crate) mod deflate;
pub(crate) mod encode;

/// Bytes of a frame header.
pub(crate) const HEADER_BYTES: usize = 4;

/// The largest payload that 31 bits can announce.
pub(crate) const MAX_PAYLOAD_BYTES: usize = 0x7fff_ffff;

/// The four bytes in front of each payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Header {
    /// Payload bytes that follow, at most [`MAX_PAYLOAD_BYTES`].
    pub payload_bytes: usize,
    /// The payload is deflate-compressed.
    pub compressed: bool,
}

impl Header {
    /// Reads the header at the front of `bytes`, if four bytes are there.
    pub fn parse(bytes: &[u8]) -> Option<Header> {
        let word = u32::from_be_bytes(bytes.first_chunk().copied()?);
        Some(Header { payload_bytes: (word & 0x7fff_ffff) as usize, compressed: word >> 31 == 1 })
    }

    /// The bytes on the wire.
    pub fn to_bytes(self) -> [u8; HEADER_BYTES] {
        debug_assert!(self.payload_bytes <= MAX_PAYLOAD_BYTES);
        (self.payload_bytes as u32 | (self.compressed as u32) << 31).to_be_bytes()
    }
}

/// How a port reads and writes frames.
#[derive(Clone, Debug)]
pub(crate) struct FrameRules {
    /// `maxFrameSize`: largest payload on the wire, in bytes, inclusive.
    pub max_frame_bytes: usize,
    /// `maxInflatedSize`: largest payload after inflation, in bytes, inclusive.
    pub max_inflated_bytes: usize,
    /// What a compressed payload may look like when it arrives.
    pub reads: deflate::Reads,
    /// How and when sent frames are compressed; `None` = never.
    pub writes: Option<deflate::Writes>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_four_bytes_big_endian_with_the_deflate_flag_in_bit_31() {
        let raw = Header::parse(b"\x00\x00\x00\x05hello").unwrap();
        assert_eq!(raw, Header { payload_bytes: 5, compressed: false });
        assert_eq!(raw.to_bytes(), [0, 0, 0, 5]);
        let packed = Header::parse(&[0x80, 0, 0, 0x0c]).unwrap();
        assert_eq!(packed, Header { payload_bytes: 12, compressed: true });
        assert_eq!(packed.to_bytes(), [0x80, 0, 0, 0x0c]);
        assert_eq!(Header::parse(&[0xff; 4]).unwrap().payload_bytes, MAX_PAYLOAD_BYTES);
        assert_eq!(Header::parse(&[0, 0, 0]), None);
    }
}
