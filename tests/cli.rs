//! Commands other than run, and what all commands have in common.

use crate::support::{root, temp_dir, wxhost};
use std::io::{BufRead, BufReader, Read, Write};

/// Lines in, lines out.
const LINES: &str = r#"
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

#[test]
fn what_the_command_line_does_not_know_is_an_error_of_usage() {
    for arguments in [
        "",
        "rnu",
        "run",
        "run flow.toml -w 0",
        "run flow.toml -w x",
        "run flow.toml --epoch ten",
        "--log a=b=c operators",
    ] {
        let done = wxhost(arguments).run().expect(2);
        assert_eq!(done.stdout, "", "{arguments}");
        assert_ne!(done.stderr, "", "{arguments}");
    }
    assert!(wxhost("run f.toml").env("WXHOST_WORKERS", "many").run().expect(2).stderr.contains("a number from 1"));
}

#[test]
fn a_flow_file_that_cannot_be_read_is_named() {
    let dir = temp_dir();
    std::fs::create_dir(dir.path().join("folder")).unwrap();
    std::fs::write(dir.path().join("folder/flow.toml"), LINES).unwrap();
    std::fs::write(dir.path().join("binary.toml"), b"flow = \"a\"\n\xff\xfe\x00").unwrap();
    std::fs::write(dir.path().join("syntax.toml"), "flow = \"a\n[[step").unwrap();
    std::fs::write(dir.path().join("empty.toml"), "").unwrap();
    for (file, code, message) in [
        ("nothing.toml", 74, "error: nothing.toml: No such file or directory\nhelp: "),
        ("folder", 74, "error: folder: Is a directory\nhelp: did you mean folder/flow.toml?\n"),
        ("binary.toml", 78, "line 2 is not UTF-8 text (byte 11)"),
        ("syntax.toml", 78, "--> syntax.toml:1:"),
        ("empty.toml", 78, "missing key \"flow\""),
    ] {
        for command in ["run", "check", "graph", "plugin list"] {
            if command == "plugin list" && file == "folder" {
                continue;
            }
            let done = wxhost(command).arg(file).dir(dir.path()).run().expect(code);
            assert!(done.stderr.contains(message), "{command} {}", done.describe());
            assert_eq!(done.stdout, "");
        }
    }
    let done = wxhost("run nothing.toml --format json").dir(dir.path()).run().expect(74);
    let errors: serde_json::Value = serde_json::from_str(&done.stderr).unwrap();
    assert_eq!(errors[0]["message"], "nothing.toml: No such file or directory");
}

#[test]
fn operators_and_connectors_are_listed_and_explained() {
    for (command, name) in [("operators", "input"), ("connectors", "file")] {
        let list = wxhost(command).run().expect(0).stdout;
        assert!(list.lines().any(|line| line.starts_with(&format!("{name} "))), "{list}");
        let text = wxhost(command).arg(name).run().expect(0).stdout;
        assert!(text.starts_with(&format!("# {name}")) && text.contains("```toml"), "{text}");
        let done = wxhost(command).arg(format!("{name}s")).run().expect(2);
        assert!(done.stderr.contains(&format!("help: did you mean \"{name}\"?")), "{}", done.stderr);
        let json = wxhost(command).arg("--format=json").run().expect(0).stdout;
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert!(json.as_array().unwrap().iter().any(|entry| entry["name"] == name));
    }
}

#[test]
fn shells_get_completions() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        assert!(wxhost("completions").arg(shell).run().expect(0).stdout.contains("wxhost"), "{shell}");
    }
}

#[test]
fn settings_come_from_the_flag_before_the_environment_before_the_flow() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("flow.toml"), format!("{LINES}\n[run]\nworkers = 2\n")).unwrap();
    let workers = |call: crate::support::Wxhost| {
        let done = call.dir(dir.path()).stdin("a\n").run().expect(0);
        let summary: serde_json::Value = serde_json::from_str(&done.stderr).unwrap();
        summary["workers"].as_u64().unwrap()
    };
    let run = "run flow.toml --format json";
    assert_eq!(workers(wxhost(run)), 2);
    assert_eq!(workers(wxhost(run).env("WXHOST_WORKERS", "3")), 3);
    assert_eq!(workers(wxhost(run).env("WXHOST_WORKERS", "3").arg("-w4")), 4);
}

#[test]
fn a_run_ends_with_a_summary_and_keeps_stdout_for_data() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("flow.toml"), LINES).unwrap();
    let done = wxhost("run flow.toml").dir(dir.path()).stdin("a\nb\n").run().expect(0);
    assert_eq!(done.stdout, "a\nb\n");
    assert!(done.stderr.starts_with("flow \"lines\" done in "), "{}", done.stderr);
    assert!(done.stderr.contains("1 worker: 2 rows read"), "{}", done.stderr);
    let rows: Vec<Vec<&str>> = done.stderr.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..6], ["step", "op", "rows", "in", "rows", "out"]);
    assert_eq!(rows[1][..3], ["in", "input", "2"]);
    assert_eq!(rows[2][..3], ["out", "output", "2"]);
}

/// The same as LINES in a folder, running, with the first line through.
fn running(dir: &std::path::Path) -> (std::process::Child, std::process::ChildStdin) {
    std::fs::write(dir.join("flow.toml"), LINES).unwrap();
    let mut child = wxhost("run flow.toml").dir(dir).start();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(b"first\n").unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    (child, stdin)
}

fn signal(child: &std::process::Child, signal: &str) {
    let sent = std::process::Command::new("kill").arg(format!("-{signal}")).arg(child.id().to_string()).status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_signal_ends_a_flow_well() {
    for name in ["INT", "TERM"] {
        let dir = temp_dir();
        let (mut child, stdin) = running(dir.path());
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(0), "{name}");
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert!(stderr.contains("finishing what is under way") && stderr.contains("1 rows read"), "{stderr}");
        drop(stdin);
    }
}

#[test]
fn a_second_signal_stops_at_once() {
    let dir = temp_dir();
    let flow = LINES.replace(
        "[[step]]\nname = \"out\"",
        "[[step]]\nname = \"stuck\"\nop = \"map\"\nfn = \"kinds.moody\"\nlimits = { time_per_batch = \"off\" }\n\n\
         [[step]]\nname = \"out\"",
    );
    let plugin = crate::support::plugins::folder().join("kinds.wasm");
    let text = format!("{flow}\n[plugins.kinds]\npath = {plugin:?}\n");
    std::fs::write(dir.path().join("flow.toml"), text).unwrap();
    let mut child = wxhost("run flow.toml").dir(dir.path()).start();
    let mut stdin = child.stdin.take().unwrap();
    // The call that does not end says so first.
    stdin.write_all(b"say\nloop\n").unwrap();
    let mut stderr = BufReader::new(child.stderr.take().unwrap());
    let mut wait_for = |text: &str| {
        let mut line = String::new();
        while !line.contains(text) {
            line.clear();
            assert_ne!(stderr.read_line(&mut line).unwrap(), 0, "no {text}");
        }
    };
    wait_for("said on stderr");
    signal(&child, "INT");
    wait_for("a second signal stops at once");
    signal(&child, "INT");
    assert_eq!(child.wait().unwrap().code(), Some(130));
}

#[test]
fn a_graph_is_drawn_in_every_language() {
    let dir = temp_dir();
    std::fs::write(dir.path().join("flow.toml"), LINES).unwrap();
    for (language, text) in [
        ("mermaid", "    s0 --> s1\n"),
        ("dot", "s0 -> s1 [tooltip=\"value: string\"];"),
        ("svg", "</svg>"),
        ("json", "\"columns\": ["),
    ] {
        let call = || wxhost("graph flow.toml --as").arg(language).dir(dir.path());
        let graph = call().run().expect(0).stdout;
        assert!(graph.contains(text), "{graph}");
        let file = dir.path().join("graph");
        assert_eq!(call().arg("-o").arg(&file).run().expect(0).stdout, "");
        assert_eq!(std::fs::read_to_string(file).unwrap(), graph);
    }
    wxhost("graph flow.toml -o no/such/folder.svg").dir(dir.path()).run().expect(74);
}

#[test]
fn the_flows_of_the_plugins_are_good() {
    for plugin in ["wordcount", "anonymize", "streams-to-parquet"] {
        let done = wxhost("check").arg(root().join("plugins").join(plugin).join("flow.toml")).run().expect(0);
        assert!(done.stdout.starts_with("flow \""), "{}", done.stdout);
    }
}
