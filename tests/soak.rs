//! Honest clients, bad networks and attacks together, for long: descriptors, threads, memory
//! and maps stay as they were after warming up, and the counters add up.
//!
//! `NP_LONG=1` runs for `NP_SOAK_SECONDS` (3600).

mod support;

use nativeport::event::Protocol;
use std::fs;
use std::io::{Read, Write};
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
    anonymous_kib: usize,
    maps: usize,
}

fn library_threads() -> usize {
    let names = fs::read_dir("/proc/self/task").unwrap().filter_map(|task| {
        // A thread of a client may end just now.
        fs::read_to_string(task.ok()?.path().join("comm")).ok()
    });
    let ours = ["io-", "handshake-", "accepter-", "log"];
    names.filter(|name| ours.iter().any(|prefix| name.starts_with(prefix))).count()
}

impl Snapshot {
    fn take() -> Snapshot {
        let status = fs::read_to_string("/proc/self/status").unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        Snapshot {
            descriptors: fs::read_dir("/proc/self/fd").unwrap().count(),
            threads: library_threads(),
            anonymous_kib: line.trim().strip_suffix(" kB").unwrap().parse().unwrap(),
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

/// From an address of its own: whoever shares one with an attacker shares its limits.
fn hostile(to: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 9], 0)).into()).unwrap();
    socket.connect(&to.into()).unwrap();
    let stream: TcpStream = socket.into();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Framed; its first byte is sent and the answer read, unless the storm swept it away.
fn hostile_framed(to: SocketAddr) -> TcpStream {
    let mut stream = hostile(to);
    let _ = stream.write_all(&[1]);
    let _ = stream.read_exact(&mut [0]);
    stream
}

/// One of the attacks.
fn attack(plain: SocketAddr, tls: SocketAddr, round: u64) {
    match round % 7 {
        0 => (0..50).for_each(|_| reset(hostile(plain))),
        1 => {
            let mut peer = hostile_framed(plain);
            let _ = peer.write_all(&[&(64u32 << 20).to_be_bytes()[..], &[7; 1024]].concat());
            assert_ends_without_a_byte(&mut peer);
        }
        2 => {
            let mut peer = hostile_framed(plain);
            let _ = peer.write_all(&compressed_frame(&zlib(&vec![0; 3 << 20])));
            assert_ends_without_a_byte(&mut peer);
        }
        3 => {
            let mut peer = hostile_framed(plain);
            let _ = peer.write_all(&[0; 4 * 10_000]);
            reset(peer);
        }
        4 => {
            let mut peer = hostile(tls);
            let _ = peer.write_all(&noise(500, round));
            read_to_end(&mut peer);
        }
        5 => {
            let silent: Vec<_> = (0..40).map(|_| hostile(plain)).collect();
            silent.into_iter().for_each(|mut peer| drop(read_to_end(&mut peer)));
        }
        _ => {
            // Never reads; ends by writeTimeout.
            let mut peer = hostile_framed(plain);
            peer.set_write_timeout(Some(Duration::from_secs(5))).unwrap();
            let frames = frame(&noise(60_000, round)).repeat(4);
            while peer.write_all(&frames).is_ok() {}
        }
    }
}

#[test]
fn after_a_long_mix_of_honest_clients_chaos_and_attacks_everything_is_as_it_was() {
    let seconds = match std::env::var_os("NP_LONG") {
        None => 20,
        Some(_) => std::env::var("NP_SOAK_SECONDS").map_or(3600, |text| text.parse().unwrap()),
    };
    let keys = "readTimeout=2s\nhandshakeTimeout=2s\nframeTimeout=1s\nidleTimeout=5s\n\
                writeTimeout=1s\nmaxInflatedSize=2M\nsendQueueLimit=256K";
    let on_all = |listener: &nativeport::listener::Listener| {
        for protocol in Protocol::ALL {
            listener.on(protocol, Arc::new(Echo)).unwrap();
        }
    };
    let plain = server(keys, "", on_all);
    let tls = server(&format!("{keys}\n{WITH_TLS}"), TLS_SECTION, on_all);
    let toxics = [
        Toxic::Latency(Duration::from_millis(2)),
        Toxic::Bandwidth(500_000),
        Toxic::SlowClose(Duration::from_millis(100)),
        Toxic::Slicer(5),
        Toxic::TimeOut(10_000),
        Toxic::Limit(10_000),
        Toxic::Reset(10_000),
    ];
    let proxies = toxics.map(|toxic| (Chaos::new(plain.address, toxic, Way::Both), toxic));
    let (over, rounds) = (AtomicBool::new(false), AtomicUsize::new(0));
    let all = [&plain, &tls];
    let quiet = || {
        all.iter().all(|server| {
            let stats = server.listener.stats();
            stats.open == [0; 4] && stats.unidentified == 0
        }) && proxies.iter().all(|(chaos, _)| chaos.pumps() == 0)
    };
    // One phase of the mix; then everybody has left.
    let mix = |length: Duration| {
        over.store(false, SeqCst);
        let repeat = |work: &dyn Fn(u64)| {
            while !over.load(SeqCst) {
                work(rounds.fetch_add(1, SeqCst) as u64);
            }
        };
        std::thread::scope(|scope| {
            scope.spawn(|| repeat(&|round| honest(plain.address, round)));
            scope.spawn(|| repeat(&|round| honest_tls(tls.address, round)));
            for (chaos, toxic) in &proxies {
                scope.spawn(|| repeat(&|round| through(chaos, toxic.is_benign(), round)));
            }
            for first in 0..7 {
                let (repeat, plain, tls) = (&repeat, plain.address, tls.address);
                scope.spawn(move || repeat(&|_| attack(plain, tls, first)));
            }
            // This is how long it lasts, not waiting for something.
            std::thread::sleep(length);
            over.store(true, SeqCst);
        });
        wait_until("everybody's leaving", quiet);
    };
    let begun = Instant::now();
    mix(Duration::from_secs((seconds / 4).clamp(5, 120)));
    let before = Snapshot::take();
    println!("after warming up: {before:?}");
    mix(Duration::from_secs(seconds).saturating_sub(begun.elapsed()));
    let after = Snapshot::take();
    println!("at the end:       {after:?}, after {} rounds", rounds.load(SeqCst));
    for server in all {
        let stats = server.listener.stats();
        println!("{} accepted, {:?}", stats.accepted, closes(&server.listener));
        let closed: u64 = stats.closes.iter().sum();
        let open: u64 = stats.open.iter().sum();
        assert_eq!(stats.accepted, closed + open + stats.unidentified);
        wait_until("nothing held", || server.listener.stats().memory_bytes == 0);
        assert_eq!(server.runtime.connections().len(), 0);
    }
    assert_eq!(after.descriptors, before.descriptors);
    assert_eq!(after.threads, before.threads);
    // After a short warming up the allocator's arenas still fill, those of the clients too.
    let allowed_kib = if seconds < 600 { 48 << 10 } else { 16 << 10 };
    assert!(after.anonymous_kib < before.anonymous_kib + allowed_kib, "{before:?} {after:?}");
    assert!(after.maps < before.maps + 40, "{before:?} {after:?}");
}
