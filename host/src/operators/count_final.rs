//! `count_final`: how many rows each key has.

use super::groups::{Groups, OUTPUT_ROWS};
use super::keying::{Keyer, Keying};
use super::states::{Reader, States, changes, put_i64};
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
use crate::diag::Diagnostics;
use crate::spec::Spanned;
use arrow::array::{AsArray, BinaryArray, Int64Array, RecordBatch};
use arrow::datatypes::{Int64Type, SchemaRef};
use std::sync::{Arc, LazyLock};

/// A worker hands over its counts before the end of an epoch once it has so many keys.
pub(super) const COMBINED_KEYS: usize = 1 << 16;

static SCHEMA: LazyLock<SchemaRef> = LazyLock::new(|| schema_of(&[("count".to_owned(), Type::Int64)]));

/// The operator `count_final`.
pub struct CountFinal;

#[derive(serde::Deserialize)]
struct Args {
    key: Option<Spanned<String>>,
    #[serde(rename = "fn")]
    function: Option<Spanned<String>>,
    config: Option<serde_json::Value>,
    key_name: Option<String>,
}

impl Operator for CountFinal {
    fn name(&self) -> &'static str {
        "count_final"
    }

    fn doc(&self) -> &'static str {
        r#"Counts the rows of each key, and gives the counts once the input has ended.

Without `key` and `fn` it counts by the key that the stream has. Each worker counts what it has before keys are
exchanged. Counts come out in ascending order of the keys' bytes, on each worker. A row whose key is null is treated by
`on_error`.

Arguments: `key`, a column, or `fn`, a function that returns the key, with its `config`, as for `key_on`; `key_name`,
the name under which sinks write the key.

Ports: `down`, keyed, with the column `count: int64`.

```toml
[[step]]
name = "count"
op = "count_final"
key = "value"
key_name = "word"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let args: Args = cx.args()?;
        let name = args.key_name.as_deref();
        let keying = Keying::check(cx, args.key.as_ref(), args.function.as_ref(), args.config.as_ref(), name)?;
        let key = match &keying {
            Some(keying) => keying.name.clone(),
            None => {
                let up = cx.up_key()?;
                name.map_or(up, Arc::from)
            }
        };
        let notes = keying.iter().filter_map(|keying| keying.note.clone()).collect();
        let down = StreamType { schema: SCHEMA.clone(), key: Some(key) };
        let keeps = Keeps::new().ignoring(&["key_name"]);
        let mut checked = Checked::new(CountFinalStep { keying }).down(down).keeps(keeps);
        checked.notes = notes;
        Ok(checked)
    }
}

struct CountFinalStep {
    keying: Option<Keying>,
}

impl BuildStep for CountFinalStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, mut ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let up = ups.pop().expect("the plan gives an operator its upstreams");
        let keyer = self.keying.as_ref().map(|keying| keying.build(cx)).transpose()?;
        let (first, second) = (Combine { keyer, counts: Counts::default() }, Total { counts: Counts::default() });
        combined(cx, up, &SCHEMA, first, second)
    }
}

/// Counts the rows of one worker.
struct Combine {
    /// None: rows have their keys already.
    keyer: Option<Keyer>,
    counts: Counts,
}

impl Keyed for Combine {
    fn on_batch(&mut self, _input: usize, batch: Batch, _now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let Counts { groups, counts, found } = &mut self.counts;
        match &mut self.keyer {
            Some(keyer) => groups.intern(&keyer.keys(batch, out)?, None, found),
            None => groups.intern(batch.keys().expect("the upstream is keyed"), batch.selection(), found),
        }
        counts.resize(groups.capacity(), 0);
        for &group in &*found {
            counts[group as usize] += 1;
        }
        if groups.len() >= COMBINED_KEYS {
            self.counts.give((0..).take(self.counts.counts.len()).collect(), out)?;
        }
        Ok(())
    }

    fn on_epoch(&mut self, _epoch: Epoch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.counts.give((0..).take(self.counts.counts.len()).collect(), out)
    }
}

/// Adds up the counts of all workers.
struct Total {
    counts: Counts,
}

impl Keyed for Total {
    fn on_batch(&mut self, _input: usize, batch: Batch, _now: Instant, _out: &mut Emit<'_>) -> Result<(), LogicError> {
        let Counts { groups, counts, found } = &mut self.counts;
        let batch = batch.compact()?;
        groups.intern(batch.keys().expect("the first half keys them"), None, found);
        counts.resize(groups.capacity(), 0);
        let more = batch.rows().column(0).as_primitive::<Int64Type>().values();
        for (&group, more) in found.iter().zip(more) {
            counts[group as usize] += more;
        }
        Ok(())
    }

    fn on_eof(&mut self, _now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.counts.give(self.counts.groups.sorted(), out)
    }

    fn keep(&mut self) -> Kept {
        self.counts.groups.track();
        Kept::Keys
    }

    fn restore(&mut self, keys: &Keys, states: &BinaryArray, _now: Instant) -> Result<(), LogicError> {
        let Counts { groups, counts, .. } = &mut self.counts;
        let restored = groups.restore(keys);
        counts.resize(groups.capacity(), 0);
        for (at, &group) in restored.iter().enumerate() {
            let mut state = Reader(states.value(at));
            counts[group as usize] = state.i64()?;
            state.end()?;
        }
        Ok(())
    }

    fn snapshot(&mut self, _now: Instant) -> Result<Option<Changes>, LogicError> {
        let Counts { groups, counts, .. } = &mut self.counts;
        changes(groups, |_, live| {
            let mut states = States::with_capacity(live.len());
            live.iter().try_for_each(|&group| states.push(|state| put_i64(state, counts[group as usize])))?;
            Ok(states.finish())
        })
    }
}

#[derive(Default)]
struct Counts {
    groups: Groups,
    /// By group.
    counts: Vec<i64>,
    /// The groups of a batch's rows.
    found: Vec<u32>,
}

impl Counts {
    /// Hands over the counts of all groups in some order, and forgets them.
    fn give(&mut self, groups: Vec<u32>, out: &mut Emit<'_>) -> Result<(), LogicError> {
        for groups in groups.chunks(OUTPUT_ROWS) {
            let counts = Int64Array::from_iter_values(groups.iter().map(|&group| self.counts[group as usize]));
            let rows = RecordBatch::try_new(SCHEMA.clone(), vec![Arc::new(counts)])?;
            out.give(0, Batch::keyed(rows, self.groups.keys(groups)));
        }
        self.groups.clear();
        self.counts.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{check_crashes, in_turn, keyed};
    use super::*;

    #[test]
    fn counts_survive_crashes() {
        let total = || Total { counts: Counts::default() };
        let batches: [&[&str]; 3] = [&["1,a", "2,b", "3,a"], &["4,c", "5,b"], &["6,a"]];
        let inputs = batches.into_iter().map(|batch| (1, keyed("count: int64, k: string", batch))).collect();
        let (given, kept) = check_crashes(total, &in_turn(inputs));
        assert_eq!(given[3], ["0 a: count=10", "0 b: count=7", "0 c: count=4"]);
        assert_eq!((kept[1].len(), kept[2]["a"].len(), kept[3].len()), (3, 8, 0));
    }
}
