//! What a part of the store can do, and the transactions that change one. Transactions are made from a catalogue alone;
//! carrying them out is all that storage has to do, so that another storage can stand in for SQLite.

use super::catalogue::{BlockRow, Catalogue, Execution, Hash, Layer, PositionRow, Role, Sealed, Step, StepNumber};
use super::compare::MARKS;
use super::error::StoreError;
use super::resume::Resume;
use crate::data::time::{Epoch, Instant};
use std::collections::{BTreeMap, BTreeSet};

/// Executions that are remembered: enough to see what happened, few enough for a flow that restarts for ever.
const EXECUTIONS: usize = 64;

/// Storage of a part.
pub trait PartStore: Send {
    /// What is in the part.
    fn catalogue(&self) -> &Catalogue;

    /// Carries out a transaction, wholly or not at all; when it returns, no crash undoes it.
    ///
    /// # Errors
    /// Another execution has claimed the part, or it cannot be written. The part must not be used again: what a failed
    /// write leaves behind is known only after it was opened anew.
    fn commit(&mut self, transaction: Transaction) -> Result<(), StoreError>;

    /// The bytes of a block, checked.
    ///
    /// # Errors
    /// The block is damaged or cannot be read.
    fn read(&self, block: &BlockRow) -> Result<Vec<u8>, StoreError>;

    /// Tidies up behind the transactions, if there is enough to tidy up, or if they were the last. Called when there is
    /// nothing else to do.
    ///
    /// # Errors
    /// As for `commit`.
    fn rest(&mut self, were_last: bool) -> Result<(), StoreError>;

    /// Looks for damage in the storage itself, below what the catalogue can tell.
    ///
    /// # Errors
    /// There is some.
    fn examine(&self) -> Result<(), StoreError>;
}

/// What changes a part, in one step.
#[derive(Clone, Debug)]
pub struct Transaction {
    /// The execution that must be the last one to have claimed the part.
    pub fence: u64,
    pub execution: Option<Execution>,
    pub removed_executions: Vec<u64>,
    pub steps: Vec<(StepNumber, Step)>,
    pub removed_steps: Vec<StepNumber>,
    pub sealed: Option<Sealed>,
    pub removed_sealed: Vec<Epoch>,
    pub blocks: Vec<(BlockRow, Vec<u8>)>,
    pub removed_blocks: Vec<(Layer, i64)>,
    pub positions: Vec<PositionRow>,
    pub removed_positions: Vec<(Role, i64)>,
    pub floor: Epoch,
    pub check: Hash,
}

impl Transaction {
    fn new(catalogue: &Catalogue) -> Self {
        Transaction {
            fence: catalogue.execution(),
            execution: None,
            removed_executions: Vec::new(),
            steps: Vec::new(),
            removed_steps: Vec::new(),
            sealed: None,
            removed_sealed: Vec::new(),
            blocks: Vec::new(),
            removed_blocks: Vec::new(),
            positions: Vec::new(),
            removed_positions: Vec::new(),
            floor: catalogue.floor,
            check: catalogue.check,
        }
    }

    /// Enters an execution, unless it is entered.
    fn enter(catalogue: &Catalogue, execution: Execution) -> Self {
        if catalogue.execution() == execution.number {
            return Self::new(catalogue);
        }
        let old = catalogue.executions.len().saturating_sub(EXECUTIONS - 1);
        Transaction {
            execution: Some(execution),
            removed_executions: catalogue.executions[..old].iter().map(|execution| execution.number).collect(),
            ..Self::new(catalogue)
        }
    }

    /// Keeps other executions out of a part, and removes nothing yet.
    pub fn fence(catalogue: &Catalogue, execution: Execution) -> Self {
        Self::enter(catalogue, execution).checked(catalogue)
    }

    /// Whether a part has anything that [`Transaction::claim`] will remove.
    pub fn is_ahead(catalogue: &Catalogue, resume: &Resume) -> bool {
        let mut epochs = catalogue.sealed.iter().map(|sealed| sealed.epoch);
        epochs.any(|epoch| epoch > resume.epoch)
    }

    /// Claims a part for an execution, fenced before or not, and removes whatever is newer than the epoch that it resumes
    /// from.
    pub fn claim(catalogue: &Catalogue, execution: Execution, resume: &Resume) -> Self {
        let is_dead = |epoch: Epoch| epoch > resume.epoch;
        let dead_positions = catalogue.positions.iter().filter(|position| is_dead(position.epoch));
        let dead_blocks = catalogue.blocks.iter().filter(|block| is_dead(block.epoch));
        let new_steps = resume.compared.steps.iter().filter(|(number, step)| catalogue.steps.get(number) != Some(step));
        Transaction {
            steps: new_steps.map(|(&number, step)| (number, step.clone())).collect(),
            removed_steps: catalogue
                .steps
                .keys()
                .copied()
                .filter(|number| resume.compared.unused.contains(number))
                .collect(),
            removed_sealed: catalogue
                .sealed
                .iter()
                .map(|sealed| sealed.epoch)
                .filter(|&epoch| is_dead(epoch))
                .collect(),
            removed_blocks: dead_blocks.map(|block| (block.layer, block.id)).collect(),
            removed_positions: dead_positions.map(|position| (position.role, position.id)).collect(),
            ..Self::enter(catalogue, execution)
        }
        .checked(catalogue)
    }

    /// Seals an epoch. Numbers of rows are given here. Rows may be of this epoch and of any since the one that was sealed
    /// before.
    pub fn seal(
        catalogue: &Catalogue,
        epoch: Epoch,
        at: Instant,
        mut blocks: Vec<(BlockRow, Vec<u8>)>,
        mut positions: Vec<PositionRow>,
    ) -> Self {
        // In the order in which the tables are read.
        blocks.sort_by_key(|(block, _)| block.layer);
        number(catalogue, &mut blocks);
        positions.sort_by_key(|position| position.role);
        let sources = positions.iter().filter(|position| position.role == Role::Source).count();
        let (first, second) = positions.split_at_mut(sources);
        for (role, positions) in [(Role::Source, first), (Role::Sink, second)] {
            for (id, position) in (catalogue.next_position(role)..).zip(positions) {
                position.id = id;
            }
        }
        let execution = catalogue.execution();
        let chain = catalogue.link(epoch, execution, blocks.iter().map(|(block, _)| block), &positions);
        let sealed = Some(Sealed { epoch, execution, at, chain });
        Transaction { sealed, blocks, positions, ..Self::new(catalogue) }
    }

    /// Raises the floor along with what this transaction does; see [`Transaction::advance`].
    #[must_use]
    pub fn and_advance(
        self,
        catalogue: &Catalogue,
        floor: Epoch,
        is_committed: impl Fn(&PositionRow) -> bool,
    ) -> Transaction {
        let mut after = catalogue.clone();
        after.apply(&self);
        let Transaction { floor, check, removed_sealed, removed_blocks, removed_positions, .. } =
            Self::advance(&after, floor, is_committed);
        Transaction { floor, check, removed_sealed, removed_blocks, removed_positions, ..self }
    }

    /// Raises the floor, and forgets what only older epochs need: their links, blocks under a newer base, and positions
    /// that newer ones replace. Of manifests those go that `is_committed` says are. Of states that were replaced or dropped
    /// everything goes: no epoch can be resumed from any more in which they were there.
    pub fn advance(catalogue: &Catalogue, floor: Epoch, is_committed: impl Fn(&PositionRow) -> bool) -> Self {
        let mut newest = BTreeMap::new();
        for position in catalogue.positions.iter().filter(|position| position.epoch <= floor) {
            let newest = newest.entry((position.role, position.step, &position.part)).or_insert(position.epoch);
            *newest = position.epoch.max(*newest);
        }
        let is_replaced = |position: &&PositionRow| {
            let newest = newest.get(&(position.role, position.step, &position.part));
            newest.is_some_and(|&newest| position.epoch < newest)
                && (position.role == Role::Source || is_committed(position))
        };
        let retired = catalogue.retired(floor);
        let is_retired = |position: &&PositionRow| position.step != MARKS && retired.contains(&position.step);
        let removed = catalogue.positions.iter().filter(|position| is_replaced(position) || is_retired(position));
        let is_retired = |block: &&BlockRow| retired.contains(&block.step);
        let mut blocks: Vec<_> = catalogue.blocks.iter().filter(is_retired).collect();
        blocks.extend(catalogue.replaced(floor).filter(|block| !is_retired(block)));
        Transaction {
            floor,
            removed_sealed: catalogue.sealed.iter().map(|sealed| sealed.epoch).filter(|&epoch| epoch < floor).collect(),
            removed_blocks: blocks.into_iter().map(|block| (block.layer, block.id)).collect(),
            removed_positions: removed.map(|position| (position.role, position.id)).collect(),
            ..Self::new(catalogue)
        }
        .checked(catalogue)
    }

    /// Puts blocks in the place of those that they were merged from. Numbers are given here.
    pub fn replace(catalogue: &Catalogue, old: &[BlockRow], mut new: Vec<(BlockRow, Vec<u8>)>) -> Self {
        number(catalogue, &mut new);
        let removed_blocks = old.iter().map(|block| (block.layer, block.id)).collect();
        Transaction { blocks: new, removed_blocks, ..Self::new(catalogue) }.checked(catalogue)
    }

    /// Computes the check as it will be.
    fn checked(mut self, catalogue: &Catalogue) -> Self {
        let mut after = catalogue.clone();
        after.apply(&self);
        self.check = after.compute_check();
        self
    }
}

/// Numbers blocks on from those that there are.
fn number(catalogue: &Catalogue, blocks: &mut [(BlockRow, Vec<u8>)]) {
    let mut next = [Layer::Base, Layer::Delta].map(|layer| catalogue.next_block(layer));
    for (block, _) in blocks {
        let next = &mut next[block.layer as usize];
        block.id = *next;
        *next += 1;
    }
}

impl Catalogue {
    /// Follows a transaction that was carried out.
    pub fn apply(&mut self, transaction: &Transaction) {
        let t = transaction;
        self.executions.retain(|execution| !t.removed_executions.contains(&execution.number));
        self.executions.extend(t.execution.clone());
        self.steps.retain(|number, _| !t.removed_steps.contains(number));
        self.steps.extend(t.steps.iter().cloned());
        let removed: BTreeSet<_> = t.removed_sealed.iter().copied().collect();
        self.sealed.retain(|sealed| !removed.contains(&sealed.epoch));
        self.sealed.extend(t.sealed.clone());
        let removed: BTreeSet<_> = t.removed_blocks.iter().copied().collect();
        self.blocks.retain(|block| removed.is_empty() || !removed.contains(&(block.layer, block.id)));
        self.blocks.extend(t.blocks.iter().map(|(block, _)| block.clone()));
        let removed: BTreeSet<_> = t.removed_positions.iter().copied().collect();
        self.positions.retain(|position| !removed.contains(&(position.role, position.id)));
        self.positions.extend(t.positions.iter().cloned());
        self.floor = t.floor;
        self.check = t.check;
    }
}
