//! Sinks under test.

use super::rows::IntoRows;
use crate::bindings::wxhost::plugin::types::Schema;
use crate::error::Error;
use crate::sink::{self, OpenSinkPart, Sink};

/// Tests a sink with a configuration in JSON. The rows that it wrote are wherever it writes them.
pub fn sink<S: Sink>(config: impl ToString) -> SinkTest<S> {
    SinkTest { config: config.to_string(), name: "part".into(), part: None, sink: std::marker::PhantomData }
}

/// One part of a sink under test.
pub struct SinkTest<S> {
    config: String,
    name: String,
    part: Option<(Schema, Vec<u32>, Box<dyn OpenSinkPart>)>,
    sink: std::marker::PhantomData<S>,
}

impl<S: Sink> SinkTest<S> {
    /// Chooses the part that is written.
    pub fn part(mut self, name: &str) -> Self {
        name.clone_into(&mut self.name);
        self
    }

    /// Writes a batch. Returns the rows that were refused, and why.
    pub fn write(&mut self, rows: impl IntoRows) -> Result<Vec<(u32, String)>, Error> {
        let rows = rows.into_rows();
        if self.part.is_none() {
            self.start(&rows.schema, None)?;
        }
        let (schema, reads, part) = self.started();
        assert_eq!(*schema, rows.schema, "all rows of a test have the same columns");
        let errors = part.write(&rows.select(reads))?;
        Ok(errors.into_iter().map(|error| (error.row, error.message)).collect())
    }

    /// Ends an epoch: takes the position and stages what was written, as the host does. Returns what to commit.
    pub fn pre_commit(&mut self, epoch: u64) -> Result<Vec<u8>, Error> {
        let (_, _, part) = self.started();
        part.snapshot()?;
        part.pre_commit(epoch)
    }

    /// Commits an epoch.
    pub fn commit(&mut self, epoch: u64, staged: &[u8]) -> Result<(), Error> {
        self.started().2.commit(epoch, staged)
    }

    /// Encodes the position, starts the part anew and goes on from there, as after a crash.
    pub fn resume(&mut self) -> Result<(), Error> {
        let (schema, _, part) = self.started();
        let (schema, position) = (schema.clone(), part.snapshot()?);
        self.start(&schema, Some(&position))
    }

    /// Ends the part.
    pub fn close(&mut self) -> Result<(), Error> {
        self.started().2.close()
    }

    fn start(&mut self, schema: &Schema, position: Option<&[u8]>) -> Result<(), Error> {
        let open = sink::open::<S>(schema, &self.config)?;
        let part = open.build_part(&self.name, position)?;
        self.part = Some((schema.clone(), open.reads().to_vec(), part));
        Ok(())
    }

    fn started(&mut self) -> &mut (Schema, Vec<u32>, Box<dyn OpenSinkPart>) {
        self.part.as_mut().expect("a write comes first, for it brings the schema")
    }
}
