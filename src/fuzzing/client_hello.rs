//! The first bytes of a connection.

use super::reference;
use crate::conn::identify::{FirstByte, identify as decide};
use crate::tls::{ClientHello, Gathering, MAX_HELLO, Peek, peek};
use rustls::server::Acceptor;

/// Input: the first bytes.
pub fn identify(input: &[u8]) {
    for tls_possible in [false, true] {
        let last = decide(input, tls_possible);
        match last {
            FirstByte::NeedMore => assert!(input.is_empty() || (tls_possible && input == [22])),
            FirstByte::Tls => assert!(tls_possible && input.starts_with(&[22, 3])),
            FirstByte::Is { protocol, first_byte } => {
                let (expected, first, _) = reference::identified(input).expect("not empty");
                assert_eq!((protocol, first_byte), (expected, first));
            }
        }
        for end in 0..input.len().min(8) {
            let early = decide(&input[..end], tls_possible);
            assert!(early == FirstByte::NeedMore || early == last, "another answer at {end}");
        }
    }
}

/// Input: where to cut (2), then what a peer sends first.
pub fn client_hello(input: &[u8]) {
    let ([low, high], stream) = super::split(input);
    let cut = usize::from(u16::from_be_bytes([high, low]));
    let last = peek(stream);
    let early = &stream[..cut % (stream.len() + 1)];
    let before = peek(early);
    assert!(before == Peek::NeedMore || before == last, "{before:?} became {last:?}");
    let mut gathering = Gathering::default();
    let (used, before) = gathering.take(early);
    if before == Peek::NeedMore {
        let (more, now) = gathering.take(&stream[used..]);
        let whole = Gathering::default().take(stream);
        assert!((used + more, now) == whole, "pieces say something else");
        assert!(gathering.records() <= stream.len() / 5);
    }
    match &last {
        Peek::NeedMore => {
            // One byte in each record, and a long last one.
            assert!(stream.len() < 6 * MAX_HELLO + 5 + MAX_HELLO, "a peek without an end");
        }
        Peek::Hello(hello) => {
            assert!(hello.alpn().map(|name| name.len() + 1).sum::<usize>() <= MAX_HELLO);
            assert_eq!(
                hello.server_name.as_deref().map(str::to_ascii_lowercase),
                hello.server_name
            );
            recut(stream, hello, cut);
        }
        _ => {}
    }
    compare(stream, &last);
}

/// The same message in two other records is the same hello.
fn recut(stream: &[u8], hello: &ClientHello, cut: usize) {
    let record = usize::from(u16::from_be_bytes([stream[3], stream[4]]));
    let message = &stream[5..5 + record];
    let total = 4 + u32::from_be_bytes([0, message[1], message[2], message[3]]) as usize;
    if total > record {
        return;
    }
    let (first, second) = message[..total].split_at(1 + cut % (total - 1));
    let mut pieces = Vec::new();
    for part in [first, second] {
        pieces.extend_from_slice(&[22, 3, 1, (part.len() >> 8) as u8, part.len() as u8]);
        pieces.extend_from_slice(part);
    }
    match peek(&pieces) {
        Peek::Hello(again) => assert_eq!(*again, *hello),
        other => panic!("{other:?} when cut at {cut}"),
    }
}

/// The TLS library takes a record whose version is that of SSL 2.0, or that is too long; no client sends one.
fn has_odd_record(stream: &[u8]) -> bool {
    let mut rest = stream;
    while let Some((header, body)) = rest.split_at_checked(5) {
        let length = usize::from(u16::from_be_bytes([header[3], header[4]]));
        if header[1..3] == [0, 2] || length > 16 << 10 {
            return true;
        }
        rest = body.get(length..).unwrap_or_default();
    }
    false
}

/// What the TLS library takes for a hello is one, and says the same.
fn compare(stream: &[u8], peeked: &Peek) {
    let mut acceptor = Acceptor::default();
    let mut rest = stream;
    while !rest.is_empty() {
        if !acceptor.read_tls(&mut rest).is_ok_and(|read| read > 0) {
            return;
        }
        match acceptor.accept() {
            Err(_) => return,
            Ok(None) => {}
            Ok(Some(accepted)) => {
                let theirs = accepted.client_hello();
                let Peek::Hello(ours) = peeked else {
                    let refused = match peeked {
                        Peek::TooLong => true,
                        // It overlooks warnings.
                        Peek::Alert(Some([1, _])) => true,
                        Peek::BadRecord => has_odd_record(stream),
                        _ => false,
                    };
                    assert!(refused, "the library reads a hello, not {peeked:?}");
                    return;
                };
                if let Some(name) = theirs.server_name() {
                    assert_eq!(ours.server_name.as_deref(), Some(&*name.to_ascii_lowercase()));
                }
                let names = theirs.alpn().map(|names| names.collect::<Vec<_>>());
                assert_eq!(ours.alpn().collect::<Vec<_>>(), names.unwrap_or_default());
                return;
            }
        }
    }
}
