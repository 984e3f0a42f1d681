//! `merge`: the rows of several steps as one stream.

use crate::catalog::cx::{CheckCx, Up};
use crate::catalog::operator::{Checked, Inputs, Operator, StreamType};
use crate::data::batch::Batch;
use crate::data::schema::{Type, schema_of};
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::stateless::{Stateless, stateless};
use crate::diag::{Diagnostic, Diagnostics};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions, new_null_array};
use arrow::datatypes::{Schema, SchemaRef};
use std::sync::Arc;

/// The operator `merge`.
pub struct Merge;

#[derive(serde::Deserialize)]
struct Args {}

impl Operator for Merge {
    fn name(&self) -> &'static str {
        "merge"
    }

    fn doc(&self) -> &'static str {
        r#"Puts the rows of several steps into one stream.

Columns go by name: a row has null in those that its step does not have. A column must be of one type in all of them.
The rows of one step keep their order; nothing is said of the order between steps. A step that is named twice is
doubled. Either all streams are keyed, by keys of one name, or none.

Arguments: none.

Ports: `down`.

```toml
[[step]]
name = "all"
op = "merge"
from = ["mobile", "web"]
```
"#
    }

    fn inputs(&self) -> Inputs {
        Inputs::Many
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        cx.args::<Args>()?;
        let mut problems = Diagnostics::new();
        let key = problems.take(common_key(cx)).flatten();
        let schema = common_schema(cx, &mut problems);
        let layouts = cx.ups.iter().map(|up| Layout::new(&up.ty.schema, &schema)).collect();
        let down = StreamType { schema, key };
        problems.into_result(Checked::new(MergeStep { layouts }).down(down))
    }
}

/// The columns of all upstreams, in the order in which they are first seen.
fn common_schema(cx: &CheckCx<'_>, problems: &mut Diagnostics) -> SchemaRef {
    let mut columns: Vec<(String, Type, &Up)> = Vec::new();
    for up in &cx.ups {
        for field in up.ty.schema.fields() {
            let ty = Type::of(field);
            match columns.iter().find(|(name, ..)| name == field.name()) {
                None => columns.push((field.name().clone(), ty, up)),
                Some((_, other, _)) if *other == ty => {}
                Some((name, other, first)) => {
                    let message = format!(
                        "{}: column \"{name}\" is {other} in \"{}\" and {ty} in \"{}\"",
                        cx.what(),
                        first.name,
                        up.name
                    );
                    let help = format!("put a step with op = \"select\" behind one of them, with a cast to {other}");
                    problems.push(Diagnostic::new("type-clash", message).at(up.span.clone()).help(help));
                }
            }
        }
    }
    schema_of(&columns.into_iter().map(|(name, ty, _)| (name, ty)).collect::<Vec<_>>())
}

fn common_key(cx: &CheckCx<'_>) -> Result<Option<Arc<str>>, Diagnostics> {
    let Some(first) = cx.ups.first() else { return Ok(None) };
    let Some(other) = cx.ups.iter().find(|up| up.ty.key != first.ty.key) else { return Ok(first.ty.key.clone()) };
    let (message, help) = match (&first.ty.key, &other.ty.key) {
        (Some(key), Some(other_key)) => (
            format!("\"{}\" is keyed by \"{key}\" and \"{}\" by \"{other_key}\"", first.name, other.name),
            "give both keys one name: op = \"key_on\" takes key_name".to_owned(),
        ),
        (key, _) => {
            let (keyed, unkeyed) = if key.is_some() { (first, other) } else { (other, first) };
            (
                format!("\"{}\" is keyed and \"{}\" is not", keyed.name, unkeyed.name),
                format!("put op = \"key_on\" behind \"{}\", or op = \"key_rm\" behind the other", unkeyed.name),
            )
        }
    };
    let diagnostic = Diagnostic::new("key-clash", format!("{}: {message}", cx.what()));
    Err(diagnostic.at(other.span.clone()).help(help).into())
}

/// Where the columns of a schema stand in that of an upstream.
#[derive(Clone, Debug, PartialEq)]
struct Layout {
    schema: SchemaRef,
    /// None: it has no such column.
    columns: Vec<Option<usize>>,
    is_same: bool,
}

impl Layout {
    fn new(from: &Schema, to: &SchemaRef) -> Self {
        let columns = to.fields().iter().map(|field| from.index_of(field.name()).ok()).collect();
        Layout { schema: to.clone(), columns, is_same: from.fields() == to.fields() }
    }

    fn rows(&self, rows: &RecordBatch) -> Result<RecordBatch, LogicError> {
        let columns = self.columns.iter().zip(self.schema.fields()).map(|(column, field)| match column {
            Some(column) => rows.column(*column).clone(),
            None => new_null_array(field.data_type(), rows.num_rows()),
        });
        let options = RecordBatchOptions::new().with_row_count(Some(rows.num_rows()));
        let columns: Vec<ArrayRef> = columns.collect();
        Ok(RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?)
    }
}

struct MergeStep {
    layouts: Vec<Layout>,
}

impl BuildStep for MergeStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        Ok(stateless(cx, ups, 1, Merger { layouts: self.layouts.clone() }))
    }
}

struct Merger {
    layouts: Vec<Layout>,
}

impl Stateless for Merger {
    fn on_batch(&mut self, input: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let layout = &self.layouts[input];
        if layout.is_same {
            out.give(0, batch);
            return Ok(());
        }
        let rows = layout.rows(batch.rows())?;
        out.give(0, batch.with_rows(rows));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Array, Int64Array};

    #[test]
    fn columns_go_by_name_and_missing_ones_are_null() {
        let from = schema_of(&[("b".into(), Type::Int64), ("a".into(), Type::Int64)]);
        let to = schema_of(&[("a".into(), Type::Int64), ("c".into(), Type::List(Type::String.into()))]);
        let layout = Layout::new(&from, &to);
        let column = |value| Arc::new(Int64Array::from(vec![value])) as ArrayRef;
        let rows = layout.rows(&RecordBatch::try_new(from, vec![column(1), column(2)]).unwrap()).unwrap();
        assert_eq!(rows.column(0), &column(2));
        assert_eq!(rows.column(1).null_count(), 1);
        assert!(!layout.is_same && Layout::new(&to, &to).is_same);
    }
}
