//! Stateful functions under test.

use std::marker::PhantomData;

use serde_json::Value;

use super::rows::{IntoRows, Rows, plain};
use crate::bindings::wxhost::plugin::types::Schema;
use crate::error::Error;
use crate::stateful::{self, Emitted, OpenStateful, Stateful};
use crate::time::Timestamp;

/// Tests a stateful function: `stateful::<Sessions>()`.
pub fn stateful<T: Stateful>() -> StatefulTest<T> {
    StatefulTest {
        config: String::new(),
        open: None,
        keys: Vec::new(),
        now: Timestamp::default(),
        errors: Vec::new(),
        key_errors: Vec::new(),
        function: PhantomData,
    }
}

/// A stateful function under test, with a clock that the test moves.
pub struct StatefulTest<T> {
    config: String,
    open: Option<(Schema, OpenStateful)>,
    /// By group.
    keys: Vec<Key>,
    now: Timestamp,
    errors: Vec<(u32, String)>,
    key_errors: Vec<(String, String)>,
    function: PhantomData<T>,
}

struct Key {
    key: String,
    /// Whether it has a state.
    lives: bool,
    /// When it was last woken, if no row has come since.
    woken: Option<Timestamp>,
    /// Whether it failed when it was woken, and no row has come since.
    sleeps: bool,
}

/// What was emitted: keys and rows. Rows of the one column `value` are plain values.
pub type KeyedRows = Vec<(String, Value)>;

impl<T: Stateful> StatefulTest<T> {
    /// Sets the configuration, as JSON.
    pub fn config(mut self, config: impl ToString) -> Self {
        self.config = config.to_string();
        self
    }

    /// Hands over rows of a key.
    ///
    /// # Panics
    ///
    /// Panics if the function cannot be opened for the rows, or if the whole call fails.
    pub fn rows(&mut self, key: &str, rows: impl IntoRows) -> KeyedRows {
        let rows = rows.into_rows();
        let keys = vec![key; rows.len()];
        self.keyed_rows(&keys, rows)
    }

    /// Hands over one batch of rows of several keys.
    ///
    /// # Panics
    ///
    /// Panics if the function cannot be opened for the rows, or if the whole call fails.
    pub fn keyed_rows(&mut self, keys: &[&str], rows: impl IntoRows) -> KeyedRows {
        self.try_keyed_rows(keys, rows).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Hands over one batch of rows of several keys, or says why that cannot be.
    pub fn try_keyed_rows(&mut self, keys: &[&str], rows: impl IntoRows) -> Result<KeyedRows, Error> {
        let rows = rows.into_rows();
        self.open_for(&rows.schema)?;
        let groups: Vec<u32> = keys.iter().map(|key| self.group(key)).collect();
        let now = self.now.micros();
        let open = self.opened();
        let batch = rows.select(&open.reads);
        let mut emitted = open.groups.on_batch(&groups, &batch, now)?;
        self.errors.extend(emitted.errors.drain(..).map(|error| (error.row, error.message)));
        Ok(self.keyed(emitted))
    }

    /// Moves the clock, waking the keys whose time has come at each such time: those of one time in the order of their
    /// bytes. A time that is past comes at once. A key that was woken and still wants a time that is past is woken again
    /// when the clock has moved on; one that failed sleeps until its next row.
    ///
    /// # Panics
    ///
    /// Panics if a call fails.
    pub fn advance_to(&mut self, now: Timestamp) -> KeyedRows {
        let mut all = Vec::new();
        while self.open.is_some() {
            let groups = self.living();
            let times = self.opened().groups.notify_at(&groups).unwrap_or_else(|error| panic!("{error}"));
            let times = times.into_iter().map(Timestamp::from_micros);
            let wanted: Vec<(u32, Timestamp)> =
                groups.into_iter().zip(times).filter(|(group, _)| !self.keys[*group as usize].sleeps).collect();
            let is_due =
                |(group, at): &&(u32, Timestamp)| *at <= self.now && self.keys[*group as usize].woken != Some(self.now);
            let due: Vec<u32> = wanted.iter().filter(is_due).map(|(group, _)| *group).collect();
            if due.is_empty() {
                // Those that want the past again are woken whenever the clock stops, and at last where it will stand.
                let next = |(_, at): &(u32, Timestamp)| if *at > self.now { *at } else { now };
                match wanted.iter().map(next).min().filter(|next| *next > self.now && *next <= now) {
                    Some(next) => self.now = next,
                    None => break,
                }
                continue;
            }
            for group in &due {
                self.keys[*group as usize].woken = Some(self.now);
            }
            let at_now = self.now.micros();
            let emitted = self.opened().groups.on_notify(&due, at_now).unwrap_or_else(|error| panic!("{error}"));
            for error in &emitted.errors {
                self.keys[due[error.row as usize] as usize].sleeps = true;
            }
            all.extend(self.keyed_of_groups(&due, emitted));
        }
        self.now = self.now.max(now);
        all
    }

    /// Ends the input: all keys are told, in the order of their bytes.
    ///
    /// # Panics
    ///
    /// Panics if the call fails.
    pub fn eof(&mut self) -> KeyedRows {
        let (groups, now) = (self.living(), self.now.micros());
        let emitted = self.opened().groups.on_eof(&groups, now).unwrap_or_else(|error| panic!("{error}"));
        self.keyed_of_groups(&groups, emitted)
    }

    /// Merges the state of the key `from`, which ends, into that of the key `into`: as windows of one key do.
    ///
    /// # Panics
    ///
    /// Panics if the call fails.
    pub fn merge(&mut self, into: &str, from: &str) -> KeyedRows {
        self.try_merge(into, from).unwrap_or_else(|error| panic!("{error}"))
    }

    /// Merges the state of the key `from` into that of the key `into`, or says why that cannot be.
    pub fn try_merge(&mut self, into: &str, from: &str) -> Result<KeyedRows, Error> {
        let (into, from, now) = (self.group(into), self.group(from), self.now.micros());
        self.keys[from as usize].lives = false;
        let emitted = self.opened().groups.merge(&[into], &[from], now)?;
        Ok(self.keyed_of_groups(&[into], emitted))
    }

    /// Closes a key as a window is closed: it is told of the end, and forgotten.
    ///
    /// # Panics
    ///
    /// Panics if the call fails.
    pub fn close(&mut self, key: &str) -> KeyedRows {
        let (group, now) = (self.group(key), self.now.micros());
        let emitted = self.opened().groups.on_eof(&[group], now).unwrap_or_else(|error| panic!("{error}"));
        let rows = self.keyed_of_groups(&[group], emitted);
        self.opened().groups.release(&[group]);
        self.keys[group as usize].lives = false;
        rows
    }

    /// Takes a crash and the resume after it: encodes all states, opens the function anew, and decodes them.
    ///
    /// # Panics
    ///
    /// Panics if a state cannot be encoded or decoded.
    pub fn resume(&mut self) {
        let groups = self.living();
        let Some((schema, open)) = self.open.take() else { return };
        let states = open.groups.snapshot(&groups).unwrap_or_else(|error| panic!("{error}"));
        self.open_for(&schema).unwrap_or_else(|error| panic!("{error}"));
        self.opened().groups.restore(&groups, &states).unwrap_or_else(|error| panic!("{error}"));
    }

    /// Returns the keys that have a state, sorted.
    pub fn keys(&self) -> Vec<&str> {
        self.living().into_iter().map(|group| self.keys[group as usize].key.as_str()).collect()
    }

    /// Takes the rows that failed, by their place in their batch, and why.
    pub fn take_errors(&mut self) -> Vec<(u32, String)> {
        std::mem::take(&mut self.errors)
    }

    /// Takes the keys that failed in calls without rows, and why.
    pub fn take_key_errors(&mut self) -> Vec<(String, String)> {
        std::mem::take(&mut self.key_errors)
    }

    fn open_for(&mut self, schema: &Schema) -> Result<(), Error> {
        match &self.open {
            Some((opened, _)) => {
                assert_eq!(opened, schema, "all rows of a test have the same columns");
            }
            None => self.open = Some((schema.clone(), stateful::open::<T>(schema, &self.config)?)),
        }
        Ok(())
    }

    fn opened(&mut self) -> &mut OpenStateful {
        &mut self.open.as_mut().expect("rows come first, for they bring the schema").1
    }

    /// The groups that have a state, in the order of their keys.
    fn living(&self) -> Vec<u32> {
        let mut groups: Vec<u32> =
            (0..self.keys.len() as u32).filter(|group| self.keys[*group as usize].lives).collect();
        groups.sort_by_key(|group| &self.keys[*group as usize].key);
        groups
    }

    /// Finds the group of a key, to which something comes.
    fn group(&mut self, key: &str) -> u32 {
        let found = self.keys.iter().position(|known| known.key == key);
        let new = Key { key: key.to_owned(), lives: true, woken: None, sleeps: false };
        match found {
            Some(group) => {
                self.keys[group] = new;
                group as u32
            }
            None => {
                self.keys.push(new);
                self.keys.len() as u32 - 1
            }
        }
    }

    fn keyed_of_groups(&mut self, groups: &[u32], mut emitted: Emitted) -> KeyedRows {
        for error in emitted.errors.drain(..) {
            let group = groups[error.row as usize];
            self.key_errors.push((self.keys[group as usize].key.clone(), error.message));
        }
        self.keyed(emitted)
    }

    fn keyed(&mut self, emitted: Emitted) -> KeyedRows {
        let schema = self.opened().output.clone();
        let rows = Rows { schema, batch: emitted.rows }.to_json();
        assert_eq!(rows.len(), emitted.groups.len(), "every row has a group");
        for group in emitted.discarded {
            self.keys[group as usize].lives = false;
        }
        let keyed = |(group, row): (u32, _)| (self.keys[group as usize].key.clone(), plain(row));
        emitted.groups.into_iter().zip(&rows).map(keyed).collect()
    }
}
