//! The threads of workers.

use super::assemble;
use super::bug;
use crate::dataflow::build::Execution;
use crate::dataflow::failure::Stop;
use crate::plan::Plan;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use timely::communication::{WorkerGuards, initialize_from};
use timely::worker::Worker;
use timely::{Config, execute};

/// Starts the threads of `workers` workers.
///
/// # Errors
/// The system refuses one.
pub(super) fn start(plan: &Arc<Plan>, execution: Execution, workers: usize) -> Result<WorkerGuards<()>, String> {
    let plan = plan.clone();
    let config = Config::process(workers);
    let Some(turns) = execution.env.turns.clone() else {
        return execute(config, move |worker| work(worker, &plan, &execution));
    };
    // Each lets go of its own while it has its turn.
    let executions: Vec<_> = (0..workers).map(|_| Mutex::new(Some(execution.clone()))).collect();
    drop(execution);
    let (allocators, others) = config.communication.try_build()?;
    initialize_from(allocators, others, move |allocator| {
        // Without a clock it never sleeps.
        let mut worker = Worker::new(config.worker.clone(), allocator, None);
        let index = worker.index();
        turns.begin(index, workers);
        let execution = executions[index].lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(execution) = execution {
            work(&mut worker, &plan, &execution);
        }
        drop(worker);
        turns.end();
    })
}

/// A worker's life. A panic in it is a bug; it must not leave the other workers waiting for ever.
fn work(worker: &mut Worker, plan: &Plan, execution: &Execution) {
    let failure = &execution.failure;
    failure.wake_me();
    let lived = catch_unwind(AssertUnwindSafe(|| {
        if let Err(error) = assemble::assemble(worker, plan, execution) {
            failure.set(Stop::Failed(error));
        }
        while worker.has_dataflows() && !failure.is_set() {
            match &execution.env.turns {
                None => worker.step_or_park(None),
                Some(turns) => {
                    turns.wait(Box::new(|| true));
                    worker.step()
                }
            };
        }
    }));
    if let Err(panic) = lived {
        let message = panic.downcast_ref::<String>().map(String::as_str);
        let message = message.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a worker panicked");
        failure.set(Stop::Failed(bug(message.to_owned())));
    }
    for dataflow in worker.installed_dataflows() {
        worker.drop_dataflow(dataflow);
    }
}
