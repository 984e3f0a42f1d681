//! Tests that what is handed to a guest and comes back is what it was, and that lies are found.

use super::bindings::{types, wire};
use super::convert::Columns;
use super::schema::{self, Visible};
use super::validate;
use crate::data::schema::{Type, schema_of};
use arrow::array::{
    ArrayRef, BinaryArray, BooleanArray, Date32Array, Float32Array, Float64Array, Int32Array, Int64Array, ListArray,
    RecordBatch, RecordBatchOptions, StringArray, StructArray, TimestampMicrosecondArray, UInt32Array, UInt64Array,
};
use arrow::buffer::{NullBuffer, OffsetBuffer};
use arrow::datatypes::{DataType, Field, Schema};
use proptest::prelude::*;
use std::sync::Arc;

/// Copies borrowed columns, as a guest that returns its input does.
pub(super) fn owned(batch: wire::Batch<'_>) -> types::Batch {
    let var_size =
        |data: wire::VarSize<'_>| types::VarSize { offsets: data.offsets.to_vec(), data: data.data.to_vec() };
    let column = |column: &wire::Column<'_>| types::Column {
        rows: column.rows,
        validity: column.validity.map(<[u8]>::to_vec),
        values: match column.values {
            wire::Values::Boolean(bits) => types::Values::Boolean(bits.to_vec()),
            wire::Values::Int32(values) => types::Values::Int32(values.to_vec()),
            wire::Values::Int64(values) => types::Values::Int64(values.to_vec()),
            wire::Values::Uint32(values) => types::Values::Uint32(values.to_vec()),
            wire::Values::Uint64(values) => types::Values::Uint64(values.to_vec()),
            wire::Values::Float32(values) => types::Values::Float32(values.to_vec()),
            wire::Values::Float64(values) => types::Values::Float64(values.to_vec()),
            wire::Values::VarSize(data) => types::Values::VarSize(var_size(data)),
            wire::Values::List(list) => {
                types::Values::List(types::ListData { offsets: list.offsets.to_vec(), child: list.child })
            }
            wire::Values::Struct(members) => types::Values::Struct(members.to_vec()),
        },
    };
    types::Batch { rows: batch.rows, columns: batch.columns.iter().map(column).collect(), roots: batch.roots.to_vec() }
}

fn crossed(batch: &RecordBatch, reads: &[usize]) -> Result<RecordBatch, validate::Lie> {
    let schema = Arc::new(batch.schema().project(reads).unwrap());
    validate::rows(Columns::of(batch, reads).unwrap().lend(owned), &schema)
}

/// A small generator of numbers; enough to fill arrays.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        self.0 >> 33
    }

    fn text(&mut self) -> String {
        let length = self.next() % 4;
        (0..length).map(|_| ["a", "é", "漢", "🦀"][self.next() as usize % 4]).collect()
    }
}

fn array(of: &Type, rows: usize, numbers: &mut Numbers) -> ArrayRef {
    let nulls = match numbers.next() % 3 {
        0 => None,
        _ => Some(NullBuffer::from((0..rows).map(|_| !numbers.next().is_multiple_of(4)).collect::<Vec<_>>())),
    };
    macro_rules! primitive {
        ($array:ident, $native:ty) => {{
            let values: Vec<$native> = (0..rows).map(|_| numbers.next() as $native).collect();
            $array::new(values.into(), nulls)
        }};
    }
    match of {
        Type::Bool => Arc::new(BooleanArray::new((0..rows).map(|_| numbers.next().is_multiple_of(2)).collect(), nulls)),
        Type::Int32 => Arc::new(primitive!(Int32Array, i32)),
        Type::Int64 => Arc::new(primitive!(Int64Array, i64)),
        Type::Uint32 => Arc::new(primitive!(UInt32Array, u32)),
        Type::Uint64 => Arc::new(primitive!(UInt64Array, u64)),
        Type::Float32 => Arc::new(primitive!(Float32Array, f32)),
        Type::Float64 => Arc::new(primitive!(Float64Array, f64)),
        Type::Date => Arc::new(primitive!(Date32Array, i32)),
        Type::Timestamp => Arc::new(primitive!(TimestampMicrosecondArray, i64).with_timezone("UTC")),
        Type::String | Type::Json => {
            let texts: Vec<String> = (0..rows).map(|_| numbers.text()).collect();
            let (offsets, values, _) = StringArray::from(texts).into_parts();
            Arc::new(StringArray::new(offsets, values, nulls))
        }
        Type::Binary => {
            let blobs: Vec<Vec<u8>> = (0..rows).map(|_| vec![255; numbers.next() as usize % 4]).collect();
            let (offsets, values, _) = BinaryArray::from_iter_values(blobs).into_parts();
            Arc::new(BinaryArray::new(offsets, values, nulls))
        }
        Type::List(item) => {
            let offsets = OffsetBuffer::from_lengths((0..rows).map(|_| numbers.next() as usize % 3));
            let items = array(item, offsets[rows] as usize, numbers);
            Arc::new(ListArray::new(Arc::new(item.field(Field::LIST_FIELD_DEFAULT_NAME)), offsets, items, nulls))
        }
        Type::Struct(members) => {
            let arrays = members.iter().map(|(_, member)| array(member, rows, numbers)).collect();
            let DataType::Struct(fields) = of.data_type() else { unreachable!() };
            Arc::new(StructArray::try_new_with_length(fields, arrays, nulls, rows).unwrap())
        }
        Type::Other(_) => unreachable!(),
    }
}

pub(super) fn batch_of(columns: &[(String, Type)], rows: usize, seed: u64) -> RecordBatch {
    let mut numbers = Numbers(seed);
    let arrays = columns.iter().map(|(_, column)| array(column, rows, &mut numbers)).collect();
    let options = RecordBatchOptions::new().with_row_count(Some(rows));
    RecordBatch::try_new_with_options(schema_of(columns), arrays, &options).unwrap()
}

/// A column of every type, nested ones in each other.
pub(super) fn all_types() -> Vec<(String, Type)> {
    let types = "bool int32 int64 uint32 uint64 float32 float64 string binary timestamp date json list<int32> \
                 list<list<string>> struct<a:bool,b:struct<>> list<struct<t:timestamp,l:list<json>,e:list<date>>> \
                 struct<s:string,l:list<float32>>";
    types.split_whitespace().enumerate().map(|(at, text)| (format!("c{at}"), text.parse().unwrap())).collect()
}

fn any_type() -> impl Strategy<Value = Type> {
    let scalars: Vec<Type> = all_types().into_iter().map(|(_, column)| column).take(12).collect();
    proptest::sample::select(scalars).prop_recursive(3, 8, 3, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| Type::List(Box::new(item))),
            prop::collection::vec(inner, 0..3).prop_map(|members| {
                Type::Struct(members.into_iter().enumerate().map(|(at, member)| (format!("m{at}"), member)).collect())
            }),
        ]
    })
}

proptest! {
    #[test]
    fn any_batch_and_any_slice_of_it_comes_back_as_it_was(
        types in prop::collection::vec(any_type(), 0..4),
        rows in 0_usize..40,
        from in 0_usize..40,
        length in 0_usize..40,
        seed in any::<u64>(),
    ) {
        let columns: Vec<_> = types.into_iter().enumerate().map(|(at, column)| (format!("c{at}"), column)).collect();
        let batch = batch_of(&columns, rows, seed);
        let from = from.min(rows);
        let slice = batch.slice(from, length.min(rows - from));
        for batch in [batch, slice] {
            let all: Vec<usize> = (0..columns.len()).collect();
            prop_assert_eq!(crossed(&batch, &all).unwrap(), batch);
        }
    }

    #[test]
    fn any_schema_comes_back_as_it_was(types in prop::collection::vec(any_type(), 0..5)) {
        let columns: Vec<_> = types.into_iter().enumerate().map(|(at, column)| (format!("c{at}"), column)).collect();
        let schema = schema_of(&columns);
        prop_assert_eq!(schema::schema(Visible::of(&schema).schema).unwrap(), schema);
    }
}

#[test]
fn only_the_columns_that_are_read_cross() {
    let batch = batch_of(&all_types(), 9, 1);
    assert_eq!(crossed(&batch, &[8, 3]).unwrap(), batch.project(&[8, 3]).unwrap());
    assert_eq!(crossed(&batch, &[]).unwrap().num_rows(), 9);
    let sent = Columns::of(&batch, &[8, 3]).unwrap().lend(|batch| batch.columns.len());
    assert_eq!(sent, 2);
}

#[test]
fn columns_of_other_types_are_hidden_from_a_guest() {
    let price = Field::new("price", DataType::Decimal128(10, 2), true);
    let schema = Schema::new(vec![Type::Bool.field("a"), price, Type::Date.field("b")]);
    let visible = Visible::of(&schema);
    assert_eq!(visible.schema.roots.len(), 2);
    assert_eq!(visible.reads(&[1, 0]), Ok(vec![2, 0]));
    assert_eq!(visible.reads(&[2]).unwrap_err().0, "it reads column 2 of 2");
    assert!(visible.help().unwrap().contains("\"price\" has the type Decimal128(10, 2)"));
}

#[test]
fn a_schema_that_is_none_is_found_out() {
    let field = |name: &str, data_type| types::Field { name: name.to_owned(), data_type };
    let int = || types::DataType::Int64;
    for (fields, roots, expected) in [
        (vec![], vec![0], "its schema names the field 0 of 0"),
        (vec![field("a", int())], vec![0, 0], "its schema names the field 0 twice"),
        (vec![field("a", int()), field("a", int())], vec![0, 1], "its schema names the column \"a\" twice"),
        (
            vec![field("a", types::DataType::List(0))],
            vec![0],
            "its schema has a field at index 0 that is not before its parent",
        ),
        (
            vec![field("m", int()), field("m", int()), field("s", types::DataType::Struct(vec![0, 1]))],
            vec![2],
            "its schema names the member \"s.m\" twice",
        ),
    ] {
        assert_eq!(schema::schema(types::Schema { fields, roots }).unwrap_err().0, expected);
    }
    let nested = (0..100_000).map(|depth| match depth {
        0 => field("x", int()),
        _ => field("x", types::DataType::List(depth - 1)),
    });
    let nested = types::Schema { fields: nested.collect(), roots: vec![99_999] };
    assert_eq!(schema::schema(nested).unwrap_err().0, "its schema nests more than 64 levels");
}

#[test]
fn a_column_that_is_none_is_found_out() {
    let three = || types::Values::Int64(vec![1, 2, 3]);
    let column = |rows, values| types::Column { rows, validity: None, values };
    let text = |offsets: &[i32], data: &[u8]| {
        types::Values::VarSize(types::VarSize { offsets: offsets.to_vec(), data: data.to_vec() })
    };
    let list = |offsets: &[i32], child| types::Values::List(types::ListData { offsets: offsets.to_vec(), child });
    for (of, columns, root, expected) in [
        (
            "int64",
            vec![column(3, types::Values::Int32(vec![1, 2, 3]))],
            0,
            "column \"x\": int32 values, but its type is int64",
        ),
        ("json", vec![column(3, three())], 0, "column \"x\": int64 values, but its type is json"),
        ("int64", vec![column(3, types::Values::Int64(vec![1]))], 0, "column \"x\": 1 values for 3 rows"),
        ("int64", vec![column(2, three())], 0, "column \"x\": 2 rows where there should be 3"),
        ("int64", vec![column(3, three())], 4, "column \"x\": index 4 of 1 columns"),
        (
            "int64",
            vec![types::Column { rows: 3, validity: Some(vec![]), values: three() }],
            0,
            "column \"x\": a validity bitmap of 0 bytes for 3 rows",
        ),
        (
            "bool",
            vec![column(3, types::Values::Boolean(vec![]))],
            0,
            "column \"x\": a values bitmap of 0 bytes for 3 rows",
        ),
        ("string", vec![column(3, text(&[0, 1, 2, 3], b"a\xffb"))], 0, "column \"x\": row 1 is not UTF-8"),
        ("string", vec![column(3, text(&[0, 1, 2, 2], "é".as_bytes()))], 0, "column \"x\": row 0 is not UTF-8"),
        ("binary", vec![column(3, text(&[0, 2, 1, 3], b"abc"))], 0, "column \"x\": offsets fall at row 1, from 2 to 1"),
        (
            "string",
            vec![column(3, text(&[0, -1, 2, 3], b"abc"))],
            0,
            "column \"x\": offsets fall at row 0, from 0 to -1",
        ),
        ("string", vec![column(3, text(&[0, 1, 2, 9], b"abc"))], 0, "column \"x\": offsets end at 9, the data at 3"),
        ("string", vec![column(3, text(&[0, 1, 2, 2], b"abc"))], 0, "column \"x\": offsets end at 2, the data at 3"),
        ("string", vec![column(3, text(&[1, 1, 2, 3], b"abc"))], 0, "column \"x\": offsets start at 1, not at 0"),
        (
            "string",
            vec![column(3, text(&[], b""))],
            0,
            "column \"x\": 0 offsets for 3 rows; there should be one more than rows",
        ),
        (
            "list<int64>",
            vec![column(3, three()), column(3, list(&[0, 1, 2, 5], 0))],
            1,
            "column \"x\": offsets end at 5, the data at 3",
        ),
        (
            "list<int64>",
            vec![column(3, list(&[0, 1, 2, 3], 1)), column(3, three())],
            0,
            "column \"x[]\": a child at index 1, which is not before its parent at 0",
        ),
        ("list<int64>", vec![column(3, list(&[0, 1, 2, 3], 9))], 0, "column \"x\": its items at index 9 are not there"),
        ("list<int64>", vec![column(3, list(&[0, 1, 2, 3], 0))], 0, "column \"x\": its items at index 0 are not there"),
        (
            "struct<a: int64, b: int64>",
            vec![column(3, three()), column(3, types::Values::Struct(vec![0, 0]))],
            1,
            "column \"x.b\": index 0 is named twice",
        ),
        (
            "struct<a: int64>",
            vec![column(3, types::Values::Struct(vec![]))],
            0,
            "column \"x\": 0 members where its type has 1",
        ),
    ] {
        let schema = schema_of(&[("x".to_owned(), of.parse().unwrap())]);
        let lie = validate::rows(types::Batch { rows: 3, columns, roots: vec![root] }, &schema);
        assert_eq!(lie.unwrap_err().0, expected);
    }
    let none = types::Batch { rows: 3, columns: vec![], roots: vec![] };
    let schema = schema_of(&[("x".to_owned(), Type::Bool)]);
    assert_eq!(validate::rows(none, &schema).unwrap_err().0, "0 columns where its schema has 1");
}
