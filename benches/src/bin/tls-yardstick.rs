//! The TLS yardstick: the least that speaks the protocol over rustls, on epoll, in one
//! thread. No limits on connections, no deadlines, no handles.
//!
//! One 256 KiB read buffer, in which records are opened in place; all whole frames of a read
//! are sealed together and sent with one call; a large cut frame gets a buffer of its size.
//!
//! usage: `tls-yardstick [--tickets N] [port]`; prints "listening PORT"

use nativeport_bench::epoll::{ACCEPT, BOTH, Epoll, ended, events, listen, raise_descriptor_limit};
use nativeport_bench::tls::{Output, open, seal};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::PrivateKeyDer;
use rustls::server::{NoServerSessionStorage, UnbufferedServerConnection};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

const SCRATCH: usize = 256 << 10;
/// Ciphertext of a record (or handshake) that is not whole, in front of the next read.
const HELD: usize = 64 << 10;
/// A cut frame up to this is put in front of the next read's plaintext.
const SMALL: usize = 2 << 10;
const LARGEST: usize = 64 << 20;
/// Reads of one connection before the others get their turn.
const READS: usize = 4;
/// Unsent bytes above which a connection is not read.
const QUEUE_MAX: usize = 8 << 20;
/// Plaintext that is sealed before it is sent.
const SEAL: usize = 256 << 10;

struct Conn {
    socket: TcpStream,
    tls: UnbufferedServerConnection,
    held: Vec<u8>,
    /// The beginning of a frame, and the frame's size if it is larger than SMALL.
    cut: Vec<u8>,
    large: usize,
    queue: Vec<u8>,
    queue_at: usize,
    identified: bool,
    again: bool,
}

/// What all connections share.
struct Buffers {
    scratch: Vec<u8>,
    plain: Vec<u8>,
    out: Output,
}

enum Outcome {
    Empty,
    Short,
    Full,
}

fn main() -> io::Result<()> {
    raise_descriptor_limit();
    let (mut port, mut tickets) = (0, 0);
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        let number = |text: &str| text.parse::<u16>().map_err(io::Error::other);
        match argument.as_str() {
            "--tickets" => tickets = number(&arguments.next().unwrap_or_default())?,
            text => port = number(text)?,
        }
    }
    let config = config(tickets.into()).map_err(io::Error::other)?;
    let listener = listen(port)?;
    println!("listening {}", listener.local_addr()?.port());
    serve(&listener, &config)
}

fn config(tickets: usize) -> Result<Arc<ServerConfig>, Box<dyn std::error::Error + Send + Sync>> {
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate =
        rcgen::CertificateParams::new(["localhost".to_string()])?.self_signed(&key)?;
    let key = PrivateKeyDer::try_from(key.serialize_der())?;
    let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(vec![certificate.der().clone()], key)?;
    config.send_tls13_tickets = tickets;
    config.session_storage = Arc::new(NoServerSessionStorage {});
    if tickets > 0 {
        config.ticketer = aws_lc_rs::Ticketer::new()?;
    }
    Ok(Arc::new(config))
}

struct Server {
    conns: Vec<Option<Box<Conn>>>,
    free: Vec<usize>,
    again: Vec<usize>,
    buffers: Buffers,
}

fn serve(listener: &TcpListener, config: &Arc<ServerConfig>) -> io::Result<()> {
    let epoll = Epoll::new()?;
    epoll.add(listener, ACCEPT, u64::MAX)?;
    let mut events = events();
    let mut server = Server {
        conns: Vec::new(),
        free: Vec::new(),
        again: Vec::new(),
        buffers: Buffers {
            scratch: vec![0; HELD + SCRATCH],
            plain: Vec::with_capacity(SMALL + SCRATCH),
            out: Output::default(),
        },
    };
    loop {
        let timeout = (!server.again.is_empty()).then_some(Duration::ZERO);
        for event in epoll.wait(&mut events, timeout)? {
            if event.u64 != u64::MAX {
                server.work(event.u64 as usize, ended(event));
                continue;
            }
            while let Ok((socket, _)) = listener.accept() {
                socket.set_nonblocking(true)?;
                let index = server.free.pop().unwrap_or_else(|| {
                    server.conns.push(None);
                    server.conns.len() - 1
                });
                epoll.add(&socket, BOTH, index as u64)?;
                server.conns[index] = Some(Box::new(Conn::new(socket, config)?));
            }
        }
        for index in std::mem::take(&mut server.again) {
            if let Some(conn) = &mut server.conns[index] {
                conn.again = false;
                server.work(index, true); // an end may have been seen by an earlier event
            }
        }
    }
}

impl Server {
    fn work(&mut self, index: usize, ended: bool) {
        let Some(conn) = &mut self.conns[index] else { return };
        match conn.turn(ended, &mut self.buffers) {
            Ok(true) if !conn.again => {
                conn.again = true;
                self.again.push(index);
            }
            Ok(_) => {}
            Err(_) => {
                self.conns[index] = None;
                self.free.push(index);
            }
        }
    }
}

fn ended_error() -> io::Error {
    ErrorKind::UnexpectedEof.into()
}

impl Conn {
    fn new(socket: TcpStream, config: &Arc<ServerConfig>) -> io::Result<Conn> {
        let tls = UnbufferedServerConnection::new(config.clone()).map_err(io::Error::other)?;
        Ok(Conn {
            socket,
            tls,
            held: Vec::new(),
            cut: Vec::new(),
            large: 0,
            queue: Vec::new(),
            queue_at: 0,
            identified: false,
            again: false,
        })
    }

    /// Everything that an event or the run-again list asks for. True: there is more to do.
    fn turn(&mut self, ended: bool, buffers: &mut Buffers) -> io::Result<bool> {
        self.flush()?;
        for _ in 0..READS {
            if self.queue.len() - self.queue_at > QUEUE_MAX {
                return Ok(false); // the event that it is writable comes
            }
            match self.read(buffers)? {
                Outcome::Empty => return Ok(false),
                Outcome::Short if !ended => return Ok(false),
                _ => {}
            }
        }
        Ok(true)
    }

    fn read(&mut self, buffers: &mut Buffers) -> io::Result<Outcome> {
        let Buffers { scratch, plain, out } = buffers;
        let got = match self.socket.read(&mut scratch[HELD..]) {
            Ok(0) => return Err(ended_error()),
            Ok(got) => got,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Outcome::Empty),
            Err(error) => return Err(error),
        };
        let start = HELD.checked_sub(self.held.len()).ok_or_else(ended_error)?;
        scratch[start..HELD].copy_from_slice(&self.held);
        let input = &mut scratch[start..HELD + got];

        plain.clear();
        out.clear();
        if self.large == 0 {
            plain.append(&mut self.cut);
        }
        let (cut, large) = (&mut self.cut, self.large);
        let opened = open(&mut self.tls, input, out, |mut data| {
            // Capacity was reserved for exactly this frame.
            if cut.len() < large {
                let (mine, rest) = data.split_at(data.len().min(large - cut.len()));
                cut.extend_from_slice(mine);
                data = rest;
            }
            plain.extend_from_slice(data);
        })?;
        self.held.clear();
        self.held.extend_from_slice(&input[opened.used..]);
        if self.held.is_empty() {
            self.held = Vec::new(); // an idle connection has no buffers
        }

        if self.large > 0 && self.cut.len() == self.large {
            let whole = std::mem::take(&mut self.cut);
            self.large = 0;
            self.send(Some(&whole), out)?;
        }
        if self.large == 0 {
            self.take(plain, out)?;
        }
        self.put(out)?;
        if opened.peer_closed {
            self.send(None, out)?;
            self.put(out)?;
            return Err(ended_error());
        }
        Ok(if got == SCRATCH { Outcome::Full } else { Outcome::Short })
    }

    /// Sends back the whole frames, and keeps the cut one.
    fn take(&mut self, mut plain: &[u8], out: &mut Output) -> io::Result<()> {
        if let (false, [first, rest @ ..]) = (self.identified, plain) {
            if !matches!(first, 1 | 3) {
                return Err(ended_error());
            }
            self.identified = true;
            self.send(Some(&[1]), out)?;
            plain = rest;
        }
        let (mut whole, mut size) = (0, 0);
        while let Some(header) = plain[whole..].first_chunk() {
            size = 4 + (u32::from_be_bytes(*header) & 0x7fff_ffff) as usize;
            if size > 4 + LARGEST {
                return Err(ended_error());
            }
            if plain.len() - whole < size {
                break;
            }
            whole += size;
        }
        if whole > 0 {
            self.send(Some(&plain[..whole]), out)?;
        }
        let rest = &plain[whole..];
        if !rest.is_empty() {
            if rest.len() >= 4 && size > SMALL {
                self.large = size;
                self.cut = Vec::with_capacity(size);
            }
            self.cut.extend_from_slice(rest);
        }
        Ok(())
    }

    fn send(&mut self, data: Option<&[u8]>, out: &mut Output) -> io::Result<()> {
        let Some(data) = data else { return seal(&mut self.tls, None, out) };
        for chunk in data.chunks(SEAL) {
            if out.filled().len() + chunk.len() > SEAL + SMALL {
                self.put(out)?;
            }
            seal(&mut self.tls, Some(chunk), out)?;
        }
        Ok(())
    }

    /// Gives the sealed bytes to the socket; what it does not take is queued.
    fn put(&mut self, out: &mut Output) -> io::Result<()> {
        let mut data = out.filled();
        if !data.is_empty() && self.queue.is_empty() {
            match self.socket.write(data) {
                Ok(sent) => data = &data[sent..],
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
        if !data.is_empty() {
            if self.queue_at > self.queue.len() / 2 {
                self.queue.drain(..self.queue_at);
                self.queue_at = 0;
            }
            self.queue.extend_from_slice(data);
        }
        out.clear();
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        while self.queue_at < self.queue.len() {
            match self.socket.write(&self.queue[self.queue_at..]) {
                Ok(sent) => self.queue_at += sent,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        if !self.queue.is_empty() {
            self.queue = Vec::new();
            self.queue_at = 0;
        }
        Ok(())
    }
}
