//! Hostile peers over real sockets: what they cost, and that others do not notice.
//!
//! One at a time, since memory is measured. Sizes are smaller than meant where that takes long;
//! with `NP_LONG=1` they are full. `--nocapture` shows the figures.
//!
//! None of them is about speed: an attack goes on until the others have had their turns, and
//! only what stands still for long fails.

mod support;

use nativeport::config::Config;
use nativeport::event::{Event, Handler, Party, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::listener::Listener;
use nativeport::runtime::Runtime;
use nativeport::status::CloseReason;
use std::collections::HashSet;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};
use support::*;

/// Held by each test: what others allocate would be counted.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner())
}

/// `full` with `NP_LONG=1`, otherwise `short`.
fn size(short: usize, full: usize) -> usize {
    if std::env::var_os("NP_LONG").is_some() { full } else { short }
}

/// Tells that something was left out, past the harness's capture of output.
fn skipped(what: &str) {
    let _ = writeln!(std::io::stderr(), "skipped: {what}");
}

fn ended(server: &Server, reason: CloseReason) -> u64 {
    server.listener.stats().closes[reason.code() as usize]
}

/// Drops what it is told; counts frames and their bytes.
#[derive(Default)]
struct Sink {
    frames: AtomicUsize,
    bytes: AtomicUsize,
}

impl Handler for Sink {
    fn on_event(&self, _: Conn, event: Event<'_>) {
        if let Event::Frames(frames) = event {
            self.frames.fetch_add(frames.len(), SeqCst);
            self.bytes.fetch_add(frames.iter().map(|frame| frame.data.len()).sum(), SeqCst);
        }
    }
}

/// First byte 1 is echoed, 3 goes to a sink.
fn echo_and_sink(runtime: &str, keys: &str) -> (Server, Arc<Sink>) {
    let sink = Arc::new(Sink::default());
    let server = server_with(runtime, keys, "", |listener| {
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        listener.on(Protocol::RemoteApplication, sink.clone()).unwrap();
    });
    (server, sink)
}

/// A connection to the sink.
fn to_sink(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(&[3]).unwrap();
    assert_eq!(read_exact(&mut stream, 1), [1]);
    stream
}

fn echoes(client: &mut TcpStream) {
    client.write_all(&frame(b"still there?")).unwrap();
    assert_eq!(read_frame(client), b"still there?");
}

/// Exchanges, each with its time.
fn exchanges(client: &mut TcpStream, count: usize) -> Vec<Duration> {
    (0..count)
        .map(|_| {
            let begun = Instant::now();
            echoes(client);
            begun.elapsed()
        })
        .collect()
}

/// Exchanges, at least `count` and until `done` says so: beside something that goes on.
fn exchanges_until(
    client: &mut TcpStream,
    count: usize,
    mut done: impl FnMut() -> bool,
) -> Vec<Duration> {
    let begun = Instant::now();
    let mut times = exchanges(client, count);
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "what goes on beside it stands still");
        times.extend(exchanges(client, 1));
    }
    times
}

/// Ends an attack also where the test fails: its threads are waited for.
struct StopAtLast<'a>(&'a AtomicBool);

impl Drop for StopAtLast<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// For people: half were quicker than the first, 99 of 100 quicker than the second.
fn figures(mut times: Vec<Duration>) -> String {
    times.sort();
    let at = |percent: usize| times[(times.len() * percent / 100).min(times.len() - 1)];
    format!("{} exchanges: p50 {:?}, p99 {:?}, worst {:?}", times.len(), at(50), at(99), at(100))
}

/// A client from this loopback address that is let in.
fn let_in_from(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let mut stream = from_address(from, to);
    stream.write_all(&[1]).unwrap();
    assert_eq!(read_exact(&mut stream, 1), [1]);
    stream
}

fn from_address(from: [u8; 4], to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

// Announcing and silence.

#[test]
fn a_thousand_peers_that_announce_64_mib_cost_what_they_sent_and_end_by_frame_timeout() {
    let _alone = alone();
    const PEERS: usize = 1000;
    let (server, sink) = echo_and_sink("ioThreads=2", "frameTimeout=5s");
    let mut bystander = framed(server.address);
    let mut peers: Vec<TcpStream> = (0..PEERS).map(|_| to_sink(server.address)).collect();
    let before = anonymous_kib();
    let mut begun = (64u32 << 20).to_be_bytes().to_vec();
    begun.resize(4 + 1024, 7);
    peers.iter_mut().for_each(|peer| peer.write_all(&begun).unwrap());
    let all = 1 + (PEERS * (1 + begun.len())) as u64;
    wait_for_count("what they sent", all, || server.listener.stats().bytes_in);
    let grown = anonymous_kib() - before;
    echoes(&mut bystander);
    let per_peer = grown as f64 / PEERS as f64;
    assert!(per_peer < 16.0, "{per_peer} KiB for each peer");
    wait_for_count("their ends", PEERS as u64, || ended(&server, CloseReason::FrameTimeout));
    assert!(peers.iter_mut().all(|peer| read_to_end(peer).is_empty()));
    assert_eq!(sink.frames.load(SeqCst), 0);
    drop(peers);
    echoes(&mut bystander);
    let left = anonymous_kib() - before;
    println!(
        "{PEERS} peers, 64 MiB announced, 1 KiB sent: {per_peer:.1} KiB each, after them {left} KiB in all"
    );
}

#[test]
fn a_thousand_silent_sockets_keep_no_client_out_from_their_address_or_another() {
    let _alone = alone();
    let server = echo_server("readTimeout=60s\nmaxHandshakes=256", "");
    let silent: Vec<TcpStream> = (0..1000).map(|_| connect(server.address)).collect();
    let mut same = let_in_from([127, 0, 0, 1], server.address);
    let mut other = let_in_from([127, 0, 0, 2], server.address);
    for client in [&mut same, &mut other] {
        exchanges(client, 10);
    }
    wait_for_count("the oldest", 744, || ended(&server, CloseReason::MaxHandshakes));
    let evicted = ended(&server, CloseReason::MaxHandshakes);
    let waiting = server.listener.stats().unidentified;
    println!("{} silent sockets: {waiting} wait, {evicted} evicted", silent.len());
    assert!(waiting <= 256, "{waiting}");
}

#[test]
fn silent_sockets_of_two_thousand_addresses_keep_no_client_out() {
    let _alone = alone();
    let server = echo_server("readTimeout=60s\nmaxHandshakes=1024", "");
    let silent: Vec<TcpStream> = (0..2000u32)
        .map(|n| from_address([127, 1, (n / 250) as u8, (n % 250) as u8 + 1], server.address))
        .collect();
    for from in [[127, 1, 0, 1], [127, 0, 0, 1], [127, 0, 0, 2]] {
        exchanges(&mut let_in_from(from, server.address), 10);
    }
    wait_for_count("the oldest", 976, || ended(&server, CloseReason::MaxHandshakes));
    let evicted = ended(&server, CloseReason::MaxHandshakes);
    println!("{} silent sockets of as many addresses: {evicted} evicted", silent.len());
}

// Bombs.

/// `len` zeros, deflated about 1:1000.
fn bomb(len: usize) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::best());
    let zeros = vec![0; 1 << 20];
    (0..len >> 20).for_each(|_| encoder.write_all(&zeros).unwrap());
    encoder.write_all(&zeros[..len % (1 << 20)]).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn bombs_on_fifty_connections_are_inflated_in_turns_with_the_exchanges_of_others() {
    let _alone = alone();
    let keys = "maxInflatedSize=4M\nframeTimeout=0\nreadTimeout=60s";
    let (server, sink) = echo_and_sink("ioThreads=2", keys);
    let wire = bomb(4 << 20);
    let ratio = (4 << 20) / wire.len();
    assert!(ratio > 900, "{ratio}");
    let bombs = compressed_frame(&wire).repeat(16);
    let stop = AtomicBool::new(false);
    let count = size(20, 1000);
    std::thread::scope(|scope| {
        let _stop = StopAtLast(&stop);
        for _ in 0..50 {
            scope.spawn(|| {
                let mut peer = to_sink(server.address);
                // Held back it waits, as long as it takes a slow machine to inflate what comes before.
                peer.set_write_timeout(None).unwrap();
                while !stop.load(SeqCst) {
                    peer.write_all(&bombs).unwrap();
                }
                reset(peer);
            });
        }
        let bombers = || server.listener.stats().open[Protocol::RemoteApplication.index()];
        wait_for_count("the bombers", 50, bombers);
        let before = sink.frames.load(SeqCst);
        let sink = &sink;
        let meanwhile = move || sink.frames.load(SeqCst) - before;
        // Each has its exchanges, whatever is inflated; and bombs are, whoever exchanges.
        let address = server.address;
        let exchanges = move || exchanges_until(&mut framed(address), count, || meanwhile() > 50);
        let others: Vec<_> = (0..4).map(|_| scope.spawn(exchanges)).collect();
        let times: Vec<Duration> =
            others.into_iter().flat_map(|other| other.join().unwrap()).collect();
        println!(
            "50 bombers 1:{ratio}, {} bombs of 4 MiB meanwhile; {}",
            meanwhile(),
            figures(times)
        );
        assert_eq!(bombers(), 50);
    });
    wait_until("their ends", || server.listener.stats().open == [0; 4]);
    assert_eq!(sink.bytes.load(SeqCst), sink.frames.load(SeqCst) * (4 << 20));
}

#[test]
fn bombs_over_the_limit_are_refused_and_cost_no_memory() {
    let _alone = alone();
    let (server, sink) = echo_and_sink("ioThreads=2", "maxInflatedSize=1M");
    let wire = compressed_frame(&bomb(size(256, 1024) << 20));
    let mut bystander = framed(server.address);
    let attack = || {
        std::thread::scope(|scope| {
            for _ in 0..50 {
                scope.spawn(|| {
                    let mut peer = to_sink(server.address);
                    let _ = peer.write_all(&wire);
                    assert_eq!(read_to_end(&mut peer), b"");
                });
            }
        });
    };
    attack();
    wait_until("the refusals", || ended(&server, CloseReason::InflatedTooLarge) == 50);
    let before = anonymous_kib();
    let most = std::thread::scope(|scope| {
        let attackers = scope.spawn(attack);
        let mut most = 0;
        while !attackers.is_finished() {
            most = most.max(anonymous_kib() - before);
            std::thread::sleep(Duration::from_millis(1));
        }
        most
    });
    wait_until("the refusals", || ended(&server, CloseReason::InflatedTooLarge) == 100);
    echoes(&mut bystander);
    assert_eq!(sink.frames.load(SeqCst), 0);
    wait_until("nothing held", || server.listener.stats().memory_bytes == 0);
    println!("a second wave of 50 bombs of {} bytes: at most {most} KiB more", wire.len());
    // All of them at once may hold their limit, twice while it grows: less than one bomb. The
    // clients' own threads are in it too.
    assert!(most < 128 << 10, "{most} KiB");
    // What is kept for the next burst goes back after some seconds.
    wait_until("their memory is back", || anonymous_kib() - before < 16 << 10);
}

#[test]
fn frames_that_inflate_to_nothing_leave_others_of_their_loop_their_turns() {
    let _alone = alone();
    let (server, sink) = echo_and_sink("ioThreads=1", "frameTimeout=0");
    // Stored blocks without bytes: legal, and work without output.
    let wire = [&[0, 0, 0, 0xff, 0xff].repeat(size(4, 60) << 18)[..], &[3, 0]].concat();
    let wire = compressed_frame(&wire);
    let mut client = framed(server.address);
    let mut attackers: Vec<TcpStream> = (0..10).map(|_| to_sink(server.address)).collect();
    std::thread::scope(|scope| {
        let writers: Vec<_> = attackers
            .iter_mut()
            .map(|attacker| scope.spawn(|| attacker.write_all(&wire).unwrap()))
            .collect();
        // All of them have sent all, and none of it is told as long as exchanges go on quickly.
        writers.into_iter().for_each(|writer| writer.join().unwrap());
        let before = sink.frames.load(SeqCst);
        let mut exchanges = 0;
        while sink.frames.load(SeqCst) < 10 {
            echoes(&mut client);
            exchanges += 1;
        }
        println!("{exchanges} exchanges beside {} frames without output", 10 - before);
        // A loop that inflates a frame in one turn has one exchange beside all ten.
        assert!(before > 0 || exchanges > 10, "{exchanges}");
    });
    assert_eq!(sink.bytes.load(SeqCst), 0);
}

#[test]
fn a_peer_that_mostly_updates_its_keys_ends_by_tls_no_data_and_others_go_on() {
    let _alone = alone();
    let tls = format!("sslSection=Tls\n{TLS_SECTION}");
    let (server, _) = echo_and_sink("ioThreads=1", &tls);
    let mut client = tls_framed(server.address);
    for attack in 1..=5 {
        let mut attacker = tls_framed(server.address);
        for _ in 0..40 {
            (0..31).for_each(|_| attacker.conn.refresh_traffic_keys().unwrap());
            if attacker.write_all(&frame(b"x")).and_then(|()| attacker.flush()).is_err() {
                break;
            }
        }
        wait_until("its end", || ended(&server, CloseReason::TlsNoData) == attack);
        client.write_all(&frame(b"hello")).unwrap();
        assert_eq!(read_frame(&mut client), b"hello");
    }
}

#[test]
fn a_peer_that_sends_on_after_our_end_is_read_for_a_bounded_number_of_bytes() {
    let _alone = alone();
    // What both systems may hold beside what is read.
    const BUFFERS: usize = 48 << 20;
    const LINGER: usize = 16 << 20;
    let tls = format!("ssl=auto\nmaxFrameSize=64K\nsslSection=Tls\n{TLS_SECTION}");
    let (server, _) = echo_and_sink("ioThreads=1", &tls);
    // A frame that is too large, and a handshake that is none.
    let no_hello = [22, 3, 1, 0, 5, 1, 0, 0, 1, 0];
    for begin in [&[1, 1, 0, 0, 0][..], &no_hello] {
        let mut peer = connect(server.address);
        peer.write_all(begin).unwrap();
        let (chunk, mut sent) = (vec![0; 1 << 20], 0);
        while let Ok(more) = peer.write(&chunk)
            && sent < 4 * (LINGER + BUFFERS)
        {
            sent += more;
        }
        println!("{sent} bytes sent behind the end");
        assert!(sent < LINGER + BUFFERS, "{sent}");
    }
    wait_until("their ends", || {
        ended(&server, CloseReason::FrameTooLarge) + ended(&server, CloseReason::TlsFailed) == 2
    });
}

// Peers that do not read, or hardly write.

/// Lets another thread of the host send whenever there is room. In a callback everything is
/// taken: there the host would have to stop by itself.
struct Spam(Mutex<Sender<Conn>>);

const SPAM_BYTES: usize = 16 << 10;

impl Handler for Spam {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        if matches!(event, Event::Opened { .. } | Event::Writable) {
            let _ = self.0.lock().unwrap().send(conn);
        }
    }
}

/// Sends to each until its queue is full or it is gone.
fn spam(room: Receiver<Conn>) {
    for conn in room {
        while conn.send_frame(&[7; SPAM_BYTES], SendFlags { no_compress: true }).is_ok() {}
    }
}

#[test]
fn two_hundred_peers_that_never_read_cost_their_high_water_mark_and_end_by_write_timeout() {
    let _alone = alone();
    const PEERS: usize = 200;
    const MARK: usize = 256 << 10;
    let (sender, room) = channel();
    let spammer = std::thread::spawn(move || spam(room));
    let keys = "sendQueueLimit=256K\nwriteTimeout=2s";
    let server = server_with("ioThreads=2", keys, "", |listener| {
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        listener.on(Protocol::RemoteApplication, Arc::new(Spam(Mutex::new(sender)))).unwrap();
    });
    let mut bystander = framed(server.address);
    let before = anonymous_kib();
    let bound = (PEERS * (MARK + SPAM_BYTES + 64)) as u64;
    let mut wave =
        |ends: usize| {
            let peers: Vec<TcpStream> = (0..PEERS)
                .map(|_| {
                    let mut peer = connect(server.address);
                    peer.write_all(&[3]).unwrap();
                    peer
                })
                .collect();
            let (mut most, mut queued) = (0, 0);
            wait_until("their ends", || {
                most = most.max(anonymous_kib() - before);
                queued =
                    queued.max(server.runtime.connections().iter().fold(0, |sum, conn| {
                        sum + conn.info().map_or(0, |info| info.queued_bytes)
                    }));
                ended(&server, CloseReason::WriteTimeout) == ends as u64
            });
            assert!(queued <= bound, "{queued} of {bound}");
            wait_until("nothing held", || server.listener.stats().memory_bytes == 0);
            echoes(&mut bystander);
            let left = anonymous_kib() - before;
            println!(
                "{PEERS} peers that never read, {} KiB allowed: queued {} KiB, memory {most} KiB \
             more, {left} KiB after them",
                (PEERS * MARK) >> 10,
                queued >> 10
            );
            drop(peers);
            most
        };
    // What is queued, with room to grow, and on its way from the thread that sends: the same
    // for each wave.
    for number in 1..=3 {
        let most = wave(number * PEERS);
        assert!(most < (bound >> 10) as i64 * 3 / 2, "wave {number}: {most} KiB");
    }
    drop((bystander, server));
    spammer.join().unwrap();
}

#[test]
fn those_who_go_on_sending_behind_our_end_hold_a_bounded_number_of_descriptors() {
    let _alone = alone();
    const LINGERING: usize = 256;
    let (server, _) = echo_and_sink("ioThreads=1", "maxFrameSize=64K");
    let mut clients: Vec<TcpStream> = Vec::new();
    for _ in 0..LINGERING + 100 {
        let mut client = framed(server.address);
        client.write_all(&[1, 0, 0, 0]).unwrap();
        assert_eq!(client.read(&mut [0]).unwrap(), 0);
        clients.push(client);
    }
    wait_until("the end of the last one", || server.listener.stats().connections == 0);
    let of_server = sockets_of(server.address);
    assert!(of_server <= LINGERING + 1, "{of_server}");
}

/// How many sockets of this process have this port at their end, the one that listens among them.
fn sockets_of(address: SocketAddr) -> usize {
    let files = fs::read_dir("/proc/self/fd").unwrap();
    let links = files.filter_map(|file| fs::read_link(file.unwrap().path()).ok());
    let ours: HashSet<String> = links.map(|link| link.to_string_lossy().into_owned()).collect();
    let table = fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let local = format!(":{:04X}", address.port());
    let rows = table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let at_it =
        rows.filter(|row| row[1].ends_with(&local)).map(|row| format!("socket:[{}]", row[9]));
    // A row may be told twice where sockets of others come and go.
    at_it.filter(|socket| ours.contains(socket)).collect::<HashSet<_>>().len()
}

#[test]
fn those_who_dribble_end_by_the_absolute_deadlines_while_they_go_on() {
    let _alone = alone();
    let (plain, _) = echo_and_sink("ioThreads=1", "frameTimeout=1s");
    let tls = echo_server(&format!("{WITH_TLS}\nhandshakeTimeout=1s"), TLS_SECTION);
    // For those who do their handshake and then say nothing.
    let patient = echo_server(&format!("{WITH_TLS}\nreadTimeout=5s"), TLS_SECTION);
    let mut bystander = framed(plain.address);
    // A ClientHello, a byte at a time; and the length and payload of a frame.
    let mut hello = vec![0x16, 3, 1, 0x10, 0, 1, 0, 0x0f, 0xfc, 3, 3];
    hello.resize(4000, 0x5a);
    let mut one = 1_000_000u32.to_be_bytes().to_vec();
    one.resize(4000, 1);
    let mut hellos: Vec<TcpStream> = (0..100).map(|_| connect(tls.address)).collect();
    let mut frames: Vec<TcpStream> = (0..100).map(|_| framed(plain.address)).collect();
    let mut silent: Vec<TlsStream> = (0..10).map(|_| tls_over(connect(patient.address))).collect();
    // One that has had no time for its handshake ends by the same deadline.
    silent.iter_mut().for_each(|client| drop(client.conn.complete_io(&mut client.sock)));
    let begun = Instant::now();
    let mut at = 0;
    let over = || {
        ended(&tls, CloseReason::HandshakeTimeout) == 100
            && ended(&patient, CloseReason::ReadTimeout) == 10
            && ended(&plain, CloseReason::FrameTimeout) == 100
    };
    while !over() {
        assert!(begun.elapsed() < PATIENCE);
        for (peers, bytes) in [(&mut hellos, &hello), (&mut frames, &one)] {
            for peer in peers {
                let _ = peer.write_all(&bytes[at % bytes.len()..][..1]);
            }
        }
        at += 1;
        // This is the attack, and waits for nothing.
        std::thread::sleep(Duration::from_millis(50));
    }
    println!("210 that dribble {at} bytes each: all ended after {:?}", begun.elapsed());
    for client in &mut silent {
        assert!(matches!(client.read(&mut [0]), Ok(0) | Err(_)));
    }
    echoes(&mut bystander);
}

// Floods.

#[test]
fn a_million_empty_frames_are_each_delivered_while_a_polite_client_is_served() {
    let _alone = alone();
    const FRAMES: usize = 1_000_000;
    let (server, sink) = echo_and_sink("ioThreads=1", "");
    let mut polite = framed(server.address);
    let before = anonymous_kib();
    let served = AtomicBool::new(false);
    std::thread::scope(|scope| {
        // It goes on until the polite client has had its turns beside it.
        let flood = scope.spawn(|| {
            let mut peer = to_sink(server.address);
            let (frames, mut sent) = ([0; 4 * 10_000], 0);
            while sent < FRAMES || !served.load(SeqCst) {
                peer.write_all(&frames).unwrap();
                sent += 10_000;
            }
            (peer, sent)
        });
        let served = StopAtLast(&served);
        let begun = Instant::now();
        let mut times = Vec::new();
        wait_for_count("the flood", FRAMES as u64, || {
            times.extend(exchanges(&mut polite, 1));
            sink.frames.load(SeqCst) as u64
        });
        times.extend(exchanges(&mut polite, 10));
        drop(served);
        let took = begun.elapsed();
        let grown = anonymous_kib() - before;
        println!("{FRAMES} empty frames in {took:?}, {grown} KiB more; {}", figures(times));
        assert!(grown < 4 << 10, "{grown}");
        let (peer, sent) = flood.join().unwrap();
        wait_for_count("all frames", sent as u64, || sink.frames.load(SeqCst) as u64);
        drop(peer);
    });
    assert_eq!(sink.bytes.load(SeqCst), 0);
}

#[test]
fn one_who_floods_with_frames_leaves_a_polite_client_of_the_same_loop_its_turns() {
    let _alone = alone();
    let (server, sink) = echo_and_sink("ioThreads=1", "");
    let mut polite = framed(server.address);
    let quiet = figures(exchanges(&mut polite, 500));
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopAtLast(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                let mut peer = to_sink(server.address);
                let frames = frame(&[1; 100]).repeat(1000);
                while !stop.load(SeqCst) {
                    peer.write_all(&frames).unwrap();
                }
                reset(peer);
            });
        }
        wait_until("the flood", || sink.frames.load(SeqCst) > 10_000);
        let before = sink.frames.load(SeqCst);
        let meanwhile = || sink.frames.load(SeqCst) - before;
        let times = exchanges_until(&mut polite, size(200, 10_000), || meanwhile() > 10_000);
        println!("quiet: {quiet}\nbeside {} frames of a flood: {}", meanwhile(), figures(times));
    });
}

#[test]
fn a_stream_of_newcomers_that_are_reset_leaves_a_polite_client_its_turns() {
    let _alone = alone();
    let (server, _) = echo_and_sink("ioThreads=1", "");
    let mut polite = framed(server.address);
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _stop = StopAtLast(&stop);
        for _ in 0..2 {
            scope.spawn(|| {
                while !stop.load(SeqCst) {
                    // One that was long on its way may have been evicted by now, and
                    // learns of its reset at once.
                    if let Ok(newcomer) = TcpStream::connect(server.address) {
                        reset(newcomer);
                    }
                }
            });
        }
        let accepted = || server.listener.stats().accepted;
        wait_for_count("the stream", 100, accepted);
        let before = accepted();
        let meanwhile = || accepted() - before;
        let times = exchanges_until(&mut polite, size(200, 10_000), || meanwhile() > 100);
        println!("beside {} newcomers: {}", meanwhile(), figures(times));
    });
    // All of them are counted.
    wait_until("their ends", || {
        let stats = server.listener.stats();
        stats.accepted == stats.closes.iter().sum::<u64>() + 1
    });
}

// Networks of our own.

/// Two network namespaces with a cable, 10.77.0.1 (a) and 10.77.0.2 (b), until dropped.
struct Networks(String);

impl Networks {
    /// `None`, visibly, where that is not allowed.
    fn new(name: &str) -> Option<Networks> {
        let networks = Networks(format!("np-{name}-{}", std::process::id()));
        let n = &networks.0;
        let (cable_a, cable_b) = (format!("{name}a"), format!("{name}b"));
        let made = ip(&format!("netns add {n}-a"))
            && ip(&format!("netns add {n}-b"))
            && ip(&format!("-n {n}-a link add {cable_a} type veth peer name {cable_b}"))
            && ip(&format!("-n {n}-a link set {cable_b} netns {n}-b"))
            && ip(&format!("-n {n}-a link set {cable_a} name cable"))
            && ip(&format!("-n {n}-b link set {cable_b} name cable"))
            && ip(&format!("-n {n}-a addr add 10.77.0.1/16 dev cable"))
            && ip(&format!("-n {n}-b addr add 10.77.0.2/16 dev cable"))
            && networks.plug("up")
            && ip(&format!("-n {n}-b link set cable up"));
        if !made {
            skipped("network namespaces are not allowed here, or there is no ip");
        }
        made.then_some(networks)
    }

    fn plug(&self, how: &str) -> bool {
        ip(&format!("-n {}-a link set cable {how}", self.0))
    }

    /// Runs `work` in one of them, in a thread of its own; what it starts stays there.
    fn inside<R: Send>(&self, side: &str, work: impl FnOnce() -> R + Send) -> R {
        let file = fs::File::open(format!("/var/run/netns/{}-{side}", self.0)).unwrap();
        let enter = move || {
            // SAFETY: a descriptor that is open, and a thread that ends with `work`.
            let result = unsafe { libc::setns(file.as_raw_fd(), libc::CLONE_NEWNET) };
            assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
            work()
        };
        std::thread::scope(|scope| scope.spawn(enter).join().unwrap())
    }

    /// An echo server in b.
    fn serve(&self, keys: &str, handler: Arc<dyn Handler>) -> Server {
        let text = format!("[Runtime]\nioThreads=2\n[Port]\nport=0\nbindAddress=10.77.0.2\n{keys}");
        self.inside("b", || {
            let mut config = Config::new();
            config.load_string(text.as_bytes(), "test.ini").unwrap();
            let runtime = Runtime::new(&config).unwrap();
            let listener = Listener::new(&runtime, &config, 0).unwrap();
            listener.on(Protocol::Client, handler).unwrap();
            listener.start().unwrap();
            let address = listener.addresses()[0];
            Server { listener, runtime, address, chaos: None }
        })
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        ip(&format!("netns del {}-a", self.0));
        ip(&format!("netns del {}-b", self.0));
    }
}

fn ip(arguments: &str) -> bool {
    let mut command = Command::new("ip");
    command.args(arguments.split(' ')).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// A SYN as it is on the wire, from an address that answers nobody.
fn syn(number: u32, to: SocketAddr) -> [u8; 40] {
    let mut packet = [0; 40];
    packet[0] = 0x45;
    packet[3] = 40;
    packet[8..10].copy_from_slice(&[64, 6]);
    packet[12..16].copy_from_slice(&[10, 77, 1, (number % 200) as u8 + 1]);
    packet[16..20].copy_from_slice(&[10, 77, 0, 2]);
    packet[20..22].copy_from_slice(&((number / 200 % 60_000) as u16 + 1024).to_be_bytes());
    packet[22..24].copy_from_slice(&to.port().to_be_bytes());
    packet[24..28].copy_from_slice(&number.to_be_bytes());
    packet[32..36].copy_from_slice(&[0x50, 0x02, 0xff, 0xff]);
    // Over the addresses, the protocol and the length too.
    let words = packet[12..].chunks(2).map(|pair| u32::from(pair[0]) << 8 | u32::from(pair[1]));
    let mut sum: u32 = words.sum::<u32>() + 6 + 20;
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    packet[36..38].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet
}

#[test]
fn a_syn_flood_reaches_nothing_of_ours_and_real_clients_are_served() {
    let _alone = alone();
    let Some(networks) = Networks::new("flood") else { return };
    let server = networks.serve("", Arc::new(Echo));
    let clients = size(100, 1000);
    let (stop, sent) = (AtomicBool::new(false), AtomicUsize::new(0));
    let before = anonymous_kib();
    let flood = || {
        use socket2::{Domain, Protocol, Socket, Type};
        let raw = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(255))).unwrap();
        let to = socket2::SockAddr::from(server.address);
        while !stop.load(SeqCst) {
            let number = sent.fetch_add(1, SeqCst) as u32;
            // The cable may be full.
            let _ = raw.send_to(&syn(number, server.address), &to);
        }
    };
    std::thread::scope(|scope| {
        let _stop = StopAtLast(&stop);
        let (networks, flood) = (&networks, &flood);
        scope.spawn(move || networks.inside("a", flood));
        wait_for_count("the flood", 20_000, || sent.load(SeqCst) as u64);
        networks.inside("a", || {
            for _ in 0..clients {
                exchanges(&mut framed(server.address), 3);
            }
        });
        let many = size(100_000, 1_000_000) as u64;
        wait_for_count("more of the flood", many, || sent.load(SeqCst) as u64);
    });
    let cookies = networks.inside("b", || {
        let text = fs::read_to_string("/proc/thread-self/net/netstat").unwrap();
        let mut lines = text.lines().map(|line| line.split(' '));
        let (names, numbers) = (lines.next().unwrap(), lines.next().unwrap());
        let cookies = names.zip(numbers).find(|(name, _)| *name == "SyncookiesSent").unwrap().1;
        cookies.parse::<u64>().unwrap()
    });
    let grown = anonymous_kib() - before;
    let sent = sent.load(SeqCst);
    let accepted = server.listener.stats().accepted;
    println!("{sent} SYNs, {cookies} cookies: {accepted} of {clients} served, {grown} KiB more");
    assert_eq!(accepted, clients as u64);
    assert!(cookies > 0 && grown < 4 << 10, "{cookies} {grown}");
}

#[test]
fn through_a_partition_data_arrives_late_or_the_connection_ends() {
    let _alone = alone();
    let Some(networks) = Networks::new("part") else { return };
    let (handler, log) = recorder(false, |_, _| {});
    // Short, measured by the deadlines: what was sent meanwhile arrives.
    let patient = networks.serve("", Arc::new(Echo));
    let mut late = networks.inside("a", || framed(patient.address));
    echoes(&mut late);
    assert!(networks.plug("down"));
    late.write_all(&frame(b"sent into the void")).unwrap();
    assert!(networks.plug("up"));
    assert_eq!(read_frame(&mut late), b"sent into the void");
    // Longer than writeTimeout: output that waits ends it, and the peer learns when it asks.
    let server = networks.serve("writeTimeout=2s\nkeepAlive=1s", handler);
    let mut lost = networks.inside("a", || framed(server.address));
    let conn = log.opened();
    assert!(networks.plug("down"));
    for _ in 0..64 {
        let _ = conn.send_frame(&[7; 100_000], SendFlags { no_compress: true });
    }
    let info = log.closed();
    println!(
        "a partition: {} after {} ms, {} unsent",
        info.reason.name(),
        info.duration_ms,
        info.unsent_bytes
    );
    assert_eq!(info.reason, CloseReason::WriteTimeout);
    assert!(info.unsent_bytes > 0);
    assert!(networks.plug("up"));
    let _ = lost.write_all(&frame(b"still there?"));
    read_to_end(&mut lost);
    echoes(&mut late);
}

#[test]
fn output_that_a_vanished_peer_does_not_acknowledge_ends_it_by_write_timeout() {
    let _alone = alone();
    let Some(networks) = Networks::new("gone") else { return };
    let (handler, log) = recorder(false, |_, _| {});
    let server = networks.serve("writeTimeout=2s\nkeepAlive=0", handler);
    let _peer = networks.inside("a", || framed(server.address));
    let conn = log.opened();
    assert!(networks.plug("down"));
    // The system takes it at once: nothing waits with us.
    conn.send_frame(b"to nobody", SendFlags::default()).unwrap();
    // Or it has ended already.
    wait_until("the system's taking it", || {
        conn.info().map_or(true, |info| info.queued_bytes == 0)
    });
    let info = log.closed();
    println!("unacknowledged: {} after {} ms", info.reason.name(), info.duration_ms);
    assert_eq!((info.reason, info.by), (CloseReason::WriteTimeout, Party::Library));
    assert_eq!((info.os_error, info.unsent_bytes), (0, 0));
}

#[test]
fn an_idle_peer_that_has_vanished_ends_by_keep_alive_behind_the_last_probe() {
    // Beside the others: it waits for the system, a minute, and takes nothing.
    let Some(networks) = Networks::new("idle") else { return };
    let (handler, log) = recorder(false, |_, _| {});
    let server = networks.serve("writeTimeout=2s\nkeepAlive=1s", handler);
    let mut peer = networks.inside("a", || framed(server.address));
    // It acknowledges all that was sent: nothing is to be waited for but the peer itself.
    peer.write_all(&frame(b"the last word")).unwrap();
    log.frame();
    assert!(networks.plug("down"));
    let info = log.closed();
    println!("half-open and idle: {} after {} ms", info.reason.name(), info.duration_ms);
    assert_eq!((info.reason, info.unsent_bytes), (CloseReason::KeepAlive, 0));
    // The fourth probe comes 45 s after the first. That one alone may have been lost.
    assert!(info.duration_ms > 45_000, "{} ms", info.duration_ms);
}
