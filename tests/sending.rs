//! Sending: from callbacks and from any thread, back-pressure, corks, half-close, close and
//! abort, and the host's data of a connection.

mod support;

use nativeport::event::{Event, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::status::{CloseReason, Status};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpStream};
use std::panic::{catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Barrier, Mutex};
use support::*;

const PLAIN: SendFlags = SendFlags { no_compress: false };

/// A client connection whose events are noted, after `react`.
fn one(
    keys: &str,
    react: impl Fn(Conn, &Event<'_>) + Send + Sync + 'static,
) -> (Server, TcpStream, Conn, Log) {
    let (handler, log) = recorder(false, react);
    let server = server(keys, "", |listener| listener.on(Protocol::Client, handler).unwrap());
    let client = framed(server.address);
    let conn = log.opened();
    (server, client, conn, log)
}

/// A stream of an unknown protocol.
fn stream(keys: &str) -> (Server, TcpStream, Conn, Log) {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server(keys, "", |listener| listener.on(Protocol::Unknown, handler).unwrap());
    let mut client = connect(server.address);
    client.write_all(b"G").unwrap();
    let conn = log.opened();
    log.data(1);
    (server, client, conn, log)
}

/// Calls `f` inside the connection's own callback.
fn in_callback<R: Send + 'static>(
    f: impl Fn(Conn) -> R + Send + Sync + 'static,
) -> (R, Server, TcpStream) {
    let (sender, receiver) = std::sync::mpsc::channel();
    let sender = Mutex::new(sender);
    let (server, mut client, _, log) = one("compression=off", move |conn, event| {
        if let Event::Frames(_) = event {
            sender.lock().unwrap().send(f(conn)).unwrap();
        }
    });
    client.write_all(&frame(b"go")).unwrap();
    log.frame();
    (receiver.recv_timeout(PATIENCE).unwrap(), server, client)
}

/// Memory of the host that counts its releases.
struct Lent(Vec<u8>, Arc<AtomicUsize>);

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

// Ways to send.

#[test]
fn single_array_and_owned_frames_arrive_in_the_order_of_the_calls() {
    let send = |conn: Conn| {
        conn.send_frame(b"1", PLAIN).unwrap();
        let all: [&[u8]; 3] = [b"2", b"", b"3"];
        assert_eq!(conn.send_frames(all.into_iter(), PLAIN), (3, Ok(())));
        conn.send_frame_owned(Box::new(vec![4; 100_000]), PLAIN).unwrap();
        conn.send_frame_owned(Box::new(b"5".to_vec()), PLAIN).unwrap();
        conn.send_frame(&[6; 100_000], PLAIN).unwrap();
        conn.send_frame(b"7", PLAIN).unwrap();
    };
    let check = |client: &mut TcpStream| {
        let big = |byte| vec![byte; 100_000];
        for expected in [&b"1"[..], b"2", b"", b"3", &big(4), b"5", &big(6), b"7"] {
            assert!(read_frame(client) == expected);
        }
    };
    let ((), _server, mut client) = in_callback(send);
    check(&mut client);
    let (_server, mut client, conn, _log) = one("compression=off", |_, _| {});
    send(conn);
    check(&mut client);
}

#[test]
fn an_array_of_no_frames_is_taken_and_sends_nothing() {
    let (_server, mut client, conn, _log) = one("compression=off", |_, _| {});
    assert_eq!(conn.send_frames([].into_iter(), PLAIN), (0, Ok(())));
    conn.send_frame(b"x", PLAIN).unwrap();
    assert_eq!(read_frame(&mut client), b"x");
}

#[test]
fn bytes_are_sent_on_streams_and_frames_on_framed_connections_and_the_other_gives_state() {
    let (_server, mut client, conn, _log) = stream("");
    assert_eq!(conn.send_frame(b"x", PLAIN), Err(Status::State));
    assert_eq!(conn.send_frames([&b"x"[..]].into_iter(), PLAIN), (0, Err(Status::State)));
    let released = Arc::new(AtomicUsize::new(0));
    let lent = Lent(vec![1; 10], released.clone());
    assert_eq!(conn.send_frame_owned(Box::new(lent), PLAIN), Err(Status::State));
    assert_eq!(released.load(Ordering::SeqCst), 1);
    conn.send_bytes(b"").unwrap();
    conn.send_bytes(b"raw").unwrap();
    conn.close(0).unwrap();
    assert_eq!(read_to_end(&mut client), b"raw");
    let (_server, mut client, conn, _log) = one("compression=off", |_, _| {});
    assert_eq!(conn.send_bytes(b"x"), Err(Status::State));
    conn.send_frame(b"y", PLAIN).unwrap();
    assert_eq!(read_frame(&mut client), b"y");
}

#[test]
fn the_wrong_kind_gives_state_inside_the_callback_too() {
    let (answers, _server, mut client) = in_callback(|conn| {
        let answer = conn.send_bytes(b"x");
        conn.send_frame(b"y", PLAIN).unwrap();
        answer
    });
    assert_eq!(answers, Err(Status::State));
    assert_eq!(read_frame(&mut client), b"y");
}

#[test]
fn owned_memory_is_released_exactly_once_on_every_path() {
    let released = Arc::new(AtomicUsize::new(0));
    let lend = |len| Box::new(Lent(vec![9; len], released.clone()));
    let expect = |count: usize, what: &str| {
        wait_until(what, || released.load(Ordering::SeqCst) >= count);
        assert_eq!(released.swap(0, Ordering::SeqCst), count, "{what}");
    };
    for keys in ["compression=off", "compression=auto"] {
        // Sent, small and large, also where it was compressed instead.
        let (_server, mut client, conn, _log) = one(keys, |_, _| {});
        for len in [0, 10, 100_000] {
            conn.send_frame_owned(lend(len), PLAIN).unwrap();
            read_wire_frame(&mut client);
        }
        expect(3, "sent");
        // Refused after the end.
        conn.close(0).unwrap();
        assert_eq!(conn.send_frame_owned(lend(100_000), PLAIN), Err(Status::Closed));
        expect(1, "closed");
    }
    // Queued and never sent: the connection is aborted.
    let (_server, client, conn, log) = one("compression=off\nsendQueueLimit=1G", |_, _| {});
    for _ in 0..200 {
        conn.send_frame_owned(lend(1 << 20), PLAIN).unwrap();
    }
    conn.abort(0).unwrap();
    assert!(log.closed().unsent_bytes > 0);
    expect(200, "aborted");
    drop(client);
    // Not taken at the high-water mark.
    let (_server, _client, conn, _log) = one("compression=off\nsendQueueLimit=64K", |_, _| {});
    let mut count = 0;
    while conn.send_frame_owned(lend(1 << 20), PLAIN) != Err(Status::WouldBlock) {
        count += 1;
    }
    wait_until("the refused one", || released.load(Ordering::SeqCst) > 0);
    conn.abort(0).unwrap();
    expect(count + 1, "would block");
}

#[test]
fn a_release_that_panics_harms_nobody() {
    struct Bomb(Vec<u8>);
    impl AsRef<[u8]> for Bomb {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a release of the host's panics");
        }
    }
    let bomb = || Box::new(Bomb(vec![7; 1_000_000]));
    let (handler, log) = recorder(false, |_, _| {});
    let server = server_with("ioThreads=1", "compression=off\nsendQueueLimit=1G", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
        listener.on(Protocol::RemoteApplication, Arc::new(Echo)).unwrap();
    });
    // Released after it was sent, and released unsent.
    let mut reader = framed(server.address);
    log.opened().send_frame_owned(bomb(), PLAIN).unwrap();
    assert_eq!(read_frame(&mut reader), vec![7; 1_000_000]);
    let _blocked = framed(server.address);
    let conn = log.opened();
    // Few and large: what a panic writes takes longer than anything else here.
    (0..20).for_each(|_| conn.send_frame_owned(bomb(), PLAIN).unwrap());
    conn.abort(0).unwrap();
    log.closed();
    let mut other = connect(server.address);
    other.write_all(&[&[3][..], &frame(b"x")].concat()).unwrap();
    assert_eq!(read_exact(&mut other, 6), b"\x01\x00\x00\x00\x01x");
}

// Corks.

#[test]
fn corked_output_waits_for_as_many_uncorks() {
    let (_server, mut client, conn, log) = one("compression=off", |_, _| {});
    conn.cork().unwrap();
    conn.cork().unwrap();
    conn.send_frame(b"held", PLAIN).unwrap();
    conn.uncork().unwrap();
    // When the second of these is told, the turn of the first is over, and with it a flush.
    for _ in 0..2 {
        client.write_all(&frame(b"x")).unwrap();
        log.frame();
    }
    let queued = || conn.info().unwrap().queued_bytes;
    assert_eq!((queued(), conn.info().unwrap().bytes_out), (8, 1));
    conn.uncork().unwrap();
    assert_eq!(read_frame(&mut client), b"held");
    wait_until("an empty queue", || queued() == 0);
}

#[test]
fn cork_and_uncork_in_the_callback_send_what_was_between_them() {
    let (_, _server, mut client) = in_callback(|conn| {
        conn.cork().unwrap();
        for number in 0..100u8 {
            conn.send_frame(&[number], PLAIN).unwrap();
        }
        conn.uncork().unwrap();
    });
    (0..100u8).for_each(|number| assert_eq!(read_frame(&mut client), [number]));
}

#[test]
fn a_cork_without_an_uncork_holds_until_256_kib_wait() {
    let (_server, mut client, conn, log) = one("compression=off", |_, _| {});
    conn.cork().unwrap();
    conn.send_frame(&[1; 100_000], PLAIN).unwrap();
    conn.send_frame(&[2; 100_000], PLAIN).unwrap();
    for _ in 0..2 {
        client.write_all(&frame(b"x")).unwrap();
        log.frame();
    }
    assert_eq!(conn.info().unwrap().bytes_out, 1, "only the answer byte");
    conn.send_frame(&[3; 100_000], PLAIN).unwrap();
    for byte in 1..=3 {
        assert_eq!(read_frame(&mut client), [byte; 100_000]);
    }
}

#[test]
fn a_close_overrides_a_cork() {
    let (_server, mut client, conn, log) = one("compression=off", |_, _| {});
    conn.cork().unwrap();
    conn.send_frame(b"last words", PLAIN).unwrap();
    conn.close(0).unwrap();
    assert_eq!(read_to_end(&mut client), frame(b"last words"));
    assert_eq!(log.closed().unsent_bytes, 0);
}

#[test]
fn the_peers_close_overrides_a_cork_too() {
    let (_server, mut client, _, log) = one("compression=off", |conn, event| {
        if let Event::Frames(_) = event {
            conn.cork().unwrap();
            conn.send_frame(b"last words", PLAIN).unwrap();
        }
    });
    client.write_all(&frame(b"x")).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut client), frame(b"last words"));
    assert_eq!(log.closed().reason, CloseReason::PeerClosed);
}

// Back-pressure.

#[test]
fn a_refused_send_behind_a_cork_is_told_of_room() {
    let (_server, mut client, conn, log) = one("compression=off\nsendQueueLimit=32K", |_, _| {});
    conn.cork().unwrap();
    let mut sent = 0;
    while conn.send_frame(&[7; 20_000], PLAIN).is_ok() {
        sent += 1;
    }
    assert_eq!(log.next(), Told::Writable(conn));
    conn.uncork().unwrap();
    (0..sent).for_each(|_| assert_eq!(read_frame(&mut client), [7; 20_000]));
}

/// Sends numbered frames of 1000 bytes until the queue is full; gives how many were taken.
fn fill(conn: Conn, from: u32) -> u32 {
    for number in from.. {
        let mut payload = [0; 1000];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        match conn.send_frame(&payload, PLAIN) {
            Ok(()) => {}
            Err(Status::WouldBlock) => return number,
            Err(other) => panic!("{other:?}"),
        }
    }
    unreachable!()
}

fn read_numbers(client: &mut impl Read, numbers: std::ops::Range<u32>) {
    for number in numbers {
        let payload = read_frame(client);
        assert_eq!((payload.len(), &payload[..4]), (1000, &number.to_be_bytes()[..]));
    }
}

#[test]
fn at_the_high_water_mark_a_send_gives_would_block_and_one_writable_event_when_half_is_left() {
    const LIMIT: u64 = 256 << 10;
    let at_event = Arc::new(Mutex::new(Vec::new()));
    let noted = at_event.clone();
    let keys = "compression=off\nsendQueueLimit=256K";
    let (handler, log) = recorder(false, move |conn, event| {
        if let Event::Writable = event {
            noted.lock().unwrap().push(conn.info().unwrap().queued_bytes);
        }
    });
    let server = server_with("ioThreads=1", keys, "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
        listener.on(Protocol::RemoteApplication, Arc::new(Echo)).unwrap();
    });
    let mut client = std::io::BufReader::new(framed(server.address));
    let conn = log.opened();
    let mut taken = 0;
    // It may be refused at an instant at which the socket is not full yet. When the loop has let
    // somebody in, it has offered the socket everything that was queued before. The system may still move
    // some to the peer's side: then another one is taken, and it begins anew.
    let queued = loop {
        taken = fill(conn, taken);
        let mut other = connect(server.address);
        other.write_all(&[3]).unwrap();
        read_exact(&mut other, 1);
        log.drain();
        at_event.lock().unwrap().clear();
        let queued = conn.info().unwrap().queued_bytes;
        let before = taken;
        taken = fill(conn, taken);
        if taken == before {
            break queued;
        }
    };
    assert!((LIMIT..LIMIT + 1004).contains(&queued), "{queued}");
    read_numbers(&mut client, 0..taken);
    assert_eq!(log.next(), Told::Writable(conn));
    let noted = at_event.lock().unwrap().clone();
    assert!(noted.len() == 1 && noted[0] <= LIMIT / 2, "{noted:?}");
    // No further refusal, no further event.
    conn.send_frame(b"room again", PLAIN).unwrap();
    assert_eq!(read_frame(&mut client), b"room again");
    conn.close(0).unwrap();
    assert!(matches!(log.next(), Told::Closed(..)));
}

#[test]
fn an_array_tells_how_many_of_its_frames_were_taken() {
    let (_server, client, conn, log) = one("compression=off\nsendQueueLimit=64K", |_, _| {});
    let mut client = std::io::BufReader::new(client);
    let payloads: Vec<[u8; 1000]> = (0..100_000u32)
        .map(|number| {
            let mut payload = [0; 1000];
            payload[..4].copy_from_slice(&number.to_be_bytes());
            payload
        })
        .collect();
    let mut next = 0;
    while next < payloads.len().min(10_000) {
        let rest = payloads[next..].iter().map(|payload| &payload[..]);
        let (accepted, result) = conn.send_frames(rest, PLAIN);
        assert_eq!(result, Err(Status::WouldBlock));
        // At most to the mark, and the frame that crosses it.
        assert!(accepted <= (64 << 10) / 1004 + 1, "{accepted}");
        read_numbers(&mut client, next as u32..(next + accepted) as u32);
        next += accepted;
        if accepted > 0 {
            assert_eq!(log.next(), Told::Writable(conn));
        }
    }
}

#[test]
fn the_queue_never_takes_more_than_the_mark_and_one_frame_of_each_thread() {
    const LIMIT: u64 = 64 << 10;
    const THREADS: u64 = 4;
    let (_server, mut client, conn, _log) = one("compression=off\nsendQueueLimit=64K", |_, _| {});
    client.set_nonblocking(true).unwrap();
    let mut buffer = vec![0; 100_000];
    for _ in 0..20 {
        // Until the socket takes nothing any more.
        let mut before = 0;
        loop {
            let senders: Vec<_> = (0..THREADS)
                .map(|_| {
                    std::thread::spawn(move || {
                        while conn.send_frame(&[5; 1000], PLAIN) != Err(Status::WouldBlock) {}
                    })
                })
                .collect();
            senders.into_iter().for_each(|sender| sender.join().unwrap());
            let queued = conn.info().unwrap().queued_bytes;
            assert!(queued < LIMIT + THREADS * 1004, "{queued}");
            let now = conn.info().unwrap().bytes_out;
            if now == before {
                break;
            }
            before = now;
        }
        // The peer reads until half of the mark is left.
        wait_until("room", || {
            let _ = client.read(&mut buffer);
            conn.info().unwrap().queued_bytes <= LIMIT / 2
        });
    }
}

#[test]
fn inside_its_own_callback_a_send_is_always_taken_and_reading_pauses_above_the_mark() {
    if is_polled("a full queue refuses a send")
        || is_through_a_toxic("twice as many buffers of the system take more than is sent")
    {
        return;
    }
    const FRAMES: u32 = 6000;
    const PAYLOAD: usize = 2000;
    let (handler, log) = recorder(false, |conn, event| {
        if let Event::Frames(frames) = event {
            for frame in frames.iter() {
                assert_eq!(conn.send_frame(frame.data, PLAIN), Ok(()));
            }
        }
    });
    let keys = "compression=off\nsendQueueLimit=64K";
    let server = server(keys, "", |listener| listener.on(Protocol::Client, handler).unwrap());
    let client = framed(server.address);
    let conn = log.opened();
    let payload = |number: u32| {
        let mut payload = vec![number as u8; PAYLOAD];
        payload[..4].copy_from_slice(&number.to_be_bytes());
        payload
    };
    let mut writer = client.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        (0..FRAMES).for_each(|number| writer.write_all(&frame(&payload(number))).unwrap());
    });
    // The peer does not read: the queue reaches the mark, and not much beyond it.
    wait_until("a full queue", || conn.info().unwrap().queued_bytes >= 64 << 10);
    let queued = conn.info().unwrap().queued_bytes;
    assert!(queued < (64 << 10) + 64 * (PAYLOAD as u64 + 4), "{queued}");
    // Then it reads everything, and every byte is there.
    let mut reader = std::io::BufReader::new(client);
    (0..FRAMES).for_each(|number| assert!(read_frame(&mut reader) == payload(number)));
    thread.join().unwrap();
    wait_until("the count", || conn.info().unwrap().frames_in == u64::from(FRAMES));
}

#[test]
fn what_one_thread_sends_before_another_hears_of_it_comes_first() {
    let (_server, mut client, conn, _log) = one("compression=off", |conn, event| {
        if let Event::Frames(_) = event {
            // Another thread sends during the callback, and the callback waits for it.
            let other = std::thread::spawn(move || conn.send_frame(b"first", PLAIN).unwrap());
            other.join().unwrap();
            conn.send_frame(b"second", PLAIN).unwrap();
        }
    });
    for _ in 0..50 {
        client.write_all(&frame(b"go")).unwrap();
        assert_eq!(read_frame(&mut client), b"first");
        assert_eq!(read_frame(&mut client), b"second");
    }
    // Two foreign threads that take turns.
    let barrier = Arc::new(Barrier::new(2));
    let threads: Vec<_> = (0..2u32)
        .map(|me| {
            let barrier = barrier.clone();
            std::thread::spawn(move || {
                for turn in 0..200u32 {
                    if turn % 2 == me {
                        conn.send_frame(&turn.to_be_bytes(), PLAIN).unwrap();
                    }
                    barrier.wait();
                }
            })
        })
        .collect();
    (0..200u32).for_each(|turn| assert_eq!(read_frame(&mut client), turn.to_be_bytes()));
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

// Large ones.

#[test]
fn large_arrays_arrive_with_every_byte() {
    let payloads: Arc<Vec<Vec<u8>>> =
        Arc::new((0..64).map(|seed| noise(16 << 10, seed + 1)).collect());
    for keys in ["compression=off", "compression=auto"] {
        let lent = payloads.clone();
        let (_server, mut client, conn, _log) = one(keys, move |conn, event| {
            if let Event::Frames(_) = event {
                let all = lent.iter().map(|payload| &payload[..]);
                assert_eq!(conn.send_frames(all, PLAIN), (64, Ok(())));
            }
        });
        for round in 0..6 {
            if round % 2 == 0 {
                client.write_all(&frame(b"go")).unwrap();
            } else {
                let all = payloads.iter().map(|payload| &payload[..]);
                assert_eq!(conn.send_frames(all, PLAIN), (64, Ok(())));
            }
            for payload in payloads.iter() {
                assert!(read_frame(&mut client) == *payload);
            }
        }
    }
}

#[test]
fn large_arrays_arrive_at_a_peer_that_reads_late() {
    let payloads: Arc<Vec<Vec<u8>>> =
        Arc::new((0..64).map(|seed| noise(16 << 10, seed + 100)).collect());
    let lent = payloads.clone();
    let (_server, mut client, conn, log) =
        one("compression=off\nsendQueueLimit=1G", move |conn, event| {
            if let Event::Frames(frames) = event {
                for _ in 0..frames.len() {
                    let all = lent.iter().map(|payload| &payload[..]);
                    assert_eq!(conn.send_frames(all, PLAIN), (64, Ok(())));
                    conn.send_frame(b"between", PLAIN).unwrap();
                }
            }
        });
    for _ in 0..20 {
        client.write_all(&frame(b"go")).unwrap();
        log.frame();
    }
    assert!(conn.info().unwrap().queued_bytes > 1 << 20);
    for _ in 0..20 {
        payloads.iter().for_each(|payload| assert!(read_frame(&mut client) == *payload));
        assert_eq!(read_frame(&mut client), b"between");
    }
}

#[test]
fn single_frames_of_3_mib_arrive_with_every_byte_however_they_are_sent() {
    let payload = Arc::new(noise(3 << 20, 77));
    let lent = payload.clone();
    let (_server, mut client, conn, _log) = one("compression=off", move |conn, event| {
        if let Event::Frames(frames) = event {
            match frames.get(0).unwrap().data {
                b"copy" => conn.send_frame(&lent, PLAIN),
                _ => conn.send_frame_owned(Box::new(lent.to_vec()), PLAIN),
            }
            .unwrap();
        }
    });
    client.write_all(&frame(b"copy")).unwrap();
    assert!(read_frame(&mut client) == *payload);
    client.write_all(&frame(b"lend")).unwrap();
    assert!(read_frame(&mut client) == *payload);
    conn.send_frame(&payload, PLAIN).unwrap();
    assert!(read_frame(&mut client) == *payload);
    conn.send_frame_owned(Box::new(payload.to_vec()), PLAIN).unwrap();
    assert!(read_frame(&mut client) == *payload);
}

#[test]
fn over_tls_large_and_small_frames_arrive_with_every_byte() {
    let (handler, log) = recorder(false, |_, _| {});
    let keys = format!("{WITH_TLS}\ncompression=off");
    let server =
        server(&keys, TLS_SECTION, |listener| listener.on(Protocol::Client, handler).unwrap());
    let mut client = tls_framed(server.address);
    let conn = log.opened();
    let large = noise(3 << 20, 5);
    conn.send_frame_owned(Box::new(large.clone()), PLAIN).unwrap();
    let small: Vec<Vec<u8>> = (0..100).map(|seed| noise(100 * seed, seed as u64 + 1)).collect();
    let (taken, _) = conn.send_frames(small.iter().map(|payload| &payload[..]), PLAIN);
    assert!(read_frame(&mut client) == large);
    small[..taken].iter().for_each(|payload| assert!(read_frame(&mut client) == *payload));
    conn.close(0).unwrap();
    assert_eq!(read_to_end(&mut client), b"");
}

#[test]
fn compression_is_chosen_per_frame() {
    let payload = compressible(5000, 1);
    let (_server, mut client, conn, _log) = one("", |_, _| {});
    let raw = SendFlags { no_compress: true };
    let mut expect = |expected: bool| {
        let (compressed, wire) = read_wire_frame(&mut client);
        assert_eq!(compressed, expected);
        assert!(if compressed { unzlib(&wire) == payload } else { wire == payload });
    };
    conn.send_frame(&payload, PLAIN).unwrap();
    expect(true);
    conn.send_frame(&payload, raw).unwrap();
    expect(false);
    conn.send_frame_owned(Box::new(payload.clone()), PLAIN).unwrap();
    expect(true);
    conn.send_frame_owned(Box::new(payload.clone()), raw).unwrap();
    expect(false);
    conn.send_frames([&payload[..], &payload].into_iter(), PLAIN).1.unwrap();
    expect(true);
    expect(true);
    conn.send_frames([&payload[..], &payload].into_iter(), raw).1.unwrap();
    expect(false);
    expect(false);
}

// Ends.

#[test]
fn after_shutdown_the_peer_sees_the_end_behind_the_queue_and_may_still_send() {
    for tls in [false, true] {
        let (handler, log) = recorder(false, |_, _| {});
        let keys = format!("compression=off\n{}", if tls { WITH_TLS } else { "" });
        let server =
            server(&keys, TLS_SECTION, |listener| listener.on(Protocol::Client, handler).unwrap());
        let payload = noise(5 << 20, 3);
        let end = |conn: Conn| {
            conn.send_frame(&payload, PLAIN).unwrap();
            conn.shutdown().unwrap();
            assert_eq!(conn.send_frame(b"late", PLAIN), Err(Status::Closed));
            conn.shutdown().unwrap();
        };
        if tls {
            let mut client = tls_framed(server.address);
            end(log.opened());
            assert!(read_to_end(&mut client) == frame(&payload));
            client.write_all(&frame(b"still here")).unwrap();
            client.flush().unwrap();
            assert_eq!(log.frame(), b"still here");
            client.conn.send_close_notify();
            client.flush().unwrap();
        } else {
            let mut client = framed(server.address);
            end(log.opened());
            assert!(read_to_end(&mut client) == frame(&payload));
            client.write_all(&frame(b"still here")).unwrap();
            assert_eq!(log.frame(), b"still here");
        }
        let info = log.closed();
        assert_eq!((info.reason, info.unsent_bytes), (CloseReason::PeerClosed, 0), "{tls}");
    }
}

#[test]
fn close_flushes_everything_and_its_code_comes_back() {
    let (_server, mut client, conn, log) = one("compression=off\nsendQueueLimit=1G", |_, _| {});
    let payload = noise(1 << 20, 8);
    (0..8).for_each(|_| conn.send_frame(&payload, PLAIN).unwrap());
    conn.close(-12_345).unwrap();
    (0..8).for_each(|_| assert!(read_frame(&mut client) == payload));
    assert_ends_without_a_byte(&mut client);
    let info = log.closed();
    assert_eq!((info.reason, info.host_code), (CloseReason::HostClosed, -12_345));
    assert_eq!((info.unsent_bytes, info.bytes_out), (0, 1 + 8 * ((1 << 20) + 4)));
}

#[test]
fn close_flushes_everything_to_a_peer_that_goes_on_sending() {
    let (_server, mut client, conn, log) = one("compression=off\nsendQueueLimit=1G", |_, _| {});
    let payload = noise(1 << 20, 9);
    (0..8).for_each(|_| conn.send_frame(&payload, PLAIN).unwrap());
    conn.close(1).unwrap();
    let mut writer = client.try_clone().unwrap();
    let thread = std::thread::spawn(move || {
        // Ends when the other side is gone.
        (0..64).all(|_| writer.write_all(&frame(&[1; 100_000])).is_ok())
    });
    (0..8).for_each(|_| assert!(read_frame(&mut client) == payload));
    assert_ends_without_a_byte(&mut client);
    assert_eq!(log.closed().unsent_bytes, 0);
    drop(client);
    thread.join().unwrap();
}

#[test]
fn after_close_has_returned_sends_give_closed_and_no_callback_but_closed_comes() {
    if is_polled("two batches may have been polled together")
        || is_through_a_toxic("they need not come in one piece")
    {
        return;
    }
    let (_server, mut client, conn, log) = one("compression=off", |conn, event| {
        if let Event::Frames(_) = event {
            conn.close(5).unwrap();
            assert_eq!(conn.send_frame(b"x", PLAIN), Err(Status::Closed));
            assert_eq!(conn.send_frames([].into_iter(), PLAIN), (0, Err(Status::Closed)));
            assert_eq!(conn.close(6), Err(Status::Closed));
            assert_eq!(conn.pause_reading(), Err(Status::Closed));
            assert_eq!(conn.cork(), Err(Status::Closed));
            assert_eq!(conn.shutdown(), Err(Status::Closed));
            // The flush may still be bounded; on a worker it may be over already.
            let bounds = conn.set_deadline(Some(60_000));
            assert!(
                bounds == Ok(()) || consumer() != nativeport::runtime::Consumer::Callbacks,
                "{bounds:?}"
            );
        }
    });
    // Two batches in one piece: only the first is delivered.
    let many: Vec<u8> = (0..65).flat_map(|_| frame(b"x")).collect();
    client.write_all(&many).unwrap();
    (0..64).for_each(|_| assert_eq!(log.next(), Told::Frame(conn, b"x".to_vec())));
    let Told::Closed(_, info) = log.next() else { panic!() };
    assert_eq!((info.reason, info.host_code), (CloseReason::HostClosed, 5));
    assert_ends_without_a_byte(&mut client);
    assert_eq!(log.drain(), []);
}

#[test]
fn close_from_another_thread_ends_it_while_the_peer_goes_on_sending() {
    let (_server, client, conn, log) = one("compression=off", |_, _| {});
    let mut writer = client.try_clone().unwrap();
    let thread = std::thread::spawn(move || while writer.write_all(&frame(&[1; 1000])).is_ok() {});
    (0..100).for_each(|_| drop(log.frame()));
    conn.close(7).unwrap();
    assert_eq!(conn.send_frame(b"x", PLAIN), Err(Status::Closed));
    assert_eq!(log.closed().host_code, 7);
    assert_eq!(log.drain(), []);
    drop(client);
    thread.join().unwrap();
}

#[test]
fn abort_resets_and_tells_what_was_not_sent() {
    let (_server, mut client, conn, log) = one("compression=off\nsendQueueLimit=1G", |_, _| {});
    let payload = noise(1 << 20, 8);
    (0..64).for_each(|_| conn.send_frame(&payload, PLAIN).unwrap());
    conn.abort(99).unwrap();
    let info = log.closed();
    assert_eq!((info.reason, info.host_code), (CloseReason::HostAborted, 99));
    assert!(info.unsent_bytes > 0);
    assert_eq!(info.bytes_out + info.unsent_bytes, 1 + 64 * ((1 << 20) + 4));
    assert_is_reset(&mut client);
}

#[test]
fn abort_cuts_the_flush_of_a_close_short() {
    let (_server, mut client, conn, log) = one("compression=off\nsendQueueLimit=1G", |_, _| {});
    let payload = noise(1 << 20, 8);
    (0..64).for_each(|_| conn.send_frame(&payload, PLAIN).unwrap());
    conn.close(1).unwrap();
    conn.abort(2).unwrap();
    let info = log.closed();
    assert!(info.unsent_bytes > 0);
    assert_is_reset(&mut client);
    assert_eq!(conn.abort(3), Err(Status::Closed));
}

#[test]
fn a_reset_by_the_peer_tells_what_was_not_sent() {
    if is_through_a_toxic("where both ways meet a reset, one of them sees an end") {
        return;
    }
    let (_server, client, conn, log) = one("compression=off\nsendQueueLimit=1G", |_, _| {});
    let payload = noise(1 << 20, 8);
    (0..64).for_each(|_| conn.send_frame(&payload, PLAIN).unwrap());
    wait_until("a full socket", || conn.info().unwrap().bytes_out > 1);
    reset(client);
    let info = log.closed();
    assert_eq!(info.reason, CloseReason::PeerReset);
    assert_eq!(info.bytes_out + info.unsent_bytes, 1 + 64 * ((1 << 20) + 4));
}

#[test]
fn a_send_that_races_with_shutdown_is_sent_or_gives_closed_and_harms_nothing() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server("compression=off", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    for round in 0..300 {
        let mut client = framed(server.address);
        let conn = log.opened();
        let sender = std::thread::spawn(move || {
            let mut sent = 0;
            while conn.send_frame(b"x", PLAIN).is_ok() {
                sent += 1;
            }
            sent
        });
        if round % 2 == 0 {
            read_frame(&mut client);
        }
        conn.shutdown().unwrap();
        let got = read_to_end(&mut client).len() / 5 + usize::from(round % 2 == 0);
        assert_eq!(got, sender.join().unwrap());
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(log.closed().reason, CloseReason::PeerClosed);
    }
}

// User data.

struct Counted(&'static str, Arc<AtomicUsize>);

impl Drop for Counted {
    fn drop(&mut self) {
        self.1.fetch_add(1, Ordering::SeqCst);
    }
}

fn name(conn: Conn) -> Result<Option<&'static str>, Status> {
    conn.with_user_data(|data| {
        data.map(|data| data.downcast_ref::<Counted>().expect("what was attached").0)
    })
}

#[test]
fn user_data_is_set_anywhere_read_in_its_own_callbacks_and_dropped_once_after_closed() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (seen, dropped) = (Arc::new(Mutex::new(Vec::new())), drops.clone());
    let noted = seen.clone();
    let (_server, mut client, conn, log) = one("", move |conn, event| {
        if let Event::Frames(_) | Event::Closed(_) = event {
            noted.lock().unwrap().push((name(conn), dropped.load(Ordering::SeqCst)));
        }
    });
    assert_eq!(name(conn), Err(Status::State));
    client.write_all(&frame(b"x")).unwrap();
    log.frame();
    conn.set_user_data(Some(Box::new(Counted("first", drops.clone())))).unwrap();
    client.write_all(&frame(b"x")).unwrap();
    log.frame();
    conn.set_user_data(Some(Box::new(Counted("second", drops.clone())))).unwrap();
    assert_eq!(drops.load(Ordering::SeqCst), 1);
    assert_eq!(name(conn), Err(Status::State));
    drop(client);
    log.closed();
    wait_until("the drop", || drops.load(Ordering::SeqCst) == 2);
    // A moment later the handle is nobody's.
    wait_until("a stale handle", || name(conn) == Err(Status::Closed));
    let late = Box::new(Counted("late", drops.clone()));
    assert_eq!(conn.set_user_data(Some(late)), Err(Status::Closed));
    assert_eq!(drops.load(Ordering::SeqCst), 3);
    let seen = seen.lock().unwrap();
    assert_eq!(*seen, [(Ok(None), 0), (Ok(Some("first")), 0), (Ok(Some("second")), 1)]);
}

#[test]
fn user_data_that_is_replaced_or_taken_away_while_it_is_read_is_dropped_once() {
    let drops = Arc::new(AtomicUsize::new(0));
    let dropped = drops.clone();
    let (answers, _server, _client) = in_callback(move |conn| {
        let attach = |data| conn.set_user_data(data).unwrap();
        attach(Some(Box::new(Counted("first", dropped.clone()))));
        conn.with_user_data(|_| attach(Some(Box::new(Counted("second", dropped.clone())))))
            .unwrap();
        let second = name(conn);
        conn.with_user_data(|_| attach(None)).unwrap();
        (second, name(conn), dropped.load(Ordering::SeqCst))
    });
    assert_eq!(answers, (Ok(Some("second")), Ok(None), 2));
    assert_eq!(drops.load(Ordering::SeqCst), 2);
}

#[test]
fn user_data_that_is_being_read_is_not_read_again_meanwhile_and_stays() {
    let drops = Arc::new(AtomicUsize::new(0));
    let dropped = drops.clone();
    let (answers, _server, _client) = in_callback(move |conn| {
        conn.set_user_data(Some(Box::new(Counted("data", dropped.clone())))).unwrap();
        let inside = conn.with_user_data(|_| name(conn)).unwrap();
        let read_in_vain = || conn.with_user_data::<()>(|_| resume_unwind(Box::new("host")));
        let panics = catch_unwind(|| read_in_vain().unwrap()).is_err();
        (inside, panics, dropped.load(Ordering::SeqCst), name(conn))
    });
    assert_eq!(answers, (Err(Status::State), true, 0, Ok(Some("data"))));
}

#[test]
fn user_data_is_dropped_when_the_runtime_goes() {
    let drops = Arc::new(AtomicUsize::new(0));
    let (server, _client, conn, _log) = one("", |_, _| {});
    conn.set_user_data(Some(Box::new(Counted("data", drops.clone())))).unwrap();
    drop(server);
    assert_eq!(drops.load(Ordering::SeqCst), 1);
}

#[test]
fn user_data_whose_destructor_panics_harms_nobody() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            panic!("a destructor of the host's panics");
        }
    }
    let (server, client, conn, log) = one("", |_, _| {});
    conn.set_user_data(Some(Box::new(Bomb))).unwrap();
    drop(client);
    log.closed();
    let _other = framed(server.address);
    log.opened();
}

// What is counted.

/// The handler's host is done with `action` once the system has this memory.
struct Then<F: FnOnce()>(u8, Option<F>);

impl<F: FnOnce()> AsRef<[u8]> for Then<F> {
    fn as_ref(&self) -> &[u8] {
        std::slice::from_ref(&self.0)
    }
}

impl<F: FnOnce()> Drop for Then<F> {
    fn drop(&mut self) {
        if let Some(action) = self.1.take() {
            action();
        }
    }
}

#[test]
fn a_frame_that_was_taken_in_the_turn_in_which_its_connection_ends_is_counted_and_is_unsent() {
    if is_through_a_toxic("the reset has to be there at once") {
        return;
    }
    let (server, client, conn, log) = one("compression=off", |_, _| {});
    conn.cork().unwrap();
    // Released when the first send has taken it, and others wait for the second: that meets the
    // reset, and behind it the last frame has no turn.
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let first = Then(
        7,
        Some(move || {
            reset(client);
            conn.send_frame(b"late", PLAIN).unwrap();
            count.fetch_add(1, Ordering::SeqCst);
        }),
    );
    conn.send_frame_owned(Box::new(first), PLAIN).unwrap();
    // Two pieces each; one send takes 64.
    for _ in 0..40 {
        conn.send_frame_owned(Box::new(Then(7, None::<fn()>)), PLAIN).unwrap();
    }
    conn.uncork().unwrap();
    let info = log.closed();
    assert_eq!(info.reason, CloseReason::PeerReset);
    assert_eq!(taken.load(Ordering::SeqCst), 1);
    wait_until("its end", || server.listener.stats().open == [0; 4]);
    let stats = server.listener.stats();
    assert_eq!(stats.frames_out, 41 + 1);
    assert_eq!(stats.bytes_unsent, info.unsent_bytes);
    assert_eq!(stats.bytes_out + stats.bytes_unsent, 1 + 41 * 5 + 8);
}

#[test]
fn all_frames_that_were_taken_are_counted_and_their_bytes_are_sent_or_unsent() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server("compression=off", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    let (mut taken, mut unsent) = (0, 0);
    for round in 0..30 {
        let client = framed(server.address);
        let conn = log.opened();
        let mut client = Some(client);
        let mut sent = 0;
        loop {
            match conn.send_frame(b"hello", PLAIN) {
                Ok(()) => sent += 1,
                Err(Status::WouldBlock) => std::thread::yield_now(),
                Err(status) => break assert_eq!(status, Status::Closed),
            }
            if sent == 300 {
                match round % 3 {
                    0 => drop(client.take()),
                    1 => client.take().map_or((), reset),
                    _ => conn.close(0).unwrap_or(()),
                }
            }
        }
        taken += sent;
        unsent += log.closed().unsent_bytes;
    }
    wait_until("the ends", || server.listener.stats().open == [0; 4]);
    let stats = server.listener.stats();
    assert_eq!((stats.frames_out, stats.bytes_unsent), (taken, unsent));
    assert_eq!(stats.bytes_out + unsent, 30 + 9 * taken);
}

#[test]
fn frames_that_travel_to_their_loop_as_one_piece_count_each() {
    let ((go_on, goes_on), (waits, waiting)) = (channel(), channel());
    let (goes_on, waits) = (Mutex::new(goes_on), Mutex::new(waits));
    let (server, mut client, conn, log) = one("compression=off", move |_, event| {
        if let Event::Frames(_) = event {
            waits.lock().unwrap().send(()).unwrap();
            let _ = goes_on.lock().unwrap().recv();
        }
    });
    // With callbacks its loop waits, so that they travel together.
    client.write_all(&frame(b"wait")).unwrap();
    waiting.recv_timeout(PATIENCE).unwrap();
    (0..10).for_each(|_| conn.send_frame(b"hello", PLAIN).unwrap());
    conn.send_frames([&b"a"[..], b"b"].into_iter(), PLAIN).1.unwrap();
    go_on.send(()).unwrap();
    log.frame();
    (0..10).for_each(|_| assert_eq!(read_frame(&mut client), b"hello"));
    (0..2).for_each(|_| drop(read_frame(&mut client)));
    wait_until("the end of the turn", || server.listener.stats().frames_out == 12);
    assert_eq!(conn.info().unwrap().frames_out, 12);
}
