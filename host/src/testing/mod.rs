//! Tests of flows: rows go into steps at the times of a script, and what comes out of ports is compared.
//!
//! ```text
//! read     [[test]] and the plan -> Test          names found, rows typed by the steps' schemas
//! stage    Test and the plan -> a smaller plan    scripts in place of sources, captures in place of sinks
//! trial    runs that plan by a clock which the flow moves itself, so that nothing depends on speed or chance
//! expect   what was captured against what was expected -> differences
//! ```

mod expect;
mod read;
mod rows;
mod stage;
mod trial;

use crate::connectors::testing::{Item, Pacing};
use crate::data::time::Instant;
use expect::Expected;
use rows::RowType;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::Arc;

pub use expect::{DiffLine, Mark};
pub use read::{TestCx, read};
pub use trial::{Failed, run};

/// A test that fits its flow.
pub struct Test {
    pub name: String,
    /// Where it stands in its file.
    pub span: Range<usize>,
    /// The numbers of workers to run it with, each once.
    pub workers: Vec<usize>,
    /// Where the clock starts.
    now: Instant,
    pacing: Pacing,
    batch_size: usize,
    inputs: Vec<Input>,
    expectations: Vec<Expectation>,
    /// The run must fail with this text.
    error: Option<String>,
    /// The steps of the plan that are run.
    needed: BTreeSet<usize>,
}

/// Rows that go in.
struct Input {
    into: Into,
    items: Arc<[Item]>,
    rows: RowType,
}

/// Where rows go in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Into {
    /// They are what a step without upstreams gives.
    Source(usize),
    /// They are what comes from an upstream of a step.
    Up { step: usize, up: usize },
}

/// What must come out.
struct Expectation {
    /// As the test names it: `averages.late`.
    port: String,
    /// The step of the plan, and the index of its port.
    from: (usize, usize),
    rows: RowType,
    expected: Expected,
}
