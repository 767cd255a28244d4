//! Handlers of the library itself: their events are called on the connection's loop whoever consumes
//! those of the host, and never reach the host's poll.

mod support;

use nativeport::event::{Event, Handler, Protocol};
use nativeport::handles::Conn;
use nativeport::listener::Listener;
use nativeport::polling::PollLoop;
use nativeport::runtime::{Consumer, Runtime};
use std::io::{BufRead, BufReader, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle, ThreadId};
use support::*;

/// Answers each line with its length.
#[derive(Default)]
struct Lines {
    threads: Mutex<Vec<(ThreadId, Option<String>)>>,
    ends: AtomicUsize,
}

impl Handler for Lines {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        let current = thread::current();
        let name = current.name().map(str::to_owned);
        self.threads.lock().unwrap().push((current.id(), name));
        match event {
            Event::Data(data) => {
                for line in data.split_inclusive(|byte| *byte == b'\n') {
                    conn.send_bytes(format!("{}\n", line.len()).as_bytes()).unwrap();
                }
            }
            Event::Closed(_) => _ = self.ends.fetch_add(1, Ordering::SeqCst),
            _ => {}
        }
    }

    fn is_internal(&self) -> bool {
        true
    }
}

/// Polls until the runtime is over; gives its thread and how many events it got.
fn polls(runtime: &Runtime) -> JoinHandle<usize> {
    let polled = PollLoop::new(runtime, Box::new(vec![0; 64 << 10])).unwrap();
    thread::spawn(move || {
        let mut events = 0;
        while let Ok(more) = polled.poll(16, None, |batch| batch.count()) {
            events += more;
        }
        events
    })
}

fn is_called_on_the_loop(consumer: Consumer) {
    let config = config("ioThreads=1\nworkerThreads=2", "", "");
    let runtime = Runtime::with_consumer(&config, consumer).unwrap();
    let poller = (consumer == Consumer::Poll).then(|| polls(&runtime));
    let listener = Listener::new(&runtime, &config, 0).unwrap();
    let lines: Arc<Lines> = Arc::default();
    listener.on(Protocol::Unknown, lines.clone()).unwrap();
    listener.start().unwrap();
    let mut stream = connect(listener.addresses()[0]);
    let mut answers = BufReader::new(stream.try_clone().unwrap());
    for line in ["up?\n", "and how many?\n"] {
        stream.write_all(line.as_bytes()).unwrap();
        let mut answer = String::new();
        answers.read_line(&mut answer).unwrap();
        assert_eq!(answer, format!("{}\n", line.len()), "{consumer:?}");
    }
    drop((stream, answers));
    wait_until("the end", || lines.ends.load(Ordering::SeqCst) == 1);
    runtime.stop(0).unwrap();
    let threads = lines.threads.lock().unwrap().clone();
    // Opened, twice data, closed.
    assert!(threads.len() >= 4, "{consumer:?}: {threads:?}");
    match poller {
        Some(poller) => {
            let polling = poller.thread().id();
            assert!(threads.iter().all(|(id, _)| *id == polling), "{threads:?}");
            assert_eq!(poller.join().unwrap(), 0, "its events are nobody else's");
        }
        None => {
            let is_loop = |name: &Option<String>| name.as_deref() == Some("np-io-0");
            assert!(threads.iter().all(|(_, name)| is_loop(name)), "{consumer:?}: {threads:?}");
        }
    }
}

#[test]
fn a_handler_of_the_library_is_called_on_the_loop_under_each_consumer() {
    for consumer in [Consumer::Callbacks, Consumer::Workers, Consumer::Poll] {
        is_called_on_the_loop(consumer);
    }
}
