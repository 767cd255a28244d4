//! What is left of a private key in the memory of a process that has loaded it.
#![cfg(all(target_os = "linux", not(miri)))]

mod support;

use nativeport::event::Protocol;
use nativeport::listener::Listener;
use rcgen::{CertificateParams, KeyPair};
use std::fs;
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
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

/// Lines of the base64, and parts of the DER that hold nothing of the public key.
fn patterns(pem: &str, key: &KeyPair) -> Vec<Vec<u8>> {
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with('-')).collect();
    let der = key.serialized_der();
    // The octet string of the private number, 32 bytes long, as in PKCS#8 and SEC1.
    let at = der.windows(2).position(|two| two == [4, 32]).unwrap();
    vec![
        lines[0].as_bytes()[40..].to_vec(),
        lines[1].as_bytes()[..40].to_vec(),
        der[at..at + 34].to_vec(),
        der[at + 2..at + 34].to_vec(),
    ]
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
    let pem = key.serialize_pem().replace('\r', "");
    let patterns = patterns(&pem, &key);
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
        assert_eq!(counts, [0; 4], "{how} {keys}");
    }
    // The search finds what is there.
    let counts = Loaded::new("kept", &files("kept", &certificate, &pem)).count(&patterns);
    assert!(counts[0] > 0 && counts[1] > 0, "{counts:?}");
}
