//! What a step is given to build itself, once for each worker.

use super::emit::RowErrors;
use super::env::Env;
use super::epochs::Epochs;
use super::error::{LogicError, StepError};
use super::failure::{FailureSlot, Stop};
use super::idle::IdleClock;
use super::packet::Packet;
use super::progress::Progress;
use super::user_fn::InstanceCx;
use super::writers::Writers;
use crate::data::ids::{FlowId, StepId, WorkerIndex};
use crate::telemetry::meter::StepMeter;
use std::sync::Arc;
use timely::dataflow::Scope;

/// A stream of batches inside a worker's dataflow.
pub type Stream<'s> = timely::dataflow::Stream<'s, u64, Packet>;

/// One execution, as all workers of a process share it.
#[derive(Clone)]
pub struct Execution {
    pub flow: FlowId,
    pub env: Env,
    pub epochs: Arc<Epochs>,
    /// The time for which the input has been idle.
    pub idle: Arc<IdleClock>,
    pub failure: FailureSlot,
    pub writers: Writers,
    /// Distinguishes this execution's files from those of others; letters and digits.
    pub run_id: Arc<str>,
}

/// What a step is given to build itself.
pub struct BuildCx<'s> {
    pub scope: Scope<'s, u64>,
    pub execution: Execution,
    /// How far this worker's sinks are; sources wait for it.
    pub progress: Progress,
    pub step: StepId,
    pub meter: Arc<StepMeter>,
    /// What to do with rows that fail.
    pub row_errors: RowErrors,
}

impl<'s> BuildCx<'s> {
    /// This worker.
    pub fn worker(&self) -> WorkerIndex {
        WorkerIndex(self.scope.index())
    }

    /// The number of workers of the cluster.
    pub fn workers(&self) -> usize {
        self.scope.peers()
    }

    /// What an instance of a plugin's function is told of where it runs.
    pub fn instance(&self) -> InstanceCx {
        InstanceCx {
            step: self.step.clone(),
            worker: self.worker(),
            run_id: self.execution.run_id.clone(),
            env: self.execution.env.clone(),
            meter: self.meter.clone(),
        }
    }

    /// The step's way to report a failure.
    pub fn reporter(&self) -> Reporter {
        Reporter { step: self.step.clone(), worker: self.worker(), failure: self.execution.failure.clone() }
    }

    /// An operator's name in the dataflow.
    pub fn name(&self, part: &str) -> String {
        format!("{}.{part}", self.step)
    }
}

/// Turns failures of a step's logic into failures of the step, once.
#[derive(Clone)]
pub struct Reporter {
    step: StepId,
    worker: WorkerIndex,
    failure: FailureSlot,
}

impl Reporter {
    /// Stops the execution.
    pub fn fail(&self, error: LogicError) {
        self.failure.set(Stop::Failed(StepError {
            step: self.step.clone(),
            worker: self.worker,
            error: Box::new(error),
        }));
    }

    /// Stops the execution as a crash would.
    pub fn abort(&self) {
        self.failure.set(Stop::Aborted);
    }

    /// Whether the execution has stopped already.
    pub fn is_stopped(&self) -> bool {
        self.failure.is_set()
    }
}

/// A checked step: builds its operators. Shared by all workers, each of which calls `build` once; every worker must
/// build the same operators in the same order.
pub trait BuildStep: Send + Sync {
    /// Builds the step. `ups` are its upstreams in the order of its input ports; the result has one stream for each of
    /// its output ports, in their order (with the port `errors` last, where the step has one). A sink returns one
    /// stream, on which nothing comes and whose progress is that of its writing.
    ///
    /// # Errors
    /// Something that the step needs cannot be had: a plugin's instance, a file.
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError>;
}
