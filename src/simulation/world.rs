//! One world: a port, its loops, its peers, its host, its clock.

use super::host::Host;
use super::model::{Terms, judge};
use super::peer::{MAX_FRAME, MAX_INFLATED, Peer, Plan};
use super::wire::{LOOP, NO_LOOP, PeerEnd, ServerEnd, line};
use crate::accept::{admit, first};
use crate::base::random::Random;
use crate::config::Config;
use crate::event::Protocol;
use crate::net::transport::Transport;
use crate::port::Port;
use crate::port::commons::Clock;
use crate::reactor::Loop;
use crate::reactor::loops::{Arrival, least_loaded};
use crate::runtime::stats::Stats;
use crate::runtime::{Consumer, Core};
use crate::status::CloseReason;
use crate::tls::test_peer::Folder;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

struct World {
    random: Random,
    now_ms: Arc<AtomicU64>,
    core: Arc<Core>,
    port: Arc<Port>,
    loops: Vec<Loop>,
    peers: Vec<Peer>,
    /// From so many addresses.
    addresses: usize,
    /// Connections that nobody has accepted yet.
    backlog: VecDeque<(SocketAddr, ServerEnd)>,
    host: Arc<Host>,
    /// The port was stopped while connections were there.
    was_cut: bool,
    /// Rounds that are left to everybody at the end, before the port stops.
    patience: usize,
}

/// Ed25519, whose signatures are always equally long: so a seed means the same each time.
pub(super) fn identity() -> (String, String) {
    static FILES: OnceLock<(Folder, String, String)> = OnceLock::new();
    let (_, certificate, key) = FILES.get_or_init(|| {
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let parameters = rcgen::CertificateParams::new(vec!["host.example".to_owned()]).unwrap();
        let certificate = parameters.self_signed(&pair).unwrap();
        let folder = Folder::new();
        let path = folder.write("server.pem", &certificate.pem(), 0o600);
        let key = folder.write("server.key", &pair.serialize_pem(), 0o600);
        (folder, path.display().to_string(), key.display().to_string())
    });
    (certificate.clone(), key.clone())
}

/// Runs a world to its end; gives its counters. Panics where the model disagrees. With `wire`
/// the first peer sends these bytes, and things happen until the script is used up.
pub(super) fn run(mut random: Random, wire: Option<&[u8]>) -> Stats {
    let (ini, terms, tls) = settings(&mut random);
    crate::base::canary::set_shortage(terms.memory_is_out.then(|| random.next()));
    let mut config = Config::new();
    config.load_string(ini.as_bytes(), "simulation").unwrap();
    let (settings, findings) = config.resolve();
    let errors = findings.iter().filter(|f| f.severity == crate::config::Severity::Error);
    assert_eq!(errors.map(|f| f.to_string()).collect::<Vec<_>>(), Vec::<String>::new());
    let now_ms = Arc::new(AtomicU64::new(1000));
    let consumer = *random.pick(&[
        Consumer::Callbacks,
        Consumer::Callbacks,
        Consumer::Workers,
        Consumer::Poll,
    ]);
    let (core, parts) =
        Core::assemble(&settings.runtime, consumer, Clock::Simulated(now_ms.clone())).unwrap();
    let mut loops: Vec<Loop> = parts
        .into_iter()
        .enumerate()
        .map(|(position, part)| part.into_loop(core.commons.clone(), core.loops.clone(), position))
        .collect();
    if consumer == Consumer::Poll {
        for _ in 0..settings.runtime.io_threads {
            let len = *random.pick(&[20 << 10, 64 << 10, 256 << 10]);
            loops.push(core.add_loop(Box::new(vec![0; len])).unwrap().1);
        }
    }
    core.fix_loops().unwrap();
    let port_settings = settings.ports.into_iter().next().unwrap();
    let port = core.make_port(port_settings, 0).unwrap();
    let host = Arc::new(Host::new(&mut random, consumer));
    for protocol in Protocol::ALL {
        if protocol != Protocol::Relay || random.one_in(2) {
            port.simulate_handler(protocol, host.clone());
        }
    }
    if host.asks {
        port.simulate_admission(host.clone());
    }
    core.simulate_start(&port);
    let addresses = *random.pick(&[1, 2, 5]);
    let mut world = World {
        random,
        addresses,
        now_ms,
        core,
        port,
        loops,
        peers: Vec::new(),
        backlog: VecDeque::new(),
        host,
        was_cut: false,
        patience: 1_500,
    };
    let Host { is_gentle, wants_inbox, .. } = *world.host;
    let terms = Terms { is_gentle, wants_inbox, ..terms };
    match wire {
        None => world.live(tls, &terms),
        Some(wire) => world.live_by_script(tls, wire),
    }
    world.end();
    world.judge(&terms)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Tls {
    No,
    Yes,
    Auto,
}

fn settings(random: &mut Random) -> (String, Terms, Tls) {
    let terms = Terms {
        read_timeout_ms: 5_000,
        frame_timeout_ms: 3_000,
        idle_timeout_ms: *random.pick(&[0, 0, 7_000]),
        write_timeout_ms: 4_000,
        close_timeout_ms: *random.pick(&[300_000, 1_500]),
        memory_is_small: random.one_in(8),
        memory_is_out: random.one_in(10),
        stopped_early: random.one_in(6),
        is_gentle: false,
        wants_inbox: false,
    };
    // TLS costs a handshake in real arithmetic: not in every world.
    let tls = match random.below(6) {
        0 => Tls::Yes,
        1 => Tls::Auto,
        _ => Tls::No,
    };
    let queue = *random.pick(&["2K", "50K", "8M"]);
    let memory = if terms.memory_is_small { "128K" } else { "1G" };
    let limits = *random.pick(&[
        "",
        "",
        "",
        "maxConnections = 3",
        "maxHandshakes = 1",
        "maxHandshakes = 2",
        "maxConnectionsPerAddress = 1",
        "maxHandshakesPerAddress = 1",
        "maxHandshakesPerAddress = 2",
    ]);
    let compression = *random.pick(&["auto", "off"]);
    let (certificate, key) = identity();
    let tls_keys = match tls {
        Tls::No => "",
        Tls::Yes => "sslSection = TLS",
        Tls::Auto => "sslSection = TLS\nssl = auto",
    };
    let ini = format!(
        "[Runtime]\nioThreads = {}\nhandshakeThreads = 1\nmemoryLimit = {memory}\n\
         [Port]\nport = 0\n{tls_keys}\nreadTimeout = {}\nhandshakeTimeout = 4000\n\
         frameTimeout = {}\nidleTimeout = {}\nwriteTimeout = {}\ncloseTimeout = {}\nmaxFrameSize = {MAX_FRAME}\n\
         maxInflatedSize = {MAX_INFLATED}\ncompression = {compression}\nsendQueueLimit = {queue}\n\
         compressThreshold = 100\n{limits}\n\
         [TLS]\ncertificate = {certificate}\nprivateKey = {key}\ngroups = X25519\n",
        1 + random.below(2),
        terms.read_timeout_ms,
        terms.frame_timeout_ms,
        terms.idle_timeout_ms,
        terms.write_timeout_ms,
        terms.close_timeout_ms,
    );
    (ini, terms, tls)
}

impl World {
    /// Peers come, things happen.
    fn live(&mut self, tls: Tls, terms: &Terms) {
        let mut coming = 1 + self.random.size(12);
        let mut steps = 400 + 150 * coming;
        while steps > 0 {
            steps -= 1;
            match self.random.below(10) {
                0 if coming > 0 => {
                    coming -= 1;
                    self.welcome(tls);
                }
                0..=4 => {
                    if !self.peers.is_empty() {
                        let at = self.random.below(self.peers.len());
                        let peer = &mut self.peers[at];
                        peer.step(&mut self.random);
                    }
                }
                5 => self.host.act_from_elsewhere(),
                6 => self.pass(1),
                _ => {
                    let ms = self.random.size(30) as u64;
                    self.pass(ms);
                    self.turn();
                }
            }
            if terms.stopped_early && steps == 200 {
                let drain_ms = *self.random.pick(&[0, 500, 20_000]);
                self.stop(drain_ms);
            }
        }
        while coming > 0 {
            coming -= 1;
            self.welcome(tls);
        }
    }

    /// One peer, and as many more as the script says, without TLS of their own.
    fn live_by_script(&mut self, tls: Tls, wire: &[u8]) {
        let plan = Plan::of_bytes(&mut self.random, wire);
        let (address, end) = self.connect();
        self.peers.push(Peer::with_plan(address, end, plan, wire.to_vec()));
        self.patience = 100;
        while self.random.has_script() {
            let decision = self.random.next();
            let argument = (decision >> 8) as usize;
            match decision % 16 {
                0 if tls == Tls::No && self.peers.len() < 4 => self.welcome(tls),
                1 => {
                    self.stop(*[0, 500, 20_000].get(argument).unwrap_or(&500));
                }
                2..=4 => self.host.act_from_elsewhere(),
                5..=8 => {
                    let at = argument % self.peers.len();
                    self.peers[at].step(&mut self.random);
                }
                9 => self.pass(50 * argument as u64),
                10 => self.pass(1),
                _ => self.turn(),
            }
        }
    }

    fn welcome(&mut self, tls: Tls) {
        let tls = match tls {
            Tls::No => false,
            Tls::Yes => true,
            Tls::Auto => self.random.one_in(2),
        };
        let (address, end) = self.connect();
        self.peers.push(Peer::new(&mut self.random, address, end, tls));
    }

    /// A connection comes; gives the peer's end of it.
    fn connect(&mut self) -> (SocketAddr, PeerEnd) {
        let number = self.peers.len();
        // Few addresses, so that limits per address are met.
        let from = (number % self.addresses) as u8;
        let address = SocketAddr::from(([10, 0, 0, from], 1000 + number as u16));
        let capacity = *self.random.pick(&[1_000, 20_000, 300_000]);
        let (peer_end, server_end) = line(capacity);
        self.backlog.push_back((address, server_end));
        self.accept();
        (address, peer_end)
    }

    /// What an accepter does: as many as may come in.
    fn accept(&mut self) {
        while !self.backlog.is_empty() {
            // Accepters count in a port until they end: none accepts once it is over.
            if self.port.is_over() {
                self.backlog.clear();
                return;
            }
            let now_ms = self.now_ms.load(Ordering::SeqCst);
            if let Err(ms) = self.port.waiting.may_enter(now_ms) {
                assert!(ms <= 5_000, "newcomers wait for longer than any grace");
                return;
            }
            let Some((address, server_end)) = self.backlog.pop_front() else { return };
            let transport = Transport::Simulated(Box::new(server_end));
            if let Some(newcomer) = admit(&self.port, &self.core.loops, transport, address) {
                let entrance = least_loaded(first(&self.port, &self.core.loops)).unwrap();
                entrance.expects_newcomer();
                entrance.send(Arrival::Accepted(vec![newcomer]));
            }
        }
    }

    /// The port stops while connections are there, or the whole runtime does.
    fn stop(&mut self, drain_ms: u64) {
        self.was_cut = true;
        match self.peers.len() % 2 {
            0 => self.core.stop_port(&self.port, drain_ms),
            _ => self.core.stop(drain_ms),
        }
    }

    fn pass(&self, ms: u64) {
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// One turn of each loop, with what is ready.
    fn turn(&mut self) {
        self.accept();
        for (index, reactor) in self.loops.iter_mut().enumerate() {
            LOOP.set(index);
            let ready: Vec<_> =
                self.peers.iter().filter_map(|peer| peer.end.take_readiness(index)).collect();
            if reactor.sink().is_some() {
                let max_events = self.random.size(20).max(1);
                let told = reactor.simulated_round(ready.into_iter(), max_events);
                for told in told {
                    let conn = told.event.conn;
                    let echo: Vec<_> = told.frames.iter().map(|(frame, _)| frame.clone()).collect();
                    self.host.is_told(told);
                    if !echo.is_empty() && self.random.one_in(3) {
                        self.host.sends_between_rounds(reactor, conn, echo);
                    }
                }
            } else {
                reactor.turn(ready.into_iter());
            }
            assert_eq!(reactor.overdue(), [], "a deadline is over and nobody looked");
            LOOP.set(NO_LOOP);
            let memory = &self.core.commons.memory;
            assert!(memory.used_bytes() <= memory.most_bytes(self.core.loops.io().len()));
        }
        self.consume();
    }

    /// Workers work, and the host takes what is in inboxes, both when they have time.
    fn consume(&mut self) {
        if let Some(workers) = &self.core.commons.workers {
            while !self.random.one_in(4) && workers.run_one() {}
        }
        if self.random.one_in(2) {
            self.host.receive();
        }
    }

    /// Everybody says what they have to say and leaves; time jumps from deadline to deadline.
    fn end(&mut self) {
        let mut rounds = 0;
        while self.peers.iter().any(|peer| !peer.end.server_is_gone()) {
            rounds += 1;
            assert!(rounds < 3_000, "a connection does not end");
            for at in 0..self.peers.len() {
                let peer = &mut self.peers[at];
                for _ in 0..4 {
                    peer.step(&mut self.random);
                }
            }
            self.turn();
            if rounds % 16 == 0 {
                // A silent and unread connection ends by its deadlines alone; those that
                // have none (an idle peer, a paused one) end by the stop.
                let next = self.loops.iter().filter_map(|l| l.next_deadline_in_ms()).min();
                self.pass(next.unwrap_or(100).max(1));
            }
            if rounds == self.patience {
                self.stop(0);
            }
        }
        self.core.stop(0);
        let mut rounds = 0;
        while !self.core.commons.life.is_over() && rounds < 200 {
            rounds += 1;
            self.turn();
        }
        for peer in &mut self.peers {
            peer.read(usize::MAX);
        }
    }

    fn judge(&self, terms: &Terms) -> Stats {
        assert!(self.port.is_over(), "the port is not over");
        assert!(self.core.commons.life.is_over(), "the runtime is not over");
        let terms = Terms { stopped_early: self.was_cut, ..*terms };
        let state = self.host.state();
        for known in &state.known {
            let peer = self.peers.iter().find(|peer| peer.address == known.peer).unwrap();
            judge(peer, known, &terms);
        }
        let mut shown: Vec<_> = state.known.iter().map(|known| known.peer).collect();
        shown.sort();
        shown.dedup();
        assert_eq!(shown.len(), state.known.len(), "a peer was shown twice");
        assert_eq!(self.core.commons.memory.used_bytes(), 0, "memory is still accounted for");
        assert!(!self.core.commons.memory.is_leaving(), "an evicted connection is not gone");
        for entrance in self.core.loops.all() {
            assert_eq!(entrance.load(), 0, "a loop believes it has connections");
        }
        let mut stats = Stats::empty();
        stats.add(&self.port);
        assert_eq!(stats.accepted, stats.closes.iter().sum::<u64>(), "accepted and closed");
        assert_eq!((stats.open, stats.unidentified), ([0; 4], 0));
        assert_eq!(self.port.waiting.count(), 0);
        // No event is lost: whoever was opened was told so. What waits for a worker when its connection
        // is closed is told to nobody, and counts here as told.
        let told = state.known.iter().filter(|known| {
            known.opened().is_some() || self.core.commons.workers.is_some() && known.was_admitted()
        });
        let (opened, told) = (stats.opened.iter().sum::<u64>(), told.count() as u64);
        let has_workers = self.core.commons.workers.is_some();
        assert!(opened == told || has_workers && opened < told, "{opened} opened, {told} told");
        assert_eq!(stats.closes[CloseReason::Internal.code() as usize], 0, "a defect");
        let attached = self.host.attached.load(Ordering::SeqCst);
        let dropped = self.host.dropped.load(Ordering::SeqCst);
        assert_eq!(attached, dropped, "user data is dropped exactly once");
        stats
    }
}
