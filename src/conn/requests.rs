//! What a host requests of a connection, sends included, in the order of its calls.

use super::output::Output;
use crate::event::SendFlags;
use crate::frame::HEADER_BYTES;
use crate::status::{CloseReason, Status};
use std::num::NonZeroU64;
use std::sync::atomic::Ordering;

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
    /// At this time, in monotonic milliseconds.
    Deadline(Option<NonZeroU64>),
    /// The same, of a connection that was closing already.
    CutFlush(Option<NonZeroU64>),
    /// The library itself must end it.
    Fail(CloseReason),
}

impl Op {
    /// Sends of other threads are joined up to this size.
    pub const JOINED_MAX_BYTES: usize = super::output::OWN_BYTES;

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

/// What the host asked for, or a rule decided, that the connection machine carries out.
#[derive(Clone, Debug)]
pub(crate) enum Verdict {
    HostClose(i32),
    HostCloseFirst(i32),
    HostAbort(i32),
    Refuse,
    Fail(CloseReason),
}

/// What was asked for and is not carried out yet, or goes on.
#[derive(Default)]
pub(crate) struct Requests {
    /// The host has paused reading.
    pub paused: bool,
    /// The host has admitted the connection.
    pub admitted: bool,
    pub verdict: Option<Verdict>,
    /// Monotonic milliseconds.
    pub deadline_ms: Option<NonZeroU64>,
    /// The deadline was set after the close had begun, and cuts that.
    pub deadline_cuts: bool,
}

/// The part of a connection that calls from its own callback use directly.
pub(crate) struct Reach {
    pub out: Output,
    pub requests: Requests,
}

impl Reach {
    pub fn new(out: Output) -> Reach {
        Reach { out, requests: Requests::default() }
    }

    // Sends of the connection's own callback: always taken, behind those of other threads.

    pub fn send_frames<'a>(
        &mut self,
        frames: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        flags: SendFlags,
    ) -> (usize, Result<(), Status>) {
        match self.may_send(true) {
            Ok(()) => self.out.send_frames(frames, flags),
            Err(status) => (0, Err(status)),
        }
    }

    pub fn send_bytes(&mut self, data: &[u8]) -> Result<(), Status> {
        self.may_send(false)?;
        self.out.send_bytes(data)
    }

    pub fn send_owned(
        &mut self,
        data: Box<dyn AsRef<[u8]> + Send>,
        flags: SendFlags,
    ) -> Result<(), Status> {
        self.may_send(true)?;
        self.out.send_owned(data, flags)
    }

    fn may_send(&mut self, framed: bool) -> Result<(), Status> {
        let Some(shared) = &self.out.shared else { return Err(Status::State) };
        shared.state.may_send(shared.protocol, framed)?;
        self.merge_foreign();
        Ok(())
    }

    /// Takes over what other threads have left, in their order.
    pub fn merge_foreign(&mut self) {
        let Some(shared) = &self.out.shared else { return };
        // The flag goes down first, so that what comes later is announced again.
        if !shared.dirty.load(Ordering::Acquire) || !shared.dirty.swap(false, Ordering::AcqRel) {
            return;
        }
        for op in shared.take_foreign() {
            self.out.shows(op.queued_bytes());
            self.apply(op);
        }
    }

    /// Carries out one operation whose change of state has been made already.
    pub fn apply(&mut self, op: Op) {
        let Reach { out, requests } = self;
        match op {
            Op::Bytes { bytes, frames } => out.take_bytes(bytes, frames),
            Op::Owned(data) => out.take_owned(data),
            Op::Admit => self.admit(),
            Op::Refuse(bytes) => {
                out.answer(&bytes);
                requests.verdict.get_or_insert(Verdict::Refuse);
            }
            Op::Cork => out.cork(),
            Op::Uncork => out.uncork(),
            Op::Pause => requests.paused = true,
            Op::Resume => {
                requests.paused = false;
                if let Some(shared) = &out.shared {
                    shared.delivery.resumes(shared);
                }
            }
            Op::Shutdown => out.shut_down(),
            Op::Close(code) => {
                requests.verdict.get_or_insert(Verdict::HostClose(code));
            }
            Op::CloseFirst(code) => {
                requests.verdict.get_or_insert(Verdict::HostCloseFirst(code));
            }
            Op::Abort(code) => requests.verdict = Some(Verdict::HostAbort(code)),
            Op::ProcessEnds => out.process_ends(),
            Op::Deadline(at_ms) => requests.deadline_ms = at_ms,
            Op::CutFlush(at_ms) => {
                requests.deadline_ms = at_ms;
                requests.deadline_cuts = true;
            }
            Op::Fail(CloseReason::MemoryLimit) => out.is_cut = true,
            Op::Fail(reason) => {
                requests.verdict.get_or_insert(Verdict::Fail(reason));
            }
        }
    }

    /// S: on 1 and 3 the server answers with a single byte 1, before anything else.
    pub fn admit(&mut self) {
        self.requests.admitted = true;
        if self.out.shared.as_ref().is_some_and(|shared| shared.protocol.is_framed()) {
            self.out.answer(&[1]);
        }
    }
}
