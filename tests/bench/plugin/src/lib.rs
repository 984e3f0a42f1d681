//! The functions that the benchmarks run as a plugin, over the same workloads as the other engines.

use std::borrow::Cow;

use wxhost_guest::prelude::*;

/// Splits a line into words and makes them lower case, as the word count does, for ASCII and without a regular
/// expression.
#[flat_map]
fn tokens(line: &str) -> Tokens<'_> {
    Tokens { rest: line }
}

/// The words of a line.
pub struct Tokens<'a> {
    rest: &'a str,
}

/// The bytes that part words: white space, `!,.?":;` and digits.
static SEPARATORS: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = matches!(
            byte as u8,
            b' ' | b'\t'..=b'\r' | b'!' | b',' | b'.' | b'?' | b'"' | b':' | b';' | b'0'..=b'9'
        );
        byte += 1;
    }
    table
};

impl<'a> Iterator for Tokens<'a> {
    type Item = Cow<'a, str>;

    #[inline]
    fn next(&mut self) -> Option<Cow<'a, str>> {
        let bytes = self.rest.as_bytes();
        let start = bytes.iter().position(|byte| !SEPARATORS[*byte as usize])?;
        let mut has_upper = false;
        let mut end = start;
        while end < bytes.len() && !SEPARATORS[bytes[end] as usize] {
            has_upper |= bytes[end].is_ascii_uppercase();
            end += 1;
        }
        // Separators are ASCII, so both ends are between characters.
        let word = &self.rest[start..end];
        self.rest = &self.rest[end..];
        Some(if has_upper { Cow::Owned(word.to_ascii_lowercase()) } else { Cow::Borrowed(word) })
    }
}

/// Makes a line upper case.
#[map]
fn upper(line: &str) -> String {
    line.to_uppercase()
}

#[derive(Row)]
struct Address<'a> {
    email: &'a str,
}

#[derive(Row)]
struct Masked {
    email: String,
}

/// Hides the name in an e-mail address.
#[map(extend)]
fn mask_email(row: Address<'_>) -> Masked {
    let domain = domain(row.email);
    let mut email = String::with_capacity(domain.len() + 7);
    email.push_str("******@");
    email.push_str(domain);
    Masked { email }
}

/// Drops the rows whose e-mail address is of bytewax.
#[filter]
fn not_bytewax(row: Address<'_>) -> bool {
    !domain(row.email).contains("bytewax")
}

fn domain(email: &str) -> &str {
    email.rsplit_once('@').map_or(email, |(_, domain)| domain)
}

#[derive(Row)]
struct Event<'a> {
    event_timestamp: &'a str,
}

#[derive(Row)]
struct Day {
    year: i32,
    month: u32,
    day: u32,
}

/// Adds year, month and day of a time that is written like `2023-01-01T...`.
#[map(extend)]
fn date_columns(event: Event<'_>) -> Result<Day> {
    let digit = |byte: u8| u32::from(byte.wrapping_sub(b'0'));
    match event.event_timestamp.as_bytes() {
        [y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2, ..]
            if [y1, y2, y3, y4, m1, m2, d1, d2].iter().all(|byte| byte.is_ascii_digit()) =>
        {
            Ok(Day {
                year: (digit(*y1) * 1000 + digit(*y2) * 100 + digit(*y3) * 10 + digit(*y4)) as i32,
                month: digit(*m1) * 10 + digit(*m2),
                day: digit(*d1) * 10 + digit(*d2),
            })
        }
        _ => Err(Error::user(format!("{:?} does not start with a date", event.event_timestamp))),
    }
}

/// The row of the boundary benchmark.
#[derive(Row, Debug, Clone, Copy, PartialEq)]
pub struct Visit<'a> {
    /// Who.
    pub user: &'a str,
    /// Where.
    pub page: &'a str,
    /// When.
    pub ts: i64,
    /// How much.
    pub value: i64,
}

/// Makes work that is small beside the crossing of a row. The host's benchmark calls it natively for comparison.
#[inline]
pub fn visit_kernel(visit: Visit<'_>) -> Visit<'_> {
    Visit {
        user: visit.user.strip_prefix("user-").unwrap_or(visit.user),
        page: visit.page.trim_end_matches('/'),
        ts: visit.ts / 1000,
        value: visit.value.wrapping_mul(31).wrapping_add(visit.ts),
    }
}

/// Runs the kernel of the boundary benchmark.
#[map]
fn boundary(visit: Visit<'_>) -> Visit<'_> {
    visit_kernel(visit)
}

/// Makes work of the size that user code has: a hash (FNV-1a) over the texts of a row. Called natively too.
#[inline]
pub fn fingerprint_kernel(visit: Visit<'_>) -> Visit<'_> {
    let bytes = visit.user.bytes().chain(visit.page.bytes());
    let hash =
        bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3));
    Visit { value: hash as i64, ..visit_kernel(visit) }
}

/// Runs the kernel that does some work.
#[map]
fn fingerprint(visit: Visit<'_>) -> Visit<'_> {
    fingerprint_kernel(visit)
}

/// Counts and adds up the column `value`.
#[derive(Default, State)]
struct CountSum {
    count: u64,
    sum: i64,
}

#[derive(Row)]
struct IntegerValue {
    value: i64,
}

#[derive(Row)]
struct CountedSum {
    count: u64,
    sum: i64,
}

impl Fold for CountSum {
    type In<'a> = IntegerValue;
    type Out = CountedSum;

    #[inline]
    fn fold(&mut self, row: IntegerValue) {
        self.count += 1;
        self.sum = self.sum.wrapping_add(row.value);
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum = self.sum.wrapping_add(other.sum);
    }

    fn finish(&self) -> CountedSum {
        CountedSum { count: self.count, sum: self.sum }
    }
}

/// Counts, adds up and finds the largest of the column `value`, in floating point.
#[derive(State)]
struct CountSumMax {
    count: u64,
    sum: f64,
    max: f64,
}

impl Default for CountSumMax {
    fn default() -> Self {
        Self { count: 0, sum: 0.0, max: f64::NEG_INFINITY }
    }
}

#[derive(Row)]
struct FloatValue {
    value: f64,
}

#[derive(Row)]
struct Statistics {
    count: u64,
    sum: f64,
    max: f64,
}

impl Fold for CountSumMax {
    type In<'a> = FloatValue;
    type Out = Statistics;

    #[inline]
    fn fold(&mut self, row: FloatValue) {
        self.count += 1;
        self.sum += row.value;
        self.max = self.max.max(row.value);
    }

    fn merge(&mut self, other: Self) {
        self.count += other.count;
        self.sum += other.sum;
        self.max = self.max.max(other.max);
    }

    fn finish(&self) -> Statistics {
        Statistics { count: self.count, sum: self.sum, max: self.max }
    }
}

/// How many values there were, their mean, and the sum of the squares of their distances from it (Welford).
#[derive(Saved, Default, Clone, Copy)]
struct Moments {
    n: u64,
    mean: f64,
    squares: f64,
}

#[derive(Row)]
struct Score {
    n: u64,
    avg: f64,
    z: f64,
}

/// The running mean of the column `value`, and how many standard deviations a value is away from the mean before it.
#[stateful_map]
fn score(state: &mut Option<Moments>, value: f64) -> Score {
    let moments = state.get_or_insert_default();
    let deviation = if moments.n >= 2 { (moments.squares / (moments.n - 1) as f64).sqrt() } else { 0.0 };
    let distance = value - moments.mean;
    let z = if deviation > 0.0 { distance / deviation } else { 0.0 };
    moments.n += 1;
    moments.mean += distance / moments.n as f64;
    moments.squares += distance * (value - moments.mean);
    Score { n: moments.n, avg: moments.mean, z }
}

plugin!(tokens, upper, mask_email, not_bytewax, date_columns, boundary, fingerprint, CountSum, CountSumMax, score);

#[cfg(test)]
mod tests {
    use wxhost_guest::testing::{self, transform};

    use super::*;

    #[test]
    fn tokens_are_those_of_the_word_count() {
        let output = transform::<tokens>().run(["To be, or NOT\tto be: 2x", "", "..."]);
        assert_eq!(output.texts(), ["to", "be", "or", "not", "to", "be", "x"]);
    }

    #[test]
    fn rows_of_bytewax_are_masked_and_dropped() {
        let rows =
            || [Address { email: "a@b.io" }, Address { email: "bytewax@c.io" }, Address { email: "x@bytewax.io" }];
        assert_eq!(transform::<not_bytewax>().run(rows()).parents, [0, 1]);
        assert_eq!(transform::<mask_email>().run(rows()).rows[1]["email"], "******@c.io");
    }

    #[test]
    fn dates_are_read_from_their_text() {
        let output = transform::<date_columns>()
            .run([Event { event_timestamp: "2023-01-31T00:00:00Z" }, Event { event_timestamp: "x" }]);
        assert_eq!((&output.rows[0]["year"], &output.rows[0]["day"]), (&2023.into(), &31.into()));
        assert_eq!(output.errors, [(1, "\"x\" does not start with a date".to_owned())]);
    }

    #[test]
    fn the_boundary_map_runs_the_kernel() {
        let visit = Visit { user: "user-7", page: "/a/", ts: 5000, value: 2 };
        let output = transform::<boundary>().run([visit]);
        assert_eq!(output.json_lines(), r#"{"page":"/a","ts":5,"user":"7","value":5062}"#);
    }

    #[test]
    fn the_folds_count() {
        let mut sums = testing::fold::<CountSum>();
        sums.update("a", testing::json(r#"{"value": 1} {"value": 2}"#));
        assert_eq!(sums.finish("a").to_string(), r#"{"count":2,"sum":3}"#);
        let mut statistics = testing::fold::<CountSumMax>();
        statistics.update("a", testing::json(r#"{"value": 1.5} {"value": -2.5}"#));
        assert_eq!(statistics.finish("a").to_string(), r#"{"count":2,"max":1.5,"sum":-1.0}"#);
    }

    #[test]
    fn scores_are_of_the_values_before() {
        let mut scores = testing::stateful::<score>();
        let rows = scores.rows("a", [1.0, 3.0, 5.0]);
        assert_eq!(rows[1].1.to_string(), r#"{"avg":2.0,"n":2,"z":0.0}"#);
        assert_eq!(rows[2].1["z"], 3.0 / 2.0_f64.sqrt());
    }
}
