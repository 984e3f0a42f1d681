//! One field into its column.

use crate::formats::column::ColumnBuilder;
use crate::formats::json::{NotBytes, Short, append_base64, append_value, wanted};
use crate::formats::timestamp;

/// Appends a field, or says why its column does not take it. Lists, structs and `json` are JSON, bytes are base64.
pub(crate) fn append_field(column: &mut ColumnBuilder, text: &str) -> Result<(), String> {
    if let ColumnBuilder::String(column) = column {
        return column.append(text).map_err(|full| full.to_string());
    }
    let text = text.trim_ascii();
    if text.is_empty() {
        column.append_null();
        return Ok(());
    }
    let is_taken = match column {
        ColumnBuilder::Bool(column) => parse_bool(text).map(|value| column.append(value)),
        ColumnBuilder::Int32(column) => text.parse().ok().map(|number| column.append(number)),
        ColumnBuilder::Int64(column) => text.parse().ok().map(|number| column.append(number)),
        ColumnBuilder::Uint32(column) => text.parse().ok().map(|number| column.append(number)),
        ColumnBuilder::Uint64(column) => text.parse().ok().map(|number| column.append(number)),
        ColumnBuilder::Float32(column) => text.parse().ok().map(|number| column.append(number)),
        ColumnBuilder::Float64(column) => text.parse().ok().map(|number| column.append(number)),
        ColumnBuilder::Timestamp(column) => timestamp::parse(text).map(|micros| column.append(micros)),
        ColumnBuilder::Date(column) => timestamp::parse_date(text).map(|days| column.append(days)),
        ColumnBuilder::Binary(column) => match append_base64(column, text) {
            Ok(()) => Some(()),
            Err(NotBytes::Alphabet) => None,
            Err(NotBytes::Full(full)) => return Err(full.to_string()),
        },
        ColumnBuilder::String(_) => unreachable!("strings are taken above"),
        ColumnBuilder::Json(_) | ColumnBuilder::List(_) | ColumnBuilder::Struct(_) => {
            return append_value(column, text);
        }
    };
    is_taken.ok_or_else(|| format!("expected {}, found {}", wanted(column), Short(text)))
}

/// Reads `true` and `false` in any case: spreadsheets write them in capitals.
pub(crate) fn parse_bool(text: &str) -> Option<bool> {
    let is = |word| text.eq_ignore_ascii_case(word);
    if is("true") { Some(true) } else { is("false").then_some(false) }
}
