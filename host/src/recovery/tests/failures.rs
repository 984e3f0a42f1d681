//! Parts that cannot be written.

use super::super::catalogue::{BlockRow, Catalogue};
use super::super::error::{StoreError, Trouble};
use super::*;
use crate::dataflow::durable::Recovery;
use crate::dataflow::env::scripted;
use crate::dataflow::error::Domain;
use crate::dataflow::failure::{FailureSlot, Stop};
use crate::dataflow::writers::Writers;
use std::time::Duration;

/// A part that some transactions fail on.
struct Failing {
    part: MemoryPart,
    fails: fn(&Transaction) -> Option<StoreError>,
}

impl PartStore for Failing {
    fn catalogue(&self) -> &Catalogue {
        self.part.catalogue()
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), StoreError> {
        match (self.fails)(&transaction) {
            Some(error) => Err(error),
            None => self.part.commit(transaction),
        }
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

/// Opens a store one of whose parts fails.
fn open_failing(world: &World, number: usize, fails: fn(&Transaction) -> Option<StoreError>) -> Store {
    let mut parts: Vec<Box<dyn PartStore>> = Vec::new();
    for (at, part) in world.parts().into_iter().enumerate() {
        parts.push(if at == number { Box::new(Failing { part, fails }) } else { Box::new(part) });
    }
    Store::from_parts(parts, &wanted(&[step("sum")]), Options::default()).unwrap()
}

/// Seals an epoch in a store whose second part fails at that; returns what stopped the execution.
fn run(fails: fn(&Transaction) -> Option<StoreError>) -> (Domain, String) {
    let world = World::new(2);
    let store = open_failing(&world, 1, fails);
    let (failure, writers) = (FailureSlot::default(), Writers::default());
    let store = store.claim(1, &scripted::env(Instant(0)), &failure, &writers).unwrap();
    let rows: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    let rows: Vec<_> = rows.iter().map(|row| (row.as_str(), Some(1))).collect();
    store.state(&"sum".into(), Epoch(1), &changes(&rows)).unwrap();
    store.seal(Epoch(1));
    while !failure.is_set() {
        std::thread::yield_now();
    }
    // What is handed in after that goes nowhere, and nobody waits for it.
    store.state(&"sum".into(), Epoch(2), &changes(&rows)).unwrap();
    store.seal(Epoch(2));
    assert_eq!(store.durable().newest(), Epoch(0));
    drop(store);
    writers.wait(Duration::from_secs(60));
    assert_eq!(load_all(&world.open()), States::new());
    match failure.get() {
        Some(Stop::Recovery(error)) => (error.domain, error.message),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_part_that_cannot_be_written_stops_the_execution() {
    let (domain, message) = run(|transaction| {
        transaction.sealed.as_ref().map(|_| StoreError::new(Trouble::Io, "part-1.sqlite3", "the disk is full"))
    });
    assert_eq!((domain, message.as_str()), (Domain::Io, "recovery store, part-1.sqlite3: the disk is full"));
}

#[test]
fn a_thread_that_panics_stops_the_execution() {
    let (domain, message) = run(|transaction| transaction.sealed.as_ref().map(|_| panic!("a bug")));
    let expected = "the thread that writes part 1 of the recovery store panicked";
    assert_eq!((domain, message.as_str()), (Domain::Internal, expected));
}

#[test]
fn a_claim_that_fails_in_one_part_removes_nothing_from_others() {
    // A process that was thought dead has sealed an epoch in part 1, and may yet in part 0. It would then show it.
    let world = World::new(2);
    let (_, mut parts) = world.claim(2);
    seal(&mut parts[1], 1, &changes(&[("a", Some(1)), ("b", Some(1)), ("c", Some(1))]));
    let store = open_failing(&world, 0, |_| Some(StoreError::new(Trouble::Io, "part-0.sqlite3", "it is protected")));
    assert_eq!(store.resume().epoch, Epoch(0));
    let claimed = store.claim(1, &scripted::env(Instant(0)), &FailureSlot::default(), &Writers::default());
    assert_eq!(
        claimed.err().map(|error| error.message),
        Some("recovery store, part-0.sqlite3: it is protected".to_owned())
    );
    let found = world.parts();
    let sealed: Vec<u64> = found[1].catalogue().sealed.iter().map(|sealed| sealed.epoch.0).collect();
    assert_eq!((sealed, found[1].catalogue().execution(), found[0].catalogue().execution()), (vec![1], 2, 1));
    // Once no part fails, it is removed.
    world.claim(2);
    assert!(world.parts().iter().all(|part| part.catalogue().sealed.is_empty()));
}
