//! The columns of JSON lines, from a sample of them.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::data::schema::Type;
use crate::formats::decoder::{TextLines, lines};
use crate::formats::error::FormatError;
use crate::formats::json::check::check;
use crate::formats::json::value::syntax_message;
use crate::formats::timestamp;

/// From this depth on, values are `json`: nobody reads such columns by name.
const MAX_DEPTH: usize = 16;

/// Tells the columns of JSON lines from a sample, in the order in which they appear.
///
/// Integers and floats together are `float64`, text that is RFC 3339 with `T` and a zone in every row is `timestamp`,
/// values of several kinds and those that are always null are `json`. Lines that are not valid are left out. Fails
/// when none is an object.
pub fn infer(sample: &[u8]) -> Result<Vec<(String, Type)>, FormatError> {
    let texts = TextLines::new(sample);
    let mut columns = Shape::Unknown;
    let mut first_problem = None;
    for (number, range) in lines(sample).enumerate() {
        if sample[range.clone()].trim_ascii().is_empty() {
            continue;
        }
        match texts.get(&range).and_then(|text| shape(text.strip_prefix('\u{feff}').unwrap_or(text))) {
            Ok(row @ Shape::Struct(_)) => columns.merge(row),
            Ok(other) => {
                let problem = || format!("line {} is {}, not an object", number + 1, other.kind());
                first_problem.get_or_insert_with(problem);
            }
            Err(message) => {
                first_problem.get_or_insert_with(|| format!("line {}: {message}", number + 1));
            }
        }
    }
    match (columns, first_problem) {
        (Shape::Struct(members), _) => Ok(members.into_iter().map(|(name, shape)| (name, shape.data_type())).collect()),
        (_, Some(problem)) => Err(FormatError::Infer(problem)),
        (_, None) => Err(FormatError::Infer("there is no line with an object".to_owned())),
    }
}

fn shape(text: &str) -> Result<Shape, String> {
    check(text)?;
    let mut parser = sonic_rs::Deserializer::from_str(text);
    let shape = ShapeSeed { depth: 0 }.deserialize(&mut parser);
    shape.and_then(|shape| parser.end().map(|()| shape)).map_err(|error| syntax_message(&error))
}

/// What is known of a value.
#[derive(Debug, PartialEq)]
enum Shape {
    /// Only nulls so far.
    Unknown,
    Bool,
    Int {
        has_negative: bool,
        has_big: bool,
    },
    Float,
    Timestamp,
    Text,
    List(Box<Shape>),
    Struct(Vec<(String, Shape)>),
    /// Several kinds, or too deep.
    Mixed,
}

impl Shape {
    fn merge(&mut self, other: Shape) {
        let this = std::mem::replace(self, Shape::Unknown);
        *self = match (this, other) {
            (Shape::Unknown, shape) | (shape, Shape::Unknown) => shape,
            (Shape::Int { has_negative: n1, has_big: b1 }, Shape::Int { has_negative: n2, has_big: b2 }) => {
                Shape::Int { has_negative: n1 || n2, has_big: b1 || b2 }
            }
            (Shape::Int { .. } | Shape::Float, Shape::Int { .. } | Shape::Float) => Shape::Float,
            (Shape::Timestamp, Shape::Timestamp) => Shape::Timestamp,
            (Shape::Timestamp | Shape::Text, Shape::Timestamp | Shape::Text) => Shape::Text,
            (Shape::List(mut item), Shape::List(other)) => {
                item.merge(*other);
                Shape::List(item)
            }
            (Shape::Struct(mut members), Shape::Struct(others)) => {
                merge_members(&mut members, others);
                Shape::Struct(members)
            }
            (Shape::Bool, Shape::Bool) => Shape::Bool,
            _ => Shape::Mixed,
        };
    }

    fn data_type(self) -> Type {
        match self {
            Shape::Bool => Type::Bool,
            Shape::Int { has_big: false, .. } => Type::Int64,
            Shape::Int { has_negative: false, .. } => Type::Uint64,
            Shape::Int { .. } | Shape::Float => Type::Float64,
            Shape::Timestamp => Type::Timestamp,
            Shape::Text => Type::String,
            Shape::List(item) => Type::List(Box::new(item.data_type())),
            Shape::Struct(members) if members.is_empty() => Type::Json,
            Shape::Struct(members) => {
                Type::Struct(members.into_iter().map(|(name, shape)| (name, shape.data_type())).collect())
            }
            Shape::Unknown | Shape::Mixed => Type::Json,
        }
    }

    fn kind(&self) -> &'static str {
        match self {
            Shape::Unknown => "null",
            Shape::Bool => "a bool",
            Shape::Int { .. } | Shape::Float => "a number",
            Shape::Timestamp | Shape::Text => "a string",
            Shape::List(_) => "a list",
            Shape::Struct(_) | Shape::Mixed => "an object",
        }
    }
}

fn merge_members(members: &mut Vec<(String, Shape)>, others: Vec<(String, Shape)>) {
    for (place, (name, shape)) in others.into_iter().enumerate() {
        // Mostly the members stand where they stood in the rows before.
        let found = match members.get(place) {
            Some((there, _)) if *there == name => Some(place),
            _ => members.iter().position(|(there, _)| *there == name),
        };
        match found {
            Some(found) => members[found].1.merge(shape),
            None => members.push((name, shape)),
        }
    }
}

struct ShapeSeed {
    depth: usize,
}

impl<'de> DeserializeSeed<'de> for ShapeSeed {
    type Value = Shape;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Shape, D::Error> {
        if self.depth == MAX_DEPTH {
            return IgnoredAny::deserialize(parser).map(|_| Shape::Mixed);
        }
        parser.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ShapeSeed {
    type Value = Shape;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E: Error>(self) -> Result<Shape, E> {
        Ok(Shape::Unknown)
    }

    fn visit_bool<E: Error>(self, _: bool) -> Result<Shape, E> {
        Ok(Shape::Bool)
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Shape, E> {
        Ok(Shape::Int { has_negative: false, has_big: i64::try_from(value).is_err() })
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Shape, E> {
        Ok(Shape::Int { has_negative: value < 0, has_big: false })
    }

    fn visit_f64<E: Error>(self, _: f64) -> Result<Shape, E> {
        Ok(Shape::Float)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Shape, E> {
        Ok(if is_instant(value) { Shape::Timestamp } else { Shape::Text })
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Shape, A::Error> {
        let mut item = Shape::Unknown;
        while let Some(next) = items.next_element_seed(ShapeSeed { depth: self.depth + 1 })? {
            item.merge(next);
        }
        Ok(Shape::List(Box::new(item)))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Shape, A::Error> {
        let mut members: Vec<(String, Shape)> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let shape = map.next_value_seed(ShapeSeed { depth: self.depth + 1 })?;
            // Of a repeated member the last holds, as when rows are read.
            match members.iter_mut().find(|(there, _)| *there == name) {
                Some((_, there)) => *there = shape,
                None => members.push((name, shape)),
            }
        }
        Ok(Shape::Struct(members))
    }
}

/// Says whether a text is an instant beyond doubt, with its `T` and its zone.
pub(crate) fn is_instant(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_zone = bytes.get(19..).is_some_and(|rest| rest.iter().any(|c| matches!(c, b'Z' | b'+' | b'-')));
    has_zone && bytes[10] == b'T' && timestamp::parse(text).is_some()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::schema::{describe, schema_of};

    fn columns(sample: &str) -> String {
        describe(&schema_of(&infer(sample.as_bytes()).unwrap()))
    }

    #[test]
    fn columns_are_told_from_their_values() {
        for (values, wanted) in [
            (&["true", "null"][..], "bool"),
            (&["1", "-2"], "int64"),
            (&["1", "18446744073709551615"], "uint64"),
            (&["-1", "18446744073709551615"], "float64"),
            (&["1", "2.5"], "float64"),
            (&["2.5", "1"], "float64"),
            (&["\"a\""], "string"),
            (&["\"2022-01-02T03:04:05Z\"", "null", "\"2022-01-02T03:04:05.1+02:00\""], "timestamp"),
            (&["\"2022-01-02T03:04:05Z\"", "\"soon\""], "string"),
            (&["\"2022-01-02T03:04:05\""], "string"),
            (&["\"2022-01-02 03:04:05Z\""], "string"),
            (&["\"2022-01-02\""], "string"),
            (&["null"], "json"),
            (&["1", "\"a\""], "json"),
            (&["1", "{}"], "json"),
            (&["{}"], "json"),
            (&["[]"], "list<json>"),
            (&["[]", "[1,null]", "[2.5]"], "list<float64>"),
            (&["[1,\"a\"]"], "list<json>"),
            (&["{\"b\":1}", "{\"c\":[{\"d\":\"x\"}],\"b\":null}"], "struct<b: int64, c: list<struct<d: string>>>"),
        ] {
            let sample: String = values.iter().map(|value| format!("{{\"a\":{value}}}\n")).collect();
            assert_eq!(columns(&sample), format!("a: {wanted}"), "{sample}");
        }
    }

    #[test]
    fn columns_keep_the_order_in_which_they_appear() {
        let sample = "\u{feff}{\"z\":1,\"a\":true}\r\n\nnot json\n{\"a\":false,\"m\":\"x\",\"z\":2}\n{\"cut\":";
        assert_eq!(columns(sample), "z: int64, a: bool, m: string");
        assert_eq!(columns("{\"a\":1,\"a\":\"x\"}"), "a: string");
    }

    #[test]
    fn what_is_deep_is_json() {
        let sample = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
        assert_eq!(columns(&sample), format!("a: {}json{}", "list<".repeat(15), ">".repeat(15)));
    }

    #[test]
    fn a_sample_without_objects_is_refused() {
        let start = "cannot tell the columns from the first lines: ";
        for (sample, message) in [
            ("", "there is no line with an object"),
            ("[1]\n{", "line 1 is a list, not an object"),
            ("\n{\"a\"\n", "line 2: invalid JSON at column 4: it ends too early"),
        ] {
            assert_eq!(infer(sample.as_bytes()).unwrap_err().to_string(), format!("{start}{message}"));
        }
    }
}
