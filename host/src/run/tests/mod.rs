//! Executions that crash, all threads of which take turns as a seed decides.
//!
//! A seed decides on a flow, and on executions of it: how many workers, which thread goes on when, how time goes by, at
//! which turn the power goes or at which operation the disk fails, what is left of what was not synced. The last
//! execution runs to its end. What readers see then, and saw before, must be what a flow without crashes gives. Some flows
//! have an input that is longer when it is at its end, and go on from there.
//!
//! `WXHOST_SIM_SEEDS` is the number of seeds, `WXHOST_SIM_SEED` one seed, whose course is told.

mod baton;
mod disk;
mod dull;
mod flow;
mod random;
mod shape;
mod sink;
mod source;
mod steps;
mod store;
mod sum;

use flow::World;
use std::panic::catch_unwind;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Seeds that fail, after which no more are tried.
const ENOUGH: usize = 10;
/// Seeds of a usual run of the tests.
const SEEDS: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|number| number.parse().unwrap())
}

#[test]
fn every_row_is_seen_once_whatever_crashes() {
    if let Some(seed) = number("WXHOST_SIM_SEED") {
        World::new(seed, true).run();
        return;
    }
    let seeds = number("WXHOST_SIM_SEEDS").unwrap_or(SEEDS);
    let (next, failed) = (AtomicU64::new(0), Mutex::new(Vec::new()));
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds || failed.lock().unwrap().len() >= ENOUGH {
                        break;
                    }
                    if catch_unwind(|| World::new(seed, false).run()).is_err() {
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    assert_eq!(failed.into_inner().unwrap(), Vec::<u64>::new(), "seeds for WXHOST_SIM_SEED");
}

#[test]
fn a_seed_decides_everything() {
    let courses: Vec<_> = (0..20).map(|seed| World::new(seed, false).run()).collect();
    let again: Vec<_> = (0..20).map(|seed| World::new(seed, false).run()).collect();
    assert_eq!(courses, again);
    let different: std::collections::BTreeSet<_> = courses.iter().map(|course| *course.as_bytes()).collect();
    assert_eq!(different.len(), courses.len());
}
