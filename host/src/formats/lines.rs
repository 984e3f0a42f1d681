//! Lines of text, in one column `value`.

use std::sync::Arc;

use arrow::array::{Array, AsArray, RecordBatch, StringArray};
use arrow::datatypes::{Schema, SchemaRef};

use crate::data::schema::{Type, describe, schema_of};
use crate::formats::column::ColumnBuilder;
use crate::formats::decoder::{Decoded, Decoder, Encoder, Outcome, TextLines, lines};
use crate::formats::error::FormatError;
use crate::formats::json::write_raw;

/// Reads each line, a blank one too, as a row. Lines end with LF or CRLF, the last one also with the file.
///
/// A line with a NUL byte is a bad row: it is no text, or text in UTF-16.
#[derive(Debug)]
pub struct LinesDecoder {
    schema: SchemaRef,
    column: ColumnBuilder,
}

impl LinesDecoder {
    pub fn new() -> LinesDecoder {
        let schema = schema_of(&[("value".to_owned(), Type::String)]);
        let column = ColumnBuilder::new(schema.field(0)).expect("strings can be read from text");
        LinesDecoder { schema, column }
    }
}

impl Default for LinesDecoder {
    fn default() -> LinesDecoder {
        LinesDecoder::new()
    }
}

impl Decoder for LinesDecoder {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn decode(&mut self, chunk: &[u8]) -> Result<Decoded, FormatError> {
        let ColumnBuilder::String(column) = &mut self.column else { unreachable!("the column has type string") };
        let mut outcome = Outcome::default();
        let texts = TextLines::new(chunk);
        // One look at the chunk spares one at each line.
        let has_nul = memchr::memchr(0, chunk).is_some();
        let mut number = 0;
        for range in lines(chunk) {
            let line = number;
            number += 1;
            let raw = &chunk[range.clone()];
            let nul = if has_nul { memchr::memchr(0, raw) } else { None };
            let appended = match nul {
                Some(at) => Err(format!("NUL at byte {}; is this a text file?", at + 1)),
                None => texts.get(&range).and_then(|text| column.append(text).map_err(|full| full.to_string())),
            };
            match appended {
                Ok(()) => outcome.row(line),
                Err(message) => outcome.bad(line, message, raw),
            }
        }
        Ok(outcome.finish(&self.schema, vec![self.column.finish()], number))
    }
}

/// Writes a one-column stream of strings, or of JSON, as lines. A null is a blank line.
#[derive(Debug)]
pub struct LinesEncoder {
    is_json: bool,
}

impl LinesEncoder {
    /// Makes an encoder. Fails unless rows are one column of text.
    pub fn new(schema: &Schema) -> Result<LinesEncoder, FormatError> {
        let is_json = match schema.fields().as_ref() {
            [column] => match Type::of(column) {
                Type::String => Some(false),
                Type::Json => Some(true),
                _ => None,
            },
            _ => None,
        };
        is_json.map(|is_json| LinesEncoder { is_json }).ok_or_else(|| {
            let found = describe(schema);
            let hint = "select one, or use the format json or csv";
            FormatError::Unwritable(format!("lines are written from one column of text, found {found}; {hint}"))
        })
    }
}

impl Encoder for LinesEncoder {
    fn encode(&mut self, rows: &RecordBatch, _: Option<&StringArray>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let texts: &StringArray = rows.column(0).as_string();
        out.reserve(texts.value_data().len() + texts.len());
        for row in 0..texts.len() {
            match texts.is_valid(row).then(|| texts.value(row)) {
                Some(text) if self.is_json => write_raw(text, out),
                Some(text) => out.extend_from_slice(text.as_bytes()),
                None => {}
            }
            out.push(b'\n');
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_line_is_a_row() {
        for (text, wanted) in [
            ("", vec![]),
            ("a", vec!["a"]),
            ("a\nb\n", vec!["a", "b"]),
            ("a\r\n\r\n\nb", vec!["a", "", "", "b"]),
            (" é \n", vec![" é "]),
        ] {
            let decoded = LinesDecoder::new().decode(text.as_bytes()).unwrap();
            assert_eq!(decoded.rows.column(0).as_ref(), &StringArray::from(wanted.clone()), "{text:?}");
            assert_eq!((decoded.lines, decoded.line_count as usize), (None, wanted.len()));
        }
    }

    #[test]
    fn a_line_that_is_no_text_is_a_bad_row() {
        let decoded = LinesDecoder::new().decode(b"a\nb\0c\n\xff\nd").unwrap();
        assert_eq!(decoded.rows.column(0).as_ref(), &StringArray::from(vec!["a", "d"]));
        assert_eq!(decoded.lines, Some(vec![0, 3]));
        let errors: Vec<_> = decoded.errors.iter().map(|bad| (bad.line, bad.message.as_str())).collect();
        assert_eq!(errors, [(1, "NUL at byte 2; is this a text file?"), (2, "not UTF-8 at byte 1 (0xff)")]);
    }

    #[test]
    fn strings_are_written_as_lines() {
        let mut decoder = LinesDecoder::new();
        let rows = decoder.decode(b"a\n\nb").unwrap().rows;
        let mut out = Vec::new();
        LinesEncoder::new(&decoder.schema()).unwrap().encode(&rows, None, &mut out).unwrap();
        assert_eq!(out, b"a\n\nb\n");
    }

    #[test]
    fn other_rows_than_one_column_of_text_are_refused() {
        let schema = schema_of(&[("a".to_owned(), Type::String), ("n".to_owned(), Type::Int64)]);
        assert_eq!(
            LinesEncoder::new(&schema).unwrap_err().to_string(),
            "lines are written from one column of text, found a: string, n: int64; select one, or use the format json \
             or csv"
        );
        assert!(LinesEncoder::new(&schema_of(&[("n".to_owned(), Type::Int64)])).is_err());
        assert!(LinesEncoder::new(&schema_of(&[("j".to_owned(), Type::Json)])).is_ok());
    }
}
