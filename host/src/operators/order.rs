//! `order`: the rows of each key by their times.

use super::alarms::Alarms;
use super::event_time::{moment, timed};
use super::groups::{Groups, OUTPUT_ROWS};
use super::rows::{RowRef, Rows};
use super::states::{Reader, States, changes, in_chunks, put_bytes, put_i64, put_len, put_time};
use super::timeline::{Timed, Timeline};
use super::ttl::Ttl;
use super::window::{Clock, KeyClock, Moment, Stamp, Stamper, check_clock, check_forget_after};
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Keeps, Operator};
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::time::Instant;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::durable::Changes;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::idle::IdleClock;
use crate::dataflow::keyed::{Kept, Keyed, keyed};
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::{DurationText, Node, Spanned};
use arrow::array::BinaryArray;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use std::time::Duration;

/// The operator `order`.
pub struct Order;

#[derive(serde::Deserialize)]
struct Args {
    clock: Node,
    forget_after: Option<Spanned<DurationText>>,
}

impl Operator for Order {
    fn name(&self) -> &'static str {
        "order"
    }

    fn doc(&self) -> &'static str {
        r#"Brings the rows of each key into the order of their times.

A row waits until its key's watermark has reached its time: the latest time seen, less `wait`. It then comes out behind
those that happened before; rows of one time keep the order in which they came. A row behind the watermark is late. The
watermark also goes on while all sources are idle, unless `idle = "hold"`. When the input ends, all rows come out, in
ascending order of the keys' bytes, on each worker. A row whose time cannot be read is treated by `on_error`.

Arguments: `clock`, `{ event = "column", wait = "10s" }` as for windows, but not `"system"`; `forget_after`, the system
time without rows after which a key's rows come out and its watermark is forgotten (default `"24h"`).

Ports: `down`, and `late`, the rows that were late; both keyed.

```toml
[[step]]
name = "in_order"
op = "order"
clock = { event = "at", wait = "10s" }
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let args: Args = cx.args()?;
        let mut problems = Diagnostics::new();
        problems.take(cx.up_key());
        let clock = problems.take(check_clock(cx, &cx.ups, &args.clock));
        let forget_after = problems.take(check_forget_after(cx, args.forget_after.as_ref()));
        let found = (clock, forget_after, problems.is_empty());
        let (Some((clock, mut stamps, notes)), Some(forget_after), true) = found else { return Err(problems) };
        let Some(stamp) = stamps.pop() else {
            let message = format!("{}: by the system's clock rows are in order", cx.what());
            let help = "write clock = { event = \"<column>\", wait = \"10s\" }";
            return Err(Diagnostic::new("wrong-clock", message).at(args.clock.span).help(help).into());
        };
        let up = cx.up();
        let step = OrderStep { schema: up.schema.clone(), clock, stamp, forget_after };
        let keeps = Keeps::new().ignoring(&["forget_after"]);
        let checked = Checked::new(step).down(up.clone()).port("late", up.clone()).keeps(keeps);
        Ok(notes.into_iter().fold(checked, Checked::note))
    }
}

struct OrderStep {
    schema: SchemaRef,
    clock: Clock,
    stamp: Stamp,
    forget_after: Duration,
}

impl BuildStep for OrderStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let stamper = self.stamp.build(&cx.instance())?;
        let idle = cx.execution.idle.clone();
        let logic = Orderer::new(self.schema.clone(), self.clock, stamper, self.forget_after, idle);
        Ok(keyed(cx, ups, std::slice::from_ref(&self.schema), 2, logic))
    }
}

struct Orderer {
    clock: Clock,
    stamper: Stamper,
    idle: Arc<IdleClock>,
    groups: Groups,
    /// The groups and the times of a batch's rows.
    found: Vec<u32>,
    times: Vec<i64>,
    rows: Rows,
    /// By group.
    waiting: Vec<Waiting>,
    /// When rows come out, in idle time.
    alarms: Alarms,
    /// When keys are forgotten.
    forget: Ttl,
}

/// What waits of a key.
struct Waiting {
    clock: KeyClock,
    rows: Timeline,
}

impl Waiting {
    fn new() -> Self {
        Waiting { clock: KeyClock::NEW, rows: Timeline::default() }
    }
}

impl Orderer {
    fn new(schema: SchemaRef, clock: Clock, stamper: Stamper, forget_after: Duration, idle: Arc<IdleClock>) -> Self {
        let (groups, found, times, waiting, alarms) = Default::default();
        let (rows, forget) = (Rows::new(schema), Ttl::new(forget_after));
        Orderer { clock, stamper, idle, groups, found, times, rows, waiting, alarms, forget }
    }

    /// Takes out the rows of groups, in order, whose time their watermarks have reached.
    fn due(&mut self, groups: &[u32], now: Moment) -> Vec<(u32, RowRef)> {
        let mut due = Vec::new();
        for &group in groups {
            let waiting = &mut self.waiting[group as usize];
            let watermark = self.clock.watermark(waiting.clock, now);
            waiting.rows.take_before(watermark.saturating_add(1), |timed| due.push((group, timed.row)));
        }
        due
    }

    /// Gives out rows, and ends them.
    fn give(&mut self, due: &[(u32, RowRef)], out: &mut Emit<'_>) -> Result<(), LogicError> {
        for due in due.chunks(OUTPUT_ROWS) {
            let (groups, refs): (Vec<u32>, Vec<RowRef>) = due.iter().copied().unzip();
            out.give(0, Batch::keyed(self.rows.gather(&refs)?, self.groups.keys(&groups)));
        }
        due.iter().for_each(|(_, row)| self.rows.release(*row));
        if self.rows.is_wasteful() {
            self.rows.pack(self.waiting.iter_mut().flat_map(|waiting| waiting.rows.refs_mut()))?;
        }
        Ok(())
    }

    /// Gives out all rows of groups, in order, and forgets them.
    fn end(&mut self, groups: &[u32], out: &mut Emit<'_>) -> Result<(), LogicError> {
        let mut due = Vec::new();
        for &group in groups {
            let waiting = std::mem::replace(&mut self.waiting[group as usize], Waiting::new());
            due.extend(waiting.rows.into_rows().map(|timed| (group, timed.row)));
        }
        self.give(&due, out)?;
        self.groups.release(groups);
        Ok(())
    }

    fn forget(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let mut due = self.forget.due(now);
        self.groups.sort(&mut due);
        self.end(&due, out)
    }
}

impl Keyed for Orderer {
    fn on_batch(&mut self, _input: usize, batch: Batch, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.forget(now, out)?;
        let batch = timed(&mut self.stamper, batch, &mut self.times, out)?;
        let mut found = std::mem::take(&mut self.found);
        self.groups.intern(batch.keys().expect("the upstream is keyed"), batch.selection(), &mut found);
        self.waiting.resize_with(self.waiting.len().max(self.groups.capacity()), Waiting::new);
        self.alarms.resize(self.groups.capacity());
        let moment = moment(self.clock, now, &self.idle);
        let held = self.rows.hold(batch.rows().clone());
        let mut late: Vec<u32> = Vec::new();
        for (at, (&group, &time)) in (0..).zip(found.iter().zip(&self.times)) {
            let waiting = &mut self.waiting[group as usize];
            if self.clock.observe(&mut waiting.clock, time, moment) > time {
                late.push(at);
                continue;
            }
            let row = batch.selection().map_or(at, |selection| selection[at as usize]);
            waiting.rows.insert(Timed { time, row: self.rows.keep(held, row), is_used: false });
            self.alarms.change(group);
        }
        if !late.is_empty() {
            out.late(late.len());
            out.give(1, batch.select(&late));
        }
        let due = self.due(&found, moment);
        self.give(&due, out)?;
        self.rows.settle(held);
        self.forget.touch(&found, now);
        self.found = found;
        Ok(())
    }

    fn wake_at(&self) -> Option<Instant> {
        self.forget.next()
    }

    fn uses_idle_time(&self) -> bool {
        self.clock.advances()
    }

    fn wake_at_idle(&mut self) -> Option<Instant> {
        self.alarms.renew(|group| {
            let waiting = &self.waiting[group as usize];
            self.clock.reaches(waiting.clock, waiting.rows.first()?)
        });
        self.alarms.next().map(Instant)
    }

    fn on_wake(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.forget(now, out)?;
        let idle = self.idle.now().0;
        let mut groups: Vec<u32> = std::iter::from_fn(|| self.alarms.pop(idle)).collect();
        groups.retain(|&group| self.waiting[group as usize].rows.first().is_some());
        self.groups.sort(&mut groups);
        self.groups.touch(&groups);
        let due = self.due(&groups, moment(self.clock, now, &self.idle));
        self.give(&due, out)?;
        groups.iter().for_each(|&group| self.alarms.change(group));
        Ok(())
    }

    fn on_eof(&mut self, _now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.end(&self.groups.sorted(), out)
    }

    fn keep(&mut self) -> Kept {
        self.groups.track();
        Kept::Keys
    }

    fn restore(&mut self, keys: &Keys, states: &BinaryArray, now: Instant) -> Result<(), LogicError> {
        let groups = self.groups.restore(keys);
        self.waiting.resize_with(self.waiting.len().max(self.groups.capacity()), Waiting::new);
        self.alarms.resize(self.groups.capacity());
        let moment = moment(self.clock, now, &self.idle);
        let (mut ends, mut places, mut rows) = (Vec::with_capacity(groups.len()), Vec::new(), Vec::new());
        for (at, &group) in groups.iter().enumerate() {
            let mut state = Reader(states.value(at));
            ends.push(state.time()?);
            self.waiting[group as usize].clock = KeyClock::load(state.i64()?, moment);
            for _ in 0..state.len()? {
                places.push((group, state.i64()?));
                rows.push(state.bytes()?);
            }
            state.end()?;
            self.alarms.change(group);
        }
        for (&(group, time), row) in places.iter().zip(self.rows.load(&rows)?) {
            self.waiting[group as usize].rows.insert(Timed { time, row, is_used: false });
        }
        self.forget.restore(&groups, ends, now);
        Ok(())
    }

    fn snapshot(&mut self, now: Instant) -> Result<Option<Changes>, LogicError> {
        let moment = moment(self.clock, now, &self.idle);
        let Orderer { groups, waiting, rows, forget, .. } = self;
        changes(groups, |_, live| in_chunks(live, |live| save(waiting, rows, forget, moment, live)))
    }
}

/// Encodes what is kept of some groups: when they are forgotten, their watermarks, and the times of their rows with the
/// rows.
fn save(
    waiting: &[Waiting],
    rows: &Rows,
    forget: &Ttl,
    now: Moment,
    groups: &[u32],
) -> Result<BinaryArray, LogicError> {
    let refs = groups.iter().flat_map(|&group| waiting[group as usize].rows.iter());
    let saved = rows.save(&refs.map(|timed| timed.row).collect::<Vec<_>>())?;
    let (mut rows, mut states) = (saved.iter(), States::with_capacity(groups.len()));
    for &group in groups {
        let waiting = &waiting[group as usize];
        states.push(|state| {
            put_time(state, forget.end(group));
            put_i64(state, waiting.clock.save(now));
            put_len(state, waiting.rows.len());
            for (timed, row) in waiting.rows.iter().zip(rows.by_ref()) {
                put_i64(state, timed.time);
                put_bytes(state, row);
            }
        })?;
    }
    Ok(states.finish())
}

#[cfg(test)]
mod tests;
