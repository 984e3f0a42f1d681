//! States of an older version of a plugin's function, on their way into the current one.
//!
//! Steps need not know: the instances that they are given take states of either version while states are restored, and
//! hand out those of the current version only.

use super::build::Execution;
use super::error::LogicError;
use super::user_fn::{
    Emitted, Finished, FoldFactory, FoldFn, InstanceCx, MigrateStates, RowError, StatefulFactory, StatefulFn,
};
use crate::data::ids::StepId;
use crate::data::time::Instant;
use arrow::array::{BinaryArray, RecordBatch};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// That a step is given states of an older version.
#[derive(Clone, Debug)]
pub struct Migration {
    pub from_version: u32,
    /// Whether the states of an execution before are being restored: whatever is restored at other times is of the current
    /// version.
    is_restoring: Arc<AtomicBool>,
}

impl Migration {
    /// The migration from a version.
    pub fn new(from_version: u32) -> Self {
        Migration { from_version, is_restoring: Arc::default() }
    }

    /// Whether a step is given states of an older version in an execution.
    pub fn of(execution: &Execution, step: &StepId) -> Option<Self> {
        let recovery = execution.recovery.as_ref()?;
        recovery.migrates(step).map(Self::new)
    }

    /// Restores states of the older version.
    pub fn during<T>(&self, restore: impl FnOnce() -> T) -> T {
        self.is_restoring.store(true, Ordering::Relaxed);
        let restored = restore();
        self.is_restoring.store(false, Ordering::Relaxed);
        restored
    }
}

/// Has instances of a fold take states of older versions.
pub fn fold(factory: Arc<dyn FoldFactory>) -> Arc<dyn FoldFactory> {
    Arc::new(Migrating(factory))
}

/// Has instances of a stateful function take states of older versions.
pub fn stateful(factory: Arc<dyn StatefulFactory>) -> Arc<dyn StatefulFactory> {
    Arc::new(Migrating(factory))
}

struct Migrating<F: ?Sized>(Arc<F>);

impl<F: MigrateStates + ?Sized> MigrateStates for Migrating<F> {
    fn migrate(&self, cx: &InstanceCx, from_version: u32, states: &BinaryArray) -> Result<BinaryArray, LogicError> {
        self.0.migrate(cx, from_version, states)
    }
}

impl FoldFactory for Migrating<dyn FoldFactory> {
    fn instantiate(&self, cx: &InstanceCx) -> Result<Box<dyn FoldFn>, LogicError> {
        let instance = self.0.instantiate(cx)?;
        Ok(match &cx.migration {
            Some(migration) => Box::new(Instance::new(instance, &self.0, cx, migration)),
            None => instance,
        })
    }
}

impl StatefulFactory for Migrating<dyn StatefulFactory> {
    fn instantiate(&self, cx: &InstanceCx) -> Result<Box<dyn StatefulFn>, LogicError> {
        let instance = self.0.instantiate(cx)?;
        Ok(match &cx.migration {
            Some(migration) => Box::new(Instance::new(instance, &self.0, cx, migration)),
            None => instance,
        })
    }
}

/// An instance that takes states of an older version, too.
struct Instance<I: ?Sized, F: ?Sized> {
    instance: Box<I>,
    factory: Arc<F>,
    cx: InstanceCx,
    migration: Migration,
}

impl<I: ?Sized, F: MigrateStates + ?Sized> Instance<I, F> {
    fn new(instance: Box<I>, factory: &Arc<F>, cx: &InstanceCx, migration: &Migration) -> Self {
        Instance { instance, factory: factory.clone(), cx: cx.clone(), migration: migration.clone() }
    }

    /// The states in the current version.
    fn current(&self, states: &BinaryArray) -> Result<BinaryArray, LogicError> {
        if !self.migration.is_restoring.load(Ordering::Relaxed) {
            return Ok(states.clone());
        }
        let from = self.migration.from_version;
        self.factory.migrate(&self.cx, from, states).map_err(|error| match error.help {
            Some(_) => error,
            None => error.help(format!(
                "go back to the plugin with the state version {from}, whose states are all still there, or mend what \
                 migrates; or --drop-state {} drops them, and the step begins anew",
                self.cx.step
            )),
        })
    }
}

impl<F: MigrateStates + ?Sized> FoldFn for Instance<dyn FoldFn, F> {
    fn update(
        &mut self,
        groups: &[u32],
        index: Option<&[u32]>,
        rows: &RecordBatch,
    ) -> Result<Vec<RowError>, LogicError> {
        self.instance.update(groups, index, rows)
    }

    fn merge(&mut self, into: &[u32], from: &[u32]) -> Result<(), LogicError> {
        self.instance.merge(into, from)
    }

    fn finish(&mut self, groups: &[u32]) -> Result<Finished, LogicError> {
        self.instance.finish(groups)
    }

    fn snapshot(&mut self, groups: &[u32]) -> Result<BinaryArray, LogicError> {
        self.instance.snapshot(groups)
    }

    fn restore(&mut self, groups: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        let states = self.current(states)?;
        self.instance.restore(groups, &states)
    }

    fn release(&mut self, groups: &[u32]) -> Result<(), LogicError> {
        self.instance.release(groups)
    }
}

impl<F: MigrateStates + ?Sized> StatefulFn for Instance<dyn StatefulFn, F> {
    fn on_batch(&mut self, groups: &[u32], rows: &RecordBatch, now: Instant) -> Result<Emitted, LogicError> {
        self.instance.on_batch(groups, rows, now)
    }

    fn on_notify(&mut self, groups: &[u32], now: Instant) -> Result<Emitted, LogicError> {
        self.instance.on_notify(groups, now)
    }

    fn on_eof(&mut self, groups: &[u32], now: Instant) -> Result<Emitted, LogicError> {
        self.instance.on_eof(groups, now)
    }

    fn merge(&mut self, into: &[u32], from: &[u32], now: Instant) -> Result<Emitted, LogicError> {
        self.instance.merge(into, from, now)
    }

    fn notify_at(&mut self, groups: &[u32]) -> Result<Vec<Option<Instant>>, LogicError> {
        self.instance.notify_at(groups)
    }

    fn snapshot(&mut self, groups: &[u32]) -> Result<BinaryArray, LogicError> {
        self.instance.snapshot(groups)
    }

    fn restore(&mut self, groups: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        let states = self.current(states)?;
        self.instance.restore(groups, &states)
    }

    fn release(&mut self, groups: &[u32]) -> Result<(), LogicError> {
        self.instance.release(groups)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::ids::WorkerIndex;
    use crate::dataflow::env::scripted;
    use std::sync::Mutex;

    /// Notes what is restored; version 2 of a state has a byte more than version 1.
    #[derive(Clone, Default)]
    struct Restored(Arc<Mutex<Vec<Vec<u8>>>>);

    impl MigrateStates for Restored {
        fn migrate(&self, _: &InstanceCx, from: u32, states: &BinaryArray) -> Result<BinaryArray, LogicError> {
            let states = states.iter().flatten().map(|state| [state, &[u8::try_from(from).unwrap()]].concat());
            Ok(BinaryArray::from_iter_values(states))
        }
    }

    impl FoldFactory for Restored {
        fn instantiate(&self, _: &InstanceCx) -> Result<Box<dyn FoldFn>, LogicError> {
            Ok(Box::new(self.clone()))
        }
    }

    impl FoldFn for Restored {
        fn update(&mut self, _: &[u32], _: Option<&[u32]>, _: &RecordBatch) -> Result<Vec<RowError>, LogicError> {
            Ok(Vec::new())
        }

        fn merge(&mut self, _: &[u32], _: &[u32]) -> Result<(), LogicError> {
            Ok(())
        }

        fn finish(&mut self, _: &[u32]) -> Result<Finished, LogicError> {
            Err(LogicError::internal("not asked for"))
        }

        fn snapshot(&mut self, _: &[u32]) -> Result<BinaryArray, LogicError> {
            Err(LogicError::internal("not asked for"))
        }

        fn restore(&mut self, _: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
            self.0.lock().unwrap().extend(states.iter().flatten().map(<[u8]>::to_vec));
            Ok(())
        }

        fn release(&mut self, _: &[u32]) -> Result<(), LogicError> {
            Ok(())
        }
    }

    #[test]
    fn states_are_migrated_while_those_of_an_execution_before_are_restored() {
        let restored = Restored::default();
        let migration = Migration::new(1);
        let mut cx = InstanceCx {
            step: "sum".into(),
            worker: WorkerIndex(0),
            run_id: "test".into(),
            env: scripted::env(Instant(0)),
            meter: Arc::default(),
            migration: Some(migration.clone()),
        };
        let factory = fold(Arc::new(restored.clone()));
        let mut instance = factory.instantiate(&cx).unwrap();
        let state = |byte: u8| BinaryArray::from_iter_values([[byte]]);
        migration.during(|| instance.restore(&[0], &state(7))).unwrap();
        instance.restore(&[0], &state(8)).unwrap();
        cx.migration = None;
        factory.instantiate(&cx).unwrap().restore(&[0], &state(9)).unwrap();
        assert_eq!(*restored.0.lock().unwrap(), [vec![7, 1], vec![8], vec![9]]);
    }
}
