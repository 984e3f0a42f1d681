//! Parts of savepoints that become parts of a new store.

use super::{SqlitePart, from_sqlite};
use crate::recovery::catalogue::Catalogue;
use crate::recovery::error::StoreError;
use rusqlite::{Connection, params};

impl SqlitePart {
    /// Makes the part one of a new store, which is made of a savepoint. All of it is in the file when this returns, and may
    /// not be on disk yet.
    ///
    /// # Errors
    /// The part is damaged, or cannot be written.
    pub fn into_store(self, store: &str, savepoint: &str) -> Result<(), StoreError> {
        let SqlitePart { connection, catalogue, .. } = self;
        // What is computed anew below must not hide that something is wrong.
        catalogue.verify().map_err(|damage| StoreError::damaged(&catalogue.file, damage))?;
        let written = write(connection, &catalogue.in_store(store), savepoint);
        written.map_err(|error| from_sqlite(&catalogue.file, &error))
    }
}

fn write(mut connection: Connection, part: &Catalogue, savepoint: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction()?;
    let mut set = transaction.prepare("INSERT OR REPLACE INTO meta(k, v) VALUES (?1, ?2)")?;
    set.execute(params!["store", part.identity.store])?;
    set.execute(params!["savepoint", savepoint])?;
    set.execute(params!["check", part.check])?;
    drop(set);
    let mut link = transaction.prepare("UPDATE epochs SET chain = ?2 WHERE epoch = ?1")?;
    for sealed in &part.sealed {
        link.execute(params![sealed.epoch.0.cast_signed(), sealed.chain])?;
    }
    drop(link);
    transaction.commit()?;
    connection.close().map_err(|(_, error)| error)
}
