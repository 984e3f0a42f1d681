//! What SQLite says when it fails, in our terms where they tell more.

use super::name;
use crate::recovery::error::{StoreError, Trouble};
use rusqlite::ErrorCode;
use std::fmt::Display;
use std::fs::{self, OpenOptions};
use std::path::Path;

/// Says why a file cannot be made or written.
///
/// SQLite has one error for a folder that is read-only, one that is not ours, and a disk without room for another file.
/// The system tells them apart, when it is asked to make a file there.
pub(super) fn cannot_write(path: &Path, error: &rusqlite::Error) -> StoreError {
    if error.sqlite_error_code() == Some(ErrorCode::DiskFull) {
        return full(path.display());
    }
    if is_of_system(error) {
        let file = name(path);
        let probe = path.with_file_name(format!(".{file}.probe"));
        match OpenOptions::new().write(true).create_new(true).open(&probe) {
            Ok(_) => drop(fs::remove_file(&probe)),
            Err(error) => return StoreError::io(path.display(), &error),
        }
    }
    from_sqlite(&name(path), error)
}

/// Says what SQLite says of a file.
pub(super) fn from_sqlite(file: &str, error: &rusqlite::Error) -> StoreError {
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            StoreError::new(Trouble::Busy, file, "another process has it open")
                .help("is the flow running already? stop it first")
        }
        Some(ErrorCode::NotADatabase) => StoreError::damaged(file, "it is not an SQLite file"),
        Some(ErrorCode::DiskFull) => full(file),
        _ if is_of_system(error) => {
            StoreError::new(Trouble::Io, file, error).help("can the folder and its files be read and written?")
        }
        // What remains comes of tables that are not as they were made.
        _ => StoreError::damaged(file, error),
    }
}

fn full(file: impl Display) -> StoreError {
    StoreError::new(Trouble::Io, file, "the disk is full").help("make room, then start again")
}

/// Whether the system refused to open, read or write the file, or one beside it.
pub(super) fn is_of_system(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::CannotOpen | ErrorCode::ReadOnly | ErrorCode::PermissionDenied | ErrorCode::SystemIoFailure)
    )
}
