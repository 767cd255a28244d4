//! How often the server asks the system: what only speed shows otherwise.

use super::scenes::Scene;
use super::wire::{Calls, PeerEnd};
use crate::conn::handles::{Conn, SendFlags};
use crate::conn::queue::GATHER_BYTES;
use crate::event::{Event, Handler, Protocol};
use crate::runtime::Consumer;
use parking_lot::Mutex;
use std::sync::Arc;

const RAW: SendFlags = SendFlags { no_compress: true };

type Reaction = Box<dyn Fn(Conn, usize) + Send + Sync>;

/// Does something with each batch of frames.
struct Reacting(Reaction, Mutex<Option<Conn>>);

impl Handler for Reacting {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        match event {
            Event::Opened { .. } => *self.1.lock() = Some(conn),
            Event::Frames(frames) => (self.0)(conn, frames.len()),
            _ => {}
        }
    }
}

/// A client whose frames are answered so, through a socket that takes so many bytes.
fn answered(
    capacity: usize,
    react: impl Fn(&PeerEnd, Conn, usize) + Send + Sync + 'static,
) -> (Scene, PeerEnd, Conn) {
    let mut scene = Scene::new("sendQueueLimit = 64M\n", Consumer::Callbacks);
    scene.capacity = capacity;
    let known: Arc<Mutex<Option<PeerEnd>>> = Arc::default();
    let own = known.clone();
    let react = move |conn, frames| {
        let peer = own.lock().clone().expect("it has been made");
        react(&peer, conn, frames);
    };
    let handler = Arc::new(Reacting(Box::new(react), Mutex::default()));
    scene.port.simulate_handler(Protocol::Client, handler.clone());
    let peer = scene.connect();
    *known.lock() = Some(peer.clone());
    let conn = handler.1.lock().expect("it has opened");
    // What it takes at once is not asked for twice.
    scene.round(0);
    peer.take_calls();
    (scene, peer, conn)
}

fn frames(count: usize) -> Vec<u8> {
    [0, 0, 0, 1, b'x'].repeat(count)
}

#[test]
fn a_turn_reads_once_and_sends_once_however_many_small_frames_it_answers() {
    let (mut scene, peer, _conn) = answered(1 << 20, |_, conn, frames| {
        (0..frames).for_each(|_| conn.send_frame(b"small", RAW).unwrap());
    });
    peer.send(&frames(100));
    scene.round(0);
    assert_eq!(peer.take_calls(), Calls { sends: 1, recvs: 1 });
    scene.round(0);
    assert_eq!(peer.take_calls(), Calls::default());
}

#[test]
fn sends_of_other_threads_leave_together_in_one_call() {
    let (mut scene, peer, conn) = answered(1 << 20, |_, _, _| {});
    std::thread::spawn(move || {
        (0..100).for_each(|_| conn.send_frame(b"small", RAW).unwrap());
    })
    .join()
    .unwrap();
    scene.round(0);
    assert_eq!(peer.take_calls(), Calls { sends: 1, recvs: 0 });
}

#[test]
fn corked_output_leaves_in_one_call_when_it_is_uncorked() {
    let (mut scene, peer, conn) = answered(1 << 20, |_, _, _| {});
    conn.cork().unwrap();
    for _ in 0..5 {
        conn.send_frame(b"small", RAW).unwrap();
        scene.round(0);
    }
    assert_eq!(peer.take_calls().sends, 0);
    conn.uncork().unwrap();
    scene.round(0);
    assert_eq!(peer.take_calls().sends, 1);
}

#[test]
fn output_that_is_much_leaves_while_the_callback_still_runs() {
    let (mut scene, peer, _conn) = answered(16 << 20, |peer, conn, _| {
        let piece = [7; 16 << 10];
        let mut sent = 0;
        while sent + piece.len() + 4 < GATHER_BYTES {
            conn.send_frame(&piece, RAW).unwrap();
            sent += piece.len() + 4;
        }
        assert_eq!(peer.take_calls().sends, 0, "so far it is gathered");
        conn.send_frame(&piece, RAW).unwrap();
        assert!(peer.take_calls().sends > 0, "it is flushed early");
        assert_eq!(conn.info().unwrap().queued_bytes, 0);
        conn.send_frame(b"small", RAW).unwrap();
    });
    peer.send(&frames(1));
    scene.round(0);
    assert_eq!(peer.take_calls().sends, 1, "what is little waits for the end of the turn");
}

#[test]
fn a_large_array_goes_to_the_socket_from_the_callers_memory_compressing_or_not() {
    for (payload, count) in [(400, 100), (40 << 10, 1), (300 << 10, 1), (2 << 20, 1)] {
        let (mut scene, peer, _conn) = answered(16 << 20, move |peer, conn, _| {
            let payload = vec![7; payload];
            let frames = (0..count).map(|_| payload.as_slice());
            // Raw by the port's rules: 400 bytes are below compressThreshold, 2 MiB over compressLimit.
            let flags =
                if matches!(payload.len(), 400 | 0x20_0000) { SendFlags::default() } else { RAW };
            conn.send_frames(frames, flags).1.unwrap();
            // As many frames as fit into one call; a single one that is not very large waits.
            let expected = match payload.len() {
                0xa000 => 0,
                400 => 4,
                _ => 1,
            };
            assert_eq!(peer.take_calls().sends, expected, "{} bytes", payload.len());
        });
        peer.send(&frames(1));
        scene.round(0);
        assert_eq!(peer.take_calls().sends, usize::from(payload == 40 << 10));
    }
}

#[test]
fn a_full_socket_is_not_tried_again_before_it_reports_room() {
    let (mut scene, peer, conn) = answered(10_000, |_, _, _| {});
    conn.send_frame(&[7; 25_000], RAW).unwrap();
    scene.round(0);
    assert_eq!(peer.take_calls().sends, 1, "it took less than it was offered: it is full");
    for _ in 0..10 {
        conn.send_frame(b"more", RAW).unwrap();
        peer.recv(100);
        scene.round(0);
    }
    assert_eq!(peer.take_calls().sends, 0);
    peer.recv(9_000);
    scene.round(0);
    assert_eq!(peer.take_calls().sends, 1);
}

#[test]
fn a_read_that_got_less_than_it_asked_for_is_the_last_of_a_turn_which_has_four_at_most() {
    let (mut scene, peer, _conn) = answered(1 << 20, |_, _, _| {});
    peer.send(&frames(1)[..3]);
    scene.round(0);
    assert_eq!(peer.take_calls().recvs, 1);
    let whole = [&[0, 0x40, 0, 0][..], &vec![7; 0x40_0000]].concat();
    peer.send(&frames(1)[3..]);
    scene.round(0);
    assert_eq!(peer.take_calls().recvs, 1);
    peer.send(&whole);
    let mut turns = 0;
    while scene.stats().frames_in < 2 {
        scene.round(0);
        turns += 1;
        assert!(peer.take_calls().recvs <= 4, "{turns} turns");
    }
    assert!(turns >= 2);
}
