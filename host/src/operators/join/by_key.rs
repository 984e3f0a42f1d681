//! `join`: the rows of several streams by key.

use super::super::groups::Groups;
use super::super::states::changes;
use super::super::ttl::{self, Ttl};
use super::joiner::{EmitMode, Incomplete, Joiner, Modes};
use super::sides::{Layout, Shape, Sides};
use super::state::Insert;
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Inputs, Keeps, Operator, StreamType};
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::time::Instant;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::durable::Changes;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::keyed::{Kept, Keyed, keyed};
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::{DurationText, Spanned};
use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::time::Duration;

/// The operator `join`.
pub struct Join;

#[derive(serde::Deserialize)]
struct Args {
    #[serde(default)]
    insert: Insert,
    emit: Option<EmitMode>,
    incomplete: Option<Spanned<Incomplete>>,
    ttl: Option<Spanned<DurationText>>,
    #[serde(default, rename = "as")]
    shape: Shape,
}

impl Operator for Join {
    fn name(&self) -> &'static str {
        "join"
    }

    fn doc(&self) -> &'static str {
        r#"Puts rows of several keyed streams that have one key beside each other.

Each stream is a side. For each key and side rows are kept: the first (`insert = "first"`), the last, or all of them
(`"product"`). What comes out is each row of each side with each of the others; a side that has none counts as one row
of nulls. A row of nulls is a row. The names of the keys may differ; the joined rows' key is called as the first side's.

Rows come out, by `emit`,
- `"complete"`: as soon as every side has a row. The key then begins anew.
- `"final"`: once the input has ended, in ascending order of the keys' bytes, on each worker.
- `"running"`: after every row, also one that changed nothing.

With `"complete"` and `"running"`, keys are kept for ever unless `ttl` is set. Between sides there is no order, so with
these two what comes out depends on which rows come first, unless each side has one row a key.

With `as = "sides"` joined rows have a column for each side, by its name: the value, if the side has one column, else a
struct of its columns. With `as = "columns"` they have the columns of all sides, which must have different names;
columns that are called as the key are left out, since the key stands beside the row.

Arguments: `insert`, `"last"` (default), `"first"` or `"product"`; `emit`, `"complete"` (default), `"final"` or
`"running"`; `incomplete`, `"null"` (default) or `"drop"`: whether rows come out that lack a side, with `"final"` and
`"running"`; `ttl`, the system time after a key's last row when what is kept of it goes, with `"complete"` and
`"running"`; `as`, `"sides"` (default) or `"columns"`.

Ports: `down`, keyed.

```toml
[[step]]
name = "scored"
op = "join"
from = { user = "users", score = "scores" }   # or ["users", "scores"]: sides have the steps' names
emit = "final"
incomplete = "drop"
```
"#
    }

    fn inputs(&self) -> Inputs {
        Inputs::Many
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let args: Args = cx.args()?;
        let emit = args.emit.unwrap_or(EmitMode::Complete);
        let mut problems = Diagnostics::new();
        if let Some(ttl) = args.ttl.as_ref().filter(|_| emit == EmitMode::Final) {
            let message =
                format!("{}: \"ttl\" does not go with emit = \"final\", which keeps all to the end", cx.what());
            let help = "leave it out, or write emit = \"complete\" or emit = \"running\"";
            problems.push(Diagnostic::new("unused-key", message).at(ttl.span.clone()).help(help));
        }
        if let Some(ttl) = args.ttl.as_ref().filter(|ttl| ttl.value.0.is_zero()) {
            let message = format!("{}: with a \"ttl\" of nothing no two rows meet", cx.what());
            let help = "give a duration such as \"1h\", or leave it out to keep keys for ever";
            problems.push(Diagnostic::new("bad-value", message).at(ttl.span.clone()).help(help));
        }
        problems.take(check_incomplete(cx, emit, args.incomplete.as_ref()));
        let sides = problems.take(Sides::check(cx, args.shape, args.shape == Shape::Sides));
        let (Some(sides), true) = (sides, problems.is_empty()) else { return Err(problems) };
        let incomplete = args.incomplete.map(|incomplete| incomplete.value).unwrap_or_default();
        let down = StreamType { schema: sides.schema(), key: Some(sides.key.clone()) };
        let step = JoinStep {
            modes: Modes { insert: args.insert, emit, incomplete },
            ttl: args.ttl.map(|ttl| ttl.value.0),
            schemas: sides.schemas(),
            layout: sides.layout(),
        };
        Ok(Checked::new(step).down(down).keeps(Keeps::new().ignoring(&["incomplete", "ttl"])))
    }
}

/// Checks that `incomplete` stands only where incomplete rows could come out.
///
/// # Errors
/// It does not.
pub(super) fn check_incomplete(
    cx: &CheckCx<'_>,
    emit: EmitMode,
    incomplete: Option<&Spanned<Incomplete>>,
) -> Result<(), Diagnostics> {
    let Some(incomplete) = incomplete.filter(|_| emit == EmitMode::Complete) else { return Ok(()) };
    let message = format!("{}: \"incomplete\" does not go with emit = \"complete\"", cx.what());
    let help = "leave it out, or write emit = \"final\" or emit = \"running\"";
    Err(Diagnostic::new("unused-key", message).at(incomplete.span.clone()).help(help).into())
}

struct JoinStep {
    modes: Modes,
    ttl: Option<Duration>,
    schemas: Vec<SchemaRef>,
    layout: Layout,
}

impl BuildStep for JoinStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let logic = JoinByKey::new(self.modes, self.layout.clone(), self.ttl);
        Ok(keyed(cx, ups, &self.schemas, 1, logic))
    }
}

/// Joins by key.
pub(super) struct JoinByKey {
    groups: Groups,
    /// The groups of a batch's rows.
    found: Vec<u32>,
    joiner: Joiner,
    ttl: Option<Ttl>,
}

impl JoinByKey {
    /// Makes a join of nothing yet; `ttl` is how long a key is kept after its last row.
    pub fn new(modes: Modes, layout: Layout, ttl: Option<Duration>) -> Self {
        let joiner = Joiner::new(modes, layout);
        JoinByKey { groups: Groups::default(), found: Vec::new(), joiner, ttl: ttl.map(Ttl::new) }
    }

    /// Drops the keys whose time is up.
    fn expire(&mut self, now: Instant) -> Result<(), LogicError> {
        let Some(ttl) = &mut self.ttl else { return Ok(()) };
        let mut due = ttl.due(now);
        due.retain(|&group| !self.joiner.is_empty(group));
        self.joiner.end(&due, &mut |_, _| Ok(()))?;
        self.groups.release(&due);
        Ok(())
    }
}

/// Gives out joined rows with their keys.
fn keyed_by<'a>(
    groups: &'a Groups,
    out: &'a mut Emit<'_>,
) -> impl FnMut(RecordBatch, &[u32]) -> Result<(), LogicError> {
    |rows, found| {
        out.give(0, Batch::keyed(rows, groups.keys(found)));
        Ok(())
    }
}

impl Keyed for JoinByKey {
    fn on_batch(&mut self, input: usize, batch: Batch, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.expire(now)?;
        self.groups.intern(batch.keys().expect("the upstreams are keyed"), batch.selection(), &mut self.found);
        self.joiner.resize(self.groups.capacity());
        let (found, rows) = (&self.found, batch.rows());
        let mut give = keyed_by(&self.groups, out);
        match batch.selection() {
            Some(selection) => self.joiner.on_rows(input, found, rows, selection.iter().copied(), &mut give)?,
            None => self.joiner.on_rows(input, found, rows, 0.., &mut give)?,
        }
        drop(give);
        if let Some(ttl) = &mut self.ttl {
            ttl.touch(&self.found, now);
        }
        let mut ended = self.joiner.take_completed();
        ended.sort_unstable();
        ended.dedup();
        ended.retain(|&group| self.joiner.is_empty(group));
        self.groups.release(&ended);
        Ok(())
    }

    fn wake_at(&self) -> Option<Instant> {
        self.ttl.as_ref()?.next()
    }

    fn on_wake(&mut self, now: Instant, _out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.expire(now)
    }

    fn on_eof(&mut self, _now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        if self.joiner.is_final() {
            self.joiner.end(&self.groups.sorted(), &mut keyed_by(&self.groups, out))?;
            self.groups.clear();
        }
        Ok(())
    }

    fn keep(&mut self) -> Kept {
        self.groups.track();
        Kept::Keys
    }

    fn restore(&mut self, keys: &Keys, states: &BinaryArray, now: Instant) -> Result<(), LogicError> {
        let groups = self.groups.restore(keys);
        let states = ttl::load(self.ttl.as_mut(), states, &groups, now)?;
        self.joiner.load(&groups, &states)
    }

    fn snapshot(&mut self, _now: Instant) -> Result<Option<Changes>, LogicError> {
        let JoinByKey { groups, joiner, ttl, .. } = self;
        changes(groups, |_, live| ttl::save(ttl.as_ref(), &joiner.save(live)?, live))
    }
}
