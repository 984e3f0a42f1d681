//! A sink's partition on its worker, and the lines to the thread that writes it and the one that waits for the disk.

use super::answers::answers;
use super::build::BuildCx;
use super::disk_line::{DiskLine, Synced};
use super::emit::{Emit, RowErrors};
use super::error::LogicError;
use super::hand_in::HandIn;
use super::sink::{Encode, Flush, Job, PartWriter, Staged, Writer};
use super::user_fn::RowError;
use crate::data::batch::Batch;
use crate::data::ids::PartitionId;
use crate::data::time::{Epoch, Tick};
use crate::telemetry::meter::StepMeter;
use crossbeam::channel::{Receiver, Sender, TryRecvError, TrySendError, bounded};
use std::collections::{BTreeMap, VecDeque};
use timely::dataflow::operators::Capability;
use timely::scheduling::SyncActivator;

/// Jobs that may wait at a writer's thread.
const QUEUE: usize = 8;

/// A partition on its worker.
pub(super) struct Part {
    name: PartitionId,
    /// Partitions that it takes over: what it stages first holds theirs too.
    orphans: Vec<PartitionId>,
    encoder: Box<dyn Encode>,
    jobs: Sender<Order>,
    done: Receiver<Result<Done, LogicError>>,
    /// Orders that found the writer's queue full.
    backlog: VecDeque<Order>,
    /// For each order under way, in their sequence, the tick that it holds open.
    held: VecDeque<Option<Held>>,
    /// Batches of epochs that may not be written yet, with the ticks that they hold open.
    pending: BTreeMap<Epoch, Vec<(Batch, Held)>>,
    /// The epoch that is written.
    epoch: Epoch,
    /// Whether anything of it was ordered, or has to be staged anyway.
    is_dirty: bool,
    kept: Option<Phases>,
    closing: Closing,
}

/// The two phases of a sink with recovery.
struct Phases {
    disk: DiskLine,
    synced: Receiver<Result<Synced, LogicError>>,
    /// Epochs whose staging was ordered and that are not handed in.
    staging: VecDeque<Epoch>,
    /// What is handed in and not durable, as far as this partition has seen.
    staged: VecDeque<(Epoch, Vec<u8>)>,
    /// How many commits were ordered and are not done.
    committing: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Closing {
    Open,
    /// Everything was ordered to be staged; it is committed as it becomes durable.
    Staging,
    Ordered,
    Closed,
}

/// Where rows that are refused go to: each at the time at which it came, and so with its epoch.
pub(super) struct Letters<'a> {
    pub row_errors: &'a RowErrors,
    pub given: Vec<(Capability<u64>, usize, Batch)>,
}

impl Letters<'_> {
    fn fail(&mut self, batch: &Batch, errors: &[RowError], held: &[Capability<u64>]) -> Result<(), LogicError> {
        let mut given = Vec::new();
        Emit::new(&mut given, self.row_errors).fail(batch, errors)?;
        self.given.extend(given.into_iter().map(|(port, batch)| (held[port].clone(), port, batch)));
        Ok(())
    }
}

/// The ticks that a batch holds open, one for each output.
type Held = Vec<Capability<u64>>;

/// Rows that a writer refused: the batch, and which of its rows.
type Refused = Option<Box<(Batch, Vec<RowError>)>>;

enum Order {
    Job(Box<Job>),
    Publish(Epoch),
    Stage(Epoch),
    Commit(Epoch, Vec<u8>),
    Close,
}

/// What became of an order.
enum Done {
    Job(Refused),
    Published,
    Staged(Option<Staged>),
    Committed(Epoch, Option<Flush>),
    Closed,
}

impl Part {
    /// Starts the thread that writes; it wakes the operator.
    ///
    /// # Errors
    /// The system refuses another thread.
    pub fn start(
        name: PartitionId,
        part: PartWriter,
        orphans: Vec<PartitionId>,
        cx: &BuildCx<'_>,
        activator: SyncActivator,
        sync_activator: SyncActivator,
    ) -> Result<Part, LogicError> {
        let (jobs, orders) = bounded::<Order>(QUEUE);
        let (answer, done) = answers(activator);
        let recovery = cx.execution.recovery.as_ref();
        let kept = recovery.map(|_| Phases::start(&name, cx, sync_activator)).transpose()?;
        let mut writer = part.writer;
        if let Some(kept) = &kept {
            writer.start(kept.disk.clone());
        }
        let writing = cx.execution.writers.begin();
        let (meter, env) = (cx.meter.clone(), cx.execution.env.clone());
        let body = Box::new(move || {
            let mut has_closed = false;
            while let Ok(order) = env.receive(&orders) {
                let is_last = matches!(order, Order::Close);
                let result = carry_out(&mut *writer, order, &meter);
                let failed = result.is_err();
                let taken = answer.send(result);
                has_closed = is_last && !failed;
                if failed || !taken || is_last {
                    break;
                }
            }
            if !has_closed {
                writer.abandon();
            }
            drop(writer);
            drop(writing);
        });
        let thread = format!("write {name}");
        let spawned = cx.execution.env.spawner.spawn(&thread, body);
        spawned.map_err(|error| LogicError::io("cannot start a thread", &error))?;
        Ok(Part {
            name,
            is_dirty: !orphans.is_empty(),
            orphans,
            encoder: part.encoder,
            jobs,
            done,
            backlog: VecDeque::new(),
            held: VecDeque::new(),
            pending: BTreeMap::new(),
            epoch: recovery.map_or(Epoch::FIRST, |recovery| recovery.first_epoch()),
            kept,
            closing: Closing::Open,
        })
    }

    /// Takes a batch, which comes to be written in its epoch.
    pub fn take(&mut self, batch: Batch, held: &[Capability<u64>]) {
        // Without recovery rows of a later epoch are shown with those of an earlier one whose end is not seen yet.
        // What a step gives before the first epoch, because a time came while nothing ran, counts to the first.
        let epoch = if self.kept.is_some() { Tick(*held[0].time()).epoch().max(self.epoch) } else { self.epoch };
        self.pending.entry(epoch).or_default().push((batch, held.to_vec()));
    }

    /// Writes what may be written, takes the writer's answers, and tells it of epochs and of the end. `frontier` is that of
    /// the rows; `last` the last epoch, if there is no frontier any more.
    ///
    /// # Errors
    /// Something cannot be encoded or written.
    pub fn run(
        &mut self,
        frontier: Option<u64>,
        last: Option<Epoch>,
        line: Option<&HandIn>,
        out: &mut Letters<'_>,
    ) -> Result<(), LogicError> {
        self.take_answers(out)?;
        self.take_synced(line)?;
        self.push();
        loop {
            self.write(out)?;
            let standing = frontier.map(|time| Tick(time).epoch());
            let next = self.pending.keys().next().copied().into_iter().chain(standing).chain(last).min();
            match next.filter(|&next| next > self.epoch) {
                Some(next) => self.end_epoch(next)?,
                None => break,
            }
        }
        if frontier.is_none() && self.closing == Closing::Open {
            self.encode(|encoder, jobs| encoder.on_eof(jobs))?;
            self.closing = Closing::Staging;
            if self.kept.is_some() {
                self.stage();
            }
        }
        self.commit(line);
        let is_through = self.kept.as_ref().is_none_or(Phases::are_through);
        if self.closing == Closing::Staging && is_through {
            self.closing = Closing::Ordered;
            self.order(Order::Close, None);
        }
        Ok(())
    }

    /// The time before which everything has been handed in.
    pub fn handed_in(&self) -> u64 {
        let staging = self.kept.as_ref().and_then(|kept| kept.staging.front());
        match (staging, self.closing) {
            (Some(&epoch), _) => Tick::start_of(epoch).0,
            (None, Closing::Open) => Tick::start_of(self.epoch).0,
            (None, _) => u64::MAX,
        }
    }

    /// Whether everything is written, and shown.
    pub fn has_ended(&self) -> bool {
        self.closing == Closing::Closed
    }

    /// Encodes the rows of the epoch that is written.
    fn write(&mut self, out: &mut Letters<'_>) -> Result<(), LogicError> {
        for (batch, held) in self.pending.remove(&self.epoch).unwrap_or_default() {
            let batch = batch.compact()?;
            let mut jobs = Vec::new();
            self.is_dirty = true;
            let errors = self.encoder.encode(&batch, &mut jobs)?;
            out.fail(&batch, &errors, &held)?;
            for job in jobs {
                self.order(Order::Job(Box::new(job)), Some(held.clone()));
            }
        }
        Ok(())
    }

    /// Ends the epoch that is written and goes on with the next in which something is to be done.
    fn end_epoch(&mut self, next: Epoch) -> Result<(), LogicError> {
        self.encode(|encoder, jobs| encoder.on_epoch(jobs))?;
        match &self.kept {
            Some(_) => self.stage(),
            None if self.is_dirty => self.order(Order::Publish(self.epoch), None),
            None => {}
        }
        self.is_dirty = false;
        self.epoch = next;
        Ok(())
    }

    fn encode(
        &mut self,
        call: impl FnOnce(&mut dyn Encode, &mut Vec<Job>) -> Result<(), LogicError>,
    ) -> Result<(), LogicError> {
        let mut jobs = Vec::new();
        call(&mut *self.encoder, &mut jobs)?;
        self.is_dirty |= !jobs.is_empty();
        jobs.into_iter().for_each(|job| self.order(Order::Job(Box::new(job)), None));
        Ok(())
    }

    fn stage(&mut self) {
        let epoch = self.epoch;
        if let Some(kept) = self.kept.as_mut().filter(|_| self.is_dirty || self.closing != Closing::Open) {
            kept.staging.push_back(epoch);
            self.order(Order::Stage(epoch), None);
        }
    }

    /// Has the writer show what has become durable.
    fn commit(&mut self, line: Option<&HandIn>) {
        let (Some(kept), Some(line)) = (&mut self.kept, line) else { return };
        let durable = line.recovery().durable().newest();
        let mut orders = Vec::new();
        while let Some((epoch, manifest)) = kept.staged.pop_front_if(|(epoch, _)| *epoch <= durable) {
            kept.committing += 1;
            orders.push(Order::Commit(epoch, manifest));
        }
        orders.into_iter().for_each(|order| self.order(order, None));
    }

    fn order(&mut self, order: Order, held: Option<Held>) {
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

    fn take_answers(&mut self, out: &mut Letters<'_>) -> Result<(), LogicError> {
        loop {
            let answer = match self.done.try_recv() {
                Ok(answer) => answer?,
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) if self.closing == Closing::Closed => return Ok(()),
                Err(TryRecvError::Disconnected) => {
                    return Err(LogicError::internal("the thread that writes ended without a word"));
                }
            };
            let held = self.held.pop_front().flatten().unwrap_or_default();
            match answer {
                Done::Job(Some(refused)) => out.fail(&refused.0, &refused.1, &held)?,
                Done::Job(None) | Done::Published => {}
                Done::Staged(staged) => {
                    if let Some(kept) = &mut self.kept {
                        // In their order, also those for which nothing is to be done.
                        let staged = staged.unwrap_or_else(|| Staged::safe(Vec::new()));
                        kept.disk.tell(Synced::Staged(staged.manifest), staged.flush);
                    }
                }
                Done::Committed(epoch, flush) => {
                    if let Some(kept) = &mut self.kept {
                        kept.disk.tell(Synced::Committed(epoch), flush);
                    }
                }
                Done::Closed => self.closing = Closing::Closed,
            }
        }
    }

    /// Hands in what is safe, and says what has been shown.
    fn take_synced(&mut self, line: Option<&HandIn>) -> Result<(), LogicError> {
        let (Some(kept), Some(line)) = (&mut self.kept, line) else { return Ok(()) };
        loop {
            match kept.synced.try_recv() {
                Ok(synced) => match synced? {
                    Synced::Committed(epoch) => {
                        kept.committing -= 1;
                        line.committed(&self.name, epoch);
                    }
                    Synced::Staged(manifest) => {
                        let epoch = kept.staging.pop_front().expect("an answer follows an order");
                        // Nothing was written.
                        if manifest.is_empty() {
                            continue;
                        }
                        line.sink(&self.name, epoch, manifest.clone())?;
                        for orphan in self.orphans.drain(..) {
                            line.sink(&orphan, epoch, Vec::new())?;
                        }
                        kept.staged.push_back((epoch, manifest));
                    }
                },
                Err(TryRecvError::Empty) => return Ok(()),
                Err(TryRecvError::Disconnected) => {
                    return Err(LogicError::internal("the thread that waits for the disk ended without a word"));
                }
            }
        }
    }
}

impl Phases {
    /// Starts the thread that waits for the disk; it wakes the operator.
    fn start(name: &PartitionId, cx: &BuildCx<'_>, activator: SyncActivator) -> Result<Phases, LogicError> {
        let (disk, synced) = DiskLine::start(name, cx, activator)?;
        Ok(Phases { disk, synced, staging: VecDeque::new(), staged: VecDeque::new(), committing: 0 })
    }

    /// Whether nothing is left to be staged, to become durable, or to be shown.
    fn are_through(&self) -> bool {
        self.staging.is_empty() && self.staged.is_empty() && self.committing == 0
    }
}

/// Carries out an order, on the writer's thread.
fn carry_out(writer: &mut dyn Writer, order: Order, meter: &StepMeter) -> Result<Done, LogicError> {
    Ok(match order {
        Order::Job(job) => Done::Job(run(writer, *job, meter)?),
        Order::Publish(epoch) => {
            writer.publish(epoch)?;
            Done::Published
        }
        Order::Stage(epoch) => Done::Staged(writer.stage(epoch)?),
        Order::Commit(epoch, manifest) => Done::Committed(epoch, writer.commit(epoch, &manifest)?),
        Order::Close => {
            writer.close()?;
            Done::Closed
        }
    })
}

/// Does a job, and counts it.
fn run(writer: &mut dyn Writer, job: Job, meter: &StepMeter) -> Result<Refused, LogicError> {
    match &job {
        Job::Rows(batch) => {
            let batch = Batch::clone(batch);
            return writer.run(job).map(|errors| Some(Box::new((batch, errors))));
        }
        Job::Append { bytes, .. } => meter.moved(bytes.len() as u64),
        Job::Finish { .. } => meter.finished_file(),
        Job::Keep { .. } => {}
    }
    writer.run(job).map(|_| None)
}
