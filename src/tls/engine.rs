//! One TLS connection: bytes that arrived go in, plain text and bytes to send come out.
//!
//! Promises: no input makes it panic; a peer can make it hold [`MAX_HANDSHAKE`] bytes and no
//! more; an idle connection holds no buffers; after a failure every call fails with the same
//! reason. It sends the alert that a failure calls for before it reports the failure, and never
//! passes a failure off as a clean end (`close_notify`).
//! The buffers belong to the caller, who also decides when to flush, and when to give up.
//!
//! Two rules of the TLS library's unbuffered interface shape this file. It opens records in
//! place, and remembers *where* in the input the pieces of an unfinished handshake message lie:
//! so records go in one by one, and one with such a piece moves to `held`, which is then the
//! input as long as there is something in it. And it encrypts only in the state that processing
//! no further input leads to.

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedStatus, WriteTraffic,
};
use rustls::{Error, HandshakeKind, ProtocolVersion};

use super::acceptor::Acceptor;
use super::client_hello::{ClientHello, MAX_RECORDS, Peek, peek};
use super::failure::TlsError;
use super::options::Version;
use super::policy::{group_name, suite_name};

/// Most bytes that a peer may send until the handshake is complete, and most that an
/// unfinished handshake message may occupy afterwards.
pub const MAX_HANDSHAKE: usize = 64 * 1024;

const RECORD_HEADER: usize = 5;
const MAX_RECORD: usize = RECORD_HEADER + 16 * 1024 + 2048;
const MAX_PLAIN: usize = 16 * 1024;
/// Header, explicit nonce and tag of TLS 1.2; TLS 1.3 needs less.
const RECORD_OVERHEAD: usize = RECORD_HEADER + 8 + 16;
/// A key update that goes out in front of the data.
const KEY_UPDATE: usize = 64;
const DECODE_ERROR: u8 = 50;

/// The TLS side of one connection.
pub struct Engine {
    state: State,
}

enum State {
    /// No whole ClientHello yet; its bytes are still with the caller.
    Hello(Acceptor),
    Running(Box<Running>),
    Failed(Box<TlsError>),
}

struct Running {
    tls: UnbufferedServerConnection,
    server_name: Option<Box<str>>,
    /// What counts during the handshake; gone when it is complete.
    handshake: Option<Box<Handshake>>,
    /// Records with the beginning of an unfinished handshake message.
    held: Vec<u8>,
    held_records: usize,
    peer_closed: bool,
    closing: bool,
}

struct Handshake {
    hello: Option<Box<ClientHello>>,
    min_version: Version,
    bytes: usize,
    records: usize,
    /// Nothing was sent yet, so an alert of ours would be read as such.
    silent: bool,
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
    /// The TLS side of a connection that was just accepted. Allocates nothing.
    pub fn new(acceptor: &Acceptor) -> Engine {
        Engine {
            state: State::Hello(acceptor.clone()),
        }
    }

    /// Works on the front of `input`, opens it in place, appends plain text to `plain` and bytes
    /// for the peer (handshake, alerts, key updates) to `wire`. Answers how many bytes are used
    /// up; the rest must stand first in the next call. What was appended counts on errors too.
    pub fn open(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<usize, TlsError> {
        let result = match &mut self.state {
            State::Failed(error) => return Err((**error).clone()),
            State::Running(running) => running.open(input, plain, wire),
            State::Hello(acceptor) => match begin(acceptor, input, wire) {
                Ok(None) => return Ok(0),
                Ok(Some(mut running)) => {
                    let result = running.open(input, plain, wire);
                    self.state = State::Running(running);
                    result
                }
                Err(error) => Err(error),
            },
        };
        if let Err(error) = &result {
            self.state = State::Failed(Box::new(error.clone()));
        }
        result
    }

    /// The handshake is not complete (a failed one never will be).
    pub fn is_handshaking(&self) -> bool {
        match &self.state {
            State::Hello(_) => true,
            State::Running(running) => running.handshake.is_some(),
            State::Failed(_) => false,
        }
    }

    /// The peer's `close_notify` arrived: it will send no more. It may still be sent to.
    pub fn peer_closed(&self) -> bool {
        matches!(&self.state, State::Running(running) if running.peer_closed)
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
            State::Failed(error) => return Err(SealError::Failed((**error).clone())),
            State::Running(running) => running,
        };
        if running.handshake.is_some() {
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
                self.state = State::Failed(Box::new(error.clone()));
                Err(SealError::Failed(error))
            }
        }
    }

    /// Appends `close_notify` to `wire`, once. Before the handshake is complete, and after a
    /// failure, nothing is sent: neither is a clean end.
    pub fn close_notify(&mut self, wire: &mut Vec<u8>) {
        if let State::Running(running) = &mut self.state
            && running.handshake.is_none()
            && !running.closing
        {
            running.closing = true;
            // Alert and key update: far below what sealing nothing may take.
            let mut out = [0; Engine::sealed_size(0)];
            let written = running.write(&mut out, |traffic, out| traffic.queue_close_notify(out));
            wire.extend_from_slice(&out[..written.unwrap_or(0)]);
        }
    }

    /// What was negotiated; `None` until the handshake is complete, and after a failure.
    pub fn facts(&self) -> Option<Facts> {
        let State::Running(running) = &self.state else {
            return None;
        };
        let tls = &running.tls;
        Some(Facts {
            version: match (&running.handshake, tls.protocol_version()?) {
                (Some(_), _) => return None,
                (None, ProtocolVersion::TLSv1_3) => Version::Tls13.name(),
                (None, _) => Version::Tls12.name(),
            },
            suite: suite_name(&tls.negotiated_cipher_suite()?),
            group: tls.negotiated_key_exchange_group().map_or("", group_name),
            alpn: tls
                .alpn_protocol()
                .map(|name| String::from_utf8_lossy(name).into_owned()),
            server_name: running.server_name.as_deref().map(str::to_owned),
            resumed: tls.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }
}

/// Looks at the ClientHello; `None` while it is not whole.
fn begin(
    acceptor: &Acceptor,
    input: &[u8],
    wire: &mut Vec<u8>,
) -> Result<Option<Box<Running>>, TlsError> {
    let mut refuse = |text: String| {
        wire.extend(plain_alert(DECODE_ERROR));
        Err(TlsError::ours(Some(DECODE_ERROR), text))
    };
    let mut hello = match peek(input) {
        Peek::NeedMore => return Ok(None),
        Peek::NotTls(what) => {
            return refuse(format!(
                "the peer sent {what} instead of TLS; this port expects TLS"
            ));
        }
        Peek::TooLong => {
            return refuse(format!(
                "the ClientHello is larger than 16 KiB or spread over more than {MAX_RECORDS} records"
            ));
        }
        // The library finds the same, or better, and knows the alert for it.
        Peek::Malformed => None,
        Peek::Hello(hello) => Some(hello),
    };
    let tls = acceptor
        .connect(hello.as_deref())
        .map_err(|error| TlsError::ours(None, error.to_string()))?;
    Ok(Some(Box::new(Running {
        tls,
        server_name: hello
            .as_mut()
            .and_then(|h| h.server_name.take())
            .map(String::into_boxed_str),
        handshake: Some(Box::new(Handshake {
            hello,
            min_version: acceptor.min_version(),
            bytes: 0,
            records: 0,
            silent: true,
        })),
        held: Vec::new(),
        held_records: 0,
        peer_closed: false,
        closing: false,
    })))
}

/// A fatal alert, for as long as nothing is encrypted.
fn plain_alert(alert: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, alert]
}

/// What one pass over some input came to.
struct Pass {
    used: usize,
    peer_closed: bool,
}

impl Running {
    fn open(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<usize, TlsError> {
        let mut used = 0;
        while !self.peer_closed
            && let Some(length) = whole_record(&input[used..])
        {
            let sent = wire.len();
            self.count(length, wire)?;
            self.record(&mut input[used..used + length], plain, wire)
                .map_err(|error| self.fail(&error, wire))?;
            used += length;
            if let Some(handshake) = &mut self.handshake {
                handshake.silent &= wire.len() == sent;
                if !self.tls.is_handshaking() {
                    self.handshake = None;
                }
            }
        }
        if self.peer_closed {
            return Ok(input.len());
        }
        // The last pass lets out what is left to send, and judges the header of a cut record.
        let pass = if self.held.is_empty() {
            pass(&mut self.tls, &mut input[used..], plain, wire)
        } else {
            pass(&mut self.tls, &mut self.held, plain, wire)
        };
        pass.map_err(|error| self.fail(&error, wire))?;
        Ok(used)
    }

    /// One whole record, or its addition to those that are held.
    fn record(
        &mut self,
        record: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), Error> {
        let pass = if self.held.is_empty() {
            let pass = pass(&mut self.tls, record, plain, wire)?;
            self.held.extend_from_slice(&record[pass.used..]);
            pass
        } else {
            self.held.extend_from_slice(record);
            let pass = pass(&mut self.tls, &mut self.held, plain, wire)?;
            self.held.drain(..pass.used);
            pass
        };
        self.peer_closed |= pass.peer_closed;
        if self.held.is_empty() {
            self.held = Vec::new();
            self.held_records = 0;
        } else {
            self.held_records += 1;
        }
        Ok(())
    }

    /// Holds the peer to the limits of a handshake, and of messages after it.
    fn count(&mut self, length: usize, wire: &mut Vec<u8>) -> Result<(), TlsError> {
        let (bytes, records, silent) = match &mut self.handshake {
            Some(handshake) => {
                handshake.bytes += length;
                handshake.records += 1;
                (handshake.bytes, handshake.records, handshake.silent)
            }
            None if self.held.is_empty() => return Ok(()),
            None => (self.held.len() + length, self.held_records + 1, false),
        };
        if bytes <= MAX_HANDSHAKE && records <= MAX_RECORDS {
            return Ok(());
        }
        let alert = silent.then_some(DECODE_ERROR);
        wire.extend(alert.map(plain_alert).iter().flatten());
        Err(TlsError::ours(
            alert,
            format!(
                "the peer's handshake is larger than 64 KiB or spread over more than {MAX_RECORDS} records"
            ),
        ))
    }

    /// Sends the alert that goes with `error`, and puts the error into words.
    fn fail(&mut self, error: &Error, wire: &mut Vec<u8>) -> TlsError {
        let before = wire.len();
        self.flush(wire);
        let mut queued = wire.len() > before;
        let silent = self.handshake.as_ref().is_some_and(|h| h.silent);
        let received = matches!(error, Error::AlertReceived(_));
        let (hello, min_version) = match &self.handshake {
            Some(handshake) => (handshake.hello.as_deref(), handshake.min_version),
            None => (None, Version::Tls12),
        };
        let ours = !queued && silent && !received;
        if ours {
            wire.extend(plain_alert(DECODE_ERROR));
        }
        queued |= ours;
        let mut failure = TlsError::explain(error, queued, hello, min_version);
        // An alert in the clear tells its number better than any table.
        if queued
            && silent
            && let [.., 21, 3, _, 0, 2, 2, alert] = wire[before..]
        {
            failure.alert = Some(alert);
        }
        failure
    }

    /// Lets out what is queued. No input may be processed meanwhile: an error has left the
    /// library's place in it behind. It looks at the queue first, so it does not get that far.
    fn flush(&mut self, wire: &mut Vec<u8>) {
        while self.tls.wants_write() {
            match self.tls.process_tls_records(&mut []).state {
                Ok(ConnectionState::EncodeTlsData(data)) => {
                    if append(data, wire).is_err() {
                        return;
                    }
                }
                Ok(ConnectionState::ReadTraffic(mut data)) => while data.next_record().is_some() {},
                _ => return,
            }
        }
    }

    /// Brings the library to where it encrypts. `Err(None)` means that the keys are used up.
    fn write(
        &mut self,
        out: &mut [u8],
        encrypt: impl FnOnce(
            &mut WriteTraffic<'_, ServerConnectionData>,
            &mut [u8],
        ) -> Result<usize, EncryptError>,
    ) -> Result<usize, Option<TlsError>> {
        let broken = |text: &str| Some(TlsError::ours(None, text));
        let mut written = 0;
        loop {
            // With nothing new in the input this leads to a state in which one may send.
            match self.tls.process_tls_records(&mut self.held).state {
                Ok(ConnectionState::WriteTraffic(mut traffic)) => {
                    return match encrypt(&mut traffic, &mut out[written..]) {
                        Ok(length) => Ok(written + length),
                        Err(EncryptError::EncryptExhausted) => Err(None),
                        Err(error) => Err(broken(&error.to_string())),
                    };
                }
                Ok(ConnectionState::EncodeTlsData(mut message)) => {
                    written += message
                        .encode(&mut out[written..])
                        .map_err(|error| broken(&error.to_string()))?;
                }
                Ok(ConnectionState::TransmitTlsData(sent)) => sent.done(),
                Ok(ConnectionState::PeerClosed) => self.peer_closed = true,
                Ok(_) => return Err(broken("the TLS state does not permit sending")),
                Err(error) => return Err(broken(&error.to_string())),
            }
        }
    }
}

/// The length of the record at the front, if it is there whole.
fn whole_record(input: &[u8]) -> Option<usize> {
    let header = input.first_chunk::<RECORD_HEADER>()?;
    let length = RECORD_HEADER + usize::from(u16::from_be_bytes([header[3], header[4]]));
    // A longer one is not waited for: the last pass shows it to the library, which refuses it.
    (length <= input.len() && length <= MAX_RECORD).then_some(length)
}

/// Has the library work on `input` until it needs more.
fn pass(
    tls: &mut UnbufferedServerConnection,
    input: &mut [u8],
    plain: &mut Vec<u8>,
    wire: &mut Vec<u8>,
) -> Result<Pass, Error> {
    let mut pass = Pass {
        used: 0,
        peer_closed: false,
    };
    loop {
        let UnbufferedStatus { mut discard, state } =
            tls.process_tls_records(&mut input[pass.used..]);
        match state? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record?;
                    plain.extend_from_slice(record.payload);
                    discard += record.discard;
                }
                if pass.used + discard == input.len() {
                    // The caller has another record, or makes a last pass.
                    pass.used += discard;
                    return Ok(pass);
                }
            }
            ConnectionState::EncodeTlsData(message) => append(message, wire)?,
            ConnectionState::TransmitTlsData(sent) => sent.done(),
            ConnectionState::PeerClosed => pass.peer_closed = true,
            ConnectionState::Closed
            | ConnectionState::BlockedHandshake
            | ConnectionState::WriteTraffic(_) => {
                pass.used += discard;
                return Ok(pass);
            }
            // Early data is never offered; a state that this version does not know is a defect.
            _ => return Err(Error::General("unexpected state of the TLS library".into())),
        }
        pass.used += discard;
    }
}

fn append(
    mut message: EncodeTlsData<'_, ServerConnectionData>,
    wire: &mut Vec<u8>,
) -> Result<(), Error> {
    let start = wire.len();
    if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
        message.encode(&mut [])
    {
        wire.resize(start + required_size, 0);
    }
    let written = message.encode(&mut wire[start..]);
    wire.truncate(start + *written.as_ref().unwrap_or(&0));
    written
        .map(drop)
        .map_err(|error| Error::General(error.to_string()))
}
