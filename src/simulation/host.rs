//! The host: notes what it is told, and does what chance says, inside callbacks and from
//! "other threads" (between the turns of the loops).

use super::wire::LOOP;
use crate::base::random::Random;
use crate::conn::handles::{Conn, SendFlags};
use crate::consumer::round::{Told as Polled, What};
use crate::event::{CloseInfo, Event, FrameSpan, Frames, Handler, Protocol};
use crate::reactor::Loop;
use crate::runtime::Consumer;
use crate::status::Status;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

/// Everything the host knows of one connection.
pub(super) struct Known {
    pub conn: Conn,
    pub peer: SocketAddr,
    pub told: Vec<Told>,
    /// Payloads of frames delivered, or one piece with the stream so far.
    pub frames: Vec<Vec<u8>>,
    pub stream: Vec<u8>,
    /// Payloads that sends have taken, in order.
    pub sent: Vec<Vec<u8>>,
    pub sent_stream: Vec<u8>,
    pub did: Did,
    pub closed: Option<CloseInfo>,
}

/// The kinds of events, for their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    Admit,
    Opened(Protocol),
    Input,
    Writable,
    End,
    Closed,
}

/// What the host did that explains an end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Did {
    pub admit: bool,
    pub close: bool,
    pub abort: bool,
    pub refuse: bool,
    pub refusal: usize,
    pub deadline: bool,
    pub paused: bool,
    pub corked: bool,
    pub shutdown: bool,
    pub saw_would_block: bool,
    pub panicked: bool,
}

pub(super) struct Host {
    state: Mutex<State>,
    /// Admission is asked for.
    pub asks: bool,
    wants_end: bool,
    pub wants_inbox: bool,
    /// A panic of the host where it polls is none of our business.
    may_panic: bool,
    never_decides: bool,
    /// It only echoes: then the end is fully determined.
    pub is_gentle: bool,
    pub attached: AtomicUsize,
    pub dropped: Arc<AtomicUsize>,
}

pub(super) struct State {
    pub random: Random,
    pub known: Vec<Known>,
}

/// Counts its own drop.
struct Attached(Arc<AtomicUsize>);

impl Drop for Attached {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Known {
    /// It may have opened: nobody was asked, or the host has let it in.
    pub fn was_admitted(&self) -> bool {
        self.did.admit || !self.told.contains(&Told::Admit)
    }

    pub fn opened(&self) -> Option<Protocol> {
        self.told.iter().find_map(|told| match told {
            Told::Opened(protocol) => Some(*protocol),
            _ => None,
        })
    }
}

impl Host {
    pub fn new(random: &mut Random, consumer: Consumer) -> Host {
        Host {
            asks: random.one_in(3),
            wants_end: random.one_in(3),
            wants_inbox: random.one_in(4),
            may_panic: consumer != Consumer::Poll,
            never_decides: random.one_in(8),
            is_gentle: random.one_in(2),
            state: Mutex::new(State { random: random.fork(), known: Vec::new() }),
            attached: AtomicUsize::new(0),
            dropped: Arc::default(),
        }
    }

    pub fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    /// What another thread might do now.
    pub fn act_from_elsewhere(&self) {
        let mut state = self.state();
        let State { random, known } = &mut *state;
        let open: Vec<usize> = (0..known.len()).filter(|&i| known[i].closed.is_none()).collect();
        if open.is_empty() {
            return;
        }
        let known = &mut known[*random.pick(&open)];
        if known.told == [Told::Admit] && !known.did.refuse && !known.did.close {
            self.decide(random, known);
        } else {
            self.act(random, known);
        }
    }

    /// Takes what waits in inboxes.
    pub fn receive(&self) {
        if !self.wants_inbox {
            return;
        }
        let mut state = self.state();
        let State { random, known } = &mut *state;
        for known in known.iter_mut().filter(|known| known.closed.is_none()) {
            let Some(protocol) = known.opened() else { continue };
            while !random.one_in(8) {
                let answer = if protocol.is_framed() {
                    let frame = known.conn.recv_frame(Some(0));
                    frame.map(|(data, _)| known.frames.push(data))
                } else {
                    let mut buffer = [0; 1000];
                    let got = known.conn.recv_bytes(&mut buffer, Some(0));
                    got.map(|got| known.stream.extend_from_slice(&buffer[..got]))
                };
                match answer {
                    Ok(()) if random.one_in(3) => self.send(random, known),
                    Ok(()) => {}
                    Err(status) => {
                        if status == Status::Closed && known.told.contains(&Told::End) {
                            known.did.close |= known.conn.close(7).is_ok();
                        }
                        break;
                    }
                }
            }
        }
    }

    fn decide(&self, random: &mut Random, known: &mut Known) {
        if self.never_decides && !self.is_gentle {
            return;
        }
        if self.is_gentle || !random.one_in(4) {
            known.did.admit |= known.conn.admit().is_ok();
        } else if random.one_in(2) {
            let bytes = random.bytes(20);
            if known.conn.refuse(&bytes).is_ok() {
                known.did.refuse = true;
                known.did.refusal = bytes.len();
            }
        } else if !random.one_in(3) {
            known.did.close |= known.conn.close(7).is_ok();
        }
    }

    /// Something with an open connection.
    fn act(&self, random: &mut Random, known: &mut Known) {
        let conn = known.conn;
        match random.below(if self.is_gentle { 5 } else { 16 }) {
            0..=2 => self.send(random, known),
            3 => {
                if conn.set_user_data(Some(Box::new(Attached(self.dropped.clone())))).is_ok() {
                    self.attached.fetch_add(1, Ordering::SeqCst);
                } else {
                    // Refused data is dropped at once, and counted too.
                    self.attached.fetch_add(1, Ordering::SeqCst);
                }
            }
            4 => {
                let _ = conn.info();
                let _ = conn.with_user_data(|_| ());
            }
            5 => known.did.paused |= conn.pause_reading().is_ok(),
            6 | 7 => {
                if conn.resume_reading().is_ok() {
                    known.did.paused = false;
                }
            }
            8 => known.did.corked |= conn.cork().is_ok(),
            9 | 10 => {
                let _ = conn.uncork();
                let _ = conn.uncork();
                known.did.corked = false;
            }
            11 => known.did.close |= conn.close(7).is_ok(),
            12 => known.did.abort |= conn.abort(9).is_ok(),
            13 => known.did.shutdown |= conn.shutdown().is_ok(),
            14 => known.did.deadline |= conn.set_deadline(Some(random.next() % 5_000)).is_ok(),
            _ => {
                let _ = conn.set_deadline(None);
            }
        }
    }

    /// Sends something and notes what was taken.
    fn send(&self, random: &mut Random, known: &mut Known) {
        let is_framed =
            known.told.iter().any(|told| matches!(told, Told::Opened(p) if p.is_framed()));
        let count = 1 + random.size(20);
        let max = *random.pick(&[10, 700, 20_000]);
        let payloads: Vec<Vec<u8>> = (0..count)
            .map(|_| {
                let len = random.size(max);
                random.bytes(len)
            })
            .collect();
        if !is_framed {
            let bytes = &payloads[0];
            match known.conn.send_bytes(bytes) {
                Ok(()) => known.sent_stream.extend_from_slice(bytes),
                Err(status) => known.did.saw_would_block |= status == Status::WouldBlock,
            }
        } else if random.one_in(4) {
            let owned = Box::new(payloads[0].clone());
            match known.conn.send_frame_owned(owned, SendFlags::default()) {
                Ok(()) => known.sent.push(payloads[0].clone()),
                Err(status) => known.did.saw_would_block |= status == Status::WouldBlock,
            }
        } else {
            let flags = SendFlags { no_compress: random.one_in(3) };
            let frames = payloads.iter().map(Vec::as_slice);
            let (taken, result) = known.conn.send_frames(frames, flags);
            known.did.saw_would_block |= result == Err(Status::WouldBlock);
            known.sent.extend(payloads.into_iter().take(taken));
        }
    }
}

impl Host {
    /// Sends as the thread does that polls, see `PollLoop::send_frames`.
    pub fn sends_between_rounds(&self, reactor: &mut Loop, conn: Conn, payloads: Vec<Vec<u8>>) {
        let mut state = self.state();
        let Some(known) = state.known.iter_mut().find(|known| known.conn == conn) else { return };
        let frames = payloads.iter().map(Vec::as_slice);
        let (taken, result) = reactor
            .send_frames(conn, frames.clone(), SendFlags::default())
            .unwrap_or_else(|| conn.send_frames(frames, SendFlags::default()));
        known.did.saw_would_block |= result == Err(Status::WouldBlock);
        known.sent.extend(payloads.into_iter().take(taken));
    }

    /// The same event, from a poll.
    pub fn is_told(&self, told: Polled) {
        let Polled { event, frames, data } = told;
        let spans: Vec<_> = frames
            .iter()
            .scan(0, |end, (frame, compressed)| {
                let start = *end;
                *end += frame.len();
                Some(FrameSpan { buffer: 0, compressed: *compressed, start, len: frame.len() })
            })
            .collect();
        let all: Vec<u8> = frames.into_iter().flat_map(|(frame, _)| frame).collect();
        let event_of = match &event.what {
            What::Admit { protocol, first_byte } => {
                Event::Admit { protocol: *protocol, first_byte: *first_byte }
            }
            What::Opened { protocol, first_byte } => {
                Event::Opened { protocol: *protocol, first_byte: *first_byte }
            }
            What::Frames { .. } => Event::Frames(Frames { buffers: [&all, &[]], spans: &spans }),
            What::Data(_) => Event::Data(&data),
            What::End => Event::End,
            What::Writable => Event::Writable,
            What::Closed(info) => Event::Closed(info),
            What::Log(_) => return,
        };
        self.on_event(event.conn, event_of);
    }
}

impl Handler for Host {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        // A world has one loop for handshakes, its first.
        assert_ne!(LOOP.get(), 0, "an event on a handshake loop");
        let mut state = self.state();
        let State { random, known } = &mut *state;
        let at = known.iter().position(|known| known.conn == conn).unwrap_or_else(|| {
            let peer = conn.info().expect("a connection that is shown is known").peer;
            known.push(Known {
                conn,
                peer,
                told: Vec::new(),
                frames: Vec::new(),
                stream: Vec::new(),
                sent: Vec::new(),
                sent_stream: Vec::new(),
                did: Did::default(),
                closed: None,
            });
            known.len() - 1
        });
        let known = &mut known[at];
        known.told.push(match &event {
            Event::Admit { .. } => Told::Admit,
            Event::Opened { protocol, .. } => Told::Opened(*protocol),
            Event::Frames(_) | Event::Data(_) => Told::Input,
            Event::End => Told::End,
            Event::Writable => Told::Writable,
            Event::Closed(_) => Told::Closed,
        });
        match event {
            Event::Admit { .. } => {
                if random.one_in(2) {
                    self.decide(random, known);
                }
            }
            Event::Frames(frames) => {
                let first = known.frames.len();
                known.frames.extend(frames.iter().map(|frame| frame.data.to_vec()));
                if random.one_in(2) {
                    let (taken, _) =
                        conn.send_frames(frames.iter().map(|f| f.data), SendFlags::default());
                    let echoed = known.frames[first..first + taken].to_vec();
                    known.sent.extend(echoed);
                }
            }
            Event::Data(data) => {
                known.stream.extend_from_slice(data);
                if random.one_in(2) && conn.send_bytes(data).is_ok() {
                    known.sent_stream.extend_from_slice(data);
                }
            }
            Event::End => {
                // Otherwise nobody would ever end it; an inbox is emptied first.
                if !self.wants_inbox {
                    known.did.close |= conn.close(7).is_ok();
                }
            }
            Event::Closed(info) => {
                assert!(conn.info().is_ok(), "the handle is valid until closed has returned");
                assert_eq!(conn.send_frame(b"x", SendFlags::default()), Err(Status::Closed));
                known.closed = Some(info.clone());
            }
            Event::Opened { .. } | Event::Writable => {}
        }
        if known.closed.is_none() && random.one_in(6) {
            self.act(random, known);
        }
        if self.may_panic && !self.is_gentle && known.closed.is_none() && random.one_in(60) {
            known.did.panicked = true;
            drop(state);
            // A panic without the message of the panic hook.
            std::panic::resume_unwind(Box::new("the host panics"));
        }
    }

    fn wants_end(&self) -> bool {
        self.wants_end
    }

    fn wants_inbox(&self) -> bool {
        self.wants_inbox
    }
}
