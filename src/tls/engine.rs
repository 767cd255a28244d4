//! One TLS connection: bytes that arrived go in, plain text and bytes to send come out.
//!
//! Promises: no input makes it panic; a peer can make it hold [`MAX_HANDSHAKE`] bytes and no
//! more; an idle connection holds no buffers; after a failure every call fails with the same
//! reason. Before it reports a failure it sends an alert, encrypted where the peer expects that, unless the
//! peer sent one or we have sent `close_notify`. It never passes a failure off as a clean end (`close_notify`).
//! The ClientHello goes to the TLS library as one record, whatever records it came in.
//! The buffers belong to the caller, who also decides when to flush, and when to give up.
//! How the TLS library is driven is left to `unbuffered`.

use super::acceptor::Acceptor;
use super::client_hello::{Gathering, Peek};
use super::failure::{RENEGOTIATION, TlsError};
use super::unbuffered::{RECORD_HEADER, Running, plain_alert};
use crate::base::budget::Budget;

/// Most bytes that a peer may send until the handshake is complete, and most that an
/// unfinished handshake message may occupy afterwards.
pub const MAX_HANDSHAKE: usize = 64 * 1024;

const MAX_PLAIN: usize = 16 * 1024;
/// Header, explicit nonce and tag of TLS 1.2; TLS 1.3 needs less.
const RECORD_OVERHEAD: usize = RECORD_HEADER + 8 + 16;
/// A key update that goes out in front of the data.
const KEY_UPDATE: usize = 64;

/// The TLS side of one connection.
pub struct Engine {
    state: State,
}

enum State {
    /// No whole ClientHello yet.
    Hello(Box<Beginning>),
    Running(Box<Running>),
    Failed(Box<Failure>),
}

struct Failure {
    error: TlsError,
    /// What had been negotiated.
    facts: Option<Facts>,
}

struct Beginning {
    acceptor: Acceptor,
    hello: Gathering,
}

/// What was negotiated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// `TLSv1.2` or `TLSv1.3`.
    pub version: &'static str,
    /// IANA name of the cipher suite.
    pub suite: String,
    /// IANA name of the key exchange group.
    pub group: &'static str,
    /// The protocol agreed by ALPN.
    pub alpn: Option<String>,
    /// The host name that the peer asked for (SNI), in lower case.
    pub server_name: Option<String>,
    /// An earlier session was resumed.
    pub resumed: bool,
}

/// Why nothing was sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SealError {
    /// `out` must have at least this size.
    TooSmall(usize),
    /// The handshake is not complete.
    Handshaking,
    /// `close_notify` was sent, or the keys are used up.
    Closed,
    /// The connection failed earlier or just now.
    Failed(TlsError),
}

impl Engine {
    /// The TLS side of a connection whose first byte has arrived.
    pub fn new(acceptor: &Acceptor) -> Engine {
        let beginning = Beginning { acceptor: acceptor.clone(), hello: Gathering::default() };
        Engine { state: State::Hello(Box::new(beginning)) }
    }

    /// Works on the front of `input`, opens it in place, appends plain text to `plain` and bytes
    /// for the peer (handshake, alerts, key updates) to `wire`. Answers how many bytes are used
    /// up; the rest must stand first in the next call: a cut record, or whole ones if the budget
    /// is spent. What was appended counts on errors too.
    pub(crate) fn open(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
        budget: &mut Budget,
    ) -> Result<usize, TlsError> {
        let result = match &mut self.state {
            State::Failed(failure) => return Err(failure.error.clone()),
            State::Running(running) => running.open(input, plain, wire, budget),
            State::Hello(beginning) => match begin(beginning, input, wire, budget) {
                Ok((used, None)) => return Ok(used),
                Ok((used, Some(mut running))) => {
                    let hello = std::mem::take(&mut beginning.hello);
                    let result = running
                        .begin(hello, plain, wire, budget)
                        .and_then(|()| running.open(&mut input[used..], plain, wire, budget));
                    self.state = State::Running(running);
                    result.map(|more| used + more)
                }
                Err(error) => Err(error),
            },
        };
        if let Err(error) = &result {
            self.fail(error);
        }
        result
    }

    fn fail(&mut self, error: &TlsError) {
        let facts = self.facts();
        self.state = State::Failed(Box::new(Failure { error: error.clone(), facts }));
    }

    /// The handshake is not complete (a failed one never will be).
    pub fn is_handshaking(&self) -> bool {
        match &self.state {
            State::Hello(_) => true,
            State::Running(running) => running.is_handshaking(),
            State::Failed(_) => false,
        }
    }

    /// The peer's `close_notify` arrived: it will send no more. It may still be sent to.
    pub fn peer_closed(&self) -> bool {
        matches!(&self.state, State::Running(running) if running.peer_closed)
    }

    /// The peer's input ends inside a message of TLS.
    pub fn is_inside_message(&self) -> bool {
        matches!(&self.state, State::Running(running) if running.is_inside_message())
    }

    /// What explains an end without `close_notify`, where the peer has said why it may end.
    pub fn remark(&self) -> &'static str {
        match &self.state {
            State::Running(running) if running.was_refused_renegotiation() => RENEGOTIATION,
            _ => "",
        }
    }

    /// An upper bound of what sealing `length` bytes takes.
    pub const fn sealed_size(length: usize) -> usize {
        length + (length / MAX_PLAIN + 1) * RECORD_OVERHEAD + KEY_UPDATE
    }

    /// Seals `data` into `out` and answers how many bytes were written. `out` must have
    /// [`Engine::sealed_size`] bytes, else nothing is done.
    pub fn seal(&mut self, data: &[u8], out: &mut [u8]) -> Result<usize, SealError> {
        let running = match &mut self.state {
            State::Hello(_) => return Err(SealError::Handshaking),
            State::Failed(failure) => return Err(SealError::Failed(failure.error.clone())),
            State::Running(running) => running,
        };
        if running.is_handshaking() {
            return Err(SealError::Handshaking);
        }
        if running.closing {
            return Err(SealError::Closed);
        }
        let needed = Engine::sealed_size(data.len());
        if out.len() < needed {
            return Err(SealError::TooSmall(needed));
        }
        match running.write(out, |traffic, out| traffic.encrypt(data, out)) {
            Ok(written) => Ok(written),
            Err(None) => {
                running.closing = true;
                Err(SealError::Closed)
            }
            Err(Some(error)) => {
                self.fail(&error);
                Err(SealError::Failed(error))
            }
        }
    }

    /// Appends `close_notify` to `wire`, once. Before the handshake is complete, and after a
    /// failure, nothing is sent: neither is a clean end.
    pub fn close_notify(&mut self, wire: &mut Vec<u8>) {
        if let State::Running(running) = &mut self.state
            && !running.is_handshaking()
            && !running.closing
        {
            running.closing = true;
            // Alert and key update: far below what sealing nothing may take.
            let mut out = [0; Engine::sealed_size(0)];
            let written = running.write(&mut out, |traffic, out| traffic.queue_close_notify(out));
            wire.extend_from_slice(&out[..written.unwrap_or(0)]);
        }
    }

    /// What was negotiated; `None` until the handshake is complete.
    pub fn facts(&self) -> Option<Facts> {
        match &self.state {
            State::Hello(_) => None,
            State::Running(running) => running.facts(),
            State::Failed(failure) => failure.facts.clone(),
        }
    }
}

/// Takes what belongs to the ClientHello; without a connection while it is not whole.
fn begin(
    beginning: &mut Beginning,
    input: &[u8],
    wire: &mut Vec<u8>,
    budget: &mut Budget,
) -> Result<(usize, Option<Box<Running>>), TlsError> {
    let Beginning { acceptor, hello: gathering } = beginning;
    let records = gathering.records();
    let (used, peek) = gathering.take(input);
    budget.hello_records(gathering.records() - records);
    let hello = match peek {
        Peek::NeedMore => return Ok((used, None)),
        Peek::Hello(hello) => Some(hello),
        // The library finds the same, or better, and knows the alert for it.
        Peek::Malformed => None,
        other => {
            let failure = TlsError::no_hello(&other, gathering.is_empty());
            if let (Some(alert), false) = (failure.alert, failure.sent_by_peer) {
                wire.extend(plain_alert(alert));
            }
            return Err(failure);
        }
    };
    let tls = acceptor
        .connect(hello.as_deref())
        .map_err(|error| TlsError::ours(None, error.to_string()))?;
    Ok((used, Some(Box::new(Running::new(tls, hello, acceptor.clone())))))
}
