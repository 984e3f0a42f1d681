//! How rows are taken in: clocks, lateness, and the way into windows or into the queue.

use super::args::{Late, Rules};
use super::clock::{Clock, Moment, NO_TIME};
use super::entries::Entries;
use super::keys::{Arrival, Key};
use super::machine::{Machine, Scratch};
use super::queue::{Queue, Released};
use super::slots::Slots;
use super::windower::Windower;

impl Machine {
    /// Takes in the rows of a batch, whose keys and times have been found.
    pub(super) fn take_in(&mut self, input: u32, held: Option<u32>, selection: Option<&[u32]>, now: Moment) {
        let stream = self.times.of_stream();
        let Machine { rules, keys, slots, entries, queue, touched, due, scratch, forgotten, groups, .. } = self;
        let Scratch { found, times, marks, late } = scratch;
        let &mut Rules { clock, windower, forget_after, .. } = rules;
        let lets_in_late = rules.late == Late::Window;
        let moves_with_rows = clock.advances() && stream.is_none();
        let is_due_alone = clock == Clock::System || stream.is_some();
        for (at, (&group, &time)) in found.iter().zip(&*times).enumerate() {
            if time == NO_TIME {
                continue;
            }
            let row = selection.map_or(at as u32, |selection| selection[at]);
            let key = &mut keys[group as usize];
            if now.system.saturating_sub(key.seen) >= forget_after {
                renew(key, || forgotten.next_id(groups.hash(group)));
            }
            key.seen = now.system;
            let due_before = key.due;
            let watermark = match stream {
                None => clock.observe(&mut key.clock, time, now),
                Some(stream) => {
                    key.clock = stream;
                    clock.watermark(stream, now)
                }
            };
            // A row's own part of the stream may be further than the stream.
            let bound = if stream.is_none() { watermark } else { watermark.max(marks[at]) };
            let is_late = time < bound;
            let mut arrival = Arrival { key: group, time, open_at: None, row, input: 0 };
            let mut waits = false;
            if let (Some(queue), Some(held)) = (queue.as_mut(), held) {
                if key.due <= watermark {
                    release(queue, key, group, watermark, windower, slots, entries);
                }
                waits = time > watermark && !is_late;
                if waits {
                    queue.wait(group, time, input, held, row);
                    key.due = key.due.min(time);
                } else if !is_late || lets_in_late {
                    let passed = queue.pass(time, input, held, row);
                    (arrival.row, arrival.input) = (passed.row, passed.input);
                }
            }
            if !is_late && !waits {
                windower.enter(key, arrival, slots, entries, |_| {});
            } else if is_late && lets_in_late {
                arrival.open_at = Some(bound);
                windower.enter(key, arrival, slots, entries, |id| late.push((row, id)));
            } else if is_late {
                late.extend(windower.ids(time).map(|id| (row, id)));
            }
            if key.due <= watermark && !key.is_due {
                key.is_due = true;
                due.push(group);
            }
            if (moves_with_rows || is_due_alone && key.due < due_before) && !key.is_touched {
                key.is_touched = true;
                touched.push(group);
            }
        }
    }
}

/// A key is new, or has had no rows for long: in the latter case it is forgotten, unless it has windows or rows that wait.
#[cold]
fn renew(key: &mut Key, next_id: impl Fn() -> i64) {
    if key.due == i64::MAX {
        key.renew(key.next_id.max(next_id()));
    }
}

/// Releases the rows of a key that a watermark has reached, and tells whether there were any.
pub(super) fn release(
    queue: &mut Queue,
    key: &mut Key,
    group: u32,
    watermark: i64,
    windower: Windower,
    slots: &mut Slots,
    entries: &mut Entries,
) -> bool {
    let mut are_some = false;
    while let Some(row) = queue.pop(group, watermark) {
        windower.enter(key, row.arrival(group), slots, entries, |_| {});
        are_some = true;
    }
    are_some
}

impl Released {
    pub(super) fn arrival(self, key: u32) -> Arrival {
        Arrival { key, time: self.time, open_at: None, row: self.row, input: self.input }
    }
}

/// When something is next due for a key; the end of time for never.
pub(super) fn due_of(key: &Key, group: u32, slots: &Slots, windower: Windower, queue: Option<&Queue>) -> i64 {
    key.first_due(slots, windower).min(queue.map_or(i64::MAX, |queue| queue.first(group)))
}
