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
    let changes = Changes::of_some(wxhost::data::key::Keys::new(keys), values);
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
    check(
        "--recovery state",
        dir.path(),
        0,
        &expect![[r#"
        flow "lines" begins: there is no store in state

        in (input stdin): new

        out (output stdout): new
    "#]],
    );
    assert!(!dir.path().join("state").exists());

    let state = dir.path().join("state");
    make(&state);
    let files = || entries(&state).into_iter().map(|path| std::fs::read(path).unwrap()).collect::<Vec<_>>();
    let before = files();
    check(
        "--recovery state",
        dir.path(),
        78,
        &expect![[r#"
        flow "lines" goes on from epoch 1 of the store in state

        in (input stdin): state kept; 1 partition, 2 bytes
          argument "source" is new

        out (output stdout): new

        sum (fold_final): would be dropped: the flow has no such step; 3 keys, 1320 bytes
          help: if it has another name now, write renamed_from = "sum" in that step; --drop-state sum drops its state

        the flow would not run: state would be lost
    "#]],
    );
    check(
        "--recovery state --drop-state sum",
        dir.path(),
        0,
        &expect![[r#"
        flow "lines" goes on from epoch 1 of the store in state

        in (input stdin): state kept; 1 partition, 2 bytes
          argument "source" is new

        out (output stdout): new

        sum (fold_final): state dropped; 3 keys, 1320 bytes
    "#]],
    );
    check(
        "--recovery state --drop-state sun",
        dir.path(),
        78,
        &expect![[r#"
        error: recovery store, part-0.sqlite3: neither the flow nor the store has a step "sun" whose state could be dropped
        help: did you mean "sum"?
    "#]],
    );
    check(
        "--recovery state --format json",
        dir.path(),
        78,
        &expect![[r#"
        {
          "epoch": 1,
          "flow": "lines",
          "goes_on": false,
          "steps": [
            {
              "bytes": 2,
              "changes": [
                "argument \"source\" is new"
              ],
              "help": null,
              "keys": 0,
              "kind": "input stdin",
              "message": null,
              "outcome": "kept",
              "partitions": 1,
              "renamed_from": null,
              "state_version": null,
              "step": "in"
            },
            {
              "bytes": 0,
              "changes": [],
              "help": null,
              "keys": 0,
              "kind": "output stdout",
              "message": null,
              "outcome": "new",
              "partitions": 0,
              "renamed_from": null,
              "state_version": null,
              "step": "out"
            },
            {
              "bytes": 1320,
              "changes": [],
              "help": "if it has another name now, write renamed_from = \"sum\" in that step; --drop-state sum drops its state",
              "keys": 3,
              "kind": "fold_final",
              "message": "step \"sum\" (fold_final) has state here, but the flow has no such step",
              "outcome": "would_be_dropped",
              "partitions": 0,
              "renamed_from": null,
              "state_version": null,
              "step": "sum"
            }
          ],
          "store": true
        }
    "#]],
    );
    let renamed = FLOW.replace("op = \"input\"", "op = \"input\"\nrenamed_from = \"sum\"");
    std::fs::write(dir.path().join("flow.toml"), renamed).unwrap();
    check(
        "--recovery state",
        dir.path(),
        78,
        &expect![[r#"
        flow "lines" goes on from epoch 1 of the store in state

        in (input stdin): cannot be kept: "sum" has state, too; 1 partition, 2 bytes
          help: --drop-state in or --drop-state sum drops one of the two

        out (output stdout): new

        the flow would not run: state would be lost
    "#]],
    );
    assert!(before == files());

    let held = open(&state);
    let done = wxhost("plan flow.toml --recovery state").dir(dir.path()).run().expect(69);
    assert!(done.stderr.contains("another process has it open"), "{}", done.stderr);
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
