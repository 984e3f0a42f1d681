//! serde over [`Node`] and [`Table`]: errors that know their place, and tables that refuse keys nobody reads.

use std::fmt;
use std::ops::Range;

use serde::de::value::{BorrowedStrDeserializer, UsizeDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Error, Expected, IntoDeserializer, MapAccess,
    SeqAccess, Unexpected, VariantAccess, Visitor,
};
use serde::forward_to_deserialize_any;

use super::node::{Entry, Node, Table, Value, quote};
use super::spanned::{SPANNED, VALUE};
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

    fn wrong_type(message: impl Into<String>) -> Self {
        Self::new(Fault::WrongType, message)
    }

    pub(super) fn unknown_key<'a>(key: &str, keys: impl Iterator<Item = &'a str> + Clone) -> Self {
        let help = suggest(key, keys.clone()).unwrap_or_else(|| keys_are(keys));
        Self { help: Some(help), ..Self::new(Fault::UnknownKey, format!("unknown key {key:?}")) }
    }

    // An error is made without a place deep inside a visitor; the first value on the way out is its place.
    fn or_at(mut self, span: &Range<usize>) -> Self {
        self.span.get_or_insert_with(|| span.clone());
        self
    }

    fn under(mut self, step: impl Into<String>) -> Self {
        self.path.insert(0, step.into());
        self
    }
}

pub(super) fn keys_are<'a>(keys: impl Iterator<Item = &'a str>) -> String {
    let keys: Vec<_> = keys.collect();
    if keys.is_empty() { "no keys are known here".into() } else { format!("keys are: {}", keys.join(", ")) }
}

fn one_of(names: &[&str]) -> String {
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

/// The deserializer of a value: borrows it and its place.
#[derive(Debug, Clone)]
pub struct Reader<'de> {
    span: Range<usize>,
    view: View<'de>,
}

#[derive(Debug, Clone, Copy)]
enum View<'de> {
    Value(&'de Value),
    /// A table that stands on its own; unknown keys have been reported and are left out.
    Known(&'de Table),
}

impl Node {
    /// Gives the deserializer of this value.
    pub fn reader(&self) -> Reader<'_> {
        Reader { span: self.span.clone(), view: View::Value(&self.value) }
    }

    /// Reads this value as a type.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, DeError> {
        T::deserialize(self.reader())
    }
}

impl Table {
    /// Gives the deserializer of this table, which stands at `span`; as a struct, keys it does not know are left out.
    pub fn reader(&self, span: Range<usize>) -> Reader<'_> {
        Reader { span, view: View::Known(self) }
    }
}

impl<'de> IntoDeserializer<'de, DeError> for &'de Node {
    type Deserializer = Reader<'de>;

    fn into_deserializer(self) -> Reader<'de> {
        self.reader()
    }
}

impl<'de> Reader<'de> {
    fn table(&self) -> Option<&'de Table> {
        match self.view {
            View::Value(Value::Table(table)) | View::Known(table) => Some(table),
            View::Value(_) => None,
        }
    }

    fn found(&self) -> String {
        match self.view {
            View::Value(value) => value.describe(),
            View::Known(_) => "a table".into(),
        }
    }

    fn expected(&self, what: &str) -> DeError {
        DeError::wrong_type(format!("expected {what}, found {}", self.found())).or_at(&self.span)
    }

    fn integer<T: TryFrom<i64> + fmt::Display>(&self, least: T, most: T) -> Result<T, DeError> {
        let View::Value(Value::Integer(integer)) = self.view else { return Err(self.expected("an integer")) };
        T::try_from(*integer).map_err(|_| self.expected(&format!("an integer from {least} to {most}")))
    }

    fn float(&self) -> Result<f64, DeError> {
        match self.view {
            View::Value(Value::Float(float)) => Ok(*float),
            View::Value(Value::Integer(integer)) => Ok(*integer as f64),
            _ => Err(self.expected("a number")),
        }
    }

    fn text(&self) -> Result<&'de str, DeError> {
        match self.view {
            View::Value(Value::String(text)) => Ok(text),
            _ => Err(self.expected("a string")),
        }
    }

    fn visit_entries<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        let table = self.table().ok_or_else(|| self.expected("a table"))?;
        visitor.visit_map(Entries { entries: table.iter(), keys: None, value: None }).map_err(|e| e.or_at(&self.span))
    }

    fn visit_elements<V: Visitor<'de>>(self, visitor: V, length: Option<usize>) -> Result<V::Value, DeError> {
        let View::Value(Value::Array(nodes)) = self.view else { return Err(self.expected("an array")) };
        if let Some(length) = length.filter(|length| *length != nodes.len()) {
            let message = format!("expected an array of {length} values, found one of {}", nodes.len());
            return Err(DeError::wrong_type(message).or_at(&self.span));
        }
        visitor.visit_seq(Elements { nodes, at: 0 }).map_err(|e| e.or_at(&self.span))
    }
}

macro_rules! deserialize_integers {
    ($($method:ident $visit:ident $type:ident)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
            let integer = self.integer($type::MIN, $type::MAX)?;
            visitor.$visit(integer).map_err(|e: DeError| e.or_at(&self.span))
        }
    )*};
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = DeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        let result = match self.view {
            View::Value(Value::String(text) | Value::Datetime(text)) => visitor.visit_borrowed_str(text),
            View::Value(Value::Integer(integer)) => visitor.visit_i64(*integer),
            View::Value(Value::Float(float)) => visitor.visit_f64(*float),
            View::Value(Value::Bool(bool)) => visitor.visit_bool(*bool),
            View::Value(Value::Array(_)) => return self.visit_elements(visitor, None),
            View::Value(Value::Table(_)) | View::Known(_) => return self.visit_entries(visitor),
        };
        result.map_err(|e: DeError| e.or_at(&self.span))
    }

    deserialize_integers! {
        deserialize_i8 visit_i8 i8
        deserialize_i16 visit_i16 i16
        deserialize_i32 visit_i32 i32
        deserialize_i64 visit_i64 i64
        deserialize_u8 visit_u8 u8
        deserialize_u16 visit_u16 u16
        deserialize_u32 visit_u32 u32
        deserialize_u64 visit_u64 u64
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_f32(self.float()? as f32).map_err(|e: DeError| e.or_at(&self.span))
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_f64(self.float()?).map_err(|e: DeError| e.or_at(&self.span))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        let View::Value(Value::Bool(bool)) = self.view else { return Err(self.expected("true or false")) };
        visitor.visit_bool(*bool).map_err(|e: DeError| e.or_at(&self.span))
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_borrowed_str(self.text()?).map_err(|e: DeError| e.or_at(&self.span))
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        let mut chars = self.text()?.chars();
        let (Some(char), None) = (chars.next(), chars.next()) else { return Err(self.expected("one character")) };
        visitor.visit_char(char).map_err(|e: DeError| e.or_at(&self.span))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, DeError> {
        match name {
            SPANNED => visitor.visit_seq(Parts::new(self.span.clone(), self)),
            VALUE => match self.view {
                View::Value(Value::Datetime(text)) => visitor.visit_borrowed_bytes(text.as_bytes()),
                _ => self.deserialize_any(visitor),
            },
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.visit_elements(visitor, None)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, DeError> {
        self.visit_elements(visitor, Some(length))
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.visit_elements(visitor, Some(length))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.visit_entries(visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        let Some(table) = self.table() else {
            let help = keys_are(fields.iter().copied());
            return Err(DeError { help: Some(help), ..self.expected("a table") });
        };
        // A key that nobody reads is a mistake at any depth, whether or not the type says `deny_unknown_fields`.
        if matches!(self.view, View::Value(_))
            && let Some(entry) = table.iter().find(|entry| !fields.contains(&entry.key.as_str()))
        {
            return Err(DeError::unknown_key(&entry.key, fields.iter().copied()).or_at(&entry.key_span));
        }
        let entries = Entries { entries: table.iter(), keys: Some(fields), value: None };
        visitor.visit_map(entries).map_err(|error| match error.fault {
            Fault::MissingKey if error.span.is_none() => {
                DeError { help: Some(keys_are(fields.iter().copied())), ..error }.or_at(&self.span)
            }
            _ => error.or_at(&self.span),
        })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        let span = self.span.clone();
        let variant = match self.view {
            View::Value(Value::String(name)) => Variant { name, name_span: span.clone(), node: None },
            _ => {
                let Some(table) = self.table() else { return Err(self.expected(&one_of(variants))) };
                let mut entries = table.iter();
                let (Some(entry), None) = (entries.next(), entries.next()) else {
                    let keys: Vec<_> = table.keys().map(quote).collect();
                    let found = if keys.is_empty() { "none".into() } else { keys.join(", ") };
                    let message = format!("expected one key, {}, found {found}", one_of(variants));
                    return Err(DeError::wrong_type(message).or_at(&span));
                };
                Variant { name: &entry.key, name_span: entry.key_span.clone(), node: Some(&entry.node) }
            }
        };
        visitor.visit_enum(variant).map_err(|e| e.or_at(&span))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_unit()
    }

    forward_to_deserialize_any! { i128 u128 bytes byte_buf unit unit_struct }
}

struct Elements<'de> {
    nodes: &'de [Node],
    at: usize,
}

impl<'de> SeqAccess<'de> for Elements<'de> {
    type Error = DeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DeError> {
        let Some(node) = self.nodes.get(self.at) else { return Ok(None) };
        let index = self.at;
        self.at += 1;
        seed.deserialize(node.reader()).map(Some).map_err(|e| e.or_at(&node.span).under(index.to_string()))
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.nodes.len() - self.at)
    }
}

struct Entries<'de> {
    entries: std::slice::Iter<'de, Entry>,
    /// The keys that are wanted, where only some are.
    keys: Option<&'static [&'static str]>,
    value: Option<&'de Entry>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = DeError;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DeError> {
        let keys = self.keys;
        let wanted = |entry: &&Entry| keys.is_none_or(|keys| keys.contains(&entry.key.as_str()));
        let Some(entry) = self.entries.find(wanted) else { return Ok(None) };
        self.value = Some(entry);
        let key = Key { text: &entry.key, span: entry.key_span.clone() };
        seed.deserialize(key).map(Some).map_err(|e| e.or_at(&entry.key_span))
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, DeError> {
        let entry = self.value.take().expect("a value is asked for after its key");
        seed.deserialize(entry.node.reader()).map_err(|e| e.or_at(&entry.node.span).under(&entry.key))
    }
}

struct Key<'de> {
    text: &'de str,
    span: Range<usize>,
}

impl<'de> Key<'de> {
    fn plain(&self) -> BorrowedStrDeserializer<'de, DeError> {
        BorrowedStrDeserializer::new(self.text)
    }
}

impl<'de> Deserializer<'de> for Key<'de> {
    type Error = DeError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_borrowed_str(self.text)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, DeError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, DeError> {
        match name {
            SPANNED => visitor.visit_seq(Parts::new(self.span.clone(), self.plain())),
            _ => visitor.visit_newtype_struct(self),
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, DeError> {
        self.plain().deserialize_enum(name, variants, visitor)
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct seq tuple
        tuple_struct map struct identifier ignored_any
    }
}

/// The three elements that a [`super::Spanned`] is made of.
struct Parts<D> {
    bounds: std::array::IntoIter<usize, 2>,
    value: Option<D>,
}

impl<D> Parts<D> {
    fn new(span: Range<usize>, value: D) -> Self {
        Self { bounds: [span.start, span.end].into_iter(), value: Some(value) }
    }
}

impl<'de, D: Deserializer<'de, Error = DeError>> SeqAccess<'de> for Parts<D> {
    type Error = DeError;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<Option<S::Value>, DeError> {
        if let Some(bound) = self.bounds.next() {
            return seed.deserialize(UsizeDeserializer::new(bound)).map(Some);
        }
        self.value.take().map(|value| seed.deserialize(value)).transpose()
    }
}

/// `"name"` or `{ name = value }`.
struct Variant<'de> {
    name: &'de str,
    name_span: Range<usize>,
    node: Option<&'de Node>,
}

impl<'de> EnumAccess<'de> for Variant<'de> {
    type Error = DeError;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<(S::Value, Self), DeError> {
        let key = BorrowedStrDeserializer::<DeError>::new(self.name);
        let value = seed.deserialize(key).map_err(|e| e.or_at(&self.name_span))?;
        Ok((value, self))
    }
}

impl<'de> Variant<'de> {
    fn reader(&self) -> Result<Reader<'de>, DeError> {
        let node = self.node.ok_or_else(|| {
            let message = format!("{:?} needs a value: {{ {} = … }}", self.name, self.name);
            DeError::wrong_type(message).or_at(&self.name_span)
        })?;
        Ok(node.reader())
    }
}

impl<'de> VariantAccess<'de> for Variant<'de> {
    type Error = DeError;

    fn unit_variant(self) -> Result<(), DeError> {
        match self.node {
            None => Ok(()),
            Some(node) => {
                let message = format!("{:?} takes no value, write the name alone", self.name);
                Err(DeError::wrong_type(message).or_at(&node.span))
            }
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, seed: S) -> Result<S::Value, DeError> {
        seed.deserialize(self.reader()?).map_err(|e| e.under(self.name))
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, DeError> {
        self.reader()?.deserialize_tuple(length, visitor).map_err(|e| e.under(self.name))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, DeError> {
        self.reader()?.deserialize_struct("", fields, visitor).map_err(|e| e.under(self.name))
    }
}
