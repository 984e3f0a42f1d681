//! The thread of a sink's partition that waits for the disk while the writer goes on, and the line to it.

use super::answers::answers;
use super::build::BuildCx;
use super::error::LogicError;
use crate::data::ids::PartitionId;
use crate::data::time::Epoch;
use crossbeam::channel::{Receiver, Sender, unbounded};
use timely::scheduling::SyncActivator;

/// What is left to do on another thread, which may wait for the disk while the writer goes on. Those of a partition are
/// done in their order.
pub type Flush = Box<dyn FnOnce() -> Result<(), LogicError> + Send>;

/// The line to the thread that waits for the disk. Cheap to clone.
#[derive(Clone)]
pub struct DiskLine(Sender<(Option<Synced>, Flush)>);

/// What is safe on its disk.
pub(super) enum Synced {
    Staged(Vec<u8>),
    Committed(Epoch),
}

impl DiskLine {
    /// Starts the thread, which wakes the operator with each answer. It ends when all lines to it are cut and everything
    /// ordered is done.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub(super) fn start(
        name: &PartitionId,
        cx: &BuildCx<'_>,
        activator: SyncActivator,
    ) -> Result<(DiskLine, Receiver<Result<Synced, LogicError>>), LogicError> {
        let (line, orders) = unbounded::<(Option<Synced>, Flush)>();
        let (answer, synced) = answers(activator);
        let (env, writing) = (cx.execution.env.clone(), cx.execution.writers.begin());
        let body = Box::new(move || {
            // What readers see later is written behind the rows that go on.
            env.spawner.step_back();
            while let Ok((what, flush)) = env.receive(&orders) {
                let told = match (flush(), what) {
                    (Ok(()), None) => continue,
                    (Ok(()), Some(what)) => Ok(what),
                    (Err(error), _) => Err(error),
                };
                let failed = told.is_err();
                if !answer.send(told) || failed {
                    break;
                }
            }
            drop(writing);
        });
        let spawned = cx.execution.env.spawner.spawn(&format!("flush {name}"), body);
        spawned.map_err(|error| LogicError::io("cannot start a thread", &error))?;
        Ok((DiskLine(line), synced))
    }

    /// Has something done that nobody waits for, after what was ordered before. That it fails stops the flow.
    pub fn send(&self, flush: Flush) {
        self.order(None, flush);
    }

    /// Has something done, if there is anything to do, and told of.
    pub(super) fn tell(&self, what: Synced, flush: Option<Flush>) {
        self.order(Some(what), flush.unwrap_or_else(|| Box::new(|| Ok(()))));
    }

    fn order(&self, what: Option<Synced>, flush: Flush) {
        // A thread that is gone has said why.
        self.0.send((what, flush)).ok();
    }
}
