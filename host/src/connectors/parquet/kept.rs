//! Writes Parquet files with recovery: a finished file is renamed into its place once its epoch is durable, and rows of
//! files that are not finished are kept in a log, from which another execution makes these files anew.

use super::encode::{About, Layout, ParquetEncode};
use super::manifest::{self, Finished, Log, Open, State};
use super::sink::FolderWriter;
use super::spill;
use crate::connectors::staged::{Staged, cannot_write, remove, sync_folder};
use crate::data::ids::PartitionId;
use crate::data::time::Epoch;
use crate::dataflow::durable::Manifest;
use crate::dataflow::error::{Domain, LogicError};
use crate::dataflow::sink::{self, Flush, Job, PartWriter, Writer};
use crate::dataflow::user_fn::{InstanceCx, RowError};
use std::collections::BTreeMap;
use std::fs::{File, OpenOptions};
use std::path::PathBuf;
use std::sync::Arc;

/// Logs are written anew when more than this is dead in them, and more than half of them. Little in tests, so that they
/// see it happen.
const DEAD: u64 = if cfg!(test) { 1 << 10 } else { 16 << 20 };

/// Opens a partition that goes on with what these manifests tell of.
///
/// # Errors
/// The folder cannot be written, or rows that are kept cannot be read.
pub(super) fn open(
    layout: &Arc<Layout>,
    cx: &InstanceCx,
    folder: FolderWriter,
    (part, last, orphans): (&PartitionId, Option<&Manifest>, &[Manifest]),
    replaces: Option<String>,
) -> Result<PartWriter, LogicError> {
    let mut encoder = ParquetEncode::new(layout.clone(), cx, true);
    let mut writer = KeptFolder {
        run: cx.run_id.clone(),
        part: part.clone(),
        folder,
        logs: Vec::new(),
        log: None,
        next_log: 0,
        open: BTreeMap::new(),
        finished: Vec::new(),
        next: 0,
        dead: DEAD,
        is_changed: !orphans.is_empty() || replaces.is_some(),
        replaces,
        retired: Vec::new(),
    };
    for manifest in last.into_iter().chain(orphans) {
        writer.take_over(&State::read(&manifest.manifest)?, &mut encoder)?;
    }
    Ok(PartWriter { encoder: Box::new(encoder), writer: Box::new(writer) })
}

/// Writes files below a folder, epoch by epoch.
pub(super) struct KeptFolder {
    run: Arc<str>,
    part: PartitionId,
    folder: FolderWriter,
    /// Oldest first.
    logs: Vec<Kept>,
    /// The one that is written to, by name; it is the last.
    log: Option<(String, File)>,
    next_log: u64,
    /// Files with kept rows, by their numbers.
    open: BTreeMap<u64, Rows>,
    /// Finished since the last epoch, and what they will be called.
    finished: Vec<(Staged, String)>,
    /// The number of the next file.
    next: u64,
    dead: u64,
    is_changed: bool,
    replaces: Option<String>,
    /// Logs that are not wanted any more once this epoch is durable.
    retired: Vec<(Epoch, PathBuf)>,
}

/// A log.
struct Kept {
    name: String,
    length: u64,
    /// Bytes of files that are not finished.
    live: u64,
    /// Whether all of it is safe on its disk.
    is_safe: bool,
}

/// The kept rows of a file.
struct Rows {
    about: String,
    /// In which log, by name, under which number, and how many bytes.
    places: Vec<(String, u64, u64)>,
}

impl KeptFolder {
    /// Makes the files anew that a manifest tells of as not finished, and remembers where their rows are.
    fn take_over(&mut self, state: &State, encoder: &mut ParquetEncode) -> Result<(), LogicError> {
        let mut files: BTreeMap<(usize, u64), usize> = BTreeMap::new();
        for (at, open) in state.open.iter().enumerate() {
            files.extend(open.rows.iter().map(|&(log, number, _)| ((log, number), at)));
        }
        let abouts: Result<Vec<About>, _> = state.open.iter().map(|open| serde_json::from_str(&open.about)).collect();
        let abouts =
            abouts.map_err(|error| LogicError::internal(format!("a stored manifest cannot be read: {error}")))?;
        let mut numbers: Vec<Option<u64>> = vec![None; state.open.len()];
        for (index, log) in state.logs.iter().enumerate() {
            let path = self.folder.root().join(&log.name);
            spill::read(&path, log.length, &mut |number, bytes| {
                let Some(&at) = files.get(&(index, number)) else { return Ok(()) };
                for rows in spill::decode(bytes).map_err(|error| spill::unreadable(&path, &error.to_string()))? {
                    numbers[at] = Some(encoder.restore(&abouts[at], &rows)?);
                }
                Ok(())
            })?;
            let live = state.open.iter().flat_map(|open| &open.rows).filter(|(log, ..)| *log == index);
            let live = live.map(|(.., bytes)| bytes).sum();
            self.logs.push(Kept { name: log.name.clone(), length: log.length, live, is_safe: true });
        }
        for (open, number) in state.open.iter().zip(numbers) {
            let number = number.ok_or_else(|| LogicError::internal("a file that is not finished has no rows"))?;
            let places = open.rows.iter().map(|&(log, number, bytes)| (state.logs[log].name.clone(), number, bytes));
            let about = encoder.about(number);
            let rows = self.open.entry(number).or_insert_with(|| Rows { about: String::new(), places: Vec::new() });
            rows.about = about;
            rows.places.extend(places);
            self.next = self.next.max(number + 1);
        }
        Ok(())
    }

    fn keep(&mut self, file: u64, about: String, bytes: &[u8]) -> Result<(), LogicError> {
        if self.log.is_none() {
            self.begin_log()?;
        }
        let at = self.logs.last_mut().expect("there is a log");
        let path = self.folder.root().join(&at.name);
        let (_, log) = self.log.as_mut().expect("a log is open");
        let length = spill::append(log, &path, file, bytes)?;
        at.length += length;
        at.live += length;
        at.is_safe = false;
        let rows = self.open.entry(file).or_insert_with(|| Rows { about: String::new(), places: Vec::new() });
        rows.about = about;
        match rows.places.last_mut() {
            Some((log, number, bytes)) if *log == at.name && *number == file => *bytes += length,
            _ => rows.places.push((at.name.clone(), file, length)),
        }
        Ok(())
    }

    fn begin_log(&mut self) -> Result<(), LogicError> {
        let name = format!(".rows-{}-{}.{}.part", self.part, self.next_log, self.run);
        self.next_log += 1;
        let path = self.folder.root().join(&name);
        let log = OpenOptions::new().append(true).create_new(true).open(&path);
        self.log = Some((name.clone(), log.map_err(|error| cannot_write(&path, &error))?));
        self.logs.push(Kept { name, length: 0, live: 0, is_safe: false });
        Ok(())
    }

    fn finish(&mut self, file: u64, name: String) -> Result<(), LogicError> {
        let staged = self.folder.take_staged(file)?;
        if self.folder.root().join(&name).exists() {
            let message =
                format!("{} is written by another step of this flow", self.folder.root().join(name).display());
            return Err(LogicError::new(Domain::Io, message).help("let each sink write its own folder"));
        }
        self.finished.push((staged, name));
        for (log, _, bytes) in self.open.remove(&file).into_iter().flat_map(|rows| rows.places) {
            if let Some(log) = self.logs.iter_mut().find(|other| other.name == log) {
                log.live -= bytes;
            }
        }
        Ok(())
    }

    /// Retires logs that nothing is wanted of; if most of what is left is dead, copies the rest to a new one.
    fn tidy_logs(&mut self, epoch: Epoch) -> Result<(), LogicError> {
        let live: u64 = self.logs.iter().map(|log| log.live).sum();
        let dead: u64 = self.logs.iter().map(|log| log.length).sum::<u64>() - live;
        if dead > self.dead.max(live) && live > 0 {
            self.copy_logs()?;
        }
        let (root, dead) = (self.folder.root().to_owned(), self.dead);
        let current = self.log.as_ref().map(|(name, _)| name.clone());
        for log in
            self.logs.extract_if(.., |log| log.live == 0 && (current.as_ref() != Some(&log.name) || log.length > dead))
        {
            self.log.take_if(|(name, _)| *name == log.name);
            self.retired.push((epoch, root.join(&log.name)));
        }
        Ok(())
    }

    fn copy_logs(&mut self) -> Result<(), LogicError> {
        let old = std::mem::take(&mut self.logs);
        self.log = None;
        let mut files: BTreeMap<(String, u64), u64> = BTreeMap::new();
        for (&file, rows) in &mut self.open {
            files.extend(rows.places.drain(..).map(|(log, number, _)| ((log, number), file)));
        }
        for log in &old {
            let path = self.folder.root().join(&log.name);
            spill::read(&path, log.length, &mut |number, bytes| match files.get(&(log.name.clone(), number)) {
                Some(&file) => {
                    let about = self.open[&file].about.clone();
                    self.keep(file, about, bytes)
                }
                None => Ok(()),
            })?;
        }
        let dead = old.into_iter().map(|log| Kept { live: 0, ..log });
        self.logs.splice(0..0, dead);
        Ok(())
    }
}

impl Writer for KeptFolder {
    fn run(&mut self, job: Job) -> Result<Vec<RowError>, LogicError> {
        self.is_changed = true;
        match job {
            Job::Append { file, bytes } => {
                self.next = self.next.max(file + 1);
                self.folder.append(file, &bytes)?;
            }
            Job::Keep { file, about, bytes } => {
                self.next = self.next.max(file + 1);
                self.keep(file, about, &bytes)?;
            }
            Job::Finish { file, name } => self.finish(file, name)?,
            Job::Rows(_) => return Err(LogicError::internal("rows are encoded before they are written")),
        }
        Ok(Vec::new())
    }

    fn stage(&mut self, epoch: Epoch) -> Result<Option<sink::Staged>, LogicError> {
        if !std::mem::take(&mut self.is_changed) {
            return Ok(None);
        }
        self.tidy_logs(epoch)?;
        let mut unsafe_files: Vec<(PathBuf, File)> = Vec::new();
        if let Some((_, log)) = &mut self.log {
            let last = self.logs.last_mut().expect("there is a log");
            if !last.is_safe {
                let path = self.folder.root().join(&last.name);
                let log = log.try_clone().map_err(|error| cannot_write(&path, &error))?;
                unsafe_files.push((path, log));
                last.is_safe = true;
            }
        }
        let mut finished = Vec::new();
        for (staged, name) in self.finished.drain(..) {
            let sized = staged.reopen()?;
            let size = sized.metadata().map_err(|error| cannot_write(staged.path(), &error))?.len();
            unsafe_files.push((staged.path().to_owned(), sized));
            let staged = staged.keep().file_name().unwrap_or_default().to_string_lossy().into_owned();
            finished.push(Finished { staged, name, size });
        }
        let root = self.folder.root().to_owned();
        let flush: Flush = Box::new(move || {
            for (path, file) in unsafe_files {
                file.sync_all().map_err(|error| cannot_write(&path, &error))?;
            }
            sync_folder(&root)
        });
        let wanted: Vec<&Kept> = self.logs.iter().filter(|log| log.live > 0).collect();
        let place = |name: &str| wanted.iter().position(|log| log.name == name).expect("live rows are in a log");
        let open = self.open.iter().map(|(&file, rows)| Open {
            file,
            about: rows.about.clone(),
            rows: rows.places.iter().map(|(log, number, bytes)| (place(log), *number, *bytes)).collect(),
        });
        let state = State {
            run: self.run.to_string(),
            next: self.next,
            finished,
            open: open.collect(),
            logs: wanted.iter().map(|log| Log { name: log.name.clone(), length: log.length }).collect(),
            replaces: self.replaces.take(),
        };
        Ok(Some(sink::Staged { manifest: state.write(), flush: Some(flush) }))
    }

    fn commit(&mut self, epoch: Epoch, manifest: &[u8]) -> Result<Option<Flush>, LogicError> {
        manifest::commit(self.folder.root(), &State::read(manifest)?)?;
        let due = self.retired.iter().take_while(|(retired, _)| *retired <= epoch).count();
        self.retired.drain(..due).try_for_each(|(_, path)| remove(&path))?;
        Ok(None)
    }

    fn close(&mut self) -> Result<(), LogicError> {
        // Of an open file the rows are kept, and a log without any is not wanted.
        self.folder.forget_staged();
        let root = self.folder.root().to_owned();
        self.logs.iter().filter(|log| log.live == 0).try_for_each(|log| remove(&root.join(&log.name)))
    }

    fn abandon(&mut self) {
        self.finished.clear();
        self.folder.forget_staged();
    }
}
