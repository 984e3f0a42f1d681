//! `enrich_cached`: columns looked up by a function, and remembered.

use super::columns::{Extension, all_but};
use super::groups::Groups;
use super::rows::{RowRef, Rows};
use super::text;
use super::transform::reads;
use crate::catalog::cx::CheckCx;
use crate::catalog::function::FunctionKind;
use crate::catalog::operator::{Checked, Operator, StreamType};
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::schema::{Type, schema_of};
use crate::data::time::Instant;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::emit::Emit;
use crate::dataflow::env::Clock;
use crate::dataflow::error::LogicError;
use crate::dataflow::stateless::{Stateless, stateless};
use crate::dataflow::user_fn::{OpenTransform, RowError, TransformFn};
use crate::diag::{Diagnostic, Diagnostics};
use crate::spec::{DurationText, Spanned};
use arrow::array::{Array, ArrayRef, RecordBatch, StringArray, UInt32Array, new_null_array};
use arrow::compute::take;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;
use std::time::Duration;

/// The operator `enrich_cached`.
pub struct EnrichCached;

#[derive(serde::Deserialize)]
struct Args {
    key: Spanned<String>,
    #[serde(rename = "fn")]
    function: Spanned<String>,
    config: Option<serde_json::Value>,
    ttl: Option<Spanned<DurationText>>,
}

impl Operator for EnrichCached {
    fn name(&self) -> &'static str {
        "enrich_cached"
    }

    fn doc(&self) -> &'static str {
        r#"Adds columns that a function looks up by a column of the row, and remembers what it found.

The function is a map over rows with that one column, and returns the columns to add; those of the same name are
replaced. It is called once for a batch, with each value that is not remembered. What it returned is remembered for
`ttl` since it was asked, by each worker for itself and without a limit on how much; the clock is read once for a
batch. A value for which it returns an error is asked for again the next time, and all rows that have it are treated
by `on_error`. Null is not looked up: the columns added are null.

Arguments: `key`, the column to look up by, of text, numbers or time; `fn`, the function, and its `config`; `ttl`, a
duration, without which everything is remembered for ever.

Ports: `down`.

```toml
[[step]]
name = "with_user"
op = "enrich_cached"
key = "user_id"
fn = "users.lookup"
ttl = "1h"
```
"#
    }

    fn check(&self, cx: &CheckCx<'_>) -> Result<Checked, Diagnostics> {
        let args: Args = cx.args()?;
        let (index, ty) = cx.column(&args.key)?;
        if !text::is_writable(&ty) {
            let message = format!("{}: column \"{}\" is {ty}, which cannot be looked up by", cx.what(), args.key.value);
            let help = "take a column of text, numbers or time";
            return Err(Diagnostic::new("no-key-type", message).at(args.key.span.clone()).help(help).into());
        }
        let asked = schema_of(&[(args.key.value.clone(), ty.clone())]);
        let open = cx.transform(&args.function, &[FunctionKind::Map], &asked, args.config.as_ref())?;
        let note = reads(&args.function, &open.reads, &asked);
        let extension = Extension::new(&cx.up().schema, &open.output);
        let down = StreamType { schema: extension.schema.clone(), key: cx.up().key.clone() };
        let ttl = args.ttl.map(|ttl| ttl.value.0);
        Ok(Checked::new(EnrichStep { open, asked, index, ty, extension, ttl }).down(down).note(note))
    }
}

struct EnrichStep {
    open: OpenTransform,
    /// The rows that the function is given.
    asked: SchemaRef,
    index: usize,
    ty: Type,
    extension: Extension,
    ttl: Option<Duration>,
}

impl BuildStep for EnrichStep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let cache = Cache {
            getter: self.open.factory.instantiate(&cx.instance())?,
            asked: self.asked.clone(),
            ttl: self.ttl,
            groups: Groups::default(),
            found: Vec::new(),
            rows: Rows::new(self.open.output.clone()),
            entries: Vec::new(),
        };
        let (clock, extension) = (cx.execution.env.clock.clone(), self.extension.clone());
        Ok(stateless(cx, ups, 1, Enricher { cache, clock, index: self.index, ty: self.ty.clone(), extension }))
    }
}

struct Enricher {
    cache: Cache,
    clock: Arc<dyn Clock>,
    index: usize,
    ty: Type,
    extension: Extension,
}

impl Stateless for Enricher {
    fn on_batch(&mut self, _input: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let batch = batch.compact()?;
        let column = batch.rows().column(self.index);
        let (added, errors) = self.cache.look_up(column, &self.ty, self.clock.now())?;
        out.fail(&batch, &errors)?;
        let kept = (!errors.is_empty()).then(|| all_but(batch.num_rows(), errors.iter().map(|error| error.row)));
        let rows = self.extension.rows(batch.rows(), &added, kept.as_deref())?;
        out.give(0, batch.derive(rows, kept.as_deref())?);
        Ok(())
    }
}

/// What was looked up on this worker.
struct Cache {
    getter: Box<dyn TransformFn>,
    asked: SchemaRef,
    ttl: Option<Duration>,
    /// The values looked up by, as text.
    groups: Groups,
    /// The groups of a batch's rows.
    found: Vec<u32>,
    /// The columns found.
    rows: Rows,
    /// By group.
    entries: Vec<Entry>,
}

#[derive(Clone, Default)]
struct Entry {
    /// When it was asked for and what came. None: it has to be asked for.
    row: Option<(Instant, RowRef)>,
    /// Why it could not be found, while a batch is handled.
    error: Option<String>,
}

impl Cache {
    /// The columns to add to those rows that could be looked up, and why the others could not.
    fn look_up(
        &mut self,
        column: &ArrayRef,
        ty: &Type,
        now: Instant,
    ) -> Result<(RecordBatch, Vec<RowError>), LogicError> {
        let texts = text::write(column, ty)?;
        let has_nulls = texts.null_count() > 0;
        let keys = match has_nulls {
            // Their group is not looked at.
            true => texts.iter().map(|text| Some(text.unwrap_or_default())).collect::<StringArray>(),
            false => texts.clone(),
        };
        self.groups.intern(&Keys::new(keys), None, &mut self.found);
        self.entries.resize(self.groups.capacity(), Entry::default());
        self.fetch(column, now)?;
        let mut refs = Vec::with_capacity(column.len());
        let mut nulls = Vec::new();
        let mut errors = Vec::new();
        for (row, &group) in (0..).zip(&self.found) {
            let entry = &self.entries[group as usize];
            if has_nulls && texts.is_null(row as usize) {
                nulls.push(refs.len() + nulls.len());
            } else if let Some(message) = &entry.error {
                errors.push(RowError { row, message: message.clone() });
            } else if let Some((_, found)) = entry.row {
                refs.push(found);
            }
        }
        let added = with_nulls(self.rows.gather(&refs)?, &nulls)?;
        self.forget_errors();
        Ok((added, errors))
    }

    /// Asks the function for what is not remembered.
    fn fetch(&mut self, column: &ArrayRef, now: Instant) -> Result<(), LogicError> {
        let mut missing: Vec<(u32, u32)> = Vec::new();
        for (row, &group) in (0..).zip(&self.found) {
            let entry = &mut self.entries[group as usize];
            let is_old = |(at, _): (Instant, RowRef)| self.ttl.is_some_and(|ttl| now.since(at) > ttl);
            if column.is_valid(row as usize) && entry.row.is_none_or(is_old) {
                if let Some((_, before)) = entry.row.take() {
                    self.rows.release(before);
                }
                missing.push((group, row));
            }
        }
        // Each value once: rows with an entry that was taken above would be asked for again.
        missing.sort_by_key(|&(group, _)| group);
        missing.dedup_by_key(|(group, _)| *group);
        missing.sort_unstable_by_key(|&(_, row)| row);
        if missing.is_empty() {
            return Ok(());
        }
        let rows = UInt32Array::from_iter_values(missing.iter().map(|&(_, row)| row));
        let asked = RecordBatch::try_new(self.asked.clone(), vec![take(column, &rows, None)?])?;
        let applied = self.getter.apply(&asked)?;
        let found = applied.rows.ok_or_else(|| LogicError::internal("a function that makes rows returned none"))?;
        let held = self.rows.hold(found);
        let mut errors = applied.errors.into_iter().peekable();
        let mut next = 0;
        for (at, &(group, _)) in (0..).zip(&missing) {
            let entry = &mut self.entries[group as usize];
            if let Some(error) = errors.next_if(|error| error.row == at) {
                entry.error = Some(error.message);
            } else {
                entry.row = Some((now, self.rows.keep(held, next)));
                next += 1;
            }
        }
        self.rows.settle(held);
        if self.rows.is_wasteful() {
            self.rows.pack(self.entries.iter_mut().filter_map(|entry| entry.row.as_mut()).map(|(_, row)| row))?;
        }
        Ok(())
    }

    fn forget_errors(&mut self) {
        let entries = &mut self.entries;
        let mut failed: Vec<u32> = self.found.clone();
        failed.retain(|&group| entries[group as usize].error.take().is_some());
        self.groups.release(&failed);
    }
}

/// Puts rows of nulls among rows, at the places in the result that rise.
fn with_nulls(rows: RecordBatch, places: &[usize]) -> Result<RecordBatch, LogicError> {
    if places.is_empty() {
        return Ok(rows);
    }
    let mut places = places.iter().copied().peekable();
    let mut next = 0_u32;
    let count = rows.num_rows() + places.len();
    let indices = (0..count).map(|at| match places.next_if_eq(&at) {
        Some(_) => None,
        None => {
            next += 1;
            Some(next - 1)
        }
    });
    let indices: UInt32Array = indices.collect();
    let columns = rows.columns().iter().map(|column| match rows.num_rows() {
        0 => Ok(new_null_array(column.data_type(), count)),
        _ => take(column, &indices, None),
    });
    Ok(RecordBatch::try_new(rows.schema(), columns.collect::<Result<_, _>>()?)?)
}

#[cfg(test)]
mod tests {
    use super::super::testing::{show, table};
    use super::*;
    use crate::dataflow::user_fn::Applied;
    use arrow::array::AsArray;
    use std::sync::Mutex;

    /// Finds the length of a word and how often it was asked for; words with "x" cannot be found.
    struct Getter {
        asked: Arc<Mutex<Vec<Vec<String>>>>,
    }

    impl TransformFn for Getter {
        fn apply(&mut self, rows: &RecordBatch) -> Result<Applied, LogicError> {
            let words: Vec<&str> = rows.column(0).as_string::<i32>().iter().map(Option::unwrap).collect();
            let mut asked = self.asked.lock().unwrap();
            asked.push(words.iter().map(|word| word.to_string()).collect());
            let (failed, good): (Vec<_>, Vec<_>) = (0..).zip(words).partition(|(_, word)| word.contains('x'));
            let rows: Vec<String> = good.iter().map(|(_, word)| format!("{},{}", word.len(), asked.len())).collect();
            let rows = table("length: int64, call: int64", &rows.iter().map(String::as_str).collect::<Vec<_>>());
            let errors = failed.into_iter().map(|(row, word)| RowError { row, message: format!("no {word}") });
            Ok(Applied { rows: Some(rows), parents: None, errors: errors.collect() })
        }
    }

    struct Test {
        cache: Cache,
        asked: Arc<Mutex<Vec<Vec<String>>>>,
    }

    impl Test {
        fn new(ttl: Option<u64>) -> Self {
            let asked = Arc::default();
            let cache = Cache {
                getter: Box::new(Getter { asked: Arc::clone(&asked) }),
                asked: table("word: string", &[]).schema(),
                ttl: ttl.map(Duration::from_micros),
                groups: Groups::default(),
                found: Vec::new(),
                rows: Rows::new(table("length: int64, call: int64", &[]).schema()),
                entries: Vec::new(),
            };
            Test { cache, asked }
        }

        fn look_up(&mut self, words: &[&str], now: i64) -> (Vec<String>, Vec<u32>) {
            let column = table("word: string", words).column(0).clone();
            let (rows, errors) = self.cache.look_up(&column, &Type::String, Instant(now)).unwrap();
            (show(&Batch::new(rows)), errors.iter().map(|error| error.row).collect())
        }

        fn asked(&self) -> Vec<Vec<String>> {
            std::mem::take(&mut *self.asked.lock().unwrap())
        }
    }

    #[test]
    fn each_value_is_asked_for_once() {
        let mut test = Test::new(None);
        let (rows, _) = test.look_up(&["to", "be", "to"], 0);
        assert_eq!(rows, ["length=2, call=1", "length=2, call=1", "length=2, call=1"]);
        let (rows, _) = test.look_up(&["not", "be"], i64::MAX);
        assert_eq!(rows, ["length=3, call=2", "length=2, call=1"]);
        assert_eq!(test.asked(), [vec!["to", "be"], vec!["not"]]);
    }

    #[test]
    fn what_is_older_than_its_time_is_asked_for_again() {
        let mut test = Test::new(Some(10));
        assert_eq!(test.look_up(&["to"], 0).0, ["length=2, call=1"]);
        assert_eq!(test.look_up(&["to", "to"], 10).0, ["length=2, call=1", "length=2, call=1"]);
        assert_eq!(test.look_up(&["to", "to"], 11).0, ["length=2, call=2", "length=2, call=2"]);
        assert_eq!(test.asked().len(), 2);
    }

    #[test]
    fn what_cannot_be_found_fails_all_its_rows_and_is_not_remembered() {
        let mut test = Test::new(None);
        let (rows, errors) = test.look_up(&["x", "be", "x"], 0);
        assert_eq!((rows, errors), (vec!["length=2, call=1".to_owned()], vec![0, 2]));
        test.look_up(&["x", "be"], 0);
        assert_eq!(test.asked(), [vec!["x", "be"], vec!["x"]]);
    }

    #[test]
    fn null_is_not_looked_up() {
        let mut test = Test::new(None);
        let (rows, errors) = test.look_up(&["", "be", "x", "", "to"], 0);
        assert_eq!(rows, ["length=null, call=null", "length=2, call=1", "length=null, call=null", "length=2, call=1"]);
        assert_eq!((errors, test.asked()), (vec![2], vec![vec!["be".to_owned(), "x".into(), "to".into()]]));
        assert_eq!(test.look_up(&[""], 0).0, ["length=null, call=null"]);
    }
}
