//! A loop whose turns a thread of the host runs, by its polls.

#[cfg(any(test, fuzzing))]
use super::Readiness;
use super::{EVENTS, Loop, ROOM_BYTES, ROUND_HELD_BYTES};
use crate::base::host;
use crate::conn::handles;
use crate::consumer::round::{self, Round};
use crate::event::SendFlags;
use crate::status::Status;
use mio::Events;
use std::time::{Duration, Instant};

impl Loop {
    /// From now on the host polls this loop; input is read into its buffer.
    pub fn is_polled_into(&mut self, buffer: Box<dyn AsMut<[u8]> + Send>) {
        self.scratch = buffer;
        self.sink = Some(Box::default());
        self.events = Events::with_capacity(EVENTS);
    }

    pub fn sink(&self) -> Option<&Round> {
        self.sink.as_deref()
    }

    pub fn sink_mut(&mut self) -> Option<&mut Round> {
        self.sink.as_deref_mut()
    }

    /// Runs turns until there are events, the host has woken it, or the time is over (`None`:
    /// never; `Some(None)`: beyond what the clock can tell). False: the runtime is over.
    pub fn poll(&mut self, max_events: usize, until: Option<Option<Instant>>) -> bool {
        let Some(mut sink) = self.sink.take() else { return false };
        if sink.len() == 0 && self.entrance.has_ended() {
            // By a defect: what there was to tell has been told.
            self.sink = Some(sink);
            return false;
        }
        if sink.len() > 0 {
            // What the last round left; what it points to is still there.
            sink.let_go();
            self.sink = Some(sink);
            return true;
        }
        sink.begin_round();
        (self.base, self.max_events) = (0, max_events);
        round::install(sink);
        // What the host has sent since the last round leaves before this loop waits.
        self.turn.now_ms = self.commons.now_ms();
        self.settle_touched();
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        let goes_on = loop {
            if self.commons.life.is_over() {
                break false;
            }
            let left = match until {
                _ if round::events() > 0 => Some(Duration::ZERO),
                None | Some(None) => None,
                Some(Some(until)) => Some(until.saturating_duration_since(Instant::now())),
            };
            let turn = host::caught(|| self.wait_and_turn(&mut events, left));
            if turn.is_none() {
                self.give_up();
            }
            let is_over_time = left.is_some_and(|left| left.is_zero());
            self.take_records();
            if round::events() > 0 || std::mem::take(&mut self.woken) || is_over_time {
                break true;
            }
            if turn.is_none() {
                break false;
            }
        };
        self.events = events;
        if !goes_on {
            self.leave_lingering();
        }
        self.sink = Some(round::uninstall());
        goes_on || self.sink.as_ref().is_some_and(|sink| sink.len() > 0)
    }

    /// Sends frames on a connection of this loop, between two rounds: as in its callback, but no
    /// more than there is room for. Gives how many were taken; `None`: this is to be done from
    /// outside.
    pub fn send_frames<'a>(
        &mut self,
        conn: handles::Conn,
        frames: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        flags: SendFlags,
    ) -> Option<(usize, Result<(), Status>)> {
        let shared = handles::lookup(conn.raw()).ok()?;
        let key = shared.key;
        let slot = self.slots.get_mut(key)?.as_mut()?;
        if !slot.conn.is(&shared) {
            return None;
        }
        let now_ms = self.commons.now_ms();
        let answer = host::caught(|| slot.conn.send_frames(now_ms, frames, flags));
        self.touch(key);
        answer.unwrap_or_else(|| {
            conn.on_defect();
            Some((0, Err(Status::Internal)))
        })
    }

    /// One round with what is ready, and its events with what they point to.
    #[cfg(any(test, fuzzing))]
    pub fn simulated_round(
        &mut self,
        ready: impl Iterator<Item = Readiness>,
        max_events: usize,
    ) -> Vec<round::Told> {
        let Some(mut sink) = self.sink.take() else { return Vec::new() };
        if sink.len() == 0 {
            sink.begin_round();
            (self.base, self.max_events) = (0, max_events);
            round::install(sink);
            self.settle_touched();
            self.turn(ready);
            sink = round::uninstall();
        } else {
            sink.let_go();
            // What is ready is not lost: the next round looks at it.
            for ready in ready {
                let key = ready.key;
                if self.note_readiness(ready) {
                    self.visit_later(key);
                }
            }
        }
        let told = sink.told(max_events);
        self.sink = Some(sink);
        told
    }

    /// Log records are events too.
    fn take_records(&mut self) {
        while round::events() < self.max_events
            && let Some(record) = self.commons.log.next_record()
        {
            round::log(record);
        }
    }

    /// Events are gathered for a poll: what they point to stays where it is until the next one.
    pub(super) fn gathers(&self) -> bool {
        self.max_events > 0
    }

    /// The round has as much as it can hold.
    pub(super) fn has_no_room(&mut self) -> bool {
        let len = (*self.scratch).as_mut().len();
        round::events() >= self.max_events
            || len - self.base < ROOM_BYTES.min(len)
            || round::held_bytes() >= ROUND_HELD_BYTES
    }
}
