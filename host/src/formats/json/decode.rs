//! JSON lines to rows.

use std::sync::Arc;

use arrow::array::{Array, ArrayRef, StringArray};
use arrow::datatypes::{Schema, SchemaRef};

use crate::data::schema::{Type, normalised_schema, schema_of};
use crate::formats::column::{ColumnBuilder, StructColumn};
use crate::formats::decoder::{Decoded, Decoder, Outcome, TextLines, lines};
use crate::formats::error::FormatError;
use crate::formats::json::value::{append_row, check_value};

/// Reads JSON lines, each an object whose members are the columns, or each any value.
///
/// Members that are no column are skipped, missing ones are null, of a repeated one the last holds. Blank lines are
/// skipped. The number -0.0 is read as 0.0.
#[derive(Debug)]
pub struct JsonDecoder {
    schema: SchemaRef,
    target: Target,
}

#[derive(Debug)]
enum Target {
    Columns(StructColumn),
    /// The whole line, in one column of type `json`.
    Value(ColumnBuilder),
}

impl JsonDecoder {
    /// Reads objects into the columns of a schema. Fails when a column has a type that JSON has no form for, or when
    /// two have the same name.
    pub fn columns(schema: &Schema) -> Result<JsonDecoder, FormatError> {
        let mut names: Vec<&String> = schema.fields().iter().map(|field| field.name()).collect();
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(FormatError::Options(format!("the column {:?} occurs twice", twice[0])));
        }
        Ok(JsonDecoder { schema: normalised_schema(schema), target: Target::Columns(StructColumn::of_schema(schema)?) })
    }

    /// Reads any values into one column `value` of type `json`; a null is a null.
    pub fn values() -> JsonDecoder {
        let schema = schema_of(&[("value".to_owned(), Type::Json)]);
        let column = ColumnBuilder::new(schema.field(0)).expect("json can be read from text");
        JsonDecoder { schema, target: Target::Value(column) }
    }

    /// Decodes texts that came as a column, one a row. `lines` of the answer are rows of `texts`.
    ///
    /// A null and a blank text are bad rows here.
    pub fn decode_values(&mut self, texts: &StringArray) -> Decoded {
        let mut outcome = Outcome::default();
        for row in 0..texts.len() {
            let line = row as u32;
            if texts.is_null(row) {
                outcome.bad(line, "expected JSON, found a null", b"");
                continue;
            }
            let text = texts.value(row);
            match self.append(text, outcome.rows()) {
                Ok(()) => outcome.row(line),
                Err(message) => outcome.bad(line, message, text.as_bytes()),
            }
        }
        self.finish(outcome, texts.len() as u32)
    }

    /// Appends a row after `rows` others, or leaves everything as it was.
    fn append(&mut self, text: &str, rows: usize) -> Result<(), String> {
        match &mut self.target {
            Target::Columns(columns) => append_row(columns, text).inspect_err(|_| columns.truncate(rows)),
            Target::Value(column) => {
                check_value(text)?;
                match (text.trim_ascii(), column) {
                    ("null", column) => {
                        column.append_null();
                        Ok(())
                    }
                    (text, ColumnBuilder::Json(column)) => column.append(text).map_err(|full| full.to_string()),
                    _ => unreachable!("the column of values has type json"),
                }
            }
        }
    }

    fn finish(&mut self, outcome: Outcome, line_count: u32) -> Decoded {
        let columns: Vec<ArrayRef> = match &mut self.target {
            Target::Columns(columns) => columns.finish_columns(),
            Target::Value(column) => vec![column.finish()],
        };
        outcome.finish(&self.schema, columns, line_count)
    }
}

impl Decoder for JsonDecoder {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn decode(&mut self, chunk: &[u8]) -> Result<Decoded, FormatError> {
        let mut outcome = Outcome::default();
        let texts = TextLines::new(chunk);
        let mut number = 0;
        for range in lines(chunk) {
            let line = number;
            number += 1;
            let raw = &chunk[range.clone()];
            if raw.trim_ascii_start().is_empty() {
                continue;
            }
            // Some editors start a file with a byte order mark, which is no JSON.
            let text = texts.get(&range).map(|text| text.strip_prefix('\u{feff}').unwrap_or(text));
            match text.and_then(|text| self.append(text, outcome.rows())) {
                Ok(()) => outcome.row(line),
                Err(message) => outcome.bad(line, message, raw),
            }
        }
        Ok(self.finish(outcome, number))
    }
}

#[cfg(test)]
mod tests {
    use arrow::array::{AsArray, BinaryArray, RecordBatch};
    use arrow::datatypes::{Date32Type, Float64Type, Int64Type, TimestampMicrosecondType};

    use super::*;
    use crate::formats::json::check::MAX_DEPTH;

    fn decoder(columns: &str) -> JsonDecoder {
        let Ok(Type::Struct(columns)) = format!("struct<{columns}>").parse() else { panic!("a list of columns") };
        JsonDecoder::columns(&schema_of(&columns)).unwrap()
    }

    fn decode(columns: &str, text: &str) -> Decoded {
        decoder(columns).decode(text.as_bytes()).unwrap()
    }

    fn error(columns: &str, text: &str) -> String {
        let decoded = decode(columns, text);
        assert_eq!((decoded.rows.num_rows(), decoded.errors.len()), (0, 1), "{text}");
        decoded.errors[0].message.clone()
    }

    fn ints(rows: &RecordBatch, column: usize) -> Vec<Option<i64>> {
        rows.column(column).as_primitive::<Int64Type>().iter().collect()
    }

    #[test]
    fn members_go_to_their_columns_in_any_order() {
        let decoded = decode(
            "a: int64, b: string",
            "{\"a\":1,\"b\":\"x\"}\r\n{\"b\":\"y\",\"c\":[{}],\"a\":2}\n\n{}\n{ \"a\" : null , \"a\" : 3 }",
        );
        assert_eq!(ints(&decoded.rows, 0), [Some(1), Some(2), None, Some(3)]);
        let texts: Vec<_> = decoded.rows.column(1).as_string::<i32>().iter().collect();
        assert_eq!(texts, [Some("x"), Some("y"), None, None]);
        assert_eq!(decoded.lines, Some(vec![0, 1, 3, 4]));
        assert_eq!((decoded.line_count, decoded.errors.len()), (5, 0));
    }

    #[test]
    fn a_bad_line_leaves_the_others_right() {
        let decoded = decode(
            "a: int64, b: list<struct<c: string, d: int64>>, e: json",
            concat!(
                "{\"a\":1,\"b\":[{\"c\":\"x\",\"d\":1}],\"e\":{}}\n",
                "{\"a\":2,\"e\":[1],\"b\":[{\"c\":\"y\",\"d\":2},{\"c\":\"z\",\"d\":\"bad\"}]}\n",
                "{\"a\":3,\n",
                "{\"a\":4,\"b\":[{\"d\":4}]}\n",
            ),
        );
        assert_eq!(ints(&decoded.rows, 0), [Some(1), Some(4)]);
        let items = decoded.rows.column(1).as_list::<i32>();
        assert_eq!(items.value_offsets(), &[0, 1, 2]);
        assert_eq!(items.values().as_struct().column(1).as_primitive::<Int64Type>().values(), &[1, 4]);
        let raw: Vec<_> = decoded.rows.column(2).as_string::<i32>().iter().collect();
        assert_eq!(raw, [Some("{}"), None]);
        let errors: Vec<_> = decoded.errors.iter().map(|bad| (bad.line, bad.message.as_str(), bad.raw.len())).collect();
        assert_eq!(
            errors,
            [
                (1, "column \"b[1].d\": expected int64, found string \"bad\"", 57),
                (2, "invalid JSON at column 7: it ends too early", 7),
            ]
        );
        assert_eq!(decoded.lines, Some(vec![0, 3]));
    }

    #[test]
    fn values_that_do_not_fit_are_named() {
        for (columns, text, message) in [
            ("v: float64", r#"{"v":"abc"}"#, r#"column "v": expected float64, found string "abc""#),
            ("v: int32", r#"{"v":3000000000}"#, r#"column "v": number 3000000000 does not fit int32"#),
            ("v: uint64", r#"{"v":-1}"#, r#"column "v": number -1 does not fit uint64"#),
            ("v: int64", r#"{"v":1.0}"#, r#"column "v": expected int64, found number 1.0"#),
            (
                "v: int64",
                r#"{"v":9223372036854775808}"#,
                r#"column "v": number 9223372036854775808 does not fit int64"#,
            ),
            (
                "v: float32",
                r#"{"v":1e39}"#,
                r#"column "v": number 1000000000000000000000000000000000000000 does not fit float32"#,
            ),
            ("v: bool", r#"{"v":[true]}"#, r#"column "v": expected bool, found a list"#),
            ("v: string", r#"{"v":{"x":1}}"#, r#"column "v": expected string, found an object"#),
            ("v: string", r#"{"v":5}"#, r#"column "v": expected string, found number 5"#),
            (
                "v: list<date>",
                r#"{"v":["2022-01-02","x"]}"#,
                r#"column "v[1]": expected date like "2022-01-02", found string "x""#,
            ),
            ("v: struct<w: bool>", r#"{"v":{"w":7}}"#, r#"column "v.w": expected bool, found number 7"#),
            (
                "v: timestamp",
                r#"{"v":"12:00"}"#,
                r#"column "v": expected timestamp like "2022-01-02T03:04:05Z", found string "12:00""#,
            ),
            ("v: binary", r#"{"v":"?"}"#, r#"column "v": expected binary in base64, found string "?""#),
            ("v: int64", "7", "expected an object, found number 7"),
            ("v: int64", "null", "expected an object, found null"),
            ("v: int64", "[1]", "expected an object, found a list"),
            ("v: int64", "{\"v\":1} x", "invalid JSON at column 9: something follows the value"),
            ("v: string", r#"{"w":"\u12"}"#, "invalid JSON at column 7: invalid escape"),
        ] {
            assert_eq!(error(columns, text), message);
        }
        let long = error("v: int64", &format!("{{\"v\":\"{}\"}}", "é".repeat(50)));
        assert_eq!(long, format!("column \"v\": expected int64, found string \"{}\"...", "é".repeat(40)));
    }

    #[test]
    fn every_type_is_read() {
        let decoded = decode(
            "f: float64, t: timestamp, d: date, b: binary, j: json, s: string, l: list<int64>",
            concat!(
                r#"{"f":1,"t":"2022-01-02 03:04:05","d":"1970-01-02","b":"Zm9v","j":{"x": [1, "\u00e9"]},"s":"\u00e9\n","l":[1,null]}"#,
                "\n",
                r#"{"f":-2.5e-1,"t":null,"d":null,"b":null,"j":null,"s":null,"l":null}"#,
            ),
        );
        assert_eq!(decoded.errors, []);
        let rows = decoded.rows;
        assert_eq!(rows.column(0).as_primitive::<Float64Type>().values(), &[1.0, -0.25]);
        assert_eq!(rows.column(1).as_primitive::<TimestampMicrosecondType>().value(0), 1_641_092_645_000_000);
        assert_eq!(rows.column(2).as_primitive::<Date32Type>().value(0), 1);
        assert_eq!(rows.column(3).as_ref(), &BinaryArray::from_opt_vec(vec![Some(b"foo"), None]));
        assert_eq!(rows.column(4).as_ref(), &StringArray::from(vec![Some(r#"{"x": [1, "\u00e9"]}"#), None]));
        assert_eq!(rows.column(5).as_ref(), &StringArray::from(vec![Some("é\n"), None]));
        assert_eq!(rows.column(6).as_list::<i32>().values().null_count(), 1);
        assert!((1..7).all(|column| rows.column(column).null_count() == 1));
    }

    #[test]
    fn a_line_that_is_not_utf8_is_a_bad_row() {
        let mut decoder = decoder("a: string");
        let decoded = decoder.decode(b"{\"a\":\"\xc3\xa9\"}\n{\"a\":\"\xff\"}\n{\"a\":\"z\"}\n").unwrap();
        let texts: Vec<_> = decoded.rows.column(0).as_string::<i32>().iter().flatten().collect();
        assert_eq!(texts, ["é", "z"]);
        assert_eq!(decoded.errors[0].message, "not UTF-8 at byte 7 (0xff)");
        assert_eq!(decoded.errors[0].raw, "{\"a\":\"\u{fffd}\"}");
    }

    #[test]
    fn deep_nesting_is_a_bad_row_wherever_it_is() {
        for columns in ["a: json", "b: int64", "a: list<int64>"] {
            let text = format!("{{\"a\":{}", "[".repeat(1_000_000));
            assert_eq!(
                error(columns, &text),
                format!("nested deeper than {MAX_DEPTH} levels at column {}", MAX_DEPTH + 5)
            );
            let nested = |depth: usize| format!("{{\"a\":{}{}}}", "[".repeat(depth), "]".repeat(depth));
            if columns != "a: list<int64>" {
                assert_eq!(decode(columns, &nested(MAX_DEPTH - 1)).errors, []);
            }
        }
    }

    #[test]
    fn any_value_goes_into_one_json_column() {
        let mut decoder = JsonDecoder::values();
        let decoded = decoder.decode(b"\xef\xbb\xbf {\"a\": 1} \n[]\nnull\n{\"a\":}\n1 2\n\"x\"").unwrap();
        let raw: Vec<_> = decoded.rows.column(0).as_string::<i32>().iter().collect();
        assert_eq!(raw, [Some("{\"a\": 1}"), Some("[]"), None, Some("\"x\"")]);
        let errors: Vec<_> = decoded.errors.iter().map(|bad| (bad.line, bad.message.as_str())).collect();
        assert_eq!(
            errors,
            [
                (3, "invalid JSON at column 6: invalid JSON value"),
                (4, "invalid JSON at column 3: something follows the value"),
            ]
        );
        assert_eq!(crate::data::schema::describe(&decoder.schema()), "value: json");
    }

    #[test]
    fn texts_of_a_column_are_parsed_row_by_row() {
        let texts =
            StringArray::from(vec![Some("{\"a\":\n1}"), None, Some(""), Some("{\"a\":2}"), Some("{\n\"a\":x}")]);
        let decoded = decoder("a: int64").decode_values(&texts);
        assert_eq!(ints(&decoded.rows, 0), [Some(1), Some(2)]);
        assert_eq!(decoded.lines, Some(vec![0, 3]));
        let errors: Vec<_> = decoded.errors.iter().map(|bad| (bad.line, bad.message.as_str())).collect();
        assert_eq!(
            errors,
            [
                (1, "expected JSON, found a null"),
                (2, "invalid JSON at column 1: it ends too early"),
                (4, "invalid JSON at line 2 column 5: invalid JSON value"),
            ]
        );
    }

    #[test]
    fn a_schema_that_cannot_be_read_is_refused() {
        let twice = schema_of(&[("a".to_owned(), Type::Bool), ("a".to_owned(), Type::Bool)]);
        assert_eq!(JsonDecoder::columns(&twice).unwrap_err().to_string(), "the column \"a\" occurs twice");
    }
}
