//! Rows to CSV.

use arrow::array::{RecordBatch, StringArray};
use arrow::datatypes::Schema;

use crate::data::schema::describe;
use crate::formats::csv::record::Dialect;
use crate::formats::decoder::Encoder;
use crate::formats::error::FormatError;
use crate::formats::json::Cells;

/// Writes a header, then a record a row. Lists and structs are JSON, bytes base64.
///
/// A null is an empty field, and an empty string is one in quotes.
#[derive(Debug)]
pub struct CsvEncoder {
    dialect: Dialect,
    names: Vec<String>,
    has_key: bool,
    /// The text of the field being written.
    field: Vec<u8>,
}

impl CsvEncoder {
    /// Makes an encoder for rows of a schema. A `key` is the first field, unless a column has its name. Fails when
    /// there are no columns at all.
    pub fn new(schema: &Schema, key: Option<&str>, dialect: Dialect) -> Result<CsvEncoder, FormatError> {
        let key = key.filter(|name| schema.field_with_name(name).is_err());
        let columns = schema.fields().iter().map(|field| field.name().as_str());
        let names: Vec<String> = key.into_iter().chain(columns).map(str::to_owned).collect();
        if names.is_empty() {
            return Err(FormatError::Unwritable("rows without columns cannot be written as csv".to_owned()));
        }
        let encoder = CsvEncoder { dialect, names, has_key: key.is_some(), field: Vec::new() };
        match encoder.names.iter().find(|name| encoder.needs_quotes(name.as_bytes())) {
            Some(name) if dialect.quote().is_none() => Err(unquotable(name, &describe(schema))),
            _ => Ok(encoder),
        }
    }

    fn needs_quotes(&self, field: &[u8]) -> bool {
        let quote = self.dialect.quote().unwrap_or(self.dialect.delimiter());
        memchr::memchr3(self.dialect.delimiter(), b'\n', quote, field).is_some()
            || memchr::memchr(b'\r', field).is_some()
    }

    fn write_quoted(field: &[u8], quote: u8, out: &mut Vec<u8>) {
        out.push(quote);
        for byte in field {
            if *byte == quote {
                out.push(quote);
            }
            out.push(*byte);
        }
        out.push(quote);
    }
}

impl Encoder for CsvEncoder {
    fn begin(&mut self, out: &mut Vec<u8>) {
        for (place, name) in self.names.iter().enumerate() {
            if place > 0 {
                out.push(self.dialect.delimiter());
            }
            match self.dialect.quote() {
                Some(quote) if name.is_empty() || self.needs_quotes(name.as_bytes()) => {
                    CsvEncoder::write_quoted(name.as_bytes(), quote, out);
                }
                _ => out.extend_from_slice(name.as_bytes()),
            }
        }
        out.push(b'\n');
    }

    fn encode(&mut self, rows: &RecordBatch, key: Option<&StringArray>, out: &mut Vec<u8>) -> Result<(), FormatError> {
        let mut columns = Vec::with_capacity(self.names.len());
        if let (true, Some(key)) = (self.has_key, key) {
            columns.push(Cells::String(key));
        }
        for (field, column) in rows.schema_ref().fields().iter().zip(rows.columns()) {
            columns.push(Cells::new(field, column)?);
        }
        // A record of one empty field would be a blank line, which readers skip.
        let is_alone = columns.len() == 1;
        for row in 0..rows.num_rows() {
            for (place, column) in columns.iter().enumerate() {
                if place > 0 {
                    out.push(self.dialect.delimiter());
                }
                self.field.clear();
                column.write_text(row, &mut self.field);
                let is_null = column.is_null(row);
                match self.dialect.quote() {
                    Some(quote) if self.field.is_empty() && (!is_null || is_alone) => out.extend([quote, quote]),
                    Some(quote) if self.needs_quotes(&self.field) => CsvEncoder::write_quoted(&self.field, quote, out),
                    None if self.needs_quotes(&self.field) => {
                        return Err(unquotable(&String::from_utf8_lossy(&self.field), &self.names[place]));
                    }
                    _ => out.extend_from_slice(&self.field),
                }
            }
            out.push(b'\n');
        }
        Ok(())
    }
}

fn unquotable(field: &str, of: &str) -> FormatError {
    FormatError::Unwritable(format!(
        "the field {field:?} of {of} holds a delimiter or a line end and needs quotes; set a quote"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::schema::{Type, schema_of};
    use crate::formats::csv::{CsvDecoder, Header};
    use crate::formats::decoder::Decoder;
    use crate::formats::json::JsonDecoder;

    fn rows(columns: &str, text: &str) -> RecordBatch {
        let Ok(Type::Struct(columns)) = format!("struct<{columns}>").parse() else { panic!("columns") };
        let decoded = JsonDecoder::columns(&schema_of(&columns)).unwrap().decode(text.as_bytes()).unwrap();
        assert_eq!(decoded.errors, []);
        decoded.rows
    }

    fn encode(rows: &RecordBatch, key: Option<(&str, &StringArray)>) -> String {
        let mut encoder = CsvEncoder::new(&rows.schema(), key.map(|(name, _)| name), Dialect::default()).unwrap();
        let mut out = Vec::new();
        encoder.begin(&mut out);
        encoder.encode(rows, key.map(|(_, values)| values), &mut out).unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn fields_are_quoted_where_needed_and_read_back() {
        let rows = rows(
            "\"a,b\": string, n: int64, f: float64, j: json, l: list<string>, t: timestamp",
            concat!(
                r#"{"a,b":"x","n":1,"f":1.5,"j":{"k":1},"l":["a","b"],"t":"2022-01-02T03:04:05Z"}"#,
                "\n",
                r#"{"a,b":"say \"hi\",\r\nthen","n":null,"f":null,"j":null,"l":null,"t":null}"#,
                "\n",
                r#"{"a,b":""}"#,
            ),
        );
        let text = encode(&rows, None);
        assert_eq!(
            text,
            concat!(
                "\"a,b\",n,f,j,l,t\n",
                "x,1,1.5,\"{\"\"k\"\":1}\",\"[\"\"a\"\",\"\"b\"\"]\",2022-01-02T03:04:05Z\n",
                "\"say \"\"hi\"\",\r\nthen\",,,,,\n",
                "\"\",,,,,\n",
            )
        );
        let mut decoder = CsvDecoder::new(&rows.schema(), Dialect::default(), Header::FirstRow).unwrap();
        assert_eq!(decoder.decode(text.as_bytes()).unwrap().rows, rows);
    }

    #[test]
    fn a_key_is_the_first_field_unless_the_row_has_it() {
        let rows = rows("n: int64", "{\"n\":1}\n{}\n");
        let key = StringArray::from(vec!["k", "l"]);
        assert_eq!(encode(&rows, Some(("key", &key))), "key,n\nk,1\nl,\n");
        assert_eq!(encode(&rows, Some(("n", &key))), "n\n1\n\"\"\n");
    }

    #[test]
    fn what_needs_quotes_is_refused_without_a_quote() {
        let rows = rows("s: string", "{\"s\":\"a;b\"}\n");
        let dialect = Dialect::new(';', None).unwrap();
        let error = CsvEncoder::new(&rows.schema(), None, dialect).unwrap().encode(&rows, None, &mut Vec::new());
        let message = "the field \"a;b\" of s holds a delimiter or a line end and needs quotes; set a quote";
        assert_eq!(error.unwrap_err().to_string(), message);
        assert!(CsvEncoder::new(&schema_of(&[]), None, dialect).is_err());
    }
}
