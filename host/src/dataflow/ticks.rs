//! The ticks of sources, which bound what is under way.

use super::env::Clock;
use super::epochs::Epochs;
use super::progress::Progress;
use crate::data::batch::Batch;
use crate::data::time::{Epoch, Tick};
use std::collections::VecDeque;
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
}

impl Ticks {
    /// Begins the first tick.
    pub fn new(
        capabilities: Vec<Capability<u64>>,
        clock: Arc<dyn Clock>,
        epochs: Arc<Epochs>,
        progress: Progress,
    ) -> Self {
        let (rows, bytes, began, under_way) = (0, 0, None, VecDeque::new());
        let mut ticks = Ticks { capabilities, clock, epochs, progress, rows, bytes, began, under_way };
        ticks.advance();
        ticks
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
        tick.into_iter().chain([self.epochs.remaining()]).min()
    }

    /// Ends the source.
    pub fn end(&mut self) {
        self.capabilities.clear();
    }
}
