//! `aggregate_running`: counts, sums and the like of the rows of a key so far.

use super::aggregate::{Aggregate, Aggregates, aggregate_doc, keeps, parse, schema, values_doc};
use super::columns::{Extension, all_but};
use super::groups::Groups;
use super::states::changes;
use super::ttl::{self, Ttl};
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Operator, StreamType};
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::time::Instant;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::durable::Changes;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::keyed::{Kept, Keyed, keyed};
use crate::dataflow::user_fn::FoldFn;
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::{DurationText, Node, Spanned};
use arrow::array::BinaryArray;
use arrow::datatypes::SchemaRef;
use std::time::Duration;

/// The operator `aggregate_running`.
pub struct AggregateRunning;

#[derive(serde::Deserialize)]
struct Args {
    aggregate: Node,
    ttl: Option<Spanned<DurationText>>,
}

impl Operator for AggregateRunning {
    fn name(&self) -> &'static str {
        "aggregate_running"
    }

    fn doc(&self) -> &'static str {
        concat!(
            r#"Adds to each row counts, sums and the like of the rows of its key so far, with itself.

Rows are taken in as they come, so that with several source partitions what a row gets depends on chance. What is known
of a key stays over the end of the input.

Arguments:
"#,
            aggregate_doc!(),
            r#"- `ttl`, a duration: a key whose last row came so long ago, by system time, begins anew. Without it keys stay for ever.
"#,
            values_doc!(),
            r#"
Ports: `down`, keyed, with the columns behind those of the row.

```toml
[[step]]
name = "balance"
op = "aggregate_running"
aggregate = { balance = "sum(price)" }
```
"#
        )
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let args: Args = cx.args()?;
        let mut problems = Diagnostics::new();
        let key = problems.take(cx.up_key());
        let aggregates = problems.take(parse(cx, &args.aggregate));
        if let Some(ttl) = args.ttl.as_ref().filter(|ttl| ttl.value.0.is_zero()) {
            let message = format!("{}: with a \"ttl\" of nothing there is no state", cx.what());
            let help = "give a duration such as \"1h\", or leave it out to keep keys for ever";
            problems.push(Diagnostic::new("bad-value", message).at(ttl.span.clone()).help(help));
        }
        let input = cx.up().schema.clone();
        for entry in args.aggregate.as_table().into_iter().flatten() {
            if input.column_with_name(&entry.key).is_some() {
                let message = format!("{}: its rows have a column \"{}\" already", cx.what(), entry.key);
                let help = "give the aggregate another name";
                problems.push(Diagnostic::new("duplicate-column", message).at(entry.key_span.clone()).help(help));
            }
        }
        let (Some(key), Some(aggregates), true) = (key, aggregates, problems.is_empty()) else { return Err(problems) };
        let extension = Extension::new(&input, &schema(&aggregates));
        let down = StreamType { schema: extension.schema.clone(), key: Some(key) };
        let ttl = args.ttl.map(|ttl| ttl.value.0);
        let keeps = keeps().ignoring(&["ttl"]);
        Ok(Checked::new(RunningStep { aggregates, input, extension, ttl }).down(down).keeps(keeps))
    }
}

struct RunningStep {
    aggregates: Vec<Aggregate>,
    input: SchemaRef,
    extension: Extension,
    ttl: Option<Duration>,
}

impl BuildStep for RunningStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let running = Running {
            extension: self.extension.clone(),
            ttl: self.ttl.map(Ttl::new),
            groups: Groups::default(),
            found: Vec::new(),
            states: Aggregates::new(&self.aggregates)?,
        };
        Ok(keyed(cx, ups, std::slice::from_ref(&self.input), 1, running))
    }
}

struct Running {
    extension: Extension,
    ttl: Option<Ttl>,
    groups: Groups,
    /// The groups of a batch's rows.
    found: Vec<u32>,
    states: Aggregates,
}

impl Running {
    /// Ends the keys whose last row came too long ago.
    fn forget(&mut self, now: Instant) -> Result<(), LogicError> {
        let Some(ttl) = &mut self.ttl else { return Ok(()) };
        let ended = ttl.due(now);
        self.states.release(&ended)?;
        self.groups.release(&ended);
        Ok(())
    }
}

impl Keyed for Running {
    fn on_batch(&mut self, _input: usize, batch: Batch, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        // A key that has come to its end before this batch begins anew with it.
        self.forget(now)?;
        let batch = batch.compact()?;
        self.groups.intern(batch.keys().expect("the upstream is keyed"), None, &mut self.found);
        if let Some(ttl) = &mut self.ttl {
            ttl.touch(&self.found, now);
        }
        let running = self.states.running(&self.found, batch.rows())?;
        out.fail(&batch, &running.errors)?;
        let batch = match running.errors.is_empty() {
            true => batch,
            false => {
                batch.select(&all_but(batch.num_rows(), running.errors.iter().map(|error| error.row))).compact()?
            }
        };
        let rows = self.extension.rows(batch.rows(), &running.rows, None)?;
        out.give(0, batch.derive(rows, None)?);
        Ok(())
    }

    fn wake_at(&self) -> Option<Instant> {
        self.ttl.as_ref().and_then(Ttl::next)
    }

    fn on_wake(&mut self, now: Instant, _out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.forget(now)
    }

    fn keep(&mut self) -> Kept {
        self.groups.track();
        Kept::Keys
    }

    fn restore(&mut self, keys: &Keys, states: &BinaryArray, now: Instant) -> Result<(), LogicError> {
        let groups = self.groups.restore(keys);
        let states = ttl::load(self.ttl.as_mut(), states, &groups, now)?;
        self.states.restore(&groups, &states)
    }

    fn snapshot(&mut self, _now: Instant) -> Result<Option<Changes>, LogicError> {
        let Running { groups, states, ttl, .. } = self;
        changes(groups, |_, live| ttl::save(ttl.as_ref(), &states.save(live)?, live))
    }
}

#[cfg(test)]
mod tests {
    use super::super::aggregate::Of;
    use super::super::testing::{check_crashes, emitted, in_turn, keyed, show, table};
    use super::*;
    use crate::data::schema::Type;

    #[test]
    fn a_key_without_rows_for_long_begins_anew() {
        let aggregates = vec![Aggregate { name: "rows".to_owned(), of: Of::Rows, ty: Type::Int64 }];
        let mut running = running(&aggregates, Some(10));
        let mut take = |keys: &[&str], now: i64| {
            let given = emitted(|out| running.on_batch(0, keyed("k: string", keys), Instant(now), out));
            (given.iter().flat_map(show).collect::<Vec<_>>(), running.groups.len())
        };
        assert_eq!(take(&["a", "b", "a"], 0).0, ["a: k=a, rows=1", "b: k=b, rows=1", "a: k=a, rows=2"]);
        assert_eq!(take(&["b"], 9), (vec!["b: k=b, rows=2".to_owned()], 2));
        assert_eq!(take(&["a"], 10).0, ["a: k=a, rows=1"]);
        assert_eq!(take(&["c"], 19), (vec!["c: k=c, rows=1".to_owned()], 2));
        emitted(|out| running.on_wake(Instant(29), out));
        assert_eq!((running.groups.len(), running.wake_at()), (0, None));
    }

    #[test]
    fn what_is_known_of_keys_and_for_how_long_survives_crashes() {
        let aggregates = vec![Aggregate { name: "rows".to_owned(), of: Of::Rows, ty: Type::Int64 }];
        let batches: [(i64, &[&str]); 6] =
            [(0, &["a", "b", "a"]), (4, &["b", "c"]), (5, &[]), (2, &["a", "b"]), (9, &["b"]), (2, &["c", "a"])];
        let inputs: Vec<_> = batches.into_iter().map(|(gap, rows)| (gap, keyed("k: string", rows))).collect();
        for (ttl, wanted) in
            [(None, ["0 c: k=c, rows=2", "0 a: k=a, rows=4"]), (Some(10), ["0 c: k=c, rows=1", "0 a: k=a, rows=1"])]
        {
            let running = || running(&aggregates, ttl);
            let (given, kept) = check_crashes(running, &in_turn(inputs.clone()));
            assert_eq!(given[5], wanted, "{ttl:?}");
            let keys: Vec<&str> = kept[4].keys().map(String::as_str).collect();
            assert_eq!(keys, if ttl.is_some() { &["a", "b"][..] } else { &["a", "b", "c"] });
        }
    }

    #[test]
    fn a_ttl_may_come_and_go_over_a_restore() {
        let aggregates = vec![Aggregate { name: "rows".to_owned(), of: Of::Rows, ty: Type::Int64 }];
        for (before, after, wanted) in
            [(None, Some(10), Some(110)), (Some(10), None, None), (Some(10), Some(50), Some(10))]
        {
            let mut old = running(&aggregates, before);
            old.keep();
            emitted(|out| old.on_batch(0, keyed("k: string", &["a"]), Instant(0), out));
            let Changes { keys, values, .. } = old.snapshot(Instant(0)).unwrap().unwrap();
            let mut new = running(&aggregates, after);
            new.restore(&keys, &values, Instant(100)).unwrap();
            assert_eq!(new.wake_at(), wanted.map(Instant));
        }
    }

    fn running(aggregates: &[Aggregate], ttl: Option<u64>) -> Running {
        Running {
            extension: Extension::new(&table("k: string", &[]).schema(), &schema(aggregates)),
            ttl: ttl.map(|ttl| Ttl::new(Duration::from_micros(ttl))),
            groups: Groups::default(),
            found: Vec::new(),
            states: Aggregates::new(aggregates).unwrap(),
        }
    }
}
