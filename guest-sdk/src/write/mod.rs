//! How Rust values are written into columns: each type names a builder, which grows with every row.

mod values;

pub use values::{BuildMembers, Bytes, Members};

use crate::bindings::wxhost::plugin::types::{Batch, Column, DataType, Field, Schema, Values};

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

    /// Takes back all but the first rows.
    fn truncate(&mut self, rows: usize);

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

    /// Returns the number of rows.
    #[inline]
    pub fn len(&self) -> usize {
        self.rows
    }

    /// Takes back all but the first rows.
    pub fn truncate(&mut self, rows: usize) {
        self.builder.truncate(rows);
        self.rows = rows;
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
    fn rows_that_are_taken_back_leave_no_trace() {
        let row = |at: i64| {
            let lists = vec![Some(at.to_string()); at as usize % 4];
            (Some(at).filter(|at| at % 5 < 3), Some(at % 3 == 0).filter(|_| at % 4 < 3), lists)
        };
        fn write<T: Write>(rows: &mut Rows<T>, values: impl IntoIterator<Item = T>) {
            values.into_iter().for_each(|value| rows.push(value));
        }
        // From behind the first null: with it the bitmap would stay, which is no fault.
        for kept in 4..20 {
            let (mut numbers, mut flags, mut lists) =
                (Rows::with_capacity(0), Rows::with_capacity(0), Rows::with_capacity(0));
            for range in [0..20, kept..30] {
                numbers.truncate(range.start.min(numbers.len() as i64) as usize);
                flags.truncate(range.start.min(flags.len() as i64) as usize);
                lists.truncate(range.start.min(lists.len() as i64) as usize);
                write(&mut numbers, range.clone().map(|at| row(at).0));
                write(&mut flags, range.clone().map(|at| row(at).1));
                write(&mut lists, range.clone().map(|at| row(at).2));
            }
            assert_eq!(numbers.finish(), written((0..30).map(|at| row(at).0)), "{kept}");
            assert_eq!(flags.finish(), written((0..30).map(|at| row(at).1)), "{kept}");
            assert_eq!(lists.finish(), written((0..30).map(|at| row(at).2)), "{kept}");
        }
    }

    #[test]
    fn children_stand_before_their_parents() {
        let batch = written([vec![vec!["a"], vec![]], vec![]]);
        assert_eq!(batch.roots, [2]);
        let Values::List(outer) = &batch.columns[2].values else { panic!("no list") };
        assert_eq!((outer.offsets.as_slice(), outer.child), ([0, 2, 2].as_slice(), 1));
    }
}
