//! The web client: bytes out, bytes until the end of the stream in.

use crate::support::{connect, read_to_end};
use std::io::Write;
use std::net::SocketAddr;

/// An answer, whose length has been compared with what it says.
pub struct Answer {
    pub status: u32,
    pub head: String,
    pub body: String,
}

impl Answer {
    /// The value of a header field.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// Sends bytes and reads the whole stream that comes back.
pub fn exchange(address: SocketAddr, bytes: &[u8]) -> Vec<u8> {
    let mut stream = connect(address);
    stream.write_all(bytes).unwrap();
    read_to_end(&mut stream)
}

pub fn request(address: SocketAddr, method: &str, target: &str) -> Answer {
    let request = format!("{method} {target} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    answer(&exchange(address, request.as_bytes()), method == "HEAD")
}

pub fn get(address: SocketAddr, target: &str) -> Answer {
    request(address, "GET", target)
}

pub fn answer(bytes: &[u8], without_body: bool) -> Answer {
    let text = std::str::from_utf8(bytes).expect("answers are UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:?}"));
    let status = head.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap();
    let answer = Answer { status: status.parse().unwrap(), head: head.into(), body: body.into() };
    assert_eq!(answer.field("Connection"), Some("close"));
    let length: usize = answer.field("Content-Length").unwrap().parse().unwrap();
    assert_eq!(body.len(), if without_body { 0 } else { length });
    answer
}
