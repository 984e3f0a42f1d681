//! `wxhost test`: the tests of flows, and what differs from what they expect.

use super::exit::Failure;
use super::flow::{FlowFile, Planned};
use super::{CATALOG, Output, print, print_json};
use crate::dataflow::env::Env;
use crate::spec;
use crate::testing::{self, Failed, Mark, Test, TestCx};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Folders in which no flows are looked for: what tools make.
const NOT_LOOKED_INTO: [&str; 2] = ["target", "node_modules"];

/// What `wxhost test --help` says.
pub const HELP: &str = r##"Run the tests of flows

Tests stand in a flow file, each a [[test]], or beside it: those of flow.toml in
flow.test.toml.

A test says what goes in and what comes out. Rows take the place of sources, or of what
comes to any other step; what comes out of ports is compared. Sinks are not opened and
nothing is written. Time is that of the test: pauses take none, and each row is through
the flow before the next one comes, so that the result is the same on any machine.

    [[test]]
    name = "late readings are reported"
    workers = [1, 3]                  # run with so many workers [default: 1]
    now = 2024-01-01T00:00:00Z        # where the clock starts [default: 1970]
    input.readings = [                # for an input step: its rows; for any other: what comes to it
      { sensor = "a", time = 2024-01-01T00:00:01Z, value = 1.0 },
      { "@pause" = "10s" },           # nothing comes for so long; { "@now" = "…" }: until then
    ]                                 # or the path of a file of JSON lines
    expect.averages.down = [{ sensor = "a", value = 1.0 }]
    expect.averages.late = []         # nothing
    # or { any_order = […] }, { per_key = { a = […] } }, { contains = […] }, { count = 3 };
    # or error = "text": the run must fail with it

A list is compared in its order with one worker, and in any order with several. A column
that is left out is null; the key stands first under its name. expect.STEP is its port
"down"; of an output step, what it would write."##;

/// The arguments of `wxhost test`.
#[derive(clap::Args)]
pub struct Args {
    /// Flow files, or folders: every flow.toml in them and below
    #[arg(default_value = ".")]
    flows: Vec<PathBuf>,

    /// Run only tests whose name has this text in it
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,

    /// List the tests, and run none
    #[arg(long)]
    list: bool,
}

/// The tests of a file.
struct Suite {
    path: PathBuf,
    text: String,
    tests: Vec<Test>,
}

impl Suite {
    fn line(&self, test: &Test) -> usize {
        self.text[..test.span.start.min(self.text.len())].matches('\n').count() + 1
    }
}

/// What a test did.
struct Done<'a> {
    suite: &'a Suite,
    test: &'a Test,
    /// For each number of workers with which it failed.
    failed: Vec<(usize, Vec<Failed>)>,
}

/// Runs tests and tells what they did.
///
/// # Errors
/// A flow or a test is refused, or a test failed.
pub fn test(args: &Args, env: &Env, output: Output) -> Result<(), Failure> {
    let mut flows = Vec::new();
    for path in flow_files(&args.flows)? {
        let file = FlowFile::read(&path)?;
        let planned = file.plan(env)?;
        let suites = suites(&file, &planned)?;
        flows.push((planned, suites));
    }
    let is_meant = |test: &&Test| args.only.as_deref().is_none_or(|only| test.name.contains(only));
    let all = flows.iter().flat_map(|(planned, suites)| suites.iter().map(move |suite| (planned, suite)));
    if args.list {
        let listed = all.flat_map(|(_, suite)| suite.tests.iter().filter(is_meant).map(move |test| (suite, test)));
        let listed: Vec<_> = listed.collect();
        return match output.is_json() {
            true => print_json(&listed.iter().map(|(suite, test)| place(suite, test)).collect()),
            false => print(listed.iter().map(|(_, test)| format!("{}\n", test.name)).collect::<String>()),
        };
    }
    let mut done = Vec::new();
    for (planned, suite) in all {
        for test in suite.tests.iter().filter(is_meant) {
            let run = |&workers: &usize| (workers, testing::run(&planned.plan, test, workers, CATALOG));
            let failed = test.workers.iter().map(run).filter(|(_, failed)| !failed.is_empty()).collect();
            let one = Done { suite, test, failed };
            if !output.is_json() {
                print(one.to_text())?;
            }
            done.push(one);
        }
    }
    let failed = done.iter().filter(|done| !done.failed.is_empty()).count();
    let passed = done.len() - failed;
    match output.is_json() {
        true => {
            let tests: Vec<Value> = done.iter().map(Done::to_json).collect();
            print_json(&json!({ "passed": passed, "failed": failed, "tests": tests }))?;
        }
        false => print(format!("{}{passed} passed, {failed} failed\n", if done.is_empty() { "" } else { "\n" }))?,
    }
    if failed > 0 { Err(Failure::Tests) } else { Ok(()) }
}

/// Reads the tests of a flow: those in its file and those beside it.
///
/// # Errors
/// Some of them are wrong.
pub fn check(file: &FlowFile, planned: &Planned) -> Result<(), Failure> {
    suites(file, planned).map(drop)
}

fn suites(file: &FlowFile, planned: &Planned) -> Result<Vec<Suite>, Failure> {
    let base = file.path.parent().map(Path::to_owned).unwrap_or_default();
    let cx = TestCx { plan: &planned.plan, catalog: CATALOG, base: &base };
    let mut suites = Vec::new();
    let tests = testing::read(&planned.spec.tests, cx);
    let tests = tests.map_err(|problems| file.refused(problems))?;
    suites.push(Suite { path: file.path.clone(), text: file.text.clone(), tests });
    let beside = file.path.with_extension("test.toml");
    if beside.exists() {
        let file = FlowFile::read(&beside)?;
        let tables = spec::parse_tests(&file.text, &|name| std::env::var(name).ok());
        let tests = tables.and_then(|tables| testing::read(&tables, cx));
        let tests = tests.map_err(|problems| file.refused(problems))?;
        suites.push(Suite { path: file.path, text: file.text, tests });
    }
    Ok(suites)
}

/// The flow files that some paths mean, each once.
fn flow_files(paths: &[PathBuf]) -> Result<BTreeSet<PathBuf>, Failure> {
    let mut files = BTreeSet::new();
    let mut folders = Vec::new();
    for path in paths {
        match path.is_dir() {
            true => folders.push(path.clone()),
            false => drop(files.insert(path.clone())),
        }
    }
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).map_err(|error| Failure::io(&folder, &error))?;
        for entry in entries {
            let entry = entry.map_err(|error| Failure::io(&folder, &error))?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            // Links are not followed: they may lead back.
            if entry.file_type().is_ok_and(|ty| ty.is_dir()) {
                if !name.starts_with('.') && !NOT_LOOKED_INTO.contains(&&*name) {
                    folders.push(entry.path());
                }
            } else if name == "flow.toml" {
                let path = entry.path();
                files.insert(path.strip_prefix(".").map(Path::to_owned).unwrap_or(path));
            }
        }
    }
    Ok(files)
}

fn place(suite: &Suite, test: &Test) -> Value {
    json!({ "name": test.name, "file": suite.path, "line": suite.line(test), "workers": test.workers })
}

impl Done<'_> {
    fn to_text(&self) -> String {
        let name = &self.test.name;
        let mut text = String::new();
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{:<7}{name}", if self.failed.is_empty() { "ok" } else { "FAILED" });
        for (workers, failed) in &self.failed {
            for failed in failed {
                let port = failed.port.as_ref().map(|port| format!("{port}: ")).unwrap_or_default();
                let with = match self.test.workers.len() {
                    1 => String::new(),
                    _ => format!(" (with {workers} {})", if *workers == 1 { "worker" } else { "workers" }),
                };
                let at = format!("{}:{}", self.suite.path.display(), self.suite.line(self.test));
                let _ = writeln!(text, "       {at}: {port}{}{with}", failed.message);
                for note in &failed.notes {
                    let _ = writeln!(text, "       note: {}", note.trim_end().replace('\n', "\n             "));
                }
                for line in &failed.diff {
                    let mark = match line.mark {
                        Mark::Missing => '-',
                        Mark::Unexpected => '+',
                        Mark::Same => ' ',
                    };
                    let _ = writeln!(text, "       {mark} {}", line.text);
                }
            }
        }
        text
    }

    fn to_json(&self) -> Value {
        let failed = self.failed.iter().flat_map(|(workers, failed)| {
            failed.iter().map(move |failed| {
                let rows = |mark| {
                    let lines = failed.diff.iter().filter(move |line| line.mark == mark);
                    lines.map(|line| line.text.as_str()).collect::<Vec<_>>()
                };
                json!({
                    "workers": workers,
                    "port": failed.port,
                    "message": failed.message,
                    "notes": failed.notes,
                    "missing": rows(Mark::Missing),
                    "unexpected": rows(Mark::Unexpected),
                })
            })
        });
        let failed: Vec<Value> = failed.collect();
        let mut test = place(self.suite, self.test);
        test["passed"] = failed.is_empty().into();
        test["failures"] = failed.into();
        test
    }
}
