//! A part of the store as an SQLite file. Only this file and its children know SQL.

mod look;
pub mod query;
mod restored;
mod trouble;

use super::catalogue::{
    BlockRow, Catalogue, Execution, Hash, Identity, Layer, PositionRow, Role, Sealed, Step, StepNumber,
};
use super::compact::damaged;
use super::error::{StoreError, Trouble};
use super::part::{PartStore, Transaction};
use crate::data::ids::PartitionId;
use crate::data::key::KEY_GROUPS;
use crate::data::time::{Epoch, Instant};
use rusqlite::config::DbConfig;
use rusqlite::limits::Limit;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use trouble::{cannot_write, from_sqlite};

/// "WXH1", at a fixed place in the file: what kind of file it is.
const APPLICATION: i64 = 0x5758_4831;
/// The version of the format. Another version is another number here and a migration.
const VERSION: i64 = 2;
/// The oldest version that is read, and made one of [`VERSION`] when it is written to. In version 1 a slice had one base at
/// most, not above the floor.
const OLDEST: i64 = 1;
/// How keys find their group.
const HASH: &str = "xxh3-64/v1";
/// The largest value: what a corrupt length can make us allocate.
const LARGEST: i32 = 64 << 20;
/// Bytes written after which the log is put back into the file. What is left of it at the end of a flow keeps that up.
const LOG: u64 = 256 << 10;

/// The size to which the log's file is cut when it is put back: one large epoch must not take its room for ever.
const MOST_LOG: i64 = 4 << 20;

/// An open part. Nobody else can open the file meanwhile.
pub struct SqlitePart {
    path: PathBuf,
    connection: Connection,
    catalogue: Catalogue,
    /// The version that the file says.
    version: i64,
    /// Bytes written since the log was last put back.
    logged: u64,
}

/// Makes a new part at `path`, where there is no file; it is complete when this returns, and may not be on disk yet.
///
/// # Errors
/// The file cannot be written.
pub fn create(path: &Path, identity: Identity) -> Result<(), StoreError> {
    let catalogue = Catalogue::new(name(path), identity);
    let made = || -> rusqlite::Result<()> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = Connection::open_with_flags(path, flags)?;
        connection.pragma_update(None, "page_size", 8192)?;
        // What is not whole is made anew: nothing need be taken back, and one sync at the end is enough.
        connection.pragma_update_and_check(None, "journal_mode", "OFF", |_| Ok(()))?;
        connection.pragma_update(None, "synchronous", "OFF")?;
        let transaction = connection.transaction()?;
        transaction.execute_batch(include_str!("schema.sql"))?;
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        transaction.pragma_update(None, "user_version", VERSION)?;
        let identity = &catalogue.identity;
        let mut insert = transaction.prepare("INSERT INTO meta(k, v) VALUES (?1, ?2)")?;
        insert.execute(params!["store", identity.store])?;
        insert.execute(params!["flow", &*identity.flow.0])?;
        insert.execute(params!["part", identity.part.cast_signed()])?;
        insert.execute(params!["parts", identity.parts.cast_signed()])?;
        insert.execute(params!["key_groups", KEY_GROUPS.cast_signed()])?;
        insert.execute(params!["hash", HASH])?;
        insert.execute(params!["floor", 0])?;
        insert.execute(params!["check", catalogue.check])?;
        drop(insert);
        transaction.commit()?;
        connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
        connection.close().map_err(|(_, error)| error)
    };
    made().map_err(|error| cannot_write(path, &error))
}

impl SqlitePart {
    /// Opens a part and reads its catalogue.
    ///
    /// # Errors
    /// The file is not a part of this version, is damaged, or in use.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let file = name(path);
        check_file(path, &file)?;
        if look::is_protected(path) {
            let help = "a flow writes its store: take the protection away, or give the flow a copy that it may write";
            return Err(StoreError::new(Trouble::Io, &file, "it is read-only, or its folder is").help(help));
        }
        let connection = connect(path).map_err(|error| cannot_write(path, &error))?;
        let version = check_kind(&connection, &file)?;
        let catalogue = read_catalogue(&connection, &file)?;
        Ok(SqlitePart { path: path.to_owned(), connection, catalogue, version, logged: 0 })
    }

    fn write(&mut self, t: &Transaction) -> rusqlite::Result<bool> {
        // Takes the write lock at once: who reads first and then writes may find another writer between.
        let transaction = rusqlite::Transaction::new(&mut self.connection, rusqlite::TransactionBehavior::Immediate)?;
        let last: i64 = transaction.query_row("SELECT coalesce(max(x), 0) FROM executions", [], |row| row.get(0))?;
        if last != t.fence.cast_signed() {
            return Ok(false);
        }
        for (sql, ids) in [
            ("DELETE FROM executions WHERE x = ?1", t.removed_executions.iter().map(|x| x.cast_signed()).collect()),
            ("DELETE FROM steps WHERE step = ?1", t.removed_steps.clone()),
            ("DELETE FROM epochs WHERE epoch = ?1", t.removed_sealed.iter().map(|e| e.0.cast_signed()).collect()),
            ("DELETE FROM bases WHERE id = ?1", ids(&t.removed_blocks, Layer::Base)),
            ("DELETE FROM deltas WHERE id = ?1", ids(&t.removed_blocks, Layer::Delta)),
            ("DELETE FROM sources WHERE id = ?1", ids(&t.removed_positions, Role::Source)),
            ("DELETE FROM sinks WHERE id = ?1", ids(&t.removed_positions, Role::Sink)),
        ] {
            let mut delete = transaction.prepare(sql)?;
            for id in ids {
                delete.execute([id])?;
            }
        }
        if let Some(e) = &t.execution {
            let sql =
                "INSERT INTO executions(x, started_at, workers, resume_epoch, wxhost) VALUES (?1, ?2, ?3, ?4, ?5)";
            let numbers = (e.number.cast_signed(), e.started_at.0, e.workers.cast_signed(), e.resume.0.cast_signed());
            transaction.execute(sql, params![numbers.0, numbers.1, numbers.2, numbers.3, e.wxhost])?;
        }
        for (number, step) in &t.steps {
            let sql = "INSERT OR REPLACE INTO steps(step, step_id, kind, fingerprint) VALUES (?1, ?2, ?3, ?4)";
            transaction.execute(sql, params![number, &*step.id.0, step.kind, step.fingerprint])?;
        }
        for (layer, table) in [(Layer::Base, "bases"), (Layer::Delta, "deltas")] {
            let columns = "(id, epoch, step, grp_lo, grp_hi, n, crc, block)";
            let sql = format!("INSERT INTO {table}{columns} VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)");
            let mut insert = transaction.prepare(&sql)?;
            for (b, bytes) in t.blocks.iter().filter(|(block, _)| block.layer == layer) {
                let [epoch, lo, hi, n] = [b.epoch.0, b.groups.0, b.groups.1, b.rows].map(u64::cast_signed);
                insert.execute(params![b.id, epoch, b.step, lo, hi, n, b.crc, bytes])?;
            }
        }
        for (role, table, column) in [(Role::Source, "sources", "position"), (Role::Sink, "sinks", "manifest")] {
            let sql =
                format!("INSERT INTO {table}(id, epoch, step, part, crc, {column}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
            let mut insert = transaction.prepare(&sql)?;
            for p in t.positions.iter().filter(|position| position.role == role) {
                insert.execute(params![p.id, p.epoch.0.cast_signed(), p.step, &*p.part.0, p.crc, p.bytes])?;
            }
        }
        if let Some(s) = &t.sealed {
            let sql = "INSERT INTO epochs(epoch, x, sealed_at, chain) VALUES (?1, ?2, ?3, ?4)";
            transaction.execute(sql, params![s.epoch.0.cast_signed(), s.execution.cast_signed(), s.at.0, s.chain])?;
        }
        if (t.floor, t.check) != (self.catalogue.floor, self.catalogue.check) {
            let mut update = transaction.prepare("UPDATE meta SET v = ?2 WHERE k = ?1")?;
            update.execute(params!["floor", t.floor.0.cast_signed()])?;
            update.execute(params!["check", t.check])?;
        }
        if self.version < VERSION {
            transaction.pragma_update(None, "user_version", VERSION)?;
        }
        transaction.commit()?;
        self.version = VERSION;
        Ok(true)
    }

    /// Puts the log back into the file. It is written from its start then, where the disk has room for it.
    fn checkpoint(&mut self) -> rusqlite::Result<()> {
        self.connection.query_row("PRAGMA wal_checkpoint(RESTART)", [], |_| Ok(()))?;
        self.logged = 0;
        Ok(())
    }

    /// After a failed write nothing is known of what the system keeps in memory as written; closing must not write
    /// more, as if nothing had been.
    fn failed(&self, error: &rusqlite::Error) -> StoreError {
        self.connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).ok();
        cannot_write(&self.path, error)
    }
}

impl PartStore for SqlitePart {
    fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), StoreError> {
        match self.write(&transaction) {
            Ok(true) => {}
            Ok(false) => {
                let message = "another execution has taken the store over";
                return Err(StoreError::new(Trouble::Refused, &self.catalogue.file, message));
            }
            Err(error) => return Err(self.failed(&error)),
        }
        self.logged += transaction.blocks.iter().map(|(block, _)| block.bytes).sum::<u64>();
        self.logged += transaction.positions.iter().map(|position| position.bytes.len() as u64).sum::<u64>();
        // What every transaction costs: the pages that it touches.
        self.logged += 32 << 10;
        self.catalogue.apply(&transaction);
        Ok(())
    }

    fn read(&self, block: &BlockRow) -> Result<Vec<u8>, StoreError> {
        let sql = match block.layer {
            Layer::Base => "SELECT block FROM bases WHERE id = ?1",
            Layer::Delta => "SELECT block FROM deltas WHERE id = ?1",
        };
        let bytes: Option<Vec<u8>> = self
            .connection
            .query_row(sql, [block.id], |row| row.get(0))
            .optional()
            .map_err(|error| from_sqlite(&self.catalogue.file, &error))?;
        match bytes {
            Some(bytes) if block.checksum(&bytes) == block.crc => Ok(bytes),
            Some(_) => Err(damaged(&self.catalogue, block, "its checksum is wrong")),
            None => Err(damaged(&self.catalogue, block, "it is missing")),
        }
    }

    fn rest(&mut self, were_last: bool) -> Result<(), StoreError> {
        if self.logged < LOG && !were_last {
            return Ok(());
        }
        self.checkpoint().map_err(|error| self.failed(&error))
    }

    fn examine(&self) -> Result<(), StoreError> {
        let found: rusqlite::Result<String> =
            self.connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0));
        match found {
            Ok(found) if found == "ok" => Ok(()),
            Ok(found) => Err(StoreError::damaged(&self.catalogue.file, found)),
            Err(error) => Err(from_sqlite(&self.catalogue.file, &error)),
        }
    }
}

fn ids<T: PartialEq>(removed: &[(T, i64)], which: T) -> Vec<i64> {
    removed.iter().filter(|(table, _)| *table == which).map(|&(_, id)| id).collect()
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    secure(&connection)?;
    // Before the file is first read: then the lock is taken by that, and the log's index is not a file.
    connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    connection.pragma_update(None, "wal_autocheckpoint", 0)?;
    connection.pragma_update_and_check(None, "journal_size_limit", MOST_LOG, |_| Ok(()))?;
    Ok(connection)
}

/// A file that is damaged, or that somebody tampered with, must not make SQLite do what we did not ask for.
fn secure(connection: &Connection) -> rusqlite::Result<()> {
    connection.busy_timeout(std::time::Duration::ZERO)?;
    connection.set_limit(Limit::SQLITE_LIMIT_LENGTH, LARGEST)?;
    connection.set_limit(Limit::SQLITE_LIMIT_ATTACHED, 0)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_TRIGGER, false)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_VIEW, false)?;
    connection.pragma_update(None, "cell_size_check", true)?;
    connection.pragma_update(None, "mmap_size", 0)
}

/// SQLite takes an empty file for a database that has no tables yet, and would remove the log beside it.
fn check_file(path: &Path, file: &str) -> Result<(), StoreError> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Err(foreign(file, "it is a folder")),
        Ok(found) if found.len() == 0 => Err(StoreError::damaged(file, "it is empty")),
        Ok(_) => Ok(()),
        Err(error) => Err(StoreError::io(file, &error)),
    }
}

fn foreign(file: &str, message: &str) -> StoreError {
    let help = "keep only the files of one store in the folder; if this one took the place of a part, put that back";
    StoreError::new(Trouble::Refused, file, message).help(help)
}

/// Makes sure that a file is a part of a store; returns the version of its format.
fn check_kind(connection: &Connection, file: &str) -> Result<i64, StoreError> {
    let read = |pragma: &str| connection.pragma_query_value(None, pragma, |row| row.get::<_, i64>(0));
    let both = read("application_id").and_then(|application| Ok((application, read("user_version")?)));
    let (application, version) = both.map_err(|error| from_sqlite(file, &error))?;
    if application != APPLICATION {
        return Err(foreign(file, "it is not a part of a recovery store"));
    }
    if !(OLDEST..=VERSION).contains(&version) {
        let message = format!("it is of format {version}, and this program reads formats {OLDEST} to {VERSION}");
        return Err(StoreError::new(Trouble::Refused, file, message).help("use the version of wxhost that wrote it"));
    }
    Ok(version)
}

/// Reads all tables, but for the bytes of blocks.
fn read_catalogue(connection: &Connection, file: &str) -> Result<Catalogue, StoreError> {
    let sqlite = |error: rusqlite::Error| from_sqlite(file, &error);
    let mut catalogue = read_meta(connection, file)?;
    // Tables are read in the order of their rows, never by an index, which could be damaged by itself.
    catalogue.executions =
        rows(connection, "SELECT x, resume_epoch, started_at, workers, wxhost FROM executions ORDER BY x", |row| {
            Ok(Execution {
                number: number(row, 0)?,
                resume: Epoch(number(row, 1)?),
                started_at: Instant(row.get(2)?),
                workers: number(row, 3)?,
                wxhost: row.get(4)?,
            })
        })
        .map_err(sqlite)?;
    catalogue.steps = rows(connection, "SELECT step, step_id, kind, fingerprint FROM steps ORDER BY step", |row| {
        let step = Step { id: row.get::<_, String>(1)?.as_str().into(), kind: row.get(2)?, fingerprint: row.get(3)? };
        Ok((row.get::<_, StepNumber>(0)?, step))
    })
    .map_err(sqlite)?
    .into_iter()
    .collect();
    catalogue.sealed = rows(connection, "SELECT epoch, x, sealed_at, chain FROM epochs ORDER BY epoch", |row| {
        Ok(Sealed {
            epoch: Epoch(number(row, 0)?),
            execution: number(row, 1)?,
            at: Instant(row.get(2)?),
            chain: row.get(3)?,
        })
    })
    .map_err(sqlite)?;
    for (layer, table) in [(Layer::Base, "bases"), (Layer::Delta, "deltas")] {
        let sql = format!("SELECT id, epoch, step, grp_lo, grp_hi, n, length(block), crc FROM {table} ORDER BY id");
        catalogue.blocks.extend(
            rows(connection, &sql, |row| {
                Ok(BlockRow {
                    layer,
                    id: row.get(0)?,
                    epoch: Epoch(number(row, 1)?),
                    step: row.get(2)?,
                    groups: (number(row, 3)?, number(row, 4)?),
                    rows: number(row, 5)?,
                    bytes: number(row, 6)?,
                    crc: row.get(7)?,
                })
            })
            .map_err(sqlite)?,
        );
    }
    for (role, sql) in [
        (Role::Source, "SELECT id, epoch, step, part, position, crc FROM sources ORDER BY id"),
        (Role::Sink, "SELECT id, epoch, step, part, manifest, crc FROM sinks ORDER BY id"),
    ] {
        for position in rows(connection, sql, |row| {
            Ok(PositionRow {
                role,
                id: row.get(0)?,
                epoch: Epoch(number(row, 1)?),
                step: row.get(2)?,
                part: PartitionId::from(row.get::<_, String>(3)?.as_str()),
                bytes: row.get(4)?,
                crc: row.get(5)?,
            })
        })
        .map_err(sqlite)?
        {
            if position.checksum() != position.crc {
                let what = if role == Role::Source { "position" } else { "manifest" };
                let message = format!("the {what} of {} in epoch {} is damaged", position.part, position.epoch);
                return Err(StoreError::damaged(file, message));
            }
            catalogue.positions.push(position);
        }
    }
    Ok(catalogue)
}

fn read_meta(connection: &Connection, file: &str) -> Result<Catalogue, StoreError> {
    let damaged = || StoreError::damaged(file, "table meta is damaged");
    let read = |row: &Row<'_>| Ok((row.get::<_, String>(0)?, row.get::<_, rusqlite::types::Value>(1)?));
    let meta = rows(connection, "SELECT k, v FROM meta", read).map_err(|error| from_sqlite(file, &error))?;
    let meta: BTreeMap<String, rusqlite::types::Value> = meta.into_iter().collect();
    let text = |key: &str| match meta.get(key) {
        Some(rusqlite::types::Value::Text(text)) => Ok(text.clone()),
        _ => Err(damaged()),
    };
    let number = |key: &str| match meta.get(key) {
        Some(rusqlite::types::Value::Integer(number)) => u64::try_from(*number).map_err(|_| damaged()),
        _ => Err(damaged()),
    };
    let check = match meta.get("check") {
        Some(rusqlite::types::Value::Blob(hash)) => Hash::try_from(hash.as_slice()).map_err(|_| damaged())?,
        _ => return Err(damaged()),
    };
    if (number("key_groups")?, text("hash")?.as_str()) != (KEY_GROUPS, HASH) {
        return Err(damaged());
    }
    let identity = Identity {
        store: text("store")?,
        flow: text("flow")?.as_str().into(),
        part: number("part")?,
        parts: number("parts")?,
    };
    let mut catalogue = Catalogue::new(file.to_owned(), identity);
    (catalogue.floor, catalogue.check) = (Epoch(number("floor")?), check);
    if meta.contains_key("savepoint") {
        catalogue.savepoint = Some(text("savepoint")?);
    }
    Ok(catalogue)
}

fn rows<T>(
    connection: &Connection,
    sql: &str,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    connection.prepare(sql)?.query_map([], read)?.collect()
}

/// A number that is never negative, unless the file is damaged.
fn number(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    let number: i64 = row.get(column)?;
    u64::try_from(number).map_err(|_| rusqlite::Error::IntegralValueOutOfRange(column, number))
}

fn name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}
