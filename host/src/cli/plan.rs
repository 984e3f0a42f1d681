//! `wxhost plan`: what becomes of the states in a recovery store if a flow, perhaps changed, goes on from them.

use super::exit::Failure;
use super::flow::FlowFile;
use super::keeping::{self, KeepingArgs};
use super::{Output, print, print_json};
use crate::dataflow::env::Env;
use crate::plan::Plan;
use crate::recovery::compare::{FlowStep, Outcome, Verdict, owner};
use crate::recovery::load::Size;
use crate::recovery::resume::{Wanted, not_dropped, refusal, ways_out};
use crate::recovery::store::Store;
use crate::run::kept_steps;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

#[derive(clap::Args)]
pub struct Args {
    /// The flow file
    flow: PathBuf,

    /// The folder of the store [default: that in the flow's [recovery]]
    #[arg(long, value_name = "DIR", env = "WXHOST_RECOVERY", hide_env_values = true)]
    recovery: Option<PathBuf>,

    /// Say what comes of it if "wxhost run" is given the same. May be given more than once
    #[arg(long, value_name = "STEP")]
    drop_state: Vec<String>,
}

/// What a step keeps, and what becomes of it.
struct Line {
    verdict: Verdict,
    size: Size,
    /// That it was to be dropped, and is not.
    note: Option<String>,
}

/// Tells what becomes of each state; changes nothing.
///
/// # Errors
/// The flow is refused; the store is damaged, in use or of another flow; or some state cannot be kept, which is told.
pub fn plan(args: &Args, env: &Env, output: Output) -> Result<(), Failure> {
    let planned = FlowFile::read(&args.flow)?.plan(env)?;
    let (recovery, drop_state) = (args.recovery.clone(), args.drop_state.clone());
    let keeping = KeepingArgs { recovery, drop_state, ..KeepingArgs::default() };
    let Some(options) = keeping::options(&keeping, &planned.kept, &planned.base) else {
        let message = "no recovery store is named".to_owned();
        let help = "name its folder: --recovery DIR, or dir = \"DIR\" in [recovery] of the flow".to_owned();
        return Err(Failure::Usage { message, help });
    };
    let plan = planned.plan;
    let steps = kept_steps(&plan, env);
    let wanted = Wanted { flow: &plan.flow, steps: &steps, drops: &options.drop_state };
    let store = Store::look(&options.dir, &wanted)?;
    let lines = match &store {
        Some(store) => lines(store)?,
        None => steps.iter().map(new).fold(Vec::new(), together),
    };
    let goes_on = lines.iter().all(|line| !line.verdict.outcome.is_refused());
    let epoch = store.as_ref().map(|store| store.resume().epoch.0);
    if output.is_json() {
        let steps: Vec<Value> = lines.iter().map(to_json).collect();
        print_json(&json!({
            "flow": plan.flow.0.as_ref(), "store": epoch.is_some(), "epoch": epoch, "goes_on": goes_on, "steps": steps,
        }))?;
    } else {
        print(to_text(&plan, &options.dir, epoch, &lines))?;
    }
    if goes_on { Ok(()) } else { Err(Failure::StateLost) }
}

fn new(kept: &FlowStep) -> Line {
    let (step, kind) = (kept.step.id.clone(), kept.step.kind.clone());
    let verdict = Verdict { step, kind, renamed_from: None, number: None, outcome: Outcome::New, rewrites: None };
    Line { verdict, size: Size::default(), note: None }
}

fn lines(store: &Store) -> Result<Vec<Line>, Failure> {
    let mut lines = Vec::new();
    let compared = &store.resume().compared;
    for verdict in &compared.verdicts {
        let size = verdict.number.map(|number| store.size_of(number)).transpose()?.unwrap_or_default();
        let names = [&verdict.step, verdict.stored()].map(owner);
        let kept = compared.not_dropped.iter().find(|step| verdict.number.is_some() && names.contains(&&*step.0));
        lines = together(lines, Line { verdict: verdict.clone(), size, note: kept.map(not_dropped) });
    }
    Ok(lines)
}

/// Puts all that is kept of a step into one line; of what becomes of it, that counts which needs attention most.
fn together(mut lines: Vec<Line>, mut line: Line) -> Vec<Line> {
    // Of a state that goes because there are two, there is a line besides.
    let is_same = |other: &&mut Line| {
        owner(&other.verdict.step) == owner(&line.verdict.step)
            && owner(other.verdict.stored()) == owner(line.verdict.stored())
    };
    let weight = |line: &Line| match line.verdict.outcome {
        Outcome::New => 0,
        Outcome::Unchanged => 1,
        Outcome::Kept(_) => 2,
        Outcome::Migrated { .. } => 3,
        Outcome::Dropped => 4,
        Outcome::Gone | Outcome::Unreadable(_) | Outcome::Ambiguous(_) => 5,
    };
    match lines.iter_mut().find(is_same) {
        Some(other) => {
            let heavier = if weight(&line) > weight(other) { &mut line } else { &mut *other };
            let verdict = heavier.verdict.clone();
            let size = other.size.with(line.size);
            let note = other.note.take().or(line.note);
            *other = Line { verdict, size, note };
        }
        None => lines.push(line),
    }
    lines
}

fn to_text(plan: &Plan, folder: &Path, epoch: Option<u64>, lines: &[Line]) -> String {
    let folder = folder.display();
    let mut text = match epoch {
        Some(0) => format!("flow \"{}\" begins: the store in {folder} has no epoch yet\n", plan.flow),
        Some(epoch) => format!("flow \"{}\" goes on from epoch {epoch} of the store in {folder}\n", plan.flow),
        None => format!("flow \"{}\" begins: there is no store in {folder}\n", plan.flow),
    };
    for Line { verdict, size, note } in lines {
        let renamed = verdict.renamed_from.as_ref();
        let renamed = renamed.map_or(String::new(), |old| format!(", renamed from {}", owner(old)));
        let size = if verdict.number.is_some() { format!("; {}", size_text(size)) } else { String::new() };
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "\n{} ({}){renamed}: {}{size}",
            owner(&verdict.step),
            verdict.kind,
            outcome_text(&verdict.outcome)
        );
        for change in changes(&verdict.outcome) {
            let _ = writeln!(text, "  {change}");
        }
        if verdict.outcome.is_refused() {
            let _ = writeln!(text, "  help: {}", ways_out(verdict));
        }
        if let Some(note) = note {
            let _ = writeln!(text, "  {note}");
        }
    }
    if lines.iter().any(|line| line.verdict.outcome.is_refused()) {
        text.push_str("\nthe flow would not run: state would be lost\n");
    }
    text
}

fn outcome_text(outcome: &Outcome) -> String {
    match outcome {
        Outcome::New => "new".to_owned(),
        Outcome::Unchanged => "unchanged".to_owned(),
        Outcome::Kept(_) => "state kept".to_owned(),
        Outcome::Migrated { from, to } => format!("migrated from state version {from} to {to}"),
        Outcome::Dropped => "state dropped".to_owned(),
        Outcome::Gone => "would be dropped: the flow has no such step".to_owned(),
        Outcome::Unreadable(_) => "cannot be kept".to_owned(),
        Outcome::Ambiguous(old) => format!("cannot be kept: \"{}\" has state, too", owner(old)),
    }
}

fn changes(outcome: &Outcome) -> &[String] {
    match outcome {
        Outcome::Kept(changes) | Outcome::Unreadable(changes) => changes,
        _ => &[],
    }
}

fn size_text(size: &Size) -> String {
    let count = |count: u64, what: &str| format!("{count} {what}{}", if count == 1 { "" } else { "s" });
    let mut parts = Vec::new();
    if size.partitions > 0 {
        parts.push(count(size.partitions, "partition"));
    }
    if size.keys > 0 || size.partitions == 0 {
        parts.push(count(size.keys, "key"));
    }
    parts.push(count(size.bytes, "byte"));
    parts.join(", ")
}

fn to_json(Line { verdict, size, note }: &Line) -> Value {
    let outcome = match verdict.outcome {
        Outcome::New => "new",
        Outcome::Unchanged => "unchanged",
        Outcome::Kept(_) => "kept",
        Outcome::Migrated { .. } => "migrated",
        Outcome::Dropped => "dropped",
        Outcome::Gone => "would_be_dropped",
        Outcome::Unreadable(_) | Outcome::Ambiguous(_) => "cannot_be_kept",
    };
    let versions = match verdict.outcome {
        Outcome::Migrated { from, to } => json!({ "from": from, "to": to }),
        _ => Value::Null,
    };
    let is_refused = verdict.outcome.is_refused();
    json!({
        "step": owner(&verdict.step),
        "kind": verdict.kind,
        "renamed_from": verdict.renamed_from.as_ref().map(owner),
        "outcome": outcome,
        "state_version": versions,
        "changes": changes(&verdict.outcome),
        "message": if is_refused { Some(refusal(verdict)) } else { note.clone() },
        "help": is_refused.then(|| ways_out(verdict)),
        "keys": size.keys,
        "partitions": size.partitions,
        "bytes": size.bytes,
    })
}
