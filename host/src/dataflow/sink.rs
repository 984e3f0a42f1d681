//! Driver of sinks: encodes on the worker (that is work, and scales with workers), writes on a thread of its own.
//!
//! What is encoded of a tick holds that tick open until it is written, so that a slow sink holds back the sources.

use super::answers::answers;
use super::build::{BuildCx, Stream};
use super::durable::Manifest;
use super::emit::Emit;
use super::error::LogicError;
use super::exchange::{ByPart, ToOne};
use super::packet::Packet;
use super::user_fn::{InstanceCx, RowError};
use super::wire;
use crate::data::batch::Batch;
use crate::data::ids::PartitionId;
use crate::data::time::{Epoch, Tick};
use crate::telemetry::meter::StepMeter;
use arrow::datatypes::SchemaRef;
use crossbeam::channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use std::collections::VecDeque;
use std::sync::Arc;
use timely::dataflow::channels::pact::{DistributorPact, ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;
use timely::scheduling::SyncActivator;

/// Jobs that may wait at a writer's thread.
const QUEUE: usize = 8;

/// How rows find the partition that writes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Routing {
    /// Every worker writes a partition of its own; rows stay where they are.
    PerWorker,
    /// One partition, on the first worker.
    One(PartitionId),
    /// Rows of a key go to one of several partitions.
    ByKey(Vec<PartitionId>),
}

/// A sink that the plan has checked.
pub trait SinkParts: Send + Sync {
    /// How rows find their partition.
    ///
    /// # Errors
    /// It cannot be found out.
    fn routing(&self) -> Result<Routing, LogicError>;

    /// Opens a partition. Called on the worker that writes it, before any row comes.
    ///
    /// # Errors
    /// It cannot be written.
    fn open(&self, cx: &InstanceCx, part: &PartitionId, start: &Start<'_>) -> Result<PartWriter, LogicError>;

    /// Looks whether readers have seen what `manifests` tell of, and no more: all that the store has of this sink, in the
    /// order of their epochs. Called once, with recovery, before anything is changed anywhere.
    ///
    /// # Errors
    /// They have seen more: the store is older than the output. Or less than can be mended: the output was replaced or
    /// cut.
    fn verify(&self, _manifests: &[Manifest]) -> Result<(), LogicError> {
        Ok(())
    }

    /// Commits everything that was staged up to the epoch that the execution goes on from, in the order given, though most
    /// of it was before; then removes whatever else is staged. Called once, with recovery, after `verify` and before any
    /// partition is opened.
    ///
    /// # Errors
    /// Something cannot be shown.
    fn resume(&self, _cx: &InstanceCx, _manifests: &[Manifest]) -> Result<(), LogicError> {
        Ok(())
    }
}

/// How a partition of a sink starts.
pub enum Start<'a> {
    /// Without recovery: what is written is shown by [`Writer::publish`] and [`Writer::close`].
    Plain,
    /// With recovery: what is written is staged by [`Writer::stage`] and shown by [`Writer::commit`].
    Kept {
        /// The epoch that the execution begins with. What is found of it or of later ones was left by one that is dead.
        first: Epoch,
        /// The last manifest of the partition, all of which readers see by now. None: it is new.
        last: Option<&'a Manifest>,
        /// The last manifests of partitions that no worker has any more; all are handed to one partition.
        orphans: &'a [Manifest],
    },
}

/// A partition, opened.
pub struct PartWriter {
    /// Stays on the worker.
    pub encoder: Box<dyn Encode>,
    /// Moves to a thread of its own.
    pub writer: Box<dyn Writer>,
}

/// Makes jobs of batches, on the worker.
pub trait Encode {
    /// Encodes a compact batch; what is not yet worth a job may be kept. Returns the rows refused.
    ///
    /// # Errors
    /// The batch as a whole cannot be encoded, which stops the flow.
    fn encode(&mut self, batch: &Batch, jobs: &mut Vec<Job>) -> Result<Vec<RowError>, LogicError>;

    /// Makes jobs of what was kept, where the end of an epoch or the age of it asks for that.
    ///
    /// # Errors
    /// As for `encode`.
    fn on_epoch(&mut self, _jobs: &mut Vec<Job>) -> Result<(), LogicError> {
        Ok(())
    }

    /// Makes jobs of everything that was kept.
    ///
    /// # Errors
    /// As for `encode`.
    fn on_eof(&mut self, jobs: &mut Vec<Job>) -> Result<(), LogicError>;
}

/// What a worker asks of a writer.
pub enum Job {
    /// Write rows, for writers that take them.
    Rows(Box<Batch>),
    /// Append to a file that has no final name yet, the first time making it. Files are numbered by the encoder.
    Append { file: u64, bytes: Vec<u8> },
    /// Give a file its final name, relative to the sink's place.
    Finish { file: u64, name: String },
}

/// Writes, on a thread where it may block.
pub trait Writer: Send {
    /// Does a job; returns rows refused, for jobs of rows.
    ///
    /// # Errors
    /// It cannot be done, which stops the flow.
    fn run(&mut self, job: Job) -> Result<Vec<RowError>, LogicError>;

    /// An epoch has ended and everything of it was given to `run`: show it to readers.
    ///
    /// # Errors
    /// As for `run`.
    fn publish(&mut self, _epoch: Epoch) -> Result<(), LogicError> {
        Ok(())
    }

    /// With recovery: an epoch has ended and everything of it was given to `run`. Makes it safe on its disk, where no
    /// reader sees it, and returns what `commit` needs to know, in another process too. None: nothing was written, and
    /// there is nothing new to go on from. Called for each epoch in which a job was run, and for the last one.
    ///
    /// # Errors
    /// As for `run`.
    fn stage(&mut self, _epoch: Epoch) -> Result<Option<Vec<u8>>, LogicError> {
        Ok(None)
    }

    /// With recovery: what was staged for an epoch is durable, so show it to readers. Called in the order of epochs; rows
    /// of later ones may have been written and staged since.
    ///
    /// # Errors
    /// As for `run`.
    fn commit(&mut self, _epoch: Epoch, _manifest: &[u8]) -> Result<(), LogicError> {
        Ok(())
    }

    /// The input has ended and everything was given to `run`: show it to readers and end. With recovery all has been
    /// staged and committed, or was not to be.
    ///
    /// # Errors
    /// As for `run`.
    fn close(&mut self) -> Result<(), LogicError>;

    /// The flow failed: take back what no reader has seen. With recovery, only what is not staged; or nothing, since the
    /// next execution removes it.
    fn abandon(&mut self) {}
}

/// Builds the sink operator of a step. On the stream returned nothing comes (but the port `errors` follows it, if the
/// step has it); its progress is that of the writing.
///
/// # Errors
/// A partition cannot be opened.
pub fn sink<'s>(
    cx: &BuildCx<'s>,
    up: Stream<'s>,
    schema: &SchemaRef,
    parts: &dyn SinkParts,
) -> Result<Vec<Stream<'s>>, LogicError> {
    let instance = cx.instance();
    let (worker, workers) = (cx.worker().0, cx.workers());
    let open = |name: &PartitionId| parts.open(&instance, name, &Start::Plain).map(|part| (name.clone(), part));
    match parts.routing()? {
        Routing::PerWorker => {
            let opened = vec![open(&PartitionId::from(worker.to_string().as_str()))?];
            build(cx, up, Pipeline, 1, opened)
        }
        Routing::One(name) => {
            wire::register(schema);
            let opened = if worker == 0 { vec![open(&name)?] } else { Vec::new() };
            build(cx, up, DistributorPact(|_| ToOne(0)), 1, opened)
        }
        Routing::ByKey(names) => {
            wire::register(schema);
            let mine: Result<Vec<_>, _> = names.iter().skip(worker).step_by(workers).map(open).collect();
            let count = names.len();
            build(cx, up, DistributorPact(move |workers| ByPart::new(count, workers)), count, mine?)
        }
    }
}

fn build<'s, P: ParallelizationContract<u64, Packet>>(
    cx: &BuildCx<'s>,
    up: Stream<'s>,
    pact: P,
    count: usize,
    opened: Vec<(PartitionId, PartWriter)>,
) -> Result<Vec<Stream<'s>>, LogicError> {
    let mut builder = OperatorBuilder::new(cx.step.to_string(), cx.scope);
    let mut input = builder.new_input(up, pact);
    let ports = 1 + usize::from(cx.row_errors.port.is_some());
    let (mut outputs, streams): (Vec<_>, Vec<_>) = (0..ports).map(|_| builder.new_output::<Packet>()).unzip();
    let address = builder.operator_info().address;
    let mut parts = Vec::new();
    for (name, part) in opened {
        let activator = cx.scope.worker().sync_activator_for(address.to_vec());
        let meter = cx.meter.clone();
        match Part::start(&name, part, cx, activator, meter) {
            Ok(part) => parts.push(part),
            // The operator is begun, so it must be built.
            Err(error) => cx.reporter().fail(error),
        }
    }
    let stride = cx.workers();
    let (reporter, row_errors, meter) = (cx.reporter(), cx.row_errors.clone(), cx.meter.clone());
    builder.build(move |capabilities| {
        let mut capabilities = Some(capabilities);
        let mut ended = false;
        let mut given = Vec::new();
        move |frontiers| {
            if reporter.is_stopped() {
                // Dropping the lines to the writers tells them to abandon.
                parts.clear();
                capabilities = None;
            }
            let mut failed = Ok(());
            input.for_each(|time, packet| {
                let Some(batch) = packet.take().filter(|_| failed.is_ok() && !parts.is_empty()) else { return };
                meter.took(batch.num_rows() as u64);
                let ports: Vec<_> = (0..ports).map(|port| time.retain(port)).collect();
                let mut out = Emit::new(&mut given, &row_errors);
                failed = divide(batch, &mut parts, count, stride, &ports, &mut out);
                for (port, batch) in given.drain(..) {
                    outputs[port].activate().give(&ports[port], &mut Packet::from(batch));
                }
            });
            let frontier = frontiers[0].frontier().first().copied();
            let done = failed.and_then(|()| {
                for part in &mut parts {
                    part.pump(frontier, &row_errors, &mut given)?;
                }
                Ok(())
            });
            if let Some(held) = &mut capabilities {
                for (port, batch) in given.drain(..) {
                    outputs[port].activate().give(&held[port], &mut Packet::from(batch));
                }
                // Held at the frontier, and at the end until the writers are done.
                if let Some(time) = frontier {
                    held.iter_mut().filter(|cap| *cap.time() < time).for_each(|cap| cap.downgrade(&time));
                } else {
                    ended = parts.iter().all(|part| part.closed);
                }
            }
            if let Err(error) = done {
                reporter.fail(error);
                parts.clear();
                capabilities = None;
            } else if ended {
                capabilities = None;
            }
        }
    });
    Ok(streams)
}

/// Gives each partition its rows.
fn divide(
    batch: Batch,
    parts: &mut [Part],
    count: usize,
    stride: usize,
    held: &[Capability<u64>],
    out: &mut Emit<'_>,
) -> Result<(), LogicError> {
    if count == 1 || parts.len() == 1 && count <= stride {
        return parts[0].write(batch, held, out);
    }
    let batch = batch.compact()?;
    let keys = batch.keys().expect("a sink with several partitions takes keyed streams").hashes();
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); parts.len()];
    for (row, &hash) in (0..).zip(keys) {
        rows[ByPart::part_of(hash, count) / stride].push(row);
    }
    for (rows, part) in rows.iter().zip(parts).filter(|(rows, _)| !rows.is_empty()) {
        part.write(batch.select(rows), held, out)?;
    }
    Ok(())
}

/// A partition on its worker, and the lines to the thread that writes it.
struct Part {
    encoder: Box<dyn Encode>,
    jobs: Sender<Order>,
    done: Receiver<Result<Refused, LogicError>>,
    /// Orders that found the writer's queue full.
    backlog: VecDeque<Order>,
    /// For each order under way, in their sequence, the tick that it holds open.
    held: VecDeque<Option<Vec<Capability<u64>>>>,
    epoch: Epoch,
    closing: bool,
    closed: bool,
}

/// Rows that a writer refused: the batch, and which of its rows.
type Refused = Option<(Batch, Vec<RowError>)>;

enum Order {
    Job(Box<Job>),
    Publish(Epoch),
    Close,
}

impl Part {
    fn start(
        name: &PartitionId,
        part: PartWriter,
        cx: &BuildCx<'_>,
        activator: SyncActivator,
        meter: Arc<StepMeter>,
    ) -> Result<Part, LogicError> {
        let (jobs, orders) = bounded::<Order>(QUEUE);
        let (answer, done) = answers(activator);
        let mut writer = part.writer;
        let writing = cx.execution.writers.begin();
        let body = Box::new(move || {
            let mut closed = false;
            while let Ok(order) = orders.recv() {
                let result = match order {
                    Order::Job(job) => run(&mut *writer, *job, &meter),
                    Order::Publish(epoch) => writer.publish(epoch).map(|()| None),
                    Order::Close => {
                        closed = true;
                        writer.close().map(|()| None)
                    }
                };
                let failed = result.is_err();
                let taken = answer.send(result);
                if failed {
                    closed = false;
                }
                if failed || !taken || closed {
                    break;
                }
            }
            if !closed {
                writer.abandon();
            }
            drop(writer);
            drop(writing);
        });
        let thread = format!("write {name}");
        let spawned = cx.execution.env.spawner.spawn(&thread, body);
        spawned.map_err(|error| LogicError::io("cannot start a thread", &error))?;
        Ok(Part {
            encoder: part.encoder,
            jobs,
            done,
            backlog: VecDeque::new(),
            held: VecDeque::new(),
            epoch: Epoch(0),
            closing: false,
            closed: false,
        })
    }

    fn write(&mut self, batch: Batch, held: &[Capability<u64>], out: &mut Emit<'_>) -> Result<(), LogicError> {
        // Rows of a later epoch may come before the end of an earlier one is seen; they are shown with it, which
        // without recovery is the same.
        self.epoch = self.epoch.max(Tick(*held[0].time()).epoch());
        let batch = batch.compact()?;
        let mut jobs = Vec::new();
        let errors = self.encoder.encode(&batch, &mut jobs)?;
        out.fail(&batch, &errors)?;
        for job in jobs {
            self.order(Order::Job(Box::new(job)), Some(held.to_vec()));
        }
        Ok(())
    }

    fn order(&mut self, order: Order, held: Option<Vec<Capability<u64>>>) {
        self.held.push_back(held);
        self.backlog.push_back(order);
        self.push();
    }

    fn push(&mut self) {
        while let Some(order) = self.backlog.pop_front() {
            match self.jobs.try_send(order) {
                Ok(()) => {}
                Err(TrySendError::Full(order)) => {
                    self.backlog.push_front(order);
                    return;
                }
                // The writer is gone; why stands in its last answer.
                Err(TrySendError::Disconnected(_)) => return,
            }
        }
    }

    /// Takes the writer's answers, gives it more, and tells it of epochs and of the end.
    fn pump(
        &mut self,
        frontier: Option<u64>,
        row_errors: &super::emit::RowErrors,
        given: &mut Vec<(usize, Batch)>,
    ) -> Result<(), LogicError> {
        loop {
            match self.done.try_recv() {
                Ok(answer) => {
                    self.held.pop_front();
                    if let Some((batch, errors)) = answer? {
                        Emit::new(given, row_errors).fail(&batch, &errors)?;
                    }
                }
                Err(TryRecvError::Empty) => break,
                Err(TryRecvError::Disconnected) if self.closing && self.held.is_empty() => break,
                Err(TryRecvError::Disconnected) => {
                    return Err(LogicError::internal("the thread that writes ended without a word"));
                }
            }
        }
        self.push();
        let standing = frontier.map(|time| Tick(time).epoch());
        if !self.closing && self.epoch > Epoch(0) && standing.is_some_and(|standing| standing > self.epoch) {
            let mut jobs = Vec::new();
            self.encoder.on_epoch(&mut jobs)?;
            jobs.into_iter().for_each(|job| self.order(Order::Job(Box::new(job)), None));
            self.order(Order::Publish(self.epoch), None);
            self.epoch = Epoch(0);
        }
        if frontier.is_none() && !self.closing {
            self.closing = true;
            let mut jobs = Vec::new();
            self.encoder.on_eof(&mut jobs)?;
            jobs.into_iter().for_each(|job| self.order(Order::Job(Box::new(job)), None));
            self.order(Order::Close, None);
        }
        self.closed = self.closing && self.held.is_empty();
        Ok(())
    }
}

/// Does a job, and counts it.
fn run(writer: &mut dyn Writer, job: Job, meter: &StepMeter) -> Result<Refused, LogicError> {
    match &job {
        Job::Rows(batch) => {
            let batch = Batch::clone(batch);
            return writer.run(job).map(|errors| Some((batch, errors)));
        }
        Job::Append { bytes, .. } => meter.moved(bytes.len() as u64),
        Job::Finish { .. } => meter.finished_file(),
    }
    writer.run(job).map(|_| None)
}
