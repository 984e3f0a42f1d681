//! What a store knows of a plugin's sink: what its partitions staged, and where they stand.

use crate::data::ids::PartitionId;
use crate::data::time::Epoch;
use crate::dataflow::durable::Manifest;
use crate::dataflow::error::LogicError;
use std::collections::BTreeMap;

/// Where a partition stands: the snapshot that it gave at the end of an epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Position {
    pub epoch: Epoch,
    pub snapshot: Vec<u8>,
}

/// What a manifest of a partition says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    /// What a commit of the epoch needs to know.
    pub staged: Option<Vec<u8>>,
    pub own: Option<Position>,
    /// The positions of partitions that no worker has any more, and which this one took over to remember.
    pub others: BTreeMap<String, Position>,
}

impl State {
    /// Writes a manifest.
    pub fn write(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        put(&mut bytes, self.staged.as_deref());
        put_position(&mut bytes, self.own.as_ref());
        for (name, position) in &self.others {
            put(&mut bytes, Some(name.as_bytes()));
            put_position(&mut bytes, Some(position));
        }
        bytes
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// It is none.
    pub fn read(manifest: &[u8]) -> Result<State, LogicError> {
        let mut rest = manifest;
        let mut read = || -> Option<State> {
            let mut state = State { staged: take(&mut rest)?, own: take_position(&mut rest)?, others: BTreeMap::new() };
            while !rest.is_empty() {
                let name = String::from_utf8(take(&mut rest)??).ok()?;
                state.others.insert(name, take_position(&mut rest)??);
            }
            Some(state)
        };
        read().ok_or_else(|| LogicError::internal("a stored manifest is not that of a plugin's sink"))
    }

    /// What a partition begins with that has these manifests, and what is known of it besides.
    ///
    /// # Errors
    /// A manifest is none.
    pub fn begin(
        part: &PartitionId,
        manifests: &mut dyn Iterator<Item = &Manifest>,
        known: &BTreeMap<String, Position>,
    ) -> Result<State, LogicError> {
        let mut all = positions(manifests)?;
        known.get(&*part.0).into_iter().for_each(|position| remember(&mut all, &part.0, position.clone()));
        Ok(State { staged: None, own: all.remove(&*part.0), others: all })
    }
}

/// The newest position of each partition that manifests tell of.
///
/// # Errors
/// A manifest is none.
pub(super) fn positions(
    manifests: &mut dyn Iterator<Item = &Manifest>,
) -> Result<BTreeMap<String, Position>, LogicError> {
    let mut all = BTreeMap::new();
    for manifest in manifests {
        let state = State::read(&manifest.manifest)?;
        state.own.into_iter().for_each(|position| remember(&mut all, &manifest.part.0, position));
        state.others.into_iter().for_each(|(part, position)| remember(&mut all, &part, position));
    }
    Ok(all)
}

fn remember(all: &mut BTreeMap<String, Position>, part: &str, position: Position) {
    if all.get(part).is_none_or(|other| other.epoch <= position.epoch) {
        all.insert(part.to_owned(), position);
    }
}

fn put(bytes: &mut Vec<u8>, part: Option<&[u8]>) {
    // A length of all ones stands for nothing.
    bytes.extend_from_slice(&part.map_or(u64::MAX, |part| part.len() as u64).to_le_bytes());
    bytes.extend_from_slice(part.unwrap_or_default());
}

fn take(rest: &mut &[u8]) -> Option<Option<Vec<u8>>> {
    let (length, after) = rest.split_first_chunk()?;
    *rest = after;
    let length = u64::from_le_bytes(*length);
    if length == u64::MAX {
        return Some(None);
    }
    let (part, after) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    *rest = after;
    Some(Some(part.to_vec()))
}

fn put_position(bytes: &mut Vec<u8>, position: Option<&Position>) {
    put(bytes, position.map(|position| position.snapshot.as_slice()));
    bytes.extend_from_slice(&position.map_or(0, |position| position.epoch.0).to_le_bytes());
}

fn take_position(rest: &mut &[u8]) -> Option<Option<Position>> {
    let snapshot = take(rest)?;
    let (epoch, after) = rest.split_first_chunk()?;
    *rest = after;
    Some(snapshot.map(|snapshot| Position { epoch: Epoch(u64::from_le_bytes(*epoch)), snapshot }))
}
