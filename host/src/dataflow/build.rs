//! What a step is given to build itself, once for each worker.

use super::durable::Recovery;
use super::emit::RowErrors;
use super::env::Env;
use super::epochs::Epochs;
use super::error::{LogicError, StepError};
use super::failure::{FailureSlot, Stop};
use super::hand_in::HandIns;
use super::idle::IdleClock;
use super::migration::Migration;
use super::packet::Packet;
use super::partitions::Partitions;
use super::progress::Progress;
use super::sink::SinkParts;
use super::user_fn::InstanceCx;
use super::writers::Writers;
use crate::data::ids::{FlowId, StepId, WorkerIndex};
use crate::telemetry::meter::StepMeter;
use std::sync::Arc;
use timely::dataflow::Scope;
use timely::dataflow::operators::Concat;

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
    /// What keeps the execution over a crash, if anything does.
    pub recovery: Option<Arc<dyn Recovery>>,
    /// The partitions of all sources.
    pub partitions: Arc<Partitions>,
    /// Distinguishes this execution's files from those of others; letters and digits.
    pub run_id: Arc<str>,
}

/// What a step is given to build itself.
pub struct BuildCx<'s> {
    pub scope: Scope<'s, u64>,
    pub execution: Execution,
    /// With recovery, the lines of this worker's drivers to the store.
    pub hand_ins: HandIns<'s>,
    /// How far this worker's sinks are; sources wait for it.
    pub progress: Progress,
    pub step: StepId,
    pub meter: Arc<StepMeter>,
    /// What to do with rows that fail.
    pub row_errors: RowErrors,
    /// The sources whose rows come to the step, through whatever steps.
    pub sources: Arc<[StepId]>,
    /// Which half of the step is built, if it has two.
    pub half: Option<Half>,
    /// Whether the states that the step is given are of an older version of its function.
    pub migration: Option<Migration>,
}

/// One of the two operators of a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    First,
    /// One of the halves of a half.
    Middle,
    Second,
}

impl<'s> BuildCx<'s> {
    /// Builds a step of two halves, one behind the other. The first is built as if each of its operators were a whole step
    /// with one port: it returns a stream for each upstream, which is what the second is given, and behind them those of
    /// rows that fail, which come out with those of the second. Rows that come in are counted by the first, rows that go
    /// out by the second.
    ///
    /// # Errors
    /// Those of the halves.
    pub fn in_halves(
        &mut self,
        ups: Vec<Stream<'s>>,
        first: impl FnOnce(&mut BuildCx<'s>, Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError>,
        second: impl FnOnce(&mut BuildCx<'s>, Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError>,
    ) -> Result<Vec<Stream<'s>>, LogicError> {
        let (port, whole, count) = (self.row_errors.port, self.half, ups.len());
        self.half = Some(if whole == Some(Half::Second) { Half::Middle } else { Half::First });
        self.row_errors.port = port.map(|_| 1);
        let mut between = first(self, ups)?;
        let errors = between.split_off(count);
        self.half = Some(if whole == Some(Half::First) { Half::Middle } else { Half::Second });
        self.row_errors.port = port;
        let mut streams = second(self, between)?;
        self.half = whole;
        if port.is_some() {
            let after = streams.pop().expect("a step with a port for rows that fail builds it last");
            streams.push(errors.into_iter().fold(after, |after, before| after.concat(before)));
        }
        Ok(streams)
    }

    /// Where to count rows that come in, if here.
    pub fn takes(&self) -> Option<Arc<StepMeter>> {
        matches!(self.half, None | Some(Half::First)).then(|| self.meter.clone())
    }

    /// Where to count rows that go out, if here.
    pub fn gives(&self) -> Option<Arc<StepMeter>> {
        matches!(self.half, None | Some(Half::Second)).then(|| self.meter.clone())
    }

    /// The name of the operator in the dataflow.
    pub fn operator_name(&self) -> String {
        match self.half {
            Some(Half::First) => self.name("first"),
            Some(Half::Middle) => self.name("middle"),
            _ => self.step.to_string(),
        }
    }

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
            migration: self.migration.clone(),
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

    /// What is written, if the step is a sink.
    fn sink(&self) -> Option<&dyn SinkParts> {
        None
    }
}
