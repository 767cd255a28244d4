//! A wire: what lies between the server's end of a connection and its peer.
//!
//! It behaves as a TCP socket under edge-triggered polling does: a read that got less than
//! it asked for has emptied the socket; a write that took less than it was offered is
//! followed by a writable edge once a third of the buffer is free; closing with unread input, or input
//! after the close, resets the connection and destroys what the peer has not read.

use crate::net::transport::Wire;
use crate::reactor::Readiness;
use std::cell::Cell;
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::{Arc, Mutex};

thread_local! {
    /// The loop whose turn it is: registering happens inside it.
    pub(super) static LOOP: Cell<usize> = const { Cell::new(NO_LOOP) };
}

/// Nobody's turn.
pub(super) const NO_LOOP: usize = usize::MAX;

/// Both ends' view of one connection.
#[derive(Default)]
pub(super) struct Line {
    /// On its way to the server, not read yet.
    to_server: VecDeque<u8>,
    peer_fin: bool,
    peer_reset: bool,
    /// Sent by the server, not read by the peer yet.
    to_peer: VecDeque<u8>,
    /// The server has ended its direction.
    pub server_fin: bool,
    /// The server's socket is closed.
    pub server_gone: bool,
    /// The peer has learnt of a reset.
    pub was_reset: bool,
    /// Bytes that the server's socket buffers.
    capacity: usize,
    /// Loop and key at which the server's end is registered.
    place: Option<(usize, usize)>,
    edge: Edge,
    reset_on_close: bool,
    /// System calls of the server on this socket.
    calls: Calls,
    error: Option<i32>,
}

#[derive(Clone, Copy, Default)]
struct Edge {
    readable: bool,
    closed: bool,
    writable: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Calls {
    pub sends: usize,
    pub recvs: usize,
}

/// The peer's hold on a line.
#[derive(Clone)]
pub(super) struct PeerEnd(Arc<Mutex<Line>>);

/// The server's hold on a line.
pub(super) struct ServerEnd(Arc<Mutex<Line>>);

pub(super) fn line(capacity: usize) -> (PeerEnd, ServerEnd) {
    let line = Line { capacity, ..Line::default() };
    let line = Arc::new(Mutex::new(line));
    (PeerEnd(line.clone()), ServerEnd(line))
}

impl PeerEnd {
    fn line(&self) -> std::sync::MutexGuard<'_, Line> {
        self.0.lock().unwrap()
    }

    /// Sends; what arrives at a closed socket is answered by a reset.
    pub fn send(&self, bytes: &[u8]) {
        let mut line = self.line();
        if line.server_gone {
            line.reset_by_server();
        } else {
            line.to_server.extend(bytes);
            line.edge.readable = true;
        }
    }

    /// The system takes nothing more for this peer. Gives what is on the way.
    pub fn takes_no_more(&self) -> usize {
        let mut line = self.line();
        line.capacity = line.to_peer.len();
        line.capacity
    }

    pub fn fin(&self) {
        let mut line = self.line();
        line.peer_fin = true;
        line.edge.readable = true;
        line.edge.closed = true;
    }

    pub fn reset(&self) {
        let mut line = self.line();
        line.peer_reset = true;
        line.error = Some(libc::ECONNRESET);
        line.to_server.clear();
        line.to_peer.clear();
        line.edge = Edge { readable: true, closed: true, writable: true };
    }

    /// Reads up to `max` bytes.
    pub fn recv(&self, max: usize) -> Vec<u8> {
        let mut line = self.line();
        let max = max.min(line.to_peer.len());
        let bytes: Vec<u8> = line.to_peer.drain(..max).collect();
        let was_full = 3 * (line.to_peer.len() + max) > 2 * line.capacity;
        if was_full && 3 * line.to_peer.len() <= 2 * line.capacity {
            line.edge.writable = true;
        }
        bytes
    }

    /// What the server has called since this was asked last.
    pub fn take_calls(&self) -> Calls {
        std::mem::take(&mut self.line().calls)
    }

    /// Nothing will come any more.
    pub fn is_at_end(&self) -> bool {
        let line = self.line();
        line.was_reset || (line.server_fin && line.to_peer.is_empty())
    }

    pub fn was_reset(&self) -> bool {
        self.line().was_reset
    }

    pub fn server_is_gone(&self) -> bool {
        self.line().server_gone
    }

    /// What is ready at the server's end, if it is registered with this loop.
    pub fn take_readiness(&self, loop_index: usize) -> Option<Readiness> {
        let mut line = self.line();
        let (at, key) = line.place?;
        let edge = line.edge;
        if at != loop_index || line.server_gone || !(edge.readable || edge.closed || edge.writable)
        {
            return None;
        }
        line.edge = Edge::default();
        Some(Readiness {
            key,
            readable: edge.readable,
            read_closed: edge.closed,
            writable: edge.writable,
        })
    }
}

impl Line {
    fn reset_by_server(&mut self) {
        self.was_reset = true;
        self.to_peer.clear();
    }
}

impl Wire for ServerEnd {
    fn register(&self, key: usize) {
        let mut line = self.0.lock().unwrap();
        line.place = Some((LOOP.get(), key));
        // A new registration reports what is there already.
        let readable = !line.to_server.is_empty() || line.peer_fin || line.peer_reset;
        let closed = line.peer_fin || line.peer_reset;
        line.edge = Edge { readable, closed, writable: true };
    }

    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        let mut line = self.0.lock().unwrap();
        line.calls.sends += 1;
        if line.peer_reset {
            return Err(io::Error::from_raw_os_error(libc::EPIPE));
        }
        assert!(!line.server_fin, "the server sends behind its own end of stream");
        let mut room = line.capacity.saturating_sub(line.to_peer.len());
        if room == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        let mut sent = 0;
        for slice in slices {
            let take = slice.len().min(room);
            line.to_peer.extend(&slice[..take]);
            sent += take;
            room -= take;
        }
        Ok(sent)
    }

    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut line = self.0.lock().unwrap();
        line.calls.recvs += 1;
        if let Some(error) = line.error.take() {
            return Err(io::Error::from_raw_os_error(error));
        }
        let take = buffer.len().min(line.to_server.len());
        if take == 0 && !line.peer_fin {
            return Err(ErrorKind::WouldBlock.into());
        }
        for (to, from) in buffer.iter_mut().zip(line.to_server.drain(..take)) {
            *to = from;
        }
        Ok(take)
    }

    fn shutdown_write(&self) {
        self.0.lock().unwrap().server_fin = true;
    }

    fn reset_on_close(&self) {
        self.0.lock().unwrap().reset_on_close = true;
    }

    fn take_error(&self) -> Option<io::Error> {
        self.0.lock().unwrap().error.take().map(io::Error::from_raw_os_error)
    }

    fn unacknowledged_bytes(&self) -> usize {
        self.0.lock().unwrap().to_peer.len()
    }
}

impl Drop for ServerEnd {
    fn drop(&mut self) {
        let mut line = self.0.lock().unwrap();
        line.server_gone = true;
        line.place = None;
        if line.reset_on_close || !line.to_server.is_empty() {
            line.reset_by_server();
        }
        line.server_fin = true;
    }
}
