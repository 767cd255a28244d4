//! Certificates that clients refuse because of their dates, or will refuse soon: in words, and again
//! once a day while a listener runs.
//!
//! Promises: the wall clock says what holds, a monotonic one when to look and to warn again; a wall clock
//! that jumps is noticed within an hour. Nothing here reads a clock but [`unix_now_s`].

use crate::tls::{Dates, Validity};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY_S: i64 = 86_400;
const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;

/// Warned from then on: so long before the end, but at most a quarter of the lifetime. Automatic
/// renewal is due at a third of it (30 of 90 days, 15 of 45), so that this says that it has failed,
/// with a week or two left to mend it; and certificates of six days are not warned of all the time.
const SOON_S: i64 = 14 * DAY_S;
const SOON_PART: i64 = 4;

/// The wall clock: seconds since 1970-01-01 UTC.
pub(crate) fn unix_now_s() -> i64 {
    let seconds = |time: Duration| i64::try_from(time.as_secs()).unwrap_or(i64::MAX);
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(after) => seconds(after),
        Err(before) => -seconds(before.duration()),
    }
}

/// Whole days until the end, rounded down: 0 on the last day, negative behind it.
pub(crate) fn days_left(validity: Validity, now_s: i64) -> i64 {
    validity.not_after_s.saturating_sub(now_s).div_euclid(DAY_S)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    NotYetValid,
    Valid,
    ExpiresSoon,
    Expired,
}

/// From when on an end is near.
fn soon_from_s(validity: Validity) -> i64 {
    let lifetime_s = validity.not_after_s.saturating_sub(validity.not_before_s);
    validity.not_after_s.saturating_sub(SOON_S.min(lifetime_s / SOON_PART))
}

fn state(validity: Validity, now_s: i64) -> State {
    match now_s {
        // First, as a certificate in whose time it is never would be both.
        now_s if now_s > validity.not_after_s => State::Expired,
        now_s if now_s < validity.not_before_s => State::NotYetValid,
        now_s if now_s >= soon_from_s(validity) => State::ExpiresSoon,
        _ => State::Valid,
    }
}

/// What is doubtful about a certificate at this time, as a sentence with its place and remedy.
pub(crate) fn warning(dates: &Dates, now_s: i64) -> Option<String> {
    let Validity { not_before_s, not_after_s } = dates.validity;
    let own = dates.is_own;
    let text = match state(dates.validity, now_s) {
        State::Valid => return None,
        State::Expired => format!(
            "expired on {}, {} ago: {}",
            date(not_after_s),
            span(now_s.saturating_sub(not_after_s)),
            match own {
                true => "clients refuse it; renew it and restart the listener",
                false =>
                    "some clients may refuse the chain; replace it or remove it, and restart the listener",
            }
        ),
        State::ExpiresSoon => format!(
            "expires on {}, in {}{}",
            date(not_after_s),
            span(not_after_s.saturating_sub(now_s)),
            match own {
                true => "; renew it and restart the listener before that",
                false =>
                    ": some clients may refuse the chain then; replace it or remove it, and restart the listener before that",
            }
        ),
        State::NotYetValid => format!(
            "is valid from {} on, in {}: {}",
            date(not_before_s),
            span(not_before_s.saturating_sub(now_s)),
            match own {
                true =>
                    "clients refuse it until then; check the clock of this machine (`date -u`), or use a certificate that is valid now",
                false =>
                    "some clients may refuse the chain until then; check the clock of this machine (`date -u`), or replace or remove the certificate",
            }
        ),
    };
    let place = match dates.place.as_str() {
        "" => String::new(),
        place => format!("{place}: "),
    };
    let what = if own { "the certificate" } else { "this further certificate of the chain" };
    Some(format!("{place}{what} {text}"))
}

/// What the log was told of a certificate of a listener, and when.
pub(crate) struct Watch {
    state: State,
    told_ms: u64,
}

impl Watch {
    /// What held at this time has been told, when the certificate was loaded.
    pub fn new(validity: Validity, now_ms: u64, unix_s: i64) -> Watch {
        Watch { state: state(validity, unix_s), told_ms: now_ms }
    }

    /// What to tell now, and in how many milliseconds to look again.
    pub fn look(&mut self, dates: &Dates, now_ms: u64, unix_s: i64) -> (Option<String>, u64) {
        let validity = dates.validity;
        let present = state(validity, unix_s);
        let is_due = present != self.state || now_ms.saturating_sub(self.told_ms) >= DAY_MS;
        if is_due {
            (self.state, self.told_ms) = (present, now_ms);
        }
        let text = is_due.then(|| warning(dates, unix_s)).flatten();
        let changes =
            [validity.not_before_s, soon_from_s(validity), validity.not_after_s.saturating_add(1)];
        let next_s = changes.into_iter().filter(|&at_s| at_s > unix_s).min().unwrap_or(i64::MAX);
        // Above 0, and a second at least.
        let until_ms = next_s.saturating_sub(unix_s).saturating_mul(1000);
        let until_told_ms = self.told_ms.saturating_add(DAY_MS).saturating_sub(now_ms).max(1000);
        let again_ms = u64::try_from(until_ms).unwrap_or(HOUR_MS).min(until_told_ms).min(HOUR_MS);
        (text, again_ms)
    }
}

/// As "3 days", "5 hours" or "1 minute", rounded down.
fn span(seconds: i64) -> String {
    let units = [(DAY_S, "day"), (3600, "hour"), (60, "minute"), (1, "second")];
    // The first unit of which there are at least two, as "47 hours" is more exact than "1 day".
    let unit = units.into_iter().find(|(length, _)| seconds / length >= 2);
    let (length, name) = unit.unwrap_or((1, "second"));
    match seconds / length {
        1 => format!("1 {name}"),
        count => format!("{count} {name}s"),
    }
}

/// As 2026-11-30 10:00 UTC.
fn date(unix_s: i64) -> String {
    // Certificates end in 9999, and their library's clock begins at the year 0.
    let unix_s = unix_s.clamp(-62_167_219_200, 253_402_300_799);
    let (days, second) = (unix_s.div_euclid(DAY_S), unix_s.rem_euclid(DAY_S));
    // Eras of 400 years, which begin on a 1st of March: leap days are the last of a year.
    let since = days + 719_468;
    let (era, day_of_era) = (since.div_euclid(146_097), since.rem_euclid(146_097));
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02} UTC")
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_S: i64 = 3600;

    fn days(from: i64, until: i64) -> Validity {
        Validity { not_before_s: from * DAY_S, not_after_s: until * DAY_S }
    }

    fn warning(validity: Validity, now_s: i64) -> Option<String> {
        super::warning(&own(validity), now_s)
    }

    fn own(validity: Validity) -> Dates {
        Dates { place: String::new(), validity, is_own: true }
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        for (unix_s, text) in [
            (0, "1970-01-01 00:00 UTC"),
            (-1, "1969-12-31 23:59 UTC"),
            (951_782_400, "2000-02-29 00:00 UTC"),
            (951_868_799, "2000-02-29 23:59 UTC"),
            (951_868_800, "2000-03-01 00:00 UTC"),
            (1_796_032_800, "2026-11-30 10:00 UTC"),
            (4_107_542_399, "2100-02-28 23:59 UTC"),
            (4_107_542_400, "2100-03-01 00:00 UTC"),
            (253_402_300_799, "9999-12-31 23:59 UTC"),
            (i64::MAX, "9999-12-31 23:59 UTC"),
            (i64::MIN, "0000-01-01 00:00 UTC"),
        ] {
            assert_eq!(date(unix_s), text);
        }
    }

    #[test]
    fn spans_have_the_largest_unit_of_which_there_are_two() {
        for (seconds, text) in [
            (0, "0 seconds"),
            (1, "1 second"),
            (119, "119 seconds"),
            (120, "2 minutes"),
            (7199, "119 minutes"),
            (7200, "2 hours"),
            (2 * DAY_S - 1, "47 hours"),
            (3 * DAY_S + 5, "3 days"),
        ] {
            assert_eq!(span(seconds), text);
        }
    }

    #[test]
    fn a_warning_says_since_when_or_from_when_on_and_what_to_do() {
        let validity = days(0, 90);
        assert_eq!(warning(validity, 0), None);
        assert_eq!(warning(validity, 76 * DAY_S - 1), None);
        assert_eq!(
            warning(validity, 76 * DAY_S).unwrap(),
            "the certificate expires on 1970-04-01 00:00 UTC, in 14 days; \
             renew it and restart the listener before that"
        );
        // Its last second is one of it.
        assert!(warning(validity, 90 * DAY_S).unwrap().contains(", in 0 seconds;"));
        assert_eq!(
            warning(validity, 93 * DAY_S).unwrap(),
            "the certificate expired on 1970-04-01 00:00 UTC, 3 days ago: clients refuse it; \
             renew it and restart the listener"
        );
        assert_eq!(
            warning(days(30, 60), HOUR_S * 5).unwrap(),
            "the certificate is valid from 1970-01-31 00:00 UTC on, in 29 days: clients refuse it until then; \
             check the clock of this machine (`date -u`), or use a certificate that is valid now"
        );
    }

    #[test]
    fn other_certificates_of_the_chain_are_refused_by_some_clients() {
        let dates = |validity| Dates { place: "dir/c.pem:20".to_owned(), validity, is_own: false };
        let said = |validity, now_s| super::warning(&dates(validity), now_s);
        assert_eq!(said(days(0, 90), 0), None);
        for (validity, now_s, words) in [
            (
                days(0, 90),
                93,
                "expired on 1970-04-01 00:00 UTC, 3 days ago: some clients may refuse the chain; replace it or remove it",
            ),
            (
                days(0, 90),
                80,
                "expires on 1970-04-01 00:00 UTC, in 10 days: some clients may refuse the chain then; replace it or remove it",
            ),
            (
                days(30, 60),
                1,
                "is valid from 1970-01-31 00:00 UTC on, in 29 days: some clients may refuse the chain until then; ",
            ),
        ] {
            let said = said(validity, now_s * DAY_S).unwrap();
            let expected = format!("dir/c.pem:20: this further certificate of the chain {words}");
            assert!(said.starts_with(&expected), "{said}");
        }
        let own = Dates { is_own: true, ..dates(days(0, 90)) };
        let said = super::warning(&own, 93 * DAY_S).unwrap();
        assert!(said.starts_with("dir/c.pem:20: the certificate expired on"), "{said}");
    }

    #[test]
    fn short_lifetimes_are_warned_of_in_their_last_quarter() {
        let validity = days(0, 6);
        assert_eq!(warning(validity, 4 * DAY_S + 12 * HOUR_S - 1), None);
        assert!(warning(validity, 4 * DAY_S + 12 * HOUR_S).unwrap().contains("expires on"));
        // Chains whose certificates are never valid at the same time.
        assert!(warning(days(9, 3), 5 * DAY_S).unwrap().contains("expired on"));
    }

    #[test]
    fn days_are_rounded_down() {
        let validity = days(0, 2);
        let at = |now_s| days_left(validity, now_s);
        assert_eq!([at(0), at(1), at(2 * DAY_S), at(2 * DAY_S + 1)], [2, 1, 0, -1]);
    }

    #[test]
    fn dates_that_nobody_has_set_are_no_reason_to_warn() {
        let validity = Validity { not_before_s: i64::MIN, not_after_s: i64::MAX };
        assert_eq!(warning(validity, unix_now_s()), None);
        let mut watch = Watch::new(validity, 1000, 0);
        assert_eq!(watch.look(&own(validity), 2000, 1), (None, HOUR_MS));
    }

    /// Looks as a listener would for so many days; gives the days of what was told.
    fn told(
        validity: Validity,
        from_day: i64,
        for_days: u64,
        jump: impl Fn(u64) -> i64,
    ) -> Vec<f64> {
        let start_ms = 5_000;
        let mut now_ms = start_ms;
        let unix_s = |now_ms: u64| from_day * DAY_S + ((now_ms - start_ms) / 1000) as i64;
        let mut watch = Watch::new(validity, now_ms, unix_s(now_ms));
        let (mut told, mut looks) = (Vec::new(), 0);
        while now_ms <= start_ms + for_days * DAY_MS {
            let (text, again_ms) = watch.look(&own(validity), now_ms, unix_s(now_ms) + jump(looks));
            assert!((1000..=HOUR_MS).contains(&again_ms), "{again_ms}");
            if text.is_some() {
                told.push((now_ms - start_ms) as f64 / DAY_MS as f64);
            }
            now_ms += again_ms;
            looks += 1;
        }
        assert!(looks <= for_days * 26 + 2, "{looks} looks");
        told
    }

    #[test]
    fn the_log_hears_of_it_once_a_day_and_when_it_changes() {
        let still = |_| 0;
        // Told when it was loaded, so not at once.
        assert_eq!(told(days(0, 90), 100, 3, still), [1.0, 2.0, 3.0]);
        assert_eq!(told(days(0, 90), 10, 30, still), [0.0; 0]);
        // From the first moment of its last 14 days on.
        let from_75: Vec<f64> = told(days(0, 90), 75, 3, still);
        assert_eq!(from_75, [1.0, 2.0, 3.0]);
        // In its last second, when it has ended, and then a day later.
        let second = 1.0 / 86_400.0;
        let ends = [1.0, 1.0 + second, 2.0 + second];
        assert_eq!(told(days(0, 4), 3, 3, still), ends);
        // Valid after a day, which is nothing to tell of.
        assert_eq!(told(days(2, 90), 1, 3, still), [0.0; 0]);
        assert_eq!(told(days(9, 90), 1, 2, still), [1.0, 2.0]);
    }

    #[test]
    fn a_wall_clock_that_jumps_is_noticed_within_an_hour_and_makes_no_flood() {
        // By years into the time behind its end, and back.
        let jumps = |look| if (10..60).contains(&look) { 400 * DAY_S } else { 0 };
        let told_of = told(days(0, 90), 5, 5, jumps);
        assert!(told_of.len() <= 4, "{told_of:?}");
        assert!(told_of[0] <= 11.0 / 24.0, "{told_of:?}");
        // To and fro at every look, in a time without end.
        let flutters = |look| if look % 2 == 0 { 3 * HOUR_S } else { -3 * HOUR_S };
        assert_eq!(told(days(0, 90), 95, 2, flutters), [1.0, 2.0]);
    }
}
