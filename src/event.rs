//! Stage 5: the narrow waist. A loop turns sockets into events; whatever stands above
//! (callbacks, the C API, other consumers) only ever sees what is in this file.
//!
//! For one connection events never overlap and keep this order:
//! `Admit`? `Opened` (`Frames` | `Data` | `Writable`)* `End`? `Closed`. A connection
//! whose handle was shown by `Admit` or `Opened` gets exactly one `Closed`, last.

use crate::status::CloseReason;

/// A connection, as a small value that may be copied, stored and outlive it: its handle. The calls
/// about it are in [`handles`](crate::handles).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Conn(u64);

impl Conn {
    /// A handle from its number; any number may be tried.
    pub const fn from_raw(raw: u64) -> Conn {
        Conn(raw)
    }

    /// The number.
    pub const fn raw(self) -> u64 {
        self.0
    }
}

/// How a frame is sent.
#[derive(Clone, Copy, Debug, Default)]
pub struct SendFlags {
    /// Send it raw even if the port compresses.
    pub no_compress: bool,
}

/// What a connection is, by its first byte.
#[repr(u8)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// First byte 1: answered by a byte 1, then frames.
    Client = 1,
    /// First byte 2: no answer, a raw stream without that byte.
    Relay = 2,
    /// First byte 3: answered by a byte 1, then frames.
    RemoteApplication = 3,
    /// Any other byte: a raw stream that begins with that byte.
    Unknown = 4,
}

impl Protocol {
    /// All protocols, in the order of their numbers.
    pub const ALL: [Protocol; 4] =
        [Protocol::Client, Protocol::Relay, Protocol::RemoteApplication, Protocol::Unknown];

    /// The protocol that a first byte stands for.
    pub const fn of_first_byte(byte: u8) -> Protocol {
        match byte {
            1 => Protocol::Client,
            2 => Protocol::Relay,
            3 => Protocol::RemoteApplication,
            _ => Protocol::Unknown,
        }
    }

    /// True for the protocols that are answered by a byte 1 and exchange frames.
    pub const fn is_framed(self) -> bool {
        matches!(self, Protocol::Client | Protocol::RemoteApplication)
    }

    /// Position in tables by protocol, 0 to 3.
    pub const fn index(self) -> usize {
        self as usize - 1
    }

    /// The name that statistics and logs use.
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::Client => "client",
            Protocol::Relay => "relay",
            Protocol::RemoteApplication => "remote_application",
            Protocol::Unknown => "unknown",
        }
    }
}

/// Something happened on a connection. Borrowed data is valid until the handler returns.
#[derive(Debug)]
pub enum Event<'a> {
    /// The host is asked: answer with [`Conn::admit`] or [`Conn::refuse`], now or later.
    Admit {
        /// What the first byte says.
        protocol: Protocol,
        /// The first byte itself.
        first_byte: u8,
    },
    /// The connection may be used. On framed ones the answer byte has been queued.
    Opened {
        /// What the first byte says.
        protocol: Protocol,
        /// The first byte itself; on [`Protocol::Unknown`] it is also the first of the stream.
        first_byte: u8,
    },
    /// Whole frames, in order.
    Frames(Frames<'a>),
    /// Bytes of a stream, never empty.
    Data(&'a [u8]),
    /// The peer will send nothing more.
    End,
    /// The send queue has room again after a send answered `WouldBlock`.
    Writable,
    /// The end. The handle is not valid any more when the handler has returned.
    Closed(&'a CloseInfo),
}

/// A consumer of events: one per protocol and listener, shared by all their connections.
pub trait Handler: Send + Sync {
    /// Called on the connection's loop, where it must not block for long, or by a worker,
    /// where it may. A panic ends the connection.
    fn on_event(&self, conn: Conn, event: Event<'_>);

    /// False: the library closes after the peer's end of stream, once everything was
    /// delivered and sent. True: `End` is told and the host closes.
    fn wants_end(&self) -> bool {
        false
    }

    /// True: `Frames` and `Data` are not told; what they hold waits in the connection's inbox
    /// for [`Conn::recv_frame`] and [`Conn::recv_bytes`].
    fn wants_inbox(&self) -> bool {
        false
    }

    /// True: this is code of the library. It is called on the connection's loop whoever consumes
    /// the events of its runtime.
    #[doc(hidden)]
    fn is_internal(&self) -> bool {
        false
    }

    /// Where events are polled by C: what stands for this handler in each of them.
    fn token(&self) -> usize {
        0
    }
}

/// One frame's payload, inflated if it came compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    /// The payload.
    pub data: &'a [u8],
    /// True if it was compressed on the wire.
    pub compressed: bool,
}

/// Where one frame of a batch lies.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FrameSpan {
    /// Index into `Frames::buffers`.
    pub buffer: u8,
    /// The payload came compressed.
    pub compressed: bool,
    /// First byte of the payload.
    pub start: usize,
    /// Bytes of payload.
    pub len: usize,
}

/// A batch of frames: slices of the loop's read buffer, without a copy.
#[derive(Clone, Copy, Debug)]
pub struct Frames<'a> {
    /// 0: what was read, 1: what was inflated.
    pub(crate) buffers: [&'a [u8]; 2],
    pub(crate) spans: &'a [FrameSpan],
}

impl<'a> Frames<'a> {
    /// Shows a batch of copies of these frames, or the only one itself: for whoever gives events to
    /// a handler by himself, such as a test or a host that polls.
    pub fn of_copies<R>(frames: &[Frame<'_>], show: impl FnOnce(Frames<'_>) -> R) -> R {
        if let [Frame { data, compressed }] = *frames {
            let span = FrameSpan { buffer: 0, compressed, start: 0, len: data.len() };
            return show(Frames { buffers: [data, &[]], spans: &[span] });
        }
        let (mut bytes, mut spans) = (Vec::new(), Vec::with_capacity(frames.len()));
        for frame in frames {
            let (start, len) = (bytes.len(), frame.data.len());
            spans.push(FrameSpan { buffer: 0, compressed: frame.compressed, start, len });
            bytes.extend_from_slice(frame.data);
        }
        show(Frames { buffers: [&bytes, &[]], spans: &spans })
    }

    /// Number of frames, at least 1.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Never true for a batch that a handler sees.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The frame at `index`.
    pub fn get(&self, index: usize) -> Option<Frame<'a>> {
        let span = self.spans.get(index)?;
        let data = &self.buffers[span.buffer as usize][span.start..span.start + span.len];
        Some(Frame { data, compressed: span.compressed })
    }

    /// The frames in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Frame<'a>> + Clone + use<'a> {
        let Frames { buffers, spans } = *self;
        spans.iter().map(move |span| Frame {
            data: &buffers[span.buffer as usize][span.start..span.start + span.len],
            compressed: span.compressed,
        })
    }
}

/// Who ended a connection.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Party {
    /// The other side of the connection.
    Peer = 1,
    /// This library, by one of its rules.
    Library = 2,
    /// The program that uses the library.
    Host = 3,
    /// The operating system.
    System = 4,
}

impl Party {
    /// Every party, in the order of their numbers, which begin at 1.
    pub const ALL: [Party; 4] = [Party::Peer, Party::Library, Party::Host, Party::System];

    /// The name that hosts write into their logs.
    pub const fn name(self) -> &'static str {
        match self {
            Party::Peer => "peer",
            Party::Library => "library",
            Party::Host => "host",
            Party::System => "system",
        }
    }
}

/// Where on its way a connection was.
#[repr(i32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Accepted, nothing read yet.
    Accept = 1,
    /// TLS handshake.
    Tls = 2,
    /// Waiting for the first byte.
    Identify = 3,
    /// Waiting for the host's decision.
    Admit = 4,
    /// In use.
    Open = 5,
}

impl Stage {
    /// Every stage, in the order of their numbers, which begin at 1.
    pub const ALL: [Stage; 5] =
        [Stage::Accept, Stage::Tls, Stage::Identify, Stage::Admit, Stage::Open];

    /// The name that logs use.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Accept => "accept",
            Stage::Tls => "tls",
            Stage::Identify => "identify",
            Stage::Admit => "admit",
            Stage::Open => "open",
        }
    }
}

/// How a connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CloseInfo {
    /// Why.
    pub reason: CloseReason,
    /// Who ended it.
    pub by: Party,
    /// How far it had come.
    pub stage: Stage,
    /// The code that the host gave to close or abort, otherwise 0.
    pub host_code: i32,
    /// `errno`, 0 if the operating system reported none.
    pub os_error: i32,
    /// TLS alert, -1 if there was none.
    pub tls_alert: i32,
    /// Bytes read from the socket.
    pub bytes_in: u64,
    /// Bytes written to the socket.
    pub bytes_out: u64,
    /// Bytes that sends had accepted and that were not handed to the operating system.
    pub unsent_bytes: u64,
    /// From accept to the end, in milliseconds.
    pub duration_ms: u64,
    /// More words where there are any (TLS errors), otherwise empty.
    pub text: String,
}
