//! Programs while they run: signals, waiting, and what the kernel tells of them.

use std::process::{Child, Command};
use std::sync::mpsc;
use std::time::Duration;

/// Sends a signal by its name without `SIG`.
pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill").arg(format!("-{name}")).arg(child.id().to_string()).status();
    assert!(sent.unwrap().success(), "kill -{name}");
}

/// Lets a time pass: for what is measured over a time, not for what is hoped to happen in it.
pub fn pass(time: Duration) {
    let (_sender, nothing) = mpsc::channel::<()>();
    assert_eq!(nothing.recv_timeout(time), Err(mpsc::RecvTimeoutError::Timeout));
}

/// Waits until something holds, looking each millisecond. Fails the test when it does not within a minute or so.
#[track_caller]
pub fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..60_000 {
        if holds() {
            return;
        }
        pass(Duration::from_millis(1));
    }
    panic!("waited for {what} in vain");
}

/// What Linux tells of a process.
#[cfg(target_os = "linux")]
pub mod proc {
    use std::path::Path;
    use std::process::Child;

    fn read(child: &Child, file: &str) -> String {
        std::fs::read_to_string(format!("/proc/{}/{file}", child.id())).unwrap()
    }

    /// The most memory that the process had so far, in bytes.
    pub fn peak_memory(child: &Child) -> u64 {
        let status = read(child, "status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().strip_suffix(" kB").unwrap().parse::<u64>().unwrap() << 10
    }

    /// The time on a processor so far, in ticks of 10 ms.
    pub fn ticks(child: &Child) -> u64 {
        let stat = read(child, "stat");
        // The name before it may have spaces and parentheses.
        let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
        fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap()
    }

    /// Whether no thread runs or could run, or waits for a disk.
    pub fn is_asleep(child: &Child) -> bool {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", child.id())).unwrap();
        tasks.into_iter().all(|task| {
            // A thread may end between the list and the look.
            let stat = std::fs::read_to_string(task.unwrap().path().join("stat")).unwrap_or_default();
            stat.rsplit_once(')').is_none_or(|(_, fields)| fields.trim_start().starts_with('S'))
        })
    }

    /// How far the process has read a file, or nothing when it has not opened it.
    pub fn offset(child: &Child, file: &Path) -> Option<u64> {
        let folder = format!("/proc/{}", child.id());
        let entries = std::fs::read_dir(format!("{folder}/fd")).unwrap();
        let mut names = entries.into_iter().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let open =
            names.find(|name| std::fs::read_link(format!("{folder}/fd/{name}")).is_ok_and(|path| path == file))?;
        let info = std::fs::read_to_string(format!("{folder}/fdinfo/{open}")).ok()?;
        info.lines().find_map(|line| line.strip_prefix("pos:"))?.trim().parse().ok()
    }
}
