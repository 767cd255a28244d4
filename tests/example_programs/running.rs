//! A running program: its lines come through channels, and it does not outlive the test.

use crate::support::PATIENCE;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};

/// A program that is killed when this goes.
pub struct Running {
    child: Child,
    stdout: Receiver<String>,
    stderr: Receiver<String>,
}

/// What a program has left behind.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    /// The lines that were not read before.
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
}

impl Running {
    /// Starts a program of the folder.
    pub fn start(folder: &Path, program: &str, arguments: &[&str]) -> Running {
        let mut command = Command::new(folder.join(program));
        command.args(arguments).stdin(Stdio::piped());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let stdout = lines(child.stdout.take().unwrap());
        let stderr = lines(child.stderr.take().unwrap());
        Running { child, stdout, stderr }
    }

    /// The next line of stdout.
    pub fn line(&self) -> String {
        self.stdout.recv_timeout(PATIENCE).unwrap_or_else(|error| {
            panic!("no line: {error}; stderr: {:?}", self.stderr.try_iter().collect::<Vec<_>>())
        })
    }

    /// The next line of stderr.
    pub fn error_line(&self) -> String {
        self.stderr.recv_timeout(PATIENCE).expect("a line on stderr")
    }

    /// Writes to its stdin and ends that.
    pub fn input(&mut self, text: &str) {
        let mut stdin = self.child.stdin.take().expect("once");
        stdin.write_all(text.as_bytes()).unwrap();
    }

    /// Sends a signal to this very process.
    pub fn signal(&self, signal: i32) {
        let pid = i32::try_from(self.child.id()).unwrap();
        // SAFETY: a plain system call; the child has not been waited for, so the number is its.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// A number that the system tells of it, such as `Threads`, or `VmRSS` in KiB; 0 where it does not.
    pub fn status(&self, key: &str) -> u64 {
        let path = format!("/proc/{}/status", self.child.id());
        let text = std::fs::read_to_string(path).unwrap_or_default();
        let mut lines = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix(':'));
        let number = |rest: &str| rest.split_whitespace().next()?.parse().ok();
        lines.find_map(number).unwrap_or(0)
    }

    /// Waits for its end.
    pub fn end(mut self) -> Ended {
        let stdout = rest(&self.stdout);
        let stderr = rest(&self.stderr);
        Ended { status: self.child.wait().unwrap(), stdout, stderr }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Fails if it has ended, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Ended {
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("ended by a signal: {self:?}"))
    }
}

/// Runs a program to its end.
pub fn run(folder: &Path, program: &str, arguments: &[&str]) -> Ended {
    Running::start(folder, program, arguments).end()
}

fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines() {
            if sender.send(line.expect("programs print UTF-8")).is_err() {
                break;
            }
        }
    });
    receiver
}

fn rest(lines: &Receiver<String>) -> Vec<String> {
    let mut all = Vec::new();
    loop {
        match lines.recv_timeout(PATIENCE) {
            Ok(line) => all.push(line),
            Err(RecvTimeoutError::Disconnected) => return all,
            Err(RecvTimeoutError::Timeout) => panic!("the program does not end: {all:?}"),
        }
    }
}

/// A `serve` that is ready.
pub struct Serve {
    pub running: Running,
    /// Its "listening" lines.
    pub listening: Vec<String>,
}

impl Serve {
    pub fn start(folder: &Path, arguments: &[&str]) -> Serve {
        let running = Running::start(folder, "serve", arguments);
        let mut listening = Vec::new();
        loop {
            let line = running.line();
            if line == "ready" {
                return Serve { running, listening };
            }
            assert!(line.starts_with("listening "), "{line}");
            listening.push(line);
        }
    }

    /// The address of the n-th line.
    pub fn address(&self, n: usize) -> SocketAddr {
        let words: Vec<&str> = self.listening[n].split(' ').collect();
        words[words.len() - 2].parse().unwrap_or_else(|_| panic!("{}", self.listening[n]))
    }
}

/// An `echo`, `threads`, `workers`, `poll` or `blocking` that listens, and where.
pub fn listening(folder: &Path, program: &str, config: &str) -> (Running, SocketAddr) {
    let running = Running::start(folder, program, &[config]);
    let line = running.line();
    let words: Vec<&str> = line.split(' ').collect();
    let [_, host, port] = words[..] else { panic!("{line}") };
    let address = format!("{host}:{port}").parse().unwrap();
    (running, address)
}
