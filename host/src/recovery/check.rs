//! Looks at everything in a store, for damage that has not been met yet.

use super::block::decode;
use super::catalogue::{BlockRow, Catalogue};
use super::compact::damaged;
use super::error::StoreError;
use super::look::no_store;
use super::part::PartStore;
use super::resume::find_epoch;
use super::sqlite::SqlitePart;
use super::store::find;
use crate::data::time::Epoch;
use std::path::Path;

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    pub parts: u64,
    pub blocks: u64,
    /// Rows of all blocks; a key counts once in each layer that has it.
    pub rows: u64,
    /// Bytes of all blocks.
    pub bytes: u64,
    /// Positions of sources and manifests of sinks.
    pub positions: u64,
    /// Sealed epochs whose links were followed; of the part that has the most.
    pub epochs: u64,
    /// The epoch that an execution would go on from, if the store is sound.
    pub resume: Option<Epoch>,
    /// Everything that is wrong.
    pub problems: Vec<StoreError>,
}

/// Reads all files of a store and checks every row, block and page. Changes nothing.
///
/// # Errors
/// There is no store in the folder, or the folder cannot be read. What is wrong with the store is a finding.
pub fn check(folder: &Path) -> Result<Findings, StoreError> {
    let files = find(folder)?;
    if files.is_empty() {
        return Err(no_store(folder));
    }
    let (mut findings, mut parts) = (Findings::default(), Vec::new());
    for file in files {
        match SqlitePart::look(&folder.join(file)) {
            Ok(part) => {
                check_part(&part, &mut findings);
                parts.push(part);
            }
            Err(error) => findings.problems.push(error),
        }
    }
    if findings.problems.is_empty() {
        let catalogues: Vec<&Catalogue> = parts.iter().map(PartStore::catalogue).collect();
        match find_epoch(&catalogues, &catalogues[0].identity.flow) {
            Ok(epoch) => findings.resume = Some(epoch),
            Err(error) => findings.problems.push(error),
        }
    }
    Ok(findings)
}

fn check_part(part: &dyn PartStore, findings: &mut Findings) {
    let catalogue = part.catalogue();
    findings.parts += 1;
    findings.positions += catalogue.positions.len() as u64;
    findings.epochs = findings.epochs.max(catalogue.sealed.len() as u64);
    findings.problems.extend(part.examine().err());
    if let Err(damage) = catalogue.verify() {
        findings.problems.push(StoreError::damaged(&catalogue.file, damage));
    }
    for block in &catalogue.blocks {
        match rows_of(part, block) {
            Ok(rows) => {
                findings.blocks += 1;
                findings.rows += rows;
                findings.bytes += block.bytes;
            }
            Err(error) => findings.problems.push(error),
        }
    }
}

/// Checks one part by itself.
///
/// # Errors
/// Something is.
pub fn examine(part: &dyn PartStore) -> Result<(), StoreError> {
    let mut findings = Findings::default();
    check_part(part, &mut findings);
    findings.problems.into_iter().next().map_or(Ok(()), Err)
}

fn rows_of(part: &dyn PartStore, block: &BlockRow) -> Result<u64, StoreError> {
    let bytes = part.read(block)?;
    let rows = decode(&bytes, block.groups, block.rows);
    rows.map(|_| block.rows).map_err(|problem| damaged(part.catalogue(), block, &problem))
}
