//! Columns that are set beside the columns of a row.

use arrow::array::{Array, ArrayRef, RecordBatch, RecordBatchOptions, StructArray, UInt32Array, make_array};
use arrow::buffer::NullBuffer;
use arrow::compute::take;
use arrow::datatypes::{FieldRef, Schema, SchemaRef};
use arrow::error::ArrowError;
use std::sync::Arc;

/// How added columns stand among those of a row: in place of the one of their name, or behind all others.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Extension {
    pub schema: SchemaRef,
    columns: Vec<Column>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Column {
    Input(usize),
    Added(usize),
}

impl Extension {
    /// Finds out how the columns of `added` stand among those of `input`.
    pub fn new(input: &Schema, added: &Schema) -> Self {
        let mut fields: Vec<FieldRef> = input.fields().to_vec();
        let mut columns: Vec<Column> = (0..fields.len()).map(Column::Input).collect();
        for (index, field) in added.fields().iter().enumerate() {
            match fields.iter().position(|other| other.name() == field.name()) {
                Some(at) => {
                    fields[at] = field.clone();
                    columns[at] = Column::Added(index);
                }
                None => {
                    fields.push(field.clone());
                    columns.push(Column::Added(index));
                }
            }
        }
        Extension { schema: Arc::new(Schema::new(fields)), columns }
    }

    /// Sets `added` beside the rows of `input` that it was made of: row `parents[i]`, or row `i`.
    ///
    /// # Errors
    /// Arrow cannot copy the rows.
    pub fn rows(
        &self,
        input: &RecordBatch,
        added: &RecordBatch,
        parents: Option<&[u32]>,
    ) -> Result<RecordBatch, ArrowError> {
        let parents = parents.map(|parents| UInt32Array::from(parents.to_vec()));
        let columns = self.columns.iter().map(|&column| match (column, &parents) {
            (Column::Added(index), _) => Ok(added.column(index).clone()),
            (Column::Input(index), None) => Ok(input.column(index).clone()),
            (Column::Input(index), Some(parents)) => take(input.column(index), parents, None),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(added.num_rows()));
        RecordBatch::try_new_with_options(self.schema.clone(), columns.collect::<Result<_, _>>()?, &options)
    }
}

/// The numbers of `count` rows without some of them, which rise.
pub(super) fn all_but(count: usize, without: impl IntoIterator<Item = u32>) -> Vec<u32> {
    let mut without = without.into_iter().peekable();
    let count = u32::try_from(count).expect("a batch has fewer than 2^32 rows");
    (0..count).filter(|&row| without.next_if_eq(&row).is_none()).collect()
}

/// A member of a column of structs: null where the struct is.
///
/// # Errors
/// Arrow refuses the member, which it has no reason for.
pub(super) fn member(parent: &StructArray, index: usize) -> Result<ArrayRef, ArrowError> {
    let member = parent.column(index);
    if parent.null_count() == 0 {
        return Ok(member.clone());
    }
    let nulls = NullBuffer::union(parent.nulls(), member.nulls());
    Ok(make_array(member.to_data().into_builder().nulls(nulls).build()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::schema::{Type, describe, schema_of};
    use arrow::array::{AsArray, Int64Array, StringArray};
    use arrow::datatypes::Int64Type;

    #[test]
    fn added_columns_replace_those_of_their_name_where_they_stand() {
        let input = schema_of(&[("a".into(), Type::Int64), ("b".into(), Type::String), ("c".into(), Type::Bool)]);
        let added = schema_of(&[("x".into(), Type::Date), ("b".into(), Type::Int64)]);
        let extension = Extension::new(&input, &added);
        assert_eq!(describe(&extension.schema), "a: int64, b: int64, c: bool, x: date");
    }

    #[test]
    fn rows_are_repeated_beside_what_was_made_of_them() {
        let input = rows(&[("a", Arc::new(Int64Array::from(vec![1, 2, 3]))), ("b", words(&["x", "y", "z"]))]);
        let added = rows(&[("b", words(&["p", "q", "r"]))]);
        let extension = Extension::new(input.schema_ref(), added.schema_ref());
        for (parents, wanted) in [(None, [1, 2, 3]), (Some(&[0, 2, 2][..]), [1, 3, 3])] {
            let extended = extension.rows(&input, &added, parents).unwrap();
            assert_eq!(extended.column(0).as_primitive::<Int64Type>().values(), &wanted);
            assert_eq!(extended.column(1), added.column(0));
        }
    }

    #[test]
    fn a_row_without_columns_is_still_a_row() {
        let empty = RecordBatch::new_empty(Arc::new(Schema::empty()));
        let extension = Extension::new(&Schema::empty(), &Schema::empty());
        assert_eq!(extension.rows(&empty, &empty, None).unwrap().num_rows(), 0);
    }

    #[test]
    fn rows_that_failed_are_left_out() {
        for (without, wanted) in [(vec![], vec![0, 1, 2, 3]), (vec![0, 3], vec![1, 2]), (vec![0, 1, 2, 3], vec![])] {
            assert_eq!(all_but(4, without), wanted);
        }
    }

    fn rows(columns: &[(&str, ArrayRef)]) -> RecordBatch {
        let columns = columns.iter().map(|(name, column)| (*name, column.clone(), true));
        RecordBatch::try_from_iter_with_nullable(columns).unwrap()
    }

    fn words(words: &[&str]) -> ArrayRef {
        Arc::new(StringArray::from(words.to_vec()))
    }
}
