//! PEM text: where its blocks are, and their bytes.
//!
//! Promises: every mark (`-----BEGIN X-----`) becomes a block, or the text is refused with the
//! line; none is skipped. No error holds anything of the text: only lines, and labels of a list
//! that stands here. What was decoded is wiped when it is dropped. The work is linear.
//! Byte order marks, line ends of any kind, blanks, indentation and text between blocks are
//! accepted. What the bytes mean is left to `chain` and `private_key`.

use base64ct::{Base64, Encoding};
use zeroize::Zeroizing;

/// Text between two marks.
pub(super) struct Block {
    pub label: Label,
    /// Of the BEGIN mark, counted from 1.
    pub line: u32,
    pub content: Content,
}

/// What a block holds.
pub(super) enum Content {
    Der(Zeroizing<Vec<u8>>),
    /// An RFC 1421 header says that it is encrypted; it was not decoded.
    Encrypted,
}

/// Lists the labels that messages may show.
macro_rules! labels {
    ($($label:ident = $text:literal,)*) => {
        /// What stands behind BEGIN.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum Label { $(#[doc = $text] $label,)* #[doc = "Any other."] Other }

        impl Label {
            fn of(text: &[u8]) -> Label {
                $(if text == $text.as_bytes() { return Label::$label; })*
                Label::Other
            }

            /// The label in messages.
            pub(super) fn name(self) -> &'static str {
                match self { $(Label::$label => $text,)* Label::Other => "a block of another kind" }
            }

            /// Whether a mark that is written wrong has this label.
            fn is_meant(text: &[u8]) -> bool {
                $(text.eq_ignore_ascii_case($text.as_bytes()))||*
            }
        }
    };
}

labels! {
    Certificate = "CERTIFICATE",
    X509Certificate = "X509 CERTIFICATE",
    TrustedCertificate = "TRUSTED CERTIFICATE",
    CertificateRequest = "CERTIFICATE REQUEST",
    NewCertificateRequest = "NEW CERTIFICATE REQUEST",
    PrivateKey = "PRIVATE KEY",
    RsaPrivateKey = "RSA PRIVATE KEY",
    EcPrivateKey = "EC PRIVATE KEY",
    DsaPrivateKey = "DSA PRIVATE KEY",
    AnyPrivateKey = "ANY PRIVATE KEY",
    EncryptedPrivateKey = "ENCRYPTED PRIVATE KEY",
    OpenSshPrivateKey = "OPENSSH PRIVATE KEY",
    PublicKey = "PUBLIC KEY",
    RsaPublicKey = "RSA PUBLIC KEY",
    EcParameters = "EC PARAMETERS",
    DsaParameters = "DSA PARAMETERS",
    DhParameters = "DH PARAMETERS",
    Crl = "X509 CRL",
    Pkcs7 = "PKCS7",
    Cms = "CMS",
}

impl Label {
    pub(super) fn is_certificate(self) -> bool {
        matches!(self, Label::Certificate | Label::X509Certificate | Label::TrustedCertificate)
    }

    pub(super) fn is_private_key(self) -> bool {
        self.name().ends_with("PRIVATE KEY")
    }
}

/// Why a text is refused, and in which line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PemError {
    /// 0 where the whole file is meant.
    pub line: u32,
    pub fault: Fault,
}

/// What is wrong with a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// UTF-16 or UTF-32.
    Wide,
    /// The mark has other characters than five hyphens on each side.
    Mark,
    /// No END until the end of the file.
    NoEnd,
    /// No END before the BEGIN in this line.
    BeginInside(u32),
    /// The END in this line has another label.
    EndOfAnother(u32),
    /// An END without a BEGIN.
    NoBegin,
    /// Nothing between the marks.
    Empty,
    /// A character that base64 does not have.
    Character,
    /// Line ends are written as backslash and letter.
    Escapes,
    /// Characters are missing, or too many; the END is in this line.
    Cut(u32),
}

impl PemError {
    /// One line; `place` is the file as messages show it.
    pub(super) fn message(self, place: &str) -> String {
        let at = match self.line {
            0 => place.to_owned(),
            line => format!("{place}:{line}"),
        };
        let reason = match self.fault {
            Fault::Wide => format!(
                "the file is UTF-16 or UTF-32, not plain text; save it as ASCII or UTF-8, for example with: iconv -f UTF-16 -t UTF-8 {place}"
            ),
            Fault::Mark => "a BEGIN or END mark is written wrong; it needs exactly five hyphens on each side, as in -----BEGIN CERTIFICATE-----".to_owned(),
            Fault::NoEnd => "the block that begins here has no END mark; the file is cut, copy it again".to_owned(),
            Fault::BeginInside(line) => format!(
                "the block that begins here has no END mark before the next BEGIN in line {line}; copy this block again"
            ),
            Fault::EndOfAnother(line) => format!(
                "the block that begins here ends with another label in line {line}; copy this block again"
            ),
            Fault::NoBegin => "this END mark has no BEGIN mark; copy the block again".to_owned(),
            Fault::Empty => "the block that begins here is empty; remove it, or copy it again".to_owned(),
            Fault::Character => "the PEM text is broken: this line has a character that is no base64; copy the block again".to_owned(),
            Fault::Escapes => format!(
                "line ends are written as the two characters \\n; write real ones, for example with: sed -i 's/\\\\n/\\n/g' {place}"
            ),
            Fault::Cut(line) => format!(
                "the PEM text is broken: the base64 of the block that begins here is incomplete at its end in line {line}; copy the block again"
            ),
        };
        format!("{at}: {reason}")
    }
}

/// All blocks of a text.
pub(super) fn read(text: &[u8]) -> Result<Vec<Block>, PemError> {
    read_counted(text, &mut 0)
}

/// The same; adds how many bytes were looked at.
pub(super) fn read_counted(text: &[u8], looks: &mut usize) -> Result<Vec<Block>, PemError> {
    let error = |line, fault| Err(PemError { line, fault });
    *looks += text.len();
    // Hyphens of marks as they are in UTF-16 and UTF-32, in either byte order.
    if contains(text, b"-\0-\0-\0-\0-") || contains(text, b"-\0\0\0-\0\0\0-\0\0\0-") {
        return error(0, Fault::Wide);
    }
    let mut blocks = Vec::new();
    let mut begin: Option<Mark> = None;
    for mark in marks(text, looks)? {
        match (begin.take(), mark.is_end) {
            (None, false) => begin = Some(mark),
            (None, true) => return error(mark.line, Fault::NoBegin),
            (Some(open), false) => return error(open.line, Fault::BeginInside(mark.line)),
            (Some(open), true) if open.label != mark.label => {
                return error(open.line, Fault::EndOfAnother(mark.line));
            }
            (Some(open), true) => blocks.push(block(text, &open, &mark, looks)?),
        }
    }
    match begin {
        Some(open) => error(open.line, Fault::NoEnd),
        None => Ok(blocks),
    }
}

/// The bytes of the certificates of a text, or its error, and how many bytes were looked at.
#[cfg(any(test, fuzzing))]
pub(crate) fn certificates(text: &[u8]) -> (Result<Vec<Vec<u8>>, String>, usize) {
    let mut looks = 0;
    let blocks = read_counted(text, &mut looks).map_err(|error| error.message("c.pem"));
    let certificates = blocks.map(|blocks| {
        let some = blocks.into_iter().filter(|block| block.label.is_certificate());
        some.map(|block| match block.content {
            Content::Der(der) => der.to_vec(),
            Content::Encrypted => Vec::new(),
        })
        .collect()
    });
    (certificates, looks)
}

struct Mark<'a> {
    /// Of its first and behind its last hyphen.
    start: usize,
    end: usize,
    is_end: bool,
    label: &'a [u8],
    line: u32,
}

const HYPHENS: &[u8] = b"-----";
/// Longer labels are not in use.
const MAX_LABEL: usize = 64;
/// More hyphens or dashes than this are not counted.
const MAX_DASHES: usize = 8;

fn marks<'a>(text: &'a [u8], looks: &mut usize) -> Result<Vec<Mark<'a>>, PemError> {
    let (mut found, mut line) = (Vec::new(), 1);
    for at in 0..text.len() {
        if is_line_end(text, at) {
            line += 1;
        }
        let word = match text[at] {
            b'B' | b'b' => b"BEGIN".as_slice(),
            b'E' | b'e' => b"END",
            _ => continue,
        };
        let Some(written) = text.get(at..at + word.len()) else { continue };
        if !written.eq_ignore_ascii_case(word) {
            continue;
        }
        *looks += MAX_LABEL + 2 * MAX_DASHES;
        let (before, behind) = (&text[..at], &text[at + word.len()..]);
        let is_exact = before.ends_with(HYPHENS) && written == word && behind.starts_with(b" ");
        if is_exact && let Some(label) = label(behind) {
            let end = at + word.len() + 1 + label.len() + HYPHENS.len();
            let start = at - HYPHENS.len();
            // Two marks that share their hyphens.
            if found.last().is_some_and(|before: &Mark| before.end > start) {
                return Err(PemError { line, fault: Fault::Mark });
            }
            found.push(Mark { start, end, is_end: word == b"END", label, line });
        } else if is_exact || is_almost(before, behind) {
            return Err(PemError { line, fault: Fault::Mark });
        }
    }
    Ok(found)
}

/// The label of an exact mark, with a blank before and hyphens behind it.
fn label(behind: &[u8]) -> Option<&[u8]> {
    let behind = &behind[1..];
    let end = behind.iter().take(MAX_LABEL + 1).position(|&byte| byte == b'-')?;
    let (label, rest) = behind.split_at(end);
    let plain = |byte: &u8| matches!(byte, b' '..=b'~');
    let trimmed = !label.starts_with(b" ") && !label.ends_with(b" ");
    (trimmed && label.iter().all(plain) && rest.starts_with(HYPHENS)).then_some(label)
}

/// Whether somebody meant a mark: a known label, and two hyphens or dashes on one side or one on both.
fn is_almost(before: &[u8], behind: &[u8]) -> bool {
    // The end of a longer word.
    if before.last().is_some_and(u8::is_ascii_alphanumeric) {
        return false;
    }
    let mut left = 0;
    let mut rest = before.strip_suffix(b" ").unwrap_or(before);
    while let Some(shorter) = DASHES.iter().find_map(|dash| rest.strip_suffix(*dash)) {
        rest = shorter;
        left += 1;
        if left == MAX_DASHES {
            break;
        }
    }
    let behind = &behind[..behind.len().min(MAX_LABEL)];
    let dash = |at: usize| DASHES.iter().find(|dash| behind[at..].starts_with(dash));
    let stop = |at: &usize| matches!(behind[*at], b'\r' | b'\n') || dash(*at).is_some();
    let end = (0..behind.len()).find(stop).unwrap_or(behind.len());
    let (mut right, mut at) = (0, end);
    while right < 2
        && let Some(dash) = dash(at)
    {
        right += 1;
        at += dash.len();
    }
    (left >= 2 || right >= 2 || (left, right) == (1, 1))
        && Label::is_meant(behind[..end].trim_ascii())
}

/// A hyphen, and what word processors make of it: in UTF-8, and in Windows-1252.
const DASHES: &[&[u8]] = &[
    b"-",
    "\u{2010}".as_bytes(),
    "\u{2011}".as_bytes(),
    "\u{2012}".as_bytes(),
    "\u{2013}".as_bytes(),
    "\u{2014}".as_bytes(),
    "\u{2015}".as_bytes(),
    "\u{2212}".as_bytes(),
    "\u{fe58}".as_bytes(),
    "\u{fe63}".as_bytes(),
    "\u{ff0d}".as_bytes(),
    "\u{ad}".as_bytes(),
    b"\x96",
    b"\x97",
];

/// LF, CR LF and CR are one line end each.
fn is_line_end(text: &[u8], at: usize) -> bool {
    match text[at] {
        b'\n' => true,
        b'\r' => text.get(at + 1) != Some(&b'\n'),
        _ => false,
    }
}

fn block(text: &[u8], begin: &Mark, end: &Mark, looks: &mut usize) -> Result<Block, PemError> {
    let error = |line, fault| Err(PemError { line, fault });
    let label = Label::of(begin.label);
    let content = &text[..end.start];
    *looks += 3 * (end.start - begin.end);
    if contains(&content[begin.end..], b"Proc-Type:")
        && contains(&content[begin.end..], b"ENCRYPTED")
    {
        return Ok(Block { label, line: begin.line, content: Content::Encrypted });
    }
    let mut line = begin.line;
    let mut base64 = Zeroizing::new(Vec::with_capacity(end.start - begin.end));
    for at in begin.end..end.start {
        match content[at] {
            b'\r' | b'\n' if is_line_end(text, at) => line += 1,
            b'\r' | b' ' | b'\t' | 0x0b | 0x0c => {}
            b'\\' if matches!(content.get(at + 1), Some(b'n' | b'r')) => {
                return error(line, Fault::Escapes);
            }
            byte @ (b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/')
                if base64.last() != Some(&b'=') =>
            {
                base64.push(byte);
            }
            b'=' => base64.push(b'='),
            _ => return error(line, Fault::Character),
        }
    }
    if base64.is_empty() {
        return error(begin.line, Fault::Empty);
    }
    let mut der = Zeroizing::new(vec![0; base64.len() / 4 * 3]);
    let Ok(len) = Base64::decode(base64.as_slice(), &mut der).map(<[u8]>::len) else {
        return error(begin.line, Fault::Cut(end.line));
    };
    der.truncate(len);
    if der.is_empty() {
        return error(begin.line, Fault::Empty);
    }
    Ok(Block { label, line: begin.line, content: Content::Der(der) })
}

pub(super) fn contains(text: &[u8], part: &[u8]) -> bool {
    text.windows(part.len()).any(|window| window == part)
}

#[cfg(test)]
mod tests;
