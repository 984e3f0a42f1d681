//! The format of a sink: how rows become text.

use super::{Name, dialect, ending, only_for_csv};
use crate::catalog::cx::ConnectorCx;
use crate::diag::{Diagnostic, Diagnostics};
use crate::formats::csv::{CsvEncoder, Dialect};
use crate::formats::json::JsonEncoder;
use crate::formats::lines::LinesEncoder;
use crate::formats::{Encoder, FormatError};
use crate::spec::Spanned;
use arrow::datatypes::SchemaRef;
use serde::Deserialize;

/// The arguments of a sink's format.
#[derive(Debug, Deserialize)]
pub(in crate::connectors) struct SinkFormatArgs {
    format: Option<Spanned<Name>>,
    delimiter: Option<Spanned<char>>,
    header: Option<Spanned<bool>>,
}

/// How rows become a sink's text.
#[derive(Clone, Debug)]
pub(in crate::connectors) enum SinkFormat {
    Lines,
    Json,
    Csv { dialect: Dialect, has_header: bool },
}

impl SinkFormatArgs {
    /// Finds the format of text that goes to something called `name`.
    ///
    /// # Errors
    /// The arguments do not go together, or the format cannot write the stream.
    pub fn resolve(&self, cx: &ConnectorCx<'_>, name: &str) -> Result<SinkFormat, Diagnostics> {
        let ending = ending(name);
        if ending == "parquet" && self.format.is_none() {
            let message = format!("{}: {name:?} is the name of a Parquet file", cx.what());
            let help = "write Parquet files into a folder with sink = { parquet = \"…\" }";
            return Err(Diagnostic::new("wrong-format", message).at(cx.span.clone()).help(help).into());
        }
        let format = self.format.as_ref().map(|format| format.value).unwrap_or(match ending.as_str() {
            "csv" | "tsv" => Name::Csv,
            "txt" => Name::Lines,
            _ => Name::Json,
        });
        let mut problems = only_for_csv(cx, format, self.delimiter.as_ref(), self.header.as_ref());
        let dialect = problems.take(dialect(cx, self.delimiter.as_ref(), &ending));
        let Some(dialect) = dialect.filter(|_| problems.is_empty()) else { return Err(problems) };
        let has_header = self.header.as_ref().is_none_or(|header| header.value);
        let format = match format {
            Name::Lines => SinkFormat::Lines,
            Name::Json => SinkFormat::Json,
            Name::Csv => SinkFormat::Csv { dialect, has_header },
        };
        let up = cx.up();
        match format.encoder(&up.schema, up.key.as_deref()) {
            Ok(_) => Ok(format),
            Err(error) => {
                let span = self.format.as_ref().map_or(cx.span.clone(), |format| format.span.clone());
                Err(Diagnostic::new("wrong-format", format!("{}: {error}", cx.what())).at(span).into())
            }
        }
    }
}

impl SinkFormat {
    /// Makes what writes the rows of one file.
    ///
    /// # Errors
    /// The format has no form for such rows.
    pub fn encoder(&self, schema: &SchemaRef, key: Option<&str>) -> Result<Box<dyn Encoder>, FormatError> {
        Ok(match self {
            SinkFormat::Lines => Box::new(LinesEncoder::new(schema)?),
            SinkFormat::Json => Box::new(JsonEncoder::new(schema, key)),
            SinkFormat::Csv { dialect, has_header: true } => Box::new(CsvEncoder::new(schema, key, *dialect)?),
            SinkFormat::Csv { dialect, has_header: false } => {
                Box::new(Headless(CsvEncoder::new(schema, key, *dialect)?))
            }
        })
    }

    /// What files of the format are called at the end.
    pub fn ending(&self) -> &'static str {
        match self {
            SinkFormat::Lines => "txt",
            SinkFormat::Json => "jsonl",
            SinkFormat::Csv { .. } => "csv",
        }
    }
}

/// An encoder whose header is left out.
struct Headless<E>(E);

impl<E: Encoder> Encoder for Headless<E> {
    fn encode(
        &mut self,
        rows: &arrow::array::RecordBatch,
        key: Option<&arrow::array::StringArray>,
        out: &mut Vec<u8>,
    ) -> Result<(), FormatError> {
        self.0.encode(rows, key, out)
    }
}
