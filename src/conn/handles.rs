//! Handles: a connection is a 64-bit number, checked at every call, never a pointer.
//!
//! ```text
//!  63            32 31             0
//! ┌────────────────┬────────────────┐
//! │ generation     │ slot           │   0 is never valid; a slot whose generation
//! └────────────────┴────────────────┘   would wrap is retired
//! ```
//!
//! The table is the one thing of this library that is global to the process, since a bare
//! number names no runtime. It is sharded: a look-up takes one read lock and clones an `Arc`.
//! Calls about the connection whose callback is running need no look-up at all (`current`).

use super::current;
use super::requests::{Op, Reach};
use super::shared::Shared;
use super::state::State;
use crate::base::host;
use crate::base::sync::RwLock;
use crate::base::sync::atomic::Ordering;
use crate::event::Protocol;
pub use crate::event::{Conn, SendFlags};
pub use crate::net::transport::SocketOption;
use crate::status::{CloseReason, Error, Status};
pub use crate::tls::Facts as TlsFacts;
use std::any::Any;
use std::net::SocketAddr;
use std::num::NonZeroU64;
use std::sync::Arc;

/// The largest answer to a connection that is refused: a page, which counts in no limit.
pub const MAX_REFUSAL_BYTES: usize = 1 << 20;

/// What a host attaches to a connection; dropped exactly once, after the closed event.
pub type UserData = Box<dyn Any + Send>;

/// What is known about a connection.
#[derive(Clone, Debug)]
pub struct ConnInfo {
    /// The other side's address.
    pub peer: SocketAddr,
    /// Our address.
    pub local: SocketAddr,
    /// By its first byte.
    pub protocol: Protocol,
    /// Index of the listener's `[Port]` section.
    pub listener_port_index: u32,
    /// Milliseconds since accept.
    pub age_ms: u64,
    /// Bytes read from the socket.
    pub bytes_in: u64,
    /// Bytes written to the socket.
    pub bytes_out: u64,
    /// Frames received.
    pub frames_in: u64,
    /// Frames whose send was accepted.
    pub frames_out: u64,
    /// Bytes that sends have accepted and that are not with the operating system yet.
    pub queued_bytes: u64,
    /// TLS facts, `None` on plain connections.
    pub tls: Option<crate::tls::Facts>,
}

impl Conn {
    /// Lets an identified connection in. Once, while it waits for admission.
    pub fn admit(self) -> Result<(), Status> {
        self.act(|state| state.decide(), Op::Admit)
    }

    /// Turns it away, after writing `bytes` raw, at most [`MAX_REFUSAL_BYTES`].
    pub fn refuse(self, bytes: &[u8]) -> Result<(), Status> {
        if bytes.len() > MAX_REFUSAL_BYTES {
            return Err(Status::TooLarge);
        }
        let mut copy = Vec::new();
        copy.try_reserve_exact(bytes.len()).map_err(|_| Status::MemoryLimit)?;
        copy.extend_from_slice(bytes);
        self.act(|state| state.refuse(), Op::Refuse(copy))
    }

    /// Sends one frame: whole, or not at all (`WouldBlock`, and a writable event later).
    pub fn send_frame(self, data: &[u8], flags: SendFlags) -> Result<(), Status> {
        self.send_frames(std::iter::once(data), flags).1
    }

    /// Sends frames in order; the answer says how many were taken, also on an error.
    pub fn send_frames<'a, I>(self, frames: I, flags: SendFlags) -> (usize, Result<(), Status>)
    where
        I: ExactSizeIterator<Item = &'a [u8]> + Clone,
    {
        if let Some(answer) =
            current::with_current(self.raw(), |reach| reach.send_frames(frames.clone(), flags))
        {
            return answer;
        }
        match lookup(self.raw()) {
            Ok(shared) => shared.send_frames(frames, flags),
            Err(status) => (0, Err(status)),
        }
    }

    /// Sends one frame from memory that the library keeps until it is sent (or never will be).
    pub fn send_frame_owned(
        self,
        data: Box<dyn AsRef<[u8]> + Send>,
        flags: SendFlags,
    ) -> Result<(), Status> {
        let mut data = Some(data);
        let here = current::with_current(self.raw(), |reach| {
            // The closure runs at most once.
            data.take().map_or(Err(Status::Internal), |data| reach.send_owned(data, flags))
        });
        match (here, data) {
            (Some(answer), _) => answer,
            (None, Some(data)) => lookup(self.raw())?.send_owned(data, flags),
            (None, None) => Err(Status::Internal),
        }
    }

    /// Sends bytes on a stream (relay, unknown): whole, or not at all.
    pub fn send_bytes(self, data: &[u8]) -> Result<(), Status> {
        match current::with_current(self.raw(), |reach| reach.send_bytes(data)) {
            Some(answer) => answer,
            None => lookup(self.raw())?.send_bytes(data),
        }
    }

    /// Holds output back until as many [`Conn::uncork`] follow, 256 KiB wait, or it closes.
    pub fn cork(self) -> Result<(), Status> {
        self.act(State::in_use, Op::Cork)
    }

    /// Takes one cork away.
    pub fn uncork(self) -> Result<(), Status> {
        self.act(State::in_use, Op::Uncork)
    }

    /// Stops reading: nothing more is delivered once the running callback has returned.
    pub fn pause_reading(self) -> Result<(), Status> {
        self.act(State::pause, Op::Pause)
    }

    /// Reads again.
    pub fn resume_reading(self) -> Result<(), Status> {
        self.act(State::resume, Op::Resume)
    }

    /// Ends our direction behind what is queued; the peer may go on sending.
    pub fn shutdown(self) -> Result<(), Status> {
        self.act(|state| state.shut(), Op::Shutdown)
    }

    /// Ends it: what is queued is flushed first. `code` comes back in the closed event.
    pub fn close(self, code: i32) -> Result<(), Status> {
        self.ended(self.act(State::close, Op::Close(code)))
    }

    /// The same by a host that has been told the peer's end and has not come to it yet: it is the one that ends first.
    pub fn close_first(self, code: i32) -> Result<(), Status> {
        self.ended(self.act(State::close, Op::CloseFirst(code)))
    }

    /// Ends it at once, with a reset; the closed event tells what was not sent.
    pub fn abort(self, code: i32) -> Result<(), Status> {
        self.ended(self.act(State::abort, Op::Abort(code)))
    }

    /// What waits in a connection that has ended by itself is not wanted any more.
    fn ended(self, answer: Result<(), Status>) -> Result<(), Status> {
        if answer.is_err()
            && let Ok(shared) = lookup(self.raw())
            && shared.delivery.keeps_input()
        {
            shared.state.mute();
            shared.touch();
        }
        answer
    }

    /// The next frame from the inbox of a connection whose handler asks for one: its payload
    /// and whether it came compressed. Waits at most `timeout_ms` milliseconds (`None`: no
    /// limit; `Some(0)` never waits and is allowed in callbacks), then `TimedOut`. `Closed`:
    /// the peer has ended or the connection has, and everything was taken. `State`: it has no
    /// inbox or no frames, or admission is not decided.
    pub fn recv_frame(self, timeout_ms: Option<u64>) -> Result<(Vec<u8>, bool), Status> {
        let shared = self.shared()?;
        if !shared.protocol.is_framed() {
            return Err(Status::State);
        }
        let item = shared.delivery.frame(&shared, timeout_ms)?;
        Ok((item.data, item.compressed))
    }

    /// The next bytes of a stream from its inbox, at least one: as many as are there and fit.
    /// Otherwise like [`Conn::recv_frame`].
    pub fn recv_bytes(self, buffer: &mut [u8], timeout_ms: Option<u64>) -> Result<usize, Status> {
        let shared = self.shared()?;
        if shared.protocol.is_framed() {
            return Err(Status::State);
        }
        shared.delivery.bytes(&shared, buffer, timeout_ms)
    }

    /// Closes it when `after_ms` milliseconds have passed; `None` takes that back. If it is closing
    /// already, it is reset then; a deadline from before the close has no effect on that.
    pub fn set_deadline(self, after_ms: Option<u64>) -> Result<(), Status> {
        let now_ms = self.shared()?.port.commons.now_ms();
        // Never 0, as the clock is not.
        let at_ms = after_ms.and_then(|after_ms| NonZeroU64::new(now_ms.saturating_add(after_ms)));
        match self.act(State::in_use, Op::Deadline(at_ms)) {
            Err(Status::Closed) => self.act(State::not_ended, Op::CutFlush(at_ms)),
            answer => answer,
        }
    }

    /// Addresses, protocol, TLS facts, counters.
    pub fn info(self) -> Result<ConnInfo, Status> {
        Ok(self.shared()?.info())
    }

    /// The value of an option of its socket.
    pub fn option(self, option: SocketOption) -> Result<u32, Error> {
        self.shared()?.socket.option(option)
    }

    /// Sets an option of its socket; a switch is on with any number but 0.
    pub fn set_option(self, option: SocketOption, value: u32) -> Result<(), Error> {
        self.shared()?.socket.set_option(option, value)
    }

    /// Bytes that were taken for sending and are not with the operating system yet.
    pub fn unsent_bytes(self) -> Result<usize, Status> {
        Ok(self.shared()?.queued_bytes())
    }

    /// Bytes that the operating system has taken.
    pub fn sent_bytes(self) -> Result<u64, Status> {
        Ok(self.shared()?.totals.bytes_out.load(Ordering::Relaxed))
    }

    /// The process is about to end, and with it the connection: by a reset, if output waits then, so that the peer does
    /// not take a part for the whole. `host_owes`: the host itself holds output for it, as there was no room. It says
    /// so again whenever that changes.
    pub fn process_ends(self, host_owes: bool) -> Result<(), Status> {
        self.shared()?.process_ends(host_owes);
        self.act(State::not_ended, Op::ProcessEnds)
    }

    /// Attaches data of the host's; what was attached before is dropped.
    pub fn set_user_data(self, data: Option<UserData>) -> Result<(), Status> {
        let old = self.shared()?.swap_user_data(data)?;
        drop(old);
        Ok(())
    }

    /// Shows the attached data; only inside the connection's own callbacks, or on the thread
    /// that polls its loop, and not while it is being shown already.
    pub fn with_user_data<R>(
        self,
        f: impl FnOnce(Option<&(dyn Any + Send)>) -> R,
    ) -> Result<R, Status> {
        let shared = match current::with_current(self.raw(), |reach| reach.out.shared.clone()) {
            Some(Some(shared)) => shared,
            _ => {
                let shared = lookup(self.raw())?;
                let is_polled_here = shared.door.is_polled_by(host::this_thread());
                if !is_polled_here && !host::is_working_on(self.raw()) {
                    return Err(Status::State);
                }
                shared
            }
        };
        // Taken out for the call, so that `f` may attach other data without a deadlock.
        let data = {
            let mut slot = shared.user_data.lock();
            if std::mem::replace(&mut slot.lent, true) {
                return Err(Status::State);
            }
            slot.data.take()
        };
        let loan = Loan { shared: &shared, data };
        Ok(f(loan.data.as_deref()))
    }

    /// A call about it has met a defect: it ends by a reset, if that can still be asked for.
    pub(crate) fn on_defect(self) {
        host::caught(|| self.act(State::fail, Op::Fail(CloseReason::Internal)));
    }

    fn shared(self) -> Result<Arc<Shared>, Status> {
        match current::with_current(self.raw(), |reach| reach.out.shared.clone()) {
            Some(Some(shared)) => Ok(shared),
            _ => lookup(self.raw()),
        }
    }

    /// Makes a change of state that is visible at once, then has its effect carried out:
    /// here, inside the connection's own callback, or by its loop.
    fn act(self, change: impl Fn(&State) -> Result<(), Status>, op: Op) -> Result<(), Status> {
        let mut op = Some(op);
        let here = current::with_current(self.raw(), |reach: &mut Reach| {
            let Some(shared) = reach.out.shared.clone() else { return Err(Status::State) };
            // What others sent before the change stays in front of it.
            reach.merge_foreign();
            shared.change(&change)?;
            if let Some(op) = op.take() {
                reach.apply(op);
            }
            Ok(())
        });
        match (here, op) {
            (Some(answer), _) => answer,
            (None, Some(op)) => lookup(self.raw())?.push(change, op),
            (None, None) => Err(Status::Internal),
        }
    }
}

/// Attached data that is being shown. It goes back, also after a panic, unless it was replaced
/// meanwhile.
struct Loan<'a> {
    shared: &'a Shared,
    data: Option<UserData>,
}

impl Drop for Loan<'_> {
    fn drop(&mut self) {
        let mut slot = self.shared.user_data.lock();
        if std::mem::take(&mut slot.lent) && !slot.ended {
            slot.data = self.data.take();
        }
        // Otherwise it is dropped behind the lock: by code of the host.
    }
}

/// Shards of the table; the low bits of the slot choose.
const SHARDS: usize = 64;

/// What is known under which number.
pub(crate) struct Table<T> {
    shards: [RwLock<Shard<T>>; SHARDS],
}

struct Shard<T> {
    entries: Vec<Entry<T>>,
    free: Vec<u32>,
}

struct Entry<T> {
    generation: u32,
    shared: Option<Arc<T>>,
}

static TABLE: Table<Shared> = Table::new();

/// Enters a connection: `make` gets its handle. `hint` spreads over the shards.
pub(crate) fn insert(hint: usize, make: impl FnOnce(u64) -> Arc<Shared>) -> Arc<Shared> {
    TABLE.insert(hint, make)
}

/// Finds a connection by its handle.
pub(crate) fn lookup(id: u64) -> Result<Arc<Shared>, Status> {
    TABLE.lookup(id)
}

/// Takes a connection out: from now on its handle is stale.
pub(crate) fn remove(id: u64) {
    TABLE.remove(id);
}

/// All connections that `of` picks.
pub(crate) fn all(of: impl Fn(&Shared) -> bool) -> Vec<Conn> {
    let mut found = Vec::new();
    for shard in &TABLE.shards {
        let shard = shard.read();
        let present = shard.entries.iter().filter_map(|entry| entry.shared.as_ref());
        found.extend(present.filter(|shared| of(shared)).map(|shared| Conn::from_raw(shared.id)));
    }
    found
}

impl<T> Table<T> {
    pub const fn new() -> Table<T> {
        let shards =
            [const { RwLock::new(Shard { entries: Vec::new(), free: Vec::new() }) }; SHARDS];
        Table { shards }
    }

    pub fn insert(&self, hint: usize, make: impl FnOnce(u64) -> Arc<T>) -> Arc<T> {
        let index = hint % SHARDS;
        let mut shard = self.shards[index].write();
        let position = match shard.free.pop() {
            Some(position) => position,
            None => {
                shard.entries.push(Entry { generation: 1, shared: None });
                (shard.entries.len() - 1) as u32
            }
        };
        let entry = &mut shard.entries[position as usize];
        let slot = position * SHARDS as u32 + index as u32;
        let shared = make(u64::from(entry.generation) << 32 | u64::from(slot));
        entry.shared = Some(shared.clone());
        shared
    }

    pub fn lookup(&self, id: u64) -> Result<Arc<T>, Status> {
        let (slot, generation) = (id as u32 as usize, (id >> 32) as u32);
        let shard = self.shards[slot % SHARDS].read();
        let entry = shard.entries.get(slot / SHARDS).ok_or(Status::InvalidHandle)?;
        match &entry.shared {
            Some(shared) if entry.generation == generation => Ok(shared.clone()),
            _ if generation == 0 || generation > entry.generation => Err(Status::InvalidHandle),
            _ => Err(Status::Closed),
        }
    }

    /// A number that is out of date takes nothing out.
    pub fn remove(&self, id: u64) {
        let slot = id as u32 as usize;
        let mut shard = self.shards[slot % SHARDS].write();
        let position = slot / SHARDS;
        let Some(entry) = shard.entries.get_mut(position) else { return };
        if entry.generation != (id >> 32) as u32 {
            return;
        }
        let shared = entry.shared.take();
        if let Some(next) = entry.generation.checked_add(1) {
            entry.generation = next;
            shard.free.push(position as u32);
        }
        drop(shard);
        drop(shared);
    }
}

#[cfg(test)]
mod tests;
