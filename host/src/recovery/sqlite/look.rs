//! Parts that are only looked into, and copies of parts.
//!
//! Looking changes nothing: the log that a crash left stays as it is, for the flow to find. The file is locked meanwhile
//! as it is by a flow, so that what is read is of one time. Where nothing can be written, SQLite can lock nothing, and
//! reads a file that has no log beside it as one that nobody changes.

use super::trouble::{cannot_write, from_sqlite, is_of_system};
use super::{SqlitePart, check_file, check_kind, name, read_catalogue, secure};
use crate::recovery::error::{StoreError, Trouble};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags};
use std::path::{Path, PathBuf};

impl SqlitePart {
    /// Opens a part to read it, and changes nothing.
    ///
    /// # Errors
    /// The file is not a part of this version, is damaged, or in use.
    pub fn look(path: &Path) -> Result<Self, StoreError> {
        let file = name(path);
        check_file(path, &file)?;
        let connection = connect(path, &file)?;
        let version = check_kind(&connection, &file)?;
        let catalogue = read_catalogue(&connection, &file)?;
        Ok(SqlitePart { path: path.to_owned(), connection, catalogue, version, logged: 0 })
    }

    /// Writes a copy of the part, with what is in its log, to a file that is not there yet.
    ///
    /// # Errors
    /// The part cannot be read, or the file cannot be written.
    pub fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let copied = || {
            // For SQLite, the new file is attached to the part, and written.
            self.connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 1)?;
            self.connection.pragma_update(None, "query_only", false)?;
            let copied = self.connection.execute("VACUUM INTO ?1", [path.to_string_lossy()]);
            self.connection.pragma_update(None, "query_only", true)?;
            self.connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
            copied?;
            let copy = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_WRITE)?;
            copy.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
            copy.close().map_err(|(_, error)| error)
        };
        copied().map_err(|error| cannot_write(path, &error))
    }
}

fn connect(path: &Path, file: &str) -> Result<Connection, StoreError> {
    let log = log_of(path);
    let has_log = log.exists();
    if !is_protected(path) {
        match connect_locked(path, has_log) {
            Ok(connection) => return Ok(connection),
            Err(error) if !is_of_system(&error) => return Err(from_sqlite(file, &error)),
            // The folder cannot be written.
            Err(_) => {}
        }
    }
    if has_log {
        let message = format!("{} is beside it, and the folder cannot be written", name(&log));
        let help = "if the flow is not running, copy the folder to where it can be written, and look at the copy";
        return Err(StoreError::new(Trouble::Io, file, message).help(help));
    }
    connect_unlocked(path).map_err(|error| from_sqlite(file, &error))
}

fn connect_locked(path: &Path, has_log: bool) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    secure(&connection)?;
    // A log that is there stays as it is. One that is not is made by SQLite, empty, and removed when it closes.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, has_log)?;
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update(None, "query_only", true)?;
    connection.pragma_query_value(None, "schema_version", |row| row.get::<_, i64>(0))?;
    Ok(connection)
}

fn connect_unlocked(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
    let path = path.to_str().ok_or_else(|| rusqlite::Error::InvalidPath(path.to_owned()))?;
    let path = path.replace('%', "%25").replace('?', "%3f").replace('#', "%23");
    let connection = Connection::open_with_flags(format!("file:{path}?immutable=1"), flags)?;
    secure(&connection)?;
    Ok(connection)
}

/// Whether nobody may write the file or its folder, by what is written on them.
pub(super) fn is_protected(path: &Path) -> bool {
    let is_protected = |path: &Path| path.metadata().is_ok_and(|found| found.permissions().readonly());
    is_protected(path) || path.parent().is_some_and(is_protected)
}

fn log_of(path: &Path) -> PathBuf {
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    log.into()
}
