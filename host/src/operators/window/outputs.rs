//! The rows of a window step's ports.

use super::super::groups::Groups;
use super::args::With;
use super::slots::Slots;
use super::step::META;
use crate::data::batch::Batch;
use crate::dataflow::dead_letter::{DeadLetter, Kind};
use crate::dataflow::error::LogicError;
use arrow::array::{
    ArrayRef, Int64Array, Int64Builder, ListBuilder, RecordBatch, RecordBatchOptions, StringArray, StructArray,
    TimestampMicrosecondArray, UInt32Array, new_null_array,
};
use arrow::compute::take_record_batch;
use arrow::datatypes::{DataType, Field, SchemaRef};
use std::sync::Arc;

/// The indexes of a window step's output ports.
pub(super) const DOWN: usize = 0;
pub(super) const LATE: usize = 1;
pub(super) const META_PORT: usize = 2;

/// Makes the rows of a step's ports.
pub(super) struct Outputs {
    pub down: SchemaRef,
    pub with: Vec<With>,
    pub late: SchemaRef,
    pub inputs: usize,
    /// The name of the key, for dead letters.
    pub key: Arc<str>,
}

impl Outputs {
    /// The rows that logic gave, each of a window, with their keys and the columns of `with`. Unless `are_times_known`,
    /// those of them that are times are null.
    ///
    /// # Errors
    /// The rows are not of the schema that was declared.
    pub fn down(
        &self,
        (rows, of): (RecordBatch, Vec<u32>),
        slots: &Slots,
        groups: &Groups,
        are_times_known: bool,
    ) -> Result<Batch, LogicError> {
        let groups_of: Vec<u32> = of.iter().map(|&slot| slots.get(slot).key).collect();
        let mut columns = rows.columns().to_vec();
        for with in &self.with {
            let windows = of.iter().map(|&slot| slots.get(slot));
            columns.push(match with {
                With::WindowId => Arc::new(windows.map(|window| window.id).collect::<Int64Array>()) as ArrayRef,
                With::OpenTime => times(windows.map(|window| are_times_known.then_some(window.open))),
                With::CloseTime => times(windows.map(|window| are_times_known.then_some(window.close))),
            });
        }
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let rows = RecordBatch::try_new_with_options(self.down.clone(), columns, &options)?;
        Ok(Batch::keyed(rows, groups.keys(&groups_of)))
    }

    /// What is told of windows that close.
    ///
    /// # Errors
    /// Arrow refuses the columns, which it has no reason for.
    pub fn meta(&self, closed: &[u32], slots: &mut Slots, groups: &Groups) -> Result<Batch, LogicError> {
        let mut merged = ListBuilder::new(Int64Builder::new()).with_field(Field::new(
            Field::LIST_FIELD_DEFAULT_NAME,
            DataType::Int64,
            true,
        ));
        for &slot in closed {
            merged.append_value(slots.take_merged(slot).into_iter().map(Some));
        }
        let windows = || closed.iter().map(|&slot| slots.get(slot));
        let columns: Vec<ArrayRef> = vec![
            Arc::new(windows().map(|window| window.id).collect::<Int64Array>()),
            times(windows().map(|window| Some(window.open))),
            times(windows().map(|window| Some(window.close))),
            Arc::new(merged.finish()),
        ];
        let keys: Vec<u32> = windows().map(|window| window.key).collect();
        Ok(Batch::keyed(RecordBatch::try_new(META.clone(), columns)?, groups.keys(&keys)))
    }

    /// The rows of a batch that were late: which, and the id of the window that each was late for. `batch` selects none
    /// of its rows.
    ///
    /// # Errors
    /// Arrow cannot copy the rows.
    pub fn late(&self, input: usize, batch: &Batch, late: &[(u32, i64)]) -> Result<Batch, LogicError> {
        let rows: Vec<u32> = late.iter().map(|(row, _)| *row).collect();
        let batch = batch.select(&rows).compact()?;
        let count = batch.num_rows();
        let ids: ArrayRef = Arc::new(late.iter().map(|(_, id)| *id).collect::<Int64Array>());
        let fields = self.late.fields();
        let columns: Vec<ArrayRef> = if self.inputs == 1 {
            batch.rows().columns().iter().cloned().chain([ids]).collect()
        } else {
            let side: ArrayRef = Arc::new(StringArray::from(vec![fields[1 + input].name().as_str(); count]));
            let mut columns = vec![side];
            for (at, field) in fields[1..fields.len() - 1].iter().enumerate() {
                columns.push(match field.data_type() {
                    DataType::Struct(members) if at == input => {
                        let rows = batch.rows().columns().to_vec();
                        Arc::new(StructArray::try_new_with_length(members.clone(), rows, None, count)?)
                    }
                    other => new_null_array(other, count),
                });
            }
            columns.push(ids);
            columns
        };
        Ok(batch.with_rows(RecordBatch::try_new(self.late.clone(), columns)?))
    }

    /// Says that something of a window failed.
    pub fn letter(&self, slot: u32, message: &str, slots: &Slots, groups: &Groups) -> DeadLetter {
        let window = slots.get(slot);
        let key = groups.key(window.key);
        let row: serde_json::Map<_, _> =
            [(self.key.to_string(), key.into()), ("window_id".to_owned(), window.id.into())].into_iter().collect();
        let message = format!("key {key:?}, window {}: {message}", window.id);
        let row = serde_json::Value::Object(row).to_string();
        DeadLetter { kind: Kind::Returned, message, partition: None, position: None, row }
    }
}

/// The rows of a call of the logic without those of hollow windows, which give nothing.
///
/// # Errors
/// Arrow cannot copy the rows.
pub(super) fn of_filled(
    (rows, of): (RecordBatch, Vec<u32>),
    slots: &Slots,
) -> Result<(RecordBatch, Vec<u32>), LogicError> {
    if !slots.has_hollow() {
        return Ok((rows, of));
    }
    let kept: Vec<u32> = (0..).zip(&of).filter(|(_, slot)| !slots.get(**slot).hollow).map(|(row, _)| row).collect();
    if kept.len() == of.len() {
        return Ok((rows, of));
    }
    let of = kept.iter().map(|&row| of[row as usize]).collect();
    Ok((take_record_batch(&rows, &UInt32Array::from(kept))?, of))
}

fn times(times: impl Iterator<Item = Option<i64>>) -> ArrayRef {
    Arc::new(times.collect::<TimestampMicrosecondArray>().with_timezone("UTC"))
}
