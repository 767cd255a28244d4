//! The sockets that a port listens on, and what its accepters are to do with them.

use mio::net::{TcpListener, TcpStream};
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token, Waker};
use parking_lot::{Mutex, RwLock};
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

/// What an accepter thread is to do; shared by those of one port.
pub(crate) struct Switch {
    mode: AtomicU8,
    pub wakers: Mutex<Vec<Arc<Waker>>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Mode {
    Run = 0,
    Pause = 1,
    Stop = 2,
}

impl Switch {
    pub fn new() -> Switch {
        Switch { mode: AtomicU8::new(Mode::Run as u8), wakers: Mutex::default() }
    }

    pub fn set(&self, mode: Mode) {
        self.mode.store(mode as u8, Ordering::SeqCst);
        for waker in &*self.wakers.lock() {
            // An eventfd whose counter is full is awake enough.
            let _ = waker.wake();
        }
    }

    pub fn is(&self, mode: Mode) -> bool {
        self.mode.load(Ordering::SeqCst) == mode as u8
    }
}

/// The listening sockets of a port, one per address. There is no duplicate of them: once they
/// are closed here, no connection is accepted and the addresses are free.
#[derive(Default)]
pub(crate) struct Listening(RwLock<Sockets>);

#[derive(Default)]
struct Sockets {
    open: Vec<TcpListener>,
    /// The port has been stopped.
    stopped: bool,
}

impl Listening {
    /// Takes the sockets of a start. False: the port has been stopped; they are closed.
    pub fn open(&self, sockets: Vec<TcpListener>) -> bool {
        let mut present = self.0.write();
        if present.stopped {
            return false;
        }
        present.open = sockets;
        true
    }

    /// Closes the sockets of a start that has failed.
    pub fn close(&self) {
        self.0.write().open.clear();
    }

    /// Closes the sockets of now and of any later start.
    pub fn stop(&self) {
        let mut present = self.0.write();
        present.stopped = true;
        present.open.clear();
    }

    /// Lets a poll see connections that wait; gives the number of addresses.
    pub fn register(&self, registry: &Registry) -> io::Result<usize> {
        let present = self.0.read();
        for (index, socket) in present.open.iter().enumerate() {
            // The poll forgets it when it is closed.
            let mut source = SourceFd(&socket.as_raw_fd());
            registry.register(&mut source, Token(index), Interest::READABLE)?;
        }
        Ok(present.open.len())
    }

    /// Returns when the calls of accept that are under way have ended: those that follow see how the
    /// port was switched before.
    pub fn let_accepts_end(&self) {
        drop(self.0.write());
    }

    /// While it lives an accept is under way.
    #[cfg(test)]
    pub fn under_way(&self) -> impl Drop + use<'_> {
        self.0.read()
    }

    /// Accepts a connection that waits, if the port runs. The lock is held for this one call,
    /// which does not block: a stop or pause waits for no more than that. Accepters do not
    /// exclude one another.
    pub fn accept(&self, index: usize, switch: &Switch) -> io::Result<(TcpStream, SocketAddr)> {
        let present = self.0.read();
        match present.open.get(index) {
            Some(socket) if switch.is(Mode::Run) => socket.accept(),
            _ => Err(ErrorKind::WouldBlock.into()),
        }
    }
}
