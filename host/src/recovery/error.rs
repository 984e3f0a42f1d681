//! What can be wrong with a store.

use crate::dataflow::error::{Domain, LogicError};
use std::fmt::Display;
use std::io::ErrorKind;

/// What kind of trouble it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// The store is sound, but not one to go on from here; starting again does not help.
    Refused,
    /// The store is not what was written. Nothing is read from it, and nothing written.
    Damaged,
    /// Another process has it open.
    Busy,
    /// The system could not read or write.
    Io,
}

/// Why a store cannot be used. The message names the file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct StoreError {
    pub trouble: Trouble,
    /// Lower case, no final period.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// What is known besides.
    pub notes: Vec<String>,
}

impl StoreError {
    /// Makes an error about a file.
    pub fn new(trouble: Trouble, file: impl Display, message: impl Display) -> Self {
        StoreError { trouble, message: format!("recovery store, {file}: {message}"), help: None, notes: Vec::new() }
    }

    /// Makes an error about a file that is damaged.
    pub fn damaged(file: impl Display, message: impl Display) -> Self {
        let help =
            "put a copy of all files of the store in its place, all of the same time, or begin with a new folder";
        Self::new(Trouble::Damaged, file, message).help(help)
    }

    /// Makes an error of the system about a file.
    pub fn io(file: impl Display, error: &std::io::Error) -> Self {
        let help = match error.kind() {
            ErrorKind::NotADirectory | ErrorKind::AlreadyExists => {
                Some("a file stands where the folder is wanted; name another one")
            }
            ErrorKind::PermissionDenied => Some("let the user that runs wxhost write there, or name another folder"),
            ErrorKind::ReadOnlyFilesystem => Some("mount it so that it can be written, or name another folder"),
            ErrorKind::StorageFull | ErrorKind::QuotaExceeded => {
                Some("make room and start again; nothing that was durable is lost")
            }
            ErrorKind::NotFound => Some("name a folder that is there, or can be made"),
            _ => None,
        };
        StoreError { help: help.map(str::to_owned), ..Self::new(Trouble::Io, file, error) }
    }

    /// Adds what to do about it.
    pub fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

impl From<StoreError> for LogicError {
    fn from(error: StoreError) -> Self {
        let domain = if error.trouble == Trouble::Busy { Domain::External } else { Domain::Io };
        LogicError { help: error.help, notes: error.notes, ..LogicError::new(domain, error.message) }
    }
}
