//! Counters: kept per port and loop, so that loops share no cache line; added up when
//! somebody asks.
//!
//! `prometheus` is long: it is the list of all families, one after the other.

use super::Core;
use crate::event::Protocol;
use crate::port::Port;
pub use crate::port::counters::CLOSE_REASONS;
use crate::status::CloseReason;
use crate::tls::expiry;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};

/// A snapshot. Each number is exact; together they are not of one instant, and a loop adds
/// what a connection did at the end of its turn, so a peer may see a moment earlier what is
/// counted.
#[derive(Clone, Debug)]
pub struct Stats {
    /// Connections accepted, ever.
    pub accepted: u64,
    /// Connections that wait for handshake or first byte, now.
    pub unidentified: u64,
    /// Open connections by [`Protocol::index`], now.
    pub open: [u64; 4],
    /// Connections opened by [`Protocol::index`], ever.
    pub opened: [u64; 4],
    /// Frames received, ever.
    pub frames_in: u64,
    /// Frames whose send was accepted, ever. Of these, what did not reach the operating system is in
    /// `bytes_unsent`.
    pub frames_out: u64,
    /// Bytes read from sockets, ever.
    pub bytes_in: u64,
    /// Bytes written to sockets, ever.
    pub bytes_out: u64,
    /// Bytes that count against `memoryLimit`, now; of the whole runtime.
    pub memory_bytes: u64,
    /// Log records that did not fit the queue, ever; of the whole runtime.
    pub log_dropped: u64,
    /// Connections ended, ever, by [`CloseReason`] number.
    pub closes: [u64; CLOSE_REASONS],
    /// Loops whose present turn has lasted for a second or longer; of the whole runtime.
    pub loops_held_up: u64,
    /// Turns of loops that took a second or longer, ever; of the whole runtime.
    pub slow_turns: u64,
    /// Connections that count against `maxConnections`, now: the unidentified, those that the host
    /// has not admitted yet, the open, and those that are ending.
    pub connections: u64,
    /// Calls of accept that failed, ever: mostly of connections that had ended by then, or for want of
    /// descriptors or memory.
    pub accept_errors: u64,
    /// Bytes that sends had accepted and that had not reached the operating system when their
    /// connections ended, ever. With `bytes_out` and what is queued they are all bytes that were to be sent.
    pub bytes_unsent: u64,
    /// Until when the server's own certificate is valid, in seconds since 1970-01-01 UTC: its last second. Of several
    /// listeners that are started the earliest; `None` without TLS.
    pub certificate_not_after_s: Option<i64>,
    /// Whole days until then, now: 0 on the last day, negative after it.
    pub certificate_days_left: Option<i64>,
}

impl Stats {
    pub(crate) fn empty() -> Stats {
        Stats {
            accepted: 0,
            unidentified: 0,
            open: [0; 4],
            opened: [0; 4],
            frames_in: 0,
            frames_out: 0,
            bytes_in: 0,
            bytes_out: 0,
            memory_bytes: 0,
            log_dropped: 0,
            closes: [0; CLOSE_REASONS],
            loops_held_up: 0,
            slow_turns: 0,
            connections: 0,
            accept_errors: 0,
            bytes_unsent: 0,
            certificate_not_after_s: None,
            certificate_days_left: None,
        }
    }

    /// Notes the dates of a port's certificate.
    pub(crate) fn note_certificate(&mut self, port: &Port) {
        let Some(acceptor) = &port.acceptor else { return };
        let validity = acceptor.validity();
        self.certificate_ends(
            Some(validity.not_after_s),
            Some(expiry::days_left(validity, port.commons.unix_s())),
        );
    }

    /// Of several the first end counts.
    fn certificate_ends(&mut self, not_after_s: Option<i64>, days_left: Option<i64>) {
        let first = |one: Option<i64>, other: Option<i64>| one.into_iter().chain(other).min();
        self.certificate_not_after_s = first(self.certificate_not_after_s, not_after_s);
        self.certificate_days_left = first(self.certificate_days_left, days_left);
    }

    /// Sets what is of the whole runtime.
    pub(crate) fn note_runtime(&mut self, core: &Core) {
        let now_ms = core.commons.now_ms();
        self.memory_bytes = core.commons.memory.used_bytes() as u64;
        self.log_dropped = core.commons.log.dropped();
        self.loops_held_up =
            core.loops.all().filter(|entrance| entrance.door.is_held_up(now_ms)).count() as u64;
        self.slow_turns = core.loops.all().map(|entrance| entrance.door.slow_turns()).sum();
    }

    /// Adds a snapshot of another port; what is of the whole runtime is left alone.
    pub(crate) fn merge(&mut self, other: &Stats) {
        self.accepted += other.accepted;
        self.accept_errors += other.accept_errors;
        self.unidentified += other.unidentified;
        self.connections += other.connections;
        self.frames_in += other.frames_in;
        self.frames_out += other.frames_out;
        self.bytes_in += other.bytes_in;
        self.bytes_out += other.bytes_out;
        self.bytes_unsent += other.bytes_unsent;
        self.certificate_ends(other.certificate_not_after_s, other.certificate_days_left);
        let sums = self.open.iter_mut().chain(&mut self.opened).chain(&mut self.closes);
        let more = other.open.iter().chain(&other.opened).chain(&other.closes);
        sums.zip(more).for_each(|(sum, more)| *sum += more);
    }

    /// Adds what a port has counted.
    pub(crate) fn add(&mut self, port: &Port) {
        let get = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let mut closed = [0; 4];
        // Before the start there is nothing to count, and the loops are not all made yet.
        let all = port.counters_if_started();
        for counters in all {
            self.accepted += get(&counters.accepted);
            self.accept_errors += get(&counters.accept_errors);
            self.frames_in += get(&counters.frames_in);
            self.frames_out += get(&counters.frames_out);
            self.bytes_in += get(&counters.bytes_in);
            self.bytes_out += get(&counters.bytes_out);
            self.bytes_unsent += get(&counters.bytes_unsent);
            for (sum, counter) in closed.iter_mut().zip(&counters.closed) {
                *sum += get(counter);
            }
            for (sum, counter) in self.closes.iter_mut().zip(&counters.closes) {
                *sum += get(counter);
            }
        }
        // Read after `closed`, so that a connection opening meanwhile makes no negative.
        for (i, closed) in closed.into_iter().enumerate() {
            let opened: u64 = all.iter().map(|counters| get(&counters.opened[i])).sum();
            self.opened[i] += opened;
            self.open[i] += opened.saturating_sub(closed);
        }
        let (connections, unidentified) = port.gate.counts();
        self.connections += connections;
        self.unidentified += unidentified;
    }
}

/// What tells one port from another in the Prometheus text.
#[derive(Clone, Debug)]
pub(crate) struct PortLabels {
    /// The labels as they are written, with the port that was bound.
    pub text: String,
    /// The same from the configuration alone: a listener that is started again goes on counting where it
    /// was, whatever port it gets.
    pub configured: String,
    pub section: String,
}

impl PortLabels {
    pub fn of(port: &Port) -> PortLabels {
        let (bound, section) = (port.bound_port(), label(&port.written));
        let configured = port.configured_ports();
        // By default it repeats `port`; 0 is the bound one.
        let mapped = if configured.1 == 0 { bound } else { configured.1 };
        PortLabels {
            text: format!("port=\"{bound}\",map_to_port=\"{mapped}\",section=\"{section}\""),
            configured: format!("{configured:?} {section}"),
            section,
        }
    }

    /// Of listeners of its section that are not told apart.
    pub fn of_section(self) -> PortLabels {
        let text = format!("port=\"other\",map_to_port=\"other\",section=\"{}\"", self.section);
        PortLabels { text, ..self }
    }

    /// Of listeners that are not told apart.
    pub fn others() -> PortLabels {
        let other = "other".to_owned();
        PortLabels { text: String::new(), configured: other.clone(), section: other }.of_section()
    }
}

/// The Prometheus text of a runtime: one family after the other, one line per port.
pub(crate) fn prometheus(ports: &[(PortLabels, Stats)], runtime: &Stats) -> String {
    let stats: Vec<(&str, &Stats)> =
        ports.iter().map(|(labels, stats)| (labels.text.as_str(), stats)).collect();
    let mut text = String::new();
    let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, i128)>| {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP nativeport_{name} {help}\n# TYPE nativeport_{name} {kind}");
        for (labels, value) in lines {
            let _ = match labels.is_empty() {
                true => writeln!(text, "nativeport_{name} {value}"),
                false => writeln!(text, "nativeport_{name}{{{labels}}} {value}"),
            };
        }
    };
    let each = |value: fn(&Stats) -> u64| {
        let line = |(labels, stats): &(&str, &Stats)| (labels.to_string(), value(stats).into());
        stats.iter().map(line).collect::<Vec<_>>()
    };
    let by_protocol = |value: fn(&Stats, usize) -> u64| {
        let mut lines = Vec::new();
        for (labels, stats) in &stats {
            for protocol in Protocol::ALL {
                let labels = format!("{labels},protocol=\"{}\"", protocol.name());
                lines.push((labels, value(stats, protocol.index()).into()));
            }
        }
        lines
    };
    family("accepts_total", "counter", "Connections accepted.", each(|s| s.accepted));
    let errors = each(|s| s.accept_errors);
    family("accept_errors_total", "counter", "Calls of accept that failed.", errors);
    family(
        "unidentified",
        "gauge",
        "Connections before their first byte.",
        each(|s| s.unidentified),
    );
    family(
        "places_taken",
        "gauge",
        "Connections that count against maxConnections.",
        each(|s| s.connections),
    );
    family("connections", "gauge", "Open connections.", by_protocol(|s, i| s.open[i]));
    family("opened_total", "counter", "Connections opened.", by_protocol(|s, i| s.opened[i]));
    family("frames_received_total", "counter", "Frames received.", each(|s| s.frames_in));
    let sent = "Frames whose send was accepted.";
    family("frames_sent_total", "counter", sent, each(|s| s.frames_out));
    family("bytes_received_total", "counter", "Bytes read from sockets.", each(|s| s.bytes_in));
    family("bytes_sent_total", "counter", "Bytes written to sockets.", each(|s| s.bytes_out));
    let unsent = "Bytes accepted for sending that their connections ended without.";
    family("bytes_unsent_total", "counter", unsent, each(|s| s.bytes_unsent));
    let mut closes = Vec::new();
    for (labels, stats) in &stats {
        for &reason in CloseReason::ALL {
            let labels = format!("{labels},reason=\"{}\"", reason.name());
            closes.push((labels, stats.closes[reason.code() as usize].into()));
        }
    }
    family("closes_total", "counter", "Connections ended, by reason.", closes);
    // Only of ports with TLS.
    let of_certificates = |value: fn(&Stats) -> Option<i64>| {
        let line =
            |(labels, stats): &(&str, &Stats)| Some((labels.to_string(), value(stats)?.into()));
        stats.iter().filter_map(line).collect::<Vec<_>>()
    };
    let days = of_certificates(|s| s.certificate_days_left);
    if !days.is_empty() {
        let help = "Whole days until the server's own certificate expires, negative after that.";
        family("certificate_days_left", "gauge", help, days);
        let help = "When the server's own certificate expires, in seconds since 1970.";
        let ends = of_certificates(|s| s.certificate_not_after_s);
        family("certificate_not_after_timestamp_seconds", "gauge", help, ends);
    }
    let whole = |value: u64| vec![(String::new(), value.into())];
    let memory_bytes = whole(runtime.memory_bytes);
    family("memory_bytes", "gauge", "Bytes that count against memoryLimit.", memory_bytes);
    let log_dropped = whole(runtime.log_dropped);
    family("log_dropped_total", "counter", "Log records dropped.", log_dropped);
    let held_up = whole(runtime.loops_held_up);
    family("loops_held_up", "gauge", "Loops in a turn of a second or longer.", held_up);
    let slow = whole(runtime.slow_turns);
    family("slow_turns_total", "counter", "Turns of loops of a second or longer.", slow);
    text
}

/// A label's value, escaped as the exposition format wants it.
fn label(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
