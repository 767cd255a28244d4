//! The way out: who ends a connection, why, and what is done before it is told.

use super::requests::Verdict;
use super::state::State;
use super::{InputEnd, Machine, Phase, Turn};
use crate::event::{Event, Party, Stage};
use crate::status::CloseReason;
use crate::tls::TlsError;
use std::io;
use std::num::NonZeroU64;

/// Why and how a connection ends.
#[derive(Clone)]
pub(super) struct Ending {
    pub reason: CloseReason,
    pub by: Party,
    pub stage: Stage,
    pub cut: Cut,
    pub host_code: i32,
    pub os_error: i32,
    pub tls_alert: i32,
    pub text: String,
    /// Its flush was cut by the drain deadline.
    pub drained: bool,
    /// First the host gets what arrived before, and may answer it.
    pub awaits: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Cut {
    /// Flush, end our direction, linger.
    AfterFlush,
    /// One try to flush, then close.
    Now,
    /// Reset.
    Reset,
}

impl Machine {
    pub(super) fn stage(&self) -> Stage {
        match self.phase {
            Phase::Sniff => Stage::Accept,
            Phase::Handshake => Stage::Tls,
            Phase::Identify => Stage::Identify,
            Phase::Admit { .. } => Stage::Admit,
            _ => Stage::Open,
        }
    }

    pub(super) fn ending(&self, reason: CloseReason, by: Party) -> Ending {
        let cut = match reason {
            // What it holds is wanted at once, and a peer that does not read would keep it.
            CloseReason::MemoryLimit => Cut::Reset,
            _ => Cut::AfterFlush,
        };
        Ending {
            reason,
            by,
            stage: self.stage(),
            cut,
            host_code: 0,
            os_error: 0,
            tls_alert: -1,
            text: String::new(),
            drained: false,
            awaits: false,
        }
    }

    /// Ends it by a rule of the library that what arrived last has broken: what came before is
    /// consumed first.
    pub(super) fn fail_behind_input(&mut self, reason: CloseReason) {
        let ending = self.ending(reason, Party::Library);
        self.end(Ending { awaits: true, ..ending });
    }

    /// Ends it by a rule of the library.
    pub fn fail(&mut self, reason: CloseReason) {
        let ending = self.ending(reason, Party::Library);
        self.end(ending);
    }

    /// A defect of ours was caught in its turn: it ends at once, and the others go on. By a
    /// reset, as part of its output may be lost and the peer must not take that for a whole.
    pub fn on_defect(&mut self, turn: &mut Turn) {
        if self.reach.is_none() || self.seat.is_none() {
            return;
        }
        let stage = match &self.phase {
            Phase::Closing(present) => present.stage,
            _ => self.stage(),
        };
        let ending = self.ending(CloseReason::Internal, Party::Library);
        let ending = Ending { stage, cut: Cut::Reset, ..ending };
        self.end(ending.clone());
        self.phase = Phase::Closing(Box::new(ending));
        self.close_step(turn);
    }

    /// Begins the end; the first reason counts, but a harder cut still shortens a flush.
    pub(super) fn end(&mut self, ending: Ending) {
        let now_ms = self.out_ref().now_ms;
        let shared = self.out().shared.clone();
        let awaits = ending.awaits && self.awaits_consumer();
        if !awaits {
            self.out().uncork_all();
            if let Some(shared) = &shared {
                let _ = shared.change(State::fail);
            }
        }
        if let Some(shared) = &shared {
            shared.delivery.input_ends();
        }
        match &mut self.phase {
            Phase::Closing(present) => {
                if present.awaits && !awaits {
                    // It had not really begun to end: what cuts the waiting short is the reason.
                    **present = Ending { awaits, ..ending };
                    self.times.ended_ms = now_ms;
                } else if ending.cut != Cut::AfterFlush {
                    present.cut = ending.cut;
                    present.drained |= ending.reason == CloseReason::DrainDeadline;
                    if present.os_error == 0 {
                        present.os_error = ending.os_error;
                    }
                    if ending.reason == CloseReason::CloseTimeout {
                        // There is no other way for that one to be the reason.
                        present.text = format!("after {}", present.reason.name());
                        (present.reason, present.by) = (ending.reason, ending.by);
                    }
                }
            }
            // Its time is over: what the host has not taken by now is not waited for.
            Phase::Parted(_) => {
                if let Some(shared) = &shared {
                    shared.delivery.discard();
                }
            }
            Phase::Lingering { .. } | Phase::Gone => {}
            _ => {
                self.times.ended_ms = now_ms;
                self.phase = Phase::Closing(Box::new(Ending { awaits, ..ending }));
                self.forget_input();
            }
        }
    }

    /// The host has not consumed all that was delivered, and wants to.
    pub(super) fn awaits_consumer(&self) -> bool {
        let Some(shared) = &self.out_ref().shared else { return false };
        if !matches!(self.phase, Phase::Open { .. } | Phase::Closing(_)) || shared.state.is_muted()
        {
            return false;
        }
        !shared.delivery.is_consumed()
    }

    fn has_shown_end(&self) -> bool {
        self.out_ref().shared.as_ref().is_some_and(|shared| shared.delivery.has_shown_end())
    }

    /// The runtime or the listener stops: unidentified connections end at once, all others
    /// by `deadline_ms`.
    pub fn on_drain(&mut self, deadline_ms: u64) {
        match self.phase {
            Phase::Sniff | Phase::Handshake | Phase::Identify => {
                let ending = self.ending(CloseReason::Stopped, Party::Library);
                self.end(Ending { cut: Cut::Now, ..ending });
            }
            _ => {
                let present = self.times.drain_deadline.unwrap_or(NonZeroU64::MAX);
                // Of the same clock, which is never 0.
                let asked = NonZeroU64::new(deadline_ms).unwrap_or(NonZeroU64::MIN);
                self.times.drain_deadline = Some(present.min(asked));
            }
        }
    }

    /// Evicts it for a newer connection, unless it has come further since that was decided.
    pub fn on_evicted(&mut self) {
        // If it is at its end already, that is the reason.
        if let Some(reason) = self.ticket().and_then(|ticket| ticket.evicted())
            && self.input_end.is_none()
            && !self.is_over()
        {
            let ending = self.ending(reason, Party::Library);
            self.end(Ending { cut: Cut::Now, ..ending });
        }
    }

    /// An error of the socket.
    pub fn on_io_error(&mut self, error: &io::Error) {
        if matches!(self.phase, Phase::Lingering { .. }) {
            self.phase = Phase::Gone;
        }
        let os_error = error.raw_os_error().unwrap_or(0);
        let (reason, by) = match os_error {
            libc::ECONNRESET | libc::EPIPE => (CloseReason::PeerReset, Party::Peer),
            // The system gave up on output that the peer does not acknowledge before we did.
            libc::ETIMEDOUT if self.has_output_under_way() => {
                (CloseReason::WriteTimeout, Party::Library)
            }
            libc::ETIMEDOUT => (CloseReason::KeepAlive, Party::System),
            _ => (CloseReason::IoError, Party::System),
        };
        let text = if os_error == 0 { error.to_string() } else { String::new() };
        self.end(Ending { os_error, text, cut: Cut::Now, ..self.ending(reason, by) });
    }

    fn has_output_under_way(&mut self) -> bool {
        let out = self.out();
        out.queued_bytes() > 0 || out.transport.unacknowledged_bytes() > 0
    }

    pub(super) fn tls_failed(&mut self, error: TlsError) {
        let by = if error.sent_by_peer { Party::Peer } else { Party::Library };
        let tls_alert = error.alert.map_or(-1, i32::from);
        let reason = if error.no_data { CloseReason::TlsNoData } else { CloseReason::TlsFailed };
        let ending = self.ending(reason, by);
        self.end(Ending { tls_alert, text: error.text, awaits: true, ..ending });
    }

    /// Turns what was asked for into the beginning of the end.
    pub(super) fn obey(&mut self) {
        if let Some(verdict) = self.reach().requests.verdict.take() {
            self.obey_verdict(verdict);
        }
        if std::mem::take(&mut self.out().is_cut) {
            // If it was at its end already, this cuts the flush short.
            self.fail(CloseReason::MemoryLimit);
        }
    }

    fn obey_verdict(&mut self, verdict: Verdict) {
        let host = |reason| self.ending(reason, Party::Host);
        let ending = match verdict {
            // The host has been told that the peer ended it first.
            Verdict::HostClose(code) if self.end_told && self.has_shown_end() => {
                let ending = self.ending(CloseReason::PeerClosed, Party::Peer);
                Ending { host_code: code, ..ending }
            }
            Verdict::HostClose(code) | Verdict::HostCloseFirst(code) => {
                Ending { host_code: code, ..host(CloseReason::HostClosed) }
            }
            Verdict::HostAbort(code) => {
                Ending { host_code: code, cut: Cut::Reset, ..host(CloseReason::HostAborted) }
            }
            Verdict::Refuse => host(CloseReason::AdmissionRefused),
            Verdict::Fail(CloseReason::CallbackPanic) => host(CloseReason::CallbackPanic),
            Verdict::Fail(CloseReason::Internal) => {
                let ending = self.ending(CloseReason::Internal, Party::Library);
                Ending { cut: Cut::Reset, ..ending }
            }
            Verdict::Fail(reason) => self.ending(reason, Party::Library),
        };
        self.end(ending);
    }

    /// The peer's end of stream, once everything before it has been used up.
    pub(super) fn end_of_input_step(&mut self) -> bool {
        let Some(end) = self.input_end else { return false };
        match self.phase {
            Phase::Sniff | Phase::Handshake | Phase::Identify => {
                let ending = self.ending(CloseReason::ClosedBeforeIdentified, Party::Peer);
                self.end(Ending { cut: Cut::Now, ..ending });
                true
            }
            Phase::Open { protocol } if !self.held_back && !self.end_told && self.may_deliver() => {
                let rest = !self.kept.is_empty() || self.has_opened();
                let end = self.tolerated(end);
                if end == InputEnd::InsideRecord
                    || protocol.is_framed() && (rest || self.decoder.is_inside_frame())
                {
                    let ending = self.ending(CloseReason::Truncated, Party::Peer);
                    self.end(Ending { awaits: true, ..ending });
                } else if end == InputEnd::Clean
                    && self.handler.as_ref().is_some_and(|handler| handler.wants_end())
                {
                    // Without close_notify anybody on the way may have cut it: that is no end, unless
                    // the port says so.
                    self.end_told = true;
                    if let Some(shared) = &self.out().shared {
                        shared.delivery.input_ends();
                    }
                    self.deliver(Event::End);
                } else {
                    let (reason, text) = match &self.out_ref().tls {
                        Some(tls) if end != InputEnd::Clean => {
                            (CloseReason::TlsTruncated, tls.engine.remark().into())
                        }
                        _ => (CloseReason::PeerClosed, String::new()),
                    };
                    let ending = self.ending(reason, Party::Peer);
                    self.end(Ending { text, awaits: true, ..ending });
                }
                true
            }
            _ => false,
        }
    }

    /// What an end without close_notify comes to on this port, once all that came before it is used up.
    fn tolerated(&self, end: InputEnd) -> InputEnd {
        match &self.out_ref().tls {
            Some(tls) if end == InputEnd::Truncated && !self.port.rules.require_close_notify => {
                let is_cut = !self.kept.is_empty() || tls.engine.is_inside_message();
                if is_cut { InputEnd::InsideRecord } else { InputEnd::Clean }
            }
            _ => end,
        }
    }
}
