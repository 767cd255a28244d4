//! What waits to be sent: bytes in order, in the memory in which they came. Knows neither
//! frames nor sockets.

use crate::base::buffers;
use crate::base::host;
use std::collections::VecDeque;
use std::io::IoSlice;

/// One vectored send takes at most so many slices.
pub(crate) const SLICES: usize = 64;
/// Gathered bytes are flushed at once from here on.
pub(crate) const GATHER_BYTES: usize = 256 << 10;
/// They are held in pieces of this size: one that doubled as it grew would hold up to twice of what
/// waits, which a peer that never reads makes last. Four TLS records are sealed at a time.
pub(crate) const PIECE_BYTES: usize = 64 << 10;

/// Bytes in order, in the memory in which they came.
#[derive(Default)]
pub(crate) struct Queue {
    pieces: VecDeque<Piece>,
    pub bytes: usize,
}

struct Piece {
    data: Data,
    sent: usize,
}

/// Where bytes lie.
pub(crate) enum Data {
    /// Small pieces one behind the other, in a buffer of the pool.
    Gathered(Vec<u8>),
    /// A large piece, in a buffer that may have come from another thread.
    Own(Vec<u8>),
    Lent(Lent),
}

/// Memory of the host's, dropped (released) when sent: by code of the host.
pub(crate) struct Lent(pub Option<Box<dyn AsRef<[u8]> + Send>>);

impl Lent {
    fn bytes(&self) -> &[u8] {
        self.0.as_ref().map_or(&[], |data| (**data).as_ref())
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        let data = self.0.take();
        host::guarded(move || drop(data));
    }
}

impl Piece {
    fn rest(&self) -> &[u8] {
        let all = match &self.data {
            Data::Gathered(bytes) | Data::Own(bytes) => bytes.as_slice(),
            Data::Lent(lent) => lent.bytes(),
        };
        &all[self.sent..]
    }
}

impl Queue {
    pub fn append(&mut self, mut bytes: &[u8]) {
        self.bytes += bytes.len();
        if let Some(Piece { data: Data::Gathered(last), .. }) = self.pieces.back_mut() {
            let (fits, rest) =
                bytes.split_at(bytes.len().min(PIECE_BYTES.saturating_sub(last.len())));
            last.extend_from_slice(fits);
            bytes = rest;
        }
        while !bytes.is_empty() {
            let (fits, rest) = bytes.split_at(bytes.len().min(PIECE_BYTES));
            let mut fresh = buffers::take();
            if !self.pieces.is_empty() && fresh.capacity() < PIECE_BYTES {
                // Behind others it is going to be full.
                fresh.reserve_exact(PIECE_BYTES);
            }
            fresh.extend_from_slice(fits);
            self.pieces.push_back(Piece { data: Data::Gathered(fresh), sent: 0 });
            bytes = rest;
        }
    }

    pub fn push(&mut self, data: Data) {
        let piece = Piece { data, sent: 0 };
        let len = piece.rest().len();
        if len > 0 {
            self.bytes += len;
            self.pieces.push_back(piece);
        }
    }

    pub fn front(&self) -> Option<&[u8]> {
        self.pieces.front().map(Piece::rest)
    }

    pub fn slices<'a>(&'a self, slices: &mut [IoSlice<'a>; SLICES]) -> usize {
        let mut count = 0;
        for (slice, piece) in slices.iter_mut().zip(&self.pieces) {
            *slice = IoSlice::new(piece.rest());
            count += 1;
        }
        count
    }

    pub fn advance(&mut self, mut bytes: usize) {
        self.bytes -= bytes;
        while let Some(front) = self.pieces.front_mut() {
            let rest = front.rest().len();
            if bytes < rest {
                front.sent += bytes;
                return;
            }
            bytes -= rest;
            match self.pieces.pop_front().map(|piece| piece.data) {
                Some(Data::Gathered(buffer)) => buffers::give(buffer),
                Some(Data::Own(buffer)) => buffers::has_arrived(buffer),
                Some(Data::Lent(_)) | None => {}
            }
        }
        // An idle connection holds no memory for its queue.
        self.pieces = VecDeque::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    /// Memory of a host's that counts its release.
    struct Counted(Vec<u8>, Arc<AtomicUsize>);

    impl AsRef<[u8]> for Counted {
        fn as_ref(&self) -> &[u8] {
            &self.0
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            self.1.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn filled(released: &Arc<AtomicUsize>) -> (Queue, Vec<u8>) {
        let (mut queue, mut all) = (Queue::default(), Vec::new());
        for n in 0..SLICES as u8 + 6 {
            let bytes = vec![n; usize::from(n % 7)];
            all.extend_from_slice(&bytes);
            match n % 3 {
                0 => queue.append(&bytes),
                1 => queue.push(Data::Own(bytes)),
                _ => {
                    let lent: Box<dyn AsRef<[u8]> + Send> =
                        Box::new(Counted(bytes, released.clone()));
                    queue.push(Data::Lent(Lent(Some(lent))));
                }
            }
        }
        (queue, all)
    }

    #[test]
    fn a_queue_gives_its_bytes_in_order_however_much_is_taken_at_a_time() {
        // Miri takes seconds for what takes microseconds otherwise.
        let steps: &[usize] = if cfg!(miri) { &[40, 1000] } else { &[1, 2, 5, 64, 1000] };
        for &step in steps {
            let released = Arc::default();
            let (mut queue, all) = filled(&released);
            let mut sent = Vec::new();
            while queue.bytes > 0 {
                let mut slices = [IoSlice::new(&[]); SLICES];
                let count = queue.slices(&mut slices);
                let offered: Vec<u8> = slices[..count].iter().flat_map(|s| s.to_vec()).collect();
                let taken = step.min(offered.len());
                sent.extend_from_slice(&offered[..taken]);
                queue.advance(taken);
            }
            assert_eq!(sent, all, "{step} at a time");
            assert!(queue.pieces.capacity() == 0, "an empty queue holds no memory");
        }
    }

    #[test]
    fn lent_memory_is_released_once_when_it_is_sent_and_when_it_never_is() {
        let released: Arc<AtomicUsize> = Arc::default();
        let (mut queue, all) = filled(&released);
        queue.advance(all.len() / 2);
        let early = released.load(Ordering::SeqCst);
        assert!(early > 0);
        drop(queue);
        let lent = (0..SLICES as u8 + 6).filter(|n| n % 3 == 2).count();
        assert!(early < lent);
        assert_eq!(released.load(Ordering::SeqCst), lent);
    }

    #[test]
    fn small_pieces_are_gathered_and_empty_ones_are_not_kept() {
        let mut queue = Queue::default();
        queue.append(b"");
        queue.push(Data::Own(Vec::new()));
        assert_eq!(queue.pieces.len(), 0);
        queue.append(b"ab");
        queue.append(b"cd");
        assert_eq!((queue.pieces.len(), queue.front()), (1, Some(&b"abcd"[..])));
    }

    #[test]
    fn what_waits_takes_hardly_more_memory_than_its_size() {
        let (mut queue, mut all) = (Queue::default(), Vec::new());
        while queue.bytes < 4 * GATHER_BYTES {
            // No doubling of this size comes near to that of a piece.
            let bytes = vec![queue.pieces.len() as u8; 10_004];
            queue.append(&bytes);
            all.extend_from_slice(&bytes);
        }
        let held = |piece: &Piece| match &piece.data {
            Data::Gathered(bytes) => bytes.capacity(),
            _ => 0,
        };
        let held: usize = queue.pieces.iter().map(held).sum();
        assert!(held < queue.bytes + 2 * PIECE_BYTES, "{held} for {}", queue.bytes);
        let mut sent = Vec::new();
        while let Some(front) = queue.front() {
            sent.extend_from_slice(front);
            let len = front.len();
            queue.advance(len);
        }
        assert_eq!(sent, all);
    }
}
