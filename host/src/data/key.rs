//! Keys: how they are hashed, and which worker a key belongs to.
//!
//! The hash is part of the format of recovery stores and must never change: XXH3 (64 bits, no seed) of the key's
//! UTF-8 bytes. Its top ten bits are the key's *group*; workers and store parts own ranges of groups, so that another
//! number of them moves groups and never single keys.

use arrow::array::{Array, StringArray};
use std::ops::Range;
use std::sync::{Arc, OnceLock};
use xxhash_rust::xxh3::xxh3_64;

/// The number of key groups.
pub const KEY_GROUPS: u64 = 1024;

/// Hashes a key.
pub fn hash(key: &str) -> u64 {
    xxh3_64(key.as_bytes())
}

/// The group of a key with this hash.
pub fn group_of(hash: u64) -> u64 {
    hash >> 54
}

/// The worker, of `workers`, that owns a key with this hash.
pub fn worker_of(hash: u64, workers: usize) -> usize {
    usize::try_from(group_of(hash) * workers as u64 / KEY_GROUPS).expect("a worker's number fits a usize")
}

/// The groups that a worker, of `workers`, owns: those of the keys for which [`worker_of`] names it.
pub fn groups_of(worker: usize, workers: usize) -> Range<u64> {
    let first = |worker: usize| (worker as u64 * KEY_GROUPS).div_ceil(workers as u64);
    first(worker)..first(worker + 1)
}

/// The keys of a batch's rows: never null.
#[derive(Clone, Debug)]
pub struct Keys {
    values: StringArray,
    hashes: Arc<OnceLock<Vec<u64>>>,
}

impl Keys {
    /// Wraps the keys of a batch.
    ///
    /// # Panics
    /// A key is null; who makes keys reports those as row errors before.
    pub fn new(values: StringArray) -> Self {
        assert_eq!(values.null_count(), 0, "null keys are refused where keys are made");
        Keys { values, hashes: Arc::default() }
    }

    /// Wraps keys whose hashes are known.
    ///
    /// # Panics
    /// As for `new`; or there is another number of hashes.
    pub fn with_hashes(values: StringArray, hashes: Vec<u64>) -> Self {
        assert_eq!(values.len(), hashes.len(), "a hash a key");
        let keys = Keys::new(values);
        keys.hashes.get_or_init(|| hashes);
        keys
    }

    /// The keys themselves, one a row.
    pub fn values(&self) -> &StringArray {
        &self.values
    }

    /// The hash of each key; computed once, however many clones ask.
    pub fn hashes(&self) -> &[u64] {
        self.hashes.get_or_init(|| {
            let offsets = self.values.value_offsets();
            let bytes = self.values.value_data();
            offsets.windows(2).map(|pair| xxh3_64(&bytes[pair[0] as usize..pair[1] as usize])).collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_of_a_key_stays_what_it_is() {
        assert_eq!(hash(""), 0x2d06_8005_38d3_94c2);
        assert_eq!(Keys::new(StringArray::from(vec!["a", "user-1"])).hashes(), [hash("a"), hash("user-1")]);
    }

    #[test]
    fn workers_own_ranges_of_groups_that_cover_all() {
        for workers in [1, 2, 3, 7, 1024] {
            let owners: Vec<usize> = (0..KEY_GROUPS).map(|group| worker_of(group << 54, workers)).collect();
            assert!(owners.is_sorted());
            assert_eq!((owners[0], owners[1023]), (0, workers - 1));
            for worker in 0..workers {
                let owned = (0..KEY_GROUPS).filter(|&group| owners[group as usize] == worker);
                assert!(owned.eq(groups_of(worker, workers)), "worker {worker} of {workers}");
            }
        }
    }
}
