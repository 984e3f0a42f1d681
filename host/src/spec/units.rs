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
