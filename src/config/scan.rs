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
mod tests {
    use super::*;

    /// As `Debug`, since lines borrow from the text.
    fn contents(text: &[u8]) -> Vec<String> {
        let decoded = decode(text).expect("the test gives text");
        decoded.lines().map(|line| format!("{:?}", line.content)).collect()
    }

    fn header(name: &str) -> String {
        format!("{:?}", Content::Header(name))
    }

    fn entry(key: &str, value: &str) -> String {
        format!("{:?}", Content::Entry { key, value })
    }

    fn broken(fault: Fault) -> String {
        format!("{:?}", Content::Broken(fault))
    }

    fn wide(name: &str) -> String {
        broken(Fault::WideBracket { bracket: '［', name: name.into() })
    }

    fn refused(text: &[u8]) -> NotText {
        decode(text).map(|_| ()).expect_err("it is no text")
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_the_last_may_lack_its_end() {
        let expected = [header("Port"), entry("port", "1")];
        assert_eq!(contents(b"[Port]\n\nport=1\n"), expected);
        assert_eq!(contents(b"[Port]\r\n\r\nport=1"), expected);
        assert!(contents(b"").is_empty());
    }

    #[test]
    fn lines_are_numbered_from_one() {
        let decoded = decode(b"\n;\n[A]\nk=v\n").expect("the test gives text");
        let numbers: Vec<u32> = decoded.lines().map(|line| line.number).collect();
        assert_eq!(numbers, [3, 4]);
    }

    #[test]
    fn a_comment_starts_only_at_the_start_of_a_line() {
        let text = b"; a\n  # b\n\t;c\nk = v ; d # e\nk;x = 1\n";
        assert_eq!(contents(text), [entry("k", "v ; d # e"), entry("k;x", "1")]);
    }

    #[test]
    fn the_first_equals_sign_splits() {
        assert_eq!(
            contents(b" a = b = c:d \n a:b = c"),
            [entry("a", "b = c:d"), entry("a:b", "c")]
        );
        assert_eq!(contents(b"a="), [entry("a", "")]);
    }

    #[test]
    fn a_line_without_a_key_or_an_equals_sign_is_junk() {
        let junk = |word: Option<&str>| broken(Fault::Junk(word.map(str::to_owned)));
        assert_eq!(contents(b"port 1\n = 1\n::1"), [junk(Some("port")), junk(None), junk(None)]);
        // Known words are shown. Any other may be a password.
        assert_eq!(
            contents(b"queueLength: 5\n!include x\ninclude\nexport\nhunter2\nincludes"),
            [
                junk(Some("queueLength")),
                junk(Some("!include")),
                junk(Some("include")),
                junk(Some("export")),
                junk(None),
                junk(None),
            ]
        );
    }

    #[test]
    fn a_header_ends_with_its_bracket() {
        assert_eq!(contents(b" [ Port 1 ] \n[a[0]]"), [header("Port 1"), header("a[0]")]);
        for text in ["[Port", "[Port] ; see [1]", "[Port] x"] {
            let fault = Fault::UnclosedHeader(format!("'{text}'"));
            assert_eq!(contents(text.as_bytes()), [broken(fault)]);
        }
        let fault = Fault::StrayReturn { hides_header: true };
        assert_eq!(contents(b"[Port]\r[A]"), [broken(fault)]);
    }

    #[test]
    fn a_lone_carriage_return_ends_no_line() {
        for (text, hides_header) in
            [(&b"; a\rport=1\n"[..], false), (b"; a\r [Port]\rport=1", true)]
        {
            assert_eq!(contents(text), [broken(Fault::StrayReturn { hides_header })]);
        }
    }

    #[test]
    fn a_header_behind_invisible_characters_is_found() {
        for c in [
            '\u{feff}', '\u{a0}', '\u{200b}', '\u{ad}', '\u{200e}', '\u{202e}', '\u{2028}',
            '\u{85}', '\u{3164}', '\u{fe0f}', '\u{b}', '\u{c}', '\u{1b}', '\u{2003}',
        ] {
            for text in [format!("{c}[Port]"), format!(" {c} \u{200b}[Port.b"), format!("{c} [a]")]
            {
                // A byte order mark is one at the start of the file only.
                let found = contents(format!("\n{text}").as_bytes());
                assert_eq!(found, [broken(Fault::HiddenHeader(c))], "{text:?}");
            }
        }
        for c in ['\u{2028}', '\u{2029}', '\u{85}'] {
            for before in ["; a", "k = 1", "junk"] {
                let text = format!("{before}{c} [Port]");
                assert_eq!(contents(text.as_bytes()), [broken(Fault::HiddenHeader(c))], "{text:?}");
            }
        }
        assert_eq!(contents("［Port］".as_bytes()), [wide("Port")]);
        assert_eq!(contents("[a]\n［ TLS］".as_bytes()), [header("a"), wide("TLS")]);
        assert_eq!(contents("［a］ = 1".as_bytes()), [entry("［a］", "1")]);
        assert_eq!(contents("［Port］ = 1".as_bytes()), [wide("Port")]);
    }

    #[test]
    fn a_break_within_a_comment_may_hide_a_key() {
        assert_eq!(
            contents("; a\u{2028}k = 1".as_bytes()),
            [broken(Fault::StrayBreak('\u{2028}'))]
        );
        // As Windows writes an ellipsis.
        assert!(contents(b"; and so on\x85 [1]").is_empty());
        assert_eq!(contents("k = a\u{2028}b".as_bytes()), [entry("k", "a\u{2028}b")]);
    }

    #[test]
    fn of_a_pem_block_only_the_first_line_is_something() {
        let block =
            "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n\nabc/def+\nxyz=\n-----END PRIVATE KEY-----\n";
        assert_eq!(
            contents(format!("{block}a=1").as_bytes()),
            [broken(Fault::Pem), entry("a", "1")]
        );
        let value = contents(format!("  privateKey = {block}[A]").as_bytes());
        assert_eq!(value, [entry("privateKey", "-----BEGIN PRIVATE KEY-----"), header("A")]);
        let line = "-----BEGIN EC PRIVATE KEY----- MIIE= -----END EC PRIVATE KEY-----";
        assert_eq!(
            contents(format!("{line}\na=").as_bytes()),
            [broken(Fault::Pem), entry("a", "")]
        );
    }

    #[test]
    fn a_pem_block_without_its_end_goes_up_to_the_next_header_or_key() {
        let block = "-----BEGIN RSA PRIVATE KEY-----\nProc-Type: 4,ENCRYPTED\n\nMIIEvQ\nxy==\n";
        for (next, expected) in [("[A]", header("A")), ("port = 1", entry("port", "1"))] {
            let text = format!("{block}; a\nMIIE\n{next}\n");
            let found = contents(text.as_bytes());
            assert_eq!((&found[0], found.last()), (&broken(Fault::Pem), Some(&expected)));
        }
    }

    #[test]
    fn what_may_be_an_entry_is_never_a_part_of_a_pem_block() {
        for begin in ["-----BEGIN", "-----BEGIN LICENSE-----", "---- BEGIN SSH2 PUBLIC KEY ----"] {
            for (line, key, value) in [
                ("endMark = -----END LICENSE-----", "endMark", "-----END LICENSE-----"),
                ("endMark=-----END LICENSE-----", "endMark", "-----END LICENSE-----"),
                ("sep = -", "sep", "-"),
                ("sep=-", "sep", "-"),
                ("empty =", "empty", ""),
                ("sslSection =", "sslSection", ""),
                ("sslSection=", "sslSection", ""),
                // These have the length of base64.
                ("ssl=", "ssl", ""),
                ("certificate=", "certificate", ""),
                ("a: b = c", "a: b", "c"),
            ] {
                let found = contents(format!("x = {begin}\nMIIE\n{line}\nabcd\n").as_bytes());
                let junk = broken(Fault::Junk(None));
                assert_eq!(found, [entry("x", begin), entry(key, value), junk], "{line}");
            }
        }
        // Line ends of two characters, and the mark in the line of the last base64.
        let text = "x = -----BEGIN A-----\\n\nMIIEvQIBADAN\\n\nabcDefGHij==\\n\nMIIEvQIBADANBgkqhkiG9w0B-----END A-----\na = 1\n";
        let begin = "-----BEGIN A-----\\n";
        assert_eq!(contents(text.as_bytes()), [entry("x", begin), entry("a", "1")]);
        // The block has ended.
        let found = contents(b"x = -----BEGIN\nno base64!\nabcd=\n");
        let junk = broken(Fault::Junk(None));
        assert_eq!(found, [entry("x", "-----BEGIN"), junk, entry("abcd", "")]);
    }

    #[test]
    fn a_longer_line_is_refused() {
        let value = "v".repeat(MOST_LINE_BYTES - 2);
        assert_eq!(contents(format!("k={value}").as_bytes()), [entry("k", &value)]);
        assert_eq!(contents(format!("k={value}v").as_bytes()), [broken(Fault::LongLine)]);
    }

    #[test]
    fn a_byte_order_mark_does_not_join_the_section_name() {
        assert_eq!(contents(b"\xef\xbb\xbf[Port]"), [header("Port")]);
    }

    #[test]
    fn text_that_is_not_utf_8_is_iso_8859_1() {
        assert_eq!(contents("k=Grüße".as_bytes()), [entry("k", "Grüße")]);
        assert_eq!(contents(b"k=Gr\xfc\xdfe"), [entry("k", "Grüße")]);
    }

    #[test]
    fn a_marked_file_that_is_not_utf_8_is_an_error_with_its_line() {
        let error = refused(b"\xef\xbb\xbfa=1\nb=\xfc");
        assert_eq!(error.line, 2);
        assert!(error.text.remedy().contains("save the file as UTF-8"));
    }

    #[test]
    fn utf_16_is_a_clear_error() {
        for text in [&b"\xff\xfe[\0P\0"[..], b"\xfe\xff\0[\0P"] {
            assert!(refused(text).text.cause().contains("UTF-16"));
        }
    }

    #[test]
    fn a_nul_byte_is_an_error_with_its_line() {
        let error = refused(b"a=1\nb=\0");
        assert_eq!((error.line, error.text.cause().contains("NUL")), (2, true));
    }
}
