//! `drop_dull`, an operator that drops rows: a step behind it sees nothing of what its source has read.

use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator};
use crate::data::batch::Batch;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::stateless::{Stateless, stateless};
use crate::diag::Diagnostics;
use arrow::array::{AsArray, RecordBatch};
use arrow::datatypes::Int64Type;

/// Drops the rows whose number is 0.
pub struct DropDull;

impl Operator for DropDull {
    fn name(&self) -> &'static str {
        "drop_dull"
    }

    fn doc(&self) -> &'static str {
        "Drops rows."
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        Ok(Checked::new(Step).down(cx.up().clone()))
    }
}

struct Step;

impl BuildStep for Step {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        Ok(stateless(cx, ups, 1, Drops))
    }
}

struct Drops;

impl Stateless for Drops {
    fn on_batch(&mut self, _: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let batch = batch.compact()?;
        let kept = kept(batch.rows());
        if !kept.is_empty() {
            out.give(0, batch.select(&kept));
        }
        Ok(())
    }
}

/// The rows that are not dropped.
pub fn kept(rows: &RecordBatch) -> Vec<u32> {
    let numbers = rows.column_by_name("n").unwrap().as_primitive::<Int64Type>().values();
    (0..).zip(numbers.iter()).filter(|(_, n)| **n != 0).map(|(row, _)| row).collect()
}
