//! Tests of `waiting`.

use super::*;
use crate::base::random::Random;

fn ip(last: u8) -> IpAddr {
    IpAddr::from([10, 0, 0, last])
}

/// A budget and those who are in it.
struct Crowd {
    waiting: Waiting,
    now_ms: u64,
}

impl Crowd {
    fn of(limit: u64) -> Crowd {
        Crowd { waiting: Waiting::new(limit), now_ms: 1000 }
    }

    /// A newcomer for whom nobody is evicted.
    fn joins(&self, from: IpAddr) -> Arc<Ticket> {
        let (ticket, victim) = self.waiting.enter(from, 0, self.now_ms);
        assert!(victim.is_none());
        ticket
    }

    /// A newcomer; gives the evicted one.
    fn evicts(&self, from: IpAddr) -> Option<Arc<Ticket>> {
        self.waiting.enter(from, 0, self.now_ms).1
    }

    fn reaches(&self, ticket: &Arc<Ticket>, stage: Progress) {
        assert!(self.waiting.reached(ticket, stage, self.now_ms).is_none());
    }
}

fn is(one: &Option<Arc<Ticket>>, other: &Arc<Ticket>) -> bool {
    one.as_ref().is_some_and(|one| Arc::ptr_eq(one, other))
}

#[test]
fn handshakes_under_way_of_a_large_address_come_after_silent_ones_whose_grace_is_over() {
    let mut crowd = Crowd::of(20);
    let silent: Vec<_> = (0..12).map(|last| crowd.joins(ip(last))).collect();
    crowd.now_ms += GRACE_MS;
    // More than a fair share, and all of them have spoken.
    let spoken: Vec<_> = (0..8).map(|_| crowd.joins(ip(200))).collect();
    spoken.iter().for_each(|ticket| crowd.reaches(ticket, Progress::Spoken));
    for (ticket, last) in silent.iter().zip(100..) {
        assert!(is(&crowd.evicts(ip(last)), ticket), "the oldest silent one");
    }
    // The newcomers have their grace: now the address goes that holds more than its share.
    assert!(is(&crowd.evicts(ip(150)), &spoken[0]));
}

#[test]
fn below_the_limit_nobody_is_evicted_however_old_or_many_of_one_address() {
    let mut crowd = Crowd::of(50);
    for _ in 0..50 {
        crowd.now_ms += 100_000;
        crowd.joins(ip(1));
    }
    assert_eq!(crowd.waiting.count(), 50);
}

#[test]
fn a_limit_of_0_is_none() {
    let crowd = Crowd::of(0);
    (0..1000).for_each(|_| drop(crowd.joins(ip(1))));
    assert_eq!(crowd.waiting.may_enter(u64::MAX), Ok(()));
}

#[test]
fn within_fair_shares_a_silent_one_is_evicted_after_its_grace_and_not_before() {
    let mut crowd = Crowd::of(2);
    let (first, second) = (crowd.joins(ip(1)), crowd.joins(ip(2)));
    crowd.now_ms += GRACE_MS - 1;
    assert_eq!(crowd.waiting.may_enter(crowd.now_ms), Err(1));
    crowd.now_ms += 1;
    assert_eq!(crowd.waiting.may_enter(crowd.now_ms), Ok(()));
    let victim = crowd.evicts(ip(3));
    assert!(is(&victim, &first) || is(&victim, &second));
    assert_eq!(victim.unwrap().evicted(), Some(CloseReason::MaxHandshakes));
    assert_eq!(crowd.waiting.count(), 2);
}

#[test]
fn a_place_that_is_freed_lets_a_newcomer_in() {
    let crowd = Crowd::of(1);
    let first = crowd.joins(ip(1));
    assert_eq!(crowd.waiting.may_enter(crowd.now_ms), Err(GRACE_MS));
    crowd.waiting.leave(&first);
    assert_eq!(crowd.waiting.may_enter(crowd.now_ms), Ok(()));
    crowd.joins(ip(1));
}

#[test]
fn an_address_with_more_than_its_share_has_no_grace_and_loses_its_oldest_silent_one() {
    let crowd = Crowd::of(100);
    let other = crowd.joins(ip(2));
    let greedy: Vec<_> = (0..99).map(|_| crowd.joins(ip(1))).collect();
    crowd.reaches(&greedy[0], Progress::Spoken);
    assert!(is(&crowd.evicts(ip(2)), &greedy[1]));
    assert!(is(&crowd.evicts(ip(1)), &greedy[2]));
    assert!(other.evicted().is_none() && greedy[0].evicted().is_none());
}

#[test]
fn spoken_ones_go_after_all_silent_ones_and_finished_ones_last() {
    let mut crowd = Crowd::of(3);
    let all: Vec<_> = (0..3).map(|_| crowd.joins(ip(1))).collect();
    crowd.reaches(&all[0], Progress::Finished);
    crowd.reaches(&all[1], Progress::Spoken);
    crowd.now_ms += 60_000;
    let orders = [&all[2], &all[1], &all[0]];
    for victim in orders {
        assert!(is(&crowd.evicts(ip(1)), victim));
        // The newcomers are silent, and within their grace.
        crowd.now_ms += GRACE_MS / 4;
    }
}

#[test]
fn a_step_begins_a_longer_grace() {
    let mut crowd = Crowd::of(1);
    let one = crowd.joins(ip(1));
    crowd.now_ms += GRACE_MS;
    crowd.reaches(&one, Progress::Spoken);
    assert_eq!(crowd.waiting.may_enter(crowd.now_ms), Err(GRACE_SPOKEN_MS));
}

#[test]
fn one_that_came_further_before_it_could_be_evicted_stays_and_another_goes() {
    let mut crowd = Crowd::of(2);
    let (first, second) = (crowd.joins(ip(1)), crowd.joins(ip(1)));
    crowd.now_ms += GRACE_MS;
    assert!(is(&crowd.evicts(ip(1)), &first));
    let substitute = crowd.waiting.reached(&first, Progress::Spoken, crowd.now_ms);
    assert!(is(&substitute, &second) && first.evicted().is_none());
    assert_eq!(crowd.waiting.count(), 2);
    // Nobody else can go: it is one more for a time, and then nobody comes in.
    assert!(crowd.waiting.reached(&second, Progress::Spoken, crowd.now_ms).is_none());
    assert_eq!(crowd.waiting.count(), 3);
    crowd.waiting.leave(&second);
    assert!(crowd.waiting.may_enter(crowd.now_ms).is_err());
    crowd.waiting.leave(&first);
    assert!(crowd.waiting.may_enter(crowd.now_ms).is_ok());
}

#[test]
fn one_that_was_evicted_and_ends_frees_no_second_place() {
    let mut crowd = Crowd::of(1);
    let first = crowd.joins(ip(1));
    crowd.now_ms += GRACE_MS;
    assert!(is(&crowd.evicts(ip(1)), &first));
    crowd.waiting.leave(&first);
    assert_eq!(crowd.waiting.count(), 1);
    assert!(crowd.waiting.reached(&first, Progress::Spoken, crowd.now_ms).is_none());
    assert_eq!(crowd.waiting.count(), 1);
}

#[test]
fn the_limit_of_an_address_evicts_its_own_oldest_without_a_grace() {
    let crowd = Crowd::of(0);
    let enter = |from| crowd.waiting.enter(from, 2, crowd.now_ms);
    let (other, _) = enter(ip(2));
    let (first, _) = enter(ip(1));
    let (second, _) = enter(ip(1));
    crowd.reaches(&first, Progress::Spoken);
    let (third, victim) = enter(ip(1));
    assert!(is(&victim, &second) && other.evicted().is_none());
    assert_eq!(second.evicted(), Some(CloseReason::MaxHandshakesPerAddress));
    assert!(is(&crowd.waiting.reached(&second, Progress::Finished, crowd.now_ms), &third));
    // IPv6 addresses count by their first 64 bits.
    let (_, victim) = enter("2001:db8::1".parse().unwrap());
    assert!(victim.is_none() && enter("2001:db8::2".parse().unwrap()).1.is_none());
    assert!(enter("2001:db8::3".parse().unwrap()).1.is_some());
}

/// `reference` looks at every decision.
#[test]
fn whatever_comes_goes_and_speaks_the_victim_is_that_of_the_rule() {
    for seed in 1..=40 {
        let mut random = Random::new(seed);
        let limit = 1 + random.below(120) as u64;
        let addresses = 1 + random.below(12);
        let mut crowd = Crowd::of(limit);
        let mut all: Vec<(Arc<Ticket>, Progress)> = Vec::new();
        for _ in 0..600 {
            crowd.now_ms += random.size(400) as u64;
            if random.one_in(3) && !all.is_empty() {
                let at = random.below(all.len());
                let (ticket, stage) = &mut all[at];
                if random.one_in(2) && *stage < Progress::Finished {
                    *stage = ALL_PROGRESS[*stage as usize + 1];
                    crowd.waiting.reached(ticket, *stage, crowd.now_ms);
                } else {
                    crowd.waiting.leave(ticket);
                    all.swap_remove(at);
                }
            } else if crowd.waiting.may_enter(crowd.now_ms).is_ok() {
                // Some addresses come more often.
                let most = 1 + random.below(addresses);
                let from = ip(random.below(most) as u8);
                let full = crowd.waiting.is_full();
                let (ticket, victim) = crowd.waiting.enter(from, 0, crowd.now_ms);
                assert_eq!(victim.is_some(), full, "an eviction for each at the limit");
                all.push((ticket, Progress::Silent));
            }
            let waiting = all.iter().filter(|(ticket, _)| ticket.evicted().is_none()).count();
            assert_eq!(crowd.waiting.count(), waiting as u64);
        }
    }
}
