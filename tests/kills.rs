//! Flows that are killed (`kill -9`) at random moments and resumed, each time with another number of workers: their output
//! is that of a run that nobody disturbed.

use crate::support::process::{pass, signal};
use crate::support::{Wxhost, files_below, plugins, temp_dir, wxhost};
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hash::{BuildHasher, RandomState};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often each flow is killed, unless `WXHOST_KILLS` says otherwise.
const KILLS: usize = 70;
/// Rows and keys of the input.
const ROWS: usize = 200_000;
const KEYS: usize = 100_000;
/// Files of the input; a key's rows are in one.
const FILES: usize = 4;

/// A small generator (xorshift64), so that a seed tells the moments.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// Makes events in files: the times of each file rise.
fn events(folder: &Path) {
    let mut files = vec![String::new(); FILES];
    for row in 0..ROWS {
        let key = row * 7919 % KEYS;
        let second = row / 2000;
        let (minute, second) = (second / 60, second % 60);
        let (page, value) = (key % 7, row % 777);
        let _ = writeln!(
            files[key % FILES],
            r#"{{"user_id":"user-{key}","page_url_path":"/page/{page}","event_timestamp":"2023-01-01T00:{minute:02}:{second:02}Z","value":{value}.5}}"#
        );
    }
    for (number, text) in files.iter().enumerate() {
        std::fs::write(folder.join(format!("part-{number}.jsonl")), text).unwrap();
    }
}

const SOURCE: &str = r#"
[plugins.bench]
path = "${env:BENCH_PLUGIN}"

[[step]]
name = "events"
op = "input"
source = { dir = "in", glob = "part-*.jsonl", format = "json", chunk = "64KiB", schema = { user_id = "string", page_url_path = "string", event_timestamp = "EVENT_TYPE", value = "float64" } }
"#;

/// The folder of a flow that is killed again and again.
struct Case {
    dir: tempfile::TempDir,
    seed: u64,
    random: Random,
}

impl Case {
    fn new(flow: &str, event_type: &str) -> Case {
        let dir = temp_dir();
        std::fs::create_dir(dir.path().join("in")).unwrap();
        events(&dir.path().join("in"));
        let text = format!("flow = \"killed\"\n{}{flow}", SOURCE.replace("EVENT_TYPE", event_type));
        std::fs::write(dir.path().join("flow.toml"), text).unwrap();
        let seed = std::env::var("WXHOST_KILLS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = seed.unwrap_or_else(|| RandomState::new().hash_one(0_u8) | 1);
        Case { dir, seed, random: Random(seed) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn run(&self, arguments: &str) -> Wxhost {
        let flow = self.path("flow.toml");
        wxhost("run --no-progress").arg(flow).args(arguments).env("BENCH_PLUGIN", plugins::bench()).dir(self.dir.path())
    }

    /// Removes what executions have left.
    fn clear(&self) {
        for left in ["store", "out", "out.jsonl"] {
            let path = self.path(left);
            if path.is_dir() {
                std::fs::remove_dir_all(&path).unwrap();
            } else if path.exists() {
                std::fs::remove_file(&path).unwrap();
            }
        }
        std::fs::create_dir(self.path("out")).unwrap();
    }

    /// Kills the flow at random moments until it has been killed often enough; whenever it comes to its end, `compare` is
    /// told whether one worker ran all the way. `look` is called after each kill, and told whether it is the first of a round.
    fn kill(&mut self, mut look: impl FnMut(&Case, bool), compare: impl Fn(&Case, bool)) {
        let wanted = std::env::var("WXHOST_KILLS").ok().and_then(|kills| kills.parse().ok()).unwrap_or(KILLS);
        println!("WXHOST_KILLS_SEED={}", self.seed);
        let (mut kills, mut rounds, mut resumed) = (0, 0, 0);
        while kills < wanted {
            self.clear();
            // Every third time by one worker alone: then the order of rows is the same, too.
            let alone = rounds % 3 == 0;
            let mut is_first = true;
            let mut longest = 200 + self.random.below(800);
            loop {
                let workers = if alone { 1 } else { 1 + self.random.below(4) };
                let flags = format!("-w {workers} --recovery store --epoch 50ms --recovery-parts 3 --summary=never");
                let mut child = self.run(&flags).start();
                pass(Duration::from_millis(self.random.below(longest)));
                if child.try_wait().unwrap().is_none() {
                    signal(&child, "KILL");
                }
                let done = child.wait_with_output().unwrap();
                if let Some(code) = done.status.code() {
                    let stderr = String::from_utf8_lossy(&done.stderr);
                    assert_eq!(code, 0, "seed {}, after {kills} kills: {stderr}", self.seed);
                    break;
                }
                // It takes a while to begin; who is always killed before that gets nowhere.
                longest += longest / 10;
                kills += 1;
                resumed += 1;
                look(self, std::mem::take(&mut is_first));
            }
            compare(self, alone);
            rounds += 1;
        }
        println!("{kills} kills, {rounds} times to the end, {resumed} times resumed");
    }
}

/// Lines in order.
fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

/// Kills a flow that writes `out.jsonl`.
fn kill_lines(flow: &str, event_type: &str) {
    let mut case = Case::new(flow, event_type);
    case.run("--summary=never").run().expect(0);
    let wanted = std::fs::read_to_string(case.path("out.jsonl")).unwrap();
    assert!(wanted.lines().count() > 1000);
    let mut seen = String::new();
    let look = |case: &Case, is_first| {
        if is_first {
            seen.clear();
        }
        let now = std::fs::read_to_string(case.path("out.jsonl")).unwrap_or_default();
        assert!(now.starts_with(&seen), "a reader sees rows taken back");
        seen = now;
    };
    case.kill(look, |case, alone| {
        let found = std::fs::read_to_string(case.path("out.jsonl")).unwrap();
        if alone {
            assert_eq!(found.len(), wanted.len(), "seed {}", case.seed);
        }
        let (found, wanted) = (sorted(&found), sorted(&wanted));
        let odd = found.iter().zip(&wanted).find(|(found, wanted)| found != wanted);
        assert!(found.len() == wanted.len() && odd.is_none(), "{} rows for {}: {odd:?}", found.len(), wanted.len());
        assert_eq!(hidden(case), Vec::<String>::new(), "something staged was left");
    });
}

/// What was staged and left behind.
fn hidden(case: &Case) -> Vec<String> {
    let is_hidden = |path: &String| path.split('/').any(|name| name.starts_with('.'));
    files_below(case.dir.path()).into_iter().filter(|path| !path.starts_with("store/") && is_hidden(path)).collect()
}

#[test]
fn windows_folded_in_wasm_survive_kills() {
    let flow = r#"
[[step]]
name = "user"
op = "key_on"
key = "user_id"

[[step]]
name = "windows"
op = "fold_window"
fn = "bench.CountSumMax"
clock = { event = "event_timestamp", wait = "10s" }
window = { tumbling = "30s" }
with = ["open_time"]

[[step]]
name = "out"
op = "output"
sink = { file = "out.jsonl" }
"#;
    kill_lines(flow, "timestamp");
}

#[test]
fn states_of_100_000_keys_survive_kills() {
    let flow = r#"
[[step]]
name = "user"
op = "key_on"
key = "user_id"

[[step]]
name = "score"
op = "stateful_map"
fn = "bench.score"

[[step]]
name = "out"
op = "output"
sink = { file = "out.jsonl" }
"#;
    kill_lines(flow, "string");
}

#[test]
fn partitioned_parquet_survives_kills() {
    let flow = r#"
[[step]]
name = "dates"
op = "map"
fn = "bench.date_columns"

[[step]]
name = "page"
op = "key_on"
key = "page_url_path"

[[step]]
name = "collect"
op = "collect"
max_size = 1000
timeout = "1s"

[[step]]
name = "out"
op = "output"
sink = { parquet = "out", partition_by = ["year", "month", "day", "page_url_path"], roll_rows = 10000 }
"#;
    let mut case = Case::new(flow, "string");
    case.run("--summary=never").run().expect(0);
    let wanted = rows_of(&case.path("out"));
    assert_eq!(wanted.values().sum::<usize>(), ROWS);
    let look = |case: &Case, _| {
        // Whatever has its name is whole, and no row is there twice.
        for (row, count) in rows_of(&case.path("out")) {
            assert!(count <= wanted[&row], "seed {}: {row} is there {count} times", case.seed);
        }
    };
    case.kill(look, |case, _| {
        let found = rows_of(&case.path("out"));
        assert_eq!(found.values().sum::<usize>(), ROWS, "seed {}", case.seed);
        assert!(found == wanted, "seed {}", case.seed);
        assert_eq!(hidden(case), Vec::<String>::new(), "something staged was left");
    });
}

#[test]
fn a_sink_in_wasm_with_two_phases_survives_kills() {
    let flow = format!(
        r#"
[plugins.ledger]
path = "{}/ledger.wasm"
allow = {{ dirs = ["out:rw"] }}

[[step]]
name = "users"
op = "select"
columns = {{ value = "user_id" }}

[[step]]
name = "out"
op = "output"
sink = {{ plugin = "ledger.careful", config = {{ folder = "out" }} }}
"#,
        plugins::folder().display()
    );
    let mut case = Case::new(&flow, "string");
    let mut wanted: Vec<String> = Vec::new();
    for number in 0..FILES {
        let text = std::fs::read_to_string(case.path(&format!("in/part-{number}.jsonl"))).unwrap();
        wanted.extend(text.lines().map(|line| line.split('"').nth(3).unwrap().to_owned()));
    }
    wanted.sort_unstable();
    case.kill(
        |_, _| {},
        |case, _| {
            let folder = case.path("out");
            let pages = files_below(&folder).into_iter().filter(|name| !name.starts_with('.'));
            let text: String = pages.map(|name| std::fs::read_to_string(folder.join(name)).unwrap()).collect();
            assert_eq!(sorted(&text), wanted, "seed {}", case.seed);
        },
    );
}

/// The rows of all Parquet files below a folder, with how often each is there.
pub fn rows_of(folder: &Path) -> BTreeMap<String, usize> {
    let mut rows = BTreeMap::new();
    for file in files_below(folder)
        .into_iter()
        .filter(|file| file.ends_with(".parquet") && !file.contains("/.") && !file.starts_with('.'))
    {
        let open = std::fs::File::open(folder.join(&file)).unwrap();
        let reader = ParquetRecordBatchReaderBuilder::try_new(open).and_then(|builder| builder.build());
        let place = file.rsplit_once('/').unwrap().0;
        for batch in reader.unwrap_or_else(|error| panic!("{file}: {error}")) {
            let batch = batch.unwrap();
            let columns: Vec<_> = batch
                .columns()
                .iter()
                .map(|column| arrow::util::display::ArrayFormatter::try_new(column, &Default::default()).unwrap())
                .collect();
            for row in 0..batch.num_rows() {
                let mut text = place.to_owned();
                columns.iter().for_each(|column| write!(text, " {}", column.value(row)).unwrap());
                *rows.entry(text).or_default() += 1;
            }
        }
    }
    rows
}
