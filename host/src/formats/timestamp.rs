//! Instants and days as text.
//!
//! Instants are microseconds since 1970-01-01T00:00:00Z, days are counted from 1970-01-01. Text is read for the years 1
//! to 9999 only: what lies outside is a mistake more often than a date.

use std::str::FromStr;

use chrono::format::{Item, Parsed, StrftimeItems};
use chrono::{DateTime, FixedOffset, NaiveTime};

const MICROS_PER_SECOND: i64 = 1_000_000;
const SECONDS_PER_DAY: i64 = 86_400;
/// The first instant that is read: 0001-01-01T00:00:00Z.
pub const FIRST: i64 = -62_135_596_800 * MICROS_PER_SECOND;
/// The last instant that is read: 9999-12-31T23:59:59.999999Z.
pub const LAST: i64 = 253_402_300_800 * MICROS_PER_SECOND - 1;

/// Reads `2022-01-02T03:04:05.123456Z`.
///
/// The `T` may be a space, the fraction may be missing (digits after the sixth are dropped), the zone too (then it is
/// UTC), and so may the whole time (then it is midnight). Returns `None` for anything else.
pub fn parse(text: &str) -> Option<i64> {
    let micros = parse_fast(text.as_bytes()).or_else(|| parse_slow(text))?;
    (FIRST..=LAST).contains(&micros).then_some(micros)
}

/// Reads `2022-01-02` as days since 1970-01-01.
pub fn parse_date(text: &str) -> Option<i32> {
    match text.as_bytes() {
        bytes @ [_, _, _, _, _, _, _, _, _, _] => date(bytes).map(|days| days as i32),
        _ => None,
    }
}

/// Writes an instant as `2022-01-02T03:04:05Z`, with three or six digits of a second when they are not zero.
pub fn write(micros: i64, out: &mut Vec<u8>) {
    let seconds = micros.div_euclid(MICROS_PER_SECOND);
    let fraction = micros.rem_euclid(MICROS_PER_SECOND) as u32;
    let of_day = seconds.rem_euclid(SECONDS_PER_DAY) as u32;
    write_days(seconds.div_euclid(SECONDS_PER_DAY), out);
    let mut time = *b"T00:00:00";
    put_two(&mut time[1..3], of_day / 3600);
    put_two(&mut time[4..6], of_day / 60 % 60);
    put_two(&mut time[7..9], of_day % 60);
    out.extend_from_slice(&time);
    if fraction != 0 {
        let mut digits = *b".000000";
        put_two(&mut digits[1..3], fraction / 10_000);
        put_two(&mut digits[3..5], fraction / 100 % 100);
        put_two(&mut digits[5..7], fraction % 100);
        let is_millis = fraction.is_multiple_of(1000);
        out.extend_from_slice(if is_millis { &digits[..4] } else { &digits });
    }
    out.push(b'Z');
}

/// Writes days since 1970-01-01 as `2022-01-02`.
pub fn write_date(days: i32, out: &mut Vec<u8>) {
    write_days(i64::from(days), out);
}

/// Returns an instant as text, as `write` writes it.
pub fn to_text(micros: i64) -> String {
    let mut out = Vec::with_capacity(27);
    write(micros, &mut out);
    String::from_utf8(out).expect("dates are written in ASCII")
}

/// How instants are written in a text column.
///
/// Reads from `rfc3339`, `unix_s`, `unix_ms`, `unix_us`, or a pattern of strftime such as `%d/%m/%Y %H:%M:%S`.
#[derive(Clone, Debug, PartialEq)]
pub enum TimestampFormat {
    Rfc3339,
    /// Seconds since 1970, possibly with a fraction.
    UnixSeconds,
    UnixMillis,
    UnixMicros,
    Pattern(Vec<Item<'static>>),
}

/// Says why a text is no instant, or no format of instants.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct TimestampError(String);

impl FromStr for TimestampFormat {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<TimestampFormat, TimestampError> {
        let names = "formats are rfc3339, unix_s, unix_ms, unix_us, or a pattern such as \"%Y-%m-%d %H:%M:%S\"";
        Ok(match text {
            "rfc3339" => TimestampFormat::Rfc3339,
            "unix_s" => TimestampFormat::UnixSeconds,
            "unix_ms" => TimestampFormat::UnixMillis,
            "unix_us" => TimestampFormat::UnixMicros,
            pattern if pattern.contains('%') => {
                let items = StrftimeItems::new(pattern).parse_to_owned();
                let refused = |_| TimestampError(format!("{pattern:?} is no pattern of strftime; {names}"));
                TimestampFormat::Pattern(items.map_err(refused)?)
            }
            unknown => return Err(TimestampError(format!("unknown timestamp format {unknown:?}; {names}"))),
        })
    }
}

/// Reads an instant written in a format. Without a zone it is UTC, without a time it is midnight.
pub fn parse_with(format: &TimestampFormat, text: &str) -> Result<i64, TimestampError> {
    let micros = match format {
        TimestampFormat::Rfc3339 => parse(text),
        TimestampFormat::UnixSeconds => parse_seconds(text),
        TimestampFormat::UnixMillis => text.parse::<i64>().ok().and_then(|millis| millis.checked_mul(1000)),
        TimestampFormat::UnixMicros => text.parse().ok(),
        TimestampFormat::Pattern(items) => parse_pattern(items, text),
    };
    match micros {
        Some(micros) if (FIRST..=LAST).contains(&micros) => Ok(micros),
        Some(_) => Err(TimestampError(format!("timestamp {text:?} is outside the years 1 to 9999"))),
        None => Err(TimestampError(format!("expected a timestamp {}, found {text:?}", format.wanted()))),
    }
}

/// Writes an instant in a format.
pub fn write_with(format: &TimestampFormat, micros: i64, out: &mut Vec<u8>) {
    let mut integer = |number: i64| out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
    match format {
        TimestampFormat::Rfc3339 => write(micros, out),
        TimestampFormat::UnixSeconds => integer(micros.div_euclid(MICROS_PER_SECOND)),
        TimestampFormat::UnixMillis => integer(micros.div_euclid(1000)),
        TimestampFormat::UnixMicros => integer(micros),
        TimestampFormat::Pattern(items) => match DateTime::from_timestamp_micros(micros) {
            Some(time) => out.extend_from_slice(time.format_with_items(items.iter()).to_string().as_bytes()),
            // Beyond chrono's calendar, in year 262143.
            None => write(micros, out),
        },
    }
}

impl TimestampFormat {
    fn wanted(&self) -> &'static str {
        match self {
            TimestampFormat::Rfc3339 => "like 2022-01-02T03:04:05Z",
            TimestampFormat::UnixSeconds => "in seconds since 1970",
            TimestampFormat::UnixMillis => "in milliseconds since 1970",
            TimestampFormat::UnixMicros => "in microseconds since 1970",
            TimestampFormat::Pattern(_) => "in the pattern of the flow",
        }
    }
}

/// Reads the fixed layout, without chrono's general parser.
fn parse_fast(text: &[u8]) -> Option<i64> {
    let (head, rest) = text.split_at_checked(19)?;
    if !matches!(head[10], b'T' | b't' | b' ') || head[13] != b':' || head[16] != b':' {
        return None;
    }
    let days = date(&head[..10])?;
    let (hour, minute, second) = (two(&head[11..])?, two(&head[14..])?, two(&head[17..])?);
    if hour > 23 || minute > 59 || second > 59 {
        return None;
    }
    let (fraction, zone) = match rest {
        [b'.' | b',', rest @ ..] => fraction(rest)?,
        _ => (0, rest),
    };
    let offset = match zone {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] | [sign @ (b'+' | b'-'), h1, h2, m1, m2] => {
            let (hours, minutes) = (two(&[*h1, *h2])?, two(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let seconds = i64::from(hours * 3600 + minutes * 60);
            if *sign == b'-' { -seconds } else { seconds }
        }
        _ => return None,
    };
    let seconds = days * SECONDS_PER_DAY + i64::from(hour * 3600 + minute * 60 + second) - offset;
    Some(seconds * MICROS_PER_SECOND + fraction)
}

/// Reads the rest: leap seconds, and days alone.
fn parse_slow(text: &str) -> Option<i64> {
    match DateTime::parse_from_rfc3339(text) {
        Ok(time) => Some(time.timestamp_micros()),
        Err(_) => parse_date(text).map(|days| i64::from(days) * SECONDS_PER_DAY * MICROS_PER_SECOND),
    }
}

/// Reads seconds with an optional fraction.
fn parse_seconds(text: &str) -> Option<i64> {
    let (whole, micros) = match text.split_once('.') {
        Some((whole, digits)) => match fraction(digits.as_bytes())? {
            (micros, []) => (whole, micros),
            _ => return None,
        },
        None => (text, 0),
    };
    let seconds: i64 = whole.parse().ok()?;
    let micros = if whole.starts_with('-') { -micros } else { micros };
    seconds.checked_mul(MICROS_PER_SECOND)?.checked_add(micros)
}

fn parse_pattern(items: &[Item<'_>], text: &str) -> Option<i64> {
    let mut parsed = Parsed::new();
    chrono::format::parse(&mut parsed, text, items.iter()).ok()?;
    if let Ok(time) = parsed.to_datetime() {
        return Some(time.timestamp_micros());
    }
    let offset = match parsed.offset() {
        Some(seconds) => FixedOffset::east_opt(seconds)?,
        None => FixedOffset::east_opt(0)?,
    };
    let naive = parsed.to_naive_datetime_with_offset(offset.local_minus_utc()).ok();
    let has_time = parsed.hour_mod_12().is_some() || parsed.minute().is_some();
    let naive = match naive {
        Some(naive) => naive,
        None if has_time => return None,
        None => parsed.to_naive_date().ok()?.and_time(NaiveTime::MIN),
    };
    Some(naive.and_local_timezone(offset).single()?.timestamp_micros())
}

/// Reads at least one digit of a second's fraction; returns microseconds and what follows.
fn fraction(text: &[u8]) -> Option<(i64, &[u8])> {
    let count = text.iter().take_while(|c| c.is_ascii_digit()).count();
    let (digits, rest) = text.split_at(count);
    let micros = (0..6).fold(0, |sum, place| sum * 10 + digits.get(place).map_or(0, |c| i64::from(c - b'0')));
    (count > 0).then_some((micros, rest))
}

/// Reads ten bytes `YYYY-MM-DD` as days since 1970-01-01.
fn date(text: &[u8]) -> Option<i64> {
    if text[4] != b'-' || text[7] != b'-' {
        return None;
    }
    let year = two(text)? * 100 + two(&text[2..])?;
    let (month, day) = (two(&text[5..])?, two(&text[8..])?);
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    let length = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap => 29,
        2 => 28,
        _ => return None,
    };
    ((1..=length).contains(&day) && year > 0).then(|| days_from_civil(i64::from(year), month, day))
}

fn two(text: &[u8]) -> Option<u32> {
    let (tens, ones) = (text[0].wrapping_sub(b'0'), text[1].wrapping_sub(b'0'));
    (tens < 10 && ones < 10).then_some(u32::from(tens) * 10 + u32::from(ones))
}

fn put_two(out: &mut [u8], number: u32) {
    out[0] = b'0' + (number / 10) as u8;
    out[1] = b'0' + (number % 10) as u8;
}

/// Counts the days since 1970-01-01 in the Gregorian calendar, with years that start in March, so that the leap day
/// comes last.
fn days_from_civil(year: i64, month: u32, day: u32) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

/// The inverse of [`days_from_civil`], for any year that fits.
fn civil_from_days(days: i64) -> (i64, u32, u32) {
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = ((month_from_march + 2) % 12 + 1) as u32;
    (era * 400 + year_of_era + i64::from(month <= 2), month, day)
}

fn write_days(days: i64, out: &mut Vec<u8>) {
    let (year, month, day) = civil_from_days(days);
    let mut text = *b"0000-00-00";
    if let Ok(year @ 0..=9999) = u32::try_from(year) {
        put_two(&mut text[..2], year / 100);
        put_two(&mut text[2..4], year % 100);
    } else {
        // ISO 8601 wants a sign on years of more than four digits, and before year 0.
        out.extend_from_slice(format!("{year:+05}").as_bytes());
    }
    put_two(&mut text[5..7], month);
    put_two(&mut text[8..10], day);
    let start = if (0..=9999).contains(&year) { 0 } else { 4 };
    out.extend_from_slice(&text[start..]);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn instants_are_read_in_the_usual_spellings() {
        let base = 1_641_092_645_000_000;
        for (text, wanted) in [
            ("2022-01-02T03:04:05Z", Some(base)),
            ("2022-01-02T03:04:05", Some(base)),
            ("2022-01-02 03:04:05", Some(base)),
            ("2022-01-02t03:04:05z", Some(base)),
            ("2022-01-02T03:04:05.5Z", Some(base + 500_000)),
            ("2022-01-02T03:04:05.123456789Z", Some(base + 123_456)),
            ("2022-01-02T05:04:05+02:00", Some(base)),
            ("2022-01-02 01:34:05.000001-0130", Some(base + 1)),
            ("2022-01-02", Some(base - 11_045_000_000)),
            ("1969-12-31T23:59:59.999999Z", Some(-1)),
            ("2016-12-31T23:59:60Z", Some(1_483_228_800_000_000)),
            ("0001-01-01T00:00:00Z", Some(FIRST)),
            ("9999-12-31T23:59:59.999999Z", Some(LAST)),
            ("0001-01-01T00:00:00+01:00", None),
            ("0000-01-01T00:00:00Z", None),
            ("2022-02-29T00:00:00Z", None),
            ("2000-02-29T00:00:00Z", Some(951_782_400_000_000)),
            ("1900-02-29T00:00:00Z", None),
            ("2022-13-01T00:00:00Z", None),
            ("2022-01-02T24:00:00Z", None),
            ("2022-01-02T03:04:05.Z", None),
            ("2022-01-02T03:04:05 Z", None),
            ("2022-01-02T03:04:05+2", None),
            ("2022-01-02T03:04", None),
            ("2022-01-0éT03:04:05Z", None),
            ("yesterday", None),
            ("", None),
        ] {
            assert_eq!(parse(text), wanted, "{text:?}");
        }
    }

    #[test]
    fn instants_and_days_are_written_in_one_spelling() {
        for (micros, wanted) in [
            (0, "1970-01-01T00:00:00Z"),
            (1_641_092_645_123_456, "2022-01-02T03:04:05.123456Z"),
            (1_641_092_645_120_000, "2022-01-02T03:04:05.120Z"),
            (-1, "1969-12-31T23:59:59.999999Z"),
            (LAST + 1, "+10000-01-01T00:00:00Z"),
            (FIRST - 1, "0000-12-31T23:59:59.999999Z"),
            (i64::MIN, "-290308-12-21T19:59:05.224192Z"),
        ] {
            assert_eq!(to_text(micros), wanted);
        }
        for (days, wanted) in [(0, "1970-01-01"), (19_024, "2022-02-01"), (-1, "1969-12-31")] {
            let mut out = Vec::new();
            write_date(days, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), wanted);
            assert_eq!(parse_date(wanted), Some(days));
        }
        assert_eq!(parse_date("2022-1-1"), None);
        assert_eq!(parse_date("2022-02-30"), None);
    }

    #[test]
    fn formats_are_read_and_written() {
        for (format, text, wanted, written) in [
            ("unix_s", "1641092645", 1_641_092_645_000_000, "1641092645"),
            ("unix_s", "-1.5", -1_500_000, "-2"),
            ("unix_ms", "1641092645123", 1_641_092_645_123_000, "1641092645123"),
            ("unix_us", "-7", -7, "-7"),
            ("rfc3339", "2022-01-02T03:04:05Z", 1_641_092_645_000_000, "2022-01-02T03:04:05Z"),
            ("%d/%m/%Y %H:%M:%S", "02/01/2022 03:04:05", 1_641_092_645_000_000, "02/01/2022 03:04:05"),
            (
                "%Y-%m-%d %H:%M:%S%.f %z",
                "2022-01-02 05:04:05.25 +0200",
                1_641_092_645_250_000,
                "2022-01-02 03:04:05.250 +0000",
            ),
            ("%Y%m%d", "20220102", 1_641_081_600_000_000, "20220102"),
            ("%d/%b/%Y:%H:%M:%S %z", "10/Oct/2000:13:55:36 -0700", 971_211_336_000_000, "10/Oct/2000:20:55:36 +0000"),
            ("%s", "5", 5_000_000, "5"),
        ] {
            let format: TimestampFormat = format.parse().unwrap();
            assert_eq!(parse_with(&format, text), Ok(wanted), "{format:?} {text:?}");
            let mut out = Vec::new();
            write_with(&format, wanted, &mut out);
            assert_eq!(String::from_utf8(out).unwrap(), written);
        }
    }

    #[test]
    fn what_is_no_instant_is_refused_by_name() {
        for (format, text, message) in [
            ("unix_s", "soon", "expected a timestamp in seconds since 1970, found \"soon\""),
            ("unix_s", "1641092645123", "timestamp \"1641092645123\" is outside the years 1 to 9999"),
            (
                "unix_ms",
                "9223372036854775807",
                "expected a timestamp in milliseconds since 1970, found \"9223372036854775807\"",
            ),
            ("rfc3339", "x", "expected a timestamp like 2022-01-02T03:04:05Z, found \"x\""),
            ("%Y", "2022", "expected a timestamp in the pattern of the flow, found \"2022\""),
            ("%H:%M", "01:02", "expected a timestamp in the pattern of the flow, found \"01:02\""),
        ] {
            let format: TimestampFormat = format.parse().unwrap();
            assert_eq!(parse_with(&format, text).unwrap_err().to_string(), message);
        }
        for bad in ["iso", "%Q"] {
            assert!(bad.parse::<TimestampFormat>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn every_instant_reads_back(micros in FIRST..=LAST) {
            let text = to_text(micros);
            prop_assert_eq!(parse(&text), Some(micros));
            let chrono = DateTime::parse_from_rfc3339(&text).unwrap().timestamp_micros();
            prop_assert_eq!(chrono, micros);
        }
    }
}
