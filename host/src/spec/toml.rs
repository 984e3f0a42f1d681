//! From text to [`Table`]: the only file that knows the TOML library.

use ::toml::Spanned;
use ::toml::de::{DeTable, DeValue, Error};

use super::node::{Entry, Node, Table, Value};
use crate::diag::{Diagnostic, Diagnostics};

/// Deeper values are refused. The library bounds brackets and dotted keys alone, but not their product, which is deep
/// enough for a recursion to exhaust the stack.
const DEEPEST: usize = 64;

/// One mistake can be followed by nonsense to the end of the file.
const MOST_ERRORS: usize = 20;

/// Reads the syntax of a flow file and reports every error in it.
pub(super) fn parse(text: &str) -> Result<Table, Diagnostics> {
    let (document, errors) = DeTable::parse_recoverable(text);
    let document = document.into_inner();
    if is_too_deep(&document) {
        dismantle(document);
        return Err(Diagnostic::new("syntax", format!("values are nested more than {DEEPEST} deep")).into());
    }
    if !errors.is_empty() {
        return Err(syntax_errors(text, errors));
    }
    let mut problems = Diagnostics::new();
    let table = convert_table(document, &mut problems);
    problems.into_result(table)
}

fn syntax_errors(text: &str, mut errors: Vec<Error>) -> Diagnostics {
    let start = |error: &Error| error.span().map_or(0, |span| span.start.min(text.len()));
    errors.sort_by_key(start);
    // What follows on a line that is already wrong is mostly an echo of the first error.
    errors.dedup_by(|error, kept| !text.as_bytes()[start(kept)..start(error)].contains(&b'\n'));
    let left_out = errors.len().saturating_sub(MOST_ERRORS);
    let mut problems: Diagnostics = errors.iter().take(MOST_ERRORS).map(|error| syntax_error(text, error)).collect();
    if left_out > 0 {
        problems.push(
            Diagnostic::new("syntax", format!("{left_out} more syntax errors are not shown"))
                .at(text.len()..text.len()),
        );
    }
    problems
}

fn syntax_error(text: &str, error: &Error) -> Diagnostic {
    let span = error.span();
    let written = span.clone().and_then(|span| text.get(span)).unwrap_or_default();
    let diagnostic = match error.message() {
        "duplicate key" if !written.is_empty() => {
            Diagnostic::new("syntax", format!("key {written:?} is written twice in one table"))
        }
        // The library takes nothing at all for a string without its quotes.
        "string values must be quoted, expected literal string" if written.trim().is_empty() => {
            Diagnostic::new("syntax", "missing value")
        }
        message => Diagnostic::new("syntax", message),
    };
    Diagnostic { span, ..diagnostic }
}

fn is_too_deep(document: &DeTable<'_>) -> bool {
    let mut open: Vec<_> = document.values().map(|value| (1, value)).collect();
    while let Some((depth, value)) = open.pop() {
        if depth > DEEPEST {
            return true;
        }
        match value.get_ref() {
            DeValue::Array(values) => open.extend(values.iter().map(|value| (depth + 1, value))),
            DeValue::Table(table) => open.extend(table.values().map(|value| (depth + 1, value))),
            _ => {}
        }
    }
    false
}

// Dropping a value drops what is in it by recursion.
fn dismantle(document: DeTable<'_>) {
    let mut open: Vec<_> = document.into_iter().map(|(_, value)| value).collect();
    while let Some(value) = open.pop() {
        match value.into_inner() {
            DeValue::Array(values) => open.extend(values),
            DeValue::Table(table) => open.extend(table.into_iter().map(|(_, value)| value)),
            _ => {}
        }
    }
}

fn convert_table(table: DeTable<'_>, problems: &mut Diagnostics) -> Table {
    let mut entries: Vec<_> = table
        .into_iter()
        .map(|(key, value)| {
            let key_span = key.span();
            Entry { key: key.into_inner().into_owned(), key_span, node: convert(value, problems) }
        })
        .collect();
    // The library sorts by name.
    entries.sort_by_key(|entry| entry.key_span.start);
    entries.into_iter().collect()
}

fn convert(value: Spanned<DeValue<'_>>, problems: &mut Diagnostics) -> Node {
    let span = value.span();
    let value = match value.into_inner() {
        DeValue::String(text) => Value::String(text.into_owned()),
        DeValue::Integer(integer) => match i64::from_str_radix(integer.as_str(), integer.radix()) {
            Ok(integer) => Value::Integer(integer),
            Err(_) => {
                let message = format!("integer {integer} does not fit into 64 bits with a sign");
                problems.push(Diagnostic::new("syntax", message).at(span.clone()));
                Value::Integer(0)
            }
        },
        DeValue::Float(float) => match float.as_str().parse::<f64>() {
            Ok(number) if number.is_finite() || float.as_str().contains("inf") || number.is_nan() => {
                Value::Float(number)
            }
            _ => {
                let message = format!("number {float} does not fit into 64 bits");
                problems.push(Diagnostic::new("syntax", message).at(span.clone()));
                Value::Float(0.0)
            }
        },
        DeValue::Boolean(bool) => Value::Bool(bool),
        DeValue::Datetime(mut datetime) => {
            // TOML lets seconds be left out, RFC 3339 does not.
            if let Some(time) = &mut datetime.time {
                time.second.get_or_insert(0);
            }
            Value::Datetime(datetime.to_string())
        }
        DeValue::Array(values) => Value::Array(values.into_iter().map(|value| convert(value, problems)).collect()),
        DeValue::Table(table) => Value::Table(convert_table(table, problems)),
    };
    Node { span, value }
}
