//! When keys are to be looked at though no row of theirs comes.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// A heap with more entries than this beyond what counts is made anew.
const SLACK: usize = 1024;

/// The time at which each key is to be looked at, in microseconds of some clock.
#[derive(Default)]
pub(super) struct Alarms {
    /// By key; the end of time for none.
    at: Vec<i64>,
    /// An entry whose time is not that of its key no longer counts.
    heap: BinaryHeap<Reverse<(i64, u32)>>,
    /// How many keys have an alarm.
    set: usize,
    /// The keys that have changed since their alarms were set; and by key whether it is among them.
    changed: Vec<u32>,
    has_changed: Vec<bool>,
}

impl Alarms {
    /// Makes room for keys below `count`.
    pub fn resize(&mut self, count: usize) {
        self.at.resize(count, i64::MAX);
        self.has_changed.resize(count, false);
    }

    /// Sees to it that a key is looked at no later than at a time. One that has an alarm before then keeps it: who looks
    /// at it finds nothing, and sets another.
    pub fn set(&mut self, key: u32, at: i64) {
        let set = &mut self.at[key as usize];
        if at < *set {
            self.set += usize::from(*set == i64::MAX);
            *set = at;
            self.heap.push(Reverse((at, key)));
            if self.heap.len() > 2 * self.set + SLACK {
                self.heap.retain(|&Reverse((at, key))| self.at[key as usize] == at);
            }
        }
    }

    /// Says that a key may have to be looked at earlier. [`Alarms::renew`] finds out: only once that matters, so that it
    /// costs nothing while rows come.
    pub fn change(&mut self, key: u32) {
        if !std::mem::replace(&mut self.has_changed[key as usize], true) {
            self.changed.push(key);
        }
    }

    /// Sets the alarms of keys that have changed: `at` says for when, if at all.
    pub fn renew(&mut self, at: impl Fn(u32) -> Option<i64>) {
        while let Some(key) = self.changed.pop() {
            self.has_changed[key as usize] = false;
            if let Some(at) = at(key) {
                self.set(key, at);
            }
        }
    }

    /// Takes a key's alarm away.
    pub fn clear(&mut self, key: u32) {
        let set = &mut self.at[key as usize];
        self.set -= usize::from(*set != i64::MAX);
        *set = i64::MAX;
    }

    /// When the next alarm may go off.
    pub fn next(&self) -> Option<i64> {
        self.heap.peek().map(|Reverse((at, _))| *at)
    }

    /// The next key whose alarm has gone off by `now`; it has none afterwards.
    pub fn pop(&mut self, now: i64) -> Option<u32> {
        while let Some(&Reverse((at, key))) = self.heap.peek().filter(|Reverse((at, _))| *at <= now) {
            self.heap.pop();
            if self.at[key as usize] == at {
                self.clear(key);
                return Some(key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_earliest_alarm_of_a_key_counts() {
        let mut alarms = Alarms::default();
        alarms.resize(3);
        for (key, at) in [(0, 30), (1, 20), (0, 10), (0, 40), (2, 25)] {
            alarms.set(key, at);
        }
        alarms.clear(2);
        assert_eq!(alarms.next(), Some(10));
        assert_eq!((alarms.pop(9), alarms.pop(10), alarms.pop(10)), (None, Some(0), None));
        assert_eq!((alarms.pop(40), alarms.pop(40)), (Some(1), None));
        assert_eq!((alarms.next(), alarms.set), (None, 0));
    }

    #[test]
    fn keys_that_have_changed_are_asked_once() {
        let mut alarms = Alarms::default();
        alarms.resize(4);
        [3, 1, 3].into_iter().for_each(|key| alarms.change(key));
        alarms.renew(|key| (key == 3).then_some(20));
        alarms.renew(|_| unreachable!("nothing has changed"));
        assert_eq!((alarms.pop(20), alarms.pop(20)), (Some(3), None));
    }

    #[test]
    fn alarms_that_no_longer_count_do_not_pile_up() {
        let mut alarms = Alarms::default();
        alarms.resize(10);
        for round in 0..10_000 {
            alarms.set(round % 10, 1_000_000 - i64::from(round));
        }
        assert!(alarms.heap.len() <= SLACK + 20, "{}", alarms.heap.len());
        let mut last = Vec::new();
        while let Some(key) = alarms.pop(i64::MAX) {
            last.push(key);
        }
        assert_eq!(last, [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]);
    }
}
