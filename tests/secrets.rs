//! What is left of a private key in the memory of a process that has loaded it.
#![cfg(all(target_os = "linux", not(miri)))]

mod support;

use base64ct::{Base64, Encoding};
use nativeport::event::Protocol;
use nativeport::listener::Listener;
use rcgen::{CertificateParams, KeyPair};
use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Arc;
use support::*;

/// In a process of its own: loads what the environment names, says so, and waits to be told.
#[test]
fn the_process_with_the_key() {
    let Ok(keys) = std::env::var("NP_SECRETS") else { return };
    let (how, keys) = keys.split_once(';').unwrap();
    let config =
        config("ioThreads=1", "sslSection=T", &format!("[T]\n{}", keys.replace(';', "\n")));
    // What a search must find.
    let kept = (how == "kept").then(|| {
        let (settings, _) = config.resolve();
        let tls = settings.ports[0].tls.as_ref().unwrap();
        fs::read(tls.private_key.as_ref().unwrap()).unwrap()
    });
    let findings = config.check();
    let runtime = runtime_of(&config);
    let listener = Listener::new(&runtime, &config, 0);
    assert_eq!(listener.is_ok(), how != "refused", "{findings:?}");
    if let Ok(listener) = &listener {
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
        listener.start().unwrap();
    }
    println!("\nloaded");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    if let Ok(listener) = &listener {
        let _ = listener.stop(0);
    }
    drop(kept);
}

/// With its output, which stays open.
struct Loaded(Child, #[allow(dead_code)] BufReader<ChildStdout>);

impl Loaded {
    fn new(how: &str, keys: &str) -> Loaded {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_with_the_key", "--nocapture"])
            .env("NP_SECRETS", format!("{how};{keys}"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut said = BufReader::new(child.stdout.take().unwrap());
        let mut lines = (&mut said).lines();
        assert!(lines.any(|line| line.unwrap() == "loaded"), "the process has ended");
        Loaded(child, said)
    }

    /// How often each of these stands in the memory of the process.
    fn count(&self, patterns: &[Vec<u8>]) -> Vec<usize> {
        let folder = PathBuf::from(format!("/proc/{}", self.0.id()));
        let maps = fs::read_to_string(folder.join("maps")).unwrap();
        let mut memory = fs::File::open(folder.join("mem")).unwrap();
        let mut counts = vec![0; patterns.len()];
        let mut read = 0;
        for line in maps.lines() {
            let mut words = line.split_whitespace();
            let (range, access) = (words.next().unwrap(), words.next().unwrap());
            if !access.starts_with('r') || line.contains("[v") {
                continue;
            }
            let (start, end) = range.split_once('-').unwrap();
            let [start, end] = [start, end].map(|hex| u64::from_str_radix(hex, 16).unwrap());
            let mut bytes = Vec::new();
            memory.seek(SeekFrom::Start(start)).unwrap();
            // A mapping may end before its range does.
            let _ = (&mut memory).take(end - start).read_to_end(&mut bytes);
            read += bytes.len();
            for (count, pattern) in counts.iter_mut().zip(patterns) {
                *count += count_of(&bytes, pattern);
            }
        }
        assert!(read > 1 << 20, "only {read} bytes could be read");
        counts
    }
}

impl Drop for Loaded {
    fn drop(&mut self) {
        let _ = self.0.stdin.take().unwrap().write_all(b"\n");
        let _ = self.0.wait();
    }
}

/// How often a pattern stands in these bytes; quick without optimisation, too.
fn count_of(mut bytes: &[u8], pattern: &[u8]) -> usize {
    let mut count = 0;
    loop {
        // SAFETY: both are slices, given with their lengths.
        let found = unsafe {
            libc::memmem(bytes.as_ptr().cast(), bytes.len(), pattern.as_ptr().cast(), pattern.len())
        };
        if found.is_null() {
            return count;
        }
        count += 1;
        bytes = &bytes[found.addr() - bytes.as_ptr().addr() + 1..];
    }
}

/// What the search looks for: parts of the lines of base64 that hold nothing of the public key, and of the DER.
struct Patterns {
    pem: String,
    all: Vec<Vec<u8>>,
}

impl Patterns {
    /// `private`: where the DER has nothing but what is secret; `whole` are patterns of it.
    fn new(label: &str, der: &[u8], private: Range<usize>, whole: &[Range<usize>]) -> Patterns {
        let mut buffer = vec![0; der.len().div_ceil(3) * 4];
        let base64 = Base64::encode(der, &mut buffer).unwrap();
        let lines: Vec<&[u8]> = base64.as_bytes().chunks(64).collect();
        let text: String =
            lines.iter().map(|line| str::from_utf8(line).unwrap().to_owned() + "\n").collect();
        let (start, end) = (private.start.div_ceil(3) * 4, private.end / 3 * 4);
        let parts = (0..lines.len()).map(|at| (start.max(at * 64), end.min((at + 1) * 64)));
        let parts = parts.filter(|(start, end)| *end >= start + 16);
        let mut all: Vec<Vec<u8>> =
            parts.map(|(start, end)| base64.as_bytes()[start..end].to_vec()).collect();
        // A few tell as much as all.
        all.dedup();
        all.truncate(3);
        all.extend(whole.iter().map(|part| der[part.clone()].to_vec()));
        Patterns { pem: format!("-----BEGIN {label}-----\n{text}-----END {label}-----\n"), all }
    }

    /// The octet string of the private number, 32 bytes long, as in PKCS#8, SEC1 and Ed25519.
    fn of_octets(label: &str, der: &[u8]) -> Patterns {
        let at = der.windows(2).position(|two| two == [4, 32]).unwrap();
        Patterns::new(label, der, at + 2..at + 34, &[at..at + 34, at + 2..at + 34])
    }

    /// The numbers of an RSA key behind the public exponent. The library that signs has the numbers, but not
    /// as DER has them, one behind the other.
    fn of_rsa(label: &str, der: &[u8]) -> Patterns {
        let at = der.windows(6).position(|part| part == [2, 3, 1, 0, 1, 2]).unwrap();
        Patterns::new(label, der, at + 12..der.len(), &[at..at + 40, at + 5..at + 45])
    }
}

/// The key inside a PKCS#8 one, PKCS#1 or SEC1, behind the head of its octet string: tag and length.
fn inner<'a>(pkcs8: &'a [u8], head: &[u8], length: usize) -> &'a [u8] {
    let at = pkcs8.windows(head.len()).position(|part| part == head).unwrap();
    &pkcs8[at + length..]
}

fn write(name: &str, content: &str) -> String {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let path = folder.join(format!("secrets-{}-{name}", std::process::id()));
    let _ = fs::remove_file(&path);
    let mut file =
        fs::OpenOptions::new().create_new(true).write(true).mode(0o600).open(&path).unwrap();
    file.write_all(content.as_bytes()).unwrap();
    path.to_str().unwrap().to_owned()
}

#[test]
fn text_and_bytes_of_a_key_are_wiped_after_loading() {
    let make = || KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let (key, other) = (make(), make());
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let certificate = params.self_signed(&key).unwrap().pem();
    let Patterns { pem, all: patterns } = Patterns::of_octets("PRIVATE KEY", key.serialized_der());
    let files = |name: &str, certificate: &str, key: &str| {
        let certificate = write(&format!("{name}-c.pem"), certificate);
        let key = write(&format!("{name}-k.pem"), key);
        format!("certificate={certificate};privateKey={key}")
    };
    let both = format!("{certificate}{pem}");
    let other = format!("{}{pem}", other.serialize_pem());
    let unusable = params.self_signed(&make()).unwrap().pem();
    for (how, keys) in [
        ("served", files("served", &certificate, &pem)),
        ("served", files("both", &both, &both)),
        ("served", files("two", &certificate, &other)),
        // Errors wipe, too.
        ("refused", files("mismatch", &unusable, &pem)),
        ("refused", files("open", &certificate, &pem.replace("-----END PRIVATE KEY-----", ""))),
        (
            "refused",
            files("broken", &certificate, &format!("{pem}-----BEGIN X-----\n*\n-----END X-----")),
        ),
        ("refused", files("swapped", &pem, &certificate)),
    ] {
        let counts = Loaded::new(how, &keys).count(&patterns);
        assert_eq!(counts, vec![0; patterns.len()], "{how} {keys}");
    }
    // The search finds what is there.
    let counts = Loaded::new("kept", &files("kept", &certificate, &pem)).count(&patterns);
    assert!(counts[0] > 0, "{counts:?}");
}

#[test]
fn keys_of_every_kind_and_form_are_wiped() {
    let make = |kind| KeyPair::generate_for(kind).unwrap();
    let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    let (rsa, ecdsa) = (make(&rcgen::PKCS_RSA_SHA256), make(&rcgen::PKCS_ECDSA_P256_SHA256));
    let ed25519 = make(&rcgen::PKCS_ED25519);
    let other = params.self_signed(&make(&rcgen::PKCS_ECDSA_P256_SHA256)).unwrap().pem();
    for (name, key, patterns) in [
        ("rsa8", &rsa, Patterns::of_rsa("PRIVATE KEY", rsa.serialized_der())),
        (
            "rsa1",
            &rsa,
            Patterns::of_rsa("RSA PRIVATE KEY", inner(rsa.serialized_der(), &[4, 0x82], 4)),
        ),
        (
            "sec1",
            &ecdsa,
            Patterns::of_octets(
                "EC PRIVATE KEY",
                inner(ecdsa.serialized_der(), &[4, 0x6d, 0x30], 2),
            ),
        ),
        ("ed25519", &ed25519, Patterns::of_octets("PRIVATE KEY", ed25519.serialized_der())),
    ] {
        assert!(patterns.all.len() >= 2, "{name}");
        let key_path = write(&format!("{name}-k.pem"), &patterns.pem);
        let own = params.self_signed(key).unwrap().pem();
        for (how, certificate) in [("served", &own), ("refused", &other), ("kept", &own)] {
            let certificate = write(&format!("{name}-{how}-c.pem"), certificate);
            let keys = format!("certificate={certificate};privateKey={key_path}");
            let counts = Loaded::new(how, &keys).count(&patterns.all);
            match how {
                // The search finds what is there.
                "kept" => assert!(counts[0] > 0, "{name} {counts:?}"),
                _ => {
                    let mut expected = vec![0; patterns.all.len()];
                    // The number of an Ed25519 key is its 32 bytes: the one copy is that which signs.
                    if (name, how) == ("ed25519", "served") {
                        *expected.last_mut().unwrap() = 1;
                    }
                    assert_eq!(counts, expected, "{name} {how}");
                }
            }
        }
    }
}
