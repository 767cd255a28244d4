//! The frames that are sent and what must come back.
//!
//! Without `--check` all payloads are equal, and only the headers of the answers are looked
//! at. With it every frame of every connection is different, and every byte is compared.

use std::io;

/// A prime, so that neither frames nor reads keep step with it.
const PATTERN: usize = 65_521;

/// The frames of one connection: all of one size, each with content of its own.
#[derive(Clone, Copy)]
pub struct Frames<'p> {
    patterns: &'p Patterns,
    conn: u64,
}

/// What the frames of all connections are cut from.
pub struct Patterns {
    size: usize,
    check: bool,
    random: Vec<u8>,
    /// Equal frames one behind the other, for runs that do not check.
    template: Vec<u8>,
}

/// Where in the stream of frames something is.
#[derive(Clone, Copy, Default)]
pub struct Place {
    pub frame: u64,
    /// In the frame, header included.
    pub offset: usize,
}

impl Patterns {
    pub fn new(size: usize, window: u64, check: bool) -> Patterns {
        let mut state = 0x9e37_79b9_7f4a_7c15;
        let random = (0..PATTERN).map(|_| (next(&mut state) >> 32) as u8).collect();
        let mut patterns = Patterns { size, check, random, template: Vec::new() };
        let frames = Frames { patterns: &patterns, conn: 0 };
        let mut one = Vec::new();
        frames.write(Place::default(), 4 + size, &mut one);
        let count = (window as usize).min((256 << 10) / one.len()).max(1);
        patterns.template = one.repeat(count);
        patterns
    }

    pub fn of(&self, conn: u64) -> Frames<'_> {
        Frames { patterns: self, conn }
    }
}

impl<'p> Frames<'p> {
    /// The next bytes to be sent from `place`, up to the end of frame `limit`; not always all.
    pub fn next<'c>(&self, place: Place, limit: u64, chunk: &'c mut Vec<u8>) -> &'c [u8]
    where
        'p: 'c,
    {
        let frame = 4 + self.patterns.size;
        let owed = (limit - place.frame) as usize * frame - place.offset;
        if !self.patterns.check {
            let template = &self.patterns.template;
            return &template[place.offset..template.len().min(place.offset + owed)];
        }
        chunk.clear();
        self.write(place, owed.min(256 << 10), chunk);
        chunk
    }

    fn header(&self) -> [u8; 4] {
        (self.patterns.size as u32).to_be_bytes()
    }

    /// Where the content of a frame begins in the pattern.
    fn shift(&self, frame: u64) -> usize {
        if !self.patterns.check {
            return 0;
        }
        let mut state = (self.conn << 40) ^ frame ^ 0xd1b5_4a32_d192_ed03;
        (next(&mut state) % PATTERN as u64) as usize
    }

    fn write(&self, mut place: Place, mut len: usize, out: &mut Vec<u8>) {
        while len > 0 {
            let before = out.len();
            if place.offset < 4 {
                out.extend(self.header()[place.offset..].iter().take(len));
            } else {
                let left = len.min(4 + self.patterns.size - place.offset);
                out.extend_from_slice(self.piece(place, left));
            }
            let written = out.len() - before;
            place.advance(written, self.patterns.size);
            len -= written;
        }
    }

    /// Some of the next `len` bytes of content.
    fn piece(&self, place: Place, len: usize) -> &'p [u8] {
        let at = (self.shift(place.frame) + place.offset - 4) % PATTERN;
        &self.patterns.random[at..PATTERN.min(at + len)]
    }

    /// Compares what arrived with what must; gives the number of frames that became whole.
    pub fn receive(&self, place: &mut Place, mut data: &[u8]) -> io::Result<u64> {
        let first = place.frame;
        let size = self.patterns.size;
        while !data.is_empty() {
            let len = if place.offset < 4 {
                let header = &self.header()[place.offset..];
                let len = header.len().min(data.len());
                if header[..len] != data[..len] {
                    return Err(self.wrong(*place, "header"));
                }
                len
            } else if self.patterns.check {
                let expected = self.piece(*place, data.len().min(4 + size - place.offset));
                if data[..expected.len()] != *expected {
                    let equal = expected.iter().zip(data).take_while(|(a, b)| a == b).count();
                    place.offset += equal;
                    return Err(self.wrong(*place, "payload"));
                }
                expected.len()
            } else {
                data.len().min(4 + size - place.offset)
            };
            place.advance(len, size);
            data = &data[len..];
        }
        Ok(place.frame - first)
    }

    fn wrong(&self, place: Place, what: &str) -> io::Error {
        io::Error::other(format!(
            "connection {}, frame {}: wrong {what} at byte {}",
            self.conn, place.frame, place.offset
        ))
    }
}

impl Place {
    pub fn advance(&mut self, bytes: usize, size: usize) {
        self.offset += bytes;
        self.frame += (self.offset / (4 + size)) as u64;
        self.offset %= 4 + size;
    }
}

/// xorshift: the same numbers in every run.
pub fn next(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_what_is_expected_in_any_cuts() {
        for size in [0, 1, 511, 65_536, 100_000] {
            let patterns = Patterns::new(size, 4, true);
            let frames = patterns.of(3);
            let mut all = Vec::new();
            frames.write(Place::default(), 5 * (4 + size), &mut all);
            for cut in [1, 3, 1000, 1 << 20] {
                let mut place = Place::default();
                let mut count = 0;
                for piece in all.chunks(cut) {
                    count += frames.receive(&mut place, piece).unwrap();
                }
                assert_eq!((count, place.offset), (5, 0));
            }
            if size > 0 {
                let last = all.len() - 1;
                all[last] ^= 1;
                assert!(frames.receive(&mut Place::default(), &all).is_err());
                all[last] ^= 1;
                assert!(patterns.of(4).receive(&mut Place::default(), &all).is_err());
            }
        }
    }
}
