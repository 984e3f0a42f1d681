//! Why a value could not be read, in the words of whoever wrote the flow.

use std::fmt;
use std::ops::Range;

use serde::de::{Error, Expected, Unexpected};

use super::node::quote;
use crate::diag::suggest;

/// Why a value could not be read, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeError {
    pub fault: Fault,
    pub message: String,
    /// The innermost value that is known to be wrong.
    pub span: Option<Range<usize>>,
    /// The keys and indices that lead to it, outermost first.
    pub path: Vec<String>,
    pub help: Option<String>,
}

/// The kinds of [`DeError`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    WrongType,
    MissingKey,
    UnknownKey,
}

impl DeError {
    fn new(fault: Fault, message: impl Into<String>) -> Self {
        Self { fault, message: message.into(), span: None, path: Vec::new(), help: None }
    }

    pub(super) fn wrong_type(message: impl Into<String>) -> Self {
        Self::new(Fault::WrongType, message)
    }

    pub(super) fn unknown_key<'a>(key: &str, keys: impl Iterator<Item = &'a str> + Clone) -> Self {
        let help = suggest(key, keys.clone()).unwrap_or_else(|| keys_are(keys));
        Self { help: Some(help), ..Self::new(Fault::UnknownKey, format!("unknown key {key:?}")) }
    }

    // An error is made without a place deep inside a visitor; the first value on the way out is its place.
    pub(super) fn or_at(mut self, span: &Range<usize>) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }

    pub(super) fn under(mut self, step: impl Into<String>) -> Self {
        self.path.insert(0, step.into());
        self
    }
}

pub(super) fn keys_are<'a>(keys: impl Iterator<Item = &'a str>) -> String {
    let keys: Vec<_> = keys.collect();
    if keys.is_empty() { "no keys are known here".into() } else { format!("keys are: {}", keys.join(", ")) }
}

pub(super) fn one_of(names: &[&str]) -> String {
    match names {
        [] => "nothing".into(),
        [name] => format!("{name:?}"),
        [first @ .., last] => {
            let first: Vec<_> = first.iter().map(|name| format!("{name:?}")).collect();
            format!("{} or {last:?}", first.join(", "))
        }
    }
}

impl fmt::Display for DeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for DeError {}

impl Error for DeError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        let message = message.to_string();
        // serde's own words name a Rust type, which says nothing to whoever wrote the flow.
        if message.starts_with("data did not match any variant of untagged enum") {
            return Self::wrong_type("the value has none of the forms that are possible here");
        }
        Self::wrong_type(message)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::wrong_type(format!("expected {}, found {}", plain(expected), describe(found)))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        Self::wrong_type(format!("expected {}, found {length} values", plain(expected)))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        let message = format!("expected {}, found {}", one_of(known), quote(variant));
        Self { help: suggest(variant, known.iter().copied()), ..Self::wrong_type(message) }
    }

    fn unknown_field(field: &str, known: &'static [&'static str]) -> Self {
        Self::unknown_key(field, known.iter().copied())
    }

    fn missing_field(field: &'static str) -> Self {
        Self::new(Fault::MissingKey, format!("missing key {field:?}"))
    }

    fn duplicate_field(field: &'static str) -> Self {
        Self::wrong_type(format!("key {field:?} is written twice, or under two names"))
    }
}

// What the derived visitors say they expect is said in words of Rust.
fn plain(expected: &dyn Expected) -> String {
    let text = expected.to_string();
    match text.as_str() {
        "i8" | "i16" | "i32" | "i64" | "i128" | "isize" | "u8" | "u16" | "u32" | "u64" | "u128" | "usize" => {
            "an integer".into()
        }
        "f32" | "f64" => "a number".into(),
        "a sequence" => "an array".into(),
        "a map" => "a table".into(),
        _ if text.starts_with("a nonzero ") => "an integer other than 0".into(),
        _ if text.starts_with("struct ") => "a table".into(),
        _ if text.starts_with("tuple ") => "an array".into(),
        _ if text.starts_with("enum ") => "a name, or a table with one key".into(),
        _ => text,
    }
}

fn describe(found: Unexpected<'_>) -> String {
    match found {
        Unexpected::Bool(bool) => format!("a boolean {bool}"),
        Unexpected::Unsigned(integer) => format!("an integer {integer}"),
        Unexpected::Signed(integer) => format!("an integer {integer}"),
        Unexpected::Float(float) => format!("a float {float:?}"),
        Unexpected::Str(text) => format!("a string {}", quote(text)),
        Unexpected::Seq => "an array".into(),
        Unexpected::Map => "a table".into(),
        Unexpected::NewtypeVariant | Unexpected::TupleVariant | Unexpected::StructVariant => "a table".into(),
        Unexpected::UnitVariant => "only a name".into(),
        other => other.to_string(),
    }
}
