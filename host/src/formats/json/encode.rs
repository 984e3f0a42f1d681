//! Rows to JSON lines.
//!
//! Types are looked at once per batch, in [`Cells`]; writing a row is a walk over the columns with one predictable
//! branch each.

use arrow::array::{
    Array, AsArray, BinaryArray, BooleanArray, ListArray, PrimitiveArray, RecordBatch, StringArray, StructArray,
};
use arrow::datatypes::{
    ArrowPrimitiveType, DataType, Date32Type, Field, Float32Type, Float64Type, Int32Type, Int64Type, Schema,
    TimestampMicrosecondType, UInt32Type, UInt64Type,
};
use arrow::util::display::{ArrayFormatter, FormatOptions};

use crate::data::schema::Type;
use crate::formats::base64;
use crate::formats::decoder::Encoder;
use crate::formats::error::FormatError;
use crate::formats::timestamp;

/// Writes rows as compact JSON objects, one a line.
///
/// Timestamps are RFC 3339 in UTC, bytes base64, numbers that are not finite null.
#[derive(Debug)]
pub struct JsonEncoder {
    /// What stands before the key; `None` when it is not written.
    key: Option<Vec<u8>>,
}

impl JsonEncoder {
    /// Makes an encoder for rows of a schema. A `key` is written first under its name, unless a column has that name.
    pub fn new(schema: &Schema, key: Option<&str>) -> JsonEncoder {
        let key = key.filter(|name| schema.field_with_name(name).is_err());
        JsonEncoder { key: key.map(member) }
    }
}

impl Encoder for JsonEncoder {
    fn encode(&mut self, rows: &RecordBatch, key: Option<&StringArray>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let schema = rows.schema_ref();
        let columns = schema.fields().iter().zip(rows.columns()).map(|(field, column)| Cells::new(field, column));
        let mut members = Vec::with_capacity(rows.num_columns() + 1);
        if let (Some(member), Some(key)) = (&self.key, key) {
            members.push((member.clone(), Cells::String(key)));
        }
        for (field, cells) in schema.fields().iter().zip(columns) {
            members.push((member(field.name()), cells?));
        }
        for row in 0..rows.num_rows() {
            write_members(&members, row, out);
            out.push(b'\n');
        }
        Ok(())
    }
}

/// A column under its type.
pub(crate) enum Cells<'a> {
    Bool(&'a BooleanArray),
    Int32(&'a PrimitiveArray<Int32Type>),
    Int64(&'a PrimitiveArray<Int64Type>),
    Uint32(&'a PrimitiveArray<UInt32Type>),
    Uint64(&'a PrimitiveArray<UInt64Type>),
    Float32(&'a PrimitiveArray<Float32Type>),
    Float64(&'a PrimitiveArray<Float64Type>),
    String(&'a StringArray),
    Binary(&'a BinaryArray),
    Timestamp(&'a PrimitiveArray<TimestampMicrosecondType>),
    Date(&'a PrimitiveArray<Date32Type>),
    Json(&'a StringArray),
    List(&'a ListArray, Box<Cells<'a>>),
    Struct(&'a StructArray, Vec<(Vec<u8>, Cells<'a>)>),
    /// Types without a name here: decimals as numbers, others as text.
    Other {
        array: &'a dyn Array,
        formatter: ArrayFormatter<'a>,
        is_number: bool,
    },
}

impl<'a> Cells<'a> {
    /// Looks at a column. Fails for types that have no text, which no source brings.
    pub fn new(field: &Field, array: &'a dyn Array) -> Result<Cells<'a>, FormatError> {
        Ok(match Type::of(field) {
            Type::Bool => Cells::Bool(array.as_boolean()),
            Type::Int32 => Cells::Int32(array.as_primitive()),
            Type::Int64 => Cells::Int64(array.as_primitive()),
            Type::Uint32 => Cells::Uint32(array.as_primitive()),
            Type::Uint64 => Cells::Uint64(array.as_primitive()),
            Type::Float32 => Cells::Float32(array.as_primitive()),
            Type::Float64 => Cells::Float64(array.as_primitive()),
            Type::String => Cells::String(array.as_string()),
            Type::Binary => Cells::Binary(array.as_binary()),
            Type::Timestamp => Cells::Timestamp(array.as_primitive()),
            Type::Date => Cells::Date(array.as_primitive()),
            Type::Json => Cells::Json(array.as_string()),
            Type::List(_) => {
                let list = array.as_list();
                let DataType::List(item) = list.data_type() else { unreachable!("a list has a list type") };
                Cells::List(list, Box::new(Cells::new(item, list.values())?))
            }
            Type::Struct(_) => {
                let array = array.as_struct();
                let members = array.fields().iter().zip(array.columns());
                let members = members.map(|(field, column)| Ok((member(field.name()), Cells::new(field, column)?)));
                Cells::Struct(array, members.collect::<Result<_, FormatError>>()?)
            }
            Type::Other(other) => {
                const OPTIONS: FormatOptions<'static> = FormatOptions::new();
                let formatter = ArrayFormatter::try_new(array, &OPTIONS).map_err(|_| {
                    let name = field.name();
                    FormatError::Unwritable(format!(
                        "column {name:?} has type {other}, which cannot be written as text"
                    ))
                })?;
                Cells::Other { array, formatter, is_number: other.is_decimal() }
            }
        })
    }

    fn array(&self) -> &dyn Array {
        match self {
            Cells::Bool(array) => array,
            Cells::Int32(array) => array,
            Cells::Int64(array) => array,
            Cells::Uint32(array) => array,
            Cells::Uint64(array) => array,
            Cells::Float32(array) => array,
            Cells::Float64(array) => array,
            Cells::String(array) | Cells::Json(array) => array,
            Cells::Binary(array) => array,
            Cells::Timestamp(array) => array,
            Cells::Date(array) => array,
            Cells::List(array, _) => array,
            Cells::Struct(array, _) => array,
            Cells::Other { array, .. } => *array,
        }
    }

    pub fn is_null(&self, row: usize) -> bool {
        self.array().is_null(row)
    }

    /// Writes a value as JSON.
    pub fn write_json(&self, row: usize, out: &mut Vec<u8>) {
        match self {
            Cells::Bool(array) => match value(array, row, |row| array.value(row)) {
                Some(true) => out.extend_from_slice(b"true"),
                Some(false) => out.extend_from_slice(b"false"),
                None => write_null(out),
            },
            Cells::Int32(array) => write_integer(array, row, out),
            Cells::Int64(array) => write_integer(array, row, out),
            Cells::Uint32(array) => write_integer(array, row, out),
            Cells::Uint64(array) => write_integer(array, row, out),
            Cells::Float32(array) => write_float(array, row, |number: f32| number.is_finite(), out),
            Cells::Float64(array) => write_float(array, row, |number: f64| number.is_finite(), out),
            Cells::String(array) => match value(array, row, |row| array.value(row)) {
                Some(text) => write_string(text, out),
                None => write_null(out),
            },
            Cells::Json(array) => match value(array, row, |row| array.value(row)) {
                Some(text) => write_raw(text, out),
                None => write_null(out),
            },
            Cells::List(array, items) if array.is_valid(row) => {
                let offsets = array.value_offsets();
                let (start, end) = (offsets[row] as usize, offsets[row + 1] as usize);
                out.push(b'[');
                for item in start..end {
                    if item > start {
                        out.push(b',');
                    }
                    items.write_json(item, out);
                }
                out.push(b']');
            }
            Cells::Struct(array, members) if array.is_valid(row) => write_members(members, row, out),
            Cells::Other { is_number: true, .. } if !self.is_null(row) => self.write_text(row, out),
            Cells::Other { formatter, .. } if !self.is_null(row) => {
                write_string(&formatter.value(row).to_string(), out);
            }
            _ if self.is_null(row) => write_null(out),
            // Bytes, instants and days: text that needs no escapes.
            _ => {
                out.push(b'"');
                self.write_text(row, out);
                out.push(b'"');
            }
        }
    }

    /// Writes a value as plain text, without quotes and escapes; nothing for a null.
    pub fn write_text(&self, row: usize, out: &mut Vec<u8>) {
        if self.is_null(row) {
            return;
        }
        match self {
            Cells::String(array) => out.extend_from_slice(array.value(row).as_bytes()),
            Cells::Binary(array) => base64::encode(array.value(row), out),
            Cells::Timestamp(array) => timestamp::write(array.value(row), out),
            Cells::Date(array) => timestamp::write_date(array.value(row), out),
            Cells::Other { formatter, .. } => out.extend_from_slice(formatter.value(row).to_string().as_bytes()),
            Cells::Float32(array) if !array.value(row).is_finite() => {
                out.extend_from_slice(array.value(row).to_string().as_bytes());
            }
            Cells::Float64(array) if !array.value(row).is_finite() => {
                out.extend_from_slice(array.value(row).to_string().as_bytes());
            }
            _ => self.write_json(row, out),
        }
    }
}

fn value<T>(array: &dyn Array, row: usize, get: impl FnOnce(usize) -> T) -> Option<T> {
    array.is_valid(row).then(|| get(row))
}

fn write_null(out: &mut Vec<u8>) {
    out.extend_from_slice(b"null");
}

fn write_integer<P: ArrowPrimitiveType>(array: &PrimitiveArray<P>, row: usize, out: &mut Vec<u8>)
where
    P::Native: itoa::Integer,
{
    match value(array, row, |row| array.value(row)) {
        Some(number) => out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes()),
        None => write_null(out),
    }
}

fn write_float<P: ArrowPrimitiveType>(
    array: &PrimitiveArray<P>,
    row: usize,
    is_finite: impl FnOnce(P::Native) -> bool,
    out: &mut Vec<u8>,
) where
    P::Native: zmij::Float,
{
    match value(array, row, |row| array.value(row)).filter(|number| is_finite(*number)) {
        Some(number) => out.extend_from_slice(zmij::Buffer::new().format_finite(number).as_bytes()),
        None => write_null(out),
    }
}

/// Returns what stands before a member's value: a comma, its name, a colon.
fn member(name: &str) -> Vec<u8> {
    let mut text = vec![b','];
    write_string(name, &mut text);
    text.push(b':');
    text
}

fn write_members(members: &[(Vec<u8>, Cells<'_>)], row: usize, out: &mut Vec<u8>) {
    let start = out.len();
    for (name, cells) in members {
        out.extend_from_slice(name);
        cells.write_json(row, out);
    }
    // The first member's comma gives way to the brace.
    match out.get_mut(start) {
        Some(comma) => *comma = b'{',
        None => out.push(b'{'),
    }
    out.push(b'}');
}

/// Writes JSON that is there already. A line feed can only be space between its parts, and would end the record.
pub(crate) fn write_raw(text: &str, out: &mut Vec<u8>) {
    if memchr::memchr2(b'\n', b'\r', text.as_bytes()).is_none() {
        out.extend_from_slice(text.as_bytes());
    } else {
        out.extend(text.bytes().filter(|c| !matches!(c, b'\n' | b'\r')));
    }
}

/// Writes a string with its quotes. What needs no escape, mostly all of it, is copied in one go.
fn write_string(text: &str, out: &mut Vec<u8>) {
    let bytes = text.as_bytes();
    out.reserve(bytes.len() + 2);
    out.push(b'"');
    let mut rest = bytes;
    while let Some(at) = first_escape(rest) {
        out.extend_from_slice(&rest[..at]);
        match rest[at] {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            control => out.extend_from_slice(format!("\\u{control:04x}").as_bytes()),
        }
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'"');
}

/// Finds the first quote, backslash or control character, eight bytes at a time.
fn first_escape(bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGHS: u64 = 0x8080_8080_8080_8080;
    let (words, _) = bytes.as_chunks::<8>();
    // Marks, in the high bit of each byte, where a byte is below `limit` (at most 128). A borrow can mark a byte after a
    // true find only, so the lowest mark is right.
    let below = |word: u64, limit: u64| word.wrapping_sub(ONES * limit) & !word & HIGHS;
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let quotes = below(word ^ (ONES * u64::from(b'"')), 1);
        let slashes = below(word ^ (ONES * u64::from(b'\\')), 1);
        let found = below(word, 0x20) | quotes | slashes;
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let start = words.len() * 8;
    let found = bytes[start..].iter().position(|c| *c < 0x20 || matches!(c, b'"' | b'\\'));
    found.map(|at| start + at)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Decimal128Array, Float64Array, Int64Array};
    use proptest::prelude::*;

    use super::*;
    use crate::data::schema::schema_of;
    use crate::formats::decoder::Decoder;
    use crate::formats::json::JsonDecoder;

    fn encode(rows: &RecordBatch, name: Option<&str>, key: Option<&StringArray>) -> String {
        let mut out = Vec::new();
        JsonEncoder::new(&rows.schema(), name).encode(rows, key, &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_key_comes_first_unless_the_row_has_it() {
        let rows = RecordBatch::try_from_iter([("count", Arc::new(Int64Array::from(vec![4])) as ArrayRef)]).unwrap();
        let key = StringArray::from(vec!["to"]);
        assert_eq!(encode(&rows, Some("word"), Some(&key)), "{\"word\":\"to\",\"count\":4}\n");
        assert_eq!(encode(&rows, Some("count"), Some(&key)), "{\"count\":4}\n");
        assert_eq!(encode(&rows, Some("word"), None), "{\"count\":4}\n");
        assert_eq!(encode(&rows, None, None), "{\"count\":4}\n");
    }

    #[test]
    fn every_type_is_written() {
        let columns = "b: bool, i: int32, u: uint64, f: float32, g: float64, s: string, y: binary, t: timestamp, \
                       d: date, j: json, l: list<int64>, o: struct<\"p q\": list<string>>";
        let line = concat!(
            r#"{"b":true,"i":-1,"u":18446744073709551615,"f":0.1,"g":1e+300,"s":"é\"\\\n\u0001","y":"Zm8=","#,
            r#""t":"2022-01-02T03:04:05Z","d":"1969-12-31","j":{"a": [1]},"l":[1,null,2],"o":{"p q":["x",null]}}"#
        );
        let nulls = r#"{"b":null,"i":null,"u":null,"f":null,"g":null,"s":null,"y":null,"t":null,"d":null,"j":null,"l":null,"o":null}"#;
        let text = format!("{line}\n{nulls}\n");
        let Ok(Type::Struct(columns)) = format!("struct<{columns}>").parse() else { panic!("columns") };
        let decoded = JsonDecoder::columns(&schema_of(&columns)).unwrap().decode(text.as_bytes()).unwrap();
        assert_eq!(decoded.errors, []);
        assert_eq!(encode(&decoded.rows, None, None), text);
        assert_eq!(encode(&decoded.rows.slice(1, 1), None, None), format!("{nulls}\n"));
    }

    #[test]
    fn numbers_are_valid_json_and_decimals_are_numbers() {
        let floats = Float64Array::from(vec![1.0, -0.0, 5e-324, 1e21, f64::NAN, f64::INFINITY]);
        let decimals = Decimal128Array::from(vec![1234; 6]).with_precision_and_scale(10, 2).unwrap();
        let rows =
            RecordBatch::try_from_iter([("f", Arc::new(floats) as ArrayRef), ("d", Arc::new(decimals) as ArrayRef)]);
        let text = encode(&rows.unwrap(), None, None);
        for line in text.lines() {
            serde_json::from_str::<serde_json::Value>(line).unwrap();
        }
        assert!(text.starts_with("{\"f\":1.0,\"d\":12.34}\n{\"f\":-0.0,"));
        assert!(text.ends_with("{\"f\":null,\"d\":12.34}\n{\"f\":null,\"d\":12.34}\n"));
    }

    #[test]
    fn line_feeds_in_json_do_not_end_the_record() {
        let mut out = Vec::new();
        write_raw("{\r\n\"a\": 1\n}", &mut out);
        assert_eq!(out, b"{\"a\": 1}");
    }

    #[test]
    fn rows_without_columns_are_empty_objects() {
        let options = arrow::array::RecordBatchOptions::new().with_row_count(Some(2));
        let rows = RecordBatch::try_new_with_options(schema_of(&[]), vec![], &options).unwrap();
        assert_eq!(encode(&rows, None, None), "{}\n{}\n");
        let key = StringArray::from(vec!["a", "b"]);
        assert_eq!(encode(&rows, Some("key"), Some(&key)), "{\"key\":\"a\"}\n{\"key\":\"b\"}\n");
    }

    proptest! {
        #[test]
        fn strings_are_escaped_as_others_do(text in "[ -~\u{0}-\u{1f}é\u{10000}]{0,40}") {
            let mut out = Vec::new();
            write_string(&text, &mut out);
            prop_assert_eq!(serde_json::from_slice::<String>(&out).unwrap(), text.clone());
            let plain = text.bytes().position(|c| c < 0x20 || c == b'"' || c == b'\\');
            prop_assert_eq!(first_escape(text.as_bytes()), plain);
        }
    }
}
