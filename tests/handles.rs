//! Handles: any number whatever, at any time, from any thread, gives a status.

mod support;

use nativeport::event::Protocol;
use nativeport::handles::{Conn, SendFlags};
use nativeport::status::Status;
use std::collections::HashSet;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use support::*;

/// Every call there is; all of their answers.
fn every_call(conn: Conn) -> Vec<Result<(), Status>> {
    let plain = SendFlags::default();
    vec![
        conn.admit(),
        conn.refuse(b"bytes"),
        conn.send_frame(b"x", plain),
        conn.send_frames([&b"x"[..], b"y"].into_iter(), plain).1,
        conn.send_frame_owned(Box::new(vec![1; 100_000]), plain),
        conn.send_bytes(b"x"),
        conn.cork(),
        conn.uncork(),
        conn.pause_reading(),
        conn.resume_reading(),
        conn.set_deadline(Some(1)),
        conn.set_deadline(None),
        conn.info().map(drop),
        conn.set_user_data(Some(Box::new(1))),
        conn.with_user_data(|_| ()),
        conn.shutdown(),
        conn.close(0),
        conn.abort(0),
    ]
}

fn assert_nobody(conn: Conn) {
    for answer in every_call(conn) {
        assert!(
            matches!(answer, Err(Status::Closed | Status::InvalidHandle)),
            "{:#x}: {answer:?}",
            conn.raw()
        );
    }
}

#[test]
fn zero_and_invented_numbers_are_nobodys_handle() {
    assert!(every_call(Conn::from_raw(0)).iter().all(|a| *a == Err(Status::InvalidHandle)));
    for raw in [1, 63, 64, u64::from(u32::MAX), 1 << 32, u64::MAX, u64::MAX - 1, 1 << 63] {
        // Number 1 << 32 may be the first connection's of another test.
        if raw != 1 << 32 {
            assert_nobody(Conn::from_raw(raw));
        }
    }
}

#[test]
fn random_numbers_are_nobodys_handle() {
    let mut state = 0x1234_5678_9abc_def1u64;
    for _ in 0..20_000 {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        // No generation of these is reached by any test.
        assert_nobody(Conn::from_raw(state | 1 << 62));
        assert_nobody(Conn::from_raw(state & 0xffff_ffff));
    }
}

#[test]
fn a_stale_handle_gives_closed_also_when_its_place_is_taken_again() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server_with("ioThreads=1", "", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    let mut seen = HashSet::new();
    let mut places = HashSet::new();
    for _ in 0..20 {
        let client = framed(server.address);
        let conn = log.opened();
        assert!(conn.raw() != 0 && seen.insert(conn.raw()), "handles do not come back");
        places.insert(conn.raw() as u32);
        drop(client);
        log.closed();
        wait_until("stale", || conn.info().is_err());
        assert!(every_call(conn).iter().all(|answer| *answer == Err(Status::Closed)));
    }
    let _client = framed(server.address);
    let present = log.opened();
    for stale in seen {
        assert!(every_call(Conn::from_raw(stale)).iter().all(|a| *a == Err(Status::Closed)));
    }
    assert!(present.info().is_ok());
}

#[test]
fn the_neighbours_of_a_handle_are_not_it() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server("", "", |listener| listener.on(Protocol::Client, handler).unwrap());
    let mut client = framed(server.address);
    let conn = log.opened();
    // Later and earlier generations of its place.
    for distance in [1, 2, 1000, 1 << 30] {
        assert_nobody(Conn::from_raw(conn.raw().wrapping_add(distance << 32)));
        let generation = (conn.raw() >> 32).saturating_sub(distance);
        assert_nobody(Conn::from_raw(generation << 32 | conn.raw() & 0xffff_ffff));
    }
    conn.send_frame(b"mine", SendFlags::default()).unwrap();
    assert_eq!(read_frame(&mut client), b"mine");
}

#[test]
fn a_handle_survives_its_runtime_as_a_number() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server("", "", |listener| listener.on(Protocol::Client, handler).unwrap());
    let _client = framed(server.address);
    let conn = log.opened();
    drop(server);
    assert!(every_call(conn).iter().all(|answer| *answer == Err(Status::Closed)));
}

#[test]
fn the_connections_of_a_runtime_are_its_own() {
    let here = echo_server("", "");
    let there = echo_server("", "");
    let _clients: Vec<_> = (0..5).map(|_| framed(here.address)).collect();
    let _other = framed(there.address);
    assert_eq!(here.runtime.connections().len(), 5);
    assert_eq!(there.runtime.connections().len(), 1);
    let all: HashSet<_> =
        here.runtime.connections().into_iter().chain(there.runtime.connections()).collect();
    assert_eq!(all.len(), 6);
}

#[test]
fn calls_from_eight_threads_while_connections_come_and_go_give_a_status() {
    let server = echo_server("compression=off", "");
    let going = Arc::new(AtomicBool::new(true));
    let calls = Arc::new(AtomicUsize::new(0));
    let known: Arc<parking_lot::RwLock<Vec<Conn>>> = Arc::default();
    let callers: Vec<_> = (0..8usize)
        .map(|me| {
            let (going, calls, known) = (going.clone(), calls.clone(), known.clone());
            std::thread::spawn(move || {
                let mut turn = me;
                while going.load(Ordering::SeqCst) {
                    let conn = {
                        let known = known.read();
                        if known.is_empty() {
                            continue;
                        }
                        known[turn % known.len()]
                    };
                    turn += 7;
                    for answer in every_call(conn) {
                        assert!(
                            matches!(
                                answer,
                                Ok(()) | Err(Status::Closed | Status::State | Status::WouldBlock)
                            ),
                            "{answer:?}"
                        );
                    }
                    calls.fetch_add(1, Ordering::SeqCst);
                }
            })
        })
        .collect();
    for round in 0..150 {
        let mut clients: Vec<_> = (0..6).map(|_| connect(server.address)).collect();
        for client in &mut clients {
            let _ = client.write_all(&[&[1][..], &frame(b"x")].concat());
        }
        known.write().extend(server.runtime.connections());
        let made = calls.load(Ordering::SeqCst);
        wait_until("calls", || calls.load(Ordering::SeqCst) > made || known.read().is_empty());
        if round % 10 == 9 {
            known.write().clear();
        }
    }
    going.store(false, Ordering::SeqCst);
    callers.into_iter().for_each(|caller| caller.join().unwrap());
    // Everybody else is still served.
    let mut client = framed(server.address);
    client.write_all(&frame(b"alive")).unwrap();
    assert_eq!(read_frame(&mut client), b"alive");
}
