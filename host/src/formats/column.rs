//! Columns that grow value by value and can be cut back.
//!
//! Decoders write here. A record that fails half-way leaves some columns longer than others; [`ColumnBuilder::truncate`]
//! undoes that, so the rows before and after it are right. Arrow's own builders cannot be cut back.

mod leaf;

use std::sync::Arc;

use arrow::array::builder::NullBufferBuilder;
use arrow::array::{ArrayRef, BinaryArray, ListArray, PrimitiveArray, StringArray, StructArray};
use arrow::datatypes::{
    Date32Type, Field, FieldRef, Fields, Float32Type, Float64Type, Int32Type, Int64Type, Schema,
    TimestampMicrosecondType, UInt32Type, UInt64Type,
};

use crate::data::schema::{Type, normalised_schema};
use crate::formats::error::FormatError;
use crate::formats::names::Names;

use leaf::take_offsets;
pub use leaf::{BoolColumn, BytesColumn, Full, PrimitiveColumn};

/// A column of one type under construction. Every value has one place, so each variant has its own typed append.
#[derive(Debug)]
pub enum ColumnBuilder {
    Bool(BoolColumn),
    Int32(PrimitiveColumn<i32>),
    Int64(PrimitiveColumn<i64>),
    Uint32(PrimitiveColumn<u32>),
    Uint64(PrimitiveColumn<u64>),
    Float32(PrimitiveColumn<f32>),
    Float64(PrimitiveColumn<f64>),
    String(BytesColumn),
    Binary(BytesColumn),
    /// Microseconds since 1970 in UTC.
    Timestamp(PrimitiveColumn<i64>),
    /// Days since 1970.
    Date(PrimitiveColumn<i32>),
    /// Text that is known to be JSON.
    Json(BytesColumn),
    List(Box<ListColumn>),
    Struct(StructColumn),
}

impl ColumnBuilder {
    /// Makes an empty column for a field. Fails for Arrow types that have no name of ours, as no text is read into them.
    pub fn new(field: &Field) -> Result<ColumnBuilder, FormatError> {
        ColumnBuilder::of_type(field.name(), &Type::of(field))
    }

    fn of_type(name: &str, column: &Type) -> Result<ColumnBuilder, FormatError> {
        Ok(match column {
            Type::Bool => ColumnBuilder::Bool(BoolColumn::new()),
            Type::Int32 => ColumnBuilder::Int32(PrimitiveColumn::new()),
            Type::Int64 => ColumnBuilder::Int64(PrimitiveColumn::new()),
            Type::Uint32 => ColumnBuilder::Uint32(PrimitiveColumn::new()),
            Type::Uint64 => ColumnBuilder::Uint64(PrimitiveColumn::new()),
            Type::Float32 => ColumnBuilder::Float32(PrimitiveColumn::new()),
            Type::Float64 => ColumnBuilder::Float64(PrimitiveColumn::new()),
            Type::String => ColumnBuilder::String(BytesColumn::new()),
            Type::Binary => ColumnBuilder::Binary(BytesColumn::new()),
            Type::Timestamp => ColumnBuilder::Timestamp(PrimitiveColumn::new()),
            Type::Date => ColumnBuilder::Date(PrimitiveColumn::new()),
            Type::Json => ColumnBuilder::Json(BytesColumn::new()),
            Type::List(item) => ColumnBuilder::List(Box::new(ListColumn {
                field: Arc::new(item.field(Field::LIST_FIELD_DEFAULT_NAME)),
                items: ColumnBuilder::of_type(name, item)?,
                offsets: vec![0],
                nulls: NullBufferBuilder::new(0),
            })),
            Type::Struct(members) => {
                let columns = members.iter().map(|(member, column)| ColumnBuilder::of_type(member, column));
                ColumnBuilder::Struct(StructColumn {
                    fields: members.iter().map(|(member, column)| column.field(member)).collect(),
                    names: Names::new(members.iter().map(|(member, _)| member.as_str())),
                    columns: columns.collect::<Result<_, _>>()?,
                    nulls: NullBufferBuilder::new(0),
                })
            }
            Type::Other(other) => {
                return Err(FormatError::Unreadable { column: name.to_owned(), found: other.to_string() });
            }
        })
    }

    /// Returns the number of whole values.
    pub fn len(&self) -> usize {
        match self {
            ColumnBuilder::Bool(column) => column.len(),
            ColumnBuilder::Int32(column) | ColumnBuilder::Date(column) => column.len(),
            ColumnBuilder::Int64(column) | ColumnBuilder::Timestamp(column) => column.len(),
            ColumnBuilder::Uint32(column) => column.len(),
            ColumnBuilder::Uint64(column) => column.len(),
            ColumnBuilder::Float32(column) => column.len(),
            ColumnBuilder::Float64(column) => column.len(),
            ColumnBuilder::String(column) | ColumnBuilder::Binary(column) | ColumnBuilder::Json(column) => column.len(),
            ColumnBuilder::List(column) => column.len(),
            ColumnBuilder::Struct(column) => column.len(),
        }
    }

    /// Says whether there are no values.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Appends a null.
    pub fn append_null(&mut self) {
        match self {
            ColumnBuilder::Bool(column) => column.append_null(),
            ColumnBuilder::Int32(column) | ColumnBuilder::Date(column) => column.append_null(),
            ColumnBuilder::Int64(column) | ColumnBuilder::Timestamp(column) => column.append_null(),
            ColumnBuilder::Uint32(column) => column.append_null(),
            ColumnBuilder::Uint64(column) => column.append_null(),
            ColumnBuilder::Float32(column) => column.append_null(),
            ColumnBuilder::Float64(column) => column.append_null(),
            ColumnBuilder::String(column) | ColumnBuilder::Binary(column) | ColumnBuilder::Json(column) => {
                column.append_null();
            }
            ColumnBuilder::List(column) => column.append_null(),
            ColumnBuilder::Struct(column) => column.append_null(),
        }
    }

    /// Cuts the column back to its first `rows` values, and drops what was written of a value that was never ended.
    pub fn truncate(&mut self, rows: usize) {
        match self {
            ColumnBuilder::Bool(column) => column.truncate(rows),
            ColumnBuilder::Int32(column) | ColumnBuilder::Date(column) => column.truncate(rows),
            ColumnBuilder::Int64(column) | ColumnBuilder::Timestamp(column) => column.truncate(rows),
            ColumnBuilder::Uint32(column) => column.truncate(rows),
            ColumnBuilder::Uint64(column) => column.truncate(rows),
            ColumnBuilder::Float32(column) => column.truncate(rows),
            ColumnBuilder::Float64(column) => column.truncate(rows),
            ColumnBuilder::String(column) | ColumnBuilder::Binary(column) | ColumnBuilder::Json(column) => {
                column.truncate(rows);
            }
            ColumnBuilder::List(column) => column.truncate(rows),
            ColumnBuilder::Struct(column) => column.truncate(rows),
        }
    }

    /// Hands out the column and starts an empty one of the same type, with room for as much again.
    pub fn finish(&mut self) -> ArrayRef {
        match self {
            ColumnBuilder::Bool(column) => column.finish(),
            ColumnBuilder::Int32(column) => column.finish::<Int32Type>(),
            ColumnBuilder::Int64(column) => column.finish::<Int64Type>(),
            ColumnBuilder::Uint32(column) => column.finish::<UInt32Type>(),
            ColumnBuilder::Uint64(column) => column.finish::<UInt64Type>(),
            ColumnBuilder::Float32(column) => column.finish::<Float32Type>(),
            ColumnBuilder::Float64(column) => column.finish::<Float64Type>(),
            ColumnBuilder::Date(column) => column.finish::<Date32Type>(),
            ColumnBuilder::Timestamp(column) => {
                let (values, mut nulls) = column.take();
                let array = PrimitiveArray::<TimestampMicrosecondType>::new(values, nulls.finish());
                Arc::new(array.with_timezone("UTC"))
            }
            ColumnBuilder::String(column) | ColumnBuilder::Json(column) => {
                let (offsets, data, mut nulls) = column.take();
                let array = StringArray::try_new(offsets, data, nulls.finish());
                Arc::new(array.expect("only whole strings are appended to a text column"))
            }
            ColumnBuilder::Binary(column) => {
                let (offsets, data, mut nulls) = column.take();
                let array = BinaryArray::try_new(offsets, data, nulls.finish());
                Arc::new(array.expect("offsets and data of a column grow together"))
            }
            ColumnBuilder::List(column) => column.finish(),
            ColumnBuilder::Struct(column) => column.finish(),
        }
    }
}

/// Lists: row `i` is the items `offsets[i]..offsets[i + 1]`.
#[derive(Debug)]
pub struct ListColumn {
    field: FieldRef,
    /// Where the items of a list are appended, before [`ListColumn::end`] makes them one.
    pub items: ColumnBuilder,
    offsets: Vec<i32>,
    nulls: NullBufferBuilder,
}

impl ListColumn {
    /// Makes a list of the items appended since the last one.
    pub fn end(&mut self) -> Result<(), Full> {
        self.offsets.push(i32::try_from(self.items.len()).map_err(|_| Full)?);
        self.nulls.append_non_null();
        Ok(())
    }

    fn append_null(&mut self) {
        self.offsets.push(*self.offsets.last().expect("offsets start with a zero"));
        self.nulls.append_null();
    }

    fn len(&self) -> usize {
        self.offsets.len() - 1
    }

    fn truncate(&mut self, rows: usize) {
        self.offsets.truncate(rows + 1);
        self.items.truncate(*self.offsets.last().expect("offsets start with a zero") as usize);
        self.nulls.truncate(rows);
    }

    fn finish(&mut self) -> ArrayRef {
        let offsets = take_offsets(&mut self.offsets);
        let array = ListArray::try_new(Arc::clone(&self.field), offsets, self.items.finish(), self.nulls.finish());
        Arc::new(array.expect("offsets and items of a list grow together"))
    }
}

/// Structs: each member is a column with as many rows.
#[derive(Debug)]
pub struct StructColumn {
    fields: Fields,
    pub(crate) names: Names,
    /// The members' columns, in their order. Each needs a value before [`StructColumn::end`].
    pub columns: Vec<ColumnBuilder>,
    nulls: NullBufferBuilder,
}

impl StructColumn {
    /// Makes empty columns for the rows of a schema, each row a struct. Fails as [`ColumnBuilder::new`] does.
    pub fn of_schema(schema: &Schema) -> Result<StructColumn, FormatError> {
        let columns = schema.fields().iter().map(|field| ColumnBuilder::new(field));
        Ok(StructColumn {
            columns: columns.collect::<Result<_, _>>()?,
            fields: normalised_schema(schema).fields().clone(),
            names: Names::new(schema.fields().iter().map(|field| field.name().as_str())),
            nulls: NullBufferBuilder::new(0),
        })
    }

    /// Hands out the columns, and starts empty ones.
    pub fn finish_columns(&mut self) -> Vec<ArrayRef> {
        self.nulls = NullBufferBuilder::new(0);
        self.columns.iter_mut().map(ColumnBuilder::finish).collect()
    }

    /// Makes a struct of the values appended to each member since the last one.
    pub fn end(&mut self) {
        self.nulls.append_non_null();
    }

    /// Returns the number of whole structs.
    pub fn len(&self) -> usize {
        self.nulls.len()
    }

    /// Says whether there are no structs.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn append_null(&mut self) {
        self.columns.iter_mut().for_each(ColumnBuilder::append_null);
        self.nulls.append_null();
    }

    /// Does what [`ColumnBuilder::truncate`] does.
    pub fn truncate(&mut self, rows: usize) {
        self.columns.iter_mut().for_each(|column| column.truncate(rows));
        self.nulls.truncate(rows);
    }

    fn finish(&mut self) -> ArrayRef {
        let rows = self.len();
        let columns = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        let array = StructArray::try_new_with_length(self.fields.clone(), columns, self.nulls.finish(), rows);
        Arc::new(array.expect("the members of a struct have as many rows as it has"))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::AsArray;

    use super::*;

    #[test]
    fn a_half_written_row_is_undone() {
        let column: Type = "struct<name: string, tags: list<struct<id: int64>>, ok: bool>".parse().unwrap();
        let mut builder = ColumnBuilder::new(&column.field("c")).unwrap();
        let write = |builder: &mut ColumnBuilder, name: &str, tags: &[i64], is_whole: bool| {
            let ColumnBuilder::Struct(row) = builder else { panic!("a struct") };
            let [ColumnBuilder::String(names), ColumnBuilder::List(lists), ColumnBuilder::Bool(oks)] =
                row.columns.as_mut_slice()
            else {
                panic!("three members")
            };
            names.append(name).unwrap();
            for tag in tags {
                let ColumnBuilder::Struct(item) = &mut lists.items else { panic!("a struct") };
                let ColumnBuilder::Int64(id) = &mut item.columns[0] else { panic!("an int64") };
                id.append(*tag);
                if is_whole {
                    item.end();
                }
            }
            if is_whole {
                lists.end().unwrap();
                oks.append(true);
                row.end();
            }
        };
        write(&mut builder, "a", &[1, 2], true);
        write(&mut builder, "broken", &[3], false);
        builder.truncate(1);
        builder.append_null();
        write(&mut builder, "b", &[4], true);
        builder.append_null();
        builder.truncate(3);
        assert_eq!(builder.len(), 3);

        let array = builder.finish();
        assert_eq!(array.data_type(), &column.data_type());
        let array = array.as_struct();
        assert_eq!(array.column(0).as_ref(), &StringArray::from(vec![Some("a"), None, Some("b")]));
        let ids = array.column(1).as_list::<i32>().values().as_struct().column(0).clone();
        assert_eq!(ids.as_primitive::<Int64Type>().values(), &[1, 2, 4]);
        assert!(builder.is_empty());
        assert_eq!(builder.finish().len(), 0);
    }

    #[test]
    fn every_type_takes_nulls_and_keeps_its_arrow_form() {
        for text in [
            "bool",
            "int32",
            "int64",
            "uint32",
            "uint64",
            "float32",
            "float64",
            "string",
            "binary",
            "timestamp",
            "date",
            "json",
            "list<json>",
            "struct<>",
            "struct<a: list<date>>",
        ] {
            let column: Type = text.parse().unwrap();
            let mut builder = ColumnBuilder::new(&column.field("c")).unwrap();
            builder.append_null();
            builder.append_null();
            builder.truncate(1);
            let array = builder.finish();
            assert_eq!((array.len(), array.null_count()), (1, 1), "{text}");
            assert_eq!(array.data_type(), &column.data_type());
        }
    }

    #[test]
    fn a_column_that_no_text_is_read_into_is_refused() {
        let field = Field::new("price", arrow::datatypes::DataType::Decimal128(10, 2), true);
        let message = ColumnBuilder::new(&field).unwrap_err().to_string();
        assert_eq!(message, "column \"price\" has type Decimal128(10, 2), which cannot be read from text");
    }
}
