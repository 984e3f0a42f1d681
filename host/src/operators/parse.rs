//! `parse`: reads the text of a column.

use super::cast;
use super::columns::{Extension, all_but};
use super::text;
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator, StreamType};
use crate::data::batch::Batch;
use crate::data::schema::{ParseTypeError, Type, describe, schema_of};
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::dead_letter::Kind;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::stateless::{Stateless, stateless};
use crate::dataflow::user_fn::RowError;
use crate::diag::{Diagnostic, Diagnostics};
use crate::formats::json::JsonDecoder;
use crate::formats::timestamp::{TimestampFormat, parse_date, parse_with};
use crate::formats::{Decoded, FormatError};
use crate::spec::{Spanned, Table, Value};
use arrow::array::{Array, ArrayRef, Date32Array, RecordBatch, StringArray, TimestampMicrosecondArray, UInt32Array};
use arrow::compute::take_record_batch;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

const MICROS_PER_DAY: i64 = 86_400_000_000;

/// The operator `parse`.
pub struct Parse;

#[derive(serde::Deserialize)]
struct Args {
    column: Option<Spanned<String>>,
    #[serde(rename = "as")]
    target: Spanned<String>,
    schema: Option<Spanned<Table>>,
    format: Option<Spanned<String>>,
    into: Option<Spanned<String>>,
    keep: Option<Spanned<bool>>,
}

impl Operator for Parse {
    fn name(&self) -> &'static str {
        "parse"
    }

    fn doc(&self) -> &'static str {
        r#"Reads the text of a column as JSON, as instants, or as values of another type.

- `as = "json"` with a `schema` reads objects: their members are the columns that the table names, and replace the row,
  or stand beside its columns with `keep = true`. Members that are not named are skipped, missing ones are null.
- `as = "json"` without a `schema` checks that the text is JSON and makes a column of type `json` of it.
- `as = "timestamp"` reads instants in a `format`: `"rfc3339"` (default), `"unix_s"`, `"unix_ms"`, `"unix_us"` (these
  also from columns of integers), or a pattern of strftime such as `"%d/%m/%Y %H:%M:%S"`. Without a zone it is UTC.
- `as = "date"` reads days, `2022-01-02` or in a pattern.
- Any other scalar type reads its values as `select` casts them.

A null stays null, except where it should be an object. A row whose text cannot be read is treated by `on_error`.

Arguments: `column`, the column to read, if there are several of text; `as`; `schema`, a table `column = "type"`;
`format`; `into`, the name of the column that is made, if it is not to replace the one that is read; `keep`.

Ports: `down`.

```toml
[[step]]
name = "events"
op = "parse"
as = "json"
schema = { user_id = "string", at = "timestamp", price = "float64" }
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let args: Args = cx.args()?;
        let mut problems = Diagnostics::new();
        let column = problems.take(find_column(cx, args.column.as_ref()));
        let target = problems.take(target(cx, &args, column.as_ref().map(|(_, ty)| ty)));
        problems.take(refuse_idle(cx, &args));
        let (Some((column, from)), Some(target), true) = (column, target, problems.is_empty()) else {
            return Err(problems);
        };
        let input = &cx.up().schema;
        let name = args.into.as_ref().map_or_else(|| input.field(column).name().clone(), |into| into.value.clone());
        let made = match &target {
            Target::Columns(schema) => schema.clone(),
            Target::Json => schema_of(&[(name, Type::Json)]),
            Target::Timestamp(_) => schema_of(&[(name, Type::Timestamp)]),
            Target::Date(_) => schema_of(&[(name, Type::Date)]),
            Target::Cast(ty) => schema_of(&[(name, ty.clone())]),
        };
        let replaces = matches!(target, Target::Columns(_)) && !args.keep.is_some_and(|keep| keep.value);
        let extension = (!replaces).then(|| Extension::new(input, &made));
        let schema = extension.as_ref().map_or_else(|| made.clone(), |extension| extension.schema.clone());
        let column = Column { index: column, name: input.field(column).name().clone(), ty: from };
        let down = StreamType { schema, key: cx.up().key.clone() };
        Ok(Checked::new(ParseStep { column, target, made, extension }).down(down))
    }
}

/// The column to read: the one named, or the only one of text.
fn find_column(cx: &CheckCx<'_>, name: Option<&Spanned<String>>) -> Result<(usize, Type), Diagnostics> {
    if let Some(name) = name {
        return cx.column(name);
    }
    let schema = &cx.up().schema;
    let texts = schema.fields().iter().enumerate().map(|(index, field)| (index, Type::of(field)));
    let texts: Vec<_> = texts.filter(|(_, ty)| *ty == Type::String).collect();
    <[_; 1]>::try_from(texts).map(|[only]| only).map_err(|texts| {
        let message = format!("{}: {} of its columns are text, wanted one", cx.what(), texts.len());
        let help = format!("name it: column = \"<column>\"; its rows are: {}", describe(schema));
        Diagnostic::new("no-column", message).at(cx.step.span.clone()).help(help).into()
    })
}

/// What text is read as.
#[derive(Clone, Debug)]
enum Target {
    /// An object with these columns.
    Columns(SchemaRef),
    Json,
    Timestamp(TimestampFormat),
    /// None: `2022-01-02`.
    Date(Option<TimestampFormat>),
    Cast(Type),
}

fn target(cx: &CheckCx<'_>, args: &Args, from: Option<&Type>) -> Result<Target, Diagnostics> {
    let wrong = |code, message: String| Diagnostic::new(code, format!("{}: {message}", cx.what()));
    let ty: Type = args
        .target
        .parse()
        .map_err(|error: ParseTypeError| wrong("wrong-type", error.to_string()).at(args.target.span.clone()))?;
    let format = match &args.format {
        None => None,
        Some(format) => Some(
            format
                .parse::<TimestampFormat>()
                .map_err(|error| wrong("wrong-format", error.to_string()).at(format.span.clone()))?,
        ),
    };
    let target = match (ty.clone(), &args.schema) {
        (Type::Json, Some(schema)) => Target::Columns(read_schema(cx, schema)?),
        (Type::Json, None) => Target::Json,
        (Type::Timestamp, _) => Target::Timestamp(format.clone().unwrap_or(TimestampFormat::Rfc3339)),
        (Type::Date, _) => Target::Date(format.clone()),
        (ty, _) => Target::Cast(ty),
    };
    let Some(from) = from else { return Ok(target) };
    let is_unix = matches!(
        format,
        Some(TimestampFormat::UnixSeconds | TimestampFormat::UnixMillis | TimestampFormat::UnixMicros)
    );
    let is_integer = matches!(from, Type::Int32 | Type::Int64 | Type::Uint32 | Type::Uint64);
    let possible = match &target {
        Target::Columns(_) | Target::Json => matches!(from, Type::String | Type::Json),
        Target::Timestamp(_) => *from == Type::String || is_integer && is_unix,
        Target::Date(_) => *from == Type::String,
        Target::Cast(ty) => *from == Type::String && cast::is_possible(from, ty),
    };
    if possible {
        return Ok(target);
    }
    let help = match (&target, is_integer) {
        (Target::Timestamp(_), true) => "say what the numbers count: format = \"unix_s\", \"unix_ms\" or \"unix_us\"",
        _ => "read a column of text; values of other types are cast by op = \"select\"",
    };
    let message = format!("a column of type {from} cannot be read as {ty}");
    let span = args.column.as_ref().map_or(args.target.span.clone(), |column| column.span.clone());
    Err(wrong("no-parse", message).at(span).help(help).into())
}

/// Reads the argument `schema`.
fn read_schema(cx: &CheckCx<'_>, schema: &Spanned<Table>) -> Result<SchemaRef, Diagnostics> {
    let mut problems = Diagnostics::new();
    let mut columns: Vec<(String, Type)> = Vec::new();
    for entry in &schema.value {
        let wrong = |message: String| {
            Diagnostic::new("wrong-type", format!("{}: column \"{}\": {message}", cx.what(), entry.key))
                .at(entry.node.span.clone())
        };
        match &entry.node.value {
            Value::String(text) => match text.parse() {
                Ok(ty) => columns.push((entry.key.clone(), ty)),
                Err(error) => {
                    let error: ParseTypeError = error;
                    problems.push(wrong(error.to_string()));
                }
            },
            other => problems.push(wrong(format!("expected a type, found {}", other.describe()))),
        }
    }
    if columns.is_empty() && problems.is_empty() {
        let help = "name columns and their types: schema = { user_id = \"string\" }";
        let message = format!("{}: the schema has no column", cx.what());
        problems.push(Diagnostic::new("missing-key", message).at(schema.span.clone()).help(help));
    }
    let schema_ref = schema_of(&columns);
    if let Err(error) = JsonDecoder::columns(&schema_ref) {
        let message = format!("{}: {error}", cx.what());
        problems.push(Diagnostic::new("wrong-type", message).at(schema.span.clone()));
    }
    problems.into_result(schema_ref)
}

/// Refuses arguments that would do nothing.
fn refuse_idle(cx: &CheckCx<'_>, args: &Args) -> Result<(), Diagnostics> {
    let mut problems = Diagnostics::new();
    let json = args.target.value == "json";
    let has_format = matches!(args.target.as_str(), "timestamp" | "date");
    let columns = json && args.schema.is_some();
    let idle = [
        ("schema", args.schema.as_ref().map(|schema| schema.span.clone()).filter(|_| !json), "as = \"json\""),
        (
            "format",
            args.format.as_ref().map(|format| format.span.clone()).filter(|_| !has_format),
            "as = \"timestamp\" or \"date\"",
        ),
        ("into", args.into.as_ref().map(|into| into.span.clone()).filter(|_| columns), "one column, not a schema"),
        ("keep", args.keep.as_ref().map(|keep| keep.span.clone()).filter(|_| !columns), "a schema"),
    ];
    for (key, span, goes_with) in idle {
        if let Some(span) = span {
            let message = format!("{}: \"{key}\" goes with {goes_with}", cx.what());
            problems.push(Diagnostic::new("unused-key", message).at(span).help("leave it out"));
        }
    }
    problems.into_result(())
}

#[derive(Clone, Debug)]
struct Column {
    index: usize,
    name: String,
    ty: Type,
}

impl Column {
    /// The rows of texts decoded, and why the other texts could not be.
    fn judged(&self, decoded: Decoded) -> (RecordBatch, Vec<RowError>) {
        let named = |message| format!("column \"{}\": {message}", self.name);
        let errors = decoded.errors.into_iter().map(|bad| RowError { row: bad.line, message: named(bad.message) });
        (decoded.rows, errors.collect())
    }

    /// Reads each text; what is null, or cannot be read, is null.
    fn each<T>(
        &self,
        texts: &StringArray,
        parse: impl Fn(&str) -> Result<T, String>,
    ) -> (Vec<Option<T>>, Vec<RowError>) {
        let mut errors = Vec::new();
        let values = (0..).zip(texts).map(|(row, text)| match text.map(&parse)? {
            Ok(value) => Some(value),
            Err(message) => {
                errors.push(RowError { row, message: format!("column \"{}\": {message}", self.name) });
                None
            }
        });
        let values = values.collect();
        (values, errors)
    }
}

struct ParseStep {
    column: Column,
    target: Target,
    /// The columns that are made.
    made: SchemaRef,
    /// How they stand beside the others; none: they replace the row.
    extension: Option<Extension>,
}

impl BuildStep for ParseStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let wrong = |error: FormatError| LogicError::internal(error.to_string());
        let reader = match &self.target {
            Target::Columns(schema) => Reader::Columns(JsonDecoder::columns(schema).map_err(wrong)?),
            Target::Json => Reader::Json(JsonDecoder::values()),
            Target::Timestamp(format) => Reader::Timestamp(format.clone()),
            Target::Date(format) => Reader::Date(format.clone()),
            Target::Cast(ty) => Reader::Cast(ty.clone()),
        };
        let (made, extension) = (self.made.clone(), self.extension.clone());
        Ok(stateless(cx, ups, 1, Parser { column: self.column.clone(), reader, made, extension }))
    }
}

struct Parser {
    column: Column,
    reader: Reader,
    made: SchemaRef,
    extension: Option<Extension>,
}

/// A [`Target`], ready to read.
enum Reader {
    Columns(JsonDecoder),
    Json(JsonDecoder),
    Timestamp(TimestampFormat),
    Date(Option<TimestampFormat>),
    Cast(Type),
}

impl Stateless for Parser {
    fn on_batch(&mut self, _input: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let batch = batch.compact()?;
        let (made, errors) = self.parse(batch.rows().column(self.column.index))?;
        out.fail_as(Kind::Parse, &batch, &errors)?;
        let kept = (!errors.is_empty()).then(|| all_but(batch.num_rows(), errors.iter().map(|error| error.row)));
        let kept = kept.as_deref();
        let rows = match &self.extension {
            Some(extension) => extension.rows(batch.rows(), &made, kept)?,
            None => made,
        };
        out.give(0, batch.derive(rows, kept)?);
        Ok(())
    }
}

impl Parser {
    /// Returns the columns made of the values that can be read, and why the others cannot.
    fn parse(&mut self, column: &ArrayRef) -> Result<(RecordBatch, Vec<RowError>), LogicError> {
        let texts = text::write(column, &self.column.ty)?;
        match &mut self.reader {
            Reader::Columns(decoder) => Ok(self.column.judged(decoder.decode_values(&texts))),
            Reader::Json(decoder) => {
                let (rows, errors) = self.column.judged(decoder.decode_values(&nulls_as_json(texts)));
                Ok((RecordBatch::try_new(self.made.clone(), rows.columns().to_vec())?, errors))
            }
            Reader::Timestamp(format) => {
                let parse = |text: &str| parse_with(format, text).map_err(|error| error.to_string());
                let (values, errors) = self.column.each(&texts, parse);
                let values = TimestampMicrosecondArray::from(values).with_timezone("UTC");
                self.without(Arc::new(values), errors)
            }
            Reader::Cast(ty) => {
                let after = cast::cast(column, &self.column.ty, ty)?;
                let errors = cast::refused(&self.column.name, column, &after, ty);
                self.without(after, errors)
            }
            Reader::Date(format) => {
                let (values, errors) = self.column.each(&texts, |text| day(format.as_ref(), text));
                self.without(Arc::new(Date32Array::from(values)), errors)
            }
        }
    }

    /// One column made, without the rows that failed.
    fn without(&self, column: ArrayRef, errors: Vec<RowError>) -> Result<(RecordBatch, Vec<RowError>), LogicError> {
        let rows = RecordBatch::try_new(self.made.clone(), vec![column])?;
        if errors.is_empty() {
            return Ok((rows, errors));
        }
        let kept = all_but(rows.num_rows(), errors.iter().map(|error| error.row));
        Ok((take_record_batch(&rows, &UInt32Array::from(kept))?, errors))
    }
}

fn day(format: Option<&TimestampFormat>, text: &str) -> Result<i32, String> {
    let days = match format {
        None => parse_date(text).ok_or_else(|| format!("expected a date like 2022-01-02, found {text:?}"))?,
        Some(format) => {
            let micros = parse_with(format, text).map_err(|error| error.to_string())?;
            i32::try_from(micros.div_euclid(MICROS_PER_DAY)).map_err(|_| format!("{text:?} is no day"))?
        }
    };
    Ok(days)
}

/// Texts with `null` where there is none, as JSON has it.
fn nulls_as_json(texts: StringArray) -> StringArray {
    if texts.null_count() == 0 {
        return texts;
    }
    texts.iter().map(|text| Some(text.unwrap_or("null"))).collect()
}
