//! The wire protocol over real sockets, line by line.

mod support;

use nativeport::event::Protocol;
use nativeport::status::CloseReason;
use std::io::Write;
use std::net::Shutdown;
use support::*;

#[test]
fn a_framed_client_is_answered_by_a_byte_1_and_exchanges_frames() {
    let server = echo_server("compression=off", "");
    let mut client = framed(server.address);
    client.write_all(&frame(b"hello")).unwrap();
    assert_eq!(read_exact(&mut client, 9), b"\x00\x00\x00\x05hello");
}

#[test]
fn a_remote_application_is_answered_by_a_byte_1_and_exchanges_frames() {
    let server = echo_server("compression=off", "");
    let mut client = connect(server.address);
    client.write_all(b"\x03\x00\x00\x00\x02hi\x00\x00\x00\x00").unwrap();
    assert_eq!(read_exact(&mut client, 11), b"\x01\x00\x00\x00\x02hi\x00\x00\x00\x00");
}

#[test]
fn the_answer_comes_before_the_handler_is_called_and_the_closed_event_last() {
    let (handler, log) = recorder(false, |_, _| {});
    let server = server("", "", |listener| listener.on(Protocol::Client, handler).unwrap());
    let mut client = framed(server.address);
    client.write_all(&frame(b"x")).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let Told::Opened(conn, Protocol::Client, 1) = log.next() else { panic!() };
    assert_eq!(log.next(), Told::Frame(conn, b"x".to_vec()));
    let Told::Closed(closed, info) = log.next() else { panic!() };
    assert_eq!((closed, info.reason, info.bytes_in), (conn, CloseReason::PeerClosed, 6));
    assert_eq!(read_to_end(&mut client), b"");
}
