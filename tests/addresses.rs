//! Link-local addresses: bound with their interface, and kept with it for whoever asks for a peer.
//!
//! The tests run in a network namespace of their own, whose loopback interface has such an address:
//! a test starts itself there again. Where that is not permitted, they are skipped visibly.
#![cfg(target_os = "linux")]

mod support;

use nativeport::event::Protocol;
use nativeport::listener::Listener;
use nativeport::log::{Level, Record, Sink};
use std::io::Write;
use std::net::{SocketAddr, SocketAddrV6, TcpStream};
use std::process::Command;
use std::sync::mpsc::{Sender, channel};
use support::*;

const LINK_LOCAL: &str = "fe80::7";
/// Of the loopback interface of a new namespace.
const INTERFACE: u32 = 1;

/// True in the namespace. Otherwise the test runs there, and is over here.
fn is_in_a_namespace(test: &str) -> bool {
    if std::env::var_os("NP_NAMESPACE").is_some() {
        return true;
    }
    // The system makes the route to an address somewhat later.
    let set_up = format!(
        "ip link set lo up && ip -6 address add {LINK_LOCAL}/64 dev lo nodad && \
         tries=0 && until ip -6 route show table local | grep -q {LINK_LOCAL}; do \
         tries=$((tries + 1)); [ $tries -lt 1000 ] || exit 1; sleep 0.01; done"
    );
    let within = |script: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", "--net", "sh", "-c", script]);
        command.env("NP_NAMESPACE", "1");
        command
    };
    let probe = within(&set_up).output();
    if !probe.as_ref().is_ok_and(|output| output.status.success()) {
        // Past the harness's capture of output.
        let why = format!("skipped: {test} may not make a network namespace: {probe:?}");
        let _ = writeln!(std::io::stderr(), "{why}");
        return false;
    }
    let mut command = within(&format!("{set_up} && exec \"$0\" \"$@\""));
    command.arg(std::env::current_exe().unwrap());
    let output = command.args(["--exact", test, "--nocapture"]).output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat())
    );
    false
}

struct Lines(Sender<String>);

impl Sink for Lines {
    fn log(&mut self, record: &Record<'_>) {
        let _ = self.0.send(record.text.to_owned());
    }
}

fn link_local(port: u16) -> SocketAddr {
    SocketAddrV6::new(LINK_LOCAL.parse().unwrap(), port, 0, INTERFACE).into()
}

#[test]
fn a_link_local_address_is_bound_on_its_interface_and_its_peers_keep_theirs() {
    if !is_in_a_namespace(
        "a_link_local_address_is_bound_on_its_interface_and_its_peers_keep_theirs",
    ) {
        return;
    }
    for address in ["fe80::7%lo", "[fe80::7%lo]", "fe80::7%1", "127.0.0.1, fe80::7%lo", "::", ""] {
        let keys = if address.is_empty() { "" } else { "bindAddress=" };
        let text =
            format!("[Runtime]\nioThreads=1\nlogLevel=debug\n[Port]\nport=0\n{keys}{address}\n");
        let mut config = nativeport::config::Config::new();
        config.load_string(text.as_bytes(), "test.ini").unwrap();
        let runtime = runtime_of(&config);
        let (sender, lines) = channel();
        // Where events are polled, records are events.
        let has_log = runtime.set_log(Level::Debug, Some(Box::new(Lines(sender)))).is_ok();
        let listener = Listener::new(&runtime, &config, 0).unwrap();
        let (handler, told) = recorder(false, |_, _| {});
        listener.on(Protocol::Client, handler).unwrap();
        listener.start().unwrap();
        let bound = listener.addresses();
        let port = bound[0].port();
        if address.contains('%') {
            assert_eq!(*bound.last().unwrap(), link_local(port), "{address}");
        }
        let mut client = TcpStream::connect(link_local(port)).unwrap();
        client.write_all(b"\x01").unwrap();
        let conn = told.opened();
        let info = conn.info().unwrap();
        assert_eq!(info.peer, client.local_addr().unwrap(), "{address}");
        assert_eq!(info.local, link_local(port), "{address}");
        drop(client);
        told.closed();
        let shown = format!(": [{LINK_LOCAL}%{INTERFACE}]:");
        if has_log {
            let is_end = |line: &String| line.contains(&shown) && line.contains(" closed: ");
            let mut lines = std::iter::from_fn(|| lines.recv_timeout(PATIENCE).ok());
            assert!(lines.any(|line| is_end(&line)), "the end is logged with the address");
        }
    }
}

#[test]
fn an_interface_that_has_no_such_address_is_told() {
    if !is_in_a_namespace("an_interface_that_has_no_such_address_is_told") {
        return;
    }
    let start = |address: &str| {
        let text = format!("[Port]\nport=0\nbindAddress={address}\n");
        let mut config = nativeport::config::Config::new();
        config.load_string(text.as_bytes(), "test.ini").unwrap();
        let runtime = runtime_of(&config);
        let listener = Listener::new(&runtime, &config, 0).unwrap();
        listener.on(Protocol::Client, std::sync::Arc::new(Echo)).unwrap();
        listener.start().unwrap_err().message
    };
    let message = start("fe80::8%lo");
    assert!(
        message.starts_with(
            "test.ini:3: [Port] bindAddress: error: cannot listen on fe80::8%1 port 0: "
        ),
        "{message}"
    );
    assert!(message.ends_with("; valid: an address of this machine (`ip address`)"), "{message}");
    let message = start("fe80::7%eth9");
    assert!(
        message
            .contains("there is no interface \"eth9\" here; valid: an interface of this machine"),
        "{message}"
    );
}

/// A file may hold alternatives, of which a program starts one.
#[test]
fn of_two_sections_of_one_port_either_starts_and_not_both() {
    let keys = "bindAddress=127.0.0.1\n";
    let mut config = nativeport::config::Config::new();
    let text = format!("[Runtime]\nioThreads=1\n[Port]\nport=0\n{keys}");
    config.load_string(text.as_bytes(), "test.ini").unwrap();
    let runtime = runtime_of(&config);
    let start = |config: &nativeport::config::Config, index| {
        let listener = Listener::new(&runtime, config, index).unwrap();
        listener.on(Protocol::Client, std::sync::Arc::new(Echo)).unwrap();
        listener.start().map(|()| listener).map_err(|error| error.message)
    };
    let first = start(&config, 0).unwrap();
    let port = first.addresses()[0].port();
    let both = format!("[Port.a]\nport={port}\n{keys}[Port.b]\nport={port}\n{keys}");
    let mut config = nativeport::config::Config::new();
    config.load_string(both.as_bytes(), "both.ini").unwrap();
    assert_eq!(config.resolve().1.len(), 1);
    for index in [0, 1] {
        let message = start(&config, index).map(|_| ()).unwrap_err();
        assert!(message.contains("this process itself listens on 127.0.0.1"), "{message}");
    }
}
