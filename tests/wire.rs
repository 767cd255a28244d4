//! Cuts and sizes on the wire: clients that share no code with the library exchange frames
//! with it, and every byte is compared. One is written here by hand, the others are
//! `clients/framed.py` and `clients/Framed.java`.

mod support;

use std::io::{Read, Write};
use std::process::Command;
use support::*;

const SIZES: [usize; 5] = [0, 1, 511, 512, 16 << 10];
const SMALL: &[&str] = &["0", "1", "511", "512", "16384"];

fn secure_echo_server() -> Server {
    echo_server(WITH_TLS, TLS_SECTION)
}

/// Reads a frame and inflates it if it came compressed.
fn read_any(stream: &mut impl Read) -> Vec<u8> {
    let (compressed, wire) = read_wire_frame(stream);
    if compressed { unzlib(&wire) } else { wire }
}

/// The three ways to put a payload on the wire.
fn packings(payload: &[u8]) -> [Vec<u8>; 3] {
    [frame(payload), compressed_frame(&zlib(payload)), compressed_frame(&deflate(payload))]
}

fn exchange_all_sizes(stream: &mut (impl Read + Write)) {
    for (seed, size) in SIZES.into_iter().enumerate() {
        for payload in [compressible(size, seed), noise(size, seed as u64 + 1)] {
            for wire in packings(&payload) {
                stream.write_all(&wire).unwrap();
                stream.flush().unwrap();
                assert!(read_any(stream) == payload, "{size}");
            }
        }
    }
}

fn exchange_pipelined(stream: &mut (impl Read + Write)) {
    let payloads: Vec<_> = SIZES.into_iter().map(|size| compressible(size, size)).collect();
    let wire: Vec<u8> = payloads.iter().flat_map(|payload| packings(payload).concat()).collect();
    for _ in 0..10 {
        stream.write_all(&wire).unwrap();
        stream.flush().unwrap();
        for payload in &payloads {
            (0..3).for_each(|_| assert!(read_any(stream) == *payload));
        }
    }
}

#[test]
fn raw_and_compressed_frames_of_all_sizes_come_back_on_1_and_on_50_connections() {
    let server = echo_server("", "");
    let secure = secure_echo_server();
    let mut plain: Vec<_> = (0..50).map(|_| framed(server.address)).collect();
    let mut tls: Vec<_> = (0..50).map(|_| tls_framed(secure.address)).collect();
    plain.iter_mut().for_each(exchange_all_sizes);
    tls.iter_mut().for_each(exchange_all_sizes);
}

#[test]
fn pipelined_frames_come_back_in_order() {
    exchange_pipelined(&mut framed(echo_server("", "").address));
    exchange_pipelined(&mut tls_framed(secure_echo_server().address));
}

#[test]
fn frames_cut_at_every_byte_position_come_back() {
    let server = echo_server("", "");
    let mut client = framed(server.address);
    let mut sent = 1;
    for size in [0, 1, 511, 512] {
        let payload = compressible(size, size);
        for wire in packings(&payload) {
            for cut in 1..wire.len() {
                // The second piece follows when the server has read the first.
                client.write_all(&wire[..cut]).unwrap();
                sent += cut as u64;
                wait_until("the first piece", || server.listener.stats().bytes_in == sent);
                client.write_all(&wire[cut..]).unwrap();
                sent += (wire.len() - cut) as u64;
                assert!(read_any(&mut client) == payload, "{size} cut at {cut}");
            }
        }
    }
}

#[test]
fn two_frames_cut_at_every_byte_position_come_back_over_tls() {
    let server = secure_echo_server();
    let mut client = tls_framed(server.address);
    let payloads = [compressible(40, 1), vec![], compressible(600, 2)];
    let wire: Vec<u8> = payloads
        .iter()
        .enumerate()
        .flat_map(|(way, payload)| packings(payload)[way].clone())
        .collect();
    for cut in 1..wire.len() {
        // Two records, whatever the segments.
        for piece in [&wire[..cut], &wire[cut..]] {
            client.write_all(piece).unwrap();
            client.flush().unwrap();
        }
        payloads.iter().for_each(|payload| assert!(read_any(&mut client) == *payload, "{cut}"));
    }
}

#[test]
fn a_tls_conversation_cut_at_every_byte_of_its_records_comes_through() {
    let server = secure_echo_server();
    let mut client = tls_framed(server.address);
    let payload = compressible(100, 7);
    client.write_all(&frame(&payload)).unwrap();
    assert_eq!(read_any(&mut client), payload);
    let mut at = 1;
    loop {
        // Everything so far has been counted.
        wait_until("the count", || server.listener.stats().frames_in == at as u64);
        client.conn.writer().write_all(&frame(&payload)).unwrap();
        let mut records = Vec::new();
        while client.conn.wants_write() {
            client.conn.write_tls(&mut records).unwrap();
        }
        if at >= records.len() {
            break;
        }
        let before = server.listener.stats().bytes_in;
        client.sock.write_all(&records[..at]).unwrap();
        wait_until("the first piece", || server.listener.stats().bytes_in == before + at as u64);
        client.sock.write_all(&records[at..]).unwrap();
        assert_eq!(read_any(&mut client), payload);
        at += 1;
    }
    assert!(at > 100);
}

#[test]
fn every_byte_on_its_own_comes_through() {
    let server = echo_server("", "");
    let mut client = framed(server.address);
    let payload = compressible(600, 3);
    for wire in packings(&payload) {
        for byte in &wire {
            client.write_all(std::slice::from_ref(byte)).unwrap();
        }
        assert!(read_any(&mut client) == payload);
    }
}

#[test]
fn frames_around_the_sizes_at_which_the_way_of_reading_changes_come_back() {
    let server = echo_server("compression=off", "");
    let mut client = framed(server.address);
    let around = |size: usize| [size - 5, size - 4, size - 3, size - 1, size, size + 1];
    let sizes = [4 << 10, 64 << 10, 256 << 10, 2 << 20].map(around).concat();
    for (seed, size) in sizes.into_iter().enumerate() {
        let payload = noise(size, seed as u64 + 1);
        // One more frame before and behind it.
        let wire = [frame(b"before"), frame(&payload), frame(b"behind")].concat();
        client.write_all(&wire).unwrap();
        assert_eq!(read_frame(&mut client), b"before");
        assert!(read_frame(&mut client) == payload, "{size}");
        assert_eq!(read_frame(&mut client), b"behind");
    }
}

#[test]
fn frames_of_1_mib_come_back_on_32_connections() {
    for tls in [false, true] {
        let server = if tls { secure_echo_server() } else { echo_server("", "") };
        let clients: Vec<_> = (0..32)
            .map(|seed| {
                std::thread::spawn(move || {
                    // Every fourth one compressed.
                    let payload = match seed % 4 {
                        0 => compressible(1 << 20, seed),
                        _ => noise(1 << 20, seed as u64 + 1),
                    };
                    let wire = match seed % 4 {
                        0 => compressed_frame(&zlib(&payload)),
                        _ => frame(&payload),
                    };
                    let exchange = |stream: &mut dyn ReadWrite| {
                        stream.write_all(&wire).unwrap();
                        stream.flush().unwrap();
                        assert!(read_any(&mut &mut *stream) == payload);
                    };
                    match tls {
                        true => exchange(&mut tls_framed(server.address)),
                        false => exchange(&mut framed(server.address)),
                    }
                })
            })
            .collect();
        clients.into_iter().for_each(|client| client.join().unwrap());
    }
}

trait ReadWrite: Read + Write {}
impl<T: Read + Write> ReadWrite for T {}

#[test]
fn a_frame_of_64_mib_comes_back() {
    let server = echo_server("compression=off", "");
    let mut client = framed(server.address);
    let payload = noise(64 << 20, 64);
    client.write_all(&(64u32 << 20).to_be_bytes()).unwrap();
    client.write_all(&payload).unwrap();
    assert!(read_frame(&mut client) == payload);
}

// Clients in other languages.

/// Runs a client; gives the number that it prints, or `None` if the program is missing.
fn run(program: &str, client: &str, arguments: &[Vec<String>]) -> Option<u64> {
    let path = format!("{}/tests/clients/{client}", env!("CARGO_MANIFEST_DIR"));
    let output = Command::new(program).arg(path).args(arguments.join(&"then".to_owned())).output();
    match output {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {program} is not installed");
            None
        }
        Err(error) => panic!("{program}: {error}"),
        Ok(output) => {
            let errors = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{client}: {errors}");
            Some(String::from_utf8_lossy(&output.stdout).trim().parse().unwrap())
        }
    }
}

/// The arguments of one job of a client.
fn job(server: &Server, way: &[&str], sizes: &[&str]) -> Vec<String> {
    let port = server.address.port().to_string();
    std::iter::once(port.as_str())
        .chain(way.iter().copied())
        .chain(sizes.iter().copied())
        .map(str::to_owned)
        .collect()
}

fn python(server: &Server, way: &[&str], sizes: &[&str], frames: u64) {
    if let Some(got) = run("python3", "framed.py", &[job(server, way, sizes)]) {
        assert_eq!(got, frames, "{way:?}");
    }
}

#[test]
fn python_exchanges_all_sizes_raw_and_compressed_plain_and_tls() {
    let (server, secure) = (echo_server("", ""), secure_echo_server());
    for packing in ["raw", "zlib", "deflate"] {
        for connections in ["1", "50"] {
            let expected = connections.parse::<u64>().unwrap() * 10;
            python(&server, &["plain", packing, connections, "1"], SMALL, expected);
            python(&secure, &["tls", packing, connections, "1"], SMALL, expected);
        }
    }
}

#[test]
fn python_exchanges_small_frames_on_1000_connections() {
    // Both ends of each connection are descriptors of this test or of its child.
    let limit = std::fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let open_files = limit.lines().find(|line| line.starts_with("Max open files"));
    let soft = open_files.and_then(|line| line.split_whitespace().nth(3)?.parse::<u64>().ok());
    if soft.is_some_and(|soft| soft < 1200) {
        println!("skipped: only {} open files are allowed", soft.unwrap_or(0));
        return;
    }
    let server = echo_server("maxHandshakesPerAddress=0\nmaxHandshakes=0\nqueueLength=2048", "");
    python(&server, &["plain", "raw", "1000", "1"], &["0", "1", "511", "512"], 8000);
}

#[test]
fn python_cuts_small_frames_at_every_byte_position() {
    let (server, secure) = (echo_server("", ""), secure_echo_server());
    python(&server, &["plain", "raw", "3", "cut"], &["0", "1", "511", "512"], 3 + 4 + 514 + 515);
    python(&secure, &["tls", "raw", "3", "cut"], &["0", "1", "40"], 3 + 4 + 43);
}

#[test]
fn python_exchanges_large_frames() {
    let (server, secure) = (echo_server("", ""), secure_echo_server());
    python(&server, &["plain", "raw", "32", "1"], &["1048576"], 32);
    python(&secure, &["tls", "zlib", "32", "1"], &["1048576"], 32);
    python(&server, &["plain", "raw", "1", "1"], &["67108864"], 1);
    python(&secure, &["tls", "raw", "1", "1"], &["67108864"], 1);
}

#[test]
fn java_exchanges_all_sizes_raw_and_compressed_plain_and_tls() {
    let (server, secure) = (echo_server("", ""), secure_echo_server());
    let mut jobs = Vec::new();
    let mut expected = 0;
    for packing in ["raw", "zlib", "deflate"] {
        for connections in ["1", "50"] {
            jobs.push(job(&server, &["plain", packing, connections, "2"], SMALL));
            jobs.push(job(&secure, &["tls", packing, connections, "2"], SMALL));
            expected += 2 * connections.parse::<u64>().unwrap() * 10;
        }
        jobs.push(job(&server, &["plain", packing, "32", "1"], &["1048576"]));
        jobs.push(job(&secure, &["tls", packing, "32", "1"], &["1048576"]));
        expected += 64;
    }
    jobs.push(job(&server, &["plain", "raw", "3", "cut"], &["0", "1", "511", "512"]));
    jobs.push(job(&secure, &["tls", "raw", "3", "cut"], &["0", "1", "511", "512"]));
    expected += 2 * (3 + 4 + 514 + 515);
    if let Some(got) = run("java", "Framed.java", &jobs) {
        assert_eq!(got, expected);
    }
}
