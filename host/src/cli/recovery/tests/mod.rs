//! Each command on a store that a flow has written.

mod data;
mod looking;

use super::{Args, execute};
use crate::cli::Output;
use crate::recovery::testing::{env, run_sample};
use clap::Parser;
use expect_test::Expect;
use std::fs;
use std::path::Path;
use tempfile::TempDir;

#[derive(clap::Parser)]
struct Line {
    #[command(flatten)]
    args: Args,
}

/// Seven epochs by two executions.
fn store() -> TempDir {
    let folder = TempDir::new().unwrap();
    run_sample(folder.path(), 1..=4);
    run_sample(folder.path(), 5..=7);
    folder
}

/// What a command prints, or its failure with its exit code.
fn say(folder: &Path, words: &[&str], output: Output) -> String {
    let path = folder.display().to_string();
    let line = Line::try_parse_from(["recovery"].iter().chain(words).chain(&["--recovery", &path])).unwrap();
    let mut text = String::new();
    let done = execute(&line.args, &env(), output, &mut |more| {
        text += more;
        Ok(())
    });
    if let Err(failure) = done {
        text += &format!("{}exit code {}\n", failure.render(output), failure.code());
    }
    text.replace(&path, "DIR")
}

const TEXT: Output = Output { json: false, color_stderr: false };
const JSON: Output = Output { json: true, color_stderr: false };

#[track_caller]
fn check(folder: &TempDir, words: &[&str], expect: &Expect) {
    expect.assert_eq(&say(folder.path(), words, TEXT));
}

#[track_caller]
fn check_json(folder: &TempDir, words: &[&str], expect: &Expect) {
    expect.assert_eq(&say(folder.path(), words, JSON));
}

/// The files of a folder with their bytes.
fn files(folder: &Path) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
    let files = entries.filter(|entry| entry.path().is_file());
    let mut files: Vec<_> = files
        .map(|entry| (entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path()).unwrap()))
        .collect();
    files.sort();
    files
}
