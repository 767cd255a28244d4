//! A connection's place in its port.

use super::Port;
use super::counters::Counters;
use crate::limits::waiting::{Progress, Ticket};
use crate::net::transport::Transport;
use crate::status::CloseReason;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A socket that has been accepted, on its way to a loop.
pub(crate) struct Newcomer {
    pub transport: Transport,
    pub port: Arc<Port>,
    /// Monotonic milliseconds.
    pub accepted_ms: u64,
    pub seat: Seat,
}

/// A connection's place in its port: in its limits, and in what has to end before the port
/// has ended. Given back exactly once, when dropped, whatever became of the connection.
pub(crate) struct Seat {
    port: Arc<Port>,
    /// Its place among the port's unidentified connections, as long as it is one of them.
    ticket: Option<Arc<Ticket>>,
    /// What its ticket's budget knows of how far it has come.
    stage: Progress,
    peer: SocketAddr,
    is_counted: bool,
}

impl Seat {
    /// Of a newcomer, which has not sent a byte.
    pub fn new(port: Arc<Port>, ticket: Arc<Ticket>, peer: SocketAddr) -> Seat {
        Seat { port, ticket: Some(ticket), stage: Progress::Silent, peer, is_counted: false }
    }

    pub fn ticket(&self) -> Option<&Arc<Ticket>> {
        self.ticket.as_ref()
    }

    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// It has come so far, and is not identified. Another one that is evicted instead of it, if it was to be.
    pub fn reached(&mut self, stage: Progress, now_ms: u64) -> Option<Arc<Ticket>> {
        let ticket = self.ticket.as_ref().filter(|_| stage > self.stage)?;
        self.stage = stage;
        self.port.waiting.reached(ticket, stage, now_ms)
    }

    /// It is identified, or ends before that.
    pub fn identified(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.port.waiting.leave(&ticket);
            self.port.gate.identified();
        }
    }

    /// The connection ends for this reason. False: that has been counted before.
    pub fn count(&mut self, counters: &Counters, reason: CloseReason) -> bool {
        if std::mem::replace(&mut self.is_counted, true) {
            return false;
        }
        counters.closes[reason.code() as usize].fetch_add(1, Ordering::Relaxed);
        true
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let port = self.port.clone();
        // Nobody ended it: a defect has lost it on its way.
        self.count(port.accept_counters(), CloseReason::Internal);
        self.identified();
        port.commons.descriptors.leave(self.peer.ip());
        port.gate.gone(self.peer.ip());
        port.leave();
    }
}
