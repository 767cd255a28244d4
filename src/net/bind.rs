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
    // a full window, however much it reads. `Outbound::note_progress` finds those that acknowledge nothing.
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
        let addresses = addresses.iter().map(|&ip| (ip, 0).into()).collect();
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
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT_BYTES);
        assert_eq!(socket.tos_v4().unwrap(), 0);
        let stream = accepted("dscp=46");
        assert_eq!(SockRef::from(&stream).tos_v4().unwrap(), 46 << 2);
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
        // It is this very process.
        let remedy = format!(
            "; this process itself listens on 127.0.0.1 port {port}: stop that listener, or set another port"
        );
        let remedy = if cfg!(target_os = "linux") { &remedy } else { "set another port" };
        assert!(error.message.ends_with(remedy), "{}", error.message);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn nothing_is_said_of_who_listens_where_the_system_shows_nothing() {
        let wanted = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let error = own_listener(Path::new("/proc/self/no-such-folder"), wanted).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_listener_of_this_process_is_found_by_what_it_excludes() {
        let bound = |address: &str, dual: bool| {
            let settings = settings("");
            listen(&settings, address.parse().unwrap(), dual).unwrap()
        };
        let own = |address: &str, port: u16| {
            let wanted = SocketAddr::new(address.parse().unwrap(), port);
            own_listener(Path::new("/proc/self"), wanted).unwrap().map(|ip| ip.to_string())
        };
        let listener = bound("127.0.0.1:0", false);
        let port = listener.local_addr().unwrap().port();
        assert_eq!(own("127.0.0.1", port).as_deref(), Some("127.0.0.1"));
        assert_eq!(own("0.0.0.0", port).as_deref(), Some("127.0.0.1"));
        assert_eq!(own("::", port).as_deref(), Some("127.0.0.1"));
        assert_eq!((own("127.0.0.2", port), own("::1", port)), (None, None));
        drop(listener);
        assert_eq!(own("127.0.0.1", port), None);
        if std::net::TcpListener::bind("[::1]:0").is_err() {
            eprintln!("skipped: there is no IPv6 on this machine");
            return;
        }
        let listener = bound("[::]:0", true);
        let port = listener.local_addr().unwrap().port();
        for address in ["127.0.0.1", "::1", "0.0.0.0", "::"] {
            assert_eq!(own(address, port).as_deref(), Some("::"), "{address}");
        }
        // Where both families have one, that of the other family does not matter.
        drop(listener);
        let listener = bound(&format!("[::]:{port}"), false);
        let other = std::process::Command::new("python3")
            .args(["-c", PYTHON_LISTENS, &port.to_string()])
            .stdin(std::process::Stdio::piped())
            .stdout(std::process::Stdio::piped())
            .spawn();
        let Ok(mut other) = other else {
            eprintln!("skipped: python3 is not installed");
            return;
        };
        let mut ready = [0; 1];
        std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut ready).unwrap();
        assert_eq!(own("0.0.0.0", port), None);
        assert_eq!(own("::1", port).as_deref(), Some("::"));
        drop((listener, other.stdin.take()));
        other.wait().unwrap();
    }

    /// Another program that listens on all IPv4 addresses until its input ends.
    #[cfg(target_os = "linux")]
    const PYTHON_LISTENS: &str = "import socket, sys\n\
        s = socket.socket(); s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)\n\
        s.bind(('0.0.0.0', int(sys.argv[1]))); s.listen(); print(end='r', flush=True)\n\
        sys.stdin.read()";

    #[test]
    fn addresses_of_a_name_that_all_addresses_of_the_list_include_are_left_out() {
        let bound = |keys: &str| {
            let (listeners, _) = bind(&settings(keys)).unwrap();
            listeners.iter().map(|l| l.local_addr().unwrap().ip().to_string()).collect::<Vec<_>>()
        };
        let localhost = bound("bindAddress=localhost");
        for keys in ["bindAddress=0.0.0.0, localhost", "bindAddress=localhost, 0.0.0.0"] {
            let mut bound = bound(keys);
            bound.sort();
            let mut expected: Vec<_> =
                localhost.iter().filter(|ip| ip.contains(':')).cloned().collect();
            expected.push("0.0.0.0".to_owned());
            expected.sort();
            assert_eq!(bound, expected, "{keys}");
        }
        if localhost.iter().any(|ip| ip.contains(':')) {
            assert_eq!(bound("bindAddress=localhost, ::"), ["::"]);
        }
    }

    #[test]
    fn an_interface_that_does_not_exist_is_named_with_the_remedy() {
        let error = bind(&settings("bindAddress=127.0.0.1, fe80::1%no-such")).unwrap_err();
        assert_eq!((error.status, error.os_error), (Status::AddressNotAvailable, libc::ENODEV));
        assert_eq!(
            error.message,
            "server.ini:3: [Port] bindAddress: error: fe80::1%no-such: there is no interface \"no-such\" here; \
             valid: an interface of this machine (`ip link` lists them)"
        );
        if std::net::TcpListener::bind("[::1]:0").is_err() {
            eprintln!("skipped: there is no IPv6 on this machine");
            return;
        }
        // Numbers are asked of the system when it binds.
        let error = bind(&settings("bindAddress=fe80::1%999999")).unwrap_err();
        assert_eq!(error.status, Status::AddressNotAvailable);
        let told =
            "server.ini:3: [Port] bindAddress: error: cannot listen on fe80::1%999999 port 0: ";
        assert!(error.message.starts_with(told), "{}", error.message);
        assert!(error.message.ends_with("(`ip link` lists them)"), "{}", error.message);
    }

    #[test]
    fn mapped_addresses_are_ipv4_and_link_local_ones_keep_their_interface() {
        let shown = |address: SocketAddr| canonical(address).to_string();
        assert_eq!(shown("[::ffff:192.0.2.1]:80".parse().unwrap()), "192.0.2.1:80");
        assert_eq!(shown("192.0.2.1:80".parse().unwrap()), "192.0.2.1:80");
        let link_local = SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 9, 3).into();
        assert_eq!(shown(link_local), "[fe80::1%3]:80");
        // The flow is of no address: equal ones are equal.
        assert_eq!(
            canonical(link_local),
            SocketAddrV6::new("fe80::1".parse().unwrap(), 80, 0, 3).into()
        );
    }

    #[test]
    fn what_a_system_without_ipv6_says_has_its_remedy() {
        let error = io::Error::from_raw_os_error(libc::EAFNOSUPPORT);
        let address = (Ipv6Addr::UNSPECIFIED, 80).into();
        let message = cannot(&settings(""), "bindAddress", "::", address, &error).message;
        assert!(message.ends_with("set IPv4 addresses, or leave bindAddress out"), "{message}");
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
        assert_eq!(reached("bindAddress=::1"), (1, false, true));
        assert_eq!(reached("bindAddress=::"), (1, true, true));
        assert_eq!(reached("bindAddress=[::], 0.0.0.0"), (2, true, true));
        assert_eq!(reached("bindAddress=0.0.0.0, ::"), (2, true, true));
        assert_eq!(reached("bindAddress=::ffff:127.0.0.1"), (1, true, false));
        assert_eq!(reached("bindAddress=::ffff:127.0.0.1, 127.0.0.1"), (1, true, false));
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
        let told = |port| {
            cannot(&settings(""), "port", "*", (Ipv4Addr::UNSPECIFIED, port).into(), &error).message
        };
        assert!(told(1023).contains("; ports below 1024 need CAP_NET_BIND_SERVICE"));
        assert!(!told(1024).contains("CAP_NET_BIND_SERVICE"));
    }
}
