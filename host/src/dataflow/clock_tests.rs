//! What drivers promise about time: who is woken when, and whom nobody waits for.

use super::build::BuildCx;
use super::emit::Emit;
use super::env::real;
use super::error::LogicError;
use super::idle::IdleClock;
use super::keyed::{Keyed, keyed};
use super::sink::Routing;
use super::source::{Read, source};
use super::stateless::redistributed;
use super::testing::{Memory, PassKeyed, Script, Seen, counting, numbers, rows, run, run_scripted, values};
use crate::data::batch::Batch;
use crate::data::time::Instant;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LONG: Duration = Duration::from_secs(3600);

fn at(seconds: i64) -> Instant {
    Instant(seconds * 1_000_000)
}

#[test]
fn a_source_that_has_nothing_holds_no_other_back() {
    for workers in [1, 2] {
        let seen = Seen::default();
        let (given, watched) = (seen.clone(), seen.clone());
        // More ticks than may be under way, long before an epoch ends.
        let rows = 800_000;
        run(
            workers,
            LONG,
            Arc::new(move |cx: &mut BuildCx<'_>| {
                let watched = watched.clone();
                let wait = move |_: &str, _| {
                    let is_done = watched.rows.lock().unwrap().len() as i64 == rows;
                    (!is_done).then_some(Ok(Read::Idle(Instant(0))))
                };
                let idle = source(cx, &Script { parts: vec!["p", "q"], read: wait })?;
                let sink = Memory { seen: given.clone(), routing: Routing::PerWorker, on_job: |_: &Batch| Ok(()) };
                let up = counting(cx, &["p"], rows, 8192)?;
                Ok([idle, sink.build(cx, up)?].concat())
            }),
        )
        .unwrap();
    }
}

/// Tells each row again after a while, and notes the time of everything.
struct Echo {
    name: &'static str,
    after: Duration,
    waiting: Vec<(Instant, i64)>,
    log: Log,
}

type Log = Arc<Mutex<Vec<String>>>;

impl Echo {
    fn note(&self, what: &str, now: Instant, rows: &[i64]) {
        self.log.lock().unwrap().push(format!("{} {what} {rows:?} at {}", self.name, now.0 / 1_000_000));
    }
}

impl Keyed for Echo {
    fn on_batch(&mut self, _: usize, batch: Batch, now: Instant, _: &mut Emit<'_>) -> Result<(), LogicError> {
        self.note("takes", now, &values(&batch));
        self.waiting.extend(values(&batch).into_iter().map(|n| (now.after(self.after), n)));
        Ok(())
    }

    fn wake_at(&self) -> Option<Instant> {
        self.waiting.iter().map(|(at, _)| *at).min()
    }

    fn on_wake(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        let (due, left) = std::mem::take(&mut self.waiting).into_iter().partition(|(at, _)| *at <= now);
        self.waiting = left;
        let due: Vec<(Instant, i64)> = due;
        let due: Vec<i64> = due.into_iter().map(|(_, n)| n).collect();
        self.note("gives", now, &due);
        out.give(0, PassKeyed::key(numbers(due)));
        Ok(())
    }
}

/// Runs a script of rows and times for each of two partitions through two steps that echo.
fn play(workers: usize, read: fn(&str, usize) -> Option<Result<Read, LogicError>>) -> Vec<String> {
    let log = Log::default();
    let given = log.clone();
    run_scripted(
        workers,
        Arc::new(move |cx: &mut BuildCx<'_>| {
            let up = source(cx, &Script { parts: vec!["p", "q"], read })?.remove(0);
            let mut up = redistributed(cx, up, 1, PassKeyed).remove(0);
            for (name, seconds) in [("first", 3), ("second", 5)] {
                let after = Duration::from_secs(seconds);
                let echo = Echo { name, after, waiting: Vec::new(), log: given.clone() };
                up = keyed(cx, vec![up], &[numbers([]).schema()], 1, echo).remove(0);
            }
            Ok(vec![up])
        }),
    )
    .unwrap();
    log.lock().unwrap().clone()
}

#[test]
fn a_scripted_clock_stops_at_every_time_that_something_waits_for() {
    for workers in [1, 3] {
        let log = play(workers, |part, turn| match (part, turn) {
            (_, 0) => Some(Ok(Read::Drained)),
            ("p", 1) => rows(numbers([1])),
            ("p", 2) => Some(Ok(Read::Idle(at(3)))),
            // At the time of an alarm: the step comes first.
            ("p", 3) => rows(numbers([2])),
            ("p", 4) => Some(Ok(Read::Idle(at(60)))),
            ("q", 1) => rows(numbers([10])),
            ("q", 2) => Some(Ok(Read::Drained)),
            ("q", 3) => rows(numbers([11])),
            ("q", 4) => Some(Ok(Read::Idle(at(7)))),
            ("q", 5) => rows(numbers([12])),
            ("q", 6) => Some(Ok(Read::Idle(at(8)))),
            _ => None,
        });
        let wanted = [
            "first takes [1] at 0",
            "first takes [10] at 0",
            "first takes [11] at 0",
            "first gives [1, 10, 11] at 3",
            "second takes [1, 10, 11] at 3",
            "first takes [2] at 3",
            "first gives [2] at 6",
            "second takes [2] at 6",
            "first takes [12] at 7",
            "second gives [1, 10, 11] at 8",
            "first gives [12] at 10",
            "second takes [12] at 10",
            "second gives [2] at 11",
            "second gives [12] at 15",
        ];
        assert_eq!(log, wanted, "{workers} workers");
    }
}

/// Waits for the input to be idle for a while, and notes how long it was and when.
struct Patient {
    idle: Arc<IdleClock>,
    wanted: Option<Instant>,
    log: Log,
}

impl Keyed for Patient {
    fn on_batch(&mut self, _: usize, _: Batch, now: Instant, _: &mut Emit<'_>) -> Result<(), LogicError> {
        let idle = self.idle.now();
        self.wanted = Some(idle.after(Duration::from_secs(4)));
        self.log.lock().unwrap().push(format!("row at {}, idle {}", now.0 / 1_000_000, idle.0 / 1_000_000));
        Ok(())
    }

    fn uses_idle_time(&self) -> bool {
        true
    }

    fn wake_at_idle(&mut self) -> Option<Instant> {
        self.wanted
    }

    fn on_wake(&mut self, now: Instant, _: &mut Emit<'_>) -> Result<(), LogicError> {
        let idle = self.idle.now();
        assert!(Some(idle) >= self.wanted.take());
        self.log.lock().unwrap().push(format!("woken at {}, idle {}", now.0 / 1_000_000, idle.0 / 1_000_000));
        Ok(())
    }
}

#[test]
fn idle_time_goes_by_while_all_sources_wait() {
    for workers in [1, 3] {
        let log = Log::default();
        let given = log.clone();
        run_scripted(
            workers,
            Arc::new(move |cx: &mut BuildCx<'_>| {
                let read = |part: &str, turn| match (part, turn) {
                    ("p", 0) => Some(Ok(Read::Idle(at(2)))),
                    ("p", 1 | 3) => rows(numbers([1])),
                    ("p", 2) => Some(Ok(Read::Idle(at(5)))),
                    ("q", 0) => Some(Ok(Read::Idle(at(20)))),
                    _ => None,
                };
                let up = source(cx, &Script { parts: vec!["p", "q"], read })?.remove(0);
                let up = redistributed(cx, up, 1, PassKeyed);
                let patient = Patient { idle: cx.execution.idle.clone(), wanted: None, log: given.clone() };
                Ok(keyed(cx, up, &[numbers([]).schema()], 1, patient))
            }),
        )
        .unwrap();
        assert_eq!(*log.lock().unwrap(), ["row at 2, idle 2", "row at 5, idle 5", "woken at 9, idle 9"]);
    }
}

/// As [`Patient`], for a time that passes in a test.
struct Hasty {
    patient: Patient,
    seen: Seen,
}

impl Keyed for Hasty {
    fn on_batch(&mut self, input: usize, batch: Batch, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.patient.on_batch(input, batch, now, out)?;
        self.patient.wanted = Some(self.patient.idle.now().after(Duration::from_millis(3)));
        Ok(())
    }

    fn uses_idle_time(&self) -> bool {
        true
    }

    fn wake_at_idle(&mut self) -> Option<Instant> {
        self.patient.wanted
    }

    fn on_wake(&mut self, now: Instant, out: &mut Emit<'_>) -> Result<(), LogicError> {
        self.seen.rows.lock().unwrap().push(1);
        self.patient.on_wake(now, out)
    }
}

#[test]
fn a_step_that_waits_in_idle_time_is_woken_by_the_machines_clock() {
    let seen = Seen::default();
    let (given, watched) = (seen.clone(), seen.clone());
    let step = real::env();
    run(
        2,
        LONG,
        Arc::new(move |cx: &mut BuildCx<'_>| {
            let (watched, clock) = (watched.clone(), step.clock.clone());
            // Nothing comes until the step was woken: without a wake-up the flow would not end.
            let read = move |_: &str, turn: usize| match turn {
                0 => rows(numbers([1])),
                _ if watched.sorted().is_empty() => Some(Ok(Read::Idle(clock.now().after(Duration::from_millis(50))))),
                _ => None,
            };
            let up = source(cx, &Script { parts: vec!["p"], read })?.remove(0);
            let up = redistributed(cx, up, 1, PassKeyed);
            let patient = Patient { idle: cx.execution.idle.clone(), wanted: None, log: Log::default() };
            let hasty = Hasty { patient, seen: given.clone() };
            Ok(keyed(cx, up, &[numbers([]).schema()], 1, hasty))
        }),
    )
    .unwrap();
    assert_eq!(seen.sorted(), [1]);
}
