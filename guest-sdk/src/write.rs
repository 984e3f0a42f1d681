//! How Rust values are written into columns: each type names a builder, which grows with every row.

use std::borrow::Cow;

use crate::bindings::wxhost::plugin::types::{Batch, Column, DataType, Field, ListData, Schema, Values, VarSize};
use crate::time::{Date, Timestamp};

/// A value that can be written into a column, or a row that can be written into several.
///
/// Derived by `#[derive(Row)]` for structs.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be written into a column",
    label = "not the type of a column or a row",
    note = "derive it with `#[derive(Row)]`, or use one of bool, i32, i64, u32, u64, f32, f64, &str, String, &[u8], Vec<u8>, Timestamp, Date, Json<T>, Option<T>, Vec<T>"
)]
pub trait Write: Sized {
    /// Takes the values.
    type Builder: Build;

    /// Whether it is a struct, which as a row makes a column of each field.
    const IS_ROW: bool = false;

    /// Tells the type; the fields of nested columns go into the arena.
    fn data_type(fields: &mut Vec<Field>) -> DataType;

    /// Appends the value.
    fn append_to(self, builder: &mut Self::Builder);
}

/// A column under construction.
pub trait Build: Default {
    /// Makes room for rows.
    fn reserve(&mut self, rows: usize);

    /// Appends a value that means nothing, at a null.
    fn push_empty(&mut self);

    /// Puts the column into the arena and returns its index.
    fn finish(self, arena: &mut Vec<Column>) -> u32;
}

/// Returns the schema of rows of the type `T`. A plain value makes one column, `value`.
pub fn schema_of<T: Write>() -> Schema {
    let mut fields = Vec::new();
    let data_type = T::data_type(&mut fields);
    match data_type {
        DataType::Struct(roots) if T::IS_ROW => Schema { fields, roots },
        data_type => {
            let roots = vec![push_field(&mut fields, "value", data_type)];
            Schema { fields, roots }
        }
    }
}

/// Puts a field into the arena and returns its index.
pub fn push_field(fields: &mut Vec<Field>, name: &str, data_type: DataType) -> u32 {
    fields.push(Field { name: name.to_owned(), data_type });
    fields.len() as u32 - 1
}

/// Puts the field `name` of the type `T`, and what is nested in it, into the arena.
pub fn push_field_of<T: Write>(fields: &mut Vec<Field>, name: &str) -> u32 {
    let data_type = T::data_type(fields);
    push_field(fields, name, data_type)
}

/// Rows under construction.
pub struct Rows<T: Write> {
    builder: T::Builder,
    rows: usize,
}

impl<T: Write> Rows<T> {
    /// Starts with room for some rows.
    pub fn with_capacity(rows: usize) -> Self {
        let mut builder = T::Builder::default();
        builder.reserve(rows);
        Self { builder, rows: 0 }
    }

    /// Appends a row.
    #[inline]
    pub fn push(&mut self, row: T) {
        row.append_to(&mut self.builder);
        self.rows += 1;
    }

    /// Returns the batch.
    pub fn finish(self) -> Batch {
        let mut columns = Vec::new();
        let root = self.builder.finish(&mut columns);
        let mut roots = vec![root];
        if T::IS_ROW
            && let Some(Column { values: Values::Struct(members), .. }) = columns.pop()
        {
            roots = members;
        }
        Batch { rows: self.rows as u32, columns, roots }
    }
}

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
        self.data.reserve(rows * 8);
    }

    fn push_empty(&mut self) {
        self.end_value();
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

    /// Puts the columns into the arena and their indexes into `members`.
    fn finish(self, arena: &mut Vec<Column>, members: &mut Vec<u32>);
}

impl BuildMembers for () {
    fn reserve(&mut self, _: usize) {}

    fn push_empty(&mut self) {}

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

    fn finish(self, arena: &mut Vec<Column>, members: &mut Vec<u32>) {
        let index = self.0.finish(arena);
        members.push(index);
        self.1.finish(arena, members);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written<T: Write>(rows: impl IntoIterator<Item = T>) -> Batch {
        let mut built = Rows::with_capacity(0);
        rows.into_iter().for_each(|row| built.push(row));
        built.finish()
    }

    #[test]
    fn a_column_without_nulls_has_no_bitmap() {
        assert_eq!(written([Some(1_i64), Some(2)]).columns[0].validity, None);
    }

    #[test]
    fn the_bitmap_starts_at_the_first_null() {
        for before in [0, 1, 7, 8, 9, 16] {
            let values = std::iter::repeat_n(Some(1_i64), before).chain([None, Some(2)]);
            let column = &written(values).columns[0];
            let bits = column.validity.as_ref().expect("there is a null");
            assert_eq!(bits.len(), (before + 2).div_ceil(8));
            let nulls: Vec<usize> = (0..before + 2).filter(|row| bits[row / 8] >> (row % 8) & 1 == 0).collect();
            assert_eq!(nulls, [before]);
            assert_eq!(column.rows as usize, before + 2);
        }
    }

    #[test]
    fn an_option_in_an_option_is_null_where_either_is() {
        let column = &written([Some(Some(1_i32)), Some(None), None]).columns[0];
        assert_eq!(column.validity, Some(vec![0b001]));
    }

    #[test]
    fn children_stand_before_their_parents() {
        let batch = written([vec![vec!["a"], vec![]], vec![]]);
        assert_eq!(batch.roots, [2]);
        let Values::List(outer) = &batch.columns[2].values else { panic!("no list") };
        assert_eq!((outer.offsets.as_slice(), outer.child), ([0, 2, 2].as_slice(), 1));
    }
}
