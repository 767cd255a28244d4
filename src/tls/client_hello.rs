//! A bounded look at the ClientHello, before any TLS state exists.
//!
//! Promises: no input makes it panic, nothing is allocated beyond what has arrived, and no
//! answer takes more than [`MAX_HELLO`] bytes of message in [`MAX_RECORDS`] records.
//! It reads what the choice of a configuration and a helpful error text need: server name,
//! ALPN, versions, suites and groups. It judges nothing: whether a ClientHello is acceptable,
//! and which alert a bad one earns, is left to the TLS library, which reads the same bytes.
//!
//! ```text
//! record  22 | 3 x | len | fragment         any number of records, each with a piece of
//! message  1 | length (3) | version (2) | random (32) | session id | suites | compression | extensions
//! ```

use std::borrow::Cow;

/// Largest first ClientHello, with its four header bytes.
pub const MAX_HELLO: usize = 16 * 1024;

/// Most records over which a ClientHello may be spread.
pub const MAX_RECORDS: usize = 64;

const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const HANDSHAKE: u8 = 22;
const CLIENT_HELLO: u8 = 1;
const MAX_FRAGMENT: usize = 16 * 1024;

/// What the first bytes of a stream are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peek {
    /// A ClientHello so far, but not all of it.
    NeedMore,
    /// A whole ClientHello.
    Hello(Box<ClientHello>),
    /// A ClientHello beyond [`MAX_HELLO`] or [`MAX_RECORDS`].
    TooLong,
    /// The stream does not begin with a TLS record; what it looks like instead.
    NotTls(&'static str),
    /// TLS records, but no ClientHello that could be read.
    Malformed,
}

/// What a ClientHello says about its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The host name asked for, in lower case. An IP address counts as none (RFC 6066).
    pub server_name: Option<String>,
    /// The newest version offered, for example `0x0304` for TLS 1.3.
    pub newest_version: u16,
    /// The oldest version offered in a list of versions, otherwise the same as the newest.
    pub oldest_version: u16,
    /// Suites offered, in the peer's order, without GREASE.
    pub cipher_suites: Vec<u16>,
    /// Groups offered, in the peer's order, without GREASE.
    pub groups: Vec<u16>,
    /// The protocol list as on the wire: many short names cost no allocation each.
    alpn: Vec<u8>,
}

impl ClientHello {
    /// The ALPN names offered, in the peer's order.
    pub fn alpn(&self) -> impl Iterator<Item = &[u8]> {
        let mut list = Reader(&self.alpn);
        std::iter::from_fn(move || list.vector8())
    }
}

/// Looks at `stream`, the first bytes that a peer sent, always from the very beginning.
pub fn peek(stream: &[u8]) -> Peek {
    match stream {
        [] => return Peek::NeedMore,
        [HANDSHAKE, ..] => {}
        // The others are guessed by three; a client of ours waits for its answer behind the first.
        [1..=3, ..] | [_, _, _, ..] => return Peek::NotTls(guess(stream)),
        _ => return Peek::NeedMore,
    }
    let mut header = [0; MESSAGE_HEADER];
    let mut arrived = 0;
    let mut rest = stream;
    for _ in 0..MAX_RECORDS {
        let Some((record, body)) = rest.split_at_checked(RECORD_HEADER) else {
            return Peek::NeedMore;
        };
        let length = usize::from(u16::from_be_bytes([record[3], record[4]]));
        if record[0] != HANDSHAKE || record[1] != 3 || !(1..=MAX_FRAGMENT).contains(&length) {
            return Peek::Malformed;
        }
        let fragment = &body[..length.min(body.len())];
        for (to, from) in header.iter_mut().skip(arrived).zip(fragment) {
            *to = *from;
        }
        arrived += fragment.len();
        if arrived > 0 && header[0] != CLIENT_HELLO {
            return Peek::Malformed;
        }
        // Until the length itself has arrived, the header is all that is known to come.
        let mut total = MESSAGE_HEADER;
        if arrived >= MESSAGE_HEADER {
            total += u32::from_be_bytes([0, header[1], header[2], header[3]]) as usize;
        }
        if total > MAX_HELLO {
            return Peek::TooLong;
        }
        if fragment.len() < length {
            return Peek::NeedMore;
        }
        if arrived >= total {
            return match parse(&joined(stream, total)[MESSAGE_HEADER..]) {
                Some(hello) => Peek::Hello(Box::new(hello)),
                None => Peek::Malformed,
            };
        }
        rest = &body[length..];
    }
    Peek::TooLong
}

/// The first `total` bytes of the message; `peek` has seen that they are there.
fn joined(stream: &[u8], total: usize) -> Cow<'_, [u8]> {
    if let Some(message) = Reader(&stream[3..]).vector16()
        && message.len() >= total
    {
        return Cow::Borrowed(&message[..total]);
    }
    let mut message = Vec::with_capacity(total);
    let mut rest = stream;
    while message.len() < total {
        let (record, body) = rest.split_at(RECORD_HEADER);
        let (fragment, behind) =
            body.split_at(usize::from(u16::from_be_bytes([record[3], record[4]])));
        message.extend_from_slice(&fragment[..fragment.len().min(total - message.len())]);
        rest = behind;
    }
    Cow::Owned(message)
}

fn parse(body: &[u8]) -> Option<ClientHello> {
    let mut body = Reader(body);
    let legacy_version = body.u16()?;
    let _random = body.take(32)?;
    let _session_id = body.vector8()?;
    let cipher_suites = numbers(body.vector16()?)?;
    let _compression = body.vector8()?;
    let mut hello = ClientHello {
        server_name: None,
        newest_version: legacy_version,
        oldest_version: legacy_version,
        cipher_suites,
        groups: Vec::new(),
        alpn: Vec::new(),
    };
    if body.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Reader(body.vector16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let mut data = Reader(extensions.vector16()?);
        match kind {
            SERVER_NAME => {
                let mut names = Reader(data.vector16()?);
                let kind = names.take(1)?;
                let name = names.vector16()?;
                hello.server_name = if kind == [0] { host_name(name) } else { None };
            }
            SUPPORTED_GROUPS => hello.groups = numbers(data.vector16()?)?,
            ALPN => {
                let list = data.vector16()?;
                let mut names = Reader(list);
                while !names.0.is_empty() {
                    names.vector8()?;
                }
                hello.alpn = list.to_vec();
            }
            SUPPORTED_VERSIONS => {
                let versions = numbers(data.vector8()?)?;
                let known = || versions.iter().copied().filter(|v| v >> 8 == 3);
                hello.newest_version = known().max().unwrap_or(legacy_version);
                hello.oldest_version = known().min().unwrap_or(legacy_version);
            }
            _ => {}
        }
    }
    Some(hello)
}

/// A list of 16-bit numbers, without those of GREASE (RFC 8701: `0x?a?a`).
fn numbers(list: &[u8]) -> Option<Vec<u16>> {
    if !list.len().is_multiple_of(2) {
        return None;
    }
    let mut numbers = Vec::with_capacity(list.len() / 2);
    numbers.extend(
        list.chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .filter(|n| n & 0x0f0f != 0x0a0a || n >> 8 != n & 0xff),
    );
    Some(numbers)
}

fn host_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    // RFC 6066 wants it without the dot of the root; some send it.
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let host = (1..=253).contains(&name.len()) && name.chars().all(plain);
    (host && name.parse::<std::net::IpAddr>().is_err()).then_some(name)
}

/// What a stream that is not TLS most likely is.
fn guess(stream: &[u8]) -> &'static str {
    match stream {
        [first, _, 1, ..] if first & 0x80 != 0 => "an SSL 2.0 hello",
        [1..=3, ..] => "the first byte of a plain client",
        [b'S', b'S', b'H', ..] => "SSH",
        [b'P', b'R', b'O', ..] | [b'\r', b'\n', b'\r', ..] => "a PROXY protocol header",
        _ if [b"GET", b"HEA", b"POS", b"PUT", b"DEL", b"OPT", b"CON", b"PAT", b"PRI"]
            .iter()
            .any(|method| stream.starts_with(*method)) =>
        {
            "plain HTTP"
        }
        _ => "something that is not TLS",
    }
}

/// Bounded reading: every step answers `None` where bytes are missing.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.take(1)?[0]);
        self.take(length)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use super::super::test_peer;
    use super::*;

    fn hello_bytes() -> Vec<u8> {
        test_peer::client_hello("Name.Example", &[b"h2", b"http/1.1"])
    }

    fn read(stream: &[u8]) -> ClientHello {
        match peek(stream) {
            Peek::Hello(hello) => *hello,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_hello_tells_name_protocols_versions_suites_and_groups() {
        let hello = read(&hello_bytes());
        assert_eq!(hello.server_name.as_deref(), Some("name.example"));
        assert_eq!(hello.alpn().collect::<Vec<_>>(), [b"h2".as_slice(), b"http/1.1"]);
        assert_eq!((hello.newest_version, hello.oldest_version), (0x0304, 0x0303));
        assert!(hello.cipher_suites.contains(&0x1302));
        assert!(hello.groups.contains(&29));
    }

    #[test]
    fn every_prefix_asks_for_more() {
        let bytes = hello_bytes();
        for end in 0..bytes.len() {
            assert_eq!(peek(&bytes[..end]), Peek::NeedMore, "at {end}");
        }
    }

    #[test]
    fn fragments_are_joined_over_records() {
        let bytes = hello_bytes();
        let whole = read(&bytes);
        for size in [8, 9, 50, 100, 5000] {
            let cut = test_peer::fragmented(&bytes, size);
            assert_eq!(read(&cut), whole);
            for end in 0..cut.len() {
                assert_eq!(peek(&cut[..end]), Peek::NeedMore);
            }
        }
        for at in 1..bytes.len() - 5 {
            assert_eq!(read(&test_peer::cut_at(&bytes, at)), whole);
        }
    }

    #[test]
    fn one_byte_records_are_joined_up_to_the_limit_and_too_long_above_it() {
        let bytes = hello_bytes();
        let body = &bytes[5..];
        let records = |single: usize| {
            let mut out = test_peer::fragmented_body(&body[..single], 1);
            out.extend(test_peer::fragmented_body(&body[single..], 16384));
            out
        };
        assert_eq!(read(&records(MAX_RECORDS - 1)), read(&bytes));
        assert_eq!(peek(&records(MAX_RECORDS)), Peek::TooLong);
        assert_eq!(peek(&test_peer::fragmented(&bytes, 1)), Peek::TooLong);
    }

    #[test]
    fn an_announced_length_above_the_limit_is_too_long_at_once() {
        assert_eq!(peek(&[22, 3, 1, 0, 4, 1, 0, 0x3f, 0xfc]), Peek::NeedMore);
        assert_eq!(peek(&[22, 3, 1, 0, 4, 1, 0, 0x3f, 0xfd]), Peek::TooLong);
    }

    #[test]
    fn what_is_no_record_of_a_client_hello_is_malformed_at_once() {
        // An empty record, another version, another content, another message.
        assert_eq!(peek(&[22, 3, 1, 0, 0]), Peek::Malformed);
        assert_eq!(peek(&[22, 4, 1, 0, 4]), Peek::Malformed);
        assert_eq!(peek(&[22, 3, 1, 0x40, 1]), Peek::Malformed);
        assert_eq!(peek(&[22, 3, 1, 0, 4, 2]), Peek::Malformed);
        assert_eq!(peek(&[22, 3, 1, 0, 1, 1, 23, 3, 1, 0, 1]), Peek::Malformed);
        assert_eq!(peek(&[22, 3, 1, 0, 1, 1, 22, 3, 1, 0, 1]), Peek::NeedMore);
    }

    #[test]
    fn a_hello_without_extensions_tells_its_version_and_suites() {
        let body = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0, 47, 1, 0]].concat();
        let message = [&[CLIENT_HELLO, 0, 0, body.len() as u8][..], &body].concat();
        let hello = read(&test_peer::fragmented_body(&message, 16384));
        assert_eq!((hello.newest_version, hello.oldest_version), (0x0302, 0x0302));
        assert_eq!((hello.cipher_suites, hello.groups), (vec![47], vec![]));
    }

    #[test]
    fn grease_is_left_out_and_nothing_else() {
        let grease: Vec<u16> = (0..16).map(|n| n << 12 | 0x0a00 | n << 4 | 0x0a).collect();
        assert_eq!((grease[0], grease[9], grease[15]), (0x0a0a, 0x9a9a, 0xfafa));
        let all: Vec<u8> = (0..=u16::MAX).flat_map(u16::to_be_bytes).collect();
        let rest: Vec<u16> = (0..=u16::MAX).filter(|n| !grease.contains(n)).collect();
        assert_eq!(numbers(&all).unwrap(), rest);
        assert_eq!(numbers(&all[..3]), None);
    }

    #[test]
    fn a_hello_with_grease_as_browsers_send_it_tells_what_they_offer() {
        let extension = |kind: u16, body: &[u8]| {
            [&kind.to_be_bytes()[..], &(body.len() as u16).to_be_bytes(), body].concat()
        };
        let extensions = [
            extension(0x3a3a, &[]),
            extension(SUPPORTED_GROUPS, &[0, 6, 0xda, 0xda, 0x11, 0xec, 0, 29]),
            // With a draft and a version of DTLS, which count as little.
            extension(SUPPORTED_VERSIONS, &[10, 0x6a, 0x6a, 0x7f, 28, 3, 4, 3, 3, 2, 0]),
            // A name of a kind that is none of a host.
            extension(SERVER_NAME, &[0, 4, 1, 0, 1, b'a']),
            extension(0xfafa, &[0]),
        ]
        .concat();
        let body = [
            &[3, 3][..],
            &[7; 32],
            &[0],
            &[0, 6, 0x2a, 0x2a, 0x13, 1, 0xc0, 0x2b],
            &[1, 0],
            &(extensions.len() as u16).to_be_bytes(),
            &extensions,
        ]
        .concat();
        let message = [&[CLIENT_HELLO, 0, 0, body.len() as u8][..], &body].concat();
        let hello = read(&test_peer::fragmented_body(&message, 16384));
        assert_eq!(hello.cipher_suites, [0x1301, 0xc02b]);
        assert_eq!(hello.groups, [0x11ec, 29]);
        assert_eq!((hello.newest_version, hello.oldest_version), (0x0304, 0x0303));
        assert_eq!((hello.server_name, hello.alpn.len()), (None, 0));
    }

    #[test]
    fn other_protocols_are_named() {
        assert_eq!(peek(b"GET / HTTP/1.1\r\n"), Peek::NotTls("plain HTTP"));
        for method in ["HEAD", "POST", "PUT", "DELETE", "OPTIONS", "CONNECT", "PATCH", "PRI *"] {
            assert_eq!(peek(method.as_bytes()), Peek::NotTls("plain HTTP"), "{method}");
        }
        assert_eq!(peek(b"PROXY TCP4"), Peek::NotTls("a PROXY protocol header"));
        assert_eq!(peek(b"\r\n\r\n\0\r\nQUIT\n"), Peek::NotTls("a PROXY protocol header"));
        assert_eq!(peek(b"SSH-2.0-x"), Peek::NotTls("SSH"));
        assert_eq!(peek(&[0x80, 0x2e, 1, 3, 1]), Peek::NotTls("an SSL 2.0 hello"));
        assert_eq!(peek(&[0, 0, 0]), Peek::NotTls("something that is not TLS"));
        assert_eq!(peek(b"GE"), Peek::NeedMore);
        assert_eq!(peek(&[1]), Peek::NotTls("the first byte of a plain client"));
    }

    #[test]
    fn no_mutation_and_no_noise_panics() {
        let bytes = hello_bytes();
        for at in 0..bytes.len() {
            for value in 0..=255 {
                let mut changed = bytes.clone();
                changed[at] = value;
                let _ = peek(&changed);
            }
        }
        let mut seed = 0x2545_f491_4f6c_dd1d_u64;
        for round in 0..20_000 {
            let mut noise: Vec<u8> = (0..round % 300)
                .map(|_| {
                    seed ^= seed << 13;
                    seed ^= seed >> 7;
                    seed ^= seed << 17;
                    (seed >> 32) as u8
                })
                .collect();
            let _ = peek(&noise);
            let start = [22, 3, 1, 0, (round % 290) as u8, 1, 0, 0];
            for (to, from) in noise.iter_mut().zip(start) {
                *to = from;
            }
            let _ = peek(&noise);
        }
    }

    #[test]
    fn an_address_and_a_broken_name_are_no_server_name() {
        assert_eq!(host_name(b"192.0.2.1"), None);
        assert_eq!(host_name(b"a b"), None);
        assert_eq!(host_name(b""), None);
        assert_eq!(host_name(b"."), None);
        assert_eq!(host_name(b"A.b"), Some("a.b".into()));
        assert_eq!(host_name(b"A.b."), Some("a.b".into()));
        assert_eq!(host_name(&[b'a'; 253]), Some("a".repeat(253)));
        assert_eq!(host_name(&[b'a'; 254]), None);
    }
}
