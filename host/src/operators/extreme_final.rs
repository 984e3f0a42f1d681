//! `max_final`, `min_final`: the row of each key with the greatest or the least value.

use super::groups::{Groups, OUTPUT_ROWS};
use super::rows::{RowRef, Rows};
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator};
use crate::data::batch::Batch;
use crate::data::schema::{Type, describe};
use crate::data::time::Instant;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::keyed::{Keyed, keyed};
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::Spanned;
use arrow::array::{Array, ArrayRef, AsArray, BooleanArray, Int64Array};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, UInt64Type};
use std::cmp::Ordering;
use std::sync::Arc;

/// The operator `max_final`.
pub struct MaxFinal;

/// The operator `min_final`.
pub struct MinFinal;

#[derive(serde::Deserialize)]
struct Args {
    by: Option<Spanned<String>>,
}

impl Operator for MaxFinal {
    fn name(&self) -> &'static str {
        "max_final"
    }

    fn doc(&self) -> &'static str {
        r#"Gives the row of each key with the greatest value of a column, once the input has ended.

Of rows with equal values the first stays. Null and NaN are never the greatest; a key that has nothing else gives its
first row. Text is compared by its bytes. Rows come out in ascending order of the keys' bytes, on each worker.

Arguments: `by`, a column of numbers, text, time or booleans; left out if there is only one column.

Ports: `down`, keyed.

```toml
[[step]]
name = "dearest"
op = "max_final"
by = "price"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx, Ordering::Greater)
    }
}

impl Operator for MinFinal {
    fn name(&self) -> &'static str {
        "min_final"
    }

    fn doc(&self) -> &'static str {
        r#"Gives the row of each key with the least value of a column, once the input has ended.

Of rows with equal values the first stays. Null and NaN are never the least; a key that has nothing else gives its first
row. Text is compared by its bytes. Rows come out in ascending order of the keys' bytes, on each worker.

Arguments: `by`, a column of numbers, text, time or booleans; left out if there is only one column.

Ports: `down`, keyed.

```toml
[[step]]
name = "cheapest"
op = "min_final"
by = "price"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        check(cx, Ordering::Less)
    }
}

fn check(cx: &CheckCx<'_>, wins: Ordering) -> Result<Checked, Diagnostics> {
    let args: Args = cx.args()?;
    let mut problems = Diagnostics::new();
    problems.take(cx.up_key());
    let found = problems.take(find_column(cx, args.by.as_ref()));
    let up = cx.up();
    let (Some((by, best)), true) = (found, problems.is_empty()) else { return Err(problems) };
    let step = ExtremeStep { schema: up.schema.clone(), by, best, wins };
    Ok(Checked::new(step).down(up.clone()))
}

fn find_column(cx: &CheckCx<'_>, by: Option<&Spanned<String>>) -> Result<(usize, Best), Diagnostics> {
    let schema = &cx.up().schema;
    let (index, ty, span) = match by {
        Some(name) => {
            let (index, ty) = cx.column(name)?;
            (index, ty, name.span.clone())
        }
        None if schema.fields().len() == 1 => (0, Type::of(schema.field(0)), cx.step.span.clone()),
        None => {
            let message = format!("missing \"by\" in {}", cx.what());
            let help = format!("name a column: by = \"<column>\"; its rows are: {}", describe(schema));
            return Err(Diagnostic::new("missing-key", message).at(cx.step.span.clone()).help(help).into());
        }
    };
    let best = Best::of(&ty).ok_or_else(|| {
        let message = format!("{}: column \"{}\" is {ty}, which has no order", cx.what(), schema.field(index).name());
        let help = "take a column of numbers, text, time or booleans";
        Diagnostics::from(Diagnostic::new("no-order", message).at(span).help(help))
    })?;
    Ok((index, best))
}

struct ExtremeStep {
    schema: SchemaRef,
    by: usize,
    best: Best,
    wins: Ordering,
}

impl BuildStep for ExtremeStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let logic = Extreme::new(self.schema.clone(), self.by, self.best.clone(), self.wins);
        Ok(keyed(cx, ups, std::slice::from_ref(&self.schema), 1, logic))
    }
}

struct Extreme {
    by: usize,
    wins: Ordering,
    groups: Groups,
    /// The groups of a batch's rows.
    found: Vec<u32>,
    best: Best,
    rows: Rows,
    /// By group, the row with the best value.
    kept: Vec<Option<RowRef>>,
}

impl Extreme {
    fn new(schema: SchemaRef, by: usize, best: Best, wins: Ordering) -> Self {
        let (groups, found, kept) = Default::default();
        Extreme { by, wins, groups, found, best, rows: Rows::new(schema), kept }
    }
}

impl Keyed for Extreme {
    fn on_batch(&mut self, _input: usize, batch: Batch, _now: Instant, _out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.groups.intern(batch.keys().expect("the upstream is keyed"), batch.selection(), &mut self.found);
        self.kept.resize(self.groups.capacity(), None);
        self.best.resize(self.groups.capacity());
        let held = self.rows.hold(batch.rows().clone());
        let values = self.best.values(batch.rows().column(self.by))?;
        for (at, &group) in self.found.iter().enumerate() {
            let row = batch.selection().map_or(at, |selection| selection[at] as usize);
            let kept = &mut self.kept[group as usize];
            if self.best.wins(&values, row, group as usize, self.wins) || kept.is_none() {
                let row = u32::try_from(row).expect("a batch has fewer than 2^32 rows");
                if let Some(before) = kept.replace(self.rows.keep(held, row)) {
                    self.rows.release(before);
                }
            }
        }
        self.rows.settle(held);
        if self.rows.is_wasteful() {
            self.rows.pack(self.kept.iter_mut().flatten())?;
        }
        Ok(())
    }

    fn on_eof(&mut self, _now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        for groups in self.groups.sorted().chunks(OUTPUT_ROWS) {
            let rows: Vec<RowRef> = groups.iter().filter_map(|&group| self.kept[group as usize]).collect();
            out.give(0, Batch::keyed(self.rows.gather(&rows)?, self.groups.keys(groups)));
        }
        *self = Extreme::new(self.rows.schema().clone(), self.by, self.best.emptied(), self.wins);
        Ok(())
    }
}

/// The best value so far, by group.
#[derive(Clone, Debug)]
enum Best {
    /// Integers, days, instants, booleans.
    Int(Vec<Option<i64>>),
    Uint(Vec<Option<u64>>),
    Float(Vec<Option<f64>>),
    Text(Vec<Option<String>>),
}

impl Best {
    /// None: values of this type have no order.
    fn of(ty: &Type) -> Option<Best> {
        Some(match ty {
            Type::Bool | Type::Int32 | Type::Int64 | Type::Uint32 | Type::Timestamp | Type::Date => {
                Best::Int(Vec::new())
            }
            Type::Uint64 => Best::Uint(Vec::new()),
            Type::Float32 | Type::Float64 => Best::Float(Vec::new()),
            Type::String => Best::Text(Vec::new()),
            _ => return None,
        })
    }

    fn emptied(&self) -> Best {
        let mut emptied = self.clone();
        emptied.resize(0);
        emptied
    }

    fn resize(&mut self, groups: usize) {
        match self {
            Best::Int(best) => best.resize(groups, None),
            Best::Uint(best) => best.resize(groups, None),
            Best::Float(best) => best.resize(groups, None),
            Best::Text(best) => best.resize(groups, None),
        }
    }

    /// The column in the form in which it is compared.
    fn values(&self, column: &ArrayRef) -> Result<ArrayRef, LogicError> {
        Ok(match self {
            Best::Int(_) if *column.data_type() == DataType::Boolean => {
                let values: &BooleanArray = column.as_boolean();
                Arc::new(values.iter().map(|value| value.map(i64::from)).collect::<Int64Array>())
            }
            // Days go by way of the integers that they are.
            Best::Int(_) if *column.data_type() == DataType::Date32 => {
                cast(&cast(column, &DataType::Int32)?, &DataType::Int64)?
            }
            Best::Int(_) => cast(column, &DataType::Int64)?,
            Best::Float(_) => cast(column, &DataType::Float64)?,
            Best::Uint(_) | Best::Text(_) => column.clone(),
        })
    }

    /// Whether a row's value beats that of its group, and if so takes its place.
    fn wins(&mut self, values: &ArrayRef, row: usize, group: usize, wins: Ordering) -> bool {
        if values.is_null(row) {
            return false;
        }
        match self {
            Best::Int(best) => beat(&mut best[group], values.as_primitive::<Int64Type>().value(row), wins, Ord::cmp),
            Best::Uint(best) => beat(&mut best[group], values.as_primitive::<UInt64Type>().value(row), wins, Ord::cmp),
            Best::Float(best) => {
                let value = values.as_primitive::<Float64Type>().value(row);
                let order = |a: &f64, b: &f64| a.partial_cmp(b).unwrap_or(Ordering::Equal);
                !value.is_nan() && beat(&mut best[group], value, wins, order)
            }
            Best::Text(best) => {
                let value = values.as_string::<i32>().value(row);
                let best = &mut best[group];
                let won = best.as_ref().is_none_or(|best| value.cmp(best) == wins);
                if won {
                    let best = best.get_or_insert_default();
                    best.clear();
                    best.push_str(value);
                }
                won
            }
        }
    }
}

fn beat<T>(best: &mut Option<T>, value: T, wins: Ordering, order: impl Fn(&T, &T) -> Ordering) -> bool {
    let won = best.as_ref().is_none_or(|best| order(&value, best) == wins);
    if won {
        *best = Some(value);
    }
    won
}
