//! Runs a test.

use super::Test;
use super::expect::DiffLine;
use super::stage::stage;
use crate::catalog::Catalog;
use crate::dataflow::env::scripted;
use crate::plan::Plan;
use crate::run::{Handle, Options, RunError};
use std::sync::{Arc, PoisonError};
use std::time::Duration;

/// How long an epoch lasts in the time of a script.
const EPOCH: Duration = Duration::from_secs(10);

/// Something that is not as a test expects it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failed {
    /// The port, as the test names it; none if it is the run.
    pub port: Option<String>,
    /// In words.
    pub message: String,
    /// What the step that failed has to add.
    pub notes: Vec<String>,
    pub diff: Vec<DiffLine>,
}

impl Failed {
    fn of_run(message: String, notes: Vec<String>) -> Failed {
        Failed { port: None, message, notes, diff: Vec::new() }
    }
}

/// Runs a test of a plan. Nothing comes back from one that passes.
pub fn run(plan: &Plan, test: &Test, workers: usize, catalog: Catalog) -> Vec<Failed> {
    let (staged, captures) = stage(plan, test, catalog);
    let options = Options { workers, epoch: EPOCH, recovery: None, env: scripted::env(test.now) };
    let staged = Arc::new(staged);
    let done = Handle::new(&staged, &options).and_then(|handle| handle.run(&staged, &options));
    let mut failed = Vec::new();
    match (done, &test.error) {
        (Ok(_), None) => {}
        (Ok(_), Some(wanted)) => {
            failed
                .push(Failed::of_run(format!("the run ended well, and should have failed with: {wanted}"), Vec::new()));
        }
        (Err(error), Some(wanted)) if error.to_string().contains(wanted) => {}
        (Err(error), wanted) => {
            let wanted = wanted.as_ref().map(|wanted| format!("it should have failed with: {wanted}"));
            let notes = match &error {
                RunError::Step(error) | RunError::Output(error) => error.error.notes.clone(),
                RunError::Recovery(error) => error.notes.clone(),
                RunError::Store(_) | RunError::Aborted | RunError::Start(_) => Vec::new(),
            };
            failed.push(Failed::of_run(format!("the run failed: {error}"), notes.into_iter().chain(wanted).collect()));
        }
    }
    for (expectation, capture) in test.expectations.iter().zip(captures) {
        let rows = capture.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((message, diff)) = expectation.expected.compare(&rows, workers) {
            failed.push(Failed { port: Some(expectation.port.clone()), message, notes: Vec::new(), diff });
        }
    }
    failed
}
