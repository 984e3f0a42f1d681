//! States that are taken ahead of an epoch's end, a few at a time, so that rows need not wait while all are taken at once.
//!
//! A state that changes again in the epoch is taken once more, and the later one counts. So it is worth it where keys come
//! about once an epoch, which is where most of them change for so many rows.

use super::durable::Changes;
use super::error::LogicError;
use crate::data::key::Keys;
use arrow::array::{Array, AsArray, BinaryArray, StringArray};
use arrow::compute::concat;

/// Fewer keys are taken within a millisecond. Simulated executions have few, and take states ahead all the same.
const FEW: usize = if cfg!(test) { 2 } else { 4096 };
/// Of so many rows a key, in quarters, too many states would be taken twice.
const MOST_ROWS: usize = 6;
/// States are taken at most so often in an epoch, and not after fewer rows.
const TIMES: usize = 32;
const LEAST_ROWS: usize = if cfg!(test) { 1 } else { 256 };
/// How many keys came is told by those of which so many bits of the hash are zero.
const SAMPLE: u32 = if cfg!(test) { 0 } else { 4 };
/// More bytes are not put in one place: together they might not fit an array.
const MOST_JOINED: usize = 256 << 20;

/// What was taken of an epoch so far.
#[derive(Default)]
pub(super) struct Ahead {
    /// The rows after which states are taken. None: not before the end.
    every: Option<usize>,
    /// Rows of the epoch, and of those the ones since states were taken.
    rows: usize,
    fresh: usize,
    /// The earliest first.
    taken: Vec<Changes>,
}

impl Ahead {
    /// Rows have come.
    pub fn took(&mut self, rows: usize) {
        self.rows += rows;
        self.fresh += rows;
    }

    /// Whether to take the states that changed.
    pub fn is_due(&self) -> bool {
        self.every.is_some_and(|every| self.fresh >= every)
    }

    /// Keeps what was taken.
    pub fn keep(&mut self, changes: Option<Changes>) {
        self.fresh = 0;
        self.taken.extend(changes.map(|changes| Changes { whole: 0..0, ..changes }));
    }

    /// Ends the epoch with what changed since states were taken last. Returns all of it: to be handed in in this order.
    ///
    /// # Errors
    /// None is known.
    pub fn end(&mut self, last: Option<Changes>) -> Result<Vec<Changes>, LogicError> {
        let (rows, mut taken) = (std::mem::take(&mut self.rows), std::mem::take(&mut self.taken));
        self.fresh = 0;
        let is_whole = last.as_ref().is_some_and(|last| !last.whole.is_empty());
        taken.extend(last);
        let keys = distinct(&taken, SAMPLE);
        // A store keeps all states of a step in one place where most of them change, which it must be told at once.
        let is_worth_it = keys >= FEW && !is_whole && rows <= keys.saturating_mul(MOST_ROWS) / 4;
        self.every = is_worth_it.then(|| (keys / TIMES).max(LEAST_ROWS));
        let bytes = |changes: &Changes| changes.keys.values().value_data().len() + changes.values.value_data().len();
        match taken.len() {
            0 | 1 => Ok(taken),
            _ if taken.iter().map(bytes).sum::<usize>() > MOST_JOINED => Ok(taken),
            _ => Ok(vec![joined(&taken)?]),
        }
    }
}

/// How many keys there are, by those of which so many bits of the hash are zero.
fn distinct(taken: &[Changes], bits: u32) -> usize {
    if let [all] = taken {
        return all.values.len();
    }
    let hashes = taken.iter().flat_map(|changes| changes.keys.hashes());
    let mut sample: Vec<u64> = hashes.copied().filter(|hash| hash.trailing_zeros() >= bits).collect();
    sample.sort_unstable();
    sample.dedup();
    sample.len() << bits
}

/// All of them, one behind the other.
fn joined(taken: &[Changes]) -> Result<Changes, LogicError> {
    let keys: Vec<&dyn Array> = taken.iter().map(|changes| changes.keys.values() as &dyn Array).collect();
    let values: Vec<&dyn Array> = taken.iter().map(|changes| &changes.values as &dyn Array).collect();
    let keys: StringArray = concat(&keys)?.as_string().clone();
    let values: BinaryArray = concat(&values)?.as_binary().clone();
    let mut hashes = Vec::with_capacity(keys.len());
    taken.iter().for_each(|changes| hashes.extend_from_slice(changes.keys.hashes()));
    let whole = taken.last().map_or(0..0, |last| last.whole.clone());
    Ok(Changes { keys: Keys::with_hashes(keys, hashes), values, whole })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::key::KEY_GROUPS;
    use std::ops::Range;

    /// States of keys by their numbers; an odd round takes the key's state away.
    fn changes(keys: Range<usize>, round: u8) -> Changes {
        let names = StringArray::from_iter_values(keys.clone().map(|key| format!("key {key}")));
        let values: BinaryArray = keys.map(|_| round.is_multiple_of(2).then_some([round])).collect();
        Changes::of_some(Keys::new(names), values)
    }

    /// Takes an epoch of keys in that order, in which a key comes so many times.
    fn epoch(ahead: &mut Ahead, keys: usize, times: usize) -> (usize, Vec<Changes>) {
        let (mut takings, mut fresh) = (0, 0);
        for key in (0..times).flat_map(|_| 0..keys) {
            ahead.took(1);
            fresh += 1;
            if ahead.is_due() {
                takings += 1;
                ahead.keep(Some(changes(key + 1 - fresh.min(key + 1)..key + 1, 0)));
                fresh = 0;
            }
        }
        let last = changes(keys - fresh.min(keys)..keys, 0);
        (takings, ahead.end((fresh > 0).then_some(last)).unwrap())
    }

    #[test]
    fn states_are_taken_ahead_where_that_takes_few_twice() {
        let mut ahead = Ahead::default();
        assert_eq!(epoch(&mut ahead, 20_000, 1).0, 0, "nothing is known of the flow");
        assert_eq!(epoch(&mut ahead, 20_000, 1).0, 32);
        assert_eq!(epoch(&mut ahead, 20_000, 2).0, 64);
        assert_eq!(epoch(&mut ahead, 20_000, 2).0, 0, "keys come twice");
        assert_eq!(epoch(&mut ahead, 20_000, 1).0, 0);
        assert_eq!(epoch(&mut ahead, FEW - 1, 1).0, 0);
        assert_eq!(epoch(&mut ahead, 20_000, 1).0, 0, "there were few");
        ahead.took(20_000);
        ahead.end(Some(Changes { whole: 0..KEY_GROUPS, ..changes(0..20_000, 0) })).unwrap();
        assert!(!ahead.is_due(), "the store is given all that there are");
    }

    #[test]
    fn some_keys_tell_how_many_there_are() {
        let taken = [changes(0..3000, 0), changes(1000..4000, 0)];
        assert_eq!(distinct(&taken, 0), 4000);
        let about = distinct(&taken, 4);
        assert!((3500..4500).contains(&about), "{about}");
    }

    #[test]
    fn all_that_was_taken_is_handed_in_together_and_in_order() {
        let mut ahead = Ahead::default();
        assert!(ahead.end(None).unwrap().is_empty());
        ahead.keep(Some(Changes { whole: 0..KEY_GROUPS, ..changes(0..3, 0) }));
        ahead.keep(None);
        ahead.keep(Some(changes(1..2, 1)));
        let [all] = &ahead.end(Some(Changes { whole: 5..9, ..changes(1..4, 2) })).unwrap()[..] else { panic!() };
        let keys: Vec<_> = all.keys.values().iter().flatten().collect();
        assert_eq!(keys, ["key 0", "key 1", "key 2", "key 1", "key 1", "key 2", "key 3"]);
        let values: Vec<_> = all.values.iter().map(|value| value.map(|value| value[0])).collect();
        assert_eq!(values, [Some(0), Some(0), Some(0), None, Some(2), Some(2), Some(2)]);
        assert_eq!(all.keys.hashes(), Keys::new(all.keys.values().clone()).hashes());
        assert_eq!(all.whole, 5..9);
        ahead.keep(Some(changes(0..3, 0)));
        let [all] = &ahead.end(None).unwrap()[..] else { panic!() };
        assert_eq!((all.values.len(), all.whole.clone()), (3, 0..0));
        assert!(ahead.end(None).unwrap().is_empty(), "each epoch has its own");
    }
}
