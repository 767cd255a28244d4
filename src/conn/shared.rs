//! The part of an identified connection that any thread may reach: its state, and the
//! operations that wait for its loop.
//!
//! Order: what one thread does before another thread's next call (by whatever means the
//! two know of each other) also comes first on the wire. The loop merges foreign
//! operations before it applies one of its own, and a closed connection takes no more.
//!
//! This file is long: what other rooms ask of a connection (three traits) stands beside what it answers from.

use super::door::{Control, Door};
use super::handles::{ConnInfo, UserData};
use super::requests::Op;
use super::state::State;
use crate::base::buffers;
use crate::base::fault::Site;
use crate::base::host;
use crate::base::log::Wake;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use crate::consumer::workers::Served;
use crate::consumer::{Delivery, Owner};
use crate::event::{Conn, Protocol, SendFlags};
use crate::frame::{HEADER_BYTES, MAX_PAYLOAD_BYTES, encode};
use crate::limits::memory::{Account, FREE_BYTES, Held, Holder};
use crate::net::transport::SharedSocket;
use crate::port::Port;
use crate::status::{CloseReason, Status};
use std::net::SocketAddr;
use std::sync::Arc;

/// A connection as seen from other threads.
pub(crate) struct Shared {
    pub id: u64,
    /// Its place in the loop that owns it.
    pub key: usize,
    pub door: Arc<Door>,
    pub port: Arc<Port>,
    pub protocol: Protocol,
    pub state: State,
    /// Bytes that were accepted and are not with the operating system yet: what waits in
    /// `foreign` and in the queues of the loop, which adds its own part turn by turn. One
    /// count, so that nothing is seen twice or never while it moves.
    pub queued: AtomicUsize,
    /// Unfinished input that its loop holds.
    input: AtomicUsize,
    /// Its loop holds neither input nor output any more.
    is_over: AtomicBool,
    /// The host has been told everything.
    all_is_told: AtomicBool,
    /// What of all that the account for `memoryLimit` knows.
    pub account: Account,
    /// Operations wait, or are about to.
    pub dirty: AtomicBool,
    /// A send was refused and a writable event is due.
    pub wants_writable: AtomicBool,
    foreign: Mutex<Foreign>,
    pub user_data: Mutex<UserSlot>,
    pub totals: Totals,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// Monotonic milliseconds.
    pub accepted_ms: u64,
    pub tls: Option<Box<crate::tls::Facts>>,
    /// The way of its events.
    pub delivery: Delivery,
    /// For its options.
    pub socket: SharedSocket,
    /// The process is about to end.
    process_ends: AtomicBool,
    /// The host holds output then.
    host_owes: AtomicBool,
}

/// Counted by the loop, read by anyone.
#[derive(Default)]
pub(crate) struct Totals {
    pub bytes_in: AtomicU64,
    pub bytes_out: AtomicU64,
    pub frames_in: AtomicU64,
    pub frames_out: AtomicU64,
}

#[derive(Default)]
struct Foreign {
    ops: Vec<Op>,
    ended: bool,
}

/// What the host attached.
#[derive(Default)]
pub(crate) struct UserSlot {
    pub data: Option<UserData>,
    /// It is being read: taken out, and put back unless it was replaced meanwhile.
    pub lent: bool,
    pub ended: bool,
}

/// Everything [`Shared::new`] is made from.
pub(crate) struct Birth {
    pub key: usize,
    pub door: Arc<Door>,
    pub port: Arc<Port>,
    pub protocol: Protocol,
    pub asks_admission: bool,
    pub peer: SocketAddr,
    pub local: SocketAddr,
    /// Monotonic milliseconds.
    pub accepted_ms: u64,
    pub tls: Option<Box<crate::tls::Facts>>,
    pub delivery: Delivery,
}

impl Shared {
    pub fn new(id: u64, birth: Birth) -> Arc<Shared> {
        Arc::new(Shared {
            id,
            key: birth.key,
            door: birth.door,
            port: birth.port,
            protocol: birth.protocol,
            state: State::new(birth.asks_admission),
            queued: AtomicUsize::new(0),
            input: AtomicUsize::new(0),
            is_over: AtomicBool::new(false),
            all_is_told: AtomicBool::new(false),
            account: Account::default(),
            dirty: AtomicBool::new(false),
            wants_writable: AtomicBool::new(false),
            foreign: Mutex::default(),
            user_data: Mutex::default(),
            totals: Totals::default(),
            peer: birth.peer,
            local: birth.local,
            accepted_ms: birth.accepted_ms,
            tls: birth.tls,
            delivery: birth.delivery,
            socket: SharedSocket::default(),
            process_ends: AtomicBool::new(false),
            host_owes: AtomicBool::new(false),
        })
    }

    // Its account for `memoryLimit`.

    /// So much unfinished input its loop holds.
    pub fn holds_input_bytes(&self, bytes: usize) {
        if self.input.load(Ordering::Relaxed) != bytes {
            self.input.store(bytes, Ordering::SeqCst);
        }
    }

    /// Its loop gives up what it holds of it.
    pub fn holds_no_more(self: &Arc<Shared>) {
        self.is_over.store(true, Ordering::SeqCst);
        self.port.memory.recount(self);
    }

    /// Nothing waits for the host any more.
    pub fn has_told_all(self: &Arc<Shared>) {
        self.all_is_told.store(true, Ordering::SeqCst);
        self.port.memory.recount(self);
    }

    /// Makes the loop look at this connection.
    pub fn touch(self: &Arc<Shared>) {
        if !self.dirty.swap(true, Ordering::AcqRel) {
            self.door.send(Control::Dirty(self.clone()));
        }
    }

    /// Bytes that were accepted and are not with the operating system yet.
    pub fn queued_bytes(&self) -> usize {
        self.queued.load(Ordering::SeqCst)
    }

    pub fn send_frames<'a>(
        self: &Arc<Shared>,
        frames: impl Iterator<Item = &'a [u8]> + Clone,
        flags: SendFlags,
    ) -> (usize, Result<(), Status>) {
        self.port.fault.strike(Site::ForeignEncode);
        let writes = self.port.rules.frame.writes.filter(|_| !flags.no_compress);
        let states = &self.port.commons.compressors;
        let (mut wire, mut count) = (Vec::new(), 0);
        let mut result = self.state.may_send(self.protocol, true);
        if result.is_ok() {
            if writes.is_none() {
                // No more than what can be taken together; whatever its size, one frame can.
                let all: usize = frames.clone().map(|frame| HEADER_BYTES + frame.len()).sum();
                match buffers::for_travel(all.min(self.port.rules.send_queue_limit_bytes)) {
                    Ok(buffer) => wire = buffer,
                    Err(_) => return (0, Err(self.no_memory())),
                }
            }
            for frame in frames {
                result = match frame.len() {
                    len if len > MAX_PAYLOAD_BYTES => Err(Status::FrameTooLarge),
                    len => self.room_for(wire.len(), len),
                };
                if result.is_ok() && encode::frame(frame, writes, states, &mut wire).is_err() {
                    result = Err(self.no_memory());
                }
                if result.is_err() {
                    break;
                }
                count += 1;
            }
        }
        if count > 0
            && let Err(status) =
                self.push_bytes(Op::Bytes { bytes: wire, frames: count as u64 }, true)
        {
            // A loop that sleeps knows of no compression state that this call has left.
            self.door.wake();
            return (0, Err(status));
        }
        if count > 0 && result == Err(Status::WouldBlock) {
            // Before these were queued the loop may have told of room already.
            self.reports_room();
        }
        (count, result)
    }

    pub fn send_bytes(self: &Arc<Shared>, data: &[u8]) -> Result<(), Status> {
        self.state.may_send(self.protocol, false)?;
        if data.is_empty() {
            return Ok(());
        }
        self.room_for(0, data.len())?;
        let mut bytes = buffers::for_travel(data.len()).map_err(|_| self.no_memory())?;
        bytes.extend_from_slice(data);
        self.push_bytes(Op::Bytes { bytes, frames: 0 }, false)
    }

    pub fn send_owned(
        self: &Arc<Shared>,
        data: Box<dyn AsRef<[u8]> + Send>,
        flags: SendFlags,
    ) -> Result<(), Status> {
        let payload = (*data).as_ref();
        let writes = self.port.rules.frame.writes.filter(|_| !flags.no_compress);
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(Status::FrameTooLarge);
        }
        if encode::worth_compressing(payload, writes).is_some() {
            return self.send_frames(std::iter::once(payload), flags).1;
        }
        self.state.may_send(self.protocol, true)?;
        self.room_for(0, payload.len())?;
        self.push_bytes(Op::Owned(data), true)
    }

    /// Judges whether one more send of `more` bytes is taken behind `before` of this call.
    fn room_for(self: &Arc<Shared>, before: usize, more: usize) -> Result<(), Status> {
        let high_water = self.port.rules.send_queue_limit_bytes;
        // Inside its own callback, on a worker, a send is always taken, as on the loop.
        if self.queued_bytes() + before >= high_water && !host::is_working_on(self.id) {
            // Announced first, looked at again after: the loop does it the other way round.
            self.wants_writable.store(true, Ordering::SeqCst);
            if self.queued_bytes() + before >= high_water {
                return Err(Status::WouldBlock);
            }
        }
        // What has come since the last account is in nobody's total yet.
        let memory = &self.port.memory;
        let held = self.held();
        let uncounted = held.counted().saturating_sub(self.account.counted_bytes()) + before;
        if memory.is_over(held.own_bytes + held.waiting_bytes + before, uncounted, more) {
            if !memory.claim(self, before + more) {
                return Err(self.no_memory());
            }
            if !host::is_working_on(self.id) && memory.refuses_send(self, before + more) {
                return Err(Status::WouldBlock);
            }
        }
        Ok(())
    }

    /// The loop reports room, as soon as half of the queue is free.
    pub fn reports_room(self: &Arc<Shared>) {
        self.wants_writable.store(true, Ordering::SeqCst);
        self.touch();
    }

    /// What is to be sent cannot be held: the connection ends.
    fn no_memory(self: &Arc<Shared>) -> Status {
        let _ = self.push(State::cut, Op::Fail(CloseReason::MemoryLimit));
        Status::MemoryLimit
    }

    fn push_bytes(self: &Arc<Shared>, op: Op, framed: bool) -> Result<(), Status> {
        let bytes = op.queued_bytes();
        self.queued.fetch_add(bytes, Ordering::SeqCst);
        let result = self.push(|state| state.may_send(self.protocol, framed), op);
        if result.is_err() {
            self.queued.fetch_sub(bytes, Ordering::SeqCst);
        } else if self.held().counted().abs_diff(self.account.counted_bytes()) >= FREE_BYTES {
            // Less than that waits for the loop's account.
            self.port.memory.recount(self);
        }
        if self.process_ends.load(Ordering::SeqCst) {
            self.guard_end_of_process(0);
        }
        result
    }

    // The end of the process.

    /// It is about to end, and the host holds output or not.
    pub fn process_ends(&self, host_owes: bool) {
        self.host_owes.store(host_owes, Ordering::SeqCst);
        self.process_ends.store(true, Ordering::SeqCst);
        self.guard_end_of_process(0);
    }

    pub fn host_owes(&self) -> bool {
        self.host_owes.load(Ordering::SeqCst)
    }

    /// The system closes the socket when the process ends: with a reset while bytes wait for the peer, as it must not
    /// take a part for the whole. Any thread says so where something may have changed. `more_bytes`: so many of the
    /// loop's are not in `queued` yet, or are in it still.
    pub fn guard_end_of_process(&self, more_bytes: usize) {
        self.socket.set_reset_on_close(|| {
            self.host_owes() || self.queued_bytes().wrapping_add(more_bytes) > 0
        });
    }

    /// Makes a change of state (or looks at it) and leaves an operation for the loop, as one
    /// step: what others do after the change is also behind the operation. `Closed`: the
    /// connection has ended; on any error nothing was left.
    pub fn push(
        self: &Arc<Shared>,
        change: impl FnOnce(&State) -> Result<(), Status>,
        op: Op,
    ) -> Result<(), Status> {
        let (result, announce, refused) = {
            let mut foreign = self.foreign.lock();
            let result = if foreign.ended { Err(Status::Closed) } else { change(&self.state) };
            if result.is_err() {
                (result, false, Some(op))
            } else {
                match (foreign.ops.last_mut(), op) {
                    // Small sends in a row travel as one piece.
                    (
                        Some(Op::Bytes { bytes, frames }),
                        Op::Bytes { bytes: more, frames: more_frames },
                    ) if bytes.len() + more.len() <= Op::JOINED_MAX_BYTES => {
                        bytes.extend_from_slice(&more);
                        buffers::has_arrived(more);
                        *frames += more_frames;
                    }
                    (_, op) => foreign.ops.push(op),
                }
                // Under the lock: who makes a change of state later finds it dirty.
                (Ok(()), !self.dirty.swap(true, Ordering::AcqRel), None)
            }
        };
        // Dropped here and not under the lock: it may run code of the host.
        drop(refused);
        if announce {
            self.door.send(Control::Dirty(self.clone()));
        }
        result
    }

    /// A change of state by the connection's own callback, between the pushes of others.
    pub fn change(&self, change: impl FnOnce(&State) -> Result<(), Status>) -> Result<(), Status> {
        let _between = self.foreign.lock();
        change(&self.state)
    }

    /// Everything that other threads have left, for the loop. It stays counted in `queued`.
    pub fn take_foreign(&self) -> Vec<Op> {
        std::mem::take(&mut self.foreign.lock().ops)
    }

    /// From now on nothing is taken; what was taken and not seen by the loop comes back.
    pub fn end(&self) -> Vec<Op> {
        self.state.end();
        let mut foreign = self.foreign.lock();
        foreign.ended = true;
        std::mem::take(&mut foreign.ops)
    }

    /// Attaches data, and gives back what is to be dropped by the caller.
    pub fn swap_user_data(&self, data: Option<UserData>) -> Result<Option<UserData>, Status> {
        let mut slot = self.user_data.lock();
        if slot.ended {
            drop(slot);
            drop(data);
            return Err(Status::Closed);
        }
        slot.lent = false;
        Ok(std::mem::replace(&mut slot.data, data))
    }

    pub fn info(&self) -> ConnInfo {
        let get = |total: &AtomicU64| total.load(Ordering::Relaxed);
        ConnInfo {
            peer: self.peer,
            local: self.local,
            protocol: self.protocol,
            listener_port_index: self.port.index as u32,
            age_ms: self.port.commons.now_ms().saturating_sub(self.accepted_ms),
            bytes_in: get(&self.totals.bytes_in),
            bytes_out: get(&self.totals.bytes_out),
            frames_in: get(&self.totals.frames_in),
            frames_out: get(&self.totals.frames_out),
            queued_bytes: self.queued_bytes() as u64,
            tls: self.tls.as_deref().cloned(),
        }
    }
}

impl Owner for Shared {
    fn conn(&self) -> Conn {
        Conn::from_raw(self.id)
    }

    fn is_admitting(&self) -> bool {
        self.state.is_admitting()
    }

    fn is_closing(&self) -> bool {
        self.state.is_closing()
    }

    fn is_muted(&self) -> bool {
        self.state.is_muted()
    }

    fn is_paused(&self) -> bool {
        self.state.is_paused()
    }

    fn is_over_mark(&self) -> bool {
        self.queued_bytes() >= self.port.rules.send_queue_limit_bytes
    }

    /// Half of the window, so that it is not told of each; or what counts against `memoryLimit`.
    fn has_room_again(&self, before: usize, bytes: usize) -> bool {
        let after = before.saturating_sub(bytes);
        [self.port.rules.receive_window_bytes / 2, FREE_BYTES]
            .iter()
            .any(|&mark| before > mark && after <= mark)
    }

    fn touch(self: &Arc<Self>) {
        Shared::touch(self);
    }

    fn goes_to_workers(self: &Arc<Self>) {
        if let Some(pool) = &self.port.commons.workers {
            pool.hand_over(self.clone());
        }
    }

    fn has_panicked(self: &Arc<Self>) {
        self.state.mute();
        // Ended already, it needs no other end.
        let _ = self.push(|state| state.close(), Op::Fail(CloseReason::CallbackPanic));
    }
}

impl Served for Shared {
    fn serve(self: Arc<Self>) {
        self.delivery.serve(&self);
    }
}

impl Holder for Shared {
    fn id(&self) -> u64 {
        self.id
    }

    fn account(&self) -> &Account {
        &self.account
    }

    fn held(&self) -> Held {
        Held {
            own_bytes: match self.is_over() {
                true => 0,
                false => self.input.load(Ordering::SeqCst) + self.queued_bytes(),
            },
            waiting_bytes: match self.all_is_told.load(Ordering::SeqCst) {
                true => 0,
                false => self.delivery.waiting_bytes(),
            },
        }
    }

    fn is_over(&self) -> bool {
        self.is_over.load(Ordering::SeqCst)
    }

    fn ends_for_memory(self: Arc<Self>) {
        let _ = self.push(State::cut, Op::Fail(CloseReason::MemoryLimit));
    }

    fn is_writable_again(self: Arc<Self>) {
        self.reports_room();
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests;
