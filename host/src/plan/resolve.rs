//! From names to steps: who is whose upstream, and in which order steps can be checked and built.

use crate::diag::{Diagnostic, Diagnostics, suggest};
use crate::spec::{From, PortRef, Spec, StepSpec};
use std::collections::BTreeMap;
use std::ops::Range;

/// An upstream as far as names tell: the port is known once the step has been checked.
#[derive(Clone, Debug)]
pub struct Named {
    pub name: String,
    /// An index into the steps of the spec.
    pub step: usize,
    pub port: Option<String>,
    pub span: Range<usize>,
}

/// The steps of a spec with their upstreams found.
pub struct Resolved {
    /// For each step of the spec its upstreams. None if some of them could not be found.
    pub ups: Vec<Option<Vec<Named>>>,
    /// Indexes of steps, each behind its upstreams. Steps on a cycle are left out.
    pub order: Vec<usize>,
}

/// Finds everybody's upstreams; `begins` says of each step whether it takes none.
pub fn resolve(spec: &Spec, begins: &[bool], problems: &mut Diagnostics) -> Resolved {
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for (index, step) in spec.steps.iter().enumerate() {
        if let Some(&first) = by_name.get(step.name.value.as_str()) {
            let message = format!("a second step is called \"{}\"", step.name.value);
            let note = format!("the first one is step {} of the file", first + 1);
            let help = "give one of them another name; a step's name is the identity of its state";
            problems.push(Diagnostic::new("duplicate-step", message).at(step.name.span.clone()).note(note).help(help));
        } else {
            by_name.insert(&step.name.value, index);
        }
    }
    check_renames(spec, &by_name, problems);
    let ups: Vec<_> = spec
        .steps
        .iter()
        .enumerate()
        .map(
            |(index, step)| {
                if begins[index] { Some(Vec::new()) } else { ups_of(index, step, spec, &by_name, problems) }
            },
        )
        .collect();
    let order = order(spec, &ups, problems);
    Resolved { ups, order }
}

/// A name that a step had before is not that of another step, and no other step had it.
fn check_renames(spec: &Spec, by_name: &BTreeMap<&str, usize>, problems: &mut Diagnostics) {
    let mut had: BTreeMap<&str, &str> = BTreeMap::new();
    for step in &spec.steps {
        let Some(old) = &step.renamed_from else { continue };
        let name = step.name.value.as_str();
        let problem = if by_name.contains_key(old.value.as_str()) {
            let message = format!("step \"{name}\" cannot be renamed from \"{}\", which is a step here", old.value);
            Diagnostic::new("renamed-from-step", message)
                .help("leave \"renamed_from\" out, or give the other step another name")
        } else if let Some(other) = had.insert(&old.value, name) {
            let message = format!("steps \"{other}\" and \"{name}\" are both renamed from \"{}\"", old.value);
            Diagnostic::new("renamed-from-twice", message).help("one of them has the state; leave it out of the other")
        } else {
            continue;
        };
        problems.push(problem.at(old.span.clone()));
    }
}

fn ups_of(
    index: usize,
    step: &StepSpec,
    spec: &Spec,
    by_name: &BTreeMap<&str, usize>,
    problems: &mut Diagnostics,
) -> Option<Vec<Named>> {
    let mut find = |name: Option<&str>, port: &PortRef| -> Option<Named> {
        let Some(&step) = by_name.get(port.step.as_str()) else {
            let message = format!("step \"{}\" takes from \"{}\", which is no step", step.name.value, port.step);
            let help = suggest(&port.step, by_name.keys().copied());
            problems.push(Diagnostic::new("unknown-step", message).at(port.span.clone()).maybe_help(help));
            return None;
        };
        Some(Named {
            name: name.unwrap_or(&port.step).to_owned(),
            step,
            port: port.port.clone(),
            span: port.span.clone(),
        })
    };
    match &step.from {
        From::Above => {
            let Some(above) = index.checked_sub(1) else {
                let message = format!("step \"{}\" has no step above it to take from", step.name.value);
                let help = "say which step it takes from: from = \"<step>\", or begin with op = \"input\"";
                problems.push(Diagnostic::new("no-upstream", message).at(step.span.clone()).help(help));
                return None;
            };
            let name = spec.steps[above].name.value.clone();
            Some(vec![Named { name, step: above, port: None, span: step.name.span.clone() }])
        }
        From::One(port) => Some(vec![find(None, port)?]),
        From::Many(ports) => {
            let found: Vec<_> = ports.iter().map(|port| find(None, port)).collect();
            found.into_iter().collect()
        }
        From::Named(sides) => {
            let found: Vec<_> = sides.iter().map(|(name, port)| find(Some(&name.value), port)).collect();
            found.into_iter().collect()
        }
    }
}

/// Orders the steps as they are written, except that upstreams come first.
fn order(spec: &Spec, ups: &[Option<Vec<Named>>], problems: &mut Diagnostics) -> Vec<usize> {
    let mut placed = vec![false; ups.len()];
    let mut order = Vec::new();
    loop {
        let ready = (0..ups.len()).find(|&step| !placed[step] && ups[step].iter().flatten().all(|up| placed[up.step]));
        let Some(step) = ready else { break };
        placed[step] = true;
        order.push(step);
    }
    if let Some(start) = placed.iter().position(|placed| !placed) {
        let cycle = cycle(start, ups, &placed);
        let mut names: Vec<&str> = cycle.iter().map(|&step| spec.steps[step].name.value.as_str()).collect();
        names.push(names[0]);
        let message = format!("steps take from each other in a circle: {}", names.join(" <- "));
        let span = spec.steps[cycle[0]].name.span.clone();
        let help = "let one of them take from another step";
        problems.push(Diagnostic::new("cycle", message).at(span).help(help));
    }
    order
}

/// Walks up from a step that cannot be placed until a step comes again: that one is on a circle.
fn cycle(start: usize, ups: &[Option<Vec<Named>>], placed: &[bool]) -> Vec<usize> {
    let mut path = vec![start];
    loop {
        let last = path[path.len() - 1];
        let up = ups[last].iter().flatten().map(|up| up.step).find(|&up| !placed[up]);
        let up = up.expect("a step that cannot be placed has an upstream that cannot");
        if let Some(at) = path.iter().position(|&step| step == up) {
            return path.split_off(at);
        }
        path.push(up);
    }
}
