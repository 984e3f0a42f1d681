//! What drivers hand to the recovery store, and what they hear from it.
//!
//! An epoch goes through four stations. *Handed in*: every driver of every worker has given what the epoch changed.
//! *Sealed*: a part of the store has written it. *Durable*: all parts have; a crash will never undo it. *Committed*:
//! sinks have shown to readers what they staged. Only the first is the drivers' own knowledge, and timely tells when it
//! is complete: the frontier of what they hold until they have handed in. See [`Recovery`] for who calls what when.

use super::error::LogicError;
use crate::data::ids::{PartitionId, StepId};
use crate::data::key::{KEY_GROUPS, Keys};
use crate::data::time::Epoch;
use arrow::array::BinaryArray;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use timely::scheduling::SyncActivator;

/// The keys of a step whose state an epoch changed, and their states at its end. Of a key that is there twice the later
/// state counts.
#[derive(Clone, Debug)]
pub struct Changes {
    pub keys: Keys,
    /// One a key. Null: the key has no state any more.
    pub values: BinaryArray,
    /// Key groups of which these are the states of *all* keys that have one, not only of those that changed. A store need
    /// then not look behind them. Keys that lost theirs are there all the same.
    pub whole: Range<u64>,
}

impl Changes {
    /// Of keys that changed; there may be others.
    pub fn of_some(keys: Keys, values: BinaryArray) -> Changes {
        Changes { keys, values, whole: 0..0 }
    }

    /// Of all keys that have a state, and of those that lost theirs.
    pub fn of_all(keys: Keys, values: BinaryArray) -> Changes {
        Changes { keys, values, whole: 0..KEY_GROUPS }
    }
}

/// How far a source's partition was at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    pub part: PartitionId,
    /// The epoch in which it got there.
    pub epoch: Epoch,
    pub position: Vec<u8>,
}

/// What a sink's partition staged for an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    pub part: PartitionId,
    pub epoch: Epoch,
    /// What the sink needs to show it to readers, also in another process and more than once.
    pub manifest: Vec<u8>,
}

/// Takes in states and gives them back; shared by all workers of a process.
///
/// At the start, before the dataflow runs:
/// - a step loads the states of the groups that its worker owns ([`crate::data::key::groups_of`]);
/// - a source opens each partition at its position;
/// - a sink commits *every* manifest of [`Recovery::load_sinks`] in the order given, then says so by
///   [`Recovery::committed`] ([`super::sink::SinkParts::resume`]). Most were committed long ago, which a sink tells by
///   what is in its place, for what was staged may be gone. Then it removes whatever else it finds staged.
///
/// For each epoch, on the worker and never waiting for a disk:
/// - a step, source or sink hands in what the epoch changed, when it has seen all of the epoch, and only then lets go of
///   its capability for the epoch on the stream that ends in the seal;
/// - once that stream is past an epoch, any worker calls [`Recovery::seal`]. All may; the first counts. At the end of
///   input, when the stream has ended, [`Recovery::end`].
/// - when [`Recovery::durable`] reaches an epoch, sinks commit its manifest. They hold nothing back for that on the stream
///   that ends in the seal, or an epoch would wait for itself; but they end only when all is committed.
pub trait Recovery: Send + Sync {
    /// The epoch that this execution begins with. Everything before it was loaded.
    fn first_epoch(&self) -> Epoch;

    /// Whether there was no execution before.
    fn is_fresh(&self) -> bool;

    /// Takes the states that `step` changed in `epoch`. May be called by several workers, each for keys of its own, and
    /// more than once: of a key handed in twice the later state counts.
    ///
    /// # Errors
    /// A state is too large, or the call comes after the epoch was sealed.
    fn state(&self, step: &StepId, epoch: Epoch, changes: &Changes) -> Result<(), LogicError>;

    /// Takes the position behind the last row that a source's partition gave in `epoch`. Not called if it gave none and is
    /// not newly at its end, so that an idle flow writes nothing.
    ///
    /// # Errors
    /// The call comes after the epoch was sealed.
    fn source(&self, step: &StepId, part: &PartitionId, epoch: Epoch, position: Vec<u8>) -> Result<(), LogicError>;

    /// Takes the manifest of what a sink's partition staged for `epoch`; what it names is safe on its disk by now. Not
    /// called if nothing was staged.
    ///
    /// # Errors
    /// The call comes after the epoch was sealed.
    fn sink(&self, step: &StepId, part: &PartitionId, epoch: Epoch, manifest: Vec<u8>) -> Result<(), LogicError>;

    /// Everything of `epoch`, and of all before it, was handed in by all workers. Calls for epochs that were sealed
    /// already do nothing.
    fn seal(&self, epoch: Epoch);

    /// Everything was handed in, and nothing more will be. Seals the last epoch.
    fn end(&self);

    /// How far the store is.
    fn durable(&self) -> &Arc<Durable>;

    /// The version of the states that [`Recovery::load_state`] gives of a step, if its plugin's function has a newer one:
    /// they must be migrated, and all handed in anew in the first epoch, as they are not kept any longer than that.
    fn migrates(&self, _step: &StepId) -> Option<u32> {
        None
    }

    /// The version of what the step's operator wrote, if [`Recovery::load_state`] gives states of another one than it
    /// writes now: all must be handed in anew in the first epoch, as with [`Recovery::migrates`].
    fn rewrites(&self, _step: &StepId) -> Option<u32> {
        None
    }

    /// A sink's partition has shown to readers what it staged up to `epoch`. Manifests before that one may be
    /// forgotten.
    fn committed(&self, step: &StepId, part: &PartitionId, epoch: Epoch);

    /// Hands over the states of a step for a range of key groups, each key once, in batches in the order of the keys'
    /// hashes. Only before the first epoch of the execution is sealed.
    ///
    /// # Errors
    /// The store is damaged or cannot be read; or `each` failed.
    fn load_state(
        &self,
        step: &StepId,
        groups: Range<u64>,
        each: &mut dyn FnMut(Keys, BinaryArray) -> Result<(), LogicError>,
    ) -> Result<(), LogicError>;

    /// The positions of all partitions that a source ever had, in the order of their names. Only before the first epoch
    /// is sealed.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    fn load_sources(&self, step: &StepId) -> Result<Vec<Position>, LogicError>;

    /// The manifests of a sink that may not be committed yet, in the order of their epochs; of each partition the newest
    /// at least, if it ever had one. Only before the first epoch is sealed.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    fn load_sinks(&self, step: &StepId) -> Result<Vec<Manifest>, LogicError>;
}

/// The newest epoch that no crash can undo.
#[derive(Default)]
pub struct Durable {
    newest: AtomicU64,
    sleepers: Mutex<Vec<SyncActivator>>,
}

impl Durable {
    /// Starts at an epoch.
    pub fn new(epoch: Epoch) -> Self {
        Durable { newest: AtomicU64::new(epoch.0), sleepers: Mutex::default() }
    }

    /// The newest epoch that is durable.
    pub fn newest(&self) -> Epoch {
        Epoch(self.newest.load(Ordering::Acquire))
    }

    /// Has an operator woken whenever that changes.
    pub fn wake(&self, operator: SyncActivator) {
        self.sleepers.lock().unwrap_or_else(PoisonError::into_inner).push(operator);
    }

    /// Says that everything up to `epoch` is durable; an epoch before the newest changes nothing.
    pub fn advance(&self, epoch: Epoch) {
        if self.newest.fetch_max(epoch.0, Ordering::AcqRel) < epoch.0 {
            for operator in self.sleepers.lock().unwrap_or_else(PoisonError::into_inner).iter() {
                // A worker that has ended needs no waking.
                operator.activate().ok();
            }
        }
    }
}
