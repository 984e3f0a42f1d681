//! The example flows below `plugins/`, as their READMEs show them.

use crate::support::{Done, copy_folder, root, temp_dir, wxhost};

/// Runs the flow of an example that needs no plugin of this workspace, or only one that is built where it stands.
fn run(example: &str, workers: usize) -> Done {
    let flow = root().join("plugins").join(example).join("flow.toml");
    wxhost(&format!("run --summary=never -w {workers}")).arg(&flow).run().expect(0)
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn three_readings_have_two_averages() {
    let averages = [
        r#"{"user_id":"123","average":6.0,"open_time":"2023-01-01T00:00:00Z"}"#,
        r#"{"user_id":"123","average":2.0,"open_time":"2023-01-01T00:00:05Z"}"#,
    ];
    assert_eq!(run("window-average", 1).stdout.lines().collect::<Vec<_>>(), averages);
    assert_eq!(run("window-average", 3).stdout.lines().collect::<Vec<_>>(), averages);
}

#[test]
fn a_join_gives_what_has_come_on_both_sides() {
    for workers in [1, 3] {
        let done = run("join", workers);
        assert_eq!(done.stdout, "{\"user_id\":\"123\",\"name\":\"Bumble\",\"email\":\"bee@bumblebee.com\"}\n");
    }
}

#[test]
fn a_merge_gives_everything_of_both() {
    for workers in [1, 3] {
        let done = run("merge", workers);
        let wanted = [
            r#"{"name":"Bumble","user_id":"123","email":null}"#,
            r#"{"name":null,"user_id":"123","email":"bee@bumblebee.com"}"#,
            r#"{"name":null,"user_id":"456","email":"hive@bumblebee.com"}"#,
        ];
        assert_eq!(sorted(&done.stdout), wanted);
    }
}

#[test]
fn visits_end_with_a_pause() {
    let dir = temp_dir();
    copy_folder(&root().join("plugins/sessions"), dir.path());
    let flow = std::fs::read_to_string(dir.path().join("flow.toml")).unwrap();
    let plugin = format!("path = {:?}", root().join("plugins/sessions"));
    std::fs::write(dir.path().join("flow.toml"), flow.replace("path = \".\"", &plugin)).unwrap();
    let done = wxhost("run flow.toml --summary=never").dir(dir.path()).run().expect(0);
    let first = r#"{"user_custom_id":"ann","pages":3,"entry":"/","exit":"/shop","seconds":1200.0,"open_time":"2024-05-01T10:00:00Z"}"#;
    assert_eq!(done.stdout.lines().next(), Some(first));
    assert_eq!(done.stdout.lines().count(), 5);
    let late = std::fs::read_to_string(dir.path().join("out/late.jsonl")).unwrap();
    assert_eq!(late.lines().count(), 1);
    assert!(late.contains("/shop/pay"), "{late}");
}

#[test]
fn the_tests_in_the_examples_pass() {
    let done = wxhost("test").arg(root().join("plugins")).run().expect(0);
    assert!(done.stdout.contains(" passed, 0 failed"), "{}", done.describe());
}
