//! Certificates, keys and the names of TLS policies: the part of a check that opens files.
//!
//! Promises: an error of `tls` comes back as a finding at the line of the key at fault.

use super::finding::{Finding, Origin, Severity};
use super::settings::{AlpnMismatch, TlsSettings, TlsVersion};
use crate::tls::{Acceptor, LoadError, TlsOptions, Version};

/// Makes what a TLS section describes, with warnings.
pub(crate) fn load_tls(settings: &TlsSettings) -> Result<(Acceptor, Vec<Finding>), Box<Finding>> {
    let version = |version| match version {
        TlsVersion::Tls12 => Version::Tls12,
        TlsVersion::Tls13 => Version::Tls13,
    };
    let options = TlsOptions {
        certificate: settings.certificate.clone(),
        private_key: settings.private_key.clone(),
        self_signed: settings.self_signed.clone(),
        min_version: version(settings.min_version),
        max_version: version(settings.max_version),
        cipher_suites: settings.cipher_suites.clone(),
        groups: settings.groups.clone(),
        alpn: settings.alpn.clone(),
        alpn_may_mismatch: settings.alpn_mismatch == AlpnMismatch::Continue,
    };
    match Acceptor::load(&options) {
        Ok((acceptor, warnings)) => {
            let finding = |text| finding(settings, Severity::Warning, "privateKey", text);
            // `resolve` warns of a self-signed identity already.
            let warnings = warnings.into_iter().filter(|_| settings.self_signed.is_empty());
            Ok((acceptor, warnings.map(finding).collect()))
        }
        Err(LoadError { key, message }) => {
            Err(Box::new(finding(settings, Severity::Error, key, message)))
        }
    }
}

fn finding(settings: &TlsSettings, severity: Severity, key: &str, message: String) -> Finding {
    let Origin { file, line } = settings.places.of(key).clone();
    Finding {
        severity,
        file,
        line,
        section: settings.section.clone(),
        key: key.to_owned(),
        found: String::new(),
        message,
        valid: String::new(),
    }
}
