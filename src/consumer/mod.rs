//! Stage 5: the one place that decides which consumer gets the events of a connection.
//!
//! A connection gives each event to its [`Delivery`], which passes it on as its
//! runtime's [`Consumer`] says. It also knows which events are not consumed yet. Other rooms name
//! no kind of consumer; another kind is another variant here.
//!
//! | file | what it holds |
//! | --- | --- |
//! | `mailbox` | events that wait for a worker |
//! | `workers` | the pool of threads that empty mailboxes |
//! | `round` | events that a host gets from its next poll |
//! | `inbox` | input that waits until the host takes it |

pub(crate) mod inbox;
pub(crate) mod mailbox;
pub(crate) mod round;
pub(crate) mod workers;

use crate::base::sync::atomic::AtomicUsize;
use crate::event::{CloseInfo, Conn, Event, Handler};
use crate::status::{CloseReason, Status};
use inbox::{Inbox, Item};
use mailbox::{Letter, Mailbox};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Who gets the events of a runtime's connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Consumer {
    /// Callbacks on the loop's own thread: the fastest; they must not block for long.
    #[default]
    Callbacks,
    /// Callbacks on `workerThreads` threads: they may block.
    Workers,
    /// Threads of the host that poll: [`PollLoop`](crate::runtime::PollLoop).
    Poll,
}

/// What a consumer asks of the connection that it serves, on any thread.
pub(crate) trait Owner: Send + Sync + 'static {
    fn conn(&self) -> Conn;
    /// The host has been asked for admission and has not answered.
    fn is_admitting(&self) -> bool;
    /// It is closing or has ended.
    fn is_closing(&self) -> bool;
    /// Its host wants no event any more but the last.
    fn is_muted(&self) -> bool;
    /// Its host has paused reading.
    fn is_paused(&self) -> bool;
    /// Its queue of output is at the high-water mark.
    fn is_over_mark(&self) -> bool;
    /// True if its loop may have to read on: `before` bytes waited, and the host took `bytes` of them.
    fn has_room_again(&self, before: usize, bytes: usize) -> bool;
    /// Its loop looks at it.
    fn touch(self: &Arc<Self>);
    /// Its mailbox goes to the workers.
    fn goes_to_workers(self: &Arc<Self>);
    /// A callback has panicked.
    fn has_panicked(self: &Arc<Self>);
}

/// What a connection gives back when its closed event has been consumed.
pub(crate) type Parting = Box<dyn Send>;

/// What became of an event.
pub(crate) enum Put<'a> {
    Taken,
    /// Its callback is to be called now, on this thread.
    Call(Arc<dyn Handler>, Event<'a>),
    /// It cannot be held: its connection ends for this reason.
    Failed(CloseReason),
    /// A bug of the library: no round is open on this thread that could take the event.
    Lost,
}

/// How the events of one connection reach their consumer.
pub(crate) struct Delivery {
    way: Way,
    /// Input waits here until the host takes it; all else goes its way.
    inbox: Option<Box<Inbox>>,
}

enum Way {
    /// By callbacks on the loop's thread.
    Callbacks,
    /// By callbacks of workers.
    Mailbox(Box<Mailbox>),
    /// By a poll; the round in which input was told last.
    Round(AtomicU64),
}

impl Delivery {
    /// For a connection of this handler.
    pub fn new(consumer: Consumer, handler: &dyn Handler) -> Delivery {
        let way = match consumer {
            // Code of the library itself: whatever the host's threads do.
            _ if handler.is_internal() => Way::Callbacks,
            Consumer::Callbacks => Way::Callbacks,
            Consumer::Workers => Way::Mailbox(Box::default()),
            Consumer::Poll => Way::Round(AtomicU64::new(0)),
        };
        Delivery { way, inbox: handler.wants_inbox().then(Box::default) }
    }

    fn mailbox(&self) -> Option<&Mailbox> {
        match &self.way {
            Way::Mailbox(mailbox) => Some(mailbox),
            Way::Callbacks | Way::Round(_) => None,
        }
    }

    // What a connection gives.

    /// An event but the last.
    pub fn put<'a>(
        &self,
        owner: &Arc<impl Owner>,
        handler: Arc<dyn Handler>,
        event: Event<'a>,
    ) -> Put<'a> {
        let is_input = matches!(event, Event::Frames(_) | Event::Data(_));
        if is_input && let Some(inbox) = &self.inbox {
            return inbox.put(&event).map_or_else(Put::Failed, |()| Put::Taken);
        }
        match &self.way {
            Way::Callbacks => Put::Call(handler, event),
            Way::Mailbox(mailbox) => match Letter::of(handler, event) {
                Ok(letter) => {
                    mailbox.post(owner, letter);
                    Put::Taken
                }
                Err(reason) => Put::Failed(reason),
            },
            Way::Round(told_in) => {
                if is_input {
                    told_in.store(round::number(), Ordering::Relaxed);
                }
                match round::push(owner.conn(), handler, &event) {
                    true => Put::Taken,
                    false => Put::Lost,
                }
            }
        }
    }

    /// Puts one frame without a copy, as there may be no memory for one. Returns the payload if the
    /// caller must put it as an event instead.
    pub fn put_frame(
        &self,
        owner: &Arc<impl Owner>,
        handler: &Arc<dyn Handler>,
        payload: Vec<u8>,
        compressed: bool,
    ) -> Option<Vec<u8>> {
        match (&self.inbox, &self.way) {
            (Some(inbox), _) => inbox.put_frame(payload, compressed),
            (None, Way::Mailbox(mailbox)) => {
                mailbox.post(owner, Letter::frame(handler.clone(), payload, compressed));
            }
            (None, Way::Callbacks | Way::Round(_)) => return Some(payload),
        }
        None
    }

    /// The last event. `part` gives what is dropped when it has been consumed, unless it is to be
    /// called now.
    pub fn closed<'a>(
        &self,
        owner: &Arc<impl Owner>,
        handler: Arc<dyn Handler>,
        info: &'a CloseInfo,
        part: impl FnOnce() -> Parting,
    ) -> Put<'a> {
        match &self.way {
            Way::Callbacks => Put::Call(handler, Event::Closed(info)),
            Way::Mailbox(mailbox) => {
                mailbox.post(owner, Letter::closed(handler, info.clone(), part()));
                Put::Taken
            }
            Way::Round(_) => match round::push_closed(owner.conn(), handler, info, part()) {
                true => Put::Taken,
                false => Put::Lost,
            },
        }
    }

    /// A buffer for further use: another one if events that were put point into this one.
    pub fn spare(&self, buffer: Vec<u8>) -> Vec<u8> {
        match self.way {
            Way::Round(_) => round::spare(buffer),
            Way::Callbacks | Way::Mailbox(_) => buffer,
        }
    }

    /// The peer sends nothing more.
    pub fn input_ends(&self) {
        if let Some(inbox) = &self.inbox {
            inbox.end();
        }
    }

    /// What has not been taken is not wanted any more.
    pub fn discard(&self) {
        if let Some(inbox) = &self.inbox {
            inbox.discard();
        }
    }

    /// The host reads on: what waits behind its pause goes out.
    pub fn resumes(&self, owner: &Arc<impl Owner>) {
        if let Some(mailbox) = self.mailbox() {
            mailbox.resume(owner);
        }
    }

    /// Output has left: what was held back for it goes out.
    pub fn output_has_left(&self, owner: &Arc<impl Owner>) {
        if let Some(mailbox) = self.mailbox() {
            mailbox.release(owner);
        }
    }

    // What a connection asks.

    /// More input may be put. `is_over_mark`: output of the connection is at its high-water mark.
    pub fn may_take(&self, window_bytes: usize, is_over_mark: bool) -> bool {
        match (&self.inbox, &self.way) {
            // Input in an inbox runs no callback that sends more. The window alone bounds it.
            (Some(_), _) => self.waiting_bytes() < window_bytes,
            (None, Way::Mailbox(_)) => !is_over_mark && self.waiting_bytes() < window_bytes,
            (None, Way::Callbacks | Way::Round(_)) => !is_over_mark,
        }
    }

    /// Input that waits for the host.
    pub fn waiting_bytes(&self) -> usize {
        let load = |bytes: &AtomicUsize| bytes.load(Ordering::SeqCst);
        self.mailbox().map_or(0, |mailbox| load(&mailbox.waiting_bytes))
            + self.inbox.as_ref().map_or(0, |inbox| load(&inbox.waiting_bytes))
    }

    /// Everything that was put has been consumed, as far as this can be told from here. If not, the
    /// connection is touched when it has, unless it [has to look again](Delivery::look_again).
    pub fn is_consumed(&self) -> bool {
        let way_is = match &self.way {
            Way::Callbacks => true,
            // It announces that it is waited for, whatever the inbox says.
            Way::Mailbox(mailbox) => mailbox.is_consumed(),
            Way::Round(_) => !self.look_again(),
        };
        way_is && self.inbox.as_ref().is_none_or(|inbox| inbox.is_consumed())
    }

    /// The host may still use the last input, and no call reports when it is done: check again later.
    pub fn look_again(&self) -> bool {
        let Way::Round(told_in) = &self.way else { return false };
        let told_in = told_in.load(Ordering::Relaxed);
        told_in > 0 && told_in == round::number()
    }

    /// Input waits that the host takes even after the end.
    pub fn has_untaken(&self) -> bool {
        self.inbox.as_ref().is_some_and(|inbox| !inbox.is_empty())
    }

    /// The host has come to the peer's end, which was put.
    pub fn has_shown_end(&self) -> bool {
        match (&self.inbox, &self.way) {
            (Some(inbox), _) => inbox.is_consumed(),
            (None, Way::Mailbox(mailbox)) => mailbox.has_shown_end(),
            (None, Way::Callbacks | Way::Round(_)) => true,
        }
    }

    // What a host asks, on any thread.

    /// Input may be taken here, also after the end.
    pub fn keeps_input(&self) -> bool {
        self.inbox.is_some()
    }

    /// The next frame that waits.
    pub fn frame(&self, owner: &Arc<impl Owner>, timeout_ms: Option<u64>) -> Result<Item, Status> {
        self.inbox.as_ref().ok_or(Status::State)?.frame(owner, timeout_ms)
    }

    /// The next bytes of a stream that wait.
    pub fn bytes(
        &self,
        owner: &Arc<impl Owner>,
        buffer: &mut [u8],
        timeout_ms: Option<u64>,
    ) -> Result<usize, Status> {
        let inbox = self.inbox.as_ref().ok_or(Status::State)?;
        if buffer.is_empty() {
            return Err(Status::Argument);
        }
        inbox.bytes(owner, buffer, timeout_ms)
    }

    /// A worker has this connection.
    pub fn serve(&self, owner: &Arc<impl Owner>) {
        if let Some(mailbox) = self.mailbox() {
            workers::work_on(owner, mailbox);
        }
    }

    /// Events for which there is room without more memory.
    #[cfg(test)]
    pub fn reserved(&self) -> usize {
        let mailbox = self.mailbox().map_or(0, Mailbox::reserved);
        mailbox + self.inbox.as_ref().map_or(0, |inbox| inbox.reserved())
    }
}
