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
        function: PhantomData,
    }
}

/// A stateful function under test, with a clock that the test moves.
pub struct StatefulTest<T> {
    config: String,
    open: Option<(Schema, OpenStateful)>,
    /// The key of each group, and whether it has a state.
    keys: Vec<(String, bool)>,
    now: Timestamp,
    errors: Vec<(u32, String)>,
    function: PhantomData<T>,
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
        let rows = rows.into_rows();
        self.open_for(&rows.schema).unwrap_or_else(|error| panic!("{error}"));
        let groups: Vec<u32> = keys.iter().map(|key| self.group(key)).collect();
        let now = self.now.micros();
        let open = self.opened();
        let batch = rows.select(&open.reads);
        let emitted = open.groups.on_batch(&groups, &batch, now);
        self.take(emitted)
    }

    /// Moves the clock, waking the keys whose time has come, each at its own time.
    ///
    /// # Panics
    ///
    /// Panics if a call fails.
    pub fn advance_to(&mut self, now: Timestamp) -> KeyedRows {
        let mut all = Vec::new();
        while self.open.is_some() {
            let groups = self.living();
            let times = self.opened().groups.notify_at(&groups).unwrap_or_else(|error| panic!("{error}"));
            let Some((at, group)) = times.into_iter().zip(groups).filter(|(at, _)| *at <= now.micros()).min() else {
                break;
            };
            self.now = self.now.max(Timestamp::from_micros(at));
            let at_now = self.now.micros();
            let emitted = self.opened().groups.on_notify(&[group], at_now);
            all.extend(self.take(emitted));
            if self.living().contains(&group) {
                let next = self.opened().groups.notify_at(&[group]).unwrap_or_else(|error| panic!("{error}"));
                assert_ne!(next, [at], "a key that was woken asks for the same time again, so it would never end");
            }
        }
        self.now = self.now.max(now);
        all
    }

    /// Ends the input.
    ///
    /// # Panics
    ///
    /// Panics if the call fails.
    pub fn eof(&mut self) -> KeyedRows {
        let (groups, now) = (self.living(), self.now.micros());
        let emitted = self.opened().groups.on_eof(&groups, now);
        self.take(emitted)
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

    /// Returns the keys that have a state.
    pub fn keys(&self) -> Vec<&str> {
        self.keys.iter().filter(|(_, lives)| *lives).map(|(key, _)| key.as_str()).collect()
    }

    /// Takes the rows that failed, by their place in their batch, and why.
    pub fn take_errors(&mut self) -> Vec<(u32, String)> {
        std::mem::take(&mut self.errors)
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

    fn living(&self) -> Vec<u32> {
        (0..self.keys.len() as u32).filter(|group| self.keys[*group as usize].1).collect()
    }

    fn group(&mut self, key: &str) -> u32 {
        let found = self.keys.iter().position(|(known, _)| known == key);
        let group = found.unwrap_or_else(|| {
            self.keys.push((key.to_owned(), true));
            self.keys.len() - 1
        });
        self.keys[group].1 = true;
        group as u32
    }

    fn take(&mut self, emitted: Result<Emitted, Error>) -> KeyedRows {
        let emitted = emitted.unwrap_or_else(|error| panic!("{error}"));
        let schema = self.opened().output.clone();
        let rows = Rows { schema, batch: emitted.rows }.to_json();
        assert_eq!(rows.len(), emitted.groups.len(), "every row has a group");
        self.errors.extend(emitted.errors.into_iter().map(|error| (error.row, error.message)));
        for group in emitted.discarded {
            self.keys[group as usize].1 = false;
        }
        let keyed = |(group, row): (u32, _)| (self.keys[group as usize].0.clone(), plain(row));
        emitted.groups.into_iter().zip(&rows).map(keyed).collect()
    }
}
