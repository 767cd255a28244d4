//! From the document to settings: which sections are ours, and what keys mean together.
//!
//! Promises: pure; all findings, in file order, those about values that the program set
//! at the end. What one key may hold is left to `check`, files and names to their users.

use super::check::{Values, at, broken_finding, check, shown_key};
use super::document::{Document, Entry, Section};
use super::finding::{Finding, Findings, Severity};
use super::hint;
use super::keys::{SectionType, looks_like};
use super::kind::Kind;
use super::name::{Name, fold, foreign, name_of, resembles};
use super::overlap;
use super::says::{self, Text};
use super::scan::{BLANKS, Fault};
use super::settings::{
    AccepterPriority, AlpnMismatch, CallbackThreads, Compression, KeyPermissions, LogLevel,
    PortSettings, RuntimeSettings, Settings, SslMode, TlsSettings, TlsVersion,
};
use super::text::{self, code, quoted};
use super::units::{show_duration, show_size};
use super::work::count;
use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::sync::Arc;

/// The name of the section that all ports share.
pub(super) const RUNTIME: &str = "Runtime";

/// Checks everything and gives the settings. They are usable if no finding is an error.
pub(super) fn resolve(document: &Document) -> (Settings, Findings) {
    let mut findings = Findings::default();
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
    let mut tls = KnownTls::default();
    let mut ports = Vec::new();
    for section in document.sections.iter().filter(|section| section.is_port) {
        count(section.canonical.len());
        let values = check(section, SectionType::Port, &mut findings);
        if let Some(first) = &section.duplicate_of {
            let text = says::same_port(text::section(&section.canonical), first.stands());
            findings.push(about(section, text));
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
    (Settings { runtime, ports }, findings)
}

fn runtime(values: &Values) -> RuntimeSettings {
    RuntimeSettings {
        io_threads: values.number("ioThreads"),
        handshake_threads: values.number("handshakeThreads"),
        worker_threads: values.number("workerThreads"),
        memory_limit_bytes: values.number("memoryLimit"),
        log_level: values.word("logLevel", LogLevel::from_word),
        accepter_priority: values.word("accepterPriority", AccepterPriority::from_word),
        callback_threads: values.word("callbackThreads", CallbackThreads::from_word),
        exit_flush_ms: values.number("exitFlush"),
    }
}

fn port(
    section: &Section,
    values: &Values,
    tls: Option<Arc<TlsSettings>>,
    findings: &mut Findings,
) -> PortSettings {
    if section.entry("port").is_none() {
        let mut finding = about(section, says::no_port());
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
        dscp: values.number("dscp"),
        require_close_notify: values.flag("requireCloseNotify"),
    }
}

/// Keys that are legal each, and of which one takes the other's effect away.
fn warn_of_useless(section: &Section, values: &Values, findings: &mut Findings) {
    let compression = values.word("compression", Compression::from_word);
    let compresses = !matches!(compression, Compression::Off | Compression::Never);
    let (least, most) = (values.number("compressThreshold"), values.number("compressLimit"));
    // The defaults do not exclude each other, so at least one is set if they do.
    let limit = values.entry("compressThreshold").or(values.entry("compressLimit"));
    if let (true, Some(entry)) = (compresses && least > most, limit) {
        let text = says::no_compression(show_size(least), show_size(most));
        findings.push(at(section, entry, Severity::Warning, text));
    }
    let (write, close) = (values.number("writeTimeout"), values.number("closeTimeout"));
    // A closeTimeout that is set is meant to be the shorter one.
    let default = values.entry("closeTimeout").is_none();
    if let (true, Some(entry)) = (default && write > close, values.entry("writeTimeout")) {
        let text = says::short_close(show_duration(close), show_duration(write));
        findings.push(at(section, entry, Severity::Warning, text));
    }
}

/// What is known of TLS sections from the ports before.
#[derive(Default)]
struct KnownTls {
    settings: HashMap<usize, Arc<TlsSettings>>,
    /// The remedy where a section is missing: the same for all ports.
    others: Option<Text>,
}

/// The TLS settings of a port. A section that several ports name is checked once.
fn tls_of(
    document: &Document,
    section: &Section,
    values: &Values,
    known: &mut KnownTls,
    findings: &mut Findings,
) -> Option<Arc<TlsSettings>> {
    let Some(entry) = values.entry("sslSection") else {
        // An empty name is an error already.
        if values.wrong().contains(&"sslSection") {
            return None;
        }
        if let Some(ssl) = values.entry("ssl") {
            findings.push(ssl_without_section(section, ssl));
        }
        if let Some(entry) = values.entry("requireCloseNotify") {
            findings.push(at(section, entry, Severity::Warning, says::plain_end()));
        }
        return None;
    };
    let Some(index) = tls_section(document, &entry.value) else {
        let text = match document.find(&entry.value) {
            Some(found) => says::no_tls_section(text::section(&found.written)),
            None => {
                let others = known.others.get_or_insert_with(|| other_sections(document));
                let name = quoted(&entry.value);
                let habit = hint::habit(Kind::Text(""), &entry.value);
                says::no_such_section(name, others.remedy()).and(habit)
            }
        };
        findings.push(at(section, entry, Severity::Error, text));
        return None;
    };
    if let Some(settings) = known.settings.get(&index) {
        return Some(settings.clone());
    }
    let tls_section = &document.sections[index];
    warn_of_repeats(tls_section, findings);
    let values = check(tls_section, SectionType::Tls, findings);
    let settings = Arc::new(tls(tls_section, &values, findings));
    known.settings.insert(index, settings.clone());
    Some(settings)
}

/// Where the section is that an `sslSection` names: any but a port and `Runtime`.
pub(super) fn tls_section(document: &Document, name: &str) -> Option<usize> {
    let ours = !matches!(name_of(name), Name::Other(_)) || name.eq_ignore_ascii_case(RUNTIME);
    (!ours).then(|| document.find_index(name)).flatten()
}

fn other_sections(document: &Document) -> Text {
    let names = document.sections.iter().filter(|section| {
        count(1);
        !section.is_port && !section.canonical.eq_ignore_ascii_case(RUNTIME)
    });
    match list_of(names) {
        names if names.is_empty() => says::no_other_section(),
        names => says::other_sections(names),
    }
}

/// The names of some of these sections, and how many more there are.
pub(super) fn list_of<'a>(mut sections: impl Iterator<Item = &'a Section>) -> String {
    let first: Vec<String> = sections
        .by_ref()
        .take(10)
        .map(|section| format!("[{}]", text::name(&section.written)))
        .collect();
    match sections.count() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

fn ssl_without_section(section: &Section, ssl: &Entry) -> Finding {
    let auto = ssl.value.eq_ignore_ascii_case(SslMode::Auto.word());
    let (severity, text) = match auto {
        true => (Severity::Error, says::auto_without_section()),
        false => (Severity::Warning, says::plain_port()),
    };
    at(section, ssl, severity, text)
}

fn tls(section: &Section, values: &Values, findings: &mut Findings) -> TlsSettings {
    let certificate = values.entry("certificate");
    let private_key = values.entry("privateKey");
    let self_signed = values.list("selfSigned");
    let names = values.entry("selfSigned").filter(|_| !self_signed.is_empty());
    let mut tell = |entry, severity, text| findings.push(at(section, entry, severity, text));
    match (names, certificate, private_key) {
        (Some(entry), None, None) => tell(entry, Severity::Warning, says::self_signed()),
        (Some(entry), _, _) => tell(entry, Severity::Error, says::two_identities()),
        // What is wrong with the one it was to have has been told.
        _ if values.wrong().iter().any(|key| is_of_identity(key)) => {}
        (None, None, None) => findings.push(about(section, says::no_identity())),
        (None, Some(alone), None) => tell(alone, Severity::Error, says::no_private_key()),
        (None, None, Some(alone)) => tell(alone, Severity::Error, says::no_certificate()),
        (None, Some(_), Some(_)) => {}
    }
    if let (Some(_), Some(entry)) = (names, values.entry("keyPermissions")) {
        findings.push(at(section, entry, Severity::Warning, says::no_key_file()));
    }
    let alpn = values.list("alpn");
    let has_alpn = !alpn.is_empty() || values.wrong().contains(&"alpn");
    if let (false, Some(entry)) = (has_alpn, values.entry("alpnMismatch")) {
        findings.push(at(section, entry, Severity::Warning, says::no_alpn()));
    }
    let min_version = values.word("minVersion", TlsVersion::from_word);
    let max_version = values.word("maxVersion", TlsVersion::from_word);
    // The defaults do not exclude each other, so at least one is set if they do.
    let version = values.entry("minVersion").or(values.entry("maxVersion"));
    if let (true, Some(entry)) = (min_version > max_version, version) {
        let text = says::versions_crossed(min_version.word(), max_version.word());
        findings.push(at(section, entry, Severity::Error, text));
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
        alpn,
        alpn_mismatch: values.word("alpnMismatch", AlpnMismatch::from_word),
        self_signed,
    }
}

/// Whether a key would give the section its identity.
fn is_of_identity(key: &str) -> bool {
    let identities = ["certificate", "privateKey", "selfSigned", "keyStore", "acme"];
    identities.iter().any(|identity| key.starts_with(identity))
}

fn path(entry: &Entry) -> PathBuf {
    match &entry.folder {
        // An absolute value replaces the folder.
        Some(folder) => folder.join(&*entry.value),
        None => PathBuf::from(&*entry.value),
    }
}

fn warn_of_repeats(section: &Section, findings: &mut Findings) {
    if section.spot.line == 0 {
        // The program made it for its own keys.
        return;
    }
    for repeat in &section.repeats {
        findings.warn(|| {
            let text = says::repeated_section(section.spot.in_words());
            Finding::new(Severity::Warning, repeat, &section.written, text)
        });
    }
}

/// A host may have sections of its own; those that look like one of ours are doubtful, by their name or
/// by a key that only TLS sections have.
fn warn_of_unread(document: &Document, findings: &mut Findings) {
    let tls: HashSet<usize> = document.tls_sections();
    let wanted: HashMap<String, bool> = ssl_sections(document);
    // A port that names no section is an error, which says what to do.
    let is_told = wanted.values().any(|is_there| !is_there);
    for (index, section) in document.sections.iter().enumerate() {
        count(section.canonical.len());
        let is_read = section.is_port
            || section.canonical.eq_ignore_ascii_case(RUNTIME)
            || tls.contains(&index);
        if is_read {
            continue;
        }
        for broken in &section.broken {
            if matches!(&broken.fault, Fault::WideBracket { name, .. } if wanted.contains_key(&fold(name)))
            {
                findings.push(broken_finding(broken, &text::name(&section.written)));
            }
        }
        if let Some(text) = unread_name(&section.canonical) {
            let shown = text::name(&section.written);
            findings.warn(|| Finding::new(Severity::Warning, &section.spot, &shown, text));
        }
        if let Some((key, entry)) = tls_only(section).filter(|_| !is_told) {
            let shown = text::name(&section.written);
            let text = match section.canonical.is_empty() {
                true => says::tls_without_name(key),
                false => says::unnamed_tls(key, &shown),
            };
            findings.warn(|| {
                let mut finding = Finding::new(Severity::Warning, &entry.spot, &shown, text);
                finding.key = shown_key(entry);
                finding
            });
        }
    }
}

/// What is doubtful about the name of a section that is not read.
fn unread_name(name: &str) -> Option<Text> {
    let name = name.to_lowercase();
    let end = name.find(|c: char| !c.is_alphabetic()).unwrap_or(name.len());
    let head = &name[..end];
    // Longer ones look like none of ours.
    if head.chars().take(20).count() == 20 {
        return None;
    }
    let meant = |meant| looks_like(head, meant) || resembles(head, meant);
    let text = match head {
        "port" => says::unread_port(),
        _ if meant("port") => says::unread_port(),
        _ if meant("runtime") => says::unread_runtime(),
        _ => return None,
    };
    Some(text.and(foreign(head).map(|c| says::foreign_letter(code(c)))))
}

/// What ports name in `sslSection`, in folded names, and whether there is such a TLS section.
fn ssl_sections(document: &Document) -> HashMap<String, bool> {
    let ports = document.sections.iter().filter(|section| section.is_port);
    let named = ports.filter_map(|port| port.entry("sslSection"));
    let named = named.map(|entry| {
        let is_there = tls_section(document, &entry.value).is_some();
        (fold(entry.value.trim_matches(BLANKS)), is_there)
    });
    named.collect()
}

/// The first key of a section that hardly anything but a TLS section has. A host may use such a name for
/// something else; but a port that is plain where TLS was meant is worse than a warning.
fn tls_only(section: &Section) -> Option<(&'static str, &Entry)> {
    let known = section.entries.iter().filter_map(|(name, entry)| {
        count(name.len());
        let key = SectionType::Tls.key(name)?.name;
        let starts = ["certificate", "privateKey", "keyStore", "selfSigned", "cipherSuites"];
        let is_telling = key == "alpn" || starts.iter().any(|start| key.starts_with(start));
        is_telling.then_some((key, entry))
    });
    known.min_by_key(|(_, entry)| entry.spot.line)
}

/// An error about a section as a whole.
fn about(section: &Section, text: Text) -> Finding {
    Finding::new(Severity::Error, &section.spot, &section.written, text)
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
                        "callbackThreads" => CallbackThreads::from_word(word).is_some(),
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
