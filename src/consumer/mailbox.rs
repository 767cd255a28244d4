//! Events that wait for a worker: one mailbox per connection, so that its events stay in order
//! and on one worker at a time, whichever it is.
//!
//! A mailbox is handed to the pool when something comes into an empty one; batches travel,
//! never single frames. What waits is bounded by `receiveWindow`: the loop does not read the
//! socket while it is used up.

use super::{Owner, Parting};
use crate::base::buffers;
use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use crate::event::{CloseInfo, Conn, Event, FrameSpan, Frames, Handler, Protocol};
use crate::status::CloseReason;
use std::collections::VecDeque;
use std::sync::Arc;

/// An event that owns what it tells of, and who is told.
pub(crate) struct Letter {
    handler: Arc<dyn Handler>,
    what: Notice,
}

enum Notice {
    Admit {
        protocol: Protocol,
        first_byte: u8,
    },
    Opened {
        protocol: Protocol,
        first_byte: u8,
    },
    Frames {
        bytes: Vec<u8>,
        spans: Vec<FrameSpan>,
    },
    Data(Vec<u8>),
    End,
    Writable,
    Closed {
        info: Box<CloseInfo>,
        /// Dropped with the letter, when it has been read.
        _parting: Parting,
    },
}

impl Letter {
    /// Copies what is borrowed, for which there may be no memory.
    pub fn of(handler: Arc<dyn Handler>, event: Event<'_>) -> Result<Letter, CloseReason> {
        let what = match event {
            Event::Admit { protocol, first_byte } => Notice::Admit { protocol, first_byte },
            Event::Opened { protocol, first_byte } => Notice::Opened { protocol, first_byte },
            Event::Frames(frames) => {
                let total = frames.iter().map(|frame| frame.data.len()).sum();
                let mut bytes = buffers::for_travel(total)?;
                let mut spans = Vec::with_capacity(frames.len());
                for frame in frames.iter() {
                    let (start, len) = (bytes.len(), frame.data.len());
                    spans.push(FrameSpan { buffer: 0, compressed: frame.compressed, start, len });
                    bytes.extend_from_slice(frame.data);
                }
                Notice::Frames { bytes, spans }
            }
            Event::Data(data) => {
                let mut bytes = buffers::for_travel(data.len())?;
                bytes.extend_from_slice(data);
                Notice::Data(bytes)
            }
            Event::End => Notice::End,
            Event::Writable => Notice::Writable,
            // A defect of ours, caught where it happens: the end comes with a parting.
            Event::Closed(_) => unreachable!("the end is made by Letter::closed"),
        };
        Ok(Letter { handler, what })
    }

    /// A frame on its own, in its own memory.
    pub fn frame(handler: Arc<dyn Handler>, bytes: Vec<u8>, compressed: bool) -> Letter {
        let span = FrameSpan { buffer: 0, compressed, start: 0, len: bytes.len() };
        Letter { handler, what: Notice::Frames { bytes, spans: vec![span] } }
    }

    /// The last one of a connection.
    pub fn closed(handler: Arc<dyn Handler>, info: CloseInfo, parting: Parting) -> Letter {
        Letter { handler, what: Notice::Closed { info: Box::new(info), _parting: parting } }
    }

    fn is_closed(&self) -> bool {
        matches!(self.what, Notice::Closed { .. })
    }

    fn is_beginning(&self) -> bool {
        matches!(self.what, Notice::Admit { .. } | Notice::Opened { .. })
    }

    fn is_writable(&self) -> bool {
        matches!(self.what, Notice::Writable)
    }

    fn is_input(&self) -> bool {
        matches!(self.what, Notice::Frames { .. } | Notice::Data(_) | Notice::End)
    }

    /// What it counts in the window: a peer may send its bytes one by one.
    pub fn bytes(&self) -> usize {
        match &self.what {
            Notice::Frames { bytes, spans } => {
                bytes.len() + size_of_val(&spans[..]) + size_of::<Letter>()
            }
            Notice::Data(bytes) => bytes.len() + size_of::<Letter>(),
            _ => 0,
        }
    }

    /// Tells it. What it holds is given back after that.
    pub fn read(self, conn: Conn) {
        // In this order: the handler goes first after a panic too.
        let Letter { what, handler } = self;
        let event = match &what {
            Notice::Admit { protocol, first_byte } => {
                Event::Admit { protocol: *protocol, first_byte: *first_byte }
            }
            Notice::Opened { protocol, first_byte } => {
                Event::Opened { protocol: *protocol, first_byte: *first_byte }
            }
            Notice::Frames { bytes, spans } => {
                Event::Frames(Frames { buffers: [bytes, &[]], spans })
            }
            Notice::Data(bytes) => Event::Data(bytes),
            Notice::End => Event::End,
            Notice::Writable => Event::Writable,
            Notice::Closed { info, .. } => Event::Closed(info),
        };
        handler.on_event(conn, event);
        // Before its place in the port is given back, with the parting: who waits for that may
        // rely on the host's data being released.
        drop(handler);
        match what {
            Notice::Frames { bytes, .. } | Notice::Data(bytes) => buffers::has_arrived(bytes),
            _ => drop(what),
        }
    }
}

impl Letters {
    /// Keeps in mind who knows of the connection, and addresses its end.
    fn noted(&mut self, mut letter: Letter) -> Letter {
        match letter.what {
            Notice::Admit { .. } => self.asked = Some(letter.handler.clone()),
            // Not the last owner: the port has it as long as there are connections.
            Notice::Opened { .. } => self.asked = None,
            Notice::Closed { .. } => {
                if let Some(asked) = self.asked.take() {
                    letter.handler = asked;
                }
            }
            _ => {}
        }
        letter
    }
}

/// What one connection has to tell.
#[derive(Default)]
pub(crate) struct Mailbox {
    state: Mutex<Letters>,
    /// Bytes that wait or are being told.
    pub waiting_bytes: AtomicUsize,
    /// The loop waits until everything here has been consumed.
    is_awaited: AtomicBool,
    /// Letters wait for the queue of output to fall below its mark.
    awaits_output: AtomicBool,
}

#[derive(Default)]
struct Letters {
    letters: VecDeque<Letter>,
    /// It is on its way to a worker, or at one.
    is_out: bool,
    /// Who has been asked for admission, until it is told of the opening.
    asked: Option<Arc<dyn Handler>>,
    /// Its beginning was left out: nobody, or only who was asked, is told of its end.
    beginning_left_out: bool,
    /// A worker tells the host the peer's end, or has.
    end_is_read: bool,
}

impl Mailbox {
    /// Leaves an event for the workers.
    pub fn post(&self, owner: &Arc<impl Owner>, letter: Letter) {
        if self.put(letter) {
            owner.goes_to_workers();
        }
    }

    /// The host reads on: what waits behind the pause goes out.
    pub fn resume(&self, owner: &Arc<impl Owner>) {
        if self.is_to_go_out_again() {
            owner.goes_to_workers();
        }
    }

    /// Output has left: what was held back goes out.
    pub fn release(&self, owner: &Arc<impl Owner>) {
        if !owner.is_over_mark() && self.awaits_output.swap(false, Ordering::SeqCst) {
            self.resume(owner);
        }
    }

    /// Input is held back: by a pause of the host, or as above the high-water mark no callback runs
    /// that would send more.
    fn holds_input(&self, owner: &impl Owner) -> bool {
        if owner.is_paused() {
            return true;
        }
        if !owner.is_over_mark() {
            return false;
        }
        // Announced first, looked at again after: the loop does it the other way round.
        self.awaits_output.store(true, Ordering::SeqCst);
        owner.is_over_mark()
    }

    /// Everything has been consumed, as far as this can be told from here.
    pub fn is_consumed(&self) -> bool {
        // Announced first, looked at after: the worker does it the other way round.
        self.is_awaited.store(true, Ordering::SeqCst);
        self.is_idle()
    }

    /// So many bytes are with the host now.
    pub fn consumed(&self, owner: &Arc<impl Owner>, bytes: usize) {
        if bytes > 0 {
            let before = self.waiting_bytes.fetch_sub(bytes, Ordering::SeqCst);
            if owner.has_room_again(before, bytes) {
                owner.touch();
            }
        }
    }

    /// A worker gives it back, empty: the loop may wait for the last answers before it ends the
    /// connection.
    pub fn is_given_back(&self, owner: &Arc<impl Owner>) {
        if self.is_awaited.swap(false, Ordering::SeqCst) {
            owner.touch();
        }
    }

    /// Puts a letter in. True: the mailbox is to be handed to the pool.
    fn put(&self, letter: Letter) -> bool {
        self.waiting_bytes.fetch_add(letter.bytes(), Ordering::SeqCst);
        let mut state = self.state.lock();
        if letter.is_writable() && state.letters.back().is_some_and(Letter::is_writable) {
            // Told once: while a callback blocks, others may send and be refused any number of times.
            return false;
        }
        state.letters.push_back(letter);
        !std::mem::replace(&mut state.is_out, true)
    }

    /// After a pause. True: the mailbox is to be handed to the pool.
    fn is_to_go_out_again(&self) -> bool {
        let mut state = self.state.lock();
        !state.letters.is_empty() && !std::mem::replace(&mut state.is_out, true)
    }

    /// Letters for which there is room without more memory.
    #[cfg(test)]
    pub fn reserved(&self) -> usize {
        self.state.lock().letters.capacity()
    }

    /// Nothing waits and nothing is being told.
    fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.letters.is_empty() && !state.is_out
    }

    /// The host has been told the peer's end.
    pub fn has_shown_end(&self) -> bool {
        self.state.lock().end_is_read
    }

    /// The next letter for the worker that has the mailbox; `None`: it is given back. What the
    /// host does not want any more is left out: `dropped` gets it, to be dropped by the worker.
    pub fn take(&self, owner: &impl Owner, dropped: &mut Vec<Letter>) -> Option<Letter> {
        let mut state = self.state.lock();
        let ends = state.letters.back().is_some_and(Letter::is_closed);
        while let Some(letter) = state.letters.pop_front() {
            // Each is asked once: the host may change its mind at any moment.
            let is_unwanted = match letter.what {
                Notice::Closed { .. } => state.beginning_left_out && state.asked.is_none(),
                _ => {
                    owner.is_muted()
                        // It was paused, and will not live to see it resumed.
                        || letter.is_input() && ends && owner.is_paused()
                }
            };
            if is_unwanted {
                state.beginning_left_out |= letter.is_beginning();
                dropped.push(letter);
            } else if letter.is_input() && !ends && self.holds_input(owner) {
                state.letters.push_front(letter);
                // A pause holds back input only: two hosts that each pause one connection until
                // another one is writable would otherwise wait for ever.
                let writable = state.letters.iter().position(Letter::is_writable);
                if let Some(letter) = writable.and_then(|at| state.letters.remove(at)) {
                    return Some(letter);
                }
                break;
            } else {
                state.end_is_read |= matches!(letter.what, Notice::End);
                return Some(state.noted(letter));
            }
        }
        if state.letters.is_empty() {
            // An idle connection holds no memory for it.
            state.letters = VecDeque::new();
        }
        state.is_out = false;
        None
    }
}
