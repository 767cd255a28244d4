//! From a port section to its listening sockets.
//!
//! One socket per address, shared by the port's accepters. SO_REUSEADDR is set, so that a
//! restart binds over connections in TIME_WAIT; SO_REUSEPORT is not: a second server must
//! get "address in use". Options set here are inherited by accepted sockets on Linux.

use super::canonical;
use super::transport::set_traffic_class;
use crate::base::sys;
use crate::config::{BindAddress, PortSettings};
use crate::status::{Error, Status};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
#[cfg(target_os = "linux")]
use std::fs::File;
use std::io;
#[cfg(target_os = "linux")]
use std::io::{BufRead, BufReader};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6, TcpListener, ToSocketAddrs};
use std::path::Path;
use std::time::Duration;

/// So much the system takes beyond what is on its way to the peer: otherwise one that reads nothing
/// costs 4 MB there, beside its queue. With 1 MiB and less large pipelined frames are slower.
#[cfg(target_os = "linux")]
const UNSENT_BYTES: u32 = 2 << 20;

/// With `port = 0` and several addresses: how often another number is tried when one
/// address does not have the number that another one picked.
const TRIES: usize = 16;
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(15);
const KEEP_ALIVE_PROBES: u32 = 4;

/// Binds all addresses of a port section; the second list holds warnings.
pub(crate) fn bind(settings: &PortSettings) -> Result<(Vec<TcpListener>, Vec<String>), Error> {
    let mut warnings = Vec::new();
    if let Some(cap) = kernel_backlog_limit()
        && cap < settings.queue_length
    {
        warnings.push(format!(
            "{}: the kernel caps the backlog of {} at {cap}; raise net.core.somaxconn",
            place(settings, "queueLength"),
            settings.queue_length
        ));
    }
    if settings.bind_addresses.is_empty() {
        let all = |ip: IpAddr| listen(settings, SocketAddr::new(ip, settings.port), true);
        let listener = match all(Ipv6Addr::UNSPECIFIED.into()) {
            // A machine without IPv6.
            Err(error)
                if matches!(
                    error.raw_os_error(),
                    Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
                ) =>
            {
                all(Ipv4Addr::UNSPECIFIED.into())
            }
            result => result,
        };
        let all = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), settings.port);
        let listener = listener.map_err(|error| cannot(settings, "port", "*", all, &error))?;
        return Ok((vec![listener], warnings));
    }
    let addresses = resolve(settings)?;
    let mut result = bind_all(settings, &addresses, &mut warnings);
    for _ in 0..TRIES {
        match &result {
            Err(error) if settings.port == 0 && error.status == Status::AddressInUse => {
                result = bind_all(settings, &addresses, &mut warnings);
            }
            _ => break,
        }
    }
    Ok((result?, warnings))
}

/// Where errors of this key are to be mended.
pub(crate) fn place(settings: &PortSettings, key: &str) -> String {
    let section = &settings.written;
    let origin = settings.places.of(key);
    match (origin.file.as_str(), origin.line) {
        ("", _) => format!("set by the program: [{section}] {key}"),
        (file, line) => format!("{file}:{line}: [{section}] {key}"),
    }
}

/// `shown` is the address as the message shows it.
fn cannot(
    settings: &PortSettings,
    key: &str,
    shown: &str,
    address: SocketAddr,
    error: &io::Error,
) -> Error {
    let (place, port) = (place(settings, key), address.port());
    let mut failed =
        Error::io(format!("{place}: error: cannot listen on {shown} port {port}"), error);
    let remedy = match (failed.status, failed.os_error) {
        // With any port others are tried, which is not told.
        (Status::AddressInUse, _) if settings.port == 0 => "; set a port".to_owned(),
        (Status::AddressInUse, _) => match own_listener(Path::new("/proc/self"), address) {
            Ok(Some(ip)) => format!(
                "; this process itself listens on {ip} port {port}: stop that listener, or set another port"
            ),
            Ok(None) => "; another program listens there (`ss -ltnp` names it): end that, or set another port".to_owned(),
            Err(_) => "; free it (`ss -ltnp` names who listens there), or set another port".to_owned(),
        },
        (Status::AddressNotAvailable, _) => {
            "; valid: an address of this machine (`ip address`)".to_owned()
        }
        (Status::PermissionDenied, _) if port < 1024 => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE, or net.ipv4.ip_unprivileged_port_start"
                .to_owned()
        }
        (_, libc::ENODEV) => {
            failed.status = Status::AddressNotAvailable;
            "; valid: an interface of this machine (`ip link` lists them)".to_owned()
        }
        (_, libc::EAFNOSUPPORT) => {
            "; this machine has no IPv6: set IPv4 addresses, or leave bindAddress out".to_owned()
        }
        _ => String::new(),
    };
    failed.message.push_str(&remedy);
    failed
}

/// The address on which a listener of this process excludes this one, if there is one. `process` is what
/// the system shows of it.
#[cfg(target_os = "linux")]
fn own_listener(process: &Path, wanted: SocketAddr) -> io::Result<Option<IpAddr>> {
    let wanted_ip = wanted.ip();
    let includes = |all: IpAddr, ip: IpAddr| {
        all == ip || all.is_unspecified() && (all.is_ipv6() || ip.is_ipv4())
    };
    let mut rows: Vec<(IpAddr, String)> = Vec::new();
    for table in ["tcp", "tcp6"] {
        let file = match File::open(process.join("net").join(table)) {
            // A machine without IPv6.
            Err(error) if table == "tcp6" && error.kind() == io::ErrorKind::NotFound => continue,
            file => file?,
        };
        // A table has a row for each socket of the machine.
        for row in BufReader::new(file).lines() {
            if let Some((address, inode)) = listening(&row?)
                && address.port() == wanted.port()
                && (includes(address.ip(), wanted_ip) || includes(wanted_ip, address.ip()))
            {
                rows.push((address.ip(), inode));
            }
        }
    }
    // All IPv6 addresses include the IPv4 ones or not: those of the same family exclude for certain.
    let (certain, possible): (Vec<_>, Vec<_>) =
        rows.into_iter().partition(|(ip, _)| ip.is_ipv4() == wanted_ip.is_ipv4());
    let candidates = if certain.is_empty() { possible } else { certain };
    let descriptors = std::fs::read_dir(process.join("fd"))?;
    let own: Vec<_> = descriptors.filter_map(|entry| entry.ok()?.path().read_link().ok()).collect();
    let is_own = |inode: &str| own.iter().any(|file| file.as_os_str() == inode);
    Ok(candidates.into_iter().find_map(|(ip, inode)| is_own(&inode).then_some(ip)))
}

/// A row of the system's table of sockets, if that one listens: its address, and its name among
/// the descriptors of its process.
#[cfg(target_os = "linux")]
fn listening(row: &str) -> Option<(SocketAddr, String)> {
    const LISTEN: &str = "0A";
    let columns: Vec<&str> = row.split_whitespace().collect();
    let (words, port) = columns.get(1)?.split_once(':')?;
    let (state, inode) = (*columns.get(3)?, columns.get(9)?);
    // Words of 32 bits in the order of this machine, as 0100007F.
    let word = |word: &[u8]| u32::from_str_radix(std::str::from_utf8(word).ok()?, 16).ok();
    let bytes: Option<Vec<[u8; 4]>> =
        words.as_bytes().chunks(8).map(|eight| Some(word(eight)?.to_ne_bytes())).collect();
    let ip = match bytes?.concat() {
        four if four.len() == 4 => IpAddr::from(<[u8; 4]>::try_from(four).ok()?),
        bytes => IpAddr::from(<[u8; 16]>::try_from(bytes).ok()?).to_canonical(),
    };
    let address = SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?);
    (state == LISTEN).then(|| (address, format!("socket:[{inode}]")))
}

#[cfg(not(target_os = "linux"))]
fn own_listener(_: &Path, _: SocketAddr) -> io::Result<Option<IpAddr>> {
    Err(io::ErrorKind::Unsupported.into())
}

/// An address as written and what it stands for. A name stands for several, of which some
/// may be unavailable.
struct Wanted {
    written: String,
    /// Without a port.
    addresses: Vec<SocketAddr>,
    is_name: bool,
}

fn resolve(settings: &PortSettings) -> Result<Vec<Wanted>, Error> {
    let mut seen = Vec::new();
    let mut wanted = Vec::new();
    for written in &settings.bind_addresses {
        let failed = |os_error, why: String| {
            let place = place(settings, "bindAddress");
            let message = format!("{place}: error: {written}: {why}");
            Error { status: Status::AddressNotAvailable, os_error, tls_alert: -1, message }
        };
        let (mut addresses, is_name) = match BindAddress::parse(written) {
            Ok(BindAddress::Ip(ip)) => (vec![SocketAddr::new(ip, 0)], false),
            Ok(BindAddress::LinkLocal(ip, interface)) => {
                let number = sys::interface_number(&interface).ok_or_else(|| {
                    let why = format!("there is no interface {interface:?} here; valid: an interface of this machine (`ip link` lists them)");
                    failed(libc::ENODEV, why)
                })?;
                (vec![SocketAddrV6::new(ip, 0, 0, number).into()], false)
            }
            // As it is written: a dot at its end means something to the resolver.
            Ok(BindAddress::Name(_)) => {
                let found = (written.as_str(), 0).to_socket_addrs().map_err(|error| {
                    let why = format!(
                        "{error}; valid: an address of this machine, or a name that resolves to one"
                    );
                    failed(error.raw_os_error().unwrap_or(0), why)
                })?;
                (found.map(canonical).collect(), true)
            }
            // `check` finds it first.
            Err(wrong) => return Err(failed(0, wrong.to_owned())),
        };
        addresses.retain(|address| {
            let new = !seen.contains(address);
            if new {
                seen.push(*address);
            }
            new
        });
        wanted.push(Wanted { written: written.clone(), addresses, is_name });
    }
    // What a name stands for may be among all addresses of the list.
    let all = |ip: IpAddr| seen.contains(&SocketAddr::new(ip, 0));
    let (all_ipv6, all_ipv4) =
        (all(Ipv6Addr::UNSPECIFIED.into()), all(Ipv4Addr::UNSPECIFIED.into()));
    for name in wanted.iter_mut().filter(|name| name.is_name) {
        name.addresses.retain(|address| {
            let among_all = if address.is_ipv4() { all_ipv4 || all_ipv6 } else { all_ipv6 };
            !among_all || address.ip().is_unspecified()
        });
    }
    wanted.retain(|name| !name.addresses.is_empty());
    Ok(wanted)
}

fn bind_all(
    settings: &PortSettings,
    wanted: &[Wanted],
    warnings: &mut Vec<String>,
) -> Result<Vec<TcpListener>, Error> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    let all_ipv4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
    let has_all_ipv4 = wanted.iter().any(|name| name.addresses.contains(&all_ipv4));
    for name in wanted {
        let mut skipped = None;
        let before = listeners.len();
        for &address in &name.addresses {
            // The first address picks, the others must get the same number.
            let port = match listeners.first() {
                Some(first) => first.local_addr().map_or(settings.port, |first| first.port()),
                None => settings.port,
            };
            let mut address = address;
            address.set_port(port);
            match listen(settings, address, !has_all_ipv4) {
                Ok(listener) => listeners.push(listener),
                Err(error) => {
                    let key = match error.kind() {
                        // Of a port below 1024.
                        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => "port",
                        _ => "bindAddress",
                    };
                    let shown = without_port(address);
                    let failure = cannot(settings, key, &shown, address, &error);
                    // The system refuses a link-local address without an interface, which a resolver
                    // may give.
                    let is_unavailable = failure.status == Status::AddressNotAvailable
                        || error.kind() == io::ErrorKind::InvalidInput;
                    if !name.is_name || !is_unavailable {
                        return Err(failure);
                    }
                    warnings.push(format!(
                        "{}: {shown} of {} is skipped: {error}",
                        place(settings, "bindAddress"),
                        name.written
                    ));
                    skipped = Some(failure);
                }
            }
        }
        if let Some(failure) = skipped
            && listeners.len() == before
        {
            return Err(failure);
        }
    }
    Ok(listeners)
}

/// The address alone; a link-local one with the number of its interface.
pub(crate) fn without_port(address: SocketAddr) -> String {
    match address {
        SocketAddr::V6(v6) if v6.scope_id() != 0 => format!("{}%{}", v6.ip(), v6.scope_id()),
        other => other.ip().to_string(),
    }
}

/// All IPv6 addresses take the IPv4 ones too if `dual`.
fn listen(settings: &PortSettings, address: SocketAddr, dual: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(!(dual && address.ip().is_unspecified()))?;
    }
    socket.set_reuse_address(true)?;
    socket.set_tcp_nodelay(true)?;
    if settings.keep_alive_ms > 0 {
        let keep_alive = TcpKeepalive::new()
            // The kernel counts in whole seconds, at least one.
            .with_time(Duration::from_secs(settings.keep_alive_ms.div_ceil(1000)))
            .with_interval(KEEP_ALIVE_INTERVAL)
            .with_retries(KEEP_ALIVE_PROBES);
        socket.set_tcp_keepalive(&keep_alive)?;
    }
    if settings.dscp > 0 {
        // The two bits below are those of congestion notification.
        set_traffic_class(&socket, settings.dscp << 2)?;
    }
    // No TCP_USER_TIMEOUT: of a peer whose window opens by less than a packet it counts the time without
    // a full window, however much it reads. `Output::note_progress` finds those that acknowledge nothing.
    // Accepted sockets inherit it.
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(settings.queue_length).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Linux caps every backlog; elsewhere nothing is known.
fn kernel_backlog_limit() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
