//! The shape of the source: who may import whom, where each external crate lives, how long files are, and that what is
//! declared is documented and tested.

use crate::support::{entries, files_below, root};
use std::collections::BTreeSet;
use std::path::Path;
use wxhost::catalog::Catalog;
use wxhost::catalog::cx::FlowCx;
use wxhost::connectors::CONNECTORS;
use wxhost::operators::OPERATORS;
use wxhost::spec;

/// Each module with those that it may import.
const LAYERS: &[(&str, &[&str])] = &[
    ("data", &[]),
    ("diag", &[]),
    ("spec", &["diag"]),
    ("telemetry", &["data"]),
    ("formats", &["data"]),
    // Dead letters are rows of JSON.
    ("dataflow", &["data", "telemetry", "formats"]),
    ("catalog", &["data", "diag", "spec", "dataflow"]),
    ("recovery", &["data", "diag", "dataflow", "telemetry"]),
    ("plugin", &["data", "dataflow", "catalog", "telemetry"]),
    ("operators", &["data", "diag", "spec", "catalog", "dataflow", "formats", "telemetry"]),
    ("connectors", &["data", "diag", "spec", "catalog", "dataflow", "formats", "telemetry"]),
    ("plan", &["data", "diag", "spec", "catalog", "dataflow", "telemetry"]),
    ("run", &["data", "plan", "dataflow", "recovery", "telemetry"]),
    ("testing", &["data", "diag", "spec", "catalog", "dataflow", "formats", "operators", "connectors", "plan", "run"]),
    (
        "cli",
        &[
            "data",
            "diag",
            "spec",
            "catalog",
            "dataflow",
            "formats",
            "recovery",
            "plugin",
            "operators",
            "connectors",
            "plan",
            "recovery",
            "run",
            "telemetry",
            "testing",
        ],
    ),
];

/// External crates with the places that may name them.
const HOMES: &[(&str, &[&str])] = &[
    // A project in another language than Rust says in TOML how it is built.
    ("toml", &["spec/", "plugin/project.rs"]),
    ("timely", &["dataflow/", "run/"]),
    ("rusqlite", &["recovery/sqlite"]),
    ("crc32c", &["recovery/catalogue.rs"]),
    ("wasmtime", &["plugin/"]),
    ("wasmtime_wasi", &["plugin/"]),
    ("parquet", &["connectors/parquet"]),
    ("clap", &["cli/"]),
    ("clap_complete", &["cli/"]),
    ("signal_hook", &["cli/"]),
    ("tracing_subscriber", &["cli/"]),
    ("indicatif", &["telemetry/progress.rs"]),
    ("layout", &["plan/graph.rs"]),
    ("annotate_snippets", &["diag.rs"]),
    ("similar", &["testing/"]),
    ("csv_core", &["formats/"]),
    ("sonic_rs", &["formats/"]),
    ("tokio", &["plugin/"]),
];

/// The most lines of a file. Longer files are harder to read than two.
const MOST_LINES: usize = 500;
/// Files that are longer, with the reason.
const LONGER: &[(&str, &str)] = &[];

/// A source file of the host without its tests.
struct Source {
    /// Below `host/src`.
    path: String,
    text: String,
}

fn sources() -> Vec<Source> {
    let folder = root().join("host/src");
    let is_source = |path: &String| path.ends_with(".rs") && !path.contains("/template/");
    let is_test = |path: &str| {
        path.split('/')
            .any(|part| matches!(part, "tests" | "tests.rs" | "round_trips.rs" | "round_trip.rs" | "testing.rs"))
    };
    let read = |path: String| {
        let text = std::fs::read_to_string(folder.join(&path)).unwrap();
        let text = if is_test(&path) { String::new() } else { without_tests(&text) };
        Source { path, text }
    };
    files_below(&folder).into_iter().filter(is_source).map(read).collect()
}

/// Cuts a file at its tests, which stand at its end, and takes out comments.
fn without_tests(text: &str) -> String {
    let end = text.find("#[cfg(test)]\nmod tests {").unwrap_or(text.len());
    text[..end].lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

#[test]
fn modules_import_those_below_them_only() {
    let mut wrong = Vec::new();
    for Source { path, text } in sources() {
        let module = path.split(['/', '.']).next().unwrap();
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some((_, allowed)) = LAYERS.iter().find(|(name, _)| *name == module) else {
            wrong.push(format!("{path}: module {module} has no layer"));
            continue;
        };
        for imported in words_after(&text, "crate::") {
            let is_module = LAYERS.iter().any(|(name, _)| *name == imported);
            if is_module && imported != module && !allowed.contains(&imported.as_str()) {
                wrong.push(format!("{path} imports {imported}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn every_external_crate_has_one_home() {
    let mut wrong = Vec::new();
    for Source { path, text } in sources() {
        for (name, homes) in HOMES {
            let is_named = text.match_indices(&format!("{name}::")).any(|(at, _)| {
                // A module of ours may have the name of a crate: crate::spec::toml, super::toml.
                !text[..at].ends_with(|c: char| c.is_alphanumeric() || matches!(c, '_' | ':'))
            });
            let declares_module = text.contains(&format!("mod {name};"));
            if is_named && !declares_module && !homes.iter().any(|home| path.starts_with(home)) {
                wrong.push(format!("{path} names the crate {name}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The identifiers that follow `prefix`, also those in braces after it.
fn words_after(text: &str, prefix: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut words = BTreeSet::new();
    for (at, _) in text.match_indices(prefix) {
        let rest = &text[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(list) => {
                let list = list.split(';').next().unwrap_or_default();
                words.extend(list.split([',', '{', '}', ' ', '\n']).map(word));
            }
            None => drop(words.insert(word(rest))),
        }
    }
    words
}

#[test]
fn no_file_is_longer_than_one_reads() {
    let mut wrong = Vec::new();
    for path in tracked().into_iter().filter(|path| path.ends_with(".rs")) {
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        let is_allowed = LONGER.iter().any(|(longer, _)| *longer == path);
        match text.lines().count() {
            lines if lines > MOST_LINES && !is_allowed => wrong.push(format!("{path} has {lines} lines")),
            lines if lines <= MOST_LINES && is_allowed => wrong.push(format!("{path} need not be in the list")),
            _ => {}
        }
    }
    assert!(wrong.is_empty(), "at most {MOST_LINES} lines: {wrong:#?}");
}

#[test]
fn git_has_neither_components_nor_paths_of_somebodys_machine() {
    let mut wrong = Vec::new();
    let places = [concat!("/", "work/"), concat!("/", "root/"), concat!("/", "Users/"), concat!("/", "home/")];
    for path in tracked() {
        if path.ends_with(".wasm") {
            wrong.push(format!("{path} is built, not written"));
        }
        let Ok(text) = std::fs::read_to_string(root().join(&path)) else { continue };
        for place in places.iter().filter(|place| text.contains(*place)) {
            wrong.push(format!("{path} has a path in {place}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// The files that git knows; none where there is no git.
fn tracked() -> Vec<String> {
    let git = std::process::Command::new("git").arg("-C").arg(root()).args(["ls-files", "-z"]).output();
    let list = git.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    list.split('\0').filter(|path| !path.is_empty()).map(str::to_owned).collect()
}

#[test]
fn every_operator_and_connector_is_used_by_a_flow_test() {
    let mut flows = String::new();
    for case in entries(&root().join("tests/flows")) {
        flows += &std::fs::read_to_string(case.join("flow.toml")).unwrap();
    }
    let unused_operators =
        OPERATORS.iter().map(|operator| operator.name()).filter(|name| !flows.contains(&format!("op = \"{name}\"\n")));
    let unused_connectors = CONNECTORS.iter().map(|connector| connector.name()).filter(|name| {
        ["source", "sink"].iter().all(|role| {
            !flows.contains(&format!("{role} = {{ {name} = ")) && !flows.contains(&format!("{role} = \"{name}\""))
        })
    });
    let unused: Vec<_> = unused_operators.chain(unused_connectors).collect();
    assert!(unused.is_empty(), "without a folder in tests/flows that uses them: {unused:?}");
}

#[test]
fn declarations_have_names_in_snake_case_once_and_texts_that_begin_with_a_sentence() {
    let operators = OPERATORS.iter().map(|operator| ("operator", operator.name(), operator.doc()));
    let connectors = CONNECTORS.iter().map(|connector| ("connector", connector.name(), connector.doc()));
    let mut names = BTreeSet::new();
    for (what, name, doc) in operators.chain(connectors) {
        assert!(names.insert((what, name)), "{what} {name} is declared twice");
        assert!(name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'), "{what} {name}");
        let first = doc.lines().next().unwrap_or_default();
        assert!(first.ends_with('.') && first.len() > 10, "{what} {name} begins with: {first}");
        assert!(!examples(doc).is_empty(), "{what} {name} has no example");
    }
}

/// The text of the `toml` blocks of a reference text.
fn examples(doc: &str) -> Vec<String> {
    let blocks = doc.split("```toml\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap_or_default().to_owned()).collect()
}

/// What an example may lack: the columns that its step reads, the functions, other steps, the files that it names.
const SURROUNDINGS: &[&str] = &[
    "no-column",
    "function-refused",
    "no-output",
    "unused-step",
    "errors-unused",
    "no-key",
    "no-port",
    "no-upstream",
    "unknown-step",
];

#[test]
fn the_arguments_in_examples_are_those_that_operators_and_connectors_take() {
    let operators = OPERATORS.iter().map(|operator| (operator.name(), operator.doc()));
    let connectors = CONNECTORS.iter().map(|connector| (connector.name(), connector.doc()));
    let mut wrong = Vec::new();
    for (name, doc) in operators.chain(connectors) {
        for example in examples(doc) {
            wrong.extend(check_example(&example).into_iter().map(|problem| format!("{name}: {problem}\n{example}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Checks an example as part of a flow in which the steps that it takes from read lines.
fn check_example(example: &str) -> Vec<String> {
    // A connector's example may be the one line that matters.
    let example = match example.contains("[[step]]") {
        true => example.to_owned(),
        false if example.trim_start().starts_with("source") => step("input", example),
        false => step("output", example),
    };
    let (parsed, problems) = spec::parse(&format!("flow = \"example\"\n{example}"), &|_| Some(String::new()));
    let Some(parsed) = parsed.filter(|_| problems.is_empty()) else { return vec![problems.to_string()] };
    let mut ups: BTreeSet<String> = BTreeSet::from(["above".to_owned()]);
    for step in &parsed.steps {
        match &step.from {
            spec::From::Above => {}
            spec::From::One(port) => drop(ups.insert(port.step.clone())),
            spec::From::Many(ports) => ups.extend(ports.iter().map(|port| port.step.clone())),
            spec::From::Named(sides) => ups.extend(sides.iter().map(|(_, port)| port.step.clone())),
        }
    }
    let own: BTreeSet<_> = parsed.steps.iter().map(|step| step.name.value.clone()).collect();
    let before: String = ups
        .difference(&own)
        .map(|name| format!("[[step]]\nname = \"{name}\"\nop = \"input\"\nsource = \"stdin\"\n"))
        .collect();
    let text = format!("flow = \"example\"\n{before}{example}");
    let (parsed, problems) = spec::parse(&text, &|_| Some(String::new()));
    let Some(parsed) = parsed.filter(|_| problems.is_empty()) else { return vec![problems.to_string()] };
    let catalog = Catalog { operators: OPERATORS, connectors: CONNECTORS };
    let library = wxhost::plugin::library::Library::new(Vec::new(), wxhost::dataflow::env::real::env(), None).unwrap();
    let cx = FlowCx { catalog, functions: &library, plugins: &[], base: Path::new("") };
    let Err(problems) = wxhost::plan::check(&parsed, &text, cx) else { return Vec::new() };
    let is_wrong = |code: &str| !SURROUNDINGS.contains(&code) && !code.starts_with("io-");
    problems
        .iter()
        .filter(|problem| is_wrong(problem.code))
        .map(|problem| format!("{}: {problem}", problem.code))
        .collect()
}

fn step(op: &str, arguments: &str) -> String {
    format!("[[step]]\nname = \"step\"\nop = \"{op}\"\n{arguments}")
}

#[test]
fn the_readme_lists_every_operator() {
    let Ok(readme) = std::fs::read_to_string(root().join("README.md")) else { return };
    let table = readme.split("## ").find(|section| section.to_lowercase().starts_with("operators"));
    let table = table.expect("README.md has a section \"Operators\"");
    let missing: Vec<_> =
        OPERATORS.iter().map(|operator| operator.name()).filter(|name| !table.contains(&format!("`{name}`"))).collect();
    assert!(missing.is_empty(), "not in README.md: {missing:?}");
}
