//! Rows that tests hand in, and the JSON that they look at.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::bindings::wxhost::plugin::types::{Batch, Column, DataType, Field, Schema, Values, VarSize};
use crate::read::{bit, column_at};
use crate::time::{Date, Timestamp};
use crate::write::{Bytes, Write, push_field, schema_of};

/// Rows of one schema.
#[derive(Debug, Clone, PartialEq)]
pub struct Rows {
    pub(crate) schema: Schema,
    pub(crate) batch: Batch,
}

/// What can be handed to a function in a test: typed rows as an array or a `Vec`, or [`json`].
pub trait IntoRows {
    /// Makes columns of it.
    fn into_rows(self) -> Rows;
}

impl IntoRows for Rows {
    fn into_rows(self) -> Rows {
        self
    }
}

impl<T: Write, const N: usize> IntoRows for [T; N] {
    fn into_rows(self) -> Rows {
        rows_of(self)
    }
}

impl<T: Write> IntoRows for Vec<T> {
    fn into_rows(self) -> Rows {
        rows_of(self)
    }
}

fn rows_of<T: Write>(rows: impl IntoIterator<Item = T>) -> Rows {
    let mut built = crate::write::Rows::with_capacity(0);
    rows.into_iter().for_each(|row| built.push(row));
    Rows { schema: schema_of::<T>(), batch: built.finish() }
}

/// Makes rows of JSON lines: objects, or plain values for one column `value`. The types are those of the values;
/// numbers are `int64`, or `float64` where one has a point. [`json_as`] sets other types.
///
/// # Panics
///
/// Panics if the text is no JSON, or if a column has values of several types.
pub fn json(lines: &str) -> Rows {
    json_as(lines, &[])
}

/// Makes rows of JSON lines, where some columns have types by name: `&[("at", "timestamp"), ("n", "int32")]`.
///
/// # Panics
///
/// Panics if the text is no JSON, or if a value is not of its column's type.
pub fn json_as(lines: &str, types: &[(&str, &str)]) -> Rows {
    let rows: Vec<Value> = serde_json::Deserializer::from_str(lines)
        .into_iter()
        .collect::<Result<_, _>>()
        .unwrap_or_else(|error| panic!("the rows are no JSON: {error}"));
    let rows: Vec<Map<String, Value>> = rows
        .into_iter()
        .map(|row| match row {
            Value::Object(row) => row,
            value => Map::from_iter([("value".to_owned(), value)]),
        })
        .collect();
    let mut names: BTreeSet<String> = rows.iter().flat_map(|row| row.keys().cloned()).collect();
    names.extend(types.iter().map(|(name, _)| (*name).to_owned()));
    let mut schema = Schema { fields: Vec::new(), roots: Vec::new() };
    let mut batch = Batch { rows: rows.len() as u32, columns: Vec::new(), roots: Vec::new() };
    for name in &names {
        let values: Vec<&Value> = rows.iter().map(|row| row.get(name).unwrap_or(&Value::Null)).collect();
        let data_type = match types.iter().find(|(column, _)| column == name) {
            Some((_, type_name)) => named_type(type_name),
            None => infer(&values, &mut schema.fields),
        };
        let root = build(name, &values, &data_type, &schema.fields, &mut batch.columns);
        batch.roots.push(root);
        let root = push_field(&mut schema.fields, name, data_type);
        schema.roots.push(root);
    }
    Rows { schema, batch }
}

fn named_type(name: &str) -> DataType {
    match name {
        "bool" => DataType::Boolean,
        "int32" => DataType::Int32,
        "int64" => DataType::Int64,
        "uint32" => DataType::Uint32,
        "uint64" => DataType::Uint64,
        "float32" => DataType::Float32,
        "float64" => DataType::Float64,
        "string" => DataType::String,
        "binary" => DataType::Binary,
        "timestamp" => DataType::Timestamp,
        "date" => DataType::Date,
        "json" => DataType::Json,
        other => panic!("no type {other:?} for a test's column"),
    }
}

fn infer(values: &[&Value], fields: &mut Vec<Field>) -> DataType {
    let present = || values.iter().filter(|value| !value.is_null());
    match present().next() {
        None | Some(Value::String(_)) => DataType::String,
        Some(Value::Bool(_)) => DataType::Boolean,
        Some(Value::Number(_)) if present().all(|value| value.is_i64()) => DataType::Int64,
        Some(Value::Number(_)) => DataType::Float64,
        Some(Value::Array(_)) => {
            let items: Vec<&Value> = present().filter_map(|value| value.as_array()).flatten().collect();
            let item = infer(&items, fields);
            DataType::List(push_field(fields, "item", item))
        }
        Some(Value::Object(_)) => {
            let names: BTreeSet<&String> =
                present().filter_map(|value| value.as_object()).flat_map(Map::keys).collect();
            let member = |member: &String| {
                let values: Vec<&Value> = present().map(|value| &value[member.as_str()]).collect();
                let data_type = infer(&values, fields);
                push_field(fields, member, data_type)
            };
            DataType::Struct(names.into_iter().map(member).collect())
        }
        Some(Value::Null) => unreachable!("nulls are not present"),
    }
}

/// Builds a column of JSON values and returns its index.
fn build(name: &str, values: &[&Value], data_type: &DataType, fields: &[Field], arena: &mut Vec<Column>) -> u32 {
    let wrong = |value: &Value| -> ! { panic!("column {name:?} has the value {value}, which is not of its type") };
    fn all<T>(values: &[&Value], wrong: impl Fn(&Value) -> T, get: impl Fn(&Value) -> Option<T>, empty: T) -> Vec<T>
    where
        T: Clone,
    {
        let one =
            |value: &&Value| if value.is_null() { empty.clone() } else { get(value).unwrap_or_else(|| wrong(value)) };
        values.iter().map(one).collect()
    }
    let texts = |values: &[&Value]| all(values, |v| wrong(v), |v| v.as_str().map(str::to_owned), String::new());
    let var_size = |texts: Vec<String>| {
        let mut bytes = Bytes::default();
        texts.iter().for_each(|text| bytes.push(text.as_bytes()));
        Values::VarSize(bytes.into_var_size())
    };
    let built = match data_type {
        DataType::Boolean => Values::Boolean(bitmap(&all(values, |v| wrong(v), Value::as_bool, false))),
        DataType::Int32 => {
            Values::Int32(all(values, |v| wrong(v), |v| v.as_i64().and_then(|v| i32::try_from(v).ok()), 0))
        }
        DataType::Uint32 => {
            Values::Uint32(all(values, |v| wrong(v), |v| v.as_u64().and_then(|v| u32::try_from(v).ok()), 0))
        }
        DataType::Int64 => Values::Int64(all(values, |v| wrong(v), Value::as_i64, 0)),
        DataType::Uint64 => Values::Uint64(all(values, |v| wrong(v), Value::as_u64, 0)),
        DataType::Float32 => Values::Float32(all(values, |v| wrong(v), |v| v.as_f64().map(|v| v as f32), 0.0)),
        DataType::Float64 => Values::Float64(all(values, |v| wrong(v), Value::as_f64, 0.0)),
        DataType::String | DataType::Binary => var_size(texts(values)),
        DataType::Json => var_size(values.iter().map(ToString::to_string).collect()),
        DataType::Timestamp => {
            let parse = |value: &Value| value.as_str()?.parse().ok().map(Timestamp::micros);
            Values::Int64(all(values, |v| wrong(v), parse, 0))
        }
        DataType::Date => {
            let parse = |value: &Value| value.as_str()?.parse().ok().map(Date::days);
            Values::Int32(all(values, |v| wrong(v), parse, 0))
        }
        DataType::List(item) => {
            let mut offsets = vec![0];
            let mut items = Vec::new();
            for value in values {
                items.extend(value.as_array().into_iter().flatten());
                offsets.push(items.len() as i32);
            }
            let child = build(name, &items, &fields[*item as usize].data_type, fields, arena);
            Values::List(crate::bindings::wxhost::plugin::types::ListData { offsets, child })
        }
        DataType::Struct(members) => {
            let member = |member: &u32| {
                let field = &fields[*member as usize];
                let values: Vec<&Value> =
                    values.iter().map(|value| value.get(&field.name).unwrap_or(&Value::Null)).collect();
                build(&field.name, &values, &field.data_type, fields, arena)
            };
            Values::Struct(members.iter().map(member).collect())
        }
    };
    let present: Vec<bool> = values.iter().map(|value| !value.is_null()).collect();
    let validity = present.contains(&false).then(|| bitmap(&present));
    arena.push(Column { rows: values.len() as u32, validity, values: built });
    arena.len() as u32 - 1
}

fn bitmap(bits: &[bool]) -> Vec<u8> {
    let mut bytes = vec![0; bits.len().div_ceil(8)];
    for (index, _) in bits.iter().enumerate().filter(|(_, bit)| **bit) {
        bytes[index / 8] |= 1 << (index % 8);
    }
    bytes
}

impl Rows {
    /// Returns how many rows there are.
    pub fn len(&self) -> usize {
        self.batch.rows as usize
    }

    /// Says whether there are none.
    pub fn is_empty(&self) -> bool {
        self.batch.rows == 0
    }

    /// Returns the names and types of the columns: `name: type, ...`.
    pub fn columns(&self) -> String {
        crate::schema::list_columns(&self.schema)
    }

    /// Returns the columns named by `reads`, as the host hands them over.
    pub(crate) fn select(&self, reads: &[u32]) -> Batch {
        let roots = reads.iter().map(|read| self.batch.roots[*read as usize]).collect();
        Batch { roots, ..self.batch.clone() }
    }

    /// Returns the rows as JSON objects.
    ///
    /// # Panics
    ///
    /// Panics if the batch does not have the shape of its schema, which no host would take.
    pub fn to_json(&self) -> Vec<Map<String, Value>> {
        assert_eq!(self.schema.roots.len(), self.batch.roots.len(), "a batch has the columns of its schema");
        let row = |row: u32| {
            let columns = self.schema.roots.iter().zip(&self.batch.roots);
            columns
                .map(|(field, column)| {
                    let name = self.schema.fields[*field as usize].name.clone();
                    (name, self.value(*field, *column, row as usize))
                })
                .collect()
        };
        (0..self.batch.rows).map(row).collect()
    }

    fn value(&self, field: u32, column: u32, row: usize) -> Value {
        let column = column_at(&self.batch, column).expect("a batch has the columns that it names");
        if column.validity.as_ref().is_some_and(|bits| !bit(bits, row)) {
            return Value::Null;
        }
        match (&self.schema.fields[field as usize].data_type, &column.values) {
            (DataType::Boolean, Values::Boolean(bits)) => bit(bits, row).into(),
            (DataType::Int32, Values::Int32(values)) => values[row].into(),
            (DataType::Int64, Values::Int64(values)) => values[row].into(),
            (DataType::Uint32, Values::Uint32(values)) => values[row].into(),
            (DataType::Uint64, Values::Uint64(values)) => values[row].into(),
            (DataType::Float32, Values::Float32(values)) => values[row].into(),
            (DataType::Float64, Values::Float64(values)) => values[row].into(),
            (DataType::Timestamp, Values::Int64(values)) => Timestamp::from_micros(values[row]).to_string().into(),
            (DataType::Date, Values::Int32(values)) => Date::from_days(values[row]).to_string().into(),
            (DataType::String, Values::VarSize(values)) => text(values, row).into(),
            (DataType::Binary, Values::VarSize(values)) => String::from_utf8_lossy(entry(values, row)).into(),
            (DataType::Json, Values::VarSize(values)) => {
                serde_json::from_str(text(values, row)).expect("a json column holds JSON")
            }
            (DataType::List(item), Values::List(lists)) => {
                let range = lists.offsets[row]..lists.offsets[row + 1];
                range.map(|row| self.value(*item, lists.child, row as usize)).collect()
            }
            (DataType::Struct(fields), Values::Struct(columns)) => {
                let member = |(field, column): (&u32, &u32)| {
                    (self.schema.fields[*field as usize].name.clone(), self.value(*field, *column, row))
                };
                Value::Object(fields.iter().zip(columns).map(member).collect())
            }
            (data_type, _) => panic!("a column of the type {data_type:?} has values of another"),
        }
    }
}

fn entry(values: &VarSize, row: usize) -> &[u8] {
    &values.data[values.offsets[row] as usize..values.offsets[row + 1] as usize]
}

fn text(values: &VarSize, row: usize) -> &str {
    std::str::from_utf8(entry(values, row)).expect("a text column holds UTF-8")
}

/// Writes rows as JSON lines; a row of the one column `value` as that value.
pub(crate) fn json_lines(rows: &[Map<String, Value>]) -> String {
    let lines: Vec<String> = rows.iter().map(|row| plain(row).to_string()).collect();
    lines.join("\n")
}

/// Returns a row, or its value if `value` is all it has.
pub(crate) fn plain(row: &Map<String, Value>) -> Value {
    match row.get("value") {
        Some(value) if row.len() == 1 => value.clone(),
        _ => Value::Object(row.clone()),
    }
}
