//! The way into a loop: a channel for control messages, and a wake-up that is only
//! written when the loop sleeps.

use crate::accept::Ticket;
use crate::conn::{Conn, Newcomer};
use crate::shared::Shared;
use crate::status::CloseReason;
use crate::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::sync::channel::{self, Receiver, Sender};
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
    /// An unidentified connection has to make room.
    Doom { ticket: Arc<Ticket>, reason: CloseReason },
    /// The listener with this number stops (`None`: all); connections end by the deadline.
    Drain { port: Option<usize>, deadline_ms: u64 },
    /// Look at the runtime's state.
    Look,
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
}

impl Door {
    pub fn new(role: Role, waker: Waker) -> (Arc<Door>, Receiver<Control>) {
        let (sender, receiver) = channel::unbounded();
        let asleep = AtomicBool::new(false);
        let load = AtomicUsize::new(0);
        (Arc::new(Door { role, sender, waker, asleep, load }), receiver)
    }

    pub fn is_handshake(&self) -> bool {
        self.role == Role::Handshake
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

/// The door with the fewest connections.
pub(crate) fn least_loaded(doors: &[Arc<Door>]) -> Option<&Arc<Door>> {
    doors.iter().min_by_key(|door| door.load.load(Ordering::Relaxed))
}
