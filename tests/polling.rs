//! Loops that the host polls: what is promised beyond what every consumer promises.

use nativeport::config::Config;
use nativeport::event::{Event, Handler, Protocol};
use nativeport::handles::Conn;
use nativeport::listener::Listener;
use nativeport::polling::{PollLoop, What};
use nativeport::runtime::{Consumer, Runtime};
use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

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

#[test]
fn a_connection_that_always_has_input_leaves_room_for_the_others() {
    let text = b"[Port]\nport = 0\nbindAddress = 127.0.0.1\n";
    let mut config = Config::new();
    config.load_string(text, "test.ini").unwrap();
    let runtime = Runtime::with_consumer(&config, Consumer::Poll).unwrap();
    let polled = PollLoop::new(&runtime, Box::new(vec![0; 65536])).unwrap();
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    listener.on(Protocol::Client, Arc::new(Told)).unwrap();
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

    let (mut quiet_frames, mut rounds) = (0, 0);
    let mut frames_by_conn: HashMap<u64, usize> = HashMap::new();
    while quiet_frames < 20 {
        rounds += 1;
        assert!(rounds < 2000, "starved: {quiet_frames} came, {frames_by_conn:?}");
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
