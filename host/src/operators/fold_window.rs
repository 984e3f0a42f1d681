//! `fold_window`, `reduce_window`: one row of all rows of a window.

use super::states::in_chunks;
use super::transform::{FunctionArgs, reads};
use super::window::{
    Early, Given, LogicFactory, MigrateWindows, Order, WindowArgs, WindowLogic, Windowing, early_doc, ordered_doc,
    shared_doc,
};
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Keeps, Operator};
use crate::data::time::Instant;
use crate::dataflow::build::BuildCx;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::{Finished, FoldFn, OpenFold};
use crate::diag::Diagnostics;
use arrow::array::{BinaryArray, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;

/// The operator `fold_window`.
pub struct FoldWindow;

impl Operator for FoldWindow {
    fn name(&self) -> &'static str {
        "fold_window"
    }

    fn doc(&self) -> &'static str {
        concat!(
            r#"Folds the rows of each window of a key into one, which comes out when the window closes.

The function is a fold: it starts from a value of its own, takes in row by row, and makes the row that comes out. When
sessions become one, it merges their values. A row that cannot be folded, and a window whose row cannot be made, are
treated by `on_error`; a window of which no row could be folded gives nothing.

Arguments:
- `fn`, the fold; `config`, what it is configured with, over what the plugin has.
"#,
            ordered_doc!(),
            early_doc!(),
            shared_doc!(),
            r#"
```toml
[[step]]
name = "averages"
op = "fold_window"
fn = "stats.Average"
clock = { event = "at", wait = "10s" }
window = { tumbling = "1m" }
```
"#
        )
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx, Order::Chosen)
    }
}

/// The operator `reduce_window`.
pub struct ReduceWindow;

impl Operator for ReduceWindow {
    fn name(&self) -> &'static str {
        "reduce_window"
    }

    fn doc(&self) -> &'static str {
        concat!(
            r#"Reduces the rows of each window of a key, two by two, to one, which comes out when the window closes.

The function is a reducer, which makes one row of two; a window of a single row gives it as it is. Rows are reduced in
the order in which they come. A row that cannot be reduced is treated by `on_error`.

Arguments:
- `fn`, a reducer, or any fold; `config`, what it is configured with, over what the plugin has.
"#,
            early_doc!(),
            shared_doc!(),
            r#"
```toml
[[step]]
name = "longest"
op = "reduce_window"
fn = "words.longer"
clock = "system"
window = { session = "30s" }
```
"#
        )
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx, Order::Arrival)
    }
}

fn check(cx: &CheckCx<'_>, order: Order) -> Result<Checked, Diagnostics> {
    let (args, windows): (FunctionArgs, WindowArgs) = cx.args_and()?;
    let mut problems = Diagnostics::new();
    let input = &cx.up().schema;
    let open = problems.take(cx.fold(&args.function, input, args.config.as_ref()));
    let windowing = problems.take(Windowing::check(cx, &windows, order, Early::Offered));
    let (Some(open), Some(windowing)) = (open, windowing) else { return Err(problems) };
    let note = reads(&args.function, &open.reads, input);
    let guest = Some(args.function.value.clone());
    Ok(windowing.step(cx, &open.output.clone(), Fold { open, guest })?.note(note))
}

/// Folds the rows of a worker's windows.
pub(super) struct Fold {
    pub open: OpenFold,
    /// The name of the function, if it is a plugin's.
    pub guest: Option<String>,
}

impl LogicFactory for Fold {
    fn build(&self, cx: &BuildCx<'_>) -> Result<Box<dyn WindowLogic>, LogicError> {
        let fold = self.open.factory.instantiate(&cx.instance())?;
        Ok(Box::new(Folder { fold, is_guest: self.guest.is_some() }))
    }

    fn keeps(&self, keeps: Keeps) -> Keeps {
        match &self.guest {
            Some(name) => keeps.function(name, self.open.state_version, MigrateWindows::of(self.open.factory.clone())),
            None => keeps,
        }
    }
}

/// The groups of the fold are the slots of the windows.
struct Folder {
    fold: Box<dyn FoldFn>,
    /// Whether rows cross into a plugin, all that are handed over, so that it costs less to copy out the few that count.
    is_guest: bool,
}

impl WindowLogic for Folder {
    fn on_rows(
        &mut self,
        _input: usize,
        slots: &[u32],
        rows: &RecordBatch,
        index: &[u32],
        _now: Instant,
    ) -> Result<Given, LogicError> {
        let errors = if is_all(index, rows.num_rows()) {
            self.fold.update(slots, None, rows)?
        } else if self.is_guest && index.len() * 2 < rows.num_rows() {
            self.fold.update(slots, None, &take_record_batch(rows, &UInt32Array::from(index.to_vec()))?)?
        } else {
            self.fold.update(slots, Some(index), rows)?
        };
        Ok(Given { rows: None, errors })
    }

    fn merge(&mut self, into: &[u32], from: &[u32], _now: Instant) -> Result<Given, LogicError> {
        self.fold.merge(into, from)?;
        Ok(Given::default())
    }

    fn early(&mut self, slots: &[u32], _now: Instant) -> Result<Given, LogicError> {
        let Finished { rows, errors } = self.fold.finish(slots)?;
        let mut failed = errors.iter().map(|error| error.row).peekable();
        let done = (0..).zip(slots).filter(|(at, _)| failed.next_if_eq(at).is_none());
        let done = done.map(|(_, &slot)| slot).collect();
        Ok(Given { rows: Some((rows, done)), errors })
    }

    fn close(&mut self, slots: &[u32], now: Instant) -> Result<Given, LogicError> {
        let given = self.early(slots, now)?;
        self.fold.release(slots)?;
        Ok(given)
    }

    fn save(&mut self, slots: &[u32]) -> Result<BinaryArray, LogicError> {
        in_chunks(slots, |slots| self.fold.snapshot(slots))
    }

    fn load(&mut self, slots: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        self.fold.restore(slots, states)
    }
}

/// Whether an index names all of some rows once, in their order.
pub(super) fn is_all(index: &[u32], rows: usize) -> bool {
    index.len() == rows && (0..).zip(index).all(|(at, &row)| at == row)
}
