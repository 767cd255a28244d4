//! One C host, `tests/c/consumers.c`, over each way of consuming events: callbacks, workers,
//! polls, and the inbox under each of them; plain and with TLS. Where a way differs by design,
//! the test says so.
//!
//! `NP_CONSUMERS_PROGRAM` names one that is built already, as scripts/sanitize has it.

mod c_programs;
mod support;

use c_programs::{build_c, exists, folder, root, skipped};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;
use support::*;

/// A way of consuming events, and over what.
#[derive(Clone)]
struct Way {
    mode: &'static str,
    secure: bool,
    /// What runs the host, and its program.
    command: Vec<PathBuf>,
}

fn program() -> PathBuf {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    let program = PROGRAM.get_or_init(|| match std::env::var_os("NP_CONSUMERS_PROGRAM") {
        Some(built) => built.into(),
        None => build_c("consumers", &source(), &["-g"]),
    });
    program.clone()
}

fn source() -> PathBuf {
    root().join("tests/c/consumers.c")
}

impl Way {
    fn new(mode: &'static str, secure: bool) -> Way {
        Way { mode, secure, command: vec![program()] }
    }

    /// The host's input is taken from the inbox by threads of its own.
    fn is_inbox(&self) -> bool {
        self.mode.starts_with("inbox")
    }

    /// The host's threads poll, and consume what they polled.
    fn is_polled(&self) -> bool {
        self.mode == "poll"
    }

    /// The host sends from inside of callbacks, where a send is always taken.
    fn sends_in_callbacks(&self) -> bool {
        ["callbacks", "workers"].contains(&self.mode)
    }

    /// A host with these options, and keys of its port.
    fn host(&self, options: &str, keys: &str) -> Host {
        let tls =
            if self.secure { ["sslSection=TLS", "[TLS]\nselfSigned=localhost"] } else { [""; 2] };
        let ini = format!(
            "[Runtime]\nioThreads=2\nworkerThreads=2\n\
             [Port]\nport=0\nbindAddress=127.0.0.1\n{keys}\n{}\n{}\n",
            tls[0], tls[1]
        );
        let mut command = Command::new(&self.command[0]);
        command.args(&self.command[1..]).args([self.mode, &ini, options]);
        Host::start(command, self.secure)
    }
}

/// The running program. What it says is waited for, whatever else it says before.
struct Host {
    child: Child,
    input: ChildStdin,
    lines: Receiver<String>,
    heard: Vec<String>,
    address: SocketAddr,
    secure: bool,
    /// Its stop is waited for.
    waits: bool,
}

impl Host {
    fn start(mut command: Command, secure: bool) -> Host {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut host =
            Host { child, input, lines, heard: Vec::new(), address, secure, waits: false };
        let port = host.hears("port");
        host.address.set_port(port.parse().unwrap());
        host
    }

    /// Waits for the next line that begins with `words`, and gives the rest of it.
    fn hears(&mut self, words: &str) -> String {
        let rest = |line: &String| match line.strip_prefix(words) {
            Some("") => Some(String::new()),
            Some(rest) => rest.strip_prefix(' ').map(str::to_owned),
            None => None,
        };
        loop {
            if let Some(at) = self.heard.iter().position(|line| rest(line).is_some()) {
                return rest(&self.heard.remove(at)).unwrap();
            }
            match self.lines.recv_timeout(PATIENCE) {
                Ok(line) => self.heard.push(line),
                Err(error) => panic!("no '{words}': {error}; heard: {:?}", self.heard),
            }
        }
    }

    /// Whether that has been said by now.
    fn has_said(&mut self, words: &str) -> bool {
        self.heard.extend(self.lines.try_iter());
        self.heard.iter().any(|line| line.starts_with(words))
    }

    fn says(&mut self, line: &str) {
        writeln!(self.input, "{line}").unwrap();
    }

    /// The name of a status, by which a line is answered.
    fn hears_status(&mut self) -> String {
        loop {
            if let Some(at) = self.heard.iter().position(|line| line.starts_with("NP_")) {
                return self.heard.remove(at);
            }
            let line = self.lines.recv_timeout(PATIENCE).expect("a status");
            self.heard.push(line);
        }
    }

    /// Frames and bytes that have arrived, bytes that are held, anonymous memory in KiB.
    fn stats(&mut self) -> [u64; 4] {
        self.says("stats");
        let numbers: Vec<u64> =
            self.hears("stats").split(' ').map(|number| number.parse().unwrap()).collect();
        numbers.try_into().unwrap()
    }

    fn client(&self) -> Client {
        match self.secure {
            true => Client::Secure(Box::new(tls_connect(self.address))),
            false => Client::Plain(connect(self.address)),
        }
    }

    /// A framed client that the host knows as the connection with this number.
    fn framed(&mut self, number: usize) -> Client {
        let mut client = self.client();
        client.write_all(&[1]).unwrap();
        assert_eq!(read_exact(&mut client, 1), [1]);
        assert_eq!(self.hears(&format!("opened {number}")), "1 1");
        client
    }

    /// Begins to wait for the end of a stop, which says "stopped".
    fn waits(&mut self) {
        self.says("wait");
        self.waits = true;
    }

    /// Stops and frees everything, in this order; what was opened must have been closed.
    fn ends(mut self, order: &str) {
        if !self.waits {
            // Polled to the end: what is not polled before a free is dropped.
            self.says("stop 0");
            self.waits();
            self.hears("stopped");
        }
        let (opened, closed) = self.frees(order);
        assert_eq!(opened, closed, "each connection's end is told once");
    }

    /// Frees everything, and gives how many connections were opened and closed.
    fn frees(mut self, order: &str) -> (u64, u64) {
        self.says(&format!("free {order}"));
        let over = self.hears("over");
        let numbers: Vec<u64> = over
            .split(|c: char| !c.is_ascii_digit())
            .filter_map(|digits| digits.parse().ok())
            .collect();
        let [opened, closed, destroyed, handlers_destroyed, handlers] = numbers[..] else {
            panic!("{over}")
        };
        assert_eq!(destroyed, opened, "user data of connections is destroyed once");
        assert_eq!(handlers_destroyed, handlers, "user data of handlers is destroyed once");
        let ended = self.child.wait().unwrap();
        assert!(ended.success(), "{ended}");
        (opened, closed)
    }
}

impl Drop for Host {
    fn drop(&mut self) {
        // Fails if it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A client with plain sockets, or with TLS over them.
enum Client {
    Plain(TcpStream),
    Secure(Box<TlsStream>),
}

impl Client {
    fn socket(&self) -> &TcpStream {
        match self {
            Client::Plain(socket) => socket,
            Client::Secure(stream) => &stream.sock,
        }
    }

    /// Nothing more follows; answers are still read.
    fn finish(&mut self) {
        if let Client::Secure(stream) = self {
            stream.conn.send_close_notify();
            stream.flush().unwrap();
        }
        self.socket().shutdown(Shutdown::Write).unwrap();
    }

    /// The host's end of the stream comes, after `expected`.
    fn ends_with(&mut self, expected: &[u8]) {
        let rest = read_to_end(self);
        assert!(rest == expected, "{} bytes instead of {}", rest.len(), expected.len());
    }
}

impl Read for Client {
    fn read(&mut self, bytes: &mut [u8]) -> std::io::Result<usize> {
        match self {
            Client::Plain(socket) => socket.read(bytes),
            Client::Secure(stream) => stream.read(bytes),
        }
    }
}

impl Write for Client {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        match self {
            Client::Plain(socket) => socket.write(bytes),
            Client::Secure(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> std::io::Result<()> {
        match self {
            Client::Plain(socket) => socket.flush(),
            Client::Secure(stream) => stream.flush(),
        }
    }
}

/// The payload of the next frame, raw or compressed.
fn payload(client: &mut Client) -> Vec<u8> {
    match read_wire_frame(client) {
        (true, wire) => unzlib(&wire),
        (false, payload) => payload,
    }
}

fn numbered(n: u32, len: usize) -> Vec<u8> {
    let mut payload = n.to_be_bytes().to_vec();
    payload.resize(len, n as u8);
    payload
}

// ---- what holds for all ----

fn connections_are_identified_and_echoed(way: &Way) {
    let mut host = way.host("", "");
    for (number, first) in [1, 2, 3, b'G'].into_iter().enumerate() {
        let mut client = host.client();
        client.write_all(&[first]).unwrap();
        let protocol = if first == b'G' { 4 } else { first };
        assert_eq!(host.hears(&format!("opened {number}")), format!("{protocol} {first}"));
        if [1, 3].contains(&first) {
            assert_eq!(read_exact(&mut client, 1), [1]);
            client.write_all(&frame(b"echo")).unwrap();
            assert_eq!(payload(&mut client), b"echo");
        } else {
            client.write_all(b"echo").unwrap();
            let expected: &[u8] = if first == b'G' { b"Gecho" } else { b"echo" };
            assert_eq!(read_exact(&mut client, expected.len()), expected);
        }
        client.finish();
        client.ends_with(b"");
        assert_eq!(host.hears(&format!("closed {number}")), "peer_closed 0 5 0");
        host.hears(&format!("destroyed {number}"));
        // A moment later the handle is nobody's.
        wait_until("a stale handle", || {
            host.says(&format!("handle {number}"));
            host.hears_status() == "NP_ERR_CLOSED"
        });
    }
    host.ends("lrpc");
}

fn admission_is_decided_in_the_event(way: &Way) {
    let mut host = way.host("admit-now", "");
    let mut client = host.client();
    client.write_all(&[&[1][..], &frame(b"early")].concat()).unwrap();
    assert_eq!(host.hears("admit 0"), "1 1");
    assert_eq!(host.hears("opened 0"), "1 1");
    assert_eq!(read_exact(&mut client, 1), [1]);
    assert_eq!(payload(&mut client), b"early");
    let mut refused = host.client();
    refused.write_all(b"GET").unwrap();
    assert_eq!(host.hears("admit 1"), format!("4 {}", b'G'));
    refused.ends_with(b"no");
    assert_eq!(host.hears("declined 1"), "admission_refused");
    client.finish();
    client.ends_with(b"");
    host.ends("lrpc");
}

fn admission_is_decided_later_by_another_thread(way: &Way) {
    let mut host = way.host("admit", "");
    let mut admitted = host.client();
    admitted.write_all(&[&[3][..], &frame(b"early")].concat()).unwrap();
    assert_eq!(host.hears("admit 0"), "3 3");
    let mut refused = host.client();
    refused.write_all(&[2]).unwrap();
    assert_eq!(host.hears("admit 1"), "2 2");
    let mut gone = host.client();
    gone.write_all(&[1]).unwrap();
    host.hears("admit 2");
    assert!(!host.has_said("opened"));
    host.says("no 1 not today");
    assert_eq!(host.hears_status(), "NP_OK");
    refused.ends_with(b"not today");
    assert_eq!(host.hears("declined 1"), "admission_refused");
    host.says("yes 1");
    assert_eq!(host.hears_status(), "NP_ERR_CLOSED");
    host.says("yes 0");
    assert_eq!(host.hears_status(), "NP_OK");
    assert_eq!(host.hears("opened 0"), "3 3");
    host.says("yes 0");
    assert_eq!(host.hears_status(), "NP_ERR_STATE");
    assert_eq!(read_exact(&mut admitted, 1), [1]);
    assert_eq!(payload(&mut admitted), b"early");
    host.says("abort 2 1");
    assert_eq!(host.hears_status(), "NP_OK");
    assert_eq!(host.hears("declined 2"), "host_aborted");
    drop((admitted, gone));
    host.hears("closed 0");
    host.ends("lrpc");
}

fn frames_of_all_sizes_come_back_with_every_byte(way: &Way) {
    let mut host = way.host("", "");
    let mut client = host.framed(0);
    for len in [0, 1, 511, 512, 16 << 10, 1 << 20] {
        for data in [noise(len, 7), compressible(len, 7)] {
            client.write_all(&frame(&data)).unwrap();
            assert!(payload(&mut client) == data, "{len} bytes, raw");
            client.write_all(&compressed_frame(&zlib(&data))).unwrap();
            assert!(payload(&mut client) == data, "{len} bytes, compressed");
        }
    }
    // Many in one write, in order.
    let many: Vec<_> = (0..300).map(|n| compressible(n * 7 % 1200, n)).collect();
    let wire = |(n, data): (usize, &Vec<u8>)| match n % 3 {
        0 => compressed_frame(&zlib(data)),
        _ => frame(data),
    };
    client.write_all(&many.iter().enumerate().flat_map(wire).collect::<Vec<u8>>()).unwrap();
    for data in &many {
        assert!(payload(&mut client) == *data);
    }
    client.finish();
    client.ends_with(b"");
    host.hears("closed 0 peer_closed");
    host.ends("lrpc");
}

fn streams_come_back_with_every_byte(way: &Way) {
    let mut host = way.host("", "");
    for (number, first) in [2, b'x'].into_iter().enumerate() {
        let mut client = host.client();
        client.write_all(&[first]).unwrap();
        host.hears(&format!("opened {number}"));
        if first != 2 {
            assert_eq!(read_exact(&mut client, 1), [first]);
        }
        for round in 0..20 {
            let data = noise(1 + round * 1777, round as u64);
            client.write_all(&data).unwrap();
            assert!(read_exact(&mut client, data.len()) == data);
        }
        let last = noise(100_000, 99);
        client.write_all(&last).unwrap();
        client.finish();
        client.ends_with(&last);
        host.hears(&format!("closed {number} peer_closed"));
    }
    host.ends("lrpc");
}

fn after_the_peers_end_its_last_answers_come_before_the_close(way: &Way) {
    let mut host = way.host("", "compression=off");
    let mut client = host.framed(0);
    let all: Vec<u8> = (0..300).flat_map(|n| frame(&numbered(n, 4096))).collect();
    client.write_all(&all).unwrap();
    client.finish();
    client.ends_with(&all);
    assert_eq!(host.hears("closed 0"), "peer_closed 0 5 0");
    host.ends("lrpc");
}

fn after_the_peers_end_a_slow_peer_gets_all_its_answers(way: &Way) {
    // Where events are polled without a half-close, what the host could not send by the next
    // poll is its loss: the library closes then.
    let options = match way.mode {
        "poll" => "half",
        _ if way.is_inbox() => "hold",
        _ => "",
    };
    let mut host = way.host(options, "compression=off\nsendQueueLimit=64K\nreceiveWindow=64M");
    let mut client = host.framed(0);
    let frames = 3000;
    let write = |client: &mut Client| {
        (0..frames).for_each(|n| client.write_all(&frame(&numbered(n, 4096))).unwrap());
        client.finish();
    };
    let read = |client: &mut Client| {
        for n in 0..frames {
            assert!(payload(client) == numbered(n, 4096), "frame {n}");
        }
        let last = if way.is_polled() { frame(b"after the end") } else { Vec::new() };
        client.ends_with(&last);
    };
    if way.is_inbox() {
        // All of it fits the inbox: the end comes before the first answer is sent.
        write(&mut client);
        wait_until("the frames", || host.stats()[0] == frames.into());
        host.says("go");
        read(&mut client);
    } else {
        // Without a window for it the peer has to read while it writes.
        let Client::Plain(socket) = &client else { return };
        let mut writer = Client::Plain(socket.try_clone().unwrap());
        std::thread::scope(|scope| {
            scope.spawn(|| write(&mut writer));
            read(&mut client);
        });
    }
    host.hears("closed 0");
    host.ends("lrpc");
}

fn with_half_close_the_host_answers_the_end_and_closes(way: &Way) {
    let mut host = way.host("half", "compression=off");
    let mut client = host.framed(0);
    client.write_all(&frame(b"last")).unwrap();
    client.finish();
    host.hears("end 0");
    client.ends_with(&[frame(b"last"), frame(b"after the end")].concat());
    assert_eq!(host.hears("closed 0"), "peer_closed 3 5 0");
    let mut stream = host.client();
    stream.write_all(b"stream").unwrap();
    stream.finish();
    host.hears("end 1");
    stream.ends_with(b"streamafter the end");
    assert_eq!(host.hears("closed 1"), "peer_closed 3 5 0");
    host.ends("lrpc");
}

fn a_host_that_consumes_nothing_shuts_the_peers_window(way: &Way) {
    const WINDOW: u64 = 256 << 10;
    const LEN: usize = 4096;
    const FRAMES: u32 = 12_000;
    // It may take its time: a frame that is held up is not the matter here.
    let keys = "compression=off\nreceiveWindow=256K\nframeTimeout=0";
    let mut host = way.host("hold sink", keys);
    let mut client = host.framed(0);
    let before = host.stats()[3];
    let all: Vec<u8> = (0..FRAMES).flat_map(|n| frame(&numbered(n, LEN))).collect();
    // The writing comes to a halt, and does not move for a while.
    let a_while = Some(Duration::from_millis(300));
    client.socket().set_write_timeout(a_while).unwrap();
    // A TLS client that cannot write tries to read.
    client.socket().set_read_timeout(a_while).unwrap();
    let mut written = 0;
    while written < all.len() {
        match client.write(&all[written..(written + (64 << 10)).min(all.len())]) {
            Ok(len) => written += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    assert!(written < all.len() / 2, "{written} bytes went to a host that consumes none");
    let [_, _, held, memory] = host.stats();
    // One turn's input may be on its way when the window is found to be used up.
    assert!(held <= WINDOW + (2 << 20), "{held} bytes are held");
    assert!(memory < before + (12 << 10), "{before} KiB have become {memory}");
    host.says("go");
    client.socket().set_write_timeout(Some(PATIENCE)).unwrap();
    client.socket().set_read_timeout(Some(PATIENCE)).unwrap();
    client.write_all(&all[written..]).unwrap();
    client.finish();
    // The host has compared each byte.
    client.ends_with(b"");
    host.hears("closed 0 peer_closed");
    let [frames, bytes, ..] = host.stats();
    assert_eq!(frames, FRAMES.into());
    assert!(bytes >= all.len() as u64);
    host.ends("lrpc");
}

/// Others are answered again and again. With the client of the test there are two on each loop, so
/// that each has looked by then at what had come before.
fn exchange_with_others(way: &Way, host: &mut Host) {
    let mut others: Vec<Client> = (1..4).map(|number| host.framed(number)).collect();
    for number in (1..4).filter(|_| way.mode == "callbacks") {
        // Held by a pause like the client of the test.
        host.says(&format!("resume {number}"));
        host.hears("resuming");
    }
    for _ in 0..10 {
        for other in &mut others {
            other.write_all(&frame(b"other")).unwrap();
            assert_eq!(payload(other), b"other");
        }
    }
}

fn a_pause_holds_what_the_host_has_not_got_yet(way: &Way) {
    let mut host = way.host("hold tell", "");
    let mut client = host.framed(0);
    client.write_all(&frame(b"first")).unwrap();
    if way.mode == "callbacks" {
        // Held by a pause from the beginning.
        exchange_with_others(way, &mut host);
        assert!(!host.has_said("frame 0"), "{:?}", host.heard);
        host.says("resume 0");
        host.hears("resuming");
        assert_eq!(host.hears("frame 0"), "1");
        assert_eq!(payload(&mut client), b"first");
        client.finish();
        client.ends_with(b"");
        return host.ends("lrpc");
    }
    host.hears("held 0");
    if !way.is_polled() {
        // It has been read, and waits for a worker, or in the inbox.
        client.write_all(&frame(b"second")).unwrap();
        wait_until("the second frame", || host.stats()[0] == 2);
    }
    host.says("pause 0");
    assert_eq!(host.hears_status(), "NP_OK");
    host.says("go");
    // What the host had polled is not taken back, nor what is in its inbox.
    assert_eq!(payload(&mut client), b"first");
    if way.is_inbox() {
        assert_eq!(payload(&mut client), b"second");
        client.write_all(&frame(b"third")).unwrap();
    } else if way.is_polled() {
        client.write_all(&frame(b"second")).unwrap();
    }
    let next = if way.is_inbox() { 3 } else { 2 };
    exchange_with_others(way, &mut host);
    assert!(!host.has_said(&format!("frame 0 {next}")), "{:?}", host.heard);
    host.says("resume 0");
    host.hears("resuming");
    assert_eq!(host.hears(&format!("frame 0 {next}")), "");
    payload(&mut client);
    client.finish();
    client.ends_with(b"");
    host.ends("lrpc");
}

fn a_send_without_room_is_refused_and_told_of_room(way: &Way) {
    let mut host = way.host("", "compression=off\nsendQueueLimit=64K");
    let mut client = host.framed(0);
    // From a thread of the host's.
    host.says("fill 0");
    let told = host.hears("filled 0");
    let (count, status) = told.split_once(' ').unwrap();
    assert_eq!(status, "NP_ERR_WOULD_BLOCK");
    let read = |client: &mut Client, count: &str| {
        for n in 0..count.parse::<u16>().unwrap() {
            let data = payload(client);
            assert_eq!((data.len(), &data[..2]), (4096, &n.to_be_bytes()[..]));
        }
    };
    read(&mut client, count);
    host.hears("writable 0");
    // From where the host consumes: inside of a callback all is taken, and reading pauses;
    // elsewhere it is refused as soon as the queue is full.
    client.write_all(&[frame(b"!fill"), frame(b"behind")].concat()).unwrap();
    let told = host.hears("filled 0");
    let (count, status) = told.split_once(' ').unwrap();
    if way.sends_in_callbacks() {
        assert_eq!((count, status), ("512", "NP_OK"));
    } else if way.is_polled() {
        // Nothing of the loop moves between polls.
        assert_eq!((count, status), ("16", "NP_ERR_WOULD_BLOCK"));
    }
    read(&mut client, count);
    assert_eq!(payload(&mut client), b"behind");
    client.finish();
    client.ends_with(b"");
    host.ends("lrpc");
}

fn connections_are_closed_and_aborted_from_inside(way: &Way) {
    let mut host = way.host("tell", "compression=off");
    let mut client = host.framed(0);
    let frames: Vec<_> = [&b"one"[..], b"!close", b"never"].map(frame).concat();
    client.write_all(&frames).unwrap();
    client.ends_with(&frame(b"one"));
    assert_eq!(host.hears("closed 0"), "host_closed 7 5 0");
    let mut client = host.framed(1);
    client.write_all(&frame(b"!abort")).unwrap();
    assert_is_reset(client.socket().try_clone().as_mut().unwrap());
    assert!(host.hears("closed 1").starts_with("host_aborted 8 5"));
    // Waits refuse where they would wait for themselves.
    let mut client = host.framed(2);
    client.write_all(&frame(b"!wait")).unwrap();
    assert_eq!(payload(&mut client), b"!wait");
    client.finish();
    client.ends_with(b"");
    host.ends("lrpc");
}

fn connections_are_closed_and_aborted_from_outside(way: &Way) {
    let mut host = way.host("", "compression=off");
    let mut client = host.framed(0);
    host.says("close 0 9");
    assert_eq!(host.hears_status(), "NP_OK");
    client.ends_with(b"");
    assert_eq!(host.hears("closed 0"), "host_closed 9 5 0");
    host.hears("destroyed 0");
    host.says("close 0 9");
    assert_eq!(host.hears_status(), "NP_ERR_CLOSED");
    let client = host.framed(1);
    host.says("abort 1 10");
    assert_eq!(host.hears_status(), "NP_OK");
    assert_is_reset(client.socket().try_clone().as_mut().unwrap());
    assert!(host.hears("closed 1").starts_with("host_aborted 10 5"));
    // The peer goes without a word.
    let client = host.framed(2);
    reset(match client {
        Client::Plain(socket) => socket,
        Client::Secure(stream) => stream.sock,
    });
    assert!(host.hears("closed 2").starts_with("peer_reset 0 5"));
    host.ends("lrpc");
}

fn deadlines_end_connections(way: &Way) {
    let mut host = way.host("", "");
    let mut inside = host.framed(0);
    inside.write_all(&frame(b"!deadline")).unwrap();
    inside.ends_with(b"");
    assert_eq!(host.hears("closed 0"), "host_deadline 0 5 0");
    let mut outside = host.framed(1);
    host.says("deadline 1 20");
    assert_eq!(host.hears_status(), "NP_OK");
    outside.ends_with(b"");
    assert_eq!(host.hears("closed 1"), "host_deadline 0 5 0");
    host.ends("lrpc");
}

fn a_stop_lets_busy_connections_go_on_until_they_end(way: &Way) {
    let mut host = way.host("", "");
    let mut clients: Vec<_> = (0..6).map(|number| host.framed(number)).collect();
    host.waits();
    let busy = |client: &mut Client, rounds: u32| {
        for n in 0..rounds {
            let data = compressible(1 + n as usize * 97 % 5000, n as usize);
            client.write_all(&frame(&data)).unwrap();
            assert!(payload(client) == data);
        }
    };
    std::thread::scope(|scope| {
        for client in &mut clients {
            scope.spawn(|| busy(client, 200));
        }
        host.says("stop 600000");
        wait_until("the end of listening", || TcpStream::connect(host.address).is_err());
    });
    assert!(!host.has_said("stopped") && !host.has_said("closed"));
    for client in &mut clients {
        busy(client, 3);
        client.finish();
        client.ends_with(b"");
    }
    (0..6).for_each(|number| {
        assert_eq!(host.hears(&format!("closed {number}")), "peer_closed 0 5 0")
    });
    host.hears("stopped");
    host.ends("lrpc");
}

fn a_stop_may_come_from_where_events_are_consumed(way: &Way) {
    let mut host = way.host("", "");
    let mut clients: Vec<_> = (0..3).map(|number| host.framed(number)).collect();
    host.waits();
    clients[1].write_all(&frame(b"!stop")).unwrap();
    clients.iter_mut().for_each(|client| client.ends_with(b""));
    host.hears("stopped");
    for number in 0..3 {
        assert!(host.hears(&format!("closed {number}")).starts_with("drain_deadline"));
    }
    host.ends("lrpc");
}

fn everything_is_freed_in_any_order(way: &Way) {
    for order in ["lrpc", "rlpc", "crpl", "plcrp", "rcpl"] {
        let mut host = way.host("", "");
        let mut clients: Vec<_> = (0..3).map(|number| host.framed(number)).collect();
        clients[0].write_all(&frame(b"busy")).unwrap();
        let (opened, closed) = host.frees(order);
        // Of polled events those are dropped that nobody polled.
        assert_eq!(opened, 3);
        assert!(closed == 3 || way.mode.ends_with("poll"), "{closed} ends were told");
    }
}

// ---- under tools ----

const MODES: [&str; 6] = ["callbacks", "workers", "poll", "inbox", "inbox-workers", "inbox-poll"];

/// Some of what a host can do, in little time.
fn a_short_life(way: &Way) {
    connections_are_identified_and_echoed(way);
    a_send_without_room_is_refused_and_told_of_room(way);
    connections_are_closed_and_aborted_from_inside(way);
}

#[test]
fn each_way_is_clean_under_valgrind() {
    if !exists("valgrind") {
        return skipped("valgrind is not installed; the ways of consuming were not tried under it");
    }
    let options = "-q --error-exitcode=9 --leak-check=full --errors-for-leak-kinds=definite";
    let mut command: Vec<PathBuf> = ["valgrind"].map(PathBuf::from).to_vec();
    command.extend(options.split(' ').map(PathBuf::from));
    command.push(program());
    for mode in MODES {
        a_short_life(&Way { mode, secure: false, command: command.clone() });
    }
}

#[test]
fn each_way_is_clean_with_the_compilers_sanitizers() {
    let flags = ["-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    let mut compiler = Command::new("cc");
    compiler.args(flags).args(["-x", "c", "-", "-o"]).arg(folder("consumers-probe").join("probe"));
    let mut compiler = compiler.stdin(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap();
    compiler.stdin.take().unwrap().write_all(b"int main(void) { return 0; }\n").unwrap();
    if !compiler.wait().unwrap().success() {
        return skipped("the compiler has no sanitizers; the ways were not tried with them");
    }
    let command = vec![build_c("consumers-sanitized", &source(), &flags)];
    for (mode, secure) in MODES.into_iter().flat_map(|mode| [(mode, false), (mode, true)]) {
        let way = Way { mode, secure, command: command.clone() };
        a_short_life(&way);
        admission_is_decided_later_by_another_thread(&way);
        with_half_close_the_host_answers_the_end_and_closes(&way);
        a_stop_may_come_from_where_events_are_consumed(&way);
        everything_is_freed_in_any_order(&way);
    }
}

/// A test for each way, plain and with TLS.
macro_rules! ways {
    ($($module:ident: $mode:literal)*) => {
        $(mod $module {
            mod plain {
                ways!(@tests $mode, false);
            }
            mod tls {
                ways!(@tests $mode, true);
            }
        })*
    };
    (@tests $mode:literal, $secure:literal) => {
        ways!(@each $mode, $secure:
            connections_are_identified_and_echoed
            admission_is_decided_in_the_event
            admission_is_decided_later_by_another_thread
            frames_of_all_sizes_come_back_with_every_byte
            streams_come_back_with_every_byte
            after_the_peers_end_its_last_answers_come_before_the_close
            after_the_peers_end_a_slow_peer_gets_all_its_answers
            with_half_close_the_host_answers_the_end_and_closes
            a_host_that_consumes_nothing_shuts_the_peers_window
            a_pause_holds_what_the_host_has_not_got_yet
            a_send_without_room_is_refused_and_told_of_room
            connections_are_closed_and_aborted_from_inside
            connections_are_closed_and_aborted_from_outside
            deadlines_end_connections
            a_stop_lets_busy_connections_go_on_until_they_end
            a_stop_may_come_from_where_events_are_consumed
            everything_is_freed_in_any_order
        );
    };
    (@each $mode:literal, $secure:literal: $($test:ident)*) => {
        $(#[test]
        fn $test() {
            crate::$test(&crate::Way::new($mode, $secure));
        })*
    };
}

ways! {
    callbacks: "callbacks"
    workers: "workers"
    poll: "poll"
    inbox: "inbox"
    inbox_over_workers: "inbox-workers"
    inbox_over_polls: "inbox-poll"
}
