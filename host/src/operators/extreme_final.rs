//! `max_final`, `min_final`: the row of each key with the greatest or the least value.

use super::extreme::{Args, Extremes, Rule};
use super::groups::{Groups, OUTPUT_ROWS};
use super::states::{changes, in_chunks};
use crate::catalog::cx::CheckCx;
use crate::catalog::operator::{Checked, Keeps, Operator};
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::time::Instant;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::durable::Changes;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::keyed::{Kept, Keyed, keyed};
use crate::diag::Diagnostics;
use arrow::array::BinaryArray;
use std::cmp::Ordering;

/// The operator `max_final`.
pub struct MaxFinal;

/// The operator `min_final`.
pub struct MinFinal;

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
    let rule = problems.take(Rule::check(cx, &args, wins));
    let (Some(rule), true) = (rule, problems.is_empty()) else { return Err(problems) };
    Ok(Checked::new(ExtremeStep { rule }).down(cx.up().clone()).keeps(Keeps::new()))
}

struct ExtremeStep {
    rule: Rule,
}

impl BuildStep for ExtremeStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let (groups, found) = Default::default();
        let logic = Extreme { rule: self.rule.clone(), groups, found, extremes: Extremes::new(&self.rule) };
        Ok(keyed(cx, ups, std::slice::from_ref(self.rule.schema()), 1, logic))
    }
}

struct Extreme {
    rule: Rule,
    groups: Groups,
    /// The groups of a batch's rows.
    found: Vec<u32>,
    extremes: Extremes,
}

impl Keyed for Extreme {
    fn on_batch(&mut self, _input: usize, batch: Batch, _now: Instant, _out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.groups.intern(batch.keys().expect("the upstream is keyed"), batch.selection(), &mut self.found);
        self.extremes.take(&self.found, batch.selection(), batch.rows())
    }

    fn on_eof(&mut self, _now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        for groups in self.groups.sorted().chunks(OUTPUT_ROWS) {
            out.give(0, Batch::keyed(self.extremes.gather(groups)?, self.groups.keys(groups)));
        }
        self.groups.clear();
        self.extremes = Extremes::new(&self.rule);
        Ok(())
    }

    fn keep(&mut self) -> Kept {
        self.groups.track();
        Kept::Keys
    }

    fn restore(&mut self, keys: &Keys, states: &BinaryArray, _now: Instant) -> Result<(), LogicError> {
        self.extremes.load(&self.groups.restore(keys), states)
    }

    fn snapshot(&mut self, _now: Instant) -> Result<Option<Changes>, LogicError> {
        let extremes = &self.extremes;
        changes(&mut self.groups, |_, live| in_chunks(live, |live| extremes.save(live)))
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_crashes, in_turn, keyed as rows};
    use super::*;

    #[test]
    fn the_rows_that_stay_survive_crashes() {
        let batches: [&[&str]; 5] = [
            &["a,,first", "b,NaN,x", "c,2,x"],
            &["a,,second", "b,NaN,y", "c,2,later"],
            &["a,3,x", "c,9,y", "d,,"],
            &["b,1,z", "c,9,later"],
            &["b,-1,w", "a,3,later"],
        ];
        let schema = rows("k: string, v: float64, w: string", &[]).rows().schema();
        for (wins, wanted) in [
            (Ordering::Greater, ["a: k=a, v=3.0, w=x", "b: k=b, v=1.0, w=z", "c: k=c, v=9.0, w=y"]),
            (Ordering::Less, ["a: k=a, v=3.0, w=x", "b: k=b, v=-1.0, w=w", "c: k=c, v=2.0, w=x"]),
        ] {
            let extreme = || {
                let (rule, (groups, found)) = (Rule::by(&schema, 1, wins), Default::default());
                Extreme { extremes: Extremes::new(&rule), rule, groups, found }
            };
            let batches = batches.into_iter().map(|batch| (1, rows("k: string, v: float64, w: string", batch)));
            let (given, kept) = check_crashes(extreme, &in_turn(batches.collect()));
            let wanted: Vec<String> = wanted.iter().map(|row| format!("0 {row}")).collect();
            assert_eq!(given[5], [&wanted[..], &["0 d: k=d, v=null, w=null".to_owned()]].concat());
            assert_eq!((kept[4].len(), kept[5].len()), (4, 0));
        }
    }
}
