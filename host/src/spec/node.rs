//! A value of the flow file with the place where it is written.
//!
//! Later stages see this tree and never the TOML library, so that every message can point into the source.

use std::ops::Range;

/// A value and the bytes of the source it was written in.
#[derive(Debug, Clone, PartialEq)]
pub struct Node {
    pub span: Range<usize>,
    pub value: Value,
}

/// What a [`Node`] holds.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    String(String),
    Integer(i64),
    Float(f64),
    Bool(bool),
    /// A date, a time or both, in RFC 3339 spelling.
    Datetime(String),
    Array(Vec<Node>),
    Table(Table),
}

/// Keys and their values in the order they were written; a key occurs once.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Table {
    entries: Vec<Entry>,
}

/// One `key = value`.
#[derive(Debug, Clone, PartialEq)]
pub struct Entry {
    pub key: String,
    pub key_span: Range<usize>,
    pub node: Node,
}

impl Node {
    /// Gives the text of a string.
    pub fn as_str(&self) -> Option<&str> {
        match &self.value {
            Value::String(text) => Some(text),
            _ => None,
        }
    }

    /// Gives the elements of an array.
    pub fn as_array(&self) -> Option<&[Node]> {
        match &self.value {
            Value::Array(nodes) => Some(nodes),
            _ => None,
        }
    }

    /// Gives the table.
    pub fn as_table(&self) -> Option<&Table> {
        match &self.value {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Converts to JSON: a datetime becomes a string; a float that JSON cannot write (`nan`, `inf`) becomes null.
    pub fn to_json(&self) -> serde_json::Value {
        match &self.value {
            Value::String(text) | Value::Datetime(text) => text.as_str().into(),
            Value::Integer(integer) => (*integer).into(),
            Value::Float(float) => (*float).into(),
            Value::Bool(bool) => (*bool).into(),
            Value::Array(nodes) => nodes.iter().map(Node::to_json).collect(),
            Value::Table(table) => table.to_json(),
        }
    }
}

impl Value {
    /// Names the kind of value with its article, as messages say it: `a string`.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::String(_) => "a string",
            Value::Integer(_) => "an integer",
            Value::Float(_) => "a float",
            Value::Bool(_) => "a boolean",
            Value::Datetime(_) => "a datetime",
            Value::Array(_) => "an array",
            Value::Table(_) => "a table",
        }
    }

    /// Names the kind and, where it is short, the value itself: `a string "x"`.
    pub fn describe(&self) -> String {
        match self {
            Value::String(text) => format!("a string {}", quote(text)),
            Value::Integer(integer) => format!("an integer {integer}"),
            Value::Float(float) => format!("a float {float:?}"),
            Value::Bool(bool) => format!("a boolean {bool}"),
            Value::Datetime(text) => format!("a datetime {text}"),
            Value::Array(_) | Value::Table(_) => self.kind().into(),
        }
    }
}

/// Quotes a text for a message, cut where it is long.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 40;
    match text.char_indices().nth(LONGEST) {
        Some((cut, _)) => format!("{:?}…", &text[..cut]),
        None => format!("{text:?}"),
    }
}

impl Table {
    /// Finds the value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.node)
    }

    /// Finds a key together with its value.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Takes a key out together with its value; the others keep their order.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| entry.key == key)?;
        Some(self.entries.remove(at))
    }

    /// Adds a key at the end, or replaces the one of that name where it stands.
    pub fn insert(&mut self, entry: Entry) {
        match self.entries.iter_mut().find(|present| present.key == entry.key) {
            Some(present) => *present = entry,
            None => self.entries.push(entry),
        }
    }

    /// Iterates over the entries in the order they were written.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }

    pub(super) fn iter_mut(&mut self) -> std::slice::IterMut<'_, Entry> {
        self.entries.iter_mut()
    }

    /// Iterates over the keys in the order they were written.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries.iter().map(|entry| entry.key.as_str())
    }

    /// Counts the keys.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Says whether there is no key.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Converts to a JSON object, as [`Node::to_json`] does.
    pub fn to_json(&self) -> serde_json::Value {
        self.entries.iter().map(|entry| (entry.key.clone(), entry.node.to_json())).collect()
    }
}

/// Collects entries whose keys are known to differ.
impl FromIterator<Entry> for Table {
    fn from_iter<I: IntoIterator<Item = Entry>>(entries: I) -> Self {
        Self { entries: entries.into_iter().collect() }
    }
}

impl<'a> IntoIterator for &'a Table {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl IntoIterator for Table {
    type Item = Entry;
    type IntoIter = std::vec::IntoIter<Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}
