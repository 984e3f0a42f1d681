//! Threads that write while workers load.

use super::super::catalogue::BlockRow;
use super::*;
use crate::dataflow::durable::Recovery;
use crate::dataflow::env::{Env, Turns, scripted};
use crate::dataflow::failure::FailureSlot;
use crate::dataflow::writers::Writers;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use timely::scheduling::SyncActivator;

/// Counts the threads that have done all that they could and wait for what comes.
#[derive(Default)]
struct Waiting(AtomicUsize);

impl Turns for Waiting {
    fn begin(&self, _worker: usize, _workers: usize) {}

    fn wait(&self, is_ready: Box<dyn Fn() -> bool + Send>) {
        if is_ready() {
            return;
        }
        self.0.fetch_add(1, Ordering::AcqRel);
        while !is_ready() {
            std::thread::yield_now();
        }
        self.0.fetch_sub(1, Ordering::AcqRel);
    }

    fn end(&self) {}

    fn wake(&self, _after: Duration, _operator: SyncActivator) {}
}

fn blocks(store: &super::super::store::ClaimedStore) -> Vec<Vec<BlockRow>> {
    store.shelf().parts.iter().map(|part| part.lock().unwrap().catalogue().blocks.clone()).collect()
}

#[test]
fn nothing_is_merged_away_before_all_workers_have_loaded() {
    let world = World::new(2);
    let (store, mut parts) = world.claim(2);
    let rows: Vec<String> = (0..100).map(|n| n.to_string()).collect();
    for epoch in 1..=20 {
        let rows: Vec<_> = rows.iter().map(|row| (row.as_str(), Some(epoch))).collect();
        parts.iter_mut().for_each(|part| seal(part, epoch, &changes(&rows)));
    }
    drop((store, parts));
    let waiting = Arc::new(Waiting::default());
    let env = Env { turns: Some(waiting.clone()), ..scripted::env(Instant(0)) };
    let (failure, writers) = (FailureSlot::default(), Writers::default());
    let store = world.open().claim(1, &env, &failure, &writers).unwrap();
    let all_wait = || {
        while waiting.0.load(Ordering::Acquire) < 2 {
            std::thread::yield_now();
        }
    };
    let before = blocks(&store);
    all_wait();
    assert!(blocks(&store) == before, "something was merged");
    // Only then there is time for it.
    store.state(&"sum".into(), Epoch(21), &changes(&[("a", Some(1))])).unwrap();
    store.seal(Epoch(21));
    while store.durable().newest() < Epoch(21) {
        std::thread::yield_now();
    }
    all_wait();
    let (merged, count) = (blocks(&store), |parts: &[Vec<BlockRow>]| parts.iter().map(Vec::len).sum::<usize>());
    assert!(count(&merged) < count(&before), "{} of {} blocks are left", count(&merged), count(&before));
    drop(store);
    writers.wait(Duration::from_secs(60));
}
