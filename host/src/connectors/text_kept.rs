//! Text files of a sink with recovery: each epoch's bytes are staged in a hidden file beside the target, and appear in it
//! at their place, once.
//!
//! What was staged is known by its offset, length and checksum, so that a commit can be repeated by any execution: the
//! staged file is removed last, and where it is gone the target has the bytes.

use super::staged::{Staged, cannot_write, make_safe_folder, remove, sync_folder};
use super::text_files::{Region, State};
use crate::data::time::Epoch;
use crate::dataflow::error::LogicError;
use crate::dataflow::sink::{self, DiskLine, Flush, Job, Writer};
use crate::dataflow::user_fn::RowError;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use xxhash_rust::xxh3::Xxh3;

/// Bytes after which the disk is asked to take what is written. It then does while more is written, and the end of an
/// epoch, for which all of it must be safe, does not wait for all of it.
const WRITE_BACK: u64 = 8 << 20;

/// Shows a staged region in its target, or finds that it is there; what readers see is safe on its disk when this returns.
/// Returns the staged file, which may be removed.
///
/// # Errors
/// It cannot be written, or is gone.
pub(super) fn commit(target: &Path, region: &Region) -> Result<Option<PathBuf>, LogicError> {
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
        sync_folder(folder)?;
        return Ok(None);
    }
    let failed = |error: &io::Error| cannot_write(target, error);
    let mut to = OpenOptions::new().write(true).open(target).map_err(|error| failed(&error))?;
    let length = to.metadata().map_err(|error| failed(&error))?.len();
    if length < region.offset {
        return Err(super::text_files::cut(target, length, region.offset));
    }
    reserve(&to, region).map_err(|error| failed(&error))?;
    to.seek(SeekFrom::Start(region.offset)).and_then(|_| copy(&mut from, &mut to)).map_err(|error| failed(&error))?;
    Ok(Some(staged))
}

/// Takes the room that a region needs, and shows nothing of it: a disk that fills up half way would leave half a record
/// for readers to see. Some file systems cannot do that; then nothing happens.
#[cfg(target_os = "linux")]
fn reserve(file: &File, region: &Region) -> io::Result<()> {
    use rustix::fs::{FallocateFlags, fallocate};
    use rustix::io::{Errno, retry_on_intr};
    match retry_on_intr(|| fallocate(file, FallocateFlags::KEEP_SIZE, region.offset, region.length)) {
        Err(error @ (Errno::NOSPC | Errno::DQUOT)) => Err(error.into()),
        _ => Ok(()),
    }
}

#[cfg(not(target_os = "linux"))]
fn reserve(_: &File, _: &Region) -> io::Result<()> {
    Ok(())
}

/// Has the disk begin to take bytes that were just written, where the system can be told so. Unlike a sync this makes
/// nothing safe: to commit each piece, and have the disk empty its own memory for it, slows everything down, the workers
/// too. That a piece cannot be written is told by the next sync.
#[cfg(target_os = "linux")]
fn begin_write(file: &File, from: u64, length: u64) {
    use rustix::fs::{Advice, fadvise};
    // The system begins to write what is not on the disk, and drops the rest from memory: nothing, of bytes that are new.
    fadvise(file, from, std::num::NonZeroU64::new(length), Advice::DontNeed).ok();
}

#[cfg(not(target_os = "linux"))]
fn begin_write(_: &File, _: u64, _: u64) {}

/// Copies all of a file, which the disk takes meanwhile.
fn copy(from: &mut File, to: &mut File) -> io::Result<()> {
    let mut at = to.stream_position()?;
    loop {
        // Within the kernel, where it can.
        let copied = io::copy(&mut from.take(WRITE_BACK), to)?;
        if copied < WRITE_BACK {
            return to.sync_data();
        }
        begin_write(to, at, copied);
        at += copied;
    }
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
    disk: Option<DiskLine>,
    /// Shared with what was asked and is not done: a disk that does not keep up is not asked more.
    under_way: Arc<()>,
}

/// The bytes of one epoch.
struct Staging {
    staged: Staged,
    file: File,
    length: u64,
    /// How much of it the disk was asked to take early.
    asked: u64,
    hash: Xxh3,
}

impl KeptWriter {
    /// Makes the first file to stage in, which shows whether the target can be written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(target: PathBuf, run: Arc<str>, state: State, must_tell: bool) -> Result<KeptWriter, LogicError> {
        make_safe_folder(target.parent().unwrap_or(Path::new("")))?;
        let mut writer = KeptWriter {
            target,
            run,
            next: 0,
            staging: None,
            written: false,
            must_tell,
            state,
            disk: None,
            under_way: Arc::default(),
        };
        writer.staging()?;
        Ok(writer)
    }

    fn staging(&mut self) -> Result<&mut Staging, LogicError> {
        if self.staging.is_none() {
            let name = self.target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
            let folder = self.target.parent().unwrap_or(Path::new(""));
            let (staged, file) = Staged::create(folder, &name, &format!("{}.{}", self.run, self.next))?;
            self.next += 1;
            self.staging = Some(Staging { staged, file, length: 0, asked: 0, hash: Xxh3::new() });
        }
        Ok(self.staging.as_mut().expect("it has just been made"))
    }

    /// Has the disk take what is staged, if that is worth it.
    fn write_back(&mut self) -> Result<(), LogicError> {
        let (Some(disk), Some(staging)) = (&self.disk, &mut self.staging) else { return Ok(()) };
        if staging.length - staging.asked < WRITE_BACK || Arc::strong_count(&self.under_way) > 1 {
            return Ok(());
        }
        let asked = std::mem::replace(&mut staging.asked, staging.length);
        let length = staging.length - asked;
        let file = staging.file.try_clone().map_err(|error| cannot_write(staging.staged.path(), &error))?;
        let under_way = self.under_way.clone();
        disk.send(Box::new(move || {
            begin_write(&file, asked, length);
            drop(under_way);
            Ok(())
        }));
        Ok(())
    }
}

impl Writer for KeptWriter {
    fn start(&mut self, disk: DiskLine) {
        self.disk = Some(disk);
    }

    fn run(&mut self, job: Job) -> Result<Vec<RowError>, LogicError> {
        let Job::Append { bytes, .. } = job else {
            return Err(LogicError::internal("a text file is only appended to"));
        };
        self.written = true;
        let staging = self.staging()?;
        staging.file.write_all(&bytes).map_err(|error| cannot_write(staging.staged.path(), &error))?;
        staging.length += bytes.len() as u64;
        staging.hash.update(&bytes);
        self.write_back()?;
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
        let Some(region) = State::read(manifest)?.file else { return Ok(None) };
        let (target, disk) = (self.target.clone(), self.disk.clone());
        Ok(Some(Box::new(move || match (commit(&target, &region)?, disk) {
            // To free a large file takes a while, and readers have its bytes.
            (Some(staged), Some(disk)) => {
                disk.send(Box::new(move || remove(&staged)));
                Ok(())
            }
            (Some(staged), None) => remove(&staged),
            (None, _) => Ok(()),
        })))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_copied_in_pieces_is_whole() {
        let folder = tempfile::tempdir().unwrap();
        let (from, to) = (folder.path().join("from"), folder.path().join("to"));
        for length in [0, 1, WRITE_BACK - 1, WRITE_BACK, WRITE_BACK + 1, 2 * WRITE_BACK, 3 * WRITE_BACK + 7] {
            let bytes: Vec<u8> = (0..length).map(|at| (at % 251) as u8).collect();
            fs::write(&from, &bytes).unwrap();
            fs::write(&to, "head").unwrap();
            let mut end = OpenOptions::new().write(true).open(&to).unwrap();
            end.seek(SeekFrom::End(0)).unwrap();
            copy(&mut File::open(&from).unwrap(), &mut end).unwrap();
            assert!(fs::read(&to).unwrap() == [b"head".as_slice(), &bytes].concat(), "{length} bytes");
        }
    }

    #[test]
    fn a_copy_that_fails_says_so_however_long_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let from = folder.path().join("from");
        for length in [1, 3 * WRITE_BACK] {
            fs::write(&from, vec![b'x'; usize::try_from(length).unwrap()]).unwrap();
            // Opened to be read only.
            let mut to = File::open(&from).unwrap();
            assert!(copy(&mut File::open(&from).unwrap(), &mut to).is_err(), "{length} bytes");
        }
    }
}
