//! What the tests over real sockets share: a server from an INI text, and clients that do
//! not use the library's own encoder.
#![allow(dead_code)] // Each test program uses a part of it.

pub mod chaos;

use chaos::{Chaos, Toxic, Way};
use nativeport::config::Config;
use nativeport::event::{CloseInfo, Event, Frame, Frames, Handler, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::listener::Listener;
use nativeport::polling::{PollLoop, PolledEvent, PolledFrame, Region, What};
use nativeport::runtime::{Consumer, Runtime};
use nativeport::status::CloseReason;
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Longer than anything takes on a busy machine: only a hang gets there.
pub const PATIENCE: Duration = Duration::from_secs(600);

/// A started server.
pub struct Server {
    pub listener: Listener,
    pub runtime: Runtime,
    pub address: SocketAddr,
    /// Stands before it, at that address.
    pub chaos: Option<Chaos>,
}

/// One port from `keys` (lines of a `[Port]` section) on loopback.
pub fn server(keys: &str, rest: &str, set_up: impl FnOnce(&Listener)) -> Server {
    server_with("ioThreads=2", keys, rest, set_up)
}

/// A configuration of one port on loopback.
pub fn config(runtime: &str, keys: &str, rest: &str) -> Config {
    let text =
        format!("[Runtime]\n{runtime}\n[Port]\nport=0\nbindAddress=127.0.0.1\n{keys}\n{rest}\n");
    let mut config = Config::new();
    config.load_string(text.as_bytes(), "test.ini").unwrap();
    config
}

/// The same with lines of the `[Runtime]` section too.
pub fn server_with(
    runtime: &str,
    keys: &str,
    rest: &str,
    set_up: impl FnOnce(&Listener),
) -> Server {
    let config = config(runtime, keys, rest);
    let runtime = runtime_of(&config);
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    set_up(&listener);
    listener.start().unwrap();
    let chaos = toxic().map(|toxic| Chaos::new(listener.addresses()[0], toxic, Way::Both));
    let address = chaos.as_ref().map_or(listener.addresses()[0], |chaos| chaos.address);
    Server { listener, runtime, address, chaos }
}

/// What lies between clients and servers: `NP_TOXIC`, one of `latency`, `bandwidth`, `slow_close` and `slicer`,
/// under all of which everything arrives; otherwise nothing.
fn toxic() -> Option<Toxic> {
    match std::env::var("NP_TOXIC").as_deref() {
        Ok("latency") => Some(Toxic::Latency(Duration::from_millis(5))),
        Ok("bandwidth") => Some(Toxic::Bandwidth(20 << 20)),
        Ok("slow_close") => Some(Toxic::SlowClose(Duration::from_millis(50))),
        Ok("slicer") => Some(Toxic::Slicer(1)),
        Ok(other) => panic!("NP_TOXIC={other} is none"),
        Err(_) => None,
    }
}

/// Who gets the events: `NP_CONSUMER`, one of `workers` and `poll`, otherwise callbacks.
pub fn consumer() -> Consumer {
    match std::env::var("NP_CONSUMER").as_deref() {
        Ok("workers") => Consumer::Workers,
        Ok("poll") => Consumer::Poll,
        _ => Consumer::Callbacks,
    }
}

/// True, visibly, where a test is about callbacks and events are polled.
pub fn is_polled(why: &str) -> bool {
    let is_polled = consumer() == Consumer::Poll;
    if is_polled {
        let _ = writeln!(std::io::stderr(), "skipped where events are polled: {why}");
    }
    is_polled
}

/// True, visibly, where a test is about callbacks on the loop and events are told elsewhere.
pub fn is_off_the_loop(why: &str) -> bool {
    let is_off = consumer() != Consumer::Callbacks;
    if is_off {
        let _ = writeln!(std::io::stderr(), "skipped where events leave the loop: {why}");
    }
    is_off
}

/// True, visibly, where a test is about what one loopback connection does and a bad network lies between.
pub fn is_through_a_toxic(why: &str) -> bool {
    let is_through = toxic().is_some();
    if is_through {
        let _ = writeln!(std::io::stderr(), "skipped through a bad network: {why}");
    }
    is_through
}

/// A runtime for that consumer. Where events are polled, two threads of the test do it, and give
/// them to the handlers as if they were callbacks.
pub fn runtime_of(config: &Config) -> Runtime {
    let runtime = Runtime::with_consumer(config, consumer()).unwrap();
    if consumer() == Consumer::Poll {
        for _ in 0..2 {
            let polled = PollLoop::new(&runtime, Box::new(vec![0; 64 << 10])).unwrap();
            std::thread::spawn(move || poll(&polled));
        }
    }
    runtime
}

fn poll(polled: &PollLoop) {
    loop {
        let told = polled.poll(16, None, |mut batch| {
            while let Some(event) = batch.next() {
                let frames = match event.what {
                    What::Frames { first, count } => &batch.frames()[first..first + count],
                    _ => &[],
                };
                let frame = |frame: &PolledFrame| Frame {
                    data: at(frame.data),
                    compressed: frame.compressed,
                };
                let frames: Vec<_> = frames.iter().map(frame).collect();
                let told = catch_unwind(AssertUnwindSafe(|| tell(&event, &frames)));
                // As if a callback had panicked.
                if told.is_err() {
                    let _ = event.conn.abort(-1);
                }
            }
        });
        if told.is_err() {
            return;
        }
    }
}

#[allow(unsafe_code)]
fn at<'a>(place: Region) -> &'a [u8] {
    let first = std::ptr::with_exposed_provenance::<u8>(place.address);
    // SAFETY: used before the next poll.
    unsafe { std::slice::from_raw_parts(first, place.len) }
}

fn tell(event: &PolledEvent, frames: &[Frame<'_>]) {
    let Some(handler) = &event.handler else { return };
    let conn = event.conn;
    match &event.what {
        What::Admit { protocol, first_byte } => {
            handler.on_event(conn, Event::Admit { protocol: *protocol, first_byte: *first_byte });
        }
        What::Opened { protocol, first_byte } => {
            handler.on_event(conn, Event::Opened { protocol: *protocol, first_byte: *first_byte });
        }
        What::Frames { .. } => Frames::of_copies(frames, |frames| {
            handler.on_event(conn, Event::Frames(frames));
        }),
        What::Data(place) => handler.on_event(conn, Event::Data(at(*place))),
        What::End => handler.on_event(conn, Event::End),
        What::Writable => handler.on_event(conn, Event::Writable),
        What::Closed(info) => handler.on_event(conn, Event::Closed(info)),
        What::Log(_) => {}
    }
}

/// A server that echoes frames and streams of all protocols.
pub fn echo_server(keys: &str, rest: &str) -> Server {
    server(keys, rest, |listener| {
        for protocol in Protocol::ALL {
            listener.on(protocol, Arc::new(Echo)).unwrap();
        }
    })
}

/// Echoes.
pub struct Echo;

impl Handler for Echo {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        match event {
            Event::Frames(frames) => {
                let (taken, result) =
                    conn.send_frames(frames.iter().map(|frame| frame.data), SendFlags::default());
                assert!(result.is_err() || taken == frames.len());
            }
            Event::Data(data) => {
                let _ = conn.send_bytes(data);
            }
            _ => {}
        }
    }
}

/// What a [`Recorder`] was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Admit(Conn, Protocol, u8),
    Opened(Conn, Protocol, u8),
    Frame(Conn, Vec<u8>),
    Data(Conn, Vec<u8>),
    End(Conn),
    Writable(Conn),
    Closed(Conn, Box<CloseInfo>),
}

type Reaction = Box<dyn Fn(Conn, &Event<'_>) + Send + Sync>;

/// Notes every event, after reacting to it.
pub struct Recorder {
    sender: Mutex<Sender<Told>>,
    react: Reaction,
    wants_end: bool,
}

/// A recorder and what it notes.
pub fn recorder(
    wants_end: bool,
    react: impl Fn(Conn, &Event<'_>) + Send + Sync + 'static,
) -> (Arc<Recorder>, Log) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(sender);
    (Arc::new(Recorder { sender, react: Box::new(react), wants_end }), Log(receiver))
}

/// The events of a recorder, in order.
pub struct Log(Receiver<Told>);

impl Log {
    pub fn next(&self) -> Told {
        self.0.recv_timeout(PATIENCE).expect("an event should have come")
    }

    /// Skips to the closed event.
    pub fn closed(&self) -> CloseInfo {
        loop {
            if let Told::Closed(_, info) = self.next() {
                return *info;
            }
        }
    }

    /// Skips to the opened event.
    pub fn opened(&self) -> Conn {
        loop {
            if let Told::Opened(conn, ..) = self.next() {
                return conn;
            }
        }
    }

    /// Skips to the next bytes of a stream, until there are `len` of them.
    pub fn data(&self, len: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while bytes.len() < len {
            if let Told::Data(_, more) = self.next() {
                bytes.extend(more);
            }
        }
        bytes
    }

    /// Skips to the next frame.
    pub fn frame(&self) -> Vec<u8> {
        loop {
            if let Told::Frame(_, payload) = self.next() {
                return payload;
            }
        }
    }

    /// What is there now.
    pub fn drain(&self) -> Vec<Told> {
        self.0.try_iter().collect()
    }
}

impl Handler for Recorder {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        (self.react)(conn, &event);
        let sender = self.sender.lock().unwrap();
        let tell = |told| sender.send(told).unwrap_or(());
        match event {
            Event::Admit { protocol, first_byte } => tell(Told::Admit(conn, protocol, first_byte)),
            Event::Opened { protocol, first_byte } => {
                tell(Told::Opened(conn, protocol, first_byte))
            }
            Event::Frames(frames) => {
                frames.iter().for_each(|frame| tell(Told::Frame(conn, frame.data.to_vec())));
            }
            Event::Data(data) => tell(Told::Data(conn, data.to_vec())),
            Event::End => tell(Told::End(conn)),
            Event::Writable => tell(Told::Writable(conn)),
            Event::Closed(info) => tell(Told::Closed(conn, Box::new(info.clone()))),
        }
    }

    fn wants_end(&self) -> bool {
        self.wants_end
    }
}

/// A plain client.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream.set_nodelay(true).unwrap();
    stream
}

/// A framed client: identified and answered.
pub fn framed(address: SocketAddr) -> TcpStream {
    let mut stream = connect(address);
    stream.write_all(&[1]).unwrap();
    assert_eq!(read_exact(&mut stream, 1), [1]);
    stream
}

pub fn read_exact(stream: &mut impl Read, len: usize) -> Vec<u8> {
    let mut bytes = vec![0; len];
    stream.read_exact(&mut bytes).unwrap();
    bytes
}

/// Everything up to the end of the stream; a reset counts as an end.
pub fn read_to_end(stream: &mut impl Read) -> Vec<u8> {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(error) => panic!("{error}"),
    }
    bytes
}

/// A raw frame, put together here.
pub fn frame(payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes().to_vec();
    bytes.extend_from_slice(payload);
    bytes
}

/// Reads one raw frame.
pub fn read_frame(stream: &mut impl Read) -> Vec<u8> {
    let header = read_exact(stream, 4);
    let word = u32::from_be_bytes(header.try_into().unwrap());
    assert_eq!(word >> 31, 0, "a raw frame");
    read_exact(stream, word as usize)
}

/// A frame with the compressed bit, around `wire` as it is.
pub fn compressed_frame(wire: &[u8]) -> Vec<u8> {
    let mut bytes = frame(wire);
    bytes[0] |= 0x80;
    bytes
}

/// Reads one frame as it is on the wire: compressed or not, and the bytes.
pub fn read_wire_frame(stream: &mut impl Read) -> (bool, Vec<u8>) {
    let header = read_exact(stream, 4);
    let word = u32::from_be_bytes(header.try_into().unwrap());
    (word >> 31 == 1, read_exact(stream, (word & 0x7fff_ffff) as usize))
}

/// A zlib stream (RFC 1950).
pub fn zlib(data: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// A raw deflate stream (RFC 1951).
pub fn deflate(data: &[u8]) -> Vec<u8> {
    let mut encoder =
        flate2::write::DeflateEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(data).unwrap();
    encoder.finish().unwrap()
}

/// Inflates a zlib stream.
pub fn unzlib(wire: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    flate2::read::ZlibDecoder::new(wire).read_to_end(&mut data).unwrap();
    data
}

/// Inflates a raw deflate stream.
pub fn undeflate(wire: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    flate2::read::DeflateDecoder::new(wire).read_to_end(&mut data).unwrap();
    data
}

/// A payload that compression makes smaller, different for each `seed`.
pub fn compressible(len: usize, seed: usize) -> Vec<u8> {
    (0..len).map(|i| (i / 13 * 7 + seed) as u8).collect()
}

/// A payload that compression does not make smaller.
pub fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        })
        .collect()
}

/// A reset ends in an error or an end; nothing may come before it.
pub fn assert_ends_without_a_byte(stream: &mut impl Read) {
    assert_eq!(read_to_end(stream), b"");
}

/// The peer's reset has arrived: reading fails with it.
pub fn assert_is_reset(stream: &mut TcpStream) {
    let mut bytes = vec![0; 64 << 10];
    loop {
        match stream.read(&mut bytes) {
            Ok(0) => panic!("an orderly end instead of a reset"),
            Ok(_) => {}
            Err(error) => {
                assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
                return;
            }
        }
    }
}

/// Makes the close of a client a reset.
pub fn reset(stream: TcpStream) {
    socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
}

/// Lines for a port with TLS, and the section they name.
pub const WITH_TLS: &str = "sslSection=Tls";
pub const TLS_SECTION: &str = "[Tls]\nselfSigned=localhost";

pub type TlsStream = rustls::StreamOwned<rustls::ClientConnection, TcpStream>;

/// A TLS client that trusts everybody, its handshake done.
pub fn tls_connect(address: SocketAddr) -> TlsStream {
    try_tls_connect(address).unwrap()
}

/// The same where the handshake may be too late.
pub fn try_tls_connect(address: SocketAddr) -> std::io::Result<TlsStream> {
    let mut stream = tls_over(connect(address));
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// A TLS client that has not said anything yet.
pub fn tls_over(stream: TcpStream) -> TlsStream {
    let name = "localhost".try_into().unwrap();
    let client = rustls::ClientConnection::new(tls_config(), name).unwrap();
    rustls::StreamOwned::new(client, stream)
}

/// Trusts everybody.
pub fn tls_config() -> Arc<rustls::ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider.clone())
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(Trusting(provider)))
        .with_no_client_auth();
    Arc::new(config)
}

/// A framed client over TLS: identified and answered.
pub fn tls_framed(address: SocketAddr) -> TlsStream {
    let mut stream = tls_connect(address);
    stream.write_all(&[1]).unwrap();
    assert_eq!(read_exact(&mut stream, 1), [1]);
    stream
}

#[derive(Debug)]
struct Trusting(Arc<rustls::crypto::CryptoProvider>);

impl rustls::client::danger::ServerCertVerifier for Trusting {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        dss: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Waits until the port has closed one connection for this reason.
pub fn wait_for_close(listener: &Listener, reason: CloseReason) {
    wait_until(reason.name(), || listener.stats().closes[reason.code() as usize] > 0);
}

/// Waits until `done` says so; for things that no event tells.
pub fn wait_until(what: &str, mut done: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !done() {
        assert!(begun.elapsed() < PATIENCE, "{what} did not come about");
        look_again_soon();
    }
}

/// Attempts something for which there is only so much time, in milliseconds: `None` says that a busy machine was
/// too late for it, and that it may be attempted again with more.
pub fn in_time<R>(attempt: impl FnMut(u64) -> Option<R>) -> R {
    [300, 3000, 30_000].into_iter().find_map(attempt).expect("it was never in time")
}

/// Waits until a counter has reached `target`, however long that takes: only one that stands
/// still for long is given up.
pub fn wait_for_count(what: &str, target: u64, mut count: impl FnMut() -> u64) {
    let (mut last, mut since) = (count(), Instant::now());
    while last < target {
        assert!(since.elapsed() < PATIENCE, "{what} did not come about: {last} of {target}");
        look_again_soon();
        let now = count();
        if now != last {
            (last, since) = (now, Instant::now());
        }
    }
}

/// Between two looks at something that is waited for. One who looks without a pause takes the
/// processor from those it waits for.
pub fn look_again_soon() {
    std::thread::sleep(Duration::from_millis(1));
}

/// Private memory of this process in KiB, without what only the allocator keeps: that depends
/// on which threads met.
#[allow(unsafe_code)] // One call that safe Rust does not have.
pub fn anonymous_kib() -> i64 {
    #[cfg(target_env = "gnu")]
    // SAFETY: it has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let kib = |name: &str| -> i64 {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    };
    // Pages that were moved out are still held.
    kib("RssAnon:") + kib("VmSwap:")
}

/// Close reasons counted so far, without those that are 0.
pub fn closes(listener: &Listener) -> HashMap<&'static str, u64> {
    let stats = listener.stats();
    CloseReason::ALL
        .iter()
        .map(|reason| (reason.name(), stats.closes[reason.code() as usize]))
        .filter(|(_, count)| *count > 0)
        .collect()
}
