//! Stage 7: the output side of a connection: what waits to be sent, and what the host has
//! asked for. It belongs to the loop; while a callback runs it lies where calls of that
//! callback find it (`dispatch`).
//!
//! Small output is gathered and flushed once at the end of the loop's turn. Large arrays
//! with an empty queue go to the socket at once, straight from the caller's memory, and
//! only the unsent rest is copied. With TLS the gathered bytes are sealed together.

use crate::budget::Budget;
use crate::buffers;
use crate::frame::{HEADER_BYTES, MAX_PAYLOAD_BYTES, encode};
use crate::handles::SendFlags;
use crate::listener::Port;
use crate::queue::{Data, GATHER_BYTES, Lent, PIECE_BYTES, Queue, SLICES};
use crate::reactor::transport::Transport;
use crate::shared::Shared;
use crate::status::{CloseReason, Status};
use crate::tls::Engine;
use std::io::{self, ErrorKind, IoSlice};
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// From this size on data gets memory of its own instead of being gathered.
const OWN_BYTES: usize = 64 << 10;
/// From this size on an array of frames is written through.
const THROUGH_ARRAY_BYTES: usize = 32 << 10;
/// From this size on a single frame is.
const THROUGH_SINGLE_BYTES: usize = 256 << 10;
/// Sealed at a time: a few records, so that blocked output waits unsealed.
const SEAL_BYTES: usize = PIECE_BYTES;

/// Something to do for a connection, left by another thread or done in its own callback.
pub(crate) enum Op {
    /// Bytes as they go on the wire, holding `frames` whole frames.
    Bytes {
        bytes: Vec<u8>,
        frames: u64,
    },
    /// One raw frame in memory of the host's.
    Owned(Box<dyn AsRef<[u8]> + Send>),
    Admit,
    Refuse(Vec<u8>),
    Cork,
    Uncork,
    Pause,
    Resume,
    Shutdown,
    Close(i32),
    /// By a host that has not come to the peer's end.
    CloseFirst(i32),
    Abort(i32),
    /// The process is about to end.
    ProcessEnds,
    Deadline(Option<u64>),
    /// The same, of a connection that was closing already.
    CutFlush(Option<u64>),
    /// The library itself must end it.
    Fail(CloseReason),
}

impl Op {
    /// Sends of other threads are joined up to this size.
    pub const JOINED_MAX_BYTES: usize = OWN_BYTES;

    pub fn queued_bytes(&self) -> usize {
        match self {
            Op::Bytes { bytes, .. } => bytes.len(),
            Op::Owned(data) => HEADER_BYTES + (**data).as_ref().len(),
            _ => 0,
        }
    }

    /// Bytes for the peer, and the frames among them.
    pub fn carries(&self) -> (usize, u64) {
        match self {
            Op::Bytes { frames, .. } => (self.queued_bytes(), *frames),
            Op::Owned(_) => (self.queued_bytes(), 1),
            Op::Refuse(bytes) => (bytes.len(), 0),
            _ => (0, 0),
        }
    }
}

/// How far our own direction has been ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fin {
    No,
    /// Behind what is queued.
    Asked,
    /// TLS: close_notify is queued.
    Notified,
    Sent,
}

/// What the host asked for, or a rule decided, that the connection machine carries out.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    HostClose(i32),
    HostCloseFirst(i32),
    HostAbort(i32),
    Refuse,
    Fail(CloseReason),
}

/// What a connection with TLS has more: one without it has no memory for it.
pub(crate) struct Tls {
    pub engine: Engine,
    /// What waits to be sealed.
    plain: Queue,
    /// Input that is opened and not used up.
    opened: Vec<u8>,
}

impl Tls {
    pub fn new(engine: Engine) -> Tls {
        Tls { engine, plain: Queue::default(), opened: Vec::new() }
    }
}

/// The output side.
pub(crate) struct Outbound {
    /// The handle; 0 until identified.
    pub id: u64,
    pub shared: Option<Arc<Shared>>,
    pub port: Arc<Port>,
    pub transport: Transport,
    pub tls: Option<Box<Tls>>,
    /// What goes to the socket.
    wire: Queue,
    corked: u32,
    /// The host has paused reading.
    pub paused: bool,
    /// The socket took less than it was offered; its writable event goes on.
    pub blocked: bool,
    pub fin: Fin,
    /// The host has admitted the connection.
    pub admitted: bool,
    pub verdict: Option<Verdict>,
    /// It has no memory, or was evicted for others: it ends by a reset, whatever else ends it.
    pub is_cut: bool,
    /// The process is about to end, and the system closes the socket then: see [`Shared::guard_end_of_process`].
    process_ends: bool,
    /// An error of the socket or of TLS met while sending; the machine ends the connection.
    pub error: Option<io::Error>,
    /// Monotonic milliseconds, set by the machine before each turn.
    pub now_ms: u64,
    pub host_deadline_ms: Option<NonZeroU64>,
    /// It was set after the close had begun, and cuts that.
    pub deadline_cuts: bool,
    /// When output last left, or began to wait.
    pub sent_ms: u64,
    /// When the peer last acknowledged something, or owed nothing.
    pub progress_ms: u64,
    /// Bytes that it had acknowledged when the system was asked last.
    acknowledged: u64,
    pub bytes_out: u64,
    /// Frames that were taken, sent or not.
    pub frames_out: u64,
    /// Queued bytes that the account for `memoryLimit` knows of.
    pub counted_bytes: usize,
    /// How much of what waits here is in `Shared::queued`.
    shown_bytes: usize,
}

impl Drop for Outbound {
    fn drop(&mut self) {
        self.close_socket();
    }
}

impl Outbound {
    pub fn new(port: Arc<Port>, transport: Transport, now_ms: u64) -> Outbound {
        Outbound {
            id: 0,
            shared: None,
            port,
            transport,
            tls: None,
            wire: Queue::default(),
            corked: 0,
            paused: false,
            blocked: false,
            fin: Fin::No,
            admitted: false,
            verdict: None,
            is_cut: false,
            process_ends: false,
            error: None,
            now_ms,
            host_deadline_ms: None,
            deadline_cuts: false,
            sent_ms: now_ms,
            progress_ms: now_ms,
            acknowledged: 0,
            bytes_out: 0,
            frames_out: 0,
            counted_bytes: 0,
            shown_bytes: 0,
        }
    }

    /// Bytes that wait here.
    pub fn queued_bytes(&self) -> usize {
        self.tls.as_ref().map_or(0, |tls| tls.plain.bytes) + self.wire.bytes
    }

    /// With TLS: input that is opened and not used up.
    pub fn opened(&self) -> &[u8] {
        self.tls.as_ref().map_or(&[], |tls| &tls.opened)
    }

    pub fn take_opened(&mut self) -> Vec<u8> {
        self.tls.as_mut().map(|tls| std::mem::take(&mut tls.opened)).unwrap_or_default()
    }

    pub fn keep_opened(&mut self, bytes: &[u8]) {
        if let Some(tls) = &mut self.tls {
            tls.opened = bytes.to_vec();
        }
    }

    /// Bytes wait for the peer, not for the host or for the next turn.
    pub fn waits_for_peer(&self) -> bool {
        self.blocked && self.queued_bytes() > 0
    }

    /// The peer has to acknowledge something, as far as is known.
    pub fn is_owed(&self) -> bool {
        self.bytes_out > self.acknowledged || self.waits_for_peer()
    }

    /// When it last was anything but silent.
    pub fn active_ms(&self) -> u64 {
        if self.waits_for_peer() { self.sent_ms.max(self.progress_ms) } else { self.sent_ms }
    }

    /// Asks the system whether the peer has acknowledged something since that was asked last. That
    /// the socket takes output, or does not, tells nothing: a dead peer's buffer takes megabytes, and
    /// that of a slow one has room again when a third of them is free.
    pub fn note_progress(&mut self) {
        if !self.is_owed() {
            return;
        }
        let under_way = self.transport.unacknowledged_bytes() as u64;
        let acknowledged = self.bytes_out.saturating_sub(under_way);
        if acknowledged > self.acknowledged {
            self.acknowledged = acknowledged;
            self.progress_ms = self.now_ms;
        }
    }

    /// Above the high-water mark reading pauses.
    pub fn is_over_mark(&self) -> bool {
        self.queued_bytes() >= self.port.rules.send_queue_limit_bytes
    }

    // Sends of the connection's own callback: always taken.

    pub fn send_frames<'a>(
        &mut self,
        frames: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        flags: SendFlags,
    ) -> (usize, Result<(), Status>) {
        if let Err(status) = self.may_send(true) {
            return (0, Err(status));
        }
        #[cfg(test)]
        self.port.fault.strike(crate::faults::Stage::Encode);
        let writes = self.port.rules.frame.writes.filter(|_| !flags.no_compress);
        let count = frames.len();
        let total: usize = frames.clone().map(|frame| frame.len() + HEADER_BYTES).sum();
        let large = if count == 1 { THROUGH_SINGLE_BYTES } else { THROUGH_ARRAY_BYTES };
        if total >= large
            && self.tls.is_none()
            && self.corked == 0
            && !self.blocked
            && self.wire.bytes == 0
            && frames.clone().all(|frame| {
                frame.len() <= MAX_PAYLOAD_BYTES
                    && encode::worth_compressing(frame, writes).is_none()
            })
        {
            return match self.write_through(frames) {
                Ok(()) => {
                    self.frames_out += count as u64;
                    (count, Ok(()))
                }
                Err(status) => (0, Err(status)),
            };
        }
        for (taken, frame) in frames.enumerate() {
            if frame.len() > MAX_PAYLOAD_BYTES {
                return (taken, Err(Status::FrameTooLarge));
            }
            if let Err(status) = self.within_memory(frame.len()) {
                return (taken, Err(status));
            }
            let appended = match encode::worth_compressing(frame, writes) {
                Some(how) => {
                    let mut packed = buffers::take();
                    let states = &self.port.core.compressors;
                    let is_smaller = encode::compressed(frame, how, states, &mut packed);
                    if is_smaller {
                        self.queue().append(&packed);
                    }
                    buffers::give(packed);
                    if is_smaller { Ok(()) } else { self.append_raw(frame) }
                }
                None => self.append_raw(frame),
            };
            if let Err(status) = appended {
                return (taken, Err(status));
            }
            self.frames_out += 1;
        }
        self.flush_if_much();
        (count, Ok(()))
    }

    pub fn send_bytes(&mut self, data: &[u8]) -> Result<(), Status> {
        self.may_send(false)?;
        self.within_memory(data.len())?;
        self.queue().append(data);
        self.flush_if_much();
        Ok(())
    }

    pub fn send_owned(
        &mut self,
        data: Box<dyn AsRef<[u8]> + Send>,
        flags: SendFlags,
    ) -> Result<(), Status> {
        let payload = (*data).as_ref();
        let writes = self.port.rules.frame.writes.filter(|_| !flags.no_compress);
        if payload.len() < OWN_BYTES || encode::worth_compressing(payload, writes).is_some() {
            return self.send_frames(std::iter::once(payload), flags).1;
        }
        self.may_send(true)?;
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(Status::FrameTooLarge);
        }
        self.within_memory(payload.len())?;
        self.apply(Op::Owned(data));
        self.flush_if_much();
        Ok(())
    }

    fn may_send(&mut self, framed: bool) -> Result<(), Status> {
        let Some(shared) = &self.shared else { return Err(Status::State) };
        shared.state.may_send(shared.protocol, framed)?;
        self.merge_foreign();
        Ok(())
    }

    fn is_over_memory(&self, more: usize) -> bool {
        let queued = self.queued_bytes();
        self.port.memory.is_over(queued, queued.saturating_sub(self.counted_bytes), more)
    }

    fn within_memory(&mut self, more: usize) -> Result<(), Status> {
        if self.is_over_memory(more) { self.claim_memory(more) } else { Ok(()) }
    }

    /// Those that hold most end for it, unless that is this one.
    #[cold]
    fn claim_memory(&mut self, more: usize) -> Result<(), Status> {
        self.show_queued();
        self.counted_bytes = self.queued_bytes();
        match &self.shared {
            Some(shared) if self.port.memory.claim(shared, more) => Ok(()),
            _ => Err(self.no_memory()),
        }
    }

    /// What is to be sent cannot be held: the connection ends.
    #[cold]
    fn no_memory(&mut self) -> Status {
        if let Some(shared) = &self.shared {
            self.is_cut = shared.state.cut().is_ok();
        }
        Status::MemoryLimit
    }

    fn append_raw(&mut self, frame: &[u8]) -> Result<(), Status> {
        if frame.len() >= OWN_BYTES {
            return self.append_large(frame);
        }
        let header = encode::raw_header(frame.len());
        let queue = self.queue();
        queue.append(&header);
        queue.append(frame);
        Ok(())
    }

    // Inlined it makes an echo of small frames 5 % dearer.
    #[inline(never)]
    fn append_large(&mut self, frame: &[u8]) -> Result<(), Status> {
        let room = buffers::for_travel(HEADER_BYTES + frame.len());
        let mut own = room.map_err(|_| self.no_memory())?;
        own.extend_from_slice(&encode::raw_header(frame.len()));
        own.extend_from_slice(frame);
        self.queue().push(Data::Own(own));
        Ok(())
    }

    /// The queue that sends go to.
    fn queue(&mut self) -> &mut Queue {
        if self.queued_bytes() == 0 {
            self.sent_ms = self.now_ms;
            if self.process_ends {
                self.show_early();
            }
        }
        self.tls.as_mut().map_or(&mut self.wire, |tls| &mut tls.plain)
    }

    /// Output is about to wait here: shown before the turn ends, as the process may not live so long.
    // Inlined it makes an echo of small frames 4 % dearer.
    #[cold]
    #[inline(never)]
    fn show_early(&mut self) {
        if let Some(shared) = &self.shared {
            shared.queued.fetch_add(1, Ordering::SeqCst);
            self.shown_bytes += 1;
            shared.guard_end_of_process(0);
        }
    }

    /// Hands frames to the socket from the caller's memory and copies what it does not take.
    fn write_through<'a>(
        &mut self,
        mut frames: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Status> {
        loop {
            let mut headers = [[0u8; HEADER_BYTES]; SLICES / 2];
            let mut payloads: [&[u8]; SLICES / 2] = [&[]; SLICES / 2];
            let mut count = 0;
            while count < SLICES / 2 {
                let Some(frame) = frames.next() else { break };
                headers[count] = encode::raw_header(frame.len());
                payloads[count] = frame;
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            for i in 0..count {
                slices[2 * i] = IoSlice::new(&headers[i]);
                slices[2 * i + 1] = IoSlice::new(payloads[i]);
            }
            let mut sent = if self.blocked { 0 } else { self.send_slices(&slices[..2 * count]) };
            for slice in &slices[..2 * count] {
                let skip = sent.min(slice.len());
                sent -= skip;
                let rest = &slice[skip..];
                // Only what the socket does not take has to be held.
                self.within_memory(rest.len())?;
                if rest.len() >= OWN_BYTES {
                    let mut own = buffers::for_travel(rest.len()).map_err(|_| self.no_memory())?;
                    own.extend_from_slice(rest);
                    self.queue().push(Data::Own(own));
                } else if !rest.is_empty() {
                    self.queue().append(rest);
                }
            }
        }
    }

    /// One send; a short one means that the socket is full.
    fn send_slices(&mut self, slices: &[IoSlice<'_>]) -> usize {
        let offered: usize = slices.iter().map(|slice| slice.len()).sum();
        self.sent_ms = self.now_ms;
        if self.bytes_out == self.acknowledged {
            // From here on the peer is waited for, however long the host held it back.
            self.progress_ms = self.now_ms;
        }
        loop {
            match self.transport.send(slices) {
                Ok(sent) => {
                    self.blocked = sent < offered;
                    self.bytes_out += sent as u64;
                    return sent;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => {
                    self.blocked = true;
                    if error.kind() != ErrorKind::WouldBlock {
                        self.error.get_or_insert(error);
                    }
                    return 0;
                }
            }
        }
    }

    fn flush_if_much(&mut self) {
        if self.queued_bytes() >= GATHER_BYTES {
            self.flush();
        }
    }

    /// Sends what waits, as far as the socket takes it. True: more could go in a later turn.
    pub fn flush(&mut self) -> bool {
        // A full queue is not held back: its host may wait for room before it uncorks.
        let gathers_bytes = GATHER_BYTES.min(self.port.rules.send_queue_limit_bytes);
        let held = self.corked > 0 && self.fin == Fin::No && self.queued_bytes() < gathers_bytes;
        if held {
            return false;
        }
        #[cfg(test)]
        if self.queued_bytes() > 0 {
            self.port.fault.strike(crate::faults::Stage::Flush);
        }
        self.guard_end_of_process();
        let mut budget = Budget::of_a_turn();
        while !self.blocked && self.error.is_none() {
            if self.wire.bytes < SEAL_BYTES && !self.seal_some() && self.wire.bytes == 0 {
                return false;
            }
            if budget.is_spent() {
                return true;
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            // The queue is lent to the slices while the transport is borrowed too.
            let wire = std::mem::take(&mut self.wire);
            let count = wire.slices(&mut slices);
            let sent = self.send_slices(&slices[..count]);
            self.wire = wire;
            self.wire.advance(sent);
            budget.sent(sent);
        }
        false
    }

    /// The descriptor is given back.
    pub fn close_socket(&mut self) {
        if let Some(shared) = &self.shared {
            shared.socket.close();
        }
        self.transport = Transport::Gone;
    }

    fn guard_end_of_process(&self) {
        if self.process_ends
            && let Some(shared) = &self.shared
        {
            shared.guard_end_of_process(self.queued_bytes().wrapping_sub(self.shown_bytes));
        }
    }

    /// The process is about to end, and the host holds output that follows what is here: the peer must not read an
    /// orderly end before that.
    pub fn is_owed_by_host(&self) -> bool {
        self.process_ends && self.shared.as_ref().is_some_and(|shared| shared.host_owes())
    }

    /// Makes the close that follows a reset.
    pub fn reset_on_close(&mut self) {
        // No other thread takes it back.
        if let Some(shared) = &self.shared {
            shared.socket.close();
        }
        self.process_ends = false;
        self.transport.set_reset_on_close(true);
    }

    /// Seals a piece of what waits. False: there was nothing to seal.
    fn seal_some(&mut self) -> bool {
        let Some(tls) = &mut self.tls else { return false };
        let Some(piece) = tls.plain.front() else { return false };
        let piece = &piece[..piece.len().min(SEAL_BYTES)];
        let mut sealed = buffers::take();
        sealed.resize(Engine::sealed_size(piece.len()), 0);
        match tls.engine.seal(piece, &mut sealed) {
            Ok(len) => {
                let used = piece.len();
                sealed.truncate(len);
                tls.plain.advance(used);
                self.wire.push(Data::Gathered(sealed));
                true
            }
            Err(error) => {
                self.error.get_or_insert(io::Error::other(format!("sealing: {error:?}")));
                false
            }
        }
    }

    /// Queues bytes of the TLS engine itself.
    pub fn queue_wire(&mut self, bytes: &[u8]) {
        if self.queued_bytes() == 0 {
            self.sent_ms = self.now_ms;
        }
        self.wire.append(bytes);
    }

    /// Ends our direction once the queue is empty. True: it has been ended.
    pub fn finish(&mut self) -> bool {
        if self.fin == Fin::Sent {
            return true;
        }
        if self.queued_bytes() > 0 || self.error.is_some() {
            return false;
        }
        if let Some(tls) = &mut self.tls
            && self.fin != Fin::Notified
        {
            let mut farewell = Vec::new();
            tls.engine.close_notify(&mut farewell);
            self.fin = Fin::Notified;
            self.wire.append(&farewell);
            self.flush();
            if self.wire.bytes > 0 {
                return false;
            }
        }
        self.guard_end_of_process();
        self.transport.shutdown_write();
        self.fin = Fin::Sent;
        true
    }

    // Operations of the host.

    /// Takes over what other threads have left, in their order.
    pub fn merge_foreign(&mut self) {
        let Some(shared) = &self.shared else { return };
        // The flag goes down first, so that what comes later is announced again.
        if !shared.dirty.load(Ordering::Acquire) || !shared.dirty.swap(false, Ordering::AcqRel) {
            return;
        }
        for op in shared.take_foreign() {
            self.shown_bytes += op.queued_bytes();
            self.apply(op);
        }
    }

    /// Shows other threads how much waits here.
    pub fn show_queued(&mut self) {
        self.guard_end_of_process();
        let queued = self.queued_bytes();
        if let Some(shared) = &self.shared
            && queued != self.shown_bytes
        {
            shared.queued.fetch_add(queued.wrapping_sub(self.shown_bytes), Ordering::SeqCst);
            self.shown_bytes = queued;
        }
    }

    /// Carries out one operation whose change of state has been made already.
    pub fn apply(&mut self, op: Op) {
        match op {
            Op::Bytes { bytes, frames } => {
                self.frames_out += frames;
                if bytes.len() < OWN_BYTES {
                    self.queue().append(&bytes);
                    buffers::has_arrived(bytes);
                } else {
                    self.queue().push(Data::Own(bytes));
                }
            }
            Op::Owned(data) => {
                self.frames_out += 1;
                let header = encode::raw_header((*data).as_ref().len());
                let queue = self.queue();
                queue.append(&header);
                queue.push(Data::Lent(Lent(Some(data))));
            }
            Op::Admit => self.admit(),
            Op::Refuse(bytes) => {
                self.queue().append(&bytes);
                self.verdict.get_or_insert(Verdict::Refuse);
            }
            Op::Cork => self.corked += 1,
            Op::Uncork => self.corked = self.corked.saturating_sub(1),
            Op::Pause => self.paused = true,
            Op::Resume => {
                self.paused = false;
                if let Some(shared) = &self.shared {
                    shared.resume_mail();
                }
            }
            Op::Shutdown => {
                if self.fin == Fin::No {
                    self.fin = Fin::Asked;
                }
            }
            Op::Close(code) => {
                self.verdict.get_or_insert(Verdict::HostClose(code));
            }
            Op::CloseFirst(code) => {
                self.verdict.get_or_insert(Verdict::HostCloseFirst(code));
            }
            Op::Abort(code) => self.verdict = Some(Verdict::HostAbort(code)),
            Op::ProcessEnds => {
                self.process_ends = true;
                self.guard_end_of_process();
            }
            Op::Deadline(after_ms) => self.host_deadline_ms = self.after(after_ms),
            Op::CutFlush(after_ms) => {
                self.host_deadline_ms = self.after(after_ms);
                self.deadline_cuts = true;
            }
            Op::Fail(CloseReason::MemoryLimit) => self.is_cut = true,
            Op::Fail(reason) => {
                self.verdict.get_or_insert(Verdict::Fail(reason));
            }
        }
    }

    fn after(&self, after_ms: Option<u64>) -> Option<NonZeroU64> {
        // From now on, not from when the turn began; never 0, as the clock is not.
        let now_ms = self.port.core.now_ms();
        after_ms.and_then(|after_ms| NonZeroU64::new(now_ms.saturating_add(after_ms)))
    }

    /// S: on 1 and 3 the server answers with a single byte 1, before anything else.
    pub fn admit(&mut self) {
        self.admitted = true;
        if self.shared.as_ref().is_some_and(|shared| shared.protocol.is_framed()) {
            self.queue().append(&[1]);
        }
    }

    /// It is closing: nothing is held back any more.
    pub fn uncork_all(&mut self) {
        self.corked = 0;
    }

    /// Drops what waits and says how much it was.
    pub fn discard(&mut self) -> usize {
        let bytes = self.queued_bytes();
        if let Some(tls) = &mut self.tls {
            tls.plain = Queue::default();
        }
        self.wire = Queue::default();
        bytes
    }
}
