//! What is written reads back, for any rows of any types.

use std::sync::Arc;

use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use proptest::prelude::*;

use crate::data::schema::{Type, schema_of};
use crate::formats::column::ColumnBuilder;
use crate::formats::json::{JsonDecoder, JsonEncoder};
use crate::formats::timestamp;
use crate::formats::{Decoder, Encoder};

#[derive(Clone, Debug)]
enum Value {
    Null,
    Bool(bool),
    Int(i64),
    Uint(u64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Many(Vec<Value>),
}

fn types() -> impl Strategy<Value = Type> {
    let names = "bool int32 int64 uint32 uint64 float32 float64 string binary timestamp date json";
    let scalars: Vec<Type> = names.split(' ').map(|name| name.parse().unwrap()).collect();
    proptest::sample::select(scalars).prop_recursive(3, 16, 4, |inner| {
        prop_oneof![
            inner.clone().prop_map(|item| Type::List(Box::new(item))),
            proptest::collection::vec(inner, 0..4).prop_map(|members| Type::Struct(columns(members))),
        ]
    })
}

fn columns(types: Vec<Type>) -> Vec<(String, Type)> {
    types.into_iter().enumerate().map(|(place, column)| (format!("é \"{place}\""), column)).collect()
}

fn values(column: &Type) -> BoxedStrategy<Value> {
    let first = timestamp::parse("0001-01-01T00:00:00Z").unwrap();
    let last = timestamp::parse("9999-12-31T23:59:59.999999Z").unwrap();
    let value = match column {
        Type::Bool => any::<bool>().prop_map(Value::Bool).boxed(),
        Type::Int32 => any::<i32>().prop_map(|number| Value::Int(number.into())).boxed(),
        Type::Int64 => any::<i64>().prop_map(Value::Int).boxed(),
        Type::Uint32 => any::<u32>().prop_map(|number| Value::Uint(number.into())).boxed(),
        Type::Uint64 => any::<u64>().prop_map(Value::Uint).boxed(),
        // The parser reads -0.0 as 0.0, and adding zero makes it so.
        Type::Float32 => any::<f32>().prop_map(|number| Value::Float(f64::from(number) + 0.0)).boxed(),
        Type::Float64 => any::<f64>().prop_map(|number| Value::Float(number + 0.0)).boxed(),
        Type::String => any::<String>().prop_map(Value::Text).boxed(),
        Type::Binary => any::<Vec<u8>>().prop_map(Value::Bytes).boxed(),
        Type::Timestamp => (first..=last).prop_map(Value::Int).boxed(),
        Type::Date => (-719_162..=2_932_896_i64).prop_map(Value::Int).boxed(),
        Type::Json => proptest::sample::select(vec!["1", "\"\\u00e9\"", "{\"a\" : [null,{}]}", "[ -1e5 , true]"])
            .prop_map(|text| Value::Text(text.to_owned()))
            .boxed(),
        Type::List(item) => proptest::collection::vec(values(item), 0..4).prop_map(Value::Many).boxed(),
        Type::Struct(members) => {
            members.iter().map(|(_, member)| values(member)).collect::<Vec<_>>().prop_map(Value::Many).boxed()
        }
        Type::Other(_) => unreachable!("no such type is made"),
    };
    prop_oneof![1 => Just(Value::Null), 5 => value].boxed()
}

fn append(column: &mut ColumnBuilder, value: &Value) {
    match (column, value) {
        (column, Value::Null) => column.append_null(),
        (ColumnBuilder::Bool(column), Value::Bool(value)) => column.append(*value),
        (ColumnBuilder::Int32(column) | ColumnBuilder::Date(column), Value::Int(value)) => column.append(*value as i32),
        (ColumnBuilder::Int64(column) | ColumnBuilder::Timestamp(column), Value::Int(value)) => column.append(*value),
        (ColumnBuilder::Uint32(column), Value::Uint(value)) => column.append(*value as u32),
        (ColumnBuilder::Uint64(column), Value::Uint(value)) => column.append(*value),
        (ColumnBuilder::Float32(column), Value::Float(value)) => column.append(*value as f32),
        (ColumnBuilder::Float64(column), Value::Float(value)) => column.append(*value),
        (ColumnBuilder::String(column) | ColumnBuilder::Json(column), Value::Text(value)) => {
            column.append(value).unwrap();
        }
        (ColumnBuilder::Binary(column), Value::Bytes(value)) => {
            column
                .append_with(|out| {
                    out.extend_from_slice(value);
                    Ok::<(), crate::formats::column::Full>(())
                })
                .unwrap();
        }
        (ColumnBuilder::List(column), Value::Many(items)) => {
            items.iter().for_each(|item| append(&mut column.items, item));
            column.end().unwrap();
        }
        (ColumnBuilder::Struct(column), Value::Many(members)) => {
            column.columns.iter_mut().zip(members).for_each(|(column, member)| append(column, member));
            column.end();
        }
        (column, value) => panic!("{value:?} is no value of {column:?}"),
    }
}

fn batches() -> impl Strategy<Value = RecordBatch> {
    let columns_and_rows = (proptest::collection::vec(types(), 0..4), 1..6_usize);
    columns_and_rows.prop_flat_map(|(types, rows)| {
        let columns = columns(types);
        let cells = columns.iter().map(|(_, column)| proptest::collection::vec(values(column), rows));
        cells.collect::<Vec<_>>().prop_map(move |cells| {
            let schema = schema_of(&columns);
            let arrays = schema.fields().iter().zip(&cells).map(|(field, values)| -> ArrayRef {
                let mut builder = ColumnBuilder::new(field).unwrap();
                values.iter().for_each(|value| append(&mut builder, value));
                builder.finish()
            });
            let options = RecordBatchOptions::new().with_row_count(Some(rows));
            RecordBatch::try_new_with_options(Arc::clone(&schema), arrays.collect(), &options).unwrap()
        })
    })
}

proptest! {
    #[test]
    fn rows_read_back_as_they_were_written(rows in batches(), broken in any::<proptest::sample::Index>()) {
        let mut text = Vec::new();
        JsonEncoder::new(&rows.schema(), None).encode(&rows, None, &mut text).unwrap();
        let mut decoder = JsonDecoder::columns(&rows.schema()).unwrap();
        let decoded = decoder.decode(&text).unwrap();
        prop_assert_eq!(&decoded.errors, &[]);
        prop_assert_eq!(&decoded.rows, &rows);
        prop_assert_eq!(decoded.lines, None);

        // A line cut short changes nothing but itself, wherever it is cut.
        let lines: Vec<&[u8]> = text.split_inclusive(|c| *c == b'\n').collect();
        let line = broken.index(lines.len());
        let cut = 1 + broken.index(lines[line].len() - 2);
        let with_broken = [&lines[..line].concat(), &lines[line][..cut], b"\n", &lines[line..].concat()].concat();
        let decoded = decoder.decode(&with_broken).unwrap();
        prop_assert_eq!(decoded.errors.len(), 1);
        prop_assert_eq!(decoded.errors[0].line as usize, line);
        prop_assert_eq!(&decoded.rows, &rows);
    }
}
