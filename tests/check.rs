//! `wxhost check` on every `tests/check/NAME.toml`: its plan is in `NAME.plan`, or what is wrong in `NAME.err`.
//! UPDATE_EXPECT=1 writes them.

use crate::support::{entries, expect_file, plugins, root, wxhost};

#[test]
fn every_flow_has_the_plan_or_the_problems_beside_it() {
    let folder = root().join("tests/check");
    let flows = entries(&folder).into_iter().filter(|path| path.extension().is_some_and(|end| end == "toml"));
    for path in flows {
        let name = path.file_name().unwrap().to_str().unwrap();
        let mut call = wxhost(&format!("check {name}")).dir(&folder);
        if std::fs::read_to_string(&path).is_ok_and(|text| text.contains("env:PLUGINS")) {
            call = call.env("PLUGINS", plugins::folder());
        }
        let done = call.run();
        assert!(!done.panicked(), "{name}: {}", done.describe());
        match done.code {
            Some(0) => {
                assert_eq!(done.stderr, "", "{name}");
                expect_file(&path.with_extension("plan"), &done.stdout);
            }
            code => {
                assert_eq!(done.stdout, "", "{name}");
                let text = format!("exit {}\n{}", code.unwrap_or(-1), done.stderr);
                expect_file(&path.with_extension("err"), &text);
            }
        }
    }
}

#[test]
fn programs_get_the_plan_and_the_problems_as_json() {
    let dir = crate::support::temp_dir();
    let good = r#"
        flow = "f"
        [[step]]
        name = "in"
        op = "input"
        source = "stdin"
        [[step]]
        name = "out"
        op = "output"
        sink = "stdout"
    "#;
    std::fs::write(dir.path().join("good.toml"), good).unwrap();
    let done = wxhost("check good.toml --format json").dir(dir.path()).run().expect(0);
    let plan: serde_json::Value = serde_json::from_str(&done.stdout).unwrap();
    assert_eq!(plan["flow"], "f");
    assert_eq!(
        plan["steps"][0]["ports"][0],
        serde_json::json!({
            "name": "down", "key": null, "columns": [{ "name": "value", "type": "string" }],
        })
    );
    assert_eq!(plan["steps"][1]["from"], serde_json::json!([{ "name": "in", "step": "in", "port": "down" }]));

    std::fs::write(
        dir.path().join("bad.toml"),
        good.replace("\"stdout\"", "\"nowhere\"").replace("\"input\"", "\"inptu\""),
    )
    .unwrap();
    let done = wxhost("check bad.toml --format json").dir(dir.path()).run().expect(78);
    assert_eq!(done.stdout, "");
    let problems: serde_json::Value = serde_json::from_str(&done.stderr).unwrap();
    assert_eq!(problems[0]["code"], "unknown-operator");
    assert_eq!(problems[0]["line"], 5);
    assert_eq!(problems[0]["help"], "did you mean \"input\"?");
}
