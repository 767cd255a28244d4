//! Mode `rate`: frames leave when they are due, whether or not answers have come, and each
//! latency counts from when its frame was due. So a server that stalls is charged for all
//! the frames that had to wait, not only for the one that it was working on.
//!
//! Between two due times this thread sleeps. That leaves the core to the thread that makes
//! handshakes beside it, which runs only then, and yields at once when a frame is due or
//! comes back: what that thread costs the load must not look like latency of the server.

use crate::connect::{Cycles, Step};
use crate::echo::Echo;
use crate::frames::Patterns;
use crate::options::Options;
use crate::peer::{Buffers, Connector};
use crate::process::Reading;
use hdrhistogram::Histogram;
use nativeport_bench::epoll::{BOTH, Epoll, ended, events, exact_timers, run_when_idle};
use std::collections::VecDeque;
use std::io::{self, ErrorKind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

pub fn run(options: &Options) -> io::Result<String> {
    let (stop, made) = (AtomicBool::new(false), AtomicU64::new(0));
    std::thread::scope(|scope| {
        let beside =
            (options.handshakes > 0.0).then(|| scope.spawn(|| handshakes(options, &stop, &made)));
        let result = frames(options, &made);
        stop.store(true, Ordering::Relaxed);
        if let Some(beside) = beside {
            beside.join().map_err(|_| io::Error::other("the handshake thread failed"))??;
        }
        result
    })
}

fn frames(options: &Options, handshakes: &AtomicU64) -> io::Result<String> {
    exact_timers();
    let patterns = Patterns::new(options.size, options.window, options.check);
    let mut buffers = Buffers::new();
    let mut connector = Connector::new(options)?;
    let epoll = Epoll::new()?;
    let mut echoes = Vec::new();
    for index in 0..options.conns {
        let peer = connector.open(&mut buffers)?;
        epoll.add(&peer.socket, BOTH, index as u64)?;
        let echo = Echo::new(peer, patterns.of(index as u64), options.size, 0);
        // Due times of the frames that are under way, oldest first.
        echoes.push((echo, VecDeque::<Instant>::new()));
    }
    let histogram = || Histogram::<u64>::new_with_bounds(1, 60_000_000_000, 3);
    let (mut latency, mut late) =
        (histogram().map_err(io::Error::other)?, histogram().map_err(io::Error::other)?);
    let start = Instant::now() + Duration::from_millis(10);
    let warm = start + options.warm;
    let end = warm + options.seconds;
    let due_at = |frame: u64| start + Duration::from_secs_f64(frame as f64 / options.rate);
    let (mut frame, mut under_way) = (0u64, 0u64);
    let (mut begun, mut done) = (None, None);
    let (mut handshakes_begun, mut handshakes_done) = (0, 0);
    let mut events = events();
    loop {
        let now = Instant::now();
        if begun.is_none() && now >= warm {
            begun = Some(Reading::take(options.pid)?);
            handshakes_begun = handshakes.load(Ordering::Relaxed);
        }
        if done.is_none() && now >= end {
            done = Some(Reading::take(options.pid)?);
            handshakes_done = handshakes.load(Ordering::Relaxed);
        }
        if done.is_some() && under_way == 0 {
            break;
        }
        if now > end + Duration::from_secs(20) {
            return Err(io::Error::new(ErrorKind::TimedOut, "answers are missing"));
        }
        let now = Instant::now();
        let mut due = due_at(frame);
        while due <= now && due < end {
            let (echo, waiting) = &mut echoes[(frame % options.conns as u64) as usize];
            echo.allow(1);
            echo.send(&mut buffers)?;
            waiting.push_back(due);
            under_way += 1;
            if due >= warm {
                late.saturating_record((now - due).as_nanos() as u64);
            }
            frame += 1;
            due = due_at(frame);
        }
        let timeout = if due < end {
            due.saturating_duration_since(Instant::now())
        } else {
            Duration::from_millis(1)
        };
        let ready = epoll.wait(&mut events, Some(timeout))?;
        for event in ready {
            let (echo, waiting) = &mut echoes[event.u64 as usize];
            loop {
                let (whole, more) = echo.receive(&mut buffers)?;
                let now = Instant::now();
                for due in waiting.drain(..whole as usize) {
                    under_way -= 1;
                    if due >= warm {
                        latency.saturating_record((now - due).as_nanos() as u64);
                    }
                }
                if !more {
                    break;
                }
            }
            echo.send(&mut buffers)?;
            if ended(event) {
                return Err(io::Error::other("the server ended a connection"));
            }
        }
    }
    let (Some(begun), Some(done)) = (begun, done) else { return Err(ErrorKind::Other.into()) };
    let microseconds = |histogram: &Histogram<u64>, quantile: f64| {
        histogram.value_at_quantile(quantile) as f64 / 1000.0
    };
    let usage = begun.until(&done);
    Ok(format!(
        "{{\"mode\": \"rate\", \"tls\": {}, \"conns\": {}, \"size\": {}, \"rate\": {:.0}, \
         \"handshakes_per_second\": {:.0}, \"p50_us\": {:.1}, \"p90_us\": {:.1}, \"p99_us\": {:.1}, \
         \"p999_us\": {:.1}, \"max_us\": {:.1}, \"sent_late_p99_us\": {:.1}, {}}}",
        options.tls,
        options.conns,
        options.size,
        options.rate,
        (handshakes_done - handshakes_begun) as f64 / usage.wall,
        microseconds(&latency, 0.5),
        microseconds(&latency, 0.9),
        microseconds(&latency, 0.99),
        microseconds(&latency, 0.999),
        latency.max() as f64 / 1000.0,
        microseconds(&late, 0.99),
        usage.json(latency.len())
    ))
}

/// Full handshakes at a fixed rate until `stop`.
fn handshakes(options: &Options, stop: &AtomicBool, made: &AtomicU64) -> io::Result<()> {
    run_when_idle();
    let options = Options { tls: true, resume: false, ..options.clone() };
    let patterns = Patterns::new(64, 1, false);
    let epoll = Epoll::new()?;
    let mut cycles = Cycles::new(Connector::new(&options)?, patterns.of(0), 128, &epoll);
    let mut events = events();
    let start = Instant::now();
    let mut begun = 0u64;
    while !stop.load(Ordering::Relaxed) {
        let due = start + Duration::from_secs_f64(begun as f64 / options.handshakes);
        let wait = due.saturating_duration_since(Instant::now());
        if wait.is_zero() {
            begun += 1;
            // All taken: the server does not keep up, which the result shows.
            if let Some(slot) = (0..cycles.slots()).find(|&slot| cycles.is_free(slot)) {
                cycles.begin(slot)?;
            }
        }
        for event in epoll.wait(&mut events, Some(wait.min(Duration::from_millis(20))))? {
            if let Step::Done { .. } = cycles.step(event.u64 as usize)? {
                made.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
    Ok(())
}
