//! `wxhost recovery sql`.

use super::table::Table;
use super::{Print, cut, open, to_base64, to_hex};
use crate::cli::Output;
use crate::cli::exit::Failure;
use crate::recovery::sqlite::query::{Cell, QueryError, query};
use serde_json::{Map, Value};
use std::path::Path;

/// The beginning of a text or of bytes that is shown in a table, in characters.
const VALUE: usize = 64;

/// What can be asked.
pub const HELP: &str = "\
Tables, as they are at the end of the epoch:
  state(step, key, epoch, bytes, value, text)    keys that have a state, epoch of the last change
  sources(step, part, epoch, position, text)     the newest position of each partition
  sinks(step, part, epoch, manifest, text)       the manifests that are not forgotten
  executions(execution, started_at, workers, resumed_from, wxhost)
  epochs(epoch, execution, sealed_at)            from the floor on
  steps(step, kind, keys, bytes, newest)

text is the value where it is text. The tables are made in memory, so the states of the store must fit there if the \
query names \"state\". With --format json a row is an object a line, bytes in base64.

  wxhost recovery sql --recovery DIR \"SELECT step, count(*), sum(bytes) FROM state GROUP BY step\"";

#[derive(clap::Args)]
pub struct Args {
    /// The query, in the SQL of SQLite
    query: String,

    /// As it was at the end of this epoch [default: the newest that is durable]
    #[arg(long, value_name = "N")]
    epoch: Option<u64>,
}

/// Prints the result of a query.
///
/// # Errors
/// The store is in use, damaged or not there; or the query is wrong.
pub fn sql(folder: &Path, args: &Args, output: Output, print: Print<'_>) -> Result<(), Failure> {
    let view = open(folder, args.epoch)?;
    let mut names = Vec::new();
    let mut rows = Vec::new();
    let mut columns = |found: &[&str]| names.extend(found.iter().map(|&name| name.to_owned()));
    query(&view, &args.query, &mut columns, &mut |row| rows.push(row)).map_err(|error| match error {
        QueryError::Store(error) => error.into(),
        QueryError::Sql(message) => {
            let help = "\"wxhost recovery sql --help\" lists the tables".to_owned();
            Failure::Usage { message: format!("SQL: {message}"), help }
        }
    })?;
    if output.is_json() {
        for row in rows {
            let object: Map<String, Value> = names.iter().cloned().zip(row.into_iter().map(to_json)).collect();
            print(&format!("{}\n", Value::Object(object)))?;
        }
        return Ok(());
    }
    let is_number =
        |column: usize| rows.iter().all(|row| matches!(row[column], Cell::Null | Cell::Integer(_) | Cell::Real(_)));
    let titles: Vec<String> = names
        .iter()
        .enumerate()
        .map(|(column, name)| if is_number(column) { format!(">{name}") } else { name.clone() })
        .collect();
    let titles: Vec<&str> = titles.iter().map(String::as_str).collect();
    let mut table = Table::new("", &titles);
    for row in rows {
        table.push(row.into_iter().map(to_text).collect(), print)?;
    }
    table.flush(print)
}

fn to_text(cell: Cell) -> String {
    match cell {
        Cell::Null => "NULL".to_owned(),
        Cell::Integer(number) => number.to_string(),
        Cell::Real(number) => number.to_string(),
        Cell::Text(text) => cut(text.replace('\n', "\\n"), VALUE),
        Cell::Blob(bytes) => cut(to_hex(&bytes), VALUE),
    }
}

fn to_json(cell: Cell) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => number.into(),
        Cell::Real(number) => number.into(),
        Cell::Text(text) => text.into(),
        Cell::Blob(bytes) => to_base64(&bytes).into(),
    }
}
