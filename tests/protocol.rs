//! The wire protocol over real sockets, line by line.

mod support;

use nativeport::event::{Event, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::status::CloseReason;
use std::collections::HashMap;
use std::io::{ErrorKind, Write};
use std::net::{Shutdown, TcpStream};
use std::sync::Arc;
use support::*;

#[test]
fn a_framed_client_is_answered_by_a_byte_1_and_exchanges_frames() {
    let server = echo_server("compression=off", "");
    let mut client = framed(server.address);
    client.write_all(&frame(b"hello")).unwrap();
    assert_eq!(read_exact(&mut client, 9), b"\x00\x00\x00\x05hello");
}

#[test]
fn a_remote_application_is_answered_by_a_byte_1_and_exchanges_frames() {
    let server = echo_server("compression=off", "");
    let mut client = connect(server.address);
    client.write_all(b"\x03\x00\x00\x00\x02hi\x00\x00\x00\x00").unwrap();
    assert_eq!(read_exact(&mut client, 11), b"\x01\x00\x00\x00\x02hi\x00\x00\x00\x00");
}

#[test]
fn the_answer_comes_before_the_handler_is_called_and_the_closed_event_last() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server("", "", |listener| listener.on(Protocol::Client, handler).unwrap());
    let mut client = framed(server.address);
    client.write_all(&frame(b"x")).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let Told::Opened(conn, Protocol::Client, 1) = log.next() else { panic!() };
    assert_eq!(log.next(), Told::Frame(conn, b"x".to_vec()));
    let Told::Closed(closed, info) = log.next() else { panic!() };
    assert_eq!((closed, info.reason, info.bytes_in), (conn, CloseReason::PeerClosed, 6));
    assert_eq!(read_to_end(&mut client), b"");
}

// The first byte.

#[test]
fn the_server_sends_nothing_before_it_has_read_the_first_byte() {
    let server = server_with("ioThreads=1", "compression=off", "", |listener| {
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    });
    let mut silent = connect(server.address);
    // The one loop serves this later connection after it has welcomed the silent one.
    let mut other = framed(server.address);
    other.write_all(&frame(b"x")).unwrap();
    assert_eq!(read_frame(&mut other), b"x");
    wait_until("the count of 6 bytes", || server.listener.stats().bytes_out >= 6);
    assert_eq!(server.listener.stats().bytes_out, 6);
    silent.set_nonblocking(true).unwrap();
    assert_eq!(silent.peek(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
    silent.set_nonblocking(false).unwrap();
    silent.write_all(&[1]).unwrap();
    assert_eq!(read_exact(&mut silent, 1), [1]);
}

#[test]
fn exactly_one_byte_is_read_and_what_follows_it_is_frames() {
    let server = echo_server("compression=off", "");
    for first in [1, 3] {
        let mut client = connect(server.address);
        // Bytes 1 and 3 behind the first one are no identification any more.
        client.write_all(&[&[first][..], &frame(&[1]), &frame(&[3])].concat()).unwrap();
        assert_eq!(read_exact(&mut client, 11), [1, 0, 0, 0, 1, 1, 0, 0, 0, 1, 3]);
    }
}

#[test]
fn the_answer_is_one_single_byte_1() {
    let (handler, log) = recorder(true, |_, _| {});
    let server = server("", "", |listener| {
        listener.on(Protocol::Client, handler.clone()).unwrap();
        listener.on(Protocol::RemoteApplication, handler).unwrap();
    });
    for (first, protocol) in [(1, Protocol::Client), (3, Protocol::RemoteApplication)] {
        let mut client = connect(server.address);
        client.write_all(&[first]).unwrap();
        let Told::Opened(conn, opened, byte) = log.next() else { panic!() };
        assert_eq!((opened, byte), (protocol, first));
        conn.shutdown().unwrap();
        assert_eq!(read_to_end(&mut client), [1]);
        drop(client);
        log.next();
        conn.close(0).unwrap();
        log.closed();
    }
}

#[test]
fn on_byte_2_the_relay_handler_gets_a_raw_stream_without_answer_and_without_that_byte() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server("", "", |listener| listener.on(Protocol::Relay, handler).unwrap());
    let mut client = connect(server.address);
    client.write_all(b"\x02\x02\x00\x00\x00\x01raw").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let Told::Opened(conn, Protocol::Relay, 2) = log.next() else { panic!() };
    assert_eq!(log.data(8), b"\x02\x00\x00\x00\x01raw"[..].to_vec());
    assert_ends_without_a_byte(&mut client);
    let Told::Closed(closed, info) = log.next() else { panic!() };
    assert_eq!((closed, info.reason, info.bytes_out), (conn, CloseReason::PeerClosed, 0));
}

#[test]
fn on_byte_2_without_a_relay_handler_the_connection_is_closed_and_counted() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server("", "", |listener| {
        for protocol in [Protocol::Client, Protocol::RemoteApplication, Protocol::Unknown] {
            listener.on(protocol, handler.clone()).unwrap();
        }
        listener.on_admit(handler).unwrap();
    });
    let mut client = connect(server.address);
    client.write_all(b"\x02abc").unwrap();
    assert_ends_without_a_byte(&mut client);
    wait_for_close(&server.listener, CloseReason::NoHandler);
    assert_eq!(closes(&server.listener), HashMap::from([("no_handler", 1)]));
    assert_eq!(log.drain(), []);
}

#[test]
fn every_other_byte_is_an_argument_and_comes_back_at_the_front_of_the_stream() {
    let (handler, log) = recorder(true, |_, _| {});
    let server = server("", "", |listener| listener.on(Protocol::Unknown, handler).unwrap());
    for first in (0..=255).filter(|first| ![1, 2, 3, 22].contains(first)) {
        let mut client = connect(server.address);
        client.write_all(&[first, 1, 22]).unwrap();
        let Told::Opened(conn, Protocol::Unknown, byte) = log.next() else { panic!() };
        assert_eq!(byte, first);
        assert_eq!(log.data(3), [first, 1, 22]);
        assert_eq!(conn.info().unwrap().bytes_out, 0);
        conn.abort(0).unwrap();
        log.closed();
    }
}

#[test]
fn end_of_stream_instead_of_the_byte_closes_and_nobody_is_called() {
    let (handler, log) = recorder(true, |_, _| {});
    let server = server("", "", |listener| {
        for protocol in Protocol::ALL {
            listener.on(protocol, handler.clone()).unwrap();
        }
        listener.on_admit(handler).unwrap();
    });
    let mut client = connect(server.address);
    client.shutdown(Shutdown::Write).unwrap();
    assert_ends_without_a_byte(&mut client);
    wait_for_close(&server.listener, CloseReason::ClosedBeforeIdentified);
    assert_eq!(closes(&server.listener), HashMap::from([("closed_before_identified", 1)]));
    assert_eq!(log.drain(), []);
}

#[test]
fn end_of_stream_after_the_tls_handshake_closes_and_nobody_is_called() {
    let (handler, log) = recorder(true, |_, _| {});
    let server = server(WITH_TLS, TLS_SECTION, |listener| {
        for protocol in Protocol::ALL {
            listener.on(protocol, handler.clone()).unwrap();
        }
    });
    let mut client = tls_connect(server.address);
    client.conn.send_close_notify();
    client.flush().unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    wait_for_close(&server.listener, CloseReason::ClosedBeforeIdentified);
    assert_eq!(log.drain(), []);
}

// TLS by the first byte.

#[test]
fn a_tls_record_on_a_plain_port_closes_with_tls_on_plain_port() {
    let (handler, log) = recorder(true, |_, _| {});
    let server = server("", "", |listener| listener.on(Protocol::Unknown, handler).unwrap());
    let mut by_hand = connect(server.address);
    by_hand.write_all(&[22, 3]).unwrap();
    assert_ends_without_a_byte(&mut by_hand);
    let mut client = tls_over(connect(server.address));
    assert!(client.conn.complete_io(&mut client.sock).is_err());
    wait_until("both closes", || closes(&server.listener).values().sum::<u64>() == 2);
    assert_eq!(closes(&server.listener), HashMap::from([("tls_on_plain_port", 2)]));
    assert_eq!(log.drain(), []);
}

#[test]
fn a_byte_22_is_decided_at_the_second_byte() {
    let (handler, log) = recorder(true, |_, _| {});
    let server = server_with("ioThreads=1", "", "", |listener| {
        listener.on(Protocol::Unknown, handler).unwrap();
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    });
    for (second, unknown) in [(4, true), (0, true), (22, true), (3, false)] {
        let mut client = connect(server.address);
        let before = server.listener.stats().bytes_in;
        client.write_all(&[22]).unwrap();
        wait_until("the first byte", || server.listener.stats().bytes_in > before);
        // The one loop has had its turn with the first byte when this one is answered.
        framed(server.address);
        assert_eq!(log.drain(), []);
        client.write_all(&[second]).unwrap();
        if unknown {
            let Told::Opened(conn, Protocol::Unknown, 22) = log.next() else { panic!() };
            assert_eq!(log.data(2), [22, second]);
            conn.abort(0).unwrap();
            log.closed();
        } else {
            assert_ends_without_a_byte(&mut client);
            wait_for_close(&server.listener, CloseReason::TlsOnPlainPort);
        }
    }
}

#[test]
fn the_second_byte_is_awaited_within_the_same_deadline() {
    let server = echo_server("readTimeout=200ms", "");
    let mut client = connect(server.address);
    client.write_all(&[22]).unwrap();
    assert_ends_without_a_byte(&mut client);
    wait_for_close(&server.listener, CloseReason::ReadTimeout);
    assert_eq!(closes(&server.listener), HashMap::from([("read_timeout", 1)]));
}

#[test]
fn a_tls_port_identifies_by_the_first_byte_inside_of_tls() {
    let (handler, log) = recorder(true, |conn, event| {
        if let Event::Data(data) = event {
            conn.send_bytes(data).unwrap();
        }
    });
    let server = server(&format!("{WITH_TLS}\ncompression=off"), TLS_SECTION, |listener| {
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        listener.on(Protocol::RemoteApplication, Arc::new(Echo)).unwrap();
        listener.on(Protocol::Relay, handler.clone()).unwrap();
        listener.on(Protocol::Unknown, handler).unwrap();
    });
    for first in [1u8, 3] {
        let mut client = tls_connect(server.address);
        client.write_all(&[&[first][..], &frame(b"hi")].concat()).unwrap();
        assert_eq!(read_exact(&mut client, 7), b"\x01\x00\x00\x00\x02hi");
    }
    // Inside of TLS a byte 22 is a byte like any other.
    for (sent, given) in
        [(&b"\x02abc"[..], &b"abc"[..]), (b"GET", b"GET"), (b"\x16\x03", b"\x16\x03")]
    {
        let mut client = tls_connect(server.address);
        client.write_all(sent).unwrap();
        assert_eq!(read_exact(&mut client, given.len()), given);
        let Told::Opened(conn, _, byte) = log.next() else { panic!() };
        assert_eq!(byte, sent[0]);
        assert!(conn.info().unwrap().tls.is_some());
        assert_eq!(log.data(given.len()), given);
        conn.abort(0).unwrap();
        log.closed();
    }
}

#[test]
fn a_request_and_the_peers_end_that_come_with_the_last_handshake_message_are_served() {
    let server = echo_server(&format!("{WITH_TLS}\ncompression=off"), TLS_SECTION);
    for (sent, expected) in [
        (&b"GET"[..], &b"GET"[..]),
        (b"\x01\x00\x00\x00\x02hi", b"\x01\x00\x00\x00\x02hi"),
        (b"", b""),
    ] {
        let mut client = tls_over(connect(server.address));
        while client.conn.is_handshaking() {
            while client.conn.wants_write() {
                client.conn.write_tls(&mut client.sock).unwrap();
            }
            assert_ne!(client.conn.read_tls(&mut client.sock).unwrap(), 0);
            client.conn.process_new_packets().unwrap();
        }
        client.conn.writer().write_all(sent).unwrap();
        client.conn.send_close_notify();
        let mut last = Vec::new();
        while client.conn.wants_write() {
            client.conn.write_tls(&mut last).unwrap();
        }
        client.sock.write_all(&last).unwrap();
        client.sock.shutdown(Shutdown::Write).unwrap();
        assert_eq!(read_to_end(&mut client), expected);
    }
    // The peer may see an end before it is counted.
    let expected = HashMap::from([("peer_closed", 2), ("closed_before_identified", 1)]);
    wait_until("their ends", || closes(&server.listener) == expected);
}

#[test]
fn plain_bytes_on_a_tls_port_are_answered_by_an_alert_and_not_by_the_protocol() {
    // At once, also to a client that waits for its answer behind the first byte.
    for bytes in [&b"\x01\x00\x00\x00\x05hello"[..], b"\x01", b"GET"] {
        let server = echo_server(WITH_TLS, TLS_SECTION);
        let mut client = connect(server.address);
        client.write_all(bytes).unwrap();
        let answer = read_to_end(&mut client);
        assert!(answer.is_empty() || answer[0] == 21, "{answer:?}");
        wait_for_close(&server.listener, CloseReason::TlsFailed);
    }
}

#[test]
fn with_ssl_auto_one_port_takes_tls_and_plain() {
    let keys = format!("{WITH_TLS}\nssl=auto\ncompression=off");
    let server = echo_server(&keys, TLS_SECTION);
    for _ in 0..3 {
        let mut plain = framed(server.address);
        plain.write_all(&frame(b"plain")).unwrap();
        assert_eq!(read_frame(&mut plain), b"plain");
        let mut secure = tls_framed(server.address);
        secure.write_all(&frame(b"secure")).unwrap();
        assert_eq!(read_frame(&mut secure), b"secure");
        let mut web = connect(server.address);
        web.write_all(b"GET / HTTP/1.1").unwrap();
        assert_eq!(read_exact(&mut web, 14), b"GET / HTTP/1.1");
        let mut secure_web = tls_connect(server.address);
        secure_web.write_all(b"GET /").unwrap();
        assert_eq!(read_exact(&mut secure_web, 5), b"GET /");
    }
    let mut neither = connect(server.address);
    neither.write_all(&[22]).unwrap();
    neither.write_all(&[4, 5]).unwrap();
    assert_eq!(read_exact(&mut neither, 3), [22, 4, 5]);
}

// Frames.

const LETTERS: [u8; 64] = [b'a'; 64];
const HELLO: &[u8] = b"\x00\x00\x00\x05hello";
const PACKED_LETTERS: &[u8] = b"\x80\x00\x00\x0c\x78\x9c\x4b\x4c\xa4\x0c\x00\x00\x14\x8d\x18\x41";

/// A framed client, and what its connection is told.
fn told(keys: &str) -> (Server, TcpStream, Log) {
    let (handler, log) = recorder(false, |conn, event| {
        if let Event::Frames(frames) = event {
            for frame in frames.iter() {
                conn.send_frame(frame.data, SendFlags::default()).unwrap();
            }
        }
    });
    let server = server(keys, "", |listener| listener.on(Protocol::Client, handler).unwrap());
    let client = framed(server.address);
    (server, client, log)
}

#[test]
fn the_byte_examples_are_read_and_written_as_they_stand() {
    let (_server, mut client, log) = told("compressThreshold=64");
    client.write_all(HELLO).unwrap();
    client.write_all(PACKED_LETTERS).unwrap();
    assert_eq!(log.frame(), b"hello");
    assert_eq!(log.frame(), LETTERS);
    assert_eq!(read_exact(&mut client, HELLO.len()), HELLO);
    let (compressed, wire) = read_wire_frame(&mut client);
    assert!(compressed && unzlib(&wire) == LETTERS);
    assert_eq!(wire[..2], [0x78, 0x9c]);
    assert_eq!(wire[wire.len() - 4..], [0x14, 0x8d, 0x18, 0x41]);
}

#[test]
fn a_frame_says_whether_it_came_compressed() {
    let (sender, receiver) = std::sync::mpsc::channel();
    let sender = std::sync::Mutex::new(sender);
    let (handler, log) = recorder(false, move |_, event| {
        if let Event::Frames(frames) = event {
            for frame in frames.iter() {
                sender.lock().unwrap().send(frame.compressed).unwrap();
            }
        }
    });
    let server = server("", "", |listener| listener.on(Protocol::Client, handler).unwrap());
    let mut client = framed(server.address);
    client.write_all(&[HELLO, PACKED_LETTERS, HELLO].concat()).unwrap();
    (0..3).for_each(|_| drop(log.frame()));
    assert_eq!(receiver.try_iter().collect::<Vec<_>>(), [false, true, false]);
}

#[test]
fn a_raw_frame_of_length_0_is_delivered_as_an_empty_frame() {
    let (_server, mut client, log) = told("");
    client.write_all(&[0; 8]).unwrap();
    assert_eq!((log.frame(), log.frame()), (vec![], vec![]));
    assert_eq!(read_exact(&mut client, 8), [0; 8]);
}

/// Sends `bytes` behind a whole frame and gives the reason with which that ends; the frame
/// before it must have been delivered, and answered.
fn ends_with(keys: &str, bytes: &[u8]) -> CloseReason {
    let (_server, mut client, log) = told(keys);
    client.write_all(&[&frame(b"before")[..], bytes].concat()).unwrap();
    assert_eq!(log.frame(), b"before");
    let reason = log.closed().reason;
    assert_eq!(read_to_end(&mut client), frame(b"before"));
    reason
}

#[test]
fn a_frame_of_exactly_the_limit_is_legal_and_one_byte_more_closes_with_frame_too_large() {
    for limit in [1, 10, 5000, 70_000] {
        let keys = format!("maxFrameSize={limit}\ncompression=off");
        let (_server, mut client, log) = told(&keys);
        let largest = noise(limit, 1);
        client.write_all(&frame(&largest)).unwrap();
        assert!(log.frame() == largest && read_frame(&mut client) == largest);
        // The header alone is enough.
        let over = (limit as u32 + 1).to_be_bytes();
        client.write_all(&over).unwrap();
        assert_eq!(log.closed().reason, CloseReason::FrameTooLarge);
        assert_ends_without_a_byte(&mut client);
    }
}

#[test]
fn the_limit_counts_the_compressed_size_of_a_compressed_frame() {
    let packed = zlib(&LETTERS);
    let exactly = format!("maxFrameSize={}", packed.len());
    let (_server, mut client, log) = told(&exactly);
    client.write_all(&compressed_frame(&packed)).unwrap();
    assert_eq!(log.frame(), LETTERS);
    let under = format!("maxFrameSize={}", packed.len() - 1);
    let (_server, mut client, log) = told(&under);
    client.write_all(&compressed_frame(&packed)).unwrap();
    assert_eq!(log.closed().reason, CloseReason::FrameTooLarge);
}

#[test]
fn a_payload_that_inflates_to_exactly_the_limit_is_legal_and_one_byte_more_is_not() {
    // Within one turn's budget, at it, beyond it, and far beyond it.
    for limit in [1000, 65_536, 262_144, 262_145, 1_000_000] {
        let keys = format!("maxInflatedSize={limit}\ncompression=off");
        let (_server, mut client, log) = told(&keys);
        let largest = compressible(limit, 3);
        client.write_all(&compressed_frame(&zlib(&largest))).unwrap();
        assert!(log.frame() == largest && read_frame(&mut client) == largest, "{limit}");
        client.write_all(&compressed_frame(&zlib(&compressible(limit + 1, 3)))).unwrap();
        assert_eq!(log.closed().reason, CloseReason::InflatedTooLarge, "{limit}");
    }
}

#[test]
fn memory_grows_with_what_arrives_and_not_with_what_a_header_claims() {
    let server = server_with("memoryLimit=64K", "maxFrameSize=2147483647", "", |listener| {
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    });
    let mut clients: Vec<_> = (0..20).map(|_| framed(server.address)).collect();
    for client in &mut clients {
        client.write_all(b"\x7f\xff\xff\xff0123").unwrap();
    }
    wait_until("all bytes", || server.listener.stats().bytes_in == 20 * 9);
    let stats = server.listener.stats();
    assert_eq!((stats.memory_bytes, stats.open[0]), (0, 20));
    assert_eq!(closes(&server.listener), HashMap::new());
}

#[test]
fn there_is_no_ratio_limit_and_a_payload_may_inflate_to_nothing() {
    if is_polled("a full queue refuses a send") {
        return;
    }
    let (_server, mut client, log) = told("compression=off");
    let zeros = vec![0; 20 << 20];
    client.write_all(&compressed_frame(&zlib(&zeros))).unwrap();
    client.write_all(&compressed_frame(&zlib(b""))).unwrap();
    assert!(log.frame() == zeros);
    assert!(read_frame(&mut client) == zeros);
    assert_eq!((log.frame(), read_frame(&mut client)), (vec![], vec![]));
}

#[test]
fn auto_and_off_read_zlib_and_raw_deflate_and_the_strict_ones_only_their_own() {
    let (with_header, without) = (zlib(&LETTERS), deflate(&LETTERS));
    for (compression, zlib_is_read, raw_is_read) in
        [("auto", true, true), ("off", true, true), ("zlib", true, false), ("raw", false, true)]
    {
        for (wire, is_read) in [(&with_header, zlib_is_read), (&without, raw_is_read)] {
            let (_server, mut client, log) = told(&format!("compression={compression}"));
            client.write_all(&compressed_frame(wire)).unwrap();
            if is_read {
                assert_eq!(log.frame(), LETTERS, "{compression}");
            } else {
                assert_eq!(log.closed().reason, CloseReason::DeflateCorrupt, "{compression}");
            }
        }
    }
}

#[test]
fn compressed_payloads_are_written_as_zlib_or_raw_where_the_port_says_so_or_never() {
    let payload = compressible(2000, 1);
    for compression in ["auto", "zlib", "raw", "off"] {
        let (_server, mut client, _log) = told(&format!("compression={compression}"));
        client.write_all(&frame(&payload)).unwrap();
        let (compressed, wire) = read_wire_frame(&mut client);
        assert_eq!(compressed, compression != "off");
        match compression {
            "off" => assert_eq!(wire, payload),
            "raw" => assert_eq!(undeflate(&wire), payload),
            _ => assert_eq!(unzlib(&wire), payload),
        }
    }
}

#[test]
fn a_frame_is_compressed_from_the_threshold_up() {
    for threshold in [512, 1, 5000] {
        let (_server, mut client, _log) = told(&format!("compressThreshold={threshold}"));
        for (len, expected) in [(threshold - 1, false), (threshold, threshold > 1)] {
            client.write_all(&frame(&vec![b'a'; len])).unwrap();
            let (compressed, wire) = read_wire_frame(&mut client);
            assert_eq!(compressed, expected, "{len} of {threshold}");
            if compressed {
                assert_eq!(unzlib(&wire), vec![b'a'; len]);
            }
        }
    }
}

#[test]
fn a_frame_is_compressed_up_to_compress_limit_however_it_is_sent() {
    let limit = 5000;
    let is_compressed = |client: &mut TcpStream, len: usize| {
        let (compressed, wire) = read_wire_frame(client);
        let payload = if compressed { unzlib(&wire) } else { wire };
        assert!(payload == vec![b'a'; len], "{len}");
        compressed
    };
    // In its own callback: single, array, lent.
    let (handler, log) = recorder(false, move |conn, event| {
        let Event::Frames(_) = event else { return };
        for len in [limit, limit + 1] {
            send_in_all_ways(conn, len);
        }
    });
    let server = server(&format!("compressLimit={limit}"), "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    let mut client = framed(server.address);
    client.write_all(&frame(b"go on")).unwrap();
    let conn = log.opened();
    log.frame();
    for _ in 0..2 {
        for (len, expected) in [(limit, true), (limit + 1, false)] {
            for way in 0..4 {
                assert_eq!(is_compressed(&mut client, len), expected, "{len} bytes, {way}");
            }
        }
        // The second time from another thread.
        [limit, limit + 1].iter().for_each(|&len| send_in_all_ways(conn, len));
    }
}

/// Four frames.
fn send_in_all_ways(conn: Conn, len: usize) {
    let payload = vec![b'a'; len];
    let flags = SendFlags::default();
    conn.send_frame(&payload, flags).unwrap();
    conn.send_frames([payload.as_slice(); 2].into_iter(), flags).1.unwrap();
    conn.send_frame_owned(Box::new(payload), flags).unwrap();
}

#[test]
fn a_large_frame_is_compressed_up_to_a_mebibyte_without_a_key_for_that() {
    let (_server, mut client, _log) = told("");
    for (len, expected) in [(1 << 20, true), ((1 << 20) + 1, false)] {
        let payload = compressible(len, 1);
        client.write_all(&frame(&payload)).unwrap();
        let (compressed, wire) = read_wire_frame(&mut client);
        assert_eq!(compressed, expected, "{len}");
        assert!(if compressed { unzlib(&wire) } else { wire } == payload);
    }
}

#[test]
fn a_frame_is_sent_compressed_only_when_that_makes_it_smaller() {
    let (_server, mut client, _log) = told("compressThreshold=1");
    for payload in [noise(1, 1), noise(600, 2), noise(100_000, 3)] {
        client.write_all(&frame(&payload)).unwrap();
        let (compressed, wire) = read_wire_frame(&mut client);
        assert!(!compressed && wire == payload, "{}", payload.len());
    }
    let payload = compressible(600, 1);
    client.write_all(&frame(&payload)).unwrap();
    let (compressed, wire) = read_wire_frame(&mut client);
    assert!(compressed && wire.len() < payload.len());
}

#[test]
fn each_frame_is_its_own_stream() {
    let (_server, mut client, log) = told("");
    let payload = compressible(3000, 9);
    let packed = compressed_frame(&zlib(&payload));
    client.write_all(&[&packed[..], &packed, &packed].concat()).unwrap();
    (0..3).for_each(|_| assert_eq!(log.frame(), payload));
    let first = read_wire_frame(&mut client);
    assert_eq!(unzlib(&first.1), payload);
    (0..2).for_each(|_| assert_eq!(read_wire_frame(&mut client), first));
}

#[test]
fn a_compressed_frame_without_bytes_closes_with_deflate_empty() {
    assert_eq!(ends_with("", b"\x80\x00\x00\x00"), CloseReason::DeflateEmpty);
}

#[test]
fn a_broken_stream_closes_with_deflate_corrupt() {
    let mut packed = zlib(&compressible(3000, 1));
    let middle = packed.len() / 2;
    packed[middle] ^= 0x55;
    assert_eq!(ends_with("", &compressed_frame(&packed)), CloseReason::DeflateCorrupt);
    let mut bad_checksum = zlib(&LETTERS);
    *bad_checksum.last_mut().unwrap() ^= 1;
    assert_eq!(ends_with("", &compressed_frame(&bad_checksum)), CloseReason::DeflateCorrupt);
    assert_eq!(ends_with("", &compressed_frame(&[0xff; 30])), CloseReason::DeflateCorrupt);
}

#[test]
fn a_broken_stream_that_arrives_as_a_large_frame_closes_with_deflate_corrupt() {
    let mut packed = zlib(&noise(100_000, 5));
    *packed.last_mut().unwrap() ^= 1;
    assert_eq!(ends_with("", &compressed_frame(&packed)), CloseReason::DeflateCorrupt);
}

#[test]
fn an_incomplete_stream_closes_with_deflate_corrupt() {
    let packed = zlib(&LETTERS);
    for cut in 1..packed.len() {
        let reason = ends_with("", &compressed_frame(&packed[..cut]));
        assert_eq!(reason, CloseReason::DeflateCorrupt, "{cut}");
    }
    let large = zlib(&noise(400_000, 5));
    let reason = ends_with("", &compressed_frame(&large[..large.len() - 1]));
    assert_eq!(reason, CloseReason::DeflateCorrupt);
}

#[test]
fn bytes_behind_the_end_of_a_stream_close_with_deflate_trailing() {
    for mut packed in [zlib(&LETTERS), deflate(&LETTERS), zlib(&noise(400_000, 5))] {
        packed.push(0);
        assert_eq!(ends_with("", &compressed_frame(&packed)), CloseReason::DeflateTrailing);
    }
}

#[test]
fn frames_before_a_bad_one_are_delivered_however_many_there_are() {
    for count in [1, 63, 64, 65, 1000] {
        let (_server, mut client, log) = told("");
        let mut wire = Vec::new();
        for number in 0..count as u32 {
            wire.extend(match number % 3 {
                0 => compressed_frame(&zlib(&number.to_be_bytes())),
                _ => frame(&number.to_be_bytes()),
            });
        }
        wire.extend(b"\x80\x00\x00\x02\xff\xff");
        client.write_all(&wire).unwrap();
        for number in 0..count as u32 {
            assert_eq!(log.frame(), number.to_be_bytes());
        }
        let Told::Closed(_, info) = log.next() else { panic!() };
        assert_eq!(info.reason, CloseReason::DeflateCorrupt);
        let answers: Vec<u8> =
            (0..count as u32).flat_map(|number| frame(&number.to_be_bytes())).collect();
        assert_eq!(read_to_end(&mut client), answers);
    }
}

// Ends and order.

#[test]
fn end_of_stream_inside_a_frame_is_truncated_and_the_frames_before_it_are_answered() {
    let large = frame(&noise(100_000, 1));
    let small = frame(b"cut");
    let packed = compressed_frame(&zlib(&LETTERS));
    for begun in [
        &small[..1],
        &small[..3],
        &small[..4],
        &small[..6],
        &packed[..15],
        &large[..5000],
        &large[..large.len() - 1],
    ] {
        let (_server, mut client, log) = told("");
        client.write_all(&[&frame(b"one")[..], &frame(b"two"), begun].concat()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!((log.frame(), log.frame()), (b"one".to_vec(), b"two".to_vec()));
        let Told::Closed(_, info) = log.next() else { panic!() };
        assert_eq!(info.reason, CloseReason::Truncated, "{}", begun.len());
        assert_eq!(read_to_end(&mut client), [frame(b"one"), frame(b"two")].concat());
    }
}

#[test]
fn end_of_stream_inside_a_frame_is_truncated_over_tls_too() {
    let (handler, log) = recorder(false, |_, _| {});
    let server =
        server(WITH_TLS, TLS_SECTION, |listener| listener.on(Protocol::Client, handler).unwrap());
    let mut client = tls_framed(server.address);
    client.write_all(&[&frame(b"one")[..], &[0, 0]].concat()).unwrap();
    client.conn.send_close_notify();
    client.flush().unwrap();
    assert_eq!(log.frame(), b"one");
    assert_eq!(log.closed().reason, CloseReason::Truncated);
}

#[test]
fn end_of_stream_between_frames_is_the_peers_close_and_everything_sent_is_flushed() {
    let (_server, mut client, log) = told("compression=off");
    let payload = noise(3 << 20, 1);
    let writer = client.try_clone().unwrap();
    let sent = frame(&payload);
    let thread = std::thread::spawn(move || {
        (&writer).write_all(&sent).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    assert!(read_frame(&mut client) == payload);
    thread.join().unwrap();
    assert_ends_without_a_byte(&mut client);
    let info = log.closed();
    assert_eq!((info.reason, info.unsent_bytes), (CloseReason::PeerClosed, 0));
}

#[test]
fn frames_arrive_in_order_each_exactly_once() {
    let (_server, client, log) = told("");
    let numbers = 0..20_000u32;
    let mut wire = Vec::new();
    for number in numbers.clone() {
        let payload =
            [&number.to_be_bytes()[..], &vec![number as u8; number as usize % 50]].concat();
        wire.extend(match number % 7 {
            0 => compressed_frame(&zlib(&payload)),
            _ => frame(&payload),
        });
    }
    let mut writer = client.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        writer.write_all(&wire).unwrap();
        writer.shutdown(Shutdown::Write).unwrap();
    });
    let mut reader = std::io::BufReader::new(client);
    for number in numbers.clone() {
        let payload =
            [&number.to_be_bytes()[..], &vec![number as u8; number as usize % 50]].concat();
        assert_eq!(log.frame(), payload);
        assert_eq!(read_frame(&mut reader), payload);
    }
    thread.join().unwrap();
    assert_eq!(log.closed().reason, CloseReason::PeerClosed);
}

#[test]
fn frames_of_several_threads_are_never_interleaved_inside_one_another() {
    const THREADS: u8 = 4;
    const EACH: u32 = 400;
    let (handler, log) = recorder(false, |_, _| {});
    let server = server("compression=off\nsendQueueLimit=1G", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    let client = framed(server.address);
    let conn = log.opened();
    let senders: Vec<_> = (0..THREADS)
        .map(|thread| {
            std::thread::spawn(move || {
                for number in 0..EACH {
                    let len = [0, 10, 3000, 20_000, 70_000][number as usize % 5];
                    let mut payload = vec![thread; 5 + len];
                    payload[1..5].copy_from_slice(&number.to_be_bytes());
                    match number % 3 {
                        0 => conn.send_frame(&payload, SendFlags::default()),
                        1 => conn.send_frame_owned(Box::new(payload), SendFlags::default()),
                        _ => conn.send_frames([&payload[..]].into_iter(), SendFlags::default()).1,
                    }
                    .unwrap();
                }
            })
        })
        .collect();
    let mut reader = std::io::BufReader::with_capacity(256 << 10, client);
    let mut next = [0u32; THREADS as usize];
    for _ in 0..u32::from(THREADS) * EACH {
        let payload = read_frame(&mut reader);
        let thread = payload[0];
        let number = u32::from_be_bytes(payload[1..5].try_into().unwrap());
        assert_eq!(number, next[thread as usize]);
        next[thread as usize] += 1;
        assert!(payload[5..].iter().all(|byte| *byte == thread));
    }
    senders.into_iter().for_each(|sender| sender.join().unwrap());
}

#[test]
fn frames_from_the_callback_and_from_other_threads_are_not_interleaved_either() {
    let (handler, log) = recorder(false, |conn, event| {
        if let Event::Frames(frames) = event {
            let all = frames.iter().map(|frame| frame.data);
            assert_eq!(conn.send_frames(all, SendFlags::default()).1, Ok(()));
        }
    });
    let server = server("compression=off\nsendQueueLimit=1G", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    let mut client = framed(server.address);
    let conn = log.opened();
    let sender = std::thread::spawn(move || {
        for _ in 0..1000 {
            conn.send_frame(&[7; 9000], SendFlags::default()).unwrap();
        }
    });
    let mut writer = client.try_clone().unwrap();
    let echoed = std::thread::spawn(move || {
        for _ in 0..1000 {
            writer.write_all(&frame(&[9; 12_000])).unwrap();
        }
    });
    let mut seen = [0; 2];
    for _ in 0..2000 {
        match read_frame(&mut client) {
            payload if payload == [7; 9000] => seen[0] += 1,
            payload if payload == [9; 12_000] => seen[1] += 1,
            payload => panic!("a frame of {} bytes that nobody sent", payload.len()),
        }
    }
    assert_eq!(seen, [1000, 1000]);
    sender.join().unwrap();
    echoed.join().unwrap();
}

#[test]
fn a_port_that_never_takes_compressed_frames_closes_with_compression_refused() {
    let server = echo_server("compression=never", "");
    let mut client = framed(server.address);
    let payload = compressible(100_000, 1);
    client.write_all(&frame(&payload)).unwrap();
    assert_eq!(read_wire_frame(&mut client), (false, payload));
    client.write_all(&[frame(b"last"), compressed_frame(&zlib(b"hello"))].concat()).unwrap();
    assert_eq!(read_frame(&mut client), b"last");
    assert_eq!(read_to_end(&mut client), b"");
    wait_for_close(&server.listener, CloseReason::CompressionRefused);
}
