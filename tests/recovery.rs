//! Flows that are kept in a recovery store, stopped, changed and run again: by the program as people call it.

use crate::support::case::Case;
use crate::support::process::{pass, signal, wait_until};
use crate::support::{Done, copy_folder, wxhost};
use std::fmt::Write as _;
use std::path::Path;

/// Running sums of `in.jsonl` into `out.jsonl`.
const SUMS: &str = r#"
flow = "sums"

[[step]]
name = "in"
op = "input"
source = { file = "in.jsonl", chunk = "64KiB", schema = { k = "string", n = "int64" } }

[[step]]
name = "key"
op = "key_on"
key = "k"

[[step]]
name = "sums"
op = "aggregate_running"
aggregate = { sum = "sum(n)" }

[[step]]
name = "out"
op = "output"
sink = { file = "out.jsonl" }
"#;

/// Lines `{"k":…,"n":…}`.
fn rows(rows: &[(&str, i64)]) -> String {
    rows.iter().fold(String::new(), |mut text, (k, n)| {
        let _ = writeln!(text, r#"{{"k":"{k}","n":{n}}}"#);
        text
    })
}

fn append(path: &Path, text: &str) {
    let before = std::fs::read_to_string(path).unwrap();
    std::fs::write(path, before + text).unwrap();
}

#[test]
fn a_finished_flow_goes_on_with_more_input_and_any_number_of_workers() {
    let case = Case::new(SUMS);
    case.write("in.jsonl", &rows(&[("a", 1), ("b", 2), ("a", 3)]));
    let first = "{\"k\":\"a\",\"n\":1,\"sum\":1}\n{\"k\":\"b\",\"n\":2,\"sum\":2}\n{\"k\":\"a\",\"n\":3,\"sum\":4}\n";
    case.run("--recovery store").expect(0);
    assert_eq!(case.read("out.jsonl"), first);
    // Nothing new changes nothing.
    case.run("--recovery store -w 3").expect(0);
    assert_eq!(case.read("out.jsonl"), first);
    append(&case.path("in.jsonl"), &rows(&[("b", 10)]));
    case.run("--recovery store -w 3").expect(0);
    let second = format!("{first}{}", "{\"k\":\"b\",\"n\":10,\"sum\":12}\n");
    assert_eq!(case.read("out.jsonl"), second);
    append(&case.path("in.jsonl"), &rows(&[("a", 100), ("c", 5)]));
    case.run("--recovery store -w 2").expect(0);
    let mut lines: Vec<String> = case.read("out.jsonl").lines().map(str::to_owned).collect();
    let added = lines.split_off(second.lines().count());
    assert_eq!(lines.join("\n") + "\n", second);
    let mut added: Vec<&str> = added.iter().map(String::as_str).collect();
    added.sort_unstable();
    assert_eq!(added, [r#"{"k":"a","n":100,"sum":104}"#, r#"{"k":"c","n":5,"sum":5}"#]);
    // No epoch began anew, and nothing is left of what was staged.
    assert!(crate::support::files_below(case.dir.path()).iter().all(|file| !file.starts_with('.')));
}

#[test]
fn an_epoch_of_many_megabytes_is_appended_whole() {
    // As long as it takes, so that all of an execution is one epoch, and one region of the file.
    let flow = "flow = \"copy\"\n\n[[step]]\nname = \"in\"\nop = \"input\"\nsource = { file = \"in.txt\" }\n\n\
        [[step]]\nname = \"out\"\nop = \"output\"\nsink = { file = \"out.txt\" }\n";
    let case = Case::new(flow);
    case.write("in.txt", "begin\n");
    for rows in [0_u64, 300_000, 260_000] {
        let more: String = (0..rows).map(|row| format!("{row:064x}\n")).collect();
        append(&case.path("in.txt"), &more);
        case.run("--recovery store --epoch 1h").expect(0);
        assert!(case.read("out.txt") == case.read("in.txt"), "after {rows} more rows");
        let files = crate::support::files_below(case.dir.path());
        assert!(files.iter().all(|file| !file.starts_with('.')), "{files:?}");
    }
}

#[test]
fn flags_the_environment_and_the_flow_say_the_same_things() {
    for how in ["flag", "environment", "flow"] {
        let flow = format!(
            "{SUMS}{}",
            if how == "flow" { "\n[recovery]\ndir = \"store\"\nparts = 2\nepoch = \"50ms\"\n" } else { "" }
        );
        let case = Case::new(&flow);
        case.write("in.jsonl", &rows(&[("a", 1)]));
        let run = match how {
            "flag" => case.wxhost("--recovery store --recovery-parts 2 --epoch 50ms"),
            "environment" => case.wxhost("").env("WXHOST_RECOVERY", "store").env("WXHOST_RECOVERY_PARTS", "2"),
            _ => case.wxhost(""),
        };
        run.run().expect(0);
        let files: Vec<String> = crate::support::entries(&case.path("store"))
            .iter()
            .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
            .filter(|name| name.ends_with("sqlite3"))
            .collect();
        assert_eq!(files, ["part-0.sqlite3", "part-1.sqlite3"], "{how}");
    }
    let case = Case::new(SUMS);
    case.write("in.jsonl", &rows(&[("a", 1)]));
    case.run("").expect(0);
    assert_eq!(
        crate::support::files_below(case.dir.path()),
        ["flow.toml", "in.jsonl", "out.jsonl"],
        "without recovery"
    );
}

/// How often each value of a metric came so far into `counts.jsonl`, and at the end into `totals.jsonl`; and lines of a file
/// beside it.
const COUNTS: &str = r#"
flow = "counts"

[[step]]
name = "metric"
op = "input"
source = { demo = "random_metric", interval = "1ms", count = 200000 }

[[step]]
name = "key"
op = "key_on"
key = "value"

[[step]]
name = "running"
op = "aggregate_running"
aggregate = { n = "count(*)" }

[[step]]
name = "counts"
op = "output"
sink = { file = "counts.jsonl" }

[[step]]
name = "final"
op = "aggregate_final"
from = "key"
aggregate = { n = "count(*)" }

[[step]]
name = "totals"
op = "output"
sink = { file = "totals.jsonl" }

[[step]]
name = "in"
op = "input"
source = { file = "in.txt" }

[[step]]
name = "lines"
op = "output"
sink = { file = "out.txt" }
"#;

#[test]
fn a_stop_by_signal_loses_and_repeats_nothing() {
    let case = Case::new(COUNTS);
    case.write("in.txt", &(0..400_000).fold(String::new(), |text, row| text + &format!("line {row}\n")));
    for (stop, name) in ["TERM", "INT", "TERM"].into_iter().enumerate() {
        let committed = || std::fs::metadata(case.path("counts.jsonl")).map_or(0, |file| file.len());
        let before = committed();
        let child = case.wxhost("--recovery store --epoch 20ms").args(&format!("-w {}", stop + 1)).start();
        wait_until("rows to be committed", || committed() > before);
        signal(&child, name);
        Done::of(child.wait_with_output().unwrap()).expect(0);
        // The metric goes on for minutes. A stop that were taken for its end would write totals.
        assert_eq!(std::fs::read_to_string(case.path("totals.jsonl")).unwrap_or_default(), "", "it has not ended");
    }
    let fast = COUNTS.replace("1ms", "0s");
    case.write("flow.toml", &fast);
    case.run("--recovery store").expect(0);
    let whole = Case::new(&fast);
    whole.write("in.txt", &case.read("in.txt"));
    whole.run("").expect(0);
    // Workers take keys in an order of their own, and times are of the pace.
    for name in ["counts.jsonl", "totals.jsonl"] {
        let [rows, wanted] = [&case, &whole].map(|case| {
            let text = case.read(name);
            let without_time = |line| {
                let mut row: serde_json::Value = serde_json::from_str(line).unwrap();
                row.as_object_mut().unwrap().remove("time");
                row.to_string()
            };
            let mut rows: Vec<String> = text.lines().map(without_time).collect();
            rows.sort_unstable();
            rows
        });
        assert!(rows == wanted, "{name}: rows were lost or repeated: {} of {}", rows.len(), wanted.len());
    }
    assert!(case.read("out.txt") == case.read("in.txt"), "lines were lost or repeated");
}

#[test]
fn what_cannot_be_gone_on_from_is_refused() {
    let case = Case::new(SUMS);
    case.write("in.jsonl", &rows(&[("a", 1), ("b", 2), ("a", 3)]));
    case.run("--recovery store").expect(0);
    copy_folder(&case.path("store"), &case.path("old"));
    append(&case.path("in.jsonl"), &rows(&[("b", 10)]));
    case.run("--recovery store").expect(0);
    let refused = |code: i32, store: &str, wanted: &[&str]| {
        let done = case.run(&format!("--recovery {store}")).expect(code);
        for wanted in wanted {
            assert!(done.stderr.contains(wanted), "{wanted:?} is not in {}", done.stderr);
        }
    };
    // A store that is older than the output.
    refused(78, "old", &["out.jsonl", "help:"]);
    // Another flow.
    case.write("flow.toml", &SUMS.replace("flow = \"sums\"", "flow = \"other\""));
    refused(78, "store", &["it is of flow \"sums\", not of \"other\"", "give each flow a folder of its own"]);
    case.write("flow.toml", SUMS);
    // An input that was cut, and one that was replaced.
    let input = case.read("in.jsonl");
    case.write("in.jsonl", &rows(&[("a", 1)]));
    refused(65, "store", &["in.jsonl", "help:"]);
    case.write("in.jsonl", &input.replace("\"a\"", "\"x\""));
    refused(65, "store", &["in.jsonl", "help:"]);
    case.write("in.jsonl", &input);
    // An output that was changed.
    let output = case.read("out.jsonl");
    case.write("out.jsonl", "");
    refused(78, "store", &["out.jsonl", "help:"]);
    case.write("out.jsonl", &output);
    // A part that is missing, and one from another time.
    std::fs::rename(case.path("store/part-3.sqlite3"), case.path("kept")).unwrap();
    refused(78, "store", &["part-3.sqlite3: missing", "help:"]);
    std::fs::rename(case.path("kept"), case.path("store/part-3.sqlite3")).unwrap();
    case.run("--recovery store").expect(0);
    assert_eq!(case.read("out.jsonl"), output);
}

#[test]
fn a_savepoint_is_gone_back_to() {
    let case = Case::new(SUMS);
    case.write("in.jsonl", &rows(&[("a", 1), ("b", 2)]));
    case.run("--recovery store").expect(0);
    let made = wxhost("recovery --recovery store savepoint before").dir(case.dir.path()).run();
    made.expect(0);
    std::fs::copy(case.path("out.jsonl"), case.path("out-before.jsonl")).unwrap();
    append(&case.path("in.jsonl"), &rows(&[("a", 7)]));
    case.run("--recovery store").expect(0);
    let wanted = case.read("out.jsonl");
    let back = "--recovery back --from-savepoint store/savepoints/before";
    // What readers have seen is newer than the savepoint.
    let done = case.run(back).expect(78);
    assert!(done.stderr.contains("out.jsonl has"), "{}", done.stderr);
    std::fs::copy(case.path("out-before.jsonl"), case.path("out.jsonl")).unwrap();
    for workers in [2, 1] {
        case.run(&format!("{back} -w {workers}")).expect(0);
        assert_eq!(case.read("out.jsonl"), wanted, "with {workers} workers");
    }
    // Where there is a store, only the one that was made of it is gone on with.
    let done = case.run("--recovery store --from-savepoint store/savepoints/before").expect(78);
    assert!(done.stderr.contains("there is a store in this folder"), "{}", done.stderr);
    let done = case.run("--from-savepoint store/savepoints/before").expect(2);
    assert!(done.stderr.contains("--recovery DIR"), "{}", done.stderr);
    let done = case.run("--recovery other --from-savepoint store/savepoints/after").expect(78);
    assert!(done.stderr.contains("store/savepoints/after"), "{}", done.stderr);
}

#[test]
fn a_savepoint_is_gone_back_to_though_an_execution_behind_it_was_killed() {
    let case = Case::new(&SUMS.replace("file = \"in.jsonl\", chunk = \"64KiB\"", "testing = \"in.jsonl\""));
    case.write("in.jsonl", &rows(&[("a", 1), ("b", 2)]));
    case.run("--recovery store").expect(0);
    wxhost("recovery --recovery store savepoint before").dir(case.dir.path()).run().expect(0);
    let input = rows(&[("a", 1), ("b", 2), ("a", 7)]);
    case.write("in.jsonl", &(input.clone() + "{\"@pause\":\"1h\"}\n"));
    let child = case.wxhost("--recovery store --epoch 1h").start();
    let is_staged = || crate::support::files_below(case.dir.path()).iter().any(|file| file.starts_with(".out.jsonl."));
    wait_until("something to be staged", is_staged);
    signal(&child, "KILL");
    child.wait_with_output().unwrap();
    assert!(is_staged(), "the dead execution has left a file");
    case.write("in.jsonl", &input);
    case.run("--recovery back --from-savepoint store/savepoints/before").expect(0);
    assert!(case.read("out.jsonl").ends_with("{\"k\":\"a\",\"n\":7,\"sum\":8}\n"), "{}", case.read("out.jsonl"));
    assert!(!is_staged(), "what was given up is gone");
}

#[test]
fn a_time_that_came_while_nothing_ran_is_made_up_for() {
    let flow = r#"
flow = "late"

[[step]]
name = "in"
op = "input"
source = { demo = "random_metric", metric = "m", interval = "1h" }

[[step]]
name = "key"
op = "key_on"
key = "metric"

[[step]]
name = "lists"
op = "collect"
max_size = 10
timeout = "2s"
as = "list"

[[step]]
name = "out"
op = "output"
sink = { file = "out.jsonl" }

[[step]]
name = "all"
op = "output"
from = "in"
sink = { file = "all.jsonl" }
"#;
    let case = Case::new(flow);
    let run = || case.wxhost("--recovery store --epoch 20ms").start();
    let lines = |name: &str| std::fs::read_to_string(case.path(name)).map_or(0, |text| text.lines().count());
    let child = run();
    wait_until("the row to be committed", || lines("all.jsonl") == 1);
    signal(&child, "KILL");
    child.wait_with_output().unwrap();
    assert_eq!(lines("out.jsonl"), 0, "the row still waits");
    pass(std::time::Duration::from_secs(2));
    let child = run();
    wait_until("the list", || lines("out.jsonl") == 1);
    signal(&child, "TERM");
    Done::of(child.wait_with_output().unwrap()).expect(0);
    assert_eq!((lines("out.jsonl"), lines("all.jsonl")), (1, 1));
}

#[test]
fn two_executions_at_once_are_refused() {
    let flow = SUMS.replace(
        "file = \"in.jsonl\", chunk = \"64KiB\", schema = { k = \"string\", n = \"int64\" }",
        "demo = \"random_metric\", metric = \"m\", interval = \"10ms\"",
    );
    let flow = flow.replace("key = \"k\"", "key = \"metric\"").replace("sum(n)", "sum(value)");
    let case = Case::new(&flow);
    let child = case.wxhost("--recovery store --epoch 20ms").start();
    wait_until("rows to be committed", || case.path("out.jsonl").exists());
    let done = case.run("--recovery store").expect(69);
    assert!(done.stderr.contains("part-0.sqlite3") && done.stderr.contains("help:"), "{}", done.stderr);
    signal(&child, "TERM");
    Done::of(child.wait_with_output().unwrap()).expect(0);
    let rows = case.read("out.jsonl").lines().count();
    let child = case.wxhost("--recovery store --epoch 20ms").start();
    wait_until("more rows", || case.read("out.jsonl").lines().count() > rows);
    signal(&child, "TERM");
    Done::of(child.wait_with_output().unwrap()).expect(0);
}
