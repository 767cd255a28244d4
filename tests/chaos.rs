//! What works between honest peers, through a bad network: everything arrives whole, or the
//! connection ends on both sides for a reason that fits; nothing is lost while the connection
//! stays open, nothing is delivered twice.
//!
//! Each exchange goes through one toxic; with `NP_LONG=1` all go through all, both ways.

mod support;

use nativeport::event::{Event, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::status::CloseReason::{self, *};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;
use support::chaos::{Chaos, Toxic, Way};
use support::*;

/// What client and server do with one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Exchange {
    RawFrames,
    CompressedFrames,
    Stream,
    Relay,
    FramesOverTls,
    StreamOverTls,
    Admitted,
    Refused,
    HalfClose,
    LargeFrames,
    OrderlyClose,
}

use Exchange::*;

impl Exchange {
    const ALL: [Exchange; 11] = [
        RawFrames,
        CompressedFrames,
        Stream,
        Relay,
        FramesOverTls,
        StreamOverTls,
        Admitted,
        Refused,
        HalfClose,
        LargeFrames,
        OrderlyClose,
    ];

    fn has_tls(self) -> bool {
        matches!(self, FramesOverTls | StreamOverTls)
    }

    fn first_byte(self) -> u8 {
        match self {
            Stream | StreamOverTls => b'G',
            Relay => 2,
            Admitted => 3,
            _ => 1,
        }
    }

    fn is_framed(self) -> bool {
        matches!(self.first_byte(), 1 | 3)
    }

    fn compresses(self) -> bool {
        matches!(self, CompressedFrames | LargeFrames)
    }

    /// How it ends if nothing is in its way.
    fn good_end(self) -> CloseReason {
        match self {
            Refused => AdmissionRefused,
            OrderlyClose => HostClosed,
            _ => PeerClosed,
        }
    }

    /// The payloads that the client sends.
    fn payloads(self) -> Vec<Vec<u8>> {
        match self {
            Refused => vec![],
            OrderlyClose => vec![b"tell me everything".to_vec()],
            LargeFrames => vec![noise(1_500_000, 3), compressible(2_500_000, 4), vec![0; 70_000]],
            _ => (0..120)
                .map(|n| match n % 3 {
                    0 => compressible(n * 41, n),
                    1 => noise(n * 23, n as u64),
                    _ => vec![n as u8; n],
                })
                .collect(),
        }
    }
}

/// What the server says before it closes in order.
fn everything() -> impl ExactSizeIterator<Item = Vec<u8>> {
    (0..300).map(|n| noise(n * 7, n as u64))
}

const REFUSAL: &[u8] = b"no room, come again later";
const PLAIN: SendFlags = SendFlags { no_compress: false };

/// The host's side.
fn react(exchange: Exchange, patient: bool, conn: Conn, event: &Event<'_>) {
    // The conversation may be over at any moment: then a send is answered with its status.
    match event {
        Event::Opened { .. } if !patient && !exchange.is_framed() => {
            // A stream has no deadline of its own.
            let _ = conn.set_deadline(Some(2000));
        }
        Event::Frames(_) if exchange == OrderlyClose => {
            for payload in everything() {
                let _ = conn.send_frame(&payload, PLAIN);
            }
            let _ = conn.close(7);
        }
        Event::Frames(_) if exchange == HalfClose => {}
        Event::Frames(frames) => {
            let _ = conn.send_frames(frames.iter().map(|frame| frame.data), PLAIN);
        }
        Event::Data(data) => {
            let _ = conn.send_bytes(data);
        }
        Event::End => {
            let _ = conn.send_frame(b"that was all", PLAIN);
            let _ = conn.close(7);
        }
        _ => {}
    }
}

/// The client's side of a connection.
trait Side: Read + Write {
    /// Ends our direction.
    fn end(&mut self) -> io::Result<()>;
}

impl Side for TcpStream {
    fn end(&mut self) -> io::Result<()> {
        self.shutdown(Shutdown::Write)
    }
}

impl Side for TlsStream {
    fn end(&mut self) -> io::Result<()> {
        self.conn.send_close_notify();
        self.flush()?;
        self.sock.shutdown(Shutdown::Write)
    }
}

fn receive(side: &mut dyn Side, len: usize) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    side.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads a frame, which must be this one.
fn expect_frame(side: &mut dyn Side, payload: &[u8]) -> io::Result<()> {
    let word = u32::from_be_bytes(receive(side, 4)?.try_into().unwrap());
    let wire = receive(side, (word & 0x7fff_ffff) as usize)?;
    let got = if word >> 31 == 1 { unzlib(&wire) } else { wire };
    assert!(got == payload, "{} bytes instead of these {}", got.len(), payload.len());
    Ok(())
}

/// Nothing comes but the end.
fn expect_end(side: &mut dyn Side) -> io::Result<()> {
    match side.read(&mut [0])? {
        0 => Ok(()),
        _ => panic!("more than was expected"),
    }
}

/// Talks until all is said. An error is the end of the connection or of the patience with it;
/// whatever has come before it was right.
fn talk(exchange: Exchange, side: &mut dyn Side, payloads: &[Vec<u8>]) -> io::Result<()> {
    side.write_all(&[exchange.first_byte()])?;
    if exchange == Refused {
        assert!(receive(side, REFUSAL.len())? == REFUSAL);
        return expect_end(side);
    }
    if exchange.is_framed() {
        assert_eq!(receive(side, 1)?, [1]);
    } else if exchange.first_byte() != 2 {
        assert_eq!(receive(side, 1)?, [exchange.first_byte()]);
    }
    for some in payloads.chunks(16) {
        for (number, payload) in some.iter().enumerate() {
            let wire = match exchange {
                _ if !exchange.is_framed() => payload.clone(),
                _ if exchange.compresses() && number % 2 == 1 => compressed_frame(&zlib(payload)),
                _ => frame(payload),
            };
            side.write_all(&wire)?;
        }
        for payload in some {
            match exchange {
                HalfClose | OrderlyClose => {}
                _ if exchange.is_framed() => expect_frame(side, payload)?,
                _ => assert!(receive(side, payload.len())? == *payload),
            }
        }
    }
    if exchange == OrderlyClose {
        for payload in everything() {
            expect_frame(side, &payload)?;
        }
        return expect_end(side);
    }
    side.end()?;
    if exchange == HalfClose {
        expect_frame(side, b"that was all")?;
    }
    expect_end(side)
}

/// What a network like that may make of an end.
fn fits(exchange: Exchange, toxic: Toxic, reason: CloseReason) -> bool {
    let cut = [ClosedBeforeIdentified, PeerClosed, PeerReset, Truncated, TlsTruncated];
    let late = [
        ReadTimeout,
        HandshakeTimeout,
        AdmissionTimeout,
        FrameTimeout,
        IdleTimeout,
        WriteTimeout,
        HostDeadline,
    ];
    reason == exchange.good_end()
        || match toxic {
            // The client may lose its patience first.
            Toxic::TimeOut(_) => cut.contains(&reason) || late.contains(&reason),
            Toxic::Limit(_) => cut.contains(&reason),
            Toxic::Reset(_) => reason == PeerReset,
            _ => false,
        }
}

/// One connection through one toxic.
fn through(exchange: Exchange, toxic: Toxic, way: Way) {
    let what = format!("{exchange:?} through {toxic:?} {way:?}");
    let patient = toxic.is_benign();
    let mut keys = format!("compression={}\n", if exchange.compresses() { "auto" } else { "off" });
    if exchange.has_tls() {
        keys += "sslSection=Tls\n";
    }
    if !patient {
        for deadline in ["read", "handshake", "frame", "idle", "write"] {
            keys += &format!("{deadline}Timeout=1500ms\n");
        }
    }
    let (door, _asked) = recorder(false, move |conn, event| {
        if let Event::Admit { .. } = event {
            // Decided later, by another thread.
            std::thread::spawn(move || match exchange {
                Refused => conn.refuse(REFUSAL),
                _ => conn.admit(),
            });
        }
    });
    let (handler, log) =
        recorder(exchange == HalfClose, move |conn, event| react(exchange, patient, conn, event));
    let server = server(&keys, TLS_SECTION_IF[usize::from(exchange.has_tls())], |listener| {
        if matches!(exchange, Admitted | Refused) {
            listener.on_admit(door).unwrap();
        }
        for protocol in Protocol::ALL {
            listener.on(protocol, handler.clone()).unwrap();
        }
    });
    let chaos = Chaos::new(server.address, toxic, way);
    let payloads = exchange.payloads();
    let stream = connect(chaos.address);
    if !patient {
        stream.set_read_timeout(Some(Duration::from_secs(4))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(4))).unwrap();
    }
    let result = match exchange.has_tls() {
        true => talk(exchange, &mut tls_over(stream), &payloads),
        false => talk(exchange, &mut { stream }, &payloads),
    };
    match &result {
        Ok(()) => {}
        Err(error) => {
            assert!(!patient, "{what}: {error}");
            let kinds = [
                ErrorKind::UnexpectedEof,
                ErrorKind::ConnectionReset,
                ErrorKind::BrokenPipe,
                ErrorKind::WouldBlock,
                ErrorKind::TimedOut,
            ];
            assert!(kinds.contains(&error.kind()), "{what}: {error:?}");
        }
    }

    // It ends on the server too, once, and is counted.
    let ended = || {
        let stats = server.listener.stats();
        stats.accepted == 1 && stats.closes.iter().sum::<u64>() == 1 && stats.open == [0; 4]
    };
    wait_until(&format!("{what}: its end"), ended);
    let reasons = closes(&server.listener);
    let reason = CloseReason::ALL.iter().find(|reason| reasons.contains_key(reason.name()));
    let reason = *reason.unwrap();
    assert!(fits(exchange, toxic, reason), "{what}: {}", reason.name());
    assert!(!patient || reason == exchange.good_end(), "{what}: {}", reason.name());
    wait_until("nothing held", || server.listener.stats().memory_bytes == 0);

    // What was delivered is the beginning of what was sent, and all of it where all was well.
    server.runtime.stop(0).unwrap();
    server.runtime.wait(Some(PATIENCE.as_millis() as u64)).unwrap();
    let told = log.drain();
    let ends = told.iter().filter(|told| matches!(told, Told::Closed(..))).count();
    let opens = told.iter().filter(|told| matches!(told, Told::Opened(..))).count();
    assert_eq!(ends, opens, "{what}");
    if let Some(Told::Closed(_, info)) = told.last() {
        assert_eq!(info.reason, reason, "{what}");
        assert!(!patient || info.unsent_bytes == 0, "{what}: {info:?}");
    }
    assert!(ends == 0 || matches!(told.last(), Some(Told::Closed(..))), "{what}");
    if exchange.is_framed() {
        let got = told.iter().filter_map(|told| match told {
            Told::Frame(_, payload) => Some(payload),
            _ => None,
        });
        let mut sent = payloads.iter();
        let count = got.inspect(|got| assert!(sent.next() == Some(got), "{what}")).count();
        assert!(count == payloads.len() || result.is_err(), "{what}: {count}");
    } else {
        let mut sent = payloads.concat();
        if exchange.first_byte() != 2 {
            sent.insert(0, exchange.first_byte());
        }
        let got: Vec<u8> = told
            .iter()
            .filter_map(|told| match told {
                Told::Data(_, data) => Some(data.as_slice()),
                _ => None,
            })
            .flatten()
            .copied()
            .collect();
        assert!(sent.starts_with(&got), "{what}");
        assert!(got.len() == sent.len() || result.is_err(), "{what}");
    }
}

const TLS_SECTION_IF: [&str; 2] = ["", TLS_SECTION];
const LATENCY: Toxic = Toxic::Latency(Duration::from_millis(3));
const BANDWIDTH: Toxic = Toxic::Bandwidth(2_000_000);
const SLOW_CLOSE: Toxic = Toxic::SlowClose(Duration::from_millis(200));

fn is_long() -> bool {
    std::env::var_os("NP_LONG").is_some()
}

#[test]
fn raw_frames_through_a_reset_in_the_middle() {
    through(RawFrames, Toxic::Reset(50_000), Way::ToServer);
    through(RawFrames, Toxic::Reset(20_001), Way::ToClient);
}

#[test]
fn compressed_frames_arrive_through_latency() {
    through(CompressedFrames, LATENCY, Way::Both);
}

#[test]
fn streams_arrive_through_little_bandwidth() {
    through(Stream, BANDWIDTH, Way::Both);
    through(Relay, BANDWIDTH, Way::Both);
}

#[test]
fn tls_arrives_in_small_pieces() {
    through(FramesOverTls, Toxic::Slicer(1), Way::Both);
    through(StreamOverTls, Toxic::Slicer(2), Way::Both);
}

#[test]
fn admission_through_a_network_that_swallows() {
    through(Admitted, Toxic::TimeOut(0), Way::ToServer);
    through(Admitted, Toxic::TimeOut(10_000), Way::Both);
    through(Refused, Toxic::TimeOut(5), Way::ToClient);
}

#[test]
fn a_half_close_arrives_late_and_is_answered() {
    through(HalfClose, SLOW_CLOSE, Way::Both);
}

#[test]
fn large_frames_through_an_end_in_the_middle() {
    through(LargeFrames, Toxic::Limit(1_000_000), Way::ToServer);
    through(LargeFrames, Toxic::Limit(1_400_000), Way::ToClient);
}

#[test]
fn an_orderly_close_is_flushed_in_small_pieces_and_through_a_slow_close() {
    through(OrderlyClose, Toxic::Slicer(3), Way::Both);
    through(OrderlyClose, SLOW_CLOSE, Way::Both);
}

#[test]
fn everything_through_everything() {
    if !is_long() {
        return;
    }
    let cuts = [0, 1, 2, 6, 700, 30_001, 900_000];
    let mut toxics = vec![Toxic::Nothing, LATENCY, BANDWIDTH, SLOW_CLOSE];
    toxics.extend((10..13).map(Toxic::Slicer));
    toxics.extend(cuts.iter().flat_map(|&cut| [Toxic::Limit(cut), Toxic::Reset(cut)]));
    toxics.extend([0, 1, 6, 30_001].map(Toxic::TimeOut));
    for toxic in toxics {
        for way in [Way::ToServer, Way::ToClient, Way::Both] {
            // Those that wait for deadlines wait together.
            std::thread::scope(|scope| {
                for exchange in Exchange::ALL {
                    scope.spawn(move || through(exchange, toxic, way));
                }
            });
        }
        println!("{toxic:?}");
    }
}
