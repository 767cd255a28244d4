//! Handle: the values that stand for connections and addresses, passed by value.
//!
//! A connection's handle is checked by the core at every call; here it is only wrapped and
//! unwrapped. Also the function types that several sections share.

use std::ffi::{c_char, c_void};
use std::net::{IpAddr, SocketAddr};

use super::ptr;
use crate::conn::handles::Conn;
use crate::net::bind::without_port;

/// A connection: a number, not a pointer. It may be copied and kept at will, and any value
/// whatever may be passed at any time: one that has ended answers NP_ERR_CLOSED, one that
/// never was answers NP_ERR_INVALID_HANDLE. {0} (NP_CONN_NONE) is never a connection.
/// Languages that cannot pass structs by value may declare it as a 64-bit integer.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct np_conn {
    /// The number; equal numbers are the same connection.
    pub id: u64,
}

impl np_conn {
    pub(super) const fn of(conn: Conn) -> np_conn {
        np_conn { id: conn.raw() }
    }

    pub(super) const fn core(self) -> Conn {
        Conn::from_raw(self.id)
    }
}

/// No time limit, wherever milliseconds are asked for.
pub const NP_FOREVER: u64 = u64::MAX;

/// An address and a port.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct np_address {
    /// 4 or 6.
    pub family: u32,
    /// TCP port.
    pub port: u32,
    /// The address alone, "192.0.2.1", "2001:db8::1"; a link-local one with the number of its
    /// interface, "fe80::1%3", as getaddrinfo takes it.
    pub host: [c_char; 64],
}

impl np_address {
    pub(super) fn of(address: SocketAddr) -> np_address {
        let host = without_port(address);
        let family = match address.ip() {
            IpAddr::V4(_) => 4,
            IpAddr::V6(_) => 6,
        };
        let mut out = np_address { family, port: address.port().into(), host: [0; 64] };
        // The longest, an IPv6 address with a ten-digit scope, has 50 characters.
        ptr::fill(&mut out.host, &host);
        out
    }
}

/// Releases user_data. Is called exactly once, from any thread, after the last use; must
/// not block for long. NULL in its place means that there is nothing to release.
pub type np_destroy_fn = Option<unsafe extern "C-unwind" fn(user_data: *mut c_void)>;

#[cfg(test)]
mod tests {
    use super::*;
    use std::ffi::CStr;
    use std::net::SocketAddrV6;

    #[test]
    fn an_address_is_text_and_a_link_local_one_has_its_interface() {
        let told = |address: SocketAddr| {
            let out = np_address::of(address);
            let bytes = out.host.map(|byte| byte as u8);
            let host = CStr::from_bytes_until_nul(&bytes).unwrap().to_str().unwrap().to_owned();
            (out.family, out.port, host)
        };
        assert_eq!(told("192.0.2.1:80".parse().unwrap()), (4, 80, "192.0.2.1".to_owned()));
        assert_eq!(told("[2001:db8::1]:80".parse().unwrap()), (6, 80, "2001:db8::1".to_owned()));
        let link_local = |interface| {
            let ip = "fe80:1111:2222:3333:4444:5555:6666:7777".parse().unwrap();
            SocketAddrV6::new(ip, 65_535, 7, interface).into()
        };
        let longest = format!("fe80:1111:2222:3333:4444:5555:6666:7777%{}", u32::MAX);
        assert_eq!(told(link_local(u32::MAX)), (6, 65_535, longest));
    }
}
