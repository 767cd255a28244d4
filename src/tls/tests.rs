//! The engine against a TLS client in memory.

use std::sync::Arc;

use rustls::version::{TLS12, TLS13};
use rustls::{AlertDescription, ClientConnection, ContentType, Error, HandshakeKind};

use super::test_peer::{self, Folder, HandshakeSecret, RawClient, Setup, received, sealed, sent};
use super::*;
use crate::base::budget::Budget;

fn names() -> Vec<String> {
    vec!["host.example".into(), "127.0.0.1".into()]
}

fn acceptor_with(change: impl FnOnce(&mut TlsOptions)) -> Acceptor {
    let mut options = TlsOptions { self_signed: names(), ..TlsOptions::default() };
    change(&mut options);
    Acceptor::load(&options).unwrap().0
}

fn acceptor() -> Acceptor {
    acceptor_with(|_| {})
}

/// The server's side with the buffers that a connection would have.
struct Server {
    engine: Engine,
    input: Vec<u8>,
    plain: Vec<u8>,
    wire: Vec<u8>,
}

impl Server {
    fn new(acceptor: &Acceptor) -> Server {
        Server { engine: Engine::new(acceptor), input: vec![], plain: vec![], wire: vec![] }
    }

    fn feed(&mut self, bytes: &[u8]) -> Result<(), TlsError> {
        self.input.extend_from_slice(bytes);
        let mut budget = Budget::of_a_turn();
        let used =
            self.engine.open(&mut self.input, &mut self.plain, &mut self.wire, &mut budget)?;
        self.input.drain(..used);
        Ok(())
    }

    fn open_nothing(&mut self) -> Result<usize, TlsError> {
        self.engine.open(&mut [], &mut vec![], &mut vec![], &mut Budget::of_a_turn())
    }

    fn seal(&mut self, data: &[u8]) -> Vec<u8> {
        let mut out = vec![0; Engine::sealed_size(data.len())];
        let written = self.engine.seal(data, &mut out).unwrap();
        out.truncate(written);
        out
    }

    fn take_wire(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.wire)
    }
}

/// Runs the handshake, `step` bytes at a time towards the server.
fn shake(server: &mut Server, client: &mut ClientConnection, step: usize) -> Result<(), TlsError> {
    while server.engine.is_handshaking() || client.is_handshaking() {
        let bytes = sent(client);
        assert!(!bytes.is_empty() || !server.wire.is_empty(), "the handshake stands still");
        for part in bytes.chunks(step) {
            server.feed(part)?;
        }
        received(client, &server.take_wire()).unwrap();
    }
    Ok(())
}

fn connected(acceptor: &Acceptor, setup: Setup<'_>) -> (Server, ClientConnection) {
    let (mut server, mut client) = (Server::new(acceptor), setup.connect());
    shake(&mut server, &mut client, usize::MAX).unwrap();
    (server, client)
}

fn both_versions() -> [Setup<'static>; 2] {
    static ONLY: [[&rustls::SupportedProtocolVersion; 1]; 2] = [[&TLS12], [&TLS13]];
    [0, 1].map(|i: usize| Setup { versions: &ONLY[i], ..Setup::default() })
}

fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 7 + i / 251) as u8).collect()
}

#[test]
fn data_of_every_size_goes_both_ways_in_both_versions() {
    let acceptor = acceptor();
    for setup in both_versions() {
        let (mut server, mut client) = connected(&acceptor, setup);
        for length in [0, 1, 2, 1000, 16384, 16385, 1 << 20] {
            let data = pattern(length);
            server.plain.clear();
            let bytes = sealed(&mut client, &data);
            server.feed(&bytes).unwrap();
            assert_eq!(server.plain, data);
            assert!(server.input.is_empty() && server.wire.is_empty());
            let bytes = server.seal(&data);
            assert!(bytes.len() <= Engine::sealed_size(length));
            assert_eq!(received(&mut client, &bytes).unwrap(), data);
        }
    }
}

#[test]
fn handshake_and_data_may_come_byte_by_byte() {
    let acceptor = acceptor();
    for setup in both_versions() {
        let (mut server, mut client) = (Server::new(&acceptor), setup.connect());
        shake(&mut server, &mut client, 1).unwrap();
        let data = pattern(20_000);
        for byte in sealed(&mut client, &data) {
            server.feed(&[byte]).unwrap();
        }
        assert_eq!(server.plain, data);
    }
}

#[test]
fn a_client_hello_may_be_cut_anywhere_and_into_records_of_a_byte() {
    let acceptor = acceptor();
    for setup in both_versions() {
        let mut client = setup.connect();
        let hello = sent(&mut client);
        let mut server = Server::new(&acceptor);
        server.feed(&test_peer::fragmented(&hello, 1)).unwrap();
        received(&mut client, &server.take_wire()).unwrap();
        shake(&mut server, &mut client, usize::MAX).unwrap();
        for at in 1..hello.len() - 5 {
            let mut server = Server::new(&acceptor);
            server.feed(&test_peer::cut_at(&hello, at)).unwrap();
            assert!(!server.wire.is_empty());
        }
    }
}

#[test]
fn records_of_a_client_hello_are_paid_for() {
    let mut records = test_peer::fragmented(&test_peer::client_hello("host.example", &[]), 1);
    records.pop();
    let mut budget = Budget::of_units(records.len());
    let mut engine = Engine::new(&acceptor());
    let used = engine.open(&mut records, &mut vec![], &mut vec![], &mut budget).unwrap();
    assert!(used > 0 && budget.is_spent());
}

#[test]
fn facts_tell_version_suite_group_name_and_protocol() {
    let acceptor = acceptor_with(|o| o.alpn = vec!["np/1".into(), "http/1.1".into()]);
    let setup = Setup { alpn: &[b"http/1.1", b"np/1"], ..Setup::default() };
    let (server, client) = connected(&acceptor, setup);
    let facts = server.engine.facts().unwrap();
    assert_eq!(client.alpn_protocol(), Some(b"np/1".as_slice()));
    assert_eq!(
        facts,
        Facts {
            version: "TLSv1.3",
            suite: "TLS_AES_256_GCM_SHA384".into(),
            group: "X25519",
            alpn: Some("np/1".into()),
            server_name: Some("host.example".into()),
            resumed: false,
        }
    );
    let setup = Setup { versions: &[&TLS12], name: "192.0.2.1", ..Setup::default() };
    let facts = connected(&acceptor, setup).0.engine.facts().unwrap();
    assert_eq!((facts.version, facts.server_name, facts.alpn), ("TLSv1.2", None, None));
    assert!(facts.suite.starts_with("TLS_ECDHE_ECDSA_WITH_"));
}

#[test]
fn no_protocol_in_common_is_refused_by_default_or_goes_on_without_alpn() {
    let with = |may_mismatch| {
        acceptor_with(|o| {
            o.alpn = vec!["np/1".into(), "http/1.1".into()];
            o.alpn_may_mismatch = may_mismatch;
        })
    };
    for setup in both_versions() {
        let versions = setup.versions;
        let setup = |alpn| Setup { versions, alpn, ..Setup::default() };
        let (mut server, mut client) =
            (Server::new(&with(false)), setup(&[b"h2", b"\x1b[1m"]).connect());
        let error = server.feed(&sent(&mut client)).unwrap_err();
        assert_eq!((error.alert, error.sent_by_peer), (Some(120), false));
        assert_eq!(
            error.text,
            r#"no ALPN protocol in common: the peer offers "h2", "\u{1b}[1m", this port has "np/1", "http/1.1"; add one of the peer's to alpn, or set alpnMismatch = continue to go on without"#
        );
        let refused = received(&mut client, &server.take_wire()).unwrap_err();
        assert_eq!(refused, Error::AlertReceived(AlertDescription::NoApplicationProtocol));
        let (server, client) = connected(&with(true), setup(&[b"h2"]));
        assert_eq!(client.alpn_protocol(), None);
        assert_eq!(server.engine.facts().unwrap().alpn, None);
        for may_mismatch in [false, true] {
            let (server, _) = connected(&with(may_mismatch), setup(&[]));
            assert_eq!(server.engine.facts().unwrap().alpn, None);
            let (server, _) = connected(&with(may_mismatch), setup(&[b"h2", b"np/1"]));
            assert_eq!(server.engine.facts().unwrap().alpn.as_deref(), Some("np/1"));
        }
    }
}

#[test]
fn the_chosen_suite_and_group_are_used() {
    let acceptor = acceptor_with(|o| {
        o.min_version = Version::Tls13;
        o.cipher_suites = vec!["TLS_CHACHA20_POLY1305_SHA256".into()];
        o.groups = vec!["X25519MLKEM768".into(), "P-384".into()];
    });
    // The client guesses X25519, so this goes through a HelloRetryRequest.
    let facts = connected(&acceptor, Setup::default()).0.engine.facts().unwrap();
    assert_eq!(facts.suite, "TLS_CHACHA20_POLY1305_SHA256");
    assert_eq!(facts.group, "secp384r1");
}

#[test]
fn of_the_suites_in_common_the_ports_first_is_used_whatever_the_client_prefers() {
    let suites = [
        ["TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384"],
        ["TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384"],
    ];
    for first in [0, 1] {
        let acceptor = acceptor_with(|o| {
            o.cipher_suites = suites
                .iter()
                .flat_map(|two| [two[first], two[1 - first]])
                .map(Into::into)
                .collect();
        });
        for reverse in [false, true] {
            for (setup, two) in both_versions().into_iter().zip([suites[1], suites[0]]) {
                let mut setup = setup;
                if reverse {
                    setup.provider.cipher_suites.reverse();
                }
                let facts = connected(&acceptor, setup).0.engine.facts().unwrap();
                assert_eq!(facts.suite, two[first], "{reverse}");
            }
        }
    }
}

#[test]
fn no_session_is_resumed_in_any_version() {
    let acceptors = [acceptor(), acceptor_with(|o| o.alpn = vec!["np/1".into()])];
    for acceptor in &acceptors {
        for setup in both_versions() {
            let config = Setup { alpn: &[b"np/1"], ..setup }.config();
            for _ in 0..3 {
                let mut server = Server::new(acceptor);
                let mut client = test_peer::connect(&config, "host.example");
                shake(&mut server, &mut client, usize::MAX).unwrap();
                // What the server sends after it, as tickets would be.
                let data = server.seal(b"data");
                assert_eq!(received(&mut client, &data).unwrap(), b"data");
                assert_eq!(client.handshake_kind(), Some(HandshakeKind::Full));
                assert_eq!(client.tls13_tickets_received(), 0);
                assert!(!server.engine.facts().unwrap().resumed);
            }
        }
    }
}

#[test]
fn close_notify_goes_both_ways_and_either_side_may_close_half() {
    let acceptor = acceptor();
    for setup in both_versions() {
        let (mut server, mut client) = connected(&acceptor, setup);
        client.send_close_notify();
        let mut bytes = sent(&mut client);
        bytes.extend(b"data behind close_notify is ignored");
        server.feed(&bytes).unwrap();
        assert!(server.engine.peer_closed() && server.input.is_empty());
        let bytes = server.seal(b"still here");
        assert_eq!(received(&mut client, &bytes).unwrap(), b"still here");
        server.engine.close_notify(&mut server.wire);
        server.engine.close_notify(&mut server.wire);
        let wire = server.take_wire();
        assert!(client.read_tls(&mut wire.as_slice()).unwrap() > 0);
        assert!(client.process_new_packets().unwrap().peer_has_closed());
        let mut out = [0; 200];
        assert_eq!(server.engine.seal(b"x", &mut out), Err(SealError::Closed));
        server.feed(b"more").unwrap();
        server.feed(b"").unwrap();
    }
    for setup in both_versions() {
        let (mut server, mut client) = connected(&acceptor, setup);
        server.engine.close_notify(&mut server.wire);
        received(&mut client, &server.take_wire()).unwrap();
        let bytes = sealed(&mut client, b"half-open");
        server.feed(&bytes).unwrap();
        assert_eq!(server.plain, b"half-open");
        assert!(!server.engine.peer_closed());
    }
}

#[test]
fn key_updates_are_answered() {
    let (mut server, mut client) = connected(&acceptor(), Setup::default());
    for round in 0..3 {
        client.refresh_traffic_keys().unwrap();
        let bytes = sealed(&mut client, b"after");
        server.plain.clear();
        server.feed(&bytes).unwrap();
        assert_eq!(server.plain, b"after");
        let mut bytes = server.take_wire();
        bytes.extend(server.seal(b"new keys"));
        assert_eq!(received(&mut client, &bytes).unwrap(), b"new keys", "round {round}");
    }
}

#[test]
fn sealing_needs_the_handshake_and_room() {
    let acceptor = acceptor();
    let mut engine = Engine::new(&acceptor);
    assert_eq!(engine.seal(b"x", &mut [0; 200]), Err(SealError::Handshaking));
    let (mut server, mut client) = connected(&acceptor, Setup::default());
    let needed = Engine::sealed_size(5);
    assert_eq!(server.engine.seal(b"hello", &mut [0; 5]), Err(SealError::TooSmall(needed)));
    let bytes = server.seal(b"hello");
    assert_eq!(received(&mut client, &bytes).unwrap(), b"hello");
}

#[test]
fn plain_http_is_named_and_gets_an_alert() {
    let mut server = Server::new(&acceptor());
    let error = server.feed(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").unwrap_err();
    assert_eq!((error.alert, error.sent_by_peer), (Some(50), false));
    assert!(error.text.contains("plain HTTP instead of TLS"), "{error}");
    assert_eq!(server.wire, [21, 3, 3, 0, 2, 2, 50]);
    assert_eq!(server.open_nothing(), Err(error.clone()));
    assert_eq!(server.engine.seal(b"", &mut []), Err(SealError::Failed(error)));
    server.take_wire();
    server.engine.close_notify(&mut server.wire);
    assert!(server.wire.is_empty());
}

#[test]
fn a_cut_handshake_waits_and_sends_no_close_notify() {
    let acceptor = acceptor();
    let mut client = Setup::default().connect();
    let hello = sent(&mut client);
    for end in 0..hello.len() {
        let mut server = Server::new(&acceptor);
        server.feed(&hello[..end]).unwrap();
        server.engine.close_notify(&mut server.wire);
        assert!(server.engine.is_handshaking() && server.wire.is_empty());
        assert_eq!(server.engine.facts(), None);
    }
}

#[test]
fn an_old_version_is_refused_with_what_the_peer_offers() {
    let mut hello = test_peer::client_hello("a.example", &[]);
    // 43 is the list of versions; under another number it is unknown and the 1.1 below counts.
    let at = hello.windows(6).position(|w| w[..2] == [0, 43] && w[3] == 5).unwrap();
    hello[at..at + 2].copy_from_slice(&[0xee, 0xee]);
    hello[9..11].copy_from_slice(&[3, 2]);
    let mut server = Server::new(&acceptor());
    let error = server.feed(&hello).unwrap_err();
    assert_eq!(error.alert, Some(u8::from(AlertDescription::ProtocolVersion)));
    assert_eq!(server.wire[5..], [2, 70]);
    assert!(error.text.contains("at most TLS 1.1") && error.text.contains("proxy"), "{error}");

    let acceptor = acceptor_with(|o| o.min_version = Version::Tls13);
    let mut client = Setup { versions: &[&TLS12], ..Setup::default() }.connect();
    let mut server = Server::new(&acceptor);
    let error = server.feed(&sent(&mut client)).unwrap_err();
    assert!(error.text.contains("at most TLS 1.2"), "{error}");
    let refused = received(&mut client, &server.take_wire()).unwrap_err();
    assert_eq!(refused, Error::AlertReceived(AlertDescription::ProtocolVersion));
}

#[test]
fn no_common_suite_is_refused_with_what_the_peer_offers() {
    let acceptor = acceptor_with(|o| {
        o.cipher_suites =
            vec!["TLS_AES_256_GCM_SHA384".into(), "TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384".into()];
    });
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|s| format!("{:?}", s.suite()).contains("CHACHA20"));
    let mut client = Setup { versions: &[&TLS12], provider, ..Setup::default() }.connect();
    let mut server = Server::new(&acceptor);
    let error = server.feed(&sent(&mut client)).unwrap_err();
    assert_eq!(error.alert, Some(u8::from(AlertDescription::HandshakeFailure)));
    assert!(
        error.text.contains("the peer offers TLS_CHACHA20_POLY1305_SHA256, TLS_ECDHE_ECDSA_"),
        "{error}"
    );
    assert!(error.text.contains("proxy in front"), "{error}");
}

#[test]
fn the_peers_alert_is_reported_as_its_own() {
    let mut server = Server::new(&acceptor());
    let mut client = Setup::default().connect();
    server.feed(&sent(&mut client)).unwrap();
    let error = server.feed(&[21, 3, 3, 0, 2, 2, 48]).unwrap_err();
    assert_eq!((error.alert, error.sent_by_peer), (Some(48), true));
    assert!(error.text.contains("does not trust"), "{error}");
}

#[test]
fn a_changed_record_ends_the_connection_with_bad_record_mac() {
    for setup in both_versions() {
        let (mut server, mut client) = connected(&acceptor(), setup);
        let mut bytes = sealed(&mut client, b"text");
        *bytes.last_mut().unwrap() ^= 1;
        let error = server.feed(&bytes).unwrap_err();
        assert_eq!((error.alert, error.sent_by_peer), (Some(20), false));
        let refused = received(&mut client, &server.take_wire()).unwrap_err();
        assert_eq!(refused, Error::AlertReceived(AlertDescription::BadRecordMac));
    }
}

#[test]
fn the_alert_of_a_handshake_that_fails_encrypted_is_the_one_that_was_sent() {
    let [_, tls13] = both_versions();
    let mut config = Arc::unwrap_or_clone(tls13.config());
    let secret = Arc::new(HandshakeSecret::default());
    config.key_log = secret.clone();
    let config = Arc::new(config);
    // A Finished that does not verify; one that was changed on the way, and begins as one that was opened; one
    // in two records, of which it is not told.
    let finished = [&[20, 0, 0, 48][..], &[7; 48]].concat();
    let changed = |raw: &mut RawClient| {
        let mut record = raw.seal(ContentType::Handshake, &finished);
        record[5] = 20;
        record
    };
    let halves = |raw: &mut RawClient| {
        let (first, second) = finished.split_at(20);
        [raw.seal(ContentType::Handshake, first), raw.seal(ContentType::Handshake, second)].concat()
    };
    type Attack<'a> = &'a dyn Fn(&mut RawClient) -> Vec<u8>;
    let cases: [(Attack<'_>, Option<u8>, AlertDescription); 3] = [
        (
            &|raw| raw.seal(ContentType::Handshake, &finished),
            Some(51),
            AlertDescription::DecryptError,
        ),
        (&changed, Some(20), AlertDescription::BadRecordMac),
        (&halves, None, AlertDescription::DecryptError),
    ];
    for (attack, told, sent_alert) in cases {
        let mut server = Server::new(&acceptor());
        let mut client = test_peer::connect(&config, "host.example");
        server.feed(&sent(&mut client)).unwrap();
        received(&mut client, &server.take_wire()).unwrap();
        let mut raw = RawClient::in_handshake(&client, &secret.0.lock().unwrap());
        let error = server.feed(&attack(&mut raw)).unwrap_err();
        assert_eq!((error.alert, error.sent_by_peer), (told, false), "{error}");
        let refused = received(&mut client, &server.take_wire()).unwrap_err();
        assert_eq!(refused, Error::AlertReceived(sent_alert));
    }
}

#[test]
fn what_was_negotiated_is_known_after_a_failure() {
    let (mut server, _client) = connected(&acceptor(), Setup::default());
    let facts = server.engine.facts();
    server.feed(&pattern(500)).unwrap_err();
    assert!(facts.is_some() && server.engine.facts() == facts);
}

#[test]
fn a_handshake_beyond_its_limits_ends_with_an_alert() {
    // A message that announces more than it ever sends is refused by its length.
    let mut server = Server::new(&acceptor());
    let error = server.feed(&[22, 3, 1, 0x40, 0, 1, 0, 0xff, 0xff]).unwrap_err();
    assert!(error.text.contains("16 KiB"), "{error}");
    assert_eq!(server.wire, [21, 3, 3, 0, 2, 2, 50]);
    // After the ClientHello: in TLS 1.2 in the clear, in TLS 1.3 with the keys of the handshake.
    for (setup, step) in both_versions().into_iter().zip([1, 16000]) {
        let is_tls13 = setup.versions[0].version == rustls::ProtocolVersion::TLSv1_3;
        let mut client = setup.connect();
        let mut server = Server::new(&acceptor());
        server.feed(&sent(&mut client)).unwrap();
        if is_tls13 {
            // What a client may send in the clear there, is refused at the third.
            let ccs = [20, 3, 3, 0, 1, 1];
            let error = server.feed(&ccs.repeat(3)).unwrap_err();
            assert_eq!(error.alert, Some(50), "{error}");
        } else {
            let message = [&[16, 0, 0xff, 0xf0][..], &vec![0; 0xfff0]].concat();
            let records = test_peer::fragmented_body(&message, step);
            let mut result = Ok(());
            for part in records.chunks(4096) {
                result = result.and_then(|()| server.feed(part));
                while result.is_ok() && server.input.len() >= 6 {
                    result = server.feed(&[]);
                }
            }
            let error = result.unwrap_err();
            assert!(error.text.contains("64 KiB"), "{error}");
            assert_eq!(error.alert, Some(50));
        }
        let refused = received(&mut client, &server.take_wire()).unwrap_err();
        assert_eq!(refused, Error::AlertReceived(AlertDescription::DecodeError));
    }
}

#[test]
fn a_first_record_that_begins_no_handshake_is_named() {
    let cases: [(&[u8], Option<u8>, bool, &str); 9] = [
        (
            &[21, 3, 1, 0, 2, 2, 40],
            Some(40),
            true,
            "the alert HandshakeFailure (40) instead of a ClientHello",
        ),
        (
            &[21, 3, 3, 0, 2, 1, 0],
            Some(0),
            true,
            "the alert CloseNotify (0) instead of a ClientHello",
        ),
        (&[21, 3, 3, 0, 26, 1], Some(10), false, "an encrypted alert instead of a ClientHello"),
        (&[20, 3, 3, 0, 1, 1], Some(10), false, "change_cipher_spec instead of a ClientHello"),
        (
            &[23, 3, 3, 0, 40, 1],
            Some(10),
            false,
            "encrypted application data instead of a ClientHello",
        ),
        (&[24, 3, 3, 0, 3, 1, 0, 9], Some(10), false, "a TLS record of type 24 instead"),
        (
            &[22, 3, 3, 0, 4, 2, 0, 0, 0],
            Some(10),
            false,
            "the handshake message ServerHello (2) instead",
        ),
        (&[22, 9, 3, 0, 4, 1, 0, 0, 0], Some(50), false, "a length or version that does not exist"),
        (
            &[22, 3, 3, 0, 1, 1, 23, 3, 3, 0, 9],
            Some(10),
            false,
            "application data inside its ClientHello",
        ),
    ];
    for (stream, alert, by_peer, text) in cases {
        let mut server = Server::new(&acceptor());
        let error = server.feed(stream).unwrap_err();
        assert_eq!((error.alert, error.sent_by_peer), (alert, by_peer), "{error}");
        assert!(error.text.contains(text), "{error}");
        let sent: Vec<u8> = match (alert, by_peer) {
            (Some(alert), false) => vec![21, 3, 3, 0, 2, 2, alert],
            _ => vec![],
        };
        assert_eq!(server.wire, sent, "{error}");
    }
}

/// A ClientHello with another list of server names (or, without one, none).
fn hello_with_names(list: Option<&[u8]>) -> Vec<u8> {
    let message = test_peer::client_hello("a.example", &[])[9..].to_vec();
    let suites_at = 2 + 32 + 1 + usize::from(message[34]);
    let suites = usize::from(u16::from_be_bytes([message[suites_at], message[suites_at + 1]]));
    let head = suites_at + 2 + suites + 2;
    let mut extensions = Vec::new();
    let mut rest = &message[head + 2..];
    while !rest.is_empty() {
        let (extension, after) =
            rest.split_at(4 + usize::from(u16::from_be_bytes([rest[2], rest[3]])));
        if extension[..2] != [0, 0] {
            extensions.extend(extension);
        }
        rest = after;
    }
    let number = |n: usize| (n as u16).to_be_bytes();
    if let Some(list) = list {
        let mut names = [&[0, 0][..], &number(list.len() + 2), &number(list.len()), list].concat();
        // Where an extension for keys known before is, it must stay the last.
        names.extend(extensions);
        extensions = names;
    }
    let body = [&message[..head], &number(extensions.len()), &extensions].concat();
    let message = [&[1, 0][..], &number(body.len()), &body].concat();
    test_peer::fragmented_body(&message, 16384)
}

fn name(name: &[u8]) -> Vec<u8> {
    [&[0][..], &(name.len() as u16).to_be_bytes(), name].concat()
}

#[test]
fn a_server_name_that_is_no_host_name_is_refused_in_true_words() {
    let no_host = |shown: &str| format!("the server name (SNI) is no host name: {shown}; ");
    let long = format!("\"{}\"… (1000 bytes)", "a.".repeat(32));
    let cases: [(Vec<u8>, u8, String); 14] = [
        (name(b"[::1]"), 47, no_host("\"[::1]\"")),
        (name(b"localhost:8443"), 47, no_host("\"localhost:8443\"")),
        (name(b"*.example"), 47, no_host("\"*.example\"")),
        (name("b\u{fc}cher.example".as_bytes()), 47, no_host("\"b\u{fc}cher.example\"")),
        (name(b"local\0host"), 47, no_host(r#""local\0host""#)),
        (name(b"a\r\nFAKE LOG LINE"), 47, no_host(r#""a\r\nFAKE LOG LINE""#)),
        (name(b"a b"), 47, no_host("\"a b\"")),
        (name(b"\xff\xfe"), 47, no_host(r#""\xff\xfe""#)),
        (name("\u{202e}x".as_bytes()), 47, no_host(r#""\u{202e}x""#)),
        (name("a.".repeat(500).as_bytes()), 47, no_host(&long)),
        (name(b"localhost.."), 47, no_host("\"localhost..\"")),
        (vec![7, 0, 1, b'a'], 47, no_host("a name of another type")),
        ([name(b"a.example"), name(b"b.example")].concat(), 50, "more than one server name".into()),
        (vec![], 50, "an empty list of server names".into()),
    ];
    for (list, alert, text) in cases {
        let mut server = Server::new(&acceptor());
        let error = server.feed(&hello_with_names(Some(&list))).unwrap_err();
        assert_eq!((error.alert, error.sent_by_peer), (Some(alert), false), "{error}");
        assert!(error.text.contains(&text), "{error} has no {text}");
        assert!(!error.text.chars().any(char::is_control) && error.text.chars().count() < 400);
        assert_eq!(server.wire, [21, 3, 3, 0, 2, 2, alert]);
    }
    let mut server = Server::new(&acceptor());
    let error = server.feed(&hello_with_names(Some(&name(b"")))).unwrap_err();
    assert!(error.text.contains("server name (SNI) is empty"), "{error}");
}

#[test]
fn addresses_and_names_that_a_resolver_takes_are_served() {
    let mut names: Vec<Option<&[u8]>> = vec![None];
    names.extend(
        [&b"127.0.0.1"[..], b"::1", b"my_host.example", b"LOCALHOST", b"xn--bcher-kva.example"]
            .map(Some),
    );
    for one in names {
        let mut server = Server::new(&acceptor());
        let list = one.map(name);
        server.feed(&hello_with_names(list.as_deref())).unwrap();
        assert_eq!(server.wire[..2], [22, 3], "{one:?}");
    }
}

#[test]
fn no_signature_in_common_is_refused_with_what_was_offered_in_both_versions() {
    for setup in both_versions() {
        let mut client = setup.connect();
        let mut hello = sent(&mut client);
        // The only schemes are for another curve: the suite fits the key, and the schemes the suite.
        let at = hello.windows(2).position(|w| w == [0, 13]).unwrap();
        let end = at + 4 + usize::from(u16::from_be_bytes([hello[at + 2], hello[at + 3]]));
        for pair in hello[at + 6..end].chunks_exact_mut(2) {
            pair.copy_from_slice(&[5, 3]);
        }
        let mut server = Server::new(&acceptor());
        let error = server.feed(&hello).unwrap_err();
        assert_eq!((error.alert, error.sent_by_peer), (Some(40), false), "{error}");
        for part in [
            "the peer accepts ecdsa_secp384r1_sha384",
            "makes ecdsa_secp256r1_sha256;",
            "another key type",
        ] {
            assert!(error.text.contains(part), "{error}");
        }
        let refused = received(&mut client, &server.take_wire()).unwrap_err();
        // On TLS 1.3 the client sees that its hello was changed before it gets to the alert.
        let expected = match client.protocol_version() {
            Some(rustls::ProtocolVersion::TLSv1_3) => Error::DecryptError,
            _ => Error::AlertReceived(AlertDescription::HandshakeFailure),
        };
        assert_eq!(refused, expected);
    }
}

#[test]
fn suites_that_do_not_fit_the_kind_of_key_are_refused_with_the_remedy() {
    let mut provider = rustls::crypto::aws_lc_rs::default_provider();
    provider.cipher_suites.retain(|s| format!("{:?}", s.suite()).contains("_RSA_"));
    let mut client = Setup { versions: &[&TLS12], provider, ..Setup::default() }.connect();
    let mut server = Server::new(&acceptor());
    let error = server.feed(&sent(&mut client)).unwrap_err();
    assert_eq!(error.alert, Some(40));
    for part in
        ["has an ECDSA key", "the peer offers TLS_ECDHE_RSA_", "certificate of the other key type"]
    {
        assert!(error.text.contains(part), "{error}");
    }
    let refused = received(&mut client, &server.take_wire()).unwrap_err();
    assert_eq!(refused, Error::AlertReceived(AlertDescription::HandshakeFailure));
}

/// Asks for a renegotiation as far as the server's rules go: a ClientHello under the keys of the connection.
#[test]
fn a_renegotiation_is_named_and_answered_with_a_warning_and_its_repetition_with_an_alert() {
    let hello = test_peer::client_hello("a.example", &[])[5..].to_vec();
    for end_by_alert in [false, true] {
        let [tls12, _] = both_versions();
        let (mut server, client) = connected(&acceptor(), tls12);
        let (mut raw, mut reader) = RawClient::tls12(client);
        assert_eq!(server.engine.remark(), "");
        server.feed(&raw.seal(ContentType::Handshake, &hello)).unwrap();
        assert_eq!(reader.open(&server.take_wire()), [21, 1, 100]);
        assert!(server.engine.remark().contains("renegotiation"));
        let last = match end_by_alert {
            true => raw.seal(ContentType::Alert, &[2, 40]),
            false => raw.seal(ContentType::Handshake, &hello),
        };
        let error = server.feed(&last).unwrap_err();
        assert!(error.text.starts_with("the peer asked for a renegotiation"), "{error}");
        assert!(error.text.contains("does not exist here"), "{error}");
        if end_by_alert {
            assert_eq!((error.alert, error.sent_by_peer), (Some(40), true));
            assert!(error.text.ends_with("then sent the alert HandshakeFailure (40)"), "{error}");
        } else {
            assert_eq!((error.alert, error.sent_by_peer), (Some(50), false));
            assert!(error.text.ends_with("the peer then asked again"), "{error}");
            assert_eq!(reader.open(&server.take_wire()), [21, 2, 50]);
        }
    }
}

#[test]
fn a_renegotiation_explains_no_end_of_a_connection_that_has_gone_on() {
    let hello = test_peer::client_hello("a.example", &[])[5..].to_vec();
    let [tls12, _] = both_versions();
    let (mut server, client) = connected(&acceptor(), tls12);
    let (mut raw, _) = RawClient::tls12(client);
    server.feed(&raw.seal(ContentType::Handshake, &hello)).unwrap();
    server.feed(&raw.seal(ContentType::ApplicationData, b"data")).unwrap();
    assert_eq!((&server.plain[..], server.engine.remark()), (&b"data"[..], ""));
    let error = server.feed(&raw.seal(ContentType::Alert, &[2, 80])).unwrap_err();
    assert!(error.text.starts_with("the peer sent the alert InternalError (80)"), "{error}");
}

#[test]
fn every_refusal_after_the_handshake_sends_an_alert_under_the_keys_of_the_connection() {
    let [_, tls13] = both_versions();
    // Records without data, over and over.
    let (mut server, mut client) = connected(&acceptor(), tls13);
    let records = key_updates(&mut client, 50);
    let error = records.chunks(100).map(|part| server.feed(part)).find_map(Result::err).unwrap();
    assert_eq!((error.no_data, error.alert), (true, Some(50)));
    let refused = received(&mut client, &server.take_wire()).unwrap_err();
    assert_eq!(refused, Error::AlertReceived(AlertDescription::DecodeError));
    // A message that is too long; data inside a message; more key updates than the library takes;
    // a cut record after a held one.
    let started = |first: &[u8]| {
        let (mut server, client) = connected(&acceptor(), Setup::default());
        let (mut raw, reader) = RawClient::tls13(client);
        server.feed(&raw.seal(ContentType::Handshake, first)).unwrap();
        (server, raw, reader)
    };
    let long: [fn(&mut RawClient) -> Vec<u8>; 3] = [
        |raw| (0..5).flat_map(|_| raw.seal(ContentType::Handshake, &[7; 16000])).collect(),
        |raw| raw.seal(ContentType::ApplicationData, b"x"),
        |_| vec![23, 3, 3, 0xff, 0xff, 0],
    ];
    for attack in long {
        let (mut server, mut raw, mut reader) = started(&[24, 0, 0xff, 0xf0]);
        let error = server.feed(&attack(&mut raw)).unwrap_err();
        assert_eq!(error.alert, Some(50), "{error}");
        assert_eq!(reader.open(&server.take_wire()), [21, 2, 50], "{error}");
    }
    // Messages that the library has not come to when it fails, in one record.
    let (mut server, client) =
        connected(&acceptor(), Setup { versions: &[&TLS12], ..Setup::default() });
    let (mut raw, mut reader) = RawClient::tls12(client);
    let hello = test_peer::client_hello("a.example", &[])[5..].to_vec();
    let error = server.feed(&raw.seal(ContentType::Handshake, &hello.repeat(5))).unwrap_err();
    assert_eq!(error.alert, Some(50), "{error}");
    assert_eq!(reader.open(&server.take_wire()), [21, 1, 100, 21, 2, 50]);
    // As many as one record holds behind two that make it fail without an alert.
    let (mut server, client) =
        connected(&acceptor(), Setup { versions: &[&TLS12], ..Setup::default() });
    let (mut raw, mut reader) = RawClient::tls12(client);
    let mut messages = hello.repeat(2);
    messages.extend([0; 4].repeat((16 * 1024 - messages.len()) / 4));
    let error = server.feed(&raw.seal(ContentType::Handshake, &messages)).unwrap_err();
    assert_eq!(error.alert, Some(50), "{error}");
    assert_eq!(reader.open(&server.take_wire()), [21, 1, 100, 21, 2, 50]);
}

#[test]
fn after_close_notify_no_alert_follows() {
    let (mut server, client) = connected(&acceptor(), Setup::default());
    let (mut raw, _) = RawClient::tls13(client);
    server.engine.close_notify(&mut server.wire);
    server.take_wire();
    server.feed(&raw.seal(ContentType::Handshake, &[24, 0, 0xff, 0xf0])).unwrap();
    let error = server.feed(&raw.seal(ContentType::ApplicationData, b"x")).unwrap_err();
    assert_eq!((error.alert, server.wire.len()), (None, 0), "{error}");
}

/// Every single-byte change of the client's first flight ends well or with an error, never otherwise.
#[test]
fn no_changed_hello_panics() {
    let acceptor = acceptor_with(|o| o.groups = vec!["P-256".into()]);
    let mut client = Setup { alpn: &[b"h2"], ..Setup::default() }.connect();
    let hello = sent(&mut client);
    for at in 0..hello.len() {
        for change in [1, 0x80, 0xff] {
            let mut changed = hello.clone();
            changed[at] ^= change;
            let mut server = Server::new(&acceptor);
            let _ = server.feed(&changed).and_then(|()| server.feed(&[0x17; 40]));
            let _ = server.feed(&[]);
        }
    }
}

#[test]
fn noise_after_the_handshake_is_an_error() {
    for setup in both_versions() {
        let (mut server, _client) = connected(&acceptor(), setup);
        assert!(server.feed(&pattern(500)).is_err());
        assert!(server.feed(&[]).is_err());
    }
}

/// Key updates of a TLS 1.3 client, `rows` of 31 with a byte of data behind each.
fn key_updates(client: &mut ClientConnection, rows: usize) -> Vec<u8> {
    let mut records = Vec::new();
    for _ in 0..rows {
        for _ in 0..31 {
            client.refresh_traffic_keys().unwrap();
            records.extend(sent(client));
        }
        records.extend(sealed(client, b"x"));
    }
    records
}

#[test]
fn a_peer_that_mostly_updates_its_keys_ends_and_one_that_does_it_now_and_then_does_not() {
    let [_, tls13] = both_versions();
    let (mut server, mut client) = connected(&acceptor(), tls13);
    for _ in 0..2000 {
        client.refresh_traffic_keys().unwrap();
        let mut records = sent(&mut client);
        records.extend(sealed(&mut client, b"x"));
        server.feed(&records).unwrap();
    }
    assert_eq!(server.plain.len(), 2000);
    let records = key_updates(&mut client, 50);
    let error = records.chunks(100).map(|part| server.feed(part)).find_map(Result::err).unwrap();
    assert!(error.no_data && error.text.contains("without data"), "{error}");
    let rows = server.plain.len() - 2000;
    assert!((7..=9).contains(&rows), "{rows} rows of 31 key updates");
}

#[test]
fn a_turn_opens_so_many_records_and_leaves_the_others_for_the_next() {
    for setup in both_versions() {
        let (mut server, mut client) = connected(&acceptor(), setup);
        let mut records = Vec::new();
        (0..10_000).for_each(|_| records.extend(sealed(&mut client, b"x")));
        server.input = records;
        let mut turns = 0;
        while !server.input.is_empty() {
            let before = server.plain.len();
            server.feed(&[]).unwrap();
            let opened = server.plain.len() - before;
            assert!(opened > 0 && opened <= Budget::UNITS / 500, "{opened} records in one turn");
            turns += 1;
        }
        assert!(server.plain == vec![b'x'; 10_000] && turns >= 4, "{turns} turns");
    }
}

#[test]
fn a_turn_opens_even_fewer_records_without_data() {
    let [_, tls13] = both_versions();
    let (mut server, mut client) = connected(&acceptor(), tls13);
    server.input = key_updates(&mut client, 6);
    let all = server.input.len();
    server.feed(&[]).unwrap();
    assert!(server.input.len() >= all / 6, "a turn took {} key updates", server.plain.len() * 31);
    while !server.input.is_empty() {
        server.feed(&[]).unwrap();
    }
    assert_eq!(server.plain, b"xxxxxx");
}

#[test]
fn an_empty_input_is_harmless_at_any_time() {
    let acceptor = acceptor();
    let (mut server, mut client) = (Server::new(&acceptor), Setup::default().connect());
    server.open_nothing().unwrap();
    let hello = sent(&mut client);
    server.feed(&test_peer::cut_at(&hello, 10)[..20]).unwrap();
    server.open_nothing().unwrap();
    assert_eq!(server.engine.seal(b"", &mut [0; 100]), Err(SealError::Handshaking));
}

#[test]
fn an_engine_is_small_and_can_move_between_threads() {
    fn moves<T: Send>() {}
    fn shared<T: Send + Sync + Clone>() {}
    moves::<Engine>();
    shared::<Acceptor>();
    assert!(size_of::<Engine>() <= 16);
}

fn raw(acceptor: &Acceptor) -> (Server, RawClient) {
    let (server, client) = connected(acceptor, Setup::default());
    (server, RawClient::tls13(client).0)
}

#[test]
fn a_key_update_in_pieces_disturbs_neither_sealing_nor_empty_input() {
    let (mut server, mut raw) = raw(&acceptor());
    let bytes = raw.seal(ContentType::ApplicationData, b"before");
    server.feed(&bytes).unwrap();
    for piece in [[24].as_slice(), &[0, 0], &[1]] {
        let bytes = raw.seal(ContentType::Handshake, piece);
        server.feed(&bytes).unwrap();
        assert!(server.input.is_empty());
        server.feed(&[]).unwrap();
        assert!(!server.seal(b"meanwhile").is_empty());
    }
    let bytes = raw.seal(ContentType::Handshake, &[0]);
    server.feed(&bytes).unwrap();
    // The peer's keys are new ones now, so the old ones no longer count.
    let bytes = raw.seal(ContentType::ApplicationData, b"old keys");
    assert_eq!(server.feed(&bytes).unwrap_err().alert, Some(20));
    assert_eq!(server.plain, b"before");
}

#[test]
fn a_message_after_the_handshake_is_bounded_in_records_and_bytes() {
    for (size, most, text) in [(1, 256, "without data"), (16000, 5, "64 KiB")] {
        let (mut server, mut raw) = raw(&acceptor());
        let bytes = raw.seal(ContentType::Handshake, &[24, 0, 0xff, 0xf0]);
        server.feed(&bytes).unwrap();
        let mut records = 1;
        let error = loop {
            let bytes = raw.seal(ContentType::Handshake, &pattern(size));
            match server.feed(&bytes) {
                Ok(()) => records += 1,
                Err(error) => break error,
            }
        };
        assert!(error.text.contains(text), "{error}");
        assert!(records <= most, "{records}");
    }
}

#[test]
fn data_inside_a_message_of_the_handshake_ends_the_connection() {
    let (mut server, mut raw) = raw(&acceptor());
    let mut bytes = raw.seal(ContentType::Handshake, &[24, 0]);
    bytes.extend(raw.seal(ContentType::ApplicationData, b"x"));
    server.feed(&bytes).unwrap_err();
    assert!(server.plain.is_empty() && server.engine.seal(b"", &mut [0; 200]).is_err());
}

#[test]
fn a_cut_record_behind_a_held_one_is_not_waited_for_beyond_the_limit() {
    let (mut server, mut raw) = raw(&acceptor());
    let mut bytes = raw.seal(ContentType::Handshake, &[24, 0]);
    bytes.extend([23, 3, 3, 0xff, 0xff, 0]);
    server.feed(&bytes).unwrap_err();
}

#[test]
fn an_rsa_identity_from_files_serves_both_versions() {
    let folder = Folder::new();
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_RSA_SHA256).unwrap();
    let params = rcgen::CertificateParams::new(names()).unwrap();
    let certificate = params.self_signed(&key).unwrap();
    let options = TlsOptions {
        certificate: Some(folder.write("cert.pem", &certificate.pem(), 0o644)),
        private_key: Some(folder.write("key.pem", &key.serialize_pem(), 0o600)),
        ..TlsOptions::default()
    };
    let (acceptor, warnings) = Acceptor::load(&options).unwrap();
    assert!(warnings.is_empty());
    for setup in both_versions() {
        let (mut server, mut client) = connected(&acceptor, setup);
        server.feed(&sealed(&mut client, b"text")).unwrap();
        assert_eq!(server.plain, b"text");
    }
    let options = TlsOptions {
        cipher_suites: vec![
            "TLS_AES_128_GCM_SHA256".into(),
            "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256".into(),
        ],
        ..options
    };
    let (_, warnings) = Acceptor::load(&options).unwrap();
    assert_eq!(warnings[0].key, "cipherSuites");
    assert!(warnings[0].message.contains("one with _RSA_"), "{warnings:?}");
    // Without TLS 1.2 the list needs no such suite.
    let options = TlsOptions {
        cipher_suites: vec!["TLS_AES_128_GCM_SHA256".into()],
        min_version: Version::Tls13,
        ..options
    };
    assert!(Acceptor::load(&options).unwrap().1.is_empty());
}

#[test]
fn a_section_without_or_with_two_identities_is_an_error() {
    let key = |change: fn(&mut TlsOptions)| {
        let mut options = TlsOptions::default();
        change(&mut options);
        Acceptor::load(&options).map(drop).unwrap_err().key
    };
    assert_eq!(key(|_| {}), "certificate");
    assert_eq!(key(|o| o.certificate = Some("c.pem".into())), "privateKey");
    assert_eq!(key(|o| o.private_key = Some("k.pem".into())), "certificate");
    for with_key in [false, true] {
        let both: fn(&mut TlsOptions) = match with_key {
            true => |o| o.private_key = Some("k.pem".into()),
            false => |o| o.certificate = Some("c.pem".into()),
        };
        let mut options = TlsOptions { self_signed: names(), ..TlsOptions::default() };
        both(&mut options);
        assert_eq!(Acceptor::load(&options).map(drop).unwrap_err().key, "selfSigned");
    }
}
