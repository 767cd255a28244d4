//! The output of a connection: what waits to be sent. It belongs to the loop; while a callback runs
//! it lies where calls of that callback find it (`current`).

use super::queue::{Data, GATHER_BYTES, Lent, PIECE_BYTES, Queue, SLICES};
use super::shared::Shared;
use crate::base::budget::Budget;
use crate::base::buffers;
use crate::base::fault::Site;
use crate::frame::encode;
use crate::net::transport::Transport;
use crate::port::Port;
use crate::tls::Engine;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// From this size on data gets memory of its own instead of being gathered.
pub(super) const OWN_BYTES: usize = 64 << 10;
/// Sealed at a time: a few records, so that blocked output waits unsealed.
const SEAL_BYTES: usize = PIECE_BYTES;

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

/// What a connection with TLS has more: one without it has no memory for it.
pub(crate) struct Tls {
    pub engine: Engine,
    /// What waits to be sealed.
    plain: Queue,
}

impl Tls {
    pub fn new(engine: Engine) -> Tls {
        Tls { engine, plain: Queue::default() }
    }
}

/// The output side.
pub(crate) struct Output {
    /// The handle; 0 until identified.
    pub id: u64,
    pub shared: Option<Arc<Shared>>,
    pub port: Arc<Port>,
    pub transport: Transport,
    pub tls: Option<Box<Tls>>,
    /// What goes to the socket.
    pub(super) wire: Queue,
    pub(super) corked: u32,
    /// The socket took less than it was offered; its writable event goes on.
    pub blocked: bool,
    pub fin: Fin,
    /// It has no memory, or was evicted for others: it ends by a reset, whatever else ends it.
    pub is_cut: bool,
    /// The process is about to end, and the system closes the socket then: see [`Shared::guard_end_of_process`].
    process_ends: bool,
    /// An error of the socket or of TLS met while sending; the machine ends the connection.
    pub error: Option<io::Error>,
    /// Monotonic milliseconds, set by the machine before each turn.
    pub now_ms: u64,
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

impl Drop for Output {
    fn drop(&mut self) {
        self.close_socket();
    }
}

impl Output {
    pub fn new(port: Arc<Port>, transport: Transport, now_ms: u64) -> Output {
        Output {
            id: 0,
            shared: None,
            port,
            transport,
            tls: None,
            wire: Queue::default(),
            corked: 0,
            blocked: false,
            fin: Fin::No,
            is_cut: false,
            process_ends: false,
            error: None,
            now_ms,
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

    /// The queue that sends go to.
    pub(super) fn queue(&mut self) -> &mut Queue {
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

    /// One send; a short one means that the socket is full.
    pub(super) fn send_slices(&mut self, slices: &[IoSlice<'_>]) -> usize {
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

    pub(super) fn flush_if_much(&mut self) {
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
        if self.queued_bytes() > 0 {
            self.port.fault.strike(Site::Flush);
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

    /// A send was refused, and its host has not heard of room since.
    pub fn refuses(&self) -> bool {
        self.shared.as_ref().is_some_and(|shared| shared.wants_writable.load(Ordering::SeqCst))
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

    // What the host asks of its output, in the order of all requests.

    /// Bytes that another thread has encoded, `frames` whole frames.
    pub fn take_bytes(&mut self, bytes: Vec<u8>, frames: u64) {
        self.frames_out += frames;
        if bytes.len() < OWN_BYTES {
            self.queue().append(&bytes);
            buffers::has_arrived(bytes);
        } else {
            self.queue().push(Data::Own(bytes));
        }
    }

    /// A raw frame in memory of the host's.
    pub fn take_owned(&mut self, data: Box<dyn AsRef<[u8]> + Send>) {
        self.frames_out += 1;
        let header = encode::raw_header((*data).as_ref().len());
        let queue = self.queue();
        queue.append(&header);
        queue.push(Data::Lent(Lent(Some(data))));
    }

    /// Bytes that are neither frames nor counted: an answer byte, or that of a refusal.
    pub fn answer(&mut self, bytes: &[u8]) {
        self.queue().append(bytes);
    }

    /// So many bytes of what other threads have left are here now, and counted already.
    pub fn shows(&mut self, bytes: usize) {
        self.shown_bytes += bytes;
    }

    pub fn cork(&mut self) {
        self.corked += 1;
    }

    pub fn uncork(&mut self) {
        self.corked = self.corked.saturating_sub(1);
    }

    /// Our direction ends behind what is queued.
    pub fn shut_down(&mut self) {
        if self.fin == Fin::No {
            self.fin = Fin::Asked;
        }
    }

    /// The process is about to end.
    pub fn process_ends(&mut self) {
        self.process_ends = true;
        self.guard_end_of_process();
    }

    /// It is closing: nothing is held back any more.
    pub fn uncork_all(&mut self) {
        self.corked = 0;
    }

    /// Drops what waits and says how much of that the host had given.
    pub fn discard(&mut self) -> usize {
        // Behind the last of the host's there is only the end of TLS.
        let bytes = if self.fin == Fin::Notified { 0 } else { self.queued_bytes() };
        if let Some(tls) = &mut self.tls {
            tls.plain = Queue::default();
        }
        self.wire = Queue::default();
        bytes
    }
}
