//! Groups: keys as small dense numbers, so that state can stand in plain arrays.

use crate::data::key::Keys;
use crate::dataflow::dead_letter::{DeadLetter, Kind};
use arrow::array::{Array, StringArray};
use arrow::buffer::{Buffer, OffsetBuffer};
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;
use std::collections::BTreeSet;

/// Rows that are put in one batch when the groups are given out.
pub(super) const OUTPUT_ROWS: usize = 8192;

/// Garbage among the bytes of keys that is not worth clearing away.
const GARBAGE: usize = 64 << 10;

/// Keys of at most so many bytes stand in their slots.
const SHORT: usize = 16;

/// The keys that have state, numbered from 0. Numbers that were released are given out again.
#[derive(Default)]
pub(super) struct Groups {
    table: HashTable<u32>,
    slots: Vec<Slot>,
    /// The bytes of all long keys, those of released groups too until there are many.
    bytes: String,
    garbage: usize,
    free: Vec<u32>,
    /// Whether anybody wants to know what changes.
    is_tracking: bool,
    /// A bit for each group of which something changed, and the keys that were released.
    changed: Vec<u64>,
    gone: BTreeSet<Box<str>>,
}

/// A group's key, such that looking at one place in memory settles nearly every comparison.
#[derive(Clone, Copy)]
struct Slot {
    hash: u64,
    /// The bytes of a short key, then zeros; of a long one where it starts.
    place: [u8; SHORT],
    len: u32,
    live: bool,
}

impl Slot {
    fn start(&self) -> usize {
        usize::from_le_bytes(self.place[..8].try_into().expect("a place has more than eight bytes"))
    }

    fn key<'a>(&'a self, bytes: &'a str) -> &'a [u8] {
        match self.len as usize {
            short @ ..=SHORT => &self.place[..short],
            long => &bytes.as_bytes()[self.start()..self.start() + long],
        }
    }

    /// The first bytes of the key as a number that orders as they do; behind a shorter key stand zeros.
    fn prefix(&self, bytes: &str) -> u128 {
        match self.key(bytes).first_chunk::<SHORT>() {
            Some(first) => u128::from_be_bytes(*first),
            None => u128::from_be_bytes(self.place),
        }
    }
}

/// Bits of a word of [`Groups::changed`].
const BITS: usize = u64::BITS as usize;

/// The word that a group's bit is in, and the bit.
#[inline]
fn place_of_bit(group: u32) -> (usize, u64) {
    (group as usize / BITS, 1 << (group as usize % BITS))
}

/// The place of a long key.
fn place_of(start: usize) -> [u8; SHORT] {
    let mut place = [0; SHORT];
    place[..8].copy_from_slice(&start.to_le_bytes());
    place
}

/// The place of a short key; none of a long one. Reads by whole words, which a copy of so few bytes would not.
#[inline]
fn place_of_short(key: &[u8]) -> Option<[u8; SHORT]> {
    let eight = |at: usize| u64::from_le_bytes(key[at..at + 8].try_into().expect("eight bytes"));
    let four = |at: usize| u64::from(u32::from_le_bytes(key[at..at + 4].try_into().expect("four bytes")));
    let (first, second) = match key.len() {
        len @ 9..=SHORT => (eight(0), eight(len - 8) >> (8 * (SHORT - len))),
        8 => (eight(0), 0),
        // What both halves have of the key is the same.
        len @ 4..=7 => (four(0) | four(len - 4) << (8 * (len - 4)), 0),
        0..=3 => (key.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte)), 0),
        _ => return None,
    };
    Some((u128::from(first) | u128::from(second) << 64).to_le_bytes())
}

/// The table takes its tags from the top bits of a hash, which are much the same for all keys of a worker.
fn spread(hash: u64) -> u64 {
    hash.rotate_right(10)
}

impl Groups {
    /// The groups of rows, by the numbers of their keys in `keys` (all of them, if there are no numbers), into
    /// `groups`, which is cleared. A key that is new gets a group.
    pub fn intern(&mut self, keys: &Keys, rows: Option<&[u32]>, groups: &mut Vec<u32>) {
        groups.clear();
        let (offsets, data, hashes) = (keys.values().value_offsets(), keys.values().value_data(), keys.hashes());
        let mut group = |row: usize| {
            let range = offsets[row] as usize..offsets[row + 1] as usize;
            self.find_or_insert(hashes[row], &data[range], || keys.values().value(row))
        };
        match rows {
            Some(rows) => groups.extend(rows.iter().map(|&row| group(row as usize))),
            None => groups.extend((0..keys.values().len()).map(group)),
        }
        // Not on the way: the processor looks for the next keys while it waits for the memory of one, and for fewer of them
        // the more there is to do with each.
        self.touch(groups);
    }

    #[inline]
    fn note(&mut self, group: u32) {
        let (word, bit) = place_of_bit(group);
        if word >= self.changed.len() {
            self.changed.resize(self.slots.len().div_ceil(BITS), 0);
        }
        self.changed[word] |= bit;
    }

    #[inline]
    fn find_or_insert<'k>(&mut self, hash: u64, key: &[u8], text: impl FnOnce() -> &'k str) -> u32 {
        let Groups { table, slots, bytes, free, .. } = self;
        let short = place_of_short(key);
        let is_it = |&group: &u32| {
            let slot = &slots[group as usize];
            slot.hash == hash
                && slot.len as usize == key.len()
                && short.map_or_else(|| slot.key(bytes) == key, |short| short == slot.place)
        };
        match table.entry(spread(hash), is_it, |&group| spread(slots[group as usize].hash)) {
            Entry::Occupied(found) => *found.get(),
            Entry::Vacant(place) => {
                let group = free.pop().unwrap_or_else(|| u32::try_from(slots.len()).expect("fewer than 2^32 keys"));
                place.insert(group);
                let len = u32::try_from(key.len()).expect("a key is a value of a column");
                let place = short.unwrap_or_else(|| {
                    let start = bytes.len();
                    bytes.push_str(text());
                    place_of(start)
                });
                let slot = Slot { hash, place, len, live: true };
                match slots.get_mut(group as usize) {
                    Some(free) => *free = slot,
                    None => slots.push(slot),
                }
                group
            }
        }
    }

    /// The number of groups in use.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    /// One more than the highest group ever in use: how long an array by group must be.
    pub fn capacity(&self) -> usize {
        self.slots.len()
    }

    /// The groups in use, in ascending order of the bytes of their keys.
    pub fn sorted(&self) -> Vec<u32> {
        let live = |&group: &u32| self.slots[group as usize].live;
        let mut groups: Vec<u32> = (0..).take(self.slots.len()).filter(live).collect();
        self.sort(&mut groups);
        groups
    }

    /// Brings groups in use into ascending order of the bytes of their keys.
    pub fn sort(&self, groups: &mut [u32]) {
        let slot = |group: u32| &self.slots[group as usize];
        // The first bytes as a number settle nearly every comparison without a look at the keys.
        let mut sorted: Vec<(u128, u32)> =
            groups.iter().map(|&group| (slot(group).prefix(&self.bytes), group)).collect();
        sorted.sort_unstable_by(|(prefix, group), (other_prefix, other)| {
            let keys = || slot(*group).key(&self.bytes).cmp(slot(*other).key(&self.bytes));
            prefix.cmp(other_prefix).then_with(keys)
        });
        groups.iter_mut().zip(sorted).for_each(|(group, (_, sorted))| *group = sorted);
    }

    /// The key of a group in use.
    pub fn key(&self, group: u32) -> &str {
        std::str::from_utf8(self.slots[group as usize].key(&self.bytes)).expect("keys are whole texts")
    }

    /// The hash of the key of a group in use.
    pub fn hash(&self, group: u32) -> u64 {
        self.slots[group as usize].hash
    }

    /// The keys of groups in use.
    pub fn keys(&self, groups: &[u32]) -> Keys {
        let slots = || groups.iter().map(|&group| &self.slots[group as usize]);
        let mut data = Vec::with_capacity(slots().map(|slot| slot.len as usize).sum());
        slots().for_each(|slot| data.extend_from_slice(slot.key(&self.bytes)));
        let offsets = OffsetBuffer::from_lengths(slots().map(|slot| slot.len as usize));
        let values = StringArray::try_new(offsets, Buffer::from_vec(data), None);
        Keys::with_hashes(values.expect("keys are whole texts"), slots().map(|slot| slot.hash).collect())
    }

    /// Describes a failure of a group in use, which is of no single row; `name` is that of the key.
    pub fn letter(&self, group: u32, name: &str, message: &str) -> DeadLetter {
        let key = self.key(group);
        let row: serde_json::Map<_, _> = [(name.to_owned(), key.into())].into_iter().collect();
        let row = serde_json::Value::Object(row).to_string();
        let message = format!("key {key:?}: {message}");
        DeadLetter { kind: Kind::Returned, message, partition: None, position: None, row }
    }

    /// Ends groups in use.
    pub fn release(&mut self, groups: &[u32]) {
        self.note_gone(groups);
        for &group in groups {
            let slot = &mut self.slots[group as usize];
            slot.live = false;
            if slot.len as usize > SHORT {
                self.garbage += slot.len as usize;
            }
            if let Ok(found) = self.table.find_entry(spread(slot.hash), |&other| other == group) {
                found.remove();
            }
            self.free.push(group);
        }
        if self.garbage > GARBAGE && self.garbage > self.bytes.len() / 2 {
            self.clear_away();
        }
    }

    /// From now on notes which groups change: those that are interned, touched or released.
    pub fn track(&mut self) {
        self.is_tracking = true;
    }

    /// Whether changes are noted.
    pub fn is_tracking(&self) -> bool {
        self.is_tracking
    }

    /// Notes that something of groups changed, if changes are noted.
    pub fn touch(&mut self, groups: &[u32]) {
        if self.is_tracking {
            groups.iter().for_each(|&group| self.note(group));
        }
    }

    /// Notes that something of all groups changed, if changes are noted.
    pub fn touch_all(&mut self) {
        self.touch(&self.besides(&[]));
    }

    /// Takes the groups that changed since the last call and are in use, each once and in ascending order, and the keys that
    /// were released since then and are not in use.
    pub fn take_changes(&mut self) -> (Vec<u32>, Vec<Box<str>>) {
        let mut groups = Vec::with_capacity(self.changed.iter().map(|word| word.count_ones() as usize).sum());
        for (word, first) in self.changed.iter_mut().zip((0..).step_by(BITS)) {
            let mut bits = std::mem::take(word);
            while bits != 0 {
                let group = first + bits.trailing_zeros();
                if self.slots[group as usize].live {
                    groups.push(group);
                }
                bits &= bits - 1;
            }
        }
        let mut gone: Vec<Box<str>> = std::mem::take(&mut self.gone).into_iter().collect();
        gone.retain(|key| self.find(key).is_none());
        (groups, gone)
    }

    /// The groups in use besides some, which are in ascending order, as these are.
    pub fn besides(&self, some: &[u32]) -> Vec<u32> {
        let mut some = some.iter().copied().peekable();
        let groups = (0..).take(self.slots.len());
        groups.filter(|&group| some.next_if_eq(&group).is_none() && self.slots[group as usize].live).collect()
    }

    fn note_gone(&mut self, groups: &[u32]) {
        if self.is_tracking {
            let keys: Vec<Box<str>> = groups.iter().map(|&group| Box::from(self.key(group))).collect();
            self.gone.extend(keys);
        }
    }

    /// The group of a key, if it has one.
    pub fn find(&self, key: &str) -> Option<u32> {
        let hash = crate::data::key::hash(key);
        let is_it = |&group: &u32| {
            let slot = &self.slots[group as usize];
            slot.hash == hash && slot.key(&self.bytes) == key.as_bytes()
        };
        self.table.find(spread(hash), is_it).copied()
    }

    /// Takes in the keys of states that are restored, all of them new; nothing counts as changed by that.
    pub fn restore(&mut self, keys: &Keys) -> Vec<u32> {
        let is_tracking = std::mem::take(&mut self.is_tracking);
        let mut groups = Vec::new();
        self.intern(keys, None, &mut groups);
        self.is_tracking = is_tracking;
        groups
    }

    /// Ends all groups.
    pub fn clear(&mut self) {
        if self.is_tracking {
            self.note_gone(&self.besides(&[]));
        }
        self.table.clear();
        self.slots.clear();
        self.changed.clear();
        self.bytes.clear();
        self.free.clear();
        self.garbage = 0;
    }

    fn clear_away(&mut self) {
        let mut bytes = String::with_capacity(self.bytes.len() - self.garbage);
        for slot in self.slots.iter_mut().filter(|slot| slot.live && slot.len as usize > SHORT) {
            let start = bytes.len();
            bytes.push_str(&self.bytes[slot.start()..slot.start() + slot.len as usize]);
            slot.place = place_of(start);
        }
        self.bytes = bytes;
        self.garbage = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    fn intern(groups: &mut Groups, keys: &[&str]) -> Vec<u32> {
        let mut found = Vec::new();
        groups.intern(&Keys::new(StringArray::from(keys.to_vec())), None, &mut found);
        found
    }

    #[test]
    fn equal_keys_are_one_group() {
        let mut groups = Groups::default();
        assert_eq!(intern(&mut groups, &["b", "", "b", "a"]), [0, 1, 0, 2]);
        assert_eq!(intern(&mut groups, &["a", "ä"]), [2, 3]);
        assert_eq!((groups.len(), groups.capacity()), (4, 4));
    }

    #[test]
    fn only_selected_rows_become_groups() {
        let mut groups = Groups::default();
        let mut found = vec![9];
        groups.intern(&Keys::new(StringArray::from(vec!["a", "b", "c"])), Some(&[2, 0, 2]), &mut found);
        assert_eq!(found, [0, 1, 0]);
        assert_eq!(groups.keys(&[1, 0]).values(), &StringArray::from(vec!["a", "c"]));
    }

    #[test]
    fn groups_are_sorted_by_the_bytes_of_their_keys() {
        let mut groups = Groups::default();
        intern(&mut groups, &["b", "ä", "", "a", "B", "ab"]);
        let sorted = groups.sorted();
        assert_eq!(groups.keys(&sorted).values(), &StringArray::from(vec!["", "B", "a", "ab", "b", "ä"]));
    }

    #[test]
    fn a_released_number_is_given_to_another_key() {
        let mut groups = Groups::default();
        assert_eq!(intern(&mut groups, &["a", "b", "c"]), [0, 1, 2]);
        groups.release(&[1]);
        assert_eq!((groups.len(), groups.sorted()), (2, vec![0, 2]));
        assert_eq!(intern(&mut groups, &["d", "b", "a"]), [1, 3, 0]);
        assert_eq!(groups.key(1), "d");
        groups.clear();
        assert_eq!(intern(&mut groups, &["b"]), [0]);
    }

    #[test]
    fn changes_are_taken_once_and_in_order() {
        let keys: Vec<String> = (0..200).map(|key| format!("key {key}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let mut groups = Groups::default();
        groups.track();
        intern(&mut groups, &keys);
        groups.release(&[17]);
        let (changed, gone) = groups.take_changes();
        assert_eq!(changed, (0..200).filter(|&group| group != 17).collect::<Vec<_>>());
        assert_eq!(gone, [Box::from("key 17")]);
        groups.touch(&[150, 3, 150]);
        assert_eq!(groups.take_changes().0, [3, 150]);
        intern(&mut groups, &["key 63", "key 199", "key 64", "new"]);
        assert_eq!(groups.take_changes().0, [17, 63, 64, 199], "the new key has the number that was released");
        assert!(groups.take_changes().0.is_empty());
        groups.release(&[0, 5]);
        assert_eq!(groups.besides(&[1, 2, 4]), (3..200).filter(|&group| group > 5 || group == 3).collect::<Vec<_>>());
    }

    #[test]
    fn the_bytes_of_released_keys_do_not_pile_up() {
        let mut groups = Groups::default();
        intern(&mut groups, &["stays"]);
        for round in 0..1000 {
            let keys: Vec<String> = (0..10).map(|key| format!("{round}-{key}-{}", "x".repeat(100))).collect();
            let found = intern(&mut groups, &keys.iter().map(String::as_str).collect::<Vec<_>>());
            groups.release(&found);
        }
        assert!(groups.bytes.len() < 4 * GARBAGE, "{}", groups.bytes.len());
        assert_eq!((groups.len(), groups.key(0)), (1, "stays"));
    }

    #[test]
    fn a_short_key_stands_in_its_place() {
        let key = b"0123456789abcdefg";
        for len in 0..=SHORT {
            let mut wanted = [0; SHORT];
            wanted[..len].copy_from_slice(&key[..len]);
            assert_eq!(place_of_short(&key[..len]), Some(wanted), "{len}");
        }
        assert_eq!(place_of_short(key), None);
    }

    proptest! {
        #[test]
        fn groups_behave_as_a_map(steps in prop::collection::vec(("[ab]{0,3}|[ab]{6,18}|\\PC{0,20}", prop::bool::ANY), 0..200)) {
            let (mut groups, mut map) = (Groups::default(), BTreeMap::new());
            for (key, releases) in steps {
                let group = intern(&mut groups, &[&key])[0];
                prop_assert_eq!(*map.entry(key.clone()).or_insert(group), group);
                if releases {
                    groups.release(&[group]);
                    map.remove(&key);
                }
            }
            prop_assert_eq!(groups.sorted(), map.values().copied().collect::<Vec<_>>());
            prop_assert!(map.iter().all(|(key, &group)| groups.key(group) == key));
        }
    }
}
