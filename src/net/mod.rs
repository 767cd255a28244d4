//! Sockets: those that listen, and those of connections. No other room calls the system for one.

pub(crate) mod bind;
pub(crate) mod transport;

use std::net::{SocketAddr, SocketAddrV6};

/// IPv4 addresses as such, also those that an IPv6 socket or a resolver shows as mapped. The
/// interface of a link-local address stays.
pub(crate) fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().to_ipv4_mapped().is_none() => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into()
        }
        other => SocketAddr::new(other.ip().to_canonical(), other.port()),
    }
}
