//! What is in a part of the store, but for the bytes of its blocks: the facts that decisions are made from.
//!
//! A part keeps its catalogue in memory; it is read once, when the part is opened, from the tables themselves and no
//! index of them, and then follows every transaction. So whatever is checked then is what is used later.
//!
//! Two checks cover all rows. Above the floor every sealed epoch has a link of a *chain*: the hash of the link before
//! and of the rows that the epoch wrote. What the floor covers has been merged and pruned, so its rows are not those
//! that the chain was made of; the *check* is the hash of those rows as they are now, of the link at the floor, and of
//! all that is not of an epoch.

use super::block::slice_of;
use crate::data::ids::{FlowId, PartitionId, StepId};
use crate::data::time::{Epoch, Instant};
use std::collections::BTreeMap;

/// A blake3 hash.
pub type Hash = [u8; 32];
/// The number of a step in the tables.
pub type StepNumber = i64;

/// What a part of the store is; never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// The same in all parts of a store, and in no other store.
    pub store: String,
    pub flow: FlowId,
    /// The number of this part, from 0.
    pub part: u64,
    /// How many parts there are.
    pub parts: u64,
}

/// An execution that claimed the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Execution {
    /// One more than that of the execution before.
    pub number: u64,
    /// The epoch that it resumed from: the last one that it kept.
    pub resume: Epoch,
    pub started_at: Instant,
    pub workers: u64,
    /// The version of this program.
    pub wxhost: String,
}

/// A step that keeps something in the store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Step {
    pub id: StepId,
    /// Its operator.
    pub kind: String,
    /// Of whatever its states depend on: another one cannot read them.
    pub fingerprint: Vec<u8>,
}

/// A sealed epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sealed {
    pub epoch: Epoch,
    /// The execution that sealed it.
    pub execution: u64,
    pub at: Instant,
    pub chain: Hash,
}

/// Which table a block is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// All states of its slice at its epoch: older rows of the slice are not looked at.
    Base,
    /// What changed up to its epoch, since the layer below.
    Delta,
}

/// A block without its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockRow {
    pub layer: Layer,
    /// Unique in its table; later ones are larger.
    pub id: i64,
    pub epoch: Epoch,
    pub step: StepNumber,
    pub groups: (u64, u64),
    pub rows: u64,
    pub bytes: u64,
    pub crc: u32,
}

/// Whose position a row is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    Source,
    Sink,
}

/// A source's position or a sink's manifest at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PositionRow {
    pub role: Role,
    pub id: i64,
    pub epoch: Epoch,
    pub step: StepNumber,
    pub part: PartitionId,
    pub bytes: Vec<u8>,
    pub crc: u32,
}

impl PositionRow {
    /// Whether it is no partition's, but says of a step that remembers whether it was told the end of its input
    /// ([`crate::dataflow::hand_in`]). A partition's position is longer.
    pub fn is_of_end(&self) -> bool {
        self.role == Role::Source && &*self.part.0 == "end" && self.bytes.len() == 1
    }
}

/// The facts of a part.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Catalogue {
    /// What the part is called in messages: its file.
    pub file: String,
    pub identity: Identity,
    /// The savepoint that the store was made of, if of one: the hash of its manifest.
    pub savepoint: Option<String>,
    /// The oldest epoch that the part can be resumed from; 0 is the state before the first epoch.
    pub floor: Epoch,
    /// The check as it is written.
    pub check: Hash,
    /// In the order of their numbers.
    pub executions: Vec<Execution>,
    pub steps: BTreeMap<StepNumber, Step>,
    /// In their order, from the one at the floor.
    pub sealed: Vec<Sealed>,
    pub blocks: Vec<BlockRow>,
    pub positions: Vec<PositionRow>,
}

/// What a check found.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("what epoch {0} wrote is not there as it was written")]
    Chain(Epoch),
    #[error("what was written up to epoch {0} is not there as it was written")]
    Check(Epoch),
    #[error("there are rows of epoch {0}, which was never finished")]
    Stray(Epoch),
}

impl Catalogue {
    /// The facts of a new part.
    pub fn new(file: String, identity: Identity) -> Self {
        let mut catalogue = Catalogue {
            file,
            identity,
            savepoint: None,
            floor: Epoch(0),
            check: Hash::default(),
            executions: Vec::new(),
            steps: BTreeMap::new(),
            sealed: Vec::new(),
            blocks: Vec::new(),
            positions: Vec::new(),
        };
        catalogue.check = catalogue.compute_check();
        catalogue
    }

    /// The facts of the same part in another store, which has its own name and chain.
    #[must_use]
    pub fn in_store(&self, store: &str) -> Catalogue {
        let mut part = self.clone();
        store.clone_into(&mut part.identity.store);
        let mut before = part.floor;
        for at in 0..part.sealed.len() {
            let Sealed { epoch, execution, .. } = part.sealed[at];
            if epoch > part.floor {
                let is_new = |of: Epoch| of > before && of <= epoch;
                let blocks = part.blocks.iter().filter(|block| is_new(block.epoch));
                let positions = part.positions.iter().filter(|position| is_new(position.epoch));
                part.sealed[at].chain = part.link(epoch, execution, blocks, positions);
                before = epoch;
            }
        }
        part.check = part.compute_check();
        part
    }

    /// The newest epoch sealed.
    pub fn newest(&self) -> Epoch {
        self.sealed.last().map_or(Epoch(0), |sealed| sealed.epoch)
    }

    /// The number of the execution that claimed the part last; 0 before the first.
    pub fn execution(&self) -> u64 {
        self.executions.last().map_or(0, |execution| execution.number)
    }

    /// The number after the last one in use in a table of blocks.
    pub fn next_block(&self, layer: Layer) -> i64 {
        self.blocks.iter().filter(|block| block.layer == layer).map(|block| block.id).max().unwrap_or(0) + 1
    }

    /// The number after the last one in use in a table of positions.
    pub fn next_position(&self, role: Role) -> i64 {
        self.positions.iter().filter(|position| position.role == role).map(|position| position.id).max().unwrap_or(0)
            + 1
    }

    /// The blocks that the states of a step in a slice are in at an epoch, the oldest first: those of the newest base, and
    /// the deltas since.
    pub fn blocks_of(&self, step: StepNumber, slice: u64, at: Epoch) -> Vec<BlockRow> {
        let is_asked = |block: &&BlockRow| block.step == step && slice_of(block.groups.0) == slice && block.epoch <= at;
        let mut blocks: Vec<_> = self.blocks.iter().filter(is_asked).cloned().collect();
        let bases = blocks.iter().filter(|block| block.layer == Layer::Base);
        if let Some(newest) = bases.map(|base| base.epoch).max() {
            // A delta of the base's own epoch was handed in after it.
            blocks.retain(|block| block.epoch >= newest);
        }
        blocks.sort_by_key(|block| (block.layer, block.epoch, block.id));
        blocks
    }

    /// The blocks that no epoch from `floor` on needs, since there is a newer base of their slice.
    pub fn replaced(&self, floor: Epoch) -> impl Iterator<Item = &BlockRow> {
        let mut newest = BTreeMap::new();
        for base in self.blocks.iter().filter(|block| block.layer == Layer::Base && block.epoch <= floor) {
            let epoch = newest.entry((base.step, slice_of(base.groups.0))).or_insert(base.epoch);
            *epoch = base.epoch.max(*epoch);
        }
        let is_older = move |block: &&BlockRow| {
            newest.get(&(block.step, slice_of(block.groups.0))).is_some_and(|&newest| block.epoch < newest)
        };
        self.blocks.iter().filter(is_older)
    }

    /// The link of the chain for an epoch whose rows these are.
    pub fn link<'a>(
        &self,
        epoch: Epoch,
        execution: u64,
        blocks: impl IntoIterator<Item = &'a BlockRow>,
        positions: impl IntoIterator<Item = &'a PositionRow>,
    ) -> Hash {
        let before = self.sealed.iter().rev().find(|sealed| sealed.epoch < epoch);
        let mut hasher = blake3::Hasher::new();
        hasher.update(&before.map_or_else(|| self.root(), |sealed| sealed.chain));
        hash_numbers(&mut hasher, &[epoch.0, execution]);
        blocks.into_iter().for_each(|block| block.hash(&mut hasher));
        positions.into_iter().for_each(|position| position.hash(&mut hasher));
        hasher.finalize().into()
    }

    /// What the chain begins with, different in each part of each store.
    fn root(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hash_bytes(&mut hasher, self.identity.store.as_bytes());
        hash_bytes(&mut hasher, self.identity.flow.0.as_bytes());
        hash_numbers(&mut hasher, &[self.identity.part, self.identity.parts]);
        hasher.finalize().into()
    }

    /// The check as it should be.
    pub fn compute_check(&self) -> Hash {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.root());
        hash_numbers(&mut hasher, &[self.floor.0, self.executions.len() as u64, self.steps.len() as u64]);
        for execution in &self.executions {
            hash_numbers(&mut hasher, &[execution.number, execution.resume.0]);
        }
        for (number, step) in &self.steps {
            hash_numbers(&mut hasher, &[number.cast_unsigned()]);
            hash_bytes(&mut hasher, step.id.0.as_bytes());
            hash_bytes(&mut hasher, step.kind.as_bytes());
            hash_bytes(&mut hasher, &step.fingerprint);
        }
        for sealed in self.sealed.iter().filter(|sealed| sealed.epoch <= self.floor) {
            hash_numbers(&mut hasher, &[sealed.epoch.0, sealed.execution]);
            hasher.update(&sealed.chain);
        }
        let mut blocks: Vec<_> = self.blocks.iter().filter(|block| block.epoch <= self.floor).collect();
        blocks.sort_by_key(|block| (block.layer, block.id));
        blocks.into_iter().for_each(|block| block.hash(&mut hasher));
        let mut positions: Vec<_> = self.positions.iter().filter(|position| position.epoch <= self.floor).collect();
        positions.sort_by_key(|position| (position.role, position.id));
        positions.into_iter().for_each(|position| position.hash(&mut hasher));
        hasher.finalize().into()
    }

    /// Checks that every row that was written is there, and no other.
    ///
    /// # Errors
    /// The first thing that is wrong.
    pub fn verify(&self) -> Result<(), Damage> {
        if self.check != self.compute_check() || self.floor > self.newest() {
            return Err(Damage::Check(self.floor));
        }
        let mut before = self.floor;
        for sealed in self.sealed.iter().filter(|sealed| sealed.epoch > self.floor) {
            let is_new = |epoch: Epoch| epoch > before && epoch <= sealed.epoch;
            let blocks = self.blocks.iter().filter(|block| is_new(block.epoch));
            let positions = self.positions.iter().filter(|position| is_new(position.epoch));
            if self.link(sealed.epoch, sealed.execution, blocks, positions) != sealed.chain {
                return Err(Damage::Chain(sealed.epoch));
            }
            before = sealed.epoch;
        }
        let epochs = self.blocks.iter().map(|block| block.epoch);
        match epochs.chain(self.positions.iter().map(|position| position.epoch)).find(|&epoch| epoch > before) {
            Some(epoch) => Err(Damage::Stray(epoch)),
            None => Ok(()),
        }
    }
}

impl BlockRow {
    /// The checksum of a block with these bytes: it covers where the block belongs, too.
    pub fn checksum(&self, bytes: &[u8]) -> u32 {
        let place =
            [self.layer as u64, self.epoch.0, self.step.cast_unsigned(), self.groups.0, self.groups.1, self.rows];
        let crc = place.iter().fold(0, |crc, number| crc32c::crc32c_append(crc, &number.to_le_bytes()));
        crc32c::crc32c_append(crc, bytes)
    }

    fn hash(&self, hasher: &mut blake3::Hasher) {
        let place = [self.layer as u64, self.id.cast_unsigned(), self.epoch.0, self.step.cast_unsigned()];
        hash_numbers(hasher, &place);
        hash_numbers(hasher, &[self.groups.0, self.groups.1, self.rows, self.bytes, u64::from(self.crc)]);
    }
}

impl PositionRow {
    /// The checksum, which covers where the row belongs, too.
    pub fn checksum(&self) -> u32 {
        let place = [self.role as u64, self.epoch.0, self.step.cast_unsigned(), self.part.0.len() as u64];
        let crc = place.iter().fold(0, |crc, number| crc32c::crc32c_append(crc, &number.to_le_bytes()));
        crc32c::crc32c_append(crc32c::crc32c_append(crc, self.part.0.as_bytes()), &self.bytes)
    }

    fn hash(&self, hasher: &mut blake3::Hasher) {
        hash_numbers(hasher, &[self.role as u64, self.id.cast_unsigned(), self.epoch.0, u64::from(self.crc)]);
    }
}

fn hash_numbers(hasher: &mut blake3::Hasher, numbers: &[u64]) {
    for number in numbers {
        hasher.update(&number.to_le_bytes());
    }
}

fn hash_bytes(hasher: &mut blake3::Hasher, bytes: &[u8]) {
    hash_numbers(hasher, &[bytes.len() as u64]);
    hasher.update(bytes);
}
