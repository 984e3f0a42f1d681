//! `interval_join`.

use super::super::super::testing::{Bench, Input, check_crashes, emitted_by_port, show, table};
use super::super::super::window::{Clock, Stamp, Stamper};
use super::super::interval::IntervalByKey;
use super::super::pairs::{Pairs, Reach};
use super::super::sides::{Shape, Sides};
use crate::data::batch::Batch;
use crate::data::key::Keys;
use crate::data::schema::Type;
use crate::data::time::Instant;
use crate::dataflow::durable::Changes;
use crate::dataflow::emit::Emit;
use crate::dataflow::error::LogicError;
use crate::dataflow::idle::{IdleClock, IdlePart};
use crate::dataflow::keyed::Keyed;
use crate::dataflow::script::ScriptedClock;
use arrow::array::{Array, ArrayRef, AsArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow::datatypes::Int64Type;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// A row: its side, its key, its time. Its number is its place among all.
type Row = (usize, char, i64);

const COLUMNS: [&str; 2] = ["at: timestamp, l: int64", "at: timestamp, r: int64"];
const HOUR: Duration = Duration::from_secs(3600);

/// A join, and the idle time.
struct Join {
    logic: IntervalByKey,
    system: Arc<ScriptedClock>,
    part: IdlePart,
}

#[derive(Clone, Copy, Debug)]
struct Rules {
    before: i64,
    after: i64,
    waits: [i64; 2],
    advances: bool,
}

fn join(rules: Rules) -> Join {
    let sides = ["left", "right"].into_iter().zip(COLUMNS);
    let sides = sides.map(|(name, columns)| (name.to_owned(), table(columns, &[]).schema()));
    // Columns that are called as the key are left out, so that pairs are short.
    let sides = Sides::new("at".into(), sides, Shape::Columns);
    let clocks = rules.waits.map(|wait| Clock::Event { wait, advances: rules.advances });
    let stampers = [0, 1].map(|_| match Stamp::of_column(0, "at", &Type::Timestamp) {
        Some(Stamp::Column(column)) => Stamper::Column(column),
        _ => panic!("a timestamp is a time"),
    });
    let system = Arc::new(ScriptedClock::new(Instant(0)));
    let idle = Arc::new(IdleClock::new(system.clone()));
    let part = idle.part();
    let pairs = Pairs::new(&sides, Reach { before: rules.before, after: rules.after }, clocks);
    Join { logic: IntervalByKey::new(pairs, clocks, stampers.into(), HOUR, idle), system, part }
}

fn batch(rows: &[(usize, Row)]) -> Batch {
    let side = rows[0].1.0;
    let keys: StringArray = rows.iter().map(|(_, (_, key, _))| Some(key.to_string())).collect();
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(_, (.., time))| *time));
    let numbers = Int64Array::from_iter_values(rows.iter().map(|(number, _)| *number as i64));
    let columns: Vec<ArrayRef> = vec![Arc::new(times.with_timezone("UTC")), Arc::new(numbers)];
    let rows = RecordBatch::try_new(table(COLUMNS[side], &[]).schema(), columns).unwrap();
    Batch::keyed(rows, Keys::new(keys))
}

/// What comes out: `a: l=1, r=2`, `late a: left 1`, `unpaired a: left 1`.
fn shown(call: impl FnOnce(&mut Emit<'_>) -> Result<(), LogicError>) -> Vec<String> {
    let mut all = Vec::new();
    for (port, batch) in emitted_by_port(call) {
        let Some(name) = [None, Some("late"), Some("unpaired")][port] else {
            all.extend(show(&batch));
            continue;
        };
        for row in 0..batch.num_rows() {
            let side = batch.rows().column(0).as_string::<i32>().value(row);
            let [its, other] = if side == "left" { [1, 2] } else { [2, 1] };
            assert!(batch.rows().column(other).is_null(row) && batch.rows().column(its).is_valid(row));
            let number = batch.rows().column(its).as_struct().column(1).as_primitive::<Int64Type>().value(row);
            all.push(format!("{name} {}: {side} {number}", batch.keys().unwrap().values().value(row)));
        }
    }
    all
}

impl Join {
    fn take(&mut self, rows: &[(usize, Row)]) -> Vec<String> {
        let now = self.system_now();
        shown(|out| self.logic.on_batch(rows[0].1.0, batch(rows), now, out))
    }

    fn system_now(&self) -> Instant {
        use crate::dataflow::env::Clock as _;
        self.system.now()
    }

    fn end(&mut self) -> Vec<String> {
        shown(|out| self.logic.on_eof(Instant(0), out))
    }

    /// Wakes the logic at a system time, at which the input has been idle since the last row.
    fn wake(&mut self, at: i64) -> Vec<String> {
        self.part.set_idle(true);
        self.system.set(Instant(at));
        let woken = shown(|out| self.logic.on_wake(Instant(at), out));
        self.part.set_idle(false);
        woken
    }
}

/// All pairs of rows that are on time by the watermarks of their own sides, and the rows that are in none.
fn expected(rules: Rules, rows: &[Row]) -> Vec<String> {
    let (mut watermarks, mut out) = (BTreeMap::new(), Vec::new());
    let mut on_time: Vec<(usize, Row)> = Vec::new();
    for (number, &row) in rows.iter().enumerate() {
        let (side, key, time) = row;
        let watermark = watermarks.entry((side, key)).or_insert(i64::MIN);
        if time < *watermark {
            out.push(format!("late {key}: {} {number}", ["left", "right"][side]));
            continue;
        }
        *watermark = (*watermark).max(time - rules.waits[side]);
        on_time.push((number, row));
    }
    let mut is_paired = vec![false; rows.len()];
    let of_side = |wanted: usize| on_time.iter().filter(move |(_, (side, ..))| *side == wanted);
    for &(left, (_, key, left_time)) in of_side(0) {
        for &(right, (_, right_key, right_time)) in of_side(1) {
            if key == right_key && (left_time - rules.before..=left_time + rules.after).contains(&right_time) {
                out.push(format!("{key}: l={left}, r={right}"));
                (is_paired[left], is_paired[right]) = (true, true);
            }
        }
    }
    for &(number, (side, key, _)) in on_time.iter().filter(|(number, _)| !is_paired[*number]) {
        out.push(format!("unpaired {key}: {} {number}", ["left", "right"][side]));
    }
    out.sort_unstable();
    out
}

const PLAIN: Rules = Rules { before: 5, after: 10, waits: [0, 0], advances: true };

fn numbered(rows: &[Row]) -> Vec<(usize, Row)> {
    rows.iter().copied().enumerate().collect()
}

#[test]
fn rows_go_when_the_other_side_is_past_their_partners() {
    let mut join = join(PLAIN);
    let rows = numbered(&[
        (0, 'a', 100),
        (1, 'a', 95),
        (1, 'a', 110),
        (1, 'a', 111),
        (0, 'a', 99),
        (0, 'a', 116),
        (0, 'a', 117),
    ]);
    let wanted: [&[&str]; 7] = [
        &[],
        &["a: l=0, r=1"],
        &["a: l=0, r=2"],
        &[], // Now no right row can come for the first left row, which has had partners.
        &["late a: left 4"],
        &["a: l=5, r=3"],
        &[],
    ];
    for (row, wanted) in rows.iter().zip(wanted) {
        assert_eq!(join.take(&[*row]), wanted, "{row:?}");
    }
    assert_eq!(join.take(&[(7, (1, 'a', 128))]), ["unpaired a: left 6"]);
    assert_eq!(join.end(), ["unpaired a: right 7"]);
}

#[test]
fn a_row_that_comes_too_late_for_any_partner_is_unpaired_at_once() {
    let mut join = join(PLAIN);
    assert_eq!(join.take(&[(0, (1, 'a', 200))]), [""; 0]);
    assert_eq!(join.take(&[(1, (0, 'a', 189)), (2, (0, 'a', 190))]), ["a: l=2, r=0", "unpaired a: left 1"]);
}

#[test]
fn what_is_left_comes_out_by_key_and_time() {
    let mut join = join(Rules { waits: [99, 99], ..PLAIN });
    join.take(&numbered(&[(0, 'b', 50), (0, 'a', 40), (0, 'a', 10), (0, 'b', 20)]));
    join.take(&[(4, (1, 'a', 24)), (5, (1, 'b', 35)), (6, (1, 'a', 39))]);
    let wanted = [
        "unpaired a: left 2",
        "unpaired a: right 4",
        "unpaired b: left 3",
        "unpaired b: right 5",
        "unpaired b: left 0",
    ];
    assert_eq!(join.end(), wanted);
    assert_eq!(join.end(), [""; 0]);
}

#[test]
fn watermarks_go_on_while_the_input_is_idle() {
    for advances in [true, false] {
        let mut join = join(Rules { advances, ..PLAIN });
        join.take(&numbered(&[(0, 'b', 100), (0, 'a', 100)]));
        assert_eq!(join.logic.wake_at_idle(), None, "no right row has come");
        join.take(&[(2, (1, 'a', 94)), (3, (1, 'b', 94))]);
        // Right rows of 110 may come for those of 100, left rows of 99 for those of 94; which are at 100 already.
        assert_eq!(join.logic.wake_at_idle(), advances.then_some(Instant(17)));
        assert_eq!(join.wake(16), [""; 0]);
        let woken: &[&str] = if advances { &["unpaired a: left 1", "unpaired b: left 0"] } else { &[] };
        assert_eq!(join.wake(17), woken);
        assert_eq!(join.logic.wake_at_idle(), None);
        assert_eq!(
            join.take(&[(4, (1, 'a', 110))]),
            if advances { vec!["late a: right 4"] } else { vec!["a: l=1, r=4"] }
        );
    }
}

#[test]
fn keys_are_forgotten_after_a_while() {
    let mut join = join(PLAIN);
    join.take(&numbered(&[(0, 'b', 100), (0, 'a', 100)]));
    let hour = 3_600_000_000;
    assert_eq!(join.logic.wake_at(), Some(Instant(hour)));
    assert_eq!(join.wake(hour), ["unpaired a: left 1", "unpaired b: left 0"]);
    assert_eq!(join.logic.wake_at(), None);
    assert_eq!(join.take(&[(2, (0, 'a', 50))]), [""; 0], "it would have been late");
    assert_eq!(join.end(), ["unpaired a: left 2"]);
}

#[test]
fn many_pairs_come_out_in_batches() {
    let mut join = join(PLAIN);
    let lefts: Vec<(usize, Row)> = (0..100).map(|number| (number, (0, 'a', 0))).collect();
    let rights: Vec<(usize, Row)> = (0..100).map(|number| (number, (1, 'a', 0))).collect();
    join.take(&lefts);
    let now = Instant(0);
    let given = emitted_by_port(|out| join.logic.on_batch(1, batch(&rights), now, out));
    let sizes: Vec<usize> = given.iter().map(|(_, batch)| batch.num_rows()).collect();
    assert_eq!((sizes.iter().sum::<usize>(), sizes.iter().max()), (10_000, Some(&8192)));
}

proptest! {
    #[test]
    fn pairs_do_not_depend_on_how_the_sides_come(
        rows in prop::collection::vec((0..2_usize, prop::char::range('a', 'b'), 0..60_i64), 0..80),
        cuts in prop::collection::vec(any::<bool>(), 80),
        before in 0..8_i64,
        after in 0..8_i64,
        waits in prop::array::uniform2(0..30_i64),
        advances in any::<bool>(),
        // Another interleaving of the same two sides.
        turns in prop::collection::vec(0..2_usize, 80),
    ) {
        let rules = Rules { before, after, waits, advances };
        let wanted = expected(rules, &rows);
        let numbered = numbered(&rows);
        let mut sides = [0, 1].map(|wanted| {
            numbered.iter().copied().filter(|(_, (side, ..))| *side == wanted).collect::<std::collections::VecDeque<_>>()
        });
        let mut turned = Vec::new();
        for turn in turns.into_iter().chain([0; 80]).chain([1; 80]) {
            turned.extend(sides[turn].pop_front());
        }
        for order in [&numbered, &turned] {
            let mut join = join(rules);
            let (mut out, mut start) = (Vec::new(), 0);
            for at in 1..=order.len() {
                if at == order.len() || cuts[at] || order[at].1.0 != order[start].1.0 {
                    out.extend(join.take(&order[start..at]));
                    start = at;
                }
            }
            out.extend(join.end());
            out.sort_unstable();
            prop_assert_eq!(&out, &wanted);
        }
    }
}

fn flow(arguments: &str) -> String {
    format!(
        "[[step]]\nname = \"questions\"\nop = \"key_on\"\nkey = \"id\"\n\
        [[step]]\nname = \"more\"\nop = \"input\"\nsource = {{ memory = \"answers\" }}\n\
        [[step]]\nname = \"answers\"\nop = \"key_on\"\nkey = \"id\"\n\
        [[step]]\nname = \"j\"\nop = \"interval_join\"\n{arguments}\n"
    )
}

fn bench() -> Bench {
    let questions =
        [table("id: string, at: timestamp, q: string", &["1,2024-01-01T00:00:00Z,why", "2,2024-01-01T00:00:00Z,how"])];
    let answers =
        [table("id: string, time: string, a: string", &["1,2024-01-01T00:00:10Z,so", "1,2024-01-01T00:01:01Z,late"])];
    Bench::default().source("in", questions).source("answers", answers)
}

#[test]
fn each_side_can_have_a_clock_of_its_own() {
    let clock = "clock = { questions = { event = \"at\" }, answers = { event = \"time\", wait = \"1h\" } }";
    let flow =
        flow(&format!("from = [\"questions\", \"answers\"]\nwithin = {{ after = \"1m\" }}\n{clock}\nas = \"columns\""));
    let wanted = ["1: at=2024-01-01T00:00:00Z, q=why, time=2024-01-01T00:00:10Z, a=so"];
    assert_eq!(bench().out(&flow), wanted);
}

#[test]
fn what_cannot_be_paired_is_refused() {
    let from = "from = [\"questions\", \"answers\"]";
    let clock = "clock = { event = \"at\" }";
    for (arguments, wanted) in [
        (
            format!("from = \"questions\"\nwithin = {{}}\n{clock}"),
            "step \"j\": \"interval_join\" takes from two steps, not 1",
        ),
        (
            "from = { side = \"questions\", answers = \"answers\" }\nwithin = {}\nclock = { fn = 1 }".to_owned(),
            "step \"j\": no side can be called \"side\", as a column of \"late\" is",
        ),
        (format!("{from}\nwithin = {{}}\n{clock}"), "step \"j\", rows of \"answers\": no column \"at\""),
        (
            format!("{from}\nwithin = {{}}\nclock = \"system\""),
            "step \"j\": \"interval_join\" goes by the times that rows tell",
        ),
        (
            format!("{from}\nwithin = {{}}\nclock = {{ questions = {{ event = \"at\" }} }}"),
            "step \"j\": the side \"answers\" has no clock",
        ),
        (
            format!(
                "{from}\nwithin = {{}}\nclock = {{ questions = {{ event = \"at\" }}, answer = {{ event = \"time\" }} }}"
            ),
            "step \"j\": there is no side \"answer\"",
        ),
        (format!("{from}\n{clock}"), "missing key \"within\" in step \"j\""),
    ] {
        let problems = bench().problems(&flow(&arguments));
        assert_eq!(problems.first().map(String::as_str), Some(wanted), "{arguments}: {problems:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn rows_and_watermarks_of_both_sides_survive_crashes(
        calls in prop::collection::vec(
            (0_usize..2, prop::collection::vec((prop::char::range('a', 'c'), 0..40_i64), 0..5)),
            1..9,
        ),
        reach in (0..10_i64, 0..10_i64),
        waits in (0..15_i64, 0..15_i64),
    ) {
        let rules = Rules { before: reach.0, after: reach.1, waits: [waits.0, waits.1], advances: true };
        let mut number = 0;
        let mut inputs = Vec::new();
        for (at, (side, rows)) in (0..).zip(&calls) {
            let rows: Vec<(usize, Row)> =
                (number..).zip(rows).map(|(number, &(key, time))| (number, (*side, key, time))).collect();
            number += rows.len();
            // Keys are forgotten after an hour.
            let now = at * HOUR.as_micros() as i64 / 3;
            inputs.push((now, if rows.is_empty() { Input::Time } else { Input::Rows(*side, batch(&rows)) }));
        }
        inputs.push((HOUR.as_micros() as i64 * 3, Input::End));
        let (_, kept) = check_crashes(|| join(rules).logic, &inputs);
        prop_assert!(kept.last().unwrap().is_empty());
    }
}

#[test]
fn watermarks_that_idle_time_has_moved_do_not_go_back_over_a_restore() {
    let rules = Rules { before: 10, after: 10, waits: [10, 10], advances: true };
    let mut before = join(rules);
    before.logic.keep();
    before.take(&[(0, (0, 'a', 100)), (1, (0, 'b', 100)), (9, (0, 'c', 100))]);
    before.take(&[(2, (1, 'a', 100))]);
    assert_eq!(before.logic.snapshot(Instant(0)).unwrap().unwrap().keys.values().len(), 3);
    // The watermarks of a are at 105; for no row of it is it too late.
    assert_eq!(before.wake(15), [""; 0]);
    assert_eq!(before.take(&[(3, (0, 'a', 104))]), ["late a: left 3"]);
    let Changes { keys, values, .. } = before.logic.snapshot(Instant(15)).unwrap().unwrap();
    assert_eq!(keys.values().len(), 1);
    let mut after = join(rules);
    after.logic.restore(&keys, &values, Instant(0)).unwrap();
    assert_eq!(after.take(&[(4, (0, 'a', 104))]), ["late a: left 4"]);
    assert_eq!(after.logic.wake_at_idle(), Some(Instant(6)), "idle time begins anew");
    assert_eq!(after.take(&[(5, (1, 'a', 105))]), ["a: l=0, r=5"]);
}
