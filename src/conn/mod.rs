//! The machine of one connection: the only place that knows the order of the stages.
//!
//! This file holds the state and settles each turn.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `input` | what arrives: through TLS, identification and framing to events |
//! | `identify` | what the first byte says |
//! | `requests` | what the host asks of it |
//! | `sending` | sends of its own callback |
//! | `output`, `queue` | what waits to be sent, and its flush |
//! | `end` | why and how a connection ends |
//! | `close` | the last steps: flush, closed event, what it gives back |
//! | `accounts` | what it counts and what it holds |
//! | `time` | its deadlines |
//! | `shared`, `state` | the part of it that any thread reaches, and what a host may still do |
//! | `handles` | the calls of hosts, by handle |
//! | `current` | the connection whose callback a thread runs |
//! | `door` | the way to its loop |
//!
//! It knows no socket and no clock. It is given bytes that arrived and the time, and it
//! gives events, output (in its [`Output`]), the place for the next bytes of a large
//! frame, and its next deadline. A reactor moves the bytes; tests may do it instead.
//!
//! ```text
//! Sniff ─► Handshake ─► Identify ─► Admit ─► Open ─► Closing ─► Lingering ─► Gone
//!  auto       TLS                   if asked           flush      peer's FIN
//! ```

mod accounts;
mod close;
pub(crate) mod current;
pub(crate) mod door;
mod end;
pub mod handles;
pub(crate) mod identify;
mod input;
pub(crate) mod output;
pub(crate) mod queue;
pub(crate) mod requests;
mod sending;
pub(crate) mod shared;
pub(crate) mod state;
mod time;

use crate::base::fault::Site;
use crate::base::log::Level;
use crate::consumer::Put;
use crate::event::{CloseInfo, Event, FrameSpan, Frames, Handler, Party, Protocol, SendFlags};
use crate::frame::HEADER_BYTES;
use crate::frame::decode::{Decoder, Workspace};
use crate::limits::waiting::{self, Ticket};
use crate::net::transport::Transport;
use crate::port::Port;
use crate::port::seat::{Newcomer, Seat};
use crate::status::{CloseReason, Status};
use door::Door;
use end::{Cut, Ending};
use output::{Fin, Output};
use requests::{Reach, Requests};
use shared::Shared;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use time::Times;

/// What a loop lends to a connection for one turn.
pub(crate) struct Turn {
    /// Monotonic milliseconds.
    pub now_ms: u64,
    /// So long the loop has looked at no socket, in all: a callback took its time, or its host
    /// did not poll.
    pub away_ms: u64,
    /// Position of the loop in the counters of a port.
    pub loop_index: usize,
    /// Connections of this loop that linger.
    pub lingering: usize,
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

pub(crate) struct Machine {
    /// Absent only while a callback runs.
    reach: Option<Box<Reach>>,
    port: Arc<Port>,
    handler: Option<Arc<dyn Handler>>,
    phase: Phase,
    decoder: Decoder,
    /// Input that is not used up: a cut record or frame, or what a pause held back.
    kept: Vec<u8>,
    /// With TLS: input that is opened and not used up.
    opened: Vec<u8>,
    /// Input is left that can be worked on once delivering is possible (again).
    held_back: bool,
    /// `memoryLimit` is reached: its socket has input that is not read for now.
    pub starved: bool,
    input_end: Option<InputEnd>,
    end_told: bool,
    /// The host has seen the handle.
    shown: bool,
    /// It counts in [`Turn::lingering`] until its loop drops it.
    pub lingers: bool,
    accepted_ms: u64,
    times: Times,
    bytes_in: u64,
    frames_in: u64,
    reported: Reported,
    /// Until its end is told. The last one to be dropped.
    seat: Option<Seat>,
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
    /// The socket is gone; closed is told when the host has taken what is in the inbox.
    Parted(Box<CloseInfo>),
    /// Closed has been reported; what the peer still sends is read and dropped, up to a bound.
    Lingering {
        until_ms: u64,
        left_bytes: usize,
    },
    Gone,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum InputEnd {
    Clean,
    /// TLS without close_notify.
    Truncated,
    /// The same where that is tolerated, but inside a record.
    InsideRecord,
}

/// What has been added to the port's counters already.
#[derive(Default)]
struct Reported {
    bytes_in: u64,
    bytes_out: u64,
    frames_in: u64,
    frames_out: u64,
}

impl Machine {
    pub fn new(newcomer: Newcomer, now_ms: u64) -> Machine {
        let Newcomer { transport, port, accepted_ms, seat } = newcomer;
        let phase = match (&port.acceptor, port.tls_is_optional) {
            (None, _) => Phase::Identify,
            (Some(_), true) => Phase::Sniff,
            (Some(_), false) => Phase::Handshake,
        };
        Machine {
            reach: Some(Box::new(Reach::new(Output::new(port.clone(), transport, now_ms)))),
            port,
            handler: None,
            phase,
            decoder: Decoder::default(),
            kept: Vec::new(),
            opened: Vec::new(),
            held_back: false,
            starved: false,
            input_end: None,
            end_told: false,
            shown: false,
            lingers: false,
            accepted_ms,
            times: Times::new(now_ms),
            bytes_in: 0,
            frames_in: 0,
            reported: Reported::default(),
            seat: Some(seat),
        }
    }

    /// What calls of its callback reach. It is only away while one runs, and then nobody asks.
    fn reach(&mut self) -> &mut Reach {
        self.reach.as_mut().expect("it is back after each callback")
    }

    fn reach_ref(&self) -> &Reach {
        self.reach.as_ref().expect("it is back after each callback")
    }

    fn out(&mut self) -> &mut Output {
        &mut self.reach().out
    }

    fn out_ref(&self) -> &Output {
        &self.reach_ref().out
    }

    fn requests(&self) -> &Requests {
        &self.reach_ref().requests
    }

    pub fn transport(&mut self) -> &mut Transport {
        &mut self.out().transport
    }

    pub fn port(&self) -> &Arc<Port> {
        &self.port
    }

    pub fn ticket(&self) -> Option<&Arc<Ticket>> {
        self.seat.as_ref()?.ticket()
    }

    /// Reports how far an unidentified connection has come, each step once; of others nothing. Gives one
    /// that is evicted instead, if this one was to be.
    pub fn report_stage(&mut self, turn: &Turn) -> Option<Arc<Ticket>> {
        self.ticket()?;
        let stage = match self.phase {
            Phase::Identify if turn.door.is_handshake() => waiting::Progress::Finished,
            Phase::Sniff | Phase::Handshake | Phase::Identify if self.bytes_in > 0 => {
                waiting::Progress::Spoken
            }
            _ => return None,
        };
        self.seat.as_mut()?.reached(stage, turn.now_ms)
    }

    /// True if this is the connection that `shared` stands for.
    pub fn is(&self, shared: &Arc<Shared>) -> bool {
        self.out_ref().id == shared.id
    }

    /// Frames of the host's between two rounds of its polls: as many as there is room for. `None`
    /// if there is none.
    pub fn send_frames<'a>(
        &mut self,
        now_ms: u64,
        frames: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        flags: SendFlags,
    ) -> Option<(usize, Result<(), Status>)> {
        let limit_bytes = self.port.rules.send_queue_limit_bytes;
        let Reach { out, .. } = self.reach();
        out.now_ms = now_ms;
        let mut queued_bytes = out.shared.as_ref()?.queued_bytes();
        let fit = frames.clone().take_while(|frame| {
            let fits = queued_bytes < limit_bytes;
            queued_bytes += HEADER_BYTES + frame.len();
            fits
        });
        let fit = fit.count();
        if fit == 0 {
            return None;
        }
        let answer = self.reach().send_frames(frames.take(fit), flags);
        self.out().show_queued();
        Some(answer)
    }

    /// After each turn: carries out what the host and the peer asked for, flushes, and says
    /// what comes next.
    pub fn settle(&mut self, turn: &mut Turn) -> Fate {
        self.out().now_ms = turn.now_ms;
        let mut more_to_send;
        loop {
            self.reach().merge_foreign();
            self.obey();
            // What came inside of TLS together with the peer's end is identified elsewhere first.
            let moves = matches!(self.phase, Phase::Identify) && turn.door.is_handshake();
            if self.admitted_step(turn) || !moves && self.end_of_input_step() {
                continue;
            }
            more_to_send = self.out().flush();
            if let Some(error) = self.out().error.take() {
                self.on_io_error(&error);
            }
            let fin_is_due = matches!(self.out_ref().fin, Fin::Asked | Fin::Notified);
            if fin_is_due && !matches!(self.phase, Phase::Closing(_)) {
                self.out().finish();
            }
            if !self.writable_step() {
                break;
            }
        }
        self.close_step(turn);
        self.parted_step();
        self.note_times(turn.now_ms);
        self.report(turn.loop_index);
        if self.account_memory() {
            self.fail(CloseReason::MemoryLimit);
            self.close_step(turn);
            // What it held is free for others from here on.
            self.account_memory();
        }
        match self.phase {
            Phase::Gone => Fate::Gone,
            Phase::Identify if turn.door.is_handshake() => Fate::HandOver,
            Phase::Closing(ref ending) if ending.awaits && self.looks_again() => Fate::Again,
            _ if self.wants_turn() || more_to_send => Fate::Again,
            _ => Fate::Wait,
        }
    }

    /// The host has let it in: it opens.
    fn admitted_step(&mut self, turn: &mut Turn) -> bool {
        let Phase::Admit { protocol, first_byte } = self.phase else { return false };
        if !self.requests().admitted {
            return false;
        }
        self.port.fault.strike(Site::Admit);
        let (handler, _) = self.port.handlers_for(protocol);
        self.handler = handler;
        self.open(turn, protocol, first_byte);
        // Input may have come with the first byte.
        self.held_back = !self.kept.is_empty() || self.has_opened();
        true
    }

    /// Tells that there is room again, once half of the high-water mark is left.
    fn writable_step(&mut self) -> bool {
        self.out().show_queued();
        let Some(shared) = &self.out_ref().shared else { return false };
        shared.delivery.output_has_left(shared);
        let half = self.port.rules.send_queue_limit_bytes / 2;
        // While the host consumes what came before the end, it may still answer that.
        let answers = match &self.phase {
            Phase::Open { .. } => true,
            Phase::Closing(ending) => ending.awaits,
            _ => false,
        };
        if shared.queued_bytes() > half
            || !answers
            || shared.state.is_closing()
            || !shared.wants_writable.swap(false, Ordering::SeqCst)
        {
            return false;
        }
        self.deliver(Event::Writable);
        true
    }

    // Events.

    /// Events may be begun: nothing closes, nothing pauses.
    fn may_deliver(&self) -> bool {
        let Reach { out, requests } = self.reach_ref();
        matches!(self.phase, Phase::Open { .. })
            && !requests.paused
            && requests.verdict.is_none()
            && out.shared.as_ref().is_none_or(|shared| {
                let state = &shared.state;
                let window_bytes = self.port.rules.receive_window_bytes;
                !state.is_closing()
                    && !state.is_paused()
                    && shared.delivery.may_take(window_bytes, out.is_over_mark())
            })
    }

    /// Whatever it did is done: what arrives is of no use any more.
    fn is_over(&self) -> bool {
        matches!(
            self.phase,
            Phase::Closing(_) | Phase::Parted(_) | Phase::Lingering { .. } | Phase::Gone
        )
    }

    /// Gives an event to its consumer.
    fn deliver(&mut self, event: Event<'_>) {
        let Some(handler) = self.handler.clone() else { return };
        let Some(shared) = &self.out_ref().shared else { return };
        if matches!(event, Event::Frames(_)) {
            self.port.fault.strike(Site::Deliver);
        }
        match shared.delivery.put(shared, handler, event) {
            Put::Taken => {}
            Put::Call(handler, event) => self.call(&*handler, event),
            Put::Failed(reason) => self.fail(reason),
            Put::Lost => self.lost_event(),
        }
    }

    /// Runs a callback on this thread.
    fn call(&mut self, handler: &dyn Handler, event: Event<'_>) {
        let Some(reach) = self.reach.take() else { return };
        let (reach, went_well) = current::deliver(handler, reach, event);
        self.reach = reach;
        if !went_well {
            let shared = self.out().shared.clone();
            if let Some(shared) = shared {
                let _ = shared.state.close();
            }
            let ending = self.ending(CloseReason::CallbackPanic, Party::Host);
            self.end(ending);
        }
    }

    /// A defect of ours: there is nobody here to whom an event can be given.
    pub(super) fn lost_event(&mut self) {
        self.log_lost_event();
        let ending = self.ending(CloseReason::Internal, Party::Library);
        self.end(Ending { cut: Cut::Reset, ..ending });
    }

    fn log_lost_event(&self) {
        let text = || "a defect: an event has no consumer; its connection ends".to_owned();
        self.port.log.record_with(Level::Error, "event", self.out_ref().id, text);
    }

    /// Gives a frame on its own, with its memory.
    fn deliver_large(&mut self, payload: Vec<u8>, compressed: bool) {
        let (Some(shared), Some(handler)) = (&self.out_ref().shared, &self.handler) else { return };
        let rest = shared.delivery.put_frame(shared, handler, payload, compressed);
        let Some(payload) = rest else { return };
        let span = FrameSpan { buffer: 0, compressed, start: 0, len: payload.len() };
        self.deliver(Event::Frames(Frames { buffers: [&payload, &[]], spans: &[span] }));
        drop(self.spare(payload));
    }

    /// What it has given last is with the host, and nobody says when that is done with it.
    fn looks_again(&self) -> bool {
        self.out_ref().shared.as_ref().is_some_and(|shared| shared.delivery.look_again())
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        // Still there only if a defect has kept its end from being told, or its loop was freed.
        if self.seat.is_some() && self.reach.is_some() {
            let index = self.port.accepters_index();
            self.lose_output(index);
            self.report(index);
        }
        self.let_go();
        if let Some(shared) = self.reach.as_ref().and_then(|reach| reach.out.shared.as_ref()) {
            shared.holds_no_more();
        }
    }
}
