//! Folds in windows of event time under test.

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Duration;

use serde_json::Value;

use super::rows::{IntoRows, Rows, plain};
use crate::bindings::wxhost::plugin::types::Schema;
use crate::error::Error;
use crate::fold::{self, OpenFold, ReduceFunction, Reduced, TryFold};
use crate::time::Timestamp;

/// How event time is cut into windows. They are aligned to 1970-01-01T00:00:00Z.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Windower {
    /// One after the other.
    Tumbling(Duration),
    /// Of a length, beginning every so often; they overlap.
    Sliding(Duration, Duration),
    /// As long as rows follow each other within a gap.
    Session(Duration),
}

/// Tests a fold in windows: `windows::<Average>(Windower::Tumbling(Duration::from_secs(5)))`.
///
/// ```
/// use std::time::Duration;
/// use wxhost_guest::prelude::*;
/// use wxhost_guest::testing::{self, Windower};
///
/// #[reduce]
/// fn sum(first: i64, second: i64) -> i64 {
///     first + second
/// }
///
/// let at = |seconds: i64| Timestamp::from_seconds(seconds);
/// let mut sums = testing::reduce_windows::<sum>(Windower::Session(Duration::from_secs(5)));
/// sums.rows("a", &[at(1), at(9), at(5)], [1, 20, 300]);
/// let closed = sums.advance_to(at(15));
/// assert_eq!((closed[0].open, closed[0].close, &closed[0].row), (at(1), at(9), &321.into()));
/// ```
pub fn windows<T: TryFold>(windower: Windower) -> WindowsTest<T> {
    WindowsTest {
        windower,
        config: String::new(),
        open: None,
        windows: BTreeMap::new(),
        groups: 0,
        watermark: Timestamp::from_micros(i64::MIN),
        late: 0,
        errors: Vec::new(),
        fold: PhantomData,
    }
}

/// Tests a reduction in windows.
pub fn reduce_windows<F: ReduceFunction>(windower: Windower) -> WindowsTest<Reduced<F>> {
    windows(windower)
}

/// A fold under test, with a state for each window of a key. Unlike a flow's, all keys have one watermark, which the test
/// moves.
pub struct WindowsTest<T: TryFold> {
    windower: Windower,
    config: String,
    open: Option<(Schema, OpenFold)>,
    /// By key and opening time.
    windows: BTreeMap<(String, i64), Window>,
    /// How many groups were given out; none is used twice.
    groups: u32,
    watermark: Timestamp,
    late: usize,
    errors: Vec<(String, String)>,
    fold: PhantomData<T>,
}

struct Window {
    group: u32,
    /// The end; of a session, the time of the last row.
    close: i64,
    /// Whether a row was folded: a window of which all failed gives nothing.
    is_folded: bool,
}

/// A window that closed.
#[derive(Debug, Clone, PartialEq)]
pub struct Closed {
    /// The key.
    pub key: String,
    /// The beginning; of a session, the time of its first row.
    pub open: Timestamp,
    /// The end, which is outside; of a session, the time of its last row.
    pub close: Timestamp,
    /// What the fold made; a row of the one column `value` as that value.
    pub row: Value,
}

impl<T: TryFold> WindowsTest<T> {
    /// Sets the configuration, as JSON.
    pub fn config(mut self, config: impl ToString) -> Self {
        self.config = config.to_string();
        self
    }

    /// Hands over rows of a key, each with its event time. They are taken in the order of their times; those behind the
    /// watermark are late and count for nothing else.
    ///
    /// # Panics
    ///
    /// Panics if there is not a time for each row, if the fold cannot be opened for the rows, or if a whole call fails.
    pub fn rows(&mut self, key: &str, times: &[Timestamp], rows: impl IntoRows) {
        let rows = rows.into_rows();
        assert_eq!(times.len(), rows.len(), "every row has an event time");
        self.open_for(&rows.schema);
        let batch = rows.select(&self.opened().reads);
        let mut order: Vec<u32> = (0..times.len() as u32).collect();
        order.sort_by_key(|row| times[*row as usize]);
        for row in order {
            let at = times[row as usize];
            if at < self.watermark {
                self.late += 1;
                continue;
            }
            for open in self.windows_of(key, at.micros()) {
                let group = self.windows[&(key.to_owned(), open)].group;
                let updated = self.opened().groups.update(&[group], Some(&[row]), &batch);
                match updated.unwrap_or_else(|error| panic!("{error}")).pop() {
                    Some(error) => self.errors.push((key.to_owned(), error.message)),
                    None => self.window(key, open, 0).is_folded = true,
                }
            }
        }
    }

    /// Moves the watermark, closing the windows before it: those that end first come first, and of those that end
    /// together, in the order of the keys' bytes.
    ///
    /// # Panics
    ///
    /// Panics if a call fails.
    pub fn advance_to(&mut self, watermark: Timestamp) -> Vec<Closed> {
        self.watermark = self.watermark.max(watermark);
        let (windower, watermark) = (self.windower, self.watermark.micros());
        self.close(|window| match windower {
            Windower::Tumbling(_) | Windower::Sliding(..) => window.close <= watermark,
            Windower::Session(gap) => window.close.saturating_add(micros(gap)) < watermark,
        })
    }

    /// Ends the input, which closes all windows.
    ///
    /// # Panics
    ///
    /// Panics if a call fails.
    pub fn eof(&mut self) -> Vec<Closed> {
        self.close(|_| true)
    }

    /// Takes a crash and the resume after it: encodes all states, opens the fold anew, and decodes them.
    ///
    /// # Panics
    ///
    /// Panics if a state cannot be encoded or decoded.
    pub fn resume(&mut self) {
        // A window of which all rows failed has a state all the same.
        let groups: Vec<u32> = self.windows.values().map(|window| window.group).collect();
        let Some((schema, open)) = self.open.take() else { return };
        let states = open.groups.snapshot(&groups).unwrap_or_else(|error| panic!("{error}"));
        self.open_for(&schema);
        self.opened().groups.restore(&groups, &states).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Returns how many rows were late.
    pub fn late(&self) -> usize {
        self.late
    }

    /// Takes what failed, rows and windows: the key, and why.
    pub fn take_errors(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.errors)
    }

    /// Returns the windows that a row enters, by their opening times, and opens and merges what is to be.
    fn windows_of(&mut self, key: &str, at: i64) -> Vec<i64> {
        let (length, every) = match self.windower {
            Windower::Tumbling(length) => (micros(length), micros(length)),
            Windower::Sliding(length, every) => (micros(length), micros(every)),
            Windower::Session(gap) => return vec![self.session_of(key, at, micros(gap))],
        };
        let last = at.div_euclid(every) * every;
        let opens = (0..).map(|n| last - n * every).take_while(|open| open + length > at);
        let mut opens: Vec<i64> = opens.collect();
        opens.reverse();
        for open in &opens {
            self.window(key, *open, open + length);
        }
        opens
    }

    fn session_of(&mut self, key: &str, at: i64, gap: i64) -> i64 {
        let near = self.windows.iter().filter(|((of, open), window)| {
            of == key && open.saturating_sub(gap) <= at && at <= window.close.saturating_add(gap)
        });
        let near: Vec<i64> = near.map(|((_, open), _)| *open).collect();
        let Some((survivor, others)) = near.split_first() else {
            self.window(key, at, at);
            return at;
        };
        let of = |open: i64| (key.to_owned(), open);
        let mut session = self.windows.remove(&of(*survivor)).expect("it was just found");
        for other in others {
            let other = self.windows.remove(&of(*other)).expect("it was just found");
            let merged = self.opened().groups.merge(&[session.group], &[other.group]);
            merged.unwrap_or_else(|error| panic!("{error}"));
            session.close = session.close.max(other.close);
            session.is_folded |= other.is_folded;
        }
        session.close = session.close.max(at);
        let open = at.min(*survivor);
        self.windows.insert(of(open), session);
        open
    }

    fn window(&mut self, key: &str, open: i64, close: i64) -> &mut Window {
        let groups = &mut self.groups;
        self.windows.entry((key.to_owned(), open)).or_insert_with(|| {
            *groups += 1;
            Window { group: *groups - 1, close, is_folded: false }
        })
    }

    fn close(&mut self, is_over: impl Fn(&Window) -> bool) -> Vec<Closed> {
        let mut over: Vec<_> = self.windows.extract_if(.., |_, window| is_over(window)).collect();
        over.sort_by(|((a_key, _), a), ((b_key, _), b)| (a.close, a_key).cmp(&(b.close, b_key)));
        let mut closed = Vec::new();
        for ((key, open), window) in over {
            let output = self.opened().output.clone();
            let groups = &mut self.opened().groups;
            let finished = groups.finish(&[window.group]).unwrap_or_else(|error| panic!("{error}"));
            groups.release(&[window.group]);
            if !window.is_folded {
                continue;
            }
            match finished.errors.into_iter().next() {
                Some(error) => self.errors.push((key, error.message)),
                None => {
                    let row = plain(&Rows { schema: output, batch: finished.rows }.to_json()[0]);
                    let (open, close) = (Timestamp::from_micros(open), Timestamp::from_micros(window.close));
                    closed.push(Closed { key, open, close, row });
                }
            }
        }
        closed
    }

    fn open_for(&mut self, schema: &Schema) {
        match &self.open {
            Some((opened, _)) => assert_eq!(opened, schema, "all rows of a test have the same columns"),
            None => {
                let open: Result<OpenFold, Error> = fold::open::<T>(schema, &self.config);
                self.open = Some((schema.clone(), open.unwrap_or_else(|error| panic!("{error}"))));
            }
        }
    }

    fn opened(&mut self) -> &mut OpenFold {
        &mut self.open.as_mut().expect("rows come first, for they bring the schema").1
    }
}

fn micros(duration: Duration) -> i64 {
    i64::try_from(duration.as_micros()).expect("a window of less than 292,000 years")
}
