//! Drives the TLS library's unbuffered interface for one connection.
//!
//! Two rules of that interface shape this file. It opens records in place and remembers *where*
//! in the input the pieces of an unfinished handshake message lie: so records go in one by one,
//! and one with such a piece moves to `held`, which is then the input for as long as there is
//! something in it. And it encrypts only in the state that processing no further input leads to.
//!
//! Promises: what it holds is bounded; an alert that the library queued is let out before the
//! failure is reported. The ClientHello peek and what a caller may do when are left to `engine`.

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedStatus, WriteTraffic,
};
use rustls::{Error, HandshakeKind, InvalidMessage, ProtocolVersion};

use super::client_hello::{ClientHello, MAX_RECORDS};
use super::engine::{Facts, MAX_HANDSHAKE};
use super::failure::TlsError;
use super::options::Version;
use super::policy::{group_name, suite_name};
use crate::budget::Budget;

pub(super) const RECORD_HEADER: usize = 5;
const MAX_RECORD: usize = RECORD_HEADER + 16 * 1024 + 2048;
pub(super) const DECODE_ERROR: u8 = 50;
/// After the handshake so many more records without data (key updates, tickets, empty records)
/// may arrive than records with data. The TLS library ends a row of 32 by itself.
const MAX_EMPTY_RECORDS: u16 = 256;

/// A connection whose ClientHello has arrived.
pub(super) struct Running {
    tls: UnbufferedServerConnection,
    server_name: Option<Box<str>>,
    /// What counts during the handshake; gone when it is complete.
    handshake: Option<Box<Handshake>>,
    /// Records with the beginning of an unfinished handshake message.
    held: Vec<u8>,
    held_records: usize,
    /// Records without data, less those with data, since the handshake; never below 0.
    empty_records: u16,
    pub(super) peer_closed: bool,
    /// `close_notify` was sent; also set where the keys are used up.
    pub(super) closing: bool,
}

struct Handshake {
    hello: Option<Box<ClientHello>>,
    min_version: Version,
    bytes: usize,
    records: usize,
    /// Nothing was sent yet, so an alert of ours would be read as such.
    silent: bool,
}

/// A fatal alert, for as long as nothing is encrypted.
pub(super) fn plain_alert(alert: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, alert]
}

/// What one pass over some input came to.
struct Pass {
    used: usize,
    peer_closed: bool,
}

impl Running {
    pub(super) fn new(
        tls: UnbufferedServerConnection,
        mut hello: Option<Box<ClientHello>>,
        min_version: Version,
    ) -> Running {
        let server_name = hello.as_mut().and_then(|hello| hello.server_name.take());
        Running {
            tls,
            server_name: server_name.map(String::into_boxed_str),
            handshake: Some(Box::new(Handshake {
                hello,
                min_version,
                bytes: 0,
                records: 0,
                silent: true,
            })),
            held: Vec::new(),
            held_records: 0,
            empty_records: 0,
            peer_closed: false,
            closing: false,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.handshake.is_some()
    }

    pub(super) fn facts(&self) -> Option<Facts> {
        let version = match (&self.handshake, self.tls.protocol_version()?) {
            (Some(_), _) => return None,
            (None, ProtocolVersion::TLSv1_3) => Version::Tls13,
            (None, _) => Version::Tls12,
        };
        let alpn = self.tls.alpn_protocol();
        let group = self.tls.negotiated_key_exchange_group();
        Some(Facts {
            version: version.name(),
            suite: suite_name(&self.tls.negotiated_cipher_suite()?),
            group: group.map_or("", group_name),
            alpn: alpn.map(|name| String::from_utf8_lossy(name).into_owned()),
            server_name: self.server_name.as_deref().map(str::to_owned),
            resumed: self.tls.handshake_kind() == Some(HandshakeKind::Resumed),
        })
    }

    pub(super) fn open(
        &mut self,
        input: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
        budget: &mut Budget,
    ) -> Result<usize, TlsError> {
        let mut used = 0;
        let mut is_left = false;
        while !self.peer_closed
            && let Some(length) = whole_record(&input[used..])
        {
            if budget.is_spent() {
                is_left = true;
                break;
            }
            let (sent, opened) = (wire.len(), plain.len());
            self.count(length, wire)?;
            let result = self.record(&mut input[used..used + length], plain, wire);
            if let Some(handshake) = &mut self.handshake {
                handshake.silent &= wire.len() == sent;
            }
            result.map_err(|error| self.fail(&error, wire))?;
            used += length;
            let has_data = plain.len() > opened;
            budget.record(has_data);
            if self.handshake.is_none() {
                self.count_empty(has_data)?;
            }
            if !self.tls.is_handshaking() {
                self.handshake = None;
            }
        }
        if self.peer_closed {
            return Ok(input.len());
        }
        // The last pass lets out what is left to send, and judges the header of a cut record;
        // while records are held only its length is judged here, so that no one waits for it.
        let rest = if is_left { &mut [] } else { &mut input[used..] };
        let result = if self.held.is_empty() {
            pass(&mut self.tls, rest, plain, wire).map(drop)
        } else if record_length(rest).is_some_and(|length| length > MAX_RECORD) {
            Err(Error::InvalidMessage(InvalidMessage::MessageTooLarge))
        } else {
            pass(&mut self.tls, &mut self.held, plain, wire).map(drop)
        };
        result.map_err(|error| self.fail(&error, wire))?;
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

    /// Each record without data costs us more than it costs the peer.
    fn count_empty(&mut self, has_data: bool) -> Result<(), TlsError> {
        if has_data {
            self.empty_records = self.empty_records.saturating_sub(1);
            return Ok(());
        }
        self.empty_records += 1;
        if self.empty_records <= MAX_EMPTY_RECORDS {
            return Ok(());
        }
        Err(TlsError::no_data(format!(
            "the peer sent {MAX_EMPTY_RECORDS} more records without data than with data: key updates, or empty ones"
        )))
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
    pub(super) fn write(
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

/// The length of the record at the front, as its header announces it.
fn record_length(input: &[u8]) -> Option<usize> {
    let header = input.first_chunk::<RECORD_HEADER>()?;
    Some(RECORD_HEADER + usize::from(u16::from_be_bytes([header[3], header[4]])))
}

/// The length of the record at the front, if it is there whole.
fn whole_record(input: &[u8]) -> Option<usize> {
    record_length(input).filter(|length| *length <= input.len().min(MAX_RECORD))
}

/// Has the library work on `input` until it needs more.
fn pass(
    tls: &mut UnbufferedServerConnection,
    input: &mut [u8],
    plain: &mut Vec<u8>,
    wire: &mut Vec<u8>,
) -> Result<Pass, Error> {
    let mut pass = Pass { used: 0, peer_closed: false };
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
    written.map(drop).map_err(|error| Error::General(error.to_string()))
}
