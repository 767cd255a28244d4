//! One connection of the load: a socket, with TLS or without.

use crate::options::Options;
use nativeport_bench::tls::{Output, open, seal};
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{Resumption, UnbufferedClientConnection};
use rustls::crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, Error, HandshakeKind, SignatureScheme};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::Arc;

const SCRATCH: usize = 256 << 10;
const HELD: usize = 64 << 10;

/// Memory that all connections of a thread share.
pub struct Buffers {
    scratch: Vec<u8>,
    out: Output,
    /// For [`crate::frames::Frames::next`].
    pub chunk: Vec<u8>,
}

impl Buffers {
    pub fn new() -> Buffers {
        Buffers { scratch: vec![0; HELD + SCRATCH], out: Output::default(), chunk: Vec::new() }
    }
}

pub struct Peer {
    pub socket: TcpStream,
    tls: Option<Box<Tls>>,
    /// Sealed bytes that the socket did not take.
    unsent: Vec<u8>,
    unsent_at: usize,
}

struct Tls {
    session: UnbufferedClientConnection,
    held: Vec<u8>,
    may_send: bool,
}

/// What one read came to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Nothing was there.
    Empty,
    /// All that was there was read.
    Short,
    /// There may be more.
    Full,
    /// The server ended the connection.
    Ended,
}

/// How connections are made.
#[derive(Clone)]
pub struct Connector {
    address: SocketAddr,
    tls: Option<Arc<ClientConfig>>,
    first: u8,
    made: u32,
}

impl Connector {
    pub fn new(options: &Options) -> io::Result<Connector> {
        let tls = options.tls.then(|| client_config(options.resume)).transpose();
        Ok(Connector {
            address: (Ipv4Addr::LOCALHOST, options.port).into(),
            tls: tls.map_err(io::Error::other)?,
            first: options.first,
            made: 0,
        })
    }

    /// Begins a connection; the socket does not block.
    pub fn begin(&mut self) -> io::Result<Peer> {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None)?;
        socket.set_tcp_nodelay(true)?;
        socket.set_nonblocking(true)?;
        // Addresses take turns: each has its own ports, and many wait in TIME_WAIT.
        let source = Ipv4Addr::new(127, 0, 1, 1 + (self.made % 32) as u8);
        self.made = self.made.wrapping_add(1);
        socket.bind_address(source)?;
        match socket.connect(&self.address.into()) {
            Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => return Err(error),
            _ => {}
        }
        let tls = match &self.tls {
            None => None,
            Some(config) => {
                let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
                let session = UnbufferedClientConnection::new(config.clone(), name);
                let session = session.map_err(io::Error::other)?;
                Some(Box::new(Tls { session, held: Vec::new(), may_send: false }))
            }
        };
        Ok(Peer { socket: socket.into(), tls, unsent: Vec::new(), unsent_at: 0 })
    }

    /// A connection that is identified, from a call that waits.
    pub fn open(&mut self, buffers: &mut Buffers) -> io::Result<Peer> {
        let mut peer = self.begin()?;
        peer.wait(libc::POLLOUT)?;
        peer.start(buffers)?;
        while !peer.may_send() {
            peer.wait(libc::POLLIN)?;
            if peer.receive(buffers, |_| Ok(()))? == Outcome::Ended {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        peer.send(&[self.first], buffers)?;
        let mut answer = Vec::new();
        while answer.is_empty() {
            peer.wait(libc::POLLIN)?;
            let outcome = peer.receive(buffers, |data| {
                answer.extend_from_slice(data);
                Ok(())
            })?;
            if outcome == Outcome::Ended {
                return Err(ErrorKind::UnexpectedEof.into());
            }
        }
        if answer == [1] { Ok(peer) } else { Err(io::Error::other("the answer is not a byte 1")) }
    }
}

/// Binding to an address without taking a port before the connection is made.
trait BindAddress {
    fn bind_address(&self, source: Ipv4Addr) -> io::Result<()>;
}

impl BindAddress for socket2::Socket {
    fn bind_address(&self, source: Ipv4Addr) -> io::Result<()> {
        let one: libc::c_int = 1;
        // SAFETY: the value lives during the call.
        unsafe {
            use std::os::fd::AsRawFd;
            libc::setsockopt(
                self.as_raw_fd(),
                libc::IPPROTO_IP,
                libc::IP_BIND_ADDRESS_NO_PORT,
                (&raw const one).cast(),
                size_of_val(&one) as libc::socklen_t,
            );
        }
        self.bind(&SocketAddr::from((source, 0)).into())
    }
}

impl Peer {
    /// Once the socket is connected: sends the ClientHello, if there is one.
    pub fn start(&mut self, buffers: &mut Buffers) -> io::Result<()> {
        if let Some(error) = self.socket.take_error()? {
            return Err(error);
        }
        if let Some(tls) = &mut self.tls {
            buffers.out.clear();
            open(&mut tls.session, &mut [], &mut buffers.out, |_| {})?;
            self.put(&mut buffers.out)?;
        }
        Ok(())
    }

    pub fn may_send(&self) -> bool {
        self.tls.as_ref().is_none_or(|tls| tls.may_send)
    }

    pub fn resumed(&self) -> bool {
        let kind = self.tls.as_ref().and_then(|tls| tls.session.handshake_kind());
        kind == Some(HandshakeKind::Resumed)
    }

    /// Reads once, and shows what it was to `plain`.
    pub fn receive(
        &mut self,
        buffers: &mut Buffers,
        mut plain: impl FnMut(&[u8]) -> io::Result<()>,
    ) -> io::Result<Outcome> {
        let got = match self.socket.read(&mut buffers.scratch[HELD..]) {
            Ok(0) => return Ok(Outcome::Ended),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Outcome::Empty),
            Err(error) => return Err(error),
        };
        let outcome = if got == SCRATCH { Outcome::Full } else { Outcome::Short };
        let Some(tls) = &mut self.tls else {
            plain(&buffers.scratch[HELD..HELD + got])?;
            return Ok(outcome);
        };
        let start = HELD - tls.held.len();
        buffers.scratch[start..HELD].copy_from_slice(&tls.held);
        let input = &mut buffers.scratch[start..HELD + got];
        let mut result = Ok(());
        buffers.out.clear();
        let opened = open(&mut tls.session, input, &mut buffers.out, |data| {
            if result.is_ok() {
                result = plain(data);
            }
        })?;
        result?;
        tls.may_send |= opened.may_send;
        tls.held.clear();
        tls.held.extend_from_slice(&input[opened.used..]);
        self.put(&mut buffers.out)?;
        Ok(if opened.peer_closed { Outcome::Ended } else { outcome })
    }

    /// Sends; gives how much of `data` was taken. With TLS all of it is, unless sealed bytes
    /// are still waiting.
    pub fn send(&mut self, data: &[u8], buffers: &mut Buffers) -> io::Result<usize> {
        if !self.flush()? {
            return Ok(0);
        }
        let Some(tls) = &mut self.tls else {
            return match self.socket.write(data) {
                Ok(sent) => Ok(sent),
                Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(0),
                Err(error) => Err(error),
            };
        };
        buffers.out.clear();
        seal(&mut tls.session, Some(data), &mut buffers.out)?;
        self.put(&mut buffers.out)?;
        Ok(data.len())
    }

    /// Says goodbye, as far as the socket takes it.
    pub fn goodbye(&mut self, buffers: &mut Buffers) {
        if let Some(tls) = &mut self.tls {
            buffers.out.clear();
            if seal(&mut tls.session, None, &mut buffers.out).is_ok() {
                let _ = self.put(&mut buffers.out);
            }
        }
    }

    fn put(&mut self, out: &mut Output) -> io::Result<()> {
        let mut data = out.filled();
        if self.unsent.is_empty() && !data.is_empty() {
            match self.socket.write(data) {
                Ok(sent) => data = &data[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        self.unsent.extend_from_slice(data);
        out.clear();
        Ok(())
    }

    /// True if nothing is left to be sent.
    pub fn flush(&mut self) -> io::Result<bool> {
        while self.unsent_at < self.unsent.len() {
            match self.socket.write(&self.unsent[self.unsent_at..]) {
                Ok(sent) => self.unsent_at += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.unsent.clear();
        self.unsent_at = 0;
        Ok(true)
    }

    /// Waits until the socket is ready.
    pub fn wait(&self, events: i16) -> io::Result<()> {
        use std::os::fd::AsRawFd;
        let mut poll = libc::pollfd { fd: self.socket.as_raw_fd(), events, revents: 0 };
        // SAFETY: the struct lives during the call.
        match unsafe { libc::poll(&mut poll, 1, 20_000) } {
            1 => Ok(()),
            0 => Err(ErrorKind::TimedOut.into()),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

fn client_config(resume: bool) -> Result<Arc<ClientConfig>, Error> {
    // One suite and one group, so that all servers do the same work.
    let provider = CryptoProvider {
        cipher_suites: vec![aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384],
        kx_groups: vec![aws_lc_rs::kx_group::X25519],
        ..aws_lc_rs::default_provider()
    };
    let provider = Arc::new(provider);
    let mut config = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&[&rustls::version::TLS13])?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAll(provider)))
        .with_no_client_auth();
    config.resumption =
        if resume { Resumption::in_memory_sessions(256) } else { Resumption::disabled() };
    Ok(Arc::new(config))
}

/// Trusts every certificate; signatures are checked.
#[derive(Debug)]
struct TrustAll(Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
