//! Sources under test.

use serde_json::{Map, Value};

use super::rows::{Rows, plain};
use crate::bindings::exports::wxhost::plugin::source::Polled;
use crate::error::Error;
use crate::source::{self, OpenSource, OpenSourcePart, Source};
use crate::time::Timestamp;

/// Tests a source with a configuration in JSON: `source::<WebEvents>(json!({"rows": 10}))`.
///
/// # Panics
///
/// Panics if the source refuses the configuration; [`SourceTest::open`] says why instead.
pub fn source<S: Source>(config: impl ToString) -> SourceTest {
    SourceTest::open::<S>(config).unwrap_or_else(|error| panic!("{error}"))
}

/// One part of a source under test.
pub struct SourceTest {
    source: Box<dyn OpenSource>,
    name: String,
    part: Option<Box<dyn OpenSourcePart>>,
}

impl SourceTest {
    /// Opens a source, or says why it cannot be.
    pub fn open<S: Source>(config: impl ToString) -> Result<Self, Error> {
        let source = source::open::<S>(&config.to_string())?;
        let name = source.list_parts()?.into_iter().next().unwrap_or_default();
        Ok(Self { source, name, part: None })
    }

    /// Returns the names of the parts. The test reads the first, unless [`Self::part`] chooses another.
    pub fn parts(&self) -> Result<Vec<String>, Error> {
        self.source.list_parts()
    }

    /// Chooses the part that is read.
    pub fn part(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Returns the names and types of the columns: `name: type, ...`.
    pub fn columns(&self) -> String {
        crate::schema::list_columns(&self.source.output())
    }

    /// Polls until some rows came, or the end. An idle source finds the clock of `now` at the time that it asked for.
    ///
    /// # Panics
    ///
    /// Panics if a call fails, or if the source hands out more rows than it was asked for.
    pub fn read(&mut self, at_least: usize, max_rows: usize) -> Vec<Value> {
        let mut all = Vec::new();
        while all.len() < at_least {
            match self.poll(max_rows) {
                Some(rows) => all.extend(rows.iter().map(plain)),
                None => break,
            }
        }
        all
    }

    /// Polls to the end.
    ///
    /// # Panics
    ///
    /// Panics if a call fails.
    pub fn read_to_end(&mut self) -> Vec<Value> {
        self.read(usize::MAX, 1000)
    }

    /// Encodes the position, starts the part anew and goes on from there, as after a crash.
    ///
    /// # Panics
    ///
    /// Panics if a call fails.
    pub fn resume(&mut self) {
        let position = self.started().snapshot().unwrap_or_else(|error| panic!("{error}"));
        let part = self.source.build_part(&self.name, Some(&position));
        self.part = Some(part.unwrap_or_else(|error| panic!("{error}")));
    }

    /// Ends the part.
    pub fn close(mut self) -> Result<(), Error> {
        self.started().close()
    }

    fn poll(&mut self, max_rows: usize) -> Option<Vec<Map<String, Value>>> {
        let polled = self.started().next_batch(max_rows as u32).unwrap_or_else(|error| panic!("{error}"));
        match polled {
            Polled::Data(batch) => {
                assert!(batch.rows as usize <= max_rows, "{} rows, asked for at most {max_rows}", batch.rows);
                Some(Rows { schema: self.source.output(), batch }.to_json())
            }
            Polled::Idle(until) => {
                super::set_now(Timestamp::from_micros(until).max(crate::now()));
                Some(Vec::new())
            }
            Polled::End => None,
        }
    }

    fn started(&mut self) -> &mut dyn OpenSourcePart {
        let start = || self.source.build_part(&self.name, None).unwrap_or_else(|error| panic!("{error}"));
        self.part.get_or_insert_with(start).as_mut()
    }
}
