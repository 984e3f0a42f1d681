//! The calls of the logic, and what becomes of what they give.

use super::super::super::groups::OUTPUT_ROWS;
use super::super::clock::Untimed;
use super::super::outputs::{DOWN, LATE, META_PORT, of_filled};
use super::{Machine, whole};
use crate::data::batch::Batch;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::RowError;
use arrow::array::RecordBatch;

impl Machine {
    /// Gives out the rows that have no time, and those that were late.
    pub(super) fn give_unfit(
        &mut self,
        input: usize,
        batch: &Batch,
        untimed: &Untimed,
        out: &mut Emit<'_>,
    ) -> Result<(), LogicError> {
        if !self.scratch.late.is_empty() {
            // A row that is late for several windows stands there for each, one behind the other.
            out.late(self.scratch.late.chunk_by(|(row, _), (next, _)| row == next).count());
            if out.is_taken(LATE) {
                out.give(LATE, self.outputs.late(input, &whole(batch), &self.scratch.late)?);
            }
            self.scratch.late.clear();
        }
        for untimed in untimed.chunk_by(|(kind, _), (next, _)| kind == next) {
            let rows: Vec<u32> = untimed.iter().map(|(_, error)| error.row).collect();
            let messages = untimed.iter().map(|(_, error)| error.message.clone());
            let errors: Vec<RowError> = (0..).zip(messages).map(|(row, message)| RowError { row, message }).collect();
            out.fail_as(untimed[0].0, &batch.select(&rows).compact()?, &errors)?;
        }
        Ok(())
    }

    /// Calls the logic with the rows that entered. `batches`, none of which selects rows, are of the inputs from `first`
    /// on; the rows are numbered by `index`, if there is one.
    pub(super) fn run(
        &mut self,
        first: usize,
        batches: &[Batch],
        index: Option<&[u32]>,
        out: &mut Emit<'_>,
    ) -> Result<(), LogicError> {
        let mut failed: Vec<Vec<RowError>> = vec![Vec::new(); batches.len()];
        let is_staged = self.entries.is_staged();
        for mut stage in self.entries.take() {
            if let Some(index) = index {
                stage.rows.iter_mut().for_each(|row| *row = index[*row as usize]);
            }
            if !stage.slots.is_empty() {
                let (input, rows) = (first + stage.input, batches[stage.input].rows());
                let given = self.logic.on_rows(input, &stage.slots, rows, &stage.rows, self.now)?;
                if given.errors.is_empty() && !is_staged {
                    self.slots.filled_all(&stage.slots);
                } else {
                    self.slots.filled(&stage.slots, &given.errors);
                }
                if let Some(early) = &mut self.early {
                    early.mark(&mut self.slots, &stage.slots, self.now);
                }
                let errors = given.errors.into_iter();
                let of_rows = errors.map(|error| RowError { row: stage.rows[error.row as usize], ..error });
                failed[stage.input].extend(of_rows);
                self.give(given.rows, false, out)?;
            }
            if !stage.into.is_empty() {
                let given = self.logic.merge(&stage.into, &stage.from, self.now)?;
                for (&into, &from) in stage.into.iter().zip(&stage.from) {
                    self.slots.merge(into, from);
                }
                if let Some(early) = &mut self.early {
                    early.mark(&mut self.slots, &stage.into, self.now);
                }
                self.give(given.rows, false, out)?;
                self.fail(&stage.into, &given.errors, out)?;
            }
            self.entries.give_back(stage);
        }
        for (batch, mut errors) in batches.iter().zip(failed) {
            // A row of several windows is reported once.
            errors.sort_by_key(|error| error.row);
            errors.dedup_by_key(|error| error.row);
            let rows: Vec<u32> = errors.iter().map(|error| error.row).collect();
            if !rows.is_empty() {
                errors.iter_mut().zip(0..).for_each(|(error, row)| error.row = row);
                out.fail(&batch.select(&rows).compact()?, &errors)?;
            }
        }
        Ok(())
    }

    /// Calls the logic with the rows that were released.
    pub(super) fn run_released(&mut self, out: &mut Emit<'_>) -> Result<(), LogicError> {
        if self.entries.len() > 0 {
            let Some(queue) = &self.queue else { return Ok(()) };
            let batches = queue.released()?;
            self.run(0, &batches, None, out)?;
        }
        if let Some(queue) = &mut self.queue {
            queue.hand_on();
        }
        Ok(())
    }

    pub(super) fn close(&mut self, closing: &[u32], out: &mut Emit<'_>) -> Result<(), LogicError> {
        if closing.is_empty() {
            return Ok(());
        }
        let given = self.logic.close(closing, self.now)?;
        self.give(given.rows, true, out)?;
        self.fail(closing, &given.errors, out)?;
        if out.is_taken(META_PORT) {
            let told: Vec<u32> = closing.iter().copied().filter(|&slot| !self.slots.get(slot).hollow).collect();
            out.give(META_PORT, self.outputs.meta(&told, &mut self.slots, &self.groups)?);
        }
        closing.iter().for_each(|&slot| self.slots.end(slot));
        Ok(())
    }

    /// Gives out what the logic gave, but for windows that no row has entered. The times of sessions are known once they
    /// close; before, what they are depends on the rows that a call takes together.
    fn give(&self, rows: Option<(RecordBatch, Vec<u32>)>, is_told: bool, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let Some(rows) = rows else { return Ok(()) };
        let rows = of_filled(rows, &self.slots)?;
        let are_times_known = is_told || !self.rules.windower.is_session();
        out.give(DOWN, self.outputs.down(rows, &self.slots, &self.groups, are_times_known)?);
        Ok(())
    }

    /// Treats failures of windows: each an index into `slots`.
    fn fail(&self, slots: &[u32], errors: &[RowError], out: &mut Emit<'_>) -> Result<(), LogicError> {
        let of = errors.iter().map(|error| (slots[error.row as usize], error));
        let of_filled = of.filter(|(slot, _)| !self.slots.get(*slot).hollow);
        let letter =
            |(slot, error): (u32, &RowError)| self.outputs.letter(slot, &error.message, &self.slots, &self.groups);
        out.fail_letters(of_filled.map(letter).collect())
    }

    /// Gives early results, if it is time for them.
    pub(super) fn give_early(&mut self, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let Some(early) = self.early.as_mut().filter(|early| early.at().is_some_and(|at| at <= self.now)) else {
            return Ok(());
        };
        for slots in early.take(&mut self.slots).chunks(OUTPUT_ROWS) {
            let keys: Vec<u32> = slots.iter().map(|&slot| self.slots.get(slot).key).collect();
            self.groups.touch(&keys);
            let given = self.logic.early(slots, self.now)?;
            self.give(given.rows, true, out)?;
            self.fail(slots, &given.errors, out)?;
        }
        Ok(())
    }
}
