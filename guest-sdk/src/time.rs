//! Points in time: microseconds and days since 1970-01-01, in UTC.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// A point in time: microseconds since 1970-01-01T00:00:00Z. A column of the type `timestamp`.
///
/// Reads and writes RFC 3339; in text without an offset the time is UTC, and a space may stand for the `T`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Counts microseconds from 1970.
    pub const fn from_micros(micros: i64) -> Self {
        Self(micros)
    }

    /// Counts milliseconds from 1970.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis * 1000)
    }

    /// Counts seconds from 1970.
    pub const fn from_seconds(seconds: i64) -> Self {
        Self(seconds * 1_000_000)
    }

    /// Returns the microseconds since 1970.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Returns the day in UTC.
    pub const fn date(self) -> Date {
        Date(self.0.div_euclid(MICROS_PER_DAY) as i32)
    }

    /// Returns the year.
    pub const fn year(self) -> i32 {
        self.date().year()
    }

    /// Returns the month, from 1.
    pub const fn month(self) -> u32 {
        self.date().month()
    }

    /// Returns the day of the month, from 1.
    pub const fn day(self) -> u32 {
        self.date().day()
    }

    /// Returns the hour of the day.
    pub const fn hour(self) -> u32 {
        (self.0.rem_euclid(MICROS_PER_DAY) / 3_600_000_000) as u32
    }

    /// Returns the minute of the hour.
    pub const fn minute(self) -> u32 {
        (self.0.rem_euclid(3_600_000_000) / 60_000_000) as u32
    }

    /// Returns the second of the minute.
    pub const fn second(self) -> u32 {
        (self.0.rem_euclid(60_000_000) / 1_000_000) as u32
    }

    /// Returns the microsecond of the second.
    pub const fn microsecond(self) -> u32 {
        self.0.rem_euclid(1_000_000) as u32
    }
}

impl std::ops::Add<std::time::Duration> for Timestamp {
    type Output = Self;

    fn add(self, span: std::time::Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(span.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl FromStr for Timestamp {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        parse_timestamp(text.as_bytes()).ok_or_else(|| ParseTimeError { what: "timestamp", text: text.to_owned() })
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}T{:02}:{:02}:{:02}", self.date(), self.hour(), self.minute(), self.second())?;
        match self.microsecond() {
            0 => f.write_str("Z"),
            micros if micros % 1000 == 0 => write!(f, ".{:03}Z", micros / 1000),
            micros => write!(f, ".{micros:06}Z"),
        }
    }
}

/// A day: days since 1970-01-01. A column of the type `date`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Date(i32);

impl Date {
    /// Counts days from 1970-01-01.
    pub const fn from_days(days: i32) -> Self {
        Self(days)
    }

    /// Returns the day of a calendar date in the Gregorian calendar, or `None` if there is no such day.
    pub const fn from_ymd(year: i32, month: u32, day: u32) -> Option<Self> {
        if month < 1 || month > 12 || day < 1 || day > days_in_month(year, month) || year.abs() > 999_999 {
            return None;
        }
        // Counts from March, so that the leap day is the last of its year; eras are 400 years.
        let shifted = if month <= 2 { year - 1 } else { year };
        let era = shifted.div_euclid(400);
        let year_of_era = shifted.rem_euclid(400);
        let month_from_march = (month as i32 + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + day as i32 - 1;
        Some(Self(era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468))
    }

    /// Returns the days since 1970-01-01.
    pub const fn days(self) -> i32 {
        self.0
    }

    /// Returns the year.
    pub const fn year(self) -> i32 {
        self.ymd().0
    }

    /// Returns the month, from 1.
    pub const fn month(self) -> u32 {
        self.ymd().1
    }

    /// Returns the day of the month, from 1.
    pub const fn day(self) -> u32 {
        self.ymd().2
    }

    const fn ymd(self) -> (i32, u32, u32) {
        let days = self.0 as i64 + 719_468;
        let era = days.div_euclid(146_097);
        let day_of_era = days.rem_euclid(146_097);
        let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
        let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
        let year = year_of_era + era * 400 + (month <= 2) as i64;
        (year as i32, month as u32, day as u32)
    }
}

impl FromStr for Date {
    type Err = ParseTimeError;

    fn from_str(text: &str) -> Result<Self, ParseTimeError> {
        parse_date(text.as_bytes())
            .filter(|_| text.len() == 10)
            .ok_or_else(|| ParseTimeError { what: "date", text: text.to_owned() })
    }
}

impl fmt::Display for Date {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.ymd();
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

/// Text that is no time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseTimeError {
    what: &'static str,
    text: String,
}

impl fmt::Display for ParseTimeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} is no {}, which look like ", self.text, self.what)?;
        f.write_str(if self.what == "date" { "2024-01-31" } else { "2024-01-31T12:00:00Z" })
    }
}

impl std::error::Error for ParseTimeError {}

const fn days_in_month(year: i32, month: u32) -> u32 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

fn digits(text: &[u8]) -> Option<u32> {
    text.iter().try_fold(0u32, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0')))
}

fn parse_date(text: &[u8]) -> Option<Date> {
    if *text.get(4)? != b'-' || *text.get(7)? != b'-' {
        return None;
    }
    Date::from_ymd(digits(&text[..4])? as i32, digits(&text[5..7])?, digits(text.get(8..10)?)?)
}

fn parse_timestamp(text: &[u8]) -> Option<Timestamp> {
    let midnight = i64::from(parse_date(text)?.days()) * MICROS_PER_DAY;
    let Some((separator, time)) = text[10..].split_first() else {
        return Some(Timestamp(midnight));
    };
    if !matches!(separator, b'T' | b't' | b' ') || *time.get(2)? != b':' || *time.get(5)? != b':' {
        return None;
    }
    let (hour, minute, second) = (digits(&time[..2])?, digits(&time[3..5])?, digits(time.get(6..8)?)?);
    // A leap second counts as the last second of its minute: there is no such point in system time.
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let mut rest = &time[8..];
    let mut micros = 0;
    if let Some(fraction) = rest.strip_prefix(b".") {
        let length = fraction.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if length == 0 {
            return None;
        }
        let kept = length.min(6);
        micros = digits(&fraction[..kept])? * 10u32.pow(6 - kept as u32);
        rest = &fraction[length..];
    }
    let offset_minutes = match rest {
        [] | [b'Z' | b'z'] => 0,
        [sign @ (b'+' | b'-'), h1, h2, b':', m1, m2] | [sign @ (b'+' | b'-'), h1, h2, m1, m2] => {
            let (hours, minutes) = (digits(&[*h1, *h2])?, digits(&[*m1, *m2])?);
            if hours > 23 || minutes > 59 {
                return None;
            }
            let offset = i64::from(hours * 60 + minutes);
            if *sign == b'+' { offset } else { -offset }
        }
        _ => return None,
    };
    let minutes = i64::from(hour * 60 + minute) - offset_minutes;
    Some(Timestamp(midnight + (minutes * 60 + i64::from(second.min(59))) * 1_000_000 + i64::from(micros)))
}

/// Text where people read it (JSON), a number in states.
macro_rules! serde_as_text {
    ($type:ty, $number:ty) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                if serializer.is_human_readable() { serializer.collect_str(self) } else { self.0.serialize(serializer) }
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                if deserializer.is_human_readable() {
                    String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
                } else {
                    <$number>::deserialize(deserializer).map(Self)
                }
            }
        }
    };
}

serde_as_text!(Timestamp, i64);
serde_as_text!(Date, i32);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timestamps_are_read_in_the_forms_that_people_write() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", 0),
            ("1970-01-01", 0),
            ("1970-01-01 00:00:01.5", 1_500_000),
            ("2022-01-02T03:04:05.000006Z", 1_641_092_645_000_006),
            ("2022-01-02 03:04:05.0000067", 1_641_092_645_000_006),
            ("2022-01-02T03:04:05+01:00", 1_641_089_045_000_000),
            ("2022-01-02T03:04:05-0130", 1_641_098_045_000_000),
            ("1969-12-31T23:59:59Z", -1_000_000),
        ] {
            assert_eq!(text.parse::<Timestamp>().map(Timestamp::micros), Ok(micros), "{text}");
        }
    }

    #[test]
    fn what_is_no_timestamp_is_refused() {
        for text in
            ["", "2022", "2022-13-01", "2022-02-30", "2022-01-02T25:00:00Z", "2022-01-02T03:04", "2022-01-02T03:04:05X"]
        {
            assert!(text.parse::<Timestamp>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_day_of_eight_centuries_comes_back() {
        for days in -150_000..150_000 {
            let date = Date::from_days(days);
            assert_eq!(Date::from_ymd(date.year(), date.month(), date.day()), Some(date));
        }
    }

    #[test]
    fn a_timestamp_prints_as_it_was_read() {
        for text in ["2024-02-29T23:59:59Z", "2024-02-29T23:59:59.120Z", "1999-12-31T00:00:00.000001Z"] {
            assert_eq!(text.parse::<Timestamp>().unwrap().to_string(), text);
        }
    }
}
