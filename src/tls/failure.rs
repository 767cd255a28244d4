//! Why a handshake or connection failed, in words that name the remedy.
//!
//! Promises: one line; the alert number where one was sent or received; what the peer offered
//! where that is the reason. Sending the alert is left to `engine`.

use std::fmt;

use rustls::{AlertDescription, CipherSuite, Error, NamedGroup, PeerIncompatible, PeerMisbehaved};

use super::client_hello::ClientHello;
use super::options::Version;
use super::policy::iana_name;

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
    pub(super) fn no_data(text: impl Into<String>) -> TlsError {
        TlsError { no_data: true, ..TlsError::ours(None, text) }
    }

    /// Puts an error of the TLS library into words. `queued` says that it had an alert sent;
    /// `hello` is there as long as the handshake lasts.
    pub(super) fn explain(
        error: &Error,
        queued: bool,
        hello: Option<&ClientHello>,
        min_version: Version,
    ) -> TlsError {
        if let Error::AlertReceived(alert) = error {
            return TlsError {
                alert: Some(u8::from(*alert)),
                sent_by_peer: true,
                no_data: false,
                text: received(*alert),
            };
        }
        TlsError::ours(queued.then(|| alert_of(error)).flatten(), reason(error, hello, min_version))
    }
}

impl fmt::Display for TlsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for TlsError {}

fn reason(error: &Error, hello: Option<&ClientHello>, min_version: Version) -> String {
    match (error, hello) {
        (
            Error::PeerIncompatible(
                PeerIncompatible::Tls12NotOffered
                | PeerIncompatible::Tls12NotOfferedOrEnabled
                | PeerIncompatible::SupportedVersionsExtensionRequired,
            ),
            Some(hello),
        ) => versions(hello, min_version),
        (Error::PeerIncompatible(PeerIncompatible::NoCipherSuitesInCommon), Some(hello)) => format!(
            "no cipher suite in common: the peer offers {}; enable ECDHE with AES-GCM there, or put a proxy in front that ends TLS",
            listed(&hello.cipher_suites, |n| iana_name(CipherSuite::from(n)))
        ),
        (
            Error::PeerIncompatible(
                PeerIncompatible::NoKxGroupsInCommon | PeerIncompatible::NamedGroupsExtensionRequired,
            ),
            Some(hello),
        ) => format!(
            "no key exchange group in common: the peer offers {}; enable X25519 or secp256r1 there, or put a proxy in front that ends TLS",
            listed(&hello.groups, |n| format!("{:?}", NamedGroup::from(n)))
        ),
        (Error::PeerIncompatible(PeerIncompatible::NoSignatureSchemesInCommon), _) => {
            "the peer accepts no signature that this port's certificate can make; use a certificate of another key type"
                .into()
        }
        (Error::DecryptError, _) => "a record does not decrypt: it was changed on the way or the peer is broken".into(),
        (Error::PeerSentOversizedRecord, _) => "the peer sent a record beyond the limit of 16 KiB".into(),
        (Error::InvalidMessage(_), Some(_)) => format!("the peer's handshake cannot be read ({error})"),
        _ => error.to_string(),
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

/// The first few of a list that a peer may have made very long.
fn listed(numbers: &[u16], name: impl Fn(u16) -> String) -> String {
    const SHOWN: usize = 8;
    if numbers.is_empty() {
        return "none".into();
    }
    let mut names: Vec<_> = numbers.iter().take(SHOWN).map(|n| name(*n)).collect();
    if numbers.len() > SHOWN {
        names.push(format!("{} more", numbers.len() - SHOWN));
    }
    names.join(", ")
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

/// The alert that the library sends for an error; it does not say so itself.
fn alert_of(error: &Error) -> Option<u8> {
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
            | PeerMisbehaved::TooManyWarningAlertsReceived
            | PeerMisbehaved::TooManyKeyUpdateRequests
            | PeerMisbehaved::TooManyRenegotiationRequests,
        ) => AlertDescription::UnexpectedMessage,
        Error::PeerMisbehaved(_) => AlertDescription::IllegalParameter,
        _ => return None,
    }))
}
