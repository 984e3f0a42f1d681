//! Several aggregates together, as a fold.

use super::accumulator::{Accumulator, Function};
use super::counts::Counts;
use crate::catalog::operator::Keeps;
use crate::data::schema::{Type, schema_of};
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::{Finished, FoldFactory, FoldFn, InstanceCx, MigrateStates, OpenFold, RowError};
use arrow::array::{ArrayRef, BinaryArray, BinaryBuilder, BooleanArray, RecordBatch};
use arrow::compute::filter_record_batch;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// The version of the encoding of states.
const STATE_VERSION: u32 = 1;

/// A column to make.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) struct Aggregate {
    pub name: String,
    pub of: Of,
    /// Of the column that is made.
    pub ty: Type,
}

/// What is aggregated.
#[derive(Clone, Debug, PartialEq)]
pub(in super::super) enum Of {
    /// The rows are counted.
    Rows,
    Column {
        function: Function,
        index: usize,
        ty: Type,
    },
}

impl Aggregate {
    /// Whether the result is the same in whatever order rows are put together.
    pub fn is_exact(&self) -> bool {
        match &self.of {
            Of::Rows => true,
            Of::Column { function, ty, .. } => function.is_exact(ty),
        }
    }

    fn accumulator(&self) -> Result<Box<dyn Accumulator>, LogicError> {
        match &self.of {
            Of::Rows => Ok(Box::new(Counts::of(None))),
            Of::Column { function, index, ty } => function.accumulator(&self.name, *index, ty),
        }
    }
}

/// The columns that aggregates make.
pub(in super::super) fn schema(aggregates: &[Aggregate]) -> SchemaRef {
    schema_of(&aggregates.iter().map(|aggregate| (aggregate.name.clone(), aggregate.ty.clone())).collect::<Vec<_>>())
}

/// What a step keeps whose states are those of aggregates ([`Aggregates::save`]).
pub(in super::super) fn keeps() -> Keeps {
    Keeps { version: STATE_VERSION, ..Keeps::new() }
}

/// Makes a fold of aggregates, such as plugins have.
pub(in super::super) fn open(aggregates: Vec<Aggregate>) -> OpenFold {
    let mut reads: Vec<usize> = aggregates
        .iter()
        .filter_map(|aggregate| match aggregate.of {
            Of::Rows => None,
            Of::Column { index, .. } => Some(index),
        })
        .collect();
    reads.sort_unstable();
    reads.dedup();
    let output = schema(&aggregates);
    OpenFold { output, reads, state_version: STATE_VERSION, factory: Arc::new(Factory(aggregates)) }
}

struct Factory(Vec<Aggregate>);

impl MigrateStates for Factory {}

impl FoldFactory for Factory {
    fn instantiate(&self, _cx: &InstanceCx) -> Result<Box<dyn FoldFn>, LogicError> {
        Ok(Box::new(Aggregates::new(&self.0)?))
    }
}

/// The states of several aggregates.
pub(in super::super) struct Aggregates {
    schema: SchemaRef,
    accumulators: Vec<Box<dyn Accumulator>>,
    /// How many groups there is room for.
    groups: usize,
}

impl Aggregates {
    /// Starts without groups.
    ///
    /// # Errors
    /// An aggregate does not take columns of its type, which was checked.
    pub fn new(aggregates: &[Aggregate]) -> Result<Self, LogicError> {
        let accumulators = aggregates.iter().map(Aggregate::accumulator).collect::<Result<_, _>>()?;
        Ok(Aggregates { schema: schema(aggregates), accumulators, groups: 0 })
    }

    fn make_room(&mut self, groups: &[u32]) {
        let needed = groups.iter().max().map_or(0, |&group| group as usize + 1);
        if needed > self.groups {
            self.groups = needed;
            self.accumulators.iter_mut().for_each(|accumulator| accumulator.resize(needed));
        }
    }

    /// Takes row `i` of `rows` into `groups[i]`, and returns what the group comes to after each of them. Rows whose
    /// results cannot be given are among the errors; they are taken in all the same.
    ///
    /// # Errors
    /// As for [`FoldFn::update`].
    pub fn running(&mut self, groups: &[u32], rows: &RecordBatch) -> Result<Finished, LogicError> {
        self.make_room(groups);
        let mut errors = Vec::new();
        let columns = self.accumulators.iter_mut().map(|accumulator| accumulator.running(groups, rows, &mut errors));
        let columns = columns.collect::<Result<_, _>>()?;
        self.finished(columns, errors)
    }

    /// The states of some groups in a column, one a row.
    ///
    /// # Errors
    /// They are too large for one.
    pub fn save(&self, groups: &[u32]) -> Result<BinaryArray, LogicError> {
        let mut states = BinaryBuilder::with_capacity(groups.len(), 0);
        let mut state = Vec::new();
        for &group in groups {
            state.clear();
            self.accumulators.iter().for_each(|accumulator| accumulator.save(group, &mut state));
            if states.values_slice().len() + state.len() > i32::MAX as usize {
                return Err(LogicError::user("the states of some keys are too large together for one column (2 GiB)"));
            }
            states.append_value(&state);
        }
        Ok(states.finish())
    }

    /// Takes saved states into groups, one each, as if their rows came after those that are there.
    ///
    /// # Errors
    /// They are no states of these aggregates.
    pub fn add(&mut self, groups: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        self.make_room(groups);
        let start = self.groups;
        let beside: Vec<u32> = (start..start + groups.len()).map(super::accumulator::number).collect();
        self.make_room(&beside);
        for (&group, state) in beside.iter().zip(states) {
            self.load(group, state.unwrap_or_default())?;
        }
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.merge(groups, &beside));
        // The room is for groups to come, whose states would else be moved once more.
        self.groups = start;
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.resize(start));
        Ok(())
    }

    fn load(&mut self, group: u32, mut state: &[u8]) -> Result<(), LogicError> {
        for accumulator in &mut self.accumulators {
            accumulator.load(group, &mut state).ok_or_else(|| LogicError::internal("a saved aggregate is cut off"))?;
        }
        match state {
            [] => Ok(()),
            _ => Err(LogicError::internal("a saved aggregate is too long")),
        }
    }

    /// Leaves out the rows that have errors.
    fn finished(&self, columns: Vec<ArrayRef>, mut errors: Vec<RowError>) -> Result<Finished, LogicError> {
        let rows = RecordBatch::try_new(self.schema.clone(), columns)?;
        if errors.is_empty() {
            return Ok(Finished { rows, errors });
        }
        errors.sort_by_key(|error| error.row);
        errors.dedup_by_key(|error| error.row);
        let mut kept = vec![true; rows.num_rows()];
        errors.iter().for_each(|error| kept[error.row as usize] = false);
        Ok(Finished { rows: filter_record_batch(&rows, &BooleanArray::from(kept))?, errors })
    }
}

impl FoldFn for Aggregates {
    fn update(
        &mut self,
        groups: &[u32],
        index: Option<&[u32]>,
        rows: &RecordBatch,
    ) -> Result<Vec<RowError>, LogicError> {
        self.make_room(groups);
        for accumulator in &mut self.accumulators {
            accumulator.update(groups, index, rows)?;
        }
        Ok(Vec::new())
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<(), LogicError> {
        self.make_room(into);
        self.make_room(from);
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.merge(into, from));
        Ok(())
    }

    fn finish(&mut self, groups: &[u32]) -> Result<Finished, LogicError> {
        self.make_room(groups);
        let mut errors = Vec::new();
        let columns = self.accumulators.iter().map(|accumulator| accumulator.finish(groups, &mut errors));
        let columns = columns.collect::<Result<_, _>>()?;
        self.finished(columns, errors)
    }

    fn snapshot(&mut self, groups: &[u32]) -> Result<BinaryArray, LogicError> {
        self.make_room(groups);
        self.save(groups)
    }

    fn restore(&mut self, groups: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        self.make_room(groups);
        groups.iter().enumerate().try_for_each(|(at, &group)| self.load(group, states.value(at)))
    }

    fn release(&mut self, groups: &[u32]) -> Result<(), LogicError> {
        self.make_room(groups);
        self.accumulators.iter_mut().for_each(|accumulator| accumulator.reset(groups));
        Ok(())
    }
}
