//! How long a row takes from when it is due until a reader of stdout has it, at a steady 20,000 rows a second: without
//! recovery, and with it. Compare within one run.
//!
//! `cargo bench -p wxhost --bench latency`; `LATENCY_SECONDS` and `LATENCY_ROUNDS` make it longer.

#![expect(clippy::disallowed_methods, reason = "it measures time")]

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{SystemTime, UNIX_EPOCH};

const RATE: u64 = 20_000;
/// What is not counted: the start.
const WARM_SECONDS: u64 = 3;
/// Keys of a small and of a large state.
const KEYS: [u64; 2] = [1_000, 100_000];
const HOUR: u64 = 3_600_000_000;

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn flow(keys: u64, seconds: u64) -> String {
    let mut flow = "flow = \"latency\"\n".to_owned();
    let (count, max) = (RATE * seconds, keys - 1);
    let source = format!("{{ demo = \"random_metric\", interval = \"50us\", count = {count}, max = {max} }}");
    for (name, rest) in [
        ("events", format!("op = \"input\"\nsource = {source}")),
        ("key", "op = \"key_on\"\nkey = \"value\"".to_owned()),
        ("running", "op = \"aggregate_running\"\naggregate = { n = \"count(*)\", due = \"max(time)\" }".to_owned()),
        ("out", "op = \"output\"\nsink = { stdout = true, format = \"json\" }".to_owned()),
    ] {
        writeln!(flow, "[[step]]\nname = \"{name}\"\n{rest}").expect("a string takes it");
    }
    flow
}

/// Microseconds since the full hour at which a row was due.
fn due(line: &[u8]) -> u64 {
    let text = std::str::from_utf8(line).expect("JSON is UTF-8");
    let at = text.find("\"due\":\"").unwrap_or_else(|| panic!("no due time in {text}")) + 7;
    // 2024-01-01T00:MM:SS.ffffffZ
    let time = text[at + 14..].split('"').next().expect("the text ends").trim_end_matches('Z');
    let (minutes, seconds) = time.split_once(':').unwrap_or_else(|| panic!("no time in {text}"));
    let (whole, part) = seconds.split_once('.').unwrap_or((seconds, ""));
    let number = |text: &str| text.parse::<u64>().unwrap_or_else(|_| panic!("no number in {text}"));
    (number(minutes) * 60 + number(whole)) * 1_000_000 + number(&format!("{part:0<6}"))
}

/// Microseconds from due to read, of all rows after the start, sorted.
fn latencies(flow: &Path, store: Option<&Path>) -> Vec<u64> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wxhost"));
    command.arg("run").arg(flow).arg("--no-progress").stdout(Stdio::piped()).stderr(Stdio::piped());
    if let Some(store) = store {
        command.arg("--recovery").arg(store).args(["--epoch", "1s"]);
    }
    let mut child = command.spawn().expect("wxhost starts");
    let mut out = child.stdout.take().expect("it is piped");
    let (mut buffer, mut rest) = (vec![0; 1 << 16], Vec::new());
    let (mut rows, mut found) = (0, Vec::new());
    loop {
        let length = out.read(&mut buffer).expect("stdout can be read");
        if length == 0 {
            break;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("it is later").as_micros();
        let now = u64::try_from(now % u128::from(HOUR)).expect("it is less than an hour");
        rest.extend_from_slice(&buffer[..length]);
        let whole = rest.iter().rposition(|&byte| byte == b'\n').map_or(0, |at| at + 1);
        for line in rest[..whole].split(|&byte| byte == b'\n').filter(|line| !line.is_empty()) {
            rows += 1;
            if rows > WARM_SECONDS * RATE {
                found.push((now + HOUR - due(line)) % HOUR);
            }
        }
        rest.drain(..whole);
    }
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "wxhost failed: {}", String::from_utf8_lossy(&output.stderr));
    assert!(!found.is_empty(), "rows were read");
    found.sort_unstable();
    found
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    numbers[numbers.len() / 2]
}

fn main() {
    // What cargo passes on, as "--bench", is of no use here.
    let seconds = number("LATENCY_SECONDS", 15) + WARM_SECONDS;
    let rounds = number("LATENCY_ROUNDS", 3);
    let folder = tempfile::tempdir().expect("a folder");
    println!("latency in ms at {RATE} rows/s, {rounds} rounds of {seconds} s, medians");
    println!("{:>8}  {:9} {:>7} {:>7} {:>7} {:>7}", "keys", "recovery", "p50", "p99", "p99.9", "max");
    for keys in KEYS {
        let path = folder.path().join("flow.toml");
        fs::write(&path, flow(keys, seconds)).expect("the flow is written");
        let mut found = [Vec::new(), Vec::new()];
        for round in 0..rounds {
            let store = folder.path().join(format!("store-{keys}-{round}"));
            for (found, store) in found.iter_mut().zip([None, Some(&*store)]) {
                let all = latencies(&path, store);
                let at = |share: f64| all[((all.len() - 1) as f64 * share) as usize] as f64 / 1e3;
                found.push([0.5, 0.99, 0.999, 1.0].map(at));
            }
        }
        let [without, with] =
            found.map(|found| [0, 1, 2, 3].map(|at| median(found.iter().map(|row| row[at]).collect())));
        for (name, row) in [("without", without), ("with", with)] {
            println!("{keys:>8}  {name:9} {:7.3} {:7.3} {:7.3} {:7.3}", row[0], row[1], row[2], row[3]);
        }
        let [p50, p99, p999, max] = [0, 1, 2, 3].map(|at| with[at] / without[at]);
        println!("{keys:>8}  ratio     {p50:7.2} {p99:7.2} {p999:7.2} {max:7.2}");
    }
}
