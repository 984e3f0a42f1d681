//! Every folder of `tests/flows` is a case:
//!
//! - `flow.toml` and its inputs; `stdin`, where the flow reads that,
//! - `expected.stdout` and `expected/PATH`: what the flow writes, all of it and nothing else,
//! - `expected.exit` (default 0) and `expected.stderr`, of which each line occurs in what is written there,
//! - `then.toml`: a second flow, run when the first one ended well; only its stdout counts then,
//! - tests in `flow.toml`, each a `[[test]]`, which must pass; with `expected.test` they print that instead,
//! - what is written below `scratch` is for that second flow, and not compared,
//! - `ordered`, if the order of lines is part of the result with one worker.
//!
//! Each runs with one and with three workers, in a copy of its folder. UPDATE_EXPECT=1 writes what one worker wrote.

use crate::support::{Done, Wxhost, copy_folder, entries, expect_file, files_below, plugins, root, temp_dir, wxhost};
use std::path::Path;

#[test]
fn every_flow_gives_the_same_with_one_worker_and_with_three() {
    let only = only();
    let mut failed = Vec::new();
    for case in entries(&root().join("tests/flows")) {
        let name = case.file_name().unwrap().to_str().unwrap();
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        for workers in [1, 3] {
            if let Err(message) = run_case(&case, workers) {
                failed.push(format!("=== {name} with {workers} workers: {message}"));
            }
        }
        if let Err(message) = run_tests(&case) {
            failed.push(format!("=== the tests of {name}: {message}"));
        }
    }
    assert!(failed.is_empty(), "{} runs failed\n{}", failed.len(), failed.join("\n"));
}

/// The one folder that is to be run, if not all are.
pub fn only() -> Option<String> {
    std::env::var("FLOW").ok()
}

fn run_case(case: &Path, workers: usize) -> Result<(), String> {
    let dir = temp_dir();
    copy_folder(case, dir.path());
    std::fs::remove_dir_all(dir.path().join("expected")).ok();
    let before = files_below(dir.path());
    let mut done = run_flow(dir.path(), "flow.toml", workers)?;
    if done.code == Some(0) && case.join("then.toml").exists() {
        done = run_flow(dir.path(), "then.toml", workers)?;
    }
    let is_as_before = |file: &String| {
        before.contains(file) && std::fs::read(dir.path().join(file)).ok() == std::fs::read(case.join(file)).ok()
    };
    let is_new = |file: &String| !is_as_before(file) && !file.starts_with("scratch/");
    let written: Vec<String> = files_below(dir.path()).into_iter().filter(is_new).collect();
    if workers == 1 && std::env::var_os("UPDATE_EXPECT").is_some() {
        update(case, dir.path(), &done, &written);
        return Ok(());
    }
    let is_ordered = workers == 1 && case.join("ordered").exists();
    compare(case, dir.path(), &done, &written, is_ordered).map_err(|what| format!("{what}\n{}", done.describe()))
}

fn run_flow(dir: &Path, file: &str, workers: usize) -> Result<Done, String> {
    let call = call_on(dir, file, &format!("run {file} --summary=never -w {workers}"))?;
    Ok(call.stdin(std::fs::read(dir.join("stdin")).unwrap_or_default()).run())
}

/// A call of the program that has to do with a flow file of a folder.
pub fn call_on(dir: &Path, file: &str, arguments: &str) -> Result<Wxhost, String> {
    let text = std::fs::read_to_string(dir.join(file)).map_err(|error| format!("{file}: {error}"))?;
    let call = wxhost(arguments).dir(dir);
    Ok(if text.contains("env:PLUGINS") { call.env("PLUGINS", plugins::folder()) } else { call })
}

/// Runs the tests that a case has. They write nothing, whatever its sinks are.
fn run_tests(case: &Path) -> Result<(), String> {
    if !std::fs::read_to_string(case.join("flow.toml")).is_ok_and(|text| text.contains("[[test]]")) {
        return Ok(());
    }
    let dir = temp_dir();
    copy_folder(case, dir.path());
    let before = files_below(dir.path());
    let done = call_on(dir.path(), "flow.toml", "test flow.toml")?.run();
    if files_below(dir.path()) != before {
        return Err("something was written".to_owned());
    }
    let expected = case.join("expected.test");
    if !expected.exists() {
        return if done.code == Some(0) { Ok(()) } else { Err(done.describe()) };
    }
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        expect_file(&expected, &done.stdout);
    }
    let wanted = std::fs::read_to_string(&expected).unwrap_or_default();
    if done.code == Some(1) { same("what the tests print", &wanted, &done.stdout, true) } else { Err(done.describe()) }
}

/// Whether an execution ended as it should, and wrote what it should.
pub fn compare(case: &Path, dir: &Path, done: &Done, written: &[String], is_ordered: bool) -> Result<(), String> {
    let expected = |name: &str| std::fs::read_to_string(case.join(name)).ok();
    let code: i32 = expected("expected.exit").map_or(0, |code| code.trim().parse().unwrap());
    if done.code != Some(code) {
        return Err(format!("wanted exit {code}"));
    }
    if done.panicked() {
        return Err("something panicked".to_owned());
    }
    let wanted_stderr = expected("expected.stderr").unwrap_or_default();
    if wanted_stderr.is_empty() && !done.stderr.is_empty() {
        return Err("wanted nothing on stderr".to_owned());
    }
    if let Some(line) = wanted_stderr.lines().find(|line| !done.stderr.contains(*line)) {
        return Err(format!("stderr lacks: {line}"));
    }
    same("stdout", &expected("expected.stdout").unwrap_or_default(), &done.stdout, is_ordered)?;
    let wanted = files_below(&case.join("expected"));
    if wanted != written {
        return Err(format!("wanted the files {wanted:?}, written were {written:?}"));
    }
    for name in wanted {
        let read = |path: &Path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        same(&name, &read(&case.join("expected").join(&name)), &read(&dir.join(&name)), is_ordered)?;
    }
    Ok(())
}

fn same(what: &str, wanted: &str, written: &str, is_ordered: bool) -> Result<(), String> {
    let lines = |text: &str| {
        let mut lines: Vec<String> = text.split_inclusive('\n').map(str::to_owned).collect();
        if !is_ordered {
            lines.sort();
        }
        lines
    };
    if lines(wanted) == lines(written) {
        return Ok(());
    }
    let cut = |text: &str| text.chars().take(4000).collect::<String>();
    Err(format!("{what} is not what is expected\n--- wanted\n{}\n--- written\n{}", cut(wanted), cut(written)))
}

fn update(case: &Path, dir: &Path, done: &Done, written: &[String]) {
    let text_or_none = |name: &str, text: &str| match text {
        "" => drop(std::fs::remove_file(case.join(name))),
        text => expect_file(&case.join(name), text),
    };
    text_or_none("expected.stdout", &done.stdout);
    // Lines chosen by hand stay while they hold: all that is written has times and stacks in it.
    let chosen = std::fs::read_to_string(case.join("expected.stderr")).unwrap_or_default();
    if chosen.is_empty() || done.stderr.is_empty() || !chosen.lines().all(|line| done.stderr.contains(line)) {
        text_or_none("expected.stderr", &done.stderr.replace(dir.to_str().unwrap(), ""));
    }
    match done.code {
        Some(0) => text_or_none("expected.exit", ""),
        code => text_or_none("expected.exit", &format!("{}\n", code.unwrap_or(-1))),
    }
    std::fs::remove_dir_all(case.join("expected")).ok();
    for name in written {
        let target = case.join("expected").join(name);
        std::fs::create_dir_all(target.parent().unwrap()).unwrap();
        std::fs::copy(dir.join(name), target).unwrap();
    }
}
