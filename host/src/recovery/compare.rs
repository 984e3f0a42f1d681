//! What a flow and a store have in common: a pure function from the steps of both to a verdict on each.
//!
//! A step's state has a number in the tables; its name, operator and fingerprint are only what is said of the number. A
//! state that moves to another name keeps its number. A state that is *replaced*, because it is migrated, written in
//! another form or dropped, keeps its number and all its rows, too: what comes in its place is written under another
//! number, and with the first rows of that a mark is sealed, which says that the old number is retired. So until the
//! first epoch of the execution that replaces it is durable in all parts, a crash leaves the old state whole, and from
//! then on the new one is.

use super::catalogue::{Catalogue, Role, Step, StepNumber};
use crate::data::fingerprint::Fingerprint;
use crate::data::ids::StepId;
use crate::data::time::Epoch;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

/// The number that marks of retired numbers are written under. No step has it.
pub const MARKS: StepNumber = 0;

/// A step of the flow that keeps something.
#[derive(Clone, Debug)]
pub struct FlowStep {
    pub step: Step,
    /// The name that it may still have in the store.
    pub renamed_from: Option<StepId>,
    /// Whether its function can migrate states of an older version.
    pub migrates: Migrates,
    /// Other versions of what its operator writes that it reads.
    pub reads: &'static [u32],
}

/// Says whether a function can migrate states of an older version, and if not, why. Asked only if a store has such.
#[derive(Clone)]
pub struct Migrates(Arc<dyn Fn(u32) -> Result<(), String> + Send + Sync>);

impl Migrates {
    /// Asks a function.
    pub fn by(ask: impl Fn(u32) -> Result<(), String> + Send + Sync + 'static) -> Self {
        Migrates(Arc::new(ask))
    }
}

impl Default for Migrates {
    fn default() -> Self {
        Migrates::by(|_| Ok(()))
    }
}

impl fmt::Debug for Migrates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Migrates")
    }
}

impl From<Step> for FlowStep {
    fn from(step: Step) -> Self {
        FlowStep { step, renamed_from: None, migrates: Migrates::default(), reads: &[] }
    }
}

/// What becomes of a state.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The store has none of the step.
    New,
    Unchanged,
    /// What changed does it no harm.
    Kept(Vec<String>),
    /// Its plugin turns it into a newer version.
    Migrated {
        from: u32,
        to: u32,
    },
    /// It is dropped, as was asked for.
    Dropped,
    /// The flow has no such step.
    Gone,
    /// It cannot be read any more, for these reasons.
    Unreadable(Vec<String>),
    /// There is one of the step itself, and one of the step that it is said to be renamed from.
    Ambiguous(StepId),
}

/// What becomes of the state of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    /// The name of the step in the flow; in the store, if it has gone.
    pub step: StepId,
    pub kind: String,
    /// The name that it has in the store, if another.
    pub renamed_from: Option<StepId>,
    /// Where its state is.
    pub number: Option<StepNumber>,
    pub outcome: Outcome,
    /// The version of what its operator wrote of it, if it is written anew in another one.
    pub rewrites: Option<u32>,
}

/// What becomes of all states.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    /// In the order of the flow; behind them, what has gone.
    pub verdicts: Vec<Verdict>,
    /// The numbers that the flow's steps write under.
    pub steps: BTreeMap<StepNumber, Step>,
    /// Where steps read that write under another number.
    pub loads: BTreeMap<StepNumber, StepNumber>,
    /// The versions of the states that are migrated.
    pub migrates: BTreeMap<StepId, u32>,
    /// The versions of what operators wrote of states that are written anew in another one.
    pub rewrites: BTreeMap<StepId, u32>,
    /// Numbers whose states are replaced or dropped once the first epoch is sealed.
    pub retires: Vec<StepNumber>,
    /// Numbers that nothing was ever written under that lasts.
    pub unused: BTreeSet<StepNumber>,
    /// Steps whose states were to be dropped, and go on as they are.
    pub not_dropped: Vec<StepId>,
}

/// The name of the step that something is kept of, as it is in a flow file.
pub fn owner(id: &StepId) -> &str {
    id.0.split_once('/').map_or(&*id.0, |(owner, _)| owner)
}

impl Verdict {
    /// The name that the state has in the store.
    pub fn stored(&self) -> &StepId {
        self.renamed_from.as_ref().unwrap_or(&self.step)
    }

    /// Whether the step goes on from its state by writing all of it anew.
    fn is_rewritten(&self) -> bool {
        matches!(self.outcome, Outcome::Migrated { .. }) || self.rewrites.is_some()
    }
}

impl Outcome {
    /// Whether an execution must not begin.
    pub fn is_refused(&self) -> bool {
        matches!(self, Outcome::Gone | Outcome::Unreadable(_) | Outcome::Ambiguous(_))
    }
}

/// What the parts say of steps, up to an epoch.
struct Known {
    /// What is said of each number. Not the same in all parts if a claim was cut short.
    steps: BTreeMap<StepNumber, Vec<Step>>,
    retired: BTreeSet<StepNumber>,
    with_state: BTreeSet<StepNumber>,
    next: StepNumber,
}

impl Known {
    fn of(parts: &[&Catalogue], epoch: Epoch) -> Known {
        let mut steps: BTreeMap<StepNumber, Vec<Step>> = BTreeMap::new();
        let (mut retired, mut with_state) = (BTreeSet::new(), BTreeSet::new());
        for part in parts {
            for (&number, step) in &part.steps {
                let said = steps.entry(number).or_default();
                if !said.contains(step) {
                    said.push(step.clone());
                }
            }
            retired.extend(part.retired(epoch));
            with_state.extend(part.blocks.iter().filter(|block| block.epoch <= epoch).map(|block| block.step));
            with_state.extend(part.positions.iter().filter(|row| row.epoch <= epoch).map(|row| row.step));
        }
        with_state.retain(|number| *number != MARKS && !retired.contains(number));
        let next = steps.keys().chain(&retired).max().copied().unwrap_or(MARKS) + 1;
        Known { steps, retired, with_state, next }
    }

    /// The number that has the state of a step.
    fn state_of(&self, id: &StepId) -> Option<StepNumber> {
        self.with_state.iter().copied().find(|number| self.says(*number, id))
    }

    fn says(&self, number: StepNumber, id: &StepId) -> bool {
        self.steps.get(&number).is_some_and(|said| said.iter().any(|step| step.id == *id))
    }
}

/// The steps that parts know of at an epoch, but for those whose states were replaced or dropped by then.
pub fn live_steps(parts: &[&Catalogue], epoch: Epoch) -> BTreeMap<StepNumber, Step> {
    let known = Known::of(parts, epoch);
    let has_other = |number: StepNumber, step: &Step| known.state_of(&step.id).is_some_and(|state| state != number);
    let said = known.steps.iter().filter_map(|(&number, said)| Some((number, said.first()?.clone())));
    said.filter(|(number, step)| !known.retired.contains(number) && !has_other(*number, step)).collect()
}

/// Compares what the steps of a flow keep with what is in the parts of a store at an epoch. States of steps named in
/// `drops` are dropped, unless they can go on as they are: then they may be what began after a drop, and who gives the
/// same command again must not lose that.
pub fn compare(parts: &[&Catalogue], epoch: Epoch, flow: &[FlowStep], drops: &[StepId]) -> Comparison {
    let known = Known::of(parts, epoch);
    let mut verdicts: Vec<Verdict> = flow.iter().map(|step| judge(&known, step)).collect();
    for &number in &known.with_state {
        let is_told = |verdict: &Verdict| match &verdict.outcome {
            Outcome::Ambiguous(other) => known.says(number, other),
            _ => false,
        };
        if verdicts.iter().any(|verdict| verdict.number == Some(number) || is_told(verdict)) {
            continue;
        }
        if let Some(step) = known.steps.get(&number).and_then(|said| said.first()) {
            let (step, kind) = (step.id.clone(), step.kind.clone());
            let (renamed_from, number) = (None, Some(number));
            verdicts.push(Verdict { step, kind, renamed_from, number, outcome: Outcome::Gone, rewrites: None });
        }
    }
    drop_asked(&known, flow, drops, &mut verdicts);
    let not_dropped = not_dropped(&verdicts, drops);
    Comparison { not_dropped, ..number(&known, flow, verdicts) }
}

fn judge(known: &Known, flow: &FlowStep) -> Verdict {
    let FlowStep { step, renamed_from, .. } = flow;
    let own = known.state_of(&step.id);
    let before = renamed_from.as_ref().and_then(|old| Some((old, known.state_of(old)?)));
    let verdict = |number, renamed_from, (outcome, rewrites)| {
        let (step, kind) = (step.id.clone(), step.kind.clone());
        Verdict { step, kind, renamed_from, number, outcome, rewrites }
    };
    match (own, before) {
        // After a claim of only some of the parts, it may be one and the same.
        (Some(own), Some((old, before))) if own != before => {
            verdict(Some(own), None, (Outcome::Ambiguous(old.clone()), None))
        }
        (None, Some((old, number))) => verdict(Some(number), Some(old.clone()), judge_state(known, number, flow)),
        (Some(number), _) => verdict(Some(number), None, judge_state(known, number, flow)),
        (None, None) => verdict(None, None, (Outcome::New, None)),
    }
}

/// Judges whether a step can go on from the state under a number; if what the operator wrote is to be written anew, of
/// which version it is.
fn judge_state(known: &Known, number: StepNumber, flow: &FlowStep) -> (Outcome, Option<u32>) {
    let FlowStep { step, migrates, reads, .. } = flow;
    // What is said of a number that has a state differs only in what does the state no harm.
    let old = known.steps.get(&number).and_then(|said| said.first()).expect("a number with a name was found");
    if old.kind != step.kind {
        return (Outcome::Unreadable(vec![format!("what it is: {} -> {}", old.kind, step.kind)]), None);
    }
    if old.fingerprint == step.fingerprint {
        return (Outcome::Unchanged, None);
    }
    let both = (Fingerprint::parse(&step.fingerprint), Fingerprint::parse(&old.fingerprint));
    let (Some(new), Some(old)) = both else {
        return (Outcome::Unreadable(vec!["what its state depends on".to_owned()]), None);
    };
    let found = new.since(&old, reads);
    match found.migrates {
        _ if !found.breaking.is_empty() => (Outcome::Unreadable(found.breaking), None),
        Some((from, to)) => match (migrates.0)(from) {
            Ok(()) => (Outcome::Migrated { from, to }, found.rewrites),
            Err(why) => {
                let reason = format!("the state version of its function: {from} -> {to}, but {why}");
                (Outcome::Unreadable(vec![reason]), None)
            }
        },
        None => (Outcome::Kept(found.harmless), found.rewrites),
    }
}

/// Drops what was asked for. All that a step keeps is dropped together.
fn drop_asked(known: &Known, flow: &[FlowStep], drops: &[StepId], verdicts: &mut Vec<Verdict>) {
    let is_asked = |id: &StepId| drops.iter().any(|drop| &*drop.0 == owner(id));
    // Steps in the store, of which nothing is to be left.
    let mut lost: BTreeSet<String> = BTreeSet::new();
    // Of two states of one step, one is dropped. For the other to be dropped, too, because it would be migrated, it must be
    // named, too.
    let (mut dropped, mut settled) = (Vec::new(), BTreeSet::new());
    for (verdict, step) in verdicts.iter_mut().zip(flow) {
        let Outcome::Ambiguous(old) = verdict.outcome.clone() else { continue };
        let Some(other) = known.state_of(&old) else { continue };
        let (gone, kept) = match (is_asked(&old), is_asked(&verdict.step)) {
            (true, _) => ((old, Some(other)), (None, verdict.number)),
            (false, true) => ((verdict.step.clone(), verdict.number), (Some(old), Some(other))),
            (false, false) => continue,
        };
        (verdict.renamed_from, verdict.number) = kept;
        if let Some(number) = verdict.number {
            (verdict.outcome, verdict.rewrites) = judge_state(known, number, step);
        }
        settled.insert(owner(&verdict.step).to_owned());
        let (step, number) = gone;
        lost.insert(owner(&step).to_owned());
        let (kind, renamed_from) = (verdict.kind.clone(), None);
        dropped.push(Verdict { step, kind, renamed_from, number, outcome: Outcome::Dropped, rewrites: None });
    }
    let asked = verdicts.iter().filter(|verdict| match verdict.outcome {
        Outcome::Migrated { .. } if settled.contains(owner(&verdict.step)) => is_asked(verdict.stored()),
        Outcome::Migrated { .. } => is_asked(&verdict.step) || is_asked(verdict.stored()),
        _ => verdict.outcome.is_refused() && (is_asked(&verdict.step) || is_asked(verdict.stored())),
    });
    lost.extend(asked.map(|verdict| owner(verdict.stored()).to_owned()));
    for verdict in verdicts.iter_mut().filter(|verdict| verdict.number.is_some()) {
        if lost.contains(owner(verdict.stored())) {
            (verdict.outcome, verdict.rewrites) = (Outcome::Dropped, None);
        }
    }
    verdicts.extend(dropped);
}

/// The names in `drops` of steps that have a state of which nothing is dropped.
fn not_dropped(verdicts: &[Verdict], drops: &[StepId]) -> Vec<StepId> {
    let mut found: Vec<StepId> = Vec::new();
    for drop in drops {
        let of_step = || {
            let is_of = |verdict: &&Verdict| [&verdict.step, verdict.stored()].iter().any(|id| owner(id) == &*drop.0);
            verdicts.iter().filter(|verdict| verdict.number.is_some()).filter(is_of)
        };
        let is_kept = of_step().next().is_some() && of_step().all(|verdict| verdict.outcome != Outcome::Dropped);
        if is_kept && !found.contains(drop) {
            found.push(drop.clone());
        }
    }
    found
}

/// Gives the flow's steps their numbers.
fn number(known: &Known, flow: &[FlowStep], verdicts: Vec<Verdict>) -> Comparison {
    let mut all = Comparison::default();
    let mut next = known.next;
    let mut fresh = |step: &Step, taken: &BTreeMap<StepNumber, Step>| {
        let is_free = |number: &StepNumber| {
            !known.retired.contains(number) && !known.with_state.contains(number) && !taken.contains_key(number)
        };
        let found = known.steps.keys().copied().filter(is_free).find(|number| known.says(*number, &step.id));
        found.unwrap_or_else(|| {
            next += 1;
            next - 1
        })
    };
    for (verdict, FlowStep { step, .. }) in verdicts.iter().zip(flow) {
        let number = match (&verdict.outcome, verdict.number) {
            (outcome, Some(old)) if verdict.is_rewritten() => {
                let number = fresh(step, &all.steps);
                all.loads.insert(number, old);
                if let Outcome::Migrated { from, .. } = outcome {
                    all.migrates.insert(step.id.clone(), *from);
                }
                all.rewrites.extend(verdict.rewrites.map(|from| (step.id.clone(), from)));
                number
            }
            (Outcome::Dropped, _) | (_, None) => fresh(step, &all.steps),
            (_, Some(number)) => number,
        };
        all.steps.insert(number, step.clone());
    }
    let is_replaced = |verdict: &&Verdict| verdict.outcome == Outcome::Dropped || verdict.is_rewritten();
    all.retires = verdicts.iter().filter(is_replaced).filter_map(|verdict| verdict.number).collect();
    let is_used = |number: &StepNumber| {
        known.retired.contains(number) || known.with_state.contains(number) || all.steps.contains_key(number)
    };
    all.unused = known.steps.keys().copied().filter(|number| !is_used(number)).collect();
    all.verdicts = verdicts;
    all
}

impl Catalogue {
    /// The numbers that were retired up to an epoch.
    pub fn retired(&self, epoch: Epoch) -> BTreeSet<StepNumber> {
        let marks = self.positions.iter().filter(|row| row.step == MARKS && row.role == Role::Source);
        marks.filter(|row| row.epoch <= epoch).filter_map(|row| row.part.0.parse().ok()).collect()
    }
}
