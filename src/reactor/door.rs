//! The way into a loop: a channel for control messages, and a wake-up that is only
//! written when the loop sleeps.

use crate::conn::{Conn, Newcomer};
use crate::shared::Shared;
use crate::sync::Mutex;
use crate::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::sync::channel::{self, Receiver, Sender};
use crate::waiting::Ticket;
use mio::Waker;
use std::sync::Arc;

/// What others tell a loop. Never a single frame.
pub(crate) enum Control {
    /// Connections that an accepter has dealt to this loop.
    Accepted(Vec<Newcomer>),
    /// A connection whose handshake is done.
    HandOver(Box<Conn>),
    /// Operations of other threads wait in it.
    Dirty(Arc<Shared>),
    /// An unidentified connection is evicted, unless it has come further meanwhile.
    Evict(Arc<Ticket>),
    /// The listener with this number stops; its connections end by the deadline.
    Drain { port: usize, deadline_ms: u64 },
    /// Look at the runtime's state.
    Look,
    /// The host lets its poll return.
    Woken,
}

/// What a loop is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Handshake,
    Io,
}

pub(crate) struct Door {
    role: Role,
    sender: Sender<Control>,
    waker: Waker,
    asleep: AtomicBool,
    /// Connections of this loop, those on their way included.
    pub load: AtomicUsize,
    /// Newcomers that were dealt to this loop and that it has not given a place yet.
    unseen: AtomicUsize,
    /// Accepters that wait until there are fewer of those.
    wait_for_room: Waiters,
    /// Its loop takes nothing more.
    has_ended: AtomicBool,
    /// When the loop's present turn began, in monotonic milliseconds; 0 = it waits.
    turn_began_ms: AtomicU64,
    /// Turns that took at least [`SLOW_TURN_MS`].
    slow_turns: AtomicU64,
    /// The thread of the host that polled this loop last.
    poller: AtomicUsize,
    /// The host lets a poll return: told once until the loop has heard it.
    poll_is_woken: AtomicBool,
}

/// A turn of this length is slow: a callback blocks, or the machine has no time for us.
pub(crate) const SLOW_TURN_MS: u64 = 1000;

impl Door {
    pub fn new(role: Role, waker: Waker) -> (Arc<Door>, Receiver<Control>) {
        let (sender, receiver) = channel::unbounded();
        let asleep = AtomicBool::new(false);
        let (load, unseen) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let (turn_began_ms, slow_turns) = (AtomicU64::new(0), AtomicU64::new(0));
        let poller = AtomicUsize::new(0);
        let poll_is_woken = AtomicBool::new(false);
        let door = Door {
            role,
            sender,
            waker,
            asleep,
            load,
            unseen,
            wait_for_room: Waiters::default(),
            has_ended: AtomicBool::new(false),
            turn_began_ms,
            slow_turns,
            poller,
            poll_is_woken,
        };
        (Arc::new(door), receiver)
    }

    // How far accepters run ahead of a loop.

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

    /// The loop has ended: other loops get those who come from now on.
    pub fn ends(&self) {
        self.load.store(usize::MAX / 2, Ordering::SeqCst);
        self.has_ended.store(true, Ordering::SeqCst);
        // Whoever waits for room here has to look at the others again.
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

    // The watchdog: a loop notes its turns, anyone may ask.

    pub fn turn_begins(&self, now_ms: u64) {
        self.turn_began_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Tells how long the turn took if that was too long.
    pub fn turn_ends(&self, now_ms: u64) -> Option<u64> {
        let began_ms = self.turn_began_ms.swap(0, Ordering::Relaxed);
        let took_ms = now_ms.saturating_sub(began_ms);
        if began_ms == 0 || took_ms < SLOW_TURN_MS {
            return None;
        }
        self.slow_turns.fetch_add(1, Ordering::Relaxed);
        Some(took_ms)
    }

    /// In a slow turn at this moment.
    pub fn is_held_up(&self, now_ms: u64) -> bool {
        let began_ms = self.turn_began_ms.load(Ordering::Relaxed);
        began_ms != 0 && now_ms.saturating_sub(began_ms) >= SLOW_TURN_MS
    }

    pub fn slow_turns(&self) -> u64 {
        self.slow_turns.load(Ordering::Relaxed)
    }

    pub fn is_handshake(&self) -> bool {
        self.role == Role::Handshake
    }

    /// Messages that the loop has not taken.
    #[cfg(all(test, not(shuttle)))]
    pub fn messages(&self) -> usize {
        self.sender.len()
    }

    /// Leaves a message; wakes the loop if it sleeps.
    pub fn send(&self, control: Control) {
        // A loop that has ended takes no messages: what it held is gone already.
        let _ = self.sender.send(control);
        if self.asleep.swap(false, Ordering::SeqCst) {
            // An eventfd whose counter is full is awake enough.
            let _ = self.waker.wake();
        }
    }

    /// Wakes the loop if it sleeps, without a message.
    pub fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            let _ = self.waker.wake();
        }
    }

    /// Lets a poll of the host return, or the next one. Nobody may poll for long, so what has been
    /// told and not heard is not told again.
    pub fn wake_poll(&self) {
        if !self.poll_is_woken.swap(true, Ordering::SeqCst) {
            self.send(Control::Woken);
        }
    }

    /// The loop has heard that its poll is to return.
    pub fn poll_returns(&self) {
        self.poll_is_woken.store(false, Ordering::SeqCst);
    }

    /// This thread of the host's polls the loop.
    pub fn polled_by(&self, thread: usize) {
        self.poller.store(thread, Ordering::SeqCst);
    }

    pub fn is_polled_by(&self, thread: usize) -> bool {
        self.poller.load(Ordering::SeqCst) == thread
    }

    /// The loop is about to sleep. False: a message is there, so it must not.
    pub fn fall_asleep(&self, receiver: &Receiver<Control>) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if receiver.is_empty() {
            return true;
        }
        self.asleep.store(false, Ordering::SeqCst);
        false
    }

    pub fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

/// Accepters that wait for something. Each is woken once, and looks for itself then.
#[derive(Default)]
pub(crate) struct Waiters {
    accepters: Mutex<Vec<Arc<Waker>>>,
    is_any: AtomicBool,
}

impl Waiters {
    pub fn add(&self, accepter: &Arc<Waker>) {
        let mut accepters = self.accepters.lock();
        if !accepters.iter().any(|present| Arc::ptr_eq(present, accepter)) {
            accepters.push(accepter.clone());
        }
        drop(accepters);
        self.is_any.store(true, Ordering::SeqCst);
    }

    /// Costs nothing but a look where nobody waits.
    pub fn wake(&self) {
        if self.is_any.load(Ordering::SeqCst) && self.is_any.swap(false, Ordering::SeqCst) {
            let waiting = std::mem::take(&mut *self.accepters.lock());
            for accepter in waiting {
                // An eventfd whose counter is full is awake enough.
                let _ = accepter.wake();
            }
        }
    }
}

/// The door with the fewest connections.
pub(crate) fn least_loaded<'a>(
    doors: impl IntoIterator<Item = &'a Arc<Door>>,
) -> Option<&'a Arc<Door>> {
    doors.into_iter().min_by_key(|door| door.load.load(Ordering::Relaxed))
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::reactor::WAKE;

    #[test]
    fn a_loop_that_nobody_polls_is_told_once_to_return_however_often_it_is_woken() {
        let poll = mio::Poll::new().unwrap();
        let waker = Waker::new(poll.registry(), WAKE).unwrap();
        let (door, receiver) = Door::new(Role::Io, waker);
        (0..1000).for_each(|_| door.wake_poll());
        assert!(matches!(receiver.try_recv(), Ok(Control::Woken)) && receiver.is_empty());
        door.poll_returns();
        door.wake_poll();
        assert!(matches!(receiver.try_recv(), Ok(Control::Woken)));
    }
}
