//! `count`: how many rows, or how many values that are not null.

use super::accumulator::{Accumulator, each};
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::RowError;
use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch};
use std::sync::Arc;

/// Counts by group.
pub(super) struct Counts {
    /// None: rows are counted, whatever is in them.
    column: Option<usize>,
    counts: Vec<i64>,
}

impl Counts {
    /// Counts the values of a column, or rows.
    pub fn of(column: Option<usize>) -> Self {
        Counts { column, counts: Vec::new() }
    }
}

impl Accumulator for Counts {
    fn resize(&mut self, groups: usize) {
        self.counts.resize(groups, 0);
    }

    fn update(&mut self, groups: &[u32], index: Option<&[u32]>, rows: &RecordBatch) -> Result<(), LogicError> {
        let nulls = self.column.and_then(|column| rows.column(column).nulls());
        let counts = self.counts.as_mut_slice();
        each(groups, index, nulls, |group, _| counts[group] += 1);
        Ok(())
    }

    fn running(
        &mut self,
        groups: &[u32],
        rows: &RecordBatch,
        _refused: &mut Vec<RowError>,
    ) -> Result<ArrayRef, LogicError> {
        let nulls = self.column.and_then(|column| rows.column(column).nulls());
        let count = |(row, &group): (usize, &u32)| {
            let count = &mut self.counts[group as usize];
            *count += i64::from(nulls.is_none_or(|nulls| nulls.is_valid(row)));
            *count
        };
        Ok(Arc::new(Int64Array::from_iter_values((0..).zip(groups).map(count))))
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) {
        for (&into, &from) in into.iter().zip(from) {
            self.counts[into as usize] += std::mem::take(&mut self.counts[from as usize]);
        }
    }

    fn finish(&self, groups: &[u32], _refused: &mut Vec<RowError>) -> Result<ArrayRef, LogicError> {
        Ok(Arc::new(Int64Array::from_iter_values(groups.iter().map(|&group| self.counts[group as usize]))))
    }

    fn reset(&mut self, groups: &[u32]) {
        groups.iter().for_each(|&group| self.counts[group as usize] = 0);
    }

    fn save(&self, group: u32, bytes: &mut Vec<u8>) {
        bytes.extend(self.counts[group as usize].to_le_bytes());
    }

    fn load(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        self.counts[group as usize] = i64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?);
        Some(())
    }
}
