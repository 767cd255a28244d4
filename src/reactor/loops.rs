//! The loops of a runtime, and the way in for connections that come to one.

use super::{Loop, WAKE};
use crate::base::log::Wake;
use crate::base::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::base::sync::channel::{self, Receiver, Sender};
use crate::base::waiters::Waiters;
use crate::conn::Machine;
use crate::conn::door::{Control, Door, Role};
use crate::limits::waiting::Ticket;
use crate::port::commons::Commons;
use crate::port::seat::Newcomer;
use crate::status::Error;
use mio::{Poll, Waker};
use parking_lot::Mutex;
use std::io;
use std::sync::{Arc, OnceLock};

/// At most this many newcomers wait at all loops together. Further ones wait in the backlog.
/// Accepters that look at the same time may each have a batch more.
/// Without this limit accepters would accept a burst faster than loops read it. Newcomers whose first
/// byte is not read yet would look as silent as peers that sent nothing.
const AHEAD: usize = 128;
/// What each loop may have of them at least.
const AHEAD_OF_EACH: usize = 16;

/// Connections that come to a loop.
pub(crate) enum Arrival {
    /// Dealt to it by an accepter.
    Accepted(Vec<Newcomer>),
    /// Its handshake is done.
    HandOver(Box<Machine>),
}

/// The way into a loop, and how many are on it.
pub(crate) struct Entrance {
    pub door: Arc<Door>,
    sender: Sender<Arrival>,
    /// Connections of this loop, those on their way included.
    load: AtomicUsize,
    /// Newcomers that were dealt to this loop and that it has not given a place yet.
    unseen: AtomicUsize,
    /// Accepters that wait until there are fewer of those.
    wait_for_room: Waiters,
    /// Its loop takes nothing more.
    has_ended: AtomicBool,
}

impl Entrance {
    fn new(door: Arc<Door>) -> (Arc<Entrance>, Receiver<Arrival>) {
        let (sender, receiver) = channel::unbounded();
        let entrance = Entrance {
            door,
            sender,
            load: AtomicUsize::new(0),
            unseen: AtomicUsize::new(0),
            wait_for_room: Waiters::default(),
            has_ended: AtomicBool::new(false),
        };
        (Arc::new(entrance), receiver)
    }

    /// Lets connections in; wakes the loop if it sleeps.
    pub fn send(&self, arrival: Arrival) {
        // A loop that has ended takes nobody: what came to it is gone already.
        let _ = self.sender.send(arrival);
        self.door.wake();
    }

    /// A newcomer will be sent to it.
    pub fn expects_newcomer(&self) {
        self.load.fetch_add(1, Ordering::Relaxed);
        self.unseen.fetch_add(1, Ordering::SeqCst);
    }

    /// How many newcomers more may be sent, if `most` may be unseen.
    pub fn room(&self, most: usize) -> usize {
        match self.has_ended() {
            true => 0,
            false => most.saturating_sub(self.unseen.load(Ordering::SeqCst)),
        }
    }

    /// The loop has ended: new connections go to other loops.
    pub fn ends(&self) {
        self.load.store(usize::MAX / 2, Ordering::SeqCst);
        self.has_ended.store(true, Ordering::SeqCst);
        // Accepters that wait for this loop must check the other loops again.
        self.has_seen(0);
    }

    pub fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::SeqCst)
    }

    /// Wakes an accepter when there is more room, once. Ask for the room again after that.
    pub fn wakes_when_there_is_room(&self, accepter: &Arc<Waker>) {
        self.wait_for_room.add(accepter);
    }

    /// The loop has given so many newcomers their places.
    pub fn has_seen(&self, newcomers: usize) {
        self.unseen.fetch_sub(newcomers, Ordering::SeqCst);
        self.wait_for_room.wake();
    }

    /// Connections of this loop, those on their way included.
    #[cfg(any(test, fuzzing))]
    pub fn load(&self) -> usize {
        self.load.load(Ordering::SeqCst)
    }

    /// A connection has left its loop.
    pub fn has_left(&self) {
        self.load.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The loop with the fewest connections.
pub(crate) fn least_loaded<'a>(
    loops: impl IntoIterator<Item = &'a Arc<Entrance>>,
) -> Option<&'a Arc<Entrance>> {
    loops.into_iter().min_by_key(|entrance| entrance.load.load(Ordering::Relaxed))
}

/// How many newcomers a loop may have that it has not looked at.
pub(crate) fn ahead(loops: &[Arc<Entrance>]) -> usize {
    let living = loops.iter().filter(|entrance| !entrance.has_ended()).count();
    (AHEAD / living.max(1)).max(AHEAD_OF_EACH)
}

/// What has come to a loop and was not taken yet.
pub(crate) struct Inlet {
    pub controls: Receiver<Control>,
    pub arrivals: Receiver<Arrival>,
}

impl Inlet {
    /// The loop may sleep.
    pub fn is_empty(&self) -> bool {
        self.controls.is_empty() && self.arrivals.is_empty()
    }
}

/// A loop that nobody drives yet.
pub(crate) struct Part {
    pub role: Role,
    pub index: usize,
    poll: Poll,
    entrance: Arc<Entrance>,
    inlet: Inlet,
}

impl Part {
    pub fn new(role: Role, index: usize) -> io::Result<Part> {
        let poll = Poll::new()?;
        let waker = Waker::new(poll.registry(), WAKE)?;
        let (door, controls) = Door::new(role, waker);
        let (entrance, arrivals) = Entrance::new(door);
        Ok(Part { role, index, poll, entrance, inlet: Inlet { controls, arrivals } })
    }

    pub fn entrance(&self) -> &Arc<Entrance> {
        &self.entrance
    }

    /// The loop, at its position in the counters of ports.
    pub fn into_loop(self, commons: Arc<Commons>, loops: Arc<Loops>, position: usize) -> Loop {
        let Part { poll, entrance, inlet, .. } = self;
        Loop::new(commons, loops, poll, entrance, inlet, position)
    }

    /// What a loop would have, for a model of it.
    #[cfg(all(test, shuttle))]
    pub fn into_parts(self) -> (Poll, Arc<Entrance>, Inlet) {
        (self.poll, self.entrance, self.inlet)
    }
}

/// All loops of a runtime, as others reach them.
pub(crate) struct Loops {
    handshake: Vec<Arc<Entrance>>,
    /// Fixed when the first listener starts.
    io: OnceLock<Vec<Arc<Entrance>>>,
    /// Those that the host has made to poll, until then.
    coming: Mutex<Vec<Arc<Entrance>>>,
}

impl Loops {
    /// `io`: `None` if the host makes them.
    pub fn new(handshake: Vec<Arc<Entrance>>, io: Option<Vec<Arc<Entrance>>>) -> Loops {
        let io = io.map_or_else(OnceLock::new, OnceLock::from);
        Loops { handshake, io, coming: Mutex::default() }
    }

    pub fn handshake(&self) -> &[Arc<Entrance>] {
        &self.handshake
    }

    /// The I/O loops; where the host makes them none before the first listener starts.
    pub fn io(&self) -> &[Arc<Entrance>] {
        self.io.get().map_or(&[], Vec::as_slice)
    }

    /// All loops, in the order of their counters.
    pub fn all(&self) -> impl Iterator<Item = &Arc<Entrance>> {
        self.handshake.iter().chain(self.io())
    }

    /// One of the unidentified is evicted.
    pub fn evict(&self, ticket: Arc<Ticket>) {
        // A connection on its way has no place: its next loop checks the ticket. Only its loop is told: one
        // that is held up gets no more of these than it has connections.
        if let Some((loop_index, _)) = ticket.place()
            && let Some(entrance) = self.all().nth(loop_index)
        {
            entrance.door.send(Control::Evict(ticket));
        }
    }

    pub fn tell_all(&self, control: impl Fn() -> Control) {
        self.all().for_each(|entrance| entrance.door.send(control()));
        self.coming.lock().iter().for_each(|entrance| entrance.door.send(control()));
    }

    /// A connection whose handshake is done goes to an I/O loop.
    pub(super) fn hand_over(&self, conn: Machine) {
        // As newcomers without TLS: a loop that is held up gets no more than it can look at.
        let loops = self.io();
        let with_room = loops.iter().filter(|entrance| entrance.room(ahead(loops)) > 0);
        if let Some(entrance) = least_loaded(with_room).or_else(|| least_loaded(loops)) {
            entrance.expects_newcomer();
            entrance.send(Arrival::HandOver(Box::new(conn)));
        }
    }

    // Loops that the host makes.

    /// From now on no loop is added. False: there is none.
    pub fn fix(&self) -> bool {
        let mut coming = self.coming.lock();
        if self.io.get().is_some() {
            return true;
        }
        if coming.is_empty() {
            return false;
        }
        // Nobody else sets it: the lock is held.
        let _ = self.io.set(std::mem::take(&mut *coming));
        true
    }

    /// Adds one. `make` gets its index among the I/O loops; `None`, which must be an error, if they are
    /// fixed.
    pub fn add<R>(
        &self,
        make: impl FnOnce(Option<usize>) -> Result<(Arc<Entrance>, R), Error>,
    ) -> Result<R, Error> {
        let mut coming = self.coming.lock();
        let index = self.io.get().is_none().then_some(coming.len());
        let (entrance, made) = make(index)?;
        coming.push(entrance);
        Ok(made)
    }

    /// Takes one away, and says so before another is added. False: it is in use.
    pub fn remove(&self, door: &Arc<Door>, gone: impl FnOnce()) -> bool {
        let mut coming = self.coming.lock();
        // Only the last one, as positions would move.
        let is_last = coming.last().is_some_and(|last| Arc::ptr_eq(&last.door, door));
        if is_last {
            coming.pop();
            gone();
        }
        is_last
    }
}
