//! Pairs of rows whose times are near each other: the rules of `interval_join`.
//!
//! A left and a right row of a key are a pair if the right one's time is at most `before` before the left one's, and at
//! most `after` after it. Each side of each key has a watermark of its own, by which its rows are late. A row is kept
//! until the *other* side's watermark says that no partner can come any more. A row that is on time therefore finds all
//! its partners, in whatever order the two sides come.

use super::super::groups::OUTPUT_ROWS;
use super::super::rows::{RowRef, Rows};
use super::super::states::{Reader, States, in_chunks, put_bytes, put_i64, put_len};
use super::super::timeline::{Timed, Timeline};
use super::super::window::{Clock, KeyClock, Moment};
use super::sides::{Layout, Sides, structs};
use crate::data::schema::{Type, schema_of};
use crate::dataflow::error::LogicError;
use arrow::array::{ArrayRef, BinaryArray, RecordBatch, StringArray};
use arrow::datatypes::SchemaRef;
use std::sync::Arc;

/// The ports of the step.
pub(super) const DOWN: usize = 0;
pub(super) const LATE: usize = 1;
pub(super) const UNPAIRED: usize = 2;

/// Takes rows of a port, and the group of each.
pub(super) type Give<'a> = &'a mut dyn FnMut(usize, RecordBatch, &[u32]) -> Result<(), LogicError>;

/// How far apart the rows of a pair may be, in microseconds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reach {
    /// How much earlier the right row may be.
    pub before: i64,
    /// How much later.
    pub after: i64,
}

impl Reach {
    /// The times, both included, of the partners of a row of a side.
    fn partners(self, side: usize, time: i64) -> (i64, i64) {
        let (back, ahead) = if side == 0 { (self.before, self.after) } else { (self.after, self.before) };
        (time.saturating_sub(back), time.saturating_add(ahead))
    }

    /// How much later than a row of a side its last partner may be.
    fn ahead(self, side: usize) -> i64 {
        if side == 0 { self.after } else { self.before }
    }
}

/// Rows of a side: row `index[i]` of `rows`, of the group `groups[i]`, happened at `times[i]`.
pub(super) struct Arrived<'a, I> {
    pub side: usize,
    pub groups: &'a [u32],
    pub times: &'a [i64],
    pub rows: &'a RecordBatch,
    pub index: I,
}

/// The two sides of a join by times, for all keys of a worker.
pub(super) struct Pairs {
    reach: Reach,
    clocks: [Clock; 2],
    layout: Layout,
    stores: [Rows; 2],
    /// By group and side.
    kept: Vec<Kept>,
    pairs: Output,
    late: Output,
    unpaired: Output,
    /// What rows of one side look like.
    singles: Singles,
    /// By side, references that have ended in this call. What is about to be given out may be among them.
    ended: [Vec<RowRef>; 2],
}

/// A side of a key.
#[derive(Default)]
struct Kept {
    clock: Option<KeyClock>,
    rows: Timeline,
}

impl Kept {
    fn watermark(&self, clock: Clock, now: Moment) -> i64 {
        clock.watermark(self.clock.unwrap_or(KeyClock::NEW), now)
    }
}

impl Pairs {
    /// Keeps nothing yet. There must be two sides.
    pub fn new(sides: &Sides, reach: Reach, clocks: [Clock; 2]) -> Self {
        let layout = sides.layout_of_whole_rows();
        let stores = [0, 1].map(|side: usize| Rows::new(sides.sides[side].schema.clone()));
        Pairs {
            reach,
            clocks,
            layout,
            stores,
            kept: Vec::new(),
            pairs: Output::default(),
            late: Output::default(),
            unpaired: Output::default(),
            singles: Singles::new(sides),
            ended: Default::default(),
        }
    }

    /// Makes room for groups below `groups`.
    pub fn resize(&mut self, groups: usize) {
        if self.kept.len() < 2 * groups {
            self.kept.resize_with(2 * groups, Kept::default);
        }
    }

    /// Whether no row of a group is kept.
    pub fn is_empty(&self, group: u32) -> bool {
        (0..2).all(|side| self.kept[at(group, side)].rows.first().is_none())
    }

    /// Takes in rows of a side. `now` is what time it is for each side.
    ///
    /// # Errors
    /// Rows are too large for one batch, or `give` fails. The same holds for the other calls.
    pub fn on_rows(
        &mut self,
        arrived: Arrived<'_, impl Iterator<Item = u32>>,
        now: [Moment; 2],
        give: Give<'_>,
    ) -> Result<(), LogicError> {
        let Arrived { side, groups, times, rows, index } = arrived;
        let held = self.stores[side].hold(rows.clone());
        for ((&group, &time), row) in groups.iter().zip(times).zip(index) {
            let row = self.stores[side].keep(held, row);
            self.on_row(side, group, time, row, now);
            self.flush_full(give)?;
        }
        for &group in groups {
            self.expire_group(group, now);
            self.flush_full(give)?;
        }
        self.settle(give)?;
        self.stores[side].settle(held);
        Ok(())
    }

    fn on_row(&mut self, side: usize, group: u32, time: i64, row: RowRef, now: [Moment; 2]) {
        let clock = self.kept[at(group, side)].clock.get_or_insert(KeyClock::NEW);
        if self.clocks[side].observe(clock, time, now[side]) > time {
            self.late.push_one(group, side, row);
            self.ended[side].push(row);
            return;
        }
        let (first, last) = self.reach.partners(side, time);
        let other = 1 - side;
        let mut is_used = false;
        for partner in self.kept[at(group, other)].rows.between(first, last) {
            partner.is_used = true;
            is_used = true;
            let pair = if side == 0 { [row, partner.row] } else { [partner.row, row] };
            self.pairs.push(group, pair.map(Some));
        }
        if self.kept[at(group, other)].watermark(self.clocks[other], now[other]) <= last {
            self.kept[at(group, side)].rows.insert(Timed { time, row, is_used });
            return;
        }
        if !is_used {
            self.unpaired.push_one(group, side, row);
        }
        self.ended[side].push(row);
    }

    /// Lets the rows of some groups go for which no partner can come any more.
    ///
    /// # Errors
    /// As for [`Pairs::on_rows`].
    pub fn expire(&mut self, groups: &[u32], now: [Moment; 2], give: Give<'_>) -> Result<(), LogicError> {
        for &group in groups {
            self.expire_group(group, now);
            self.flush_full(give)?;
        }
        self.settle(give)
    }

    fn expire_group(&mut self, group: u32, now: [Moment; 2]) {
        for side in 0..2 {
            let other = 1 - side;
            let watermark = self.kept[at(group, other)].watermark(self.clocks[other], now[other]);
            let limit = watermark.saturating_sub(self.reach.ahead(side));
            let Pairs { kept, unpaired, ended, .. } = self;
            kept[at(group, side)].rows.take_before(limit, |timed| {
                if !timed.is_used {
                    unpaired.push_one(group, side, timed.row);
                }
                ended[side].push(timed.row);
            });
        }
    }

    /// Ends some groups, whose rows go out in the order of their times as far as they are unpaired.
    ///
    /// # Errors
    /// As for [`Pairs::on_rows`].
    pub fn end(&mut self, groups: &[u32], give: Give<'_>) -> Result<(), LogicError> {
        for &group in groups {
            let [left, right] = [0, 1].map(|side| std::mem::take(&mut self.kept[at(group, side)]).rows);
            let (mut left, mut right) = (left.into_rows().peekable(), right.into_rows().peekable());
            loop {
                let is_left = match (left.peek(), right.peek()) {
                    (Some(left), Some(right)) => left.time <= right.time,
                    (left, _) => left.is_some(),
                };
                let (side, next) = if is_left { (0, left.next()) } else { (1, right.next()) };
                let Some(timed) = next else { break };
                if !timed.is_used {
                    self.unpaired.push_one(group, side, timed.row);
                }
                self.ended[side].push(timed.row);
                self.flush_full(give)?;
            }
        }
        self.settle(give)
    }

    /// When, in idle time, the first row of a group goes for which no partner can come any more. None: never, if no row
    /// comes.
    pub fn deadline(&self, group: u32) -> Option<i64> {
        let deadline = |side: usize| {
            let due = self.kept[at(group, side)].rows.first()?.saturating_add(self.reach.ahead(side)).saturating_add(1);
            self.clocks[1 - side].reaches(self.kept[at(group, 1 - side)].clock?, due)
        };
        deadline(0).into_iter().chain(deadline(1)).min()
    }

    /// Encodes what is kept of some groups: of each side its watermark and, of each row, its time, whether it was in a
    /// pair, and the row.
    ///
    /// # Errors
    /// Rows have columns of a type that cannot be encoded, or the states are too large together.
    pub fn save(&self, groups: &[u32], now: [Moment; 2]) -> Result<BinaryArray, LogicError> {
        in_chunks(groups, |groups| self.save_chunk(groups, now))
    }

    fn save_chunk(&self, groups: &[u32], now: [Moment; 2]) -> Result<BinaryArray, LogicError> {
        let of_side = |side: usize| {
            let rows = groups.iter().flat_map(|&group| self.kept[at(group, side)].rows.iter());
            self.stores[side].save(&rows.map(|timed| timed.row).collect::<Vec<_>>())
        };
        let saved = [of_side(0)?, of_side(1)?];
        let mut saved = saved.each_ref().map(|saved| saved.iter());
        let mut states = States::with_capacity(groups.len());
        for &group in groups {
            states.push(|state| {
                for (side, rows) in saved.iter_mut().enumerate() {
                    let kept = &self.kept[at(group, side)];
                    put_i64(state, kept.clock.unwrap_or(KeyClock::NEW).save(now[side]));
                    put_len(state, kept.rows.len());
                    for (timed, row) in kept.rows.iter().zip(rows) {
                        put_i64(state, timed.time);
                        state.push(u8::from(timed.is_used));
                        put_bytes(state, row);
                    }
                }
            })?;
        }
        Ok(states.finish())
    }

    /// Takes in what [`Pairs::save`] encoded, of groups that are empty.
    ///
    /// # Errors
    /// It is something else.
    pub fn load(&mut self, groups: &[u32], states: &BinaryArray, now: [Moment; 2]) -> Result<(), LogicError> {
        // By side, the place of each row, and its bytes.
        let mut read: [(Vec<Place>, Vec<&[u8]>); 2] = Default::default();
        for (index, &group) in groups.iter().enumerate() {
            let mut state = Reader(states.value(index));
            for (side, (places, rows)) in read.iter_mut().enumerate() {
                let watermark = state.i64()?;
                self.kept[at(group, side)].clock = Some(KeyClock::load(watermark, now[side]));
                for _ in 0..state.len()? {
                    places.push((group, state.i64()?, state.byte()? != 0));
                    rows.push(state.bytes()?);
                }
            }
            state.end()?;
        }
        for (side, (places, rows)) in read.into_iter().enumerate() {
            for ((group, time, is_used), row) in places.into_iter().zip(self.stores[side].load(&rows)?) {
                self.kept[at(group, side)].rows.insert(Timed { time, row, is_used });
            }
        }
        Ok(())
    }

    fn flush_full(&mut self, give: Give<'_>) -> Result<(), LogicError> {
        let is_full = |output: &Output| output.groups.len() >= OUTPUT_ROWS;
        if [&self.pairs, &self.late, &self.unpaired].into_iter().any(is_full) { self.flush(give) } else { Ok(()) }
    }

    fn flush(&mut self, give: Give<'_>) -> Result<(), LogicError> {
        for (port, output) in [(DOWN, &mut self.pairs), (LATE, &mut self.late), (UNPAIRED, &mut self.unpaired)] {
            for (groups, refs) in output.pieces() {
                let rows = match port {
                    DOWN => self.layout.joined(&self.stores, &refs)?,
                    _ => self.singles.rows(&self.stores, &refs)?,
                };
                give(port, rows, groups)?;
            }
            output.clear();
        }
        Ok(())
    }

    /// Gives out what there is, and lets rows go that nothing refers to any more.
    fn settle(&mut self, give: Give<'_>) -> Result<(), LogicError> {
        self.flush(give)?;
        for (side, (store, ended)) in self.stores.iter_mut().zip(&mut self.ended).enumerate() {
            ended.drain(..).for_each(|row| store.release(row));
            if store.is_wasteful() {
                store.pack(self.kept.iter_mut().skip(side).step_by(2).flat_map(|kept| kept.rows.refs_mut()))?;
            }
        }
        Ok(())
    }
}

/// The group and the time of a row, and whether it was in a pair.
type Place = (u32, i64, bool);

fn at(group: u32, side: usize) -> usize {
    2 * group as usize + side
}

/// Rows that come out, as references.
#[derive(Default)]
struct Output {
    groups: Vec<u32>,
    refs: [Vec<Option<RowRef>>; 2],
}

impl Output {
    fn push(&mut self, group: u32, rows: [Option<RowRef>; 2]) {
        self.groups.push(group);
        self.refs.iter_mut().zip(rows).for_each(|(refs, row)| refs.push(row));
    }

    fn push_one(&mut self, group: u32, side: usize, row: RowRef) {
        let mut rows = [None, None];
        rows[side] = Some(row);
        self.push(group, rows);
    }

    /// What there is, in pieces of the size of a batch.
    fn pieces(&self) -> impl Iterator<Item = (&[u32], [&[Option<RowRef>]; 2])> {
        let [left, right] = self.refs.each_ref().map(|refs| refs.chunks(OUTPUT_ROWS));
        self.groups.chunks(OUTPUT_ROWS).zip(left.zip(right)).map(|(groups, (left, right))| (groups, [left, right]))
    }

    fn clear(&mut self) {
        self.groups.clear();
        self.refs.iter_mut().for_each(Vec::clear);
    }
}

/// Rows of one side or the other: which side, and a struct for each, of which one is not null.
pub(super) struct Singles {
    names: [String; 2],
    pub schema: SchemaRef,
}

impl Singles {
    /// Finds out the schema for two sides.
    pub fn new(sides: &Sides) -> Self {
        let names = [0, 1].map(|side: usize| sides.sides[side].name.clone());
        let columns = sides.sides.iter().map(|side| {
            let members = side.schema.fields().iter().map(|field| (field.name().clone(), Type::of(field)));
            (side.name.clone(), Type::Struct(members.collect()))
        });
        let columns: Vec<_> = std::iter::once(("side".to_owned(), Type::String)).chain(columns).collect();
        Singles { names, schema: schema_of(&columns) }
    }

    fn rows(&self, stores: &[Rows; 2], refs: &[&[Option<RowRef>]; 2]) -> Result<RecordBatch, LogicError> {
        let names = refs[0].iter().map(|left| Some(&*self.names[usize::from(left.is_none())]));
        let mut columns: Vec<ArrayRef> = vec![Arc::new(names.collect::<StringArray>())];
        for (store, refs) in stores.iter().zip(refs) {
            let all: Vec<usize> = (0..store.schema().fields().len()).collect();
            let ty = self.schema.field(columns.len()).data_type();
            columns.push(Arc::new(structs(ty, store.columns(&all, refs)?, refs)?));
        }
        Ok(RecordBatch::try_new(self.schema.clone(), columns)?)
    }
}
