//! From a payload to the bytes on the wire.

use super::compressors::Compressors;
use super::deflate::Writes;
use super::{HEADER_BYTES, Header};
use crate::base::buffers::reserve;
use crate::status::CloseReason;

/// The header of a payload that is sent as it is.
pub(crate) fn raw_header(payload_bytes: usize) -> [u8; HEADER_BYTES] {
    Header { payload_bytes, compressed: false }.to_bytes()
}

/// True if this payload should be tried with compression.
pub(crate) fn worth_compressing(payload: &[u8], how: Option<Writes>) -> Option<Writes> {
    how.filter(|how| (how.threshold_bytes.max(1)..=how.limit_bytes).contains(&payload.len()))
}

/// A compressed frame, header included, at the end of `out`; false (and nothing appended)
/// if compression does not make it smaller.
pub(crate) fn compressed(
    payload: &[u8],
    how: Writes,
    states: &Compressors,
    out: &mut Vec<u8>,
) -> bool {
    let start = out.len();
    out.extend_from_slice(&[0; HEADER_BYTES]);
    if !states.compress_smaller(payload, how, out) {
        out.truncate(start);
        return false;
    }
    let payload_bytes = out.len() - start - HEADER_BYTES;
    out[start..start + HEADER_BYTES]
        .copy_from_slice(&Header { payload_bytes, compressed: true }.to_bytes());
    true
}

/// A whole frame at the end of `out`, compressed where that pays. There may be no memory for it.
pub(crate) fn frame(
    payload: &[u8],
    how: Option<Writes>,
    states: &Compressors,
    out: &mut Vec<u8>,
) -> Result<(), CloseReason> {
    if let Some(how) = worth_compressing(payload, how)
        && compressed(payload, how, states, out)
    {
        return Ok(());
    }
    let bytes = HEADER_BYTES + payload.len();
    if out.capacity() - out.len() < bytes {
        // At least twice as much, as there may be many.
        reserve(out, bytes.max(out.len()))?;
    }
    out.extend_from_slice(&raw_header(payload.len()));
    out.extend_from_slice(payload);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_examples_of_the_protocol_come_out_byte_by_byte() {
        let (mut out, states) = (Vec::new(), Compressors::new());
        frame(b"hello", None, &states, &mut out).unwrap();
        assert_eq!(out, b"\x00\x00\x00\x05hello");
        out.clear();
        let how = Writes { zlib: true, threshold_bytes: 64, limit_bytes: 65, level: 6 };
        frame(&[b'a'; 64], Some(how), &states, &mut out).unwrap();
        assert_eq!(out[..4], [0x80, 0, 0, 0x0c]);
        assert_eq!(out[4..6], [0x78, 0x9c]);
        assert_eq!(out[12..], [0x14, 0x8d, 0x18, 0x41], "Adler-32 of 64 letters a");
        out.clear();
        frame(&[b'a'; 63], Some(how), &states, &mut out).unwrap();
        assert_eq!(out[..4], [0, 0, 0, 63], "one byte below the threshold");
        for (len, header) in [(65, [0x80, 0, 0, 0x0c]), (66, [0, 0, 0, 66])] {
            out.clear();
            frame(&vec![b'a'; len], Some(how), &states, &mut out).unwrap();
            assert_eq!(
                out[..4],
                header,
                "{len}: exactly the limit is compressed, one byte more is not"
            );
        }
    }
}
