//! The pool of workers: callbacks on threads of their own, so that they may block.
//!
//! The loops put events into the mailboxes of connections; a mailbox in which something waits
//! goes to the next free worker. A callback that blocks holds up its connection and its worker,
//! never a loop.

use super::Owner;
use super::mailbox::{Letter, Mailbox};
use crate::base::host::{self, Working};
use crossbeam_channel::{Receiver, Sender};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Letters of one mailbox in a row, while others wait.
const LETTERS: usize = 16;

/// The way to the workers of a runtime.
pub(crate) struct Pool {
    sender: Sender<Work>,
    receiver: Receiver<Work>,
    running: AtomicUsize,
}

enum Work {
    Mail(Arc<dyn Served>),
    End,
}

/// A connection whose events go to the workers.
pub(crate) trait Served: Send + Sync {
    /// A worker has its turn on it.
    fn serve(self: Arc<Self>);
}

impl Pool {
    pub fn new() -> Pool {
        let (sender, receiver) = crossbeam_channel::unbounded();
        Pool { sender, receiver, running: AtomicUsize::new(0) }
    }

    /// A worker will start.
    pub fn enter(&self) {
        self.running.fetch_add(1, Ordering::SeqCst);
    }

    /// A worker is gone. True: it was the last.
    pub fn leave(&self) -> bool {
        self.running.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// Hands a mailbox over.
    pub fn hand_over(&self, served: Arc<dyn Served>) {
        // Cannot fail: the pool holds a receiver itself.
        let _ = self.sender.send(Work::Mail(served));
    }

    /// No loop will hand over anything more: each worker ends after what waits. True: there is
    /// none.
    pub fn end(&self) -> bool {
        let running = self.running.load(Ordering::SeqCst);
        for _ in 0..running {
            let _ = self.sender.send(Work::End);
        }
        running == 0
    }

    /// The body of a worker.
    pub fn run(&self) {
        while let Ok(Work::Mail(served)) = self.receiver.recv() {
            host::caught(|| served.serve());
        }
    }

    /// Works on one mailbox, if one waits.
    #[cfg(any(test, fuzzing))]
    pub fn run_one(&self) -> bool {
        let Ok(Work::Mail(served)) = self.receiver.try_recv() else { return false };
        served.serve();
        true
    }
}

/// Reads a connection's letters, some at a time while others wait.
pub(crate) fn work_on(owner: &Arc<impl Owner>, mailbox: &Mailbox) {
    for _ in 0..LETTERS {
        let mut dropped = Vec::new();
        let letter = mailbox.take(&**owner, &mut dropped);
        let unread: usize = dropped.iter().map(Letter::bytes).sum();
        // They may be the last to hold something of the host's.
        host::guarded(move || drop(dropped));
        let Some(letter) = letter else {
            mailbox.consumed(owner, unread);
            mailbox.is_given_back(owner);
            return;
        };
        let bytes = letter.bytes() + unread;
        let conn = owner.conn();
        let working = Working::on(conn.raw());
        let went_well = host::guarded(|| letter.read(conn)).is_some();
        drop(working);
        mailbox.consumed(owner, bytes);
        if !went_well {
            owner.has_panicked();
        }
    }
    owner.goes_to_workers();
}
