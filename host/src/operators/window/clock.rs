//! Clocks: when rows happened, and how far the time of a key is.

use crate::data::batch::Batch;
use crate::data::schema::Type;
use crate::dataflow::dead_letter::Kind;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::{InstanceCx, OpenTransform, RowError, TransformFn};
use crate::formats::timestamp::{FIRST, LAST, TimestampFormat, parse_with};
use arrow::array::{Array, AsArray, PrimitiveArray};
use arrow::datatypes::{ArrowPrimitiveType, Date32Type, TimestampMicrosecondType};

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// In place of the time of a row that has none.
pub(in super::super) const NO_TIME: i64 = i64::MIN;

/// Where the times of rows, and the watermarks of keys, come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in super::super) enum Clock {
    /// Rows happen as they come; the watermark is the system's time.
    System,
    /// Rows say when they happened.
    Event {
        /// How far the watermark stays behind the latest row, in microseconds.
        wait: i64,
        /// Whether it goes on while the input is idle.
        advances: bool,
    },
}

/// A moment of the execution, in microseconds: read once for each batch and each wake-up.
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Moment {
    pub system: i64,
    /// For how long the input has been idle by then; 0 if the clock takes no account of it.
    pub idle: i64,
}

/// What is kept of a key's time, from which its watermark comes: how far the watermark is ahead of the idle time. It
/// never falls.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct KeyClock {
    lead: i64,
}

impl KeyClock {
    /// The clock of a key that has had no row.
    pub const NEW: KeyClock = KeyClock { lead: i64::MIN };

    /// Sees to it that the watermark of an event clock is at least at one.
    pub fn raise(&mut self, watermark: i64, now: Moment) {
        self.lead = self.lead.max(watermark.saturating_sub(now.idle));
    }

    /// What is to be kept of it for executions to come: the watermark of an event clock as it is now, since idle time
    /// begins anew with each.
    pub fn save(self, now: Moment) -> i64 {
        if self.lead == i64::MIN { i64::MIN } else { self.lead.saturating_add(now.idle) }
    }

    /// The clock that was kept as `saved`: its watermark stands now where it stood then.
    pub fn load(saved: i64, now: Moment) -> Self {
        let mut clock = KeyClock::NEW;
        clock.raise(saved, now);
        clock
    }
}

impl Clock {
    /// Whether watermarks go on while the input is idle, by idle time.
    pub fn advances(self) -> bool {
        matches!(self, Clock::Event { advances: true, .. })
    }

    /// Takes in a row's time, and returns the watermark after it.
    #[inline]
    pub fn observe(self, key: &mut KeyClock, time: i64, now: Moment) -> i64 {
        let Clock::Event { wait, .. } = self else { return now.system };
        let base = time.saturating_sub(wait);
        // Before the first instant there are no watermarks: so a wait of thousands of years waits for the end of input.
        if base >= FIRST && base - now.idle > key.lead {
            key.lead = base - now.idle;
        }
        key.lead.saturating_add(now.idle)
    }

    /// The watermark of a key.
    #[inline]
    pub fn watermark(self, key: KeyClock, now: Moment) -> i64 {
        match self {
            Clock::System => now.system,
            Clock::Event { .. } => key.lead.saturating_add(now.idle),
        }
    }

    /// When, if no row comes before, a key's watermark will be at `due`: in system time with the system clock, else in
    /// idle time. None: never.
    pub fn reaches(self, key: KeyClock, due: i64) -> Option<i64> {
        match self {
            Clock::System => Some(due),
            Clock::Event { advances, .. } => (advances && key.lead > i64::MIN).then(|| due.saturating_sub(key.lead)),
        }
    }
}

/// How the times of an input's rows are found.
#[derive(Clone)]
pub(in super::super) enum Stamp {
    /// From a column.
    Column(TimeColumn),
    /// By a map function that gives one timestamp.
    Call(OpenTransform),
}

/// A column that holds times.
#[derive(Clone, Debug)]
pub(in super::super) struct TimeColumn {
    index: usize,
    /// For messages.
    name: String,
    form: Form,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    Timestamp,
    Date,
    Text,
}

impl Stamp {
    /// Finds out how a column holds times; none if it does not.
    pub fn of_column(index: usize, name: &str, ty: &Type) -> Option<Stamp> {
        let form = match ty {
            Type::Timestamp => Form::Timestamp,
            Type::Date => Form::Date,
            Type::String => Form::Text,
            _ => return None,
        };
        Some(Stamp::Column(TimeColumn { index, name: name.to_owned(), form }))
    }

    /// Makes what reads times on a worker.
    ///
    /// # Errors
    /// The instance of a function cannot be had.
    pub fn build(&self, cx: &InstanceCx) -> Result<Stamper, LogicError> {
        Ok(match self {
            Stamp::Column(column) => Stamper::Column(column.clone()),
            Stamp::Call(open) => Stamper::Call(open.factory.instantiate(cx)?),
        })
    }
}

#[cfg(test)]
impl Stamp {
    /// Makes what reads times from a column.
    pub fn build_column(self) -> Stamper {
        match self {
            Stamp::Column(column) => Stamper::Column(column),
            Stamp::Call(_) => panic!("it is a function"),
        }
    }
}

/// Reads the times of an input's rows.
pub(in super::super) enum Stamper {
    Column(TimeColumn),
    Call(Box<dyn TransformFn>),
}

/// Rows without a time, by their numbers among those of the batch that count, and why.
pub(in super::super) type Untimed = Vec<(Kind, RowError)>;

impl Stamper {
    /// Reads the times of those rows of a batch that count into `times`, which is cleared; [`NO_TIME`] stands for those
    /// that have none, which are returned.
    ///
    /// # Errors
    /// The function failed as a whole.
    pub fn times(&mut self, batch: &Batch, times: &mut Vec<i64>) -> Result<Untimed, LogicError> {
        times.clear();
        let mut untimed = Untimed::new();
        match self {
            Stamper::Column(column) => column.times(batch, times, &mut untimed),
            Stamper::Call(function) => {
                let batch = batch.clone().compact()?;
                let applied = function.apply(batch.rows())?;
                let rows = applied.rows.ok_or_else(|| LogicError::internal("a function of times returned no rows"))?;
                let mut given = rows.column(0).as_primitive::<TimestampMicrosecondType>().iter();
                let mut failed = applied.errors.into_iter().peekable();
                for row in (0..).take(batch.num_rows()) {
                    if let Some(error) = failed.next_if(|error| error.row == row) {
                        times.push(NO_TIME);
                        untimed.push((Kind::Returned, error));
                        continue;
                    }
                    take(given.next().flatten(), row, "the event time", times, &mut untimed);
                }
            }
        }
        Ok(untimed)
    }
}

impl TimeColumn {
    fn times(&self, batch: &Batch, times: &mut Vec<i64>, untimed: &mut Untimed) {
        let column = batch.rows().column(self.index);
        let what = || format!("column \"{}\", the event time,", self.name);
        match self.form {
            Form::Timestamp => {
                let column = column.as_primitive::<TimestampMicrosecondType>();
                self.numbers(column, batch.selection(), |micros| micros, times, untimed);
            }
            Form::Date => {
                let column = column.as_primitive::<Date32Type>();
                let micros = |days: i32| i64::from(days) * MICROS_PER_DAY;
                self.numbers(column, batch.selection(), micros, times, untimed);
            }
            Form::Text => {
                let texts = column.as_string::<i32>();
                let mut read = |at: u32, row: usize| {
                    if texts.is_null(row) {
                        return take(None, at, &what(), times, untimed);
                    }
                    match parse_with(&TimestampFormat::Rfc3339, texts.value(row)) {
                        Ok(time) => times.push(time),
                        Err(error) => {
                            times.push(NO_TIME);
                            let message = format!("column \"{}\": {error}", self.name);
                            untimed.push((Kind::Parse, RowError { row: at, message }));
                        }
                    }
                };
                match batch.selection() {
                    Some(selection) => (0..).zip(selection).for_each(|(at, &row)| read(at, row as usize)),
                    None => (0..).zip(0..texts.len()).for_each(|(at, row)| read(at, row)),
                }
            }
        }
    }

    /// Reads the times of a column of numbers.
    fn numbers<T: ArrowPrimitiveType>(
        &self,
        column: &PrimitiveArray<T>,
        selection: Option<&[u32]>,
        micros: impl Fn(T::Native) -> i64,
        times: &mut Vec<i64>,
        untimed: &mut Untimed,
    ) {
        let values = column.values();
        match selection {
            Some(selection) => times.extend(selection.iter().map(|&row| micros(values[row as usize]))),
            None => times.extend(values.iter().map(|&value| micros(value))),
        }
        let is_whole = column.null_count() == 0;
        if is_whole && times.iter().all(|time| (FIRST..=LAST).contains(time)) {
            return;
        }
        let read = std::mem::take(times);
        let what = format!("column \"{}\", the event time,", self.name);
        for (at, time) in (0..).zip(read) {
            let row = selection.map_or(at as usize, |selection| selection[at as usize] as usize);
            take(Some(time).filter(|_| is_whole || column.is_valid(row)), at, &what, times, untimed);
        }
    }
}

/// Takes in the time of a row, or says that it has none.
fn take(time: Option<i64>, row: u32, what: &str, times: &mut Vec<i64>, untimed: &mut Untimed) {
    let message = match time {
        Some(time) if (FIRST..=LAST).contains(&time) => return times.push(time),
        Some(_) => format!("{what} is outside the years 1 to 9999"),
        None => format!("{what} is null"),
    };
    times.push(NO_TIME);
    untimed.push((Kind::Value, RowError { row, message }));
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::table;
    use super::*;
    use arrow::array::TimestampMicrosecondArray;

    const EVENT: Clock = Clock::Event { wait: 10, advances: true };

    fn at(idle: i64) -> Moment {
        Moment { system: 1_000, idle }
    }

    #[test]
    fn a_watermark_is_the_latest_time_less_the_wait_and_goes_on_with_idle_time() {
        let mut key = KeyClock::NEW;
        let observed = |key: &mut KeyClock, time, idle| EVENT.observe(key, time, at(idle));
        assert_eq!(observed(&mut key, 100, 0), 90);
        assert_eq!(observed(&mut key, 95, 0), 90, "an earlier row changes nothing");
        assert_eq!(observed(&mut key, 100, 0), 90, "nor does an equal one");
        assert_eq!(EVENT.watermark(key, at(5)), 95);
        assert_eq!(observed(&mut key, 104, 5), 95, "a row behind what idle time has reached changes nothing");
        assert_eq!(observed(&mut key, 106, 5), 96);
        assert_eq!(EVENT.watermark(key, at(7)), 98);
        assert_eq!(EVENT.reaches(key, 100), Some(9));
    }

    #[test]
    fn a_wait_from_before_all_time_keeps_the_watermark() {
        for wait in [i64::MAX, LAST] {
            let (clock, mut key) = (Clock::Event { wait, advances: true }, KeyClock::NEW);
            assert!(clock.observe(&mut key, 0, at(5)) < FIRST);
            assert_eq!(clock.reaches(key, 0), None);
        }
        let (clock, mut key) = (Clock::Event { wait: 1, advances: true }, KeyClock::NEW);
        assert!(clock.observe(&mut key, FIRST, at(0)) < FIRST);
        assert_eq!(clock.observe(&mut key, FIRST + 1, at(0)), FIRST);
    }

    #[test]
    fn a_watermark_that_holds_reaches_nothing_by_itself() {
        let (clock, mut key) = (Clock::Event { wait: 0, advances: false }, KeyClock::NEW);
        assert_eq!(clock.observe(&mut key, 100, Moment { system: 0, idle: 0 }), 100);
        assert_eq!(clock.reaches(key, 101), None);
    }

    #[test]
    fn the_watermark_of_the_system_clock_is_its_time() {
        let mut key = KeyClock::NEW;
        assert_eq!(Clock::System.observe(&mut key, 1_000, at(0)), 1_000);
        assert_eq!(Clock::System.reaches(key, 2_000), Some(2_000));
    }

    #[test]
    fn a_watermark_that_was_kept_stands_where_it_stood_and_goes_on() {
        let mut key = KeyClock::NEW;
        EVENT.observe(&mut key, 100, at(3));
        let saved = key.save(at(8));
        assert_eq!(saved, 95);
        for idle in [0, 2] {
            let mut key = KeyClock::load(saved, at(idle));
            assert_eq!(EVENT.watermark(key, at(idle)), 95);
            assert_eq!(EVENT.observe(&mut key, 104, at(idle)), 95);
            assert_eq!(EVENT.watermark(key, at(idle + 4)), 99);
            assert_eq!(EVENT.reaches(key, 100), Some(idle + 5));
        }
        assert_eq!(EVENT.reaches(KeyClock::load(KeyClock::NEW.save(at(5)), at(0)), 100), None);
    }

    fn times(ty: &str, cells: &[&str], selection: Option<&[u32]>) -> (Vec<i64>, Vec<String>) {
        let mut batch = Batch::new(table(&format!("t: {ty}"), cells));
        if let Some(selection) = selection {
            batch = batch.select(selection);
        }
        let stamp = Stamp::of_column(0, "t", &ty.parse().unwrap()).unwrap();
        let mut times = Vec::new();
        let untimed = stamp.build_column().times(&batch, &mut times).unwrap();
        (times, untimed.into_iter().map(|(kind, error)| format!("{kind:?} {}: {}", error.row, error.message)).collect())
    }

    #[test]
    fn times_are_read_from_columns_of_instants_days_and_text() {
        let (second, cells) = (1_000_000, ["1970-01-01T00:00:01Z", "1970-01-01T00:00:02Z"]);
        for ty in ["timestamp", "string"] {
            assert_eq!(times(ty, &cells, None), (vec![second, 2 * second], vec![]), "{ty}");
            assert_eq!(times(ty, &cells, Some(&[1])), (vec![2 * second], vec![]), "{ty}");
        }
        assert_eq!(times("date", &["1970-01-02"], None), (vec![MICROS_PER_DAY], vec![]));
        assert!(Stamp::of_column(0, "t", &Type::Int64).is_none());
    }

    #[test]
    fn rows_without_a_time_are_told() {
        let null = "column \"t\", the event time, is null";
        let cells = ["1970-01-01T00:00:00Z", "", "1970-01-01T00:00:00Z"];
        for ty in ["timestamp", "string"] {
            let wanted = (vec![0, NO_TIME, 0], vec![format!("Value 1: {null}")]);
            assert_eq!(times(ty, &cells, None), wanted, "{ty}");
            let wanted = (vec![NO_TIME, 0], vec![format!("Value 0: {null}")]);
            assert_eq!(times(ty, &cells, Some(&[1, 2])), wanted, "{ty}");
        }
        let (read, why) = times("string", &["now"], None);
        let wanted = "Parse 0: column \"t\": expected a timestamp like 2022-01-02T03:04:05Z, found \"now\"";
        assert_eq!((read, why), (vec![NO_TIME], vec![wanted.to_owned()]));
        let (mut times, mut untimed) = (Vec::new(), Untimed::new());
        let Some(Stamp::Column(column)) = Stamp::of_column(0, "t", &Type::Timestamp) else { panic!("it holds times") };
        let days = TimestampMicrosecondArray::from(vec![LAST, LAST + 1]);
        column.numbers(&days, None, |micros| micros, &mut times, &mut untimed);
        let outside = "column \"t\", the event time, is outside the years 1 to 9999".to_owned();
        assert_eq!((times, untimed), (vec![LAST, NO_TIME], vec![(Kind::Value, RowError { row: 1, message: outside })]));
    }
}
