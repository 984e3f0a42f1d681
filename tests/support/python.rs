//! Python, for what is read or built with it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Fails the test with one line where Python or a part of it is missing.
#[track_caller]
pub fn expect_python() {
    for (module, name) in [("sys", "python3"), ("venv", "Python's module venv"), ("ensurepip", "pip for python3")] {
        let found = Command::new("python3").args(["-c", &format!("import {module}")]).output();
        assert!(found.is_ok_and(|found| found.status.success()), "{name} is missing, which this test needs");
    }
}

/// Returns the interpreter of an environment that has readers of Parquet. It is made once, below the target folder.
pub fn with_readers() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap();
        let environment = target.join("readers-venv");
        let python = environment.join("bin/python");
        if !python.exists() {
            expect_python();
            // It appears under its name when it is whole: a test that was stopped leaves none that lacks something.
            let folder = tempfile::Builder::new().prefix("readers-venv-").tempdir_in(target).unwrap();
            let new = folder.path().join("venv");
            call(Command::new("python3").args(["-m", "venv"]).arg(&new), "make an environment for Python");
            let pip = ["-m", "pip", "install", "--quiet", "pyarrow", "duckdb", "polars"];
            call(Command::new(new.join("bin/python")).args(pip), "install pyarrow, duckdb and polars from PyPI");
            // If that fails, another process of tests was faster.
            std::fs::rename(&new, &environment).ok();
        }
        python
    })
}

#[track_caller]
fn call(command: &mut Command, what: &str) {
    let done = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&done.stderr);
    let why = stderr.lines().rfind(|line| line.contains("ERROR")).or(stderr.lines().next_back());
    assert!(done.status.success(), "cannot {what}: {}", why.unwrap_or_default());
}
