//! The part of an identified connection that any thread may reach: its state, and the
//! operations that wait for its loop.
//!
//! Order: what one thread does before another thread's next call (by whatever means the
//! two know of each other) also comes first on the wire. The loop merges foreign
//! operations before it applies one of its own, and a closed connection takes no more.

use super::door::{Control, Door};
use super::handles::{ConnInfo, UserData};
use super::requests::Op;
use crate::base::buffers;
use crate::base::fault::Site;
use crate::base::host;
use crate::base::log::Wake;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
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

/// What a host may still do with a connection; changed by the call itself, on any thread,
/// so that its effect on later calls is immediate.
pub(crate) struct State(AtomicU32);

/// The host has been asked and has not answered.
const ADMITTING: u32 = 1;
/// Our direction has been ended.
const SHUT: u32 = 2;
/// Closing: no callback but closed is begun any more.
const CLOSING: u32 = 4;
/// Gone.
const ENDED: u32 = 8;
/// The host has closed it: it wants to hear nothing more but closed.
const MUTED: u32 = 16;
/// The host has paused reading.
const PAUSED: u32 = 32;

impl State {
    fn new(asks_admission: bool) -> State {
        State(AtomicU32::new(if asks_admission { ADMITTING } else { 0 }))
    }

    fn now(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Not closing and not ended.
    pub fn in_use(&self) -> Result<(), Status> {
        if self.now() & (CLOSING | ENDED) != 0 { Err(Status::Closed) } else { Ok(()) }
    }

    /// It may be closing.
    pub fn not_ended(&self) -> Result<(), Status> {
        if self.now() & ENDED != 0 { Err(Status::Closed) } else { Ok(()) }
    }

    pub fn may_send(&self, protocol: Protocol, framed: bool) -> Result<(), Status> {
        let now = self.now();
        if now & (SHUT | CLOSING | ENDED) != 0 {
            Err(Status::Closed)
        } else if now & ADMITTING != 0 || protocol.is_framed() != framed {
            Err(Status::State)
        } else {
            Ok(())
        }
    }

    /// Answers the question of admission: the first one counts.
    pub fn decide(&self) -> Result<(), Status> {
        self.in_use()?;
        let before = self.0.fetch_and(!ADMITTING, Ordering::SeqCst);
        if before & ADMITTING == 0 { Err(Status::State) } else { Ok(()) }
    }

    /// Answers it with a refusal: nothing but closed follows.
    pub fn refuse(&self) -> Result<(), Status> {
        self.decide()?;
        self.close()
    }

    pub fn is_admitting(&self) -> bool {
        self.now() & ADMITTING != 0
    }

    pub fn shut(&self) -> Result<(), Status> {
        self.in_use()?;
        if self.is_admitting() {
            return Err(Status::State);
        }
        self.0.fetch_or(SHUT, Ordering::SeqCst);
        Ok(())
    }

    /// The host closes it.
    pub fn close(&self) -> Result<(), Status> {
        let before = self.0.fetch_or(CLOSING | MUTED, Ordering::SeqCst);
        if before & (CLOSING | ENDED) != 0 { Err(Status::Closed) } else { Ok(()) }
    }

    /// The library ends it: what has arrived is still told.
    pub fn fail(&self) -> Result<(), Status> {
        let before = self.0.fetch_or(CLOSING, Ordering::SeqCst);
        if before & (CLOSING | ENDED) != 0 { Err(Status::Closed) } else { Ok(()) }
    }

    /// The library ends it, also one that is closing: nothing more is taken.
    pub fn cut(&self) -> Result<(), Status> {
        let before = self.0.fetch_or(CLOSING, Ordering::SeqCst);
        if before & ENDED != 0 { Err(Status::Closed) } else { Ok(()) }
    }

    pub fn mute(&self) {
        self.0.fetch_or(MUTED, Ordering::SeqCst);
    }

    pub fn is_muted(&self) -> bool {
        self.now() & MUTED != 0
    }

    pub fn pause(&self) -> Result<(), Status> {
        self.in_use()?;
        self.0.fetch_or(PAUSED, Ordering::SeqCst);
        Ok(())
    }

    pub fn resume(&self) -> Result<(), Status> {
        self.in_use()?;
        self.0.fetch_and(!PAUSED, Ordering::SeqCst);
        Ok(())
    }

    pub fn is_paused(&self) -> bool {
        self.now() & PAUSED != 0
    }

    /// Unlike close it also works on a connection that is closing: it cuts the flush short.
    pub fn abort(&self) -> Result<(), Status> {
        let before = self.0.fetch_or(CLOSING | MUTED, Ordering::SeqCst);
        if before & ENDED != 0 { Err(Status::Closed) } else { Ok(()) }
    }

    pub fn is_closing(&self) -> bool {
        self.now() & (CLOSING | ENDED) != 0
    }

    fn end(&self) {
        self.0.fetch_or(ENDED, Ordering::SeqCst);
    }
}

#[cfg(all(test, not(shuttle)))]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::conn::door::Role;
    use crate::consumer::{Consumer, Put};
    use crate::event::{Event, Handler};
    use crate::limits::memory::Memory;
    use crate::port::commons::Clock;
    use crate::reactor::WAKE;
    use crate::runtime::Core;

    /// Counts what it is told.
    #[derive(Default)]
    struct Counting {
        told: AtomicUsize,
        wants_inbox: bool,
    }

    impl Handler for Counting {
        fn on_event(&self, _: Conn, _: Event<'_>) {
            self.told.fetch_add(1, Ordering::SeqCst);
        }

        fn wants_inbox(&self) -> bool {
            self.wants_inbox
        }
    }

    /// A connection without a socket, whose loop nobody drives, and that has workers.
    struct Scene {
        core: Arc<Core>,
        shared: Arc<Shared>,
        counting: Arc<Counting>,
        _poll: mio::Poll,
    }

    impl Scene {
        fn new(wants_inbox: bool) -> Scene {
            let counting = Arc::new(Counting { told: AtomicUsize::new(0), wants_inbox });
            let mut config = Config::new();
            config.load_string(b"[Port]\nport = 0\n", "test").unwrap();
            let (settings, _) = config.resolve();
            let now = Arc::new(std::sync::atomic::AtomicU64::new(1000));
            let clock = Clock::Simulated(now);
            let (core, _) = Core::assemble(&settings.runtime, Consumer::Workers, clock).unwrap();
            let port = core.make_port(settings.ports.into_iter().next().unwrap(), 0).unwrap();
            core.simulate_start(&port);
            let poll = mio::Poll::new().unwrap();
            let waker = mio::Waker::new(poll.registry(), WAKE).unwrap();
            let (door, _) = Door::new(Role::Io, waker);
            let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
            let birth = Birth {
                key: 0,
                door,
                port,
                protocol: Protocol::Unknown,
                asks_admission: false,
                peer: nowhere,
                local: nowhere,
                accepted_ms: 1000,
                tls: None,
                delivery: Delivery::new(Consumer::Workers, &*counting),
            };
            Scene { core, shared: Shared::new(1, birth), counting, _poll: poll }
        }

        fn put(&self, event: Event<'_>) {
            let handler: Arc<dyn Handler> = self.counting.clone();
            assert!(matches!(self.shared.delivery.put(&self.shared, &handler, event), Put::Taken));
        }

        fn told(&self) -> usize {
            self.counting.told.load(Ordering::SeqCst)
        }

        fn work(&self) {
            let pool = self.shared.port.commons.workers.as_ref().unwrap();
            while pool.run_one() {}
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            // A running port and its core hold one another.
            self.core.stop_port(&self.shared.port, 0);
        }
    }

    #[test]
    fn whose_input_has_been_consumed_holds_no_memory_for_it() {
        for wants_inbox in [false, true] {
            let scene = Scene::new(wants_inbox);
            let delivery = &scene.shared.delivery;
            (0..1000).for_each(|_| scene.put(Event::Data(b"x")));
            assert!(delivery.reserved() >= 1000);
            scene.work();
            if wants_inbox {
                let taken = delivery.bytes(&scene.shared, &mut [0; 1000], Some(0));
                assert_eq!((taken, scene.told()), (Ok(1000), 0));
            } else {
                assert_eq!(scene.told(), 1000);
            }
            assert_eq!((delivery.reserved(), delivery.waiting_bytes()), (0, 0));
        }
    }

    #[test]
    fn a_refused_send_is_worth_another_try_when_the_evicted_one_is_gone_unless_its_connection_is() {
        // More than the free share has room for.
        const LARGE: usize = 1 << 20;
        let [largest, refused, ended] = [1, 2, 3].map(|id| {
            let mut scene = Scene::new(false);
            Arc::get_mut(&mut scene.shared).unwrap().id = id;
            scene
        });
        let memory = Memory::new(FREE_BYTES);
        let goes = |scene: &Scene| {
            scene.shared.is_over.store(true, Ordering::SeqCst);
            memory.recount(&scene.shared);
        };
        largest.shared.holds_input_bytes(4 << 20);
        memory.recount(&largest.shared);
        assert!(!memory.refuses_send(&refused.shared, LARGE), "nobody is evicted yet");
        assert!(memory.claim(&refused.shared, 1));
        for scene in [&refused, &ended, &refused, &ended] {
            assert!(memory.refuses_send(&scene.shared, LARGE));
        }
        assert_eq!(Arc::strong_count(&ended.shared), 2);
        goes(&ended);
        assert_eq!(Arc::strong_count(&ended.shared), 1);
        memory.recount(&refused.shared);
        let is_writable = |scene: &Scene| scene.shared.wants_writable.load(Ordering::SeqCst);
        assert!(!is_writable(&refused));
        goes(&largest);
        assert!(is_writable(&refused) && !is_writable(&ended));
        assert!(!memory.refuses_send(&refused.shared, LARGE));
    }

    #[test]
    fn a_refused_send_that_has_become_small_enough_is_worth_another_try_at_once() {
        let [largest, mut refused] = [1, 2].map(|id| {
            let mut scene = Scene::new(false);
            Arc::get_mut(&mut scene.shared).unwrap().id = id;
            scene
        });
        let memory = Memory::new(FREE_BYTES);
        largest.shared.holds_input_bytes(4 << 20);
        memory.recount(&largest.shared);
        assert!(memory.claim(&refused.shared, 1));
        let shared = &mut refused.shared;
        shared.holds_input_bytes(FREE_BYTES);
        assert!(memory.refuses_send(shared, 1000));
        memory.recount(shared);
        assert!(!shared.wants_writable.load(Ordering::SeqCst), "nothing has changed");
        shared.holds_input_bytes(FREE_BYTES - 1000);
        memory.recount(shared);
        assert!(shared.wants_writable.load(Ordering::SeqCst));
        assert!(!memory.refuses_send(shared, 1000));
        assert_eq!(Arc::strong_count(shared), 1);
    }

    #[test]
    fn room_that_is_told_of_several_times_before_a_worker_comes_is_told_of_once() {
        let scene = Scene::new(false);
        (0..3).for_each(|_| scene.put(Event::Writable));
        scene.work();
        assert_eq!(scene.told(), 1);
        scene.put(Event::Writable);
        scene.work();
        assert_eq!(scene.told(), 2);
    }
}
