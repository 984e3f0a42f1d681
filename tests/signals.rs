//! Signals end a flow whose source has no end, and what it wrote is whole.

use crate::support::process::{signal, wait_until};
use crate::support::{Done, files_below, temp_dir, wxhost};
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::Child;

/// Sources without an end: name, source, a row that it is sent, and how many of it.
const SOURCES: [(&str, &str, &str, usize); 3] = [
    ("metrics without a pause", r#"{ demo = "random_metric", interval = "0s" }"#, "", 0),
    ("metrics at a pace", r#"{ demo = "random_metric", interval = "1ms" }"#, "", 0),
    (
        "stdin held open",
        r#"{ stdin = true, format = "json", schema = { value = "int64" } }"#,
        "{\"value\":1}\n",
        10_000,
    ),
];

/// Runs each source with each signal, with one worker and with three, and reports what does not hold.
fn for_each_case(sink: &str, check: impl Fn(Child, &Path, &str) -> Result<(), String>) {
    let mut failed = Vec::new();
    for (name, source, row, rows) in SOURCES {
        for signal in ["INT", "TERM"] {
            for workers in [1, 3] {
                let dir = temp_dir();
                let flow = format!(
                    "flow = \"endless\"\n\n\
                     [[step]]\nname = \"in\"\nop = \"input\"\nsource = {source}\n\n\
                     [[step]]\nname = \"spread\"\nop = \"redistribute\"\n\n\
                     [[step]]\nname = \"out\"\nop = \"output\"\nsink = {sink}\n"
                );
                std::fs::write(dir.path().join("flow.toml"), flow).unwrap();
                // A file gets its name when an epoch closes; here none does before the end.
                let run = format!("run flow.toml --format json --epoch 1h -w {workers}");
                let mut child = wxhost(&run).dir(dir.path()).start();
                // Held open to the end of the case.
                let mut stdin = child.stdin.take().unwrap();
                stdin.write_all(row.repeat(rows).as_bytes()).unwrap();
                if let Err(what) = check(child, dir.path(), signal) {
                    failed.push(format!("=== {name}, SIG{signal}, {workers} workers: {what}"));
                }
                drop(stdin);
            }
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// Checks how a flow ended, and that its rows are whole and as many as it says.
fn check_rows(done: &Done, rows: &str) -> Result<(), String> {
    let wrong = |what: &str| Err(format!("{what}\n{}", done.describe()));
    if done.code != Some(0) {
        return wrong("wanted exit 0");
    }
    let Some((_, summary)) = done.stderr.split_once("a second signal stops at once\n") else {
        return wrong("it does not say that it ends");
    };
    let Ok(summary) = serde_json::from_str::<Value>(summary) else {
        return wrong("something stands beside the summary");
    };
    if !rows.ends_with('\n') || rows.lines().any(|line| serde_json::from_str::<Value>(line).is_err()) {
        return wrong("a row is cut off");
    }
    let written = rows.lines().count();
    if summary["rows_read"] != written {
        return wrong(&format!("{written} rows were written of {}", summary["rows_read"]));
    }
    Ok(())
}

#[test]
fn all_that_was_read_is_on_stdout() {
    for_each_case("\"stdout\"", |mut child, _, name| {
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut rows = String::new();
        stdout.read_line(&mut rows).unwrap();
        signal(&child, name);
        stdout.read_to_string(&mut rows).unwrap();
        check_rows(&Done::of(child.wait_with_output().unwrap()), &rows)
    });
}

#[test]
fn a_file_gets_its_name_with_all_that_was_read() {
    for_each_case("{ file = \"out.jsonl\" }", |child, dir, name| {
        let is_begun =
            |file: &String| file != "flow.toml" && std::fs::metadata(dir.join(file)).is_ok_and(|m| m.len() > 0);
        wait_until("the first rows", || files_below(dir).iter().any(is_begun));
        if dir.join("out.jsonl").exists() {
            return Err("the file has its name while it is written".to_owned());
        }
        signal(&child, name);
        let done = Done::of(child.wait_with_output().unwrap());
        if files_below(dir) != ["flow.toml", "out.jsonl"] {
            return Err(format!("left are {:?}\n{}", files_below(dir), done.describe()));
        }
        check_rows(&done, &std::fs::read_to_string(dir.join("out.jsonl")).unwrap())
    });
}

#[test]
fn a_second_signal_stops_what_cannot_end() {
    // Nobody reads what is written, so the flow cannot finish it.
    let dir = temp_dir();
    let flow = "flow = \"stuck\"\n\n\
                [[step]]\nname = \"in\"\nop = \"input\"\nsource = { demo = \"random_metric\", interval = \"0s\" }\n\n\
                [[step]]\nname = \"out\"\nop = \"output\"\nsink = \"stdout\"\n";
    std::fs::write(dir.path().join("flow.toml"), flow).unwrap();
    let mut child = wxhost("run flow.toml").dir(dir.path()).start();
    let mut stdout = BufReader::new(child.stdout.take().unwrap());
    stdout.read_line(&mut String::new()).unwrap();
    signal(&child, "INT");
    let mut note = String::new();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    stderr.read_line(&mut note).unwrap();
    assert_eq!(note, "finishing what is under way; a second signal stops at once\n");
    assert_eq!(child.try_wait().unwrap(), None, "it ended with its output unread");
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
    drop(stdout);
}
