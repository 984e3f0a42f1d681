//! The columns that hold values themselves, and no other columns.

use std::mem;
use std::sync::Arc;

use arrow::array::builder::{BooleanBufferBuilder, NullBufferBuilder};
use arrow::array::{ArrayRef, ArrowPrimitiveType, BooleanArray, PrimitiveArray};
use arrow::buffer::{Buffer, OffsetBuffer, ScalarBuffer};
use arrow::datatypes::ArrowNativeType;

/// Booleans as a bitmap.
#[derive(Debug)]
pub struct BoolColumn {
    values: BooleanBufferBuilder,
    nulls: NullBufferBuilder,
}

impl BoolColumn {
    pub(super) fn new() -> BoolColumn {
        BoolColumn { values: BooleanBufferBuilder::new(0), nulls: NullBufferBuilder::new(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Appends a value.
    pub fn append(&mut self, value: bool) {
        self.values.append(value);
        self.nulls.append_non_null();
    }

    pub(super) fn append_null(&mut self) {
        self.values.append(false);
        self.nulls.append_null();
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
    }

    pub(super) fn finish(&mut self) -> ArrayRef {
        Arc::new(BooleanArray::new(self.values.finish(), self.nulls.finish()))
    }
}

/// Numbers of one width.
#[derive(Debug)]
pub struct PrimitiveColumn<T> {
    values: Vec<T>,
    // Holds a bitmap only from the first null on.
    nulls: NullBufferBuilder,
}

impl<T: Copy + Default> PrimitiveColumn<T> {
    pub(super) fn new() -> PrimitiveColumn<T> {
        PrimitiveColumn { values: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Appends a value.
    pub fn append(&mut self, value: T) {
        self.values.push(value);
        self.nulls.append_non_null();
    }

    pub(super) fn append_null(&mut self) {
        self.values.push(T::default());
        self.nulls.append_null();
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.values.truncate(rows);
        self.nulls.truncate(rows);
    }

    pub(super) fn take<N>(&mut self) -> (ScalarBuffer<N>, NullBufferBuilder)
    where
        N: ArrowNativeType,
        ScalarBuffer<N>: From<Vec<T>>,
    {
        let room = self.values.len();
        let values = mem::replace(&mut self.values, Vec::with_capacity(room));
        (ScalarBuffer::from(values), mem::replace(&mut self.nulls, NullBufferBuilder::new(room)))
    }

    pub(super) fn finish<P: ArrowPrimitiveType<Native = T>>(&mut self) -> ArrayRef
    where
        T: ArrowNativeType,
    {
        let (values, mut nulls) = self.take();
        Arc::new(PrimitiveArray::<P>::new(values, nulls.finish()))
    }
}

/// Text or bytes: row `i` is `data[offsets[i]..offsets[i + 1]]`.
#[derive(Debug)]
pub struct BytesColumn {
    offsets: Vec<i32>,
    data: Vec<u8>,
    nulls: NullBufferBuilder,
}

/// Says that a column holds more than Arrow's 32-bit offsets can count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than 2 GiB in one column of one batch")]
pub struct Full;

impl BytesColumn {
    pub(super) fn new() -> BytesColumn {
        BytesColumn { offsets: vec![0], data: Vec::new(), nulls: NullBufferBuilder::new(0) }
    }

    /// Appends a text.
    pub fn append(&mut self, text: &str) -> Result<(), Full> {
        let end = i32::try_from(self.data.len() + text.len()).map_err(|_| Full)?;
        self.data.extend_from_slice(text.as_bytes());
        self.offsets.push(end);
        self.nulls.append_non_null();
        Ok(())
    }

    /// Appends bytes that a function writes after what is there; what it wrote is dropped when it fails.
    pub fn append_with<E: From<Full>>(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>) -> Result<(), E> {
        let start = self.data.len();
        let end = write(&mut self.data).and_then(|()| i32::try_from(self.data.len()).map_err(|_| Full.into()));
        match end {
            Ok(end) => {
                self.offsets.push(end);
                self.nulls.append_non_null();
                Ok(())
            }
            Err(error) => {
                self.data.truncate(start);
                Err(error)
            }
        }
    }

    pub(super) fn append_null(&mut self) {
        self.offsets.push(*self.offsets.last().expect("offsets start with a zero"));
        self.nulls.append_null();
    }

    pub(super) fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    pub(super) fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.data.truncate(*self.offsets.last().expect("offsets start with a zero") as usize);
        self.nulls.truncate(rows);
    }

    pub(super) fn take(&mut self) -> (OffsetBuffer<i32>, Buffer, NullBufferBuilder) {
        let (rows, room) = (self.len(), self.data.len());
        let offsets = take_offsets(&mut self.offsets);
        let data = mem::replace(&mut self.data, Vec::with_capacity(room));
        (offsets, Buffer::from_vec(data), mem::replace(&mut self.nulls, NullBufferBuilder::new(rows)))
    }
}

/// Hands out offsets and starts new ones.
pub(super) fn take_offsets(offsets: &mut Vec<i32>) -> OffsetBuffer<i32> {
    let mut fresh = Vec::with_capacity(offsets.len());
    fresh.push(0);
    OffsetBuffer::new(mem::replace(offsets, fresh).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_write_leaves_no_bytes() {
        let mut column = BytesColumn::new();
        column.append("a").unwrap();
        let failed = column.append_with(|data| {
            data.extend_from_slice(b"junk");
            Err(Full)
        });
        assert_eq!(failed, Err(Full));
        column.append("b").unwrap();
        assert_eq!((column.data.as_slice(), column.offsets.as_slice()), (b"ab".as_slice(), [0, 1, 2].as_slice()));
    }
}
