//! What opening a function of any kind has in common.

use super::instance::{Compiled, Guest};
use super::schema::Visible;
use super::validate::{Lie, lie};
use crate::catalog::function::{FunctionError, FunctionInfo, StepLimits};
use crate::data::ids::WorkerIndex;
use crate::dataflow::env::Env;
use crate::dataflow::error::LogicError;
use crate::dataflow::user_fn::InstanceCx;
use arrow::datatypes::Schema;
use std::sync::Arc;

/// A function that is to be opened, with everything that its opening needs.
pub(super) struct Target {
    pub(super) compiled: Arc<Compiled>,
    pub(super) info: FunctionInfo,
    /// `plugin.function`.
    pub(super) reference: String,
    pub(super) config: String,
    pub(super) limits: StepLimits,
    pub(super) env: Env,
}

impl Target {
    /// Makes an instance for a worker's step.
    ///
    /// # Errors
    /// As for [`Guest::new`].
    pub(super) fn instance(&self, cx: &InstanceCx) -> Result<Guest, LogicError> {
        Guest::new(&self.compiled, self.what(), cx, &self.limits)
    }

    /// Makes an instance to ask something of while there are no workers yet.
    ///
    /// # Errors
    /// As for [`Guest::new`].
    pub(super) fn throw_away(&self) -> Result<Guest, LogicError> {
        self.instance(&planning(&self.reference, &self.env))
    }

    pub(super) fn what(&self) -> String {
        format!("function \"{}\"", self.reference)
    }
}

/// Where an instance runs that only the plan needs.
pub(super) fn planning(name: &str, env: &Env) -> InstanceCx {
    InstanceCx {
        step: name.into(),
        worker: WorkerIndex(0),
        run_id: "plan".into(),
        env: env.clone(),
        meter: Arc::default(),
        migration: None,
    }
}

/// Checks that an instance opened as the plan's did.
pub(super) fn same<T: PartialEq>(planned: &T, now: &T) -> Result<(), Lie> {
    if planned == now { Ok(()) } else { lie!("another schema or other columns to read than when the plan was checked") }
}

/// Turns what an opening in the plan failed with into what the plan reports.
pub(super) fn refused(error: LogicError, input: Option<&Schema>) -> FunctionError {
    let hidden = input.and_then(|schema| Visible::of(schema).help());
    let help: Vec<String> = error.help.into_iter().chain(hidden).chain(error.notes).collect();
    FunctionError { message: error.message, help: if help.is_empty() { None } else { Some(help.join("\n")) } }
}
