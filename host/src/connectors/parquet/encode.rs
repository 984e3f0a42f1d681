//! Encodes rows as Parquet files, on the worker: one open file for each place that rows go to, within bounds.

use super::hive;
use super::spill;
use super::split::{Split, take};
use crate::data::batch::Batch;
use crate::data::ids::WorkerIndex;
use crate::data::schema::describe;
use crate::data::time::Instant;
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

/// Memory of rows that are not kept yet, with recovery; beyond it they are before the end of the epoch.
const UNKEPT: usize = 32 << 20;

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
    /// By their numbers.
    open: BTreeMap<u64, OpenFile>,
    /// By what stands for the values of the columns that name folders.
    by_values: BTreeMap<Box<[u8]>, u64>,
    by_folders: BTreeMap<String, u64>,
    memory: usize,
    next_file: u64,
    uses: u64,
    /// With recovery, the memory of rows that are not kept yet.
    unkept: Option<usize>,
    /// Jobs of before the first rows.
    early: Vec<Job>,
}

struct OpenFile {
    folders: String,
    writer: ArrowWriter<Shared>,
    written: Shared,
    rows: u64,
    opened_at: Duration,
    /// With recovery: when the first execution that wrote it opened it, by the system's time, and how old it was when
    /// this one did.
    first_opened: Instant,
    age: Duration,
    last_use: u64,
    memory: usize,
    /// With recovery: rows that are not kept yet, and their memory.
    unkept: Vec<RecordBatch>,
    unkept_bytes: usize,
}

/// What another execution has to know of a file to go on with it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct About {
    pub folders: String,
    /// When it was opened, in microseconds of the system's time.
    pub opened: i64,
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
    fn give(&self, file: u64, jobs: &mut Vec<Job>) {
        let bytes = self.written.take();
        if !bytes.is_empty() {
            jobs.push(Job::Append { file, bytes });
        }
    }

    fn is_full(&self, roll: Roll, now: Duration) -> bool {
        roll.rows.is_some_and(|rows| self.rows >= rows)
            || roll
                .bytes
                .is_some_and(|bytes| (self.writer.bytes_written() + self.writer.in_progress_size()) as u64 >= bytes)
            || roll.age.is_some_and(|age| self.age + now.saturating_sub(self.opened_at) >= age)
    }

    /// Writes rows; returns by how much more memory is used.
    fn write(&mut self, rows: &RecordBatch) -> Result<isize, LogicError> {
        self.writer.write(rows).map_err(|error| failed(&error))?;
        self.rows += rows.num_rows() as u64;
        Ok(self.grown())
    }

    fn grown(&mut self) -> isize {
        let memory = self.writer.memory_size();
        let before = std::mem::replace(&mut self.memory, memory);
        memory.cast_signed() - before.cast_signed()
    }
}

impl ParquetEncode {
    /// Makes an encoder without any open file. With recovery, it keeps the rows of files that are open at the end of an
    /// epoch.
    pub fn new(layout: Arc<Layout>, cx: &InstanceCx, keeps: bool) -> Self {
        ParquetEncode {
            layout,
            run: cx.run_id.clone(),
            worker: cx.worker,
            clock: cx.env.clock.clone(),
            split: None,
            open: BTreeMap::new(),
            by_values: BTreeMap::new(),
            by_folders: BTreeMap::new(),
            memory: 0,
            next_file: 0,
            uses: 0,
            unkept: keeps.then_some(0),
            early: Vec::new(),
        }
    }

    /// Goes on with a file that another execution had open: takes rows that it kept, and returns the file's number. Files
    /// of one folder become one.
    ///
    /// # Errors
    /// The rows have other columns.
    pub fn restore(&mut self, about: &About, rows: &RecordBatch) -> Result<u64, LogicError> {
        if rows.schema().fields() != self.layout.schema.fields() {
            let message = format!(
                "files that are not finished have the columns {}, and the sink now has {}",
                describe(&rows.schema()),
                describe(&self.layout.schema)
            );
            return Err(LogicError::user(message).help(
                "finish them with the flow as it was; or give the changed step another name and another folder",
            ));
        }
        let rows = rows.clone().with_schema(self.layout.schema.clone())?;
        let number = match self.by_folders.get(&about.folders) {
            Some(&number) => number,
            None => self.begin(about.folders.clone())?,
        };
        let now = self.clock.now();
        let file = self.open.get_mut(&number).expect("a file that is found is open");
        file.first_opened = file.first_opened.min(Instant(about.opened));
        file.age = now.since(file.first_opened);
        let grown = file.write(&rows)?;
        file.give(number, &mut self.early);
        self.memory = self.memory.saturating_add_signed(grown);
        let mut early = std::mem::take(&mut self.early);
        self.relieve(&mut early)?;
        self.early = early;
        Ok(number)
    }

    /// What another execution has to know of an open file.
    pub fn about(&self, number: u64) -> String {
        let file = &self.open[&number];
        let about = About { folders: file.folders.clone(), opened: file.first_opened.0 };
        serde_json::to_string(&about).expect("a name and a number can be written")
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
            let number = match self.by_values.get(values) {
                Some(&number) => number,
                None => {
                    let folders = match folders() {
                        Ok(folders) => folders,
                        Err(message) => return Ok(Err(message)),
                    };
                    let number = self.find(folders, jobs)?;
                    self.by_values.insert(values.into(), number);
                    number
                }
            };
            let file = self.open.get_mut(&number).expect("a file that is found is open");
            let room = roll.rows.map_or(u64::MAX, |most| most.saturating_sub(file.rows).max(1));
            let count = rows.num_rows().min(usize::try_from(room).unwrap_or(usize::MAX));
            let some = rows.slice(0, count);
            let grown = file.write(&some)?;
            self.memory = self.memory.saturating_add_signed(grown);
            file.last_use = self.uses;
            file.give(number, jobs);
            if let Some(unkept) = &mut self.unkept {
                let bytes = spill::size_of(&some);
                file.unkept.push(some);
                file.unkept_bytes += bytes;
                *unkept += bytes;
            }
            if file.is_full(roll, now) {
                self.finish(number, jobs)?;
            }
            rows = rows.slice(count, rows.num_rows() - count);
        }
        self.relieve(jobs)?;
        if self.unkept.is_some_and(|unkept| unkept > UNKEPT) {
            self.keep(jobs)?;
        }
        Ok(Ok(()))
    }

    /// Makes room: what the largest files have in memory becomes row groups.
    fn relieve(&mut self, jobs: &mut Vec<Job>) -> Result<(), LogicError> {
        while self.memory > MEMORY {
            let Some((&number, largest)) = self.open.iter_mut().max_by_key(|(_, file)| file.memory) else { break };
            largest.writer.flush().map_err(|error| failed(&error))?;
            largest.give(number, jobs);
            let grown = largest.grown();
            if grown >= 0 {
                break;
            }
            self.memory = self.memory.saturating_add_signed(grown);
        }
        Ok(())
    }

    /// Has the rows kept that are not yet, of all files that are open.
    fn keep(&mut self, jobs: &mut Vec<Job>) -> Result<(), LogicError> {
        let Some(unkept) = &mut self.unkept else { return Ok(()) };
        *unkept = 0;
        let mut kept = Vec::new();
        for (&number, file) in self.open.iter_mut().filter(|(_, file)| !file.unkept.is_empty()) {
            kept.push((number, spill::encode(&self.layout.schema, &std::mem::take(&mut file.unkept))?));
            file.unkept_bytes = 0;
        }
        for (file, bytes) in kept {
            jobs.push(Job::Keep { file, about: self.about(file), bytes });
        }
        Ok(())
    }

    /// The open file of a folder; makes one, and room for it.
    fn find(&mut self, folders: String, jobs: &mut Vec<Job>) -> Result<u64, LogicError> {
        if let Some(&number) = self.by_folders.get(&folders) {
            return Ok(number);
        }
        while self.open.len() >= OPEN {
            let oldest = self.open.iter().min_by_key(|(_, file)| file.last_use).map(|(&number, _)| number);
            self.finish(oldest.expect("there are open files"), jobs)?;
        }
        self.begin(folders)
    }

    fn begin(&mut self, folders: String) -> Result<u64, LogicError> {
        let written = Shared::default();
        let properties = Some(self.layout.properties.clone());
        let writer = ArrowWriter::try_new(written.clone(), self.layout.schema.clone(), properties);
        let writer = writer.map_err(|error| failed(&error))?;
        let number = self.next_file;
        self.next_file += 1;
        self.by_folders.insert(folders.clone(), number);
        let opened = OpenFile {
            folders,
            writer,
            written,
            rows: 0,
            opened_at: self.clock.elapsed(),
            first_opened: self.clock.now(),
            age: Duration::ZERO,
            last_use: self.uses,
            memory: 0,
            unkept: Vec::new(),
            unkept_bytes: 0,
        };
        self.open.insert(number, opened);
        Ok(number)
    }

    fn finish(&mut self, number: u64, jobs: &mut Vec<Job>) -> Result<(), LogicError> {
        let Some(mut file) = self.open.remove(&number) else { return Ok(()) };
        self.by_values.retain(|_, other| *other != number);
        self.by_folders.remove(&file.folders);
        self.memory = self.memory.saturating_sub(file.memory);
        if let Some(unkept) = &mut self.unkept {
            *unkept -= file.unkept_bytes;
        }
        file.writer.finish().map_err(|error| failed(&error))?;
        file.give(number, jobs);
        let name = format!("{}part-{}-{}-{number}.parquet", file.folders, self.run, self.worker);
        jobs.push(Job::Finish { file: number, name });
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
        jobs.append(&mut self.early);
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
        jobs.append(&mut self.early);
        let (roll, now) = (self.layout.roll, self.clock.elapsed());
        let full = self.open.iter().filter(|(_, file)| file.is_full(roll, now)).map(|(&number, _)| number);
        for number in full.collect::<Vec<_>>() {
            self.finish(number, jobs)?;
        }
        self.keep(jobs)
    }

    fn on_eof(&mut self, jobs: &mut Vec<Job>) -> Result<(), LogicError> {
        jobs.append(&mut self.early);
        while let Some(&number) = self.open.keys().next() {
            self.finish(number, jobs)?;
        }
        Ok(())
    }
}

fn failed(error: &ParquetError) -> LogicError {
    LogicError::internal(format!("cannot encode rows as Parquet: {error}"))
}
