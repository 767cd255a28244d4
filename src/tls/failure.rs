//! Why a handshake or connection failed, in words that name the remedy.
//!
//! Promises: one line; the alert number where one was sent or received; what the peer offered
//! where that is the reason. Sending the alert is left to `engine`.
//!
//! `no_hello` is long: one arm for each kind of what may come first.

use std::fmt::{self, Write};

use rustls::{
    AlertDescription, CipherSuite, Error, InvalidMessage, NamedGroup, PeerIncompatible,
    PeerMisbehaved,
};

use super::acceptor::Acceptor;
use super::client_hello::{ClientHello, MAX_HELLO, Peek};
use super::options::Version;
use super::policy::{iana_name, scheme_name};

/// What a peer cannot have.
pub(super) const RENEGOTIATION: &str = "the peer asked for a renegotiation (a new handshake) on TLS 1.2, which does not exist here, and was answered no_renegotiation (100); switch it off in the peer, or use TLS 1.3";
/// A text of the peer's is shown up to this length.
const SHOWN_CHARS: usize = 64;

/// Why a TLS connection ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsError {
    /// The alert that was sent by us or by the peer, if any.
    pub alert: Option<u8>,
    /// The peer sent the alert.
    pub sent_by_peer: bool,
    /// The peer sent records without data, over and over.
    pub no_data: bool,
    /// One line for people.
    pub text: String,
}

impl TlsError {
    /// A failure that the engine itself found.
    pub(super) fn ours(alert: Option<u8>, text: impl Into<String>) -> TlsError {
        TlsError { alert, sent_by_peer: false, no_data: false, text: text.into() }
    }

    /// The peer keeps us busy with records that carry nothing.
    pub(super) fn no_data(alert: Option<u8>, text: impl Into<String>) -> TlsError {
        TlsError { no_data: true, ..TlsError::ours(alert, text) }
    }

    /// What stands where a ClientHello was expected; `at_first`: and not inside of one.
    pub(super) fn no_hello(peek: &Peek, at_first: bool) -> TlsError {
        let place = if at_first { "instead of a ClientHello" } else { "inside its ClientHello" };
        let (alert, text) = match *peek {
            Peek::Alert(Some([_, alert])) => {
                let alert = AlertDescription::from(alert);
                let text = format!("the peer sent the alert {} {place}", named(alert));
                return TlsError {
                    sent_by_peer: true,
                    ..TlsError::ours(Some(u8::from(alert)), text)
                };
            }
            Peek::Alert(None) => (
                AlertDescription::UnexpectedMessage,
                format!(
                    "the peer sent an encrypted alert {place}: it ends a session that does not exist here"
                ),
            ),
            Peek::OtherRecord(23) => (
                AlertDescription::UnexpectedMessage,
                format!(
                    "the peer sent encrypted application data {place}: it continues a session that does not exist here; look for a load balancer that moves connections, or a client that was connected before a restart"
                ),
            ),
            Peek::OtherRecord(20) => (
                AlertDescription::UnexpectedMessage,
                format!(
                    "the peer sent change_cipher_spec {place}: it continues a handshake that does not exist here; look for a load balancer that moves connections"
                ),
            ),
            Peek::OtherRecord(kind) => (
                AlertDescription::UnexpectedMessage,
                format!("the peer sent a TLS record of type {kind} {place}"),
            ),
            Peek::OtherMessage(kind) => (
                AlertDescription::UnexpectedMessage,
                format!(
                    "the peer sent the handshake message {} instead of a ClientHello; is it a TLS client?",
                    message(kind)
                ),
            ),
            Peek::BadRecord => (
                AlertDescription::DecodeError,
                format!(
                    "the peer sent a TLS record of a length or version that does not exist {place}"
                ),
            ),
            Peek::TooLong => (
                AlertDescription::DecodeError,
                format!("the ClientHello is larger than {} KiB", MAX_HELLO >> 10),
            ),
            Peek::NotTls(what) => (
                AlertDescription::DecodeError,
                format!("the peer sent {what} instead of TLS; this port expects TLS"),
            ),
            // No end of the look.
            Peek::NeedMore | Peek::Hello(_) | Peek::Malformed => {
                (AlertDescription::InternalError, String::new())
            }
        };
        TlsError::ours(Some(u8::from(alert)), text)
    }

    /// Puts an error of the TLS library into words. `alert` is what was sent.
    pub(super) fn explain(
        error: &Error,
        alert: Option<u8>,
        circumstances: &Circumstances<'_>,
    ) -> TlsError {
        if let Error::AlertReceived(alert) = error {
            return TlsError {
                alert: Some(u8::from(*alert)),
                sent_by_peer: true,
                no_data: false,
                text: match circumstances.refused_renegotiation {
                    true => {
                        format!("{RENEGOTIATION}; the peer then sent the alert {}", named(*alert))
                    }
                    false => received(*alert),
                },
            };
        }
        TlsError::ours(alert, reason(error, circumstances))
    }
}

/// What was known when a failure happened.
pub(super) struct Circumstances<'a> {
    /// As long as the handshake lasts.
    pub hello: Option<&'a ClientHello>,
    /// As long as the handshake lasts.
    pub acceptor: Option<&'a Acceptor>,
    pub refused_renegotiation: bool,
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for TlsError {}

fn reason(error: &Error, circumstances: &Circumstances<'_>) -> String {
    if let (Some(hello), Some(acceptor)) = (circumstances.hello, circumstances.acceptor)
        && let Some(text) = refused_hello(error, hello, acceptor)
    {
        return text;
    }
    match error {
        Error::PeerMisbehaved(PeerMisbehaved::TooManyRenegotiationRequests) => {
            format!("{RENEGOTIATION}; the peer then asked again")
        }
        Error::DecryptError if circumstances.acceptor.is_some() => {
            "the peer's part of the handshake does not fit ours: it was changed on the way, or the peer is broken".into()
        }
        Error::DecryptError => {
            "a record does not decrypt: it was changed on the way or the peer is broken".into()
        }
        Error::PeerSentOversizedRecord => "the peer sent a record beyond the limit of 16 KiB".into(),
        Error::InvalidMessage(InvalidMessage::InvalidServerName) => {
            "the peer sent more than one server name (SNI); it must send one at most".into()
        }
        Error::InvalidMessage(InvalidMessage::IllegalEmptyList("ServerNames")) => {
            "the peer sent an empty list of server names (SNI); it must send one, or no list".into()
        }
        Error::InvalidMessage(_) if circumstances.acceptor.is_some() => {
            format!("the peer's handshake cannot be read ({error})")
        }
        _ => error.to_string(),
    }
}

/// What of the ClientHello is the reason, and the remedy.
fn refused_hello(error: &Error, hello: &ClientHello, acceptor: &Acceptor) -> Option<String> {
    let text = match error {
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => versions(hello, acceptor.min_version()),
        Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon) => {
            suites(hello, acceptor)
        }
        Error::PeerIncompatible(
            PeerIncompatible::NoKxGroupsInCommon | PeerIncompatible::NamedGroupsExtensionRequired,
        ) => format!(
            "no key exchange group in common: the peer offers {}; enable X25519 or secp256r1 there, or put a proxy in front that ends TLS",
            listed(&hello.groups, |n| format!("{:?}", NamedGroup::from(n)))
        ),
        Error::PeerIncompatible(
            PeerIncompatible::NoSignatureSchemesInCommon
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) => signatures(hello, acceptor),
        // The library finds out late that the key makes none of the signatures that suite and peer permit.
        Error::General(_)
            if !acceptor.schemes().iter().any(|ours| hello.signature_schemes.contains(ours)) =>
        {
            signatures(hello, acceptor)
        }
        Error::NoApplicationProtocol => format!(
            "no ALPN protocol in common: the peer offers {}, this port has {}; add one of the peer's to alpn, or set alpnMismatch = continue to go on without",
            protocols(hello.alpn()),
            protocols(acceptor.alpn().iter().map(Vec::as_slice))
        ),
        Error::PeerMisbehaved(PeerMisbehaved::ServerNameMustContainOneHostName) => {
            let what = hello.raw_name.as_deref().map_or("a name of another type".into(), shown);
            format!(
                "the server name (SNI) is no host name: {what}; the peer must connect with a host name, without port or brackets, or send no server name"
            )
        }
        Error::InvalidMessage(_) if hello.raw_name.as_ref().is_some_and(Vec::is_empty) => {
            "the server name (SNI) is empty; the peer must send a host name, or no server name"
                .into()
        }
        _ => return None,
    };
    Some(text)
}

fn suites(hello: &ClientHello, acceptor: &Acceptor) -> String {
    let offered = listed(&hello.cipher_suites, |n| iana_name(CipherSuite::from(n)));
    let is_common = |suite: &u16| hello.cipher_suites.contains(suite);
    if hello.newest_version <= 0x0303 && acceptor.tls12_suites().iter().any(is_common) {
        let key = acceptor.key_kind();
        return format!(
            "no cipher suite in common that fits this port's certificate, which has an {key} key: the peer offers {offered}; use a certificate of the other key type (RSA or ECDSA), or enable ECDHE_{key} with AES-GCM there"
        );
    }
    format!(
        "no cipher suite in common: the peer offers {offered}; enable ECDHE with AES-GCM there, or put a proxy in front that ends TLS"
    )
}

fn signatures(hello: &ClientHello, acceptor: &Acceptor) -> String {
    format!(
        "no signature scheme in common: the peer accepts {}, the key of this port's certificate makes {}; use a certificate of another key type, or enable one of these in the peer",
        listed(&hello.signature_schemes, scheme_name),
        listed(acceptor.schemes(), scheme_name)
    )
}

fn protocols<'a>(names: impl Iterator<Item = &'a [u8]>) -> String {
    some(names.map(shown))
}

/// What a peer sent, quoted, cut and without anything that a log would obey.
fn shown(text: &[u8]) -> String {
    let mut out = String::from("\"");
    let mut left = SHOWN_CHARS;
    for chunk in text.utf8_chunks() {
        for c in chunk.valid().chars().take(left) {
            out.extend(c.escape_debug());
        }
        left = left.saturating_sub(chunk.valid().chars().count());
        for byte in chunk.invalid().iter().take(left) {
            // Writing to a String does not fail.
            let _ = write!(out, "\\x{byte:02x}");
        }
        left = left.saturating_sub(chunk.invalid().len());
        if left == 0 {
            break;
        }
    }
    out.push('"');
    let chars = text.utf8_chunks().map(|c| c.valid().chars().count() + c.invalid().len());
    if chars.sum::<usize>() > SHOWN_CHARS {
        let _ = write!(out, "… ({} bytes)", text.len());
    }
    out
}

/// The handshake message of a number.
fn message(kind: u8) -> String {
    match kind {
        0 => "HelloRequest (0)".into(),
        2 => "ServerHello (2)".into(),
        11 => "Certificate (11)".into(),
        16 => "ClientKeyExchange (16)".into(),
        20 => "Finished (20)".into(),
        24 => "KeyUpdate (24)".into(),
        other => format!("of type {other}"),
    }
}

fn versions(hello: &ClientHello, min_version: Version) -> String {
    let name = |version: u16| match version {
        0x0304 => "TLS 1.3".to_string(),
        0x0303 => "TLS 1.2".to_string(),
        0x0302 => "TLS 1.1".to_string(),
        0x0301 => "TLS 1.0".to_string(),
        0x0300 => "SSL 3.0".to_string(),
        other => format!("version {other:#06x}"),
    };
    let newest = name(hello.newest_version);
    match (hello.newest_version, min_version) {
        (..=0x0302, _) => format!(
            "the peer offers at most {newest}, which does not exist here; put a proxy in front that ends TLS"
        ),
        (0x0303, Version::Tls13) => format!(
            "the peer offers at most {newest} and this port permits TLS 1.3 only; set minVersion = 1.2 to let it in"
        ),
        _ => format!(
            "no TLS version in common: the peer offers {} to {newest}; look at minVersion and maxVersion",
            name(hello.oldest_version)
        ),
    }
}

fn listed(numbers: &[u16], name: impl Fn(u16) -> String) -> String {
    some(numbers.iter().map(|n| name(*n)))
}

/// The first few of a list that a peer may have made very long.
fn some(mut names: impl Iterator<Item = String>) -> String {
    const SHOWN: usize = 8;
    let first: Vec<String> = names.by_ref().take(SHOWN).collect();
    match (first.is_empty(), names.count()) {
        (true, _) => "none".into(),
        (_, 0) => first.join(", "),
        (_, more) => format!("{}, {more} more", first.join(", ")),
    }
}

fn received(alert: AlertDescription) -> String {
    let hint = match alert {
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown => {
            ": it does not trust this port's certificate; give it the CA, or send the whole chain"
        }
        AlertDescription::CertificateExpired => ": it finds this port's certificate expired",
        AlertDescription::ProtocolVersion => ": it does not accept the TLS versions of this port",
        AlertDescription::HandshakeFailure => ": it found no suite, group or signature in common",
        AlertDescription::CloseNotify => ": it gave up during the handshake",
        _ => "",
    };
    format!("the peer sent the alert {}{hint}", named(alert))
}

fn named(alert: AlertDescription) -> String {
    format!("{alert:?} ({})", u8::from(alert))
}

/// The alert that the library sends for an error, or should; it does not say so itself.
pub(super) fn alert_of(error: &Error) -> Option<u8> {
    Some(u8::from(match error {
        Error::InappropriateMessage { .. } | Error::InappropriateHandshakeMessage { .. } => {
            AlertDescription::UnexpectedMessage
        }
        Error::InvalidMessage(error) => AlertDescription::from(*error),
        Error::DecryptError => AlertDescription::BadRecordMac,
        Error::PeerSentOversizedRecord => AlertDescription::RecordOverflow,
        Error::NoApplicationProtocol => AlertDescription::NoApplicationProtocol,
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired,
        ) => AlertDescription::ProtocolVersion,
        Error::PeerIncompatible(_) => AlertDescription::HandshakeFailure,
        Error::PeerMisbehaved(
            PeerMisbehaved::KeyEpochWithPendingFragment
            | PeerMisbehaved::IllegalMiddleboxChangeCipherSpec
            | PeerMisbehaved::MessageInterleavedWithHandshakeMessage
            | PeerMisbehaved::TooManyEmptyFragments
            | PeerMisbehaved::TooManyWarningAlertsReceived
            | PeerMisbehaved::TooManyKeyUpdateRequests
            | PeerMisbehaved::TooManyRenegotiationRequests,
        ) => AlertDescription::UnexpectedMessage,
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        // A key that makes none of the signatures that are wanted; errors of ours do not come this far.
        Error::General(_) => AlertDescription::HandshakeFailure,
        _ => return None,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_peer_sent_is_quoted_escaped_and_cut() {
        assert_eq!(shown(b"a.example"), "\"a.example\"");
        assert_eq!(shown("b\u{fc}cher".as_bytes()), "\"b\u{fc}cher\"");
        assert_eq!(shown(b"a\r\nFAKE \"x\" \0"), r#""a\r\nFAKE \"x\" \0""#);
        assert_eq!(
            shown("a\u{202e}b\u{200b}\u{a0}\x1b[2J".as_bytes()),
            r#""a\u{202e}b\u{200b}\u{a0}\u{1b}[2J""#
        );
        assert_eq!(shown(b"\xff\xfea"), r#""\xff\xfea""#);
        assert_eq!(shown(&[b'a'; 64]), format!("\"{}\"", "a".repeat(64)));
        assert_eq!(shown(&[b'a'; 65]), format!("\"{}\"… (65 bytes)", "a".repeat(64)));
        assert!(shown(&[0xff; 1000]).chars().count() <= 64 * 4 + 20);
        assert_eq!(shown(b""), "\"\"");
    }
}
