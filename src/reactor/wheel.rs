//! Deadlines: a hashed wheel of 512 slots of 100 ms.
//!
//! Traffic only stores time stamps. When a slot fires the connection's deadline is computed
//! anew, and it is filed again if that lies in the future. An entry that is out of date is
//! recognised by its tick. Deadlines are met within about 100 ms, never early.

const SLOTS: u64 = 512;
const TICK_MS: u64 = 100;
/// Entries for which a slot that has fired keeps its memory.
const KEPT: usize = 64;

pub(crate) struct Wheel {
    slots: Vec<Vec<(usize, u64)>>,
    /// All ticks up to here have fired.
    fired: u64,
    /// The earliest tick that has an entry.
    next: Option<u64>,
}

impl Wheel {
    pub fn new(now_ms: u64) -> Wheel {
        Wheel {
            slots: (0..SLOTS).map(|_| Vec::new()).collect(),
            fired: now_ms / TICK_MS,
            next: None,
        }
    }

    /// The tick at which a deadline fires.
    pub fn tick_of(at_ms: u64) -> u64 {
        at_ms.div_ceil(TICK_MS)
    }

    /// Files `key`; gives the tick at which it will fire (earlier than asked if that lies
    /// beyond the wheel).
    pub fn file(&mut self, key: usize, at_ms: u64) -> u64 {
        let tick = Wheel::tick_of(at_ms).clamp(self.fired + 1, self.fired + SLOTS - 1);
        self.slots[(tick % SLOTS) as usize].push((key, tick));
        self.next = Some(self.next.map_or(tick, |next| next.min(tick)));
        tick
    }

    /// Milliseconds until the next slot fires; `None`: the wheel is empty.
    pub fn sleep_ms(&self, now_ms: u64) -> Option<u64> {
        self.next.map(|tick| (tick * TICK_MS).saturating_sub(now_ms))
    }

    /// Gives out what is due: keys with the tick they were filed for.
    pub fn advance(&mut self, now_ms: u64, due: &mut Vec<(usize, u64)>) {
        let now = now_ms / TICK_MS;
        if self.next.is_none_or(|next| next > now) {
            if self.next.is_none() {
                self.fired = self.fired.max(now);
            }
            return;
        }
        // After a long sleep one round visits every slot.
        for tick in (self.fired + 1)..=now.min(self.fired + SLOTS) {
            let slot = &mut self.slots[(tick % SLOTS) as usize];
            due.append(slot);
            if slot.capacity() > KEPT {
                // Crowded once by a flood: 512 of these would be megabytes for nothing.
                *slot = Vec::new();
            }
        }
        self.fired = now;
        self.next = (1..SLOTS)
            .map(|ahead| self.fired + ahead)
            .find(|tick| !self.slots[(tick % SLOTS) as usize].is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_fire_in_their_slot_never_early_and_never_twice() {
        let mut wheel = Wheel::new(1000);
        let tick = wheel.file(7, 1250);
        assert_eq!(wheel.sleep_ms(1000), Some(300));
        let mut due = Vec::new();
        wheel.advance(1299, &mut due);
        assert!(due.is_empty());
        wheel.advance(1300, &mut due);
        assert_eq!(due, [(7, tick)]);
        assert_eq!(wheel.sleep_ms(1300), None);
    }

    #[test]
    fn a_deadline_on_a_tick_fires_with_it_and_one_behind_it_with_the_next() {
        for (at_ms, fires_ms) in [(1100, 1100), (1101, 1200), (1199, 1200), (1200, 1200)] {
            let mut wheel = Wheel::new(1000);
            wheel.file(7, at_ms);
            assert_eq!(wheel.sleep_ms(1000), Some(fires_ms - 1000), "{at_ms}");
            let mut due = Vec::new();
            wheel.advance(fires_ms - 1, &mut due);
            assert_eq!(due.len(), 0, "{at_ms}");
            wheel.advance(fires_ms, &mut due);
            assert_eq!(due.len(), 1, "{at_ms}");
        }
    }

    #[test]
    fn a_far_deadline_fires_at_the_end_of_the_wheel_and_a_past_one_at_once() {
        let mut wheel = Wheel::new(0);
        wheel.file(1, 10_000_000);
        wheel.file(2, 0);
        let mut due = Vec::new();
        wheel.advance(100, &mut due);
        assert_eq!(due, [(2, 1)]);
        due.clear();
        wheel.advance(51_100, &mut due);
        assert_eq!(due.len(), 1);
    }

    #[test]
    fn after_a_long_sleep_everything_that_is_due_fires_once() {
        let mut wheel = Wheel::new(0);
        (0..2000).for_each(|key| {
            wheel.file(key, key as u64 * 20);
        });
        let mut due = Vec::new();
        wheel.advance(1_000_000, &mut due);
        assert_eq!(due.len(), 2000);
        wheel.advance(2_000_000, &mut due);
        assert_eq!(due.len(), 2000);
    }

    #[test]
    fn after_a_flood_the_slots_give_their_memory_back() {
        let mut wheel = Wheel::new(0);
        (0..10_000).for_each(|key| {
            wheel.file(key, 1000);
        });
        wheel.file(1, 2000);
        wheel.advance(3000, &mut Vec::new());
        let held: usize = wheel.slots.iter().map(Vec::capacity).sum();
        assert!(held <= KEPT, "{held}");
    }
}
