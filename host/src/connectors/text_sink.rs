//! Text files of a sink: rows are encoded on the worker, and a file has its final name only while it holds whole records.

use super::staged::{Staged, cannot_write};
use crate::data::batch::Batch;
use crate::data::time::Epoch;
use crate::dataflow::error::LogicError;
use crate::dataflow::sink::{Encode, Job, Writer};
use crate::dataflow::user_fn::RowError;
use crate::formats::Encoder;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

/// Bytes that are worth a job of their own, where rows need not be seen at once.
pub(super) const CHUNK: usize = 64 << 10;

/// Encodes rows of one file of text.
pub(super) struct TextEncode {
    encoder: Box<dyn Encoder>,
    /// Bytes that are kept before they become a job.
    keep: usize,
    begun: bool,
    /// Whether the file has been asked for by a job.
    given: bool,
    kept: Vec<u8>,
}

impl TextEncode {
    /// Encodes with an encoder, and keeps fewer than `keep` bytes until the end of an epoch.
    pub fn new(encoder: Box<dyn Encoder>, keep: usize) -> Self {
        TextEncode { encoder, keep, begun: false, given: false, kept: Vec::new() }
    }

    /// Goes on with a file that has been begun.
    pub fn continued(self) -> Self {
        TextEncode { begun: true, given: true, ..self }
    }

    fn begin(&mut self) {
        if !self.begun {
            self.begun = true;
            self.encoder.begin(&mut self.kept);
        }
    }

    fn give(&mut self, jobs: &mut Vec<Job>) {
        if !self.kept.is_empty() {
            self.given = true;
            jobs.push(Job::Append { file: 0, bytes: std::mem::take(&mut self.kept) });
        }
    }
}

impl Encode for TextEncode {
    fn encode(&mut self, batch: &Batch, jobs: &mut Vec<Job>) -> Result<Vec<RowError>, LogicError> {
        self.begin();
        let keys = batch.keys().map(crate::data::key::Keys::values);
        let encoded = self.encoder.encode(batch.rows(), keys, &mut self.kept);
        encoded.map_err(|error| LogicError::user(error.to_string()))?;
        if self.kept.len() >= self.keep {
            self.give(jobs);
        }
        Ok(Vec::new())
    }

    fn on_epoch(&mut self, jobs: &mut Vec<Job>) -> Result<(), LogicError> {
        self.give(jobs);
        Ok(())
    }

    fn on_eof(&mut self, jobs: &mut Vec<Job>) -> Result<(), LogicError> {
        // A header stands in a file without rows too.
        self.begin();
        self.give(jobs);
        if !std::mem::replace(&mut self.given, true) {
            // A file without any bytes is a file, too.
            jobs.push(Job::Append { file: 0, bytes: Vec::new() });
        }
        Ok(())
    }
}

/// What a path stands for that is to be written.
pub(super) enum Target {
    /// A file, or none yet; links are followed, so that they stay: what they point to is replaced.
    File(PathBuf),
    /// Devices and pipes cannot be replaced, and have no half-written state that anybody could see.
    Device(File),
}

/// Looks at a path that is to be written.
///
/// # Errors
/// It cannot be written.
pub(super) fn writable(target: &Path) -> Result<Target, LogicError> {
    Ok(match fs::metadata(target) {
        Ok(metadata) if metadata.is_dir() => {
            return Err(cannot_write(target, &std::io::ErrorKind::IsADirectory.into()).help("name a file in it"));
        }
        Ok(metadata) if metadata.permissions().readonly() => {
            return Err(cannot_write(target, &std::io::ErrorKind::PermissionDenied.into()));
        }
        Ok(metadata) if !metadata.is_file() => {
            let file = OpenOptions::new().write(true).open(target).map_err(|error| cannot_write(target, &error))?;
            Target::Device(file)
        }
        Ok(_) => Target::File(fs::canonicalize(target).map_err(|error| cannot_write(target, &error))?),
        Err(_) => Target::File(target.to_owned()),
    })
}

/// Writes one file. It gets its name when an epoch closes or the input ends, in place of an older file; what comes
/// later is appended in whole records.
pub(super) struct FileWriter {
    target: PathBuf,
    file: File,
    /// None: the file has its name.
    staged: Option<Staged>,
    /// The length of the whole records.
    length: u64,
}

impl FileWriter {
    /// Makes the file under a temporary name, which shows whether it can be written.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn create(target: &Path, run: &str) -> Result<FileWriter, LogicError> {
        let target = match writable(target)? {
            Target::Device(file) => {
                return Ok(FileWriter { target: target.to_owned(), file, staged: None, length: 0 });
            }
            Target::File(target) => target,
        };
        let folder = target.parent().unwrap_or(Path::new(""));
        let name = target.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let (staged, file) = Staged::create(folder, &name, run)?;
        Ok(FileWriter { target, file, staged: Some(staged), length: 0 })
    }

    fn show(&mut self) -> Result<(), LogicError> {
        match self.staged.take() {
            Some(staged) => staged.publish(&self.target),
            None => Ok(()),
        }
    }
}

impl Writer for FileWriter {
    fn run(&mut self, job: Job) -> Result<Vec<RowError>, LogicError> {
        let Job::Append { bytes, .. } = job else {
            return Err(LogicError::internal("a text file is only appended to"));
        };
        if let Err(error) = self.file.write_all(&bytes) {
            if self.staged.is_none() {
                // Readers must not see half a record; if even that fails, the first error is what matters.
                self.file.set_len(self.length).ok();
            }
            return Err(cannot_write(&self.target, &error));
        }
        self.length += bytes.len() as u64;
        Ok(Vec::new())
    }

    fn publish(&mut self, _epoch: Epoch) -> Result<(), LogicError> {
        self.show()
    }

    fn close(&mut self) -> Result<(), LogicError> {
        self.show()
    }

    fn abandon(&mut self) {
        self.staged = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn append(writer: &mut FileWriter, text: &str) {
        writer.run(Job::Append { file: 0, bytes: text.into() }).unwrap();
    }

    #[test]
    fn an_old_file_stays_until_an_epoch_closes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        fs::write(&path, "old\n").unwrap();
        let mut writer = FileWriter::create(&path, "r").unwrap();
        append(&mut writer, "1\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\n");
        writer.publish(Epoch(1)).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n");
        append(&mut writer, "2\n");
        writer.abandon();
        assert_eq!(fs::read_to_string(&path).unwrap(), "1\n2\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_flow_that_fails_leaves_the_old_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("out.jsonl");
        fs::write(&path, "old\n").unwrap();
        let mut writer = FileWriter::create(&path, "r").unwrap();
        append(&mut writer, "1\n");
        writer.abandon();
        assert_eq!(fs::read_to_string(&path).unwrap(), "old\n");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_replaced_is_refused_before_any_row() {
        let dir = tempfile::tempdir().unwrap();
        let Err(error) = FileWriter::create(dir.path(), "r") else { panic!("a folder is no file") };
        assert!(error.message.contains("is a directory"), "{error}");
        let path = dir.path().join("read-only");
        fs::write(&path, "").unwrap();
        let mut permissions = fs::metadata(&path).unwrap().permissions();
        permissions.set_readonly(true);
        fs::set_permissions(&path, permissions).unwrap();
        let Err(error) = FileWriter::create(&path, "r") else { panic!("a read-only file is kept") };
        assert!(error.message.contains("permission denied"), "{error}");
    }

    #[test]
    fn a_device_is_written_to_and_not_replaced() {
        let mut writer = FileWriter::create(Path::new("/dev/null"), "r").unwrap();
        append(&mut writer, "1\n");
        writer.close().unwrap();
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
        let mut full = FileWriter::create(Path::new("/dev/full"), "r").unwrap();
        let error = full.run(Job::Append { file: 0, bytes: b"1\n".to_vec() }).unwrap_err();
        assert!(error.message.starts_with("cannot write /dev/full: No space left"), "{error}");
        assert_eq!(error.help.as_deref(), Some("make room, or write to another device"));
    }

    #[test]
    fn a_link_keeps_pointing_where_it_did() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        fs::write(&real, "old").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let mut writer = FileWriter::create(&link, "r").unwrap();
        append(&mut writer, "new");
        writer.close().unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "new");
    }
}
