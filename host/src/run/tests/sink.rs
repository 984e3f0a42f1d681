//! A sink in two phases: an epoch's rows are a file that is synced, and then gets the name by which readers see it.

use super::disk::{Disk, Inner};
use super::source::Args;
use crate::catalog::connector::CheckedSink;
use crate::catalog::cx::ConnectorCx;
use crate::data::batch::Batch;
use crate::data::ids::PartitionId;
use crate::data::time::Epoch;
use crate::dataflow::durable::Manifest;
use crate::dataflow::env::Env;
use crate::dataflow::error::LogicError;
use crate::dataflow::sink::{Encode, Flush, Job, PartWriter, Routing, SinkParts, Staged, Start, Writer};
use crate::dataflow::user_fn::{InstanceCx, RowError};
use crate::diag::Diagnostics;
use arrow::util::display::array_value_to_string;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

/// `sink = { simulated = "<name>" }`.
pub struct Sink {
    pub disk: Disk,
    /// How rows are spread over partitions in the execution that comes next.
    pub routing: Arc<Mutex<Routing>>,
}

impl Sink {
    pub fn check(&self, cx: &ConnectorCx<'_>) -> Result<CheckedSink, Diagnostics> {
        cx.args::<Args>()?;
        let name = cx.step.name.value.clone();
        let is_keyed = cx.up().key.is_some();
        let parts = Parts { name, is_keyed, disk: self.disk.clone(), routing: self.routing.clone() };
        Ok(CheckedSink { parts: Box::new(parts), notes: Vec::new() })
    }
}

struct Parts {
    name: String,
    is_keyed: bool,
    disk: Disk,
    routing: Arc<Mutex<Routing>>,
}

/// What a manifest tells: how many rows are in a file, and the name that it gets.
struct Told {
    rows: usize,
    file: String,
    epoch: u64,
}

impl Told {
    fn read(manifest: &[u8]) -> Told {
        let words: Vec<&str> = std::str::from_utf8(manifest).unwrap().split(' ').collect();
        Told { rows: words[0].parse().unwrap(), epoch: words[1].parse().unwrap(), file: words[2].to_owned() }
    }

    fn write(&self) -> Vec<u8> {
        format!("{} {} {}", self.rows, self.epoch, self.file).into_bytes()
    }
}

impl SinkParts for Parts {
    fn routing(&self) -> Result<Routing, LogicError> {
        Ok(match self.routing.lock().unwrap().clone() {
            Routing::ByKey(_) if !self.is_keyed => Routing::PerWorker,
            routing => routing,
        })
    }

    fn verify(&self, manifests: &[Manifest]) -> Result<(), LogicError> {
        let newest = manifests.iter().map(|manifest| manifest.epoch.0).max().unwrap_or(0);
        let shown = self.disk.read(|disk| disk.shown(&self.name));
        match shown.iter().find(|(_, epoch)| *epoch > newest) {
            Some((more, _)) => Err(LogicError::external(format!("{more} is seen, and the store does not know of it"))),
            None => Ok(()),
        }
    }

    fn resume(&self, _cx: &InstanceCx, manifests: &[Manifest]) -> Result<(), LogicError> {
        for manifest in manifests {
            let told = Told::read(&manifest.manifest);
            self.disk.write(|disk| disk.show(&told.file, told.epoch, told.rows))?;
        }
        self.disk.write(Inner::sync_names)?;
        self.disk.write(|disk| disk.remove_staged(&self.name))
    }

    fn open(&self, cx: &InstanceCx, part: &PartitionId, start: &Start<'_>) -> Result<PartWriter, LogicError> {
        let Start::Kept { first, orphans, .. } = start else { return Err(LogicError::internal("there is recovery")) };
        let writer = Files {
            name: format!("{}/{part}.{}", self.name, cx.run_id),
            disk: self.disk.clone(),
            env: cx.env.clone(),
            first: *first,
            number: 0,
            rows: 0,
            takes_over: !orphans.is_empty(),
            staged: BTreeMap::new(),
        };
        Ok(PartWriter { encoder: Box::new(PassOn), writer: Box::new(writer) })
    }
}

struct PassOn;

impl Encode for PassOn {
    fn encode(&mut self, batch: &Batch, jobs: &mut Vec<Job>) -> Result<Vec<RowError>, LogicError> {
        jobs.push(Job::Rows(Box::new(batch.clone())));
        Ok(Vec::new())
    }

    fn on_eof(&mut self, _jobs: &mut Vec<Job>) -> Result<(), LogicError> {
        Ok(())
    }
}

/// Writes a file an epoch.
struct Files {
    name: String,
    disk: Disk,
    env: Env,
    first: Epoch,
    /// The number of the file, and of its rows so far.
    number: usize,
    rows: usize,
    takes_over: bool,
    /// What was staged and is not committed.
    staged: BTreeMap<Epoch, Vec<u8>>,
}

impl Files {
    fn file(&self) -> String {
        format!("{}.{}", self.name, self.number)
    }

    fn is_wrong(&self, what: String) {
        self.disk.write(|disk| disk.is_wrong(what)).ok();
    }
}

impl Writer for Files {
    fn run(&mut self, job: Job) -> Result<Vec<RowError>, LogicError> {
        let Job::Rows(batch) = job else { return Err(LogicError::internal("it takes rows")) };
        let sink = self.name.split('/').next().unwrap_or_default();
        let rows: Vec<String> = show(&batch).into_iter().map(|row| format!("{sink}:{row}")).collect();
        self.rows += rows.len();
        self.disk.write(|disk| disk.append(&self.file(), rows))?;
        Ok(Vec::new())
    }

    fn publish(&mut self, _epoch: Epoch) -> Result<(), LogicError> {
        Err(LogicError::internal("there is recovery"))
    }

    fn stage(&mut self, epoch: Epoch) -> Result<Option<Staged>, LogicError> {
        if epoch < self.first || self.staged.keys().any(|&staged| staged >= epoch) {
            self.is_wrong(format!("{} is staged for epoch {epoch} out of order", self.name));
        }
        if self.rows == 0 && !std::mem::take(&mut self.takes_over) {
            return Ok(None);
        }
        let file = self.file();
        if self.rows == 0 {
            self.disk.write(|disk| disk.append(&file, Vec::new()))?;
        }
        let manifest = Told { rows: self.rows, epoch: epoch.0, file: file.clone() }.write();
        self.staged.insert(epoch, manifest.clone());
        self.rows = 0;
        self.number += 1;
        // Some disks are slow to sync, and others are waited for.
        let (disk, env) = (self.disk.clone(), self.env.clone());
        let sync = move || {
            rest(&env);
            disk.write(|disk| disk.sync(&file))?;
            rest(&env);
            Ok(())
        };
        Ok(Some(match self.number % 2 {
            0 => {
                sync()?;
                Staged::safe(manifest)
            }
            _ => Staged { manifest, flush: Some(Box::new(sync)) },
        }))
    }

    fn commit(&mut self, epoch: Epoch, manifest: &[u8]) -> Result<Option<Flush>, LogicError> {
        if self.staged.pop_first() != Some((epoch, manifest.to_vec())) {
            self.is_wrong(format!("{} is committed for epoch {epoch} out of order", self.name));
        }
        let told = Told::read(manifest);
        rest(&self.env);
        self.disk.write(|disk| disk.show(&told.file, told.epoch, told.rows))?;
        let (disk, env) = (self.disk.clone(), self.env.clone());
        Ok(Some(Box::new(move || {
            rest(&env);
            disk.write(Inner::sync_names)
        })))
    }

    fn close(&mut self) -> Result<(), LogicError> {
        if self.rows > 0 || !self.staged.is_empty() {
            self.is_wrong(format!("{} is closed with rows that nobody sees", self.name));
        }
        Ok(())
    }
}

/// Has others go on: the disk is slow.
fn rest(env: &Env) {
    if let Some(turns) = &env.turns {
        turns.wait(Box::new(|| true));
    }
}

/// Rows as text, the name of the sink first, then the key.
pub fn show(batch: &Batch) -> Vec<String> {
    let batch = batch.clone().compact().unwrap();
    let row = |row: usize| {
        let key = batch.keys().map_or("", |keys| keys.values().value(row)).to_owned();
        let cells = batch.rows().columns().iter().map(|column| {
            // Arrow cannot show instants of a zone so.
            let shown = array_value_to_string(column, row);
            shown.unwrap_or_else(|_| format!("{:?}", column.slice(row, 1)).split_whitespace().collect())
        });
        std::iter::once(key).chain(cells).collect::<Vec<_>>().join(",")
    };
    (0..batch.num_rows()).map(row).collect()
}
