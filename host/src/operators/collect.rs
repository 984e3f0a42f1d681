//! `collect`: the rows of a key, together.

use super::groups::Groups;
use super::rows::{RowRef, Rows};
use super::states::{Reader, States, changes, in_chunks, put_bytes, put_len, put_time};
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Keeps, Operator, StreamType};
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::schema::{Type, schema_of};
use crate::data::time::Instant;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::durable::Changes;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::keyed::{Kept, Keyed, keyed};
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::{DurationText, Spanned};
use arrow::array::{ArrayRef, BinaryArray, ListArray, RecordBatch, StructArray};
use arrow::buffer::OffsetBuffer;
use arrow::datatypes::{DataType, SchemaRef};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

/// Rows after which a batch of finished lists is given out.
const OUTPUT_ROWS: usize = 8192;
/// A longer list comes out as several batches.
const LONGEST_BATCH: usize = 1 << 16;

/// The operator `collect`.
pub struct Collect;

#[derive(serde::Deserialize)]
struct Args {
    max_size: Option<NonZeroUsize>,
    timeout: Option<Spanned<DurationText>>,
    since: Option<Spanned<Since>>,
    #[serde(default, rename = "as")]
    shape: Shape,
}

/// When the timeout of a list begins.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
enum Since {
    First,
    #[default]
    Last,
}

/// How rows that are together come out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Shape {
    #[default]
    Rows,
    List,
}

impl Operator for Collect {
    fn name(&self) -> &'static str {
        "collect"
    }

    fn doc(&self) -> &'static str {
        r#"Collects the rows of each key, and gives them out together.

A key's rows come out when there are `max_size` of them, when `timeout` of system time has passed since the last of them
(or the first), and when the input ends, then in ascending order of the keys' bytes, on each worker. Rows keep the order
in which they came. At least one of `max_size` and `timeout` must be given.

What comes out is, with `as = "rows"`, the rows themselves: those of one list in one batch, one behind the other,
which is what sinks want that write many rows at once. With `as = "list"` it is one row for each list: its only column
is `items`, a list of structs with the columns of the rows; rows whose only column is `value` make a list `value` of
those values. `flatten` is the way back.

Arguments: `max_size`, the number of rows in a list; `timeout`, a duration; `since`, `"last"` (default) or `"first"`;
`as`, `"rows"` (default) or `"list"`.

Ports: `down`, keyed.

```toml
[[step]]
name = "collected"
op = "collect"
max_size = 10000
timeout = "10s"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let args: Args = cx.args()?;
        let key = cx.up_key()?;
        if args.max_size.is_none() && args.timeout.is_none() {
            let message = format!("missing \"max_size\" or \"timeout\" in {}", cx.what());
            let help = "say when rows come out: max_size = 10000, or timeout = \"10s\", or both";
            return Err(Diagnostic::new("missing-key", message).at(cx.step.span.clone()).help(help).into());
        }
        if let (Some(since), None) = (&args.since, &args.timeout) {
            let message = format!("{}: \"since\" goes with \"timeout\"", cx.what());
            let help = "leave it out, or say how long: timeout = \"10s\"";
            return Err(Diagnostic::new("unused-key", message).at(since.span.clone()).help(help).into());
        }
        let rules = Rules {
            max_size: args.max_size.map_or(usize::MAX, NonZeroUsize::get),
            timeout: args.timeout.map(|timeout| timeout.value.0),
            since: args.since.map(|since| since.value).unwrap_or_default(),
        };
        let input = cx.up().schema.clone();
        let output = match args.shape {
            Shape::Rows => input.clone(),
            Shape::List => list_schema(&input),
        };
        let down = StreamType { schema: output.clone(), key: Some(key) };
        let keeps = Keeps::new().ignoring(&["timeout", "since", "as"]);
        Ok(Checked::new(CollectStep { rules, shape: args.shape, input, output }).down(down).keeps(keeps))
    }
}

/// The schema of lists of rows.
pub(super) fn list_schema(rows: &SchemaRef) -> SchemaRef {
    if rows.fields().len() == 1 && rows.field(0).name() == "value" {
        return schema_of(&[("value".to_owned(), Type::List(Box::new(Type::of(rows.field(0)))))]);
    }
    let members = rows.fields().iter().map(|field| (field.name().clone(), Type::of(field))).collect();
    schema_of(&[("items".to_owned(), Type::List(Box::new(Type::Struct(members))))])
}

#[derive(Clone, Debug)]
struct Rules {
    max_size: usize,
    timeout: Option<Duration>,
    since: Since,
}

struct CollectStep {
    rules: Rules,
    shape: Shape,
    input: SchemaRef,
    output: SchemaRef,
}

impl BuildStep for CollectStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let output = (self.shape == Shape::List).then(|| self.output.clone());
        let collector = Collector::new(self.rules.clone(), self.input.clone(), output);
        Ok(keyed(cx, ups, std::slice::from_ref(&self.input), 1, collector))
    }
}

struct Collector {
    rules: Rules,
    /// The schema of lists; none: lists come out as rows.
    list: Option<SchemaRef>,
    groups: Groups,
    /// The groups of a batch's rows.
    found: Vec<u32>,
    rows: Rows,
    /// By group.
    lists: Vec<List>,
    /// When to look at a group, at most one entry each. Its list may have got more time since; then it is put back.
    alarms: BinaryHeap<Reverse<(Instant, u32)>>,
}

#[derive(Clone, Default)]
struct List {
    rows: Vec<RowRef>,
    deadline: Instant,
    /// Whether there is an alarm for the group, also from a time when its number was that of another key.
    has_alarm: bool,
}

impl Collector {
    fn new(rules: Rules, input: SchemaRef, list: Option<SchemaRef>) -> Self {
        let (groups, found, lists, alarms) = Default::default();
        Collector { rules, list, groups, found, rows: Rows::new(input), lists, alarms }
    }

    fn set_deadline(&mut self, group: u32, is_first: bool, now: Instant) {
        let Some(timeout) = self.rules.timeout else { return };
        let list = &mut self.lists[group as usize];
        if is_first || self.rules.since == Since::Last {
            list.deadline = now.after(timeout);
        }
        self.set_alarm(group);
    }

    fn set_alarm(&mut self, group: u32) {
        let list = &mut self.lists[group as usize];
        if !list.has_alarm {
            list.has_alarm = true;
            self.alarms.push(Reverse((list.deadline, group)));
        }
    }

    /// Gives out lists, and ends their rows.
    fn give(&mut self, done: &[(u32, Vec<RowRef>)], out: &mut Emit<'_>) -> Result<(), LogicError> {
        let mut start = 0;
        while start < done.len() {
            // Short lists share a batch.
            let mut rows = done[start].1.len();
            let mut end = start + 1;
            while end < done.len() && rows + done[end].1.len() <= OUTPUT_ROWS {
                rows += done[end].1.len();
                end += 1;
            }
            self.give_batch(&done[start..end], out)?;
            start = end;
        }
        for row in done.iter().flat_map(|(_, rows)| rows) {
            self.rows.release(*row);
        }
        if self.rows.is_wasteful() {
            self.rows.pack(self.lists.iter_mut().flat_map(|list| &mut list.rows))?;
        }
        Ok(())
    }

    fn give_batch(&self, done: &[(u32, Vec<RowRef>)], out: &mut Emit<'_>) -> Result<(), LogicError> {
        let refs: Vec<RowRef> = done.iter().flat_map(|(_, rows)| rows).copied().collect();
        if let Some(schema) = &self.list {
            let groups: Vec<u32> = done.iter().map(|(group, _)| *group).collect();
            let lengths = done.iter().map(|(_, rows)| rows.len());
            let lists = lists(schema, &self.rows.gather(&refs)?, lengths)?;
            out.give(0, Batch::keyed(lists, self.groups.keys(&groups)));
            return Ok(());
        }
        let groups = done.iter().flat_map(|(group, rows)| std::iter::repeat_n(*group, rows.len()));
        let groups: Vec<u32> = groups.collect();
        for (refs, groups) in refs.chunks(LONGEST_BATCH).zip(groups.chunks(LONGEST_BATCH)) {
            let keys: Keys = self.groups.keys(groups);
            out.give(0, Batch::keyed(self.rows.gather(refs)?, keys));
        }
        Ok(())
    }

    /// Gives out what some groups have collected, and ends them.
    fn finish(&mut self, groups: &[u32], out: &mut Emit<'_>) -> Result<(), LogicError> {
        let done = groups.iter().map(|&group| (group, std::mem::take(&mut self.lists[group as usize].rows)));
        let done: Vec<_> = done.collect();
        self.give(&done, out)?;
        self.groups.release(groups);
        Ok(())
    }
}

impl Keyed for Collector {
    fn on_batch(&mut self, _input: usize, batch: Batch, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.groups.intern(batch.keys().expect("the upstream is keyed"), batch.selection(), &mut self.found);
        self.lists.resize_with(self.groups.capacity(), List::default);
        let held = self.rows.hold(batch.rows().clone());
        let found = std::mem::take(&mut self.found);
        let mut done: Vec<(u32, Vec<RowRef>)> = Vec::new();
        for (at, &group) in (0..).zip(&found) {
            let row = batch.selection().map_or(at, |selection| selection[at as usize]);
            let kept = self.rows.keep(held, row);
            let list = &mut self.lists[group as usize].rows;
            list.push(kept);
            let count = list.len();
            if count >= self.rules.max_size {
                done.push((group, std::mem::take(list)));
            } else {
                self.set_deadline(group, count == 1, now);
            }
        }
        self.found = found;
        self.give(&done, out)?;
        let mut ended: Vec<u32> = done.iter().map(|(group, _)| *group).collect();
        ended.sort_unstable();
        ended.dedup();
        ended.retain(|&group| self.lists[group as usize].rows.is_empty());
        self.groups.release(&ended);
        Ok(())
    }

    fn wake_at(&self) -> Option<Instant> {
        self.alarms.peek().map(|Reverse((at, _))| *at)
    }

    fn on_wake(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let mut due = Vec::new();
        while let Some(&Reverse((at, group))) = self.alarms.peek().filter(|Reverse((at, _))| *at <= now) {
            self.alarms.pop();
            let list = &mut self.lists[group as usize];
            list.has_alarm = false;
            if list.rows.is_empty() {
                continue;
            }
            if list.deadline <= now {
                due.push(group);
            } else {
                debug_assert!(list.deadline > at, "an alarm goes off at the deadline or before");
                list.has_alarm = true;
                self.alarms.push(Reverse((list.deadline, group)));
            }
        }
        self.groups.sort(&mut due);
        self.finish(&due, out)
    }

    fn on_eof(&mut self, _now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.alarms.clear();
        self.finish(&self.groups.sorted(), out)
    }

    fn keep(&mut self) -> Kept {
        self.groups.track();
        Kept::Keys
    }

    fn restore(&mut self, keys: &Keys, states: &BinaryArray, now: Instant) -> Result<(), LogicError> {
        let groups = self.groups.restore(keys);
        self.lists.resize_with(self.groups.capacity(), List::default);
        let (mut counts, mut rows) = (Vec::with_capacity(groups.len()), Vec::new());
        for (at, &group) in groups.iter().enumerate() {
            let mut state = Reader(states.value(at));
            let deadline = state.time()?;
            let count = state.len()?;
            for _ in 0..count {
                rows.push(state.bytes()?);
            }
            state.end()?;
            counts.push(count);
            if let Some(timeout) = self.rules.timeout {
                self.lists[group as usize].deadline = deadline.unwrap_or(now.after(timeout));
                self.set_alarm(group);
            }
        }
        let mut rows = self.rows.load(&rows)?.into_iter();
        for (&group, count) in groups.iter().zip(counts) {
            self.lists[group as usize].rows = rows.by_ref().take(count).collect();
        }
        Ok(())
    }

    fn snapshot(&mut self, _now: Instant) -> Result<Option<Changes>, LogicError> {
        let Collector { groups, lists, rows, rules, .. } = self;
        let has_deadlines = rules.timeout.is_some();
        changes(groups, |_, live| in_chunks(live, |live| save(lists, rows, has_deadlines, live)))
    }
}

/// Encodes the lists of some groups: their deadlines and their rows.
fn save(lists: &[List], rows: &Rows, has_deadlines: bool, groups: &[u32]) -> Result<BinaryArray, LogicError> {
    let lists = || groups.iter().map(|&group| &lists[group as usize]);
    let refs: Vec<RowRef> = lists().flat_map(|list| &list.rows).copied().collect();
    let saved = rows.save(&refs)?;
    let (mut rows, mut states) = (saved.iter(), States::with_capacity(groups.len()));
    for list in lists() {
        states.push(|state| {
            put_time(state, Some(list.deadline).filter(|_| has_deadlines));
            put_len(state, list.rows.len());
            rows.by_ref().take(list.rows.len()).for_each(|row| put_bytes(state, row));
        })?;
    }
    Ok(states.finish())
}

/// Makes a row of each list, of so many of the rows each.
///
/// # Errors
/// They are too many for one batch.
pub(super) fn lists(
    schema: &SchemaRef,
    rows: &RecordBatch,
    lengths: impl IntoIterator<Item = usize>,
) -> Result<RecordBatch, LogicError> {
    let DataType::List(item) = schema.field(0).data_type() else {
        return Err(LogicError::internal("lists are collected into a column of lists"));
    };
    let items: ArrayRef = match item.data_type() {
        DataType::Struct(fields) if schema.field(0).name() == "items" => {
            let columns = rows.columns().to_vec();
            Arc::new(StructArray::try_new_with_length(fields.clone(), columns, None, rows.num_rows())?)
        }
        _ => rows.column(0).clone(),
    };
    let lists = ListArray::try_new(item.clone(), OffsetBuffer::from_lengths(lengths), items, None)?;
    Ok(RecordBatch::try_new(schema.clone(), vec![Arc::new(lists)])?)
}

#[cfg(test)]
mod tests;
