//! The row of each group with the least or the greatest value of a column.

use super::rows::{RowRef, Rows};
use super::states::{States, unreadable};
use crate::catalog::cx::CheckCx;
use crate::data::schema::{Type, describe};
use crate::dataflow::error::LogicError;
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::Spanned;
use arrow::array::{Array, ArrayRef, AsArray, BinaryArray, BooleanArray, Int64Array, RecordBatch};
use arrow::compute::cast;
use arrow::datatypes::{DataType, Float64Type, Int64Type, SchemaRef, UInt64Type};
use std::cmp::Ordering;
use std::sync::Arc;

/// The argument of the operators.
#[derive(serde::Deserialize)]
pub(super) struct Args {
    by: Option<Spanned<String>>,
}

/// Which row of a group stays.
#[derive(Clone)]
pub(super) struct Rule {
    schema: SchemaRef,
    by: usize,
    wins: Ordering,
    /// Without groups.
    best: Best,
}

impl Rule {
    /// Checks the arguments for the only upstream; `wins` is how a value compares to one that it beats.
    ///
    /// # Errors
    /// The column cannot be found, or has no order.
    pub fn check(cx: &CheckCx<'_>, args: &Args, wins: Ordering) -> Result<Rule, Diagnostics> {
        let (by, best) = find_column(cx, args.by.as_ref())?;
        Ok(Rule { schema: cx.up().schema.clone(), by, wins, best })
    }

    /// A rule for a column that has an order.
    #[cfg(test)]
    pub fn by(schema: &SchemaRef, by: usize, wins: Ordering) -> Rule {
        let best = Best::of(&Type::of(schema.field(by))).unwrap();
        Rule { schema: schema.clone(), by, wins, best }
    }

    /// The schema of the rows.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
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

/// The rows that stay, so far.
pub(super) struct Extremes {
    by: usize,
    wins: Ordering,
    best: Best,
    rows: Rows,
    /// By group.
    kept: Vec<Option<RowRef>>,
}

impl Extremes {
    /// Starts without groups.
    pub fn new(rule: &Rule) -> Self {
        let Rule { schema, by, wins, best } = rule.clone();
        Extremes { by, wins, best, rows: Rows::new(schema), kept: Vec::new() }
    }

    /// Takes row `index[i]` (or row `i`) into `groups[i]`, in this order. Of rows with equal values the first stays, and
    /// where no row has a value the first of all.
    ///
    /// # Errors
    /// The rows that are kept are too large for one batch.
    pub fn take(&mut self, groups: &[u32], index: Option<&[u32]>, rows: &RecordBatch) -> Result<(), LogicError> {
        self.make_room(groups);
        let held = self.rows.hold(rows.clone());
        let values = self.best.values(rows.column(self.by))?;
        for (at, &group) in groups.iter().enumerate() {
            let row = index.map_or(at, |index| index[at] as usize);
            let kept = &mut self.kept[group as usize];
            if self.best.wins(&values, row, group as usize, self.wins) || kept.is_none() {
                let row = u32::try_from(row).expect("a batch has fewer than 2^32 rows");
                if let Some(before) = kept.replace(self.rows.keep(held, row)) {
                    self.rows.release(before);
                }
            }
        }
        self.rows.settle(held);
        self.pack()
    }

    /// Takes the row of `from[i]` into `into[i]`, as if it came after; `from[i]` has none then.
    ///
    /// # Errors
    /// As for `take`.
    pub fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<(), LogicError> {
        self.make_room(into);
        self.make_room(from);
        for (&into, &from) in into.iter().zip(from) {
            let won = self.best.merge(into as usize, from as usize, self.wins);
            let Some(row) = self.kept[from as usize].take() else { continue };
            let kept = &mut self.kept[into as usize];
            if won || kept.is_none() {
                if let Some(before) = kept.replace(row) {
                    self.rows.release(before);
                }
            } else {
                self.rows.release(row);
            }
        }
        self.pack()
    }

    /// The rows of some groups; a group without one has none.
    ///
    /// # Errors
    /// They are too large for one batch.
    pub fn gather(&self, groups: &[u32]) -> Result<RecordBatch, LogicError> {
        let rows: Vec<RowRef> = groups.iter().filter_map(|&group| self.kept[group as usize]).collect();
        self.rows.gather(&rows)
    }

    /// Ends groups.
    ///
    /// # Errors
    /// As for `take`.
    pub fn release(&mut self, groups: &[u32]) -> Result<(), LogicError> {
        self.make_room(groups);
        for &group in groups {
            self.best.clear(group as usize);
            if let Some(row) = self.kept[group as usize].take() {
                self.rows.release(row);
            }
        }
        self.pack()
    }

    /// Encodes the rows of groups, one each; of a group without one nothing.
    ///
    /// # Errors
    /// They have columns of a type that cannot be encoded, or are too large together.
    pub fn save(&self, groups: &[u32]) -> Result<BinaryArray, LogicError> {
        let kept = |group: u32| self.kept.get(group as usize).copied().flatten();
        let rows: Vec<RowRef> = groups.iter().filter_map(|&group| kept(group)).collect();
        let (saved, mut states) = (self.rows.save(&rows)?, States::with_capacity(groups.len()));
        let mut saved = saved.iter();
        for &group in groups {
            let row = kept(group).and_then(|_| saved.next());
            // A row of no columns has no bytes: the first says that there is one.
            states.push(|state| {
                row.into_iter().for_each(|row| {
                    state.push(1);
                    state.extend_from_slice(row);
                })
            })?;
        }
        Ok(states.finish())
    }

    /// Takes in rows of groups that have none as [`Extremes::save`] encoded them.
    ///
    /// # Errors
    /// They are something else.
    pub fn load(&mut self, groups: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        let (mut of, mut rows) = (Vec::with_capacity(groups.len()), Vec::with_capacity(groups.len()));
        for (at, &group) in groups.iter().enumerate() {
            match states.value(at) {
                [] => {}
                [1, row @ ..] => {
                    of.push(group);
                    rows.push(row);
                }
                _ => return Err(unreadable("it is no row")),
            }
        }
        let rows = self.rows.decode(&rows)?;
        self.take(&of, None, &rows)
    }

    fn make_room(&mut self, groups: &[u32]) {
        let needed = groups.iter().max().map_or(0, |&group| group as usize + 1);
        if needed > self.kept.len() {
            self.kept.resize(needed, None);
            self.best.resize(needed);
        }
    }

    fn pack(&mut self) -> Result<(), LogicError> {
        match self.rows.is_wasteful() {
            true => self.rows.pack(self.kept.iter_mut().flatten()),
            false => Ok(()),
        }
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

    /// Whether the value of the group `from` beats that of `into` and if so takes its place; `from` has none then.
    fn merge(&mut self, into: usize, from: usize, wins: Ordering) -> bool {
        match self {
            Best::Int(best) => merge(best, into, from, |a, b| a.cmp(b) == wins),
            Best::Uint(best) => merge(best, into, from, |a, b| a.cmp(b) == wins),
            Best::Float(best) => merge(best, into, from, |a, b| a.partial_cmp(b) == Some(wins)),
            Best::Text(best) => merge(best, into, from, |a, b| a.cmp(b) == wins),
        }
    }

    fn clear(&mut self, group: usize) {
        match self {
            Best::Int(best) => best[group] = None,
            Best::Uint(best) => best[group] = None,
            Best::Float(best) => best[group] = None,
            Best::Text(best) => best[group] = None,
        }
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

/// Whether the value of one group beats that of another and if so takes its place; the former has none then.
fn merge<T>(best: &mut [Option<T>], into: usize, from: usize, beats: impl Fn(&T, &T) -> bool) -> bool {
    let Some(value) = best[from].take() else { return false };
    let won = best[into].as_ref().is_none_or(|before| beats(&value, before));
    if won {
        best[into] = Some(value);
    }
    won
}

fn beat<T>(best: &mut Option<T>, value: T, wins: Ordering, order: impl Fn(&T, &T) -> Ordering) -> bool {
    let won = best.as_ref().is_none_or(|best| order(&value, best) == wins);
    if won {
        *best = Some(value);
    }
    won
}
