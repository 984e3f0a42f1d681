//! Durations, sizes and points in time as they are written in a flow.

use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use chrono::DateTime;
use serde::de::value::{I64Deserializer, StrDeserializer};
use serde::de::{Deserialize, Deserializer, Error, Visitor};

use super::Limit;

/// A duration, written `"10s"`, `"500ms"` or `"1h30m"`; whole microseconds, at most `i64::MAX` of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct DurationText(pub Duration);

/// A number of bytes, written `"64MiB"` (powers of 1024) or `"10MB"` (powers of 1000).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Size(pub u64);

/// A point in time in microseconds since 1970 (UTC), written as a TOML datetime or an RFC 3339 string, with its offset.
///
/// What is finer than a microsecond is cut off.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimestampText(pub i64);

const DURATION: &str = "a duration such as \"10s\", \"500ms\" or \"1h30m\"";
const SIZE: &str = "a size such as \"64MiB\" or \"10MB\"";
const TIMESTAMP: &str = "a timestamp such as 2023-01-01T00:00:00Z";

/// The units of a duration in microseconds, from long to short.
const DURATION_UNITS: [(&str, u64); 6] =
    [("d", 86_400_000_000), ("h", 3_600_000_000), ("m", 60_000_000), ("s", 1_000_000), ("ms", 1_000), ("us", 1)];

const SIZE_UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("KB", 1_000),
    ("B", 1),
];

impl DurationText {
    /// Reads a duration; the error says what is wrong and shows an example.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("expected {DURATION}, found {text:?}: {why}"));
        if text.starts_with('-') {
            return wrong("a duration is not negative");
        }
        let mut rest = text;
        let mut shorter = DURATION_UNITS.as_slice();
        let mut micros = 0_u64;
        while !rest.is_empty() || text.is_empty() {
            let (digits, after) = split_while(rest, |c| c.is_ascii_digit());
            let (unit, after) = split_while(after, |c| !c.is_ascii_digit());
            if digits.is_empty() {
                return wrong("a number is missing");
            }
            if unit.is_empty() {
                return wrong("a unit is missing, one of d, h, m, s, ms, us");
            }
            if unit.starts_with('.') {
                return wrong("write a fraction in a shorter unit");
            }
            let Some(at) = shorter.iter().position(|(name, _)| *name == unit) else {
                let known = DURATION_UNITS.iter().any(|(name, _)| *name == unit);
                return wrong(if known {
                    "units go from long to short, each at most once"
                } else {
                    "units are d, h, m, s, ms, us"
                });
            };
            let part = digits.parse::<u64>().ok().and_then(|n| n.checked_mul(shorter[at].1));
            let sum = part.and_then(|part| micros.checked_add(part)).filter(|sum| i64::try_from(*sum).is_ok());
            let Some(sum) = sum else { return wrong("it is too long") };
            micros = sum;
            shorter = &shorter[at + 1..];
            rest = after;
        }
        Ok(Self(Duration::from_micros(micros)))
    }
}

impl Size {
    /// Reads a size; the error says what is wrong and shows an example.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = |why: &str| Err(format!("expected {SIZE}, found {text:?}: {why}"));
        if text.starts_with('-') {
            return wrong("a size is not negative");
        }
        let (digits, unit) = split_while(text, |c| c.is_ascii_digit());
        if digits.is_empty() {
            return wrong("a number is missing");
        }
        if unit.starts_with('.') {
            return wrong("write a fraction in a smaller unit");
        }
        let Some((_, factor)) = SIZE_UNITS.iter().find(|(name, _)| *name == unit) else {
            return wrong("units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024)");
        };
        match digits.parse::<u64>().ok().and_then(|n| n.checked_mul(*factor)) {
            Some(bytes) => Ok(Self(bytes)),
            None => wrong("it is too large"),
        }
    }
}

impl TimestampText {
    /// Reads an RFC 3339 timestamp; the error says what is wrong and shows an example.
    pub fn parse(text: &str) -> Result<Self, String> {
        match DateTime::parse_from_rfc3339(text) {
            Ok(time) => Ok(Self(time.timestamp_micros())),
            Err(_) => Err(format!("expected {TIMESTAMP}, with date, time and offset, found {text:?}")),
        }
    }
}

fn split_while(text: &str, keep: impl Fn(char) -> bool) -> (&str, &str) {
    text.split_at(text.find(|c| !keep(c)).unwrap_or(text.len()))
}

/// Writes the duration so that it reads back as the same.
impl fmt::Display for DurationText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut micros = self.0.as_micros();
        if micros == 0 {
            return f.write_str("0s");
        }
        for (unit, length) in DURATION_UNITS {
            let count = micros / u128::from(length);
            micros %= u128::from(length);
            if count > 0 {
                write!(f, "{count}{unit}")?;
            }
        }
        Ok(())
    }
}

/// Writes the size in the largest unit that divides it.
impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let exact = SIZE_UNITS.iter().find(|(_, factor)| self.0 >= *factor && self.0.is_multiple_of(*factor));
        let (unit, factor) = exact.unwrap_or(&("B", 1));
        write!(f, "{}{unit}", self.0 / factor)
    }
}

impl<'de> Deserialize<'de> for DurationText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor { expected: DURATION, parse: Self::parse })
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor { expected: SIZE, parse: Self::parse })
    }
}

impl<'de> Deserialize<'de> for TimestampText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor { expected: TIMESTAMP, parse: Self::parse })
    }
}

/// Reads a text by `parse`; anything else is refused with `expected`.
struct TextVisitor<T> {
    expected: &'static str,
    parse: fn(&str) -> Result<T, String>,
}

impl<T> Visitor<'_> for TextVisitor<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        (self.parse)(text).map_err(E::custom)
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Limit<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(LimitVisitor(PhantomData))
    }
}

struct LimitVisitor<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for LimitVisitor<T> {
    type Value = Limit<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a limit, or \"off\"")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<Limit<T>, E> {
        if text == "off" { Ok(Limit::Off) } else { T::deserialize(StrDeserializer::new(text)).map(Limit::At) }
    }

    // A number without its unit is refused in the words of the type.
    fn visit_i64<E: Error>(self, integer: i64) -> Result<Limit<T>, E> {
        T::deserialize(I64Deserializer::new(integer)).map(Limit::At)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_are_sums_of_units() {
        for (text, micros) in [
            ("0s", 0),
            ("250us", 250),
            ("500ms", 500_000),
            ("10s", 10_000_000),
            ("2m", 120_000_000),
            ("1h", 3_600_000_000),
            ("1h30m", 5_400_000_000),
            ("1d", 86_400_000_000),
            ("1d2h3m4s5ms6us", 93_784_005_006),
            ("90m", 5_400_000_000),
            ("9223372036854775807us", i64::MAX as u64),
        ] {
            assert_eq!(DurationText::parse(text), Ok(DurationText(Duration::from_micros(micros))), "{text}");
        }
    }

    #[test]
    fn a_wrong_duration_says_why() {
        for (text, why) in [
            ("", "a number is missing"),
            ("s", "a number is missing"),
            ("10", "a unit is missing, one of d, h, m, s, ms, us"),
            ("10 s", "units are d, h, m, s, ms, us"),
            ("10min", "units are d, h, m, s, ms, us"),
            ("10S", "units are d, h, m, s, ms, us"),
            ("1.5s", "write a fraction in a shorter unit"),
            ("30m1h", "units go from long to short, each at most once"),
            ("1s1s", "units go from long to short, each at most once"),
            ("1s-", "units are d, h, m, s, ms, us"),
            ("-5s", "a duration is not negative"),
            ("9223372036854775808us", "it is too long"),
            ("99999999999999999999s", "it is too long"),
            ("200000000d", "it is too long"),
        ] {
            let expect = format!("expected a duration such as \"10s\", \"500ms\" or \"1h30m\", found {text:?}: {why}");
            assert_eq!(DurationText::parse(text), Err(expect));
        }
    }

    #[test]
    fn sizes_are_powers_of_1000_or_1024() {
        for (text, bytes) in [
            ("0B", 0),
            ("512B", 512),
            ("10KB", 10_000),
            ("10MB", 10_000_000),
            ("64MiB", 64 << 20),
            ("1GiB", 1 << 30),
            ("3TiB", 3 << 40),
            ("18446744073709551615B", u64::MAX),
        ] {
            assert_eq!(Size::parse(text), Ok(Size(bytes)), "{text}");
        }
    }

    #[test]
    fn a_wrong_size_says_why() {
        const UNITS: &str = "units are B, KB, MB, GB, TB (powers of 1000) and KiB, MiB, GiB, TiB (powers of 1024)";
        for (text, why) in [
            ("", "a number is missing"),
            ("MiB", "a number is missing"),
            ("64", UNITS),
            ("64M", UNITS),
            ("64mib", UNITS),
            ("64 MiB", UNITS),
            ("1.5GiB", "write a fraction in a smaller unit"),
            ("-1B", "a size is not negative"),
            ("18446744073709551616B", "it is too large"),
            ("20000000TiB", "it is too large"),
        ] {
            let expect = format!("expected a size such as \"64MiB\" or \"10MB\", found {text:?}: {why}");
            assert_eq!(Size::parse(text), Err(expect));
        }
    }

    #[test]
    fn timestamps_need_an_offset() {
        for (text, micros) in [
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2023-01-01T00:00:00.5Z", Some(1_672_531_200_500_000)),
            ("2023-01-01T01:00:00+01:00", Some(1_672_531_200_000_000)),
            ("1969-12-31T23:59:59.9999999Z", Some(-1)),
            ("2023-01-01T00:00:00", None),
            ("2023-01-01", None),
            ("00:00:00", None),
            ("2023-02-30T00:00:00Z", None),
            ("", None),
        ] {
            assert_eq!(TimestampText::parse(text).ok(), micros.map(TimestampText), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_duration_reads_back_as_written(micros in 0..=i64::MAX as u64) {
            let duration = DurationText(Duration::from_micros(micros));
            prop_assert_eq!(DurationText::parse(&duration.to_string()), Ok(duration));
        }

        #[test]
        fn a_size_reads_back_as_written(bytes: u64, shift in 0_u32..64) {
            let size = Size(bytes >> shift << (shift / 2));
            prop_assert_eq!(Size::parse(&size.to_string()), Ok(size));
        }

        #[test]
        fn no_text_makes_reading_fail_badly(text in "\\PC*|[0-9]{0,25}[a-zA-Z]{0,3}[0-9]{0,3}[smhd]") {
            let _ = (DurationText::parse(&text), Size::parse(&text), TimestampText::parse(&text));
        }
    }
}
