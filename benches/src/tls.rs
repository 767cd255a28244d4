//! One side of a TLS connection through rustls' unbuffered interface: ciphertext is opened
//! in the caller's read buffer and sealed into the caller's output.
//!
//! The caller passes what it has, front first, again and again: what was not used has to be
//! at the front of the next input.

use rustls::client::{ClientConnectionData, UnbufferedClientConnection};
use rustls::server::{ServerConnectionData, UnbufferedServerConnection};
use rustls::unbuffered::{ConnectionState, EncodeError, InsufficientSizeError, UnbufferedStatus};
use std::io;

/// Bytes that a record of 16 KiB can be longer than its content, in all versions.
const RECORD_EXTRA: usize = 64;

/// Client or server.
pub trait Side {
    type Data;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data>;
}

impl Side for UnbufferedClientConnection {
    type Data = ClientConnectionData;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
}

impl Side for UnbufferedServerConnection {
    type Data = ServerConnectionData;
    fn process<'c, 'i>(&'c mut self, input: &'i mut [u8]) -> UnbufferedStatus<'c, 'i, Self::Data> {
        self.process_tls_records(input)
    }
}

/// Output memory that is zeroed once and then used again and again.
#[derive(Default)]
pub struct Output {
    bytes: Vec<u8>,
    len: usize,
}

impl Output {
    pub fn filled(&self) -> &[u8] {
        &self.bytes[..self.len]
    }

    pub fn clear(&mut self) {
        self.len = 0;
    }

    fn room(&mut self, size: usize) -> &mut [u8] {
        if self.bytes.len() < self.len + size {
            self.bytes.resize(self.len + size, 0);
        }
        &mut self.bytes[self.len..]
    }
}

/// What opening some input came to.
pub struct Opened {
    /// Bytes of the input that are done with.
    pub used: usize,
    /// The peer said goodbye.
    pub peer_closed: bool,
    /// Application data may be sent.
    pub may_send: bool,
}

/// Opens what is whole in `input`, shows each record's content to `plain` and writes what
/// the handshake wants to send to `out`.
pub fn open<S: Side>(
    side: &mut S,
    input: &mut [u8],
    out: &mut Output,
    mut plain: impl FnMut(&[u8]),
) -> io::Result<Opened> {
    let mut opened = Opened { used: 0, peer_closed: false, may_send: false };
    loop {
        let UnbufferedStatus { mut discard, state } = side.process(&mut input[opened.used..]);
        match state.map_err(io::Error::other)? {
            ConnectionState::ReadTraffic(mut traffic) => {
                while let Some(record) = traffic.next_record() {
                    let record = record.map_err(io::Error::other)?;
                    plain(record.payload);
                    discard += record.discard;
                }
            }
            ConnectionState::EncodeTlsData(mut message) => {
                if let Err(EncodeError::InsufficientSize(InsufficientSizeError { required_size })) =
                    message.encode(&mut [])
                {
                    let written = message.encode(out.room(required_size));
                    out.len += written.map_err(io::Error::other)?;
                }
            }
            ConnectionState::TransmitTlsData(sent) => sent.done(),
            ConnectionState::PeerClosed => opened.peer_closed = true,
            state => {
                opened.used += discard;
                opened.may_send = matches!(state, ConnectionState::WriteTraffic(_));
                return Ok(opened);
            }
        }
        opened.used += discard;
    }
}

/// Seals `data` behind what is in `out`; `None` is the goodbye.
pub fn seal<S: Side>(side: &mut S, data: Option<&[u8]>, out: &mut Output) -> io::Result<()> {
    loop {
        match side.process(&mut []).state.map_err(io::Error::other)? {
            ConnectionState::WriteTraffic(mut traffic) => {
                let len = data.map_or(0, <[u8]>::len);
                let room = out.room(len + (len / (16 << 10) + 1) * RECORD_EXTRA);
                out.len += match data {
                    Some(data) => traffic.encrypt(data, room).map_err(io::Error::other)?,
                    None => traffic.queue_close_notify(room).map_err(io::Error::other)?,
                };
                return Ok(());
            }
            ConnectionState::EncodeTlsData(mut message) => {
                let written = message.encode(out.room(32 << 10));
                out.len += written.map_err(io::Error::other)?;
            }
            ConnectionState::TransmitTlsData(sent) => sent.done(),
            ConnectionState::PeerClosed => {}
            _ => return Err(io::Error::other("the TLS state does not permit sending")),
        }
    }
}
