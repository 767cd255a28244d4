//! Ends: what has to be over before something else is, threads that go, and waiting for both.

use super::host;
use super::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use super::sys::{Scheduling, is_forked_child, join_if_gone, prepare_thread, with_signals_blocked};
use crate::status::{Error, Status};
use parking_lot::{Condvar, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Counts what has to end before something is over. It holds one count itself until it
/// is told to stop.
pub(crate) struct Life {
    count: AtomicUsize,
    stopping: AtomicBool,
}

impl Life {
    pub fn new() -> Life {
        Life { count: AtomicUsize::new(1), stopping: AtomicBool::new(false) }
    }

    pub fn enter(&self) {
        self.count.fetch_add(1, Ordering::SeqCst);
    }

    /// True: that was the last, it is over now.
    pub fn leave(&self) -> bool {
        self.count.fetch_sub(1, Ordering::SeqCst) == 1
    }

    /// The first call is told that it is the first; `stop` then ends with [`Life::leave`].
    pub fn begin_stop(&self) -> bool {
        !self.stopping.swap(true, Ordering::SeqCst)
    }

    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    pub fn is_over(&self) -> bool {
        self.count.load(Ordering::SeqCst) == 0
    }
}

/// Threads that are at their end when what they belong to has ended.
#[derive(Default)]
pub(crate) struct Threads(Mutex<Vec<JoinHandle<()>>>);

impl Threads {
    pub fn add(&self, thread: JoinHandle<()>) {
        self.0.lock().push(thread);
    }

    /// True if they are gone, with the last destructors of the host on them. Does not wait: the calling
    /// thread may be one of them.
    pub fn are_gone(&self) -> bool {
        let mut threads = self.0.lock();
        *threads = std::mem::take(&mut *threads).into_iter().filter_map(join_if_gone).collect();
        threads.is_empty()
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if is_forked_child() {
            // They are not in this process, and whoever is detached must be.
            std::mem::forget(std::mem::take(self.0.get_mut()));
        }
    }
}

/// What calls answer in the child of a fork.
pub(crate) const IN_FORKED_CHILD: &str =
    "this process is the child of a fork; what its parent has made has no threads here";

/// What a thread takes to be gone from the end of its body on, unless the host has destructors on it.
const GONE_AFTER: Duration = Duration::from_micros(50);
/// How often a wait looks whether such a thread is gone.
const LOOKS_AGAIN: Duration = Duration::from_millis(10);

/// Something to wait for.
#[derive(Default)]
pub(crate) struct Ended {
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Ended {
    pub fn set(&self) {
        *self.ended.lock() = true;
        self.changed.notify_all();
    }

    pub fn is_set(&self) -> bool {
        *self.ended.lock()
    }

    /// Waits, also until the threads are gone; `InCallback` where waiting would be for oneself.
    pub fn wait(
        &self,
        what: &str,
        timeout_ms: Option<u64>,
        are_gone: impl Fn() -> bool,
    ) -> Result<(), Error> {
        if is_forked_child() {
            return Err(Error::new(Status::State, IN_FORKED_CHILD));
        }
        let until = timeout_ms.and_then(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
        let may_wait = || {
            if timeout_ms == Some(0) || until.is_some_and(|until| Instant::now() >= until) {
                return Err(Error::new(Status::TimedOut, format!("{what} has not ended yet")));
            }
            if host::in_callback() {
                let message = format!("waiting for {what} inside a callback would wait for itself");
                return Err(Error::new(Status::InCallback, message));
            }
            Ok(())
        };
        let mut ended = self.ended.lock();
        while !*ended {
            may_wait()?;
            match until {
                Some(until) => drop(self.changed.wait_until(&mut ended, until)),
                None => self.changed.wait(&mut ended),
            }
        }
        drop(ended);
        // The threads have left their bodies. This polls, as a join has no time limit and would hold
        // the lock that other callers of `are_gone` need.
        let mut pause = GONE_AFTER;
        while !are_gone() {
            may_wait()?;
            let left = until.map(|until| until.saturating_duration_since(Instant::now()));
            std::thread::sleep(left.map_or(pause, |left| pause.min(left)));
            pause = (pause * 2).min(LOOKS_AGAIN);
        }
        Ok(())
    }
}

/// Starts one of the library's threads, whose names all begin with `np-`. Linux shows 15 bytes of a name.
pub(crate) fn spawn_thread(
    name: String,
    scheduling: Scheduling,
    body: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, Error> {
    let name = format!("np-{name}");
    #[cfg(test)]
    super::fault::no_thread(&name)?;
    let builder = std::thread::Builder::new().name(name.clone());
    let body = move || {
        prepare_thread(scheduling);
        body();
        // What follows are the host's last destructors: as in callbacks, waiting would be for itself.
        std::mem::forget(host::InHost::new());
    };
    with_signals_blocked(|| builder.spawn(body)).map_err(|error| Error {
        status: Status::NoThreads,
        os_error: error.raw_os_error().unwrap_or(0),
        tls_alert: -1,
        message: format!("starting the thread {name}: {error}"),
    })
}
