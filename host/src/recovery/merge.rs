//! Merging the layers of a slice: the newest state of each key, in the order of the keys' hashes.
//!
//! Blocks are opened when the merge comes to their first key group, so that memory holds one group's blocks of each
//! layer at a time and not the slice.

use super::block::{FULL, Rows};
use super::catalogue::BlockRow;
use crate::data::key::group_of;
use arrow::array::{Array, BinaryArray, BinaryBuilder, StringArray, StringBuilder};
use std::cmp::Ordering;
use std::collections::VecDeque;
use std::ops::Range;

/// Rows of a batch, at most.
const ROWS: usize = 8192;
/// Rows that come from one block one after the other, from which on they are handed over without being copied.
const UNCOPIED: usize = 1024;

/// Some of the rows merged: each key once, sorted.
pub struct Merged {
    pub keys: StringArray,
    pub values: BinaryArray,
    /// The hash of each key.
    pub hashes: Vec<u64>,
}

/// What is merged, and how.
pub struct Merge<'a, E> {
    /// Blocks of one slice, the oldest first.
    pub blocks: Vec<BlockRow>,
    /// Rows of other groups are left out.
    pub groups: Range<u64>,
    /// Whether keys without a state are handed over: needed if something older lies below.
    pub keeps_discarded: bool,
    /// Reads a block.
    pub open: &'a mut dyn FnMut(&BlockRow) -> Result<Rows, E>,
}

impl<E> Merge<'_, E> {
    /// Merges, and hands the rows over in batches.
    ///
    /// # Errors
    /// A block cannot be read; or `each` failed.
    pub fn run(self, each: &mut dyn FnMut(Merged) -> Result<(), E>) -> Result<(), E> {
        let Merge { blocks, groups, keeps_discarded, open } = self;
        // Blocks with the first group that they can have rows of.
        let mut closed: Vec<(u64, usize, BlockRow)> = Vec::new();
        for (age, block) in blocks.into_iter().enumerate() {
            if block.groups.0 < groups.end && block.groups.1 >= groups.start {
                closed.push((block.groups.0.max(groups.start), age, block));
            }
        }
        closed.sort_by_key(|&(start, age, _)| (start, age));
        let mut closed = VecDeque::from(closed);
        let mut cursors: Vec<Cursor> = Vec::new();
        let mut out = Output::new(keeps_discarded);
        loop {
            let group = cursors.iter().map(|cursor| group_of(cursor.hash())).min();
            let group = group.or_else(|| closed.front().map(|&(start, ..)| start));
            let Some(group) = group else { break };
            let before = closed.len();
            while let Some((_, age, block)) = closed.pop_front_if(|&mut (start, ..)| start <= group) {
                cursors.extend(Cursor::new(age, open(&block)?, &groups));
            }
            if closed.len() < before {
                // Those that were opened may begin later than they could, behind others that are closed.
                continue;
            }
            let limit = closed.front().map_or(u64::MAX, |&(start, ..)| start << 54);
            step(&mut cursors, limit, &mut out, each)?;
        }
        out.flush(each)
    }
}

/// Takes the next rows: as many as come from one block, or one key that is in several.
fn step<E>(
    cursors: &mut Vec<Cursor>,
    limit: u64,
    out: &mut Output,
    each: &mut dyn FnMut(Merged) -> Result<(), E>,
) -> Result<(), E> {
    let Some(first) = (0..cursors.len()).min_by(|&a, &b| cursors[a].cmp(&cursors[b])) else { return Ok(()) };
    let others = cursors.iter().enumerate().filter(|&(at, _)| at != first);
    let next = others.map(|(_, cursor)| cursor.hash()).min().unwrap_or(u64::MAX).min(limit);
    if cursors[first].hash() < next {
        let rows = cursors[first].before(next);
        out.append(&cursors[first].rows, rows, each)?;
    } else {
        // The newest of those that have the key; `first` is the oldest of them.
        let is_same = |cursor: &Cursor| cursor.key_order(&cursors[first]) == Ordering::Equal;
        let holders: Vec<usize> = (0..cursors.len()).filter(|&at| is_same(&cursors[at])).collect();
        let newest = holders.iter().copied().max_by_key(|&at| cursors[at].age).unwrap_or(first);
        let row = cursors[newest].at;
        out.append(&cursors[newest].rows, row..row + 1, each)?;
        holders.into_iter().for_each(|at| cursors[at].at += 1);
    }
    cursors.retain(|cursor| cursor.at < cursor.end);
    Ok(())
}

/// A block that is open, and how far the merge is in it.
struct Cursor {
    /// Larger for newer blocks.
    age: usize,
    rows: Rows,
    at: usize,
    end: usize,
}

impl Cursor {
    fn new(age: usize, rows: Rows, groups: &Range<u64>) -> Option<Self> {
        let at = rows.hashes.partition_point(|&hash| group_of(hash) < groups.start);
        let end = rows.hashes.partition_point(|&hash| group_of(hash) < groups.end);
        (at < end).then_some(Cursor { age, rows, at, end })
    }

    fn hash(&self) -> u64 {
        self.rows.hashes[self.at]
    }

    fn key_order(&self, other: &Cursor) -> Ordering {
        let key = |other: &Cursor| self.rows.keys.value(self.at).cmp(other.rows.keys.value(other.at));
        self.hash().cmp(&other.hash()).then_with(|| key(other))
    }

    fn cmp(&self, other: &Cursor) -> Ordering {
        self.key_order(other).then(self.age.cmp(&other.age))
    }

    /// Goes to the first row whose hash is `next` or more; returns the rows before it.
    fn before(&mut self, next: u64) -> Range<usize> {
        let start = self.at;
        while self.at < self.end && self.hash() < next {
            self.at += 1;
        }
        start..self.at
    }
}

/// Rows merged that have not been handed over yet.
struct Output {
    keeps_discarded: bool,
    keys: StringBuilder,
    values: BinaryBuilder,
    hashes: Vec<u64>,
}

impl Output {
    fn new(keeps_discarded: bool) -> Self {
        Output { keeps_discarded, keys: StringBuilder::new(), values: BinaryBuilder::new(), hashes: Vec::new() }
    }

    /// Takes rows of a block in as few pieces as there are: where keys have no state any more, a piece ends.
    fn append<E>(
        &mut self,
        from: &Rows,
        rows: Range<usize>,
        each: &mut dyn FnMut(Merged) -> Result<(), E>,
    ) -> Result<(), E> {
        let is_kept = |row: usize| self.keeps_discarded || from.values.is_valid(row);
        if self.keeps_discarded || from.values.null_count() == 0 {
            return self.append_kept(from, rows, each);
        }
        let mut pieces = Vec::new();
        let mut at = rows.start;
        while at < rows.end {
            let start = at;
            at += (at..rows.end).take_while(|&row| is_kept(row)).count();
            pieces.push(start..at);
            at += (at..rows.end).take_while(|&row| !is_kept(row)).count();
        }
        pieces.into_iter().try_for_each(|piece| self.append_kept(from, piece, each))
    }

    fn append_kept<E>(
        &mut self,
        from: &Rows,
        rows: Range<usize>,
        each: &mut dyn FnMut(Merged) -> Result<(), E>,
    ) -> Result<(), E> {
        let (keys, values) = (from.keys.value_offsets(), from.values.value_offsets());
        let mut at = rows.start;
        while at < rows.end {
            // Up to the row with which the batch is full.
            let bytes = self.keys.values_slice().len() + self.values.values_slice().len();
            let bytes_with = |row: usize| {
                let piece = (keys[row + 1] - keys[at]) + (values[row + 1] - values[at]);
                bytes + usize::try_from(piece).expect("offsets rise")
            };
            let most = rows.end.min(at + ROWS - self.hashes.len());
            let end = most.min(1 + first(at..most, |row| bytes_with(row) >= FULL));
            let is_full = end - at + self.hashes.len() >= ROWS || bytes_with(end - 1) >= FULL;
            let piece = (from.keys.slice(at, end - at), from.values.slice(at, end - at));
            let hashes = &from.hashes[at..end];
            if self.hashes.is_empty() && end - at >= UNCOPIED {
                each(Merged { keys: piece.0, values: piece.1, hashes: hashes.to_vec() })?;
            } else {
                self.hashes.extend_from_slice(hashes);
                self.copy(&piece.0, &piece.1);
                if is_full {
                    self.flush(each)?;
                }
            }
            at = end;
        }
        Ok(())
    }

    fn copy(&mut self, keys: &StringArray, values: &BinaryArray) {
        for (key, value) in keys.iter().zip(values) {
            self.keys.append_value(key.unwrap_or_default());
            self.values.append_option(value);
        }
    }

    fn flush<E>(&mut self, each: &mut dyn FnMut(Merged) -> Result<(), E>) -> Result<(), E> {
        if self.hashes.is_empty() {
            return Ok(());
        }
        let hashes = std::mem::take(&mut self.hashes);
        each(Merged { keys: self.keys.finish(), values: self.values.finish(), hashes })
    }
}

/// The first of some rows, sorted, that is as asked; the end if none is.
fn first(rows: Range<usize>, is_asked: impl Fn(usize) -> bool) -> usize {
    let Range { mut start, mut end } = rows;
    while start < end {
        let middle = start + (end - start) / 2;
        if is_asked(middle) {
            end = middle;
        } else {
            start = middle + 1;
        }
    }
    start
}
