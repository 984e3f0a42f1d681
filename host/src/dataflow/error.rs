//! What can go wrong in a running step, and whose fault it is.

use crate::data::ids::{StepId, WorkerIndex};
use std::fmt;

/// Whose fault a failure is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Domain {
    /// The data: a row that cannot be handled.
    User,
    /// Something outside that does not answer, or refuses.
    External,
    /// Reading or writing a file.
    Io,
    /// A plugin: it trapped, broke its limits or its contract.
    Plugin,
    /// This program.
    Internal,
}

/// A failure of a step's logic, which does not know the name of its step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogicError {
    pub domain: Domain,
    /// Lower case, no final period.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// What else is known: a guest's backtrace, its last lines on stderr.
    pub notes: Vec<String>,
    /// The source partition and row that the failing row came from, where known.
    pub place: Option<String>,
}

impl LogicError {
    /// Makes an error of a domain.
    pub fn new(domain: Domain, message: impl Into<String>) -> Self {
        LogicError { domain, message: message.into(), help: None, notes: Vec::new(), place: None }
    }

    /// Makes an error in the data.
    pub fn user(message: impl Into<String>) -> Self {
        Self::new(Domain::User, message)
    }

    /// Makes an error of something outside.
    pub fn external(message: impl Into<String>) -> Self {
        Self::new(Domain::External, message)
    }

    /// Makes an error of reading or writing `what`.
    pub fn io(what: impl fmt::Display, error: &std::io::Error) -> Self {
        Self::new(Domain::Io, format!("{what}: {error}"))
    }

    /// Makes an error of a plugin.
    pub fn plugin(message: impl Into<String>) -> Self {
        Self::new(Domain::Plugin, message)
    }

    /// Makes an error of this program.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Domain::Internal, message)
    }

    /// Adds what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// Adds where the failing row came from.
    pub fn at(mut self, place: Option<String>) -> Self {
        self.place = place;
        self
    }

    /// Adds what else is known.
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.notes.push(note.into());
        self
    }
}

impl fmt::Display for LogicError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for LogicError {}

impl From<arrow::error::ArrowError> for LogicError {
    // Schemas are checked when the plan is made, so Arrow refuses only what this program got wrong.
    fn from(error: arrow::error::ArrowError) -> Self {
        LogicError::internal(error.to_string())
    }
}

/// A failure of a step: a logic error and where it happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepError {
    pub step: StepId,
    pub worker: WorkerIndex,
    pub error: Box<LogicError>,
}

impl fmt::Display for StepError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "step \"{}\"", self.step)?;
        if let Some(place) = &self.error.place {
            write!(f, ", {place}")?;
        }
        write!(f, ": {}", self.error)
    }
}

impl std::error::Error for StepError {}
