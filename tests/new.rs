//! `wxhost new`: the project that it makes passes its tests, and its flow runs as it is.

use crate::support::{root, temp_dir, wxhost};
use std::path::Path;
use std::process::Command;

#[test]
fn a_new_project_runs_and_passes_its_tests_outside_of_this_workspace() {
    let dir = temp_dir();
    wxhost("new my-things").dir(dir.path()).run().expect(0);
    let project = dir.path().join("my-things");
    // The versions that are here already; a user's cargo would choose the newest.
    std::fs::copy(root().join("Cargo.lock"), project.join("Cargo.lock")).unwrap();
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("new");
    let done = wxhost("run my-things/flow.toml").env("CARGO_TARGET_DIR", &target).dir(dir.path()).run().expect(0);
    let mut lines: Vec<_> = done.stdout.lines().collect();
    lines.sort();
    assert_eq!(
        lines,
        [r#"{"sensor":"cellar","mean":54.05,"rows":2}"#, r#"{"sensor":"roof","mean":72.5,"rows":3}"#],
        "{}",
        done.describe()
    );
    let tests =
        Command::new("cargo").arg("test").current_dir(&project).env("CARGO_TARGET_DIR", &target).output().unwrap();
    let text = String::from_utf8_lossy(&tests.stdout);
    assert!(text.contains("test result: ok. 1 passed"), "{text}{}", String::from_utf8_lossy(&tests.stderr));
}

#[test]
fn nothing_is_written_over_what_is_there() {
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("mine")).unwrap();
    std::fs::write(dir.path().join("mine/notes.txt"), "").unwrap();
    let done = wxhost("new mine").dir(dir.path()).run().expect(2);
    assert!(done.stderr.contains("mine is there already"), "{}", done.stderr);
    assert_eq!(crate::support::files_below(dir.path()), ["mine/notes.txt"]);
    wxhost("new 2things").dir(dir.path()).run().expect(2);
    wxhost("new things --dir mine/notes.txt").dir(dir.path()).run().expect(74);
    wxhost("new things --sdk nowhere").dir(dir.path()).run().expect(74);
}
