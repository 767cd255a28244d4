//! A proxy on loopback that is a bad network: it passes bytes on late, slowly, in pieces, not
//! at all, or ends and resets connections in the middle. What it does is a [`Toxic`], in one
//! direction or both; where chance decides, it comes from a seed.

use super::noise;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A pump looks so often whether the other one has ended the connection.
const LOOK: Duration = Duration::from_millis(10);

/// What happens to the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Toxic {
    /// They are passed on as they come.
    Nothing,
    /// Whatever is read leaves so much later.
    Latency(Duration),
    /// So many bytes a second.
    Bandwidth(usize),
    /// The end of the stream is passed on so much later.
    SlowClose(Duration),
    /// What comes after so many bytes is swallowed, the end too.
    TimeOut(usize),
    /// In pieces of 1 to 97 bytes.
    Slicer(u64),
    /// After so many bytes both directions end in order.
    Limit(usize),
    /// After so many bytes both sides are reset.
    Reset(usize),
}

impl Toxic {
    /// Whether everything arrives nevertheless.
    pub fn is_benign(self) -> bool {
        !matches!(self, Toxic::TimeOut(_) | Toxic::Limit(_) | Toxic::Reset(_))
    }

    /// How many bytes may still pass after `passed`.
    fn room(self, passed: usize) -> usize {
        match self {
            Toxic::TimeOut(after) | Toxic::Limit(after) | Toxic::Reset(after) => after - passed,
            _ => usize::MAX,
        }
    }
}

/// Which bytes are concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToServer,
    ToClient,
    Both,
}

/// A proxy in front of a server; its connections are reset when it is dropped.
pub struct Chaos {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    over: AtomicBool,
    pumps: AtomicUsize,
    links: Mutex<Vec<std::sync::Weak<Link>>>,
}

/// The two halves of one connection. With the last pump they are closed.
struct Link {
    client: TcpStream,
    server: TcpStream,
    fate: AtomicU8,
}

const GOES_ON: u8 = 0;
const ENDS: u8 = 1;
const IS_RESET: u8 = 2;

impl Chaos {
    /// Before `server`, with `toxic` on the bytes that go this way.
    pub fn new(server: SocketAddr, toxic: Toxic, way: Way) -> Chaos {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let up = if way == Way::ToClient { Toxic::Nothing } else { toxic };
        let down = if way == Way::ToServer { Toxic::Nothing } else { toxic };
        let accepting = shared.clone();
        std::thread::spawn(move || {
            for client in listener.incoming() {
                if accepting.over.load(Ordering::SeqCst) {
                    return;
                }
                let (Ok(client), Ok(server)) = (client, TcpStream::connect(server)) else {
                    continue;
                };
                accepting.link(client, server, up, down);
            }
        });
        Chaos { address, shared }
    }

    /// Pumps that run: two for each connection that has not ended.
    pub fn pumps(&self) -> usize {
        self.shared.pumps.load(Ordering::SeqCst)
    }
}

impl Drop for Chaos {
    fn drop(&mut self) {
        self.shared.over.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.address);
        for link in self.shared.links.lock().unwrap().iter().filter_map(|link| link.upgrade()) {
            link.decide(IS_RESET);
        }
    }
}

impl Shared {
    fn link(self: &Arc<Shared>, client: TcpStream, server: TcpStream, up: Toxic, down: Toxic) {
        for stream in [&client, &server] {
            stream.set_nodelay(true).unwrap();
            stream.set_read_timeout(Some(LOOK)).unwrap();
            stream.set_write_timeout(Some(LOOK)).unwrap();
        }
        let link = Arc::new(Link { client, server, fate: AtomicU8::new(GOES_ON) });
        let mut links = self.links.lock().unwrap();
        links.retain(|link| link.strong_count() > 0);
        links.push(Arc::downgrade(&link));
        self.pumps.fetch_add(2, Ordering::SeqCst);
        for (to_server, toxic) in [(true, up), (false, down)] {
            let (link, shared) = (link.clone(), self.clone());
            std::thread::spawn(move || {
                let (from, to) = match to_server {
                    true => (&link.client, &link.server),
                    false => (&link.server, &link.client),
                };
                pump(&link, from, to, toxic);
                drop(link);
                shared.pumps.fetch_sub(1, Ordering::SeqCst);
            });
        }
    }
}

impl Link {
    fn decide(&self, fate: u8) {
        if fate == IS_RESET {
            for stream in [&self.client, &self.server] {
                let _ = socket2::SockRef::from(stream).set_linger(Some(Duration::ZERO));
            }
        }
        self.fate.fetch_max(fate, Ordering::SeqCst);
    }

    fn fate(&self) -> u8 {
        self.fate.load(Ordering::SeqCst)
    }
}

/// Passes on what comes until it ends, or the fate of the connection is another.
fn pump(link: &Link, mut from: &TcpStream, to: &TcpStream, toxic: Toxic) {
    let mut buffer = vec![0; 64 << 10];
    let (mut passed, mut passing) = (0, true);
    let mut pieces =
        noise(4096, if let Toxic::Slicer(seed) = toxic { seed } else { 0 }).into_iter().cycle();
    loop {
        // A limit is reached before the byte behind it comes.
        if passing && toxic.room(passed) == 0 {
            passing = false;
            match toxic {
                Toxic::Limit(_) => link.decide(ENDS),
                Toxic::Reset(_) => link.decide(IS_RESET),
                _ => {}
            }
        }
        let read = from.read(&mut buffer);
        // Asked only now: what a side answers to the end of the other does not pass either.
        if link.fate() == IS_RESET {
            return;
        }
        if link.fate() == ENDS {
            passing = false;
            let _ = to.shutdown(Shutdown::Write);
        }
        let got = match read {
            Ok(got) => got,
            Err(error) if is_wait(&error) => continue,
            Err(_) => return link.decide(IS_RESET),
        };
        if got == 0 {
            if let Toxic::SlowClose(after) = toxic {
                std::thread::sleep(after);
            }
            if passing {
                let _ = to.shutdown(Shutdown::Write);
            }
            return;
        }
        if !passing {
            continue;
        }
        let mut rest = &buffer[..got.min(toxic.room(passed))];
        if let Toxic::Latency(after) = toxic {
            std::thread::sleep(after);
        }
        while !rest.is_empty() {
            let len = match toxic {
                Toxic::Slicer(_) => usize::from(pieces.next().unwrap()) % 97 + 1,
                // A hundredth of a second each.
                Toxic::Bandwidth(each_second) => each_second.div_ceil(100),
                _ => rest.len(),
            };
            let (piece, after) = rest.split_at(len.min(rest.len()));
            if !push(link, to, piece) {
                return;
            }
            if let Toxic::Bandwidth(_) = toxic {
                std::thread::sleep(LOOK);
            }
            passed += piece.len();
            rest = after;
        }
    }
}

/// Writes all; false if the connection is over.
fn push(link: &Link, mut to: &TcpStream, mut bytes: &[u8]) -> bool {
    while !bytes.is_empty() {
        match to.write(bytes) {
            Ok(written) => bytes = &bytes[written..],
            Err(error) if is_wait(&error) && link.fate() == GOES_ON => {}
            // It has ended in the meantime: the rest has nowhere to go.
            Err(error) if is_wait(&error) => return link.fate() == ENDS,
            Err(_) => {
                link.decide(IS_RESET);
                return false;
            }
        }
    }
    true
}

fn is_wait(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted)
}
