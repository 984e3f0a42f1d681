//! A flow, its executions up to the last, and what must be true of them.

use super::baton::Baton;
use super::disk::{Disk, Fault};
use super::random::Chance;
use super::shape::Shape;
use super::sink::Sink;
use super::source::{Simulated, Source};
use super::steps::Rows;
use super::store::Part;
use super::sum;
use crate::data::ids::StepId;
use crate::data::key::KEY_GROUPS;
use crate::dataflow::durable::{Position, Recovery};
use crate::dataflow::failure::Stop;
use crate::dataflow::sink::Routing;
use crate::plan::Plan;
use crate::recovery::part::PartStore;
use crate::recovery::store::Store;
use crate::recovery::testing;
use crate::run::{Handle, Options, RecoveryOptions};
use arrow::array::BinaryArray;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::resume_unwind;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a seed decides on.
pub struct World {
    chance: Chance,
    /// Whether the course of it is told.
    is_told: bool,
    disk: Disk,
    kept: Vec<testing::Disk>,
    shape: Shape,
    /// What readers see at the end of each round, by sinks and keys.
    expected: Vec<BTreeMap<String, Vec<String>>>,
    /// Which of the rounds it is.
    round: Arc<AtomicUsize>,
    plan: Arc<Plan>,
    routing: Arc<Mutex<Routing>>,
    micros: u64,
    /// Whether an execution has begun, and is not only about to.
    has_begun: bool,
    /// What tells this course of events from others.
    trace: blake3::Hasher,
}

/// What becomes of an execution.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Ends,
    /// The power goes at a turn.
    Crash(u64),
    /// It is asked to stop at a turn.
    Drain(u64),
    /// Something is wrong with an operation of the disk.
    Fault(u64, Fault),
    /// It stops at a turn, and goes on when the next execution has begun, and ended.
    Zombie(u64),
}

/// What came of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// Its input is at its end.
    Done,
    Drained,
    Failed,
}

impl World {
    /// Makes what a seed decides on.
    pub fn new(seed: u64, is_told: bool) -> World {
        let mut chance = Chance::new(seed, "world");
        let shape = Shape::draw(&mut chance);
        let expected = match shape.has_sums() {
            true => shape.expected_sums(),
            false => World::with(seed, Chance::new(seed, "plain"), shape.clone(), Vec::new()).plain(),
        };
        World { is_told, ..World::with(seed, chance, shape, expected) }
    }

    fn with(seed: u64, mut chance: Chance, shape: Shape, expected: Vec<BTreeMap<String, Vec<String>>>) -> World {
        let disk = Disk::new(Chance::new(seed, "disk"));
        let routing = Arc::new(Mutex::new(Routing::PerWorker));
        let round = Arc::<AtomicUsize>::default();
        let source = Source { partitions: shape.sources.clone(), seed, round: round.clone(), opened: Arc::default() };
        let sink = Sink { disk: disk.clone(), routing: routing.clone() };
        let plan = Arc::new(shape.plan(Simulated { source, sink }));
        let kept = (0..chance.between(1, 3)).map(|_| testing::Disk::default()).collect();
        let trace = blake3::Hasher::new();
        World {
            chance,
            is_told: false,
            disk,
            kept,
            shape,
            expected,
            round,
            plan,
            routing,
            micros: 0,
            has_begun: false,
            trace,
        }
    }

    /// What executions that go to the ends show to readers at each, by sinks and keys.
    fn plain(mut self) -> Vec<BTreeMap<String, Vec<String>>> {
        let rounds = self.shape.rounds;
        let at_end = |round| {
            self.begin(round);
            assert_eq!(self.execute(Fate::Ends), End::Done);
            let mut rows: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for row in self.disk.read(|disk| disk.seen().to_vec()) {
                rows.entry(Shape::key_of(&row)).or_default().push(row);
            }
            rows
        };
        (0..rounds).map(at_end).collect()
    }

    /// Goes through all executions. Returns what tells their course from others.
    pub fn run(mut self) -> blake3::Hash {
        for round in 0..self.shape.rounds {
            self.begin(round);
            for _ in 0..self.chance.between(0, 4) {
                let fate = self.draw_fate();
                if self.execute(fate) == End::Done {
                    self.check_all();
                }
            }
            // Whoever runs it once more gets nothing new.
            for _ in 0..1 + u64::from(self.chance.once_in(4)) {
                assert_eq!(self.execute(Fate::Ends), End::Done);
                self.check_all();
            }
        }
        self.trace.finalize()
    }

    fn begin(&self, round: usize) {
        self.tell(&format!("round {round}"));
        self.round.store(round, Ordering::Relaxed);
        self.disk.begin(round);
    }

    fn draw_fate(&mut self) -> Fate {
        let chance = &mut self.chance;
        let faults = [Fault::CrashBefore, Fault::CrashAfter, Fault::Fails, Fault::FailsDone, Fault::Full];
        let mut up_to = |least: u64, most: u64| {
            let most = 1 << chance.between(least, most);
            chance.between(1, most)
        };
        let (turn, operation) = (up_to(6, 11), up_to(2, 7));
        match chance.below(10) {
            0..4 => Fate::Crash(turn),
            4 => Fate::Drain(turn),
            5..7 => Fate::Zombie(turn),
            _ => Fate::Fault(operation, chance.one_of(&faults)),
        }
    }

    fn execute(&mut self, fate: Fate) -> End {
        let (baton, options) = self.prepare(fate);
        let (disk, kept) = (self.disk.clone(), self.kept.clone());
        let handle = Handle::with_store(&self.plan, &options, &move |_, wanted, store, _| {
            let parts = (0..)
                .zip(&kept)
                .map(|(part, one)| Box::new(Part::open(&disk, one, part, kept.len() as u64)) as Box<dyn PartStore>);
            Store::from_parts(parts.collect(), wanted, store)
        });
        let handle = match handle {
            Ok(handle) => handle,
            Err(error) => {
                baton.join(0);
                return self.judge(&baton, Err(error.to_string()));
            }
        };
        self.check_resumed(&handle);
        self.has_begun = true;
        self.arrange(fate, &handle, &baton);
        let (plan, workers) = (self.plan.clone(), options.workers);
        let run = move || {
            let run = handle.run(&plan, &options).map_err(|error| error.to_string());
            run.map(|_| handle.execution.epochs.is_draining())
        };
        #[expect(clippy::disallowed_methods, reason = "it is no thread of the execution, and has no turns")]
        let running = std::thread::spawn(run);
        let next = (!baton.join(workers)).then(|| self.haunt(&baton, workers));
        let result = running.join().unwrap_or_else(|panic| resume_unwind(panic));
        match next {
            None => self.judge(&baton, result),
            Some(end) => {
                self.judge_zombie(&baton, result);
                end
            }
        }
    }

    /// Draws how an execution goes about it.
    fn prepare(&mut self, fate: Fate) -> (Arc<Baton>, Options) {
        let chance = &mut self.chance;
        let workers = chance.one_of(&[1, 1, 2, 2, 3, 4]);
        let epoch = Duration::from_micros(chance.one_of(&[500, 3_000, 10_000, 50_000]));
        *self.routing.lock().unwrap() = match chance.below(3) {
            0 => Routing::PerWorker,
            1 => Routing::One("one".into()),
            _ => Routing::ByKey((0..chance.between(1, 3)).map(|part| format!("key-{part}").as_str().into()).collect()),
        };
        let baton = Baton::new(Chance::new(chance.next(), "turns"), self.micros + 1);
        let env = baton.env(Chance::new(chance.next(), "env"));
        self.disk.boot(match fate {
            Fate::Fault(operation, fault) => Some((operation, fault)),
            _ => None,
        });
        let recovery = RecoveryOptions {
            dir: PathBuf::new(),
            drop_state: Vec::new(),
            parts: self.kept.len() as u64,
            backup_interval: Duration::ZERO,
        };
        self.tell(&format!("{fate:?}, {workers} workers, epochs of {epoch:?}, {:?}", self.routing.lock().unwrap()));
        (baton, Options { workers, epoch, recovery: Some(recovery), env })
    }

    /// Has happen what shall become of an execution.
    fn arrange(&self, fate: Fate, handle: &Handle, baton: &Baton) {
        let failure = handle.execution.failure.clone();
        baton.at(u64::MAX, Box::new(move || failure.set(Stop::Aborted)));
        let (failure, disk, drained) = (handle.execution.failure.clone(), self.disk.clone(), handle.clone());
        match fate {
            Fate::Crash(turn) => {
                let crash = move || {
                    disk.power_off();
                    failure.set(Stop::Aborted);
                };
                baton.at(turn, Box::new(crash));
            }
            Fate::Drain(turn) => baton.at(turn, Box::new(move || drained.drain())),
            Fate::Zombie(turn) => baton.pause_at(turn),
            Fate::Ends | Fate::Fault(..) => {}
        }
    }

    /// The next execution comes and goes while this one has stopped, and does not know of it when it goes on.
    fn haunt(&mut self, baton: &Baton, workers: usize) -> End {
        self.micros = self.micros.max(baton.micros());
        let routing = self.routing.lock().unwrap().clone();
        self.has_begun = false;
        let fate = if self.chance.once_in(3) { Fate::Ends } else { self.draw_fate() };
        let end = self.execute(fate);
        *self.routing.lock().unwrap() = routing;
        let seen = self.disk.read(|disk| disk.seen().len());
        baton.go_on();
        assert!(baton.join(workers), "it stops once");
        if self.has_begun {
            assert_eq!(self.disk.read(|disk| disk.seen().len()), seen, "rows that readers see, with those of a zombie");
        }
        end
    }

    /// Notes how an execution went.
    fn note(&mut self, baton: &Baton, result: &Result<bool, String>) {
        self.micros = self.micros.max(baton.micros());
        self.trace.update(baton.trace().as_bytes());
        let (is_on, rows) = self.disk.read(|disk| (disk.is_on(), disk.rows().len()));
        self.tell(&format!("after {} turns: {result:?}, power {is_on}, {rows} rows", baton.turns()));
        self.disk.read(|disk| assert_eq!(disk.wrong(), Vec::<String>::new()));
    }

    fn judge(&mut self, baton: &Baton, result: Result<bool, String>) -> End {
        self.note(baton, &result);
        let (is_on, has_failed) = self.disk.read(|disk| (disk.is_on(), disk.has_failed()));
        match result {
            _ if !is_on => End::Failed,
            Ok(false) => End::Done,
            Ok(true) => End::Drained,
            Err(_) if has_failed => {
                // The power may go later, too.
                if self.chance.once_in(2) {
                    self.disk.power_off();
                }
                End::Failed
            }
            Err(error) => panic!("nothing was wrong, but: {error}"),
        }
    }

    /// Only a zombie that had nothing more to do may believe that it has done it.
    fn judge_zombie(&mut self, baton: &Baton, result: Result<bool, String>) {
        self.note(baton, &result);
        let could_write = self.disk.read(|disk| disk.is_on() && !disk.has_failed());
        match result {
            _ if !could_write => {}
            Ok(false) => self.check_all(),
            Ok(true) => {}
            Err(error) => assert!(error.contains("another execution"), "a zombie says: {error}"),
        }
    }

    fn tell(&self, what: &str) {
        if self.is_told {
            eprintln!("{what}");
        }
    }

    /// Rows, states and positions must be of the same epoch.
    fn check_resumed(&mut self, handle: &Handle) {
        let recovery = handle.recovery.lock().unwrap().clone().unwrap();
        self.tell(&format!("goes on with epoch {}", recovery.first_epoch()));
        let (shown, seen) = self.disk.read(|disk| (disk.rows(), disk.seen().len()));
        assert_eq!(shown.len(), seen, "rows that readers see when it begins, and that they saw before");
        let rows_of = |sink: &str| {
            let is_row = |row: &&String| row.starts_with(sink) && !row.contains(",-1,");
            i64::try_from(shown.iter().filter(is_row).count()).unwrap()
        };
        for (source, step, sink) in self.shape.sums() {
            let (all, read) = self.shape.rows_before(source, &positions_of(&*recovery, source));
            self.trace.update(&all.to_le_bytes());
            if self.shape.has_raw && *source == "in" {
                assert_eq!(rows_of("raw:"), all, "raw rows that readers see, and rows behind the positions");
            }
            if !self.shape.has_sums() {
                continue;
            }
            let mut summed = 0;
            let each = &mut |_, states: BinaryArray| {
                summed += states.iter().map(|state| sum::read(state.unwrap()).0).sum::<i64>();
                Ok(())
            };
            recovery.load_state(&StepId::from(*step), 0..KEY_GROUPS, each).unwrap();
            assert_eq!(summed, read, "rows in states, and rows behind the positions");
            assert_eq!(rows_of(sink), read, "rows that readers see, and rows behind the positions");
        }
    }

    /// Readers see what they should, and saw nothing else before.
    fn check_all(&mut self) {
        let (mut rows, seen) = self.disk.read(|disk| (disk.rows(), disk.seen().to_vec()));
        let mut found: BTreeMap<String, Vec<&str>> = BTreeMap::new();
        for row in &seen {
            found.entry(Shape::key_of(row)).or_default().push(row);
        }
        let keys = self.shape.keys().into_iter().map(|key| format!("out:{key}"));
        let round = self.round.load(Ordering::Relaxed);
        let wanted = &self.expected[round];
        let keys: BTreeSet<String> = keys.chain(found.keys().cloned()).chain(wanted.keys().cloned()).collect();
        for key in keys {
            let mut expected: Vec<&str> = wanted.get(&key).into_iter().flatten().map(String::as_str).collect();
            let mut found = found.remove(&key).unwrap_or_default();
            match self.shape.rows_of(&key) {
                Rows::InOrder => {}
                Rows::InAnyOrder => {
                    expected.sort_unstable();
                    found.sort_unstable();
                }
                Rows::Lawful(check) => {
                    let key = key.trim_start_matches("out:");
                    check(&self.shape.ids("in", key, round), &self.shape.ids("other", key, round), &found);
                    continue;
                }
            }
            assert_eq!(found, expected, "rows of {key}, as readers saw them");
        }
        rows.sort_unstable();
        let mut all_seen: Vec<&String> = seen.iter().collect();
        all_seen.sort_unstable();
        assert!(rows.iter().eq(all_seen), "readers see what they ever saw");
        self.trace.update(seen.join("\n").as_bytes());
    }
}

/// The partitions of a source, and how many of their rows are read.
fn positions_of(recovery: &dyn Recovery, source: &str) -> Vec<(usize, usize)> {
    let positions = recovery.load_sources(&StepId::from(source)).unwrap();
    // A byte of flags, and the number of the next row.
    let rows = |bytes: &[u8]| u64::from_le_bytes(bytes[1..9].try_into().unwrap());
    let read = |at: &Position| (at.part.0.parse().unwrap(), usize::try_from(rows(&at.position)).unwrap());
    positions.iter().map(read).collect()
}
