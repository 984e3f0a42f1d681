//! The store as a whole: crashes between the parts' transactions, refusals, files that are damaged.

mod changed;
mod crashes;
mod failures;
mod files;
mod flips;
mod loading;
mod looks;
mod refusals;
mod replaced;
mod savepoints;
mod wrong_files;

use super::block;
use super::catalogue::{Execution, PositionRow, Role};
use super::compact::{self, handed_in};
use super::encode::Encoder;
use super::load::Shelf;
use super::part::{PartStore, Transaction};
use super::resume::Resume;
use super::store::{Options, Store};
use super::testing::{Disk, MemoryPart, changes, encoded, step, wanted};
use crate::data::key::{KEY_GROUPS, group_of, hash};
use crate::data::time::{Epoch, Instant};
use crate::dataflow::durable::Changes;
use arrow::array::Array;
use std::collections::BTreeMap;
use std::ops::Range;

/// The states of the step "sum".
type States = BTreeMap<String, u64>;

/// What an execution does up to its crash, part by part and with no threads.
struct World {
    disks: Vec<Disk>,
}

impl World {
    fn new(parts: usize) -> World {
        World { disks: (0..parts).map(|_| Disk::default()).collect() }
    }

    fn parts(&self) -> Vec<MemoryPart> {
        (0..).zip(&self.disks).map(|(part, disk)| MemoryPart::open(disk, part, self.disks.len() as u64)).collect()
    }

    /// Opens the store as it is on the disks.
    fn open(&self) -> Store {
        let parts = self.parts().into_iter().map(|part| Box::new(part) as _).collect();
        Store::from_parts(parts, &wanted(&[step("sum")]), Options::default()).unwrap()
    }

    /// Opens the store and claims its first `parts` parts: all of them, unless it crashes meanwhile.
    fn claim(&self, parts: usize) -> (Store, Vec<MemoryPart>) {
        self.claim_those(|part| part < parts)
    }

    /// Opens the store and claims some of its parts. They are claimed at once, so a crash leaves any of them.
    fn claim_those(&self, is_claimed: impl Fn(usize) -> bool) -> (Store, Vec<MemoryPart>) {
        let store = self.open();
        let mut opened = self.parts();
        for (_, part) in opened.iter_mut().enumerate().filter(|(number, _)| is_claimed(*number)) {
            claim(part, store.resume());
        }
        (store, opened)
    }
}

fn claim(part: &mut dyn PartStore, resume: &Resume) {
    let (number, wxhost) = (resume.execution, String::new());
    let execution = Execution { number, resume: resume.epoch, started_at: Instant(0), workers: 1, wxhost };
    part.commit(Transaction::claim(part.catalogue(), execution, resume)).unwrap();
}

/// Seals an epoch in one part: those changes that belong there; in the part that they belong to, also a position of a
/// source and a manifest of a sink.
fn seal(part: &mut dyn PartStore, epoch: u64, changes: &Changes) {
    seal_and_advance(part, epoch, changes, None);
}

/// As [`seal`], and raises the floor along with it.
fn seal_and_advance(part: &mut dyn PartStore, epoch: u64, changes: &Changes, floor: Option<Epoch>) {
    let identity = &part.catalogue().identity;
    let is_mine = |group: u64| block::slice_of(group) * identity.parts / block::SLICES == identity.part;
    let blocks = encoded(changes).into_iter().filter(|block| is_mine(block.groups.0));
    let blocks = blocks.map(|block| handed_in(block, Epoch(epoch), 1)).collect();
    let mut positions = Vec::new();
    for role in [Role::Sink, Role::Source].into_iter().filter(|_| is_mine(group_of(hash("p")))) {
        let bytes = epoch.to_le_bytes().to_vec();
        let mut row = PositionRow { role, id: 0, epoch: Epoch(epoch), step: 1, part: "p".into(), bytes, crc: 0 };
        row.crc = row.checksum();
        positions.push(row);
    }
    let mut transaction = Transaction::seal(part.catalogue(), Epoch(epoch), Instant(0), blocks, positions);
    if let Some(floor) = floor {
        transaction = transaction.and_advance(part.catalogue(), floor, |_| true);
    }
    part.commit(transaction).unwrap();
}

/// Raises the floor to the newest sealed epoch up to `most`, and merges what is due.
fn compact(part: &mut dyn PartStore, most: u64) {
    let sealed = part.catalogue().sealed.iter().rev().find(|sealed| sealed.epoch.0 <= most);
    if let Some(floor) = sealed.map(|sealed| sealed.epoch).filter(|&floor| floor > part.catalogue().floor) {
        part.commit(Transaction::advance(part.catalogue(), floor, |_| true)).unwrap();
    }
    let mut encoder = Encoder::new().unwrap();
    while let Some(work) = compact::next_work(part.catalogue()) {
        let transaction = compact::merge(part, &work, &mut encoder, || {}).unwrap();
        part.commit(transaction).unwrap();
    }
}

/// Loads the states of some key groups; each key must come once.
fn load(shelf: &Shelf, groups: Range<u64>) -> Result<States, String> {
    let mut states = States::new();
    let loaded = shelf.load_state(&"sum".into(), groups, &mut |keys, values| {
        for (key, value) in keys.values().iter().zip(values.iter()) {
            let value = u64::from_le_bytes(value.unwrap().try_into().unwrap());
            assert_eq!(states.insert(key.unwrap().to_owned(), value), None, "{key:?} came twice");
        }
        assert!(!keys.values().is_empty());
        Ok(())
    });
    loaded.map(|()| states).map_err(|error| error.message)
}

fn load_all(store: &Store) -> States {
    load(&store.shelf, 0..KEY_GROUPS).unwrap()
}

/// The position of the source, or of the sink, that [`seal`] wrote; 0 if there is none.
fn positions(store: &Store) -> (u64, u64) {
    let number = |bytes: &[u8]| u64::from_le_bytes(bytes.try_into().unwrap());
    let source = store.shelf.load_sources(&"sum".into()).unwrap().pop().map(|found| found.position);
    let sinks = store.load_sinks(&"sum".into()).unwrap();
    (source.map_or(0, |bytes| number(&bytes)), sinks.last().map_or(0, |sink| number(&sink.manifest)))
}

/// Applies changes to a model.
fn apply(states: &mut States, rows: &[(&str, Option<u64>)]) {
    for &(key, value) in rows {
        match value {
            Some(value) => drop(states.insert(key.to_owned(), value)),
            None => drop(states.remove(key)),
        }
    }
}
