//! One port as its accepters, loops and connections know it: rules, limits, counters, handlers.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `commons` | what all ports of a runtime share |
//! | `counters` | what is counted |
//! | `listening` | the listening sockets, and the switch of the accepters |
//! | `seat` | a connection's place in its port |

pub(crate) mod commons;
pub(crate) mod counters;
pub(crate) mod listening;
pub(crate) mod seat;

use crate::base::fault::Fault;
use crate::base::host;
use crate::base::life::{Ended, Life, Threads};
use crate::base::log::Log;
use crate::config::{Compression, PortSettings, SslMode};
use crate::event::{Handler, Protocol};
use crate::frame;
use crate::frame::deflate::{Reads, Writes};
use crate::limits::gate::{Gate, GateLimits};
use crate::limits::memory::Memory;
use crate::limits::waiting::Waiting;
use crate::net::bind::place;
use crate::status::{Error, Status};
use crate::tls::Acceptor;
use commons::Commons;
use counters::Counters;
use listening::{Listening, Mode, Switch};
use parking_lot::Mutex;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

/// What a port tells its runtime.
pub(crate) trait Keeper: Send + Sync {
    /// Its last connection has ended, and its handlers are gone.
    fn is_over(&self, port: &Port);
    /// After that: it held the runtime.
    fn has_left(&self);
}

/// What the loops and accepters know of a port.
pub(crate) struct Port {
    /// Unique in its runtime.
    pub number: usize,
    /// Position among the configuration's port sections.
    pub index: usize,
    /// The section as written in the file.
    pub written: String,
    pub settings: PortSettings,
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
    pub commons: Arc<Commons>,
    keeper: Arc<dyn Keeper>,
    pub memory: Arc<Memory>,
    pub log: Arc<Log>,
    pub handlers: Mutex<Handlers>,
    pub addresses: OnceLock<Vec<SocketAddr>>,
    pub life: Life,
    /// Monotonic milliseconds; `u64::MAX` = not draining.
    drain_deadline_ms: AtomicU64,
    /// When the log may be told of a limit again.
    pub limit_told_again_ms: AtomicU64,
    /// From then on an accepter complains again.
    pub complains_again_ms: AtomicU64,
    pub ended: Ended,
    pub fault: Fault,
}

/// The settings that the connection machine reads, in its own terms.
pub(crate) struct Rules {
    pub frame: frame::FrameRules,
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
pub(crate) struct Handlers {
    pub by_protocol: [Option<Arc<dyn Handler>>; 4],
    pub admission: Option<Arc<dyn Handler>>,
    pub state: PortState,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum PortState {
    #[default]
    New,
    /// Binding and starting threads, without a lock: names may have to be resolved.
    Starting,
    Started,
    Stopped,
}

impl Port {
    /// A port that does not listen yet; certificates are loaded.
    pub fn new(
        commons: Arc<Commons>,
        keeper: Arc<dyn Keeper>,
        number: usize,
        settings: PortSettings,
        index: usize,
    ) -> Result<Port, Error> {
        let mut acceptor = None;
        let loaded_at = (commons.now_ms(), commons.unix_s());
        if let Some(tls) = &settings.tls {
            let (loaded, warnings) = crate::config::load_tls(tls, loaded_at.1)
                .map_err(|finding| Error::new(Status::Certificate, finding.to_string()))?;
            for warning in warnings {
                commons.log.warn("tls", warning.to_string());
            }
            acceptor = Some(loaded);
        }
        Ok(Port {
            number,
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
                None => commons.waiting.clone(),
                Some(limit) => Arc::new(Waiting::new(limit)),
            },
            waiting_per_address: settings.max_handshakes_per_address,
            counters: OnceLock::new(),
            switch: Switch::new(),
            listening: Listening::default(),
            threads: Arc::default(),
            memory: commons.memory.clone(),
            log: commons.log.clone(),
            handlers: Mutex::default(),
            addresses: OnceLock::new(),
            life: Life::new(),
            drain_deadline_ms: AtomicU64::new(u64::MAX),
            limit_told_again_ms: AtomicU64::new(0),
            complains_again_ms: AtomicU64::new(0),
            ended: Ended::default(),
            fault: Fault::none(),
            settings,
            keeper,
            commons,
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
    pub fn error(&self, status: Status, what: &str) -> Error {
        let place = place(&self.settings, "port");
        Error::new(status, format!("{place} {}: error: {what}", self.bound_port()))
    }

    pub fn stopped_while_starting(&self) -> Error {
        self.error(Status::Stopped, "the listener was stopped while it started; make a new one")
    }

    /// It is about to listen there, with so many loops.
    pub fn begin(&self, addresses: Vec<SocketAddr>, loops: usize) {
        self.counters.get_or_init(|| (0..=loops).map(|_| Counters::new()).collect());
        let _ = self.addresses.set(addresses);
    }

    /// The handler of a protocol, and the handler that decides on admission before it.
    #[allow(clippy::type_complexity)]
    pub fn handlers_for(
        &self,
        protocol: Protocol,
    ) -> (Option<Arc<dyn Handler>>, Option<Arc<dyn Handler>>) {
        let handlers = self.handlers.lock();
        (handlers.by_protocol[protocol.index()].clone(), handlers.admission.clone())
    }

    pub fn counters_if_started(&self) -> &[Counters] {
        self.counters.get().map_or(&[], |counters| counters)
    }

    fn all_counters(&self) -> &[Counters] {
        self.counters.get().expect("a port has counters from its start on, before anybody comes")
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

    /// Begins the end: it listens no more, and its connections end by then. Gives the state it was in.
    pub fn begin_stop(&self, deadline_ms: u64) -> PortState {
        let state = {
            let mut handlers = self.handlers.lock();
            std::mem::replace(&mut handlers.state, PortState::Stopped)
        };
        self.drain_deadline_ms.fetch_min(deadline_ms, Ordering::SeqCst);
        self.life.begin_stop();
        self.switch.set(Mode::Stop);
        self.listening.stop();
        state
    }

    /// An accepter starts, or a connection was accepted.
    pub fn enter(&self) {
        self.life.enter();
    }

    /// An accepter or connection is gone; the last one finishes the port.
    pub fn leave(&self) {
        if self.life.leave() {
            self.finish();
            self.keeper.has_left();
        }
    }

    /// Lets go of the host's handlers, then tells those who wait.
    pub fn finish(&self) {
        let (by_protocol, admission) = {
            let mut handlers = self.handlers.lock();
            (std::mem::take(&mut handlers.by_protocol), handlers.admission.take())
        };
        host::guarded(move || drop((by_protocol, admission)));
        self.keeper.is_over(self);
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
            frame: frame::FrameRules {
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

    pub fn is_over(&self) -> bool {
        self.life.is_over()
    }
}
