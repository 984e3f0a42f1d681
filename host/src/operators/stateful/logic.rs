//! Who is called when: rows, times, the end of input, and keys that nobody has heard of for long.

use super::super::columns::all_but;
use super::super::groups::{Groups, OUTPUT_ROWS};
use super::super::states::{Reader, changes, in_chunks, put_time, with_tails, without_tails};
use super::super::times::Times;
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::time::Instant;
use crate::dataflow::durable::Changes;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::keyed::{Kept, Keyed};
use crate::dataflow::user_fn::{Emitted, StatefulFn};
use arrow::array::{BinaryArray, RecordBatch, RecordBatchOptions};
use std::sync::Arc;
use std::time::Duration;

/// The bytes that say when a key is forgotten.
const END: usize = 8;
/// How long a key sleeps that was woken and still wants a time that is past.
const PAUSE: Duration = Duration::from_millis(1);

/// What an operator expects of its function.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Shape {
    /// Any rows at any time.
    Free,
    /// One row for each row.
    Map,
    /// Any rows, for rows only.
    FlatMap,
}

#[derive(Clone)]
pub(super) struct Rules {
    /// `plugin.function`, for messages.
    pub function: Arc<str>,
    /// The name of the key, for dead letters.
    pub key: Arc<str>,
    pub shape: Shape,
    /// The columns that the function reads.
    pub reads: Vec<usize>,
    /// How long after its last row a key is forgotten.
    pub ttl: Option<Duration>,
}

/// The versions of the form in which states are kept: as the function encodes them, and with something behind them.
pub(super) const PLAIN: u32 = 1;
pub(super) const TAILED: u32 = 2;

impl Rules {
    /// How many bytes stand behind the state of a key where it is kept: when the key is forgotten, and whether it waits
    /// to be woken. Nothing does where neither can be, so that such states pass as they are.
    pub fn tail(&self) -> usize {
        match self.shape {
            Shape::Free => END + 1,
            Shape::Map | Shape::FlatMap if self.ttl.is_some() => END,
            Shape::Map | Shape::FlatMap => 0,
        }
    }

    /// The version of the form in which states are kept, and the others that are read.
    pub fn forms(&self) -> (u32, &'static [u32]) {
        match (self.tail(), self.shape) {
            (0, _) => (PLAIN, &[TAILED]),
            (_, Shape::Free) => (TAILED, &[]),
            (_, Shape::Map | Shape::FlatMap) => (TAILED, &[PLAIN]),
        }
    }
}

/// The states of a worker's keys. Every group in use has one, in the function.
pub(super) struct Logic {
    function: Box<dyn StatefulFn>,
    rules: Rules,
    groups: Groups,
    /// The groups of a batch's rows.
    found: Vec<u32>,
    /// For each group, whether it has been seen in what is gone through just now.
    seen: Vec<bool>,
    /// When groups want to be woken.
    wakes: Times,
    /// When groups are forgotten.
    ends: Times,
    /// How many bytes stand behind the states that are restored.
    restored_tail: usize,
}

impl Logic {
    pub fn new(function: Box<dyn StatefulFn>, rules: Rules) -> Self {
        let (groups, found, seen, wakes, ends) = Default::default();
        let restored_tail = rules.tail();
        Logic { function, rules, groups, found, seen, wakes, ends, restored_tail }
    }

    /// Takes in what became of groups that were called: `called` names them, each any number of times. Those that were
    /// discarded end; returns the others, each once, in the order in which they first stand.
    fn settle(&mut self, called: &[u32], discarded: &[u32]) -> Vec<u32> {
        self.seen.resize(self.groups.capacity(), false);
        for &group in discarded {
            self.seen[group as usize] = true;
        }
        let is_new = |&&group: &&u32| !std::mem::replace(&mut self.seen[group as usize], true);
        let live: Vec<u32> = called.iter().filter(is_new).copied().collect();
        for &group in live.iter().chain(discarded) {
            self.seen[group as usize] = false;
        }
        self.forget(discarded);
        live
    }

    /// Ends groups, whose states the function has no more.
    fn forget(&mut self, groups: &[u32]) {
        for &group in groups {
            self.wakes.set(group, None);
            self.ends.set(group, None);
        }
        self.groups.release(groups);
    }

    /// Asks groups when they want to be woken; none of them before `earliest`.
    fn ask(&mut self, groups: &[u32], earliest: Instant) -> Result<(), LogicError> {
        if groups.is_empty() {
            return Ok(());
        }
        for (&group, at) in groups.iter().zip(self.function.notify_at(groups)?) {
            self.wakes.set(group, at.map(|at| at.max(earliest)));
        }
        Ok(())
    }

    /// Gives out what a call without rows emitted; returns the groups, of those that were called, that are alive and did
    /// not fail.
    fn give(&mut self, groups: &[u32], emitted: Emitted, out: &mut Emit<'_>) -> Result<Vec<u32>, LogicError> {
        let Emitted { rows, groups: of_rows, discarded, errors, .. } = emitted;
        let letters = errors.iter().map(|error| {
            let group = groups[error.row as usize];
            self.groups.letter(group, &self.rules.key, &error.message)
        });
        out.fail_letters(letters.collect())?;
        out.give(0, Batch::keyed(rows, self.groups.keys(&of_rows)));
        let well = all_but(groups.len(), errors.iter().map(|error| error.row));
        let well: Vec<u32> = well.into_iter().map(|at| groups[at as usize]).collect();
        Ok(self.settle(&well, &discarded))
    }

    /// Wakes the keys whose time has come.
    fn wake(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let mut due = self.wakes.due(now);
        self.groups.sort(&mut due);
        for due in due.chunks(OUTPUT_ROWS) {
            self.groups.touch(due);
            let emitted = self.function.on_notify(due, now)?;
            let live = self.give(due, emitted, out)?;
            self.ask(&live, now.after(PAUSE))?;
        }
        Ok(())
    }

    /// Wakes the keys whose time has come, and then forgets those whose last row came too long ago.
    fn pass(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.wake(now, out)?;
        let ended = self.ends.due(now);
        if !ended.is_empty() {
            self.function.release(&ended)?;
            self.forget(&ended);
        }
        Ok(())
    }

    /// Checks that each row that did not fail has one row. `batch` has the keys and origins of the rows.
    fn check_one_each(&self, batch: &Batch, emitted: &Emitted) -> Result<(), LogicError> {
        let function = &self.rules.function;
        let Some(parents) = &emitted.parents else {
            let message =
                format!("function \"{function}\" sees the rows of a key together, and does not say what came of which");
            return Err(LogicError::plugin(message).help("use it in a step with op = \"stateful_batch\""));
        };
        if emitted.errors.is_empty() && is_each_once(parents, batch.num_rows()) {
            return Ok(());
        }
        let wanted = all_but(batch.num_rows(), emitted.errors.iter().map(|error| error.row));
        if *parents == wanted {
            return Ok(());
        }
        let at = parents.iter().zip(&wanted).take_while(|(parent, row)| parent == row).count();
        // Parents never fall and are of rows that did not fail: a row that is not wanted has been there already.
        let (row, what) = match (parents.get(at), wanted.get(at)) {
            (Some(&parent), row) if row.is_none_or(|&row| parent < row) => (parent, "more than one row"),
            (_, row) => (row.copied().unwrap_or_default(), "no row"),
        };
        let key = batch.keys().map_or("", |keys| keys.values().value(row as usize));
        let message = format!("function \"{function}\" gave {what} for a row of the key {key:?}");
        let place = batch.origin().map(|origin| format!("{}:{}", origin.partition, origin.row(row) + 1));
        let help = "a stateful_map gives one row for each; for any number use op = \"stateful_flat_map\"";
        Err(LogicError::plugin(message).at(place).help(help))
    }
}

impl Keyed for Logic {
    fn on_batch(&mut self, _input: usize, batch: Batch, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        // A key that has come to its end before this batch starts anew with it.
        if self.ends.next().is_some_and(|at| at <= now) {
            self.pass(now, out)?;
        }
        self.groups.intern(batch.keys().expect("the upstream is keyed"), batch.selection(), &mut self.found);
        let (rows, narrow) = handed(batch.clone(), &self.rules.reads)?;
        let emitted = self.function.on_batch(&self.found, &rows, now)?;
        if !emitted.errors.is_empty() {
            out.fail(&batch.compact()?, &emitted.errors)?;
        }
        if self.rules.shape == Shape::Map {
            self.check_one_each(&narrow, &emitted)?;
        }
        let Emitted { rows, groups, parents, discarded, .. } = emitted;
        let given = match &parents {
            Some(parents) if is_each_once(parents, narrow.num_rows()) => narrow.derive(rows, None)?,
            Some(parents) => narrow.derive(rows, Some(parents))?,
            None => Batch::keyed(rows, self.groups.keys(&groups)),
        };
        out.give(0, given);
        if self.rules.shape != Shape::Free && self.rules.ttl.is_none() {
            self.forget(&discarded);
            return Ok(());
        }
        let found = std::mem::take(&mut self.found);
        let live = self.settle(&found, &discarded);
        self.found = found;
        if let Some(ttl) = self.rules.ttl {
            live.iter().for_each(|&group| self.ends.set(group, Some(now.after(ttl))));
        }
        if self.rules.shape == Shape::Free {
            self.ask(&live, Instant(i64::MIN))?;
        }
        Ok(())
    }

    fn wake_at(&self) -> Option<Instant> {
        self.wakes.next().into_iter().chain(self.ends.next()).min()
    }

    fn on_wake(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.pass(now, out)
    }

    fn on_eof(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.pass(now, out)?;
        if self.rules.shape != Shape::Free {
            return Ok(());
        }
        for groups in self.groups.sorted().chunks(OUTPUT_ROWS) {
            self.groups.touch(groups);
            let emitted = self.function.on_eof(groups, now)?;
            let live = self.give(groups, emitted, out)?;
            if self.groups.is_tracking() {
                // Nobody is woken any more in this execution, but in one that goes on from here.
                self.ask(&live, Instant(i64::MIN))?;
            }
        }
        Ok(())
    }

    fn keep(&mut self) -> Kept {
        self.groups.track();
        Kept::Keys
    }

    fn reads(&mut self, version: u32) -> Result<(), LogicError> {
        // Of maps only, which are never woken.
        self.restored_tail = if version == PLAIN { 0 } else { END };
        Ok(())
    }

    fn restore(&mut self, keys: &Keys, states: &BinaryArray, now: Instant) -> Result<(), LogicError> {
        let groups = self.groups.restore(keys);
        if self.restored_tail == 0 {
            if let Some(ttl) = self.rules.ttl {
                groups.iter().for_each(|&group| self.ends.set(group, Some(now.after(ttl))));
            }
            return self.function.restore(&groups, states);
        }
        let (states, tails) = without_tails(states, self.restored_tail)?;
        self.function.restore(&groups, &states)?;
        let mut waiting = Vec::new();
        for (&group, tail) in groups.iter().zip(tails) {
            let mut tail = Reader(tail);
            let end = tail.time()?;
            if let Some(ttl) = self.rules.ttl {
                self.ends.set(group, Some(end.unwrap_or(now.after(ttl))));
            }
            if self.rules.shape == Shape::Free && tail.byte()? != 0 {
                waiting.push(group);
            }
        }
        self.ask(&waiting, Instant(i64::MIN))
    }

    fn touch_all(&mut self) -> Result<(), LogicError> {
        self.groups.touch_all();
        Ok(())
    }

    fn snapshot(&mut self, _now: Instant) -> Result<Option<Changes>, LogicError> {
        let Logic { function, rules, groups, wakes, ends, .. } = self;
        changes(groups, |_, live| {
            let states = in_chunks(live, |live| function.snapshot(live))?;
            if rules.tail() == 0 {
                return Ok(states);
            }
            with_tails(&states, |at, state| {
                put_time(state, ends.get(live[at]));
                if rules.shape == Shape::Free {
                    state.push(u8::from(wakes.get(live[at]).is_some()));
                }
            })
        })
    }
}

/// The rows to hand to a function, which reads some columns only, and a compact batch with their keys and origins. Of
/// selected rows only the columns that are read are copied out; what the others then hold does not matter.
fn handed(batch: Batch, reads: &[usize]) -> Result<(RecordBatch, Batch), LogicError> {
    let held = batch.rows().clone();
    if batch.selection().is_none() {
        return Ok((held, batch));
    }
    if batch.num_rows() > held.num_rows() {
        let batch = batch.compact()?;
        return Ok((batch.rows().clone(), batch));
    }
    let narrow = batch.with_rows(held.project(reads)?).compact()?;
    let mut columns: Vec<_> = held.columns().iter().map(|column| column.slice(0, narrow.num_rows())).collect();
    for (&column, read) in reads.iter().zip(narrow.rows().columns()) {
        columns[column] = read.clone();
    }
    let options = RecordBatchOptions::new().with_row_count(Some(narrow.num_rows()));
    Ok((RecordBatch::try_new_with_options(held.schema(), columns, &options)?, narrow))
}

/// Whether parents are all of `rows` rows, each once.
fn is_each_once(parents: &[u32], rows: usize) -> bool {
    parents.len() == rows && (0..).zip(parents).all(|(row, parent)| row == *parent)
}

#[cfg(test)]
mod tests;
