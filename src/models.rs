//! Models of threads: production types under a scheduler that decides at each step of a lock,
//! an atomic or a channel which thread goes on (`scripts/models`).
//!
//! Where there are few schedules all of them are tried, otherwise thousands by chance. Memory
//! orders are not modelled: every step is seen by all threads at once.

use crate::accept::admit;
use crate::base::life::Life;
use crate::base::sync::channel::Receiver;
use crate::config::Config;
use crate::conn::door::{Control, Door, Role};
use crate::conn::handles::{Conn, Table};
use crate::conn::output::Output;
use crate::conn::requests::{Op, Reach};
use crate::conn::shared::{Birth, Shared};
use crate::conn::state::State;
use crate::consumer::{Consumer, Delivery, Put};
use crate::event::{Event, Handler, Protocol};
use crate::net::transport::{Transport, Wire};
use crate::port::Port;
use crate::port::commons::Clock;
use crate::reactor::WAKE;
use crate::reactor::loops::{Arrival, Part};
use crate::runtime::Core;
use crate::status::Status;
use mio::{Events, Poll};
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// So many, or NP_SCHEDULES.
const BY_CHANCE: usize = 5_000;

/// Runs schedules by chance, and as many that change threads seldom and at unlucky places.
fn by_chance(model: fn()) {
    let schedules = std::env::var("NP_SCHEDULES");
    let schedules = schedules.map_or(BY_CHANCE, |n| n.parse().expect("NP_SCHEDULES is a number"));
    shuttle::check_random(model, schedules);
    shuttle::check_pct(model, schedules, 3);
}

/// What is entered in a table: counts how often it is freed.
struct Entry {
    id: u64,
    freed: Arc<AtomicUsize>,
}

impl Drop for Entry {
    fn drop(&mut self) {
        self.freed.fetch_add(1, Ordering::SeqCst);
    }
}

/// One thread removes an entry and enters another in its place, two look the first one up.
fn handle_table() {
    let table = Arc::new(Table::<Entry>::new());
    let freed: Arc<AtomicUsize> = Arc::new(AtomicUsize::new(0));
    let enter = |table: &Table<Entry>, freed: &Arc<AtomicUsize>| {
        table.insert(7, |id| Arc::new(Entry { id, freed: freed.clone() })).id
    };
    let first = enter(&table, &freed);
    let owner = {
        let (table, freed) = (table.clone(), freed.clone());
        thread::spawn(move || {
            table.remove(first);
            let second = enter(&table, &freed);
            assert_ne!(first, second);
            // Out of date: nothing may happen.
            table.remove(first);
            assert_eq!(table.lookup(second).map(|entry| entry.id), Ok(second));
            second
        })
    };
    let seekers: Vec<_> = (0..2)
        .map(|_| {
            let table = table.clone();
            thread::spawn(move || {
                let mut stale = false;
                for _ in 0..3 {
                    match table.lookup(first) {
                        Ok(entry) => {
                            assert!(!stale, "a stale handle answers again");
                            assert_eq!(entry.id, first, "a handle finds another connection");
                            assert_eq!(entry.freed.load(Ordering::SeqCst), 0, "freed while held");
                        }
                        Err(status) => {
                            assert_eq!(status, Status::Closed);
                            stale = true;
                        }
                    }
                }
            })
        })
        .collect();
    let second = owner.join().unwrap();
    seekers.into_iter().for_each(|seeker| seeker.join().unwrap());
    assert_eq!(freed.load(Ordering::SeqCst), 1, "the first is freed once");
    table.remove(second);
    assert_eq!(freed.load(Ordering::SeqCst), 2);
    assert!(table.lookup(second).is_err());
}

#[test]
fn a_handle_finds_its_own_connection_or_none_and_each_is_freed_once() {
    by_chance(handle_table);
}

/// Gone once: every last leave is told once, however the stops and ends meet.
fn life() {
    let life = Arc::new(Life::new());
    let over: Arc<AtomicUsize> = Arc::new(AtomicUsize::new(0));
    let leave = |life: &Life, over: &AtomicUsize| {
        if life.leave() {
            assert!(life.is_over());
            over.fetch_add(1, Ordering::SeqCst);
        }
    };
    // An accepter that lets one connection in.
    life.enter();
    let accepter = {
        let (life, over) = (life.clone(), over.clone());
        thread::spawn(move || {
            life.enter();
            let (of_connection, told) = (life.clone(), over.clone());
            let connection = thread::spawn(move || leave(&of_connection, &told));
            leave(&life, &over);
            connection.join().unwrap();
        })
    };
    let stops: Vec<_> = (0..2)
        .map(|_| {
            let (life, over) = (life.clone(), over.clone());
            thread::spawn(move || {
                let first = life.begin_stop();
                assert!(life.is_stopping());
                if first {
                    leave(&life, &over);
                }
                first
            })
        })
        .collect();
    accepter.join().unwrap();
    let first = stops.into_iter().map(|stop| stop.join().unwrap());
    assert_eq!(first.filter(|first| *first).count(), 1, "one stop is the first");
    assert_eq!(over.load(Ordering::SeqCst), 1, "over once");
    assert!(life.is_over());
}

#[test]
fn what_is_stopped_twice_while_it_ends_is_over_exactly_once() {
    by_chance(life);
}

/// Loops that nobody drives, and one port.
struct Scene {
    core: Arc<Core>,
    port: Arc<Port>,
    door: Arc<Door>,
    receiver: Receiver<Control>,
}

fn scene() -> Scene {
    scene_of(Consumer::Callbacks)
}

fn scene_of(consumer: Consumer) -> Scene {
    let mut config = Config::new();
    let text =
        b"[Runtime]\nioThreads = 1\nhandshakeThreads = 1\n[Port]\nport = 0\nsendQueueLimit = 40\n";
    config.load_string(text, "model").unwrap();
    let (settings, _) = config.resolve();
    let now = Arc::new(std::sync::atomic::AtomicU64::new(1000));
    let (core, _) = Core::assemble(&settings.runtime, consumer, Clock::Simulated(now)).unwrap();
    let port = core.make_port(settings.ports.into_iter().next().unwrap(), 0).unwrap();
    core.simulate_start(&port);
    let poll = Poll::new().unwrap();
    let waker = mio::Waker::new(poll.registry(), WAKE).unwrap();
    let (door, receiver) = Door::new(Role::Io, waker);
    Scene { core, port, door, receiver }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A running port and its core hold one another.
        if !std::thread::panicking() {
            self.core.stop_port(&self.port, 0);
        }
    }
}

fn is_woken(poll: &mut Poll) -> bool {
    let mut events = Events::with_capacity(4);
    poll.poll(&mut events, Some(Duration::ZERO)).unwrap();
    !events.is_empty()
}

/// One thread leaves messages and one lets connections in, while the loop takes them and falls asleep.
fn door() {
    let (mut poll, entrance, inlet) = Part::new(Role::Io, 0).unwrap().into_parts();
    let messages = {
        let door = entrance.door.clone();
        thread::spawn(move || (0..2).for_each(|_| door.send(Control::Look)))
    };
    let arrivals = {
        let entrance = entrance.clone();
        thread::spawn(move || (0..2).for_each(|_| entrance.send(Arrival::Accepted(Vec::new()))))
    };
    let take = |taken: &mut usize| {
        while inlet.controls.try_recv().is_ok() || inlet.arrivals.try_recv().is_ok() {
            *taken += 1;
        }
    };
    let mut taken = 0;
    for _ in 0..2 {
        take(&mut taken);
        if entrance.door.fall_asleep(|| inlet.is_empty()) && !is_woken(&mut poll) {
            // It sleeps from here on; who sends now has to wake it.
            [messages, arrivals].into_iter().for_each(|sender| sender.join().unwrap());
            assert!(inlet.is_empty() || is_woken(&mut poll), "it sleeps with a message");
            return;
        }
        entrance.door.awake();
    }
    [messages, arrivals].into_iter().for_each(|sender| sender.join().unwrap());
    take(&mut taken);
    assert_eq!(taken, 4);
}

#[test]
fn a_loop_never_sleeps_with_a_message_waiting() {
    by_chance(door);
}

/// A socket that takes nothing.
struct Full;

impl Wire for Full {
    fn register(&self, _: usize) {}
    fn send(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn recv(&self, _: &mut [u8]) -> io::Result<usize> {
        Err(io::ErrorKind::WouldBlock.into())
    }
    fn shutdown_write(&self) {}
    fn reset_on_close(&self) {}
    fn take_error(&self) -> Option<io::Error> {
        None
    }
    fn unacknowledged_bytes(&self) -> usize {
        0
    }
}

fn shared(scene: &Scene) -> (Arc<Shared>, Reach) {
    let peer = SocketAddr::from(([10, 0, 0, 1], 1));
    let shared = Shared::new(
        1 << 32,
        Birth {
            key: 0,
            door: scene.door.clone(),
            port: scene.port.clone(),
            protocol: Protocol::Relay,
            asks_admission: false,
            peer,
            local: peer,
            accepted_ms: 1000,
            tls: None,
            delivery: Delivery::new(scene.core.commons.consumer, &Reader::default()),
        },
    );
    let mut out = Output::new(scene.port.clone(), Transport::Simulated(Box::new(Full)), 1000);
    out.shared = Some(shared.clone());
    (shared, Reach::new(out))
}

/// Two threads send and a third closes, while the loop takes what is there and then ends the
/// connection.
fn sends() {
    let scene = scene();
    let (shared, mut reach) = shared(&scene);
    let senders: Vec<_> = (0..2)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                (0..2).filter(|_| shared.send_bytes(b"0123456789").is_ok()).count() * 10
            })
        })
        .collect();
    let closer = {
        let shared = shared.clone();
        thread::spawn(move || shared.push(|state| state.close(), Op::Close(7)).is_ok())
    };
    for _ in 0..2 {
        while let Ok(control) = scene.receiver.try_recv() {
            assert!(matches!(control, Control::Dirty(_)));
            reach.merge_foreign();
        }
    }
    let left = shared.end();
    assert_eq!(shared.send_bytes(b"late"), Err(Status::Closed));
    let taken: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
    let closed = closer.join().unwrap();
    assert!(shared.end().is_empty(), "something was taken behind the end");
    let unsent: usize = left.iter().map(Op::queued_bytes).sum();
    assert_eq!(reach.out.queued_bytes() + unsent, taken, "what was acknowledged is there");
    assert_eq!(shared.queued_bytes(), taken, "refused bytes are counted");
    let closes = left.iter().filter(|op| matches!(op, Op::Close(7))).count();
    assert_eq!(closes + usize::from(reach.requests.verdict.is_some()), usize::from(closed));
}

#[test]
fn what_is_acknowledged_is_taken_by_the_loop_or_comes_back_at_the_end() {
    by_chance(sends);
}

/// Two threads send until the queue is full; the loop takes what is announced to it, and
/// nothing else ever makes it look.
fn announcements() {
    let scene = scene();
    let (shared, mut reach) = shared(&scene);
    assert_eq!(shared.send_bytes(b"012345678"), Ok(()));
    let senders: Vec<_> = (0..2)
        .map(|_| {
            let shared = shared.clone();
            thread::spawn(move || {
                let mut taken = 0;
                for _ in 0..3 {
                    match shared.send_bytes(b"0123456789abcde") {
                        Ok(()) => taken += 15,
                        Err(status) => assert_eq!(status, Status::WouldBlock),
                    }
                }
                taken
            })
        })
        .collect();
    // What another thread sees is never less than what is there, and never more than the
    // mark and one send of each thread.
    let observer = {
        let shared = shared.clone();
        thread::spawn(move || {
            for _ in 0..3 {
                let queued = shared.queued_bytes();
                assert!((9..40 + 2 * 15).contains(&queued), "{queued}");
            }
        })
    };
    let look = |reach: &mut Reach| {
        while let Ok(control) = scene.receiver.try_recv() {
            assert!(matches!(control, Control::Dirty(_)));
            reach.merge_foreign();
        }
    };
    look(&mut reach);
    let taken: usize = senders.into_iter().map(|sender| sender.join().unwrap()).sum();
    let taken = taken + 9;
    observer.join().unwrap();
    look(&mut reach);
    assert_eq!(reach.out.queued_bytes(), taken, "something was left and not announced");
    assert!(!shared.dirty.load(Ordering::SeqCst));
    assert_eq!(shared.queued_bytes(), taken);
    reach.out.show_queued();
    assert_eq!(shared.queued_bytes(), taken, "what another thread left is counted again");
    reach.out.discard();
    reach.out.show_queued();
    assert_eq!(shared.queued_bytes(), 0);
    assert!(shared.end().is_empty());
}

#[test]
fn every_operation_of_another_thread_is_announced_to_the_loop() {
    by_chance(announcements);
}

/// Two stops of a port and one of its runtime, while its last connections end.
fn stop() {
    let scene = scene();
    let (core, port) = (&scene.core, &scene.port);
    let peer = SocketAddr::from(([10, 0, 0, 1], 1));
    let mut threads: Vec<_> = (0..2)
        .map(|_| admit(port, &core.loops, Transport::Simulated(Box::new(Full)), peer).unwrap())
        .map(|newcomer| thread::spawn(move || drop(newcomer)))
        .collect();
    for drain_ms in [0, 1000] {
        let (core, port) = (core.clone(), port.clone());
        threads.push(thread::spawn(move || core.stop_port(&port, drain_ms)));
    }
    {
        let core = core.clone();
        threads.push(thread::spawn(move || core.leave()));
    }
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    assert!(port.is_over() && core.commons.life.is_over(), "nobody is left");
    assert!(port.drain_deadline_ms().is_some_and(|at| at == 1000), "the shorter drain counts");
}

#[test]
fn a_port_that_is_stopped_twice_while_it_empties_ends_once_and_so_does_its_runtime() {
    by_chance(stop);
}

/// Counts what it is told, in order, and never at the same time.
#[derive(Default)]
struct Reader {
    told: AtomicUsize,
    inside: AtomicUsize,
}

impl Handler for Reader {
    fn on_event(&self, _: Conn, event: Event<'_>) {
        assert_eq!(self.inside.fetch_add(1, Ordering::SeqCst), 0, "two at a time");
        let Event::Data(data) = event else { panic!("only data was posted") };
        assert_eq!(usize::from(data[0]), self.told.fetch_add(1, Ordering::SeqCst), "in order");
        self.inside.fetch_sub(1, Ordering::SeqCst);
    }
}

/// A loop posts letters, then waits for them to have been read; a host pauses and resumes
/// meanwhile; two workers work.
fn mailbox() {
    const LETTERS: usize = 3;
    let scene = scene_of(Consumer::Workers);
    let (shared, mut reach) = shared(&scene);
    let reader = Arc::new(Reader::default());
    let work = |shared: &Arc<Shared>, reader: &Arc<Reader>| {
        let (shared, reader) = (shared.clone(), reader.clone());
        thread::spawn(move || {
            let pool = shared.port.commons.workers.as_ref().unwrap();
            while reader.told.load(Ordering::SeqCst) < LETTERS {
                if !pool.run_one() {
                    thread::yield_now();
                }
            }
        })
    };
    let workers = [work(&shared, &reader), work(&shared, &reader)];
    let host = {
        let shared = shared.clone();
        thread::spawn(move || {
            shared.push(State::pause, Op::Pause).unwrap();
            shared.push(State::resume, Op::Resume).unwrap();
        })
    };
    let handler: Arc<dyn Handler> = reader.clone();
    for number in 0..LETTERS as u8 {
        let data = [number];
        let put = shared.delivery.put(&shared, handler.clone(), Event::Data(&data));
        assert!(matches!(put, Put::Taken));
    }
    let mut waits = !shared.delivery.is_consumed();
    host.join().unwrap();
    // Turns of the loop, each because something was announced.
    while waits || reader.told.load(Ordering::SeqCst) < LETTERS {
        while let Ok(control) = scene.receiver.try_recv() {
            assert!(matches!(control, Control::Dirty(_)));
            reach.merge_foreign();
            waits = !shared.delivery.is_consumed();
        }
        thread::yield_now();
    }
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    assert!(shared.delivery.is_consumed());
    assert_eq!(shared.delivery.waiting_bytes(), 0);
}

#[test]
fn letters_are_read_in_order_by_one_worker_at_a_time_and_a_loop_that_waits_is_told() {
    by_chance(mailbox);
}
