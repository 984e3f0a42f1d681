//! What of the machine lasts from one execution to the next.
//!
//! Of each key that changed everything is written anew. Idle time that passes without anything being done for a key is
//! not kept: nobody has seen it.

use super::super::clock::{Clock, KeyClock};
use super::super::intake::due_of;
use super::super::keys::Key;
use super::super::queue::{Back, Kept};
use super::super::saved::{Head, Saved, SavedKey, States, Writer};
use super::super::slots::{NONE, Window};
use super::super::stream::Timing;
use super::{Machine, Moment};
use crate::data::key::Keys;
use crate::data::time::Instant;
use crate::dataflow::durable::Changes;
use crate::dataflow::error::LogicError;
use crate::operators::rows::RowRef;
use crate::operators::states::{RowCodec, unreadable};
use arrow::array::{Array, BinaryArray, BinaryBuilder, StringArray};
use arrow::row::Rows as EncodedRows;

/// Rows that are encoded together.
const ENCODED: usize = 64 << 10;

impl Machine {
    /// What became of the keys since the last call.
    pub(super) fn save(&mut self, now: Instant) -> Result<Option<Changes>, LogicError> {
        let (live, mut gone) = self.groups.take_changes();
        let mut stale = self.forgotten.take_stale();
        if live.is_empty() && gone.is_empty() && stale.is_empty() {
            return Ok(None);
        }
        let now = self.moment(now);
        let mut slots = Vec::new();
        let mut rows = SavedRows::new(self);
        for &group in &live {
            let mut at = self.keys[group as usize].first;
            while at != NONE {
                slots.push(at);
                at = self.slots.get(at).next;
            }
            rows.add(self, group);
        }
        let rows = rows.encode(self)?;
        let states = if slots.is_empty() { BinaryArray::new_null(0) } else { self.logic.save(&slots)? };
        let mut writer = Writer::default();
        self.write(&live, (&slots, &states), rows, now, &mut writer);
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
            return Ok(Some(Changes { keys, values }));
        }
        let all = keys.values().iter().flatten().chain(gone.iter().chain(&stale).map(AsRef::as_ref));
        Ok(Some(Changes { keys: Keys::new(StringArray::from_iter_values(all)), values }))
    }

    /// Writes the states of keys, of whose windows `states` are those that the logic keeps.
    fn write(
        &self,
        live: &[u32],
        (slots, states): (&[u32], &BinaryArray),
        mut rows: EncodedByKey,
        now: Moment,
        writer: &mut Writer,
    ) {
        let mut done = 0;
        for &group in live {
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
            for at in of.clone() {
                let slot = slots[at];
                writer.window(self.slots.get(slot), self.slots.merged(slot), states.is_valid(at));
            }
            rows.write_next(writer);
            writer.end_head();
            of.filter(|&at| states.is_valid(at)).for_each(|at| writer.state(states.value(at)));
            writer.end();
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
        let mut loading = Loading::new(self)?;
        for (&group, (head, states)) in groups.iter().zip(saved) {
            self.load_key(group, head, states, now, &mut loading)?;
        }
        self.logic.load(&loading.slots, &loading.states.finish())?;
        if let Some(queue) = &mut self.queue {
            for (input, (codec, (back, rows))) in loading.codecs.iter().zip(loading.rows).enumerate() {
                if !back.is_empty() {
                    queue.put_back(input, codec.decode(rows)?, &back);
                }
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
        for _ in 0..windows {
            let read = head.window()?;
            let is_dirty = read.window.dirty;
            let window = Window { key: group, next: NONE, dirty: false, ..read.window };
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
        self.keys[group as usize] = Key { clock, seen: saved.seen, next_id: saved.next_id, first, ..Key::NEW };
        for _ in 0..head.rows()? {
            let (time, input, row) = head.row()?;
            let (Some(queue), Some((back, rows))) = (&mut self.queue, loading.rows.get_mut(input)) else {
                return Err(unreadable("a row waits where none can"));
            };
            back.push(Back { key: group, time, count: queue.next_count() });
            rows.push(row);
        }
        head.end()
    }
}

/// The rows that wait of keys that are saved.
struct SavedRows {
    /// By key, how many there are.
    counts: Vec<usize>,
    /// In the order in which they are written: their times, inputs, and numbers among those of their input.
    all: Vec<(i64, u32, usize)>,
    by_input: Vec<Vec<RowRef>>,
    scratch: Vec<Kept>,
}

impl SavedRows {
    fn new(machine: &Machine) -> Self {
        let inputs = machine.queue.as_ref().map_or(0, |_| machine.outputs.inputs);
        let (counts, all, scratch) = Default::default();
        SavedRows { counts, all, by_input: vec![Vec::new(); inputs], scratch }
    }

    /// Adds those of a key.
    fn add(&mut self, machine: &Machine, group: u32) {
        if let Some(queue) = &machine.queue {
            queue.waiting(group, &mut self.scratch);
            for &Kept { time, input, row } in &self.scratch {
                let rows = &mut self.by_input[input as usize];
                self.all.push((time, input, rows.len()));
                rows.push(row);
            }
        }
        self.counts.push(self.scratch.len());
    }

    fn encode(self, machine: &Machine) -> Result<EncodedByKey, LogicError> {
        let mut by_input = Vec::with_capacity(self.by_input.len());
        if let Some(queue) = machine.queue.as_ref().filter(|_| !self.all.is_empty()) {
            for (input, (codec, rows)) in queue.codecs()?.iter().zip(&self.by_input).enumerate() {
                let encode = |rows: &[RowRef]| codec.encode(&queue.gather(input, rows)?);
                by_input.push(rows.chunks(ENCODED).map(encode).collect::<Result<Vec<_>, _>>()?);
            }
        }
        Ok(EncodedByKey { counts: self.counts.into_iter(), all: self.all.into_iter(), by_input })
    }
}

/// The same, encoded.
struct EncodedByKey {
    counts: std::vec::IntoIter<usize>,
    all: std::vec::IntoIter<(i64, u32, usize)>,
    by_input: Vec<Vec<EncodedRows>>,
}

impl EncodedByKey {
    /// Writes those of the next key.
    fn write_next(&mut self, writer: &mut Writer) {
        let count = self.counts.next().unwrap_or_default();
        writer.rows(count);
        for (time, input, at) in self.all.by_ref().take(count) {
            writer.row(time, input, self.by_input[input as usize][at / ENCODED].row(at % ENCODED).data());
        }
    }
}

/// What is read of keys before it is handed on together.
struct Loading<'a> {
    slots: Vec<u32>,
    states: BinaryBuilder,
    dirty: Vec<u32>,
    /// By input; empty if no rows wait.
    codecs: Vec<RowCodec>,
    rows: Vec<(Vec<Back>, Vec<&'a [u8]>)>,
}

impl Loading<'_> {
    fn new(machine: &Machine) -> Result<Self, LogicError> {
        let codecs = machine.queue.as_ref().map_or_else(|| Ok(Vec::new()), |queue| queue.codecs())?;
        let rows = codecs.iter().map(|_| Default::default()).collect();
        let (slots, dirty) = Default::default();
        Ok(Loading { slots, states: BinaryBuilder::new(), dirty, codecs, rows })
    }
}
