//! `aggregate_final`: counts, sums and the like of all rows of a key.

use super::aggregate::{Aggregate, Aggregates, aggregate_doc, open, parse, schema, values_doc};
use super::count_final::COMBINED_KEYS;
use super::fold_final::{FoldStep, give_finished};
use super::groups::{Groups, OUTPUT_ROWS};
use super::states::changes;
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Keeps, Operator, StreamType};
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::schema::{Type, schema_of};
use crate::data::time::{Epoch, Instant};
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::durable::Changes;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::keyed::{Kept, Keyed, combined};
use crate::dataflow::user_fn::FoldFn;
use crate::diag::Diagnostics;
use crate::spec::Node;
use arrow::array::{AsArray, BinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::sync::{Arc, LazyLock};

/// What workers hand each other: the states of keys.
static STATES: LazyLock<SchemaRef> = LazyLock::new(|| schema_of(&[("state".to_owned(), Type::Binary)]));

/// The operator `aggregate_final`.
pub struct AggregateFinal;

#[derive(serde::Deserialize)]
struct Args {
    aggregate: Node,
}

impl Operator for AggregateFinal {
    fn name(&self) -> &'static str {
        "aggregate_final"
    }

    fn doc(&self) -> &'static str {
        concat!(
            r#"Gives counts, sums and the like of all rows of a key as one row, once the input has ended.

Rows come out in ascending order of the keys' bytes, on each worker. Each worker aggregates what it has before keys are
exchanged, unless sums or means of floats are among the aggregates: their rows are added up in the order in which they
come.

Arguments:
"#,
            aggregate_doc!(),
            values_doc!(),
            r#"
Ports: `down`, keyed.

```toml
[[step]]
name = "totals"
op = "aggregate_final"
aggregate = { orders = "count(*)", total = "sum(price)", dearest = "max(price)" }
```
"#
        )
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let args: Args = cx.args()?;
        let mut problems = Diagnostics::new();
        let key = problems.take(cx.up_key());
        let aggregates = problems.take(parse(cx, &args.aggregate));
        let (Some(key), Some(aggregates)) = (key, aggregates) else { return Err(problems) };
        let down = StreamType { schema: schema(&aggregates), key: Some(key.clone()) };
        let checked = match aggregates.iter().all(Aggregate::is_exact) {
            true => Checked::new(CombinedStep { aggregates, key }),
            false => Checked::new(FoldStep { open: open(aggregates), input: cx.up().schema.clone(), key }),
        };
        Ok(checked.down(down).keeps(Keeps::new()))
    }
}

/// A step whose results do not depend on how rows are put together.
struct CombinedStep {
    aggregates: Vec<Aggregate>,
    /// The name of the key.
    key: Arc<str>,
}

impl BuildStep for CombinedStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, mut ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let up = ups.pop().expect("the plan gives an operator its upstreams");
        let keys = || -> Result<Aggregated, LogicError> {
            Ok(Aggregated { groups: Groups::default(), found: Vec::new(), states: Aggregates::new(&self.aggregates)? })
        };
        let (first, second) = (Combine(keys()?), Total { keys: keys()?, key: self.key.clone() });
        combined(cx, up, &STATES, first, second)
    }
}

/// Keys with their aggregates.
struct Aggregated {
    groups: Groups,
    /// The groups of a batch's rows.
    found: Vec<u32>,
    states: Aggregates,
}

/// Aggregates the rows of one worker.
struct Combine(Aggregated);

impl Combine {
    /// Hands over the states of all keys, and ends them.
    fn give(&mut self, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let Aggregated { groups, states, .. } = &mut self.0;
        let all: Vec<u32> = (0..).take(groups.capacity()).collect();
        for chunk in all.chunks(OUTPUT_ROWS) {
            let rows = RecordBatch::try_new(STATES.clone(), vec![Arc::new(states.save(chunk)?)])?;
            out.give(0, Batch::keyed(rows, groups.keys(chunk)));
        }
        states.release(&all)?;
        groups.clear();
        Ok(())
    }
}

impl Keyed for Combine {
    fn on_batch(&mut self, _input: usize, batch: Batch, _now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let Aggregated { groups, found, states } = &mut self.0;
        groups.intern(batch.keys().expect("the upstream is keyed"), batch.selection(), found);
        // No row fails: only a sum that is given out can be too large.
        states.update(found, batch.selection(), batch.rows())?;
        if groups.len() >= COMBINED_KEYS {
            self.give(out)?;
        }
        Ok(())
    }

    fn on_epoch(&mut self, _epoch: Epoch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.give(out)
    }
}

/// Puts the aggregates of all workers together.
struct Total {
    keys: Aggregated,
    /// The name of the key, for dead letters.
    key: Arc<str>,
}

impl Keyed for Total {
    fn on_batch(&mut self, _input: usize, batch: Batch, _now: Instant, _out: &mut Emit<'_>) -> Result<(), LogicError> {
        let Aggregated { groups, found, states } = &mut self.keys;
        let batch = batch.compact()?;
        groups.intern(batch.keys().expect("the first half keeps them"), None, found);
        states.add(found, batch.rows().column(0).as_binary())
    }

    fn on_eof(&mut self, _now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let Aggregated { groups, states, .. } = &mut self.keys;
        give_finished(states, groups, &groups.sorted(), &self.key, out)?;
        groups.clear();
        Ok(())
    }

    fn keep(&mut self) -> Kept {
        self.keys.groups.track();
        Kept::Keys
    }

    fn restore(&mut self, keys: &Keys, states: &BinaryArray, _now: Instant) -> Result<(), LogicError> {
        let groups = self.keys.groups.restore(keys);
        self.keys.states.restore(&groups, states)
    }

    fn snapshot(&mut self, _now: Instant) -> Result<Option<Changes>, LogicError> {
        let Aggregated { groups, states, .. } = &mut self.keys;
        changes(groups, |_, live| states.save(live))
    }
}
