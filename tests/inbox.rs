//! The inbox over real sockets: what a host that takes its input when it wants may rely on,
//! whoever gets the other events. `tests/consumers.rs` has the whole of it in C.

mod support;

use nativeport::event::{Event, Handler, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::listener::Listener;
use nativeport::polling::{PollLoop, What};
use nativeport::runtime::{Consumer, Runtime};
use nativeport::status::{CloseReason, Status};
use std::io::Write;
use std::net::Shutdown;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use support::*;

const PLAIN: SendFlags = SendFlags { no_compress: false };

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Opened(Conn),
    Writable,
    Closed,
}

/// Notes everything but input, which waits in the inbox.
struct Inbox(Mutex<Sender<Told>>);

impl Handler for Inbox {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        let told = match event {
            Event::Opened { .. } => Told::Opened(conn),
            Event::Writable => Told::Writable,
            Event::Closed(_) => Told::Closed,
            _ => return,
        };
        let _ = self.0.lock().unwrap().send(told);
    }

    fn wants_inbox(&self) -> bool {
        true
    }
}

fn inbox() -> (Arc<Inbox>, Receiver<Told>) {
    let (sender, receiver) = channel();
    (Arc::new(Inbox(Mutex::new(sender))), receiver)
}

fn opened(told: &Receiver<Told>) -> Conn {
    match told.recv_timeout(PATIENCE).unwrap() {
        Told::Opened(conn) => conn,
        other => panic!("{other:?}"),
    }
}

#[test]
fn after_the_peers_end_a_refused_answer_is_told_of_room() {
    let (handler, told) = inbox();
    // All of it fits the inbox, and the answers fit no queue.
    let keys = "compression=off\nreceiveWindow=64M\nsendQueueLimit=64K";
    let server = server(keys, "", |listener| listener.on(Protocol::Client, handler).unwrap());
    let mut client = framed(server.address);
    let conn = opened(&told);
    let payload = |n: u32| [&n.to_be_bytes()[..], &[n as u8; 4092]].concat();
    const FRAMES: u32 = 3000;
    (0..FRAMES).for_each(|n| client.write_all(&frame(&payload(n))).unwrap());
    client.shutdown(Shutdown::Write).unwrap();
    // Before that nothing is answered: a full queue would stop the reading of a peer that only
    // writes.
    wait_until("the frames", || server.listener.stats().frames_in == u64::from(FRAMES));
    let answering = std::thread::spawn(move || {
        while let Ok((payload, _)) = conn.recv_frame(None) {
            while conn.send_frame(&payload, PLAIN) == Err(Status::WouldBlock) {
                let room = told.recv_timeout(PATIENCE);
                assert_eq!(room, Ok(Told::Writable), "room after a refused answer");
            }
        }
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Told::Closed));
    });
    for n in 0..FRAMES {
        assert_eq!(read_frame(&mut client), payload(n));
    }
    assert_eq!(read_to_end(&mut client), b"");
    answering.join().unwrap();
}

/// Processor time of the calling thread.
fn processor_ms() -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a plain system call that writes to `time`.
    assert_eq!(unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) }, 0);
    time.tv_sec * 1000 + time.tv_nsec / 1_000_000
}

/// A polled port whose clients have inboxes; in the order in which a loop outlives its runtime.
fn polled_inbox(keys: &str) -> (Arc<PollLoop>, Runtime, Listener) {
    let config = config("", keys, "");
    let runtime = Runtime::with_consumer(&config, Consumer::Poll).unwrap();
    let polled = PollLoop::new(&runtime, Box::new(vec![0; 64 << 10])).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, inbox().0).unwrap();
    listener.start().unwrap();
    (polled, runtime, listener)
}

#[test]
fn polls_sleep_while_an_inbox_waits_for_its_host_after_the_peers_end() {
    let (polled, _runtime, listener) = polled_inbox("");
    let mut client = connect(listener.addresses()[0]);
    client.write_all(&[&[1][..], &frame(b"waits")].concat()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let poll = |timeout_ms| {
        polled.poll(16, timeout_ms, |batch| batch.last().map(|event| event.conn)).unwrap()
    };
    let conn = poll(None).expect("it is opened");
    // The peer's end is seen by the first of these at the latest.
    let begun = processor_ms();
    (0..4).for_each(|_| assert_eq!(poll(Some(500)), None));
    assert!(processor_ms() - begun < 500, "the polls did not sleep");
    assert_eq!(conn.recv_frame(Some(0)).unwrap().0, b"waits");
    assert_eq!(conn.recv_frame(Some(0)), Err(Status::Closed));
    assert_eq!(poll(None), Some(conn), "its end");
}

#[test]
fn before_admission_is_decided_an_inbox_gives_state() {
    let (handler, told) = inbox();
    let (admission, asked) = recorder(false, |conn, event| {
        if let Event::Admit { .. } = event {
            assert_eq!(conn.recv_frame(Some(0)), Err(Status::State));
            assert_eq!(conn.recv_frame(None), Err(Status::State));
        }
    });
    let server = server("", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
        listener.on_admit(admission).unwrap();
    });
    let mut client = connect(server.address);
    client.write_all(&[&[1][..], &frame(b"early")].concat()).unwrap();
    let support::Told::Admit(conn, ..) = asked.next() else { panic!() };
    assert_eq!(conn.recv_frame(None), Err(Status::State));
    conn.admit().unwrap();
    assert_eq!(opened(&told), conn);
    assert_eq!(conn.recv_frame(None).unwrap().0, b"early");
}

#[test]
fn a_finite_time_out_waits_for_input_or_for_all_of_its_time() {
    const WAITS: Duration = Duration::from_millis(300);
    let (handler, told) = inbox();
    let server = server("", "", |listener| {
        listener.on(Protocol::Client, handler.clone()).unwrap();
        listener.on(Protocol::Unknown, handler).unwrap();
    });
    let mut client = framed(server.address);
    let frames = opened(&told);
    let mut stream = connect(server.address);
    stream.write_all(b"G").unwrap();
    let bytes = opened(&told);
    assert_eq!(bytes.recv_bytes(&mut [0; 9], Some(60_000)), Ok(1));
    for _ in 0..2 {
        let begun = Instant::now();
        assert_eq!(frames.recv_frame(Some(300)), Err(Status::TimedOut));
        assert!(begun.elapsed() >= WAITS, "{:?}", begun.elapsed());
        let begun = Instant::now();
        assert_eq!(bytes.recv_bytes(&mut [0; 9], Some(300)), Err(Status::TimedOut));
        assert!(begun.elapsed() >= WAITS, "{:?}", begun.elapsed());
    }
    // What comes meanwhile ends the waiting, and it is not the time that does: each of these is
    // called before its input is sent.
    for _ in 0..3 {
        std::thread::scope(|scope| {
            let frame_comes = scope.spawn(|| frames.recv_frame(Some(60_000)));
            let bytes_come = scope.spawn(|| bytes.recv_bytes(&mut [0; 9], Some(60_000)));
            std::thread::sleep(Duration::from_millis(50));
            client.write_all(&frame(b"comes")).unwrap();
            stream.write_all(b"x").unwrap();
            assert_eq!(frame_comes.join().unwrap().unwrap().0, b"comes");
            assert_eq!(bytes_come.join().unwrap(), Ok(1));
        });
    }
}

#[test]
fn after_the_peers_end_idle_timeout_waits_for_no_host_that_takes_nothing() {
    for (first_byte, answer) in [(1, &[1][..]), (b'G', &[])] {
        let (handler, told) = inbox();
        let server = server("idleTimeout=300ms", "", |listener| {
            listener.on(Protocol::Client, handler.clone()).unwrap();
            listener.on(Protocol::Unknown, handler).unwrap();
        });
        let mut client = connect(server.address);
        client.write_all(&[&[first_byte][..], &frame(b"left")].concat()).unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        let conn = opened(&told);
        // Its descriptor is not held; what has arrived is there for the host.
        assert_eq!(read_to_end(&mut client), answer);
        wait_for_close(&server.listener, CloseReason::IdleTimeout);
        if first_byte == 1 {
            assert_eq!(conn.recv_frame(Some(0)).unwrap().0, b"left");
        } else {
            assert_eq!(conn.recv_bytes(&mut [0; 99], Some(0)), Ok(1 + frame(b"left").len()));
        }
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Told::Closed));
    }
}

#[test]
fn an_end_without_close_notify_ends_the_inbox_where_the_port_does_not_require_one() {
    for (first_byte, is_required) in [(1, false), (b'G', false), (b'G', true)] {
        let (handler, told) = inbox();
        let require = if is_required { "yes" } else { "no" };
        let keys = format!("{WITH_TLS}\nrequireCloseNotify={require}");
        let server = server(&keys, TLS_SECTION, |listener| {
            listener.on(Protocol::Client, handler.clone()).unwrap();
            listener.on(Protocol::Unknown, handler).unwrap();
        });
        let mut client = tls_connect(server.address);
        client.write_all(&[&[first_byte][..], &frame(b"left")].concat()).unwrap();
        client.sock.shutdown(Shutdown::Write).unwrap();
        let conn = opened(&told);
        let end = if first_byte == 1 {
            assert_eq!(conn.recv_frame(Some(60_000)).unwrap().0, b"left");
            conn.recv_frame(Some(60_000)).map(drop)
        } else {
            let mut bytes = [0; 99];
            assert_eq!(conn.recv_bytes(&mut bytes, Some(60_000)), Ok(1 + frame(b"left").len()));
            conn.recv_bytes(&mut bytes, Some(60_000)).map(drop)
        };
        assert_eq!(end, Err(Status::Closed));
        let reason = if is_required { CloseReason::TlsTruncated } else { CloseReason::PeerClosed };
        wait_for_close(&server.listener, reason);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Told::Closed));
    }
}

#[test]
fn a_connection_that_was_reset_with_input_left_is_told_of_when_its_host_closes_it() {
    for by_abort in [false, true] {
        let (handler, told) = inbox();
        let server = server("", "", |listener| listener.on(Protocol::Client, handler).unwrap());
        let mut client = framed(server.address);
        let conn = opened(&told);
        client.write_all(&[frame(b"not"), frame(b"taken")].concat()).unwrap();
        wait_until("the frames", || server.listener.stats().frames_in == 2);
        reset(client);
        wait_for_close(&server.listener, CloseReason::PeerReset);
        assert_eq!(conn.send_frame(b"anyone?", PLAIN), Err(Status::Closed));
        let answer = if by_abort { conn.abort(0) } else { conn.close(0) };
        assert_eq!(answer, Err(Status::Closed));
        assert_eq!(told.recv_timeout(PATIENCE), Ok(Told::Closed));
        wait_until("its place", || server.listener.stats().connections == 0);
    }
}

#[test]
fn whose_frame_went_over_memory_limit_holds_only_what_is_in_its_inbox() {
    let (handler, told) = inbox();
    let config = config("memoryLimit=4M", "compression=off\nframeTimeout=0", "");
    let runtime = runtime_of(&config);
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, handler).unwrap();
    listener.start().unwrap();
    let mut client = framed(listener.addresses()[0]);
    let conn = opened(&told);
    client.write_all(&frame(b"x")).unwrap();
    // The last one is not sent to its end; the reset may come while it is written.
    let _ = client.write_all(&frame(&vec![0; 16 << 20])[..12 << 20]);
    wait_for_close(&listener, CloseReason::MemoryLimit);
    wait_until("its memory", || runtime.stats().memory_bytes == 0);
    assert_eq!(conn.recv_frame(Some(0)).unwrap().0, b"x");
    assert_eq!(told.recv_timeout(PATIENCE), Ok(Told::Closed));
}

#[test]
fn time_in_which_the_host_does_not_poll_counts_against_no_peer_that_has_ended() {
    in_time(is_not_polled_meanwhile);
}

/// With this idle time-out; `None` if it was over while the host polled.
fn is_not_polled_meanwhile(ms: u64) -> Option<()> {
    let (polled, runtime, listener) = polled_inbox(&format!("idleTimeout={ms}"));
    let poll = |timeout_ms| {
        polled.poll(16, Some(timeout_ms), |batch| batch.map(|event| event.what).collect::<Vec<_>>())
    };
    let mut client = connect(listener.addresses()[0]);
    client.write_all(&[1]).unwrap();
    while runtime.connections().is_empty() {
        poll(100).unwrap();
    }
    let conn = runtime.connections()[0];
    // Longer than the time-out with input and without output.
    for _ in 0..3 {
        client.write_all(&frame(b"x")).ok()?;
        poll(ms / 2).unwrap();
    }
    client.write_all(&frame(b"x")).ok()?;
    client.shutdown(Shutdown::Write).ok()?;
    while listener.stats().frames_in < 4 {
        poll(10).unwrap();
        conn.info().ok()?;
    }
    std::thread::sleep(Duration::from_millis(1000 + ms));
    let back = Instant::now();
    poll(10).unwrap();
    (0..4).for_each(|_| assert_eq!(conn.recv_frame(Some(0)).unwrap().0, b"x"));
    assert_eq!(conn.recv_frame(Some(0)), Err(Status::Closed));
    let ended = (0..60).find_map(|_| {
        poll(1000).unwrap().into_iter().find_map(|what| match what {
            What::Closed(info) => Some(info.reason),
            _ => None,
        })
    });
    if ended != Some(CloseReason::PeerClosed) && back.elapsed() >= Duration::from_millis(ms) {
        return None;
    }
    assert_eq!(ended, Some(CloseReason::PeerClosed));
    Some(())
}
