//! The disk that a store and sinks are on: what was written and not synced may be lost when the power goes, in part.

use super::random::Chance;
use crate::dataflow::error::LogicError;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A disk. It outlives executions; cheap to clone.
#[derive(Clone)]
pub struct Disk(Arc<Mutex<Inner>>);

/// What goes wrong with the disk in an execution.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The power goes before something is done.
    CrashBefore,
    /// The power goes when it is done, and before anybody is told.
    CrashAfter,
    /// It fails, and is not done.
    Fails,
    /// It fails, and yet is done.
    FailsDone,
    /// From here on nothing can be written.
    Full,
}

pub struct Inner {
    chance: Chance,
    is_on: bool,
    is_full: bool,
    operations: u64,
    fault: Option<(u64, Fault)>,
    /// Files that no reader looks at.
    staged: BTreeMap<String, File>,
    /// Files that readers see, by their names.
    shown: BTreeMap<String, Shown>,
    /// Which of the input's rounds it is.
    round: usize,
    /// For each row that a reader ever saw, by the round in which it did, the file that it is in. Only what an end brings
    /// about may come in one round as in another.
    seen: BTreeMap<(usize, String), String>,
    /// The rounds in which readers saw files first.
    first_shown: BTreeMap<String, usize>,
    /// The rows in the order in which readers saw them first.
    order: Vec<String>,
    wrong: Vec<String>,
}

#[derive(Clone, Default)]
struct File {
    rows: Vec<String>,
    is_synced: bool,
}

struct Shown {
    epoch: u64,
    rows: Vec<String>,
    is_synced: bool,
}

impl Disk {
    pub fn new(chance: Chance) -> Disk {
        Disk(Arc::new(Mutex::new(Inner {
            chance,
            is_on: true,
            is_full: false,
            operations: 0,
            fault: None,
            staged: BTreeMap::new(),
            shown: BTreeMap::new(),
            round: 0,
            seen: BTreeMap::new(),
            first_shown: BTreeMap::new(),
            order: Vec::new(),
            wrong: Vec::new(),
        })))
    }

    /// Says which of the input's rounds it is.
    pub fn begin(&self, round: usize) {
        self.inner().round = round;
    }

    /// Turns the power on. The fault, if any, comes with the operation of that number.
    pub fn boot(&self, fault: Option<(u64, Fault)>) {
        let mut disk = self.inner();
        (disk.is_on, disk.is_full, disk.operations, disk.fault) = (true, false, 0, fault);
    }

    /// Turns the power off: of what was not synced only some stays.
    pub fn power_off(&self) {
        self.inner().power_off();
    }

    /// Does something that changes the disk, or not.
    pub fn write<T>(&self, act: impl FnOnce(&mut Inner) -> T) -> Result<T, LogicError> {
        let io = |message: &str| LogicError::io("disk", &std::io::Error::other(message.to_owned()));
        let mut disk = self.inner();
        if !disk.is_on {
            return Err(io("the power is off"));
        }
        disk.operations += 1;
        let fault = disk.fault.filter(|&(at, _)| at == disk.operations).map(|(_, fault)| fault);
        disk.is_full |= fault == Some(Fault::Full);
        match fault {
            _ if disk.is_full => Err(io("no space left")),
            None | Some(Fault::Full) => Ok(act(&mut disk)),
            Some(Fault::CrashBefore) => {
                disk.power_off();
                Err(io("the power went off"))
            }
            Some(Fault::CrashAfter) => {
                act(&mut disk);
                disk.power_off();
                Err(io("the power went off"))
            }
            Some(Fault::Fails) => Err(io("cannot write")),
            Some(Fault::FailsDone) => {
                act(&mut disk);
                Err(io("cannot write"))
            }
        }
    }

    /// Looks at what is there.
    pub fn read<T>(&self, look: impl FnOnce(&Inner) -> T) -> T {
        look(&self.inner())
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Whether anything went wrong since the power came.
    pub fn has_failed(&self) -> bool {
        self.fault.is_some_and(|(at, _)| self.operations >= at)
    }

    pub fn is_on(&self) -> bool {
        self.is_on
    }

    /// Writes rows to a file that nobody sees.
    pub fn append(&mut self, name: &str, rows: Vec<String>) {
        let file = self.staged.entry(name.to_owned()).or_default();
        file.rows.extend(rows);
        file.is_synced = false;
    }

    pub fn sync(&mut self, name: &str) {
        if let Some(file) = self.staged.get_mut(name) {
            file.is_synced = true;
        }
    }

    /// Gives a file the name by which readers see it. One that has it already stays as it is.
    pub fn show(&mut self, name: &str, epoch: u64, rows: usize) {
        if self.shown.contains_key(name) {
            return;
        }
        let Some(file) = self.staged.remove(name) else {
            return self.wrong.push(format!("{name} is to be shown and is nowhere"));
        };
        if file.rows.len() != rows {
            self.wrong.push(format!("{name} has {} rows in place of {rows}", file.rows.len()));
        }
        let round = *self.first_shown.entry(name.to_owned()).or_insert(self.round);
        for row in &file.rows {
            match self.seen.insert((round, row.clone()), name.to_owned()) {
                None => self.order.push(row.clone()),
                Some(other) if other == name => {}
                Some(other) => self.wrong.push(format!("{row} is in {other} and in {name}")),
            }
        }
        self.shown.insert(name.to_owned(), Shown { epoch, rows: file.rows, is_synced: false });
    }

    pub fn sync_names(&mut self) {
        self.shown.values_mut().for_each(|shown| shown.is_synced = true);
    }

    /// Removes what nobody sees of a sink.
    pub fn remove_staged(&mut self, sink: &str) {
        self.staged.retain(|name, _| !is_of(name, sink));
    }

    /// The files of a sink that readers see, with their epochs.
    pub fn shown(&self, sink: &str) -> Vec<(String, u64)> {
        let mine = self.shown.iter().filter(|(name, _)| is_of(name, sink));
        mine.map(|(name, shown)| (name.clone(), shown.epoch)).collect()
    }

    /// The rows that readers see.
    pub fn rows(&self) -> Vec<String> {
        self.shown.values().flat_map(|shown| shown.rows.iter().cloned()).collect()
    }

    /// The rows that readers ever saw, in the order in which they did.
    pub fn seen(&self) -> &[String] {
        &self.order
    }

    /// What must not be.
    pub fn wrong(&self) -> &[String] {
        &self.wrong
    }

    /// Notes something that must not be.
    pub fn is_wrong(&mut self, what: String) {
        self.wrong.push(what);
    }

    fn power_off(&mut self) {
        self.is_on = false;
        let chance = &mut self.chance;
        self.staged.retain(|_, file| file.is_synced || !chance.once_in(3));
        for file in self.staged.values_mut().filter(|file| !file.is_synced) {
            file.rows.truncate(self.chance.index(file.rows.len() + 1));
            file.is_synced = true;
        }
        let names: Vec<_> =
            self.shown.iter().filter(|(_, shown)| !shown.is_synced).map(|(name, _)| name.clone()).collect();
        for name in names {
            // The file itself is safe; what it is called may not be.
            if self.chance.once_in(2) {
                let shown = self.shown.remove(&name).unwrap();
                self.staged.insert(name, File { rows: shown.rows, is_synced: true });
            } else {
                self.shown.get_mut(&name).unwrap().is_synced = true;
            }
        }
    }
}

fn is_of(name: &str, sink: &str) -> bool {
    name.split('/').next() == Some(sink)
}
