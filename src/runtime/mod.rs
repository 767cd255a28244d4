//! The runtime: loops and the log thread, made, found and ended. Everything of the library
//! hangs off one; nothing outlives it but handles that have gone stale.
//!
//! Ending: `stop` lets each listener end; when the last is over the loops end; the last
//! loop ends the log thread, which is the last to run code of the host.
//!
//! `with_consumer` is long: each kind of thread that it starts has to be taken back if the next one fails.

pub mod listener;
pub mod poll_loop;
mod ports;
pub mod stats;

use crate::base::buffers;
use crate::base::host;
use crate::base::life::{Ended, IN_FORKED_CHILD, Life, Threads, spawn_thread};
use crate::base::log::{Level, Log, Sink};
use crate::base::sys::{Alive, Scheduling, descriptor_limit, is_forked_child};
use crate::config::{AccepterPriority, Config, LogLevel, PortSettings, RuntimeSettings, Severity};
use crate::conn::door::{Control, Door, Role};
use crate::conn::handles;
pub use crate::consumer::Consumer;
use crate::consumer::workers::Pool;
use crate::event::Conn;
use crate::frame::compressors::Compressors;
use crate::limits::descriptors::Descriptors;
use crate::limits::memory::Memory;
use crate::limits::waiting::Waiting;
use crate::port::commons::{Clock, Commons};
use crate::port::{Keeper, Port};
use crate::reactor::Loop;
use crate::reactor::loops::{Entrance, Loops, Part};
use crate::status::{Error, Status};
use parking_lot::Mutex;
pub use poll_loop::PollLoop;
use ports::Ports;
use stats::{Stats, prometheus};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Loops and everything they share.
pub struct Runtime {
    // In this order: in the child of a fork they are let go as long as the core tells that it is one.
    threads: Threads,
    core: Arc<Core>,
}

/// The part of a runtime that its threads hold.
pub(crate) struct Core {
    pub commons: Arc<Commons>,
    pub loops: Arc<Loops>,
    poll_loops: Mutex<Vec<Weak<PollLoop>>>,
    ports: Mutex<Ports>,
    raise_accepters: bool,
    /// `logLevel`: no sink gets more.
    log_level: Level,
    next_port_number: AtomicUsize,
    running_loops: AtomicUsize,
    ended: Ended,
    _alive: Alive,
}

impl Core {
    /// A runtime without threads: its core, and its loops for whoever drives them, in the
    /// order of their counters.
    pub fn assemble(
        settings: &RuntimeSettings,
        consumer: Consumer,
        clock: Clock,
    ) -> io::Result<(Arc<Core>, Vec<Part>)> {
        let mut parts = Vec::new();
        let mut make = |role, count: usize| -> io::Result<Vec<Arc<Entrance>>> {
            (0..count)
                .map(|index| {
                    let part = Part::new(role, index)?;
                    let entrance = part.entrance().clone();
                    parts.push(part);
                    Ok(entrance)
                })
                .collect()
        };
        let handshake = make(Role::Handshake, settings.handshake_threads)?;
        let io = match consumer {
            Consumer::Poll => None,
            _ => Some(make(Role::Io, settings.io_threads)?),
        };
        let memory_limit_bytes = usize::try_from(settings.memory_limit_bytes).unwrap_or(usize::MAX);
        let memory = Arc::new(Memory::new(memory_limit_bytes));
        memory.set_loops(io.as_ref().map_or(0, Vec::len));
        let descriptors = descriptor_limit();
        let commons = Arc::new(Commons {
            clock,
            consumer,
            workers: (consumer == Consumer::Workers).then(Pool::new),
            log: Arc::new(Log::new()),
            memory,
            compressors: Compressors::new(),
            // Half of them, so that as many are left for those who are identified.
            waiting: Arc::new(Waiting::new(descriptors.div_ceil(2))),
            descriptors: Descriptors::new(descriptors),
            life: Life::new(),
            warned: Mutex::default(),
        });
        let core = Arc::new(Core {
            commons,
            loops: Arc::new(Loops::new(handshake, io)),
            poll_loops: Mutex::default(),
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
            running_loops: AtomicUsize::new(0),
            ended: Ended::default(),
            _alive: Alive::new(),
        });
        Ok((core, parts))
    }

    /// A port of this runtime, not listening yet; its certificates are loaded.
    pub fn make_port(
        self: &Arc<Core>,
        settings: PortSettings,
        index: usize,
    ) -> Result<Arc<Port>, Error> {
        let number = self.next_port_number.fetch_add(1, Ordering::Relaxed);
        let port = Port::new(self.commons.clone(), self.clone(), number, settings, index)?;
        Ok(Arc::new(port))
    }

    // Loops that the host polls.

    /// From now on no loop is added; unless there is none, which is an error.
    pub fn fix_loops(&self) -> Result<(), Error> {
        if !self.loops.fix() {
            let message = "the runtime has no loop to poll; make one with np_loop_new first";
            return Err(Error::new(Status::State, message));
        }
        self.commons.memory.set_loops(self.loops.io().len());
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
        if self.commons.consumer != Consumer::Poll {
            return Err(Error::new(Status::State, "the runtime's events are not polled"));
        }
        self.loops.add(|index| {
            if self.commons.life.is_stopping() {
                return Err(Error::new(Status::Stopped, "the runtime is stopping"));
            }
            let Some(index) = index else {
                let message = "loops are made before the first listener starts";
                return Err(Error::new(Status::State, message));
            };
            let part =
                Part::new(Role::Io, index).map_err(|error| Error::io("making a loop", &error))?;
            let entrance = part.entrance().clone();
            let position = self.loops.handshake().len() + index;
            let mut reactor = part.into_loop(self.commons.clone(), self.loops.clone(), position);
            reactor.is_polled_into(buffer);
            let door = entrance.door.clone();
            self.commons.log.wake_for_records(door.clone());
            self.running_loops.fetch_add(1, Ordering::SeqCst);
            Ok((entrance, (door, reactor)))
        })
    }

    /// Takes a loop away. False: it is in use.
    pub fn remove_loop(&self, door: &Arc<Door>) -> bool {
        self.loops.remove(door, || self.commons.log.forget(door))
    }

    pub fn note_poll_loop(&self, made: &Arc<PollLoop>) {
        self.poll_loops.lock().push(Arc::downgrade(made));
    }

    /// Begins the end: of the listeners, then of the loops, then of the log.
    pub fn stop(&self, drain_ms: u64) {
        let first = self.commons.life.begin_stop();
        let ports = self.ports.lock().running.clone();
        ports.iter().for_each(|(_, port)| self.stop_port(port, drain_ms));
        if first {
            self.leave();
        }
    }

    /// One listener, or the runtime's own hold, is gone.
    pub fn leave(&self) {
        if self.commons.life.leave() {
            self.loops.tell_all(|| Control::Look);
        }
    }

    /// After the last loop the workers end, and after them the log.
    pub fn loop_ended(&self) {
        if self.running_loops.fetch_sub(1, Ordering::SeqCst) != 1 {
            return;
        }
        buffers::release_all();
        if self.commons.workers.as_ref().is_none_or(Pool::end) {
            self.end_log();
        }
    }

    fn worker_ended(&self) {
        if self.commons.workers.as_ref().is_some_and(Pool::leave) {
            self.end_log();
        }
    }

    fn end_log(&self) {
        match self.commons.consumer {
            Consumer::Poll => self.ended.set(),
            _ => self.commons.log.end(),
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
                log_core.commons.log.run();
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
            let Some(pool) = &core.commons.workers else { break };
            pool.enter();
            let spawned = runtime.spawn(format!("worker-{index}"), Scheduling::Normal, move || {
                if let Some(pool) = &worker_core.commons.workers {
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
                let reactor =
                    part.into_loop(loop_core.commons.clone(), loop_core.loops.clone(), position);
                // A defect of ours: the loop's connections are lost, the process and the
                // other loops are not.
                if host::caught(|| reactor.run()) != Some(true) {
                    loop_core.commons.log.error("reactor", "a loop ended by a defect".to_owned());
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
        let is_set = match (self.core.commons.consumer, sink) {
            (Consumer::Poll, Some(_)) => {
                let message = "where events are polled, records are events: give no sink";
                return Err(Error::new(Status::State, message));
            }
            (Consumer::Poll, None) if self.core.ended.is_set() => false,
            (Consumer::Poll, None) => {
                self.core.commons.log.set_level(level);
                true
            }
            (_, sink) => self.core.commons.log.set(level, sink),
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
    pub fn connections(&self) -> Vec<Conn> {
        handles::all(|shared| Arc::ptr_eq(&shared.port.commons, &self.core.commons))
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        if is_forked_child() {
            return;
        }
        let _ = self.stop(0);
        if !host::in_callback() {
            let loops: Vec<_> =
                self.core.poll_loops.lock().drain(..).filter_map(|made| made.upgrade()).collect();
            poll_loop::poll_to_the_end(&loops);
        }
        // Inside a callback this cannot wait; the threads then end by themselves.
        let _ = self.wait(None);
    }
}

impl Keeper for Core {
    fn is_over(&self, port: &Port) {
        self.retire_port(port);
    }

    fn has_left(&self) {
        self.leave();
    }
}
