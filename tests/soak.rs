//! Honest clients, bad networks and attacks together, for long: descriptors, threads, memory
//! and maps stay as they were after warming up, and the counters add up.
//!
//! It runs for `NP_SOAK_SECONDS`: 20 if not told, 3600 with `NP_LONG=1`.

mod support;

use nativeport::config::Config;
use nativeport::event::Protocol;
use nativeport::listener::Listener;
use nativeport::runtime::Runtime;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::chaos::{Chaos, Toxic, Way};
use support::*;

/// What a process holds.
#[derive(Clone, Copy, Debug)]
struct Snapshot {
    descriptors: usize,
    /// Those of the library, by their names; the clients' own come and go.
    threads: usize,
    anonymous_kib: i64,
    maps: usize,
}

fn library_threads() -> usize {
    let names = fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
        // A thread of a client may end just now.
        fs::read_to_string(task.ok()?.path().join("comm")).ok()
    });
    names.filter(|name| name.starts_with("np-")).count()
}

impl Snapshot {
    fn take() -> Snapshot {
        Snapshot {
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: library_threads(),
            anonymous_kib: anonymous_kib(),
            maps: fs::read_to_string("/proc/self/maps").unwrap().lines().count(),
        }
    }
}

/// Frames there and back, every byte compared.
fn honest(address: SocketAddr, round: u64) {
    let mut client = framed(address);
    for n in 0..20 {
        let payload = noise((round as usize * 131 + n * 997) % 20_000, round + n as u64);
        client.write_all(&frame(&payload)).unwrap();
        assert!(read_frame(&mut client) == payload);
    }
}

/// The same with TLS, compressed.
fn honest_tls(address: SocketAddr, round: u64) {
    let mut client = tls_framed(address);
    for n in 0..10 {
        let payload = compressible(600 + n * 1000, round as usize);
        client.write_all(&compressed_frame(&zlib(&payload))).unwrap();
        let (compressed, wire) = read_wire_frame(&mut client);
        assert!(compressed && unzlib(&wire) == payload);
    }
    client.conn.send_close_notify();
    let _ = client.flush();
}

/// Frames through a toxic: right as far as they come.
fn through(chaos: &Chaos, whole: bool, round: u64) {
    let mut client = connect(chaos.address);
    client.set_read_timeout(Some(Duration::from_secs(if whole { 60 } else { 3 }))).unwrap();
    let payload = noise(3000, round);
    let mut talk = || -> std::io::Result<()> {
        client.write_all(&[1])?;
        client.read_exact(&mut [0])?;
        for _ in 0..10 {
            client.write_all(&frame(&payload))?;
            let mut echo = vec![0; 4 + payload.len()];
            client.read_exact(&mut echo)?;
            assert!(echo[4..] == payload);
        }
        client.shutdown(Shutdown::Write)
    };
    let result = talk();
    assert!(!whole || result.is_ok(), "{result:?}");
}

/// From an address of its own: whoever shares one with an attacker shares its limits. `None`
/// if it was evicted before it knew that it was connected.
fn hostile(to: SocketAddr) -> Option<TcpStream> {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 9], 0)).into()).unwrap();
    match socket.connect(&to.into()) {
        Ok(()) => {}
        Err(error) => {
            let made_room = [ErrorKind::ConnectionReset, ErrorKind::ConnectionAborted];
            assert!(made_room.contains(&error.kind()), "{error}");
            return None;
        }
    }
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    Some(stream)
}

/// Framed; its first byte is sent and the answer read, unless the storm swept it away.
fn hostile_framed(to: SocketAddr) -> Option<TcpStream> {
    let mut stream = hostile(to)?;
    let _ = stream.write_all(&[1]);
    let _ = stream.read_exact(&mut [0]);
    Some(stream)
}

/// One of the attacks.
fn attack(ports: &Ports, number: u64, round: u64) -> Option<()> {
    let [plain, tls, strict] = ports.addresses();
    match number {
        0 => (0..50).filter_map(|_| hostile(plain)).for_each(reset),
        1 => {
            let mut peer = hostile_framed(strict)?;
            let _ = peer.write_all(&[&(64u32 << 20).to_be_bytes()[..], &[7; 1024]].concat());
            assert_ends_without_a_byte(&mut peer);
        }
        2 => {
            let mut peer = hostile_framed(plain)?;
            let _ = peer.write_all(&compressed_frame(&zlib(&vec![0; 3 << 20])));
            assert_ends_without_a_byte(&mut peer);
        }
        3 => {
            let mut peer = hostile_framed(plain)?;
            let _ = peer.write_all(&[0; 4 * 10_000]);
            reset(peer);
        }
        4 => {
            let mut peer = hostile(tls)?;
            let _ = peer.write_all(&noise(500, round));
            read_to_end(&mut peer);
        }
        5 => {
            let silent: Vec<_> = (0..40).filter_map(|_| hostile(strict)).collect();
            silent.into_iter().for_each(|mut peer| drop(read_to_end(&mut peer)));
        }
        _ => {
            // Never reads; ends by writeTimeout.
            let mut peer = hostile_framed(strict)?;
            peer.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
            let frames = frame(&noise(60_000, round)).repeat(4);
            while peer.write_all(&frames).is_ok() {}
        }
    }
    Some(())
}

/// Three ports on the same loops. Whoever is to end by a deadline meets short ones; whoever is
/// to get through everything, only such as a busy machine does not miss.
struct Ports {
    runtime: Runtime,
    listeners: [Listener; 3],
}

impl Ports {
    fn start() -> Ports {
        let port = |name: &str, keys: &str| {
            format!(
                "[Port.{name}]\nport=0\nbindAddress=127.0.0.1\nmaxInflatedSize=2M\n\
                 sendQueueLimit=256K\n{keys}\n"
            )
        };
        let text = [
            "[Runtime]\nioThreads=2\n".to_owned(),
            port("plain", "readTimeout=20s\nframeTimeout=60s"),
            port("tls", "readTimeout=60s\nframeTimeout=60s\nhandshakeTimeout=60s\nsslSection=Tls"),
            port("strict", "readTimeout=2s\nframeTimeout=1s\nidleTimeout=5s\nwriteTimeout=1s"),
            TLS_SECTION.to_owned(),
        ];
        let mut config = Config::new();
        config.load_string(text.concat().as_bytes(), "soak.ini").unwrap();
        let runtime = Runtime::new(&config).unwrap();
        let listeners = [0, 1, 2].map(|index| {
            let listener = Listener::new(&runtime, &config, index).unwrap();
            for protocol in Protocol::ALL {
                listener.on(protocol, Arc::new(Echo)).unwrap();
            }
            listener.start().unwrap();
            listener
        });
        Ports { runtime, listeners }
    }

    /// Of the plain one, that with TLS, and the strict one.
    fn addresses(&self) -> [SocketAddr; 3] {
        self.listeners.each_ref().map(|listener| listener.addresses()[0])
    }
}

#[test]
fn after_a_long_mix_of_honest_clients_chaos_and_attacks_everything_is_as_it_was() {
    let seconds = match std::env::var("NP_SOAK_SECONDS") {
        Ok(text) => text.parse().unwrap(),
        Err(_) if std::env::var_os("NP_LONG").is_some() => 3600,
        Err(_) => 20,
    };
    // It is meant to find what grows, and leaves the machine to others.
    let pause = Duration::from_millis(50);
    let ports = Ports::start();
    let [plain, tls, strict] = ports.addresses();
    let toxics = [
        Toxic::Latency(Duration::from_millis(2)),
        Toxic::Bandwidth(500_000),
        Toxic::SlowClose(Duration::from_millis(100)),
        Toxic::Slicer(5),
        Toxic::TimeOut(10_000),
        Toxic::Limit(10_000),
        Toxic::Reset(10_000),
    ];
    let proxies = toxics.map(|toxic| {
        let to = if toxic.is_benign() { plain } else { strict };
        (Chaos::new(to, toxic, Way::Both), toxic)
    });
    let (over, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let descriptors = Snapshot::take().descriptors;
    let quiet = || {
        ports.listeners.iter().all(|listener| {
            let stats = listener.stats();
            stats.open == [0; 4] && stats.unidentified == 0
        }) && proxies.iter().all(|(chaos, _)| chaos.pumps() == 0)
    };
    // One phase of the mix; then everybody has left.
    let mix = |length: Duration| {
        over.store(false, SeqCst);
        let repeat = |work: &dyn Fn(u64)| {
            while !over.load(SeqCst) {
                work(rounds.fetch_add(1, SeqCst) as u64);
                std::thread::sleep(pause);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| repeat(&|round| honest(plain, round)));
            scope.spawn(|| repeat(&|round| honest_tls(tls, round)));
            for (chaos, toxic) in &proxies {
                scope.spawn(|| repeat(&|round| through(chaos, toxic.is_benign(), round)));
            }
            for number in 0..7 {
                let (repeat, ports) = (&repeat, &ports);
                scope.spawn(move || repeat(&|round| attack(ports, number, round).unwrap_or(())));
            }
            // This is how long it lasts, not waiting for something.
            std::thread::sleep(length);
            over.store(true, SeqCst);
        });
        wait_until("everybody's leaving", quiet);
        // They are counted just before they let go.
        let mut now = Snapshot::take();
        wait_until("the end of what they held", || {
            now = Snapshot::take();
            now.descriptors <= descriptors
        });
        now
    };
    let begun = Instant::now();
    let before = mix(Duration::from_secs((seconds / 4).clamp(5, 120)));
    println!("after warming up: {before:?}");
    let after = mix(Duration::from_secs(seconds).saturating_sub(begun.elapsed()));
    println!("at the end:       {after:?}, after {} rounds", rounds.load(SeqCst));
    for listener in &ports.listeners {
        wait_until("an end for each", || {
            let stats = listener.stats();
            stats.accepted == stats.closes.iter().sum::<u64>()
        });
        println!("{} accepted, {:?}", listener.stats().accepted, closes(listener));
    }
    wait_until("nothing held", || ports.runtime.stats().memory_bytes == 0);
    assert_eq!(ports.runtime.connections().len(), 0);
    assert_eq!(after.threads, before.threads);
    // After a short warming up the allocator's arenas still fill, those of the clients too.
    let allowed_kib = if seconds < 600 { 48 << 10 } else { 16 << 10 };
    assert!(after.anonymous_kib < before.anonymous_kib + allowed_kib, "{before:?} {after:?}");
    assert!(after.maps < before.maps + 40, "{before:?} {after:?}");
}
