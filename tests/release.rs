//! What a burst has taken goes back to the system: the process is as small afterwards as it was
//! before, whoever consumes the events. Each burst has a process of its own as its server.

mod support;

use nativeport::config::Config;
use nativeport::event::{Event, Handler, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::listener::Listener;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use support::*;

const MIB: usize = 1 << 20;
/// What may stay.
const TOLERANCE_KIB: u64 = 16 << 10;
const FRAMES: u32 = 450;
const PART_BYTES: usize = 1_900_000;

/// Echoes from a thread per connection that waits at its inbox.
struct FromInbox;

impl Handler for FromInbox {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        if let Event::Opened { .. } = event {
            std::thread::spawn(move || {
                while let Ok((payload, compressed)) = conn.recv_frame(None) {
                    let _ = conn.send_frame(answer(&payload, compressed), SendFlags::default());
                }
            });
        }
    }

    fn wants_inbox(&self) -> bool {
        true
    }
}

/// What came compressed is answered by its first byte: otherwise a bomb would come back.
fn answer(payload: &[u8], compressed: bool) -> &[u8] {
    if compressed { &payload[..1] } else { payload }
}

/// The server's process: serves until its input ends.
#[test]
#[ignore = "the server of the other tests"]
fn serve() {
    let way = std::env::var("NP_RELEASE_WAY").expect("the other tests start it");
    let keys = "compression=off\nmaxFrameSize=64M\nframeTimeout=0\nsendQueueLimit=64M";
    let config: Config = config("ioThreads=2\nworkerThreads=2", keys, "");
    let runtime = runtime_of(&config);
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    if way == "inbox" {
        listener.on(Protocol::Client, Arc::new(FromInbox)).unwrap();
    } else {
        let (handler, _) = recorder_of_nothing();
        listener.on(Protocol::Client, handler).unwrap();
    }
    listener.start().unwrap();
    println!("\nADDRESS {}", listener.addresses()[0]);
    let mut line = String::new();
    let mut input = std::io::stdin().lock();
    while input.read_line(&mut line).is_ok_and(|count| count > 0) {
        println!("\nSTATS {} {}", listener.stats().bytes_in, listener.stats().connections);
    }
}

/// Echoes in the callback and notes nothing.
fn recorder_of_nothing() -> (Arc<impl Handler>, ()) {
    struct Answering;
    impl Handler for Answering {
        fn on_event(&self, conn: Conn, event: Event<'_>) {
            if let Event::Frames(frames) = event {
                for frame in frames.iter() {
                    let answer = answer(frame.data, frame.compressed);
                    let _ = conn.send_frame(answer, SendFlags::default());
                }
            }
        }
    }
    (Arc::new(Answering), ())
}

/// A server in a process of its own.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<std::process::ChildStdout>,
    address: SocketAddr,
}

impl Process {
    fn new(way: &str) -> Process {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "serve", "--ignored", "--nocapture", "--test-threads=1"])
            .env("NP_RELEASE_WAY", way)
            .env("NP_CONSUMER", if way == "inbox" { "callbacks" } else { way })
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take().unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut process = Process { child, input, output, address: ([0, 0, 0, 0], 0).into() };
        process.address = process.line("ADDRESS ").parse().unwrap();
        process
    }

    fn line(&mut self, name: &str) -> String {
        loop {
            let mut line = String::new();
            assert!(self.output.read_line(&mut line).unwrap() > 0, "the server has ended");
            if let Some(rest) = line.strip_prefix(name) {
                return rest.trim().to_owned();
            }
        }
    }

    /// Bytes that its listener has read, and its connections.
    fn stats(&mut self) -> (u64, u64) {
        writeln!(self.input).unwrap();
        let line = self.line("STATS ");
        let (bytes, connections) = line.split_once(' ').unwrap();
        (bytes.parse().unwrap(), connections.parse().unwrap())
    }

    fn resident_kib(&self) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let status = std::fs::read_to_string(path).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse().unwrap()
    }

    /// A few exchanges, so that what is made once has been made.
    fn warm_up(&self) {
        for _ in 0..4 {
            let mut client = framed(self.address);
            client.write_all(&frame(b"hello")).unwrap();
            assert_eq!(read_frame(&mut client), b"hello");
        }
    }

    fn assert_shrinks_to(&mut self, before: u64, burst: &str) {
        wait_until("the connections' ends", || self.stats().1 == 0);
        let peak = self.resident_kib();
        wait_until(&format!("memory of {burst}: {before} KiB before, {peak} after"), || {
            self.resident_kib() <= before + TOLERANCE_KIB
        });
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn burst_of_partial_frames(process: &mut Process) {
    let (before, _) = process.stats();
    let payload = vec![b'x'; PART_BYTES];
    let mut clients: Vec<TcpStream> = Vec::new();
    for _ in 0..FRAMES {
        let mut client = framed(process.address);
        client.write_all(&(64u32 << 20).to_be_bytes()).unwrap();
        client.write_all(&payload).unwrap();
        clients.push(client);
    }
    let all = u64::from(FRAMES) * (5 + PART_BYTES as u64);
    wait_for_count("what they sent", before + all, || process.stats().0);
    // In another order than they came.
    for step in [7, 3, 2, 1] {
        let mut index = 0;
        clients.retain(|_| {
            index += 1;
            index % step != 0
        });
    }
}

fn burst_of_echoes(process: &mut Process) {
    let payload = vec![b'x'; 8 * MIB];
    let mut clients: Vec<_> = (0..24).map(|_| framed(process.address)).collect();
    std::thread::scope(|scope| {
        for client in &clients {
            let mut writer = client.try_clone().unwrap();
            let payload = &payload;
            scope.spawn(move || writer.write_all(&frame(payload)).unwrap());
        }
        // None of them is read before all are on their way, so that many wait at once.
        for client in &mut clients {
            assert_eq!(read_frame(client).len(), 8 * MIB);
        }
    });
}

fn burst_of_bombs(process: &mut Process) {
    let bomb = compressed_frame(&zlib(&vec![0; 256 * MIB]));
    for _ in 0..2 {
        let mut clients: Vec<_> = (0..2).map(|_| framed(process.address)).collect();
        for client in &mut clients {
            client.write_all(&bomb).unwrap();
        }
        for client in &mut clients {
            assert_eq!(read_frame(client), [0]);
        }
    }
}

fn what_bursts_took_goes_back(way: &str) {
    if !cfg!(all(target_os = "linux", feature = "pages")) {
        let _ = writeln!(std::io::stderr(), "SKIPPED: another allocator has the large buffers");
        return;
    }
    let mut process = Process::new(way);
    process.warm_up();
    let before = process.resident_kib();
    burst_of_partial_frames(&mut process);
    process.assert_shrinks_to(before, "partial frames");
    burst_of_echoes(&mut process);
    process.assert_shrinks_to(before, "echoes");
    burst_of_bombs(&mut process);
    process.assert_shrinks_to(before, "bombs");
}

#[test]
fn what_bursts_took_goes_back_with_callbacks() {
    what_bursts_took_goes_back("callbacks");
}

#[test]
fn what_bursts_took_goes_back_with_workers() {
    what_bursts_took_goes_back("workers");
}

#[test]
fn what_bursts_took_goes_back_with_polls() {
    what_bursts_took_goes_back("poll");
}

#[test]
fn what_bursts_took_goes_back_with_inboxes() {
    what_bursts_took_goes_back("inbox");
}
