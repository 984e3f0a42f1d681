//! `sum`, an operator whose whole state is in each row that it gives: so rows, states and positions can be compared.

use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Keeps, Operator, StreamType};
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::schema::{Type, schema_of};
use crate::data::time::Instant;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::durable::Changes;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::keyed::{Kept, Keyed, keyed};
use crate::diag::Diagnostics;
use arrow::array::{ArrayRef, AsArray, BinaryArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Counts and adds up the numbers of each key, and tells both for each row, and in the end once more.
pub struct Sum;

impl Operator for Sum {
    fn name(&self) -> &'static str {
        "sum"
    }

    fn doc(&self) -> &'static str {
        "Sums."
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let key = cx.up_key()?;
        let input = cx.up().schema.clone();
        Ok(Checked::new(SumStep { input }).down(StreamType { schema: schema(), key: Some(key) }).keeps(Keeps::new()))
    }
}

fn schema() -> SchemaRef {
    schema_of(&["id", "count", "sum"].map(|name| (name.to_owned(), Type::Int64)))
}

struct SumStep {
    input: SchemaRef,
}

impl BuildStep for SumStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        Ok(keyed(cx, ups, std::slice::from_ref(&self.input), 1, Sums::default()))
    }
}

#[derive(Default)]
struct Sums {
    /// The count and the sum of each key.
    sums: BTreeMap<String, (i64, i64)>,
    changed: BTreeSet<String>,
}

fn give(rows: &[(String, i64, i64, i64)], out: &mut Emit<'_>) -> Result<(), LogicError> {
    if rows.is_empty() {
        return Ok(());
    }
    let keys: StringArray = rows.iter().map(|row| Some(row.0.as_str())).collect();
    let column =
        |of: fn(&(String, i64, i64, i64)) -> i64| Arc::new(rows.iter().map(of).collect::<Int64Array>()) as ArrayRef;
    let columns = vec![column(|row| row.1), column(|row| row.2), column(|row| row.3)];
    out.give(0, Batch::keyed(RecordBatch::try_new(schema(), columns)?, Keys::new(keys)));
    Ok(())
}

impl Keyed for Sums {
    fn on_batch(&mut self, _: usize, batch: Batch, _: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let batch = batch.compact()?;
        let keys = batch.keys().unwrap().values();
        let ids = batch.rows().column_by_name("id").unwrap().as_primitive::<Int64Type>();
        let numbers = batch.rows().column_by_name("n").unwrap().as_primitive::<Int64Type>();
        let mut given = Vec::new();
        for row in 0..batch.num_rows() {
            let key = keys.value(row).to_owned();
            let sum = self.sums.entry(key.clone()).or_default();
            *sum = (sum.0 + 1, sum.1 + numbers.value(row));
            given.push((key.clone(), ids.value(row), sum.0, sum.1));
            self.changed.insert(key);
        }
        give(&given, out)
    }

    fn on_eof(&mut self, _: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let given: Vec<_> = self.sums.iter().map(|(key, sum)| (key.clone(), -1, sum.0, sum.1)).collect();
        give(&given, out)
    }

    fn keep(&mut self) -> Kept {
        Kept::Keys
    }

    fn restore(&mut self, keys: &Keys, states: &BinaryArray, _: Instant) -> Result<(), LogicError> {
        for (key, state) in keys.values().iter().zip(states) {
            self.sums.insert(key.unwrap().to_owned(), read(state.unwrap()));
        }
        Ok(())
    }

    fn snapshot(&mut self, _: Instant) -> Result<Option<Changes>, LogicError> {
        let changed = std::mem::take(&mut self.changed);
        let keys: StringArray = changed.iter().map(|key| Some(key.as_str())).collect();
        let values = changed.iter().map(|key| {
            let (count, sum) = self.sums[key];
            Some([count.to_le_bytes(), sum.to_le_bytes()].concat())
        });
        let values: BinaryArray = values.collect();
        let of = if changed.len() == self.sums.len() { Changes::of_all } else { Changes::of_some };
        Ok(Some(of(Keys::new(keys), values)))
    }
}

/// The count and the sum of a state.
pub fn read(state: &[u8]) -> (i64, i64) {
    let number = |at: usize| i64::from_le_bytes(state[at..at + 8].try_into().unwrap());
    (number(0), number(8))
}
