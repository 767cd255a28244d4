//! Tests of `scan`.

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
    assert_eq!(contents(b" a = b = c:d \n a:b = c"), [entry("a", "b = c:d"), entry("a:b", "c")]);
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
    for (text, hides_header) in [(&b"; a\rport=1\n"[..], false), (b"; a\r [Port]\rport=1", true)] {
        assert_eq!(contents(text), [broken(Fault::StrayReturn { hides_header })]);
    }
}

#[test]
fn a_header_behind_invisible_characters_is_found() {
    for c in [
        '\u{feff}', '\u{a0}', '\u{200b}', '\u{ad}', '\u{200e}', '\u{202e}', '\u{2028}', '\u{85}',
        '\u{3164}', '\u{fe0f}', '\u{b}', '\u{c}', '\u{1b}', '\u{2003}',
    ] {
        for text in [format!("{c}[Port]"), format!(" {c} \u{200b}[Port.b"), format!("{c} [a]")] {
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
    assert_eq!(contents("; a\u{2028}k = 1".as_bytes()), [broken(Fault::StrayBreak('\u{2028}'))]);
    // As Windows writes an ellipsis.
    assert!(contents(b"; and so on\x85 [1]").is_empty());
    assert_eq!(contents("k = a\u{2028}b".as_bytes()), [entry("k", "a\u{2028}b")]);
}

#[test]
fn of_a_pem_block_only_the_first_line_is_something() {
    let block =
        "-----BEGIN PRIVATE KEY-----\nMIIEvQ\n\nabc/def+\nxyz=\n-----END PRIVATE KEY-----\n";
    assert_eq!(contents(format!("{block}a=1").as_bytes()), [broken(Fault::Pem), entry("a", "1")]);
    let value = contents(format!("  privateKey = {block}[A]").as_bytes());
    assert_eq!(value, [entry("privateKey", "-----BEGIN PRIVATE KEY-----"), header("A")]);
    let line = "-----BEGIN EC PRIVATE KEY----- MIIE= -----END EC PRIVATE KEY-----";
    assert_eq!(contents(format!("{line}\na=").as_bytes()), [broken(Fault::Pem), entry("a", "")]);
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
