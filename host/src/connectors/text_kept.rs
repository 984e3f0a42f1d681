//! Text files of a sink with recovery: each epoch's bytes are staged in a hidden file beside the target, and appear in it
//! at their place, once.
//!
//! What was staged is known by its offset, length and checksum, so that a commit can be repeated by any execution: the
//! staged file is removed last, and where it is gone the target has the bytes.

use super::staged::{Staged, cannot_write, make_safe_folder, remove, sync_folder};
use super::text_files::{Region, State};
use crate::data::time::Epoch;
use crate::dataflow::error::LogicError;
use crate::dataflow::sink::{self, Flush, Job, Writer};
use crate::dataflow::user_fn::RowError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Shows a staged region in its target, or finds that it is there.
///
/// # Errors
/// It cannot be written, or is gone.
pub(super) fn commit(target: &Path, region: &Region) -> Result<Option<Flush>, LogicError> {
    let folder = target.parent().unwrap_or(Path::new(""));
    let staged = folder.join(&region.staged);
    let mut from = match File::open(&staged) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => {
            // Shown before.
            return match fs::metadata(target).map_or(0, |metadata| metadata.len()) {
                length if length < region.end() => Err(super::text_files::cut(target, length, region.end())),
                _ => Ok(None),
            };
        }
        Err(error) => return Err(LogicError::io(format!("cannot read {}", staged.display()), &error)),
    };
    if region.offset == 0 {
        fs::rename(&staged, target).map_err(|error| cannot_write(target, &error))?;
        let folder = folder.to_owned();
        return Ok(Some(Box::new(move || sync_folder(&folder))));
    }
    let failed = |error: &std::io::Error| cannot_write(target, error);
    let mut to = OpenOptions::new().write(true).open(target).map_err(|error| failed(&error))?;
    let length = to.metadata().map_err(|error| failed(&error))?.len();
    if length < region.offset {
        return Err(super::text_files::cut(target, length, region.offset));
    }
    // Within the kernel, where it can.
    to.seek(SeekFrom::Start(region.offset))
        .and_then(|_| io::copy(&mut from, &mut to))
        .map_err(|error| failed(&error))?;
    let target = target.to_owned();
    Ok(Some(Box::new(move || {
        to.sync_data().map_err(|error| cannot_write(&target, &error))?;
        remove(&staged)
    })))
}

/// Writes one file, epoch by epoch.
pub(super) struct KeptWriter {
    target: PathBuf,
    run: Arc<str>,
    /// How many files were staged before, for their names.
    next: u64,
    staging: Option<Staging>,
    /// Whether a job was run since the last epoch was staged.
    written: bool,
    /// Whether the next manifest is wanted though nothing was written: it takes over others'.
    must_tell: bool,
    state: State,
}

/// The bytes of one epoch.
struct Staging {
    staged: Staged,
    file: File,
    length: u64,
    hash: Xxh3,
}

impl KeptWriter {
    /// Makes the first file to stage in, which shows whether the target can be written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(target: PathBuf, run: Arc<str>, state: State, must_tell: bool) -> Result<KeptWriter, LogicError> {
        make_safe_folder(target.parent().unwrap_or(Path::new("")))?;
        let mut writer = KeptWriter { target, run, next: 0, staging: None, written: false, must_tell, state };
        writer.staging()?;
        Ok(writer)
    }

    fn staging(&mut self) -> Result<&mut Staging, LogicError> {
        if self.staging.is_none() {
            let name = self.target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let folder = self.target.parent().unwrap_or(Path::new(""));
            let (staged, file) = Staged::create(folder, &name, &format!("{}.{}", self.run, self.next))?;
            self.next += 1;
            self.staging = Some(Staging { staged, file, length: 0, hash: Xxh3::new() });
        }
        Ok(self.staging.as_mut().expect("it has just been made"))
    }
}

impl Writer for KeptWriter {
    fn run(&mut self, job: Job) -> Result<Vec<RowError>, LogicError> {
        let Job::Append { bytes, .. } = job else {
            return Err(LogicError::internal("a text file is only appended to"));
        };
        self.written = true;
        let staging = self.staging()?;
        staging.file.write_all(&bytes).map_err(|error| cannot_write(staging.staged.path(), &error))?;
        staging.length += bytes.len() as u64;
        staging.hash.update(&bytes);
        Ok(Vec::new())
    }

    fn stage(&mut self, _epoch: Epoch) -> Result<Option<sink::Staged>, LogicError> {
        let must_tell = std::mem::take(&mut self.must_tell);
        if std::mem::take(&mut self.written) {
            let staging = self.staging.take().expect("what was written is in a file");
            let staged = staging.staged.keep();
            self.state.file = Some(Region {
                offset: self.state.file.as_ref().map_or(0, Region::end),
                length: staging.length,
                checksum: staging.hash.digest(),
                staged: staged.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default(),
            });
            let (file, folder) = (staging.file, self.target.parent().unwrap_or(Path::new("")).to_owned());
            let flush: Flush = Box::new(move || {
                file.sync_data().map_err(|error| cannot_write(&staged, &error))?;
                sync_folder(&folder)
            });
            return Ok(Some(sink::Staged { manifest: self.state.write(), flush: Some(flush) }));
        }
        Ok(must_tell.then(|| sink::Staged::safe(self.state.write())))
    }

    fn commit(&mut self, _epoch: Epoch, manifest: &[u8]) -> Result<Option<Flush>, LogicError> {
        State::read(manifest)?.file.map_or(Ok(None), |region| commit(&self.target, &region))
    }

    fn close(&mut self) -> Result<(), LogicError> {
        // What was not staged is not wanted by anyone.
        self.staging = None;
        Ok(())
    }

    fn abandon(&mut self) {
        self.staging = None;
    }
}
