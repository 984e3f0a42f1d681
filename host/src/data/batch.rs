//! Batches: the rows that flow, with their keys and where they came from.

use super::ids::{PartitionId, StepId};
use super::key::Keys;
use super::time::Instant;
use arrow::array::{Array, AsArray, RecordBatch, RecordBatchOptions, StringArray, UInt32Array};
use arrow::compute::{take, take_record_batch};
use arrow::datatypes::Schema;
use arrow::error::ArrowError;
use std::sync::Arc;

/// Where the rows of a batch were read: known until rows of several batches are put together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    /// The step that read them: partitions of two sources may have one name.
    pub source: StepId,
    pub partition: PartitionId,
    /// The number, in its partition and from 0, of the source row that `rows` counts from. A line, for text.
    pub first_row: u64,
    /// For each row of the batch its source row, counted from `first_row`. None: the same order, none left out.
    pub rows: Option<Arc<[u32]>>,
}

impl Origin {
    /// The number, from 0, of the source row that a row came from.
    pub fn row(&self, row: u32) -> u64 {
        self.first_row + u64::from(self.rows.as_ref().map_or(row, |rows| rows[row as usize]))
    }

    fn take(&self, indices: &[u32]) -> Origin {
        let rows = match &self.rows {
            Some(rows) => indices.iter().map(|&row| rows[row as usize]).collect(),
            None => indices.into(),
        };
        Origin { rows: Some(rows), ..self.clone() }
    }
}

/// Rows of one schema; on a keyed stream with a key for each.
///
/// A batch may *select* some of the rows it holds, in some order: an exchange between threads then shares the columns
/// and sends row numbers only. [`Batch::compact`] makes the selection real, for those who need whole columns.
#[derive(Clone, Debug)]
pub struct Batch {
    rows: RecordBatch,
    keys: Option<Keys>,
    origin: Option<Origin>,
    selection: Option<Arc<[u32]>>,
    mark: Option<Mark>,
}

/// How far a part of a stream is in event time. It stands between the rows of the stream, and comes to all workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mark {
    /// Tells this part of the stream from the others.
    pub part: Arc<str>,
    /// Rows behind this that come later are late. None: the part has ended.
    pub watermark: Option<Instant>,
}

impl Batch {
    /// Wraps rows without a key.
    pub fn new(rows: RecordBatch) -> Self {
        Batch { rows, keys: None, origin: None, selection: None, mark: None }
    }

    /// Makes a mark, which looks like one row without columns. Only streams that are exchanged by key may have marks,
    /// between the two halves of a step.
    pub fn of_mark(mark: Mark) -> Self {
        let one_row = RecordBatchOptions::new().with_row_count(Some(1));
        let rows = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), Vec::new(), &one_row);
        Batch { mark: Some(mark), ..Batch::new(rows.expect("no column can disagree with the number of rows")) }
    }

    /// The mark that this is, if it is one.
    pub fn mark(&self) -> Option<&Mark> {
        self.mark.as_ref()
    }

    /// Wraps rows and the key of each.
    ///
    /// # Panics
    /// There is not one key for each row.
    pub fn keyed(rows: RecordBatch, keys: Keys) -> Self {
        assert_eq!(rows.num_rows(), keys.values().len(), "a keyed batch has a key for each row");
        Batch { keys: Some(keys), ..Batch::new(rows) }
    }

    /// Sets where the rows came from.
    pub fn from_origin(mut self, origin: Option<Origin>) -> Self {
        self.origin = origin;
        self
    }

    /// The number of rows; those selected, if there is a selection.
    pub fn num_rows(&self) -> usize {
        self.selection.as_ref().map_or(self.rows.num_rows(), |selection| selection.len())
    }

    /// All the rows held. [`Batch::selection`] says which of them count.
    pub fn rows(&self) -> &RecordBatch {
        &self.rows
    }

    /// The keys of all the rows held.
    pub fn keys(&self) -> Option<&Keys> {
        self.keys.as_ref()
    }

    /// The numbers of the rows that count, in their order. None: all of them.
    pub fn selection(&self) -> Option<&[u32]> {
        self.selection.as_deref()
    }

    /// Where the rows held came from.
    pub fn origin(&self) -> Option<&Origin> {
        self.origin.as_ref()
    }

    /// The memory of the columns in bytes, shared or not; of selected rows their share.
    pub fn byte_size(&self) -> usize {
        let held: usize = self.rows.columns().iter().map(|column| column.get_buffer_memory_size()).sum();
        match &self.selection {
            Some(selection) => held / self.rows.num_rows().max(1) * selection.len(),
            None => held,
        }
    }

    /// Returns the batch with only the rows numbered `kept` (of those that count now), in that order. No row is copied.
    pub fn select(&self, kept: &[u32]) -> Batch {
        let selection = match &self.selection {
            Some(selection) => kept.iter().map(|&row| selection[row as usize]).collect(),
            None => kept.into(),
        };
        Batch { selection: Some(selection), ..self.clone() }
    }

    /// Makes the selection real: afterwards every row held counts.
    ///
    /// # Errors
    /// Arrow cannot copy the rows, which means that there are too many bytes for one column.
    pub fn compact(self) -> Result<Batch, ArrowError> {
        let Some(selection) = self.selection else { return Ok(self) };
        let indices = UInt32Array::from(selection.to_vec());
        Ok(Batch {
            rows: take_rows(&self.rows, &indices)?,
            keys: self.keys.map(|keys| take_keys(&keys, &indices)).transpose()?,
            origin: self.origin.map(|origin| origin.take(&selection)),
            selection: None,
            mark: self.mark,
        })
    }

    /// Returns a batch of other rows that were made of this one's: they keep keys and origins. `parents` says which row
    /// each was made of; none means one of each, in order. This batch must be compact.
    ///
    /// # Errors
    /// As for [`Batch::compact`].
    pub fn derive(&self, rows: RecordBatch, parents: Option<&[u32]>) -> Result<Batch, ArrowError> {
        debug_assert!(self.selection.is_none(), "rows are made of compact batches");
        let Some(parents) = parents else {
            return Ok(Batch { rows, ..self.clone() });
        };
        let keys = match &self.keys {
            Some(keys) => Some(take_keys(keys, &UInt32Array::from(parents.to_vec()))?),
            None => None,
        };
        Ok(Batch { keys, origin: self.origin.as_ref().map(|origin| origin.take(parents)), ..Batch::new(rows) })
    }

    /// Returns the same rows with these keys, or without any. To be given keys, this batch must be compact.
    pub fn with_keys(self, keys: Option<Keys>) -> Batch {
        debug_assert!(keys.is_none() || self.selection.is_none(), "keys are set on compact batches");
        Batch { keys, ..self }
    }

    /// Returns the same rows with other columns; keys, origins and the selection stay.
    ///
    /// # Panics
    /// There are not as many rows as this batch holds.
    pub fn with_rows(self, rows: RecordBatch) -> Batch {
        assert_eq!(rows.num_rows(), self.rows.num_rows(), "other columns are of the same rows");
        Batch { rows, ..self }
    }
}

fn take_rows(rows: &RecordBatch, indices: &UInt32Array) -> Result<RecordBatch, ArrowError> {
    take_record_batch(rows, indices)
}

fn take_keys(keys: &Keys, indices: &UInt32Array) -> Result<Keys, ArrowError> {
    let values: StringArray = take(keys.values(), indices, None)?.as_string().clone();
    Ok(Keys::new(values))
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::Int64Array;

    fn batch() -> Batch {
        let values = Int64Array::from(vec![10, 11, 12, 13]);
        let rows = RecordBatch::try_from_iter([("value", Arc::new(values) as _)]).unwrap();
        let keys = Keys::new(StringArray::from(vec!["a", "b", "c", "d"]));
        let origin = Origin { source: "in".into(), partition: "p".into(), first_row: 100, rows: None };
        Batch::keyed(rows, keys).from_origin(Some(origin))
    }

    #[test]
    fn a_selection_of_a_selection_names_the_rows_held() {
        let batch = batch().select(&[3, 1, 0]).select(&[2, 0]);
        assert_eq!((batch.num_rows(), batch.selection()), (2, Some(&[0, 3][..])));
        let batch = batch.compact().unwrap();
        assert_eq!(batch.rows().column(0).as_primitive::<arrow::datatypes::Int64Type>().values(), &[10, 13]);
        assert_eq!(batch.keys().unwrap().values(), &StringArray::from(vec!["a", "d"]));
        assert_eq!(batch.origin().unwrap().row(1), 103);
    }

    #[test]
    fn rows_made_of_rows_keep_keys_and_origins() {
        let rows = RecordBatch::try_from_iter([("word", Arc::new(StringArray::from(vec!["x", "y", "z"])) as _)]);
        let derived = batch().derive(rows.unwrap(), Some(&[1, 1, 3])).unwrap();
        assert_eq!(derived.keys().unwrap().values(), &StringArray::from(vec!["b", "b", "d"]));
        assert_eq!((0..3).map(|row| derived.origin().unwrap().row(row)).collect::<Vec<_>>(), [101, 101, 103]);
    }
}
