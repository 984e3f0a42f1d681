//! Runs flows in memory: rows in, rows out as text, functions as closures.

mod crashes;
mod functions;

use super::OPERATORS;
use crate::catalog::Catalog;
use crate::catalog::connector::{CheckedSink, CheckedSource, Connector};
use crate::catalog::cx::{ConnectorCx, FlowCx};
use crate::catalog::function::FunctionKind;
use crate::catalog::operator::StreamType;
use crate::data::batch::Batch;
use crate::data::ids::PartitionId;
use crate::data::schema::{Type, schema_of};
use crate::dataflow::emit::{Emit, OnError, RowErrors};
use crate::dataflow::env::{Env, real};
use crate::dataflow::error::LogicError;
use crate::dataflow::sink::{Encode, Job, PartWriter, Routing, SinkParts, Start, Writer};
use crate::dataflow::source::{PartReader, Piece, Read, Reader, SourceParts};
use crate::dataflow::user_fn::{Applied, InstanceCx, RowError};
use crate::diag::Diagnostics;
use crate::plan::{self, Plan};
use crate::run::{Handle, Options, Report, RunError};
use crate::spec;
use arrow::array::{Array, ArrayRef, RecordBatch, StringArray};
use arrow::datatypes::Schema;
use arrow::util::display::array_value_to_string;
pub use crashes::{At, Input, check_crashes, in_turn, keyed};
use functions::Function;
pub use functions::{Calls, Functions, sum};
use std::collections::{BTreeMap, VecDeque};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Rows from text: `table("n: int64, word: string", &["1,a", ",b"])`. Nothing stands for null.
pub fn table(columns: &str, rows: &[&str]) -> RecordBatch {
    let columns: Vec<(String, Type)> = columns
        .split(", ")
        .map(|column| column.split_once(": ").unwrap())
        .map(|(name, ty)| (name.to_owned(), ty.parse().unwrap()))
        .collect();
    let cells: Vec<Vec<&str>> = rows.iter().map(|row| row.split(',').collect()).collect();
    let arrays = columns.iter().enumerate().map(|(index, (_, ty))| {
        let text = cells.iter().map(|row| Some(row[index]).filter(|cell| !cell.is_empty()));
        let text: ArrayRef = Arc::new(text.collect::<StringArray>());
        super::cast::cast(&text, &Type::String, ty).unwrap()
    });
    RecordBatch::try_new(schema_of(&columns), arrays.collect()).unwrap()
}

/// A row as text: `key: a=1, b=x`.
pub fn show(batch: &Batch) -> Vec<String> {
    let batch = batch.clone().compact().unwrap();
    let schema = batch.rows().schema();
    let columns = batch.rows().columns().iter().zip(schema.fields()).map(|(column, field)| {
        let ty = Type::of(field);
        // Arrow cannot show instants of any zone without its database of zones.
        let column = match super::text::is_writable(&ty) {
            true => Arc::new(super::text::write(column, &ty).unwrap()),
            false => column.clone(),
        };
        (field.name(), column)
    });
    let columns: Vec<_> = columns.collect();
    let row = |row: usize| {
        let cells = columns.iter().map(|(name, column)| {
            let value = match column.is_null(row) {
                true => "null".into(),
                // Nor those in structs.
                false => array_value_to_string(column, row).unwrap_or_else(|_| format!("{:?}", column.slice(row, 1))),
            };
            format!("{name}={value}")
        });
        let cells = cells.collect::<Vec<_>>().join(", ");
        match batch.keys() {
            Some(keys) => format!("{}: {cells}", keys.values().value(row)),
            None => cells,
        }
    };
    (0..batch.num_rows()).map(row).collect()
}

/// What logic gives, without a driver; a failed row stops it.
pub fn emitted(logic: impl FnOnce(&mut Emit<'_>) -> Result<(), LogicError>) -> Vec<Batch> {
    emitted_by_port(logic).into_iter().map(|(_, batch)| batch).collect()
}

/// As [`emitted`], with the port of each batch.
pub fn emitted_by_port(logic: impl FnOnce(&mut Emit<'_>) -> Result<(), LogicError>) -> Vec<(usize, Batch)> {
    given(OnError::Fail, logic).unwrap()
}

/// What logic of one port gives, without a driver: the port and the batch. Dead letters are on port 1.
pub fn given(
    on_error: OnError,
    logic: impl FnOnce(&mut Emit<'_>) -> Result<(), LogicError>,
) -> Result<Vec<(usize, Batch)>, LogicError> {
    let (meter, port) = (Arc::default(), (on_error == OnError::DeadLetter).then_some(1));
    let row_errors = RowErrors { step: "s".into(), on_error, max_errors: None, port, meter, taken: Arc::default() };
    let mut given = Vec::new();
    logic(&mut Emit::new(&mut given, &row_errors))?;
    Ok(given)
}

type Rows = Arc<Mutex<BTreeMap<String, Vec<String>>>>;

/// A flow's surroundings.
#[derive(Default)]
pub struct Bench {
    /// The batches of each partition.
    sources: BTreeMap<String, Vec<Vec<RecordBatch>>>,
    functions: Functions,
}

/// What a run gave.
pub struct Ran {
    pub report: Result<Report, RunError>,
    sinks: BTreeMap<String, Vec<String>>,
}

impl Ran {
    /// The rows of a sink in the order in which they came.
    pub fn rows(&self, sink: &str) -> Vec<&str> {
        if let Err(error) = &self.report {
            panic!("{error}");
        }
        self.sinks.get(sink).into_iter().flatten().map(String::as_str).collect()
    }

    /// The rows of a sink, sorted.
    pub fn sorted(&self, sink: &str) -> Vec<&str> {
        let mut rows = self.rows(sink);
        rows.sort_unstable();
        rows
    }

    /// What the run failed with.
    pub fn error(&self) -> String {
        self.report.as_ref().expect_err("it did not fail").to_string()
    }
}

impl Bench {
    /// Adds a source: `source = { memory = "<name>" }`. Each batch is a partition, so that several workers have
    /// something to do.
    pub fn source(self, name: &str, batches: impl IntoIterator<Item = RecordBatch>) -> Self {
        self.partitions(name, batches.into_iter().map(|batch| vec![batch]).collect())
    }

    /// As [`Bench::source`], with the batches of each partition.
    pub fn partitions(mut self, name: &str, partitions: Vec<Vec<RecordBatch>>) -> Self {
        self.sources.insert(name.to_owned(), partitions);
        self
    }

    /// Adds a stateless function, `p.<name>`; `output` is its schema, empty for a filter.
    pub fn function(
        mut self,
        name: &str,
        kind: FunctionKind,
        output: &str,
        apply: impl Fn(&RecordBatch) -> Applied + Send + Sync + 'static,
    ) -> Self {
        let output = match output {
            "" => Arc::new(Schema::empty()),
            output => table(output, &[]).schema(),
        };
        let extends = name.starts_with("add_");
        self.functions
            .transforms
            .insert(format!("p.{name}"), Function { kind, output, extends, apply: Arc::new(apply) });
        self
    }

    /// Adds a stateful function, `p.<name>`; its rows have one column, `value: int64`.
    pub fn stateful(mut self, name: &str, calls: Calls) -> Self {
        self.functions.statefuls.insert(format!("p.{name}"), calls);
        self
    }

    /// Checks a flow whose steps stand between a source of rows `in` and a sink `out`.
    pub fn plan(&self, steps: &str) -> Result<(Plan, Rows), Diagnostics> {
        let text = format!(
            "flow = \"test\"\n[[step]]\nname = \"in\"\nop = \"input\"\nsource = {{ memory = \"in\" }}\n{steps}\n"
        );
        let sinks = Rows::default();
        let memory = Memory { sources: self.sources.clone(), sinks: sinks.clone() };
        let memory: &'static dyn Connector = Box::leak(Box::new(memory));
        let connectors: &'static [&'static dyn Connector] = Box::leak(Box::new([memory]));
        let (spec, problems) = spec::parse(&text, &|_| None);
        problems.into_result(())?;
        let catalog = Catalog { operators: OPERATORS, connectors };
        let flow = FlowCx { catalog, functions: &self.functions, plugins: &[], base: Path::new(".") };
        Ok((plan::check(&spec.unwrap(), &text, flow)?, sinks))
    }

    /// The messages of what is wrong with a flow.
    pub fn problems(&self, steps: &str) -> Vec<String> {
        match self.plan(steps) {
            Ok(_) => Vec::new(),
            Err(problems) => problems.into_iter().map(|problem| problem.message).collect(),
        }
    }

    /// Runs a flow.
    pub fn run(&self, steps: &str, workers: usize) -> Ran {
        self.run_in(steps, workers, real::env())
    }

    /// Runs a flow in surroundings.
    pub fn run_in(&self, steps: &str, workers: usize, env: Env) -> Ran {
        let (plan, sinks) = self.plan(steps).unwrap_or_else(|problems| panic!("{problems:#?}"));
        let options = Options { workers, epoch: Duration::from_secs(10), recovery: None, env };
        let plan = Arc::new(plan);
        let report = Handle::new(&plan, &options).and_then(|handle| handle.run(&plan, &options));
        let sinks = std::mem::take(&mut *sinks.lock().unwrap());
        Ran { report, sinks }
    }

    /// Runs a flow with one worker and with three, and returns the sorted rows of the sink `out`, which are the same.
    pub fn out(&self, steps: &str) -> Vec<String> {
        let steps = format!("{steps}\n[[step]]\nname = \"out\"\nop = \"output\"\nsink = {{ memory = \"out\" }}");
        let one = self.run(&steps, 1);
        let three = self.run(&steps, 3);
        assert_eq!(one.sorted("out"), three.sorted("out"), "one worker, and three");
        one.sorted("out").into_iter().map(str::to_owned).collect()
    }
}

struct Memory {
    sources: BTreeMap<String, Vec<Vec<RecordBatch>>>,
    sinks: Rows,
}

#[derive(serde::Deserialize)]
struct Args {
    memory: String,
}

impl Connector for Memory {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn doc(&self) -> &'static str {
        "Rows in memory."
    }

    fn check_source(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSource, Diagnostics> {
        let args: Args = cx.args()?;
        let partitions = self.sources[&args.memory].clone();
        let down = StreamType::unkeyed(partitions[0][0].schema());
        Ok(CheckedSource { down, parts: Box::new(Pieces { partitions }), notes: Vec::new() })
    }

    fn check_sink(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSink, Diagnostics> {
        let args: Args = cx.args()?;
        Ok(CheckedSink { parts: Box::new(Kept { name: args.memory, sinks: self.sinks.clone() }), notes: Vec::new() })
    }
}

struct Pieces {
    partitions: Vec<Vec<RecordBatch>>,
}

impl SourceParts for Pieces {
    fn list(&self) -> Result<Vec<PartitionId>, LogicError> {
        Ok((0..self.partitions.len()).map(|at| PartitionId::from(format!("{at:03}").as_str())).collect())
    }

    fn open(&self, _cx: &InstanceCx, part: &PartitionId, _position: Option<&[u8]>) -> Result<PartReader, LogicError> {
        let at: usize = part.0.parse().unwrap();
        let reader = Box::new(Once(self.partitions[at].clone().into()));
        Ok(PartReader { reader, decoder: None, length: None })
    }
}

struct Once(VecDeque<RecordBatch>);

impl Reader for Once {
    fn read(&mut self) -> Result<Read, LogicError> {
        Ok(match self.0.pop_front() {
            Some(rows) => Read::Piece { data: Piece::Rows(rows), position: Vec::new() },
            None => Read::End,
        })
    }
}

struct Kept {
    name: String,
    sinks: Rows,
}

impl SinkParts for Kept {
    fn routing(&self) -> Result<Routing, LogicError> {
        Ok(Routing::PerWorker)
    }

    fn open(&self, _cx: &InstanceCx, _part: &PartitionId, _start: &Start<'_>) -> Result<PartWriter, LogicError> {
        let writer = Keeper { name: self.name.clone(), sinks: self.sinks.clone() };
        Ok(PartWriter { encoder: Box::new(PassOn), writer: Box::new(writer) })
    }
}

struct PassOn;

impl Encode for PassOn {
    fn encode(&mut self, batch: &Batch, jobs: &mut Vec<Job>) -> Result<Vec<RowError>, LogicError> {
        jobs.push(Job::Rows(Box::new(batch.clone())));
        Ok(Vec::new())
    }

    fn on_eof(&mut self, _jobs: &mut Vec<Job>) -> Result<(), LogicError> {
        Ok(())
    }
}

struct Keeper {
    name: String,
    sinks: Rows,
}

impl Writer for Keeper {
    fn run(&mut self, job: Job) -> Result<Vec<RowError>, LogicError> {
        if let Job::Rows(batch) = job {
            self.sinks.lock().unwrap().entry(self.name.clone()).or_default().extend(show(&batch));
        }
        Ok(Vec::new())
    }

    fn close(&mut self) -> Result<(), LogicError> {
        Ok(())
    }
}
