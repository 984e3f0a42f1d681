//! The plan of a test: scripts in place of sources, captures in place of sinks, and nothing that is not needed.

use super::expect::Captured;
use super::rows::{RowType, lines};
use super::{Expectation, Input, Into, Test};
use crate::catalog::Catalog;
use crate::connectors::testing::Script;
use crate::data::batch::Batch;
use crate::dataflow::build::{BuildCx, BuildStep, Stream};
use crate::dataflow::emit::{Emit, OnError};
use crate::dataflow::error::LogicError;
use crate::dataflow::source::source;
use crate::dataflow::stateless::{Stateless, stateless};
use crate::formats::Encoder as _;
use crate::formats::json::JsonEncoder;
use crate::plan::{Plan, PlannedStep, PlannedUp};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// The rows of a port, in the order in which they came.
pub(super) type Capture = Arc<Mutex<Vec<Captured>>>;

/// Makes the plan of a test, with a capture for each of its expectations.
pub(super) fn stage(plan: &Plan, test: &Test, catalog: Catalog) -> (Plan, Vec<Capture>) {
    let mut staged = Staged { steps: Vec::new(), streams: BTreeMap::new() };
    let input = |into: Into| test.inputs.iter().find(|input| input.into == into);
    for &index in &test.needed {
        let step = &plan.steps[index];
        if let Some(input) = input(Into::Source(index)) {
            let at = staged.push(PlannedStep { build: script(input, test, &step.id.0), ..copy(step, Vec::new()) });
            staged.gives(index, step, at);
            continue;
        }
        let mut ups = Vec::new();
        for (at, up) in step.ups.iter().enumerate() {
            let (from, port) = match input(Into::Up { step: index, up: at }) {
                Some(input) => (staged.push(standing_in(input, test, &up.name, step)), 0),
                None => staged.stream(plan, test, (up.step, up.port)),
            };
            ups.push(PlannedUp { name: up.name.clone(), step: from, port });
        }
        if !is_end(step, catalog) {
            let at = staged.push(copy(step, ups));
            staged.gives(index, step, at);
        } else if let Some(up) = ups.first() {
            // Nothing is written: what a step prints passes by.
            staged.streams.insert((index, 0), (up.step, up.port));
        }
    }
    let captures = test.expectations.iter().map(|expectation| {
        let capture = Capture::default();
        let step = capturing(expectation, &plan.steps[expectation.from.0], capture.clone());
        let (from, port) = staged.stream(plan, test, expectation.from);
        let up = PlannedUp { name: expectation.port.clone(), step: from, port };
        staged.push(PlannedStep { ups: vec![up], ..step });
        capture
    });
    let captures = captures.collect();
    (Plan { flow: plan.flow.clone(), steps: staged.steps }, captures)
}

/// Whether rows leave the flow at a step.
pub(super) fn is_end(step: &PlannedStep, catalog: Catalog) -> bool {
    catalog.operator(step.op).is_ok_and(|operator| operator.is_end())
}

struct Staged {
    steps: Vec<PlannedStep>,
    /// For each port of the flow's plan, that of the test's.
    streams: BTreeMap<(usize, usize), (usize, usize)>,
}

impl Staged {
    fn push(&mut self, step: PlannedStep) -> usize {
        self.steps.push(step);
        self.steps.len() - 1
    }

    /// The port that stands for one of the flow's plan. No row comes from one of a step at which rows leave the flow:
    /// nothing is written, and so nothing is refused.
    fn stream(&mut self, plan: &Plan, test: &Test, from: (usize, usize)) -> (usize, usize) {
        if let Some(stream) = self.streams.get(&from) {
            return *stream;
        }
        let step = &plan.steps[from.0];
        let rows = RowType::of(&step.ports[from.1].ty);
        let nothing = Input { into: Into::Source(from.0), items: Arc::default(), rows };
        let stream = (self.push(standing_in(&nothing, test, "nothing", step)), 0);
        self.streams.insert(from, stream);
        stream
    }

    fn gives(&mut self, index: usize, step: &PlannedStep, at: usize) {
        self.streams.extend((0..step.ports.len()).map(|port| ((index, port), (at, port))));
    }
}

/// A step that counts anew: how many rows failed so far is no matter of a test.
fn copy(step: &PlannedStep, ups: Vec<PlannedUp>) -> PlannedStep {
    PlannedStep {
        id: step.id.clone(),
        op: step.op,
        line: step.line,
        ups,
        ports: step.ports.clone(),
        build: step.build.clone(),
        on_error: step.on_error,
        max_errors: step.max_errors,
        error_port: step.error_port,
        notes: Vec::new(),
        kept: None,
        meter: Arc::default(),
    }
}

/// A step that no failing row can have a way around.
fn strict(of: &PlannedStep, name: &str, build: Arc<dyn BuildStep>) -> PlannedStep {
    PlannedStep {
        id: name.into(),
        op: "test",
        ports: Vec::new(),
        build,
        on_error: OnError::Fail,
        max_errors: None,
        error_port: None,
        ..copy(of, Vec::new())
    }
}

/// Stands in for an upstream of a step.
fn standing_in(input: &Input, test: &Test, up: &str, step: &PlannedStep) -> PlannedStep {
    let name = if step.ups.len() > 1 { format!("input.{}.{up}", step.id) } else { format!("input.{}", step.id) };
    strict(step, &name, script(input, test, &name))
}

fn capturing(expectation: &Expectation, step: &PlannedStep, capture: Capture) -> PlannedStep {
    let keep = Keep { rows: expectation.rows.clone(), capture };
    strict(step, &format!("expect {}", expectation.port), Arc::new(keep))
}

fn script(input: &Input, test: &Test, name: &str) -> Arc<dyn BuildStep> {
    let rows = input.rows.clone();
    let script = Script::of_rows(name, input.items.clone(), &rows.schema, test.batch_size, test.pacing);
    Arc::new(Play { script, rows })
}

/// Gives the rows of a script.
struct Play {
    script: Script,
    rows: RowType,
}

impl BuildStep for Play {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, _ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let streams = source(cx, &self.script)?;
        match self.rows.key_name() {
            Some(_) => Ok(stateless(cx, streams, 1, SetKeys { rows: self.rows.clone() })),
            None => Ok(streams),
        }
    }
}

struct SetKeys {
    rows: RowType,
}

impl Stateless for SetKeys {
    fn on_batch(&mut self, _input: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        out.give(0, self.rows.batch(batch.compact()?.rows().clone())?);
        Ok(())
    }
}

/// Keeps what comes, and passes nothing on.
struct Keep {
    rows: RowType,
    capture: Capture,
}

impl BuildStep for Keep {
    fn build<'s>(&self, cx: &mut BuildCx<'s>, ups: Vec<Stream<'s>>) -> Result<Vec<Stream<'s>>, LogicError> {
        let key = self.rows.key_name().map(str::to_owned);
        Ok(stateless(cx, ups, 1, Keeper { key, capture: self.capture.clone() }))
    }
}

struct Keeper {
    key: Option<String>,
    capture: Capture,
}

impl Stateless for Keeper {
    fn on_batch(&mut self, _input: usize, batch: Batch, _out: &mut Emit<'_>) -> Result<(), LogicError> {
        let batch = batch.compact()?;
        let keys = batch.keys().map(|keys| keys.values());
        let mut bytes = Vec::new();
        let encoded =
            JsonEncoder::new(batch.rows().schema_ref(), self.key.as_deref()).encode(batch.rows(), keys, &mut bytes);
        encoded.map_err(|error| LogicError::user(error.to_string()))?;
        let key = |row: usize| keys.map(|keys| keys.value(row).to_owned());
        let rows = lines(&bytes).into_iter().enumerate().map(|(row, line)| Captured { key: key(row), line });
        self.capture.lock().unwrap_or_else(PoisonError::into_inner).extend(rows);
        Ok(())
    }
}
