//! Numbers as people read them.

use std::time::Duration;

/// Writes a count with a comma between thousands.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a number with three digits and a unit of thousands: `1.23 M`.
pub fn short(number: f64) -> String {
    scaled(number, 1000.0, &["", " k", " M", " G", " T", " P"])
}

/// Writes a number of bytes: `1.23 MiB`.
pub fn bytes(number: f64) -> String {
    scaled(number, 1024.0, &[" B", " KiB", " MiB", " GiB", " TiB", " PiB"])
}

/// Writes a time: `1.23 s`, `4.56 ms`; from a minute on `1:02`, `1:02:03`.
pub fn time(time: Duration) -> String {
    let seconds = time.as_secs_f64();
    match time.as_secs() {
        0 if time.is_zero() => "0 s".to_owned(),
        0 if seconds < 1e-3 => format!("{} µs", digits(seconds * 1e6)),
        0 => format!("{} ms", digits(seconds * 1e3)),
        1..60 => format!("{} s", digits(seconds)),
        whole => clock(whole),
    }
}

/// Writes whole seconds as a clock does: `0:07`, `1:02:03`.
pub fn clock(seconds: u64) -> String {
    match seconds / 3600 {
        0 => format!("{}:{:02}", seconds / 60, seconds % 60),
        hours => format!("{hours}:{:02}:{:02}", seconds / 60 % 60, seconds % 60),
    }
}

fn scaled(number: f64, step: f64, units: &[&str]) -> String {
    let mut number = number;
    let mut unit = 0;
    while number >= 999.5 && unit + 1 < units.len() {
        number /= step;
        unit += 1;
    }
    let number = if unit == 0 { format!("{number:.0}") } else { digits(number) };
    format!("{number}{}", units[unit])
}

/// Writes three digits.
fn digits(number: f64) -> String {
    let decimals = match number {
        ..9.995 => 2,
        ..99.95 => 1,
        _ => 0,
    };
    format!("{number:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_few_digits_and_a_unit() {
        for (number, text) in [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(count(number), text);
        }
        for (number, text) in [(0.4, "0"), (999.0, "999"), (999.7, "1.00 k"), (12_345.0, "12.3 k"), (2e6, "2.00 M")] {
            assert_eq!(short(number), text);
        }
        for (number, text) in [(0.0, "0 B"), (2048.0, "2.00 KiB"), (300e6, "286 MiB"), (1e300, "8.88e284 PiB")] {
            let written = bytes(number);
            assert!(written == text || number > 1e20, "{written} is not {text}");
        }
        for (micros, text) in [
            (0, "0 s"),
            (12, "12.0 µs"),
            (1_500, "1.50 ms"),
            (999_999, "1000 ms"),
            (1_000_000, "1.00 s"),
            (59_999_999, "60.0 s"),
            (62_000_000, "1:02"),
            (3_723_000_000, "1:02:03"),
        ] {
            assert_eq!(time(Duration::from_micros(micros)), text);
        }
    }
}
