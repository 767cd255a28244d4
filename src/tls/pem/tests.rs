//! Tests of `pem`.

use super::*;

/// "nativeport": 10 bytes, 16 characters.
const BODY: &str = "bmF0aXZlcG9ydA==";

fn pem(label: &str, body: &str) -> String {
    format!("-----BEGIN {label}-----\n{body}\n-----END {label}-----\n")
}

fn blocks(text: impl AsRef<[u8]>) -> Vec<(Label, u32, Vec<u8>)> {
    let blocks = read(text.as_ref()).unwrap_or_else(|error| panic!("{error:?}"));
    let plain = |block: Block| match block.content {
        Content::Der(der) => (block.label, block.line, der.to_vec()),
        Content::Encrypted => panic!("encrypted"),
    };
    blocks.into_iter().map(plain).collect()
}

#[test]
fn every_common_form_gives_the_same_bytes() {
    let one = pem("CERTIFICATE", "bmF0aXZl\ncG9ydA==");
    let indented = one.lines().map(|line| format!("    {line}\n")).collect::<String>();
    for (text, lines) in [
        (one.repeat(2), [1, 5]),
        (one.replace('\n', "\r\n").repeat(2), [1, 5]),
        (one.replace('\n', "\r").repeat(2), [1, 5]),
        (one.replace('\n', " \t\n").repeat(2), [1, 5]),
        (one.replace('\n', "\n\n").repeat(2), [1, 9]),
        (one.replace('\n', " ").repeat(2), [1, 1]),
        (one.replace('\n', "").repeat(2), [1, 1]),
        (one.trim_end().repeat(2), [1, 4]),
        (format!("{}\r{one}", one.trim_end()), [1, 5]),
        (format!("\u{feff}{one}\u{feff}{one}"), [1, 5]),
        (indented.repeat(2), [1, 5]),
        (format!("Bag Attributes\n  a: b\n{one}subject=CN = x -- END\n{one}"), [3, 8]),
        (format!("{} > {one}", one.trim_end()), [1, 4]),
        // Words of text lines that look like marks.
        (format!("friendlyName: Backend Certificate - Production\n{one}{one}"), [2, 6]),
        (format!("subject=CN = backend certificate-2026\n{one}{one}"), [2, 6]),
        (format!("{one}# Frontend public key - see wiki\n{one}"), [1, 6]),
        (format!("{one}# the end certificate - of 2\n-end\n{one}"), [1, 7]),
        (format!("{one}# -- legend certificate--\n{one}"), [1, 6]),
    ] {
        let expected = lines.map(|line| (Label::Certificate, line, b"nativeport".to_vec()));
        assert_eq!(blocks(&text), expected, "{text:?}");
    }
}

#[test]
fn text_that_is_not_utf_8_may_stand_between_blocks() {
    let one = pem("CERTIFICATE", BODY);
    let text = [b"# Gr\xfc\xdfe \xff\n", one.as_bytes()].concat();
    assert_eq!(blocks(text)[0].1, 2);
}

#[test]
fn labels_are_told_apart_and_unknown_ones_are_not_shown() {
    for (label, certificate, key) in [
        ("CERTIFICATE", true, false),
        ("X509 CERTIFICATE", true, false),
        ("TRUSTED CERTIFICATE", true, false),
        ("CERTIFICATE REQUEST", false, false),
        ("RSA PRIVATE KEY", false, true),
        ("ENCRYPTED PRIVATE KEY", false, true),
        ("PUBLIC KEY", false, false),
    ] {
        let (found, ..) = blocks(pem(label, BODY))[0];
        assert_eq!(found.name(), label);
        assert_eq!((found.is_certificate(), found.is_private_key()), (certificate, key));
    }
    assert_eq!(blocks(pem("SOMETHING", BODY))[0].0.name(), "a block of another kind");
}

#[test]
fn each_broken_text_is_refused_with_its_line() {
    let one = pem("CERTIFICATE", BODY);
    let dashes = |dash: &str| one.replace("-----", dash);
    for (text, line, fault) in [
        (one.replace("-----END CERTIFICATE-----", ""), 1, Fault::NoEnd),
        (one.replace("-----END CERTIFICATE-----", "") + &one, 1, Fault::BeginInside(4)),
        (one.replace("END CERTIFICATE", "END X"), 1, Fault::EndOfAnother(3)),
        (one.clone() + "\n-----END CERTIFICATE-----", 5, Fault::NoBegin),
        (one.replace("END CERTIFICATE-----", "END CERTIFICATE----"), 3, Fault::Mark),
        (one.replace("-----END CERTIFICATE", "----END CERTIFICATE"), 3, Fault::Mark),
        (one.replace("-----BEGIN", "---- BEGIN"), 1, Fault::Mark),
        (one.replace("BEGIN CERTIFICATE", "BEGIN CERTIFICATE "), 1, Fault::Mark),
        (one.replace("BEGIN", "Begin"), 1, Fault::Mark),
        (one.replace("BEGIN CERTIFICATE-----", "BEGIN CERTIFICATE"), 1, Fault::Mark),
        ("\n-----BEGIN X-----END X-----".to_owned(), 2, Fault::Mark),
        ("-----BEGIN X-----BEGIN X-----".to_owned(), 1, Fault::Mark),
        (dashes("\u{2014}\u{2014}\u{2014}"), 1, Fault::Mark),
        (dashes("\u{2014}-"), 1, Fault::Mark),
        (dashes("-"), 1, Fault::Mark),
        (dashes("\u{2014}"), 1, Fault::Mark),
        (one.replace("-----BEGIN CERTIFICATE-----", "BEGIN CERTIFICATE--"), 1, Fault::Mark),
        (one.replace("-----BEGIN CERTIFICATE-----", "--BEGIN CERTIFICATE"), 1, Fault::Mark),
        (format!("x\r\ny\r{}", dashes("\u{2010}\u{2010}\u{2010}\u{2010}\u{2010}")), 3, Fault::Mark),
        (one.replace(BODY, ""), 1, Fault::Empty),
        (one.replace(BODY, "===="), 1, Fault::Cut(3)),
        (one.replace("bmF0", "bm\n*0"), 3, Fault::Character),
        (one.replace("bmF0", "b=F0"), 2, Fault::Character),
        (one.replace("bmF0", "> bmF0"), 2, Fault::Character),
        (one.replace("bmF0", "bmF"), 1, Fault::Cut(3)),
        (one.replace("==", "="), 1, Fault::Cut(3)),
        (one.replace("==", ""), 1, Fault::Cut(3)),
        (one.replace('\n', "\\n"), 1, Fault::Escapes),
        (one.replace('\n', "\\r\\n"), 1, Fault::Escapes),
    ] {
        let error = read(text.as_bytes()).map(drop).expect_err(&text);
        assert_eq!(error, PemError { line, fault }, "{text:?}");
        let message = error.message("dir/c.pem");
        assert!(message.starts_with(&format!("dir/c.pem:{line}: ")), "{message}");
        assert!(message.contains(';') && !message.contains('\n'), "{message}");
    }
}

#[test]
fn dashes_of_windows_1252_are_a_mark_that_is_written_wrong() {
    for dash in [0x96, 0x97] {
        let one = pem("CERTIFICATE", BODY).replace("-----", "##").into_bytes();
        let text: Vec<u8> =
            one.into_iter().map(|byte| if byte == b'#' { dash } else { byte }).collect();
        let error = read(&text).map(drop).unwrap_err();
        assert_eq!(error, PemError { line: 1, fault: Fault::Mark });
    }
}

#[test]
fn utf_16_and_utf_32_are_named() {
    let one = pem("CERTIFICATE", BODY);
    let units = one.encode_utf16();
    let little: Vec<u8> = units.clone().flat_map(u16::to_le_bytes).collect();
    let big: Vec<u8> = units.flat_map(u16::to_be_bytes).collect();
    let wider: Vec<u8> = one.chars().flat_map(|c| u32::from(c).to_le_bytes()).collect();
    for text in [little, big, wider] {
        let error = read(&text).map(drop).unwrap_err();
        assert_eq!(error, PemError { line: 0, fault: Fault::Wide });
        assert!(error.message("c.pem").starts_with("c.pem: the file is UTF-16"));
    }
}

#[test]
fn an_encrypted_block_is_told_from_its_header() {
    let text = pem("RSA PRIVATE KEY", &format!("Proc-Type: 4,ENCRYPTED\nDEK-Info: X,00\n\n{BODY}"));
    for text in [text.replace('\n', " "), text] {
        assert!(matches!(read(text.as_bytes()).unwrap()[0].content, Content::Encrypted));
    }
}

#[test]
fn the_work_is_linear() {
    for part in ["-----BEGIN ", "END", "-", "-----END X-----", "\u{2014}", "\\", "="] {
        let text = part.repeat(50_000);
        let mut looks = 0;
        let _ = read_counted(text.as_bytes(), &mut looks);
        assert!(looks <= 64 * text.len(), "{part}: {looks}");
    }
    let (text, mut looks) = (pem("CERTIFICATE", BODY).repeat(10_000), 0);
    assert_eq!(read_counted(text.as_bytes(), &mut looks).map(|all| all.len()), Ok(10_000));
    assert!(looks <= 64 * text.len(), "{looks}");
}
