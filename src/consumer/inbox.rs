//! The inbox: input of a connection waits here until the host takes it, with a time-out or
//! without. That is all there is to hosts with a thread per connection.
//!
//! What waits is bounded by `receiveWindow`: the loop does not read the socket while it is used
//! up. After the peer's end, what is left can still be taken; then the end is told.

use super::Owner;
use crate::base::buffers::reserve;
use crate::base::host;
use crate::base::sync::atomic::{AtomicUsize, Ordering};
use crate::event::Event;
use crate::status::{CloseReason, Status};
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Input of one connection.
#[derive(Default)]
pub(crate) struct Inbox {
    state: Mutex<Items>,
    changed: Condvar,
    /// Bytes that wait.
    pub waiting_bytes: AtomicUsize,
}

#[derive(Default)]
struct Items {
    /// Frames, or pieces of a stream.
    items: VecDeque<Item>,
    /// Nothing more will come.
    has_ended: bool,
    /// Somebody has been told that nothing more will come.
    end_was_told: bool,
}

/// A frame, or a piece of a stream.
pub(crate) struct Item {
    /// The payload, or the piece.
    pub data: Vec<u8>,
    /// The frame came compressed.
    pub compressed: bool,
    /// Bytes of a piece that have been taken.
    taken: usize,
}

/// What an item counts in the window beside its bytes.
const ITEM_BYTES: usize = size_of::<Item>();

impl Inbox {
    /// Copies what an event tells of input, for which there may be no memory.
    pub fn put(&self, event: &Event<'_>) -> Result<(), CloseReason> {
        let copy = |data: &[u8], compressed| {
            let mut copy = Vec::new();
            reserve(&mut copy, data.len())?;
            copy.extend_from_slice(data);
            Ok(Item { data: copy, compressed, taken: 0 })
        };
        let fresh: Result<Vec<_>, CloseReason> = match event {
            Event::Frames(frames) => {
                frames.iter().map(|frame| copy(frame.data, frame.compressed)).collect()
            }
            Event::Data(data) => copy(data, false).map(|item| vec![item]),
            _ => return Ok(()),
        };
        self.add(fresh?);
        Ok(())
    }

    /// Takes over a frame on its own.
    pub fn put_frame(&self, data: Vec<u8>, compressed: bool) {
        self.add(vec![Item { data, compressed, taken: 0 }]);
    }

    fn add(&self, fresh: Vec<Item>) {
        let bytes: usize = fresh.iter().map(|item| item.data.len() + ITEM_BYTES).sum();
        let mut state = self.state.lock();
        self.waiting_bytes.fetch_add(bytes, Ordering::SeqCst);
        state.items.extend(fresh);
        drop(state);
        self.changed.notify_all();
    }

    /// Nothing more will come; those who wait are told.
    pub fn end(&self) {
        self.state.lock().has_ended = true;
        self.changed.notify_all();
    }

    /// What is left is not wanted any more.
    pub fn discard(&self) {
        let mut state = self.state.lock();
        state.has_ended = true;
        let items = std::mem::take(&mut state.items);
        self.waiting_bytes.store(0, Ordering::SeqCst);
        drop(state);
        drop(items);
        self.changed.notify_all();
    }

    /// Items for which there is room without more memory.
    #[cfg(test)]
    pub fn reserved(&self) -> usize {
        self.state.lock().items.capacity()
    }

    pub fn is_empty(&self) -> bool {
        self.state.lock().items.is_empty()
    }

    /// Everything was taken, and whoever took it knows that nothing more will come.
    pub fn is_consumed(&self) -> bool {
        let state = self.state.lock();
        state.items.is_empty() && state.end_was_told
    }

    /// Waits for input and lets `take` have it; tells how many bytes left.
    fn wait<R>(
        &self,
        owner: &Arc<impl Owner>,
        timeout_ms: Option<u64>,
        take: impl FnOnce(&mut VecDeque<Item>) -> (R, usize),
    ) -> Result<R, Status> {
        if owner.is_admitting() && !owner.is_closing() {
            return Err(Status::State);
        }
        let until = timeout_ms.and_then(|ms| {
            // Beyond what the clock can tell: for ever.
            Instant::now().checked_add(Duration::from_millis(ms))
        });
        let mut state = self.state.lock();
        while state.items.is_empty() || owner.is_muted() {
            if owner.is_muted() {
                return Err(Status::Closed);
            }
            if state.has_ended {
                let is_news = !std::mem::replace(&mut state.end_was_told, true);
                drop(state);
                if is_news {
                    owner.touch();
                }
                return Err(Status::Closed);
            }
            if timeout_ms == Some(0) {
                return Err(Status::TimedOut);
            }
            if host::in_callback() {
                return Err(Status::InCallback);
            }
            match until {
                None => self.changed.wait(&mut state),
                Some(until) => {
                    if self.changed.wait_until(&mut state, until).timed_out()
                        && state.items.is_empty()
                        && !state.has_ended
                        && !owner.is_muted()
                    {
                        return Err(Status::TimedOut);
                    }
                }
            }
        }
        let (taken, bytes) = take(&mut state.items);
        if state.items.is_empty() {
            // An idle connection holds no memory for it.
            state.items = VecDeque::new();
        }
        let before = self.waiting_bytes.fetch_sub(bytes, Ordering::SeqCst);
        // A connection that is gone already has waited for the last one to be taken.
        let is_last = state.items.is_empty() && state.has_ended;
        drop(state);
        if is_last || owner.has_room_again(before, bytes) {
            owner.touch();
        }
        Ok(taken)
    }

    /// The next frame.
    pub fn frame(&self, owner: &Arc<impl Owner>, timeout_ms: Option<u64>) -> Result<Item, Status> {
        let item = self.wait(owner, timeout_ms, |items| {
            let item = items.pop_front();
            let bytes = item.as_ref().map_or(0, |item| item.data.len() + ITEM_BYTES);
            (item, bytes)
        })?;
        item.ok_or(Status::Internal)
    }

    /// The next bytes of a stream, as many as there are and fit; at least one.
    pub fn bytes(
        &self,
        owner: &Arc<impl Owner>,
        buffer: &mut [u8],
        timeout_ms: Option<u64>,
    ) -> Result<usize, Status> {
        self.wait(owner, timeout_ms, |items| {
            let (mut got, mut gone) = (0, 0);
            while got < buffer.len() {
                let Some(item) = items.front_mut() else { break };
                let rest = &item.data[item.taken..];
                let count = rest.len().min(buffer.len() - got);
                buffer[got..got + count].copy_from_slice(&rest[..count]);
                got += count;
                item.taken += count;
                gone += count;
                if item.taken == item.data.len() {
                    items.pop_front();
                    gone += ITEM_BYTES;
                }
            }
            (got, gone)
        })
    }
}
