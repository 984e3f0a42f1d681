//! A harness for drivers: flows of closures over partitions in memory, on any number of workers.

use super::build::{BuildCx, Execution, Stream};
use super::emit::{Emit, RowErrors};
use super::env::{self, Env};
use super::epochs::Epochs;
use super::error::{LogicError, StepError};
use super::failure::{FailureSlot, Stop};
use super::hand_in::HandIns;
use super::idle::IdleClock;
use super::progress::Progress;
use super::sink::{Encode, Job, PartWriter, Routing, SinkParts, Start, Writer, sink};
use super::source::{PartReader, Piece, Read, Reader, SourceParts, source};
use super::stateless::Stateless;
use super::user_fn::{InstanceCx, RowError};
use super::writers::Writers;
use crate::data::batch::Batch;
use crate::data::ids::{PartitionId, WorkerIndex};
use crate::data::key::Keys;
use crate::data::time::{Epoch, Instant};
use arrow::array::{Array, AsArray, Int64Array, RecordBatch, StringArray};
use arrow::datatypes::{Int64Type, SchemaRef};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use timely::{CommunicationConfig, Config};

/// Builds one worker's flow.
pub type Build = dyn for<'s> Fn(&mut BuildCx<'s>) -> Result<Vec<Stream<'s>>, LogicError> + Send + Sync;

/// Runs a flow to its end; epochs last `epoch`.
pub fn run(workers: usize, epoch: Duration, build: Arc<Build>) -> Result<(), Stop> {
    run_on(Config::process(workers), env::real::env(), epoch, build)
}

/// As [`run`], with a clock that the flow moves, from 0 on.
pub fn run_scripted(workers: usize, build: Arc<Build>) -> Result<(), Stop> {
    run_on(Config::process(workers), env::scripted::env(Instant(0)), Duration::from_secs(10), build)
}

/// As [`run`], but what is exchanged crosses as bytes, as it does between processes.
pub fn run_in_bytes(workers: usize, epoch: Duration, build: Arc<Build>) -> Result<(), Stop> {
    let communication = CommunicationConfig::ProcessBinary(workers);
    run_on(Config { communication, worker: Default::default() }, env::real::env(), epoch, build)
}

fn run_on(config: Config, env: Env, epoch: Duration, build: Arc<Build>) -> Result<(), Stop> {
    let (execution, done) = start(config, env, epoch, build);
    done();
    execution.writers.wait(Duration::from_secs(60));
    execution.failure.get().map_or(Ok(()), Err)
}

/// Starts a flow; what is returned waits for its end.
pub fn start(config: Config, env: Env, epoch: Duration, build: Arc<Build>) -> (Execution, impl FnOnce()) {
    let execution = Execution {
        flow: "test".into(),
        epochs: Arc::new(Epochs::new(env.clone(), Epoch::FIRST, epoch)),
        idle: Arc::new(IdleClock::new(env.clock.clone())),
        env,
        failure: FailureSlot::default(),
        writers: Writers::default(),
        recovery: None,
        partitions: Arc::default(),
        run_id: "test".into(),
    };
    let shared = execution.clone();
    let guards = timely::execute(config, move |worker| {
        let execution = shared.clone();
        execution.failure.wake_me();
        worker.dataflow::<u64, _, _>(|scope| {
            let meter = Arc::default();
            let row_errors = RowErrors {
                step: "step".into(),
                on_error: Default::default(),
                max_errors: None,
                port: None,
                meter: Arc::clone(&meter),
                taken: Arc::default(),
            };
            let progress = Progress::default();
            let mut cx = BuildCx {
                hand_ins: HandIns::default(),
                scope,
                execution: execution.clone(),
                progress: progress.clone(),
                step: "step".into(),
                meter,
                row_errors,
                sources: ["step".into()].into(),
                half: None,
                migration: None,
            };
            match build(&mut cx) {
                Ok(ends) => progress.watch(scope, ends),
                Err(error) => execution.failure.set(Stop::Failed(StepError {
                    step: "step".into(),
                    worker: WorkerIndex(scope.index()),
                    error: Box::new(error),
                })),
            }
        });
        while worker.has_dataflows() && !execution.failure.is_set() {
            worker.step_or_park(None);
        }
        for dataflow in worker.installed_dataflows() {
            worker.drop_dataflow(dataflow);
        }
    });
    let guards = guards.unwrap();
    (execution, move || guards.join().into_iter().for_each(|ended| ended.unwrap()))
}

/// The column `n` with these numbers.
pub fn numbers(values: impl IntoIterator<Item = i64>) -> RecordBatch {
    let values: Arc<dyn Array> = Arc::new(Int64Array::from_iter_values(values));
    RecordBatch::try_from_iter([("n", values)]).unwrap()
}

/// The numbers of a batch's rows that count.
pub fn values(batch: &Batch) -> Vec<i64> {
    let batch = batch.clone().compact().unwrap();
    batch.rows().column(0).as_primitive::<Int64Type>().values().to_vec()
}

/// Sets each number's last digit as its key.
pub fn key_by_digit(batch: Batch) -> Batch {
    let keys: StringArray = values(&batch).iter().map(|n| Some((n % 10).to_string())).collect();
    batch.compact().unwrap().with_keys(Some(Keys::new(keys)))
}

/// Gives all rows the same key.
pub struct PassKeyed;

impl PassKeyed {
    /// Rows with that key.
    pub fn key(rows: RecordBatch) -> Batch {
        let keys = StringArray::from(vec!["k"; rows.num_rows()]);
        Batch::keyed(rows, Keys::new(keys))
    }
}

impl Stateless for PassKeyed {
    fn on_batch(&mut self, _: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        out.give(0, Self::key(batch.compact()?.rows().clone()));
        Ok(())
    }
}

/// Partitions that hand out what a closure makes of the number of the read; `None` ends them.
pub struct Script<F> {
    pub parts: Vec<&'static str>,
    pub read: F,
}

impl<F> SourceParts for Script<F>
where
    F: Fn(&str, usize) -> Option<Result<Read, LogicError>> + Clone + Send + Sync + 'static,
{
    fn list(&self) -> Result<Vec<PartitionId>, LogicError> {
        Ok(self.parts.iter().map(|&part| part.into()).collect())
    }

    fn open(&self, _: &InstanceCx, part: &PartitionId, _: Option<&[u8]>) -> Result<PartReader, LogicError> {
        let reader = Scripted { part: part.clone(), read: self.read.clone(), turn: 0 };
        Ok(PartReader { reader: Box::new(reader), decoder: None, length: None })
    }
}

struct Scripted<F> {
    part: PartitionId,
    read: F,
    turn: usize,
}

impl<F> Reader for Scripted<F>
where
    F: Fn(&str, usize) -> Option<Result<Read, LogicError>> + Send,
{
    fn read(&mut self) -> Result<Read, LogicError> {
        self.turn += 1;
        (self.read)(&self.part.0, self.turn - 1).unwrap_or(Ok(Read::End))
    }
}

/// A piece of rows.
pub fn rows(rows: RecordBatch) -> Option<Result<Read, LogicError>> {
    Some(Ok(Read::Piece { data: Piece::Rows(rows), position: Vec::new() }))
}

/// A source of numbers: each partition counts from 0 to `count`, `batch` at a time.
pub fn counting<'s>(
    cx: &BuildCx<'s>,
    parts: &[&'static str],
    count: i64,
    batch: i64,
) -> Result<Stream<'s>, LogicError> {
    let read = move |_: &str, turn: usize| {
        let from = i64::try_from(turn).unwrap() * batch;
        (from < count).then(|| rows(numbers(from..(from + batch).min(count)))).flatten()
    };
    Ok(source(cx, &Script { parts: parts.to_vec(), read })?.remove(0))
}

/// What a sink was given, over all workers.
#[derive(Clone, Default)]
pub struct Seen {
    pub rows: Arc<Mutex<Vec<i64>>>,
    pub ends: Arc<Mutex<Vec<&'static str>>>,
}

impl Seen {
    /// All numbers, sorted.
    pub fn sorted(&self) -> Vec<i64> {
        let mut rows = self.rows.lock().unwrap().clone();
        rows.sort_unstable();
        rows
    }
}

/// A sink of numbers that runs a closure on each job, on its thread.
pub struct Memory<F> {
    pub seen: Seen,
    pub routing: Routing,
    pub on_job: F,
}

impl<F: Fn(&Batch) -> Result<(), LogicError> + Clone + Send + Sync + 'static> Memory<F> {
    /// Builds the sink operator.
    pub fn build<'s>(&self, cx: &BuildCx<'s>, up: Stream<'s>) -> Result<Vec<Stream<'s>>, LogicError> {
        let schema: SchemaRef = numbers([]).schema();
        sink(cx, up, &schema, self)
    }
}

impl<F: Fn(&Batch) -> Result<(), LogicError> + Clone + Send + Sync + 'static> SinkParts for Memory<F> {
    fn routing(&self) -> Result<Routing, LogicError> {
        Ok(self.routing.clone())
    }

    fn open(&self, _: &InstanceCx, _: &PartitionId, _: &Start<'_>) -> Result<PartWriter, LogicError> {
        let writer = MemoryWriter { seen: self.seen.clone(), on_job: self.on_job.clone() };
        Ok(PartWriter { encoder: Box::new(PassOn), writer: Box::new(writer) })
    }
}

struct PassOn;

impl Encode for PassOn {
    fn encode(&mut self, batch: &Batch, jobs: &mut Vec<Job>) -> Result<Vec<RowError>, LogicError> {
        jobs.push(Job::Rows(Box::new(batch.clone())));
        Ok(Vec::new())
    }

    fn on_eof(&mut self, _: &mut Vec<Job>) -> Result<(), LogicError> {
        Ok(())
    }
}

struct MemoryWriter<F> {
    seen: Seen,
    on_job: F,
}

impl<F: Fn(&Batch) -> Result<(), LogicError> + Send> Writer for MemoryWriter<F> {
    fn run(&mut self, job: Job) -> Result<Vec<RowError>, LogicError> {
        if let Job::Rows(batch) = job {
            (self.on_job)(&batch)?;
            self.seen.rows.lock().unwrap().extend(values(&batch));
        }
        Ok(Vec::new())
    }

    fn close(&mut self) -> Result<(), LogicError> {
        self.seen.ends.lock().unwrap().push("closed");
        Ok(())
    }

    fn abandon(&mut self) {
        self.seen.ends.lock().unwrap().push("abandoned");
    }
}
