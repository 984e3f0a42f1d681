//! `fold_final`, `reduce_final`: one row of all rows of a key.

use super::columns::all_but;
use super::groups::{Groups, OUTPUT_ROWS};
use super::states::{changes, in_chunks};
use super::transform::{FunctionArgs, reads};
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Keeps, Operator, StreamType};
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::time::Instant;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::durable::Changes;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::keyed::{Kept, Keyed, keyed};
use crate::dataflow::user_fn::{FoldFn, OpenFold, RowError};
use crate::diag::Diagnostics;
use arrow::array::{BinaryArray, BinaryBuilder, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use std::borrow::Cow;
use std::sync::Arc;

/// The operator `fold_final`.
pub struct FoldFinal;

impl Operator for FoldFinal {
    fn name(&self) -> &'static str {
        "fold_final"
    }

    fn doc(&self) -> &'static str {
        r#"Folds all rows of a key into one, which comes out once the input has ended.

The function is a fold: it starts from a value of its own, takes in row by row, and makes the row that comes out. Rows
come out in ascending order of the keys' bytes, on each worker. A row that cannot be folded, and a key whose row cannot
be made, are treated by `on_error`; a key of which no row could be folded gives nothing.

Arguments: `fn`, the fold; `config`, what it is configured with, over what the plugin has.

Ports: `down`, keyed.

```toml
[[step]]
name = "average"
op = "fold_final"
fn = "stats.Average"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx)
    }
}

/// The operator `reduce_final`.
pub struct ReduceFinal;

impl Operator for ReduceFinal {
    fn name(&self) -> &'static str {
        "reduce_final"
    }

    fn doc(&self) -> &'static str {
        r#"Reduces all rows of a key to one, two at a time, which comes out once the input has ended.

The function makes one row of two. The first row of a key is what the reduction starts with, so that a single row
comes out as it is. It must be associative: how rows are put together first is not said. Rows of one source partition
keep their order. Rows come out in ascending order of the keys' bytes, on each worker. A row that cannot be reduced is
treated by `on_error`.

Arguments: `fn`, a reducer, or any fold; `config`, what it is configured with, over what the plugin has.

Ports: `down`, keyed.

```toml
[[step]]
name = "longest"
op = "reduce_final"
fn = "words.longer"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx)
    }
}

fn check(cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
    let args: FunctionArgs = cx.args()?;
    let mut problems = Diagnostics::new();
    let key = problems.take(cx.up_key());
    let input = cx.up().schema.clone();
    let open = problems.take(cx.fold(&args.function, &input, args.config.as_ref()));
    let (Some(key), Some(open)) = (key, open) else { return Err(problems) };
    let note = reads(&args.function, &open.reads, &input);
    let down = StreamType { schema: open.output.clone(), key: Some(key.clone()) };
    let keeps = Keeps::new().function(&args.function.value, open.state_version, open.factory.clone());
    Ok(Checked::new(FoldStep { open, input, key }).down(down).keeps(keeps).note(note))
}

/// A step that folds the rows of each key.
pub(super) struct FoldStep {
    pub open: OpenFold,
    pub input: SchemaRef,
    /// The name of the key.
    pub key: Arc<str>,
}

impl BuildStep for FoldStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let fold = self.open.factory.instantiate(&cx.instance())?;
        let key = self.key.clone();
        let folder = Folder { fold, key, groups: Groups::default(), found: Vec::new(), folded: Vec::new() };
        Ok(keyed(cx, ups, std::slice::from_ref(&self.input), 1, folder))
    }
}

struct Folder {
    fold: Box<dyn FoldFn>,
    /// The name of the key, for dead letters.
    key: Arc<str>,
    groups: Groups,
    /// The groups of a batch's rows.
    found: Vec<u32>,
    /// For each group, whether a row of it has been folded.
    folded: Vec<bool>,
}

impl Keyed for Folder {
    fn on_batch(&mut self, _input: usize, batch: Batch, _now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.groups.intern(batch.keys().expect("the upstream is keyed"), batch.selection(), &mut self.found);
        self.folded.resize(self.groups.capacity(), false);
        let (rows, index) = rows_to_fold(&batch)?;
        let errors = self.fold.update(&self.found, index, &rows)?;
        let mut failed = errors.iter().map(|error| error.row).peekable();
        for (row, &group) in (0..).zip(&self.found) {
            if failed.next_if_eq(&row).is_none() {
                self.folded[group as usize] = true;
            }
        }
        if errors.is_empty() {
            return Ok(());
        }
        // A group's number counts among the rows that count, as rows of the compact batch do.
        out.fail(&batch.compact()?, &errors)
    }

    fn on_eof(&mut self, _now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let mut groups = self.groups.sorted();
        groups.retain(|&group| self.folded[group as usize]);
        give_finished(&mut *self.fold, &self.groups, &groups, &self.key, out)?;
        self.groups.clear();
        self.folded.clear();
        Ok(())
    }

    fn keep(&mut self) -> Kept {
        self.groups.track();
        Kept::Keys
    }

    fn restore(&mut self, keys: &Keys, states: &BinaryArray, _now: Instant) -> Result<(), LogicError> {
        let groups = self.groups.restore(keys);
        self.folded.resize(self.groups.capacity(), false);
        groups.iter().for_each(|&group| self.folded[group as usize] = true);
        self.fold.restore(&groups, states)
    }

    fn touch_all(&mut self) -> Result<(), LogicError> {
        self.groups.touch_all();
        Ok(())
    }

    fn snapshot(&mut self, _now: Instant) -> Result<Option<Changes>, LogicError> {
        let Folder { fold, folded, groups, .. } = self;
        changes(groups, |_, live| {
            let is_folded = |group: u32| folded[group as usize];
            if live.iter().all(|&group| is_folded(group)) {
                return in_chunks(live, |live| fold.snapshot(live));
            }
            // A key of which no row could be folded is as one that has had none.
            let some: Vec<u32> = live.iter().copied().filter(|&group| is_folded(group)).collect();
            let states = in_chunks(&some, |some| fold.snapshot(some))?;
            let mut values = BinaryBuilder::with_capacity(live.len(), states.value_data().len());
            let mut states = states.iter().flatten();
            live.iter().for_each(|&group| values.append_option(is_folded(group).then(|| states.next()).flatten()));
            Ok(values.finish())
        })
    }
}

/// Gives out the rows of groups in some order, and ends their folds. Those that have none are failed; `key` is the name
/// of their key, for dead letters.
///
/// # Errors
/// The fold failed, or rows failed that must not.
pub(super) fn give_finished(
    fold: &mut dyn FoldFn,
    groups: &Groups,
    finished: &[u32],
    key: &str,
    out: &mut Emit<'_>,
) -> Result<(), LogicError> {
    for chunk in finished.chunks(OUTPUT_ROWS) {
        let finished = fold.finish(chunk)?;
        let done = all_but(chunk.len(), finished.errors.iter().map(|error| error.row));
        let done: Vec<u32> = done.into_iter().map(|at| chunk[at as usize]).collect();
        out.give(0, Batch::keyed(finished.rows, groups.keys(&done)));
        let letter = |error: &RowError| groups.letter(chunk[error.row as usize], key, &error.message);
        out.fail_letters(finished.errors.iter().map(letter).collect())?;
        fold.release(chunk)?;
    }
    Ok(())
}

/// The rows to hand to a fold, and which of them count. Where most rows do not, those that do are copied out, since all
/// rows that are handed over cross into the guest.
fn rows_to_fold(batch: &Batch) -> Result<(Cow<'_, RecordBatch>, Option<&[u32]>), LogicError> {
    let rows = batch.rows();
    Ok(match batch.selection() {
        Some(selection) if selection.len() * 2 < rows.num_rows() => {
            (Cow::Owned(take_record_batch(rows, &UInt32Array::from(selection.to_vec()))?), None)
        }
        selection => (Cow::Borrowed(rows), selection),
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_crashes, in_turn, keyed as rows, sum};
    use super::*;

    #[test]
    fn folds_survive_crashes() {
        let folder = || Folder {
            fold: sum(),
            key: "k".into(),
            groups: Groups::default(),
            found: Vec::new(),
            folded: Vec::new(),
        };
        // A sum of 13 cannot be finished, and null cannot be folded.
        let batches: [&[&str]; 4] = [&["1,a", ",c", "6,b"], &["2,a", ",a", "7,b"], &[",d", "5,c"], &["4,a"]];
        let inputs = batches.into_iter().map(|batch| (1, rows("n: int64, k: string", batch))).collect();
        let (given, kept) = check_crashes(folder, &in_turn(inputs));
        assert_eq!(given[4].len(), 3);
        assert_eq!(&given[4][..2], ["0 a: sum=7", "0 c: sum=5"]);
        assert_eq!(kept[0].keys().collect::<Vec<_>>(), ["a", "b"], "of c no row could be folded");
        assert_eq!(kept[3]["a"], 7_i64.to_le_bytes(), "states are as the function encodes them");
        assert!(kept[4].is_empty());
    }
}
