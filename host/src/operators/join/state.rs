//! What a join keeps: rows of every side, by slot.

use super::super::rows::{RowRef, Rows, SavedRows};
use super::super::states::{Reader, States, put_bytes, put_len};
use crate::dataflow::error::LogicError;
use arrow::array::{BinaryArray, RecordBatch};
use arrow::datatypes::SchemaRef;

/// What happens to a row of a side that has one already.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Insert {
    /// It is left out.
    First,
    /// It takes the other's place.
    #[default]
    Last,
    /// Both are kept.
    Product,
}

impl Insert {
    /// Puts a row where at most one may be; returns the one that ends, if there were two.
    fn place(self, there: &mut Option<RowRef>, row: RowRef) -> Option<RowRef> {
        match there {
            Some(_) if self == Insert::First => Some(row),
            _ => there.replace(row),
        }
    }
}

/// The rows that are kept. A *slot* is a key, or a window: who uses this numbers them densely.
pub(super) struct State {
    insert: Insert,
    /// One a side.
    stores: Vec<Rows>,
    kept: Kept,
    /// By side, references that have ended since the last [`State::settle`]. What is about to be given out may be among
    /// them.
    ended: Vec<Vec<RowRef>>,
}

/// By slot and side: that of slot 0 and side 0, slot 0 and side 1, …
enum Kept {
    One(Vec<Option<RowRef>>),
    Many(Vec<Vec<RowRef>>),
}

impl State {
    /// Keeps nothing yet. `schemas` are those of the sides' rows.
    pub fn new(insert: Insert, schemas: &[SchemaRef]) -> Self {
        let kept = match insert {
            Insert::First | Insert::Last => Kept::One(Vec::new()),
            Insert::Product => Kept::Many(Vec::new()),
        };
        let stores = schemas.iter().cloned().map(Rows::new).collect();
        State { insert, stores, kept, ended: vec![Vec::new(); schemas.len()] }
    }

    /// The number of sides.
    pub fn sides(&self) -> usize {
        self.stores.len()
    }

    /// What holds the rows, one a side.
    pub fn stores(&self) -> &[Rows] {
        &self.stores
    }

    /// Makes room for slots below `slots`.
    pub fn resize(&mut self, slots: usize) {
        let length = slots * self.sides();
        match &mut self.kept {
            Kept::One(kept) if kept.len() < length => kept.resize(length, None),
            Kept::Many(kept) if kept.len() < length => kept.resize_with(length, Vec::new),
            _ => {}
        }
    }

    /// Holds a batch of a side, whose rows [`State::insert`] then names; [`State::settle`] must follow.
    pub fn hold(&mut self, side: usize, rows: RecordBatch) -> u32 {
        self.stores[side].hold(rows)
    }

    /// Takes in a row of a batch that is held.
    #[inline]
    pub fn insert(&mut self, slot: u32, side: usize, held: u32, row: u32) {
        let at = slot as usize * self.stores.len() + side;
        match &mut self.kept {
            Kept::Many(kept) => kept[at].push(self.stores[side].keep(held, row)),
            Kept::One(kept) => {
                if self.insert == Insert::First && kept[at].is_some() {
                    return;
                }
                if let Some(before) = kept[at].replace(self.stores[side].keep(held, row)) {
                    self.ended[side].push(before);
                }
            }
        }
    }

    /// The rows of a slot and side, in the order in which they came.
    #[inline]
    pub fn rows(&self, slot: u32, side: usize) -> &[RowRef] {
        let at = slot as usize * self.sides() + side;
        match &self.kept {
            Kept::One(kept) => kept[at].as_slice(),
            Kept::Many(kept) => &kept[at],
        }
    }

    /// Whether every side of a slot has a row.
    pub fn is_complete(&self, slot: u32) -> bool {
        (0..self.sides()).all(|side| !self.rows(slot, side).is_empty())
    }

    /// Whether no side of a slot has a row.
    pub fn is_empty(&self, slot: u32) -> bool {
        (0..self.sides()).all(|side| self.rows(slot, side).is_empty())
    }

    /// Ends the rows of a slot.
    pub fn clear(&mut self, slot: u32) {
        for side in 0..self.sides() {
            let at = slot as usize * self.sides() + side;
            match &mut self.kept {
                Kept::One(kept) => self.ended[side].extend(kept[at].take()),
                Kept::Many(kept) => self.ended[side].append(&mut kept[at]),
            }
        }
    }

    /// Moves the rows of a slot into another one, as if they had come after those that are there.
    pub fn merge(&mut self, into: u32, from: u32) {
        for side in 0..self.sides() {
            let at = |slot: u32| slot as usize * self.stores.len() + side;
            match &mut self.kept {
                Kept::Many(kept) => {
                    let mut rows = std::mem::take(&mut kept[at(from)]);
                    kept[at(into)].append(&mut rows);
                }
                Kept::One(kept) => {
                    let Some(row) = kept[at(from)].take() else { continue };
                    self.ended[side].extend(self.insert.place(&mut kept[at(into)], row));
                }
            }
        }
    }

    /// Lets rows go that nothing refers to any more. Called once what came of the rows before has been copied.
    ///
    /// # Errors
    /// Rows that are copied together are too large for one batch.
    pub fn settle(&mut self, side_and_held: Option<(usize, u32)>) -> Result<(), LogicError> {
        for (store, ended) in self.stores.iter_mut().zip(&mut self.ended) {
            ended.drain(..).for_each(|row| store.release(row));
        }
        if let Some((side, held)) = side_and_held {
            self.stores[side].settle(held);
        }
        let sides = self.stores.len();
        for (side, store) in self.stores.iter_mut().enumerate().filter(|(_, store)| store.is_wasteful()) {
            match &mut self.kept {
                Kept::One(kept) => store.pack(kept.iter_mut().skip(side).step_by(sides).flatten())?,
                Kept::Many(kept) => store.pack(kept.iter_mut().skip(side).step_by(sides).flatten())?,
            }
        }
        Ok(())
    }

    /// Encodes the rows of some slots: of each side how many there are, then each of them.
    ///
    /// # Errors
    /// Rows have columns of a type that cannot be encoded, or they are too large together.
    pub fn save(&self, slots: &[u32]) -> Result<BinaryArray, LogicError> {
        let of_side = |side: usize| {
            let rows: Vec<RowRef> = slots.iter().flat_map(|&slot| self.rows(slot, side)).copied().collect();
            self.stores[side].save(&rows)
        };
        let saved = (0..self.sides()).map(of_side).collect::<Result<Vec<SavedRows>, _>>()?;
        let mut saved: Vec<_> = saved.iter().map(SavedRows::iter).collect();
        let mut states = States::with_capacity(slots.len());
        for &slot in slots {
            states.push(|state| {
                for (side, rows) in saved.iter_mut().enumerate() {
                    let count = self.rows(slot, side).len();
                    put_len(state, count);
                    rows.take(count).for_each(|row| put_bytes(state, row));
                }
            })?;
        }
        Ok(states.finish())
    }

    /// Takes in rows of some slots as [`State::save`] encoded them, as if they had come after those that are there.
    ///
    /// # Errors
    /// They are something else.
    pub fn load(&mut self, slots: &[u32], states: &BinaryArray) -> Result<(), LogicError> {
        // By side, the slot and the bytes of each row.
        let mut read: Vec<(Vec<u32>, Vec<&[u8]>)> = vec![Default::default(); self.sides()];
        for (at, &slot) in slots.iter().enumerate() {
            let mut reader = Reader(states.value(at));
            for (slots, rows) in &mut read {
                for _ in 0..reader.len()? {
                    slots.push(slot);
                    rows.push(reader.bytes()?);
                }
            }
            reader.end()?;
        }
        let sides = self.sides();
        for (side, (slots, rows)) in read.into_iter().enumerate() {
            for (slot, row) in slots.into_iter().zip(self.stores[side].load(&rows)?) {
                let at = slot as usize * sides + side;
                match &mut self.kept {
                    Kept::Many(kept) => kept[at].push(row),
                    Kept::One(kept) => self.ended[side].extend(self.insert.place(&mut kept[at], row)),
                }
            }
        }
        self.settle(None)
    }
}
