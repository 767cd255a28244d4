//! `memoryLimit`: what connections hold beyond their free share, and which of them holds most.
//!
//! Over the limit the connection that holds most ends, on whichever loop it is. Those that grow
//! go on meanwhile: what the ended ones are about to give back covers that.
//!
//! Connections within their free share take no lock here. Others take one when what they hold
//! changes, which is after at least a turn of theirs.

use crate::base::sync::Mutex;
use crate::base::sync::atomic::{AtomicUsize, Ordering};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A connection as this account sees it.
pub(crate) trait Holder: Send + Sync + 'static {
    /// Its handle.
    fn id(&self) -> u64;
    fn account(&self) -> &Account;
    /// What it holds at this moment.
    fn held(&self) -> Held;
    /// Its loop has given up what it held of it.
    fn is_over(&self) -> bool;
    /// It ends, and gives back what it holds. One that has ended meanwhile has done so.
    fn ends_for_memory(self: Arc<Self>);
    /// Its host is told that a send is worth another try.
    fn is_writable_again(self: Arc<Self>);
}

/// What each connection holds up to here does not count against `memoryLimit`.
pub(crate) const FREE_BYTES: usize = 64 << 10;

/// What may be held beyond the limit until those that were evicted are gone: so much the loops may
/// have read already, each in a turn of one connection.
fn excess(loops: usize) -> usize {
    loops.max(1) << 20
}

/// Bytes that connections hold beyond their free share, against `memoryLimit`.
pub(crate) struct Memory {
    pub limit_bytes: usize,
    used: AtomicUsize,
    /// Of these, what connections hold that have been evicted and are not gone yet.
    leaving: AtomicUsize,
    /// I/O loops, as far as they are known.
    loops: AtomicUsize,
    holders: Mutex<Holders>,
}

#[derive(Default)]
struct Holders {
    /// Connections that hold more than the free share, by what would be free at once if they ended
    /// (input that waits for the host would not), and by their handle.
    by_size: BTreeMap<(usize, u64), Arc<dyn Holder>>,
    /// Connections of which a send was refused until evicted ones are gone, by their handle.
    refused: BTreeMap<u64, Arc<dyn Holder>>,
}

/// What the account knows of one connection. Changed under the lock of the holders.
#[derive(Default)]
pub(crate) struct Account {
    /// Bytes beyond the free share.
    counted: AtomicUsize,
    /// Its key among the holders; 0: it is not there.
    size: AtomicUsize,
    /// What it held when it was evicted, until it is gone.
    leaving: AtomicUsize,
    /// What a send wanted that was refused; 0: it is not among those.
    refused_bytes: AtomicUsize,
}

impl Account {
    pub fn counted_bytes(&self) -> usize {
        self.counted.load(Ordering::SeqCst)
    }
}

impl Memory {
    pub fn new(limit_bytes: usize) -> Memory {
        Memory {
            limit_bytes,
            used: AtomicUsize::new(0),
            leaving: AtomicUsize::new(0),
            loops: AtomicUsize::new(0),
            holders: Mutex::default(),
        }
    }

    /// So many I/O loops there are.
    pub fn set_loops(&self, loops: usize) {
        self.loops.store(loops, Ordering::Relaxed);
    }

    pub fn used_bytes(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Whether a connection that holds `held` bytes, `uncounted` of them since its last
    /// account, has to [claim](Memory::claim) `more`.
    pub fn is_over(&self, held: usize, uncounted: usize, more: usize) -> bool {
        let wanted = held.saturating_add(more);
        let used = self.used_bytes().saturating_add(uncounted);
        wanted > FREE_BYTES && used.saturating_add(more) > self.limit_bytes
    }

    /// Connections have been evicted and are not gone yet.
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Relaxed) > 0
    }

    /// Until those that were evicted are gone, nothing more is read that would have to be held.
    pub fn stops_reading(&self) -> bool {
        self.is_leaving() && self.used_bytes() > self.limit_bytes
    }

    /// Nor, a bit later, are sends taken that may wait.
    fn stops_sending(&self) -> bool {
        let loops = self.loops.load(Ordering::Relaxed);
        self.is_leaving() && self.used_bytes() > self.limit_bytes.saturating_add(excess(loops))
    }

    /// Whether a send of this connection is refused. Then the connection becomes writable when
    /// sends are taken again, not earlier: its host would repeat the send in vain, over and over.
    /// Or when this send of `more` bytes has become small enough to be taken in any case.
    pub fn refuses_send<H: Holder>(&self, own: &Arc<H>, more: usize) -> bool {
        if !self.stops_sending() {
            return false;
        }
        // What decides changes under the lock.
        let mut holders = self.holders.lock();
        // Noted first, looked at after: a connection that ends does it the other way round.
        own.account().refused_bytes.store(more.max(1), Ordering::SeqCst);
        let is_refused = self.stops_sending() && !own.is_over() && !own.held().has_room_for(more);
        if is_refused {
            holders.refused.insert(own.id(), own.clone());
        } else {
            own.account().refused_bytes.store(0, Ordering::SeqCst);
        }
        is_refused
    }

    /// The most that may be held while connections that were evicted are not gone yet.
    #[cfg(any(test, fuzzing))]
    pub fn most_bytes(&self, loops: usize) -> usize {
        self.limit_bytes + excess(loops)
    }

    /// What a connection holds may have changed. True: it has grown.
    pub fn recount<H: Holder>(&self, own: &Arc<H>) -> bool {
        let Account { counted, size, leaving, refused_bytes } = own.account();
        let held = own.held();
        // In this order: an eviction changes them the other way round.
        if held.counted() == counted.load(Ordering::SeqCst)
            && held.size() == size.load(Ordering::SeqCst)
            && leaving.load(Ordering::SeqCst) == 0
            && refused_bytes.load(Ordering::SeqCst) == 0
        {
            return false;
        }
        let mut grew = false;
        let mut let_go = Vec::new();
        let mut holders = self.holders.lock();
        loop {
            let (held, is_over) = (own.held(), own.is_over());
            let before = counted.swap(held.counted(), Ordering::SeqCst);
            self.used.fetch_add(held.counted().wrapping_sub(before), Ordering::Relaxed);
            grew |= held.counted() > before;
            if is_over {
                self.leaving.fetch_sub(leaving.swap(0, Ordering::SeqCst), Ordering::Relaxed);
                refused_bytes.store(0, Ordering::SeqCst);
                let_go.extend(holders.refused.remove(&own.id()));
            }
            let is_leaving = leaving.load(Ordering::SeqCst) > 0;
            let_go.extend(file(&mut holders, own, if is_leaving { 0 } else { held.size() }));
            // Whoever changes what it holds looks at the account after that: one of both sees the
            // other.
            if own.held() == held && own.is_over() == is_over {
                break;
            }
        }
        let goes_on = !holders.refused.is_empty() && !self.stops_sending();
        let mut writable =
            if goes_on { std::mem::take(&mut holders.refused) } else { BTreeMap::new() };
        let wanted = refused_bytes.load(Ordering::SeqCst);
        if wanted > 0 && own.held().has_room_for(wanted) {
            writable.extend(holders.refused.remove_entry(&own.id()));
        }
        for other in writable.values() {
            other.account().refused_bytes.store(0, Ordering::SeqCst);
        }
        drop(holders);
        // Outside of the lock: it may be the last to hold the connection.
        drop(let_go);
        for other in writable.into_values() {
            other.is_writable_again();
        }
        grew
    }

    /// Finds memory for `more` bytes of this connection: where the limit would be exceeded, those
    /// that hold most are evicted. False: that is this one; it has to end.
    pub fn claim<H: Holder>(&self, own: &Arc<H>, more: usize) -> bool {
        self.recount(own);
        let mut evicted = Vec::new();
        let mut let_go = None;
        let mut holders = self.holders.lock();
        let wanted = own.held().size_with(more);
        let fits = loop {
            let staying = self.used_bytes().saturating_sub(self.leaving.load(Ordering::Relaxed));
            if staying.saturating_add(more) <= self.limit_bytes {
                break true;
            }
            match holders.by_size.last_entry() {
                Some(entry) if entry.key().0 > wanted && entry.key().1 != own.id() => {
                    let largest = entry.get().clone();
                    evicted.extend(self.leaves(&mut holders, &*largest));
                }
                _ => {
                    let_go = self.leaves(&mut holders, &**own);
                    break false;
                }
            }
        };
        drop(holders);
        drop(let_go);
        for largest in evicted {
            largest.ends_for_memory();
        }
        fits
    }

    /// Notes that a connection is about to give back what it holds.
    fn leaves(&self, holders: &mut Holders, own: &dyn Holder) -> Option<Arc<dyn Holder>> {
        let Account { size, leaving, .. } = own.account();
        let bytes = size.load(Ordering::SeqCst);
        if bytes > 0 {
            leaving.store(bytes, Ordering::SeqCst);
            self.leaving.fetch_add(bytes, Ordering::Relaxed);
        }
        unfile(holders, own)
    }
}

/// Gives a connection its place among the holders; its entry comes back if it goes.
fn file<H: Holder>(holders: &mut Holders, own: &Arc<H>, size: usize) -> Option<Arc<dyn Holder>> {
    if own.account().size.load(Ordering::SeqCst) == size {
        return None;
    }
    let entry = unfile(holders, &**own);
    if size > 0 {
        own.account().size.store(size, Ordering::SeqCst);
        holders.by_size.insert((size, own.id()), own.clone());
    }
    entry
}

/// Takes its entry out.
fn unfile(holders: &mut Holders, own: &dyn Holder) -> Option<Arc<dyn Holder>> {
    let before = own.account().size.swap(0, Ordering::SeqCst);
    holders.by_size.remove(&(before, own.id()))
}

/// What a connection holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Held {
    /// Unfinished input and output: free at once when it ends.
    pub own_bytes: usize,
    /// Input that waits for the host, which gets it even then.
    pub waiting_bytes: usize,
}

impl Held {
    /// What counts against the limit.
    pub fn counted(self) -> usize {
        (self.own_bytes + self.waiting_bytes).saturating_sub(FREE_BYTES)
    }

    /// Within the free share, which nobody has to claim.
    fn has_room_for(self, more: usize) -> bool {
        (self.own_bytes + self.waiting_bytes).saturating_add(more) <= FREE_BYTES
    }

    fn size(self) -> usize {
        self.size_with(0)
    }

    fn size_with(self, more: usize) -> usize {
        (self.own_bytes + more).saturating_sub(FREE_BYTES)
    }
}
