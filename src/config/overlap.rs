//! Addresses of one port number that exclude each other: of one section, or of two.
//!
//! Promises: one finding per section at most, and work that grows with the number of addresses.
//! Nothing is resolved: host names are compared as text.

use super::address::{ALL, ALL_IPV4, BindAddress};
use super::check::at;
use super::document::Section;
use super::finding::{Finding, Findings, Severity};
use super::says;
use super::settings::PortSettings;
use super::text::{name, quoted};
use std::collections::HashMap;
use std::net::IpAddr;

/// What sections before this one listen on, at one port number.
#[derive(Default)]
struct Taken {
    exact: HashMap<BindAddress, Owner>,
    /// Who takes all addresses of a kind.
    all: HashMap<Family, Owner>,
    /// The first who takes an address of a kind.
    any: HashMap<Family, Owner>,
}

/// A section, by its position, and what it listens on.
#[derive(Clone)]
struct Owner {
    section: usize,
    address: BindAddress,
    shown: String,
}

/// What an item may exclude.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
enum Family {
    V4,
    V6,
    /// A name has addresses that are not known here. It excludes those who take all of both families.
    Name,
}

const BOTH: &[Family] = &[Family::V4, Family::V6, Family::Name];

/// The families of which an item takes all addresses; `Err`: it takes one address of this family.
fn extent(address: &BindAddress, has_all_ipv4: bool) -> Result<&'static [Family], Family> {
    match address {
        all if *all == ALL_IPV4 => Ok(&[Family::V4]),
        all if *all == ALL && has_all_ipv4 => Ok(&[Family::V6]),
        all if *all == ALL => Ok(BOTH),
        BindAddress::Ip(IpAddr::V4(_)) => Err(Family::V4),
        BindAddress::Ip(IpAddr::V6(_)) | BindAddress::LinkLocal(..) => Err(Family::V6),
        BindAddress::Name(_) => Err(Family::Name),
    }
}

impl Taken {
    /// Who excludes this item. It is noted if nobody does.
    fn take(&mut self, owner: &Owner, has_all_ipv4: bool) -> Option<Owner> {
        // Twice in one list is once.
        let same = self.exact.get(&owner.address);
        if same.is_some_and(|same| same.section == owner.section) {
            return None;
        }
        // What a name of the same list has beside all addresses is left out at the start.
        let excludes = |family: Family, other: &&Owner| {
            family != Family::Name || other.section != owner.section
        };
        let excluded_by = match (same, extent(&owner.address, has_all_ipv4)) {
            (Some(same), _) => Some(same),
            (None, Err(family)) => self.all.get(&family).filter(|other| excludes(family, other)),
            (None, Ok(families)) => families
                .iter()
                .find_map(|family| self.any.get(family).filter(|other| excludes(*family, other))),
        };
        if excluded_by.is_some() {
            return excluded_by.cloned();
        }
        match extent(&owner.address, has_all_ipv4) {
            Err(family) => {
                self.any.entry(family).or_insert_with(|| owner.clone());
            }
            Ok(families) => {
                for &family in families {
                    self.any.entry(family).or_insert_with(|| owner.clone());
                    self.all.insert(family, owner.clone());
                }
            }
        }
        self.exact.insert(owner.address.clone(), owner.clone());
        None
    }
}

/// Adds a finding for each port section that cannot listen beside itself or one before it.
pub(super) fn find(ports: &[(&Section, &PortSettings)], findings: &mut Findings) {
    let mut by_number: HashMap<u16, Taken> = HashMap::new();
    for (index, (section, settings)) in ports.iter().enumerate() {
        // What is wrong with them has been told.
        let is_wrong = |key| section.entry(key).is_some() && !settings.places.is_given(key);
        if is_wrong("bindAddress") || is_wrong("port") || section.entry("port").is_none() {
            continue;
        }
        let mut own = Taken::default();
        let taken = match settings.port {
            // Each gets a number of its own.
            0 => &mut own,
            number => by_number.entry(number).or_default(),
        };
        let items = settings.bind_addresses.iter().map(|item| (item.as_str(), quoted(item)));
        let nothing = settings.bind_addresses.is_empty();
        let items = items.chain(nothing.then(|| ("::", "all addresses".to_owned())));
        let owners: Vec<Owner> = items
            .filter_map(|(item, shown)| {
                let address = BindAddress::parse(item).ok()?;
                Some(Owner { section: index, address, shown })
            })
            .collect();
        let has_all_ipv4 = owners.iter().any(|owner| owner.address == ALL_IPV4);
        let excluded =
            owners.iter().find_map(|owner| Some((owner, taken.take(owner, has_all_ipv4)?)));
        if let Some((owner, other)) = excluded
            && let Some(finding) = finding(owner, &other, ports)
        {
            findings.push(finding);
        }
    }
}

/// That the section of `owner` cannot have it, beside what `other` has.
fn finding(owner: &Owner, other: &Owner, ports: &[(&Section, &PortSettings)]) -> Option<Finding> {
    let (section, settings) = ports.get(owner.section)?;
    let (other_section, _) = ports.get(other.section)?;
    let is_ipv4 = |owner: &Owner| matches!(owner.address, BindAddress::Ip(IpAddr::V4(_)));
    let is_written_ipv6 = |owner: &Owner| owner.address == ALL && owner.shown.starts_with('\'');
    let both_families =
        is_ipv4(owner) && is_written_ipv6(other) || is_written_ipv6(owner) && is_ipv4(other);
    let because = if both_families { "; '::' takes the IPv4 addresses too" } else { "" };
    let (key, text) = if owner.section == other.section {
        ("bindAddress", says::same_list(&other.shown, &owner.shown, because))
    } else {
        let there = other_section.entry("port")?.spot.in_words();
        let through = match owner.address == other.address {
            true => String::new(),
            false => format!(", which listens on {}", other.shown),
        };
        let other = name(&other_section.written);
        ("port", says::taken_port(settings.port, &owner.shown, other, there, through, because))
    };
    let entry = section.entry(key)?;
    Some(at(section, entry, Severity::Error, text))
}

#[cfg(test)]
mod tests {
    use crate::config::Config;

    /// The findings of a file, which are errors all.
    fn found(text: &str) -> Vec<String> {
        let mut config = Config::new();
        config.load_string(text.as_bytes(), "t.ini").unwrap();
        config.resolve().1.iter().map(ToString::to_string).collect()
    }

    /// Of two ports with the same number and these addresses.
    fn beside(first: &str, second: &str) -> Vec<String> {
        let key = |address: &str| match address {
            "" => String::new(),
            address => format!("bindAddress={address}\n"),
        };
        let (first, second) = (key(first), key(second));
        found(&format!("[Port.a]\nport=9110\n{first}[Port.b]\n{second}port=9110\n"))
    }

    /// Of one port with these addresses.
    fn list(addresses: &str) -> Vec<String> {
        let found_at =
            |port: u16| found(&format!("[Port]\nport={port}\nbindAddress={addresses}\n"));
        // The first address picks, and the others must have that number.
        assert_eq!(found_at(0), found_at(9110), "{addresses}");
        found_at(0)
    }

    #[test]
    fn sections_with_one_number_and_address_are_found_with_both_places() {
        assert_eq!(
            beside("", ""),
            [
                "t.ini:4: [Port.b] port: error: port 9110 of all addresses is taken by [Port.a] in t.ini:2; \
              valid: another port, or addresses that do not include one another"
            ]
        );
        assert_eq!(
            beside("127.0.0.1", "0.0.0.0"),
            [
                "t.ini:6: [Port.b] port: error: port 9110 of '0.0.0.0' is taken by [Port.a] in t.ini:2, \
              which listens on '127.0.0.1'; valid: another port, or addresses that do not include one another"
            ]
        );
        assert_eq!(
            beside("::", "0.0.0.0"),
            [
                "t.ini:6: [Port.b] port: error: port 9110 of '0.0.0.0' is taken by [Port.a] in t.ini:2, \
              which listens on '::'; '::' takes the IPv4 addresses too; \
              valid: another port, or addresses that do not include one another"
            ]
        );
        for (first, second) in [
            ("", "127.0.0.1"),
            ("127.0.0.1", ""),
            ("", "::1"),
            ("", "fe80::1%eth0"),
            // Whatever it resolves to.
            ("", "a.example"),
            ("a.example", "::"),
            ("127.0.0.1", "127.0.0.1"),
            ("127.0.0.1", "::ffff:127.0.0.1"),
            ("::1", "[0:0::1]"),
            ("localhost", "LocalHost."),
            ("::, 0.0.0.0", "::1"),
            ("::1, 127.0.0.2", "0.0.0.0"),
            ("fe80::1%2", "[fe80::1%2]"),
        ] {
            let found = beside(first, second);
            let [finding] = &found[..] else { panic!("{first} and {second}: {found:?}") };
            assert!(finding.contains("is taken by [Port.a] in t.ini:2"), "{finding}");
        }
    }

    #[test]
    fn what_may_stand_side_by_side_is_not_found() {
        for (first, second) in [
            ("127.0.0.1", "127.0.0.2"),
            ("127.0.0.1", "::1"),
            ("0.0.0.0", "::1"),
            ("fe80::1%2", "fe80::1%3"),
            ("fe80::1%eth0", "fe80::2%eth0"),
            // Nobody is asked what they resolve to.
            ("localhost", "127.0.0.1"),
            ("localhost", "0.0.0.0"),
            ("a.example", "b.example"),
        ] {
            assert_eq!(beside(first, second), [""; 0], "{first} and {second}");
        }
        // Each gets a number of its own.
        assert_eq!(found("[Port.a]\nport=0\n[Port.b]\nport=0\n"), [""; 0]);
        assert_eq!(found("[Port.a]\nport=1\n[Port.b]\nport=2\n"), [""; 0]);
    }

    #[test]
    fn addresses_of_one_list_that_include_one_another_are_found() {
        assert_eq!(
            list("0.0.0.0, 127.0.0.1"),
            ["t.ini:3: [Port] bindAddress: error: '0.0.0.0' and '127.0.0.1' exclude each other; \
              valid: addresses that do not include one another"]
        );
        assert_eq!(
            list("::, 127.0.0.1"),
            ["t.ini:3: [Port] bindAddress: error: '::' and '127.0.0.1' exclude each other; \
              '::' takes the IPv4 addresses too; valid: addresses that do not include one another"]
        );
        for addresses in ["::1, ::", "127.0.0.1, 0.0.0.0", "::, 0.0.0.0, ::1", "::, fe80::1%eth0"] {
            assert_eq!(list(addresses).len(), 1, "{addresses}");
        }
        for addresses in [
            "::, 0.0.0.0",
            "0.0.0.0, ::1",
            "127.0.0.1, ::ffff:127.0.0.1, 127.0.0.1",
            "::, [::]",
            "localhost, LOCALHOST, 127.0.0.1",
            "0.0.0.0, localhost",
            "::, localhost",
        ] {
            assert_eq!(list(addresses), [""; 0], "{addresses}");
        }
    }

    #[test]
    fn a_section_with_a_wrong_key_or_a_name_that_stands_already_is_not_judged() {
        for text in [
            "[Port.a]\nport=9110\n[Port.b]\nport=9110\nbindAddress=*\n",
            "[Port.a]\nport=9110\n[Port.b]\nport=70000\n",
            "[Port.a]\nport=0\n[Port.b]\nbindAddress=::\n",
            "[Port.a]\nport=9110\n[Port.a]\nport=9110\n",
        ] {
            let found = found(text);
            assert!(found.len() == 1 && !found[0].contains("is taken"), "{found:?}");
        }
    }

    #[test]
    fn what_the_program_sets_is_named_so() {
        let mut config = Config::new();
        config.load_string(b"[Port.a]\nport=9110\n[Port.b]\nport=9110\n", "t.ini").unwrap();
        config.set("Port.a", "port", "9111").unwrap();
        config.set("Port.b", "port", "9111").unwrap();
        let found: Vec<_> = config.resolve().1.iter().map(ToString::to_string).collect();
        assert_eq!(found.len(), 1);
        let words = "set by the program: [Port.b] port: error: port 9111 of all addresses is taken by \
                     [Port.a] by the program;";
        assert!(found[0].starts_with(words), "{}", found[0]);
    }

    /// One number everywhere: as many findings as sections. More would be left out.
    #[test]
    fn each_of_very_many_sections_has_one_finding() {
        let text: String =
            (0..1000).map(|n| format!("[Port.{n}]\nport=1\nbindAddress=::1, ::2, ::3\n")).collect();
        assert_eq!(found(&text).len(), 999);
    }
}
