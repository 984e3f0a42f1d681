//! `interval_join`: pairs of rows of two streams whose times are near each other.

use super::super::alarms::Alarms;
use super::super::event_time::{moment, timed};
use super::super::groups::Groups;
use super::super::states::{Reader, changes, put_time, with_tails, without_tails};
use super::super::ttl::Ttl;
use super::super::window::{Clock, Moment, Stamp, Stamper, check_clock, check_forget_after};
use super::pairs::{Arrived, Pairs, Reach, Singles};
use super::sides::{Shape, Sides};
use crate::catalog::cx::{CheckCx, Up};
use crate::catalog::operator::{Checked, Inputs, Keeps, Operator, StreamType};
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::time::Instant;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::durable::Changes;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::idle::IdleClock;
use crate::dataflow::keyed::{Kept, Keyed, keyed};
use crate::diag::{Diagnostic, Diagnostics, suggest};
use crate::spec::{DurationText, Node, Spanned, Table};
use arrow::array::{BinaryArray, RecordBatch};
use std::sync::Arc;
use std::time::Duration;

/// The operator `interval_join`.
pub struct IntervalJoin;

#[derive(serde::Deserialize)]
struct Args {
    within: Within,
    clock: Node,
    forget_after: Option<Spanned<DurationText>>,
    #[serde(default, rename = "as")]
    shape: Shape,
}

#[derive(serde::Deserialize)]
#[serde(default)]
#[derive(Default)]
struct Within {
    before: DurationText,
    after: DurationText,
}

impl Operator for IntervalJoin {
    fn name(&self) -> &'static str {
        "interval_join"
    }

    fn doc(&self) -> &'static str {
        r#"Pairs rows of two keyed streams that have one key and happened near each other.

The first stream is the left side, the second one the right side. A left and a right row are a pair if the right one
happened at most `before` before the left one and at most `after` after it, both included. A pair comes out as soon as
both rows are there; a row may be in any number of pairs.

Each side of each key has its own watermark: the latest time seen, less `wait`; a row behind it is late. A row is kept
until the other side's watermark says that no partner can come any more. What pairs there are therefore does not depend
on how fast the two streams come. A watermark also goes on while all sources are idle, unless `idle = "hold"`. A row
whose time cannot be read is treated by `on_error`. When the input ends, what is left goes out key by key in ascending
order of the keys' bytes, on each worker, each key's rows by their times.

Arguments:

- `within`: `{ before = "5s", after = "10s" }`; what is left out is `"0s"`.
- `clock`: `{ event = "column", wait = "10s" }` for both sides, or one for each by its name, as in
  `{ left = { event = "at" }, right = { event = "time" } }`; as for windows, but not `"system"`.
- `forget_after`, the system time without rows after which a key is forgotten (default `"24h"`): its watermarks, and
  its rows, which are unpaired if they have had no partner.
- `as`: `"sides"` (default) or `"columns"`, as for `join`.

Ports: `down`, the pairs; `late`, rows that were late, and `unpaired`, rows that never had a partner: both with `side`,
the name of the row's side, and a struct for each side, of which the other is null. All are keyed.

```toml
[[step]]
name = "answered"
op = "interval_join"
from = { asked = "questions", answered = "answers" }
within = { after = "1m" }
clock = { event = "at", wait = "10s" }
```
"#
    }

    fn inputs(&self) -> Inputs {
        Inputs::Many
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let args: Args = cx.args()?;
        let mut problems = Diagnostics::new();
        if cx.ups.len() != 2 {
            let message = format!("{}: \"interval_join\" takes from two steps, not {}", cx.what(), cx.ups.len());
            let help = "name them: from = { left = \"<step>\", right = \"<step>\" }";
            return Err(Diagnostic::new("wrong-sides", message).at(cx.step.span.clone()).help(help).into());
        }
        if let Some(up) = cx.ups.iter().find(|up| up.name == "side") {
            let message = format!("{}: no side can be called \"side\", as a column of \"late\" is", cx.what());
            let help = "give it another name: from = { left = \"<step>\", right = \"<step>\" }";
            problems.push(Diagnostic::new("wrong-sides", message).at(up.span.clone()).help(help));
        }
        let sides = problems.take(Sides::check(cx, args.shape, true));
        if let Some(up) = cx.ups.first().filter(|up| up.ty.key.as_deref() == Some("side")) {
            let message = format!("{}: the key cannot be called \"side\", as a column of \"late\" is", cx.what());
            let help = "rename the column before key_on: op = \"select\", rename = { other = \"side\" }";
            problems.push(Diagnostic::new("key-clash", message).at(up.span.clone()).help(help));
        }
        let clocks = problems.take(check_clocks(cx, &args.clock));
        let forget_after = problems.take(check_forget_after(cx, args.forget_after.as_ref()));
        let found = (sides, clocks, forget_after, problems.is_empty());
        let (Some(sides), Some((clocks, stamps, notes)), Some(forget_after), true) = found else {
            return Err(problems);
        };
        let ty = |schema| StreamType { schema, key: Some(sides.key.clone()) };
        let single = Singles::new(&sides).schema;
        let ports = [("down", ty(sides.schema())), ("late", ty(single.clone())), ("unpaired", ty(single))];
        let micros = |time: DurationText| i64::try_from(time.0.as_micros()).unwrap_or(i64::MAX);
        let reach = Reach { before: micros(args.within.before), after: micros(args.within.after) };
        let step = IntervalStep { sides, reach, clocks, stamps, forget_after };
        let checked = Checked::new(step).keeps(Keeps::new().ignoring(&["forget_after"]));
        let checked = ports.into_iter().fold(checked, |checked, (name, ty)| checked.port(name, ty));
        Ok(notes.into_iter().fold(checked, Checked::note))
    }
}

type Clocks = ([Clock; 2], Vec<Stamp>, Vec<String>);

/// Checks the clocks of two sides: one for both, or one each.
fn check_clocks(cx: &CheckCx<'_>, clock: &Node) -> Result<Clocks, Diagnostics> {
    let is_by_side =
        |table: &&Table| table.iter().next().is_some() && table.iter().all(|entry| entry.node.as_table().is_some());
    let Some(table) = clock.as_table().filter(is_by_side) else {
        let (clock, stamps, notes) = check_event_clock(cx, &cx.ups, clock)?;
        return Ok(([clock; 2], stamps, notes));
    };
    let mut problems = Diagnostics::new();
    let names = || cx.ups.iter().map(|up| up.name.as_str());
    for entry in table.iter().filter(|entry| names().all(|name| name != entry.key)) {
        let message = format!("{}: there is no side \"{}\"", cx.what(), entry.key);
        let help = suggest(&entry.key, names())
            .unwrap_or_else(|| format!("sides are: {}", names().collect::<Vec<_>>().join(", ")));
        problems.push(Diagnostic::new("wrong-sides", message).at(entry.key_span.clone()).help(help));
    }
    let (mut clocks, mut stamps, mut notes) = (Vec::new(), Vec::new(), Vec::new());
    for up in &cx.ups {
        let Some(node) = table.get(&up.name) else {
            let message = format!("{}: the side \"{}\" has no clock", cx.what(), up.name);
            let help = format!("write clock = {{ {} = {{ event = \"<column>\" }}, … }}", up.name);
            problems.push(Diagnostic::new("wrong-sides", message).at(clock.span.clone()).help(help));
            continue;
        };
        if let Some((clock, stamp, note)) = problems.take(check_event_clock(cx, std::slice::from_ref(up), node)) {
            clocks.push(clock);
            stamps.extend(stamp);
            notes.extend(note);
        }
    }
    match <[Clock; 2]>::try_from(clocks) {
        Ok(clocks) => problems.into_result((clocks, stamps, notes)),
        Err(_) => Err(problems),
    }
}

fn check_event_clock(
    cx: &CheckCx<'_>,
    ups: &[Up],
    clock: &Node,
) -> Result<(Clock, Vec<Stamp>, Vec<String>), Diagnostics> {
    let checked = check_clock(cx, ups, clock)?;
    if checked.0 == Clock::System {
        let message = format!("{}: \"{}\" goes by the times that rows tell", cx.what(), cx.step.op.value);
        let help = "write clock = { event = \"<column>\", wait = \"10s\" }";
        return Err(Diagnostic::new("wrong-clock", message).at(clock.span.clone()).help(help).into());
    }
    Ok(checked)
}

struct IntervalStep {
    sides: Sides,
    reach: Reach,
    clocks: [Clock; 2],
    stamps: Vec<Stamp>,
    forget_after: Duration,
}

impl BuildStep for IntervalStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let stampers = self.stamps.iter().map(|stamp| stamp.build(&cx.instance())).collect::<Result<_, _>>()?;
        let pairs = Pairs::new(&self.sides, self.reach, self.clocks);
        let idle = cx.execution.idle.clone();
        let logic = IntervalByKey::new(pairs, self.clocks, stampers, self.forget_after, idle);
        Ok(keyed(cx, ups, &self.sides.schemas(), 3, logic))
    }
}

/// The length of what stands behind the rows of a key: when it is forgotten.
const END: usize = 8;

/// Pairs rows by key.
pub(super) struct IntervalByKey {
    groups: Groups,
    /// The groups and the times of a batch's rows.
    found: Vec<u32>,
    times: Vec<i64>,
    pairs: Pairs,
    clocks: [Clock; 2],
    /// One a side.
    stampers: Vec<Stamper>,
    idle: Arc<IdleClock>,
    /// When rows go, in idle time.
    alarms: Alarms,
    /// When keys are forgotten.
    forget: Ttl,
}

impl IntervalByKey {
    /// Makes what has seen no row.
    pub fn new(
        pairs: Pairs,
        clocks: [Clock; 2],
        stampers: Vec<Stamper>,
        forget_after: Duration,
        idle: Arc<IdleClock>,
    ) -> Self {
        let (groups, found, times, alarms) = Default::default();
        IntervalByKey { groups, found, times, pairs, clocks, stampers, idle, alarms, forget: Ttl::new(forget_after) }
    }

    fn moments(&self, now: Instant) -> [Moment; 2] {
        self.clocks.map(|clock| moment(clock, now, &self.idle))
    }

    fn forget(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let mut due = self.forget.due(now);
        self.groups.sort(&mut due);
        self.pairs.end(&due, &mut keyed_by(&self.groups, out))?;
        self.groups.release(&due);
        Ok(())
    }
}

/// Gives out rows with their keys.
fn keyed_by<'a>(
    groups: &'a Groups,
    out: &'a mut Emit<'_>,
) -> impl FnMut(usize, RecordBatch, &[u32]) -> Result<(), LogicError> {
    |port, rows, found| {
        if port == 1 {
            out.late(rows.num_rows());
        }
        out.give(port, Batch::keyed(rows, groups.keys(found)));
        Ok(())
    }
}

impl Keyed for IntervalByKey {
    fn on_batch(&mut self, input: usize, batch: Batch, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.forget(now, out)?;
        let batch = timed(&mut self.stampers[input], batch, &mut self.times, out)?;
        self.groups.intern(batch.keys().expect("the upstreams are keyed"), batch.selection(), &mut self.found);
        self.pairs.resize(self.groups.capacity());
        let (moments, give) = (self.moments(now), &mut keyed_by(&self.groups, out));
        let selection = batch.selection();
        let arrived = Arrived {
            side: input,
            groups: &self.found,
            times: &self.times,
            rows: batch.rows(),
            index: (0..).take(batch.num_rows()).map(|at: u32| selection.map_or(at, |rows| rows[at as usize])),
        };
        self.pairs.on_rows(arrived, moments, give)?;
        self.alarms.resize(self.groups.capacity());
        self.found.iter().for_each(|&group| self.alarms.change(group));
        self.forget.touch(&self.found, now);
        Ok(())
    }

    fn wake_at(&self) -> Option<Instant> {
        self.forget.next()
    }

    fn uses_idle_time(&self) -> bool {
        self.clocks.into_iter().any(Clock::advances)
    }

    fn wake_at_idle(&mut self) -> Option<Instant> {
        self.alarms.renew(|group| self.pairs.deadline(group));
        self.alarms.next().map(Instant)
    }

    fn on_wake(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.forget(now, out)?;
        let idle = self.idle.now().0;
        let mut due: Vec<u32> = std::iter::from_fn(|| self.alarms.pop(idle)).collect();
        due.retain(|&group| !self.pairs.is_empty(group));
        self.groups.sort(&mut due);
        self.groups.touch(&due);
        self.pairs.expire(&due, self.moments(now), &mut keyed_by(&self.groups, out))?;
        due.iter().for_each(|&group| self.alarms.change(group));
        Ok(())
    }

    fn on_eof(&mut self, _now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.pairs.end(&self.groups.sorted(), &mut keyed_by(&self.groups, out))?;
        self.groups.clear();
        Ok(())
    }

    fn keep(&mut self) -> Kept {
        self.groups.track();
        Kept::Keys
    }

    fn restore(&mut self, keys: &Keys, states: &BinaryArray, now: Instant) -> Result<(), LogicError> {
        let groups = self.groups.restore(keys);
        self.pairs.resize(self.groups.capacity());
        self.alarms.resize(self.groups.capacity());
        let (states, ends) = without_tails(states, END)?;
        self.pairs.load(&groups, &states, self.moments(now))?;
        groups.iter().for_each(|&group| self.alarms.change(group));
        let ends = ends.into_iter().map(|end| Reader(end).time()).collect::<Result<Vec<_>, _>>()?;
        self.forget.restore(&groups, ends, now);
        Ok(())
    }

    fn snapshot(&mut self, now: Instant) -> Result<Option<Changes>, LogicError> {
        let now = self.moments(now);
        let IntervalByKey { groups, pairs, forget, .. } = self;
        changes(groups, |_, live| {
            with_tails(&pairs.save(live, now)?, |at, state| put_time(state, forget.end(live[at])))
        })
    }
}
