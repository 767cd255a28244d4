//! What the kernel says about the server, this process and everybody else.

use std::fs;
use std::io;
use std::time::{Duration, Instant};

/// CPU time of a process in nanoseconds' resolution: of all its threads, also of those that
/// have ended.
pub fn cpu_time(pid: u32) -> io::Result<Duration> {
    let (mut clock, mut time) = (0, libc::timespec { tv_sec: 0, tv_nsec: 0 });
    let pid = i32::try_from(pid).map_err(io::Error::other)?;
    // SAFETY: both pointers are to variables that live here.
    unsafe {
        match libc::clock_getcpuclockid(pid, &mut clock) {
            0 => {}
            error => return Err(io::Error::from_raw_os_error(error)),
        }
        if libc::clock_gettime(clock, &mut time) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(Duration::new(time.tv_sec as u64, time.tv_nsec as u32))
}

/// Private memory of a process that is in use, in bytes.
pub fn anonymous_memory(pid: u32) -> io::Result<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix("RssAnon:"));
    let kib = line.and_then(|line| line.trim().strip_suffix(" kB")?.parse::<u64>().ok());
    kib.map(|kib| kib * 1024).ok_or_else(|| io::Error::other("status has no RssAnon"))
}

/// Time in which a core of this machine was not idle, all cores together.
fn machine_time() -> io::Result<Duration> {
    let text = fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().unwrap_or_default();
    let ticks: Vec<u64> = line.split_whitespace().filter_map(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    let busy: u64 = [0, 1, 2, 5, 6, 7].iter().filter_map(|&i| ticks.get(i)).sum();
    Ok(Duration::from_millis(busy * 10))
}

/// A moment, and what had been used by then.
pub struct Reading {
    at: Instant,
    server: Duration,
    load: Duration,
    machine: Duration,
}

/// What was used between two moments.
pub struct Usage {
    pub wall: f64,
    pub server: f64,
    pub load: f64,
    /// Cores that others kept busy.
    pub others: f64,
}

impl Reading {
    pub fn take(server: Option<u32>) -> io::Result<Reading> {
        Ok(Reading {
            server: server.map_or(Ok(Duration::ZERO), cpu_time)?,
            load: cpu_time(std::process::id())?,
            machine: machine_time()?,
            at: Instant::now(),
        })
    }

    pub fn until(&self, later: &Reading) -> Usage {
        let wall = (later.at - self.at).as_secs_f64();
        let server = (later.server - self.server).as_secs_f64();
        let load = (later.load - self.load).as_secs_f64();
        let machine = (later.machine - self.machine).as_secs_f64();
        Usage { wall, server, load, others: ((machine - server - load) / wall).max(0.0) }
    }
}

impl Usage {
    /// The members that all modes print.
    pub fn json(&self, operations: u64) -> String {
        let each = operations.max(1) as f64;
        format!(
            "\"operations\": {operations}, \"wall_seconds\": {:.4}, \"per_second\": {:.0}, \
             \"server_cpu_us\": {:.5}, \"load_cpu_us\": {:.5}, \"server_cores\": {:.2}, \
             \"others_cores\": {:.2}",
            self.wall,
            operations as f64 / self.wall,
            self.server * 1e6 / each,
            self.load * 1e6 / each,
            self.server / self.wall,
            self.others,
        )
    }
}
