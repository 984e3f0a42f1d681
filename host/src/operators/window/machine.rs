//! The machine that runs a step's windows on a worker: keys, clocks, windows, and the calls of the logic.
//!
//! A batch is handled in this order:
//! 1. For each row, as they come: its key's clock takes in its time; it is late, or it waits, or it enters its windows.
//! 2. The rows that were late are given out.
//! 3. The logic is called with the rows that entered.
//! 4. The windows of those keys close that have come to their ends.
//!
//! No result depends on where batches are cut: what a row meets is decided by its key's watermark at its arrival and not
//! by what step 4 has done before, and step 3 keeps the order of what happens to a window ([`super::entries`]).

mod calls;
mod keep;

use super::super::alarms::Alarms;
use super::super::event_time::moment;
use super::super::groups::{Groups, OUTPUT_ROWS};
use super::args::{Late, Rules};
use super::clock::{Clock, Moment, Untimed};
use super::early::EarlyResults;
use super::entries::Entries;
use super::forgotten::Forgotten;
use super::intake::{due_of, release};
use super::keys::Key;
use super::logic::WindowLogic;
use super::outputs::Outputs;
use super::queue::Queue;
use super::slots::Slots;
use super::stream::{Timing, unstamp};
use crate::data::batch::{Batch, Mark};
use crate::data::key::Keys;
use crate::data::time::Instant;
use crate::dataflow::durable::Changes;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::idle::IdleClock;
use crate::dataflow::keyed::{self, Keyed};
use arrow::array::BinaryArray;
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// Rows that are released before they are handed on.
const RELEASED: usize = 64 << 10;
/// How often at most, in microseconds of system time, keys are looked through for those to forget.
const SWEEP: i64 = 1_000_000;

/// A worker's share of a window step.
pub(super) struct Machine {
    pub(super) rules: Rules,
    outputs: Outputs,
    logic: Box<dyn WindowLogic>,
    pub(super) times: Timing,
    idle: Arc<IdleClock>,
    pub(super) groups: Groups,
    /// By group.
    pub(super) keys: Vec<Key>,
    pub(super) slots: Slots,
    pub(super) entries: Entries,
    /// None: rows enter as they come.
    pub(super) queue: Option<Queue>,
    early: Option<EarlyResults>,
    alarms: Alarms,
    /// Keys that may need another alarm than they have.
    pub(super) touched: Vec<u32>,
    /// Keys of which something is due.
    pub(super) due: Vec<u32>,
    /// The system time, which never goes back here.
    now: Instant,
    pub(super) forgotten: Forgotten,
    /// When keys are looked through for those to forget.
    sweep_at: Option<i64>,
    pub(super) scratch: Scratch,
}

/// What is made anew for each batch, kept for its memory.
#[derive(Default)]
pub(super) struct Scratch {
    /// The keys of a batch's rows, their times, and the watermarks that they bring, if they bring any.
    pub found: Vec<u32>,
    pub times: Vec<i64>,
    pub marks: Vec<i64>,
    /// Rows that were late, and the id of the window for which.
    pub late: Vec<(u32, i64)>,
}

impl Machine {
    /// Starts without keys. The rows of each input are of the schemas `inputs`.
    pub fn new(
        rules: Rules,
        outputs: Outputs,
        inputs: &[SchemaRef],
        times: Timing,
        logic: Box<dyn WindowLogic>,
        idle: Arc<IdleClock>,
    ) -> Self {
        // Times of the system never go back: rows that come are in order.
        let waits = rules.ordered && rules.clock != Clock::System;
        let merges = rules.windower.is_session() && (!waits || rules.late == Late::Window);
        let mixes = waits && inputs.len() > 1;
        Machine {
            entries: Entries::new(merges || mixes, if waits { inputs.len() } else { 1 }),
            queue: waits.then(|| Queue::new(inputs)),
            early: rules.early.map(EarlyResults::new),
            rules,
            outputs,
            logic,
            times,
            idle,
            groups: Groups::default(),
            keys: Vec::new(),
            slots: Slots::default(),
            alarms: Alarms::default(),
            touched: Vec::new(),
            due: Vec::new(),
            now: Instant(i64::MIN),
            forgotten: Forgotten::default(),
            sweep_at: None,
            scratch: Scratch::default(),
        }
    }

    #[cfg(test)]
    pub fn keys(&self) -> usize {
        self.groups.len()
    }

    #[cfg(test)]
    pub fn open_windows(&self) -> usize {
        self.slots.len()
    }

    #[cfg(test)]
    pub fn idle(&self) -> &IdleClock {
        &self.idle
    }

    /// Reads the clocks.
    fn moment(&mut self, now: Instant) -> Moment {
        self.now = self.now.max(now);
        moment(self.rules.clock, self.now, &self.idle)
    }

    /// Makes room for keys that are new.
    fn make_room(&mut self) {
        self.keys.resize(self.groups.capacity(), Key::NEW);
        self.alarms.resize(self.groups.capacity());
        if let Some(queue) = &mut self.queue {
            queue.resize(self.groups.capacity());
        }
        if self.sweep_at.is_none() && self.groups.len() > 0 {
            self.sweep_at = Some(self.next_sweep());
        }
    }

    /// Closes those windows of the keys in `due` that have come to their ends by now, or all, at the end of time.
    fn settle(&mut self, now: Option<Moment>, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let Rules { clock, windower, .. } = self.rules;
        let mut due = std::mem::take(&mut self.due);
        let mut closing = Vec::new();
        for group in due.drain(..) {
            let key = &mut self.keys[group as usize];
            key.is_due = false;
            let watermark = now.map_or(i64::MAX, |now| clock.watermark(key.clock, now));
            let before = key.first;
            // In the order of their ends, which is the one in which they close wherever batches are cut.
            while let Some(slot) = key.close_first(&self.slots, windower, watermark) {
                closing.push(slot);
            }
            key.due = due_of(key, group, &self.slots, windower, self.queue.as_ref());
            if key.first != before {
                self.groups.touch(&[group]);
            }
            if closing.len() >= OUTPUT_ROWS {
                self.close(&closing, out)?;
                closing.clear();
            }
        }
        self.due = due;
        self.close(&closing, out)
    }

    /// Sets alarms for keys that may need another than they have.
    fn arm(&mut self) {
        let Rules { clock, windower, .. } = self.rules;
        // Of a stream they are set by the time of events, which one clock tells for all keys.
        let is_stream = self.times.of_stream().is_some();
        for group in self.touched.drain(..) {
            let key = &mut self.keys[group as usize];
            // It may have been forgotten since, and be another.
            if std::mem::take(&mut key.is_touched) {
                key.due = due_of(key, group, &self.slots, windower, self.queue.as_ref());
                let at = if is_stream { Some(key.due) } else { clock.reaches(key.clock, key.due) };
                if let Some(at) = at.filter(|_| key.due < i64::MAX) {
                    self.alarms.set(group, at);
                }
            }
        }
    }

    /// Looks at the keys whose alarms have gone off.
    fn look(&mut self, now: Moment, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let stream = self.times.of_stream();
        let Rules { clock, windower, .. } = self.rules;
        let time = match stream {
            Some(stream) => clock.watermark(stream, now),
            None if clock == Clock::System => now.system,
            None => now.idle,
        };
        while let Some(group) = self.alarms.pop(time) {
            let key = &mut self.keys[group as usize];
            key.clock = stream.unwrap_or(key.clock);
            key.is_due = true;
            self.due.push(group);
            if !std::mem::replace(&mut key.is_touched, true) {
                self.touched.push(group);
            }
        }
        self.groups.sort(&mut self.due);
        if let Some(queue) = &mut self.queue {
            for &group in &self.due {
                let key = &mut self.keys[group as usize];
                let watermark = clock.watermark(key.clock, now);
                if release(queue, key, group, watermark, windower, &mut self.slots, &mut self.entries) {
                    self.groups.touch(&[group]);
                }
            }
            self.run_released(out)?;
        }
        self.settle(Some(now), out)
    }

    /// Forgets the keys that have had no rows for long, if it is time to look for them.
    fn forget(&mut self) {
        let now = self.now.0;
        if self.sweep_at.is_none_or(|at| at > now) {
            return;
        }
        let mut forgotten = Vec::new();
        for (group, key) in (0..).zip(&mut self.keys) {
            let is_old = key.seen > i64::MIN && now.saturating_sub(key.seen) >= self.rules.forget_after;
            if is_old && key.due == i64::MAX {
                self.forgotten.forget(self.groups.hash(group), self.groups.key(group), key.next_id);
                *key = Key::NEW;
                self.alarms.clear(group);
                forgotten.push(group);
            }
        }
        self.groups.release(&forgotten);
        self.sweep_at = (self.groups.len() > 0).then(|| self.next_sweep());
    }

    fn next_sweep(&self) -> i64 {
        self.now.0.saturating_add((self.rules.forget_after / 4).max(SWEEP))
    }
}

impl Keyed for Machine {
    fn on_batch(&mut self, input: usize, batch: Batch, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let now = self.moment(now);
        let Scratch { found, times, marks, .. } = &mut self.scratch;
        self.groups.intern(batch.keys().expect("the upstream is keyed"), batch.selection(), found);
        let (batch, untimed) = match &mut self.times {
            Timing::Stamped(_) => (unstamp(batch, times, marks)?, Untimed::new()),
            Timing::Read(stampers) => match stampers.get_mut(input) {
                Some(stamper) => {
                    let untimed = stamper.times(&batch, times)?;
                    (batch, untimed)
                }
                None => {
                    times.clear();
                    times.resize(found.len(), now.system);
                    (batch, Untimed::new())
                }
            },
        };
        self.make_room();
        let held = self.queue.as_mut().map(|queue| queue.hold(input, &batch));
        self.take_in(u32::try_from(input).expect("a step has few inputs"), held, batch.selection(), now);
        self.give_unfit(input, &batch, &untimed, out)?;
        match held {
            None => self.run(input, &[whole(&batch)], None, out)?,
            Some(held) => {
                let index = self.queue.as_ref().and_then(|queue| queue.released_of(input, held));
                match index {
                    Some(index) if self.outputs.inputs == 1 => self.run(0, &[whole(&batch)], Some(&index), out)?,
                    _ => {}
                }
                self.run_released(out)?;
                if let Some(queue) = &mut self.queue {
                    queue.settle(input, held)?;
                }
            }
        }
        self.settle(Some(now), out)?;
        if self.rules.clock == Clock::System {
            self.arm();
        }
        Ok(())
    }

    fn wake_at(&self) -> Option<Instant> {
        let alarm = self.alarms.next().filter(|_| self.rules.clock == Clock::System);
        let early = self.early.as_ref().and_then(EarlyResults::at);
        alarm.into_iter().chain(self.sweep_at).map(Instant).chain(early).min()
    }

    fn uses_idle_time(&self) -> bool {
        self.rules.clock.advances()
    }

    fn wake_at_idle(&mut self) -> Option<Instant> {
        let now = self.moment(self.now);
        if let Timing::Stamped(stream) = &mut self.times {
            stream.pass_over(self.rules.clock, now);
        }
        self.arm();
        let next = self.alarms.next()?;
        let stream = self.times.of_stream();
        stream.map_or(Some(next), |stream| self.rules.clock.reaches(stream, next)).map(Instant)
    }

    fn on_mark(&mut self, _input: usize, mark: &Mark, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let now = self.moment(now);
        if let Timing::Stamped(stream) = &mut self.times {
            stream.take(self.rules.clock, mark, now);
            self.arm();
            self.look(now, out)?;
        }
        Ok(())
    }

    fn on_wake(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let now = self.moment(now);
        self.look(now, out)?;
        self.give_early(out)?;
        self.forget();
        if self.rules.clock == Clock::System {
            self.arm();
        }
        Ok(())
    }

    fn on_eof(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.moment(now);
        self.due = self.groups.sorted();
        for at in 0..self.due.len() {
            let group = self.due[at];
            while let Some(queue) = &mut self.queue
                && let Some(row) = queue.pop(group, i64::MAX)
            {
                let key = &mut self.keys[group as usize];
                self.rules.windower.enter(key, row.arrival(group), &mut self.slots, &mut self.entries, |_| {});
                if self.entries.len() >= RELEASED {
                    self.run_released(out)?;
                }
            }
        }
        self.run_released(out)?;
        self.settle(None, out)
    }

    fn keep(&mut self) -> keyed::Kept {
        self.groups.track();
        self.forgotten.track();
        keyed::Kept::Keys
    }

    fn restore(&mut self, keys: &Keys, states: &BinaryArray, now: Instant) -> Result<(), LogicError> {
        self.load(keys, states, now)
    }

    fn snapshot(&mut self, now: Instant) -> Result<Option<Changes>, LogicError> {
        self.save(now)
    }
}

/// All rows that a batch holds.
fn whole(batch: &Batch) -> Batch {
    let keys = batch.keys().cloned().expect("the upstream is keyed");
    Batch::keyed(batch.rows().clone(), keys).from_origin(batch.origin().cloned())
}
