//! The format of a source: how text becomes rows, and how their columns are told from a sample.

use super::{Name, dialect, ending, only_for_csv};
use crate::catalog::cx::ConnectorCx;
use crate::connectors::blocks::BLOCK;
use crate::data::schema::{Type, describe, schema_of};
use crate::dataflow::error::LogicError;
use crate::diag::{Diagnostic, Diagnostics};
use crate::formats::csv::{self, CsvDecoder, CsvFramer, Dialect, FieldTypes, Header};
use crate::formats::json::{self, JsonDecoder};
use crate::formats::lines::LinesDecoder;
use crate::formats::{Decoder, FormatError, Framer, LineFramer};
use crate::spec::{Node, Spanned, Value};
use arrow::datatypes::SchemaRef;
use serde::Deserialize;
use std::fs::File;
use std::io::Read;
use std::path::Path;

/// How much of a file is looked at to tell its columns.
const SAMPLE_BYTES: usize = 1 << 20;
const SAMPLE_LINES: usize = 1000;

/// The arguments of a source's format.
#[derive(Debug, Deserialize)]
pub(in crate::connectors) struct SourceFormatArgs {
    format: Option<Spanned<Name>>,
    schema: Option<Node>,
    delimiter: Option<Spanned<char>>,
    header: Option<Spanned<bool>>,
}

/// How a source's text becomes rows.
#[derive(Clone, Debug)]
pub(in crate::connectors) enum SourceFormat {
    Lines,
    JsonValues,
    Json(SchemaRef),
    Csv { schema: SchemaRef, dialect: Dialect, has_header: bool },
}

/// What is known of the columns before any row is read.
#[derive(Debug)]
enum Columns {
    Given(Vec<(String, Type)>),
    Infer,
    Json,
    Text,
}

impl SourceFormatArgs {
    /// Finds the format of text that comes from something called `name`, telling its columns from the file `sample`
    /// where they are not given. Notes what was told.
    ///
    /// # Errors
    /// The arguments do not go together, or the columns cannot be told.
    pub fn resolve(
        &self,
        cx: &ConnectorCx<'_>,
        name: &str,
        sample: Option<&Path>,
        notes: &mut Vec<String>,
    ) -> Result<SourceFormat, Diagnostics> {
        let ending = ending(name);
        if ending == "parquet" && self.format.is_none() {
            let message = format!("{}: {name:?} is a Parquet file", cx.what());
            let help = format!("read it with source = {{ parquet = {name:?} }}");
            return Err(Diagnostic::new("wrong-format", message).at(cx.span.clone()).help(help).into());
        }
        let format = self.format.as_ref().map(|format| format.value).unwrap_or(match ending.as_str() {
            "json" | "jsonl" | "ndjson" => Name::Json,
            "csv" | "tsv" => Name::Csv,
            _ => Name::Lines,
        });
        let mut problems = only_for_csv(cx, format, self.delimiter.as_ref(), self.header.as_ref());
        let columns = problems.take(self.columns(cx, format));
        let dialect = problems.take(dialect(cx, self.delimiter.as_ref(), &ending));
        let (Some(columns), Some(dialect)) = (columns, dialect) else { return Err(problems) };
        problems.into_result(())?;
        match (format, columns) {
            (Name::Lines, _) => Ok(SourceFormat::Lines),
            (Name::Json, Columns::Given(columns)) => self.given(cx, &columns),
            (Name::Json, Columns::Infer) => self.infer_json(cx, name, sample, notes),
            (Name::Json, _) => Ok(SourceFormat::JsonValues),
            (Name::Csv, columns) => self.csv(cx, name, columns, dialect, sample, notes),
        }
    }

    fn columns(&self, cx: &ConnectorCx<'_>, format: Name) -> Result<Columns, Diagnostics> {
        let Some(node) = &self.schema else { return Ok(Columns::Infer) };
        let wrong = |message: String, help: &str| {
            let message = format!("\"schema\" of {}: {message}", cx.what());
            Diagnostics::from(Diagnostic::new("wrong-type", message).at(node.span.clone()).help(help))
        };
        const EXAMPLE: &str = "for example schema = { user = \"string\", value = \"float64\" }";
        match (&node.value, format) {
            (_, Name::Lines) => {
                Err(wrong("lines have one column, \"value\"".to_owned(), "leave it out, or write format = \"json\""))
            }
            (Value::String(word), _) if word == "infer" => Ok(Columns::Infer),
            (Value::String(word), Name::Json) if word == "json" => Ok(Columns::Json),
            (Value::String(word), Name::Csv) if word == "text" => Ok(Columns::Text),
            (Value::String(text), _) if text.contains(':') => match format!("struct<{text}>").parse() {
                Ok(Type::Struct(columns)) if !columns.is_empty() => Ok(Columns::Given(columns)),
                Ok(_) => Err(wrong("it has no columns".to_owned(), EXAMPLE)),
                Err(error) => Err(wrong(error.to_string(), EXAMPLE)),
            },
            (Value::String(word), Name::Json) => {
                Err(wrong(format!("expected columns, \"infer\" or \"json\", found {word:?}"), EXAMPLE))
            }
            (Value::String(word), Name::Csv) => {
                Err(wrong(format!("expected columns, \"infer\" or \"text\", found {word:?}"), EXAMPLE))
            }
            (Value::Table(table), _) if table.is_empty() => Err(wrong("it has no columns".to_owned(), EXAMPLE)),
            (Value::Table(table), _) => {
                let mut problems = Diagnostics::new();
                let columns = table.iter().filter_map(|entry| {
                    let what = format!("column {:?} of {}", entry.key, cx.what());
                    problems.take(written_type(&entry.node, &what)).map(|ty| (entry.key.clone(), ty))
                });
                let columns = columns.collect();
                problems.into_result(Columns::Given(columns))
            }
            (other, _) => Err(wrong(format!("expected a table of columns, found {}", other.describe()), EXAMPLE)),
        }
    }

    fn given(&self, cx: &ConnectorCx<'_>, columns: &[(String, Type)]) -> Result<SourceFormat, Diagnostics> {
        let schema = schema_of(columns);
        JsonDecoder::columns(&schema).map_err(|error| self.refused(cx, &error))?;
        Ok(SourceFormat::Json(schema))
    }

    fn infer_json(
        &self,
        cx: &ConnectorCx<'_>,
        name: &str,
        sample: Option<&Path>,
        notes: &mut Vec<String>,
    ) -> Result<SourceFormat, Diagnostics> {
        let Some(path) = sample else { return Err(self.no_sample(cx)) };
        let bytes = read_sample(cx, path, &mut LineFramer)?;
        self.infer_rows(cx, name, &bytes, notes)
    }

    fn infer_rows(
        &self,
        cx: &ConnectorCx<'_>,
        name: &str,
        bytes: &[u8],
        notes: &mut Vec<String>,
    ) -> Result<SourceFormat, Diagnostics> {
        if bytes.trim_ascii().is_empty() {
            notes.push(format!("{name} has no rows to tell columns from: one column value: json"));
            return Ok(SourceFormat::JsonValues);
        }
        match json::infer(bytes) {
            Ok(columns) => {
                let schema = schema_of(&columns);
                notes.push(format!("columns told from the first lines of {name}: {}", describe(&schema)));
                Ok(SourceFormat::Json(schema))
            }
            Err(error) => {
                let message = format!("{}: {name}: {error}", cx.what());
                let help = "write the columns: schema = { user = \"string\" }, or read each line as one column of any JSON: \
                            schema = \"json\"";
                Err(Diagnostic::new("cannot-infer", message).at(self.span(cx)).help(help).into())
            }
        }
    }

    fn csv(
        &self,
        cx: &ConnectorCx<'_>,
        name: &str,
        columns: Columns,
        dialect: Dialect,
        sample: Option<&Path>,
        notes: &mut Vec<String>,
    ) -> Result<SourceFormat, Diagnostics> {
        let has_header = self.header.as_ref().is_none_or(|header| header.value);
        let bytes = sample.map(|path| read_sample(cx, path, &mut CsvFramer::new(dialect))).transpose()?;
        let columns = match columns {
            Columns::Given(columns) => columns,
            _ if !has_header => {
                let message = format!("{}: csv without a header needs the names of its fields", cx.what());
                let help = "write them in their order: schema = { id = \"int64\", name = \"string\" }";
                return Err(Diagnostic::new("cannot-infer", message).at(self.span(cx)).help(help).into());
            }
            how => {
                let Some(bytes) = &bytes else { return Err(self.no_sample(cx)) };
                let types = if matches!(how, Columns::Text) { FieldTypes::Text } else { FieldTypes::Guessed };
                let columns = csv::infer(bytes, dialect, types).map_err(|error| {
                    let message = format!("{}: {name}: {error}", cx.what());
                    let help = "the first record names the fields; if it does not: header = false and a schema";
                    Diagnostic::new("cannot-infer", message).at(self.span(cx)).help(help)
                })?;
                let told = describe(&schema_of(&columns));
                notes.push(format!("columns told from the first lines of {name}: {told}"));
                columns
            }
        };
        let schema = schema_of(&columns);
        let format = SourceFormat::Csv { schema, dialect, has_header };
        let mut decoder = format.new_decoder(None).map_err(|error| self.refused(cx, &error))?;
        // A header that lacks a column is a mistake in the flow.
        decoder.decode(&bytes.unwrap_or_default()).map_err(|error| self.refused(cx, &error))?;
        Ok(format)
    }

    fn span(&self, cx: &ConnectorCx<'_>) -> std::ops::Range<usize> {
        self.schema.as_ref().map_or(cx.span.clone(), |node| node.span.clone())
    }

    fn refused(&self, cx: &ConnectorCx<'_>, error: &FormatError) -> Diagnostics {
        Diagnostic::new("wrong-format", format!("{}: {error}", cx.what())).at(self.span(cx)).into()
    }

    fn no_sample(&self, cx: &ConnectorCx<'_>) -> Diagnostics {
        let message = format!("{}: the columns cannot be told before the flow runs", cx.what());
        let help = "write them: schema = { user = \"string\", value = \"float64\" }; or, for json, schema = \"json\"";
        Diagnostic::new("cannot-infer", message).at(self.span(cx)).help(help).into()
    }
}

/// Finds the format of rows of JSON that are known when the flow is checked; their columns are told from all of them.
///
/// # Errors
/// As for [`SourceFormatArgs::resolve`].
pub(in crate::connectors) fn rows_format(
    cx: &ConnectorCx<'_>,
    schema: Option<Node>,
    name: &str,
    rows: &[u8],
    notes: &mut Vec<String>,
) -> Result<SourceFormat, Diagnostics> {
    let args = SourceFormatArgs { format: None, schema, delimiter: None, header: None };
    match args.columns(cx, Name::Json)? {
        Columns::Given(columns) => args.given(cx, &columns),
        Columns::Infer => args.infer_rows(cx, name, rows, notes),
        Columns::Json | Columns::Text => Ok(SourceFormat::JsonValues),
    }
}

impl SourceFormat {
    /// The columns of the rows.
    pub fn schema(&self) -> SchemaRef {
        match self {
            SourceFormat::Lines => LinesDecoder::new().schema(),
            SourceFormat::JsonValues => JsonDecoder::values().schema(),
            SourceFormat::Json(schema) | SourceFormat::Csv { schema, .. } => schema.clone(),
        }
    }

    /// Makes what cuts a partition into records.
    pub fn framer(&self) -> Box<dyn Framer> {
        match self {
            SourceFormat::Csv { dialect, .. } => Box::new(CsvFramer::new(*dialect)),
            _ => Box::new(LineFramer),
        }
    }

    /// Makes what reads the records of a partition. `resumed` is the file, if its start is not read again.
    ///
    /// # Errors
    /// The header of the file cannot be read again.
    pub fn decoder(&self, resumed: Option<&Path>) -> Result<Box<dyn Decoder>, LogicError> {
        let names = match (self, resumed) {
            (SourceFormat::Csv { dialect, has_header: true, .. }, Some(path)) => {
                let sample = sample(path, &mut CsvFramer::new(*dialect));
                let sample =
                    sample.map_err(|error| LogicError::io(format!("cannot read {}", path.display()), &error))?;
                let header = csv::infer(&sample, *dialect, FieldTypes::Text);
                let header = header.map_err(|error| LogicError::user(format!("{}: {error}", path.display())))?;
                Some(header.into_iter().map(|(name, _)| name).collect())
            }
            _ => None,
        };
        self.new_decoder(names).map_err(|error| LogicError::internal(error.to_string()))
    }

    fn new_decoder(&self, header: Option<Vec<String>>) -> Result<Box<dyn Decoder>, FormatError> {
        Ok(match self {
            SourceFormat::Lines => Box::new(LinesDecoder::new()),
            SourceFormat::JsonValues => Box::new(JsonDecoder::values()),
            SourceFormat::Json(schema) => Box::new(JsonDecoder::columns(schema)?),
            SourceFormat::Csv { schema, dialect, has_header } => {
                let header = match header {
                    _ if !has_header => Header::Absent,
                    Some(names) => Header::Known(names),
                    None => Header::FirstRow,
                };
                Box::new(CsvDecoder::new(schema, *dialect, header)?)
            }
        })
    }
}

/// Reads a type as it is written for a column: text, or a table for a struct, or an array with the type of the items.
fn written_type(node: &Node, what: &str) -> Result<Type, Diagnostics> {
    let wrong = |message: String| {
        Diagnostics::from(Diagnostic::new("wrong-type", format!("{what}: {message}")).at(node.span.clone()))
    };
    match &node.value {
        Value::String(text) => text.parse().map_err(|error| wrong(format!("{error}"))),
        Value::Table(table) => {
            let members = table.iter().map(|entry| Ok((entry.key.clone(), written_type(&entry.node, what)?)));
            Ok(Type::Struct(members.collect::<Result<_, Diagnostics>>()?))
        }
        Value::Array(items) if items.len() == 1 => Ok(Type::List(Box::new(written_type(&items[0], what)?))),
        other => Err(wrong(format!("expected a type, found {}", other.describe()))),
    }
}

fn read_sample(cx: &ConnectorCx<'_>, path: &Path, framer: &mut dyn Framer) -> Result<Vec<u8>, Diagnostics> {
    sample(path, framer).map_err(|error| {
        let message = format!("{}: {} cannot be read: {error}", cx.what(), path.display());
        Diagnostic::new("io-unreadable", message).at(cx.span.clone()).into()
    })
}

/// Reads the first whole records of a file.
fn sample(path: &Path, framer: &mut dyn Framer) -> std::io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut bytes = Vec::with_capacity(BLOCK);
    let mut at_end = false;
    while bytes.len() < SAMPLE_BYTES && !at_end {
        let read = file.by_ref().take(BLOCK as u64).read_to_end(&mut bytes)?;
        at_end = read < BLOCK;
    }
    let feeds = memchr::memchr_iter(b'\n', &bytes).nth(SAMPLE_LINES - 1);
    if let Some(last) = feeds.filter(|last| last + 1 < bytes.len()) {
        bytes.truncate(last + 1);
        at_end = false;
    }
    // What is wrong with a record shows when it is read; here it only is no sample.
    let whole = framer.complete(&bytes, at_end).unwrap_or(0);
    bytes.truncate(whole);
    Ok(bytes)
}
