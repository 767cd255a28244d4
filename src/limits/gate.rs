//! `maxConnections` and `maxConnectionsPerAddress` of one port.

use super::waiting::origin;
use crate::status::CloseReason;
use parking_lot::Mutex;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::atomic::{AtomicU64, Ordering};

/// The limits of one port; 0 = none. They hold across all its accepters.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GateLimits {
    pub connections: u64,
    pub connections_per_address: u64,
}

/// Counts the connections of a port.
pub(crate) struct Gate {
    limits: GateLimits,
    connections: AtomicU64,
    /// Those that are not identified and have not ended.
    unidentified: AtomicU64,
    /// Only if that is limited.
    by_address: Mutex<HashMap<IpAddr, u64>>,
}

impl Gate {
    pub fn new(limits: GateLimits) -> Gate {
        let (connections, unidentified) = (AtomicU64::new(0), AtomicU64::new(0));
        Gate { limits, connections, unidentified, by_address: Mutex::default() }
    }

    /// A new connection.
    pub fn enter(&self, from: IpAddr) -> Result<(), CloseReason> {
        let GateLimits { connections: limit, connections_per_address: per_address } = self.limits;
        let one_more = |count: u64| (limit == 0 || count < limit).then_some(count + 1);
        if self.connections.fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_more).is_err() {
            return Err(CloseReason::MaxConnections);
        }
        if per_address > 0 {
            let mut by_address = self.by_address.lock();
            let own = by_address.entry(origin(from)).or_default();
            if *own >= per_address {
                self.connections.fetch_sub(1, Ordering::SeqCst);
                return Err(CloseReason::MaxConnectionsPerAddress);
            }
            *own += 1;
        }
        self.unidentified.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    /// It is identified, or has ended before.
    pub fn identified(&self) {
        self.unidentified.fetch_sub(1, Ordering::SeqCst);
    }

    /// It has ended.
    pub fn gone(&self, from: IpAddr) {
        self.connections.fetch_sub(1, Ordering::SeqCst);
        if self.limits.connections_per_address > 0 {
            let mut by_address = self.by_address.lock();
            if let Entry::Occupied(mut own) = by_address.entry(origin(from)) {
                *own.get_mut() -= 1;
                if *own.get() == 0 {
                    own.remove();
                }
            }
        }
    }

    /// All of them, and the unidentified among them.
    pub fn counts(&self) -> (u64, u64) {
        (self.connections.load(Ordering::SeqCst), self.unidentified.load(Ordering::SeqCst))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gate(connections: u64, connections_per_address: u64) -> Gate {
        Gate::new(GateLimits { connections, connections_per_address })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn the_limit_itself_is_legal_and_one_more_is_closed() {
        let gate = gate(2, 0);
        assert!(gate.enter(ip("10.0.0.1")).is_ok() && gate.enter(ip("10.0.0.2")).is_ok());
        assert_eq!(gate.enter(ip("10.0.0.3")).err(), Some(CloseReason::MaxConnections));
        gate.gone(ip("10.0.0.1"));
        assert!(gate.enter(ip("10.0.0.3")).is_ok());
        assert_eq!(gate.counts().0, 2);
    }

    #[test]
    fn addresses_are_counted_apart_and_ipv6_by_its_first_64_bits() {
        let gate = gate(0, 1);
        assert!(gate.enter(ip("2001:db8::1")).is_ok());
        assert_eq!(
            gate.enter(ip("2001:db8::2")).err(),
            Some(CloseReason::MaxConnectionsPerAddress)
        );
        assert!(gate.enter(ip("2001:db8:0:1::1")).is_ok());
        assert!(gate.enter(ip("10.0.0.1")).is_ok());
        assert_eq!(gate.counts(), (3, 3));
        for from in ["2001:db8::7", "2001:db8:0:1::7", "10.0.0.1"] {
            gate.gone(ip(from));
        }
        assert!(gate.by_address.lock().is_empty());
    }
}
