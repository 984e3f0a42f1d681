//! `flatten`: one row for each item of a list.

use super::columns::member;
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator, StreamType};
use crate::data::batch::Batch;
use crate::data::schema::{Type, describe, schema_of};
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::stateless::{Stateless, stateless};
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::Spanned;
use arrow::array::{Array, ArrayRef, AsArray, ListArray, RecordBatch, RecordBatchOptions, UInt32Array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;

/// The operator `flatten`.
pub struct Flatten;

#[derive(serde::Deserialize)]
struct Args {
    column: Option<Spanned<String>>,
    #[serde(default)]
    keep: Vec<Spanned<String>>,
}

impl Operator for Flatten {
    fn name(&self) -> &'static str {
        "flatten"
    }

    fn doc(&self) -> &'static str {
        r#"Makes one row of each item of a list.

The members of items that are structs become columns; other items stand in a column with the name of the list. Other
columns are dropped, but for those to keep, which are repeated beside each item. An empty list and a null make no row.
On a keyed stream all rows have the key of the row that the list stood in.

Arguments: `column`, the list, if there are several columns of lists; `keep`, columns to keep.

Ports: `down`.

```toml
[[step]]
name = "items"
op = "flatten"
column = "items"
keep = ["order_id"]
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let args: Args = cx.args()?;
        let (list, item) = find_list(cx, args.column.as_ref())?;
        let mut problems = Diagnostics::new();
        let mut columns: Vec<(String, Type)> = Vec::new();
        let mut keep = Vec::new();
        for name in &args.keep {
            if let Some((index, ty)) = problems.take(cx.column(name)) {
                keep.push(index);
                columns.push((name.value.clone(), ty));
            }
        }
        let is_struct = matches!(item, Type::Struct(_));
        match item {
            Type::Struct(members) => columns.extend(members),
            item => columns.push((cx.up().schema.field(list).name().clone(), item)),
        }
        for (at, (name, _)) in columns.iter().enumerate() {
            if columns[..at].iter().any(|(other, _)| other == name) {
                let message = format!("{}: two columns would be called \"{name}\"", cx.what());
                let help = "rename one of them before, in a step with op = \"select\"";
                let span = args.keep.first().map_or(cx.step.span.clone(), |name| name.span.clone());
                problems.push(Diagnostic::new("duplicate-column", message).at(span).help(help));
            }
        }
        let flattener = Flattener { list, keep, is_struct, schema: schema_of(&columns) };
        let down = StreamType { schema: flattener.schema.clone(), key: cx.up().key.clone() };
        problems.into_result(Checked::new(FlattenStep { flattener }).down(down))
    }
}

fn find_list(cx: &CheckCx<'_>, column: Option<&Spanned<String>>) -> Result<(usize, Type), Diagnostics> {
    let schema = &cx.up().schema;
    if let Some(name) = column {
        let (index, ty) = cx.column(name)?;
        let Type::List(item) = ty else {
            let message = format!("{}: column \"{}\" is {ty}, wanted a list", cx.what(), name.value);
            let help = format!("its rows are: {}", describe(schema));
            return Err(Diagnostic::new("no-list", message).at(name.span.clone()).help(help).into());
        };
        return Ok((index, *item));
    }
    let lists = schema.fields().iter().enumerate().filter_map(|(index, field)| match Type::of(field) {
        Type::List(item) => Some((index, *item)),
        _ => None,
    });
    let lists: Vec<_> = lists.collect();
    match <[_; 1]>::try_from(lists) {
        Ok([only]) => Ok(only),
        Err(lists) => {
            let message = format!("{}: {} of its columns are lists, wanted one", cx.what(), lists.len());
            let help = format!("name it: column = \"<column>\"; its rows are: {}", describe(schema));
            Err(Diagnostic::new("no-list", message).at(cx.step.span.clone()).help(help).into())
        }
    }
}

struct FlattenStep {
    flattener: Flattener,
}

impl BuildStep for FlattenStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        Ok(stateless(cx, ups, 1, self.flattener.clone()))
    }
}

#[derive(Clone)]
struct Flattener {
    list: usize,
    keep: Vec<usize>,
    is_struct: bool,
    schema: SchemaRef,
}

impl Stateless for Flattener {
    fn on_batch(&mut self, _input: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let batch = batch.compact()?;
        let list: &ListArray = batch.rows().column(self.list).as_list();
        let (items, parents) = items(list);
        let rows = UInt32Array::from(parents.clone());
        let mut columns: Vec<ArrayRef> = Vec::with_capacity(self.schema.fields().len());
        for &column in &self.keep {
            columns.push(take(batch.rows().column(column), &rows, None)?);
        }
        let items = take(list.values(), &items, None)?;
        if self.is_struct {
            for index in 0..items.as_struct().num_columns() {
                columns.push(member(items.as_struct(), index)?);
            }
        } else {
            columns.push(items);
        }
        let options = RecordBatchOptions::new().with_row_count(Some(parents.len()));
        let rows = RecordBatch::try_new_with_options(self.schema.clone(), columns, &options)?;
        out.give(0, batch.derive(rows, Some(&parents))?);
        Ok(())
    }
}

/// The items of all lists, as numbers of `values`, and the row of each.
fn items(list: &ListArray) -> (UInt32Array, Vec<u32>) {
    let (mut items, mut parents) = (Vec::new(), Vec::new());
    for (row, range) in (0..).zip(list.offsets().windows(2)).filter(|(row, _)| list.is_valid(*row as usize)) {
        // Offsets of a list are never negative.
        items.extend(range[0] as u32..range[1] as u32);
        parents.resize(items.len(), row);
    }
    (items.into(), parents)
}

#[cfg(test)]
mod tests {
    use super::*;
    use arrow::array::{Int64Array, StructArray};
    use arrow::buffer::{NullBuffer, OffsetBuffer};
    use std::sync::Arc;

    #[test]
    fn null_lists_have_no_items_whatever_stands_in_them() {
        let values = Arc::new(Int64Array::from(vec![1, 2, 3, 4]));
        let field = Arc::new(Type::Int64.field("item"));
        let nulls = NullBuffer::from(vec![true, false, true, true]);
        let list = ListArray::new(field, OffsetBuffer::from_lengths([1, 1, 0, 2]), values, Some(nulls));
        assert_eq!(items(&list), (UInt32Array::from(vec![0, 2, 3]), vec![0, 3, 3]));
        assert_eq!(items(&list.slice(3, 1)), (UInt32Array::from(vec![2, 3]), vec![0, 0]));
    }

    #[test]
    fn a_member_of_a_null_struct_is_null() {
        let members = vec![(Arc::new(Type::Int64.field("a")), Arc::new(Int64Array::from(vec![1, 2])) as ArrayRef)];
        let (fields, columns): (Vec<_>, Vec<_>) = members.into_iter().unzip();
        let items = StructArray::new(fields.into(), columns, Some(NullBuffer::from(vec![false, true])));
        let wanted: ArrayRef = Arc::new(Int64Array::from(vec![None, Some(2)]));
        assert_eq!(&member(&items, 0).unwrap(), &wanted);
    }
}
