//! The runtime: loops and the log thread, made, found and ended. Everything of the library
//! hangs off one; nothing outlives it but handles that have gone stale.
//!
//! Ending: `stop` lets each listener end; when the last is over the loops end; the last
//! loop ends the log thread, which is the last to run code of the host.

use crate::buffers;
use crate::config::{AccepterPriority, Config, LogLevel, RuntimeSettings, Severity};
use crate::descriptors::Descriptors;
use crate::dispatch;
use crate::expiry;
use crate::frame::compressors::Compressors;
use crate::handles;
use crate::listener::Port;
use crate::log::{Level, Log, Sink};
use crate::memory::Memory;
use crate::polling;
pub use crate::polling::PollLoop;
use crate::reactor::door::{Control, Door, Role};
use crate::reactor::{Loop, WAKE, connections};
use crate::stats::{PortLabels, Stats, prometheus};
use crate::status::{Error, Status};
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::channel::Receiver;
use crate::sys::{
    Alive, Scheduling, descriptor_limit, is_forked_child, join_if_gone, prepare_thread,
    with_signals_blocked,
};
use crate::waiting::{Ticket, Waiting};
use crate::workers::Pool;
use mio::{Poll, Waker};
use parking_lot::{Condvar, Mutex};
use std::collections::{HashMap, HashSet};
use std::io;
use std::sync::{Arc, OnceLock, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Who gets the events of a runtime's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consumer {
    /// Callbacks on the loop's own thread: the fastest; they must not block for long.
    #[default]
    Callbacks,
    /// Callbacks on `workerThreads` threads: they may block.
    Workers,
    /// Threads of the host that poll: [`PollLoop`].
    Poll,
}

/// Loops and everything they share.
pub struct Runtime {
    core: Arc<Core>,
    threads: Threads,
}

/// The part of a runtime that its threads hold.
pub(crate) struct Core {
    clock: Clock,
    pub consumer: Consumer,
    /// Fixed when the first listener starts.
    io_doors: OnceLock<Vec<Arc<Door>>>,
    /// Those that the host has made to poll, until then.
    coming_doors: Mutex<Vec<Arc<Door>>>,
    poll_loops: Mutex<Vec<Weak<PollLoop>>>,
    pub handshake_doors: Vec<Arc<Door>>,
    /// If they are the consumer.
    pub workers: Option<Pool>,
    pub log: Arc<Log>,
    pub memory: Arc<Memory>,
    pub compressors: Compressors,
    /// The unidentified connections of all ports without a `maxHandshakes` of their own.
    pub waiting: Arc<Waiting>,
    pub descriptors: Descriptors,
    pub life: Life,
    ports: Mutex<Ports>,
    pub raise_accepters: bool,
    /// `logLevel`: no sink gets more.
    log_level: Level,
    pub next_port_number: AtomicUsize,
    /// Warnings of the configuration that the log has: listeners share sections.
    warned: Mutex<HashSet<String>>,
    running_loops: AtomicUsize,
    ended: Ended,
    _alive: Alive,
}

/// Where time comes from.
pub(crate) enum Clock {
    /// Since then.
    Real(Instant),
    /// Set by a test, in milliseconds.
    #[cfg(any(test, fuzzing))]
    Simulated(Arc<std::sync::atomic::AtomicU64>),
}

/// A loop that nobody drives yet.
pub(crate) struct Part {
    role: Role,
    index: usize,
    poll: Poll,
    door: Arc<Door>,
    receiver: Receiver<Control>,
}

impl Part {
    fn new(role: Role, index: usize) -> io::Result<Part> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let (door, receiver) = Door::new(role, waker);
        Ok(Part { role, index, poll, door, receiver })
    }

    /// The loop, at its position in the counters of ports.
    pub fn into_loop(self, core: Arc<Core>, position: usize) -> Loop {
        Loop::new(core, self.poll, self.door, self.receiver, position)
    }
}

/// So many labels a section has of its own, over all time; then its listeners share one: with `port = 0` each start
/// has a new one. And so many labels of ended listeners are kept before new sections share one: a host may start
/// listeners under ever new names.
const LABELS: usize = 64;

/// Started listeners, and what those that have ended counted: counters never go back.
#[derive(Default)]
struct Ports {
    /// Under labels that they keep, so that none of their counters vanishes.
    running: Vec<(PortLabels, Arc<Port>)>,
    ended: Vec<(PortLabels, Stats)>,
    /// So many labels of its own each section has had.
    labels_had: HashMap<String, usize>,
    /// Of ended ones: accepter threads that may not be gone yet.
    leaving: Vec<Arc<Threads>>,
}

impl Ports {
    /// What a listener that starts counts under. Counts move to new labels only: who compares scrapes would take
    /// them for events.
    fn labels_for(&mut self, mut labels: PortLabels) -> PortLabels {
        let had = self.labels_had.get(&labels.section).copied();
        if had.is_some_and(|had| had >= LABELS) {
            labels = labels.of_section();
        }
        let runs = |text: &str| self.running.iter().any(|(other, _)| other.text == text);
        if runs(&labels.text) || self.ended.iter().any(|(o, _)| o.text == labels.text) {
            return labels;
        }
        let is_full = self.ended.len() >= LABELS;
        let mut idle = self.ended.iter_mut().map(|(other, _)| other).filter(|o| !runs(&o.text));
        match idle.find(|other| other.configured == labels.configured) {
            // It had another port before: what was counted then goes along.
            Some(before) => *before = labels.clone(),
            None if is_full && had.is_none() => return PortLabels::others(),
            None if is_full => return labels.of_section(),
            None => (),
        }
        *self.labels_had.entry(labels.section.clone()).or_default() += 1;
        labels
    }
}

/// Counts what has to end before something is over. It holds one count itself until it
/// is told to stop.
pub(crate) struct Life {
    count: AtomicUsize,
    stopping: AtomicBool,
}

impl Life {
    pub fn new() -> Life {
        Life { count: AtomicUsize::new(1), stopping: AtomicBool::new(false) }
    }

    pub fn enter(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// True: that was the last, it is over now.
    pub fn leave(&self) -> bool {
        self.count.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// The first call is told that it is the first; `stop` then ends with [`Life::leave`].
    pub fn begin_stop(&self) -> bool {
        !self.stopping.swap(true, Ordering::SeqCst)
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub fn is_over(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }
}

/// Threads that are at their end when what they belong to has ended.
#[derive(Default)]
pub(crate) struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    pub fn add(&self, thread: JoinHandle<()>) {
        self.0.lock().push(thread);
    }

    /// True if they are gone, with the last destructors of the host on them. Does not wait: the calling
    /// thread may be one of them.
    pub fn are_gone(&self) -> bool {
        let mut threads = self.0.lock();
        *threads = std::mem::take(&mut *threads).into_iter().filter_map(join_if_gone).collect();
        threads.is_empty()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if is_forked_child() {
            // They are not in this process, and whoever is detached must be.
            std::mem::forget(std::mem::take(self.0.get_mut()));
        }
    }
}

/// What calls answer in the child of a fork.
pub(crate) const IN_FORKED_CHILD: &str =
    "this process is the child of a fork; what its parent has made has no threads here";

/// What a thread takes to be gone from the end of its body on, unless the host has destructors on it.
const GONE_AFTER: Duration = Duration::from_micros(50);
/// How often a wait looks whether such a thread is gone.
const LOOKS_AGAIN: Duration = Duration::from_millis(10);

/// Something to wait for.
#[derive(Default)]
pub(crate) struct Ended {
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Ended {
    pub fn set(&self) {
        *self.ended.lock() = true;
        self.changed.notify_all();
    }

    fn is_set(&self) -> bool {
        *self.ended.lock()
    }

    /// Waits, also until the threads are gone; `InCallback` where waiting would be for oneself.
    pub fn wait(
        &self,
        what: &str,
        timeout_ms: Option<u64>,
        are_gone: impl Fn() -> bool,
    ) -> Result<(), Error> {
        if is_forked_child() {
            return Err(Error::new(Status::State, IN_FORKED_CHILD));
        }
        let until = timeout_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
        let may_wait = || {
            if timeout_ms == Some(0) || until.is_some_and(|until| Instant::now() >= until) {
                return Err(Error::new(Status::TimedOut, format!("{what} has not ended yet")));
            }
            if dispatch::in_callback() {
                let message = format!("waiting for {what} inside a callback would wait for itself");
                return Err(Error::new(Status::InCallback, message));
            }
            Ok(())
        };
        let mut ended = self.ended.lock();
        while !*ended {
            may_wait()?;
            match until {
                Some(until) => drop(self.changed.wait_until(&mut ended, until)),
                None => self.changed.wait(&mut ended),
            }
        }
        drop(ended);
        // They have left their bodies. Looked at again and again, as joining has no time limit and would be
        // under a lock that those need who only look.
        let mut pause = GONE_AFTER;
        while !are_gone() {
            may_wait()?;
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            std::thread::sleep(left.map_or(pause, |left| pause.min(left)));
            pause = (pause * 2).min(LOOKS_AGAIN);
        }
        Ok(())
    }
}

impl Core {
    /// A line of the log, unless it has been there, or nobody would see it.
    pub fn warn_once(&self, stage: &'static str, text: String) {
        if self.log.wants(Level::Warn) && self.warned.lock().insert(text.clone()) {
            self.log.warn(stage, text);
        }
    }

    /// Monotonic milliseconds since the runtime was made, counted from 1 s so that no time
    /// stamp is 0.
    pub fn now_ms(&self) -> u64 {
        match &self.clock {
            Clock::Real(epoch) => epoch.elapsed().as_millis() as u64 + 1000,
            #[cfg(any(test, fuzzing))]
            Clock::Simulated(now_ms) => now_ms.load(Ordering::SeqCst),
        }
    }

    /// The wall clock: seconds since 1970-01-01 UTC.
    pub fn unix_s(&self) -> i64 {
        match &self.clock {
            Clock::Real(_) => expiry::unix_now_s(),
            #[cfg(any(test, fuzzing))]
            Clock::Simulated(now_ms) => (now_ms.load(Ordering::SeqCst) / 1000) as i64,
        }
    }

    /// A runtime without threads: its core, and its loops for whoever drives them, in the
    /// order of their counters.
    pub fn assemble(
        settings: &RuntimeSettings,
        consumer: Consumer,
        clock: Clock,
    ) -> io::Result<(Arc<Core>, Vec<Part>)> {
        let mut parts = Vec::new();
        let mut make = |role, count: usize| -> io::Result<Vec<Arc<Door>>> {
            (0..count)
                .map(|index| {
                    let part = Part::new(role, index)?;
                    let door = part.door.clone();
                    parts.push(part);
                    Ok(door)
                })
                .collect()
        };
        let handshake_doors = make(Role::Handshake, settings.handshake_threads)?;
        let io_doors = match consumer {
            Consumer::Poll => OnceLock::new(),
            _ => OnceLock::from(make(Role::Io, settings.io_threads)?),
        };
        let descriptors = descriptor_limit();
        let core = Arc::new(Core {
            clock,
            consumer,
            io_doors,
            coming_doors: Mutex::default(),
            poll_loops: Mutex::default(),
            handshake_doors,
            workers: (consumer == Consumer::Workers).then(Pool::new),
            log: Arc::new(Log::new()),
            memory: Arc::new(Memory::new(
                usize::try_from(settings.memory_limit_bytes).unwrap_or(usize::MAX),
            )),
            compressors: Compressors::new(),
            // Half of them, so that as many are left for those who are identified.
            waiting: Arc::new(Waiting::new(descriptors.div_ceil(2))),
            descriptors: Descriptors::new(descriptors),
            life: Life::new(),
            ports: Mutex::default(),
            raise_accepters: settings.accepter_priority == AccepterPriority::Raised,
            log_level: match settings.log_level {
                LogLevel::Off => Level::Off,
                LogLevel::Error => Level::Error,
                LogLevel::Warn => Level::Warn,
                LogLevel::Info => Level::Info,
                LogLevel::Debug => Level::Debug,
            },
            next_port_number: AtomicUsize::new(0),
            warned: Mutex::default(),
            running_loops: AtomicUsize::new(0),
            ended: Ended::default(),
            _alive: Alive::new(),
        });
        Ok((core, parts))
    }

    /// The I/O loops; with poll none before the first listener starts.
    pub fn io_doors(&self) -> &[Arc<Door>] {
        self.io_doors.get().map_or(&[], Vec::as_slice)
    }

    /// All loops, in the order of their counters.
    pub fn doors(&self) -> impl Iterator<Item = &Arc<Door>> {
        self.handshake_doors.iter().chain(self.io_doors())
    }

    /// One of the unidentified is evicted.
    pub fn evict(&self, ticket: Arc<Ticket>) {
        // On its way to a loop, which then looks at its ticket, it has no place. Told to that loop alone: one
        // that is held up gets no more of these than it has connections.
        if let Some((loop_index, _)) = ticket.place()
            && let Some(door) = self.doors().nth(loop_index)
        {
            door.send(Control::Evict(ticket));
        }
    }

    pub fn tell_all(&self, control: impl Fn() -> Control) {
        self.doors().for_each(|door| door.send(control()));
        self.coming_doors.lock().iter().for_each(|door| door.send(control()));
    }

    // Loops that the host polls.

    /// From now on no loop is added; unless there is none, which is an error.
    pub fn fix_loops(&self) -> Result<(), Error> {
        let mut coming = self.coming_doors.lock();
        if self.io_doors.get().is_some() {
            return Ok(());
        }
        if coming.is_empty() {
            let message = "the runtime has no loop to poll; make one with np_loop_new first";
            return Err(Error::new(Status::State, message));
        }
        // Nobody else sets it: the lock is held.
        let _ = self.io_doors.set(std::mem::take(&mut *coming));
        Ok(())
    }

    /// A loop for the host to poll.
    pub fn add_loop(
        self: &Arc<Core>,
        buffer: Box<dyn AsMut<[u8]> + Send>,
    ) -> Result<(Arc<Door>, Loop), Error> {
        if is_forked_child() {
            return Err(Error::new(Status::State, IN_FORKED_CHILD));
        }
        if self.consumer != Consumer::Poll {
            return Err(Error::new(Status::State, "the runtime's events are not polled"));
        }
        let mut coming = self.coming_doors.lock();
        if self.life.is_stopping() {
            return Err(Error::new(Status::Stopped, "the runtime is stopping"));
        }
        if self.io_doors.get().is_some() {
            let message = "loops are made before the first listener starts";
            return Err(Error::new(Status::State, message));
        }
        let part = Part::new(Role::Io, coming.len())
            .map_err(|error| Error::io("making a loop", &error))?;
        let door = part.door.clone();
        let position = self.handshake_doors.len() + coming.len();
        let mut reactor = part.into_loop(self.clone(), position);
        reactor.is_polled_into(buffer);
        self.log.wake_for_records(&door);
        self.running_loops.fetch_add(1, Ordering::SeqCst);
        coming.push(door.clone());
        Ok((door, reactor))
    }

    /// Takes a loop away. False: it is in use.
    pub fn remove_loop(&self, door: &Arc<Door>) -> bool {
        let mut coming = self.coming_doors.lock();
        // Only the last one, as positions would move.
        if coming.last().is_some_and(|last| Arc::ptr_eq(last, door)) {
            coming.pop();
            self.log.forget(door);
            return true;
        }
        false
    }

    pub fn note_poll_loop(&self, made: &Arc<PollLoop>) {
        self.poll_loops.lock().push(Arc::downgrade(made));
    }

    /// Begins the end: of the listeners, then of the loops, then of the log.
    pub fn stop(&self, drain_ms: u64) {
        let first = self.life.begin_stop();
        let ports = self.ports.lock().running.clone();
        ports.iter().for_each(|(_, port)| port.stop(drain_ms));
        if first {
            self.leave();
        }
    }

    /// One listener, or the runtime's own hold, is gone.
    pub fn leave(&self) {
        if self.life.leave() {
            self.tell_all(|| Control::Look);
        }
    }

    /// A listener has started.
    pub fn add_port(&self, port: &Arc<Port>) {
        let mut ports = self.ports.lock();
        let labels = ports.labels_for(PortLabels::of(port));
        ports.running.push((labels, port.clone()));
    }

    /// A listener has ended: it is let go, its counters stay.
    pub fn retire_port(&self, port: &Port) {
        let mut ports = self.ports.lock();
        let Some(at) = ports.running.iter().position(|(_, other)| other.number == port.number)
        else {
            return;
        };
        let (labels, retired) = ports.running.swap_remove(at);
        ports.leaving.retain(|threads| !threads.are_gone());
        ports.leaving.push(retired.threads.clone());
        count_under(&mut ports.ended, labels, port);
        // The caller holds the port too: nothing is dropped here.
        drop(retired);
    }

    /// The counters of each listener, those with the same labels together.
    fn stats_by_port(&self) -> Vec<(PortLabels, Stats)> {
        let ports = self.ports.lock();
        let mut all = ports.ended.clone();
        for (labels, port) in &ports.running {
            count_under(&mut all, labels.clone(), port).note_certificate(port);
        }
        all
    }

    /// After the last loop the workers end, and after them the log.
    pub fn loop_ended(&self) {
        if self.running_loops.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        buffers::release_all();
        if self.workers.as_ref().is_none_or(Pool::end) {
            self.end_log();
        }
    }

    fn worker_ended(&self) {
        if self.workers.as_ref().is_some_and(Pool::leave) {
            self.end_log();
        }
    }

    fn end_log(&self) {
        match self.consumer {
            Consumer::Poll => self.ended.set(),
            _ => self.log.end(),
        }
    }
}

impl Runtime {
    /// Starts the loops that `[Runtime]` asks for, with callbacks on their threads.
    pub fn new(config: &Config) -> Result<Runtime, Error> {
        Runtime::with_consumer(config, Consumer::Callbacks)
    }

    /// Starts the threads that `[Runtime]` asks for.
    pub fn with_consumer(config: &Config, consumer: Consumer) -> Result<Runtime, Error> {
        if is_forked_child() {
            return Err(Error::new(Status::State, IN_FORKED_CHILD));
        }
        let (settings, findings) = config.resolved();
        if let Some(error) = findings.iter().find(|f| f.severity == Severity::Error) {
            return Err(Error::new(Status::Config, error.to_string()));
        }
        let clock = Clock::Real(Instant::now());
        let (core, parts) = Core::assemble(&settings.runtime, consumer, clock)
            .map_err(|error| Error::io("making the loops of the runtime", &error))?;
        let runtime = Runtime { core: core.clone(), threads: Threads::default() };
        // Records are events where events are polled.
        if consumer != Consumer::Poll {
            let log_core = core.clone();
            let log_thread = runtime.spawn("log".to_owned(), Scheduling::Normal, move || {
                log_core.log.run();
                log_core.ended.set();
            });
            if let Err(error) = log_thread {
                // Nobody else would say that it has ended.
                core.ended.set();
                return Err(error);
            }
        }
        // Counted before the first loop starts: none may be the last too early.
        core.running_loops.fetch_add(parts.len(), Ordering::SeqCst);
        let mut left = parts.len();
        let workers =
            if consumer == Consumer::Workers { settings.runtime.worker_threads } else { 0 };
        for index in 0..workers {
            let worker_core = core.clone();
            let Some(pool) = &core.workers else { break };
            pool.enter();
            let spawned = runtime.spawn(format!("worker-{index}"), Scheduling::Normal, move || {
                if let Some(pool) = &worker_core.workers {
                    pool.run();
                }
                worker_core.worker_ended();
            });
            if let Err(error) = spawned {
                core.worker_ended();
                (0..left).for_each(|_| core.loop_ended());
                return Err(error);
            }
        }
        for (position, part) in parts.into_iter().enumerate() {
            let (name, scheduling) = match part.role {
                Role::Io => (format!("io-{}", part.index), Scheduling::Prompt),
                Role::Handshake => (format!("handshake-{}", part.index), Scheduling::Patient),
            };
            let loop_core = core.clone();
            let spawned = runtime.spawn(name, scheduling, move || {
                let reactor = part.into_loop(loop_core.clone(), position);
                // A defect of ours: the loop's connections are lost, the process and the
                // other loops are not.
                if dispatch::caught(|| reactor.run()) != Some(true) {
                    loop_core.log.error("reactor", "a loop ended by a defect".to_owned());
                }
                loop_core.loop_ended();
            });
            if let Err(error) = spawned {
                (0..left).for_each(|_| core.loop_ended());
                // Dropping the runtime ends the threads that did start.
                return Err(error);
            }
            left -= 1;
        }
        Ok(runtime)
    }

    fn spawn(
        &self,
        name: String,
        scheduling: Scheduling,
        body: impl FnOnce() + Send + 'static,
    ) -> Result<(), Error> {
        self.threads.add(spawn_thread(name, scheduling, body)?);
        Ok(())
    }

    pub(crate) fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// From now on log records up to `level` (and `logLevel`) go to `sink`, on the thread
    /// `log`; without a sink nowhere. Where events are polled there is none: records are events.
    /// `Stopped`: the log has ended, as the last part of the runtime.
    pub fn set_log(&self, level: Level, sink: Option<Box<dyn Sink>>) -> Result<(), Error> {
        let level = level.min(self.core.log_level);
        let is_set = match (self.core.consumer, sink) {
            (Consumer::Poll, Some(_)) => {
                let message = "where events are polled, records are events: give no sink";
                return Err(Error::new(Status::State, message));
            }
            (Consumer::Poll, None) if self.core.ended.is_set() => false,
            (Consumer::Poll, None) => {
                self.core.log.set_level(level);
                true
            }
            (_, sink) => self.core.log.set(level, sink),
        };
        match is_set {
            true => Ok(()),
            false => Err(Error::new(Status::Stopped, "the runtime has ended, and its log with it")),
        }
    }

    /// Begins the end and returns: listeners stop, connections have `drain_ms` left. A
    /// second call can only shorten that.
    pub fn stop(&self, drain_ms: u64) -> Result<(), Error> {
        self.core.stop(drain_ms);
        Ok(())
    }

    /// Waits until everything has ended: then no callback, destructor or sink runs any more.
    /// `None` waits for ever, `Some(0)` never and is allowed in callbacks.
    pub fn wait(&self, timeout_ms: Option<u64>) -> Result<(), Error> {
        self.core.ended.wait("the runtime", timeout_ms, || {
            // All listeners have ended before.
            self.threads.are_gone()
                && self.core.ports.lock().leaving.iter().all(|threads| threads.are_gone())
        })
    }

    /// Counters of all listeners together.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::empty();
        self.core.stats_by_port().iter().for_each(|(_, port)| stats.merge(port));
        stats.note_runtime(&self.core);
        stats
    }

    /// The same as Prometheus text, by listener.
    pub fn prometheus(&self) -> String {
        let mut runtime = Stats::empty();
        runtime.note_runtime(&self.core);
        prometheus(&self.core.stats_by_port(), &runtime)
    }

    /// All connections that are identified and have not ended.
    pub fn connections(&self) -> Vec<handles::Conn> {
        connections(&self.core)
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if is_forked_child() {
            return;
        }
        let _ = self.stop(0);
        if !dispatch::in_callback() {
            let loops: Vec<_> =
                self.core.poll_loops.lock().drain(..).filter_map(|made| made.upgrade()).collect();
            polling::poll_to_the_end(&loops);
        }
        // Inside a callback this cannot wait; the threads then end by themselves.
        let _ = self.wait(None);
    }
}

fn count_under<'a>(
    all: &'a mut Vec<(PortLabels, Stats)>,
    labels: PortLabels,
    port: &Port,
) -> &'a mut Stats {
    let known = all.iter().position(|(other, _)| other.text == labels.text);
    let at = known.unwrap_or_else(|| {
        all.push((labels, Stats::empty()));
        all.len() - 1
    });
    all[at].1.add(port);
    &mut all[at].1
}

/// Starts one of the library's threads, whose names all begin with `np-`. Linux shows 15 bytes of a name.
pub(crate) fn spawn_thread(
    name: String,
    scheduling: Scheduling,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let name = format!("np-{name}");
    #[cfg(test)]
    crate::faults::no_thread(&name)?;
    let builder = std::thread::Builder::new().name(name.clone());
    let body = move || {
        prepare_thread(scheduling);
        body();
        // What follows are the host's last destructors: as in callbacks, waiting would be for itself.
        std::mem::forget(dispatch::InHost::new());
    };
    with_signals_blocked(|| builder.spawn(body)).map_err(|error| Error {
        status: Status::NoThreads,
        os_error: error.raw_os_error().unwrap_or(0),
        tls_alert: -1,
        message: format!("starting the thread {name}: {error}"),
    })
}
