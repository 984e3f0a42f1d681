//! `wxhost plan`: what a flow keeps of a recovery store.

use crate::support::{entries, temp_dir, wxhost};
use expect_test::{Expect, expect};
use std::path::Path;
use std::time::Duration;
use wxhost::dataflow::durable::{Changes, Recovery};
use wxhost::dataflow::env;
use wxhost::dataflow::failure::FailureSlot;
use wxhost::dataflow::writers::Writers;
use wxhost::recovery::catalogue::Step;
use wxhost::recovery::compare::FlowStep;
use wxhost::recovery::resume::Wanted;
use wxhost::recovery::store::{Options, Store};

const FLOW: &str = r#"
flow = "lines"

[[step]]
name = "in"
op = "input"
source = "stdin"

[[step]]
name = "out"
op = "output"
sink = { stdout = true, format = "lines" }
"#;

fn step(id: &str, kind: &str) -> FlowStep {
    FlowStep::from(Step { id: id.into(), kind: kind.to_owned(), fingerprint: b"{\"version\":1}".to_vec() })
}

fn open(folder: &Path) -> Store {
    let flow = "lines".into();
    let steps = [step("in", "input stdin"), step("sum", "fold_final")];
    let wanted = Wanted { flow: &flow, steps: &steps, drops: &[] };
    let options = Options { parts: 2, ..Options::default() };
    Store::open(folder, &wanted, options, &env::real::env()).unwrap()
}

/// A store of a flow that had a step "sum".
fn make(folder: &Path) {
    let (failure, writers) = (FailureSlot::default(), Writers::default());
    let store = open(folder).claim(1, &env::real::env(), &failure, &writers).unwrap();
    let keys = arrow::array::StringArray::from(vec!["a", "b", "c"]);
    let values = arrow::array::BinaryArray::from_iter_values([b"1", b"2", b"3"]);
    let changes = Changes { keys: wxhost::data::key::Keys::new(keys), values };
    store.state(&"sum".into(), store.first_epoch(), &changes).unwrap();
    store.source(&"in".into(), &"stdin".into(), store.first_epoch(), vec![1, 2]).unwrap();
    store.end();
    drop(store);
    writers.wait(Duration::from_secs(60));
}

#[track_caller]
fn check(arguments: &str, dir: &Path, code: i32, expect: &Expect) {
    let done = wxhost(&format!("plan flow.toml {arguments}")).dir(dir).run().expect(code);
    expect.assert_eq(&format!("{}{}", done.stdout, done.stderr));
}

#[test]
fn a_plan_says_what_becomes_of_each_state_and_changes_nothing() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("flow.toml"), FLOW).unwrap();
    check("--recovery state", dir.path(), 0, &expect![[""]]);
    assert!(!dir.path().join("state").exists());

    let state = dir.path().join("state");
    make(&state);
    let files = || entries(&state).into_iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>();
    let before = files();
    check("--recovery state", dir.path(), 78, &expect![[""]]);
    check("--recovery state --drop-state sum", dir.path(), 0, &expect![[""]]);
    check("--recovery state --drop-state sun", dir.path(), 78, &expect![[""]]);
    check("--recovery state --format json", dir.path(), 78, &expect![[""]]);
    let renamed = FLOW.replace("op = \"input\"", "op = \"input\"\nrenamed_from = \"sum\"");
    std::fs::write(dir.path().join("flow.toml"), renamed).unwrap();
    check("--recovery state", dir.path(), 78, &expect![[""]]);
    assert!(before == files());

    let held = open(&state);
    check("--recovery state", dir.path(), 69, &expect![[""]]);
    drop(held);
}

#[test]
fn a_name_before_is_not_that_of_another_step() {
    let dir = temp_dir();
    let renamed = FLOW.replace("op = \"output\"", "op = \"output\"\nrenamed_from = \"in\"");
    std::fs::write(dir.path().join("flow.toml"), renamed).unwrap();
    let done = wxhost("check flow.toml").dir(dir.path()).run().expect(78);
    assert!(
        done.stderr.contains("step \"out\" cannot be renamed from \"in\", which is a step here"),
        "{}",
        done.stderr
    );
}
