//! Every message of the configuration, with its place, cause and remedy.

use super::{ALL, SAID};
use crate::config::{Config, source};
use std::path::Path;
use std::time::Duration;

/// What is told about a text: the error of the load, or all findings.
fn told(text: &[u8]) -> Vec<String> {
    let mut config = Config::new();
    if let Err(error) = config.load_string(text, "a.ini") {
        return vec![error.message];
    }
    let (_, findings) = config.resolved();
    let no_port = config.finding_if_no_port();
    findings.iter().chain(&no_port).map(|finding| finding.to_string()).collect()
}

/// The texts, and what is told about them.
const TEXTS: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "a.ini: error: there is no section at all; valid: [Port] with port = a number from 0 to 65535",
        ],
    ),
    (
        "[Host]\n[Profile]\n",
        &[
            "a.ini: error: there is no port section, only [Host], [Profile]; valid: [Port] with port = a number from 0 to 65535",
        ],
    ),
    ("a\n\0", &["a.ini:2: error: a NUL byte stands here; save the file as UTF-8 text"]),
    (
        "[Port]\n",
        &[
            "a.ini:1: [Port] port: error: the section has no port; valid: port = a number from 0 to 65535",
        ],
    ),
    (
        "[Port]\nport=1\nbindAddress=0.0.0.0, 127.0.0.1\n",
        &[
            "a.ini:3: [Port] bindAddress: error: '0.0.0.0' and '127.0.0.1' exclude each other; valid: addresses that do not include one another",
        ],
    ),
    (
        "[Port]\nport=1\n[Port]\nport=1\n",
        &[
            "a.ini:4: [Port] port: warning: [Port], which stands in a.ini:2, excludes port 1 of all addresses; both cannot listen at once: start only one of them, or set another port or other addresses",
        ],
    ),
    (
        "[Port]\nport=1\n[Por\n",
        &[
            "a.ini:3: error: the header '[Por' does not end with its ']'; valid: [Name] alone on the line; comments need a line of their own",
        ],
    ),
    (
        "[Port] ; main\nport=1\n",
        &[
            "a.ini:1: error: the header '[Port] ; main' does not end with its ']'; valid: [Name] alone on the line; comments need a line of their own",
            "a.ini: error: there is no section at all; valid: [Port] with port = a number from 0 to 65535",
        ],
    ),
    (
        "[Port]\nport=1\n[Port.]\n",
        &["a.ini:3: error: the header '[Port.]' has no name after the dot; valid: [Port.name]"],
    ),
    (
        "[Port]\nport=1\n[Host]\n\u{feff}[Port.b]\nport=2\n",
        &[
            "a.ini:4: error: a header stands after U+FEFF, so it begins no section; delete this character; valid: [Name] alone on the line",
        ],
    ),
    (
        "[Port]\nport=1\n; a\u{2028}[Port.b]\n",
        &[
            "a.ini:3: error: a header stands after U+2028, so it begins no section; delete this character; valid: [Name] alone on the line",
        ],
    ),
    (
        "[Port]\nport=1\n; a\u{2028}readTimeout=1s\n",
        &[
            "a.ini:3: [Port]: error: U+2028 stands inside the comment; editors show it as the end of a line; valid: lines that end with LF or CRLF",
        ],
    ),
    (
        "[Port]\nport=1\n［Port.b］\n",
        &[
            "a.ini:3: error: a header begins with U+FF3B, so it begins no section; valid: [Name] with the ASCII character '['",
        ],
    ),
    (
        "[Port]\nport=1\nreadTimeout: 5s\n",
        &[
            "a.ini:3: [Port]: error: the line that starts with 'readTimeout' is no header, key or comment; valid: key = value; a value never goes on in the next line",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\nselfSigned=off\nkeyPassword =\n  hunter2\n",
        &[
            "a.ini:4: [T]: error: the section has no identity; valid: certificate and privateKey, or selfSigned",
            "a.ini:6: [T] keyPassword: error: the value is missing; a template variable may be empty; valid: a password or key, or no keyPassword for the default",
            "a.ini:7: [T]: error: the line is no header, key or comment; it may be a secret and is not shown; valid: key = value; a value never goes on in the next line",
        ],
    ),
    (
        "[Port]\nport=1\n!include other.ini\n",
        &[
            "a.ini:3: [Port]: error: the line that starts with '!include' is no header, key or comment; valid: key = value; a value never goes on in the next line",
        ],
    ),
    (
        "[Port]\nport=1\n-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n",
        &[
            "a.ini:3: [Port]: error: a PEM block stands here; none of it is shown; keys and certificates are given as the paths of files: save the block in a file",
        ],
    ),
    (
        "[Port]\nport=1\n; a\rb\n",
        &[
            "a.ini:3: [Port]: error: a carriage return stands inside the line; valid: lines that end with LF or CRLF",
        ],
    ),
    (
        "[Port.a]\nport=1\n[PORT.A]\nport=2\n",
        &[
            "a.ini:3: [PORT.A]: error: the port Port.A stands in a.ini:1 already; valid: another name, or [Port] without one",
        ],
    ),
    (
        "[Runtime]\n[Port]\nport=1\n[runtime]\n",
        &[
            "a.ini:4: [Runtime]: warning: the section stands in a.ini:1 already; both are taken as one; move the keys into one of them",
        ],
    ),
    (
        "[Prot]\nport=1\n",
        &[
            "a.ini:1: [Prot]: warning: a section of this name is not read, if a port is meant; valid: [Port], [Port.name] or [Port 1]",
            "a.ini: error: there is no port section, only [Prot]; valid: [Port] with port = a number from 0 to 65535",
        ],
    ),
    (
        "[P\u{43e}rt]\nport=1\n",
        &[
            "a.ini:1: [Pоrt]: warning: a section of this name is not read, if a port is meant; valid: [Port], [Port.name] or [Port 1]; its character U+043E is no ASCII letter: type the name again",
            "a.ini: error: there is no port section, only [Pоrt]; valid: [Port] with port = a number from 0 to 65535",
        ],
    ),
    (
        "[Runtim]\n[Port]\nport=1\n",
        &[
            "a.ini:1: [Runtim]: warning: a section of this name is not read, if Runtime is meant; valid: [Runtime]",
        ],
    ),
    (
        "[Port]\nport=1\n[TLS]\ncertificate=c\nprivateKey=k\n",
        &[
            "a.ini:4: [TLS] certificate: warning: only TLS sections have certificate, and no port names this section: it is not read; valid: sslSection = TLS in a port",
        ],
    ),
    (
        "[Port]\nport=1\n[]\nalpn=h2\n",
        &[
            "a.ini:4: alpn: warning: only TLS sections have alpn, and a section without a name cannot be named; valid: [TLS], and sslSection = TLS in a port",
        ],
    ),
    (
        "[Port]\nport=1\nport=2\n",
        &[
            "a.ini:3: [Port] port: warning: the key was set before, in a.ini:2; this one, the last, counts; delete the other",
        ],
    ),
    (
        "[Port]\nport=1\nredTimeout=1\n",
        &[
            "a.ini:3: [Port] redTimeout: warning: a port section has no such key; it is ignored; the nearest known key is 'readTimeout'",
        ],
    ),
    (
        "[Port]\np\u{43e}rt=1\nport=1\n",
        &[
            "a.ini:2: [Port] pоrt: warning: a port section has no such key; it is ignored; the nearest known key is 'port'; its character U+043E is no ASCII letter: type the name again",
        ],
    ),
    (
        "[Port]\nport=1\ncertificate=c\n",
        &[
            "a.ini:3: [Port] certificate: warning: a port section has no such key; it is ignored; it belongs to a TLS section",
        ],
    ),
    (
        "[Port]\nport=1\n[Runtime]\nport=1\n",
        &[
            "a.ini:4: [Runtime] port: warning: the Runtime section has no such key; it is ignored; it belongs to a port section",
        ],
    ),
    (
        "[Port]\nport=\n",
        &[
            "a.ini:2: [Port] port: error: the value is missing; a template variable may be empty; valid: a number from 0 to 65535",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=\nssl=required\n",
        &[
            "a.ini:3: [Port] sslSection: error: the value is missing; a template variable may be empty; valid: the name of a section, or no sslSection for the default",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\nselfSigned=\n",
        &[
            "a.ini:5: [T] selfSigned: error: the value is missing; a template variable may be empty; valid: names with commas, or off, or no selfSigned for the default",
        ],
    ),
    (
        "[Port]\nport=8443 ; x\n",
        &[
            "a.ini:2: [Port] port: error: '8443 ; x' is not a number that fits; valid: a number from 0 to 65535; comments need a line of their own: all after the = is the value",
        ],
    ),
    (
        "[Port]\nport=\"8443\"\n",
        &[
            "a.ini:2: [Port] port: error: '\"8443\"' is not a number that fits; valid: a number from 0 to 65535; quotes are part of the value: write it without them",
        ],
    ),
    (
        "[Port]\nport=${PORT}\n",
        &[
            "a.ini:2: [Port] port: error: '${PORT}' is not a number that fits; valid: a number from 0 to 65535; variables are not expanded: write the value itself",
        ],
    ),
    (
        "[Port]\nport=8443\u{a0}\n",
        &[
            "a.ini:2: [Port] port: error: '8443\\u{a0}' is not a number that fits; valid: a number from 0 to 65535; delete the invisible character U+00A0",
        ],
    ),
    (
        "[Port]\nport=65536\n",
        &["a.ini:2: [Port] port: error: '65536' is out of range; valid: a number from 0 to 65535"],
    ),
    (
        "[Port]\nport=1\nreadTimeout=30x\n",
        &[
            "a.ini:3: [Port] readTimeout: error: '30x' is not a duration that fits; valid: 0, or a duration from 1ms to 720h (units: ms, s, m, h)",
        ],
    ),
    (
        "[Port]\nport=1\nkeepAlive=60\n",
        &[
            "a.ini:3: [Port] keepAlive: error: '60' is out of range; valid: 0, or a duration from 1s to 9h (units: ms, s, m, h); a time without a unit is in milliseconds",
        ],
    ),
    (
        "[Port]\nport=1\nidleTimeout=30\n",
        &[
            "a.ini:3: [Port] idleTimeout: warning: without a unit, 30 is read as 30ms; write 30s for seconds, or 30ms",
        ],
    ),
    (
        "[Port]\nport=1\nmaxFrameSize=64X\n",
        &[
            "a.ini:3: [Port] maxFrameSize: error: '64X' is not a size that fits; valid: a size from 1 to 2147483647 (units: K, M, G)",
        ],
    ),
    (
        "[Port]\nport=1\nmaxHandshakes=many\n",
        &[
            "a.ini:3: [Port] maxHandshakes: error: 'many' is not a number that fits; valid: auto, or a number from 0 to 2147483647",
        ],
    ),
    (
        "[Port]\nport=1\nssl=perhaps\n",
        &["a.ini:3: [Port] ssl: error: 'perhaps' is none of the choices; valid: required, auto"],
    ),
    (
        "[Port]\nport=1\nbindAddress=*\n",
        &[
            "a.ini:3: [Port] bindAddress: error: '*' has the item *; to listen on all addresses leave bindAddress out; valid: addresses or host names without a port, with commas",
        ],
    ),
    (
        "[Port]\nport=1\nbindAddress=::1,\n",
        &[
            "a.ini:3: [Port] bindAddress: error: '::1,' has an empty item; valid: addresses or host names without a port, with commas",
        ],
    ),
    (
        "[Port]\nport=1\nloadBalance=maybe\n",
        &[
            "a.ini:3: [Port] loadBalance: error: loadBalance = 'maybe' is not available in this version; valid: no, or no such key",
        ],
    ),
    (
        "[Port]\nport=1\nproxyProtocol=required\n",
        &[
            "a.ini:3: [Port] proxyProtocol: error: proxyProtocol = 'required' is not available in this version; valid: off, or no such key",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=c\nprivateKey=k\nkeyPassword=hunter2\n",
        &[
            "a.ini:7: [T] keyPassword: error: keyPassword is not available in this version; valid: no such key",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=c\nprivateKey=k\nkeyPasswordFile=hunter2\n",
        &[
            "a.ini:7: [T] keyPasswordFile: error: keyPasswordFile is not available in this version; valid: no such key",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=c\nprivateKey=k\nminVersion=1.1\n",
        &[
            "a.ini:7: [T] minVersion: error: '1.1' does not exist here: it is not secure; valid: 1.2, 1.3",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=c\nprivateKey=k\nminVersion=1.4\n",
        &["a.ini:7: [T] minVersion: error: '1.4' is no TLS version; valid: 1.2, 1.3"],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=c\nprivateKey=k\nalpn=aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\n",
        &[
            "a.ini:7: [T] alpn: error: 'aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa…' has a name longer than 255 bytes; valid: protocol names of 1 to 255 bytes, with commas",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=c\nprivateKey=k\nalpn=h2 ; web\n",
        &[
            "a.ini:7: [T] alpn: warning: 'h2 ; web' is not registered at IANA; protocol names have commas between them, no blanks and no quotes; comments need a line of their own: all after the = is the value",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=c\nprivateKey=k\nalpn=H2, http1.1, \"h2\"\n",
        &[
            "a.ini:7: [T] alpn: warning: 'H2' is not registered at IANA; the nearest registered name is 'h2'; names are compared byte by byte",
            "a.ini:7: [T] alpn: warning: 'http1.1' is not registered at IANA; the nearest registered name is 'http/1.1'; names are compared byte by byte",
            "a.ini:7: [T] alpn: warning: '\"h2\"' is not registered at IANA; protocol names have commas between them, no blanks and no quotes; quotes are part of the value: write it without them",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\nselfSigned=yes\n",
        &[
            "a.ini:5: [T] selfSigned: error: 'yes' does not say for which names; valid: names with commas, or off",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=c ; the chain\nprivateKey=~/k\n",
        &[
            "a.ini:5: [T] certificate: warning: a comment seems to stand after the value; comments need a line of their own: all after the = is the value",
            "a.ini:6: [T] privateKey: warning: the value begins with '~'; '~' is not expanded: write the whole path",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=file:///c\nprivateKey=$HOME/k\n",
        &[
            "a.ini:5: [T] certificate: warning: the value is a URL; write the path without file://",
            "a.ini:6: [T] privateKey: warning: the value names a variable; variables are not expanded: write the value itself",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=c\nprivateKey=-----BEGIN PRIVATE KEY-----\nMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n-----END PRIVATE KEY-----\n",
        &[
            "a.ini:6: [T] privateKey: error: the value is a key or certificate, or looks like one; it is not shown; valid: the path of a file that holds it",
        ],
    ),
    (
        "[Port]\nport=1\ncompressThreshold=2M\n",
        &[
            "a.ini:3: [Port] compressThreshold: warning: compressThreshold 2M is above compressLimit 1M: nothing is compressed; valid: compressThreshold up to compressLimit, or compression = off",
        ],
    ),
    (
        "[Port]\nport=1\nwriteTimeout=30m\n",
        &[
            "a.ini:3: [Port] writeTimeout: warning: closeTimeout, 5m by default, ends a close before writeTimeout 30m; valid: a closeTimeout in the file, of any length",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=tsl\n[TLS]\n",
        &[
            "a.ini:3: [Port] sslSection: error: there is no section 'tsl'; the sections there are: [TLS]",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T ; tls\n",
        &[
            "a.ini:3: [Port] sslSection: error: there is no section 'T ; tls'; there is no section but ports and Runtime; comments need a line of their own: all after the = is the value",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=Port\n",
        &[
            "a.ini:3: [Port] sslSection: error: [Port] is no TLS section; valid: the name of a section that is neither a port nor Runtime",
        ],
    ),
    (
        "[Port]\nport=1\nssl=auto\n",
        &[
            "a.ini:3: [Port] ssl: error: ssl = auto needs an sslSection; valid: sslSection = the name of a TLS section, or no ssl",
        ],
    ),
    (
        "[Port]\nport=1\nssl=required\n",
        &[
            "a.ini:3: [Port] ssl: warning: without an sslSection the port is plain; valid: sslSection = the name of a TLS section, or no ssl",
        ],
    ),
    (
        "[Port]\nport=1\nrequireCloseNotify=no\n",
        &[
            "a.ini:3: [Port] requireCloseNotify: warning: without an sslSection the port is plain, and requireCloseNotify does nothing; valid: sslSection = the name of a TLS section, or no requireCloseNotify",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=c\nprivateKey=k\nalpnMismatch=continue\n",
        &[
            "a.ini:7: [T] alpnMismatch: warning: without alpn no protocol is agreed, and alpnMismatch does nothing; valid: alpn = protocol names with commas, or no alpnMismatch",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\nselfSigned=localhost\nkeyPermissions=warn\n",
        &[
            "a.ini:5: [T] selfSigned: warning: selfSigned is for trying things out: clients cannot verify it; for real use: certificate and privateKey",
            "a.ini:6: [T] keyPermissions: warning: with selfSigned no key is read, and keyPermissions does nothing; valid: certificate and privateKey, or no keyPermissions",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\nselfSigned=localhost\n",
        &[
            "a.ini:5: [T] selfSigned: warning: selfSigned is for trying things out: clients cannot verify it; for real use: certificate and privateKey",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=c\nprivateKey=k\nselfSigned=localhost\n",
        &[
            "a.ini:7: [T] selfSigned: error: selfSigned excludes certificate and privateKey; valid: certificate and privateKey, or selfSigned",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\n",
        &[
            "a.ini:4: [T]: error: the section has no identity; valid: certificate and privateKey, or selfSigned",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=c\n",
        &[
            "a.ini:5: [T] certificate: error: certificate needs its privateKey; valid: certificate and privateKey, or selfSigned",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\nprivateKey=k\n",
        &[
            "a.ini:5: [T] privateKey: error: privateKey needs its certificate; valid: certificate and privateKey, or selfSigned",
        ],
    ),
    (
        "[Port]\nport=1\nsslSection=T\n[T]\ncertificate=c\nprivateKey=k\nminVersion=1.3\nmaxVersion=1.2\n",
        &[
            "a.ini:7: [T] minVersion: error: minVersion 1.3 is above maxVersion 1.2; valid: minVersion up to maxVersion",
        ],
    ),
];

/// Calls, and the errors they give.
fn calls() -> Vec<(String, &'static str)> {
    let mut config = Config::new();
    config.load_string(b"[Port.a]\nport=1\n", "a.ini").expect("it is text");
    let long = "v".repeat(70_000);
    let mut set = |section: &str, key: &str, value: &str| {
        config.set(section, key, value).expect_err("it is refused").message
    };
    let mut messages = vec![
        set("Port.b", "port", "1"),
        set("", "port", "1"),
        set("T", "", "1"),
        set("T", "a", "1\n2"),
        set("T", "a", &long),
    ];
    let mut add = |name: &str| config.add_port(name).expect_err("it is refused").message;
    messages.extend([add("A"), add("Port.")]);
    let load = |path: &str| Config::new().load_file(path).expect_err("it is refused").message;
    messages.extend([load("/no/such/file.ini"), load("/"), load("/dev/zero")]);
    let folder = std::env::current_dir().expect("there is one").display().to_string();
    messages.push(load("no/such/file.ini").replace(&folder, "/folder"));
    let (reader, _writer) = std::io::pipe().expect("there are descriptors");
    let path = format!("/dev/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&reader));
    let silent = source::read(Path::new(&path), Duration::ZERO).map(|_| ());
    messages.push(silent.map_err(|unread| unread.text.to_string()).expect_err("it is silent"));
    // Which no text brings about; see `values`.
    messages.push(super::passage(3).to_string());
    let expected = [
        "there is no port section [Port.b]; add it first with np_config_add_port (Java: ServerConfig.addPort)",
        "no section is named; valid: Runtime, a TLS section, or the canonical name of a port, which np_config_add_port adds first (Java: ServerConfig.addPort)",
        "the key is empty or holds '='; valid: the name of a key",
        "a value holds a line end or NUL; valid: a text of one line",
        "a value is longer than 65536 bytes; valid: a shorter one",
        "there is a section [Port.A] already; valid: another name, or an empty one for a further [Port]",
        "the name of the port section has nothing after the dot; valid: Port.name",
        "/no/such/file.ini: error: the configuration file cannot be read: No such file or directory (os error 2); valid: the path of a text file that this process may read",
        "/: error: the configuration file is a folder; valid: the path of a file in it",
        "/dev/zero: error: the configuration is larger than 8 MiB; check that the path is that of the configuration, or split it",
        "no/such/file.ini: error: the configuration file cannot be read: No such file or directory (os error 2); valid: the path of a text file that this process may read, from the working directory /folder on",
        "the pipe did not end within 0 s; valid: a program that writes all of it in this time, and closes it",
        "rust-ini read value 3 differently; report this defect",
    ];
    assert_eq!(messages.len(), expected.len());
    messages.into_iter().zip(expected).collect()
}

#[test]
fn every_message_has_its_place_cause_and_remedy() {
    for (text, expected) in TEXTS {
        assert_eq!(told(text.as_bytes()), *expected, "{text:?}");
    }
    for (bytes, expected) in [
        (&b"\xff\xfe[\0"[..], "a.ini:1: error: the file is UTF-16; save it as UTF-8"),
        (
            b"\xef\xbb\xbf\n\xfc",
            "a.ini:2: error: the byte order mark says UTF-8, but a byte here is not UTF-8; save the file as UTF-8",
        ),
    ] {
        assert_eq!(told(bytes), [expected]);
    }
    let long = told(format!("[Host]\nk={}\n[Port]\nport=1\n", "v".repeat(65_535)).as_bytes());
    assert_eq!(
        long,
        [
            "a.ini:2: error: the line is longer than 65536 bytes; valid: shorter lines; split what stands here, or move it into a file"
        ]
    );
    let items = vec!["a"; 257].join(", ");
    let long = told(format!("[Port]\nport=1\nbindAddress={items}\n").as_bytes());
    assert_eq!(
        long,
        [format!(
            "a.ini:3: [Port] bindAddress: error: '{}…' has too many items; valid: addresses or host names without a port, with commas; a list has at most 256 items",
            &items[..80]
        )]
    );
    let many = told("[a]\n".repeat(100_001).as_bytes());
    assert_eq!(
        many,
        [
            "a.ini:100001: error: the configuration has more than 100000 lines that are neither blank nor comments; check that the path is that of the configuration, or split it"
        ]
    );
    let mut many = told(format!("[Port]\nport=1\n{}", "x\n".repeat(1_001)).as_bytes());
    assert_eq!(
        many.pop().as_deref(),
        Some(
            "a.ini: error: more findings are left out: 1 errors, 0 warnings; mend those above first"
        )
    );
    for (message, expected) in calls() {
        assert_eq!(message, expected);
    }
    let said = SAID.take();
    let missing: Vec<_> = ALL.iter().filter(|name| !said.contains(*name)).collect();
    assert!(missing.is_empty(), "no test shows {missing:?}");
}

/// The words that follow a value, of the types of keys.
#[test]
fn every_fault_of_a_value_is_in_the_table() {
    let source = include_str!("../kind.rs");
    let (source, _) = source.split_once("#[cfg(test)]").expect("it has tests");
    let words = source.split('"').skip(1).step_by(2);
    let faults: Vec<_> = words
        .filter(|w| ["is ", "has ", "does "].iter().any(|start| w.starts_with(start)))
        .collect();
    // No key of this version is a flag.
    let faults: Vec<_> = faults.into_iter().filter(|fault| *fault != "is no boolean").collect();
    assert!(faults.len() > 8);
    for fault in faults {
        let told = TEXTS.iter().any(|(_, told)| told.iter().any(|line| line.contains(fault)));
        assert!(told, "no test shows {fault:?}");
    }
}
