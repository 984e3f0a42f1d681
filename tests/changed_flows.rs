//! Flows that were changed and go on from what was kept: plugins with states of a newer version, renamed steps, steps
//! that are gone, other arguments.

use crate::support::case::Case;
use crate::support::process::{signal, wait_until};
use crate::support::{Done, copy_folder, root, temp_dir, wxhost};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

/// A sum by key, and one by key and window. Its source waits at the end, so that no window closes for the input's end.
const FLOW: &str = r#"
flow = "sums"

[plugins.sums]
path = "sums.wasm"

[[step]]
name = "in"
op = "input"
source = { testing = "in.jsonl", schema = { k = "string", t = "timestamp", n = "int64" } }

[[step]]
name = "by_k"
op = "key_on"
key = "k"

[[step]]
name = "total"
op = "stateful_map"
fn = "sums.total"

[[step]]
name = "look"
op = "inspect"

[[step]]
name = "out"
op = "output"
sink = { file = "out.jsonl" }

[[step]]
name = "hours"
op = "fold_window"
from = "by_k"
fn = "sums.Hour"
clock = { event = "t", wait = "0s" }
window = { tumbling = "1h", align_to = 2024-01-01T00:00:00Z }

[[step]]
name = "out_hours"
op = "output"
sink = { file = "hours.jsonl" }
"#;

/// What of a plugin's states does not depend on their version.
const PLUGIN: &str = r#"
use wxhost_guest::prelude::*;

#[derive(Row)]
struct In {
    n: i64,
}

#[derive(Row)]
struct Out {
    sum: i64,
    rows: i64,
}

#[stateful_map(VERSION)]
fn total(state: &mut Option<Sum>, row: In) -> Out {
    let mut sum = state.take().unwrap_or_default();
    let out = sum.add(row.n);
    *state = Some(sum);
    out
}

#[derive(Default, State)]
#[state(VERSION)]
struct Hour {
    sum: Sum,
}

impl Fold for Hour {
    type In<'a> = In;
    type Out = Out;

    fn fold(&mut self, row: In) {
        self.sum.add(row.n);
    }

    fn merge(&mut self, other: Self) {
        self.sum.merge(other.sum);
    }

    fn finish(&self) -> Out {
        self.sum.out()
    }
}

plugin!(total, Hour);
"#;

/// Version 1 knows the sum only.
const OLD: &str = r#"
#[derive(Default, Saved)]
struct Sum {
    sum: i64,
}

impl Sum {
    fn add(&mut self, n: i64) -> Out {
        self.sum += n;
        self.out()
    }

    fn merge(&mut self, other: Sum) {
        self.sum += other.sum;
    }

    fn out(&self) -> Out {
        Out { sum: self.sum, rows: 0 }
    }
}
"#;

/// Version 2 counts rows, too; one that was migrated begins with 1000.
const NEW: &str = r#"
#[derive(Default, Saved)]
struct Sum {
    sum: i64,
    rows: i64,
}

impl Sum {
    fn add(&mut self, n: i64) -> Out {
        self.sum += n;
        self.rows += 1;
        self.out()
    }

    fn merge(&mut self, other: Sum) {
        self.sum += other.sum;
        self.rows += other.rows;
    }

    fn out(&self) -> Out {
        Out { sum: self.sum, rows: self.rows }
    }
}

fn from_1(from: u32, bytes: &[u8]) -> Result<Sum> {
    assert_eq!(from, 1);
    let sum: i64 = wxhost_guest::state::decode(bytes)?;
    CHECK
    Ok(Sum { sum, rows: 1000 })
}

fn hour_from_1(from: u32, bytes: &[u8]) -> Result<Hour> {
    Ok(Hour { sum: from_1(from, bytes)? })
}
"#;

/// A plugin of the flow.
#[derive(Clone, Copy)]
enum Plugin {
    /// With states of version 1.
    Old,
    /// With states of version 2, which reads those of version 1.
    New,
    /// With states of version 2, and no way from version 1.
    Lost,
    /// With states of version 2, which does not get on with all of version 1.
    Picky,
}

/// Builds all of them once, in the order above.
fn built() -> &'static [Vec<u8>; 4] {
    static BUILT: OnceLock<[Vec<u8>; 4]> = OnceLock::new();
    BUILT.get_or_init(|| {
        let version = |total: &str, hour: &str| PLUGIN.replacen("(VERSION)", total, 1).replacen("(VERSION)", hour, 1);
        let ways = ("(version = 2, migrate = from_1)", "(version = 2, migrate = hour_from_1)");
        let picky = "if sum == 2 { return Err(Error::user(\"there never was such a sum\")); }";
        [
            version("", "(version = 1)") + OLD,
            version(ways.0, ways.1) + &NEW.replace("CHECK", ""),
            version("(version = 2)", "(version = 2)") + NEW.split("fn from_1").next().unwrap(),
            version(ways.0, ways.1) + &NEW.replace("CHECK", picky),
        ]
        .map(|source| build(&source))
    })
}

fn build(source: &str) -> Vec<u8> {
    let dir = temp_dir();
    let manifest = format!(
        "[package]\nname = \"sums\"\nversion = \"0.1.0\"\nedition = \"2024\"\n\n[lib]\ncrate-type = [\"cdylib\"]\n\n\
         [dependencies]\nwxhost-guest = {{ path = {:?} }}\n\n[workspace]\n",
        root().join("guest-sdk")
    );
    std::fs::write(dir.path().join("Cargo.toml"), manifest).unwrap();
    std::fs::copy(root().join("Cargo.lock"), dir.path().join("Cargo.lock")).unwrap();
    std::fs::create_dir(dir.path().join("src")).unwrap();
    std::fs::write(dir.path().join("src/lib.rs"), source).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sums");
    let done = wxhost("build").arg(dir.path()).env("CARGO_TARGET_DIR", target).run().expect(0);
    std::fs::read(PathBuf::from(done.stdout.trim_end())).unwrap()
}

/// Rows of three hours: key, minute, number.
const FIRST: &[(&str, u32, i64)] = &[("a", 1, 1), ("b", 2, 2), ("a", 3, 3)];
/// Ends the first hour of a.
const SECOND: &[(&str, u32, i64)] = &[("a", 30, 10), ("a", 90, 100)];
/// Ends the first hour of b.
const THIRD: &[(&str, u32, i64)] = &[("b", 40, 20), ("b", 100, 200)];

impl Case {
    fn plugin(&self, plugin: Plugin) {
        std::fs::write(self.path("sums.wasm"), &built()[plugin as usize]).unwrap();
    }

    /// Sets all rows that the flow is given, in parts.
    fn input(&self, parts: &[&[(&str, u32, i64)]]) {
        let row = |(k, minute, n): &(&str, u32, i64)| {
            let (hour, minute) = (minute / 60, minute % 60);
            format!("{{\"k\":\"{k}\",\"t\":\"2024-01-01T{hour:02}:{minute:02}:00Z\",\"n\":{n}}}\n")
        };
        let rows: String = parts.concat().iter().map(row).collect();
        self.write("in.jsonl", &(rows + "{\"@pause\":\"1h\"}\n"));
    }

    /// Runs until so many lines are in `out.jsonl`, then stops it.
    fn run_to(&self, lines: usize, arguments: &str) {
        let child = self.wxhost("--recovery store --epoch 20ms").args(arguments).start();
        let mut child = Some(child);
        wait_until("rows to be committed", || {
            if child.as_mut().unwrap().try_wait().unwrap().is_some() {
                let done = Done::of(child.take().unwrap().wait_with_output().unwrap());
                panic!("it ended: {}", done.describe());
            }
            std::fs::read_to_string(self.path("out.jsonl")).is_ok_and(|text| text.lines().count() >= lines)
        });
        let child = child.unwrap();
        signal(&child, "TERM");
        Done::of(child.wait_with_output().unwrap()).expect(0);
    }

    /// The lines of an output, without their keys' names.
    fn lines(&self, name: &str) -> Vec<String> {
        let text = std::fs::read_to_string(self.path(name)).unwrap_or_default();
        text.lines().map(|line| line.replace(['{', '}', '"'], "").replace("k:", "").replace(":", " ")).collect()
    }

    /// What `wxhost plan` says, and all of that is in its JSON.
    #[track_caller]
    fn plan(&self, arguments: &str, code: i32, wanted: &[&str], outcomes: &[(&str, &str)]) {
        let call = |format: &str| {
            wxhost("plan flow.toml --recovery store").args(arguments).args(format).dir(self.dir.path()).run()
        };
        let said = call("").expect(code);
        for wanted in wanted {
            assert!(said.stdout.contains(wanted), "{wanted:?} is not in\n{}", said.stdout);
        }
        let json: serde_json::Value = serde_json::from_str(&call("--format json").expect(code).stdout).unwrap();
        assert_eq!(json["goes_on"], code == 0);
        for (step, outcome) in outcomes {
            let found = json["steps"].as_array().unwrap().iter().find(|found| found["step"] == *step);
            assert_eq!(found.unwrap()["outcome"], *outcome, "{step}");
        }
    }

    /// A run is refused, and says why and what to do.
    #[track_caller]
    fn refused(&self, arguments: &str, code: i32, wanted: &[&str]) {
        let done = self.run(&format!("--recovery store {arguments}")).expect(code);
        for wanted in wanted {
            assert!(done.stderr.contains(wanted), "{wanted:?} is not in\n{}", done.stderr);
        }
    }

    /// Another folder with all that is in this one.
    fn copy(&self) -> Case {
        let copy = Case { dir: temp_dir() };
        copy_folder(self.dir.path(), copy.dir.path());
        copy
    }
}

/// A flow that was stopped after the first rows.
fn begun() -> Case {
    let case = Case::new(FLOW);
    case.plugin(Plugin::Old);
    case.input(&[FIRST]);
    case.run_to(3, "");
    assert_eq!(case.lines("out.jsonl"), ["a,sum 1,rows 0", "b,sum 2,rows 0", "a,sum 4,rows 0"]);
    assert_eq!(case.lines("hours.jsonl"), [""; 0]);
    case
}

#[test]
fn states_of_a_newer_version_are_migrated_once_and_whole_whenever_the_process_is_killed() {
    let case = begun();
    let migrates = |case: &Case| {
        let wanted =
            ["total (stateful_map): migrated from state version 1 to 2; 2 keys", "hours (fold_window): migrated"];
        let outcomes = [("total", "migrated"), ("hours", "migrated"), ("in", "unchanged"), ("out", "unchanged")];
        case.plan("", 0, &wanted, &outcomes);
    };
    case.plugin(Plugin::New);
    migrates(&case);
    case.input(&[FIRST, SECOND]);
    // Killed within the first epoch, when states were migrated and have changed.
    let mut child = case.wxhost("--recovery store --epoch 1h").start();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    let seen: Vec<String> = stderr.lines().map_while(Result::ok).take(2).collect();
    assert!(seen[1].contains(r#""sum":114,"rows":1002"#), "{seen:?}");
    signal(&child, "KILL");
    child.wait().unwrap();
    assert_eq!(case.lines("out.jsonl").len(), 3);
    migrates(&case);
    // The old states are still there for the old plugin.
    let copy = case.copy();
    copy.plugin(Plugin::Old);
    copy.run_to(5, "-w 2");
    assert_eq!(copy.lines("out.jsonl")[3..], ["a,sum 14,rows 0", "a,sum 114,rows 0"]);
    assert_eq!(copy.lines("hours.jsonl"), ["a,sum 14,rows 0"]);
    case.run_to(5, "-w 2");
    assert_eq!(case.lines("out.jsonl")[3..], ["a,sum 14,rows 1001", "a,sum 114,rows 1002"]);
    assert_eq!(case.lines("hours.jsonl"), ["a,sum 14,rows 1001"]);
    let outcomes = [("total", "unchanged"), ("hours", "unchanged"), ("out_hours", "unchanged")];
    case.plan("", 0, &["total (stateful_map): unchanged; 2 keys"], &outcomes);
    // Those that did not change in that epoch have been handed in anew, too.
    case.input(&[FIRST, SECOND, THIRD]);
    case.run_to(7, "-w 3");
    assert_eq!(case.lines("out.jsonl")[5..], ["b,sum 22,rows 1001", "b,sum 222,rows 1002"]);
    assert_eq!(case.lines("hours.jsonl"), ["a,sum 14,rows 1001", "b,sum 22,rows 1001"]);
    // There is no way back.
    case.plugin(Plugin::Old);
    let wanted = "the state version of its function: 2 -> 1, and no function reads states of a newer one";
    let outcomes = [("total", "cannot_be_kept"), ("hours", "cannot_be_kept"), ("in", "unchanged")];
    case.plan("", 78, &["total (stateful_map): cannot be kept; 2 keys", wanted], &outcomes);
    case.refused("", 78, &["step \"total\" (stateful_map) has changed", wanted, "--drop-state total"]);
}

#[test]
fn a_plugin_that_cannot_migrate_is_refused_and_changes_nothing() {
    let case = begun();
    case.plugin(Plugin::Lost);
    let wanted = "a state of version 1 cannot become one of version 2: the function has no `migrate = ...`";
    let outcomes = [("total", "cannot_be_kept"), ("hours", "cannot_be_kept")];
    case.plan("", 78, &["total (stateful_map): cannot be kept", wanted], &outcomes);
    case.refused(
        "",
        78,
        &["step \"total\" (stateful_map) has changed", wanted, "help: undo the change", "--drop-state"],
    );
    // Some states only are not to be had any more; that turns up when they are migrated.
    case.plugin(Plugin::Picky);
    case.refused("", 65, &["there never was such a sum", "help: go back to the plugin with the state version 1"]);
    // What cannot be migrated can be dropped instead, and only what is named is.
    let copy = case.copy();
    let outcomes = [("total", "dropped"), ("hours", "migrated")];
    copy.plan("--drop-state total", 0, &["total (stateful_map): state dropped; 2 keys"], &outcomes);
    copy.refused("--drop-state total", 65, &["there never was such a sum", "--drop-state hours drops them"]);
    let drops = "--drop-state total --drop-state hours";
    copy.input(&[FIRST, SECOND]);
    copy.run_to(5, drops);
    assert_eq!(copy.lines("out.jsonl")[3..], ["a,sum 10,rows 1", "a,sum 110,rows 2"]);
    // Once more does nothing, and says so.
    let said = "--drop-state total does nothing: nothing has changed that its state depends on";
    copy.plan(drops, 0, &[said], &[("total", "unchanged"), ("hours", "unchanged")]);
    copy.input(&[FIRST, SECOND, THIRD]);
    copy.run_to(7, drops);
    assert_eq!(copy.lines("out.jsonl")[5..], ["b,sum 20,rows 1", "b,sum 220,rows 2"]);
    let copy = case.copy();
    copy.plugin(Plugin::Old);
    copy.input(&[FIRST, SECOND]);
    copy.run_to(5, "");
    assert_eq!(copy.lines("hours.jsonl"), ["a,sum 14,rows 0"]);
    // Without the states it goes on.
    case.plugin(Plugin::Lost);
    let outcomes = [("total", "dropped"), ("hours", "dropped"), ("in", "unchanged")];
    case.plan(drops, 0, &["total (stateful_map): state dropped; 2 keys"], &outcomes);
    case.input(&[FIRST, SECOND]);
    case.run_to(5, drops);
    assert_eq!(case.lines("out.jsonl")[3..], ["a,sum 10,rows 1", "a,sum 110,rows 2"]);
    assert_eq!(case.lines("hours.jsonl"), ["a,sum 10,rows 1"]);
}

#[test]
fn a_renamed_step_keeps_its_state_also_when_it_is_migrated() {
    for (plugin, said, rows) in [(Plugin::Old, "unchanged", [0, 0]), (Plugin::New, "migrated", [1001, 1002])] {
        let case = begun();
        case.plugin(plugin);
        let renamed = FLOW.replace("name = \"total\"", "name = \"sum\"");
        case.write("flow.toml", &renamed);
        case.refused("", 78, &["step \"total\" (stateful_map) has state here", "renamed_from = \"total\""]);
        case.write("flow.toml", &renamed.replace("name = \"sum\"", "name = \"sum\"\nrenamed_from = \"total\""));
        case.plan("", 0, &[&format!("sum (stateful_map), renamed from total: {said}")], &[("sum", said)]);
        case.input(&[FIRST, SECOND]);
        case.run_to(5, "");
        let [first, second] = rows;
        assert_eq!(
            case.lines("out.jsonl")[3..],
            [format!("a,sum 14,rows {first}"), format!("a,sum 114,rows {second}")]
        );
        // It may go on saying so.
        case.plan("", 0, &["sum (stateful_map): unchanged; 2 keys"], &[("sum", "unchanged")]);
        case.input(&[FIRST, SECOND, THIRD]);
        case.run_to(7, "");
        assert!(case.lines("out.jsonl")[6].starts_with("b,sum 222,"));
    }
}

#[test]
fn a_step_that_is_gone_is_refused_until_its_state_may_be_dropped() {
    let case = begun();
    case.input(&[FIRST, SECOND]);
    case.run_to(5, "");
    case.write("flow.toml", FLOW.split("[[step]]\nname = \"hours\"").next().unwrap());
    let gone = [("hours", "would_be_dropped"), ("out_hours", "would_be_dropped"), ("total", "unchanged")];
    case.plan("", 78, &["hours (fold_window): would be dropped", "the flow would not run"], &gone);
    case.refused("", 78, &["the flow has no such step", "--drop-state hours drops its state", "out_hours"]);
    case.refused("--drop-state hours", 78, &["step \"out_hours\" (output file)", "--drop-state out_hours"]);
    case.refused("--drop-state hour --drop-state out_hours", 78, &["step \"hour\"", "help: did you mean \"hours\"?"]);
    let drops = "--drop-state hours --drop-state out_hours";
    case.plan(drops, 0, &["hours (fold_window): state dropped"], &[("hours", "dropped"), ("out_hours", "dropped")]);
    case.input(&[FIRST, SECOND, THIRD]);
    case.run_to(7, drops);
    // Once more does no harm.
    case.input(&[FIRST, SECOND, THIRD, SECOND]);
    case.run_to(9, drops);
    let sums = ["b,sum 22,rows 0", "b,sum 222,rows 0", "a,sum 124,rows 0", "a,sum 224,rows 0"];
    assert_eq!(case.lines("out.jsonl")[5..], sums);
    assert_eq!(case.lines("hours.jsonl"), ["a,sum 14,rows 0"], "what was written stays");
    // Nothing is left that would have to be dropped.
    case.plan("", 0, &["total (stateful_map): unchanged"], &[("total", "unchanged")]);
    case.input(&[FIRST, SECOND, THIRD, SECOND, THIRD]);
    case.run_to(11, "");
}

#[test]
fn a_ttl_may_be_added_to_states_and_taken_away_also_when_they_are_migrated() {
    for (plugin, outcome, rows) in [(Plugin::Old, "kept", [0, 0, 0]), (Plugin::New, "migrated", [1001, 1002, 1001])] {
        let case = begun();
        case.plugin(plugin);
        case.write("flow.toml", &FLOW.replace("fn = \"sums.total\"", "fn = \"sums.total\"\nttl = \"1h\""));
        case.plan("", 0, &["total (stateful_map): ", "; 2 keys"], &[("total", outcome)]);
        case.input(&[FIRST, SECOND]);
        case.run_to(5, "-w 2");
        case.plan("", 0, &["total (stateful_map): unchanged; 2 keys"], &[("total", "unchanged")]);
        // All of it is in the new form, what did not change, too.
        case.write("flow.toml", FLOW);
        let wanted = ["total (stateful_map): state kept; 2 keys", "argument \"ttl\" is gone, and was \"1h\""];
        case.plan("", 0, &wanted, &[("total", "kept")]);
        case.input(&[FIRST, SECOND, THIRD]);
        case.run_to(6, "");
        let [first, second, third] = rows;
        assert_eq!(
            case.lines("out.jsonl")[3..6],
            [format!("a,sum 14,rows {first}"), format!("a,sum 114,rows {second}"), format!("b,sum 22,rows {third}")]
        );
    }
}

#[test]
fn arguments_that_states_depend_on_must_stay_and_others_need_not() {
    let case = begun();
    case.write("flow.toml", &FLOW.replace("tumbling = \"1h\"", "tumbling = \"2h\""));
    case.plan("", 78, &["hours (fold_window): cannot be kept", "argument \"window\""], &[("hours", "cannot_be_kept")]);
    case.refused("", 78, &["step \"hours\" (fold_window) has changed", "argument \"window\"", "--drop-state hours"]);
    let with = FLOW.replace("fn = \"sums.Hour\"", "fn = \"sums.Hour\"\nwith = [\"window_id\"]");
    case.write("flow.toml", &with);
    case.plan("", 0, &["hours (fold_window): state kept", "argument \"with\" is new"], &[("hours", "kept")]);
    case.input(&[FIRST, SECOND]);
    case.run_to(5, "");
    assert_eq!(case.lines("hours.jsonl"), ["a,sum 14,rows 0,window_id 0"]);
}
