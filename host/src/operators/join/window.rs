//! `join_window`: the rows of several streams by key and window.

use super::super::window::{Early, Given, LogicFactory, Order, WindowArgs, WindowLogic, Windowing};
use super::super::window::{ordered_doc, shared_doc};
use super::by_key::check_incomplete;
use super::joiner::{EmitMode, Give, Incomplete, Joiner, Modes};
use super::sides::{Layout, Shape, Sides};
use super::state::Insert;
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Inputs, Operator};
use crate::data::time::Instant;
use crate::dataflow::build::BuildCx;
use crate::dataflow::error::LogicError;
use crate::diag::Diagnostics;
use crate::spec::Spanned;
use arrow::array::{BinaryArray, RecordBatch};
use arrow::compute::concat_batches;

/// The operator `join_window`.
pub struct JoinWindow;

#[derive(serde::Deserialize)]
struct Args {
    #[serde(default)]
    insert: Insert,
    emit: Option<EmitMode>,
    incomplete: Option<Spanned<Incomplete>>,
    #[serde(default, rename = "as")]
    shape: Shape,
}

impl Operator for JoinWindow {
    fn name(&self) -> &'static str {
        "join_window"
    }

    fn doc(&self) -> &'static str {
        concat!(
            r#"Puts rows of several keyed streams that have one key and are in one window beside each other.

It does for each window of a key what `join` does for a key. Rows come out, by `emit`, when the window closes
(`"final"`); as soon as every side has a row, after which the window begins anew (`"complete"`); or after every row
(`"running"`). When sessions merge, `insert = "first"` keeps the row of the earlier session, if it has one, `"last"`
that of the later one, and `"product"` all of them; with `"complete"` and `"running"` a merger counts as a row that
came.

All sides of a key have one watermark. A stream that comes later than another by more than `wait`, by the rows' times,
is therefore late: give a `wait` that covers it.

Arguments:

- `insert`, which rows of a side are kept: the `"last"` (default), the `"first"`, or all (`"product"`).
- `emit`: `"final"` (default), `"complete"` or `"running"`.
- `incomplete`, whether rows come out that lack a side, with `"final"` and `"running"`: `"null"` (default), with nulls;
  or `"drop"`, not at all.
- `as`, `"sides"` (default), a column for each side; or `"columns"`, the columns of all sides, as for `join`.
"#,
            ordered_doc!(),
            shared_doc!(),
            r#"
```toml
[[step]]
name = "clicked"
op = "join_window"
from = { shown = "impressions", clicked = "clicks" }
clock = { event = "at", wait = "10s" }
window = { tumbling = "1m" }
```
"#
        )
    }

    fn inputs(&self) -> Inputs {
        Inputs::Many
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let (args, window) = cx.args_and::<Args, WindowArgs>()?;
        let emit = args.emit.unwrap_or(EmitMode::Final);
        let mut problems = Diagnostics::new();
        problems.take(check_incomplete(cx, emit, args.incomplete.as_ref()));
        let windowing = problems.take(Windowing::check(cx, &window, Order::Chosen, Early::Own));
        // Streams without a key have been told of already.
        let is_keyed = cx.ups.iter().all(|up| up.ty.key.is_some());
        let sides = if is_keyed { problems.take(Sides::check(cx, args.shape, true)) } else { None };
        let (Some(windowing), Some(sides), true) = (windowing, sides, problems.is_empty()) else {
            return Err(problems);
        };
        let incomplete = args.incomplete.map(|incomplete| incomplete.value).unwrap_or_default();
        let modes = Modes { insert: args.insert, emit, incomplete };
        windowing.step(cx, &sides.schema(), Factory { modes, layout: sides.layout() })
    }
}

struct Factory {
    modes: Modes,
    layout: Layout,
}

impl LogicFactory for Factory {
    fn build(&self, _cx: &BuildCx<'_>) -> Result<Box<dyn WindowLogic>, LogicError> {
        Ok(Box::new(JoinWindows::new(self.modes, self.layout.clone())))
    }
}

/// Joins by window.
pub(super) struct JoinWindows {
    joiner: Joiner,
}

impl JoinWindows {
    /// Makes a join of nothing yet.
    pub fn new(modes: Modes, layout: Layout) -> Self {
        JoinWindows { joiner: Joiner::new(modes, layout) }
    }

    /// Makes room for some slots, and takes what a call for them gives.
    fn call(
        &mut self,
        slots: &[u32],
        call: impl FnOnce(&mut Joiner, Give<'_>) -> Result<(), LogicError>,
    ) -> Result<Given, LogicError> {
        self.joiner.resize(slots.iter().max().map_or(0, |&slot| slot as usize + 1));
        let (mut pieces, mut of) = (Vec::new(), Vec::new());
        call(&mut self.joiner, &mut |rows, slots| {
            pieces.push(rows);
            of.extend_from_slice(slots);
            Ok(())
        })?;
        self.joiner.take_completed();
        let rows = match pieces.as_slice() {
            [] => None,
            [only] => Some((only.clone(), of)),
            [first, ..] => Some((concat_batches(first.schema_ref(), &pieces)?, of)),
        };
        Ok(Given { rows, errors: Vec::new() })
    }
}

impl WindowLogic for JoinWindows {
    fn on_rows(
        &mut self,
        input: usize,
        slots: &[u32],
        rows: &RecordBatch,
        index: &[u32],
        _now: Instant,
    ) -> Result<Given, LogicError> {
        self.call(slots, |joiner, give| joiner.on_rows(input, slots, rows, index.iter().copied(), give))
    }

    fn merge(&mut self, into: &[u32], from: &[u32], _now: Instant) -> Result<Given, LogicError> {
        self.call(&[into, from].concat(), |joiner, give| joiner.merge(into, from, give))
    }

    fn early(&mut self, slots: &[u32], _now: Instant) -> Result<Given, LogicError> {
        self.call(slots, |joiner, give| joiner.early(slots, give))
    }

    fn close(&mut self, slots: &[u32], _now: Instant) -> Result<Given, LogicError> {
        self.call(slots, |joiner, give| joiner.end(slots, give))
    }

    fn save(&mut self, slots: &[u32]) -> Result<BinaryArray, LogicError> {
        self.joiner.resize(slots.iter().max().map_or(0, |&slot| slot as usize + 1));
        self.joiner.save(slots)
    }

    fn load(&mut self, slots: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        self.joiner.load(slots, states)
    }
}
