//! Small file systems of a test's own, which fill up or become read-only when the test wants it.

use super::Done;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

/// A shell in a mount namespace of its own. Nobody else sees what is mounted there, and all of it goes when the shell does.
pub struct Mounts {
    shell: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    /// What its commands run in.
    dir: PathBuf,
    /// What they write is kept here.
    said: tempfile::TempDir,
}

impl Mounts {
    /// Starts the shell in a folder. None if `WXHOST_SKIP_MOUNTS=1` says that the machine does not let us mount.
    #[track_caller]
    pub fn new(dir: &Path) -> Option<Mounts> {
        if std::env::var("WXHOST_SKIP_MOUNTS").is_ok_and(|skip| skip == "1") {
            println!("skipped, since WXHOST_SKIP_MOUNTS=1");
            return None;
        }
        let can = |how: &str| {
            let tried = Command::new("unshare").args([how, "mount", "-t", "tmpfs", "none"]).arg(dir).output();
            tried.is_ok_and(|tried| tried.status.success())
        };
        // As root, or as the root of a user namespace.
        let how = ["-m", "-rm"].into_iter().find(|how| can(how));
        let how = how.expect(
            "this test needs \"unshare -m\" as root or \"unshare -rm\" with user namespaces, to mount a tmpfs; \
             WXHOST_SKIP_MOUNTS=1 skips it",
        );
        let mut shell = Command::new("unshare");
        // What is set outside must not change what a test sees.
        shell.args([how, "sh"]).env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        shell.current_dir(dir).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut shell = shell.spawn().unwrap();
        let (stdin, stdout) = (shell.stdin.take(), BufReader::new(shell.stdout.take().unwrap()));
        Some(Mounts { shell, stdin, stdout, dir: dir.to_owned(), said: super::temp_dir() })
    }

    /// Runs a command of the shell.
    pub fn sh(&mut self, command: &str) -> Done {
        let [out, err] = ["stdout", "stderr"].map(|name| self.said.path().join(name));
        let (out_name, err_name) = (out.display(), err.display());
        let stdin = self.stdin.as_mut().unwrap();
        writeln!(stdin, "( {command}\n) > '{out_name}' 2> '{err_name}' < /dev/null; echo $?").unwrap();
        let mut code = String::new();
        self.stdout.read_line(&mut code).unwrap();
        let read = |path| String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        // A shell gives a signal as a code above 128.
        let code = code.trim().parse().ok().filter(|code| *code < 128);
        Done { code, stdout: read(out), stderr: read(err) }
    }

    /// Runs the program.
    pub fn wxhost(&mut self, arguments: &str) -> Done {
        self.sh(&format!("'{}' {arguments}", env!("CARGO_BIN_EXE_wxhost")))
    }

    /// Mounts a new file system of that size on a folder, in place of the one that was mounted there.
    #[track_caller]
    pub fn mount(&mut self, folder: &str, options: &str) {
        self.sh(&format!("mkdir -p {folder}; umount {folder}; mount -t tmpfs -o {options} none {folder}")).expect(0);
    }

    /// Changes the options of what is mounted on a folder.
    #[track_caller]
    pub fn remount(&mut self, folder: &str, options: &str) {
        self.sh(&format!("mount -o remount,{options} none {folder}")).expect(0);
    }

    /// The path of a file, as it is seen from outside.
    pub fn path(&self, name: &str) -> PathBuf {
        let root = PathBuf::from(format!("/proc/{}/root", self.shell.id()));
        root.join(self.dir.join(name).strip_prefix("/").unwrap())
    }
}

impl Drop for Mounts {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.stdin.take());
        self.shell.wait().ok();
    }
}
