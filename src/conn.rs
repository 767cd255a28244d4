//! The machine of one connection: the only file that knows the order of the stages.
//!
//! It knows no socket and no clock. It is given bytes that arrived and the time, and it
//! gives events, output (in its [`Outbound`]), the place for the next bytes of a large
//! frame, and its next deadline. A reactor moves the bytes; tests may do it instead.
//!
//! ```text
//! Sniff ─► Handshake ─► Identify ─► Admit ─► Open ─► Closing ─► Lingering ─► Gone
//!  auto       TLS                   if asked           flush      peer's FIN
//! ```

use crate::accept::Ticket;
use crate::dispatch;
use crate::event::{CloseInfo, Event, Frames, Handler, Party, Protocol, Stage};
use crate::frame::decode::{Decoder, Step, Workspace};
use crate::handles;
use crate::identify::{Identity, identify};
use crate::listener::Port;
use crate::log::Level;
use crate::reactor::door::Door;
use crate::reactor::transport::Transport;
use crate::send::{Fin, Outbound, Verdict};
use crate::shared::{Birth, Shared};
use crate::status::CloseReason;
use crate::tls::{Engine, TlsError};
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What a loop lends to a connection for one turn.
pub(crate) struct Turn {
    /// Monotonic milliseconds.
    pub now_ms: u64,
    /// Position of the loop in the counters of a port.
    pub loop_index: usize,
    /// Place of the present connection in its loop.
    pub key: usize,
    pub door: Arc<Door>,
    pub work: Workspace,
    /// Plaintext of the present connection, with TLS.
    pub opened: Vec<u8>,
}

/// What is to be done with a connection after its turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    /// Nothing until an event or its deadline.
    Wait,
    /// It has more to do: another turn soon.
    Again,
    /// TLS is up (or not wanted): an I/O loop takes it from here.
    HandOver,
    /// Drop it, and with it the socket.
    Gone,
}

/// A socket that has been accepted, on its way to a loop.
pub(crate) struct Newcomer {
    pub transport: Transport,
    pub port: Arc<Port>,
    pub peer: SocketAddr,
    pub accepted_at: Instant,
    pub ticket: Arc<Ticket>,
}

pub(crate) struct Conn {
    /// Absent only while a callback runs.
    out: Option<Box<Outbound>>,
    port: Arc<Port>,
    handler: Option<Arc<dyn Handler>>,
    phase: Phase,
    decoder: Decoder,
    /// Input that is not used up: a cut record or frame, or what a pause held back.
    kept: Vec<u8>,
    /// With TLS: opened input that is not used up.
    opened: Vec<u8>,
    /// Input is left that can be worked on once delivering is possible (again).
    held_back: bool,
    input_end: Option<InputEnd>,
    end_told: bool,
    /// The host has seen the handle.
    shown: bool,
    /// Place among the port's unidentified connections.
    ticket: Option<Arc<Ticket>>,
    peer: SocketAddr,
    accepted_at: Instant,
    accepted_ms: u64,
    times: Times,
    bytes_in: u64,
    frames_in: u64,
    reported: Reported,
}

enum Phase {
    /// `ssl = auto`: TLS or plain?
    Sniff,
    Handshake,
    Identify,
    Admit {
        protocol: Protocol,
        first_byte: u8,
    },
    Open {
        protocol: Protocol,
    },
    Closing(Box<Ending>),
    /// Closed has been told; what the peer still sends is read and dropped.
    Lingering {
        until_ms: u64,
    },
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum InputEnd {
    Clean,
    /// TLS without close_notify.
    Truncated,
}

/// Why and how a connection ends.
struct Ending {
    reason: CloseReason,
    by: Party,
    stage: Stage,
    cut: Cut,
    host_code: i32,
    os_error: i32,
    tls_alert: i32,
    text: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Cut {
    /// Flush, end our direction, linger.
    AfterFlush,
    /// One try to flush, then close.
    Now,
    /// Reset.
    Reset,
}

/// Time stamps in monotonic milliseconds.
struct Times {
    last_in: u64,
    /// When the frame that is incomplete began, and how many frames had arrived by then.
    frame_began: Option<(u64, u64)>,
    not_reading_since: Option<u64>,
    drain_deadline: Option<u64>,
}

/// What has been added to the port's counters already.
#[derive(Default)]
struct Reported {
    bytes_in: u64,
    bytes_out: u64,
    frames_in: u64,
    frames_out: u64,
    held_bytes: usize,
}

/// A plain connection that we closed may go on sending for so long.
const LINGER_MS: u64 = 2000;
/// Read size before a connection is open: an identification and a first request.
const NEWCOMER_READ_BYTES: usize = 17 << 10;
/// A partial frame gets one more second for each of these that arrived.
const FRAME_SECOND_BYTES: u64 = 64 << 10;
/// What each connection holds up to here does not count against `memoryLimit`.
pub(crate) const FREE_BYTES: usize = 64 << 10;

impl Conn {
    pub fn new(newcomer: Newcomer, now_ms: u64) -> Conn {
        let Newcomer { transport, port, peer, accepted_at, ticket } = newcomer;
        let phase = match (&port.acceptor, port.tls_is_optional) {
            (None, _) => Phase::Identify,
            (Some(_), true) => Phase::Sniff,
            (Some(_), false) => Phase::Handshake,
        };
        let accepted_ms = now_ms.saturating_sub(accepted_at.elapsed().as_millis() as u64);
        Conn {
            out: Some(Box::new(Outbound::new(port.clone(), transport, now_ms))),
            port,
            handler: None,
            phase,
            decoder: Decoder::default(),
            kept: Vec::new(),
            opened: Vec::new(),
            held_back: false,
            input_end: None,
            end_told: false,
            shown: false,
            ticket: Some(ticket),
            peer,
            accepted_at,
            accepted_ms,
            times: Times {
                last_in: now_ms,
                frame_began: None,
                not_reading_since: None,
                drain_deadline: None,
            },
            bytes_in: 0,
            frames_in: 0,
            reported: Reported::default(),
        }
    }

    /// The output side. It is only away while a callback runs, and then nobody asks.
    fn out(&mut self) -> &mut Outbound {
        self.out.as_mut().expect("the output side is back after each callback")
    }

    fn out_ref(&self) -> &Outbound {
        self.out.as_ref().expect("the output side is back after each callback")
    }

    pub fn transport(&mut self) -> &mut Transport {
        &mut self.out().transport
    }

    pub fn port(&self) -> &Arc<Port> {
        &self.port
    }

    pub fn ticket(&self) -> Option<&Arc<Ticket>> {
        self.ticket.as_ref()
    }

    /// True if this is the connection that `shared` stands for.
    pub fn is(&self, shared: &Arc<Shared>) -> bool {
        self.out_ref().id == shared.id
    }

    // Input.

    /// Whether the reactor should read.
    pub fn wants_read(&self) -> bool {
        match self.phase {
            Phase::Sniff | Phase::Handshake | Phase::Identify => self.input_end.is_none(),
            Phase::Open { .. } => self.input_end.is_none() && !self.held_back && self.may_deliver(),
            // Read and dropped, so that a peer that sends before it reads cannot block us.
            Phase::Closing(_) => self.input_end.is_none(),
            Phase::Lingering { .. } => true,
            Phase::Admit { .. } | Phase::Gone => false,
        }
    }

    /// The handshake loop's part is done.
    pub fn is_to_hand_over(&self) -> bool {
        matches!(self.phase, Phase::Identify)
    }

    /// Whether input is left that can be worked on now.
    pub fn wants_turn(&self) -> bool {
        self.held_back && self.may_deliver()
    }

    /// How much the reactor should read at most.
    pub fn read_limit(&self) -> usize {
        match self.phase {
            Phase::Sniff | Phase::Handshake | Phase::Identify => NEWCOMER_READ_BYTES,
            _ => usize::MAX,
        }
    }

    /// Lends the buffer of a large frame that waits for its bytes, with how many it wants.
    /// Plain connections only: with TLS what arrives has to be opened first.
    pub fn lend_large_frame(&mut self) -> Option<(Vec<u8>, usize)> {
        if self.out_ref().tls.is_some() || !matches!(self.phase, Phase::Open { .. }) {
            return None;
        }
        match self.decoder.lend() {
            Ok(lent) => lent,
            Err(reason) => {
                self.fail(reason);
                None
            }
        }
    }

    pub fn return_large_frame(&mut self, payload: Vec<u8>) {
        self.decoder.give_back(payload);
    }

    /// Notes that `bytes` were read from the socket.
    pub fn received(&mut self, bytes: usize, now_ms: u64) {
        self.bytes_in += bytes as u64;
        self.times.last_in = now_ms;
    }

    /// The socket takes output again.
    pub fn unblock(&mut self) {
        self.out().blocked = false;
    }

    /// With TLS: opened input waits.
    pub fn has_opened(&self) -> bool {
        !self.opened.is_empty()
    }

    /// Takes back the input that was kept.
    pub fn take_kept(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.kept)
    }

    /// Keeps input that is not used up until the next turn.
    pub fn keep(&mut self, rest: &[u8]) {
        self.kept = rest.to_vec();
    }

    /// Works on input and says how many bytes are used up; the rest is to be kept.
    pub fn on_input(&mut self, turn: &mut Turn, input: &mut [u8]) -> usize {
        self.held_back = false;
        self.out().now_ms = turn.now_ms;
        if matches!(self.phase, Phase::Closing(_) | Phase::Lingering { .. } | Phase::Gone) {
            return input.len();
        }
        if matches!(self.phase, Phase::Sniff) {
            match identify(input, true) {
                Identity::NeedMore => return 0,
                Identity::Tls => self.phase = Phase::Handshake,
                Identity::Is { .. } => {
                    self.phase = Phase::Identify;
                    return 0;
                }
            }
        }
        let with_tls = self.out_ref().tls.is_some() || matches!(self.phase, Phase::Handshake);
        if with_tls { self.on_records(turn, input) } else { self.on_plain(turn, input) }
    }

    /// Notes the peer's end of stream; it takes effect when all input before it is used up.
    pub fn on_end_of_input(&mut self) {
        let unclean = self.out_ref().tls.as_ref().is_some_and(|tls| !tls.peer_closed());
        let end = if unclean { InputEnd::Truncated } else { InputEnd::Clean };
        self.input_end.get_or_insert(end);
        if matches!(self.phase, Phase::Lingering { .. }) {
            self.phase = Phase::Gone;
        }
    }

    /// An error of the socket.
    pub fn on_io_error(&mut self, error: &io::Error) {
        if matches!(self.phase, Phase::Lingering { .. }) {
            self.phase = Phase::Gone;
        }
        let os_error = error.raw_os_error().unwrap_or(0);
        let (reason, by) = match os_error {
            libc::ECONNRESET | libc::EPIPE => (CloseReason::PeerReset, Party::Peer),
            libc::ETIMEDOUT => (CloseReason::KeepAlive, Party::System),
            _ => (CloseReason::IoError, Party::System),
        };
        let text = if os_error == 0 { error.to_string() } else { String::new() };
        self.end(Ending { os_error, text, cut: Cut::Now, ..self.ending(reason, by) });
    }

    /// Opens TLS records, then works on the plaintext.
    fn on_records(&mut self, turn: &mut Turn, input: &mut [u8]) -> usize {
        if matches!(self.phase, Phase::Open { .. } | Phase::Admit { .. }) && !self.may_deliver() {
            self.held_back = true;
            return 0;
        }
        if input.is_empty() && self.opened.is_empty() && !self.decoder.is_inflating() {
            return 0;
        }
        let mut opened = std::mem::take(&mut turn.opened);
        opened.clear();
        opened.extend_from_slice(&self.opened);
        self.opened = Vec::new();
        let mut wire = Vec::new();
        let acceptor = self.port.acceptor.clone();
        let out = self.out();
        // Nothing is allocated for TLS before the peer's first byte.
        let engine = match (&mut out.tls, &acceptor) {
            (Some(engine), _) => engine,
            (empty, Some(acceptor)) => empty.insert(Box::new(Engine::new(acceptor))),
            (None, None) => return input.len(),
        };
        let result = engine.open(input, &mut opened, &mut wire);
        let (handshaking, peer_closed) = (engine.is_handshaking(), engine.peer_closed());
        out.queue_wire(&wire);
        let used = match result {
            Ok(used) => used,
            Err(error) => {
                // What was opened before the error is still delivered.
                self.on_opened(turn, &opened, handshaking);
                self.tls_failed(error);
                turn.opened = opened;
                return input.len();
            }
        };
        self.on_opened(turn, &opened, handshaking);
        if peer_closed {
            self.input_end.get_or_insert(InputEnd::Clean);
        }
        turn.opened = opened;
        used
    }

    fn on_opened(&mut self, turn: &mut Turn, opened: &[u8], handshaking: bool) {
        let used = match self.phase {
            Phase::Handshake => {
                if !handshaking {
                    self.phase = Phase::Identify;
                }
                0
            }
            _ => self.on_plain(turn, opened),
        };
        self.opened = opened[used..].to_vec();
    }

    fn tls_failed(&mut self, error: TlsError) {
        let by = if error.sent_by_peer { Party::Peer } else { Party::Library };
        let tls_alert = error.alert.map_or(-1, i32::from);
        let ending = self.ending(CloseReason::TlsFailed, by);
        self.end(Ending { tls_alert, text: error.text, ..ending });
    }

    /// Works on bytes outside of TLS (or on plaintext) and says how many are used up.
    fn on_plain(&mut self, turn: &mut Turn, bytes: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match self.phase {
                Phase::Identify => match identify(rest, self.out_ref().tls.is_none()) {
                    Identity::NeedMore => return used,
                    Identity::Tls => {
                        self.fail(CloseReason::TlsOnPlainPort);
                        return bytes.len();
                    }
                    Identity::Is { protocol, first_byte } => {
                        // Given back to streams of an unknown protocol.
                        used += usize::from(protocol != Protocol::Unknown);
                        self.on_identified(turn, protocol, first_byte);
                    }
                },
                Phase::Admit { .. } => {
                    self.held_back = !rest.is_empty();
                    return used;
                }
                Phase::Open { protocol } => {
                    if !self.may_deliver() {
                        self.held_back = !rest.is_empty() || self.decoder.is_inflating();
                        return used;
                    }
                    if !protocol.is_framed() {
                        if !rest.is_empty() {
                            self.deliver(Event::Data(rest));
                        }
                        return bytes.len();
                    }
                    match self.on_frames(turn, rest) {
                        (more, true) => used += more,
                        (more, false) => return used + more,
                    }
                }
                Phase::Closing(_) | Phase::Lingering { .. } | Phase::Gone => return bytes.len(),
                Phase::Sniff | Phase::Handshake => return used,
            }
        }
    }

    /// Decodes and delivers one batch. True: there may be another.
    fn on_frames(&mut self, turn: &mut Turn, input: &[u8]) -> (usize, bool) {
        let port = self.port.clone();
        let (used, step) = match self.decoder.decode(input, &mut turn.work, &port.rules.frame) {
            Ok(decoded) => decoded,
            Err(reason) => {
                self.fail(reason);
                return (input.len(), false);
            }
        };
        if !turn.work.spans.is_empty() {
            // The batch borrows the workspace, which the connection does not hold.
            let spans = std::mem::take(&mut turn.work.spans);
            let inflated = std::mem::take(&mut turn.work.inflated);
            self.frames_in += spans.len() as u64;
            self.deliver(Event::Frames(Frames { buffers: [input, &inflated], spans: &spans }));
            turn.work.spans = spans;
            turn.work.inflated = inflated;
            if turn.work.inflated.capacity() > 2 * crate::frame::decode::INFLATE_TURN_BYTES {
                turn.work.inflated = Vec::new();
            }
        }
        match step {
            Step::Drained => (used, false),
            Step::More => (used, true),
            Step::Single { payload, compressed } => {
                let len = payload.len();
                let span = crate::event::FrameSpan { buffer: 0, compressed, start: 0, len };
                self.frames_in += 1;
                self.deliver(Event::Frames(Frames { buffers: [&payload, &[]], spans: &[span] }));
                (used, true)
            }
            Step::Yield => {
                self.held_back = true;
                (used, false)
            }
        }
    }

    /// Events may be begun: nothing closes, nothing pauses.
    fn may_deliver(&self) -> bool {
        let out = self.out_ref();
        matches!(self.phase, Phase::Open { .. })
            && !out.paused
            && out.verdict.is_none()
            && !out.is_over_mark()
            && !out.shared.as_ref().is_some_and(|shared| shared.state.is_closing())
    }

    // The way in.

    fn on_identified(&mut self, turn: &mut Turn, protocol: Protocol, first_byte: u8) {
        if let Some(ticket) = self.ticket.take() {
            self.port.gate.identified(&ticket);
        }
        let (handler, admission) = self.port.handlers_for(protocol);
        let Some(handler) = handler else {
            self.fail(CloseReason::NoHandler);
            return;
        };
        let (port, peer, accepted_at) = (self.port.clone(), self.peer, self.accepted_at);
        let asks_admission = admission.is_some();
        let out = self.out();
        let birth = Birth {
            key: turn.key,
            door: turn.door.clone(),
            port,
            protocol,
            asks_admission,
            peer,
            local: out.transport.local_address(),
            accepted_at,
            tls: out.tls.as_ref().and_then(|engine| engine.facts()).map(Box::new),
        };
        let shared = handles::insert(birth.key, |id| Shared::new(id, birth));
        out.id = shared.id;
        out.shared = Some(shared);
        self.shown = true;
        match admission {
            Some(admission) => {
                self.phase = Phase::Admit { protocol, first_byte };
                self.handler = Some(admission);
                self.deliver(Event::Admit { protocol, first_byte });
            }
            None => {
                self.handler = Some(handler);
                self.out().admit();
                self.open(turn, protocol, first_byte);
            }
        }
    }

    fn open(&mut self, turn: &mut Turn, protocol: Protocol, first_byte: u8) {
        self.phase = Phase::Open { protocol };
        self.port.counters[turn.loop_index].opened[protocol.index()]
            .fetch_add(1, Ordering::Relaxed);
        self.deliver(Event::Opened { protocol, first_byte });
    }

    /// Gives an event to the handler, unless the connection is closing already.
    fn deliver(&mut self, event: Event<'_>) {
        let Some(handler) = self.handler.clone() else { return };
        let Some(out) = self.out.take() else { return };
        let (out, went_well) = dispatch::deliver(&*handler, out, event);
        self.out = out;
        if !went_well {
            let shared = self.out().shared.clone();
            if let Some(shared) = shared {
                let _ = shared.state.close();
            }
            let ending = self.ending(CloseReason::CallbackPanic, Party::Host);
            self.end(ending);
        }
    }

    // The way out.

    fn stage(&self) -> Stage {
        match self.phase {
            Phase::Sniff => Stage::Accept,
            Phase::Handshake => Stage::Tls,
            Phase::Identify => Stage::Identify,
            Phase::Admit { .. } => Stage::Admit,
            _ => Stage::Open,
        }
    }

    fn ending(&self, reason: CloseReason, by: Party) -> Ending {
        Ending {
            reason,
            by,
            stage: self.stage(),
            cut: Cut::AfterFlush,
            host_code: 0,
            os_error: 0,
            tls_alert: -1,
            text: String::new(),
        }
    }

    /// Ends it by a rule of the library.
    pub fn fail(&mut self, reason: CloseReason) {
        let ending = self.ending(reason, Party::Library);
        self.end(ending);
    }

    /// Begins the end; the first reason counts, but a harder cut still shortens a flush.
    fn end(&mut self, ending: Ending) {
        let shared = self.out().shared.clone();
        if let Some(shared) = shared {
            let _ = shared.state.close();
        }
        match &mut self.phase {
            Phase::Closing(present) => {
                if ending.cut != Cut::AfterFlush {
                    present.cut = ending.cut;
                    if present.os_error == 0 {
                        present.os_error = ending.os_error;
                    }
                }
            }
            Phase::Lingering { .. } | Phase::Gone => {}
            _ => self.phase = Phase::Closing(Box::new(ending)),
        }
    }

    /// The runtime or the listener stops: unidentified connections end at once, all others
    /// by `deadline_ms`.
    pub fn on_drain(&mut self, deadline_ms: u64) {
        match self.phase {
            Phase::Sniff | Phase::Handshake | Phase::Identify => {
                let ending = self.ending(CloseReason::Stopped, Party::Library);
                self.end(Ending { cut: Cut::Now, ..ending });
            }
            _ => {
                let present = self.times.drain_deadline.unwrap_or(u64::MAX);
                self.times.drain_deadline = Some(present.min(deadline_ms));
            }
        }
    }

    /// A newer connection needs this one's place among the unidentified.
    pub fn on_doomed(&mut self, reason: CloseReason) {
        if self.ticket.is_some() {
            let ending = self.ending(reason, Party::Library);
            self.end(Ending { cut: Cut::Now, ..ending });
        }
    }

    /// After each turn: carries out what the host and the peer asked for, flushes, and says
    /// what comes next.
    pub fn settle(&mut self, turn: &mut Turn) -> Fate {
        self.out().now_ms = turn.now_ms;
        let mut more_to_send;
        loop {
            self.out().merge_foreign();
            self.obey();
            if self.admitted_step(turn) || self.end_of_input_step() {
                continue;
            }
            more_to_send = self.out().flush();
            if let Some(error) = self.out().error.take() {
                self.on_io_error(&error);
            }
            if self.out_ref().fin == Fin::Asked && !matches!(self.phase, Phase::Closing(_)) {
                self.out().finish();
            }
            if !self.writable_step() {
                break;
            }
        }
        self.close_step(turn);
        self.note_times(turn.now_ms);
        self.report(turn);
        if self.account_memory() {
            self.fail(CloseReason::MemoryLimit);
            self.close_step(turn);
        }
        match self.phase {
            Phase::Gone => Fate::Gone,
            Phase::Identify if turn.door.is_handshake() => Fate::HandOver,
            _ if self.wants_turn() || more_to_send => Fate::Again,
            _ => Fate::Wait,
        }
    }

    /// Turns what was asked for into the beginning of the end.
    fn obey(&mut self) {
        let Some(verdict) = self.out().verdict.take() else { return };
        let host = |reason| self.ending(reason, Party::Host);
        let ending = match verdict {
            Verdict::HostClose(code) => Ending { host_code: code, ..host(CloseReason::HostClosed) },
            Verdict::HostAbort(code) => {
                Ending { host_code: code, cut: Cut::Reset, ..host(CloseReason::HostAborted) }
            }
            Verdict::Refuse => host(CloseReason::AdmissionRefused),
            Verdict::Fail(reason) => self.ending(reason, Party::Library),
        };
        self.end(ending);
    }

    fn admitted_step(&mut self, turn: &mut Turn) -> bool {
        let Phase::Admit { protocol, first_byte } = self.phase else { return false };
        if !self.out_ref().admitted {
            return false;
        }
        let (handler, _) = self.port.handlers_for(protocol);
        self.handler = handler;
        self.open(turn, protocol, first_byte);
        // Input may have come with the first byte.
        self.held_back = !self.kept.is_empty() || !self.opened.is_empty();
        true
    }

    /// The peer's end of stream, once everything before it has been used up.
    fn end_of_input_step(&mut self) -> bool {
        let Some(end) = self.input_end else { return false };
        match self.phase {
            Phase::Sniff | Phase::Handshake | Phase::Identify => {
                let ending = self.ending(CloseReason::ClosedBeforeIdentified, Party::Peer);
                self.end(Ending { cut: Cut::Now, ..ending });
                true
            }
            Phase::Open { protocol } if !self.held_back && !self.end_told && self.may_deliver() => {
                let rest = !self.kept.is_empty() || !self.opened.is_empty();
                if protocol.is_framed() && (rest || self.decoder.is_inside_frame()) {
                    let ending = self.ending(CloseReason::Truncated, Party::Peer);
                    self.end(ending);
                } else if self.handler.as_ref().is_some_and(|handler| handler.wants_end()) {
                    self.end_told = true;
                    self.deliver(Event::End);
                } else {
                    let reason = match end {
                        InputEnd::Clean => CloseReason::PeerClosed,
                        InputEnd::Truncated => CloseReason::TlsTruncated,
                    };
                    let ending = self.ending(reason, Party::Peer);
                    self.end(ending);
                }
                true
            }
            _ => false,
        }
    }

    /// Tells that there is room again, once half of the high-water mark is left.
    fn writable_step(&mut self) -> bool {
        let out = self.out_ref();
        let queued = out.queued_bytes();
        let Some(shared) = &out.shared else { return false };
        shared.own_queued.store(queued, Ordering::SeqCst);
        let half = self.port.rules.send_queue_limit_bytes / 2;
        if shared.queued_bytes() > half
            || !matches!(self.phase, Phase::Open { .. })
            || shared.state.is_closing()
            || !shared.wants_writable.swap(false, Ordering::SeqCst)
        {
            return false;
        }
        self.deliver(Event::Writable);
        true
    }

    fn close_step(&mut self, turn: &mut Turn) {
        let Phase::Closing(ending) = &self.phase else { return };
        let cut = ending.cut;
        let done = match cut {
            Cut::Reset => {
                self.out().transport.reset_on_close();
                true
            }
            Cut::Now => {
                self.out().finish();
                true
            }
            Cut::AfterFlush => {
                let out = self.out();
                out.finish() || out.error.is_some()
            }
        };
        if !done {
            return;
        }
        let Phase::Closing(ending) = std::mem::replace(&mut self.phase, Phase::Gone) else {
            return;
        };
        // The peer may still be sending: closing with unread input would reset the
        // connection, and that can destroy our last answer on its way.
        let answered = self.shown || ending.reason == CloseReason::TlsFailed;
        if cut == Cut::AfterFlush && self.input_end.is_none() && answered {
            self.phase = Phase::Lingering { until_ms: turn.now_ms + LINGER_MS };
        }
        self.tell_closed(turn, *ending);
    }

    fn tell_closed(&mut self, turn: &mut Turn, ending: Ending) {
        if let Some(ticket) = self.ticket.take() {
            self.port.gate.identified(&ticket);
        }
        let shared = self.out().shared.clone();
        let left = shared.as_ref().map(|shared| shared.end()).unwrap_or_default();
        let foreign: usize = left.iter().map(crate::send::Op::queued_bytes).sum();
        // What the host lent is released here, by code of the host.
        dispatch::guarded(move || drop(left));
        let out = self.out();
        let unsent_bytes = (out.discard() + foreign) as u64;
        let info = CloseInfo {
            reason: ending.reason,
            by: ending.by,
            stage: ending.stage,
            host_code: ending.host_code,
            os_error: ending.os_error,
            tls_alert: ending.tls_alert,
            bytes_in: self.bytes_in,
            bytes_out: self.out_ref().bytes_out,
            unsent_bytes,
            duration_ms: turn.now_ms.saturating_sub(self.accepted_ms),
            text: ending.text,
        };
        let counters = &self.port.counters[turn.loop_index];
        counters.closes[info.reason.code() as usize].fetch_add(1, Ordering::Relaxed);
        if let Some(protocol) = shared.as_ref().map(|shared| shared.protocol)
            && ending.stage == Stage::Open
        {
            counters.closed[protocol.index()].fetch_add(1, Ordering::Relaxed);
        }
        self.log_close(&info);
        self.report(turn);
        if self.shown {
            self.deliver(Event::Closed(&info));
        }
        if let Some(shared) = shared {
            let data = {
                let mut slot = shared.user_data.lock();
                slot.ended = true;
                slot.data.take()
            };
            dispatch::guarded(move || drop(data));
            handles::remove(shared.id);
        }
        // The handler may be the last owner of the host's data: released before anyone
        // is told that this connection is gone.
        dispatch::guarded(|| self.handler = None);
        self.port.connection_gone(&self.peer);
    }

    fn log_close(&self, info: &CloseInfo) {
        let log = &self.port.log;
        if !log.wants(Level::Info) {
            return;
        }
        let mut text = format!(
            "{} closed: {} in {} after {} ms, {} bytes in, {} out, {} unsent",
            self.peer,
            info.reason.name(),
            info.stage.name(),
            info.duration_ms,
            info.bytes_in,
            info.bytes_out,
            info.unsent_bytes
        );
        if !info.text.is_empty() {
            text.push_str(": ");
            text.push_str(&info.text);
        }
        log.record(Level::Info, info.stage.name(), self.out_ref().id, text);
    }

    // Time.

    /// Time in which we do not read does not count against the peer.
    fn note_times(&mut self, now_ms: u64) {
        let Phase::Open { protocol } = self.phase else { return };
        let reading = self.may_deliver() && !self.held_back;
        match (reading, self.times.not_reading_since) {
            (false, None) => self.times.not_reading_since = Some(now_ms),
            (true, Some(since)) => {
                let pause = now_ms - since;
                self.times.not_reading_since = None;
                self.times.last_in += pause;
                if let Some((began, _)) = &mut self.times.frame_began {
                    *began += pause;
                }
            }
            _ => {}
        }
        let rest = !self.kept.is_empty() || !self.opened.is_empty();
        let partial = protocol.is_framed() && (rest || self.decoder.is_inside_frame());
        self.times.frame_began = match self.times.frame_began {
            _ if !partial => None,
            Some((began, frames)) if frames == self.frames_in => Some((began, frames)),
            _ => Some((now_ms, self.frames_in)),
        };
    }

    /// When this connection has to be looked at if nothing happens, in monotonic ms.
    pub fn deadline_ms(&self) -> Option<u64> {
        self.next_deadline().map(|(at, _)| at)
    }

    fn next_deadline(&self) -> Option<(u64, CloseReason)> {
        let rules = &self.port.rules;
        let out = self.out_ref();
        let after = |from: u64, ms: u64| (ms > 0).then(|| from.saturating_add(ms));
        let mut first: Option<(u64, CloseReason)> = None;
        let mut note = |at: Option<u64>, reason| {
            if let Some(at) = at
                && first.is_none_or(|(present, _)| at < present)
            {
                first = Some((at, reason));
            }
        };
        note(self.times.drain_deadline, CloseReason::DrainDeadline);
        match self.phase {
            Phase::Sniff | Phase::Handshake => {
                note(
                    after(self.accepted_ms, rules.handshake_timeout_ms),
                    CloseReason::HandshakeTimeout,
                );
                note(after(self.accepted_ms, rules.read_timeout_ms), CloseReason::ReadTimeout);
            }
            Phase::Identify => {
                note(after(self.accepted_ms, rules.read_timeout_ms), CloseReason::ReadTimeout);
            }
            Phase::Admit { .. } => {
                note(after(self.accepted_ms, rules.read_timeout_ms), CloseReason::AdmissionTimeout);
                note(out.host_deadline_ms, CloseReason::HostDeadline);
            }
            Phase::Open { protocol } => {
                note(out.host_deadline_ms, CloseReason::HostDeadline);
                if out.queued_bytes() > 0 {
                    note(after(out.progress_ms, rules.write_timeout_ms), CloseReason::WriteTimeout);
                }
                if self.times.not_reading_since.is_none() && protocol.is_framed() {
                    if let Some((began, _)) = self.times.frame_began {
                        let arrived = self.decoder.held_bytes() as u64;
                        let extra = arrived / FRAME_SECOND_BYTES * 1000;
                        let began = began.saturating_add(extra);
                        note(after(began, rules.frame_timeout_ms), CloseReason::FrameTimeout);
                    }
                    let silent_since = self.times.last_in.max(out.progress_ms);
                    note(after(silent_since, rules.idle_timeout_ms), CloseReason::IdleTimeout);
                }
            }
            Phase::Closing(_) => {
                note(after(out.progress_ms, rules.write_timeout_ms), CloseReason::WriteTimeout);
            }
            Phase::Lingering { until_ms } => note(Some(until_ms), CloseReason::HostClosed),
            Phase::Gone => {}
        }
        first
    }

    /// Time has passed: ends the connection if its deadline is over.
    pub fn on_time(&mut self, now_ms: u64) {
        let Some((at, reason)) = self.next_deadline() else { return };
        if at > now_ms {
            return;
        }
        if matches!(self.phase, Phase::Lingering { .. }) {
            self.phase = Phase::Gone;
            return;
        }
        let cut = match reason {
            CloseReason::WriteTimeout => Cut::Reset,
            CloseReason::DrainDeadline => Cut::Now,
            _ if self.shown => Cut::AfterFlush,
            _ => Cut::Now,
        };
        let ending = self.ending(reason, Party::Library);
        self.end(Ending { cut, ..ending });
    }

    // Accounts.

    /// Adds what happened in this turn to the counters.
    fn report(&mut self, turn: &Turn) {
        let out = self.out.as_ref().expect("the output side is back after each callback");
        let counters = &self.port.counters[turn.loop_index];
        let add = |counter: &std::sync::atomic::AtomicU64, now: u64, before: &mut u64| {
            if now != *before {
                counter.fetch_add(now - *before, Ordering::Relaxed);
                *before = now;
            }
        };
        add(&counters.bytes_in, self.bytes_in, &mut self.reported.bytes_in);
        add(&counters.bytes_out, out.bytes_out, &mut self.reported.bytes_out);
        add(&counters.frames_in, self.frames_in, &mut self.reported.frames_in);
        add(&counters.frames_out, out.frames_out, &mut self.reported.frames_out);
        if let Some(shared) = &out.shared {
            shared.totals.bytes_in.store(self.bytes_in, Ordering::Relaxed);
            shared.totals.bytes_out.store(out.bytes_out, Ordering::Relaxed);
            shared.totals.frames_in.store(self.frames_in, Ordering::Relaxed);
            shared.totals.frames_out.store(out.frames_out, Ordering::Relaxed);
            shared.own_queued.store(out.queued_bytes(), Ordering::SeqCst);
        }
    }

    /// Keeps the runtime's account of what is held. True: it is over its limit and this
    /// connection has just made it worse.
    fn account_memory(&mut self) -> bool {
        let held = self.kept.len()
            + self.opened.len()
            + self.decoder.held_bytes()
            + self.out_ref().queued_bytes();
        let counted = held.saturating_sub(FREE_BYTES);
        let grew = counted > self.reported.held_bytes;
        let total = self.port.memory.account(self.reported.held_bytes, counted);
        self.reported.held_bytes = counted;
        let ending =
            matches!(self.phase, Phase::Closing(_) | Phase::Lingering { .. } | Phase::Gone);
        grew && total > self.port.memory.limit_bytes && !ending
    }
}

impl Drop for Conn {
    fn drop(&mut self) {
        self.port.memory.account(self.reported.held_bytes, 0);
    }
}
