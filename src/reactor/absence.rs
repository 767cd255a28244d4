//! How long a loop has looked at no socket: a callback took its time, or its host did not poll.
//! That time is the host's, so deadlines of peers do not count it.
//!
//! It has a bound, as a loop that is away again and again would otherwise judge nobody: what is
//! taken off is at most [`MOST_MS`] more than the time in which the loop was there.

use crate::conn::door::SLOW_TURN_MS;

/// What may be taken off before the loop was there for as long.
const MOST_MS: u64 = 600_000;

/// All times are monotonic milliseconds.
pub(super) struct Absence {
    looked_ms: u64,
    waits_since_ms: u64,
    /// What may still be taken off.
    credit_ms: u64,
    /// What has been taken off, in all.
    total_ms: u64,
}

impl Absence {
    pub fn new(now_ms: u64) -> Absence {
        Absence { looked_ms: now_ms, waits_since_ms: now_ms, credit_ms: MOST_MS, total_ms: 0 }
    }

    /// The loop looks at what arrives.
    pub fn looks(&mut self, now_ms: u64) {
        self.was_there(now_ms.saturating_sub(self.waits_since_ms));
        self.looked_ms = now_ms;
    }

    /// The loop is about to wait again. Gives what has been taken off in all.
    pub fn waits(&mut self, now_ms: u64) -> u64 {
        let away_ms = now_ms.saturating_sub(self.looked_ms);
        // Shorter turns cost a peer less than that of its time; and a loop that is merely busy,
        // as under an attack, goes on judging.
        if away_ms >= SLOW_TURN_MS {
            let off_ms = away_ms.min(self.credit_ms);
            self.credit_ms -= off_ms;
            self.total_ms += off_ms;
        } else {
            self.was_there(away_ms);
        }
        self.waits_since_ms = now_ms;
        self.total_ms
    }

    fn was_there(&mut self, ms: u64) {
        self.credit_ms = MOST_MS.min(self.credit_ms + ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_absence_of_minutes_is_taken_off_and_a_busy_turn_is_not() {
        let mut absence = Absence::new(1000);
        absence.looks(5000);
        assert_eq!(absence.waits(5000 + SLOW_TURN_MS - 1), 0);
        absence.looks(10_000);
        assert_eq!(absence.waits(310_000), 300_000);
    }

    #[test]
    fn a_loop_that_is_away_again_and_again_still_lets_deadlines_end() {
        let mut absence = Absence::new(1000);
        let (mut now_ms, mut there_ms, mut off_ms) = (1000, 0, 0);
        for _ in 0..100_000 {
            now_ms += 10;
            there_ms += 10;
            absence.looks(now_ms);
            now_ms += 1500;
            off_ms = absence.waits(now_ms);
        }
        assert!(off_ms <= MOST_MS + there_ms, "{off_ms} ms of {now_ms} are taken off");
        assert!(off_ms >= MOST_MS);
    }

    #[test]
    fn after_some_time_of_presence_an_absence_counts_whole_again() {
        let mut absence = Absence::new(0);
        absence.looks(0);
        let before = absence.waits(2 * MOST_MS);
        assert_eq!(before, MOST_MS);
        absence.looks(3 * MOST_MS);
        assert_eq!(absence.waits(3 * MOST_MS + 60_000), before + 60_000);
    }

    #[test]
    fn a_loop_that_is_merely_busy_was_there() {
        let mut absence = Absence::new(0);
        absence.looks(0);
        let mut now_ms = MOST_MS;
        let before = absence.waits(now_ms);
        for _ in 0..100 {
            absence.looks(now_ms);
            now_ms += SLOW_TURN_MS - 1;
            absence.waits(now_ms);
        }
        absence.looks(now_ms);
        assert_eq!(absence.waits(now_ms + 60_000), before + 60_000);
    }
}
