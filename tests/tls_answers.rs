//! What TLS peers are answered, and what the log says: with clients of other makers, and with bytes that none
//! of them sends.

mod support;

use nativeport::config::Config;
use nativeport::event::{Event, Protocol};
use nativeport::listener::Listener;
use nativeport::log::{Level, Record, Sink};
use nativeport::runtime::{Consumer, Runtime};
use nativeport::status::CloseReason;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex};
use support::*;

/// The lines about ends.
struct Ends(Arc<Mutex<Vec<String>>>);

impl Sink for Ends {
    fn log(&mut self, record: &Record<'_>) {
        if record.text.contains(" closed: ") {
            self.0.lock().unwrap().push(record.text.to_owned());
        }
    }
}

/// A port with TLS that echoes frames and streams.
struct Served {
    address: SocketAddr,
    lines: Arc<Mutex<Vec<String>>>,
    _listener: Listener,
    _runtime: Runtime,
}

impl Served {
    fn with(tls_keys: &str) -> Served {
        let text = format!(
            "[Port]\nport=0\nbindAddress=127.0.0.1\nsslSection=Tls\n{TLS_SECTION}\n{tls_keys}\n"
        );
        let mut config = Config::new();
        config.load_string(text.as_bytes(), "file.ini").unwrap();
        // Records of the log are events where events are polled, and a failed handshake has no others.
        let runtime = Runtime::with_consumer(&config, Consumer::Callbacks).unwrap();
        let lines = Arc::new(Mutex::new(Vec::new()));
        runtime.set_log(Level::Info, Some(Box::new(Ends(lines.clone())))).unwrap();
        let listener = Listener::new(&runtime, &config, 0).unwrap();
        let (handler, _log) = recorder(false, |conn, event| {
            if let Event::Data(data) = event {
                let _ = conn.send_bytes(data);
            }
        });
        listener.on(Protocol::Unknown, handler).unwrap();
        listener.start().unwrap();
        let address = listener.addresses()[0];
        Served { address, lines, _listener: listener, _runtime: runtime }
    }

    /// The only line about an end, without what is different each time.
    fn line(&self) -> String {
        wait_until("the line", || !self.lines.lock().unwrap().is_empty());
        let mut lines = self.lines.lock().unwrap();
        assert_eq!(lines.len(), 1, "{lines:?}");
        let line = lines.remove(0);
        assert!(!line.contains(char::is_control), "{line:?}");
        let (_, line) = line.split_once(" closed: ").unwrap();
        line.to_owned()
    }
}

/// True if the program is missing, which is said.
fn is_missing(program: &str, version: &str) -> bool {
    let missing = Command::new(program).arg(version).output().is_err();
    if missing {
        println!("skipped: {program} is not installed");
    }
    missing
}

#[test]
fn a_renegotiation_that_openssl_asks_for_is_named_in_the_log() {
    if is_missing("openssl", "version") {
        return;
    }
    let served = Served::with("");
    let mut command = Command::new("openssl");
    command.args(["s_client", "-tls1_2", "-connect", &served.address.to_string()]);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut openssl = command.spawn().unwrap();
    let mut stdin = openssl.stdin.take().unwrap();
    let mut stdout = openssl.stdout.take().unwrap();
    // It looks for its command in each piece that it reads: the first one must be through.
    stdin.write_all(b"GET ").unwrap();
    let mut seen = Vec::new();
    while !seen.ends_with(b"GET ") {
        let mut bytes = [0; 1024];
        let read = stdout.read(&mut bytes).unwrap();
        assert!(read > 0, "{}", String::from_utf8_lossy(&seen));
        seen.extend_from_slice(&bytes[..read]);
    }
    stdin.write_all(b"R\n").unwrap();
    let line = served.line();
    assert!(line.starts_with("tls_failed in open "), "{line}");
    for part in [
        "the peer asked for a renegotiation (a new handshake) on TLS 1.2, which does not exist here",
        "answered no_renegotiation (100); switch it off in the peer, or use TLS 1.3",
        "then sent the alert HandshakeFailure (40)",
    ] {
        assert!(line.contains(part), "{line}");
    }
    drop(stdin);
    let output = openssl.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("no renegotiation"), "{errors}");
}

#[test]
fn pythons_client_is_told_that_no_protocol_is_in_common_or_goes_on_without() {
    if is_missing("python3", "--version") {
        return;
    }
    const CLIENT: &str = "
import socket, ssl, sys
context = ssl.create_default_context(); context.check_hostname = False; context.verify_mode = ssl.CERT_NONE
context.maximum_version = getattr(ssl.TLSVersion, sys.argv[2])
context.set_alpn_protocols(sys.argv[3:])
raw = socket.create_connection(('127.0.0.1', int(sys.argv[1])))
try: s = context.wrap_socket(raw)
except OSError as error: print(str(error).lower().replace('_', ' ')); sys.exit()
print('agreed:', s.selected_alpn_protocol())
try: s.unwrap()
except OSError: pass
";
    let client = |served: &Served, version: &str, protocols: &[&str]| {
        let port = served.address.port().to_string();
        let mut command = Command::new("python3");
        command.args(["-c", CLIENT, &port, version]).args(protocols);
        let output = command.output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        said.lines().next().unwrap().to_owned()
    };
    for version in ["TLSv1_2", "TLSv1_3"] {
        let served = Served::with("alpn = np/1, http/1.1");
        assert_eq!(client(&served, version, &["http/1.1", "h2"]), "agreed: http/1.1");
        served.line();
        let said = client(&served, version, &["h2"]);
        assert!(said.contains("alert no application protocol"), "{said}");
        let line = served.line();
        assert!(line.starts_with("tls_failed in tls "), "{line}");
        assert!(
            line.ends_with(
                "the peer offers \"h2\", this port has \"np/1\", \"http/1.1\"; add one of the peer's to alpn, or set alpnMismatch = continue to go on without"
            ),
            "{line}"
        );
        let served = Served::with("alpn = np/1\nalpnMismatch = continue");
        assert_eq!(client(&served, version, &["h2"]), "agreed: None");
    }
}

#[test]
fn a_first_record_of_another_kind_is_named_in_the_log_and_answered() {
    let cases: [(&[u8], &[u8], &str); 4] = [
        (
            &[21, 3, 1, 0, 2, 2, 40],
            b"",
            "the peer sent the alert HandshakeFailure (40) instead of a ClientHello",
        ),
        (
            &[20, 3, 3, 0, 1, 1],
            &[21, 3, 3, 0, 2, 2, 10],
            "the peer sent change_cipher_spec instead of a ClientHello",
        ),
        (&[23, 3, 3, 0, 32, 7], &[21, 3, 3, 0, 2, 2, 10], "a load balancer that moves connections"),
        (
            b"GET / HTTP/1.1\r\nX: \r\n\r\n",
            &[21, 3, 3, 0, 2, 2, 50],
            "the peer sent plain HTTP instead of TLS",
        ),
    ];
    let served = Served::with("");
    for (bytes, answer, text) in cases {
        let mut client = connect(served.address);
        client.write_all(bytes).unwrap();
        assert_eq!(read_to_end(&mut client), answer, "{text}");
        let line = served.line();
        assert!(line.starts_with("tls_failed in tls ") && line.contains(text), "{line}");
    }
}

/// Its first flight goes in records of a byte each.
struct Dribbling(TcpStream, bool);

impl Read for Dribbling {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(bytes)
    }
}

impl Write for Dribbling {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        if std::mem::replace(&mut self.1, false) {
            for byte in &bytes[5..] {
                self.0.write_all(&[22, 3, 1, 0, 1, *byte])?;
            }
        } else {
            self.0.write_all(bytes)?;
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_client_whose_hello_comes_in_records_of_a_byte_is_served() {
    let served = Served::with("");
    let stream = connect(served.address);
    stream.set_nodelay(true).unwrap();
    let name = "localhost".try_into().unwrap();
    let conn = rustls::ClientConnection::new(tls_config(), name).unwrap();
    let mut client = rustls::StreamOwned::new(conn, Dribbling(stream, true));
    client.write_all(b"Grace").unwrap();
    assert_eq!(read_exact(&mut client, 5), b"Grace");
}

#[test]
fn a_server_name_cannot_write_lines_of_its_own_into_the_log() {
    let served = Served::with("");
    let mut conn =
        rustls::ClientConnection::new(tls_config(), "a-name-to-replace".try_into().unwrap())
            .unwrap();
    let mut hello = Vec::new();
    conn.write_tls(&mut hello).unwrap();
    let at = hello.windows(17).position(|w| w == b"a-name-to-replace").unwrap();
    hello[at..at + 17].copy_from_slice(b"a\r\nFAKE\x1b[31m LINE");
    let mut client = connect(served.address);
    client.write_all(&hello).unwrap();
    assert_eq!(read_to_end(&mut client), [21, 3, 3, 0, 2, 2, 47]);
    let line = served.line();
    assert!(line.contains(r#"is no host name: "a\r\nFAKE\u{1b}[31m LINE";"#), "{line}");
}

// The end of a stream without close_notify.

const TOLERANT: &str = "compression=off\nsslSection=Tls\nrequireCloseNotify=no";

#[test]
fn an_end_without_close_notify_is_told_where_the_port_does_not_require_one() {
    let (handler, log) = recorder(true, |_, _| {});
    let server = server(TOLERANT, TLS_SECTION, |listener| {
        listener.on(Protocol::Unknown, handler.clone()).unwrap();
        listener.on(Protocol::Client, handler).unwrap();
    });
    for is_framed in [false, true] {
        let mut client =
            if is_framed { tls_framed(server.address) } else { tls_connect(server.address) };
        let conn = if is_framed {
            let conn = log.opened();
            client.write_all(&frame(b"last")).unwrap();
            assert_eq!(log.frame(), b"last");
            conn
        } else {
            client.write_all(b"Gone").unwrap();
            let conn = log.opened();
            assert_eq!(log.data(4), b"Gone");
            conn
        };
        client.sock.shutdown(Shutdown::Write).unwrap();
        assert_eq!(log.next(), Told::End(conn));
        // As after any half-close, the host may answer.
        if is_framed {
            conn.send_frame(b"answer", Default::default()).unwrap();
        } else {
            conn.send_bytes(b"answer").unwrap();
        }
        conn.close(4).unwrap();
        let Told::Closed(_, info) = log.next() else { panic!() };
        assert_eq!(info.reason, CloseReason::PeerClosed);
        let expected = if is_framed { frame(b"answer") } else { b"answer".to_vec() };
        assert_eq!(read_to_end(&mut client), expected);
    }
}

#[test]
fn a_host_that_takes_no_ends_sees_it_as_the_peers_close() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server(TOLERANT, TLS_SECTION, |listener| {
        listener.on(Protocol::Unknown, handler.clone()).unwrap();
        listener.on(Protocol::Client, handler).unwrap();
    });
    let mut client = tls_connect(server.address);
    client.write_all(b"G").unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    log.opened();
    assert_eq!(log.data(1), b"G");
    assert_eq!(log.closed().reason, CloseReason::PeerClosed);
    let client = tls_framed(server.address);
    client.sock.shutdown(Shutdown::Write).unwrap();
    log.opened();
    assert_eq!(log.closed().reason, CloseReason::PeerClosed);
}

#[test]
fn what_is_cut_stays_an_error_where_no_close_notify_is_required() {
    let (handler, log) = recorder(true, |_, _| {});
    let server = server(TOLERANT, TLS_SECTION, |listener| {
        listener.on(Protocol::Unknown, handler.clone()).unwrap();
        listener.on(Protocol::Client, handler).unwrap();
    });
    // A record of a stream; a header of one; a frame in whole records.
    for cut in [&[23, 3, 3, 0, 40, 1, 2][..], &[23, 3]] {
        let mut client = tls_connect(server.address);
        client.write_all(b"G").unwrap();
        log.opened();
        assert_eq!(log.data(1), b"G");
        client.sock.write_all(cut).unwrap();
        client.sock.shutdown(Shutdown::Write).unwrap();
        let Told::Closed(_, info) = log.next() else { panic!("the end was told") };
        assert_eq!(info.reason, CloseReason::Truncated);
    }
    let mut client = tls_framed(server.address);
    client.write_all(&[0, 0, 0, 9, b'x']).unwrap();
    client.sock.shutdown(Shutdown::Write).unwrap();
    log.opened();
    let Told::Closed(_, info) = log.next() else { panic!("the end was told") };
    assert_eq!(info.reason, CloseReason::Truncated);
}
