//! What a guest returned, checked and made into Arrow arrays without another copy.
//!
//! Nothing that a guest says is believed: lengths, offsets, bitmaps, indexes and UTF-8 are checked before an array is
//! made of them. JSON columns are checked to be text only, since parsing them again would cost more than the call.

use super::bindings::types;
use crate::dataflow::user_fn::RowError;
use arrow::array::{
    ArrayRef, ArrowPrimitiveType, BinaryArray, BooleanArray, ListArray, PrimitiveArray, RecordBatch,
    RecordBatchOptions, StringArray, StructArray, TimestampMicrosecondArray,
};
use arrow::buffer::{BooleanBuffer, Buffer, NullBuffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::{
    DataType, Date32Type, Field, Float32Type, Float64Type, Int32Type, Int64Type, SchemaRef, UInt32Type, UInt64Type,
};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What was wrong with what a guest returned, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Lie(pub(super) String);

macro_rules! lie {
    ($($text:tt)*) => { Err(Lie(format!($($text)*))) };
}
pub(super) use lie;

/// Makes a record batch of `schema` from what a guest returned.
pub(super) fn rows(batch: types::Batch, schema: &SchemaRef) -> Result<RecordBatch, Lie> {
    let rows = batch.rows as usize;
    if batch.roots.len() != schema.fields().len() {
        return lie!("{} columns where its schema has {}", batch.roots.len(), schema.fields().len());
    }
    let mut arena = Arena { columns: batch.columns.into_iter().map(Some).collect() };
    let mut columns = Vec::with_capacity(batch.roots.len());
    for (field, &root) in schema.fields().iter().zip(&batch.roots) {
        columns.push(arena.take(root, None, rows, field, field.name())?);
    }
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    // Types and lengths were checked above, each with a better message.
    RecordBatch::try_new_with_options(Arc::clone(schema), columns, &options).map_err(|error| Lie(error.to_string()))
}

/// Checks the errors that a guest returned for `rows` rows: within the batch, each row once, in order.
pub(super) fn row_errors(errors: Vec<types::RowError>, rows: usize) -> Result<Vec<RowError>, Lie> {
    let mut next = 0;
    for error in &errors {
        if error.row as usize >= rows {
            return lie!("an error for row {} of {rows}", error.row);
        }
        if error.row < next {
            return lie!("an error for row {} after one for row {}", error.row, next - 1);
        }
        next = error.row + 1;
    }
    Ok(errors.into_iter().map(|error| RowError { row: error.row, message: error.message }).collect())
}

/// Checks encoded states: one entry each.
pub(super) fn states(states: types::VarSize, wanted: usize) -> Result<BinaryArray, Lie> {
    let offsets = offsets(states.offsets, wanted, states.data.len(), "states")?;
    Ok(BinaryArray::new(offsets, states.data.into(), None))
}

/// Checks the names of partitions: none twice.
pub(super) fn parts(parts: Vec<String>) -> Result<Vec<String>, Lie> {
    let mut seen = BTreeSet::new();
    match parts.iter().find(|part| !seen.insert(part.as_str())) {
        Some(twice) => lie!("the partition \"{twice}\" twice"),
        None => Ok(parts),
    }
}

/// The columns that were not taken yet. Each may be taken once, so that its buffers move into the array.
struct Arena {
    columns: Vec<Option<types::Column>>,
}

impl Arena {
    /// Makes the array of a column with `rows` rows. `path` names it in messages.
    fn take(
        &mut self,
        index: u32,
        parent: Option<u32>,
        rows: usize,
        field: &Field,
        path: &str,
    ) -> Result<ArrayRef, Lie> {
        if let Some(parent) = parent
            && index >= parent
        {
            return lie!("column \"{path}\": a child at index {index}, which is not before its parent at {parent}");
        }
        let Some(slot) = self.columns.get_mut(index as usize) else {
            return lie!("column \"{path}\": index {index} of {} columns", self.columns.len());
        };
        let Some(column) = slot.take() else {
            return lie!("column \"{path}\": index {index} is named twice");
        };
        if column.rows as usize != rows {
            return lie!("column \"{path}\": {} rows where there should be {rows}", column.rows);
        }
        let nulls =
            column.validity.map(|bits| bitmap(bits, rows, path, "validity").map(NullBuffer::new)).transpose()?;
        self.array(column.values, index, rows, nulls, field, path)
    }

    fn array(
        &mut self,
        values: types::Values,
        index: u32,
        rows: usize,
        nulls: Option<NullBuffer>,
        field: &Field,
        path: &str,
    ) -> Result<ArrayRef, Lie> {
        use super::bindings::types::Values;
        Ok(match (field.data_type(), values) {
            (DataType::Boolean, Values::Boolean(bits)) => {
                Arc::new(BooleanArray::new(bitmap(bits, rows, path, "values")?, nulls))
            }
            (DataType::Int32, Values::Int32(values)) => Arc::new(primitive::<Int32Type>(values, rows, nulls, path)?),
            (DataType::Date32, Values::Int32(values)) => Arc::new(primitive::<Date32Type>(values, rows, nulls, path)?),
            (DataType::Int64, Values::Int64(values)) => Arc::new(primitive::<Int64Type>(values, rows, nulls, path)?),
            (DataType::Timestamp(_, Some(zone)), Values::Int64(values)) => {
                let array: TimestampMicrosecondArray = primitive(values, rows, nulls, path)?;
                Arc::new(array.with_timezone(Arc::clone(zone)))
            }
            (DataType::UInt32, Values::Uint32(values)) => Arc::new(primitive::<UInt32Type>(values, rows, nulls, path)?),
            (DataType::UInt64, Values::Uint64(values)) => Arc::new(primitive::<UInt64Type>(values, rows, nulls, path)?),
            (DataType::Float32, Values::Float32(values)) => {
                Arc::new(primitive::<Float32Type>(values, rows, nulls, path)?)
            }
            (DataType::Float64, Values::Float64(values)) => {
                Arc::new(primitive::<Float64Type>(values, rows, nulls, path)?)
            }
            (DataType::Utf8, Values::VarSize(values)) => Arc::new(strings(values, rows, nulls, path)?),
            (DataType::Binary, Values::VarSize(values)) => {
                let offsets = offsets(values.offsets, rows, values.data.len(), path)?;
                let array = BinaryArray::try_new(offsets, Buffer::from_vec(values.data), nulls);
                Arc::new(array.map_err(|error| Lie(format!("column \"{path}\": {error}")))?)
            }
            (DataType::List(item), Values::List(list)) => {
                let Some(Some(child)) = self.columns.get(list.child as usize) else {
                    return lie!("column \"{path}\": its items at index {} are not there", list.child);
                };
                let child_rows = child.rows as usize;
                let offsets = offsets(list.offsets, rows, child_rows, path)?;
                let items = self.take(list.child, Some(index), child_rows, item, &format!("{path}[]"))?;
                let array = ListArray::try_new(Arc::clone(item), offsets, items, nulls);
                Arc::new(array.map_err(|error| Lie(format!("column \"{path}\": {error}")))?)
            }
            (DataType::Struct(fields), Values::Struct(members)) => {
                if members.len() != fields.len() {
                    return lie!("column \"{path}\": {} members where its type has {}", members.len(), fields.len());
                }
                let mut arrays = Vec::with_capacity(members.len());
                for (field, &member) in fields.iter().zip(&members) {
                    arrays.push(self.take(member, Some(index), rows, field, &format!("{path}.{}", field.name()))?);
                }
                let array = StructArray::try_new_with_length(fields.clone(), arrays, nulls, rows);
                Arc::new(array.map_err(|error| Lie(format!("column \"{path}\": {error}")))?)
            }
            (_, values) => {
                let declared = crate::data::schema::Type::of(field);
                return lie!("column \"{path}\": {} values, but its type is {declared}", name_of(&values));
            }
        })
    }
}

fn primitive<T: ArrowPrimitiveType>(
    values: Vec<T::Native>,
    rows: usize,
    nulls: Option<NullBuffer>,
    path: &str,
) -> Result<PrimitiveArray<T>, Lie> {
    if values.len() != rows {
        return lie!("column \"{path}\": {} values for {rows} rows", values.len());
    }
    Ok(PrimitiveArray::new(ScalarBuffer::from(values), nulls))
}

fn strings(values: types::VarSize, rows: usize, nulls: Option<NullBuffer>, path: &str) -> Result<StringArray, Lie> {
    let offsets = offsets(values.offsets, rows, values.data.len(), path)?;
    let data = Buffer::from_vec(values.data);
    // Checks the whole buffer at once, and that every offset is at the start of a character.
    StringArray::try_new(offsets.clone(), data.clone(), nulls).map_err(|_| {
        let mut rows = offsets.windows(2).map(|pair| &data[pair[0] as usize..pair[1] as usize]);
        let row = rows.position(|text| std::str::from_utf8(text).is_err()).unwrap_or_default();
        Lie(format!("column \"{path}\": row {row} is not UTF-8"))
    })
}

fn bitmap(bits: Vec<u8>, rows: usize, path: &str, what: &str) -> Result<BooleanBuffer, Lie> {
    if bits.len() < rows.div_ceil(8) {
        return lie!("column \"{path}\": a {what} bitmap of {} bytes for {rows} rows", bits.len());
    }
    Ok(BooleanBuffer::new(Buffer::from_vec(bits), 0, rows))
}

fn offsets(offsets: Vec<i32>, rows: usize, end: usize, path: &str) -> Result<OffsetBuffer<i32>, Lie> {
    if offsets.len() != rows + 1 {
        return lie!(
            "column \"{path}\": {} offsets for {rows} rows; there should be one more than rows",
            offsets.len()
        );
    }
    if offsets[0] != 0 {
        return lie!("column \"{path}\": offsets start at {}, not at 0", offsets[0]);
    }
    // Without a way out in the middle this is done eight offsets at a time, and it is hardly ever true.
    if offsets.windows(2).fold(false, |falls, pair| falls | (pair[1] < pair[0])) {
        let row = offsets.windows(2).position(|pair| pair[1] < pair[0]).unwrap_or_default();
        return lie!("column \"{path}\": offsets fall at row {row}, from {} to {}", offsets[row], offsets[row + 1]);
    }
    if offsets[rows] as usize != end {
        return lie!("column \"{path}\": offsets end at {}, the data at {end}", offsets[rows]);
    }
    Ok(OffsetBuffer::new(ScalarBuffer::from(offsets)))
}

fn name_of(values: &types::Values) -> &'static str {
    match values {
        types::Values::Boolean(_) => "boolean",
        types::Values::Int32(_) => "int32",
        types::Values::Int64(_) => "int64",
        types::Values::Uint32(_) => "uint32",
        types::Values::Uint64(_) => "uint64",
        types::Values::Float32(_) => "float32",
        types::Values::Float64(_) => "float64",
        types::Values::VarSize(_) => "var-size",
        types::Values::List(_) => "list",
        types::Values::Struct(_) => "struct",
    }
}
