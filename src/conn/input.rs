//! What arrives: through TLS, identification and framing to events.

use super::end::Ending;
use super::identify::{FirstByte, identify};
use super::output::Tls;
use super::shared::{Birth, Shared};
use super::{InputEnd, Machine, Phase, Turn, handles};
use crate::base::canary::{self, Canary};
use crate::base::fault::Site;
use crate::consumer::Delivery;
use crate::event::{Event, Frames, Party, Protocol};
use crate::frame::decode::{Decoder, Step};
use crate::port::seat::Seat;
use crate::status::CloseReason;
use crate::tls::Engine;
use std::sync::atomic::Ordering;

/// Read size before a connection is open: an identification and a first request.
const NEWCOMER_READ_BYTES: usize = 17 << 10;
/// A loop's buffer for inflated frames is kept up to this size.
const KEPT_INFLATED_BYTES: usize = 512 << 10;

impl Machine {
    /// Whether the reactor should read.
    pub fn wants_read(&self) -> bool {
        match self.phase {
            Phase::Sniff | Phase::Handshake => self.input_end.is_none(),
            Phase::Identify => self.input_end.is_none() && !self.held_back,
            Phase::Open { .. } => self.input_end.is_none() && !self.held_back && self.may_deliver(),
            // Read and dropped, so that a peer that sends before it reads cannot block us.
            Phase::Closing(_) => self.input_end.is_none(),
            Phase::Lingering { .. } => true,
            Phase::Admit { .. } | Phase::Parted(_) | Phase::Gone => false,
        }
    }

    /// The handshake loop's part is done.
    pub fn is_to_hand_over(&self) -> bool {
        matches!(self.phase, Phase::Identify)
    }

    /// Whether input is left that can be worked on now.
    pub fn wants_turn(&self) -> bool {
        // Before it is identified, only the budget holds input back.
        (self.held_back && (matches!(self.phase, Phase::Identify) || self.may_deliver()))
            || (matches!(self.phase, Phase::Open { .. }) && self.decoder.is_suspended())
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
                self.fail_behind_input(reason);
                None
            }
        }
    }

    pub fn return_large_frame(&mut self, payload: Vec<u8>) {
        self.decoder.give_back(payload);
    }

    /// Notes that `bytes` were read from the socket.
    pub fn received(&mut self, turn: &mut Turn, bytes: usize) {
        turn.work.budget.read(bytes);
        self.bytes_in += bytes as u64;
        self.times.last_in = turn.now_ms;
        if let Phase::Lingering { left_bytes, .. } = &mut self.phase {
            *left_bytes = left_bytes.saturating_sub(bytes);
            if *left_bytes == 0 {
                self.phase = Phase::Gone;
            }
        }
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
        self.kept = if self.is_over() { Vec::new() } else { rest.to_vec() };
    }

    /// It is closing: what has arrived is delivered to nobody any more, and a flush may last.
    pub(super) fn forget_input(&mut self) {
        self.decoder = Decoder::default();
        self.kept = Vec::new();
        self.opened = Vec::new();
        self.held_back = false;
    }

    /// Works on input and says how many bytes are used up; the rest is to be kept.
    pub fn on_input(&mut self, turn: &mut Turn, input: &mut [u8]) -> usize {
        self.held_back = false;
        self.out().now_ms = turn.now_ms;
        if self.is_over() {
            return input.len();
        }
        // Held up, it gives its inflation state back; closing, it is about to.
        let is_closing =
            self.out_ref().shared.as_ref().is_some_and(|shared| shared.state.is_closing());
        if self.decoder.is_suspended() && !self.may_deliver() && !is_closing {
            let port = self.port.clone();
            if let Err(reason) = self.decoder.inflate_on(&mut turn.work, &port.rules.frame) {
                self.fail_behind_input(reason);
                return input.len();
            }
        }
        if matches!(self.phase, Phase::Sniff) {
            match identify(input, true) {
                FirstByte::NeedMore => return 0,
                FirstByte::Tls => self.phase = Phase::Handshake,
                FirstByte::Is { .. } => {
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
        let unclean = self.out_ref().tls.as_ref().is_some_and(|tls| !tls.engine.peer_closed());
        let end = if unclean { InputEnd::Truncated } else { InputEnd::Clean };
        self.input_end.get_or_insert(end);
        if matches!(self.phase, Phase::Lingering { .. }) {
            self.phase = Phase::Gone;
        }
    }

    /// Opens TLS records, then works on the plaintext.
    fn on_records(&mut self, turn: &mut Turn, input: &mut [u8]) -> usize {
        if matches!(self.phase, Phase::Open { .. } | Phase::Admit { .. }) && !self.may_deliver() {
            self.held_back = true;
            return 0;
        }
        if input.is_empty() && !self.has_opened() && !self.decoder.is_inflating() {
            return 0;
        }
        let mut opened = std::mem::take(&mut turn.opened);
        opened.clear();
        opened.extend_from_slice(&std::mem::take(&mut self.opened));
        let mut wire = Vec::new();
        let acceptor = self.port.acceptor.clone();
        let out = self.out();
        // Nothing is allocated for TLS before the peer's first byte.
        let tls = match (&mut out.tls, &acceptor) {
            (Some(tls), _) => tls,
            (empty, Some(acceptor)) => empty.insert(Box::new(Tls::new(Engine::new(acceptor)))),
            (None, None) => return input.len(),
        };
        let engine = &mut tls.engine;
        out.port.fault.strike(Site::Tls);
        let result = engine.open(input, &mut opened, &mut wire, &mut turn.work.budget);
        let (handshaking, peer_closed) = (engine.is_handshaking(), engine.peer_closed());
        out.queue_wire(&wire);
        let used = match result {
            Ok(used) => used,
            Err(error) => {
                // What was opened before the error is still delivered. Without that it may be the
                // handshake that has failed.
                if !opened.is_empty() || self.decoder.is_inflating() {
                    self.on_opened(turn, &opened, handshaking);
                }
                self.tls_failed(error);
                turn.opened = self.spare(opened);
                return input.len();
            }
        };
        self.on_opened(turn, &opened, handshaking);
        if peer_closed {
            self.input_end.get_or_insert(InputEnd::Clean);
        }
        // There may be whole records that the budget left.
        self.held_back |= turn.work.budget.is_spent() && used < input.len();
        turn.opened = self.spare(opened);
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

    /// Works on bytes outside of TLS (or on plaintext) and says how many are used up.
    fn on_plain(&mut self, turn: &mut Turn, bytes: &[u8]) -> usize {
        let mut used = 0;
        loop {
            let rest = &bytes[used..];
            match self.phase {
                // Events are for I/O loops: the first byte goes there, however often this loop
                // comes by before it has handed over.
                Phase::Identify
                    if turn.door.is_handshake() && !canary::is_on(Canary::IdentifiesAnywhere) =>
                {
                    return used;
                }
                Phase::Identify => match identify(rest, self.out_ref().tls.is_none()) {
                    FirstByte::NeedMore => return used,
                    FirstByte::Tls => {
                        self.fail(CloseReason::TlsOnPlainPort);
                        return bytes.len();
                    }
                    FirstByte::Is { protocol, first_byte } => {
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
                Phase::Closing(_) | Phase::Parted(_) | Phase::Lingering { .. } | Phase::Gone => {
                    return bytes.len();
                }
                Phase::Sniff | Phase::Handshake => return used,
            }
        }
    }

    /// Decodes and delivers one batch. True: there may be another.
    fn on_frames(&mut self, turn: &mut Turn, input: &[u8]) -> (usize, bool) {
        let port = self.port.clone();
        port.fault.strike(Site::Decode);
        let (used, step) = match self.decoder.decode(input, &mut turn.work, &port.rules.frame) {
            Ok(decoded) => decoded,
            Err(reason) => {
                self.fail_behind_input(reason);
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
            turn.work.inflated = self.spare(inflated);
            if turn.work.inflated.capacity() > KEPT_INFLATED_BYTES {
                turn.work.inflated = Vec::new();
            }
        }
        match step {
            Step::Drained => (used, false),
            Step::More => (used, true),
            Step::Single { payload, compressed } => {
                self.frames_in += 1;
                self.deliver_large(payload, compressed);
                (used, true)
            }
            Step::Yield => {
                self.held_back = true;
                (used, false)
            }
        }
    }

    /// A buffer for further use: another one if events that were given point into this one.
    pub(super) fn spare(&self, buffer: Vec<u8>) -> Vec<u8> {
        match &self.out_ref().shared {
            Some(shared) => shared.delivery.spare(buffer),
            None => buffer,
        }
    }

    // The way in.

    fn on_identified(&mut self, turn: &mut Turn, protocol: Protocol, first_byte: u8) {
        if turn.door.is_handshake() && !canary::is_on(Canary::IdentifiesAnywhere) {
            return self.lost_event();
        }
        if let Some(seat) = &mut self.seat {
            seat.identified();
        }
        self.port.fault.strike(Site::Identify);
        let (handler, admission) = self.port.handlers_for(protocol);
        // The host is not asked about what it does not see.
        let admission =
            admission.filter(|_| !handler.as_ref().is_some_and(|own| own.is_internal()));
        let Some(handler) = handler else {
            let ending = self.ending(CloseReason::NoHandler, Party::Library);
            // No callback reports this end; the log says what is missing.
            let text = format!("first byte {first_byte}, no handler for {}", protocol.name());
            self.end(Ending { text, ..ending });
            return;
        };
        let Some(peer) = self.seat.as_ref().map(Seat::peer) else { return };
        let (port, accepted_ms) = (self.port.clone(), self.accepted_ms);
        let asks_admission = admission.is_some();
        let delivery = Delivery::new(port.commons.consumer, &*handler);
        let out = self.out();
        let birth = Birth {
            key: turn.key,
            door: turn.door.clone(),
            port,
            protocol,
            asks_admission,
            peer,
            local: out.transport.local_address(),
            accepted_ms,
            tls: out.tls.as_ref().and_then(|tls| tls.engine.facts()).map(Box::new),
            delivery,
        };
        let shared = handles::insert(birth.key, |id| Shared::new(id, birth));
        shared.socket.open(&out.transport);
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
                self.reach().admit();
                self.open(turn, protocol, first_byte);
            }
        }
    }

    pub(super) fn open(&mut self, turn: &mut Turn, protocol: Protocol, first_byte: u8) {
        self.phase = Phase::Open { protocol };
        self.port.counters(turn.loop_index).opened[protocol.index()]
            .fetch_add(1, Ordering::Relaxed);
        self.deliver(Event::Opened { protocol, first_byte });
    }
}
