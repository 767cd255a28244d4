//! The system has no memory left for something large: the connection that it was for ends, or does
//! without, and nobody else notices.

mod support;

use nativeport::event::{Event, Handler, Protocol};
use nativeport::handles::{Conn, SendFlags};
use nativeport::status::CloseReason;
use std::cell::Cell;
use std::ffi::{c_int, c_void};
use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use support::*;

const LARGE_BYTES: usize = 1 << 20;

/// Refuses one large request of the library's: the next one if this is 1, the one after that if it is 2.
static REFUSED_IN: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// What the test itself needs it gets.
    static IS_TEST: Cell<bool> = const { Cell::new(false) };
}

fn is_refused(bytes: usize) -> bool {
    bytes >= LARGE_BYTES
        && !IS_TEST.try_with(Cell::get).unwrap_or(true)
        && REFUSED_IN.fetch_update(SeqCst, SeqCst, |left| left.checked_sub(1)) == Ok(1)
}

// Large buffers of the library are mappings, and glibc's are too: these stand before its functions.

/// The system does it, or there is no memory.
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap(
    address: *mut c_void,
    bytes: usize,
    access: c_int,
    kind: c_int,
    file: c_int,
    offset: libc::off_t,
) -> *mut c_void {
    if kind & libc::MAP_ANONYMOUS != 0 && is_refused(bytes) {
        return no_memory();
    }
    // SAFETY: the caller's promise.
    let result =
        unsafe { libc::syscall(libc::SYS_mmap, address, bytes, access, kind, file, offset) };
    std::ptr::with_exposed_provenance_mut(result.cast_unsigned() as usize)
}

/// Likewise.
#[unsafe(no_mangle)]
unsafe extern "C" fn mremap(
    address: *mut c_void,
    before: usize,
    bytes: usize,
    flags: c_int,
) -> *mut c_void {
    if is_refused(bytes) {
        return no_memory();
    }
    // SAFETY: the caller's promise.
    let result = unsafe { libc::syscall(libc::SYS_mremap, address, before, bytes, flags) };
    std::ptr::with_exposed_provenance_mut(result.cast_unsigned() as usize)
}

fn no_memory() -> *mut c_void {
    // SAFETY: it is this thread's own.
    unsafe { *libc::__errno_location() = libc::ENOMEM };
    libc::MAP_FAILED
}

/// Gives back what comes, from a thread of its own per connection.
struct FromInbox;

impl Handler for FromInbox {
    fn on_event(&self, conn: Conn, event: Event<'_>) {
        if let Event::Opened { protocol, .. } = event {
            std::thread::spawn(move || {
                let mut piece = vec![0; 64 << 10];
                while protocol.is_framed() {
                    let Ok((payload, _)) = conn.recv_frame(None) else { return };
                    let _ = conn.send_frame(&payload, SendFlags::default());
                }
                while let Ok(count) = conn.recv_bytes(&mut piece, None) {
                    let _ = conn.send_bytes(&piece[..count]);
                }
            });
        }
    }

    fn wants_inbox(&self) -> bool {
        true
    }
}

/// Sends a frame, and reads what comes back.
fn exchange(client: &mut TcpStream, sent: &[u8]) -> io::Result<Vec<u8>> {
    let mut writer = client.try_clone()?;
    let sent = sent.to_vec();
    let writing = std::thread::spawn(move || writer.write_all(&sent));
    let mut header = [0; 4];
    let result = client.read_exact(&mut header).and_then(|()| {
        let word = u32::from_be_bytes(header);
        let mut payload = vec![0; (word & 0x7fff_ffff) as usize];
        client.read_exact(&mut payload)?;
        Ok(if word >> 31 == 1 { unzlib(&payload) } else { payload })
    });
    // Who has been reset writes no more; how that is noticed does not matter.
    let _ = writing.join().expect("it does not panic");
    result
}

/// Every large request of an exchange is refused once.
fn whoever_gets_no_memory_ends_alone(server: &Server, payload: &[u8], sent: &[u8]) {
    let ended = || server.listener.stats().closes[CloseReason::MemoryLimit.code() as usize];
    let mut polite = framed(server.address);
    let (before, mut ends) = (ended(), 0);
    for nth in 1.. {
        assert!(nth < 1000);
        let mut client = framed(server.address);
        REFUSED_IN.store(nth, SeqCst);
        let came_back = exchange(&mut client, sent);
        let was_refused = REFUSED_IN.swap(0, SeqCst) == 0;
        match came_back {
            Ok(came_back) => assert!(came_back == payload, "another payload came back"),
            Err(error) => {
                assert!(was_refused, "{error}");
                ends += 1;
                wait_until("its end", || ended() == before + ends);
            }
        }
        assert_eq!(exchange(&mut polite, &frame(b"hello")).unwrap(), b"hello");
        if !was_refused {
            break;
        }
    }
    assert!(ends > 0, "nothing was refused");
}

#[test]
fn without_memory_for_something_large_its_connection_ends_and_no_other() {
    IS_TEST.set(true);
    let payload = compressible(5 << 20, 1);
    for compression in ["off", "zlib"] {
        let keys = format!("compression={compression}\nsendQueueLimit=64M\nmaxFrameSize=64M\n");
        let echo = echo_server(&keys, "");
        let inbox = server(&keys, "", |listener| {
            listener.on(Protocol::Client, Arc::new(FromInbox)).unwrap();
        });
        for server in [echo, inbox] {
            let raw = frame(&payload);
            whoever_gets_no_memory_ends_alone(&server, &payload, &raw);
            let compressed = compressed_frame(&zlib(&payload));
            whoever_gets_no_memory_ends_alone(&server, &payload, &compressed);
        }
    }
}
