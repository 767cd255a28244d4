//! Worlds without chance, for what a seed would meet only now and then.

use super::wire::{LOOP, PeerEnd, line};
use crate::config::Config;
use crate::event::{Event, Handler, Protocol};
use crate::handles;
use crate::listener::Port;
use crate::reactor::door::Control;
use crate::reactor::transport::Transport;
use crate::reactor::{Loop, Readiness};
use crate::runtime::{Clock, Consumer, Core};
use crate::stats::Stats;
use crate::status::CloseReason;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A frame of one byte.
const FRAME: [u8; 5] = [0, 0, 0, 1, b'x'];

struct Silent;

impl Handler for Silent {
    fn on_event(&self, _: handles::Conn, _: Event<'_>) {}
}

/// A loop whose host polls one event at a time, one for handshakes, and a port for framed clients.
struct Scene {
    core: Arc<Core>,
    port: Arc<Port>,
    handshakes: Loop,
    reactor: Loop,
    peers: Vec<PeerEnd>,
    now_ms: Arc<AtomicU64>,
}

impl Scene {
    fn new(keys: &str) -> Scene {
        let mut config = Config::new();
        config.load_string(format!("[Port]\nport = 0\n{keys}").as_bytes(), "scene").unwrap();
        let (settings, findings) = config.resolve();
        assert!(findings.is_empty(), "{findings:?}");
        let now_ms = Arc::new(AtomicU64::new(1000));
        let clock = Clock::Simulated(now_ms.clone());
        let (core, parts) = Core::assemble(&settings.runtime, Consumer::Poll, clock).unwrap();
        let handshakes = parts.into_iter().next().unwrap().into_loop(core.clone(), 0);
        let (_, reactor) = core.add_loop(Box::new(vec![0; 64 << 10])).unwrap();
        core.fix_loops().unwrap();
        let port = settings.ports.into_iter().next().unwrap();
        let port = Arc::new(Port::new(core.clone(), port, 0).unwrap());
        port.simulate_handler(Protocol::Client, Arc::new(Silent));
        port.simulate_start();
        Scene { core, port, handshakes, reactor, peers: Vec::new(), now_ms }
    }

    /// A peer that has connected and is on its way to a loop.
    fn knock(&mut self) -> PeerEnd {
        let (peer, server) = line(1000);
        let number = self.peers.len() as u16 + 1;
        let address = SocketAddr::from(([10, 0, 0, 1], number));
        let transport = Transport::Simulated(Box::new(server));
        let newcomer = self.port.admit(transport, address).expect("the port has room");
        let door = &self.port.first_doors()[0];
        door.expects_newcomer();
        door.send(Control::Accepted(vec![newcomer]));
        self.peers.push(peer.clone());
        peer
    }

    /// A framed client, whose connection is open when this returns.
    fn connect(&mut self) -> PeerEnd {
        let peer = self.knock();
        peer.send(&[1]);
        while self.open() < self.peers.len() as u64 {
            self.round(1);
        }
        peer
    }

    /// One round of the host's, and time passes after it.
    fn round(&mut self, ms: u64) {
        let ready = self.ready(1);
        self.reactor.simulated_round(ready.into_iter(), 1);
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    fn handshake_turn(&mut self) {
        let ready = self.ready(0);
        self.handshakes.turn(ready.into_iter());
    }

    /// What is ready at a loop, whose turn is next.
    fn ready(&self, loop_index: usize) -> Vec<Readiness> {
        LOOP.set(loop_index);
        self.peers.iter().filter_map(|peer| peer.take_readiness(loop_index)).collect()
    }

    fn stats(&self) -> Stats {
        let mut stats = Stats::empty();
        stats.add(&self.port);
        stats
    }

    fn open(&self) -> u64 {
        self.stats().opened[Protocol::Client.index()]
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A running port and its core hold one another.
        self.port.stop(0);
        self.core.stop(0);
    }
}

#[test]
fn a_deadline_holds_on_a_polled_loop_that_never_has_room_for_all() {
    let mut scene = Scene::new("frameTimeout = 300ms\n");
    let drips = scene.connect();
    // As many as there are rounds in a tick of the timers: whoever has no turn when one of these
    // ends has none when the next does.
    let busy: Vec<PeerEnd> = (0..10).map(|_| scene.connect()).collect();
    drips.send(&[0, 0, 100, 0]);
    let ended = |scene: &Scene| scene.stats().closes[CloseReason::FrameTimeout.code() as usize];
    let mut rounds = 0;
    while ended(&scene) == 0 {
        rounds += 1;
        assert!(rounds < 100, "it goes on a second after it began");
        drips.send(b"y");
        busy.iter().for_each(|peer| peer.send(&FRAME));
        scene.round(10);
    }
    assert_eq!(scene.stats().closes.iter().sum::<u64>(), 1, "nobody else ends");
}

#[test]
fn a_frame_that_has_come_in_time_is_no_late_one_because_its_loop_reads_it_late() {
    let mut scene = Scene::new("frameTimeout = 300ms\n");
    let peer = scene.connect();
    let busy: Vec<PeerEnd> = (0..10).map(|_| scene.connect()).collect();
    let frames = |scene: &Scene| scene.stats().frames_in;
    peer.send(&FRAME[..3]);
    scene.round(1);
    assert_eq!(frames(&scene), 0);
    busy.iter().for_each(|peer| peer.send(&FRAME));
    scene.round(1);
    // In time, but behind others, for each of whom a poll of the host's takes its time.
    peer.send(&FRAME[3..]);
    for _ in 0..30 {
        busy.iter().for_each(|peer| peer.send(&FRAME));
        scene.round(100);
    }
    assert_eq!(scene.stats().closes.iter().sum::<u64>(), 0, "nobody ends");
    peer.send(&FRAME);
    let before = frames(&scene);
    (0..20).for_each(|_| scene.round(1));
    assert!(frames(&scene) > before);
}

#[test]
fn a_loop_that_is_held_up_is_told_of_no_more_doomed_ones_than_it_has() {
    let mut scene = Scene::new("maxHandshakes = 1\n");
    let _silent = scene.knock();
    scene.round(1);
    let door = scene.port.first_doors()[0].clone();
    assert_eq!(door.messages(), 0);
    for _ in 0..50 {
        scene.knock();
    }
    assert_eq!(door.messages(), 50 + 1, "each newcomer, and the one that it has had");
    // Who was doomed on the way ends when it comes, and the last one stays.
    (0..200).for_each(|_| scene.round(1));
    assert_eq!(scene.stats().closes[CloseReason::MaxHandshakes.code() as usize], 50);
    assert_eq!(scene.stats().unidentified, 1);
}

#[test]
fn with_tls_nobody_is_accepted_whom_a_loop_behind_the_handshakes_has_not_looked_at() {
    let (certificate, key) = super::world::identity();
    let mut scene = Scene::new(&format!(
        "ssl = auto\nsslSection = TLS\n[TLS]\ncertificate = {certificate}\nprivateKey = {key}\n"
    ));
    let all = scene.port.room();
    for come in 1..=all {
        // Without TLS, which it may do here, its way is the same.
        scene.knock().send(&[1]);
        scene.handshake_turn();
        scene.handshake_turn();
        assert_eq!(scene.port.room(), all - come);
    }
    while scene.open() < all as u64 {
        scene.round(1);
    }
    assert_eq!(scene.port.room(), all);
}
