//! Stage 1: accepting, and the limits that are judged there.
//!
//! An accepter is a small thread of its own: it never reads a byte, so nobody can delay
//! it. It deals newcomers in batches to the loop with the fewest connections. Errors of
//! accept never end it. The accepters of a port share its listening sockets; a stop closes
//! these, so that it need not wait for the accepters. It does not shut them down, as another
//! process may share them.

use crate::base::fault::Site;
use crate::base::host;
use crate::base::log::Level;
use crate::net::canonical;
use crate::net::transport::Transport;
use crate::port::Port;
use crate::port::listening::Mode;
use crate::port::seat::{Newcomer, Seat};
use crate::reactor::WAKE;
use crate::reactor::loops::{Arrival, Entrance, Loops, ahead, least_loaded};
use crate::status::CloseReason;
use crate::tls::expiry::Watch;
use mio::{Events, Poll, Waker};
use std::fs::File;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Connections that are dealt together.
const BATCH: usize = 64;
/// Waiting after a shortage, doubled up to the maximum while it lasts.
const BACK_OFF_MIN_MS: u64 = 10;
const BACK_OFF_MAX_MS: u64 = 200;
/// Errors of accept in a row of which each is only the error of one connection. More of them
/// are not: waiting is better than spinning.
const ERRORS_IN_A_ROW: u32 = 64;
/// A shortage is logged once in this time.
const LOG_EVERY_MS: u64 = 1000;

/// Why a batch of newcomers ends.
enum Batch {
    /// It is full: others may wait.
    Full,
    /// Nobody else waits.
    Last,
    /// The loops have more newcomers than they have looked at.
    Behind,
    /// There are as many unidentified connections as may be, and none that may be evicted.
    Crowded,
    Shortage,
}

/// One accepter thread.
pub(crate) struct Accepter {
    port: Arc<Port>,
    loops: Arc<Loops>,
    poll: Poll,
    waker: Arc<Waker>,
    /// How many the port listens on.
    addresses: usize,
    /// Which of them begins the next round.
    first: usize,
    /// Kept open for the moment when no descriptor is left, to accept and reset with it.
    reserve: Option<File>,
    back_off_ms: u64,
    /// If newcomers wait until somebody may be evicted: so long.
    crowded_ms: Option<u64>,
    /// Errors of accept since the last connection.
    errors: u32,
    /// Of each certificate of the port, with the time of the next look: in one of its accepters.
    watch: Option<(Vec<Watch>, u64)>,
}

impl Accepter {
    /// For the sockets that the port listens on.
    pub fn new(port: Arc<Port>, loops: Arc<Loops>) -> io::Result<Accepter> {
        let poll = Poll::new()?;
        let addresses = port.listening.register(poll.registry())?;
        let waker = Arc::new(Waker::new(poll.registry(), WAKE)?);
        let reserve = spare_descriptor();
        let (first, back_off_ms, crowded_ms, errors) = (0, 0, None, 0);
        Ok(Accepter {
            port,
            loops,
            poll,
            waker,
            addresses,
            first,
            reserve,
            back_off_ms,
            crowded_ms,
            errors,
            watch: None,
        })
    }

    /// It is the one that warns of the dates of the port's certificates.
    pub fn watches_certificate(&mut self) {
        let (now_ms, unix_s) = self.port.loaded_at;
        self.watch = self.port.acceptor.as_ref().map(|acceptor| {
            let dates = acceptor.dates().iter();
            (dates.map(|dates| Watch::new(dates.validity, now_ms, unix_s)).collect(), now_ms)
        });
    }

    /// Warns if it is time for that. Gives the milliseconds until the next look.
    fn look_at_certificate(&mut self) -> Option<u64> {
        let (watches, next_ms) = self.watch.as_mut()?;
        let acceptor = self.port.acceptor.as_ref()?;
        let (now_ms, unix_s) = (self.port.commons.now_ms(), self.port.commons.unix_s());
        if now_ms >= *next_ms {
            *next_ms = u64::MAX;
            for (watch, dates) in watches.iter_mut().zip(acceptor.dates()) {
                let (text, again_ms) = watch.look(dates, now_ms, unix_s);
                *next_ms = (*next_ms).min(now_ms + again_ms);
                if let Some(text) = text {
                    self.port.log.warn("tls", format!("{}: {text}", self.port.name()));
                }
            }
        }
        Some(*next_ms - now_ms.min(*next_ms))
    }

    /// It will run: the switch of its port wakes it from here on.
    pub fn is_to_run(&self) {
        self.port.switch.wakers.lock().push(self.waker.clone());
    }

    /// Runs until the port stops.
    pub fn run(mut self) {
        let mut events = Events::with_capacity(16);
        while !self.port.switch.is(Mode::Stop) {
            self.crowded_ms = None;
            if !self.port.switch.is(Mode::Pause) {
                // All of them, whatever the event said: after a pause or a shortage no edge
                // comes for what waits in the backlog.
                let shortage = self.accept_all();
                self.back_off_ms = match shortage {
                    true => (self.back_off_ms * 2).clamp(BACK_OFF_MIN_MS, BACK_OFF_MAX_MS),
                    false => 0,
                };
                if !shortage && self.reserve.is_none() {
                    self.reserve = spare_descriptor();
                }
            }
            let back_off_ms = (self.back_off_ms > 0).then_some(self.back_off_ms);
            let until_ms = [back_off_ms.or(self.crowded_ms), self.look_at_certificate()];
            let timeout = until_ms.into_iter().flatten().min().map(Duration::from_millis);
            if self.port.switch.is(Mode::Stop) {
                break;
            }
            if let Err(error) = self.poll.poll(&mut events, timeout)
                && error.kind() != ErrorKind::Interrupted
            {
                self.complain("waiting for connections", &error);
                std::thread::sleep(Duration::from_millis(BACK_OFF_MIN_MS));
            }
        }
        let port = self.port.clone();
        port.switch.wakers.lock().retain(|waker| !Arc::ptr_eq(waker, &self.waker));
        // What it holds is given back before anybody hears that it has left.
        drop((self, events));
        port.leave();
    }

    /// Accepts until nobody waits, the loops are behind, too many are unidentified, the port is switched,
    /// or a shortage comes: then true. The addresses take turns, a batch each: a flood at one of them does not starve
    /// the others.
    fn accept_all(&mut self) -> bool {
        loop {
            let (mut waiting, mut shortage, mut behind) = (false, false, false);
            let mut crowded = false;
            let count = self.addresses;
            // None: the port was stopped before this accepter was made.
            self.first = (self.first + 1) % count.max(1);
            for index in (self.first..count).chain(0..self.first) {
                match host::caught(|| self.accept_batch(index)) {
                    Some(Batch::Last) => {}
                    Some(Batch::Full) => waiting = true,
                    Some(Batch::Behind) => behind = true,
                    Some(Batch::Crowded) => crowded = true,
                    Some(Batch::Shortage) => shortage = true,
                    None => {
                        self.caught_a_defect();
                        // What it comes from may be there again.
                        shortage = true;
                    }
                }
            }
            if shortage || !self.port.switch.is(Mode::Run) {
                return shortage;
            }
            if behind {
                for entrance in
                    ways(&self.port, &self.loops).flatten().filter(|entrance| !entrance.has_ended())
                {
                    entrance.wakes_when_there_is_room(&self.waker);
                }
                if room(&self.port, &self.loops) == 0 {
                    return false;
                }
            } else if crowded {
                // The same in this order: who leaves after the question wakes it.
                self.port.waiting.wakes_when_there_is_room(&self.waker);
                if let Err(ms) = self.port.waiting.may_enter(self.port.commons.now_ms()) {
                    self.crowded_ms = Some(ms);
                    return false;
                }
            } else if !waiting {
                return false;
            }
        }
    }

    /// Accepts and deals those who wait at one address, a batch of them at most.
    fn accept_batch(&mut self, index: usize) -> Batch {
        let most = room(&self.port, &self.loops).min(BATCH);
        if most == 0 {
            return Batch::Behind;
        }
        let (mut batch, mut accepted) = (Vec::new(), 0);
        let ended_by = loop {
            // Refused ones count as well: a flood of them has no longer turn.
            if accepted == most {
                break Batch::Full;
            }
            // Asked for each, and nearly always without a clock or lock.
            if self.port.waiting.is_full()
                && self.port.waiting.may_enter(self.port.commons.now_ms()).is_err()
            {
                self.say_crowded();
                break Batch::Crowded;
            }
            // Nobody, if the port is paused or stopped in the middle of a batch.
            match self.port.listening.accept(index, &self.port.switch) {
                Ok((stream, peer)) => {
                    self.errors = 0;
                    accepted += 1;
                    let transport = Transport::new(stream);
                    match host::caught(|| admit(&self.port, &self.loops, transport, peer)) {
                        Some(newcomer) => batch.extend(newcomer),
                        None => self.caught_a_defect(),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break Batch::Last,
                Err(error) => {
                    if self.on_error(index, &error) {
                        break Batch::Shortage;
                    }
                }
            }
        };
        self.deal(batch);
        ended_by
    }

    /// Gives a batch to the loops with the fewest connections.
    fn deal(&self, batch: Vec<Newcomer>) {
        let loops = first(&self.port, &self.loops);
        let mut hands: Vec<(usize, Vec<Newcomer>)> = Vec::new();
        for newcomer in batch {
            // A defect of ours costs the one connection it happens to.
            let hands = &mut hands;
            if host::caught(|| {
                newcomer.port.fault.strike(Site::Deal);
                let most = ahead(loops);
                let with_room = loops.iter().filter(|entrance| entrance.room(most) > 0);
                let Some(entrance) = least_loaded(with_room).or_else(|| least_loaded(loops)) else {
                    return;
                };
                let index =
                    loops.iter().position(|other| Arc::ptr_eq(other, entrance)).unwrap_or(0);
                entrance.expects_newcomer();
                match hands.iter_mut().find(|(other, _)| *other == index) {
                    Some((_, hand)) => hand.push(newcomer),
                    None => hands.push((index, vec![newcomer])),
                }
            })
            .is_none()
            {
                self.caught_a_defect();
            }
        }
        for (index, hand) in hands {
            loops[index].send(Arrival::Accepted(hand));
        }
    }

    /// True: stop accepting for now. False: try again at once.
    fn on_error(&mut self, index: usize, error: &io::Error) -> bool {
        let no_descriptors = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
        let no_memory = matches!(error.raw_os_error(), Some(libc::ENOBUFS | libc::ENOMEM));
        self.errors += 1;
        self.port.accept_counters().accept_errors.fetch_add(1, Ordering::Relaxed);
        if no_descriptors && self.errors > 1 {
            self.shed(index);
        }
        // Without descriptors a second try shows whether they are still short. Other errors
        // mean that a connection failed before it was accepted (ECONNABORTED, EPROTO, a
        // firewall's EPERM, network errors that Linux passes on): the next one may be well.
        let give_up = no_memory
            || no_descriptors && self.errors > 1
            || self.errors.is_multiple_of(ERRORS_IN_A_ROW);
        if give_up {
            self.complain("accepting", error);
        }
        give_up
    }

    /// No descriptor is left: those who wait are told by a reset instead of left hanging.
    fn shed(&mut self, index: usize) {
        if self.reserve.take().is_none() {
            return;
        }
        let counters = self.port.accept_counters();
        for _ in 0..BATCH {
            let stream = match self.port.listening.accept(index, &self.port.switch) {
                Ok((stream, _)) => stream,
                Err(error) => {
                    if error.kind() != ErrorKind::WouldBlock {
                        counters.accept_errors.fetch_add(1, Ordering::Relaxed);
                    }
                    break;
                }
            };
            let transport = Transport::new(stream);
            transport.set_reset_on_close(true);
            // Before the peer can see it.
            counters.accepted.fetch_add(1, Ordering::Relaxed);
            counters.closes[CloseReason::NoDescriptors.code() as usize]
                .fetch_add(1, Ordering::Relaxed);
            drop(transport);
        }
        self.reserve = spare_descriptor();
    }

    /// A warning, once a second, that newcomers have to wait.
    fn say_crowded(&self) {
        if is_due(&self.port.limit_told_again_ms, self.port.commons.now_ms()) {
            let text = format!(
                "[{}] maxHandshakes is reached and nobody can be evicted yet: newcomers wait in \
                 the backlog",
                self.port.written
            );
            self.port.log.warn("accept", text);
        }
    }

    fn caught_a_defect(&self) {
        self.port.log.error("accept", "a defect was caught; its connection ends".to_owned());
    }

    fn complain(&self, doing: &str, error: &io::Error) {
        if is_due(&self.port.complains_again_ms, self.port.commons.now_ms()) {
            self.port.log.error("accept", format!("[{}] {doing}: {error}", self.port.written));
        }
    }
}

fn spare_descriptor() -> Option<File> {
    File::open("/dev/null").ok()
}

/// The loops that newcomers of this port go to first.
pub(crate) fn first<'a>(port: &Port, loops: &'a Loops) -> &'a [Arc<Entrance>] {
    if port.acceptor.is_some() { loops.handshake() } else { loops.io() }
}

/// The loops on a newcomer's way: those that it comes to first, and those where it stays.
fn ways<'a>(port: &Port, loops: &'a Loops) -> impl Iterator<Item = &'a [Arc<Entrance>]> {
    [first(port, loops), loops.io()].into_iter()
}

/// How many newcomers the loops may get.
pub(crate) fn room(port: &Port, loops: &Loops) -> usize {
    let room = |loops: &[Arc<Entrance>]| {
        if loops.iter().all(|entrance| entrance.has_ended()) {
            // Defects have ended them all: who comes is closed at once, rather than left waiting.
            return BATCH;
        }
        loops.iter().map(|entrance| entrance.room(ahead(loops))).sum()
    };
    ways(port, loops).map(room).min().unwrap_or(0)
}

/// Judges the limits for a new connection. Over them it is closed at once and counted.
pub(crate) fn admit(
    port: &Arc<Port>,
    loops: &Loops,
    transport: Transport,
    peer: SocketAddr,
) -> Option<Newcomer> {
    // A dual-stack socket shows IPv4 peers as mapped addresses.
    let peer = canonical(peer);
    let entered = port.gate.enter(peer.ip()).and_then(|()| {
        if port.commons.descriptors.enter(peer.ip()) {
            return Ok(());
        }
        port.gate.identified();
        port.gate.gone(peer.ip());
        Err(CloseReason::AddressOverShare)
    });
    let counters = port.accept_counters();
    counters.accepted.fetch_add(1, Ordering::Relaxed);
    match entered {
        Ok(()) => {
            port.enter();
            let accepted_ms = port.commons.now_ms();
            let (ticket, victim) =
                port.waiting.enter(peer.ip(), port.waiting_per_address, accepted_ms);
            let seat = Seat::new(port.clone(), ticket, peer);
            if let Some(victim) = victim {
                if let Some(reason) = victim.evicted() {
                    tell_of_limit(port, reason, peer);
                }
                loops.evict(victim);
            }
            port.fault.strike(Site::Accept);
            Some(Newcomer { transport, port: port.clone(), accepted_ms, seat })
        }
        Err(reason) => {
            counters.closes[reason.code() as usize].fetch_add(1, Ordering::Relaxed);
            tell_of_limit(port, reason, peer);
            port.log.record_with(Level::Debug, "accept", 0, || {
                format!("{}: {peer} closed: {}", port.name(), reason.name())
            });
            None
        }
    }
}

/// A warning, once a second: whoever is closed by a limit may be an honest client.
fn tell_of_limit(port: &Port, reason: CloseReason, peer: SocketAddr) {
    if !is_due(&port.limit_told_again_ms, port.commons.now_ms()) {
        return;
    }
    let (section, from) = (&port.written, peer.ip());
    let reached =
        |key, what| format!("[{section}] {key} is reached by a connection from {from}: {what}");
    port.log.warn("accept", match reason {
        CloseReason::MaxConnections => reached("maxConnections", "it is closed"),
        CloseReason::MaxConnectionsPerAddress => {
            reached("maxConnectionsPerAddress", "it is closed")
        }
        CloseReason::MaxHandshakes => reached(
            "maxHandshakes",
            "the oldest silent one of the address that holds most is evicted",
        ),
        CloseReason::AddressOverShare => format!(
            "[{section}] more than 80 % of the descriptors are in use and {from} holds more than \
             half of the connections: its new ones are closed; raise the limit of open files"
        ),
        _ => reached(
            "maxHandshakesPerAddress",
            "the oldest silent one of its address is evicted",
        ),
    });
}

/// True, and then not for a second, whichever accepter asks.
fn is_due(again_ms: &AtomicU64, now_ms: u64) -> bool {
    let next = |at_ms| (now_ms >= at_ms).then_some(now_ms + LOG_EVERY_MS);
    again_ms.fetch_update(Ordering::Relaxed, Ordering::Relaxed, next).is_ok()
}

#[cfg(test)]
mod tests;
