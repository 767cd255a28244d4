//! One port: bind, start, drain, stop.

use crate::accept::{Accepter, Gate, GateLimits, Listening, Mode, Switch};
use crate::config::{Compression, Config, PortSettings, Severity, SslMode};
use crate::dispatch;
use crate::event::{Handler, Protocol};
use crate::frame;
use crate::frame::deflate::{Reads, Writes};
use crate::log::Log;
use crate::memory::Memory;
use crate::reactor::door::{Control, Door};
use crate::runtime::{Consumer, Core, Ended, Life, Runtime, Threads, spawn_thread};
use crate::stats::{Counters, Stats};
use crate::status::{Error, Status};
use crate::sys::{Scheduling, is_forked_child};
use crate::tls::Acceptor;
use crate::waiting::Waiting;
use mio::net::TcpListener;
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// One port of a configuration, made ready to listen.
pub struct Listener {
    port: Arc<Port>,
}

/// What the loops and accepters know of a port.
pub(crate) struct Port {
    /// Unique in its runtime.
    pub number: usize,
    /// Position among the configuration's port sections.
    pub index: usize,
    /// The section as written in the file.
    pub written: String,
    settings: PortSettings,
    pub rules: Rules,
    pub acceptor: Option<Acceptor>,
    /// When the dates of its certificates were told last before it ran: by the monotonic clock, and
    /// by the wall clock.
    pub loaded_at: (u64, i64),
    /// `ssl = auto`.
    pub tls_is_optional: bool,
    pub gate: Gate,
    /// The budget of its unidentified connections: the runtime's, or its own.
    pub waiting: Arc<Waiting>,
    /// `maxHandshakesPerAddress`.
    pub waiting_per_address: u64,
    /// One per loop, and the last for the accepters. There since the start, as loops that are
    /// polled are made until then.
    counters: OnceLock<Vec<Counters>>,
    pub switch: Switch,
    pub listening: Listening,
    /// Of its accepters.
    pub threads: Arc<Threads>,
    pub core: Arc<Core>,
    pub memory: Arc<Memory>,
    pub log: Arc<Log>,
    handlers: Mutex<Handlers>,
    addresses: OnceLock<Vec<SocketAddr>>,
    life: Life,
    /// Monotonic milliseconds; `u64::MAX` = not draining.
    drain_deadline_ms: AtomicU64,
    /// When the log may be told of a limit again.
    pub limit_told_again_ms: AtomicU64,
    /// From then on an accepter complains again.
    pub complains_again_ms: AtomicU64,
    ended: Ended,
    #[cfg(test)]
    pub fault: crate::faults::Fault,
}

/// The settings that the connection machine reads, in its own terms.
pub(crate) struct Rules {
    pub frame: frame::Rules,
    pub read_timeout_ms: u64,
    pub handshake_timeout_ms: u64,
    pub frame_timeout_ms: u64,
    pub idle_timeout_ms: u64,
    pub write_timeout_ms: u64,
    pub close_timeout_ms: u64,
    pub send_queue_limit_bytes: usize,
    pub receive_window_bytes: usize,
    pub require_close_notify: bool,
}

#[derive(Default)]
struct Handlers {
    by_protocol: [Option<Arc<dyn Handler>>; 4],
    admission: Option<Arc<dyn Handler>>,
    state: PortState,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum PortState {
    #[default]
    New,
    /// Binding and starting threads, without a lock: names may have to be resolved.
    Starting,
    Started,
    Stopped,
}

impl Listener {
    /// Prepares the `port_index`-th port section: certificates are loaded, nothing is bound.
    pub fn new(runtime: &Runtime, config: &Config, port_index: usize) -> Result<Listener, Error> {
        let (settings, findings) = config.resolved();
        if let Some(error) = findings.iter().find(|f| f.severity == Severity::Error) {
            return Err(Error::new(Status::Config, error.to_string()));
        }
        let Some(settings) = settings.ports.get(port_index).cloned() else {
            let message = match config.finding_if_no_port() {
                Some(finding) => finding.to_string(),
                None => {
                    let count = config.port_count();
                    format!(
                        "there is no port section number {port_index}, counted from 0: there are {count}"
                    )
                }
            };
            return Err(Error::new(Status::NotFound, message));
        };
        if runtime.core().life.is_stopping() {
            let (place, number) = (crate::bind::place(&settings, "port"), settings.port);
            let message =
                format!("{place} {number}: error: the runtime was stopped; make a new one");
            return Err(Error::new(Status::Stopped, message));
        }
        // A key that is mistyped changes nothing, which may be less than its author believes.
        let core = runtime.core();
        for finding in config.findings_for(port_index) {
            core.warn_once("config", finding.to_string());
        }
        let port = Port::new(core.clone(), settings, port_index)?;
        Ok(Listener { port: Arc::new(port) })
    }

    /// Who gets the events.
    pub fn consumer(&self) -> Consumer {
        self.port.core.consumer
    }

    /// Registers the handler of a protocol; before start, the last one counts.
    pub fn on(&self, protocol: Protocol, handler: Arc<dyn Handler>) -> Result<(), Error> {
        self.register(|handlers| handlers.by_protocol[protocol.index()].replace(handler))
    }

    /// Registers who is asked for admission; without one everybody is let in.
    pub fn on_admit(&self, handler: Arc<dyn Handler>) -> Result<(), Error> {
        self.register(|handlers| handlers.admission.replace(handler))
    }

    fn register(
        &self,
        set: impl FnOnce(&mut Handlers) -> Option<Arc<dyn Handler>>,
    ) -> Result<(), Error> {
        let mut handlers = self.port.handlers.lock();
        if handlers.state != PortState::New {
            let what = match handlers.state {
                PortState::Stopped => "the listener was stopped; make a new one",
                _ => "the listener is started; register its handlers before np_listener_start",
            };
            return Err(self.port.error(Status::State, what));
        }
        let old = set(&mut handlers);
        // Dropped without the lock: it may run code of the host.
        drop(handlers);
        drop(old);
        Ok(())
    }

    /// Binds and listens: all addresses, or none and an error that names the section.
    pub fn start(&self) -> Result<(), Error> {
        let port = &self.port;
        {
            let mut handlers = port.handlers.lock();
            let refused = match handlers.state {
                PortState::Starting | PortState::Started => {
                    Some((Status::State, "the listener is started already; start it once"))
                }
                PortState::Stopped => {
                    let what = "the listener was stopped and cannot start again; make a new one";
                    Some((Status::Stopped, what))
                }
                PortState::New if port.core.life.is_stopping() => {
                    let what = "the runtime was stopped; make a new one, and the listener on that";
                    Some((Status::Stopped, what))
                }
                PortState::New if handlers.by_protocol.iter().all(Option::is_none) => {
                    let what = "the listener has no handler and would close every connection; \
                                register one with np_listener_on";
                    Some((Status::State, what))
                }
                PortState::New => None,
            };
            if let Some((status, what)) = refused {
                return Err(port.error(status, what));
            }
            handlers.state = PortState::Starting;
        }
        let result = self.start_threads();
        if result.is_err() {
            port.listening.close();
        }
        let stopped_meanwhile = {
            let mut handlers = port.handlers.lock();
            let still_starting = handlers.state == PortState::Starting;
            if still_starting {
                handlers.state = if result.is_ok() { PortState::Started } else { PortState::New };
            }
            !still_starting
        };
        if stopped_meanwhile {
            port.end_listening();
            return result.and(Err(port.stopped_while_starting()));
        }
        result
    }

    fn start_threads(&self) -> Result<(), Error> {
        let port = &self.port;
        let (listeners, warnings) = crate::bind::bind(&port.settings)?;
        for warning in warnings {
            port.log.warn("listener", warning);
        }
        let failed = |doing: &str, error: &std::io::Error| {
            Error::io(format!("[{}] {doing}", port.written), error)
        };
        let addresses = listeners
            .iter()
            .map(std::net::TcpListener::local_addr)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| failed("asking for the bound address", &error))?;
        let listeners = listeners.into_iter().map(TcpListener::from_std).collect();
        if !port.listening.open(listeners) {
            return Err(port.stopped_while_starting());
        }
        let mut accepters = (0..port.settings.accepter_threads)
            .map(|_| Accepter::new(port.clone()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| failed("making an accepter", &error))?;
        if let Some(first) = accepters.first_mut() {
            first.watches_certificate();
        }
        let number = addresses.first().map_or(0, SocketAddr::port);
        let scheduling =
            if port.core.raise_accepters { Scheduling::Raised } else { Scheduling::Batch };
        // Not before: a start that fails leaves the runtime as it was.
        port.core.fix_loops().map_err(|error| port.error(error.status, &error.message))?;
        // The port counts in its runtime from the first thread on: from here on it ends
        // by stop, also when a thread fails to start.
        port.begin(addresses);
        if port.core.life.is_stopping() {
            // The runtime began to stop meanwhile and may not have seen this port; its loops
            // may be gone, so nobody may be accepted.
            port.stop(0);
            let what = "the runtime was stopped during the start; make a new one";
            return Err(port.error(Status::Stopped, what));
        }
        accepters.iter().for_each(Accepter::is_to_run);
        for (index, accepter) in accepters.into_iter().enumerate() {
            port.life.enter();
            let name = format!("acc-{number}-{index}");
            let log = port.log.clone();
            let left = port.clone();
            let spawned = spawn_thread(name, scheduling, move || {
                if dispatch::caught(|| accepter.run()).is_none() {
                    log.error("accept", "an accepter ended by a defect".to_owned());
                    left.leave();
                }
                #[cfg(test)]
                left.fault.last_act();
            });
            match spawned {
                Ok(thread) => port.threads.add(thread),
                Err(error) => {
                    port.leave();
                    port.stop(0);
                    let message = port.error(error.status, &error.message).message;
                    return Err(Error { message, ..error });
                }
            }
        }
        port.log.info("listener", || {
            let addresses: Vec<String> = self.addresses().iter().map(ToString::to_string).collect();
            format!("[{}] listens on {}", port.written, addresses.join(", "))
        });
        Ok(())
    }

    /// The bound addresses; empty before start.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.port.addresses.get().cloned().unwrap_or_default()
    }

    /// The certificates that peers of a port with TLS get, in DER: the server's own first.
    pub fn certificates(&self) -> &[Vec<u8>] {
        self.port.acceptor.as_ref().map_or(&[], |acceptor| acceptor.certificates())
    }

    /// Accepts nobody until resumed, from the return on; who comes waits in the backlog.
    pub fn pause(&self) -> Result<(), Error> {
        self.switch(Mode::Pause)
    }

    /// Accepts again.
    pub fn resume(&self) -> Result<(), Error> {
        self.switch(Mode::Run)
    }

    fn switch(&self, mode: Mode) -> Result<(), Error> {
        let handlers = self.port.handlers.lock();
        match handlers.state {
            PortState::Started if !self.port.life.is_stopping() => {
                self.port.switch.set(mode);
                self.port.listening.let_accepts_end();
                Ok(())
            }
            PortState::New | PortState::Starting => {
                Err(self.port.error(Status::State, "the listener is not started yet"))
            }
            _ => Err(self.port.error(Status::Stopped, "the listener was stopped")),
        }
    }

    /// Begins the end and returns: listening ends at once, connections have `drain_ms`. A
    /// second call can only shorten that.
    ///
    /// After the return no connection is accepted, and the addresses can be bound. A start that
    /// is running on another thread answers `Stopped`; the addresses are free when it has.
    pub fn stop(&self, drain_ms: u64) -> Result<(), Error> {
        self.port.stop(drain_ms);
        Ok(())
    }

    /// Waits until the last connection has been told its end. Like [`Runtime::wait`].
    pub fn wait(&self, timeout_ms: Option<u64>) -> Result<(), Error> {
        self.port.ended.wait("the listener", timeout_ms, || self.port.threads.are_gone())
    }

    /// Counters of this port.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::empty();
        stats.add(&self.port);
        stats.note_certificate(&self.port);
        stats.note_runtime(&self.port.core);
        stats
    }
}

#[cfg(test)]
impl Listener {
    /// A connection that comes to this stage, after `pass` others, meets a defect there.
    pub(crate) fn arm(&self, stage: crate::faults::Stage, pass: usize) {
        self.port.fault.arm(stage, pass);
    }

    pub(crate) fn listening(&self) -> &Listening {
        &self.port.listening
    }

    /// The first of its accepters to leave does that afterwards, on its thread.
    pub(crate) fn set_last_act(&self, act: impl FnOnce() + Send + 'static) {
        self.port.fault.set_last_act(act);
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        if is_forked_child() {
            return;
        }
        self.port.stop(0);
        // Inside a callback this cannot wait, and who polls would wait for himself; the port then
        // ends by itself.
        if self.consumer() != Consumer::Poll {
            let _ = self.wait(None);
        }
    }
}

impl Port {
    /// A port that does not listen yet; certificates are loaded.
    pub fn new(core: Arc<Core>, settings: PortSettings, index: usize) -> Result<Port, Error> {
        let mut acceptor = None;
        let loaded_at = (core.now_ms(), core.unix_s());
        if let Some(tls) = &settings.tls {
            let (loaded, warnings) = crate::config::load_tls(tls, loaded_at.1)
                .map_err(|finding| Error::new(Status::Certificate, finding.to_string()))?;
            for warning in warnings {
                core.log.warn("tls", warning.to_string());
            }
            acceptor = Some(loaded);
        }
        Ok(Port {
            number: core.next_port_number.fetch_add(1, Ordering::Relaxed),
            index,
            written: settings.written.clone(),
            rules: Rules::from(&settings),
            acceptor,
            loaded_at,
            tls_is_optional: settings.ssl == SslMode::Auto,
            gate: Gate::new(GateLimits {
                connections: settings.max_connections,
                connections_per_address: settings.max_connections_per_address,
            }),
            waiting: match settings.max_handshakes {
                None => core.waiting.clone(),
                Some(limit) => Arc::new(Waiting::new(limit)),
            },
            waiting_per_address: settings.max_handshakes_per_address,
            counters: OnceLock::new(),
            switch: Switch::new(),
            listening: Listening::default(),
            threads: Arc::default(),
            memory: core.memory.clone(),
            log: core.log.clone(),
            handlers: Mutex::default(),
            addresses: OnceLock::new(),
            life: Life::new(),
            drain_deadline_ms: AtomicU64::new(u64::MAX),
            limit_told_again_ms: AtomicU64::new(0),
            complains_again_ms: AtomicU64::new(0),
            ended: Ended::default(),
            #[cfg(test)]
            fault: crate::faults::Fault::default(),
            settings,
            core,
        })
    }

    /// The port as the log names it.
    pub fn name(&self) -> String {
        format!("[{}] port {}", self.written, self.bound_port())
    }

    /// The configured one before it is bound.
    pub fn bound_port(&self) -> u16 {
        let bound = self.addresses.get().and_then(|addresses| addresses.first());
        bound.map_or(self.settings.port, SocketAddr::port)
    }

    /// Of a call that the listener's state does not permit.
    fn error(&self, status: Status, what: &str) -> Error {
        let place = crate::bind::place(&self.settings, "port");
        Error::new(status, format!("{place} {}: error: {what}", self.bound_port()))
    }

    fn stopped_while_starting(&self) -> Error {
        self.error(Status::Stopped, "the listener was stopped while it started; make a new one")
    }

    /// From now on it counts in its runtime, and ends by stop.
    fn begin(self: &Arc<Port>, addresses: Vec<SocketAddr>) {
        self.core.life.enter();
        self.all_counters();
        let _ = self.addresses.set(addresses);
        self.core.add_port(self);
    }

    /// The handler of a protocol, and who is asked before it.
    #[allow(clippy::type_complexity)]
    pub fn handlers_for(
        &self,
        protocol: Protocol,
    ) -> (Option<Arc<dyn Handler>>, Option<Arc<dyn Handler>>) {
        let handlers = self.handlers.lock();
        (handlers.by_protocol[protocol.index()].clone(), handlers.admission.clone())
    }

    /// The loops that newcomers of this port go to first.
    pub fn first_doors(&self) -> &[Arc<Door>] {
        if self.acceptor.is_some() { &self.core.handshake_doors } else { self.core.io_doors() }
    }

    pub fn counters_if_started(&self) -> &[Counters] {
        self.counters.get().map_or(&[], |counters| counters)
    }

    fn all_counters(&self) -> &[Counters] {
        self.counters
            .get_or_init(|| (0..=self.core.doors().count()).map(|_| Counters::new()).collect())
    }

    /// Those of a loop.
    pub fn counters(&self, loop_index: usize) -> &Counters {
        &self.all_counters()[loop_index]
    }

    pub fn accept_counters(&self) -> &Counters {
        self.counters(self.accepters_index())
    }

    /// `port` and `mapToPort` as configured.
    pub fn configured_ports(&self) -> (u16, u16) {
        (self.settings.port, self.settings.map_to_port)
    }

    /// Of the accepters' counters.
    pub fn accepters_index(&self) -> usize {
        // There is one more than loops, hence at least one.
        self.all_counters().len() - 1
    }

    pub fn drain_deadline_ms(&self) -> Option<u64> {
        let deadline = self.drain_deadline_ms.load(Ordering::SeqCst);
        (deadline != u64::MAX).then_some(deadline)
    }

    /// Begins the end.
    pub fn stop(self: &Arc<Port>, drain_ms: u64) {
        let state = {
            let mut handlers = self.handlers.lock();
            std::mem::replace(&mut handlers.state, PortState::Stopped)
        };
        let deadline_ms = self.core.now_ms().saturating_add(drain_ms).min(u64::MAX - 1);
        self.drain_deadline_ms.fetch_min(deadline_ms, Ordering::SeqCst);
        self.life.begin_stop();
        self.switch.set(Mode::Stop);
        self.listening.stop();
        match state {
            // A second call: it may have brought a shorter drain.
            PortState::Stopped => self.tell_drain(),
            // The start that is running goes on with it from where it has come to.
            PortState::Starting => {}
            PortState::New | PortState::Started => self.end_listening(),
        }
    }

    /// The second half of a stop: no start is running.
    fn end_listening(self: &Arc<Port>) {
        self.tell_drain();
        if self.addresses.get().is_some() {
            self.log.info("listener", || format!("[{}] listens no more", self.written));
            self.leave();
        } else {
            // It never listened: it does not count in the runtime.
            self.life.leave();
            self.finish();
        }
    }

    /// Tells the loops to end the connections of this port by its deadline.
    fn tell_drain(&self) {
        if let Some(deadline_ms) = self.drain_deadline_ms() {
            let port = self.number;
            self.core.tell_all(|| Control::Drain { port, deadline_ms });
        }
    }

    /// An accepter starts, or a connection was accepted.
    pub fn enter(&self) {
        self.life.enter();
    }

    /// An accepter or connection is gone; the last one finishes the port.
    pub fn leave(&self) {
        if self.life.leave() {
            self.finish();
            self.core.leave();
        }
    }

    /// Lets go of the host's handlers, then tells those who wait.
    fn finish(&self) {
        let (by_protocol, admission) = {
            let mut handlers = self.handlers.lock();
            (std::mem::take(&mut handlers.by_protocol), handlers.admission.take())
        };
        dispatch::guarded(move || drop((by_protocol, admission)));
        self.core.retire_port(self);
        self.ended.set();
    }
}

impl From<&PortSettings> for Rules {
    fn from(settings: &PortSettings) -> Rules {
        let size = |bytes: u64| usize::try_from(bytes).unwrap_or(usize::MAX);
        let reads = match settings.compression {
            Compression::Zlib => Reads::Zlib,
            Compression::Raw => Reads::Raw,
            Compression::Auto | Compression::Off => Reads::Auto,
            Compression::Never => Reads::Never,
        };
        let is_written = !matches!(settings.compression, Compression::Off | Compression::Never);
        let writes = is_written.then(|| Writes {
            zlib: settings.compression != Compression::Raw,
            threshold_bytes: size(settings.compress_threshold_bytes),
            limit_bytes: size(settings.compress_limit_bytes),
            level: settings.compress_level,
        });
        Rules {
            frame: frame::Rules {
                max_frame_bytes: size(settings.max_frame_size_bytes),
                max_inflated_bytes: size(settings.max_inflated_size_bytes),
                reads,
                writes,
            },
            read_timeout_ms: settings.read_timeout_ms,
            handshake_timeout_ms: settings.handshake_timeout_ms,
            frame_timeout_ms: settings.frame_timeout_ms,
            idle_timeout_ms: settings.idle_timeout_ms,
            write_timeout_ms: settings.write_timeout_ms,
            close_timeout_ms: settings.close_timeout_ms,
            send_queue_limit_bytes: size(settings.send_queue_limit_bytes),
            receive_window_bytes: size(settings.receive_window_bytes),
            require_close_notify: settings.require_close_notify,
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Port {
    /// Registers a handler without a listener, for the simulated world.
    pub fn simulate_handler(&self, protocol: Protocol, handler: Arc<dyn Handler>) {
        self.handlers.lock().by_protocol[protocol.index()] = Some(handler);
    }

    pub fn simulate_admission(&self, handler: Arc<dyn Handler>) {
        self.handlers.lock().admission = Some(handler);
    }

    /// Starts without a socket.
    pub fn simulate_start(self: &Arc<Port>) {
        self.handlers.lock().state = PortState::Started;
        self.begin(Vec::new());
    }

    pub fn is_over(&self) -> bool {
        self.life.is_over()
    }
}
