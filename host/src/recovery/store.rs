//! The store: a folder of parts, opened, judged, claimed, and then written by one thread a part.

use super::block::{self, SLICES};
use super::catalogue::{Catalogue, Execution, Identity, PositionRow, Role, StepNumber};
use super::compare::MARKS;
use super::error::{StoreError, Trouble};
use super::load::{Shelf, Size, lock};
use super::part::{PartStore, Transaction};
use super::resume::{Resume, Wanted, file_name, resume};
use super::sqlite::{self, SqlitePart};
use super::writer::{self, Order, Seals, WriterCx};
use crate::data::ids::{FlowId, PartitionId, StepId};
use crate::data::key::Keys;
use crate::data::time::Epoch;
use crate::dataflow::durable::{Changes, Durable, Manifest, Position, Recovery};
use crate::dataflow::env::Env;
use crate::dataflow::error::LogicError;
use crate::dataflow::failure::FailureSlot;
use crate::dataflow::writers::Writers;
use arrow::array::{Array, BinaryArray};
use crossbeam::channel::Sender;
use std::fs;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// Of a store's name, which is random, so much is enough to tell it from others.
const RUN_ID_STORE: usize = 16;

/// How to keep a store.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The number of files of a new store, from 1 to 64. Each costs an fsync an epoch, and lets one more thread write.
    pub parts: u64,
    /// Epochs back from the newest durable one that can still be resumed from, for copies of the files that were made
    /// one after the other.
    pub retention: u64,
}

impl Default for Options {
    fn default() -> Self {
        Options { parts: 8, retention: 1 }
    }
}

/// A store that is open and sound, and has decided where to go on. Until it is claimed nothing is changed.
pub struct Store {
    pub(super) shelf: Shelf,
    retention: u64,
}

impl Store {
    /// Opens the store in a folder, or makes one where there is none.
    ///
    /// # Errors
    /// The store is damaged, in use, or not one that this flow can go on from.
    pub fn open(folder: &Path, wanted: &Wanted<'_>, options: Options, env: &Env) -> Result<Store, StoreError> {
        let mut files = find(folder)?;
        if files.is_empty() || is_unfinished(folder, &files)? {
            create(folder, wanted.flow, options.parts, env)?;
            files = find(folder)?;
        }
        let opened = env.at_once(&files, |file| SqlitePart::open(&folder.join(file)));
        let boxed = |part: Result<SqlitePart, StoreError>| part.map(|part| Box::new(part) as Box<dyn PartStore>);
        let parts = opened.into_iter().map(boxed).collect::<Result<_, _>>()?;
        let store = Self::from_parts(parts, wanted, options)?;
        store.resume().check()?;
        Ok(store)
    }

    /// Opens the store in a folder to look at it: nothing is changed, and states that cannot be kept are no error. None if
    /// there is no store.
    ///
    /// # Errors
    /// The store is damaged, in use, or one of another flow.
    pub fn look(folder: &Path, wanted: &Wanted<'_>) -> Result<Option<Store>, StoreError> {
        let files = find(folder)?;
        let mut parts: Vec<Box<dyn PartStore>> = Vec::new();
        for file in &files {
            parts.push(Box::new(SqlitePart::look(&folder.join(file))?));
        }
        let was_claimed = parts.iter().any(|part| part.catalogue().execution() > 0);
        if !files.contains(&file_name(0)) && !was_claimed {
            return Ok(None);
        }
        Self::from_parts(parts, wanted, Options::default()).map(Some)
    }

    /// Makes a store of parts that are open. States that cannot be kept are no error yet.
    ///
    /// # Errors
    /// As for `look`.
    pub fn from_parts(
        mut parts: Vec<Box<dyn PartStore>>,
        wanted: &Wanted<'_>,
        options: Options,
    ) -> Result<Store, StoreError> {
        parts.sort_by_key(|part| part.catalogue().identity.part);
        let catalogues: Vec<&Catalogue> = parts.iter().map(|part| part.catalogue()).collect();
        let resume = resume(&catalogues, wanted)?;
        let parts = parts.into_iter().map(|part| Arc::new(Mutex::new(part))).collect();
        Ok(Store { shelf: Shelf { parts, resume }, retention: options.retention })
    }

    /// A name that no other execution has, of this store or of another: that of the store, `x`, and the number of the
    /// execution that goes on.
    pub fn run_id(&self) -> String {
        let first = lock(&self.shelf.parts[0]);
        let store: String = first.catalogue().identity.store.chars().take(RUN_ID_STORE).collect();
        format!("{store}x{}", self.shelf.resume.execution)
    }

    /// Where the store goes on.
    pub fn resume(&self) -> &Resume {
        &self.shelf.resume
    }

    /// The manifests of a sink, as [`Recovery::load_sinks`] will give them: for the sink to find out, before anything is
    /// changed, whether its readers have seen more than the store knows of.
    ///
    /// # Errors
    /// The step is not one of those that keep something.
    pub fn load_sinks(&self, step: &StepId) -> Result<Vec<Manifest>, LogicError> {
        self.shelf.load_sinks(step)
    }

    /// What there is under a number of a step.
    ///
    /// # Errors
    /// The store is damaged or cannot be read.
    pub fn size_of(&self, number: StepNumber) -> Result<Size, LogicError> {
        self.shelf.size_of(number)
    }

    /// Claims the store for an execution with `workers`: removes what the last one did not finish, in all parts. Nothing
    /// may be read from a source before this returns.
    ///
    /// # Errors
    /// A part cannot be written, or a thread cannot be started; or some state cannot be kept.
    pub fn claim(
        self,
        workers: usize,
        env: &Env,
        failure: &FailureSlot,
        writers: &Writers,
    ) -> Result<ClaimedStore, StoreError> {
        let Store { shelf, retention } = self;
        let Shelf { parts, resume } = &shelf;
        resume.check()?;
        let execution = Execution {
            number: resume.execution,
            resume: resume.epoch,
            started_at: env.clock.now(),
            workers: workers as u64,
            wxhost: env!("CARGO_PKG_VERSION").to_owned(),
        };
        // Were an epoch removed from one part while a process that was thought dead still seals it in the others, that
        // would take it for safe, and show it to readers. So it is kept out of all parts before anything is removed.
        if parts.iter().any(|part| Transaction::is_ahead(lock(part).catalogue(), resume)) {
            let fenced = env.at_once(parts, |part| {
                let mut part = lock(part);
                let fence = Transaction::fence(part.catalogue(), execution.clone());
                part.commit(fence)
            });
            fenced.into_iter().collect::<Result<(), _>>()?;
        }
        let claimed = env.at_once(parts, |part| {
            let mut part = lock(part);
            let claim = Transaction::claim(part.catalogue(), execution.clone(), resume);
            part.commit(claim)
        });
        claimed.into_iter().collect::<Result<(), _>>()?;
        let seals = Arc::new(Seals::new(parts.len(), resume.epoch));
        let cx = WriterCx {
            env: env.clone(),
            failure: failure.clone(),
            writers: writers.clone(),
            seals: seals.clone(),
            retention,
        };
        let mut orders = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            let started = writer::start(&cx, number, part.clone(), shelf.slices_of(number));
            orders.push(started.map_err(|error| StoreError::io(format!("thread {number}"), &error))?);
        }
        // With the first epoch, whatever it changes, the old ones of states that are replaced are retired.
        let first = resume.first_epoch();
        for (&number, order) in
            resume.compared.retires.iter().flat_map(|number| orders.iter().map(move |o| (number, o)))
        {
            order.send(Order::Position(mark(number, first))).ok();
        }
        // What says that a step was told the end of its input goes on under its new number with the states.
        for (&new, &old) in &resume.compared.loads {
            for (part, order) in parts.iter().zip(&orders) {
                let part = lock(part);
                let ends = part.catalogue().positions.iter().filter(|row| row.step == old && row.is_of_end());
                if let Some(mut row) = ends.max_by_key(|row| (row.epoch, row.id)).cloned() {
                    (row.step, row.epoch) = (new, first);
                    row.crc = row.checksum();
                    order.send(Order::Position(row)).ok();
                }
            }
        }
        let is_changed = !resume.compared.retires.is_empty();
        let handed_in = AtomicU64::new(if is_changed { first.0 } else { resume.epoch.0 });
        Ok(ClaimedStore { shelf, seals, orders: orders.into(), handed_in })
    }
}

/// A store that an execution has claimed. Dropping it ends its threads, when they have done what they were asked to.
pub struct ClaimedStore {
    shelf: Shelf,
    seals: Arc<Seals>,
    /// One a part.
    orders: Arc<[Sender<Order>]>,
    /// The newest epoch for which something was handed in.
    handed_in: AtomicU64,
}

impl ClaimedStore {
    /// What the execution goes on from.
    #[cfg(test)]
    pub(super) fn shelf(&self) -> &Shelf {
        &self.shelf
    }

    fn order(&self, part: usize, order: Order) {
        // A writer that is gone has failed, and so the execution ends.
        self.orders[part].send(order).ok();
    }

    /// Takes note that something of an epoch is handed in.
    fn begin(&self, step: &StepId, epoch: Epoch) -> Result<StepNumber, LogicError> {
        if self.seals.is_complete(epoch) {
            let message = format!("something of epoch {epoch} was handed in after it was sealed");
            return Err(LogicError::internal(message));
        }
        self.handed_in.fetch_max(epoch.0, Ordering::AcqRel);
        self.shelf.number_of(step)
    }

    fn position(
        &self,
        role: Role,
        step: &StepId,
        part: &PartitionId,
        epoch: Epoch,
        bytes: Vec<u8>,
    ) -> Result<(), LogicError> {
        let number = self.begin(step, epoch)?;
        let mut row = PositionRow { role, id: 0, epoch, step: number, part: part.clone(), bytes, crc: 0 };
        row.crc = row.checksum();
        self.order(self.shelf.home_of(part), Order::Position(row));
        Ok(())
    }
}

impl Recovery for ClaimedStore {
    fn first_epoch(&self) -> Epoch {
        self.shelf.resume.first_epoch()
    }

    fn is_fresh(&self) -> bool {
        self.shelf.resume.execution == 1
    }

    fn state(&self, step: &StepId, epoch: Epoch, changes: &Changes) -> Result<(), LogicError> {
        if changes.keys.values().is_empty() {
            return Ok(());
        }
        let number = self.begin(step, epoch)?;
        block::check(changes)?;
        let changes = Arc::new(changes.clone());
        for part in 0..self.shelf.parts.len() {
            self.order(part, Order::Changes { step: number, epoch, changes: changes.clone() });
        }
        Ok(())
    }

    fn source(&self, step: &StepId, part: &PartitionId, epoch: Epoch, position: Vec<u8>) -> Result<(), LogicError> {
        self.position(Role::Source, step, part, epoch, position)
    }

    fn sink(&self, step: &StepId, part: &PartitionId, epoch: Epoch, manifest: Vec<u8>) -> Result<(), LogicError> {
        self.position(Role::Sink, step, part, epoch, manifest)
    }

    fn seal(&self, epoch: Epoch) {
        let handed_in = Epoch(self.handed_in.load(Ordering::Acquire));
        // Asked under the lock of the seals, so that all parts seal the same epochs in the same order.
        self.seals.complete(epoch, handed_in, || {
            (0..self.shelf.parts.len()).for_each(|part| self.order(part, Order::Seal(epoch)));
        });
    }

    fn end(&self) {
        self.seal(Epoch(self.handed_in.load(Ordering::Acquire)));
        // A part that is tidied up keeps the disk from those that still seal, for which sinks wait. The threads end when
        // the store is dropped, so that nothing else may hold the lines to them.
        let orders = Arc::downgrade(&self.orders);
        self.seals.end(Box::new(move || {
            for order in orders.upgrade().iter().flat_map(|orders| orders.iter()) {
                order.send(Order::End).ok();
            }
        }));
    }

    fn durable(&self) -> &Arc<Durable> {
        &self.seals.durable
    }

    fn migrates(&self, step: &StepId) -> Option<u32> {
        self.shelf.resume.compared.migrates.get(step).copied()
    }

    fn rewrites(&self, step: &StepId) -> Option<u32> {
        self.shelf.resume.compared.rewrites.get(step).copied()
    }

    fn committed(&self, step: &StepId, part: &PartitionId, epoch: Epoch) {
        if let Ok(step) = self.shelf.number_of(step) {
            self.order(self.shelf.home_of(part), Order::Committed { step, part: part.clone(), epoch });
        }
    }

    fn load_state(
        &self,
        step: &StepId,
        groups: Range<u64>,
        each: &mut dyn FnMut(Keys, BinaryArray) -> Result<(), LogicError>,
    ) -> Result<(), LogicError> {
        self.shelf.load_state(step, groups, each)
    }

    fn load_sources(&self, step: &StepId) -> Result<Vec<Position>, LogicError> {
        self.shelf.load_sources(step)
    }

    fn load_sinks(&self, step: &StepId) -> Result<Vec<Manifest>, LogicError> {
        self.shelf.load_sinks(step)
    }
}

/// The row that says that a number is retired.
pub(super) fn mark(number: StepNumber, epoch: Epoch) -> PositionRow {
    let part = number.to_string().as_str().into();
    let mut row = PositionRow { role: Role::Source, id: 0, epoch, step: MARKS, part, bytes: Vec::new(), crc: 0 };
    row.crc = row.checksum();
    row
}

/// The names of the files of parts in a folder, sorted.
///
/// # Errors
/// The folder cannot be read.
pub fn find(folder: &Path) -> Result<Vec<String>, StoreError> {
    let io = |error: &std::io::Error| StoreError::io(folder.display(), error);
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(io(&error)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| io(&error))?.file_name().to_string_lossy().into_owned();
        if name.starts_with("part-") && name.ends_with(".sqlite3") {
            files.push(name);
        }
    }
    files.sort();
    Ok(files)
}

/// Whether the files are of a store whose making was cut short: the first part is made last, and only then can the store
/// be claimed. Such files hold nothing, and are made again.
fn is_unfinished(folder: &Path, files: &[String]) -> Result<bool, StoreError> {
    if files.contains(&file_name(0)) {
        return Ok(false);
    }
    for file in files {
        if SqlitePart::open(&folder.join(file))?.catalogue().execution() > 0 {
            return Ok(false);
        }
    }
    for file in files {
        let path = folder.join(file);
        fs::remove_file(&path).map_err(|error| StoreError::io(path.display(), &error))?;
    }
    Ok(true)
}

/// What a store is called, and no other.
pub(super) fn new_id(env: &Env) -> String {
    format!("{:016x}{:016x}", env.random.next(), env.random.next())
}

/// Makes the files of a new store. Each gets its name when it is complete.
fn create(folder: &Path, flow: &FlowId, parts: u64, env: &Env) -> Result<(), StoreError> {
    if !(1..=SLICES).contains(&parts) {
        let message = format!("a store has from 1 to {SLICES} files, not {parts}");
        return Err(StoreError::new(Trouble::Refused, folder.display(), message));
    }
    let io = |error: std::io::Error| StoreError::io(folder.display(), &error);
    fs::create_dir_all(folder).map_err(io)?;
    let store = new_id(env);
    let paths = |part: u64| (folder.join(file_name(part)), folder.join(format!("{}.new", file_name(part))));
    let make = |&part: &u64| {
        let (_, new) = paths(part);
        for left in ["", "-wal", "-journal"] {
            match fs::remove_file(folder.join(format!("{}.new{left}", file_name(part)))) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(io(error)),
                _ => {}
            }
        }
        sqlite::create(&new, Identity { store: store.clone(), flow: flow.clone(), part, parts })?;
        fs::File::open(&new).and_then(|file| file.sync_all()).map_err(io)
    };
    env.at_once(&(0..parts).collect::<Vec<_>>(), make).into_iter().collect::<Result<(), _>>()?;
    // The names are on disk once the folder is; the first part's must not get there before the others'.
    for names in [1..parts, 0..1] {
        for part in names {
            let (path, new) = paths(part);
            fs::rename(&new, &path).map_err(io)?;
        }
        fs::File::open(folder).and_then(|folder| folder.sync_all()).map_err(io)?;
    }
    Ok(())
}
