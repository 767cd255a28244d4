//! Tests of `bind`.

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
    assert!(warning.contains(&format!("caps the backlog of {} at {cap}", cap + 1)), "{warning}");
}

#[test]
#[cfg(target_os = "linux")]
fn accepted_sockets_have_the_options_of_their_port() {
    let accepted = |keys: &str| {
        let (listeners, _) = bind(&settings(&format!("bindAddress=127.0.0.1\n{keys}"))).unwrap();
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
    let told = "server.ini:3: [Port] bindAddress: error: cannot listen on fe80::1%999999 port 0: ";
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
    let (listeners, _) = bind(&settings("bindAddress=127.0.0.1, 127.0.0.2, 127.0.0.1")).unwrap();
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
    let Ok(table) = table.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()) else {
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
