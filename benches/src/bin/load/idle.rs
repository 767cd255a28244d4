//! Mode `idle`: connections that have sent one frame and are silent since.

use crate::echo::Echo;
use crate::frames::Patterns;
use crate::options::Options;
use crate::peer::{Buffers, Connector};
use crate::process::{anonymous_memory, cpu_time};
use std::io;
use std::time::{Duration, Instant};

/// Before the first reading, so that what the server needs once does not count.
const FIRST: usize = 64;

/// For what a server does at once, and for looking at what it does when nothing happens.
const MOMENT: Duration = Duration::from_millis(500);

pub fn run(options: &Options) -> io::Result<String> {
    let pid = options.pid.ok_or_else(|| io::Error::other("idle needs --pid"))?;
    let patterns = Patterns::new(options.size, 1, options.check);
    let mut buffers = Buffers::new();
    let mut connector = Connector::new(options)?;
    let mut echoes = Vec::new();
    let mut before = 0;
    for index in 0..FIRST + options.conns {
        if index == FIRST {
            std::thread::sleep(MOMENT);
            before = anonymous_memory(pid)?;
        }
        let peer = connector.open(&mut buffers)?;
        let mut echo = Echo::new(peer, patterns.of(index as u64), options.size, 0);
        echo.allow(1);
        while !echo.is_complete() {
            echo.send(&mut buffers)?;
            echo.peer.wait(libc::POLLIN)?;
            echo.receive(&mut buffers)?;
        }
        echoes.push(echo);
    }
    std::thread::sleep(options.settle);
    let after = anonymous_memory(pid)?;
    let (cpu, at) = (cpu_time(pid)?, Instant::now());
    std::thread::sleep(MOMENT);
    let cpu = (cpu_time(pid)? - cpu).as_secs_f64() / at.elapsed().as_secs_f64();
    Ok(format!(
        "{{\"mode\": \"idle\", \"tls\": {}, \"conns\": {}, \"size\": {}, \"start_bytes\": {before}, \
         \"bytes_per_connection\": {:.0}, \"idle_cpu_percent\": {:.3}}}",
        options.tls,
        options.conns,
        options.size,
        (after as f64 - before as f64) / options.conns as f64,
        cpu * 100.0
    ))
}
