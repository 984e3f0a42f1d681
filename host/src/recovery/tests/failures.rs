//! Threads that write and fail.

use super::super::catalogue::{BlockRow, Catalogue};
use super::super::error::{StoreError, Trouble};
use super::*;
use crate::dataflow::durable::Recovery;
use crate::dataflow::env::scripted;
use crate::dataflow::error::Domain;
use crate::dataflow::failure::{FailureSlot, Stop};
use crate::dataflow::writers::Writers;
use std::time::Duration;

/// A part that cannot seal.
struct Failing {
    part: MemoryPart,
    seal: fn() -> StoreError,
}

impl PartStore for Failing {
    fn catalogue(&self) -> &Catalogue {
        self.part.catalogue()
    }

    fn commit(&mut self, transaction: Transaction) -> Result<(), StoreError> {
        match transaction.sealed {
            Some(_) => Err((self.seal)()),
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

/// Seals an epoch in a store whose second part fails; returns what stopped the execution.
fn run(seal: fn() -> StoreError) -> (Domain, String) {
    let world = World::new(2);
    let mut parts: Vec<Box<dyn PartStore>> = Vec::new();
    for (number, part) in world.parts().into_iter().enumerate() {
        parts.push(if number == 1 { Box::new(Failing { part, seal }) } else { Box::new(part) });
    }
    let store = Store::from_parts(parts, &wanted(&[step("sum")]), Options::default()).unwrap();
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
    let (domain, message) = run(|| StoreError::new(Trouble::Io, "part-1.sqlite3", "the disk is full"));
    assert_eq!((domain, message.as_str()), (Domain::Io, "recovery store, part-1.sqlite3: the disk is full"));
}

#[test]
fn a_thread_that_panics_stops_the_execution() {
    let (domain, message) = run(|| panic!("a bug"));
    let expected = "the thread that writes part 1 of the recovery store panicked";
    assert_eq!((domain, message.as_str()), (Domain::Internal, expected));
}
