//! Every folder of `tests/flows` ([`crate::flows`]) once more, with recovery: it gives what it gives without, and run again,
//! nothing more. A step that keeps something without being declared to ends with an error here.

use crate::flows::{call_on, compare, only};
use crate::support::{Done, copy_folder, entries, files_below, root, temp_dir};
use std::collections::BTreeMap;
use std::path::Path;

#[test]
fn every_flow_gives_the_same_with_recovery_and_nothing_more_when_it_is_run_again() {
    let only = only();
    let mut failed = Vec::new();
    for case in entries(&root().join("tests/flows")) {
        let name = case.file_name().unwrap().to_str().unwrap();
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        if let Err(message) = run_case(&case) {
            failed.push(format!("=== {name}: {message}"));
        }
    }
    assert!(failed.is_empty(), "{} flows failed\n{}", failed.len(), failed.join("\n"));
}

fn run_case(case: &Path) -> Result<(), String> {
    let (dir, store) = (temp_dir(), temp_dir());
    copy_folder(case, dir.path());
    std::fs::remove_dir_all(dir.path().join("expected")).ok();
    let before = contents(dir.path());
    let stdin = std::fs::read(dir.path().join("stdin")).unwrap_or_default();
    let run = |stdin: &[u8]| run_flow(dir.path(), store.path(), stdin);
    let code = std::fs::read_to_string(case.join("expected.exit")).map_or(0, |code| code.trim().parse().unwrap());
    let first = run(&stdin)?;
    if code != 0 {
        is_end(case, &first, code)?;
        // An abort on purpose, too: nothing was kept of what came before it.
        return is_end(case, &run(&stdin)?, code);
    }
    if case.join("then.toml").exists() {
        is_end(case, &first, 0)?;
    } else {
        let is_written = |(name, bytes): &(String, Vec<u8>)| before.get(name) != Some(bytes);
        let is_compared = |name: &String| !name.starts_with("scratch/");
        let written = contents(dir.path()).into_iter().filter(is_written).map(|(name, _)| name).filter(is_compared);
        let compared = compare(case, dir.path(), &first, &written.collect::<Vec<_>>(), case.join("ordered").exists());
        compared.map_err(|what| format!("{what}\n{}", first.describe()))?;
    }
    if before.values().any(|bytes| bytes.windows(6).any(|part| part == b"\"@end\"")) {
        // The script goes on behind its end.
        is_end(case, &run(&[])?, 0)?;
    }
    let after = files_kept(dir.path());
    // What was read from stdin cannot be read again.
    let second = run(&[])?;
    // Each execution writes its own header to stdout.
    let header = first.stdout.lines().next().filter(|line| !line.starts_with('{')).unwrap_or_default();
    let is_nothing = second.stdout.is_empty() || second.stdout.trim_end() == header;
    if second.code != Some(0) || second.panicked() || !is_nothing || files_kept(dir.path()) != after {
        let now = files_below(dir.path());
        return Err(format!("the second run did something; the files are {now:?}\n{}", second.describe()));
    }
    Ok(())
}

/// An execution ended with a code, and said why.
fn is_end(case: &Path, done: &Done, code: i32) -> Result<(), String> {
    let stderr = std::fs::read_to_string(case.join("expected.stderr")).unwrap_or_default();
    let says_why = code == 0 || stderr.lines().all(|line| done.stderr.contains(line));
    if done.code != Some(code) || done.panicked() || !says_why {
        return Err(format!("wanted exit {code} and {stderr:?}\n{}", done.describe()));
    }
    Ok(())
}

fn run_flow(dir: &Path, store: &Path, stdin: &[u8]) -> Result<Done, String> {
    let call = call_on(dir, "flow.toml", "run flow.toml --summary=never --recovery-parts 1 --recovery")?.arg(store);
    Ok(call.stdin(stdin).run())
}

/// Those files that an execution with nothing to do leaves as they are: the plugin `kinds.notes` begins its own anew.
fn files_kept(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut contents = contents(dir);
    contents.remove("notes/notes.txt");
    contents
}

/// What the files of a folder have in them.
fn contents(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let read = |name: String| {
        // A link may lead nowhere, or to a device.
        let path = dir.join(&name);
        let bytes = if path.is_file() { std::fs::read(path).unwrap_or_default() } else { Vec::new() };
        (name, bytes)
    };
    files_below(dir).into_iter().map(read).collect()
}
