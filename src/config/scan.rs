//! The line scanner: bytes of a file to numbered, classified lines.
//!
//! Promises: every line number is the one an editor shows; `=` splits at its first
//! place; backslashes, quotes, `:`, `#` and `;` behind the start of a line are plain
//! characters. What a line means (whose section it is in, whether a key is known) is
//! left to `document` and `resolve`; values travel on through `values`.

/// Blanks that may surround keys, values, headers and comments. Other Unicode white
/// space is part of the text: it would be invisible in the file and in a message.
pub(super) const BLANKS: [char; 2] = [' ', '\t'];

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line {
    /// Counted from 1.
    pub number: u32,
    /// What the line is.
    pub content: Content,
}

/// What a line is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Nothing but blanks.
    Blank,
    /// `;` or `#` at the start, blanks before it allowed.
    Comment,
    /// `[name]`, trimmed.
    Header(String),
    /// A line that starts with `[` and does not end with its `]`.
    BrokenHeader(String),
    /// `key = value`, both trimmed.
    Entry {
        /// As written.
        key: String,
        /// As written; may be empty.
        value: String,
    },
    /// None of the others.
    Junk(String),
    /// Holds a carriage return that ends no line: an editor shows several lines here,
    /// so a comment could swallow the keys behind it unseen.
    StrayReturn,
}

/// Why bytes are no text that can be scanned, and in which line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NotText {
    /// Counted from 1.
    pub line: u32,
    /// What was found; what to do.
    pub message: &'static str,
}

/// Splits the bytes into classified lines.
pub(super) fn scan(bytes: &[u8]) -> Result<Vec<Line>, NotText> {
    let text = decode(bytes)?;
    let text = text.strip_suffix('\n').unwrap_or(&text);
    if text.is_empty() {
        return Ok(Vec::new());
    }
    let lines = text.split('\n').zip(1u32..);
    Ok(lines
        .map(|(line, number)| Line {
            number,
            content: classify(line.strip_suffix('\r').unwrap_or(line)),
        })
        .collect())
}

fn decode(bytes: &[u8]) -> Result<String, NotText> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err(NotText { line: 1, message: "the file is UTF-16; save it as UTF-8" });
    }
    if let Some(at) = bytes.iter().position(|&byte| byte == 0) {
        return Err(NotText {
            line: line_at(bytes, at),
            message: "a NUL byte; save the file as UTF-8 text",
        });
    }
    let (marked, body) = match bytes.strip_prefix(b"\xef\xbb\xbf") {
        Some(body) => (true, body),
        None => (false, bytes),
    };
    match std::str::from_utf8(body) {
        Ok(text) => Ok(text.to_owned()),
        Err(error) if marked => Err(NotText {
            line: line_at(body, error.valid_up_to()),
            message: "the byte order mark says UTF-8, but a byte here is not UTF-8; save the file as UTF-8",
        }),
        // The first 256 code points of Unicode are ISO 8859-1.
        Err(_) => Ok(body.iter().map(|&byte| char::from(byte)).collect()),
    }
}

fn line_at(bytes: &[u8], at: usize) -> u32 {
    let before = bytes[..at].iter().filter(|&&byte| byte == b'\n').count();
    u32::try_from(before + 1).unwrap_or(u32::MAX)
}

fn classify(line: &str) -> Content {
    let text = line.trim_matches(BLANKS);
    if text.starts_with('[') {
        return match header_name(text) {
            Some(name) => Content::Header(name.to_owned()),
            None => Content::BrokenHeader(text.to_owned()),
        };
    }
    if text.contains('\r') {
        return Content::StrayReturn;
    }
    if text.is_empty() {
        return Content::Blank;
    }
    if text.starts_with([';', '#']) {
        return Content::Comment;
    }
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Content::Entry {
            key: key.trim_matches(BLANKS).to_owned(),
            value: value.trim_matches(BLANKS).to_owned(),
        },
        _ => Content::Junk(text.to_owned()),
    }
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

    fn contents(text: &[u8]) -> Vec<Content> {
        let lines = scan(text).expect("the test gives text");
        lines.into_iter().map(|line| line.content).collect()
    }

    fn entry(key: &str, value: &str) -> Content {
        Content::Entry { key: key.into(), value: value.into() }
    }

    #[test]
    fn lines_end_with_lf_or_crlf_and_the_last_may_lack_its_end() {
        let expected = vec![Content::Header("Port".into()), Content::Blank, entry("port", "1")];
        assert_eq!(contents(b"[Port]\n\nport=1\n"), expected);
        assert_eq!(contents(b"[Port]\r\n\r\nport=1"), expected);
        assert_eq!(contents(b""), vec![]);
    }

    #[test]
    fn lines_are_numbered_from_one() {
        let lines = scan(b"\n;\n[A]\nk=v\n").expect("the test gives text");
        let numbers: Vec<u32> = lines.iter().map(|line| line.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
    }

    #[test]
    fn a_comment_starts_only_at_the_start_of_a_line() {
        let text = b"; a\n  # b\n\t;c\nk = v ; d # e\nk;x = 1\n";
        let comment = Content::Comment;
        assert_eq!(
            contents(text),
            [comment.clone(), comment.clone(), comment, entry("k", "v ; d # e"), entry("k;x", "1")]
        );
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
        assert_eq!(
            contents(b"port 1\n = 1"),
            [Content::Junk("port 1".into()), Content::Junk("= 1".into())]
        );
    }

    #[test]
    fn a_header_ends_with_its_bracket() {
        assert_eq!(
            contents(b" [ Port 1 ] \n[a[0]]"),
            [Content::Header("Port 1".into()), Content::Header("a[0]".into())]
        );
        for broken in ["[Port", "[Port] ; see [1]", "[Port] x", "[Port]\r[A]"] {
            assert_eq!(contents(broken.as_bytes()), [Content::BrokenHeader(broken.into())]);
        }
    }

    #[test]
    fn a_lone_carriage_return_ends_no_line() {
        assert_eq!(contents(b"; a\rport=1\n"), [Content::StrayReturn]);
    }

    #[test]
    fn a_byte_order_mark_does_not_join_the_section_name() {
        assert_eq!(contents(b"\xef\xbb\xbf[Port]"), [Content::Header("Port".into())]);
    }

    #[test]
    fn text_that_is_not_utf_8_is_iso_8859_1() {
        assert_eq!(contents("k=Grüße".as_bytes()), [entry("k", "Grüße")]);
        assert_eq!(contents(b"k=Gr\xfc\xdfe"), [entry("k", "Grüße")]);
    }

    #[test]
    fn a_marked_file_that_is_not_utf_8_is_an_error_with_its_line() {
        let error = scan(b"\xef\xbb\xbfa=1\nb=\xfc").expect_err("0xfc is not UTF-8");
        assert_eq!(error.line, 2);
        assert!(error.message.contains("save the file as UTF-8"));
    }

    #[test]
    fn utf_16_is_a_clear_error() {
        for text in [&b"\xff\xfe[\0P\0"[..], b"\xfe\xff\0[\0P"] {
            assert!(scan(text).expect_err("UTF-16").message.contains("UTF-16"));
        }
    }

    #[test]
    fn a_nul_byte_is_an_error_with_its_line() {
        let error = scan(b"a=1\nb=\0").expect_err("NUL");
        assert_eq!((error.line, error.message.contains("NUL")), (2, true));
    }
}
