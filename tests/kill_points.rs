//! A small flow that is killed at every call by which it changes a file, or told that the call failed: whatever comes of
//! that, the run after it makes the output that an undisturbed one makes.

use crate::support::{Done, Wxhost, root, temp_dir, wxhost};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Rows with pauses between, so that several epochs go by. The running sums are states; each row goes into a file of lines
/// and into Parquet.
const FLOW: &str = r#"
flow = "points"

[[step]]
name = "in"
op = "input"
source = { testing = [
  { k = "a", n = 1 }, { k = "b", n = 2 }, { "@pause" = "15ms" },
  { k = "a", n = 3 }, { k = "c", n = 4 }, { "@pause" = "15ms" },
  { k = "c", n = 5 }, { k = "b", n = 6 }, { "@pause" = "15ms" },
  { k = "a", n = 7 }
] }

[[step]]
name = "key"
op = "key_on"
key = "k"

[[step]]
name = "sums"
op = "aggregate_running"
aggregate = { sum = "sum(n)", rows = "count(*)" }

[[step]]
name = "lines"
op = "output"
sink = { file = "out.jsonl" }

[[step]]
name = "table"
op = "output"
from = "key"
sink = { parquet = "out", partition_by = ["k"], roll_rows = 2 }
"#;

const WANTED: &str = r#"{"k":"a","n":1,"sum":1,"rows":1}
{"k":"b","n":2,"sum":2,"rows":1}
{"k":"a","n":3,"sum":4,"rows":2}
{"k":"c","n":4,"sum":4,"rows":1}
{"k":"c","n":5,"sum":9,"rows":2}
{"k":"b","n":6,"sum":8,"rows":2}
{"k":"a","n":7,"sum":11,"rows":3}
"#;

/// The library that is preloaded.
fn shim() -> &'static Path {
    static SHIM: OnceLock<PathBuf> = OnceLock::new();
    SHIM.get_or_init(|| {
        let library = Path::new(env!("CARGO_TARGET_TMPDIR")).canonicalize().unwrap().join("shim.so");
        let new = library.with_extension(std::process::id().to_string());
        let source = root().join("tests/kills/shim.c");
        let built =
            Command::new("cc").args(["-shared", "-fPIC", "-O1", "-o"]).arg(&new).arg(source).arg("-ldl").output();
        let built = built.expect("a C compiler is needed, as for SQLite");
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        std::fs::rename(new, &library).unwrap();
        library
    })
}

fn flow(dir: &Path) -> Wxhost {
    let flags = "run flow.toml --no-progress --summary=never --recovery store --recovery-parts 2 --epoch 10ms";
    wxhost(flags).dir(dir)
}

/// Runs the flow with a fault at a call, and then without. Returns whether the fault came.
fn run_with_fault(call: usize, fault: &[(&str, &str)]) -> bool {
    let dir = temp_dir();
    std::fs::write(dir.path().join("flow.toml"), FLOW).unwrap();
    let mut first = flow(dir.path());
    for (name, value) in fault {
        first = first.env(name, value);
    }
    let root = dir.path().canonicalize().unwrap();
    let first = first.env("SHIM_ROOT", root).env("SHIM_AT", call.to_string()).env("LD_PRELOAD", shim()).run();
    let what = format!("call {call} with {fault:?}");
    let is_through = first.code == Some(0);
    if !is_through {
        assert!(matches!(first.code, None | Some(74)) && !first.panicked(), "{what}: {}", first.describe());
    }
    check(&what, dir.path(), &first, &flow(dir.path()).run());
    !is_through
}

fn check(what: &str, dir: &Path, first: &Done, second: &Done) {
    assert_eq!(second.code, Some(0), "{what}: {}after {}", second.describe(), first.describe());
    let lines = std::fs::read_to_string(dir.join("out.jsonl")).unwrap_or_default();
    assert_eq!(lines, WANTED, "{what}");
    let mut rows: Vec<String> =
        crate::kills::rows_of(&dir.join("out")).into_iter().map(|(row, count)| format!("{row} {count}")).collect();
    rows.sort();
    assert_eq!(rows, ["k=a 1 1", "k=a 3 1", "k=a 7 1", "k=b 2 1", "k=b 6 1", "k=c 4 1", "k=c 5 1"], "{what}");
}

/// Goes through all calls, until none is left for a fault to come at.
fn at_every_call(fault: &[(&str, &str)]) {
    let (mut call, mut through) = (1, 0);
    // Which calls there are depends on when epochs end, and some may fail without harm.
    while through < 12 {
        through = if run_with_fault(call, fault) { 0 } else { through + 1 };
        call += 1;
    }
    assert!(call > 60, "{call} calls");
    println!("{call} calls with {fault:?}");
}

#[test]
fn a_kill_at_any_call_is_survived() {
    at_every_call(&[]);
}

#[test]
fn a_kill_in_the_middle_of_any_write_is_survived() {
    at_every_call(&[("SHIM_TEAR", "1")]);
}

#[test]
fn a_disk_that_fails_at_any_call_is_survived() {
    // EIO, once.
    at_every_call(&[("SHIM_ERRNO", "5")]);
}

#[test]
fn a_disk_that_is_full_from_any_call_on_is_survived() {
    // ENOSPC, from then on.
    at_every_call(&[("SHIM_ERRNO", "28"), ("SHIM_STAYS", "1")]);
}
