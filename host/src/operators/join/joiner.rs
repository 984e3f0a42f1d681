//! The rules of a join: which rows come out, and when.

use super::super::groups::OUTPUT_ROWS;
use super::super::rows::RowRef;
use super::super::states::in_chunks;
use super::sides::Layout;
use super::state::{Insert, State};
use crate::dataflow::error::LogicError;
use arrow::array::{BinaryArray, RecordBatch};

/// When rows come out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum EmitMode {
    /// Once every side has a row; the slot then begins anew.
    Complete,
    /// At the end.
    Final,
    /// After every row.
    Running,
}

/// What happens to rows that lack a side.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Incomplete {
    /// They come out, with nulls.
    #[default]
    Null,
    /// They do not come out.
    Drop,
}

/// The modes of a join.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Modes {
    pub insert: Insert,
    pub emit: EmitMode,
    pub incomplete: Incomplete,
}

/// Takes joined rows, and the slot of each.
pub(super) type Give<'a> = &'a mut dyn FnMut(RecordBatch, &[u32]) -> Result<(), LogicError>;

/// A join over slots: keys, or windows.
pub(super) struct Joiner {
    modes: Modes,
    layout: Layout,
    state: State,
    out: Output,
    /// Slots that were cleared in this call, since they were complete.
    completed: Vec<u32>,
}

impl Joiner {
    /// Makes a join of rows as `layout` has them.
    pub fn new(modes: Modes, layout: Layout) -> Self {
        let state = State::new(modes.insert, &layout.kept_schemas());
        let out = Output::new(layout.kept_schemas().len());
        Joiner { modes, layout, state, out, completed: Vec::new() }
    }

    /// Whether rows come out at the end, and not before.
    pub fn is_final(&self) -> bool {
        self.modes.emit == EmitMode::Final
    }

    /// Makes room for slots below `slots`.
    pub fn resize(&mut self, slots: usize) {
        self.state.resize(slots);
    }

    /// Whether nothing of a slot is kept.
    pub fn is_empty(&self, slot: u32) -> bool {
        self.state.is_empty(slot)
    }

    /// Takes in rows of a side: row `index[i]` enters the slot `slots[i]`, in this order.
    ///
    /// # Errors
    /// Rows are too large for one batch, or `give` fails. The same holds for the other calls.
    pub fn on_rows(
        &mut self,
        side: usize,
        slots: &[u32],
        rows: &RecordBatch,
        index: impl Iterator<Item = u32>,
        give: Give<'_>,
    ) -> Result<(), LogicError> {
        let held = self.state.hold(side, self.layout.keep(side, rows)?);
        for (&slot, row) in slots.iter().zip(index) {
            self.state.insert(slot, side, held, row);
            self.changed(slot, give)?;
        }
        self.flush(give)?;
        self.state.settle(Some((side, held)))
    }

    /// The slots that [`Joiner::on_rows`] has emptied since it was asked last, some of which may have rows again.
    pub fn take_completed(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.completed)
    }

    /// Moves the rows of some slots, in order, into others.
    ///
    /// # Errors
    /// As for [`Joiner::on_rows`].
    pub fn merge(&mut self, into: &[u32], from: &[u32], give: Give<'_>) -> Result<(), LogicError> {
        for (&into, &from) in into.iter().zip(from) {
            self.state.merge(into, from);
            self.changed(into, give)?;
        }
        self.flush(give)?;
        self.state.settle(None)
    }

    /// Gives out what some slots come to by now.
    ///
    /// # Errors
    /// As for [`Joiner::on_rows`].
    pub fn early(&mut self, slots: &[u32], give: Give<'_>) -> Result<(), LogicError> {
        slots.iter().try_for_each(|&slot| self.push(slot, give))?;
        self.flush(give)
    }

    /// Ends some slots, and gives out what they came to if that is when rows come out.
    ///
    /// # Errors
    /// As for [`Joiner::on_rows`].
    pub fn end(&mut self, slots: &[u32], give: Give<'_>) -> Result<(), LogicError> {
        for &slot in slots {
            if self.is_final() {
                self.push(slot, give)?;
            }
            self.state.clear(slot);
        }
        self.flush(give)?;
        self.state.settle(None)
    }

    /// Encodes what is kept of some slots, one state each.
    ///
    /// # Errors
    /// Rows have columns of a type that cannot be encoded, or the states are too large together.
    pub fn save(&self, slots: &[u32]) -> Result<BinaryArray, LogicError> {
        in_chunks(slots, |slots| self.state.save(slots))
    }

    /// Takes in what [`Joiner::save`] encoded, of slots that are empty.
    ///
    /// # Errors
    /// It is something else.
    pub fn load(&mut self, slots: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        self.resize(slots.iter().max().map_or(0, |&slot| slot as usize + 1));
        self.state.load(slots, states)
    }

    /// Gives out what is due after a row has come into a slot.
    #[inline]
    fn changed(&mut self, slot: u32, give: Give<'_>) -> Result<(), LogicError> {
        match self.modes.emit {
            EmitMode::Final => {}
            EmitMode::Running => self.push(slot, give)?,
            EmitMode::Complete => {
                if self.state.is_complete(slot) {
                    self.push(slot, give)?;
                    self.state.clear(slot);
                    self.completed.push(slot);
                }
            }
        }
        Ok(())
    }

    /// Adds the rows of a slot to what comes out: each row of each side with each of the others, the last side changing
    /// fastest. A side without rows counts as one that is null.
    fn push(&mut self, slot: u32, give: Give<'_>) -> Result<(), LogicError> {
        let is_wanted = match self.modes.incomplete {
            Incomplete::Null => !self.state.is_empty(slot),
            Incomplete::Drop => self.state.is_complete(slot),
        };
        if !is_wanted {
            return Ok(());
        }
        let sides = self.state.sides();
        self.out.at.fill(0);
        loop {
            for side in 0..sides {
                let row = self.state.rows(slot, side).get(self.out.at[side]).copied();
                self.out.refs[side].push(row);
            }
            self.out.slots.push(slot);
            if self.out.slots.len() >= OUTPUT_ROWS {
                self.flush(give)?;
            }
            let mut side = sides;
            loop {
                if side == 0 {
                    return Ok(());
                }
                side -= 1;
                self.out.at[side] += 1;
                if self.out.at[side] < self.state.rows(slot, side).len() {
                    break;
                }
                self.out.at[side] = 0;
            }
        }
    }

    fn flush(&mut self, give: Give<'_>) -> Result<(), LogicError> {
        if self.out.slots.is_empty() {
            return Ok(());
        }
        let rows = self.layout.joined(self.state.stores(), &self.out.refs)?;
        give(rows, &self.out.slots)?;
        self.out.slots.clear();
        self.out.refs.iter_mut().for_each(Vec::clear);
        Ok(())
    }
}

/// Rows that come out, as references.
struct Output {
    slots: Vec<u32>,
    /// One a side.
    refs: Vec<Vec<Option<RowRef>>>,
    /// By side, which of its rows is next in a cross product.
    at: Vec<usize>,
}

impl Output {
    fn new(sides: usize) -> Self {
        Output { slots: Vec::new(), refs: vec![Vec::new(); sides], at: vec![0; sides] }
    }
}
