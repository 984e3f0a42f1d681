//! Where to go on: a pure function from what is in all parts to a decision.
//!
//! Parts seal an epoch each by itself, so after a crash some may be ahead of others, by one epoch or more. The execution
//! resumes from the newest epoch that *all* have sealed, and what is newer is removed in the very transaction by which
//! it claims the part, before any input is read. If those rows stayed they would be taken for the next execution's own:
//! it numbers its epochs on from there, and need not cut its input as the dead one did.

use super::catalogue::{Catalogue, Step, StepNumber};
use super::error::{StoreError, Trouble};
use crate::data::ids::FlowId;
use crate::data::time::Epoch;
use std::collections::BTreeMap;

/// How to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The last epoch that is kept; 0 if there is none. Everything newer is to be removed.
    pub epoch: Epoch,
    /// The number of the execution that goes on.
    pub execution: u64,
    /// The steps of the flow that keep something, with their numbers.
    pub steps: BTreeMap<StepNumber, Step>,
}

impl Resume {
    /// The first epoch of the execution that goes on.
    pub fn first_epoch(&self) -> Epoch {
        self.epoch.next()
    }
}

/// The name of a part's file.
pub fn file_name(part: u64) -> String {
    format!("part-{part}.sqlite3")
}

/// Decides how the parts of a store go on as `flow` with these `steps`. There is at least one part.
///
/// # Errors
/// The parts are not those of one store and of this flow, are of different times, or damaged; or a step has gone or
/// changed so that its state would be lost.
pub fn resume(parts: &[&Catalogue], flow: &FlowId, steps: &[Step]) -> Result<Resume, StoreError> {
    let epoch = judge(parts, flow)?;
    let execution = 1 + parts.iter().map(|part| part.execution()).max().unwrap_or(0);
    Ok(Resume { epoch, execution, steps: number_steps(parts, steps)? })
}

/// The newest epoch that all parts have, if they are those of one store and of `flow`, sound and of one time. There is
/// at least one part.
///
/// # Errors
/// They are not.
pub fn judge(parts: &[&Catalogue], flow: &FlowId) -> Result<Epoch, StoreError> {
    check_identities(parts, flow)?;
    for part in parts {
        part.verify().map_err(|damage| StoreError::damaged(&part.file, damage))?;
    }
    check_times(parts)
}

fn check_identities(parts: &[&Catalogue], flow: &FlowId) -> Result<(), StoreError> {
    let refused = |file: &str, message: String| StoreError::new(Trouble::Refused, file, message);
    let first = &parts[0].identity;
    for part in parts {
        let identity = &part.identity;
        if identity.flow != *flow {
            let message = format!("it is of flow \"{}\", not of \"{flow}\"", identity.flow);
            return Err(refused(&part.file, message).help("give each flow a folder of its own"));
        }
        if (&identity.store, identity.parts) != (&first.store, first.parts) {
            let message = format!("it is of another store than {}", parts[0].file);
            return Err(refused(&part.file, message).help("keep only files of one store in the folder"));
        }
        if part.file != file_name(identity.part) {
            let message = format!("it was called {} before", file_name(identity.part));
            return Err(refused(&part.file, message).help("give each file the name that it had"));
        }
    }
    let missing = (0..first.parts).find(|&number| parts.iter().all(|part| part.identity.part != number));
    match missing {
        Some(number) => {
            let message = format!("missing, one of {} files of the store", first.parts);
            Err(refused(&file_name(number), message).help("bring it back: a part of all state is in it"))
        }
        None => Ok(()),
    }
}

/// Finds the newest epoch that all parts have, and makes sure that it is the same epoch in all.
fn check_times(parts: &[&Catalogue]) -> Result<Epoch, StoreError> {
    let oldest = parts.iter().min_by_key(|part| part.newest()).expect("there is a part");
    let epoch = oldest.newest();
    let refused = |message: String| {
        let help = "restore all files of the store from copies of the same time";
        StoreError::new(Trouble::Refused, &oldest.file, message).help(help)
    };
    for part in parts {
        if part.floor > epoch {
            let message = format!(
                "it ends with epoch {epoch}, but {} can only be resumed from epoch {} on; it is an older copy",
                part.file, part.floor
            );
            return Err(refused(message));
        }
        let sealed_by =
            |part: &Catalogue| part.sealed.iter().find(|sealed| sealed.epoch == epoch).map(|sealed| sealed.execution);
        if sealed_by(part) != sealed_by(oldest) {
            let message = format!(
                "its epoch {epoch} is not that of {}: they were written by different executions; one is an older copy",
                part.file
            );
            return Err(refused(message));
        }
    }
    Ok(epoch)
}

/// The steps of all parts with their numbers.
///
/// # Errors
/// A number stands for different steps.
pub fn known_steps<'a>(parts: &[&'a Catalogue]) -> Result<BTreeMap<StepNumber, &'a Step>, StoreError> {
    let mut known: BTreeMap<StepNumber, &Step> = BTreeMap::new();
    for part in parts {
        for (&number, step) in &part.steps {
            let other = known.insert(number, step).filter(|other| *other != step);
            if let Some(other) = other.filter(|other| other.id != step.id) {
                let message = format!("step {number} is \"{}\" here and \"{}\" in another file", step.id, other.id);
                return Err(StoreError::damaged(&part.file, message));
            }
        }
    }
    Ok(known)
}

/// Gives the flow's steps their numbers, the same in all parts, and checks that none with state is lost.
fn number_steps(parts: &[&Catalogue], steps: &[Step]) -> Result<BTreeMap<StepNumber, Step>, StoreError> {
    let known = known_steps(parts)?;
    let has_state = |number: StepNumber| {
        parts.iter().any(|part| {
            part.blocks.iter().any(|block| block.step == number)
                || part.positions.iter().any(|position| position.step == number)
        })
    };
    for (_, stored) in known.iter().filter(|(number, _)| has_state(**number)) {
        let refused = |what: &str, help: &str| {
            let message = format!("step \"{}\" ({}) {what}", stored.id, stored.kind);
            Err(StoreError::new(Trouble::Refused, &parts[0].file, message).help(help))
        };
        match steps.iter().find(|step| step.id == stored.id) {
            None => {
                return refused(
                    "has state here, but the flow has no such step",
                    "give the step its name back, or begin with a new folder",
                );
            }
            Some(step) if (&step.kind, &step.fingerprint) != (&stored.kind, &stored.fingerprint) => {
                return refused(
                    "has changed so that it cannot read the state it has here",
                    "undo the change, or begin with a new folder",
                );
            }
            Some(_) => {}
        }
    }
    let mut next = known.keys().next_back().copied().unwrap_or(0) + 1;
    let mut numbered = BTreeMap::new();
    for step in steps {
        let number = known.iter().find(|(_, stored)| stored.id == step.id).map(|(&number, _)| number);
        let number = number.unwrap_or_else(|| {
            next += 1;
            next - 1
        });
        numbered.insert(number, step.clone());
    }
    Ok(numbered)
}
