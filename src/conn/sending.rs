//! Sends of a connection's own callback: gathered, written through, or in memory of their own.
//!
//! Small output is gathered and flushed once at the end of the loop's turn. Large arrays
//! with an empty queue go to the socket at once, straight from the caller's memory, and
//! only the unsent rest is copied. With TLS the gathered bytes are sealed together.

use super::output::{OWN_BYTES, Output};
use super::queue::{Data, SLICES};
use crate::base::buffers;
use crate::base::fault::Site;
use crate::event::SendFlags;
use crate::frame::{HEADER_BYTES, MAX_PAYLOAD_BYTES, encode};
use crate::status::Status;
use std::io::IoSlice;

/// From this size on an array of frames is written through.
const THROUGH_ARRAY_BYTES: usize = 32 << 10;
/// From this size on a single frame is.
const THROUGH_SINGLE_BYTES: usize = 256 << 10;

impl Output {
    pub fn send_frames<'a>(
        &mut self,
        frames: impl ExactSizeIterator<Item = &'a [u8]> + Clone,
        flags: SendFlags,
    ) -> (usize, Result<(), Status>) {
        self.port.fault.strike(Site::Encode);
        let writes = self.port.rules.frame.writes.filter(|_| !flags.no_compress);
        let count = frames.len();
        let total: usize = frames.clone().map(|frame| frame.len() + HEADER_BYTES).sum();
        let large = if count == 1 { THROUGH_SINGLE_BYTES } else { THROUGH_ARRAY_BYTES };
        if total >= large
            && self.tls.is_none()
            && self.corked == 0
            && !self.blocked
            && self.wire.bytes == 0
            && frames.clone().all(|frame| {
                frame.len() <= MAX_PAYLOAD_BYTES
                    && encode::worth_compressing(frame, writes).is_none()
            })
        {
            return match self.write_through(frames) {
                Ok(()) => {
                    self.frames_out += count as u64;
                    (count, Ok(()))
                }
                Err(status) => (0, Err(status)),
            };
        }
        for (taken, frame) in frames.enumerate() {
            if frame.len() > MAX_PAYLOAD_BYTES {
                return (taken, Err(Status::FrameTooLarge));
            }
            if let Err(status) = self.within_memory(frame.len()) {
                return (taken, Err(status));
            }
            let appended = match encode::worth_compressing(frame, writes) {
                Some(how) => {
                    let mut packed = buffers::take();
                    let states = &self.port.commons.compressors;
                    let is_smaller = encode::compressed(frame, how, states, &mut packed);
                    if is_smaller {
                        self.queue().append(&packed);
                    }
                    buffers::give(packed);
                    if is_smaller { Ok(()) } else { self.append_raw(frame) }
                }
                None => self.append_raw(frame),
            };
            if let Err(status) = appended {
                return (taken, Err(status));
            }
            self.frames_out += 1;
        }
        self.flush_if_much();
        (count, Ok(()))
    }

    pub fn send_bytes(&mut self, data: &[u8]) -> Result<(), Status> {
        self.within_memory(data.len())?;
        self.queue().append(data);
        self.flush_if_much();
        Ok(())
    }

    pub fn send_owned(
        &mut self,
        data: Box<dyn AsRef<[u8]> + Send>,
        flags: SendFlags,
    ) -> Result<(), Status> {
        let payload = (*data).as_ref();
        let writes = self.port.rules.frame.writes.filter(|_| !flags.no_compress);
        if payload.len() < OWN_BYTES || encode::worth_compressing(payload, writes).is_some() {
            return self.send_frames(std::iter::once(payload), flags).1;
        }
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Err(Status::FrameTooLarge);
        }
        self.within_memory(payload.len())?;
        self.take_owned(data);
        self.flush_if_much();
        Ok(())
    }

    fn is_over_memory(&self, more: usize) -> bool {
        let queued = self.queued_bytes();
        self.port.memory.is_over(queued, queued.saturating_sub(self.counted_bytes), more)
    }

    fn within_memory(&mut self, more: usize) -> Result<(), Status> {
        if self.is_over_memory(more) { self.claim_memory(more) } else { Ok(()) }
    }

    /// Those that hold most end for it, unless that is this one.
    #[cold]
    fn claim_memory(&mut self, more: usize) -> Result<(), Status> {
        self.show_queued();
        self.counted_bytes = self.queued_bytes();
        match &self.shared {
            Some(shared) if self.port.memory.claim(shared, more) => Ok(()),
            _ => Err(self.no_memory()),
        }
    }

    /// What is to be sent cannot be held: the connection ends.
    #[cold]
    fn no_memory(&mut self) -> Status {
        if let Some(shared) = &self.shared {
            self.is_cut = shared.state.cut().is_ok();
        }
        Status::MemoryLimit
    }

    fn append_raw(&mut self, frame: &[u8]) -> Result<(), Status> {
        if frame.len() >= OWN_BYTES {
            return self.append_large(frame);
        }
        let header = encode::raw_header(frame.len());
        let queue = self.queue();
        queue.append(&header);
        queue.append(frame);
        Ok(())
    }

    // Inlined it makes an echo of small frames 5 % dearer.
    #[inline(never)]
    fn append_large(&mut self, frame: &[u8]) -> Result<(), Status> {
        let room = buffers::for_travel(HEADER_BYTES + frame.len());
        let mut own = room.map_err(|_| self.no_memory())?;
        own.extend_from_slice(&encode::raw_header(frame.len()));
        own.extend_from_slice(frame);
        self.queue().push(Data::Own(own));
        Ok(())
    }

    /// Hands frames to the socket from the caller's memory and copies what it does not take.
    fn write_through<'a>(
        &mut self,
        mut frames: impl Iterator<Item = &'a [u8]>,
    ) -> Result<(), Status> {
        loop {
            let mut headers = [[0u8; HEADER_BYTES]; SLICES / 2];
            let mut payloads: [&[u8]; SLICES / 2] = [&[]; SLICES / 2];
            let mut count = 0;
            while count < SLICES / 2 {
                let Some(frame) = frames.next() else { break };
                headers[count] = encode::raw_header(frame.len());
                payloads[count] = frame;
                count += 1;
            }
            if count == 0 {
                return Ok(());
            }
            let mut slices = [IoSlice::new(&[]); SLICES];
            for i in 0..count {
                slices[2 * i] = IoSlice::new(&headers[i]);
                slices[2 * i + 1] = IoSlice::new(payloads[i]);
            }
            let mut sent = if self.blocked { 0 } else { self.send_slices(&slices[..2 * count]) };
            for slice in &slices[..2 * count] {
                let skip = sent.min(slice.len());
                sent -= skip;
                let rest = &slice[skip..];
                // Only what the socket does not take has to be held.
                self.within_memory(rest.len())?;
                if rest.len() >= OWN_BYTES {
                    let mut own = buffers::for_travel(rest.len()).map_err(|_| self.no_memory())?;
                    own.extend_from_slice(rest);
                    self.queue().push(Data::Own(own));
                } else if !rest.is_empty() {
                    self.queue().append(rest);
                }
            }
        }
    }
}
