//! What all steps share that hand each batch to a stateless function.

use super::columns::{Extension, all_but};
use crate::catalog::cx::CheckCx;
use crate::catalog::function::FunctionKind;
use crate::catalog::operator::{Checked, StreamType};
use crate::data::batch::Batch;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::stateless::{Stateless, stateless};
use crate::dataflow::user_fn::{OpenTransform, TransformFn};
use crate::diag::Diagnostics;
use crate::spec::Spanned;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// The arguments that name a function.
#[derive(serde::Deserialize)]
pub(super) struct FunctionArgs {
    #[serde(rename = "fn")]
    pub function: Spanned<String>,
    pub config: Option<serde_json::Value>,
}

/// Checks a step whose function is of one of some kinds.
///
/// # Errors
/// Wrong arguments, or a function that cannot be had.
pub(super) fn check(cx: &CheckCx<'_>, kinds: &[FunctionKind]) -> Result<Checked, Diagnostics> {
    let args: FunctionArgs = cx.args()?;
    let up = cx.up();
    let open = cx.transform(&args.function, kinds, &up.schema, args.config.as_ref())?;
    let note = reads(&args.function, &open.reads, &up.schema);
    let returned = if kinds.contains(&FunctionKind::Filter) {
        Returned::Kept
    } else if open.extends {
        Returned::Beside(Extension::new(&up.schema, &open.output))
    } else {
        Returned::Rows
    };
    let schema = match &returned {
        Returned::Kept => up.schema.clone(),
        Returned::Rows => open.output.clone(),
        Returned::Beside(extension) => extension.schema.clone(),
    };
    let down = StreamType { schema, key: up.key.clone() };
    Ok(Checked::new(TransformStep { open, returned: Arc::new(returned) }).down(down).note(note))
}

/// As [`check`], of a step that works on keyed streams.
///
/// # Errors
/// As for [`check`]; the upstream has no key.
pub(super) fn check_value(cx: &CheckCx<'_>, kinds: &[FunctionKind]) -> Result<Checked, Diagnostics> {
    let mut problems = Diagnostics::new();
    problems.take(cx.up_key());
    let checked = problems.take(check(cx, kinds));
    match checked {
        Some(checked) => problems.into_result(checked),
        None => Err(problems),
    }
}

/// Says which columns a function reads.
pub(super) fn reads(function: &str, reads: &[usize], input: &SchemaRef) -> String {
    let names: Vec<&str> = reads.iter().map(|&column| input.field(column).name().as_str()).collect();
    let names = if names.is_empty() { "no column".to_owned() } else { names.join(", ") };
    format!("\"{function}\" reads {names}")
}

/// What a function gives back for the rows of a batch.
enum Returned {
    /// Which of them are kept.
    Kept,
    /// Other rows.
    Rows,
    /// Columns that are set beside theirs.
    Beside(Extension),
}

struct TransformStep {
    open: OpenTransform,
    returned: Arc<Returned>,
}

impl BuildStep for TransformStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let function = self.open.factory.instantiate(&cx.instance())?;
        Ok(stateless(cx, ups, 1, Transform { function, returned: self.returned.clone() }))
    }
}

struct Transform {
    function: Box<dyn TransformFn>,
    returned: Arc<Returned>,
}

impl Stateless for Transform {
    fn on_batch(&mut self, _input: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let batch = batch.compact()?;
        let applied = self.function.apply(batch.rows())?;
        out.fail(&batch, &applied.errors)?;
        let mut parents = applied.parents;
        if parents.is_none() && !applied.errors.is_empty() {
            parents = Some(all_but(batch.num_rows(), applied.errors.iter().map(|error| error.row)));
        }
        let parents = parents.as_deref();
        match (&*self.returned, applied.rows) {
            (Returned::Kept, _) => match parents {
                Some(kept) if kept.len() < batch.num_rows() => out.give(0, batch.select(kept)),
                _ => out.give(0, batch),
            },
            (Returned::Rows, Some(rows)) => out.give(0, batch.derive(rows, parents)?),
            (Returned::Beside(extension), Some(added)) => {
                let rows = extension.rows(batch.rows(), &added, parents)?;
                out.give(0, batch.derive(rows, parents)?);
            }
            (_, None) => return Err(LogicError::internal("a function that makes rows returned none")),
        }
        Ok(())
    }
}
