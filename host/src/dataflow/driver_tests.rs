//! What drivers promise, on one worker and on three.

use super::build::BuildCx;
use super::emit::Emit;
use super::error::LogicError;
use super::failure::Stop;
use super::keyed::{Keyed, keyed};
use super::sink::Routing;
use super::source::{Read, source};
use super::stateless::{Stateless, redistributed, stateless};
use super::testing::{Memory, Script, Seen, counting, key_by_digit, numbers, rows, run, run_in_bytes, start, values};
use crate::data::batch::Batch;
use crate::data::time::{Epoch, Instant};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

struct Digits;

impl Stateless for Digits {
    fn on_batch(&mut self, _: usize, batch: Batch, out: &mut Emit<'_>) -> Result<(), LogicError> {
        out.give(0, key_by_digit(batch));
        Ok(())
    }
}

/// Sums a key's numbers and tells the sums at the end; notes the worker of each key.
struct Sums {
    worker: usize,
    sums: BTreeMap<String, i64>,
    owners: Arc<Mutex<BTreeSet<(String, usize)>>>,
}

impl Keyed for Sums {
    fn on_batch(&mut self, _: usize, batch: Batch, _: Instant, _: &mut Emit<'_>) -> Result<(), LogicError> {
        let batch = batch.compact()?;
        for (key, n) in batch.keys().unwrap().values().iter().zip(values(&batch)) {
            *self.sums.entry(key.unwrap().to_owned()).or_default() += n;
            self.owners.lock().unwrap().insert((key.unwrap().to_owned(), self.worker));
        }
        Ok(())
    }

    fn on_eof(&mut self, _: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        out.give(0, Batch::new(numbers(self.sums.values().copied())));
        Ok(())
    }
}

fn sink_to(seen: &Seen, routing: Routing) -> Memory<impl Fn(&Batch) -> Result<(), LogicError> + Clone + use<>> {
    Memory { seen: seen.clone(), routing, on_job: |_: &Batch| Ok(()) }
}

#[test]
fn every_row_arrives_once_whatever_the_workers_and_the_routing() {
    for workers in [1, 3] {
        for routing in [Routing::PerWorker, Routing::One("only".into()), Routing::ByKey(vec!["a".into(), "b".into()])] {
            let seen = Seen::default();
            let given = seen.clone();
            run(
                workers,
                LONG,
                Arc::new(move |cx: &mut BuildCx<'_>| {
                    let up = counting(cx, &["p", "q", "r", "s"], 10_000, 77)?;
                    let up = redistributed(cx, up, 1, Digits).remove(0);
                    sink_to(&given, routing.clone()).build(cx, up)
                }),
            )
            .unwrap();
            let expected: Vec<i64> = (0..10_000).flat_map(|n| [n; 4]).collect();
            assert_eq!(seen.sorted(), expected, "{workers} workers");
        }
    }
}

#[test]
fn rows_cross_as_bytes_with_their_keys() {
    let (seen, owners) = (Seen::default(), Arc::new(Mutex::new(BTreeSet::new())));
    let (given, owned) = (seen.clone(), owners.clone());
    run_in_bytes(
        3,
        LONG,
        Arc::new(move |cx: &mut BuildCx<'_>| {
            let up = counting(cx, &["p", "q", "r"], 3_000, 70)?;
            let up = stateless(cx, vec![up], 1, Digits);
            let logic = Sums { worker: cx.worker().0, sums: BTreeMap::new(), owners: owned.clone() };
            let up = keyed(cx, up, &[numbers([]).schema()], 1, logic).remove(0);
            sink_to(&given, Routing::One("only".into())).build(cx, up)
        }),
    )
    .unwrap();
    let expected: Vec<i64> = (0..10).map(|digit| 3 * (digit..3_000).step_by(10).sum::<i64>()).collect();
    assert_eq!(seen.sorted(), expected);
    assert_eq!(owners.lock().unwrap().len(), 10, "one worker a key");
}

#[test]
fn a_key_belongs_to_one_worker_and_its_end_comes_once() {
    for workers in [1, 3] {
        let (seen, owners) = (Seen::default(), Arc::new(Mutex::new(BTreeSet::new())));
        let (given, owned) = (seen.clone(), owners.clone());
        run(
            workers,
            Duration::from_micros(200),
            Arc::new(move |cx: &mut BuildCx<'_>| {
                let up = counting(cx, &["p", "q", "r"], 30_000, 500)?;
                let up = stateless(cx, vec![up], 1, Digits);
                let logic = Sums { worker: cx.worker().0, sums: BTreeMap::new(), owners: owned.clone() };
                let up = keyed(cx, up, &[numbers([]).schema()], 1, logic).remove(0);
                sink_to(&given, Routing::PerWorker).build(cx, up)
            }),
        )
        .unwrap();
        let expected: Vec<i64> = (0..10).map(|digit| 3 * (digit..30_000).step_by(10).sum::<i64>()).collect();
        assert_eq!(seen.sorted(), expected);
        assert_eq!(owners.lock().unwrap().len(), 10, "one worker a key");
    }
}

/// Notes in which epoch each batch was handled, and that epochs close in order.
struct EpochLog {
    log: Arc<Mutex<Vec<String>>>,
}

impl Keyed for EpochLog {
    fn on_batch(&mut self, _: usize, batch: Batch, _: Instant, _: &mut Emit<'_>) -> Result<(), LogicError> {
        self.log.lock().unwrap().push(format!("rows {:?}", values(&batch)));
        Ok(())
    }

    fn on_eof(&mut self, _: Instant, _: &mut Emit<'_>) -> Result<(), LogicError> {
        self.log.lock().unwrap().push("eof".to_owned());
        Ok(())
    }

    fn on_epoch(&mut self, epoch: Epoch, _: &mut Emit<'_>) -> Result<(), LogicError> {
        self.log.lock().unwrap().push(format!("epoch {epoch}"));
        Ok(())
    }
}

#[test]
fn the_end_of_input_comes_before_the_last_epoch_closes() {
    let log = Arc::new(Mutex::new(Vec::new()));
    let given = log.clone();
    run(
        1,
        LONG,
        Arc::new(move |cx: &mut BuildCx<'_>| {
            let up = counting(cx, &["p"], 4, 2)?;
            let up = stateless(cx, vec![up], 1, Digits);
            Ok(keyed(cx, up, &[numbers([]).schema()], 1, EpochLog { log: given.clone() }))
        }),
    )
    .unwrap();
    assert_eq!(*log.lock().unwrap(), ["epoch 0", "rows [0, 1]", "rows [2, 3]", "eof", "epoch 1"]);
}

/// Asks to be woken, once, a little after its first row.
struct Alarm {
    at: Option<Instant>,
}

impl Keyed for Alarm {
    fn on_batch(&mut self, _: usize, _: Batch, now: Instant, _: &mut Emit<'_>) -> Result<(), LogicError> {
        self.at = Some(now.after(Duration::from_millis(5)));
        Ok(())
    }

    fn wake_at(&self) -> Option<Instant> {
        self.at
    }

    fn on_wake(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        assert!(Some(now) >= self.at.take());
        out.give(0, Batch::new(numbers([42])));
        Ok(())
    }
}

#[test]
fn a_step_is_woken_at_its_time_while_the_input_is_idle() {
    let seen = Seen::default();
    let (given, watched) = (seen.clone(), seen.clone());
    run(
        1,
        LONG,
        Arc::new(move |cx: &mut BuildCx<'_>| {
            // The source ends only when the alarm has gone off: without a wake-up the flow would not end.
            let watched = watched.clone();
            let read = move |_: &str, turn: usize| match turn {
                0 => rows(numbers([1])),
                _ if watched.sorted().is_empty() => Some(Ok(Read::Idle(Instant(0)))),
                _ => None,
            };
            let up = source(cx, &Script { parts: vec!["p"], read })?;
            let up = stateless(cx, up, 1, Digits);
            let up = keyed(cx, up, &[numbers([]).schema()], 1, Alarm { at: None }).remove(0);
            sink_to(&given, Routing::PerWorker).build(cx, up)
        }),
    )
    .unwrap();
    assert_eq!(seen.sorted(), [42]);
}

#[test]
fn a_slow_sink_holds_the_source_back() {
    let (handed_out, most) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let (given_out, given_most) = (handed_out.clone(), most.clone());
    run(
        2,
        LONG,
        Arc::new(move |cx: &mut BuildCx<'_>| {
            let (under_way, most) = (given_out.clone(), given_most.clone());
            let read = move |_: &str, turn: usize| {
                most.fetch_max(under_way.fetch_add(8192, Ordering::Relaxed) + 8192, Ordering::Relaxed);
                (turn < 200).then(|| rows(numbers(0..8192))).flatten()
            };
            let up = source(cx, &Script { parts: vec!["p", "q"], read })?.remove(0);
            let under_way = given_out.clone();
            let on_job = move |batch: &Batch| {
                // Slower than the source by far: a hash of every row, many times over.
                let mut hash = 0;
                (0..10).for_each(|_| values(batch).iter().for_each(|n| hash ^= crate::data::key::hash(&n.to_string())));
                std::hint::black_box(hash);
                under_way.fetch_sub(8192, Ordering::Relaxed);
                Ok(())
            };
            Memory { seen: Seen::default(), routing: Routing::One("only".into()), on_job }.build(cx, up)
        }),
    )
    .unwrap();
    // Two workers with four ticks of 65,536 rows and the one being filled each, and what readers have in advance.
    let bound = 2 * (5 * 65_536 + 8 * 8192);
    assert!(most.load(Ordering::Relaxed) <= bound, "{} rows under way", most.load(Ordering::Relaxed));
    assert!(bound * 4 < 2 * 200 * 8192, "the input is much longer than what may be under way");
}

#[test]
fn the_first_failure_stops_all_workers_and_sinks_take_back() {
    for workers in [1, 3] {
        let seen = Seen::default();
        let given = seen.clone();
        let stopped = run(
            workers,
            LONG,
            Arc::new(move |cx: &mut BuildCx<'_>| {
                // Only one partition fails; the others would go on for ever.
                let read = |part: &str, turn: usize| match (part, turn) {
                    ("q", 3) => Some(Err(LogicError::external("no more"))),
                    _ => rows(numbers(0..10)),
                };
                let up = source(cx, &Script { parts: vec!["p", "q", "r"], read })?.remove(0);
                sink_to(&given, Routing::PerWorker).build(cx, up)
            }),
        );
        let Err(Stop::Failed(error)) = stopped else { panic!("it did not fail") };
        assert_eq!(error.to_string(), "step \"step\", q: no more");
        assert_eq!(*seen.ends.lock().unwrap(), vec!["abandoned"; workers]);
    }
}

#[test]
fn a_failing_writer_stops_the_flow() {
    let stopped = run(
        2,
        LONG,
        Arc::new(move |cx: &mut BuildCx<'_>| {
            let up = source(cx, &Script { parts: vec!["p"], read: |_: &str, _| rows(numbers(0..10)) })?.remove(0);
            let on_job = |_: &Batch| Err(LogicError::io("cannot write out", &std::io::Error::other("full")));
            Memory { seen: Seen::default(), routing: Routing::PerWorker, on_job }.build(cx, up)
        }),
    );
    let Err(Stop::Failed(error)) = stopped else { panic!("it did not fail") };
    assert_eq!(error.to_string(), "step \"step\": cannot write out: full");
}

#[test]
fn draining_ends_an_endless_flow_well() {
    let seen = Seen::default();
    let (given, watched) = (seen.clone(), seen.clone());
    let (execution, done) = start(
        timely::Config::process(2),
        super::env::real::env(),
        LONG,
        Arc::new(move |cx: &mut BuildCx<'_>| {
            let up = source(cx, &Script { parts: vec!["p", "q"], read: |_: &str, _| rows(numbers(0..10)) })?.remove(0);
            sink_to(&given, Routing::PerWorker).build(cx, up)
        }),
    );
    while watched.rows.lock().unwrap().is_empty() {
        std::thread::yield_now();
    }
    execution.epochs.drain();
    done();
    assert_eq!(execution.failure.get(), None);
    assert_eq!(*seen.ends.lock().unwrap(), ["closed", "closed"]);
    assert_eq!(seen.sorted().len() % 10, 0, "batches are finished");
}

#[test]
fn a_panic_on_a_thread_stops_the_flow_and_does_not_hang_it() {
    for (in_reader, message) in [(true, "the thread that reads p ended"), (false, "the thread that writes ended")] {
        let stopped = run(
            2,
            LONG,
            Arc::new(move |cx: &mut BuildCx<'_>| {
                let read = move |_: &str, turn: usize| {
                    assert!(!in_reader || turn < 2, "the reader panics");
                    rows(numbers(0..10))
                };
                let up = source(cx, &Script { parts: vec!["p"], read })?.remove(0);
                let on_job = move |_: &Batch| {
                    assert!(in_reader, "the writer panics");
                    Ok(())
                };
                Memory { seen: Seen::default(), routing: Routing::PerWorker, on_job }.build(cx, up)
            }),
        );
        let Err(Stop::Failed(error)) = stopped else { panic!("it did not fail") };
        assert!(error.to_string().contains(message), "{error}");
    }
}
