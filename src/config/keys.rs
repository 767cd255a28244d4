//! The one table of all keys.
//!
//! Validation, defaults, suggestions for unknown keys and the tables of
//! docs/configuration.md come from it. A key that is known but not built yet stands
//! here too: it takes its default and nothing else, so that no setting is ignored
//! silently. What keys mean together is left to `resolve`.

use super::kind::Kind;
use super::work::count;
use std::collections::HashMap;
use std::fmt;
use std::sync::LazyLock;

/// The three types of sections that are ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SectionType {
    /// `[Runtime]`.
    Runtime,
    /// `[Port]` and its like.
    Port,
    /// A section that an `sslSection` names.
    Tls,
}

impl SectionType {
    /// All of them, in the order of the manual.
    pub const ALL: [SectionType; 3] = [SectionType::Runtime, SectionType::Port, SectionType::Tls];

    /// The keys of sections of this type, in the order of the manual.
    pub fn keys(self) -> &'static [Key] {
        match self {
            SectionType::Runtime => RUNTIME,
            SectionType::Port => PORT,
            SectionType::Tls => TLS,
        }
    }

    /// The key of this name, in any case. `certificate.example` is `certificate.NAME`.
    pub fn key(self, name: &str) -> Option<&'static Key> {
        static INDEX: LazyLock<[HashMap<String, &'static Key>; 3]> = LazyLock::new(|| {
            // Of `certificate.NAME` all up to the dot.
            let name = |key: &Key| key.name.trim_end_matches("NAME").to_ascii_lowercase();
            SectionType::ALL
                .map(|section| section.keys().iter().map(|key| (name(key), key)).collect())
        });
        let name = name.to_ascii_lowercase();
        let end = match name.find('.') {
            Some(dot) if dot + 1 < name.len() => dot + 1,
            // The name of an identity is missing.
            Some(_) => return None,
            None => name.len(),
        };
        INDEX[self as usize].get(&name[..end]).copied()
    }

    /// The known key whose name is nearest to this one.
    pub fn nearest(self, name: &str) -> &'static str {
        // No key is so long.
        let name: String = name.chars().take(64).flat_map(char::to_lowercase).collect();
        let distance = |key: &&Key| edit_distance(&key.name.to_ascii_lowercase(), &name);
        let nearest = self.keys().iter().min_by_key(distance);
        // The tables are constants and none of them is empty.
        nearest.expect("every section type has keys").name
    }
}

impl fmt::Display for SectionType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SectionType::Runtime => "the Runtime section",
            SectionType::Port => "a port section",
            SectionType::Tls => "a TLS section",
        })
    }
}

/// One key.
#[derive(Debug)]
pub struct Key {
    /// As the manual writes it; files may write it in any case.
    pub name: &'static str,
    /// Whether this version does what the key says.
    pub built: bool,
    /// The type with its range.
    pub kind: Kind,
    /// What holds if the key is absent.
    pub default: DefaultValue,
    /// One line of description.
    pub about: &'static str,
}

/// What holds if a key is absent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DefaultValue {
    /// Nothing: the key must be there.
    Required,
    /// Nothing: the feature is not used.
    Nothing,
    /// This text.
    Text(&'static str),
    /// The number of processor cores.
    Cores,
    /// Half the number of processor cores, at least 1.
    HalfCores,
    /// The value of this other key.
    SameAs(&'static str),
}

impl fmt::Display for DefaultValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DefaultValue::Required => f.write_str("required"),
            DefaultValue::Nothing => f.write_str("none"),
            DefaultValue::Text(text) => f.write_str(text),
            DefaultValue::Cores => f.write_str("the cores"),
            DefaultValue::HalfCores => f.write_str("half the cores, at least 1"),
            DefaultValue::SameAs(key) => write!(f, "`{key}`"),
        }
    }
}

/// The number of processor cores that this process may use.
pub(super) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// True if one is probably a slip of the pen for the other, which it is not.
pub(super) fn looks_like(name: &str, meant: &str) -> bool {
    let letters = |text: &str| {
        let mut letters: Vec<u8> = text.bytes().collect();
        letters.sort_unstable();
        letters
    };
    name != meant && (edit_distance(name, meant) == 1 || letters(name) == letters(meant))
}

pub(super) fn edit_distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    count(b.len());
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, to) in b.iter().enumerate() {
            let change = diagonal + usize::from(from != *to);
            diagonal = row[j + 1];
            row[j + 1] = change.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

const MOST_THREADS: u64 = 1024;
const FRAME_BYTES: u64 = 0x7fff_ffff;
const QUEUE_BYTES: u64 = 1 << 46;
const COUNT: u64 = 0x7fff_ffff;
const LONGEST_MS: u64 = 720 * 3_600_000;
/// Linux takes at most 32,767 s.
const KEEP_ALIVE_MS: u64 = 9 * 3_600_000;

const THREADS: Kind = Kind::Integer { min: 1, max: MOST_THREADS };
const LIMIT: Kind = Kind::Integer { min: 0, max: COUNT };
const TCP_PORT: Kind = Kind::Integer { min: 0, max: 65_535 };
const TIME: Kind = Kind::Duration { zero: false, min_ms: 1, max_ms: LONGEST_MS };
const TIME_OR_OFF: Kind = Kind::Duration { zero: true, min_ms: 1, max_ms: LONGEST_MS };
const FRAME_SIZE: Kind = Kind::Size { min: 1, max: FRAME_BYTES };
const TEXT: Kind = Kind::Text("a text");
const VERSION: Kind = Kind::TlsVersion;

/// A line is `"name", built or planned, kind, default, "description";`. A planned key
/// has the default that holds in this version.
macro_rules! keys {
    ($($name:literal, $built:ident, $kind:expr, $default:expr, $about:literal;)*) => {
        &[$(Key { name: $name, built: keys!(@$built), kind: $kind, default: $default, about: $about },)*]
    };
    (@built) => { true };
    (@planned) => { false };
}

use DefaultValue::{Cores, HalfCores, Nothing, Required, SameAs, Text};

const RUNTIME: &[Key] = keys! {
    "ioThreads", built, THREADS, Cores, "I/O loops";
    "handshakeThreads", built, THREADS, HalfCores, "loops for TLS handshakes";
    "workerThreads", built, THREADS, Cores, "threads of the worker consumer";
    "memoryLimit", built, Kind::Size { min: 64 << 10, max: QUEUE_BYTES }, Text("1G"), "what all connections hold in partial frames, inflated output and queues, each counted beyond its first 64 KiB; over it the connection that holds most is reset with `memory_limit`, also on another loop; meanwhile the loops read at most 1 MiB each beyond the limit";
    "logLevel", built, Kind::Choice(&["off", "error", "warn", "info", "debug"]), Text("info"), "the least important records that are made";
    "accepterPriority", built, Kind::Choice(&["normal", "raised"]), Text("normal"), "`raised` is best effort";
    "callbackThreads", built, Kind::Choice(&["platform", "virtual"]), Text("platform"), "threads for the callbacks of Java; `virtual` needs JDK 21 or later, and differs in [interrupts and pinning](java-sockets.md#threads-of-callbacks)";
    "exitFlush", built, TIME_OR_OFF, Text("2s"), "of Java: when the JVM exits, how long it waits at most until what was written is sent; 0 = it waits for no output";
};

const PORT: &[Key] = keys! {
    "port", built, TCP_PORT, Required, "TCP port to listen on; 0 = any free port";
    "mapToPort", built, TCP_PORT, SameAs("port"), "the port number that the outside world uses; never bound; 0 = the bound one";
    "bindAddress", built, Kind::Addresses, Nothing, "addresses or host names to bind, see [Addresses](#addresses); without it all: one `[::]` dual-stack socket, or `0.0.0.0` without IPv6";
    "queueLength", built, Kind::Integer { min: 1, max: COUNT }, Text("1024"), "listen backlog; the kernel's limit caps it";
    "sslSection", built, Kind::Text("the name of a section"), Nothing, "the TLS section; without it the port is plain";
    "ssl", built, Kind::Choice(&["required", "auto"]), Text("required"), "`auto`: TLS and plain on one port, told apart by the first two bytes: 22, 3 begins TLS";
    "readTimeout", built, TIME_OR_OFF, Text("30s"), "one deadline for PROXY header, TLS handshake, first byte and admission, from accept; 0 = none";
    "handshakeTimeout", built, TIME, Text("10s"), "for PROXY header, TLS handshake and, with `ssl = auto`, the first byte, from accept; the earlier of both counts; cannot be switched off";
    "frameTimeout", built, TIME_OR_OFF, Text("30s"), "a frame must be whole within this time from its first header byte, plus 1 s per 64 KiB that arrived; 0 = none";
    "idleTimeout", built, TIME_OR_OFF, Text("0"), "closes a framed or stream connection that was silent for so long, both ways; 0 = never";
    "writeTimeout", built, TIME, Text("60s"), "resets a connection whose peer acknowledges nothing of what was sent for so long (up to a half longer)";
    "closeTimeout", built, TIME, Text("5m"), "longest time of a close, flush and linger together; if the flush takes longer, the library resets the connection (`close_timeout`)";
    "accepterThreads", built, THREADS, Text("1"), "accepter threads of this port, on one shared listening socket per address";
    "loadBalance", planned, Kind::Flag, Text("no"), "the port takes part in load balancing";
    "externalSSL", planned, Kind::Choice(&["no", "yes", "tlv"]), Text("no"), "TLS is ended by a proxy in front";
    "proxyProtocol", planned, Kind::Choice(&["off", "required", "optional"]), Text("off"), "PROXY headers from trusted proxies";
    "trustedProxies", planned, Kind::List, Nothing, "the proxies' addresses as CIDR";
    "domains", planned, Kind::List, Nothing, "names for automatic certificates (ACME)";
    "maxConnections", built, LIMIT, Text("0"), "over it a new connection is closed at once and counted; 0 = none";
    "maxConnectionsPerAddress", built, LIMIT, Text("0"), "the same per address; 0 = none";
    "maxHandshakes", built, Kind::IntegerOrAuto { min: 0, max: COUNT }, Text("auto"), "connections that are not identified yet. `auto`: half of the soft limit of open files, one budget for all ports of the runtime; a number: a budget of this port's own; 0 = none. At the limit a newcomer evicts another one, see below";
    "maxHandshakesPerAddress", built, LIMIT, Text("0"), "the same per address (/32, IPv6 /64) in that budget; over it a newcomer evicts the oldest of its address; 0 = none";
    "maxFrameSize", built, FRAME_SIZE, Text("64M"), "largest frame on the wire, inclusive";
    "maxInflatedSize", built, FRAME_SIZE, Text("256M"), "largest payload after inflation, inclusive";
    "compression", built, Kind::Choice(&["auto", "zlib", "raw", "off", "never"]), Text("auto"), "what is read; written is zlib, or raw with `raw`; `off` never sends compressed and still reads both; `never` refuses compressed frames too";
    "compressThreshold", built, Kind::Size { min: 0, max: FRAME_BYTES }, Text("512"), "smaller payloads are sent as they are";
    "compressLimit", built, Kind::Size { min: 1, max: FRAME_BYTES }, Text("1M"), "larger payloads are sent as they are, since a send compresses before it returns";
    "compressLevel", built, Kind::Integer { min: 0, max: 9 }, Text("6"), "0 = none, 9 = smallest";
    "sendQueueLimit", built, Kind::Size { min: 1, max: QUEUE_BYTES }, Text("8M"), "high-water mark of a connection's unsent bytes";
    "receiveWindow", built, Kind::Size { min: 1, max: QUEUE_BYTES }, Text("1M"), "high-water mark of a connection's input that waits for a worker or in the inbox";
    "keepAlive", built, Kind::Duration { zero: true, min_ms: 1_000, max_ms: KEEP_ALIVE_MS }, Text("60s"), "idle time before TCP keep-alive probes (every 15 s, 4 of them); 0 = off";
    "dscp", built, Kind::Integer { min: 0, max: 63 }, Text("0"), "differentiated services code point of the packets, such as 46 for expedited forwarding; 0 = best effort";
    "requireCloseNotify", built, Kind::Flag, Text("yes"), "TLS: a peer that ends its stream without close_notify ends with `tls_truncated`; `no`: that is the end of its stream, except inside a TLS record";
    "forwardUnknown", planned, Kind::Text("host:port or unix:path"), Nothing, "gets connections with an unknown first byte if no handler is registered";
    "forwardProxyProtocol", planned, Kind::Choice(&["off", "v2"]), Text("off"), "the client's address goes along with a forwarded connection";
    "relay", planned, Kind::Choice(&["off", "on", "open"]), Text("off"), "pairs connections of the relay protocol";
    "relayTicketKeys", planned, Kind::Path, Nothing, "key file of the relay tickets";
    "relayWait", planned, TIME, Text("60s"), "how long one side waits for the other";
    "relayIdleTimeout", planned, TIME_OR_OFF, Text("10m"), "of a paired relay or a forward";
    "relayHalfCloseTimeout", planned, TIME_OR_OFF, Text("30s"), "time that a half-closed relay or forward may live";
    "agentCheck", planned, Kind::Text("address:port or unix:path"), Nothing, "where HAProxy's agent-check is answered; needs `loadBalance`";
};

const TLS: &[Key] = keys! {
    "certificate", built, Kind::Path, Nothing, "PEM chain, the server's own certificate first";
    "privateKey", built, Kind::Path, Nothing, "PEM key of the certificate";
    "keyPermissions", built, Kind::Choice(&["strict", "warn"]), Text("strict"), "`strict` refuses a private key that every user can read or change; `warn` takes it with a warning, see below";
    "keyPassword", planned, Kind::Secret, Nothing, "password of an encrypted private key";
    "keyPasswordFile", planned, Kind::Path, Nothing, "file that holds it";
    "keyPasswordEnv", planned, TEXT, Nothing, "environment variable that holds it";
    "keyStore", planned, Kind::Path, Nothing, "PKCS#12 or Java keystore";
    "keyStorePassword", planned, Kind::Secret, Nothing, "password of the keystore";
    "keyStorePasswordFile", planned, Kind::Path, Nothing, "file that holds it";
    "keyStorePasswordEnv", planned, TEXT, Nothing, "environment variable that holds it";
    "keyAlias", planned, TEXT, Nothing, "the entry, if the keystore holds several";
    "certificate.NAME", planned, Kind::Path, Nothing, "a further identity, chosen by SNI";
    "privateKey.NAME", planned, Kind::Path, Nothing, "its key";
    "keyPassword.NAME", planned, Kind::Secret, Nothing, "its password";
    "keyPasswordFile.NAME", planned, Kind::Path, Nothing, "file that holds it";
    "keyPasswordEnv.NAME", planned, TEXT, Nothing, "environment variable that holds it";
    "keyStore.NAME", planned, Kind::Path, Nothing, "a further keystore";
    "keyStorePassword.NAME", planned, Kind::Secret, Nothing, "its password";
    "keyStorePasswordFile.NAME", planned, Kind::Path, Nothing, "file that holds it";
    "keyStorePasswordEnv.NAME", planned, TEXT, Nothing, "environment variable that holds it";
    "keyAlias.NAME", planned, TEXT, Nothing, "its entry";
    "clientAuth", planned, Kind::Choice(&["none", "want", "need"]), Text("none"), "client certificates";
    "trustStore", planned, Kind::Path, Nothing, "PEM file or keystore with the CAs for client certificates";
    "crl", planned, Kind::List, Nothing, "revocation lists for client certificates";
    "minVersion", built, VERSION, Text("1.2"), "oldest TLS version; nothing older than 1.2 exists here";
    "maxVersion", built, VERSION, Text("1.3"), "newest TLS version";
    "cipherSuites", built, Kind::List, Nothing, "IANA names; without it the library's own list";
    "groups", built, Kind::List, Nothing, "IANA names of key exchange groups; without it the library's own list";
    "alpn", built, Kind::Alpn, Nothing, "application protocols, most wanted first; clients without ALPN go on without";
    "alpnMismatch", built, Kind::Choice(&["refuse", "continue"]), Text("refuse"), "a client whose ALPN list has nothing in common with `alpn`: `refuse` ends the handshake with alert 120 (no_application_protocol), `continue` goes on without ALPN";
    "sessionTickets", planned, Kind::Flag, Text("off"), "resumption";
    "ticketKeyFile", planned, Kind::Path, Nothing, "the shared key file of a cluster";
    "ticketRotation", planned, TIME, Text("1h"), "a new ticket key after this time";
    "ticketLifetime", planned, TIME, Text("12h"), "how long a ticket is taken";
    "strictSni", planned, Kind::Flag, Text("off"), "a ClientHello without a known name is refused";
    "reload", planned, Kind::Flag, Text("off"), "watches the files and swaps certificates without closing anything";
    "selfSigned", built, Kind::Names, Text("off"), "makes an identity for these names, for trying things out";
    "acmeDirectory", planned, TEXT, Nothing, "URL of the certificate authority";
    "acmeEmail", planned, TEXT, Nothing, "contact for the certificate authority";
    "acmeStore", planned, Kind::Path, Nothing, "folder for accounts and certificates";
    "acmeCa", planned, Kind::Path, Nothing, "CA that the directory's own certificate is checked against";
    "acmeEabKeyId", planned, TEXT, Nothing, "external account binding: key id";
    "acmeEabKey", planned, Kind::Secret, Nothing, "external account binding: key";
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn names_are_unique_in_any_case_and_lead_back() {
        for section in SectionType::ALL {
            let mut seen = HashSet::new();
            for key in section.keys() {
                assert!(seen.insert(key.name.to_ascii_lowercase()), "{}", key.name);
                let found = section.key(&key.name.to_ascii_uppercase());
                assert_eq!(found.map(|found| found.name), Some(key.name));
            }
        }
    }

    #[test]
    fn every_default_is_a_valid_value() {
        for key in SectionType::ALL.iter().flat_map(|section| section.keys()) {
            match key.default {
                Text(text) => assert!(key.kind.parse(text).is_ok(), "{}", key.name),
                SameAs(other) => assert!(SectionType::Port.key(other).is_some()),
                Required | Nothing | Cores | HalfCores => {}
            }
        }
    }

    #[test]
    fn a_name_behind_a_dot_is_a_further_identity() {
        let name = |text| SectionType::Tls.key(text).map(|key| key.name);
        assert_eq!(name("Certificate.www.example"), Some("certificate.NAME"));
        assert_eq!(name("certificate."), None);
        assert_eq!(name("alpn.x"), None);
        assert_eq!(name("certificate"), Some("certificate"));
    }

    #[test]
    fn the_nearest_known_name_is_found_by_edit_distance() {
        assert_eq!(SectionType::Port.nearest("prot"), "port");
        assert_eq!(SectionType::Port.nearest("READTIMEOUTS"), "readTimeout");
        assert_eq!(SectionType::Tls.nearest("cipherSuits"), "cipherSuites");
        assert_eq!(edit_distance("kitten", "sitting"), 3);
        assert_eq!((edit_distance("", "abc"), edit_distance("abc", "")), (3, 3));
    }
}
