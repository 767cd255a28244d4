//! Worlds without chance, for what a seed would meet only now and then.

use super::wire::{LOOP, PeerEnd, line};
use crate::config::Config;
use crate::event::{Event, Handler, Protocol};
use crate::handles;
use crate::listener::Port;
use crate::reactor::Loop;
use crate::reactor::door::Control;
use crate::reactor::transport::Transport;
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

/// A loop whose host polls one event at a time, and a port for framed clients.
struct Scene {
    core: Arc<Core>,
    port: Arc<Port>,
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
        let (core, _) = Core::assemble(&settings.runtime, Consumer::Poll, clock).unwrap();
        let (_, reactor) = core.add_loop(Box::new(vec![0; 64 << 10])).unwrap();
        core.fix_loops().unwrap();
        let port = settings.ports.into_iter().next().unwrap();
        let port = Arc::new(Port::new(core.clone(), port, 0).unwrap());
        port.simulate_handler(Protocol::Client, Arc::new(Silent));
        port.simulate_start();
        Scene { core, port, reactor, peers: Vec::new(), now_ms }
    }

    /// A framed client, whose connection is open when this returns.
    fn connect(&mut self) -> PeerEnd {
        let (peer, server) = line(1000);
        let number = self.peers.len() as u8 + 1;
        let address = SocketAddr::from(([10, 0, 0, number], 1000));
        let transport = Transport::Simulated(Box::new(server));
        let newcomer = self.port.admit(transport, address).expect("the port has room");
        let door = &self.port.first_doors()[0];
        door.expects_newcomer();
        door.send(Control::Accepted(vec![newcomer]));
        peer.send(&[1]);
        self.peers.push(peer.clone());
        while self.open() < self.peers.len() as u64 {
            self.round(1);
        }
        peer
    }

    /// One round of the host's, and time passes after it.
    fn round(&mut self, ms: u64) {
        LOOP.set(0);
        let ready: Vec<_> = self.peers.iter().filter_map(|peer| peer.take_readiness(0)).collect();
        self.reactor.simulated_round(ready.into_iter(), 1);
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
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
