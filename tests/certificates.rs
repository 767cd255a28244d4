//! Certificates whose dates clients refuse: in the check, in the log, in the counters.

mod support;

use nativeport::config::{Config, Severity};
use nativeport::event::Protocol;
use nativeport::listener::Listener;
use nativeport::log::{Level, Record, Sink};
use rcgen::{CertificateParams, KeyPair};
use std::fs;
use std::os::unix::fs::OpenOptionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use support::*;

const DAY_S: i64 = 86_400;

fn now_s() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs().try_into().unwrap()
}

/// A folder with a certificate, removed at the end.
struct Files(PathBuf);

impl Files {
    fn new(test: &str) -> Files {
        let folder = std::env::temp_dir().join(format!("nativeport-{test}-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        Files(folder)
    }

    /// The lines of a TLS section whose certificate is valid between these seconds of the wall clock.
    fn section(&self, name: &str, from_s: i64, until_s: i64) -> String {
        let at = |unix_s: i64| {
            rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(unix_s.try_into().unwrap())
        };
        let key = KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (at(from_s), at(until_s));
        let path = |end: &str| self.0.join(format!("{name}.{end}"));
        fs::write(path("pem"), params.self_signed(&key).unwrap().pem()).unwrap();
        let mut file = fs::File::options()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(path("key"))
            .unwrap();
        std::io::Write::write_all(&mut file, key.serialize_pem().as_bytes()).unwrap();
        format!(
            "[T{name}]\ncertificate={}\nprivateKey={}\n",
            path("pem").display(),
            path("key").display()
        )
    }
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

struct Lines(Sender<String>);

impl Sink for Lines {
    fn log(&mut self, record: &Record<'_>) {
        let _ = self.0.send(record.text.to_owned());
    }
}

/// The next line that speaks of a certificate.
fn next(lines: &Receiver<String>) -> String {
    loop {
        let line = lines.recv_timeout(PATIENCE).expect("a line should have come");
        if line.contains(": the certificate e") {
            return line;
        }
    }
}

#[test]
fn the_check_warns_of_dates_at_the_line_of_the_certificate() {
    let files = Files::new("dates");
    let now_s = now_s();
    let found = |from_s: i64, until_s: i64| {
        let tls = files.section("a", now_s + from_s, now_s + until_s);
        let text = format!("[Port]\nport=0\nbindAddress=127.0.0.1\nsslSection=Ta\n{tls}");
        let mut config = Config::new();
        config.load_string(text.as_bytes(), "t.ini").unwrap();
        let findings = config.check();
        assert!(findings.iter().all(|finding| finding.severity == Severity::Warning));
        findings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(found(-10 * DAY_S, 80 * DAY_S), [""; 0]);
    // Automatic renewal is due at 30 of 90 days: that is no reason to warn.
    assert_eq!(found(-65 * DAY_S, 25 * DAY_S), [""; 0]);
    for (from_s, until_s, begin, end) in [
        (
            -90 * DAY_S,
            -3 * DAY_S,
            "expired on ",
            " UTC, 3 days ago: clients refuse it; renew it and restart the listener",
        ),
        (
            -90 * DAY_S,
            10 * DAY_S + 60,
            "expires on ",
            " UTC, in 10 days; renew it and restart the listener before that",
        ),
        (
            30 * DAY_S + 60,
            60 * DAY_S,
            "is valid from ",
            " UTC on, in 30 days: clients refuse it until then; check the clock of this machine (`date -u`), \
             or use a certificate that is valid now",
        ),
    ] {
        let found = found(from_s, until_s);
        let [finding] = &found[..] else { panic!("{found:?}") };
        let place = files.0.join("a.pem");
        let place = place.display();
        let begin =
            format!("t.ini:6: [Ta] certificate: warning: {place}:1: the certificate {begin}");
        assert!(finding.starts_with(&begin) && finding.ends_with(end), "{finding}");
    }
}

#[test]
fn an_expired_certificate_of_the_chain_is_told_with_its_line_and_roots_are_not() {
    let files = Files::new("chain");
    let tls = files.section("a", now_s() - DAY_S, now_s() + 90 * DAY_S);
    let key_path = files.0.join("a.key");
    let named = |name: &str, ended: bool| {
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        if ended {
            params.not_before = rcgen::date_time_ymd(2000, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 9, 30);
        }
        params
    };
    let key = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let signed = |name: &str, ended: bool, by: &str, own: &KeyPair| {
        let issuer = rcgen::Issuer::new(named(by, false), key());
        named(name, ended).signed_by(own, &issuer).unwrap().pem()
    };
    let own = KeyPair::from_pem(&fs::read_to_string(key_path).unwrap()).unwrap();
    let leaf = signed("leaf", false, "ca", &own);
    let chain = [
        leaf.clone(),
        signed("ca", false, "root", &key()),
        // The root itself, signed by one that has ended; that one; and one of another chain.
        signed("root", true, "old", &key()),
        signed("old", true, "old", &key()),
        signed("lone", true, "other", &key()),
    ];
    let path = files.0.join("a.pem");
    fs::write(&path, chain.concat()).unwrap();
    let text = format!("[Port]\nport=0\nbindAddress=127.0.0.1\nsslSection=Ta\n{tls}");
    let mut config = Config::new();
    config.load_string(text.as_bytes(), "t.ini").unwrap();
    let findings = config.check();
    let of_dates: Vec<String> =
        findings.iter().map(ToString::to_string).filter(|text| text.contains("expire")).collect();
    let line = 1 + chain[..2].iter().map(|pem| pem.lines().count()).sum::<usize>();
    let expected = format!(
        "t.ini:6: [Ta] certificate: warning: {}:{line}: this further certificate of the chain expired on 2021-09-30 00:00 UTC, ",
        path.display()
    );
    let [told] = of_dates.as_slice() else { panic!("{findings:?}") };
    assert!(told.starts_with(&expected), "{expected} {told}");
    assert!(
        told.contains(" ago: some clients may refuse the chain; replace it or remove it"),
        "{told}"
    );
    // The days that are left are those of the certificate itself.
    let runtime = runtime_of(&config);
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    listener.start().unwrap();
    assert!(listener.stats().certificate_days_left > Some(1000));
}

#[test]
fn the_end_of_a_certificate_comes_to_the_log_and_the_counters_while_its_listener_runs() {
    if is_polled("log lines are events") {
        return;
    }
    in_time(|ms| {
        // Whole seconds, at least one of them.
        let until_s = now_s() + 1 + i64::try_from(ms / 1000).unwrap();
        ends_at(until_s)
    });
}

/// `None`: it had ended before its listener was started.
fn ends_at(until_s: i64) -> Option<()> {
    let files = Files::new("ends");
    // Another one of the same runtime does not end.
    let text = format!(
        "[Port.a]\nport=0\nbindAddress=127.0.0.1\nsslSection=Ta\n\
         [Port.b]\nport=0\nbindAddress=127.0.0.1\nsslSection=Tb\n\
         [Port.c]\nport=0\nbindAddress=127.0.0.1\n{}{}",
        files.section("a", until_s - 30 * DAY_S, until_s),
        files.section("b", until_s - 30 * DAY_S, until_s + 100 * DAY_S),
    );
    let mut config = Config::new();
    config.load_string(text.as_bytes(), "t.ini").unwrap();
    let runtime = runtime_of(&config);
    let (sender, lines) = channel();
    runtime.set_log(Level::Warn, Some(Box::new(Lines(sender)))).unwrap();
    let started = |index| {
        let listener = Listener::new(&runtime, &config, index).unwrap();
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        listener.start().unwrap();
        listener
    };
    let (a, b, c) = (started(0), started(1), started(2));
    let loaded = next(&lines);
    let place = files.0.join("a.pem");
    let place = place.display();
    let begin = format!("t.ini:13: [Ta] certificate: warning: {place}:1: the certificate expire");
    assert!(loaded.starts_with(&begin), "{loaded}");
    if now_s() > until_s {
        return None;
    }
    let ended = next(&lines);
    let port = a.addresses()[0].port();
    let begin = format!("[Port.a] port {port}: {place}:1: the certificate expired on ");
    assert!(ended.starts_with(&begin) && ended.contains(" UTC, "), "{ended}");
    assert!(
        ended.ends_with(" ago: clients refuse it; renew it and restart the listener"),
        "{ended}"
    );

    assert_eq!(a.stats().certificate_days_left, Some(-1));
    assert_eq!(a.stats().certificate_not_after_s, Some(until_s));
    assert!(matches!(b.stats().certificate_days_left, Some(99 | 100)));
    assert_eq!((c.stats().certificate_days_left, c.stats().certificate_not_after_s), (None, None));
    // The first end of all that are started.
    assert_eq!(runtime.stats().certificate_not_after_s, Some(until_s));
    let text = runtime.prometheus();
    let labels = format!("{{port=\"{port}\",map_to_port=\"{port}\",section=\"Port.a\"}}");
    for value in
        [format!("days_left{labels} -1"), format!("not_after_timestamp_seconds{labels} {until_s}")]
    {
        assert!(text.contains(&format!("nativeport_certificate_{value}\n")), "{value} {text}");
    }
    assert_eq!(text.matches("nativeport_certificate_days_left{").count(), 2);
    drop(a);
    assert_eq!(runtime.stats().certificate_not_after_s, Some(until_s + 100 * DAY_S));
    drop((b, c));
    assert_eq!(runtime.stats().certificate_days_left, None);
    assert!(!runtime.prometheus().contains("certificate"));
    Some(())
}
