//! Reading back: states, positions and manifests as they were at the epoch that is resumed from.

use super::block::{self, SLICES, slice_of};
use super::catalogue::{BlockRow, PositionRow, Role, StepNumber};
use super::compact;
use super::merge::Merge;
use super::part::PartStore;
use super::resume::Resume;
use super::writer::SharedPart;
use crate::data::ids::{PartitionId, StepId};
use crate::data::key::{self, Keys};
use crate::data::time::Epoch;
use crate::dataflow::durable::{Manifest, Position};
use crate::dataflow::error::LogicError;
use arrow::array::{Array, BinaryArray};
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::{MutexGuard, PoisonError};

/// All parts of a store, in the order of their numbers, and the decision where it goes on. Whatever is newer than that
/// is not seen.
pub struct Shelf {
    pub parts: Vec<SharedPart>,
    pub resume: Resume,
}

/// How much there is of a step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Size {
    pub keys: u64,
    /// Partitions of a source or sink.
    pub partitions: u64,
    /// Bytes in the files; a key that changed is in them more than once.
    pub bytes: u64,
}

impl Size {
    /// Of both.
    #[must_use]
    pub fn with(self, other: Size) -> Size {
        Size {
            keys: self.keys + other.keys,
            partitions: self.partitions + other.partitions,
            bytes: self.bytes + other.bytes,
        }
    }
}

impl Shelf {
    /// See [`crate::dataflow::durable::Recovery::load_state`].
    ///
    /// # Errors
    /// As there.
    pub fn load_state(
        &self,
        step: &StepId,
        groups: Range<u64>,
        each: &mut dyn FnMut(Keys, BinaryArray) -> Result<(), LogicError>,
    ) -> Result<(), LogicError> {
        self.load_number(self.read_number_of(step)?, groups, each)
    }

    /// What there is under a number of a step.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn size_of(&self, number: StepNumber) -> Result<Size, LogicError> {
        let (mut size, mut partitions) = (Size::default(), BTreeSet::new());
        for part in &self.parts {
            let part = lock(part);
            let blocks =
                part.catalogue().blocks.iter().filter(|row| row.step == number && row.epoch <= self.resume.epoch);
            size.bytes += blocks.map(|block| block.bytes).sum::<u64>();
            for row in
                part.catalogue().positions.iter().filter(|row| row.step == number && row.epoch <= self.resume.epoch)
            {
                size.bytes += row.bytes.len() as u64;
                if !row.is_of_end() {
                    partitions.insert(row.part.clone());
                }
            }
        }
        size.partitions = partitions.len() as u64;
        self.load_number(number, 0..key::KEY_GROUPS, &mut |keys, _| {
            size.keys += keys.values().len() as u64;
            Ok(())
        })?;
        Ok(size)
    }

    fn load_number(
        &self,
        number: StepNumber,
        groups: Range<u64>,
        each: &mut dyn FnMut(Keys, BinaryArray) -> Result<(), LogicError>,
    ) -> Result<(), LogicError> {
        for slice in (0..SLICES).filter(|&slice| overlaps(slice, &groups)) {
            let part = &self.parts[self.part_of(slice)];
            let blocks = lock(part).catalogue().blocks_of(number, slice, self.resume.epoch);
            let mut open = |row: &BlockRow| {
                let bytes = lock(part).read(row)?;
                // Decoded without the lock, so that workers that load from one part do it side by side.
                block::decode(&bytes, row.groups, row.rows)
                    .map_err(|problem| LogicError::from(compact::damaged(lock(part).catalogue(), row, &problem)))
            };
            let merge = Merge { blocks, groups: groups.clone(), keeps_discarded: false, open: &mut open };
            merge.run(&mut |rows| each(Keys::with_hashes(rows.keys, rows.hashes), rows.values))?;
        }
        Ok(())
    }

    /// See [`crate::dataflow::durable::Recovery::load_sources`].
    ///
    /// # Errors
    /// As there.
    pub fn load_sources(&self, step: &StepId) -> Result<Vec<Position>, LogicError> {
        // Of a step that goes on under another number, that is whether it was told the end of its input.
        let number = self.read_number_of(step)?;
        let mut newest: BTreeMap<PartitionId, (Epoch, i64, Vec<u8>)> = BTreeMap::new();
        for part in &self.parts {
            let part = lock(part);
            for row in part.catalogue().positions.iter().filter(|row| self.is_of(row, Role::Source, number)) {
                let is_newer = |found: &(Epoch, i64, Vec<u8>)| (row.epoch, row.id) > (found.0, found.1);
                if newest.get(&row.part).is_none_or(is_newer) {
                    newest.insert(row.part.clone(), (row.epoch, row.id, row.bytes.clone()));
                }
            }
        }
        Ok(newest.into_iter().map(|(part, (epoch, _, position))| Position { part, epoch, position }).collect())
    }

    /// See [`crate::dataflow::durable::Recovery::load_sinks`].
    ///
    /// # Errors
    /// As there.
    pub fn load_sinks(&self, step: &StepId) -> Result<Vec<Manifest>, LogicError> {
        let number = self.number_of(step)?;
        let mut manifests = Vec::new();
        for part in &self.parts {
            let part = lock(part);
            let rows = part.catalogue().positions.iter().filter(|row| self.is_of(row, Role::Sink, number));
            manifests.extend(rows.map(|row| (row.epoch, row.part.clone(), row.id, row.bytes.clone())));
        }
        manifests.sort();
        Ok(manifests.into_iter().map(|(epoch, part, _, manifest)| Manifest { part, epoch, manifest }).collect())
    }

    /// The number of a step in the tables.
    ///
    /// # Errors
    /// The step is not one of those that the store was opened for.
    pub fn number_of(&self, step: &StepId) -> Result<StepNumber, LogicError> {
        let number = self.resume.compared.steps.iter().find(|(_, known)| known.id == *step).map(|(&number, _)| number);
        number.ok_or_else(|| LogicError::internal(format!("step \"{step}\" is not one of those that keep something")))
    }

    /// The number under which there is what a step goes on from.
    fn read_number_of(&self, step: &StepId) -> Result<StepNumber, LogicError> {
        let number = self.number_of(step)?;
        Ok(self.resume.compared.loads.get(&number).copied().unwrap_or(number))
    }

    /// The part that owns a slice.
    pub fn part_of(&self, slice: u64) -> usize {
        usize::try_from(slice * self.parts.len() as u64 / SLICES).expect("a part's number fits a usize")
    }

    /// The slices that a part owns.
    pub fn slices_of(&self, part: usize) -> Range<u64> {
        let first = |part: usize| (part as u64 * SLICES).div_ceil(self.parts.len() as u64);
        first(part)..first(part + 1)
    }

    /// The part that keeps what a partition hands in.
    pub fn home_of(&self, part: &PartitionId) -> usize {
        self.part_of(slice_of(key::group_of(key::hash(&part.0))))
    }

    fn is_of(&self, row: &PositionRow, role: Role, step: StepNumber) -> bool {
        row.role == role && row.step == step && row.epoch <= self.resume.epoch
    }
}

/// Takes a part for one use.
pub fn lock(part: &SharedPart) -> MutexGuard<'_, Box<dyn PartStore>> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

fn overlaps(slice: u64, groups: &Range<u64>) -> bool {
    let width = key::KEY_GROUPS / SLICES;
    slice * width < groups.end && (slice + 1) * width > groups.start
}
