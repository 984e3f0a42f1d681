//! What a store knows of a sink of Parquet files, and whether that is what is on the disk.

use super::spill::unreadable;
use crate::connectors::dir::matching;
use crate::connectors::staged::{cannot_write, is_left_over, make_safe_folder, remove, store_of, sync_folder};
use crate::dataflow::durable::Manifest;
use crate::dataflow::error::{Domain, LogicError};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::path::Path;

/// What a manifest of a partition says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    /// The execution that staged it.
    pub run: String,
    /// The number of the next file that this execution opens.
    pub next: u64,
    /// Files that were finished in the epoch.
    pub finished: Vec<Finished>,
    /// Files that were not at its end.
    pub open: Vec<Open>,
    /// Where their rows are, oldest first.
    pub logs: Vec<Log>,
    /// The list of files that those of this store replace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Finished {
    /// Its name in the sink's folder, until it has its own.
    pub staged: String,
    /// Where it belongs, from the sink's folder.
    pub name: String,
    pub size: u64,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Open {
    pub file: u64,
    /// What the encoder has to know of it.
    pub about: String,
    /// Its records: in which of the logs, under which number, and how many bytes.
    pub rows: Vec<(usize, u64, u64)>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Log {
    /// Its name in the sink's folder.
    pub name: String,
    /// Its first bytes are what counts.
    pub length: u64,
}

impl State {
    /// Reads a manifest.
    ///
    /// # Errors
    /// It is none.
    pub fn read(manifest: &[u8]) -> Result<State, LogicError> {
        let read = serde_json::from_slice(manifest);
        read.map_err(|error| LogicError::internal(format!("a stored manifest is not that of Parquet files: {error}")))
    }

    /// Writes a manifest.
    pub fn write(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("numbers and names can be written")
    }
}

/// Compares a folder with all that is known of it.
///
/// # Errors
/// It has more than the store knows of, or less, or cannot be read.
pub(super) fn verify(root: &Path, manifests: &[Manifest]) -> Result<(), LogicError> {
    let mut newest = BTreeMap::new();
    for manifest in manifests {
        let state = State::read(&manifest.manifest)?;
        for file in &state.finished {
            verify_finished(root, file)?;
        }
        newest.insert(&*manifest.part.0, state);
    }
    if manifests.is_empty() {
        return Ok(());
    }
    let failed = |error| LogicError::new(Domain::Io, format!("cannot list {}: {error}", root.display()));
    let last = newest.values().filter_map(|state| execution_of(&state.run)).max();
    for path in matching(root, "**/*.parquet").map_err(failed)? {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        let Some((run, part, number)) = parts_of(&name) else { continue };
        let is_unknown = newest.get(part).is_some_and(|state| {
            state.run == run && (number >= state.next || state.open.iter().any(|open| open.file == number))
        });
        let is_of_store = newest.values().any(|state| store_of(run).is_some() && store_of(run) == store_of(&state.run));
        let is_later = is_of_store && last.is_some_and(|last| execution_of(run).is_some_and(|number| number > last));
        if is_unknown || is_later {
            let message =
                format!("this store does not know of {}: it is older than the file", root.join(&path).display());
            let help = "go on from the newest copy of the store; or, if what came later is not wanted, remove the files \
                        of it";
            return Err(LogicError::new(Domain::Io, message).help(help));
        }
    }
    for log in newest.values().flat_map(|state| &state.logs) {
        let path = root.join(&log.name);
        match fs::metadata(&path) {
            Ok(metadata) if metadata.len() >= log.length => {}
            Ok(_) => return Err(unreadable(&path, "it is shorter than it was")),
            Err(error) => return Err(unreadable(&path, &error.to_string())),
        }
    }
    Ok(())
}

fn verify_finished(root: &Path, file: &Finished) -> Result<(), LogicError> {
    let (target, staged) = (root.join(&file.name), root.join(&file.staged));
    let (what, wrong) = match (fs::metadata(&staged), fs::metadata(&target)) {
        (Ok(staged), _) if staged.len() == file.size => return Ok(()),
        (Ok(found), _) => (file.staged.as_str(), format!("has {} bytes", found.len())),
        (Err(_), Ok(target)) if target.len() == file.size => return Ok(()),
        (Err(_), Ok(found)) => (file.name.as_str(), format!("was changed: it has {} bytes", found.len())),
        // Readers may take files away.
        (Err(_), Err(_)) if root.is_dir() => {
            tracing::warn!(file = %target.display(), "a file that was written is not there any more");
            return Ok(());
        }
        (Err(_), Err(_)) => {
            let message = format!("{} is gone, and files were written to it", root.display());
            return Err(LogicError::new(Domain::Io, message).help(BEGIN_ANEW));
        }
    };
    let message = format!("{} {wrong}, and {} were written", root.join(what).display(), file.size);
    Err(LogicError::new(Domain::Io, message).help(BEGIN_ANEW))
}

const BEGIN_ANEW: &str =
    "put it back from a copy that is as new as the store; or begin anew with a new store and a new folder";

/// Reads the name of a finished file: the execution, the partition and the number.
fn parts_of(name: &str) -> Option<(&str, &str, u64)> {
    let inner = name.strip_prefix("part-")?.strip_suffix(".parquet")?;
    let (inner, number) = inner.rsplit_once('-')?;
    let (run, part) = inner.rsplit_once('-')?;
    Some((run, part, number.parse().ok()?))
}

/// Which of its store's executions an id tells of.
fn execution_of(run: &str) -> Option<u64> {
    store_of(run)?;
    run.rsplit_once('x')?.1.parse().ok()
}

/// Gives finished files their names, or finds that they have them.
///
/// # Errors
/// One cannot be renamed.
pub(super) fn commit(root: &Path, state: &State) -> Result<(), LogicError> {
    let mut folders = BTreeSet::new();
    for file in &state.finished {
        let (target, staged) = (root.join(&file.name), root.join(&file.staged));
        if !staged.exists() {
            continue;
        }
        let folder = target.parent().unwrap_or(root).to_owned();
        make_safe_folder(&folder)?;
        fs::rename(&staged, &target).map_err(|error| cannot_write(&target, &error))?;
        folders.extend([folder, root.to_owned()]);
    }
    folders.iter().try_for_each(|folder| sync_folder(folder))?;
    state.replaces.as_ref().map_or(Ok(()), |list| replace(root, list))
}

/// Writes the list of files that are there before the first execution of a store, and that its files replace.
///
/// # Errors
/// It cannot be written.
pub(super) fn list_old(root: &Path, run: &str) -> Result<String, LogicError> {
    let failed = |error| LogicError::new(Domain::Io, format!("cannot list {}: {error}", root.display()));
    let old = matching(root, "**/*.parquet").map_err(failed)?;
    make_safe_folder(root)?;
    let name = format!(".replaced.{run}.part");
    let path = root.join(&name);
    let list = serde_json::to_vec(&old).map_err(|error| failed(error.to_string()))?;
    let mut file = fs::File::create(&path).map_err(|error| cannot_write(&path, &error))?;
    let written = std::io::Write::write_all(&mut file, &list).and_then(|()| file.sync_all());
    written.map_err(|error| cannot_write(&path, &error))?;
    sync_folder(root)?;
    Ok(name)
}

/// Removes the files of a list, and folders that are empty then. Partitions may do it at the same time.
fn replace(root: &Path, list: &str) -> Result<(), LogicError> {
    let path = root.join(list);
    let text = match fs::read(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LogicError::io(format!("cannot read {}", path.display()), &error)),
    };
    let old: Vec<std::path::PathBuf> = serde_json::from_slice(&text)
        .map_err(|error| LogicError::new(Domain::Io, format!("cannot read {}: {error}", path.display())))?;
    for file in old {
        remove(&root.join(&file))?;
        for folder in file.ancestors().skip(1).filter(|folder| !folder.as_os_str().is_empty()) {
            // Fails where something is left in it, and so are those above.
            if fs::remove_dir(root.join(folder)).is_err() {
                break;
            }
        }
    }
    remove(&path)
}

/// Removes what dead executions of the store left in the folder and no manifest tells of.
///
/// # Errors
/// The folder cannot be read, or something cannot be removed.
pub(super) fn sweep(root: &Path, run: &str, newest: &BTreeMap<&str, State>) -> Result<(), LogicError> {
    let entries = match fs::read_dir(root) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(LogicError::io(format!("cannot list {}", root.display()), &error)),
    };
    let runs: BTreeSet<String> = newest.values().map(|state| state.run.clone()).collect();
    let wanted: BTreeSet<&str> =
        newest.values().flat_map(|state| state.logs.iter().map(|log| log.name.as_str())).collect();
    for entry in entries.flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let inner = name.strip_prefix('.').and_then(|name| name.strip_suffix(".part"));
        let Some((what, of)) = inner.and_then(|inner| inner.rsplit_once('.')) else { continue };
        let is_one = ["part-", "rows-", "probe-", "replaced"].iter().any(|prefix| what.starts_with(prefix));
        if is_one && !wanted.contains(name.as_str()) && is_left_over(of, run, &runs) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}
