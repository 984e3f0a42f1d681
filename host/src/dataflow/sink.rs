//! Driver of sinks: encodes on the worker (that is work, and scales with workers), writes on a thread of its own.
//!
//! What is encoded of a tick holds that tick open until it is written, so that a slow sink holds back the sources.
//!
//! With recovery a sink has two phases. At the end of an epoch what was written is staged: safe, but seen by no reader. What
//! is needed to show it is handed in to the store, and once the epoch is durable it is shown.

pub use super::disk_line::{DiskLine, Flush};

use super::build::{BuildCx, Stream};
use super::durable::Manifest;
use super::error::LogicError;
use super::exchange::{ByPart, ToOne};
use super::hand_in::HandIn;
use super::packet::Packet;
use super::sink_part::{Letters, Part};
use super::user_fn::{InstanceCx, RowError};
use super::wire;
use crate::data::batch::Batch;
use crate::data::ids::PartitionId;
use crate::data::time::Epoch;
use arrow::datatypes::SchemaRef;
use std::collections::{BTreeMap, BTreeSet};
use timely::dataflow::channels::pact::{DistributorPact, ParallelizationContract, Pipeline};
use timely::dataflow::operators::Capability;
use timely::dataflow::operators::generic::builder_rc::OperatorBuilder;

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
    /// With recovery: keep rows of a file that is not finished, so that another execution can go on with it; `about` is
    /// what it has to know of the file. What the encoder makes of them is for `Append` as ever.
    Keep { file: u64, about: String, bytes: Vec<u8> },
    /// Give a file its final name, relative to the sink's place.
    Finish { file: u64, name: String },
}

/// What a writer put where no reader sees it.
pub struct Staged {
    /// What [`Writer::commit`] needs to know, in another process too.
    pub manifest: Vec<u8>,
    /// Makes it safe on its disk; only then the manifest counts.
    pub flush: Option<Flush>,
}

impl Staged {
    /// Something that is safe already.
    pub fn safe(manifest: Vec<u8>) -> Staged {
        Staged { manifest, flush: None }
    }
}

/// Writes, on a thread where it may block.
pub trait Writer: Send {
    /// Called once before all others, with recovery. What a writer has the disk take early, while an epoch goes on, is not
    /// waited for at its end.
    fn start(&mut self, _disk: DiskLine) {}

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

    /// With recovery: an epoch has ended and everything of it was given to `run`. Puts it where no reader sees it. None:
    /// nothing was written, and there is nothing new to go on from. Called for each epoch in which a job was run, and for
    /// the last one.
    ///
    /// # Errors
    /// As for `run`.
    fn stage(&mut self, _epoch: Epoch) -> Result<Option<Staged>, LogicError> {
        Ok(None)
    }

    /// With recovery: what was staged for an epoch is durable, so show it to readers. Called in the order of epochs; rows
    /// of later ones may have been written and staged since. Only when what is returned is done the manifest may be
    /// forgotten.
    ///
    /// # Errors
    /// As for `run`.
    fn commit(&mut self, _epoch: Epoch, _manifest: &[u8]) -> Result<Option<Flush>, LogicError> {
        Ok(None)
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
    let (worker, workers) = (cx.worker().0, cx.workers());
    let routing = parts.routing()?;
    let all: Vec<PartitionId> = match &routing {
        Routing::PerWorker => (0..workers).map(|worker| worker.to_string().as_str().into()).collect(),
        Routing::One(name) => vec![name.clone()],
        Routing::ByKey(names) => names.clone(),
    };
    let mut opened = Vec::new();
    let mut kept = Kept::load(cx, &all)?;
    for name in all.iter().skip(worker).step_by(workers) {
        let (start, orphans) = kept.start_of(name, *name == all[0]);
        opened.push((name.clone(), parts.open(&cx.instance(), name, &start)?, orphans));
    }
    match routing {
        Routing::PerWorker => build(cx, up, Pipeline, 1, opened),
        Routing::One(_) => {
            wire::register(schema);
            build(cx, up, DistributorPact(|_| ToOne(0)), 1, opened)
        }
        Routing::ByKey(_) => {
            wire::register(schema);
            let count = all.len();
            build(cx, up, DistributorPact(move |workers| ByPart::new(count, workers)), count, opened)
        }
    }
}

/// What an execution before left of a sink.
struct Kept {
    first: Option<Epoch>,
    last: BTreeMap<PartitionId, Manifest>,
    orphans: Vec<Manifest>,
}

impl Kept {
    fn load(cx: &BuildCx<'_>, all: &[PartitionId]) -> Result<Kept, LogicError> {
        let Some(recovery) = &cx.execution.recovery else {
            return Ok(Kept { first: None, last: BTreeMap::new(), orphans: Vec::new() });
        };
        let all: BTreeSet<&PartitionId> = all.iter().collect();
        let mut last = BTreeMap::new();
        for manifest in recovery.load_sinks(&cx.step)? {
            last.insert(manifest.part.clone(), manifest);
        }
        // What was taken over by another partition.
        last.retain(|_, manifest| !manifest.manifest.is_empty());
        let orphans = last.values().filter(|manifest| !all.contains(&manifest.part)).cloned().collect();
        Ok(Kept { first: Some(recovery.first_epoch()), last, orphans })
    }

    /// How a partition starts, and the names of those that it takes over, if it is the first.
    fn start_of(&mut self, name: &PartitionId, is_first: bool) -> (Start<'_>, Vec<PartitionId>) {
        let Some(first) = self.first else { return (Start::Plain, Vec::new()) };
        let orphans: &[Manifest] = if is_first { &self.orphans } else { &[] };
        let names = orphans.iter().map(|orphan| orphan.part.clone()).collect();
        (Start::Kept { first, last: self.last.get(name), orphans }, names)
    }
}

/// Partitions of a worker, and for each the names of those that it takes over.
type Opened = Vec<(PartitionId, PartWriter, Vec<PartitionId>)>;

fn build<'s, P: ParallelizationContract<u64, Packet>>(
    cx: &BuildCx<'s>,
    up: Stream<'s>,
    pact: P,
    count: usize,
    opened: Opened,
) -> Result<Vec<Stream<'s>>, LogicError> {
    let mut builder = OperatorBuilder::new(cx.step.to_string(), cx.scope);
    let mut input = builder.new_input(up, pact);
    let ports = 1 + usize::from(cx.row_errors.port.is_some());
    let (mut outputs, streams): (Vec<_>, Vec<_>) = (0..ports).map(|_| builder.new_output::<Packet>()).unzip();
    let mut line = HandIn::of(cx, &mut builder);
    let address = builder.operator_info().address;
    if let Some(recovery) = &cx.execution.recovery {
        recovery.durable().wake(cx.scope.worker().sync_activator_for(address.to_vec()));
    }
    let mut parts = Vec::new();
    for (name, part, orphans) in opened {
        let activator = || cx.scope.worker().sync_activator_for(address.to_vec());
        match Part::start(name, part, orphans, cx, activator(), activator()) {
            Ok(part) => parts.push(part),
            // The operator is begun, so it must be built.
            Err(error) => cx.reporter().fail(error),
        }
    }
    let stride = cx.workers();
    let (reporter, row_errors, meter) = (cx.reporter(), cx.row_errors.clone(), cx.meter.clone());
    let (epochs, sources) = (cx.execution.epochs.clone(), cx.sources.clone());
    builder.build(move |mut capabilities| {
        HandIn::begin(&mut line, &mut capabilities);
        let mut capabilities = Some(capabilities);
        let mut errors = row_errors.port;
        move |frontiers| {
            if reporter.is_stopped() {
                // Dropping the lines to the writers tells them to abandon.
                parts.clear();
                capabilities = None;
                line = None;
            }
            let mut failed = Ok(());
            input.for_each(|time, packet| {
                let Some(batch) = packet.take().filter(|_| failed.is_ok() && !parts.is_empty()) else { return };
                meter.took(batch.num_rows() as u64);
                let ports: Vec<_> = (0..ports).map(|port| time.retain(port)).collect();
                failed = divide(batch, &mut parts, count, stride, &ports);
            });
            let Some(held) = &mut capabilities else { return };
            let frontier = frontiers[0].frontier().first().copied();
            let last = frontier.is_none().then(|| epochs.last(&sources));
            let mut letters = Letters { row_errors: &row_errors, given: Vec::new() };
            let done = failed.and_then(|()| {
                let mut handed_in = frontier.unwrap_or(u64::MAX);
                for part in &mut parts {
                    part.run(frontier, last, line.as_ref(), &mut letters)?;
                    handed_in = handed_in.min(part.handed_in());
                }
                if let Some(line) = line.as_mut().filter(|_| handed_in < u64::MAX) {
                    line.advance(handed_in);
                } else {
                    // In what comes of the end of the store readers see the rest.
                    line.iter_mut().for_each(HandIn::end);
                }
                Ok(())
            });
            for (time, port, batch) in letters.given {
                outputs[port].activate().give(&time, &mut Packet::from(batch));
            }
            // Held at the frontier, and at the end until the writers are done.
            if let Some(time) = frontier {
                held.iter_mut().filter(|cap| *cap.time() < time).for_each(|cap| cap.downgrade(&time));
            }
            // No row is refused once all are staged. Where those go that were, may be a sink: what it stages must become
            // durable with the rest, which this one's commits wait for.
            if frontier.is_none()
                && parts.iter().all(|part| part.handed_in() == u64::MAX)
                && let Some(port) = errors.take()
            {
                held.remove(port);
            }
            let has_ended = frontier.is_none() && parts.iter().all(Part::has_ended);
            if let Err(error) = done {
                reporter.fail(error);
                parts.clear();
                capabilities = None;
                line = None;
            } else if has_ended {
                capabilities = None;
                line = None;
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
) -> Result<(), LogicError> {
    if count == 1 || parts.len() == 1 && count <= stride {
        parts[0].take(batch, held);
        return Ok(());
    }
    let batch = batch.compact()?;
    let keys = batch.keys().expect("a sink with several partitions takes keyed streams").hashes();
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); parts.len()];
    for (row, &hash) in (0..).zip(keys) {
        rows[ByPart::part_of(hash, count) / stride].push(row);
    }
    for (rows, part) in rows.iter().zip(parts).filter(|(rows, _)| !rows.is_empty()) {
        part.take(batch.select(rows), held);
    }
    Ok(())
}
