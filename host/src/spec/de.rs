//! serde over [`Node`] and [`Table`]: errors that know their place, and tables that refuse keys nobody reads.

use std::fmt;
use std::ops::Range;

use serde::de::{DeserializeOwned, Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;

use super::access::{Elements, Entries, Parts, Variant};
use super::error::{DeError, Fault, keys_are, one_of};
use super::node::{Node, Table, Value, quote};
use super::spanned::{SPANNED, VALUE};

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

    fn integer<T: TryFrom<i64> + TryInto<i64> + Copy + fmt::Display>(&self, least: T, most: T) -> Result<T, DeError> {
        let View::Value(Value::Integer(integer)) = self.view else { return Err(self.expected("an integer")) };
        T::try_from(*integer).map_err(|_| {
            // TOML's integers end below what a u64 can hold, so that naming its end would be idle.
            let most = most.try_into().map_or(String::new(), |_: i64| format!(" to {most}"));
            self.expected(&format!("an integer from {least}{most}"))
        })
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
