//! Folds: states built up row by row, for each key or each window of a key.

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::bindings::exports::wxhost::plugin::fold::Finished;
use crate::bindings::wxhost::plugin::types::{Batch, RowError, Schema, VarSize};
use crate::config;
use crate::error::{Error, Result};
use crate::read::{Read, RowPlan};
use crate::state::{self, Slab, State};
use crate::write::{Rows, Write, schema_of};

/// A fold whose steps cannot fail. See [`TryFold`] for those that can.
///
/// ```
/// use wxhost_guest::prelude::*;
///
/// /// The mean of all values.
/// #[derive(Default, State)]
/// struct Average {
///     sum: f64,
///     rows: u64,
/// }
///
/// impl Fold for Average {
///     type In<'a> = f64;
///     type Out = f64;
///
///     fn fold(&mut self, value: f64) {
///         self.sum += value;
///         self.rows += 1;
///     }
///
///     fn merge(&mut self, other: Self) {
///         self.sum += other.sum;
///         self.rows += other.rows;
///     }
///
///     fn finish(&self) -> f64 {
///         self.sum / self.rows as f64
///     }
/// }
/// ```
pub trait Fold: State {
    /// The rows that it takes: a struct that derives `Row`, or one value.
    type In<'a>: Read<'a>;

    /// The row that it makes.
    type Out: Write;

    /// Takes a row.
    fn fold(&mut self, row: Self::In<'_>);

    /// Takes the state of another group, whose rows come after its own. Happens when session windows meet.
    fn merge(&mut self, other: Self);

    /// Makes the row. May be called several times, for early results.
    fn finish(&self) -> Self::Out;
}

/// A fold whose steps can fail. Every [`Fold`] is one.
pub trait TryFold: State {
    /// The rows that it takes: a struct that derives `Row`, or one value.
    type In<'a>: Read<'a>;

    /// The row that it makes.
    type Out: Write;

    /// Takes a row. A failure must leave the state as it was.
    fn try_fold(&mut self, row: Self::In<'_>) -> Result<()>;

    /// Takes the state of another group, whose rows come after its own.
    fn try_merge(&mut self, other: Self) -> Result<()>;

    /// Makes the row. May be called several times, for early results.
    fn try_finish(&self) -> Result<Self::Out>;
}

impl<T: Fold> TryFold for T {
    type In<'a> = <T as Fold>::In<'a>;
    type Out = <T as Fold>::Out;

    #[inline]
    fn try_fold(&mut self, row: Self::In<'_>) -> Result<()> {
        self.fold(row);
        Ok(())
    }

    #[inline]
    fn try_merge(&mut self, other: Self) -> Result<()> {
        self.merge(other);
        Ok(())
    }

    #[inline]
    fn try_finish(&self) -> Result<Self::Out> {
        Ok(self.finish())
    }
}

/// A function of two rows, as the attribute `reduce` writes it.
pub trait ReduceFunction: 'static {
    /// The row.
    type Row: for<'a> Read<'a> + Write + Clone + Serialize + DeserializeOwned + 'static;
    /// The function's doc comment.
    const DOC: &'static str;
    /// The version of the row's encoding.
    const VERSION: u32;

    /// Puts two rows together.
    fn reduce(first: &mut Option<Self::Row>, second: Self::Row) -> Result<()>;
}

/// The fold that a `reduce` is: its state is the row so far.
pub struct Reduced<F: ReduceFunction>(Option<F::Row>);

impl<F: ReduceFunction> State for Reduced<F> {
    const VERSION: u32 = F::VERSION;
    const DOC: &'static str = F::DOC;
    const MIGRATES: bool = false;
    type Config = config::NoConfig;

    fn new(_: &Self::Config) -> Self {
        Self(None)
    }

    fn encode(&self, bytes: Vec<u8>) -> Result<Vec<u8>> {
        state::encode(&self.0, bytes)
    }

    fn decode(bytes: &[u8]) -> Result<Self> {
        state::decode(bytes).map(Self)
    }

    fn migrate(from_version: u32, _: &[u8]) -> Result<Self> {
        state::no_migration(from_version, F::VERSION)
    }
}

impl<F: ReduceFunction> TryFold for Reduced<F> {
    type In<'a> = F::Row;
    type Out = F::Row;

    fn try_fold(&mut self, row: F::Row) -> Result<()> {
        F::reduce(&mut self.0, row)
    }

    fn try_merge(&mut self, other: Self) -> Result<()> {
        other.0.map_or(Ok(()), |row| F::reduce(&mut self.0, row))
    }

    fn try_finish(&self) -> Result<F::Row> {
        self.0.clone().ok_or_else(|| Error::user("no row to reduce: all of them failed"))
    }
}

/// A fold that was opened.
pub struct OpenFold {
    /// The row of a group.
    pub output: Schema,
    /// The columns that it reads.
    pub reads: Vec<u32>,
    /// The states.
    pub groups: Box<dyn Groups>,
}

/// The groups of an open fold, as `fold.wit` describes the calls.
pub trait Groups {
    /// Folds rows into groups.
    fn update(&mut self, groups: &[u32], index: Option<&[u32]>, rows: &Batch) -> Result<Vec<RowError>>;
    /// Merges groups.
    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()>;
    /// Makes the rows of groups.
    fn finish(&self, groups: &[u32]) -> Result<Finished>;
    /// Encodes states.
    fn snapshot(&self, groups: &[u32]) -> Result<VarSize>;
    /// Decodes states.
    fn restore(&mut self, groups: &[u32], states: &VarSize) -> Result<()>;
    /// Forgets groups.
    fn release(&mut self, groups: &[u32]);
}

/// Opens a fold for rows of a schema.
pub fn open<T: TryFold>(input: &Schema, config: &str) -> Result<OpenFold> {
    let config: T::Config = config::parse(config)?;
    let plan = RowPlan::of::<T::In<'static>>(input, "value")?;
    Ok(OpenFold {
        output: schema_of::<T::Out>(),
        reads: plan.reads.clone(),
        groups: Box::new(States::<T> { plan, config, slab: Slab::new() }),
    })
}

struct States<T: State> {
    plan: RowPlan,
    config: T::Config,
    slab: Slab<T>,
}

impl<T: TryFold> States<T> {
    /// Folds rows until a group has no state yet or a row fails, and leaves `place` there.
    ///
    /// New groups and failures are rare, so the loop over rows is free of both and keeps what it needs in registers.
    fn fold_known<'a>(
        &mut self,
        columns: &<T::In<'a> as Read<'a>>::Column,
        groups: &[u32],
        index: Option<&[u32]>,
        place: &mut usize,
    ) -> Result<(), Option<Error>> {
        let (plan, states) = (&self.plan, self.slab.states());
        if let Some(index) = index {
            for (group, row) in groups[*place..].iter().zip(&index[*place..]) {
                fold_one(plan, columns, states, *group, *row as usize)?;
                *place += 1;
            }
            return Ok(());
        }
        // Code that can be interrupted looks whether it is at the end of every turn, hence few turns.
        let (fours, rest) = groups[*place..].as_chunks::<4>();
        for &[first, second, third, fourth] in fours {
            fold_one(plan, columns, states, first, *place)?;
            *place += 1;
            fold_one(plan, columns, states, second, *place)?;
            *place += 1;
            fold_one(plan, columns, states, third, *place)?;
            *place += 1;
            fold_one(plan, columns, states, fourth, *place)?;
            *place += 1;
        }
        for group in rest {
            fold_one(plan, columns, states, *group, *place)?;
            *place += 1;
        }
        Ok(())
    }
}

/// Folds a row; fails with nothing if its group has no state.
#[inline(always)]
fn fold_one<'a, T: TryFold>(
    plan: &RowPlan,
    columns: &<T::In<'a> as Read<'a>>::Column,
    states: &mut [Option<T>],
    group: u32,
    row: usize,
) -> Result<(), Option<Error>> {
    let Some(Some(state)) = states.get_mut(group as usize) else { return Err(None) };
    match T::In::<'a>::get(columns, row) {
        Ok(row) => state.try_fold(row).map_err(Some),
        Err(fault) => Err(Some(plan.error(fault))),
    }
}

impl<T: TryFold> Groups for States<T> {
    fn update(&mut self, groups: &[u32], index: Option<&[u32]>, rows: &Batch) -> Result<Vec<RowError>> {
        let columns = self.plan.bind::<T::In<'_>>(rows)?;
        let count = rows.rows as usize;
        if index.map_or(groups.len() != count, |index| {
            index.len() != groups.len() || index.iter().any(|row| *row as usize >= count)
        }) {
            return Err(Error::internal("the host sent groups that do not go with the rows"));
        }
        let mut errors = Vec::new();
        let mut place = 0;
        while let Some(group) = groups.get(place) {
            self.slab.get_or_new(*group, &self.config);
            if let Err(Some(error)) = self.fold_known(&columns, groups, index, &mut place) {
                errors.push(error.of_row(place)?);
                place += 1;
            }
        }
        Ok(errors)
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<()> {
        for (into, from) in into.iter().zip(from) {
            if let Some(other) = self.slab.take(*from) {
                self.slab.get_or_new(*into, &self.config).try_merge(other)?;
            }
        }
        Ok(())
    }

    fn finish(&self, groups: &[u32]) -> Result<Finished> {
        let mut rows = Rows::with_capacity(groups.len());
        let mut errors = Vec::new();
        for (place, group) in groups.iter().enumerate() {
            match self.slab.get(*group)?.try_finish() {
                Ok(row) => rows.push(row),
                Err(error) => errors.push(error.of_row(place)?),
            }
        }
        Ok(Finished { rows: rows.finish(), errors })
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bindings::wxhost::plugin::types::{Column, DataType, Field, Values};

    struct Add;

    impl ReduceFunction for Add {
        type Row = i64;
        const DOC: &'static str = "";
        const VERSION: u32 = 1;

        fn reduce(first: &mut Option<i64>, second: i64) -> Result<()> {
            if second < 0 {
                return Err(Error::user("is negative"));
            }
            *first = Some(first.unwrap_or(0) + second);
            Ok(())
        }
    }

    #[test]
    fn rows_go_into_their_groups_wherever_new_groups_and_failures_stand() {
        let schema = Schema { fields: vec![Field { name: "n".into(), data_type: DataType::Int64 }], roots: vec![0] };
        let rows = 11;
        let backwards: Vec<u32> = (0..rows).rev().collect();
        for failing in 0..rows {
            for index in [None, Some(backwards.as_slice())] {
                let values = (0..rows).map(|row| if row == failing { -1 } else { 1 << row }).collect();
                let column = Column { rows, validity: None, values: Values::Int64(values) };
                let batch = Batch { rows, columns: vec![column], roots: vec![0] };
                let mut groups = open::<Reduced<Add>>(&schema, "").unwrap().groups;
                let of_place: Vec<u32> = (0..rows).map(|place| place * place % 7).collect();
                let errors = groups.update(&of_place, index, &batch).unwrap();
                let row_of = |place: u32| index.map_or(place, |index| index[place as usize]);
                let failed = (0..rows).find(|place| row_of(*place) == failing).unwrap();
                assert_eq!(errors.iter().map(|error| error.row).collect::<Vec<_>>(), [failed]);
                for group in [0, 1, 2, 4] {
                    let places = (0..rows).filter(|place| of_place[*place as usize] == group && *place != failed);
                    let sum: i64 = places.map(|place| 1 << row_of(place)).sum();
                    let finished = groups.finish(&[group]).unwrap();
                    let Values::Int64(found) = &finished.rows.columns[0].values else { panic!("no numbers") };
                    assert_eq!(found.as_slice(), [sum], "group {group}, row {failing} fails");
                }
            }
        }
    }
}
