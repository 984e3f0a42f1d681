//! Steps that work by key.

use super::super::testing::Bench;
use super::{bench, steps, table};

#[test]
fn count_final_counts_the_rows_of_each_key() {
    let wanted = ["be: count=2", "not: count=1", "or: count=1", "that: count=1", "to: count=2"];
    assert_eq!(bench().out(&steps(&["op = \"count_final\"; key = \"word\""])), wanted);
    assert_eq!(bench().out(&steps(&["op = \"key_on\"; key = \"word\"", "op = \"count_final\""])), wanted);
    let flow =
        steps(&["op = \"filter\"; fn = \"p.is_even\"", "op = \"count_final\"; key = \"word\"; key_name = \"w\""]);
    assert_eq!(bench().out(&flow), ["be: count=2", "not: count=1"]);
    let flow = steps(&["op = \"count_final\"; fn = \"p.initial\"; on_error = \"skip\""]);
    assert_eq!(bench().out(&flow), ["b: count=2", "t: count=3"]);
}

#[test]
fn counts_come_in_the_order_of_keys() {
    let flow = steps(&["op = \"count_final\"; key = \"word\"", "op = \"output\"; sink = { memory = \"out\" }"]);
    let wanted = ["be: count=2", "not: count=1", "or: count=1", "that: count=1", "to: count=2"];
    assert_eq!(bench().run(&flow, 1).rows("out"), wanted);
}

#[test]
fn more_keys_than_are_combined_at_once_are_counted_too() {
    let rows: Vec<String> = (0..150_000).map(|row| (row % 100_000).to_string()).collect();
    let rows = table("n: int64", &rows.iter().map(String::as_str).collect::<Vec<_>>());
    let batches = (0..15).map(|at| rows.slice(at * 10_000, 10_000));
    let out = Bench::default().source("in", batches).out(&steps(&["op = \"count_final\"; key = \"n\""]));
    let twos = out.iter().filter(|row| row.ends_with("count=2")).count();
    assert_eq!((out.len(), twos), (100_000, 50_000));
}

#[test]
fn count_final_tells_how_many_rows_came_and_went() {
    let flow = steps(&[
        "name = \"count\"; op = \"count_final\"; fn = \"p.initial\"; on_error = \"dead_letter\"",
        "op = \"output\"; sink = { memory = \"out\" }",
        "op = \"output\"; from = \"count.errors\"; sink = { memory = \"errors\" }",
    ]);
    let ran = bench().run(&flow, 3);
    assert_eq!((ran.rows("out").len(), ran.rows("errors").len()), (2, 2));
    let figures = &ran.report.unwrap().steps[1].1;
    assert_eq!((figures.rows_in, figures.rows_out, figures.errors), (7, 2, 2));
}

#[test]
fn counting_needs_a_key() {
    let problems = bench().problems(&steps(&["op = \"count_final\""]));
    assert_eq!(problems, ["step \"s0\": \"count_final\" works on keyed streams, and \"in\" has no key"]);
}
