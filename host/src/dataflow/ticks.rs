//! The ticks of sources, which bound what is under way.

use super::build::Reporter;
use super::env::Clock;
use super::epochs::Epochs;
use super::hand_in::HandIn;
use super::progress::Progress;
use crate::data::batch::Batch;
use crate::data::ids::PartitionId;
use crate::data::time::{Epoch, Tick};
use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;
use timely::dataflow::operators::Capability;

const TICK_ROWS: usize = 65_536;
const TICK_TIME: Duration = Duration::from_millis(10);
const TICKS: usize = 4;
const BYTES: usize = 64 << 20;

/// The ticks of a source operator: its time, and which of its ticks are under way.
pub(super) struct Ticks {
    pub capabilities: Vec<Capability<u64>>,
    clock: Arc<dyn Clock>,
    epochs: Arc<Epochs>,
    pub progress: Progress,
    rows: usize,
    bytes: usize,
    /// When the tick's first row was sent.
    began: Option<Duration>,
    under_way: VecDeque<(u64, usize)>,
    positions: Positions,
}

/// How far partitions are, on the way to the recovery store.
pub(super) struct Positions {
    line: Option<HandIn>,
    reporter: Reporter,
    /// Of partitions that gave something since the epoch began, or ended.
    new: BTreeMap<PartitionId, Vec<u8>>,
}

impl Positions {
    /// Starts without any.
    pub fn new(line: Option<HandIn>, reporter: Reporter) -> Self {
        Positions { line, reporter, new: BTreeMap::new() }
    }

    /// Takes the last capability of the operator, if there is a line.
    pub fn begin(&mut self, capabilities: &mut Vec<Capability<u64>>) {
        HandIn::begin(&mut self.line, capabilities);
    }

    /// Hands in nothing.
    pub fn stop(&mut self) {
        self.line = None;
    }

    /// Whether anybody wants them.
    pub fn are_kept(&self) -> bool {
        self.line.is_some()
    }

    /// A partition is at a position.
    pub fn note(&mut self, part: &PartitionId, position: Vec<u8>) {
        match self.new.get_mut(part) {
            Some(noted) => *noted = position,
            None => drop(self.new.insert(part.clone(), position)),
        }
    }

    /// Hands in those of an epoch, which is over.
    fn hand_in(&mut self, epoch: Epoch) {
        let Some(line) = &self.line else { return };
        for (part, position) in std::mem::take(&mut self.new) {
            if let Err(error) = line.source(&part, epoch, position) {
                self.reporter.fail(error);
                return;
            }
        }
    }
}

impl Ticks {
    /// Begins the first tick.
    pub fn new(
        capabilities: Vec<Capability<u64>>,
        clock: Arc<dyn Clock>,
        epochs: Arc<Epochs>,
        progress: Progress,
        positions: Positions,
    ) -> Self {
        let (rows, bytes, began, under_way) = (0, 0, None, VecDeque::new());
        let mut ticks = Ticks { capabilities, clock, epochs, progress, rows, bytes, began, under_way, positions };
        ticks.advance();
        ticks
    }

    /// How far partitions are.
    pub fn positions(&mut self) -> &mut Positions {
        &mut self.positions
    }

    /// The tick now.
    pub fn time(&self) -> u64 {
        self.capabilities.first().map_or(0, |capability| *capability.time())
    }

    /// Notes a batch that is sent at the tick.
    pub fn sent(&mut self, batch: &Batch) {
        self.began.get_or_insert_with(|| self.clock.elapsed());
        self.rows += batch.num_rows();
        self.bytes += batch.byte_size();
    }

    /// Ends the tick if it is full or old, and the epoch if it is over, and follows other sources.
    pub fn advance(&mut self) {
        while self.under_way.front().is_some_and(|&(tick, _)| self.progress.is_past(tick)) {
            self.under_way.pop_front();
        }
        let old = self.began.is_some_and(|began| self.clock.elapsed() >= began + TICK_TIME);
        let now = Tick(self.time());
        let epoch = self.epochs.current().max(Epoch::FIRST);
        if epoch > now.epoch() {
            self.begin(Tick::start_of(epoch));
        } else if old || self.rows >= TICK_ROWS {
            self.begin(now.next());
        }
        if self.began.is_none() {
            self.begin(Tick(self.epochs.tick()));
        }
    }

    /// Ends the tick, and begins one that comes after it.
    pub fn begin(&mut self, tick: Tick) {
        if tick.0 <= self.time() {
            return;
        }
        if self.began.take().is_some() {
            self.under_way.push_back((self.time(), self.bytes));
        }
        (self.rows, self.bytes) = (0, 0);
        let epoch = Tick(self.time()).epoch();
        if tick.epoch() > epoch {
            self.positions.hand_in(epoch);
        }
        if let Some(line) = &mut self.positions.line {
            line.advance(tick.0);
        }
        for capability in &mut self.capabilities {
            capability.downgrade(&tick.0);
        }
        self.epochs.begin(tick);
    }

    /// Whether everything that was sent is through the whole flow. Not before all workers have begun.
    pub fn are_through(&self) -> bool {
        self.began.is_none() && self.under_way.is_empty() && self.progress.is_past(0)
    }

    /// Whether more may be sent now.
    pub fn may_send(&mut self) -> bool {
        if self.rows >= TICK_ROWS {
            self.advance();
        }
        let bytes: usize = self.under_way.iter().map(|(_, bytes)| bytes).sum();
        !self.capabilities.is_empty() && self.under_way.len() < TICKS && bytes + self.bytes < BYTES
    }

    /// When `advance` has something to do though nothing comes.
    pub fn due(&self) -> Option<Duration> {
        let tick = self.began.map(|began| (began + TICK_TIME).saturating_sub(self.clock.elapsed()));
        tick.into_iter().chain(self.epochs.remaining()).min()
    }

    /// Ends the source, well: what it gave counts.
    pub fn end(&mut self) {
        if !self.capabilities.is_empty() {
            self.positions.hand_in(Tick(self.time()).epoch());
        }
        self.stop();
    }

    /// Ends the source, which has failed.
    pub fn stop(&mut self) {
        self.capabilities.clear();
        self.positions.stop();
    }
}
