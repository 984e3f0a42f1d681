//! Small flows from a connector to a connector.

mod events;
pub(super) mod kept;
mod parquet;
mod parquet_crash;
mod text;
mod text_crash;

use super::CONNECTORS;
use crate::catalog::Catalog;
use crate::catalog::connector::Connector;
use crate::catalog::cx::{ConnectorCx, FlowCx};
use crate::catalog::function::{FunctionError, FunctionInfo, FunctionLibrary, StepLimits};
use crate::catalog::operator::StreamType;
use crate::dataflow::env::{Env, real};
use crate::dataflow::sink::SinkParts;
use crate::dataflow::user_fn::{OpenFold, OpenSink, OpenSource, OpenStateful, OpenTransform};
use crate::diag::Diagnostics;
use crate::operators::OPERATORS;
use crate::plan::{Plan, check};
use crate::run::{Handle, Options, Report, RunError};
use crate::spec;
use arrow::datatypes::Schema;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

/// The functions of no plugin at all.
struct NoFunctions;

fn none<T>(reference: &str) -> Result<T, FunctionError> {
    Err(FunctionError { message: format!("no function {reference:?}"), help: None })
}

impl FunctionLibrary for NoFunctions {
    fn find(&self, reference: &str) -> Result<FunctionInfo, FunctionError> {
        none(reference)
    }

    fn open_transform(
        &self,
        reference: &str,
        _: &Schema,
        _: &str,
        _: &StepLimits,
    ) -> Result<OpenTransform, FunctionError> {
        none(reference)
    }

    fn open_fold(&self, reference: &str, _: &Schema, _: &str, _: &StepLimits) -> Result<OpenFold, FunctionError> {
        none(reference)
    }

    fn open_stateful(
        &self,
        reference: &str,
        _: &Schema,
        _: &str,
        _: &StepLimits,
    ) -> Result<OpenStateful, FunctionError> {
        none(reference)
    }

    fn open_source(&self, reference: &str, _: &str, _: &StepLimits) -> Result<OpenSource, FunctionError> {
        none(reference)
    }

    fn open_sink(&self, reference: &str, _: &Schema, _: &str, _: &StepLimits) -> Result<OpenSink, FunctionError> {
        none(reference)
    }
}

/// A folder with files, in which flows run.
pub(super) struct Place {
    dir: TempDir,
    pub env: Env,
    pub workers: usize,
}

impl Place {
    pub fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap(), env: real::env(), workers: 1 }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn write(&self, name: &str, bytes: impl AsRef<[u8]>) {
        std::fs::create_dir_all(self.path(name).parent().unwrap()).unwrap();
        std::fs::write(self.path(name), bytes).unwrap();
    }

    pub fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(name)).unwrap()
    }

    /// The files below, hidden ones too, in order.
    pub fn files(&self) -> Vec<String> {
        fn walk(root: &Path, at: &Path, found: &mut Vec<String>) {
            for entry in std::fs::read_dir(at).unwrap().map(Result::unwrap) {
                match entry.path().is_dir() {
                    true => walk(root, &entry.path(), found),
                    false => found.push(entry.path().strip_prefix(root).unwrap().to_string_lossy().into_owned()),
                }
            }
        }
        let mut found = Vec::new();
        walk(self.dir.path(), self.dir.path(), &mut found);
        found.sort();
        found
    }

    /// Checks a flow of steps as they are written.
    pub fn plan(&self, steps: &str) -> Result<Plan, Diagnostics> {
        let text = format!("flow = \"test\"\n{steps}");
        let (spec, problems) = spec::parse(&text, &|_| None);
        let spec = problems.into_result(spec)?.expect("a flow without problems");
        let catalog = Catalog { operators: OPERATORS, connectors: CONNECTORS };
        let flow = FlowCx { catalog, functions: &NoFunctions, plugins: &[], base: self.dir.path() };
        check(&spec, &text, flow)
    }

    /// Checks a flow from a source to a sink.
    pub fn check(&self, source: &str, sink: &str) -> Result<Plan, Diagnostics> {
        self.plan(&format!(
            "[[step]]\nname = \"in\"\nop = \"input\"\nsource = {source}\n[[step]]\nname = \"out\"\nop = \"output\"\nsink = {sink}\n"
        ))
    }

    /// The sink that a flow names, for rows of a type.
    pub fn sink(&self, sink: &str, up: &StreamType) -> Box<dyn SinkParts> {
        self.connector("output", "sink", sink, &|connector, cx| {
            connector.check_sink(&ConnectorCx { up: Some(up), ..cx }).unwrap().parts
        })
    }

    fn connector<T>(
        &self,
        op: &str,
        key: &str,
        table: &str,
        check: &dyn Fn(&dyn Connector, ConnectorCx<'_>) -> T,
    ) -> T {
        let text = format!("flow = \"test\"\n[[step]]\nname = \"step\"\nop = \"{op}\"\n{key} = {table}\n");
        let (spec, _) = spec::parse(&text, &|_| None);
        let spec = spec.expect("a flow without problems");
        let catalog = Catalog { operators: OPERATORS, connectors: CONNECTORS };
        let flow = FlowCx { catalog, functions: &NoFunctions, plugins: &[], base: self.dir.path() };
        let step = &spec.steps[0];
        let node = step.args.get(key).unwrap();
        let spec::Value::Table(table) = &node.value else { panic!("a table names the connector") };
        let connector = table.iter().find_map(|entry| catalog.connector(&entry.key)).unwrap();
        check(connector, ConnectorCx { flow, step, table, span: node.span.clone(), up: None })
    }

    /// What is said of a flow that is refused: code, message and help of each problem.
    pub fn problems(&self, source: &str, sink: &str) -> String {
        let Err(problems) = self.check(source, sink) else { panic!("the flow is refused") };
        let dir = self.dir.path().to_string_lossy().into_owned();
        let lines = problems.iter().map(|problem| {
            let help = problem.help.as_deref().unwrap_or("-");
            format!("{}: {}\n  help: {help}\n", problem.code, problem.message).replace(&dir, "DIR")
        });
        lines.collect()
    }

    pub fn run_plan(&self, plan: Plan) -> Result<Report, RunError> {
        let options =
            Options { workers: self.workers, epoch: Duration::from_secs(10), recovery: None, env: self.env.clone() };
        Handle::new(&plan, &options)?.run(&Arc::new(plan), &options)
    }

    /// Runs a flow from a source to a sink.
    pub fn run(&self, source: &str, sink: &str) -> Result<Report, RunError> {
        self.run_plan(self.check(source, sink).unwrap())
    }

    /// Runs a flow that fails, and says why.
    pub fn failure(&self, source: &str, sink: &str) -> String {
        let Err(error) = self.run(source, sink) else { panic!("the flow fails") };
        error.to_string().replace(&*self.dir.path().to_string_lossy(), "DIR")
    }
}
