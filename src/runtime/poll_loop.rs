//! Loops that threads of the host poll for events: the consumer [`Consumer::Poll`](super::Consumer).

use super::{Core, Runtime};
use crate::base::host::{InHost, this_thread};
use crate::base::life::IN_FORKED_CHILD;
use crate::base::sys::is_forked_child;
use crate::conn::door::Door;
pub use crate::consumer::round::{PolledEvent, PolledFrame, Region, What};
use crate::event::{Conn, SendFlags};
use crate::reactor::Loop;
use crate::status::{Error, Status};
use parking_lot::{Mutex, MutexGuard};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A loop that the host drives.
pub struct PollLoop {
    core: Arc<Core>,
    door: Arc<Door>,
    /// `None` once the runtime is over.
    reactor: Mutex<Option<Loop>>,
    /// The runtime is being freed: it polls to the end itself.
    is_taken_over: AtomicBool,
}

/// The events of one poll.
pub struct Batch<'a> {
    reactor: &'a mut Loop,
    left: usize,
}

impl Batch<'_> {
    /// The frames that the events of this round tell of.
    pub fn frames(&self) -> &[PolledFrame] {
        self.reactor.sink().map_or(&[], |sink| sink.frames())
    }
}

impl Iterator for Batch<'_> {
    type Item = PolledEvent;

    fn next(&mut self) -> Option<PolledEvent> {
        self.left = self.left.checked_sub(1)?;
        self.reactor.sink_mut()?.next()
    }
}

impl PollLoop {
    /// Makes one more loop of a runtime whose consumer is [`crate::runtime::Consumer::Poll`],
    /// before its listeners start. Input is read into `buffer`.
    pub fn new(
        runtime: &Runtime,
        buffer: Box<dyn AsMut<[u8]> + Send>,
    ) -> Result<Arc<PollLoop>, Error> {
        let core = runtime.core().clone();
        let (door, reactor) = core.add_loop(buffer)?;
        let made = Arc::new(PollLoop {
            core,
            door,
            reactor: Mutex::new(Some(reactor)),
            is_taken_over: AtomicBool::new(false),
        });
        made.core.note_poll_loop(&made);
        Ok(made)
    }

    /// Waits for events, at most `timeout_ms` milliseconds (`None`: no limit), and lets `take`
    /// have at most `max` of them. What they point to is valid until the next call. Nothing
    /// may have come: the time passed, or somebody called [`PollLoop::wake`].
    ///
    /// Inside of `take` calls that wait answer `InCallback`, as in callbacks.
    ///
    /// `Stopped`: the runtime has ended and everything was told. `State`: another thread polls
    /// this loop. `Argument`: `max` is 0.
    pub fn poll<R>(
        &self,
        max: usize,
        timeout_ms: Option<u64>,
        take: impl FnOnce(Batch<'_>) -> R,
    ) -> Result<R, Status> {
        if is_forked_child() {
            return Err(Status::State);
        }
        if max == 0 {
            return Err(Status::Argument);
        }
        if self.is_taken_over.load(Ordering::SeqCst) {
            return Err(Status::Stopped);
        }
        let Some(guard) = self.reactor.try_lock() else { return Err(Status::State) };
        self.poll_locked(guard, max, timeout_ms, take)
    }

    fn poll_locked<R>(
        &self,
        mut guard: MutexGuard<'_, Option<Loop>>,
        max: usize,
        timeout_ms: Option<u64>,
        take: impl FnOnce(Batch<'_>) -> R,
    ) -> Result<R, Status> {
        let Some(reactor) = &mut *guard else { return Err(Status::Stopped) };
        let until = timeout_ms.map(|ms| Instant::now().checked_add(Duration::from_millis(ms)));
        self.door.polled_by(this_thread());
        if reactor.poll(max, until) {
            let left = max;
            // Whatever waits for the end of this loop would wait for itself.
            let _in_host = InHost::new();
            return Ok(take(Batch { reactor, left }));
        }
        *guard = None;
        drop(guard);
        self.core.loop_ended();
        Err(Status::Stopped)
    }

    /// Sends frames between two polls, and gives how many were taken, also on an error. Like
    /// [`Conn::send_frames`], which it is for other threads than the one that polls and for
    /// connections of other loops; for its own ones it is as cheap as in a callback.
    pub fn send_frames<'a>(
        &self,
        conn: Conn,
        frames: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        flags: SendFlags,
    ) -> (usize, Result<(), Status>) {
        if self.door.is_polled_by(this_thread())
            && let Some(mut guard) = self.reactor.try_lock()
            && let Some(reactor) = &mut *guard
            && let Some(answer) = reactor.send_frames(conn, frames.clone(), flags)
        {
            return answer;
        }
        conn.send_frames(frames, flags)
    }

    /// Lets a poll return early, or the next one.
    pub fn wake(&self) {
        self.door.wake_poll();
    }

    /// Takes a loop away that has not been used, or whose runtime is over.
    pub fn retire(&self) -> Result<(), Error> {
        if is_forked_child() {
            return Err(Error::new(Status::State, IN_FORKED_CHILD));
        }
        let Some(mut guard) = self.reactor.try_lock() else {
            return Err(Error::new(Status::State, "the loop is being polled"));
        };
        if guard.is_none() {
            return Ok(());
        }
        if !self.core.remove_loop(&self.door) {
            let message = "a loop ends with its runtime: stop that, and poll to the end";
            return Err(Error::new(Status::State, message));
        }
        *guard = None;
        drop(guard);
        self.core.loop_ended();
        Ok(())
    }
}

impl Drop for PollLoop {
    fn drop(&mut self) {
        // Nobody will poll it any more: its runtime must not wait for that.
        if let Some(reactor) = self.reactor.get_mut().take() {
            drop(reactor);
            self.core.loop_ended();
        }
    }
}

/// The runtime ends without its host's polling to the end: what is left is told to nobody.
pub(crate) fn poll_to_the_end(loops: &[Arc<PollLoop>]) {
    loops.iter().for_each(|each| each.is_taken_over.store(true, Ordering::SeqCst));
    loop {
        let mut left = 0;
        for each in loops {
            // Whoever polls it just now returns when it is woken, and gets it no second time.
            let guard = loop {
                each.wake();
                if let Some(guard) = each.reactor.try_lock_for(Duration::from_millis(10)) {
                    break guard;
                }
            };
            match each.poll_locked(guard, usize::MAX, Some(1), |batch| batch.for_each(drop)) {
                Err(Status::Stopped) => {}
                _ => left += 1,
            }
        }
        if left == 0 {
            return;
        }
    }
}
