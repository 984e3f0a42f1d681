//! Encodes rows as Parquet files, on the worker: one open file for each place that rows go to, within bounds.

use super::hive;
use super::split::{Split, take};
use crate::data::batch::Batch;
use crate::data::ids::WorkerIndex;
use crate::dataflow::env::Clock;
use crate::dataflow::error::LogicError;
use crate::dataflow::sink::{Encode, Job};
use crate::dataflow::user_fn::{InstanceCx, RowError};
use arrow::array::{ArrayRef, RecordBatch, RecordBatchOptions};
use arrow::datatypes::SchemaRef;
use parquet::arrow::ArrowWriter;
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use std::collections::BTreeMap;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Files that a worker has open; when another one is wanted, the one that was written least recently is finished.
const OPEN: usize = 256;
/// Memory of all files that a worker has open; beyond it, the largest one's rows so far become a row group.
const MEMORY: usize = 192 << 20;

/// What files look like.
#[derive(Clone)]
pub(super) struct Layout {
    /// The columns in the files.
    pub schema: SchemaRef,
    /// For each of them where it is in a row; see `has_key`.
    pub columns: Vec<usize>,
    /// The columns that name folders, and where each is in a row.
    pub partition_by: Vec<(String, usize)>,
    /// Whether the key stands before the columns of a row, as one of them.
    pub has_key: bool,
    pub properties: WriterProperties,
    pub roll: Roll,
}

/// When a file is full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Roll {
    pub rows: Option<u64>,
    pub bytes: Option<u64>,
    pub age: Option<Duration>,
}

/// Encodes the rows of one worker.
pub(super) struct ParquetEncode {
    layout: Arc<Layout>,
    run: Arc<str>,
    worker: WorkerIndex,
    clock: Arc<dyn Clock>,
    split: Option<Split>,
    /// By what stands for the values of the columns that name folders.
    open: BTreeMap<Box<[u8]>, OpenFile>,
    memory: usize,
    next_file: u64,
    uses: u64,
}

struct OpenFile {
    file: u64,
    folders: String,
    writer: ArrowWriter<Shared>,
    written: Shared,
    rows: u64,
    opened_at: Duration,
    last_use: u64,
    memory: usize,
}

/// Where a writer puts bytes, and the encoder takes them.
#[derive(Clone, Default)]
struct Shared(Arc<Mutex<Vec<u8>>>);

impl Shared {
    fn take(&self) -> Vec<u8> {
        std::mem::take(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl OpenFile {
    fn give(&self, jobs: &mut Vec<Job>) {
        let bytes = self.written.take();
        if !bytes.is_empty() {
            jobs.push(Job::Append { file: self.file, bytes });
        }
    }

    fn is_full(&self, roll: Roll, now: Duration) -> bool {
        roll.rows.is_some_and(|rows| self.rows >= rows)
            || roll
                .bytes
                .is_some_and(|bytes| (self.writer.bytes_written() + self.writer.in_progress_size()) as u64 >= bytes)
            || self.is_old(roll, now)
    }

    fn is_old(&self, roll: Roll, now: Duration) -> bool {
        roll.age.is_some_and(|age| now.saturating_sub(self.opened_at) >= age)
    }
}

impl ParquetEncode {
    /// Makes an encoder without any open file.
    pub fn new(layout: Arc<Layout>, cx: &InstanceCx) -> Self {
        ParquetEncode {
            layout,
            run: cx.run_id.clone(),
            worker: cx.worker,
            clock: cx.env.clock.clone(),
            split: None,
            open: BTreeMap::new(),
            memory: 0,
            next_file: 0,
            uses: 0,
        }
    }

    /// Writes rows that go to one folder.
    fn write(
        &mut self,
        values: &[u8],
        folders: &dyn Fn() -> Result<String, String>,
        mut rows: RecordBatch,
        jobs: &mut Vec<Job>,
    ) -> Result<Result<(), String>, LogicError> {
        let roll = self.layout.roll;
        let now = self.clock.elapsed();
        self.uses += 1;
        while rows.num_rows() > 0 {
            if !self.open.contains_key(values) {
                let folders = match folders() {
                    Ok(folders) => folders,
                    Err(message) => return Ok(Err(message)),
                };
                self.open(values, folders, now, jobs)?;
            }
            let file = self.open.get_mut(values).expect("the file has been opened");
            let room = roll.rows.map_or(u64::MAX, |most| most.saturating_sub(file.rows).max(1));
            let count = rows.num_rows().min(usize::try_from(room).unwrap_or(usize::MAX));
            file.writer.write(&rows.slice(0, count)).map_err(|error| failed(&error))?;
            file.rows += count as u64;
            file.last_use = self.uses;
            let memory = file.writer.memory_size();
            self.memory = self.memory + memory - file.memory;
            file.memory = memory;
            file.give(jobs);
            if file.is_full(roll, now) {
                self.finish(values, jobs)?;
            }
            rows = rows.slice(count, rows.num_rows() - count);
        }
        while self.memory > MEMORY {
            let Some(largest) = self.open.values_mut().max_by_key(|file| file.memory) else { break };
            largest.writer.flush().map_err(|error| failed(&error))?;
            largest.give(jobs);
            let memory = largest.writer.memory_size();
            if memory >= largest.memory {
                break;
            }
            self.memory -= largest.memory - memory;
            largest.memory = memory;
        }
        Ok(Ok(()))
    }

    fn open(
        &mut self,
        values: &[u8],
        folders: String,
        opened_at: Duration,
        jobs: &mut Vec<Job>,
    ) -> Result<(), LogicError> {
        while self.open.len() >= OPEN {
            let oldest = self.open.iter().min_by_key(|(_, file)| file.last_use).map(|(values, _)| values.clone());
            self.finish(&oldest.expect("there are open files"), jobs)?;
        }
        let written = Shared::default();
        let properties = Some(self.layout.properties.clone());
        let writer = ArrowWriter::try_new(written.clone(), self.layout.schema.clone(), properties);
        let writer = writer.map_err(|error| failed(&error))?;
        let file = self.next_file;
        self.next_file += 1;
        let opened = OpenFile { file, folders, writer, written, rows: 0, opened_at, last_use: self.uses, memory: 0 };
        self.open.insert(values.into(), opened);
        Ok(())
    }

    fn finish(&mut self, values: &[u8], jobs: &mut Vec<Job>) -> Result<(), LogicError> {
        let Some(mut file) = self.open.remove(values) else { return Ok(()) };
        self.memory -= file.memory;
        file.writer.finish().map_err(|error| failed(&error))?;
        file.give(jobs);
        let name = format!("{}part-{}-{}-{}.parquet", file.folders, self.run, self.worker, file.file);
        jobs.push(Job::Finish { file: file.file, name });
        Ok(())
    }

    /// The columns of a batch, its key before them where it is a column.
    fn columns(&self, batch: &Batch) -> Vec<ArrayRef> {
        let key = batch.keys().filter(|_| self.layout.has_key).map(|keys| Arc::new(keys.values().clone()) as ArrayRef);
        key.into_iter().chain(batch.rows().columns().iter().cloned()).collect()
    }
}

impl Encode for ParquetEncode {
    fn encode(&mut self, batch: &Batch, jobs: &mut Vec<Job>) -> Result<Vec<RowError>, LogicError> {
        let layout = self.layout.clone();
        let columns = self.columns(batch);
        let options = RecordBatchOptions::new().with_row_count(Some(batch.num_rows()));
        let inside = layout.columns.iter().map(|&column| columns[column].clone()).collect();
        let rows = RecordBatch::try_new_with_options(layout.schema.clone(), inside, &options)?;
        if layout.partition_by.is_empty() {
            // Without folders nothing can be refused.
            self.write(&[], &|| Ok(String::new()), rows, jobs)?.ok();
            return Ok(Vec::new());
        }
        let by = layout.partition_by.iter().map(|(name, column)| (name.clone(), columns[*column].clone()));
        let by: Vec<(String, ArrayRef)> = by.collect();
        let values: Vec<ArrayRef> = by.iter().map(|(_, column)| column.clone()).collect();
        if self.split.is_none() {
            self.split = Some(Split::new(&values)?);
        }
        let groups = self.split.as_ref().expect("it has just been made").split(&values)?;
        let mut errors = Vec::new();
        for group in groups {
            let first = group.rows[0] as usize;
            let taken = take(&rows, group.rows.clone())?;
            if let Err(message) = self.write(&group.values, &|| hive::folders(&by, first), taken, jobs)? {
                errors.extend(group.rows.iter().map(|&row| RowError { row, message: message.clone() }));
            }
        }
        errors.sort_by_key(|error| error.row);
        Ok(errors)
    }

    fn on_epoch(&mut self, jobs: &mut Vec<Job>) -> Result<(), LogicError> {
        let (roll, now) = (self.layout.roll, self.clock.elapsed());
        let old = self.open.iter().filter(|(_, file)| file.is_old(roll, now)).map(|(values, _)| values.clone());
        for values in old.collect::<Vec<_>>() {
            self.finish(&values, jobs)?;
        }
        Ok(())
    }

    fn on_eof(&mut self, jobs: &mut Vec<Job>) -> Result<(), LogicError> {
        while let Some(values) = self.open.keys().next().cloned() {
            self.finish(&values, jobs)?;
        }
        Ok(())
    }
}

fn failed(error: &ParquetError) -> LogicError {
    LogicError::internal(format!("cannot encode rows as Parquet: {error}"))
}
