//! Crashes in the midst of logic's input: what comes out must be what comes out without them.

use super::{given, show, table};
use crate::data::batch::Batch;
use crate::data::key::{self, Keys};
use crate::data::time::{Epoch, Instant};
use crate::dataflow::emit::{Emit, OnError};
use crate::dataflow::error::LogicError;
use crate::dataflow::keyed::{Kept, Keyed};
use arrow::array::{Array, AsArray, BinaryArray, StringArray};
use std::collections::{BTreeMap, BTreeSet};

/// What happens to logic, each in an epoch of its own.
#[expect(clippy::large_enum_variant, reason = "a test has a handful")]
#[derive(Clone)]
pub enum Input {
    /// Rows of an input.
    Rows(usize, Batch),
    /// Time goes by.
    Time,
    /// The input ends.
    End,
}

/// Something that happens at a time.
pub type At = (i64, Input);

/// States by key, as a store has them.
pub type Store = BTreeMap<String, Vec<u8>>;

/// Rows whose key is the column `k`.
pub fn keyed(columns: &str, rows: &[&str]) -> Batch {
    let rows = table(columns, rows);
    let keys = Keys::new(rows.column_by_name("k").unwrap().as_string().clone());
    Batch::keyed(rows, keys)
}

/// Batches of the only input, each so long after the one before, and the end.
pub fn in_turn(batches: Vec<(i64, Batch)>) -> Vec<At> {
    let (mut inputs, mut now) = (Vec::new(), 0);
    for (gap, batch) in batches {
        now += gap;
        inputs.push((now, if batch.num_rows() == 0 { Input::Time } else { Input::Rows(0, batch) }));
    }
    inputs.push((now, Input::End));
    inputs
}

/// Checks that logic gives the same, call by call, wherever crashes cut its input and with however many workers it goes
/// on, and that the store has the same in the end, also if states are taken between batches. Returns what it gives without crashes, as `port key: columns`, and
/// what is kept after each call.
pub fn check_crashes<L: Keyed>(make: impl Fn() -> L, inputs: &[At]) -> (Vec<Vec<String>>, Vec<Store>) {
    let mut straight = Execution { workers: vec![make()] };
    let wanted: Vec<Vec<String>> = inputs.iter().map(|input| straight.call(input, None)).collect();
    let (kept, given) = run(&make, inputs, false, |_| (false, 1));
    assert_eq!(given, wanted, "keeping states changes nothing");
    for cut in 0..inputs.len() {
        for (before, after) in [(1, 1), (1, 3), (3, 2)] {
            let what = format!("a crash before call {cut}, {before} workers, then {after}");
            let (stores, given) = run(&make, inputs, false, |at| (at == cut, if at < cut { before } else { after }));
            compare(given, &wanted, before * after == 1, &what);
            assert_eq!(stores, kept, "{what}");
        }
    }
    for is_ahead in [false, true] {
        let (stores, given) = run(&make, inputs, is_ahead, |at| (true, 1 + at % 3));
        compare(given, &wanted, false, "a crash before each call");
        assert_eq!(stores, kept, "a crash before each call");
    }
    let (stores, given) = run(&make, inputs, true, |_| (false, 1));
    assert_eq!(given, wanted, "taking states ahead changes nothing");
    assert_eq!(stores, kept, "states are taken ahead");
    (wanted, kept)
}

fn compare(given: Vec<Vec<String>>, wanted: &[Vec<String>], in_order: bool, what: &str) {
    for (call, (mut given, mut wanted)) in given.into_iter().zip(wanted.iter().cloned()).enumerate() {
        if !in_order {
            given.sort_unstable();
            wanted.sort_unstable();
        }
        assert_eq!(given, wanted, "{what}, in call {call}");
    }
}

/// Runs logic with recovery; `plan` says for each call whether a crash comes before it, and with how many workers the
/// execution runs that begins then. `is_ahead` says whether states are taken within calls, too. Returns what was kept and
/// given with each call.
fn run<L: Keyed>(
    make: impl Fn() -> L,
    inputs: &[At],
    is_ahead: bool,
    plan: impl Fn(usize) -> (bool, usize),
) -> (Vec<Store>, Vec<Vec<String>>) {
    let (mut store, mut stores, mut given) = (Store::new(), Vec::new(), Vec::new());
    let mut execution = Execution::start(&make, plan(0).1, &store, 0);
    for (at, input) in inputs.iter().enumerate() {
        let (is_cut, workers) = plan(at);
        if is_cut {
            execution = Execution::start(&make, workers, &store, input.0);
        }
        given.push(execution.call(input, is_ahead.then_some(&mut store)));
        execution.hand_in(&mut store, input.0);
        stores.push(store.clone());
    }
    (stores, given)
}

/// The workers of an execution.
struct Execution<L> {
    workers: Vec<L>,
}

impl<L: Keyed> Execution<L> {
    /// Starts from what a store has.
    fn start(make: impl Fn() -> L, workers: usize, store: &Store, now: i64) -> Self {
        let logic = |worker: usize| {
            let mut logic = make();
            assert_eq!(logic.keep(), Kept::Keys);
            let mut own: Vec<_> = store.iter().collect();
            own.retain(|(key, _)| key::worker_of(key::hash(key), workers) == worker);
            own.sort_by_key(|(key, _)| key::hash(key));
            // They come in pieces.
            for own in own.chunks(2) {
                let keys = Keys::new(own.iter().map(|(key, _)| Some(key.as_str())).collect::<StringArray>());
                let states: BinaryArray = own.iter().map(|(_, state)| Some(state.as_slice())).collect();
                logic.restore(&keys, &states, Instant(now)).unwrap();
            }
            logic
        };
        Execution { workers: (0..workers).map(logic).collect() }
    }

    /// Lets something happen, after the wake-ups that are due; returns what is given. States are taken into `store` in
    /// between, if there is one.
    fn call(&mut self, (now, input): &At, mut store: Option<&mut Store>) -> Vec<String> {
        let (count, now) = (self.workers.len(), Instant(*now));
        let mut calls = Vec::new();
        for (worker, logic) in self.workers.iter_mut().enumerate() {
            let mut take = |logic: &mut L| store.as_deref_mut().is_some_and(|store| take(logic, now, store));
            calls.extend(shown(|out| {
                if logic.wake_at().is_some_and(|at| at <= now) {
                    logic.on_wake(now, out)?;
                    assert!(logic.wake_at().is_none_or(|at| at > now), "it is not woken twice for a time");
                    take(logic);
                }
                match input {
                    Input::Rows(input, batch) => {
                        let own = own(batch, worker, count);
                        if own.num_rows() > 0 {
                            logic.on_batch(*input, own, now, out)?;
                            take(logic);
                        }
                    }
                    Input::Time => {}
                    Input::End => logic.on_eof(now, out)?,
                }
                logic.on_epoch(Epoch(1), out)
            }));
        }
        calls
    }

    /// Takes what changed into a store.
    fn hand_in(&mut self, store: &mut Store, now: i64) {
        for logic in &mut self.workers {
            if take(logic, Instant(now), store) {
                assert!(!take(logic, Instant(now), store), "nothing has changed since");
            }
        }
    }
}

/// Takes what changed into a store; returns whether anything did.
fn take(logic: &mut impl Keyed, now: Instant, store: &mut Store) -> bool {
    let Some(changes) = logic.snapshot(now).unwrap() else { return false };
    let keys: Vec<&str> = changes.keys.values().iter().flatten().collect();
    assert!(!keys.is_empty(), "something has changed");
    assert_eq!(keys.len(), keys.iter().collect::<BTreeSet<_>>().len(), "each key once");
    assert_eq!(keys.len(), changes.values.len(), "a state each");
    for (key, state) in keys.into_iter().zip(&changes.values) {
        match state {
            Some(state) => drop(store.insert(key.to_owned(), state.to_vec())),
            None => drop(store.remove(key)),
        }
    }
    true
}

/// The rows of a batch that come to a worker; with several, it selects.
fn own(batch: &Batch, worker: usize, workers: usize) -> Batch {
    if workers == 1 {
        return batch.clone();
    }
    let hashes = batch.keys().unwrap().hashes().iter();
    let own = (0..).zip(hashes).filter(|(_, hash)| key::worker_of(**hash, workers) == worker);
    batch.select(&own.map(|(row, _)| row).collect::<Vec<_>>())
}

fn shown(call: impl FnOnce(&mut Emit<'_>) -> Result<(), LogicError>) -> Vec<String> {
    let given = given(OnError::DeadLetter, call).unwrap();
    given.iter().flat_map(|(port, batch)| show(batch).into_iter().map(move |row| format!("{port} {row}"))).collect()
}
