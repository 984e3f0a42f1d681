//! Tests of `order`.

use super::super::testing::{At, Bench, Input, check_crashes, emitted_by_port, show, table};
use super::*;
use crate::data::key::Keys;
use crate::data::schema::Type;
use crate::dataflow::script::ScriptedClock;
use arrow::array::{Array, ArrayRef, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A row: its key and its time.
type Row = (char, i64);

fn orderer(wait: i64, advances: bool) -> (Orderer, Arc<ScriptedClock>, Arc<IdleClock>) {
    let Some(Stamp::Column(column)) = Stamp::of_column(0, "at", &Type::Timestamp) else { panic!() };
    let system = Arc::new(ScriptedClock::new(Instant(0)));
    let idle = Arc::new(IdleClock::new(system.clone()));
    let schema = table("at: timestamp, n: int64", &[]).schema();
    let clock = Clock::Event { wait, advances };
    let hour = Duration::from_secs(3600);
    (Orderer::new(schema, clock, Stamper::Column(column), hour, idle.clone()), system, idle)
}

/// Hands rows over, which are numbered from `first` on; gives the numbers of those that come out, `late` ones marked.
fn take(orderer: &mut Orderer, first: usize, rows: &[Row], now: i64) -> Vec<String> {
    let batch = batch(first, rows);
    shown(emitted_by_port(|out| orderer.on_batch(0, batch, Instant(now), out)))
}

fn batch(first: usize, rows: &[Row]) -> Batch {
    let keys: StringArray = rows.iter().map(|(key, _)| Some(key.to_string())).collect();
    let times = TimestampMicrosecondArray::from_iter_values(rows.iter().map(|(_, time)| *time));
    let numbers = Int64Array::from_iter_values((first as i64..).take(rows.len()));
    let columns: Vec<ArrayRef> = vec![Arc::new(times.with_timezone("UTC")), Arc::new(numbers)];
    let rows = RecordBatch::try_new(table("at: timestamp, n: int64", &[]).schema(), columns).unwrap();
    Batch::keyed(rows, Keys::new(keys))
}

fn shown(given: Vec<(usize, Batch)>) -> Vec<String> {
    let rows = given.iter().flat_map(|(port, batch)| {
        let short = move |row: String| {
            let (key, number) = (row.split(':').next().unwrap(), row.split("n=").nth(1).unwrap());
            format!("{}{key} {number}", if *port == 1 { "late " } else { "" })
        };
        show(batch).into_iter().map(short)
    });
    rows.collect()
}

fn end(orderer: &mut Orderer) -> Vec<String> {
    shown(emitted_by_port(|out| orderer.on_eof(Instant(0), out)))
}

#[test]
fn rows_wait_for_the_watermark_of_their_key() {
    let (mut orderer, ..) = orderer(10, true);
    let rows = [('b', 20), ('a', 15), ('b', 12), ('a', 25), ('b', 12)];
    assert_eq!(take(&mut orderer, 0, &rows, 0), ["a 1"]);
    assert_eq!(take(&mut orderer, 5, &[('b', 22), ('a', 14)], 0), ["late a 6", "b 2", "b 4"]);
    assert_eq!(end(&mut orderer), ["a 3", "b 0", "b 5"]);
    assert_eq!(end(&mut orderer), [""; 0]);
}

#[test]
fn rows_come_out_while_the_input_is_idle() {
    for advances in [true, false] {
        let (mut orderer, system, idle) = orderer(10, advances);
        assert_eq!(take(&mut orderer, 0, &[('b', 20), ('a', 18)], 0), [""; 0]);
        assert_eq!(orderer.wake_at_idle(), advances.then_some(Instant(10)));
        let mut part = idle.part();
        part.set_idle(true);
        system.set(Instant(10));
        let woken = shown(emitted_by_port(|out| orderer.on_wake(Instant(10), out)));
        assert_eq!(woken, if advances { vec!["a 1", "b 0"] } else { vec![] });
        assert_eq!(orderer.wake_at_idle(), None);
    }
}

#[test]
fn a_key_is_forgotten_after_a_while() {
    let (mut orderer, ..) = orderer(10, false);
    assert_eq!(take(&mut orderer, 0, &[('a', 20), ('b', 30), ('b', 29)], 0), [""; 0]);
    let hour = 3_600_000_000;
    assert_eq!(orderer.wake_at(), Some(Instant(hour)));
    let woken = shown(emitted_by_port(|out| orderer.on_wake(Instant(hour), out)));
    assert_eq!(woken, ["a 0", "b 2", "b 1"]);
    assert_eq!(take(&mut orderer, 3, &[('b', 1)], hour), [""; 0]);
}

proptest! {
    #[test]
    fn each_key_comes_in_order_however_its_input_is_cut(
        rows in prop::collection::vec((prop::char::range('a', 'c'), 0..50_i64), 0..80),
        cuts in prop::collection::vec(any::<bool>(), 80),
        wait in 0..30_i64,
    ) {
        let (mut wanted, mut late) = (BTreeMap::<char, Vec<(i64, usize)>>::new(), Vec::new());
        let mut watermarks = BTreeMap::new();
        for (number, &(key, time)) in rows.iter().enumerate() {
            let watermark = watermarks.entry(key).or_insert(i64::MIN);
            if time < *watermark {
                late.push(format!("late {key} {number}"));
            } else {
                *watermark = (*watermark).max(time - wait);
                wanted.entry(key).or_default().push((time, number));
            }
        }
        let (mut orderer, ..) = orderer(wait, true);
        let (mut out, mut start) = (Vec::new(), 0);
        for at in 1..=rows.len() {
            if at == rows.len() || cuts[at] {
                out.extend(take(&mut orderer, start, &rows[start..at], 0));
                start = at;
            }
        }
        out.extend(end(&mut orderer));
        let (found_late, out): (Vec<String>, Vec<String>) = out.into_iter().partition(|row| row.starts_with("late"));
        prop_assert_eq!(found_late, late);
        for (key, mut rows) in wanted {
            rows.sort_unstable();
            let rows: Vec<String> = rows.iter().map(|(_, number)| format!("{key} {number}")).collect();
            let of_key: Vec<String> = out.iter().filter(|row| row.starts_with(key)).cloned().collect();
            prop_assert_eq!(of_key, rows);
        }
    }
}

#[test]
fn an_order_needs_the_times_of_rows() {
    let bench =
        || Bench::default().source("in", [table("k: string, at: string", &["a,2024-01-01T00:00:01Z", "a,2024"])]);
    let flow = |arguments: &str| {
        format!(
            "[[step]]\nname = \"k\"\nop = \"key_on\"\nkey = \"k\"\n[[step]]\nname = \"o\"\nop = \"order\"\n{arguments}\n"
        )
    };
    let problems = bench().problems(&flow("clock = \"system\""));
    assert_eq!(problems, ["step \"o\": by the system's clock rows are in order"]);
    let out = bench().out(&flow("clock = { event = \"at\" }\non_error = \"skip\""));
    assert_eq!(out, ["a: k=a, at=2024-01-01T00:00:01Z"]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]
    #[test]
    fn rows_that_wait_and_watermarks_survive_crashes(
        batches in prop::collection::vec(prop::collection::vec((prop::char::range('a', 'c'), 0..40_i64), 0..5), 1..9),
        wait in 0..30_i64,
    ) {
        let (mut number, hour) = (0, 3_600_000_000_i64);
        let mut inputs: Vec<At> = Vec::new();
        for (at, rows) in (0..).zip(&batches) {
            let input = if rows.is_empty() { Input::Time } else { Input::Rows(0, batch(number, rows)) };
            number += rows.len();
            // Keys are forgotten after an hour.
            inputs.push((at * hour / 3, input));
        }
        inputs.push((3 * hour, Input::End));
        let (_, kept) = check_crashes(|| orderer(wait, true).0, &inputs);
        prop_assert!(kept.last().unwrap().is_empty());
    }
}

#[test]
fn a_watermark_that_idle_time_has_moved_does_not_go_back_over_a_restore() {
    let (mut before, system, idle) = orderer(10, true);
    before.keep();
    assert_eq!(take(&mut before, 0, &[('a', 20), ('b', 20), ('c', 20)], 0), [""; 0]);
    before.snapshot(Instant(0)).unwrap();
    let mut part = idle.part();
    part.set_idle(true);
    system.set(Instant(5));
    // The watermark is at 15.
    assert_eq!(take(&mut before, 2, &[('a', 12)], 5), ["late a 2"]);
    let Changes { keys, values, .. } = before.snapshot(Instant(5)).unwrap().unwrap();
    assert_eq!(keys.values().len(), 1);
    let (mut after, ..) = orderer(10, true);
    after.restore(&keys, &values, Instant(1000)).unwrap();
    assert_eq!(after.wake_at_idle(), Some(Instant(5)), "idle time begins anew");
    assert_eq!(after.wake_at(), Some(Instant(3_600_000_005)));
    assert_eq!(take(&mut after, 3, &[('a', 14), ('a', 15), ('a', 30)], 1000), ["late a 3", "a 4", "a 0"]);
}
