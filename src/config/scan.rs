//! The line scanner: bytes of a file to numbered, classified lines, without a copy.
//!
//! Promises: every line number is the one an editor shows; `=` splits at its first
//! place; backslashes, quotes, `:`, `#` and `;` after the start of a line are plain
//! characters. What a line means (whose section it is in, whether a key is known) is
//! left to `document` and `resolve`; values travel on through `values`.

use super::keys::SectionType;
use super::name::{Name, name_of};
use super::resolve::RUNTIME;
use super::says::{self, Text};
use super::secret::{begins_pem, ends_pem};
use super::text::{is_invisible, quoted};
use super::work::count;
use std::borrow::Cow;
use std::str::Split;
use zeroize::Zeroize;

/// Blanks that may surround keys, values, headers and comments. Other Unicode white
/// space is part of the text: it would be invisible in the file and in a message.
pub(super) const BLANKS: [char; 2] = [' ', '\t'];

/// A longer line is refused, whatever it is.
pub(super) const MOST_LINE_BYTES: usize = 64 << 10;

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<'a> {
    /// Counted from 1.
    pub number: u32,
    /// What the line is.
    pub content: Content<'a>,
}

/// What a line is that is neither blank nor a comment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content<'a> {
    /// `[name]`, trimmed.
    Header(&'a str),
    /// `key = value`, both trimmed.
    Entry {
        /// As written.
        key: &'a str,
        /// As written; may be empty.
        value: &'a str,
    },
    /// None of these.
    Broken(Fault),
}

/// What is wrong with a line. Holds no more of it than may be shown, but for the name of a header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Fault {
    /// A header without its end; the text.
    UnclosedHeader(String),
    /// `[Port.]`; the text.
    PortWithoutName(String),
    /// A header after a character that hides it.
    HiddenHeader(char),
    /// A header with a bracket that looks like `[`.
    WideBracket {
        /// The bracket.
        bracket: char,
        /// What stands in the brackets; it may be anything.
        name: String,
    },
    /// No header, key or comment; its first word if that is a word of configurations.
    Junk(Option<String>),
    /// The first line of a PEM block.
    Pem,
    /// Holds a carriage return that ends no line: an editor shows several lines here,
    /// so a comment could swallow the keys after it unseen.
    StrayReturn {
        /// Whether one of these lines begins with `[`.
        hides_header: bool,
    },
    /// A comment with another character at which editors begin a new line.
    StrayBreak(char),
    /// More bytes than `MOST_LINE_BYTES`.
    LongLine,
}

impl Fault {
    /// Whether the line may be a header of ours: then it is an error in every section, and what is
    /// after it belongs to none.
    pub(super) fn may_be_header(&self) -> bool {
        matches!(
            self,
            Fault::UnclosedHeader(_)
                | Fault::PortWithoutName(_)
                | Fault::HiddenHeader(_)
                | Fault::StrayReturn { hides_header: true }
        ) || matches!(self, Fault::WideBracket { name, .. } if is_ours(name))
    }
}

/// Why bytes are no text that can be scanned, and in which line.
#[derive(Clone, Debug)]
pub(super) struct NotText {
    /// Counted from 1.
    pub line: u32,
    /// What was found; what to do.
    pub text: Text,
}

/// The text of a file.
pub(super) struct Decoded<'a> {
    text: Cow<'a, str>,
    is_latin_1: bool,
}

impl Drop for Decoded<'_> {
    fn drop(&mut self) {
        if let Cow::Owned(text) = &mut self.text {
            text.zeroize();
        }
    }
}

impl Decoded<'_> {
    /// The lines that are neither blank nor comments.
    pub(super) fn lines(&self) -> Lines<'_> {
        let text = self.text.strip_suffix('\n').unwrap_or(&self.text);
        Lines { rest: text.split('\n'), number: 0, in_pem: false, is_latin_1: self.is_latin_1 }
    }
}

/// Reads the bytes as UTF-8, or as ISO 8859-1.
pub(super) fn decode(bytes: &[u8]) -> Result<Decoded<'_>, NotText> {
    count(bytes.len());
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(NotText { line: 1, text: says::utf_16() });
    }
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return Err(NotText { line: line_at(bytes, at), text: says::nul() });
    }
    let (marked, body) = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(body) => (true, body),
        None => (false, bytes),
    };
    match std::str::from_utf8(body) {
        Ok(text) => Ok(Decoded { text: text.into(), is_latin_1: false }),
        Err(error) if marked => {
            Err(NotText { line: line_at(body, error.valid_up_to()), text: says::not_utf_8() })
        }
        // The first 256 code points of Unicode are ISO 8859-1, and take two bytes at most.
        Err(_) => {
            let mut text = String::with_capacity(2 * body.len());
            text.extend(body.iter().map(|&byte| char::from(byte)));
            Ok(Decoded { text: text.into(), is_latin_1: true })
        }
    }
}

/// The lines of a text.
pub(super) struct Lines<'a> {
    rest: Split<'a, char>,
    number: u32,
    /// Between the first and the last line of a PEM block.
    in_pem: bool,
    is_latin_1: bool,
}

impl<'a> Iterator for Lines<'a> {
    type Item = Line<'a>;

    fn next(&mut self) -> Option<Line<'a>> {
        loop {
            let line = self.rest.next()?;
            self.number = self.number.saturating_add(1);
            let line = line.strip_suffix('\r').unwrap_or(line);
            if let Some(content) = self.classify(line) {
                return Some(Line { number: self.number, content });
            }
        }
    }
}

impl<'a> Lines<'a> {
    fn classify(&mut self, line: &'a str) -> Option<Content<'a>> {
        // The line end too: an empty line is work.
        count(line.len() + 1);
        if line.len() > MOST_LINE_BYTES {
            return Some(Content::Broken(Fault::LongLine));
        }
        let text = line.trim_matches(BLANKS);
        if self.in_pem && !text.is_empty() {
            let ends = is_pem_end(text);
            let is_in_it = ends || is_base64_line(text) || is_pem_header(text);
            self.in_pem = is_in_it && !ends;
            if is_in_it {
                return None;
            }
        }
        if let Some(fault) = self.header_fault(text) {
            return Some(Content::Broken(fault));
        }
        if text.is_empty() {
            return None;
        }
        if let Some(name) = header_name(text) {
            return Some(Content::Header(name));
        }
        if text.contains('\r') {
            return Some(Content::Broken(Fault::StrayReturn { hides_header: false }));
        }
        if text.starts_with([';', '#']) {
            let fault = text.chars().find(|&c| self.is_break(c)).map(Fault::StrayBreak);
            return fault.map(Content::Broken);
        }
        let entry = text.split_once('=').filter(|(key, _)| !key.is_empty());
        let is_pem = begins_pem(text);
        self.in_pem = is_pem && !ends_pem(text);
        Some(match entry {
            Some((key, value)) if !begins_pem(key) => {
                Content::Entry { key: key.trim_matches(BLANKS), value: value.trim_matches(BLANKS) }
            }
            _ if is_pem => Content::Broken(Fault::Pem),
            _ => Content::Broken(Fault::Junk(first_word(text))),
        })
    }

    /// What is wrong with a line that holds a header which is not read as one.
    fn header_fault(&self, text: &str) -> Option<Fault> {
        if text.starts_with('[') {
            let broken = header_name(text).is_none();
            // A file with the line ends of the old Mac is one such line.
            return broken.then(|| match text.contains('\r') {
                true => Fault::StrayReturn { hides_header: true },
                false => Fault::UnclosedHeader(quoted(text)),
            });
        }
        // What hides the start of a line that an editor shows; `None` within such a line.
        let mut hidden_by = None;
        for (at, c) in text.char_indices() {
            match c {
                '[' if hidden_by == Some('\r') => {
                    return Some(Fault::StrayReturn { hides_header: true });
                }
                '[' if hidden_by.is_some() => return hidden_by.map(Fault::HiddenHeader),
                '［' if at == 0 || hidden_by.is_some() => {
                    let name = text[at..].trim_start_matches('［').split([']', '］']).next();
                    let name = name.unwrap_or_default().trim_matches(BLANKS);
                    // Otherwise it is a key like any other, or a part of a value.
                    if is_ours(name) || (at == 0 && !text.contains('=')) {
                        return Some(Fault::WideBracket { bracket: c, name: name.to_owned() });
                    }
                    hidden_by = None;
                }
                _ if c == '\r' || self.is_break(c) || (at == 0 && is_invisible(c)) => {
                    hidden_by = hidden_by.or(Some(c));
                }
                _ if is_invisible(c) || c == ' ' => {}
                _ => hidden_by = None,
            }
        }
        None
    }

    /// Characters at which editors begin a new line. In ISO 8859-1 the first one is mostly meant as
    /// the ellipsis of Windows.
    fn is_break(&self, c: char) -> bool {
        (c == '\u{85}' && !self.is_latin_1) || c == '\u{2028}' || c == '\u{2029}'
    }
}

/// Whether a line may be of the base64 of a PEM block. A key of ours is none, though it may look so:
/// `certificate=` has the length of four characters each.
fn is_base64_line(text: &str) -> bool {
    // Line ends that are written as two characters.
    let mut text = text;
    while let Some(shorter) = ["\\n", "\\r", "\\"].iter().find_map(|end| text.strip_suffix(end)) {
        text = shorter;
    }
    let digits = text.trim_end_matches('=');
    let padding = text.len() - digits.len();
    let is_digit = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'+' || byte == b'/';
    let is_padded = padding <= 2 && text.len().is_multiple_of(4) && !is_key_of_ours(digits);
    !digits.is_empty() && digits.bytes().all(is_digit) && (padding == 0 || is_padded)
}

/// Of RFC 1421 and RFC 4716.
fn is_pem_header(text: &str) -> bool {
    const NAMES: [&str; 5] = ["Proc-Type", "DEK-Info", "Content-Domain", "Comment", "Subject"];
    let name = text.split_once(':').map_or("", |(name, _)| name);
    NAMES.iter().any(|known| known.eq_ignore_ascii_case(name))
}

/// Whether the line is the last one of a PEM block, with base64 before the mark or not, and nothing else.
fn is_pem_end(text: &str) -> bool {
    /// A shorter text before the mark is a key of the host's.
    const BASE64: usize = 24;
    let mark = ["-----END", "---- END"].iter().find_map(|mark| text.split_once(mark));
    mark.is_some_and(|(body, rest)| {
        let is_base64 = || body.len() >= BASE64 && is_base64_line(body.trim_matches(BLANKS));
        !rest.contains('=') && (body.is_empty() || is_base64())
    })
}

/// The first word of a line that is no header, key or comment, if it may be shown: any other may be a
/// password.
fn first_word(text: &str) -> Option<String> {
    let word = text.split([' ', '\t', ':', '=']).next().unwrap_or_default();
    let is_known = ["include", "!include", "export"].contains(&word) || is_key_of_ours(word);
    is_known.then(|| word.to_owned())
}

fn is_key_of_ours(word: &str) -> bool {
    SectionType::ALL.iter().any(|section| section.key(word).is_some())
}

/// Whether a section of this name is ours whatever else the file says.
fn is_ours(name: &str) -> bool {
    !matches!(name_of(name), Name::Other(_)) || name.eq_ignore_ascii_case(RUNTIME)
}

fn line_at(bytes: &[u8], at: usize) -> u32 {
    let before = bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
    u32::try_from(before + 1).unwrap_or(u32::MAX)
}

/// The name between the brackets; `None` if the header is not closed, or if anything
/// but further `]` follows its first `]` (`[Port] ; see [1]` must not be a section).
fn header_name(text: &str) -> Option<&str> {
    let name = text.strip_prefix('[')?.strip_suffix(']')?;
    let rest = &name[name.find(']').unwrap_or(name.len())..];
    (rest.chars().all(|c| c == ']') && !name.contains('\r')).then(|| name.trim_matches(BLANKS))
}

#[cfg(test)]
mod tests;
