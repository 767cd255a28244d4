//! The command line.

use std::time::Duration;

pub const USAGE: &str = "\
usage: load MODE --port PORT [options]

modes
  echo      connections send frames back and forth, with a window
  connect   connect, identify, one frame, close
  idle      connections that have sent one frame: what memory the server has for them
  rate      frames at a fixed rate, latency from when each was due

options
  --pid PID            the server, for its CPU time and memory
  --tls                TLS 1.3, X25519
  --resume             connect: resume sessions
  --conns N            connections (64); connect: so many at a time; idle: so many
  --window N           frames under way per connection (1)
  --size N             payload bytes (64)
  --seconds N          measured time (1)
  --warm N             time before it (0.2)
  --check              compare every payload byte instead of headers only
  --cut                cut what is sent at random places
  --rate N             rate: frames per second, all connections together (10000)
  --handshakes N       rate: so many full TLS handshakes per second beside it (0)
  --first N            idle: the first byte, which says what a connection is (1)
  --settle N           idle: seconds before the memory is read (1)";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Echo,
    Connect,
    Idle,
    Rate,
}

#[derive(Clone, Debug)]
pub struct Options {
    pub mode: Mode,
    pub port: u16,
    pub pid: Option<u32>,
    pub tls: bool,
    pub resume: bool,
    pub conns: usize,
    pub window: u64,
    pub size: usize,
    pub seconds: Duration,
    pub warm: Duration,
    pub check: bool,
    pub cut: bool,
    pub rate: f64,
    pub handshakes: f64,
    pub first: u8,
    pub settle: Duration,
}

impl Options {
    pub fn parse(mut arguments: impl Iterator<Item = String>) -> Result<Options, String> {
        let mode = match arguments.next().as_deref() {
            Some("echo") => Mode::Echo,
            Some("connect") => Mode::Connect,
            Some("idle") => Mode::Idle,
            Some("rate") => Mode::Rate,
            _ => return Err("the first argument is a mode".into()),
        };
        let mut options = Options {
            mode,
            port: 0,
            pid: None,
            tls: false,
            resume: false,
            conns: 64,
            window: 1,
            size: 64,
            seconds: Duration::from_secs(1),
            warm: Duration::from_millis(200),
            check: false,
            cut: false,
            rate: 10_000.0,
            handshakes: 0.0,
            first: 1,
            settle: Duration::from_secs(1),
        };
        while let Some(name) = arguments.next() {
            match name.as_str() {
                "--tls" => options.tls = true,
                "--resume" => options.resume = true,
                "--check" => options.check = true,
                "--cut" => options.cut = true,
                name => {
                    let text = arguments.next().ok_or(format!("{name} needs a value"))?;
                    options.set(name, &text)?;
                }
            }
        }
        if options.port == 0 {
            return Err("--port is missing".into());
        }
        Ok(options)
    }

    fn set(&mut self, name: &str, text: &str) -> Result<(), String> {
        fn number<T: std::str::FromStr>(name: &str, text: &str) -> Result<T, String> {
            text.parse().map_err(|_| format!("{name}: {text} is no number that fits"))
        }
        let seconds = || {
            Duration::try_from_secs_f64(number(name, text)?)
                .map_err(|error| format!("{name}: {error}"))
        };
        match name {
            "--port" => self.port = number(name, text)?,
            "--pid" => self.pid = Some(number(name, text)?),
            "--conns" => self.conns = number(name, text)?,
            "--window" => self.window = number(name, text)?,
            "--size" => self.size = number(name, text)?,
            "--rate" => self.rate = number(name, text)?,
            "--handshakes" => self.handshakes = number(name, text)?,
            "--first" => self.first = number(name, text)?,
            "--seconds" => self.seconds = seconds()?,
            "--warm" => self.warm = seconds()?,
            "--settle" => self.settle = seconds()?,
            _ => return Err(format!("{name} is no option")),
        }
        Ok(())
    }
}
