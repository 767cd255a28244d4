//! Logging: one sink and level per runtime, on a thread of its own.
//!
//! The level is checked before anything is formatted. A sink that blocks never blocks I/O:
//! records wait in a bounded queue, and what does not fit is dropped and counted.

use super::host;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};

/// How important a record is. A later level includes all before it.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// No records.
    Off = 0,
    /// Something does not work.
    Error = 1,
    /// Something is doubtful.
    Warn = 2,
    /// What an operator wants to see: one record per connection, at its end.
    Info = 3,
    /// What a developer wants to see.
    Debug = 4,
}

/// One line of the log. Never holds secrets or payloads.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// How important.
    pub level: Level,
    /// The stage or part that speaks.
    pub stage: &'a str,
    /// Handle of the connection, 0 if none is meant.
    pub conn: u64,
    /// One line.
    pub text: &'a str,
}

/// The same, as an event that is polled.
#[derive(Clone, Debug)]
pub struct OwnedRecord {
    /// How important.
    pub level: Level,
    /// The stage or part that speaks.
    pub stage: &'static str,
    /// Handle of the connection, 0 if none is meant.
    pub conn: u64,
    /// One line.
    pub text: String,
}

/// Where records go. Called on the runtime's thread `log` only.
pub trait Sink: Send {
    /// Takes one record.
    fn log(&mut self, record: &Record<'_>);
}

/// Records that wait for the sink.
const QUEUE: usize = 1024;

enum Message {
    Record(OwnedRecord),
    /// Another sink was set.
    Renew,
    End,
}

/// Something that sleeps and can be woken.
pub(crate) trait Wake: Send + Sync {
    fn wake(&self);
}

pub(crate) struct Log {
    level: AtomicI32,
    sender: Sender<Message>,
    receiver: Receiver<Message>,
    next: Mutex<Next>,
    dropped: AtomicU64,
    /// Where records are polled: the loop that is woken for them.
    poller: Mutex<Option<Arc<dyn Wake>>>,
}

#[derive(Default)]
struct Next {
    /// A sink that the thread has not taken over yet (`Some(None)`: none from now on).
    sink: Option<Option<Box<dyn Sink>>>,
    /// The thread takes no other any more.
    ended: bool,
}

impl Log {
    pub fn new() -> Log {
        let (sender, receiver) = crossbeam_channel::bounded(QUEUE);
        Log {
            level: AtomicI32::new(0),
            sender,
            receiver,
            next: Mutex::default(),
            dropped: AtomicU64::new(0),
            poller: Mutex::default(),
        }
    }

    /// From now on records up to `level` go to `sink`. False: the log has ended.
    pub fn set(&self, level: Level, sink: Option<Box<dyn Sink>>) -> bool {
        let level = if sink.is_some() { level } else { Level::Off };
        let (is_set, unseen) = {
            let mut next = self.next.lock();
            if next.ended {
                (false, Some(sink))
            } else {
                self.level.store(Level::Off as i32, Ordering::SeqCst);
                let unseen = next.sink.replace(sink);
                // With a full queue the thread is busy, and looks before its next record.
                let _ = self.sender.try_send(Message::Renew);
                self.level.store(level as i32, Ordering::SeqCst);
                (true, unseen)
            }
        };
        host::guarded(move || drop(unseen));
        is_set
    }

    // Where records are polled.

    pub fn set_level(&self, level: Level) {
        self.level.store(level as i32, Ordering::SeqCst);
    }

    /// This one is woken when a record comes; the first one counts.
    pub fn wake_for_records(&self, poller: Arc<dyn Wake>) {
        self.poller.lock().get_or_insert(poller);
    }

    /// This one goes.
    pub fn forget(&self, poller: &Arc<impl Wake>) {
        let is_it = |present: &mut Arc<dyn Wake>| {
            std::ptr::addr_eq(Arc::as_ptr(present), Arc::as_ptr(poller))
        };
        self.poller.lock().take_if(is_it);
    }

    pub fn has_records(&self) -> bool {
        !self.receiver.is_empty()
    }

    pub fn next_record(&self) -> Option<OwnedRecord> {
        match self.receiver.try_recv() {
            Ok(Message::Record(record)) => Some(record),
            _ => None,
        }
    }

    pub fn wants(&self, level: Level) -> bool {
        level as i32 <= self.level.load(Ordering::Relaxed)
    }

    pub fn record(&self, level: Level, stage: &'static str, conn: u64, text: String) {
        let message = Message::Record(OwnedRecord { level, stage, conn, text });
        if let Err(TrySendError::Full(_)) = self.sender.try_send(message) {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        } else if let Some(poller) = &*self.poller.lock() {
            poller.wake();
        }
    }

    /// Formats only if the level is wanted.
    pub fn record_with(
        &self,
        level: Level,
        stage: &'static str,
        conn: u64,
        text: impl FnOnce() -> String,
    ) {
        if self.wants(level) {
            self.record(level, stage, conn, text());
        }
    }

    pub fn error(&self, stage: &'static str, text: String) {
        self.record_with(Level::Error, stage, 0, || text);
    }

    pub fn warn(&self, stage: &'static str, text: String) {
        self.record_with(Level::Warn, stage, 0, || text);
    }

    pub fn info(&self, stage: &'static str, text: impl FnOnce() -> String) {
        self.record_with(Level::Info, stage, 0, text);
    }

    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The last record of the runtime; waits for room.
    pub fn end(&self) {
        let _ = self.sender.send(Message::End);
    }

    /// The body of the thread `log`.
    pub fn run(&self) {
        let mut sink: Option<Box<dyn Sink>> = None;
        while let Ok(message) = self.receiver.recv() {
            // Bound first: the lock must not be held while the host's code runs.
            let next = self.next.lock().sink.take();
            if let Some(next) = next {
                let old = std::mem::replace(&mut sink, next);
                host::guarded(move || drop(old));
            }
            match message {
                Message::Record(OwnedRecord { level, stage, conn, text }) => {
                    if let Some(sink) = &mut sink {
                        let record = Record { level, stage, conn, text: &text };
                        // A sink that panics loses this record and nothing else.
                        host::guarded(|| sink.log(&record));
                    }
                }
                Message::Renew => {}
                Message::End => break,
            }
        }
        let unseen = {
            let mut next = self.next.lock();
            next.ended = true;
            self.level.store(Level::Off as i32, Ordering::SeqCst);
            next.sink.take()
        };
        host::guarded(move || drop((sink, unseen)));
    }
}
