//! How long a close may last, and what else ends by time alone.

use super::scenes::Scene;
use super::wire::PeerEnd;
use crate::conn::handles::{Conn, SendFlags};
use crate::event::{CloseInfo, Event, Handler, Party, Protocol};
use crate::runtime::Consumer;
use crate::status::{CloseReason, Status};
use parking_lot::Mutex;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Sends more than the socket takes when a connection opens, and notes its end.
#[derive(Default)]
struct Sending(Mutex<Notes>);

#[derive(Default)]
struct Notes {
    conn: Option<Conn>,
    closed: Option<CloseInfo>,
}

const BYTES: usize = 100_000;

impl Handler for Sending {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        match event {
            Event::Opened { .. } => {
                conn.send_frame(&[7; BYTES], SendFlags::default()).unwrap();
                self.0.lock().conn = Some(conn);
            }
            Event::Closed(info) => self.0.lock().closed = Some(info.clone()),
            _ => {}
        }
    }
}

struct Stage {
    scene: Scene,
    host: Arc<Sending>,
    peer: PeerEnd,
    conn: Conn,
}

impl Stage {
    fn new(keys: &str) -> Stage {
        let mut scene = Scene::new(&format!("compression = off\n{keys}"), Consumer::Callbacks);
        let host: Arc<Sending> = Arc::default();
        scene.port.simulate_handler(Protocol::Client, host.clone());
        let peer = scene.connect();
        let conn = host.0.lock().conn.expect("it has opened");
        Stage { scene, host, peer, conn }
    }

    /// Time passes in steps of a tick; before each, the peer reads so many bytes.
    fn pass(&mut self, ms: u64, bytes: usize) {
        for _ in 0..ms / 100 {
            self.peer.recv(bytes);
            self.scene.round(100);
        }
        self.scene.round(0);
    }

    fn closed(&self) -> Option<CloseInfo> {
        self.host.0.lock().closed.clone()
    }
}

#[test]
fn what_the_peer_acknowledges_is_progress_though_the_socket_takes_nothing() {
    let mut stage = Stage::new("writeTimeout = 2s\n");
    stage.peer.take_calls();
    // A third of a socket of 1,000 bytes is not free before the time-out has passed many times.
    stage.pass(30_000, 1);
    assert_eq!(stage.closed(), None);
    assert_eq!(stage.peer.take_calls().sends, 0, "the socket had no room");
    // From here on nothing is acknowledged.
    stage.pass(1_900, 0);
    assert_eq!(stage.closed(), None);
    stage.pass(1_200, 0);
    let info = stage.closed().expect("it ends a half later at most");
    assert_eq!((info.reason, info.by), (CloseReason::WriteTimeout, Party::Library));
    assert!(info.unsent_bytes > 0 && stage.peer.was_reset());
}

#[test]
fn close_timeout_counts_from_the_close_however_much_progress_the_peer_makes() {
    let mut stage = Stage::new("writeTimeout = 2s\ncloseTimeout = 5s\n");
    stage.pass(20_000, 100);
    stage.conn.close(3).unwrap();
    stage.pass(4_900, 100);
    assert_eq!(stage.closed(), None);
    stage.pass(200, 100);
    let info = stage.closed().expect("its time is over");
    assert_eq!((info.reason, info.by), (CloseReason::CloseTimeout, Party::Library));
    assert_eq!((info.host_code, info.text.as_str()), (3, "after host_closed"));
    assert!(info.unsent_bytes > 0 && stage.peer.was_reset());
}

#[test]
fn close_timeout_bounds_the_linger_too() {
    for (keys, lingers_ms) in [("closeTimeout = 500ms\n", 500), ("", 2000)] {
        let mut stage = Stage::new(keys);
        let begun_ms = stage.scene.now_ms.load(Ordering::SeqCst);
        stage.conn.close(0).unwrap();
        while stage.closed().is_none() {
            stage.peer.recv(BYTES);
            stage.scene.round(0);
        }
        // The peer does not end its direction.
        stage.pass(lingers_ms - 100, BYTES);
        assert!(!stage.peer.server_is_gone());
        stage.pass(200, 0);
        assert!(stage.peer.server_is_gone());
        assert_eq!(stage.scene.now_ms.load(Ordering::SeqCst), begun_ms + lingers_ms + 100);
    }
}

#[test]
fn a_deadline_that_is_set_after_the_close_cuts_it_and_one_from_before_does_not() {
    let mut stage = Stage::new("writeTimeout = 2s\n");
    stage.conn.set_deadline(Some(1_000)).unwrap();
    stage.conn.close(3).unwrap();
    stage.pass(20_000, 100);
    assert_eq!(stage.closed(), None, "the deadline from before the close is over");
    // It can be taken back and put off as any.
    stage.conn.set_deadline(Some(1_000)).unwrap();
    stage.conn.set_deadline(None).unwrap();
    stage.pass(2_000, 100);
    stage.conn.set_deadline(Some(1_000)).unwrap();
    stage.conn.set_deadline(Some(3_000)).unwrap();
    stage.pass(2_900, 100);
    assert_eq!(stage.closed(), None);
    stage.pass(200, 100);
    let info = stage.closed().expect("it has been cut");
    assert_eq!((info.reason, info.by), (CloseReason::HostClosed, Party::Host));
    assert_eq!(info.host_code, 3);
    assert!(info.unsent_bytes > 0 && stage.peer.was_reset());
    assert_eq!(stage.conn.set_deadline(Some(1)), Err(Status::Closed));
}

#[test]
fn a_deadline_that_has_closed_a_connection_does_not_cut_its_flush() {
    let mut stage = Stage::new("writeTimeout = 2s\n");
    stage.conn.set_deadline(Some(1_000)).unwrap();
    stage.pass(20_000, 100);
    assert_eq!(stage.closed(), None);
    while stage.closed().is_none() {
        stage.peer.recv(BYTES);
        stage.scene.round(0);
    }
    let info = stage.closed().unwrap();
    assert_eq!((info.reason, info.unsent_bytes), (CloseReason::HostDeadline, 0));
}

#[test]
fn a_peer_that_resets_while_its_connection_lingers_gives_its_place_back_at_once() {
    let mut stage = Stage::new("");
    stage.conn.close(0).unwrap();
    while stage.closed().is_none() {
        stage.peer.recv(BYTES);
        stage.scene.round(0);
    }
    assert!(!stage.peer.server_is_gone());
    stage.peer.reset();
    stage.scene.round(0);
    assert!(stage.peer.server_is_gone());
}
