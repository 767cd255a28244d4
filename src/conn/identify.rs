//! Stage 3: the first byte says what a connection is.

use crate::event::Protocol;

/// What the first bytes say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum FirstByte {
    /// Not decided by the bytes so far.
    NeedMore,
    /// A TLS record: a record type 22, then a major version 3.
    Tls,
    Is {
        protocol: Protocol,
        first_byte: u8,
    },
}

/// Looks at the front of a stream. `tls_possible`: no TLS lies around it already, so a
/// byte 22 may begin a TLS record; then the second byte decides.
pub(crate) fn identify(bytes: &[u8], tls_possible: bool) -> FirstByte {
    match *bytes {
        [] => FirstByte::NeedMore,
        [22] if tls_possible => FirstByte::NeedMore,
        [22, 3, ..] if tls_possible => FirstByte::Tls,
        [first_byte, ..] => {
            FirstByte::Is { protocol: Protocol::of_first_byte(first_byte), first_byte }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_two_and_three_have_their_meaning_and_all_other_bytes_are_unknown() {
        for first_byte in 0..=255u8 {
            let protocol = match first_byte {
                1 => Protocol::Client,
                2 => Protocol::Relay,
                3 => Protocol::RemoteApplication,
                _ => Protocol::Unknown,
            };
            let expected = FirstByte::Is { protocol, first_byte };
            assert_eq!(identify(&[first_byte], false), expected);
            if first_byte != 22 {
                assert_eq!(identify(&[first_byte], true), expected);
            }
        }
        assert_eq!(identify(&[], true), FirstByte::NeedMore);
    }

    #[test]
    fn a_tls_record_is_decided_at_its_second_byte() {
        assert_eq!(identify(&[22], true), FirstByte::NeedMore);
        assert_eq!(identify(&[22, 3, 1], true), FirstByte::Tls);
        let unknown = FirstByte::Is { protocol: Protocol::Unknown, first_byte: 22 };
        assert_eq!(identify(&[22, 4], true), unknown);
        assert_eq!(identify(&[22, 3], false), unknown);
    }
}
