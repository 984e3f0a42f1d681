//! Custom sources.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::exports::wxhost::plugin::source::Polled as WitPolled;
use crate::bindings::wxhost::plugin::types::Schema;
use crate::config::{self, Config};
use crate::error::Result;
use crate::state;
use crate::time::Timestamp;
use crate::write::{Rows, Write, schema_of};

/// Reads rows from somewhere. Each of its parts is read by one worker at a time, in an instance and on a thread of its
/// own, so that its calls may block.
pub trait Source: Sized + 'static {
    /// What it does, for `wxhost plugin list`.
    const DOC: &'static str = "";

    /// What the flow configures.
    type Config: Config;

    /// A part that is being read.
    type Part: SourcePart;

    /// Makes the source; refuses a configuration that cannot work.
    fn new(config: Self::Config) -> Result<Self>;

    /// Names the parts that there are.
    fn list_parts(&self) -> Result<Vec<String>> {
        Ok(vec!["singleton".into()])
    }

    /// Starts a part, at the position of a snapshot or at its beginning.
    fn build_part(&self, name: &str, resume: Option<PositionOf<Self>>) -> Result<Self::Part>;
}

/// The position of a source's parts.
pub type PositionOf<S> = <<S as Source>::Part as SourcePart>::Position;

/// A part of a source.
pub trait SourcePart: 'static {
    /// The rows: a struct that derives `Row`, or a plain value, which makes the column `value`.
    type Row: Write;

    /// Where to resume.
    type Position: Serialize + DeserializeOwned;

    /// Returns the next rows, at most `max_rows`.
    fn next_batch(&mut self, max_rows: usize) -> Result<Polled<Self::Row>>;

    /// Returns the position after the last row handed out.
    fn snapshot(&self) -> Result<Self::Position>;

    /// Ends the part, at its end or when the flow stops.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// What a part has to offer.
#[derive(Debug, Clone, PartialEq)]
pub enum Polled<T> {
    /// Rows. None at all means: ask again soon.
    Data(Vec<T>),
    /// Nothing before this time.
    Idle(Timestamp),
    /// Nothing more in this execution.
    End,
}

/// A source that was opened, as `source.wit` describes the calls.
pub trait OpenSource {
    /// Returns the schema of its rows.
    fn output(&self) -> Schema;
    /// Names its parts.
    fn list_parts(&self) -> Result<Vec<String>>;
    /// Starts a part.
    fn build_part(&self, name: &str, position: Option<&[u8]>) -> Result<Box<dyn OpenSourcePart>>;
}

/// A part that was started.
pub trait OpenSourcePart {
    /// Returns the next rows.
    fn next_batch(&mut self, max_rows: u32) -> Result<WitPolled>;
    /// Encodes the position.
    fn snapshot(&self) -> Result<Vec<u8>>;
    /// Ends it.
    fn close(&mut self) -> Result<()>;
}

/// Opens a source.
pub fn open<S: Source>(config: &str) -> Result<Box<dyn OpenSource>> {
    Ok(Box::new(Opened(S::new(config::parse(config)?)?)))
}

struct Opened<S>(S);

impl<S: Source> OpenSource for Opened<S> {
    fn output(&self) -> Schema {
        schema_of::<<S::Part as SourcePart>::Row>()
    }

    fn list_parts(&self) -> Result<Vec<String>> {
        self.0.list_parts()
    }

    fn build_part(&self, name: &str, position: Option<&[u8]>) -> Result<Box<dyn OpenSourcePart>> {
        let resume = position.map(state::decode).transpose()?;
        Ok(Box::new(OpenedPart(self.0.build_part(name, resume)?)))
    }
}

struct OpenedPart<P>(P);

impl<P: SourcePart> OpenSourcePart for OpenedPart<P> {
    fn next_batch(&mut self, max_rows: u32) -> Result<WitPolled> {
        Ok(match self.0.next_batch(max_rows as usize)? {
            Polled::Data(rows) if rows.is_empty() => WitPolled::Idle(0),
            Polled::Data(rows) => {
                let mut built = Rows::with_capacity(rows.len());
                rows.into_iter().for_each(|row| built.push(row));
                WitPolled::Data(built.finish())
            }
            Polled::Idle(until) => WitPolled::Idle(until.micros()),
            Polled::End => WitPolled::End,
        })
    }

    fn snapshot(&self) -> Result<Vec<u8>> {
        state::encode(&self.0.snapshot()?, Vec::new())
    }

    fn close(&mut self) -> Result<()> {
        self.0.close()
    }
}
