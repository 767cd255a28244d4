//! The loops: they turn readiness of sockets into turns of connections.
//!
//! A turn of the loop: wait; take messages; give each ready connection its turn (at most
//! what its [`Budget`](crate::base::budget::Budget) allows, then the run-again list); fire deadlines; settle all that were touched,
//! which flushes each of them once. Handshake and I/O loops are the same with another role.
//!
//! `turn` is long: it is the list above.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `turn` | one connection's visit, its budget, and how it is settled |
//! | `registration` | how connections get their place in a loop, and leave it |
//! | `driven` | loops whose turns a thread of the host runs |
//! | `loops` | all loops of a runtime, and the way in for connections |
//! | `wheel`, `absence` | deadlines, and the time in which a loop looked at nobody |

mod absence;
mod driven;
pub(crate) mod loops;
mod registration;
mod turn;
mod wheel;

use crate::base::buffers;
use crate::base::host;
use crate::conn::door::{Control, Door};
use crate::conn::{Machine, Turn};
use crate::consumer::round::Round;
use crate::frame::decode::Workspace;
use crate::port::commons::Commons;
use absence::Absence;
use loops::{Entrance, Inlet, Loops};
use mio::{Events, Poll, Token};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::sync::Arc;
use std::time::Duration;
use wheel::Wheel;

/// Read buffer of a loop: 64 KiB would halve 16 KiB frames, 512 KiB gains nothing.
const SCRATCH_BYTES: usize = 256 << 10;
/// Readiness events per wait; 64 cost 6 % at 1,000 busy connections.
const EVENTS: usize = 512;
/// A visit, and a read, needs so much room behind what events that are polled point to.
const ROOM_BYTES: usize = 16 << 10;
/// A round ends when so much is held in buffers of its own: inflated output, which is a thousand
/// times its input, would otherwise add up over all connections, beside what `memoryLimit` counts.
const ROUND_HELD_BYTES: usize = 1 << 20;
/// Bytes that one connection reads in a turn at most, whatever the room in its large frame: what
/// the system copies in one call is not bounded otherwise.
const TURN_READ_BYTES: usize = 2 << 20;
/// Messages that one turn obeys, and deadlines that it judges: of thousands that come at once
/// the rest waits for the next turn, after what is ready by then.
const TURN_MESSAGES: usize = 1024;
const TURN_DEADLINES: usize = 256;
/// Reads of each connection that still lingers when the runtime is over.
const LAST_READS: usize = 16;
/// Places that a turn looks at for connections of a listener that stops. Each of them may be closed
/// and its end told in that turn: thousands at once would hold up the others.
const DRAIN_PLACES: usize = 256;
/// So often a loop looks whether connections may read again that wait for memory.
const STARVED_MS: u64 = 10;
/// So often a loop looks for buffers that nobody uses any more.
const TIDY_MS: u64 = buffers::TIDY.as_millis() as u64;
/// After an error of waiting: so long until the next try, so many of them per line in the log.
const FAILURE_PAUSE: Duration = Duration::from_millis(10);
const FAILURES_PER_COMPLAINT: u32 = 100;
/// The token of the waker; connections have their place as token.
pub(crate) const WAKE: Token = Token(usize::MAX);

pub(crate) struct Loop {
    commons: Arc<Commons>,
    /// All loops of the runtime.
    loops: Arc<Loops>,
    poll: Poll,
    inlet: Inlet,
    entrance: Arc<Entrance>,
    door: Arc<Door>,
    slots: Vec<Option<Box<Slot>>>,
    free: Vec<usize>,
    wheel: Wheel,
    scratch: Box<dyn AsMut<[u8]> + Send>,
    /// Up to here events that are polled point into the scratch.
    base: usize,
    turn: Turn,
    /// What polls gather, if the host polls this loop.
    sink: Option<Box<Round>>,
    /// What a poll of the system fills; kept from one poll of the host to the next.
    events: Events,
    /// A round ends with so many events; 0: nobody polls.
    max_events: usize,
    /// The host lets its poll return.
    woken: bool,
    /// Connections with more to do; visited in the next turn.
    again: Vec<usize>,
    /// Connections to settle at the end of this turn.
    touched: Vec<usize>,
    /// Entries of the wheel that have fired and are not judged yet.
    due: Vec<(usize, u64)>,
    /// How often waiting has failed, in a row.
    failures: u32,
    absence: Absence,
    /// Connections whose input waits for memory that evicted connections have not given back yet.
    starved: Vec<usize>,
    /// Newcomers that got their places in this turn.
    fresh: usize,
    /// When it last looked for unused buffers, in monotonic milliseconds.
    tidied_ms: u64,
    /// There may be some: it does not sleep for ever.
    is_untidy: bool,
    /// Listeners that stop, until all their connections have heard of it.
    drains: VecDeque<Drain>,
}

/// A listener that stops, and which connections have to hear of it.
struct Drain {
    port: usize,
    deadline_ms: u64,
    /// The next place to look at, and how many are left. Newcomers see the deadline themselves.
    at: usize,
    left: usize,
}

/// What is ready at one connection's socket.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Readiness {
    pub key: usize,
    pub readable: bool,
    /// The peer has ended its direction, or the socket has an error.
    pub read_closed: bool,
    pub writable: bool,
}

/// A connection and what the loop knows of its socket.
struct Slot {
    conn: Machine,
    /// The socket may have input: an edge came and no read has emptied it since.
    readable: bool,
    /// The peer has ended its direction, or the socket has an error: read until told.
    read_closed: bool,
    touched: bool,
    again: bool,
    /// The tick of the entry in the wheel that counts; 0 = none.
    timer_tick: u64,
    /// A deadline was over before its turn in a round that had no room: it is judged behind that.
    unjudged: bool,
    /// It is evicted unless what has arrived brings it further.
    evicted: bool,
}

impl Loop {
    pub fn new(
        commons: Arc<Commons>,
        loops: Arc<Loops>,
        poll: Poll,
        entrance: Arc<Entrance>,
        inlet: Inlet,
        loop_index: usize,
    ) -> Loop {
        let now_ms = commons.now_ms();
        let door = entrance.door.clone();
        Loop {
            poll,
            inlet,
            slots: Vec::new(),
            free: Vec::new(),
            wheel: Wheel::new(now_ms),
            scratch: Box::new(vec![0; SCRATCH_BYTES]),
            base: 0,
            sink: None,
            events: Events::with_capacity(0),
            max_events: 0,
            woken: false,
            turn: Turn {
                now_ms,
                away_ms: 0,
                loop_index,
                lingering: 0,
                key: 0,
                door: door.clone(),
                work: Workspace::new(),
                opened: Vec::new(),
            },
            again: Vec::new(),
            touched: Vec::new(),
            due: Vec::new(),
            failures: 0,
            absence: Absence::new(now_ms),
            starved: Vec::new(),
            fresh: 0,
            drains: VecDeque::new(),
            tidied_ms: now_ms,
            is_untidy: false,
            commons,
            loops,
            entrance,
            door,
        }
    }

    /// Runs until the runtime is over. False: a defect has ended it, and its connections.
    pub fn run(mut self) -> bool {
        let mut events = Events::with_capacity(EVENTS);
        while !self.commons.life.is_over() {
            let turn = host::caught(|| self.wait_and_turn(&mut events, None));
            if turn.is_none() {
                self.give_up();
                return false;
            }
        }
        self.leave_lingering();
        true
    }

    fn wait_and_turn(&mut self, events: &mut Events, limit: Option<Duration>) {
        self.wait(events, limit);
        let connections = events.iter().filter(|event| event.token() != WAKE);
        self.turn(connections.map(|event| Readiness {
            key: event.token().0,
            readable: event.is_readable(),
            read_closed: event.is_read_closed() || event.is_error(),
            writable: event.is_writable(),
        }));
    }

    /// A defect outside of any connection's turn: all that can be told is told, and the other
    /// loops get those who come from now on.
    fn give_up(&mut self) {
        self.entrance.ends();
        for key in 0..self.slots.len() {
            self.end_by_defect(key);
        }
    }

    /// The runtime is over before these have lingered to their end. What has arrived at them
    /// is read first: closing with unread input would reset them at once.
    fn leave_lingering(&mut self) {
        for slot in self.slots.iter_mut().flatten() {
            let mut reads = LAST_READS;
            let scratch = (*self.scratch).as_mut();
            while reads > 0 && slot.conn.transport().recv(scratch).is_ok_and(|n| n > 0) {
                reads -= 1;
            }
        }
    }

    /// One turn of the loop, with what is ready.
    pub fn turn(&mut self, ready: impl Iterator<Item = Readiness>) {
        self.turn.now_ms = self.commons.now_ms();
        self.absence.looks(self.turn.now_ms);
        self.door.turn_begins(self.turn.now_ms);
        for _ in 0..TURN_MESSAGES {
            if let Ok(control) = self.inlet.controls.try_recv() {
                self.obey(control);
            } else if let Ok(arrival) = self.inlet.arrivals.try_recv() {
                self.take_in(arrival);
            } else {
                break;
            }
        }
        self.drain_some();
        if self.commons.memory.is_leaving() {
            // What evicted ones hold is free before others read on.
            self.settle_touched();
        }
        if !self.starved.is_empty() && !self.commons.memory.stops_reading() {
            for key in std::mem::take(&mut self.starved) {
                // Its visit says whether it has to wait again.
                let slot = self.slots[key].as_mut();
                if slot.is_some_and(|slot| std::mem::take(&mut slot.conn.starved)) {
                    self.visit_later(key);
                }
            }
        }
        let gathers = self.gathers();
        for ready in ready {
            let key = ready.key;
            if self.note_readiness(ready) {
                match gathers {
                    // Behind those for whom the last round had no room.
                    true => self.visit_later(key),
                    false => self.careful(key, Loop::visit),
                }
            }
        }
        for key in std::mem::take(&mut self.again) {
            if let Some(slot) = self.slots.get_mut(key).and_then(Option::as_mut)
                && std::mem::take(&mut slot.again)
            {
                self.careful(key, Loop::visit_if_room);
            }
        }
        let mut due = std::mem::take(&mut self.due);
        self.wheel.advance(self.turn.now_ms, &mut due);
        let some = due.len().min(TURN_DEADLINES);
        for (key, tick) in due.drain(..some) {
            if let Some(slot) = self.slots.get_mut(key).and_then(Option::as_mut)
                && slot.timer_tick == tick
            {
                slot.timer_tick = 0;
                self.careful(key, Loop::expire);
            }
        }
        self.due = due;
        self.settle_touched();
        if self.fresh > 0 {
            self.entrance.has_seen(std::mem::take(&mut self.fresh));
        }
    }

    fn settle_touched(&mut self) {
        let mut touched = std::mem::take(&mut self.touched);
        for key in touched.drain(..) {
            self.careful(key, Loop::settle);
        }
        // The vector goes back, so that no turn allocates one.
        touched.append(&mut self.touched);
        self.touched = touched;
    }

    fn note_readiness(&mut self, ready: Readiness) -> bool {
        let Some(slot) = self.slots.get_mut(ready.key).and_then(Option::as_mut) else {
            return false;
        };
        slot.readable |= ready.readable;
        slot.read_closed |= ready.read_closed;
        if ready.writable {
            slot.conn.unblock();
        }
        true
    }

    fn wait(&mut self, events: &mut Events, limit: Option<Duration>) {
        let now_ms = self.commons.now_ms();
        self.turn.away_ms = self.absence.waits(now_ms);
        if let Some(took_ms) = self.door.turn_ends(now_ms) {
            let text = format!("a turn of a loop took {took_ms} ms: does a callback block?");
            self.commons.log.warn("reactor", text);
        }
        if self.is_untidy && now_ms >= self.tidied_ms + TIDY_MS {
            self.tidied_ms = now_ms;
            self.is_untidy = buffers::tidy();
        }
        let timeout = if !self.again.is_empty()
            || !self.touched.is_empty()
            || !self.due.is_empty()
            || !self.drains.is_empty()
            || !self.door.fall_asleep(|| self.inlet.is_empty())
            // Looked at after that: who leaves a record does it the other way round.
            || self.gathers() && self.commons.log.has_records()
        {
            Some(Duration::ZERO)
        } else {
            let next = self.wheel.sleep_ms(now_ms);
            // With nothing to release there is no timer for these: an idle process sleeps.
            let release = self.commons.compressors.release_idle(now_ms);
            let tidy = self.is_untidy.then_some(TIDY_MS);
            let starved = (!self.starved.is_empty()).then_some(STARVED_MS);
            let times =
                [next, release, tidy, starved].into_iter().flatten().map(Duration::from_millis);
            times.chain(limit).min()
        };
        match self.poll.poll(events, timeout) {
            Ok(()) => {
                self.failures = 0;
                self.is_untidy |= !events.is_empty();
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => {
                // Cannot happen with a valid poll and buffer. If it does, it may last: neither
                // the processor nor the log is to suffer from it.
                if self.failures.is_multiple_of(FAILURES_PER_COMPLAINT) {
                    self.commons.log.error("reactor", format!("waiting for events: {error}"));
                }
                self.failures = self.failures.wrapping_add(1);
                std::thread::sleep(FAILURE_PAUSE);
            }
        }
        self.door.awake();
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Dirty(shared) => {
                if let Some(Some(slot)) = self.slots.get(shared.key)
                    && slot.conn.is(&shared)
                {
                    self.touch(shared.key);
                }
            }
            Control::Evict(ticket) => {
                if let Some((_, key)) = ticket.place()
                    && let Some(Some(slot)) = self.slots.get_mut(key)
                    && slot.conn.ticket().is_some_and(|own| Arc::ptr_eq(own, &ticket))
                {
                    // It may have spoken, and this loop have been too busy to hear it.
                    (slot.evicted, slot.readable) = (true, true);
                    self.visit_later(key);
                }
            }
            Control::Drain { port, deadline_ms } => {
                let left = self.slots.len();
                match self.drains.iter_mut().find(|drain| drain.port == port) {
                    // Once round from where it is. A later deadline changes nothing.
                    Some(drain) if deadline_ms < drain.deadline_ms => {
                        (drain.deadline_ms, drain.left) = (deadline_ms, left);
                    }
                    Some(_) => {}
                    None => self.drains.push_back(Drain { port, deadline_ms, at: 0, left }),
                }
            }
            Control::Look => {}
            Control::Woken => {
                self.door.poll_returns();
                self.woken = true;
            }
        }
    }

    fn touch(&mut self, key: usize) {
        if let Some(slot) = &mut self.slots[key]
            && !std::mem::replace(&mut slot.touched, true)
        {
            self.touched.push(key);
        }
    }

    /// Runs a step of one connection; a defect of ours that panics ends that connection only.
    fn careful(&mut self, key: usize, step: impl FnOnce(&mut Loop, usize)) {
        if host::caught(|| step(self, key)).is_none() {
            self.commons
                .log
                .error("reactor", "a defect was caught; its connection ends".to_owned());
            self.end_by_defect(key);
        }
    }

    fn end_by_defect(&mut self, key: usize) {
        let Some(mut slot) = self.take_slot(key) else { return };
        let turn = &mut self.turn;
        // Its own clean-up may be what is broken; then dropping it gives its place back.
        host::caught(|| slot.conn.on_defect(turn));
        host::caught(move || drop(slot));
    }

    /// A deadline of a connection may be over.
    fn expire(&mut self, key: usize) {
        let Some(slot) = &mut self.slots[key] else { return };
        slot.unjudged = slot.again;
        slot.conn.on_time(&self.turn, slot.again);
        self.touch(key);
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.entrance.ends();
    }
}
