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
    // Accepted sockets inherit it.
    #[cfg(target_os = "linux")]
    socket.set_tcp_notsent_lowat(UNSENT_BYTES)?;
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
    use socket2::SockRef;
    use std::net::TcpStream;

    /// No machine has them: they are reserved.
    const NOWHERE: [Ipv4Addr; 2] = [Ipv4Addr::new(240, 0, 0, 1), Ipv4Addr::new(240, 0, 0, 2)];

    fn settings(keys: &str) -> PortSettings {
        let mut config = Config::new();
        config.load_string(format!("[Port]\nport=0\n{keys}\n").as_bytes(), "server.ini").unwrap();
        config.resolve().0.ports.remove(0)
    }

    fn name_of(addresses: &[Ipv4Addr], is_name: bool) -> Wanted {
        let addresses = addresses.iter().map(|&address| address.into()).collect();
        Wanted { written: "the.name".to_owned(), addresses, is_name }
    }

    #[test]
    fn a_backlog_that_the_kernel_clips_is_told_with_its_place() {
        let Some(cap) = kernel_backlog_limit() else {
            eprintln!("skipped: nothing is known of the kernel's limit");
            return;
        };
        let warnings = |length: u32| {
            bind(&settings(&format!("bindAddress=127.0.0.1\nqueueLength={length}"))).unwrap().1
        };
        assert_eq!(warnings(cap), [""; 0]);
        let [warning] = &warnings(cap + 1)[..] else { panic!("one warning") };
        assert!(warning.starts_with("server.ini:4: [Port] queueLength: "), "{warning}");
        assert!(
            warning.contains(&format!("caps the backlog of {} at {cap}", cap + 1)),
            "{warning}"
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn accepted_sockets_have_the_options_of_their_port() {
        let accepted = |keys: &str| {
            let (listeners, _) =
                bind(&settings(&format!("bindAddress=127.0.0.1\n{keys}"))).unwrap();
            let listener = &listeners[0];
            assert!(SockRef::from(listener).nonblocking().unwrap());
            listener.set_nonblocking(false).unwrap();
            let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
            listener.accept().unwrap().0
        };
        let stream = accepted("keepAlive=20s");
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(20));
        assert_eq!(socket.tcp_keepalive_interval().unwrap(), KEEP_ALIVE_INTERVAL);
        assert_eq!(socket.tcp_keepalive_retries().unwrap(), KEEP_ALIVE_PROBES);
        // It would end peers that read slowly.
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
        let stream = accepted("keepAlive=0");
        let socket = SockRef::from(&stream);
        assert!(socket.tcp_nodelay().unwrap() && !socket.keepalive().unwrap());
        assert_eq!(socket.tcp_user_timeout().unwrap(), None);
    }

    #[test]
    fn of_a_name_unavailable_addresses_are_skipped_with_a_warning_if_one_remains() {
        let settings = settings("bindAddress=the.name");
        let mut warnings = Vec::new();
        let wanted = [name_of(&[NOWHERE[0], Ipv4Addr::LOCALHOST], true)];
        let listeners = bind_all(&settings, &wanted, &mut warnings).unwrap();
        assert_eq!(listeners.len(), 1);
        assert_eq!(listeners[0].local_addr().unwrap().ip(), Ipv4Addr::LOCALHOST);
        let [warning] = &warnings[..] else { panic!("{warnings:?}") };
        let told = "server.ini:3: [Port] bindAddress: 240.0.0.1 of the.name is skipped: ";
        assert!(warning.starts_with(told), "{warning}");

        // With none left it fails, also where another item of the list is available.
        let wanted = [name_of(&[Ipv4Addr::LOCALHOST], false), name_of(&NOWHERE, true)];
        let error = bind_all(&settings, &wanted, &mut warnings).unwrap_err();
        assert_eq!(error.status, Status::AddressNotAvailable);
        let told = "server.ini:3: [Port] bindAddress: error: cannot listen on 240.0.0.2 port ";
        assert!(error.message.starts_with(told), "{}", error.message);
        assert!(error.message.ends_with("; valid: an address of this machine (`ip address`)"));

        // An address that is written as such is never skipped.
        let wanted = [name_of(&[NOWHERE[0], Ipv4Addr::LOCALHOST], false)];
        let error = bind_all(&settings, &wanted, &mut warnings).unwrap_err();
        assert_eq!(error.status, Status::AddressNotAvailable);
    }

    #[test]
    fn a_taken_address_of_a_name_is_not_skipped_and_its_error_names_the_port() {
        let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut settings = settings("bindAddress=the.name");
        settings.port = port;
        let wanted = [name_of(&[Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 2)], true)];
        let mut warnings = Vec::new();
        let error = bind_all(&settings, &wanted, &mut warnings).unwrap_err();
        assert_eq!((error.status, &warnings[..]), (Status::AddressInUse, &[][..]));
        let told =
            format!("server.ini:2: [Port] port: error: cannot listen on 127.0.0.1 port {port}: ");
        assert!(error.message.starts_with(&told), "{}", error.message);
        assert!(error.message.ends_with("end that, or set another port"), "{}", error.message);
    }

    #[test]
    fn all_addresses_get_the_number_that_the_first_one_picked_each_once() {
        let keys = "bindAddress=127.0.0.1, 127.0.0.2, 127.0.0.1, localhost";
        let wanted = resolve(&settings(keys)).unwrap();
        let flags: Vec<_> = wanted.iter().map(|name| (&name.written[..], name.is_name)).collect();
        assert_eq!(flags[..2], [("127.0.0.1", false), ("127.0.0.2", false)]);
        // What the name has beyond that, as ::1 on most machines.
        assert!(flags[2..].iter().all(|flag| *flag == ("localhost", true)), "{flags:?}");
        let (listeners, _) =
            bind(&settings("bindAddress=127.0.0.1, 127.0.0.2, 127.0.0.1")).unwrap();
        let addresses: Vec<_> = listeners.iter().map(|l| l.local_addr().unwrap()).collect();
        assert_eq!(addresses.len(), 2);
        assert_eq!(addresses[0].port(), addresses[1].port());
        assert_ne!(addresses[0].port(), 0);
        let error = resolve(&settings("bindAddress=no.such.name.invalid")).err().unwrap();
        assert_eq!(error.status, Status::AddressNotAvailable);
        let told = "server.ini:3: [Port] bindAddress: error: no.such.name.invalid: ";
        assert!(error.message.starts_with(told), "{}", error.message);
    }

    #[test]
    fn without_an_address_a_port_takes_both_families_and_with_one_its_own_alone() {
        if std::net::TcpListener::bind("[::1]:0").is_err() {
            eprintln!("skipped: there is no IPv6 on this machine");
            return;
        }
        let reached = |keys: &str| {
            let (listeners, _) = bind(&settings(keys)).unwrap();
            let port = listeners[0].local_addr().unwrap().port();
            let connects = |host: &str| TcpStream::connect((host, port)).is_ok();
            (listeners.len(), connects("127.0.0.1"), connects("::1"))
        };
        assert_eq!(reached(""), (1, true, true));
        assert_eq!(reached("bindAddress=0.0.0.0"), (1, true, false));
        assert_eq!(reached("bindAddress=::"), (1, false, true));
        assert_eq!(reached("bindAddress=[::], 0.0.0.0"), (2, true, true));
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_backlog_is_the_one_of_the_port() {
        // Where nobody accepts, connections beyond the backlog and one are not established.
        let (listeners, _) = bind(&settings("bindAddress=127.0.0.1\nqueueLength=3")).unwrap();
        let table = std::process::Command::new("ss").args(["-Hltn"]).output();
        let Ok(table) = table.map(|output| String::from_utf8_lossy(&output.stdout).into_owned())
        else {
            eprintln!("skipped: ss is not installed");
            return;
        };
        let here = listeners[0].local_addr().unwrap().to_string();
        let line = table.lines().find(|line| line.contains(&here)).expect("it listens");
        assert_eq!(line.split_whitespace().nth(2), Some("3"), "{line}");
    }

    #[test]
    fn a_low_port_without_the_right_names_the_right() {
        let error = io::Error::from_raw_os_error(libc::EACCES);
        let told = |port| cannot(&settings(""), "port", "*", port, &error).message;
        assert!(told(1023).contains("; ports below 1024 need CAP_NET_BIND_SERVICE"));
        assert!(!told(1024).contains("CAP_NET_BIND_SERVICE"));
    }
}
