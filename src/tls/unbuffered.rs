//! Drives the TLS library's unbuffered interface for one connection.
//!
//! Two rules of that interface shape this file. It opens records in place and remembers *where*
//! in the input the pieces of an unfinished handshake message lie: so records go in one by one,
//! and one with such a piece moves to `held`, which is then the input for as long as there is
//! something in it. And it encrypts only in the state that processing no further input leads to.
//!
//! Promises: what it holds is bounded; an alert is let out before a failure is reported, also where
//! the library has queued none. The ClientHello peek and what a caller may do when are left to `engine`.

use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{
    ConnectionState, EncodeError, EncodeTlsData, EncryptError, InsufficientSizeError,
    UnbufferedStatus, WriteTraffic,
};
use rustls::{Error, HandshakeKind, InvalidMessage, ProtocolVersion};

use super::acceptor::Acceptor;
use super::client_hello::{ClientHello, Gathering};
use super::engine::{Facts, MAX_HANDSHAKE};
use super::failure::{Circumstances, TlsError, alert_of};
use super::options::Version;
use super::policy::{group_name, suite_name};
use crate::base::budget::Budget;

pub(super) const RECORD_HEADER: usize = 5;
const MAX_RECORD: usize = RECORD_HEADER + 16 * 1024 + 2048;
pub(super) const DECODE_ERROR: u8 = 50;
const UNEXPECTED_MESSAGE: u8 = 10;
const BAD_RECORD_MAC: u8 = 20;
const DECRYPT_ERROR: u8 = 51;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const APPLICATION_DATA: u8 = 23;
/// An encrypted alert of TLS 1.3: level, description, type and tag. Nothing else is as short.
const SEALED_ALERT: usize = 2 + 1 + 16;
/// The first byte of the Finished message, and its header with the shorter hash behind it.
const FINISHED: u8 = 20;
const LEAST_FINISHED: usize = 4 + 32;
/// So many handshake messages, of four bytes each, may be left in one record when the library fails.
const MAX_MESSAGES_LEFT: usize = 16 * 1024 / 4;
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
    /// The length of the last input with a record in it: as far the library may look for messages in it.
    reach: usize,
    /// Records without data, less those with data, since the handshake; never below 0.
    empty_records: u16,
    /// TLS 1.2: the peer asked for a new handshake, and the library answered `no_renegotiation`.
    refused_renegotiation: bool,
    pub(super) peer_closed: bool,
    /// `close_notify` was sent; also set where the keys are used up.
    pub(super) closing: bool,
}

struct Handshake {
    hello: Option<Box<ClientHello>>,
    acceptor: Acceptor,
    bytes: usize,
    /// Nothing was sent yet, so an alert of ours would be read as such.
    silent: bool,
}

/// A fatal alert, for as long as nothing is encrypted.
pub(super) fn plain_alert(alert: u8) -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, alert]
}

/// An alert among bytes that were sent.
enum Sent {
    Plain(u8),
    Sealed,
}

/// The alert at the end of `records`, if there is one: the library sends nothing after it.
fn last_alert(mut records: &[u8]) -> Option<Sent> {
    let mut last = None;
    while let Some(length) = record_length(records).filter(|length| *length <= records.len()) {
        let (record, rest) = records.split_at(length);
        last = match *record {
            [ALERT, _, _, _, _, _level, alert] => Some(Sent::Plain(alert)),
            [ALERT, ..] => Some(Sent::Sealed),
            [APPLICATION_DATA, ..] if length == RECORD_HEADER + SEALED_ALERT => Some(Sent::Sealed),
            _ => None,
        };
        records = rest;
    }
    last
}

/// What one pass over some input came to.
struct Pass {
    used: usize,
    peer_closed: bool,
}

impl Running {
    pub(super) fn new(
        tls: UnbufferedServerConnection,
        hello: Option<Box<ClientHello>>,
        acceptor: Acceptor,
    ) -> Running {
        let server_name = hello.as_ref().and_then(|hello| hello.server_name.as_deref());
        Running {
            tls,
            server_name: server_name.map(Box::from),
            handshake: Some(Box::new(Handshake { hello, acceptor, bytes: 0, silent: true })),
            held: Vec::new(),
            reach: 0,
            empty_records: 0,
            refused_renegotiation: false,
            peer_closed: false,
            closing: false,
        }
    }

    pub(super) fn is_handshaking(&self) -> bool {
        self.handshake.is_some()
    }

    /// There is the beginning of a message whose end has not arrived.
    pub(super) fn is_inside_message(&self) -> bool {
        !self.held.is_empty()
    }

    pub(super) fn was_refused_renegotiation(&self) -> bool {
        self.refused_renegotiation
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

    /// Works on the ClientHello.
    pub(super) fn begin(
        &mut self,
        hello: Gathering,
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
        budget: &mut Budget,
    ) -> Result<(), TlsError> {
        for mut record in hello.into_records() {
            self.step(&mut record, plain, wire, budget)?;
        }
        Ok(())
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
            self.step(&mut input[used..used + length], plain, wire, budget)?;
            used += length;
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
        result.map_err(|error| self.fail(&error, &[], wire))?;
        Ok(used)
    }

    /// One whole record, with all that is counted.
    fn step(
        &mut self,
        record: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
        budget: &mut Budget,
    ) -> Result<(), TlsError> {
        let (sent, opened, kind) = (wire.len(), plain.len(), record[0]);
        let is_alone = self.held.is_empty();
        self.count(record.len(), wire)?;
        let result = self.record(record, plain, wire);
        if let Some(handshake) = &mut self.handshake {
            handshake.silent &= wire.len() == sent;
        } else if kind == HANDSHAKE && self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_2)
        {
            // The library has answered one, and fails at the next.
            self.refused_renegotiation |= wire.len() > sent;
        }
        let record = if is_alone { &*record } else { &[][..] };
        result.map_err(|error| self.fail(&error, record, wire))?;
        let has_data = plain.len() > opened;
        // It has gone on: what it does later has other reasons.
        self.refused_renegotiation &= !has_data;
        budget.record(has_data);
        if self.handshake.is_none() {
            self.count_empty(has_data, wire)?;
        }
        if !self.tls.is_handshaking() {
            self.handshake = None;
        }
        Ok(())
    }

    /// One whole record, or its addition to those that are held.
    fn record(
        &mut self,
        record: &mut [u8],
        plain: &mut Vec<u8>,
        wire: &mut Vec<u8>,
    ) -> Result<(), Error> {
        self.reach = self.held.len() + record.len();
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
        }
        Ok(())
    }

    /// Holds the peer to the limits of a handshake, and of messages after it. Records cost their
    /// headers, so that the bytes limit their number too.
    fn count(&mut self, length: usize, wire: &mut Vec<u8>) -> Result<(), TlsError> {
        let bytes = match &mut self.handshake {
            Some(handshake) => {
                handshake.bytes += length;
                handshake.bytes
            }
            None if self.held.is_empty() => return Ok(()),
            None => self.held.len() + length,
        };
        if bytes <= MAX_HANDSHAKE {
            return Ok(());
        }
        let alert = self.refuse(DECODE_ERROR, wire);
        Err(TlsError::ours(alert, "the peer's handshake is larger than 64 KiB"))
    }

    /// Each record without data costs us more than it costs the peer.
    fn count_empty(&mut self, has_data: bool, wire: &mut Vec<u8>) -> Result<(), TlsError> {
        if has_data {
            self.empty_records = self.empty_records.saturating_sub(1);
            return Ok(());
        }
        self.empty_records += 1;
        // Its end is no refusal of what it has sent.
        if self.empty_records <= MAX_EMPTY_RECORDS || self.peer_closed {
            return Ok(());
        }
        let alert = self.refuse(UNEXPECTED_MESSAGE, wire);
        Err(TlsError::no_data(
            alert,
            format!(
                "the peer sent {MAX_EMPTY_RECORDS} more records without data than with data: key updates, or empty ones"
            ),
        ))
    }

    /// Sends the alert that goes with `error`, and puts the error into words. `record` is the one that
    /// has failed, as the library has left it; empty if there is none, or there are several.
    fn fail(&mut self, error: &Error, record: &[u8], wire: &mut Vec<u8>) -> TlsError {
        let before = wire.len();
        self.flush(wire);
        if let Some(handshake) = &mut self.handshake {
            handshake.silent &= wire.len() == before;
        }
        let alert = match last_alert(&wire[before..]) {
            // An alert in the clear tells its number better than any table.
            Some(Sent::Plain(alert)) => Some(alert),
            // A record that does not decrypt, or a Finished that does not verify.
            Some(Sent::Sealed) if *error == Error::DecryptError && self.handshake.is_some() => {
                why_undecrypted(record)
            }
            Some(Sent::Sealed) => alert_of(error),
            None if matches!(error, Error::AlertReceived(_)) => None,
            None => self.refuse(alert_of(error).unwrap_or(DECODE_ERROR), wire),
        };
        let handshake = self.handshake.as_ref();
        TlsError::explain(
            error,
            alert,
            &Circumstances {
                hello: handshake.and_then(|handshake| handshake.hello.as_deref()),
                acceptor: handshake.map(|handshake| &handshake.acceptor),
                refused_renegotiation: self.refused_renegotiation,
            },
        )
    }

    /// Sends a fatal alert that the library itself sees no reason for, and says which: `wanted` as
    /// long as nothing is encrypted, and none after `close_notify`.
    ///
    /// The library has no call for that. It gets what it must refuse, and so queues an alert under
    /// the keys of the moment. It goes on reading where its last unfinished message ends, so there are
    /// invalid records wherever it looks.
    fn refuse(&mut self, wanted: u8, wire: &mut Vec<u8>) -> Option<u8> {
        if self.closing {
            return None;
        }
        let handshake = self.handshake.as_ref();
        let tls13 = self.tls.protocol_version() == Some(ProtocolVersion::TLSv1_3);
        if handshake.is_some_and(|handshake| handshake.silent || !tls13) {
            wire.extend(plain_alert(wanted));
            return Some(wanted);
        }
        let before = wire.len();
        let mut invalid = vec![0xff; self.reach + RECORD_HEADER];
        for _ in 0..=MAX_MESSAGES_LEFT {
            // Whole messages that it has not looked at come first, each with its old error.
            let error = pass(&mut self.tls, &mut invalid, &mut Vec::new(), wire).err();
            self.flush(wire);
            match last_alert(&wire[before..]) {
                Some(Sent::Plain(alert)) => return Some(alert),
                Some(Sent::Sealed) => return Some(DECODE_ERROR),
                None if error.is_none() => return None,
                None => {}
            }
        }
        None
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

/// The alert of a handshake of TLS 1.3 whose record `record` has failed as one that does not decrypt. It is
/// opened in place: one that decrypts is a Finished there then, and one that does not is zeroed.
fn why_undecrypted(record: &[u8]) -> Option<u8> {
    let is_opened =
        record.len() > RECORD_HEADER + LEAST_FINISHED && record[RECORD_HEADER] == FINISHED;
    match record {
        [] => None,
        _ if is_opened => Some(DECRYPT_ERROR),
        _ => Some(BAD_RECORD_MAC),
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
