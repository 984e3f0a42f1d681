//! Where keys come from: a column, or a function.

use super::columns::all_but;
use super::{text, transform};
use crate::catalog::cx::CheckCx;
use crate::catalog::function::FunctionKind;
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::schema::Type;
use crate::dataflow::build::{BuildCx, Stream};
use crate::dataflow::dead_letter::Kind;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::stateless::{Stateless, stateless};
use crate::dataflow::user_fn::{OpenTransform, RowError, TransformFn};
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::Spanned;
use arrow::array::{Array, AsArray, StringArray, UInt32Array};
use arrow::compute::take;
use std::sync::Arc;

/// Where the keys of a stream come from, checked.
pub(super) struct Keying {
    /// The name of the key.
    pub name: Arc<str>,
    pub note: Option<String>,
    from: From,
}

enum From {
    Column { index: usize, name: Arc<str>, ty: Type },
    Function(OpenTransform),
}

impl Keying {
    /// Checks the arguments `key` and `fn`, of which there must be one; none of both gives none.
    ///
    /// # Errors
    /// Both are there, the column cannot be a key, or the function cannot be had.
    pub fn check(
        cx: &CheckCx<'_>,
        key: Option<&Spanned<String>>,
        function: Option<&Spanned<String>>,
        config: Option<&serde_json::Value>,
        name: Option<&str>,
    ) -> Result<Option<Keying>, Diagnostics> {
        let keying = match (key, function) {
            (None, None) => return Ok(None),
            (Some(_), Some(function)) => {
                let message = format!("{}: \"key\" and \"fn\" exclude each other", cx.what());
                let help = "write key = \"<column>\", or the function that makes the key";
                return Err(Diagnostic::new("too-many-keys", message).at(function.span.clone()).help(help).into());
            }
            (Some(key), None) => {
                let (index, ty) = cx.column(key)?;
                if !text::is_writable(&ty) {
                    let message = format!("{}: column \"{}\" is {ty}, which cannot be a key", cx.what(), key.value);
                    let help = "a key is text: take a column of text, numbers or time, or a function that makes one";
                    return Err(Diagnostic::new("no-key-type", message).at(key.span.clone()).help(help).into());
                }
                let column: Arc<str> = key.value.as_str().into();
                let name = name.map_or_else(|| column.clone(), Arc::from);
                Keying { name, note: None, from: From::Column { index, name: column, ty } }
            }
            (None, Some(function)) => {
                let input = &cx.up().schema;
                let open = cx.transform(function, &[FunctionKind::KeyOn], input, config)?;
                let note = transform::reads(function, &open.reads, input);
                Keying { name: name.unwrap_or("key").into(), note: Some(note), from: From::Function(open) }
            }
        };
        Ok(Some(keying))
    }

    /// Makes the instance of a worker.
    ///
    /// # Errors
    /// The function cannot be had.
    pub fn build(&self, cx: &BuildCx<'_>) -> Result<Keyer, LogicError> {
        Ok(match &self.from {
            From::Column { index, name, ty } => Keyer::Column { index: *index, name: name.clone(), ty: ty.clone() },
            From::Function(open) => Keyer::Function(open.factory.instantiate(&cx.instance())?),
        })
    }

    /// Builds an operator that gives rows their keys; it has one port.
    ///
    /// # Errors
    /// As for [`Keying::build`].
    pub fn add<'s>(&self, cx: &BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let keyer = self.build(cx)?;
        Ok(stateless(cx, ups, 1, AddKeys { keyer }))
    }
}

struct AddKeys {
    keyer: Keyer,
}

impl Stateless for AddKeys {
    fn on_batch(&mut self, _input: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let keyed = self.keyer.keyed(batch, out)?;
        out.give(0, keyed);
        Ok(())
    }
}

/// Makes keys.
pub(super) enum Keyer {
    Column { index: usize, name: Arc<str>, ty: Type },
    Function(Box<dyn TransformFn>),
}

impl Keyer {
    /// Returns the rows with their keys, compact; those without a key are given to `out` as failed.
    ///
    /// # Errors
    /// The function failed, or rows failed that must not.
    pub fn keyed(&mut self, batch: Batch, out: &mut Emit<'_>) -> Result<Batch, LogicError> {
        let batch = batch.compact()?;
        let (batch, keys) = self.split(batch, out)?;
        Ok(batch.with_keys(Some(keys)))
    }

    /// Returns the keys of those rows that have one, and hands the others to `out` as failed. Rows are not copied.
    ///
    /// # Errors
    /// As for [`Keyer::keyed`].
    pub fn keys(&mut self, batch: Batch, out: &mut Emit<'_>) -> Result<Keys, LogicError> {
        if let Keyer::Column { index, ty, .. } = self
            && let Some(selection) = batch.selection()
            && batch.rows().column(*index).null_count() == 0
        {
            // The other columns are not looked at, so that they need not be copied.
            let keys = take(batch.rows().column(*index), &UInt32Array::from(selection.to_vec()), None)?;
            return Ok(Keys::new(text::write(&keys, ty)?));
        }
        Ok(self.split(batch.compact()?, out)?.1)
    }

    fn split(&mut self, batch: Batch, out: &mut Emit<'_>) -> Result<(Batch, Keys), LogicError> {
        let (batch, keys, null): (Batch, StringArray, String) = match self {
            Keyer::Column { index, name, ty } => {
                let keys = text::write(batch.rows().column(*index), ty)?;
                (batch, keys, format!("column \"{name}\", the key, is null"))
            }
            Keyer::Function(function) => {
                let applied = function.apply(batch.rows())?;
                out.fail(&batch, &applied.errors)?;
                let keys = applied.rows.filter(|rows| rows.num_columns() == 1);
                let keys = keys.ok_or_else(|| LogicError::internal("a function that makes keys returned none"))?;
                let failed = applied.errors.iter().map(|error| error.row);
                let batch = match applied.errors.is_empty() {
                    true => batch,
                    false => batch.select(&all_but(batch.num_rows(), failed)).compact()?,
                };
                (batch, keys.column(0).as_string().clone(), "the function returned no key".to_owned())
            }
        };
        if keys.null_count() == 0 {
            return Ok((batch, Keys::new(keys)));
        }
        let (mut kept, mut errors) = (Vec::new(), Vec::new());
        for (row, key) in (0..).zip(&keys) {
            match key {
                Some(_) => kept.push(row),
                None => errors.push(RowError { row, message: null.clone() }),
            }
        }
        out.fail_as(Kind::Value, &batch, &errors)?;
        let keys = take(&keys, &UInt32Array::from(kept.clone()), None)?.as_string().clone();
        Ok((batch.select(&kept).compact()?, Keys::new(keys)))
    }
}
