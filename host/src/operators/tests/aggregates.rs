//! Native aggregates in steps.

use super::super::testing::Bench;
use super::{bench, steps, table};

const KEY: &str = "op = \"key_on\"; key = \"word\"";

fn aggregate(op: &str, aggregates: &str) -> String {
    steps(&[KEY, &format!("op = \"{op}\"; aggregate = {{ {aggregates} }}")])
}

#[test]
fn columns_come_in_the_order_in_which_they_are_written() {
    let out = bench().out(&aggregate("aggregate_final", "z = \"sum(n)\", a = \" count( * ) \", m = \"max(word)\""));
    let wanted = ["be: z=8, a=2, m=be", "not: z=4, a=1, m=not", "or: z=3, a=1, m=or"];
    assert_eq!(out[..3], wanted);
}

#[test]
fn more_keys_than_are_combined_at_once_are_aggregated_too() {
    let rows: Vec<String> = (0..150_000).map(|row| format!("{row},{}", row % 100_000)).collect();
    let rows = table("n: int64, word: string", &rows.iter().map(String::as_str).collect::<Vec<_>>());
    let batches = (0..15).map(|at| rows.slice(at * 10_000, 10_000));
    let out =
        Bench::default().source("in", batches).out(&aggregate("aggregate_final", "sum = \"sum(n)\", n = \"count(n)\""));
    let twos = out.iter().filter(|row| row.ends_with("n=2")).count();
    assert_eq!((out.len(), twos), (100_000, 50_000));
    assert!(out.contains(&"7: sum=100014, n=2".to_owned()));
}

#[test]
fn what_is_wrong_with_aggregates_is_said_with_what_is_meant() {
    let bench = Bench::default().source("in", [table("n: int64, word: string", &[])]);
    for (aggregates, wanted) in [
        ("a = \"summ(n)\"", "column \"a\" of step \"s1\": no aggregate \"summ\""),
        ("a = \"sum(m)\"", "step \"s1\": no column \"m\""),
        (
            "a = \"sum(word)\"",
            "column \"a\" of step \"s1\": column \"word\" is string, of which there is no \"sum(word)\"",
        ),
        ("a = \"sum(*)\"", "column \"a\" of step \"s1\": \"sum(*)\" is of no column"),
        ("a = \"count()\"", "column \"a\" of step \"s1\": \"count()\" says not what to count"),
        ("a = \"count\"", "column \"a\" of step \"s1\": \"count\" is no aggregate"),
        ("a = 1", "column \"a\" of step \"s1\": expected \"function(column)\", found an integer 1"),
        ("", "step \"s1\": \"aggregate\" names no columns"),
    ] {
        assert_eq!(bench.problems(&aggregate("aggregate_final", aggregates)), [wanted]);
    }
    let two = bench.problems(&aggregate("aggregate_running", "n = \"sum(n)\", b = \"mean(x)\""));
    assert_eq!(two, ["step \"s1\": no column \"x\"", "step \"s1\": its rows have a column \"n\" already"]);
    let unkeyed = bench.problems(&steps(&["op = \"aggregate_final\"; aggregate = { a = \"sum(word)\" }"]));
    assert_eq!(unkeyed.len(), 2);
}

#[test]
fn a_step_in_halves_counts_rows_once_and_gives_the_failures_of_both() {
    let rows = table(
        "n: int64, word: string, at: timestamp",
        &["1,a,2024-01-01T00:00:00Z", "2,,2024-01-01T00:00:01Z", "3,a,", "4,b,2024-01-01T00:00:02Z"],
    );
    let flow = steps(&[
        "name = \"w\"; op = \"count_window\"; key = \"word\"; clock = { event = \"at\" }; window = { tumbling = \"1m\" }; \
            on_error = \"dead_letter\"",
        "op = \"output\"; from = \"w\"; sink = { memory = \"out\" }",
        "op = \"output\"; from = \"w.errors\"; sink = { memory = \"errors\" }",
    ]);
    for workers in [1, 3] {
        let ran = Bench::default().source("in", [rows.slice(0, 2), rows.slice(2, 2)]).run(&flow, workers);
        assert_eq!(ran.sorted("out"), ["a: count=1", "b: count=1"]);
        assert_eq!(ran.rows("errors").len(), 2);
        let figures = &ran.report.unwrap().steps[1].1;
        // Out go the counts; what would be told of their windows nobody takes.
        assert_eq!((figures.rows_in, figures.rows_out, figures.errors), (4, 2, 2), "{workers}");
    }
}

#[test]
fn windows_of_rows_are_the_same_by_the_watermark_of_the_whole_stream() {
    let rows = table(
        "n: int64, k: string, at: timestamp",
        &[
            "1,a,2024-01-01T00:00:00Z",
            "3,a,2024-01-01T00:00:01Z",
            "2,b,2024-01-01T00:00:02Z",
            "0,a,2024-01-01T00:01:02Z",
        ],
    );
    for scope in ["key", "stream"] {
        for (step, wanted) in [
            ("op = \"max_window\"; by = \"n\"", ["a: n=0", "a: n=3", "b: n=2"]),
            ("op = \"collect_window\"; into = \"set\"; as = \"rows\"", ["a: n=0", "a: n=1", "a: n=3"]),
            ("op = \"collect_window\"; as = \"rows\"", ["a: n=0", "a: n=1", "a: n=3"]),
            ("op = \"count_window\"; key = \"k\"", ["a: count=1", "a: count=2", "b: count=1"]),
        ] {
            let clock = format!("clock = {{ event = \"at\", wait = \"1h\", watermark = \"{scope}\" }}");
            let key = "op = \"key_on\"; key = \"k\"";
            let flow = steps(&[key, &format!("{step}; {clock}; window = {{ tumbling = \"1m\" }}")]);
            let out = Bench::default().source("in", [rows.slice(0, 2), rows.slice(2, 2)]).out(&flow);
            let short: Vec<&str> = out.iter().map(|row| row.split(',').next().unwrap()).take(3).collect();
            assert_eq!(short, wanted, "{step} {scope}");
        }
    }
}

#[test]
fn arguments_of_collected_windows_go_together() {
    let window = "clock = \"system\"; window = { tumbling = \"1m\" }";
    for (arguments, wanted) in [
        ("map_key = \"n\"", "step \"s1\": \"map_key\" goes with into = \"map\""),
        ("into = \"map\"; map_key = \"n\"", "missing \"map_key\" or \"map_value\" in step \"s1\""),
        ("into = \"map\"; map_key = \"n\"; map_value = \"m\"", "step \"s1\": no column \"m\""),
    ] {
        let flow = steps(&[KEY, &format!("op = \"collect_window\"; {arguments}; {window}")]);
        assert_eq!(bench().problems(&flow), [wanted]);
    }
}
