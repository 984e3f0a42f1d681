//! Stateless functions: the loops over the rows of a batch that the attribute macros call.

use std::borrow::Cow;
use std::io::Write as _;

pub use crate::bindings::exports::wxhost::plugin::functions::Kind;
pub use crate::bindings::exports::wxhost::plugin::transform::Applied;
use crate::bindings::wxhost::plugin::types::{Batch, RowError, Schema};
use crate::config::{self, Config};
use crate::error::{Error, Result};
use crate::read::{Read, RowPlan};
use crate::write::{Build as _, Bytes, Rows, Write, schema_of};

/// A stateless function. The attributes `map`, `filter`, `filter_map`, `flat_map` and `key_on` make one of a plain
/// function: a type of the same name.
pub trait Transform: 'static {
    /// What becomes of a row.
    const KIND: Kind;

    /// What it does, for `wxhost plugin list`.
    const DOC: &'static str = "";

    /// Returns the JSON Schema of its configuration; empty if it takes none.
    fn config_schema() -> String {
        String::new()
    }

    /// Opens it for rows of a schema.
    fn open(input: &Schema, config: &str) -> Result<OpenTransform>;
}

/// A stateless function that was opened.
pub struct OpenTransform {
    /// The rows that it returns.
    pub output: Schema,
    /// The columns that it reads.
    pub reads: Vec<u32>,
    /// Whether the columns are set beside those of the input.
    pub extends: bool,
    /// Handles a batch.
    pub apply: Box<dyn FnMut(Batch) -> Result<Applied>>,
}

/// A function over rows, as the attribute macros write it. Every one is a [`Transform`].
pub trait RowFunction: 'static {
    /// What becomes of a row.
    const KIND: Kind;
    /// The function's doc comment.
    const DOC: &'static str;
    /// Whether the columns are set beside those of the input.
    const EXTENDS: bool;
    /// The second parameter.
    type Config: Config;

    /// Finds the columns of the first parameter.
    fn plan(input: &Schema) -> Result<RowPlan>;

    /// Returns the schema of the rows that it returns.
    fn output() -> Schema;

    /// Runs the loop over a batch.
    fn apply(plan: &RowPlan, config: &Self::Config, batch: &Batch) -> Result<Applied>;
}

impl<F: RowFunction> Transform for F {
    const KIND: Kind = F::KIND;
    const DOC: &'static str = F::DOC;

    fn config_schema() -> String {
        F::Config::json_schema()
    }

    fn open(input: &Schema, config: &str) -> Result<OpenTransform> {
        let config: F::Config = config::parse(config)?;
        let plan = F::plan(input)?;
        Ok(OpenTransform {
            output: F::output(),
            reads: plan.reads.clone(),
            extends: F::EXTENDS,
            apply: Box::new(move |batch| F::apply(&plan, &config, &batch)),
        })
    }
}

/// Calls `f` for every row and sets aside the rows that fail.
#[inline]
fn for_rows<'a, I: Read<'a>>(
    plan: &RowPlan,
    batch: &'a Batch,
    mut f: impl FnMut(u32, I) -> Result<()>,
) -> Result<Vec<RowError>> {
    let columns = plan.bind::<I>(batch)?;
    let mut errors = Vec::new();
    for row in 0..batch.rows {
        if let Err(error) = plan.get::<I>(&columns, row as usize).and_then(|value| f(row, value)) {
            errors.push(error.of_row(row as usize)?);
        }
    }
    Ok(errors)
}

/// Maps every row to one.
#[inline]
pub fn map<'a, I: Read<'a>, O: Write>(plan: &RowPlan, batch: &'a Batch, f: impl Fn(I) -> Result<O>) -> Result<Applied> {
    let mut rows = Rows::with_capacity(batch.rows as usize);
    let errors = for_rows(plan, batch, |_, input| {
        rows.push(f(input)?);
        Ok(())
    })?;
    Ok(Applied { rows: Some(rows.finish()), parents: None, errors })
}

/// Keeps the rows for which `f` says so.
#[inline]
pub fn filter<'a, I: Read<'a>>(plan: &RowPlan, batch: &'a Batch, f: impl Fn(I) -> Result<bool>) -> Result<Applied> {
    let mut parents = Vec::with_capacity(batch.rows as usize);
    let errors = for_rows(plan, batch, |row, input| {
        if f(input)? {
            parents.push(row);
        }
        Ok(())
    })?;
    Ok(Applied { rows: None, parents: Some(parents), errors })
}

/// Maps every row to any number of rows. An `Option` is one or none.
#[inline]
pub fn flat_map<'a, I: Read<'a>, O: IntoIterator<Item: Write>>(
    plan: &RowPlan,
    batch: &'a Batch,
    f: impl Fn(I) -> Result<O>,
) -> Result<Applied> {
    let mut rows = Rows::with_capacity(batch.rows as usize);
    let mut parents = Vec::with_capacity(batch.rows as usize);
    let errors = for_rows(plan, batch, |row, input| {
        for output in f(input)? {
            rows.push(output);
            parents.push(row);
        }
        Ok(())
    })?;
    Ok(Applied { rows: Some(rows.finish()), parents: Some(parents), errors })
}

/// Names the key of every row.
#[inline]
pub fn key_on<'a, I: Read<'a>, K: Key>(
    plan: &RowPlan,
    batch: &'a Batch,
    f: impl Fn(I) -> Result<K>,
) -> Result<Applied> {
    let mut keys = Bytes::default();
    keys.reserve(batch.rows as usize);
    let errors = for_rows(plan, batch, |_, input| {
        f(input)?.write(&mut keys.data);
        keys.end_value();
        Ok(())
    })?;
    let mut columns = Vec::new();
    let root = keys.finish(&mut columns);
    let rows = Batch { rows: columns[0].rows, columns, roots: vec![root] };
    Ok(Applied { rows: Some(rows), parents: None, errors })
}

/// Returns the schema of the rows of a map; `f` is never called.
pub fn map_output<I, C, O: Write>(_: impl Fn(I, &C) -> Result<O>) -> Schema {
    schema_of::<O>()
}

/// Returns the schema of the rows of a flat map; `f` is never called.
pub fn flat_map_output<I, C, O: IntoIterator<Item: Write>>(_: impl Fn(I, &C) -> Result<O>) -> Schema {
    schema_of::<O::Item>()
}

/// Returns the schema of keys.
pub fn key_output() -> Schema {
    let mut schema = schema_of::<&str>();
    "key".clone_into(&mut schema.fields[0].name);
    schema
}

/// Returns the schema of no columns, which is what a filter returns.
pub fn no_output() -> Schema {
    Schema { fields: Vec::new(), roots: Vec::new() }
}

/// What can be the key of a row: text, or what has one way to be written as text.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is no key",
    note = "keys are &str, String, Cow<str>, bool or integers"
)]
pub trait Key {
    /// Appends the key.
    fn write(&self, text: &mut Vec<u8>);
}

impl Key for &str {
    #[inline]
    fn write(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(self.as_bytes());
    }
}

impl Key for String {
    #[inline]
    fn write(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(self.as_bytes());
    }
}

impl Key for Cow<'_, str> {
    #[inline]
    fn write(&self, text: &mut Vec<u8>) {
        text.extend_from_slice(self.as_bytes());
    }
}

/// Writes keys that are no text.
macro_rules! key_as_text {
    ($($type:ty),*) => {$(
        impl Key for $type {
            fn write(&self, text: &mut Vec<u8>) {
                write!(text, "{self}").expect("a Vec takes any bytes");
            }
        }
    )*};
}

key_as_text!(bool, i32, i64, u32, u64);

/// Gives the errors of functions the crate's type.
#[inline]
pub fn fallible<T, E: Into<Error>>(result: Result<T, E>) -> Result<T> {
    result.map_err(Into::into)
}
