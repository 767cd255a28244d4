//! Threads that sleep in a poll of the system until something has room for them.

use super::sync::Mutex;
use super::sync::atomic::{AtomicBool, Ordering};
use mio::Waker;
use std::sync::Arc;

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
