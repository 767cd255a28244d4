//! Admission: the host lets a connection in, turns it away, or does not decide; at once or
//! later, from its callback or from any thread.

mod support;

use nativeport::event::{Event, Protocol, Stage};
use nativeport::handles::{Conn, SendFlags};
use nativeport::status::{CloseReason, Status};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use support::*;

const FIRST_BYTES: [(u8, Protocol); 4] = [
    (1, Protocol::Client),
    (2, Protocol::Relay),
    (3, Protocol::RemoteApplication),
    (b'G', Protocol::Unknown),
];

/// A port that asks for admission; both handlers note what they are told.
fn asking(
    keys: &str,
    rest: &str,
    decide: impl Fn(Conn) + Send + Sync + 'static,
) -> (Server, Log, Log) {
    let (door, asked) = recorder(false, move |conn, event| {
        if let Event::Admit { .. } = event {
            decide(conn);
        }
    });
    let (handler, log) = recorder(false, |_, _| {});
    let server = server(keys, rest, |listener| {
        listener.on_admit(door).unwrap();
        for protocol in Protocol::ALL {
            listener.on(protocol, handler.clone()).unwrap();
        }
    });
    (server, asked, log)
}

fn asked_for(log: &Log) -> Conn {
    match log.next() {
        Told::Admit(conn, ..) => conn,
        other => panic!("{other:?}"),
    }
}

#[test]
fn it_is_asked_for_all_four_protocols_and_only_1_and_3_then_get_the_answer_byte() {
    for later in [false, true] {
        let (server, asked, log) = asking("", "", move |conn| {
            if !later {
                conn.admit().unwrap();
            }
        });
        for (first, protocol) in FIRST_BYTES {
            let mut client = connect(server.address);
            client.write_all(&[first]).unwrap();
            let Told::Admit(conn, kind, byte) = asked.next() else { panic!() };
            assert_eq!((kind, byte), (protocol, first));
            if later {
                // This is another thread than the loop's.
                conn.admit().unwrap();
            }
            assert_eq!(log.next(), Told::Opened(conn, protocol, first));
            conn.close(0).unwrap();
            let answer: &[u8] = if protocol.is_framed() { &[1] } else { &[] };
            assert_eq!(read_to_end(&mut client), answer);
            assert_eq!(log.closed().reason, CloseReason::HostClosed);
        }
        // The decision was all that the admission's handler had to do with them.
        assert_eq!(asked.drain(), []);
    }
}

#[test]
fn a_connection_without_a_handler_is_closed_and_nobody_is_asked() {
    let (door, asked) = recorder(false, |_, _| {});
    let server = server("", "", |listener| {
        listener.on_admit(door).unwrap();
        listener.on(Protocol::Client, Arc::new(Echo)).unwrap();
    });
    let mut client = connect(server.address);
    client.write_all(&[3]).unwrap();
    assert_ends_without_a_byte(&mut client);
    wait_for_close(&server.listener, CloseReason::NoHandler);
    assert_eq!(asked.drain(), []);
}

#[test]
fn no_byte_is_sent_before_the_decision() {
    let (server, asked, _log) = asking("", "", |_| {});
    let mut client = connect(server.address);
    client.write_all(&[1]).unwrap();
    let conn = asked_for(&asked);
    // A whole exchange of another connection passes meanwhile.
    let mut other = connect(server.address);
    other.write_all(&[1]).unwrap();
    asked_for(&asked).admit().unwrap();
    assert_eq!(read_exact(&mut other, 1), [1]);
    assert_eq!(conn.info().unwrap().bytes_out, 0);
    conn.admit().unwrap();
    assert_eq!(read_exact(&mut client, 1), [1]);
}

#[test]
fn undecided_at_read_timeout_it_is_refused_with_admission_timeout() {
    for (keys, rest) in [("", ""), (WITH_TLS, TLS_SECTION)] {
        in_time(|ms| {
            let (server, asked, log) = asking(&format!("readTimeout={ms}\n{keys}"), rest, |_| {});
            if keys.is_empty() {
                let mut client = connect(server.address);
                client.write_all(&[1]).ok()?;
                assert_ends_without_a_byte(&mut client);
            } else {
                let mut client = try_tls_connect(server.address).ok()?;
                client.write_all(&[1]).ok()?;
                assert_ends_without_a_byte(&mut client);
            }
            wait_until("its end", || !closes(&server.listener).is_empty());
            if closes(&server.listener).contains_key("read_timeout") {
                return None;
            }
            let conn = asked_for(&asked);
            let Told::Closed(closed, info) = asked.next() else { panic!() };
            assert_eq!((closed, info.reason), (conn, CloseReason::AdmissionTimeout));
            assert_eq!(info.stage, Stage::Admit);
            assert_eq!(conn.admit(), Err(Status::Closed));
            assert_eq!(log.drain(), []);
            Some(())
        });
    }
}

#[test]
fn a_connection_that_waits_for_its_host_is_counted_with_all_and_with_no_others() {
    let (server, asked, log) = asking("", "", |_| {});
    let mut client = connect(server.address);
    client.write_all(&[1]).unwrap();
    let conn = asked_for(&asked);
    let counts = || {
        let stats = server.listener.stats();
        (stats.connections, stats.unidentified, stats.open.iter().sum::<u64>())
    };
    assert_eq!(counts(), (1, 0, 0));
    assert_eq!(server.runtime.stats().connections, 1);
    conn.admit().unwrap();
    assert_eq!(read_exact(&mut client, 1), [1]);
    assert!(matches!(log.next(), Told::Opened(..)));
    wait_until("it is open", || counts() == (1, 0, 1));
    drop(client);
    log.closed();
    wait_until("it is gone", || counts() == (0, 0, 0));
}

#[test]
fn an_admitted_connection_is_not_ended_by_read_timeout() {
    in_time(|ms| {
        let is_early = AtomicBool::new(true);
        let (server, asked, _log) = asking(&format!("readTimeout={ms}"), "", move |conn| {
            if is_early.swap(false, Ordering::SeqCst) {
                conn.admit().unwrap();
            }
        });
        let mut early = connect(server.address);
        early.write_all(&[1]).ok()?;
        early.read_exact(&mut [0]).ok()?;
        let admitted = asked_for(&asked);
        // A later connection meets the deadline: the admitted one is past its own.
        let mut late = connect(server.address);
        let _ = late.write_all(&[1]);
        assert_ends_without_a_byte(&mut late);
        wait_until("its end", || !closes(&server.listener).is_empty());
        if closes(&server.listener).contains_key("read_timeout") {
            return None;
        }
        assert_eq!(closes(&server.listener), HashMap::from([("admission_timeout", 1)]));
        assert!(admitted.info().is_ok());
        Some(())
    });
}

#[test]
fn refused_without_bytes_it_ends_without_any_on_framed_connections_too() {
    for later in [false, true] {
        let (server, asked, log) = asking("", "", move |conn| {
            if !later {
                conn.refuse(&[]).unwrap();
            }
        });
        for (first, _) in FIRST_BYTES {
            let mut client = connect(server.address);
            client.write_all(&[first]).unwrap();
            let conn = asked_for(&asked);
            if later {
                conn.refuse(&[]).unwrap();
            }
            assert_ends_without_a_byte(&mut client);
            let Told::Closed(closed, info) = asked.next() else { panic!() };
            assert_eq!((closed, info.reason), (conn, CloseReason::AdmissionRefused));
            assert_eq!(info.bytes_out, 0);
        }
        assert_eq!(log.drain(), []);
    }
}

#[test]
fn refused_with_bytes_they_are_written_raw_and_nothing_else_is() {
    let redirect = b"\x00\x00\x00\x09elsewhere";
    for later in [false, true] {
        for (keys, rest) in [("", ""), (WITH_TLS, TLS_SECTION)] {
            let (server, asked, log) = asking(keys, rest, move |conn| {
                if !later {
                    conn.refuse(redirect).unwrap();
                }
            });
            for (first, _) in FIRST_BYTES {
                let refuse = || {
                    if later {
                        asked_for(&asked).refuse(redirect).unwrap();
                    }
                };
                let plain = connect(server.address);
                let got = if keys.is_empty() {
                    let mut client = plain;
                    client.write_all(&[first]).unwrap();
                    refuse();
                    read_to_end(&mut client)
                } else {
                    let mut client = tls_over(plain);
                    client.write_all(&[first]).unwrap();
                    refuse();
                    read_to_end(&mut client)
                };
                assert_eq!(got, redirect);
                assert_eq!(asked.closed().reason, CloseReason::AdmissionRefused);
            }
            assert_eq!(log.drain(), []);
        }
    }
}

#[test]
fn the_bytes_of_a_refusal_arrive_although_the_peer_has_sent_more_than_its_first_byte() {
    let farewell = noise(200_000, 1);
    let bytes = farewell.clone();
    let (server, _asked, _log) = asking("", "", move |conn| conn.refuse(&bytes).unwrap());
    let mut client = connect(server.address);
    client.write_all(&[&[1][..], &[0; 60_000]].concat()).unwrap();
    assert!(read_to_end(&mut client) == farewell);
}

#[test]
fn the_first_decision_counts() {
    let (server, asked, log) = asking("", "", |_| {});
    let mut client = connect(server.address);
    client.write_all(&[1]).unwrap();
    let conn = asked_for(&asked);
    conn.admit().unwrap();
    assert_eq!(conn.admit(), Err(Status::State));
    assert_eq!(conn.refuse(b"no"), Err(Status::State));
    assert_eq!(log.opened(), conn);
    assert_eq!(conn.admit(), Err(Status::State));
    assert_eq!(read_exact(&mut client, 1), [1]);
}

#[test]
fn after_a_refusal_every_call_finds_the_connection_closed() {
    // From the callback and from another thread, before the loop has seen any of it.
    let check = |conn: Conn| {
        conn.refuse(b"no").unwrap();
        assert_eq!(conn.admit(), Err(Status::Closed));
        assert_eq!(conn.refuse(b"no"), Err(Status::Closed));
        assert_eq!(conn.send_frame(b"x", SendFlags::default()), Err(Status::Closed));
        assert_eq!(conn.send_bytes(b"x"), Err(Status::Closed));
        assert_eq!(conn.close(1), Err(Status::Closed));
    };
    for later in [false, true] {
        let (server, asked, log) = asking("", "", move |conn| {
            if !later {
                check(conn);
            }
        });
        for first in [1, b'G'] {
            let mut client = connect(server.address);
            client.write_all(&[first]).unwrap();
            let conn = asked_for(&asked);
            if later {
                check(conn);
            }
            assert_eq!(read_to_end(&mut client), b"no");
            assert_eq!(asked.closed().reason, CloseReason::AdmissionRefused);
        }
        assert_eq!(log.drain(), []);
    }
}

#[test]
fn sends_and_half_close_before_admission_give_state() {
    let check = |conn: Conn| {
        assert_eq!(conn.send_frame(b"x", SendFlags::default()), Err(Status::State));
        assert_eq!(conn.send_bytes(b"x"), Err(Status::State));
        let owned = Box::new(b"x".to_vec());
        assert_eq!(conn.send_frame_owned(owned, SendFlags::default()), Err(Status::State));
        let all = [&b"x"[..], b"y"].into_iter();
        assert_eq!(conn.send_frames(all, SendFlags::default()), (0, Err(Status::State)));
        assert_eq!(conn.shutdown(), Err(Status::State));
        conn.admit().unwrap();
    };
    let (server, _asked, log) = asking("", "", check);
    let mut client = connect(server.address);
    client.write_all(&[1]).unwrap();
    log.opened().close(0).unwrap();
    assert_eq!(read_to_end(&mut client), [1]);
    let (server, asked, log) = asking("", "", |_| {});
    let mut client = connect(server.address);
    client.write_all(&[1]).unwrap();
    check(asked_for(&asked));
    log.opened().close(0).unwrap();
    assert_eq!(read_to_end(&mut client), [1]);
}

#[test]
fn what_is_sent_right_after_admitting_comes_behind_the_answer_byte() {
    let welcome = |conn: Conn| {
        conn.admit().unwrap();
        conn.send_frame(b"welcome", SendFlags::default()).unwrap();
    };
    for later in [false, true] {
        let (server, asked, _log) = asking("compression=off", "", move |conn| {
            if !later {
                welcome(conn);
            }
        });
        let mut client = connect(server.address);
        client.write_all(&[1]).unwrap();
        let conn = asked_for(&asked);
        if later {
            welcome(conn);
        }
        assert_eq!(read_exact(&mut client, 12), b"\x01\x00\x00\x00\x07welcome");
    }
}

#[test]
fn a_send_that_races_with_the_admission_comes_behind_the_answer_byte_or_gives_state() {
    let (server, asked, _log) = asking("compression=off", "", |_| {});
    for _ in 0..500 {
        let mut client = connect(server.address);
        client.write_all(&[1]).unwrap();
        let conn = asked_for(&asked);
        let sender = std::thread::spawn(move || {
            while conn.send_frame(b"x", SendFlags::default()) == Err(Status::State) {}
        });
        conn.admit().unwrap();
        assert_eq!(read_exact(&mut client, 6), b"\x01\x00\x00\x00\x01x");
        sender.join().unwrap();
    }
}

#[test]
fn input_that_came_with_the_first_byte_is_delivered_after_admission() {
    let many: Vec<u8> = (0..500u16).flat_map(|number| frame(&number.to_be_bytes())).collect();
    for (keys, rest) in [("", ""), (WITH_TLS, TLS_SECTION)] {
        let (server, asked, log) = asking(keys, rest, |_| {});
        let sent = [&[1][..], &many].concat();
        let plain = connect(server.address);
        let mut tls = None;
        if keys.is_empty() {
            (&plain).write_all(&sent).unwrap();
        } else {
            let mut client = tls_over(plain.try_clone().unwrap());
            client.write_all(&sent).unwrap();
            client.flush().unwrap();
            tls = Some(client);
        }
        let conn = asked_for(&asked);
        assert_eq!(log.drain(), []);
        conn.admit().unwrap();
        assert_eq!(log.next(), Told::Opened(conn, Protocol::Client, 1));
        for number in 0..500u16 {
            assert_eq!(log.next(), Told::Frame(conn, number.to_be_bytes().to_vec()));
        }
        drop(tls);
    }
}

#[test]
fn a_stream_begins_with_its_first_byte_after_admission_too() {
    let (server, asked, log) = asking("", "", |_| {});
    let mut client = connect(server.address);
    client.write_all(b"GET /").unwrap();
    let conn = asked_for(&asked);
    client.write_all(b" HTTP/1.1").unwrap();
    conn.admit().unwrap();
    assert_eq!(log.opened(), conn);
    assert_eq!(log.data(14), b"GET / HTTP/1.1");
}

#[test]
fn admitted_after_its_peer_has_ended_the_stream_it_opens_and_then_ends() {
    let (server, asked, log) = asking("", "", |_| {});
    let mut client = connect(server.address);
    client.write_all(&[&[1][..], &frame(b"last words")].concat()).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    let conn = asked_for(&asked);
    conn.admit().unwrap();
    assert_eq!(log.next(), Told::Opened(conn, Protocol::Client, 1));
    assert_eq!(log.next(), Told::Frame(conn, b"last words".to_vec()));
    let Told::Closed(_, info) = log.next() else { panic!() };
    assert_eq!(info.reason, CloseReason::PeerClosed);
    assert_eq!(read_to_end(&mut client), [1]);
}

#[test]
fn refused_after_its_peer_has_ended_the_stream_the_bytes_still_go_out() {
    let (server, asked, _log) = asking("", "", |_| {});
    let mut client = connect(server.address);
    client.write_all(&[1]).unwrap();
    client.shutdown(Shutdown::Write).unwrap();
    asked_for(&asked).refuse(b"bye").unwrap();
    assert_eq!(read_to_end(&mut client), b"bye");
    assert_eq!(asked.closed().reason, CloseReason::AdmissionRefused);
}

#[test]
fn reset_by_its_peer_while_it_waits_it_ends_with_peer_reset() {
    let (server, asked, log) = asking("", "", |_| {});
    for extra in [&b""[..], b"more"] {
        let mut client = connect(server.address);
        client.write_all(&[&[1][..], extra].concat()).unwrap();
        let conn = asked_for(&asked);
        reset(client);
        let Told::Closed(closed, info) = asked.next() else { panic!() };
        assert_eq!((closed, info.reason), (conn, CloseReason::PeerReset));
        assert_eq!(info.stage, Stage::Admit);
        assert_eq!(conn.admit(), Err(Status::Closed));
        assert_eq!(conn.refuse(b"x"), Err(Status::Closed));
    }
    assert_eq!(log.drain(), []);
    assert_eq!(closes(&server.listener), HashMap::from([("peer_reset", 2)]));
}

#[test]
fn closed_while_it_waits_it_ends_without_a_byte_and_with_the_hosts_code() {
    for later in [false, true] {
        let (server, asked, log) = asking("", "", move |conn| {
            if !later {
                conn.close(17).unwrap();
            }
        });
        let mut client = connect(server.address);
        client.write_all(&[1]).unwrap();
        let conn = asked_for(&asked);
        if later {
            conn.close(17).unwrap();
        }
        assert_eq!(conn.admit(), Err(Status::Closed));
        assert_ends_without_a_byte(&mut client);
        let info = asked.closed();
        assert_eq!((info.reason, info.host_code), (CloseReason::HostClosed, 17));
        assert_eq!(log.drain(), []);
    }
}

#[test]
fn aborted_while_it_waits_it_is_reset() {
    let (server, asked, log) = asking("", "", |_| {});
    let mut client = connect(server.address);
    client.write_all(&[1]).unwrap();
    asked_for(&asked).abort(18).unwrap();
    assert_is_reset(&mut client);
    let info = asked.closed();
    assert_eq!((info.reason, info.host_code), (CloseReason::HostAborted, 18));
    assert_eq!(log.drain(), []);
}

#[test]
fn the_hosts_deadline_ends_a_connection_that_waits() {
    let (server, asked, _log) = asking("readTimeout=0", "", |conn| {
        conn.set_deadline(Some(100)).unwrap();
    });
    let mut client = connect(server.address);
    client.write_all(&[1]).unwrap();
    assert_ends_without_a_byte(&mut client);
    assert_eq!(asked.closed().reason, CloseReason::HostDeadline);
}

#[test]
fn connections_that_wait_for_admission_take_no_place_of_the_unidentified() {
    let (server, asked, _log) = asking("maxHandshakes=1", "", |_| {});
    let waiting: Vec<_> = (0..5)
        .map(|_| {
            let mut client = connect(server.address);
            client.write_all(&[1]).unwrap();
            (client, asked_for(&asked))
        })
        .collect();
    for (client, conn) in &waiting {
        conn.admit().unwrap();
        assert_eq!(read_exact(&mut &*client, 1), [1]);
    }
    assert_eq!(closes(&server.listener), HashMap::new());
}

#[test]
fn a_slow_decision_delays_nobody_else() {
    let (server, asked, _log) = asking("compression=off", "", |_| {});
    let mut waiting = connect(server.address);
    waiting.write_all(&[1]).unwrap();
    let held = asked_for(&asked);
    for _ in 0..20 {
        let mut client = connect(server.address);
        client.write_all(&[3]).unwrap();
        asked_for(&asked).admit().unwrap();
        assert_eq!(read_exact(&mut client, 1), [1]);
    }
    held.refuse(b"").unwrap();
    assert_ends_without_a_byte(&mut waiting);
}
