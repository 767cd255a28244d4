//! From a port section to its listening sockets.
//!
//! One socket per address, shared by the port's accepters. SO_REUSEADDR is set, so that a
//! restart binds over connections in TIME_WAIT; SO_REUSEPORT is not: a second server must
//! get "address in use". Options set here are inherited by accepted sockets on Linux.

use crate::config::PortSettings;
use crate::status::{Error, Status};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, ToSocketAddrs};
use std::time::Duration;

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
        let listener =
            match listen(settings, IpAddr::V6(Ipv6Addr::UNSPECIFIED), settings.port, true) {
                // A machine without IPv6.
                Err(error)
                    if matches!(
                        error.raw_os_error(),
                        Some(libc::EAFNOSUPPORT | libc::EADDRNOTAVAIL)
                    ) =>
                {
                    listen(settings, IpAddr::V4(Ipv4Addr::UNSPECIFIED), settings.port, false)
                }
                result => result,
            };
        let listener =
            listener.map_err(|error| cannot(settings, "port", "*", settings.port, &error))?;
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

fn cannot(
    settings: &PortSettings,
    key: &str,
    address: &str,
    port: u16,
    error: &io::Error,
) -> Error {
    let place = place(settings, key);
    let mut failed =
        Error::io(format!("{place}: error: cannot listen on {address} port {port}"), error);
    let remedy = match failed.status {
        Status::AddressInUse => {
            "; another program listens there (`ss -ltnp` names it): end that, or set another port"
        }
        Status::AddressNotAvailable => "; valid: an address of this machine (`ip address`)",
        Status::PermissionDenied if port < 1024 => {
            "; ports below 1024 need CAP_NET_BIND_SERVICE, or net.ipv4.ip_unprivileged_port_start"
        }
        _ => "",
    };
    failed.message.push_str(remedy);
    failed
}

/// An address as written and what it stands for. A name stands for several, of which some
/// may be unavailable.
struct Wanted {
    written: String,
    addresses: Vec<IpAddr>,
    is_name: bool,
}

fn resolve(settings: &PortSettings) -> Result<Vec<Wanted>, Error> {
    let mut seen = Vec::new();
    let mut wanted = Vec::new();
    for written in &settings.bind_addresses {
        let bare = written.trim_start_matches('[').trim_end_matches(']');
        let (mut addresses, is_name) = match bare.parse::<IpAddr>() {
            Ok(address) => (vec![address], false),
            Err(_) => {
                let found = (bare, 0).to_socket_addrs().map_err(|error| {
                    let message = format!("{}: error: {written}: {error}; valid: an address of this machine, or a name that resolves to one", place(settings, "bindAddress"));
                    let os_error = error.raw_os_error().unwrap_or(0);
                    Error { status: Status::AddressNotAvailable, os_error, tls_alert: -1, message }
                })?;
                (found.map(|address| address.ip()).collect(), true)
            }
        };
        addresses.retain(|address| {
            let new = !seen.contains(address);
            if new {
                seen.push(*address);
            }
            new
        });
        if !addresses.is_empty() {
            wanted.push(Wanted { written: written.clone(), addresses, is_name });
        }
    }
    Ok(wanted)
}

fn bind_all(
    settings: &PortSettings,
    wanted: &[Wanted],
    warnings: &mut Vec<String>,
) -> Result<Vec<TcpListener>, Error> {
    let mut listeners: Vec<TcpListener> = Vec::new();
    for name in wanted {
        let mut skipped = None;
        let before = listeners.len();
        for &address in &name.addresses {
            // The first address picks, the others must get the same number.
            let port = match listeners.first() {
                Some(first) => first.local_addr().map_or(settings.port, |first| first.port()),
                None => settings.port,
            };
            match listen(settings, address, port, false) {
                Ok(listener) => listeners.push(listener),
                Err(error) => {
                    let key = match error.kind() {
                        // Of a port below 1024.
                        io::ErrorKind::AddrInUse | io::ErrorKind::PermissionDenied => "port",
                        _ => "bindAddress",
                    };
                    let failure = cannot(settings, key, &address.to_string(), port, &error);
                    if !name.is_name || failure.status != Status::AddressNotAvailable {
                        return Err(failure);
                    }
                    warnings.push(format!(
                        "{}: {address} of {} is skipped: {error}",
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

fn listen(
    settings: &PortSettings,
    address: IpAddr,
    port: u16,
    dual: bool,
) -> io::Result<TcpListener> {
    let socket = Socket::new(
        Domain::for_address((address, port).into()),
        Type::STREAM,
        Some(Protocol::TCP),
    )?;
    if address.is_ipv6() {
        socket.set_only_v6(!dual)?;
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
    // No TCP_USER_TIMEOUT: of a peer whose window opens by less than a packet it counts the time without
    // a full window, however much it reads. `Outbound::note_progress` finds those that acknowledge nothing.
    socket.bind(&SocketAddr::new(address, port).into())?;
    socket.listen(i32::try_from(settings.queue_length).unwrap_or(i32::MAX))?;
    socket.set_nonblocking(true)?;
    Ok(socket.into())
}

/// Linux caps every backlog; elsewhere nothing is known.
fn kernel_backlog_limit() -> Option<u32> {
    std::fs::read_to_string("/proc/sys/net/core/somaxconn").ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn a_backlog_that_the_kernel_clips_is_told_with_its_place() {
        let Some(cap) = kernel_backlog_limit() else {
            eprintln!("skipped: nothing is known of the kernel's limit");
            return;
        };
        let warnings = |length: u32| {
            let text = format!("[Port]\nport=0\nbindAddress=127.0.0.1\nqueueLength={length}\n");
            let mut config = Config::new();
            config.load_string(text.as_bytes(), "server.ini").unwrap();
            bind(&config.resolve().0.ports[0]).unwrap().1
        };
        assert_eq!(warnings(cap), [""; 0]);
        let [warning] = &warnings(cap + 1)[..] else { panic!("one warning") };
        assert!(warning.starts_with("server.ini:4: [Port] queueLength: "), "{warning}");
        assert!(
            warning.contains(&format!("caps the backlog of {} at {cap}", cap + 1)),
            "{warning}"
        );
    }
}
