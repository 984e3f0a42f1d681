//! CSV to rows.

use std::sync::Arc;

use arrow::datatypes::{Schema, SchemaRef};

use crate::data::schema::normalised_schema;
use crate::formats::column::ColumnBuilder;
use crate::formats::csv::field::append_field;
use crate::formats::csv::record::{Dialect, Record, RecordReader};
use crate::formats::decoder::{Decoded, Decoder, Outcome, text};
use crate::formats::error::FormatError;

/// Where the names of the fields come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// The first record names the fields; columns are found by name, in any order, and other fields are left out.
    FirstRow,
    /// As [`Header::FirstRow`], but it was read before: reading goes on within a file.
    Known(Vec<String>),
    /// There is no header; the fields are the columns in their order.
    Absent,
}

/// Reads CSV into the columns of a schema. One decoder reads one file: its header comes once.
pub struct CsvDecoder {
    schema: SchemaRef,
    columns: Vec<ColumnBuilder>,
    reader: RecordReader,
    /// For each field of a record its column. `None` until the header is read.
    fields: Option<Vec<Option<usize>>>,
    has_header: bool,
}

impl CsvDecoder {
    /// Makes a decoder. Fails when a column has a type that text has no form for, or a known header lacks a column.
    pub fn new(schema: &Schema, dialect: Dialect, header: Header) -> Result<CsvDecoder, FormatError> {
        let columns = schema.fields().iter().map(|field| ColumnBuilder::new(field));
        let has_header = header != Header::Absent;
        let fields = match header {
            Header::FirstRow => None,
            Header::Known(names) => Some(assign(schema, &names)?),
            Header::Absent => Some((0..schema.fields().len()).map(Some).collect()),
        };
        Ok(CsvDecoder {
            schema: normalised_schema(schema),
            columns: columns.collect::<Result<_, _>>()?,
            reader: RecordReader::new(dialect),
            fields,
            has_header,
        })
    }
}

impl Decoder for CsvDecoder {
    fn schema(&self) -> SchemaRef {
        Arc::clone(&self.schema)
    }

    fn decode(&mut self, chunk: &[u8]) -> Result<Decoded, FormatError> {
        let mut outcome = Outcome::default();
        let mut place = self.reader.start(chunk);
        while let Some(record) = self.reader.next(chunk, &mut place) {
            let Some(fields) = &self.fields else {
                self.fields = Some(assign(&self.schema, &names(&record)?)?);
                continue;
            };
            match append(&mut self.columns, &self.schema, fields, self.has_header, &record) {
                Ok(()) => outcome.row(record.line),
                Err(message) => {
                    outcome.bad(record.line, message, record.raw);
                    self.columns.iter_mut().for_each(|column| column.truncate(outcome.rows()));
                }
            }
        }
        let columns = self.columns.iter_mut().map(ColumnBuilder::finish).collect();
        Ok(outcome.finish(&self.schema, columns, place.line))
    }
}

/// Appends a record. On failure some columns are longer than others.
fn append(
    columns: &mut [ColumnBuilder],
    schema: &Schema,
    fields: &[Option<usize>],
    has_header: bool,
    record: &Record<'_>,
) -> Result<(), String> {
    if record.is_open {
        return Err("a quote is not closed".to_owned());
    }
    if record.count() != fields.len() {
        let wanted = if has_header { "the header has" } else { "there are columns for" };
        let plural = if record.count() == 1 { "" } else { "s" };
        return Err(format!("{} field{plural}, but {wanted} {}", record.count(), fields.len()));
    }
    text(record.raw)?;
    // The whole is UTF-8 and delimiters are ASCII, so the fields are UTF-8.
    let all = text(record.text)?;
    for (place, column) in record.fields().zip(fields) {
        let Some(column) = column else { continue };
        let describe = |reason| format!("column {:?}: {reason}", schema.field(*column).name());
        append_field(&mut columns[*column], &all[place]).map_err(describe)?;
    }
    Ok(())
}

/// Returns the names in a header.
pub(crate) fn names(header: &Record<'_>) -> Result<Vec<String>, FormatError> {
    let all = text(header.text).map_err(|reason| FormatError::Header(format!("the header is {reason}")))?;
    Ok(header.fields().map(|place| all[place].trim().to_owned()).collect())
}

/// Finds the column of each field.
fn assign(schema: &Schema, names: &[String]) -> Result<Vec<Option<usize>>, FormatError> {
    for column in schema.fields() {
        let count = names.iter().filter(|name| *name == column.name()).count();
        let problem = match count {
            1 => continue,
            0 => "is not in the header",
            _ => "is in the header more than once",
        };
        let header = names.iter().map(|name| format!("{name:?}")).collect::<Vec<_>>().join(", ");
        return Err(FormatError::Header(format!("the column {:?} {problem}, which is {header}", column.name())));
    }
    Ok(names.iter().map(|name| schema.fields().iter().position(|column| column.name() == name)).collect())
}

#[cfg(test)]
mod tests {
    use arrow::array::{Array, AsArray, StringArray};
    use arrow::datatypes::Int64Type;

    use super::*;
    use crate::data::schema::{Type, schema_of};

    fn decoder(columns: &str, header: Header) -> Result<CsvDecoder, FormatError> {
        let Ok(Type::Struct(columns)) = format!("struct<{columns}>").parse() else { panic!("columns") };
        CsvDecoder::new(&schema_of(&columns), Dialect::default(), header)
    }

    fn decode(columns: &str, header: Header, text: &str) -> Decoded {
        decoder(columns, header).unwrap().decode(text.as_bytes()).unwrap()
    }

    #[test]
    fn columns_are_found_by_the_names_of_the_header() {
        let text = "\u{feff}id,note,\"name\"\r\n1,x,\"Ada, \"\"L\"\"\"\r\n\r\n2,y,\n";
        let decoded = decode("name: string, id: int64", Header::FirstRow, text);
        assert_eq!(decoded.errors, []);
        assert_eq!(decoded.rows.column(0).as_ref(), &StringArray::from(vec!["Ada, \"L\"", ""]));
        assert_eq!(decoded.rows.column(1).as_primitive::<Int64Type>().values(), &[1, 2]);
        assert_eq!((decoded.lines, decoded.line_count), (Some(vec![1, 3]), 4));

        let names = vec!["id".to_owned(), "note".to_owned(), "name".to_owned()];
        let decoded = decode("name: string, id: int64", Header::Known(names), "3,z,Bo");
        assert_eq!((decoded.rows.num_rows(), decoded.lines, decoded.line_count), (1, None, 1));
    }

    #[test]
    fn the_header_is_read_once_per_file() {
        let mut decoder = decoder("a: int64", Header::FirstRow).unwrap();
        assert_eq!(decoder.decode(b"a\n").unwrap().rows.num_rows(), 0);
        assert_eq!(decoder.decode(b"1\n2\n").unwrap().rows.num_rows(), 2);
    }

    #[test]
    fn a_header_without_a_column_is_refused() {
        for (text, message) in [
            ("b,c\n", "the column \"a\" is not in the header, which is \"b\", \"c\""),
            ("a,a\n", "the column \"a\" is in the header more than once, which is \"a\", \"a\""),
        ] {
            let error = decoder("a: int64", Header::FirstRow).unwrap().decode(text.as_bytes()).unwrap_err();
            assert_eq!(error.to_string(), message);
        }
        assert!(decoder("a: int64", Header::Known(vec![])).is_err());
    }

    #[test]
    fn bad_records_leave_the_others_right() {
        let text = "1,a\n2\n3,c,x\nfour,d\n5,\"e\nf\"\n6,\"g\n";
        let decoded = decode("n: int64, s: string", Header::Absent, text);
        assert_eq!(decoded.rows.column(0).as_primitive::<Int64Type>().values(), &[1, 5]);
        assert_eq!(decoded.rows.column(1).as_ref(), &StringArray::from(vec!["a", "e\nf"]));
        let errors: Vec<_> =
            decoded.errors.iter().map(|bad| (bad.line, bad.message.as_str(), bad.raw.as_str())).collect();
        assert_eq!(
            errors,
            [
                (1, "1 field, but there are columns for 2", "2"),
                (2, "3 fields, but there are columns for 2", "3,c,x"),
                (3, "column \"n\": expected int64, found \"four\"", "four,d"),
                (6, "a quote is not closed", "6,\"g"),
            ]
        );
        assert_eq!((decoded.lines, decoded.line_count), (Some(vec![0, 4]), 7));

        let mut decoder = decoder("s: string", Header::Absent).unwrap();
        let decoded = decoder.decode(b"a\n\"b\xff\"\nc").unwrap();
        assert_eq!(decoded.rows.num_rows(), 2);
        assert_eq!(decoded.errors[0].message, "not UTF-8 at byte 3 (0xff)");
    }

    #[test]
    fn fields_are_read_by_the_type_of_their_column() {
        let columns = "b: bool, i: int32, u: uint64, f: float64, s: string, y: binary, t: timestamp, d: date, j: json, \
                       l: list<int64>";
        let text = "True, 7 ,9,1e3, x ,Zm9v,2022-01-02T03:04:05Z,2022-01-02,\"{\"\"a\"\":1}\",\"[1,2]\"\n,,,,,,,,,\n";
        let decoded = decode(columns, Header::Absent, text);
        assert_eq!(decoded.errors, []);
        for (column, field) in decoded.rows.columns().iter().zip(decoded.rows.schema().fields()) {
            assert!(column.is_valid(0));
            assert_eq!(column.is_null(1), field.name() != "s", "{}", field.name());
        }
        for (column, field, message) in [
            ("bool", "yes", "expected bool, found \"yes\""),
            ("int32", "3000000000", "expected int32, found \"3000000000\""),
            ("timestamp", "noon", "expected timestamp like \"2022-01-02T03:04:05Z\", found \"noon\""),
            ("list<int64>", "1", "expected a list, found number 1"),
            ("json", "{", "invalid JSON at column 1: it ends too early"),
        ] {
            let decoded = decode(&format!("c: {column}"), Header::Absent, field);
            assert_eq!(decoded.errors[0].message, format!("column \"c\": {message}"));
        }
    }
}
