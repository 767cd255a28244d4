//! Numbers: what must be the same on both sides of JNI. `NativeNumbers.java` is generated from this
//! file and from the tables of the core (`tests/java_numbers.rs`, which `make header` runs to
//! update it), so that no number is written twice. That test includes this file, and alone asks for the groups.
#![cfg_attr(test, allow(dead_code))]

use nativeport::event::Protocol;
use nativeport::log::Level;
use nativeport::stats::{CLOSE_REASONS, Stats};

/// One class of the Java file, with what stands in it: a name, a number, a comment.
#[cfg(test)]
pub struct Group {
    /// The class.
    pub name: &'static str,
    /// Its comment.
    pub about: &'static str,
    /// Its constants.
    pub numbers: Vec<(String, i64, &'static str)>,
}

/// Makes a module of constants, and in tests the `Group` of them.
macro_rules! numbers {
    ($(#[doc = $about:literal])+ $module:ident, $class:literal: $type:ty {
        $($(#[doc = $doc:literal])* $name:ident = $value:expr;)+
    }) => {
        $(#[doc = $about])+
        pub mod $module {
            #[allow(unused_imports)]
            use super::*;

            // Java alone needs some of them.
            $($(#[doc = $doc])* #[allow(dead_code)] pub const $name: $type = $value;)+

            #[cfg(test)]
            pub fn group() -> Group {
                let numbers =
                    vec![$((stringify!($name).to_owned(), $name as i64, concat!($($doc),*)),)+];
                Group { name: $class, about: concat!($($about),+), numbers }
            }
        }
    };
}

/// Makes a struct of numbers that Java reads by their offsets, and in tests the `Group` of these.
macro_rules! layout {
    ($(#[doc = $about:literal])+ $name:ident { $($(#[doc = $doc:literal])* $field:ident: $type:ty,)+ }) => {
        $(#[doc = $about])+
        #[derive(Default)]
        #[repr(C)]
        pub struct $name { $($(#[doc = $doc])* pub $field: $type,)+ }

        impl $name {
            /// Its size.
            pub const BYTES: usize = size_of::<$name>();

            /// As it is written: numbers in the machine's byte order, gaps 0.
            pub fn bytes(&self) -> [u8; Self::BYTES] {
                let mut bytes = [0; Self::BYTES];
                $(
                    let at = std::mem::offset_of!($name, $field);
                    bytes[at..at + size_of::<$type>()].copy_from_slice(&self.$field.to_ne_bytes());
                )+
                bytes
            }

            #[cfg(test)]
            pub fn group() -> Group {
                let mut numbers = vec![$((
                    stringify!($field).to_uppercase(),
                    std::mem::offset_of!($name, $field) as i64,
                    concat!($($doc),*),
                ),)+];
                numbers.push(("BYTES".to_owned(), Self::BYTES as i64, " Of all of it."));
                Group { name: stringify!($name), about: concat!($($about),+), numbers }
            }
        }
    };
}

numbers! {
    /// What natives are given.
    native, "Argument": i32 {
        /// What Java and the library have agreed upon: raised with each change of a native, or of a number that is
        /// generated here.
        AGREEMENT = 8;
        /// For inspect: what is wrong or doubtful.
        INSPECT_CHECK = 1;
        /// For inspect: the effective value of a key.
        INSPECT_GET = 2;
        /// For inspect: the ports, and what Java itself needs of them and of the runtime.
        INSPECT_LAYOUT = 3;
        ADMIT = 1;
        PAUSE = 2;
        RESUME = 3;
        SHUTDOWN = 4;
        /// After the peer's end.
        CLOSE = 5;
        ABORT = 6;
        /// And nothing waits in Java for the peer.
        PROCESS_ENDS = 7;
        /// By a program that has not come to the peer's end, and so is the first to end it.
        CLOSE_FIRST = 8;
        /// As PROCESS_ENDS, and something waits in Java for the peer.
        PROCESS_ENDS_OWING = 9;
        /// Bytes that were taken for sending and are not with the operating system yet.
        UNSENT = 1;
        /// Bytes that are.
        SENT = 2;
        NO_DELAY = 1;
        KEEP_ALIVE = 2;
        SEND_BUFFER = 3;
        RECEIVE_BUFFER = 4;
        TRAFFIC_CLASS = 5;
        /// In handled, above one bit for each protocol: Java decides about admission.
        HANDLES_ADMISSION = 1 << Protocol::ALL.len();
        /// Send it raw even if the port compresses.
        SEND_RAW = 1;
    }
}

numbers! {
    /// What a configuration is made of: a byte, then texts.
    operation, "Operation": i32 {
        /// A file: name, text, folder for relative paths.
        FILE = 1;
        /// A further port: name.
        PORT = 2;
        /// A value: section, key, value. An empty section is the port added last.
        VALUE = 3;
        /// The longest text of a file.
        MOST_BYTES = nativeport::config::MOST_BYTES as i32;
    }
}

numbers! {
    /// What a failed native leaves in its array for words: offsets; numbers are big-endian, text is UTF-8 that a 0 ends.
    words, "Words": usize {
        /// Number of 4 bytes: errno, 0 if there is none.
        OS_ERROR = 0;
        /// Number of 4 bytes: the TLS alert, -1 if there is none.
        TLS_ALERT = 4;
        TEXT = 8;
    }
}

numbers! {
    /// Levels of the log; each includes those before it.
    log_level, "LogLevel": i32 {
        OFF = Level::Off as i32;
        ERROR = Level::Error as i32;
        WARN = Level::Warn as i32;
        /// One line for each connection.
        INFO = Level::Info as i32;
        DEBUG = Level::Debug as i32;
    }
}

numbers! {
    /// What a port does about TLS.
    tls_mode, "TlsMode": i32 {
        PLAIN = 0;
        TLS = 1;
        AUTO = 2;
    }
}

numbers! {
    /// What a record tells.
    event_kind, "EventKind": i32 {
        ADMIT = 1;
        OPEN = 2;
        FRAMES = 3;
        DATA = 4;
        END = 5;
        WRITABLE = 6;
        CLOSED = 7;
        LOG = 8;
    }
}

layout! {
    /// A record of a poll: offsets in bytes.
    EventRecord {
        kind: i32,
        protocol: u8,
        first_byte: u8,
        conn: u64,
        token: i32,
        /// How many entries it has.
        count: i32,
        /// The first of its entries.
        first: i32,
        /// Where more is told of it: an offset in the buffer.
        extra: i32,
    }
}

layout! {
    /// An entry of a poll, a payload: offsets in bytes.
    Entry {
        /// Where the payload is, in the buffer that its flags say.
        offset: i32,
        length: i32,
        flags: i32,
        _unused: i32,
    }
}

numbers! {
    /// Flags of an entry.
    entry_flag, "EntryFlag": i32 {
        /// The payload came compressed.
        COMPRESSED = 1;
        /// The payload lies in the buffer of records, not in that of what was read.
        HERE = 2;
        /// The payload has to be fetched.
        ELSEWHERE = 4;
    }
}

layout! {
    /// How a connection ended, before the text of that: offsets in bytes.
    CloseRecord {
        reason: i32,
        by: i32,
        os_error: i32,
        tls_alert: i32,
        bytes_in: u64,
        bytes_out: u64,
        unsent_bytes: u64,
        duration_ms: u64,
    }
}

layout! {
    /// A line of the log, before the texts of its stage and of itself: offsets in bytes.
    LogRecord {
        level: i32,
    }
}

/// Reads a counter.
type Read = fn(&Stats) -> u64;

/// The counters that are one number each, in the order in which Java gets them.
pub const COUNTERS: [(&str, Read); 14] = [
    ("ACCEPTED", |stats| stats.accepted),
    ("UNIDENTIFIED", |stats| stats.unidentified),
    ("FRAMES_IN", |stats| stats.frames_in),
    ("FRAMES_OUT", |stats| stats.frames_out),
    ("BYTES_IN", |stats| stats.bytes_in),
    ("BYTES_OUT", |stats| stats.bytes_out),
    ("MEMORY_BYTES", |stats| stats.memory_bytes),
    ("LOG_DROPPED", |stats| stats.log_dropped),
    ("LOOPS_HELD_UP", |stats| stats.loops_held_up),
    ("SLOW_TURNS", |stats| stats.slow_turns),
    ("CONNECTIONS", |stats| stats.connections),
    ("ACCEPT_ERRORS", |stats| stats.accept_errors),
    ("BYTES_UNSENT", |stats| stats.bytes_unsent),
    ("CERTIFICATE_DAYS_LEFT", |stats| {
        stats.certificate_days_left.unwrap_or(NO_CERTIFICATE).cast_unsigned()
    }),
];

/// Stands for the days that are left without TLS.
pub const NO_CERTIFICATE: i64 = i64::MIN;

/// All counters in the order in which Java gets them: those, then two for each protocol, then one for each number that a
/// close reason may have.
pub fn counters(stats: &Stats) -> impl Iterator<Item = u64> {
    let single = COUNTERS.into_iter().map(|(_, value)| value(stats));
    let closes: [u64; CLOSE_REASONS] = stats.closes;
    single.chain(stats.open).chain(stats.opened).chain(closes)
}

/// Where [`counters`] has what.
#[cfg(test)]
pub fn counters_group() -> Group {
    let names = COUNTERS.iter().map(|(name, _)| *name);
    let mut numbers: Vec<(String, i64, &str)> =
        (0..).zip(names).map(|(index, name)| (name.to_owned(), index, "")).collect();
    let open = COUNTERS.len();
    let opened = open + Protocol::ALL.len();
    let closes = opened + Protocol::ALL.len();
    for (name, index, doc) in [
        ("OPEN", open, " One for each protocol."),
        ("OPENED", opened, " One for each protocol."),
        ("CLOSES", closes, " One for each number of a close reason."),
        ("ALL", closes + CLOSE_REASONS, " How many there are."),
    ] {
        numbers.push((name.to_owned(), index as i64, doc));
    }
    Group { name: "Counter", about: " Positions of counters.", numbers }
}
