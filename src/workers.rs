//! The pool of workers: callbacks on threads of their own, so that they may block.
//!
//! The loops put events into the mailboxes of connections; a mailbox in which something waits
//! goes to the next free worker. A callback that blocks holds up its connection and its worker,
//! never a loop.

use crate::dispatch::{self, Working};
use crate::handles::Conn;
use crate::mailbox::Letter;
use crate::send::Op;
use crate::shared::Shared;
use crate::status::CloseReason;
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
    Mail(Arc<Shared>),
    End,
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
    pub fn hand_over(&self, shared: Arc<Shared>) {
        // Cannot fail: the pool holds a receiver itself.
        let _ = self.sender.send(Work::Mail(shared));
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
        while let Ok(Work::Mail(shared)) = self.receiver.recv() {
            dispatch::caught(|| self.work_on(shared));
        }
    }

    /// Works on one mailbox, if one waits.
    #[cfg(any(test, fuzzing))]
    pub fn run_one(&self) -> bool {
        let Ok(Work::Mail(shared)) = self.receiver.try_recv() else { return false };
        self.work_on(shared);
        true
    }

    fn work_on(&self, shared: Arc<Shared>) {
        let Some(mailbox) = &shared.mailbox else { return };
        for _ in 0..LETTERS {
            let mut dropped = Vec::new();
            let letter = mailbox.take(&shared, &mut dropped);
            let unread: usize = dropped.iter().map(Letter::bytes).sum();
            // They may be the last to hold something of the host's.
            dispatch::guarded(move || drop(dropped));
            let Some(letter) = letter else {
                shared.consumed(&mailbox.waiting_bytes, unread);
                // The loop may wait for the last answers before it ends the connection.
                if shared.awaits_consumer.swap(false, Ordering::SeqCst) {
                    shared.touch();
                }
                return;
            };
            let bytes = letter.bytes() + unread;
            let conn = Conn::from_raw(shared.id);
            let working = Working::on(shared.id);
            let went_well = dispatch::guarded(|| letter.read(conn)).is_some();
            drop(working);
            shared.consumed(&mailbox.waiting_bytes, bytes);
            if !went_well {
                shared.state.mute();
                // Ended already, it needs no other end.
                let _ = shared.push(|state| state.close(), Op::Fail(CloseReason::CallbackPanic));
            }
        }
        self.hand_over(shared);
    }
}
