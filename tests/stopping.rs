//! Stopping: listeners and runtimes, idle, busy, twice, from callbacks, while handshakes run.

mod support;

use nativeport::config::Config;
use nativeport::event::{CloseInfo, Event, Handler, Party, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::listener::Listener;
use nativeport::log::{Level, Record, Sink};
use nativeport::polling::PollLoop;
use nativeport::runtime::{Consumer, Runtime};

use nativeport::status::{CloseReason, Status};
use std::collections::{HashMap, HashSet};
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::JoinHandle;
use support::*;

const LONG: u64 = 600_000;

/// Counts what it is told, and its own end.
#[derive(Default)]
struct Counts {
    calls: AtomicUsize,
    opened: AtomicUsize,
    closed: AtomicUsize,
    dropped: AtomicBool,
}

struct Counting(Arc<Counts>);

impl Handler for Counting {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        self.0.calls.fetch_add(1, Ordering::SeqCst);
        match event {
            Event::Opened { .. } => drop(self.0.opened.fetch_add(1, Ordering::SeqCst)),
            Event::Closed(_) => drop(self.0.closed.fetch_add(1, Ordering::SeqCst)),
            Event::Frames(frames) => {
                let all = frames.iter().map(|frame| frame.data);
                let _ = conn.send_frames(all, SendFlags::default());
            }
            _ => {}
        }
    }
}

impl Drop for Counting {
    fn drop(&mut self) {
        assert!(!self.0.dropped.swap(true, Ordering::SeqCst));
    }
}

fn counting(keys: &str, rest: &str) -> (Server, Arc<Counts>) {
    let counts = Arc::new(Counts::default());
    let handler = Arc::new(Counting(counts.clone()));
    let server = server(keys, rest, |listener| listener.on(Protocol::Client, handler).unwrap());
    (server, counts)
}

/// How many entries a folder of this process has: `fd` or `task`.
fn count(what: &str) -> usize {
    std::fs::read_dir(format!("/proc/self/{what}")).map_or(0, Iterator::count)
}

/// Clients that send frames and read the echoes until they are ended.
fn pumping(address: SocketAddr, count: usize) -> Vec<JoinHandle<()>> {
    (0..count)
        .map(|_| {
            let mut client = framed(address);
            std::thread::spawn(move || {
                let sent: Vec<u8> = (0..20).flat_map(|_| frame(&[7; 100])).collect();
                let mut got = vec![0; sent.len()];
                while client.write_all(&sent).is_ok() && client.read_exact(&mut got).is_ok() {
                    assert!(got == sent);
                }
            })
        })
        .collect()
}

/// After the end nothing is called, and everything is let go.
fn assert_over(counts: &Counts) {
    let calls = counts.calls.load(Ordering::SeqCst);
    assert!(counts.dropped.load(Ordering::SeqCst), "the handler was let go");
    assert_eq!(counts.opened.load(Ordering::SeqCst), counts.closed.load(Ordering::SeqCst));
    std::thread::yield_now();
    assert_eq!(counts.calls.load(Ordering::SeqCst), calls);
}

#[test]
fn an_idle_listener_stops_at_once_and_its_runtime_goes_on() {
    let (server, counts) = counting("", "");
    server.listener.stop(LONG).unwrap();
    server.listener.wait(None).unwrap();
    assert_over(&counts);
    assert!(TcpStream::connect(server.address).is_err());
    let config = config("", "compression=off", "");
    let next = Listener::new(&server.runtime, &config, 0).unwrap();
    next.on(Protocol::Client, Arc::new(Echo)).unwrap();
    next.start().unwrap();
    framed(next.addresses()[0]);
}

#[test]
fn an_idle_runtime_stops_at_once_and_takes_its_listeners_along() {
    let (server, counts) = counting("", "");
    server.runtime.stop(LONG).unwrap();
    server.runtime.wait(None).unwrap();
    server.listener.wait(None).unwrap();
    assert_over(&counts);
    assert!(TcpStream::connect(server.address).is_err());
}

#[test]
fn stopping_twice_is_the_same_as_once_and_the_shorter_drain_counts() {
    let (server, counts) = counting("", "");
    let _client = framed(server.address);
    server.listener.stop(LONG).unwrap();
    server.listener.stop(LONG).unwrap();
    assert_eq!(server.listener.wait(Some(0)).unwrap_err().status, Status::TimedOut);
    server.runtime.stop(LONG).unwrap();
    server.runtime.stop(0).unwrap();
    server.runtime.stop(LONG).unwrap();
    server.runtime.wait(None).unwrap();
    server.runtime.wait(None).unwrap();
    server.runtime.stop(0).unwrap();
    server.listener.stop(0).unwrap();
    assert_over(&counts);
    assert_eq!(closes(&server.listener)["drain_deadline"], 1);
}

#[test]
fn a_drain_lets_established_connections_finish() {
    for whole in [false, true] {
        let (handler, log) = recorder(false, |conn, event| {
            if let Event::Frames(frames) = event {
                for frame in frames.iter() {
                    conn.send_frame(frame.data, SendFlags::default()).unwrap();
                }
            }
        });
        let server = server("compression=off", "", |listener| {
            listener.on(Protocol::Client, handler).unwrap();
        });
        let mut client = framed(server.address);
        // A frame has begun.
        client.write_all(b"\x00\x00\x00\x05he").unwrap();
        let conn = log.opened();
        wait_until("its bytes", || conn.info().unwrap().bytes_in == 7);
        if whole {
            server.runtime.stop(LONG).unwrap();
        } else {
            server.listener.stop(LONG).unwrap();
        }
        wait_until("refusal", || TcpStream::connect(server.address).is_err());
        client.write_all(b"llo").unwrap();
        assert_eq!(read_frame(&mut client), b"hello");
        client.write_all(&frame(b"again")).unwrap();
        assert_eq!(read_frame(&mut client), b"again");
        client.shutdown(Shutdown::Write).unwrap();
        assert_ends_without_a_byte(&mut client);
        server.listener.wait(None).unwrap();
        if whole {
            server.runtime.wait(None).unwrap();
        }
        assert_eq!(log.closed().reason, CloseReason::PeerClosed);
    }
}

#[test]
fn the_drain_deadline_cuts_with_drain_deadline() {
    for whole in [false, true] {
        let (server, counts) = counting("", "");
        let mut clients: Vec<_> = (0..5).map(|_| framed(server.address)).collect();
        if whole {
            server.runtime.stop(300).unwrap();
            server.runtime.wait(None).unwrap();
        } else {
            server.listener.stop(300).unwrap();
            server.listener.wait(None).unwrap();
        }
        assert_over(&counts);
        assert_eq!(closes(&server.listener)["drain_deadline"], 5);
        clients.iter_mut().for_each(assert_ends_without_a_byte);
    }
}

#[test]
fn the_drain_deadline_cuts_who_does_not_read_and_who_waits_for_admission() {
    let (door, asked) = recorder(false, |_, _| {});
    let (handler, log) = recorder(false, |_, _| {});
    let server = server("compression=off\nsendQueueLimit=1G", "", |listener| {
        listener.on(Protocol::Client, handler.clone()).unwrap();
        listener.on(Protocol::RemoteApplication, handler).unwrap();
        listener.on_admit(door).unwrap();
    });
    let mut waiting = connect(server.address);
    waiting.write_all(&[3]).unwrap();
    asked.next();
    let mut deaf = connect(server.address);
    deaf.write_all(&[1]).unwrap();
    let Told::Admit(conn, ..) = asked.next() else { panic!() };
    conn.admit().unwrap();
    (0..64).for_each(|_| conn.send_frame(&[1; 1 << 20], SendFlags::default()).unwrap());
    server.runtime.stop(200).unwrap();
    server.runtime.wait(None).unwrap();
    assert_eq!(asked.closed().reason, CloseReason::DrainDeadline);
    let info = log.closed();
    assert_eq!(info.reason, CloseReason::DrainDeadline);
    assert!(info.unsent_bytes > 0);
}

#[test]
fn unidentified_connections_end_at_once_when_a_drain_begins() {
    for (keys, rest) in
        [("", ""), (WITH_TLS, TLS_SECTION), ("sslSection=Tls\nssl=auto", TLS_SECTION)]
    {
        let (server, counts) = counting(keys, rest);
        let mut silent: Vec<_> = (0..5).map(|_| connect(server.address)).collect();
        if !keys.is_empty() {
            silent[0].write_all(b"\x16\x03\x01\x00\xf0\x01").unwrap();
        }
        wait_until("all of them", || server.listener.stats().unidentified == 5);
        server.listener.stop(LONG).unwrap();
        server.listener.wait(None).unwrap();
        assert_eq!(closes(&server.listener)["stopped"], 5);
        silent.iter_mut().for_each(assert_ends_without_a_byte);
        assert_eq!(counts.calls.load(Ordering::SeqCst), 0);
    }
}

#[test]
fn a_busy_port_stops_and_everybody_who_was_shown_was_told_the_end() {
    for whole in [false, true] {
        let (server, counts) = counting("compression=off", "");
        let clients = pumping(server.address, 64);
        wait_until("traffic", || server.listener.stats().frames_in > 5000);
        if whole {
            server.runtime.stop(0).unwrap();
            server.runtime.wait(None).unwrap();
        } else {
            server.listener.stop(0).unwrap();
            server.listener.wait(None).unwrap();
        }
        assert_over(&counts);
        assert_eq!(counts.closed.load(Ordering::SeqCst), 64);
        clients.into_iter().for_each(|client| client.join().unwrap());
        let stats = server.listener.stats();
        assert_eq!((stats.accepted, stats.closes.iter().sum()), (64, 64u64));
    }
}

#[test]
fn stopping_while_newcomers_arrive_loses_none_of_them() {
    for (keys, rest) in [("", ""), (WITH_TLS, TLS_SECTION)] {
        let (server, counts) = counting(&format!("accepterThreads=4\n{keys}"), rest);
        let address = server.address;
        let going = Arc::new(AtomicBool::new(true));
        let newcomers: Vec<_> = (0..4)
            .map(|_| {
                let going = going.clone();
                std::thread::spawn(move || {
                    while going.load(Ordering::SeqCst) {
                        let Ok(plain) = TcpStream::connect(address) else { continue };
                        plain.set_read_timeout(Some(PATIENCE)).unwrap();
                        if keys.is_empty() {
                            let _ = (&plain).write_all(&[1]).and_then(|()| (&plain).read(&mut [0]));
                        } else {
                            let mut client = tls_over(plain);
                            let _ = client.write_all(&[1]).and_then(|()| client.read(&mut [0]));
                        }
                    }
                })
            })
            .collect();
        wait_until("some of them", || counts.opened.load(Ordering::SeqCst) > 50);
        server.runtime.stop(0).unwrap();
        server.runtime.wait(None).unwrap();
        going.store(false, Ordering::SeqCst);
        newcomers.into_iter().for_each(|thread| thread.join().unwrap());
        assert_over(&counts);
        let stats = server.listener.stats();
        assert_eq!(stats.accepted, stats.closes.iter().sum::<u64>());
        assert_eq!(stats.unidentified, 0);
    }
}

#[test]
fn stop_works_in_a_callback_where_waiting_gives_in_callback_and_looking_works() {
    type Place = Arc<OnceLock<Arc<Server>>>;
    struct Stopper(Place, Mutex<Vec<(Status, Status, Status, Status)>>);
    impl Handler for Stopper {
        fn on_event(&self, _: Conn, event: Event<'_>) {
            if let (Event::Frames(_), Some(server)) = (event, self.0.get()) {
                server.listener.stop(LONG).unwrap();
                server.runtime.stop(LONG).unwrap();
                let status = |result: Result<(), nativeport::status::Error>| {
                    result.map_or_else(|error| error.status, |()| Status::Ok)
                };
                self.1.lock().unwrap().push((
                    status(server.runtime.wait(None)),
                    status(server.listener.wait(Some(1000))),
                    status(server.runtime.wait(Some(0))),
                    status(server.listener.wait(Some(0))),
                ));
            }
        }
    }
    let place: Place = Arc::default();
    let handler = Arc::new(Stopper(place.clone(), Mutex::default()));
    let kept = handler.clone();
    let server = Arc::new(server("", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    }));
    assert!(place.set(server.clone()).is_ok());
    let mut client = framed(server.address);
    client.write_all(&frame(b"stop")).unwrap();
    wait_until("the answers", || !kept.1.lock().unwrap().is_empty());
    let (in_callback, timed_out) = (Status::InCallback, Status::TimedOut);
    assert_eq!(kept.1.lock().unwrap()[0], (in_callback, in_callback, timed_out, timed_out));
    wait_until("refusal", || TcpStream::connect(server.address).is_err());
    client.shutdown(Shutdown::Write).unwrap();
    server.runtime.wait(None).unwrap();
}

#[test]
fn a_last_destructor_of_the_host_on_a_loop_can_look_for_the_end_and_not_wait_for_it() {
    if is_polled("callbacks run on a thread of the host, which may wait") {
        return;
    }
    type Answers = [Result<(), Status>; 3];
    struct Last(Arc<Runtime>, Sender<Answers>);
    impl Drop for Last {
        fn drop(&mut self) {
            let answer = |ms| self.0.wait(ms).map_err(|error| error.status);
            self.1.send([answer(Some(0)), answer(Some(LONG)), answer(None)]).unwrap();
        }
    }
    thread_local! {
        static LAST: std::cell::RefCell<Option<Last>> = const { std::cell::RefCell::new(None) };
    }
    let config = config("ioThreads=1", "compression=off", "");
    let runtime = Arc::new(runtime_of(&config));
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    let (answers, answered) = channel();
    let (kept, answers) = (runtime.clone(), Mutex::new(answers));
    let (handler, _) = recorder(false, move |_, event| {
        if let Event::Opened { .. } = event {
            LAST.set(Some(Last(kept.clone(), answers.lock().unwrap().clone())));
        }
    });
    listener.on(Protocol::Client, handler).unwrap();
    listener.start().unwrap();
    framed(listener.addresses()[0]);
    runtime.stop(0).unwrap();
    let waiting = runtime.clone();
    let waiter = std::thread::spawn(move || waiting.wait(None).unwrap());
    // Its thread is not gone while this runs, so nobody can say that all has ended.
    let (looks, waits) = (Err(Status::TimedOut), Err(Status::InCallback));
    assert_eq!(answered.recv_timeout(PATIENCE).unwrap(), [looks, waits, waits]);
    waiter.join().unwrap();
}

#[test]
fn dropping_a_listener_in_a_callback_ends_it_without_waiting() {
    struct Dropper(Mutex<Option<Listener>>);
    impl Handler for Dropper {
        fn on_event(&self, _: Conn, event: Event<'_>) {
            if let Event::Frames(_) = event {
                drop(self.0.lock().unwrap().take());
            }
        }
    }
    let config = config("ioThreads=1", "", "");
    let runtime = runtime_of(&config);
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    let handler = Arc::new(Dropper(Mutex::new(None)));
    listener.on(Protocol::Client, handler.clone()).unwrap();
    listener.start().unwrap();
    let mut client = framed(listener.addresses()[0]);
    *handler.0.lock().unwrap() = Some(listener);
    client.write_all(&frame(b"x")).unwrap();
    assert_ends_without_a_byte(&mut client);
    drop(handler);
    runtime.stop(0).unwrap();
    runtime.wait(None).unwrap();
}

#[test]
fn the_closed_callbacks_of_a_stop_may_use_the_api() {
    if is_polled("what nobody has polled when a runtime is freed is told to nobody") {
        return;
    }
    let seen: Arc<Mutex<Vec<CloseInfo>>> = Arc::default();
    let noted = seen.clone();
    let (handler, log) = recorder(false, move |conn, event| {
        if let Event::Closed(info) = event {
            assert_eq!(conn.send_frame(b"x", SendFlags::default()), Err(Status::Closed));
            assert_eq!(conn.close(0), Err(Status::Closed));
            assert_eq!(conn.abort(0), Err(Status::Closed));
            assert!(conn.info().is_ok());
            noted.lock().unwrap().push((*info).clone());
        }
    });
    let server = server("", "", |listener| listener.on(Protocol::Client, handler).unwrap());
    let _clients: Vec<_> = (0..4).map(|_| framed(server.address)).collect();
    for _ in 0..4 {
        log.opened();
    }
    drop(server);
    assert!(seen.lock().unwrap().iter().all(|info| info.reason == CloseReason::DrainDeadline));
    assert_eq!(seen.lock().unwrap().len(), 4);
}

#[test]
fn a_start_that_cannot_be_names_the_listener_the_mistake_and_the_remedy() {
    let (server, _counts) = counting("", "");
    let port = server.listener.addresses()[0].port();
    let refused = |listener: &Listener, status: Status, place: &str, what: &str| {
        let error = listener.start().unwrap_err();
        assert_eq!((error.status, error.message), (status, format!("{place}: error: {what}")));
    };
    let (here, unbound) = (format!("test.ini:4: [Port] port {port}"), "test.ini:4: [Port] port 0");
    let once = "the listener is started already; start it once";
    refused(&server.listener, Status::State, &here, once);
    let late = server.listener.on(Protocol::Relay, Arc::new(Echo)).unwrap_err();
    let what = "the listener is started; register its handlers before np_listener_start";
    assert_eq!((late.status, late.message), (Status::State, format!("{here}: error: {what}")));
    server.listener.stop(0).unwrap();
    let again = "the listener was stopped and cannot start again; make a new one";
    refused(&server.listener, Status::Stopped, &here, again);
    let late = server.listener.on(Protocol::Relay, Arc::new(Echo)).unwrap_err();
    let what = "the listener was stopped; make a new one";
    assert_eq!((late.status, late.message), (Status::State, format!("{here}: error: {what}")));
    let config = config("", "", "");
    let never = Listener::new(&server.runtime, &config, 0).unwrap();
    for early in [never.pause(), never.resume()] {
        let error = early.unwrap_err();
        let what = "the listener is not started yet";
        assert_eq!(
            (error.status, error.message),
            (Status::State, format!("{unbound}: error: {what}"))
        );
    }
    never.stop(0).unwrap();
    never.wait(None).unwrap();
    refused(&never, Status::Stopped, unbound, again);
    let other = Listener::new(&server.runtime, &config, 0).unwrap();
    server.runtime.stop(0).unwrap();
    let over = "the runtime was stopped; make a new one, and the listener on that";
    refused(&other, Status::Stopped, unbound, over);
    server.runtime.wait(None).unwrap();
    refused(&other, Status::Stopped, unbound, over);
}

#[test]
fn a_handler_that_is_replaced_may_call_its_listener_as_it_goes() {
    struct Calls(Arc<Listener>);
    impl Handler for Calls {
        fn on_event(&self, _conn: Conn, _event: Event<'_>) {}
    }
    impl Drop for Calls {
        fn drop(&mut self) {
            self.0.on(Protocol::Relay, Arc::new(Echo)).unwrap();
        }
    }
    let config = config("", "", "");
    let runtime = runtime_of(&config);
    let listener = Arc::new(Listener::new(&runtime, &config, 0).unwrap());
    let gone = Arc::downgrade(&listener);
    listener.on(Protocol::Client, Arc::new(Calls(listener.clone()))).unwrap();
    listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    drop(listener);
    assert!(gone.upgrade().is_none());
}

#[test]
fn a_listener_without_a_handler_does_not_start_and_one_with_some_does() {
    let mut config = Config::new();
    config.add_port("web").unwrap();
    config.set("Port.web", "port", "0").unwrap();
    config.set("Port.web", "bindAddress", "127.0.0.1").unwrap();
    let runtime = runtime_of(&config);
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    // Admission decides about connections and takes none.
    listener.on_admit(Arc::new(Echo)).unwrap();
    let error = listener.start().unwrap_err();
    let what = "the listener has no handler and would close every connection; register one with \
                np_listener_on";
    let message = format!("set by the program: [Port.web] port 0: error: {what}");
    assert_eq!((error.status, error.message), (Status::State, message));
    assert_eq!(listener.addresses(), []);
    listener.on(Protocol::Relay, Arc::new(Echo)).unwrap();
    listener.start().unwrap();
}

#[test]
fn a_stop_that_meets_a_start_ends_the_listener_and_not_the_runtime() {
    let config = config("ioThreads=1", "compression=off", "");
    let runtime = runtime_of(&config);
    for _ in 0..300 {
        let listener = Listener::new(&runtime, &config, 0).unwrap();
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| drop(listener.start()));
            scope.spawn(|| listener.stop(0).unwrap());
        });
        listener.wait(None).unwrap();
    }
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    listener.start().unwrap();
    let mut client = framed(listener.addresses()[0]);
    client.write_all(&frame(b"alive")).unwrap();
    assert_eq!(read_frame(&mut client), b"alive");
}

#[test]
fn a_stop_of_the_runtime_that_meets_a_start_leaves_nobody_waiting() {
    let config = config("ioThreads=1", "compression=off", "");
    for _ in 0..50 {
        let runtime = runtime_of(&config);
        let listener = Listener::new(&runtime, &config, 0).unwrap();
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                if listener.start().is_ok() {
                    let _ = TcpStream::connect(listener.addresses()[0]);
                }
            });
            scope.spawn(|| runtime.stop(0).unwrap());
        });
        runtime.wait(None).unwrap();
        listener.stop(0).unwrap();
        listener.wait(None).unwrap();
    }
}

#[test]
fn a_restart_on_the_same_port_while_connections_sit_in_time_wait_binds() {
    let (server, log) = {
        let (handler, log) = recorder(false, |_, _| {});
        (server("", "", |listener| listener.on(Protocol::Client, handler).unwrap()), log)
    };
    let port = server.address.port();
    for _ in 0..5 {
        let mut client = framed(server.address);
        // Our side ends first, so TIME_WAIT is on it.
        log.opened().close(0).unwrap();
        assert_ends_without_a_byte(&mut client);
        drop(client);
        log.closed();
    }
    let _established = framed(server.address);
    drop(server);
    let table = std::fs::read_to_string("/proc/net/tcp").unwrap_or_default();
    let local = format!(":{port:04X} ");
    let waiting = table.lines().filter(|line| line.contains(&local)).count();
    let mut config = config("", "", "");
    config.set("Port", "port", &port.to_string()).unwrap();
    let runtime = runtime_of(&config);
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    listener.start().unwrap();
    framed(listener.addresses()[0]);
    assert!(table.is_empty() || waiting > 0, "nothing of the old connections was left");
}

#[test]
fn a_taken_port_gives_address_in_use_with_the_section_and_the_start_can_be_tried_again() {
    let (server, _counts) = counting("", "");
    let port = server.address.port();
    let mut config = config("", "", "");
    config.set("Port", "port", &port.to_string()).unwrap();
    let runtime = runtime_of(&config);
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    let error = listener.start().unwrap_err();
    assert_eq!((error.status, error.os_error), (Status::AddressInUse, libc::EADDRINUSE));
    for part in ["[Port]", &port.to_string(), "127.0.0.1"] {
        assert!(error.message.contains(part), "{}", error.message);
    }
    // Nor does it end others of the same runtime.
    let mut other = framed(server.address);
    let beside = Listener::new(&server.runtime, &config, 0).unwrap();
    beside.on(Protocol::Client, Arc::new(Echo)).unwrap();
    assert_eq!(beside.start().unwrap_err().status, Status::AddressInUse);
    other.write_all(&frame(b"goes on")).unwrap();
    assert_eq!(read_frame(&mut other), b"goes on");
    drop((server, beside));
    listener.start().unwrap();
    framed(listener.addresses()[0]);
}

#[test]
fn a_runtime_dropped_with_live_traffic_ends() {
    if is_polled("what nobody has polled when a runtime is freed is told to nobody") {
        return;
    }
    let (server, counts) = counting("compression=off", "");
    let clients = pumping(server.address, 16);
    wait_until("traffic", || server.listener.stats().frames_in > 1000);
    let Server { listener, runtime, .. } = server;
    drop(runtime);
    assert_over(&counts);
    clients.into_iter().for_each(|client| client.join().unwrap());
    drop(listener);
}

#[test]
fn a_listener_may_be_freed_before_and_after_its_runtime() {
    if is_polled("a listener that is freed ends with the polls that follow") {
        return;
    }
    for listener_first in [true, false] {
        for started in [true, false] {
            let config = config("ioThreads=1", "", "");
            let runtime = runtime_of(&config);
            let listener = Listener::new(&runtime, &config, 0).unwrap();
            let counts = Arc::new(Counts::default());
            listener.on(Protocol::Client, Arc::new(Counting(counts.clone()))).unwrap();
            let mut client = None;
            if started {
                listener.start().unwrap();
                client = Some(framed(listener.addresses()[0]));
            }
            if listener_first {
                drop(listener);
                assert_over(&counts);
                drop(runtime);
            } else {
                drop(runtime);
                listener.stats();
                drop(listener);
            }
            assert_over(&counts);
            drop(client);
        }
    }
}

#[test]
fn a_runtime_that_is_gone_leaves_no_descriptor_and_no_thread_behind() {
    if !is_alone("a_runtime_that_is_gone_leaves_no_descriptor_and_no_thread_behind") {
        return;
    }
    let once = || {
        let (server, _counts) = counting("", "");
        let mut client = framed(server.address);
        client.write_all(&frame(b"x")).unwrap();
        read_frame(&mut client);
        let _half = connect(server.address);
        drop(server);
    };
    once();
    let (descriptors, threads) = (count("fd"), count("task"));
    (0..20).for_each(|_| once());
    // The system lists a thread that was joined for a moment longer.
    wait_until("the same threads", || count("task") <= threads);
    wait_until("the same descriptors", || count("fd") <= descriptors);
}

#[test]
fn stop_wakes_a_paused_listener() {
    let (server, counts) = counting("", "");
    server.listener.pause().unwrap();
    server.listener.stop(LONG).unwrap();
    server.listener.wait(None).unwrap();
    assert_over(&counts);
}

#[test]
fn a_start_that_fails_leaves_a_polled_runtime_free_for_loops() {
    let config = config("ioThreads=1", "", "");
    let runtime = Runtime::with_consumer(&config, Consumer::Poll).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    let error = listener.start().unwrap_err();
    assert_eq!(error.status, Status::State);
    assert!(error.message.contains("np_loop_new"), "{}", error.message);
    let polled = PollLoop::new(&runtime, Box::new(vec![0; 64 << 10])).unwrap();
    // Nor is it in use after a start that has failed for another reason.
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let text =
        format!("[Port]\nbindAddress=127.0.0.1\nport={}\n", taken.local_addr().unwrap().port());
    let mut other = Config::new();
    other.load_string(text.as_bytes(), "taken.ini").unwrap();
    let blocked = Listener::new(&runtime, &other, 0).unwrap();
    blocked.on(Protocol::Client, Arc::new(Echo)).unwrap();
    assert_eq!(blocked.start().unwrap_err().status, Status::AddressInUse);
    polled.retire().unwrap();
    let _polled = PollLoop::new(&runtime, Box::new(vec![0; 64 << 10])).unwrap();
    listener.start().unwrap();
}

#[test]
fn a_start_that_fails_leaves_no_socket_behind() {
    if !is_alone("a_start_that_fails_leaves_no_socket_behind") {
        return;
    }
    let config = config("ioThreads=1", "", "");
    let runtime = Runtime::with_consumer(&config, Consumer::Poll).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    let before = count("fd");
    // It listens already when the missing loop is noticed.
    assert_eq!(listener.start().unwrap_err().status, Status::State);
    assert_eq!(count("fd"), before);
}

/// Runs the test of this name in a process of its own, in which no other test opens
/// descriptors, starts threads or forks. True: this is that process.
fn is_alone(name: &str) -> bool {
    if std::env::var_os("NATIVEPORT_TEST_ALONE").is_some() {
        return true;
    }
    let program = std::env::current_exe().unwrap();
    let status = std::process::Command::new(program)
        .args(["--exact", name])
        .env("NATIVEPORT_TEST_ALONE", "1")
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
    false
}

#[test]
fn after_a_stop_nobody_is_accepted_and_the_address_can_be_bound_at_once() {
    // A process that another test starts would hold a copy of the socket for a moment.
    if !is_alone("after_a_stop_nobody_is_accepted_and_the_address_can_be_bound_at_once") {
        return;
    }
    let mut config = config("ioThreads=1", "accepterThreads=2", "");
    // Not the address that clients have: one of them must not take the port for itself.
    config.set("Port", "bindAddress", "127.0.0.9").unwrap();
    let runtime = runtime_of(&config);
    let start = |config: &Config| {
        let listener = Listener::new(&runtime, config, 0).unwrap();
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        listener.start().unwrap();
        listener
    };
    let mut listener = start(&config);
    let address = listener.addresses()[0];
    config.set("Port", "port", &address.port().to_string()).unwrap();
    let going = AtomicBool::new(true);
    std::thread::scope(|scope| {
        let _ends = Ends(&going);
        for _ in 0..2 {
            scope.spawn(|| {
                while going.load(Ordering::SeqCst) {
                    let Ok(mut client) = TcpStream::connect(address) else { continue };
                    let _ = client.write_all(&[1]);
                    reset(client);
                }
            });
        }
        for _ in 0..200 {
            wait_until("accepts", || listener.stats().accepted > 0);
            listener.stop(0).unwrap();
            let refused = TcpStream::connect(address).expect_err("accepted after a stop");
            assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused, "{refused}");
            listener = start(&config);
        }
    });
}

/// Ends threads, also those of a test that fails.
struct Ends<'a>(&'a AtomicBool);

impl Drop for Ends<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::SeqCst);
    }
}

#[test]
fn a_listener_that_was_waited_for_has_no_descriptor_left() {
    if !is_alone("a_listener_that_was_waited_for_has_no_descriptor_left") {
        return;
    }
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let config = config("ioThreads=1", "accepterThreads=4", "");
    let runtime = runtime_of(&config);
    let before = descriptors();
    for _ in 0..100 {
        let listener = Listener::new(&runtime, &config, 0).unwrap();
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        listener.start().unwrap();
        listener.stop(0).unwrap();
        listener.wait(None).unwrap();
        assert_eq!(descriptors(), before);
    }
}

#[test]
fn in_the_child_of_a_fork_a_listener_and_a_loop_that_are_dropped_are_left_alone() {
    let name = "in_the_child_of_a_fork_a_listener_and_a_loop_that_are_dropped_are_left_alone";
    if !is_alone(name) {
        return;
    }
    let config = config("ioThreads=1", "", "");
    let runtime = Runtime::with_consumer(&config, Consumer::Poll).unwrap();
    let polled = PollLoop::new(&runtime, Box::new(vec![0; 64 << 10])).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    let unused = Runtime::with_consumer(&config, Consumer::Poll).unwrap();
    let retired = PollLoop::new(&unused, Box::new(vec![0; 64 << 10])).unwrap();
    listener.start().unwrap();
    let address = listener.addresses()[0];
    let descriptors = || std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count);
    let before = descriptors();
    // SAFETY: the child calls what it may call by what is tested, and then ends at once.
    #[allow(unsafe_code)]
    let child = unsafe { libc::fork() };
    if child == 0 {
        // SAFETY: it has no preconditions. A child that hangs is ended.
        #[allow(unsafe_code)]
        unsafe {
            libc::alarm(60);
        }
        let refused = |answer: Result<(), nativeport::status::Error>| {
            answer.is_err_and(|error| error.status == Status::State)
        };
        let mut good = refused(retired.retire());
        good &= polled.poll(1, Some(0), |_| ()) == Err(Status::State);
        drop(listener);
        drop(runtime);
        good &= descriptors() == before;
        // SAFETY: nothing of this process is to run any more.
        #[allow(unsafe_code)]
        unsafe {
            libc::_exit(i32::from(!good))
        }
    }
    let mut status = -1;
    // SAFETY: the child is ours, and the place for its status is there.
    #[allow(unsafe_code)]
    let waited = unsafe { libc::waitpid(child, &raw mut status, 0) };
    assert_eq!((waited, status), (child, 0));
    // The parent's are as they were.
    retired.retire().unwrap();
    let mut client = connect(address);
    client.write_all(&[1]).unwrap();
    while listener.stats().opened[Protocol::Client.index()] == 0 {
        polled.poll(64, Some(1000), |batch| batch.for_each(drop)).unwrap();
    }
}

#[test]
fn a_loop_that_is_retired_gives_its_descriptors_back_at_once() {
    if !is_alone("a_loop_that_is_retired_gives_its_descriptors_back_at_once") {
        return;
    }
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let config = config("ioThreads=1", "", "");
    let runtime = Runtime::with_consumer(&config, Consumer::Poll).unwrap();
    let before = descriptors();
    let polled = PollLoop::new(&runtime, Box::new(vec![0; 64 << 10])).unwrap();
    let made = descriptors();
    for _ in 0..2 {
        polled.retire().unwrap();
        // Its waker belongs to those who may still wake it.
        assert_eq!(descriptors(), made - 1);
        assert_eq!(polled.poll(1, Some(0), |_| ()), Err(Status::Stopped));
    }
    drop(polled);
    assert_eq!(descriptors(), before);
    // It is counted as ended once: the runtime ends with the last of the others.
    let other = PollLoop::new(&runtime, Box::new(vec![0; 64 << 10])).unwrap();
    runtime.stop(0).unwrap();
    assert_eq!(runtime.wait(Some(0)).unwrap_err().status, Status::TimedOut);
    assert_eq!(other.poll(1, None, |_| ()), Err(Status::Stopped));
    runtime.wait(None).unwrap();
}

/// The value of a counter in the text of a runtime, for this section.
fn told(text: &str, name: &str, section: &str) -> Vec<u64> {
    let start = format!("nativeport_{name}{{port=");
    let lines = text.lines().filter(|line| line.starts_with(&start));
    let of = lines.filter(|line| line.contains(&format!("section=\"{section}\"")));
    of.map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap()).collect()
}

#[test]
fn restarts_on_any_port_neither_lengthen_the_metrics_nor_set_counters_back() {
    let config = config("ioThreads=1", "", "");
    let runtime = runtime_of(&config);
    let (mut longest, mut before, mut ports) = (0, 0, HashSet::new());
    let mut is_with_others = false;
    for round in 1..=100 {
        let listener = Listener::new(&runtime, &config, 0).unwrap();
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        listener.start().unwrap();
        let address = listener.addresses()[0];
        framed(address);
        // After so many ports, or with one that it has left, the section's own label stays the same.
        is_with_others |=
            address.port() != before && (ports.len() >= 64 || !ports.insert(address.port()));
        before = address.port();
        for _ in 0..2 {
            let text = runtime.prometheus();
            assert_eq!(told(&text, "accepts_total", "Port"), [round]);
            let port = if is_with_others { "other".to_owned() } else { address.port().to_string() };
            let labels = format!("{{port=\"{port}\",map_to_port=\"{port}\",section=\"Port\"}}");
            assert!(text.contains(&labels), "{address}: {text}");
            if round == 1 {
                longest = text.len();
            }
            // Numbers get longer, by a digit or two.
            assert!(text.len() < longest + 100, "{} bytes in round {round}", text.len());
            listener.stop(0).unwrap();
            listener.wait(None).unwrap();
        }
    }
}

/// A series that vanishes or is new is nothing to who compares scrapes; one that was there must not go on with what others
/// had counted.
fn assert_follows(before: &str, after: &str, clients: u64) {
    let series = |text: &str| -> HashMap<String, u64> {
        let lines = text.lines().filter(|line| line.starts_with("nativeport_accepts_total{"));
        let pairs = lines.map(|line| line.rsplit_once(' ').unwrap());
        pairs.map(|(labels, count)| (labels.to_owned(), count.parse().unwrap())).collect()
    };
    let (before, after) = (series(before), series(after));
    for (labels, count) in &after {
        if let Some(earlier) = before.get(labels) {
            assert!((*earlier..=earlier + clients).contains(count), "{labels}: {earlier}, {count}");
        }
    }
    let all = |series: &HashMap<String, u64>| series.values().sum::<u64>();
    assert_eq!(all(&after), all(&before) + clients);
}

#[test]
fn listeners_of_one_section_at_once_have_a_bounded_number_of_labels() {
    const MOST: usize = 65;
    let config = config("ioThreads=1", "", "");
    let runtime = runtime_of(&config);
    let mut seen = HashSet::new();
    let mut before = String::new();
    for round in 0..3 {
        let mut running = Vec::new();
        for _ in 0..100 {
            let listener = Listener::new(&runtime, &config, 0).unwrap();
            listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
            listener.start().unwrap();
            framed(listener.addresses()[0]);
            let text = runtime.prometheus();
            assert_follows(&before, &text, 1);
            before = text;
            running.push(listener);
        }
        for listener in running {
            listener.stop(0).unwrap();
            listener.wait(None).unwrap();
            let text = runtime.prometheus();
            assert_follows(&before, &text, 0);
            before = text;
        }
        let lines = before.lines().filter(|line| line.starts_with("nativeport_accepts_total{"));
        seen.extend(lines.map(|line| line.rsplit_once(' ').unwrap().0.to_owned()));
        assert!(seen.len() <= MOST, "{} labels after round {round}", seen.len());
    }
    assert_eq!(runtime.stats().accepted, 300);
}

#[test]
fn listeners_under_ever_new_names_have_a_bounded_number_of_labels() {
    let mut config = config("ioThreads=1", "", "");
    let runtime = runtime_of(&config);
    for number in 1..=100 {
        config.set("Port", "mapToPort", &number.to_string()).unwrap();
        let listener = Listener::new(&runtime, &config, 0).unwrap();
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        listener.start().unwrap();
        framed(listener.addresses()[0]);
        listener.stop(0).unwrap();
        listener.wait(None).unwrap();
    }
    let counts = told(&runtime.prometheus(), "accepts_total", "Port");
    assert_eq!(counts, [&[1; 64][..], &[36]].concat());
    assert_eq!(runtime.stats().accepted, 100);
}

#[test]
fn sections_under_ever_new_names_have_a_bounded_number_of_labels() {
    let section = |number| format!("[Port.{number}]\nport=0\nbindAddress=127.0.0.1\n");
    let config = config("ioThreads=1", "", &(1..100).map(section).collect::<String>());
    let runtime = runtime_of(&config);
    for round in 1..=2 {
        for index in 0..100 {
            let listener = Listener::new(&runtime, &config, index).unwrap();
            listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
            listener.start().unwrap();
            framed(listener.addresses()[0]);
            listener.stop(0).unwrap();
            listener.wait(None).unwrap();
        }
        let text = runtime.prometheus();
        for number in 1..64 {
            assert_eq!(told(&text, "accepts_total", &format!("Port.{number}")), [round]);
        }
        assert_eq!(told(&text, "accepts_total", "other"), [36 * round]);
    }
}

/// How the lines of a port begin, behind the name of the counter.
fn labels(port: u16, mapped: u16) -> String {
    format!("{{port=\"{port}\",map_to_port=\"{mapped}\",section=\"Port\"}} ")
}

#[test]
fn the_labels_of_a_port_are_the_bound_one_and_map_to_port() {
    // A free port of an address that clients do not have.
    let address = "127.0.0.10";
    let free = std::net::TcpListener::bind((address, 0)).unwrap().local_addr().unwrap().port();
    for (port, mapped) in
        [(free, ""), (free, "mapToPort=0"), (0, "mapToPort=0"), (0, ""), (0, "mapToPort=443")]
    {
        let lines = format!("{mapped}\nbindAddress={address}");
        let mut config = config("ioThreads=1", &lines, "");
        config.set("Port", "port", &port.to_string()).unwrap();
        let runtime = runtime_of(&config);
        let listener = Listener::new(&runtime, &config, 0).unwrap();
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        listener.start().unwrap();
        let bound = listener.addresses()[0].port();
        let outside = if mapped.ends_with("443") { 443 } else { bound };
        let line = format!("nativeport_accepts_total{}0", labels(bound, outside));
        let text = runtime.prometheus();
        assert!(text.lines().any(|other| other == line), "{line} is not in {text}");
    }
}

#[test]
fn two_listeners_of_one_section_have_their_own_lines_and_a_third_goes_on_with_an_ended_one() {
    let config = config("ioThreads=1", "", "");
    let runtime = runtime_of(&config);
    let started = |clients: usize| {
        let listener = Listener::new(&runtime, &config, 0).unwrap();
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        listener.start().unwrap();
        let address = listener.addresses()[0];
        (0..clients).for_each(|_| drop(framed(address)));
        (listener, address.port())
    };
    let lines = |of: &[(u16, u64)]| {
        let text = runtime.prometheus();
        assert_eq!(told(&text, "accepts_total", "Port").len(), of.len(), "{text}");
        for (port, accepted) in of {
            let line = format!("nativeport_accepts_total{}{accepted}", labels(*port, *port));
            assert!(text.lines().any(|other| other == line), "{line} is not in {text}");
        }
    };
    let (first, a) = started(1);
    let (_second, b) = started(2);
    lines(&[(a, 1), (b, 2)]);
    first.stop(0).unwrap();
    first.wait(None).unwrap();
    lines(&[(a, 1), (b, 2)]);
    let (_third, c) = started(4);
    lines(&[(c, 5), (b, 2)]);
}

#[test]
fn a_drain_that_cuts_what_the_host_had_closed_counts_as_drain_deadline_if_bytes_are_lost() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server("compression=off\nsendQueueLimit=1G", "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    let deaf = framed(server.address);
    let cut = log.opened();
    (0..64).for_each(|_| cut.send_frame(&[1; 1 << 20], SendFlags::default()).unwrap());
    cut.close(7).unwrap();
    server.listener.stop(100).unwrap();
    server.listener.wait(None).unwrap();
    let info = log.closed();
    assert_eq!((info.reason, info.by), (CloseReason::DrainDeadline, Party::Library));
    assert_eq!(info.host_code, 7);
    assert!(info.unsent_bytes > 0);
    let stats = server.listener.stats();
    assert_eq!(stats.bytes_unsent, info.unsent_bytes);
    assert_eq!(closes(&server.listener), [("drain_deadline", 1)].into());
    drop(deaf);
}

#[test]
fn a_log_can_be_set_during_a_drain_and_not_after_the_end() {
    if is_polled("records are events there") {
        return;
    }
    struct Lines(Arc<Mutex<Vec<String>>>);
    impl Sink for Lines {
        fn log(&mut self, record: &Record<'_>) {
            self.0.lock().unwrap().push(record.text.to_owned());
        }
    }
    let (server, _counts) = counting("", "");
    let client = framed(server.address);
    server.runtime.stop(LONG).unwrap();
    let lines: Arc<Mutex<Vec<String>>> = Arc::default();
    server.runtime.set_log(Level::Info, Some(Box::new(Lines(lines.clone())))).unwrap();
    drop(client);
    server.runtime.wait(None).unwrap();
    assert!(lines.lock().unwrap().iter().any(|line| line.contains("peer_closed")));
    let late = server.runtime.set_log(Level::Info, Some(Box::new(Lines(lines.clone()))));
    assert_eq!(late.unwrap_err().status, Status::Stopped);
    assert_eq!(Arc::strong_count(&lines), 1, "the sink was let go");
}

#[test]
fn the_level_of_polled_records_can_be_set_during_a_drain_and_not_after_the_end() {
    let config = config("ioThreads=1", "", "");
    let runtime = Runtime::with_consumer(&config, Consumer::Poll).unwrap();
    let polled = PollLoop::new(&runtime, Box::new(vec![0; 64 << 10])).unwrap();
    runtime.stop(LONG).unwrap();
    runtime.set_log(Level::Info, None).unwrap();
    assert_eq!(polled.poll(1, None, |_| ()), Err(Status::Stopped));
    runtime.wait(None).unwrap();
    assert_eq!(runtime.set_log(Level::Info, None).unwrap_err().status, Status::Stopped);
}

#[test]
fn a_crowd_that_is_ended_by_a_stop_leaves_the_others_of_its_loop_their_turns() {
    if is_off_the_loop("it counts what happens in turns of a loop") {
        return;
    }
    const CROWD: usize = 350;
    /// Says that it has begun to be told ends, and goes on when it may.
    struct Ending {
        closed: Arc<AtomicUsize>,
        begun: Mutex<Sender<()>>,
        goes_on: Mutex<Receiver<()>>,
    }
    impl Handler for Ending {
        fn on_event(&self, _: Conn, event: Event<'_>) {
            if let Event::Closed(_) = event
                && self.closed.fetch_add(1, Ordering::SeqCst) == 0
            {
                self.begun.lock().unwrap().send(()).unwrap();
                let _ = self.goes_on.lock().unwrap().recv();
            }
        }
    }
    let config = config("ioThreads=1", "maxConnectionsPerAddress=0", "");
    let runtime = runtime_of(&config);
    let crowd = Listener::new(&runtime, &config, 0).unwrap();
    let closed = Arc::new(AtomicUsize::new(0));
    let ((begun, has_begun), (go_on, goes_on)) = (channel(), channel());
    let (begun, goes_on) = (Mutex::new(begun), Mutex::new(goes_on));
    crowd
        .on(Protocol::Client, Arc::new(Ending { closed: closed.clone(), begun, goes_on }))
        .unwrap();
    crowd.start().unwrap();
    let other = Listener::new(&runtime, &config, 0).unwrap();
    let seen = closed.clone();
    let (handler, log) = recorder(false, move |conn, event| {
        if let Event::Frames(_) = event {
            let closed = seen.load(Ordering::SeqCst) as u32;
            conn.send_frame(&closed.to_be_bytes(), SendFlags::default()).unwrap();
        }
    });
    other.on(Protocol::Client, handler).unwrap();
    other.start().unwrap();
    let mut bystander = framed(other.addresses()[0]);
    log.opened();
    let clients: Vec<_> = (0..CROWD).map(|_| framed(crowd.addresses()[0])).collect();
    crowd.stop(0).unwrap();
    has_begun.recv_timeout(PATIENCE).unwrap();
    // It is there before the turn that tells these ends is over.
    bystander.write_all(&frame(b"how many?")).unwrap();
    go_on.send(()).unwrap();
    let closed_before = u32::from_be_bytes(read_frame(&mut bystander).try_into().unwrap());
    assert!(closed_before <= 256, "{closed_before} ends in one turn");
    crowd.wait(None).unwrap();
    assert_eq!(closed.load(Ordering::SeqCst), CROWD);
    assert_eq!(closes(&crowd), [("drain_deadline", CROWD as u64)].into());
    drop(clients);
}

#[test]
fn a_second_stop_shortens_the_drain_of_a_crowd_that_is_still_hearing_of_the_first() {
    let (server, counts) = counting("maxConnectionsPerAddress=0", "");
    let clients: Vec<_> = (0..350).map(|_| framed(server.address)).collect();
    for drain_ms in (0..200).rev() {
        server.listener.stop(LONG * drain_ms).unwrap();
    }
    if server.listener.wait(Some(PATIENCE.as_millis() as u64)).is_err() {
        // Its destructor would wait for ever.
        std::mem::forget(server);
        panic!("{} of 350 have ended", counts.closed.load(Ordering::SeqCst));
    }
    assert_over(&counts);
    assert_eq!(closes(&server.listener)["drain_deadline"], 350);
    drop(clients);
}

#[test]
fn what_a_loop_had_taken_for_sending_is_counted_when_it_is_dropped() {
    let config = config("", "compression=off", "");
    let runtime = Runtime::with_consumer(&config, Consumer::Poll).unwrap();
    let polled = PollLoop::new(&runtime, Box::new(vec![0; 64 << 10])).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    listener.start().unwrap();
    let mut client = connect(listener.addresses()[0]);
    client.write_all(&[1]).unwrap();
    while listener.stats().opened[Protocol::Client.index()] == 0 {
        polled.poll(64, Some(1000), |batch| batch.for_each(drop)).unwrap();
    }
    let [conn] = runtime.connections()[..] else { panic!("one connection") };
    (0..5).for_each(|_| conn.send_frame(b"hello", SendFlags::default()).unwrap());
    drop(polled);
    let stats = listener.stats();
    assert_eq!((stats.frames_out, stats.bytes_out, stats.bytes_unsent), (5, 1, 45));
}

#[test]
fn a_crowd_is_ended_by_a_stop_although_nothing_else_wakes_its_loop() {
    let counts = Arc::new(Counts::default());
    let handler = Arc::new(Counting(counts.clone()));
    // There is no deadline that would wake it.
    let keys = "maxConnectionsPerAddress=0\nreadTimeout=0\nidleTimeout=0";
    let server = server_with("ioThreads=1", keys, "", |listener| {
        listener.on(Protocol::Client, handler).unwrap();
    });
    let clients: Vec<_> = (0..350).map(|_| framed(server.address)).collect();
    server.listener.stop(0).unwrap();
    if server.listener.wait(Some(PATIENCE.as_millis() as u64)).is_err() {
        // Its destructor would wait for ever.
        std::mem::forget(server);
        panic!("{} of 350 have ended", counts.closed.load(Ordering::SeqCst));
    }
    assert_over(&counts);
    assert_eq!(closes(&server.listener), [("drain_deadline", 350)].into());
    drop(clients);
}
