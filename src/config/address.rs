//! One item of `bindAddress`: an IP address, a link-local one with its interface, or a host name.
//!
//! Promises: what `parse` takes can be bound if this machine has it, and what it refuses says what
//! to write instead. Nothing is resolved, and no interface is looked up.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// What an item stands for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum BindAddress {
    /// `::ffff:192.0.2.1` is the IPv4 address in it.
    Ip(IpAddr),
    /// The interface by its name or number.
    LinkLocal(Ipv6Addr, String),
    /// In lower case, without a dot at its end.
    Name(String),
}

/// All IPv4 addresses of the machine.
pub(super) const ALL_IPV4: BindAddress = BindAddress::Ip(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
/// All IPv6 addresses; without [`ALL_IPV4`] beside it in its list the IPv4 ones too.
pub(super) const ALL: BindAddress = BindAddress::Ip(IpAddr::V6(Ipv6Addr::UNSPECIFIED));

impl BindAddress {
    /// Reads an item, or says what is wrong with it in words that follow the value.
    pub fn parse(text: &str) -> Result<BindAddress, &'static str> {
        let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
        let (address, zone) = match inner.unwrap_or(text).split_once('%') {
            Some((address, zone)) => (address, Some(zone)),
            None => (inner.unwrap_or(text), None),
        };
        match (address.parse::<IpAddr>(), zone) {
            (Ok(IpAddr::V4(_)), _) if inner.is_some() => {
                Err("has brackets around an IPv4 address; write it without them")
            }
            (Ok(IpAddr::V6(ip)), Some(zone)) if ip.is_unicast_link_local() => match zone {
                "0" => Err(NO_INTERFACE),
                zone if !is_interface(zone) => Err(NO_INTERFACE),
                zone => Ok(BindAddress::LinkLocal(ip, zone.to_owned())),
            },
            (Ok(IpAddr::V6(ip)), None) if ip.is_unicast_link_local() => Err(
                "has a link-local address without its interface; write it as fe80::1%eth0 (`ip -6 address` shows both)",
            ),
            (Ok(_), Some(_)) => {
                Err("has an interface on an address that is not link-local; write it without '%'")
            }
            (Ok(ip), None) => Ok(BindAddress::Ip(ip.to_canonical())),
            (Err(_), _) if is_host_name(text) => Ok(BindAddress::Name(name(text))),
            (Err(_), _) => Err(fault(text)),
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindAddress::Ip(ip) => ip.fmt(f),
            BindAddress::LinkLocal(ip, zone) => write!(f, "{ip}%{zone}"),
            BindAddress::Name(name) => f.write_str(name),
        }
    }
}

fn name(text: &str) -> String {
    text.strip_suffix('.').unwrap_or(text).to_ascii_lowercase()
}

const NO_INTERFACE: &str = "has no interface after '%'; write its name or number, as fe80::1%eth0";

/// As Linux takes it.
fn is_interface(name: &str) -> bool {
    let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '/';
    (1..=15).contains(&name.len()) && name.chars().all(plain)
}

/// Why a text is neither an address nor a host name.
fn fault(text: &str) -> &'static str {
    let has_port = text.rsplit_once(':').is_some_and(|(host, port)| {
        let is_host = host.is_empty()
            || host == "*"
            || host.starts_with('[') && host.ends_with(']')
            || host.parse::<Ipv4Addr>().is_ok()
            || is_host_name(host);
        port.parse::<u16>().is_ok() && is_host
    });
    match text {
        "*" => "has the item *; to listen on all addresses leave bindAddress out",
        _ if text.contains("://") => "has a URL; write its host alone",
        _ if text.starts_with("unix:") => "has a Unix socket, which this version cannot listen on",
        _ if text.contains('/') => "has a path or a range; write one address",
        _ if has_port => "has a port in bindAddress; write it with the key port",
        _ if is_numeric(text) => {
            "has a number that is no IPv4 address; write four numbers from 0 to 255, as 127.0.0.1, or 0.0.0.0 for all"
        }
        _ => "has an item that is no address or host name",
    }
}

/// Whether a resolver would take it for an IPv4 address, as 0, 127.1 and 0x7f000001, or wait for
/// somebody to know it, as 1.2.3.999.
fn is_numeric(text: &str) -> bool {
    let digits = |label: &str| label.bytes().all(|byte| byte.is_ascii_digit());
    let hexadecimal = |label: &str| {
        let label = label.strip_prefix("0x").or_else(|| label.strip_prefix("0X"));
        label.is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
    };
    let mut labels = text.strip_suffix('.').unwrap_or(text).split('.');
    labels.all(|label| !label.is_empty() && digits(label) || hexadecimal(label))
}

fn is_host_name(text: &str) -> bool {
    let name = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        (1..=63).contains(&label.len()) && label.bytes().all(|b| plain(b) || b >= 0x80)
    };
    !is_numeric(text) && name.len() <= 253 && name.split('.').all(label)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Result<BindAddress, &'static str> {
        Ok(BindAddress::Ip(text.parse().unwrap()))
    }

    fn named(text: &str) -> Result<BindAddress, &'static str> {
        Ok(BindAddress::Name(text.to_owned()))
    }

    #[test]
    fn addresses_are_ipv4_ipv6_or_host_names_without_a_port() {
        for text in ["127.0.0.1", "0.0.0.0", "::", "::1", "2001:db8::1", "::1:80"] {
            assert_eq!(BindAddress::parse(text), ip(text), "{text}");
        }
        for text in
            ["localhost", "a.example.org", "my_host", "bücher.example", "10.example", "web.1"]
        {
            assert_eq!(BindAddress::parse(text), named(text), "{text}");
        }
        assert_eq!(BindAddress::parse("[::1]"), ip("::1"));
        assert_eq!(BindAddress::parse("LocalHost."), named("localhost"));
    }

    #[test]
    fn a_mapped_ipv4_address_is_the_ipv4_address() {
        assert_eq!(BindAddress::parse("::ffff:127.0.0.1"), ip("127.0.0.1"));
        assert_eq!(BindAddress::parse("[::ffff:0:0]"), Ok(ALL_IPV4));
    }

    #[test]
    fn link_local_addresses_have_an_interface_and_no_others_do() {
        let link =
            |zone: &str| Ok(BindAddress::LinkLocal("fe80::1".parse().unwrap(), zone.to_owned()));
        assert_eq!(BindAddress::parse("fe80::1%eth0"), link("eth0"));
        assert_eq!(BindAddress::parse("[FE80::1%2]"), link("2"));
        for (text, words) in [
            ("fe80::1", "has a link-local address without its interface; write it as fe80::1%eth0"),
            ("[fe80::1]", "has a link-local address without its interface"),
            ("fe80::1%", "has no interface after '%'; write its name"),
            ("fe80::1%0", "has no interface after '%'"),
            ("fe80::1%a b", "has no interface after '%'"),
            ("fe80::1%sixteen-bytes-xx", "has no interface after '%'"),
            (
                "::1%lo",
                "has an interface on an address that is not link-local; write it without '%'",
            ),
            ("::1%1", "has an interface on an address that is not link-local"),
            ("127.0.0.1%lo", "has an interface on an address that is not link-local"),
        ] {
            let wrong = BindAddress::parse(text).expect_err(text);
            assert!(wrong.starts_with(words), "{text}: {wrong}");
        }
    }

    #[test]
    fn what_is_none_says_what_to_write() {
        for (text, words) in [
            ("*", "to listen on all addresses leave bindAddress out"),
            ("tcp://127.0.0.1", "has a URL; write its host alone"),
            ("http://[::1]:80/", "has a URL"),
            ("unix:/run/a", "has a Unix socket"),
            ("10.0.0.0/8", "has a path or a range"),
            ("127.0.0.1:80", "has a port in bindAddress; write it with the key port"),
            ("[::1]:80", "has a port"),
            ("[fe80::1%eth0]:80", "has a port"),
            ("host:80", "has a port"),
            ("*:80", "has a port"),
            (":80", "has a port"),
            ("0", "has a number that is no IPv4 address; write four numbers from 0 to 255"),
            ("127.1", "has a number"),
            ("1.2.3", "has a number"),
            ("1.2.3.256", "has a number"),
            ("127.0.0.01", "has a number"),
            ("2130706433", "has a number"),
            ("0x7f000001", "has a number"),
            ("0x7F.1", "has a number"),
            ("127.0.0.1.", "has a number"),
            (".", "has an item"),
            ("[127.0.0.1]", "has brackets around an IPv4 address"),
            ("", "has an item that is no address or host name"),
            ("[::1", "has an item"),
            ("[a]", "has an item"),
            ("[]", "has an item"),
            ("a b", "has an item"),
            ("a..b", "has an item"),
            ("::g", "has an item"),
            ("host:port", "has an item"),
            ("host:99999", "has an item"),
            ("eth0%1", "has an item"),
        ] {
            let wrong = BindAddress::parse(text).expect_err(text);
            assert!(wrong.contains(words), "{text}: {wrong}");
        }
    }
}
