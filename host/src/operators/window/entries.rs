//! Which rows enter which windows, in an order that does not depend on where batches are cut.
//!
//! Logic is called with many rows of many windows at once. What must not change places is what happens to one window:
//! its rows, its merges, and the rows of several inputs. So each entry and each merge gets a *stage*, the least one at
//! which everything that its windows went through before is done: within a stage first all rows enter, then the merges
//! take place. One key with many merges makes many stages; the others stay together.

use super::slots::Slots;

/// Entries and merges that are still to be made.
pub(super) struct Entries {
    slots: Vec<u32>,
    rows: Vec<u32>,
    /// The stage of each entry; empty where all are of the first.
    stages: Vec<u32>,
    merges: Vec<Merge>,
    is_staged: bool,
    /// How many inputs have rows here. Rows of input `i` enter in stages that leave `i` when divided by this.
    inputs: u32,
    /// The stages before all that are counted here.
    base: u64,
    /// One more than the last stage in use.
    count: u32,
}

#[derive(Clone, Copy)]
struct Merge {
    stage: u32,
    into: u32,
    from: u32,
}

/// What happens at once.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Stage {
    /// The input that the rows are of.
    pub input: usize,
    /// The windows that rows enter, and for each the row.
    pub slots: Vec<u32>,
    pub rows: Vec<u32>,
    /// Afterwards, the windows that others become part of, and which.
    pub into: Vec<u32>,
    pub from: Vec<u32>,
}

impl Entries {
    /// Holds nothing yet. Unless it `is_staged`, there are no merges, and rows of one input.
    pub fn new(is_staged: bool, inputs: usize) -> Self {
        let inputs = u32::try_from(inputs).expect("a step has few inputs");
        let (slots, rows, stages, merges) = Default::default();
        Entries { slots, rows, stages, merges, is_staged, inputs, base: 0, count: 0 }
    }

    pub fn is_staged(&self) -> bool {
        self.is_staged
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// A row of an input enters a window.
    #[inline]
    pub fn push(&mut self, slots: &mut Slots, slot: u32, row: u32, input: u32) {
        self.slots.push(slot);
        self.rows.push(row);
        if self.is_staged {
            let window = slots.get_mut(slot);
            let least = self.relative(window.stage);
            // The next stage that is of this input.
            let stage = least + (input + self.inputs - least % self.inputs) % self.inputs;
            window.stage = self.base + u64::from(stage);
            self.stages.push(stage);
            self.count = self.count.max(stage + 1);
        }
    }

    /// A window becomes part of another.
    pub fn merge(&mut self, slots: &mut Slots, into: u32, from: u32) {
        let stage = self.relative(slots.get(into).stage.max(slots.get(from).stage));
        // What happens next to it happens after the merge.
        slots.get_mut(into).stage = self.base + u64::from(stage) + 1;
        self.merges.push(Merge { stage, into, from });
        self.count = self.count.max(stage + 1);
    }

    fn relative(&self, stage: u64) -> u32 {
        u32::try_from(stage.saturating_sub(self.base)).expect("there are no more stages than entries and merges")
    }

    /// Takes out everything, in the order of the stages.
    pub fn take(&mut self) -> Vec<Stage> {
        let (slots, rows, stages) =
            (std::mem::take(&mut self.slots), std::mem::take(&mut self.rows), std::mem::take(&mut self.stages));
        let count = std::mem::take(&mut self.count);
        self.base += u64::from(count);
        if count <= 1 && self.merges.is_empty() {
            return vec![Stage { slots, rows, ..Stage::default() }];
        }
        let input = |stage: u32| (stage % self.inputs) as usize;
        let mut taken: Vec<Stage> = (0..count).map(|at| Stage { input: input(at), ..Stage::default() }).collect();
        for ((slot, row), stage) in slots.into_iter().zip(rows).zip(stages) {
            taken[stage as usize].slots.push(slot);
            taken[stage as usize].rows.push(row);
        }
        for Merge { stage, into, from } in self.merges.drain(..) {
            taken[stage as usize].into.push(into);
            taken[stage as usize].from.push(from);
        }
        taken
    }

    /// Gives back what was taken, for its memory.
    pub fn give_back(&mut self, stage: Stage) {
        if self.slots.is_empty() && stage.slots.capacity() > self.slots.capacity() {
            (self.slots, self.rows) = (stage.slots, stage.rows);
            self.slots.clear();
            self.rows.clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(count: u32) -> Slots {
        let mut slots = Slots::default();
        for slot in 0..count {
            slots.open(0, slot.into(), 0, 0, super::super::slots::NONE);
        }
        slots
    }

    fn shown(entries: &mut Entries) -> Vec<String> {
        let stage = |stage: &Stage| {
            let rows: Vec<String> = stage.slots.iter().zip(&stage.rows).map(|(s, r)| format!("{r}->{s}")).collect();
            let merges = stage.into.iter().zip(&stage.from).map(|(into, from)| format!("{from}=>{into}"));
            format!("{}: {}", stage.input, rows.into_iter().chain(merges).collect::<Vec<_>>().join(" "))
        };
        entries.take().iter().map(stage).collect()
    }

    #[test]
    fn what_follows_a_merge_in_a_window_waits_for_it_and_other_windows_do_not() {
        let (mut slots, mut entries) = (slots(5), Entries::new(true, 1));
        entries.push(&mut slots, 0, 10, 0);
        entries.push(&mut slots, 1, 11, 0);
        entries.merge(&mut slots, 0, 1);
        entries.push(&mut slots, 0, 12, 0);
        entries.push(&mut slots, 2, 13, 0);
        entries.merge(&mut slots, 3, 0);
        entries.push(&mut slots, 3, 14, 0);
        entries.push(&mut slots, 4, 15, 0);
        let wanted = ["0: 10->0 11->1 13->2 15->4 1=>0", "0: 12->0 0=>3", "0: 14->3"];
        assert_eq!(shown(&mut entries), wanted);
        // What was done before is over.
        entries.push(&mut slots, 3, 16, 0);
        assert_eq!(shown(&mut entries), ["0: 16->3"]);
    }

    #[test]
    fn rows_of_several_inputs_enter_a_window_in_their_order() {
        let (mut slots, mut entries) = (slots(2), Entries::new(true, 2));
        for (slot, row, input) in [(0, 10, 1), (0, 11, 0), (1, 12, 0), (0, 13, 0), (1, 14, 1)] {
            entries.push(&mut slots, slot, row, input);
        }
        assert_eq!(shown(&mut entries), ["0: 12->1", "1: 10->0 14->1", "0: 11->0 13->0"]);
        entries.push(&mut slots, 0, 15, 1);
        assert_eq!(shown(&mut entries), ["0: ", "1: 15->0"]);
    }
}
