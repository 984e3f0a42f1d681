//! The one way in which types are written: `int64`, `list<string>`, `struct<name: string, at: timestamp>`.

use std::fmt;
use std::str::FromStr;

use crate::data::schema::Type;

/// How deep a written type may nest. Real ones stay below ten; the parser recurses.
const MAX_DEPTH: usize = 64;

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::List(item) => write!(f, "list<{item}>"),
            Type::Struct(members) => {
                f.write_str("struct<")?;
                for (index, (name, member)) in members.iter().enumerate() {
                    let comma = if index == 0 { "" } else { ", " };
                    write!(f, "{comma}{}: {member}", Name(name))?;
                }
                f.write_str(">")
            }
            Type::Other(other) => write!(f, "{other}"),
            scalar => {
                let (name, _) = SCALARS.iter().find(|(_, t)| t == scalar).expect("every scalar type has a name");
                f.write_str(name)
            }
        }
    }
}

/// The types without parameters, by their names.
const SCALARS: &[(&str, Type)] = &[
    ("bool", Type::Bool),
    ("int32", Type::Int32),
    ("int64", Type::Int64),
    ("uint32", Type::Uint32),
    ("uint64", Type::Uint64),
    ("float32", Type::Float32),
    ("float64", Type::Float64),
    ("string", Type::String),
    ("binary", Type::Binary),
    ("timestamp", Type::Timestamp),
    ("date", Type::Date),
    ("json", Type::Json),
];

/// What people write who come from elsewhere, and what they mean here.
const FOREIGN_NAMES: &[(&str, &str)] = &[
    ("boolean", "bool"),
    ("int", "int64"),
    ("integer", "int64"),
    ("bigint", "int64"),
    ("long", "int64"),
    ("uint", "uint64"),
    ("float", "float64"),
    ("double", "float64"),
    ("number", "float64"),
    ("text", "string"),
    ("str", "string"),
    ("varchar", "string"),
    ("utf8", "string"),
    ("bytes", "binary"),
    ("datetime", "timestamp"),
    ("time", "timestamp"),
    ("any", "json"),
    ("array", "list<string>"),
    ("object", "struct<a: string>"),
    ("list", "list<string>"),
    ("struct", "struct<a: string>"),
];

/// A name as it is written in a schema: in quotes unless it is a plain word.
pub(super) struct Name<'a>(pub &'a str);

impl fmt::Display for Name<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_plain = !self.0.is_empty() && self.0.chars().all(is_word);
        if is_plain { f.write_str(self.0) } else { write!(f, "{:?}", self.0) }
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '$' | '@')
}

/// Says why a text is no type.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct ParseTypeError(String);

impl FromStr for Type {
    type Err = ParseTypeError;

    fn from_str(text: &str) -> Result<Type, ParseTypeError> {
        let mut parser = Parser { text, rest: text };
        let parsed = parser.data_type(0)?;
        parser.skip_space();
        match parser.rest {
            "" => Ok(parsed),
            rest => Err(ParseTypeError(format!("unexpected {rest:?} after {parsed} in type {text:?}"))),
        }
    }
}

struct Parser<'a> {
    text: &'a str,
    rest: &'a str,
}

impl<'a> Parser<'a> {
    fn data_type(&mut self, depth: usize) -> Result<Type, ParseTypeError> {
        if depth > MAX_DEPTH {
            return Err(ParseTypeError(format!("a type nests at most {MAX_DEPTH} levels")));
        }
        let word = self.word();
        if let Some((_, scalar)) = SCALARS.iter().find(|(name, _)| *name == word) {
            return Ok(scalar.clone());
        }
        match word {
            "list" if self.eat('<') => {
                let item = self.data_type(depth + 1)?;
                self.expect('>')?;
                Ok(Type::List(Box::new(item)))
            }
            "struct" if self.eat('<') => self.members(depth + 1),
            unknown => Err(self.unknown(unknown)),
        }
    }

    /// Reads what follows `struct<`.
    fn members(&mut self, depth: usize) -> Result<Type, ParseTypeError> {
        let mut members: Vec<(String, Type)> = Vec::new();
        while !self.eat('>') {
            if !members.is_empty() {
                self.expect(',')?;
            }
            let name = self.name()?;
            if members.iter().any(|(other, _)| *other == name) {
                return Err(ParseTypeError(format!("the member {name:?} occurs twice in type {:?}", self.text)));
            }
            self.expect(':')?;
            members.push((name, self.data_type(depth)?));
        }
        Ok(Type::Struct(members))
    }

    fn name(&mut self) -> Result<String, ParseTypeError> {
        if !self.eat('"') {
            return match self.word() {
                "" => Err(ParseTypeError(format!("expected a name before {:?} in type {:?}", self.rest, self.text))),
                word => Ok(word.to_owned()),
            };
        }
        let mut name = String::new();
        let mut chars = self.rest.chars();
        loop {
            match chars.next() {
                Some('"') => break,
                Some('\\') => name.extend(chars.next()),
                Some(c) => name.push(c),
                None => return Err(ParseTypeError(format!("a quote is not closed in type {:?}", self.text))),
            }
        }
        self.rest = chars.as_str();
        Ok(name)
    }

    fn word(&mut self) -> &'a str {
        self.skip_space();
        let end = self.rest.find(|c| !is_word(c)).unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn skip_space(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, wanted: char) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(wanted);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    fn expect(&mut self, wanted: char) -> Result<(), ParseTypeError> {
        if self.eat(wanted) {
            return Ok(());
        }
        let found = self.rest.chars().next().map_or("the end".to_owned(), |c| format!("{c:?}"));
        Err(ParseTypeError(format!("expected {wanted:?}, found {found} in type {:?}", self.text)))
    }

    fn unknown(&self, word: &str) -> ParseTypeError {
        let lower = word.to_ascii_lowercase();
        let by_habit = FOREIGN_NAMES.iter().find(|(name, _)| *name == lower).map(|(_, meant)| *meant);
        let by_spelling = || {
            let names = SCALARS.iter().map(|(name, _)| (strsim::jaro_winkler(&lower, name), *name));
            names.filter(|(score, _)| *score > 0.7).max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, name)| name)
        };
        let hint = match by_habit.or_else(by_spelling) {
            Some(meant) => format!(", did you mean \"{meant}\"?"),
            None => ";".to_owned(),
        };
        let names = SCALARS.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ");
        ParseTypeError(format!("unknown type {word:?}{hint} types are {names}, list<type>, struct<name: type, ...>"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_type_reads_back_as_it_is_written() {
        for text in [
            "bool",
            "int32",
            "int64",
            "uint32",
            "uint64",
            "float32",
            "float64",
            "string",
            "binary",
            "timestamp",
            "date",
            "json",
            "list<json>",
            "struct<>",
            "list<list<struct<a: int64, b-c: list<string>, \"with \\\"quote\\\" and: colon\": date>>>",
        ] {
            let parsed: Type = text.parse().unwrap();
            assert_eq!(parsed.to_string(), text);
            assert_eq!(Type::of(&parsed.field("x")), parsed, "{text}");
            assert!(parsed.is_guest_readable());
        }
        let spaced: Type = " struct < a :int64,b: list< string > > ".parse().unwrap();
        assert_eq!(spaced.to_string(), "struct<a: int64, b: list<string>>");
    }

    #[test]
    fn a_text_that_is_no_type_is_refused_with_advice() {
        let names = "types are bool, int32, int64, uint32, uint64, float32, float64, string, binary, timestamp, date, \
                     json, list<type>, struct<name: type, ...>";
        for (text, message) in [
            ("strng", format!("unknown type \"strng\", did you mean \"string\"? {names}")),
            ("Int64", format!("unknown type \"Int64\", did you mean \"int64\"? {names}")),
            ("list<double>", format!("unknown type \"double\", did you mean \"float64\"? {names}")),
            ("list", format!("unknown type \"list\", did you mean \"list<string>\"? {names}")),
            ("xyz", format!("unknown type \"xyz\"; {names}")),
            ("list<int64", "expected '>', found the end in type \"list<int64\"".to_owned()),
            ("struct<a int64>", "expected ':', found 'i' in type \"struct<a int64>\"".to_owned()),
            (
                "struct<a: bool, a: bool>",
                "the member \"a\" occurs twice in type \"struct<a: bool, a: bool>\"".to_owned(),
            ),
            ("struct<: bool>", "expected a name before \": bool>\" in type \"struct<: bool>\"".to_owned()),
            ("struct<\"a: bool>", "a quote is not closed in type \"struct<\\\"a: bool>\"".to_owned()),
            ("int64 x", "unexpected \"x\" after int64 in type \"int64 x\"".to_owned()),
        ] {
            assert_eq!(text.parse::<Type>().unwrap_err().to_string(), message);
        }
        assert!("list<".repeat(100_000).parse::<Type>().is_err());
    }
}
