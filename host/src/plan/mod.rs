//! The plan: a flow with every name resolved, every argument read and every schema known.
//!
//! ```text
//! resolve   names -> step and port indexes, in an order in which every step stands behind its upstreams
//! check     along that order, each operator checks its step and tells the types of its ports
//! explain   Plan -> text for people
//! graph     Plan -> mermaid, dot, svg, json
//! kept      Plan -> what its steps keep from one execution to the next
//! ```
//!
//! Nothing in a plan is a string that is still to be interpreted; it is shared by all workers.

mod check;
pub mod explain;
#[cfg(test)]
mod fixture;
pub mod graph;
pub mod kept;
mod resolve;

use crate::catalog::operator::StreamType;
use crate::data::ids::{FlowId, StepId};
use crate::dataflow::build::BuildStep;
use crate::dataflow::emit::OnError;
use crate::telemetry::meter::StepMeter;
use std::sync::Arc;

pub use check::check;

/// A checked flow.
pub struct Plan {
    pub flow: FlowId,
    /// Every step stands behind its upstreams.
    pub steps: Vec<PlannedStep>,
}

/// A checked step.
pub struct PlannedStep {
    pub id: StepId,
    /// The operator's name.
    pub op: &'static str,
    /// The line of its header in the flow file, from 1.
    pub line: usize,
    pub ups: Vec<PlannedUp>,
    /// The output ports in order; `errors`, where the step has it, is the last.
    pub ports: Vec<PlannedPort>,
    pub build: Arc<dyn BuildStep>,
    pub on_error: OnError,
    pub max_errors: Option<u64>,
    /// The index of the port `errors`.
    pub error_port: Option<usize>,
    pub notes: Vec<String>,
    /// What it keeps from one execution to the next.
    pub kept: Option<kept::Kept>,
    /// Counts what the step does in this process.
    pub meter: Arc<StepMeter>,
}

/// Where rows of a step come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedUp {
    /// The name of the side, where the operator has named sides, else that of the step.
    pub name: String,
    /// An index into [`Plan::steps`].
    pub step: usize,
    /// An index into that step's ports.
    pub port: usize,
}

/// An output of a step.
#[derive(Clone, Debug)]
pub struct PlannedPort {
    pub name: &'static str,
    pub ty: StreamType,
}
