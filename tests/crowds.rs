//! Crowds of honest clients, and of silent ones beside them: counted is who is served at the first
//! attempt, never how fast.
//!
//! The server is a process of its own, this program again, with its own limit of open files. All
//! clients of a test are one thread that polls. Sizes are short; with `NP_CROWD=full` they are those
//! that are promised. `--nocapture` shows the figures.

mod support;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use nativeport::status::CloseReason;
use rustls::ClientConnection;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use support::*;

/// What the promise is about.
const MANY_DESCRIPTORS: u64 = 20_000;
/// Of each flight of a client.
const LATE: Duration = Duration::from_millis(200);
/// How soon a handshake is done is for the benchmark: a busy machine takes its time for some thousands.
const KEYS: &str = "readTimeout=10m\nhandshakeTimeout=10m";
/// Nobody has ended for so long: it hangs.
const STANDSTILL: Duration = Duration::from_secs(60);

/// `full` with `NP_CROWD=full`, otherwise `short`.
fn size(short: usize, full: usize) -> usize {
    if std::env::var("NP_CROWD").is_ok_and(|form| form == "full") { full } else { short }
}

/// Held by each test: they take ports, descriptors and processors.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// Lets this process have so many descriptors, or as many as the system allows; gives how many.
fn limit_descriptors(wanted: u64) -> u64 {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a plain system call that writes to `limit`.
    assert_eq!(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) }, 0);
    limit.rlim_cur = wanted.min(limit.rlim_max);
    // SAFETY: a plain system call that reads `limit`.
    assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
    limit.rlim_cur
}

// The server.

/// Not a test: the server of one, in its own process.
#[test]
fn the_server() {
    let Ok(wanted) = std::env::var("NP_CROWD_SERVER") else { return };
    let mut words = wanted.splitn(3, ' ');
    limit_descriptors(words.next().unwrap().parse().unwrap());
    let tls = words.next() == Some("tls");
    let keys = words.next().unwrap_or_default();
    let keys = if tls { format!("{WITH_TLS}\n{keys}") } else { keys.to_owned() };
    let server = server_with("ioThreads=1\nhandshakeThreads=1", &keys, TLS_SECTION, |listener| {
        listener.on(nativeport::event::Protocol::Client, Arc::new(Echo)).unwrap();
    });
    println!("\nserves {}", server.listener.addresses()[0]);
    for _ in std::io::stdin().lines() {
        let stats = server.listener.stats();
        let closes = CloseReason::ALL.iter().map(|reason| {
            let count = stats.closes[reason.code() as usize];
            format!(" {}={count}", reason.name())
        });
        println!("\nstats accepted={}{}", stats.accepted, closes.collect::<String>());
    }
}

struct Served {
    child: Child,
    said: BufReader<std::process::ChildStdout>,
    address: SocketAddr,
}

impl Served {
    fn with(descriptors: u64, tls: bool, keys: &str) -> Served {
        let tls = if tls { "tls" } else { "plain" };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_server", "--nocapture"])
            .env("NP_CROWD_SERVER", format!("{descriptors} {tls} {keys}"))
            .env_remove("NP_CONSUMER")
            .env_remove("NP_TOXIC")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let said = BufReader::new(child.stdout.take().unwrap());
        let mut served = Served { child, said, address: SocketAddr::from(([0; 4], 0)) };
        served.address = served.line("serves ").parse().unwrap();
        served
    }

    /// The next line that begins so.
    fn line(&mut self, begin: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.said.read_line(&mut line).unwrap() > 0, "the server has ended");
            if let Some(rest) = line.strip_prefix(begin) {
                return rest.trim_end().to_owned();
            }
        }
    }

    /// Those that are not 0.
    fn stats(&mut self) -> BTreeMap<String, u64> {
        self.child.stdin.as_mut().unwrap().write_all(b"stats\n").unwrap();
        let line = self.line("stats ");
        let pairs = line.split(' ').filter_map(|pair| pair.split_once('='));
        let counts = pairs.map(|(name, count)| (name.to_owned(), count.parse().unwrap()));
        counts.filter(|(_, count)| *count > 0).collect()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

// The clients.

/// What a client does.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Sends its first byte late.
    Plain,
    /// Sends its ClientHello late.
    Tls,
    /// Sends each flight late.
    LateTls,
    /// Sends nothing, and stays until it is closed.
    Silent,
}

#[derive(PartialEq, Eq)]
enum Step {
    Connecting,
    /// Something is sent when its time has come.
    Waiting,
    /// The server has to answer.
    Answer,
    Served,
}

struct Client {
    kind: Kind,
    stream: TcpStream,
    tls: Option<Box<ClientConnection>>,
    step: Step,
    /// Bytes of the wire, to be sent when their time has come.
    outbox: Vec<u8>,
    /// The first byte and a frame have been put into it.
    has_said: bool,
    got: Vec<u8>,
}

/// The first flight of a client, and its TLS.
struct Hello {
    tls: Option<Box<ClientConnection>>,
    outbox: Vec<u8>,
}

impl Hello {
    fn of(kind: Kind) -> Hello {
        match kind {
            Kind::Silent => Hello { tls: None, outbox: Vec::new() },
            Kind::Plain => Hello { tls: None, outbox: first_words() },
            Kind::Tls | Kind::LateTls => {
                let mut tls = Box::new(tls_client());
                let outbox = wire(&mut tls);
                Hello { tls: Some(tls), outbox }
            }
        }
    }
}

/// The first byte and a frame.
fn first_words() -> Vec<u8> {
    [&[1][..], &frame(b"hello")].concat()
}

/// The answer to the first byte, and the frame again.
const ANSWER: &[u8] = b"\x01\0\0\0\x05hello";

impl Client {
    fn new(kind: Kind, hello: Hello, from: [u8; 4], to: SocketAddr) -> std::io::Result<Client> {
        use socket2::{Domain, Socket, Type};
        let socket = Socket::new(Domain::IPV4, Type::STREAM.nonblocking(), None)?;
        choose_port_late(&socket);
        socket.bind(&SocketAddr::from((from, 0)).into())?;
        if let Err(error) = socket.connect(&to.into())
            && error.raw_os_error() != Some(libc::EINPROGRESS)
        {
            return Err(error);
        }
        let stream = TcpStream::from_std(socket.into());
        let Hello { tls, outbox } = hello;
        let (step, has_said, got) = (Step::Connecting, tls.is_none(), Vec::new());
        Ok(Client { kind, stream, tls, step, outbox, has_said, got })
    }

    /// Something happened. `Ok(true)`: what is in its outbox is to be sent late.
    fn on_event(&mut self) -> Result<bool, String> {
        if self.step == Step::Connecting {
            match self.stream.take_error() {
                Ok(None) if self.stream.peer_addr().is_ok() => {}
                Ok(None) => return Ok(false),
                Ok(Some(error)) | Err(error) => return Err(format!("connect: {error}")),
            }
            self.step = Step::Waiting;
            return Ok(self.kind != Kind::Silent);
        }
        let mut buffer = [0; 16 << 10];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => return Err("end".to_owned()),
                Ok(n) => self.on_bytes(&buffer[..n])?,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(format!("{:?}", error.kind())),
            }
        }
        if self.got == ANSWER {
            self.step = Step::Served;
        }
        if let Some(tls) = &mut self.tls
            && self.step == Step::Answer
        {
            self.outbox.extend(wire(tls));
            // In one flight with the end of the handshake, or in one of its own.
            let together = self.kind == Kind::Tls || self.outbox.is_empty();
            if !tls.is_handshaking() && !self.has_said && together {
                self.say();
            }
            if !self.outbox.is_empty() {
                self.step = Step::Waiting;
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn on_bytes(&mut self, mut bytes: &[u8]) -> Result<(), String> {
        let Some(tls) = &mut self.tls else {
            self.got.extend_from_slice(bytes);
            return Ok(());
        };
        while !bytes.is_empty() {
            tls.read_tls(&mut bytes).map_err(|error| error.to_string())?;
            tls.process_new_packets().map_err(|error| error.to_string())?;
            // It fails where the text ends, which is no error here.
            let _ = tls.reader().read_to_end(&mut self.got);
        }
        Ok(())
    }

    /// With TLS: the first byte and a frame.
    fn say(&mut self) {
        let Some(tls) = &mut self.tls else { return };
        tls.writer().write_all(&first_words()).unwrap();
        self.outbox.extend(wire(tls));
        self.has_said = true;
    }

    /// Its time has come. `Ok(true)`: there is another flight after this one.
    fn send(&mut self) -> Result<bool, String> {
        let sent =
            self.stream.write(&self.outbox).map_err(|error| format!("{:?}", error.kind()))?;
        assert_eq!(sent, self.outbox.len(), "a flight fits into a socket");
        self.outbox.clear();
        self.step = Step::Answer;
        if self.tls.as_ref().is_some_and(|tls| !tls.is_handshaking()) && !self.has_said {
            self.say();
            self.step = Step::Waiting;
            return Ok(true);
        }
        Ok(false)
    }

    fn is_late(&self) -> bool {
        // With TLS that is not late only the ClientHello is.
        self.kind != Kind::Tls || !self.has_said
    }
}

/// When it connects: the port may be that of another pair of addresses.
fn choose_port_late(socket: &socket2::Socket) {
    let (on, len) = (1 as libc::c_int, size_of::<libc::c_int>() as libc::socklen_t);
    let option = libc::IP_BIND_ADDRESS_NO_PORT;
    // SAFETY: a plain system call that reads one number.
    let answer = unsafe {
        libc::setsockopt(socket.as_raw_fd(), libc::SOL_IP, option, (&raw const on).cast(), len)
    };
    assert_eq!(answer, 0);
}

fn wire(tls: &mut ClientConnection) -> Vec<u8> {
    let mut bytes = Vec::new();
    while tls.wants_write() {
        tls.write_tls(&mut bytes).unwrap();
    }
    bytes
}

/// Clients that one thread moves on.
struct Crowd {
    poll: Poll,
    to: SocketAddr,
    clients: HashMap<usize, Client>,
    next: usize,
    due: BinaryHeap<Reverse<(Instant, usize)>>,
    served: usize,
    failed: HashMap<String, usize>,
    /// Silent ones in the order in which they came, and how many of them may be there at a time.
    silent: VecDeque<usize>,
    most_silent: usize,
    closed: usize,
    last_end: Instant,
    /// By how much this thread was late itself, at worst.
    held_up: Duration,
}

impl Crowd {
    fn new(to: SocketAddr, most_silent: usize) -> Crowd {
        Crowd {
            poll: Poll::new().unwrap(),
            to,
            clients: HashMap::new(),
            next: 0,
            due: BinaryHeap::new(),
            served: 0,
            failed: HashMap::new(),
            silent: VecDeque::new(),
            most_silent,
            closed: 0,
            last_end: Instant::now(),
            held_up: Duration::ZERO,
        }
    }

    fn add(&mut self, kind: Kind, hello: Hello, from: [u8; 4]) {
        let key = self.next;
        self.next += 1;
        let mut client = match Client::new(kind, hello, from, self.to) {
            Ok(client) => client,
            Err(error) => return self.fail(kind, format!("connect: {error}")),
        };
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut client.stream, Token(key), both).unwrap();
        self.clients.insert(key, client);
        if kind == Kind::Silent {
            self.silent.push_back(key);
            // The server may keep fewer; others wait in its backlog, or for a place there.
            if self.silent.len() > self.most_silent
                && let Some(oldest) = self.silent.pop_front()
            {
                self.remove(oldest);
            }
        }
    }

    fn fail(&mut self, kind: Kind, why: String) {
        if kind != Kind::Silent {
            *self.failed.entry(why).or_default() += 1;
            self.last_end = Instant::now();
        }
    }

    /// Reset, so that its port can be used again.
    fn remove(&mut self, key: usize) {
        if let Some(client) = self.clients.remove(&key) {
            let _ = socket2::SockRef::from(&client.stream).set_linger(Some(Duration::ZERO));
        }
    }

    /// One look at what has happened.
    fn turn(&mut self, events: &mut Events, most: Duration) {
        let now = Instant::now();
        let until = self.due.peek().map(|Reverse((at, _))| at.saturating_duration_since(now));
        self.poll.poll(events, Some(until.map_or(most, |until| until.min(most)))).unwrap();
        let begun = Instant::now();
        for event in &*events {
            // A handshake takes this thread longer than to send what another one has ready: nobody is
            // later than meant because there are many.
            self.send_what_is_due();
            let Token(key) = event.token();
            let Some(client) = self.clients.get_mut(&key) else { continue };
            let kind = client.kind;
            match client.on_event() {
                Ok(true) if client.is_late() => {
                    self.due.push(Reverse((Instant::now() + LATE, key)))
                }
                Ok(true) => self.send(key),
                // It stays: what it holds counts.
                Ok(false) if client.step == Step::Served => {
                    let _ = self.poll.registry().deregister(&mut client.stream);
                    client.step = Step::Waiting;
                    self.served += 1;
                    self.last_end = Instant::now();
                }
                Ok(false) => {}
                Err(why) => {
                    self.closed += usize::from(kind == Kind::Silent);
                    self.fail(kind, why);
                    self.remove(key);
                }
            }
        }
        self.send_what_is_due();
        self.held_up = self.held_up.max(begun.elapsed());
    }

    fn send_what_is_due(&mut self) {
        while let Some(Reverse((at, key))) = self.due.peek().copied()
            && at <= Instant::now()
        {
            self.due.pop();
            self.held_up = self.held_up.max(at.elapsed());
            self.send(key);
        }
    }

    fn send(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(&key) else { return };
        let kind = client.kind;
        match client.send() {
            Ok(true) => self.due.push(Reverse((Instant::now() + LATE, key))),
            Ok(false) => {}
            Err(why) => {
                self.fail(kind, why);
                self.remove(key);
            }
        }
    }

    fn ended(&self) -> usize {
        self.served + self.failed.values().sum::<usize>()
    }
}

fn tls_client() -> ClientConnection {
    thread_local! {
        static CONFIG: Arc<rustls::ClientConfig> = tls_config();
    }
    let name = "localhost".try_into().unwrap();
    ClientConnection::new(CONFIG.with(Arc::clone), name).unwrap()
}

/// A machine that keeps the clients' thread waiting for so long makes them others than they are meant to be: silent for
/// as long as a second, for example.
const HELD_UP: Duration = Duration::from_millis(400);

/// So many clients at once, from so many addresses: all are served at the first attempt.
fn all_are_served(kind: Kind, descriptors: u64, count: usize, addresses: usize) {
    for _ in 0..10 {
        if is_served(kind, descriptors, count, addresses) {
            return;
        }
    }
    panic!("this machine never had the time for {count} clients");
}

/// False: clients failed that were not as they are meant to be.
fn is_served(kind: Kind, descriptors: u64, count: usize, addresses: usize) -> bool {
    let _alone = alone();
    if limit_descriptors(MANY_DESCRIPTORS) < count as u64 + 200 {
        println!("skipped: there are not enough descriptors for {count} clients");
        return true;
    }
    let mut server = Served::with(descriptors, kind != Kind::Plain, KEYS);
    let mut crowd = Crowd::new(server.address, 0);
    let mut events = Events::with_capacity(1024);
    // What they say first is ready before they come.
    let hellos: Vec<_> = (0..count).map(|_| Hello::of(kind)).collect();
    for (n, hello) in hellos.into_iter().enumerate() {
        crowd.add(kind, hello, [127, 3, 0, 1 + (n % addresses) as u8]);
    }
    while crowd.ended() < count {
        crowd.turn(&mut events, Duration::from_secs(1));
        assert!(crowd.last_end.elapsed() < STANDSTILL, "{} of {count}", crowd.ended());
    }
    println!("{} of {count} from {addresses} addresses; {:?}", crowd.served, server.stats());
    if crowd.served < count && crowd.held_up > HELD_UP {
        println!("again: the clients were held up for {:?}", crowd.held_up);
        return false;
    }
    assert_eq!((crowd.served, &crowd.failed), (count, &HashMap::new()));
    true
}

#[test]
fn a_crowd_of_one_address_is_served_at_the_first_attempt() {
    for kind in [Kind::Plain, Kind::Tls, Kind::LateTls] {
        all_are_served(kind, MANY_DESCRIPTORS, size(600, 5000), 1);
    }
}

#[test]
fn a_crowd_of_fifty_addresses_is_served_at_the_first_attempt() {
    for kind in [Kind::Plain, Kind::Tls, Kind::LateTls] {
        all_are_served(kind, MANY_DESCRIPTORS, size(1200, 5000), 50);
    }
}

/// The limit is half of the descriptors, and beyond four fifths one address would get no more.
#[test]
fn a_crowd_beyond_the_limit_waits_in_the_backlog_and_is_served_at_the_first_attempt() {
    let (descriptors, count) = (size(200, 1024), size(150, 800));
    for kind in [Kind::Plain, Kind::Tls, Kind::LateTls] {
        all_are_served(kind, descriptors as u64, count, 1);
        all_are_served(kind, descriptors as u64, count, 50);
    }
}

/// Silent connections, so many a second, for so long; beside them honest clients.
struct Attack {
    descriptors: u64,
    a_second: usize,
    seconds: usize,
    honest: usize,
}

/// As it is promised, and the same at a fifth of the size.
fn attack() -> Attack {
    Attack {
        descriptors: size(4_000, 20_000) as u64,
        a_second: size(1_200, 6_000),
        seconds: size(3, 10),
        honest: size(20, 90),
    }
}

/// Gives how many of the honest are served.
fn served_beside_silent_ones(kind: Kind, addresses: usize, honest_from: [u8; 4]) -> usize {
    let _alone = alone();
    let Attack { descriptors, a_second, seconds, honest } = attack();
    let most_silent = descriptors as usize * 6 / 10;
    if limit_descriptors(MANY_DESCRIPTORS) < most_silent as u64 + 500 {
        println!("skipped: there are not enough descriptors for {most_silent} clients");
        return honest;
    }
    let mut server = Served::with(descriptors, kind != Kind::Plain, KEYS);
    let mut crowd = Crowd::new(server.address, most_silent);
    let mut events = Events::with_capacity(1024);
    let (begun, all) = (Instant::now(), a_second * seconds);
    let (mut silent, mut come) = (0, 0);
    while crowd.ended() < honest {
        // By the time that has passed. The attack goes on until the last one has ended.
        let passed = begun.elapsed().as_secs_f64();
        let wanted = (passed * a_second as f64) as usize;
        // Not too many in one turn: others are to have theirs.
        let wanted = wanted.min(silent + 500);
        while silent < wanted {
            let from = (silent % addresses) as u8;
            crowd.add(Kind::Silent, Hello::of(Kind::Silent), [127, 4, 0, 1 + from]);
            silent += 1;
        }
        // Honest ones come over the whole time, not before the limit is reached.
        while come < honest && silent > all / 4 + come * (all * 3 / 4) / honest {
            let mut from = honest_from;
            if from[3] == 0 {
                from[3] = 1 + come as u8;
            }
            crowd.add(kind, Hello::of(kind), from);
            come += 1;
            crowd.last_end = Instant::now();
        }
        crowd.turn(&mut events, Duration::from_millis(2));
        assert!(crowd.last_end.elapsed() < STANDSTILL, "{} of {honest}", crowd.ended());
    }
    let rate = silent as f64 / begun.elapsed().as_secs_f64();
    let stats = server.stats();
    println!(
        "{} of {honest} served beside {silent} silent ones of {addresses} addresses ({rate:.0} a second, \
         {} closed); {:?}; {stats:?}",
        crowd.served, crowd.closed, crowd.failed
    );
    assert!(stats.contains_key("max_handshakes"), "the limit was never reached");
    crowd.served
}

#[test]
fn silent_connections_of_few_or_many_addresses_keep_honest_clients_not_out() {
    for kind in [Kind::Plain, Kind::LateTls] {
        for addresses in [4, 50, 200] {
            let served = served_beside_silent_ones(kind, addresses, [127, 5, 0, 0]);
            let Attack { honest, .. } = attack();
            assert!(served * 90 >= honest * 88, "{served} of {honest}");
        }
    }
}

#[test]
fn silent_connections_of_their_own_address_keep_honest_clients_not_out() {
    for kind in [Kind::Plain, Kind::LateTls] {
        let served = served_beside_silent_ones(kind, 1, [127, 4, 0, 1]);
        let Attack { honest, .. } = attack();
        assert!(served * 90 >= honest * 88, "{served} of {honest}");
    }
}

/// Of 200 descriptors one address takes what it can, with connections that are identified.
#[test]
fn an_address_that_holds_most_descriptors_leaves_the_rest_to_others() {
    let _alone = alone();
    let mut server = Served::with(200, false, "");
    let from = |address: [u8; 4]| {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::from((address, 0)).into()).unwrap();
        socket.connect(&server.address.into()).unwrap();
        let mut stream: std::net::TcpStream = socket.into();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let _ = stream.write_all(&[1]);
        let mut answer = [0];
        stream.read_exact(&mut answer).ok().map(|()| (stream, answer))
    };
    let mut greedy = Vec::new();
    for _ in 0..190 {
        greedy.extend(from([127, 0, 0, 1]));
    }
    let others: Vec<_> = (0..10).filter_map(|_| from([127, 0, 0, 2])).collect();
    assert_eq!((greedy.len(), others.len()), (161, 10));
    let stats = server.stats();
    assert_eq!(stats, [("accepted", 200), ("address_over_share", 29)].map(own).into());
    // Its own are not ended.
    for (client, _) in &mut greedy {
        client.write_all(&frame(b"hello")).unwrap();
        assert_eq!(read_frame(client), b"hello");
    }
    greedy.truncate(100);
    wait_until("its ends", || server.stats().get("peer_closed") == Some(&61));
    drop(others);
    let again = from_again(server.address);
    assert!(again, "it comes in again");
}

fn own((name, count): (&str, u64)) -> (String, u64) {
    (name.to_owned(), count)
}

fn from_again(address: SocketAddr) -> bool {
    let mut client = connect(address);
    client.write_all(&[1]).unwrap();
    client.read_exact(&mut [0]).is_ok()
}
