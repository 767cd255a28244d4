//! The loops: they turn readiness of sockets into turns of connections.
//!
//! A turn of the loop: wait; take messages; give each ready connection its turn (at most
//! what its [`Budget`] allows, then the run-again list); fire deadlines; settle all that were touched,
//! which flushes each of them once. Handshake and I/O loops are the same with another role.

mod absence;
pub(crate) mod door;
pub(crate) mod transport;
mod wheel;

use crate::accept::ahead;
use crate::budget::Budget;
use crate::buffers;
use crate::conn::{Conn, Fate, Newcomer, Turn};
use crate::dispatch;
use crate::frame::decode::Workspace;
use crate::handles::{self, SendFlags};
use crate::polling::{self, Sink};
use crate::runtime::Core;
use crate::status::{CloseReason, Status};
use crate::sync::channel::Receiver;
use absence::Absence;
use door::{Control, Door, least_loaded};
use mio::{Events, Poll, Token};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
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
    core: Arc<Core>,
    poll: Poll,
    receiver: Receiver<Control>,
    door: Arc<Door>,
    slots: Vec<Option<Box<Slot>>>,
    free: Vec<usize>,
    wheel: Wheel,
    scratch: Box<dyn AsMut<[u8]> + Send>,
    /// Up to here events that are polled point into the scratch.
    base: usize,
    turn: Turn,
    /// What polls gather, if the host polls this loop.
    sink: Option<Box<Sink>>,
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
    conn: Conn,
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
        core: Arc<Core>,
        poll: Poll,
        door: Arc<Door>,
        receiver: Receiver<Control>,
        loop_index: usize,
    ) -> Loop {
        let now_ms = core.now_ms();
        Loop {
            poll,
            receiver,
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
            core,
            door,
        }
    }

    /// Runs until the runtime is over. False: a defect has ended it, and its connections.
    pub fn run(mut self) -> bool {
        let mut events = Events::with_capacity(EVENTS);
        while !self.core.life.is_over() {
            let turn = dispatch::caught(|| self.wait_and_turn(&mut events, None));
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

    // Polls of the host.

    /// From now on the host polls this loop; input is read into its buffer.
    pub fn is_polled_into(&mut self, buffer: Box<dyn AsMut<[u8]> + Send>) {
        self.scratch = buffer;
        self.sink = Some(Box::default());
        self.events = Events::with_capacity(EVENTS);
    }

    pub fn sink(&self) -> Option<&Sink> {
        self.sink.as_deref()
    }

    pub fn sink_mut(&mut self) -> Option<&mut Sink> {
        self.sink.as_deref_mut()
    }

    /// Runs turns until there are events, the host has woken it, or the time is over (`None`:
    /// never; `Some(None)`: beyond what the clock can tell). False: the runtime is over.
    pub fn poll(&mut self, max_events: usize, until: Option<Option<Instant>>) -> bool {
        let Some(mut sink) = self.sink.take() else { return false };
        if sink.len() == 0 && self.door.has_ended() {
            // By a defect: what there was to tell has been told.
            self.sink = Some(sink);
            return false;
        }
        if sink.len() > 0 {
            // What the last round left; what it points to is still there.
            sink.let_go();
            self.sink = Some(sink);
            return true;
        }
        sink.begin_round();
        (self.base, self.max_events) = (0, max_events);
        polling::install(sink);
        // What the host has sent since the last round leaves before this loop waits.
        self.turn.now_ms = self.core.now_ms();
        self.settle_touched();
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let goes_on = loop {
            if self.core.life.is_over() {
                break false;
            }
            let left = match until {
                _ if polling::events() > 0 => Some(Duration::ZERO),
                None | Some(None) => None,
                Some(Some(until)) => Some(until.saturating_duration_since(Instant::now())),
            };
            let turn = dispatch::caught(|| self.wait_and_turn(&mut events, left));
            if turn.is_none() {
                self.give_up();
            }
            let is_over_time = left.is_some_and(|left| left.is_zero());
            self.take_records();
            if polling::events() > 0 || std::mem::take(&mut self.woken) || is_over_time {
                break true;
            }
            if turn.is_none() {
                break false;
            }
        };
        self.events = events;
        if !goes_on {
            self.leave_lingering();
        }
        self.sink = Some(polling::uninstall());
        goes_on || self.sink.as_ref().is_some_and(|sink| sink.len() > 0)
    }

    /// Sends frames on a connection of this loop, between two rounds: as in its callback, but no
    /// more than there is room for. Gives how many were taken; `None`: this is to be done from
    /// outside.
    pub fn send_frames<'a>(
        &mut self,
        conn: handles::Conn,
        frames: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        flags: SendFlags,
    ) -> Option<(usize, Result<(), Status>)> {
        let shared = handles::lookup(conn.raw()).ok()?;
        let key = shared.key;
        let slot = self.slots.get_mut(key)?.as_mut()?;
        if !slot.conn.is(&shared) {
            return None;
        }
        let now_ms = self.core.now_ms();
        let answer = dispatch::caught(|| slot.conn.send_frames(now_ms, frames, flags));
        self.touch(key);
        answer.unwrap_or_else(|| {
            conn.on_defect();
            Some((0, Err(Status::Internal)))
        })
    }

    /// One round with what is ready, and its events with what they point to.
    #[cfg(any(test, fuzzing))]
    pub fn simulated_round(
        &mut self,
        ready: impl Iterator<Item = Readiness>,
        max_events: usize,
    ) -> Vec<polling::Told> {
        let Some(mut sink) = self.sink.take() else { return Vec::new() };
        if sink.len() == 0 {
            sink.begin_round();
            (self.base, self.max_events) = (0, max_events);
            polling::install(sink);
            self.settle_touched();
            self.turn(ready);
            sink = polling::uninstall();
        } else {
            sink.let_go();
            // What is ready is not lost: the next round looks at it.
            for ready in ready {
                let key = ready.key;
                if self.note_readiness(ready) {
                    self.visit_later(key);
                }
            }
        }
        let told = sink.told(max_events);
        self.sink = Some(sink);
        told
    }

    /// Log records are events too.
    fn take_records(&mut self) {
        while polling::events() < self.max_events
            && let Some(record) = self.core.log.next_record()
        {
            polling::log(record);
        }
    }

    fn is_polled(&self) -> bool {
        self.max_events > 0
    }

    /// The round has as much as it can hold.
    fn has_no_room(&mut self) -> bool {
        let len = (*self.scratch).as_mut().len();
        polling::events() >= self.max_events
            || len - self.base < ROOM_BYTES.min(len)
            || polling::held_bytes() >= ROUND_HELD_BYTES
    }

    /// A defect outside of any connection's turn: all that can be told is told, and the other
    /// loops get those who come from now on.
    fn give_up(&mut self) {
        self.door.ends();
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
        self.turn.now_ms = self.core.now_ms();
        self.absence.looks(self.turn.now_ms);
        self.door.turn_begins(self.turn.now_ms);
        for _ in 0..TURN_MESSAGES {
            let Ok(control) = self.receiver.try_recv() else { break };
            self.obey(control);
        }
        self.drain_some();
        if self.core.memory.is_leaving() {
            // What evicted ones hold is free before others read on.
            self.settle_touched();
        }
        if !self.starved.is_empty() && !self.core.memory.stops_reading() {
            for key in std::mem::take(&mut self.starved) {
                // Its visit says whether it has to wait again.
                let slot = self.slots[key].as_mut();
                if slot.is_some_and(|slot| std::mem::take(&mut slot.conn.starved)) {
                    self.visit_later(key);
                }
            }
        }
        let is_polled = self.is_polled();
        for ready in ready {
            let key = ready.key;
            if self.note_readiness(ready) {
                match is_polled {
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
            self.door.has_seen(std::mem::take(&mut self.fresh));
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

    /// When the next deadline may fire, for the simulated world.
    #[cfg(any(test, fuzzing))]
    pub fn next_deadline_in_ms(&self) -> Option<u64> {
        self.wheel.sleep_ms(self.core.now_ms())
    }

    /// Deadlines that are over by more than the wheel allows, after a turn, and that nothing in
    /// the wheel will look at within its next ticks.
    #[cfg(any(test, fuzzing))]
    pub fn overdue(&self) -> Vec<(u64, crate::status::CloseReason)> {
        let soon = Wheel::tick_of(self.turn.now_ms) + 2;
        let forgotten = |slot: &&Slot| slot.timer_tick == 0 || slot.timer_tick > soon;
        let slots = self.slots.iter().flatten().map(|slot| &**slot).filter(forgotten);
        let deadlines = slots.filter_map(|slot| slot.conn.next_deadline(slot.again));
        deadlines.filter(|(at_ms, _)| at_ms.saturating_add(200) < self.turn.now_ms).collect()
    }

    fn wait(&mut self, events: &mut Events, limit: Option<Duration>) {
        let now_ms = self.core.now_ms();
        self.turn.away_ms = self.absence.waits(now_ms);
        if let Some(took_ms) = self.door.turn_ends(now_ms) {
            let text = format!("a turn of a loop took {took_ms} ms: does a callback block?");
            self.core.log.warn("reactor", text);
        }
        if self.is_untidy && now_ms >= self.tidied_ms + TIDY_MS {
            self.tidied_ms = now_ms;
            self.is_untidy = buffers::tidy();
        }
        let timeout = if !self.again.is_empty()
            || !self.touched.is_empty()
            || !self.due.is_empty()
            || !self.drains.is_empty()
            || !self.door.fall_asleep(&self.receiver)
            // Looked at after that: who leaves a record does it the other way round.
            || self.is_polled() && self.core.log.has_records()
        {
            Some(Duration::ZERO)
        } else {
            let next = self.wheel.sleep_ms(now_ms);
            // With nothing to release there is no timer for these: an idle process sleeps.
            let release = self.core.compressors.release_idle(now_ms);
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
                    self.core.log.error("reactor", format!("waiting for events: {error}"));
                }
                self.failures = self.failures.wrapping_add(1);
                std::thread::sleep(FAILURE_PAUSE);
            }
        }
        self.door.awake();
    }

    fn obey(&mut self, control: Control) {
        match control {
            Control::Accepted(newcomers) => {
                self.fresh += newcomers.len();
                for newcomer in newcomers {
                    self.welcome(newcomer);
                }
            }
            Control::HandOver(conn) => {
                self.fresh += 1;
                self.adopt(*conn);
            }
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

    /// Lets the next connections of listeners that stop know of it.
    fn drain_some(&mut self) {
        for _ in 0..DRAIN_PLACES {
            let Some(drain) = self.drains.front_mut() else { return };
            if drain.left == 0 {
                self.drains.pop_front();
                continue;
            }
            let (port, deadline_ms, key) = (drain.port, drain.deadline_ms, drain.at);
            drain.left -= 1;
            drain.at = (key + 1) % self.slots.len();
            if self.slots[key].as_ref().is_some_and(|slot| slot.conn.port().number == port) {
                self.careful(key, |this, key| {
                    if let Some(slot) = &mut this.slots[key] {
                        slot.conn.on_drain(deadline_ms);
                    }
                    this.expire(key);
                });
            }
        }
    }

    fn welcome(&mut self, newcomer: Newcomer) {
        #[cfg(test)]
        newcomer.port.fault.strike(crate::faults::Stage::Loop);
        self.adopt(Conn::new(newcomer, self.turn.now_ms));
    }

    /// Gives a connection its place here.
    fn adopt(&mut self, conn: Conn) {
        let key = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[key] = Some(Box::new(Slot {
            conn,
            readable: false,
            read_closed: false,
            touched: false,
            again: false,
            timer_tick: 0,
            unjudged: false,
            evicted: false,
        }));
        self.careful(key, Loop::settle_in);
        // What it brought along is worked on before the loop waits: no edge comes for it.
        self.careful(key, Loop::visit_if_room);
    }

    fn settle_in(&mut self, key: usize) {
        let Some(slot) = &mut self.slots[key] else { return };
        let conn = &mut slot.conn;
        conn.moves_in(&self.turn);
        if let Err(error) = conn.transport().register(self.poll.registry(), key) {
            conn.on_io_error(&error);
        }
        let loop_index = self.turn.loop_index;
        if conn.ticket().is_some_and(|ticket| ticket.settle_at(loop_index, key)) {
            (slot.evicted, slot.readable) = (true, true);
        }
        if let Some(deadline_ms) = conn.port().drain_deadline_ms() {
            conn.on_drain(deadline_ms);
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
        if dispatch::caught(|| step(self, key)).is_none() {
            self.core.log.error("reactor", "a defect was caught; its connection ends".to_owned());
            self.end_by_defect(key);
        }
    }

    fn end_by_defect(&mut self, key: usize) {
        let Some(mut slot) = self.take_slot(key) else { return };
        let turn = &mut self.turn;
        // Its own clean-up may be what is broken; then dropping it gives its place back.
        dispatch::caught(|| slot.conn.on_defect(turn));
        dispatch::caught(move || drop(slot));
    }

    /// A deadline of a connection may be over.
    fn expire(&mut self, key: usize) {
        let Some(slot) = &mut self.slots[key] else { return };
        slot.unjudged = slot.again;
        slot.conn.on_time(&self.turn, slot.again);
        self.touch(key);
    }

    /// A connection's turn, or its place among those that come first in the next round.
    fn visit_if_room(&mut self, key: usize) {
        if self.is_polled() && self.has_no_room() {
            self.visit_later(key);
        } else {
            self.visit(key);
        }
    }

    fn visit_later(&mut self, key: usize) {
        if let Some(slot) = &mut self.slots[key]
            && !std::mem::replace(&mut slot.again, true)
        {
            self.again.push(key);
        }
    }

    /// A connection's turn: kept input, then what the socket has, within the turn's budget.
    fn visit(&mut self, key: usize) {
        let is_polled = self.is_polled();
        let Some(slot) = &mut self.slots[key] else { return };
        let Slot { conn, readable, read_closed, unjudged, evicted, .. } = &mut **slot;
        let turn = &mut self.turn;
        conn.note_absence(turn);
        let scratch = &mut (*self.scratch).as_mut()[self.base..];
        let mut input = Input { scratch, at: 0, filled: 0, is_polled };
        turn.key = key;
        turn.work.budget = Budget::of_a_turn();
        let is_handshake = self.door.is_handshake();
        let mut kept = conn.take_kept();
        let (mut has_read, mut has_place) = (false, true);
        if !kept.is_empty() || conn.wants_turn() || conn.has_opened() {
            let used = conn.on_input(turn, &mut kept);
            let rest = &kept[used..];
            if rest.len() < input.scratch.len() {
                input.scratch[..rest.len()].copy_from_slice(rest);
                input.filled = rest.len();
            } else {
                // It has no place beside what else there is: it waits.
                conn.keep(rest);
                has_place = false;
            }
            if is_polled {
                polling::spare(kept);
                polling::took_pointers();
            }
        }
        // After what was kept: that may have grown into a frame.
        let mut bytes = conn.read_budget(TURN_READ_BYTES);
        let is_starved = bytes == 0 && *readable;
        if !std::mem::replace(&mut conn.starved, is_starved) && is_starved {
            self.starved.push(key);
        }
        while has_place && *readable && bytes > 0 && conn.wants_read() {
            if is_handshake && conn.is_to_hand_over() {
                break;
            }
            if turn.work.budget.is_nearly_spent() {
                break;
            }
            if is_polled && input.room() < ROOM_BYTES.min(input.scratch.len()) {
                // It goes on in the next round, behind those who had no turn in this one: settling
                // puts it there.
                break;
            }
            has_read = true;
            let (got, offered) = match input.read(conn, turn, bytes) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    *readable = false;
                    break;
                }
                Err(error) => {
                    conn.on_io_error(&error);
                    *readable = false;
                    break;
                }
            };
            if got == 0 {
                conn.on_end_of_input();
                *readable = false;
                break;
            }
            bytes = bytes.saturating_sub(got);
            if got < offered && !*read_closed {
                *readable = false;
            }
        }
        if !conn.wants_read()
            && *read_closed
            && let Some(error) = conn.transport().take_error()
        {
            // Not being read, it would not notice that the peer has reset it.
            conn.on_io_error(&error);
        }
        let had_turn = has_read || !*readable;
        if had_turn && std::mem::take(unjudged) {
            conn.on_time(turn, false);
        }
        if let Some(other) = conn.report_stage(turn) {
            self.core.evict(other);
        }
        if had_turn && std::mem::take(evicted) {
            conn.on_evicted();
        }
        let Input { at, filled, scratch, .. } = input;
        if filled > 0 {
            conn.keep(&scratch[at..at + filled]);
        }
        self.base += at;
        // Now, and not when all are settled: many may have read in this turn of the loop.
        if conn.account_memory() {
            conn.fail(CloseReason::MemoryLimit);
        }
        self.touch(key);
    }

    fn settle(&mut self, key: usize) {
        let Some(slot) = &mut self.slots[key] else { return };
        slot.touched = false;
        self.turn.key = key;
        let fate = slot.conn.settle(&mut self.turn);
        let reads_on = slot.readable && slot.conn.wants_read() && !slot.conn.starved;
        let more = fate == Fate::Again || reads_on;
        match fate {
            Fate::Gone => self.drop_slot(key),
            Fate::HandOver => self.hand_over(key),
            Fate::Wait | Fate::Again => {
                if more && !std::mem::replace(&mut slot.again, true) {
                    self.again.push(key);
                }
                #[cfg(any(test, fuzzing))]
                if crate::simulation::canary(crate::simulation::Canary::ForgottenDeadline)
                    && slot.timer_tick == 0
                    && slot.conn.ticket().is_none()
                {
                    return;
                }
                if let Some(at_ms) = slot.conn.deadline_ms()
                    && (slot.timer_tick == 0 || Wheel::tick_of(at_ms) < slot.timer_tick)
                {
                    slot.timer_tick = self.wheel.file(key, at_ms);
                }
            }
        }
    }

    fn take_slot(&mut self, key: usize) -> Option<Box<Slot>> {
        let slot = self.slots[key].take()?;
        self.free.push(key);
        self.turn.lingering -= usize::from(slot.conn.lingers);
        self.door.load.fetch_sub(1, Ordering::Relaxed);
        Some(slot)
    }

    fn drop_slot(&mut self, key: usize) {
        // Closing the descriptor takes it out of the poll.
        drop(self.take_slot(key));
    }

    fn hand_over(&mut self, key: usize) {
        let Some(mut slot) = self.take_slot(key) else { return };
        if let Err(error) = slot.conn.transport().deregister(self.poll.registry()) {
            self.core.log.error("reactor", format!("leaving the handshake loop: {error}"));
        }
        // As newcomers without TLS: a loop that is held up gets no more than it can look at.
        let doors = self.core.io_doors();
        let with_room = doors.iter().filter(|door| door.room(ahead(doors)) > 0);
        if let Some(door) = least_loaded(with_room).or_else(|| least_loaded(doors)) {
            door.expects_newcomer();
            door.send(Control::HandOver(Box::new(slot.conn)));
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        self.door.ends();
    }
}

/// Where input of one visit lies.
struct Input<'a> {
    scratch: &'a mut [u8],
    /// Up to here events that are polled point into it.
    at: usize,
    /// Unused input behind that.
    filled: usize,
    is_polled: bool,
}

impl Input<'_> {
    fn room(&self) -> usize {
        self.scratch.len() - self.at - self.filled
    }

    /// Reads once, to where the connection wants it, and lets it work on that. Gives what was
    /// read and what was offered.
    fn read(
        &mut self,
        conn: &mut Conn,
        turn: &mut Turn,
        most: usize,
    ) -> io::Result<(usize, usize)> {
        if self.filled == 0
            && let Some((got, offered, behind)) = self.read_large(conn, most)?
        {
            if got > 0 {
                conn.received(turn, got);
                self.filled = behind;
                self.advance(conn, turn);
            }
            return Ok((got, offered));
        }
        let offered = self.room().min(conn.read_limit()).min(most);
        if offered == 0 {
            // Unused input fills the whole buffer: nothing can use more of it now.
            return Err(ErrorKind::WouldBlock.into());
        }
        let begin = self.at + self.filled;
        let got = conn.transport().recv(&mut self.scratch[begin..begin + offered])?;
        if got > 0 {
            conn.received(turn, got);
            self.filled += got;
            self.advance(conn, turn);
        }
        Ok((got, offered))
    }

    /// Reads the rest of a large frame into its own buffer and what follows into the scratch.
    fn read_large(
        &mut self,
        conn: &mut Conn,
        most: usize,
    ) -> io::Result<Option<(usize, usize, usize)>> {
        let Some((mut payload, missing)) = conn.lend_large_frame() else { return Ok(None) };
        let scratch = &mut self.scratch[self.at..];
        // Behind a part of the rest nothing may follow.
        let (missing, scratch) =
            if missing > most { (most, &mut scratch[..0]) } else { (missing, scratch) };
        let room = missing.min(payload.capacity() - payload.len());
        let offered = if room == missing { room + scratch.len() } else { room };
        let result = conn.transport().recv_large(&mut payload, missing, scratch);
        conn.return_large_frame(payload);
        let (filled, behind) = result?;
        Ok(Some((filled + behind, offered, behind)))
    }

    /// Lets the connection work on the input. What it leaves moves to the front, unless events
    /// point to what is there.
    fn advance(&mut self, conn: &mut Conn, turn: &mut Turn) {
        let (at, end) = (self.at, self.at + self.filled);
        let used = conn.on_input(turn, &mut self.scratch[at..end]);
        #[cfg(any(test, fuzzing))]
        let used = match used {
            used if self.filled - used > 1
                && crate::simulation::canary(crate::simulation::Canary::LostByte) =>
            {
                used + 1
            }
            used => used,
        };
        if self.is_polled && polling::took_pointers() {
            self.at += used;
        } else {
            self.scratch.copy_within(at + used..end, at);
        }
        self.filled -= used;
    }
}

/// All connections of a runtime whose handles its host may know.
pub(crate) fn connections(core: &Arc<Core>) -> Vec<handles::Conn> {
    handles::all(|shared| Arc::ptr_eq(&shared.port.core, core))
}
