//! The counters of one step. Drivers and instances write them, from any worker; the progress line, the summary and
//! later the metrics read them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Counts what a step did, over all workers of this process.
#[derive(Debug, Default)]
pub struct StepMeter {
    rows_in: AtomicU64,
    rows_out: AtomicU64,
    batches_in: AtomicU64,
    bytes: AtomicU64,
    errors: AtomicU64,
    late: AtomicU64,
    /// Time in user code and at its boundary, in nanoseconds.
    plugin_nanos: AtomicU64,
    plugin_calls: AtomicU64,
    /// The most memory that one instance held.
    plugin_memory: AtomicU64,
    files: AtomicU64,
    counters: Mutex<BTreeMap<String, u64>>,
}

/// What a [`StepMeter`] shows at some moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StepFigures {
    pub rows_in: u64,
    pub rows_out: u64,
    pub batches_in: u64,
    /// Bytes read by a source or written by a sink.
    pub bytes: u64,
    /// Rows that failed.
    pub errors: u64,
    /// Rows that came behind the watermark.
    pub late: u64,
    pub plugin_time: Duration,
    pub plugin_calls: u64,
    /// Bytes of linear memory, the largest instance.
    pub plugin_memory: u64,
    /// Files finished by a sink.
    pub files: u64,
    /// The plugin's own counters.
    pub counters: BTreeMap<String, u64>,
}

impl StepMeter {
    /// Counts a batch of rows that came in.
    pub fn took(&self, rows: u64) {
        self.rows_in.fetch_add(rows, Relaxed);
        self.batches_in.fetch_add(1, Relaxed);
    }

    /// Counts rows that went out.
    pub fn gave(&self, rows: u64) {
        self.rows_out.fetch_add(rows, Relaxed);
    }

    /// Counts bytes read or written.
    pub fn moved(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Relaxed);
    }

    /// Counts rows that failed and returns how many did so far.
    pub fn failed(&self, rows: u64) -> u64 {
        self.errors.fetch_add(rows, Relaxed) + rows
    }

    /// Counts rows that were late.
    pub fn was_late(&self, rows: u64) {
        self.late.fetch_add(rows, Relaxed);
    }

    /// Counts a call into a plugin.
    pub fn called(&self, time: Duration, memory: u64) {
        self.plugin_nanos.fetch_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.plugin_calls.fetch_add(1, Relaxed);
        self.plugin_memory.fetch_max(memory, Relaxed);
    }

    /// Counts a finished file.
    pub fn finished_file(&self) {
        self.files.fetch_add(1, Relaxed);
    }

    /// Adds to a counter of the plugin's own.
    pub fn count(&self, name: &str, by: u64) {
        let mut counters = self.counters.lock().unwrap_or_else(PoisonError::into_inner);
        *counters.entry(name.to_owned()).or_default() += by;
    }

    /// Reads everything.
    pub fn figures(&self) -> StepFigures {
        StepFigures {
            rows_in: self.rows_in.load(Relaxed),
            rows_out: self.rows_out.load(Relaxed),
            batches_in: self.batches_in.load(Relaxed),
            bytes: self.bytes.load(Relaxed),
            errors: self.errors.load(Relaxed),
            late: self.late.load(Relaxed),
            plugin_time: Duration::from_nanos(self.plugin_nanos.load(Relaxed)),
            plugin_calls: self.plugin_calls.load(Relaxed),
            plugin_memory: self.plugin_memory.load(Relaxed),
            files: self.files.load(Relaxed),
            counters: self.counters.lock().unwrap_or_else(PoisonError::into_inner).clone(),
        }
    }
}
