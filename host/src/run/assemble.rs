//! From the plan to the dataflow of one worker.

use crate::data::ids::{StepId, WorkerIndex};
use crate::dataflow::build::{BuildCx, Execution, Stream};
use crate::dataflow::emit::RowErrors;
use crate::dataflow::error::StepError;
use crate::dataflow::hand_in::{self, HandIns};
use crate::dataflow::migration::Migration;
use crate::dataflow::progress::Progress;
use crate::plan::Plan;
use std::sync::Arc;
use timely::worker::Worker;

/// Builds the dataflow. Every worker builds the same operators in the same order.
///
/// # Errors
/// A step cannot be built.
pub fn assemble(worker: &mut Worker, plan: &Plan, execution: &Execution) -> Result<(), StepError> {
    let index = WorkerIndex(worker.index());
    worker.dataflow_named(&plan.flow.0, |scope| {
        let progress = Progress::default();
        let hand_ins = HandIns::default();
        let mut built: Vec<Vec<Stream<'_>>> = Vec::new();
        let mut taken: Vec<Vec<bool>> = Vec::new();
        let mut sources: Vec<Arc<[StepId]>> = Vec::new();
        for (at, step) in plan.steps.iter().enumerate() {
            let mut ups = Vec::new();
            let mut from: Vec<StepId> = step.ups.iter().flat_map(|up| sources[up.step].iter().cloned()).collect();
            if step.ups.is_empty() {
                from.push(step.id.clone());
            }
            sources.push(from.into());
            for up in &step.ups {
                taken[up.step][up.port] = true;
                ups.push(built[up.step][up.port].clone());
            }
            let mut cx = BuildCx {
                scope,
                execution: execution.clone(),
                hand_ins: hand_ins.clone(),
                progress: progress.clone(),
                step: step.id.clone(),
                meter: step.meter.clone(),
                row_errors: row_errors(plan, at),
                sources: sources[at].clone(),
                half: None,
                migration: Migration::of(execution, &step.id),
            };
            let streams = step.build.build(&mut cx, ups).map_err(|error| StepError {
                step: step.id.clone(),
                worker: index,
                error: Box::new(error),
            })?;
            taken.push(vec![false; streams.len()]);
            built.push(streams);
        }
        // What nobody takes must be finished too before sources may go on: the progress of sinks above all.
        let ends = built.into_iter().flatten().zip(taken.into_iter().flatten());
        progress.watch(scope, ends.filter(|(_, taken)| !taken).map(|(stream, _)| stream).collect());
        if let Some(recovery) = &execution.recovery {
            hand_in::seal(scope, hand_ins, recovery.clone(), execution.failure.clone());
        }
        Ok(())
    })
}

fn row_errors(plan: &Plan, at: usize) -> RowErrors {
    let step = &plan.steps[at];
    let ups = || plan.steps.iter().flat_map(|step| &step.ups);
    RowErrors {
        step: step.id.clone(),
        on_error: step.on_error,
        max_errors: step.max_errors,
        port: step.error_port,
        meter: step.meter.clone(),
        taken: (0..step.ports.len()).map(|port| ups().any(|up| up.step == at && up.port == port)).collect(),
    }
}
