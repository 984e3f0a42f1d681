//! Folds under test.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use serde_json::Value;

use super::rows::{IntoRows, Rows, plain};
use crate::bindings::wxhost::plugin::types::Schema;
use crate::error::Error;
use crate::fold::{self, OpenFold, ReduceFunction, Reduced, TryFold};
use crate::state;
use crate::write::Bytes;

/// Tests a fold: `fold::<Average>()`.
pub fn fold<T: TryFold>() -> FoldTest<T> {
    FoldTest { config: String::new(), open: None, groups: BTreeMap::new(), free: 0, fold: PhantomData }
}

/// Tests a reduction: `reduce::<longest>()`.
pub fn reduce<F: ReduceFunction>() -> FoldTest<Reduced<F>> {
    fold()
}

/// A fold under test, with a state for each key.
pub struct FoldTest<T: TryFold> {
    config: String,
    open: Option<(Schema, OpenFold)>,
    groups: BTreeMap<String, u32>,
    free: u32,
    fold: PhantomData<T>,
}

impl<T: TryFold> FoldTest<T> {
    /// Sets the configuration, as JSON.
    pub fn config(mut self, config: impl ToString) -> Self {
        self.config = config.to_string();
        self
    }

    /// Folds rows into the state of a key. Returns the rows that failed, and why.
    ///
    /// # Panics
    ///
    /// Panics if the fold cannot be opened for the rows, or if the whole call fails.
    pub fn update(&mut self, key: &str, rows: impl IntoRows) -> Vec<(u32, String)> {
        self.try_update(key, rows).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Folds rows into the state of a key, or says why that cannot be.
    pub fn try_update(&mut self, key: &str, rows: impl IntoRows) -> Result<Vec<(u32, String)>, Error> {
        let rows = rows.into_rows();
        if self.open.as_ref().is_none_or(|(schema, _)| *schema != rows.schema) {
            let states = self.snapshot();
            self.open = Some((rows.schema.clone(), fold::open::<T>(&rows.schema, &self.config)?));
            self.restore(&states);
        }
        let group = self.group(key);
        let open = self.opened();
        let batch = rows.select(&open.reads);
        let errors = open.groups.update(&vec![group; rows.len()], None, &batch)?;
        Ok(errors.into_iter().map(|error| (error.row, error.message)).collect())
    }

    /// Merges the state of the key `from`, which ends, into that of the key `into`.
    ///
    /// # Panics
    ///
    /// Panics if the merge fails or if there is no key `from`.
    pub fn merge(&mut self, into: &str, from: &str) {
        let into = self.group(into);
        let from = self.groups.remove(from).unwrap_or_else(|| panic!("no key {from:?}"));
        self.opened().groups.merge(&[into], &[from]).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Returns the row of a key; a row of the one column `value` as that value. The state stays.
    ///
    /// # Panics
    ///
    /// Panics if there is no such key or if the row cannot be made.
    pub fn finish(&mut self, key: &str) -> Value {
        self.try_finish(key).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Returns the row of a key, or says why there is none.
    pub fn try_finish(&mut self, key: &str) -> Result<Value, Error> {
        let group = *self.groups.get(key).ok_or_else(|| Error::user(format!("no key {key:?}")))?;
        let open = self.opened();
        let finished = open.groups.finish(&[group])?;
        match finished.errors.into_iter().next() {
            Some(error) => Err(Error::user(error.message)),
            None => {
                let rows = Rows { schema: open.output.clone(), batch: finished.rows };
                Ok(plain(&rows.to_json()[0]))
            }
        }
    }

    /// Encodes the states of all keys.
    ///
    /// # Panics
    ///
    /// Panics if a state cannot be encoded.
    pub fn snapshot(&self) -> BTreeMap<String, Vec<u8>> {
        let Some((_, open)) = &self.open else { return BTreeMap::new() };
        let groups: Vec<u32> = self.groups.values().copied().collect();
        let states = open.groups.snapshot(&groups).unwrap_or_else(|error| panic!("{error}"));
        let entry = |pair: &[i32]| states.data[pair[0] as usize..pair[1] as usize].to_vec();
        self.groups.keys().cloned().zip(states.offsets.windows(2).map(entry)).collect()
    }

    /// Forgets all keys and sets them from a snapshot, as after a crash.
    ///
    /// # Panics
    ///
    /// Panics if a state cannot be decoded.
    pub fn restore(&mut self, snapshot: &BTreeMap<String, Vec<u8>>) {
        let old: Vec<u32> = std::mem::take(&mut self.groups).into_values().collect();
        if let Some((_, open)) = &mut self.open {
            open.groups.release(&old);
        }
        for (key, bytes) in snapshot {
            let group = self.group(key);
            let mut states = Bytes::default();
            states.push(bytes);
            let restored = self.opened().groups.restore(&[group], &states.into_var_size());
            restored.unwrap_or_else(|error| panic!("{error}"));
        }
    }

    /// Takes a crash and the resume after it: encodes all states, forgets them, and decodes them.
    pub fn resume(&mut self) {
        let states = self.snapshot();
        self.restore(&states);
    }

    /// Decodes a state of an older version and encodes it anew.
    pub fn migrate(from_version: u32, bytes: &[u8]) -> Result<Vec<u8>, Error> {
        let mut states = Bytes::default();
        states.push(bytes);
        Ok(state::migrate::<T>(from_version, &states.into_var_size())?.data)
    }

    fn group(&mut self, key: &str) -> u32 {
        *self.groups.entry(key.to_owned()).or_insert_with(|| {
            self.free += 1;
            self.free - 1
        })
    }

    fn opened(&mut self) -> &mut OpenFold {
        &mut self.open.as_mut().expect("an update comes first, for it brings the schema").1
    }
}
