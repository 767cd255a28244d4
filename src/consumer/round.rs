//! Poll: a thread of the host's drives a loop and takes its events as an array. The third
//! consumer, for hosts whose own threads do the work: a virtual machine, an event loop.
//!
//! A round begins when the host polls and has taken all events of the round before. What an
//! event points to lies in the loop's read buffer, or in buffers that are held until the next
//! round; so several connections share the read buffer, and a round ends when it, or the host's
//! array, is full, or when a megabyte is held.

use super::Parting;
use crate::base::buffers;
use crate::base::log::OwnedRecord;
use crate::event::{CloseInfo, Conn, Event, Handler, Protocol};
use std::cell::RefCell;
use std::collections::VecDeque;
use std::mem::ManuallyDrop;
use std::sync::Arc;

/// Where bytes lie that an event tells of: valid until the next poll of the same loop.
#[derive(Clone, Copy, Debug)]
pub struct Region {
    /// Of the first byte; its provenance is exposed.
    pub address: usize,
    /// In bytes.
    pub len: usize,
}

impl Region {
    fn of(bytes: &[u8]) -> Region {
        Region { address: bytes.as_ptr().expose_provenance(), len: bytes.len() }
    }
}

/// One frame of a round.
#[derive(Clone, Copy, Debug)]
pub struct PolledFrame {
    /// The payload, inflated if it came compressed.
    pub data: Region,
    /// It came compressed.
    pub compressed: bool,
}

/// What happened.
#[derive(Debug)]
pub enum What {
    /// The host is asked.
    Admit {
        /// What the first byte says.
        protocol: Protocol,
        /// The first byte itself.
        first_byte: u8,
    },
    /// The connection may be used.
    Opened {
        /// What the first byte says.
        protocol: Protocol,
        /// The first byte itself.
        first_byte: u8,
    },
    /// Whole frames: so many of the frames of the round, from the first on.
    Frames {
        /// Index of the first.
        first: usize,
        /// How many, at least 1.
        count: usize,
    },
    /// Bytes of a stream, at least one.
    Data(Region),
    /// The peer will send nothing more.
    End,
    /// The send queue has room again.
    Writable,
    /// The end.
    Closed(Box<CloseInfo>),
    /// A line of the log; of no connection's handler.
    Log(OwnedRecord),
}

/// One event.
pub struct PolledEvent {
    /// The connection.
    pub conn: Conn,
    /// Who is told; nobody calls it. `None` for a line of the log.
    pub handler: Option<Arc<dyn Handler>>,
    /// What happened.
    pub what: What,
}

/// What the rounds of one loop gather.
#[derive(Default)]
pub(crate) struct Round {
    events: VecDeque<PolledEvent>,
    frames: Vec<PolledFrame>,
    /// Memory that events point to.
    held: Vec<Vec<u8>>,
    /// What these buffers take.
    held_bytes: usize,
    /// Of connections whose end the host is told in this round, in the order of these events.
    partings: VecDeque<Parting>,
    /// How many of these events the host was given.
    told_ends: usize,
    round: u64,
    /// Something has been added that points to input, since this was last asked.
    points: bool,
}

impl Round {
    /// The host polls again: what it was given is consumed.
    pub fn begin_round(&mut self) {
        self.round += 1;
        self.frames.clear();
        self.held.drain(..).for_each(buffers::give);
        self.held_bytes = 0;
        self.let_go();
    }

    /// The host polls again, in whatever round: connections whose end it was told are gone.
    pub fn let_go(&mut self) {
        let gone = std::mem::take(&mut self.told_ends);
        // Their destructors are the host's, and may poll, in vain.
        drop(self.partings.drain(..gone));
        if self.partings.is_empty() {
            self.partings = VecDeque::new();
        }
    }

    /// The next event for the host.
    pub fn next(&mut self) -> Option<PolledEvent> {
        let event = self.events.pop_front()?;
        self.told_ends += usize::from(matches!(event.what, What::Closed(_)));
        Some(event)
    }

    /// The frames that the events of this round tell of.
    pub fn frames(&self) -> &[PolledFrame] {
        &self.frames
    }

    pub fn len(&self) -> usize {
        self.events.len()
    }

    pub fn log(&mut self, record: OwnedRecord) {
        let conn = Conn::from_raw(record.conn);
        self.events.push_back(PolledEvent { conn, handler: None, what: What::Log(record) });
    }

    fn push(&mut self, conn: Conn, handler: Arc<dyn Handler>, event: &Event<'_>) {
        let what = match event {
            Event::Admit { protocol, first_byte } => {
                What::Admit { protocol: *protocol, first_byte: *first_byte }
            }
            Event::Opened { protocol, first_byte } => {
                What::Opened { protocol: *protocol, first_byte: *first_byte }
            }
            Event::Frames(frames) => {
                self.points = true;
                let (first, count) = (self.frames.len(), frames.len());
                self.frames.extend(frames.iter().map(|frame| PolledFrame {
                    data: Region::of(frame.data),
                    compressed: frame.compressed,
                }));
                What::Frames { first, count }
            }
            Event::Data(data) => {
                self.points = true;
                What::Data(Region::of(data))
            }
            Event::End => What::End,
            Event::Writable => What::Writable,
            Event::Closed(info) => What::Closed(Box::new((*info).clone())),
        };
        self.events.push_back(PolledEvent { conn, handler: Some(handler), what });
    }
}

thread_local! {
    /// Of the loop that the calling thread polls. Without a destructor, so that a thread may poll
    /// in its last destructors too; `uninstall` takes back what `install` puts in.
    static SINK: RefCell<ManuallyDrop<Option<Box<Round>>>> =
        const { RefCell::new(ManuallyDrop::new(None)) };
}

fn with_sink<R>(f: impl FnOnce(&mut Round) -> R) -> Option<R> {
    SINK.with_borrow_mut(|sink| sink.as_deref_mut().map(f))
}

/// From here on the turns of the calling thread's loop tell this sink.
pub(crate) fn install(sink: Box<Round>) {
    // A defect may have left one behind.
    drop(ManuallyDrop::into_inner(SINK.replace(ManuallyDrop::new(Some(sink)))));
}

/// Gives it back.
pub(crate) fn uninstall() -> Box<Round> {
    ManuallyDrop::into_inner(SINK.take()).unwrap_or_default()
}

/// Adds an event to the round. False: the calling thread has none.
#[must_use]
pub(crate) fn push(conn: Conn, handler: Arc<dyn Handler>, event: &Event<'_>) -> bool {
    with_sink(|sink| sink.push(conn, handler, event)).is_some()
}

/// Adds the last event of a connection, whose handle stays valid until the next round. False: the
/// calling thread has none.
#[must_use]
pub(crate) fn push_closed(
    conn: Conn,
    handler: Arc<dyn Handler>,
    info: &CloseInfo,
    parting: Parting,
) -> bool {
    // Without a sink it is given back here.
    let mut parting = Some(parting);
    with_sink(|sink| {
        sink.push(conn, handler, &Event::Closed(info));
        sink.partings.extend(parting.take());
    })
    .is_some()
}

/// The present round; 0 if the calling thread polls no loop.
pub(crate) fn number() -> u64 {
    with_sink(|sink| sink.round).unwrap_or(0)
}

/// Events of the present round.
pub(crate) fn events() -> usize {
    with_sink(|sink| sink.len()).unwrap_or(0)
}

/// What is held for the present round in buffers of its own, in bytes.
pub(crate) fn held_bytes() -> usize {
    with_sink(|sink| sink.held_bytes).unwrap_or(0)
}

/// Adds a line of the log.
pub(crate) fn log(record: OwnedRecord) {
    with_sink(|sink| sink.log(record));
}

/// True if something has been added that points to input, since this was last asked.
pub(crate) fn took_pointers() -> bool {
    with_sink(|sink| std::mem::take(&mut sink.points)).unwrap_or(false)
}

/// Gives a buffer back for further use, or another one if events may point into it.
pub(crate) fn spare(buffer: Vec<u8>) -> Vec<u8> {
    let mut buffer = Some(buffer);
    with_sink(|sink| {
        if sink.points {
            sink.held_bytes += buffer.as_ref().map_or(0, Vec::capacity);
            sink.held.extend(buffer.take());
        }
    });
    buffer.unwrap_or_else(buffers::take)
}

/// An event of a simulated world's round, with a copy of what it points to.
#[cfg(any(test, fuzzing))]
pub(crate) struct Told {
    pub event: PolledEvent,
    pub frames: Vec<(Vec<u8>, bool)>,
    pub data: Vec<u8>,
}

#[cfg(any(test, fuzzing))]
impl Round {
    /// The next events, as the host would look at them.
    pub fn told(&mut self, max_events: usize) -> Vec<Told> {
        let count = max_events.min(self.events.len());
        let events: Vec<_> = (0..count).filter_map(|_| self.next()).collect();
        let tell = |event: PolledEvent| {
            let (mut frames, mut data) = (Vec::new(), Vec::new());
            match &event.what {
                What::Frames { first, count } => {
                    let told = &self.frames[*first..first + count];
                    frames.extend(told.iter().map(|frame| (copy(frame.data), frame.compressed)));
                }
                What::Data(place) => data = copy(*place),
                _ => {}
            }
            Told { event, frames, data }
        };
        events.into_iter().map(tell).collect()
    }
}

#[cfg(any(test, fuzzing))]
#[allow(unsafe_code)]
fn copy(place: Region) -> Vec<u8> {
    let pointer = std::ptr::with_exposed_provenance::<u8>(place.address);
    // SAFETY: the round that the place is from has not been followed by another.
    unsafe { std::slice::from_raw_parts(pointer, place.len) }.to_vec()
}
