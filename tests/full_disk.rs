//! File systems that fill up in the middle of a run, or cannot be written: the program says so, readers see nothing cut,
//! and when there is room again the same call goes on, to the output of a run that nothing disturbed.

use crate::kills::rows_of;
use crate::support::case::Case;
use crate::support::mounts::Mounts;
use crate::support::{Done, files_below};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

/// Rows and keys of the input: enough for several epochs.
const ROWS: usize = 40_000;
const KEYS: usize = 20_000;

/// Numbers that each key has in it, of 8 random bytes. No store of all keys is smaller than these (1.28 MB), no file of
/// all rows smaller than their digits (5.12 MB), however many epochs the machine makes of it.
const NUMBERS: u64 = 8;

const LINES: &str = r#"
flow = "full"

[[step]]
name = "in"
op = "input"
source = { file = "in.jsonl", chunk = "64KiB", schema = { k = "string", g = "string", n = "int64" } }

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
    /// Files of text by their names.
    texts: BTreeMap<String, String>,
    /// Rows of Parquet, with how often each is there.
    rows: BTreeMap<String, usize>,
    /// Names of what is staged.
    hidden: Vec<String>,
}

impl Found {
    /// Reads the outputs in a folder. Each file must be whole.
    #[track_caller]
    fn read(out: &Path) -> Found {
        let is_hidden = |path: &String| path.split('/').any(|name| name.starts_with('.'));
        let (hidden, files): (Vec<_>, Vec<_>) = files_below(out).into_iter().partition(is_hidden);
        let mut texts = BTreeMap::new();
        for file in files.into_iter().filter(|file| file.ends_with(".jsonl") || file.ends_with(".csv")) {
            let text = std::fs::read_to_string(out.join(&file)).unwrap();
            let (first, last) = if file.ends_with(".csv") { ("k,g,n,sum\n", "\n") } else { ("{", "}\n") };
            let is_whole = text.starts_with(first) && text.ends_with(last);
            assert!(is_whole, "{file} is cut: {:?}", text.lines().next_back());
            texts.insert(file, text);
        }
        Found { texts, rows: rows_of(&out.join("table")), hidden }
    }

    /// All lines of files whose names end like this.
    fn lines(&self, end: &str) -> Vec<&str> {
        let files = self.texts.iter().filter(|(file, _)| file.ends_with(end));
        files.flat_map(|(_, text)| text.lines().filter(|line| !line.starts_with("k,g"))).collect()
    }

    /// Fails the test unless all of it is in `all`; with one worker, in the same order.
    #[track_caller]
    fn assert_is_in(&self, all: &Found, workers: usize) {
        for end in [".jsonl", ".csv"] {
            let (found, wanted) = (self.lines(end), all.lines(end));
            assert!(workers > 1 || wanted.starts_with(&found), "{} lines do not begin the output", found.len());
            assert_has(&counts(&wanted), &counts(&found));
        }
        assert_has(&all.rows, &self.rows);
    }

    /// Fails the test unless it is `all`, and nothing staged is left; with one worker, in the same order.
    #[track_caller]
    fn assert_is(&self, all: &Found, workers: usize) {
        self.assert_is_in(all, workers);
        all.assert_is_in(self, workers);
        assert!(workers > 1 || self.texts == all.texts, "not byte by byte");
        assert_eq!(self.hidden, Vec::<String>::new(), "something staged was left");
    }

    /// Fails the test if something is gone that `before` has.
    #[track_caller]
    fn assert_goes_on_from(&self, before: &Found) {
        for (file, text) in &before.texts {
            assert!(self.texts.get(file).is_some_and(|now| now.starts_with(text)), "{file}: lines were taken back");
        }
        assert_has(&self.rows, &before.rows);
    }
}

/// A key that cannot be compressed (splitmix64).
fn key(n: usize) -> String {
    let number = |i: u64| {
        let mut bits = (n as u64 * NUMBERS + i).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    };
    (0..NUMBERS).fold(format!("key-{n}-"), |key, i| format!("{key}{:016x}", number(i)))
}

fn counts(lines: &[&str]) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    lines.iter().for_each(|&line| *counts.entry(line.to_owned()).or_default() += 1);
    counts
}

#[track_caller]
fn assert_has(all: &BTreeMap<String, usize>, found: &BTreeMap<String, usize>) {
    let odd = found.iter().find(|(row, count)| all.get(*row).is_none_or(|most| *count > most));
    assert_eq!(odd, None, "a row too many");
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
            let (key, group, n) = (key(row * 7919 % KEYS), row % 3, row % 777);
            let _ = writeln!(rows, r#"{{"k":"{key}","g":"g{group}","n":{n}}}"#);
        }
        case.write("in.jsonl", &rows);
        case.run("-w 1").expect(0);
        let wanted = Found::read(&case.path("wanted"));
        assert_eq!(wanted.lines(".jsonl").len(), ROWS);
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
            expect_told(&failed, "disk/", &["the disk is full", "No space left on device"], "make room");
            let found = self.found();
            found.assert_is_in(&self.wanted, workers);
            found.assert_goes_on_from(&before);
            before = found;
        }
        self.mounts.remount("disk", "size=64m,nr_inodes=10000");
        self.run(workers).expect(0);
        self.found().assert_is(&self.wanted, workers);
        println!("{options}: {} of {ROWS} lines were there", before.lines(".jsonl").len());
    }

    /// All that is on the file system.
    fn bytes(&self) -> BTreeMap<String, Vec<u8>> {
        let disk = self.mounts.path("disk");
        files_below(&disk).into_iter().map(|file| (file.clone(), std::fs::read(disk.join(file)).unwrap())).collect()
    }
}

/// Fails the test unless an error names the file and one of the reasons, and says what to do.
#[track_caller]
fn expect_told(done: &Done, file: &str, reasons: &[&str], help: &str) {
    let is_told = |line: &str| {
        line.starts_with("error: ") && line.contains(file) && reasons.iter().any(|reason| line.contains(reason))
    };
    assert!(done.stderr.lines().any(is_told), "{}", done.describe());
    assert!(done.stderr.contains(&format!("\nhelp: {help}")), "{}", done.describe());
}

#[test]
fn a_store_that_has_no_room_goes_on_when_it_has() {
    let Some(mut disk) = Disk::new(LINES, "plain", "disk/store") else { return };
    // While it is made, when it is claimed, in the first epochs, later.
    for size in ["16k", "100k", "160k", "200k", "400k", "900k", "1200k"] {
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
    for size in ["4k", "1m", "4m", "8m", "11m"] {
        disk.fill(&format!("size={size}"), 1);
    }
    for size in ["4m", "10m"] {
        disk.fill(&format!("size={size}"), 3);
    }
}

#[test]
fn a_file_of_lines_is_never_cut_by_a_full_disk() {
    let Some(mut disk) = Disk::new(LINES, "disk", "plain/store") else { return };
    for size in (600..5000).step_by(600) {
        disk.fill(&format!("size={size}k"), 1);
    }
}

#[test]
fn a_store_beside_its_outputs_goes_on_when_both_have_room() {
    let Some(mut disk) = Disk::new(&[LINES, TABLES].concat(), "disk/out", "disk/store") else { return };
    for (size, workers) in [("100k", 1), ("3m", 1), ("8m", 3), ("12m", 1)] {
        disk.fill(&format!("size={size}"), workers);
    }
}

#[test]
fn a_store_that_is_read_only_is_looked_into_but_not_written() {
    let Some(mut disk) = Disk::new(LINES, "plain", "disk/store") else { return };
    let (read_only, help) = (["Read-only file system"], "mount it so that it can be written");
    // No store yet.
    disk.begin("size=900k");
    disk.mounts.remount("disk", "ro");
    expect_told(&disk.run(1).expect(74), "disk/store", &read_only, help);
    // One that a crash left, with its log.
    disk.mounts.remount("disk", "rw");
    disk.run(1).expect(74);
    disk.mounts.remount("disk", "ro,size=64m");
    let (before, outputs) = (disk.bytes(), disk.found());
    assert!(before.keys().any(|file| file.ends_with("-wal")));
    expect_told(&disk.run(1).expect(74), "disk/store/part-", &read_only, help);
    for look in LOOKS {
        let looked = disk.mounts.wxhost(&format!("recovery {look} --recovery disk/store")).expect(74);
        expect_told(&looked, ".sqlite3-wal", &["the folder cannot be written"], "if the flow is not running, copy");
    }
    assert!(disk.bytes() == before && disk.found().texts == outputs.texts, "something was changed");
    // A copy of it can be looked into, as the help says.
    disk.mounts.sh("cp -r disk/store copy").expect(0);
    for look in LOOKS {
        disk.mounts.wxhost(&format!("recovery {look} --recovery copy")).expect(0);
    }
    disk.mounts.remount("disk", "rw");
    disk.run(1).expect(0);
    disk.found().assert_is(&disk.wanted, 1);
    // One whose flow has ended.
    disk.mounts.remount("disk", "ro");
    let before = disk.bytes();
    expect_told(&disk.run(1).expect(74), "disk/store/part-", &read_only, help);
    for look in LOOKS {
        disk.mounts.wxhost(&format!("recovery {look} --recovery disk/store")).expect(0);
    }
    assert!(disk.bytes() == before, "something was changed");
    disk.mounts.remount("disk", "rw");
    disk.run(3).expect(0);
    disk.found().assert_is(&disk.wanted, 1);
}

/// Commands that look into a store and leave it as it is.
const LOOKS: [&str; 6] =
    ["ls", "show sums", "show lines", "check", "export sums --to sums.jsonl", "sql 'SELECT count(*) FROM state'"];

#[test]
fn outputs_that_are_read_only_are_left_as_they_are() {
    let Some(mut disk) = Disk::new(&[LINES, TABLES].concat(), "disk", "plain/store") else { return };
    disk.begin("size=8m");
    for room in ["size=8m", "size=64m"] {
        disk.mounts.remount("disk", &format!("ro,{room}"));
        let before = disk.bytes();
        for workers in [1, 3] {
            let refused = disk.run(workers).expect(74);
            expect_told(&refused, "disk/", &["Read-only file system"], "mount it so that it can be written");
        }
        assert!(disk.bytes() == before, "something was changed");
        disk.mounts.remount("disk", "rw");
        disk.run(1).expect(if room == "size=8m" { 74 } else { 0 });
    }
    disk.found().assert_is(&disk.wanted, 1);
    // All is done, so that nothing would have to be written.
    disk.mounts.remount("disk", "ro");
    let before = disk.bytes();
    disk.run(1).expect(74);
    assert!(disk.bytes() == before, "something was changed");
}

#[test]
fn copies_that_have_no_room_leave_nothing() {
    let Some(mut disk) = Disk::new(LINES, "plain", "plain/store") else { return };
    disk.begin("size=60k");
    disk.run(1).expect(0);
    for copy in ["export sums --to disk/sums.jsonl", "export sums --to disk/sums.parquet", "savepoint --to disk/copy"] {
        let failed = disk.mounts.wxhost(&format!("recovery {copy} --recovery plain/store")).expect(74);
        expect_told(&failed, "disk/", &["the disk is full", "No space left on device"], "make room");
        assert_eq!(disk.bytes(), BTreeMap::new(), "{copy}");
    }
}
