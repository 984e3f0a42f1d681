//! The partitions of an execution's sources: which there are, and which have ended.

use crate::data::ids::{PartitionId, StepId};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// By the name of a partition among all: whose it is, and the tick behind its last row, if it has ended.
type ByName = BTreeMap<Arc<str>, (StepId, Option<u64>)>;

/// All partitions of all sources of a process, whichever worker reads them.
#[derive(Default)]
pub struct Partitions {
    all: Mutex<ByName>,
}

/// The name of a partition among those of all sources.
pub fn name_of(source: &StepId, partition: &PartitionId) -> String {
    format!("{source}/{partition}")
}

impl Partitions {
    /// Takes in those of a source. Every worker does so when it builds the source, and so knows of all before rows come.
    pub fn register(&self, source: &StepId, partitions: &[PartitionId]) {
        let mut all = self.all();
        for partition in partitions {
            all.entry(name_of(source, partition).into()).or_insert_with(|| (source.clone(), None));
        }
    }

    /// Says that a partition has ended, with a tick that none of its rows comes behind.
    pub fn ended(&self, source: &StepId, partition: &PartitionId, tick: u64) {
        if let Some((_, ended)) = self.all().get_mut(&*name_of(source, partition)) {
            *ended = Some(tick);
        }
    }

    /// The names of those partitions of some sources that have not ended, or of which rows are still under way:
    /// `is_past` says whether a tick is through the flow.
    pub fn open(&self, sources: &[StepId], is_past: impl Fn(u64) -> bool) -> Vec<Arc<str>> {
        let all = self.all();
        let open = all.iter().filter(|(_, (source, ended))| sources.contains(source) && !ended.is_some_and(&is_past));
        open.map(|(name, _)| name.clone()).collect()
    }

    fn all(&self) -> MutexGuard<'_, ByName> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_open_until_its_rows_are_through_the_flow() {
        let partitions = Partitions::default();
        let (one, other): (StepId, StepId) = ("one".into(), "other".into());
        partitions.register(&one, &["a".into(), "b".into()]);
        partitions.register(&one, &["a".into(), "b".into()]);
        partitions.register(&other, &["a".into()]);
        partitions.ended(&one, &"a".into(), 7);
        let open = |done: u64| {
            let open = partitions.open(std::slice::from_ref(&one), |tick| tick < done);
            open.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        assert_eq!(open(7), ["one/a", "one/b"]);
        assert_eq!(open(8), ["one/b"]);
    }
}
