//! The thread that writes a part: gathers what workers hand in, seals epochs, and compacts while nobody wants anything.

use super::block::slice_of;
use super::catalogue::{BlockRow, PositionRow, Role, StepNumber};
use super::compact;
use super::encode::Encoder;
use super::error::StoreError;
use super::part::{PartStore, Transaction};
use crate::data::ids::PartitionId;
use crate::data::time::Epoch;
use crate::dataflow::durable::{Changes, Durable};
use crate::dataflow::env::Env;
use crate::dataflow::error::LogicError;
use crate::dataflow::failure::{FailureSlot, Stop};
use crate::dataflow::writers::Writers;
use crossbeam::channel::{Receiver, Sender, TryRecvError, unbounded};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// A part, as its writer and those who load share it.
pub type SharedPart = Arc<Mutex<Box<dyn PartStore>>>;

/// What is asked of a writer. Orders are carried out in their sequence.
pub enum Order {
    /// What of a step's states changed. Each part encodes those that it keeps, so that the worker need not.
    Changes {
        step: StepNumber,
        epoch: Epoch,
        changes: Arc<Changes>,
    },
    Position(PositionRow),
    /// Write everything up to this epoch that was ordered before.
    Seal(Epoch),
    /// No more will be sealed, and all parts have sealed the last epoch.
    End,
    /// A sink's manifests before this epoch's may be forgotten.
    Committed {
        step: StepNumber,
        part: PartitionId,
        epoch: Epoch,
    },
}

/// How far the parts are; shared by their writers.
pub struct Seals {
    pub durable: Arc<Durable>,
    state: Mutex<State>,
    /// Whether the parts will be asked for nothing more, so that everybody waits for them.
    is_ending: AtomicBool,
}

struct State {
    /// For each part the newest epoch that it sealed.
    sealed: Vec<Epoch>,
    /// The newest epoch that the parts were asked to seal.
    asked: Epoch,
    /// The newest epoch that is complete; after `asked` if nothing changed since.
    complete: Epoch,
    /// What is to be done once all parts have sealed what they were asked to.
    then: Option<Box<dyn FnOnce() + Send>>,
}

impl Seals {
    /// All of `parts` parts are at an epoch.
    pub fn new(parts: usize, at: Epoch) -> Self {
        let state = State { sealed: vec![at; parts], asked: at, complete: at, then: None };
        Seals { durable: Arc::new(Durable::new(at)), state: Mutex::new(state), is_ending: AtomicBool::new(false) }
    }

    /// The epoch is complete. Calls `ask`, once in all and in the order of epochs, if anything was handed in since the
    /// parts were asked last; `handed_in` is the newest epoch for which something was.
    pub fn complete(&self, epoch: Epoch, handed_in: Epoch, ask: impl FnOnce()) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if epoch <= state.complete {
            return;
        }
        state.complete = epoch;
        if handed_in > state.asked {
            state.asked = epoch;
            ask();
        }
        self.publish(&mut state);
    }

    /// The parts will be asked for nothing more. Has something done once all have sealed what they were asked to, which may
    /// be now.
    pub fn end(&self, then: Box<dyn FnOnce() + Send>) {
        self.is_ending.store(true, Ordering::Release);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.then = Some(then);
        self.publish(&mut state);
    }

    /// Whether the epoch is complete, so that nothing more may be handed in for it.
    pub fn is_complete(&self, epoch: Epoch) -> bool {
        epoch <= self.state.lock().unwrap_or_else(PoisonError::into_inner).complete
    }

    fn sealed(&self, part: usize, epoch: Epoch) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.sealed[part] = epoch;
        self.publish(&mut state);
    }

    fn publish(&self, state: &mut State) {
        let oldest = state.sealed.iter().min().copied().unwrap_or(state.complete);
        if oldest < state.asked {
            return self.durable.advance(oldest);
        }
        self.durable.advance(state.complete);
        if let Some(then) = state.then.take() {
            then();
        }
    }
}

/// What writers are given.
#[derive(Clone)]
pub struct WriterCx {
    pub env: Env,
    pub failure: FailureSlot,
    pub writers: Writers,
    pub seals: Arc<Seals>,
    /// Epochs that stay above the floor.
    pub retention: u64,
}

impl WriterCx {
    /// Lets those go on that rows go through, as long as any may come.
    fn pause(&self) {
        if !self.seals.is_ending.load(Ordering::Acquire) {
            self.env.spawner.pause();
        }
    }
}

/// Starts the thread that writes a part. It ends when what is returned is dropped and everything ordered is done, or
/// when it fails: then the execution has failed.
///
/// # Errors
/// The system refuses another thread.
pub fn start(
    cx: &WriterCx,
    number: usize,
    part: SharedPart,
    slices: Range<u64>,
) -> Result<Sender<Order>, std::io::Error> {
    let (sender, orders) = unbounded();
    let writing = cx.writers.begin();
    let panics = Panics { number, failure: cx.failure.clone() };
    let mut writer = Writer {
        number,
        cx: cx.clone(),
        part,
        slices,
        encoder: Encoder::new().map_err(std::io::Error::other)?,
        blocks: Vec::new(),
        positions: Vec::new(),
        committed: BTreeMap::new(),
        is_loaded: false,
        rises: compact::RISES,
        is_ending: false,
    };
    let spawner = cx.env.spawner.clone();
    let body = Box::new(move || {
        // Snapshots are written behind the rows that go on.
        spawner.step_back();
        if let Err(error) = writer.run(&orders) {
            panics.failure.set(Stop::Recovery(Box::new(error)));
        }
        // The file is closed before the thread counts as ended, if nobody else has it open.
        drop(writer);
        drop(writing);
    });
    cx.env.spawner.spawn(&format!("recovery {number}"), body)?;
    Ok(sender)
}

/// Tells of a panic: without it the execution would wait for the thread's seals for ever.
struct Panics {
    number: usize,
    failure: FailureSlot,
}

impl Drop for Panics {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let message = format!("the thread that writes part {} of the recovery store panicked", self.number);
            self.failure.set(Stop::Recovery(Box::new(LogicError::internal(message))));
        }
    }
}

struct Writer {
    number: usize,
    cx: WriterCx,
    part: SharedPart,
    /// Those of the part.
    slices: Range<u64>,
    encoder: Encoder,
    /// Of epochs that are not sealed yet.
    blocks: Vec<(BlockRow, Vec<u8>)>,
    positions: Vec<PositionRow>,
    /// For each partition of a sink the newest epoch that readers see.
    committed: BTreeMap<(StepNumber, PartitionId), Epoch>,
    /// Whether an epoch of this execution was sealed. All workers have handed in for it, and so have loaded what they go on
    /// from; before that nothing of it may be merged away under them.
    is_loaded: bool,
    /// How often the floor has risen since nothing was found to merge; often enough at the start.
    rises: usize,
    /// Whether nothing more will be sealed, and the file is not tidied up for its end yet: that is done while sinks show
    /// what was sealed last.
    is_ending: bool,
}

impl Writer {
    fn run(&mut self, orders: &Receiver<Order>) -> Result<(), LogicError> {
        loop {
            let order = match orders.try_recv() {
                Ok(order) => order,
                Err(TryRecvError::Disconnected) => return Ok(()),
                Err(TryRecvError::Empty) => {
                    if self.tidy()? {
                        continue;
                    }
                    match self.cx.env.receive(orders) {
                        Ok(order) => order,
                        Err(_) => return Ok(()),
                    }
                }
            };
            match order {
                Order::Changes { step, epoch, changes } => self.encode(step, epoch, &changes)?,
                Order::Position(position) => self.positions.push(position),
                Order::Committed { step, part, epoch } => drop(self.committed.insert((step, part), epoch)),
                Order::Seal(epoch) => {
                    self.seal(epoch)?;
                    self.is_loaded = true;
                }
                Order::End => self.is_ending = true,
            }
        }
    }

    fn encode(&mut self, step: StepNumber, epoch: Epoch, changes: &Changes) -> Result<(), LogicError> {
        let cx = &self.cx;
        let blocks = self.encoder.encode(changes, self.slices.clone(), || cx.pause())?;
        let whole: BTreeSet<u64> =
            blocks.iter().filter(|block| block.is_whole).map(|block| slice_of(block.groups.0)).collect();
        // What was handed in for the epoch before is not newer than the whole.
        let is_replaced =
            |row: &BlockRow| (row.step, row.epoch) == (step, epoch) && whole.contains(&slice_of(row.groups.0));
        self.blocks.retain(|(row, _)| !is_replaced(row));
        self.blocks.extend(blocks.into_iter().map(|block| compact::handed_in(block, epoch, step)));
        Ok(())
    }

    fn seal(&mut self, epoch: Epoch) -> Result<(), StoreError> {
        let (blocks, later) = std::mem::take(&mut self.blocks).into_iter().partition(|(row, _)| row.epoch <= epoch);
        self.blocks = later;
        let (positions, later) = std::mem::take(&mut self.positions).into_iter().partition(|row| row.epoch <= epoch);
        self.positions = later;
        let mut part = self.part.lock().unwrap_or_else(PoisonError::into_inner);
        let now = self.cx.env.clock.now();
        let mut transaction = Transaction::seal(part.catalogue(), epoch, now, blocks, positions);
        let durable = self.cx.seals.durable.newest();
        if let Some(floor) = compact::next_floor(part.catalogue(), durable, self.cx.retention) {
            let is_committed = |position: &PositionRow| {
                let committed = self.committed.get(&(position.step, position.part.clone()));
                position.role == Role::Sink && committed.is_some_and(|&committed| position.epoch <= committed)
            };
            transaction = transaction.and_advance(part.catalogue(), floor, is_committed);
            self.rises += 1;
        }
        part.commit(transaction)?;
        drop(part);
        self.cx.seals.sealed(self.number, epoch);
        self.cx.pause();
        Ok(())
    }

    /// Does the next thing that can wait; false if there is none.
    fn tidy(&mut self) -> Result<bool, StoreError> {
        if !self.is_loaded {
            return Ok(false);
        }
        let mut part = self.part.lock().unwrap_or_else(PoisonError::into_inner);
        if self.rises >= compact::RISES {
            if let Some(work) = compact::next_work(part.catalogue()) {
                let cx = &self.cx;
                let transaction = compact::merge(&**part, &work, &mut self.encoder, || cx.pause())?;
                part.commit(transaction)?;
                drop(part);
                self.cx.pause();
                return Ok(true);
            }
            self.rises = 0;
        }
        part.rest(std::mem::take(&mut self.is_ending))?;
        Ok(false)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_follows_the_last_seal_waits_for_all_parts() {
        let seals = Seals::new(2, Epoch(3));
        let is_done = Arc::new(AtomicBool::new(false));
        let follow = || {
            let is_done = is_done.clone();
            seals.end(Box::new(move || is_done.store(true, Ordering::Relaxed)));
        };
        seals.complete(Epoch(4), Epoch(4), || {});
        seals.sealed(1, Epoch(4));
        assert!(!seals.is_ending.load(Ordering::Relaxed), "writers may pause");
        follow();
        assert!(seals.is_ending.load(Ordering::Relaxed), "everybody waits for them now");
        assert_eq!((is_done.load(Ordering::Relaxed), seals.durable.newest()), (false, Epoch(3)));
        seals.sealed(0, Epoch(4));
        assert_eq!((is_done.swap(false, Ordering::Relaxed), seals.durable.newest()), (true, Epoch(4)));
        follow();
        assert!(is_done.load(Ordering::Relaxed), "at once if nothing is left to seal");
    }
}
