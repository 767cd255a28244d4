//! No secret of a configuration stays in the memory of the process. In a program of its own, since it
//! reads all of its memory.
#![cfg(target_os = "linux")]

use nativeport::config::Config;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::Mutex;

const LEN: usize = 48;

/// A byte of a secret that stands nowhere as a whole: not in this program, not in a buffer of it.
fn byte(seed: usize, at: usize) -> u8 {
    b'a' + u8::try_from((at * at * 7 + at * seed + seed * 3) % 25).expect("less than 25")
}

/// How often the start or the end of a secret stands in memory that can be written.
fn copies(seed: usize) -> usize {
    const STEP: usize = 64 << 10;
    const PART: usize = 16;
    // The buffer of one scan holds what another one looks for.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _alone = ONE_AT_A_TIME.lock();
    let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux has it");
    let memory = File::open("/proc/self/mem").expect("Linux has it");
    let mut buffer = vec![0u8; STEP + PART];
    let own = buffer.as_ptr() as u64;
    let mut found = 0;
    for line in maps.lines().filter(|line| line.contains(" rw") && !line.contains("[v")) {
        let (range, _) = line.split_once(' ').expect("an address, then more");
        let (start, end) = range.split_once('-').expect("an address from and to");
        let hex = |text| u64::from_str_radix(text, 16).expect("an address");
        let (mut at, end) = (hex(start), hex(end));
        while at < end {
            let len = usize::try_from(end - at).map_or(buffer.len(), |left| left.min(buffer.len()));
            // A mapping may have gone.
            let read = memory.read_at(&mut buffer[..len], at).unwrap_or(0);
            for (place, window) in buffer[..read].windows(PART).enumerate() {
                let address = at + place as u64;
                let is = |from| window.iter().zip(from..).all(|(b, i)| *b == byte(seed, i));
                // The buffer holds what it has read.
                let outside = !(own..own + (STEP + PART) as u64).contains(&address);
                found += usize::from(outside && (is(0) || is(LEN - PART)));
            }
            buffer.fill(0);
            at += STEP as u64;
        }
    }
    found
}

fn write(file: &mut File, text: &str) {
    file.write_all(text.as_bytes()).expect("a temporary file can be written");
}

/// Without a buffer that holds the secret.
fn write_secret(file: &mut File, seed: usize) {
    for at in 0..LEN {
        file.write_all(&[byte(seed, at)]).expect("a temporary file can be written");
    }
}

/// Below this call: copying leaves there what it had in registers.
#[inline(never)]
fn overwrite_stack(depth: usize) -> u8 {
    const DEPTH: usize = 64;
    let mut part = [0u8; 4 << 10];
    std::hint::black_box(&mut part);
    if depth == DEPTH { part[0] } else { overwrite_stack(depth + 1) | part[1] }
}

#[test]
fn text_and_values_are_wiped() {
    let path = std::env::temp_dir().join(format!("nativeport-wiped-{}.ini", std::process::id()));
    let mut file = File::create(&path).expect("a temporary file can be created");
    // Beyond 128 KiB the text is a mapping of its own, which would be gone in any case.
    for (seed, before) in [
        (3, "; a comment of ISO 8859-1: "),
        (5, "\n[Port]\nport=0\nsslSection=T\n[T]\nselfSigned=localhost\nkeyPassword="),
        (7, "\nkeyPasswordFile="),
        (11, "\nkeyStore=-----BEGIN PRIVATE KEY-----\n"),
        (13, "\n-----END PRIVATE KEY-----\n[Database]\npassword="),
    ] {
        write(&mut file, before);
        write_secret(&mut file, seed);
    }
    file.write_all(b"\n; \xfc\n").expect("a temporary file can be written");
    drop(file);

    let mut config = Config::new();
    config.load_file(&path).expect("it is text");
    std::fs::remove_file(&path).expect("it is ours");
    assert!(copies(13) > 0, "the scan finds what is there");
    let copy = config.clone();
    let findings = config.check();
    assert!(findings.iter().any(|finding| finding.key == "keyPassword"));
    drop((config, copy, findings));
    for seed in [3, 5, 7, 11, 13] {
        assert_eq!(copies(seed), 0, "of secret {seed}");
    }
}

/// What has been read so far moves to a larger buffer again and again.
#[test]
fn buffers_that_a_pipe_outgrows_are_wiped() {
    const SECRET: usize = 17;
    const BYTES: usize = 60_000;
    let (reader, writer) = std::io::pipe().expect("there are descriptors");
    let path = format!("/dev/fd/{}", reader.as_raw_fd());
    // A pipe holds that.
    let mut file = File::from(OwnedFd::from(writer));
    write(&mut file, "[Database]\npassword=");
    write_secret(&mut file, SECRET);
    write(&mut file, &"\n; more".repeat(BYTES / 7));
    drop(file);

    let mut config = Config::new();
    config.load_file(path).expect("it is text");
    assert!(copies(SECRET) > 0, "the scan finds what is there");
    drop(config);
    overwrite_stack(0);
    assert_eq!(copies(SECRET), 0);
}
