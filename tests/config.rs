//! The INI file through the public API: every rule of the dialect, every key, every
//! message. Each test is named as the sentence of the manual that it holds.

use nativeport::config::keys::{DefaultValue, Key, SectionType};
use nativeport::config::{
    AccepterPriority, AlpnMismatch, CallbackThreads, Compression, Config, Finding, Kind, LogLevel,
    PortSettings, Settings, Severity, SslMode, TlsSettings, TlsVersion,
};
use nativeport::status::Status;
use std::path::{Path, PathBuf};

fn config(text: &[u8]) -> Config {
    let mut config = Config::new();
    config.load_string(text, "t.ini").expect("the test gives text");
    config
}

fn resolved(text: &str) -> (Settings, Vec<Finding>) {
    config(text.as_bytes()).resolve()
}

fn messages(text: &str) -> Vec<String> {
    let (_, findings) = resolved(text);
    findings.iter().map(Finding::to_string).collect()
}

/// The settings of a text without findings.
fn clean(text: &str) -> Settings {
    let (settings, findings) = resolved(text);
    assert!(findings.is_empty(), "{text:?}: {findings:?}");
    settings
}

/// The settings of a port with these further lines, which have no finding.
fn port(lines: &str) -> PortSettings {
    clean(&format!("[Port]\nport=1\n{lines}")).ports.remove(0)
}

/// The only message about a port with this line, which is line 3.
fn port_message(line: &str) -> String {
    only(&format!("[Port]\nport=1\n{line}\n"))
}

fn only(text: &str) -> String {
    let mut messages = messages(text);
    assert_eq!(messages.len(), 1, "{text:?}: {messages:?}");
    messages.remove(0)
}

const WITH_TLS: &str = "[Port]\nport=1\nsslSection=T\n[T]\n";

fn tls(lines: &str) -> TlsSettings {
    let identity = "certificate=c.pem\nprivateKey=k.pem\n";
    let settings = clean(&format!("{WITH_TLS}{identity}{lines}"));
    TlsSettings::clone(settings.ports[0].tls.as_ref().expect("the port has TLS"))
}

/// The only message about a TLS section with this line, which is line 7.
fn tls_message(line: &str) -> String {
    only(&format!("{WITH_TLS}certificate=c.pem\nprivateKey=k.pem\n{line}\n"))
}

// --- the dialect -----------------------------------------------------------------------

#[test]
fn sections_and_keys_are_case_insensitive() {
    let settings = clean(
        "[RUNTIME]\nIOTHREADS=3\n[PORT]\nPoRt=80\nSSLSECTION=tLS\n[Tls]\nCERTIFICATE=c\nprivatekey=k\n",
    );
    assert_eq!((settings.runtime.io_threads, settings.ports[0].port), (3, 80));
    assert!(settings.ports[0].tls.is_some());
}

#[test]
fn the_first_equals_sign_splits_and_blanks_around_both_are_trimmed() {
    let config = config(b"[Host]\n  a\t =  b = c : d  \n");
    assert_eq!(config.get("host", "a").as_deref(), Some("b = c : d"));
}

#[test]
fn comments_start_only_at_the_start_of_a_line() {
    let config = config(b"[Host]\n; a=1\n  # a=2\na = x ; y # z\n#b = 1\n");
    assert_eq!(config.get("Host", "a").as_deref(), Some("x ; y # z"));
    assert_eq!(config.get("Host", "b"), None);
}

#[test]
fn backslashes_and_quotes_are_plain_characters() {
    let config = config(b"[Host]\na=C:\\new\\\nb=\"x\"\nc='\nd=\\\\srv\\x\\\\\ne=1\n");
    let get = |key| config.get("Host", key).unwrap_or_default();
    assert_eq!(
        [get("a"), get("b"), get("c"), get("d"), get("e")],
        ["C:\\new\\", "\"x\"", "'", "\\\\srv\\x\\\\", "1"]
    );
}

#[test]
fn utf_8_with_or_without_bom_and_otherwise_iso_8859_1() {
    for text in [&b"\xef\xbb\xbf[Host]\na=\xc3\xbc"[..], b"[Host]\na=\xc3\xbc", b"[Host]\na=\xfc"] {
        assert_eq!(config(text).get("Host", "a").as_deref(), Some("ü"));
    }
}

#[test]
fn utf_16_and_nul_cannot_be_read_and_leave_the_configuration_as_it_was() {
    for text in [&b"\xff\xfe[\0"[..], b"\xfe\xff\0[", b"[Port]\0"] {
        let mut config = config(b"[Port]\nport=1\n");
        let error = config.load_string(text, "u.ini").expect_err("it is no text");
        assert_eq!(error.status, Status::ConfigFile);
        assert!(error.message.starts_with("u.ini:1: error: "), "{error}");
        assert_eq!(config.port_count(), 1);
    }
}

#[test]
fn crlf_is_a_line_end_and_a_lone_carriage_return_is_an_error() {
    assert_eq!(clean("[Port]\r\nport=80\r\n").ports[0].port, 80);
    let wrong =
        "error: a carriage return stands inside the line; valid: lines that end with LF or CRLF";
    assert_eq!(only("[Port]\nport=1\n; a\rb\n"), format!("t.ini:3: [Port]: {wrong}"));
    assert_eq!(only("; old\r[Port]\rport=1\r"), format!("t.ini:1: {wrong}"));
    assert_eq!(only("[Port]\rport=1\r"), format!("t.ini:1: {wrong}"));
    assert!(messages("[Host]\na\rb\n").is_empty());
}

#[test]
fn booleans_are_1_0_true_false_yes_no_on_off() {
    for off in ["0", "false", "no", "off", "FALSE", "Off"] {
        port(&format!("loadBalance={off}"));
    }
    for on in ["1", "true", "yes", "on"] {
        assert!(
            port_message(&format!("loadBalance={on}")).contains("is not available in this version")
        );
    }
}

#[test]
fn durations_are_milliseconds_unless_a_unit_is_given() {
    for (text, ms) in [
        ("1500", 1_500),
        ("1000", 1_000),
        ("30s", 30_000),
        ("5m", 300_000),
        ("5 min", 300_000),
        ("2h", 7_200_000),
    ] {
        assert_eq!(port(&format!("readTimeout={text}")).read_timeout_ms, ms, "{text}");
    }
    assert_eq!(
        port_message("readTimeout=30x"),
        "t.ini:3: [Port] readTimeout: error: '30x' is not a duration that fits; \
         valid: 0, or a duration from 1ms to 720h (units: ms, s, m, h)"
    );
}

#[test]
fn sizes_are_bytes_unless_a_unit_is_given() {
    for (text, bytes) in
        [("1500", 1_500), ("64K", 65_536), ("64KB", 65_536), ("1MiB", 1 << 20), ("1g", 1 << 30)]
    {
        assert_eq!(port(&format!("maxFrameSize={text}")).max_frame_size_bytes, bytes, "{text}");
    }
    assert_eq!(
        port_message("maxFrameSize=64X"),
        "t.ini:3: [Port] maxFrameSize: error: '64X' is not a size that fits; \
         valid: a size from 1 to 2147483647 (units: K, M, G)"
    );
}

#[test]
fn lists_are_comma_separated_and_have_no_empty_item() {
    assert_eq!(
        port("bindAddress = ::1, localhost ,127.0.0.1").bind_addresses,
        ["::1", "localhost", "127.0.0.1"]
    );
    assert!(
        port_message("bindAddress = ::1,,::2")
            .contains("error: '::1,,::2' has an empty item; valid: addresses")
    );
}

#[test]
fn relative_paths_start_at_the_folder_of_the_ini_file() {
    let folder = std::env::temp_dir().join(format!("nativeport-config-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("the temporary folder can be written");
    let file = folder.join("server.ini");
    let text = format!("{WITH_TLS}certificate=tls/c.pem\nprivateKey=/etc/k.pem\n");
    std::fs::write(&file, text).expect("the temporary folder can be written");
    let mut config = Config::new();
    config.load_file(&file).expect("the file was just written");
    std::fs::remove_dir_all(&folder).expect("the folder is ours");
    let (settings, findings) = config.resolve();
    assert!(findings.is_empty(), "{findings:?}");
    let tls = settings.ports[0].tls.as_ref().expect("the port has TLS");
    assert_eq!(tls.certificate.as_deref(), Some(&*folder.join("tls/c.pem")));
    let origin = tls.places.of("certificate");
    assert_eq!((origin.file.as_str(), origin.line), (file.display().to_string().as_str(), 5));
    assert_eq!(tls.private_key.as_deref(), Some(Path::new("/etc/k.pem")));
}

#[test]
fn relative_paths_in_a_string_start_at_the_working_folder_of_the_call() {
    let folder = std::env::current_dir().expect("there is one");
    assert_eq!(tls("").certificate, Some(folder.join("c.pem")));
    let mut config = config(WITH_TLS.as_bytes());
    config.set("T", "certificate", "c.pem").expect("the section exists");
    config.set("T", "privateKey", "/etc/k.pem").expect("the section exists");
    let settings = config.resolve().0;
    let tls = settings.ports[0].tls.as_ref().expect("the port has TLS");
    assert_eq!(tls.certificate, Some(folder.join("c.pem")));
    assert_eq!(tls.private_key, Some(PathBuf::from("/etc/k.pem")));
}

#[test]
fn of_a_duplicate_key_the_last_one_wins_with_a_warning() {
    let (settings, findings) = resolved("[Port]\nport=bad\nPORT=2\n");
    assert_eq!(settings.ports[0].port, 2);
    assert_eq!(
        findings[0].to_string(),
        "t.ini:3: [Port] PORT: warning: the key was set before, in t.ini:2; this one, the last, counts; delete the other"
    );
    assert_eq!(findings.len(), 1);
}

#[test]
fn each_repetition_of_a_key_names_the_one_before_it() {
    let (_, findings) = resolved("[Port]\nport=1\nport=2\nreadTimeout=1s\nport=3\n");
    let places: Vec<_> = findings.iter().map(|finding| (finding.line, &finding.message)).collect();
    let before = |line: u32| format!("the key was set before, in t.ini:{line}");
    assert_eq!(places, [(3, &before(2)), (5, &before(3))]);
}

#[test]
fn a_finding_holds_what_was_found_unless_that_may_be_a_secret() {
    let found = |text: &str| {
        let (_, mut findings) = resolved(text);
        assert_eq!(findings.len(), 1, "{text}: {findings:?}");
        findings.remove(0).found
    };
    assert_eq!(found("[Port]\nport=seventy\n"), "seventy");
    assert_eq!(found("[Port]\nport=1\nssl=perhaps\n"), "perhaps");
    // As the message shows it.
    assert_eq!(found("[Port]\nport=1\nssl=a\u{1b}b\n"), "a\\u{1b}b");
    let long = found(&format!("[Port]\nport=1\nssl={}\n", "s".repeat(1_000)));
    assert_eq!(long, format!("{}…", "s".repeat(80)));
    assert_eq!(found("[Port]\nport=1\nssl=http://a:hunter2@b\n"), "http://…@b");
    assert_eq!(found("[Port]\nport=1\nproxyProtocol=required\n"), "required");
    // A password may stand there: under a key that was meant for one, or twice.
    assert_eq!(found("[Port]\nport=1\nport=2\n"), "port");
    assert_eq!(found("[Port]\nport=1\nkeyPasswrod=hunter2\n"), "keyPasswrod");
    let secret = "certificate=c.pem\nprivateKey=k.pem\nkeyPassword=hunter2\n";
    assert_eq!(found(&format!("{WITH_TLS}{secret}")), "");
}

#[test]
fn an_unknown_key_warns_with_the_nearest_known_name() {
    assert_eq!(
        port_message("redTimeout=1"),
        "t.ini:3: [Port] redTimeout: warning: a port section has no such key; it is ignored; \
         the nearest known key is 'readTimeout'"
    );
}

#[test]
fn a_key_of_another_type_of_section_warns_where_it_belongs() {
    assert!(port_message("certificate=x").ends_with("it is ignored; it belongs to a TLS section"));
    assert!(port_message("ioThreads=1").ends_with("it belongs to the Runtime section"));
    assert!(tls_message("port=1").ends_with("it belongs to a port section"));
}

#[test]
fn a_file_that_does_not_exist_cannot_be_read() {
    let error = Config::new().load_file("/no/such/file.ini").expect_err("it does not exist");
    assert_eq!(error.status, Status::ConfigFile);
    assert_ne!(error.os_error, 0);
    assert!(
        error
            .message
            .starts_with("/no/such/file.ini: error: the configuration file cannot be read: ")
    );
}

// --- sections --------------------------------------------------------------------------

#[test]
fn ports_have_canonical_names_and_stand_in_file_order() {
    let config =
        config(b"[Port]\n[Port.web]\n[Port 2]\n[Runtime]\n[PORT]\n[Port1]\n[Portal]\n[Port]\n");
    assert_eq!(config.port_names(), ["Port", "Port.web", "Port.2", "Port.#2", "Port.1", "Port.#3"]);
    assert_eq!(config.port_count(), 6);
}

#[test]
fn programs_show_a_section_as_it_is_written_in_the_file() {
    let settings = clean("[pOrt 1]\nport=1\n");
    assert_eq!(
        (settings.ports[0].name.as_str(), settings.ports[0].written.as_str()),
        ("Port.1", "pOrt 1")
    );
    let places = &settings.ports[0].places;
    assert_eq!(["port", "bindAddress"].map(|key| places.of(key).line), [2, 1]);
    assert!(only("[pOrt 1]\nport=x\n").starts_with("t.ini:2: [pOrt 1] port: error: "));
}

/// Container platforms make such names; logs and metrics tell ports by them.
#[test]
fn the_name_of_a_section_is_whole_also_if_it_looks_random() {
    let name = "Port.9f86d081884c7d659a2feaa0c55ad015";
    let tls = "tls-kZ8aB3xYwPq7Lm2Tr5VvN1";
    let text = format!("[{name}]\nport=1\nsslSection={tls}\n[{tls}]\n[{name}]\nport=x\n");
    let config = config(text.as_bytes());
    assert_eq!(config.port_written_names(), [name]);
    let found: Vec<_> = config.resolve().1.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 3, "{found:?}");
    assert!(found[0].starts_with(&format!("t.ini:4: [{tls}]: error: ")), "{}", found[0]);
    assert!(found[1].contains(&format!("[{name}]: error: the port {name} stands")), "{}", found[1]);
    assert!(found[2].starts_with(&format!("t.ini:6: [{name}] port: ")), "{}", found[2]);
    // Unless it is the text of a key.
    let config = self::config(b"[Port.-----BEGIN PRIVATE KEY-----MIIE]\nport=1\n");
    assert_eq!(config.port_written_names(), ["…"]);
}

#[test]
fn words_for_what_the_program_made_are_those_of_the_program() {
    let mut config = Config::new();
    config.add_port("a").expect("there is none");
    config.set("Runtime", "ioThreads", "1").expect("one line");
    config.load_string(b"[Port.a]\nport=1\n[Runtime]\nlogLevel=info\n", "t.ini").expect("text");
    let found: Vec<_> = config.resolve().1.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("error: the port Port.a was set by the program already;"),
        "{found:?}"
    );
}

#[test]
fn the_same_canonical_port_name_twice_is_an_error() {
    for second in ["Port1", "Port 1", "PORT.1"] {
        assert_eq!(
            only(&format!("[Port.1]\nport=1\n[{second}]\nport=2\n")),
            format!(
                "t.ini:3: [{second}]: error: the port Port.1 stands in t.ini:1 already; valid: another name, or [Port] without one"
            )
        );
    }
}

#[test]
fn other_repeated_sections_are_merged_with_a_warning() {
    let (settings, findings) =
        resolved("[Runtime]\nioThreads=2\n[Port]\nport=1\n[runtime]\nhandshakeThreads=3\n");
    assert_eq!((settings.runtime.io_threads, settings.runtime.handshake_threads), (2, 3));
    assert_eq!(
        findings[0].to_string(),
        "t.ini:5: [Runtime]: warning: the section stands in t.ini:1 already; both are taken as one; move the keys into one of them"
    );
    assert_eq!(findings.len(), 1);
    assert!(messages("[Host]\n[Host]\n").is_empty());
}

#[test]
fn a_section_that_is_not_ours_is_ignored_silently_junk_included() {
    assert!(
        messages("a = 1\njunk\n[Portal]\nport = x\njunk\n[Host]\nioThreads = -1\n = 2\n")
            .is_empty()
    );
}

#[test]
fn a_line_that_is_no_header_key_or_comment_is_an_error_in_our_sections() {
    for section in ["[Port]\nport=1", "[Runtime]\nioThreads=1"] {
        let message = only(&format!("{section}\nqueueLength: 5\n"));
        assert!(message.starts_with("t.ini:3: ["), "{message}");
        assert!(message.ends_with(
            "error: the line that starts with 'queueLength' is no header, key or comment; \
             valid: key = value; a value never goes on in the next line"
        ));
    }
    assert!(
        tls_message("junk")
            .contains("[T]: error: the line is no header, key or comment; it may be")
    );
}

#[test]
fn an_unclosed_header_always_is_an_error() {
    for text in ["[Port\nport=1\n", "[Host]\n\n[Port ; x\n", "[Port] ; x\n"] {
        assert!(only(text).ends_with("does not end with its ']'; valid: [Name] alone on the line; comments need a line of their own"));
    }
    assert_eq!(
        only("[Host]\n[Por\n"),
        "t.ini:2: error: the header '[Por' does not end with its ']'; valid: [Name] alone on the line; comments need a line of their own"
    );
}

/// A host may write what it likes; a header of ours is lost in such brackets.
#[test]
fn a_header_with_wide_brackets_is_an_error_if_it_may_be_ours() {
    for name in ["Port", "Port.b", "port 1", "Runtime", "T"] {
        let text = format!("{WITH_TLS}certificate=c\nprivateKey=k\n[Host]\n［{name}］\nport=2\n");
        let message = only(&text);
        assert!(message.contains("error: a header begins with U+FF3B"), "{message}");
    }
    for line in ["［note］", "［note］ = 1", "［", "k = ［Port］"] {
        let text = format!("[Port]\nport=1\n[Host]\n{line}\nx=1\n");
        assert_eq!(messages(&text), [""; 0], "{line}");
        assert_eq!(config(text.as_bytes()).get("Host", "x").as_deref(), Some("1"), "{line}");
    }
    assert!(port_message("［note］").contains("error: a header begins with U+FF3B"));
}

#[test]
fn a_port_name_of_nothing_behind_the_dot_is_an_error() {
    assert_eq!(
        only("[Port.]\nport=1\n"),
        "t.ini:1: error: the header '[Port.]' has no name after the dot; valid: [Port.name]"
    );
}

#[test]
fn a_section_that_looks_like_one_that_is_read_is_doubtful() {
    let port = "a section of this name is not read, if a port is meant";
    for name in ["Prot", "Pot", "Ports", "Ports.1", "Port web", "Port-1"] {
        let found = only(&format!("[{name}]\n"));
        assert!(
            found.starts_with(&format!("t.ini:1: [{name}]: warning: {port}; valid: [Port]")),
            "{found}"
        );
    }
    assert_eq!(
        only("[Runtim]\nlogLevel=debug\n"),
        "t.ini:1: [Runtim]: warning: a section of this name is not read, if Runtime is meant; valid: [Runtime]"
    );
    // Those of a host, and what a port names.
    for text in ["[Portal]\n", "[Host]\n", "[Post]\n[Port]\nport=0\nsslSection=Post\n"] {
        let findings = config(text.as_bytes()).resolve().1;
        assert!(
            findings.iter().all(|finding| !finding.message.contains("not read")),
            "{findings:?}"
        );
    }
}

#[test]
fn a_file_without_any_port_is_an_error_for_a_program_that_serves_it() {
    let config = config(b"[Portal]\n");
    assert!(config.resolve().1.is_empty());
    let empty = self::config(b"").finding_if_no_port().expect("there is no port").to_string();
    assert!(empty.starts_with("t.ini: error: there is no section at all; valid: "), "{empty}");
    let finding = config.finding_if_no_port().expect("there is no port");
    assert_eq!(finding.severity, Severity::Error);
    assert_eq!(
        finding.to_string(),
        "t.ini: error: there is no port section, only [Portal]; valid: [Port] with port = a number from 0 to 65535"
    );
    assert_eq!(self::config(b"[Port]\n").finding_if_no_port(), None);
}

#[test]
fn all_findings_come_in_file_order() {
    let text = "[T]\nalpn=,\n[Port]\nport=x\nsslSection=T\n[Runtime]\nioThreads=0\n[Oh\n[Port]\n";
    let mut config = config(text.as_bytes());
    config.load_string(b"[Port]\nport=70000\n", "b.ini").expect("it is text");
    config.set("Port", "queueLength", "0").expect("the port exists");
    let (_, findings) = config.resolve();
    let places: Vec<_> = findings.iter().map(|f| (f.file.as_str(), f.line)).collect();
    assert_eq!(
        places,
        [
            ("t.ini", 1),
            ("t.ini", 2),
            ("t.ini", 4),
            ("t.ini", 7),
            ("t.ini", 8),
            ("t.ini", 9),
            ("b.ini", 2),
            ("", 0)
        ]
    );
    assert!(findings[7].to_string().starts_with("set by the program: [Port] queueLength: error: "));
}

// --- Runtime ---------------------------------------------------------------------------

#[test]
fn without_a_runtime_section_the_defaults_hold() {
    let cores = std::thread::available_parallelism().expect("the machine has cores").get();
    let runtime = clean("").runtime;
    assert_eq!((runtime.io_threads, runtime.handshake_threads), (cores, (cores / 2).max(1)));
    assert_eq!(runtime.memory_limit_bytes, 1 << 30);
    assert_eq!(
        (runtime.log_level, runtime.accepter_priority),
        (LogLevel::Info, AccepterPriority::Normal)
    );
    assert_eq!(
        (runtime.callback_threads, runtime.exit_flush_ms),
        (CallbackThreads::Platform, 2_000)
    );
}

#[test]
fn every_runtime_key_is_read() {
    let text = "[Runtime]\nioThreads=3\nhandshakeThreads=2\nworkerThreads=4\nmemoryLimit=2G\nlogLevel=debug\naccepterPriority=raised\ncallbackThreads=virtual\nexitFlush=3s\n";
    let runtime = clean(text).runtime;
    assert_eq!(
        (runtime.io_threads, runtime.handshake_threads, runtime.memory_limit_bytes),
        (3, 2, 2 << 30)
    );
    assert_eq!(runtime.worker_threads, 4);
    assert_eq!(
        (runtime.log_level, runtime.accepter_priority),
        (LogLevel::Debug, AccepterPriority::Raised)
    );
    assert_eq!(
        (runtime.callback_threads, runtime.exit_flush_ms),
        (CallbackThreads::Virtual, 3_000)
    );
}

#[test]
fn every_log_level_is_read_and_a_later_one_includes_the_earlier() {
    let levels = ["off", "error", "warn", "info", "debug"];
    let levels =
        levels.map(|word| (word, clean(&format!("[Runtime]\nlogLevel={word}")).runtime.log_level));
    assert!(levels.iter().all(|(word, level)| level.word() == *word));
    assert!(levels.windows(2).all(|pair| pair[0].1 < pair[1].1));
}

// --- ports -----------------------------------------------------------------------------

#[test]
fn a_port_without_further_keys_has_the_defaults_of_the_manual() {
    let p = port("");
    assert!(p.require_close_notify);
    assert_eq!((p.port, p.map_to_port, p.queue_length), (1, 1, 1024));
    assert!(p.bind_addresses.is_empty() && p.tls.is_none() && p.ssl == SslMode::Required);
    assert_eq!(
        (p.read_timeout_ms, p.handshake_timeout_ms, p.frame_timeout_ms),
        (30_000, 10_000, 30_000)
    );
    assert_eq!((p.idle_timeout_ms, p.write_timeout_ms, p.keep_alive_ms), (0, 60_000, 60_000));
    assert_eq!((p.close_timeout_ms, p.compress_limit_bytes), (300_000, 1 << 20));
    assert_eq!((p.accepter_threads, p.max_connections, p.max_connections_per_address), (1, 0, 0));
    assert_eq!((p.max_handshakes, p.max_handshakes_per_address), (None, 0));
    assert_eq!((p.max_frame_size_bytes, p.max_inflated_size_bytes), (64 << 20, 256 << 20));
    assert_eq!(
        (p.compression, p.compress_threshold_bytes, p.compress_level),
        (Compression::Auto, 512, 6)
    );
    assert_eq!((p.send_queue_limit_bytes, p.receive_window_bytes), (8 << 20, 1 << 20));
}

#[test]
fn a_key_that_makes_another_one_useless_warns_where_it_is_set() {
    let compress = |key: &str, threshold: &str, limit: &str| {
        format!(
            "t.ini:3: [Port] {key}: warning: compressThreshold {threshold} is above compressLimit {limit}: \
             nothing is compressed; valid: compressThreshold up to compressLimit, or compression = off"
        )
    };
    assert_eq!(port_message("compressThreshold=2M"), compress("compressThreshold", "2M", "1M"));
    assert_eq!(port_message("compressLimit=511"), compress("compressLimit", "512", "511"));
    assert_eq!(
        port_message("compressThreshold=3K\ncompressLimit=2K"),
        compress("compressThreshold", "3K", "2K")
    );
    assert_eq!(
        port_message("writeTimeout=30m"),
        "t.ini:3: [Port] writeTimeout: warning: closeTimeout, 5m by default, ends a close before writeTimeout 30m; \
         valid: a closeTimeout in the file, of any length"
    );
    for fine in [
        "compressThreshold=1M",
        "compressLimit=512",
        "compression=off\ncompressThreshold=2M",
        "compression=never\ncompressLimit=1",
        "writeTimeout=5m",
        "writeTimeout=30m\ncloseTimeout=10s",
    ] {
        port(fine);
    }
}

#[test]
fn every_built_port_key_is_read() {
    let p = port(
        "mapToPort=443\nbindAddress=::1\nqueueLength=7\nreadTimeout=1ms\nhandshakeTimeout=2ms\nframeTimeout=3ms\n\
         idleTimeout=4ms\nwriteTimeout=5ms\naccepterThreads=6\nmaxConnections=8\nmaxConnectionsPerAddress=9\n\
         maxHandshakes=10\nmaxHandshakesPerAddress=11\nmaxFrameSize=12\nmaxInflatedSize=13\ncompression=raw\n\
         compressThreshold=14\ncompressLevel=9\nsendQueueLimit=15\nreceiveWindow=17\nkeepAlive=16s\n\
         closeTimeout=18ms\ncompressLimit=19\ndscp=20\n",
    );
    // With a warning, as the port is plain.
    let (settings, _) = resolved("[Port]\nport=1\nrequireCloseNotify=no\n");
    assert!(!settings.ports[0].require_close_notify);
    assert_eq!((p.map_to_port, p.queue_length, p.bind_addresses.len()), (443, 7, 1));
    assert_eq!((p.read_timeout_ms, p.handshake_timeout_ms, p.frame_timeout_ms), (1, 2, 3));
    assert_eq!((p.idle_timeout_ms, p.write_timeout_ms, p.keep_alive_ms), (4, 5, 16_000));
    assert_eq!((p.close_timeout_ms, p.compress_limit_bytes, p.dscp), (18, 19, 20));
    assert_eq!((p.accepter_threads, p.max_connections, p.max_connections_per_address), (6, 8, 9));
    assert_eq!((p.max_handshakes, p.max_handshakes_per_address), (Some(10), 11));
    assert_eq!((p.max_frame_size_bytes, p.max_inflated_size_bytes), (12, 13));
    assert_eq!(
        (p.compression, p.compress_threshold_bytes, p.compress_level),
        (Compression::Raw, 14, 9)
    );
    assert_eq!((p.send_queue_limit_bytes, p.receive_window_bytes), (15, 17));
}

#[test]
fn port_is_required_and_0_is_any_free_one() {
    assert_eq!(
        only("\n[Port]\n"),
        "t.ini:2: [Port] port: error: the section has no port; valid: port = a number from 0 to 65535"
    );
    assert_eq!(
        only("[Port]\nport=\n"),
        "t.ini:2: [Port] port: error: the value is missing; a template variable may be empty; valid: a number from 0 to 65535"
    );
    let free = &clean("[Port]\nport=0\n").ports[0];
    assert_eq!((free.port, free.map_to_port), (0, 0));
}

#[test]
fn a_value_out_of_range_is_an_error_and_never_clamped() {
    assert_eq!(
        only("[Port]\nport=65536\n"),
        "t.ini:2: [Port] port: error: '65536' is out of range; valid: a number from 0 to 65535"
    );
    for line in [
        "accepterThreads=0",
        "accepterThreads=1025",
        "queueLength=0",
        "compressLevel=10",
        "maxFrameSize=0",
        "maxFrameSize=2G",
        "maxInflatedSize=2147483648",
        "handshakeTimeout=0",
        "writeTimeout=0",
        "closeTimeout=0",
        "compressLimit=0",
        "readTimeout=721h",
        "keepAlive=999",
        "keepAlive=10h",
        "sendQueueLimit=0",
        "maxConnections=2147483648",
        "mapToPort=65536",
    ] {
        assert!(port_message(line).contains("is out of range; valid: "), "{line}");
    }
    for line in [
        "queueLength=-1",
        "queueLength=1.5",
        "maxConnections=18446744073709551616",
        "compressLevel=six",
    ] {
        assert!(port_message(line).contains("is not a number that fits; valid: "), "{line}");
    }
    assert!(port_message("maxFrameSize=18446744073709551615K").contains("is not a size that fits"));
    for line in ["ioThreads=0", "handshakeThreads=0", "memoryLimit=63K"] {
        assert!(
            only(&format!("[Runtime]\n{line}\n")).contains("is out of range; valid: "),
            "{line}"
        );
    }
    assert_eq!(port("maxFrameSize=2147483647").max_frame_size_bytes, 2_147_483_647);
}

#[test]
fn zero_switches_off_what_can_be_switched_off() {
    let p = port(
        "readTimeout=0\nframeTimeout=0\nidleTimeout=0\nkeepAlive=0\nmaxHandshakes=0\nmaxHandshakesPerAddress=0\ncompressLevel=0\ncompressThreshold=0\n",
    );
    assert_eq!(
        (p.read_timeout_ms, p.frame_timeout_ms, p.idle_timeout_ms, p.keep_alive_ms),
        (0, 0, 0, 0)
    );
    assert_eq!((p.max_handshakes, p.max_handshakes_per_address), (Some(0), 0));
}

#[test]
fn bind_addresses_are_addresses_or_host_names_without_a_port() {
    let text = "0.0.0.0, [::1], fe80::1%eth0, www.example.org";
    assert_eq!(port(&format!("bindAddress={text}")).bind_addresses.len(), 4);
    for (text, wrong) in [
        ("a b", "has an item that is no address or host name"),
        ("*", "has the item *; to listen on all addresses leave bindAddress out"),
        ("localhost, 127.0.0.1:80", "has a port in bindAddress; write it with the key port"),
        (
            "fe80::1",
            "has a link-local address without its interface; write it as fe80::1%eth0 (`ip -6 address` shows both)",
        ),
    ] {
        assert_eq!(
            port_message(&format!("bindAddress={text}")),
            format!(
                "t.ini:3: [Port] bindAddress: error: '{text}' {wrong}; \
                 valid: addresses or host names without a port, with commas"
            )
        );
    }
}

/// Goes through the table, so that no value of a later key is forgotten.
#[test]
fn every_enumerated_value_is_read_in_any_case_and_others_are_errors() {
    for section in [SectionType::Runtime, SectionType::Port] {
        let header = if section == SectionType::Port { "[Port]\nport=1\n" } else { "[Runtime]\n" };
        for key in section.keys() {
            let Kind::Choice(words) = key.kind else {
                continue;
            };
            for word in words {
                let text = format!("{header}{}={}\n", key.name, word.to_uppercase());
                let (_, findings) = resolved(&text);
                let refused = findings.iter().any(|f| f.severity == Severity::Error);
                let off = key.default == DefaultValue::Text(word);
                let needs_tls = key.name == "ssl" && *word == "auto";
                assert_eq!(refused, !(key.built || off) || needs_tls, "{text}: {findings:?}");
            }
            let message = only(&format!("{header}{}=bogus\n", key.name));
            let wrong = if key.built {
                "is none of the choices; valid: "
            } else {
                "is not available in this version"
            };
            assert!(message.contains(wrong), "{message}");
        }
    }
    assert_eq!(
        port_message("compression=gzip"),
        "t.ini:3: [Port] compression: error: 'gzip' is none of the choices; valid: auto, zlib, raw, off, never"
    );
}

#[test]
fn every_key_takes_its_default_as_the_manual_writes_it() {
    for key in SectionType::Port.keys() {
        if let DefaultValue::Text(text) = key.default
            // Which a plain port warns of.
            && !matches!(key.name, "ssl" | "requireCloseNotify")
        {
            port(&format!("{}={text}", key.name));
        }
    }
    for key in SectionType::Tls.keys() {
        if let DefaultValue::Text(text) = key.default
            // Which needs alpn.
            && key.name != "alpnMismatch"
        {
            tls(&format!("{}={text}", key.name));
        }
    }
}

#[test]
fn a_key_that_is_not_built_yet_is_off_or_an_error_never_ignored() {
    let off = "loadBalance=no\nexternalSSL=no\nproxyProtocol=off\ntrustedProxies=none\ndomains=none\nagentCheck=off\n\
               forwardUnknown=none\nforwardProxyProtocol=off\nrelay=off\nrelayTicketKeys=none\nrelayWait=60000\n\
               relayIdleTimeout=600s\nrelayHalfCloseTimeout=30s\n";
    port(off);
    for line in [
        "loadBalance=yes",
        "externalSSL=tlv",
        "proxyProtocol=required",
        "trustedProxies=10.0.0.0/8",
        "domains=a.example",
        "agentCheck=127.0.0.1:9",
        "forwardUnknown=localhost:80",
        "forwardProxyProtocol=v2",
        "relay=on",
        "relay=open",
        "relayTicketKeys=f",
        "relayWait=1s",
        "relayIdleTimeout=1s",
        "relayHalfCloseTimeout=1s",
        "relay=bogus",
    ] {
        let message = port_message(line);
        assert!(
            message.contains(": error: ") && message.contains("is not available in this version"),
            "{message}"
        );
    }
    assert_eq!(
        port_message("RELAY = on"),
        "t.ini:3: [Port] RELAY: error: relay = 'on' is not available in this version; valid: off, or no such key"
    );
}

// --- TLS -------------------------------------------------------------------------------

#[test]
fn an_ssl_section_that_does_not_exist_is_an_error_that_lists_the_sections_there_are() {
    assert_eq!(
        only("[Port]\nport=1\nsslSection=tsl\n[TLS]\n[Host]\n[Runtime]\n"),
        "t.ini:3: [Port] sslSection: error: there is no section 'tsl'; the sections there are: [TLS], [Host]"
    );
    assert!(
        port_message("sslSection=T")
            .ends_with("there is no section 'T'; there is no section but ports and Runtime")
    );
}

#[test]
fn an_ssl_section_is_neither_a_port_nor_runtime() {
    for name in ["Port", "Runtime"] {
        let message = only(&format!("[Port]\nport=1\nsslSection={name}\n[Runtime]\n"));
        assert!(
            message.contains(&format!("[{name}] is no TLS section; valid: the name of a section")),
            "{message}"
        );
    }
}

#[test]
fn ssl_auto_without_an_ssl_section_is_an_error() {
    assert_eq!(
        port_message("ssl=auto"),
        "t.ini:3: [Port] ssl: error: ssl = auto needs an sslSection; valid: sslSection = the name of a TLS section, or no ssl"
    );
    assert!(
        port_message("ssl=required").contains("warning: without an sslSection the port is plain; ")
    );
    let text =
        format!("{WITH_TLS}certificate=c\nprivateKey=k\n[Port]\nport=2\nsslSection=T\nssl=auto\n");
    assert_eq!(clean(&text).ports[1].ssl, SslMode::Auto);
}

#[test]
fn every_built_tls_key_is_read() {
    let t = tls(
        "minVersion=1.3\nmaxVersion=1.3\ncipherSuites=A, B\ngroups=X25519MLKEM768\nalpn=h2,http/1.1\nselfSigned=off\nalpnMismatch=continue\n",
    );
    assert_eq!(t.alpn_mismatch, AlpnMismatch::Continue);
    assert_eq!(t.section, "T");
    assert_eq!(["keyStore", "minVersion", "groups"].map(|key| t.places.of(key).line), [4, 7, 10]);
    assert_eq!((t.min_version, t.max_version), (TlsVersion::Tls13, TlsVersion::Tls13));
    assert_eq!(
        (t.cipher_suites, t.groups, t.alpn),
        (
            vec!["A".to_owned(), "B".into()],
            vec!["X25519MLKEM768".to_owned()],
            vec!["h2".to_owned(), "http/1.1".into()]
        )
    );
    let t = tls("");
    assert_eq!(t.alpn_mismatch, AlpnMismatch::Refuse);
    assert_eq!((t.min_version, t.max_version), (TlsVersion::Tls12, TlsVersion::Tls13));
    assert!(
        t.cipher_suites.is_empty()
            && t.groups.is_empty()
            && t.alpn.is_empty()
            && t.self_signed.is_empty()
    );
    assert_eq!(t.places.of("privateKey").line, 6);
    assert_eq!(t.private_key, Some(std::env::current_dir().expect("there is one").join("k.pem")));
}

#[test]
fn a_tls_section_that_several_ports_name_is_checked_once() {
    let text = format!("[Port]\nport=2\nsslSection=T\n{WITH_TLS}");
    assert_eq!(
        only(&text),
        "t.ini:7: [T]: error: the section has no identity; valid: certificate and privateKey, or selfSigned"
    );
}

#[test]
fn certificate_and_private_key_need_each_other() {
    let valid = "valid: certificate and privateKey, or selfSigned";
    assert_eq!(
        only(&format!("{WITH_TLS}certificate=c\n")),
        format!("t.ini:5: [T] certificate: error: certificate needs its privateKey; {valid}")
    );
    assert_eq!(
        only(&format!("{WITH_TLS}privateKey=k\n")),
        format!("t.ini:5: [T] privateKey: error: privateKey needs its certificate; {valid}")
    );
    // What is wrong with the identity that is given is told alone.
    for key in ["selfSigned=true", "keyStore=a.p12", "certificate="] {
        let told = only(&format!("{WITH_TLS}{key}\n"));
        assert!(told.starts_with("t.ini:5: [T] ") && !told.contains("no identity"), "{told}");
    }
}

#[test]
fn self_signed_makes_an_identity_for_the_names_given_and_a_warning_says_so() {
    let (settings, findings) = resolved(&format!("{WITH_TLS}selfSigned=localhost, ::1\n"));
    let tls = settings.ports[0].tls.clone().expect("the port has TLS");
    assert_eq!(tls.self_signed, ["localhost", "::1"]);
    assert!(tls.certificate.is_none() && findings.len() == 1);
    assert_eq!(
        findings[0].to_string(),
        "t.ini:5: [T] selfSigned: warning: selfSigned is for trying things out: clients cannot verify it; for real use: certificate and privateKey"
    );
    for off in ["off", "no", "0", "false"] {
        assert!(self::tls(&format!("selfSigned={off}")).self_signed.is_empty());
    }
    assert!(
        tls_message("selfSigned=yes")
            .contains("'yes' does not say for which names; valid: names with commas, or off")
    );
}

#[test]
fn self_signed_excludes_certificate_and_private_key() {
    let wrong = "selfSigned: error: selfSigned excludes certificate and privateKey; valid: certificate and privateKey, or selfSigned";
    assert!(tls_message("selfSigned=a").ends_with(wrong));
    assert!(only(&format!("{WITH_TLS}privateKey=k\nselfSigned=a\n")).ends_with(wrong));
}

#[test]
fn tls_versions_are_1_2_and_1_3_and_older_ones_do_not_exist_here() {
    for old in ["1.0", "1.1", "SSLv3", "TLSv1"] {
        assert_eq!(
            tls_message(&format!("minVersion={old}")),
            format!(
                "t.ini:7: [T] minVersion: error: '{old}' does not exist here: it is not secure; valid: 1.2, 1.3"
            )
        );
    }
    assert!(tls_message("maxVersion=1.4").ends_with("'1.4' is no TLS version; valid: 1.2, 1.3"));
    assert_eq!(tls("maxVersion=1.2").max_version, TlsVersion::Tls12);
}

#[test]
fn min_version_above_max_version_is_an_error() {
    assert_eq!(
        tls_message("minVersion=1.3\nmaxVersion=1.2"),
        "t.ini:7: [T] minVersion: error: minVersion 1.3 is above maxVersion 1.2; valid: minVersion up to maxVersion"
    );
}

#[test]
fn alpn_names_are_at_most_255_bytes_long() {
    assert_eq!(tls(&format!("alpn={}", "a".repeat(255))).alpn.len(), 1);
    assert!(
        tls_message(&format!("alpn={}", "a".repeat(256)))
            .contains("has a name longer than 255 bytes; valid: protocol names")
    );
}

#[test]
fn a_tls_key_that_is_not_built_yet_is_off_or_an_error() {
    tls(
        "clientAuth=none\nsessionTickets=off\nreload=no\nstrictSni=no\nticketRotation=1h\nticketLifetime=12h\nacmeDirectory=off\nkeyStore=none\n",
    );
    for line in [
        "clientAuth=need",
        "clientAuth=want",
        "sessionTickets=on",
        "reload=yes",
        "strictSni=on",
        "keyStore=a.p12",
        "trustStore=a",
        "crl=a",
        "certificate.www=a",
        "PrivateKey.www=a",
        "ticketKeyFile=a",
        "ticketRotation=2h",
        "acmeDirectory=https://a",
        "keyAlias=a",
    ] {
        let message = tls_message(line);
        assert!(
            message.contains(": error: ") && message.contains("is not available in this version"),
            "{message}"
        );
    }
}

#[test]
fn no_message_and_no_finding_shows_a_password() {
    for line in [
        "keyPassword=hunter2",
        "keyStorePassword.a=hunter2",
        "keyPasword=hunter2",
        "keyPassword: hunter2",
        "keyPasword=a\nkeyPasword=hunter2",
        "keyPassword=hunter2\nkeyPassword=hunter2",
    ] {
        let (_, findings) = resolved(&format!("{WITH_TLS}selfSigned=a\n{line}\n"));
        assert!(findings.len() >= 2, "{line}");
        assert!(!format!("{findings:?}").contains("hunter2"), "{findings:?}");
    }
}

// --- secrets ---------------------------------------------------------------------------

/// A made-up key; no eight of its characters stand in any message.
const KEY: [&str; 4] = [
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgevZzL1gdAFr88hb2",
    "OF/2NxApJCzGCEDdfSp6VQO30hyhRANCAAQRWz+jn65BtOMvdyHKcvjBeBSDZH2r",
    "1RTwjmYSi9R/zpBnuQ4EiMnCqfMPWiZqB4QdbAd0E7oH50VpuZ1P087GAbCdEf01",
    "x4Zk9QvT1bc=",
];

/// Fails if a finding, an error or a copy for debugging shows eight characters of the key in a row.
fn shows_no_key(text: &str) {
    let shown = |told: &str| {
        for line in KEY {
            let mut windows = line.as_bytes().windows(8);
            let window = windows.find(|w| told.contains(std::str::from_utf8(w).expect("ASCII")));
            assert!(window.is_none(), "{text:?}: {told}");
        }
    };
    let config = config(text.as_bytes());
    let (settings, findings) = config.resolve();
    let no_port = config.finding_if_no_port();
    for finding in config.check().iter().chain(&findings).chain(&no_port) {
        shown(&format!("{finding} {finding:?}"));
    }
    if findings.iter().all(|finding| finding.severity != Severity::Error) {
        shown(&format!("{settings:?}"));
    }
    shown(&format!("{config:?}"));
}

#[test]
fn a_key_in_the_file_is_never_shown_wherever_it_stands() {
    let block =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----", KEY.join("\n"));
    let forms = [
        block.clone(),
        block.replace('\n', " "),
        block.replace('\n', "\\n"),
        block.replace('\n', "\r\n"),
        block.replace('\n', "\n   "),
        block.replace("-----\n", "-----"),
        format!("\"{}\"", block.replace('\n', "\\n")),
        block.replace("\n-----END PRIVATE KEY-----", ""),
        block.replace("PRIVATE", "RSA PRIVATE"),
        format!("-----BEGIN PRIVATE KEY-----\n{}", KEY[..3].join("\n")),
        KEY.join("\n"),
        KEY.concat(),
        KEY.concat().to_lowercase() + KEY[1],
    ];
    let places = [
        "",
        "key = ",
        "port = ",
        "bindAddress = ",
        "sslSection = ",
        "ssl = ",
        "readTimeout = ",
        "privateKey = ",
        "privateKey: ",
        "certificate = ",
        "keyPassword = ",
        "keyPasswordFile = ",
        "keyPasswrod = ",
        "keyStore = ",
        "alpn = ",
        "cipherSuites = ",
        "selfSigned = ",
        "minVersion = ",
        "[",
        "[Port.",
        "\u{feff}[",
        "\u{feff}",
        "trustedProxies = ",
        "proxyProtocol = ",
        "= ",
    ];
    let tails = ["", "]", " ; x"];
    for form in &forms {
        for place in places {
            for before in ["", "[Port]\nport=1\n", WITH_TLS, "[Host]\n"] {
                for tail in tails {
                    // That is the name of a port, which is no secret.
                    if place == "[Port." && tail == "]" && !form.contains(['\n', '-']) {
                        continue;
                    }
                    shows_no_key(&format!("{before}{place}{form}{tail}\n"));
                }
            }
        }
    }
}

#[test]
fn a_key_that_is_set_by_the_program_is_never_shown() {
    for (section, key) in [
        ("Port", "port"),
        ("Port", "sslSection"),
        ("T", "privateKey"),
        (KEY[0], "a"),
        ("T", KEY[0]),
    ] {
        let mut config = config(b"[Port]\nport=1\nsslSection=T\n[T]\n");
        config.set(section, key, KEY[0]).expect("one line");
        let findings = config.check();
        assert!(!format!("{findings:?} {config:?}").contains(&KEY[0][8..20]), "{findings:?}");
    }
    let error = Config::new().set(&format!("Port.{}", KEY[0]), "a", "1").expect_err("no such port");
    assert!(!error.message.contains(&KEY[0][..8]), "{error}");
}

#[test]
fn a_pem_block_is_one_finding_at_its_first_line() {
    let block =
        format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", KEY.join("\n"));
    let message = "error: a PEM block stands here; none of it is shown; \
                   keys and certificates are given as the paths of files: save the block in a file";
    assert_eq!(port_message(&block), format!("t.ini:3: [Port]: {message}"));
    assert_eq!(
        tls_message(&format!("keyStore = {block}")),
        "t.ini:7: [T] keyStore: error: the value is a key or certificate, or looks like one; it is not shown; \
         valid: the path of a file that holds it"
    );
    // What a host does with it in its own sections is its business.
    assert!(messages(&format!("[Host]\nkey = {block}[Port]\nport=1\n")).is_empty());
}

#[test]
fn a_value_that_looks_like_the_start_of_a_pem_block_takes_no_entry_away() {
    let text = "[Host]\nstartMark = -----BEGIN LICENSE-----\nendMark = -----END LICENSE-----\nsep = -\nempty =\n";
    let config = config(text.as_bytes());
    for (key, value) in [("endMark", "-----END LICENSE-----"), ("sep", "-"), ("empty", "")] {
        assert_eq!(config.get("Host", key).as_deref(), Some(value), "{key}");
    }
    for line in ["sslSection =", "sslSection=", "ssl="] {
        let found = messages(&format!("[Port]\nport=443\nx = -----BEGIN\n{line}\n"));
        assert_eq!(found.len(), 2, "{found:?}");
        assert!(found[1].contains("error: the value is missing"), "{found:?}");
    }
}

#[test]
fn a_line_that_may_be_a_password_is_not_shown() {
    let text = format!("{WITH_TLS}selfSigned=a\nkeyPassword =\n  hunter2\nMypas1= \n");
    let (_, findings) = resolved(&text);
    let shown = format!("{findings:?}");
    assert!(
        findings.len() > 3 && !shown.contains("hunter2") && !shown.contains("Mypas1"),
        "{shown}"
    );
}

#[test]
fn what_stands_in_place_of_a_file_name_is_cut_escaped_and_hidden() {
    for (name, shown) in [
        (KEY[0].to_owned(), "…"),
        ("keyPassword = hunter2".to_owned(), "keyPassword =…"),
        ("[Port]\nkeyPassword = hunter2".to_owned(), "[Port]…"),
        ("a\u{1b}[2J.ini".to_owned(), "a\\u{1b}[2J.ini"),
    ] {
        let error = Config::new().load_file(&name).expect_err("there is no such file");
        assert!(error.message.starts_with(&format!("{shown}: error: ")), "{}", error.message);
        let error = Config::new().load_string(b"\0", &name).expect_err("it is no text");
        assert!(error.message.starts_with(&format!("{shown}:1: error: ")), "{}", error.message);
        let mut config = Config::new();
        config.load_string(b"[Port]\n", &name).expect("it is text");
        assert_eq!(config.resolve().1[0].file, shown);
    }
    let error = Config::new().load_file("n".repeat(3_000)).expect_err("there is no such file");
    assert!(error.message.len() < 1_000, "{}", error.message);
}

#[test]
fn a_password_where_a_path_belongs_is_not_shown() {
    for line in ["keyPasswordFile = hunter2", "keyStorePasswordEnv.a = hunter2", "keyPassword ="] {
        let (_, findings) = resolved(&format!("{WITH_TLS}selfSigned=a\n{line}\n"));
        assert!(findings.iter().any(|finding| finding.severity == Severity::Error), "{line}");
        assert!(!format!("{findings:?}").contains("hunter2"), "{findings:?}");
    }
}

// --- what was not meant ----------------------------------------------------------------

/// Goes through the table: a template variable that is empty must never be the default.
#[test]
fn an_empty_value_is_an_error_for_every_key() {
    for section in SectionType::ALL {
        let before = match section {
            SectionType::Runtime => "[Runtime]\n",
            SectionType::Port => "[Port]\n",
            SectionType::Tls => WITH_TLS,
        };
        for key in section.keys() {
            for blank in ["", " ", "\t"] {
                let (_, findings) = resolved(&format!("{before}{}={blank}\n", key.name));
                let told = findings.iter().find(|finding| finding.key == key.name);
                let told = told.unwrap_or_else(|| panic!("{}: {findings:?}", key.name));
                assert_eq!(told.severity, Severity::Error, "{told}");
                assert!(told.message.starts_with("the value is missing"), "{told}");
            }
        }
    }
    let mut config = config(b"[Port]\nport=1\n");
    config.set("Port", "sslSection", "").expect("the port exists");
    assert_eq!(
        config.resolve().1[0].to_string(),
        "set by the program: [Port] sslSection: error: the value is missing; a template variable may be empty; \
         valid: the name of a section, or no sslSection for the default"
    );
    assert!(messages("[Host]\na =\n").is_empty());
}

/// Goes through the table.
#[test]
fn a_section_with_a_key_of_tls_sections_that_no_port_names_is_doubtful() {
    let telling = ["certificate", "privateKey", "keyStore", "selfSigned", "cipherSuites"];
    for key in SectionType::Tls.keys() {
        let text = format!("[Port]\nport=1\n[Web]\n{}=a\nx=1\n", key.name);
        // Hosts use words such as groups, minVersion and reload.
        if key.name != "alpn" && !telling.iter().any(|start| key.name.starts_with(start)) {
            assert!(messages(&text).is_empty(), "{}", key.name);
            continue;
        }
        let message = only(&text);
        assert!(
            message.starts_with(&format!("t.ini:4: [Web] {}: warning: ", key.name)),
            "{message}"
        );
        assert!(message.ends_with("valid: sslSection = Web in a port"), "{message}");
    }
    for key in SectionType::Port.keys().iter().chain(SectionType::Runtime.keys()) {
        assert!(messages(&format!("[Host]\n{}=1\n", key.name)).is_empty(), "{}", key.name);
    }
    // The error says what to do.
    let text = "[Port]\nport=1\nsslSection=TSL\n[TLS]\ncertificate=c\nprivateKey=k\n";
    assert!(only(text).contains("there is no section 'TSL'"));
}

#[test]
fn protocol_names_that_are_probably_mistyped_are_doubtful() {
    for (value, warnings) in [
        ("h2 ; web", 1),
        ("\"h2\", \"http/1.1\"", 2),
        ("H2", 1),
        ("http1.1", 1),
        ("h2 http/1.1", 1),
        ("h2;http/1.1", 1),
        ("h2, HTTP/1.1", 1),
    ] {
        let (settings, findings) =
            resolved(&format!("{WITH_TLS}certificate=c\nprivateKey=k\nalpn={value}\n"));
        assert_eq!(findings.len(), warnings, "{value}: {findings:?}");
        assert!(findings.iter().all(|f| f.severity == Severity::Warning && f.line == 7));
        assert!(settings.ports[0].tls.is_some());
    }
    tls("alpn=h2, http/1.1, h3, acme-tls/1, myproto/1, MyGame");
}

/// Goes through the table.
#[test]
fn a_time_without_a_unit_below_a_second_says_how_it_was_read() {
    for key in SectionType::Port.keys() {
        let Kind::Duration { min_ms, .. } = key.kind else { continue };
        if key.built && min_ms < 1_000 {
            let text = format!("[Port]\nport=1\n{}=30\n", key.name);
            assert_eq!(
                only(&text),
                format!(
                    "t.ini:3: [Port] {}: warning: without a unit, 30 is read as 30ms; write 30s for seconds, or 30ms",
                    key.name
                )
            );
            for fine in ["30ms", "30s", "1000"] {
                port(&format!("{}={fine}", key.name));
            }
        }
    }
    assert!(port_message("keepAlive=60").ends_with("; a time without a unit is in milliseconds"));
}

#[test]
fn a_header_behind_invisible_characters_is_an_error_in_every_section() {
    for c in [
        "\u{feff}",
        "\u{a0}",
        "\u{200b}",
        "\u{ad}",
        "\u{200e}",
        "\u{2028}",
        "\u{85}",
        " \u{feff} \u{a0}",
    ] {
        for before in ["", "[Host]\na=1\n", "[Port]\nport=1\n", "[Runtime]\n", "[Broken\n"] {
            let text = format!("{before}\n{c}[Port.b]\nport=2\n");
            let (_, findings) = resolved(&text);
            let line = u32::try_from(before.lines().count()).expect("few") + 2;
            let told = findings.iter().find(|finding| finding.line == line);
            let told = told.unwrap_or_else(|| panic!("{text:?}: {findings:?}"));
            assert_eq!(told.severity, Severity::Error, "{told}");
            assert!(told.message.starts_with("a header stands after U+"), "{told}");
            // Its keys are those of no other section.
            assert!(findings.iter().all(|finding| !finding.message.contains("set before")));
        }
    }
}

#[test]
fn findings_show_no_invisible_character() {
    for c in
        ["\u{a0}", "\u{200b}", "\u{ad}", "\u{202e}", "\u{feff}", "\u{fe0f}", "\u{3164}", "\u{b}"]
    {
        for text in [
            format!("[Port]\nport=84{c}43\n"),
            format!("[Port]\nport=1\npo{c}rt=1\n"),
            format!("[Port {c}1]\nport=1\n"),
            format!("[Port]\nport=1\nsslSection=T{c}\n[T]\n"),
        ] {
            let (_, findings) = resolved(&text);
            assert!(!findings.is_empty(), "{text:?}");
            for finding in findings {
                let (line, escape) = (finding.to_string(), c.escape_unicode().to_string());
                assert!(line.contains(&escape) && !line.contains(c), "{line:?}");
            }
        }
    }
}

#[test]
fn letters_that_only_look_like_those_of_a_name_are_named() {
    for (text, code) in [
        ("[P\u{43e}rt]\nport=1\n", "U+043E"),
        ("[R\u{443}ntime]\nioThreads=1\n", "U+0443"),
        ("[Port]\nport=1\nid\u{4cf}eTimeout=1s\n", "U+04CF"),
    ] {
        assert!(
            only(text).ends_with(&format!(
                "its character {code} is no ASCII letter: type the name again"
            ))
        );
    }
}

#[test]
fn what_other_formats_allow_is_named_in_the_remedy() {
    for (line, remedy) in [
        ("queueLength = 5 ; x", "comments need a line of their own"),
        ("queueLength = 5\t# x", "comments need a line of their own"),
        ("readTimeout = 5s ; x", "comments need a line of their own"),
        ("compression = off ; x", "comments need a line of their own"),
        ("maxFrameSize = 5K # x", "comments need a line of their own"),
        ("bindAddress = ::1 ; x", "comments need a line of their own"),
        ("queueLength = \"5\"", "quotes are part of the value"),
        ("bindAddress = '::1', '::2'", "quotes are part of the value"),
        ("sslSection = \"T\"", "quotes are part of the value"),
        ("queueLength = ${Q}", "variables are not expanded"),
        ("queueLength = {{ q }}", "variables are not expanded"),
    ] {
        let message = port_message(line);
        assert!(message.contains(": error: ") && message.contains(remedy), "{message}");
    }
}

// --- what it costs ---------------------------------------------------------------------

#[test]
fn findings_beyond_a_thousand_are_counted() {
    let (_, findings) = resolved(&format!("[Port]\nport=1\n{}", "x\n".repeat(1_500)));
    assert_eq!(findings.len(), 1_001);
    assert_eq!((findings[999].line, findings[1_000].line), (1_002, 0));
    assert_eq!(
        findings[1_000].to_string(),
        "t.ini: error: more findings are left out: 500 errors, 0 warnings; mend those above first"
    );
}

#[test]
fn names_that_are_shown_are_cut() {
    let long = "n".repeat(60_000);
    for text in
        [format!("[Port.{long}]\n"), format!("[Port]\nport=1\n{long}=1\n"), format!("[{long}\n")]
    {
        let message = only(&text);
        assert!(message.len() < 600, "{message}");
    }
    let config = config(format!("[Port.{long}]\nport=1\n").as_bytes());
    assert_eq!(config.port_names(), [format!("Port.{long}")]);
    assert_eq!(config.port_written_names(), [format!("Port.{long}")]);
}

#[test]
fn a_list_of_sections_in_a_message_is_cut() {
    let sections: String = (0..1_000).map(|n| format!("[s{n}]\n")).collect();
    assert!(
        only(&format!("[Port]\nport=1\nsslSection=T\n{sections}")).ends_with("[s9] and 990 more")
    );
    let message = config(sections.as_bytes()).finding_if_no_port().expect("none").to_string();
    assert!(message.contains("[s9] and 990 more"), "{message}");
}

#[test]
fn a_named_pipe_is_read_to_its_end() {
    let path = std::env::temp_dir().join(format!("nativeport-config-fifo-{}", std::process::id()));
    let made = std::process::Command::new("mkfifo").arg(&path).status();
    assert!(made.is_ok_and(|status| status.success()));
    let writer = std::thread::spawn({
        let path = path.clone();
        move || std::fs::write(path, "[Port]\nport=1\n")
    });
    let mut config = Config::new();
    let loaded = config.load_file(&path);
    writer.join().expect("no panic").expect("it is read");
    std::fs::remove_file(&path).expect("it is ours");
    loaded.expect("the writer writes all and ends");
    assert_eq!(config.port_count(), 1);
}

// --- the program -----------------------------------------------------------------------

#[test]
fn a_program_can_do_without_any_file() {
    let mut config = Config::new();
    assert_eq!(config.add_port(""), Ok("Port".into()));
    assert_eq!(config.add_port("web"), Ok("Port.web".into()));
    config.set("port", "PORT", "80").expect("the port exists");
    config.set("Port.WEB", "port", "443").expect("the port exists");
    config.set("Port.web", "sslSection", "Tls").expect("the port exists");
    config.set("Tls", "selfSigned", "localhost").expect("the section is made");
    config.set("Runtime", "ioThreads", "2").expect("the section is made");
    let (settings, findings) = config.resolve();
    assert_eq!(
        (settings.ports[0].port, settings.ports[1].port, settings.runtime.io_threads),
        (80, 443, 2)
    );
    assert_eq!(findings.len(), 1);
    assert!(findings[0].to_string().starts_with("set by the program: [Tls] selfSigned: warning: "));
    assert_eq!(
        config.set("Port.mail", "port", "25").expect_err("no such port").status,
        Status::NotFound
    );
    assert_eq!(
        config.set("Port", "port", "1\n2").expect_err("a line end").status,
        Status::Argument
    );
}

#[test]
fn what_the_program_sets_replaces_what_the_file_says() {
    let mut config = config(b"[Port]\nport=x\nport=y\n");
    config.set("Port", "port", "80").expect("the port exists");
    let (settings, findings) = config.resolve();
    assert_eq!((settings.ports[0].port, findings), (80, vec![]));
}

#[test]
fn get_gives_the_effective_value_with_its_default() {
    let config =
        config(b"[Port]\nport=80\nmaxFrameSize=1M\nsslSection=t\n[T]\nalpn=h2\n[Host]\nname=x\n");
    let get = |section, key| config.get(section, key);
    assert_eq!(get("PORT", "MAXFRAMESIZE").as_deref(), Some("1M"));
    assert_eq!(get("Port", "queueLength").as_deref(), Some("1024"));
    assert_eq!(get("Port", "mapToPort").as_deref(), Some("80"));
    assert_eq!(get("Port", "bindAddress").as_deref(), Some(""));
    assert_eq!(get("Runtime", "logLevel").as_deref(), Some("info"));
    assert!(get("Runtime", "ioThreads").is_some_and(|n| n.parse::<usize>().is_ok_and(|n| n > 0)));
    assert_eq!(
        (get("t", "alpn").as_deref(), get("T", "minVersion").as_deref()),
        (Some("h2"), Some("1.2"))
    );
    assert_eq!((get("Host", "name").as_deref(), get("Host", "alpn")), (Some("x"), None));
    assert_eq!(
        (get("Port", "nonsense"), get("Port.2", "port"), get("None", "port")),
        (None, None, None)
    );
    assert_eq!(self::config(b"[Port]\n").get("Port", "port"), None);
}

#[test]
fn a_copy_of_a_configuration_goes_its_own_way() {
    let original = config(b"[Port]\nport=1\n");
    let mut copy = original.clone();
    copy.set("Port", "port", "2").expect("the port exists");
    assert_eq!(original.get("Port", "port").as_deref(), Some("1"));
}

// --- the manual ------------------------------------------------------------------------

fn manual_line(key: &Key) -> String {
    let default = match key.default {
        DefaultValue::Text(text) => format!("`{text}`"),
        other => other.to_string(),
    };
    let built = if key.built { "yes" } else { "no" };
    format!("| `{}` | {} | {} | {default} | {built} |", key.name, key.about, key.kind)
}

#[test]
fn the_manual_has_exactly_the_keys_of_the_table() {
    let manual = include_str!("../docs/configuration.md");
    let found: Vec<&str> = manual.lines().filter(|line| line.starts_with("| `")).collect();
    let keys = SectionType::ALL.into_iter().flat_map(|section| section.keys());
    let expected: Vec<String> = keys.map(manual_line).collect();
    for (found, expected) in found.iter().zip(&expected) {
        assert_eq!(found, expected);
    }
    assert_eq!(found.len(), expected.len(), "{}", expected.join("\n"));
}

#[test]
fn the_examples_of_the_manual_are_right() {
    let manual = include_str!("../docs/configuration.md");
    let examples: Vec<&str> = manual.split("```ini\n").skip(1).collect();
    assert!(!examples.is_empty());
    for example in examples {
        let (example, _) = example.split_once("```").expect("the block ends");
        clean(example);
    }
    let text = "[Port 1]\nport=1\n\n\n\n\nmaxFrameSize = 64X\n";
    let message = only(text).replace("t.ini", "server.ini");
    assert!(manual.contains(&message), "{message}");
}

// --- hostile input ---------------------------------------------------------------------

/// xorshift64*: the same texts in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let mixed = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33;
        usize::try_from(mixed).expect("31 bits fit") % n
    }

    fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const PIECES: &[&str] = &[
    "\\", "=", ":", "#", ";", "[", "]", "\"", "'", "|", " ", "\t", "a", "1", "ü", "\u{a0}", ",",
    ".", "%",
];

#[test]
fn every_value_comes_back_as_it_stands_in_the_file() {
    let mut random = Random(7);
    for _ in 0..2_000 {
        let value: String = (0..random.below(12)).map(|_| random.pick(PIECES)).collect();
        let config = config(format!("[Host]\nx={value}\ny=next\n").as_bytes());
        let expected = value.trim_matches([' ', '\t']);
        assert_eq!(config.get("Host", "x").as_deref(), Some(expected));
        assert_eq!(config.get("Host", "y").as_deref(), Some("next"));
    }
}

#[test]
fn whatever_a_file_holds_every_finding_is_one_line_with_its_place() {
    const LINES: &[&str] = &[
        "[Port]",
        "[Port1]",
        "[Runtime]",
        "[T]",
        "port",
        "sslSection=T",
        "alpn",
        "selfSigned",
        "ssl",
        "minVersion=1.3",
        "maxVersion=1.2",
        "maxFrameSize",
        "bindAddress",
        "\n",
        "\n",
        "\n",
        "\r",
        "\u{1b}",
        "9999999999999999999999",
    ];
    let mut random = Random(11);
    for _ in 0..2_000 {
        let pieces = random.below(60);
        let text: String = (0..pieces)
            .map(|_| match random.below(2) {
                0 => random.pick(LINES),
                _ => random.pick(PIECES),
            })
            .collect();
        let last_line = text.split('\n').count();
        let (settings, findings) = resolved(&text);
        assert!(settings.ports.len() <= last_line);
        for finding in findings {
            let line = usize::try_from(finding.line).expect("32 bits fit");
            assert!((1..=last_line).contains(&line), "{finding}");
            assert!(!finding.to_string().contains(char::is_control), "{finding}");
        }
    }
}

#[test]
fn bytes_that_are_no_text_never_do_more_than_fail() {
    let mut random = Random(13);
    for _ in 0..2_000 {
        let bytes: Vec<u8> = (0..random.below(80))
            .map(|_| u8::try_from(random.below(256)).expect("8 bits fit"))
            .collect();
        let mut config = Config::new();
        if let Err(error) = config.load_string(&bytes, "t.ini") {
            assert_eq!(error.status, Status::ConfigFile, "{error}");
        }
        config.resolve();
    }
}
