//! One execution of a plan: workers, their threads, the first failure.

mod assemble;
mod recovery;
#[cfg(test)]
mod tests;
mod workers;

use crate::data::ids::StepId;
use crate::data::time::Epoch;
use crate::dataflow::build::Execution;
use crate::dataflow::durable::Recovery;
use crate::dataflow::env::Env;
use crate::dataflow::epochs::Epochs;
use crate::dataflow::error::{LogicError, StepError};
use crate::dataflow::failure::{FailureSlot, Stop};
use crate::dataflow::idle::IdleClock;
use crate::dataflow::writers::Writers;
use crate::plan::Plan;
use crate::recovery::error::StoreError;
use crate::telemetry::meter::StepFigures;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

pub use recovery::{RecoveryOptions, kept_steps};

/// How long a failed execution waits for its sinks to take back what they staged.
const WRITERS_END: Duration = Duration::from_secs(30);

/// How to run a plan.
#[derive(Clone)]
pub struct Options {
    /// Threads of this process that run the dataflow.
    pub workers: usize,
    /// System time after which sources begin the next epoch.
    pub epoch: Duration,
    /// None: nothing is kept.
    pub recovery: Option<RecoveryOptions>,
    pub env: Env,
}

/// Why an execution did not finish.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    #[error("{0}")]
    Step(#[from] StepError),
    /// The recovery store cannot be written or read any more.
    #[error("{0}")]
    Recovery(Box<LogicError>),
    /// The recovery store is not one to go on from.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// An output is not what the store says: one of them is of another time.
    #[error("{0}")]
    Output(StepError),
    /// A test's source asked for a crash.
    #[error("aborted by the testing source")]
    Aborted,
    #[error("cannot start the workers: {0}")]
    Start(String),
}

/// What an execution did.
#[derive(Clone, Debug)]
pub struct Report {
    pub elapsed: Duration,
    /// For each step of the plan, in order.
    pub steps: Vec<(StepId, StepFigures)>,
}

/// An execution that can be asked to end while it runs.
#[derive(Clone)]
pub struct Handle {
    /// Without its store.
    execution: Execution,
    /// Goes to the workers, and ends with them.
    recovery: Arc<Mutex<Option<Arc<dyn Recovery>>>>,
}

impl Handle {
    /// Makes an execution of a plan, which does not run yet. With recovery, the store is its own from here on.
    ///
    /// # Errors
    /// The execution before cannot be taken up.
    pub fn new(plan: &Plan, options: &Options) -> Result<Handle, RunError> {
        Self::with_store(plan, options, &recovery::open)
    }

    /// As [`Handle::new`], with a store that is opened in a way of its own.
    fn with_store(plan: &Plan, options: &Options, open: &recovery::Open) -> Result<Handle, RunError> {
        let env = options.env.clone();
        // Part of the names of files, so that those of two executions in one folder are told apart.
        let run_id = format!("{:x}{:04x}", env.clock.now().0, env.random.next() & 0xffff);
        let mut execution = Execution {
            flow: plan.flow.clone(),
            epochs: Arc::new(Epochs::new(env.clone(), Epoch::FIRST, options.epoch)),
            idle: Arc::new(IdleClock::new(env.clock.clone())),
            env,
            failure: FailureSlot::default(),
            writers: Writers::default(),
            recovery: None,
            partitions: Arc::default(),
            run_id: run_id.into(),
        };
        let mut recovery = None;
        if let Some(store) = &options.recovery {
            let resumed = recovery::resume(plan, store, options.workers, options.epoch, &mut execution, open)?;
            let epochs = Epochs::new(execution.env.clone(), resumed.first_epoch(), options.epoch);
            execution.epochs = Arc::new(epochs.with_recovery(resumed.durable().clone(), resumed.is_fresh()));
            recovery = Some(resumed);
        }
        Ok(Handle { execution, recovery: Arc::new(Mutex::new(recovery)) })
    }

    /// Has sources hand out nothing more; what is under way is finished, and the execution ends well.
    pub fn drain(&self) {
        self.execution.epochs.drain();
    }

    /// Runs the plan to its end.
    ///
    /// # Errors
    /// The first failure of any worker.
    pub fn run(&self, plan: &Arc<Plan>, options: &Options) -> Result<Report, RunError> {
        let clock = options.env.clock.clone();
        let started = clock.elapsed();
        let failure = self.execution.failure.clone();
        let mut execution = self.execution.clone();
        execution.recovery = self.recovery.lock().unwrap_or_else(PoisonError::into_inner).take();
        let guards = workers::start(plan, execution, options.workers).map_err(RunError::Start)?;
        for result in guards.join() {
            if let Err(message) = result {
                failure.set(Stop::Failed(bug(message)));
            }
        }
        self.execution.writers.wait(WRITERS_END);
        match failure.get() {
            Some(Stop::Failed(error)) => Err(error.into()),
            Some(Stop::Recovery(error)) => Err(RunError::Recovery(error)),
            Some(Stop::Aborted) => Err(RunError::Aborted),
            None => Ok(Report {
                elapsed: clock.elapsed().saturating_sub(started),
                steps: plan.steps.iter().map(|step| (step.id.clone(), step.meter.figures())).collect(),
            }),
        }
    }
}

fn bug(message: String) -> StepError {
    StepError {
        step: "worker".into(),
        worker: crate::data::ids::WorkerIndex(0),
        error: Box::new(
            LogicError::internal(message)
                .help("this is a bug in wxhost; please report it with the flow and this message"),
        ),
    }
}
