//! The socket of a connection: the only place that reads and writes bytes.
//!
//! Sends never raise SIGPIPE, whatever the host's disposition. This file is one of the two
//! of the core with `unsafe`: reading into memory that is reserved and not initialised,
//! since zeroing the buffers of large frames first costs up to a tenth of their speed.
#![allow(unsafe_code)]

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{MaybeUninitSlice, SockRef};
use std::io::{self, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::time::Duration;

pub(crate) struct Transport {
    stream: TcpStream,
}

impl Transport {
    pub fn new(stream: TcpStream) -> Transport {
        Transport { stream }
    }

    pub fn register(&mut self, registry: &Registry, key: usize) -> io::Result<()> {
        // Once, edge-triggered, for both directions: nothing is toggled later.
        registry.register(&mut self.stream, Token(key), Interest::READABLE | Interest::WRITABLE)
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        registry.deregister(&mut self.stream)
    }

    /// One vectored send.
    pub fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        let flags = libc::MSG_NOSIGNAL;
        // Elsewhere mio sets SO_NOSIGPIPE.
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
        let flags = 0;
        match slices {
            [one] => SockRef::from(&self.stream).send_with_flags(one, flags),
            _ => SockRef::from(&self.stream).send_vectored_with_flags(slices, flags),
        }
    }

    pub fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.stream.read(buffer)
    }

    /// One vectored read: up to `missing` bytes onto the end of `payload` (as far as its
    /// capacity goes), what comes behind them into `scratch`. Gives both counts.
    pub fn recv_large(
        &mut self,
        payload: &mut Vec<u8>,
        missing: usize,
        scratch: &mut [u8],
    ) -> io::Result<(usize, usize)> {
        let spare = payload.spare_capacity_mut();
        let room = missing.min(spare.len());
        // Behind a buffer that is not the frame's last step nothing may follow.
        let behind = if room == missing { scratch.len() } else { 0 };
        // SAFETY: initialised bytes seen as possibly uninitialised ones; recv only ever
        // writes initialised bytes into them.
        let scratch = unsafe { &mut *(&raw mut scratch[..behind] as *mut [MaybeUninit<u8>]) };
        let mut slices =
            [MaybeUninitSlice::new(&mut spare[..room]), MaybeUninitSlice::new(scratch)];
        let (got, _) = SockRef::from(&self.stream).recv_vectored(&mut slices)?;
        let filled = got.min(room);
        // SAFETY: the system has written `filled` bytes from the old end on, and `filled`
        // is within the capacity.
        unsafe { payload.set_len(payload.len() + filled) };
        Ok((filled, got - filled))
    }

    /// Ends our direction. An error means that the peer is gone, which reading will tell.
    pub fn shutdown_write(&self) {
        let _ = self.stream.shutdown(Shutdown::Write);
    }

    /// Makes the close that follows a reset.
    pub fn reset_on_close(&self) {
        let _ = SockRef::from(&self.stream).set_linger(Some(Duration::ZERO));
    }

    /// An error that the system has noted on the socket.
    pub fn take_error(&self) -> Option<io::Error> {
        self.stream.take_error().ok().flatten()
    }

    pub fn local_address(&self) -> SocketAddr {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let local = self.stream.local_addr().unwrap_or(unknown);
        SocketAddr::new(local.ip().to_canonical(), local.port())
    }
}
