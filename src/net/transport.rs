//! The socket of a connection: the only place that reads and writes bytes.
//!
//! Sends never raise SIGPIPE, whatever the host's disposition. This file is one of the three
//! of the core with `unsafe`: reading into memory that is reserved and not initialised,
//! since zeroing the buffers of large frames first costs up to a tenth of their speed;
//! asking how much the system holds unacknowledged, for which no crate has a safe call; and reaching
//! a socket of a loop from other threads, for its options.
#![allow(unsafe_code)]

use super::canonical;
use crate::base::sync::Mutex;
use crate::status::{Error, Status};
use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, MaybeUninitSlice, SockRef, Socket};
use std::io::{self, ErrorKind, IoSlice, Read};
use std::mem::MaybeUninit;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

/// The socket of a connection.
pub(crate) enum Transport {
    Tcp(TcpStream),
    /// Closed before the connection has ended.
    Gone,
    /// A wire of a simulated world; without tests there is none.
    #[cfg_attr(not(any(test, fuzzing)), allow(dead_code))]
    Simulated(Simulated),
}

#[cfg(any(test, fuzzing))]
pub(crate) type Simulated = Box<dyn Wire>;
#[cfg(not(any(test, fuzzing)))]
pub(crate) type Simulated = NoWire;

/// No value has this type, so that nothing is left of the arms for simulated wires.
#[cfg(not(any(test, fuzzing)))]
pub(crate) enum NoWire {}

/// What a simulated wire does in place of a socket.
pub(crate) trait Wire: Send {
    /// The connection has its place in a loop.
    fn register(&self, key: usize);
    fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize>;
    fn recv(&self, buffer: &mut [u8]) -> io::Result<usize>;
    fn shutdown_write(&self);
    fn reset_on_close(&self);
    fn take_error(&self) -> Option<io::Error>;
    fn unacknowledged_bytes(&self) -> usize;
}

impl Transport {
    pub fn new(stream: TcpStream) -> Transport {
        Transport::Tcp(stream)
    }

    pub fn register(&mut self, registry: &Registry, key: usize) -> io::Result<()> {
        match self {
            // Once, edge-triggered, for both directions: nothing is toggled later.
            Transport::Tcp(stream) => {
                registry.register(stream, Token(key), Interest::READABLE | Interest::WRITABLE)
            }
            Transport::Gone => Ok(()),
            Transport::Simulated(wire) => {
                wire.register(key);
                Ok(())
            }
        }
    }

    pub fn deregister(&mut self, registry: &Registry) -> io::Result<()> {
        match self {
            Transport::Tcp(stream) => registry.deregister(stream),
            Transport::Gone => Ok(()),
            Transport::Simulated(_) => Ok(()),
        }
    }

    /// One vectored send.
    pub fn send(&self, slices: &[IoSlice<'_>]) -> io::Result<usize> {
        #[cfg(any(target_os = "linux", target_os = "android", target_os = "freebsd"))]
        let flags = libc::MSG_NOSIGNAL;
        // Elsewhere mio sets SO_NOSIGPIPE.
        #[cfg(not(any(target_os = "linux", target_os = "android", target_os = "freebsd")))]
        let flags = 0;
        match (self, slices) {
            (Transport::Tcp(stream), [one]) => SockRef::from(stream).send_with_flags(one, flags),
            (Transport::Tcp(stream), _) => {
                SockRef::from(stream).send_vectored_with_flags(slices, flags)
            }
            (Transport::Gone, _) => Err(ErrorKind::NotConnected.into()),
            (Transport::Simulated(wire), _) => wire.send(slices),
        }
    }

    pub fn recv(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Transport::Tcp(stream) => stream.read(buffer),
            Transport::Gone => Err(ErrorKind::NotConnected.into()),
            Transport::Simulated(wire) => wire.recv(buffer),
        }
    }

    /// One vectored read: up to `missing` bytes onto the end of `payload` (as far as its
    /// capacity goes), what comes behind them into `scratch`. Gives both counts.
    pub fn recv_large(
        &mut self,
        payload: &mut Vec<u8>,
        missing: usize,
        scratch: &mut [u8],
    ) -> io::Result<(usize, usize)> {
        if let Transport::Simulated(wire) = self {
            let (begin, spare) = (payload.len(), payload.capacity() - payload.len());
            payload.resize(begin + missing.min(spare), 0);
            let result = wire.recv(&mut payload[begin..]);
            payload.truncate(begin + result.as_ref().copied().unwrap_or(0));
            let filled = result?;
            let behind = if filled == missing { wire.recv(scratch).unwrap_or(0) } else { 0 };
            return Ok((filled, behind));
        }
        let Transport::Tcp(stream) = self else { return Err(ErrorKind::NotConnected.into()) };
        let spare = payload.spare_capacity_mut();
        let room = missing.min(spare.len());
        // Behind a buffer that is not the frame's last step nothing may follow.
        let behind = if room == missing { scratch.len() } else { 0 };
        // SAFETY: initialised bytes seen as possibly uninitialised ones; recv only ever
        // writes initialised bytes into them.
        let scratch = unsafe { &mut *(&raw mut scratch[..behind] as *mut [MaybeUninit<u8>]) };
        let mut slices =
            [MaybeUninitSlice::new(&mut spare[..room]), MaybeUninitSlice::new(scratch)];
        let (got, _) = SockRef::from(&*stream).recv_vectored(&mut slices)?;
        let filled = got.min(room);
        // SAFETY: the system has written `filled` bytes from the old end on, and `filled`
        // is within the capacity.
        unsafe { payload.set_len(payload.len() + filled) };
        Ok((filled, got - filled))
    }

    /// Ends our direction. An error means that the peer is gone, which reading will tell.
    pub fn shutdown_write(&self) {
        match self {
            Transport::Tcp(stream) => {
                let _ = stream.shutdown(Shutdown::Write);
            }
            Transport::Gone => {}
            Transport::Simulated(wire) => wire.shutdown_write(),
        }
    }

    /// Makes the close that follows, by whoever it is, a reset or not.
    pub fn set_reset_on_close(&self, on: bool) {
        match self {
            Transport::Tcp(stream) => {
                let _ = SockRef::from(stream).set_linger(on.then_some(Duration::ZERO));
            }
            Transport::Gone => {}
            Transport::Simulated(wire) => {
                if on {
                    wire.reset_on_close();
                }
            }
        }
    }

    /// An error that the system has noted on the socket.
    pub fn take_error(&self) -> Option<io::Error> {
        match self {
            Transport::Tcp(stream) => stream.take_error().ok().flatten(),
            Transport::Gone => None,
            Transport::Simulated(wire) => wire.take_error(),
        }
    }

    /// Bytes that the system has taken and the peer has not acknowledged, as far as it tells.
    pub fn unacknowledged_bytes(&self) -> usize {
        match self {
            #[cfg(any(target_os = "linux", target_os = "android"))]
            Transport::Tcp(stream) => {
                let mut bytes: libc::c_int = 0;
                // SAFETY: the descriptor is open, and the system writes one int.
                let result =
                    unsafe { libc::ioctl(stream.as_raw_fd(), libc::TIOCOUTQ, &raw mut bytes) };
                if result == 0 { usize::try_from(bytes).unwrap_or(0) } else { 0 }
            }
            #[cfg(not(any(target_os = "linux", target_os = "android")))]
            Transport::Tcp(_) => 0,
            Transport::Gone => 0,
            Transport::Simulated(wire) => wire.unacknowledged_bytes(),
        }
    }

    pub fn local_address(&self) -> SocketAddr {
        let unknown = SocketAddr::from(([0, 0, 0, 0], 0));
        let local = match self {
            Transport::Tcp(stream) => stream.local_addr().unwrap_or(unknown),
            Transport::Gone => unknown,
            Transport::Simulated(_) => unknown,
        };
        canonical(local)
    }
}

#[cfg(not(any(test, fuzzing)))]
impl Wire for NoWire {
    fn register(&self, _: usize) {
        match *self {}
    }

    fn send(&self, _: &[IoSlice<'_>]) -> io::Result<usize> {
        match *self {}
    }

    fn recv(&self, _: &mut [u8]) -> io::Result<usize> {
        match *self {}
    }

    fn shutdown_write(&self) {
        match *self {}
    }

    fn reset_on_close(&self) {
        match *self {}
    }

    fn take_error(&self) -> Option<io::Error> {
        match *self {}
    }

    fn unacknowledged_bytes(&self) -> usize {
        match *self {}
    }
}

/// An option of a socket that a host may ask for and set. Sizes are bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SocketOption {
    /// `TCP_NODELAY`: 1 = Nagle's algorithm is off.
    NoDelay,
    /// `SO_KEEPALIVE`: 1 = the system probes a silent peer.
    KeepAlive,
    /// `SO_SNDBUF`; Linux answers with twice of what was asked for.
    SendBuffer,
    /// `SO_RCVBUF`; likewise.
    ReceiveBuffer,
    /// `IP_TOS`, of IPv6 `IPV6_TCLASS`.
    TrafficClass,
}

/// The socket of a connection as any thread may reach it: for its options, until its loop closes it.
#[derive(Default)]
pub(crate) struct SharedSocket(Mutex<Option<RawFd>>);

impl SharedSocket {
    /// Reached until [`SharedSocket::close`], which comes before the transport is closed.
    pub fn open(&self, transport: &Transport) {
        if let Transport::Tcp(stream) = transport {
            *self.0.lock() = Some(stream.as_raw_fd());
        }
    }

    /// Nobody reaches it from here on.
    pub fn close(&self) {
        *self.0.lock() = None;
    }

    fn with<R>(&self, f: impl FnOnce(SockRef<'_>) -> io::Result<R>) -> Result<R, Error> {
        let descriptor = self.0.lock();
        let Some(raw) = *descriptor else { return Err(Error::from(Status::Closed)) };
        // SAFETY: it is open while the lock is held: who closes the socket takes it out first.
        let borrowed = unsafe { BorrowedFd::borrow_raw(raw) };
        f(SockRef::from(&borrowed)).map_err(|error| Error::io("an option of a socket", &error))
    }

    /// Makes the close by the system a reset, or not. Decided under the lock, so that the last to ask decides.
    pub fn set_reset_on_close(&self, is_on: impl FnOnce() -> bool) {
        // If it has gone, nobody closes it any more.
        let _ = self.with(|socket| socket.set_linger(is_on().then_some(Duration::ZERO)));
    }

    pub fn option(&self, option: SocketOption) -> Result<u32, Error> {
        let bytes = |size| u32::try_from(size).unwrap_or(u32::MAX);
        self.with(|socket| {
            Ok(match option {
                SocketOption::NoDelay => socket.tcp_nodelay()?.into(),
                SocketOption::KeepAlive => socket.keepalive()?.into(),
                SocketOption::SendBuffer => bytes(socket.send_buffer_size()?),
                SocketOption::ReceiveBuffer => bytes(socket.recv_buffer_size()?),
                SocketOption::TrafficClass => traffic_class(&socket)?,
            })
        })
    }

    pub fn set_option(&self, option: SocketOption, value: u32) -> Result<(), Error> {
        self.with(|socket| match option {
            SocketOption::NoDelay => socket.set_tcp_nodelay(value != 0),
            SocketOption::KeepAlive => socket.set_keepalive(value != 0),
            SocketOption::SendBuffer => socket.set_send_buffer_size(value as usize),
            SocketOption::ReceiveBuffer => socket.set_recv_buffer_size(value as usize),
            SocketOption::TrafficClass => set_traffic_class(&socket, value),
        })
    }
}

fn traffic_class(socket: &Socket) -> io::Result<u32> {
    if socket.domain()? == Domain::IPV6 { socket.tclass_v6() } else { socket.tos_v4() }
}

/// Sets `IP_TOS` and, of a socket for IPv6, `IPV6_TCLASS`: such a socket may have a peer with IPv4.
pub(crate) fn set_traffic_class(socket: &Socket, value: u32) -> io::Result<()> {
    if socket.domain()? == Domain::IPV6 {
        socket.set_tclass_v6(value)?;
    }
    socket.set_tos_v4(value)
}
