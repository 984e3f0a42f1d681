//! Rows that wait for the watermark, so that they enter their windows by their times.

use super::super::rows::{RowRef, Rows, SavedRows};
use crate::data::batch::Batch;
use crate::dataflow::error::LogicError;
use arrow::datatypes::SchemaRef;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// The rows of all keys that wait, and those that were released but have not been handed on.
pub(super) struct Queue {
    /// By key; the first to be released on top.
    waiting: Vec<BinaryHeap<Reverse<Waiting>>>,
    /// The keys that have rows here, and some that had; and by key whether it is among them.
    keys: Vec<u32>,
    is_listed: Vec<bool>,
    /// How many rows have come to wait.
    count: u64,
    /// By input, where its rows are.
    rows: Vec<Rows>,
    /// By input, what was released.
    released: Vec<Vec<RowRef>>,
}

/// Rows that wait are ordered by time, and rows of one time by when they came.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    time: i64,
    count: u64,
    input: u32,
    row: RowRef,
}

impl Waiting {
    fn rank(&self) -> (i64, u64) {
        (self.time, self.count)
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.rank() == other.rank()
    }
}

impl Eq for Waiting {}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.rank().cmp(&other.rank())
    }
}

/// A row that waits, as it is kept from one execution to the next.
#[derive(Clone, Copy, Debug)]
pub(super) struct Kept {
    pub time: i64,
    pub input: u32,
    pub row: RowRef,
}

/// A row that is about to wait again.
#[derive(Clone, Copy, Debug)]
pub(super) struct Back {
    pub key: u32,
    pub time: i64,
    pub count: u64,
}

/// A row that has been released.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Released {
    pub time: i64,
    pub input: u32,
    /// Its number among the rows of its input that were released.
    pub row: u32,
}

impl Queue {
    /// Holds nothing yet.
    pub fn new(schemas: &[SchemaRef]) -> Self {
        let rows = schemas.iter().cloned().map(Rows::new).collect();
        let (waiting, keys, is_listed) = Default::default();
        Queue { waiting, keys, is_listed, count: 0, rows, released: vec![Vec::new(); schemas.len()] }
    }

    /// The rows of a key that wait, in the order in which they will be released, into `kept`, which is cleared.
    pub fn waiting(&self, key: u32, kept: &mut Vec<Kept>) {
        kept.clear();
        let waiting = &self.waiting[key as usize];
        if waiting.is_empty() {
            return;
        }
        let mut ranked: Vec<Waiting> = waiting.iter().map(|Reverse(waiting)| *waiting).collect();
        ranked.sort_unstable();
        kept.extend(ranked.into_iter().map(|Waiting { time, input, row, .. }| Kept { time, input, row }));
    }

    /// Encodes rows of an input that wait.
    ///
    /// # Errors
    /// They have columns of a type that cannot be encoded.
    pub fn save(&self, input: usize, rows: &[RowRef]) -> Result<SavedRows, LogicError> {
        self.rows[input].save(rows)
    }

    /// A number for a row that comes to wait: greater than those of all before.
    pub fn next_count(&mut self) -> u64 {
        self.count += 1;
        self.count - 1
    }

    /// Rows of an input, which were encoded, wait again, as `back` describes.
    ///
    /// # Errors
    /// They are no rows of the input.
    pub fn put_back(&mut self, input: usize, rows: &[&[u8]], back: &[Back]) -> Result<(), LogicError> {
        for (row, &Back { key, time, count }) in self.rows[input].load(rows)?.into_iter().zip(back) {
            let input = u32::try_from(input).expect("a step has few inputs");
            self.push(key, Waiting { time, count, input, row });
        }
        Ok(())
    }

    /// Makes room for keys below `count`.
    pub fn resize(&mut self, count: usize) {
        self.waiting.resize_with(count, BinaryHeap::new);
        self.is_listed.resize(count, false);
    }

    /// Holds a batch, rows of which are about to come; [`Queue::settle`] must follow.
    pub fn hold(&mut self, input: usize, batch: &Batch) -> u32 {
        self.rows[input].hold(batch.rows().clone())
    }

    /// A row of a held batch waits.
    pub fn wait(&mut self, key: u32, time: i64, input: u32, held: u32, row: u32) {
        let row = self.rows[input as usize].keep(held, row);
        let count = self.next_count();
        self.push(key, Waiting { time, count, input, row });
    }

    fn push(&mut self, key: u32, waiting: Waiting) {
        self.waiting[key as usize].push(Reverse(waiting));
        if !std::mem::replace(&mut self.is_listed[key as usize], true) {
            self.keys.push(key);
        }
    }

    /// A row of a held batch need not wait.
    pub fn pass(&mut self, time: i64, input: u32, held: u32, row: u32) -> Released {
        let row = self.rows[input as usize].keep(held, row);
        self.release(time, input, row)
    }

    /// The time of the first row of a key that waits; the end of time if there is none.
    pub fn first(&self, key: u32) -> i64 {
        self.waiting[key as usize].peek().map_or(i64::MAX, |Reverse(waiting)| waiting.time)
    }

    /// Releases the first row of a key, if a watermark has reached it.
    pub fn pop(&mut self, key: u32, watermark: i64) -> Option<Released> {
        let waiting = &mut self.waiting[key as usize];
        if waiting.peek().is_none_or(|Reverse(first)| first.time > watermark) {
            return None;
        }
        let Reverse(first) = waiting.pop()?;
        if waiting.is_empty() {
            // Most keys have few rows that wait, and some once had many.
            *waiting = BinaryHeap::new();
        }
        Some(self.release(first.time, first.input, first.row))
    }

    fn release(&mut self, time: i64, input: u32, row: RowRef) -> Released {
        let released = &mut self.released[input as usize];
        released.push(row);
        let row = u32::try_from(released.len() - 1).expect("rows are handed on before there are 2^32 of them");
        Released { time, input, row }
    }

    /// The rows that were released, by input, in the order of their numbers.
    ///
    /// # Errors
    /// They are too large for one batch.
    pub fn released(&self) -> Result<Vec<Batch>, LogicError> {
        self.rows.iter().zip(&self.released).map(|(rows, released)| Ok(Batch::new(rows.gather(released)?))).collect()
    }

    /// If all rows that were released are of a batch that is held, which they are.
    pub fn released_of(&self, input: usize, held: u32) -> Option<Vec<u32>> {
        let others = self.released.iter().enumerate().any(|(at, released)| at != input && !released.is_empty());
        if others { None } else { self.released[input].iter().map(|row| row.number_in(held)).collect() }
    }

    /// Lets go of the rows that were released.
    pub fn hand_on(&mut self) {
        for (rows, released) in self.rows.iter_mut().zip(&mut self.released) {
            released.drain(..).for_each(|row| rows.release(row));
        }
    }

    /// Lets a batch go if none of its rows waits.
    ///
    /// # Errors
    /// Rows that wait are too large to be copied together.
    pub fn settle(&mut self, input: usize, held: u32) -> Result<(), LogicError> {
        self.rows[input].settle(held);
        if !self.rows[input].is_wasteful() {
            return Ok(());
        }
        self.keys.retain(|&key| {
            self.is_listed[key as usize] = !self.waiting[key as usize].is_empty();
            self.is_listed[key as usize]
        });
        let keys = self.keys.iter().map(|&key| std::mem::take(&mut self.waiting[key as usize]).into_vec());
        let mut all: Vec<Vec<Reverse<Waiting>>> = keys.collect();
        let of_input = all.iter_mut().flatten().filter(|Reverse(waiting)| waiting.input as usize == input);
        self.rows[input].pack(of_input.map(|Reverse(waiting)| &mut waiting.row))?;
        // Each is a heap still: what orders it has stayed.
        for (&key, waiting) in self.keys.iter().zip(all) {
            self.waiting[key as usize] = BinaryHeap::from(waiting);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::{show, table};
    use super::*;

    #[test]
    fn rows_are_released_by_their_times_and_those_of_one_time_as_they_came() {
        let batch = Batch::new(table("n: int64", &["0", "1", "2", "3"]));
        let mut queue = Queue::new(&[batch.rows().schema()]);
        queue.resize(2);
        let held = queue.hold(0, &batch);
        for (key, time, row) in [(0, 20, 0), (0, 10, 1), (1, 5, 2), (0, 10, 3)] {
            queue.wait(key, time, 0, held, row);
        }
        queue.settle(0, held).unwrap();
        assert_eq!((queue.first(0), queue.first(1)), (10, 5));
        assert_eq!(queue.pop(0, 9), None);
        let mut times = Vec::new();
        while let Some(released) = queue.pop(0, 10) {
            assert_eq!(released.row as usize, times.len());
            times.push(released.time);
        }
        assert_eq!((times, queue.released_of(0, held)), (vec![10, 10], Some(vec![1, 3])));
        assert_eq!(show(&queue.released().unwrap()[0]), ["n=1", "n=3"]);
        queue.hand_on();
        assert_eq!((queue.first(0), queue.released_of(0, held)), (20, Some(vec![])));
    }

    #[test]
    fn rows_that_wait_survive_being_copied_together() {
        let text: Vec<String> = (0..10_000).map(|n| n.to_string()).collect();
        let batch = Batch::new(table("n: int64", &text.iter().map(String::as_str).collect::<Vec<_>>()));
        let mut queue = Queue::new(&[batch.rows().schema()]);
        queue.resize(1);
        for n in 0..50 {
            let held = queue.hold(0, &batch);
            queue.wait(0, 1000 - i64::from(n), 0, held, n);
            queue.settle(0, held).unwrap();
        }
        while queue.pop(0, 1000).is_some() {}
        let wanted: Vec<String> = (0..50).rev().map(|n| format!("n={n}")).collect();
        assert_eq!(show(&queue.released().unwrap()[0]), wanted);
    }
}
