//! The programs of examples-c, built with every compiler there is and run as a user would.

mod c_programs;
mod example_programs;
mod support;

use c_programs::{exists, must, skipped};
use example_programs::http::{answer, exchange, get, request};
use example_programs::json::Json;
use example_programs::running::{Running, Serve, listening, run};
use example_programs::{Files, all_programs, programs, refuses, taken_port};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};
use support::{PATIENCE, connect, frame, framed, read_exact, read_frame, read_to_end, wait_until};

const LOOPBACK: &str = "port=0\nbindAddress=127.0.0.1\n";

/// A framed client whose first frame has come back.
fn greeted(address: SocketAddr) -> TcpStream {
    let mut client = framed(address);
    client.write_all(&frame(b"hello")).unwrap();
    assert_eq!(read_frame(&mut client), b"hello");
    client
}

/// The state as soon as it is so: a peer sees an end or an answer before it is counted.
fn status_when(address: SocketAddr, what: &str, is_so: impl Fn(&Json) -> bool) -> Json {
    let mut status = Json::Word("null".to_owned());
    wait_until(what, || {
        status = Json::read(&get(address, "/status.json").body);
        is_so(&status)
    });
    status
}

// ---- echo and echo-cpp, threads, workers, poll, blocking, client ----

#[test]
fn echo_sends_every_frame_back_and_ends_at_sigterm() {
    let files = Files::new("echo");
    let config = files.write("echo.ini", &format!("[Port]\n{LOOPBACK}"));
    for (programs, name) in all_programs().flat_map(|all| [(all, "echo"), (all, "echo-cpp")]) {
        let (echo, address) = listening(programs, name, &config);
        let mut client = greeted(address);
        client.write_all(&[frame(b""), frame(&[7; 300])].concat()).unwrap();
        assert_eq!(read_frame(&mut client), b"");
        assert_eq!(read_frame(&mut client), [7; 300]);
        let mut application = connect(address);
        application.write_all(b"\x03\0\0\0\x02hi").unwrap();
        assert_eq!(read_exact(&mut application, 7), b"\x01\0\0\0\x02hi");
        echo.signal(libc::SIGTERM);
        assert_eq!(echo.end().code(), 0);
    }
}

#[test]
fn the_servers_tell_what_is_wrong_in_one_line() {
    let files = Files::new("wrong");
    let config = files.write("wrong.ini", "[Port]\nport=x\n");
    for program in ["echo", "echo-cpp", "threads", "workers", "poll", "blocking"] {
        let ended = run(programs(), program, &[&config]);
        assert_eq!((ended.code(), ended.stderr.len()), (2, 1), "{ended:?}");
        assert!(ended.stderr[0].starts_with(&format!("{config}:2: [Port] port: error: ")));
        let ended = run(programs(), program, &[]);
        assert_eq!(ended.stderr, [format!("usage: {program} FILE.ini")]);
        assert_eq!(ended.code(), 2);
    }
}

/// Those that send every frame back, from wherever they do it.
const ECHOING: [&str; 3] = ["threads", "poll", "blocking"];

#[test]
fn several_clients_are_answered_each_in_its_own_order() {
    let files = Files::new("several");
    let config = files.write("several.ini", &format!("[Port]\n{LOOPBACK}"));
    for (programs, program) in all_programs().flat_map(|all| ECHOING.map(|one| (all, one))) {
        let (server, address) = listening(programs, program, &config);
        let clients: Vec<_> = (0..8u32)
            .map(|client| {
                std::thread::spawn(move || {
                    let mut stream = framed(address);
                    let payload = |n: u32| format!("client {client} frame {n}").into_bytes();
                    let all: Vec<u8> = (0..500).flat_map(|n| frame(&payload(n))).collect();
                    stream.write_all(&all).unwrap();
                    // The end of its stream must not cut off what it is still owed.
                    stream.shutdown(Shutdown::Write).unwrap();
                    for n in 0..500 {
                        assert_eq!(read_frame(&mut stream), payload(n));
                    }
                    assert_eq!(read_to_end(&mut stream), b"");
                })
            })
            .collect();
        for client in clients {
            client.join().unwrap();
        }
        server.signal(libc::SIGTERM);
        assert_eq!(server.end().code(), 0);
    }
}

#[test]
fn a_client_that_does_not_read_is_held_back_and_answered_when_it_does() {
    let files = Files::new("held_back");
    let config = files
        .write("server.ini", &format!("[Port]\n{LOOPBACK}compression=off\nsendQueueLimit=64K\n"));
    for program in ECHOING {
        let (server, address) = listening(programs(), program, &config);
        let mut client = framed(address);
        let payload = |n: u32| [&n.to_be_bytes()[..], &[n as u8; 4092]].concat();
        let all: Vec<u8> = (0..12_000).flat_map(|n| frame(&payload(n))).collect();
        // 50 MB fit no queue: the writing comes to a halt, and does not move for a while.
        client.set_write_timeout(Some(Duration::from_millis(500))).unwrap();
        let mut written = 0;
        while written < all.len() {
            match client.write(&all[written..]) {
                Ok(len) => written += len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // With a time limit the system does not go on by itself after a machine has stood still.
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error}"),
            }
        }
        assert!(written < all.len() / 2, "{program} took {written} bytes of one that reads none");
        let mut writer = client.try_clone().unwrap();
        writer.set_write_timeout(Some(PATIENCE)).unwrap();
        let rest = all[written..].to_vec();
        // Its end comes while answers are owed and the queue is full.
        let writer = std::thread::spawn(move || {
            writer.write_all(&rest).unwrap();
            writer.shutdown(Shutdown::Write).unwrap();
        });
        for n in 0..12_000 {
            assert_eq!(read_frame(&mut client), payload(n), "{program}");
        }
        assert_eq!(read_to_end(&mut client), b"");
        writer.join().unwrap();
        server.signal(libc::SIGINT);
        assert_eq!(server.end().code(), 0);
    }
}

/// As many descriptors as this process may have, for it and for the programs that it starts.
fn raise_descriptors() -> usize {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a plain system call that writes to `limit`.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    limit.rlim_cur = limit.rlim_max;
    // SAFETY: a plain system call that reads `limit`.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    usize::try_from(limit.rlim_cur).unwrap_or(usize::MAX)
}

/// 10,000 of them with `NP_LONG=1`: `--nocapture` shows what they cost.
#[test]
fn blocking_answers_very_many_connections_each_by_its_thread() {
    let wanted = if std::env::var_os("NP_LONG").is_some() { 10_000 } else { 300 };
    // The rest is for whatever else is open here and there.
    let count = wanted.min(raise_descriptors().saturating_sub(200));
    if count < wanted {
        skipped(&format!("only {count} of {wanted} connections: there are no more descriptors"));
    }
    let files = Files::new("very_many");
    let keys = "queueLength=4096\nmaxHandshakes=0\nmaxHandshakesPerAddress=0\n";
    let config = files.write("server.ini", &format!("[Port]\n{LOOPBACK}{keys}"));
    let (server, address) = listening(programs(), "blocking", &config);
    let before = (server.status("Threads"), server.status("VmRSS"));
    let mut clients: Vec<TcpStream> = (0..count).map(|_| framed(address)).collect();
    wait_until("a thread for each", || {
        server.status("Threads") >= before.0 + count as u64 || before.0 == 0
    });
    let payload = |round: u32, n: usize| format!("round {round} of client {n}").into_bytes();
    for round in 0..3 {
        for (n, client) in clients.iter_mut().enumerate() {
            client.write_all(&frame(&payload(round, n))).unwrap();
        }
        for (n, client) in clients.iter_mut().enumerate() {
            assert_eq!(read_frame(client), payload(round, n));
        }
    }
    let now = (server.status("Threads"), server.status("VmRSS"));
    println!("{count} connections: {} threads, {} KiB resident ({before:?} before)", now.0, now.1);
    drop(clients);
    wait_until("the ends of the threads", || server.status("Threads") <= before.0);
    server.signal(libc::SIGTERM);
    assert_eq!(server.end().code(), 0);
}

#[test]
fn workers_answers_others_while_one_callback_blocks() {
    let files = Files::new("workers");
    let config =
        files.write("workers.ini", &format!("[Runtime]\nworkerThreads=2\n[Port]\n{LOOPBACK}"));
    let line = files.write("line.txt", "a line\nanother\n");
    for (round, programs) in all_programs().enumerate() {
        let (server, address) = listening(programs, "workers", &config);
        let fifo = files.folder.join(format!("fifo{round}")).display().to_string();
        must(Command::new("mkfifo").arg(&fifo));
        let mut waiting = framed(address);
        // The second request waits behind the first, whose callback waits for a writer.
        waiting.write_all(&[frame(fifo.as_bytes()), frame(line.as_bytes())].concat()).unwrap();
        let mut other = framed(address);
        for _ in 0..3 {
            other.write_all(&frame(line.as_bytes())).unwrap();
            assert_eq!(read_frame(&mut other), b"a line");
        }
        other.write_all(&[frame(b"/nowhere"), frame(b"")].concat()).unwrap();
        assert_eq!((read_frame(&mut other), read_frame(&mut other)), (vec![], vec![]));
        std::fs::write(&fifo, "written at last\n").unwrap();
        assert_eq!(read_frame(&mut waiting), b"written at last");
        assert_eq!(read_frame(&mut waiting), b"a line");
        drop((waiting, other));
        server.signal(libc::SIGTERM);
        assert_eq!(server.end().code(), 0);
    }
}

#[test]
fn what_is_open_goes_on_while_the_servers_drain() {
    let files = Files::new("draining");
    let config = files.write("server.ini", &format!("[Port]\n{LOOPBACK}"));
    for program in ECHOING {
        let (server, address) = listening(programs(), program, &config);
        let mut client = greeted(address);
        server.signal(libc::SIGTERM);
        wait_until("the end of listening", || refuses(address));
        client.write_all(&frame(b"still here")).unwrap();
        assert_eq!(read_frame(&mut client), b"still here");
        drop(client);
        assert_eq!(server.end().code(), 0, "{program}");
    }
}

#[test]
fn client_prints_what_serve_sends_back() {
    for programs in all_programs() {
        let serve = Serve::start(programs, &["--port", "0"]);
        let port = serve.address(0).port().to_string();
        let ended = run(programs, "client", &["127.0.0.1", &port, "one", "", "two words"]);
        assert_eq!(ended.stdout, ["one", "", "two words"]);
        assert_eq!((ended.code(), ended.stderr.len()), (0, 0));
        let mut client =
            Running::start(programs, "client", &["localhost", &port, "--protocol", "3"]);
        client.input("a line\nanother");
        assert_eq!(client.end().stdout, ["a line", "another"]);
    }
}

#[test]
fn client_tells_clearly_what_went_wrong() {
    let (listener, port) = taken_port();
    let client = Running::start(programs(), "client", &["127.0.0.1", &port.to_string(), "x"]);
    drop(listener.accept().unwrap());
    let ended = client.end();
    assert_eq!(ended.code(), 1);
    assert_eq!(ended.stderr.len(), 1, "{ended:?}");
    // Bound and not listening: nobody else gets the port, and nobody answers on it.
    let silent = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    silent.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let port = silent.local_addr().unwrap().as_socket().unwrap().port().to_string();
    let ended = run(programs(), "client", &["127.0.0.1", &port, "x"]);
    assert_eq!(ended.stderr, [format!("client: 127.0.0.1 port {port}: Connection refused")]);
    assert_eq!(ended.code(), 1);
    for arguments in [&["localhost"][..], &["localhost", "1", "--protocol", "2"]] {
        let ended = run(programs(), "client", arguments);
        assert_eq!(ended.stderr, ["usage: client HOST PORT [--protocol 1|3] [TEXT ...]"]);
        assert_eq!(ended.code(), 2);
    }
}

// ---- serve: starting ----

#[test]
fn serve_demo_listens_with_and_without_tls_on_free_ports() {
    for programs in all_programs() {
        let serve = Serve::start(programs, &["--demo"]);
        let (secure, plain) = (serve.address(0), serve.address(1));
        assert_eq!(
            serve.listening,
            [
                format!("listening Port.secure {secure} tls=auto"),
                format!("listening Port.plain {plain} tls=no"),
            ]
        );
        assert!(serve.running.error_line().starts_with("demo:12: [TLS] selfSigned: warning: "));
        greeted(secure);
        greeted(plain);
    }
}

#[test]
fn serve_tells_a_line_for_every_socket_and_warnings_a_line_each() {
    let files = Files::new("listening");
    let (certificate, key) = files.identity("identity");
    let config = files.write(
        "serve.ini",
        &format!(
            "[pOrt 7]\nport=0\nbindAddress=127.0.0.2, 127.0.0.1\nmaxFramSize=1\n\
             [Port.b]\n{LOOPBACK}sslSection=T\n[T]\ncertificate={certificate}\nprivateKey={key}\n"
        ),
    );
    let serve = Serve::start(programs(), &["--config", &config]);
    let ports = [0, 1, 2].map(|n| serve.address(n).port());
    assert_eq!(ports[0], ports[1]);
    assert_eq!(
        serve.listening,
        [
            format!("listening pOrt 7 127.0.0.2:{} tls=no", ports[0]),
            format!("listening pOrt 7 127.0.0.1:{} tls=no", ports[0]),
            format!("listening Port.b 127.0.0.1:{} tls=yes", ports[2]),
        ]
    );
    let warning = serve.running.error_line();
    assert!(warning.starts_with(&format!("{config}:4: [pOrt 7] maxFramSize: warning: ")));
    serve.running.signal(libc::SIGTERM);
    let ended = serve.running.end();
    assert_eq!((ended.code(), ended.stderr.len()), (0, 0), "{ended:?}");
}

#[test]
fn serve_shows_one_dual_stack_socket_with_brackets() {
    let files = Files::new("dual");
    let config = files.write("serve.ini", "[Port]\nport=0\n");
    let serve = Serve::start(programs(), &["--config", &config]);
    let address = serve.address(0);
    assert_eq!(serve.listening, [format!("listening Port {address} tls=no")]);
    if address.is_ipv6() {
        assert!(serve.listening[0].contains(" [::]:"));
        greeted(SocketAddr::from(([127, 0, 0, 1], address.port())));
    } else {
        skipped("there is no IPv6 here, a dual-stack socket was not tried");
    }
}

#[test]
fn serve_tells_wrong_usage_in_one_line_and_exits_with_2() {
    let missing = "nothing to serve: --config FILE, --port N or --demo is missing";
    let number = |name, value, range| format!("{name} '{value}' is no number from {range}");
    for (arguments, message) in [
        (&[][..], missing.to_owned()),
        (&["--check"], missing.to_owned()),
        (&["--bogus"], "unknown option --bogus".to_owned()),
        (&["file.ini"], "unknown option file.ini".to_owned()),
        (&["--config"], "a value is missing after --config".to_owned()),
        (&["--port", "x"], number("--port", "x", "0 to 65535")),
        (&["--port", "65536"], number("--port", "65536", "0 to 65535")),
        (&["--port", "0", "--threads", "0"], number("--threads", "0", "1 to 1024")),
        (&["--demo", "--drain", "-1"], number("--drain", "-1", "0 to 86400")),
        (&["--demo", "--check"], "only --config can have --check".to_owned()),
        (&["--demo", "--threads", "2"], "only --port can have --threads".to_owned()),
        (&["--port", "0", "--tls-cert", "x"], "--tls-cert needs --tls-key".to_owned()),
        (&["--port", "0", "--tls-key", "x"], "--tls-key needs --tls-cert".to_owned()),
        (
            &["--port", "0", "--demo"],
            "only one of --config, --port and --demo can be given, not also --demo".to_owned(),
        ),
    ] {
        let ended = run(programs(), "serve", arguments);
        assert_eq!(ended.stderr, [format!("serve: {message}; serve --help shows the usage")]);
        assert_eq!((ended.code(), ended.stdout.len()), (2, 0), "{arguments:?}");
    }
    let help = run(programs(), "serve", &["--help"]);
    assert_eq!((help.code(), help.stderr.len()), (0, 0));
    assert!(help.stdout[0].starts_with("usage: serve --config FILE"));
}

/// Runs serve, which must exit with 2 after this single line on stderr.
fn refused(arguments: &[&str], line: &str) {
    let ended = run(programs(), "serve", arguments);
    assert_eq!(ended.stderr.len(), 1, "{ended:?}");
    assert_eq!(ended.stderr[0], line);
    assert_eq!((ended.code(), ended.stdout.len()), (2, 0), "{ended:?}");
}

#[test]
fn serve_tells_a_taken_port_and_starts_none() {
    let files = Files::new("taken");
    let (_listener, taken) = taken_port();
    let config = files.write(
        "serve.ini",
        &format!("[Port]\n{LOOPBACK}[Port 2]\nport={taken}\nbindAddress=127.0.0.1\n"),
    );
    let in_use = format!(
        "cannot listen on 127.0.0.1 port {taken}: Address already in use (os error {}); \
         another program listens there (`ss -ltnp` names it): end that, or set another port",
        libc::EADDRINUSE
    );
    refused(&["--config", &config], &format!("{config}:5: [Port 2] port: error: {in_use}"));
    refused(
        &["--port", &taken.to_string()],
        &format!("set by the program: [Port] port: error: {in_use}"),
    );
    // Checking binds nothing.
    assert_eq!(run(programs(), "serve", &["--config", &config, "--check"]).stdout, ["ok"]);
}

#[test]
fn serve_tells_an_address_that_is_not_there() {
    let files = Files::new("address");
    let config = files.write("serve.ini", "[Port]\nport=0\nbindAddress=192.0.2.1\n");
    refused(
        &["--config", &config],
        &format!(
            "{config}:3: [Port] bindAddress: error: cannot listen on 192.0.2.1 port 0: \
             Cannot assign requested address (os error {}); \
             valid: an address of this machine (`ip address`)",
            libc::EADDRNOTAVAIL
        ),
    );
}

#[test]
fn serve_tells_what_is_wrong_with_a_file_with_and_without_check() {
    let files = Files::new("file");
    let both = |config: &str, line: String| {
        refused(&["--config", config], &line);
        refused(&["--config", config, "--check"], &line);
    };
    let config = files.write("no_port.ini", "[Runtime]\n[Portal]\nport=1\n");
    both(
        &config,
        format!(
            "{config}: error: there is no port section; valid: [Port] with port = a number \
             from 0 to 65535"
        ),
    );
    let config = files.write("unclosed.ini", "[Port\nport=0\n");
    both(
        &config,
        format!(
            "{config}:1: error: the header '[Port' does not end with its ']'; valid: [Name] \
             alone on the line; comments need a line of their own"
        ),
    );
    let config = files.folder.join("missing.ini").display().to_string();
    both(
        &config,
        format!(
            "{config}: error: the configuration file cannot be read: No such file or directory \
             (os error 2); valid: the path of a text file that this process may read"
        ),
    );
}

#[test]
fn serve_checks_a_file_without_binding_and_tells_every_finding() {
    let files = Files::new("check");
    let good = files.write("good.ini", &format!("[Port]\n{LOOPBACK}maxFramSize=1\n"));
    let ended = run(programs(), "serve", &["--config", &good, "--check"]);
    assert_eq!((ended.code(), ended.stdout, ended.stderr.len()), (0, vec!["ok".into()], 1));
    let bad = files.write("bad.ini", "[Port]\nport=x\nmaxFramSize=1\nqueueLength=-1\n");
    let ended = run(programs(), "serve", &["--config", &bad, "--check"]);
    assert_eq!((ended.code(), ended.stdout.len()), (2, 0));
    let places: Vec<&str> =
        ended.stderr.iter().map(|line| line.split(": ").nth(1).unwrap()).collect();
    assert_eq!(places, ["[Port] port", "[Port] maxFramSize", "[Port] queueLength"]);
}

#[test]
fn serve_tells_a_certificate_or_key_that_cannot_be_used() {
    use std::os::unix::fs::PermissionsExt;
    let files = Files::new("identity");
    let (certificate, key) = files.identity("one");
    let (_, other) = files.identity("other");
    let missing = files.folder.join("missing.pem").display().to_string();
    let tells = |certificate: &str, key: &str, place: &str, words: &str| {
        let arguments = ["--port", "0", "--tls-cert", certificate, "--tls-key", key];
        let ended = run(programs(), "serve", &arguments);
        assert_eq!((ended.code(), ended.stdout.len(), ended.stderr.len()), (2, 0, 1), "{ended:?}");
        let begins = format!("set by the program: [TLS] {place}: error: {words}");
        assert!(ended.stderr[0].starts_with(&begins), "{}\n{begins}", ended.stderr[0]);
    };
    tells(&missing, &key, "certificate", &format!("{missing}: the file does not exist"));
    tells(
        &certificate,
        &other,
        "privateKey",
        &format!("{other}: the private key does not belong to the certificate in {certificate}"),
    );
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    tells(
        &certificate,
        &key,
        "privateKey",
        &format!("{key}: every user can read or change this private key (mode 0644); "),
    );
}

// ---- serve: frames ----

#[test]
fn serve_echoes_both_protocols_and_closes_relays() {
    let files = Files::new("frames");
    let config = files.write("serve.ini", &format!("[Port]\n{LOOPBACK}"));
    let serve = Serve::start(programs(), &["--config", &config]);
    let address = serve.address(0);
    greeted(address);
    assert_eq!(exchange(address, b"\x02abc"), b"");
    // Compressed by the port's settings: the example of the protocol, there and back.
    let mut application = connect(address);
    application.write_all(b"\x03").unwrap();
    assert_eq!(read_exact(&mut application, 1), [1]);
    application.write_all(&frame(&[b'a'; 600])).unwrap();
    let word = u32::from_be_bytes(read_exact(&mut application, 4).try_into().unwrap());
    assert_eq!(word >> 31, 1);
    let wire = read_exact(&mut application, (word & 0x7fff_ffff) as usize);
    let mut payload = Vec::new();
    flate2::read::ZlibDecoder::new(&wire[..]).read_to_end(&mut payload).unwrap();
    assert_eq!(payload, [b'a'; 600]);
    status_when(address, "the relay's end", |now| now.number("closes.no_handler") == 1);
}

#[test]
fn serve_port_answers_raw_and_with_tls_if_asked() {
    let files = Files::new("port");
    let (certificate, key) = files.identity("identity");
    let serve = Serve::start(programs(), &["--port", "0", "--threads", "1"]);
    let address = serve.address(0);
    assert_eq!(serve.listening, [format!("listening Port {address} tls=no")]);
    let mut client = framed(address);
    client.write_all(&frame(&[b'a'; 4096])).unwrap();
    assert_eq!(read_frame(&mut client), [b'a'; 4096]);
    let secure = ["--port", "0", "--tls-cert", &certificate, "--tls-key", &key];
    let serve = Serve::start(programs(), &secure);
    assert!(serve.listening[0].ends_with(" tls=yes"));
}

// ---- serve: the web ----

#[test]
fn the_page_shows_the_state_and_needs_nothing_from_elsewhere() {
    let serve = Serve::start(programs(), &["--demo"]);
    let address = serve.address(1);
    let _client = greeted(address);
    let page = get(address, "/");
    assert_eq!(page.status, 200);
    assert_eq!(page.field("Content-Type"), Some("text/html; charset=utf-8"));
    let body = &page.body;
    for needed in [
        "<!DOCTYPE html>",
        "name=\"viewport\"",
        "<noscript><meta http-equiv=\"refresh\"",
        "prefers-color-scheme:dark",
        "fetch('/status.json'",
        "<polyline",
        "Port.secure",
        &address.to_string(),
        "<span data-count=\"open.client\">1</span>",
    ] {
        assert!(body.contains(needed), "{needed} is missing");
    }
    for foreign in ["http://", "https://", "src=", "@import", "url("] {
        assert!(!body.contains(foreign), "{foreign} is in the page");
    }
}

#[test]
fn the_page_escapes_what_the_file_says() {
    let files = Files::new("escapes");
    let config = files.write("serve.ini", &format!("[Port.<b>&\"'\\]\n{LOOPBACK}"));
    let serve = Serve::start(programs(), &["--config", &config]);
    let address = serve.address(0);
    let page = get(address, "/").body;
    assert!(page.contains("Port.&lt;b&gt;&amp;&quot;&#39;\\"), "{page}");
    assert!(!page.contains("<b>&"));
    let status = Json::read(&get(address, "/status.json").body);
    assert_eq!(status.text("ports.0.section"), "Port.<b>&\"'\\");
}

#[test]
fn status_json_counts_what_happened() {
    let serve = Serve::start(programs(), &["--demo"]);
    let address = serve.address(1);
    let client = greeted(address);
    let status = status_when(address, "the echo", |now| now.number("total.frames_sent") == 1);
    assert_eq!(status.number("total.frames_received"), 1);
    assert_eq!(status.number("total.bytes_unsent"), 0);
    assert_eq!(status.number("open.client"), 1);
    assert_eq!(status.number("opened.client"), 1);
    assert!(status.number("open.unknown") >= 1);
    assert_eq!(status.text("ports.0.section"), "Port.secure");
    assert_eq!(status.text("ports.0.tls"), "auto");
    assert_eq!(status.text("ports.1.addresses.0"), address.to_string());
    assert_eq!(status.number("ports.0.open"), 0);
    // What selfSigned makes ends in 4096.
    assert!(status.number("ports.0.certificate_days_left") > 365_000);
    assert_eq!(*status.at("ports.1.certificate_days_left"), Json::Word("null".to_owned()));
    let days = status.number("ports.0.certificate_days_left");
    assert_eq!(status.number("certificate_days_left"), days);
    let page = get(address, "/").body;
    let left = format!(
        "<small data-days=\"ports.0.certificate_days_left\">certificate: {days} days left</small>"
    );
    assert!(page.contains(&left) && page.matches("<small data-days").count() == 1, "{page}");
    assert!(status.number("ports.1.open") >= 2);
    let Json::List(history) = status.at("history.bytes_sent") else { panic!() };
    assert_eq!(history.len(), 300);
    drop(client);
    status_when(address, "the client's end", |now| now.number("closes.peer_closed") == 1);
    status_when(address, "the second of the frame", |now| {
        let Json::List(history) = now.at("history.frames_received") else { panic!() };
        history.contains(&Json::Number(1.0))
    });
}

#[test]
fn metrics_are_in_the_text_format_of_prometheus() {
    let serve = Serve::start(programs(), &["--demo"]);
    let address = serve.address(1);
    let _client = greeted(address);
    status_when(address, "the frame", |now| now.number("total.frames_received") == 1);
    let metrics = get(address, "/metrics");
    assert_eq!(metrics.field("Content-Type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    for line in metrics.body.lines().filter(|line| !line.starts_with('#')) {
        let (_, value) = line.rsplit_once(' ').unwrap();
        assert!(value.parse::<f64>().is_ok(), "{line}");
    }
    let frames = "nativeport_frames_received_total{";
    let mut lines = metrics.body.lines();
    assert!(lines.any(|line| line.starts_with(frames) && line.ends_with(" 1")));
    assert!(metrics.body.contains("reason=\"peer_closed\""));
}

#[test]
fn other_methods_paths_and_requests_get_their_status() {
    let serve = Serve::start(programs(), &["--demo"]);
    let address = serve.address(1);
    assert_eq!(request(address, "HEAD", "/").status, 200);
    assert_eq!(request(address, "HEAD", "/status.json").status, 200);
    assert_eq!(get(address, "/?query").status, 200);
    assert_eq!(get(address, "http://localhost/metrics").status, 200);
    assert_eq!(get(address, "http://localhost").status, 200);
    assert_eq!(get(address, "/favicon.ico").status, 404);
    assert_eq!(get(address, "/status.jso").status, 404);
    let refused = request(address, "POST", "/");
    assert_eq!((refused.status, refused.field("Allow")), (405, Some("GET, HEAD")));
    let status = |bytes: &[u8]| answer(&exchange(address, bytes), false).status;
    assert_eq!(status(b"GET / HTTP/1.0\n\n"), 200);
    assert_eq!(status(b"GET /\r\n\r\n"), 400);
    assert_eq!(status(b"GET / HTTP/2.0\r\n\r\n"), 400);
    assert_eq!(status(b"HELLO\r\n\r\n"), 400);
}

#[test]
fn a_request_may_come_byte_by_byte() {
    let serve = Serve::start(programs(), &["--demo"]);
    let mut stream = connect(serve.address(1));
    for byte in b"GET /status.json HTTP/1.1\r\nHost: x\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    Json::read(&answer(&read_to_end(&mut stream), false).body);
}

#[test]
fn a_head_of_16_kib_is_answered_and_a_longer_one_closed() {
    let serve = Serve::start(programs(), &["--demo"]);
    let address = serve.address(1);
    let head = |len: usize| {
        let (begin, end) = ("GET / HTTP/1.1\r\nX: ", "\r\n\r\n");
        [begin, &"x".repeat(len - begin.len() - end.len()), end].concat().into_bytes()
    };
    assert_eq!(answer(&exchange(address, &head(16_384)), false).status, 200);
    assert_eq!(exchange(address, &head(16_385)), b"");
    // Not even its end is waited for.
    assert_eq!(exchange(address, &[b'A'; 16_384]), b"");
}

#[test]
fn half_a_request_and_other_first_bytes_are_closed_at_once() {
    let serve = Serve::start(programs(), &["--demo"]);
    let address = serve.address(1);
    let mut stream = connect(address);
    stream.write_all(b"GET / HTTP/1.1\r\nHost:").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(read_to_end(&mut stream), b"");
    for first in [0, 4, b'@', b'[', b'a', b' ', 255] {
        assert_eq!(exchange(address, &[first]), b"", "{first}");
    }
    // The peer of the first one had ended its output.
    let status = status_when(address, "8 ends", |now| {
        now.number("closes.host_closed") + now.number("closes.peer_closed") >= 8
    });
    assert_eq!(status.number("closes.host_deadline"), 0);
}

#[test]
fn an_incomplete_request_is_closed_after_10_seconds() {
    let serve = Serve::start(programs(), &["--demo"]);
    let address = serve.address(1);
    let begun = Instant::now();
    assert_eq!(exchange(address, b"GET / HTTP/1.1\r\nHost: x\r\n"), b"");
    assert!(begun.elapsed() >= Duration::from_millis(9_900), "{:?}", begun.elapsed());
    status_when(address, "the end", |now| now.number("closes.host_deadline") == 1);
}

#[test]
fn curl_reaches_the_page_with_and_without_tls_on_one_port() {
    if !exists("curl") {
        return skipped("curl is not installed");
    }
    let serve = Serve::start(programs(), &["--demo"]);
    let address = serve.address(0);
    for scheme in ["http", "https"] {
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--fail", "--insecure", "--max-time", "600"]);
        let output = must(curl.arg(format!("{scheme}://{address}/status.json")));
        Json::read(std::str::from_utf8(&output.stdout).unwrap());
    }
}

#[test]
fn openssl_gets_the_page() {
    // Not --version, which openssl does not know in all its versions.
    if Command::new("openssl").arg("version").output().is_err() {
        return skipped("openssl is not installed");
    }
    let serve = Serve::start(programs(), &["--demo"]);
    let mut command = Command::new("openssl");
    command.args(["s_client", "-quiet", "-connect", &serve.address(0).to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut openssl = command.spawn().unwrap();
    // Kept open: at its end openssl would end before the answer.
    let mut stdin = openssl.stdin.take().unwrap();
    stdin.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
    let output = openssl.wait_with_output().unwrap();
    assert_eq!(answer(&output.stdout, false).status, 200);
}

// ---- serve: the end ----

/// Tells serve to end and waits until it has begun to.
fn begin_end(serve: &Serve, signal: i32) {
    serve.running.signal(signal);
    let address = serve.address(0);
    wait_until("the end of listening", || refuses(address));
}

#[test]
fn sigterm_and_sigint_end_an_idle_serve() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let serve = Serve::start(programs(), &["--port", "0"]);
        serve.running.signal(signal);
        let ended = serve.running.end();
        assert_eq!((ended.code(), ended.stdout), (0, vec!["drained 0".to_owned()]));
        assert_eq!(ended.stderr.len(), 0, "{:?}", ended.stderr);
    }
}

#[test]
fn open_connections_go_on_while_serve_drains() {
    let serve = Serve::start(programs(), &["--port", "0", "--drain", "60"]);
    let (mut first, second) = (greeted(serve.address(0)), greeted(serve.address(0)));
    begin_end(&serve, libc::SIGTERM);
    first.write_all(&frame(b"still here")).unwrap();
    assert_eq!(read_frame(&mut first), b"still here");
    drop((first, second));
    let ended = serve.running.end();
    assert_eq!((ended.code(), ended.stdout), (0, vec!["drained 2".to_owned()]));
}

#[test]
fn the_drain_deadline_cuts_what_is_left() {
    let serve = Serve::start(programs(), &["--port", "0", "--drain", "1"]);
    let mut client = greeted(serve.address(0));
    let begun = Instant::now();
    serve.running.signal(libc::SIGINT);
    read_to_end(&mut client);
    let ended = serve.running.end();
    assert!(begun.elapsed() >= Duration::from_millis(900), "{:?}", begun.elapsed());
    assert_eq!((ended.code(), ended.stdout), (0, vec!["drained 1 cut 1".to_owned()]));
}

#[test]
fn a_second_signal_ends_serve_at_once() {
    for signal in [libc::SIGTERM, libc::SIGINT] {
        let serve = Serve::start(programs(), &["--port", "0", "--drain", "3600"]);
        let _client = greeted(serve.address(0));
        begin_end(&serve, libc::SIGTERM);
        serve.running.signal(signal);
        let ended = serve.running.end();
        assert_eq!(ended.status.signal(), Some(signal));
        assert_eq!(ended.stdout.len(), 0);
    }
}
