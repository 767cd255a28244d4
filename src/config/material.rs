//! Certificates, keys and the names of TLS policies: the part of a check that opens files.
//!
//! Promises: an error of `tls` comes back as a finding at the line of the key at fault.

use super::finding::{Finding, Origin, Severity};
use super::settings::{AlpnMismatch, KeyPermissions, TlsSettings, TlsVersion};
use crate::tls::expiry;
use crate::tls::{self, Acceptor, LoadError, TlsOptions, Version};

/// Makes what a TLS section describes, with warnings; those of dates are about this second of the
/// wall clock.
pub(crate) fn load_tls(
    settings: &TlsSettings,
    unix_s: i64,
) -> Result<(Acceptor, Vec<Finding>), Box<Finding>> {
    let version = |version| match version {
        TlsVersion::Tls12 => Version::Tls12,
        TlsVersion::Tls13 => Version::Tls13,
    };
    let options = TlsOptions {
        certificate: settings.certificate.clone(),
        private_key: settings.private_key.clone(),
        key_permissions: match settings.key_permissions {
            KeyPermissions::Strict => tls::KeyPermissions::Strict,
            KeyPermissions::Warn => tls::KeyPermissions::Warn,
        },
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
            let finding =
                |LoadError { key, message }| finding(settings, Severity::Warning, key, message);
            // `resolve` warns of a self-signed identity already.
            let warnings = warnings.into_iter().filter(|warning| warning.key != "selfSigned");
            let dates = acceptor.dates().iter().filter_map(|dates| expiry::warning(dates, unix_s));
            let dates = dates.map(|message| LoadError { key: "certificate", message });
            let findings = warnings.chain(dates).map(finding).collect();
            Ok((acceptor, findings))
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
