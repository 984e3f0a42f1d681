//! What a flow takes from the machine while it waits: a bounded piece of memory, and no processor.

use crate::support::process::{pass, proc, signal, wait_until};
use crate::support::{plugins, temp_dir, wxhost};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout};
use std::sync::OnceLock;
use std::time::Duration;

/// The most memory that a flow may have, however long its input.
const MOST_MEMORY: u64 = 300 << 20;
/// Rows of the input, of 150 bytes about.
const ROWS: usize = 1_000_000;

/// The events of `tests/bench` in one file, masked and filtered in Wasm.
const FLOW: &str = r#"
flow = "slow"

[plugins.bench]
path = "${env:PLUGIN}"

[[step]]
name = "events"
op = "input"
source = { file = "${env:EVENTS}", format = "json", schema = { user_id = "string", email = "string", page_url_path = "string", event_timestamp = "string", value = "float64" } }

[[step]]
name = "mask"
op = "map"
fn = "bench.mask_email"

[[step]]
name = "drop"
op = "filter"
fn = "bench.not_bytewax"

[[step]]
name = "out"
op = "output"
sink = "stdout"
"#;

/// Makes the input once: 150 MB, of which every tenth row is dropped.
fn events() -> PathBuf {
    // Once: a second one would take the file away from under a flow that reads the first.
    static EVENTS: OnceLock<PathBuf> = OnceLock::new();
    EVENTS.get_or_init(make_events).clone()
}

fn make_events() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).canonicalize().unwrap();
    let path = folder.join("events.jsonl");
    if path.exists() {
        return path;
    }
    let mut text = String::with_capacity(ROWS * 160);
    for row in 0..ROWS {
        let domain = if row.is_multiple_of(10) { "bytewax.io" } else { "example.com" };
        let (page, minute, second, value) = (row % 1000, row / 60 % 60, row % 60, row % 777);
        let _ = writeln!(
            text,
            r#"{{"user_id":"user-{row:09}","email":"name{row:09}@{domain}","page_url_path":"/page/{page:03}","event_timestamp":"2023-01-01T00:{minute:02}:{second:02}.000Z","value":{value}.5}}"#
        );
    }
    let new = folder.join(format!("events.jsonl.{}", std::process::id()));
    std::fs::write(&new, text).unwrap();
    std::fs::rename(new, &path).unwrap();
    path
}

fn start(workers: usize, events: &Path, dir: &Path) -> (Child, ChildStdout) {
    std::fs::write(dir.join("flow.toml"), FLOW).unwrap();
    let run = wxhost(&format!("run flow.toml --format json -w {workers}")).dir(dir);
    let mut child = run.env("PLUGIN", plugins::bench()).env("EVENTS", events).start();
    let stdout = child.stdout.take().unwrap();
    (child, stdout)
}

/// Reads a little at a time, each time until the flow waits for more to be read. Returns how much was read.
fn read_slowly(child: &Child, stdout: &mut ChildStdout, events: &Path) -> usize {
    let mut block = [0; 64 << 10];
    let mut read = 0;
    for _ in 0..8 {
        stdout.read_exact(&mut block).unwrap();
        read += block.iter().filter(|byte| **byte == b'\n').count();
        let (mut last, mut times) = (None, 0);
        wait_until("the flow to stop reading", || {
            let at = proc::offset(child, events);
            let is_still = proc::is_asleep(child) && at.is_some() && at == last;
            (last, times) = (at, if is_still { times + 1 } else { 0 });
            times == 50
        });
        let length = std::fs::metadata(events).unwrap().len();
        let (at, memory) = (last.unwrap(), proc::peak_memory(child));
        assert!(at < length / 4, "read {at} bytes of {length} for a sink that took {read} rows");
        assert!(memory < MOST_MEMORY, "{} MiB", memory >> 20);
    }
    read
}

/// Reads to the end, and returns the number of rows. The last of them is whole.
fn read_quickly(stdout: &mut ChildStdout) -> usize {
    let mut block = vec![0; 1 << 20];
    let (mut rows, mut last) = (0, b'\n');
    loop {
        match stdout.read(&mut block).unwrap() {
            0 => break,
            length => {
                rows += block[..length].iter().filter(|byte| **byte == b'\n').count();
                last = block[length - 1];
            }
        }
    }
    assert_eq!(last, b'\n');
    rows
}

/// Waits for the end of a flow, and returns how many rows it read and wrote.
fn end(child: Child) -> (u64, u64) {
    let done = child.wait_with_output().unwrap();
    let stderr = String::from_utf8(done.stderr).unwrap();
    assert_eq!(done.status.code(), Some(0), "{stderr}");
    // A note may stand before it.
    let summary: serde_json::Value = serde_json::from_str(&stderr[stderr.find("{\n").unwrap()..]).unwrap();
    let sink = summary["steps"].as_array().unwrap().last().unwrap();
    (summary["rows_read"].as_u64().unwrap(), sink["rows_in"].as_u64().unwrap())
}

#[test]
fn a_slow_reader_slows_the_flow_and_does_not_fill_the_memory() {
    let events = events();
    let dir = temp_dir();
    let (child, mut stdout) = start(1, &events, dir.path());
    let written = read_slowly(&child, &mut stdout, &events) + read_quickly(&mut stdout);
    assert_eq!(end(child), (ROWS as u64, written as u64));
    assert_eq!(written, ROWS / 10 * 9);
}

#[test]
fn a_flow_with_a_slow_reader_can_be_ended() {
    let events = events();
    let dir = temp_dir();
    let (child, mut stdout) = start(3, &events, dir.path());
    let first = read_slowly(&child, &mut stdout, &events);
    signal(&child, "TERM");
    let written = first + read_quickly(&mut stdout);
    let (rows_read, rows_written) = end(child);
    assert_eq!(rows_written, written as u64);
    assert!(rows_read < ROWS as u64 / 4, "{rows_read} rows were read");
}

/// The column `value` of a source as text through Wasm.
fn idle_flow(source: &str) -> String {
    format!(
        r#"
flow = "idle"

[plugins.bench]
path = "${{env:PLUGIN}}"

[[step]]
name = "in"
op = "input"
source = {source}

[[step]]
name = "text"
op = "select"
columns = {{ value = {{ column = "value", type = "string" }} }}

[[step]]
name = "upper"
op = "map"
fn = "bench.upper"

[[step]]
name = "out"
op = "output"
sink = "stdout"
"#
    )
}

/// Windows of rows from standard input, some of which wait for their end, in idle time.
const IDLE_WINDOWS: &str = r#"
flow = "idle"

[plugins.bench]
path = "${env:PLUGIN}"

[[step]]
name = "in"
op = "input"
source = { stdin = true, format = "json", schema = { k = "string", at = "timestamp", value = "int64" } }

[[step]]
name = "by_k"
op = "key_on"
key = "k"

[[step]]
name = "sums"
op = "fold_window"
fn = "bench.CountSum"
clock = { event = "at", wait = "1m" }
window = { tumbling = "1h" }

[[step]]
name = "out"
op = "output"
sink = "stdout"
"#;

/// Rows of the past, of which the first two are in a window that is over.
const PAST: &str = r#"{"k":"a","at":"2001-01-01T00:00:00Z","value":1}
{"k":"b","at":"2001-01-01T00:00:00Z","value":1}
{"k":"a","at":"2001-01-01T02:00:00Z","value":1}
"#;

#[test]
fn a_flow_that_waits_for_input_takes_no_processor() {
    let mut running = Vec::new();
    for (source, flow, sent, workers) in [
        ("stdin", idle_flow("\"stdin\""), "first\n", 1),
        ("stdin", idle_flow("\"stdin\""), "first\n", 3),
        ("metrics", idle_flow(r#"{ demo = "random_metric", interval = "1h" }"#), "", 1),
        ("windows over times of the past", IDLE_WINDOWS.to_owned(), PAST, 1),
        ("windows over times of the past", IDLE_WINDOWS.to_owned(), PAST, 3),
    ] {
        let dir = temp_dir();
        std::fs::write(dir.path().join("flow.toml"), flow).unwrap();
        let call = wxhost("run flow.toml --summary=never").arg(format!("-w{workers}")).dir(dir.path());
        let mut child = call.env("PLUGIN", plugins::bench()).start();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(sent.as_bytes()).unwrap();
        // The first row is through: all is set up.
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "{source}");
        running.push((child, stdin, stdout, dir, format!("{source} with {workers} workers")));
    }
    for (child, .., what) in &running {
        wait_until(what, || proc::is_asleep(child));
    }
    let ticks = || running.iter().map(|(child, ..)| proc::ticks(child)).collect::<Vec<u64>>();
    let before = ticks();
    pass(Duration::from_secs(1));
    let after = ticks();
    for ((before, after), (.., what)) in before.iter().zip(&after).zip(&running) {
        assert!(after - before <= 2, "{what}: {} ticks of 10 ms in a second", after - before);
    }
    for (mut child, stdin, _stdout, _dir, what) in running {
        signal(&child, "TERM");
        assert_eq!(child.wait().unwrap().code(), Some(0), "{what}");
        drop(stdin);
    }
}

/// Native and Wasm windows of an hour, two rows in each.
const WINDOWS: &str = r#"
flow = "windows"

[plugins.bench]
path = "${env:PLUGIN}"

[[step]]
name = "in"
op = "input"
source = { stdin = true, format = "json", schema = { k = "int64", at = "timestamp", value = "int64" } }

[[step]]
name = "by_k"
op = "key_on"
key = "k"

[[step]]
name = "native"
op = "aggregate_window"
aggregate = { rows = "count(*)", sum = "sum(value)" }
clock = { event = "at", wait = "1h" }
window = { tumbling = "1h" }

[[step]]
name = "wasm"
op = "fold_window"
from = "by_k"
fn = "bench.CountSum"
clock = { event = "at", wait = "1h" }
window = { tumbling = "1h" }

[[step]]
name = "out_native"
op = "output"
from = "native"
sink = { file = "native.jsonl" }

[[step]]
name = "out_wasm"
op = "output"
from = "wasm"
sink = { file = "wasm.jsonl" }
"#;
/// Keys of the windows. Each has two rows an hour.
const KEYS: usize = 1000;

/// The most memory of the flow of windows over so many hours.
fn memory_of_windows(hours: usize) -> u64 {
    let dir = temp_dir();
    std::fs::write(dir.path().join("flow.toml"), WINDOWS).unwrap();
    let call = wxhost("run flow.toml --summary=never -w1").dir(dir.path());
    let mut child = call.env("PLUGIN", plugins::bench()).start();
    let mut stdin = child.stdin.take().unwrap();
    let mut text = String::new();
    for half_hour in 0..2 * hours {
        text.clear();
        let (day, hour, minute) = (half_hour / 48 + 1, half_hour / 2 % 24, half_hour % 2 * 30);
        for k in 0..KEYS {
            let _ = writeln!(text, r#"{{"k":{k},"at":"2024-01-{day:02}T{hour:02}:{minute:02}:00Z","value":{k}}}"#);
        }
        stdin.write_all(text.as_bytes()).unwrap();
    }
    // All is read, and nothing ended yet.
    wait_until("the flow to wait for input", || proc::is_asleep(&child));
    let memory = proc::peak_memory(&child);
    drop(stdin);
    assert_eq!(child.wait().unwrap().code(), Some(0));
    for file in ["native.jsonl", "wasm.jsonl"] {
        let written = std::fs::read_to_string(dir.path().join(file)).unwrap();
        assert_eq!(written.lines().count(), hours * KEYS, "{file}");
    }
    memory
}

#[test]
fn windows_that_are_over_take_no_memory() {
    // 60,000 windows and 480,000, in each of the two steps: if those of one stayed, they would take tens of MiB.
    let (short, long) = (memory_of_windows(60), memory_of_windows(480));
    assert!(long * 10 <= short * 13, "{} MiB, and {} MiB for 8 times the rows", short >> 20, long >> 20);
}
