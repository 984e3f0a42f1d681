//! A part of the store on the disk of a simulation.

use super::disk::Disk;
use crate::recovery::catalogue::{BlockRow, Catalogue};
use crate::recovery::error::{StoreError, Trouble};
use crate::recovery::part::{PartStore, Transaction};
use crate::recovery::testing::{self, MemoryPart};

/// A part whose transactions are operations of the disk.
pub struct Part {
    part: MemoryPart,
    disk: Disk,
    /// After a failure nothing is known of it.
    has_failed: bool,
}

impl Part {
    /// Opens what is there of a part.
    pub fn open(disk: &Disk, kept: &testing::Disk, part: u64, parts: u64) -> Part {
        Part { part: MemoryPart::open(kept, part, parts), disk: disk.clone(), has_failed: false }
    }
}

impl PartStore for Part {
    fn catalogue(&self) -> &Catalogue {
        self.part.catalogue()
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), StoreError> {
        let file = self.catalogue().file.clone();
        if std::mem::replace(&mut self.has_failed, true) {
            self.disk.write(|disk| disk.is_wrong(format!("{file} is used after it failed"))).ok();
        }
        let committed = self.disk.write(|_| self.part.commit(transaction));
        committed.map_err(|error| StoreError::new(Trouble::Io, file, error.message))??;
        self.has_failed = false;
        Ok(())
    }

    fn read(&self, block: &BlockRow) -> Result<Vec<u8>, StoreError> {
        self.part.read(block)
    }

    fn rest(&mut self, were_last: bool) -> Result<(), StoreError> {
        self.part.rest(were_last)
    }

    fn examine(&self) -> Result<(), StoreError> {
        self.part.examine()
    }
}
