//! From arriving bytes to whole frames.
//!
//! Frames that lie whole in the input are handed out as spans of it. A frame that is cut
//! and small stays in the input (the caller keeps the rest); a larger one gets a buffer of
//! its own that grows with what has arrived, never with what a header claims. All work is
//! charged to the budget of the turn; an inflation that goes beyond it is suspended.
//!
//! `decode` is long: one loop over the states of a frame, whose arms share the input and the position in it.

use super::deflate::{Inflated, Inflater, Inflaters, Reads};
use super::{FrameRules, HEADER_BYTES, Header};
use crate::base::budget::Budget;
use crate::base::buffers::reserve;
use crate::event::FrameSpan;
use crate::status::CloseReason;

/// Cut frames up to this size, header included, stay with the caller.
pub(crate) const SMALL_BYTES: usize = 4 << 10;
/// First reservation for a large frame: untouched memory, so it costs address space only.
pub(crate) const FIRST_STEP_BYTES: usize = 2 << 20;
/// Frames in one batch: their descriptors stay in the first-level cache.
const BATCH_FRAMES: usize = 64;
/// What decoding works with; it belongs to the loop and is lent for a turn.
pub(crate) struct Workspace {
    /// The frames of the present batch.
    pub spans: Vec<FrameSpan>,
    /// Output of inflated frames of the present batch.
    pub inflated: Vec<u8>,
    /// What the turn may still cost.
    pub budget: Budget,
    pub inflaters: Inflaters,
}

impl Workspace {
    pub fn new() -> Workspace {
        Workspace {
            spans: Vec::with_capacity(BATCH_FRAMES),
            inflated: Vec::new(),
            budget: Budget::of_a_turn(),
            inflaters: Inflaters::new(),
        }
    }
}

/// What came of one call of [`Decoder::decode`].
#[derive(Debug)]
pub(crate) enum Step {
    /// The batch (maybe empty) is all there is; more input is needed.
    Drained,
    /// The batch is to be delivered, then decoding goes on.
    More,
    /// One large frame on its own.
    Single { payload: Vec<u8>, compressed: bool },
    /// The turn's budget is used up, or no inflation state is free: go on in the next turn.
    Yield,
}

/// The framing state of one connection.
#[derive(Default)]
pub(crate) struct Decoder {
    state: State,
}

#[derive(Default)]
enum State {
    #[default]
    BetweenFrames,
    Large(Box<Large>),
    Inflating(Box<Inflating>),
    /// Inflated while nothing could be delivered.
    Inflated(Vec<u8>),
}

/// A frame whose payload arrives in its own buffer.
struct Large {
    compressed: bool,
    want_bytes: usize,
    payload: Vec<u8>,
}

/// A compressed frame that has arrived whole and is being inflated.
struct Inflating {
    input: Vec<u8>,
    used: usize,
    output: Vec<u8>,
    inflater: Inflater,
}

impl Decoder {
    /// Takes frames off the front of `input` and says how many bytes are used up. The
    /// batch in `work.spans` refers to `input` (buffer 0) and `work.inflated` (buffer 1).
    /// An error is only reported once all frames before it have been handed out.
    pub fn decode(
        &mut self,
        input: &[u8],
        work: &mut Workspace,
        rules: &FrameRules,
    ) -> Result<(usize, Step), CloseReason> {
        work.spans.clear();
        work.inflated.clear();
        let mut at = 0;
        match std::mem::take(&mut self.state) {
            State::BetweenFrames => {}
            State::Inflated(payload) => {
                return Ok((0, Step::Single { payload, compressed: true }));
            }
            State::Inflating(inflating) => {
                return self.go_on(inflating, work, rules).map(|step| (0, step));
            }
            State::Large(mut large) => {
                at = large.missing().min(input.len());
                large.make_room()?;
                large.payload.extend_from_slice(&input[..at]);
                if large.missing() > 0 {
                    self.state = State::Large(large);
                    return Ok((at, Step::Drained));
                }
                if !large.compressed {
                    return Ok((at, Step::Single { payload: large.payload, compressed: false }));
                }
                let Some(mut inflater) = work.inflaters.take() else {
                    self.state = State::Large(large);
                    return Ok((at, Step::Yield));
                };
                work.budget.deflate_stream();
                inflater.begin(rules.reads, &large.payload);
                work.inflaters.suspend(&mut inflater);
                let inflating =
                    Inflating { input: large.payload, used: 0, output: Vec::new(), inflater };
                return self.go_on(Box::new(inflating), work, rules).map(|step| (at, step));
            }
        }
        while let Some(header) = Header::parse(&input[at..]) {
            let full = work.spans.len() == BATCH_FRAMES || work.budget.is_spent();
            match check(header, rules) {
                Err(reason) if work.spans.is_empty() => return Err(reason),
                Ok(()) if !full => {}
                Ok(()) if work.spans.is_empty() => return Ok((at, Step::Yield)),
                _ => return Ok((at, Step::More)),
            }
            work.budget.frame();
            let start = at + HEADER_BYTES;
            let Some(payload) = input[start..].get(..header.payload_bytes) else {
                if HEADER_BYTES + header.payload_bytes > SMALL_BYTES {
                    self.state = State::Large(Box::new(Large::begin(header, &input[start..])?));
                    at = input.len();
                }
                break;
            };
            if header.compressed {
                match self.inflate_whole(payload, work, rules) {
                    Ok(true) => {}
                    Ok(false) if work.spans.is_empty() => {
                        let suspended = matches!(self.state, State::Inflating(_));
                        return Ok((
                            if suspended { start + payload.len() } else { at },
                            Step::Yield,
                        ));
                    }
                    Ok(false) => {
                        let suspended = matches!(self.state, State::Inflating(_));
                        return Ok((
                            if suspended { start + payload.len() } else { at },
                            Step::More,
                        ));
                    }
                    Err(reason) if work.spans.is_empty() => return Err(reason),
                    Err(_) => return Ok((at, Step::More)),
                }
            } else {
                work.spans.push(FrameSpan {
                    buffer: 0,
                    compressed: false,
                    start,
                    len: payload.len(),
                });
            }
            at = start + payload.len();
        }
        Ok((at, Step::Drained))
    }

    /// Inflates a frame that lies whole in the input. False: it could not be finished in
    /// this turn (suspended if the budget ran out, untouched if no state was free).
    fn inflate_whole(
        &mut self,
        payload: &[u8],
        work: &mut Workspace,
        rules: &FrameRules,
    ) -> Result<bool, CloseReason> {
        let Some(mut inflater) = work.inflaters.take() else { return Ok(false) };
        work.budget.deflate_stream();
        inflater.begin(rules.reads, payload);
        let start = work.inflated.len();
        let most = rules.max_inflated_bytes;
        match inflater.step(payload, &mut work.inflated, start, most, &mut work.budget) {
            Ok(Inflated::Whole) => {
                let len = work.inflated.len() - start;
                work.spans.push(FrameSpan { buffer: 1, compressed: true, start, len });
                work.inflaters.give(inflater);
                Ok(true)
            }
            Ok(Inflated::Budget { used }) => {
                work.inflaters.suspend(&mut inflater);
                let output = work.inflated.split_off(start);
                let mut input = Vec::new();
                reserve(&mut input, payload.len() - used)?;
                input.extend_from_slice(&payload[used..]);
                self.state =
                    State::Inflating(Box::new(Inflating { input, used: 0, output, inflater }));
                Ok(false)
            }
            Err(reason) => {
                work.inflated.truncate(start);
                work.inflaters.give(inflater);
                Err(reason)
            }
        }
    }

    /// Goes on with a suspended inflation for what is left of the turn's budget.
    fn go_on(
        &mut self,
        mut frame: Box<Inflating>,
        work: &mut Workspace,
        rules: &FrameRules,
    ) -> Result<Step, CloseReason> {
        let (input, most) = (&frame.input[frame.used..], rules.max_inflated_bytes);
        match frame.inflater.step(input, &mut frame.output, 0, most, &mut work.budget)? {
            Inflated::Whole => {
                work.inflaters.give(frame.inflater);
                Ok(Step::Single { payload: frame.output, compressed: true })
            }
            Inflated::Budget { used } => {
                frame.used += used;
                self.state = State::Inflating(frame);
                Ok(Step::Yield)
            }
        }
    }

    /// Goes on inflating while nothing can be delivered: a connection that is paused must not
    /// keep one of the few states from others.
    pub fn inflate_on(
        &mut self,
        work: &mut Workspace,
        rules: &FrameRules,
    ) -> Result<(), CloseReason> {
        match std::mem::take(&mut self.state) {
            State::Inflating(frame) => {
                if let Step::Single { payload, .. } = self.go_on(frame, work, rules)? {
                    self.state = State::Inflated(payload);
                }
            }
            other => self.state = other,
        }
        Ok(())
    }

    /// True while it holds one of the loop's inflation states.
    pub fn is_suspended(&self) -> bool {
        matches!(self.state, State::Inflating(_))
    }

    /// Lends the buffer of a large frame that waits for bytes (with spare capacity), and
    /// how many bytes it still wants.
    pub fn lend(&mut self) -> Result<Option<(Vec<u8>, usize)>, CloseReason> {
        match &mut self.state {
            State::Large(large) if large.missing() > 0 => {
                large.make_room()?;
                let missing = large.missing();
                Ok(Some((std::mem::take(&mut large.payload), missing)))
            }
            _ => Ok(None),
        }
    }

    /// Takes the lent buffer back.
    pub fn give_back(&mut self, payload: Vec<u8>) {
        if let State::Large(large) = &mut self.state {
            large.payload = payload;
        }
    }

    /// True if a large frame has begun and has not been handed out.
    pub fn is_inside_frame(&self) -> bool {
        !matches!(self.state, State::BetweenFrames)
    }

    /// True if there is work to do without new input.
    pub fn is_inflating(&self) -> bool {
        match &self.state {
            State::Inflating(_) | State::Inflated(_) => true,
            State::Large(large) => large.missing() == 0,
            State::BetweenFrames => false,
        }
    }

    /// Bytes of memory that the unfinished frame holds.
    pub fn held_bytes(&self) -> usize {
        match &self.state {
            State::BetweenFrames => 0,
            State::Large(large) => large.payload.len(),
            State::Inflating(frame) => frame.input.len() + frame.output.len(),
            State::Inflated(payload) => payload.len(),
        }
    }

    /// The same with what is reserved and not used yet.
    #[cfg(any(test, fuzzing))]
    pub fn reserved_bytes(&self) -> usize {
        match &self.state {
            State::BetweenFrames => 0,
            State::Large(large) => large.payload.capacity(),
            State::Inflating(frame) => frame.input.capacity() + frame.output.capacity(),
            State::Inflated(payload) => payload.capacity(),
        }
    }
}

/// Judges a header before any memory is taken for its payload.
fn check(header: Header, rules: &FrameRules) -> Result<(), CloseReason> {
    if header.payload_bytes > rules.max_frame_bytes {
        Err(CloseReason::FrameTooLarge)
    } else if header.compressed && rules.reads == Reads::Never {
        Err(CloseReason::CompressionRefused)
    } else if header.compressed && header.payload_bytes == 0 {
        Err(CloseReason::DeflateEmpty)
    } else {
        Ok(())
    }
}

impl Large {
    fn begin(header: Header, arrived: &[u8]) -> Result<Large, CloseReason> {
        let mut payload = Vec::new();
        let first = header.payload_bytes.min(FIRST_STEP_BYTES.max(arrived.len()));
        reserve(&mut payload, first)?;
        payload.extend_from_slice(arrived);
        Ok(Large { compressed: header.compressed, want_bytes: header.payload_bytes, payload })
    }

    fn missing(&self) -> usize {
        self.want_bytes - self.payload.len()
    }

    /// Doubles a full buffer, up to what the frame needs.
    fn make_room(&mut self) -> Result<(), CloseReason> {
        if self.payload.len() == self.payload.capacity() && self.missing() > 0 {
            let more = self.payload.capacity().max(SMALL_BYTES).min(self.missing());
            reserve(&mut self.payload, more)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
