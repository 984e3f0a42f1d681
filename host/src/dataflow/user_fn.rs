//! What a plugin gives an operator: functions that were opened for a schema, and their live instances.
//!
//! A *factory* is made when the plan is checked; it is shared by all workers. Each worker and step makes one
//! *instance* of it, which lives on that worker's thread (or, for sources and sinks, on a thread of its own).

use super::env::Env;
use super::error::LogicError;
use super::migration::Migration;
use crate::data::ids::{StepId, WorkerIndex};
use crate::data::time::Instant;
use crate::telemetry::meter::StepMeter;
use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// Where an instance runs.
#[derive(Clone)]
pub struct InstanceCx {
    pub step: StepId,
    pub worker: WorkerIndex,
    /// Distinguishes this execution's files from those of others; letters and digits.
    pub run_id: Arc<str>,
    pub env: Env,
    /// Where the instance accounts for its time and memory.
    pub meter: Arc<StepMeter>,
    /// Whether it is given states of an older version.
    pub migration: Option<Migration>,
}

/// A row that could not be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RowError {
    /// The row's index in what was handed in.
    pub row: u32,
    pub message: String,
}

/// What a stateless function made of a batch.
#[derive(Debug)]
pub struct Applied {
    /// The rows returned, of the function's output schema. None for a filter.
    pub rows: Option<RecordBatch>,
    /// For each returned row its input row, never falling; for a filter the rows kept.
    /// None: one row for each input row that is not in `errors`.
    pub parents: Option<Vec<u32>>,
    /// The rows that failed, in input order.
    pub errors: Vec<RowError>,
}

/// A live stateless function.
pub trait TransformFn {
    /// Handles a batch of the input schema that the function was opened for (all its columns; the function picks those
    /// that it reads). What comes back has been validated: lengths, parents and errors lie within the batch.
    ///
    /// # Errors
    /// The function failed as a whole, trapped, or broke a limit or the contract. The instance must not be used again.
    fn apply(&mut self, rows: &RecordBatch) -> Result<Applied, LogicError>;
}

/// The rows of finished groups.
#[derive(Debug)]
pub struct Finished {
    /// One row for each group asked for that is not in `errors`.
    pub rows: RecordBatch,
    /// `row` is an index into the groups asked for.
    pub errors: Vec<RowError>,
}

/// A live fold: a slab of states, one a group. See `wit/fold.wit` for the contract of each call.
pub trait FoldFn {
    /// Folds row `index[i]` (or row `i`) of `rows` into `groups[i]`; returns the entries that failed.
    ///
    /// # Errors
    /// As for [`TransformFn::apply`]; the same holds for the other calls.
    fn update(
        &mut self,
        groups: &[u32],
        index: Option<&[u32]>,
        rows: &RecordBatch,
    ) -> Result<Vec<RowError>, LogicError>;

    /// Merges `from[i]` into `into[i]` and ends `from[i]`.
    ///
    /// # Errors
    /// As for `update`.
    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<(), LogicError>;

    /// The rows of some groups, which stay as they are.
    ///
    /// # Errors
    /// As for `update`.
    fn finish(&mut self, groups: &[u32]) -> Result<Finished, LogicError>;

    /// The encoded states of some groups, one each; none is null.
    ///
    /// # Errors
    /// As for `update`.
    fn snapshot(&mut self, groups: &[u32]) -> Result<BinaryArray, LogicError>;

    /// Sets the states of some groups from snapshots of the current version.
    ///
    /// # Errors
    /// As for `update`.
    fn restore(&mut self, groups: &[u32], states: &BinaryArray) -> Result<(), LogicError>;

    /// Ends some groups.
    ///
    /// # Errors
    /// As for `update`.
    fn release(&mut self, groups: &[u32]) -> Result<(), LogicError>;
}

/// What a call of a stateful function emitted.
#[derive(Debug)]
pub struct Emitted {
    /// The rows, in the order of their making.
    pub rows: RecordBatch,
    /// The group of each row.
    pub groups: Vec<u32>,
    /// For each row the input row that it came from, never falling and none that failed. None in `on_notify`, `on_eof`
    /// and `merge`, and from functions that see the rows of a group together.
    pub parents: Option<Vec<u32>>,
    /// The groups whose state is gone at the end of the call; each once.
    pub discarded: Vec<u32>,
    /// The input rows that failed, in input order; the state of their group is as before them. In `on_notify`, `on_eof`
    /// and `merge`, `row` is an index into the groups that were handed in.
    pub errors: Vec<RowError>,
}

/// A live stateful function: a slab of states, one a group. See `wit/stateful.wit` for the contract of each call.
pub trait StatefulFn {
    /// Handles rows of the input schema; `groups[i]` is the group of row `i`.
    ///
    /// # Errors
    /// As for [`TransformFn::apply`]; the same holds for the other calls.
    fn on_batch(&mut self, groups: &[u32], rows: &RecordBatch, now: Instant) -> Result<Emitted, LogicError>;

    /// Wakes groups whose time has come.
    ///
    /// # Errors
    /// As for `on_batch`.
    fn on_notify(&mut self, groups: &[u32], now: Instant) -> Result<Emitted, LogicError>;

    /// Tells groups that the input has ended, or that their window closes.
    ///
    /// # Errors
    /// As for `on_batch`.
    fn on_eof(&mut self, groups: &[u32], now: Instant) -> Result<Emitted, LogicError>;

    /// Merges `from[i]` into `into[i]`, in that order, and ends `from[i]`.
    ///
    /// # Errors
    /// As for `on_batch`.
    fn merge(&mut self, into: &[u32], from: &[u32], now: Instant) -> Result<Emitted, LogicError>;

    /// When each group wants to be woken.
    ///
    /// # Errors
    /// As for `on_batch`.
    fn notify_at(&mut self, groups: &[u32]) -> Result<Vec<Option<Instant>>, LogicError>;

    /// The encoded states of some groups, one each; none is null.
    ///
    /// # Errors
    /// As for `on_batch`.
    fn snapshot(&mut self, groups: &[u32]) -> Result<BinaryArray, LogicError>;

    /// Sets the states of some groups from snapshots of the current version.
    ///
    /// # Errors
    /// As for `on_batch`.
    fn restore(&mut self, groups: &[u32], states: &BinaryArray) -> Result<(), LogicError>;

    /// Ends some groups.
    ///
    /// # Errors
    /// As for `on_batch`.
    fn release(&mut self, groups: &[u32]) -> Result<(), LogicError>;
}

/// What a source partition of a plugin has to offer.
#[derive(Debug)]
pub enum Polled {
    /// At least one row of the source's schema.
    Rows(RecordBatch),
    /// Nothing now; ask again at this system time.
    Idle(Instant),
    /// Nothing more in this execution.
    End,
}

/// A live partition of a plugin's source, on its own thread.
pub trait SourceFn: Send {
    /// The next rows, at most `max_rows`. May block.
    ///
    /// # Errors
    /// As for [`TransformFn::apply`].
    fn next_batch(&mut self, max_rows: u32) -> Result<Polled, LogicError>;

    /// The position after the last row handed out.
    ///
    /// # Errors
    /// As for `next_batch`.
    fn snapshot(&mut self) -> Result<Vec<u8>, LogicError>;

    /// Ends the partition.
    ///
    /// # Errors
    /// As for `next_batch`.
    fn close(&mut self) -> Result<(), LogicError>;
}

/// A live partition of a plugin's sink, on its own thread.
pub trait SinkFn: Send {
    /// Writes rows of the input schema; returns those refused. May block.
    ///
    /// # Errors
    /// As for [`TransformFn::apply`].
    fn write(&mut self, rows: &RecordBatch) -> Result<Vec<RowError>, LogicError>;

    /// The position after the last row written.
    ///
    /// # Errors
    /// As for `write`.
    fn snapshot(&mut self) -> Result<Vec<u8>, LogicError>;

    /// Stages an epoch.
    ///
    /// # Errors
    /// As for `write`.
    fn pre_commit(&mut self, epoch: u64) -> Result<Vec<u8>, LogicError>;

    /// Makes a staged epoch visible; idempotent.
    ///
    /// # Errors
    /// As for `write`.
    fn commit(&mut self, epoch: u64, staged: &[u8]) -> Result<(), LogicError>;

    /// Ends the partition.
    ///
    /// # Errors
    /// As for `write`.
    fn close(&mut self) -> Result<(), LogicError>;
}

/// Turns states of an older version of a function into the current one.
pub trait MigrateStates: Send + Sync {
    /// Turns encoded states, none of which is null, from a version into the current one, in their order.
    ///
    /// # Errors
    /// The plugin cannot read that version, or a state; or it failed.
    fn migrate(&self, _cx: &InstanceCx, from_version: u32, _states: &BinaryArray) -> Result<BinaryArray, LogicError> {
        Err(LogicError::user(format!("states of version {from_version} cannot be read")))
    }
}

/// Makes instances of an opened stateless function.
pub trait TransformFactory: Send + Sync {
    /// Makes the instance of one worker and step.
    ///
    /// # Errors
    /// The component cannot be instantiated, or its function no longer opens.
    fn instantiate(&self, cx: &InstanceCx) -> Result<Box<dyn TransformFn>, LogicError>;
}

/// Makes instances of an opened fold.
pub trait FoldFactory: MigrateStates {
    /// Makes the instance of one worker and step.
    ///
    /// # Errors
    /// As for [`TransformFactory::instantiate`].
    fn instantiate(&self, cx: &InstanceCx) -> Result<Box<dyn FoldFn>, LogicError>;
}

/// Makes instances of an opened stateful function.
pub trait StatefulFactory: MigrateStates {
    /// Makes the instance of one worker and step.
    ///
    /// # Errors
    /// As for [`TransformFactory::instantiate`].
    fn instantiate(&self, cx: &InstanceCx) -> Result<Box<dyn StatefulFn>, LogicError>;
}

/// Makes partitions of an opened source.
pub trait SourceFactory: Send + Sync {
    /// The names of the partitions.
    ///
    /// # Errors
    /// As for [`TransformFactory::instantiate`].
    fn list_parts(&self) -> Result<Vec<String>, LogicError>;

    /// Starts a partition at a position, or at its beginning.
    ///
    /// # Errors
    /// As for [`TransformFactory::instantiate`].
    fn build_part(&self, cx: &InstanceCx, name: &str, position: Option<&[u8]>)
    -> Result<Box<dyn SourceFn>, LogicError>;
}

/// Makes partitions of an opened sink.
pub trait SinkFactory: Send + Sync {
    /// The names of the partitions; empty if every worker writes one of its own.
    ///
    /// # Errors
    /// As for [`TransformFactory::instantiate`].
    fn list_parts(&self) -> Result<Vec<String>, LogicError>;

    /// Starts a partition at a position, or anew.
    ///
    /// # Errors
    /// As for [`TransformFactory::instantiate`].
    fn build_part(&self, cx: &InstanceCx, name: &str, position: Option<&[u8]>) -> Result<Box<dyn SinkFn>, LogicError>;
}

/// A stateless function, opened for the schema of its input.
#[derive(Clone)]
pub struct OpenTransform {
    /// The rows that it returns; with `extends`, only the columns that it adds or replaces. Empty for a filter.
    pub output: SchemaRef,
    /// The columns of the input that it reads.
    pub reads: Vec<usize>,
    /// Whether its columns are set beside those of the input row.
    pub extends: bool,
    pub factory: Arc<dyn TransformFactory>,
}

/// A fold, opened for the schema of its input.
#[derive(Clone)]
pub struct OpenFold {
    /// The row of a finished group.
    pub output: SchemaRef,
    /// The columns of the input that it reads.
    pub reads: Vec<usize>,
    /// The version of its snapshots.
    pub state_version: u32,
    pub factory: Arc<dyn FoldFactory>,
}

/// A stateful function, opened for the schema of its input.
#[derive(Clone)]
pub struct OpenStateful {
    /// The rows that it emits.
    pub output: SchemaRef,
    /// The columns of the input that it reads.
    pub reads: Vec<usize>,
    /// The version of its snapshots.
    pub state_version: u32,
    pub factory: Arc<dyn StatefulFactory>,
}

/// A source, opened.
#[derive(Clone)]
pub struct OpenSource {
    pub output: SchemaRef,
    pub factory: Arc<dyn SourceFactory>,
}

/// A sink, opened for the schema of its input.
#[derive(Clone)]
pub struct OpenSink {
    /// The columns of the input that it reads.
    pub reads: Vec<usize>,
    /// Whether it is exactly once.
    pub two_phase: bool,
    pub factory: Arc<dyn SinkFactory>,
}
