//! The arguments with which connectors of text say how rows are written in it, and the formats that come of them.

mod sink;
mod source;

use crate::catalog::cx::ConnectorCx;
use crate::diag::{Diagnostic, Diagnostics};
use crate::formats::csv::Dialect;
use crate::spec::Spanned;
use serde::Deserialize;
use std::path::Path;

pub(super) use sink::{SinkFormat, SinkFormatArgs};
pub(super) use source::{SourceFormat, SourceFormatArgs, rows_format};

/// What the reference of a source says of the arguments below.
macro_rules! source_format_doc {
    () => {
        "- `format`: `\"lines\"` (one column `value`), `\"json\"` (JSON lines: an object a line) or `\"csv\"`. Default: by the
  ending of the name (`.json`, `.jsonl`, `.ndjson`: json; `.csv`, `.tsv`: csv; else lines).
- `schema`: the columns of json and csv, such as `{ user = \"string\", value = \"float64\", tags = \"list<string>\" }`. Types
  are bool, int32, int64, uint32, uint64, float32, float64, string, binary, timestamp, date, json, `list<…>` and
  `struct<name: …>`. Default: `\"infer\"`, from the first 1,000 lines of the (first) file when the flow is checked.
  `\"json\"`: each line is one column `value` of any JSON. `\"text\"`: all columns of csv are strings.
- `delimiter` (default `\",\"`, with `.tsv` a tab) and `header` (default true): of csv. Without a header, `schema` names the
  fields in their order.
"
    };
}

/// As [`source_format_doc`], of a sink.
macro_rules! sink_format_doc {
    () => {
        "- `format`: `\"json\"` (JSON lines), `\"csv\"` or `\"lines\"` (rows of one column of text). Default: by the ending of the
  name (`.csv`, `.tsv`: csv; `.txt`: lines), else json.
- `delimiter` (default `\",\"`, with `.tsv` a tab) and `header` (default true): of csv.
"
    };
}

pub(super) use {sink_format_doc, source_format_doc};

/// The name of a format of text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Name {
    Lines,
    Json,
    Csv,
}

fn only_for_csv(
    cx: &ConnectorCx<'_>,
    format: Name,
    delimiter: Option<&Spanned<char>>,
    header: Option<&Spanned<bool>>,
) -> Diagnostics {
    let delimiter = delimiter.map(|delimiter| ("delimiter", &delimiter.span));
    let given = delimiter.into_iter().chain(header.map(|header| ("header", &header.span)));
    let wrong = given.filter(|_| format != Name::Csv).map(|(key, span)| {
        let message = format!("{}: \"{key}\" is for csv only", cx.what());
        Diagnostic::new("wrong-key", message).at(span.clone()).help("leave it out, or write format = \"csv\"")
    });
    wrong.collect()
}

fn dialect(cx: &ConnectorCx<'_>, delimiter: Option<&Spanned<char>>, ending: &str) -> Result<Dialect, Diagnostics> {
    let Some(delimiter) = delimiter else {
        let default = if ending == "tsv" { Dialect::new('\t', Some('"')) } else { Ok(Dialect::default()) };
        return Ok(default.expect("a tab can separate fields"));
    };
    Dialect::new(delimiter.value, Some('"')).map_err(|error| {
        Diagnostic::new("wrong-value", format!("{}: {error}", cx.what())).at(delimiter.span.clone()).into()
    })
}

fn ending(name: &str) -> String {
    Path::new(name).extension().map(|ending| ending.to_string_lossy().to_lowercase()).unwrap_or_default()
}
