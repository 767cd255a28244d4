//! One port: bind, start, drain, stop.
//!
//! `start_threads` is long: steps in an order that matters, each with its own way back.

use super::stats::Stats;
use super::{Core, Runtime};
use crate::accept::Accepter;
use crate::base::host;
use crate::base::life::spawn_thread;
use crate::base::sys::{Scheduling, is_forked_child};
use crate::config::{Config, Severity};
use crate::conn::door::Control;
use crate::consumer::Consumer;
use crate::event::{Handler, Protocol};
use crate::net::bind;
use crate::port::listening::Mode;
use crate::port::{Handlers, Port, PortState};
use crate::status::{Error, Status};
use mio::net::TcpListener;
use std::net::SocketAddr;
use std::sync::Arc;

/// One port of a configuration, made ready to listen.
pub struct Listener {
    core: Arc<Core>,
    port: Arc<Port>,
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
        if runtime.core().commons.life.is_stopping() {
            let (place, number) = (bind::place(&settings, "port"), settings.port);
            let message =
                format!("{place} {number}: error: the runtime was stopped; make a new one");
            return Err(Error::new(Status::Stopped, message));
        }
        // A key that is mistyped changes nothing, which may be less than its author believes.
        let core = runtime.core();
        for finding in config.findings_for(port_index) {
            core.commons.warn_once("config", finding.to_string());
        }
        let port = core.make_port(settings, port_index)?;
        Ok(Listener { core: core.clone(), port })
    }

    /// Who gets the events.
    pub fn consumer(&self) -> Consumer {
        self.port.commons.consumer
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
                PortState::New if port.commons.life.is_stopping() => {
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
            self.core.end_listening(port);
            return result.and(Err(port.stopped_while_starting()));
        }
        result
    }

    fn start_threads(&self) -> Result<(), Error> {
        let port = &self.port;
        let (listeners, warnings) = bind::bind(&port.settings)?;
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
            .map(|_| Accepter::new(port.clone(), self.core.loops.clone()))
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| failed("making an accepter", &error))?;
        if let Some(first) = accepters.first_mut() {
            first.watches_certificate();
        }
        let number = addresses.first().map_or(0, SocketAddr::port);
        let scheduling =
            if self.core.raise_accepters { Scheduling::Raised } else { Scheduling::Batch };
        // Not before: a start that fails leaves the runtime as it was.
        self.core.fix_loops().map_err(|error| port.error(error.status, &error.message))?;
        // The port counts in its runtime from the first thread on: from here on it ends
        // by stop, also when a thread fails to start.
        self.core.begin_port(port, addresses);
        if port.commons.life.is_stopping() {
            // The runtime began to stop meanwhile and may not have seen this port; its loops
            // may be gone, so nobody may be accepted.
            self.core.stop_port(port, 0);
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
                if host::caught(|| accepter.run()).is_none() {
                    log.error("accept", "an accepter ended by a defect".to_owned());
                    left.leave();
                }
                left.fault.last_act();
            });
            match spawned {
                Ok(thread) => port.threads.add(thread),
                Err(error) => {
                    port.leave();
                    self.core.stop_port(port, 0);
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
        self.core.stop_port(&self.port, drain_ms);
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
        stats.note_runtime(&self.core);
        stats
    }
}

#[cfg(test)]
impl Listener {
    /// A connection that comes to this stage, after `pass` others, meets a defect there.
    pub(crate) fn arm(&self, site: crate::base::fault::Site, pass: usize) {
        self.port.fault.arm(site, pass);
    }

    pub(crate) fn listening(&self) -> &crate::port::listening::Listening {
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
        self.core.stop_port(&self.port, 0);
        // Inside a callback this cannot wait, and who polls would wait for himself; the port then
        // ends by itself.
        if self.consumer() != Consumer::Poll {
            let _ = self.wait(None);
        }
    }
}

/// The lives of ports within their runtime.
impl Core {
    /// From now on a port counts in its runtime, and ends by stop.
    pub(super) fn begin_port(&self, port: &Arc<Port>, addresses: Vec<SocketAddr>) {
        self.commons.life.enter();
        port.begin(addresses, self.loops.all().count());
        self.add_port(port);
    }

    /// Begins the end of a port.
    pub(crate) fn stop_port(&self, port: &Arc<Port>, drain_ms: u64) {
        let deadline_ms = self.commons.now_ms().saturating_add(drain_ms).min(u64::MAX - 1);
        match port.begin_stop(deadline_ms) {
            // A second call: it may have brought a shorter drain.
            PortState::Stopped => self.tell_drain(port),
            // The start that is running goes on with it from where it has come to.
            PortState::Starting => {}
            PortState::New | PortState::Started => self.end_listening(port),
        }
    }

    /// The second half of a stop: no start is running.
    fn end_listening(&self, port: &Arc<Port>) {
        self.tell_drain(port);
        if port.addresses.get().is_some() {
            port.log.info("listener", || format!("[{}] listens no more", port.written));
            port.leave();
        } else {
            // It never listened: it does not count in the runtime.
            port.life.leave();
            port.finish();
        }
    }

    /// Tells the loops to end the connections of a port by its deadline.
    fn tell_drain(&self, port: &Port) {
        if let Some(deadline_ms) = port.drain_deadline_ms() {
            let port = port.number;
            self.loops.tell_all(|| Control::Drain { port, deadline_ms });
        }
    }
}

#[cfg(any(test, fuzzing))]
impl Core {
    /// Starts a port without a socket.
    pub fn simulate_start(&self, port: &Arc<Port>) {
        port.handlers.lock().state = PortState::Started;
        self.begin_port(port, Vec::new());
    }
}
