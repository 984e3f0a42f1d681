//! Rows of a key in the order of their times.

use super::rows::RowRef;
use std::collections::VecDeque;

/// Room for rows that an empty timeline keeps.
const ROOM: usize = 16;

/// A row that is kept for its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timed {
    /// In microseconds since 1970.
    pub time: i64,
    pub row: RowRef,
    /// Whether something has come of the row already.
    pub is_used: bool,
}

/// Rows by time; those of one time in the order in which they came.
#[derive(Clone, Debug, Default)]
pub(super) struct Timeline {
    rows: VecDeque<Timed>,
}

impl Timeline {
    /// Takes in a row: at once where times rise, else by moving those that are later.
    pub fn insert(&mut self, timed: Timed) {
        match self.rows.back() {
            Some(last) if last.time > timed.time => {
                let at = self.rows.partition_point(|other| other.time <= timed.time);
                self.rows.insert(at, timed);
            }
            _ => self.rows.push_back(timed),
        }
    }

    /// The time of the first row.
    pub fn first(&self) -> Option<i64> {
        self.rows.front().map(|first| first.time)
    }

    /// The rows from one time to another, both included.
    pub fn between(&mut self, first: i64, last: i64) -> impl Iterator<Item = &mut Timed> {
        let start = self.rows.partition_point(|other| other.time < first);
        let end = self.rows.partition_point(|other| other.time <= last);
        self.rows.range_mut(start..end.max(start))
    }

    /// Takes out the rows before a time, which is not included.
    pub fn take_before(&mut self, time: i64, take: impl FnMut(Timed)) {
        let end = self.rows.partition_point(|other| other.time < time);
        self.rows.drain(..end).for_each(take);
        if self.rows.is_empty() && self.rows.capacity() > ROOM {
            self.rows = VecDeque::new();
        }
    }

    /// The number of rows.
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// All rows, in order.
    pub fn iter(&self) -> impl Iterator<Item = &Timed> {
        self.rows.iter()
    }

    /// All rows.
    pub fn into_rows(self) -> impl Iterator<Item = Timed> {
        self.rows.into_iter()
    }

    /// All references, to be moved.
    pub fn refs_mut(&mut self) -> impl Iterator<Item = &mut RowRef> {
        self.rows.iter_mut().map(|timed| &mut timed.row)
    }
}

#[cfg(test)]
mod tests {
    use super::super::rows::Rows;
    use super::super::testing::table;
    use super::*;

    #[test]
    fn rows_of_one_time_keep_their_order() {
        let batch = table("n: int64", &["0", "1", "2", "3", "4", "5"]);
        let mut rows = Rows::new(batch.schema());
        let held = rows.hold(batch);
        let refs: Vec<RowRef> = (0..6).map(|row| rows.keep(held, row)).collect();
        let mut timeline = Timeline::default();
        for (&row, time) in refs.iter().zip([5, 3, 5, 9, 3, 4]) {
            timeline.insert(Timed { time, row, is_used: false });
        }
        let places = |timed: Vec<RowRef>| {
            timed.iter().map(|row| refs.iter().position(|other| other == row).unwrap()).collect::<Vec<_>>()
        };
        assert_eq!(timeline.first(), Some(3));
        assert_eq!(places(timeline.between(4, 5).map(|timed| timed.row).collect()), [5, 0, 2]);
        assert!(places(timeline.between(6, 8).map(|timed| timed.row).collect()).is_empty());
        let mut taken = Vec::new();
        timeline.take_before(5, |timed| taken.push(timed.row));
        assert_eq!(places(taken), [1, 4, 5]);
        assert_eq!(timeline.first(), Some(5));
        assert_eq!(places(timeline.into_rows().map(|timed| timed.row).collect()), [0, 2, 3]);
    }
}
