//! Tests of `client_hello`.

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
    assert!(hello.signature_schemes.contains(&0x0403));
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

/// A hello of `size` bytes in all.
fn padded(size: usize) -> Vec<u8> {
    let head = [&[3, 3][..], &[7; 32], &[0, 0, 2, 0, 47, 1, 0]].concat();
    let padding = size - MESSAGE_HEADER - head.len() - 6;
    let number = |n: usize| [(n >> 8) as u8, n as u8];
    let body =
        [&head[..], &number(padding + 4), &[0, 21], &number(padding), &vec![0; padding]].concat();
    [&[CLIENT_HELLO, 0][..], &number(body.len()), &body].concat()
}

#[test]
fn one_byte_records_are_joined_up_to_the_largest_hello() {
    let bytes = hello_bytes();
    assert_eq!(read(&test_peer::fragmented(&bytes, 1)), read(&bytes));
    let whole = padded(MAX_HELLO);
    assert_eq!(read(&test_peer::fragmented_body(&whole, 1)).cipher_suites, [47]);
    let larger = padded(MAX_HELLO + 1);
    assert_eq!(peek(&test_peer::fragmented_body(&larger, 1)), Peek::TooLong);
}

#[test]
fn what_comes_byte_by_byte_is_looked_at_once() {
    let stream = test_peer::fragmented_body(&padded(MAX_HELLO), 1);
    let mut gathering = Gathering::default();
    let (mut looked_at, mut kept) = (0, Vec::new());
    let mut last = Peek::NeedMore;
    for byte in &stream {
        assert_eq!(last, Peek::NeedMore);
        kept.push(*byte);
        looked_at += kept.len();
        let (used, peek) = gathering.take(&kept);
        kept.drain(..used);
        last = peek;
    }
    assert!(matches!(last, Peek::Hello(_)), "{last:?}");
    assert!(looked_at <= 3 * stream.len(), "{looked_at} of {}", stream.len());
    assert!(gathering.records() == MAX_HELLO && gathering.into_records().len() == 1);
}

#[test]
fn what_follows_a_hello_in_its_record_goes_with_it() {
    let mut message = padded(100);
    message.extend([1; 50]);
    let stream = test_peer::fragmented_body(&message, 16384);
    let mut gathering = Gathering::default();
    let (used, peek) = gathering.take(&[&stream[..], b"more"].concat());
    assert!(used == stream.len() && matches!(peek, Peek::Hello(_)));
    assert_eq!(gathering.into_records().concat()[5..], message);
    assert_eq!(super::peek(&stream[..stream.len() - 1]), Peek::NeedMore);
}

#[test]
fn an_announced_length_above_the_limit_is_too_long_at_once() {
    assert_eq!(peek(&[22, 3, 1, 0, 4, 1, 0, 0x3f, 0xfc]), Peek::NeedMore);
    assert_eq!(peek(&[22, 3, 1, 0, 4, 1, 0, 0x3f, 0xfd]), Peek::TooLong);
}

#[test]
fn what_is_no_record_of_a_client_hello_is_named_at_once() {
    // An empty record, another version, one that is too long, another message.
    assert_eq!(peek(&[22, 3, 1, 0, 0]), Peek::BadRecord);
    assert_eq!(peek(&[22, 4]), Peek::BadRecord);
    assert_eq!(peek(&[22, 3, 1, 0x40, 1]), Peek::BadRecord);
    assert_eq!(peek(&[22, 3, 1, 0, 4, 2]), Peek::OtherMessage(2));
    // Other records, at first and inside.
    for before in [&[][..], &[22, 3, 1, 0, 1, 1]] {
        let after = |record: &[u8]| peek(&[before, record].concat());
        assert_eq!(after(&[21, 3, 1, 0, 2, 2]), Peek::NeedMore);
        assert_eq!(after(&[21, 3, 1, 0, 2, 2, 40]), Peek::Alert(Some([2, 40])));
        assert_eq!(after(&[21, 3, 3, 0, 19]), Peek::Alert(None));
        assert_eq!(after(&[20, 3, 3, 0, 1]), Peek::OtherRecord(20));
        assert_eq!(after(&[23, 3, 3, 0x40]), Peek::NeedMore);
        assert_eq!(after(&[23, 3, 3, 0x40, 0]), Peek::OtherRecord(23));
        assert_eq!(after(&[24, 3, 3, 0, 3]), Peek::OtherRecord(24));
    }
    assert_eq!(peek(&[22, 3, 1, 0, 1, 1, b'G', b'E', b'T']), Peek::BadRecord);
    assert_eq!(peek(&[22, 3, 1, 0, 1, 1, 22, 3, 1, 0, 1]), Peek::NeedMore);
    // What only begins like one.
    assert_eq!(peek(&[21]), Peek::NeedMore);
    assert_eq!(peek(&[23, b'a', b'b']), Peek::NotTls("something that is not TLS"));
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
