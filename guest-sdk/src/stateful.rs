//! Stateful functions: a state for each key that sees every row, may emit at any time, and may ask to be woken.

use std::any::Any;
use std::rc::Rc;

pub use crate::bindings::exports::wxhost::plugin::stateful::Emitted;
use crate::bindings::wxhost::plugin::types::{Batch, RowError, Schema, VarSize};
use crate::config;
use crate::error::{Error, Result};
use crate::read::{Read, RowPlan};
use crate::state::{Slab, State};
use crate::time::Timestamp;
use crate::write::{Rows, Write, schema_of};

/// The logic of one key, or of one window of a key.
///
/// The attributes `stateful_map` and `stateful_flat_map` make one of a plain function.
///
/// ```
/// use wxhost_guest::prelude::*;
///
/// /// Tells the largest value of a key whenever it grows.
/// #[derive(Default, State)]
/// struct Record {
///     best: Option<i64>,
/// }
///
/// impl Stateful for Record {
///     type In<'a> = i64;
///     type Out = i64;
///
///     fn on_item(&mut self, value: i64, cx: &mut Emit<i64>) -> Result<()> {
///         if self.best.is_none_or(|best| value > best) {
///             self.best = Some(value);
///             cx.emit(value);
///         }
///         Ok(())
///     }
/// }
///
/// let mut record = wxhost_guest::testing::stateful::<Record>();
/// assert_eq!(record.rows("a", [1, 3, 2]), [("a".into(), 1.into()), ("a".into(), 3.into())]);
/// ```
pub trait Stateful: State {
    /// The rows that it takes: a struct that derives `Row`, or one value.
    type In<'a>: Read<'a>;

    /// The rows that it emits. They own what they hold.
    type Out: Write;

    /// Whether the rows of a batch are taken together, by `on_batch`. Where batches are cut is not said.
    const BY_BATCH: bool = false;

    /// The name of the column that `In` reads if it is one value.
    #[doc(hidden)]
    const PARAMETER: &'static str = "value";

    /// Takes a row. A failure must leave the state as it was; what the call emitted is dropped.
    fn on_item(&mut self, row: Self::In<'_>, cx: &mut Emit<Self::Out>) -> Result<()> {
        let _ = (row, cx);
        Err(Error::internal("has no on_item, and no on_batch with BY_BATCH = true"))
    }

    /// Takes the rows of a batch that are of the key, in their order, if `BY_BATCH` says so. A failure fails all of them
    /// and must leave the state as it was.
    fn on_batch(&mut self, rows: Vec<Self::In<'_>>, cx: &mut Emit<Self::Out>) -> Result<()> {
        rows.into_iter().try_for_each(|row| self.on_item(row, cx))
    }

    /// Wakes the key at the time that `notify_at` told, or later.
    fn on_notify(&mut self, cx: &mut Emit<Self::Out>) -> Result<()> {
        let _ = cx;
        Ok(())
    }

    /// Tells that the input of this execution has ended, or that the window closes. The state of a key stays, unless it
    /// is discarded.
    fn on_eof(&mut self, cx: &mut Emit<Self::Out>) -> Result<()> {
        let _ = cx;
        Ok(())
    }

    /// Takes the state of another window, whose rows come after its own. Happens when session windows meet.
    fn on_merge(&mut self, other: Self, cx: &mut Emit<Self::Out>) -> Result<()> {
        let _ = (other, cx);
        Err(Error::internal("cannot merge: implement on_merge to use it in session windows"))
    }

    /// Says when the key wants to be woken. Asked after every call that was for the key. A time that is past means: as
    /// soon as time or input has moved on.
    fn notify_at(&self) -> Option<Timestamp> {
        None
    }
}

/// What a call of a stateful function has to say.
pub struct Emit<T: Write> {
    now: Timestamp,
    rows: Rows<T>,
    discard: bool,
    config: Rc<dyn Any>,
}

impl<T: Write> Emit<T> {
    /// Emits a row under the call's key.
    #[inline]
    pub fn emit(&mut self, row: T) {
        self.rows.push(row);
    }

    /// Forgets the key after this call; its next row starts anew.
    #[inline]
    pub fn discard(&mut self) {
        self.discard = true;
    }

    /// Returns the system time of the call.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Returns the configuration of the function, beside where it emits. For the macros.
    #[doc(hidden)]
    #[inline]
    pub fn parts<C: 'static>(&mut self) -> (&C, &mut Rows<T>) {
        (self.config.downcast_ref().expect("the macro names the function's configuration"), &mut self.rows)
    }
}

/// A stateful function that was opened.
pub struct OpenStateful {
    /// The rows that it emits.
    pub output: Schema,
    /// The columns that it reads.
    pub reads: Vec<u32>,
    /// The states.
    pub groups: Box<dyn Groups>,
}

/// The groups of an open stateful function, as `stateful.wit` describes the calls.
pub trait Groups {
    /// Handles a batch.
    fn on_batch(&mut self, groups: &[u32], rows: &Batch, now: i64) -> Result<Emitted>;
    /// Wakes groups.
    fn on_notify(&mut self, groups: &[u32], now: i64) -> Result<Emitted>;
    /// Tells groups of the end.
    fn on_eof(&mut self, groups: &[u32], now: i64) -> Result<Emitted>;
    /// Merges groups.
    fn merge(&mut self, into: &[u32], from: &[u32], now: i64) -> Result<Emitted>;
    /// Asks when groups want to be woken.
    fn notify_at(&self, groups: &[u32]) -> Result<Vec<i64>>;
    /// Encodes states.
    fn snapshot(&self, groups: &[u32]) -> Result<VarSize>;
    /// Decodes states.
    fn restore(&mut self, groups: &[u32], states: &VarSize) -> Result<()>;
    /// Forgets groups.
    fn release(&mut self, groups: &[u32]);
}

/// Opens a stateful function for rows of a schema.
pub fn open<T: Stateful>(input: &Schema, config: &str) -> Result<OpenStateful> {
    let config: T::Config = config::parse(config)?;
    let plan = RowPlan::of::<T::In<'static>>(input, T::PARAMETER)?;
    Ok(OpenStateful {
        output: schema_of::<T::Out>(),
        reads: plan.reads.clone(),
        groups: Box::new(States::<T> {
            plan,
            config: Rc::new(config),
            slab: Slab::new(),
            together: Together::default(),
        }),
    })
}

struct States<T: State> {
    plan: RowPlan,
    config: Rc<T::Config>,
    slab: Slab<T>,
    together: Together,
}

/// The answer to a call under construction.
struct Answer<T: Write> {
    cx: Emit<T>,
    groups: Vec<u32>,
    parents: Vec<u32>,
    discarded: Vec<u32>,
    errors: Vec<RowError>,
}

impl<T: Write> Answer<T> {
    /// Starts with room for some rows.
    fn new(now: i64, config: Rc<dyn Any>, rows: usize) -> Self {
        let now = Timestamp::from_micros(now);
        Self {
            cx: Emit { now, rows: Rows::with_capacity(rows), discard: false, config },
            groups: Vec::with_capacity(rows),
            parents: Vec::new(),
            discarded: Vec::new(),
            errors: Vec::new(),
        }
    }

    /// Takes over what a call emitted. Returns whether it discards its state.
    #[inline]
    fn accept(&mut self, group: u32, parent: Option<u32>) -> bool {
        while self.groups.len() < self.cx.rows.len() {
            self.groups.push(group);
            self.parents.extend(parent);
        }
        std::mem::take(&mut self.cx.discard)
    }

    /// Takes back what a call emitted.
    #[cold]
    fn reject(&mut self) {
        self.cx.rows.truncate(self.groups.len());
        self.cx.discard = false;
    }

    fn finish<S: State>(mut self, slab: &Slab<S>, has_parents: bool) -> Emitted {
        // Only those count that did not begin anew, each once.
        self.discarded.sort_unstable();
        self.discarded.dedup();
        self.discarded.retain(|group| slab.get(*group).is_err());
        Emitted {
            rows: self.cx.rows.finish(),
            groups: self.groups,
            parents: has_parents.then_some(self.parents),
            discarded: self.discarded,
            errors: self.errors,
        }
    }
}

impl<T: Stateful> States<T> {
    fn answer(&self, now: i64, rows: usize) -> Answer<T::Out> {
        Answer::new(now, self.config.clone(), rows)
    }

    fn by_row(&mut self, groups: &[u32], rows: &Batch, now: i64) -> Result<Emitted> {
        let columns = self.plan.bind::<T::In<'_>>(rows)?;
        let mut answer = self.answer(now, groups.len());
        answer.parents.reserve(groups.len());
        for (row, group) in (0..).zip(groups.iter().copied()) {
            let slot = self.slab.slot(group);
            let is_new = slot.is_none();
            let state = slot.get_or_insert_with(|| T::new(&self.config));
            let value = self.plan.get::<T::In<'_>>(&columns, row as usize);
            match value.and_then(|value| state.on_item(value, &mut answer.cx)) {
                Ok(()) => {
                    if answer.accept(group, Some(row)) {
                        *slot = None;
                        answer.discarded.push(group);
                    }
                }
                Err(error) => {
                    answer.reject();
                    answer.errors.push(error.of_row(row as usize)?);
                    // A state that only a bad row called into being is no state.
                    if is_new {
                        *slot = None;
                        answer.discarded.push(group);
                    }
                }
            }
        }
        Ok(answer.finish(&self.slab, true))
    }

    fn by_batch(&mut self, groups: &[u32], rows: &Batch, now: i64) -> Result<Emitted> {
        let columns = self.plan.bind::<T::In<'_>>(rows)?;
        let mut answer = self.answer(now, groups.len());
        for (group, rows) in self.together.sort(groups) {
            let mut values = Vec::with_capacity(rows.len());
            let mut taken = Vec::with_capacity(rows.len());
            for row in rows {
                match self.plan.get::<T::In<'_>>(&columns, *row as usize) {
                    Ok(value) => {
                        values.push(value);
                        taken.push(*row);
                    }
                    Err(error) => answer.errors.push(error.of_row(*row as usize)?),
                }
            }
            let slot = self.slab.slot(group);
            if values.is_empty() {
                // Nobody else may have named the group, and then it must not count.
                answer.discarded.push(group);
                continue;
            }
            let is_new = slot.is_none();
            let state = slot.get_or_insert_with(|| T::new(&self.config));
            match state.on_batch(values, &mut answer.cx) {
                Ok(()) => {
                    if answer.accept(group, None) {
                        *slot = None;
                        answer.discarded.push(group);
                    }
                }
                Err(error) => {
                    answer.reject();
                    for row in taken {
                        answer.errors.push(error.clone().of_row(row as usize)?);
                    }
                    if is_new {
                        *slot = None;
                        answer.discarded.push(group);
                    }
                }
            }
        }
        answer.errors.sort_by_key(|error| error.row);
        Ok(answer.finish(&self.slab, false))
    }

    /// Calls each of some groups once, without a row.
    fn for_groups(
        &mut self,
        groups: &[u32],
        now: i64,
        call: fn(&mut T, &mut Emit<T::Out>) -> Result<()>,
    ) -> Result<Emitted> {
        let mut answer = self.answer(now, groups.len());
        for (place, group) in groups.iter().enumerate() {
            match call(self.slab.get_mut(*group)?, &mut answer.cx) {
                Ok(()) => {
                    if answer.accept(*group, None) {
                        self.slab.take(*group);
                        answer.discarded.push(*group);
                    }
                }
                Err(error) => {
                    answer.reject();
                    answer.errors.push(error.of_row(place)?);
                }
            }
        }
        Ok(answer.finish(&self.slab, false))
    }
}

impl<T: Stateful> Groups for States<T> {
    fn on_batch(&mut self, groups: &[u32], rows: &Batch, now: i64) -> Result<Emitted> {
        if groups.len() != rows.rows as usize {
            return Err(Error::internal("the host sent groups that do not go with the rows"));
        }
        if T::BY_BATCH { self.by_batch(groups, rows, now) } else { self.by_row(groups, rows, now) }
    }

    fn on_notify(&mut self, groups: &[u32], now: i64) -> Result<Emitted> {
        self.for_groups(groups, now, T::on_notify)
    }

    fn on_eof(&mut self, groups: &[u32], now: i64) -> Result<Emitted> {
        self.for_groups(groups, now, T::on_eof)
    }

    fn merge(&mut self, into: &[u32], from: &[u32], now: i64) -> Result<Emitted> {
        let mut answer = self.answer(now, into.len());
        for (place, (into, from)) in into.iter().zip(from).enumerate() {
            let Some(other) = self.slab.take(*from) else { continue };
            let slot = self.slab.slot(*into);
            let Some(state) = slot else {
                *slot = Some(other);
                continue;
            };
            match state.on_merge(other, &mut answer.cx) {
                Ok(()) => {
                    if answer.accept(*into, None) {
                        *slot = None;
                        answer.discarded.push(*into);
                    }
                }
                Err(error) => {
                    answer.reject();
                    answer.errors.push(error.of_row(place)?);
                }
            }
        }
        Ok(answer.finish(&self.slab, false))
    }

    fn notify_at(&self, groups: &[u32]) -> Result<Vec<i64>> {
        let at = |group: &u32| Ok(self.slab.get(*group)?.notify_at().map_or(i64::MAX, Timestamp::micros));
        groups.iter().map(at).collect()
    }

    fn snapshot(&self, groups: &[u32]) -> Result<VarSize> {
        self.slab.snapshot(groups)
    }

    fn restore(&mut self, groups: &[u32], states: &VarSize) -> Result<()> {
        self.slab.restore(groups, states)
    }

    fn release(&mut self, groups: &[u32]) {
        self.slab.release(groups);
    }
}

/// The rows of a batch by group. Kept between batches for its memory.
#[derive(Default)]
struct Together {
    /// For each group its place among those of the batch, or `NOWHERE`.
    places: Vec<u32>,
    /// The groups of the batch in order of first appearance, each with the end of its rows in `rows`.
    ends: Vec<(u32, u32)>,
    rows: Vec<u32>,
}

const NOWHERE: u32 = u32::MAX;

impl Together {
    /// Returns the groups in order of first appearance, and the rows of each in their order.
    fn sort(&mut self, groups: &[u32]) -> impl Iterator<Item = (u32, &[u32])> {
        let Self { places, ends, rows } = self;
        ends.clear();
        for group in groups {
            let index = *group as usize;
            if index >= places.len() {
                places.resize(index + 1, NOWHERE);
            }
            if places[index] == NOWHERE {
                places[index] = ends.len() as u32;
                ends.push((*group, 0));
            }
            ends[places[index] as usize].1 += 1;
        }
        // From the number of rows to where they begin, which the rows then push on to where they end.
        let mut start = 0;
        for (_, count) in ends.iter_mut() {
            start += std::mem::replace(count, start);
        }
        rows.clear();
        rows.resize(groups.len(), 0);
        for (row, group) in (0..).zip(groups) {
            let end = &mut ends[places[*group as usize] as usize].1;
            rows[*end as usize] = row;
            *end += 1;
        }
        ends.iter().for_each(|(group, _)| places[*group as usize] = NOWHERE);
        let mut rest: &[u32] = rows;
        let mut start = 0;
        ends.iter().map(move |&(group, end)| {
            let (rows, later) = rest.split_at((end - start) as usize);
            (rest, start) = (later, end);
            (group, rows)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_put_together_by_group_in_the_order_of_their_appearance() {
        let mut together = Together::default();
        for (groups, wanted) in [
            (&[3, 1, 3, 0, 1, 3][..], &[(3, &[0, 2, 5][..]), (1, &[1, 4]), (0, &[3])][..]),
            (&[], &[]),
            (&[1, 9], &[(1, &[0]), (9, &[1])]),
        ] {
            assert_eq!(together.sort(groups).collect::<Vec<_>>(), wanted);
        }
    }
}
