//! Machines that go on where others stopped.

use super::*;
use crate::data::key::{hash, worker_of};
use crate::dataflow::keyed::Kept;
use crate::operators::testing::{Input, check_crashes};

/// What a recovery store has of a step.
pub(super) type Store = BTreeMap<String, Vec<u8>>;

/// The workers of an execution with recovery.
pub(super) struct Workers {
    benches: Vec<Bench>,
    rules: Rules,
    inputs: usize,
    out: Out,
}

impl Workers {
    /// Starts so many from what a store has.
    pub fn start(rules: Rules, inputs: usize, workers: usize, store: &Store, now: Instant) -> Self {
        let bench = |worker: usize| {
            let mut bench = Bench::new(rules, inputs);
            bench.clock.set(now);
            assert_eq!(bench.machine.keep(), Kept::Keys);
            let own: Vec<_> = store.iter().filter(|(key, _)| worker_of(hash(key), workers) == worker).collect();
            // They come in pieces.
            for piece in own.chunks(2) {
                let keys = Keys::new(piece.iter().map(|(key, _)| Some(key.as_str())).collect::<StringArray>());
                let states: BinaryArray = piece.iter().map(|(_, state)| Some(state.as_slice())).collect();
                bench.machine.restore(&keys, &states, now).unwrap();
            }
            bench
        };
        Workers { benches: (0..workers).map(bench).collect(), rules, inputs, out: Out::default() }
    }

    /// Hands each its rows of a batch.
    pub fn rows(&mut self, input: usize, rows: &[Row<'_>]) -> &mut Self {
        let workers = self.benches.len();
        for (worker, bench) in self.benches.iter_mut().enumerate() {
            let own = rows.iter().copied().filter(|row| worker_of(hash(row.0), workers) == worker);
            let own: Vec<Row<'_>> = own.collect();
            if !own.is_empty() {
                bench.rows(input, &own);
            }
        }
        self
    }

    pub fn idle(&mut self, micros: i64) -> &mut Self {
        self.each(|bench| {
            bench.idle(micros);
        })
    }

    pub fn busy(&mut self, micros: i64) -> &mut Self {
        self.each(|bench| {
            bench.busy(micros);
        })
    }

    pub fn eof(&mut self) -> &mut Self {
        self.each(|bench| {
            bench.eof();
        })
    }

    fn each(&mut self, call: impl FnMut(&mut Bench)) -> &mut Self {
        self.benches.iter_mut().for_each(call);
        self
    }

    /// What came out since this was last called, in no order of keys.
    pub fn take(&mut self) -> Out {
        let mut all = std::mem::take(&mut self.out);
        for out in self.benches.iter_mut().map(Bench::take) {
            all.down.extend(out.down);
            all.late.extend(out.late);
            all.meta.extend(out.meta);
            all.errors.extend(out.errors);
        }
        all
    }

    /// An epoch ends: a store takes in what it changed. Returns the keys that changed.
    pub fn epoch(&mut self, store: &mut Store) -> Vec<String> {
        let mut changed = Vec::new();
        for bench in &mut self.benches {
            let now = bench.now();
            let Some(changes) = bench.machine.snapshot(now).unwrap() else { continue };
            for (key, state) in changes.keys.values().iter().flatten().zip(&changes.values) {
                match state {
                    Some(state) => drop(store.insert(key.to_owned(), state.to_vec())),
                    None => drop(store.remove(key)),
                }
                assert!(!changed.contains(&key.to_owned()), "a key changes once");
                changed.push(key.to_owned());
            }
            assert!(!changed.is_empty() && bench.machine.snapshot(now).unwrap().is_none(), "nothing has changed since");
        }
        changed
    }

    /// All crash, and as many start again as said.
    pub fn crash(&mut self, store: &Store, workers: usize) -> &mut Self {
        let out = self.take();
        let now = self.benches[0].now();
        *self = Workers { out, ..Workers::start(self.rules, self.inputs, workers, store, now) };
        self
    }

    pub fn open_windows(&self) -> usize {
        self.benches.iter().map(|bench| bench.machine.open_windows()).sum()
    }
}

const TUMBLING: Windower = Windower::Aligned { length: 10, every: 10, align_to: 0 };

/// Starts with an empty store.
fn start(rules: Rules, inputs: usize) -> (Workers, Store) {
    (Workers::start(rules, inputs, 1, &Store::new(), Instant(0)), Store::new())
}

#[test]
fn windows_close_by_idle_time_after_a_crash_though_no_row_of_their_keys_comes() {
    for workers in [1, 3] {
        let (mut all, mut store) = start(rules(TUMBLING, 3), 1);
        all.rows(0, &[("a", 5, "x"), ("b", 1, "y")]).idle(2);
        assert_eq!(all.epoch(&mut store), ["a", "b"]);
        // The watermarks are 4 and 0.
        all.crash(&store, workers).busy(1000);
        assert_eq!(all.idle(5).take(), Out::default());
        assert_eq!(all.idle(1).take().down, ["a 0 x 0..10"]);
        assert_eq!(all.epoch(&mut store), ["a"], "the other key only grew older");
        all.crash(&store, 1);
        assert_eq!(all.idle(9).take(), Out::default());
        assert_eq!(all.idle(1).take().down, ["b 0 y 0..10"]);
        assert_eq!(all.rows(0, &[("a", 9, "z"), ("b", 9, "z")]).take().late, ["a 0 z", "b 0 z"]);
    }
}

#[test]
fn rows_that_wait_are_released_by_idle_time_after_a_crash() {
    let (mut all, mut store) = start(Rules { ordered: true, ..rules(TUMBLING, 5) }, 2);
    all.rows(0, &[("a", 4, "x"), ("a", 2, "y"), ("a", 4, "z")]).rows(1, &[("a", 4, "w"), ("a", 0, "!")]);
    all.epoch(&mut store);
    assert_eq!(all.crash(&store, 2).take(), Out::default());
    all.rows(0, &[("a", 4, "v")]);
    all.epoch(&mut store);
    assert_eq!(all.crash(&store, 1).idle(1).take().down, ["a 0 ! 0..10"]);
    all.epoch(&mut store);
    assert_eq!(all.crash(&store, 1).idle(100).take().down, ["a 0 !yxzWv 0..10"]);
}

#[test]
fn with_the_system_clock_windows_close_at_their_times_after_a_crash() {
    let clock = Clock::System;
    let (mut all, mut store) = start(Rules { clock, ..rules(TUMBLING, 0) }, 1);
    all.busy(3).rows(0, &[("a", 0, "x")]).busy(5).rows(0, &[("b", 0, "y")]);
    all.epoch(&mut store);
    assert_eq!(all.crash(&store, 3).busy(1).take(), Out::default());
    assert_eq!(all.busy(1).take().down.len(), 2);
    assert_eq!(all.epoch(&mut store).len(), 2);
    // It is down while a window ends.
    all.rows(0, &[("a", 0, "z")]);
    all.epoch(&mut store);
    all = Workers::start(all.rules, 1, 1, &store, Instant(35));
    assert_eq!(all.rows(0, &[("a", 0, "w")]).take().down, ["a 1 z 10..20"]);
    assert_eq!(all.busy(5).take().down, ["a 3 w 30..40"]);
}

#[test]
fn what_changed_since_the_last_early_result_comes_after_a_crash_and_nothing_else() {
    let early = Rules { early: Some(Duration::from_micros(100)), ..rules(TUMBLING, 0) };
    let (mut all, mut store) = start(early, 1);
    all.rows(0, &[("a", 1, "x"), ("b", 1, "y"), ("c", 1, "")]);
    assert_eq!(all.busy(100).take().down.len(), 2);
    all.rows(0, &[("b", 2, "z")]);
    assert_eq!(all.epoch(&mut store), ["a", "b", "c"]);
    all.crash(&store, 1);
    assert_eq!(all.busy(100).take().down, ["b 0 yz 0..10"]);
    assert_eq!(all.epoch(&mut store), ["b"], "that it was told lasts");
    all.crash(&store, 1);
    assert_eq!(all.busy(1000).take(), Out::default());
    assert_eq!(all.eof().take().down, ["a 0 x 0..10", "b 0 yz 0..10"]);
}

#[test]
fn windows_of_which_every_row_failed_give_nothing_after_a_crash() {
    let (mut all, mut store) = start(rules(TUMBLING, 0), 1);
    all.rows(0, &[("a", 1, ""), ("b", 1, "e")]).take();
    all.epoch(&mut store);
    let out = all.crash(&store, 1).rows(0, &[("a", 11, "x")]).eof().take();
    assert_eq!((out.down, out.meta.len(), out.errors.len()), (vec!["a 1 x 10..20".into()], 2, 1));
}

#[test]
fn what_is_kept_and_given_does_not_depend_on_crashes_and_workers() {
    let rows = |input, rows: &[Row<'_>]| Input::Rows(input, batch_of(rows).compact().unwrap());
    for windower in [TUMBLING, Windower::sliding(10, 4, 1), Windower::session(5)] {
        for (ordered, late) in [(false, Late::Watermark), (true, Late::Window), (false, Late::Window)] {
            let rules = Rules { ordered, late, ..rules(windower, 10) };
            let inputs = [
                (1, rows(0, &[("a", 5, "x"), ("b", 1, "y"), ("a", 30, "z"), ("c", 2, "")])),
                (2, rows(0, &[("a", 17, "v"), ("a", 26, "!"), ("b", 40, "w")])),
                (3, Input::Time),
                (4, rows(1, &[("a", 22, "u"), ("c", 9, "t"), ("b", 33, "s"), ("a", 36, "r")])),
                (5, rows(0, &[("a", 80, "q"), ("d", 7, "e"), ("b", 34, "p")])),
                (6, rows(0, &[("c", 90, "o"), ("d", 8, "n"), ("d", 60, "m")])),
                (7, Input::End),
            ];
            let (given, kept) = check_crashes(|| Bench::new(rules, 2).machine, &inputs);
            assert!(given.iter().any(|given| !given.is_empty()));
            assert_eq!(kept.last().unwrap().len(), 4, "watermarks last");
        }
    }
}

#[test]
fn keys_that_are_forgotten_leave_the_store() {
    let forgets = Rules { forget_after: 60_000_000, ..rules(TUMBLING, 0) };
    let (mut all, mut store) = start(forgets, 1);
    all.rows(0, &[("a", 5, "x"), ("b", 5, "x")]).idle(100);
    all.epoch(&mut store);
    all.crash(&store, 1).busy(30_000_000).rows(0, &[("b", 500, "y")]);
    assert_eq!((all.epoch(&mut store), store.len()), (vec!["b".into()], 2));
    // The time that a key was last seen lasts.
    all.crash(&store, 1).busy(40_000_000);
    assert_eq!((all.epoch(&mut store), store.len()), (vec!["a".into()], 1));
    assert_eq!(all.crash(&store, 1).rows(0, &[("a", 5, "z"), ("b", 5, "z")]).take().late, ["b 0 z"]);
}

/// Keys of one group, so that they share ids.
fn keys_of_a_group(count: usize) -> Vec<String> {
    let group = |key: &str| crate::data::key::group_of(hash(key));
    let wanted = group("a");
    let mut keys: Vec<String> =
        (0..).map(|number| format!("k{number}")).filter(|key| group(key) == wanted).take(count).collect();
    keys.sort_unstable();
    keys
}

#[test]
fn ids_of_sessions_are_not_used_again_though_keys_were_forgotten_before_a_crash() {
    let keys = keys_of_a_group(3);
    let [one, two, three] = [0, 1, 2].map(|at| keys[at].as_str());
    let forgets = Rules { forget_after: 10_000_000, ..rules(Windower::session(10), 0) };
    for workers in [1, 2, 3] {
        let (mut all, mut store) = start(forgets, 1);
        all.rows(0, &[(one, 0, "x"), (one, 20, "y"), (one, 40, "z"), (two, 0, "x"), ("a", 0, "x"), ("a", 20, "y")]);
        all.idle(100).take();
        all.epoch(&mut store);
        let forget = |all: &mut Workers, store: &mut Store| {
            all.busy(20_000_000).busy(20_000_000);
            all.epoch(store);
            all.crash(store, workers);
        };
        forget(&mut all, &mut store);
        assert_eq!(store.keys().collect::<Vec<_>>(), [one], "one key's place tells of all that were forgotten");
        all.rows(0, &[(one, 0, "x"), (two, 0, "x")]).idle(100);
        let mut out = all.take().down;
        out.sort_unstable();
        assert_eq!(out, [format!("{one} 3 x 0..0"), format!("{two} 3 x 0..0")]);
        // Also while the key in whose place it stood has state again.
        all.epoch(&mut store);
        all.crash(&store, workers).rows(0, &[(three, 0, "x"), (three, 20, "x")]).idle(100);
        assert_eq!(all.take().down, [format!("{three} 3 x 0..0"), format!("{three} 4 x 20..20")]);
        all.epoch(&mut store);
        forget(&mut all, &mut store);
        assert_eq!(store.keys().collect::<Vec<_>>(), [three], "what told of less is gone");
        all.rows(0, &[(one, 0, "x")]).idle(100);
        assert_eq!(all.take().down, [format!("{one} 5 x 0..0")]);
    }
}
