//! Faults that tests switch on to see that a model notices them. Without tests they are never on,
//! and cost nothing.

/// The faults.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
// The library as it is shipped asks for some of them only.
#[cfg_attr(not(any(test, fuzzing)), allow(dead_code))]
pub(crate) enum Canary {
    /// A byte of unused input gets lost between two reads.
    LostByte,
    /// A closed event is told twice.
    DoubleClose,
    /// A deadline that has moved is not filed again.
    ForgottenDeadline,
    /// The budget of a turn has no end.
    EndlessTurn,
    /// A handshake loop identifies connections, too.
    IdentifiesAnywhere,
    /// An error about PEM text shows a piece of it.
    ToldText,
    /// Each name of a section is searched among all others.
    SearchedNames,
}

#[cfg(fuzzing)]
impl Canary {
    pub const ALL: [Canary; 7] = [
        Canary::LostByte,
        Canary::DoubleClose,
        Canary::ForgottenDeadline,
        Canary::EndlessTurn,
        Canary::IdentifiesAnywhere,
        Canary::ToldText,
        Canary::SearchedNames,
    ];
}

/// True if this fault is switched on for the calling thread.
#[cfg(not(any(test, fuzzing)))]
#[inline(always)]
pub(crate) const fn is_on(_: Canary) -> bool {
    false
}

/// True if the allocator of a simulated world refuses a reservation.
#[cfg(not(any(test, fuzzing)))]
#[inline(always)]
pub(crate) const fn memory_is_out() -> bool {
    false
}

#[cfg(any(test, fuzzing))]
pub(crate) use switches::*;

#[cfg(any(test, fuzzing))]
mod switches {
    use super::Canary;
    use crate::base::random::Random;
    use std::cell::Cell;

    thread_local! {
        static CANARY: Cell<Option<Canary>> = const { Cell::new(None) };
        /// In a world whose memory is short: decides which large reservation fails.
        static SHORTAGE: Cell<Option<u64>> = const { Cell::new(None) };
    }

    /// Switches a fault on for the calling thread, or all off.
    pub(crate) fn set_canary(which: Option<Canary>) {
        CANARY.set(which);
    }

    /// The fault that is switched on for the calling thread.
    pub(crate) fn present() -> Option<Canary> {
        CANARY.get()
    }

    /// True if this fault is switched on for the calling thread.
    pub(crate) fn is_on(which: Canary) -> bool {
        CANARY.get() == Some(which)
    }

    /// From now on large reservations of the calling thread fail now and then, or none does.
    pub(crate) fn set_shortage(seed: Option<u64>) {
        SHORTAGE.set(seed);
    }

    /// True if the allocator of a simulated world refuses this reservation.
    pub(crate) fn memory_is_out() -> bool {
        let Some(state) = SHORTAGE.get() else { return false };
        let mut random = Random::new(state);
        SHORTAGE.set(Some(random.next()));
        random.one_in(12)
    }
}
