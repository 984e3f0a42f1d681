//! A watermark for the whole stream, in place of one for each key.
//!
//! Each part of the stream, which is a partition of a source as a worker reads it, has a clock. It is asked before rows
//! go to the workers of their keys: there the rows of a part are still together and in order, so that what is late does
//! not depend on how parts are read side by side. A row carries its time and its part's watermark in two columns more.
//! Marks between the rows tell all workers how far each part is; the least of them is the stream's watermark, by which
//! windows close.
//!
//! A partition counts from the start, though nothing has come of it, and no longer once it has ended and its rows are
//! through the flow; one of which nothing has come is passed over while the input is idle.

use super::super::event_time::{moment, timed};
use super::super::states::Reader;
use super::clock::{Clock, KeyClock, Moment, Stamper};
use crate::data::batch::{Batch, Mark};
use crate::data::key::Keys;
use crate::data::time::Instant;
use crate::dataflow::durable::Changes;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::idle::IdleClock;
use crate::dataflow::keyed::{Kept, Keyed};
use crate::dataflow::partitions::name_of;
use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{DataType, Field, FieldRef, Int64Type, Schema, SchemaRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The rows of a stream with the two columns more, which stand last: time and watermark.
pub(super) fn stamped_schema(rows: &SchemaRef) -> SchemaRef {
    let column = |name: &str| FieldRef::new(Field::new(name, DataType::Int64, false));
    let stamps = [column("event time"), column("watermark")];
    Arc::new(Schema::new(rows.fields().iter().cloned().chain(stamps).collect::<Vec<_>>()))
}

/// The names of the partitions from which rows may still come.
pub(super) type OpenPartitions = Box<dyn Fn() -> Vec<Arc<str>>>;

/// The watermark of a stream on a worker.
#[derive(Default)]
pub(super) struct StreamClock {
    /// Of each part.
    parts: BTreeMap<Arc<str>, KeyClock>,
    least: Option<KeyClock>,
    /// None: those that marks have come of are all there are.
    open: Option<OpenPartitions>,
    /// Partitions that nobody waits for: rows of theirs have come, or the input was idle before any did.
    known: BTreeSet<Arc<str>>,
    /// The parts that stood for others of an execution before, until those had rows in this one ([`resumed`]).
    replaced: BTreeSet<Arc<str>>,
}

impl StreamClock {
    /// Waits for all partitions that are open.
    pub fn of_partitions(open: OpenPartitions) -> Self {
        StreamClock { open: Some(open), ..StreamClock::default() }
    }

    /// Takes in how far a part is.
    pub fn take(&mut self, clock: Clock, mark: &Mark, now: Moment) {
        let (worker, resumed) = mark.part.split_at(mark.part.find('/').unwrap_or(mark.part.len()));
        if worker.is_empty() {
            if mark.watermark.is_some() && self.replaced.contains(resumed) {
                return;
            }
        } else if !resumed.is_empty() && !self.replaced.contains(resumed) {
            self.parts.remove(resumed);
            self.replaced.insert(resumed.into());
        }
        match mark.watermark {
            Some(watermark) => {
                self.known.insert(partition_of(&mark.part).into());
                let part = self.parts.entry(mark.part.clone()).or_insert(KeyClock::NEW);
                part.raise(watermark.0, now);
            }
            None => drop(self.parts.remove(&mark.part)),
        }
        self.look(clock, now);
    }

    /// Sees to it that the watermark is where it was in an execution before.
    pub fn raise(&mut self, watermark: i64, now: Moment) {
        self.least.get_or_insert(KeyClock::NEW).raise(watermark, now);
    }

    /// No longer waits for partitions of which nothing has come: the input is idle.
    pub fn pass_over(&mut self, clock: Clock, now: Moment) {
        if let Some(open) = &self.open {
            self.known.extend(open());
            self.look(clock, now);
        }
    }

    fn look(&mut self, clock: Clock, now: Moment) {
        if let Some(open) = &self.open {
            let open = open();
            if open.iter().any(|partition| !self.known.contains(partition)) {
                return;
            }
            let open: BTreeSet<&str> = open.iter().map(|partition| &**partition).collect();
            // Rows whose partition is not known may come until the end.
            self.parts.retain(|part, _| partition_of(part).is_empty() || open.contains(partition_of(part)));
        }
        let least = self.parts.values().copied().min_by_key(|&part| clock.watermark(part, now));
        // The watermark stays where it is when a part joins that is behind it.
        if let Some(least) = least {
            self.least = Some(match self.least {
                Some(before) if clock.watermark(before, now) > clock.watermark(least, now) => before,
                _ => least,
            });
        }
    }

    /// The stream's clock.
    pub fn clock(&self) -> KeyClock {
        self.least.unwrap_or(KeyClock::NEW)
    }
}

/// The part that stands for those of a partition in an execution before, until they have rows in this one. It is named
/// as they are, without a worker: any may come to read the partition.
fn resumed(input: &str, partition: &str) -> String {
    if partition.is_empty() { format!("/{input}") } else { format!("/{input}/{partition}") }
}

/// The name of the partition that a part is of, in a part `worker/input/partition`; empty if it is of none.
fn partition_of(part: &str) -> &str {
    part.splitn(3, '/').nth(2).unwrap_or_default()
}

/// Where the times of rows come from.
pub(super) enum Timing {
    /// They are read, by one for each input, or by none with the system clock. Each key has its own watermark.
    Read(Vec<Stamper>),
    /// Rows bring them ([`unstamp`]), and there is one watermark.
    Stamped(StreamClock),
}

impl Timing {
    /// The clock of the stream, if there is one.
    pub fn of_stream(&self) -> Option<KeyClock> {
        match self {
            Timing::Read(_) => None,
            Timing::Stamped(stream) => Some(stream.clock()),
        }
    }
}

/// Times and watermarks of the rows of a batch with [`stamped_schema`] that count; and the batch without them.
///
/// # Errors
/// Arrow refuses the columns, which it has no reason for.
pub(super) fn unstamp(batch: Batch, times: &mut Vec<i64>, marks: &mut Vec<i64>) -> Result<Batch, LogicError> {
    let rows = batch.rows();
    let own = rows.num_columns() - 2;
    for (column, values) in [(own, times), (own + 1, marks)] {
        let column = rows.column(column).as_primitive::<Int64Type>().values();
        values.clear();
        match batch.selection() {
            Some(selection) => values.extend(selection.iter().map(|&row| column[row as usize])),
            None => values.extend_from_slice(column),
        }
    }
    let kept: Vec<usize> = (0..own).collect();
    let rows = rows.project(&kept)?;
    Ok(batch.with_rows(rows))
}

/// The first half of a step: stamps the rows of an input, and marks how far its parts are.
pub(super) struct Stamping {
    clock: Clock,
    stamper: Stamper,
    schema: SchemaRef,
    idle: Arc<IdleClock>,
    /// Tells this worker and input from the others.
    place: String,
    parts: BTreeMap<Arc<str>, KeyClock>,
    /// By the name of a partition, or "" for what is of none, the clock that it had in an execution before; as it is now.
    resumed: BTreeMap<Box<str>, KeyClock>,
    /// Since when that has not been told to the second half.
    untold: Option<Instant>,
    /// Parts whose clocks have moved and are to be kept; none if nothing is.
    moved: Option<BTreeSet<Arc<str>>>,
    times: Vec<i64>,
}

impl Stamping {
    /// Starts at a place, for rows of `schema`.
    pub fn new(clock: Clock, stamper: Stamper, schema: &SchemaRef, idle: Arc<IdleClock>, place: String) -> Self {
        let schema = stamped_schema(schema);
        let (parts, resumed, times) = Default::default();
        Stamping { clock, stamper, schema, idle, place, parts, resumed, untold: None, moved: None, times }
    }

    fn input(&self) -> &str {
        self.place.split_once('/').map_or("", |(_, input)| input)
    }

    /// Tells the second half how far partitions were in an execution before. All workers do, and all say the same.
    fn tell(&mut self, now: Moment, out: &mut Emit<'_>) {
        if self.untold.take().is_some() {
            for (partition, &clock) in &self.resumed {
                let watermark = Some(Instant(self.clock.watermark(clock, now)));
                out.give(0, Batch::of_mark(Mark { part: resumed(self.input(), partition).into(), watermark }));
            }
        }
    }
}

impl Keyed for Stamping {
    fn on_batch(&mut self, _input: usize, batch: Batch, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let batch = timed(&mut self.stamper, batch, &mut self.times, out)?.compact()?;
        let now = moment(self.clock, now, &self.idle);
        self.tell(now, out);
        let part: Arc<str> = match batch.origin() {
            Some(origin) => format!("{}/{}", self.place, name_of(&origin.source, &origin.partition)).into(),
            None => self.place.as_str().into(),
        };
        let begin = || self.resumed.get(partition_of(&part)).copied().unwrap_or(KeyClock::NEW);
        let state = self.parts.entry(part.clone()).or_insert_with(begin);
        let before = self.clock.watermark(*state, now);
        let clock = self.clock;
        let marks: Int64Array = self.times.iter().map(|&time| clock.observe(state, time, now)).collect();
        let after = self.clock.watermark(*state, now);
        let stamps: [ArrayRef; 2] = [Arc::new(self.times.iter().copied().collect::<Int64Array>()), Arc::new(marks)];
        let columns = batch.rows().columns().iter().cloned().chain(stamps).collect();
        let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
        out.give(0, batch.with_rows(rows));
        if after > before {
            if let Some(moved) = &mut self.moved {
                moved.insert(part.clone());
            }
            out.give(0, Batch::of_mark(Mark { part, watermark: Some(Instant(after)) }));
        }
        Ok(())
    }

    fn on_eof(&mut self, _now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let resumed = self.resumed.keys().map(|partition| resumed(self.input(), partition).into());
        for part in self.parts.keys().cloned().chain(resumed) {
            out.give(0, Batch::of_mark(Mark { part, watermark: None }));
        }
        Ok(())
    }

    fn wake_at(&self) -> Option<Instant> {
        self.untold
    }

    fn on_wake(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let now = moment(self.clock, now, &self.idle);
        self.tell(now, out);
        Ok(())
    }

    fn keep(&mut self) -> Kept {
        self.moved = Some(BTreeSet::new());
        Kept::Names
    }

    fn restore(&mut self, keys: &Keys, states: &BinaryArray, now: Instant) -> Result<(), LogicError> {
        self.untold = Some(now);
        let now = moment(self.clock, now, &self.idle);
        for (part, state) in keys.values().iter().zip(states).filter_map(|(part, state)| part.zip(state)) {
            let mut state = Reader(state);
            let watermark = state.i64()?;
            state.end()?;
            // The other inputs of the step keep their parts under the same name. Where several workers had rows of a
            // partition, the one that was furthest counts: what was late for it stays late.
            if part.split('/').nth(1) == Some(self.input()) {
                self.resumed.entry(partition_of(part).into()).or_insert(KeyClock::NEW).raise(watermark, now);
            }
        }
        Ok(())
    }

    fn snapshot(&mut self, now: Instant) -> Result<Option<Changes>, LogicError> {
        let Some(moved) = self.moved.as_mut().map(std::mem::take).filter(|moved| !moved.is_empty()) else {
            return Ok(None);
        };
        let now = moment(self.clock, now, &self.idle);
        let states = moved.iter().map(|part| self.parts.get(part).map(|clock| clock.save(now).to_le_bytes()));
        let values: BinaryArray = states.collect();
        let keys = Keys::new(StringArray::from_iter_values(&moved));
        Ok(Some(Changes::of_some(keys, values)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::table;
    use super::super::clock::Stamp;
    use super::*;
    use crate::data::batch::Origin;
    use crate::data::schema::Type;
    use crate::dataflow::emit::{OnError, RowErrors};
    use crate::dataflow::script::ScriptedClock;

    const CLOCK: Clock = Clock::Event { wait: 10, advances: true };

    #[test]
    fn partitions_of_two_sources_are_two_parts_even_by_one_name() {
        let idle = Arc::new(IdleClock::new(Arc::new(ScriptedClock::new(Instant(0)))));
        let stamper = Stamp::of_column(0, "t", &Type::Timestamp).unwrap().build_column();
        let schema = table("t: timestamp", &[]).schema();
        let mut stamping = Stamping::new(CLOCK, stamper, &schema, idle, "0/0".into());
        let errors = RowErrors {
            step: "s".into(),
            on_error: OnError::Fail,
            max_errors: None,
            port: None,
            meter: Arc::default(),
            taken: Arc::default(),
        };
        let mut given = Vec::new();
        for (source, time) in [("a", "1970-01-01T00:00:20Z"), ("b", "1970-01-01T00:00:15Z")] {
            let origin = Origin { source: source.into(), partition: "in".into(), first_row: 0, rows: None };
            let batch = Batch::new(table("t: timestamp", &[time])).from_origin(Some(origin));
            stamping.on_batch(0, batch, Instant(0), &mut Emit::new(&mut given, &errors)).unwrap();
        }
        let marks: Vec<Mark> = given.iter().filter_map(|(_, batch)| batch.mark().cloned()).collect();
        let second = 1_000_000;
        assert_eq!(marks, [mark("0/0/a/in", Some(20 * second - 10)), mark("0/0/b/in", Some(15 * second - 10))]);
    }

    fn mark(part: &str, watermark: Option<i64>) -> Mark {
        Mark { part: part.into(), watermark: watermark.map(Instant) }
    }

    #[test]
    fn the_part_that_is_furthest_behind_says_how_far_the_stream_is() {
        let mut stream = StreamClock::default();
        let mut at = |mark: Mark, idle: i64| {
            let now = Moment { system: 0, idle };
            stream.take(CLOCK, &mark, now);
            CLOCK.watermark(stream.clock(), now)
        };
        assert_eq!(at(mark("a", Some(100)), 0), 100);
        assert_eq!(at(mark("b", Some(50)), 0), 100, "what is late stays late");
        assert_eq!(at(mark("b", Some(120)), 0), 100);
        assert_eq!(at(mark("a", Some(130)), 0), 120);
        assert_eq!(at(mark("a", Some(131)), 5), 125, "all go on while the input is idle");
        assert_eq!(at(mark("b", None), 5), 135);
        assert_eq!(at(mark("a", None), 6), 136);
    }
}
