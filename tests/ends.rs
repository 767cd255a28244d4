//! How connections end: deadlines, pauses, half-close, panics, limits, and the accounts of it.

mod support;

use nativeport::event::{Event, Party, Protocol, Stage};
use nativeport::handles::{Conn, SendFlags};
use nativeport::status::{CloseReason, Status};
use std::collections::HashMap;
use std::io::{BufRead, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::*;

const PLAIN: SendFlags = SendFlags { no_compress: false };

/// A port on which all protocols are noted.
fn noted(keys: &str, rest: &str) -> (Server, Log) {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server(keys, rest, |listener| {
        for protocol in Protocol::ALL {
            listener.on(protocol, handler.clone()).unwrap();
        }
    });
    (server, log)
}

/// One connection more that the port ends, for that reason and no other.
fn assert_only(server: &Server, reason: CloseReason) {
    wait_for_close(&server.listener, reason);
    assert_eq!(closes(&server.listener), HashMap::from([(reason.name(), 1)]));
}

// Deadlines.

#[test]
fn without_a_first_byte_read_timeout_ends_it() {
    let (server, log) = noted("readTimeout=300ms", "");
    assert_ends_without_a_byte(&mut connect(server.address));
    assert_only(&server, CloseReason::ReadTimeout);
    assert_eq!(log.drain(), []);
}

#[test]
fn without_a_first_byte_inside_of_tls_read_timeout_ends_it() {
    in_time(|ms| {
        let (server, log) = noted(&format!("{WITH_TLS}\nreadTimeout={ms}"), TLS_SECTION);
        let mut client = try_tls_connect(server.address).ok()?;
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
        assert_only(&server, CloseReason::ReadTimeout);
        assert_eq!(log.drain(), []);
        Some(())
    });
}

#[test]
fn without_a_handshake_handshake_timeout_ends_it_on_tls_and_auto_ports() {
    for ssl in ["required", "auto"] {
        for begun in [&b""[..], b"\x16", b"\x16\x03\x01\x00\xf0\x01\x00\x00"] {
            let keys = format!("{WITH_TLS}\nssl={ssl}\nhandshakeTimeout=300ms");
            let (server, log) = noted(&keys, TLS_SECTION);
            let mut client = connect(server.address);
            client.write_all(begun).unwrap();
            // No alert, and no close_notify.
            assert_ends_without_a_byte(&mut client);
            assert_only(&server, CloseReason::HandshakeTimeout);
            assert_eq!(log.drain(), []);
        }
    }
}

#[test]
fn the_earlier_of_handshake_timeout_and_read_timeout_counts() {
    let keys = format!("{WITH_TLS}\nhandshakeTimeout=60s\nreadTimeout=300ms");
    let (server, _log) = noted(&keys, TLS_SECTION);
    read_to_end(&mut connect(server.address));
    assert_only(&server, CloseReason::ReadTimeout);
}

#[test]
fn handshake_timeout_does_not_exist_on_plain_ports_and_after_the_handshake() {
    let (server, _log) = noted("handshakeTimeout=100ms\nreadTimeout=600ms", "");
    read_to_end(&mut connect(server.address));
    assert_only(&server, CloseReason::ReadTimeout);
    in_time(|ms| {
        let keys = format!("{WITH_TLS}\nhandshakeTimeout={ms}\nreadTimeout={}", 2 * ms);
        let (server, _log) = noted(&keys, TLS_SECTION);
        let mut client = try_tls_connect(server.address).ok()?;
        let _ = client.read(&mut [0]);
        assert_only(&server, CloseReason::ReadTimeout);
        Some(())
    });
}

#[test]
fn a_frame_that_is_not_whole_within_frame_timeout_ends_it() {
    for begun in
        [&b"\x00"[..], b"\x00\x00\x00\x05", b"\x00\x00\x00\x05hell", b"\x00\x01\x00\x00abc"]
    {
        let (server, log) = noted("frameTimeout=300ms", "");
        let mut client = framed(server.address);
        client.write_all(&[&frame(b"whole")[..], begun].concat()).unwrap();
        assert_eq!(log.frame(), b"whole");
        assert_ends_without_a_byte(&mut client);
        let info = log.closed();
        assert_eq!((info.reason, info.by), (CloseReason::FrameTimeout, Party::Library));
        assert!(info.duration_ms >= 300);
        assert_only(&server, CloseReason::FrameTimeout);
    }
}

#[test]
fn frame_timeout_is_not_put_off_by_a_peer_that_drips() {
    let (server, log) = noted("frameTimeout=300ms", "");
    let mut client = framed(server.address);
    client.write_all(&1_000_000u32.to_be_bytes()).unwrap();
    let dripping = log.opened();
    // Paced by whole exchanges of other connections, until it is over.
    while dripping.info().is_ok() {
        let _ = client.write_all(&[0]);
        let mut other = connect(server.address);
        other.write_all(b"x").unwrap();
        while !matches!(log.next(), Told::Data(..) | Told::Closed(..)) {}
        reset(other);
    }
    wait_for_close(&server.listener, CloseReason::FrameTimeout);
}

#[test]
fn frame_timeout_grows_by_a_second_for_each_64_kib_that_arrived() {
    in_time(|ms| {
        let (server, log) = noted(&format!("frameTimeout={ms}"), "");
        let begun = |len: u32, sent: usize| {
            let mut client = framed(server.address);
            client.write_all(&[&len.to_be_bytes()[..], &vec![0; sent]].concat()).ok()?;
            Some(client)
        };
        let _more = begun(500_000, 264_000)?;
        let long = log.opened();
        wait_until("its bytes", || long.info().map_or(true, |info| info.bytes_in == 5 + 264_000));
        long.info().ok()?;
        let _less = begun(200_000, 65_000)?;
        let short = log.opened();
        // The later one with less ends first, if it comes within the three seconds between them.
        let Told::Closed(first, info) = log.next() else { panic!() };
        assert_eq!(info.reason, CloseReason::FrameTimeout);
        (first == short).then_some(())?;
        let Told::Closed(second, info) = log.next() else { panic!() };
        assert_eq!((second, info.reason), (long, CloseReason::FrameTimeout));
        assert!(info.duration_ms >= 4000 + ms, "{}", info.duration_ms);
        Some(())
    });
}

#[test]
fn silence_for_idle_timeout_ends_framed_connections_and_streams() {
    for first_byte in [1, 2, 3, b'G'] {
        let (server, log) = noted("idleTimeout=300ms", "");
        let mut client = connect(server.address);
        client.write_all(&[first_byte]).unwrap();
        log.opened();
        let answer: &[u8] = if matches!(first_byte, 1 | 3) { &[1] } else { &[] };
        assert_eq!(read_to_end(&mut client), answer);
        let info = log.closed();
        assert_eq!((info.reason, info.by), (CloseReason::IdleTimeout, Party::Library));
        assert!(info.duration_ms >= 300);
        assert_only(&server, CloseReason::IdleTimeout);
    }
}

#[test]
fn traffic_in_either_direction_puts_idle_timeout_off() {
    in_time(|ms| {
        let (server, log) = noted(&format!("idleTimeout={ms}\ncompression=off"), "");
        let mut talking = framed(server.address);
        let talks = log.opened();
        let mut listening = framed(server.address);
        let listens = log.opened();
        let _silent = framed(server.address);
        let silent = log.opened();
        let ended = |conn: Conn| conn.info().is_err();
        let mut rounds = 0;
        while !ended(silent) {
            talking.write_all(&frame(b"x")).ok()?;
            listens.send_frame(b"y", PLAIN).ok()?;
            listening.read_exact(&mut [0; 5]).ok()?;
            rounds += 1;
        }
        (rounds > 0 && !ended(talks) && !ended(listens)).then_some(())
    });
}

#[test]
fn queued_output_without_progress_for_write_timeout_is_reset() {
    for tls in [false, true] {
        let keys = format!(
            "writeTimeout=400ms\ncompression=off\nsendQueueLimit=1G\n{}",
            if tls { WITH_TLS } else { "" }
        );
        let (server, log) = noted(&keys, TLS_SECTION);
        let plain = if tls { tls_framed(server.address).sock } else { framed(server.address) };
        let conn = log.opened();
        conn.send_frame(&vec![7; 64 << 20], PLAIN).unwrap();
        let info = log.closed();
        assert_eq!((info.reason, info.by), (CloseReason::WriteTimeout, Party::Library));
        assert!(info.unsent_bytes > 0);
        assert_is_reset(&mut { plain });
    }
}

#[test]
fn write_timeout_bounds_the_flush_of_a_close() {
    let (server, log) = noted("writeTimeout=2s\ncompression=off\nsendQueueLimit=1G", "");
    let mut client = framed(server.address);
    let conn = log.opened();
    conn.send_frame(&vec![7; 64 << 20], PLAIN).unwrap();
    conn.close(3).unwrap();
    let info = log.closed();
    assert_eq!((info.reason, info.host_code), (CloseReason::HostClosed, 3));
    assert!(info.unsent_bytes > 0);
    assert_is_reset(&mut client);
}

/// A framed client whose system buffers little.
fn narrow(server: &Server) -> TcpStream {
    use socket2::{Domain, Socket, Type};
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(8192).unwrap();
    socket.connect(&server.address.into()).unwrap();
    let mut client = TcpStream::from(socket);
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&[1]).unwrap();
    assert_eq!(read_exact(&mut client, 1), [1]);
    client
}

/// Reads 17 KB a second, until so much time has passed or the connection is reset.
fn reads_slowly(client: &mut TcpStream, time: Duration) {
    let until = Instant::now() + time;
    while Instant::now() < until && client.read_exact(&mut [0; 4250]).is_ok() {
        std::thread::sleep(Duration::from_millis(250));
    }
}

const SLOW_KEYS: &str = "compression=off\nsendQueueLimit=1G\nkeepAlive=0";

#[test]
fn a_peer_that_reads_slowly_makes_progress_though_the_socket_takes_nothing() {
    if is_through_a_toxic("its buffers hide how fast the client reads") {
        return;
    }
    // Without keepAlive the system's own timer is as short.
    let (server, log) = noted(&format!("{SLOW_KEYS}\nwriteTimeout=3s"), "");
    let mut client = narrow(&server);
    let conn = log.opened();
    conn.send_frame(&vec![7; 64 << 20], PLAIN).unwrap();
    reads_slowly(&mut client, Duration::from_secs(13));
    assert_eq!(log.drain(), []);
    assert!(conn.info().is_ok());
    // It reads no more.
    let info = log.closed();
    assert_eq!((info.reason, info.by), (CloseReason::WriteTimeout, Party::Library));
    assert_is_reset(&mut client);
}

#[test]
fn a_close_ends_by_close_timeout_or_the_hosts_deadline_while_its_peer_reads_slowly() {
    if is_through_a_toxic("its buffers hide how fast the client reads") {
        return;
    }
    for by_deadline in [false, true] {
        let close_timeout = if by_deadline { "10m" } else { "2s" };
        let (server, log) = noted(&format!("{SLOW_KEYS}\ncloseTimeout={close_timeout}"), "");
        let mut client = narrow(&server);
        let conn = log.opened();
        conn.send_frame(&vec![7; 64 << 20], PLAIN).unwrap();
        let begun = Instant::now();
        conn.close(3).unwrap();
        if by_deadline {
            conn.set_deadline(Some(2000)).unwrap();
        }
        reads_slowly(&mut client, PATIENCE);
        assert!(begun.elapsed() >= Duration::from_secs(2));
        let info = log.closed();
        let expected = match by_deadline {
            false => (CloseReason::CloseTimeout, Party::Library),
            true => (CloseReason::HostClosed, Party::Host),
        };
        assert_eq!((info.reason, info.by), expected);
        assert!(info.host_code == 3 && info.unsent_bytes > 0);
        assert_only(&server, expected.0);
    }
}

#[test]
fn the_hosts_deadline_ends_it_unless_it_is_taken_back_or_put_off() {
    in_time(|ms| {
        let (server, log) = noted("", "");
        let mut clients: Vec<_> = (0..3).map(|_| framed(server.address)).collect();
        let mut conns = [log.opened(), log.opened(), log.opened()];
        // On several loops they need not be told in the order in which they came.
        let of = |client: &TcpStream| client.local_addr().unwrap();
        conns.sort_by_key(|conn| {
            let peer = conn.info().unwrap().peer;
            clients.iter().position(|client| of(client) == peer)
        });
        let [kept, put_off, ended] = conns;
        kept.set_deadline(Some(ms)).unwrap();
        kept.set_deadline(None).ok()?;
        put_off.set_deadline(Some(ms)).unwrap();
        put_off.set_deadline(Some(600_000)).ok()?;
        ended.set_deadline(Some(ms + 500)).unwrap();
        let Told::Closed(conn, info) = log.next() else { panic!() };
        assert_eq!(info.reason, CloseReason::HostDeadline);
        (conn == ended).then_some(())?;
        assert_ends_without_a_byte(&mut clients[2]);
        assert!(kept.info().is_ok() && put_off.info().is_ok());
        Some(())
    });
}

#[test]
fn the_hosts_deadline_flushes_what_was_sent() {
    let (server, log) = noted("compression=off", "");
    let mut client = connect(server.address);
    client.write_all(b"GET").unwrap();
    let conn = log.opened();
    conn.send_bytes(b"too late").unwrap();
    conn.set_deadline(Some(50)).unwrap();
    assert_eq!(read_to_end(&mut client), b"too late");
    assert_eq!(log.closed().reason, CloseReason::HostDeadline);
}

// Pauses.

/// Lets two idle timeouts of other connections pass.
fn let_time_pass(server: &Server) {
    for _ in 0..2 {
        read_to_end(&mut framed(server.address));
    }
}

#[test]
fn paused_nothing_is_delivered_and_no_deadline_of_the_peer_runs() {
    let (handler, log) = recorder(false, |conn, event| {
        if let Event::Frames(frames) = event
            && frames.get(0).unwrap().data == b"pause"
        {
            conn.pause_reading().unwrap();
        }
    });
    let keys = "idleTimeout=300ms\nframeTimeout=300ms";
    let server = server(keys, "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    // In time, as it comes with the first byte.
    let mut client = connect(server.address);
    client.write_all(&[&[1][..], &frame(b"pause")].concat()).unwrap();
    let conn = log.opened();
    assert_eq!(log.frame(), b"pause");
    // A whole frame and a cut one wait behind the pause.
    client.write_all(&[frame(b"waits"), vec![0, 0]].concat()).unwrap();
    let_time_pass(&server);
    let told = log.drain();
    assert!(!told.iter().any(|told| matches!(told, Told::Frame(..))), "{told:?}");
    assert!(conn.info().is_ok());
    client.write_all(&[&[0, 2][..], b"ok"].concat()).unwrap();
    conn.resume_reading().unwrap();
    assert_eq!(log.frame(), b"waits");
    assert_eq!(log.frame(), b"ok");
}

#[test]
fn resumed_the_deadlines_run_again() {
    // The first one only, from its opening on.
    let is_first = AtomicBool::new(true);
    let (handler, log) = recorder(false, move |conn, event| {
        if matches!(event, Event::Opened { .. }) && is_first.swap(false, Ordering::SeqCst) {
            conn.pause_reading().unwrap();
        }
    });
    let server = server("idleTimeout=300ms", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    let mut client = framed(server.address);
    let conn = log.opened();
    let_time_pass(&server);
    assert!(conn.info().is_ok());
    conn.resume_reading().unwrap();
    assert_ends_without_a_byte(&mut client);
}

#[test]
fn a_frame_whose_inflation_ends_during_a_pause_is_delivered_after_the_resume() {
    if is_polled("what is polled is with the host before it pauses") {
        return;
    }
    let (handler, log) = recorder(false, |conn, event| {
        if let Event::Frames(frames) = event
            && frames.get(0).unwrap().data == b"pause"
        {
            conn.pause_reading().unwrap();
        }
    });
    let server = server("", "", |listener| listener.on(Protocol::Client, handler).unwrap());
    let mut client = framed(server.address);
    let Told::Opened(conn, ..) = log.next() else { panic!() };
    // Its inflation takes several turns, so it is under way when the pause comes.
    let large = vec![7; 8 << 20];
    client.write_all(&[frame(b"pause"), compressed_frame(&zlib(&large))].concat()).unwrap();
    assert_eq!(log.frame(), b"pause");
    let held = || server.listener.stats().memory_bytes;
    wait_until("the end of the inflation", || held() >= (8 << 20) - (64 << 10));
    assert_eq!(log.drain(), []);
    conn.resume_reading().unwrap();
    assert!(log.frame() == large);
    client.write_all(&frame(b"and on")).unwrap();
    assert_eq!(log.frame(), b"and on");
}

/// A record that does not decrypt.
const BAD_RECORD: [u8; 45] = {
    let mut record = [0; 45];
    (record[0], record[1], record[2], record[4]) = (23, 3, 3, 40);
    record
};

/// Sends what the client has sealed in one piece with a bad record.
fn fail_behind(client: &mut TlsStream, data: &[u8]) {
    client.conn.writer().write_all(data).unwrap();
    let mut wire = Vec::new();
    while client.conn.wants_write() {
        client.conn.write_tls(&mut wire).unwrap();
    }
    wire.extend(BAD_RECORD);
    client.sock.write_all(&wire).unwrap();
}

fn assert_failed(log: &Log) {
    let info = log.closed();
    assert_eq!((info.reason, info.tls_alert), (CloseReason::TlsFailed, 20), "{}", info.text);
}

#[test]
fn frames_in_one_piece_with_a_bad_record_are_delivered_before_the_end() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server("sslSection=Tls", TLS_SECTION, |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    let mut client = tls_framed(server.address);
    let wire = [frame(b"first"), compressed_frame(&zlib(b"second")), frame(b"last")].concat();
    fail_behind(&mut client, &wire);
    for expected in [&b"first"[..], b"second", b"last"] {
        assert_eq!(log.frame(), expected);
    }
    assert_failed(&log);
}

#[test]
fn a_pause_holds_streams_and_tls_connections_too() {
    if is_polled("input that was polled together with the opening is there already") {
        return;
    }
    for (keys, rest) in [("", ""), (WITH_TLS, TLS_SECTION)] {
        let (handler, log) = recorder(false, |conn, event| {
            if let Event::Opened { .. } = event {
                conn.pause_reading().unwrap();
            }
        });
        let server = server(keys, rest, |listener| {
            listener.on(Protocol::Unknown, handler).unwrap();
            listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        });
        let sent = noise(300_000, 1);
        let plain = connect(server.address);
        let data = [b"G", &sent[..]].concat();
        let held = data.clone();
        let thread = std::thread::spawn(move || {
            if keys.is_empty() {
                (&plain).write_all(&held).unwrap();
                plain.shutdown(Shutdown::Write).unwrap();
            } else {
                let mut client = tls_over(plain);
                client.write_all(&held).unwrap();
                client.conn.send_close_notify();
                client.flush().unwrap();
                // Stays until the other side ends.
                let _ = client.read(&mut [0]);
            }
        });
        let conn = log.opened();
        assert_eq!(log.drain(), []);
        conn.resume_reading().unwrap();
        assert!(log.data(data.len()) == data);
        assert_eq!(log.closed().reason, CloseReason::PeerClosed);
        thread.join().unwrap();
    }
}

#[test]
fn a_paused_connection_notices_the_peers_reset() {
    let (server, log) = noted("", "");
    let client = framed(server.address);
    let conn = log.opened();
    conn.pause_reading().unwrap();
    reset(client);
    assert_eq!(log.closed().reason, CloseReason::PeerReset);
}

// Half-close.

#[test]
fn a_host_that_wants_the_end_is_told_it_may_go_on_sending_and_closes_itself() {
    for (keys, rest) in [("compression=off", ""), ("compression=off\nsslSection=Tls", TLS_SECTION)]
    {
        let (handler, log) = recorder(true, |_, _| {});
        let server = server(keys, rest, |listener| listener.on(Protocol::Client, handler).unwrap());
        let answers = |conn: Conn| {
            assert_eq!(log.frame(), b"last");
            assert_eq!(log.next(), Told::End(conn));
            conn.send_frame(b"one", PLAIN).unwrap();
            conn.send_frame(b"two", PLAIN).unwrap();
            conn.close(4).unwrap();
            // The peer was first.
            let info = log.closed();
            assert_eq!(
                (info.reason, info.by, info.host_code),
                (CloseReason::PeerClosed, Party::Peer, 4)
            );
        };
        let expected = [frame(b"one"), frame(b"two")].concat();
        if rest.is_empty() {
            let mut client = framed(server.address);
            client.write_all(&frame(b"last")).unwrap();
            client.shutdown(Shutdown::Write).unwrap();
            answers(log.opened());
            assert_eq!(read_to_end(&mut client), expected);
        } else {
            let mut client = tls_framed(server.address);
            client.write_all(&frame(b"last")).unwrap();
            client.conn.send_close_notify();
            client.flush().unwrap();
            answers(log.opened());
            assert_eq!(read_to_end(&mut client), expected);
        }
    }
}

#[test]
fn after_the_end_idle_timeout_applies_to_a_host_that_forgets_to_close() {
    let (handler, log) = recorder(true, |_, _| {});
    let server = server("idleTimeout=300ms", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    // Its end comes with its first byte: nothing is waited for between them.
    let mut client = connect(server.address);
    client.write_all(&[1]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let conn = log.opened();
    assert_eq!(log.next(), Told::End(conn));
    assert_eq!(log.closed().reason, CloseReason::IdleTimeout);
}

#[test]
fn the_end_is_told_once_and_a_reset_after_it_is_noticed() {
    let (handler, log) = recorder(true, |_, _| {});
    let server = server("", "", |listener| listener.on(Protocol::Unknown, handler).unwrap());
    let mut client = connect(server.address);
    client.write_all(b"G").unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let conn = log.opened();
    assert_eq!(log.data(1), b"G");
    assert_eq!(log.next(), Told::End(conn));
    reset(client);
    // Sending finds out at the latest.
    let _ = conn.send_bytes(b"anyone?");
    let Told::Closed(_, info) = log.next() else { panic!() };
    assert_eq!(info.reason, CloseReason::PeerReset);
}

#[test]
fn a_tls_stream_that_ends_without_close_notify_is_tls_truncated() {
    let (server, log) = noted(WITH_TLS, TLS_SECTION);
    let mut client = tls_connect(server.address);
    client.write_all(b"G").unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    assert_eq!(log.data(1), b"G");
    assert_eq!(log.closed().reason, CloseReason::TlsTruncated);
}

#[test]
fn without_close_notify_no_end_is_told_but_tls_truncated() {
    let (handler, log) = recorder(true, |_, _| {});
    let server = server(WITH_TLS, TLS_SECTION, |listener| {
        listener.on(Protocol::Unknown, handler).unwrap();
    });
    let mut client = tls_connect(server.address);
    client.write_all(b"half of a mess").unwrap();
    log.opened();
    assert_eq!(log.data(14), b"half of a mess");
    client.sock.shutdown(Shutdown::Write).unwrap();
    let Told::Closed(_, info) = log.next() else { panic!("the end was told") };
    assert_eq!(info.reason, CloseReason::TlsTruncated);
}

// Panics.

#[test]
fn a_panic_in_a_callback_ends_that_connection_only_with_callback_panic() {
    if is_polled("there is no callback") {
        return;
    }
    let (handler, log) = recorder(false, |_, event| match event {
        Event::Opened { first_byte: b'o', .. } => panic!("in opened"),
        Event::Data(b"data") => panic!("in data"),
        Event::Data(_) | Event::Opened { .. } => {}
        Event::Closed(info) if info.host_code == 77 => panic!("in closed"),
        _ => {}
    });
    let (door, asked) = recorder(false, |conn, event| {
        if let Event::Admit { first_byte, .. } = event {
            assert!(*first_byte != b'a', "in admit");
            conn.admit().unwrap();
        }
    });
    let server = server_with("ioThreads=1", "compression=off", "", |listener| {
        listener.on(Protocol::Unknown, handler).unwrap();
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        listener.on_admit(door).unwrap();
    });
    let mut witness = framed(server.address);
    let mut expect = |first: &[u8], stage| {
        let mut client = connect(server.address);
        client.write_all(first).unwrap();
        assert_ends_without_a_byte(&mut client);
        wait_until("its end", || closes(&server.listener).contains_key("callback_panic"));
        let info = if stage == Stage::Admit { asked.closed() } else { log.closed() };
        assert_eq!((info.reason, info.stage), (CloseReason::CallbackPanic, stage));
        assert_eq!(info.by, Party::Host);
        witness.write_all(&frame(b"alive")).unwrap();
        assert_eq!(read_frame(&mut witness), b"alive");
    };
    expect(b"a", Stage::Admit);
    expect(b"o", Stage::Open);
    expect(b"data", Stage::Open);
    let mut client = connect(server.address);
    client.write_all(b"x").unwrap();
    log.opened().close(77).unwrap();
    assert_ends_without_a_byte(&mut client);
    witness.write_all(&frame(b"alive")).unwrap();
    assert_eq!(read_frame(&mut witness), b"alive");
    assert_eq!(closes(&server.listener)["callback_panic"], 3);
}

// Accounts.

#[test]
fn every_connection_that_was_shown_is_told_its_end_exactly_once_and_last() {
    let (server, log) = noted("maxFrameSize=1000\ncompression=off", "");
    let mut clients = Vec::new();
    for number in 0..60 {
        let mut client = framed(server.address);
        match number % 6 {
            0 => drop(client),
            1 => reset(client),
            2 => client.write_all(&[0xff; 4]).unwrap(),
            3 => client.write_all(&[0, 0]).and_then(|()| client.shutdown(Shutdown::Write)).unwrap(),
            _ => clients.push(client),
        }
    }
    wait_until("the ends", || closes(&server.listener).values().sum::<u64>() == 40);
    let Server { listener, runtime, .. } = server;
    runtime.stop(0).unwrap();
    runtime.wait(None).unwrap();
    drop((runtime, listener));
    let mut ended = HashMap::new();
    for told in log.drain() {
        match told {
            Told::Opened(conn, ..) => assert!(ended.insert(conn, false).is_none()),
            Told::Closed(conn, _) => assert_eq!(ended.insert(conn, true), Some(false)),
            Told::Frame(conn, _) | Told::Data(conn, _) => assert!(!ended[&conn]),
            other => panic!("{other:?}"),
        }
    }
    assert!(ended.len() == 60 && ended.values().all(|ended| *ended));
}

#[test]
fn every_accepted_connection_is_open_unidentified_or_counted_with_its_reason() {
    let keys = "maxConnections=40\nmaxFrameSize=1000\nreadTimeout=60s";
    let (server, log) = noted(keys, "");
    let mut kept: Vec<TcpStream> = (0..5).map(|_| framed(server.address)).collect();
    kept.extend((0..3).map(|_| connect(server.address)));
    for number in 0..100 {
        let mut client = connect(server.address);
        match number % 5 {
            0 => {}
            1 => client.write_all(&[1, 0xff, 0xff, 0xff, 0xff]).unwrap(),
            2 => client.write_all(&[22, 3, 1]).unwrap(),
            3 => client.write_all(&[1, 0]).unwrap(),
            _ => {
                let _ = client.write_all(b"GET");
                reset(client);
                continue;
            }
        }
        let _ = client.shutdown(Shutdown::Write);
        let _ = read_to_end(&mut client);
    }
    let sums = || {
        let stats = server.listener.stats();
        let sum = |numbers: &[u64]| numbers.iter().sum::<u64>();
        (stats.accepted, sum(&stats.closes), sum(&stats.open), stats.unidentified)
    };
    wait_until("quiet", || sums().2 == 5 && sums().3 == 3 && sums().0 == 108 && sums().1 == 100);
    let stats = server.listener.stats();
    let ended = stats.opened.iter().sum::<u64>() - stats.open.iter().sum::<u64>();
    (0..ended).for_each(|_| drop(log.closed()));
    assert!(!log.drain().iter().any(|told| matches!(told, Told::Closed(..))));
    drop(kept);
    wait_until("nobody", || sums() == (108, 108, 0, 0));
    assert_eq!(server.listener.stats().memory_bytes, 0);
}

#[test]
fn frames_and_bytes_are_counted_per_port_and_per_connection() {
    let server = echo_server("compression=off", "");
    let mut client = framed(server.address);
    for _ in 0..10 {
        client.write_all(&frame(b"12345")).unwrap();
        read_frame(&mut client);
    }
    let conn = server.runtime.connections()[0];
    wait_until("the counters", || conn.info().unwrap().bytes_out == 91);
    let info = conn.info().unwrap();
    assert_eq!((info.bytes_in, info.frames_in, info.frames_out), (91, 10, 10));
    assert_eq!(info.peer, client.local_addr().unwrap());
    assert_eq!(info.local, server.address);
    let stats = server.listener.stats();
    assert_eq!((stats.bytes_in, stats.bytes_out), (91, 91));
    assert_eq!((stats.frames_in, stats.frames_out, stats.open[0]), (10, 10, 1));
}

// Limits.

/// Connects from this loopback address.
fn connect_from(from: &str, to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    let from: SocketAddr = format!("{from}:0").parse().unwrap();
    socket.bind(&from.into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn identify(mut client: TcpStream) -> TcpStream {
    client.write_all(&[1]).unwrap();
    assert_eq!(read_exact(&mut client, 1), [1]);
    client
}

#[test]
fn the_max_connections_th_connection_is_legal_and_one_more_is_closed_at_once() {
    let (server, _log) = noted("maxConnections=3\naccepterThreads=4", "");
    let mut clients: Vec<_> = (0..3).map(|_| framed(server.address)).collect();
    assert_ends_without_a_byte(&mut connect(server.address));
    assert_only(&server, CloseReason::MaxConnections);
    drop(clients.pop());
    // Its place is free once its end has been told.
    wait_until("room", || {
        let mut client = connect(server.address);
        let _ = client.write_all(&[1]);
        let is_let_in = client.read_exact(&mut [0]).is_ok();
        clients.extend(is_let_in.then_some(client));
        is_let_in
    });
    assert_ends_without_a_byte(&mut connect(server.address));
    assert!(closes(&server.listener)["max_connections"] >= 2);
}

#[test]
fn max_connections_per_address_leaves_other_addresses_alone() {
    let (server, _log) = noted("maxConnectionsPerAddress=2", "");
    let _two: Vec<_> = (0..2).map(|_| framed(server.address)).collect();
    assert_ends_without_a_byte(&mut connect(server.address));
    assert_only(&server, CloseReason::MaxConnectionsPerAddress);
    let _others: Vec<_> =
        (0..2).map(|_| identify(connect_from("127.0.0.2", server.address))).collect();
    assert_ends_without_a_byte(&mut connect_from("127.0.0.2", server.address));
    assert_eq!(closes(&server.listener)["max_connections_per_address"], 2);
}

#[test]
fn at_max_handshakes_the_oldest_silent_connection_is_evicted_after_its_grace() {
    let (server, _log) = noted("maxHandshakes=2", "");
    let identified = framed(server.address);
    let mut oldest = connect(server.address);
    let second = connect(server.address);
    wait_until("both", || server.listener.stats().unidentified == 2);
    assert_eq!(closes(&server.listener), HashMap::new());
    let third = connect(server.address);
    assert_ends_without_a_byte(&mut oldest);
    assert_only(&server, CloseReason::MaxHandshakes);
    identify(second);
    identify(third);
    drop(identified);
}

#[test]
fn at_max_handshakes_per_address_the_oldest_of_that_address_is_evicted() {
    let keys = format!("{WITH_TLS}\nmaxHandshakesPerAddress=2");
    let (server, _log) = noted(&keys, TLS_SECTION);
    let other = connect_from("127.0.0.2", server.address);
    wait_until("the other", || server.listener.stats().unidentified == 1);
    let mut oldest = connect(server.address);
    let second = connect(server.address);
    let third = connect(server.address);
    assert_ends_without_a_byte(&mut oldest);
    assert_only(&server, CloseReason::MaxHandshakesPerAddress);
    for client in [other, second, third] {
        let mut client = tls_over(client);
        client.write_all(&[1]).unwrap();
        assert_eq!(read_exact(&mut client, 1), [1]);
    }
}

#[test]
fn memory_limit_closes_only_who_holds_more_than_64_kib_and_wants_more() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server_with("memoryLimit=1M", "compression=off", "", |listener| {
        listener.on(Protocol::RemoteApplication, handler).unwrap();
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    });
    // Fifty small ones hold 3 MB in all, and count for nothing.
    let mut small: Vec<_> = (0..50)
        .map(|_| {
            let mut client = framed(server.address);
            client.write_all(&64_000u32.to_be_bytes()).unwrap();
            client.write_all(&[5; 60_000]).unwrap();
            client
        })
        .collect();
    wait_until("the small ones", || server.listener.stats().bytes_in == 50 * 60_005);
    assert_eq!(server.listener.stats().memory_bytes, 0);
    // A large one within the limit is legal.
    let mut large = connect(server.address);
    large.write_all(&[&[3][..], &(4u32 << 20).to_be_bytes()].concat()).unwrap();
    large.write_all(&vec![6; (1 << 20) + (60 << 10)]).unwrap();
    wait_until("the large one", || server.listener.stats().memory_bytes > 1_000_000);
    assert_eq!(closes(&server.listener), HashMap::new());
    let _ = large.write_all(&[6; 100_000]);
    assert_eq!(log.closed().reason, CloseReason::MemoryLimit);
    assert_only(&server, CloseReason::MemoryLimit);
    for client in &mut small {
        client.write_all(&[5; 4000]).unwrap();
        assert_eq!(read_frame(client), [5; 64_000]);
    }
    wait_until("nothing held", || server.listener.stats().memory_bytes == 0);
}

#[test]
fn memory_is_given_back_at_once_by_a_connection_that_is_closing() {
    let (server, log) = noted("compression=off\nsendQueueLimit=1G\nmaxFrameSize=64M", "");
    let mut client = framed(server.address);
    let conn = log.opened();
    client.write_all(&(32u32 << 20).to_be_bytes()).unwrap();
    client.write_all(&vec![1; 8 << 20]).unwrap();
    wait_until("its bytes", || conn.info().unwrap().bytes_in == 5 + (8 << 20));
    // It does not read: the flush goes on, but the frame that has begun is of no use any more.
    (0..8).for_each(|_| conn.send_frame(&[7; 1 << 20], PLAIN).unwrap());
    conn.close(0).unwrap();
    wait_until("less", || server.listener.stats().memory_bytes < 8 << 20);
    assert!(conn.info().is_ok(), "still flushing");
}

#[test]
fn a_send_beyond_the_memory_limit_gives_memory_limit_and_ends_the_connection() {
    let (handler, log) = recorder(false, |_, _| {});
    let server =
        server_with("memoryLimit=1M", "compression=off\nsendQueueLimit=1G", "", |listener| {
            listener.on(Protocol::Client, handler).unwrap();
        });
    let mut client = framed(server.address);
    let conn = log.opened();
    let mut result = Ok(());
    for _ in 0..1000 {
        result = conn.send_frame(&[7; 100_000], PLAIN);
        if result.is_err() {
            break;
        }
    }
    assert!(matches!(result, Err(Status::MemoryLimit | Status::Closed)), "{result:?}");
    assert_eq!(conn.send_frame(b"x", PLAIN), Err(Status::Closed));
    // What it holds is free at once, though the peer has read nothing, and that is cut off.
    assert_eq!(log.closed().reason, CloseReason::MemoryLimit);
    wait_until("nothing held", || server.listener.stats().memory_bytes == 0);
    assert_is_reset(&mut client);
}

#[test]
fn sends_of_a_callback_are_judged_by_the_memory_limit_within_that_callback() {
    if is_polled("a full queue refuses a send") {
        return;
    }
    let taken = Arc::new(AtomicUsize::new(0));
    let accepted = taken.clone();
    let (handler, log) = recorder(false, move |conn, event| {
        if let Event::Opened { .. } = event {
            let sends = || conn.send_frame(&[7; 10_000], PLAIN);
            let results: Vec<_> = (0..10_000).map(|_| sends()).collect();
            let taken = results.iter().take_while(|result| result.is_ok()).count();
            assert!(taken < results.len(), "all were taken");
            assert_eq!(results[taken], Err(Status::MemoryLimit));
            accepted.store(taken, Ordering::SeqCst);
        }
    });
    let server = server_with("memoryLimit=1M", "compression=off", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    let mut client = connect(server.address);
    client.write_all(&[1]).unwrap();
    let info = log.closed();
    assert_eq!(info.reason, CloseReason::MemoryLimit);
    // What was refused was held in no part.
    let wire = taken.load(Ordering::SeqCst) as u64 * 10_004;
    assert_eq!(info.bytes_out + info.unsent_bytes, 1 + wire);
    wait_until("nothing held", || server.listener.stats().memory_bytes == 0);
    assert_is_reset(&mut client);
}

#[test]
fn large_frames_of_a_callback_to_a_peer_that_never_reads_are_judged_by_the_memory_limit() {
    if is_off_the_loop("only callbacks on the loop write to the socket themselves") {
        return;
    }
    const LIMIT: u64 = 1 << 20;
    // From this size on a frame goes to the socket from the caller's memory. The second is more
    // than the socket takes and the limit together.
    for len in [256 << 10, 64 << 20] {
        let (handler, log) = recorder(false, move |conn, event| {
            // Behind the answer to its first byte, which has been sent: nothing is queued.
            let Event::Frames(_) = event else { return };
            let payload = vec![7; len];
            let refused = loop {
                if let Err(status) = conn.send_frame(&payload, PLAIN) {
                    break status;
                }
            };
            assert_eq!(refused, Status::MemoryLimit);
            assert_eq!(conn.send_frame(b"more", PLAIN), Err(Status::Closed));
        });
        let keys = "compression=off\nwriteTimeout=300ms";
        let server = server_with("memoryLimit=1M", keys, "", |listener| {
            listener.on(Protocol::Client, handler).unwrap();
        });
        let mut client = framed(server.address);
        client.write_all(&frame(b"go on")).unwrap();
        let info = log.closed();
        assert_eq!((info.reason, info.by), (CloseReason::MemoryLimit, Party::Library));
        // A frame that is refused is not held, nor is a part of it; four headers may be over.
        assert!(info.unsent_bytes <= LIMIT + 16, "{} bytes were held", info.unsent_bytes);
        assert_only(&server, CloseReason::MemoryLimit);
    }
}

// The listener's switch.

#[test]
fn a_paused_listener_accepts_nobody_until_it_is_resumed_and_keeps_whom_it_has() {
    let server = echo_server("compression=off", "");
    let mut early = framed(server.address);
    server.listener.pause().unwrap();
    let accepted = server.listener.stats().accepted;
    let mut waiting = connect(server.address);
    waiting.write_all(&[1]).unwrap();
    for _ in 0..100 {
        early.write_all(&frame(b"x")).unwrap();
        assert_eq!(read_frame(&mut early), b"x");
    }
    // At most the one that an accepter was taking when it was paused.
    assert!(server.listener.stats().accepted <= accepted + 1);
    server.listener.resume().unwrap();
    assert_eq!(read_exact(&mut waiting, 1), [1]);
    server.listener.stop(0).unwrap();
    assert_eq!(server.listener.pause().unwrap_err().status, Status::Stopped);
}

#[test]
fn a_flood_at_one_address_does_not_keep_newcomers_at_another_from_their_turn() {
    let keys = "compression=off\nbindAddress=127.0.0.1, 127.0.0.2\nmaxConnections=70";
    let server = echo_server(keys, "");
    server.listener.pause().unwrap();
    let (flooded, other) = match server.listener.addresses()[..] {
        [flooded, other] => (flooded, other),
        ref addresses => panic!("bound to {addresses:?}"),
    };
    let _flood: Vec<_> = (0..100).map(|_| connect(flooded)).collect();
    let mut waiting = connect(other);
    waiting.write_all(&[1]).unwrap();
    server.listener.resume().unwrap();
    // Behind all of the flood it would find the port full.
    assert_eq!(read_exact(&mut waiting, 1), [1]);
}

#[test]
fn connections_paused_in_the_middle_of_inflating_do_not_keep_others_from_theirs() {
    let (handler, _log) = recorder(false, |conn, event| match event {
        Event::Frames(frames) if frames.get(0).is_some_and(|frame| frame.data == b"pause") => {
            conn.pause_reading().unwrap();
        }
        Event::Frames(frames) => {
            let lengths: Vec<_> = frames.iter().map(|f| f.data.len().to_string()).collect();
            lengths.iter().for_each(|length| conn.send_frame(length.as_bytes(), PLAIN).unwrap());
        }
        _ => {}
    });
    let server = server_with("ioThreads=1", "compression=off", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    // More than there are states for suspended frames; each is paused with one half done.
    let bomb = compressed_frame(&zlib(&vec![0; 3 << 20]));
    let paused: Vec<_> = (0..40)
        .map(|_| {
            let mut client = framed(server.address);
            client.write_all(&[frame(b"pause"), bomb.clone()].concat()).unwrap();
            client
        })
        .collect();
    wait_until("the frames of the paused", || server.listener.stats().frames_in >= 40);
    let mut other = framed(server.address);
    other.write_all(&compressed_frame(&zlib(&vec![1; 1 << 20]))).unwrap();
    assert_eq!(read_frame(&mut other), (1 << 20).to_string().as_bytes());
    drop(paused);
}

#[test]
fn output_that_the_host_holds_back_by_a_cork_does_not_run_into_the_write_timeout() {
    let (handler, log) = recorder(false, |conn, event| {
        if let Event::Opened { .. } = event {
            conn.cork().unwrap();
            conn.send_frame(b"held back", PLAIN).unwrap();
            conn.set_deadline(Some(900)).unwrap();
        }
    });
    let server = server("writeTimeout=200ms\ncompression=off", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    let mut client = connect(server.address);
    client.write_all(&[1]).unwrap();
    let info = log.closed();
    assert_eq!((info.reason, info.unsent_bytes), (CloseReason::HostDeadline, 0));
    assert_eq!(read_to_end(&mut client), b"\x01\x00\x00\x00\x09held back");
}

// The end of the process.

/// What the server of [`clients_of_a_process_that_ends`] says of itself.
fn tell_parent(text: &str) {
    // Alone on its line.
    println!("\n{text}");
}

/// Not a test: the server of one, in a process of its own, which ends.
#[test]
fn the_process_that_ends() {
    let Ok(way) = std::env::var("NP_ENDING_PROCESS") else { return };
    let (hold, is_held) = std::sync::mpsc::channel();
    let hold = std::sync::Mutex::new(hold);
    let (handler, log) = recorder(false, move |_, event| {
        if let Event::Frames(_) = event {
            hold.lock().unwrap().send(()).unwrap();
            loop {
                std::thread::park();
            }
        }
    });
    let server = server_with("ioThreads=1", "", "", |listener| {
        listener.on(Protocol::Client, handler.clone()).unwrap();
    });
    tell_parent(&format!("serves {}", server.address));
    let first = log.opened();
    // A reset must not overtake it.
    wait_until("is answered", || first.sent_bytes() == Ok(1));
    match way.as_str() {
        "held up" => {
            first.process_ends(false).unwrap();
            tell_parent("told");
            is_held.recv().unwrap();
            first.send_frame(b"never seen by its loop", PLAIN).unwrap();
        }
        "owing" => first.process_ends(true).unwrap(),
        "paid" => {
            first.process_ends(true).unwrap();
            first.send_frame(b"all", PLAIN).unwrap();
            first.process_ends(false).unwrap();
            wait_until("sends", || first.unsent_bytes() == Ok(0));
        }
        other => panic!("{other}"),
    }
    std::process::exit(0);
}

/// Starts that process; its first client, and another one once the process says so.
fn clients_of_a_process_that_ends(way: &str, then: impl FnOnce(TcpStream)) {
    let mut child = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "the_process_that_ends", "--nocapture"])
        .env("NP_ENDING_PROCESS", way)
        .env_remove("NP_CONSUMER")
        .env_remove("NP_TOXIC")
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let said = std::io::BufReader::new(child.stdout.take().unwrap());
    let mut lines = said.lines().map(Result::unwrap);
    let mut line = |begin: &str| lines.find_map(|line| line.strip_prefix(begin).map(str::to_owned));
    let address = line("serves ").unwrap().parse().unwrap();
    let first = framed(address);
    let other = (way == "held up").then(|| {
        line("told").unwrap();
        let mut other = framed(address);
        other.write_all(&frame(b"hold")).unwrap();
        other
    });
    assert!(child.wait().unwrap().success());
    drop(other);
    then(first);
}

#[test]
fn what_its_loop_has_not_seen_when_the_process_ends_makes_the_end_a_reset() {
    clients_of_a_process_that_ends("held up", |mut client| assert_is_reset(&mut client));
}

#[test]
fn what_the_host_holds_when_the_process_ends_makes_the_end_a_reset() {
    clients_of_a_process_that_ends("owing", |mut client| assert_is_reset(&mut client));
}

#[test]
fn who_is_owed_nothing_when_the_process_ends_reads_an_orderly_end() {
    for _ in 0..20 {
        clients_of_a_process_that_ends("paid", |mut client| {
            let mut bytes = Vec::new();
            client.read_to_end(&mut bytes).unwrap();
            assert_eq!(bytes, frame(b"all"));
        });
    }
}

#[test]
fn who_loses_output_by_a_stop_is_reset() {
    if is_through_a_toxic("the toxic ends its connections in its own way") {
        return;
    }
    let (server, log) = noted("sendQueueLimit=64M", "");
    let mut client = framed(server.address);
    let conn = log.opened();
    conn.send_frame(&vec![0; 32 << 20], PLAIN).unwrap();
    server.runtime.stop(0).unwrap();
    server.runtime.wait(None).unwrap();
    assert!(log.closed().unsent_bytes > 0);
    assert_is_reset(&mut client);
}
