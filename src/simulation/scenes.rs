//! Worlds without chance, for what a seed would meet only now and then.

use super::wire::{LOOP, PeerEnd, line};
use crate::accept::{admit, first, room};
use crate::base::budget::Budget;
use crate::base::log::Level;
use crate::config::Config;
use crate::conn::handles;
use crate::conn::shared::{Birth, Shared};
use crate::consumer::Delivery;
use crate::consumer::round::What;
use crate::event::{Event, Handler, Protocol};
use crate::net::transport::Transport;
use crate::port::Port;
use crate::port::commons::Clock;
use crate::reactor::loops::Arrival;
use crate::reactor::{Loop, Readiness};
use crate::runtime::stats::Stats;
use crate::runtime::{Consumer, Core};
use crate::status::CloseReason;
use crate::tls::test_peer::{Setup, fragmented, fragmented_body, received, sealed, sent};
use flate2::Compression;
use flate2::write::ZlibEncoder;
use parking_lot::Mutex;
use std::io::Write;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// A frame of one byte.
const FRAME: [u8; 5] = [0, 0, 0, 1, b'x'];

/// Frames that each connection has got, in the order in which they opened.
#[derive(Default)]
struct Counting(Mutex<Vec<(handles::Conn, u64)>>);

impl Handler for Counting {
    fn on_event(&self, conn: handles::Conn, event: Event<'_>) {
        let mut known = self.0.lock();
        match event {
            Event::Opened { .. } => known.push((conn, 0)),
            Event::Frames(frames) => {
                let one = known.iter_mut().find(|(known, _)| *known == conn);
                one.expect("it has opened").1 += frames.len() as u64;
            }
            _ => {}
        }
    }
}

/// A loop, one for handshakes, and a port for framed clients.
pub(super) struct Scene {
    host: Arc<Counting>,
    pub(super) core: Arc<Core>,
    pub(super) port: Arc<Port>,
    handshakes: Loop,
    pub(super) reactor: Loop,
    peers: Vec<PeerEnd>,
    pub(super) now_ms: Arc<AtomicU64>,
    /// Bytes that the server's sockets buffer.
    pub(super) capacity: usize,
}

impl Scene {
    /// With a host that polls one event at a time.
    pub(super) fn polled(keys: &str) -> Scene {
        Scene::new(keys, Consumer::Poll)
    }

    pub(super) fn new(keys: &str, consumer: Consumer) -> Scene {
        Scene::with("", keys, consumer)
    }

    fn with(runtime: &str, keys: &str, consumer: Consumer) -> Scene {
        let mut config = Config::new();
        let text = format!(
            "[Runtime]\nioThreads = 1\nhandshakeThreads = 1\n{runtime}\n[Port]\nport = 0\n{keys}"
        );
        config.load_string(text.as_bytes(), "scene").unwrap();
        let (settings, findings) = config.resolve();
        assert!(findings.is_empty(), "{findings:?}");
        let now_ms = Arc::new(AtomicU64::new(1000));
        let clock = Clock::Simulated(now_ms.clone());
        let (core, parts) = Core::assemble(&settings.runtime, consumer, clock).unwrap();
        let mut parts = parts.into_iter();
        let handshakes =
            parts.next().unwrap().into_loop(core.commons.clone(), core.loops.clone(), 0);
        let reactor = match parts.next() {
            Some(part) => part.into_loop(core.commons.clone(), core.loops.clone(), 1),
            None => core.add_loop(Box::new(vec![0; 64 << 10])).unwrap().1,
        };
        core.fix_loops().unwrap();
        let port = settings.ports.into_iter().next().unwrap();
        let port = core.make_port(port, 0).unwrap();
        let host = Arc::new(Counting::default());
        port.simulate_handler(Protocol::Client, host.clone());
        core.simulate_start(&port);
        let (peers, capacity) = (Vec::new(), 1000);
        Scene { host, core, port, handshakes, reactor, peers, now_ms, capacity }
    }

    /// A peer that has connected and is on its way to a loop.
    fn knock(&mut self) -> PeerEnd {
        let (peer, server) = line(self.capacity);
        let number = self.peers.len() as u16 + 1;
        let address = SocketAddr::from(([10, 0, 0, 1], number));
        let transport = Transport::Simulated(Box::new(server));
        let newcomer =
            admit(&self.port, &self.core.loops, transport, address).expect("the port has room");
        let entrance = &first(&self.port, &self.core.loops)[0];
        entrance.expects_newcomer();
        entrance.send(Arrival::Accepted(vec![newcomer]));
        self.peers.push(peer.clone());
        peer
    }

    /// A framed client, whose connection is open when this returns.
    pub(super) fn connect(&mut self) -> PeerEnd {
        let peer = self.knock();
        peer.send(&[1]);
        while self.open() < self.peers.len() as u64 {
            self.round(1);
        }
        peer
    }

    /// The same where the port has TLS too.
    fn connect_to_either(&mut self) -> PeerEnd {
        let (peer, opened) = (self.knock(), self.open());
        peer.send(&[1]);
        for _ in 0..100 {
            if self.open() > opened {
                return peer;
            }
            self.handshake_turn();
            self.whole_round();
        }
        panic!("it does not open");
    }

    /// A framed client with TLS 1.3, whose connection is open when this returns.
    fn connect_with_tls(&mut self) -> (PeerEnd, rustls::ClientConnection) {
        let versions = &[&rustls::version::TLS13];
        let mut client = Setup { versions, ..Setup::default() }.connect();
        let (peer, opened) = (self.knock(), self.open());
        for _ in 0..100 {
            if self.open() > opened {
                return (peer, client);
            }
            peer.send(&sent(&mut client));
            if !client.is_handshaking() {
                peer.send(&sealed(&mut client, &[1]));
            }
            self.handshake_turn();
            self.whole_round();
            received(&mut client, &peer.recv(usize::MAX)).unwrap();
        }
        panic!("it does not open");
    }

    /// One turn of the loop, or one round of a host that takes many events.
    fn whole_round(&mut self) {
        let ready = self.ready(1);
        if self.reactor.sink().is_some() {
            for told in self.reactor.simulated_round(ready.into_iter(), 4096) {
                let mut known = self.host.0.lock();
                match told.event.what {
                    What::Opened { .. } => known.push((told.event.conn, 0)),
                    What::Frames { .. } => {
                        let one = known.iter_mut().find(|(conn, _)| *conn == told.event.conn);
                        one.expect("it has opened").1 += told.frames.len() as u64;
                    }
                    _ => {}
                }
            }
        } else {
            self.reactor.turn(ready.into_iter());
        }
    }

    /// One turn of the loop, or one round of the host's, and time passes after it.
    pub(super) fn round(&mut self, ms: u64) {
        let ready = self.ready(1);
        if self.reactor.sink().is_some() {
            self.reactor.simulated_round(ready.into_iter(), 1);
        } else {
            self.reactor.turn(ready.into_iter());
        }
        self.now_ms.fetch_add(ms, Ordering::SeqCst);
    }

    /// Frames that a connection has got.
    fn frames_of(&self, position: usize) -> u64 {
        self.host.0.lock()[position].1
    }

    /// Frames that all connections have got.
    fn frames_seen(&self) -> u64 {
        self.stats().frames_in
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

    pub(super) fn stats(&self) -> Stats {
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
        self.core.stop_port(&self.port, 0);
        self.core.stop(0);
    }
}

#[test]
fn a_deadline_holds_on_a_polled_loop_that_never_has_room_for_all() {
    let mut scene = Scene::polled("frameTimeout = 300ms\n");
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
    let mut scene = Scene::polled("frameTimeout = 300ms\n");
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
fn a_loop_that_is_held_up_is_told_of_no_more_evicted_ones_than_it_has() {
    let mut scene = Scene::polled("maxHandshakes = 1\nreadTimeout = 0\n");
    let _silent = scene.knock();
    scene.round(1);
    let door = first(&scene.port, &scene.core.loops)[0].door.clone();
    assert_eq!(door.messages(), 0);
    for _ in 0..50 {
        scene.now_ms.fetch_add(1_000, Ordering::SeqCst);
        scene.knock();
    }
    assert_eq!(door.messages(), 1, "the one that it has had");
    assert_eq!(first(&scene.port, &scene.core.loops)[0].load(), 51);
    // Who was evicted on the way ends when it comes, and the last one stays.
    (0..200).for_each(|_| scene.round(1));
    assert_eq!(scene.stats().closes[CloseReason::MaxHandshakes.code() as usize], 50);
    assert_eq!(scene.stats().unidentified, 1);
}

#[test]
fn with_tls_nobody_is_accepted_whom_a_loop_behind_the_handshakes_has_not_looked_at() {
    let mut scene = Scene::polled(&format!("ssl = auto\n{}", tls_keys()));
    let all = room(&scene.port, &scene.core.loops);
    for come in 1..=all {
        // Without TLS, which it may do here, its way is the same.
        scene.knock().send(&[1]);
        scene.handshake_turn();
        scene.handshake_turn();
        assert_eq!(room(&scene.port, &scene.core.loops), all - come);
    }
    while scene.open() < all as u64 {
        scene.round(1);
    }
    assert_eq!(room(&scene.port, &scene.core.loops), all);
}

/// Keys of a port with TLS.
fn tls_keys() -> String {
    let (certificate, key) = super::world::identity();
    format!("sslSection = TLS\n[TLS]\ncertificate = {certificate}\nprivateKey = {key}\n")
}

#[test]
fn an_end_of_tls_that_does_not_leave_is_no_loss() {
    let mut scene = Scene::new(&tls_keys(), Consumer::Callbacks);
    let (peer, _client) = scene.connect_with_tls();
    let before = peer.takes_no_more();
    scene.core.stop_port(&scene.port, 0);
    let mut rounds = 0;
    while scene.stats().closes.iter().sum::<u64>() == 0 {
        rounds += 1;
        assert!(rounds < 100, "it does not end");
        scene.now_ms.fetch_add(100, Ordering::SeqCst);
        scene.round(1);
    }
    assert_eq!(scene.stats().bytes_unsent, 0);
    assert_eq!(peer.recv(usize::MAX).len(), before, "what was under way arrives");
}

/// A handshake loop evicts a connection in the turn in which the end of its handshake arrives,
/// together with what its client has to say.
fn is_evicted_as_its_handshake_ends(consumer: Consumer) {
    let mut scene = Scene::new(&format!("maxHandshakes = 1\n{}", tls_keys()), consumer);
    let mut client = Setup::default().connect();
    let peer = scene.knock();
    peer.send(&sent(&mut client));
    while client.is_handshaking() {
        scene.handshake_turn();
        received(&mut client, &peer.recv(usize::MAX)).unwrap();
    }
    // So long that it may be evicted.
    scene.now_ms.fetch_add(6_000, Ordering::SeqCst);
    let _newcomer = scene.knock();
    let said = sealed(&mut client, &[&[1], &FRAME[..]].concat());
    peer.send(&said);
    scene.handshake_turn();
    assert_eq!(scene.open(), 0, "a handshake loop opens nobody");
    let mut rounds = 0;
    while scene.frames_seen() == 0 {
        rounds += 1;
        assert!(rounds < 100, "its frame is lost");
        scene.round(1);
    }
    assert_eq!(scene.stats().closes.iter().sum::<u64>(), 0);
}

#[test]
fn a_connection_that_is_evicted_as_its_handshake_ends_is_opened_by_an_io_loop_and_told() {
    is_evicted_as_its_handshake_ends(Consumer::Callbacks);
    is_evicted_as_its_handshake_ends(Consumer::Poll);
}

#[test]
fn an_event_that_nobody_takes_ends_its_connection_as_a_defect_and_the_log_has_it() {
    let mut scene = Scene::polled("");
    scene.core.commons.log.set_level(Level::Error);
    let peer = scene.knock();
    peer.send(&[1]);
    // Without a round of the host's.
    for _ in 0..2 {
        let ready = scene.ready(1);
        scene.reactor.turn(ready.into_iter());
    }
    assert_eq!(scene.stats().closes[CloseReason::Internal.code() as usize], 1);
    assert!(peer.was_reset());
    let record = scene.core.commons.log.next_record().expect("the log has it");
    assert_eq!(record.level, Level::Error);
}

/// One sends a lot, and another one a frame in each turn: that one is told in each, whatever there is to
/// do for the first, of whom a turn takes so much at most. Gives the turns until `all` frames are told.
fn has_a_share_of_each_turn(lot: &[u8], all: u64, most_frames: u64, most_bytes: u64) -> u64 {
    let mut scene = Scene::new("maxFrameSize = 1M\nmaxInflatedSize = 32M\n", Consumer::Callbacks);
    let greedy = scene.connect();
    let polite = scene.connect();
    greedy.send(lot);
    let mut turns = 0;
    while scene.frames_of(0) < all {
        let (frames, bytes) = (scene.frames_of(0), scene.stats().bytes_in);
        polite.send(&FRAME);
        scene.round(0);
        turns += 1;
        assert_eq!(scene.frames_of(1), turns, "the other one has had no turn");
        assert!(scene.frames_of(0) - frames <= most_frames);
        assert!(scene.stats().bytes_in - bytes <= most_bytes.saturating_add(FRAME.len() as u64));
    }
    turns
}

#[test]
fn a_turn_takes_so_many_frames_of_one_connection_and_no_more() {
    let all = 100_000;
    let frames = Budget::frames(Budget::UNITS) as u64;
    let turns = has_a_share_of_each_turn(&vec![0; 4 * all], all as u64, frames, 1 << 20);
    assert!(turns >= all as u64 / frames);
}

#[test]
fn a_compressed_frame_costs_a_turn_more_although_it_inflates_to_nothing() {
    let empty = [0x80, 0, 0, 2, 3, 0].repeat(10_000);
    let turns = has_a_share_of_each_turn(&empty, 10_000, 300, 1 << 20);
    assert!(turns >= 10_000 / 300);
}

/// Bits as deflate writes them: each number from its lowest bit on.
#[derive(Default)]
struct Bits {
    bytes: Vec<u8>,
    used: u32,
}

impl Bits {
    fn put(&mut self, value: u32, count: u32) {
        for bit in 0..count {
            if self.used.is_multiple_of(8) {
                self.bytes.push(0);
            }
            if let Some(last) = self.bytes.last_mut() {
                *last |= (((value >> bit) & 1) as u8) << (self.used % 8);
            }
            self.used += 1;
        }
    }

    /// A dynamic block without output: 257 codes of which only the end of the block is used, as a
    /// peer may send them.
    fn put_empty_dynamic_block(&mut self) {
        self.put(0, 1);
        self.put(2, 2);
        self.put(0, 5);
        self.put(0, 5);
        // Lengths of codes, in the order 16, 17, 18, 0, 8, 7, … 1: 18 has one bit, 0 and 1 two.
        self.put(14, 4);
        for at in 0..18 {
            self.put(
                match at {
                    2 => 1,
                    3 | 17 => 2,
                    _ => 0,
                },
                3,
            );
        }
        // 138 zeros, 118 zeros, the end of the block with one bit, and no distance.
        self.put(0, 1);
        self.put(127, 7);
        self.put(0, 1);
        self.put(107, 7);
        self.put(0b11, 2);
        self.put(0b01, 2);
        self.put(0, 1);
    }
}

/// A compressed frame of so many bytes that inflates to nothing, from blocks of tables only.
fn tables(bytes: usize) -> Vec<u8> {
    let mut block = Bits::default();
    // Eight of any length are whole bytes.
    (0..8).for_each(|_| block.put_empty_dynamic_block());
    let mut payload = block.bytes.repeat(bytes / block.bytes.len());
    payload.extend([3, 0]);
    let header = (payload.len() as u32 | 1 << 31).to_be_bytes();
    [&header, &payload[..]].concat()
}

#[test]
fn a_turn_inflates_so_much_input_of_one_connection_whatever_comes_out() {
    let stored = [0, 0, 0, 0xff, 0xff].repeat(200_000);
    let header = ((stored.len() as u32 + 2) | 1 << 31).to_be_bytes();
    for frame in [[&header, &stored[..], &[3, 0]].concat(), tables(1_000_000)] {
        let turns = has_a_share_of_each_turn(&frame, 1, 1, u64::MAX);
        let least = frame.len() / Budget::deflated_bytes(Budget::UNITS);
        assert!(turns >= least as u64, "{turns} turns for {} bytes", frame.len());
    }
}

#[test]
fn a_ping_beside_ten_attackers_is_answered_within_two_rounds() {
    let (certificate, key) = super::world::identity();
    let keys = format!(
        "maxFrameSize = 64M\nssl = auto\nsslSection = TLS\n[TLS]\ncertificate = {certificate}\n\
         privateKey = {key}\n"
    );
    for consumer in [Consumer::Callbacks, Consumer::Poll] {
        let mut scene = Scene::new(&keys, consumer);
        let stored = [&[0, 0, 0, 0xff, 0xff].repeat(400_000)[..], &[3, 0]].concat();
        let header = (stored.len() as u32 | 1 << 31).to_be_bytes();
        let mut attacks: Vec<(PeerEnd, Vec<u8>)> = vec![
            (scene.connect_to_either(), [&header, &stored[..]].concat()),
            (scene.connect_to_either(), tables(2_000_000)),
            (scene.connect_to_either(), tables(4_000_000)),
            (scene.connect_to_either(), tables(100).repeat(10_000)),
            (scene.connect_to_either(), [0x80, 0, 0, 2, 3, 0].repeat(200_000)),
            (scene.connect_to_either(), vec![0; 1_000_000]),
            // Ten megabytes of one large frame that never ends.
            (scene.connect_to_either(), [&[2, 0, 0, 0], &[7; 10_000_000][..]].concat()),
        ];
        for row in [1, 31, 400] {
            let (peer, mut client) = scene.connect_with_tls();
            let mut records = sealed(&mut client, &[3, 0, 0, 0]);
            for number in 0..5000 {
                if row > 1 && number % (row + 1) < row && number < 1000 {
                    client.refresh_traffic_keys().unwrap();
                    records.extend(sent(&mut client));
                } else {
                    records.extend(sealed(&mut client, b"x"));
                }
            }
            attacks.push((peer, records));
        }
        assert_eq!(attacks.len(), 10);
        let polite = scene.connect_to_either();
        let position = scene.host.0.lock().len() - 1;
        attacks.iter().for_each(|(peer, bytes)| peer.send(bytes));
        for pings in 1..50 {
            polite.send(&FRAME);
            scene.whole_round();
            if scene.frames_of(position) < pings {
                scene.whole_round();
            }
            assert_eq!(scene.frames_of(position), pings, "no answer within two rounds");
        }
        let closes = scene.stats().closes;
        assert_eq!(closes[CloseReason::TlsNoData.code() as usize], 1);
        // 400 key updates in a row are more than the TLS library takes.
        assert_eq!(closes[CloseReason::TlsFailed.code() as usize], 1);
        assert_eq!(closes.iter().sum::<u64>(), 2, "the others go on");
    }
}

#[test]
fn ten_peers_with_tiny_records_in_their_handshakes_delay_no_ping_and_no_handshake() {
    let (certificate, key) = super::world::identity();
    let keys = format!(
        "ssl = auto\nsslSection = TLS\n[TLS]\ncertificate = {certificate}\nprivateKey = {key}\n"
    );
    let mut scene = Scene::new(&keys, Consumer::Callbacks);
    let polite = scene.connect_to_either();
    let failed = |scene: &Scene| scene.stats().closes[CloseReason::TlsFailed.code() as usize];
    for number in 0..10 {
        let peer = scene.knock();
        if number % 2 == 0 {
            // A ClientHello as large as one may be, which is none.
            let message = [&[1, 0, 0x3f, 0xfc][..], &[3; 0x3ffc]].concat();
            peer.send(&fragmented_body(&message, 1));
        } else {
            // One of TLS 1.2, and a message after it that is too long in the end.
            let versions = &[&rustls::version::TLS12];
            let mut client = Setup { versions, ..Setup::default() }.connect();
            let message = [&[16, 0, 0xff, 0xf0][..], &[3; 0xfff0]].concat();
            peer.send(&fragmented(&sent(&mut client), 1));
            peer.send(&fragmented_body(&message, 1));
        }
    }
    let mut turns = 0;
    while failed(&scene) < 10 {
        turns += 1;
        assert!(turns < 500, "{} of 10 have ended", failed(&scene));
        polite.send(&FRAME);
        scene.handshake_turn();
        scene.whole_round();
        if scene.frames_of(0) < turns {
            scene.whole_round();
        }
        assert_eq!(scene.frames_of(0), turns, "no answer within two rounds");
        if turns == 5 {
            // Opens while they go on.
            scene.connect_with_tls();
            assert!((1..10).contains(&failed(&scene)), "{} have ended", failed(&scene));
            let seen = scene.frames_of(0);
            (seen..turns).for_each(|_| scene.whole_round());
        }
    }
    // 10,922 records of each: a turn takes no more than its budget allows.
    assert!(turns > 20, "{turns} turns");
}

#[test]
fn deadlines_that_end_together_do_not_hold_the_loop_until_the_last_one_is_judged() {
    let mut scene =
        Scene::new("maxHandshakesPerAddress = 0\nidleTimeout = 1m\n", Consumer::Callbacks);
    let all = 1000;
    let _idle: Vec<PeerEnd> = (0..all).map(|_| scene.connect()).collect();
    scene.now_ms.fetch_add(100_000, Ordering::SeqCst);
    let ended = |scene: &Scene| scene.stats().closes.iter().sum::<u64>();
    let mut before = 0;
    for turns in 1.. {
        scene.round(0);
        let now = ended(&scene);
        assert!(now - before <= 256, "{} in one turn", now - before);
        assert!(turns <= 3 * all / 256, "{now} have ended after {turns} turns");
        if now == all {
            break;
        }
        before = now;
    }
}

#[test]
fn a_turn_takes_so_many_bytes_of_one_connection_and_no_more() {
    let frame = [&[0, 0, 0x40, 0], &[7; 0x4000][..]].concat();
    // The last read may go beyond a mebibyte: by the buffer and the rest of a frame.
    let most = (1 << 20) + (256 << 10) + frame.len() as u64;
    let turns = has_a_share_of_each_turn(&frame.repeat(1000), 1000, 1000, most);
    assert!(turns >= 1000 * frame.len() as u64 / most);
}

#[test]
fn a_turn_inflates_so_much_of_one_connection_and_no_more() {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; 16 << 20]).unwrap();
    let bomb = encoder.finish().unwrap();
    let header = (bomb.len() as u32 | 1 << 31).to_be_bytes();
    let turns = has_a_share_of_each_turn(&[&header, &bomb[..]].concat(), 1, 1, 1 << 20);
    // It may go beyond its budget by what one step makes room for.
    assert!(turns >= (16 << 20) / Budget::inflated_bytes(Budget::UNITS) as u64);
}

/// A connection of a loop that is held up: it holds so much, and gives nothing back for now.
fn holder(scene: &Scene, id: u64, bytes: usize) -> Arc<Shared> {
    let address = SocketAddr::from(([10, 0, 0, 2], 1));
    let birth = Birth {
        key: 0,
        door: first(&scene.port, &scene.core.loops)[0].door.clone(),
        port: scene.port.clone(),
        protocol: Protocol::Client,
        asks_admission: false,
        peer: address,
        local: address,
        accepted_ms: 1,
        tls: None,
        delivery: Delivery::new(Consumer::Callbacks, &*scene.host),
    };
    let shared = Shared::new(id, birth);
    shared.holds_input_bytes(bytes);
    scene.core.commons.memory.recount(&shared);
    shared
}

#[test]
fn a_connection_that_has_to_wait_for_memory_again_is_read_when_that_is_free() {
    let mut scene = Scene::with("memoryLimit = 4M", "maxFrameSize = 8M\n", Consumer::Callbacks);
    let first = holder(&scene, u64::MAX - 1, 5 << 20);
    let second = holder(&scene, u64::MAX - 2, 7 << 19);
    let peers = [scene.connect(), scene.connect()];
    // The first one is evicted for a third.
    let third = holder(&scene, u64::MAX - 3, 0);
    assert!(
        scene.core.commons.memory.claim(&third, 1) && scene.core.commons.memory.stops_reading()
    );
    let frame = [&[0, 0x30, 0, 0], &vec![7; 3 << 20][..]].concat();
    peers.iter().for_each(|peer| peer.send(&frame[..3 << 19]));
    let read = |scene: &Scene| scene.stats().bytes_in;
    let (all, mut rounds) = (2 + (3 << 20), 0);
    (0..5).for_each(|_| scene.round(1));
    assert!(read(&scene) <= 2 * (65 << 10), "{} read of {all}", read(&scene));
    // It is gone: one of the two reads on, for which the second is evicted, so the other one waits again.
    first.holds_no_more();
    assert!(!scene.core.commons.memory.stops_reading());
    (0..5).for_each(|_| scene.round(1));
    assert!(scene.core.commons.memory.stops_reading());
    assert!(read(&scene) < all, "{} read of {all}", read(&scene));
    second.holds_no_more();
    while read(&scene) < all {
        rounds += 1;
        assert!(rounds < 20, "{} read of {all}", read(&scene));
        scene.round(1);
    }
}

#[test]
fn records_that_a_turn_leaves_are_opened_without_another_edge() {
    let (certificate, key) = super::world::identity();
    let keys = format!(
        "ssl = auto\nsslSection = TLS\n[TLS]\ncertificate = {certificate}\nprivateKey = {key}\n"
    );
    let mut scene = Scene::new(&keys, Consumer::Callbacks);
    let (peer, mut client) = scene.connect_with_tls();
    // A large frame that is under way takes what is opened, and so does not ask for another turn.
    peer.send(&sealed(&mut client, &[&[0, 0, 0x40, 0], &[7; 0x3000][..]].concat()));
    scene.whole_round();
    let records: Vec<u8> = (0..0x1000).flat_map(|_| sealed(&mut client, b"x")).collect();
    peer.send(&records);
    let mut rounds = 0;
    while scene.frames_of(0) < 1 {
        rounds += 1;
        assert!(rounds < 20, "the last records are not opened");
        scene.whole_round();
    }
    assert!(rounds > 1, "one turn is enough: this proves nothing");
}
