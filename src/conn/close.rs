//! The last steps of a connection: its flush, what is counted and logged, its closed event, and what
//! it gives back.
//!
//! `close_step` is long: the steps of a close in their order, which the phase between them tells.

use super::end::Cut;
use super::end::Ending;
use super::output::Fin;
use super::shared::Shared;
use super::state::State;
use super::{Machine, Phase, Turn, handles};
use crate::base::canary::{self, Canary};
use crate::base::fault::Site;
use crate::base::host;
use crate::base::log::Level;
use crate::consumer::Put;
use crate::event::Party;
use crate::event::{CloseInfo, Event, Handler, Stage};
use crate::port::seat::Seat;
use crate::status::CloseReason;
use std::io;
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

impl Machine {
    pub(super) fn close_step(&mut self, turn: &mut Turn) {
        let Phase::Closing(ending) = &self.phase else { return };
        if ending.awaits {
            if self.awaits_consumer() {
                return;
            }
            if let Some(shared) = &self.out_ref().shared {
                let _ = shared.change(State::fail);
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
        let cut = ending.cut;
        let owes = self.out_ref().is_owed_by_host();
        let done = match cut {
            // What is here still goes, and no orderly end after it.
            Cut::AfterFlush if owes => {
                let out = self.out();
                let is_done = out.queued_bytes() == 0 || out.error.is_some();
                if is_done {
                    out.reset_on_close();
                }
                is_done
            }
            Cut::Reset => {
                self.out().reset_on_close();
                true
            }
            Cut::Now => {
                if owes || self.out_ref().refuses() {
                    self.out().reset_on_close();
                } else {
                    self.out().finish();
                }
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
        // After an orderly end of ours a reset would only take what is under way.
        if unsent_bytes > 0 && self.out_ref().fin != Fin::Sent {
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
                Put::Call(handler, event) => {
                    self.call(&*handler, event);
                    if canary::is_on(Canary::DoubleClose) {
                        self.call(&*handler, Event::Closed(&info));
                    }
                }
            }
        }
        self.port.fault.strike(Site::Closed);
        self.let_go();
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
