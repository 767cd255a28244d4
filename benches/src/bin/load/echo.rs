//! Mode `echo`: each connection has `window` frames under way; every frame that comes back
//! lets the next one go.

use crate::frames::{Frames, Patterns, Place, next};
use crate::options::Options;
use crate::peer::{Buffers, Connector, Outcome, Peer};
use crate::process::Reading;
use nativeport_bench::epoll::{BOTH, Epoll, ended, events};
use std::io::{self, ErrorKind};
use std::time::{Duration, Instant};

/// Longer than any answer takes.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Echo<'p> {
    pub peer: Peer,
    frames: Frames<'p>,
    sent: Place,
    received: Place,
    /// The frame before which sending has to stop.
    limit: u64,
    size: usize,
    /// Not 0: sends are cut at random places.
    cut: u64,
}

pub fn run(options: &Options) -> io::Result<String> {
    let patterns = Patterns::new(options.size, options.window, options.check);
    let mut buffers = Buffers::new();
    let mut connector = Connector::new(options)?;
    let epoll = Epoll::new()?;
    let mut echoes = Vec::new();
    for index in 0..options.conns {
        let peer = connector.open(&mut buffers)?;
        epoll.add(&peer.socket, BOTH, index as u64)?;
        let cut = if options.cut { index as u64 * 2 + 1 } else { 0 };
        echoes.push(Echo::new(peer, patterns.of(index as u64), options.size, cut));
    }

    let start = Instant::now();
    let warm = start + options.warm;
    let end = warm + options.seconds;
    let (mut begun, mut done) = (None, None);
    let (mut total, mut total_begun, mut total_done) = (0, 0, 0);
    let mut last = start;
    for echo in &mut echoes {
        echo.limit = options.window;
        echo.send(&mut buffers)?;
    }
    let mut events = events();
    let mut again: Vec<usize> = Vec::new();
    loop {
        let now = Instant::now();
        if begun.is_none() && now >= warm {
            (begun, total_begun) = (Some(Reading::take(options.pid)?), total);
        }
        if done.is_none() && now >= end {
            (done, total_done) = (Some(Reading::take(options.pid)?), total);
        }
        if done.is_some() && echoes.iter().all(Echo::is_complete) {
            break;
        }
        if now - last > PATIENCE {
            return Err(io::Error::new(ErrorKind::TimedOut, "no answer for 20 s"));
        }
        let timeout = if again.is_empty() { Duration::from_millis(50) } else { Duration::ZERO };
        let ready = epoll.wait(&mut events, Some(timeout))?;
        let ready = ready.iter().map(|event| (event.u64 as usize, ended(event)));
        let ready: Vec<_> = again.drain(..).map(|index| (index, false)).chain(ready).collect();
        for (index, ended) in ready {
            let echo = &mut echoes[index];
            let (whole, more) = echo.receive(&mut buffers)?;
            if ended && !more && whole == 0 {
                return Err(io::Error::other("the server ended a connection"));
            }
            total += whole;
            if whole > 0 {
                last = now;
                if done.is_none() {
                    echo.limit += whole;
                }
            }
            // With --cut one piece per turn, so that the pieces arrive one by one.
            if echo.send(&mut buffers)? || more {
                again.push(index);
            }
        }
    }
    for mut echo in echoes {
        echo.peer.goodbye(&mut buffers);
    }
    let (Some(begun), Some(done)) = (begun, done) else { return Err(ErrorKind::Other.into()) };
    Ok(format!(
        "{{\"mode\": \"echo\", \"tls\": {}, \"conns\": {}, \"window\": {}, \"size\": {}, \"check\": {}, {}}}",
        options.tls,
        options.conns,
        options.window,
        options.size,
        options.check,
        begun.until(&done).json(total_done - total_begun)
    ))
}

impl<'p> Echo<'p> {
    pub fn new(peer: Peer, frames: Frames<'p>, size: usize, cut: u64) -> Echo<'p> {
        let (sent, received) = (Place::default(), Place::default());
        Echo { peer, frames, sent, received, limit: 0, size, cut }
    }

    /// Lets so many more frames go.
    pub fn allow(&mut self, frames: u64) {
        self.limit += frames;
    }

    pub fn is_complete(&self) -> bool {
        self.received.frame == self.limit
    }

    /// Reads until nothing is left, within reason. Gives the whole frames, and whether there
    /// may be more.
    pub fn receive(&mut self, buffers: &mut Buffers) -> io::Result<(u64, bool)> {
        let mut whole = 0;
        for _ in 0..4 {
            let (frames, received) = (&self.frames, &mut self.received);
            let outcome = self.peer.receive(buffers, |data| {
                whole += frames.receive(received, data)?;
                Ok(())
            })?;
            match outcome {
                Outcome::Full => {}
                Outcome::Empty | Outcome::Short => return Ok((whole, false)),
                Outcome::Ended => return Err(io::Error::other("the server ended a connection")),
            }
        }
        Ok((whole, true))
    }

    /// Sends what may be sent. True: the socket would take more.
    pub fn send(&mut self, buffers: &mut Buffers) -> io::Result<bool> {
        let mut chunk = std::mem::take(&mut buffers.chunk);
        let mut more = false;
        while self.sent.frame < self.limit {
            let mut data = self.frames.next(self.sent, self.limit, &mut chunk);
            if self.cut > 0 {
                let bits = 1 + next(&mut self.cut) % 18;
                let len = 1 + (next(&mut self.cut) % (1 << bits)) as usize;
                data = &data[..len.min(data.len())];
            }
            let sent = self.peer.send(data, buffers)?;
            let all = sent == data.len();
            self.sent.advance(sent, self.size);
            more = all && self.sent.frame < self.limit;
            if !all || self.cut > 0 {
                break;
            }
        }
        if self.sent.frame >= self.limit {
            self.peer.flush()?;
        }
        buffers.chunk = chunk;
        Ok(more)
    }
}
