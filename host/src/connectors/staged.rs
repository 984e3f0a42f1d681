//! Files that appear under their name only when they are whole.

use crate::dataflow::error::LogicError;
use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// A file under a temporary name beside its final one. It is removed when this is dropped before [`Staged::publish`].
#[derive(Debug)]
pub(super) struct Staged {
    temp: PathBuf,
    published: bool,
}

impl Staged {
    /// Makes a file in `folder` that will be called `name`, and the folder too. `run` tells executions apart.
    ///
    /// # Errors
    /// It cannot be made.
    pub fn create(folder: &Path, name: &str, run: &str) -> Result<(Staged, File), LogicError> {
        make_folder(folder)?;
        let temp = folder.join(format!(".{name}.{run}.part"));
        match OpenOptions::new().append(true).create_new(true).open(&temp) {
            Ok(file) => Ok((Staged { temp, published: false }, file)),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let message = format!("{} is written by another step of this flow", folder.join(name).display());
                Err(LogicError::new(crate::dataflow::error::Domain::Io, message)
                    .help("let each sink write its own file"))
            }
            Err(error) => Err(cannot_write(&temp, &error)),
        }
    }

    /// Opens the file again, to append to it.
    ///
    /// # Errors
    /// It cannot be opened: somebody removed it.
    pub fn reopen(&self) -> Result<File, LogicError> {
        OpenOptions::new().append(true).open(&self.temp).map_err(|error| cannot_write(&self.temp, &error))
    }

    /// Where the file is now.
    pub fn path(&self) -> &Path {
        &self.temp
    }

    /// Leaves the file under its temporary name, for a commit that renames it.
    pub fn keep(mut self) -> PathBuf {
        self.published = true;
        std::mem::take(&mut self.temp)
    }

    /// Gives the file its final name, in place of what is there.
    ///
    /// # Errors
    /// It cannot be renamed, and is removed.
    pub fn publish(mut self, target: &Path) -> Result<(), LogicError> {
        fs::rename(&self.temp, target).map_err(|error| cannot_write(target, &error))?;
        self.published = true;
        Ok(())
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        if !self.published
            && let Err(error) = fs::remove_file(&self.temp)
        {
            tracing::warn!(path = %self.temp.display(), %error, "an unfinished file could not be removed");
        }
    }
}

/// Makes what was done to the names in a folder safe on its disk.
///
/// # Errors
/// The disk refuses.
pub(super) fn sync_folder(folder: &Path) -> Result<(), LogicError> {
    // An empty path is the folder that we are in.
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| cannot_write(folder, &error))
}

/// As [`make_folder`], and safe on its disk.
///
/// # Errors
/// It cannot be made.
pub(super) fn make_safe_folder(folder: &Path) -> Result<(), LogicError> {
    let is_missing = |folder: &&Path| !folder.as_os_str().is_empty() && !folder.is_dir();
    let missing: Vec<&Path> = folder.ancestors().take_while(is_missing).collect();
    make_folder(folder)?;
    missing.iter().filter_map(|folder| folder.parent()).try_for_each(sync_folder)
}

/// Removes a file; it may be gone already.
///
/// # Errors
/// It is still there.
pub(super) fn remove(path: &Path) -> Result<(), LogicError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(LogicError::io(format!("cannot remove {}", path.display()), &error).help(remedy(&error)))
        }
        _ => Ok(()),
    }
}

/// Whether a file that carries the id of the execution `run` was left by an earlier execution of the store that the
/// execution `now` goes on from. With recovery, an id is that of the store, an `x` and the execution's number; `known` are
/// ids that the store itself tells of. Of these, those of another store tell that it was made of a savepoint of that one,
/// whose later executions are given up.
pub(super) fn is_left_over(run: &str, now: &str, known: &BTreeSet<String>) -> bool {
    let is_of_store_of = |other: &str| store_of(other).is_some_and(|store| store_of(run) == Some(store));
    run != now && (known.contains(run) || is_of_store_of(now) || known.iter().any(|known| is_of_store_of(known)))
}

/// The store that an execution's id tells of.
pub(super) fn store_of(run: &str) -> Option<&str> {
    run.rsplit_once('x').map(|(store, _)| store).filter(|store| !store.is_empty())
}

/// Makes a folder and those above it.
///
/// # Errors
/// It cannot be made.
pub(super) fn make_folder(folder: &Path) -> Result<(), LogicError> {
    // An empty path is the folder that we are in.
    if folder.as_os_str().is_empty() || folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|error| {
        let made = LogicError::io(format!("cannot make the folder {}", folder.display()), &error);
        made.help(remedy(&error))
    })
}

/// Says that a file cannot be written.
pub(super) fn cannot_write(path: &Path, error: &std::io::Error) -> LogicError {
    LogicError::io(format!("cannot write {}", path.display()), error).help(remedy(error))
}

fn remedy(error: &std::io::Error) -> &'static str {
    match error.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => "make room, or write to another device",
        ErrorKind::PermissionDenied => "let the user that runs wxhost write there, or name another place",
        ErrorKind::ReadOnlyFilesystem => "mount it so that it can be written, or name another place",
        ErrorKind::NotADirectory | ErrorKind::AlreadyExists => "a file stands where a folder is wanted",
        ErrorKind::InvalidFilename => "name it shorter",
        _ => "check that the place can be written",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_staged_file_appears_when_it_is_published() {
        let dir = tempfile::tempdir().unwrap();
        let folder = dir.path().join("a/b");
        let (staged, mut file) = Staged::create(&folder, "x.txt", "r1").unwrap();
        file.write_all(b"one").unwrap();
        assert!(!folder.join("x.txt").exists());
        staged.reopen().unwrap().write_all(b"two").unwrap();
        staged.publish(&folder.join("x.txt")).unwrap();
        assert_eq!(fs::read_to_string(folder.join("x.txt")).unwrap(), "onetwo");
        assert_eq!(fs::read_dir(&folder).unwrap().count(), 1);
    }

    #[test]
    fn a_staged_file_that_is_dropped_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let (staged, _file) = Staged::create(dir.path(), "x.txt", "r1").unwrap();
        assert!(staged.path().exists());
        let again = Staged::create(dir.path(), "x.txt", "r1").unwrap_err();
        assert!(again.message.ends_with("is written by another step of this flow"), "{again}");
        drop(staged);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn what_is_left_over_is_of_the_store_or_of_the_one_that_it_was_made_of() {
        let known = BTreeSet::from(["ax3".to_owned(), "bx1".to_owned()]);
        for (run, is_left) in
            [("bx2", false), ("bx1", true), ("ax3", true), ("ax4", true), ("cx1", false), ("123", false)]
        {
            assert_eq!(is_left_over(run, "bx2", &known), is_left, "{run}");
        }
    }

    #[test]
    fn a_file_in_the_way_of_a_folder_is_named() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        let error = Staged::create(&dir.path().join("a/b"), "x.txt", "r1").unwrap_err();
        assert!(error.message.contains("cannot make the folder"), "{error}");
        assert_eq!(error.help.as_deref(), Some("a file stands where a folder is wanted"));
    }
}
