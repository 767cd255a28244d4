//! Loops that the host polls: what is promised beyond what every consumer promises.

mod support;

use flate2::Compression;
use flate2::write::ZlibEncoder;
use nativeport::config::Config;
use nativeport::event::{Event, Handler, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::listener::Listener;
use nativeport::log::Level;
use nativeport::polling::{PollLoop, PolledEvent, What};
use nativeport::runtime::{Consumer, Runtime};
use nativeport::status::{CloseReason, Status};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};
use support::{PATIENCE, in_time};

struct Told;

impl Handler for Told {
    fn on_event(&self, _conn: Conn, _event: Event<'_>) {}
}

fn client(address: SocketAddr) -> TcpStream {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(&[1]).unwrap();
    let mut answer = [0];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(answer, [1]);
    stream
}

/// A runtime that is polled, with one listener of this port section.
fn polled(section: &str) -> (Runtime, Arc<PollLoop>, Listener) {
    let text = format!("[Port]\nport = 0\nbindAddress = 127.0.0.1\n{section}");
    let mut config = Config::new();
    config.load_string(text.as_bytes(), "test.ini").unwrap();
    let runtime = Runtime::with_consumer(&config, Consumer::Poll).unwrap();
    let polled = PollLoop::new(&runtime, Box::new(vec![0; 65536])).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Told)).unwrap();
    (runtime, polled, listener)
}

#[test]
fn a_connection_that_always_has_input_leaves_room_for_the_others() {
    let (runtime, polled, listener) = polled("");
    listener.start().unwrap();
    let address = listener.addresses()[0];

    // Several that never stop, so that one poll's buffer is always full.
    let busy = std::thread::spawn(move || {
        let senders: Vec<_> = (0..3)
            .map(|_| {
                let mut stream = client(address);
                let mut frame = 1000u32.to_be_bytes().to_vec();
                frame.resize(1004, 7);
                let frames = frame.repeat(100);
                // Until the server ends it.
                std::thread::spawn(move || while stream.write_all(&frames).is_ok() {})
            })
            .collect();
        senders.into_iter().for_each(|sender| sender.join().unwrap());
    });
    let quiet = std::thread::spawn(move || {
        for _ in 0..20 {
            let mut stream = client(address);
            stream.write_all(&[0, 0, 0, 2, 8, 8]).unwrap();
        }
    });

    let (mut quiet_frames, begun) = (0, Instant::now());
    let mut frames_by_conn: HashMap<u64, usize> = HashMap::new();
    while quiet_frames < 20 {
        assert!(begun.elapsed() < PATIENCE, "starved: {quiet_frames} came, {frames_by_conn:?}");
        // The host works, and meanwhile those that are busy fill their sockets again.
        let works_until = Instant::now() + Duration::from_millis(1);
        while Instant::now() < works_until {
            std::thread::yield_now();
        }
        polled
            .poll(64, Some(1000), |mut batch| {
                let events: Vec<_> = batch.by_ref().collect();
                for event in events {
                    let What::Frames { first, count } = event.what else { continue };
                    *frames_by_conn.entry(event.conn.raw()).or_default() += count;
                    let frames = &batch.frames()[first..first + count];
                    quiet_frames += frames.iter().filter(|frame| frame.data.len == 2).count();
                }
            })
            .unwrap();
    }
    quiet.join().unwrap();
    runtime.stop(0).unwrap();
    while polled.poll(64, Some(1000), |batch| batch.for_each(drop)).is_ok() {}
    busy.join().unwrap();
}

/// One event of one round, so that most connections wait for their turn; and how many frames it has.
fn poll(polled: &PollLoop, timeout_ms: u64) -> (Vec<What>, usize) {
    polled
        .poll(1, Some(timeout_ms), |batch| {
            let mut frames = 0;
            let events: Vec<_> = batch.map(|event| event.what).collect();
            for event in &events {
                if let What::Frames { count, .. } = event {
                    frames += count;
                }
            }
            (events, frames)
        })
        .unwrap()
}

#[test]
fn a_host_that_is_away_for_long_loses_no_connection_by_that() {
    in_time(is_away_for_long);
}

/// For so many milliseconds; `None` if it was too long until it went, or after it came back.
fn is_away_for_long(ms: u64) -> Option<()> {
    let section =
        ["readTimeout", "frameTimeout", "idleTimeout"].map(|key| format!("{key} = {ms}\n"));
    let (_runtime, polled, listener) = polled(&section.concat());
    listener.start().unwrap();
    let begun = Instant::now();
    let address = listener.addresses()[0];

    // One in three goes on while the host is away, one when it is back, one sends the first
    // byte while it is away.
    const EACH: usize = 10;
    let connect = |bytes: &[u8]| {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(bytes).unwrap();
        stream
    };
    let cut = [1, 0, 0, 0, 2, 8];
    let mut meanwhile: Vec<_> = (0..EACH).map(|_| connect(&cut)).collect();
    let mut afterwards: Vec<_> = (0..EACH).map(|_| connect(&cut)).collect();
    let mut silent: Vec<_> = (0..EACH).map(|_| connect(&[])).collect();
    let mut opened = 0;
    // The silent ones have been accepted when the others are open: they came later, so some
    // rounds follow until there are as many as there should be.
    while opened < 2 * EACH || listener.stats().accepted < 3 * EACH as u64 {
        let (events, _) = poll(&polled, 10);
        if events.iter().any(|what| matches!(what, What::Closed(_))) {
            assert!(begun.elapsed() >= Duration::from_millis(ms), "{events:?}");
            return None;
        }
        opened += events.iter().filter(|what| matches!(what, What::Opened { .. })).count();
    }

    // Away for longer than any of the deadlines.
    let away = Duration::from_millis(1000 + ms);
    std::thread::sleep(away);
    meanwhile.iter_mut().for_each(|stream| stream.write_all(&[9]).unwrap());
    silent.iter_mut().for_each(|stream| stream.write_all(&[1, 0, 0, 0, 1, 7]).unwrap());

    let (mut frames, mut sent) = (0, false);
    while frames < 3 * EACH {
        let (events, more) = poll(&polled, 10);
        if events.iter().any(|what| matches!(what, What::Closed(_))) {
            let there = begun.elapsed().saturating_sub(away);
            assert!(there >= Duration::from_millis(ms), "after {frames} frames: {events:?}");
            return None;
        }
        frames += more;
        if !sent {
            sent = true;
            afterwards.iter_mut().for_each(|stream| stream.write_all(&[9]).unwrap());
        }
    }
    // Whoever owes something while the host is there ends as always.
    drop((silent, meanwhile, afterwards));
    let _owing = connect(&cut);
    let is_its_end = |what: &What| matches!(what, What::Closed(info) if info.reason == CloseReason::FrameTimeout);
    let mut polls = 0..60;
    assert!(polls.any(|_| poll(&polled, 1000).0.iter().any(is_its_end)));
    Some(())
}

/// Polls, at most so many events at a time, until `pick` has found what it looks for.
fn until<R>(polled: &PollLoop, max: usize, pick: impl Fn(&PolledEvent) -> Option<R>) -> R {
    for _ in 0..60 {
        let found = polled.poll(max, Some(1000), |mut batch| batch.find_map(|event| pick(&event)));
        if let Some(found) = found.unwrap() {
            return found;
        }
    }
    panic!("it never came");
}

/// What a loop with one client needs, and the client.
fn polled_with_client(settings: &str) -> (Runtime, Arc<PollLoop>, Listener, Conn, TcpStream) {
    let (runtime, polled, listener) = polled(&format!("compression = off\n{settings}"));
    listener.start().unwrap();
    let address = listener.addresses()[0];
    let connecting = std::thread::spawn(move || client(address));
    let mut opened = None;
    while opened.is_none() {
        let poll = polled.poll(64, None, |mut batch| {
            batch.find(|event| matches!(event.what, What::Opened { .. }))
        });
        opened = poll.unwrap().map(|event| event.conn);
    }
    // The answer to the first byte leaves with the next poll, at the latest.
    while !connecting.is_finished() {
        polled.poll(64, Some(1), |batch| batch.for_each(drop)).unwrap();
    }
    (runtime, polled, listener, opened.unwrap(), connecting.join().unwrap())
}

fn frame(payload: &[u8]) -> Vec<u8> {
    [&(payload.len() as u32).to_be_bytes(), payload].concat()
}

#[test]
fn a_round_ends_before_inflated_output_of_many_connections_adds_up() {
    const BOMBS: usize = 60;
    const BOMB_BYTES: usize = 250_000;
    let (runtime, polled, listener) = polled("maxConnectionsPerAddress = 0");
    listener.start().unwrap();
    let address = listener.addresses()[0];
    let bombing = std::thread::spawn(move || {
        let mut clients: Vec<_> = (0..BOMBS).map(|_| client(address)).collect();
        let mut encoder = ZlibEncoder::new(Vec::new(), Compression::best());
        encoder.write_all(&vec![0; BOMB_BYTES]).unwrap();
        let bomb = encoder.finish().unwrap();
        let header = (bomb.len() as u32 | 1 << 31).to_be_bytes();
        let wire = [&header, &bomb[..]].concat();
        clients.iter_mut().for_each(|client| client.write_all(&wire).unwrap());
        clients
    });
    // As long as they come, and then until everything has arrived.
    let mut opened = 0;
    while opened < BOMBS {
        let events = polled.poll(64, None, |batch| {
            batch.filter(|event| matches!(event.what, What::Opened { .. })).count()
        });
        opened += events.unwrap();
    }
    // The answers to the first bytes leave with the next poll; bombs that it tells of are counted.
    let (mut frames, mut most) = (0, 0);
    while frames < BOMBS {
        let round = polled.poll(1000, Some(1), |mut batch| {
            batch.by_ref().for_each(drop);
            batch.frames().iter().map(|frame| frame.data.len).collect::<Vec<_>>()
        });
        let lens = round.unwrap();
        assert!(lens.iter().all(|len| *len == BOMB_BYTES));
        most = most.max(lens.len());
        frames += lens.len();
        // The host works until all have been sent.
        while frames > 0 && !bombing.is_finished() {
            std::thread::yield_now();
        }
    }
    let clients = bombing.join().unwrap();
    // One round had as many as a megabyte holds, and the one that filled it.
    assert!((4..=8).contains(&most), "{most} bombs in one round");
    drop(clients);
    runtime.stop(0).unwrap();
    while polled.poll(64, Some(1000), |batch| batch.for_each(drop)).is_ok() {}
}

#[test]
fn frames_sent_between_polls_leave_with_the_next_one_in_the_order_of_all_sends() {
    let (_runtime, polled, _listener, conn, mut stream) = polled_with_client("");
    let large = vec![b'l'; 50_000];
    let mut expected = Vec::new();
    for round in 0..20u8 {
        let own = [&[round][..], &large, &[]];
        assert_eq!(polled.send_frames(conn, own.into_iter(), SendFlags::default()), (3, Ok(())));
        // Another thread knows of those before, and this one of its.
        std::thread::spawn(move || conn.send_frame(&[round, 1], SendFlags::default()).unwrap())
            .join()
            .unwrap();
        let (other, last): (&[u8], &[u8]) = (&[round, 1], &[round, 2]);
        assert_eq!(polled.send_frames(conn, [last].into_iter(), SendFlags::default()).0, 1);
        let sent = own.into_iter().chain([other, last]);
        expected.extend(sent.flat_map(frame));
        // What was sent leaves before it waits; here it does not even do that.
        polled.poll(64, Some(0), |batch| batch.for_each(drop)).unwrap();
        let mut came = vec![0; expected.len()];
        let reader = std::thread::spawn(move || {
            stream.read_exact(&mut came).unwrap();
            (stream, came)
        });
        while !reader.is_finished() {
            polled.poll(64, Some(1), |batch| batch.for_each(drop)).unwrap();
        }
        let came;
        (stream, came) = reader.join().unwrap();
        assert!(came == expected, "in round {round}");
        expected.clear();
    }
}

#[test]
fn frames_sent_between_polls_are_taken_while_there_is_room_and_room_is_told() {
    let (_runtime, polled, _listener, conn, mut stream) =
        polled_with_client("sendQueueLimit = 64K\n");
    let payload = vec![5; 10_000];
    let mut taken = 0;
    loop {
        let frames = [&payload[..]; 10];
        match polled.send_frames(conn, frames.into_iter(), SendFlags::default()) {
            (0, Err(Status::WouldBlock)) => break,
            (count, Ok(())) => taken += count,
            other => panic!("{other:?}"),
        }
        // At most one frame above the mark.
        assert!(conn.info().unwrap().queued_bytes <= (64 << 10) + 10_004);
        polled.poll(64, Some(0), |batch| batch.for_each(drop)).unwrap();
    }
    let reader = std::thread::spawn(move || {
        let mut all = vec![0; taken * 10_004];
        stream.read_exact(&mut all).unwrap();
        (stream, all)
    });
    let mut is_told = false;
    while !is_told || !reader.is_finished() {
        let what = |mut batch: nativeport::polling::Batch<'_>| {
            batch.any(|event| matches!(event.what, What::Writable))
        };
        is_told |= polled.poll(64, Some(1), what).unwrap();
    }
    let (_stream, all) = reader.join().unwrap();
    assert!(all == frame(&payload).repeat(taken));
    assert_eq!(polled.send_frames(conn, [&payload[..]].into_iter(), SendFlags::default()).0, 1);
}

#[test]
fn what_a_host_has_decided_in_time_counts_before_a_deadline() {
    in_time(decides_in_time);
}

/// In so many milliseconds; `None` if it took longer.
fn decides_in_time(ms: u64) -> Option<()> {
    let (_runtime, polled, listener) = polled(&format!("readTimeout = {ms}\n"));
    listener.on_admit(Arc::new(Told)).unwrap();
    listener.start().unwrap();
    let address = listener.addresses()[0];
    let begun = Instant::now();
    let mut streams = Vec::new();
    let mut conns: Vec<Conn> = Vec::new();
    for _ in 0..4 {
        let mut stream = TcpStream::connect(address).unwrap();
        stream.write_all(&[1]).ok()?;
        streams.push(stream);
        conns.push(until(&polled, 1, |event| match event.what {
            What::Admit { .. } => Some(Some(event.conn)),
            What::Closed(_) => Some(None),
            _ => None,
        })?);
    }
    let [admitted, refused, relieved, closed] = conns[..] else { panic!() };
    for conn in [relieved, closed] {
        conn.admit().ok()?;
        conn.set_deadline(Some(ms)).ok()?;
        until(&polled, 1, |event| match event.what {
            What::Opened { .. } if event.conn == conn => Some(Some(())),
            What::Closed(_) => Some(None),
            _ => None,
        })?;
    }
    // All of this in time; then the host is away until the deadlines are over.
    admitted.admit().ok()?;
    refused.refuse(b"no").ok()?;
    relieved.set_deadline(None).ok()?;
    closed.close(7).ok()?;
    if begun.elapsed() >= Duration::from_millis(ms) {
        return None;
    }
    std::thread::sleep(Duration::from_millis(ms + 500));

    let end = |what: &What| match what {
        What::Closed(info) => Some((info.reason, info.host_code)),
        What::Opened { .. } => None,
        other => panic!("{other:?}"),
    };
    let told: HashMap<_, _> = (0..3)
        .map(|_| until(&polled, 1, |event| Some((event.conn.raw(), end(&event.what)))))
        .collect();
    assert_eq!(told.get(&admitted.raw()), Some(&None));
    assert_eq!(told.get(&refused.raw()), Some(&Some((CloseReason::AdmissionRefused, 0))));
    assert_eq!(told.get(&closed.raw()), Some(&Some((CloseReason::HostClosed, 7))));
    relieved.close(8).unwrap();
    let last = until(&polled, 1, |event| Some((event.conn, end(&event.what))));
    assert_eq!(last, (relieved, Some((CloseReason::HostClosed, 8))));
    Some(())
}

#[test]
fn a_handle_is_stale_and_its_data_gone_from_the_poll_on_that_follows_its_end() {
    struct Counted(Arc<AtomicUsize>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    let (_runtime, polled, listener) = polled("");
    listener.start().unwrap();
    let dropped: Arc<AtomicUsize> = Arc::default();
    const COUNT: usize = 8;
    let mut streams = Vec::new();
    for _ in 0..COUNT {
        let mut stream = TcpStream::connect(listener.addresses()[0]).unwrap();
        stream.write_all(&[1]).unwrap();
        let conn = until(&polled, 1, |event| {
            matches!(event.what, What::Opened { .. }).then_some(event.conn)
        });
        conn.set_user_data(Some(Box::new(Counted(dropped.clone())))).unwrap();
        streams.push((stream, conn));
    }
    // All of them end in one round, and the host takes one event at a time.
    streams.iter().for_each(|(_, conn)| conn.abort(0).unwrap());
    let mut before: Option<Conn> = None;
    for ended in 0..COUNT {
        let conn =
            until(&polled, 1, |event| matches!(event.what, What::Closed(_)).then_some(event.conn));
        assert_eq!(dropped.load(Ordering::SeqCst), ended);
        assert!(conn.info().is_ok(), "until the next poll");
        if let Some(before) = before.replace(conn) {
            assert_eq!(before.info().err(), Some(Status::Closed));
        }
    }
    polled.poll(1, Some(0), |batch| assert_eq!(batch.count(), 0)).unwrap();
    assert_eq!(dropped.load(Ordering::SeqCst), COUNT);
}

#[test]
fn a_poll_for_no_events_is_refused() {
    let (_runtime, polled, _listener) = polled("");
    assert_eq!(polled.poll(0, Some(0), |batch| batch.count()), Err(Status::Argument));
}

#[test]
fn statistics_before_the_loops_are_made_cost_no_connection() {
    let mut config = Config::new();
    config.load_string(b"[Port]\nport = 0\nbindAddress = 127.0.0.1\n", "test.ini").unwrap();
    let runtime = Runtime::with_consumer(&config, Consumer::Poll).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    assert_eq!(listener.stats().accepted, 0);
    let new_loop = || PollLoop::new(&runtime, Box::new(vec![0; 65536])).unwrap();
    let loops = [new_loop(), new_loop()];
    listener.on(Protocol::Client, Arc::new(Told)).unwrap();
    listener.start().unwrap();
    let address = listener.addresses()[0];
    let clients = std::thread::spawn(move || [client(address), client(address)]);
    let mut opened = 0;
    while opened < 2 {
        for polled in &loops {
            polled
                .poll(16, Some(1), |batch| {
                    let events = batch.filter(|event| matches!(event.what, What::Opened { .. }));
                    opened += events.count();
                })
                .unwrap();
        }
    }
    clients.join().unwrap();
    assert_eq!(listener.stats().opened[Protocol::Client.index()], 2);
}

#[test]
fn a_record_from_between_two_polls_is_told_by_the_next_one() {
    let (runtime, polled, listener) = polled("");
    runtime.set_log(Level::Info, None).unwrap();
    polled.poll(1, Some(0), |_| ()).unwrap();
    listener.start().unwrap();
    let (sender, told) = std::sync::mpsc::channel();
    // Not joined: it would poll for ever if the record did not end that.
    std::thread::spawn(move || {
        let line = polled.poll(16, None, |mut batch| {
            batch.find_map(|event| match event.what {
                What::Log(record) => Some(record.text),
                _ => None,
            })
        });
        sender.send(line.unwrap()).unwrap();
    });
    let line = told.recv_timeout(PATIENCE).unwrap();
    assert!(line.is_some_and(|line| line.contains("listen")));
}
