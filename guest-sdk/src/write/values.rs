//! The builders of columns: numbers, text, bytes, nulls, lists, structs.

use std::borrow::Cow;

use crate::bindings::wxhost::plugin::types::{Column, DataType, Field, ListData, Values, VarSize};
use crate::time::{Date, Timestamp};
use crate::write::{Build, Write, push_field_of};

fn push_column(arena: &mut Vec<Column>, rows: usize, values: Values) -> u32 {
    arena.push(Column { rows: rows as u32, validity: None, values });
    arena.len() as u32 - 1
}

/// Numbers and times.
#[derive(Default)]
pub struct Plain<T>(Vec<T>);

/// Writes a type as numbers.
macro_rules! write_number {
    ($type:ty, $number:ty, $data_type:ident, $as_number:expr) => {
        impl Write for $type {
            type Builder = Plain<$number>;

            fn data_type(_: &mut Vec<Field>) -> DataType {
                DataType::$data_type
            }

            #[inline]
            fn append_to(self, builder: &mut Self::Builder) {
                builder.0.push($as_number(self));
            }
        }
    };
}

/// Makes the builder of a kind of numbers.
macro_rules! build_number {
    ($number:ty, $values:ident) => {
        impl Build for Plain<$number> {
            fn reserve(&mut self, rows: usize) {
                self.0.reserve(rows);
            }

            fn push_empty(&mut self) {
                self.0.push(Default::default());
            }

            fn truncate(&mut self, rows: usize) {
                self.0.truncate(rows);
            }

            fn finish(self, arena: &mut Vec<Column>) -> u32 {
                push_column(arena, self.0.len(), Values::$values(self.0))
            }
        }
    };
}

build_number!(i32, Int32);
build_number!(i64, Int64);
build_number!(u32, Uint32);
build_number!(u64, Uint64);
build_number!(f32, Float32);
build_number!(f64, Float64);
write_number!(i32, i32, Int32, std::convert::identity);
write_number!(i64, i64, Int64, std::convert::identity);
write_number!(u32, u32, Uint32, std::convert::identity);
write_number!(u64, u64, Uint64, std::convert::identity);
write_number!(f32, f32, Float32, std::convert::identity);
write_number!(f64, f64, Float64, std::convert::identity);
write_number!(Timestamp, i64, Timestamp, Timestamp::micros);
write_number!(Date, i32, Date, Date::days);

/// A bitmap that grows.
#[derive(Default)]
pub struct Bits {
    bits: Vec<u8>,
    rows: usize,
}

impl Bits {
    fn all_set(rows: usize) -> Self {
        let mut bits = vec![0xff; rows.div_ceil(8)];
        if let (Some(last), rest @ 1..) = (bits.last_mut(), rows % 8) {
            *last = (1 << rest) - 1;
        }
        Self { bits, rows }
    }

    #[inline]
    fn push(&mut self, bit: bool) {
        if self.rows.is_multiple_of(8) {
            self.bits.push(0);
        }
        self.bits[self.rows / 8] |= u8::from(bit) << (self.rows % 8);
        self.rows += 1;
    }
}

impl Build for Bits {
    fn reserve(&mut self, rows: usize) {
        self.bits.reserve(rows.div_ceil(8));
    }

    fn push_empty(&mut self) {
        self.push(false);
    }

    fn truncate(&mut self, rows: usize) {
        self.bits.truncate(rows.div_ceil(8));
        if let (Some(last), rest @ 1..) = (self.bits.last_mut(), rows % 8) {
            *last &= (1 << rest) - 1;
        }
        self.rows = rows;
    }

    fn finish(self, arena: &mut Vec<Column>) -> u32 {
        push_column(arena, self.rows, Values::Boolean(self.bits))
    }
}

impl Write for bool {
    type Builder = Bits;

    fn data_type(_: &mut Vec<Field>) -> DataType {
        DataType::Boolean
    }

    #[inline]
    fn append_to(self, builder: &mut Self::Builder) {
        builder.push(self);
    }
}

/// Text, bytes or JSON.
pub struct Bytes {
    offsets: Vec<i32>,
    pub(crate) data: Vec<u8>,
}

impl Default for Bytes {
    fn default() -> Self {
        Self { offsets: vec![0], data: Vec::new() }
    }
}

impl Bytes {
    /// Appends a value.
    #[inline]
    pub fn push(&mut self, value: &[u8]) {
        self.data.extend_from_slice(value);
        self.end_value();
    }

    /// Ends the value that was written into `data`. The cast is checked for all values at once, by `finish`.
    #[inline]
    pub(crate) fn end_value(&mut self) {
        self.offsets.push(self.data.len() as i32);
    }

    pub(crate) fn into_var_size(self) -> VarSize {
        i32::try_from(self.data.len()).expect("a column of a batch has less than 2 GiB");
        VarSize { offsets: self.offsets, data: self.data }
    }
}

impl Build for Bytes {
    fn reserve(&mut self, rows: usize) {
        self.offsets.reserve(rows);
        // A guess that spares the first few times of growing.
        self.data.reserve(rows * 16);
    }

    fn push_empty(&mut self) {
        self.end_value();
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.data.truncate(self.offsets[rows] as usize);
    }

    fn finish(self, arena: &mut Vec<Column>) -> u32 {
        push_column(arena, self.offsets.len() - 1, Values::VarSize(self.into_var_size()))
    }
}

/// Writes text or bytes.
macro_rules! write_bytes {
    ($type:ty, $data_type:ident, $as_bytes:expr) => {
        impl Write for $type {
            type Builder = Bytes;

            fn data_type(_: &mut Vec<Field>) -> DataType {
                DataType::$data_type
            }

            #[inline]
            fn append_to(self, builder: &mut Self::Builder) {
                let as_bytes: fn(&Self) -> &[u8] = $as_bytes;
                builder.push(as_bytes(&self));
            }
        }
    };
}

write_bytes!(&str, String, |text| text.as_bytes());
write_bytes!(String, String, |text| text.as_bytes());
write_bytes!(Cow<'_, str>, String, |text| text.as_bytes());
write_bytes!(&[u8], Binary, |bytes| bytes);
write_bytes!(Vec<u8>, Binary, |bytes| bytes);

/// A column with nulls; the bitmap exists from the first of them.
#[derive(Default)]
pub struct Nullable<B> {
    builder: B,
    rows: usize,
    valid: Option<Bits>,
}

impl<B: Build> Nullable<B> {
    fn push_null(&mut self) {
        let rows = self.rows;
        self.valid.get_or_insert_with(|| Bits::all_set(rows)).push(false);
        self.builder.push_empty();
        self.rows += 1;
    }
}

impl<B: Build> Build for Nullable<B> {
    fn reserve(&mut self, rows: usize) {
        self.builder.reserve(rows);
    }

    fn push_empty(&mut self) {
        self.push_null();
    }

    fn truncate(&mut self, rows: usize) {
        self.builder.truncate(rows);
        if let Some(valid) = &mut self.valid {
            valid.truncate(rows);
        }
        self.rows = rows;
    }

    fn finish(self, arena: &mut Vec<Column>) -> u32 {
        let index = self.builder.finish(arena);
        if let Some(valid) = self.valid {
            let column = &mut arena[index as usize];
            column.validity = Some(match column.validity.take() {
                // An Option in an Option: null where either is.
                Some(inner) => inner.iter().zip(&valid.bits).map(|(a, b)| a & b).collect(),
                None => valid.bits,
            });
        }
        index
    }
}

impl<T: Write> Write for Option<T> {
    type Builder = Nullable<T::Builder>;

    fn data_type(fields: &mut Vec<Field>) -> DataType {
        T::data_type(fields)
    }

    #[inline]
    fn append_to(self, builder: &mut Self::Builder) {
        match self {
            None => builder.push_null(),
            Some(value) => {
                value.append_to(&mut builder.builder);
                builder.rows += 1;
                if let Some(valid) = &mut builder.valid {
                    valid.push(true);
                }
            }
        }
    }
}

/// Lists.
pub struct Lists<B> {
    offsets: Vec<i32>,
    items: B,
    item_rows: usize,
}

impl<B: Build> Default for Lists<B> {
    fn default() -> Self {
        Self { offsets: vec![0], items: B::default(), item_rows: 0 }
    }
}

impl<B: Build> Build for Lists<B> {
    fn reserve(&mut self, rows: usize) {
        self.offsets.reserve(rows);
    }

    fn push_empty(&mut self) {
        self.offsets.push(self.item_rows as i32);
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.item_rows = self.offsets[rows] as usize;
        self.items.truncate(self.item_rows);
    }

    fn finish(self, arena: &mut Vec<Column>) -> u32 {
        i32::try_from(self.item_rows).expect("the lists of a batch have less than 2^31 items");
        let rows = self.offsets.len() - 1;
        let child = self.items.finish(arena);
        push_column(arena, rows, Values::List(ListData { offsets: self.offsets, child }))
    }
}

impl<T: Write> Write for Vec<T> {
    type Builder = Lists<T::Builder>;

    fn data_type(fields: &mut Vec<Field>) -> DataType {
        DataType::List(push_field_of::<T>(fields, "item"))
    }

    fn append_to(self, builder: &mut Self::Builder) {
        for item in self {
            item.append_to(&mut builder.items);
            builder.item_rows += 1;
        }
        builder.push_empty();
    }
}

/// Structs: the fields' builders as nested pairs.
#[derive(Default)]
pub struct Members<F> {
    /// `(first, (second, ()))`.
    pub fields: F,
    /// The number of rows.
    pub rows: usize,
}

impl<F: BuildMembers> Build for Members<F> {
    fn reserve(&mut self, rows: usize) {
        self.fields.reserve(rows);
    }

    fn push_empty(&mut self) {
        self.fields.push_empty();
        self.rows += 1;
    }

    fn truncate(&mut self, rows: usize) {
        self.fields.truncate(rows);
        self.rows = rows;
    }

    fn finish(self, arena: &mut Vec<Column>) -> u32 {
        let mut members = Vec::new();
        self.fields.finish(arena, &mut members);
        push_column(arena, self.rows, Values::Struct(members))
    }
}

/// The builders of a struct's fields.
pub trait BuildMembers: Default {
    /// Makes room for rows.
    fn reserve(&mut self, rows: usize);

    /// Appends a value that means nothing to each.
    fn push_empty(&mut self);

    /// Takes back all but the first rows of each.
    fn truncate(&mut self, rows: usize);

    /// Puts the columns into the arena and their indexes into `members`.
    fn finish(self, arena: &mut Vec<Column>, members: &mut Vec<u32>);
}

impl BuildMembers for () {
    fn reserve(&mut self, _: usize) {}

    fn push_empty(&mut self) {}

    fn truncate(&mut self, _: usize) {}

    fn finish(self, _: &mut Vec<Column>, _: &mut Vec<u32>) {}
}

impl<B: Build, Rest: BuildMembers> BuildMembers for (B, Rest) {
    fn reserve(&mut self, rows: usize) {
        self.0.reserve(rows);
        self.1.reserve(rows);
    }

    fn push_empty(&mut self) {
        self.0.push_empty();
        self.1.push_empty();
    }

    fn truncate(&mut self, rows: usize) {
        self.0.truncate(rows);
        self.1.truncate(rows);
    }

    fn finish(self, arena: &mut Vec<Column>, members: &mut Vec<u32>) {
        let index = self.0.finish(arena);
        members.push(index);
        self.1.finish(arena, members);
    }
}
