//! JSON values straight into columns: no tree, no allocation per value.
//!
//! The parser calls the visitor here with each value it meets, and the visitor appends it to the column whose turn it
//! is. What fails is told twice: to the parser by an empty error, which stops it, and to [`Refusal`], which knows the
//! column and the value.

use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use sonic_rs::LazyValue;

use crate::formats::base64;
use crate::formats::column::{ColumnBuilder, Full, StructColumn};
use crate::formats::json::check::check;
use crate::formats::timestamp;

/// Appends the value of a JSON text to a column. On failure the column holds what [`ColumnBuilder::truncate`] undoes.
pub(crate) fn append_value(column: &mut ColumnBuilder, text: &str) -> Result<(), String> {
    check(text)?;
    let mut refusal = Refusal::default();
    let mut parser = sonic_rs::Deserializer::from_str(text);
    let result = ValueSeed { column, refusal: &mut refusal }.deserialize(&mut parser).and_then(|()| parser.end());
    result.map_err(|error| refusal.message(&error))
}

/// Appends the members of a JSON object to the columns of a row. On failure [`StructColumn::truncate`] undoes it.
pub(crate) fn append_row(row: &mut StructColumn, text: &str) -> Result<(), String> {
    check(text)?;
    let mut refusal = Refusal::default();
    let mut parser = sonic_rs::Deserializer::from_str(text);
    let visitor = RowVisitor { row, refusal: &mut refusal };
    let result = parser.deserialize_any(visitor).and_then(|()| parser.end());
    result.map_err(|error| refusal.message(&error))
}

/// Checks that a text is one JSON value.
pub(crate) fn check_value(text: &str) -> Result<(), String> {
    check(text)?;
    let mut parser = sonic_rs::Deserializer::from_str(text);
    let result = IgnoredAny::deserialize(&mut parser).and_then(|_| parser.end());
    result.map_err(|error| syntax_message(&error))
}

/// Says why the parser gave up, and where.
pub(crate) fn syntax_message(error: &sonic_rs::Error) -> String {
    let text = error.to_string();
    // What follows is the place, which is written shorter here, and a picture of several lines.
    let reason = text.split(" at line ").next().unwrap_or(&text);
    let reason = reason.replace("Expected this character to be", "expected").replace(" while parsing", "");
    let reason = match reason.split_at_checked(1) {
        Some(("E", "OF")) => "it ends too early".to_owned(),
        Some(("J", "SON has a comma after the last value in an array or object")) => "a comma too many".to_owned(),
        Some(("J", _)) => "something follows the value".to_owned(),
        Some((first, rest)) => format!("{}{rest}", first.to_ascii_lowercase()),
        None => reason,
    };
    match error.line() {
        0 | 1 => format!("invalid JSON at column {}: {reason}", error.column()),
        line => format!("invalid JSON at line {line} column {}: {reason}", error.column()),
    }
}

/// A value that its column does not take.
#[derive(Default)]
struct Refusal {
    reason: Option<String>,
    /// The way to the column, from the value up.
    path: Vec<String>,
}

impl Refusal {
    #[cold]
    fn refuse<E: Error>(&mut self, reason: String) -> E {
        self.reason = Some(reason);
        E::custom("")
    }

    fn message(&self, error: &sonic_rs::Error) -> String {
        match &self.reason {
            None => syntax_message(error),
            Some(reason) if self.path.is_empty() => reason.clone(),
            Some(reason) => {
                let path: String = self.path.iter().rev().map(String::as_str).collect();
                format!("column {:?}: {reason}", path.trim_start_matches('.'))
            }
        }
    }
}

/// Where the next value goes.
struct ValueSeed<'a> {
    column: &'a mut ColumnBuilder,
    refusal: &'a mut Refusal,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = ();

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<(), D::Error> {
        let ColumnBuilder::Json(column) = self.column else { return parser.deserialize_any(self) };
        let value = LazyValue::deserialize(parser)?;
        match value.as_raw_str() {
            "null" => self.column.append_null(),
            raw => column.append(raw).map_err(|full| self.refusal.refuse(full.to_string()))?,
        }
        Ok(())
    }
}

impl ValueSeed<'_> {
    #[cold]
    fn mismatch<E: Error>(self, found: impl fmt::Display) -> Result<(), E> {
        Err(self.refusal.refuse(format!("expected {}, found {found}", wanted(self.column))))
    }

    #[cold]
    fn misfit<E: Error>(self, number: impl fmt::Display) -> Result<(), E> {
        Err(self.refusal.refuse(format!("number {number} does not fit {}", wanted(self.column))))
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(wanted(self.column))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.column.append_null();
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        match self.column {
            ColumnBuilder::Bool(column) => column.append(value),
            _ => return self.mismatch(value),
        }
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        match self.column {
            ColumnBuilder::Int64(column) => match i64::try_from(value) {
                Ok(value) => column.append(value),
                Err(_) => return self.misfit(value),
            },
            ColumnBuilder::Float64(column) => column.append(value as f64),
            ColumnBuilder::Uint64(column) => column.append(value),
            ColumnBuilder::Int32(column) => match i32::try_from(value) {
                Ok(value) => column.append(value),
                Err(_) => return self.misfit(value),
            },
            ColumnBuilder::Uint32(column) => match u32::try_from(value) {
                Ok(value) => column.append(value),
                Err(_) => return self.misfit(value),
            },
            ColumnBuilder::Float32(column) => column.append(value as f32),
            _ => return self.mismatch(format_args!("number {value}")),
        }
        Ok(())
    }

    /// Called with negative numbers only.
    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        match self.column {
            ColumnBuilder::Int64(column) => column.append(value),
            ColumnBuilder::Float64(column) => column.append(value as f64),
            ColumnBuilder::Int32(column) => match i32::try_from(value) {
                Ok(value) => column.append(value),
                Err(_) => return self.misfit(value),
            },
            ColumnBuilder::Float32(column) => column.append(value as f32),
            ColumnBuilder::Uint32(_) | ColumnBuilder::Uint64(_) => return self.misfit(value),
            _ => return self.mismatch(format_args!("number {value}")),
        }
        Ok(())
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        match self.column {
            ColumnBuilder::Float64(column) => column.append(value),
            ColumnBuilder::Float32(column) => match value as f32 {
                narrow if narrow.is_infinite() => return self.misfit(value),
                narrow => column.append(narrow),
            },
            _ => return self.mismatch(format_args!("number {value:?}")),
        }
        Ok(())
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        let written = match self.column {
            ColumnBuilder::String(column) => column.append(value),
            ColumnBuilder::Timestamp(column) => match timestamp::parse(value) {
                Some(micros) => {
                    column.append(micros);
                    Ok(())
                }
                None => return self.mismatch(format_args!("string {}", Short(value))),
            },
            ColumnBuilder::Date(column) => match timestamp::parse_date(value) {
                Some(days) => {
                    column.append(days);
                    Ok(())
                }
                None => return self.mismatch(format_args!("string {}", Short(value))),
            },
            ColumnBuilder::Binary(column) => match append_base64(column, value) {
                Ok(()) => Ok(()),
                Err(NotBytes::Full(full)) => Err(full),
                Err(NotBytes::Alphabet) => return self.mismatch(format_args!("string {}", Short(value))),
            },
            _ => return self.mismatch(format_args!("string {}", Short(value))),
        };
        written.map_err(|full| self.refusal.refuse(full.to_string()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let ColumnBuilder::List(list) = self.column else { return self.mismatch("a list") };
        let refusal = self.refusal;
        let mut index = 0_usize;
        loop {
            match items.next_element_seed(ValueSeed { column: &mut list.items, refusal: &mut *refusal }) {
                Ok(Some(())) => index += 1,
                Ok(None) => break,
                Err(error) => {
                    refusal.path.push(format!("[{index}]"));
                    return Err(error);
                }
            }
        }
        list.end().map_err(|full| refusal.refuse(full.to_string()))
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        match self.column {
            ColumnBuilder::Struct(row) => visit_members(row, self.refusal, members),
            _ => self.mismatch("an object"),
        }
    }
}

/// Takes an object as a row, and nothing else: a row cannot be null.
struct RowVisitor<'a> {
    row: &'a mut StructColumn,
    refusal: &'a mut Refusal,
}

impl RowVisitor<'_> {
    #[cold]
    fn mismatch<E: Error>(self, found: impl fmt::Display) -> Result<(), E> {
        Err(self.refusal.refuse(format!("expected an object, found {found}")))
    }
}

impl<'de> Visitor<'de> for RowVisitor<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.mismatch("null")
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.mismatch(value)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.mismatch(format_args!("number {value}"))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.mismatch(format_args!("number {value}"))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        self.mismatch(format_args!("number {value:?}"))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        self.mismatch(format_args!("string {}", Short(value)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        self.mismatch("a list")
    }

    fn visit_map<A: MapAccess<'de>>(self, members: A) -> Result<(), A::Error> {
        visit_members(self.row, self.refusal, members)
    }
}

/// Appends an object: a missing member is null, an unknown one is skipped, of a repeated one the last holds.
fn visit_members<'de, A: MapAccess<'de>>(
    row: &mut StructColumn,
    refusal: &mut Refusal,
    mut members: A,
) -> Result<(), A::Error> {
    let rows = row.len();
    let mut previous = row.names.start();
    let mut count = 0;
    while let Some(found) = members.next_key_seed(KeySeed { row, previous })? {
        let Some(member) = found else {
            members.next_value::<IgnoredAny>()?;
            continue;
        };
        let column = &mut row.columns[member];
        if column.len() > rows {
            column.truncate(rows);
        } else {
            count += 1;
        }
        if let Err(error) = members.next_value_seed(ValueSeed { column, refusal: &mut *refusal }) {
            refusal.path.push(format!(".{}", row.names.name(member)));
            return Err(error);
        }
        previous = member;
    }
    if count < row.columns.len() {
        row.columns.iter_mut().filter(|column| column.len() == rows).for_each(ColumnBuilder::append_null);
    }
    row.end();
    Ok(())
}

/// Finds the member that a key names.
struct KeySeed<'a> {
    row: &'a mut StructColumn,
    previous: usize,
}

impl<'de> DeserializeSeed<'de> for KeySeed<'_> {
    type Value = Option<usize>;

    #[inline]
    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Option<usize>, D::Error> {
        parser.deserialize_str(self)
    }
}

impl Visitor<'_> for KeySeed<'_> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    #[inline]
    fn visit_str<E: Error>(self, key: &str) -> Result<Option<usize>, E> {
        Ok(self.row.names.find(self.previous, key))
    }
}

/// Why a text did not become bytes.
pub(crate) enum NotBytes {
    Alphabet,
    Full(Full),
}

impl From<Full> for NotBytes {
    fn from(full: Full) -> NotBytes {
        NotBytes::Full(full)
    }
}

/// Appends what a text in base64 stands for.
pub(crate) fn append_base64(column: &mut crate::formats::column::BytesColumn, text: &str) -> Result<(), NotBytes> {
    column.append_with(|out| if base64::decode(text.as_bytes(), out) { Ok(()) } else { Err(NotBytes::Alphabet) })
}

/// Names, for messages, what a column takes.
pub(crate) fn wanted(column: &ColumnBuilder) -> &'static str {
    match column {
        ColumnBuilder::Bool(_) => "bool",
        ColumnBuilder::Int32(_) => "int32",
        ColumnBuilder::Int64(_) => "int64",
        ColumnBuilder::Uint32(_) => "uint32",
        ColumnBuilder::Uint64(_) => "uint64",
        ColumnBuilder::Float32(_) => "float32",
        ColumnBuilder::Float64(_) => "float64",
        ColumnBuilder::String(_) => "string",
        ColumnBuilder::Binary(_) => "binary in base64",
        ColumnBuilder::Timestamp(_) => "timestamp like \"2022-01-02T03:04:05Z\"",
        ColumnBuilder::Date(_) => "date like \"2022-01-02\"",
        ColumnBuilder::Json(_) => "json",
        ColumnBuilder::List(_) => "a list",
        ColumnBuilder::Struct(_) => "an object",
    }
}

/// A string for a message, in quotes, cut when it is long.
pub(crate) struct Short<'a>(pub &'a str);

impl fmt::Display for Short<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.char_indices().nth(40) {
            Some((end, _)) => write!(f, "{:?}...", &self.0[..end]),
            None => write!(f, "{:?}", self.0),
        }
    }
}
