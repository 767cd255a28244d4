//! The descriptors of the process as connections take them: no address takes nearly all.
//!
//! Counted are the connections of one runtime, against the soft limit of open files when that was made.

use super::waiting::origin;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;

/// From so many per cent of the descriptors on, nobody may have more than half of the connections.
const SCARCE_PERCENT: u64 = 80;

pub(crate) struct Descriptors {
    /// 0 = none.
    limit: u64,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    connections: u64,
    by_address: HashMap<IpAddr, u64>,
}

impl Descriptors {
    pub fn new(limit: u64) -> Descriptors {
        Descriptors { limit, held: Mutex::default() }
    }

    /// A new connection. False: descriptors are scarce, and its address holds more than half of the
    /// connections.
    pub fn enter(&self, from: IpAddr) -> bool {
        let mut held = self.held.lock();
        let is_scarce =
            self.limit > 0 && held.connections * 100 > self.limit.saturating_mul(SCARCE_PERCENT);
        let connections = held.connections;
        let own = held.by_address.entry(origin(from)).or_default();
        // One that holds as many has an entry already: nothing is left behind.
        if is_scarce && *own * 2 > connections {
            return false;
        }
        *own += 1;
        held.connections += 1;
        true
    }

    /// It has ended.
    pub fn leave(&self, from: IpAddr) {
        let from = origin(from);
        let mut held = self.held.lock();
        held.connections -= 1;
        if let Some(own) = held.by_address.get_mut(&from) {
            *own -= 1;
            if *own == 0 {
                held.by_address.remove(&from);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(last: u8) -> IpAddr {
        IpAddr::from([10, 0, 0, last])
    }

    #[test]
    fn above_80_percent_of_the_descriptors_an_address_with_more_than_half_gets_no_more() {
        let descriptors = Descriptors::new(100);
        assert!((0..39).all(|_| descriptors.enter(ip(2))));
        assert!((0..42).all(|_| descriptors.enter(ip(1))));
        // 81 are in use, 42 of them by one address.
        assert!(!descriptors.enter(ip(1)));
        assert!(descriptors.enter(ip(2)) && descriptors.enter(ip(3)));
        descriptors.leave(ip(3));
        // 82: it has more than half again with one more.
        assert!(!descriptors.enter(ip(1)));
        descriptors.leave(ip(1));
        descriptors.leave(ip(2));
        assert!(descriptors.enter(ip(1)), "80 are no more than 80 per cent");
    }

    #[test]
    fn addresses_that_hold_nothing_take_nothing_and_a_limit_of_0_is_none() {
        let descriptors = Descriptors::new(0);
        assert!((0..1000).all(|_| descriptors.enter("2001:db8::1".parse().unwrap())));
        (0..1000).for_each(|_| descriptors.leave("2001:db8::2".parse().unwrap()));
        let held = descriptors.held.lock();
        assert!(held.connections == 0 && held.by_address.is_empty());
    }
}
