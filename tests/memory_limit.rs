//! `memoryLimit`: the connection that holds most ends, and those that need memory go on.

mod support;

use nativeport::event::{CloseInfo, Event, Party, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::status::{CloseReason, Status};
use std::collections::HashMap;
use std::io::Write;
use std::net::TcpStream;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};
use support::*;

const MIB: usize = 1 << 20;
const PLAIN: SendFlags = SendFlags { no_compress: true };

/// What the handler of a [`Scene`] noted.
#[derive(Default)]
struct Notes {
    /// Answers that a send has taken.
    answers: AtomicU64,
    refused: AtomicU64,
    writable: AtomicU64,
    /// Bytes of frames that sends of each connection have taken.
    taken: Mutex<HashMap<u64, u64>>,
    /// The thread that opened each connection, by the port of its peer.
    opened: Mutex<HashMap<u16, (Conn, String)>>,
    closed: Mutex<HashMap<u64, CloseInfo>>,
    /// A callback waits for this.
    go: Mutex<bool>,
    may_go: Condvar,
    is_held: AtomicBool,
}

/// A server that answers a frame of four bytes with a frame of so many, and any other with one byte.
struct Scene {
    server: Server,
    notes: Arc<Notes>,
}

impl Scene {
    fn new(runtime: &str) -> Scene {
        Scene::with(runtime, "")
    }

    fn with(runtime: &str, keys: &str) -> Scene {
        let notes: Arc<Notes> = Arc::default();
        let noting = notes.clone();
        let (handler, _) = recorder(false, move |conn, event| match event {
            Event::Opened { .. } => {
                let thread = std::thread::current().name().unwrap_or_default().to_owned();
                let port = conn.info().map_or(0, |info| info.peer.port());
                noting.opened.lock().unwrap().insert(port, (conn, thread));
            }
            Event::Frames(frames) => {
                for frame in frames.iter() {
                    if frame.data == b"hold" {
                        noting.is_held.store(true, Ordering::SeqCst);
                        let go = noting.go.lock().unwrap();
                        drop(noting.may_go.wait_timeout_while(go, PATIENCE, |go| !*go).unwrap());
                    }
                    let len = match frame.data {
                        b"hold" | b"ping" => 1,
                        asks => asks.try_into().map_or(1, u32::from_be_bytes),
                    };
                    match conn.send_frame(&vec![7; len as usize], PLAIN) {
                        Ok(()) => {
                            *noting.taken.lock().unwrap().entry(conn.raw()).or_default() +=
                                u64::from(len) + 4;
                            noting.answers.fetch_add(1, Ordering::SeqCst);
                        }
                        Err(_) => {
                            noting.refused.fetch_add(1, Ordering::SeqCst);
                        }
                    }
                }
            }
            Event::Writable => {
                noting.writable.fetch_add(1, Ordering::SeqCst);
            }
            Event::Closed(info) => {
                noting.closed.lock().unwrap().insert(conn.raw(), (*info).clone());
            }
            _ => {}
        });
        let keys = format!("compression=off\nsendQueueLimit=64M\nmaxFrameSize=64M\n{keys}");
        let server = server_with(runtime, &keys, "", |listener| {
            listener.on(Protocol::Client, handler).unwrap();
        });
        Scene { server, notes }
    }

    /// A peer whose system takes little of what it does not read.
    fn client(&self) -> TcpStream {
        let socket =
            socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(8192).unwrap();
        socket.connect(&self.server.address.into()).unwrap();
        let mut client = TcpStream::from(socket);
        client.set_read_timeout(Some(PATIENCE)).unwrap();
        client.set_write_timeout(Some(PATIENCE)).unwrap();
        client.write_all(&[1]).unwrap();
        assert_eq!(read_exact(&mut client, 1), [1]);
        client
    }

    /// It asks, and the answer is taken (or refused); nothing is read.
    fn ask(&self, client: &mut TcpStream, len: usize) {
        let done = || {
            self.notes.answers.load(Ordering::SeqCst) + self.notes.refused.load(Ordering::SeqCst)
        };
        let before = done();
        client.write_all(&frame(&(len as u32).to_be_bytes())).unwrap();
        wait_until("the answer is sent", || done() > before);
    }

    fn conn_of(&self, client: &TcpStream) -> (Conn, String) {
        let port = client.local_addr().unwrap().port();
        wait_until("its opening", || self.notes.opened.lock().unwrap().contains_key(&port));
        self.notes.opened.lock().unwrap()[&port].clone()
    }

    /// Lets the callback that waits go on.
    fn go(&self) {
        *self.notes.go.lock().unwrap() = true;
        self.notes.may_go.notify_all();
    }

    fn memory(&self) -> u64 {
        self.server.runtime.stats().memory_bytes
    }

    fn evicted(&self) -> u64 {
        self.server.listener.stats().closes[CloseReason::MemoryLimit.code() as usize]
    }

    /// Its closed event, which says that it was evicted and what was lost.
    fn assert_evicted(&self, conn: Conn) -> CloseInfo {
        wait_until("its end", || self.notes.closed.lock().unwrap().contains_key(&conn.raw()));
        let info = self.notes.closed.lock().unwrap()[&conn.raw()].clone();
        assert_eq!((info.reason, info.by), (CloseReason::MemoryLimit, Party::Library));
        let taken = self.notes.taken.lock().unwrap().get(&conn.raw()).copied().unwrap_or(0);
        assert_eq!(info.bytes_out + info.unsent_bytes, 1 + taken, "{info:?}");
        assert!(info.unsent_bytes > 0);
        info
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // A test that fails ends at once.
        self.go();
    }
}

const LIMIT: u64 = 64 << 20;

/// Sixty honest responses beside peers that never read, the largest of which hold more.
fn responses_beside_slow_readers(runtime: &str, len: usize) {
    const LARGE: usize = 16 * MIB;
    const SMALL: usize = 6 * MIB;
    let scene = Scene::new(runtime);
    let room = || (LIMIT.saturating_sub(scene.memory())) as usize;
    let (mut large, mut small, mut evicted) = (Vec::new(), Vec::new(), Vec::new());
    let fill = |slow: &mut Vec<(Conn, TcpStream)>, len| {
        let mut client = scene.client();
        scene.ask(&mut client, len);
        slow.push((scene.conn_of(&client).0, client));
    };
    for _ in 0..60 {
        // Those that were evicted come back, and small ones fill up what is left.
        let (gone, present) =
            large.into_iter().partition(|(conn, _): &(Conn, _)| conn.info().is_err());
        large = present;
        evicted.extend::<Vec<_>>(gone);
        if large.len() < 3 {
            small.clear();
            wait_until("the memory of small ones", || room() > LARGE);
            fill(&mut large, LARGE);
        }
        while large.len() < 3 || room() > SMALL {
            let is_large = large.len() < 3;
            fill(
                if is_large { &mut large } else { &mut small },
                if is_large { LARGE } else { SMALL },
            );
            assert!(small.len() < 100, "the limit is never near");
        }
        let mut honest = scene.client();
        scene.ask(&mut honest, len);
        assert_eq!(scene.notes.refused.load(Ordering::SeqCst), 0, "one is refused");
        assert_eq!(read_frame(&mut honest).len(), len);
    }
    // The system may take a small response whole.
    assert!(len <= 4 * MIB || evicted.len() > 10, "{}", evicted.len());
    evicted.iter().for_each(|(conn, _)| drop(scene.assert_evicted(*conn)));
    // The last evictions may be seen only now.
    let noted = || {
        let closed = scene.notes.closed.lock().unwrap();
        let evicted = closed.iter().filter(|(_, info)| info.reason == CloseReason::MemoryLimit);
        evicted.map(|(conn, _)| *conn).collect::<Vec<_>>()
    };
    wait_until("the ends of all evicted ones", || noted().len() as u64 == scene.evicted());
    let is_large = |id| evicted.iter().chain(&large).any(|(conn, _)| conn.raw() == id);
    assert!(noted().into_iter().all(is_large), "a smaller holder is evicted");
    wait_until("only slow readers end", || {
        closes(&scene.server.listener)
            .keys()
            .all(|reason| ["memory_limit", "peer_closed", "peer_reset"].contains(reason))
    });
}

#[test]
fn sixty_honest_responses_arrive_beside_readers_that_hold_more() {
    responses_beside_slow_readers("ioThreads=1\nmemoryLimit=64M", 3 * MIB);
}

#[test]
fn responses_that_the_system_does_not_take_whole_arrive_too() {
    responses_beside_slow_readers("ioThreads=2\nmemoryLimit=64M", 11 * MIB);
}

#[test]
fn the_largest_holder_on_another_loop_ends_for_one_that_grows() {
    if is_off_the_loop("the thread of a callback names the loop") {
        return;
    }
    let scene = Scene::new("ioThreads=2\nmemoryLimit=16M");
    let mut largest = scene.client();
    scene.ask(&mut largest, 16 * MIB);
    let (victim, its_loop) = scene.conn_of(&largest);
    wait_until("what it holds", || scene.memory() > 12 * MIB as u64);
    let mut others = Vec::new();
    let mut grower = loop {
        let client = scene.client();
        if scene.conn_of(&client).1 != its_loop {
            break client;
        }
        others.push(client);
    };
    scene.ask(&mut grower, 8 * MIB);
    assert_eq!(read_frame(&mut grower).len(), 8 * MIB);
    scene.assert_evicted(victim);
    assert_is_reset(&mut largest);
    assert_eq!(scene.evicted(), 1);
}

#[test]
fn beside_a_loop_that_is_held_up_the_others_read_one_mib_each_beyond_the_limit() {
    beside_a_loop_that_is_held_up("", Duration::ZERO);
}

#[test]
fn time_in_which_a_connection_waits_for_memory_does_not_count_against_its_peer() {
    // Long enough for what a busy machine takes to get there.
    beside_a_loop_that_is_held_up("idleTimeout=20s", Duration::from_secs(25));
}

/// One loop is held up for so long, with the connection that has to give memory back for others.
fn beside_a_loop_that_is_held_up(keys: &str, time: Duration) {
    if is_off_the_loop("only a callback on the loop holds it up") {
        return;
    }
    let scene = Scene::with("ioThreads=2\nmemoryLimit=16M", keys);
    let mut largest = scene.client();
    scene.ask(&mut largest, 16 * MIB);
    let (victim, its_loop) = scene.conn_of(&largest);
    wait_until("what it holds", || scene.memory() > 12 * MIB as u64);
    let (mut there, mut elsewhere) = (Vec::new(), Vec::new());
    while there.is_empty() || elsewhere.len() < 5 {
        let client = scene.client();
        let is_there = scene.conn_of(&client).1 == its_loop;
        if is_there { there.push(client) } else { elsewhere.push(client) }
    }
    there[0].write_all(&frame(b"hold")).unwrap();
    wait_until("the callback that waits", || scene.notes.is_held.load(Ordering::SeqCst));
    // Four frames of 3 MiB are under way, and the rest of what they need is held by that loop.
    let mut pinging = elsewhere.pop().unwrap();
    let sending: Vec<_> = elsewhere
        .into_iter()
        .map(|mut client| {
            std::thread::spawn(move || {
                client.write_all(&frame(&vec![1; 3 * MIB])).unwrap();
                assert_eq!(read_frame(&mut client), [7]);
            })
        })
        .collect();
    let is_reached = || scene.memory() > 16 * MIB as u64;
    wait_until("the limit", is_reached);
    let (began, mut pings) = (Instant::now(), 0);
    while pings < 2000 || began.elapsed() < time {
        pings += 1;
        pinging.write_all(&frame(b"ping")).unwrap();
        assert_eq!(read_frame(&mut pinging), [7]);
        assert!(scene.memory() <= 18 * MIB as u64, "{}", scene.memory());
    }
    assert!(is_reached(), "{}", scene.memory());
    scene.go();
    sending.into_iter().for_each(|sending| sending.join().unwrap());
    scene.assert_evicted(victim);
    assert_eq!(scene.evicted(), 1);
}

#[test]
fn beside_a_loop_that_is_held_up_a_send_that_is_refused_is_writable_when_memory_is_free_and_not_before()
 {
    if is_off_the_loop("only a callback on the loop holds it up") {
        return;
    }
    let scene = Scene::new("ioThreads=2\nmemoryLimit=16M");
    let mut largest = scene.client();
    scene.ask(&mut largest, 16 * MIB);
    let (victim, its_loop) = scene.conn_of(&largest);
    wait_until("what it holds", || scene.memory() > 12 * MIB as u64);
    let (mut there, mut elsewhere) = (Vec::new(), Vec::new());
    while there.is_empty() || elsewhere.len() < 3 {
        let client = scene.client();
        let is_there = scene.conn_of(&client).1 == its_loop;
        if is_there { there.push(client) } else { elsewhere.push(client) }
    }
    there[0].write_all(&frame(b"hold")).unwrap();
    wait_until("the callback that waits", || scene.notes.is_held.load(Ordering::SeqCst));
    // The largest is evicted and stays, and what this one holds is beyond what may be held beside it.
    let slow = elsewhere.pop().unwrap();
    assert_eq!(scene.conn_of(&slow).0.send_frame(&vec![1; 12 * MIB], PLAIN), Ok(()));
    let (mut refused, mut ended) = (elsewhere.pop().unwrap(), elsewhere.pop().unwrap());
    let (conn, other) = (scene.conn_of(&refused).0, scene.conn_of(&ended).0);
    let large = vec![1; MIB];
    let writable = || scene.notes.writable.load(Ordering::SeqCst);
    for _ in 0..20 {
        assert_eq!(conn.send_frame(&large, PLAIN), Err(Status::WouldBlock));
        assert_eq!(other.send_frame(&large, PLAIN), Err(Status::WouldBlock));
        for client in [&mut refused, &mut ended] {
            client.write_all(&frame(b"ping")).unwrap();
            assert_eq!(read_frame(client), [7]);
        }
        assert_eq!(writable(), 0, "there is no memory yet");
    }
    // One that ends waits no longer.
    drop(ended);
    wait_until("its end", || scene.notes.closed.lock().unwrap().contains_key(&other.raw()));
    scene.go();
    wait_until("memory", || writable() > 0);
    scene.assert_evicted(victim);
    assert_eq!(conn.send_frame(&large, PLAIN), Ok(()));
    assert_eq!(read_frame(&mut refused), large);
    refused.write_all(&frame(b"ping")).unwrap();
    assert_eq!(read_frame(&mut refused), [7]);
    assert_eq!(writable(), 1);
}

#[test]
fn a_frame_that_arrives_and_a_send_of_another_thread_evict_the_largest_holder() {
    for arrives in [true, false] {
        let scene = Scene::new("ioThreads=1\nmemoryLimit=16M");
        let mut largest = scene.client();
        scene.ask(&mut largest, 16 * MIB);
        let victim = scene.conn_of(&largest).0;
        let mut grower = scene.client();
        let conn = scene.conn_of(&grower).0;
        if arrives {
            grower.write_all(&frame(&vec![1; 8 * MIB])).unwrap();
            assert_eq!(read_frame(&mut grower), [7]);
        } else {
            assert_eq!(conn.send_frame(&vec![1; 8 * MIB], PLAIN), Ok(()));
            assert_eq!(read_frame(&mut grower), vec![1; 8 * MIB]);
        }
        scene.assert_evicted(victim);
        assert_is_reset(&mut largest);
        assert_eq!(scene.evicted(), 1);
        drop(grower);
        wait_until("nothing held", || scene.memory() == 0);
    }
}

#[test]
fn a_closing_connection_that_holds_most_is_cut_short_and_keeps_its_reason() {
    let scene = Scene::new("ioThreads=1\nmemoryLimit=16M");
    let mut largest = scene.client();
    scene.ask(&mut largest, 16 * MIB);
    let victim = scene.conn_of(&largest).0;
    victim.close(5).unwrap();
    let mut grower = scene.client();
    scene.ask(&mut grower, 8 * MIB);
    assert_eq!(read_frame(&mut grower).len(), 8 * MIB);
    wait_until("its end", || scene.notes.closed.lock().unwrap().contains_key(&victim.raw()));
    let info = scene.notes.closed.lock().unwrap()[&victim.raw()].clone();
    assert_eq!((info.reason, info.host_code), (CloseReason::HostClosed, 5));
    assert!(info.unsent_bytes > 12 * MIB as u64, "{info:?}");
    assert_is_reset(&mut largest);
}

#[test]
fn only_the_largest_holder_is_refused_a_send() {
    let scene = Scene::new("ioThreads=1\nmemoryLimit=16M");
    let mut small = scene.client();
    scene.ask(&mut small, 8 * MIB);
    let large = scene.client();
    let conn = scene.conn_of(&large).0;
    let mut result = Ok(());
    for _ in 0..64 {
        result = conn.send_frame(&vec![1; MIB], PLAIN);
        if result.is_err() {
            break;
        }
    }
    assert_eq!(result, Err(Status::MemoryLimit));
    wait_until("its end", || scene.notes.closed.lock().unwrap().contains_key(&conn.raw()));
    assert_eq!(scene.notes.closed.lock().unwrap()[&conn.raw()].reason, CloseReason::MemoryLimit);
    assert_eq!(read_frame(&mut small).len(), 8 * MIB);
}

/// What the system holds for a peer that reads nothing is bounded, and a peer that reads again,
/// however little at a time, gets everything: its socket's edges come at that bound.
#[test]
fn a_peer_that_reads_nothing_costs_the_system_two_mib_and_gets_everything_when_it_reads() {
    if !cfg!(target_os = "linux") || is_through_a_toxic("the system there takes more") {
        return;
    }
    let scene = Scene::new("ioThreads=1\nmemoryLimit=64M");
    let mut slow = scene.client();
    scene.ask(&mut slow, 16 * MIB);
    let conn = scene.conn_of(&slow).0;
    let mut other = scene.client();
    for _ in 0..200 {
        other.write_all(&frame(b"ping")).unwrap();
        assert_eq!(read_frame(&mut other), [7]);
        let sent = conn.info().unwrap().bytes_out;
        assert!(sent < 13 * MIB as u64 / 5, "the system has taken {sent} bytes");
    }
    assert_eq!(read_exact(&mut slow, 4), (16 * MIB as u32).to_be_bytes());
    let mut left = 16 * MIB;
    for piece in [1, 1000, 100_000, MIB].into_iter().cycle() {
        let piece = left.min(piece);
        assert!(read_exact(&mut slow, piece).iter().all(|byte| *byte == 7));
        left -= piece;
        if left == 0 {
            break;
        }
    }
    slow.write_all(&frame(b"ping")).unwrap();
    assert_eq!(read_frame(&mut slow), [7]);
}
