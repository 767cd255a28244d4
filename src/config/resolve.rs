//! From the document to settings: which sections are ours, and what keys mean together.
//!
//! Promises: pure; all findings, in file order, those about values that the program set
//! at the end. What one key may hold is left to `check`, files and names to their users.

use super::check::{Values, at, broken_finding, check, place};
use super::document::{Document, Entry, Section};
use super::finding::{Finding, Origin, Severity, quoted};
use super::keys::{SectionType, looks_like};
use super::name::{Name, fold, name_of};
use super::overlap;
use super::settings::{
    AccepterPriority, AlpnMismatch, Compression, KeyPermissions, LogLevel, PortSettings,
    RuntimeSettings, Settings, SslMode, TlsSettings, TlsVersion,
};
use super::units::{show_duration, show_size};
use std::collections::HashMap;
use std::path::PathBuf;

/// The name of the section that all ports share.
pub(super) const RUNTIME: &str = "Runtime";

/// Checks everything and gives the settings. They are usable if no finding is an error.
pub(super) fn resolve(document: &Document) -> (Settings, Vec<Finding>) {
    let mut findings = Vec::new();
    for broken in &document.broken {
        findings.push(broken_finding(broken, ""));
    }
    let runtime = match document.find(RUNTIME) {
        Some(section) => {
            warn_of_repeats(section, &mut findings);
            runtime(&check(section, SectionType::Runtime, &mut findings))
        }
        None => runtime(&Values::defaults(SectionType::Runtime)),
    };
    let mut tls = HashMap::new();
    let mut ports = Vec::new();
    for section in document.sections.iter().filter(|section| section.is_port) {
        let values = check(section, SectionType::Port, &mut findings);
        if let Some(first) = &section.duplicate_of {
            findings.push(duplicate(section, first));
        }
        let tls = tls_of(document, section, &values, &mut tls, &mut findings);
        let settings = port(section, &values, tls, &mut findings);
        if section.duplicate_of.is_none() {
            ports.push(settings);
        }
    }
    let sections: Vec<_> = document.ports().zip(&ports).collect();
    overlap::find(&sections, &mut findings);
    warn_of_unread(document, &mut findings);
    findings.sort_by_key(|finding| file_order(document, finding));
    (Settings { runtime, ports }, findings)
}

fn file_order(document: &Document, finding: &Finding) -> (usize, u32) {
    let sources = &document.sources;
    let source = sources.iter().position(|source| *source == finding.file);
    match (finding.line, source) {
        (1.., Some(source)) => (source, finding.line),
        _ => (sources.len(), 0),
    }
}

fn runtime(values: &Values) -> RuntimeSettings {
    RuntimeSettings {
        io_threads: values.number("ioThreads"),
        handshake_threads: values.number("handshakeThreads"),
        worker_threads: values.number("workerThreads"),
        memory_limit_bytes: values.number("memoryLimit"),
        log_level: values.word("logLevel", LogLevel::from_word),
        accepter_priority: values.word("accepterPriority", AccepterPriority::from_word),
    }
}

fn port(
    section: &Section,
    values: &Values,
    tls: Option<TlsSettings>,
    findings: &mut Vec<Finding>,
) -> PortSettings {
    if section.entry("port").is_none() {
        let message = "the section has no port";
        let mut finding = about(section, message, "valid: port = a number from 0 to 65535");
        finding.key = "port".to_owned();
        findings.push(finding);
    }
    warn_of_useless(section, values, findings);
    PortSettings {
        name: section.canonical.clone(),
        written: section.written.clone(),
        places: values.places(section),
        port: values.number("port"),
        map_to_port: match values.entry("mapToPort") {
            Some(_) => values.number("mapToPort"),
            None => values.number("port"),
        },
        bind_addresses: values.list("bindAddress"),
        queue_length: values.number("queueLength"),
        tls,
        ssl: values.word("ssl", SslMode::from_word),
        read_timeout_ms: values.number("readTimeout"),
        handshake_timeout_ms: values.number("handshakeTimeout"),
        frame_timeout_ms: values.number("frameTimeout"),
        idle_timeout_ms: values.number("idleTimeout"),
        write_timeout_ms: values.number("writeTimeout"),
        close_timeout_ms: values.number("closeTimeout"),
        accepter_threads: values.number("accepterThreads"),
        max_connections: values.number("maxConnections"),
        max_connections_per_address: values.number("maxConnectionsPerAddress"),
        max_handshakes: values.number_or_auto("maxHandshakes"),
        max_handshakes_per_address: values.number("maxHandshakesPerAddress"),
        max_frame_size_bytes: values.number("maxFrameSize"),
        max_inflated_size_bytes: values.number("maxInflatedSize"),
        compression: values.word("compression", Compression::from_word),
        compress_threshold_bytes: values.number("compressThreshold"),
        compress_limit_bytes: values.number("compressLimit"),
        compress_level: values.number("compressLevel"),
        send_queue_limit_bytes: values.number("sendQueueLimit"),
        receive_window_bytes: values.number("receiveWindow"),
        keep_alive_ms: values.number("keepAlive"),
        require_close_notify: values.flag("requireCloseNotify"),
    }
}

/// Keys that are legal each, and of which one takes the other's effect away.
fn warn_of_useless(section: &Section, values: &Values, findings: &mut Vec<Finding>) {
    let compression = values.word("compression", Compression::from_word);
    let compresses = !matches!(compression, Compression::Off | Compression::Never);
    let (least, most) = (values.number("compressThreshold"), values.number("compressLimit"));
    // The defaults do not exclude each other, so at least one is set if they do.
    let limit = values.entry("compressThreshold").or(values.entry("compressLimit"));
    if let (true, Some(entry)) = (compresses && least > most, limit) {
        let (least, most) = (show_size(least), show_size(most));
        let message = format!(
            "compressThreshold {least} is above compressLimit {most}: nothing is compressed"
        );
        let valid = "valid: compressThreshold up to compressLimit, or compression = off";
        findings.push(at(section, entry, Severity::Warning, message, valid));
    }
    let (write, close) = (values.number("writeTimeout"), values.number("closeTimeout"));
    // A closeTimeout that is set is meant to be the shorter one.
    let default = values.entry("closeTimeout").is_none();
    if let (true, Some(entry)) = (default && write > close, values.entry("writeTimeout")) {
        let (write, close) = (show_duration(write), show_duration(close));
        let message =
            format!("closeTimeout, {close} by default, ends a close before writeTimeout {write}");
        let valid = "valid: a closeTimeout in the file, of any length";
        findings.push(at(section, entry, Severity::Warning, message, valid));
    }
}

/// The TLS settings of a port. A section that several ports name is checked once.
fn tls_of(
    document: &Document,
    section: &Section,
    values: &Values,
    known: &mut HashMap<String, TlsSettings>,
    findings: &mut Vec<Finding>,
) -> Option<TlsSettings> {
    let named = values.entry("sslSection").filter(|entry| !entry.value.is_empty());
    let Some(entry) = named else {
        if let Some(ssl) = values.entry("ssl") {
            findings.push(ssl_without_section(section, ssl));
        }
        return None;
    };
    let Some(tls_section) = tls_section(document, &entry.value) else {
        let (message, valid) = no_such_section(document, &entry.value);
        findings.push(at(section, entry, Severity::Error, message, valid));
        return None;
    };
    let name = fold(&tls_section.canonical);
    if !known.contains_key(&name) {
        warn_of_repeats(tls_section, findings);
        let values = check(tls_section, SectionType::Tls, findings);
        known.insert(name.clone(), tls(tls_section, &values, findings));
    }
    known.get(&name).cloned()
}

/// The section that an `sslSection` names: any but a port and `Runtime`.
pub(super) fn tls_section<'a>(document: &'a Document, name: &str) -> Option<&'a Section> {
    let ours = !matches!(name_of(name), Name::Other(_)) || name.eq_ignore_ascii_case(RUNTIME);
    (!ours).then(|| document.find(name)).flatten()
}

fn no_such_section(document: &Document, name: &str) -> (String, String) {
    if document.find(name).is_some() {
        let message = format!("[{name}] is no TLS section");
        return (message, "valid: the name of a section that is neither a port nor Runtime".into());
    }
    let names = document.sections.iter().filter(|section| !section.is_port);
    let names = names.filter(|section| !section.canonical.eq_ignore_ascii_case(RUNTIME));
    let names: Vec<String> = names.map(|section| format!("[{}]", section.written)).collect();
    let valid = match names.as_slice() {
        [] => "there is no section but ports and Runtime".to_owned(),
        names => format!("the sections there are: {}", names.join(", ")),
    };
    (format!("there is no section {}", quoted(name)), valid)
}

fn ssl_without_section(section: &Section, ssl: &Entry) -> Finding {
    let auto = ssl.value.eq_ignore_ascii_case(SslMode::Auto.word());
    let (severity, message) = match auto {
        true => (Severity::Error, "ssl = auto needs an sslSection"),
        false => (Severity::Warning, "without an sslSection the port is plain"),
    };
    at(section, ssl, severity, message, "valid: sslSection = the name of a TLS section, or no ssl")
}

fn tls(section: &Section, values: &Values, findings: &mut Vec<Finding>) -> TlsSettings {
    let certificate = values.entry("certificate").filter(|entry| !entry.value.is_empty());
    let private_key = values.entry("privateKey").filter(|entry| !entry.value.is_empty());
    let self_signed = values.list("selfSigned");
    let valid = "valid: certificate and privateKey, or selfSigned";
    let names = values.entry("selfSigned").filter(|_| !self_signed.is_empty());
    match (names, certificate, private_key) {
        (Some(entry), None, None) => {
            let message = "selfSigned is for trying things out: clients cannot verify it";
            let valid = "for real use: certificate and privateKey";
            findings.push(at(section, entry, Severity::Warning, message, valid));
        }
        (Some(entry), _, _) => {
            let message = "selfSigned excludes certificate and privateKey";
            findings.push(at(section, entry, Severity::Error, message, valid));
        }
        // What is wrong with the one it was to have has been told.
        (None, None, None)
            if findings.iter().any(|finding| is_about_identity(section, finding)) => {}
        (None, None, None) => findings.push(about(section, "the section has no identity", valid)),
        (None, Some(alone), None) => {
            let message = "certificate needs its privateKey";
            findings.push(at(section, alone, Severity::Error, message, valid));
        }
        (None, None, Some(alone)) => {
            let message = "privateKey needs its certificate";
            findings.push(at(section, alone, Severity::Error, message, valid));
        }
        (None, Some(_), Some(_)) => {}
    }
    let min_version = values.word("minVersion", TlsVersion::from_word);
    let max_version = values.word("maxVersion", TlsVersion::from_word);
    // The defaults do not exclude each other, so at least one is set if they do.
    let version = values.entry("minVersion").or(values.entry("maxVersion"));
    if let (true, Some(entry)) = (min_version > max_version, version) {
        let (min, max) = (min_version.word(), max_version.word());
        let message = format!("minVersion {min} is above maxVersion {max}");
        let valid = "valid: minVersion up to maxVersion";
        findings.push(at(section, entry, Severity::Error, message, valid));
    }
    TlsSettings {
        section: section.written.clone(),
        places: values.places(section),
        certificate: certificate.map(path),
        private_key: private_key.map(path),
        key_permissions: values.word("keyPermissions", KeyPermissions::from_word),
        min_version,
        max_version,
        cipher_suites: values.list("cipherSuites"),
        groups: values.list("groups"),
        alpn: values.list("alpn"),
        alpn_mismatch: values.word("alpnMismatch", AlpnMismatch::from_word),
        self_signed,
    }
}

/// An error of a key that would give the section its identity.
fn is_about_identity(section: &Section, finding: &Finding) -> bool {
    let key = finding.key.to_ascii_lowercase();
    finding.severity == Severity::Error
        && finding.section == section.written
        && ["certificate", "privatekey", "selfsigned", "keystore", "acme"]
            .iter()
            .any(|identity| key.starts_with(identity))
}

fn path(entry: &Entry) -> PathBuf {
    match &entry.folder {
        // An absolute value replaces the folder.
        Some(folder) => folder.join(&entry.value),
        None => PathBuf::from(&entry.value),
    }
}

fn warn_of_repeats(section: &Section, findings: &mut Vec<Finding>) {
    for repeat in &section.repeats {
        let message = format!("the section stands {} already", place(&section.origin));
        let mut finding = about(section, message, "both are taken as one");
        finding.severity = Severity::Warning;
        finding.file.clone_from(&repeat.file);
        finding.line = repeat.line;
        findings.push(finding);
    }
}

/// A host may have sections of its own; those that look like one of ours are doubtful.
fn warn_of_unread(document: &Document, findings: &mut Vec<Finding>) {
    let references = document.ports().filter_map(|port| port.entry("sslSection"));
    let tls: Vec<&str> = references.map(|entry| entry.value.as_str()).collect();
    for section in document.sections.iter().filter(|section| !section.is_port) {
        let name = section.canonical.to_ascii_lowercase();
        let is_read = name.eq_ignore_ascii_case(RUNTIME)
            || tls.iter().any(|tls| tls.eq_ignore_ascii_case(&name));
        let end = name.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(name.len());
        let head = &name[..end];
        let (meant, valid) = match head {
            _ if is_read => continue,
            "port" => ("a port", "valid: [Port], [Port.name] or [Port 1]"),
            _ if looks_like(head, "port") => ("a port", "valid: [Port] or [Port.name]"),
            _ if looks_like(head, "runtime") => ("Runtime", "valid: [Runtime]"),
            _ => continue,
        };
        let message = format!("a section of this name is not read, if {meant} is meant");
        let mut finding = about(section, message, valid);
        finding.severity = Severity::Warning;
        findings.push(finding);
    }
}

fn duplicate(section: &Section, first: &Origin) -> Finding {
    let message = format!("the port {} stands {} already", section.canonical, place(first));
    about(section, message, "valid: another name, or [Port] without one")
}

/// An error about a section as a whole.
fn about(section: &Section, message: impl Into<String>, valid: impl Into<String>) -> Finding {
    Finding {
        severity: Severity::Error,
        file: section.origin.file.clone(),
        line: section.origin.line,
        section: section.written.clone(),
        key: String::new(),
        found: String::new(),
        message: message.into(),
        valid: valid.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::kind::Kind;

    #[test]
    fn every_word_of_every_choice_has_its_variant() {
        for kind in SectionType::ALL {
            for key in kind.keys().iter().filter(|key| key.built) {
                let Kind::Choice(words) = key.kind else {
                    continue;
                };
                for word in words {
                    let known = match key.name {
                        "logLevel" => LogLevel::from_word(word).is_some(),
                        "accepterPriority" => AccepterPriority::from_word(word).is_some(),
                        "ssl" => SslMode::from_word(word).is_some(),
                        "compression" => Compression::from_word(word).is_some(),
                        "keyPermissions" => KeyPermissions::from_word(word).is_some(),
                        "alpnMismatch" => AlpnMismatch::from_word(word).is_some(),
                        name => panic!("{name} has no enum"),
                    };
                    assert!(known, "{} = {word}", key.name);
                }
            }
        }
    }
}
