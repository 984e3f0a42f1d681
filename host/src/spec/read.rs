//! Reading a table as a Rust type, with diagnostics.

use std::borrow::Cow;
use std::fmt;
use std::ops::Range;

use serde::de::{Deserialize, DeserializeOwned, Deserializer, Error, Visitor};
use serde::forward_to_deserialize_any;

use super::error::{DeError, Fault};
use super::node::{Node, Table};
use crate::diag::{Diagnostic, Diagnostics};

/// Reads a table as a struct and reports all unknown keys, all keys with a wrong value, and the first that is missing.
///
/// `span` is where the table stands, `what` names it in messages (`step "paid"`). A struct with `flatten` does not tell
/// its keys, so that unknown ones are left to its `deny_unknown_fields`.
pub fn read<T: DeserializeOwned>(table: &Table, span: Range<usize>, what: &str) -> Result<T, Diagnostics> {
    let unknown = match fields_of::<T>() {
        Some(fields) => unknown_keys(table, fields, &span, what),
        None => Diagnostics::new(),
    };
    read_known(table, &span, what, unknown)
}

/// Reads a table as two structs; a key is known if it is one of either. Problems are reported as by [`read`].
pub fn read_both<A: DeserializeOwned, B: DeserializeOwned>(
    table: &Table,
    span: Range<usize>,
    what: &str,
) -> Result<(A, B), Diagnostics> {
    let mut fields: Vec<&str> = Vec::new();
    for field in [fields_of::<A>(), fields_of::<B>()].into_iter().flatten().flatten() {
        if !fields.contains(field) {
            fields.push(field);
        }
    }
    let mut problems = unknown_keys(table, &fields, &span, what);
    let unknown = problems.len();
    let first = read_known(table, &span, what, problems.clone());
    let second = read_known(table, &span, what, problems.clone());
    match (first, second) {
        (Ok(first), Ok(second)) => Ok((first, second)),
        (first, second) => {
            // Each has the unknown keys first.
            let own = |found: Diagnostics| found.into_iter().skip(unknown);
            problems.extend(first.err().into_iter().flat_map(own));
            problems.extend(second.err().into_iter().flat_map(own));
            Err(problems)
        }
    }
}

fn unknown_keys(table: &Table, fields: &[&str], span: &Range<usize>, what: &str) -> Diagnostics {
    let mut problems = Diagnostics::new();
    for entry in table.iter().filter(|entry| !fields.contains(&entry.key.as_str())) {
        let error = DeError::unknown_key(&entry.key, fields.iter().copied());
        problems.push(diagnostic(DeError { span: Some(entry.key_span.clone()), ..error }, span, what));
    }
    problems
}

/// Reads a table as a struct, whatever other keys it has; `problems` are those found before.
fn read_known<T: DeserializeOwned>(
    table: &Table,
    span: &Range<usize>,
    what: &str,
    mut problems: Diagnostics,
) -> Result<T, Diagnostics> {
    // serde stops at the first wrong value: it is set aside, and the others are looked at.
    let mut rest = Cow::Borrowed(table);
    loop {
        let error = match T::deserialize(rest.reader(span.clone())) {
            Ok(value) => return problems.into_result(value),
            Err(error) => error,
        };
        // A key that is missing beside an unknown one is most often that one, misspelt.
        let missing = error.fault == Fault::MissingKey && error.path.is_empty();
        let follows = missing && !problems.is_empty();
        let key = error.path.first().filter(|key| rest.get(key).is_some()).cloned();
        if !follows {
            problems.push(diagnostic(error, span, what));
        }
        match key {
            Some(key) => {
                rest.to_mut().remove(&key);
            }
            None => return Err(problems),
        }
    }
}

impl Node {
    /// Reads this value as a type; `what` names it in messages, such as `"limits" of step "paid"`.
    pub fn read_as<T: DeserializeOwned>(&self, what: &str) -> Result<T, Diagnostics> {
        self.read().map_err(|error| diagnostic(error, &self.span, what).into())
    }
}

fn diagnostic(error: DeError, span: &Range<usize>, what: &str) -> Diagnostic {
    let place = match error.path.as_slice() {
        [] => what.to_owned(),
        path => format!("{:?} of {what}", path.join(".")),
    };
    let (code, message) = match error.fault {
        Fault::WrongType => ("wrong-type", format!("{place}: {}", error.message)),
        Fault::MissingKey => ("missing-key", format!("{} in {place}", error.message)),
        Fault::UnknownKey => ("unknown-key", format!("{} in {place}", error.message)),
    };
    Diagnostic::new(code, message).at(error.span.unwrap_or_else(|| span.clone())).maybe_help(error.help)
}

/// Finds the names of a struct's fields; `None` for what is no struct, or a struct with `flatten`.
pub fn fields_of<'de, T: Deserialize<'de>>() -> Option<&'static [&'static str]> {
    match T::deserialize(Probe) {
        Err(Answer(fields)) => fields,
        Ok(_) => None,
    }
}

/// Answers with the fields that a type asks for, as an error.
struct Probe;

#[derive(Debug)]
struct Answer(Option<&'static [&'static str]>);

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "fields {:?}", self.0)
    }
}

impl std::error::Error for Answer {}

impl Error for Answer {
    fn custom<T: fmt::Display>(_message: T) -> Self {
        Self(None)
    }
}

impl<'de> Deserializer<'de> for Probe {
    type Error = Answer;

    fn deserialize_any<V: Visitor<'de>>(self, _visitor: V) -> Result<V::Value, Answer> {
        Err(Answer(None))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Answer> {
        visitor.visit_some(self)
    }

    // Also a `Spanned` struct answers: it passes the deserializer through.
    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _name: &'static str, visitor: V) -> Result<V::Value, Answer> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        _visitor: V,
    ) -> Result<V::Value, Answer> {
        Err(Answer(Some(fields)))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map enum identifier ignored_any
    }
}
