//! What of the machine lasts from one execution to the next.
//!
//! Of each key that changed everything is written anew. Idle time that passes without anything being done for a key is
//! not kept: nobody has seen it.

use super::super::clock::{Clock, KeyClock};
use super::super::intake::due_of;
use super::super::keys::Key;
use super::super::queue::{Back, Kept, Queue};
use super::super::saved::{Head, Saved, SavedKey, States, Writer};
use super::super::slots::{NONE, Window};
use super::super::stream::Timing;
use super::{Machine, Moment};
use crate::data::key::Keys;
use crate::data::time::Instant;
use crate::dataflow::durable::Changes;
use crate::dataflow::error::LogicError;
use crate::operators::rows::{RowRef, SavedRows};
use crate::operators::states::unreadable;
use arrow::array::{Array, BinaryArray, BinaryBuilder, StringArray};

impl Machine {
    /// What became of the keys since the last call.
    pub(super) fn save(&mut self, now: Instant) -> Result<Option<Changes>, LogicError> {
        let (live, mut gone) = self.groups.take_changes();
        let mut stale = self.forgotten.take_stale();
        let mut again = self.forgotten.take_again();
        if !again.is_empty() {
            // Not of keys that have state by now, nor where another memo has taken the place.
            again.retain(|key| self.groups.find(key).is_none() && self.forgotten.memo(key).is_some());
            gone.append(&mut again);
            gone.sort_unstable();
            gone.dedup();
        }
        if live.is_empty() && gone.is_empty() && stale.is_empty() {
            return Ok(None);
        }
        let now = self.moment(now);
        let mut slots = Vec::new();
        let mut rows = WaitingRows::new(self.outputs.inputs);
        for &group in &live {
            let mut at = self.keys[group as usize].first;
            while at != NONE {
                slots.push(at);
                at = self.slots.get(at).next;
            }
            if let Some(queue) = &self.queue {
                rows.add(queue, group);
            }
        }
        let encoded = rows.encode(self.queue.as_ref())?;
        let states = if slots.is_empty() { BinaryArray::new_null(0) } else { self.logic.save(&slots)? };
        let mut writer = Writer::default();
        self.write(&live, (&slots, &states), (&rows, &encoded), now, &mut writer);
        stale.sort_unstable();
        stale.dedup();
        stale.retain(|key| gone.binary_search(key).is_err() && self.groups.find(key).is_none());
        // Those whose place a memo takes, before the others.
        gone.sort_by_cached_key(|key| self.forgotten.memo(key).is_none());
        let mut without = 0;
        for key in &gone {
            match self.forgotten.memo(key) {
                Some(next_id) => writer.memo(next_id),
                None => without += 1,
            }
        }
        let keys = self.groups.keys(&live);
        let values = writer.finish(without + stale.len())?;
        if gone.is_empty() && stale.is_empty() {
            return Ok(Some(Changes::of_some(keys, values)));
        }
        let all = keys.values().iter().flatten().chain(gone.iter().chain(&stale).map(AsRef::as_ref));
        Ok(Some(Changes::of_some(Keys::new(StringArray::from_iter_values(all)), values)))
    }

    /// Writes the states of keys, of whose windows `states` are those that the logic keeps.
    fn write(
        &self,
        live: &[u32],
        (slots, states): (&[u32], &BinaryArray),
        (rows, encoded): (&WaitingRows, &[SavedRows]),
        now: Moment,
        writer: &mut Writer,
    ) {
        let (mut done, mut ranks) = (0, Vec::new());
        let (mut times, mut encoded) = (rows.all.iter(), encoded.iter().map(SavedRows::iter).collect::<Vec<_>>());
        for (number, &group) in live.iter().enumerate() {
            let key = &self.keys[group as usize];
            let of = done..done + slots[done..].iter().take_while(|slot| self.slots.get(**slot).key == group).count();
            done = of.end;
            let saved = SavedKey {
                watermark: key.clock.save(now),
                seen: key.seen,
                next_id: key.next_id,
                forgotten: self.forgotten.next_id(self.groups.hash(group)),
            };
            writer.key(saved, of.len());
            self.rank(&slots[of.clone()], &mut ranks);
            for (at, &rank) in of.clone().zip(&ranks) {
                let slot = slots[at];
                writer.window(self.slots.get(slot), rank, self.slots.merged(slot), states.is_valid(at));
            }
            let count = rows.counts.get(number).copied().unwrap_or(0);
            writer.rows(count);
            for &(time, input) in times.by_ref().take(count) {
                writer.row(time, input, encoded[input as usize].next().unwrap_or_default());
            }
            writer.end_head();
            of.filter(|&at| states.is_valid(at)).for_each(|at| writer.state(states.value(at)));
            writer.end();
        }
    }

    /// In what order some windows of a key opened, which matters to sessions only, into `ranks`.
    fn rank(&self, slots: &[u32], ranks: &mut Vec<usize>) {
        ranks.clear();
        ranks.resize(slots.len(), 0);
        if slots.len() > 1 && self.rules.windower.is_session() {
            let mut order: Vec<usize> = (0..slots.len()).collect();
            order.sort_unstable_by_key(|&at| self.slots.get(slots[at]).opened);
            order.into_iter().enumerate().for_each(|(rank, at)| ranks[at] = rank);
        }
    }

    /// Takes in what `save` gave, in an execution before.
    pub(super) fn load(&mut self, keys: &Keys, states: &BinaryArray, now: Instant) -> Result<(), LogicError> {
        let now = self.moment(now);
        let mut saved: Vec<(Head<'_>, States<'_>)> = Vec::with_capacity(keys.values().len());
        let mut of_keys = Vec::with_capacity(keys.values().len());
        for (at, (key, &hash)) in keys.values().iter().flatten().zip(keys.hashes()).enumerate() {
            match Saved::of(states.value(at))? {
                Saved::Key(head, states) => {
                    saved.push((head, states));
                    of_keys.push(key);
                }
                Saved::Memo(next_id) => self.forgotten.restore(hash, next_id, Some(key)),
            }
        }
        let groups = match of_keys.len() == keys.values().len() {
            true => self.groups.restore(keys),
            false => self.groups.restore(&Keys::new(StringArray::from_iter_values(of_keys))),
        };
        self.make_room();
        let mut loading = Loading::new(self.queue.as_ref().map_or(0, |_| self.outputs.inputs));
        for (&group, (head, states)) in groups.iter().zip(saved) {
            self.load_key(group, head, states, now, &mut loading)?;
        }
        if !loading.slots.is_empty() {
            self.logic.load(&loading.slots, &loading.states.finish())?;
        }
        if let Some(queue) = &mut self.queue {
            for (input, (back, rows)) in loading.rows.iter().enumerate() {
                queue.put_back(input, rows, back)?;
            }
        }
        if let Some(early) = &mut self.early {
            early.mark(&mut self.slots, &loading.dirty, self.now);
        }
        for group in groups {
            let key = &mut self.keys[group as usize];
            key.due = due_of(key, group, &self.slots, self.rules.windower, self.queue.as_ref());
            if key.due < i64::MAX {
                key.is_touched = true;
                self.touched.push(group);
            }
        }
        if self.rules.clock == Clock::System {
            self.arm();
        }
        Ok(())
    }

    fn load_key<'a>(
        &mut self,
        group: u32,
        mut head: Head<'a>,
        mut states: States<'a>,
        now: Moment,
        loading: &mut Loading<'a>,
    ) -> Result<(), LogicError> {
        let (saved, windows) = head.key()?;
        let clock = KeyClock::load(saved.watermark, now);
        if let Timing::Stamped(stream) = &mut self.times {
            stream.raise(saved.watermark, now);
        }
        self.forgotten.restore(self.groups.hash(group), saved.forgotten, None);
        let (mut first, mut before) = (NONE, NONE);
        let opened = self.slots.opened();
        for _ in 0..windows {
            let read = head.window()?;
            let is_dirty = read.window.dirty;
            let opened = opened + read.rank as u64;
            let window = Window { key: group, next: NONE, opened, dirty: false, ..read.window };
            let slot = self.slots.reopen(window, read.merged);
            match before {
                NONE => first = slot,
                before => self.slots.get_mut(before).next = slot,
            }
            before = slot;
            loading.slots.push(slot);
            match read.has_state {
                true => loading.states.append_value(states.next()?.ok_or_else(|| unreadable("a window is left out"))?),
                false => loading.states.append_null(),
            }
            if is_dirty {
                loading.dirty.push(slot);
            }
        }
        let key = &mut self.keys[group as usize];
        *key = Key::NEW;
        (key.clock, key.seen, key.next_id, key.first) = (clock, saved.seen, saved.next_id, first);
        for _ in 0..head.rows()? {
            let (time, input, row) = head.row()?;
            let (Some(queue), Some((back, rows))) = (&mut self.queue, loading.rows.get_mut(input)) else {
                return Err(unreadable("a row waits where none can"));
            };
            back.push(Back { key: group, time, count: queue.next_count() });
            rows.push(row);
        }
        head.end()?;
        states.end()
    }
}

/// The rows that wait of keys that are saved.
struct WaitingRows {
    /// By key, how many there are.
    counts: Vec<usize>,
    /// In the order in which they are written: their times and inputs.
    all: Vec<(i64, u32)>,
    by_input: Vec<Vec<RowRef>>,
    scratch: Vec<Kept>,
}

impl WaitingRows {
    fn new(inputs: usize) -> Self {
        let (counts, all, scratch) = Default::default();
        WaitingRows { counts, all, by_input: vec![Vec::new(); inputs], scratch }
    }

    /// Adds those of a key.
    fn add(&mut self, queue: &Queue, group: u32) {
        queue.waiting(group, &mut self.scratch);
        for &Kept { time, input, row } in &self.scratch {
            self.all.push((time, input));
            self.by_input[input as usize].push(row);
        }
        self.counts.push(self.scratch.len());
    }

    /// Encodes them, by input.
    fn encode(&self, queue: Option<&Queue>) -> Result<Vec<SavedRows>, LogicError> {
        let Some(queue) = queue.filter(|_| !self.all.is_empty()) else { return Ok(Vec::new()) };
        self.by_input.iter().enumerate().map(|(input, rows)| queue.save(input, rows)).collect()
    }
}

/// What is read of keys before it is handed on together.
struct Loading<'a> {
    slots: Vec<u32>,
    states: BinaryBuilder,
    dirty: Vec<u32>,
    /// Rows that wait, by input; empty if none can.
    rows: Vec<(Vec<Back>, Vec<&'a [u8]>)>,
}

impl Loading<'_> {
    fn new(inputs: usize) -> Self {
        let (slots, dirty) = Default::default();
        Loading { slots, states: BinaryBuilder::new(), dirty, rows: vec![Default::default(); inputs] }
    }
}
