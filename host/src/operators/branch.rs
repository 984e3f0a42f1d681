//! `branch`: each row to one of two ports.

use super::columns::all_but;
use super::transform::{FunctionArgs, reads};
use crate::catalog::cx::CheckCx;
use crate::catalog::function::FunctionKind;
use crate::catalog::operator::{Checked, Operator};
use crate::data::batch::Batch;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::stateless::{Stateless, stateless};
use crate::dataflow::user_fn::{Applied, OpenTransform, TransformFn};
use crate::diag::Diagnostics;

/// The operator `branch`.
pub struct Branch;

impl Operator for Branch {
    fn name(&self) -> &'static str {
        "branch"
    }

    fn doc(&self) -> &'static str {
        r#"Sends each row to the port `trues` or to the port `falses`.

The function is a filter: the rows that it would keep go to `trues`, all others to `falses`. No row is copied. A row for
which the function returns an error goes to neither; it is treated by `on_error`.

Arguments: `fn`, the function; `config`, what it is configured with, over what the plugin has.

Ports: `trues`, `falses`; another step names the one it takes from: `from = "kind.trues"`.

```toml
[[step]]
name = "kind"
op = "branch"
fn = "rules.is_paid"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let args: FunctionArgs = cx.args()?;
        let up = cx.up();
        let open = cx.transform(&args.function, &[FunctionKind::Filter], &up.schema, args.config.as_ref())?;
        let note = reads(&args.function, &open.reads, &up.schema);
        Ok(Checked::new(BranchStep { open }).port("trues", up.clone()).port("falses", up.clone()).note(note))
    }
}

struct BranchStep {
    open: OpenTransform,
}

impl BuildStep for BranchStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let function = self.open.factory.instantiate(&cx.instance())?;
        Ok(stateless(cx, ups, 2, Brancher { function }))
    }
}

struct Brancher {
    function: Box<dyn TransformFn>,
}

impl Stateless for Brancher {
    fn on_batch(&mut self, _input: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let batch = batch.compact()?;
        let applied = self.function.apply(batch.rows())?;
        out.fail(&batch, &applied.errors)?;
        let (trues, falses) = divide(batch.num_rows(), &applied);
        for (port, rows) in [trues, falses].into_iter().enumerate() {
            if rows.len() == batch.num_rows() {
                out.give(port, batch.clone());
            } else if !rows.is_empty() {
                out.give(port, batch.select(&rows));
            }
        }
        Ok(())
    }
}

/// The rows kept, and those that are neither kept nor failed.
fn divide(count: usize, applied: &Applied) -> (Vec<u32>, Vec<u32>) {
    let failed = applied.errors.iter().map(|error| error.row);
    let trues = applied.parents.clone().unwrap_or_else(|| all_but(count, failed.clone()));
    let mut taken: Vec<u32> = trues.iter().copied().chain(failed).collect();
    taken.sort_unstable();
    let falses = all_but(count, taken);
    (trues, falses)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataflow::user_fn::RowError;

    #[test]
    fn every_row_is_true_or_false_or_failed() {
        let errors = [1, 4].map(|row| RowError { row, message: String::new() }).to_vec();
        let applied = Applied { rows: None, parents: Some(vec![0, 3]), errors };
        assert_eq!(divide(6, &applied), (vec![0, 3], vec![2, 5]));
    }
}
