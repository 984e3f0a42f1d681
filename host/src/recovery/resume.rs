//! Where to go on: a pure function from what is in all parts to a decision.
//!
//! Parts seal an epoch each by itself, so after a crash some may be ahead of others, by one epoch or more. The execution
//! resumes from the newest epoch that *all* have sealed, and what is newer is removed in the very transaction by which
//! it claims the part, before any input is read. If those rows stayed they would be taken for the next execution's own:
//! it numbers its epochs on from there, and need not cut its input as the dead one did.

use super::catalogue::Catalogue;
use super::compare::{Comparison, FlowStep, Outcome, Verdict, compare, owner};
use super::error::{StoreError, Trouble};
use crate::data::ids::{FlowId, StepId};
use crate::data::time::Epoch;
use crate::diag::suggest;
use std::collections::BTreeSet;

/// How to go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The last epoch that is kept; 0 if there is none. Everything newer is to be removed.
    pub epoch: Epoch,
    /// The number of the execution that goes on.
    pub execution: u64,
    /// What becomes of the states.
    pub compared: Comparison,
}

/// What an execution is to keep.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub flow: &'a FlowId,
    /// The steps of the flow that keep something.
    pub steps: &'a [FlowStep],
    /// Steps whose states are dropped, unless they can go on as they are.
    pub drops: &'a [StepId],
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

/// Decides how the parts of a store go on. There is at least one part. What becomes of states that cannot be kept is told,
/// too; it is for [`Resume::check`] to refuse.
///
/// # Errors
/// The parts are not those of one store and of this flow, are of different times, or damaged; or there is no step of a
/// name that is to be dropped.
pub fn resume(parts: &[&Catalogue], wanted: &Wanted<'_>) -> Result<Resume, StoreError> {
    let epoch = find_epoch(parts, wanted.flow)?;
    check_drops(parts, wanted)?;
    let execution = 1 + parts.iter().map(|part| part.execution()).max().unwrap_or(0);
    Ok(Resume { epoch, execution, compared: compare(parts, epoch, wanted.steps, wanted.drops) })
}

/// Finds the epoch that the parts of a store can go on from as `flow`.
///
/// # Errors
/// As for [`resume`].
pub fn find_epoch(parts: &[&Catalogue], flow: &FlowId) -> Result<Epoch, StoreError> {
    check_identities(parts, flow)?;
    for part in parts {
        part.verify().map_err(|damage| StoreError::damaged(&part.file, damage))?;
    }
    check_times(parts)
}

impl Resume {
    /// Makes sure that no state is lost.
    ///
    /// # Errors
    /// Some state cannot be kept, and it was not said that it may be dropped.
    pub fn check(&self) -> Result<(), StoreError> {
        let mut told = BTreeSet::new();
        let refused = self.compared.verdicts.iter().filter(|verdict| verdict.outcome.is_refused());
        let mut refused = refused.filter(|verdict| told.insert(owner(&verdict.step).to_owned()));
        let Some(first) = refused.next() else { return Ok(()) };
        let mut error = StoreError::new(Trouble::Refused, file_name(0), refusal(first)).help(ways_out(first));
        error.notes = refused.map(|verdict| format!("{}; {}", refusal(verdict), ways_out(verdict))).collect();
        Err(error)
    }
}

/// Says why a state cannot be kept.
pub fn refusal(verdict: &Verdict) -> String {
    let what = format!("step \"{}\" ({})", owner(&verdict.step), verdict.kind);
    match &verdict.outcome {
        Outcome::Gone => format!("{what} has state here, but the flow has no such step"),
        Outcome::Ambiguous(old) => {
            format!("{what} has state here, and so has \"{}\", which it is said to be renamed from", owner(old))
        }
        Outcome::Unreadable(reasons) => {
            format!("{what} has changed so that it cannot go on from the state it has here: {}", reasons.join("; "))
        }
        _ => what,
    }
}

/// Says what can be done if a state cannot be kept.
pub fn ways_out(verdict: &Verdict) -> String {
    let step = owner(&verdict.step);
    match &verdict.outcome {
        Outcome::Gone => format!(
            "if it has another name now, write renamed_from = \"{step}\" in that step; --drop-state {step} drops its state"
        ),
        Outcome::Ambiguous(old) => {
            format!("--drop-state {step} or --drop-state {} drops one of the two", owner(old))
        }
        _ => format!("undo the change; or --drop-state {step} drops its state, and it begins anew"),
    }
}

/// Says that a state that was to be dropped is not, and how to begin anew.
pub fn not_dropped(step: &StepId) -> String {
    format!(
        "--drop-state {step} does nothing: nothing has changed that its state depends on, so it may have begun anew \
         already; to drop it, give the step another name, and --drop-state {step}"
    )
}

/// Makes sure that steps that are to be dropped were ever there: a mistyped name must not pass for done.
fn check_drops(parts: &[&Catalogue], wanted: &Wanted<'_>) -> Result<(), StoreError> {
    let stored = parts.iter().flat_map(|part| part.steps.values()).map(|step| &step.id);
    let known: BTreeSet<&str> = wanted.steps.iter().map(|step| &step.step.id).chain(stored).map(owner).collect();
    match wanted.drops.iter().find(|drop| !known.contains(&*drop.0)) {
        Some(unknown) => {
            let message =
                format!("neither the flow nor the store has a step \"{unknown}\" whose state could be dropped");
            let names = || known.iter().copied();
            let help = suggest(&unknown.0, names());
            let help = help.unwrap_or_else(|| format!("there are: {}", names().collect::<Vec<_>>().join(", ")));
            Err(StoreError::new(Trouble::Refused, &parts[0].file, message).help(help))
        }
        None => Ok(()),
    }
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
