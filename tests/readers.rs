//! The Parquet files of the example flow, read back with other programs: pyarrow, DuckDB and polars.

use crate::support::{files_below, plugins, python, root, temp_dir, wxhost};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

#[test]
fn other_readers_find_every_row_of_the_example_flow() {
    let python = python::with_readers();
    let flow = std::fs::read_to_string(root().join("plugins/streams-to-parquet/flow.toml")).unwrap();
    let flow = replaced(&flow, "path = \".\"", "path = \"${env:PLUGINS}/streams-to-parquet.wasm\"");
    // An hour around the end of a year: year, month and day have two values each.
    let events = "users = 50, sessions_per_day = 100, seconds = 3600, start = \"2023-12-31T23:30:00Z\"";
    let flow = replaced(&flow, "users = 5, sessions_per_day = 100, seconds = 10", events);
    let wanted = simulated(&flow);
    assert!(wanted.len() > 1000, "{} events", wanted.len());
    for workers in [1, 3] {
        let dir = temp_dir();
        let summary = run(&flow, workers, dir.path());
        assert_eq!(summary["rows_read"], wanted.len(), "{workers} workers");
        let folder = dir.path().join("parquet_demo_out");
        assert_eq!(wrong_names(&folder), Vec::<String>::new(), "{workers} workers");
        for reader in ["pyarrow", "duckdb", "polars"] {
            let rows = read(python, reader, &folder);
            assert_eq!(rows.len(), wanted.len(), "rows that {reader} finds, {workers} workers");
            let different = rows.iter().zip(&wanted).find(|(row, wanted)| row != wanted);
            assert_eq!(different, None, "as {reader} reads it, {workers} workers");
        }
    }
}

fn replaced(text: &str, from: &str, to: &str) -> String {
    assert_eq!(text.matches(from).count(), 1, "{from} in {text}");
    text.replace(from, to)
}

/// Runs a flow in a folder, and returns its summary.
fn run(flow: &str, workers: usize, dir: &Path) -> Value {
    std::fs::write(dir.join("flow.toml"), flow).unwrap();
    let run = wxhost(&format!("run flow.toml --format json -w {workers}")).env("PLUGINS", plugins::folder());
    serde_json::from_str(&run.dir(dir).run().expect(0).stderr).unwrap()
}

/// The rows that should be in the files: the same simulated events by way of JSON lines, with the date of each.
fn simulated(flow: &str) -> Vec<Value> {
    let first_steps = flow.split("[[step]]\nname = \"add_date_columns\"").next().unwrap();
    let sink = "[[step]]\nname = \"out\"\nop = \"output\"\nsink = { file = \"events.jsonl\", format = \"json\" }\n";
    let dir = temp_dir();
    run(&(first_steps.to_owned() + sink), 1, dir.path());
    let mut events = rows(&std::fs::read_to_string(dir.path().join("events.jsonl")).unwrap());
    for event in &mut events {
        let time = event["event_timestamp"].as_str().unwrap().to_owned();
        for (name, place) in [("year", 0..4), ("month", 5..7), ("day", 8..10)] {
            event[name] = time[place].parse::<u32>().unwrap().into();
        }
    }
    events
}

/// Rows of JSON lines by their event.
fn rows(lines: &str) -> Vec<Value> {
    let mut rows: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    rows.sort_by_key(|row| row["event_id"].as_str().unwrap().to_owned());
    rows
}

fn read(python: &Path, reader: &str, folder: &Path) -> Vec<Value> {
    let script = root().join("tests/readers/read.py");
    let done = Command::new(python).arg(script).arg(reader).arg(folder).output().unwrap();
    assert!(done.status.success(), "{reader}: {}", String::from_utf8_lossy(&done.stderr));
    rows(&String::from_utf8(done.stdout).unwrap())
}

/// The files that are not named as a reader of such folders expects it, such as those that are not finished.
fn wrong_names(folder: &Path) -> Vec<String> {
    let keys = ["year=", "month=", "day=", "page_url_path="];
    let is_right = |file: &String| {
        let parts: Vec<&str> = file.split('/').collect();
        parts.len() == keys.len() + 1
            && parts.iter().zip(keys).all(|(part, key)| part.starts_with(key))
            && !parts[keys.len()].starts_with('.')
            && file.ends_with(".parquet")
    };
    files_below(folder).into_iter().filter(|file| !is_right(file)).collect()
}
