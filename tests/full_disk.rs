//! File systems that fill up in the middle of a run, or cannot be written: the program says so, readers see nothing cut,
//! and when there is room again the same call goes on, to the output of a run that nothing disturbed.

use crate::kills::rows_of;
use crate::support::case::Case;
use crate::support::mounts::Mounts;
use crate::support::{Done, files_below};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Rows and keys of the input: enough for several epochs, and for a store of more than a megabyte.
const ROWS: usize = 40_000;
const KEYS: usize = 20_000;

const LINES: &str = r#"
flow = "full"

[[step]]
name = "in"
op = "input"
source = { file = "in.jsonl", chunk = "16KiB", schema = { k = "string", g = "string", n = "int64" } }

[[step]]
name = "key"
op = "key_on"
key = "k"

[[step]]
name = "sums"
op = "aggregate_running"
aggregate = { sum = "sum(n)" }

[[step]]
name = "lines"
op = "output"
sink = { file = "OUT/out.jsonl" }
"#;

const TABLES: &str = r#"
[[step]]
name = "csv"
op = "output"
from = "sums"
sink = { dir = "OUT/csv", name = "part-{}.csv", format = "csv" }

[[step]]
name = "table"
op = "output"
from = "sums"
sink = { parquet = "OUT/table", partition_by = ["g"], roll_rows = 3000 }
"#;

/// What readers find in the outputs.
#[derive(Default)]
struct Found {
    lines: String,
    /// Of all files of CSV, without their headers.
    csv: String,
    /// Rows of Parquet, with how often each is there.
    rows: BTreeMap<String, usize>,
    /// Names of what is staged.
    hidden: Vec<String>,
}

impl Found {
    /// Reads the outputs in a folder. Each file must be whole.
    #[track_caller]
    fn read(out: &Path) -> Found {
        let lines = std::fs::read_to_string(out.join("out.jsonl")).unwrap_or_default();
        assert!(lines.is_empty() || lines.ends_with("}\n"), "a cut line: {:?}", lines.lines().next_back());
        let files = files_below(out);
        let is_hidden = |path: &String| path.split('/').any(|name| name.starts_with('.'));
        let (hidden, files): (Vec<_>, Vec<_>) = files.into_iter().partition(is_hidden);
        let mut csv = String::new();
        for file in files.into_iter().filter(|file| file.ends_with(".csv")) {
            let text = std::fs::read_to_string(out.join(file)).unwrap();
            assert!(text.starts_with("k,g,n,sum\n") && text.ends_with('\n'), "a cut file: {:?}", text.lines().last());
            csv += text.split_once('\n').unwrap().1;
        }
        Found { lines, csv, rows: rows_of(&out.join("table")), hidden }
    }

    /// Fails the test unless all of it is in `all`; with one worker, in the same order.
    #[track_caller]
    fn assert_is_begin_of(&self, all: &Found, workers: usize) {
        for (found, wanted) in [(&self.lines, &all.lines), (&self.csv, &all.csv)] {
            if workers == 1 {
                assert!(wanted.starts_with(found), "{} bytes are not those that begin the output", found.len());
            }
            let wanted = counts(wanted);
            for (line, count) in counts(found) {
                assert!(wanted.get(line).is_some_and(|most| count <= *most), "{line} is there {count} times");
            }
        }
        for (row, count) in &self.rows {
            assert!(all.rows.get(row).is_some_and(|most| count <= most), "{row} is there {count} times");
        }
    }

    /// Fails the test unless it is `all`, and nothing staged is left; with one worker, in the same order.
    #[track_caller]
    fn assert_is(&self, all: &Found, workers: usize) {
        self.assert_is_begin_of(all, workers);
        let lengths = |of: &Found| (of.lines.len(), of.csv.len(), of.rows.values().sum::<usize>());
        assert_eq!(lengths(self), lengths(all));
        assert_eq!(self.hidden, Vec::<String>::new(), "something staged was left");
    }
}

fn counts(text: &str) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    text.lines().for_each(|line| *counts.entry(line).or_default() += 1);
    counts
}

/// A folder with the flow, its input, and the outputs that are wanted.
struct Disk {
    mounts: Mounts,
    wanted: Found,
    out: &'static str,
    store: &'static str,
    // Last: the folder goes when nothing is mounted in it.
    _case: Case,
}

impl Disk {
    /// A flow that writes into the folder `out`, and is kept in `store`. None where mounts are skipped.
    #[track_caller]
    fn new(flow: &str, out: &'static str, store: &'static str) -> Option<Disk> {
        let case = Case::new(&flow.replace("OUT", "wanted"));
        let mounts = Mounts::new(case.dir.path())?;
        let mut rows = String::new();
        for row in 0..ROWS {
            let (key, group, n) = (row * 7919 % KEYS, row % 3, row % 777);
            let _ = writeln!(rows, r#"{{"k":"key-{key}","g":"g{group}","n":{n}}}"#);
        }
        case.write("in.jsonl", &rows);
        case.run("-w 1").expect(0);
        let wanted = Found::read(&case.path("wanted"));
        assert_eq!(wanted.lines.lines().count(), ROWS);
        case.write("flow.toml", &flow.replace("OUT", out));
        Some(Disk { mounts, wanted, out, store, _case: case })
    }

    fn run(&mut self, workers: usize) -> Done {
        let store = self.store;
        self.mounts.wxhost(&format!(
            "run flow.toml --no-progress --summary=never --recovery {store} --recovery-parts 2 --epoch 20ms -w {workers}"
        ))
    }

    fn found(&self) -> Found {
        Found::read(&self.mounts.path(self.out))
    }

    /// Removes what runs have left, and mounts an empty file system.
    fn begin(&mut self, options: &str) {
        self.mounts.mount("disk", options);
        self.mounts.sh("rm -rf plain; mkdir plain").expect(0);
    }

    /// Runs the flow on a file system that cannot take all of it, twice, and then gives it room.
    #[track_caller]
    fn fill(&mut self, options: &str, workers: usize) {
        self.begin(options);
        let mut before = Found::default();
        for _ in 0..2 {
            let failed = self.run(workers).expect(74);
            let is_full = |line: &str| line.contains("the disk is full") || line.contains("No space left on device");
            let names_file = |line: &str| line.contains("disk/");
            let is_told = |line: &str| line.starts_with("error: ") && names_file(line) && is_full(line);
            assert!(failed.stderr.lines().any(is_told), "{options}: {}", failed.describe());
            assert!(failed.stderr.contains("\nhelp: make room"), "{options}: {}", failed.describe());
            let found = self.found();
            found.assert_is_begin_of(&self.wanted, workers);
            // What readers have seen stays.
            assert!(found.lines.starts_with(&before.lines), "{options}: lines were taken back");
            before.assert_is_begin_of(&Found { csv: found.csv.clone(), ..self.found() }, workers);
            before = found;
        }
        self.mounts.remount("disk", "size=64m,nr_inodes=10000");
        self.run(workers).expect(0);
        self.found().assert_is(&self.wanted, workers);
        println!("{options}: {} of {} lines were there", before.lines.lines().count(), ROWS);
    }
}

#[test]
fn a_store_that_has_no_room_goes_on_when_it_has() {
    let Some(mut disk) = Disk::new(LINES, "plain", "disk/store") else { return };
    // While it is made, when it is claimed, in the first epochs, later.
    for size in ["16k", "100k", "160k", "200k", "400k", "900k", "1500k"] {
        disk.fill(&format!("size={size}"), 1);
    }
    for size in ["200k", "900k"] {
        disk.fill(&format!("size={size}"), 3);
    }
    // Room, but for no more files: for the folder, the first, the second, its log.
    for inodes in [1, 2, 3, 5] {
        disk.fill(&format!("size=64m,nr_inodes={inodes}"), 1);
    }
}

#[test]
fn outputs_that_have_no_room_go_on_when_they_have() {
    let Some(mut disk) = Disk::new(&[LINES, TABLES].concat(), "disk", "plain/store") else { return };
    for size in ["4k", "300k", "1m", "2m", "3m"] {
        disk.fill(&format!("size={size}"), 1);
    }
    for size in ["1m", "2500k"] {
        disk.fill(&format!("size={size}"), 3);
    }
}

#[test]
fn a_file_of_lines_is_never_cut_by_a_full_disk() {
    let Some(mut disk) = Disk::new(LINES, "disk", "plain/store") else { return };
    for size in (200..1700).step_by(200) {
        disk.fill(&format!("size={size}k"), 1);
    }
}

#[test]
fn a_store_beside_its_outputs_goes_on_when_both_have_room() {
    let Some(mut disk) = Disk::new(&[LINES, TABLES].concat(), "disk/out", "disk/store") else { return };
    for (size, workers) in [("100k", 1), ("700k", 1), ("2m", 3), ("4m", 1)] {
        disk.fill(&format!("size={size}"), workers);
    }
}
