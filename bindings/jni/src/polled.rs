//! Polled: a loop that a thread of Java's drives, and the records that tell what happened.
//!
//! Two direct buffers of Java's belong to a loop. Sockets are read into the one; the other holds
//! what a poll tells, in this order, numbers in the machine's byte order:
//!
//! ```text
//! EventRecord × records
//! Entry × entries
//! the rest: facts of connections, texts, payloads from elsewhere
//! ```
//!
//! A record of frames or data has `count` entries from `first` on. An entry's offset counts in
//! the read buffer, or with [`entry_flag::HERE`] in this one; with [`entry_flag::ELSEWHERE`] the
//! payload is copied by `fetch`. `extra` is an offset in this buffer where a kind has more to say.
//! All of it is valid until the next poll.

use crate::numbers::{CloseRecord, Entry, EventRecord, LogRecord, entry_flag, event_kind};
use jni::objects::JByteBuffer;
use jni::refs::Global;
use nativeport::event::{CloseInfo, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::log::OwnedRecord;
use nativeport::polling::{PollLoop, PolledEvent, PolledFrame, Region, What};
use nativeport::runtime::Runtime;
use nativeport::status::{Error, Status};
use parking_lot::{Mutex, RwLock};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ptr::{copy_nonoverlapping, with_exposed_provenance};
use std::sync::Arc;

/// The least that must be left for the rest, in bytes: the facts of one connection and a text.
pub const REST: usize = 65536;

/// Payloads up to this size are copied behind the records, which saves Java a call, in bytes.
const COPIED: usize = 4096;
/// The longest text that is told, in bytes.
const TEXT: usize = 4096;
/// The facts of a connection are never longer, in bytes: names of TLS are short, and a server
/// name has 255 bytes at most.
const FACTS: usize = 2048;

/// Memory of a direct buffer.
#[derive(Clone, Copy)]
pub struct Memory {
    /// Of its first byte.
    pub pointer: *mut u8,
    /// In bytes.
    pub len: usize,
}

// SAFETY: whoever makes one keeps the buffer, and Java only reads it between polls.
unsafe impl Send for Memory {}
// SAFETY: a shared one is two numbers; the bytes are reached through an exclusive one only.
unsafe impl Sync for Memory {}

impl AsMut<[u8]> for Memory {
    fn as_mut(&mut self) -> &mut [u8] {
        // SAFETY: `Polled` keeps the buffer until its loop has ended; it holds bytes, whatever
        // they are.
        unsafe { std::slice::from_raw_parts_mut(self.pointer, self.len) }
    }
}

/// A loop and its buffers.
pub struct Polled {
    poll: Arc<PollLoop>,
    /// Held while somebody polls.
    polling: Mutex<()>,
    told: RwLock<Told>,
    records: usize,
    /// Keep the buffers from being collected.
    _buffers: [Global<JByteBuffer<'static>>; 2],
}

/// What was polled, and how much of it has been told.
struct Told {
    input: Memory,
    output: Memory,
    entries: usize,
    /// Events that did not fit into what the last poll told.
    waiting: VecDeque<PolledEvent>,
    /// What [`What::Frames`] counts in.
    frames: Vec<PolledFrame>,
    /// Those of the present entries.
    places: Vec<Region>,
    /// Where the rest has room, an offset.
    free: usize,
}

impl Polled {
    /// Makes one more loop of a runtime. `output` has room for that many records and entries and
    /// [`REST`] bytes.
    pub fn new(
        runtime: &Runtime,
        memory: [Memory; 2],
        buffers: [Global<JByteBuffer<'static>>; 2],
        records: usize,
        entries: usize,
    ) -> Result<Polled, Error> {
        let [input, output] = memory;
        let needed = records
            .checked_mul(EventRecord::BYTES)
            .and_then(|bytes| bytes.checked_add(entries.checked_mul(Entry::BYTES)?))
            .and_then(|bytes| bytes.checked_add(REST));
        if records == 0 || entries == 0 || needed.is_none_or(|needed| needed > output.len) {
            return Err(Error::new(Status::Argument, "the buffer of records is too small"));
        }
        if input.len < nativeport::capi::poll::NP_LOOP_BUFFER_MIN_SIZE
            || i32::try_from(input.len).is_err()
            || i32::try_from(output.len).is_err()
        {
            return Err(Error::new(Status::Argument, "this is no size for a buffer of a loop"));
        }
        let poll = PollLoop::new(runtime, Box::new(input))?;
        let told = RwLock::new(Told {
            input,
            output,
            entries,
            waiting: VecDeque::new(),
            frames: Vec::new(),
            places: Vec::new(),
            free: 0,
        });
        Ok(Polled { poll, polling: Mutex::new(()), told, records, _buffers: buffers })
    }

    /// Waits for events, at most so many milliseconds (less than 0: no limit), and gives how many
    /// records tell of them.
    pub fn poll(&self, timeout_ms: i64) -> Result<usize, Status> {
        let _one_at_a_time = self.polling.try_lock().ok_or(Status::State)?;
        // Those who send what the last poll told are soon done.
        let told = &mut *self.told.write();
        if told.waiting.is_empty() {
            told.places.clear();
            told.frames.clear();
            self.poll.poll(self.records, u64::try_from(timeout_ms).ok(), |mut batch| {
                told.waiting.extend(batch.by_ref());
                told.frames.extend_from_slice(batch.frames());
            })?;
        }
        Ok(told.tell(self.records))
    }

    /// Lets a poll return early, or the next one.
    pub fn wake(&self) {
        self.poll.wake();
    }

    /// Whether it has ended or was never used: then it is free to go.
    pub fn retire(&self) -> Result<(), Error> {
        self.poll.retire()
    }

    /// Shows the payload of an entry of the last poll.
    pub fn with_payload<R>(
        &self,
        entry: i32,
        f: impl FnOnce(*const u8, usize) -> Result<R, Status>,
    ) -> Result<R, Status> {
        let told = self.told.try_read().ok_or(Status::State)?;
        let place = usize::try_from(entry).ok().and_then(|entry| told.places.get(entry));
        let place = place.ok_or(Status::NotFound)?;
        // Valid while the lock is held: the next poll needs it.
        f(with_exposed_provenance(place.address), place.len)
    }

    /// Sends payloads of the last poll as frames, and gives how many were taken.
    pub fn send(
        &self,
        conn: Conn,
        first: i32,
        count: i32,
        flags: SendFlags,
    ) -> Result<usize, Status> {
        let told = self.told.try_read().ok_or(Status::State)?;
        let (first, count) = (usize::try_from(first), usize::try_from(count));
        let range = first.ok().zip(count.ok());
        let range = range.and_then(|(first, count)| Some(first..first.checked_add(count)?));
        let places = range.and_then(|range| told.places.get(range)).ok_or(Status::NotFound)?;
        let payloads = places.iter().map(|place| match place.len {
            0 => &[][..],
            // SAFETY: of this round, which cannot end while the lock is held.
            len => unsafe {
                std::slice::from_raw_parts(with_exposed_provenance(place.address), len)
            },
        });
        match self.poll.send_frames(conn, payloads, flags) {
            (0, Err(status)) => Err(status),
            (taken, _) => Ok(taken),
        }
    }
}

impl Told {
    /// Writes records of the events that wait, as many as fit, and gives how many.
    fn tell(&mut self, records: usize) -> usize {
        self.places.clear();
        self.free = records * EventRecord::BYTES + self.entries * Entry::BYTES;
        let mut count = 0;
        while count < records
            && let Some(event) = self.waiting.pop_front()
        {
            let conn = event.conn;
            let token = event.handler.as_ref().map_or(0, |handler| handler.token());
            let mut record =
                EventRecord { conn: conn.raw(), token: token as i32, ..EventRecord::default() };
            match event.what {
                What::Admit { protocol, first_byte } | What::Opened { protocol, first_byte } => {
                    if self.room(records) < FACTS {
                        self.waiting.push_front(event);
                        break;
                    }
                    let is_admission = matches!(event.what, What::Admit { .. });
                    record.kind = if is_admission { event_kind::ADMIT } else { event_kind::OPEN };
                    (record.protocol, record.first_byte) = (protocol as u8, first_byte);
                    record.extra = self.put(|facts| tell_facts(facts, conn, protocol));
                }
                What::Frames { first, count: all } => {
                    let fit = all.min(self.entries - self.places.len());
                    let rest = What::Frames { first: first + fit, count: all - fit };
                    if fit < all {
                        let handler = event.handler.clone();
                        self.waiting.push_front(PolledEvent { conn, handler, what: rest });
                    }
                    if fit == 0 {
                        break;
                    }
                    record.kind = event_kind::FRAMES;
                    (record.first, record.count) = (self.places.len() as i32, fit as i32);
                    for index in first..first + fit {
                        let PolledFrame { data, compressed } = self.frames[index];
                        self.entry(records, data, i32::from(compressed) * entry_flag::COMPRESSED);
                    }
                }
                What::Data(place) => {
                    if self.places.len() == self.entries {
                        self.waiting.push_front(event);
                        break;
                    }
                    record.kind = event_kind::DATA;
                    (record.first, record.count) = (self.places.len() as i32, 1);
                    self.entry(records, place, 0);
                }
                What::End => record.kind = event_kind::END,
                What::Writable => record.kind = event_kind::WRITABLE,
                What::Closed(ref info) => {
                    if self.room(records) < FACTS + TEXT {
                        self.waiting.push_front(event);
                        break;
                    }
                    record.kind = event_kind::CLOSED;
                    record.extra = self.put(|out| tell_close(out, info));
                }
                What::Log(ref line) => {
                    if self.room(records) < FACTS + TEXT {
                        self.waiting.push_front(event);
                        break;
                    }
                    record.kind = event_kind::LOG;
                    record.extra = self.put(|out| tell_log(out, line));
                }
            }
            self.write(count * EventRecord::BYTES, &record.bytes());
            count += 1;
        }
        count
    }

    /// What the rest still has, in bytes.
    fn room(&self, _records: usize) -> usize {
        self.output.len - self.free
    }

    /// One more entry.
    fn entry(&mut self, records: usize, place: Region, flags: i32) {
        let (mut offset, mut flags) = (0, flags);
        let start = self.input.pointer.addr();
        if place.address >= start && place.address + place.len <= start + self.input.len {
            offset = place.address - start;
        } else if place.len <= COPIED && place.len + FACTS + TEXT <= self.room(records) {
            offset = self.free;
            flags |= entry_flag::HERE;
            // SAFETY: the place is of this round, the room was checked, and they are apart.
            unsafe {
                let to = self.output.pointer.add(self.free);
                copy_nonoverlapping(with_exposed_provenance(place.address), to, place.len);
            }
            self.free += place.len;
        } else {
            flags |= entry_flag::ELSEWHERE;
        }
        let (offset, length) = (offset as i32, place.len as i32);
        let entry = Entry { offset, length, flags, ..Entry::default() };
        let at = records * EventRecord::BYTES + self.places.len() * Entry::BYTES;
        self.write(at, &entry.bytes());
        self.places.push(place);
    }

    /// Writes something to the rest, where there is room for it, and gives its offset.
    fn put(&mut self, fill: impl FnOnce(&mut Vec<u8>)) -> i32 {
        let mut bytes = Vec::with_capacity(256);
        fill(&mut bytes);
        bytes.truncate(self.output.len - self.free);
        let at = self.free;
        self.write(at, &bytes);
        self.free += bytes.len();
        at as i32
    }

    fn write(&mut self, at: usize, bytes: &[u8]) {
        let end = at + bytes.len();
        self.output.as_mut()[at..end].copy_from_slice(bytes);
    }
}

/// What Java wants to know of a connection for as long as it has an object for it, also when the
/// handle is stale: age, addresses, TLS facts.
fn tell_facts(out: &mut Vec<u8>, conn: Conn, protocol: Protocol) {
    debug_assert_eq!(conn.info().map(|info| info.protocol).ok(), Some(protocol));
    // Its handle is valid until the next poll, whatever has become of it.
    let Ok(info) = conn.info() else {
        out.push(0);
        return;
    };
    out.push(1);
    number(out, info.age_ms);
    address(out, info.peer);
    address(out, info.local);
    let Some(tls) = &info.tls else {
        out.push(0);
        return;
    };
    out.push(1);
    out.push(tls.resumed.into());
    let optional = |text: &Option<String>| text.clone().unwrap_or_default();
    let texts =
        [tls.version, &tls.suite, tls.group, &optional(&tls.alpn), &optional(&tls.server_name)];
    for each in texts {
        text(out, each, 300);
    }
}

fn tell_close(out: &mut Vec<u8>, info: &CloseInfo) {
    let record = CloseRecord {
        reason: info.reason.code(),
        by: info.by as i32,
        os_error: info.os_error,
        tls_alert: info.tls_alert,
        bytes_in: info.bytes_in,
        bytes_out: info.bytes_out,
        unsent_bytes: info.unsent_bytes,
        duration_ms: info.duration_ms,
    };
    out.extend(record.bytes());
    text(out, &info.text, TEXT);
}

fn tell_log(out: &mut Vec<u8>, line: &OwnedRecord) {
    out.extend(LogRecord { level: line.level as i32 }.bytes());
    text(out, line.stage, 100);
    text(out, &line.text, TEXT);
}

fn number(out: &mut Vec<u8>, value: u64) {
    out.extend(value.to_ne_bytes());
}

/// Its length, at most `most`, as 2 bytes, then UTF-8.
fn text(out: &mut Vec<u8>, text: &str, most: usize) {
    let mut end = text.len().min(most);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    out.extend((end as u16).to_ne_bytes());
    out.extend(&text.as_bytes()[..end]);
}

/// How many bytes, then these, for 16 of them the number of the interface, then the port.
fn address(out: &mut Vec<u8>, address: SocketAddr) {
    match address {
        SocketAddr::V4(v4) => {
            out.push(4);
            out.extend(v4.ip().octets());
        }
        SocketAddr::V6(v6) => {
            out.push(16);
            out.extend(v6.ip().octets());
            out.extend(v6.scope_id().to_ne_bytes());
        }
    }
    out.extend(address.port().to_ne_bytes());
}
