//! One connection's turn: what is ready is read within a budget; then it is settled.
//!
//! `visit` is long: its steps share the lent scratch buffer and the turn, and parts of it would hand eight
//! references to one another.

use super::wheel::Wheel;
use super::{Loop, ROOM_BYTES, Slot, TURN_READ_BYTES};
use crate::base::budget::Budget;
use crate::base::canary::{self, Canary};
use crate::conn::{Fate, Machine, Turn};
use crate::consumer::round;
use crate::status::CloseReason;
use std::io::{self, ErrorKind};

impl Loop {
    /// Gives the connection its turn. If the round is full, the turn moves to the next round.
    pub(super) fn visit_if_room(&mut self, key: usize) {
        if self.gathers() && self.has_no_room() {
            self.visit_later(key);
        } else {
            self.visit(key);
        }
    }

    pub(super) fn visit_later(&mut self, key: usize) {
        if let Some(slot) = &mut self.slots[key]
            && !std::mem::replace(&mut slot.again, true)
        {
            self.again.push(key);
        }
    }

    /// A connection's turn: kept input, then what the socket has, within the turn's budget.
    pub(super) fn visit(&mut self, key: usize) {
        let gathers = self.gathers();
        let Some(slot) = &mut self.slots[key] else { return };
        let Slot { conn, readable, read_closed, unjudged, evicted, .. } = &mut **slot;
        let turn = &mut self.turn;
        conn.note_absence(turn);
        let scratch = &mut (*self.scratch).as_mut()[self.base..];
        let mut input = Input { scratch, at: 0, filled: 0, gathers };
        turn.key = key;
        turn.work.budget = Budget::of_a_turn();
        let is_handshake = self.door.is_handshake();
        let mut kept = conn.take_kept();
        let (mut has_read, mut has_place) = (false, true);
        if !kept.is_empty() || conn.wants_turn() || conn.has_opened() {
            let used = conn.on_input(turn, &mut kept);
            let rest = &kept[used..];
            if rest.len() < input.scratch.len() {
                input.scratch[..rest.len()].copy_from_slice(rest);
                input.filled = rest.len();
            } else {
                // It does not fit into the scratch buffer: the connection keeps it until a later turn.
                conn.keep(rest);
                has_place = false;
            }
            if gathers {
                round::spare(kept);
                round::took_pointers();
            }
        }
        // After what was kept: that may have grown into a frame.
        let mut bytes = conn.read_budget(TURN_READ_BYTES);
        let is_starved = bytes == 0 && *readable;
        if !std::mem::replace(&mut conn.starved, is_starved) && is_starved {
            self.starved.push(key);
        }
        while has_place && *readable && bytes > 0 && conn.wants_read() {
            if is_handshake && conn.is_to_hand_over() {
                break;
            }
            if turn.work.budget.is_nearly_spent() {
                break;
            }
            if gathers && input.room() < ROOM_BYTES.min(input.scratch.len()) {
                // It goes on in the next round, behind those who had no turn in this one: settling
                // puts it there.
                break;
            }
            has_read = true;
            let (got, offered) = match input.read(conn, turn, bytes) {
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    *readable = false;
                    break;
                }
                Err(error) => {
                    conn.on_io_error(&error);
                    *readable = false;
                    break;
                }
            };
            if got == 0 {
                conn.on_end_of_input();
                *readable = false;
                break;
            }
            bytes = bytes.saturating_sub(got);
            if got < offered && !*read_closed {
                *readable = false;
            }
        }
        if !conn.wants_read()
            && *read_closed
            && let Some(error) = conn.transport().take_error()
        {
            // Not being read, it would not notice that the peer has reset it.
            conn.on_io_error(&error);
        }
        let had_turn = has_read || !*readable;
        if had_turn && std::mem::take(unjudged) {
            conn.on_time(turn, false);
        }
        if let Some(other) = conn.report_stage(turn) {
            self.loops.evict(other);
        }
        if had_turn && std::mem::take(evicted) {
            conn.on_evicted();
        }
        let Input { at, filled, scratch, .. } = input;
        if filled > 0 {
            conn.keep(&scratch[at..at + filled]);
        }
        self.base += at;
        // Now, and not when all are settled: many may have read in this turn of the loop.
        if conn.account_memory() {
            conn.fail(CloseReason::MemoryLimit);
        }
        self.touch(key);
    }

    pub(super) fn settle(&mut self, key: usize) {
        let Some(slot) = &mut self.slots[key] else { return };
        slot.touched = false;
        self.turn.key = key;
        let fate = slot.conn.settle(&mut self.turn);
        let reads_on = slot.readable && slot.conn.wants_read() && !slot.conn.starved;
        let more = fate == Fate::Again || reads_on;
        match fate {
            Fate::Gone => self.drop_slot(key),
            Fate::HandOver => self.hand_over(key),
            Fate::Wait | Fate::Again => {
                if more && !std::mem::replace(&mut slot.again, true) {
                    self.again.push(key);
                }
                if canary::is_on(Canary::ForgottenDeadline)
                    && slot.timer_tick == 0
                    && slot.conn.ticket().is_none()
                {
                    return;
                }
                if let Some(at_ms) = slot.conn.deadline_ms()
                    && (slot.timer_tick == 0 || Wheel::tick_of(at_ms) < slot.timer_tick)
                {
                    slot.timer_tick = self.wheel.file(key, at_ms);
                }
            }
        }
    }

    /// When the next deadline may fire, for the simulated world.
    #[cfg(any(test, fuzzing))]
    pub fn next_deadline_in_ms(&self) -> Option<u64> {
        self.wheel.sleep_ms(self.commons.now_ms())
    }

    /// Deadlines that are over by more than the wheel allows, after a turn, and that nothing in
    /// the wheel will look at within its next ticks.
    #[cfg(any(test, fuzzing))]
    pub fn overdue(&self) -> Vec<(u64, crate::status::CloseReason)> {
        let soon = Wheel::tick_of(self.turn.now_ms) + 2;
        let forgotten = |slot: &&Slot| slot.timer_tick == 0 || slot.timer_tick > soon;
        let slots = self.slots.iter().flatten().map(|slot| &**slot).filter(forgotten);
        let deadlines = slots.filter_map(|slot| slot.conn.next_deadline(slot.again));
        deadlines.filter(|(at_ms, _)| at_ms.saturating_add(200) < self.turn.now_ms).collect()
    }
}

/// Where input of one visit lies.
struct Input<'a> {
    scratch: &'a mut [u8],
    /// Up to here events that are polled point into it.
    at: usize,
    /// Unused input behind that.
    filled: usize,
    gathers: bool,
}

impl Input<'_> {
    fn room(&self) -> usize {
        self.scratch.len() - self.at - self.filled
    }

    /// Reads once, to where the connection wants it, and lets it work on that. Gives what was
    /// read and what was offered.
    fn read(
        &mut self,
        conn: &mut Machine,
        turn: &mut Turn,
        most: usize,
    ) -> io::Result<(usize, usize)> {
        if self.filled == 0
            && let Some((got, offered, behind)) = self.read_large(conn, most)?
        {
            if got > 0 {
                conn.received(turn, got);
                self.filled = behind;
                self.advance(conn, turn);
            }
            return Ok((got, offered));
        }
        let offered = self.room().min(conn.read_limit()).min(most);
        if offered == 0 {
            // Unused input fills the whole buffer: nothing can use more of it now.
            return Err(ErrorKind::WouldBlock.into());
        }
        let begin = self.at + self.filled;
        let got = conn.transport().recv(&mut self.scratch[begin..begin + offered])?;
        if got > 0 {
            conn.received(turn, got);
            self.filled += got;
            self.advance(conn, turn);
        }
        Ok((got, offered))
    }

    /// Reads the rest of a large frame into its own buffer and what follows into the scratch.
    fn read_large(
        &mut self,
        conn: &mut Machine,
        most: usize,
    ) -> io::Result<Option<(usize, usize, usize)>> {
        let Some((mut payload, missing)) = conn.lend_large_frame() else { return Ok(None) };
        let scratch = &mut self.scratch[self.at..];
        // If `most` cuts the rest of the frame, this read takes nothing that follows the frame.
        let (missing, scratch) =
            if missing > most { (most, &mut scratch[..0]) } else { (missing, scratch) };
        let room = missing.min(payload.capacity() - payload.len());
        let offered = if room == missing { room + scratch.len() } else { room };
        let result = conn.transport().recv_large(&mut payload, missing, scratch);
        conn.return_large_frame(payload);
        let (filled, behind) = result?;
        Ok(Some((filled + behind, offered, behind)))
    }

    /// Lets the connection work on the input. What it leaves moves to the front, unless events
    /// point to what is there.
    fn advance(&mut self, conn: &mut Machine, turn: &mut Turn) {
        let (at, end) = (self.at, self.at + self.filled);
        let used = conn.on_input(turn, &mut self.scratch[at..end]);
        let loses_one = self.filled - used > 1 && canary::is_on(Canary::LostByte);
        let used = used + usize::from(loses_one);
        if self.gathers && round::took_pointers() {
            self.at += used;
        } else {
            self.scratch.copy_within(at + used..end, at);
        }
        self.filled -= used;
    }
}
