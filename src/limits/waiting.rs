//! Connections that are not identified yet: how many there may be, and which of them is evicted.
//!
//! All listeners of a runtime share one budget, half of the descriptors (`maxHandshakes = auto`); a
//! port that sets a number has a budget of its own. Promises:
//!
//! * Below the limit nobody is evicted, except by `maxHandshakesPerAddress`.
//! * At the limit a newcomer costs the oldest connection that has not sent a byte, of the address
//!   that holds most. Connections that have spoken come after all silent ones, finished handshakes
//!   last.
//! * While no address holds more than its fair share, a connection has a grace before it is evicted.
//!   If nobody can be evicted, accepters leave newcomers in the backlog.
//! * A victim is found in O(log n).
//!
//! What a loop has not read yet it cannot report. So it reads an evicted connection once, and one
//! that has come further meanwhile stays; another one goes instead.

use crate::base::waiters::Waiters;
use crate::status::CloseReason;
use parking_lot::Mutex;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};

/// A silent connection is safe for so long, if its address holds no more than its fair share.
const GRACE_MS: u64 = 1000;
/// The same for one that has spoken, from its last step on: its handshake has cost something, and
/// the answer may be under way.
const GRACE_SPOKEN_MS: u64 = 5000;

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Progress {
    /// It has not sent a byte.
    Silent,
    Spoken,
    /// Its handshake is finished, its first byte is awaited.
    Finished,
}

const ALL_PROGRESS: [Progress; 3] = [Progress::Silent, Progress::Spoken, Progress::Finished];

impl Progress {
    fn grace_ms(self) -> u64 {
        match self {
            Progress::Silent => GRACE_MS,
            Progress::Spoken | Progress::Finished => GRACE_SPOKEN_MS,
        }
    }
}

/// Limits are judged per IPv4 address and per IPv6 /64.
pub(crate) fn origin(address: IpAddr) -> IpAddr {
    match address {
        IpAddr::V4(_) => address,
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
    }
}

/// The entry of an unidentified connection in its budget.
pub(crate) struct Ticket {
    from: IpAddr,
    /// `maxHandshakesPerAddress` of its port.
    per_address: u64,
    state: AtomicU8,
    /// Its loop and its key there: see [`Ticket::place`].
    place: AtomicU64,
    /// Where it stands in the order; changed under the lock of its budget.
    rank: AtomicU64,
}

/// More connections than that have no descriptors.
const PLACE_KEY_BITS: u32 = 40;

const WAITING: u8 = 0;
const LEFT: u8 = 1;
const EVICTED: u8 = 2;
const EVICTED_PER_ADDRESS: u8 = 3;

impl Ticket {
    /// The position of the loop where the connection is, or was before it was handed over, and its
    /// key there. `None`: it has not come to a loop.
    pub fn place(&self) -> Option<(usize, usize)> {
        let place = self.place.load(Ordering::SeqCst);
        let loop_index = (place >> PLACE_KEY_BITS).checked_sub(1)?;
        Some((loop_index as usize, (place & ((1 << PLACE_KEY_BITS) - 1)) as usize))
    }

    /// The connection has a (new) place; reports whether it was evicted on the way.
    pub fn settle_at(&self, loop_index: usize, key: usize) -> bool {
        let place = (loop_index as u64 + 1) << PLACE_KEY_BITS | key as u64;
        // Before the state is looked at: who evicts it does it the other way round.
        self.place.store(place, Ordering::SeqCst);
        self.evicted().is_some()
    }

    /// The reason, if it has been evicted.
    pub fn evicted(&self) -> Option<CloseReason> {
        match self.state.load(Ordering::SeqCst) {
            EVICTED => Some(CloseReason::MaxHandshakes),
            EVICTED_PER_ADDRESS => Some(CloseReason::MaxHandshakesPerAddress),
            _ => None,
        }
    }
}

/// A budget of unidentified connections.
pub(crate) struct Waiting {
    /// 0 = none.
    limit: u64,
    /// As many as there are entries, for those who have no lock.
    count: AtomicU64,
    state: Mutex<Crowds>,
    /// Accepters that wait until there is room.
    accepters: Waiters,
}

/// The stage in the highest byte, below it a number that grows: the oldest of each stage comes first.
type Rank = u64;

const STAGE_SHIFT: u32 = 56;

fn first_rank(stage: u64) -> Rank {
    stage << STAGE_SHIFT
}

fn stage_of(rank: Rank) -> Progress {
    ALL_PROGRESS[(rank >> STAGE_SHIFT) as usize]
}

struct Waiter {
    ticket: Arc<Ticket>,
    /// When it came to its stage, in monotonic milliseconds.
    since_ms: u64,
}

#[derive(Default)]
struct Crowds {
    next: u64,
    entries: BTreeMap<Rank, Waiter>,
    by_address: HashMap<IpAddr, BTreeSet<Rank>>,
    /// The addresses: by the stage of their first entry, then those that hold most.
    order: BTreeSet<(Progress, Reverse<usize>, IpAddr)>,
}

impl Waiting {
    pub fn new(limit: u64) -> Waiting {
        let count = AtomicU64::new(0);
        Waiting { limit, count, state: Mutex::default(), accepters: Waiters::default() }
    }

    /// The limit is reached: a newcomer needs somebody who is evicted for it.
    pub fn is_full(&self) -> bool {
        self.limit > 0 && self.count.load(Ordering::SeqCst) >= self.limit
    }

    /// Whether a newcomer may be accepted. If not: in so many milliseconds somebody can be evicted for it.
    /// Accepters that ask at the same time may each be told yes.
    pub fn may_enter(&self, now_ms: u64) -> Result<(), u64> {
        if !self.is_full() {
            return Ok(());
        }
        let state = self.state.lock();
        if !self.is_full() || state.victim(self.limit, now_ms).is_some() {
            return Ok(());
        }
        Err(state.next_victim_ms().saturating_sub(now_ms).max(1))
    }

    /// This accepter is woken, once, when somebody leaves. Ask again after that.
    pub fn wakes_when_there_is_room(&self, accepter: &Arc<mio::Waker>) {
        self.accepters.add(accepter);
    }

    /// A newcomer: its ticket, and the connection that is evicted for it.
    pub fn enter(
        &self,
        from: IpAddr,
        per_address: u64,
        now_ms: u64,
    ) -> (Arc<Ticket>, Option<Arc<Ticket>>) {
        let ticket = Arc::new(Ticket {
            from: origin(from),
            per_address,
            state: AtomicU8::new(WAITING),
            place: AtomicU64::new(0),
            rank: AtomicU64::new(0),
        });
        let mut state = self.state.lock();
        let victim = if per_address > 0 && state.held_by(ticket.from) >= per_address {
            state.evict_of_address(ticket.from)
        } else if self.is_full() {
            state.evict(self.limit, now_ms)
        } else {
            None
        };
        state.insert(&ticket, Progress::Silent, now_ms);
        self.count.store(state.entries.len() as u64, Ordering::SeqCst);
        (ticket, victim)
    }

    /// The connection has come to this stage. If it had been evicted it stays, and the one that is
    /// given goes instead.
    pub fn reached(
        &self,
        ticket: &Arc<Ticket>,
        stage: Progress,
        now_ms: u64,
    ) -> Option<Arc<Ticket>> {
        let mut state = self.state.lock();
        let before = ticket.state.load(Ordering::SeqCst);
        match before {
            WAITING => state.remove(ticket),
            LEFT => return None,
            _ => ticket.state.store(WAITING, Ordering::SeqCst),
        }
        state.insert(ticket, stage, now_ms);
        let over = self.limit > 0 && state.entries.len() as u64 > self.limit;
        let substitute = match before {
            EVICTED_PER_ADDRESS
                if ticket.per_address > 0 && state.held_by(ticket.from) > ticket.per_address =>
            {
                state.evict_of_address(ticket.from)
            }
            EVICTED if over => state.evict(self.limit, now_ms),
            _ => None,
        };
        self.count.store(state.entries.len() as u64, Ordering::SeqCst);
        substitute
    }

    /// It is identified, or has ended before.
    pub fn leave(&self, ticket: &Ticket) {
        let mut state = self.state.lock();
        if ticket.state.swap(LEFT, Ordering::SeqCst) == WAITING {
            state.remove(ticket);
            self.count.store(state.entries.len() as u64, Ordering::SeqCst);
        }
        drop(state);
        self.accepters.wake();
    }

    #[cfg(any(test, fuzzing))]
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::SeqCst)
    }
}

impl Crowds {
    fn insert(&mut self, ticket: &Arc<Ticket>, stage: Progress, since_ms: u64) {
        let rank = first_rank(stage as u64) + self.next;
        self.next += 1;
        ticket.rank.store(rank, Ordering::Relaxed);
        self.entries.insert(rank, Waiter { ticket: ticket.clone(), since_ms });
        self.change(ticket.from, |own| own.insert(rank));
    }

    fn remove(&mut self, ticket: &Ticket) {
        let rank = ticket.rank.load(Ordering::Relaxed);
        self.entries.remove(&rank);
        self.change(ticket.from, |own| own.remove(&rank));
    }

    /// Changes what an address holds, and with it its place in the order.
    fn change(&mut self, from: IpAddr, change: impl FnOnce(&mut BTreeSet<Rank>) -> bool) {
        let key = |own: &BTreeSet<Rank>| Some((stage_of(*own.first()?), Reverse(own.len()), from));
        let own = self.by_address.entry(from).or_default();
        let before = key(own);
        change(own);
        let after = key(own);
        if after.is_none() {
            self.by_address.remove(&from);
        }
        if before != after {
            before.inspect(|key| _ = self.order.remove(key));
            self.order.extend(after);
        }
    }

    fn held_by(&self, from: IpAddr) -> u64 {
        self.by_address.get(&from).map_or(0, |own| own.len() as u64)
    }

    /// Evicts one for a newcomer from anywhere.
    fn evict(&mut self, limit: u64, now_ms: u64) -> Option<Arc<Ticket>> {
        let rank = self.victim(limit, now_ms)?;
        self.evict_this(rank, EVICTED)
    }

    /// Evicts one for a newcomer from the same address.
    fn evict_of_address(&mut self, from: IpAddr) -> Option<Arc<Ticket>> {
        let rank = *self.by_address.get(&from)?.first()?;
        self.evict_this(rank, EVICTED_PER_ADDRESS)
    }

    fn evict_this(&mut self, rank: Rank, mark: u8) -> Option<Arc<Ticket>> {
        let ticket = self.entries.get(&rank)?.ticket.clone();
        self.remove(&ticket);
        ticket.state.store(mark, Ordering::SeqCst);
        Some(ticket)
    }

    /// Who goes if the limit is reached. Silent ones first: of the address that holds most if that
    /// has more than its fair share, otherwise one whose grace is over; then those that have spoken,
    /// likewise.
    fn victim(&self, limit: u64, now_ms: u64) -> Option<Rank> {
        let fair = self.fair_share(limit);
        let is_over = |rank: &Rank| {
            let since_ms = self.entries.get(rank).map_or(u64::MAX, |entry| entry.since_ms);
            since_ms.saturating_add(stage_of(*rank).grace_ms()) <= now_ms
        };
        let victim = ALL_PROGRESS.iter().find_map(|&stage| {
            let largest = self.of_largest(stage);
            let greedy = largest.filter(|(held, _)| *held > fair).map(|(_, rank)| rank);
            greedy
                .or_else(|| largest.map(|(_, rank)| rank).filter(is_over))
                .or_else(|| self.oldest(stage).filter(is_over))
        });
        #[cfg(any(test, fuzzing))]
        reference::check(self, fair, now_ms, victim);
        victim
    }

    /// How many an address may hold without being the one that keeps others out. What chance alone
    /// gives to one address of an honest crowd is in it, twice the spread.
    fn fair_share(&self, limit: u64) -> u64 {
        let share = limit / (self.by_address.len() as u64).max(1);
        share + 2 * share.isqrt() + 4
    }

    /// Of the addresses whose first connection is in this stage, the one that holds most: how many,
    /// and the first of them.
    fn of_largest(&self, stage: Progress) -> Option<(u64, Rank)> {
        let begin = (stage, Reverse(usize::MAX), IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let (first_stage, Reverse(held), from) = self.order.range(begin..).next()?;
        let rank = self.by_address.get(from)?.first()?;
        (*first_stage == stage).then_some((*held as u64, *rank))
    }

    fn oldest(&self, stage: Progress) -> Option<Rank> {
        let of_stage = first_rank(stage as u64)..first_rank(stage as u64 + 1);
        self.entries.range(of_stage).next().map(|(rank, _)| *rank)
    }

    /// When the first grace is over.
    fn next_victim_ms(&self) -> u64 {
        let ends = ALL_PROGRESS.iter().filter_map(|&stage| {
            let entry = self.entries.get(&self.oldest(stage)?)?;
            Some(entry.since_ms.saturating_add(stage.grace_ms()))
        });
        ends.min().unwrap_or(u64::MAX)
    }
}

/// The rule again, by looking at everybody.
#[cfg(any(test, fuzzing))]
mod reference {
    use super::*;

    pub(super) fn check(state: &Crowds, fair: u64, now_ms: u64, victim: Option<Rank>) {
        let mut addresses = HashMap::new();
        for (&rank, entry) in &state.entries {
            addresses.entry(entry.ticket.from).or_insert((rank, 0)).1 += 1;
        }
        let held = |from: IpAddr| addresses[&from].1;
        let is_first = |rank: Rank, from: IpAddr| addresses[&from].0 == rank;
        let all: Vec<_> = state.entries.iter().map(|(&rank, entry)| (rank, entry)).collect();
        let is_over =
            |rank: Rank, entry: &Waiter| entry.since_ms + stage_of(rank).grace_ms() <= now_ms;
        let greedy: Vec<_> = all
            .iter()
            .filter(|(rank, entry)| {
                held(entry.ticket.from) > fair && is_first(*rank, entry.ticket.from)
            })
            .collect();
        let late: Vec<_> = all.iter().filter(|(rank, entry)| is_over(*rank, entry)).collect();
        let Some(victim) = victim else {
            assert!(
                greedy.is_empty() && late.is_empty(),
                "nobody is evicted, and somebody could be"
            );
            return;
        };
        let from = state.entries[&victim].ticket.from;
        let stage = greedy.iter().chain(&late).map(|(rank, _)| stage_of(*rank)).min();
        assert_eq!(Some(stage_of(victim)), stage, "an earlier stage comes first");
        let is_of_stage = |(rank, _): &&&(Rank, &Waiter)| Some(stage_of(*rank)) == stage;
        let greedy: Vec<_> = greedy.iter().filter(is_of_stage).copied().collect();
        let late: Vec<_> = late.iter().filter(is_of_stage).copied().collect();
        assert!(is_first(victim, from) || greedy.is_empty(), "not the first of its address");
        let of_stage = if greedy.is_empty() { late } else { greedy };
        assert!(of_stage.iter().any(|(rank, _)| *rank == victim), "it is protected");
        let firsts = of_stage.iter().filter(|(rank, entry)| is_first(*rank, entry.ticket.from));
        let most = firsts.map(|(_, entry)| held(entry.ticket.from)).max();
        let oldest = of_stage.iter().map(|(rank, _)| *rank).min();
        assert!(
            Some(held(from)) == most || Some(victim) == oldest,
            "neither of the address that holds most nor the oldest"
        );
    }
}

#[cfg(test)]
mod tests;
