//! Custom sinks.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::bindings::wxhost::plugin::types::{Batch, RowError, Schema};
use crate::config::{self, Config};
use crate::error::Result;
use crate::read::{Read, RowPlan};
use crate::state;

/// Writes rows to somewhere. Each of its parts is written by one worker at a time, in an instance and on a thread of
/// its own, so that its calls may block.
pub trait Sink: Sized + 'static {
    /// What it does, for `wxhost plugin list`.
    const DOC: &'static str = "";

    /// Whether the parts stage and commit, which makes the sink exactly once. Any other sink is at least once.
    const TWO_PHASE: bool = false;

    /// What the flow configures.
    type Config: Config;

    /// A part that is being written.
    type Part: SinkPart;

    /// Makes the sink; refuses a configuration that cannot work.
    fn new(config: Self::Config) -> Result<Self>;

    /// Names the parts that can be written; rows of one key go to one part. None: each worker writes one of its own.
    fn list_parts(&self) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// Starts a part, at the position of a snapshot or anew.
    fn build_part(&self, name: &str, resume: Option<PositionOf<Self>>) -> Result<Self::Part>;
}

/// The position of a sink's parts.
pub type PositionOf<S> = <<S as Sink>::Part as SinkPart>::Position;

/// A part of a sink.
pub trait SinkPart: 'static {
    /// The rows that it takes: a struct that derives `Row`, or one value.
    type In<'a>: Read<'a>;

    /// Where to resume; `()` if it makes no difference.
    type Position: Serialize + DeserializeOwned;

    /// Writes a row, or refuses it by a user error.
    fn write(&mut self, row: Self::In<'_>) -> Result<()>;

    /// Ends a batch: what was written may go out now.
    fn flush(&mut self) -> Result<()> {
        Ok(())
    }

    /// Returns the position after the last row, at the end of an epoch.
    fn snapshot(&mut self) -> Result<Self::Position>;

    /// Stages an epoch so that it survives a crash; returns what `commit` needs to know. For `TWO_PHASE` only.
    fn pre_commit(&mut self, epoch: u64) -> Result<Vec<u8>> {
        let _ = epoch;
        Ok(Vec::new())
    }

    /// Makes a staged epoch visible. Doing it twice must be the same as doing it once. For `TWO_PHASE` only.
    fn commit(&mut self, epoch: u64, staged: &[u8]) -> Result<()> {
        let _ = (epoch, staged);
        Ok(())
    }

    /// Ends the part, at the end of input or when the flow stops.
    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}

/// A sink that was opened, as `sink.wit` describes the calls.
pub trait OpenSink {
    /// Returns the columns that it reads.
    fn reads(&self) -> &[u32];
    /// Says whether it stages and commits.
    fn two_phase(&self) -> bool;
    /// Names its parts.
    fn list_parts(&self) -> Result<Vec<String>>;
    /// Starts a part.
    fn build_part(&self, name: &str, position: Option<&[u8]>) -> Result<Box<dyn OpenSinkPart>>;
}

/// A part that was started.
pub trait OpenSinkPart {
    /// Writes a batch.
    fn write(&mut self, rows: &Batch) -> Result<Vec<RowError>>;
    /// Encodes the position.
    fn snapshot(&mut self) -> Result<Vec<u8>>;
    /// Stages an epoch.
    fn pre_commit(&mut self, epoch: u64) -> Result<Vec<u8>>;
    /// Commits an epoch.
    fn commit(&mut self, epoch: u64, staged: &[u8]) -> Result<()>;
    /// Ends it.
    fn close(&mut self) -> Result<()>;
}

/// Opens a sink for rows of a schema.
pub fn open<S: Sink>(input: &Schema, config: &str) -> Result<Box<dyn OpenSink>> {
    let sink = S::new(config::parse(config)?)?;
    let plan = RowPlan::of::<<S::Part as SinkPart>::In<'static>>(input, "value")?;
    Ok(Box::new(Opened { sink, plan }))
}

struct Opened<S> {
    sink: S,
    plan: RowPlan,
}

impl<S: Sink> OpenSink for Opened<S> {
    fn reads(&self) -> &[u32] {
        &self.plan.reads
    }

    fn two_phase(&self) -> bool {
        S::TWO_PHASE
    }

    fn list_parts(&self) -> Result<Vec<String>> {
        self.sink.list_parts()
    }

    fn build_part(&self, name: &str, position: Option<&[u8]>) -> Result<Box<dyn OpenSinkPart>> {
        let resume = position.map(state::decode).transpose()?;
        Ok(Box::new(OpenedPart { part: self.sink.build_part(name, resume)?, plan: self.plan.clone() }))
    }
}

struct OpenedPart<P> {
    part: P,
    plan: RowPlan,
}

impl<P: SinkPart> OpenSinkPart for OpenedPart<P> {
    fn write(&mut self, rows: &Batch) -> Result<Vec<RowError>> {
        let columns = self.plan.bind::<P::In<'_>>(rows)?;
        let mut errors = Vec::new();
        for row in 0..rows.rows as usize {
            if let Err(error) = self.plan.get::<P::In<'_>>(&columns, row).and_then(|row| self.part.write(row)) {
                errors.push(error.of_row(row)?);
            }
        }
        self.part.flush()?;
        Ok(errors)
    }

    fn snapshot(&mut self) -> Result<Vec<u8>> {
        state::encode(&self.part.snapshot()?, Vec::new())
    }

    fn pre_commit(&mut self, epoch: u64) -> Result<Vec<u8>> {
        self.part.pre_commit(epoch)
    }

    fn commit(&mut self, epoch: u64, staged: &[u8]) -> Result<()> {
        self.part.commit(epoch, staged)
    }

    fn close(&mut self) -> Result<()> {
        self.part.close()
    }
}
