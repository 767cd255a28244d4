//! The way to a loop for those who know one of its connections: a channel for control messages,
//! and a wake-up that is only written when the loop sleeps.

use super::shared::Shared;
use crate::base::log::Wake;
use crate::base::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::base::sync::channel::{self, Receiver, Sender};
use crate::limits::waiting::Ticket;
use mio::Waker;
use std::sync::Arc;

/// What others tell a loop. Never a single frame.
pub(crate) enum Control {
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
        let door = Door {
            role,
            sender,
            waker,
            asleep: AtomicBool::new(false),
            turn_began_ms: AtomicU64::new(0),
            slow_turns: AtomicU64::new(0),
            poller: AtomicUsize::new(0),
            poll_is_woken: AtomicBool::new(false),
        };
        (Arc::new(door), receiver)
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
        self.wake();
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

    /// The loop is about to sleep. False: something is there for it, so it must not.
    pub fn fall_asleep(&self, has_nothing: impl FnOnce() -> bool) -> bool {
        self.asleep.store(true, Ordering::SeqCst);
        if has_nothing() {
            return true;
        }
        self.asleep.store(false, Ordering::SeqCst);
        false
    }

    pub fn awake(&self) {
        self.asleep.store(false, Ordering::SeqCst);
    }
}

impl Wake for Door {
    /// Wakes the loop if it sleeps, without a message.
    fn wake(&self) {
        if self.asleep.swap(false, Ordering::SeqCst) {
            // An eventfd whose counter is full is awake enough.
            let _ = self.waker.wake();
        }
    }
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
