//! Divides the rows of a batch by their values in some columns.

use arrow::array::{ArrayRef, RecordBatch, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::error::ArrowError;
use arrow::row::{RowConverter, SortField};
use hashbrown::HashTable;
use xxhash_rust::xxh3::xxh3_64;

/// Divides rows. What stands for equal values stays the same as long as this lives.
pub(super) struct Split {
    converter: RowConverter,
}

/// Rows with equal values.
#[derive(Debug)]
pub(super) struct Group {
    /// Stands for the values.
    pub values: Box<[u8]>,
    /// Their row numbers, in order.
    pub rows: Vec<u32>,
}

impl Split {
    /// Divides by columns of these types.
    ///
    /// # Errors
    /// Values of a type cannot be compared.
    pub fn new(columns: &[ArrayRef]) -> Result<Split, ArrowError> {
        let fields = columns.iter().map(|column| SortField::new(column.data_type().clone()));
        Ok(Split { converter: RowConverter::new(fields.collect())? })
    }

    /// Divides rows by these columns of theirs. Groups are in the order of their first rows.
    ///
    /// # Errors
    /// The columns have other types than before.
    pub fn split(&self, columns: &[ArrayRef]) -> Result<Vec<Group>, ArrowError> {
        let rows = self.converter.convert_columns(columns)?;
        let mut groups: Vec<Group> = Vec::new();
        let mut found: HashTable<usize> = HashTable::new();
        // Equal rows often follow each other.
        let mut last: Option<usize> = None;
        for (number, row) in (0..).zip(rows.iter()) {
            let row = row.data();
            let group = match last.filter(|&last| *groups[last].values == *row) {
                Some(last) => last,
                None => {
                    let hash = xxh3_64(row);
                    match found.find(hash, |&group| *groups[group].values == *row) {
                        Some(&group) => group,
                        None => {
                            groups.push(Group { values: row.into(), rows: Vec::new() });
                            let group = groups.len() - 1;
                            found.insert_unique(hash, group, |&group| xxh3_64(&groups[group].values));
                            group
                        }
                    }
                }
            };
            groups[group].rows.push(number);
            last = Some(group);
        }
        Ok(groups)
    }
}

/// Takes the rows of a group out of a batch.
///
/// # Errors
/// They are too large for a column.
pub(super) fn take(batch: &RecordBatch, rows: Vec<u32>) -> Result<RecordBatch, ArrowError> {
    // Copying a range of rows is not needed to write them.
    match (rows.first(), rows.last()) {
        (Some(&first), Some(&last)) if last - first + 1 == u32::try_from(rows.len()).unwrap_or(0) => {
            Ok(batch.slice(first as usize, rows.len()))
        }
        _ => take_record_batch(batch, &UInt32Array::from(rows)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StringArray};
    use std::sync::Arc;

    #[test]
    fn rows_of_equal_values_come_together_in_order() {
        let columns: Vec<ArrayRef> = vec![
            Arc::new(StringArray::from(vec![Some("a"), Some("b"), Some("a"), None, Some("a"), None])),
            Arc::new(Int64Array::from(vec![1, 1, 1, 1, 2, 1])),
        ];
        let split = Split::new(&columns).unwrap();
        let groups = split.split(&columns).unwrap();
        let rows: Vec<&[u32]> = groups.iter().map(|group| &*group.rows).collect();
        assert_eq!(rows, [&[0, 2][..], &[1], &[3, 5], &[4]]);
        let again = split.split(&columns.iter().map(|column| column.slice(4, 1)).collect::<Vec<_>>()).unwrap();
        assert_eq!(again[0].values, groups[3].values);
    }

    #[test]
    fn a_range_of_rows_is_not_copied() {
        let numbers: ArrayRef = Arc::new(Int64Array::from(vec![10, 11, 12, 13]));
        let batch = RecordBatch::try_from_iter([("n", numbers)]).unwrap();
        assert_eq!(take(&batch, vec![1, 2]).unwrap(), batch.slice(1, 2));
        assert_eq!(take(&batch, vec![0, 2]).unwrap().num_rows(), 2);
    }
}
