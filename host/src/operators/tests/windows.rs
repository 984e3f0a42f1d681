//! Steps that work by window, through the whole dataflow.

use super::super::testing::{Bench, table};
use super::steps;
use arrow::array::RecordBatch;
use proptest::prelude::*;
use std::collections::BTreeMap;

const COLUMNS: &str = "n: int64, k: string, t: timestamp";
const KEY: &str = "op = \"key_on\"; key = \"k\"";

/// Rows of many keys whose times go up and down while they grow: two hours in all, up to ten minutes back.
fn rows() -> RecordBatch {
    let rows: Vec<String> = (0..5_000_i64)
        .map(|row| {
            let back = row * 7919 % 600;
            let seconds = (row * 7200 / 5_000 - back).max(0);
            let time = format!("2024-01-01T{:02}:{:02}:{:02}Z", seconds / 3600, seconds / 60 % 60, seconds % 60);
            format!("{},key-{},{time}", row % 100, row % 17)
        })
        .collect();
    table(COLUMNS, &rows.iter().map(String::as_str).collect::<Vec<_>>())
}

/// The sums of rows `key: name=…`, by key.
fn sums(rows: &[&str], name: &str) -> BTreeMap<String, i64> {
    let mut sums = BTreeMap::new();
    for row in rows {
        let (key, cells) = row.split_once(": ").unwrap();
        let cell = cells.split(", ").find_map(|cell| cell.strip_prefix(name)).unwrap();
        *sums.entry(key.to_owned()).or_default() += cell.parse::<i64>().unwrap();
    }
    sums
}

#[test]
fn every_row_is_in_its_windows_or_late_with_one_worker_and_with_three() {
    let bench = Bench::default().source("in", [rows()]);
    let all = bench.run(&steps(&[KEY, "op = \"output\"; sink = { memory = \"out\" }"]), 1);
    let all = sums(&all.rows("out"), "n=");
    for (window, times) in
        [("tumbling = \"1m\"", 1), ("sliding = \"1m\", every = \"20s\"", 3), ("session = \"30s\"", 1)]
    {
        for arguments in ["ordered = true", "ordered = false", "late = \"window\""] {
            for wait in ["0s", "1m", "1h"] {
                let clock = format!("clock = {{ event = \"t\", wait = \"{wait}\" }}");
                let fold = format!(
                    "name = \"w\"; op = \"fold_window\"; fn = \"p.sum\"; {clock}; window = {{ {window} }}; {arguments}; \
                    with = [\"window_id\", \"open_time\"]; on_error = \"skip\""
                );
                let flow = steps(&[
                    KEY,
                    &fold,
                    "op = \"output\"; sink = { memory = \"down\" }",
                    "op = \"output\"; from = \"w.late\"; sink = { memory = \"late\" }",
                    "op = \"output\"; from = \"w.meta\"; sink = { memory = \"meta\" }",
                ]);
                let (one, three) = (bench.run(&flow, 1), bench.run(&flow, 3));
                for port in ["down", "late", "meta"] {
                    assert_eq!(one.sorted(port), three.sorted(port), "{port} of {fold}");
                }
                assert_eq!(one.rows("late").is_empty(), wait == "1h", "{fold}");
                assert!(one.rows("meta").len() >= one.rows("down").len(), "{fold}");
                let (mut found, late) = (sums(&one.rows("down"), "sum="), sums(&one.rows("late"), "n="));
                late.into_iter().for_each(|(key, sum)| *found.entry(key).or_default() += sum);
                // A sum of 13 cannot be finished, so that some are missing.
                let unlucky = 13 * (one.rows("meta").len() - one.rows("down").len()) as i64;
                let total: i64 = found.values().sum();
                assert_eq!(total + unlucky, times * all.values().sum::<i64>(), "{fold}");
            }
        }
    }
}

#[test]
fn what_is_wrong_with_the_arguments_of_windows_is_told() {
    let bench =
        Bench::default().source("in", [table("n: int64, k: string, t: timestamp, window_id: int64", &["1,a,,1"])]);
    let late = "step \"w\": its port \"late\" would have two columns \"window_id\"";
    let with_key = "op = \"key_on\"; key = \"k\"";
    let good = ["clock = \"system\"", "window = { tumbling = \"5s\" }", "fn = \"p.sum\""];
    let problems = |op: &str, arguments: &[&str], drops: bool| {
        let drop = if drops {
            "op = \"select\"; drop = [\"window_id\"]"
        } else {
            "op = \"select\"; columns = [\"n\", \"k\", \"t\", \"window_id\"]"
        };
        let step = format!("name = \"w\"; op = \"{op}\"; {}", arguments.join("; "));
        bench.problems(&steps(&[with_key, drop, &step, "op = \"output\"; sink = { memory = \"out\" }"]))
    };
    assert_eq!(problems("fold_window", &good, true), [""; 0]);
    assert_eq!(problems("fold_window", &good, false), [late]);
    for (clock, wanted) in [
        ("\"sytem\"", "there is no clock \"sytem\""),
        ("{ wait = \"1s\" }", "a clock has either \"event\" or \"fn\""),
        ("{ event = \"t\", config = {} }", "\"config\" goes with \"fn\""),
        ("{ event = \"n\" }", "column \"n\" is int64, which is no time"),
        ("{ event = \"u\" }", "no column \"u\""),
    ] {
        let found = problems("fold_window", &[&format!("clock = {clock}"), good[1], good[2]], true);
        assert_eq!(found, [format!("step \"w\": {wanted}")], "{clock}");
    }
    for (window, wanted) in [
        ("{ every = \"1s\" }", "a window is one of \"tumbling\", \"sliding\", \"session\""),
        ("{ tumbling = \"1s\", session = \"1s\" }", "a window is one of \"tumbling\", \"sliding\", \"session\""),
        ("{ tumbling = \"0s\" }", "a window of no length holds nothing"),
        ("{ tumbling = \"1s\", every = \"1s\" }", "\"every\" goes with \"sliding\""),
        ("{ sliding = \"1s\" }", "missing \"every\" beside \"sliding\""),
        ("{ sliding = \"1s\", every = \"2s\" }", "\"every\" is longer than the window"),
        ("{ sliding = \"1d\", every = \"1us\" }", "each row would be in more than 100000 windows"),
        ("{ session = \"1s\", align_to = 2024-01-01T00:00:00Z }", "\"align_to\" goes with \"tumbling\" or \"sliding\""),
        ("{ session = \"4000000d\" }", "it is longer than 10,000 years"),
    ] {
        let found = problems("fold_window", &[good[0], &format!("window = {window}"), good[2]], true);
        assert_eq!(found, [format!("step \"w\": {wanted}")], "{window}");
    }
    for (op, argument, wanted) in [
        ("reduce_window", "ordered = true", "\"reduce_window\" takes rows as they come"),
        ("fold_window", "every = \"1s\"", "\"every\" goes with early results"),
        ("fold_window", "emit = \"soon\"", "\"emit\" is \"final\" or \"running\", not \"soon\""),
        ("fold_window", "forget_after = \"0s\"", "\"forget_after\" is zero"),
        ("fold_window", "with = [\"window_id\", \"window_id\"]", "its rows would have two columns \"window_id\""),
    ] {
        let found = problems(op, &[good[0], good[1], good[2], argument], true);
        assert_eq!(found, [format!("step \"w\": {wanted}")], "{argument}");
    }
    let unkeyed = format!("name = \"w\"; op = \"fold_window\"; {}", good.join("; "));
    let found = bench.problems(&steps(&["op = \"select\"; drop = [\"window_id\"]", &unkeyed]));
    assert_eq!(found, ["step \"w\": \"fold_window\" works on keyed streams, and \"s0\" has no key"]);
    let found = problems("fold_window", &["lat = \"window\"", "fnn = \"p.sum\"", good[0]], true);
    assert_eq!(found, ["unknown key \"lat\" in step \"w\"", "unknown key \"fnn\" in step \"w\""]);
}

/// A row of the property below: its key, its second of event time, and whether a batch ends behind it.
type Drawn = (u8, u16, bool);

fn batches(drawn: &[Drawn], is_cut: bool) -> Vec<RecordBatch> {
    let row = |(number, (key, second, _)): (usize, &Drawn)| {
        format!("{number},key-{key},2024-01-01T00:{:02}:{:02}Z", second / 60, second % 60)
    };
    let rows: Vec<String> = drawn.iter().enumerate().map(row).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    let all = table("n: int64, k: string, t: string", &rows);
    let ends = drawn.iter().zip(1..).filter(|((_, _, ends), _)| is_cut && *ends).map(|(_, end)| end);
    let mut start = 0;
    let mut cut = Vec::new();
    for end in ends.chain([drawn.len()]).filter(|&end| end > 0) {
        if end > start {
            cut.push(all.slice(start, end - start));
        }
        start = end;
    }
    cut
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]
    #[test]
    fn windows_are_the_same_for_any_batches_and_any_number_of_workers(
        drawn in prop::collection::vec((0_u8..6, 0_u16..600, prop::bool::weighted(0.2)), 1..200),
        workers in 2_usize..5,
        window in prop::sample::select(vec!["tumbling = \"1m\"", "sliding = \"90s\", every = \"40s\"", "session = \"20s\""]),
        arguments in prop::sample::select(vec!["ordered = true", "ordered = false", "ordered = false; late = \"window\""]),
        scope in prop::sample::select(vec!["key", "stream"]),
    ) {
        let clock = format!("clock = {{ event = \"t\", wait = \"1m\", watermark = \"{scope}\" }}");
        let collect = format!(
            "name = \"w\"; op = \"collect_window\"; {clock}; window = {{ {window} }}; {arguments}; \
            with = [\"window_id\", \"open_time\", \"close_time\"]"
        );
        let flow = steps(&[
            KEY,
            &collect,
            "op = \"output\"; sink = { memory = \"down\" }",
            "op = \"output\"; from = \"w.late\"; sink = { memory = \"late\" }",
            "op = \"output\"; from = \"w.meta\"; sink = { memory = \"meta\" }",
        ]);
        let run = |is_cut: bool, workers: usize| {
            Bench::default().partitions("in", vec![batches(&drawn, is_cut)]).run(&flow, workers)
        };
        let (one, several) = (run(false, 1), run(true, workers));
        for port in ["down", "late", "meta"] {
            prop_assert_eq!(one.sorted(port), several.sorted(port), "{} of {}", port, collect);
        }
        prop_assert!(one.rows("down").len() + one.rows("late").len() > 0);
    }
}
