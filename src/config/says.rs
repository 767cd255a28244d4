//! Every message of the configuration: cause and remedy.
//!
//! Promises: a finding or error of the configuration has its words from this table only, and a test
//! shows each of them with its place. Files that TLS sections name have their messages in `tls`.

use std::fmt::Display;

/// The words of one message.
#[derive(Clone, Debug)]
pub(super) struct Text {
    cause: String,
    remedy: String,
}

impl Text {
    pub(super) fn cause(&self) -> &str {
        &self.cause
    }

    pub(super) fn remedy(&self) -> &str {
        &self.remedy
    }

    /// This cause, and both remedies.
    pub(super) fn and(mut self, hint: Option<Text>) -> Text {
        if let Some(hint) = hint {
            self.remedy = format!("{}; {}", self.remedy, hint.remedy);
        }
        self
    }
}

/// The message of an error.
impl Display for Text {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}; {}", self.cause, self.remedy)
    }
}

#[cfg(test)]
thread_local! {
    static SAID: std::cell::RefCell<std::collections::BTreeSet<&'static str>> = Default::default();
}

/// A line is `name(arguments): "cause", "remedy";`.
macro_rules! texts {
    ($($name:ident($($argument:ident),*): $cause:literal, $remedy:literal;)*) => {
        $(pub(super) fn $name($($argument: impl Display),*) -> Text {
            #[cfg(test)]
            SAID.with_borrow_mut(|said| said.insert(stringify!($name)));
            Text { cause: format!($cause), remedy: format!($remedy) }
        })*

        #[cfg(test)]
        const ALL: &[&str] = &[$(stringify!($name)),*];
    };
}

texts! {
    // Reading.
    unreadable(error): "the configuration file cannot be read: {error}", "valid: the path of a text file that this process may read";
    unreadable_in(error, folder): "the configuration file cannot be read: {error}", "valid: the path of a text file that this process may read, from the working directory {folder} on";
    folder(): "the configuration file is a folder", "valid: the path of a file in it";
    silent_pipe(seconds): "the pipe did not end within {seconds} s", "valid: a program that writes all of it in this time, and closes it";
    too_large(most): "the configuration is larger than {most} MiB", "check that the path is that of the configuration, or split it";
    too_many_lines(most): "the configuration has more than {most} lines that are neither blank nor comments", "check that the path is that of the configuration, or split it";
    utf_16(): "the file is UTF-16", "save it as UTF-8";
    nul(): "a NUL byte stands here", "save the file as UTF-8 text";
    not_utf_8(): "the byte order mark says UTF-8, but a byte here is not UTF-8", "save the file as UTF-8";
    passage(line): "rust-ini read value {line} differently", "report this defect";

    // Lines.
    unclosed_header(text): "the header {text} does not end with its ']'", "valid: [Name] alone on the line; comments need a line of their own";
    port_without_name(text): "the header {text} has no name after the dot", "valid: [Port.name]";
    hidden_header(code): "a header stands after {code}, so it begins no section", "delete this character; valid: [Name] alone on the line";
    wide_bracket(code): "a header begins with {code}, so it begins no section", "valid: [Name] with the ASCII character '['";
    junk(start): "the line that starts with '{start}' is no header, key or comment", "valid: key = value; a value never goes on in the next line";
    hidden_junk(): "the line is no header, key or comment; it may be a secret and is not shown", "valid: key = value; a value never goes on in the next line";
    pem(): "a PEM block stands here; none of it is shown", "keys and certificates are given as the paths of files: save the block in a file";
    stray_return(): "a carriage return stands inside the line", "valid: lines that end with LF or CRLF";
    stray_break(code): "{code} stands inside the comment; editors show it as the end of a line", "valid: lines that end with LF or CRLF";
    long_line(most): "the line is longer than {most} bytes", "valid: shorter lines; split what stands here, or move it into a file";

    // Sections.
    no_section(): "there is no section at all", "valid: [Port] with port = a number from 0 to 65535";
    no_port_section(names): "there is no port section, only {names}", "valid: [Port] with port = a number from 0 to 65535";
    same_port(name, stands): "the port {name} {stands} already", "valid: another name, or [Port] without one";
    repeated_section(place): "the section stands {place} already", "both are taken as one; move the keys into one of them";
    unread_port(): "a section of this name is not read, if a port is meant", "valid: [Port], [Port.name] or [Port 1]";
    unread_runtime(): "a section of this name is not read, if Runtime is meant", "valid: [Runtime]";
    unnamed_tls(key, section): "only TLS sections have {key}, and no port names this section: it is not read", "valid: sslSection = {section} in a port";
    tls_without_name(key): "only TLS sections have {key}, and a section without a name cannot be named", "valid: [TLS], and sslSection = TLS in a port";

    // Keys.
    key_twice(place): "the key was set before, {place}", "this one, the last, counts; delete the other";
    unknown_key(kind, nearest): "{kind} has no such key; it is ignored", "the nearest known key is '{nearest}'";
    key_elsewhere(kind, other): "{kind} has no such key; it is ignored", "it belongs to {other}";
    foreign_letter(code): "the name has {code}, which is no ASCII letter", "its character {code} is no ASCII letter: type the name again";

    // Values.
    no_value(valid): "the value is missing; a template variable may be empty", "valid: {valid}";
    no_value_but_default(valid, key): "the value is missing; a template variable may be empty", "valid: {valid}, or no {key} for the default";
    wrong_value(value, wrong, valid): "{value} {wrong}", "valid: {valid}";
    unavailable(key, value, valid): "{key} = {value} is not available in this version", "valid: {valid}";
    unavailable_secret(key, valid): "{key} is not available in this version", "valid: {valid}";
    key_as_value(): "the value is a key or certificate, or looks like one; it is not shown", "valid: the path of a file that holds it";
    long_list(most): "the list is too long", "a list has at most {most} items";
    short_time(value): "without a unit, {value} is read as {value}ms", "write {value}s for seconds, or {value}ms";
    comment(): "a comment seems to stand after the value", "comments need a line of their own: all after the = is the value";
    quotes(): "the value stands in quotes", "quotes are part of the value: write it without them";
    variable(): "the value names a variable", "variables are not expanded: write the value itself";
    home(): "the value begins with '~'", "'~' is not expanded: write the whole path";
    url(): "the value is a URL", "write the path without file://";
    invisible(code): "the value holds {code}, which cannot be seen", "delete the invisible character {code}";
    milliseconds(value): "without a unit, {value} is read as {value}ms", "a time without a unit is in milliseconds";
    alpn_commas(name): "{name} is not registered at IANA", "protocol names have commas between them, no blanks and no quotes";
    alpn_near(name, near): "{name} is not registered at IANA", "the nearest registered name is '{near}'; names are compared byte by byte";

    // What keys mean together.
    no_port(): "the section has no port", "valid: port = a number from 0 to 65535";
    no_compression(least, most): "compressThreshold {least} is above compressLimit {most}: nothing is compressed", "valid: compressThreshold up to compressLimit, or compression = off";
    short_close(close, write): "closeTimeout, {close} by default, ends a close before writeTimeout {write}", "valid: a closeTimeout in the file, of any length";
    same_list(first, second, because): "{first} and {second} exclude each other{because}", "valid: addresses that do not include one another";
    taken_port(port, address, section, stands, through, because): "[{section}], which {stands}{through}, excludes port {port} of {address}{because}", "both cannot listen at once: start only one of them, or set another port or other addresses";
    no_such_section(name, others): "there is no section {name}", "{others}";
    other_sections(names): "the section is not there", "the sections there are: {names}";
    no_other_section(): "the section is not there", "there is no section but ports and Runtime";
    no_tls_section(name): "[{name}] is no TLS section", "valid: the name of a section that is neither a port nor Runtime";
    auto_without_section(): "ssl = auto needs an sslSection", "valid: sslSection = the name of a TLS section, or no ssl";
    plain_port(): "without an sslSection the port is plain", "valid: sslSection = the name of a TLS section, or no ssl";
    plain_end(): "without an sslSection the port is plain, and requireCloseNotify does nothing", "valid: sslSection = the name of a TLS section, or no requireCloseNotify";
    no_alpn(): "without alpn no protocol is agreed, and alpnMismatch does nothing", "valid: alpn = protocol names with commas, or no alpnMismatch";
    no_key_file(): "with selfSigned no key is read, and keyPermissions does nothing", "valid: certificate and privateKey, or no keyPermissions";
    self_signed(): "selfSigned is for trying things out: clients cannot verify it", "for real use: certificate and privateKey";
    two_identities(): "selfSigned excludes certificate and privateKey", "valid: certificate and privateKey, or selfSigned";
    no_identity(): "the section has no identity", "valid: certificate and privateKey, or selfSigned";
    no_private_key(): "certificate needs its privateKey", "valid: certificate and privateKey, or selfSigned";
    no_certificate(): "privateKey needs its certificate", "valid: certificate and privateKey, or selfSigned";
    versions_crossed(min, max): "minVersion {min} is above maxVersion {max}", "valid: minVersion up to maxVersion";
    left_out(errors, warnings): "more findings are left out: {errors} errors, {warnings} warnings", "mend those above first";

    // Calls.
    no_line_end(what): "{what} holds a line end or NUL", "valid: a text of one line";
    long_text(what, most): "{what} is longer than {most} bytes", "valid: a shorter one";
    no_section_named(): "no section is named", "valid: Runtime, a TLS section, or the canonical name of a port, which np_config_add_port adds first (Java: ServerConfig.addPort)";
    bad_key(): "the key is empty or holds '='", "valid: the name of a key";
    unknown_port(name): "there is no port section [{name}]", "add it first with np_config_add_port (Java: ServerConfig.addPort)";
    port_is_there(name): "there is a section [{name}] already", "valid: another name, or an empty one for a further [Port]";
    no_port_name(): "the name of the port section has nothing after the dot", "valid: Port.name";
}

#[cfg(test)]
mod tests;
