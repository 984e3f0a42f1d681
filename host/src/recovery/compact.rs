//! Compaction: what to merge when, and the merging.
//!
//! Epochs up to the *floor* will not be resumed from any more, so their layers may be merged. Merging everything into
//! the base whenever the deltas have outgrown it costs each byte two or three writes, however large the state is. In
//! between, deltas are merged with each other so that a load has few layers to look at; only ones of like size, or a
//! large state that changes a little would be rewritten again and again. Where most keys change in an epoch, all are
//! handed in, as a new base, and there is nothing to merge.

use super::block::{self, Block, slice_of};
use super::catalogue::{BlockRow, Catalogue, Layer, StepNumber};
use super::encode::Encoder;
use super::error::StoreError;
use super::merge::Merge;
use super::part::{PartStore, Transaction};
use crate::data::key::KEY_GROUPS;
use crate::data::time::Epoch;
use std::collections::BTreeMap;

/// Times that the floor rises before it is looked whether there is something to merge: each merge is a transaction.
pub const RISES: usize = 8;
/// Layers of deltas that are left alone.
const DELTAS: usize = 8;

/// Blocks to merge into one layer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Work {
    pub step: StepNumber,
    pub slice: u64,
    /// The oldest first.
    pub blocks: Vec<BlockRow>,
    pub into: Layer,
}

/// Where the floor may rise to: `retention` epochs stay above it that may be resumed from, of those that are durable.
pub fn next_floor(catalogue: &Catalogue, durable: Epoch, retention: u64) -> Option<Epoch> {
    let most = Epoch(durable.0.saturating_sub(retention));
    let mut sealed = catalogue.sealed.iter().rev().map(|sealed| sealed.epoch);
    sealed.find(|&epoch| epoch <= most).filter(|&epoch| epoch > catalogue.floor)
}

/// The next layers to merge, if any.
pub fn next_work(catalogue: &Catalogue) -> Option<Work> {
    let mut slices: BTreeMap<(StepNumber, u64), BTreeMap<(Layer, Epoch), u64>> = BTreeMap::new();
    for block in catalogue.blocks.iter().filter(|block| block.epoch <= catalogue.floor) {
        let layers = slices.entry((block.step, slice_of(block.groups.0))).or_default();
        *layers.entry((block.layer, block.epoch)).or_default() += block.bytes;
    }
    slices.into_iter().find_map(|((step, slice), layers)| {
        let has_base = layers.keys().next().is_some_and(|&(layer, _)| layer == Layer::Base);
        let sizes: Vec<u64> = (!has_base).then_some(0).into_iter().chain(layers.values().copied()).collect();
        let first = first_merged(&sizes)?;
        let (first, into) = match first {
            0 => (Epoch(0), Layer::Base),
            _ => (layers.keys().nth(first - usize::from(!has_base))?.1, Layer::Delta),
        };
        let mut blocks = catalogue.blocks_of(step, slice, catalogue.floor);
        blocks.retain(|block| into == Layer::Base || block.layer == Layer::Delta && block.epoch >= first);
        Some(Work { step, slice, blocks, into })
    })
}

/// The layer from which on to merge. `sizes` are those of the base, 0 if there is none, and of the deltas in the order
/// of their age.
fn first_merged(sizes: &[u64]) -> Option<usize> {
    let newer = |than: usize| sizes[than + 1..].iter().sum::<u64>();
    if newer(0) > sizes[0] {
        return Some(0);
    }
    if sizes.len() - 1 <= DELTAS {
        return None;
    }
    (1..sizes.len() - 1).find(|&layer| newer(layer) >= sizes[layer])
}

/// Merges; what is returned puts the result in the place of the old blocks. Calls `pause` after each block that it
/// decoded, merged or encoded.
///
/// # Errors
/// A block is damaged or cannot be read.
pub fn merge(
    part: &dyn PartStore,
    work: &Work,
    encoder: &mut Encoder,
    pause: impl Fn(),
) -> Result<Transaction, StoreError> {
    let epoch = work.blocks.iter().map(|block| block.epoch).max().unwrap_or(Epoch(0));
    let mut merged = Vec::new();
    let merge = Merge {
        blocks: work.blocks.clone(),
        groups: 0..KEY_GROUPS,
        keeps_discarded: work.into == Layer::Delta,
        open: &mut |row: &BlockRow| {
            let rows = open(part.catalogue(), row, &part.read(row)?);
            pause();
            rows
        },
    };
    merge.run(&mut |rows| {
        pause();
        let ends = (rows.hashes[0], rows.hashes[rows.hashes.len() - 1]);
        let block = encoder.encode_sorted(rows.keys, rows.values, ends);
        let block = block.map_err(|error| StoreError::damaged(&part.catalogue().file, error))?;
        merged.push(row_of(block, work.into, epoch, work.step));
        pause();
        Ok::<_, StoreError>(())
    })?;
    Ok(Transaction::replace(part.catalogue(), &work.blocks, merged))
}

/// Decodes a block's bytes.
///
/// # Errors
/// The block is damaged; says which.
pub fn open(catalogue: &Catalogue, row: &BlockRow, bytes: &[u8]) -> Result<block::Rows, StoreError> {
    block::decode(bytes, row.groups, row.rows).map_err(|problem| damaged(catalogue, row, &problem))
}

/// Makes the error of a damaged block.
pub fn damaged(catalogue: &Catalogue, row: &BlockRow, problem: &str) -> StoreError {
    let step = catalogue.steps.get(&row.step).map_or_else(|| row.step.to_string(), |step| format!("\"{}\"", step.id));
    let table = match row.layer {
        Layer::Base => "bases",
        Layer::Delta => "deltas",
    };
    let place = format!("block {} of table {table}, of step {step} and epoch {}", row.id, row.epoch);
    StoreError::damaged(&catalogue.file, format!("{place}, is damaged: {problem}"))
}

/// The row of a block that was handed in, with no number yet.
pub fn handed_in(block: Block, epoch: Epoch, step: StepNumber) -> (BlockRow, Vec<u8>) {
    let layer = if block.is_whole { Layer::Base } else { Layer::Delta };
    row_of(block, layer, epoch, step)
}

fn row_of(block: Block, layer: Layer, epoch: Epoch, step: StepNumber) -> (BlockRow, Vec<u8>) {
    let Block { groups, rows, bytes, .. } = block;
    let mut row = BlockRow { layer, id: 0, epoch, step, groups, rows, bytes: bytes.len() as u64, crc: 0 };
    row.crc = row.checksum(&bytes);
    (row, bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_that_outgrow_the_base_are_merged_into_it() {
        for (sizes, first) in [
            (&[0, 1][..], Some(0)),
            (&[0], None),
            (&[10], None),
            (&[10, 4, 6], None),
            (&[10, 4, 7], Some(0)),
            (&[1000, 1, 1, 1, 1, 1, 1, 1, 1], None),
        ] {
            assert_eq!(first_merged(sizes), first, "{sizes:?}");
        }
    }

    #[test]
    fn many_small_deltas_are_merged_with_those_of_their_size() {
        for (sizes, first) in [
            (&[1000, 1, 1, 1, 1, 1, 1, 1, 1, 1][..], Some(1)),
            (&[1000, 90, 1, 1, 1, 1, 1, 1, 1, 1], Some(2)),
            (&[9999, 512, 256, 128, 64, 32, 16, 8, 4, 2], None),
        ] {
            assert_eq!(first_merged(sizes), first, "{sizes:?}");
        }
    }

    #[test]
    fn a_large_state_that_changes_a_little_is_written_a_few_times() {
        // A base of 1,000, an epoch changes 1: what is written in all until the base is due.
        let (mut layers, mut written) = (vec![1000_u64], 0);
        loop {
            layers.push(1);
            match first_merged(&layers) {
                Some(0) => break,
                Some(first) => {
                    let merged = layers.drain(first..).sum();
                    written += merged;
                    layers.push(merged);
                }
                None => {}
            }
            assert!(layers.len() <= 1 + DELTAS + 10);
        }
        assert!(written < 7 * 1000, "{written}");
    }
}
