//! How an execution takes up where the one before left off, before its dataflow is built.
//!
//! In this order: the store is opened and found sound; every sink looks whether its readers have seen more than the store
//! knows of; only then the store is claimed, which removes what was not finished; and sinks show what was staged.

use super::RunError;
use crate::data::ids::{PartitionId, StepId, WorkerIndex};
use crate::dataflow::build::Execution;
use crate::dataflow::durable::{Manifest, Recovery};
use crate::dataflow::env::Env;
use crate::dataflow::error::{LogicError, StepError};
use crate::dataflow::sink::SinkParts;
use crate::dataflow::user_fn::InstanceCx;
use crate::plan::{Plan, PlannedStep, kept};
use crate::recovery::catalogue::Step;
use crate::recovery::compare::{FlowStep, Migrates};
use crate::recovery::error::StoreError;
use crate::recovery::resume::{Wanted, not_dropped};
use crate::recovery::store::{self, Store};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// Where an execution is kept, and how.
#[derive(Clone, Debug)]
pub struct RecoveryOptions {
    pub dir: PathBuf,
    /// The number of files of a new store.
    pub parts: u64,
    /// For how long superseded snapshots are kept.
    pub backup_interval: Duration,
    /// Steps whose states are dropped, unless they can go on as they are.
    pub drop_state: Vec<StepId>,
}

/// How the store of a flow is opened.
pub(super) type Open = dyn Fn(&RecoveryOptions, &Wanted<'_>, store::Options, &Env) -> Result<Store, StoreError>;

/// Opens the store in its folder.
///
/// # Errors
/// As for [`Store::open`].
pub(super) fn open(
    options: &RecoveryOptions,
    wanted: &Wanted<'_>,
    store: store::Options,
    env: &Env,
) -> Result<Store, StoreError> {
    Store::open(&options.dir, wanted, store, env)
}

/// Opens the store and claims it.
///
/// # Errors
/// The store is not one to go on from, or an output is not what the store says; nothing has changed then. Or the store
/// cannot be written, or an output cannot.
pub(super) fn resume(
    plan: &Plan,
    options: &RecoveryOptions,
    workers: usize,
    epoch: Duration,
    execution: &mut Execution,
    open: &Open,
) -> Result<Arc<dyn Recovery>, RunError> {
    let env = &execution.env.clone();
    let retention = store::Options::default().retention.max(epochs_in(options.backup_interval, epoch));
    let store_options = store::Options { parts: options.parts, retention };
    let steps = kept_steps(plan, env);
    let wanted = Wanted { flow: &plan.flow, steps: &steps, drops: &options.drop_state };
    let store = open(options, &wanted, store_options, env)?;
    store.resume().compared.not_dropped.iter().for_each(|step| tracing::warn!("{}", not_dropped(step)));
    let sinks: Vec<(&PlannedStep, &dyn SinkParts)> =
        plan.steps.iter().filter_map(|step| Some((step, step.build.sink()?))).collect();
    for (step, sink) in &sinks {
        let manifests = of_sink(store.load_sinks(&step.id).map_err(failed)?);
        sink.verify(&manifests).map_err(|error| RunError::Output(of_step(step, error)))?;
    }
    // Whatever is found of an execution tells so whose it is.
    execution.run_id = store.run_id().into();
    let claimed = store.claim(workers, env, &execution.failure, &execution.writers)?;
    let recovery: Arc<dyn Recovery> = Arc::new(claimed);
    for (step, sink) in sinks {
        let manifests = of_sink(recovery.load_sinks(&step.id).map_err(failed)?);
        let cx = InstanceCx {
            step: step.id.clone(),
            worker: WorkerIndex(0),
            run_id: execution.run_id.clone(),
            env: env.clone(),
            meter: step.meter.clone(),
            migration: None,
        };
        sink.resume(&cx, &manifests).map_err(|error| RunError::Step(of_step(step, error)))?;
        for manifest in manifests {
            recovery.committed(&step.id, &manifest.part, manifest.epoch);
        }
    }
    Ok(recovery)
}

/// What a plan keeps, as a store wants to know it.
pub fn kept_steps(plan: &Plan, env: &Env) -> Vec<FlowStep> {
    let kept = kept::steps(plan).into_iter().map(|kept| FlowStep {
        step: Step { id: kept.id.clone(), kind: kept.kind.clone(), fingerprint: kept.fingerprint.clone() },
        renamed_from: kept.renamed_from.clone(),
        reads: kept.reads,
        migrates: Migrates::by({
            let env = env.clone();
            move |from| kept.check_migration(from, &env)
        }),
    });
    kept.collect()
}

/// What a sink is to know of: not what another partition has taken over.
fn of_sink(manifests: Vec<Manifest>) -> Vec<Manifest> {
    let is_newest_empty = |part: &PartitionId| {
        manifests.iter().rfind(|manifest| manifest.part == *part).is_some_and(|newest| newest.manifest.is_empty())
    };
    let over: Vec<PartitionId> =
        manifests.iter().map(|manifest| manifest.part.clone()).filter(|part| is_newest_empty(part)).collect();
    manifests.into_iter().filter(|manifest| !manifest.manifest.is_empty() && !over.contains(&manifest.part)).collect()
}

fn epochs_in(time: Duration, epoch: Duration) -> u64 {
    u64::try_from(time.as_nanos().div_ceil(epoch.as_nanos().max(1))).unwrap_or(u64::MAX)
}

fn failed(error: LogicError) -> RunError {
    RunError::Recovery(Box::new(error))
}

fn of_step(step: &PlannedStep, error: LogicError) -> StepError {
    StepError { step: step.id.clone(), worker: WorkerIndex(0), error: Box::new(error) }
}
