//! Defects on purpose: a panic of ours at each site of a connection ends that connection, and
//! nothing else.

#[path = "../tests/support/mod.rs"]
mod support;

use crate::base::fault::{BEFORE_THREAD, Site, THREADS};
use crate::capi::handle::np_conn;
use crate::capi::send::np_conn_send_frame;
use crate::conn::handles::Conn;
use crate::event::{Event, Handler, Protocol};
use crate::runtime::PollLoop;
use crate::runtime::listener::Listener;
use crate::runtime::{Consumer, Runtime};
use crate::status::{CloseReason, Error, Status};
use crossbeam_channel::{Receiver, Sender, unbounded};
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use support::*;

/// Echoes with functions of the C API, asks itself for admission, counts.
#[derive(Default)]
struct Counting {
    opened: AtomicUsize,
    closed: AtomicUsize,
    internal: AtomicUsize,
}

impl Handler for Counting {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        match event {
            Event::Admit { .. } => conn.admit().unwrap(),
            Event::Opened { .. } => drop(self.opened.fetch_add(1, Ordering::SeqCst)),
            Event::Frames(frames) => {
                for frame in frames.iter() {
                    let status = send(conn, frame.data);
                    assert!([Status::Ok, Status::Panic].map(Status::code).contains(&status));
                }
            }
            Event::Closed(info) => {
                self.closed.fetch_add(1, Ordering::SeqCst);
                if info.reason == CloseReason::Internal {
                    self.internal.fetch_add(1, Ordering::SeqCst);
                }
            }
            _ => {}
        }
    }
}

#[allow(unsafe_code)]
fn send(conn: Conn, data: &[u8]) -> i32 {
    // SAFETY: the data is there for the call.
    unsafe { np_conn_send_frame(np_conn { id: conn.raw() }, data.as_ptr(), data.len(), 0) }
}

struct Scene {
    handler: Arc<Counting>,
    listener: Listener,
    runtime: Runtime,
    address: SocketAddr,
    /// A port that meets no defect, on the same loops.
    healthy: Listener,
}

fn scene(loops: usize) -> Scene {
    let keys = format!("{WITH_TLS}\nssl=auto\nidleTimeout=1000\ncompression=off");
    let config = config(&format!("ioThreads={loops}\nhandshakeThreads=1"), &keys, TLS_SECTION);
    let runtime = Runtime::new(&config).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    let handler = Arc::new(Counting::default());
    listener.on(Protocol::Client, handler.clone()).unwrap();
    listener.on_admit(handler.clone()).unwrap();
    listener.start().unwrap();
    let address = listener.addresses()[0];
    let healthy = Listener::new(&runtime, &support::config("", "", ""), 0).unwrap();
    healthy.on(Protocol::Client, Arc::new(Counting::default())).unwrap();
    healthy.start().unwrap();
    Scene { handler, listener, runtime, address, healthy }
}

fn echoes(client: &mut (impl Read + Write)) {
    client.write_all(&frame(b"hello")).unwrap();
    assert_eq!(read_frame(client), b"hello");
}

/// What a client does to come to any site; it may end at each of them.
fn whole_way(scene: &Scene) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(scene.address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut client = tls_over(stream.try_clone()?);
    client.write_all(&[1])?;
    client.read_exact(&mut [0])?;
    client.write_all(&frame(b"hello"))?;
    client.read_exact(&mut [0; 9])?;
    for conn in scene.runtime.connections() {
        // Another thread's send; both connections get it.
        send(conn, b"again");
    }
    client.read_exact(&mut [0; 9])?;
    // Until idleTimeout.
    match stream.read(&mut [0; 100])? {
        0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(()),
    }
}

fn internal(scene: &Scene) -> u64 {
    scene.listener.stats().closes[CloseReason::Internal.code() as usize]
}

/// A panic there ends a connection with `internal`, and the others go on.
fn ends_one_connection(site: Site) {
    let scene = scene(1);
    let mut bystander = framed(scene.healthy.addresses()[0]);
    scene.listener.arm(site, 0);
    let _ = whole_way(&scene);
    wait_until("the end by a defect", || internal(&scene) == 1);
    // It may have been sent to by the other.
    bystander.write_all(&frame(b"hello")).unwrap();
    while read_frame(&mut bystander) != b"hello" {}
    // Those who come after it, plain and TLS, are served.
    let mut plain = framed(scene.address);
    let mut tls = tls_framed(scene.address);
    echoes(&mut plain);
    echoes(&mut tls);
    assert_eq!(internal(&scene), 1, "{site:?}");
    drop((plain, tls, bystander));
    scene.runtime.stop(2000).unwrap();
    scene.runtime.wait(Some(PATIENCE.as_millis() as u64)).expect("no hang at stop");
    let stats = scene.listener.stats();
    assert_eq!(stats.accepted, stats.closes.iter().sum::<u64>(), "{site:?}");
    assert_eq!(stats.unidentified, 0);
    assert_eq!(stats.open.iter().sum::<u64>(), 0, "{site:?}");
    assert_eq!(stats.memory_bytes, 0);
    let told = |count: &AtomicUsize| count.load(Ordering::SeqCst);
    let Counting { opened, closed, .. } = &*scene.handler;
    // One that has met its end at admission was asked about and not opened.
    let unopened = usize::from(site == Site::Admit);
    assert_eq!(told(closed), told(opened) + unopened, "{site:?}");
    assert!(scene.runtime.connections().is_empty());
    assert_eq!(Arc::strong_count(&scene.handler), 1, "{site:?}: the handler was let go");
}

#[test]
fn a_defect_while_accepting_ends_that_connection() {
    ends_one_connection(Site::Accept);
    ends_one_connection(Site::Deal);
}

#[test]
fn a_defect_while_accepting_costs_those_who_came_together_nothing() {
    let scene = scene(1);
    scene.listener.pause().unwrap();
    let clients: Vec<TcpStream> = (0..10).map(|_| connect(scene.address)).collect();
    scene.listener.arm(Site::Accept, 5);
    scene.listener.resume().unwrap();
    let served = clients
        .into_iter()
        .filter_map(|mut client| {
            client.write_all(&[1]).ok()?;
            client.read_exact(&mut [0]).ok()
        })
        .count();
    assert_eq!((served, internal(&scene)), (9, 1));
}

#[test]
fn a_defect_in_a_tls_handshake_ends_that_connection() {
    ends_one_connection(Site::Tls);
}

#[test]
fn a_defect_while_identifying_ends_that_connection() {
    ends_one_connection(Site::Identify);
}

#[test]
fn a_defect_while_admitting_ends_that_connection() {
    ends_one_connection(Site::Admit);
}

#[test]
fn a_defect_while_decoding_ends_that_connection() {
    ends_one_connection(Site::Decode);
}

#[test]
fn a_defect_while_delivering_ends_that_connection() {
    ends_one_connection(Site::Deliver);
}

#[test]
fn a_defect_in_a_send_ends_that_connection_and_the_call_answers_panic() {
    ends_one_connection(Site::Encode);
    ends_one_connection(Site::ForeignEncode);
}

#[test]
fn a_defect_while_flushing_ends_that_connection() {
    ends_one_connection(Site::Flush);
}

#[test]
fn a_defect_at_a_deadline_ends_that_connection() {
    ends_one_connection(Site::Timer);
}

#[test]
fn a_defect_while_closing_ends_that_connection_once() {
    ends_one_connection(Site::Close);
}

#[test]
fn a_defect_after_the_end_was_told_tells_it_no_second_time() {
    let scene = scene(1);
    let mut bystander = framed(scene.address);
    let client = framed(scene.address);
    scene.listener.arm(Site::Closed, 0);
    drop(client);
    wait_until("the end", || scene.listener.stats().closes.iter().sum::<u64>() == 1);
    echoes(&mut bystander);
    drop(bystander);
    scene.runtime.stop(2000).unwrap();
    scene.runtime.wait(Some(PATIENCE.as_millis() as u64)).expect("no hang at stop");
    assert_eq!(scene.handler.opened.load(Ordering::SeqCst), 2);
    assert_eq!(scene.handler.closed.load(Ordering::SeqCst), 2);
}

#[test]
fn a_defect_of_a_loop_itself_ends_its_connections_and_the_other_loops_go_on() {
    let scene = scene(2);
    let mut clients: Vec<TcpStream> = (0..6).map(|_| framed(scene.address)).collect();
    // The handshake loop is the first to meet newcomers here, so a port without TLS.
    let config = config("", "idleTimeout=0", "");
    let plain = Listener::new(&scene.runtime, &config, 0).unwrap();
    let handler = Arc::new(Counting::default());
    plain.on(Protocol::Client, handler.clone()).unwrap();
    plain.start().unwrap();
    plain.arm(Site::Loop, 0);
    let mut struck = connect(plain.addresses()[0]);
    let _ = struck.write_all(&[1]);
    assert_ends_without_a_byte(&mut struck);
    let alive = clients
        .iter_mut()
        .filter_map(|client| {
            client.write_all(&frame(b"hello")).ok()?;
            client.read_exact(&mut [0; 9]).ok()
        })
        .count();
    assert_eq!(alive, 3);
    wait_until("three ends", || scene.handler.internal.load(Ordering::SeqCst) == 3);
    for _ in 0..5 {
        echoes(&mut framed(plain.addresses()[0]));
    }
    drop(clients);
    scene.runtime.stop(2000).unwrap();
    scene.runtime.wait(Some(PATIENCE.as_millis() as u64)).expect("no hang at stop");
    for listener in [&plain, &scene.listener] {
        let stats = listener.stats();
        assert_eq!(stats.accepted, stats.closes.iter().sum::<u64>());
    }
}

#[test]
fn a_polled_loop_that_a_defect_has_ended_tells_its_ends_and_then_that_it_is_over() {
    let config = config("", "", "");
    let runtime = Runtime::with_consumer(&config, Consumer::Poll).unwrap();
    let polled = PollLoop::new(&runtime, Box::new(vec![0; 64 << 10])).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Counting::default())).unwrap();
    listener.start().unwrap();
    let mut client = connect(listener.addresses()[0]);
    client.write_all(&[1]).unwrap();
    while listener.stats().opened[Protocol::Client.index()] == 0 {
        polled.poll(64, Some(1000), |batch| batch.for_each(drop)).unwrap();
    }
    listener.arm(Site::Loop, 0);
    let _struck = connect(listener.addresses()[0]);
    let mut rounds = 0;
    while polled.poll(64, Some(1000), |batch| batch.for_each(drop)).is_ok() {
        rounds += 1;
        assert!(rounds < 10, "it goes on");
    }
    assert_eq!(listener.stats().closes[CloseReason::Internal.code() as usize], 2);
}

/// Echoes; says that it waits at such a frame, until it may go on.
struct Waiting(Sender<()>, Receiver<()>);

impl Handler for Waiting {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        if let Event::Frames(frames) = &event
            && frames.iter().any(|frame| frame.data == b"wait")
        {
            self.0.send(()).unwrap();
            let _ = self.1.recv();
        }
        Echo.on_event(conn, event);
    }
}

#[test]
fn a_loop_that_has_ended_takes_no_newcomers_whatever_the_others_do() {
    let config = config("ioThreads=2", "compression=off", "");
    let runtime = Runtime::new(&config).unwrap();
    // Dropped before the runtime, which would wait for its callback for ever if the test fails.
    let ((waits, waiting), (go_on, goes_on)) = (unbounded(), unbounded());
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Waiting(waits, goes_on))).unwrap();
    listener.start().unwrap();
    let address = listener.addresses()[0];
    listener.arm(Site::Loop, 0);
    assert_ends_without_a_byte(&mut connect(address));
    // The other one is held up, and has as many newcomers as it may have.
    let mut held = framed(address);
    held.write_all(&frame(b"wait")).unwrap();
    waiting.recv_timeout(PATIENCE).unwrap();
    let mut crowd: Vec<TcpStream> = (0..200).map(|_| connect(address)).collect();
    for client in &mut crowd {
        client.write_all(&[1]).unwrap();
    }
    wait_until("as many as may be", || listener.stats().accepted == 2 + 128);
    go_on.send(()).unwrap();
    for client in &mut crowd {
        assert_eq!(read_exact(client, 1), [1]);
    }
    // The last one ends too: nobody is left to wait for what does not come.
    listener.arm(Site::Loop, 0);
    for _ in 0..200 {
        assert_ends_without_a_byte(&mut connect(address));
    }
}

#[test]
fn who_waits_for_a_listener_or_its_runtime_waits_for_the_threads_of_its_accepters() {
    for whole in [false, true] {
        let scene = scene(1);
        let gone = Arc::new(AtomicUsize::new(0));
        let last = gone.clone();
        scene.listener.set_last_act(move || {
            // It has left its port: nothing but its thread is left of it.
            std::thread::sleep(Duration::from_millis(100));
            last.store(1, Ordering::SeqCst);
        });
        if whole {
            scene.runtime.stop(0).unwrap();
            scene.runtime.wait(None).unwrap();
        } else {
            scene.listener.stop(0).unwrap();
            scene.listener.wait(None).unwrap();
        }
        assert_eq!(gone.load(Ordering::SeqCst), 1);
    }
}

/// Says that it runs, then waits until it may go on.
struct LastDestructor(Sender<()>, Receiver<()>);

impl Drop for LastDestructor {
    fn drop(&mut self) {
        self.0.send(()).unwrap();
        let _ = self.1.recv();
    }
}

thread_local! {
    static LAST: RefCell<Option<LastDestructor>> = const { RefCell::new(None) };
}

#[test]
fn a_last_destructor_of_the_host_on_an_accepter_delays_only_who_waits_for_that_thread() {
    let scene = scene(1);
    let ((runs, running), (go_on, goes_on)) = (unbounded(), unbounded());
    scene.listener.set_last_act(|| LAST.set(Some(LastDestructor(runs, goes_on))));
    scene.listener.stop(0).unwrap();
    running.recv_timeout(PATIENCE).unwrap();
    // Another listener's end looks at the threads of those that ended before.
    scene.healthy.stop(0).unwrap();
    let other = scene.healthy.wait(Some(PATIENCE.as_millis() as u64));
    let looked = [0, 1].map(|ms| scene.listener.wait(Some(ms)).map_err(|error| error.status));
    let in_callback = crate::base::host::guarded(|| {
        [Some(0), None].map(|ms| scene.listener.wait(ms).map_err(|error| error.status))
    });
    go_on.send(()).unwrap();
    other.unwrap();
    assert_eq!(looked, [Err(Status::TimedOut); 2]);
    assert_eq!(in_callback, Some([Err(Status::TimedOut), Err(Status::InCallback)]));
    scene.listener.wait(None).unwrap();
    assert_eq!(scene.runtime.stats().accepted, 0);
}

#[test]
fn a_start_for_which_threads_are_missing_ends_the_listener_and_not_the_runtime() {
    for started in 0..3 {
        let scene = scene(1);
        let config = config("", "accepterThreads=3", "");
        let listener = Listener::new(&scene.runtime, &config, 0).unwrap();
        let handler = Arc::new(Counting::default());
        listener.on(Protocol::Client, handler.clone()).unwrap();
        THREADS.set(started);
        let error = listener.start().unwrap_err();
        THREADS.set(usize::MAX);
        assert_eq!(error.status, Status::NoThreads);
        let address = listener.addresses()[0];
        let (number, what) = (address.port(), "error: starting the thread np-acc-");
        let place = format!("test.ini:4: [Port] port {number}: {what}{number}-{started}");
        assert_eq!(error.message, place);
        assert!(TcpStream::connect(address).is_err());
        let status =
            |answer: Result<(), Error>| answer.map_or_else(|error| error.status, |()| Status::Ok);
        let answers = [
            status(listener.start()),
            status(listener.pause()),
            status(listener.wait(Some(PATIENCE.as_millis() as u64))),
        ];
        if answers != [Status::Stopped, Status::Stopped, Status::Ok] {
            // Their destructors would wait for ever.
            std::mem::forget((listener, scene));
            panic!("{answers:?} with {started} threads");
        }
        assert_eq!(Arc::strong_count(&handler), 1, "the handler was let go");
        echoes(&mut framed(scene.address));
        scene.runtime.stop(0).unwrap();
        scene.runtime.wait(Some(PATIENCE.as_millis() as u64)).expect("no hang at stop");
    }
}

#[test]
fn a_pause_and_a_stop_return_after_the_accepts_that_are_under_way() {
    let scene = scene(1);
    let calls: [fn(&Listener); 2] =
        [|listener| listener.pause().unwrap(), |listener| listener.stop(0).unwrap()];
    for call in calls {
        let ended = AtomicUsize::new(0);
        let (begins, begun) = unbounded();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let accept = scene.listener.listening().under_way();
                begins.send(()).unwrap();
                std::thread::sleep(Duration::from_millis(100));
                ended.store(1, Ordering::SeqCst);
                drop(accept);
            });
            begun.recv().unwrap();
            call(&scene.listener);
            assert_eq!(ended.load(Ordering::SeqCst), 1);
        });
    }
}

#[test]
fn a_stop_in_the_middle_of_a_start_ends_the_listener_for_good() {
    let scene = scene(1);
    let listener =
        Arc::new(Listener::new(&scene.runtime, &config("", "accepterThreads=3", ""), 0).unwrap());
    let handler = Arc::new(Counting::default());
    listener.on(Protocol::Client, handler.clone()).unwrap();
    let stopped = listener.clone();
    BEFORE_THREAD.set(Some(Box::new(move || stopped.stop(0).unwrap())));
    let status =
        |answer: Result<(), Error>| answer.map_or_else(|error| error.status, |()| Status::Ok);
    let started = listener.start().map_err(|error| error.message);
    let what = "error: the listener was stopped while it started; make a new one";
    let number = listener.addresses()[0].port();
    let named = started == Err(format!("test.ini:4: [Port] port {number}: {what}"));
    let answers = [
        status(listener.start()),
        status(listener.pause()),
        status(listener.stop(0)),
        status(listener.wait(Some(PATIENCE.as_millis() as u64))),
    ];
    if answers != [Status::Stopped, Status::Stopped, Status::Ok, Status::Ok] || !named {
        // Their destructors would wait for ever.
        std::mem::forget((listener, scene));
        panic!("{started:?} {answers:?}");
    }
    assert!(TcpStream::connect(listener.addresses()[0]).is_err());
    assert_eq!(Arc::strong_count(&handler), 1, "the handler was let go");
    echoes(&mut framed(scene.address));
    scene.runtime.stop(0).unwrap();
    scene.runtime.wait(Some(PATIENCE.as_millis() as u64)).expect("no hang at stop");
}
