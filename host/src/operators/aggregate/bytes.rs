//! `min`, `max`, `first` and `last` of values of any length: text, and what can only be kept, such as lists.

use super::accumulator::{Accumulator, each};
use super::chosen::Rule;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::RowError;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BinaryBuilder, RecordBatch, StringArray, new_null_array};
use arrow::datatypes::DataType;
use arrow::row::{RowConverter, SortField};
use std::marker::PhantomData;
use std::sync::Arc;

/// How values are held as bytes.
pub(super) trait Coding: 'static {
    /// The bytes of the values of a column; those of nulls may be anything.
    ///
    /// # Errors
    /// Arrow cannot encode the column.
    fn encode(&self, column: &ArrayRef) -> Result<BinaryArray, LogicError>;

    /// The way back; null stays null.
    ///
    /// # Errors
    /// Arrow cannot make the column.
    fn decode(&self, values: BinaryArray) -> Result<ArrayRef, LogicError>;
}

/// Text as it is: its bytes compare as it does.
pub(super) struct Text;

impl Coding for Text {
    fn encode(&self, column: &ArrayRef) -> Result<BinaryArray, LogicError> {
        let (offsets, bytes, nulls) = column.as_string::<i32>().clone().into_parts();
        Ok(BinaryArray::try_new(offsets, bytes, nulls)?)
    }

    fn decode(&self, values: BinaryArray) -> Result<ArrayRef, LogicError> {
        Ok(Arc::new(StringArray::try_from_binary(values)?))
    }
}

/// Values of any other type, by Arrow's row encoding.
pub(super) struct Encoded {
    converter: RowConverter,
    /// The encoding of null.
    null: Vec<u8>,
}

/// Whether values of a type can be encoded.
pub(super) fn is_encodable(ty: &DataType) -> bool {
    RowConverter::supports_fields(&[SortField::new(ty.clone())])
}

impl Encoded {
    /// Encodes values of a type that is encodable.
    ///
    /// # Errors
    /// It is not.
    pub fn new(ty: DataType) -> Result<Self, LogicError> {
        let converter = RowConverter::new(vec![SortField::new(ty.clone())])?;
        let null = converter.convert_columns(&[new_null_array(&ty, 1)])?.row(0).data().to_vec();
        Ok(Encoded { converter, null })
    }
}

impl Coding for Encoded {
    fn encode(&self, column: &ArrayRef) -> Result<BinaryArray, LogicError> {
        Ok(self.converter.convert_columns(std::slice::from_ref(column))?.try_into_binary()?)
    }

    fn decode(&self, values: BinaryArray) -> Result<ArrayRef, LogicError> {
        let parser = self.converter.parser();
        let rows = values.iter().map(|value| parser.parse(value.unwrap_or(&self.null)));
        Ok(self.converter.convert_rows(rows)?.remove(0))
    }
}

/// The chosen values, by group.
pub(super) struct Bytes<C, R> {
    column: usize,
    coding: C,
    slots: Vec<Slot>,
    rule: PhantomData<R>,
}

/// The value of a group.
#[derive(Clone, Default)]
struct Slot {
    value: Vec<u8>,
    is_set: bool,
}

impl Slot {
    fn take<R: Rule>(&mut self, value: &[u8]) {
        if !self.is_set || R::takes(|| value.cmp(&self.value)) {
            self.value.clear();
            self.value.extend_from_slice(value);
            self.is_set = true;
        }
    }

    fn get(&self) -> Option<&[u8]> {
        self.is_set.then_some(&*self.value)
    }
}

impl<C: Coding, R: Rule> Bytes<C, R> {
    pub fn new(column: usize, coding: C) -> Self {
        Bytes { column, coding, slots: Vec::new(), rule: PhantomData }
    }
}

/// Adds a value to a column in the making.
fn append(values: &mut BinaryBuilder, value: Option<&[u8]>) -> Result<(), LogicError> {
    let more = value.map_or(0, <[u8]>::len);
    if values.values_slice().len() + more > i32::MAX as usize {
        return Err(LogicError::user("the values of some groups are too large together for one column (2 GiB)"));
    }
    values.append_option(value);
    Ok(())
}

impl<C: Coding, R: Rule> Accumulator for Bytes<C, R> {
    fn resize(&mut self, groups: usize) {
        self.slots.resize(groups, Slot::default());
    }

    fn update(&mut self, groups: &[u32], index: Option<&[u32]>, rows: &RecordBatch) -> Result<(), LogicError> {
        let column = rows.column(self.column);
        let values = self.coding.encode(column)?;
        each(groups, index, column.nulls(), |group, row| self.slots[group].take::<R>(values.value(row)));
        Ok(())
    }

    fn running(
        &mut self,
        groups: &[u32],
        rows: &RecordBatch,
        _refused: &mut Vec<RowError>,
    ) -> Result<ArrayRef, LogicError> {
        let column = rows.column(self.column);
        let values = self.coding.encode(column)?;
        let mut after = BinaryBuilder::new();
        for (row, &group) in groups.iter().enumerate() {
            let slot = &mut self.slots[group as usize];
            if column.is_valid(row) {
                slot.take::<R>(values.value(row));
            }
            append(&mut after, slot.get())?;
        }
        self.coding.decode(after.finish())
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) {
        for (&into, &from) in into.iter().zip(from) {
            let from = std::mem::take(&mut self.slots[from as usize]);
            if let Some(value) = from.get() {
                self.slots[into as usize].take::<R>(value);
            }
        }
    }

    fn finish(&self, groups: &[u32], _refused: &mut Vec<RowError>) -> Result<ArrayRef, LogicError> {
        let mut values = BinaryBuilder::new();
        for &group in groups {
            append(&mut values, self.slots[group as usize].get())?;
        }
        self.coding.decode(values.finish())
    }

    fn reset(&mut self, groups: &[u32]) {
        groups.iter().for_each(|&group| self.slots[group as usize] = Slot::default());
    }

    fn save(&self, group: u32, bytes: &mut Vec<u8>) {
        let slot = &self.slots[group as usize];
        bytes.push(u8::from(slot.is_set));
        bytes.extend((slot.value.len() as u64).to_le_bytes());
        bytes.extend(&slot.value);
    }

    fn load(&mut self, group: u32, bytes: &mut &[u8]) -> Option<()> {
        let is_set = *bytes.split_off_first()? != 0;
        let length = u64::from_le_bytes(*bytes.split_off(..8)?.first_chunk()?);
        let value = bytes.split_off(..usize::try_from(length).ok()?)?.to_vec();
        self.slots[group as usize] = Slot { value, is_set };
        Some(())
    }
}
