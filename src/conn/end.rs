//! The way out: who ends a connection, why, and what is done before it is told.

use super::requests::Verdict;
use super::shared::Shared;
use super::{InputEnd, Machine, Phase, Turn, handles};
use crate::base::canary::{self, Canary};
use crate::base::fault::Site;
use crate::base::host;
use crate::base::log::Level;
use crate::consumer::Put;
use crate::event::{CloseInfo, Event, Handler, Party, Stage};
use crate::port::seat::Seat;
use crate::status::CloseReason;
use crate::tls::TlsError;
use std::io;
use std::num::NonZeroU64;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A connection that we closed lingers for so long, and until the peer has sent so much: more
/// than the buffers of both systems hold (10 MB by Linux's defaults), so that a peer that was
/// sending when we closed still gets our last answer. A peer that sends on after that is reset.
const LINGER_MS: u64 = 2000;
const LINGER_BYTES: usize = 16 << 20;
/// So many of a loop at a time: they have no place in any limit any more, and their descriptors
/// must not be what others lack. Beyond that a peer that goes on sending is reset.
const LINGERING: usize = 256;

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

/// What a connection gives back when its closed event has been consumed: the host's data, its
/// handle, its handler, and last its place in the port.
pub(super) struct Remains {
    shared: Option<Arc<Shared>>,
    handler: Option<Arc<dyn Handler>>,
    seat: Option<Seat>,
}

impl Drop for Remains {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            let data = {
                let mut slot = shared.user_data.lock();
                slot.ended = true;
                slot.data.take()
            };
            host::guarded(move || drop(data));
            handles::remove(shared.id);
            shared.has_told_all();
        }
        // The handler may be the last owner of the host's data: released before anyone
        // is told that this connection is gone.
        let handler = self.handler.take();
        host::guarded(move || drop(handler));
        self.seat = None;
    }
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
                let _ = shared.state.fail();
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
    fn awaits_consumer(&self) -> bool {
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

    pub(super) fn close_step(&mut self, turn: &mut Turn) {
        let Phase::Closing(ending) = &self.phase else { return };
        if ending.awaits {
            if self.awaits_consumer() {
                return;
            }
            if let Some(shared) = &self.out_ref().shared {
                let _ = shared.state.fail();
            }
            // What it has sent meanwhile.
            self.reach().merge_foreign();
            self.out().uncork_all();
            self.out().flush();
            if let Phase::Closing(ending) = &mut self.phase {
                ending.awaits = false;
            }
            self.times.ended_ms = turn.now_ms;
        }
        let Phase::Closing(ending) = &self.phase else { return };
        let cut = if self.out_ref().is_owed_by_host() { Cut::Reset } else { ending.cut };
        let done = match cut {
            Cut::Reset => {
                self.out().reset_on_close();
                true
            }
            Cut::Now => {
                self.out().finish();
                true
            }
            Cut::AfterFlush => {
                let out = self.out();
                out.finish() || out.error.is_some()
            }
        };
        if !done {
            return;
        }
        // It stays where it is until it has been told.
        let Phase::Closing(ending) = &self.phase else { return };
        let ending = (**ending).clone();
        // The peer may still be sending: closing with unread input would reset the
        // connection, and that can destroy our last answer on its way.
        let answered = self.shown || ending.reason == CloseReason::TlsFailed;
        let lingers = cut == Cut::AfterFlush && self.input_end.is_none() && answered;
        let info = self.conclude(turn, ending);
        let shared = self.out().shared.clone();
        if self.shown
            && let Some(shared) = &shared
            && !shared.state.is_muted()
            && shared.delivery.has_untaken()
        {
            // The descriptor is given back at once; the host takes what has arrived.
            self.out().close_socket();
            self.phase = Phase::Parted(Box::new(info));
            return;
        }
        self.tell_closed(info);
        self.phase = match lingers && turn.lingering < LINGERING {
            true => {
                turn.lingering += 1;
                self.lingers = true;
                let end_ms = self.times.ended_ms.saturating_add(self.port.rules.close_timeout_ms);
                let until_ms = end_ms.min(turn.now_ms + LINGER_MS);
                Phase::Lingering { until_ms, left_bytes: LINGER_BYTES }
            }
            false => Phase::Gone,
        };
    }

    /// The host has taken what was left, or wants nothing of it.
    pub(super) fn parted_step(&mut self) {
        let Phase::Parted(info) = &self.phase else { return };
        let shared = self.out_ref().shared.as_ref();
        let waits =
            shared.is_some_and(|shared| !shared.state.is_muted() && shared.delivery.has_untaken());
        if !waits {
            let info = (**info).clone();
            self.tell_closed(info);
            self.phase = Phase::Gone;
        }
    }

    /// The end of everything but the host's part.
    fn conclude(&mut self, turn: &mut Turn, mut ending: Ending) -> CloseInfo {
        if let Some(seat) = &mut self.seat {
            seat.identified();
        }
        let shared = self.out().shared.clone();
        let unsent_bytes = self.lose_output(turn.loop_index);
        if let Some(shared) = &shared {
            shared.holds_no_more();
        }
        let is_orderly = matches!(ending.reason, CloseReason::HostClosed | CloseReason::PeerClosed);
        if ending.drained && is_orderly && unsent_bytes > 0 {
            // It would have been flushed: what is lost is lost to the drain.
            (ending.reason, ending.by) = (CloseReason::DrainDeadline, Party::Library);
        }
        let info = CloseInfo {
            reason: ending.reason,
            by: ending.by,
            stage: ending.stage,
            host_code: ending.host_code,
            os_error: ending.os_error,
            tls_alert: ending.tls_alert,
            bytes_in: self.bytes_in,
            bytes_out: self.out_ref().bytes_out,
            unsent_bytes,
            duration_ms: turn.now_ms.saturating_sub(self.accepted_ms),
            text: ending.text,
        };
        self.port.fault.strike(Site::Close);
        let counters = &self.port.counters(turn.loop_index);
        let is_new = self.seat.as_mut().is_some_and(|seat| seat.count(counters, info.reason));
        if let Some(protocol) = shared.as_ref().map(|shared| shared.protocol)
            && ending.stage == Stage::Open
            && is_new
        {
            counters.closed[protocol.index()].fetch_add(1, Ordering::Relaxed);
        }
        self.log_close(&info);
        self.report(turn.loop_index);
        info
    }

    /// Nothing is taken or sent from here on: gives the bytes that were taken and not sent, and
    /// counts them. Their frames count as any others that were taken. A peer that loses some is reset: it must not
    /// take a part for the whole.
    pub(super) fn lose_output(&mut self, counters_index: usize) -> u64 {
        let left = self.out().shared.as_ref().map(|shared| shared.end()).unwrap_or_default();
        let out = self.out();
        let mut unsent_bytes = out.discard();
        for op in &left {
            let (bytes, frames) = op.carries();
            unsent_bytes += bytes;
            out.frames_out += frames;
        }
        // What the host lent is released here, by code of the host.
        host::guarded(move || drop(left));
        if unsent_bytes > 0 {
            self.out().reset_on_close();
        }
        let unsent_bytes = unsent_bytes as u64;
        let counters = self.port.counters(counters_index);
        counters.bytes_unsent.fetch_add(unsent_bytes, Ordering::Relaxed);
        unsent_bytes
    }

    fn tell_closed(&mut self, info: CloseInfo) {
        let shared = self.out().shared.clone();
        if let Some(shared) = &shared {
            shared.delivery.discard();
        }
        if std::mem::take(&mut self.shown)
            && let (Some(shared), Some(handler)) = (&shared, self.handler.clone())
        {
            let part = || Box::new(self.part()) as _;
            match shared.delivery.closed(shared, handler, &info, part) {
                Put::Taken | Put::Failed(_) => return,
                Put::Lost => return self.log_lost_event(),
                Put::Call(event) => {
                    self.call_last(event);
                    if canary::is_on(Canary::DoubleClose) {
                        self.call_last(Event::Closed(&info));
                    }
                }
            }
        }
        self.port.fault.strike(Site::Closed);
        self.let_go();
    }

    fn call_last(&mut self, event: Event<'_>) {
        if let Some(handler) = self.handler.clone() {
            self.call(&*handler, event);
        }
    }

    /// Takes what is given back at the very end.
    fn part(&mut self) -> Remains {
        let shared = self.reach.as_ref().and_then(|reach| reach.out.shared.clone());
        Remains { shared, handler: self.handler.take(), seat: self.seat.take() }
    }

    /// Lets go of everything of the host's, and of its place in the port.
    pub(super) fn let_go(&mut self) {
        if self.seat.is_some() {
            drop(self.part());
        }
    }

    fn log_close(&self, info: &CloseInfo) {
        let log = &self.port.log;
        if !log.wants(Level::Info) {
            return;
        }
        let peer = self.seat.as_ref().map(|seat| seat.peer().to_string()).unwrap_or_default();
        let mut text = format!(
            "{}: {peer} closed: {} in {} after {} ms, {} bytes in, {} out, {} unsent",
            self.port.name(),
            info.reason.name(),
            info.stage.name(),
            info.duration_ms,
            info.bytes_in,
            info.bytes_out,
            info.unsent_bytes
        );
        if info.host_code != 0 {
            text.push_str(&format!(", code {}", info.host_code));
        }
        if info.os_error != 0 {
            text.push_str(&format!(": {}", io::Error::from_raw_os_error(info.os_error)));
        }
        if !info.text.is_empty() {
            text.push_str(": ");
            text.push_str(&info.text);
        }
        log.record(Level::Info, info.stage.name(), self.out_ref().id, text);
    }
}
