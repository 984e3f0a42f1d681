//! Tests of `collect` without a driver: the time is what the test says.

use super::super::testing::{check_crashes, emitted, in_turn, show, table};
use super::*;
use arrow::array::{Array, AsArray};
use proptest::prelude::*;

fn collector(max_size: usize, timeout: Option<u64>, since: Since) -> Collector {
    let timeout = timeout.map(Duration::from_micros);
    Collector::new(Rules { max_size, timeout, since }, table("k: string, n: int64", &[]).schema(), None)
}

fn batch(rows: &[&str]) -> Batch {
    let rows = table("k: string, n: int64", rows);
    let keys = Keys::new(rows.column(0).as_string().clone());
    Batch::keyed(rows, keys)
}

/// The lists that come out, as `a: 1 2`.
fn lists_of(batches: Vec<Batch>) -> Vec<String> {
    let mut lists: Vec<String> = Vec::new();
    for row in batches.iter().flat_map(show) {
        let (key, n) = (&row[..1], row.rsplit('=').next().unwrap());
        match lists.last_mut().filter(|list| list.starts_with(key)) {
            Some(list) => *list += &format!(" {n}"),
            None => lists.push(format!("{key}: {n}")),
        }
    }
    lists
}

fn take(collector: &mut Collector, rows: &[&str], now: i64) -> Vec<String> {
    lists_of(emitted(|out| collector.on_batch(0, batch(rows), Instant(now), out)))
}

fn wake(collector: &mut Collector, now: i64) -> Vec<String> {
    lists_of(emitted(|out| collector.on_wake(Instant(now), out)))
}

#[test]
fn a_full_list_comes_out_at_once_and_the_rest_at_the_end() {
    let mut collector = collector(2, None, Since::Last);
    assert_eq!(take(&mut collector, &["b,1", "a,2", "b,3", "b,4"], 0), ["b: 1 3"]);
    assert_eq!(take(&mut collector, &["c,5", "a,6"], 0), ["a: 2 6"]);
    assert_eq!(collector.wake_at(), None);
    let last = emitted(|out| collector.on_eof(Instant(0), out));
    assert_eq!(lists_of(last), ["b: 4", "c: 5"]);
    assert_eq!(collector.groups.len(), 0);
}

#[test]
fn one_batch_can_fill_several_lists() {
    let mut collector = collector(2, Some(10), Since::Last);
    assert_eq!(take(&mut collector, &["a,1", "a,2", "a,3", "a,4", "b,5"], 0), ["a: 1 2 3 4"]);
    assert_eq!(wake(&mut collector, 10), ["b: 5"]);
}

#[test]
fn the_timeout_runs_from_the_last_row_or_from_the_first() {
    for (since, wanted) in [(Since::Last, 15), (Since::First, 10)] {
        let mut collector = collector(9, Some(10), since);
        assert_eq!(take(&mut collector, &["a,1"], 0), [""; 0]);
        assert_eq!(take(&mut collector, &["a,2"], 5), [""; 0]);
        assert_eq!(wake(&mut collector, wanted - 1), [""; 0], "{since:?}");
        assert_eq!(collector.wake_at(), Some(Instant(wanted)), "{since:?}");
        assert_eq!(wake(&mut collector, wanted), ["a: 1 2"], "{since:?}");
        assert_eq!((collector.wake_at(), collector.groups.len()), (None, 0));
    }
}

#[test]
fn a_full_list_leaves_no_timeout_to_the_next_one() {
    let mut collector = collector(2, Some(10), Since::First);
    assert_eq!(take(&mut collector, &["a,1", "a,2"], 0), ["a: 1 2"]);
    assert_eq!(take(&mut collector, &["b,3"], 8), [""; 0]);
    assert_eq!(wake(&mut collector, 10), [""; 0]);
    assert_eq!(wake(&mut collector, 18), ["b: 3"]);
}

#[test]
fn keys_that_time_out_together_come_in_order() {
    let mut collector = collector(9, Some(10), Since::Last);
    assert_eq!(take(&mut collector, &["b,1", "c,2", "a,3"], 0), [""; 0]);
    assert_eq!(wake(&mut collector, 99), ["a: 3", "b: 1", "c: 2"]);
}

#[test]
fn few_old_rows_do_not_keep_many_in_memory() {
    let mut collector = collector(100, None, Since::Last);
    for round in 0..50 {
        let mut rows: Vec<String> = (0..5000).map(|n| format!("a,{n}")).collect();
        rows.push(format!("{},{round}", char::from(b'b' + round % 20)));
        let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
        take(&mut collector, &rows, 0);
    }
    assert!(!collector.rows.is_wasteful());
    let last = lists_of(emitted(|out| collector.on_eof(Instant(0), out)));
    assert_eq!((last.len(), &*last[0]), (20, "b: 0 20 40"));
}

#[test]
fn lists_are_columns_of_structs_or_of_plain_values() {
    let rows = table("k: string, n: int64", &["a,1", "b,2", "c,3"]);
    let made = lists(&list_schema(&rows.schema()), &rows, [2, 1]).unwrap();
    assert_eq!(made.schema().field(0).name(), "items");
    assert_eq!(made.column(0).as_list::<i32>().value(1).as_struct().column(0).as_string::<i32>().value(0), "c");
    let values = table("value: int64", &["1", "2", "3"]);
    let made = lists(&list_schema(&values.schema()), &values, [1, 2]).unwrap();
    assert_eq!(made.schema().field(0).name(), "value");
    assert_eq!(made.column(0).as_list::<i32>().value(1).len(), 2);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn lists_and_their_timeouts_survive_crashes(
        batches in prop::collection::vec((0_i64..12, prop::collection::vec((0_i64..100, "[abc]"), 0..5)), 1..8),
        timeout in prop::option::of(5_u64..15),
        max_size in 2_usize..5,
        is_since_first in any::<bool>(),
    ) {
        let since = if is_since_first { Since::First } else { Since::Last };
        let rows = |rows: &[(i64, String)]| {
            let rows: Vec<String> = rows.iter().map(|(n, key)| format!("{key},{n}")).collect();
            batch(&rows.iter().map(String::as_str).collect::<Vec<_>>())
        };
        let inputs = in_turn(batches.iter().map(|(gap, of)| (*gap, rows(of))).collect());
        let (_, kept) = check_crashes(|| collector(max_size, timeout, since), &inputs);
        prop_assert!(kept.last().unwrap().is_empty(), "nothing is left after the end");
    }
}

#[test]
fn a_timeout_that_is_new_begins_with_the_restore() {
    let mut before = collector(9, None, Since::Last);
    before.keep();
    take(&mut before, &["a,1"], 0);
    let Changes { keys, values, .. } = before.snapshot(Instant(0)).unwrap().unwrap();
    for (timeout, wanted) in [(None, None), (Some(10), Some(Instant(110)))] {
        let mut after = collector(9, timeout, Since::First);
        after.restore(&keys, &values, Instant(100)).unwrap();
        assert_eq!(after.wake_at(), wanted);
        take(&mut after, &["a,2"], 105);
        assert_eq!(lists_of(emitted(|out| after.on_eof(Instant(106), out))), ["a: 1 2"]);
    }
}
