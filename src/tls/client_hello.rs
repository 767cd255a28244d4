//! A bounded look at the ClientHello, before any TLS state exists.
//!
//! Promises: no input makes it panic, nothing is allocated beyond what has arrived, a message has at
//! most [`MAX_HELLO`] bytes, and each byte that arrives is looked at once, whatever the records.
//! It reads what the choice of a configuration and a helpful error text need: server name,
//! ALPN, versions, suites, groups and signature schemes. It refuses what is no ClientHello. Whether one
//! is acceptable, and which alert a bad one earns, is left to the TLS library, which reads the same message.
//!
//! ```text
//! record  22 | 3 x | len | fragment         any number of records, each with a piece of
//! message  1 | length (3) | version (2) | random (32) | session id | suites | compression | extensions
//! ```

/// Largest first ClientHello, with its four header bytes.
pub const MAX_HELLO: usize = 16 * 1024;

const RECORD_HEADER: usize = 5;
const MESSAGE_HEADER: usize = 4;
const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const SIGNATURE_ALGORITHMS: u16 = 13;
const ALPN: u16 = 16;
const SUPPORTED_VERSIONS: u16 = 43;
const CHANGE_CIPHER_SPEC: u8 = 20;
const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;
const HEARTBEAT: u8 = 24;
const CLIENT_HELLO: u8 = 1;
const MAX_FRAGMENT: usize = 16 * 1024;

/// What the first bytes of a stream are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Peek {
    /// A ClientHello so far, but not all of it.
    NeedMore,
    /// A whole ClientHello.
    Hello(Box<ClientHello>),
    /// A whole ClientHello that could not be read.
    Malformed,
    /// A ClientHello beyond [`MAX_HELLO`].
    TooLong,
    /// The stream does not begin with a TLS record; what it looks like instead.
    NotTls(&'static str),
    /// An alert: its level and description, unless it is encrypted.
    Alert(Option<[u8; 2]>),
    /// A TLS record of another type, which is neither a handshake nor an alert.
    OtherRecord(u8),
    /// A handshake message of another type.
    OtherMessage(u8),
    /// A handshake record whose version or length does not exist.
    BadRecord,
}

/// What a ClientHello says about its sender.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientHello {
    /// The host name asked for, in lower case. An IP address counts as none (RFC 6066).
    pub server_name: Option<String>,
    /// The name asked for as it arrived.
    pub raw_name: Option<Vec<u8>>,
    /// The newest version offered, for example `0x0304` for TLS 1.3.
    pub newest_version: u16,
    /// The oldest version offered in a list of versions, otherwise the same as the newest.
    pub oldest_version: u16,
    /// Suites offered, in the peer's order, without GREASE.
    pub cipher_suites: Vec<u16>,
    /// Groups offered, in the peer's order, without GREASE.
    pub groups: Vec<u16>,
    /// Signature schemes offered, in the peer's order, without GREASE.
    pub signature_schemes: Vec<u16>,
    /// The protocol list as on the wire: many short names cost no allocation each.
    alpn: Vec<u8>,
}

impl ClientHello {
    /// The ALPN names offered, in the peer's order.
    pub fn alpn(&self) -> impl Iterator<Item = &[u8]> {
        let mut list = Reader(&self.alpn);
        std::iter::from_fn(move || list.vector8())
    }
}

/// Gathers the first message of a stream from its records.
#[derive(Default)]
pub struct Gathering {
    /// The message so far, without the headers of its records.
    message: Vec<u8>,
    /// What the present record still has to bring.
    missing: usize,
    records: usize,
}

impl Gathering {
    /// Takes bytes from the front of `input` and says how many; the others must stand first in the
    /// next call. Once the answer is not `NeedMore` there is no next call.
    pub fn take(&mut self, input: &[u8]) -> (usize, Peek) {
        let mut used = 0;
        loop {
            if self.missing == 0 {
                let total = match self.total() {
                    Ok(total) => total,
                    Err(refused) => return (used, refused),
                };
                if self.message.len() >= total {
                    let peek = match parse(&self.message[MESSAGE_HEADER..total]) {
                        Some(hello) => Peek::Hello(Box::new(hello)),
                        None => Peek::Malformed,
                    };
                    return (used, peek);
                }
                self.missing = match self.header(&input[used..]) {
                    Ok(length) => length,
                    Err(peek) => return (used, peek),
                };
                self.records += 1;
                used += RECORD_HEADER;
            }
            let fragment = &input[used..];
            let fragment = &fragment[..fragment.len().min(self.missing)];
            self.message.extend_from_slice(fragment);
            self.missing -= fragment.len();
            used += fragment.len();
            if self.missing > 0 {
                let peek = self.total().err().unwrap_or(Peek::NeedMore);
                return (used, peek);
            }
        }
    }

    /// The length of the message, as far as it is known: at least that of its header.
    fn total(&self) -> Result<usize, Peek> {
        match self.message[..] {
            [CLIENT_HELLO, a, b, c, ..] => {
                let total = MESSAGE_HEADER + u32::from_be_bytes([0, a, b, c]) as usize;
                if total > MAX_HELLO { Err(Peek::TooLong) } else { Ok(total) }
            }
            [CLIENT_HELLO, ..] | [] => Ok(MESSAGE_HEADER),
            [other, ..] => Err(Peek::OtherMessage(other)),
        }
    }

    /// The length of the record at the front of `input`.
    fn header(&self, input: &[u8]) -> Result<usize, Peek> {
        match *input {
            // A TLS record of another type; the two bytes of an alert in the clear are read too.
            [CHANGE_CIPHER_SPEC..=HEARTBEAT, 3, _, high, low, ref body @ ..]
                if input[0] != HANDSHAKE =>
            {
                Err(match (input[0], [high, low], body) {
                    (ALERT, [0, 2], &[level, description, ..]) => {
                        Peek::Alert(Some([level, description]))
                    }
                    (ALERT, [0, 2], _) => Peek::NeedMore,
                    (ALERT, ..) => Peek::Alert(None),
                    (other, ..) => Peek::OtherRecord(other),
                })
            }
            [HANDSHAKE, 3, _, high, low, ..] => {
                let length = usize::from(u16::from_be_bytes([high, low]));
                if (1..=MAX_FRAGMENT).contains(&length) { Ok(length) } else { Err(Peek::BadRecord) }
            }
            [] | [CHANGE_CIPHER_SPEC..=HEARTBEAT] => Err(Peek::NeedMore),
            [CHANGE_CIPHER_SPEC..=HEARTBEAT, 3, ..] => Err(Peek::NeedMore),
            [HANDSHAKE, ..] => Err(Peek::BadRecord),
            _ if self.records > 0 => Err(Peek::BadRecord),
            // The others are guessed by three; a client of ours waits for its answer behind the first.
            [1..=3, ..] | [_, _, _, ..] => Err(Peek::NotTls(guess(input))),
            _ => Err(Peek::NeedMore),
        }
    }

    /// Records that have begun.
    pub fn records(&self) -> usize {
        self.records
    }

    /// Nothing of a message has arrived.
    pub fn is_empty(&self) -> bool {
        self.message.is_empty()
    }

    /// What has been gathered in as few records as possible.
    pub fn into_records(self) -> Vec<Vec<u8>> {
        let record = |part: &[u8]| {
            let [high, low] = (part.len() as u16).to_be_bytes();
            [&[HANDSHAKE, 3, 1, high, low], part].concat()
        };
        self.message.chunks(MAX_FRAGMENT).map(record).collect()
    }
}

/// Looks at `stream`, the first bytes that a peer sent, from the very beginning.
#[cfg(any(test, fuzzing))]
pub fn peek(stream: &[u8]) -> Peek {
    Gathering::default().take(stream).1
}

fn parse(body: &[u8]) -> Option<ClientHello> {
    let mut body = Reader(body);
    let legacy_version = body.u16()?;
    let _random = body.take(32)?;
    let _session_id = body.vector8()?;
    let cipher_suites = numbers(body.vector16()?)?;
    let _compression = body.vector8()?;
    let mut hello = ClientHello {
        server_name: None,
        raw_name: None,
        newest_version: legacy_version,
        oldest_version: legacy_version,
        cipher_suites,
        groups: Vec::new(),
        signature_schemes: Vec::new(),
        alpn: Vec::new(),
    };
    if body.0.is_empty() {
        return Some(hello);
    }
    let mut extensions = Reader(body.vector16()?);
    while !extensions.0.is_empty() {
        let kind = extensions.u16()?;
        let mut data = Reader(extensions.vector16()?);
        match kind {
            SERVER_NAME => {
                let mut names = Reader(data.vector16()?);
                let kind = names.take(1)?;
                let name = names.vector16()?;
                if kind == [0] {
                    hello.server_name = host_name(name);
                    hello.raw_name = Some(name.to_vec());
                }
            }
            SUPPORTED_GROUPS => hello.groups = numbers(data.vector16()?)?,
            SIGNATURE_ALGORITHMS => hello.signature_schemes = numbers(data.vector16()?)?,
            ALPN => {
                let list = data.vector16()?;
                let mut names = Reader(list);
                while !names.0.is_empty() {
                    names.vector8()?;
                }
                hello.alpn = list.to_vec();
            }
            SUPPORTED_VERSIONS => {
                let versions = numbers(data.vector8()?)?;
                let known = || versions.iter().copied().filter(|v| v >> 8 == 3);
                hello.newest_version = known().max().unwrap_or(legacy_version);
                hello.oldest_version = known().min().unwrap_or(legacy_version);
            }
            _ => {}
        }
    }
    Some(hello)
}

/// A list of 16-bit numbers, without those of GREASE (RFC 8701: `0x?a?a`).
fn numbers(list: &[u8]) -> Option<Vec<u16>> {
    if !list.len().is_multiple_of(2) {
        return None;
    }
    let mut numbers = Vec::with_capacity(list.len() / 2);
    numbers.extend(
        list.chunks_exact(2)
            .map(|pair| u16::from_be_bytes([pair[0], pair[1]]))
            .filter(|n| n & 0x0f0f != 0x0a0a || n >> 8 != n & 0xff),
    );
    Some(numbers)
}

fn host_name(name: &[u8]) -> Option<String> {
    let name = std::str::from_utf8(name).ok()?;
    // RFC 6066 wants it without the dot of the root; some send it.
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let host = (1..=253).contains(&name.len()) && name.chars().all(plain);
    (host && name.parse::<std::net::IpAddr>().is_err()).then_some(name)
}

/// What a stream that is not TLS most likely is.
fn guess(stream: &[u8]) -> &'static str {
    match stream {
        [first, _, 1, ..] if first & 0x80 != 0 => "an SSL 2.0 hello",
        [1..=3, ..] => "the first byte of a plain client",
        [b'S', b'S', b'H', ..] => "SSH",
        [b'P', b'R', b'O', ..] | [b'\r', b'\n', b'\r', ..] => "a PROXY protocol header",
        _ if [b"GET", b"HEA", b"POS", b"PUT", b"DEL", b"OPT", b"CON", b"PAT", b"PRI"]
            .iter()
            .any(|method| stream.starts_with(*method)) =>
        {
            "plain HTTP"
        }
        _ => "something that is not TLS",
    }
}

/// Bounded reading: every step answers `None` where bytes are missing.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take(2).map(|b| u16::from_be_bytes([b[0], b[1]]))
    }

    fn vector8(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.take(1)?[0]);
        self.take(length)
    }

    fn vector16(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.u16()?);
        self.take(length)
    }
}

#[cfg(test)]
mod tests;
