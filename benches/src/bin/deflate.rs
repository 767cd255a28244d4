//! What compressing and inflating one payload costs: the library's own stage, without a
//! connection around it, on the same payloads as `yardstick/Deflate.java`.
//!
//! usage: deflate write FILE    writes the payloads, plain and compressed, for both programs
//!        deflate run           reads "OPERATION SECONDS" lines, answers with µs per payload

// The tests of the files that it includes belong to the library.
#![cfg(not(test))]

#[path = "../../../src/base"]
#[allow(dead_code)]
mod base {
    pub mod budget;
    pub mod canary;
    pub mod buffers {
        use crate::status::CloseReason;

        pub fn reserve(buffer: &mut Vec<u8>, bytes: usize) -> Result<(), CloseReason> {
            buffer.try_reserve_exact(bytes).map_err(|_| CloseReason::MemoryLimit)
        }
    }
}
#[path = "../../../src/frame/deflate.rs"]
#[allow(dead_code)]
mod deflate;
// What these files refer to.
use nativeport::status;

use base::budget::Budget;
use deflate::{Compressor, Inflated, Inflaters, Reads, Writes};
use std::io::{self, BufRead, Write};
use std::time::Duration;

const PAYLOAD: usize = 16 << 10;
const PAYLOADS: usize = 16;

fn main() -> io::Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let payloads: Vec<Vec<u8>> = (0..PAYLOADS).map(|seed| text(seed as u64)).collect();
    let packed: Vec<Vec<u8>> = payloads.iter().map(|plain| compress(plain, 6)).collect();
    match &arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        ["write", path] => {
            let mut file = io::BufWriter::new(std::fs::File::create(path)?);
            for (plain, packed) in payloads.iter().zip(&packed) {
                for data in [plain, packed] {
                    file.write_all(&(data.len() as u32).to_be_bytes())?;
                    file.write_all(data)?;
                }
            }
            file.flush()
        }
        ["run"] => {
            for line in io::stdin().lock().lines() {
                let line = line?;
                let (operation, seconds) = line.split_once(' ').unwrap_or((&line, "0.2"));
                let time = Duration::from_secs_f64(seconds.parse().map_err(io::Error::other)?);
                let cost = match operation {
                    "inflate" => inflate_all(&packed, time),
                    "deflate1" => deflate_all(&payloads, 1, time),
                    "deflate6" => deflate_all(&payloads, 6, time),
                    _ => return Err(io::Error::other(format!("{operation} is no operation"))),
                };
                println!("{cost:.4}");
            }
            Ok(())
        }
        _ => Err(io::Error::other("usage: deflate write FILE | deflate run")),
    }
}

/// Text as programs send it: JSON with names, numbers and repeated keys.
fn text(seed: u64) -> Vec<u8> {
    const WORDS: [&str; 16] = [
        "harbour", "ledger", "north", "invoice", "amber", "quarter", "vessel", "station", "paper",
        "signal", "meadow", "copper", "window", "october", "carrier", "lantern",
    ];
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state >> 11
    };
    let mut out = Vec::with_capacity(PAYLOAD + 256);
    while out.len() < PAYLOAD {
        let mut word = || WORDS[(next() % 16) as usize];
        let (a, b, c) = (word(), word(), word());
        let (id, price, state) = (next() % 1_000_000, next() % 100_000, next() % 2 == 0);
        let line = format!(
            "{{\"id\":{id},\"name\":\"{a} {b}\",\"price\":{}.{:02},\"open\":{state},\"note\":\"{c}\"}},\n",
            price / 100,
            price % 100
        );
        out.extend_from_slice(line.as_bytes());
    }
    out.truncate(PAYLOAD);
    out
}

fn compress(plain: &[u8], level: u32) -> Vec<u8> {
    let mut out = Vec::new();
    assert!(compressor(level).compress_smaller(plain, &mut out));
    out
}

fn compressor(level: u32) -> Compressor {
    Compressor::new(Writes { zlib: true, threshold_bytes: 0, limit_bytes: PAYLOAD, level })
}

fn deflate_all(payloads: &[Vec<u8>], level: u32, time: Duration) -> f64 {
    let (mut compressor, mut out) = (compressor(level), Vec::new());
    cost(payloads, time, |plain| {
        out.clear();
        assert!(compressor.compress_smaller(plain, &mut out));
    })
}

fn inflate_all(packed: &[Vec<u8>], time: Duration) -> f64 {
    let mut pool = Inflaters::new();
    let mut out = Vec::new();
    cost(packed, time, |packed| {
        let mut inflater = pool.take().expect("none is out");
        out.clear();
        inflater.begin(Reads::Auto, packed);
        let inflated = inflater.step(packed, &mut out, 0, 256 << 20, &mut Budget::of_a_turn());
        assert!(inflated == Ok(Inflated::Whole) && out.len() == PAYLOAD);
        pool.give(inflater);
    })
}

/// CPU microseconds of this thread per payload.
fn cost(payloads: &[Vec<u8>], time: Duration, mut work: impl FnMut(&[u8])) -> f64 {
    let (start, mut count) = (cpu_time(), 0u32);
    loop {
        for payload in payloads {
            work(payload);
        }
        count += payloads.len() as u32;
        let used = cpu_time() - start;
        if used >= time {
            return used.as_secs_f64() * 1e6 / f64::from(count);
        }
    }
}

fn cpu_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: the struct lives during the call.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}
