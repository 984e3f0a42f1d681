//! SQL over what a store keeps. The tables are filled from the decoded store, in memory: whatever a query does, the store
//! is not touched.

use crate::recovery::error::StoreError;
use crate::recovery::look::{Kept, State, View, printable, time_text};
use rusqlite::limits::Limit;
use rusqlite::types::ValueRef;
use rusqlite::{Connection, params};

/// The tables of a query, as SQL.
pub const TABLES: &str = "\
CREATE TABLE state(step TEXT, key TEXT, epoch INTEGER, bytes INTEGER, value BLOB, text TEXT);
CREATE TABLE sources(step TEXT, part TEXT, epoch INTEGER, position BLOB, text TEXT);
CREATE TABLE sinks(step TEXT, part TEXT, epoch INTEGER, manifest BLOB, text TEXT);
CREATE TABLE executions(execution INTEGER, started_at TEXT, workers INTEGER, resumed_from INTEGER, wxhost TEXT);
CREATE TABLE epochs(epoch INTEGER, execution INTEGER, sealed_at TEXT);
CREATE TABLE steps(step TEXT, kind TEXT, keys INTEGER, bytes INTEGER, newest INTEGER);
";

/// A value of a query's result.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum QueryError {
    /// The query is wrong; in SQLite's words.
    #[error("{0}")]
    Sql(String),
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Runs a query over a store. `columns` is called once with their names, `each` for each row of the result.
///
/// # Errors
/// The query is wrong, or would change something; or the store is damaged.
pub fn query(
    view: &View,
    sql: &str,
    columns: &mut dyn FnMut(&[&str]),
    each: &mut dyn FnMut(Vec<Cell>),
) -> Result<(), QueryError> {
    let wrong = |error: rusqlite::Error| QueryError::Sql(in_words(&error));
    let connection = Connection::open_in_memory().map_err(wrong)?;
    connection.execute_batch(TABLES).map_err(wrong)?;
    // A query that is wrong is refused before the store is read.
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0).map_err(wrong)?;
    let prepared = connection.prepare(sql).map_err(wrong)?;
    if !prepared.readonly() {
        return Err(QueryError::Sql("the query would change something; only SELECT is allowed".to_owned()));
    }
    if prepared.column_count() == 0 {
        return Err(QueryError::Sql("the query has no result".to_owned()));
    }
    drop(prepared);
    let names = sql.to_lowercase();
    fill(&connection, view, &|table| names.contains(table))?;
    connection.pragma_update(None, "query_only", true).map_err(wrong)?;
    let mut statement = connection.prepare(sql).map_err(wrong)?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    columns(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let mut rows = statement.query([]).map_err(wrong)?;
    while let Some(row) = rows.next().map_err(wrong)? {
        let cells = (0..names.len()).map(|at| row.get_ref(at).map(Cell::from)).collect::<Result<_, _>>();
        each(cells.map_err(wrong)?);
    }
    Ok(())
}

/// Fills the tables that the query names.
fn fill(connection: &Connection, view: &View, is_named: &dyn Fn(&str) -> bool) -> Result<(), QueryError> {
    let failed = |error: rusqlite::Error| QueryError::Sql(in_words(&error));
    connection.execute_batch("BEGIN").map_err(failed)?;
    if is_named("state") {
        let mut insert = connection.prepare("INSERT INTO state VALUES (?1, ?2, ?3, ?4, ?5, ?6)").map_err(failed)?;
        for step in view.steps() {
            view.states(&step.id, None, &mut |State { key, epoch, value }| {
                let numbers = [epoch.0, value.len() as u64].map(u64::cast_signed);
                let row = params![&*step.id.0, key, numbers[0], numbers[1], value, printable(value)];
                insert.execute(row).map(drop).map_err(failed)
            })?;
        }
    }
    for (table, is_source) in [("sources", true), ("sinks", false)] {
        let sql = format!("INSERT INTO {table} VALUES (?1, ?2, ?3, ?4, ?5)");
        let mut insert = connection.prepare(&sql).map_err(failed)?;
        for step in view.steps() {
            let kept = if is_source { view.sources(&step.id)? } else { view.sinks(&step.id)? };
            for Kept { part, epoch, bytes } in kept {
                let row = params![&*step.id.0, &*part.0, epoch.0.cast_signed(), bytes, printable(&bytes)];
                insert.execute(row).map_err(failed)?;
            }
        }
    }
    let mut insert = connection.prepare("INSERT INTO executions VALUES (?1, ?2, ?3, ?4, ?5)").map_err(failed)?;
    for execution in view.executions() {
        let numbers = [execution.number, execution.workers, execution.resume.0].map(u64::cast_signed);
        let at = time_text(execution.started_at);
        insert.execute(params![numbers[0], at, numbers[1], numbers[2], execution.wxhost]).map_err(failed)?;
    }
    let mut insert = connection.prepare("INSERT INTO epochs VALUES (?1, ?2, ?3)").map_err(failed)?;
    for sealed in view.sealed() {
        let numbers = [sealed.epoch.0, sealed.execution].map(u64::cast_signed);
        insert.execute(params![numbers[0], numbers[1], time_text(sealed.at)]).map_err(failed)?;
    }
    if is_named("steps") {
        let mut insert = connection.prepare("INSERT INTO steps VALUES (?1, ?2, ?3, ?4, ?5)").map_err(failed)?;
        for step in view.steps() {
            let sums = view.sums(&step.id)?;
            let [keys, bytes, newest] = [sums.keys, sums.bytes, sums.newest.0].map(u64::cast_signed);
            insert.execute(params![&*step.id.0, step.kind, keys, bytes, newest]).map_err(failed)?;
        }
    }
    connection.execute_batch("COMMIT").map_err(failed)
}

fn in_words(error: &rusqlite::Error) -> String {
    match error {
        rusqlite::Error::SqliteFailure(_, Some(message)) => message.clone(),
        rusqlite::Error::SqlInputError { msg, .. } => msg.clone(),
        rusqlite::Error::MultipleStatement => "there is more than one statement".to_owned(),
        error => error.to_string(),
    }
}

impl From<ValueRef<'_>> for Cell {
    fn from(value: ValueRef<'_>) -> Cell {
        match value {
            ValueRef::Null => Cell::Null,
            ValueRef::Integer(number) => Cell::Integer(number),
            ValueRef::Real(number) => Cell::Real(number),
            ValueRef::Text(text) => Cell::Text(String::from_utf8_lossy(text).into_owned()),
            ValueRef::Blob(bytes) => Cell::Blob(bytes.to_vec()),
        }
    }
}
