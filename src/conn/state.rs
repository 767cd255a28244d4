//! What a host may still do with a connection.

use crate::base::sync::atomic::{AtomicU32, Ordering};
use crate::event::Protocol;
use crate::status::Status;

/// What a host may still do with a connection; changed by the call itself, on any thread,
/// so that its effect on later calls is immediate.
pub(crate) struct State(AtomicU32);

/// The host has been asked and has not answered.
const ADMITTING: u32 = 1;
/// Our direction has been ended.
const SHUT: u32 = 2;
/// Closing: no callback but closed is begun any more.
const CLOSING: u32 = 4;
/// Gone.
const ENDED: u32 = 8;
/// The host has closed it: it wants to hear nothing more but closed.
const MUTED: u32 = 16;
/// The host has paused reading.
const PAUSED: u32 = 32;

impl State {
    pub fn new(asks_admission: bool) -> State {
        State(AtomicU32::new(if asks_admission { ADMITTING } else { 0 }))
    }

    fn now(&self) -> u32 {
        self.0.load(Ordering::SeqCst)
    }

    /// Not closing and not ended.
    pub fn in_use(&self) -> Result<(), Status> {
        if self.now() & (CLOSING | ENDED) != 0 { Err(Status::Closed) } else { Ok(()) }
    }

    /// It may be closing.
    pub fn not_ended(&self) -> Result<(), Status> {
        if self.now() & ENDED != 0 { Err(Status::Closed) } else { Ok(()) }
    }

    pub fn may_send(&self, protocol: Protocol, framed: bool) -> Result<(), Status> {
        let now = self.now();
        if now & (SHUT | CLOSING | ENDED) != 0 {
            Err(Status::Closed)
        } else if now & ADMITTING != 0 || protocol.is_framed() != framed {
            Err(Status::State)
        } else {
            Ok(())
        }
    }

    /// Answers the question of admission: the first one counts.
    pub fn decide(&self) -> Result<(), Status> {
        self.in_use()?;
        let before = self.0.fetch_and(!ADMITTING, Ordering::SeqCst);
        if before & ADMITTING == 0 { Err(Status::State) } else { Ok(()) }
    }

    /// Answers it with a refusal: nothing but closed follows.
    pub fn refuse(&self) -> Result<(), Status> {
        self.decide()?;
        self.close()
    }

    pub fn is_admitting(&self) -> bool {
        self.now() & ADMITTING != 0
    }

    pub fn shut(&self) -> Result<(), Status> {
        self.in_use()?;
        if self.is_admitting() {
            return Err(Status::State);
        }
        self.0.fetch_or(SHUT, Ordering::SeqCst);
        Ok(())
    }

    /// The host closes it.
    pub fn close(&self) -> Result<(), Status> {
        let before = self.0.fetch_or(CLOSING | MUTED, Ordering::SeqCst);
        if before & (CLOSING | ENDED) != 0 { Err(Status::Closed) } else { Ok(()) }
    }

    /// The library ends it: what has arrived is still told.
    pub fn fail(&self) -> Result<(), Status> {
        let before = self.0.fetch_or(CLOSING, Ordering::SeqCst);
        if before & (CLOSING | ENDED) != 0 { Err(Status::Closed) } else { Ok(()) }
    }

    /// The library ends it, also one that is closing: nothing more is taken.
    pub fn cut(&self) -> Result<(), Status> {
        let before = self.0.fetch_or(CLOSING, Ordering::SeqCst);
        if before & ENDED != 0 { Err(Status::Closed) } else { Ok(()) }
    }

    pub fn mute(&self) {
        self.0.fetch_or(MUTED, Ordering::SeqCst);
    }

    pub fn is_muted(&self) -> bool {
        self.now() & MUTED != 0
    }

    pub fn pause(&self) -> Result<(), Status> {
        self.in_use()?;
        self.0.fetch_or(PAUSED, Ordering::SeqCst);
        Ok(())
    }

    pub fn resume(&self) -> Result<(), Status> {
        self.in_use()?;
        self.0.fetch_and(!PAUSED, Ordering::SeqCst);
        Ok(())
    }

    pub fn is_paused(&self) -> bool {
        self.now() & PAUSED != 0
    }

    /// Unlike close it also works on a connection that is closing: it cuts the flush short.
    pub fn abort(&self) -> Result<(), Status> {
        let before = self.0.fetch_or(CLOSING | MUTED, Ordering::SeqCst);
        if before & ENDED != 0 { Err(Status::Closed) } else { Ok(()) }
    }

    pub fn is_closing(&self) -> bool {
        self.now() & (CLOSING | ENDED) != 0
    }

    pub fn end(&self) {
        self.0.fetch_or(ENDED, Ordering::SeqCst);
    }
}
