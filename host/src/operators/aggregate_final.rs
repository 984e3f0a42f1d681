//! `aggregate_final`: counts, sums and the like of all rows of a key.

use super::aggregate::{Aggregate, Aggregates, aggregate_doc, keeps, open, parse, schema, values_doc};
use super::count_final::COMBINED_KEYS;
use super::fold_final::{FoldStep, give_finished};
use super::groups::{Groups, OUTPUT_ROWS};
use super::states::changes;
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator, StreamType};
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
        Ok(checked.down(down).keeps(keeps()))
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

#[cfg(test)]
mod tests {
    use super::super::aggregate::{Function, Of};
    use super::super::testing::{check_crashes, emitted, in_turn, keyed};
    use super::*;

    #[test]
    fn aggregates_survive_crashes() {
        let of = |function, name: &str, ty: Type| {
            let output = function_output(function, &ty);
            Aggregate { name: name.to_owned(), of: Of::Column { function, index: 1, ty }, ty: output }
        };
        let aggregates = vec![
            Aggregate { name: "rows".to_owned(), of: Of::Rows, ty: Type::Int64 },
            of(Function::Sum, "sum", Type::Int64),
            of(Function::Max, "max", Type::Int64),
            of(Function::Last, "last", Type::Int64),
        ];
        let keys = || {
            let (groups, found) = Default::default();
            Aggregated { groups, found, states: Aggregates::new(&aggregates).unwrap() }
        };
        let batches: [&[&str]; 4] = [&["a,1", "b,", "a,5"], &["a,2"], &["c,7", "b,3"], &["a,"]];
        // The first half gives everything away with each epoch.
        let combined = batches.into_iter().flat_map(|batch| {
            let mut first = Combine(keys());
            emitted(|out| {
                first.on_batch(0, keyed("k: string, n: int64", batch), Instant(0), out)?;
                first.on_epoch(Epoch(1), out)
            })
        });
        let inputs = in_turn(combined.map(|batch| (1, batch)).collect());
        let (given, kept) = check_crashes(|| Total { keys: keys(), key: "k".into() }, &inputs);
        let wanted = [
            "0 a: rows=4, sum=8, max=5, last=2",
            "0 b: rows=2, sum=3, max=3, last=3",
            "0 c: rows=1, sum=7, max=7, last=7",
        ];
        assert_eq!(given[4], wanted);
        assert_eq!((kept[3].len(), kept[4].len()), (3, 0));
    }

    fn function_output(function: Function, ty: &Type) -> Type {
        function.output(ty).unwrap()
    }
}
