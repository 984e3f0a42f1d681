//! The windows that are open, of all keys, by slot.

use super::super::columns::all_but;
use crate::dataflow::user_fn::RowError;
use std::collections::BTreeMap;

/// In place of a slot, where there is none.
pub(super) const NONE: u32 = u32::MAX;

/// A window that is open. Those of a key are a list in the order in which they will close.
#[derive(Clone, Debug, Default)]
pub(super) struct Window {
    pub key: u32,
    /// The window of the key that closes next after this.
    pub next: u32,
    pub id: i64,
    pub open: i64,
    pub close: i64,
    /// Tells the order in which windows opened.
    pub opened: u64,
    /// The stage of its last row or merge; see `entries.rs`.
    pub stage: u64,
    /// Whether no row has entered it that did not fail.
    pub hollow: bool,
    /// Whether it has changed since its last early result.
    pub dirty: bool,
}

/// Windows by slot. Slots of windows that have ended are used again.
#[derive(Default)]
pub(super) struct Slots {
    all: Vec<Window>,
    free: Vec<u32>,
    /// How many windows have been opened.
    opened: u64,
    /// How many windows are hollow.
    hollow: usize,
    /// Those among them that no call of the logic has seen.
    fresh: Vec<u32>,
    /// The ids of sessions that became part of others, by slot.
    merged: BTreeMap<u32, Vec<i64>>,
}

impl Slots {
    pub fn get(&self, slot: u32) -> &Window {
        &self.all[slot as usize]
    }

    pub fn get_mut(&mut self, slot: u32) -> &mut Window {
        &mut self.all[slot as usize]
    }

    /// Opens a window; the caller puts it into its key's list, before `next`.
    pub fn open(&mut self, key: u32, id: i64, open: i64, close: i64, next: u32) -> u32 {
        let window = Window { key, next, id, open, close, opened: self.opened, stage: 0, hollow: true, dirty: false };
        let slot = self.put(window);
        self.fresh.push(slot);
        slot
    }

    /// How many windows have been opened: what opens from now on does so later than this tells.
    pub fn opened(&self) -> u64 {
        self.opened
    }

    /// Opens a window that an execution before had open, and that other sessions had become part of, with the ids
    /// `merged`.
    pub fn reopen(&mut self, window: Window, merged: Vec<i64>) -> u32 {
        // Those that open from now on opened later.
        self.opened = self.opened.max(window.opened);
        let slot = self.put(window);
        if !merged.is_empty() {
            self.merged.insert(slot, merged);
        }
        slot
    }

    fn put(&mut self, window: Window) -> u32 {
        self.opened += 1;
        self.hollow += usize::from(window.hollow);
        match self.free.pop() {
            Some(slot) => {
                self.all[slot as usize] = window;
                slot
            }
            None => {
                self.all.push(window);
                u32::try_from(self.all.len() - 1).ok().filter(|&slot| slot != NONE).expect("fewer than 2^32 windows")
            }
        }
    }

    /// Notes the outcome of a call with rows: windows that were handed a row that did not fail are not hollow.
    pub fn filled(&mut self, slots: &[u32], errors: &[RowError]) {
        if self.hollow == 0 {
            return;
        }
        for entry in all_but(slots.len(), errors.iter().map(|error| error.row)) {
            self.fill(slots[entry as usize]);
        }
        self.fresh.clear();
    }

    /// As [`Slots::filled`], where no row failed and all windows opened since the last call were handed one.
    pub fn filled_all(&mut self, slots: &[u32]) {
        if self.hollow > self.fresh.len() {
            return self.filled(slots, &[]);
        }
        let mut fresh = std::mem::take(&mut self.fresh);
        fresh.drain(..).for_each(|slot| self.fill(slot));
        self.fresh = fresh;
    }

    fn fill(&mut self, slot: u32) {
        let window = &mut self.all[slot as usize];
        if window.hollow {
            window.hollow = false;
            self.hollow -= 1;
        }
    }

    /// Whether some windows are hollow.
    pub fn has_hollow(&self) -> bool {
        self.hollow > 0
    }

    /// Ends a window that became part of another.
    pub fn merge(&mut self, into: u32, from: u32) {
        let mut ids = self.merged.remove(&from).unwrap_or_default();
        ids.push(self.get(from).id);
        self.merged.entry(into).or_default().append(&mut ids);
        if !self.get(from).hollow {
            self.fill(into);
        }
        self.end(from);
    }

    /// Ends a window. Its slot may be given out again.
    pub fn end(&mut self, slot: u32) {
        self.hollow -= usize::from(self.get(slot).hollow);
        self.all[slot as usize].hollow = false;
        self.all[slot as usize].dirty = false;
        if !self.merged.is_empty() {
            self.merged.remove(&slot);
        }
        self.free.push(slot);
    }

    /// The ids of the sessions that became part of a window.
    pub fn merged(&self, slot: u32) -> &[i64] {
        if self.merged.is_empty() { &[] } else { self.merged.get(&slot).map_or(&[], Vec::as_slice) }
    }

    /// The ids of the sessions that became part of a window that ends, in ascending order.
    pub fn take_merged(&mut self, slot: u32) -> Vec<i64> {
        if self.merged.is_empty() {
            return Vec::new();
        }
        let mut ids = self.merged.remove(&slot).unwrap_or_default();
        ids.sort_unstable();
        ids
    }

    /// How many windows are open.
    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }
}
