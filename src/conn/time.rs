//! Time, given from outside: stamps, and the deadline that comes first.
//!
//! `next_deadline` is long: the list of the deadlines of each phase, in one place.

use super::end::{Cut, Ending};
use super::requests::Reach;
use super::{Machine, Phase, Turn};
use crate::base::fault::Site;
use crate::event::Party;
use crate::status::CloseReason;
use std::num::NonZeroU64;

/// A partial frame gets one more second for each of these that arrived.
const FRAME_SECOND_BYTES: u64 = 64 << 10;

/// Time stamps in monotonic milliseconds, which are never 0.
pub(super) struct Times {
    pub last_in: u64,
    /// When the frame that is incomplete began, and how many frames had arrived by then.
    pub frame_began: Option<(NonZeroU64, u64)>,
    pub not_reading_since: Option<NonZeroU64>,
    pub drain_deadline: Option<NonZeroU64>,
    /// When its end began: first that of its input, then that of everything.
    pub ended_ms: u64,
    /// How much of its loop's absence has been taken off.
    away_ms: u64,
}

impl Times {
    pub fn new(now_ms: u64) -> Times {
        Times {
            last_in: now_ms,
            frame_began: None,
            not_reading_since: None,
            drain_deadline: None,
            ended_ms: now_ms,
            away_ms: 0,
        }
    }
}

impl Machine {
    /// It begins to live in this loop.
    pub fn moves_in(&mut self, turn: &Turn) {
        self.times.away_ms = turn.away_ms;
    }

    /// Time in which its loop looked at nobody does not count against the peer.
    pub fn note_absence(&mut self, turn: &Turn) {
        let away_ms = turn.away_ms - std::mem::replace(&mut self.times.away_ms, turn.away_ms);
        if away_ms == 0 {
            return;
        }
        // Not into the future: it may have begun meanwhile, in a turn that took long.
        let later = |at: u64| (at + away_ms).min(turn.now_ms).max(at);
        let out = self.out();
        out.sent_ms = later(out.sent_ms);
        out.progress_ms = later(out.progress_ms);
        self.times.ended_ms = later(self.times.ended_ms);
        if self.times.not_reading_since.is_some() {
            // The whole pause is taken off when it ends.
            return;
        }
        self.times.last_in = later(self.times.last_in);
        if let Some((began, _)) = &mut self.times.frame_began {
            *began = NonZeroU64::new(later(began.get())).unwrap_or(*began);
        }
    }

    /// Time in which we do not read does not count against the peer.
    pub(super) fn note_times(&mut self, now_ms: u64) {
        let Phase::Open { protocol } = self.phase else { return };
        let reading = self.may_deliver() && !self.held_back && !self.starved;
        match (reading, self.times.not_reading_since) {
            (false, None) => self.times.not_reading_since = NonZeroU64::new(now_ms),
            (true, Some(since)) => {
                let pause = now_ms - since.get();
                self.times.not_reading_since = None;
                // Not into the future: it may have been read in this turn already.
                self.times.last_in = (self.times.last_in + pause).min(now_ms);
                if let Some((began, _)) = &mut self.times.frame_began {
                    *began = began.saturating_add(pause);
                }
            }
            _ => {}
        }
        let rest = !self.kept.is_empty() || self.has_opened();
        let partial = protocol.is_framed() && (rest || self.decoder.is_inside_frame());
        self.times.frame_began = match self.times.frame_began {
            _ if !partial => None,
            Some((began, frames)) if frames == self.frames_in => Some((began, frames)),
            _ => NonZeroU64::new(now_ms).map(|now| (now, self.frames_in)),
        };
    }

    /// When this connection has to be looked at if nothing happens, in monotonic ms.
    pub fn deadline_ms(&self) -> Option<u64> {
        let end = self.next_deadline(false).map(|(at, _)| at);
        let out = self.out_ref();
        // Half-way the system is asked what has been acknowledged: a peer that owes it from then on is
        // late by half of writeTimeout at most.
        let look = out.progress_ms.saturating_add(self.port.rules.write_timeout_ms / 2);
        let look = (out.is_owed() && out.now_ms < look).then_some(look);
        [end, look].into_iter().flatten().min()
    }

    /// `has_no_turn`: there was no room for its turn in this round. What has arrived may be what the
    /// peer owes, so it is not judged by that before.
    pub fn next_deadline(&self, has_no_turn: bool) -> Option<(u64, CloseReason)> {
        let rules = &self.port.rules;
        let Reach { out, requests } = self.reach_ref();
        let after = |from: u64, ms: u64| (ms > 0).then(|| from.saturating_add(ms));
        let mut first: Option<(u64, CloseReason)> = None;
        let mut note = |at: Option<u64>, reason| {
            if let Some(at) = at
                && first.is_none_or(|(present, _)| at < present)
            {
                first = Some((at, reason));
            }
        };
        note(self.times.drain_deadline.map(NonZeroU64::get), CloseReason::DrainDeadline);
        match self.phase {
            Phase::Sniff | Phase::Handshake => {
                note(
                    after(self.accepted_ms, rules.handshake_timeout_ms),
                    CloseReason::HandshakeTimeout,
                );
                note(after(self.accepted_ms, rules.read_timeout_ms), CloseReason::ReadTimeout);
            }
            Phase::Identify if has_no_turn => {}
            Phase::Identify => {
                note(after(self.accepted_ms, rules.read_timeout_ms), CloseReason::ReadTimeout);
            }
            // Let in by the host, it opens when it is settled.
            Phase::Admit { .. } if requests.admitted => {}
            Phase::Admit { .. } => {
                note(after(self.accepted_ms, rules.read_timeout_ms), CloseReason::AdmissionTimeout);
                note(requests.deadline_ms.map(NonZeroU64::get), CloseReason::HostDeadline);
            }
            Phase::Open { protocol } => {
                note(requests.deadline_ms.map(NonZeroU64::get), CloseReason::HostDeadline);
                if out.is_owed() {
                    note(after(out.progress_ms, rules.write_timeout_ms), CloseReason::WriteTimeout);
                }
                let reads = self.times.not_reading_since.is_none() && !has_no_turn;
                if reads && protocol.is_framed() {
                    // Otherwise it has been completed in this turn, which is not settled yet.
                    if let Some((began, frames)) = self.times.frame_began
                        && frames == self.frames_in
                    {
                        let arrived = self.decoder.held_bytes() as u64;
                        let extra = arrived / FRAME_SECOND_BYTES * 1000;
                        let began = began.saturating_add(extra).get();
                        note(after(began, rules.frame_timeout_ms), CloseReason::FrameTimeout);
                    }
                }
                if reads {
                    let silent_since = self.times.last_in.max(out.active_ms());
                    note(after(silent_since, rules.idle_timeout_ms), CloseReason::IdleTimeout);
                }
            }
            Phase::Closing(ref ending) if ending.awaits => {
                note(requests.deadline_ms.map(NonZeroU64::get), CloseReason::HostDeadline);
                if out.is_owed() {
                    note(after(out.progress_ms, rules.write_timeout_ms), CloseReason::WriteTimeout);
                }
                if !requests.paused {
                    let silent_since = self.times.ended_ms.max(out.active_ms());
                    note(after(silent_since, rules.idle_timeout_ms), CloseReason::IdleTimeout);
                }
            }
            Phase::Closing(_) => {
                if requests.deadline_cuts {
                    note(requests.deadline_ms.map(NonZeroU64::get), CloseReason::HostDeadline);
                }
                if out.is_owed() {
                    note(after(out.progress_ms, rules.write_timeout_ms), CloseReason::WriteTimeout);
                }
                note(after(self.times.ended_ms, rules.close_timeout_ms), CloseReason::CloseTimeout);
            }
            Phase::Lingering { until_ms, .. } => note(Some(until_ms), CloseReason::HostClosed),
            Phase::Parted(_) | Phase::Gone => {}
        }
        first
    }

    /// Time has passed: ends the connection if its deadline is over. `has_no_turn`: as above.
    pub fn on_time(&mut self, turn: &Turn, has_no_turn: bool) {
        self.note_absence(turn);
        // What the host has decided while the loop was busy, or not polled, came before.
        self.out().now_ms = turn.now_ms;
        self.reach().merge_foreign();
        if self.requests().verdict.is_some() || self.out_ref().is_cut {
            // It ends by that, when it is settled.
            return;
        }
        self.out().note_progress();
        let Some((at, reason)) = self.next_deadline(has_no_turn) else { return };
        if at > turn.now_ms {
            return;
        }
        if matches!(self.phase, Phase::Lingering { .. }) {
            self.phase = Phase::Gone;
            return;
        }
        self.port.fault.strike(Site::Timer);
        let is_flushing = matches!(&self.phase, Phase::Closing(ending) if !ending.awaits);
        let cut = match reason {
            CloseReason::WriteTimeout | CloseReason::CloseTimeout => Cut::Reset,
            CloseReason::HostDeadline if is_flushing => Cut::Reset,
            CloseReason::DrainDeadline => Cut::Now,
            _ if self.shown => Cut::AfterFlush,
            _ => Cut::Now,
        };
        let ending = self.ending(reason, Party::Library);
        self.end(Ending { cut, ..ending });
    }
}
