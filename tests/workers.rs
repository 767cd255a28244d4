//! Workers over real sockets: what holds only where events wait. `tests/consumers.rs` has the
//! rest, and with `NP_CONSUMER=workers` so have all suites over sockets.

mod support;

use nativeport::event::{Event, Handler, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::listener::Listener;
use nativeport::runtime::{Consumer, Runtime};
use nativeport::status::{CloseReason, Status};
use std::io::Write;
use std::net::TcpStream;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use support::*;

/// Notes what it is told; a stream keeps its worker until somebody lets it go.
struct Noting {
    name: &'static str,
    told: Mutex<Sender<(&'static str, &'static str, Conn)>>,
    go: Mutex<Receiver<()>>,
}

impl Handler for Noting {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        let what = match event {
            Event::Admit { .. } => "admit",
            Event::Opened { .. } => "opened",
            Event::Data(_) => "data",
            Event::Closed(_) => "closed",
            _ => return,
        };
        self.told.lock().unwrap().send((self.name, what, conn)).unwrap();
        if what == "data" {
            let _ = self.go.lock().unwrap().recv_timeout(PATIENCE);
        }
    }
}

#[test]
fn who_was_not_told_of_a_connections_beginning_is_not_told_of_its_end() {
    for asks in [false, true] {
        let config = config("workerThreads=1", "", "");
        let runtime = Runtime::with_consumer(&config, Consumer::Workers).unwrap();
        let listener = Listener::new(&runtime, &config, 0).unwrap();
        let (sender, told) = channel();
        let noting = |name| {
            let (go, receiver) = channel();
            let told = Mutex::new(sender.clone());
            (go, Arc::new(Noting { name, told, go: Mutex::new(receiver) }))
        };
        let ((go, handler), (_go, admission)) = (noting("handler"), noting("admission"));
        listener.on(Protocol::Client, handler.clone()).unwrap();
        listener.on(Protocol::Unknown, handler).unwrap();
        if asks {
            listener.on_admit(admission).unwrap();
        }
        listener.start().unwrap();
        let next = || told.recv_timeout(PATIENCE).unwrap();
        let connect = |bytes: &[u8]| -> TcpStream {
            let mut client = connect(listener.addresses()[0]);
            client.write_all(bytes).unwrap();
            client
        };
        let _framed = asks.then(|| connect(&[1]));
        let admitted = asks.then(|| next().2);
        let _stream = connect(b"G");
        if asks {
            next().2.admit().unwrap();
        }
        let (_, what, busy) = next();
        assert_eq!(what, "opened");
        assert_eq!(next(), ("handler", "data", busy));
        // The only worker is busy: what is opened now waits, and is closed before it is told.
        let _late = (!asks).then(|| connect(&[1]));
        if let Some(conn) = admitted {
            conn.admit().unwrap();
        }
        wait_until("the opening", || listener.stats().opened[Protocol::Client.index()] == 1);
        let late = runtime.connections().into_iter().find(|conn| *conn != busy).unwrap();
        late.close(1).unwrap();
        go.send(()).unwrap();
        if asks {
            assert_eq!(next(), ("admission", "closed", late));
        }
        busy.close(1).unwrap();
        assert_eq!(next(), ("handler", "closed", busy));
        drop(listener);
        assert!(told.try_recv().is_err(), "nobody is told of anything else");
    }
}

#[test]
fn pieces_of_a_stream_that_wait_for_a_worker_count_with_what_they_take_beside_their_bytes() {
    let config = config("workerThreads=1", "", "");
    let runtime = Runtime::with_consumer(&config, Consumer::Workers).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    let ((sender, told), (go, receiver)) = (channel(), channel());
    let told_by = Mutex::new(sender);
    let handler = Noting { name: "handler", told: told_by, go: Mutex::new(receiver) };
    listener.on(Protocol::Unknown, Arc::new(handler)).unwrap();
    listener.start().unwrap();
    let mut client = connect(listener.addresses()[0]);
    client.set_nodelay(true).unwrap();
    client.write_all(b"G").unwrap();
    let next = || told.recv_timeout(PATIENCE).unwrap();
    assert_eq!(next().1, "opened");
    let (_, what, conn) = next();
    assert_eq!(what, "data");
    // Each is read alone, and none of them has come to the worker yet.
    const PIECES: u64 = 2000;
    for piece in 2..=PIECES {
        client.write_all(b"x").unwrap();
        wait_until("the piece", || conn.info().unwrap().bytes_in == piece);
    }
    // Beyond the 64 KiB that each connection may hold.
    wait_until("the memory that they take", || runtime.stats().memory_bytes > 0);
    conn.close(0).unwrap();
    go.send(()).unwrap();
    assert_eq!(next().1, "closed");
    wait_until("its release", || runtime.stats().memory_bytes == 0);
}

#[test]
fn what_waits_for_a_worker_counts_against_memory_limit_after_its_connection_was_reset_too() {
    const BYTES: usize = 1 << 20;
    let config = config("workerThreads=1\nmemoryLimit=4M", "compression=off", "");
    let runtime = Runtime::with_consumer(&config, Consumer::Workers).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    let (sender, told) = channel();
    let (go, receiver) = channel();
    let told_to = Mutex::new(sender);
    let handler = Arc::new(Noting { name: "handler", told: told_to, go: Mutex::new(receiver) });
    listener.on(Protocol::Client, handler.clone()).unwrap();
    listener.on(Protocol::Unknown, handler).unwrap();
    listener.start().unwrap();
    let mut busy = connect(listener.addresses()[0]);
    busy.write_all(b"G").unwrap();
    while told.recv_timeout(PATIENCE).unwrap().1 != "data" {}
    let bytes_in = || listener.stats().bytes_in;
    let over = || listener.stats().closes[CloseReason::MemoryLimit.code() as usize];
    for _ in 0..8 {
        let mut client = framed(listener.addresses()[0]);
        let (before, over_before) = (bytes_in(), over());
        // Who is over the limit is reset meanwhile.
        let _ = client.write_all(&frame(&vec![7; BYTES]));
        wait_until("the frame, or its end", || {
            bytes_in() >= before + BYTES as u64 || over() > over_before
        });
        reset(client);
    }
    wait_until("their ends", || listener.stats().closes.iter().sum::<u64>() == 8);
    assert!(over() >= 4, "{}", over());
    assert!(runtime.stats().memory_bytes >= 2 << 20, "{}", runtime.stats().memory_bytes);
    go.send(()).unwrap();
    wait_until("their places", || listener.stats().connections == 1);
    assert!(runtime.stats().memory_bytes == 0, "{}", runtime.stats().memory_bytes);
}

/// Leaves the answer to whoever lets it go.
struct Late {
    told: Mutex<Sender<Conn>>,
    go: Mutex<Receiver<()>>,
}

impl Handler for Late {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        if let Event::Data(_) | Event::Frames(_) = event {
            self.told.lock().unwrap().send(conn).unwrap();
            let _ = self.go.lock().unwrap().recv_timeout(PATIENCE);
        }
    }
}

#[test]
fn after_the_peers_end_idle_timeout_waits_for_no_worker() {
    for (protocol, request, answer) in [
        (Protocol::Client, &b"\x01\x00\x00\x00\x01G"[..], &b"\x01"[..]),
        (Protocol::Unknown, b"G", b""),
    ] {
        let config = config("workerThreads=2", "idleTimeout=200ms", "");
        let runtime = Runtime::with_consumer(&config, Consumer::Workers).unwrap();
        let listener = Listener::new(&runtime, &config, 0).unwrap();
        let (sender, told) = channel();
        let (go, receiver) = channel();
        let late = Late { told: Mutex::new(sender), go: Mutex::new(receiver) };
        listener.on(protocol, Arc::new(late)).unwrap();
        listener.start().unwrap();
        let mut client = connect(listener.addresses()[0]);
        client.write_all(request).unwrap();
        client.shutdown(std::net::Shutdown::Write).unwrap();
        let conn = told.recv_timeout(PATIENCE).unwrap();
        // The worker has not answered yet.
        assert_eq!(read_to_end(&mut client), answer);
        wait_for_close(&listener, CloseReason::IdleTimeout);
        assert_eq!(conn.send_bytes(b"late"), Err(Status::Closed));
        go.send(()).unwrap();
    }
}

#[test]
fn a_writable_event_comes_through_a_pause_that_holds_back_input() {
    let config = config("workerThreads=1", "compression=off\nsendQueueLimit=64K", "");
    let runtime = Runtime::with_consumer(&config, Consumer::Workers).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    let (go, may_go) = channel::<()>();
    let may_go = Mutex::new(may_go);
    let (has_begun, begun) = channel::<()>();
    let has_begun = Mutex::new(has_begun);
    let (handler, log) = recorder(false, move |conn, event| {
        if let Event::Frames(frames) = event
            && frames.get(0).unwrap().data == b"hold"
        {
            has_begun.lock().unwrap().send(()).unwrap();
            let _ = may_go.lock().unwrap().recv_timeout(PATIENCE);
            conn.pause_reading().unwrap();
        }
    });
    listener.on(Protocol::Client, handler).unwrap();
    listener.start().unwrap();
    let mut client = framed(listener.addresses()[0]);
    let conn = log.opened();
    client.write_all(&frame(b"hold")).unwrap();
    begun.recv_timeout(PATIENCE).unwrap();
    // The second frame waits for the end of the callback, and then for the end of the pause.
    client.write_all(&frame(b"input")).unwrap();
    wait_until("both frames", || listener.stats().frames_in == 2);
    go.send(()).unwrap();
    assert_eq!(log.frame(), b"hold");
    let payload = [7; 16 << 10];
    let mut sent = 0;
    while conn.send_frame(&payload, SendFlags { no_compress: true }).is_ok() {
        sent += 1;
    }
    (0..sent).for_each(|_| assert_eq!(read_frame(&mut client), payload));
    assert_eq!(log.next(), Told::Writable(conn));
    conn.resume_reading().unwrap();
    assert_eq!(log.frame(), b"input");
}
