//! Rows that are kept: references into the batches they came in, which are copied out once and together.

use super::states::{EncodedRows, RowCodec};
use crate::dataflow::error::LogicError;
use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, new_empty_array, new_null_array};
use arrow::compute::interleave;
use arrow::datatypes::SchemaRef;
use std::cell::OnceCell;

/// Rows that may be held beyond those that are referred to, before the latter are copied together.
const SLACK: usize = 64 << 10;
/// Rows that are copied into one batch when they are copied together.
const COPIED: usize = 64 << 10;
/// Rows that are encoded or decoded together.
const SAVED: usize = 8 << 10;

/// A kept row: the batch that holds it, and its number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RowRef {
    batch: u32,
    row: u32,
}

impl RowRef {
    /// The row's number, if it is held by this batch.
    pub fn number_in(self, batch: u32) -> Option<u32> {
        (self.batch == batch).then_some(self.row)
    }
}

/// Batches with kept rows. A batch goes when none of its rows is referred to.
pub(super) struct Rows {
    schema: SchemaRef,
    batches: Vec<Held>,
    free: Vec<u32>,
    /// All rows held, and how many of them are referred to.
    held: usize,
    live: usize,
    /// Made when a row is saved or loaded.
    codec: OnceCell<RowCodec>,
}

struct Held {
    /// None: the place is free.
    rows: Option<RecordBatch>,
    live: usize,
}

impl Rows {
    /// Keeps nothing yet.
    pub fn new(schema: SchemaRef) -> Self {
        Rows { schema, batches: Vec::new(), free: Vec::new(), held: 0, live: 0, codec: OnceCell::new() }
    }

    /// The schema of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }

    /// Holds a batch, to rows of which [`Rows::keep`] refers; [`Rows::settle`] must follow.
    pub fn hold(&mut self, rows: RecordBatch) -> u32 {
        self.held += rows.num_rows();
        let held = Held { rows: Some(rows), live: 0 };
        match self.free.pop() {
            Some(batch) => {
                self.batches[batch as usize] = held;
                batch
            }
            None => {
                self.batches.push(held);
                u32::try_from(self.batches.len() - 1).expect("fewer than 2^32 batches are held")
            }
        }
    }

    /// Refers to a row of a batch that is held.
    pub fn keep(&mut self, batch: u32, row: u32) -> RowRef {
        self.batches[batch as usize].live += 1;
        self.live += 1;
        RowRef { batch, row }
    }

    /// Ends a reference. The batch stays until it is settled, or another reference into it ends.
    pub fn release(&mut self, row: RowRef) {
        self.batches[row.batch as usize].live -= 1;
        self.live -= 1;
        self.settle(row.batch);
    }

    /// Lets a batch go if no row of it is referred to.
    pub fn settle(&mut self, batch: u32) {
        let held = &mut self.batches[batch as usize];
        if held.live == 0
            && let Some(rows) = held.rows.take()
        {
            self.held -= rows.num_rows();
            self.free.push(batch);
        }
    }

    /// Copies rows into one batch, in the order given.
    ///
    /// # Errors
    /// They are too large for one batch.
    pub fn gather(&self, rows: &[RowRef]) -> Result<RecordBatch, LogicError> {
        let columns = self.copy(0..self.schema.fields().len(), rows.iter().copied().map(Some))?;
        let options = RecordBatchOptions::new().with_row_count(Some(rows.len()));
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }

    /// Copies some columns of rows, in the order given. Where there is no row there are nulls.
    ///
    /// # Errors
    /// They are too large for one batch.
    pub fn columns(&self, columns: &[usize], rows: &[Option<RowRef>]) -> Result<Vec<ArrayRef>, LogicError> {
        self.copy(columns.iter().copied(), rows.iter().copied())
    }

    fn copy(
        &self,
        columns: impl Iterator<Item = usize>,
        rows: impl Iterator<Item = Option<RowRef>> + Clone,
    ) -> Result<Vec<ArrayRef>, LogicError> {
        // Only the batches that are referred to, numbered anew; one row of nulls before them, if it is needed.
        let first = usize::from(rows.clone().any(|row| row.is_none()));
        let mut numbers = vec![usize::MAX; self.batches.len()];
        let mut batches: Vec<&RecordBatch> = Vec::new();
        let mut indices = Vec::with_capacity(rows.size_hint().0);
        for row in rows {
            let Some(row) = row else {
                indices.push((0, 0));
                continue;
            };
            let number = &mut numbers[row.batch as usize];
            if *number == usize::MAX {
                *number = first + batches.len();
                let held = &self.batches[row.batch as usize].rows;
                batches.push(held.as_ref().expect("a batch stays while a row of it is referred to"));
            }
            indices.push((*number, row.row as usize));
        }
        let columns = columns.map(|column| {
            let ty = self.schema.field(column).data_type();
            if indices.is_empty() {
                return Ok(new_empty_array(ty));
            }
            let null = (first > 0).then(|| new_null_array(ty, 1));
            let arrays = null.iter().chain(batches.iter().map(|batch| batch.column(column)));
            let arrays: Vec<&dyn Array> = arrays.map(AsRef::as_ref).collect();
            Ok(interleave(&arrays, &indices)?)
        });
        columns.collect()
    }

    /// Whether so many rows are held in vain that those referred to should be copied together.
    pub fn is_wasteful(&self) -> bool {
        self.held > 4 * self.live + SLACK
    }

    /// Copies together all rows that are referred to; `rows` must be all references.
    ///
    /// # Errors
    /// They are too large for one batch.
    pub fn pack<'r>(&mut self, rows: impl Iterator<Item = &'r mut RowRef>) -> Result<(), LogicError> {
        let mut rows: Vec<&mut RowRef> = rows.collect();
        debug_assert_eq!(rows.len(), self.live, "all references are packed");
        let mut packed = Rows::new(self.schema.clone());
        for rows in rows.chunks_mut(COPIED) {
            let before: Vec<RowRef> = rows.iter().map(|row| **row).collect();
            let batch = packed.hold(self.gather(&before)?);
            for (at, row) in (0..).zip(rows) {
                **row = packed.keep(batch, at);
            }
        }
        packed.codec = std::mem::take(&mut self.codec);
        *self = packed;
        Ok(())
    }

    /// Encodes rows, in the order given.
    ///
    /// # Errors
    /// They have columns of a type that cannot be encoded.
    pub fn save(&self, rows: &[RowRef]) -> Result<SavedRows, LogicError> {
        let codec = self.codec()?;
        let pieces = rows.chunks(SAVED).map(|rows| codec.encode(&self.gather(rows)?));
        Ok(SavedRows(pieces.collect::<Result<_, _>>()?))
    }

    /// Takes in rows as [`Rows::save`] encoded them, and refers to each.
    ///
    /// # Errors
    /// They have columns of a type that cannot be encoded.
    pub fn load(&mut self, rows: &[&[u8]]) -> Result<Vec<RowRef>, LogicError> {
        let mut refs = Vec::with_capacity(rows.len());
        for rows in rows.chunks(SAVED) {
            let batch = self.decode(rows)?;
            let held = self.hold(batch);
            refs.extend((0..).take(rows.len()).map(|row| self.keep(held, row)));
        }
        Ok(refs)
    }

    /// Makes a batch of rows as [`Rows::save`] encoded them.
    ///
    /// # Errors
    /// They are too large for one batch, or have columns of a type that cannot be encoded.
    pub fn decode(&self, rows: &[&[u8]]) -> Result<RecordBatch, LogicError> {
        self.codec()?.decode(rows.iter().copied())
    }

    fn codec(&self) -> Result<&RowCodec, LogicError> {
        if let Some(codec) = self.codec.get() {
            return Ok(codec);
        }
        let codec = RowCodec::new(&self.schema)?;
        Ok(self.codec.get_or_init(|| codec))
    }
}

/// Rows that are kept, encoded.
pub(super) struct SavedRows(Vec<EncodedRows>);

impl SavedRows {
    /// The bytes of each row, in order.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().flat_map(EncodedRows::iter)
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{show, table};
    use super::*;
    use crate::data::batch::Batch;
    use arrow::array::{AsArray, StringArray};

    #[test]
    fn kept_rows_are_copied_out_in_any_order() {
        let first = table("n: int64, w: string", &["1,a", "2,b"]);
        let mut rows = Rows::new(first.schema());
        let (first, second) = (rows.hold(first), rows.hold(table("n: int64, w: string", &["3,", "4,d"])));
        let kept = [rows.keep(second, 0), rows.keep(first, 1), rows.keep(second, 0)];
        let gathered = rows.gather(&kept).unwrap();
        assert_eq!(show(&Batch::new(gathered)), ["n=3, w=null", "n=2, w=b", "n=3, w=null"]);
        assert_eq!(rows.gather(&[]).unwrap().num_rows(), 0);
    }

    #[test]
    fn where_there_is_no_row_there_are_nulls() {
        let batch = table("n: int64, w: string", &["1,a", "2,b"]);
        let mut rows = Rows::new(batch.schema());
        let held = rows.hold(batch);
        let second = Some(rows.keep(held, 1));
        for (wanted, refs) in [(vec![None, Some("b"), None], vec![None, second, None]), (vec![None], vec![None])] {
            let columns = rows.columns(&[1], &refs).unwrap();
            assert_eq!(columns[0].as_string::<i32>(), &StringArray::from(wanted));
        }
        assert_eq!(rows.columns(&[1, 0], &[]).unwrap().len(), 2);
    }

    #[test]
    fn a_batch_goes_with_the_last_reference_to_it() {
        let batch = table("n: int64", &["1", "2"]);
        let mut rows = Rows::new(batch.schema());
        let first = rows.hold(batch.clone());
        let kept = [rows.keep(first, 0), rows.keep(first, 1)];
        rows.release(kept[0]);
        assert_eq!(rows.held, 2);
        rows.release(kept[1]);
        assert_eq!((rows.held, rows.hold(batch)), (0, first));
        rows.settle(first);
        assert_eq!(rows.held, 0);
    }

    #[test]
    fn few_rows_do_not_keep_many_in_memory() {
        let text: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        let batch = table("n: int64", &text.iter().map(String::as_str).collect::<Vec<_>>());
        let mut rows = Rows::new(batch.schema());
        let mut kept = Vec::new();
        for at in 0..100 {
            let held = rows.hold(batch.clone());
            kept.push(rows.keep(held, at));
            if rows.is_wasteful() {
                rows.pack(kept.iter_mut()).unwrap();
            }
            assert!(rows.held <= 80_000, "{}", rows.held);
        }
        let gathered = rows.gather(&kept).unwrap();
        assert_eq!(gathered, batch.slice(0, 100));
    }
}
