//! The parts that serde asks a [`Reader`] for: elements, entries, keys, variants.

use std::ops::Range;

use serde::de::value::{BorrowedStrDeserializer, UsizeDeserializer};
use serde::de::{DeserializeSeed, Deserializer, EnumAccess, MapAccess, SeqAccess, VariantAccess, Visitor};
use serde::forward_to_deserialize_any;

use super::de::Reader;
use super::error::DeError;
use super::node::{Entry, Node};
use super::spanned::SPANNED;

/// The elements of an array.
pub(super) struct Elements<'de> {
    pub nodes: &'de [Node],
    pub at: usize,
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

/// The entries of a table.
pub(super) struct Entries<'de> {
    pub entries: std::slice::Iter<'de, Entry>,
    /// The keys that are wanted, where only some are.
    pub keys: Option<&'static [&'static str]>,
    /// The entry whose key was given last.
    pub value: Option<&'de Entry>,
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

/// The key of a table.
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
pub(super) struct Parts<D> {
    bounds: std::array::IntoIter<usize, 2>,
    value: Option<D>,
}

impl<D> Parts<D> {
    pub(super) fn new(span: Range<usize>, value: D) -> Self {
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
pub(super) struct Variant<'de> {
    pub name: &'de str,
    pub name_span: Range<usize>,
    pub node: Option<&'de Node>,
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
