//! Mode `connect`: so many connections at a time are made, identified, used for one frame
//! and closed, and followed by the next.

use crate::frames::{Frames, Patterns, Place};
use crate::options::Options;
use crate::peer::{Buffers, Connector, Outcome, Peer};
use crate::process::Reading;
use nativeport_bench::epoll::{BOTH, Epoll, events};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// A connection that has been begun, and what it waits for.
struct Cycle {
    peer: Peer,
    waits: Waits,
    begun: Instant,
}

enum Waits {
    Connected,
    Handshake,
    Answer,
    Echo(Place),
}

/// What an event led to.
pub enum Step {
    Waits,
    Done { resumed: bool },
}

/// Connections of one kind, some at a time.
pub struct Cycles<'p> {
    connector: Connector,
    frames: Frames<'p>,
    cycles: Vec<Option<Cycle>>,
    buffers: Buffers,
    epoll: &'p Epoll,
}

impl<'p> Cycles<'p> {
    pub fn new(
        connector: Connector,
        frames: Frames<'p>,
        at_a_time: usize,
        epoll: &'p Epoll,
    ) -> Cycles<'p> {
        let cycles = (0..at_a_time).map(|_| None).collect();
        Cycles { connector, frames, cycles, buffers: Buffers::new(), epoll }
    }

    pub fn is_free(&self, slot: usize) -> bool {
        self.cycles[slot].is_none()
    }

    pub fn slots(&self) -> usize {
        self.cycles.len()
    }

    pub fn begin(&mut self, slot: usize) -> io::Result<()> {
        let peer = self.connector.begin()?;
        self.epoll.add(&peer.socket, BOTH, slot as u64)?;
        self.cycles[slot] = Some(Cycle { peer, waits: Waits::Connected, begun: Instant::now() });
        Ok(())
    }

    /// Goes on with a connection after an event.
    pub fn step(&mut self, slot: usize) -> io::Result<Step> {
        let Some(cycle) = &mut self.cycles[slot] else { return Ok(Step::Waits) };
        let buffers = &mut self.buffers;
        if matches!(cycle.waits, Waits::Connected) {
            if cycle.peer.socket.peer_addr().is_err() {
                return Ok(Step::Waits);
            }
            cycle.peer.start(buffers)?;
            cycle.waits = Waits::Handshake;
        }
        cycle.peer.flush()?;
        loop {
            if matches!(cycle.waits, Waits::Handshake) && cycle.peer.may_send() {
                cycle.peer.send(&[1], buffers)?;
                cycle.waits = Waits::Answer;
            }
            let mut answered = false;
            let (frames, waits) = (&self.frames, &mut cycle.waits);
            let mut whole = 0;
            let outcome = cycle.peer.receive(buffers, |mut data| {
                if let (Waits::Answer, [first, rest @ ..]) = (&*waits, data) {
                    if *first != 1 {
                        return Err(io::Error::other("the answer is not a byte 1"));
                    }
                    answered = true;
                    data = rest;
                    *waits = Waits::Echo(Place::default());
                }
                if let Waits::Echo(place) = waits {
                    whole += frames.receive(place, data)?;
                }
                Ok(())
            })?;
            if answered {
                let mut chunk = std::mem::take(&mut buffers.chunk);
                let frame = self.frames.next(Place::default(), 1, &mut chunk);
                let sent = cycle.peer.send(frame, buffers)?;
                if sent < frame.len() {
                    return Err(io::Error::other("the frame is too large for this mode"));
                }
                buffers.chunk = chunk;
            }
            if whole > 0 {
                let resumed = cycle.peer.resumed();
                cycle.peer.goodbye(buffers);
                self.cycles[slot] = None;
                return Ok(Step::Done { resumed });
            }
            match outcome {
                Outcome::Ended => return Err(io::Error::other("the server ended a connection")),
                Outcome::Empty => break,
                // The handshake may have ended just now: the first byte is due.
                _ if matches!(cycle.waits, Waits::Handshake) && cycle.peer.may_send() => {}
                Outcome::Short => break,
                Outcome::Full => {}
            }
        }
        if cycle.begun.elapsed() > Duration::from_secs(20) {
            return Err(io::Error::new(ErrorKind::TimedOut, "no answer for 20 s"));
        }
        Ok(Step::Waits)
    }
}

pub fn run(options: &Options) -> io::Result<String> {
    let patterns = Patterns::new(options.size, 1, options.check);
    let epoll = Epoll::new()?;
    let connector = Connector::new(options)?;
    let mut cycles = Cycles::new(connector, patterns.of(0), options.conns, &epoll);
    let start = Instant::now();
    let warm = start + options.warm;
    let end = warm + options.seconds;
    let (mut total, mut resumed, mut total_begun) = (0u64, 0u64, 0);
    let mut begun = None;
    let mut events = events();
    for slot in 0..cycles.slots() {
        cycles.begin(slot)?;
    }
    loop {
        let now = Instant::now();
        if begun.is_none() && now >= warm {
            begun = Some(Reading::take(options.pid)?);
            (total_begun, resumed) = (total, 0);
        }
        if now >= end {
            break;
        }
        let ready = epoll.wait(&mut events, Some(Duration::from_millis(50)))?;
        for event in ready {
            if let Step::Done { resumed: was } = cycles.step(event.u64 as usize)? {
                total += 1;
                resumed += u64::from(was);
                cycles.begin(event.u64 as usize)?;
            }
        }
    }
    let Some(begun) = begun else { return Err(ErrorKind::Other.into()) };
    let operations = total - total_begun;
    Ok(format!(
        "{{\"mode\": \"connect\", \"tls\": {}, \"at_a_time\": {}, \"size\": {}, \"resumed\": {resumed}, {}}}",
        options.tls,
        options.conns,
        options.size,
        begun.until(&Reading::take(options.pid)?).json(operations)
    ))
}
