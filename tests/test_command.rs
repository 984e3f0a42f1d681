//! `wxhost test`: which tests are run, and how it tells what they did. What tests can say is in `tests/flows` and
//! `tests/check`.

use crate::support::{Wxhost, temp_dir, wxhost};
use std::path::Path;

const FLOW: &str = r#"
flow = "doubled"

[[step]]
name = "in"
op = "input"
source = { testing = [1] }

[[step]]
name = "out"
op = "output"
sink = "stdout"

[[test]]
name = "what goes in comes out"
input.in = [1, 2]
expect.out = "two.jsonl"
"#;

const BESIDE: &str = r#"
[[test]]
name = "nothing goes in"
workers = [1, 2]
input.in = []
expect.out = [{ value = 1 }]
"#;

fn call(arguments: &str, dir: &Path) -> Wxhost {
    wxhost(arguments).dir(dir)
}

/// A folder with two flows, of which one has tests beside it.
fn flows() -> tempfile::TempDir {
    let dir = temp_dir();
    for folder in ["a/b", "c", "target", ".git"] {
        let folder = dir.path().join(folder);
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("flow.toml"), FLOW).unwrap();
        std::fs::write(folder.join("two.jsonl"), "{\"value\": 1}\n{\"value\": 2.0}\n").unwrap();
    }
    std::fs::write(dir.path().join("a/b/two.jsonl"), "{\"value\":1}\n{\"value\":2}\n").unwrap();
    std::fs::write(dir.path().join("c/two.jsonl"), "{\"value\":1}\n{\"value\":2}\n").unwrap();
    std::fs::write(dir.path().join("c/flow.test.toml"), BESIDE).unwrap();
    dir
}

#[test]
fn the_tests_of_all_flows_of_a_folder_are_run() {
    let dir = flows();
    let done = call("test", dir.path()).run().expect(1);
    let wanted = "ok     what goes in comes out\n\
                  ok     what goes in comes out\n\
                  FAILED nothing goes in\n       \
                  c/flow.test.toml:2: out: 1 row did not come (with 1 worker)\n       \
                  - {\"value\":1}\n       \
                  c/flow.test.toml:2: out: 1 row did not come (with 2 workers)\n       \
                  - {\"value\":1}\n\n\
                  2 passed, 1 failed\n";
    assert_eq!((done.stdout.as_str(), done.stderr.as_str()), (wanted, ""));
    assert_eq!(
        call("test a/b/flow.toml", dir.path()).run().expect(0).stdout.lines().last(),
        Some("1 passed, 0 failed")
    );
    assert_eq!(call("test --only=comes", dir.path()).run().expect(0).stdout.lines().last(), Some("2 passed, 0 failed"));
    let listed = call("test c --list", dir.path()).run().expect(0).stdout;
    assert_eq!(listed, "what goes in comes out\nnothing goes in\n");
    assert_eq!(call("test c --only=x", dir.path()).run().expect(0).stdout, "0 passed, 0 failed\n");
    call("test d", dir.path()).run().expect(74);
}

#[test]
fn programs_get_what_tests_did_as_json() {
    let dir = flows();
    let done = call("test c --format=json", dir.path()).run().expect(1);
    let told: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!((&told["passed"], &told["failed"]), (&1.into(), &1.into()));
    let failure = |workers: usize| {
        serde_json::json!({
            "workers": workers,
            "port": "out",
            "message": "1 row did not come",
            "notes": [],
            "missing": ["{\"value\":1}"],
            "unexpected": [],
        })
    };
    let wanted = serde_json::json!({
        "name": "nothing goes in",
        "file": "c/flow.test.toml",
        "line": 2,
        "workers": [1, 2],
        "passed": false,
        "failures": [failure(1), failure(2)],
    });
    assert_eq!(told["tests"][1], wanted);
}

#[test]
fn a_test_that_is_wrong_is_refused_before_any_is_run() {
    let dir = flows();
    std::fs::write(dir.path().join("c/flow.test.toml"), "[[test]]\nname = \"a\"\nexpect.output = []\n[[step]]\n")
        .unwrap();
    for command in ["test", "check c/flow.toml"] {
        let done = call(command, dir.path()).run().expect(78);
        assert_eq!(done.stdout, "", "{command}");
        assert!(done.stderr.contains("unknown key \"step\" in a file of tests"), "{}", done.stderr);
    }
    std::fs::write(dir.path().join("c/flow.test.toml"), "[[test]]\nname = \"a\"\nexpect.outt = []\n").unwrap();
    let done = call("test", dir.path()).run().expect(78);
    assert!(
        done.stderr.contains("c/flow.test.toml:3:8") && done.stderr.contains("did you mean \"out\"?"),
        "{}",
        done.stderr
    );
    let run = call("run c/flow.toml --summary=never", dir.path()).run().expect(0);
    assert_eq!(run.stdout, "{\"value\":1}\n");
}
