//! What is kept of a key, and how its rows find their windows.

use super::clock::KeyClock;
use super::entries::Entries;
use super::slots::{NONE, Slots};
use super::windower::{Aligned, Windower};

/// A key: the one line of memory that each of its rows looks at.
#[derive(Clone, Debug)]
#[repr(align(64))]
pub(super) struct Key {
    pub clock: KeyClock,
    /// A watermark below which nothing is to be done for the key: none of its windows closes, none of its rows that wait
    /// is released. The end of time if it has neither.
    pub due: i64,
    /// The window last entered, and its bounds, which hold no time if there is none.
    hint: u32,
    hint_open: i64,
    hint_close: i64,
    /// The window that closes first.
    pub first: u32,
    /// The system time at which it last had a row.
    pub seen: i64,
    /// The id of its next session.
    pub next_id: i64,
    /// Whether it is in the list of keys that need an alarm.
    pub is_touched: bool,
    /// Whether it is in the list of keys of which something is due.
    pub is_due: bool,
}

impl Key {
    /// A key that has had no row.
    pub const NEW: Key = Key {
        clock: KeyClock::NEW,
        due: i64::MAX,
        hint: NONE,
        hint_open: i64::MAX,
        hint_close: i64::MIN,
        first: NONE,
        seen: i64::MIN,
        next_id: 0,
        is_touched: false,
        is_due: false,
    };

    /// Begins anew, as a key that has had no row; its sessions are numbered from `next_id`.
    pub fn renew(&mut self, next_id: i64) {
        *self = Key { next_id, is_touched: self.is_touched, is_due: self.is_due, ..Key::NEW };
    }

    /// Takes the window that closes first out of the key's list, if it closes at a watermark.
    pub fn close_first(&mut self, slots: &Slots, windower: Windower, watermark: i64) -> Option<u32> {
        let slot = self.first;
        if slot == NONE || windower.due(slots.get(slot).close) > watermark {
            return None;
        }
        self.first = slots.get(slot).next;
        if slot == self.hint {
            (self.hint, self.hint_open, self.hint_close) = (NONE, i64::MAX, i64::MIN);
        }
        Some(slot)
    }

    /// When its first window closes; the end of time if it has none.
    pub fn first_due(&self, slots: &Slots, windower: Windower) -> i64 {
        if self.first == NONE { i64::MAX } else { windower.due(slots.get(self.first).close) }
    }
}

/// A row that enters windows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Arrival {
    pub key: u32,
    pub time: i64,
    /// The watermark, if windows that have closed at it must not be entered: of rows that are on time none such exist.
    pub open_at: Option<i64>,
    pub row: u32,
    pub input: u32,
}

impl Windower {
    /// Puts a row into its windows, and opens those that are not there. The ids for which it is late go to `late`.
    #[inline]
    pub fn enter(self, key: &mut Key, row: Arrival, slots: &mut Slots, entries: &mut Entries, late: impl FnMut(i64)) {
        match self {
            Windower::Aligned { length, every, align_to } => {
                let windows = Aligned { length, every, align_to };
                // Only tumbling windows leave bounds.
                if key.hint_open <= row.time && row.time < key.hint_close && row.open_at.is_none() {
                    entries.push(slots, key.hint, row.row, row.input);
                } else {
                    windows.enter(key, row, slots, entries, late);
                }
            }
            Windower::Session { gap } => enter_session(gap, key, row, slots, entries, late),
        }
    }
}

impl Aligned {
    fn enter(self, key: &mut Key, row: Arrival, slots: &mut Slots, entries: &mut Entries, late: impl FnMut(i64)) {
        let (mut oldest, newest) = (self.oldest(row.time), self.newest(row.time));
        if let Some(watermark) = row.open_at {
            let open = self.oldest(watermark).min(newest + 1);
            (oldest..open).for_each(late);
            oldest = oldest.max(open);
        }
        if oldest > newest {
            return;
        }
        // One walk along the key's windows, from the one last entered if that is not too far.
        let mut before = NONE;
        let mut at = key.first;
        if key.hint != NONE && slots.get(key.hint).id <= oldest {
            at = key.hint;
        }
        while at != NONE && slots.get(at).id < oldest {
            (before, at) = (at, slots.get(at).next);
        }
        for id in oldest..=newest {
            if at == NONE || slots.get(at).id != id {
                let (open, close) = self.bounds(id);
                at = slots.open(row.key, id, open, close, at);
                link(key, slots, before, at);
                key.due = key.due.min(close);
            }
            entries.push(slots, at, row.row, row.input);
            if id == oldest {
                key.hint = at;
                if self.length == self.every {
                    let window = slots.get(at);
                    (key.hint_open, key.hint_close) = (window.open, window.close);
                }
            }
            (before, at) = (at, slots.get(at).next);
        }
    }
}

/// Sessions of a key are further apart than the gap, so that their list is in the order of their times. Only such as have
/// closed and are about to be taken out may be nearer; they come first.
fn enter_session(
    gap: i64,
    key: &mut Key,
    row: Arrival,
    slots: &mut Slots,
    entries: &mut Entries,
    mut late: impl FnMut(i64),
) {
    let time = row.time;
    // Sessions that ended before are closed.
    let open = row.open_at.map_or(i64::MIN, |watermark| watermark.saturating_sub(gap));
    let mut before = NONE;
    let mut at = key.first;
    while at != NONE && slots.get(at).close < open.max(time - gap) {
        (before, at) = (at, slots.get(at).next);
    }
    if at == NONE || slots.get(at).open > time + gap {
        if time < open {
            return late(-1);
        }
        let slot = slots.open(row.key, key.next_id, time, time, at);
        key.next_id += 1;
        link(key, slots, before, slot);
        key.due = key.due.min(Windower::Session { gap }.due(time));
        return entries.push(slots, slot, row.row, row.input);
    }
    let after = slots.get(at).next;
    let joins_two = after != NONE && slots.get(after).open <= time + gap;
    // Of two sessions that it is near to, a row enters the one that was there first.
    let entered = if joins_two && slots.get(after).opened < slots.get(at).opened { after } else { at };
    let window = slots.get_mut(entered);
    window.open = window.open.min(time);
    window.close = window.close.max(time);
    entries.push(slots, entered, row.row, row.input);
    if joins_two {
        let (close, next) = (slots.get(after).close, slots.get(after).next);
        entries.merge(slots, at, after);
        let window = slots.get_mut(at);
        (window.close, window.next) = (close, next);
    }
}

/// Puts a window into its key's list, behind another or at the front.
fn link(key: &mut Key, slots: &mut Slots, before: u32, slot: u32) {
    if before == NONE {
        key.first = slot;
    } else {
        slots.get_mut(before).next = slot;
    }
}
