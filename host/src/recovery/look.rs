//! Looking into a store that no flow is running on: what is there, at any epoch that it can tell of. Changes nothing.

use super::block::{self, SLICES};
use super::catalogue::{BlockRow, Catalogue, Execution, PositionRow, Role, Sealed, Step, StepNumber};
use super::compact;
use super::compare::{Comparison, live_steps};
use super::error::{StoreError, Trouble};
use super::load::{Shelf, lock};
use super::merge::Merge;
use super::part::PartStore;
use super::resume::{Resume, find_epoch};
use super::sqlite::SqlitePart;
use super::store::find;
use crate::data::ids::{FlowId, PartitionId, StepId};
use crate::data::key::{self, KEY_GROUPS};
use crate::data::time::{Epoch, Instant};
use arrow::array::{Array, BinaryArray, BinaryBuilder};
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

/// A sound store, and the epoch at which it is looked at.
pub struct View {
    folder: PathBuf,
    flow: FlowId,
    id: String,
    /// From the floor to the newest epoch that is durable.
    epochs: RangeInclusive<Epoch>,
    shelf: Shelf,
}

/// A key's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State<'a> {
    pub key: &'a str,
    /// When it was written last: when it changed, or came along because most others changed; where that was before the
    /// floor, it may be a later epoch up to the floor.
    pub epoch: Epoch,
    pub value: &'a [u8],
}

/// What a partition of a source or sink has in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kept {
    pub part: PartitionId,
    pub epoch: Epoch,
    pub bytes: Vec<u8>,
}

/// A step's states in numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sums {
    /// Keys with a state.
    pub keys: u64,
    /// Bytes of their states.
    pub bytes: u64,
    /// Bytes of the blocks that have them, of all epochs.
    pub stored: u64,
    /// The newest epoch that changed something; 0 if none did.
    pub newest: Epoch,
}

impl View {
    /// Opens the store in a folder and looks at its newest durable epoch.
    ///
    /// # Errors
    /// There is no store in the folder; or it is in use, damaged, or not whole.
    pub fn open(folder: &Path) -> Result<View, StoreError> {
        let mut parts: Vec<Box<dyn PartStore>> = Vec::new();
        for part in open_parts(folder)? {
            parts.push(Box::new(part));
        }
        parts.sort_by_key(|part| part.catalogue().identity.part);
        let catalogues: Vec<&Catalogue> = parts.iter().map(|part| part.catalogue()).collect();
        let identity = catalogues[0].identity.clone();
        let newest = find_epoch(&catalogues, &identity.flow)?;
        let floor = catalogues.iter().map(|part| part.floor).max().unwrap_or(newest);
        let compared = Comparison { steps: live_steps(&catalogues, newest), ..Comparison::default() };
        let execution = catalogues.iter().map(|part| part.execution()).max().unwrap_or(0);
        let parts = parts.into_iter().map(|part| Arc::new(Mutex::new(part))).collect();
        Ok(View {
            folder: folder.to_owned(),
            flow: identity.flow,
            id: identity.store,
            epochs: floor..=newest,
            shelf: Shelf { parts, resume: Resume { epoch: newest, execution, compared } },
        })
    }

    /// Looks at another epoch.
    ///
    /// # Errors
    /// The store does not know its state at that epoch.
    pub fn at(mut self, epoch: Epoch) -> Result<View, StoreError> {
        if !self.epochs.contains(&epoch) {
            let (floor, newest) = (self.epochs.start(), self.epochs.end());
            let message = format!("the states at the end of epoch {epoch} are not known");
            let help = match floor == newest {
                true => format!("only those of epoch {newest} are"),
                false => format!("those of epochs {floor} to {newest} are"),
            };
            return Err(StoreError::new(Trouble::Refused, self.folder.display(), message).help(help));
        }
        self.shelf.resume.epoch = epoch;
        let steps = {
            let parts: Vec<_> = self.shelf.parts.iter().map(lock).collect();
            let catalogues: Vec<&Catalogue> = parts.iter().map(|part| part.catalogue()).collect();
            live_steps(&catalogues, epoch)
        };
        self.shelf.resume.compared.steps = steps;
        Ok(self)
    }

    /// The epoch that is looked at.
    pub fn epoch(&self) -> Epoch {
        self.shelf.resume.epoch
    }

    /// The epochs that can be looked at.
    pub fn epochs(&self) -> &RangeInclusive<Epoch> {
        &self.epochs
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whose store it is.
    pub fn flow(&self) -> &FlowId {
        &self.flow
    }

    /// What all parts of the store, and those of no other, are called by.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The number of parts.
    pub fn parts(&self) -> usize {
        self.shelf.parts.len()
    }

    /// The steps that keep, or kept, something, in the order of their numbers.
    pub fn steps(&self) -> impl Iterator<Item = &Step> {
        self.shelf.resume.compared.steps.values()
    }

    /// The executions that the store remembers, the oldest first.
    pub fn executions(&self) -> Vec<Execution> {
        // A claim that was cut short is in some parts only.
        let all = self.collect(|part| part.executions.iter().map(|found| (found.number, found.clone())).collect());
        all.into_values().collect()
    }

    /// The sealed epochs from the floor up to the epoch looked at, the oldest first.
    pub fn sealed(&self) -> Vec<Sealed> {
        let all = self.collect(|part| part.sealed.iter().map(|found| (found.epoch, found.clone())).collect());
        let is_seen = |sealed: &Sealed| (*self.epochs.start()..=self.epoch()).contains(&sealed.epoch);
        all.into_values().filter(is_seen).collect()
    }

    /// Hands over the states of a step, or of one key of it, in the order of the keys' hashes.
    ///
    /// # Errors
    /// A block is damaged; or `each` failed.
    pub fn states<E: From<StoreError>>(
        &self,
        step: &StepId,
        key: Option<&str>,
        each: &mut dyn FnMut(State<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(number) = self.number_of(step) else { return Ok(()) };
        let group = key.map(|key| key::group_of(key::hash(key)));
        let groups = group.map_or(0..KEY_GROUPS, |group| group..group + 1);
        for slice in (0..SLICES).filter(|&slice| group.is_none_or(|group| block::slice_of(group) == slice)) {
            let part = lock(&self.shelf.parts[self.shelf.part_of(slice)]);
            let blocks = part.catalogue().blocks_of(number, slice, self.epoch());
            let mut open = |row: &BlockRow| {
                let mut rows = compact::open(part.catalogue(), row, &part.read(row)?)?;
                rows.values = with_epoch(&rows.values, row.epoch);
                Ok::<_, E>(rows)
            };
            let merge = Merge { blocks, groups: groups.clone(), keeps_discarded: false, open: &mut open };
            merge.run(&mut |rows| {
                for (found, value) in rows.keys.iter().zip(rows.values.iter()) {
                    let (Some(found), Some((epoch, value))) =
                        (found, value.and_then(|value| value.split_first_chunk()))
                    else {
                        continue;
                    };
                    if key.is_none_or(|key| key == found) {
                        each(State { key: found, epoch: Epoch(u64::from_le_bytes(*epoch)), value })?;
                    }
                }
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Counts the states of a step; reads all of them.
    ///
    /// # Errors
    /// A block is damaged.
    pub fn sums(&self, step: &StepId) -> Result<Sums, StoreError> {
        let mut sums = Sums { keys: 0, bytes: 0, stored: 0, newest: Epoch(0) };
        self.states(step, None, &mut |state| {
            sums.keys += 1;
            sums.bytes += state.value.len() as u64;
            Ok::<_, StoreError>(())
        })?;
        let Some(number) = self.number_of(step) else { return Ok(sums) };
        for part in &self.shelf.parts {
            let part = lock(part);
            let catalogue = part.catalogue();
            let blocks = catalogue.blocks.iter().filter(|block| block.step == number);
            sums.stored += blocks.clone().map(|block| block.bytes).sum::<u64>();
            let positions = catalogue.positions.iter().filter(|position| position.step == number);
            let epochs = blocks.map(|block| block.epoch).chain(positions.map(|position| position.epoch));
            sums.newest = epochs.filter(|&epoch| epoch <= self.epoch()).max().unwrap_or(Epoch(0)).max(sums.newest);
        }
        Ok(sums)
    }

    /// The positions of a source, of each partition the newest, in the order of their names.
    ///
    /// # Errors
    /// None, once the store is open; as other ways to look have.
    pub fn sources(&self, step: &StepId) -> Result<Vec<Kept>, StoreError> {
        let mut newest: BTreeMap<PartitionId, (i64, Kept)> = BTreeMap::new();
        for row in self.positions(step, Role::Source).into_iter().filter(|row| !row.is_of_end()) {
            let kept = Kept { part: row.part.clone(), epoch: row.epoch, bytes: row.bytes };
            let found = newest.entry(row.part).or_insert_with(|| (row.id, kept.clone()));
            if (row.epoch, row.id) > (found.1.epoch, found.0) {
                *found = (row.id, kept);
            }
        }
        Ok(newest.into_values().map(|(_, kept)| kept).collect())
    }

    /// The manifests of a sink that are not forgotten, in the order of epochs.
    ///
    /// # Errors
    /// None, once the store is open; as other ways to look have.
    pub fn sinks(&self, step: &StepId) -> Result<Vec<Kept>, StoreError> {
        let mut rows = self.positions(step, Role::Sink);
        rows.sort_by(|a, b| (a.epoch, &a.part, a.id).cmp(&(b.epoch, &b.part, b.id)));
        Ok(rows.into_iter().map(|row| Kept { part: row.part, epoch: row.epoch, bytes: row.bytes }).collect())
    }

    /// Bytes of the store's files.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn size(&self) -> Result<u64, StoreError> {
        let mut size = 0;
        for file in find(&self.folder)? {
            for name in [format!("{file}-wal"), file] {
                size += self.folder.join(name).metadata().map_or(0, |found| found.len());
            }
        }
        Ok(size)
    }

    #[cfg(test)]
    pub(super) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    fn positions(&self, step: &StepId, role: Role) -> Vec<PositionRow> {
        let Some(number) = self.number_of(step) else { return Vec::new() };
        let is_asked =
            |row: &&PositionRow| row.role == role && row.step == number && row.epoch <= self.shelf.resume.epoch;
        let mut rows = Vec::new();
        for part in &self.shelf.parts {
            rows.extend(lock(part).catalogue().positions.iter().filter(is_asked).cloned());
        }
        rows
    }

    fn collect<K: Ord, V>(&self, of_part: impl Fn(&Catalogue) -> Vec<(K, V)>) -> BTreeMap<K, V> {
        self.shelf.parts.iter().flat_map(|part| of_part(lock(part).catalogue())).collect()
    }

    fn number_of(&self, step: &StepId) -> Option<StepNumber> {
        self.shelf.resume.compared.steps.iter().find(|(_, known)| known.id == *step).map(|(&number, _)| number)
    }
}

/// Opens the parts in a folder to look into them, in the order of their names.
///
/// # Errors
/// There are none, or one cannot be opened.
pub fn open_parts(folder: &Path) -> Result<Vec<SqlitePart>, StoreError> {
    let files = find(folder)?;
    if files.is_empty() {
        return Err(no_store(folder));
    }
    files.iter().map(|file| SqlitePart::look(&folder.join(file))).collect()
}

/// Says that there is no store in a folder.
pub fn no_store(folder: &Path) -> StoreError {
    let (message, help) = match folder.is_dir() {
        true => ("there is no store in this folder", "give the folder that has the files part-0.sqlite3, …"),
        false => ("there is no such folder", "give the folder that \"wxhost run --recovery\" was given"),
    };
    StoreError::new(Trouble::Refused, folder.display(), message).help(help)
}

/// Puts the epoch before each value, so that it comes through the merge with it.
fn with_epoch(values: &BinaryArray, epoch: Epoch) -> BinaryArray {
    let mut builder = BinaryBuilder::with_capacity(values.len(), values.value_data().len() + 8 * values.len());
    let mut bytes = Vec::new();
    for value in values {
        bytes.clear();
        bytes.extend_from_slice(&epoch.0.to_le_bytes());
        bytes.extend_from_slice(value.unwrap_or_default());
        builder.append_option(value.map(|_| &bytes));
    }
    builder.finish()
}

/// The text that bytes are, if a person can read it.
pub fn printable(bytes: &[u8]) -> Option<&str> {
    let is_odd = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    std::str::from_utf8(bytes).ok().filter(|text| !text.chars().any(is_odd))
}

/// Writes an instant as RFC 3339.
pub fn time_text(at: Instant) -> String {
    let time = chrono::DateTime::from_timestamp_micros(at.0);
    time.map_or_else(|| at.0.to_string(), |time| time.to_rfc3339_opts(chrono::SecondsFormat::AutoSi, true))
}
