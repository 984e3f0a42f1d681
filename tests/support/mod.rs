//! Temporary folders, the program itself, and plugins that are built from source once.

pub mod case;
#[cfg(target_os = "linux")]
pub mod mounts;
pub mod plugins;
pub mod process;
pub mod python;

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

/// The root of the repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// Makes a temporary folder.
pub fn temp_dir() -> tempfile::TempDir {
    tempfile::Builder::new().prefix("wxhost-").tempdir().unwrap()
}

/// A call of the program.
pub struct Wxhost {
    command: Command,
    stdin: Vec<u8>,
}

/// What a call of the program did.
pub struct Done {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

/// Calls the program with arguments that spaces part.
pub fn wxhost(arguments: &str) -> Wxhost {
    let mut command = Command::new(env!("CARGO_BIN_EXE_wxhost"));
    command.args(arguments.split_whitespace());
    // What is set outside must not change what a test sees.
    for name in [
        "WXHOST_LOG",
        "WXHOST_WORKERS",
        "WXHOST_EPOCH",
        "WXHOST_RECOVERY",
        "WXHOST_RECOVERY_PARTS",
        "WXHOST_BACKUP_INTERVAL",
        "NO_COLOR",
        "RUST_BACKTRACE",
    ] {
        command.env_remove(name);
    }
    Wxhost { command, stdin: Vec::new() }
}

impl Wxhost {
    /// Adds an argument as it is.
    pub fn arg(mut self, argument: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// Adds arguments that spaces part.
    pub fn args(mut self, arguments: &str) -> Self {
        self.command.args(arguments.split_whitespace());
        self
    }

    /// Sets the folder to run in.
    pub fn dir(mut self, dir: &Path) -> Self {
        self.command.current_dir(dir);
        self
    }

    /// Sets an environment variable.
    pub fn env(mut self, name: &str, value: impl AsRef<std::ffi::OsStr>) -> Self {
        self.command.env(name, value);
        self
    }

    /// Sets what the program reads from stdin.
    pub fn stdin(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.stdin = bytes.into();
        self
    }

    /// Starts the program with its output in pipes.
    pub fn start(mut self) -> std::process::Child {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs the program to its end.
    pub fn run(mut self) -> Done {
        let stdin = std::mem::take(&mut self.stdin);
        let mut child = self.start();
        let mut pipe = child.stdin.take().unwrap();
        // On a thread of its own, since the program may write before it has read all. One that ends early does not
        // read to the end.
        let writer = std::thread::Builder::new();
        #[expect(clippy::disallowed_methods, reason = "a test is not the engine")]
        let writer = writer.spawn(move || drop(pipe.write_all(&stdin))).unwrap();
        let output = child.wait_with_output().unwrap();
        writer.join().unwrap();
        Done::of(output)
    }
}

impl Done {
    /// Takes what a process left.
    pub fn of(output: Output) -> Done {
        Done {
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }

    /// Fails the test unless the program ended with `code`.
    #[track_caller]
    pub fn expect(self, code: i32) -> Done {
        assert_eq!(self.code, Some(code), "{}", self.describe());
        assert!(!self.panicked(), "{}", self.describe());
        self
    }

    /// Whether the program panicked. What a plugin says when it does stands behind the time or in a note.
    pub fn panicked(&self) -> bool {
        self.stderr.lines().any(|line| line.starts_with("thread '") && line.contains("panicked at"))
    }

    /// All of it, for messages.
    pub fn describe(&self) -> String {
        let mut text = format!("exit {:?}\n", self.code);
        for (name, written) in [("stdout", &self.stdout), ("stderr", &self.stderr)] {
            let cut: String = written.chars().take(4000).collect();
            let _ = writeln!(text, "--- {name}\n{cut}");
        }
        text
    }
}

/// Copies a folder with all that is in it.
pub fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// The files below a folder, as paths relative to it, sorted.
pub fn files_below(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                folders.push(path);
            } else {
                files.push(path.strip_prefix(folder).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    files.sort();
    files
}

/// The entries of a folder, sorted by name.
pub fn entries(folder: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    entries.sort();
    entries
}

/// Compares a text with a file, or with UPDATE_EXPECT=1 writes it there.
#[track_caller]
pub fn expect_file(path: &Path, text: &str) {
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(path, text).unwrap();
        return;
    }
    let expected = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        expected == text,
        "{} is not what was written; UPDATE_EXPECT=1 accepts it\n--- expected\n{expected}\n--- written\n{text}",
        path.display()
    );
}
